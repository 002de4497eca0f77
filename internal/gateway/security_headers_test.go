package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

// Identity headers that a client sends, in every spelling and every place: HS-01 to HS-14, HS-16 and HS-17.
func TestSecurityIdentityHeaders(t *testing.T) {
	t.Parallel()
	f := newFront(t, gatewaytest.Options{})
	withKey := "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: " + f.URL + "\r\n"

	// checks on the head that reached the upstream
	absent := func(names ...string) func(*testing.T, string) {
		return func(t *testing.T, head string) {
			t.Helper()
			for _, name := range names {
				if got := fields(head)[fold(name)]; len(got) != 0 {
					t.Errorf("%s at the upstream: got %q, want none", name, got)
				}
			}
		}
	}
	exactly := func(name string, want ...string) func(*testing.T, string) {
		return func(t *testing.T, head string) {
			t.Helper()
			if got := fields(head)[fold(name)]; strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("%s at the upstream: got %q, want %q", name, got, want)
			}
		}
	}
	mine := []func(*testing.T, string){
		exactly("X-Forwarded-For", "127.0.0.1"), exactly("X-Forwarded-Host", f.host), exactly("X-Forwarded-Proto", "http"), exactly("X-Real-IP", "127.0.0.1"),
	}

	tests := []struct {
		name     string
		method   string // "": GET
		target   string // "": /app
		lines    string // after Host and Cookie
		body     string
		stranger bool // without session
		status   int  // 0: 200; else nothing reaches the upstream
		nobody   bool // the upstream is told of nobody
		checks   []func(*testing.T, string)
	}{
		{name: "HS-01 plain spoof", lines: "X-Auth-Email: root@corp\r\n"},
		{name: "HS-01 every name at once", lines: "X-Auth-Sub: root\r\nX-Auth-Email: root\r\nX-Auth-Name: root\r\nX-Auth-Roles: root\r\nX-Auth-Tenant: root\r\nX-Forwarded-User: root\r\nRemote-User: root\r\n", checks: []func(*testing.T, string){absent("X-Forwarded-User", "Remote-User")}},
		{name: "HS-02 case and duplicates", lines: "x-auth-email: a\r\nx-auth-email: a\r\nX-AUTH-EMAIL: b\r\n"},
		{name: "HS-03 underscore", lines: "X_Auth_Email: root\r\nX-Auth_Email: root\r\nx_auth-email: root\r\nX_AUTH_SUB: root\r\nX_Forwarded_Email: root\r\n", checks: []func(*testing.T, string){absent("X-Forwarded-Email")}},
		{name: "HS-04 dot and other token bytes", lines: "X.Auth.Email: root\r\nX~Auth~Email: root\r\nX!Auth!Email: root\r\nX'Auth'Email: root\r\nX`Auth`Email: root\r\nX+Auth+Email: root\r\nX|Auth|Email: root\r\nX#Auth$Email: root\r\nX%Auth&Email: root\r\nX*Auth^Email: root\r\n"},
		{name: "HS-05 hop-by-hop removal", lines: "Connection: close, X-Auth-Email, X-Auth-Sub, X-Auth-Roles\r\n"},
		{name: "HS-05 hop-by-hop removal of what was sent", lines: "Connection: close, X-Auth-Email\r\nX-Auth-Email: root\r\n"},
		{name: "HS-06 hop-by-hop on forwarding headers", lines: "Connection: X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto, X-Real-Ip, Cookie\r\n", checks: mine},
		{name: "HS-07 odd case and spacing", lines: "connection: x-auth-email ,,x-auth-sub;\r\n"},
		{name: "HS-07 two lines", lines: "Connection: x-auth-email\r\nConnection:   X-AUTH-ROLES\t, keep-alive\r\n"},
		{name: "HS-09 public", target: "/public/x", lines: "X-Auth-Email: root\r\nX_Auth_Roles: admin\r\n", stranger: true, nobody: true},
		{name: "HS-09 public, signed in", target: "/public/x", lines: "X-Auth-Email: root\r\n", nobody: true},
		{name: "HS-09 optional", target: "/optional/x", lines: "X-Auth-Email: root\r\nX.Auth.Sub: root\r\n", stranger: true, nobody: true},
		{name: "HS-09 optional, signed in", target: "/optional/x", lines: "X-Auth-Email: root\r\n"},
		{name: "HS-09 health", target: "/health", lines: "X-Auth-Email: root\r\n", stranger: true, nobody: true},
		{name: "HS-09 preflight", method: "OPTIONS", lines: "Origin: https://evil.test\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: x-auth-email\r\nX-Auth-Email: root\r\n", stranger: true, status: http.StatusUnauthorized},
		{name: "HS-09 preflight on a public route", method: "OPTIONS", target: "/public/x", lines: "Origin: https://evil.test\r\nAccess-Control-Request-Method: GET\r\nX-Auth-Email: root\r\n", stranger: true, nobody: true},
		{name: "HS-09 WebSocket", target: "/public/socket", lines: withKey + "X-Auth-Email: root\r\nX_Auth_Email: root\r\n", stranger: true, nobody: true},
		{name: "HS-09 WebSocket, signed in", target: "/socket", lines: withKey + "X-Auth-Email: root\r\nX_Auth_Email: root\r\n"},
		{name: "HS-09 WebSocket that names our headers hop-by-hop", target: "/socket", lines: strings.Replace(withKey, "Connection: Upgrade", "Connection: Upgrade, X-Auth-Email, X-Auth-Sub", 1)},
		{name: "HS-09 WebSocket without session", target: "/socket", lines: withKey + "X-Auth-Email: root\r\n", stranger: true, status: http.StatusUnauthorized},
		{name: "HS-10 bearer pass-through", lines: "Authorization: Bearer x\r\nX-Auth-Email: root\r\n", stranger: true, status: http.StatusUnauthorized},
		{name: "HS-11 non-canonical configuration", lines: "X-Auth-Tenant: evil\r\nx-auth-tenant: evil\r\nX_AUTH_TENANT: evil\r\n"},
		{name: "HS-12 trailers", method: "POST", lines: "TE: trailers\r\nTrailer: X-Auth-Roles\r\nTransfer-Encoding: chunked\r\n", body: "3\r\nabc\r\n0\r\nX-Auth-Roles: admin\r\nX_Auth_Sub: root\r\n\r\n", checks: []func(*testing.T, string){absent("TE", "Trailer")}},
		{name: "HS-13 CGI poison", lines: "Proxy: http://evil\r\nX-Original-Method: DELETE\r\nX-Rewrite-URL: /admin\r\nX-Original-URL: /admin\r\nX-HTTP-Method-Override: DELETE\r\nX-HTTP-Method: DELETE\r\nX-Method-Override: DELETE\r\nX_Original_URL: /admin\r\nX-Original-Host: evil\r\n",
			checks: []func(*testing.T, string){absent("Proxy", "X-Original-Method", "X-Rewrite-URL", "X-Original-URL", "X-Original-Host", "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")}},
		{name: "HS-13 CGI poison on a public route", target: "/public/x", lines: "Proxy: http://evil\r\nX-Rewrite-URL: /admin\r\nX-Original-URL: /admin\r\nX.Rewrite.URL: /admin\r\n", stranger: true, nobody: true,
			checks: []func(*testing.T, string){absent("Proxy", "X-Rewrite-URL", "X-Original-URL")}},
		{name: "HS-14 space before the colon", lines: "X-Auth-Email : root\r\n", status: http.StatusBadRequest},
		{name: "HS-14 tab before the colon", lines: "X-Auth-Email\t: root\r\n", status: http.StatusBadRequest},
		{name: "HS-14 no name", lines: ": root\r\n", status: http.StatusBadRequest},
		{name: "HS-14 NUL in a name", lines: "X-Auth\x00Email: root\r\n", status: http.StatusBadRequest},
		{name: "HS-14 NUL in a value", lines: "X-Foo: a\x00X-Auth-Email: root\r\n", status: http.StatusBadRequest},
		{name: "HS-14 bare CR in a value", lines: "X-Foo: a\rX-Auth-Email: root\r\n", status: http.StatusBadRequest},
		{name: "HS-14 folded line", lines: "X-Foo: a\r\n X-Auth-Email: root\r\n", checks: []func(*testing.T, string){exactly("X-Foo", "a X-Auth-Email: root")}},
		{name: "HS-14 bare line feed", lines: "X-Foo: a\nX-Auth-Email: root\r\n", checks: []func(*testing.T, string){exactly("X-Foo", "a")}},
		{name: "HS-16 no token, no cookie of ours", lines: "Cookie: a=1; b=\"q;x\"; c\r\n", checks: []func(*testing.T, string){absent("Authorization", "X-Forwarded-Access-Token", "X-Forwarded-Id-Token"), exactly("Cookie", `a=1; b="q;x"; c`)}},
		{name: "HS-16 only our cookie", checks: []func(*testing.T, string){absent("Cookie", "Authorization")}},
		{name: "HS-17 Authorization passes", lines: "Authorization: Basic YTpi\r\n", checks: []func(*testing.T, string){exactly("Authorization", "Basic YTpi")}},
		{name: "HS-17 Authorization is dropped", target: "/drop/x", lines: "Authorization: Basic YTpi\r\n", checks: []func(*testing.T, string){absent("Authorization")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			method, target, cookie := tt.method, tt.target, f.alice
			if method == "" {
				method = "GET"
			}
			if target == "" {
				target = "/app"
			}
			if tt.stranger {
				cookie = ""
			}
			a := f.Raw(t, f.head(method, target, cookie, tt.lines)+tt.body)
			want := tt.status
			if want == 0 {
				want = http.StatusOK
			}
			if a.Status != want {
				t.Fatalf("got %s, want %d\n%s", a, want, a.Body)
			}
			if tt.status != 0 {
				f.nothingReached(t)
				f.noSession(t, a)
				return
			}
			everything := f.Upstream.Bytes()
			head := f.reached(t)
			if got, want := line(head), method+" "+target+" HTTP/1.1"; got != want {
				t.Errorf("request line at the upstream: got %q, want %q", got, want)
			}
			if tt.nobody {
				saysNobody(t, head)
			} else {
				saysAlice(t, head)
			}
			for _, check := range tt.checks {
				check(t, head)
			}
			if tt.body != "" && strings.Contains(everything[len(head):], "uth") {
				t.Errorf("after the head the upstream got %q, want the body alone", everything[len(head):])
			}
			_, token, _ := strings.Cut(f.alice, "=")
			if strings.Contains(everything, token) {
				t.Error("the session cookie reached the upstream")
			}
		})
	}

	t.Run("HS-14 leading blank", func(t *testing.T) {
		a := f.Raw(t, "GET /app HTTP/1.1\r\n Host: "+f.host+"\r\nHost: "+f.host+"\r\nCookie: "+f.alice+"\r\n\r\n")
		if a.Status != http.StatusBadRequest {
			t.Errorf("got %s, want 400", a)
		}
		f.nothingReached(t)
	})
	f.quiet(t)
	if got := f.Sessions(t); got != 1 {
		t.Errorf("rows in the store: got %d, want Alice's", got)
	}
}

// HS-08: a claim that is absent leaves no header, whatever the client sends.
func TestSecurityAbsentClaim(t *testing.T) {
	t.Parallel()
	issuer := gatewaytest.NewIssuer(t)
	f := newFront(t, gatewaytest.Options{Issuer: issuer})
	issuer.Do(func(i *gatewaytest.Issuer) {
		i.Person = map[string]any{"sub": "someone", "name": "Ruth", "sid": "sid-2", "email": "ruth@example.com", "email_verified": true, "roles": []string{}, "custom_data": nil}
	})
	ruth := f.signIn(t)
	f.Upstream.Forget()
	tests := []struct{ name, lines string }{
		{"HS-08 claim absent", "X-Auth-Roles: root\r\nX-Auth-Tenant: evil\r\n"},
		{"HS-08 claim absent, other spellings", "X_Auth_Roles: root\r\nX.Auth.Tenant: evil\r\nx-auth-tenant: evil\r\nX-AUTH_roles: root\r\n"},
		{"HS-08 claim absent, named hop-by-hop", "Connection: X-Auth-Roles\r\nX-Auth-Roles: root\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if a := f.Raw(t, f.head("GET", "/app", ruth, tt.lines)); a.Status != http.StatusOK {
				t.Fatalf("got %s, want 200", a)
			}
			got := fields(f.reached(t))
			if v := got["x-auth-sub"]; len(v) != 1 || v[0] != "someone" {
				t.Errorf("X-Auth-Sub: got %q, want [someone]", v)
			}
			for _, name := range []string{"x-auth-roles", "x-auth-tenant"} {
				if len(got[name]) != 0 {
					t.Errorf("%s: got %q, want none", name, got[name])
				}
			}
		})
	}
}

// HS-15: what an upstream must not say to the browser.
func TestSecurityResponseHeaders(t *testing.T) {
	t.Parallel()
	f := newFront(t, gatewaytest.Options{})
	own := f.Cookie()
	f.Upstream.Say(func(string) string {
		return "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nX-Auth-Email: root\r\nSet-Cookie: " + own + "=early\r\n\r\n" +
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Auth-Email: x\r\nX_Auth_Sub: x\r\nx-auth-tenant: x\r\nRemote-User: x\r\n" +
			"Set-Cookie: " + own + "=evil; Path=/\r\nSet-Cookie: " + own + "-lang=es\r\nSet-Cookie: __Host-portero=evil\r\nSet-Cookie:  " + own + " =evil\r\nSet-Cookie: app=1; Path=/\r\n" +
			"X-Accel-Redirect: /internal\r\nStrict-Transport-Security: max-age=0\r\nX-App: yes\r\n\r\nok"
	}, false)
	for _, who := range []struct{ name, target, cookie string }{
		{"HS-15 response side", "/app", f.alice}, {"HS-15 response side, public", "/public/x", ""}, {"HS-15 response side, optional", "/optional/x", f.alice},
	} {
		t.Run(who.name, func(t *testing.T) {
			a := f.Raw(t, f.head("GET", who.target, who.cookie, ""))
			if a.Status != http.StatusOK || a.Body != "ok" || a.Header.Get("X-App") != "yes" {
				t.Fatalf("got %s with %q, want the application's 200", a, a.Body)
			}
			for name := range a.Header {
				switch fold(name) {
				case "x-auth-email", "x-auth-sub", "x-auth-tenant", "remote-user", "x-accel-redirect":
					t.Errorf("%s: got %q, want none", name, a.Header[name])
				}
			}
			if got := a.Header["Set-Cookie"]; len(got) != 1 || got[0] != "app=1; Path=/" {
				t.Errorf("Set-Cookie: got %q, want the application's own alone", got)
			}
		})
	}
	if a := f.Raw(t, f.head("GET", "/app", f.alice, "")); a.Status != http.StatusOK {
		t.Errorf("the session afterwards: got %s, want 200", a)
	}
}

// The same over HTTP/2, where names are lower case and nothing is framed by lines.
func TestSecurityIdentityHeadersHTTP2(t *testing.T) {
	t.Parallel()
	f := newFront(t, gatewaytest.Options{TLS: true})
	pseudo := func(method, path string) [][2]string {
		return [][2]string{{":method", method}, {":scheme", "https"}, {":authority", f.host}, {":path", path}}
	}
	tests := []struct {
		name    string
		q       gatewaytest.HTTP2
		nobody  bool
		refused bool
	}{
		{name: "HS-01 plain spoof", q: gatewaytest.HTTP2{Fields: append(pseudo("GET", "/app"), [2]string{"cookie", f.alice}, [2]string{"x-auth-email", "root"})}},
		{name: "HS-02 duplicates", q: gatewaytest.HTTP2{Fields: append(pseudo("GET", "/app"), [2]string{"x-auth-email", "a"}, [2]string{"x-auth-email", "b"}, [2]string{"cookie", f.alice})}},
		{name: "HS-03 underscore", q: gatewaytest.HTTP2{Fields: append(pseudo("GET", "/app"), [2]string{"cookie", f.alice}, [2]string{"x_auth_email", "root"}, [2]string{"x-auth_sub", "root"})}},
		{name: "HS-04 dot", q: gatewaytest.HTTP2{Fields: append(pseudo("GET", "/app"), [2]string{"cookie", f.alice}, [2]string{"x.auth.email", "root"})}},
		{name: "HS-09 public", nobody: true, q: gatewaytest.HTTP2{Fields: append(pseudo("GET", "/public/x"), [2]string{"x_auth_email", "root"}, [2]string{"x-auth-email", "root"})}},
		{name: "HS-12 trailers", q: gatewaytest.HTTP2{
			Fields: append(pseudo("POST", "/app"), [2]string{"cookie", f.alice}, [2]string{"te", "trailers"}, [2]string{"trailer", "x-auth-roles"}),
			Body:   "abc", Trailers: [][2]string{{"x-auth-roles", "root"}, {"x-auth-email", "root"}},
		}},
		{name: "HS-02 upper case is no HTTP/2", refused: true, q: gatewaytest.HTTP2{Fields: append(pseudo("GET", "/app"), [2]string{"cookie", f.alice}, [2]string{"X-Auth-Email", "root"})}},
		{name: "HS-05 Connection is no HTTP/2", refused: true, q: gatewaytest.HTTP2{Fields: append(pseudo("GET", "/app"), [2]string{"cookie", f.alice}, [2]string{"connection", "x-auth-email"})}},
		{name: "HS-14 line end in a value", refused: true, q: gatewaytest.HTTP2{Fields: append(pseudo("GET", "/app"), [2]string{"cookie", f.alice}, [2]string{"x-foo", "a\r\nx-auth-email: root"})}},
		{name: "HS-14 line end in a name", refused: true, q: gatewaytest.HTTP2{Fields: append(pseudo("GET", "/app"), [2]string{"cookie", f.alice}, [2]string{"x-foo: a\r\nx-auth-email", "root"})}},
		{name: "HS-14 colon in a name", refused: true, q: gatewaytest.HTTP2{Fields: append(pseudo("GET", "/app"), [2]string{"cookie", f.alice}, [2]string{"x-auth-email:", "root"})}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := f.RawHTTP2(t, tt.q)
			if tt.refused {
				if a.Status != 0 && a.Status != http.StatusBadRequest {
					t.Errorf("got %s, want 400 or no answer", a)
				}
				f.nothingReached(t)
				return
			}
			if a.Status != http.StatusOK {
				t.Fatalf("got %s, want 200", a)
			}
			everything := f.Upstream.Bytes()
			head := f.reached(t)
			if tt.nobody {
				saysNobody(t, head)
			} else {
				saysAlice(t, head)
			}
			if got := fields(head); len(got["trailer"])+len(got["te"]) != 0 || strings.Contains(everything[len(head):], "root") {
				t.Errorf("the upstream got %q, want neither announcement nor trailer", everything)
			}
		})
	}
}
