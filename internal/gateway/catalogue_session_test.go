package gateway_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
	"portero/internal/session"
)

// The cases of the catalogue about sessions (SE) and signing out (SO), by id.

// wantDenied fails the test unless the browser has no session any more, and the application sees nothing of the request.
func wantDenied(t testing.TB, rig *gatewaytest.Rig, b *gatewaytest.Browser) {
	t.Helper()
	seen := len(rig.Upstream.Requests())
	r := b.Do(b.Request("GET", rig.URL+"/", nil, map[string]string{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}))
	if r.StatusCode != http.StatusUnauthorized || len(rig.Upstream.Requests()) != seen {
		t.Errorf("got %s, want 401 and nothing at the application", r.Status)
	}
}

func TestCatalogueSessions(t *testing.T) {
	t.Parallel()
	chosen := strings.Repeat("A", 43)
	for _, tt := range []struct {
		id    string
		check func(t *testing.T)
	}{
		{"SE-01 fixation by unknown id", func(t *testing.T) {
			rig := gatewaytest.New(t, nil)
			b := rig.Browser(t)
			b.SetCookie("localhost", rig.Cookie(), chosen)
			signIn(t, b, rig.URL+"/")
			if b.Cookies("localhost")[rig.Cookie()] == chosen {
				t.Error("the id was taken over")
			}
			c := rig.Browser(t)
			c.SetCookie("localhost", rig.Cookie(), chosen)
			wantDenied(t, rig, c)
		}},
		{"SE-02 fixation by a known id", func(t *testing.T) {
			rig := gatewaytest.New(t, nil)
			attacker := rig.SignedIn(t, "/")
			known := attacker.Cookies("localhost")[rig.Cookie()]
			rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person = map[string]any{"sub": "bob", "sid": "sid-2"} })
			victim := rig.Browser(t)
			victim.SetCookie("localhost", rig.Cookie(), known)
			victim.Follow(victim.Get(rig.URL + "/sign-in?fresh=1"))
			if victim.Cookies("localhost")[rig.Cookie()] == known {
				t.Error("the id was kept")
			}
			wantDenied(t, rig, attacker)
		}},
		{"SE-03 sign-ins that race", func(t *testing.T) {
			rig := gatewaytest.New(t, nil)
			b := rig.Browser(t)
			var backs []string
			for i := range 5 {
				backs = append(backs, atLogto(t, rig, b, fmt.Sprintf("%s/%d", rig.URL, i)))
			}
			var wg sync.WaitGroup
			for i, back := range backs {
				wg.Go(func() { wantRedirect(t, b.Get(back), fmt.Sprintf("%s/%d", rig.URL, i)) })
			}
			wg.Wait()
			if r := b.Get(rig.URL + "/"); r.StatusCode != http.StatusOK {
				t.Errorf("afterwards: got %s, want 200", r.Status)
			}
		}},
		{"SE-04 unreadable session", func(t *testing.T) {
			for _, body := range []string{"", "x", "{}", `{"Subject":"root"}`, strings.Repeat("\x00", 500), "\x01\x02\x03"} {
				rig, store := storeRig(t, gatewaytest.Options{Session: "store: memory"})
				b := rig.SignedIn(t, "/")
				store.bendWith(func(r session.Row) session.Row { r.Body = []byte(body); r.Version++; return r })
				r := b.Get(rig.URL + "/")
				wantToLogto(t, rig, r)
				if c := setCookies(r)[rig.Cookie()]; c == nil || c.MaxAge >= 0 {
					t.Error("the browser keeps the cookie")
				}
				if !strings.Contains(rig.Log.String(), "unreadable") {
					t.Error("the log says nothing")
				}
			}
		}},
		{"SE-05 hostile store content", func(t *testing.T) {
			for _, body := range []string{strings.Repeat("[", 100000), strings.Repeat("a", 10<<20)} {
				rig, store := storeRig(t, gatewaytest.Options{Session: "store: memory"})
				b := rig.SignedIn(t, "/")
				store.bendWith(func(r session.Row) session.Row { r.Body = []byte(body); r.Version += 1 << 60; return r })
				wantDenied(t, rig, b)
			}
		}},
		{"SE-06 another's row for a key", func(t *testing.T) {
			rig, store := storeRig(t, gatewaytest.Options{Session: "store: memory"})
			alice := rig.SignedIn(t, "/")
			rig.Issuer.Do(func(i *gatewaytest.Issuer) {
				i.Person = map[string]any{"sub": "bob", "email": "bob@example.com", "email_verified": true, "sid": "sid-2"}
			})
			rig.SignedIn(t, "/")
			bob, found, err := store.Store.Get(t.Context(), store.lastKey)
			if err != nil || !found {
				t.Fatalf("Bob's row: %t %v", found, err)
			}
			store.bendWith(func(session.Row) session.Row { return bob })
			wantDenied(t, rig, alice)
			store.bendWith(func(r session.Row) session.Row { r.Body = bob.Body; return r })
			wantDenied(t, rig, alice)
		}},
		{"SE-07 idle and absolute end", func(t *testing.T) {
			rig, _ := storeRig(t, gatewaytest.Options{Session: "store: memory, lifetime: 3h, idle_timeout: 30m"})
			b := rig.SignedIn(t, "/")
			for range 8 { // in use all the time
				rig.Clock.Add(20 * time.Minute)
				if r := b.Get(rig.URL + "/"); r.StatusCode != http.StatusOK {
					t.Fatalf("in use: got %s, want 200", r.Status)
				}
			}
			rig.Clock.Add(20*time.Minute - time.Second)
			if r := b.Get(rig.URL + "/"); r.StatusCode != http.StatusOK {
				t.Errorf("a second before the end: got %s, want 200", r.Status)
			}
			rig.Clock.Add(time.Second)
			wantDenied(t, rig, b)
		}},
		{"SE-08 hostile ids", func(t *testing.T) {
			rig, store := storeRig(t, gatewaytest.Options{Session: "store: memory"})
			asked := 0
			store.bendWith(func(r session.Row) session.Row { asked++; return r })
			for _, id := range []string{"%n%s", "../../x", "*", "\\r\\nFLUSHALL", strings.Repeat("a", 8<<10), "ñandú", chosen[:42], chosen + "A", chosen[:42] + "+", "x\ty"} {
				r := rig.Raw(t, "GET / HTTP/1.1\r\nHost: "+strings.TrimPrefix(rig.URL, "http://")+"\r\nCookie: "+rig.Cookie()+"="+id+"\r\nSec-Fetch-Mode: cors\r\n\r\n")
				if r.Status != http.StatusUnauthorized {
					t.Errorf("%.20q: got %s, want 401", id, r)
				}
			}
			if asked != 0 || store.writes() != 0 {
				t.Errorf("the store was asked %d times and written %d times", asked, store.writes())
			}
		}},
		{"SE-09 resurrection by a slow answer", func(t *testing.T) {
			rig, _ := storeRig(t, gatewaytest.Options{Session: "store: memory"})
			b := rig.SignedIn(t, "/")
			old := twin(t, rig, b)
			reached, release := make(chan struct{}), make(chan struct{})
			rig.Upstream.Answer = func(string) string {
				close(reached)
				<-release
				return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
			}
			rig.Clock.Add(2 * time.Minute) // a touch is due
			c := rig.Dial(t)
			c.Send("GET /slow HTTP/1.1\r\nHost: " + strings.TrimPrefix(rig.URL, "http://") + "\r\nCookie: " + rig.Cookie() + "=" + old.Cookies("localhost")[rig.Cookie()] + "\r\n\r\n")
			<-reached
			b.Post(rig.URL+"/sign-out", nil)
			close(release)
			c.Answer("GET")
			wantDenied(t, rig, old)
			if got := sessionRows(t, rig); got != 0 {
				t.Errorf("rows: got %d, want 0", got)
			}
		}},
		{"SE-10 resurrection by a WebSocket", func(t *testing.T) {
			rig, _ := storeRig(t, gatewaytest.Options{Session: "store: memory"})
			b := rig.SignedIn(t, "/")
			old := twin(t, rig, b)
			rig.Upstream.Answer = func(string) string {
				return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
			}
			c := rig.Dial(t)
			c.Send("GET /ws HTTP/1.1\r\nHost: " + strings.TrimPrefix(rig.URL, "http://") + "\r\nOrigin: " + rig.URL + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: " + rig.Cookie() + "=" + old.Cookies("localhost")[rig.Cookie()] + "\r\n\r\n")
			if got := c.Answer("GET"); got.Status != http.StatusSwitchingProtocols {
				t.Fatalf("opening the socket: got %s", got)
			}
			b.Post(rig.URL+"/sign-out", nil)
			began := time.Now()
			if _, err := io.Copy(io.Discard, c); err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the socket is still open")
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("the socket was closed after %s, want two seconds at most", took)
			}
			c.Close()
			wantDenied(t, rig, old)
		}},
		{"SE-11 resurrection by a refresh", func(t *testing.T) {
			rig, _ := storeRig(t, gatewaytest.Options{Session: "store: memory"})
			b := rig.SignedIn(t, "/")
			old := twin(t, rig, b)
			reached, release := make(chan struct{}), make(chan struct{})
			rig.Issuer.Do(func(i *gatewaytest.Issuer) {
				i.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
					if r.Form.Get("grant_type") == "refresh_token" {
						close(reached)
						<-release
					}
					return false
				}
			})
			rig.Clock.Add(time.Hour)
			done := make(chan *gatewaytest.Response)
			go func() { done <- old.Get(rig.URL + "/") }()
			<-reached
			b.Post(rig.URL+"/sign-out", nil)
			close(release)
			if r := <-done; r.StatusCode != http.StatusFound {
				t.Errorf("the request that refreshed: got %s, want 302", r.Status)
			}
			wantDenied(t, rig, old)
			if got := sessionRows(t, rig); got != 0 {
				t.Errorf("rows: got %d, want 0", got)
			}
			eventually(t, "the refresh token is revoked", func() bool { return len(rig.Issuer.Revoked()) > 0 })
		}},
		{"SE-12 the store cannot write", func(t *testing.T) {
			rig, store := storeRig(t, gatewaytest.Options{})
			b := rig.SignedIn(t, "/")
			store.forgets.Store(true)
			rig.Clock.Add(2 * time.Minute)
			for range 2 {
				if r := b.Get(rig.URL + "/"); r.StatusCode != http.StatusOK || r.Text != "<!doctype html><title>app</title>the application" {
					t.Errorf("got %s with %q, want the application's answer and nothing else", r.Status, r.Text)
				}
			}
		}},
		{"SE-13 a hundred requests at once", func(t *testing.T) {
			rig, store := storeRig(t, gatewaytest.Options{Session: "store: memory"})
			b := rig.SignedIn(t, "/")
			rig.Clock.Add(2 * time.Minute)
			before := store.writes()
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					if r := b.Get(rig.URL + "/"); r.StatusCode != http.StatusOK {
						t.Errorf("got %s, want 200", r.Status)
					}
				})
			}
			wg.Wait()
			if got := store.writes() - before; got != 1 {
				t.Errorf("writes: got %d, want 1", got)
			}
		}},
		{"anonymous requests write nothing", func(t *testing.T) {
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
		}},
	} {
		t.Run(tt.id, func(t *testing.T) { t.Parallel(); tt.check(t) })
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
