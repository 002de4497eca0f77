package gateway_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// The cases of the catalogue about states and attempts (ST) and the callback (CB), by id. What a row of the callback
// table says in full is in callback_test.go.

// refusedCallback fails the test unless the address is answered with the page sign-in-failed, no token call, no cookie.
func (s *scene) refusedCallback(t *testing.T, address string) {
	t.Helper()
	calls := tokenCalls(s.rig)
	r := s.b.Get(address)
	wantPage(t, r, http.StatusBadRequest, headFailed)
	if got := tokenCalls(s.rig) - calls; got != 0 || len(r.Cookies()) != 0 {
		t.Errorf("got %d token calls and %d cookies, want none", got, len(r.Cookies()))
	}
}

func TestCatalogueStates(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		id    string
		check func(t *testing.T)
	}{
		{"ST-01 quality", func(t *testing.T) {
			const n = 500 // per host name; ten thousand say nothing more
			rig := gatewaytest.New(t, nil)
			seen := map[string]bool{}
			b := rig.Browser(t)
			for range n {
				forgetAttempts(rig, b)
				q := wantToLogto(t, rig, b.Get(rig.URL+"/x"))
				for _, name := range []string{"state", "nonce", "code_challenge"} {
					if v := q.Get(name); len(v) < 43 || seen[v] {
						t.Fatalf("%s: %q is short or came before", name, v)
					} else {
						seen[v] = true
					}
				}
				if q.Get("code_challenge_method") != "S256" || q.Get("response_type") != "code" || q.Get("redirect_uri") != rig.URL+"/callback" {
					t.Fatalf("got %v", q)
				}
			}
			// The verifier has to be 43 to 128 characters, and fit the challenge: the issuer checks that.
			rig.Issuer.Do(func(i *gatewaytest.Issuer) {
				i.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
					if v := r.Form.Get("code_verifier"); r.URL.Path == "/oidc/token" && (len(v) < 43 || len(v) > 128) {
						t.Errorf("code_verifier: got %d characters", len(v))
					}
					return false
				}
			})
			signIn(t, b, rig.URL+"/x")
		}},
		{"ST-02 empty state", func(t *testing.T) {
			s := newScene(t, nil)
			address := s.rig.URL + "/callback?code=x&state="
			s.refusedCallback(t, address)
			forgetAttempts(s.rig, s.b)
			s.refusedCallback(t, address)
			s.b.SetCookie("localhost", s.rig.Cookie()+"-", "x")
			s.b.SetCookie("localhost", s.rig.Cookie()+"-AAAAAAAAAAAAAAAAAAAAAA", "x")
			s.refusedCallback(t, address)
		}},
		{"ST-03 missing or other state", func(t *testing.T) {
			s := newScene(t, nil)
			s.refusedCallback(t, query(t, s.back, func(q url.Values) { q.Del("state") }))
			s.refusedCallback(t, query(t, s.back, func(q url.Values) { q.Set("state", q.Get("state")[:40]) }))
			s.refusedCallback(t, query(t, s.back, func(q url.Values) { q.Set("state", q.Get("state")+"\x00") }))
			// Another browser's: authentic, but nothing here belongs to it. One restart, never a token call.
			other := s.rig.Browser(t)
			wantToLogto(t, s.rig, other.Get(s.back))
			if got := tokenCalls(s.rig); got != 0 {
				t.Errorf("token calls: got %d, want 0", got)
			}
		}},
		{"ST-04 replay", func(t *testing.T) {
			s := newScene(t, nil)
			wantRedirect(t, s.b.Get(s.back), s.asked)
			for range 3 {
				wantRedirect(t, s.b.Get(s.back), s.asked) // signed in already
			}
			if got := tokenCalls(s.rig); got != 1 {
				t.Errorf("token calls: got %d, want 1", got)
			}
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() { s.b.Get(s.back) })
			}
			wg.Wait()
			if got, rows := tokenCalls(s.rig), sessionRows(t, s.rig); got != 1 || rows != 1 {
				t.Errorf("got %d token calls and %d sessions, want 1 and 1", got, rows)
			}
		}},
		{"ST-05 stale", func(t *testing.T) {
			for _, after := range []time.Duration{time.Hour - time.Second, time.Hour + time.Second} {
				s := newScene(t, nil)
				s.clock.Add(after)
				r := s.b.Get(s.back)
				if after < time.Hour {
					wantRedirect(t, r, s.asked)
				} else {
					wantToLogto(t, s.rig, r)
				}
			}
		}},
		{"ST-06 clean-up", func(t *testing.T) {
			for _, fails := range []bool{false, true} {
				s := newScene(t, nil)
				name := attemptCookies(s.rig, s.b)[0]
				before := s.b.Cookies("localhost")[name]
				if fails {
					s.rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.Edit = func(c map[string]any) { c["nonce"] = "x" } })
				}
				s.b.Get(s.back)
				if after := s.b.Cookies("localhost")[name]; after == before || len(after) >= len(before) {
					t.Errorf("failed %t: the attempt's cookie still has %d of %d bytes", fails, len(after), len(before))
				}
			}
		}},
		{"ST-07 many tabs", func(t *testing.T) {
			rig := gatewaytest.New(t, nil)
			b := rig.Browser(t)
			var backs []string
			for i := range 8 {
				backs = append(backs, atLogto(t, rig, b, fmt.Sprintf("%s/tab/%d", rig.URL, i)))
			}
			for i, back := range slices.Backward(backs) {
				wantRedirect(t, b.Get(back), fmt.Sprintf("%s/tab/%d", rig.URL, i))
			}
		}},
		{"ST-08 PKCE and code injection", func(t *testing.T) {
			s := newScene(t, nil)
			attacker := s.rig.Browser(t)
			stolen, err := url.Parse(atLogto(t, s.rig, attacker, s.rig.URL+"/"))
			if err != nil {
				t.Fatal(err)
			}
			// The attacker's code in the victim's callback: the verifier does not fit.
			wantToLogto(t, s.rig, s.b.Get(query(t, s.back, func(q url.Values) { q.Set("code", stolen.Query().Get("code")) })))
			if hasSession(s.rig, s.b) || sessionRows(t, s.rig) != 0 {
				t.Error("a session was made")
			}
		}},
		{"ST-09 mix-up", func(t *testing.T) {
			s := newScene(t, nil)
			s.refusedCallback(t, query(t, s.back, func(q url.Values) { q.Set("iss", "https://evil.example") }))
			s.refusedCallback(t, query(t, s.back, func(q url.Values) { q.Del("iss") }))
		}},
		{"ST-10 login CSRF", func(t *testing.T) {
			s := newScene(t, nil)
			victim := s.rig.Browser(t)
			r := victim.Get(s.back) // the attacker's whole callback
			wantToLogto(t, s.rig, r)
			if tokenCalls(s.rig) != 0 || hasSession(s.rig, victim) {
				t.Error("the victim is signed in as the attacker")
			}
			again := answered(t, s.rig, victim, r)
			forgetAttempts(s.rig, victim)
			wantPage(t, victim.Get(again), http.StatusBadRequest, headNoCookies) // once only
		}},
		{"ST-11 session swap", func(t *testing.T) {
			rig := gatewaytest.New(t, nil)
			b := rig.SignedIn(t, "/")
			alice := twin(t, rig, b)
			rig.Issuer.Do(func(i *gatewaytest.Issuer) {
				i.Person = map[string]any{"sub": "bob", "email": "bob@example.com", "email_verified": true, "sid": "sid-2"}
			})
			b.Follow(b.Get(rig.URL + "/sign-in?return_to=/who&fresh=1"))
			head := rig.Upstream.Last()
			if got := gatewaytest.Header(head, "X-Forwarded-Email"); len(got) != 1 || got[0] != "bob@example.com" {
				t.Errorf("X-Forwarded-Email: got %q", got)
			}
			if strings.Contains(strings.ToLower(head), "alice") {
				t.Errorf("something of Alice is left:\n%s", head)
			}
			if b.Cookies("localhost")[rig.Cookie()] == alice.Cookies("localhost")[rig.Cookie()] {
				t.Error("the session id was kept")
			}
			if r := alice.Get(rig.URL + "/"); r.StatusCode != http.StatusFound {
				t.Errorf("Alice's session in the same browser: got %s, want 302", r.Status)
			}
		}},
		{"ST-12 parameter injection", func(t *testing.T) {
			rig := gatewaytest.New(t, nil)
			q := wantToLogto(t, rig, rig.Browser(t).Get(rig.URL+"/sign-in?login_hint=x%26redirect_uri%3Dhttps://evil.example%26prompt%3Dnone"+
				"&ui_locales=xx&acr_values=evil&claims=%7B%7D&prompt=none&redirect_uri=https://evil.example&scope=all&response_mode=fragment&state=x&max_age=0"))
			for name, values := range q {
				if len(values) != 1 || strings.Contains(values[0], "evil") || slices.Contains([]string{"login_hint", "acr_values", "claims", "response_mode"}, name) {
					t.Errorf("%s: got %q", name, values)
				}
			}
			if q.Get("redirect_uri") != rig.URL+"/callback" || q.Get("prompt") != "consent" || q.Get("max_age") != "1209600" || q.Get("ui_locales") != "en" {
				t.Errorf("got %v", q)
			}
		}},
		{"ST-13 framing of sign-in", func(t *testing.T) {
			rig := gatewaytest.New(t, nil)
			b := rig.Browser(t)
			r := b.Do(b.Request("GET", rig.URL+"/sign-in", nil, map[string]string{"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "cross-site"}))
			wantPage(t, r, http.StatusUnauthorized, headFramed)
			if policy := r.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "frame-ancestors 'self'") || len(r.Cookies()) != 0 {
				t.Errorf("policy: got %q with %d cookies", policy, len(r.Cookies()))
			}
			r = b.Do(b.Request("POST", rig.URL+"/sign-in", nil, map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}))
			if r.StatusCode != http.StatusMethodNotAllowed || len(r.Cookies()) != 0 {
				t.Errorf("POST: got %s", r.Status)
			}
		}},
		{"ST-14 anonymous requests leave nothing in the store", func(t *testing.T) {
			rig := gatewaytest.New(t, nil)
			b := rig.Browser(t)
			for range 300 {
				wantToLogto(t, rig, b.Get(rig.URL+"/app"))
				forgetAttempts(rig, b)
			}
			if got := sessionRows(t, rig); got != 0 {
				t.Errorf("rows: got %d, want 0", got)
			}
		}},
	} {
		t.Run(tt.id, func(t *testing.T) { t.Parallel(); tt.check(t) })
	}
}

func TestCatalogueCallback(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		id    string
		check func(t *testing.T, s *scene)
	}{
		{"CB-01 bare", func(t *testing.T, s *scene) {
			for _, q := range []string{"", "?", "?foo", "?=", "?&&", "?code", "?state", "?code=&state=&error="} {
				s.refusedCallback(t, s.rig.URL+"/callback"+q)
			}
			for _, method := range []string{"HEAD", "POST"} {
				if r := s.b.Do(s.b.Request(method, s.rig.URL+"/callback", nil, nil)); r.StatusCode != http.StatusMethodNotAllowed {
					t.Errorf("%s: got %s, want 405", method, r.Status)
				}
			}
		}},
		{"CB-02 duplicates", func(t *testing.T, s *scene) {
			for _, more := range []string{"&code=b", "&state=z", "&iss=x", "&code=", "&error=a&error=b"} {
				s.refusedCallback(t, s.back+more)
			}
		}},
		{"CB-03 error answer", func(t *testing.T, s *scene) {
			u, _ := url.Parse(s.back)
			r := s.b.Get(s.rig.URL + "/callback?error=access_denied&error_description=%3Csvg/onload=1%3E%0d%0aX&error_uri=javascript:1&iss=" +
				url.QueryEscape(u.Query().Get("iss")) + "&state=" + u.Query().Get("state"))
			wantPage(t, r, http.StatusBadRequest, headFailed)
			if strings.Contains(r.Text, "onload") || strings.Contains(r.Text, "access_denied") || strings.Contains(r.Text, "javascript") {
				t.Error("the page repeats the error")
			}
			wantToLogto(t, s.rig, s.b.Get(s.back)) // the attempt is consumed
			if got := tokenCalls(s.rig); got != 0 {
				t.Errorf("token calls: got %d, want 0", got)
			}
		}},
		{"CB-04 error without a state of ours", func(t *testing.T, s *scene) {
			s.refusedCallback(t, s.rig.URL+"/callback?error=x")
			s.refusedCallback(t, s.rig.URL+"/callback?error=x&state=made-up")
			wantRedirect(t, s.b.Get(s.back), s.asked) // not consumed
		}},
		{"CB-05 huge code and state", func(t *testing.T, s *scene) {
			for _, name := range []string{"code", "state"} {
				for _, size := range []int{60 << 10, 80 << 10} {
					r := s.b.Get(query(t, s.back, func(q url.Values) { q.Set("state", "x"); q.Set(name, strings.Repeat("a", size)) }))
					if r.StatusCode != http.StatusBadRequest && r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
						t.Errorf("%s of %d bytes: got %s", name, size, r.Status)
					}
				}
			}
		}},
		{"CB-06 form_post", func(t *testing.T, s *scene) {
			u, _ := url.Parse(s.back)
			r := s.b.Do(s.b.Request("POST", s.rig.URL+"/callback", strings.NewReader(u.RawQuery), map[string]string{
				"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "cross-site", "Origin": s.rig.Issuer.URL,
			}))
			if r.StatusCode != http.StatusMethodNotAllowed || tokenCalls(s.rig) != 0 {
				t.Errorf("got %s with %d token calls", r.Status, tokenCalls(s.rig))
			}
		}},
		{"CB-07 ID token in the query", func(t *testing.T, s *scene) {
			s.refusedCallback(t, query(t, s.back, func(q url.Values) { q.Del("code"); q.Set("id_token", "eyJ.a.b") }))
			// Beside a code it is ignored.
			wantRedirect(t, s.b.Get(s.back+"&id_token=eyJ.a.b&access_token=x"), s.asked)
		}},
		{"CB-08 other host", func(t *testing.T, s *scene) {
			r := s.b.Request("GET", s.back, nil, nil)
			r.Host = "evil.example"
			wantPage(t, s.b.Do(r), http.StatusMisdirectedRequest, headUnknownHost)
			// The second host is ours, but the state is not its.
			wantPage(t, s.b.Get(strings.Replace(s.back, s.rig.URL, s.rig.Second, 1)), http.StatusBadRequest, headFailed)
			if got := tokenCalls(s.rig); got != 0 {
				t.Errorf("token calls: got %d, want 0", got)
			}
		}},
		{"CB-09 prefix confusion", func(t *testing.T, s *scene) {
			for _, path := range []string{"/callback-evil", "/callback/x", "/callback/", "/callbackx", "/Callback", "/x/callback"} {
				wantToLogto(t, s.rig, s.b.Get(strings.Replace(s.back, "/callback", path, 1))) // a page of the application
			}
			for _, path := range []string{"/callback%2f", "/%63allback", "/callback%00", "/callback;x", "/./callback"} {
				r := s.b.Do(rawPath(t, s.b, s.rig.URL, strings.Replace(strings.TrimPrefix(s.back, s.rig.URL), "/callback", path, 1)))
				if r.StatusCode != http.StatusBadRequest && r.StatusCode != http.StatusNotFound {
					t.Errorf("%s: got %s", path, r.Status)
				}
			}
			if got := tokenCalls(s.rig); got != 0 {
				t.Errorf("token calls: got %d, want 0", got)
			}
		}},
		{"CB-10 the browser leaves in the middle", func(t *testing.T, s *scene) {
			reached, release := make(chan struct{}), make(chan struct{})
			s.rig.Issuer.Do(func(i *gatewaytest.Issuer) {
				i.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path == "/oidc/token" {
						close(reached)
						<-release
					}
					return false
				}
			})
			var cookies []string
			for name, value := range s.b.Cookies("localhost") {
				cookies = append(cookies, name+"="+value)
			}
			c := s.rig.Dial(t)
			c.Send("GET " + strings.TrimPrefix(s.back, s.rig.URL) + " HTTP/1.1\r\nHost: " + strings.TrimPrefix(s.rig.URL, "http://") +
				"\r\nCookie: " + strings.Join(cookies, "; ") + "\r\n\r\n")
			<-reached
			wantPage(t, s.b.Get(s.back), http.StatusOK, headWaiting)
			c.Close()
			s.rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.Answer = nil })
			eventually(t, "the gateway has noticed", func() bool { // that the browser left, before the tokens come
				conn := s.rig.Raw(t, "GET /_portero/healthz HTTP/1.1\r\nHost: x\r\n\r\n")
				return conn.Status == http.StatusOK
			})
			close(release)
			eventually(t, "the tokens that nobody took are taken back, or their session is there", func() bool {
				return len(s.rig.Issuer.Revoked()) == 1 || sessionRows(t, s.rig) == 1
			})
			if got := len(s.rig.Issuer.Revoked()) + sessionRows(t, s.rig); got != 1 {
				t.Errorf("revoked tokens and sessions: got %d, want one of either", got)
			}
			s.clock.Add(10 * time.Second)
			wantToLogto(t, s.rig, s.b.Get(s.back)) // the same address again starts cleanly
			if got := tokenCalls(s.rig); got != 1 {
				t.Errorf("token calls: got %d, want 1", got)
			}
		}},
	} {
		t.Run(tt.id, func(t *testing.T) { t.Parallel(); tt.check(t, newScene(t, nil)) })
	}
}
