package logto_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"portero/internal/logto"
)

func jsonText(v any) ([]byte, error) { return json.Marshal(v) }

func TestIP04AnotherIssuerIsRefused(t *testing.T) {
	t.Parallel()
	for _, issuer := range []any{
		"https://auth.example.com/oidc/", "https://auth.example.com", "http://auth.example.com/oidc", "https://evil.example/oidc",
		"https://AUTH.example.com/oidc", "https://auth.example.com:443/oidc", "", nil, 5, []string{"https://auth.example.com/oidc"},
	} {
		i, p := stand(t)
		i.set(pathDiscovery, func(w http.ResponseWriter, r *http.Request) {
			writeJSON(w, 200, i.discovery(map[string]any{"issuer": issuer}))
		})
		if m, err := p.Discover(t.Context()); m != nil || !errors.Is(err, logto.ErrUnavailable) {
			t.Errorf("issuer %v: got %v and error %v, want %v", issuer, m, err, logto.ErrUnavailable)
		}
		if s := p.Status(); s.Discovered || s.Call != "discovery" || s.Class != "malformed" {
			t.Errorf("issuer %v: got status %+v, want discovery malformed", issuer, s)
		}
	}
}

func TestIP05HostileEndpointsAreRefused(t *testing.T) {
	t.Parallel()
	names := []string{"authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "end_session_endpoint", "revocation_endpoint"}
	for _, value := range []any{
		"javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "http://169.254.169.254/", "http://auth.example.com/oidc/x",
		"https://evil.example/oidc/x", "https://auth.example.com.evil.example/x", "https://auth.example.com@evil.example/x",
		"https://user:pass@auth.example.com/x", "https://auth.example.com:8443/x", "https://auth.example.com/x#fragment", "https://auth.example.com/x#",
		"//auth.example.com/x", "/oidc/x", "https:auth.example.com/x", "https:///x", "https://auth.example.com/\r\nX-Evil: 1", "https://auth.example.com/ x",
		`https://auth.example.com\@evil.example/x`, "https://auth.example.com/" + strings.Repeat("x", 4096), "HTTPS://evil.example", 5, []string{"https://auth.example.com/x"},
		"https://[::1/x", "https://auth.example.com:port/x", "ws://auth.example.com/x",
	} {
		for _, name := range names {
			i, p := stand(t)
			i.set(pathDiscovery, func(w http.ResponseWriter, r *http.Request) {
				writeJSON(w, 200, i.discovery(map[string]any{name: value}))
			})
			if m, err := p.Discover(t.Context()); m != nil || !errors.Is(err, logto.ErrUnavailable) {
				t.Errorf("%s %.60v: got %v and error %v, want %v", name, value, m, err, logto.ErrUnavailable)
			}
		}
	}
	for _, name := range names[:3] {
		for _, value := range []any{nil, "", json.RawMessage("null")} {
			i, p := stand(t)
			i.set(pathDiscovery, func(w http.ResponseWriter, r *http.Request) {
				writeJSON(w, 200, i.discovery(map[string]any{name: value}))
			})
			if _, err := p.Discover(t.Context()); !errors.Is(err, logto.ErrUnavailable) {
				t.Errorf("%s missing: got error %v, want %v", name, err, logto.ErrUnavailable)
			}
		}
	}
}

func TestDiscoveryWithoutOptionalEndpoints(t *testing.T) {
	t.Parallel()
	i, p := stand(t)
	i.set(pathDiscovery, func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, 200, i.discovery(map[string]any{"userinfo_endpoint": nil, "end_session_endpoint": nil, "revocation_endpoint": nil}))
	})
	if _, err := p.EndSessionURL(t.Context(), logto.EndSession{}); !errors.Is(err, logto.ErrRefused) {
		t.Errorf("EndSessionURL: got error %v, want %v", err, logto.ErrRefused)
	}
	if err := p.Revoke(t.Context(), "r"); !errors.Is(err, logto.ErrRefused) {
		t.Errorf("Revoke: got error %v, want %v", err, logto.ErrRefused)
	}
	if _, err := p.Userinfo(t.Context(), "a", "s"); !errors.Is(err, logto.ErrRefused) {
		t.Errorf("Userinfo: got error %v, want %v", err, logto.ErrRefused)
	}
}

func TestDiscoveryOverAnInternalAddress(t *testing.T) {
	t.Parallel()
	internal, _ := url.Parse("http://logto:3001")
	i, _ := stand(t)
	p := provider(t, i, func(c *logto.Config) { c.Client, c.Internal = inMemory(i), internal })
	i.set(pathDiscovery, func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, 200, i.discovery(map[string]any{"token_endpoint": "http://LOGTO:3001/oidc/token?a=b", "jwks_uri": "https://AUTH.example.com:443/oidc/jwks"}))
	})
	m, err := p.Discover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := m.TokenEndpoint, "https://auth.example.com/oidc/token?a=b"; got != want {
		t.Errorf("an endpoint on the internal origin: got %s, want %s", got, want)
	}
	if got, want := m.KeysEndpoint, "https://auth.example.com/oidc/jwks"; got != want {
		t.Errorf("an endpoint on the public origin: got %s, want %s", got, want)
	}
	i.set(pathDiscovery, func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, 200, i.discovery(map[string]any{"token_endpoint": "http://logto:3002/oidc/token"}))
	})
	p = provider(t, i, func(c *logto.Config) { c.Client, c.Internal = inMemory(i), internal })
	if _, err := p.Discover(t.Context()); !errors.Is(err, logto.ErrUnavailable) {
		t.Errorf("an endpoint on another port: got error %v, want %v", err, logto.ErrUnavailable)
	}
}

func TestIssuerIsSpelledAsLogtoDoes(t *testing.T) {
	t.Parallel()
	for endpoint, want := range map[string]string{
		"https://tenant.logto.app/":     "https://tenant.logto.app/oidc",
		"https://tenant.logto.app":      "https://tenant.logto.app/oidc",
		"https://Tenant.Logto.App:443/": "https://tenant.logto.app/oidc",
		"http://localhost:3001/":        "http://localhost:3001/oidc",
		"http://127.0.0.1:80":           "http://127.0.0.1/oidc",
		"https://example.com:80/":       "https://example.com:80/oidc",
		"http://[::1]:3001/":            "http://[::1]:3001/oidc",
		"https://example.com/logto/":    "https://example.com/logto/oidc",
	} {
		u, err := url.Parse(endpoint)
		if err != nil {
			t.Fatal(err)
		}
		if got := logto.New(logto.Config{Endpoint: u}).Issuer(); got != want {
			t.Errorf("%s: got %s, want %s", endpoint, got, want)
		}
	}
}

func TestDiscoveryIsFetchedByOneCallForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i, p := stand(t)
		release := make(chan struct{})
		i.set(pathDiscovery, func(w http.ResponseWriter, r *http.Request) { <-release; writeJSON(w, 200, i.discovery(nil)) })
		impatient, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := p.Discover(impatient); !errors.Is(err, context.Canceled) {
				t.Errorf("who left: got error %v, want %v", err, context.Canceled)
			}
		})
		synctest.Wait()
		for range 1000 {
			all.Go(func() {
				if _, err := p.Discover(t.Context()); err != nil {
					t.Errorf("who stayed: got error %v, want none", err)
				}
			})
		}
		synctest.Wait()
		leave()
		synctest.Wait()
		close(release)
		all.Wait()
		if got := i.count(pathDiscovery); got != 1 {
			t.Errorf("got %d fetches, want 1", got)
		}
	})
}

func TestDiscoveryIsRenewedInTheBackgroundAndKeptForADay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i, p := stand(t)
		step := func(what string, advance time.Duration, calls int, want error) {
			t.Helper()
			i.clock.advance(advance)
			_, err := p.Discover(t.Context())
			synctest.Wait()
			if !errors.Is(err, want) {
				t.Errorf("%s: got error %v, want %v", what, err, want)
			}
			if got := i.count(pathDiscovery); got != calls {
				t.Errorf("%s: got %d fetches, want %d", what, got, calls)
			}
		}
		step("at first", 0, 1, nil)
		step("just under an hour later", time.Hour-time.Second, 1, nil)
		step("an hour later", time.Second, 2, nil)
		step("right after that", time.Second, 2, nil)

		// Callers do not wait for the renewal.
		hold := make(chan struct{})
		i.set(pathDiscovery, func(w http.ResponseWriter, r *http.Request) { <-hold; writeJSON(w, 500, nil) })
		step("while the renewal hangs", time.Hour, 3, nil)
		step("while it hangs still", time.Second, 3, nil)
		close(hold)
		synctest.Wait()
		step("after it failed", 0, 3, nil)
		if s := p.Status(); !s.Discovered || s.Call != "discovery" || s.Class != "busy" {
			t.Errorf("while renewals fail: got status %+v, want discovered, and discovery busy", s)
		}
		step("a second after it failed", time.Second, 4, nil)
		step("just under a day after it was fetched", 22*time.Hour, 5, nil)
		step("a day after it was fetched", 2*time.Hour, 6, logto.ErrUnavailable)
		if s := p.Status(); s.Discovered {
			t.Errorf("a day after: got status %+v, want nothing discovered", s)
		}
		i.set(pathDiscovery, func(w http.ResponseWriter, r *http.Request) { writeJSON(w, 200, i.discovery(nil)) })
		step("when Logto is back", 30*time.Second, 7, nil)
		if s := p.Status(); !s.Discovered || s.Call != "" || s.Class != "" || !s.Since.Equal(i.clock.Now()) {
			t.Errorf("when Logto is back: got status %+v, want a good one since now", s)
		}
	})
}

func TestDiscoveryBacksOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i, p := stand(t)
		if s := p.Status(); s != (logto.Status{}) {
			t.Errorf("before any call: got status %+v, want the zero one", s)
		}
		began := i.clock.Now()
		i.set(pathDiscovery, write(503, "", ""))
		calls := 0
		try := func() {
			t.Helper()
			for range 50 {
				if _, err := p.Discover(t.Context()); !errors.Is(err, logto.ErrUnavailable) {
					t.Fatalf("got error %v, want %v", err, logto.ErrUnavailable)
				}
			}
			if got := i.count(pathDiscovery); got != calls {
				t.Errorf("got %d fetches, want %d", got, calls)
			}
		}
		calls = 1
		try()
		for _, wait := range []time.Duration{1, 2, 4, 8, 16, 30, 30, 30} {
			i.clock.advance(wait*time.Second - time.Millisecond)
			try()
			i.clock.advance(time.Millisecond)
			calls++
			try()
		}
		if s := p.Status(); s.Discovered || s.Call != "discovery" || s.Class != "busy" || !s.Since.Equal(began) {
			t.Errorf("got status %+v, want discovery busy since %v", s, began)
		}
		// A clock that is set back does not prolong the wait.
		i.clock.advance(-24 * time.Hour)
		calls++
		try()
	})
}

func TestIP12FlappingCausesNoMoreCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i, p := stand(t)
		tokens := 0
		i.set(pathToken, func(w http.ResponseWriter, r *http.Request) {
			i.mu.Lock()
			tokens++
			up := tokens%2 == 0
			i.mu.Unlock()
			if !up {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			writeJSON(w, 200, tokenAnswer(nil))
		})
		failed := 0
		for range 100 {
			if _, err := exchange(t, p); err != nil {
				failed++
			}
		}
		if got := i.count(pathToken); got != 100 || failed != 50 {
			t.Errorf("100 sign-ins: got %d token calls and %d failures, want 100 and 50", got, failed)
		}
	})
}

func TestIP02OnlyTheAffectedCallFails(t *testing.T) {
	t.Parallel()
	k := newES384("k1")
	i, p := stand(t, k.jwk(nil))
	i.set(pathToken, func(w http.ResponseWriter, r *http.Request) { writeJSON(w, 200, tokenAnswer(nil)) })
	i.set(pathUserinfo, write(200, "application/json", `{"sub":"6ybbj4dc2w10"}`))
	calls := map[string]func() error{
		pathToken:    func() error { _, err := exchange(t, p); return err },
		pathKeys:     func() error { return verify(t, p, k.token(i.claims(nil), nil)) },
		pathUserinfo: func() error { _, err := p.Userinfo(t.Context(), "a", "6ybbj4dc2w10"); return err },
		pathRevoke:   func() error { return p.Revoke(t.Context(), "r") },
		"/authorize": func() error { _, err := p.AuthorizationURL(t.Context(), request()); return err },
		"/end":       func() error { _, err := p.EndSessionURL(t.Context(), logto.EndSession{}); return err },
	}
	for path, call := range calls {
		if err := call(); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	for _, down := range []string{pathDiscovery, pathToken, pathKeys, pathUserinfo, pathRevoke} {
		i.mu.Lock()
		was := i.routes[down]
		i.mu.Unlock()
		i.set(down, write(503, "", ""))
		for path, call := range calls {
			err := call()
			// Discovery and keys are known already.
			if fails := path == down && down != pathKeys; fails != errors.Is(err, logto.ErrUnavailable) || !fails && err != nil {
				t.Errorf("%s down: %s: got error %v", down, path, err)
			}
		}
		i.set(down, was)
		for path, call := range calls {
			if err := call(); err != nil {
				t.Errorf("%s up again: %s: got error %v, want none", down, path, err)
			}
		}
	}
}
