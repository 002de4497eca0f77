package catalogue_test

import (
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
)

var identityHeaders = family{ID: "HS", Title: "Identity headers", Attacks: []attack{
	{ID: "HS-01", Name: "plain spoof", Want: "the application is told of Alice, once", Why: "the base case", Test: spoofs(
		fieldsOf("X-Auth-Email", "root@corp"),
		fieldsOf("X-Auth-Sub", "root", "X-Auth-Email", "root", "X-Auth-Name", "root", "X-Auth-Roles", "root", "X-Auth-Tenant", "root"),
		fieldsOf("X-Forwarded-User", "root", "X-Forwarded-Email", "root", "X-Forwarded-Preferred-Username", "root", "X-Forwarded-Name", "root",
			"X-Forwarded-Groups", "root", "X-Forwarded-Access-Token", "root", "X-Forwarded-Id-Token", "root"),
		fieldsOf("Remote-User", "root", "Remote-Email", "root", "Remote-Name", "root", "Remote-Groups", "root", "X-WEBAUTH-USER", "root", "X-WEBAUTH-GROUPS", "root"),
		fieldsOf("X-Auth-Request-User", "root", "X-Auth-Request-Access-Token", "root", "X-Pomerium-Claim-Sub", "root", "X-Pomerium-Jwt-Assertion", "root", "X-Portero-Assertion", "root"),
	)},
	{ID: "HS-02", Name: "case and duplicates", Want: "one line of each header, Alice's", Why: "some applications take the first, some the last, some join them", Test: caseAndDuplicates},
	{ID: "HS-03", Name: "underscore", Want: "no spelling of an identity header reaches the application", Why: "CVE-2025-64484 oauth2-proxy, CVE-2026-54763 Traefik, CVE-2026-52845 Caddy: CGI, WSGI, Rack and PHP read - and _ as one", Test: spoofs(
		fieldsOf("X_Auth_Email", "root", "X-Auth_Email", "root", "x_auth-email", "root", "X_AUTH_SUB", "root"),
		fieldsOf("X_Forwarded_Email", "root", "REMOTE_USER", "root", "X_WEBAUTH_USER", "root", "x_auth_tenant", "root"),
	)},
	{ID: "HS-04", Name: "dot and other token bytes", Want: "no spelling of an identity header reaches the application", Why: "PHP maps . to _; all of these may stand in a name (RFC 9110, section 5.6.2)", Test: spoofs(
		fieldsOf("X.Auth.Email", "root", "X~Auth~Email", "root", "X!Auth!Email", "root", "X'Auth'Email", "root", "X`Auth`Email", "root", "X+Auth+Email", "root", "X|Auth|Email", "root"),
		fieldsOf("X#Auth$Email", "root", "X%Auth&Email", "root", "X*Auth^Email", "root", "X.Auth_Sub", "root", "X-Auth.Roles", "root", "X.Forwarded.User", "root", "Remote.User", "root"),
	)},
	{ID: "HS-05", Name: "our headers named hop by hop", Want: "they reach the application; over HTTP/2, 400", Why: "CVE-2021-33197: a proxy that removes what Connection names after its own headers were set removes those", Test: hopByHop(
		saysAlice,
		fieldsOf("Connection", "close, X-Auth-Email, X-Auth-Sub, X-Auth-Roles"),
		fieldsOf("Connection", "close, X-Auth-Email", "X-Auth-Email", "root"),
		fieldsOf("Connection", "X-Auth-Email, X-Auth-Sub, X-Auth-Name, X-Auth-Roles, X-Auth-Tenant, keep-alive"),
	)},
	{ID: "HS-06", Name: "forwarding headers named hop by hop", Want: "the gateway's own values reach the application; over HTTP/2, 400", Why: "CVE-2024-45410 Traefik", Test: hopByHop(
		func(t *testing.T, head string) {
			t.Helper()
			saysAlice(t, head)
			for name, want := range map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "gw.test", "X-Forwarded-Proto": "https", "X-Forwarded-Port": "443", "X-Real-IP": "127.0.0.1", "Host": "gw.test"} {
				exactly(t, head, name, want)
			}
			if got := fields(head)["x-request-id"]; len(got) != 1 || len(got[0]) < 16 {
				t.Errorf("X-Request-Id at the upstream: got %q, want one", got)
			}
		},
		fieldsOf("Connection", "X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto, X-Real-Ip, Cookie"),
		fieldsOf("Connection", "X-Forwarded-Port, X-Request-Id, Host, Content-Length, Transfer-Encoding"),
	)},
	{ID: "HS-07", Name: "named hop by hop in odd case and spacing", Want: "as HS-05", Why: "CVE-2026-29054 Traefik: the mended comparison was case-sensitive", Test: hopByHop(
		saysAlice,
		fieldsOf("connection", "x-auth-email ,,x-auth-sub;"),
		fieldsOf("Connection", "x-auth-email", "Connection", "  X-AUTH-ROLES\t, keep-alive"),
		fieldsOf("CONNECTION", ",,, ,x-auth-tenant,\"x-auth-name\",X_Auth_Email"),
	)},
	{ID: "HS-08", Name: "claim absent", Want: "the header is absent, under every spelling", Why: "CVE-2026-30851 Caddy: the client's value was left where there was no claim", Test: claimAbsent},
	{ID: "HS-09", Name: "public route, health, preflight, error page, WebSocket", Want: "no identity header of the client's passes anywhere, and what is not public is refused", Why: "mod_auth_openidc in 2017 and 2026: the scrubbing happened on some ways only", Test: otherWays},
	{ID: "HS-10", Name: "bearer pass-through", Want: "401; nothing reaches the application", Why: "the presence of a token is no authentication", Test: bearer},
	{ID: "HS-11", Name: "name that is not canonical in the configuration", Want: "one value, the gateway's", Why: "CVE-2026-33433 Traefik", Test: spoofs(
		fieldsOf("X-Auth-Tenant", "evil", "x-auth-tenant", "evil", "X-AUTH-TENANT", "evil"),
		fieldsOf("X_AUTH_TENANT", "evil", "x_auth_tenant", "evil", "x.auth.tenant", "evil"),
	)},
	{ID: "HS-12", Name: "trailers", Want: "neither the announcement nor a trailer reaches the application", Why: "what comes behind the body is merged into the headers by some applications", Test: trailers},
	{ID: "HS-13", Name: "headers that change what CGI and frameworks read", Want: "none reaches the application", Why: "httpoxy; IIS and Symfony take X-Original-URL for the address", Test: poison},
	{ID: "HS-14", Name: "blank before the colon, leading blank, folded line", Want: "400, 400, and a folded line is part of the value before", Why: "two readers must not see two headers", Test: oddLines},
	{ID: "HS-15", Name: "what an application says to the browser", Want: "no identity header, no cookie of the gateway's and no command to a server in front leaves", Why: "an application, or a script in it, overwrites the session", Test: responseSide,
		Missing: "The gateway has no setting for Strict-Transport-Security and sends none, so the application's own stands."},
	{ID: "HS-16", Name: "tokens and cookies of ours", Want: "neither a token nor a cookie of the gateway's reaches the application; its own cookies arrive byte for byte", Why: "a token that leaks signs in elsewhere", Test: tokensStay,
		Missing: "Routes that ask for the access token of a person are tried by gateway.TestAccessTokenRefused and its neighbours; here none asks."},
	{ID: "HS-17", Name: "Authorization of the client", Want: "passed, or dropped where the route says so", Why: "old applications take both identities", Test: authorization},
}}

// seen checks one request that reached the application: a head, the bytes behind it, and who it was told of.
func (w way) seen(t *testing.T, want func(*testing.T, string)) (head, rest string) {
	t.Helper()
	everything := w.Upstream.Bytes()
	head, rest = w.reached(t)
	want(t, head)
	if _, token, _ := strings.Cut(w.alice, "="); strings.Contains(everything, token) {
		t.Errorf("the session cookie reached the upstream: %q", everything)
	}
	return head, rest
}

// passes asks, and fails unless the request was served and its line reached the application as it was.
func (w way) passes(t *testing.T, q request, want func(*testing.T, string)) (head, rest string) {
	t.Helper()
	a := w.ask(t, q)
	if a.Status != http.StatusOK {
		t.Fatalf("%s %s %.200q: got %s, want 200\n%.500s", q.Method, q.Target, q.Lines, a, a.Body)
	}
	head, rest = w.seen(t, want)
	method, target := q.Method, q.Target
	if method == "" {
		method = "GET"
	}
	if target == "" {
		target = "/app"
	}
	if got, want := line(head), method+" "+target+" HTTP/1.1"; got != want {
		t.Errorf("request line at the upstream: got %q, want %q", got, want)
	}
	return head, rest
}

// refused fails unless a request that is no HTTP got 400, or over HTTP/2 had its stream reset, and reached nobody.
func (w way) refused(t *testing.T, q request) {
	t.Helper()
	a := w.ask(t, q)
	if a.Status != http.StatusBadRequest && (!w.h2 || a.Status != 0) {
		t.Errorf("%.200q: got %s, want 400", q.Lines, a)
	}
	w.nothingReached(t)
	w.noSession(t, a)
}

// presetNames are identity headers that this gateway is not told to set: they never arrive.
var presetNames = []string{
	"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Preferred-Username", "X-Forwarded-Name", "X-Forwarded-Groups", "X-Forwarded-Access-Token", "X-Forwarded-Id-Token",
	"Remote-User", "Remote-Email", "Remote-Name", "Remote-Groups", "X-WEBAUTH-USER", "X-WEBAUTH-GROUPS",
	"X-Auth-Request-User", "X-Auth-Request-Access-Token", "X-Pomerium-Claim-Sub", "X-Pomerium-Jwt-Assertion", "X-Portero-Assertion",
}

// onlyAlice and onlyNobody fail when a head tells of anybody else.
func onlyAlice(t *testing.T, head string) {
	t.Helper()
	saysAlice(t, head)
	absent(t, head, presetNames...)
}

func onlyNobody(t *testing.T, head string) {
	t.Helper()
	saysNobody(t, head)
	absent(t, head, presetNames...)
}

// spoofs tries headers on every kind of route: the application is told of Alice where she is signed in and the route
// looks, else of nobody, and nobody gets in by them.
func spoofs(tries ...[][2]string) func(*testing.T, *doors) {
	return func(t *testing.T, d *doors) {
		d.signedIn(t, func(t *testing.T, w way) {
			for _, lines := range tries {
				w.passes(t, request{Lines: lines}, onlyAlice)
				w.passes(t, request{Target: "/optional/x", Lines: lines}, onlyAlice)
				w.passes(t, request{Target: "/public/x", Lines: lines}, onlyNobody)
			}
		})
		d.stranger(t, func(t *testing.T, w way) {
			before := w.Sessions(t)
			for _, lines := range tries {
				w.passes(t, request{Target: "/optional/x", Lines: lines}, onlyNobody)
				w.passes(t, request{Target: "/public/x", Lines: lines}, onlyNobody)
				w.denied(t, w.ask(t, request{Lines: lines}))
				w.denied(t, w.ask(t, request{Target: "/admin", Lines: with(navigation, lines[0][0], lines[0][1])}))
			}
			w.rows(t, before)
		})
	}
}

func caseAndDuplicates(t *testing.T, d *doors) {
	spoofs(
		fieldsOf("x-auth-email", "a", "x-auth-email", "a", "X-AUTH-EMAIL", "b"),
		fieldsOf("X-AUTH-SUB", "a,b", "x-auth-sub", "", "X-auth-SUB", "t8x4l8ohti1t"),
	)(t, d)
	d.each(t, func(t *testing.T, w way) {
		if w.h2 { // upper case is no HTTP/2 (RFC 9113, section 8.2.1)
			w.refused(t, request{Target: "/public/x", Lines: fieldsOf("X-Auth-Email", "root"), Exact: true})
		}
	})
}

// hopByHop tries a Connection header that names headers of ours. HTTP/2 has none: what claims to be one is refused.
func hopByHop(want func(*testing.T, string), tries ...[][2]string) func(*testing.T, *doors) {
	return func(t *testing.T, d *doors) {
		d.signedIn(t, func(t *testing.T, w way) {
			for _, lines := range tries {
				if !w.h2 {
					head, _ := w.passes(t, request{Lines: lines}, want)
					absent(t, head, "Connection", "Keep-Alive")
					continue
				}
				for _, l := range lines {
					if strings.EqualFold(l[0], "connection") {
						w.refused400(t, request{Lines: fieldsOf("connection", l[1]), Exact: true})
					}
				}
			}
			if w.h2 {
				for _, l := range fieldsOf("connection", "", "connection", "keep-alive", "keep-alive", "timeout=5", "proxy-connection", "x-auth-email", "transfer-encoding", "chunked",
					"upgrade", "h2c", "te", "gzip", "te", "trailers, x-auth-email", "te", "Trailers") {
					w.refused400(t, request{Lines: fieldsOf(l[0], l[1]), Exact: true})
				}
				w.passes(t, request{Lines: fieldsOf("te", "trailers"), Exact: true}, onlyAlice)
			}
		})
		d.stranger(t, func(t *testing.T, w way) {
			for _, lines := range tries {
				if w.h2 {
					w.refused400(t, request{Target: "/public/x", Lines: fieldsOf("connection", lines[0][1]), Exact: true})
					continue
				}
				w.passes(t, request{Target: "/public/x", Lines: lines}, onlyNobody)
				w.denied(t, w.ask(t, request{Lines: lines}))
			}
		})
	}
}

// refused400 fails unless the answer is a 400 and nothing reached the upstream.
func (w way) refused400(t *testing.T, q request) {
	t.Helper()
	a := w.ask(t, q)
	if a.Status != http.StatusBadRequest {
		t.Errorf("%q: got %s, want 400", q.Lines, a)
	}
	w.nothingReached(t)
	w.noSession(t, a)
}

func claimAbsent(t *testing.T, d *doors) {
	spellings := [][][2]string{
		fieldsOf("X-Auth-Roles", "root", "X-Auth-Tenant", "evil", "X-Auth-Name", "root"),
		fieldsOf("X_Auth_Roles", "root", "X.Auth.Tenant", "evil", "x-auth-tenant", "evil", "X-AUTH_roles", "root", "X_Auth_Name", "root"),
		fieldsOf("Connection", "X-Auth-Roles, X-Auth-Name", "X-Auth-Roles", "root", "X-Auth-Name", "root"),
	}
	// Somebody without roles, tenant and name; somebody whose roles are an empty list and whose custom data is null; and
	// somebody without an address, whom only the optional route lets in.
	empty := maps.Clone(carol)
	maps.Copy(empty, map[string]any{"sid": "sid-empty", "roles": []string{}, "custom_data": nil, "name": ""})
	for _, p := range []struct {
		name, target string
		person       map[string]any
		email        []string
	}{
		{"no claims", "/app", carol, []string{"carol@example.com"}},
		{"empty claims", "/app", empty, []string{"carol@example.com"}},
		{"no address", "/optional/x", map[string]any{"sub": carol["sub"], "sid": "sid-less"}, nil},
		{"an address that is not verified", "/optional/x", map[string]any{"sub": carol["sub"], "sid": "sid-unverified", "email": "root@corp", "email_verified": false}, nil},
	} {
		d.signedIn(t, func(t *testing.T, w way) {
			w.cookie = w.cookieOf(t, w.person(t, p.person, "/sign-in?return_to="+p.target))
			w.Upstream.Forget()
			for _, lines := range spellings {
				lines = with(lines, "X-Auth-Sub", "root")
				if p.email == nil {
					lines = with(lines, "X-Auth-Email", "root", "x_auth_email", "root", "X.Auth.Email", "root")
				}
				w.passes(t, request{Target: p.target, Lines: lines}, func(t *testing.T, head string) {
					t.Helper()
					exactly(t, head, "X-Auth-Sub", carol["sub"].(string))
					exactly(t, head, "X-Auth-Email", p.email...)
					absent(t, head, "X-Auth-Roles", "X-Auth-Tenant", "X-Auth-Name")
				})
			}
		})
	}
}

func otherWays(t *testing.T, d *doors) {
	spoof := fieldsOf("X-Auth-Email", "root", "X_Auth_Email", "root", "X.Auth.Sub", "root", "X_Auth_Roles", "admin")
	preflight := with(spoof, "Origin", "https://evil.test", "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "x-auth-email")
	socket := func(more string) [][2]string {
		return with(spoof, "Connection", "Upgrade"+more, "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Origin", "https://gw.test")
	}
	d.each(t, func(t *testing.T, w way) {
		optional := onlyNobody
		if w.cookie != "" {
			optional = onlyAlice
		}
		w.passes(t, request{Target: "/public/x", Lines: spoof}, onlyNobody)
		w.passes(t, request{Target: "/health", Lines: spoof}, onlyNobody)
		w.passes(t, request{Target: "/optional/x", Lines: spoof}, optional)
		w.passes(t, request{Method: "OPTIONS", Target: "/public/x", Lines: preflight}, onlyNobody)
		w.passes(t, request{Method: "OPTIONS", Target: "/optional/x", Lines: preflight}, optional)
		if w.cookie != "" {
			w.passes(t, request{Method: "OPTIONS", Lines: preflight}, onlyAlice)
		} else if a := w.ask(t, request{Method: "OPTIONS", Lines: preflight}); a.Status != http.StatusUnauthorized {
			t.Errorf("preflight: got %s, want 401", a)
		}
		w.nothingReached(t)
		if !w.h2 {
			w.passes(t, request{Target: "/public/socket", Lines: socket("")}, onlyNobody)
			if w.cookie == "" {
				w.denied(t, w.ask(t, request{Target: "/socket", Lines: socket("")}))
			} else {
				head, _ := w.passes(t, request{Target: "/socket", Lines: socket(", X-Auth-Email, X-Auth-Sub")}, onlyAlice)
				exactly(t, head, "Connection", "Upgrade")
				exactly(t, head, "Upgrade", "websocket")
			}
		}
		// Pages of errors, and those of our own, are told of nobody and repeat nothing.
		for target, want := range map[string]int{"/a/%2e%2e/b": 400, "/_portero/nothing": 404, "/_portero/session": 401, "/_portero/healthz": 200} {
			if target == "/_portero/session" && w.cookie != "" {
				want = http.StatusOK
			}
			a := w.ask(t, request{Target: target, Lines: spoof})
			if a.Status != want || strings.Contains(a.Body, "root") {
				t.Errorf("%s: got %s, want %d without what was sent\n%s", target, a, want, a.Body)
			}
			w.nothingReached(t)
		}
		w.Upstream.Say(func(string) string { return "" }, true) // the page that says that the application is away
		a := w.ask(t, request{Target: "/public/x", Lines: spoof})
		if a.Status != http.StatusBadGateway || strings.Contains(a.Body, "root") {
			t.Errorf("the application hangs up: got %s, want 502 without what was sent\n%s", a, a.Body)
		}
		w.Upstream.Say(nil, false)
		for _, head := range w.Upstream.Requests() {
			onlyNobody(t, head)
		}
		w.Upstream.Forget()
	})
}

func bearer(t *testing.T, d *doors) {
	const unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ0OHg0bDhvaHRpMXQiLCJlbWFpbCI6ImFsaWNlQGV4YW1wbGUuY29tIn0."
	d.stranger(t, func(t *testing.T, w way) {
		before := w.Sessions(t)
		for _, lines := range [][][2]string{
			fieldsOf("Authorization", "Bearer x", "X-Auth-Email", "root"),
			fieldsOf("Authorization", "Bearer "+unsigned),
			fieldsOf("Authorization", "Basic cm9vdDpyb290", "X-Auth-Email", "root"),
			fieldsOf("Proxy-Authorization", "Bearer x", "Authorization", "Bearer x", "Authorization", "Bearer y"),
			fieldsOf("Authorization", w.alice),
		} {
			if a := w.ask(t, request{Lines: lines}); a.Status != http.StatusUnauthorized || !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer realm=") {
				t.Errorf("%q: got %s with %q, want 401 with a challenge", lines, a, a.Header.Get("WWW-Authenticate"))
			}
			w.nothingReached(t)
			a := w.ask(t, request{Lines: with(navigation, lines[0][0], lines[0][1])})
			if a.Status != http.StatusFound {
				t.Errorf("%q, by navigation: got %s, want 302", lines, a)
			}
			w.denied(t, a)
		}
		w.rows(t, before)
	})
}

func trailers(t *testing.T, d *doors) {
	announced := fieldsOf("TE", "trailers", "Trailer", "X-Auth-Roles, X-Auth-Sub")
	behind := fieldsOf("X-Auth-Roles", "admin", "X_Auth_Sub", "root", "X-Auth-Email", "root", "Cookie", "a=root")
	d.each(t, func(t *testing.T, w way) {
		for _, q := range []request{
			{Method: "POST", Lines: announced, Body: "abc", Trailers: behind},
			{Method: "POST", Body: "abc", Trailers: behind},
			{Method: "PUT", Lines: fieldsOf("Trailer", "Content-Length"), Body: "abc", Trailers: fieldsOf("X-Auth-Email", "root", "X-Other", "1")},
			{Method: "POST", Lines: announced, Trailers: behind},
		} {
			want := onlyAlice
			q.Target = "/app"
			if w.cookie == "" {
				q.Target, want = "/public/x", onlyNobody
			}
			if len(q.Lines) == 1 && !w.h2 {
				w.refused400(t, q) // no trailer may frame the message (RFC 9110, section 6.5.1)
				continue
			}
			head, rest := w.passes(t, q, want)
			absent(t, head, "TE", "Trailer", "Cookie")
			body := "0\r\n\r\n"
			if q.Body != "" {
				body = "3\r\nabc\r\n" + body
			}
			if rest != body && rest != "" || rest == "" && q.Body != "" {
				t.Errorf("behind the head the upstream got %q, want the body alone", rest)
			}
			if w.cookie == "" {
				q.Target = "/app"
				w.denied(t, w.ask(t, q))
			}
		}
	})
}

func poison(t *testing.T, d *doors) {
	lines := fieldsOf("Proxy", "http://evil", "X-Original-Method", "DELETE", "X-Rewrite-URL", "/admin", "X-Original-URL", "/admin", "X-Original-Host", "evil",
		"X-HTTP-Method-Override", "DELETE", "X-HTTP-Method", "DELETE", "X-Method-Override", "DELETE")
	spelled := fieldsOf("PROXY", "http://evil", "X_Original_URL", "/admin", "X.Rewrite.URL", "/admin", "X_HTTP_Method_Override", "DELETE", "X-Rewrite-Anything", "/admin", "X_Original_URI", "/admin")
	var names []string
	for _, l := range append(lines, spelled...) {
		names = append(names, l[0])
	}
	d.each(t, func(t *testing.T, w way) {
		for _, lines := range [][][2]string{lines, spelled} {
			target, want := "/app", onlyAlice
			if w.cookie == "" {
				target, want = "/public/x", onlyNobody
				w.denied(t, w.ask(t, request{Lines: lines}))
			}
			head, _ := w.passes(t, request{Target: target, Lines: lines}, want)
			absent(t, head, names...)
		}
	})
}

func oddLines(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		target, want := "/app", onlyAlice
		if w.cookie == "" {
			target, want = "/public/x", onlyNobody
		}
		for _, l := range fieldsOf("X-Auth-Email ", "root", "X-Auth-Email\t", "root", "", "root", "X-Auth\x00Email", "root", "X-Auth Email", "root", "X-Auth-Ema\u0131l", "root", "X-Auth(Email)", "root",
			"x-foo", "a\x00x-auth-email: root", "x-foo", "a\rx-auth-email: root", "x-foo", "a\x7fb") {
			w.refused(t, request{Target: target, Lines: fieldsOf(l[0], l[1]), Exact: true})
		}
		if w.h2 {
			for _, l := range fieldsOf("x-foo", "a\r\nx-auth-email: root", "x-foo", "a\nx-auth-email: root", "x-foo: a\r\nx-auth-email", "root", "x-auth-email:", "root", ":x-auth-email", "root", ":path", "/admin") {
				w.refused(t, request{Target: target, Lines: fieldsOf(l[0], l[1]), Exact: true})
			}
			return
		}
		cookie := ""
		if w.cookie != "" {
			cookie = "Cookie: " + w.cookie + "\r\n"
		}
		raw := func(lines string) string { return "GET " + target + " HTTP/1.1\r\n" + lines + cookie + "\r\n" }
		for _, lines := range []string{
			" X-Auth-Email: root\r\nHost: " + w.host + "\r\n", "\tHost: " + w.host + "\r\n", " Host: " + w.host + "\r\nHost: " + w.host + "\r\n",
			"Host: " + w.host + "\r\nX-Auth-Email\r\n",
		} {
			c := w.Dial(t)
			c.Send(raw(lines))
			a := c.Answer("GET")
			if a.Status != http.StatusBadRequest || !a.Close {
				t.Errorf("%q: got %s, connection closed %t; want 400 and the end of the connection", lines, a, a.Close)
			}
			w.nothingReached(t)
			c.Close()
		}
		// Two lines that are one, two that are two, and the next request on the connection.
		c := w.Dial(t)
		c.Send(raw("Host: " + w.host + "\r\nX-Foo: a\r\n X-Auth-Email: root\r\n\tX-Auth-Sub: root\r\n"))
		if a := c.Answer("GET"); a.Status != http.StatusOK {
			t.Fatalf("folded line: got %s, want 200", a)
		}
		head, _ := w.seen(t, want)
		exactly(t, head, "X-Foo", "a X-Auth-Email: root X-Auth-Sub: root")
		c.Send(raw("Host: " + w.host + "\r\nX-Foo: a\nX-Auth-Email: root\r\n"))
		if a := c.Answer("GET"); a.Status != http.StatusOK {
			t.Fatalf("bare line feed: got %s, want 200", a)
		}
		head, _ = w.seen(t, want)
		exactly(t, head, "X-Foo", "a")
	})
}

func responseSide(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		own := w.Cookie()
		w.Upstream.Say(func(string) string {
			return "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nX-Auth-Email: evil\r\nX_Auth_Sub: evil\r\nSet-Cookie: " + own + "=evil\r\nX-Accel-Redirect: /evil\r\n\r\n" +
				"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Auth-Email, X-Sum\r\nX-Auth-Email: evil\r\nX_Auth_Sub: evil\r\nX.Auth.Name: evil\r\nx-auth-tenant: evil\r\nRemote-User: evil\r\nX-Portero-Assertion: evil\r\n" +
				"Set-Cookie: " + own + "=evil; Path=/\r\nSet-Cookie: " + own + "-lang=evil\r\nSet-Cookie: portero-443=evil\r\nSet-Cookie:  " + own + " =evil\r\n" +
				"Set-Cookie: " + own + "-AAAAAAAAAAAAAAAAAAAAAA=evil; Secure\r\nSet-Cookie: =" + own + "=evil\r\nSet-Cookie: " + own + "\r\nSet-Cookie: app=1; Path=/\r\n" +
				"X-Accel-Redirect: /evil\r\nX-Accel-Expires: 3600\r\nX-Accel-Buffering: no\r\nStrict-Transport-Security: max-age=0\r\nX-App: yes\r\n\r\n" +
				"2\r\nok\r\n0\r\nX-Auth-Email: evil\r\nX_Auth_Sub: evil\r\nX-Sum: 7\r\n\r\n"
		}, false)
		defer w.Upstream.Say(nil, false)
		targets := []string{"/public/x", "/optional/x"}
		if w.cookie != "" {
			targets = append(targets, "/app", "/api/x", "/drop/x")
		}
		for _, target := range targets {
			a := w.ask(t, request{Target: target})
			if a.Status != http.StatusOK || a.Body != "ok" || a.Header.Get("X-App") != "yes" || a.Header.Get("X-Accel-Buffering") != "no" || len(a.Informational) != 1 {
				t.Fatalf("%s: got %s with %q and %q after %d, want the application's answer", target, a, a.Body, a.Header, a.Informational)
			}
			for name, values := range a.Header {
				for _, value := range values {
					if strings.Contains(value, "evil") || strings.EqualFold(name, "X-Accel-Expires") {
						t.Errorf("%s: %s: %s left", target, name, value)
					}
				}
			}
			if got := a.Header["Set-Cookie"]; len(got) != 1 || got[0] != "app=1; Path=/" {
				t.Errorf("%s: Set-Cookie: got %q, want the application's own alone", target, got)
			}
			exactlyOne(t, a.Header, "Strict-Transport-Security", "max-age=0")
			if w.h2 {
				continue
			}
			cookie := ""
			if w.cookie != "" {
				cookie = "Cookie: " + w.cookie + "\r\n"
			}
			c := w.Dial(t)
			c.Send("GET " + target + " HTTP/1.1\r\nHost: " + w.host + "\r\n" + cookie + "Connection: close\r\n\r\n")
			all, err := io.ReadAll(c)
			if text := string(all); err != nil || strings.Contains(text, "evil") || !strings.HasPrefix(text, "HTTP/1.1 103 ") || !strings.Contains(text, "X-Sum: 7") {
				t.Errorf("%s: got %q (%v), want hints, answer and trailer without what is the gateway's", target, text, err)
			}
		}
		if w.cookie != "" {
			w.Upstream.Say(nil, false)
			w.Upstream.Forget()
			w.passes(t, request{}, onlyAlice)
		}
		w.Upstream.Forget()
	})
}

// exactlyOne fails unless an answer has one header of that name, with that value.
func exactlyOne(t *testing.T, h http.Header, name, want string) {
	t.Helper()
	if got := h.Values(name); len(got) != 1 || got[0] != want {
		t.Errorf("%s: got %q, want [%q]", name, got, want)
	}
}

func tokensStay(t *testing.T, d *doors) {
	d.signedIn(t, func(t *testing.T, w way) {
		for cookies, want := range map[string][]string{
			"":                {},
			`a=1; b="q;x"; c`: {`a=1; b="q;x"; c`},
		} {
			var lines [][2]string
			if cookies != "" {
				lines = fieldsOf("Cookie", cookies)
			}
			w.ask(t, request{Lines: lines})
			everything := w.Upstream.Bytes()
			head, _ := w.seen(t, onlyAlice)
			absent(t, head, "Authorization", "X-Forwarded-Access-Token", "X-Forwarded-Id-Token", "X-Auth-Request-Access-Token", "Proxy-Authorization")
			exactly(t, head, "Cookie", want...)
			for value, what := range w.Issuer.Secrets() {
				if value != "" && strings.Contains(everything, value) {
					t.Errorf("the %s reached the upstream", what)
				}
			}
		}
	})
}

func authorization(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		pass, drop, want := "/app", "/drop/x", onlyAlice
		if w.cookie == "" {
			pass, drop, want = "/public/x", "", onlyNobody
			w.denied(t, w.ask(t, request{Target: "/drop/x", Lines: fieldsOf("Authorization", "Basic YTpi")}))
		}
		for _, value := range []string{"Basic YTpi", "Bearer abc.def.ghi", "Digest username=\"a\"", "Basic"} {
			head, _ := w.passes(t, request{Target: pass, Lines: fieldsOf("Authorization", value)}, want)
			exactly(t, head, "Authorization", value)
			if drop == "" {
				continue
			}
			head, _ = w.passes(t, request{Target: drop, Lines: fieldsOf("Authorization", value, "authorization", "Basic eDp5")}, want)
			absent(t, head, "Authorization")
		}
		// These sign in a connection that others share.
		for _, value := range []string{"NTLM TlRMTVNTUAAB", "Negotiate YII=", "negotiate YII="} {
			head, _ := w.passes(t, request{Target: pass, Lines: fieldsOf("Authorization", value)}, want)
			absent(t, head, "Authorization")
		}
		head, _ := w.passes(t, request{Target: pass, Lines: fieldsOf("Proxy-Authorization", "Basic YTpi")}, want)
		absent(t, head, "Proxy-Authorization", "Authorization")
	})
}
