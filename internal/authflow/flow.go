package authflow

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	"portero/internal/audit"
	"portero/internal/forwarded"
	"portero/internal/logto"
	"portero/internal/management"
	"portero/internal/page"
	"portero/internal/seal"
	"portero/internal/session"
	"portero/internal/telemetry"
)

// Flow is the sign-in and sign-out of one generation of the configuration. Its methods are the handlers.
type Flow struct {
	Provider *logto.Provider
	Sessions *session.Manager
	Keys     *seal.KeyRing
	Pages    *page.Set
	Refresh  *Refresher
	Revoker  *Revoker
	Audit    *audit.Log         // nil: nothing is recorded
	Metrics  *telemetry.Metrics // nil: nothing is counted
	Log      *slog.Logger

	// Management ends Logto's own sessions. nil: they are left alone.
	Management *management.Client

	ClientID    string
	Endpoints   Endpoints
	Cookie      string        // name of the session cookie; attempts add "-" and their id
	Secure      bool          // cookies are for https alone
	Port        string        // of the external URL, "" for the scheme's default
	Scopes      []string      // final scopes of the authorization request
	Resources   []string      // API resources whose access tokens AccessToken is asked for
	MaxAge      time.Duration // max_age of the authorization request; 0: 14 days
	Userinfo    bool          // something needs claims that only userinfo has
	Grace       time.Duration // how long a session outlives an unreachable Logto, from the first refresh that failed
	FirstScreen string
	Identifiers []string
	ExtraParams map[string]string

	// Title names the application behind a path of a host, for {app} on pages; "" where there is none.
	Title func(host, path string) string
	// Support is the support contact of that application, nil for the general one.
	Support func(host, path string) *page.Support
	// StepUpAge is how old a sign-in may be for the page at a path of a host; 0: any age. nil: any age everywhere.
	StepUpAge func(host, path string) time.Duration

	Now func() time.Time // nil: time.Now
}

// defaultMaxAge is sent where nothing smaller applies, so that auth_time is always there.
const defaultMaxAge = 14 * 24 * time.Hour

func (f *Flow) now() time.Time {
	if f.Now != nil {
		return f.Now()
	}
	return time.Now()
}

// maxAge is the max_age of an authorization request for a page.
func (f *Flow) maxAge(host string, ret ReturnPath) time.Duration {
	most := f.MaxAge
	if most <= 0 {
		most = defaultMaxAge
	}
	if age := f.stepUpAge(host, ret); age > 0 {
		most = min(most, age)
	}
	return most
}

func (f *Flow) stepUpAge(host string, ret ReturnPath) time.Duration {
	if f.StepUpAge == nil {
		return 0
	}
	return f.StepUpAge(host, ret.Path())
}

// hostOf is the host that r was sent to.
func hostOf(r *http.Request) string { return forwarded.FromContext(r.Context()).Hostname() }

// lookup finds the session of r.
func (f *Flow) lookup(r *http.Request) (session.Lookup, error) {
	return f.Sessions.Lookup(r.Context(), r, hostOf(r))
}

// origin is the origin people see for the host that r was sent to.
func (f *Flow) origin(r *http.Request) string { return f.originOf(hostOf(r)) }

// originOf is the origin of a host of ours. The scheme and port are those of the external URL, never the client's.
func (f *Flow) originOf(host string) string {
	scheme := "http"
	if f.Secure {
		scheme = "https"
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if f.Port != "" {
		host += ":" + f.Port
	}
	return scheme + "://" + host
}

// redirectURI is where Logto sends the answer for a host.
func (f *Flow) redirectURI(host string) string {
	return f.originOf(host) + f.Endpoints.callbackPath()
}

// redirect answers with a Location that is ours or Logto's; nothing of it may be cached.
func redirect(w http.ResponseWriter, location string, status int) {
	w.Header().Set("Location", location)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
}

// problem is a page that reports trouble, with the application of the page that was wanted and a link that starts
// again from there.
func (f *Flow) problem(r *http.Request, id page.ID, ret ReturnPath, cause error) *page.Problem {
	from := forwarded.FromContext(r.Context())
	p := page.Page{
		ID:      id,
		App:     f.title(from.Hostname(), ret),
		Support: f.support(from.Hostname(), ret),
		Primary: &page.Action{URL: f.Endpoints.SignInURL(ret, false)},
	}
	return &page.Problem{Page: p, Cause: cause, ProxyStatus: proxyStatus(id)}
}

// proxyStatus is the error type of RFC 9209 2.3 for a page of ours.
func proxyStatus(id page.ID) string {
	if id == page.SignInUnavailable {
		return "destination_unavailable"
	}
	return "http_request_error"
}

func (f *Flow) title(host string, ret ReturnPath) string {
	if f.Title == nil {
		return ""
	}
	return f.Title(host, ret.Path())
}

func (f *Flow) support(host string, ret ReturnPath) *page.Support {
	if f.Support == nil {
		return nil
	}
	return f.Support(host, ret.Path())
}

// record writes an audit event with who asked.
func (f *Flow) record(r *http.Request, e audit.Event) {
	from := forwarded.FromContext(r.Context())
	e.Client, e.Host, e.RequestID = from.Client.String(), from.Host, from.RequestID
	e.Method, e.Path = r.Method, r.URL.Path
	f.Audit.Record(r.Context(), e)
}
