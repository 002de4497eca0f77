package gateway

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"portero/internal/assertion/signed"
	"portero/internal/authflow"
	"portero/internal/forwarded"
	"portero/internal/guard"
	"portero/internal/page"
	"portero/internal/session"
	"portero/internal/telemetry"
	"portero/internal/upstream"
)

// Forward-auth: another proxy reaches the application, and asks here about each request first. What is asked about goes the
// way of a proxied request, and Decide says the same; only the answer is another.
//
//   - PREFIX/auth answers 200, 400, 401, 403 or 503, which every proxy can tell apart. PREFIX/auth-redirect answers as the
//     proxy path does, but for navigations that need a sign-in: they are sent to the sign-in endpoint of the same host, which
//     the proxy hands on to us, so that the attempt's cookie is set there.
//   - PREFIX/auth-page is for proxies that show nothing of an answer to a check, as nginx: they send here whom a check did not let
//     pass. It answers as PREFIX/auth-redirect does, and asks for the page again by 307 where the request may pass by now.
//   - The request is in X-Forwarded-Method, -Proto, -Host and -Uri; or, as Envoy asks, in the method, the host and what
//     follows the endpoint's path. Where both are there they have to be the same.
//   - Nobody is answered who is no trusted proxy. No body is read, no cookie is set.
//   - A refusal says which pages of other origins may read it, as an answer of the proxy path does.

// question is what another proxy asks.
type question struct {
	redirects bool   // PREFIX/auth-redirect, PREFIX/auth-page
	page      bool   // PREFIX/auth-page
	oauth2    bool   // /oauth2/auth: 202 instead of 200, and the headers of oauth2-proxy besides
	narrows   bool   // /oauth2/auth?allowed_groups=…: it asks for more than our rules say
	appended  string // the target that follows the endpoint's path; "": it is in X-Forwarded-Uri
}

// questionOf reads a request target. ok is false for one that asks nothing.
func questionOf(e authflow.Endpoints, requestURI string) (q question, ok bool) {
	if path, query, _ := strings.Cut(requestURI, "?"); e.Aliases != "" && path == e.Aliases+"/auth" {
		return question{oauth2: true, narrows: query != ""}, true
	}
	rest, ok := strings.CutPrefix(requestURI, e.Prefix)
	if !ok {
		return question{}, false
	}
	if rest, ok = strings.CutPrefix(rest, "/auth"); !ok {
		return question{}, false
	}
	if rest, q.page = strings.CutPrefix(rest, "-page"); q.page {
		q.redirects = true
	} else {
		rest, q.redirects = strings.CutPrefix(rest, "-redirect")
	}
	switch {
	case rest == "" || rest[0] == '?':
		return q, true
	case rest[0] == '/':
		q.appended = rest
		return q, true
	}
	return question{}, false
}

// forwardAuth answers a check. named is the host as the request names it, refused why it could not be resolved.
func (g *generation) forwardAuth(w http.ResponseWriter, r *http.Request, from forwarded.Request, named string, refused error, q question) {
	leaveUnread(w, r)
	x := telemetry.FromContext(r.Context())
	x.Mode, x.Route = "forward-auth", "portero"
	answer := &checkAnswer{ResponseWriter: w, redirects: q.redirects, passes: http.StatusOK}
	if q.oauth2 {
		answer.passes = http.StatusAccepted
	}
	asked, err := g.check(answer, r, from, named, refused, q)
	if err != nil {
		if asked.Method == http.MethodHead { // the answer to the question has a body
			asked.Method = http.MethodGet
		}
		g.fail(answer, asked, err)
	}
	answer.WriteHeader(http.StatusForbidden) // unless it has been answered
}

// check finds out what is asked about, and decides. It returns the request that is asked about, as far as it is known.
func (g *generation) check(w *checkAnswer, r *http.Request, from forwarded.Request, named string, refused error, q question) (*http.Request, error) {
	if !from.Trusted {
		g.log.Warn("forward-auth is answered to trusted proxies alone", "key", "trusted_proxies", "peer", from.Peer.String(),
			"support_code", telemetry.FromContext(r.Context()).SupportCode())
		return r, checkRefused(http.StatusForbidden, "the peer is not in trusted_proxies")
	}
	if q.narrows { // what is left out here would let more people pass
		g.log.Warn("a check with parameters is denied: who may pass stands in the rules of routes", "key", "routes[].allow",
			"support_code", telemetry.FromContext(r.Context()).SupportCode())
		return r, checkRefused(http.StatusForbidden, "the check has parameters")
	}
	about, err := forwarded.ReadQuestion(r, named, q.appended)
	if err != nil {
		return r, checkRefused(http.StatusBadRequest, err.Error())
	}
	method, target := about.Method, about.Target
	asked := r.WithContext(r.Context())
	asked.Method, asked.RequestURI, asked.Host = method, target, from.Host
	asked.Body, asked.ContentLength, asked.TransferEncoding = http.NoBody, 0, nil
	path, query, _ := strings.Cut(target, "?")
	asked.URL = &url.URL{Path: path, RawQuery: query}
	x := telemetry.FromContext(r.Context())
	x.Method, x.Path = method, path
	switch {
	case errors.Is(refused, forwarded.ErrPlainHTTP) && !q.redirects:
		return asked, checkRefused(http.StatusForbidden, "the request came over http")
	case refused != nil:
		return asked, refused
	}
	at, err := g.find(method, target, from.Host, from.Host)
	switch {
	case err != nil:
		return asked, err
	case at.target.Asterisk:
		return asked, checkRefused(http.StatusBadRequest, "there is no path")
	case at.route == nil:
		return asked, checkRefused(http.StatusForbidden, "the path is an endpoint of Portero: hand it on, and do not ask about it")
	}
	asked.URL.Path, x.Path, x.Route = at.target.Path, at.target.Path, at.route.Name
	if c := g.cors[at.route.Index]; c != nil {
		w.refuses = func() { c.share(w.Header(), asked) }
	}
	if name := g.headers[at.route.Index].Foreign(r.Header, g.told.names); name != "" {
		return asked, checkRefused(http.StatusBadRequest, "the client sent "+name+", which the proxy would leave: remove it there, before it asks")
	}
	return asked, g.answerCheck(w, asked, at, from, q)
}

// answerCheck asks the guard, and does what it says.
func (g *generation) answerCheck(w *checkAnswer, r *http.Request, at place, from forwarded.Request, q question) error {
	found, trouble := g.lookup(unheard{}, r, at.route, from.Hostname())
	decision := g.decide(r, at.route, at.target, from, found, trouble)
	switch decision.Outcome {
	case guard.Allow:
		if opensSocket(r) {
			if err := upstream.CheckOrigin(r, found.Session != nil, g.config.Origin(from.Hostname())); err != nil {
				err.Route = at.route
				return err
			}
		}
		token, err := g.accessToken(r, at.route, found.Session)
		switch {
		case errors.Is(err, authflow.ErrSessionOver):
			return g.flow.ChallengeElsewhere(w, r, g.returnPath(at.target), q.redirects)
		case err != nil:
			return g.withoutToken(r, at.route, found.Session, err)
		case q.page:
			g.flow.Again(w, g.returnPath(at.target))
			return nil
		}
		g.tell(w.Header(), r, at, from, found.Session, decision, token, q)
		w.allow()
		return nil
	case guard.SignIn:
		if decision.Reason == guard.ReasonStepUp {
			return g.flow.StepUp(r, g.returnPath(at.target), decision.MaxAge, found.Session.Identity.Email)
		}
		return g.flow.ChallengeElsewhere(w, r, g.returnPath(at.target), q.redirects)
	}
	return &denied{decision: decision, session: found.Session, cause: trouble}
}

// told is what applications behind other proxies are told by the answers, beside the headers of each route.
type told struct {
	names  []string            // of all headers that an answer about any route can have for an application, canonical
	signed []*signed.Assertion // :: route.Index → the route's; nil: there is none
}

func (gen *generation) toldOf() told {
	all := told{gen.oauth2.Names(), make([]*signed.Assertion, len(gen.config.Routes))}
	for i, r := range gen.config.Routes {
		all.names = append(all.names, gen.headers[i].Names()...)
		if a := gen.assertion(r.Identity); a != nil {
			all.names, all.signed[i] = append(all.names, a.Headers...), a
		}
	}
	slices.Sort(all.names)
	all.names = slices.Compact(all.names)
	return all
}

// tell writes what the application is to see into the answer: who it is, the client's cookies without ours, and the access
// token of the person, or the client's own credentials where they pass. The proxy replaces the client's headers of these
// names. Envoy leaves those that an answer does not have, unless it is told which.
func (g *generation) tell(h http.Header, r *http.Request, at place, from forwarded.Request, s *session.Session, d guard.Decision, token string, q question) {
	for _, name := range g.headers[at.route.Index].Apply(h, d.Identity) {
		if _, known := g.warned.LoadOrStore(at.route.Name+" "+name, true); !known {
			g.log.Warn("an identity header was left out: its value is too long or cannot be encoded", "header", name, "route", at.route.Name,
				"subject", d.Identity.Subject)
		}
	}
	if q.oauth2 {
		besides := http.Header{} // a set removes what others have set
		g.oauth2.Apply(besides, d.Identity)
		maps.Copy(h, besides)
	}
	if a := g.told.signed[at.route.Index]; a != nil && d.Identity != nil {
		request := signed.Request{Origin: g.config.Origin(from.Hostname()), Method: r.Method, Path: at.target.Raw}
		if s != nil {
			request.SessionID, request.Version = s.ID, s.Version
		}
		assertion, err := a.Token(d.Identity, request)
		if err != nil {
			g.log.Warn("a request left without its signed assertion", "error", err, "subject", d.Identity.Subject)
		}
		for _, name := range a.Headers {
			if err == nil {
				h[name] = []string{assertion}
			}
		}
	}
	cookies := upstream.KeepCookies(slices.Clone(r.Header["Cookie"]), ownCookie)
	if len(cookies) > 0 {
		h["Cookie"] = []string{strings.Join(cookies, "; ")}
	}
	credentials := r.Header["Authorization"]
	switch {
	case token != "":
		credentials = []string{"Bearer " + token}
	case dropsAuthorization(&g.config.Routes[at.route.Index]) || len(credentials) > 1:
		credentials = nil
	}
	if len(credentials) > 0 {
		h["Authorization"] = credentials
	}
	h.Set("Cache-Control", "no-store")
	if q.appended == "" {
		return
	}
	var remove []string
	for _, name := range g.told.names {
		if len(h[name]) == 0 {
			remove = append(remove, strings.ToLower(name))
		}
	}
	if len(cookies) == 0 {
		remove = append(remove, "cookie")
	}
	if len(credentials) == 0 {
		remove = append(remove, "authorization")
	}
	if len(remove) > 0 {
		h.Set("X-Envoy-Auth-Headers-To-Remove", strings.Join(remove, ","))
	}
}

// checkAnswer is the one place where the status of an answer to a check is written: it is one of success only after allow.
type checkAnswer struct {
	http.ResponseWriter
	redirects bool
	passes    int    // the status after allow
	refuses   func() // before an answer that lets nobody pass is written; nil: nothing
	allowed   bool
	answered  bool
}

// allow lets the request pass.
func (a *checkAnswer) allow() {
	a.allowed = true
	a.Header().Set("Content-Length", "0")
	a.WriteHeader(a.passes)
}

// WriteHeader writes the status, once.
func (a *checkAnswer) WriteHeader(status int) {
	if a.answered {
		return
	}
	a.answered = true
	if !a.allowed && a.refuses != nil {
		a.refuses()
	}
	switch {
	case a.allowed:
		status = a.passes
	case status < http.StatusMultipleChoices:
		status = http.StatusForbidden
	case !a.redirects:
		status = checkStatus(status)
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter: an answer without a status denies.
func (a *checkAnswer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusForbidden)
	return a.ResponseWriter.Write(p)
}

// unheard is for answers to somebody who is not there: a cookie that is no session's stays until it comes to us itself.
type unheard struct{}

func (unheard) Header() http.Header         { return http.Header{} }
func (unheard) Write(p []byte) (int, error) { return len(p), nil }
func (unheard) WriteHeader(int)             {}

// checkStatus is the status of PREFIX/auth for that of a page.
func checkStatus(status int) int {
	switch {
	case status == http.StatusBadRequest || status == http.StatusUnauthorized:
		return status
	case status >= http.StatusInternalServerError:
		return http.StatusServiceUnavailable
	}
	return http.StatusForbidden
}

func checkRefused(status int, why string) error {
	return &page.Problem{Page: page.Page{ID: page.BadRequest, Status: status}, ProxyStatus: "http_request_denied", Cause: errors.New("forward-auth: " + why)}
}

// opensSocket reports whether a request is the opening handshake of a WebSocket, as far as what proxies take out of it leaves
// that to be seen. Scripts in browsers can set none of these headers.
func opensSocket(r *http.Request) bool {
	if len(r.Header["Sec-Websocket-Key"]) > 0 || len(r.Header["Sec-Websocket-Version"]) > 0 {
		return true
	}
	return slices.ContainsFunc(r.Header["Upgrade"], func(v string) bool { return strings.Contains(strings.ToLower(v), "websocket") })
}
