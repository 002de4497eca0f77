package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// DN-01: whatever is wrong with what a person brings, the answer has no byte of the application, and it gets none.
func TestSecurityDeniedBody(t *testing.T) {
	t.Parallel()
	f := newFront(t, gatewaytest.Options{})
	name, value, _ := strings.Cut(f.alice, "=")
	flipped := strings.Map(func(r rune) rune {
		if r == 'A' {
			return 'B'
		}
		return 'A'
	}, value)
	tests := []struct{ name, cookies string }{
		{"no session", ""},
		{"unknown", "Cookie: " + name + "=" + flipped + "\r\n"},
		{"too short", "Cookie: " + name + "=" + value[:42] + "\r\n"},
		{"too long", "Cookie: " + name + "=" + value + "A\r\n"},
		{"empty", "Cookie: " + name + "=\r\n"},
		{"no equals sign", "Cookie: " + name + "\r\n"},
		{"nothing but signs", "Cookie: =;;\r\n"},
		{"bad escapes", "Cookie: " + name + "=%%%\r\n"},
		{"format verbs", "Cookie: " + name + "=%n%s%n%s\r\n"},
		{"a path", "Cookie: " + name + "=../../../../etc/passwd\r\n"},
		{"quoted", "Cookie: " + name + "=\"" + value[:40] + "\"\r\n"},
		{"beyond ASCII", "Cookie: " + name + "=\xff\xfe\xfd" + value[:40] + "\r\n"},
		{"8 KiB", "Cookie: " + name + "=" + strings.Repeat("A", 8<<10) + "\r\n"},
		{"twice, the good one first", "Cookie: " + name + "=" + value + "; " + name + "=" + flipped + "\r\n"},
		{"twice, the good one last", "Cookie: " + name + "=" + flipped + "; " + name + "=" + value + "\r\n"},
		{"in two lines", "Cookie: " + name + "=" + value + "\r\nCookie: " + name + "=" + value + "\r\n"},
		{"another case", "Cookie: " + strings.ToUpper(name) + "=" + value + "\r\n"},
		{"the name of https", "Cookie: __Host-portero=" + value + "\r\n"},
		{"separated by a comma", "Cookie: a=b, " + name + "=" + value + "\r\n"},
		{"an attempt's name", "Cookie: " + name + "-AAAAAAAAAAAAAAAAAAAAAA=" + value + "\r\n"},
		{"as a header of another name", "X-Session: " + value + "\r\nAuthorization: Bearer " + value + "\r\n"},
	}
	for _, tt := range tests {
		t.Run("DN-01 "+tt.name, func(t *testing.T) {
			for _, lines := range []string{navigation, "Accept: application/json\r\n"} {
				want := http.StatusUnauthorized
				if lines == navigation {
					want = http.StatusFound
				}
				a := f.Raw(t, f.head("GET", "/app", "", lines+tt.cookies))
				if a.Status != want {
					t.Errorf("got %s, want %d", a, want)
				}
				f.noSession(t, a)
				f.nothingReached(t)
			}
			if a := f.Raw(t, f.head("GET", "/public/x", "", tt.cookies)); a.Status != http.StatusOK {
				t.Errorf("public: got %s, want 200", a)
			}
			head := f.reached(t)
			saysNobody(t, head)
			if strings.Contains(strings.Join(fields(head)["cookie"], ""), value) && !strings.Contains(tt.name, "case") && !strings.Contains(tt.name, "comma") {
				t.Errorf("the upstream got a session token: %q", head)
			}
		})
	}
	if got := f.Raw(t, f.head("GET", "/app", f.alice, "")); got.Status != http.StatusOK {
		t.Errorf("Alice afterwards: got %s, want 200", got)
	}
	f.Upstream.Forget()
	f.quiet(t)
	if got := f.Sessions(t); got != 1 {
		t.Errorf("rows in the store: got %d, want Alice's", got)
	}
}

// DN-02 and DN-03: what is no navigation gets 401, no redirect, no attempt; tokens of a client open nothing.
func TestSecurityUnauthorized(t *testing.T) {
	t.Parallel()
	f := newFront(t, gatewaytest.Options{})
	const html = "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n"
	tests := []struct{ name, method, target, lines string }{
		{"DN-02 JSON", "GET", "/app", "Accept: application/json\r\n"},
		{"DN-02 JSON before HTML", "GET", "/app", "Accept: application/json, text/html;q=0.9\r\n"},
		{"DN-02 any type", "GET", "/app", "Accept: */*\r\n"},
		{"DN-02 no Accept", "GET", "/app", ""},
		{"DN-02 X-Requested-With", "GET", "/app", html + "X-Requested-With: XMLHttpRequest\r\n"},
		{"DN-02 cors", "GET", "/app", html + "Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n"},
		{"DN-02 no-cors", "GET", "/app", html + "Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: script\r\n"},
		{"DN-02 image", "GET", "/app", "Accept: image/*\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n"},
		{"DN-02 object", "GET", "/app", html + "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: object\r\n"},
		{"DN-02 prefetch", "GET", "/app", navigation + "Sec-Purpose: prefetch\r\n"},
		{"DN-02 prerender", "GET", "/app", navigation + "Sec-Purpose: prefetch;prerender\r\n"},
		{"DN-02 old prefetch", "GET", "/app", html + "X-Moz: prefetch\r\n"},
		{"DN-02 WebSocket", "GET", "/app", html + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: " + f.URL + "\r\n"},
		{"DN-02 POST", "POST", "/app", html + "Content-Length: 0\r\n"},
		{"DN-02 cross-site POST", "POST", "/app", html + "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Site: cross-site\r\nContent-Length: 0\r\n"},
		{"DN-02 PUT", "PUT", "/app", html + "Content-Length: 0\r\n"},
		{"DN-02 DELETE", "DELETE", "/app", navigation},
		{"DN-02 PROPFIND", "PROPFIND", "/app", navigation},
		{"DN-02 OPTIONS", "OPTIONS", "/app", navigation},
		{"DN-02 frame", "GET", "/app", html + "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\nSec-Fetch-Site: cross-site\r\n"},
		{"DN-02 metadata that contradicts itself", "GET", "/app", html + "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: empty\r\n"},
		{"DN-03 bearer", "GET", "/app", "Authorization: Bearer x\r\n"},
		{"DN-03 basic", "GET", "/app", "Authorization: Basic YWxpY2U6eA==\r\n"},
		{"DN-03 in the query", "GET", "/app?access_token=x&id_token=y&token=z", ""},
		{"DN-03 in headers", "GET", "/app", "X-Access-Token: x\r\nX-Forwarded-Access-Token: x\r\nX-Auth-Request-Access-Token: x\r\nX-Portero-Assertion: x\r\nX-Pomerium-Jwt-Assertion: x\r\n"},
		{"DN-03 in a form", "POST", "/app", "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 0\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := f.Raw(t, f.head(tt.method, tt.target, "", tt.lines))
			if a.Status != http.StatusUnauthorized {
				t.Errorf("got %s, want 401", a)
			}
			for header, want := range map[string]string{
				"Www-Authenticate": `Bearer realm="localhost"`, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
			} {
				if got := a.Header[header]; len(got) != 1 || got[0] != want {
					t.Errorf("%s: got %q, want %q", header, got, want)
				}
			}
			for _, header := range []string{"Location", "Set-Cookie", "Refresh"} {
				if got := a.Header[header]; len(got) != 0 {
					t.Errorf("%s: got %q, want none", header, got)
				}
			}
			if !strings.Contains(a.Header.Get("Proxy-Status"), "portero") {
				t.Errorf("Proxy-Status: got %q, want our name", a.Header.Get("Proxy-Status"))
			}
			f.nothingReached(t)
		})
	}
	if got := len(f.Issuer.Requests()); got != 1 {
		t.Errorf("authorization requests: got %d, want Alice's alone", got)
	}
}

// DN-04: a body that nobody will read is not waited for.
func TestSecurityDeniedUpload(t *testing.T) {
	t.Parallel()
	f := newFront(t, gatewaytest.Options{})
	tests := []struct {
		name, method, target, lines, cookie string
		status                              int
	}{
		{"DN-04 1 GB", "POST", "/app", "Content-Length: 1073741824\r\n", "", 401},
		{"DN-04 1 GB, PUT", "PUT", "/app", "Content-Length: 1073741824\r\n", "", 401},
		{"DN-04 a few bytes", "POST", "/app", "Content-Length: 10\r\n", "", 401},
		{"DN-04 chunked", "POST", "/app", "Transfer-Encoding: chunked\r\n", "", 401},
		{"DN-04 waiting for leave", "POST", "/app", "Content-Length: 1073741824\r\nExpect: 100-continue\r\n", "", 401},
		{"DN-04 a cookie that is no session", "POST", "/app", "Content-Length: 1073741824\r\n", f.Cookie() + "=x", 401},
		{"DN-04 a path that is refused", "POST", "/public/../x", "Content-Length: 10\r\n", "", 400},
		{"DN-04 a method that is none", "FOO", "/public/x", "Content-Length: 10\r\n", "", 405},
		{"DN-04 a navigation with a body", "GET", "/app", navigation + "Content-Length: 10\r\n", "", 302},
		{"DN-04 a navigation with a chunked body", "GET", "/app", navigation + "Transfer-Encoding: chunked\r\n", "", 302},
		{"DN-04 a page of ours", "GET", "/_portero/", navigation + "Content-Length: 10\r\n", "", 200},
		{"DN-04 a redirect of ours", "GET", "/sign-in", navigation + "Content-Length: 10\r\n", "", 302},
		{"DN-04 signed in already", "GET", "/sign-in", navigation + "Content-Length: 10\r\n", f.alice, 303},
		{"DN-04 healthz", "GET", "/_portero/healthz", "Content-Length: 10\r\n", "", 200},
		{"DN-04 about the gateway as a whole", "OPTIONS", "*", "Content-Length: 10\r\n", "", 204},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := f.Dial(t)
			start := time.Now()
			c.Send(f.head(tt.method, tt.target, tt.cookie, tt.lines))
			a := c.Answer(tt.method)
			if a.Status != tt.status || time.Since(start) > 5*time.Second {
				t.Errorf("got %s after %s, want %d at once", a, time.Since(start), tt.status)
			}
			if len(a.Informational) != 0 {
				t.Errorf("got %v before the answer, want nobody asked for the body", a.Informational)
			}
			if !a.Close {
				t.Error("the connection stays open, with a body on it that nobody reads")
			}
			f.nothingReached(t)
		})
	}
}

// DN-05: a redirect to the sign-in is one that nobody keeps.
func TestSecurityRedirectStatus(t *testing.T) {
	t.Parallel()
	f := newFront(t, gatewaytest.Options{})
	for _, method := range []string{"GET", "HEAD"} {
		for _, target := range []string{"/app", "/", "/admin?x", "/sign-in", "/sign-in?fresh=1"} {
			t.Run("DN-05 "+method+" "+target, func(t *testing.T) {
				a := f.Raw(t, f.head(method, target, "", navigation))
				if a.Status != http.StatusFound || a.Header.Get("Cache-Control") != "no-store" || a.Body != "" {
					t.Errorf("got %s with Cache-Control %q and %d bytes, want 302, no-store, none", a, a.Header.Get("Cache-Control"), len(a.Body))
				}
				if !strings.HasPrefix(a.Header.Get("Location"), f.Issuer.URL+"/oidc/auth?") {
					t.Errorf("Location: got %q, want the issuer", a.Header.Get("Location"))
				}
				f.nothingReached(t)
			})
		}
	}
}

// DN-06: whatever keeps a sign-in from lasting, a page says so after a few tries.
func TestSecurityLoopBreaker(t *testing.T) {
	t.Parallel()
	keepsNothing := func(_ *front, b *gatewaytest.Browser) {
		for name := range b.Cookies("localhost") {
			b.SetCookie("localhost", name, "")
		}
	}
	keepsNoSession := func(f *front, b *gatewaytest.Browser) { b.SetCookie("localhost", f.Cookie(), "") }
	tests := []struct {
		name    string
		issuer  func(*gatewaytest.Issuer)
		between func(*front, *gatewaytest.Browser) // after every answer
		status  int
		says    string
	}{
		{name: "DN-06 the issuer refuses", issuer: func(i *gatewaytest.Issuer) { i.AuthError = "access_denied" }, status: 400},
		{name: "DN-06 the issuer asks to sign in again and again", issuer: func(i *gatewaytest.Issuer) { i.AuthError = "login_required" }, status: 400},
		{name: "DN-06 the issuer is broken", issuer: func(i *gatewaytest.Issuer) { i.AuthError = "server_error" }, status: 503},
		{name: "DN-06 no cookie is kept", between: keepsNothing, status: 400, says: "ookie"},
		{name: "DN-06 the session cookie is not kept", between: keepsNoSession, status: 400},
		{name: "DN-06 the clock of the issuer is wrong", issuer: func(i *gatewaytest.Issuer) {
			i.Edit = func(claims map[string]any) {
				claims["exp"], claims["iat"] = time.Now().Add(-2*time.Hour).Unix(), time.Now().Add(-3*time.Hour).Unix()
			}
		}, status: 400},
		{name: "DN-06 a sign-in that is always too old", issuer: func(i *gatewaytest.Issuer) { i.AuthTime = time.Now().Add(-30 * 24 * time.Hour) }, status: 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			issuer := gatewaytest.NewIssuer(t)
			f := newFront(t, gatewaytest.Options{Issuer: issuer})
			if tt.issuer != nil {
				issuer.Do(tt.issuer)
			}
			before := len(issuer.Requests())
			b := f.Browser(t)
			r := b.Get(f.URL + "/app")
			for n := 0; r.StatusCode >= 300 && r.StatusCode < 400; n++ {
				if n == 30 {
					t.Fatalf("still going round after %d redirects", n)
				}
				if tt.between != nil {
					tt.between(f, b)
				}
				r = b.Get(r.Location())
			}
			if r.StatusCode != tt.status || !strings.Contains(r.Text, tt.says) {
				t.Errorf("got %s, want a page with %d that says %q\n%s", r.Status, tt.status, tt.says, r.Text)
			}
			if got := len(issuer.Requests()) - before; got > 4 {
				t.Errorf("authorization requests: got %d, want 4 at most", got)
			}
			f.nothingReached(t)
		})
	}
}
