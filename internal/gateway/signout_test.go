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

// wantEndSession fails the test unless r goes to the issuer's end-session endpoint; it returns that query.
func wantEndSession(t testing.TB, rig *gatewaytest.Rig, r *gatewaytest.Response) url.Values {
	t.Helper()
	if r.StatusCode != http.StatusSeeOther || !strings.HasPrefix(r.Location(), rig.Issuer.URL+"/oidc/session/end?") {
		t.Fatalf("got %s to %q, want 303 to the end-session endpoint\n%s", r.Status, r.Location(), r.Text)
	}
	if got := r.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control: got %q, want no-store", got)
	}
	u, err := url.Parse(r.Location())
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

const headSignOut = "Sign out of Wiki?"

// Who may sign out at once, and who is asked.
func TestSignOutWhoIsAsked(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	nav := map[string]string{"Sec-Fetch-Site": "same-origin"}
	with := func(more ...string) map[string]string {
		out := map[string]string{"Sec-Fetch-Site": "same-origin"}
		for i := 0; i < len(more); i += 2 {
			out[more[i]] = more[i+1]
		}
		return out
	}
	none := func(more ...string) map[string]string { // a browser without Fetch metadata
		return with(append([]string{"Sec-Fetch-Site", "", "Sec-Fetch-Mode", "", "Sec-Fetch-Dest", ""}, more...)...)
	}
	for _, tt := range []struct {
		name, method string
		header       map[string]string
		out          bool
	}{
		{"link of the same origin", "GET", nav, true},
		{"typed address", "GET", with("Sec-Fetch-Site", "none"), false},
		{"link of another site", "GET", with("Sec-Fetch-Site", "cross-site"), false},
		{"link of a sibling host", "GET", with("Sec-Fetch-Site", "same-site"), false},
		{"prefetch", "GET", with("Sec-Purpose", "prefetch"), false},
		{"prerender", "GET", with("Sec-Purpose", "prefetch;prerender"), false},
		{"prefetch in an older spelling", "GET", with("Purpose", "prefetch"), false},
		{"prefetch of Mozilla", "GET", with("X-Moz", "prefetch"), false},
		{"image", "GET", with("Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"), false},
		{"image of another site", "GET", with("Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"), false},
		{"frame", "GET", with("Sec-Fetch-Dest", "iframe"), false},
		{"script", "GET", with("Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"), false},
		{"head of a link", "HEAD", nav, false},
		{"address without Fetch metadata", "GET", none("Referer", rig.URL+"/"), false},
		{"form", "POST", with("Origin", rig.URL), true},
		{"script's post", "POST", with("Origin", rig.URL, "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"), true},
		{"form of another site", "POST", with("Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"), false},
		{"form of a sibling host", "POST", with("Origin", rig.Second, "Sec-Fetch-Site", "same-site"), false},
		{"form without Fetch metadata", "POST", none("Origin", rig.URL), true},
		{"form of another site without Fetch metadata", "POST", none("Origin", "https://evil.example"), false},
		{"form of another port without Fetch metadata", "POST", none("Origin", "http://localhost:1"), false},
		{"form of nowhere", "POST", none("Origin", "null"), false},
		{"form that says nothing", "POST", none(), false},
		{"form with another origin than its metadata", "POST", with("Origin", rig.URL, "Sec-Fetch-Site", "cross-site"), false},
	} {
		for _, path := range []string{"/sign-out", "/_portero/sign-out"} {
			t.Run(tt.name+" "+path, func(t *testing.T) {
				b := rig.SignedIn(t, "/")
				r := b.Do(b.Request(tt.method, rig.URL+path, nil, tt.header))
				if tt.out {
					wantEndSession(t, rig, r)
					if hasSession(rig, b) || b.Get(rig.URL+"/").StatusCode != http.StatusFound {
						t.Error("still signed in")
					}
					return
				}
				if r.StatusCode != http.StatusOK || r.Header.Get("Clear-Site-Data") != "" || len(r.Cookies()) != 0 {
					t.Errorf("got %s with %d cookies, want 200 with none", r.Status, len(r.Cookies()))
				}
				if tt.method != "HEAD" {
					wantPage(t, r, http.StatusOK, headSignOut)
					if !strings.Contains(r.Text, `<form method="post" action="/_portero/sign-out">`) || r.Header.Get("Referrer-Policy") != "same-origin" {
						t.Error("the page has no form that signs out")
					}
				}
				if !hasSession(rig, b) || b.Get(rig.URL+"/").StatusCode != http.StatusOK {
					t.Error("signed out")
				}
			})
		}
	}
}

func TestSignOutWhole(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	var idToken string
	s.rig.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/oidc/token/revocation" {
				if id, secret, ok := r.BasicAuth(); !ok || id != i.AppID || secret != i.AppSecret || r.Method != http.MethodPost {
					t.Errorf("revocation: got %s by client %q", r.Method, id)
				}
			}
			return false
		}
	})
	session := s.b.Get(s.back)
	given := setCookies(session)[s.rig.Cookie()]
	old := twin(t, s.rig, s.b)

	r := s.b.Post(s.rig.URL+"/sign-out", url.Values{"return_to": {"/wiki?page=1"}})
	q := wantEndSession(t, s.rig, r)
	if got := r.Header.Get("Clear-Site-Data"); got != `"cache"` {
		t.Errorf("Clear-Site-Data: got %q", got)
	}
	gone := setCookies(r)[s.rig.Cookie()]
	if gone == nil || gone.MaxAge >= 0 || gone.Value != "" || gone.Path != given.Path || gone.Domain != given.Domain ||
		gone.Secure != given.Secure || gone.HttpOnly != given.HttpOnly || gone.SameSite != given.SameSite {
		t.Errorf("deleting the cookie: got %v, it was set with %v", gone, given)
	}
	idToken = q.Get("id_token_hint")
	if q.Get("client_id") != s.rig.Issuer.AppID || strings.Count(idToken, ".") != 2 || q.Get("state") == "" ||
		q.Get("post_logout_redirect_uri") != s.rig.URL+"/_portero/signed-out" {
		t.Errorf("end-session request: got client_id %q, %d bytes of id_token_hint, %d of state, post_logout_redirect_uri %q",
			q.Get("client_id"), len(idToken), len(q.Get("state")), q.Get("post_logout_redirect_uri"))
	}
	if strings.Contains(q.Get("state"), "wiki") {
		t.Error("the return path goes to Logto unsealed")
	}
	if got := len(s.rig.Issuer.Revoked()); got != 1 {
		t.Errorf("revoked refresh tokens: got %d, want 1", got)
	}
	if got := sessionRows(t, s.rig); got != 0 {
		t.Errorf("rows: got %d, want 0", got)
	}
	if got := old.Get(s.asked); got.StatusCode != http.StatusFound {
		t.Errorf("the old cookie: got %s, want 302", got.Status)
	}

	out := s.b.Follow(r)
	wantPage(t, out, http.StatusOK, headSignedOut)
	if !strings.Contains(out.Text, "/_portero/sign-in?return_to=%2Fwiki%3Fpage%3D1") {
		t.Errorf("the page does not offer the return path\n%s", out.Text)
	}
	sent := len(s.rig.Issuer.Requests())
	if again := s.b.Get(out.Request.URL.String()); again.StatusCode != http.StatusOK || len(s.rig.Issuer.Requests()) != sent {
		t.Error("the signed-out page signs in by itself")
	}
}

func TestSignOutReturnPathFromQuery(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	b := rig.SignedIn(t, "/")
	r := b.Do(b.Request("GET", rig.URL+"/sign-out?return_to=/wiki", nil, map[string]string{"Sec-Fetch-Site": "same-origin"}))
	wantEndSession(t, rig, r)
	if out := b.Follow(r); !strings.Contains(out.Text, "return_to=%2Fwiki") {
		t.Error("the page does not offer the return path")
	}
}

// The page that asks keeps the return path too.
func TestSignOutConfirm(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	b := rig.SignedIn(t, "/")
	r := b.Get(rig.URL + "/sign-out?return_to=/wiki")
	wantPage(t, r, http.StatusOK, headSignOut)
	if !strings.Contains(r.Text, "alice<wbr>@example.com") || !strings.Contains(r.Text, `name="return_to" value="/wiki"`) || !strings.Contains(r.Text, `href="/wiki"`) {
		t.Errorf("the page that asks:\n%s", r.Text)
	}
	if !strings.Contains(r.Header.Get("Content-Security-Policy"), "form-action 'self' "+rig.Issuer.URL) {
		t.Error("the form may not lead to Logto")
	}
}

func TestSignedOutPage(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	b := rig.Browser(t)
	for _, state := range []string{"", "?state=", "?state=made-up", "?state=a&state=b", "?return_to=https://evil.example/"} {
		r := b.Get(rig.URL + "/_portero/signed-out" + state)
		wantPage(t, r, http.StatusOK, headSignedOut)
		if !strings.Contains(r.Text, "return_to=%2F\"") || strings.Contains(r.Text, "evil") {
			t.Errorf("%s: the page does not lead to the start page\n%s", state, r.Text)
		}
	}
	// With a live session it is not true.
	wantRedirect(t, rig.SignedIn(t, "/").Get(rig.URL+"/_portero/signed-out"), rig.URL+"/_portero/")
	// Its state belongs to one host.
	out := b.Post(rig.URL+"/sign-out", url.Values{"return_to": {"/wiki"}})
	state := wantEndSession(t, rig, out).Get("state")
	if r := b.Get(rig.Second + "/_portero/signed-out?state=" + url.QueryEscape(state)); strings.Contains(r.Text, "wiki") {
		t.Error("another host takes the state")
	}
}

func TestSignOutWithoutSession(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			rig := gatewaytest.New(t, nil)
			b := rig.Browser(t)
			b.SetCookie("localhost", rig.Cookie(), strings.Repeat("A", 43))
			r := b.Do(b.Request(method, rig.URL+"/sign-out", nil, map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": rig.URL}))
			q := wantEndSession(t, rig, r)
			if q.Get("client_id") != rig.Issuer.AppID || q.Has("id_token_hint") {
				t.Errorf("end-session request: got client_id %q, hint %t; want client_id alone", q.Get("client_id"), q.Has("id_token_hint"))
			}
			if got := rig.Issuer.Calls("/oidc/token/revocation"); got != 0 {
				t.Errorf("revocations: got %d, want 0", got)
			}
			wantPage(t, b.Follow(r), http.StatusOK, headSignedOut)
		})
	}
}

// Logto does not answer: signed out here at once, the page says what is true, and the rest can be finished later.
func TestSignOutLogtoDown(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		down func(stop <-chan struct{}) func(http.ResponseWriter, *http.Request) bool
	}{
		{"it breaks off", func(<-chan struct{}) func(http.ResponseWriter, *http.Request) bool {
			return func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }
		}},
		{"it is overloaded", func(<-chan struct{}) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(http.StatusServiceUnavailable)
				return true
			}
		}},
		{"it hangs", func(stop <-chan struct{}) func(http.ResponseWriter, *http.Request) bool {
			return func(_ http.ResponseWriter, r *http.Request) bool {
				select {
				case <-stop:
					return false
				case <-r.Context().Done():
					return true
				}
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, nil)
			s.b.Get(s.back)
			old := twin(t, s.rig, s.b)
			stop := make(chan struct{})
			s.rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.Answer = tt.down(stop) })
			s.clock.Add(time.Minute) // what is known of Logto is a minute old

			began := time.Now()
			r := s.b.Post(s.rig.URL+"/sign-out", url.Values{"return_to": {"/wiki"}})
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("signing out took %s", took)
			}
			if r.StatusCode != http.StatusSeeOther || !strings.HasPrefix(r.Location(), s.rig.URL+"/_portero/signed-out?state=") {
				t.Fatalf("got %s to %q, want 303 to the signed-out page", r.Status, r.Location())
			}
			if hasSession(s.rig, s.b) || sessionRows(t, s.rig) != 0 {
				t.Error("the session is still there")
			}
			if got := old.Do(old.Request("GET", s.asked, nil, map[string]string{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"})); got.StatusCode != http.StatusUnauthorized {
				t.Errorf("the old cookie: got %s, want 401", got.Status)
			}
			out := s.b.Follow(r)
			wantPage(t, out, http.StatusOK, headSignedOut)
			for _, want := range []string{"did not answer and may still remember you", "Finish signing out", `action="/_portero/sign-out"`, `value="/wiki"`} {
				if !strings.Contains(out.Text, want) {
					t.Errorf("the page does not have %q\n%s", want, out.Text)
				}
			}

			// Trying while it is still down says the same again.
			s.clock.Add(time.Minute)
			r = s.b.Post(s.rig.URL+"/_portero/sign-out", url.Values{"return_to": {"/wiki"}})
			if !strings.HasPrefix(r.Location(), s.rig.URL+"/_portero/signed-out?state=") {
				t.Errorf("finishing while Logto is away: got %s to %q", r.Status, r.Location())
			}

			// Once it is back, the rest is finished.
			close(stop)
			s.rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.Answer = nil })
			s.clock.Add(time.Minute)
			r = s.b.Post(s.rig.URL+"/_portero/sign-out", url.Values{"return_to": {"/wiki"}})
			wantEndSession(t, s.rig, r)
			out = s.b.Follow(r)
			wantPage(t, out, http.StatusOK, headSignedOut)
			if strings.Contains(out.Text, "did not answer") {
				t.Error("the page still says that Logto did not answer")
			}
		})
	}
}

// A revocation that takes longer than a person waits is done all the same.
func TestSignOutRevocationQueued(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	b := rig.SignedIn(t, "/")
	var mu sync.Mutex
	tries := 0
	rig.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/oidc/token/revocation" {
				return false
			}
			mu.Lock()
			tries++
			first := tries == 1
			mu.Unlock()
			if first {
				<-r.Context().Done() // until the caller has had enough
				return true
			}
			return false
		}
	})
	began := time.Now()
	r := b.Post(rig.URL+"/sign-out", nil)
	if took := time.Since(began); took < 700*time.Millisecond || took > 3*time.Second {
		t.Errorf("signing out took %s, want about 800 ms", took)
	}
	if !strings.HasPrefix(r.Location(), rig.URL+"/_portero/signed-out?") {
		t.Errorf("got %s to %q", r.Status, r.Location())
	}
	eventually(t, "the refresh token is revoked", func() bool { return len(rig.Issuer.Revoked()) == 1 })
}

// Two hosts, one sign-in at Logto: the second is silent, and signing out on one ends both.
func TestSignOutOverHosts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		sid  string
		both bool
	}{{"sid-1", true}, {"", false}} {
		t.Run("sid "+tt.sid, func(t *testing.T) {
			t.Parallel()
			rig := gatewaytest.New(t, nil)
			rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person["sid"] = tt.sid })
			b := rig.SignedIn(t, "/")
			signIn(t, b, rig.Second+"/")
			if first, second := b.Cookies("localhost")[rig.Cookie()], b.Cookies("127.0.0.1")[rig.Cookie()]; first == "" || second == "" || first == second {
				t.Fatal("the hosts do not have a cookie each")
			}
			if got := sessionRows(t, rig); got != 2 {
				t.Fatalf("rows: got %d, want 2", got)
			}
			// The cookie of one host is worth nothing on another browser's host, but the session is the same person's.
			b.Post(rig.Second+"/sign-out", nil)
			want := http.StatusOK
			if tt.both {
				want = http.StatusFound
			}
			if got := b.Get(rig.URL + "/"); got.StatusCode != want {
				t.Errorf("the other host after signing out: got %s, want %d", got.Status, want)
			}
			if got := b.Get(rig.Second + "/"); got.StatusCode != http.StatusFound {
				t.Errorf("the host itself: got %s, want 302", got.Status)
			}
			if got := len(rig.Issuer.Revoked()); got != 1 {
				t.Errorf("revoked refresh tokens: got %d, want 1", got)
			}
		})
	}
}

// Signing in again replaces the session of that host; the refresh token is left alone, since Logto's grant is shared.
func TestReplacingRevokesNothing(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	b := rig.SignedIn(t, "/")
	before := twin(t, rig, b)
	r := b.Follow(b.Get(rig.URL + "/sign-in?return_to=/&fresh=1"))
	if r.StatusCode != http.StatusOK {
		t.Fatalf("signing in again: got %s", r.Status)
	}
	if got := sessionRows(t, rig); got != 1 {
		t.Errorf("rows: got %d, want 1", got)
	}
	if got := rig.Issuer.Calls("/oidc/token/revocation"); got != 0 {
		t.Errorf("revocations: got %d, want 0", got)
	}
	if got := before.Get(rig.URL + "/"); got.StatusCode != http.StatusFound {
		t.Errorf("the replaced session: got %s, want 302", got.Status)
	}
}

// Signing out in ten tabs at once ends one session, once.
func TestSignOutInManyTabs(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	b := rig.SignedIn(t, "/")
	old := twin(t, rig, b)
	var wg sync.WaitGroup
	for range 10 {
		c := twin(t, rig, b)
		wg.Go(func() { wantEndSession(t, rig, c.Post(rig.URL+"/sign-out", nil)) })
	}
	wg.Wait()
	if got := sessionRows(t, rig); got != 0 {
		t.Errorf("rows: got %d, want 0", got)
	}
	if got := old.Get(rig.URL + "/"); got.StatusCode != http.StatusFound {
		t.Errorf("the old cookie: got %s, want 302", got.Status)
	}
}

// A sign-out while the code is being redeemed is not undone by the session that comes of it.
func TestSignOutDuringSignIn(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	b := rig.SignedIn(t, "/")
	back := atLogto(t, rig, b, rig.Second+"/")
	reached, release := make(chan struct{}), make(chan struct{})
	rig.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/oidc/token" {
				close(reached)
				<-release
			}
			return false
		}
	})
	done := make(chan *gatewaytest.Response)
	go func() { done <- b.Get(back) }()
	<-reached
	b.Post(rig.URL+"/sign-out", nil)
	close(release)
	<-done
	if got := b.Get(rig.Second + "/"); got.StatusCode != http.StatusFound {
		t.Errorf("the session that was being made: got %s, want 302", got.Status)
	}
}
