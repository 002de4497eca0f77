package gateway_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

func TestEndpointMethods(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	const get = "GET, HEAD"
	for path, allow := range map[string]string{
		"/sign-in": get, "/_portero/sign-in": get,
		"/callback": "GET", "/_portero/callback": "GET",
		"/sign-out": get + ", POST", "/_portero/sign-out": get + ", POST",
		"/_portero": get, "/_portero/": get, "/_portero/session": get, "/_portero/signed-out": get, "/_portero/signed-in": get,
		"/_portero/continue": get, "/_portero/language": get, "/_portero/healthz": get, "/_portero/backchannel-logout": "POST", "/_portero/sessions/end": "POST",
	} {
		b := rig.Browser(t)
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "TRACE", "get", "BREW"} {
			r := b.Do(b.Request(method, rig.URL+path, nil, nil))
			taken := slices.Contains(strings.Split(allow, ", "), method)
			if refused := r.StatusCode == http.StatusMethodNotAllowed; refused == taken {
				t.Errorf("%s %s: got %s", method, path, r.Status)
			}
			if taken {
				continue
			}
			got := r.Header.Get("Allow")
			switch method {
			case "TRACE", "get", "BREW": // refused before anything else
				if !strings.Contains(got, "GET") || strings.Contains(got, "TRACE") {
					t.Errorf("%s %s: Allow: got %q", method, path, got)
				}
			default:
				if got != allow {
					t.Errorf("%s %s: Allow: got %q, want %q", method, path, got, allow)
				}
			}
		}
	}
	if got := rig.Upstream.Requests(); len(got) != 0 {
		t.Errorf("the application saw %d requests", len(got))
	}
}

// Nothing under the prefix is forwarded, in whatever spelling, and what is not there is not found.
func TestEndpointsNeverForwarded(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, &gatewaytest.Options{Routes: `
  - {name: everything, path: /, access: optional, paths: by-route, upstreams: [{url: UPSTREAM}]}
`})
	b := rig.Browser(t)
	b.Visit(rig.URL + "/sign-in")
	rig.Upstream.Forget()
	for _, path := range []string{
		"/_portero/none", "/_portero/session/", "/_portero//session", "/_portero/session/x", "/_portero/assets/none", "/_portero/%61ssets/x",
		"/%5fportero/session", "/_portero%2Fsession", "/_portero%2fsession", "/_porter%6f/session", "/%73ign-in", "/sign%2Din", "/call%62ack?code=x&state=y",
		"/sign%2dout", "/_portero%252Fsession", "/%255fportero/session", "/_portero;x=1/session", "/sign-out;x", "//_portero/session", "/%2F_portero/session",
		"/sign-out%3Fx", "/sign-out%23x", "/_portero%5Csession",
	} {
		b := b
		r := b.Do(rawPath(t, b, rig.URL, path))
		if r.StatusCode != http.StatusNotFound && r.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: got %s, want 404 or 400", path, r.Status)
		}
		if got := rig.Upstream.Requests(); len(got) != 0 {
			t.Errorf("%s: the application saw %q", path, strings.SplitN(got[0], "\r\n", 2)[0])
			rig.Upstream.Forget()
		}
		if !hasSession(rig, b) {
			t.Fatalf("%s: signed out", path)
		}
	}
	for _, path := range []string{"/_porter", "/_porterox", "/callbacks", "/callback/x", "/callback-evil?code=a&state=b", "/Sign-Out", "/sign-outs", "/_PORTERO/session"} {
		if r := b.Do(rawPath(t, b, rig.URL, path)); r.StatusCode != http.StatusOK {
			t.Errorf("%s is the application's: got %s, want 200", path, r.Status)
		}
	}
}

// rawPath is a request whose path leaves as it is written.
func rawPath(t testing.TB, b *gatewaytest.Browser, origin, path string) *http.Request {
	t.Helper()
	r := b.Request("GET", origin+"/", nil, nil)
	r.URL.Opaque = path
	if strings.HasPrefix(path, "//") {
		r.URL.Opaque = origin + path
	}
	return r
}

// An empty root form switches it off; the form under the prefix stays.
func TestEndpointsSwitchedOff(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, &gatewaytest.Options{Extra: `endpoints: {sign_in: "", callback: "", sign_out: ""}`})
	b := rig.Browser(t)
	if got := wantToLogto(t, rig, b.Get(rig.URL+"/sign-out")).Get("redirect_uri"); got != rig.URL+"/_portero/callback" {
		t.Errorf("redirect_uri: got %q", got)
	}
	signIn(t, b, rig.URL+"/sign-out") // the application's own
	for _, path := range []string{"/sign-in", "/callback", "/sign-out"} {
		if r := b.Get(rig.URL + path); r.StatusCode != http.StatusOK || !strings.HasPrefix(rig.Upstream.Last(), "GET "+path+" ") {
			t.Errorf("%s: got %s", path, r.Status)
		}
	}
	wantRedirect(t, b.Get(rig.URL+"/_portero/sign-in?return_to=/sign-out"), rig.URL+"/sign-out")
	wantEndSession(t, rig, b.Post(rig.URL+"/_portero/sign-out", nil))
}

func TestEndpointsElsewhere(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, &gatewaytest.Options{Extra: "endpoints: {sign_in: /auth/in, callback: /auth/back, sign_out: /auth/out, prefix: /-/gate}"})
	b := rig.Browser(t)
	if got := wantToLogto(t, rig, b.Get(rig.URL+"/")).Get("redirect_uri"); got != rig.URL+"/auth/back" {
		t.Errorf("redirect_uri: got %q", got)
	}
	signIn(t, b, rig.URL+"/sign-out")
	wantRedirect(t, b.Get(rig.URL+"/auth/in?return_to=/auth/out"), rig.URL+"/")
	if r := b.Get(rig.URL + "/-/gate/session"); r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("session: got %s", r.Status)
	}
	wantEndSession(t, rig, b.Post(rig.URL+"/auth/out", nil))
}

func TestSessionEndpoint(t *testing.T) {
	t.Parallel()
	clock := gatewaytest.NewClock()
	rig := gatewaytest.New(t, &gatewaytest.Options{Clock: clock, Session: "store: memory, lifetime: 48h, idle_timeout: 2h"})
	at := func(d time.Duration) string { return clock.Now().Add(d).UTC().Format(time.RFC3339) }

	signedOut := rig.Browser(t).Get(rig.URL + "/_portero/session")
	var refusal map[string]any
	if err := json.Unmarshal([]byte(signedOut.Text), &refusal); err != nil || signedOut.StatusCode != http.StatusUnauthorized ||
		signedOut.Header.Get("Content-Type") != "application/json" || signedOut.Header.Get("Www-Authenticate") != `Bearer realm="localhost"` ||
		refusal["error"] != "sign_in_required" {
		t.Errorf("signed out: got %s %s", signedOut.Status, signedOut.Text)
	}

	for _, tt := range []struct {
		name   string
		person map[string]any
		want   map[string]any
	}{
		{"everything", map[string]any{
			"sub": "s1", "email": "Alice@Example.com", "email_verified": true, "name": "Alice", "username": "alice", "roles": []string{"admin", "ops"},
		}, map[string]any{
			"subject": "s1", "email": "alice@example.com", "email_verified": true, "name": "Alice", "username": "alice", "roles": []any{"admin", "ops"},
		}},
		{"nothing but a subject", map[string]any{"sub": "s2"}, map[string]any{
			"subject": "s2", "email": nil, "email_verified": nil, "name": nil, "username": nil, "roles": nil,
		}},
		{"an address that does not count", map[string]any{"sub": "s3", "email": "a@example.com", "email_verified": false}, map[string]any{
			"subject": "s3", "email": nil, "email_verified": false, "name": nil, "username": nil, "roles": nil,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person = tt.person })
			b := rig.Browser(t)
			b.Visit(rig.URL + "/sign-in?return_to=/_portero/")
			maps.Copy(tt.want, map[string]any{"signed_in_at": at(0), "idle_ends_at": at(2 * time.Hour), "ends_at": at(48 * time.Hour)})
			for _, accept := range []string{"text/html", "application/json", "image/png", ""} {
				r := b.Do(b.Request("GET", rig.URL+"/_portero/session", nil, map[string]string{"Accept": accept}))
				var got map[string]any
				if err := json.Unmarshal([]byte(r.Text), &got); err != nil || r.StatusCode != http.StatusOK ||
					r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Cache-Control") != "no-store" {
					t.Fatalf("got %s %s %s", r.Status, r.Header, r.Text)
				}
				if a, b := jsonText(t, got), jsonText(t, tt.want); a != b {
					t.Errorf("got %s, want %s", a, b)
				}
			}
			if r := b.Do(b.Request("HEAD", rig.URL+"/_portero/session", nil, nil)); r.StatusCode != http.StatusOK || r.Text != "" {
				t.Errorf("HEAD: got %s %q", r.Status, r.Text)
			}
		})
	}
}

func jsonText(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestContinueEndpoint(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	s.clock.Add(time.Second)
	atLogto(t, s.rig, s.b, s.rig.URL+"/newest?x=1")
	sent := len(s.rig.Issuer.Requests())
	r := s.b.Get(s.rig.URL + "/_portero/continue")
	wantPage(t, r, http.StatusOK, "You are not signed in")
	if !strings.Contains(r.Text, `href="/_portero/sign-in?return_to=%2Fnewest%3Fx%3D1"`) {
		t.Errorf("the page does not offer a sign-in for the newest page\n%s", r.Text)
	}
	if len(s.rig.Issuer.Requests()) != sent || len(r.Cookies()) != 0 {
		t.Error("it starts a sign-in by itself")
	}
	wantRedirect(t, s.b.Get(s.back), s.asked) // the older tab finishes
	wantRedirect(t, s.b.Get(s.rig.URL+"/_portero/continue"), s.rig.URL+"/newest?x=1")
	forgetAttempts(s.rig, s.b)
	wantRedirect(t, s.b.Get(s.rig.URL+"/_portero/continue"), s.rig.URL+"/_portero/")
	if r := s.rig.Browser(t).Get(s.rig.URL + "/_portero/continue"); !strings.Contains(r.Text, `href="/_portero/sign-in?return_to=%2F_portero%2F"`) {
		t.Errorf("a stranger's page\n%s", r.Text)
	}
}

func TestLanguageEndpoint(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	b := rig.Browser(t)
	r := b.Get(rig.URL + "/_portero/language?lang=es&return_to=" + url.QueryEscape("/_portero/signed-out?state=x"))
	wantRedirect(t, r, rig.URL+"/_portero/signed-out?state=x")
	c := setCookies(r)[rig.Cookie()+"-lang"]
	if c == nil || c.Value != "es" || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode {
		t.Errorf("cookie: got %v", c)
	}
	wantPage(t, b.Follow(r), http.StatusOK, "Has cerrado sesión")
	if got := wantToLogto(t, rig, b.Get(rig.URL+"/")).Get("ui_locales"); got != "es" {
		t.Errorf("ui_locales: got %q, want es", got)
	}
	for _, tt := range []struct{ lang, ret, want string }{
		{"xx", "/x", "/x"}, {"", "/x", "/x"}, {"en%0d%0aSet-Cookie:%20a=b", "/x", "/x"}, {"es", "", "/"}, {"es", "//evil.example", "/"},
		{"es", "https://evil.example/", "/"}, {"es", `/\evil.example`, "/"}, {"es", "/callback?code=a&state=b", "/"},
		{"es", "/_portero/language?return_to=/x", "/"}, {"es", "/_portero/callback", "/"},
	} {
		r := b.Get(rig.URL + "/_portero/language?lang=" + tt.lang + "&return_to=" + url.QueryEscape(tt.ret))
		wantRedirect(t, r, rig.URL+tt.want)
		if set := len(r.Cookies()) != 0; set != (tt.lang == "es") {
			t.Errorf("lang=%s: a cookie was set: %t", tt.lang, set)
		}
	}
}

func TestSignedInEndpoint(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	b := rig.Browser(t)
	wantRedirect(t, b.Get(rig.URL+"/_portero/signed-in"), rig.URL+"/_portero/")
	wantPage(t, b.Visit(rig.URL+"/sign-in?return_to=/_portero/signed-in"), http.StatusOK, "You are signed in")
}

func TestRefusedAddressKeepsItsQuery(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	for _, path := range []string{"/callback;x", "/callback%2f", "//callback", "/public/../callback"} {
		a := rig.Raw(t, "GET "+path+"?code=the-code&state=the-state HTTP/1.1\r\nHost: "+strings.TrimPrefix(rig.URL, "http://")+"\r\nAccept: text/html\r\n\r\n")
		if a.Status != http.StatusBadRequest || strings.Contains(a.Body, "the-code") || strings.Contains(a.Body, "the-state") {
			t.Errorf("%s: got %s, want 400 without code and state\n%s", path, a, a.Body)
		}
	}
}
