package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// A certified provider, the engine inside Logto, tells the gateway of a sign-out that happened at the provider: every
// session of that browser ends, on all hosts, no other person's, and the refresh tokens, which live on, are taken back.
func TestOIDCProviderBackchannelLogout(t *testing.T) {
	t.Parallel()
	c := newCertified(t, nil)
	c.provider.SetBackchannelURI(c.Second + gatewaytest.LogoutPath)
	alice := c.signedIn(t, "alice@example.com", "/")
	signIn(t, alice, c.Second+"/") // silently
	elsewhere := c.signedIn(t, "alice@example.com", "/")
	bob := c.signedIn(t, "bob@example.com", "/")

	c.advance(time.Minute)
	c.provider.SignOut(alice, alice.Visit(c.provider.Endpoint+"/oidc/session/end?client_id="+c.provider.AppID))
	for _, host := range []string{c.URL, c.Second} {
		if isIn(t, alice, host+"/") {
			t.Errorf("%s: still signed in after the sign-out at the provider\n%s", host, c.Log)
		}
	}
	if !isIn(t, elsewhere, c.URL+"/") || !isIn(t, bob, c.URL+"/") {
		t.Error("a session of another browser has ended")
	}
	until(t, "the refresh tokens are taken back", func() bool { return c.provider.Counts()["/token/revocation"] == 2 })
	if got := strings.Count(c.Log.String(), `"reason":"backchannel-logout"`); got != 2 {
		t.Errorf("sessions in the audit log: got %d, want 2", got)
	}

	// A changed signing key is no obstacle.
	c.provider.RotateKey()
	c.advance(2 * time.Minute)
	c.provider.SignOut(bob, bob.Visit(c.provider.Endpoint+"/oidc/session/end?client_id="+c.provider.AppID))
	if isIn(t, bob, c.URL+"/") {
		t.Errorf("after a change of the signing key: still signed in\n%s", c.Log)
	}
	if last := c.provider.SignIn(bob, bob.Get(c.URL+"/"), "bob@example.com"); last.StatusCode != http.StatusOK || last.Request.URL.String() != c.URL+"/" {
		t.Errorf("signing in again: got %s at %s, want 200", last.Status, last.Request.URL)
	}
}

// A sign-out here goes on to the provider, which tells of it here: the second end of what is over does no harm, and the
// sign-in that follows lives.
func TestOIDCProviderSignOutComesBack(t *testing.T) {
	t.Parallel()
	c := newCertified(t, nil)
	c.provider.SetBackchannelURI(c.URL + gatewaytest.LogoutPath)
	b := c.signedIn(t, "alice@example.com", "/")
	c.advance(time.Minute)
	out := c.provider.SignOut(b, b.Follow(b.Post(c.URL+"/sign-out", nil)))
	if out.StatusCode != http.StatusOK || out.Request.URL.Path != "/_portero/signed-out" {
		t.Fatalf("signing out: got %s at %s", out.Status, out.Request.URL)
	}
	if got := strings.Count(c.Log.String(), `"path":"/_portero/backchannel-logout","status":200`); got != 1 {
		t.Errorf("logouts that were answered with 200: got %d, want 1\n%s", got, c.Log)
	}
	c.advance(time.Second)
	if last := c.provider.SignIn(b, b.Get(c.URL+"/"), "alice@example.com"); last.StatusCode != http.StatusOK || !isIn(t, b, c.URL+"/") {
		t.Errorf("signing in again: got %s at %s, want 200", last.Status, last.Request.URL)
	}
}
