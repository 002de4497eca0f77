package gateway_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// The cases of the catalogue about signing out (SO), by id.

// wantDenied fails the test unless the browser has no session any more, and the application sees nothing of the request.
func wantDenied(t testing.TB, rig *gatewaytest.Rig, b *gatewaytest.Browser) {
	t.Helper()
	seen := len(rig.Upstream.Requests())
	r := b.Do(b.Request("GET", rig.URL+"/", nil, map[string]string{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}))
	if r.StatusCode != http.StatusUnauthorized || len(rig.Upstream.Requests()) != seen {
		t.Errorf("got %s, want 401 and nothing at the application", r.Status)
	}
}

// What strangers do is not written down; of a sign-in two things are.
func TestAnonymousVisitsWriteNothing(t *testing.T) {
	t.Parallel()
	chosen := strings.Repeat("A", 43)
	rig, store := storeRig(t, gatewaytest.Options{Session: "store: memory"})
	b := rig.Browser(t)
	back := atLogto(t, rig, b, rig.URL+"/")
	stranger := rig.Browser(t)
	for _, path := range []string{"/", "/public", "/optional", "/closed", "/sign-in", "/sign-out", "/_portero/", "/_portero/session", "/_portero/continue",
		"/_portero/signed-out", "/callback?code=a&state=b", strings.TrimPrefix(back, rig.URL)} {
		stranger.SetCookie("localhost", rig.Cookie(), chosen)
		stranger.Get(rig.URL + path)
	}
	stranger.Post(rig.URL+"/sign-out", nil)
	if got := store.writes(); got != 0 {
		t.Errorf("writes: got %d, want 0", got)
	}
	b.Get(back)
	if got := store.writes(); got != 2 || store.consumes.Load() != 1 || store.creates.Load() != 1 {
		t.Errorf("writes of a sign-in: got %d, want the mark and the session", got)
	}
}

func TestCatalogueSignOut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		id    string
		check func(t *testing.T, rig *gatewaytest.Rig, b *gatewaytest.Browser)
	}{
		{"SO-01 cross-site sign-out", func(t *testing.T, rig *gatewaytest.Rig, b *gatewaytest.Browser) {
			for _, header := range []map[string]string{
				{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
				{"Sec-Fetch-Site": "cross-site"},
				{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
				{"Sec-Fetch-Site": "", "Sec-Fetch-Mode": "", "Sec-Fetch-Dest": "", "Origin": "https://evil.example"},
			} {
				for _, method := range []string{"GET", "POST"} {
					r := b.Do(b.Request(method, rig.URL+"/sign-out", nil, header))
					wantPage(t, r, http.StatusOK, headSignOut)
				}
			}
			if r := b.Get(rig.URL + "/"); r.StatusCode != http.StatusOK {
				t.Errorf("afterwards: got %s, want 200", r.Status)
			}
		}},
		{"SO-02 complete", func(t *testing.T, rig *gatewaytest.Rig, b *gatewaytest.Browser) {
			old := twin(t, rig, b)
			q := wantEndSession(t, rig, b.Post(rig.URL+"/sign-out", nil))
			if !q.Has("id_token_hint") || !q.Has("state") || len(rig.Issuer.Revoked()) != 1 || sessionRows(t, rig) != 0 || hasSession(rig, b) {
				t.Errorf("got %d revoked, %d rows", len(rig.Issuer.Revoked()), sessionRows(t, rig))
			}
			wantDenied(t, rig, old)
		}},
		{"SO-03 post-logout target", func(t *testing.T, rig *gatewaytest.Rig, b *gatewaytest.Browser) {
			for _, value := range []string{"https://evil.example/", "//evil.example", "///evil.example", `/\evil.example`, `\\evil.example`, "/\t/evil.example", "https:evil.example", "javascript:alert(1)"} {
				form := url.Values{"return_to": {value}, "post_logout_redirect_uri": {value}, "rd": {value}, "state": {value}}
				r := b.Post(rig.URL+"/sign-out?"+form.Encode(), form)
				q := wantEndSession(t, rig, r)
				if got := q.Get("post_logout_redirect_uri"); got != rig.URL+"/_portero/signed-out" {
					t.Errorf("%q: post_logout_redirect_uri: got %q", value, got)
				}
				if out := b.Follow(r); strings.Contains(out.Text, "evil") || strings.Contains(out.Text, "alert") {
					t.Errorf("%q: the page repeats it", value)
				}
			}
		}},
		{"SO-04 cookie deletion attributes", func(t *testing.T, rig *gatewaytest.Rig, b *gatewaytest.Browser) {
			for _, line := range b.Post(rig.URL+"/sign-out", nil).Header.Values("Set-Cookie") {
				for _, part := range []string{rig.Cookie() + "=;", "Path=/", "Max-Age=0", "HttpOnly", "SameSite=Lax", "Expires=Thu, 01 Jan 1970"} {
					if !strings.Contains(line, part) {
						t.Errorf("%q has no %q", line, part)
					}
				}
				if strings.Contains(line, "Domain") {
					t.Errorf("%q has a domain", line)
				}
			}
			if hasSession(rig, b) {
				t.Error("the browser still has it")
			}
		}},
		{"SO-05 the provider is down", func(t *testing.T, rig *gatewaytest.Rig, b *gatewaytest.Browser) {
			rig.Issuer.Do(func(i *gatewaytest.Issuer) {
				i.Answer = func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }
			})
			began := time.Now()
			out := b.Post(rig.URL+"/sign-out", nil)
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("signing out took %s, want under a second on an idle machine", took)
			}
			wantPage(t, b.Follow(out), http.StatusOK, headSignedOut)
			if sessionRows(t, rig) != 0 {
				t.Error("the session is still there")
			}
		}},
		{"SO-06 forged cookie", func(t *testing.T, rig *gatewaytest.Rig, b *gatewaytest.Browser) {
			for _, id := range []string{strings.Repeat("A", 43), "x", "", b.Cookies("localhost")[rig.Cookie()][:42] + "_"} {
				c := rig.Browser(t)
				c.SetCookie("localhost", rig.Cookie(), id)
				for range 2 {
					if q := wantEndSession(t, rig, c.Post(rig.URL+"/sign-out", nil)); q.Has("id_token_hint") {
						t.Error("a hint is sent for nobody")
					}
				}
			}
			if r := b.Get(rig.URL + "/"); r.StatusCode != http.StatusOK || len(rig.Issuer.Revoked()) != 0 {
				t.Errorf("the other person: got %s with %d revocations", r.Status, len(rig.Issuer.Revoked()))
			}
		}},
		{"SO-07 many tabs", func(t *testing.T, rig *gatewaytest.Rig, b *gatewaytest.Browser) {
			old := twin(t, rig, b)
			var wg sync.WaitGroup
			for range 10 {
				c := twin(t, rig, b)
				wg.Go(func() { c.Post(rig.URL+"/sign-out", nil) })
				wg.Go(func() { twin(t, rig, old).Get(rig.URL + "/") })
			}
			wg.Wait()
			wantDenied(t, rig, old)
			if got := sessionRows(t, rig); got != 0 {
				t.Errorf("rows: got %d, want 0", got)
			}
		}},
		{"SO-08 caching after sign-out", func(t *testing.T, rig *gatewaytest.Rig, b *gatewaytest.Browser) {
			if got := b.Get(rig.URL + "/").Header.Get("Cache-Control"); got != "private, no-store" {
				t.Errorf("Cache-Control of protected HTML: got %q", got)
			}
			if got := b.Post(rig.URL+"/sign-out", nil).Header.Get("Clear-Site-Data"); got != `"cache"` {
				t.Errorf("Clear-Site-Data: got %q", got)
			}
		}},
		{"SO-09 front-channel logout is not there", func(t *testing.T, rig *gatewaytest.Rig, b *gatewaytest.Browser) {
			header := map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "iframe"}
			for path, status := range map[string]int{"/_portero/front-logout": 404, "/_portero/frontchannel-logout": 404, "/sign-out": 200} {
				r := b.Do(b.Request("GET", rig.URL+path+"?sid=sid-1&iss="+url.QueryEscape(rig.Issuer.URL+"/oidc"), nil, header))
				if r.StatusCode != status {
					t.Errorf("%s: got %s, want %d", path, r.Status, status)
				}
			}
			if r := b.Get(rig.URL + "/"); r.StatusCode != http.StatusOK || len(rig.Issuer.Revoked()) != 0 {
				t.Errorf("afterwards: got %s with %d revocations", r.Status, len(rig.Issuer.Revoked()))
			}
		}},
	} {
		t.Run(tt.id, func(t *testing.T) {
			t.Parallel()
			rig := gatewaytest.New(t, nil)
			tt.check(t, rig, rig.SignedIn(t, "/"))
		})
	}
}
