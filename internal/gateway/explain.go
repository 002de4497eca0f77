package gateway

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"portero/internal/access"
	"portero/internal/assertion"
	"portero/internal/config"
	"portero/internal/forwarded"
	"portero/internal/guard"
	"portero/internal/identity"
	"portero/internal/session"
)

// Explainer says what a gateway of a configuration would decide, without one that runs: by the same routes, the same guard
// and the same headers. It asks nobody and records nothing.
type Explainer struct {
	places
	headers  []*assertion.Set
	routes   []config.Route
	external *url.URL
	identity identity.Options
	now      func() time.Time
}

// NewExplainer makes what explains a configuration. now nil: time.Now.
func NewExplainer(cfg *config.Config, now func() time.Time) (*Explainer, error) {
	places, err := newPlaces(cfg)
	if err != nil {
		return nil, err
	}
	headers, err := headerSets(cfg)
	if err != nil {
		return nil, err
	}
	if now == nil {
		now = time.Now
	}
	return &Explainer{places, headers, cfg.Routes, cfg.ExternalURL, identityOptions(cfg), now}, nil
}

// Question is a request that nobody has made.
type Question struct {
	Method string          // "": GET
	URL    string          // as somebody would type it; a path is one on external_url
	Claims identity.Claims // of the person; nil: nobody is signed in
	Age    time.Duration   // how long ago they signed in
	Client netip.Addr      // invalid: nobody knows
}

// Explanation is what the gateway would do with a request.
type Explanation struct {
	URL      string         // as it was understood, without its query
	Decision guard.Decision // what is decided; the zero value where Own or Refused
	Own      bool           // the gateway answers this path itself, whoever asks
	Refused  error          // the request is answered before anything is decided about it
	Rules    []access.RuleReason
	Headers  http.Header // who somebody is, as the application is told; nil without leave
	Omitted  []string    // headers that could not be sent, each with the reason
}

// Signed stands for the signed assertion, whose keys only a gateway has.
const Signed = "(signed)"

// Explain says what would be decided. Its error is about the question.
func (e *Explainer) Explain(ctx context.Context, q Question) (Explanation, error) {
	method := q.Method
	if method == "" {
		method = http.MethodGet
	}
	scheme, host, target, err := e.split(q.URL)
	if err != nil {
		return Explanation{}, err
	}
	s, err := e.session(q)
	if err != nil {
		return Explanation{}, err
	}
	path, _, _ := strings.Cut(target, "?")
	x := Explanation{URL: scheme + "://" + host + path}
	at, err := e.find(method, target, host, host)
	switch {
	case err != nil:
		x.Refused = err
		return x, nil
	case at.route == nil:
		x.Own = true
		return x, nil
	}
	headers := e.headers[at.route.Index]
	asked := guard.Request{
		Route: at.route, Session: s, Missing: session.Found, Client: q.Client.Unmap(), Headers: headers,
		Method: method, Scheme: scheme, Host: host, Path: at.target.Path,
	}
	if s == nil {
		asked.Missing = session.NoCookie
	}
	x.Decision = (&guard.Guard{Now: e.now}).Decide(ctx, asked)
	if s != nil {
		x.Rules = at.route.Allow.Explain(ctx, &s.Identity, asked.ForRules(e.now))
	}
	if x.Decision.Outcome == guard.Allow {
		x.Headers = http.Header{}
		x.Omitted = headers.Apply(x.Headers, x.Decision.Identity)
		if x.Decision.Identity != nil {
			for _, name := range e.routes[at.route.Index].Identity.AssertionHeaders() {
				x.Headers.Set(name, Signed)
			}
		}
	}
	return x, nil
}

// split reads a URL without changing a byte of its target, as a request line has it.
func (e *Explainer) split(typed string) (scheme, host, target string, err error) {
	scheme, host, target = e.external.Scheme, e.external.Host, typed
	if before, rest, found := strings.Cut(typed, "://"); found && !strings.Contains(before, "/") {
		if scheme = strings.ToLower(before); scheme != "http" && scheme != "https" {
			return "", "", "", fmt.Errorf("%q is no http or https URL", typed)
		}
		end := strings.IndexAny(rest, "/?#")
		if end < 0 {
			end = len(rest)
		}
		host, target = rest[:end], rest[end:]
	} else if !strings.HasPrefix(typed, "/") {
		return "", "", "", fmt.Errorf("%q is no URL; write one like %s://%s/path, or a path", typed, e.external.Scheme, e.external.Host)
	}
	if host, err = forwarded.CanonicalHost(host, scheme); err != nil {
		return "", "", "", fmt.Errorf("the host of %q: %w", typed, err)
	}
	target, _, _ = strings.Cut(target, "#") // a browser keeps it
	if target == "" || target[0] == '?' {
		target = "/" + target
	}
	return scheme, host, target, nil
}

// session is that of the person who is asked about.
func (e *Explainer) session(q Question) (*session.Session, error) {
	if q.Claims == nil {
		return nil, nil
	}
	id, err := identity.New(q.Claims, e.identity)
	if err != nil {
		return nil, err
	}
	since := e.now().Add(-q.Age)
	return &session.Session{ID: "explain", Subject: id.Subject, Identity: id, AuthTime: since, CreatedAt: since}, nil
}
