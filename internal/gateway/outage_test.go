package gateway_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// readyz is what readiness says: the state, and that of every check by name.
func readyz(t testing.TB, rig *gatewaytest.Rig) (status int, state string, checks map[string]string) {
	t.Helper()
	resp := rig.Admin(t, http.MethodGet, "/readyz?verbose")
	var body struct {
		Status string
		Checks []struct{ Name, State string }
	}
	if err := json.Unmarshal([]byte(resp.Text), &body); err != nil {
		t.Fatalf("readyz: %v\n%s", err, resp.Text)
	}
	checks = map[string]string{}
	for _, c := range body.Checks {
		checks[c.Name] = c.State
	}
	return resp.StatusCode, body.Status, checks
}

// Logto may be down when the gateway starts: it starts, serves what needs nobody, says so, and recovers by itself.
func TestLogtoDownAtStart(t *testing.T) {
	t.Parallel()
	issuer := gatewaytest.NewIssuer(t)
	issuer.Do(func(i *gatewaytest.Issuer) { i.Answer = cut })
	rig := gatewaytest.New(t, &gatewaytest.Options{Issuer: issuer})
	b := rig.Browser(t)

	for path, want := range map[string]int{"/public/x": http.StatusOK, "/health": http.StatusOK, "/optional/": http.StatusOK, "/closed": http.StatusForbidden} {
		if got := b.Get(rig.URL + path); got.StatusCode != want {
			t.Errorf("%s: got %s, want %d", path, got.Status, want)
		}
	}
	eventually(t, "readiness knows", func() bool { _, state, _ := readyz(t, rig); return state == "degraded" })
	if status, _, checks := readyz(t, rig); status != http.StatusOK || checks["logto"] != "degraded" || checks["store"] != "ok" {
		t.Errorf("readyz: got %d %v, want 200 with logto degraded alone", status, checks)
	}
	for _, address := range []string{"/", "/sign-in?return_to=/x"} {
		got := b.Get(rig.URL + address)
		if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") != "30" ||
			!strings.Contains(got.Text, "Signing in is not possible right now") {
			t.Errorf("%s: got %s, Retry-After %q, want 503, 30 and the page that says so\n%s", address, got.Status, got.Header.Get("Retry-After"), got.Text)
		}
		if got.Header.Get("Portero-Code") == "" || got.Header.Get("Proxy-Status") != "portero; error=destination_unavailable" {
			t.Errorf("%s: Portero-Code %q, Proxy-Status %q", address, got.Header.Get("Portero-Code"), got.Header.Get("Proxy-Status"))
		}
	}
	if got := rig.Upstream.Last(); strings.HasPrefix(got, "GET / ") {
		t.Errorf("the application was asked: %q", got)
	}

	issuer.Do(func(i *gatewaytest.Issuer) { i.Answer = nil })
	var last *gatewaytest.Response
	eventually(t, "people can sign in", func() bool {
		if last = b.Get(rig.URL + "/wanted"); last.StatusCode == http.StatusFound {
			last = b.Follow(last)
		}
		return last.StatusCode == http.StatusOK
	})
	if status, state, checks := readyz(t, rig); status != http.StatusOK || state != "ok" {
		t.Errorf("readyz afterwards: got %d %q %v, want ok", status, state, checks)
	}
}

// SR-01, SR-02: without the store nobody gets in anywhere that is protected, whatever they bring, and nobody is
// signed out; what is public goes on; everything is back when the store is.
func TestStoreDown(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*watchedStore, bool){
		"failing": func(s *watchedStore, on bool) { s.fails.Store(on) },
		"hanging": func(s *watchedStore, on bool) { s.hangs.Store(on) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rig, store := storeRig(t, gatewaytest.Options{})
			b := rig.SignedIn(t, "/")
			set(store, true)
			seen := len(rig.Upstream.Requests())

			start := time.Now()
			got := b.Get(rig.URL + "/")
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("the answer took %s, want the store's deadline at most", took)
			}
			if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") != "5" ||
				!strings.Contains(got.Text, "Wiki cannot be opened right now") || got.Header.Get("Portero-Code") == "" {
				t.Errorf("a protected page: got %s, Retry-After %q\n%s", got.Status, got.Header.Get("Retry-After"), got.Text)
			}
			if strings.Contains(got.Text, "canary") {
				t.Errorf("the page tells what only the log should:\n%s", got.Text)
			}
			if got := got.Header.Values("Set-Cookie"); len(got) != 0 {
				t.Errorf("the browser is told to change its cookies: %q", got)
			}
			for _, c := range []struct {
				method, path string
				want         int
			}{
				{"POST", "/", 503}, {"GET", "/admin/", 503}, {"GET", "/_portero/session", 503}, {"POST", "/sign-out", 503},
				{"GET", "/sign-in?return_to=/", 503}, {"GET", "/closed", 403},
			} {
				r := b.Request(c.method, rig.URL+c.path, nil, map[string]string{"Origin": rig.URL, "Sec-Fetch-Site": "same-origin"})
				if got := b.Do(r); got.StatusCode != c.want || got.Header.Get("Portero-Code") == "" {
					t.Errorf("%s %s: got %s, want %d", c.method, c.path, got.Status, c.want)
				}
			}
			if got := len(rig.Upstream.Requests()); got != seen {
				t.Errorf("%d requests reached the application", got-seen)
			}
			for _, path := range []string{"/public/", "/health", "/optional/"} {
				if got := b.Get(rig.URL + path); got.StatusCode != http.StatusOK {
					t.Errorf("%s: got %s, want 200", path, got.Status)
				}
			}
			if got := gatewaytest.Header(rig.Upstream.Last(), "X-Forwarded-User"); len(got) != 0 {
				t.Errorf("the application was told %q without the store", got)
			}
			// Somebody without a cookie can still begin: nothing is asked of the store.
			if got := rig.Browser(t).Get(rig.URL + "/"); got.StatusCode != http.StatusFound {
				t.Errorf("a stranger: got %s, want 302", got.Status)
			}
			if status, state, checks := readyz(t, rig); status != http.StatusServiceUnavailable || state != "failed" || checks["store"] != "failed" {
				t.Errorf("readyz: got %d %q %v, want 503 and failed", status, state, checks)
			}
			if got := metric(t, rig, "portero_sessions"); got != "" && name == "failing" {
				t.Errorf("portero_sessions: got %s, want no value that nobody knows", got)
			}

			set(store, false)
			if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
				t.Errorf("afterwards: got %s, want 200 with the same session", got.Status)
			}
			if status, _, _ := readyz(t, rig); status != http.StatusOK {
				t.Errorf("readyz afterwards: got %d, want 200", status)
			}
		})
	}
}

// A store that fails in the middle of a sign-in makes no session, and the person is not lost.
func TestStoreDownAtCallback(t *testing.T) {
	t.Parallel()
	rig, store := storeRig(t, gatewaytest.Options{})
	b := rig.Browser(t)
	atLogto := b.Get(rig.URL + "/wanted")
	back := b.Get(atLogto.Location())
	store.fails.Store(true)
	if got := b.Get(back.Location()); got.StatusCode != http.StatusServiceUnavailable || rig.Issuer.Calls("/oidc/token") != 0 {
		t.Errorf("got %s after %d token calls, want 503 and none", got.Status, rig.Issuer.Calls("/oidc/token"))
	}
	store.fails.Store(false)
	if got := b.Follow(b.Get(back.Location())); got.StatusCode != http.StatusOK || got.Request.URL.Path != "/wanted" {
		t.Errorf("the same callback afterwards: got %s at %s, want 200 at /wanted", got.Status, got.Request.URL)
	}

	// The disk is full: the state can be read, nothing can be written.
	late := rig.Browser(t)
	back = late.Get(late.Get(rig.URL + "/wanted").Location())
	store.forgets.Store(true)
	if got := late.Get(back.Location()); got.StatusCode != http.StatusServiceUnavailable || late.Cookies("localhost")[rig.Cookie()] != "" {
		t.Errorf("with a full disk: got %s and the session cookie %q, want 503 and none", got.Status, late.Cookies("localhost")[rig.Cookie()])
	}
	// Whoever is signed in goes on: time of last use alone cannot be noted.
	rig.Clock.Add(5 * time.Minute)
	if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
		t.Errorf("signed in, with a full disk: got %s, want 200", got.Status)
	}
	// A sign-out that cannot be written has not happened, and says so.
	if got := b.Post(rig.URL+"/sign-out", nil); got.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("signing out with a full disk: got %s, want 503", got.Status)
	}
}

// SR-02: requests do not pile up behind a store that hangs, and one that flaps lets nobody in who was signed out.
func TestStoreHangsUnderLoad(t *testing.T) {
	t.Parallel()
	rig, store := storeRig(t, gatewaytest.Options{})
	b := rig.SignedIn(t, "/")
	store.hangs.Store(true)
	start := time.Now()
	var wait sync.WaitGroup
	for range 100 {
		wait.Go(func() {
			if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("got %s, want 503", got.Status)
			}
		})
	}
	wait.Wait()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("100 requests took %s", took)
	}
	store.hangs.Store(false)
	gone := b.Cookies("localhost")[rig.Cookie()]
	b.Post(rig.URL+"/sign-out", nil)
	b.SetCookie("localhost", rig.Cookie(), gone)
	for n := range 20 {
		store.fails.Store(n%2 == 0)
		if got := b.Get(rig.URL + "/"); got.StatusCode == http.StatusOK {
			t.Fatal("a session that was ended was let in while the store flapped")
		}
	}
}

// SR-01: a refresh whose answer cannot be stored is no reason to let in or to sign out.
func TestStoreDownAtRefresh(t *testing.T) {
	t.Parallel()
	issuer := gatewaytest.NewIssuer(t)
	issuer.Do(func(i *gatewaytest.Issuer) { i.AccessLife = quick })
	rig, store := storeRig(t, gatewaytest.Options{Issuer: issuer})
	b := rig.SignedIn(t, "/")
	rig.Clock.Add(quick)
	store.forgets.Store(true)
	if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the new tokens cannot be stored: got %s, want 503", got.Status)
	}
	store.forgets.Store(false)
	if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
		t.Errorf("afterwards: got %s, want 200", got.Status)
	}
}
