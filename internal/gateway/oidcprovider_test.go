package gateway_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// certified is a gateway in front of an independent provider, both on one clock.
type certified struct {
	*gatewaytest.Rig
	provider *gatewaytest.OIDCProvider
}

func newCertified(t *testing.T, o *gatewaytest.OIDCProviderOptions) certified {
	t.Helper()
	p := gatewaytest.NewOIDCProvider(t, o)
	c := certified{gatewaytest.New(t, &gatewaytest.Options{
		Clock: gatewaytest.NewClock(), Logto: &p.Logto, Session: "store: memory, idle_timeout: 0s",
	}), p}
	c.advance(0)
	return c
}

func (c certified) advance(d time.Duration) {
	c.Clock.Add(d)
	c.provider.SetClock(c.Clock.Now())
}

// signedIn is a person who has signed in and stands on path.
func (c certified) signedIn(t *testing.T, address, path string) *gatewaytest.Browser {
	t.Helper()
	b := c.Browser(t)
	last := c.provider.SignIn(b, b.Get(c.URL+path), address)
	if last.StatusCode != http.StatusOK || last.Request.URL.String() != c.URL+path {
		t.Fatalf("signing in: got %s at %s, want 200 at %s\n%s\n%s", last.Status, last.Request.URL, path, last.Text, c.Log)
	}
	return b
}

// expect compares how often the provider was called.
func (c certified) expect(t *testing.T, want map[string]int) {
	t.Helper()
	got := c.provider.Counts()
	for what, n := range want {
		if got[what] != n {
			t.Errorf("calls of %q: got %d, want %d\nall: %v", what, got[what], n, got)
		}
	}
}

// until waits for what happens beside the requests.
func until(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !happened(); {
		if time.Now().After(end) {
			t.Fatalf("after ten seconds still not: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// The whole story against a certified provider: a deep link, the sign-in, what the application learns, the sign-out at
// both, and being asked again.
func TestOIDCProviderStory(t *testing.T) {
	t.Parallel()
	told := make(chan string, 1)
	backchannel := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told <- r.FormValue("logout_token") }))
	defer backchannel.Close()
	c := newCertified(t, &gatewaytest.OIDCProviderOptions{BackchannelURI: backchannel.URL})
	b := c.Browser(t)

	asked := c.URL + "/reports/2026?q=a%20b&x=1&x=%2B"
	first := b.Get(asked)
	to, err := url.Parse(first.Location())
	if err != nil || first.StatusCode != http.StatusFound || !strings.HasPrefix(to.String(), c.provider.Endpoint+"/oidc/auth?") {
		t.Fatalf("first answer: got %s to %q, want 302 to the provider", first.Status, first.Location())
	}
	last := c.provider.SignIn(b, first, "Alice@admin.example")
	if last.StatusCode != http.StatusOK || last.Request.URL.String() != asked {
		t.Fatalf("after signing in: got %s at %s, want 200 at %s\n%s\n%s", last.Status, last.Request.URL, asked, last.Text, c.Log)
	}
	heads := c.Upstream.Requests()
	if len(heads) != 1 || !strings.HasPrefix(heads[0], "GET /reports/2026?q=a%20b&x=1&x=%2B HTTP/1.1\r\n") {
		t.Fatalf("upstream: got %q, want the one request that was asked for", heads)
	}
	for name, want := range map[string]string{"X-Forwarded-Email": "alice@admin.example", "X-Forwarded-Proto": "http", "X-Forwarded-For": "127.0.0.1"} {
		if got := gatewaytest.Header(heads[0], name); len(got) != 1 || got[0] != want {
			t.Errorf("%s at the upstream: got %q, want [%q]", name, got, want)
		}
	}
	if got := gatewaytest.Header(heads[0], "X-Forwarded-User"); len(got) != 1 || len(got[0]) != 12 {
		t.Errorf("X-Forwarded-User at the upstream: got %q, want one subject of twelve characters", got)
	}
	if got := gatewaytest.Header(heads[0], "Cookie"); strings.Contains(strings.Join(got, ";"), "portero") {
		t.Errorf("Cookie at the upstream: got %q, want none of the gateway's", got)
	}
	if got := b.Get(c.URL + "/admin/"); got.StatusCode != http.StatusOK {
		t.Errorf("a page for the role admin: got %s, want 200\n%s", got.Status, got.Text)
	}

	out := b.Follow(b.Post(c.URL+"/sign-out", url.Values{"return_to": {"/reports/2026"}}))
	if got := out.Request.URL.String(); !strings.HasPrefix(got, c.provider.Endpoint+"/oidc/session/end?") {
		t.Fatalf("signing out: got to %s, want the end-session endpoint", got)
	}
	if got := b.Get(asked); got.StatusCode != http.StatusFound {
		t.Errorf("asking before the provider has signed out: got %s, want 302", got.Status)
	}
	out = c.provider.SignOut(b, out)
	if out.StatusCode != http.StatusOK || out.Request.URL.Path != "/_portero/signed-out" || !strings.Contains(out.Text, "return_to=%2Freports%2F2026") {
		t.Errorf("signed out: got %s at %s, want 200 at /_portero/signed-out with a link to the page\n%s", out.Status, out.Request.URL, out.Text)
	}
	var logout map[string]any
	select {
	case token := <-told:
		logout = claimsOf(t, token)
	case <-time.After(10 * time.Second):
		t.Fatal("no logout token came")
	}
	if logout["aud"] != c.provider.AppID || logout["sid"] == nil || logout["sub"] != gatewaytest.Header(heads[0], "X-Forwarded-User")[0] {
		t.Errorf("logout token: got %v, want one for this person, session and application", logout)
	}
	c.expect(t, map[string]int{"/token authorization_code": 1, "/token/revocation": 1, "/token refresh_token": 0})

	again := b.Get(asked)
	if again.StatusCode != http.StatusFound {
		t.Fatalf("asking again: got %s, want 302", again.Status)
	}
	if last := c.provider.SignIn(b, again, "bob@example.com"); last.StatusCode != http.StatusOK || last.Request.URL.String() != asked {
		t.Errorf("signing in as somebody else: got %s at %s, want 200 at %s\n%s", last.Status, last.Request.URL, asked, last.Text)
	}
	if got := gatewaytest.Header(c.Upstream.Last(), "X-Forwarded-Email"); len(got) != 1 || got[0] != "bob@example.com" {
		t.Errorf("X-Forwarded-Email at the upstream: got %q, want bob's", got)
	}
	if got := b.Get(c.URL + "/admin/"); got.StatusCode != http.StatusForbidden {
		t.Errorf("a page for the role admin, without it: got %s, want 403", got.Status)
	}
}

// claimsOf reads a token without looking at its signature.
func claimsOf(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no token", token)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// Tokens are renewed by use. However many requests come at once, a refresh token that rotates is used once: a second
// use after three seconds would take the whole grant back.
func TestOIDCProviderRefreshRotates(t *testing.T) {
	t.Parallel()
	c := newCertified(t, &gatewaytest.OIDCProviderOptions{RotateAlways: true, AccessLife: time.Minute})
	b := c.signedIn(t, "alice@example.com", "/")

	c.advance(30 * time.Second)
	b.Get(c.URL + "/early")
	c.expect(t, map[string]int{"/token refresh_token": 0})

	c.advance(20 * time.Second)
	if got := b.Get(c.URL + "/last-fifth"); got.StatusCode != http.StatusOK {
		t.Fatalf("in the last fifth of the access token's life: got %s, want 200", got.Status)
	}
	until(t, "a refresh beside the request", func() bool {
		metrics := b.Get("http://" + c.Gateway.AdminAddr().String() + "/metrics")
		return strings.Contains(metrics.Text, `portero_refreshes_total{outcome="succeeded"} 1`)
	})
	c.expect(t, map[string]int{"/token refresh_token": 1})

	for round := 2; round <= 4; round++ {
		c.advance(61 * time.Second)
		var tabs sync.WaitGroup
		for range 12 {
			tabs.Go(func() {
				if got := b.Get(c.URL + "/tab"); got.StatusCode != http.StatusOK {
					t.Errorf("round %d: got %s, want 200", round, got.Status)
				}
			})
		}
		tabs.Wait()
		c.expect(t, map[string]int{"/token refresh_token": round})
	}
	c.expect(t, map[string]int{"/token authorization_code": 1, "/token refresh_token invalid_grant": 0})
}

// With the policy of applications that have a secret, the refresh token stays the same for 70 % of its life and then
// changes; the session lives through both.
func TestOIDCProviderRefreshByPolicy(t *testing.T) {
	t.Parallel()
	c := newCertified(t, nil)
	b := c.signedIn(t, "alice@example.com", "/")
	for refreshes, days := 1, 0; days < 13; days++ {
		c.advance(24 * time.Hour)
		if got := b.Get(c.URL + "/"); got.StatusCode != http.StatusOK {
			t.Fatalf("after %d days: got %s to %s, want 200\n%s", days+1, got.Status, got.Location(), c.Log)
		}
		c.expect(t, map[string]int{"/token refresh_token": refreshes, "/token authorization_code": 1, "/token refresh_token invalid_grant": 0})
		refreshes++
	}
}

// After a change of the signing key everything goes on: refreshes and sign-ins are signed with the new one, and the
// hint of a sign-out may still be signed with the old one.
func TestOIDCProviderKeyRotation(t *testing.T) {
	t.Parallel()
	c := newCertified(t, &gatewaytest.OIDCProviderOptions{AccessLife: time.Minute})
	alice := c.signedIn(t, "alice@example.com", "/")

	c.provider.RotateKey()
	bob := c.signedIn(t, "bob@example.com", "/?after=rotation")
	for name, b := range map[string]*gatewaytest.Browser{"alice": alice, "bob": bob} {
		if got := b.Get(c.URL + "/"); got.StatusCode != http.StatusOK {
			t.Errorf("%s after the rotation: got %s, want 200", name, got.Status)
		}
	}
	out := c.provider.SignOut(alice, alice.Follow(alice.Post(c.URL+"/sign-out", nil)))
	if out.StatusCode != http.StatusOK || out.Request.URL.Path != "/_portero/signed-out" {
		t.Errorf("signing out with a hint of the old key: got %s at %s, want 200 at /_portero/signed-out", out.Status, out.Request.URL.Path)
	}

	c.advance(90 * time.Second)
	c.provider.RotateKey()
	c.advance(61 * time.Second)
	if got := bob.Get(c.URL + "/"); got.StatusCode != http.StatusOK {
		t.Errorf("a refresh after another rotation: got %s, want 200\n%s", got.Status, c.Log)
	}
	c.expect(t, map[string]int{"/token refresh_token": 1, "/token authorization_code": 2})
}

// Somebody whose grant was taken back is signed in again by the provider's own session, without a question; somebody
// who was suspended has to prove themselves. Nobody reaches the application in between.
func TestOIDCProviderRevokedRefreshToken(t *testing.T) {
	t.Parallel()
	c := newCertified(t, &gatewaytest.OIDCProviderOptions{AccessLife: time.Minute})
	alice, bob := c.signedIn(t, "alice@example.com", "/"), c.signedIn(t, "bob@example.com", "/")
	if got := c.provider.RevokeGrants("alice@example.com"); got != 1 {
		t.Fatalf("grants of alice: got %d, want 1", got)
	}
	if got := c.provider.Suspend("bob@example.com"); got != 1 {
		t.Fatalf("grants of bob: got %d, want 1", got)
	}
	c.advance(61 * time.Second)
	c.Upstream.Forget()

	call := alice.Do(alice.Request(http.MethodGet, c.URL+"/api/items", nil, map[string]string{
		"Accept": "application/json", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-User": "",
	}))
	if call.StatusCode != http.StatusUnauthorized {
		t.Errorf("a call of alice's page: got %s, want 401", call.Status)
	}
	first := bob.Get(c.URL + "/reports?x=1")
	if first.StatusCode != http.StatusFound {
		t.Errorf("bob: got %s, want 302", first.Status)
	}
	if got := c.Upstream.Requests(); len(got) != 0 {
		t.Errorf("upstream: got %q, want nothing", got)
	}

	if got := alice.Visit(c.URL + "/reports?x=1"); got.StatusCode != http.StatusOK || got.Request.URL.String() != c.URL+"/reports?x=1" {
		t.Errorf("alice, signed in at the provider: got %s at %s, want 200 at the page\n%s", got.Status, got.Request.URL, got.Text)
	}
	if got := c.provider.SignIn(bob, first, "bob@example.com"); got.StatusCode != http.StatusOK || got.Request.URL.String() != c.URL+"/reports?x=1" {
		t.Errorf("bob, after signing in: got %s at %s, want 200 at the page\n%s", got.Status, got.Request.URL, got.Text)
	}
	c.expect(t, map[string]int{"/token refresh_token invalid_grant": 2, "/token authorization_code": 4})
}

// An answer with a rotated refresh token that gets lost costs one silent sign-in and no error page: the person goes on
// while the provider seems away, and the old token, used too late, ends the session.
func TestOIDCProviderLostRotation(t *testing.T) {
	t.Parallel()
	c := newCertified(t, &gatewaytest.OIDCProviderOptions{RotateAlways: true, AccessLife: time.Minute})
	b := c.signedIn(t, "alice@example.com", "/")
	c.advance(61 * time.Second)
	c.provider.LoseAnswers(1)
	if got := b.Get(c.URL + "/"); got.StatusCode != http.StatusOK {
		t.Fatalf("while the answer is lost: got %s, want 200\n%s", got.Status, c.Log)
	}
	c.advance(10 * time.Second)
	if got := b.Visit(c.URL + "/page?x=1"); got.StatusCode != http.StatusOK || got.Request.URL.String() != c.URL+"/page?x=1" {
		t.Errorf("after it: got %s at %s, want 200 at the page\n%s\n%s", got.Status, got.Request.URL, got.Text, c.Log)
	}
	c.expect(t, map[string]int{"/token refresh_token": 1, "/token refresh_token invalid_grant": 1, "/token authorization_code": 2})
}
