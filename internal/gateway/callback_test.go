package gateway_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// The table of what a callback is answered with, row by row.

func TestCallbackAttemptUnused(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	if got := sessionRows(t, s.rig); got != 0 {
		t.Errorf("rows before the callback: got %d, want 0", got)
	}
	wantRedirect(t, s.b.Get(s.back), s.asked)
	if got := tokenCalls(s.rig); got != 1 {
		t.Errorf("token calls: got %d, want 1", got)
	}
	if got := sessionRows(t, s.rig); got != 1 {
		t.Errorf("rows: got %d, want 1", got)
	}
	if got := s.b.Get(s.asked); got.StatusCode != http.StatusOK {
		t.Errorf("the page afterwards: got %s, want 200", got.Status)
	}
}

func TestCallbackWithLiveSession(t *testing.T) {
	t.Parallel()
	type step struct {
		name string
		do   func(t *testing.T, s *scene) (address, want string)
	}
	for _, tt := range []step{
		{"spent attempt goes to its return path", func(t *testing.T, s *scene) (string, string) {
			s.b.Get(s.back)
			return s.back, s.asked
		}},
		{"missing attempt goes to the start page", func(t *testing.T, s *scene) (string, string) {
			s.b.Get(s.back)
			forgetAttempts(s.rig, s.b)
			return s.back, s.rig.URL + "/"
		}},
		{"expired attempt goes to its return path", func(t *testing.T, s *scene) (string, string) {
			other := atLogto(t, s.rig, s.b, s.rig.URL+"/other")
			s.b.Get(other)
			s.clock.Add(61 * time.Minute)
			return s.back, s.asked
		}},
		{"lost race goes to the return path", func(t *testing.T, s *scene) (string, string) {
			names := attemptCookies(s.rig, s.b)
			before := s.b.Cookies("localhost")
			s.b.Get(s.back)
			s.b.SetCookie("localhost", names[0], before[names[0]])
			return s.back, s.asked
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, nil)
			address, want := tt.do(t, s)
			session := s.b.Cookies("localhost")[s.rig.Cookie()]
			wantRedirect(t, s.b.Get(address), want)
			if got := tokenCalls(s.rig); got != 1 {
				t.Errorf("token calls: got %d, want 1", got)
			}
			if got := s.b.Cookies("localhost")[s.rig.Cookie()]; got != session {
				t.Error("the session was replaced")
			}
			if got := sessionRows(t, s.rig); got != 1 {
				t.Errorf("rows: got %d, want 1", got)
			}
		})
	}
}

func TestCallbackLostRaceWaits(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	second := twin(t, s.rig, s.b)
	wantRedirect(t, s.b.Get(s.back), s.asked)

	for _, after := range []time.Duration{0, 9 * time.Second} {
		s.clock.Add(after)
		r := second.Get(s.back)
		wantPage(t, r, http.StatusOK, headWaiting)
		if got := r.Header.Get("Refresh"); got != "2" {
			t.Errorf("Refresh: got %q, want 2", got)
		}
		u, err := url.Parse(s.back)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"code", "state"} {
			if strings.Contains(r.Text, u.Query().Get(name)) {
				t.Errorf("the page shows the %s", name)
			}
		}
	}
	s.clock.Add(time.Second) // ten seconds after the first
	wantToLogto(t, s.rig, second.Get(s.back))
	if got := tokenCalls(s.rig); got != 1 {
		t.Errorf("token calls: got %d, want 1", got)
	}
	if got := sessionRows(t, s.rig); got != 1 {
		t.Errorf("rows: got %d, want 1", got)
	}

	// The page that waited goes on once its browser has the session.
	third := twin(t, s.rig, s.b)
	wantRedirect(t, third.Get(s.back), s.asked)
}

func TestCallbackErrorInPlaceOfCode(t *testing.T) {
	t.Parallel()
	const restarted = ""
	for _, tt := range []struct {
		code, heading string
		status        int
	}{
		{"server_error", headUnavailable, 503},
		{"temporarily_unavailable", headUnavailable, 503},
		{"login_required", restarted, 302},
		{"consent_required", restarted, 302},
		{"interaction_required", restarted, 302},
		{"access_denied", headFailed, 400},
		{"invalid_scope", headFailed, 400},
		{"<svg/onload=alert(1)>\r\nX: y", headFailed, 400},
	} {
		t.Run(tt.code, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, nil)
			address := query(t, s.back, func(q url.Values) {
				q.Del("code")
				q.Set("error", tt.code)
				q.Set("error_description", "<svg/onload=alert(1)>\r\nX: y")
			})
			early := twin(t, s.rig, s.b)
			r := s.b.Get(address)
			if tt.heading == restarted {
				wantToLogto(t, s.rig, r)
			} else {
				wantPage(t, r, tt.status, tt.heading)
			}
			if strings.Contains(r.Text, "onload") || r.Header.Get("X") != "" {
				t.Error("the answer repeats what the error said")
			}
			if got := tokenCalls(s.rig); got != 0 {
				t.Errorf("token calls: got %d, want 0", got)
			}
			if hasSession(s.rig, s.b) || sessionRows(t, s.rig) != 0 {
				t.Error("a session was made")
			}
			// It has been consumed: the code that comes with the same state is not redeemed.
			wantPage(t, early.Get(s.back), http.StatusOK, headWaiting)
			if got := tokenCalls(s.rig); got != 0 {
				t.Errorf("token calls for a consumed state: got %d, want 0", got)
			}
		})
	}
}

func TestCallbackTokenCallFails(t *testing.T) {
	t.Parallel()
	respond := func(status int, kind, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	hangUp := func(http.ResponseWriter) { panic(http.ErrAbortHandler) }
	for _, tt := range []struct {
		name    string
		answer  func(http.ResponseWriter)
		status  int
		heading string // "": starts again
	}{
		{"no answer", hangUp, 503, headUnavailable},
		{"500", respond(500, "text/html", "oops"), 503, headUnavailable},
		{"502", respond(502, "text/html", "oops"), 503, headUnavailable},
		{"503", respond(503, "application/json", `{"error":"invalid_grant"}`), 503, headUnavailable},
		{"429", respond(429, "application/json", `{"error":"slow_down"}`), 503, headUnavailable},
		{"invalid_grant", respond(400, "application/json", `{"error":"invalid_grant","error_description":"x"}`), 302, ""},
		{"invalid_request", respond(400, "application/json", `{"error":"invalid_request"}`), 400, headFailed},
		{"invalid_client", respond(401, "application/json", `{"error":"invalid_client"}`), 400, headFailed},
		{"access_denied", respond(403, "application/json", `{"error":"access_denied"}`), 400, headFailed},
		{"a page in place of tokens", respond(200, "text/html", "<p>hello"), 400, headFailed},
		{"no ID token", respond(200, "application/json", `{"access_token":"a","token_type":"Bearer"}`), 400, headFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, nil)
			s.rig.Issuer.Do(func(i *gatewaytest.Issuer) {
				i.Answer = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path == "/oidc/token" {
						tt.answer(w)
						return true
					}
					return false
				}
			})
			r := s.b.Get(s.back)
			if tt.heading == "" {
				wantToLogto(t, s.rig, r)
			} else {
				wantPage(t, r, tt.status, tt.heading)
				if !strings.Contains(r.Text, "/_portero/sign-in?return_to=%2Freports%3Fq%3D1") {
					t.Error("the page does not lead back to the page that was asked for")
				}
			}
			if tt.status == 503 && r.Header.Get("Retry-After") != "30" {
				t.Errorf("Retry-After: got %q, want 30", r.Header.Get("Retry-After"))
			}
			if got := tokenCalls(s.rig); got != 1 {
				t.Errorf("token calls: got %d, want 1", got)
			}
			if hasSession(s.rig, s.b) || sessionRows(t, s.rig) != 0 {
				t.Error("a session was made")
			}
			// The attempt is spent: the same address redeems nothing more.
			s.b.Get(s.back)
			if got := tokenCalls(s.rig); got != 1 {
				t.Errorf("token calls after the same address again: got %d, want 1", got)
			}
		})
	}
}

func TestCallbackStartsAgainOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		first, second func(s *scene) // what is wrong with the attempt at the first and second callback
		ret           string         // the return path that the restart still knows
		heading       string
	}{
		{"spent twice", spendIt, spendIt, "/reports?q=1", headFailed},
		{"expired, then spent", expireIt, spendIt, "/reports?q=1", headFailed},
		{"expired twice", expireIt, expireIt, "/reports?q=1", headFailed},
		{"missing twice", loseIt, loseIt, "/", headNoCookies},
		{"missing, then expired", loseIt, expireIt, "/", headFailed},
		{"spent, then missing", spendIt, loseIt, "/reports?q=1", headFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, nil)
			tt.first(s)
			calls := tokenCalls(s.rig)
			r := s.b.Get(s.back)
			q := wantToLogto(t, s.rig, r)
			if got := q.Get("prompt"); got != "consent" {
				t.Errorf("prompt of the restart: got %q, want consent", got)
			}
			back := answered(t, s.rig, s.b, r)

			if tt.name != "missing twice" { // what the restart comes back to
				c := twin(t, s.rig, s.b)
				wantRedirect(t, c.Get(back), s.rig.URL+tt.ret)
				calls++
				c.SetCookie("localhost", s.rig.Cookie(), "")
				s.clock.Add(10 * time.Second)
			}

			s.back = back
			tt.second(s)
			calls += tokenCalls(s.rig) - calls
			wantPage(t, s.b.Get(back), http.StatusBadRequest, tt.heading)
			if got := tokenCalls(s.rig); got != calls {
				t.Errorf("token calls of the second callback: got %d, want 0", got-calls)
			}
			if hasSession(s.rig, s.b) {
				t.Error("a session was made")
			}
		})
	}
}

// spendIt finishes the attempt and loses the session that comes of it.
func spendIt(s *scene) {
	s.t.Helper()
	s.b.Get(s.back)
	s.b.SetCookie("localhost", s.rig.Cookie(), "")
}

func expireIt(s *scene) { s.clock.Add(60 * time.Minute) }
func loseIt(s *scene)   { forgetAttempts(s.rig, s.b) }

func TestCallbackStateNotOurs(t *testing.T) {
	t.Parallel()
	set := func(name, value string) func(*testing.T, *scene) string {
		return func(t *testing.T, s *scene) string {
			return query(t, s.back, func(q url.Values) { q.Set(name, value) })
		}
	}
	for _, tt := range []struct {
		name    string
		address func(t *testing.T, s *scene) string
	}{
		{"no state", func(t *testing.T, s *scene) string { return query(t, s.back, func(q url.Values) { q.Del("state") }) }},
		{"empty state", set("state", "")},
		{"two states", func(_ *testing.T, s *scene) string { return s.back + "&state=x" }},
		{"the same state twice", func(t *testing.T, s *scene) string {
			u, err := url.Parse(s.back)
			if err != nil {
				t.Fatal(err)
			}
			return s.back + "&state=" + url.QueryEscape(u.Query().Get("state"))
		}},
		{"made up", set("state", "abcdef")},
		{"cut", func(t *testing.T, s *scene) string {
			return query(t, s.back, func(q url.Values) { q.Set("state", q.Get("state")[:len(q.Get("state"))-1]) })
		}},
		{"NUL behind it", func(t *testing.T, s *scene) string {
			return query(t, s.back, func(q url.Values) { q.Set("state", q.Get("state")+"\x00") })
		}},
		{"first byte changed", func(t *testing.T, s *scene) string {
			return query(t, s.back, func(q url.Values) {
				b := []byte(q.Get("state"))
				b[len(b)/2] ^= 1
				q.Set("state", string(b))
			})
		}},
		{"an attempt's cookie as state", func(t *testing.T, s *scene) string {
			return query(t, s.back, func(q url.Values) { q.Set("state", s.b.Cookies("localhost")[attemptCookies(s.rig, s.b)[0]]) })
		}},
		{"state of another host", func(t *testing.T, s *scene) string {
			return atLogto(t, s.rig, s.b, s.rig.Second+"/") // brought to localhost below
		}},
		{"iss of another issuer", set("iss", "https://evil.example/oidc")},
		{"iss with a slash behind it", func(t *testing.T, s *scene) string {
			return query(t, s.back, func(q url.Values) { q.Set("iss", q.Get("iss")+"/") })
		}},
		{"no iss although Logto announces it", func(t *testing.T, s *scene) string {
			return query(t, s.back, func(q url.Values) { q.Del("iss") })
		}},
		{"two iss", func(_ *testing.T, s *scene) string { return s.back + "&iss=x" }},
		{"two codes", func(_ *testing.T, s *scene) string { return s.back + "&code=x" }},
		{"code and error", func(_ *testing.T, s *scene) string { return s.back + "&error=access_denied" }},
		{"neither code nor error", func(t *testing.T, s *scene) string { return query(t, s.back, func(q url.Values) { q.Del("code") }) }},
		{"a query that cannot be read", func(_ *testing.T, s *scene) string { return s.back + "&a;b" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, nil)
			address := strings.Replace(tt.address(t, s), s.rig.Second, s.rig.URL, 1)
			before := s.b.Cookies("localhost")
			r := s.b.Get(address)
			wantPage(t, r, http.StatusBadRequest, headFailed)
			if got := r.Header.Values("Set-Cookie"); len(got) != 0 {
				t.Errorf("cookies set: got %d, want none", len(got))
			}
			unchanged(t, s.b, before)
			if got := tokenCalls(s.rig); got != 0 {
				t.Errorf("token calls: got %d, want 0", got)
			}
			// Nothing was consumed: the true answer still finishes the sign-in.
			wantRedirect(t, s.b.Get(s.back), s.asked)
		})
	}
}

func TestCallbackLoopBreaker(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	s.b.Get(s.back)
	for range 2 {
		s.b.SetCookie("localhost", s.rig.Cookie(), "") // a browser that does not keep the session
		s.clock.Add(5 * time.Second)
		wantRedirect(t, s.b.Get(atLogto(t, s.rig, s.b, s.asked)), s.asked)
	}
	s.b.SetCookie("localhost", s.rig.Cookie(), "")
	sent := len(s.rig.Issuer.Requests())
	r := s.b.Get(s.asked)
	wantPage(t, r, http.StatusBadRequest, headFailed)
	if got := len(s.rig.Issuer.Requests()); got != sent {
		t.Errorf("authorization requests: got %d more, want none", got-sent)
	}
	wantToLogto(t, s.rig, twin(t, s.rig, s.b).Get(s.rig.URL+"/elsewhere")) // another page is no loop
	wantToLogto(t, s.rig, twin(t, s.rig, s.b).Get(s.rig.URL+"/_portero/sign-in?return_to=%2Freports%3Fq%3D1"))
	s.clock.Add(time.Minute)
	wantToLogto(t, s.rig, s.b.Get(s.asked))
}

func TestCallbackMethods(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	before := s.b.Cookies("localhost")
	for _, method := range []string{http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, "PROPFIND"} {
		for _, address := range []string{s.back, strings.Replace(s.back, "/callback", "/_portero/callback", 1)} {
			r := s.b.Do(s.b.Request(method, address, nil, nil))
			if r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") != "GET" {
				t.Errorf("%s: got %s with Allow %q, want 405 with GET", method, r.Status, r.Header.Get("Allow"))
			}
		}
	}
	unchanged(t, s.b, before)
	if got := tokenCalls(s.rig); got != 0 {
		t.Errorf("token calls: got %d, want 0", got)
	}
	wantRedirect(t, s.b.Get(s.back), s.asked)
}
