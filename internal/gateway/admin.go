package gateway

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"portero/internal/config"
	"portero/internal/forwarded"
)

// check is one dependency as readiness sees it.
type check struct {
	Name   string `json:"name"`
	State  string `json:"state"` // ok | degraded | failed
	Detail string `json:"detail,omitempty"`
}

// The states of a check, and of all of them.
const (
	stateOK       = "ok"
	stateDegraded = "degraded"
	stateFailed   = "failed"
)

// readiness asks every dependency. The worst state of those that a request cannot do without is the whole's; Logto
// or an upstream down is only degraded, since people who are signed in go on working.
func (g *Gateway) readiness(ctx context.Context) (string, []check) {
	gen := g.current.Load()
	var checks []check
	add := func(name, state, detail string) { checks = append(checks, check{name, state, detail}) }
	switch {
	case g.draining.Load():
		add("gateway", stateFailed, "draining")
	case !g.serving.Load():
		add("gateway", stateFailed, "starting")
	default:
		add("gateway", stateOK, "")
	}
	if err := gen.sessions.Ping(ctx); err != nil {
		add("store", stateFailed, "the session store does not answer")
	} else {
		add("store", stateOK, "")
	}
	if s := gen.flow.Provider.Status(); s.Class != "" {
		add("logto", stateDegraded, fmt.Sprintf("%s: %s since %s", s.Call, s.Class, s.Since.UTC().Format(time.RFC3339)))
	} else {
		add("logto", stateOK, "")
	}
	for _, p := range gen.proxies {
		if p == nil {
			continue
		}
		if down := p.Down(); len(down) > 0 {
			add("upstream "+p.Name(), stateDegraded, "not reached lately: "+strings.Join(down, ", "))
		}
	}
	state := stateOK
	for _, c := range checks {
		if c.State == stateFailed || c.State == stateDegraded && state == stateOK {
			state = c.State
		}
	}
	return state, checks
}

// readyz handles GET /readyz[?verbose]: 200 when requests can be served, 503 while starting, draining or without the
// session store.
func (g *Gateway) readyz(w http.ResponseWriter, r *http.Request) {
	state, checks := g.readiness(r.Context())
	status := http.StatusOK
	if state == stateFailed {
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Cache-Control", "no-store")
	if r.URL.Query().Has("verbose") {
		writeJSON(w, status, map[string]any{"status": state, "checks": checks})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintln(w, state)
}

func (g *Gateway) liveness(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	io.WriteString(w, "ok\n")
}

// metricsHandler serves what may be read without the token: on metrics_listen nothing else is there.
func (g *Gateway) metricsHandler() *chi.Mux {
	m := chi.NewRouter()
	m.Get("/healthz", g.liveness)
	m.Get("/readyz", g.readyz)
	m.Method(http.MethodGet, "/metrics", g.metrics.Handler())
	return m
}

// adminHandler is the admin listener: health and metrics for everybody who reaches it, the rest with the token.
func (g *Gateway) adminHandler() http.Handler {
	m := g.metricsHandler()
	m.Group(func(m chi.Router) {
		m.Use(g.requireToken)
		m.Get("/api/status", g.apiStatus)
		m.Post("/api/reload", g.apiReload)
		m.Get("/api/sessions", g.apiSessions)
		m.Post("/api/sessions/revoke", g.apiRevoke)
		m.Post("/api/invitations", g.apiInvite)
		m.Post("/api/mirror", g.apiMirror)
		m.Get("/api/mirror", g.apiMirrored)
	})
	m.NotFound(g.requireToken(http.NotFoundHandler()).ServeHTTP)
	return g.guardAdmin(m)
}

// guardAdmin keeps browsers out that were led here: the Host must be an address, localhost or one of admin.hosts, and
// the request must not come from another site.
func (g *Gateway) guardAdmin(next http.Handler) http.Handler {
	crossOrigin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		site := r.Header.Get("Sec-Fetch-Site")
		if !g.adminHost(r.Host) || site != "" && site != "same-origin" && site != "none" || crossOrigin.Check(r) != nil {
			http.Error(w, "this host or site may not use the admin listener; see admin.hosts", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (g *Gateway) adminHost(hostport string) bool {
	host, err := forwarded.CanonicalHost(hostport, "http")
	if err != nil {
		return false
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	return host == "localhost" || slices.Contains(g.config().Admin.Hosts, host)
}

// requireToken asks for `Authorization: Bearer` with the admin token. Without a token everything behind it is closed.
func (g *Gateway) requireToken(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		want := g.adminToken
		a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
		if !ok || want == "" || subtle.ConstantTimeCompare(a[:], b[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="portero admin"`)
			w.Header().Set("Cache-Control", "no-store")
			http.Error(w, "the admin token is needed: Authorization: Bearer TOKEN", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// apiStatus handles GET /api/status[?prove]: what runs, since when, and how its dependencies are. With prove the client
// secret is tried at Logto if no call has used it yet; a later answer says how that ended.
func (g *Gateway) apiStatus(w http.ResponseWriter, r *http.Request) {
	state, checks := g.readiness(r.Context())
	gen := g.current.Load()
	sessions, err := gen.sessions.Count(r.Context())
	body := map[string]any{
		"status": state, "checks": checks, "version": g.opts.Version, "started_at": g.startedAt.UTC(),
		"configuration_loaded_at": gen.built.UTC(), "live_connections": g.live.Len(), "logto": gen.secretStatus(),
	}
	if r.URL.Query().Has("prove") {
		g.prove()
	}
	if err == nil {
		body["sessions"] = sessions
	}
	writeJSON(w, http.StatusOK, body)
}

// apiReload handles POST /api/reload, as SIGHUP does.
func (g *Gateway) apiReload(w http.ResponseWriter, r *http.Request) {
	if err := g.Reload(); err != nil {
		writeJSON(w, http.StatusConflict, map[string]string{"error": "reload_failed", "message": err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "reloaded"})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return // the client is gone
	}
}

// TokenFile is where a token lies that was made at start: portero-admin-PORT.token in dir.
func TokenFile(dir string, port int) string {
	return filepath.Join(dir, fmt.Sprintf("portero-admin-%d.token", port))
}

// TokenPath is where the gateway of a configuration leaves a token that it makes at start.
func TokenPath(cfg *config.Config) (string, error) {
	_, text, err := net.SplitHostPort(cfg.Admin.Listen)
	if err != nil {
		return "", fmt.Errorf("admin.listen: %w", err)
	}
	port, err := net.LookupPort("tcp", text)
	if err != nil {
		return "", fmt.Errorf("admin.listen: %w", err)
	}
	return TokenFile(tokenDir(cfg), port), nil
}

// makeToken makes an admin token and writes it for the commands, readable by the owner alone.
func makeToken(path string) (string, error) {
	raw := make([]byte, 32)
	rand.Read(raw)
	token := base64.RawURLEncoding.EncodeToString(raw)
	tmp, err := os.CreateTemp(filepath.Dir(path), ".portero-admin-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(tmp.Name())
	if _, err := tmp.WriteString(token + "\n"); err != nil {
		tmp.Close()
		return "", err
	}
	if err := tmp.Close(); err != nil {
		return "", err
	}
	return token, os.Rename(tmp.Name(), path)
}
