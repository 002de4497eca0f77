package catalogue_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

var paths = family{ID: "PA", Title: "Paths and the choice of a route", Attacks: []attack{
	{ID: "PA-01", Name: "dot-dot", Want: "400", Why: "CVE-2026-33494: the cleaned path is public, the received one is forwarded", Test: decides(isRefused, isRefused,
		"/public/../admin", "/public/./../admin", "/public/..", "/..", "/.", "/public/.", "/public/../public/x", "/../public/x", "/public/x/../../admin")},
	{ID: "PA-02", Name: "encoded dots", Want: "400", Why: "the same, behind one decoding", Test: decides(isRefused, isRefused,
		"/public/%2e%2e/admin", "/public/%2E./admin", "/public/.%2e/admin", "/public/%2e/x", "/%2E%2E")},
	{ID: "PA-03", Name: "encoded slash", Want: "400", Why: "what decodes it goes up", Test: decides(isRefused, isRefused,
		"/public/..%2fadmin", "/public%2f..%2fadmin", "/public/x%2f..%2f..%2fadmin", "/public%2fadmin", "/public/..%2Fadmin", "/%2fadmin", "/%2e%2e%2fadmin")},
	{ID: "PA-04", Name: "encoded twice", Want: "400", Why: "servers that decode twice", Test: decides(isRefused, isRefused,
		"/public/%252e%252e/admin", "/public/%252e%252e%252fadmin", "/public/%25252e%25252e/admin", "/%2561dmin", "/%252fadmin", "/public/%25%32%65%25%32%65/admin")},
	{ID: "PA-05", Name: "backslash", Want: "400", Why: "IIS and Windows read it as a slash", Test: decides(isRefused, isRefused,
		"/public/..%5cadmin", `/public\..\admin`, `/public/..\admin`, "/public%5c..%5cadmin", "/public/%255c..%255cadmin", `/\admin`, "/%5cadmin", `\admin`)},
	{ID: "PA-06", Name: "path parameters", Want: "400", Why: "Tomcat and Jetty drop what follows a semicolon", Test: decides(isRefused, isRefused,
		"/public/..;/admin", "/public;/../admin", "/admin;/public/", "/public/..%3b/admin", "/public/..;x=1/admin", "/;/admin", "/public/.;/x", "/admin;x", "/public;a/x")},
	{ID: "PA-07", Name: "several slashes", Want: "400; with by-route, what every reading takes for the same route passes byte for byte", Why: "who merges them sees another path, who resolves them, as Node's URL does, another host", Test: all(
		decides(isRefused, isRefused, "//admin", "/public//..//admin", "//gw.test/public/../admin", "//gw.test/public/x", "//x/admin", "///x/admin/y", "/%2fx/admin", "/%5c%5cx/admin", "///admin", "//public/x"),
		decides(isRefused, isOpen, "/public///x", "/public//"),
		decides(isRefused, isProtected, "//wiki", "//x/wiki", "/wiki//page", "/health//x"))},
	{ID: "PA-08", Name: "overlong and illegal bytes", Want: "400", Why: "decoders that take what is no UTF-8; one odd byte, and Go writes the whole path anew", Test: decides(isRefused, isRefused,
		"/public/..%c0%afadmin", "/public/%e0%80%af", "/public/%00/../admin", "/admin%00/public/", "/public/%0a../admin", "/public/%0d", "/public/%7f", "/public/%ff", "/public/%", "/public/%2",
		"/public/%zz", "/public/\xc0\xaf", "/public/\xe2\x82\xac", "/public/%u002e", "/a|b%2Fc", `/a"b%2F..%2Fadmin`, "/x{y}%3b", "/a^b", "/a`b", "/a<b>c", "/public/a|b", "/public/{x}", `/public/"`, "/public/%ed%a0%80")},
	{ID: "PA-09", Name: "reserved encodings", Want: "400; with by-route they pass byte for byte where no reading selects another route", Why: "Traefik's rule since 3.6.4; RabbitMQ, GitLab and Java servers need them", Test: all(
		decides(isRefused, isRefused, "/public/%00", "/wiki/%00"),
		decides(isRefused, isOpen, "/public/a%2fb", "/public/a%5cb", "/public/a%3bb", "/public/100%25.pdf", "/public/a%3fb", "/public/a%23b", "/public/a;b"),
		decides(isRefused, isProtected, "/wiki/a%2fb", "/wiki/a%5cb", "/wiki/a%3bb", "/wiki/100%25.pdf", "/wiki/a%3fb", "/wiki/a%23b", "/wiki;b"),
		realPaths)},
	{ID: "PA-10", Name: "prefix taken off", Want: "400 where the path or what remains of it is not plain; else what remains is forwarded", Why: "CVE-2026-40912, CVE-2026-48020", Test: all(
		decides(isRefused, isRefused, "/api/..%2fadmin", "/api//admin", "/api%2fadmin", "/api/../admin", "/api/%2fadmin", "/api/;/admin", "/api;/x", "/api/%5cx", "/api/%252f%252fx", "/api/.%2e/x", "/%61pi/x"),
		decides(isProtected, isProtected, "/apix/y"),
		forwards("/y", isProtected, isProtected, "/api/y"),
		forwards("/", isProtected, isProtected, "/api", "/api/"),
		forwards("/x%2fy", isRefused, isProtected, "/api/x%2fy"),
		forwards("/y?q=%2e%2e/", isProtected, isProtected, "/api/y?q=%2e%2e/"),
		forwards("/?/../admin", isProtected, isProtected, "/api?/../admin"))},
	{ID: "PA-11", Name: "case", Want: "another case is another path, protected; encoded letters are 400", Why: "case-insensitive rules let in what the rest of the path does not", Test: all(
		decides(isProtected, isProtected, "/PUBLIC/x", "/Health", "/Public/x", "/publiC", "/ADMIN", "/%50UBLIC/x"),
		decides(isRefused, isRefused, "/%70ublic/x", "/publi%63/x", "/%61dmin"))},
	{ID: "PA-12", Name: "trailing forms", Want: "one slash behind is the same path, all else is protected or 400", Test: all(
		decides(isOpen, isOpen, "/health/"),
		decides(isProtected, isProtected, "/health%20", "/health.", "/healthx", "/health/x", "/health%20/", "/health~", "/health.html"),
		decides(isRefused, isRefused, "/health;x", "/health/../admin", "/health%2f..%2fadmin", "/health%3fx", "/health%23", "/health%00"))},
	{ID: "PA-13", Name: "query tricks", Want: "a query decides nothing and leaves byte for byte", Why: "CVE-2025-54576", Test: all(
		decides(isProtected, isProtected, "/admin?/public/", "/admin?x=/public/a", "/admin?", "/admin??", "/wiki?/../public/x", "/admin?x=%00%2e%2e/&..;/", "/?/public/x", "/admin?/health"),
		decides(isOpen, isOpen, "/health?x=/admin", "/public/x?../admin", "/public/x?"))},
	{ID: "PA-14", Name: "fragment", Want: "400", Why: "CVE-2026-41059, CVE-2023-47106; Go makes %23 of a raw #", Test: decides(isRefused, isRefused,
		"/admin#/public/x", "/public/x#/../admin", "/admin%23/public/", "/public/x?a#b", "/#/public/", "/health#")},
	{ID: "PA-15", Name: "decided in one way, read in another", Want: "what passes for a stranger is public for every reader of the path, and what passes for Bob is not the administrators'", Why: "differential: Go, a browser, PHP's own server, and servers that decode twice, drop parameters or merge slashes. In front of nginx, Apache, HAProxy and others: TestServersAgreeOnPaths", Test: readingsAgree},
	{ID: "PA-16", Name: "queries that are none", Want: "forwarded byte for byte, or 400 where no query has such bytes; never dropped in silence", Why: "CVE-2022-2880; Rewrite drops what it cannot read", Test: all(
		decides(isProtected, isProtected, "/app?a=1;b=2&c=%zz", "/app?%", "/app?a=%ff&&==&;", "/app?a[]=1&b|", `/app?{"a":1}`, "/app?a=b?c=d", `/app?a=\x`, "/app?;", "/app?a=%00", "/app?a=^`{}|"),
		decides(isRefused, isRefused, "/app?a=\x01", "/app?a=\xff", "/app?a=\x7f", "/app?a=\xc3\xa9"))},
	{ID: "PA-17", Name: "many parameters", Want: "forwarded as they are up to 64 KiB, beyond that 431", Why: "CVE-2026-39825: work that grows with their number", Test: manyParameters},
	{ID: "PA-18", Name: "absolute form", Want: "400 for all that is no address of ours in http or https, 421 for another host; OPTIONS * is answered here", Why: "the absolute form sets Host, and any scheme is taken", Test: absoluteForm},
	{ID: "PA-19", Name: "X-Forwarded-Uri and its like", Want: "they decide nothing and do not reach the application", Why: "CVE-2026-40575", Test: aboutItself(
		itself{"GET", "/admin", with(navigation, "X-Forwarded-Uri", "/public/x"), 302, 200},
		itself{"GET", "/admin", with(navigation, "X-Original-URI", "/public/x", "X-Original-URL", "/public/x", "X-Rewrite-URL", "/public/x"), 302, 200},
		itself{"GET", "/admin", with(navigation, "X-Forwarded-Prefix", "/public", "X-Forwarded-Path", "/public", "X-Forwarded-Url", "https://gw.test/public/x"), 302, 200},
		itself{"GET", "/admin", fieldsOf("Accept", "application/json", "X-Forwarded-Method", "OPTIONS", "X-Original-Method", "GET"), 401, 200},
		itself{"GET", "/admin", with(navigation, "X-Auth-Request-Redirect", "/public/x"), 302, 200},
		itself{"GET", "/admin", with(navigation, "X-Forwarded-Host", "evil.test", "X-Forwarded-Proto", "https"), 302, 200},
		itself{"GET", "/admin", with(navigation, "X_Forwarded_Uri", "/public/x", "X.Original.Url", "/public/x", "X-Envoy-Original-Path", "/public/x"), 302, 200},
	)},
	{ID: "PA-20", Name: "the same to forward-auth, from anybody", Want: "403", Why: "oauth2-proxy #3506: nobody is trusted unless the configuration says so", Test: forwardAuthFromAnybody},
	{ID: "PA-21", Name: "other methods", Want: "overrides decide nothing; unknown and lower-case methods, CONNECT and TRACE are 405", Why: "a proxy forwards get, and an application takes it for GET", Test: all(aboutItself(
		itself{"POST", "/health", fieldsOf("Accept", "application/json", "Content-Length", "0", "X-HTTP-Method-Override", "GET"), 401, 200},
		itself{"POST", "/health", fieldsOf("Accept", "application/json", "Content-Length", "0", "X-HTTP-Method", "GET", "X-Method-Override", "GET"), 401, 200},
		itself{"POST", "/app?_method=GET", fieldsOf("Accept", "application/json", "Content-Length", "0"), 401, 200},
		itself{"HEAD", "/admin", navigation, 302, 200},
		itself{"HEAD", "/health", nil, 200, 200},
		itself{"DELETE", "/health", nil, 401, 200},
		itself{"OPTIONS", "/admin", fieldsOf("Origin", "https://evil.test", "Access-Control-Request-Method", "GET"), 401, 200},
		itself{"PROPFIND", "/admin", nil, 401, 200},
	), oddMethods)},
	{ID: "PA-22", Name: "user agents and sources", Want: "who somebody says they are opens nothing", Why: "CVE-2026-34457: health checkers were let in by their name", Test: aboutItself(
		itself{"GET", "/admin", fieldsOf("User-Agent", "GoogleHC/1.0"), 401, 200},
		itself{"GET", "/admin", fieldsOf("User-Agent", "kube-probe/1.30"), 401, 200},
		itself{"GET", "/", fieldsOf("User-Agent", "ELB-HealthChecker/2.0"), 401, 200},
		itself{"GET", "/admin", fieldsOf("X-Forwarded-For", "127.0.0.1", "X-Real-IP", "127.0.0.1", "Forwarded", "for=127.0.0.1"), 401, 200},
	)},
	{ID: "PA-23", Name: "malformed targets to forward-auth", Want: "403 for anybody, 400 for a trusted proxy: always a status", Why: "CVE-2021-32637: a handler of Go that writes no status answers 200", Test: forwardAuthMalformed},
	{ID: "PA-24", Name: "endpoints of ours", Want: "what is not exactly one is none; under the prefix nothing is ever forwarded", Test: all(
		decides(isRefused, isRefused, "/callback/../admin", "/sign-in%2f..", "/_portero/../admin", "/_portero/%2e%2e/admin"),
		decides(isRefused, isMissing, "/sign-in;x", "/_portero;x/session", "//_portero/session", "/sign-out%3b", "//sign-in", "/sign-in%23", "/_portero%252fsession", "/%255fportero/x", "/_portero%5csession"),
		decides(isProtected, isProtected, "/sign-out/x", "/callback-evil", "/.well-known/openid-configuration", "/sign-in.html", "/_porterox", "/Sign-In", "/_PORTERO/session"),
		decides(isMissing, isMissing, "/_portero%2fsession", "/_portero//session", "/_portero/;/x", "/_portero/nothing", "/_portero/session/x", "/%5fportero/session", "/_portero/sessio%6e", "/sign-i%6e", "/_portero/assets/..x"),
		decides(isSignIn, isSignIn, "/sign-in", "/_portero/sign-in"))},
	{ID: "PA-25", Name: "the next request on the connection", Want: "not touched by what came before, as after every case of this family", Why: "what is left of one request becomes part of another", Test: nextRequests},
}}

// verdict is what becomes of a target: what a stranger gets, and what Alice gets.
type verdict int

const (
	isRefused   verdict = iota // 400 for everybody
	isProtected                // sign-in for strangers; Alice's goes through, byte for byte
	isOpen                     // goes through for everybody, byte for byte
	isMissing                  // 404 of the gateway's own
	isSignIn                   // the gateway's own sign-in: 302, or 303 with a session
)

// all tries one thing after another.
func all(tests ...func(*testing.T, *doors)) func(*testing.T, *doors) {
	return func(t *testing.T, d *doors) {
		for _, test := range tests {
			test(t, d)
		}
	}
}

// decides tries targets that have a verdict where all routes have `paths: strict`, and one with `by-route`.
func decides(strict, loose verdict, targets ...string) func(*testing.T, *doors) {
	return forwards("", strict, loose, targets...)
}

// forwards is decides for targets of which something else is forwarded. "": the target itself.
func forwards(forwarded string, strict, loose verdict, targets ...string) func(*testing.T, *doors) {
	pathTargets = append(pathTargets, targets...)
	return func(t *testing.T, d *doors) {
		check := func(t *testing.T, w way, v verdict) {
			k := w.talk(t)
			for _, target := range targets {
				a := k.ask(request{Target: target, Lines: navigation})
				w.judge(t, target, forwarded, v, a)
				k.next(t, target)
			}
			k.close()
		}
		d.each(t, func(t *testing.T, w way) { check(t, w, strict) })
		for _, w := range d.looseWays() {
			t.Run("by-route, "+w.String(), func(t *testing.T) { check(t, w, loose) })
		}
	}
}

// pathTargets are the targets of all these cases, for what compares readings of them.
var pathTargets []string

// looseWays are the ways in where all routes have `paths: by-route`.
func (d *doors) looseWays() []way {
	f := d.Loose()
	return []way{{front: f}, {front: f, h2: true}, {front: f, cookie: f.alice}, {front: f, h2: true, cookie: f.alice}}
}

// judge compares an answer, and what reached the upstream, with a verdict.
func (w way) judge(t *testing.T, target, forwarded string, v verdict, a *gatewaytest.Answer) {
	t.Helper()
	want := map[verdict]int{isRefused: 400, isProtected: 302, isOpen: 200, isMissing: 404, isSignIn: 302}[v]
	if w.cookie != "" && v == isProtected {
		want = http.StatusOK
	} else if w.cookie != "" && v == isSignIn {
		want = http.StatusSeeOther
	}
	if a.Status != want && !(want == 400 && w.malformed(a)) {
		t.Errorf("%q: got %s, want %d", target, a, want)
	}
	if want != http.StatusOK {
		w.nothingReached(t)
		w.noSession(t, a)
		return
	}
	if forwarded == "" {
		forwarded = target
	}
	all := w.Upstream.Requests()
	w.Upstream.Forget()
	if len(all) != 1 || line(all[0]) != "GET "+forwarded+" HTTP/1.1" {
		t.Errorf("%q: the upstream got %q, want GET %s", target, all, forwarded)
	}
}

// malformed says whether HTTP/2 has ended the stream of a malformed request (RFC 9113 8.1.1), which is its 400.
func (w way) malformed(a *gatewaytest.Answer) bool {
	return w.h2 && a.Status == 0 && a.Err != nil && strings.Contains(a.Err.Error(), "PROTOCOL_ERROR")
}

// next makes a good request on the same connection as another one, unless that was closed.
func (k *talk) next(t *testing.T, after string) {
	t.Helper()
	if k.c == nil && k.h2 == nil {
		return // it was closed, which is the safe thing after a malformed request
	}
	a := k.ask(request{Target: "/public/next"})
	if a.Status != http.StatusOK || a.Body != "<!doctype html><title>app</title>the application" {
		t.Errorf("the next request on the connection after %q: got %s %q, want the application's page", after, a, a.Body)
	}
	if got := k.Upstream.Requests(); len(got) != 1 || line(got[0]) != "GET /public/next HTTP/1.1" {
		t.Errorf("after %q the upstream got %q, want the next request alone", after, got)
	}
	k.Upstream.Forget()
}

// itself is a request that says something about itself, and the status that a stranger gets and Alice. 200: it reaches
// the upstream as it is.
type itself struct {
	method, target  string
	lines           [][2]string
	stranger, alice int
}

// aboutItself tries what requests say about themselves; none of the names that would rewrite them reaches the upstream.
func aboutItself(tries ...itself) func(*testing.T, *doors) {
	return func(t *testing.T, d *doors) {
		d.each(t, func(t *testing.T, w way) {
			for _, q := range tries {
				want := q.stranger
				if w.cookie != "" {
					want = q.alice
				}
				a := w.ask(t, request{Method: q.method, Target: q.target, Lines: q.lines})
				if a.Status != want {
					t.Errorf("%s %.80s with %q: got %s, want %d", q.method, q.target, q.lines, a, want)
				}
				if want != http.StatusOK {
					w.nothingReached(t)
					w.noSession(t, a)
					continue
				}
				head, _ := w.reached(t)
				if got, want := line(head), q.method+" "+q.target+" HTTP/1.1"; got != want {
					t.Errorf("the upstream got %.80q, want %.80q", got, want)
				}
				for _, l := range q.lines {
					// These say what the gateway knows.
					known := []string{"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"}
					if name := fold(l[0]); strings.HasPrefix(name, "x-") && !slices.Contains(known, name) || name == "forwarded" {
						absent(t, head, name)
					}
				}
			}
		})
	}
}

func oddMethods(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		for _, q := range [][2]string{{"get", "/admin"}, {"get", "/public/x"}, {"Get", "/public/x"}, {"FOO", "/admin"}, {"FOO", "/public/x"}, {"TRACE", "/public/x"}, {"TRACK", "/public/x"}, {"PRI", "/public/x"},
			{"CONNECT", "/public/x"}, {"CONNECT", "127.0.0.1:22"}, {"CONNECT", "gw.test:443"}, {"GET\x00", "/public/x"}, {"G ET", "/public/x"}, {"M-SEARCH", "/public/x"}, {"post", "/sign-out"}, {"TRACE", "/_portero/session"}} {
			for _, lines := range [][][2]string{nil, navigation} {
				want := http.StatusMethodNotAllowed
				switch {
				case strings.Contains(q[0], "\x00"), strings.Contains(q[0], " ") && !w.h2: // no token, so no request
					want = http.StatusBadRequest
				case q[1] == "127.0.0.1:22" && w.TLS: // the target is the host, and the handshake named another
					want = http.StatusMisdirectedRequest
				}
				a := w.ask(t, request{Method: q[0], Target: q[1], Lines: lines})
				// Over HTTP/2, a CONNECT has no path, and a method is a token: such a stream ends.
				if a.Status != want && !w.malformed(a) {
					t.Errorf("%s %s: got %s, want %d", q[0], q[1], a, want)
				}
				if a.Status == http.StatusMethodNotAllowed && (a.Header.Get("Allow") == "" || strings.Contains(a.Header.Get("Allow"), "TRACE") || strings.Contains(a.Header.Get("Allow"), "CONNECT")) {
					t.Errorf("%s %s: got Allow %q", q[0], q[1], a.Header.Get("Allow"))
				}
				w.nothingReached(t)
				w.noSession(t, a)
			}
		}
	})
}

func nextRequests(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		k := w.talk(t)
		for _, target := range []string{"/public/../admin", "/public/x", "/public/..%2fadmin", "/admin", "/public/%00", "/_portero/nothing", "/public/../admin", "/sign-in"} {
			k.ask(request{Target: target})
			if target == "/public/x" || w.cookie != "" {
				w.Upstream.Forget()
			}
			k.next(t, target)
		}
		// All at once: answers come in order, and only what is public reaches the upstream.
		if w.h2 {
			return
		}
		c := w.Dial(t)
		var text strings.Builder
		for _, target := range []string{"/public/1", "/public/../admin", "/public/2", "//admin", "/public/3"} {
			text.WriteString(request{Target: target}.text(w.host))
		}
		c.Send(text.String())
		for i, want := range []int{200, 400, 200, 400, 200} {
			if a := c.Answer("GET"); a.Status != want {
				t.Errorf("answer %d of five: got %s, want %d", i+1, a, want)
			}
		}
		var got []string
		for _, head := range w.Upstream.Requests() {
			got = append(got, line(head))
		}
		w.Upstream.Forget()
		if want := []string{"GET /public/1 HTTP/1.1", "GET /public/2 HTTP/1.1", "GET /public/3 HTTP/1.1"}; !slices.Equal(got, want) {
			t.Errorf("the upstream got %q, want %q", got, want)
		}
		c.Close()
	})
}
