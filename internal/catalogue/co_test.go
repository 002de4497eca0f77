package catalogue_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

var otherOrigins = family{ID: "CO", Title: "Pages of other origins", Attacks: []attack{
	{ID: "CO-01", Name: "origins that look alike", Want: "no page but those that are named, byte for byte, may read an answer, and no preflight of another is granted", Why: "comparisons by prefix, suffix, pattern or case", Test: lookalikeOrigins},
	{ID: "CO-02", Name: "null, and an asterisk", Want: "as CO-01; where every origin may read, no cookie counts for it, and the start with both is refused", Why: "null is the origin of every sandboxed frame", Test: nullOrigins},
	{ID: "CO-03", Name: "several origins", Want: "nobody may read", Why: "the gateway reads the first, the application the last", Test: severalOrigins},
	{ID: "CO-04", Name: "a preflight that opens something", Want: "nothing reaches the application, nobody gets a session or a cookie, and every other OPTIONS is decided on", Why: "gateways that let OPTIONS pass for the sake of preflights", Test: preflights},
	{ID: "CO-05", Name: "what the application says about it", Want: "nothing of it passes where the route has its own rules, but for what may be read of an answer", Why: "two answers to one question: the wider one counts", Test: twoAnswers},
	{ID: "CO-06", Name: "caches", Want: "every answer of such a route varies by Origin, whatever it says", Why: "an answer to one origin that a cache gives to another", Test: variedAnswers},
	{ID: "CO-07", Name: "pages and endpoints of our own", Want: "no page of another origin may read who somebody is, whatever the routes say", Why: "CVE-2024-39315 Pomerium: the page about oneself", Test: ownPagesUnread},
}}

const pageOrigin = "https://app.example.com"

// sharedRoutes are routes that pages of other origins may read, and some that they may not.
const sharedRoutes = `
  - {name: api, path: /api, cors: {origins: ["https://app.example.com", "http://localhost:9000"], credentials: true}, upstreams: [{url: UPSTREAM}]}
  - {name: put, path: /put, methods: [PUT, GET], cors: {origins: ["https://app.example.com"], methods: [PUT], headers: [X-One], max_age: 1h}, upstreams: [{url: UPSTREAM}]}
  - {name: all, path: /all, access: optional, cors: {origins: ["*"]}, upstreams: [{url: UPSTREAM}]}
  - {name: admin, path: /admin, allow: [{roles: [nobody]}], cors: {origins: ["https://app.example.com"]}, upstreams: [{url: UPSTREAM}]}
  - {name: app, path: /, upstreams: [{url: UPSTREAM}]}
`

// visited tries something at gateways with such routes, over every protocol, as Alice and as nobody.
func (d *doors) visited(t *testing.T, try func(t *testing.T, w way)) {
	t.Helper()
	d.special(t, &d.shared, gatewaytest.Options{Routes: sharedRoutes}, try)
}

// preflight asks as a browser does before a page of those origins sends a PUT.
func (w way) preflight(t *testing.T, target string, origins ...string) *gatewaytest.Answer {
	t.Helper()
	lines := fieldsOf("Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "content-type", "Access-Control-Request-Private-Network", "true", "Sec-Fetch-Mode", "cors")
	for _, o := range origins {
		lines = with(lines, "Origin", o)
	}
	return w.ask(t, request{Method: "OPTIONS", Target: target, Lines: lines})
}

// unread fails if a page of those origins may read anything of a route, or is granted a request.
func (w way) unread(t *testing.T, target string, origins ...string) {
	t.Helper()
	lines := fieldsOf("Accept", "application/json", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "cross-site")
	for _, o := range origins {
		lines = with(lines, "Origin", o)
	}
	granted := way{front: w.front, h2: w.h2}.preflight(t, target, origins...) // browsers ask without cookies
	w.nothingReached(t)
	if got := gatewaytest.Sharing(granted.Header); granted.Status != http.StatusUnauthorized || len(got) != 0 {
		t.Errorf("a preflight of %q for %s: got %s with %q, want 401 with nothing", origins, target, granted, got)
	}
	a := w.ask(t, request{Target: target, Lines: lines})
	if got := gatewaytest.Sharing(a.Header); len(got) != 0 {
		t.Errorf("%q may read %s: got %s with %q", origins, target, a, got)
	}
	w.noSessionBut(t, a)
	w.Upstream.Forget()
}

// noSessionBut is noSession where the answer may be the application's.
func (w way) noSessionBut(t *testing.T, a *gatewaytest.Answer) {
	t.Helper()
	if w.cookie == "" {
		w.noSession(t, a)
	}
}

func lookalikeOrigins(t *testing.T, d *doors) {
	d.visited(t, func(t *testing.T, w way) {
		for _, origin := range []string{
			"https://APP.example.com", "HTTPS://app.example.com", "http://app.example.com", "https://app.example.com:443", "https://app.example.com:8443", "https://app.example.com/", "https://app.example.com.", "https://app.example.com.evil.test", "https://evilapp.example.com",
			"https://x.app.example.com", "https://example.com", "https://appxexample.com", "https://app.example.com@evil.test", "https://app.example.com%60.evil.test", "https://app.example.com_.evil.test", "https://app.example.com\\.evil.test", "https://app.example.comx", "app.example.com",
			"//app.example.com", "https:app.example.com", "https://[app.example.com]", "http://localhost", "http://localhost:90000", "http://localhost:9000.evil.test", "http://127.0.0.1:9000", "file://", "chrome-extension://x", w.Second, "https://app.example.com?x", "https://app.example.com#x", "https://app.example.com\tx", "https://xn--app-example.com",
		} {
			w.unread(t, "/api/x", origin)
		}
		for _, origin := range []string{pageOrigin, "http://localhost:9000"} {
			if a := w.preflight(t, "/api/x", origin); a.Status != http.StatusNoContent || a.Header.Get("Access-Control-Allow-Origin") != origin {
				t.Errorf("a preflight of %s: got %s with %q, want 204", origin, a, gatewaytest.Sharing(a.Header))
			}
			a := w.ask(t, request{Target: "/api/x", Lines: fieldsOf("Origin", origin, "Sec-Fetch-Mode", "cors")})
			if a.Header.Get("Access-Control-Allow-Origin") != origin || (a.Status == http.StatusOK) != (w.cookie != "") {
				t.Errorf("%s: got %s with %q", origin, a, gatewaytest.Sharing(a.Header))
			}
			w.Upstream.Forget()
		}
	})
}

func nullOrigins(t *testing.T, d *doors) {
	d.visited(t, func(t *testing.T, w way) {
		for _, origin := range []string{"null", "NULL", "Null", "", "*", "undefined", " ", "https://*", "https://*.example.com"} {
			w.unread(t, "/api/x", origin)
		}
		for _, origin := range []string{"null", "https://evil.test"} {
			a := w.ask(t, request{Target: "/all", Lines: fieldsOf("Origin", origin, "Sec-Fetch-Mode", "cors")})
			if got := gatewaytest.Sharing(a.Header); len(got) != 1 || got[0] != "Access-Control-Allow-Origin: *" { // browsers show such an answer to nobody who sent a cookie
				t.Errorf("%s, where every origin may read: got %q, want an asterisk and no credentials", origin, got)
			}
			w.Upstream.Forget()
		}
	})
	p := gatewaytest.NewProcess(t, "the program")
	for name, cors := range map[string]string{
		"an asterisk with credentials": `{origins: ["*"], credentials: true}`, "an asterisk beside an origin": `{origins: ["*", "https://a.test"], credentials: true}`, "null": `{origins: ["null"]}`, "a pattern": `{origins: ["https://*.example.com"]}`,
		"a path": `{origins: ["https://a.test/"]}`, "upper case": `{origins: ["https://A.test"]}`, "a default port": `{origins: ["https://a.test:443"]}`, "no scheme": `{origins: ["a.test"]}`, "somebody": `{origins: ["https://x@a.test"]}`, "nothing": `{origins: [""]}`,
	} {
		run(t, p, "check", rewritten(t, sound, "upstream: http://127.0.0.1:8080", `routes: [{upstreams: [{url: "http://127.0.0.1:8080"}], cors: `+cors+"}]")).refused(t, name, "cors")
	}
}

func severalOrigins(t *testing.T, d *doors) {
	d.visited(t, func(t *testing.T, w way) {
		for _, origins := range [][]string{
			{pageOrigin, "https://evil.test"}, {"https://evil.test", pageOrigin}, {pageOrigin, pageOrigin}, {pageOrigin + " https://evil.test"}, {pageOrigin + ", https://evil.test"}, {"https://evil.test " + pageOrigin}, {pageOrigin + "," + pageOrigin}, {"", pageOrigin},
		} {
			w.unread(t, "/api/x", origins...)
		}
		lines := fieldsOf("Origin", "https://evil.test", "Access-Control-Request-Method", "PUT", "X-Origin", pageOrigin, "Referer", pageOrigin+"/", "X-Forwarded-Origin", pageOrigin)
		if a := w.ask(t, request{Method: "OPTIONS", Target: "/api/x", Lines: lines}); len(gatewaytest.Sharing(a.Header)) != 0 {
			t.Errorf("other headers: got %s with %q", a, gatewaytest.Sharing(a.Header))
		}
		w.Upstream.Forget()
	})
}

func preflights(t *testing.T, d *doors) {
	d.visited(t, func(t *testing.T, w way) {
		for _, target := range []string{"/api/x", "/put", "/all", "/admin"} {
			a := w.preflight(t, target, pageOrigin)
			if a.Status != http.StatusNoContent || a.Body != "" || len(a.Header["Set-Cookie"]) != 0 || strings.Contains(strings.Join(gatewaytest.Sharing(a.Header), "\n"), "Private-Network") {
				t.Errorf("%s: got %s with %q", target, a, gatewaytest.Sharing(a.Header))
			}
			w.nothingReached(t)
			w.noSession(t, a)
		}
		if got := w.preflight(t, "/put", pageOrigin).Header; got.Get("Access-Control-Allow-Methods") != "PUT" || got.Get("Access-Control-Allow-Headers") != "X-One" {
			t.Errorf("/put: got %q, want what the route says", gatewaytest.Sharing(got))
		}
		stranger := way{front: w.front, h2: w.h2}
		two := fieldsOf("Origin", pageOrigin, "Access-Control-Request-Method", "PUT", "Access-Control-Request-Method", "GET")
		for what, q := range map[string]request{
			"no preflight": {Lines: fieldsOf("Origin", pageOrigin)}, "no origin": {Lines: fieldsOf("Access-Control-Request-Method", "PUT")}, "two methods": {Lines: two}, "a method that is none": {Lines: fieldsOf("Origin", pageOrigin, "Access-Control-Request-Method", "BREW")},
			"a method in lower case": {Lines: fieldsOf("Origin", pageOrigin, "Access-Control-Request-Method", "put")}, "TRACE": {Lines: fieldsOf("Origin", pageOrigin, "Access-Control-Request-Method", "TRACE")}, "a list of methods": {Lines: fieldsOf("Origin", pageOrigin, "Access-Control-Request-Method", "PUT, GET")},
			"by GET": {Method: "GET", Lines: fieldsOf("Origin", pageOrigin, "Access-Control-Request-Method", "PUT")}, "by POST": {Method: "POST", Body: "x", Lines: fieldsOf("Origin", pageOrigin, "Access-Control-Request-Method", "PUT")},
			"of another route": {Target: "/app", Lines: fieldsOf("Origin", pageOrigin, "Access-Control-Request-Method", "PUT")}, "of a method that the route lacks": {Target: "/put", Lines: fieldsOf("Origin", pageOrigin, "Access-Control-Request-Method", "DELETE")},
			"an override": {Lines: fieldsOf("Origin", pageOrigin, "X-HTTP-Method-Override", "OPTIONS", "X-Access-Control-Request-Method", "PUT")},
		} {
			if q.Target == "" {
				q.Target = "/api/x"
			}
			if q.Method == "" {
				q.Method = "OPTIONS"
			}
			a := stranger.ask(t, q)
			if a.Status != http.StatusUnauthorized || a.Header.Get("Access-Control-Allow-Methods") != "" {
				t.Errorf("%s: got %s with %q, want 401 that grants nothing", what, a, gatewaytest.Sharing(a.Header))
			}
			w.nothingReached(t)
		}
		for target, want := range map[string]int{"/api/../app": 400, "/api/%2e%2e/app": 400, "/_portero/session": 405, "/sign-out": 405} {
			if a := stranger.preflight(t, target, pageOrigin); a.Status != want || len(gatewaytest.Sharing(a.Header)) != 0 {
				t.Errorf("%s: got %s with %q, want %d with nothing", target, a, gatewaytest.Sharing(a.Header), want)
			}
		}
		for _, names := range []string{"a b", "x\x00", "content-type, ", "x\r: y", strings.Repeat("a,", 3000)} {
			if strings.ContainsAny(names, "\x00\r") {
				continue // no value of a header
			}
			a := stranger.ask(t, request{Method: "OPTIONS", Target: "/api/x", Lines: fieldsOf("Origin", pageOrigin, "Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", names)})
			if got := a.Header.Get("Access-Control-Allow-Headers"); got != "" {
				t.Errorf("%.40q as names of headers: got %.80q, want none granted", names, got)
			}
		}
	})
}

func twoAnswers(t *testing.T, d *doors) {
	d.visited(t, func(t *testing.T, w way) {
		w.Upstream.Take(func(head string, r *bufio.Reader, c net.Conn) bool {
			gatewaytest.SkipBody(r, head)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: https://evil.test\r\naccess-control-allow-credentials: true\r\nAccess-Control-Allow-Methods: DELETE\r\n"+
				"Access-Control-Allow-Headers: *\r\nAccess-Control-Max-Age: 86400\r\nAccess-Control-Allow-Private-Network: true\r\nAccess-Control-Expose-Headers: X-Total\r\nVary: Accept\r\n\r\nok")
			return true
		})
		defer w.Upstream.Take(nil)
		target := "/all"
		want := []string{"Access-Control-Allow-Origin: *", "Access-Control-Expose-Headers: X-Total"}
		if w.cookie != "" {
			target, want = "/put", []string{"Access-Control-Allow-Origin: " + pageOrigin, "Access-Control-Expose-Headers: X-Total"}
		}
		for _, origin := range []string{pageOrigin, "https://evil.test", "null", ""} {
			expected := want
			if target == "/put" && origin != pageOrigin {
				expected = want[1:]
			}
			lines := fieldsOf("Sec-Fetch-Mode", "cors")
			if origin != "" {
				lines = with(lines, "Origin", origin)
			} else if target == "/all" {
				expected = want[1:]
			}
			a := w.ask(t, request{Target: target, Lines: lines})
			if got := gatewaytest.Sharing(a.Header); a.Status != http.StatusOK || !slices.Equal(got, expected) {
				t.Errorf("%s from %q: got %s with %q, want %q", target, origin, a, got, expected)
			}
			w.Upstream.Forget()
		}
	})
}

func variedAnswers(t *testing.T, d *doors) {
	d.visited(t, func(t *testing.T, w way) {
		for _, target := range []string{"/api/x", "/put", "/all", "/admin"} {
			for _, lines := range [][][2]string{nil, navigation, fieldsOf("Origin", pageOrigin), fieldsOf("Origin", "https://evil.test"), fieldsOf("Origin", "null", "Accept", "application/json")} {
				a := w.ask(t, request{Target: target, Lines: lines})
				if !slices.ContainsFunc(a.Header.Values("Vary"), func(v string) bool { return strings.Contains(v, "Origin") }) {
					t.Errorf("%s with %q: got %s and Vary %q, want Origin in it", target, lines, a, a.Header.Values("Vary"))
				}
				w.Upstream.Forget()
			}
			if a := w.preflight(t, target, pageOrigin); !slices.Contains(a.Header.Values("Vary"), "Origin") || a.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("a preflight for %s: got %s, Vary %q and Cache-Control %q", target, a, a.Header.Values("Vary"), a.Header.Get("Cache-Control"))
			}
		}
	})
}

func ownPagesUnread(t *testing.T, d *doors) {
	d.visited(t, func(t *testing.T, w way) {
		for _, target := range []string{"/_portero/session", "/_portero/", "/_portero/jwks.json", "/_portero/healthz", "/sign-in", "/sign-out", "/callback?code=x&state=y", "/_portero/x", "/app", "/%", "/api/../x"} {
			for _, origin := range []string{pageOrigin, "https://evil.test", "null"} {
				for _, method := range []string{"GET", "OPTIONS", "POST"} {
					if method == "POST" && target == "/sign-out" {
						continue // whoever is signed in stays so
					}
					a := w.ask(t, request{Method: method, Target: target, Lines: fieldsOf("Origin", origin, "Access-Control-Request-Method", "GET", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "cross-site")})
					if got := gatewaytest.Sharing(a.Header); len(got) != 0 {
						t.Errorf("%s %s from %s: got %s with %q, want nothing", method, target, origin, a, got)
					}
					if got := a.Header.Get("Cross-Origin-Resource-Policy"); got != "same-origin" && strings.Contains(a.Body, "alice@example.com") {
						t.Errorf("%s %s from %s says who it is with Cross-Origin-Resource-Policy %q, want same-origin", method, target, origin, got)
					}
					w.Upstream.Forget()
				}
			}
		}
	})
}
