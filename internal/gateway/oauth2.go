package gateway

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/go-chi/chi/v5"

	"portero/internal/assertion"
	"portero/internal/forwarded"
	"portero/internal/page"
)

// The endpoints of oauth2-proxy, for configurations that know them (endpoints.aliases): ours under other names, with its
// parameters, status codes and headers. /oauth2/auth is a check, in forwardauth.go.

// mountOAuth2 adds them.
func (g *generation) mountOAuth2(m *chi.Mux) {
	f, prefix := g.flow, g.endpoints.Aliases
	for path, h := range map[string]page.Handler{
		"/start": g.withReturn(f.SignIn), "/sign_in": g.withReturn(f.SignIn), "/sign_out": g.withReturn(f.SignOut), "/userinfo": f.OAuth2Userinfo,
	} {
		m.Method(http.MethodGet, prefix+path, g.handle(h))
		m.Method(http.MethodHead, prefix+path, g.handle(h))
	}
}

// withReturn hands on `rd`, which is where oauth2-proxy goes afterwards, as our return_to: a path, or a page of this host. What
// else it may say is not looked at.
func (g *generation) withReturn(h page.Handler) page.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		to := r.URL.Query().Get("rd")
		if path, ok := strings.CutPrefix(to, g.config.Origin(forwarded.FromContext(r.Context()).Hostname())); ok {
			to = path
		}
		again := r.Clone(r.Context())
		again.URL.RawQuery = url.Values{"return_to": {to}}.Encode()
		return h(w, again)
	}
}

// oauth2Set are the headers that oauth2-proxy answers a check with.
func oauth2Set() (*assertion.Set, error) {
	list, err := assertion.Preset("auth-request")
	if err != nil {
		return nil, err
	}
	return assertion.NewSet(list)
}
