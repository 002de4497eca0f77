package catalogue_test

import (
	"net/http"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

func manyParameters(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		rows := w.Sessions(t)
		for _, tt := range []struct {
			name, target    string
			stranger, alice int
		}{
			{"ten thousand", "/app?" + strings.Repeat("a=x&", 10_001) + "admin=1", 302, 200},
			{"ten thousand semicolons", "/app?" + strings.Repeat("a;", 10_001), 302, 200},
			{"ten thousand on an endpoint of ours", "/sign-in?" + strings.Repeat("a=x&", 10_001) + "return_to=/x", 302, 303},
			{"ten thousand that break", "/sign-in?" + strings.Repeat("%&", 10_001), 302, 303},
			{"a target that is too long", "/app?" + strings.Repeat("a=x&", 20_000), 431, 431},
			{"a path that is too long", "/public/" + strings.Repeat("a/", 60_000), 431, 431},
			{"escapes of escapes", "/public/" + strings.Repeat("%25", 10_000), 400, 400},
		} {
			want := tt.stranger
			if w.cookie != "" {
				want = tt.alice
			}
			a := w.ask(t, request{Target: tt.target, Lines: navigation})
			if a.Status != want && !(w.h2 && want == http.StatusRequestHeaderFieldsTooLarge && a.Status == 0) { // HTTP/2 may end the connection
				t.Errorf("%s: got %s, want %d", tt.name, a, want)
			}
			if want != http.StatusOK {
				w.nothingReached(t)
				w.noSession(t, a)
				continue
			}
			if head, _ := w.reached(t); line(head) != "GET "+tt.target+" HTTP/1.1" {
				t.Errorf("%s: the upstream got %d bytes, want the target byte for byte", tt.name, len(line(head)))
			}
		}
		w.rows(t, rows)
	})
}

func absoluteForm(t *testing.T, d *doors) {
	const ours = "https://" + gatewaytest.Host
	d.each(t, func(t *testing.T, w way) {
		k := w.talk(t)
		refused := func(target string, statuses ...int) {
			t.Helper()
			a := k.ask(request{Target: target, Lines: navigation})
			ok := w.malformed(a)
			for _, status := range statuses {
				ok = ok || a.Status == status
			}
			if !ok || strings.Contains(a.Header.Get("Location"), "evil") || len(a.Header.Values("Set-Cookie")) != 0 {
				t.Errorf("%q: got %s to %q, want %d", target, a, a.Header.Get("Location"), statuses)
			}
			w.nothingReached(t)
			w.noSession(t, a)
			k.next(t, target)
		}
		for _, target := range []string{
			ours + "/public/../admin", ours + "/public/..%2fadmin", ours + "//admin", ours + `\admin`, ours + "/x#y", "file:///etc/passwd", "ftp://gw.test/wiki", "gopher://gw.test/public/x", "javascript:alert(1)",
			"https:/public/x", "https:public/x", "https:///public/x", "://gw.test/public/x", "https://gw.test@evil.test/public/x", "https://user@gw.test/public/x", "https://gw.test:x/public/x", "https://gw.test:99999/public/x",
			"https://[::1/public/x", "https://gw%2etest/public/x", "*", "admin", "public/x", "gw.test", "?x", "#x", "/wiki wiki", "//admin",
		} {
			refused(target, http.StatusBadRequest, http.StatusMisdirectedRequest)
		}
		for _, target := range []string{"http://evil.test/public/x", "https://evil.test/public/../admin", "https://evil.test", "https://gw.test.evil.test/public/x", "http://127.0.0.1/public/x"} {
			refused(target, http.StatusBadRequest, http.StatusMisdirectedRequest)
		}
		k.close()
		if w.h2 {
			return // the :path has no other form
		}
		for target, forwarded := range map[string]string{ours + "/wiki": "/wiki", "HTTPS://GW.TEST/wiki?x": "/wiki?x", ours + ":443/wiki": "/wiki", ours: "/", ours + "?q": "/?q"} {
			w.judge(t, target, forwarded, isProtected, w.ask(t, request{Target: target, Lines: navigation}))
		}
		if a := w.Raw(t, "GET  HTTP/1.1\r\nHost: "+w.host+"\r\n\r\n"); a.Status != http.StatusBadRequest {
			t.Errorf("no target: got %s, want 400", a)
		}
		// The absolute form wins over Host (RFC 9112 3.2.2): what is decided for one host goes out as that host's.
		a := w.ask(t, request{Target: "https://" + gatewaytest.Host + "/public/x", Host: "evil.test", Lines: navigation})
		if a.Status != http.StatusOK {
			t.Errorf("our address in the target, another in Host: got %s, want 200", a)
		}
		head, _ := w.reached(t)
		exactly(t, head, "Host", gatewaytest.Host)
		exactly(t, head, "X-Forwarded-Host", gatewaytest.Host)
		a = w.ask(t, request{Target: "https://" + gatewaytest.SecondHost + "/x", Lines: navigation})
		if w.TLS {
			if a.Status != http.StatusMisdirectedRequest {
				t.Errorf("another host of ours in the target: got %s, want 421, as the handshake was for this one", a)
			}
		} else if asked := w.toIssuer(t, a); asked.Get("redirect_uri") != "https://"+gatewaytest.SecondHost+"/callback" { // a session is good on its own host alone
			t.Errorf("another host of ours in the target: the sign-in comes back to %q", asked.Get("redirect_uri"))
		}
		w.nothingReached(t)
	})
	d.each(t, func(t *testing.T, w way) {
		for _, q := range []request{{Target: "*"}, {Target: "*", Lines: fieldsOf("Max-Forwards", "1")}} {
			q.Method = "OPTIONS"
			if a := w.ask(t, q); a.Status != http.StatusNoContent || a.Body != "" {
				t.Errorf("OPTIONS *: got %s %q, want 204", a, a.Body)
			}
			w.nothingReached(t)
		}
		if a := w.ask(t, request{Method: "OPTIONS", Target: "*", Host: "evil.test"}); a.Status != http.StatusMisdirectedRequest {
			t.Errorf("OPTIONS * for another host: got %s, want 421", a)
		}
	})
}

// forwardAuth fails unless each of the endpoints of forward-auth refuses a request with that status.
func (w way) forwardAuth(t *testing.T, lines [][2]string, status int) {
	t.Helper()
	k := w.talk(t)
	defer k.close()
	for _, target := range []string{"/_portero/auth", "/_portero/auth-redirect", "/_portero/auth/public/x", "/_portero/auth/", "/_portero/auth-redirect/public/x", "/_portero/auth?rd=https://evil.test", "/_portero/auth?uri=/public/x"} {
		for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS"} {
			a := k.ask(request{Method: method, Target: target, Lines: lines})
			if a.Status != status || strings.Contains(a.Header.Get("Location"), "evil.test") {
				t.Errorf("%s %s with %.200q: got %s to %q, want %d", method, target, lines, a, a.Header.Get("Location"), status)
			}
			if got := a.Header.Values("Set-Cookie"); len(got) != 0 {
				t.Errorf("%s %s: got Set-Cookie %q, want none", method, target, got)
			}
			for name := range a.Header {
				if _, identity := aliceHeaders[fold(name)]; identity {
					t.Errorf("%s %s: the answer says %s", method, target, name)
				}
			}
			w.nothingReached(t)
			w.noSession(t, a)
		}
	}
}

func forwardAuthFromAnybody(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		for _, lines := range [][][2]string{
			nil,
			navigation,
			fieldsOf("X-Forwarded-Method", "GET", "X-Forwarded-Proto", "https", "X-Forwarded-Host", gatewaytest.Host, "X-Forwarded-Uri", "/public/x", "X-Forwarded-For", "127.0.0.1"),
			fieldsOf("X-Forwarded-Method", "GET", "X-Forwarded-Proto", "https", "X-Forwarded-Host", gatewaytest.Host, "X-Forwarded-Uri", "/admin"),
			fieldsOf("X-Original-URI", "/public/x", "X-Original-URL", "https://gw.test/public/x", "X-Original-Method", "GET"),
			fieldsOf("X-Forwarded-Uri", "/health", "X-Forwarded-Method", "OPTIONS", "X-Auth-Request-Redirect", "https://evil.test"),
			fieldsOf("X-Forwarded-Host", "evil.test", "X-Forwarded-Uri", "/public/x", "X-Forwarded-Proto", "http"),
			fieldsOf("X-Envoy-Original-Path", "/public/x", "X-Rewrite-URL", "/public/x", "X-Forwarded-Prefix", "/public"),
		} {
			w.forwardAuth(t, lines, http.StatusForbidden)
		}
	})
}

func forwardAuthMalformed(t *testing.T, d *doors) {
	whole := func(uri string) [][2]string {
		return fieldsOf("X-Forwarded-Method", "GET", "X-Forwarded-Proto", "https", "X-Forwarded-Host", gatewaytest.Host, "X-Forwarded-Uri", uri, "X-Forwarded-For", "10.0.0.1")
	}
	malformed := [][][2]string{
		whole("/%"), whole(""), whole("http://["), whole("/public/../admin"), whole("*"), whole("public/x"), whole("/public/%00"), whole("/public/x#"), whole("https://evil.test/public/x"),
		with(whole("/public/x"), "X_Forwarded_Uri", "/admin"),
		with(whole("/public/x"), "X-Forwarded-Uri", "/admin"),
		with(whole("/public/x"), "X-Forwarded-Host", "evil.test"),
		with(whole("/public/x"), "X-Forwarded-Method", "GET"),
		fieldsOf("X-Forwarded-Uri", "/public/x"), // no host
		fieldsOf("X-Forwarded-Host", "", "X-Forwarded-Uri", "/public/x"),
		fieldsOf("X-Forwarded-Host", "a b/../c", "X-Forwarded-Uri", "/public/x"),
		fieldsOf("X-Forwarded-Method", "", "X-Forwarded-Uri", "/public/x"),
		fieldsOf("X-Forwarded-Method", "get", "X-Forwarded-Uri", "/public/x"),
		fieldsOf("X-Forwarded-Proto", "gopher", "X-Forwarded-Uri", "/public/x"),
	}
	d.each(t, func(t *testing.T, w way) {
		for _, lines := range append(malformed, whole("/"+strings.Repeat("a", 50<<10))) {
			w.forwardAuth(t, lines, http.StatusForbidden)
		}
	})
	t.Run("by a trusted proxy", func(t *testing.T) {
		f := newFront(t, gatewaytest.Options{Extra: "trusted_proxies: [127.0.0.1/32]\n"})
		w := way{front: f, cookie: f.alice}
		for _, endpoint := range []string{"/_portero/auth", "/_portero/auth-redirect"} {
			if a := w.ask(t, request{Target: endpoint, Lines: whole("/app")}); a.Status != http.StatusOK {
				t.Errorf("%s about a page: got %s, want 200", endpoint, a)
			}
			for _, lines := range malformed {
				a := w.ask(t, request{Target: endpoint, Lines: lines})
				if a.Status != http.StatusBadRequest || len(a.Header["Set-Cookie"]) != 0 {
					t.Errorf("%s with %q: got %s, want 400", endpoint, lines, a)
				}
				w.nothingReached(t)
			}
		}
	})
}
