package gateway_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// tokenRoutes are routes whose applications get an access token of the person.
const tokenRoutes = `
  - {name: api, path: /api, access_token: {resource: "https://api.example.com"}, upstreams: [{url: UPSTREAM}]}
  - {name: club, path: /club, access_token: {organization: org-1}, upstreams: [{url: UPSTREAM}]}
  - {name: both, path: /both, access_token: {resource: "https://api.example.com", organization: org-1}, upstreams: [{url: UPSTREAM}]}
  - {name: closed, path: /closed, access_token: {resource: "https://api.example.com"}, allow: [{roles: [nobody-has-it]}], upstreams: [{url: UPSTREAM}]}
  - {name: web, path: /, upstreams: [{url: UPSTREAM}]}
`

// sentAudience is the audience of the token that the upstream got last.
func sentAudience(t *testing.T, head string) string {
	t.Helper()
	lines := gatewaytest.Header(head, "Authorization")
	if len(lines) == 0 {
		return ""
	}
	token, ok := strings.CutPrefix(lines[0], "Bearer ")
	if !ok || len(lines) != 1 {
		t.Fatalf("Authorization at the upstream: got %q", lines)
	}
	audience, _ := claimsOf(t, token)["aud"].(string)
	return audience
}

func newTokens(t *testing.T) *gatewaytest.Rig {
	t.Helper()
	return gatewaytest.New(t, &gatewaytest.Options{Routes: tokenRoutes, Clock: gatewaytest.NewClock(), Session: "store: memory, idle_timeout: 0s"})
}

func TestAccessTokenGoesUpstream(t *testing.T) {
	t.Parallel()
	r := newTokens(t)
	b := r.SignedIn(t, "/")
	asked := r.Issuer.Requests()[0]
	if got := asked["resource"]; len(got) != 1 || got[0] != apiAudience {
		t.Errorf("resource of the authorization request: got %q, want the one of the routes", got)
	}
	if !strings.Contains(asked.Get("scope"), "urn:logto:scope:organizations") {
		t.Errorf("scope of the authorization request: got %q, want the organizations in it", asked.Get("scope"))
	}
	if got := sentAudience(t, r.Upstream.Last()); got != "" || r.Issuer.Calls("refresh_token") != 0 {
		t.Errorf("a route without: got the audience %q and %d refreshes, want none", got, r.Issuer.Calls("refresh_token"))
	}
	for range 3 { // each is fetched once
		for path, want := range map[string]string{"/api/x": apiAudience, "/club": "urn:logto:organization:org-1", "/both": apiAudience} {
			req := b.Request(http.MethodGet, r.URL+path, nil, map[string]string{"Authorization": "Bearer of-the-client"})
			if got := b.Do(req); got.StatusCode != http.StatusOK {
				t.Fatalf("%s: got %s, want 200\n%s\n%s", path, got.Status, got.Text, r.Log)
			}
			if got := sentAudience(t, r.Upstream.Last()); got != want {
				t.Errorf("%s: the upstream got a token for %q, want %q", path, got, want)
			}
		}
	}
	if got := r.Issuer.Calls("refresh_token"); got != 3 {
		t.Errorf("token calls: got %d, want one for each kind", got)
	}
	// Whom the rules deny, nothing is fetched for; and nobody else's token is anybody's.
	if got := b.Get(r.URL + "/closed"); got.StatusCode != http.StatusForbidden || r.Issuer.Calls("refresh_token") != 3 {
		t.Errorf("denied: got %s and %d token calls", got.Status, r.Issuer.Calls("refresh_token"))
	}
	if got := call(t, r, nil, "/api/x", "Bearer of-the-client"); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("nobody: got %s, want 401", got.Status)
	}
	for token := range r.Issuer.Secrets() {
		if strings.Contains(r.Log.String(), token) {
			t.Error("a token is in the log")
		}
	}
}

// TestAccessTokenNoStorm: a hundred first requests cause one call, and so do a hundred after its end.
func TestAccessTokenNoStorm(t *testing.T) {
	t.Parallel()
	r := newTokens(t)
	grants := gatewaytest.NewGrants(r.Issuer) // every use gives a new refresh token
	b := r.SignedIn(t, "/")
	for round := 1; round <= 3; round++ {
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if got := b.Get(r.URL + "/api/x"); got.StatusCode != http.StatusOK {
					t.Errorf("round %d: got %s, want 200", round, got.Status)
				}
			})
		}
		all.Wait()
		if got := r.Issuer.Calls("refresh_token for " + apiAudience); got != round {
			t.Errorf("round %d: %d calls for the token so far, want %d", round, got, round)
		}
		r.Clock.Add(61 * time.Minute)
	}
	if grants.Killed() {
		t.Error("a refresh token was used again")
	}
	for _, head := range r.Upstream.Requests() {
		if strings.HasPrefix(head, "GET /api/") && sentAudience(t, head) != apiAudience {
			t.Fatalf("the upstream got a request without the token:\n%s", head)
		}
	}
}

// TestAccessTokenWhileLogtoIsDown: an unexpired token goes on, and nothing is forwarded without one.
func TestAccessTokenWhileLogtoIsDown(t *testing.T) {
	t.Parallel()
	r := newTokens(t)
	b := r.SignedIn(t, "/")
	r.Issuer.Do(func(i *gatewaytest.Issuer) { i.AccessLife = 10 * time.Minute }) // shorter than that of the session's own
	if got := b.Get(r.URL + "/api/x"); got.StatusCode != http.StatusOK {
		t.Fatalf("got %s", got.Status)
	}
	down := func(is bool) {
		r.Issuer.Do(func(i *gatewaytest.Issuer) {
			if i.Answer = nil; is {
				i.Answer = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true }
			}
		})
	}
	down(true)
	r.Clock.Add(9 * time.Minute)
	if got := b.Get(r.URL + "/api/x"); got.StatusCode != http.StatusOK {
		t.Errorf("in the last fifth: got %s, want 200", got.Status)
	}
	gatewaytest.Await(t, "the first try", func() bool { return r.Issuer.Calls("/oidc/token") >= 3 })
	r.Clock.Add(2 * time.Minute)
	r.Upstream.Forget()
	got := b.Get(r.URL + "/api/x")
	if got.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("after the end: got %s, want 503", got.Status)
	}
	calls := r.Issuer.Calls("/oidc/token")
	for range 20 {
		b.Get(r.URL + "/api/x")
	}
	if more := r.Issuer.Calls("/oidc/token") - calls; more > 1 {
		t.Errorf("twenty more requests caused %d calls, want none", more)
	}
	if seen := r.Upstream.Requests(); len(seen) != 0 {
		t.Errorf("the upstream saw %q, want nothing", seen)
	}
	if got := b.Get(r.URL + "/web"); got.StatusCode != http.StatusOK {
		t.Errorf("a route that needs no token: got %s, want 200", got.Status)
	}
	down(false)
	r.Clock.Add(2 * time.Minute)
	if got := b.Get(r.URL + "/api/x"); got.StatusCode != http.StatusOK || sentAudience(t, r.Upstream.Last()) != apiAudience {
		t.Errorf("Logto is back: got %s, want 200\n%s", got.Status, r.Log)
	}
}

// TestAccessTokenRefused: who gets no token is denied, is told so, and stays signed in, although each use of the refresh token
// replaces it and a refusal does not say by what.
func TestAccessTokenRefused(t *testing.T) {
	t.Parallel()
	r := newTokens(t)
	grants := gatewaytest.NewGrants(r.Issuer)
	r.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.RefuseFor = map[string]string{apiAudience: "invalid_target", "org-1": "access_denied"}
	})
	b := r.SignedIn(t, "/")
	r.Upstream.Forget()
	for path, want := range map[string]string{
		"/api/x": `"key":"routes[0].access_token.resource","error_code":"invalid_target"`,
		"/club":  `"key":"routes[1].access_token.organization","error_code":"access_denied"`,
	} {
		for range 5 {
			if got := b.Get(r.URL + path); got.StatusCode != http.StatusForbidden {
				t.Errorf("%s: got %s, want 403\n%s", path, got.Status, got.Text)
			}
		}
		if !strings.Contains(r.Log.String(), want) {
			t.Errorf("%s: no line has %s\n%s", path, want, r.Log)
		}
	}
	if seen := r.Upstream.Requests(); len(seen) != 0 {
		t.Errorf("the upstream saw %q, want nothing", seen)
	}
	for _, what := range []string{apiAudience, "org-1"} {
		if got := r.Issuer.Calls("refresh_token for " + what); got != 1 {
			t.Errorf("asked for %s: %d times, want once", what, got)
		}
	}
	r.Clock.Add(time.Minute + 30*time.Second)
	if got := b.Get(r.URL + "/web"); got.StatusCode != http.StatusOK {
		t.Errorf("another route: got %s, want 200", got.Status)
	}
	r.Issuer.Do(func(i *gatewaytest.Issuer) { i.RefuseFor = nil })
	for path, want := range map[string]string{"/api/x": apiAudience, "/club": "urn:logto:organization:org-1"} {
		if got := b.Get(r.URL + path); got.StatusCode != http.StatusOK || sentAudience(t, r.Upstream.Last()) != want {
			t.Errorf("%s, given back: got %s, want 200 with the token", path, got.Status)
		}
	}
	if grants.Killed() {
		t.Errorf("the grant is dead: %q", grants.Presented())
	}
}

// TestAccessTokenOfAnEndedGrant: where the refresh token is worth nothing any more, the person signs in again.
func TestAccessTokenOfAnEndedGrant(t *testing.T) {
	t.Parallel()
	r := newTokens(t)
	b := r.SignedIn(t, "/")
	r.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.Answer = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/oidc/token" && r.PostForm.Get("grant_type") == "refresh_token" {
				gatewaytest.Refuse(w, http.StatusBadRequest, "invalid_grant")
				return true
			}
			return false
		}
	})
	r.Upstream.Forget()
	if got := b.Get(r.URL + "/api/x?y=1"); got.StatusCode != http.StatusFound || !strings.HasPrefix(got.Location(), r.Issuer.URL+"/oidc/auth?") {
		t.Errorf("got %s to %q, want 302 to the issuer", got.Status, got.Location())
	}
	if seen := r.Upstream.Requests(); len(seen) != 0 {
		t.Errorf("the upstream saw %q, want nothing", seen)
	}
}

// TestAccessTokenLostAnswer: an answer that got lost may have had a new refresh token. The old one is used again while it is
// taken, and the session and its token live on.
func TestAccessTokenLostAnswer(t *testing.T) {
	t.Parallel()
	r := newTokens(t)
	grants := gatewaytest.NewGrants(r.Issuer)
	lose := true
	var mu sync.Mutex
	grants.Deliver = func(string) bool { mu.Lock(); defer mu.Unlock(); lost := lose; lose = false; return !lost }
	b := r.SignedIn(t, "/")
	if got := b.Get(r.URL + "/api/x"); got.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("the answer is lost: got %s, want 503", got.Status)
	}
	r.Clock.Add(2600 * time.Millisecond)
	gatewaytest.Await(t, "a second use", func() bool { return len(grants.Presented()) >= 2 })
	gatewaytest.Await(t, "the token", func() bool { return b.Get(r.URL+"/api/x").StatusCode == http.StatusOK })
	if got := sentAudience(t, r.Upstream.Last()); got != apiAudience {
		t.Errorf("the upstream got a token for %q", got)
	}
	r.Clock.Add(2 * time.Hour)
	if got := b.Get(r.URL + "/api/x"); got.StatusCode != http.StatusOK || grants.Killed() {
		t.Errorf("two hours later: got %s, grant dead %t; want 200\n%q", got.Status, grants.Killed(), grants.Presented())
	}
}

// TestOIDCProviderAccessToken: with the engine inside Logto, whose refresh tokens rotate at every use, the person's own token
// for a resource reaches the application, and from there the gateway as that of an API client.
func TestOIDCProviderAccessToken(t *testing.T) {
	t.Parallel()
	p := gatewaytest.NewOIDCProvider(t, &gatewaytest.OIDCProviderOptions{RotateAlways: true})
	c := certified{gatewaytest.New(t, &gatewaytest.Options{
		Clock: gatewaytest.NewClock(), Logto: &p.Logto, Session: "store: memory, idle_timeout: 0s",
		Routes: `
  - {name: api, path: /api, access_token: {resource: "https://api.example.com"}, upstreams: [{url: UPSTREAM}]}
  - {name: inner, path: /inner, bearer: {audience: "https://api.example.com"}, allow: [{claims: [{name: client_id, values: [app-1]}]}], upstreams: [{url: UPSTREAM}]}
  - {name: web, path: /, upstreams: [{url: UPSTREAM}]}
`}), p}
	c.advance(0)
	b := c.signedIn(t, "alice@example.com", "/")
	for round := 1; round <= 3; round++ {
		var all sync.WaitGroup
		for range 30 {
			all.Go(func() {
				if got := b.Get(c.URL + "/api/x"); got.StatusCode != http.StatusOK {
					t.Errorf("round %d: got %s, want 200\n%s", round, got.Status, got.Text)
				}
			})
		}
		all.Wait()
		c.advance(40 * time.Minute)
	}
	head := c.Upstream.Last()
	if got := sentAudience(t, head); got != apiAudience {
		t.Fatalf("the upstream got a token for %q\n%s", got, head)
	}
	c.expect(t, map[string]int{"/token refresh_token invalid_grant": 0, "/token authorization_code": 1})
	if got := c.provider.Counts()["/token refresh_token"]; got > 6 {
		t.Errorf("ninety requests in two hours: %d refreshes, want six at most", got)
	}
	b.Get(c.URL + "/api/x")
	token := gatewaytest.Header(c.Upstream.Last(), "Authorization")[0]
	if got := call(t, c.Rig, nil, "/inner", token); got.StatusCode != http.StatusOK {
		t.Errorf("the token at a route for API clients: got %s, want 200\n%v", got.Status, got.Header)
	}
	if got := gatewaytest.Header(c.Upstream.Last(), "X-Forwarded-User"); len(got) != 1 || got[0] == "app-1" {
		t.Errorf("X-Forwarded-User: got %q, want the person", got)
	}
}

// TestAccessTokenThroughForwardAuth: another proxy gets the token to send on in place of the client's Authorization, and no
// permission without it.
func TestAccessTokenThroughForwardAuth(t *testing.T) {
	t.Parallel()
	r := gatewaytest.New(t, trusted(gatewaytest.Options{Routes: tokenRoutes, Clock: gatewaytest.NewClock(), Session: "store: memory, idle_timeout: 0s"}))
	b := r.SignedIn(t, "/")
	theirs := map[string]string{"Authorization": "Bearer of-the-client"}
	for _, endpoint := range asks {
		got := asked(r, b, endpoint, "GET", "/api/x", theirs)
		token, ok := strings.CutPrefix(got.Header.Get("Authorization"), "Bearer ")
		if got.StatusCode != http.StatusOK || !ok || len(got.Header["Authorization"]) != 1 || claimsOf(t, token)["aud"] != apiAudience {
			t.Errorf("%s: got %s and Authorization %q, want the person's token", endpoint, got.Status, got.Header["Authorization"])
		}
	}
	r.Issuer.Do(func(i *gatewaytest.Issuer) { i.RefuseFor = map[string]string{"org-1": "access_denied"} })
	for _, endpoint := range asks {
		got := asked(r, b, endpoint, "GET", "/club", theirs)
		wantNothing(t, "refused", got, http.StatusForbidden)
		if got.Header.Get("Authorization") != "" {
			t.Errorf("%s: refused, and Authorization is %q", endpoint, got.Header.Get("Authorization"))
		}
	}
	r.Clock.Add(2 * time.Hour)
	r.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.Answer = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/oidc/token" {
				return false
			}
			gatewaytest.Refuse(w, http.StatusBadRequest, "invalid_grant")
			return true
		}
	})
	wantNothing(t, "the grant has ended", asked(r, b, asks[0], "GET", "/both", theirs), http.StatusUnauthorized)
}
