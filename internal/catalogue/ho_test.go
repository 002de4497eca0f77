package catalogue_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

var hosts = family{ID: "HO", Title: "Hosts and addresses", Attacks: []attack{
	{ID: "HO-01", Name: "unknown host", Want: "421 on every path, without redirect, cookie or the host's name; healthz alone answers on every host", Why: "poisoned caches and mails", Test: unknownHosts},
	{ID: "HO-02", Name: "case, port and dot", Want: "the same host and route, signed in as before, and one spelling for the application", Why: "CVE-2026-27588, CVE-2022-23632: another spelling chose another route", Test: hostSpellings},
	{ID: "HO-03", Name: "handshake for one host, request for another", Want: "421, also behind a good request on the same connection", Why: "what stands in front decides by the name in the handshake", Test: otherHandshake},
	{ID: "HO-04", Name: "host reflected", Want: "redirect_uri, post_logout_redirect_uri, Location and every link come from the configuration", Why: "CVE-2026-101090", Test: reflectedHost},
	{ID: "HO-05", Name: "prefix reflected", Want: "ignored, and not passed on", Why: "CVE-2024-52003", Test: reflectedPrefix},
	{ID: "HO-06", Name: "bytes that are no host", Want: "400", Test: badHosts},
	{ID: "HO-07", Name: "pseudo-fields of HTTP/2", Want: "400, or the stream ends as malformed", Test: pseudoFields},
	{ID: "HO-08", Name: "host for the application", Want: "the one that was typed, or the application's own with preserve_host: false; never what the client says besides", Why: "applications build links of it", Test: upstreamHost},
}}

func unknownHosts(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		rows := w.Sessions(t)
		for _, host := range []string{"evil.test", "gw.test.evil.test", "evilgw.test", "xgw.test", "test", "localhost", "127.0.0.1", "[::1]", "evil.test:443", "EVIL.test.", "gw.tes", "_gw.test", "xn--gw-.test", "admin.gw.test"} {
			for _, named := range []string{"", "evil.test"} { // in the handshake; "": ours
				if named != "" && !w.TLS {
					continue
				}
				k := w.talk(t)
				k.dialing.ServerName = named
				for _, target := range []string{"/", "/public/x", "/admin", "/sign-in", "/sign-in?return_to=/x", "/callback?code=a&state=b", "/sign-out", "/_portero/", "/_portero/session", "/_portero/none", "/health"} {
					a := k.ask(request{Target: target, Host: host, Lines: navigation})
					if a.Status != http.StatusMisdirectedRequest || a.Header.Get("Location") != "" || len(a.Header.Values("Set-Cookie")) != 0 || strings.Contains(a.Body, "evil") || !strings.Contains(a.Body, "<title>"+headUnknownHost) {
						t.Errorf("%s at %s: got %s to %q with %d cookies, want 421 with the page for strangers and nothing else", target, host, a, a.Header.Get("Location"), len(a.Header.Values("Set-Cookie")))
					}
					if strings.Contains(a.Body, "Wiki") || strings.Contains(a.Body, "alice@") {
						t.Errorf("%s at %s: the page says something about us", target, host)
					}
				}
				if a := k.ask(request{Method: "POST", Target: "/sign-out", Host: host, Lines: ownForm, Body: "x=1"}); a.Status != http.StatusMisdirectedRequest || len(a.Header.Values("Set-Cookie")) != 0 {
					t.Errorf("signing out at %s: got %s, want 421", host, a)
				}
				a := k.ask(request{Target: "/_portero/healthz", Host: host})
				if a.Status != http.StatusOK || a.Body != "ok\n" || len(a.Header.Values("Set-Cookie")) != 0 {
					t.Errorf("healthz at %s: got %s %q, want 200", host, a, a.Body)
				}
				k.close()
			}
		}
		if strings.Contains(w.Log.String(), "healthz") {
			t.Error("healthz is logged")
		}
		w.nothingReached(t)
		w.rows(t, rows) // Alice's is still there
	})
}

func hostSpellings(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		k := w.talk(t)
		for host, forwarded := range map[string]string{"GW.TEST": "gw.test", "gw.test:443": "gw.test", "gw.test.": "gw.test", "gW.tEsT.:443": "gw.test", "gw.test:": "gw.test", "gw.test:8443": "gw.test:8443", "gw.test:80": "gw.test:80"} {
			for target, verdict := range map[string]verdict{"/public/x": isOpen, "/admin": isProtected, "/PUBLIC/x": isProtected, "/public/../admin": isRefused, "/_portero/none": isMissing, "/sign-in": isSignIn} {
				a := k.ask(request{Target: target, Host: host, Lines: navigation})
				if all := w.Upstream.Requests(); len(all) == 1 {
					exactly(t, all[0], "Host", forwarded)
					exactly(t, all[0], "X-Forwarded-Host", forwarded)
				}
				w.judge(t, target, "", verdict, a)
				if a.Status == http.StatusFound {
					if got, want := w.toIssuer(t, a).Get("redirect_uri"), w.URL+"/callback"; got != want {
						t.Errorf("%s at %s: redirect_uri %q, want %q", target, host, got, want)
					}
				}
			}
		}
		k.close()
		if w.cookie != "" {
			return
		}
		// The second host has one route alone: in no spelling is it the first one's.
		k = w.talk(t)
		k.dialing.ServerName = gatewaytest.SecondHost
		for _, host := range []string{"other.test", "OTHER.TEST", "other.test.", "Other.Test:443"} {
			a := k.ask(request{Target: "/public/x", Host: host, Lines: navigation})
			if got, want := w.toIssuer(t, a).Get("redirect_uri"), "https://other.test/callback"; got != want {
				t.Errorf("%s: redirect_uri %q, want %q", host, got, want)
			}
		}
		k.close()
		w.nothingReached(t)
	})
}

func otherHandshake(t *testing.T, d *doors) {
	proxied := newFront(t, gatewaytest.Options{TLS: true, Extra: "trusted_proxies: [127.0.0.2/32]\n"})
	d.each(t, func(t *testing.T, w way) {
		if !w.TLS {
			return
		}
		for _, tt := range []struct {
			handshake, host string
			status          int
		}{
			{"gw.test", "other.test", 421}, {"other.test", "gw.test", 421}, {"evil.test", "gw.test", 421}, {"evil.test", "evil.test", 421}, {"test", "gw.test", 421}, {"x.gw.test", "gw.test", 421},
			{"gw.test", "gw.test:8443", 200}, {"GW.TEST", "gw.test", 200}, {"127.0.0.1", "gw.test", 200}, // an address is not named in a handshake
		} {
			k := w.talk(t)
			k.dialing.ServerName = tt.handshake
			for _, target := range []string{"/public/x", "/app", "/sign-in", "/public/x"} {
				a := k.ask(request{Target: target, Host: tt.host, Lines: navigation})
				switch {
				case tt.status == http.StatusMisdirectedRequest:
					if a.Status != tt.status || a.Header.Get("Location") != "" || len(a.Header.Values("Set-Cookie")) != 0 {
						t.Errorf("handshake for %s, %s of %s: got %s to %q, want 421", tt.handshake, target, tt.host, a, a.Header.Get("Location"))
					}
					w.nothingReached(t)
				case target == "/public/x":
					if a.Status != tt.status {
						t.Errorf("handshake for %s, %s of %s: got %s, want 200", tt.handshake, target, tt.host, a)
					}
				}
				w.Upstream.Forget()
			}
			k.close()
		}
		// Behind a good request, as browsers do that use one connection for all hosts of a certificate.
		k := w.talk(t)
		for i, host := range []string{"gw.test", "other.test", "gw.test", "OTHER.test:443", "gw.test"} {
			a := k.ask(request{Target: "/public/x", Host: host})
			if want := []int{200, 421}[i%2]; a.Status != want {
				t.Errorf("request %d, for %s: got %s, want %d", i+1, host, a, want)
			}
		}
		k.close()
		w.Upstream.Forget()

		// A proxy that is trusted names what it likes, and everybody else behind the same gateway does not.
		for from, want := range map[string]int{"127.0.0.2": 200, "127.0.0.3": 421} {
			k := (way{front: proxied, h2: w.h2}).talk(t)
			k.dialing = gatewaytest.Dialing{From: from, ServerName: "portero.internal"}
			if a := k.ask(request{Target: "/public/x"}); a.Status != want {
				t.Errorf("handshake for portero.internal from %s: got %s, want %d", from, a, want)
			}
			k.close()
			proxied.Upstream.Forget()
		}
	})
}

// elsewhere are headers that name another host for a request.
var elsewhere = fieldsOf("X-Forwarded-Host", "evil.test", "Forwarded", "for=1.2.3.4;host=evil.test;proto=http", "X-Host", "evil.test", "X-HTTP-Host-Override", "evil.test", "X-Forwarded-Server", "evil.test",
	"X-Original-Host", "evil.test", "X-Forwarded-Port", "666", "X-Original-URL", "https://evil.test/", "X-Rewrite-URL", "https://evil.test/", "X_Forwarded_Host", "evil.test", "Base-Url", "https://evil.test", "Referer", "https://evil.test/x")

func reflectedHost(t *testing.T, d *doors) {
	try := func(t *testing.T, w way, k *talk) {
		ours := func(what, text string) {
			t.Helper()
			if strings.Contains(text, "evil") || strings.Contains(text, "666") && what != "a page" {
				t.Errorf("%s has the client's host: %.300s", what, text)
			}
		}
		for _, target := range []string{"/sign-in?fresh=1", "/sign-in?fresh=1&return_to=/x", "/_portero/sign-in?fresh=1"} {
			a := k.ask(request{Target: target, Lines: slices.Concat(navigation, elsewhere)})
			asked := w.toIssuer(t, a)
			if got, want := asked["redirect_uri"], []string{w.URL + "/callback"}; !slices.Equal(got, want) {
				t.Errorf("%s: redirect_uri %q, want %q", target, got, want)
			}
			ours("Location", a.Header.Get("Location"))
		}
		a := k.ask(request{Method: "POST", Target: "/sign-out", Body: "return_to=/x", Lines: slices.Concat(ownForm, elsewhere)})
		end, err := url.Parse(a.Header.Get("Location"))
		if k.cookie == "" { // Alice's session is for the next case too
			if err != nil || a.Status != http.StatusSeeOther || end.Query().Get("post_logout_redirect_uri") != w.URL+"/_portero/signed-out" {
				t.Errorf("signing out: got %s to %q, want our own address", a, end)
			}
			ours("Location", end.String())
		}
		for _, q := range []request{
			{Target: "/sign-out", Lines: slices.Concat(navigation, elsewhere)}, {Target: "/_portero/signed-out", Lines: slices.Concat(navigation, elsewhere)}, {Target: "/_portero/none", Lines: slices.Concat(navigation, elsewhere)},
			{Target: "/_portero/language?lang=es&return_to=/x", Lines: slices.Concat(navigation, elsewhere)}, {Target: "/public/../x", Lines: slices.Concat(navigation, elsewhere)}, {Target: "/admin", Method: "DELETE", Lines: elsewhere},
			{Target: "/_portero/session", Lines: elsewhere}, {Target: "/callback?code=x&state=y", Lines: slices.Concat(navigation, elsewhere)},
		} {
			a := k.ask(q)
			if a.Status == 0 {
				t.Fatalf("%s: %s", q.Target, a)
			}
			for name, values := range a.Header {
				ours(q.Target+": "+name, strings.Join(values, "\n"))
			}
			ours("a page", a.Body)
			w.Upstream.Forget()
		}
	}
	d.stranger(t, func(t *testing.T, w way) {
		k := w.talk(t)
		try(t, w, k)
		k.close()
		for _, target := range []string{"/sign-in", "/sign-out", "/app"} { // and with Host itself
			a := w.ask(t, request{Target: target, Host: "evil.test", Lines: slices.Concat(navigation, elsewhere)})
			if a.Status != http.StatusMisdirectedRequest || a.Header.Get("Location") != "" || strings.Contains(a.Body, "evil") {
				t.Errorf("%s at evil.test: got %s to %q, want 421", target, a, a.Header.Get("Location"))
			}
		}
	})
	t.Run("from a trusted proxy", func(t *testing.T) {
		f := unsigned(t, gatewaytest.Options{Extra: "trusted_proxies: [127.0.0.0/8]\n"})
		w := way{front: f}
		for _, lines := range [][][2]string{elsewhere, fieldsOf("X-Forwarded-Host", "evil.test"), fieldsOf("X-Forwarded-Host", "evil.test", "X-Forwarded-Proto", "http"), fieldsOf("X-Forwarded-Host", "gw.test.evil.test")} {
			for _, target := range []string{"/sign-in", "/sign-out", "/app", "/public/x"} {
				a := w.ask(t, request{Target: target, Lines: slices.Concat(navigation, lines)})
				if a.Status != http.StatusMisdirectedRequest || a.Header.Get("Location") != "" || strings.Contains(a.Body, "evil") {
					t.Errorf("%s with %q: got %s to %q, want 421", target, lines, a, a.Header.Get("Location"))
				}
			}
		}
		for _, lines := range [][][2]string{
			fieldsOf("X-Forwarded-Host", "gw.test", "X-Forwarded-Host", "evil.test"), fieldsOf("X-Forwarded-Host", "gw.test, evil.test"), fieldsOf("X-Forwarded-Host", "gw.test@evil.test"), fieldsOf("X-Forwarded-Host", ""), fieldsOf("X-Forwarded-Host", "a b"),
		} {
			if a := w.ask(t, request{Target: "/sign-in", Lines: slices.Concat(navigation, lines)}); a.Status != http.StatusBadRequest || strings.Contains(a.Body, "evil") {
				t.Errorf("%q: got %s, want 400", lines, a)
			}
		}
		for host, want := range map[string]string{"gw.test": "gw.test", "other.test": "other.test", "Other.Test:443": "other.test", "gw.test, gw.test": "gw.test", "gw.test:8443": "gw.test"} {
			a := w.ask(t, request{Target: "/sign-in", Host: "portero.internal", Lines: with(navigation, "X-Forwarded-Host", host, "X-Forwarded-Port", "666", "X-Forwarded-Prefix", "//evil.test")})
			if got, want := w.toIssuer(t, a).Get("redirect_uri"), "https://"+want+"/callback"; got != want {
				t.Errorf("X-Forwarded-Host %s: redirect_uri %q, want %q", host, got, want)
			}
		}
		f.nothingReached(t)
	})
}

func reflectedPrefix(t *testing.T, d *doors) {
	prefix := fieldsOf("X-Forwarded-Prefix", "//evil.test/", "X-Forwarded-Path", "//evil.test/", "X-Forwarded-Context", "//evil.test/", "X-Script-Name", "//evil.test/", "X-Forwarded-Prefix", "/other", "X_Forwarded_Prefix", "//evil.test")
	try := func(t *testing.T, w way) {
		for _, target := range []string{"/app", "/sign-in", "/sign-in?return_to=/x", "/sign-out", "/_portero/", "/_portero/none", "/_portero/language?lang=en&return_to=/x", "/api/x", "/public/x", "/public/../x", "/_portero/signed-out"} {
			a := w.ask(t, request{Target: target, Lines: slices.Concat(navigation, prefix)})
			plain := w.ask(t, request{Target: target, Lines: navigation})
			if a.Status != plain.Status || a.Status == 0 || strings.Contains(a.Header.Get("Location")+a.Body, "evil") {
				t.Errorf("%s: got %s to %q, want %s as without the header", target, a, a.Header.Get("Location"), plain)
			}
			if got, want := a.Header.Get("Location"), plain.Header.Get("Location"); a.Status == http.StatusSeeOther && got != want {
				t.Errorf("%s: got Location %q, want %q", target, got, want)
			}
			for _, head := range w.Upstream.Requests() {
				absent(t, head, "X-Forwarded-Prefix", "X-Forwarded-Path", "X-Forwarded-Context")
			}
			w.Upstream.Forget()
		}
	}
	d.each(t, try)
	t.Run("from a trusted proxy", func(t *testing.T) {
		f := newFront(t, gatewaytest.Options{Extra: "trusted_proxies: [127.0.0.0/8]\n"})
		try(t, way{front: f})
		try(t, way{front: f, cookie: f.alice})
	})
}

func badHosts(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		for _, host := range []string{
			"a b/../c", "a b", "gw@evil", "gw.test@evil.test", "gw.test/../x", "gw.test/", `gw.test\evil.test`, "gw.test?x", "gw.test#x", "gw.test:80:80", "gw.test,evil.test", "gw.test evil.test", "[::1", "::1", "[gw.test]", "[::1]evil.test",
			"gw.test:x", "gw.test:-1", "gw.test:99999", "gw.test:0443", "gw..test", ".gw.test", "gw.test..", "gw%2etest", "gw.test%00", "g\u00fc.test", "gw\u3002test", "gw.test\x7f", "gw\ttest", "*", "*.test", "'gw.test'", strings.Repeat("a", 64) + ".test", strings.Repeat("a.", 200) + "test",
			strings.Repeat("a", 60<<10),
		} {
			a := w.ask(t, request{Host: host, Lines: navigation})
			if a.Status != http.StatusBadRequest && !w.malformed(a) || a.Header.Get("Location") != "" || len(a.Header.Values("Set-Cookie")) != 0 {
				t.Errorf("%.80q: got %s to %q, want 400", host, a, a.Header.Get("Location"))
			}
			w.nothingReached(t)
		}
		if w.h2 {
			return
		}
		cookie := ""
		if w.cookie != "" {
			cookie = "Cookie: " + w.cookie + "\r\n"
		}
		for name, lines := range map[string]string{
			"none": "", "none in HTTP 1.0": "", "empty": "Host:\r\n", "blank": "Host:  \r\n", "two": "Host: gw.test\r\nHost: evil.test\r\n", "two equal ones": "Host: gw.test\r\nHost: gw.test\r\n", "a blank before the colon": "Host : gw.test\r\n",
			"folded": "Host: gw.test\r\n .evil.test\r\n", "NUL": "Host: gw.test\x00\r\n", "CR": "Host: gw.test\r.evil\r\n",
		} {
			version := map[bool]string{true: "HTTP/1.0", false: "HTTP/1.1"}[strings.HasSuffix(name, "1.0")]
			for _, target := range []string{"/app", "/public/x", "/sign-in"} {
				a := w.Raw(t, "GET "+target+" "+version+"\r\n"+lines+cookie+"Accept: text/html\r\n\r\n")
				if a.Status != http.StatusBadRequest || a.Header.Get("Location") != "" {
					t.Errorf("%s, %s: got %s, want 400", name, target, a)
				}
				w.nothingReached(t)
			}
		}
	})
}

func pseudoFields(t *testing.T, d *doors) {
	f := d.TLS()
	for _, cookie := range []string{"", f.alice} {
		w := way{front: f, h2: true, cookie: cookie}
		for _, tt := range []struct {
			name   string
			fields [][2]string
		}{
			{"another authority", fieldsOf(":method", "GET", ":scheme", "https", ":authority", "evil.test", ":path", "/app", "host", "gw.test")},
			{"another host", fieldsOf(":method", "GET", ":scheme", "https", ":authority", "gw.test", ":path", "/app", "host", "evil.test")},
			{"another host of ours", fieldsOf(":method", "GET", ":scheme", "https", ":authority", "gw.test", ":path", "/app", "host", "other.test")},
			{"no authority", fieldsOf(":method", "GET", ":scheme", "https", ":path", "/app")},
			{"an empty authority", fieldsOf(":method", "GET", ":scheme", "https", ":authority", "", ":path", "/app")},
			{"two authorities", fieldsOf(":method", "GET", ":scheme", "https", ":authority", "gw.test", ":authority", "evil.test", ":path", "/app")},
			{"two hosts", fieldsOf(":method", "GET", ":scheme", "https", ":path", "/app", "host", "gw.test", "host", "evil.test")},
			{"authority with userinfo", fieldsOf(":method", "GET", ":scheme", "https", ":authority", "gw.test@evil.test", ":path", "/app")},
			{"authority with a path", fieldsOf(":method", "GET", ":scheme", "https", ":authority", "gw.test/../x", ":path", "/app")},
			{"a path without slash", fieldsOf(":method", "GET", ":scheme", "https", ":authority", "gw.test", ":path", "app")},
			{"an empty path", fieldsOf(":method", "GET", ":scheme", "https", ":authority", "gw.test", ":path", "")},
			{"no path", fieldsOf(":method", "GET", ":scheme", "https", ":authority", "gw.test")},
			{"two paths", fieldsOf(":method", "GET", ":scheme", "https", ":authority", "gw.test", ":path", "/public/x", ":path", "/admin")},
			{"an asterisk", fieldsOf(":method", "GET", ":scheme", "https", ":authority", "gw.test", ":path", "*")},
			{"a path with line ends", fieldsOf(":method", "GET", ":scheme", "https", ":authority", "gw.test", ":path", "/public/x HTTP/1.1\r\nHost: evil.test\r\n\r\n")},
			{"a path with blanks", fieldsOf(":method", "GET", ":scheme", "https", ":authority", "gw.test", ":path", "/public/x HTTP/1.1")},
			{"the scheme javascript", fieldsOf(":method", "GET", ":scheme", "javascript", ":authority", "gw.test", ":path", "/app")},
			{"a scheme with an address", fieldsOf(":method", "GET", ":scheme", "https://evil.test/?", ":authority", "gw.test", ":path", "/app")},
			{"no scheme", fieldsOf(":method", "GET", ":authority", "gw.test", ":path", "/app")},
			{"two methods", fieldsOf(":method", "GET", ":method", "POST", ":scheme", "https", ":authority", "gw.test", ":path", "/app")},
			{"a method with a path", fieldsOf(":method", "GET /public/x HTTP/1.1\r\nx:", ":scheme", "https", ":authority", "gw.test", ":path", "/app")},
			{"an unknown pseudo-field", fieldsOf(":method", "GET", ":scheme", "https", ":authority", "gw.test", ":path", "/app", ":status", "200")},
			{"a pseudo-field behind others", fieldsOf(":method", "GET", ":scheme", "https", ":authority", "gw.test", "accept", "*/*", ":path", "/app")},
		} {
			lines := tt.fields
			if cookie != "" {
				lines = with(lines, "cookie", cookie)
			}
			a := f.RawHTTP2(t, gatewaytest.HTTP2{Fields: lines})
			// Go takes any token with blanks for a method over HTTP/2; it is none that is accepted.
			if a.Status != http.StatusBadRequest && !w.malformed(a) {
				t.Errorf("%s: got %s, want 400 or the end of the stream", tt.name, a)
			}
			f.nothingReached(t)
			f.noSession(t, a)
		}
		// Without authority, host says it.
		a := f.RawHTTP2(t, gatewaytest.HTTP2{Fields: fieldsOf(":method", "GET", ":scheme", "https", ":path", "/public/x", "host", "gw.test")})
		if a.Status != http.StatusOK {
			t.Errorf("host without authority: got %s, want 200", a)
		}
		head, _ := f.reached(t)
		exactly(t, head, "Host", "gw.test")
	}
}

func upstreamHost(t *testing.T, d *doors) {
	own := newFront(t, gatewaytest.Options{TLS: true, Routes: `
  - {name: public, path: /public, access: public, preserve_host: false, upstreams: [{url: UPSTREAM}]}
  - {name: app, path: /, preserve_host: false, upstreams: [{url: UPSTREAM}]}
`})
	_, behind, _ := strings.Cut(own.Upstream.URL, "://")
	try := func(t *testing.T, w way, host string) {
		target := map[bool]string{true: "/public/x", false: "/app"}[w.cookie == ""]
		for _, lines := range [][][2]string{nil, elsewhere} {
			for _, typed := range []string{"gw.test", "GW.TEST:443", "gw.test."} {
				if a := w.ask(t, request{Target: target, Host: typed, Lines: lines}); a.Status != http.StatusOK {
					t.Fatalf("got %s, want 200", a)
				}
				head, _ := w.reached(t)
				exactly(t, head, "Host", host)
				exactly(t, head, "X-Forwarded-Host", gatewaytest.Host)
				exactly(t, head, "X-Forwarded-Port", "443")
				exactly(t, head, "X-Forwarded-Proto", "https")
				absent(t, head, "Forwarded", "X-Host", "X-HTTP-Host-Override", "X-Forwarded-Server", "X-Original-Host", "X-Original-URL", "X-Rewrite-URL")
			}
		}
	}
	d.each(t, func(t *testing.T, w way) { try(t, w, gatewaytest.Host) })
	for _, w := range []way{{front: own}, {front: own, h2: true}, {front: own, cookie: own.alice}, {front: own, h2: true, cookie: own.alice}} {
		t.Run("the application's own, "+w.String(), func(t *testing.T) { try(t, w, behind) })
	}
}
