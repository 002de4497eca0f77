package gateway

import (
	"errors"
	"net/http"

	"portero/internal/authflow"
	"portero/internal/forwarded"
	"portero/internal/guard"
	"portero/internal/route"
	"portero/internal/session"
	"portero/internal/telemetry"
	"portero/internal/upstream"
)

// ServeHTTP answers one request. The order of this function, serve and protect is the order of the request.
func (g *generation) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// net/http finds the end of a body by its chunks, and of one in HTTP/1.0 by its length. It does not tell of the other
	// one, by which somebody in front may have found another end: nothing behind is read (RFC 9112, sections 6.1 and 6.3).
	if len(r.TransferEncoding) > 0 && r.ProtoMajor == 1 || !r.ProtoAtLeast(1, 1) {
		w.Header().Set("Connection", "close")
	}
	// Who sent this, and which URL did they type?
	from, err := g.forwarded.Resolve(r)
	x := telemetry.FromContext(r.Context())
	x.Host, x.RequestID = from.Host, from.RequestID
	if from.Client.IsValid() { // else nobody knows, and the connection's other end is logged
		x.Client = from.Client.String()
	}
	r = r.WithContext(forwarded.NewContext(r.Context(), from))
	if q, asks := questionOf(g.endpoints, r.RequestURI); asks { // another proxy asks about a request
		g.forwardAuth(w, r, from, r.Host, err, q)
		return
	}
	if err == nil {
		r.Host = from.Host
	}
	switch nonce, healthz := healthzOf(g.endpoints.Prefix, r.RequestURI); {
	case healthz: // on every host
		g.reflect(r, nonce, from, err)
		err = g.healthz(w, r)
	case r.RequestURI == g.endpoints.Prefix+"/jwks.json": // on every host: applications ask where they reach us
		err = g.jwks(w, r)
	case err == nil:
		err = g.serve(w, r, from)
	}
	if err != nil {
		g.fail(w, r, err)
	}
}

// serve finds out what a request is for.
func (g *generation) serve(w http.ResponseWriter, r *http.Request, from forwarded.Request) error {
	if route.ValidMethod(r.Method) && malformedHTTP2(r) {
		return errMalformed
	}
	if g.preflight(w, r, from) {
		return nil
	}
	// One normal form of method, host and path, or an answer of our own.
	at, err := g.find(r.Method, r.RequestURI, r.Host, from.Host)
	switch {
	case err != nil:
		return err
	case at.target.Asterisk:
		leaveUnread(w, r)
		w.WriteHeader(http.StatusNoContent)
		return nil
	case at.route == nil:
		return g.ours(w, r, at.target)
	case g.config.Routes[at.route.Index].ForwardAuthOnly: // nothing is forwarded there
		return route.ErrNoRoute
	}
	telemetry.FromContext(r.Context()).Route = at.route.Name
	if c := g.cors[at.route.Index]; c != nil {
		c.share(w.Header(), r)
	}
	return g.protect(w, r, at.route, at.target, from)
}

// protect asks the guard and does what it says. The proxy path ends here.
func (g *generation) protect(w http.ResponseWriter, r *http.Request, rt *route.Route, target route.Target, from forwarded.Request) error {
	since := g.live.Mark()
	found, trouble := g.lookup(w, r, rt, from.Hostname())
	decision := g.decide(r, rt, target, from, found, trouble)
	switch decision.Outcome {
	case guard.Allow:
		token, err := g.accessToken(r, rt, found.Session)
		switch {
		case errors.Is(err, authflow.ErrSessionOver):
			g.sessions.ClearCookie(w)
			leaveUnread(w, r)
			return g.flow.Challenge(w, r, g.returnPath(target))
		case err != nil:
			return g.withoutToken(r, rt, found.Session, err)
		}
		err = g.proxies[rt.Index].Serve(w, r, upstream.Call{
			Target: target, From: from, Identity: decision.Identity, Session: found.Session, Idles: g.idles(found.Session), Since: since,
			Left: g.left(decision), AccessToken: token,
		})
		if errors.Is(err, upstream.ErrSessionEnded) && decision.Bearer == nil {
			return g.overtaken(w, r, target, err)
		}
		return err
	case guard.SignIn:
		if decision.Reason == guard.ReasonStepUp {
			return g.flow.StepUp(r, g.returnPath(target), decision.MaxAge, found.Session.Identity.Email)
		}
		leaveUnread(w, r)
		return g.flow.Challenge(w, r, g.returnPath(target))
	}
	return &denied{decision: decision, session: found.Session, cause: trouble}
}

// decide asks the guard, and notes its answer for the access log.
func (g *generation) decide(r *http.Request, rt *route.Route, target route.Target, from forwarded.Request, found session.Lookup, trouble error) guard.Decision {
	d := g.guard.Decide(r.Context(), guard.Request{
		Route: rt, Session: found.Session, Missing: found.Reason, Lookup: trouble, Bearer: g.bearer(r, rt), Client: from.Client, Headers: g.headers[rt.Index],
		Method: r.Method, Scheme: from.Scheme, Host: from.Host, Path: target.Path, RequestID: from.RequestID,
	})
	x := telemetry.FromContext(r.Context())
	x.Decision, x.Reason, x.WouldDeny = d.Outcome.String(), string(d.Reason), d.WouldDenyWhy()
	if b := d.Bearer; b != nil {
		x.Subject = b.Identity.Subject
	} else if s := found.Session; s != nil {
		x.Subject, x.SessionID = s.Subject, s.ID
	}
	return d
}

// lookup finds the session of a request, where the route needs one and no access token is brought, and keeps it fresh. A cookie that is no session's
// is dropped by the browser.
func (g *generation) lookup(w http.ResponseWriter, r *http.Request, rt *route.Route, host string) (session.Lookup, error) {
	if rt.Access != route.SignedIn && rt.Access != route.Optional || g.bringsToken(r, rt) {
		return session.Lookup{}, nil
	}
	found, err := g.sessions.Lookup(r.Context(), r, host)
	if err != nil {
		return session.Lookup{}, err
	}
	if found.Session == nil {
		if found.Clear {
			g.sessions.ClearCookie(w)
		}
		return found, nil
	}
	renewed, err := g.flow.Renew(r.Context(), found.Session)
	switch {
	case errors.Is(err, authflow.ErrSessionOver):
		g.sessions.ClearCookie(w)
		return session.Lookup{Reason: session.EndedReason}, nil
	case errors.Is(err, authflow.ErrGraceOver):
		return session.Lookup{Reason: session.Expired}, nil
	case err != nil:
		return found, err // the guard lets nobody in with an error; the page may still say whose session it is
	}
	found.Session = renewed
	return found, nil
}

// denied is the error for a Deny decision; fail.go turns it into a page.
type denied struct {
	decision guard.Decision
	session  *session.Session
	cause    error
}

func (d *denied) Error() string { return "denied: " + string(d.decision.Reason) }

func (d *denied) Unwrap() error { return d.cause }

// returnPath is where a person comes back to after signing in for a request.
func (g *generation) returnPath(t route.Target) authflow.ReturnPath {
	raw := t.Raw
	if t.HasQuery {
		raw += "?" + t.Query
	}
	p, ok := authflow.ParseReturnPath(raw)
	if !ok {
		g.log.Info("a return path is too long, or cannot be one; its query was left out")
		p, _ = authflow.ParseReturnPath(t.Raw)
	}
	return p
}
