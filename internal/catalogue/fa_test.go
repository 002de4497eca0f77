package catalogue_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

var forwardAuths = family{ID: "FA", Title: "Forward-auth", Attacks: []attack{
	{ID: "FA-01", Name: "peers that are not trusted", Want: "403 whatever they say about themselves, and a line that names the key; a trusted one is answered", Why: "whoever reaches the endpoint learns who somebody is, and where they may go", Test: untrustedPeers},
	{ID: "FA-02", Name: "a header of the question twice", Want: "400, as two lines, as a list, and under a name that applications take for it", Why: "a proxy that adds its own to the client's: who takes the first is asked about the client's", Test: doubledQuestions},
	{ID: "FA-03", Name: "a question that is not whole", Want: "400, the client's address included, and 403 for methods and paths that nobody serves", Why: "what is missing is not what the gateway itself was asked", Test: halfQuestions},
	{ID: "FA-04", Name: "two sources that differ", Want: "400; a path behind the endpoint and X-Forwarded-Uri have to say the same", Why: "a client that adds the header, or the path, of the other kind of proxy", Test: twoSources},
	{ID: "FA-05", Name: "endpoints of ours, other hosts, plain HTTP", Want: "403; never 200", Why: "what is not asked about is handed on: a question about it is a proxy that was set up wrongly", Test: questionsAboutUs},
	{ID: "FA-06", Name: "identity headers of the client", Want: "400 for those that the proxy would leave, in every spelling; all others stand in the answer once, and are the gateway's", Why: "CVE-2026-30851 Caddy: a header that the answer does not have was left as the client sent it", Test: clientsIdentity},
	{ID: "FA-07", Name: "another decision than the proxy path's", Want: "for every path, method and person the same", Why: "two readers of one path", Test: sameDecision},
	{ID: "FA-08", Name: "WebSockets of other pages", Want: "403, even if the proxy has taken out what makes it an upgrade", Why: "cross-site WebSocket hijacking: proxies ask without Upgrade, since that is hop by hop", Test: askedSockets},
	{ID: "FA-09", Name: "redirects", Want: "only navigations, only to the sign-in of the same host; no cookie is set", Why: "oauth2-proxy: X-Auth-Request-Redirect and rd led anywhere", Test: askedRedirects},
	{ID: "FA-10", Name: "cookies and credentials", Want: "the session's cookie is not in the answer, those of the application are; a dead session is not ended, and no body is read", Why: "what is in the answer reaches the application", Test: askedCookies},
	{ID: "FA-11", Name: "routes that are only asked about", Want: "404 or what another route says on the proxy path, and nothing is forwarded", Why: "a route without an application has no way there", Test: onlyAsked},
}}

// askedRoutes are routes of which one is only asked about.
const askedRoutes = routesPlain + `
  - {name: asked, title: Asked, path: /asked, forward_auth_only: true}
  - {name: closed, path: /closed, access: deny}
`

// routesPlain are routes with each access.
const routesPlain = `
  - {name: public, path: /public, access: public, upstreams: [{url: UPSTREAM}]}
  - {name: optional, path: /optional, access: optional, upstreams: [{url: UPSTREAM}]}
  - {name: admin, path: /admin, allow: [{roles: [admin]}], upstreams: [{url: UPSTREAM}]}
  - {name: post, path: /post, methods: [POST], access: public, upstreams: [{url: UPSTREAM}]}
  - {name: drop, path: /drop, authorization: drop, upstreams: [{url: UPSTREAM}]}
  - {name: app, path: /, upstreams: [{url: UPSTREAM}]}`

// checks are the endpoints of forward-auth.
var checks = []string{"/_portero/auth", "/_portero/auth-redirect"}

// behind tries something at gateways that trust whoever asks, over every protocol, as Alice and as nobody.
func (d *doors) behind(t *testing.T, try func(t *testing.T, w way)) {
	t.Helper()
	d.special(t, &d.asked, gatewaytest.Options{Routes: askedRoutes, Extra: "trusted_proxies: [127.0.0.1]\n"}, try)
}

// special tries something at gateways of a family's own, inside TLS and plain, over every protocol, as Alice and as nobody.
func (d *doors) special(t *testing.T, fronts *[2]*front, o gatewaytest.Options, try func(t *testing.T, w way)) {
	t.Helper()
	for i := range fronts {
		if fronts[i] == nil {
			o.TLS = i == 0
			fronts[i] = newFront(d.t, o)
		}
	}
	for _, signedIn := range []bool{true, false} {
		for name, w := range map[string]way{"HTTP 1.1 in TLS": {front: fronts[0]}, "HTTP 2": {front: fronts[0], h2: true}, "plain HTTP 1.1": {front: fronts[1]}} {
			if signedIn {
				w.cookie, name = w.front.alice, name+", signed in"
			}
			t.Run(name, func(t *testing.T) {
				w.Upstream.Forget()
				try(t, w)
				w.nothingReached(t)
			})
		}
	}
}

// about is a whole question about a target, changed by name: an empty value leaves a header out.
func about(target string, change ...string) (out [][2]string) {
	lines := fieldsOf("X-Forwarded-Method", "GET", "X-Forwarded-Proto", "https", "X-Forwarded-Host", gatewaytest.Host, "X-Forwarded-Uri", target, "X-Forwarded-For", "10.1.2.3")
	for _, l := range lines {
		for i := 0; i+1 < len(change); i += 2 {
			if change[i] == l[0] {
				l[1] = change[i+1]
			}
		}
		if l[1] != "" {
			out = append(out, l)
		}
	}
	return out
}

// check asks one of the endpoints.
func (w way) check(t *testing.T, endpoint string, lines [][2]string) *gatewaytest.Answer {
	t.Helper()
	return w.ask(t, request{Target: endpoint, Lines: lines})
}

// unanswered fails unless both endpoints answer a question with that status, and tell nobody anything.
func (w way) unanswered(t *testing.T, what string, lines [][2]string, status int) {
	t.Helper()
	for _, endpoint := range checks {
		a := w.check(t, endpoint, lines)
		if a.Status != status {
			t.Errorf("%s, to %s: got %s, want %d", what, endpoint, a, status)
		}
		w.tellsNothing(t, what, a)
	}
}

// tellsNothing fails when an answer says who somebody is, or sets a cookie.
func (w way) tellsNothing(t *testing.T, what string, a *gatewaytest.Answer) {
	t.Helper()
	for name := range a.Header {
		if _, identity := aliceHeaders[fold(name)]; identity || name == "Set-Cookie" || name == "Cookie" {
			t.Errorf("%s: the answer has %s", what, name)
		}
	}
	w.noSession(t, a)
}

func untrustedPeers(t *testing.T, _ *doors) {
	for name, o := range map[string]gatewaytest.Options{"plain": {}, "in TLS": {TLS: true}} {
		t.Run(name, func(t *testing.T) {
			o.Routes, o.Extra = askedRoutes, "trusted_proxies: [10.0.0.0/8, 127.0.0.2]\n"
			f := newFront(t, o)
			for _, w := range []way{{front: f}, {front: f, cookie: f.alice}, {front: f, cookie: f.alice, h2: o.TLS}} {
				for _, target := range []string{"/public/x", "/app", "/%", "/asked"} {
					for _, more := range [][]string{
						nil, {"X-Forwarded-For", "10.0.0.1"}, {"X-Real-Ip", "127.0.0.2"}, {"Forwarded", "for=127.0.0.2;by=10.0.0.1"}, {"X-Forwarded-For", "127.0.0.2, 10.0.0.1"},
						{"X-Client-Ip", "10.0.0.1", "True-Client-Ip", "127.0.0.2"}, {"Via", "1.1 10.0.0.1"},
					} {
						w.unanswered(t, fmt.Sprintf("%s with %q", target, more), with(about(target), more...), http.StatusForbidden)
					}
				}
				for _, endpoint := range checks { // as Envoy asks
					if a := w.check(t, endpoint+"/public/x", fieldsOf("X-Forwarded-For", "10.0.0.1")); a.Status != http.StatusForbidden {
						t.Errorf("%s/public/x: got %s, want 403", endpoint, a)
					}
				}
			}
			f.nothingReached(t)
			gatewaytest.Await(t, "a line names the key", func() bool {
				return strings.Contains(f.Log.String(), `"key":"trusted_proxies"`) && strings.Contains(f.Log.String(), `"peer":"127.0.0.1"`)
			})
			k := way{front: f, cookie: f.alice}.talk(t)
			k.dialing.From = "127.0.0.2"
			defer k.close()
			if a := k.ask(request{Target: checks[0], Lines: about("/app")}); a.Status != http.StatusOK {
				t.Errorf("the proxy that is trusted: got %s, want 200", a)
			}
		})
	}
}

func doubledQuestions(t *testing.T, d *doors) {
	other := map[string]string{"X-Forwarded-Method": "DELETE", "X-Forwarded-Proto": "http", "X-Forwarded-Host": gatewaytest.SecondHost, "X-Forwarded-Uri": "/public/x"}
	d.behind(t, func(t *testing.T, w way) {
		for _, target := range []string{"/app", "/public/x"} {
			for _, l := range about(target) {
				name, value := l[0], l[1]
				second, there := other[name]
				if !there {
					continue
				}
				for _, v := range []string{value, second, "", " "} {
					w.unanswered(t, fmt.Sprintf("%s and %s: %q", target, name, v), with(about(target), name, v), http.StatusBadRequest)
					w.unanswered(t, fmt.Sprintf("%s: %q and %s", name, v, target), with(fieldsOf(name, v), pairs(about(target))...), http.StatusBadRequest)
				}
				if name != "X-Forwarded-Uri" { // a comma may stand in a path
					for _, list := range []string{value + ", " + second, second + "," + value, value + "," + value, value + " " + second} {
						w.unanswered(t, fmt.Sprintf("%s: %s: %q", target, name, list), about(target, name, list), http.StatusBadRequest)
					}
				}
				for _, spelling := range []string{strings.ReplaceAll(name, "-", "_"), strings.ReplaceAll(name, "-", ".")} {
					w.unanswered(t, target+" and "+spelling, with(about(target), spelling, second), http.StatusBadRequest)
				}
			}
		}
	})
}

// pairs is [name, value, name, value, …] of lines.
func pairs(lines [][2]string) (out []string) {
	for _, l := range lines {
		out = append(out, l[0], l[1])
	}
	return out
}

func halfQuestions(t *testing.T, d *doors) {
	d.behind(t, func(t *testing.T, w way) {
		for _, l := range about("/public/x") {
			w.unanswered(t, "without "+l[0], about("/public/x", l[0], ""), http.StatusBadRequest)
		}
		w.unanswered(t, "nothing", nil, http.StatusBadRequest)
		w.unanswered(t, "the headers of nginx's own names", fieldsOf("X-Original-Uri", "/public/x", "X-Original-Method", "GET", "X-Original-Url", "https://gw.test/public/x"), http.StatusBadRequest)
		for _, uri := range []string{"public/x", "https://gw.test/public/x", "//gw.test/public/x", "/public/../app", "/public/%2e%2e/app", "/public%2fx", "/public/x#y", "/public/\xff", "/public x", "/%zz", "*", "?x=/public"} {
			w.unanswered(t, fmt.Sprintf("the target %q", uri), about(uri), http.StatusBadRequest)
		}
		for _, host := range []string{"gw.test/public", "https://gw.test", "gw.test@evil.test", "gw..test", "[::1", "gw.test:x"} {
			w.unanswered(t, fmt.Sprintf("the host %q", host), about("/public/x", "X-Forwarded-Host", host), http.StatusBadRequest)
		}
		for _, method := range []string{"get", "TRACE", "CONNECT", "BREW", "GET;x", "Get"} {
			a := w.check(t, checks[0], about("/public/x", "X-Forwarded-Method", method))
			if a.Status != http.StatusForbidden {
				t.Errorf("the method %q: got %s, want 403", method, a)
			}
			w.tellsNothing(t, method, a)
		}
	})
}

func twoSources(t *testing.T, d *doors) {
	d.behind(t, func(t *testing.T, w way) {
		for _, endpoint := range checks {
			for _, tt := range []struct {
				appended string
				lines    [][2]string
			}{
				{"/admin", about("/public/x")}, {"/public/x", about("/admin")}, {"/public/x?a=1", about("/public/x")}, {"/public/x", about("/public/x?a=1")}, {"/public/", about("/public")},
				{"/public/x", fieldsOf("X-Forwarded-Uri", "/admin")}, {"/public/x", fieldsOf("X-Forwarded-Method", "POST")}, {"/public/x", fieldsOf("X-Forwarded-Host", gatewaytest.SecondHost)},
				{"/public/x", fieldsOf("X-Forwarded-Uri", "/public/x", "X-Forwarded-Uri", "/public/x")}, {"/public/x", fieldsOf("X_Forwarded_Uri", "/admin")},
				{"/public/../admin", nil}, {"//public/x", nil}, {"/public%2fx", nil}, {"/%", nil},
			} {
				if w.h2 && tt.appended == "/%" { // no path of HTTP/2 either
					continue
				}
				a := w.check(t, endpoint+tt.appended, tt.lines)
				if a.Status != http.StatusBadRequest {
					t.Errorf("%s%s with %q: got %s, want 400", endpoint, tt.appended, tt.lines, a)
				}
				w.tellsNothing(t, tt.appended, a)
			}
			for _, lines := range [][][2]string{nil, about("/public/x"), fieldsOf("X-Forwarded-For", "10.1.2.3", "X-Forwarded-Proto", "https")} {
				if a := w.check(t, endpoint+"/public/x", lines); a.Status != http.StatusOK {
					t.Errorf("%s/public/x with %q: got %s, want 200", endpoint, lines, a)
				}
			}
			want := map[bool]int{true: http.StatusOK, false: http.StatusUnauthorized}[w.cookie != ""]
			if a := w.check(t, endpoint+"/admin?x=/public", nil); a.Status != want {
				t.Errorf("%s/admin: got %s, want %d", endpoint, a, want)
			}
			for _, near := range []string{"x", "-", "-redirectx", ".", "%2fpublic", ";/public"} { // no endpoint of ours
				if a := w.check(t, checks[0]+near, about("/public/x")); a.Status == http.StatusOK {
					t.Errorf("%s%s: got %s", checks[0], near, a)
				}
			}
		}
	})
}

func questionsAboutUs(t *testing.T, d *doors) {
	d.behind(t, func(t *testing.T, w way) {
		for _, target := range []string{"/sign-in", "/sign-in?return_to=/public", "/callback?code=x&state=y", "/sign-out", "/_portero/", "/_portero/session", "/_portero/auth", "/_portero/auth/public/x", "/_portero/healthz", "/_portero/jwks.json", "/_portero/x"} {
			for _, method := range []string{"GET", "POST", "OPTIONS"} {
				a := w.check(t, checks[0], about(target, "X-Forwarded-Method", method))
				if a.Status != http.StatusForbidden {
					t.Errorf("%s %s: got %s, want 403", method, target, a)
				}
				w.tellsNothing(t, target, a)
			}
			if a := w.check(t, checks[0]+target, nil); a.Status != http.StatusForbidden {
				t.Errorf("%s, appended: got %s, want 403", target, a)
			}
		}
		for name, change := range map[string][]string{
			"another host": {"X-Forwarded-Host", "evil.test"}, "plain HTTP": {"X-Forwarded-Proto", "http"}, "a host below": {"X-Forwarded-Host", "a." + gatewaytest.Host}, "the gateway's own address": {"X-Forwarded-Host", w.Addr},
		} {
			for _, target := range []string{"/public/x", "/app"} {
				a := w.check(t, checks[0], about(target, change...))
				if a.Status != http.StatusForbidden {
					t.Errorf("%s of %s: got %s, want 403", target, name, a)
				}
				w.tellsNothing(t, name, a)
				if a := w.check(t, checks[1], about(target, change...)); a.Status == http.StatusOK || strings.Contains(a.Header.Get("Location"), "evil.test") {
					t.Errorf("%s of %s: got %s to %q", target, name, a, a.Header.Get("Location"))
				}
			}
		}
		w.unanswered(t, "a closed route", about("/closed"), http.StatusForbidden)
	})
}

func clientsIdentity(t *testing.T, d *doors) {
	d.behind(t, func(t *testing.T, w way) {
		for _, target := range []string{"/public/x", "/optional", "/app", "/asked"} {
			for _, name := range []string{"X_Auth_Email", "X.Auth.Email", "X-Auth_Email", "x_auth_roles", "X_AUTH_TENANT", "Remote-User", "Remote_User", "X-Portero-Assertion", "X_Real_IP"} {
				w.unanswered(t, target+" with "+name, with(about(target), name, "root"), http.StatusBadRequest)
			}
			for _, endpoint := range checks {
				a := w.check(t, endpoint, with(about(target), "X-Auth-Email", "root@example.com", "X-Auth-Email", "root", "X-Auth-Roles", "admin,owner", "X-Auth-Sub", "root", "x-auth-tenant", "evil"))
				known := w.cookie != "" && target != "/public/x"
				if want := map[bool]int{true: http.StatusOK, false: a.Status}[known || target == "/public/x" || target == "/optional"]; a.Status != want {
					t.Errorf("%s: got %s, want %d", target, a, want)
				}
				if !known {
					w.tellsNothing(t, target, a)
					continue
				}
				var head strings.Builder
				for name, values := range a.Header {
					for _, v := range values {
						head.WriteString("\r\n" + name + ": " + v)
					}
				}
				saysAlice(t, head.String())
			}
			// As Envoy asks: what an answer does not have is named, or the client's is left.
			a := w.check(t, checks[0]+target, fieldsOf("X-Auth-Email", "root"))
			removed := strings.Split(a.Header.Get("X-Envoy-Auth-Headers-To-Remove"), ",")
			for name := range aliceHeaders {
				if there := len(a.Header[http.CanonicalHeaderKey(name)]) > 0; a.Status == http.StatusOK && !there && !contains(removed, name) {
					t.Errorf("%s, appended: %s is neither in the answer nor among those to remove, %q", target, name, removed)
				}
			}
		}
	})
}

func contains(list []string, text string) bool {
	for _, s := range list {
		if s == text {
			return true
		}
	}
	return false
}

func sameDecision(t *testing.T, d *doors) {
	targets := []string{
		"/", "/app", "/app?x=/public", "/public", "/public/x", "/publicx", "/PUBLIC", "/public/", "/public/../app", "/public/%2e%2e/app", "/%70ublic", "/public%2f..%2fapp", "/public;/x", "/public//x", "/public\\..\\app",
		"/admin", "/admin/x", "/Admin", "/admin/%2e", "/admin%00", "/optional", "/closed", "/closed/x", "/post", "/drop", "/%2e%2e/public", "/public/..;/app", "/public/%252e%252e/app", "/.", "/./public", "/public?/../app",
	}
	people := map[*front]map[string]string{} // :: gateway → name → cookie
	d.behind(t, func(t *testing.T, w way) {
		if people[w.front] == nil {
			people[w.front] = map[string]string{"bob": w.signIn(t, bob), "nobody": "", "garbage": w.Cookie() + "=" + strings.Repeat("A", 43)}
			w.Upstream.Forget()
		}
		who := people[w.front]
		if w.cookie != "" {
			who = map[string]string{"alice": w.cookie}
		}
		for name, cookie := range who {
			p := way{front: w.front, h2: w.h2, cookie: cookie}
			for _, target := range targets {
				for _, method := range []string{"GET", "POST", "HEAD", "DELETE", "BREW"} {
					direct := p.ask(t, request{Method: method, Target: target, Lines: fieldsOf("X-Forwarded-For", "10.1.2.3", "X-Forwarded-Proto", "https")})
					passed := len(w.Upstream.Requests()) > 0
					w.Upstream.Forget()
					for _, endpoint := range checks {
						a := p.check(t, endpoint, about(target, "X-Forwarded-Method", method))
						if (a.Status == http.StatusOK) != passed {
							t.Errorf("%s %s for %s: %s says %s, and the proxy path %s", method, target, name, endpoint, a, direct)
						}
						if endpoint == checks[1] && !passed && a.Status != direct.Status && direct.Status != http.StatusFound {
							t.Errorf("%s %s for %s: %s says %s, and the proxy path %s", method, target, name, endpoint, a, direct)
						}
					}
				}
			}
		}
	})
}

func askedSockets(t *testing.T, d *doors) {
	taken := fieldsOf("Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", socketKey) // what is left of a handshake behind a proxy
	d.behind(t, func(t *testing.T, w way) {
		for _, origin := range []string{
			"https://evil.test", "null", "https://gw.test.evil.test", "https://a.gw.test", "http://gw.test", "https://gw.test:444", "https://gw.test/", "https://gw.test.", "gw.test", "https://GW.test", w.Second, w.Upstream.URL, "*",
		} {
			for _, target := range []string{"/app", "/public/socket", "/asked"} {
				if target != "/public/socket" && w.cookie == "" {
					continue
				}
				w.unanswered(t, target+" of "+origin, with(about(target), append(pairs(taken), "Origin", origin)...), http.StatusForbidden)
				w.unanswered(t, target+" of "+origin+", by its key alone", with(about(target), "Sec-WebSocket-Key", socketKey, "Origin", origin), http.StatusForbidden)
			}
		}
		for _, endpoint := range checks {
			want := map[bool]int{true: http.StatusOK, false: http.StatusUnauthorized}[w.cookie != ""]
			if a := w.check(t, endpoint, with(about("/app"), append(pairs(taken), "Origin", w.URL)...)); a.Status != want {
				t.Errorf("a handshake of a page of the host, to %s: got %s, want %d", endpoint, a, want)
			}
			if a := w.check(t, endpoint, with(about("/public/socket"), append(pairs(taken), "Origin", w.URL)...)); a.Status != http.StatusOK {
				t.Errorf("a public one, to %s: got %s, want 200", endpoint, a)
			}
			if w.cookie == "" {
				continue
			}
			if a := w.check(t, endpoint, with(about("/app"), pairs(taken)...)); a.Status != http.StatusForbidden { // programs have no cookies of a browser
				t.Errorf("without an origin, to %s: got %s, want 403", endpoint, a)
			}
			if a := w.check(t, endpoint, with(about("/app"), append(pairs(taken), "Origin", w.URL, "Origin", "https://evil.test")...)); a.Status != http.StatusBadRequest {
				t.Errorf("two origins, to %s: got %s, want 400", endpoint, a)
			}
		}
	})
}

func askedRedirects(t *testing.T, d *doors) {
	d.behind(t, func(t *testing.T, w way) {
		w.cookie = ""
		page := func(target string, more ...string) [][2]string {
			return with(with(about(target), pairs(navigation)...), more...)
		}
		for target, want := range map[string]string{
			"/app?x=1": "%2Fapp%3Fx%3D1", "/app?rd=https://evil.test": "%2Fapp%3Frd%3Dhttps%3A%2F%2Fevil.test", "/app?return_to=//evil.test": "%2Fapp%3Freturn_to%3D%2F%2Fevil.test",
		} {
			a := w.check(t, checks[1], page(target, "X-Original-Url", "https://evil.test/", "X-Forwarded-Prefix", "//evil.test", "Referer", "https://evil.test"))
			if got := a.Header.Get("Location"); a.Status != http.StatusFound || got != w.URL+"/_portero/sign-in?return_to="+want {
				t.Errorf("%s: got %s to %q, want 302 to the sign-in of the host with %s", target, a, got, want)
			}
			w.tellsNothing(t, target, a)
			if got := a.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("%s: Cache-Control %q, want no-store", target, got)
			}
			if a := w.check(t, checks[1]+"?rd=https://evil.test&return_to=//evil.test", page(target)); a.Header.Get("Location") != w.URL+"/_portero/sign-in?return_to="+want {
				t.Errorf("%s, parameters of the endpoint: got %s to %q", target, a, a.Header.Get("Location"))
			}
			w.unanswered(t, "a name of another gateway's", page(target, "X-Auth-Request-Redirect", "https://evil.test"), http.StatusBadRequest)
			if a := w.check(t, checks[0], page(target)); a.Status != http.StatusUnauthorized || a.Header.Get("Location") != "" {
				t.Errorf("%s, to %s: got %s to %q, want 401", target, checks[0], a, a.Header.Get("Location"))
			}
		}
		for name, lines := range map[string][][2]string{
			"a script":   with(about("/app"), "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Accept", "application/json"),
			"a frame":    with(about("/app"), "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Accept", "text/html"),
			"a form":     with(about("/app", "X-Forwarded-Method", "POST"), pairs(navigation)...),
			"a prefetch": page("/app", "Sec-Purpose", "prefetch;prerender"),
			"an image":   with(about("/app"), "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"),
		} {
			w.unanswered(t, name, lines, http.StatusUnauthorized)
		}
	})
}

func askedCookies(t *testing.T, d *doors) {
	d.behind(t, func(t *testing.T, w way) {
		dead := w.Cookie() + "=" + strings.Repeat("A", 43)
		for _, endpoint := range checks {
			for _, target := range []string{"/public/x", "/app", "/asked", "/drop"} {
				if w.cookie == "" && target != "/public/x" {
					continue
				}
				a := w.check(t, endpoint, with(about(target), "Cookie", "theme=dark; "+w.Cookie()+"-lang=de; "+w.Cookie()+"-a-x=y; lang=en", "Authorization", "Basic "+gatewaytest.Canary+"credentials"))
				if got := a.Header["Cookie"]; a.Status != http.StatusOK || len(got) != 1 || got[0] != "theme=dark; lang=en" {
					t.Errorf("%s, to %s: got %s with the cookies %q, want those of the application alone", target, endpoint, a, got)
				}
				if got := a.Header.Get("Authorization"); (got == "") != (target == "/drop") {
					t.Errorf("%s, to %s: got Authorization %q", target, endpoint, got)
				}
				if a.Body != "" || len(a.Header["Set-Cookie"]) != 0 {
					t.Errorf("%s, to %s: got the body %q and Set-Cookie %q, want neither", target, endpoint, a.Body, a.Header["Set-Cookie"])
				}
			}
			stranger := way{front: w.front, h2: w.h2, cookie: dead}
			a := stranger.check(t, endpoint, about("/app"))
			if a.Status != http.StatusUnauthorized {
				t.Errorf("a session that is none, to %s: got %s, want 401", endpoint, a)
			}
			w.tellsNothing(t, "a session that is none", a)
		}
		if w.h2 {
			return
		}
		c := w.Dial(t) // a body that never comes
		c.Send(request{Method: "POST", Target: checks[0], Lines: with(about("/public/x"), "Content-Length", "1000000")}.text(w.host))
		if a := c.Answer("POST"); a.Status != http.StatusOK || !a.Close {
			t.Errorf("with a body that does not come: got %s, want 200 and the end of the connection", a)
		}
		c.Close()
	})
}

func onlyAsked(t *testing.T, d *doors) {
	d.behind(t, func(t *testing.T, w way) {
		for _, target := range []string{"/asked", "/asked/x", "/asked/"} {
			for _, method := range []string{"GET", "POST", "OPTIONS", "HEAD"} {
				a := w.ask(t, request{Method: method, Target: target, Lines: fieldsOf("X-Forwarded-Proto", "https")})
				if a.Status != http.StatusNotFound {
					t.Errorf("%s %s: got %s, want 404", method, target, a)
				}
				w.nothingReached(t)
				w.noSession(t, a)
			}
			want := map[bool]int{true: http.StatusOK, false: http.StatusUnauthorized}[w.cookie != ""]
			if a := w.check(t, checks[0], about(target)); a.Status != want {
				t.Errorf("a question about %s: got %s, want %d", target, a, want)
			}
		}
		if !w.h2 {
			lines := with(handshake(w.URL), "X-Forwarded-Proto", "https")
			if w.cookie != "" {
				lines = with(lines, "Cookie", w.cookie)
			}
			if a := w.Raw(t, request{Target: "/asked", Lines: lines}.text(w.host)); a.Status != http.StatusNotFound {
				t.Errorf("a WebSocket: got %s, want 404", a)
			}
		}
	})
	p := gatewaytest.NewProcess(t, "the program")
	for name, text := range map[string]string{
		"with an application": `{forward_auth_only: true, upstreams: [{url: "http://127.0.0.1:8080"}]}`,
		"without both":        `{path: /}`,
	} {
		run(t, p, "check", rewritten(t, sound, "upstream: http://127.0.0.1:8080", "routes: ["+text+"]")).refused(t, name, "routes[0]")
	}
}
