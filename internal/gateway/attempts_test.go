package gateway_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
	"portero/internal/seal"
)

// setCookies are the cookies of an answer, by name; a name that is set twice has the last.
func setCookies(r *gatewaytest.Response) map[string]*http.Cookie {
	out := map[string]*http.Cookie{}
	for _, c := range r.Cookies() {
		out[c.Name] = c
	}
	return out
}

func TestAttemptCookie(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	r := rig.Browser(t).Get(rig.URL + "/reports")
	wantToLogto(t, rig, r)
	cookies := setCookies(r)
	if len(cookies) != 1 {
		t.Fatalf("cookies: got %d, want 1", len(cookies))
	}
	for name, c := range cookies {
		if !strings.HasPrefix(name, rig.Cookie()+"-") || c.Path != "/" || c.Domain != "" || !c.HttpOnly || c.Secure ||
			c.SameSite != http.SameSiteLaxMode || c.MaxAge != 24*60*60 {
			t.Errorf("cookie: got %q", c)
		}
	}
}

func TestAttemptsAtMostTen(t *testing.T) {
	t.Parallel()
	clock := gatewaytest.NewClock()
	rig := gatewaytest.New(t, &gatewaytest.Options{Clock: clock})
	b := rig.Browser(t)
	var backs []string
	for i := range 14 {
		backs = append(backs, atLogto(t, rig, b, fmt.Sprintf("%s/page/%d", rig.URL, i)))
		clock.Add(10 * time.Millisecond)
		if got := len(attemptCookies(rig, b)); got > 10 {
			t.Fatalf("attempts after page %d: got %d, want at most 10", i, got)
		}
	}
	if got := len(attemptCookies(rig, b)); got != 10 {
		t.Errorf("attempts: got %d, want 10", got)
	}
	for i, back := range backs { // the oldest four went
		r := twin(t, rig, b).Get(back)
		if i < 4 {
			wantToLogto(t, rig, r)
		} else {
			wantRedirect(t, r, fmt.Sprintf("%s/page/%d", rig.URL, i))
		}
	}
}

func TestAttemptsAtMostSixKilobytes(t *testing.T) {
	t.Parallel()
	clock := gatewaytest.NewClock()
	rig := gatewaytest.New(t, &gatewaytest.Options{Clock: clock})
	b := rig.Browser(t)
	for i := range 12 {
		asked := fmt.Sprintf("%s/page/%d?%s", rig.URL, i, strings.Repeat("q", 850))
		back := atLogto(t, rig, b, asked)
		total := 0
		for _, name := range attemptCookies(rig, b) {
			size := len(name) + len(b.Cookies("localhost")[name])
			if size > 1536 {
				t.Errorf("attempt %d: got %d bytes, want at most 1536", i, size)
			}
			total += size
		}
		if total > 6<<10 {
			t.Errorf("attempts after page %d: got %d bytes, want at most 6144", i, total)
		}
		wantRedirect(t, twin(t, rig, b).Get(back), asked) // the newest is always there
		clock.Add(time.Second)
	}
	if got := len(attemptCookies(rig, b)); got < 3 {
		t.Errorf("attempts: got %d, want those that fit", got)
	}
}

func TestAttemptReturnPathTooLong(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 2000)
	for _, tt := range []struct{ name, asked, want string }{
		{"keeps what fits", "/a?q=" + strings.Repeat("x", 700), "/a?q=" + strings.Repeat("x", 700)},
		{"loses its query", "/a/b?q=" + long, "/a/b"},
		{"path alone too long", "/" + long, "/"},
		{"past what is read at all", "/a?q=" + strings.Repeat("x", 9000), "/a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rig := gatewaytest.New(t, nil)
			b := rig.Browser(t)
			wantRedirect(t, b.Get(atLogto(t, rig, b, rig.URL+tt.asked)), rig.URL+tt.want)
			if noted := strings.Contains(rig.Log.String(), "too long"); noted != (tt.asked != tt.want) {
				t.Errorf("the log has a notice: got %t", noted)
			}
			if strings.Contains(rig.Log.String(), "q="+long) {
				t.Error("the log has the query")
			}
		})
	}
}

func TestAttemptLife(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		after time.Duration
		good  bool
	}{{60*time.Minute - time.Second, true}, {60 * time.Minute, false}, {23 * time.Hour, false}} {
		t.Run(tt.after.String(), func(t *testing.T) {
			t.Parallel()
			s := newScene(t, nil)
			s.clock.Add(tt.after)
			r := s.b.Get(s.back)
			if tt.good {
				wantRedirect(t, r, s.asked)
				return
			}
			// The restart still knows where to go, and nothing was redeemed or consumed.
			if got := tokenCalls(s.rig); got != 0 {
				t.Errorf("token calls: got %d, want 0", got)
			}
			wantRedirect(t, s.b.Get(answered(t, s.rig, s.b, r)), s.asked)
		})
	}
}

// A spent attempt holds the return path and times, and nothing that could finish a sign-in.
func TestAttemptSpent(t *testing.T) {
	t.Parallel()
	const secret = "0123456789abcdef0123456789ABCDEF"
	s := newScene(t, &gatewaytest.Options{Session: "store: memory, secret: " + secret})
	keys, err := seal.NewKeyRing([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	name := attemptCookies(s.rig, s.b)[0]
	read := func() map[string]any {
		t.Helper()
		id, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(name, s.rig.Cookie()+"-"))
		if err != nil {
			t.Fatal(err)
		}
		bind := append([]byte(s.rig.Issuer.URL+"/oidc\x00"+s.rig.Issuer.AppID+"\x00localhost"), id...)
		plain, _, err := keys.OpenText("attempt", s.b.Cookies("localhost")[name], bind)
		if err != nil {
			t.Fatal(err)
		}
		var out map[string]any
		if err := json.Unmarshal(plain, &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	if read()["Seed"] == nil {
		t.Fatal("an attempt has no seed")
	}
	s.b.Get(s.back)
	after := read()
	for member, value := range after {
		if value != nil && !slices.Contains([]string{"Return", "Start", "Spent"}, member) {
			t.Errorf("a spent attempt holds %s", member)
		}
	}
	if after["Return"] != "/reports?q=1" || after["Spent"] == nil {
		t.Errorf("a spent attempt: got %v", after)
	}
}

func TestTenTabsInReverse(t *testing.T) {
	t.Parallel()
	clock := gatewaytest.NewClock()
	rig := gatewaytest.New(t, &gatewaytest.Options{Clock: clock})
	b := rig.Browser(t)
	var asked, backs []string
	for i := range 10 {
		asked = append(asked, fmt.Sprintf("%s/tab/%d?n=%d", rig.URL, i, i))
		backs = append(backs, atLogto(t, rig, b, asked[i]))
		clock.Add(time.Second)
	}
	for i := range slices.Backward(backs) {
		wantRedirect(t, b.Get(backs[i]), asked[i])
		if got := b.Get(asked[i]); got.StatusCode != http.StatusOK {
			t.Errorf("tab %d: got %s, want 200", i, got.Status)
		}
		clock.Add(time.Second)
	}
	if got := sessionRows(t, rig); got != 1 {
		t.Errorf("rows: got %d, want 1: each sign-in replaces the one before", got)
	}
	if got := rig.Issuer.Revoked(); len(got) != 0 {
		t.Errorf("revoked tokens: got %d, want 0: replacing revokes nothing", len(got))
	}
}

func TestAuthorizationRequest(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	b := rig.Browser(t)
	signIn(t, b, rig.URL+"/")
	for _, tt := range []struct{ name, address, prompt string }{
		{"a protected page", rig.URL + "/x", "consent"},
		{"a protected page of the second host", rig.Second + "/x", "consent"},
		{"the endpoint", rig.URL + "/sign-in?return_to=/x", "consent"},
		{"the endpoint under the prefix", rig.URL + "/_portero/sign-in?return_to=/x", "consent"},
		{"another account", rig.URL + "/sign-in?return_to=/x&fresh=1", "login consent"},
	} {
		c := rig.Browser(t)
		if tt.name == "another account" {
			c = twin(t, rig, b) // although somebody is signed in
		}
		r := c.Get(tt.address)
		q := wantToLogto(t, rig, r)
		host := rig.URL
		if strings.HasPrefix(tt.address, rig.Second) {
			host = rig.Second
		}
		for name, want := range map[string]string{
			"max_age": "1209600", "prompt": tt.prompt, "response_type": "code", "code_challenge_method": "S256", "client_id": rig.Issuer.AppID,
			"redirect_uri": host + "/callback", "scope": "openid offline_access profile email roles", "first_screen": "identifier:sign_in",
			"identifier": "email", "ui_locales": "en",
		} {
			if got := q[name]; len(got) != 1 || got[0] != want {
				t.Errorf("%s: %s: got %q, want %q", tt.name, name, got, want)
			}
		}
		for _, name := range []string{"state", "nonce", "code_challenge"} {
			if raw, err := base64.RawURLEncoding.DecodeString(q.Get(name)); err != nil || len(raw) < 16 {
				t.Errorf("%s: %s: got %d bytes, want at least 16", tt.name, name, len(raw))
			}
		}
	}
}

// Restarting keeps what was asked for: another account is not forgotten.
func TestRestartKeepsAnotherAccount(t *testing.T) {
	t.Parallel()
	clock := gatewaytest.NewClock()
	rig := gatewaytest.New(t, &gatewaytest.Options{Clock: clock})
	b := rig.Browser(t)
	back := atLogto(t, rig, b, rig.URL+"/sign-in?return_to=/x&fresh=1")
	clock.Add(61 * time.Minute)
	if got := wantToLogto(t, rig, b.Get(back)).Get("prompt"); got != "login consent" {
		t.Errorf("prompt: got %q, want login consent", got)
	}
}

func TestSignInEndpoint(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	b := rig.SignedIn(t, "/")
	wantRedirect(t, b.Get(rig.URL+"/sign-in?return_to=/x%3Fa%3D1"), rig.URL+"/x?a=1") // signed in: straight on
	wantRedirect(t, b.Get(rig.URL+"/sign-in"), rig.URL+"/")
	for _, ret := range []string{
		"/sign-in", "/sign-out", "/callback", "/sign-out?x", "/sign%2Dout", "/sign-out/", "/_portero/sign-out", "/_portero/session", "/_portero/language?return_to=/x",
		"https://evil.example/", "//evil.example/", `/\evil.example`, "/%09/evil.example/../..", "/a/../b", "evil", "javascript:alert(1)", "/\x00", "/a b",
	} {
		wantRedirect(t, b.Get(rig.URL+"/sign-in?return_to="+url.QueryEscape(ret)), rig.URL+"/")
	}
	for _, ret := range []string{"/_portero/", "/_portero/signed-in"} {
		wantRedirect(t, b.Get(rig.URL+"/sign-in?return_to="+url.QueryEscape(ret)), rig.URL+ret)
	}
}
