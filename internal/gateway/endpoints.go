package gateway

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"portero/internal/assertion/signed"
	"portero/internal/page"
	"portero/internal/route"
	"portero/internal/telemetry"
)

// router holds our endpoints. Everything under the prefix that is not here is 404; nothing of it is ever forwarded.
func (g *generation) router() *chi.Mux {
	e, f := g.endpoints, g.flow
	m := chi.NewRouter()
	get := func(path string, h page.Handler) {
		m.Method(http.MethodGet, path, g.handle(h))
		m.Method(http.MethodHead, path, g.handle(h))
	}
	signIn := func(path string) { get(path, f.SignIn) }
	callback := func(path string) { m.Method(http.MethodGet, path, g.handle(f.Callback)) }
	signOut := func(path string) {
		get(path, f.SignOut)
		m.Method(http.MethodPost, path, g.handle(f.SignOut))
	}
	for path, add := range map[string]func(string){
		e.SignIn: signIn, e.Prefix + "/sign-in": signIn,
		e.Callback: callback, e.Prefix + "/callback": callback,
		e.SignOut: signOut, e.Prefix + "/sign-out": signOut,
	} {
		if path != "" {
			add(path)
		}
	}
	get(e.Prefix, f.Own)
	get(e.Prefix+"/", f.Own)
	get(e.Prefix+"/session", f.Session)
	get(e.Prefix+"/signed-out", f.SignedOut)
	get(e.Prefix+"/signed-in", f.SignedIn)
	get(e.Prefix+"/continue", f.Continue)
	get(e.Prefix+"/language", f.Language)
	get(e.InvitationPath(), f.Invitation)
	m.Method(http.MethodPost, e.EndSessionsPath(), g.handle(f.EndSessions))
	get(e.Prefix+"/assets/{name}", g.asset)
	m.Method(http.MethodPost, e.Prefix+"/backchannel-logout", g.handle(f.BackchannelLogout))
	if e.Aliases != "" {
		g.mountOAuth2(m)
	}
	m.NotFound(g.handle(func(http.ResponseWriter, *http.Request) error { return errNotFound }).ServeHTTP)
	m.MethodNotAllowed(g.handle(func(_ http.ResponseWriter, r *http.Request) error {
		return &methodNotAllowed{allow: allowed(m, r.URL.Path)}
	}).ServeHTTP)
	return m
}

// outcome carries a handler's error through chi, whose handlers return none.
type outcome struct{ err error }

type outcomeKey struct{}

// handle lets chi call a page.Handler; ours reads the error again.
func (g *generation) handle(h page.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Context().Value(outcomeKey{}).(*outcome).err = h(w, r)
	})
}

// ours answers a request to an endpoint of ours. A path that only decodes to one is not one, and is not forwarded
// either.
func (g *generation) ours(w http.ResponseWriter, r *http.Request, target route.Target) error {
	x := telemetry.FromContext(r.Context())
	x.Route = "portero"
	if target.Raw != target.Path {
		return errNotFound
	}
	if r.Method != http.MethodPost { // forms are read
		leaveUnread(w, r)
	}
	var out outcome
	r = r.WithContext(context.WithValue(r.Context(), outcomeKey{}, &out))
	g.own.ServeHTTP(w, r)
	return out.err
}

// allowed lists the methods that a path of ours takes.
func allowed(m *chi.Mux, path string) string {
	var methods []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
		if m.Match(chi.NewRouteContext(), method, path) {
			methods = append(methods, method)
		}
	}
	return strings.Join(methods, ", ")
}

func (g *generation) asset(w http.ResponseWriter, r *http.Request) error {
	g.pages.ServeAsset(w, r)
	return nil
}

// jwks handles GET /_portero/jwks.json: the keys by which applications check the signed assertion. They are the same for everybody.
func (g *generation) jwks(w http.ResponseWriter, r *http.Request) error {
	telemetry.FromContext(r.Context()).Route = "portero"
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return &methodNotAllowed{allow: "GET, HEAD"}
	}
	leaveUnread(w, r)
	set := g.signing.JWKS()
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Content-Length", strconv.Itoa(len(set)))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "public, max-age="+strconv.Itoa(int(signed.MaxAge/time.Second)))
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	_, err := w.Write(set)
	return err
}

// healthz handles GET /_portero/healthz[?mirror=NONCE]: the process answers. Nothing else is said, and nothing is logged.
func (g *generation) healthz(w http.ResponseWriter, r *http.Request) error {
	x := telemetry.FromContext(r.Context())
	x.Quiet, x.Route = true, "portero"
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return &methodNotAllowed{allow: "GET, HEAD"}
	}
	leaveUnread(w, r)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodGet {
		_, err := io.WriteString(w, "ok\n")
		return err
	}
	return nil
}
