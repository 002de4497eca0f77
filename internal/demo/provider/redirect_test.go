package provider_test

import (
	"net"
	"net/url"
	"strings"
	"testing"

	"portero/internal/demo/provider"
)

var redirectsElsewhere = []string{
	"", "http://", "/callback", "//127.0.0.1/cb", "127.0.0.1/cb",
	"http://evil.example/cb", "https://evil.example/cb", "http://0.0.0.0/cb", "http://10.0.0.1/cb", "http://[::]/cb",
	"http://127.0.0.1:x@evil.example/cb", "http://127.0.0.1@evil.example/cb", "http://localhost:3000@evil.example/cb",
	"http://user@localhost/cb", "http://@localhost/cb",
	"http://localhost.evil.example/cb", "http://127.0.0.1.evil.example/cb", "http://evil.example#@localhost/cb", "http://evil.example?@localhost/",
	`http://localhost\@evil.example/cb`, `http:\\evil.example\cb`, `http://evil.example\.localhost/cb`, "http://evil.example/.localhost/",
	"http://localhost%2eevil.example/cb", "http://evil.example%2f.localhost/", "http://evil.example%00.localhost/", "http://evil.example%23.localhost/",
	"http://localhost\t.evil.example/", "http://localhost\n/cb", " http://localhost/cb", "http://loc\u00adalhost/cb", "http://ⓛocalhost/cb",
	"http://2130706433/cb", "http://0x7f.1/cb", "http://127.1/cb", "http://0177.0.0.1/cb", "http://[::ffff:127.0.0.1]/cb", "http://[::1%25lo]/cb",
	"http://localhost:/cb", "http://localhost:0/cb", "http://localhost:99999/cb", "http://localhost:-1/cb", "http://localhost:80:80/cb",
	"http://..localhost/cb", "http://.localhost/cb", "http://localhost./cb", "http://a..localhost/",
	"javascript:alert(1)//localhost", "data:text/html,localhost", "ftp://localhost/cb", "file://localhost/etc/passwd", "app://localhost/cb", "http:localhost/cb",
	"http://localhost/cb#fragment", "http://localhost/cb#",
}

var redirectsHere = []string{
	"http://localhost:3000/callback", "https://localhost/callback", "http://127.0.0.1:49152/callback", "http://127.8.9.1/cb", "http://[::1]:3000/callback",
	"http://wiki.localhost:3000/callback", "http://LOCALHOST:3000/callback", "http://localhost:3000/callback?a=b",
}

func TestParseRedirectURI(t *testing.T) {
	t.Parallel()
	for _, raw := range redirectsElsewhere {
		if u, err := provider.ParseRedirectURI(raw); err == nil {
			t.Errorf("ParseRedirectURI(%q) = %v, want an error", raw, u)
		}
	}
	for _, raw := range redirectsHere {
		if _, err := provider.ParseRedirectURI(raw); err != nil {
			t.Errorf("ParseRedirectURI(%q): %v", raw, err)
		}
	}
	const listed = "https://wiki.example.com/callback"
	if _, err := provider.ParseRedirectURI(listed, listed); err != nil {
		t.Errorf("a listed URI: %v", err)
	}
	for _, raw := range []string{"javascript:alert(1)", "ftp://wiki.example.com/callback", "https:callback", "app://callback"} {
		if _, err := provider.ParseRedirectURI(raw, raw); err == nil {
			t.Errorf("a browser is sent to %q, because it is listed", raw)
		}
	}
	if _, err := provider.ParseRedirectURI(listed+"?x", listed); err == nil {
		t.Error("a listed URI with a query is accepted")
	}
}

// TestRegisteredRedirectURIs matches a URL with what an application registers, as Logto does: to the letter, but for wildcards and for what
// the standard for URLs makes one.
func TestRegisteredRedirectURIs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		registered   string
		refused, let []string
	}{
		{"https://wiki.example.com/callback",
			[]string{"http://wiki.example.com/callback", "https://wiki.example.com/callback/", "https://wiki.example.com/Callback", "https://wiki.example.com/callback?a=b",
				"https://wiki.example.com/callback?", "https://wiki.example.com:444/callback", "https://wiki.example.com.evil.example/callback", "https://x@wiki.example.com/callback",
				"https://wiki.example.com/callback#x", "https://wiki.example.com/x/../callback", "https://wiki.example.com/%63allback", `https://wiki.example.com\callback`,
				"https://wikiXexample.com/callback", "https://wiki.example.com./callback"},
			[]string{"https://wiki.example.com/callback", "https://WIKI.example.com/callback", "https://wiki.example.com:443/callback", "HTTPS://wiki.example.com/callback"}},
		{"https://wiki.example.com", []string{"https://wiki.example.com//", "https://wiki.example.com/x"}, []string{"https://wiki.example.com", "https://wiki.example.com/"}},
		{"https://wiki.example.com:443/", []string{"https://wiki.example.com:80/"}, []string{"https://wiki.example.com"}},
		{"http://wiki.example.com:80/a?b=c", []string{"http://wiki.example.com/a", "http://wiki.example.com/a?b=d"}, []string{"http://wiki.example.com/a?b=c"}},
		{"https://*.example.com/*/cb",
			[]string{"https://example.com/a/cb", "https://.example.com/a/cb", "https://a.b.example.com/a/cb", "https://a.example.com/a/b/cb", "https://a.example.com//cb",
				"https://a.example.com/../cb", "https://a.example.com/./cb", "https://evil.example/.example.com/a/cb", "https://evil.example?.example.com/a/cb",
				"https://evil.example#.example.com/a/cb", "https://a@evil.example/.example.com/a/cb", "https://a.example.com:444/a/cb", "https://a.example.com/a/cbx",
				"https://a.example.com/%2f/cb", "https://a.example.com.evil.example/a/cb", "https://*.example.com/*/cb?x"},
			[]string{"https://a.example.com/a/cb", "https://A-1.example.com/x_y/cb"}},
		{"ftp://wiki.example.com/", []string{"ftp://wiki.example.com/", "javascript:alert(1)", "https://wiki.example.com/", "https:///"}, nil},
		{"https://user@wiki.example.com/", []string{"https://wiki.example.com/"}, nil},
		{"http://[2001:db8::1]:80/cb", []string{"http://[2001:db8::2]/cb"}, []string{"http://[2001:DB8::1]/cb"}},
	} {
		for _, raw := range tt.refused {
			if u, err := provider.ParseRedirectURI(raw, "https://another.example.org/", tt.registered); err == nil {
				t.Errorf("%s is registered: %q leads to %v", tt.registered, raw, u)
			}
		}
		for _, raw := range tt.let {
			if _, err := provider.ParseRedirectURI(raw, "https://another.example.org/", tt.registered); err != nil {
				t.Errorf("%s is registered: %q: %v", tt.registered, raw, err)
			}
		}
	}
}

// TestNoOpenRedirect asks for redirects elsewhere over the wire, before and after a sign-in and at the end of a session.
func TestNoOpenRedirect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	signedIn := w.browser()
	signedIn.signedIn("ann@example.com")
	for _, raw := range redirectsElsewhere {
		for name, b := range map[string]*browser{"signed out": w.browser(), "signed in": signedIn} {
			for _, prompt := range []string{"consent", "none", "bogus"} {
				v := b.do("GET", w.authorization(map[string]string{"redirect_uri": raw, "prompt": prompt}), nil)
				if v.Status != 400 || v.Header.Get("Location") != "" {
					t.Errorf("%s, prompt=%s, redirect_uri %q: got %d to %q, want 400", name, prompt, raw, v.Status, v.Header.Get("Location"))
				}
			}
		}
		if raw == "" {
			continue
		}
		v := signedIn.do("GET", "/oidc/session/end?"+url.Values{"client_id": {appID}, "post_logout_redirect_uri": {raw}}.Encode(), nil)
		if v.Status != 400 || !strings.Contains(v.Body, "post_logout_redirect_uri not registered") {
			t.Errorf("post_logout_redirect_uri %q: got %d %s, want 400", raw, v.Status, v.Body)
		}
	}
}

func FuzzParseRedirectURI(f *testing.F) {
	for _, raw := range append(redirectsElsewhere, redirectsHere...) {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := provider.ParseRedirectURI(raw)
		if err != nil {
			return
		}
		// What leaves is u.String(): read again, it is still this computer.
		again, err := url.Parse(u.String())
		if err != nil {
			t.Fatalf("%q leaves as %q, which cannot be read: %v", raw, u, err)
		}
		host := strings.ToLower(again.Hostname())
		ip := net.ParseIP(host)
		if host != "localhost" && !strings.HasSuffix(host, ".localhost") && (ip == nil || !ip.IsLoopback()) {
			t.Errorf("%q leads to %q", raw, host)
		}
		if again.User != nil || strings.ContainsAny(again.String(), "\\\r\n\t ") {
			t.Errorf("%q leaves as %q", raw, again)
		}
	})
}
