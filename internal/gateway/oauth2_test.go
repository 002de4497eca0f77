package gateway_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"portero/internal/gatewaytest"
)

func newOAuth2(t *testing.T) *gatewaytest.Rig {
	t.Helper()
	return gatewaytest.New(t, trusted(gatewaytest.Options{Extra: "endpoints: {aliases: oauth2-proxy}"}))
}

// TestOAuth2ProxyIsOffByDefault: without the key the paths are the application's.
func TestOAuth2ProxyIsOffByDefault(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, trusted(gatewaytest.Options{}))
	b := rig.SignedIn(t, "/")
	for _, path := range []string{"/oauth2/start", "/oauth2/auth", "/oauth2/sign_out"} {
		if r := b.Get(rig.URL + path); r.StatusCode != http.StatusOK || !strings.HasPrefix(rig.Upstream.Last(), "GET "+path+" ") {
			t.Errorf("%s: got %s, want the application", path, r.Status)
		}
	}
}

func TestOAuth2ProxySignIn(t *testing.T) {
	t.Parallel()
	rig := newOAuth2(t)
	for rd, want := range map[string]string{
		"": "/", "/reports?q=1&r=2": "/reports?q=1&r=2", rig.URL + "/reports?q=a%20b": "/reports?q=a%20b",
		// Nobody is sent to another site, or round in a circle.
		"https://evil.test/x": "/", "//evil.test/x": "/", "/\\evil.test": "/", rig.URL + ".evil.test/x": "/", rig.URL + "@evil.test/": "/", "/oauth2/start": "/", "/oauth2/sign_out": "/", "javascript:alert(1)": "/",
	} {
		for _, path := range []string{"/oauth2/start", "/oauth2/sign_in"} {
			b := rig.Browser(t)
			r := b.Get(rig.URL + path + "?" + url.Values{"rd": {rd}, "prompt": {"none"}, "fresh": {"1"}}.Encode())
			if q := wantToLogto(t, rig, r); q.Get("prompt") != "consent" {
				t.Errorf("%s rd=%q: prompt=%q", path, rd, q.Get("prompt"))
			}
			if last := b.Follow(r); last.StatusCode != http.StatusOK || last.Request.URL.RequestURI() != want {
				t.Errorf("%s rd=%q: got %s at %s, want %s", path, rd, last.Status, last.Request.URL, want)
			}
		}
	}
}

func TestOAuth2ProxySignOut(t *testing.T) {
	t.Parallel()
	rig := newOAuth2(t)
	b := rig.SignedIn(t, "/")
	// From another site nothing happens by itself.
	r := b.Get(rig.URL + "/oauth2/sign_out?rd=" + url.QueryEscape("https://evil.test/"))
	if r.StatusCode != http.StatusOK || !strings.Contains(r.Text, "Sign out") || strings.Contains(r.Text, "evil.test") {
		t.Fatalf("got %s\n%s", r.Status, r.Text)
	}
	if r := b.Get(rig.URL + "/"); r.StatusCode != http.StatusOK {
		t.Errorf("a page of another site has signed somebody out: got %s", r.Status)
	}
	if r := b.Post(rig.URL+"/oauth2/sign_out", nil); r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: got %s, want 405", r.Status)
	}
}

func TestOAuth2ProxyUserinfo(t *testing.T) {
	t.Parallel()
	rig := newOAuth2(t)
	rig.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.Person = maps.Clone(i.Person)
		i.Person["roles"], i.Person["username"] = []string{"dev", "ops"}, "alice"
	})
	if r := rig.Browser(t).Get(rig.URL + "/oauth2/userinfo"); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("nobody: got %s, want 401", r.Status)
	}
	b := rig.SignedIn(t, "/")
	r := b.Get(rig.URL + "/oauth2/userinfo")
	var got map[string]any
	if err := json.Unmarshal([]byte(r.Text), &got); err != nil || r.StatusCode != http.StatusOK || r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("got %s %v %s", r.Status, r.Header, r.Text)
	}
	want := map[string]any{"user": "t8x4l8ohti1t", "email": "alice@example.com", "groups": []any{"dev", "ops"}, "preferredUsername": "alice"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("userinfo (-want +got):\n%s", diff)
	}
	for _, path := range []string{"/oauth2", "/oauth2/", "/oauth2/callback", "/oauth2/static/css/all.min.css", "/oauth2/authx", "/oauth2/start/"} {
		before := len(rig.Upstream.Requests())
		if r := b.Get(rig.URL + path); r.StatusCode != http.StatusNotFound || len(rig.Upstream.Requests()) != before {
			t.Errorf("%s: got %s, want 404 and nothing at the application", path, r.Status)
		}
	}
}

// TestOAuth2ProxyAuth: a check with the status codes and headers of oauth2-proxy, by the rules of the route that is asked about.
func TestOAuth2ProxyAuth(t *testing.T) {
	t.Parallel()
	rig := newOAuth2(t)
	const endpoint = "/oauth2/auth"
	anybody, b := rig.Browser(t), rig.SignedIn(t, "/")
	wantNothing(t, "anybody", asked(rig, anybody, endpoint, "GET", "/app", nil), http.StatusUnauthorized)
	wantNothing(t, "denied", asked(rig, b, endpoint, "GET", "/admin", nil), http.StatusForbidden)
	wantNothing(t, "no question", b.Get(rig.URL+endpoint), http.StatusBadRequest)
	for _, name := range []string{"X-Forwarded-Method", "X-Forwarded-Uri", "X-Forwarded-Proto", "X-Forwarded-Host"} {
		wantNothing(t, "without "+name, asked(rig, b, endpoint, "GET", "/app", map[string]string{name: ""}), http.StatusBadRequest)
	}
	// What would restrict it more is never left out in silence.
	for _, query := range []string{"?allowed_groups=admins", "?allowed_emails=bob@example.com", "?allowed_email_domains=corp.com", "?x"} {
		wantNothing(t, query, asked(rig, b, endpoint+query, "GET", "/app", nil), http.StatusForbidden)
	}
	if !strings.Contains(rig.Log.String(), `"key":"routes[].allow"`) {
		t.Error("the log does not say what to do about the parameters")
	}
	r := asked(rig, b, endpoint, "POST", "/app?x=1", map[string]string{"X-Auth-Request-User": "root", "X-Auth-Request-Groups": "admin", "X-Forwarded-User": "root"})
	if r.StatusCode != http.StatusAccepted || r.Text != "" || len(r.Header["Set-Cookie"]) != 0 {
		t.Errorf("got %s %q, want 202 without a body", r.Status, r.Text)
	}
	for name, want := range map[string]string{
		"X-Auth-Request-User": "t8x4l8ohti1t", "X-Auth-Request-Email": "alice@example.com", "X-Auth-Request-Groups": "", "X-Forwarded-User": "t8x4l8ohti1t",
	} {
		if got := r.Header.Get(name); got != want || len(r.Header[name]) > 1 {
			t.Errorf("%s: got %q, want %q", name, r.Header[name], want)
		}
	}
	// Who is no trusted proxy is told nothing.
	strange := gatewaytest.New(t, &gatewaytest.Options{Extra: "endpoints: {aliases: oauth2-proxy}"})
	wantNothing(t, "no trusted proxy", asked(strange, strange.SignedIn(t, "/"), endpoint, "GET", "/app", nil), http.StatusForbidden)
}
