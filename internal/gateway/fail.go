package gateway

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"portero/internal/authflow"
	"portero/internal/forwarded"
	"portero/internal/guard"
	"portero/internal/page"
	"portero/internal/route"
	"portero/internal/session"
	"portero/internal/telemetry"
	"portero/internal/upstream"
)

var (
	errMethod   = errors.New("the method is not one that is accepted")
	errNotFound = errors.New("no such page under the prefix")
)

// methodNotAllowed is the error for a method that an endpoint of ours does not take.
type methodNotAllowed struct{ allow string }

func (e *methodNotAllowed) Error() string { return "the endpoint does not take this method" }

// answer is how an error looks from outside: a page, what a proxy says about itself (RFC 9209), and headers.
type answer struct {
	page   page.Page
	proxy  string
	header http.Header
}

// fail is the one place where errors become answers: it logs the cause and shows the page.
func (g *generation) fail(w http.ResponseWriter, r *http.Request, err error) {
	x := telemetry.FromContext(r.Context())
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		x.Err = err
		panic(http.ErrAbortHandler) // nobody is left to read an answer
	}
	a := g.answerFor(r, err)
	x.Err = causeOf(err)
	if a.page.Code == "" && reportsTrouble(a.page.ID) {
		a.page.Code, a.page.Time = x.SupportCode(), g.now()
	}
	h := w.Header()
	for name, values := range a.header {
		h[name] = values
	}
	if a.proxy != "" {
		h.Set("Proxy-Status", "portero; error="+a.proxy)
	}
	leaveUnread(w, r)
	g.pages.Render(w, r, a.page)
}

// causeOf is what the access log says went wrong: nothing, where somebody was only asked to sign in or was denied.
func causeOf(err error) error {
	var problem *page.Problem
	var deny *denied
	switch {
	case errors.As(err, &problem):
		return problem.Cause
	case errors.As(err, &deny):
		return deny.cause
	}
	return err
}

// leaveUnread is for answers of ours to a request whose body nobody reads. Over HTTP/1.1 the connection ends behind such
// an answer: net/http would else wait for the body before it sends anything, for as long as the client likes.
func leaveUnread(w http.ResponseWriter, r *http.Request) {
	if r.Body != nil && r.ContentLength != 0 && r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
}

// reportsTrouble reports whether a page has a support line; those that only ask for a sign-in, and the one for
// strangers, have none.
func reportsTrouble(id page.ID) bool {
	return id != page.UnknownHost && id != page.Framed && id != page.SignInRequired && id != page.StepUp
}

// answerFor is the table from errors to answers. What is not in it is an answer without detail: nothing is told that
// was not meant to be.
func (g *generation) answerFor(r *http.Request, err error) answer {
	from := forwarded.FromContext(r.Context())
	base := page.Page{LanguageReturn: g.languageReturn(r), Unbranded: !g.table.KnowsHost(from.Host)}

	var problem *page.Problem
	var target *route.TargetError
	var method *methodNotAllowed
	var deny *denied
	var up *upstream.Error
	switch {
	case errors.As(err, &problem):
		p := problem.Page
		if p.LanguageReturn == "" {
			p.LanguageReturn = base.LanguageReturn
		}
		return answer{page: p, proxy: problem.ProxyStatus, header: problem.Header}
	case errors.Is(err, forwarded.ErrPlainHTTP):
		return g.toHTTPS(r, base)
	case errors.Is(err, route.ErrUnknownHost), errors.Is(err, forwarded.ErrMisdirected):
		return answer{page: page.Page{ID: page.UnknownHost}, proxy: "destination_not_found"}
	case errors.As(err, &target):
		g.log.Info("a path was refused", "reason", target.Reason, "key", target.Key, "host", from.Host,
			"support_code", telemetry.FromContext(r.Context()).SupportCode())
		base.ID, base.LanguageReturn = page.BadRequest, withoutQuery(base.LanguageReturn)
		return answer{page: base, proxy: "http_request_error"}
	case errors.Is(err, errMalformed):
		base.ID, base.LanguageReturn = page.BadRequest, withoutQuery(base.LanguageReturn)
		return answer{page: base, proxy: "http_request_error"}
	case errors.Is(err, errMethod):
		base.ID, base.Status = page.BadRequest, http.StatusMethodNotAllowed
		return answer{page: base, proxy: "http_request_denied", header: http.Header{"Allow": {route.Methods()}}}
	case errors.As(err, &method):
		base.ID, base.Status = page.BadRequest, http.StatusMethodNotAllowed
		return answer{page: base, proxy: "http_request_denied", header: http.Header{"Allow": {method.allow}}}
	case errors.Is(err, errNotFound), errors.Is(err, route.ErrNoRoute):
		base.ID, base.App = page.NotFound, g.appOf(g.routeOf(from.Hostname(), "/"))
		return answer{page: base, proxy: "http_request_denied"}
	case errors.As(err, &deny):
		return g.denial(r, deny, base)
	case errors.Is(err, upstream.ErrSessionEnded):
		return g.answerFor(r, g.flow.Unauthorized(r, g.retry(r)))
	case errors.As(err, &up):
		return g.upstreamTrouble(r, up, base)
	case errors.Is(err, session.ErrUnavailable):
		base.ID = page.Unavailable
		return answer{page: base, proxy: "proxy_internal_error"}
	}
	if from.Host == "" { // not even the host could be read
		base.ID = page.BadRequest
		return answer{page: base, proxy: "http_request_error"}
	}
	g.log.Error("answering a request", "error", err)
	base.ID = page.Unavailable
	return answer{page: base, proxy: "proxy_internal_error"}
}

// languageReturn is the page of a GET, for the language switch; a POST has none.
func (g *generation) languageReturn(r *http.Request) string {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return ""
	}
	return g.retry(r).String()
}

// withoutQuery is for addresses that are refused: they may be meant for our callback, and have a code and a state then.
func withoutQuery(address string) string {
	path, _, _ := strings.Cut(address, "?")
	return path
}

// retry is the address of a request, as far as it can be linked to.
func (g *generation) retry(r *http.Request) authflow.ReturnPath {
	p, _ := authflow.ParseReturnPath(r.RequestURI)
	return g.endpoints.Return(p)
}

// toHTTPS sends those to https of whom a trusted proxy says that they came over http.
func (g *generation) toHTTPS(r *http.Request, base page.Page) answer {
	base.ID = page.BadRequest
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return answer{page: base, proxy: "http_request_denied"}
	}
	from := forwarded.FromContext(r.Context())
	if !g.table.KnowsHost(from.Host) {
		return answer{page: page.Page{ID: page.UnknownHost}, proxy: "destination_not_found"}
	}
	base.Status = http.StatusPermanentRedirect
	return answer{page: base, header: http.Header{"Location": {g.config.Origin(from.Hostname()) + g.retry(r).String()}}}
}

// denial is the answer to a Deny decision.
func (g *generation) denial(r *http.Request, d *denied, base page.Page) answer {
	ret := g.retry(r)
	rt := d.decision.Route
	base.App, base.Support = g.appOf(rt), g.supportOf(rt)
	if header := d.decision.Header; header != "" {
		g.log.Warn("a request was denied: what the application has to be told is too long", "header", header, "route", rt.Name,
			"support_code", telemetry.FromContext(r.Context()).SupportCode())
	}
	switch b := d.decision.Bearer; {
	case b != nil:
		return g.tokenDenial(r, b, base)
	case errors.Is(d.cause, authflow.ErrAccessDenied):
		base.ID = page.Denied
	case d.cause != nil:
		base.ID, base.Primary = page.Unavailable, &page.Action{URL: ret.String()}
		return answer{page: base, proxy: "proxy_internal_error"}
	case d.decision.NetworkOnly:
		base.ID, base.Primary = page.DeniedNetwork, &page.Action{URL: ret.String()}
	default:
		base.ID = page.Denied
	}
	if s := d.session; s != nil {
		base.Email, base.User = s.Identity.Email, s.Identity.Email
	}
	if base.ID == page.Denied {
		base.Primary = &page.Action{URL: g.endpoints.SignInURL(ret, true)}
		if g.startOpen(r, d.session) {
			base.Secondary = &page.Action{URL: g.home()}
		}
	}
	return answer{page: base, proxy: "http_request_denied"}
}

// startOpen reports whether the start page is open to who was denied here. It only chooses a link.
func (g *generation) startOpen(r *http.Request, s *session.Session) bool {
	from := forwarded.FromContext(r.Context())
	target, err := route.ParseTarget(http.MethodGet, "/", r.Host)
	if err != nil {
		return false
	}
	rt, err := g.table.Match(from.Host, http.MethodGet, target)
	if err != nil {
		return false
	}
	asked := guard.Guard{Now: g.clock} // without audit: nobody has asked for the page yet
	return asked.Decide(r.Context(), guard.Request{
		Route: rt, Session: s, Client: from.Client, Method: http.MethodGet, Scheme: from.Scheme, Host: from.Host, Path: target.Path,
	}).Outcome == guard.Allow
}

// upstreamTrouble is the answer when the application behind did not give one.
func (g *generation) upstreamTrouble(r *http.Request, e *upstream.Error, base page.Page) answer {
	base.App, base.Support = g.appOf(e.Route), g.supportOf(e.Route)
	base.Primary = &page.Action{URL: g.retry(r).String()}
	base.AfterPost = r.Method != http.MethodGet && r.Method != http.MethodHead
	base.SignedIn = telemetry.FromContext(r.Context()).Subject != ""
	switch e.Kind {
	case upstream.Slow:
		base.ID, base.Timeout = page.AppSlow, e.Timeout
	case upstream.BadRequest:
		base.ID = page.BadRequest
	case upstream.ForbiddenOrigin:
		base.ID, base.Status = page.BadRequest, http.StatusForbidden
	default:
		base.ID = page.AppUnavailable
	}
	return answer{page: base, proxy: e.ProxyStatus()}
}

// appOf is the name of the application behind a route, "" for the general one.
func (g *generation) appOf(rt *route.Route) string {
	if rt == nil {
		return ""
	}
	return rt.Title
}

func (g *generation) supportOf(rt *route.Route) *page.Support {
	if rt == nil {
		return nil
	}
	return g.supports[rt.Index]
}

func (g *generation) home() string {
	if g.homeURL != "" {
		return g.homeURL
	}
	return "/"
}

func (g *generation) now() time.Time {
	if g.clock != nil {
		return g.clock()
	}
	return time.Now()
}
