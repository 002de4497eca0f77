package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

// The main story: a page is asked for, the person signs in, lands on it, and the application learns who it is.
func TestStory(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	b := rig.Browser(t)

	asked := rig.URL + "/reports/2026?q=a%20b&x=1"
	first := b.Get(asked)
	if first.StatusCode != http.StatusFound || !strings.HasPrefix(first.Location(), rig.Issuer.URL+"/oidc/auth?") {
		t.Fatalf("first answer: got %s to %q, want 302 to the issuer", first.Status, first.Location())
	}
	if got := rig.Upstream.Requests(); len(got) != 0 {
		t.Fatalf("upstream saw %q before anybody signed in", got)
	}
	last := b.Follow(first)
	if last.StatusCode != http.StatusOK || last.Request.URL.String() != asked {
		t.Fatalf("after signing in: got %s at %s, want 200 at %s\n%s", last.Status, last.Request.URL, asked, last.Text)
	}
	head := rig.Upstream.Last()
	if !strings.HasPrefix(head, "GET /reports/2026?q=a%20b&x=1 HTTP/1.1\r\n") {
		t.Errorf("request line at the upstream: got %q", strings.SplitN(head, "\r\n", 2)[0])
	}
	for name, want := range map[string]string{
		"X-Forwarded-User": "t8x4l8ohti1t", "X-Forwarded-Email": "alice@example.com", "X-Forwarded-Name": "Alice",
		"X-Forwarded-Proto": "http", "X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1",
	} {
		if got := gatewaytest.Header(head, name); len(got) != 1 || got[0] != want {
			t.Errorf("%s at the upstream: got %q, want [%q]", name, got, want)
		}
	}
	if got := gatewaytest.Header(head, "Cookie"); len(got) != 0 {
		t.Errorf("Cookie at the upstream: got %q, want none", got)
	}
}

// Signing out ends the session, and what was protected asks again.
func TestSignOut(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	b := rig.SignedIn(t, "/")
	out := b.Follow(b.Post(rig.URL+"/sign-out", nil))
	if out.StatusCode != http.StatusOK || !strings.Contains(out.Text, "You are signed out") {
		t.Fatalf("after signing out: got %s\n%s", out.Status, out.Text)
	}
	if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusFound {
		t.Errorf("asking again: got %s, want 302", got.Status)
	}
	if got := rig.Issuer.Revoked(); len(got) != 1 {
		t.Errorf("revoked refresh tokens: got %d, want 1", len(got))
	}
}
