package catalogue_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/gatewaytest"
	"portero/internal/redistest"
)

var denials = family{ID: "DN", Title: "Answers to those who are not let in", Attacks: []attack{
	{ID: "DN-01", Name: "denied body", Want: "whatever is wrong with what somebody brings, or with what the gateway stands on, the answer has no byte of the application, and it gets none", Why: "CVE-2025-31492 mod_auth_openidc", Test: deniedBodies},
	{ID: "DN-02", Name: "API or page", Want: "401 with WWW-Authenticate to what is no navigation, no redirect and no sign-in begun", Why: "redirect storms, floods of state cookies", Test: noNavigations},
	{ID: "DN-03", Name: "tokens from the client", Want: "401: tokens open nothing, the issuer's own for Alice neither", Why: "CVE-2022-29226 Envoy", Test: clientTokens},
	{ID: "DN-04", Name: "body of what is denied", Want: "the answer at once, nobody asks for the body or reads it, and a connection with it ends", Test: deniedUploads},
	{ID: "DN-05", Name: "redirect status", Want: "302 with no-store, never one that is kept", Why: "sign-in redirects in caches", Test: redirectStatus},
	{ID: "DN-06", Name: "loop breaker", Want: "whatever keeps a sign-in from lasting, a page says so after a few tries", Test: loops},
}}

// badCookies are Cookie headers that are no session, made of one that is.
func badCookies(name, value string) map[string][]string {
	flipped := strings.Map(func(r rune) rune {
		if r == 'A' {
			return 'B'
		}
		return 'A'
	}, value)
	return map[string][]string{
		"none":                        nil,
		"unknown":                     {name + "=" + flipped},
		"the last character changed":  {name + "=" + value[:len(value)-1] + map[bool]string{true: "Q", false: "A"}[strings.HasSuffix(value, "A")]},
		"too short":                   {name + "=" + value[:42]},
		"too long":                    {name + "=" + value + "A"},
		"empty":                       {name + "="},
		"no equals sign":              {name},
		"nothing but signs":           {"=;;"},
		"bad escapes":                 {name + "=%%%"},
		"escaped":                     {name + "=%" + fmt.Sprintf("%02x", value[0]) + value[1:]},
		"format verbs":                {name + "=%n%s%n%s"},
		"a path":                      {name + "=../../../../etc/passwd"},
		"half of it, quoted":          {name + "=\"" + value[:40] + "\""},
		"beyond ASCII":                {name + "=\xff\xfe\xfd" + value[:40]},
		"8 KiB":                       {name + "=" + strings.Repeat("A", 8<<10)},
		"twice, the good one first":   {name + "=" + value + "; " + name + "=" + flipped},
		"twice, the good one last":    {name + "=" + flipped + "; " + name + "=" + value},
		"in two lines":                {name + "=" + value, name + "=" + value},
		"another case":                {strings.ToUpper(name) + "=" + value},
		"the name without its prefix": {strings.TrimPrefix(name, "__Host-") + "=" + value},
		"another prefix":              {"__Secure-" + strings.TrimPrefix(name, "__Host-") + "=" + value},
		"the name of http":            {"portero-443=" + value},
		"separated by a comma":        {"a=b, " + name + "=" + value},
		"a blank in the name":         {name + " =" + value},
		"an attempt's name":           {name + "-AAAAAAAAAAAAAAAAAAAAAA=" + value},
		"JSON":                        {name + "={\"sub\":\"root\"}"},
	}
}

func deniedBodies(t *testing.T, d *doors) {
	d.stranger(t, func(t *testing.T, w way) {
		rows := w.Sessions(t)
		name, value, _ := strings.Cut(w.alice, "=")
		for what, cookies := range badCookies(name, value) {
			var lines [][2]string
			for _, c := range cookies {
				lines = append(lines, [2]string{"Cookie", c})
			}
			page := w.ask(t, request{Lines: append(slices.Clone(lines), navigation...)})
			script := w.ask(t, request{Lines: append(slices.Clone(lines), [2]string{"Accept", "application/json"})})
			if page.Status != http.StatusFound || script.Status != http.StatusUnauthorized {
				t.Errorf("%s: got %s and %s, want 302 and 401", what, page, script)
			}
			for _, a := range []*gatewaytest.Answer{page, script} {
				w.noSession(t, a)
			}
			w.nothingReached(t)
			if a := w.ask(t, request{Target: "/public/x", Lines: lines}); a.Status != http.StatusOK {
				t.Errorf("%s: public: got %s, want 200", what, a)
				continue
			}
			head, _ := w.reached(t)
			saysNobody(t, head)
			if len(cookies) > 0 && strings.Contains(cookies[0], name+"=") && strings.Contains(strings.Join(fields(head)["cookie"], ""), value) && what != "separated by a comma" {
				t.Errorf("%s: the upstream got a session token: %q", what, head)
			}
		}
		if a := w.ask(t, request{Lines: fieldsOf("X-Session", value, "Authorization", "Bearer "+value, "X-"+name, value)}); a.Status != http.StatusUnauthorized {
			t.Errorf("the token in headers: got %s, want 401", a)
		}
		w.nothingReached(t)
		w.rows(t, rows)
		if a := w.ask(t, request{Lines: fieldsOf("Cookie", w.alice)}); a.Status != http.StatusOK {
			t.Errorf("Alice afterwards: got %s, want 200", a)
		}
	})
	d.stranger(t, func(t *testing.T, w way) { // what else is wrong
		w.newcomer(t)
		p := w.traveller(t)
		seeOther(t, p.get(t, p.leave(t, "/app")), "/app")
		a := p.get(t, "/admin")
		if a.Status != http.StatusForbidden {
			t.Errorf("a role that they have not: got %s, want 403", a)
		}
		if strings.Contains(a.Body, "the application") {
			t.Error("the page has bytes of the application")
		}
		old := p.twin()
		p.post(t, "/sign-out", nil)
		w.denied(t, old.get(t, "/app"))
		w.denied(t, old.send(t, request{Lines: fieldsOf("Accept", "application/json")}))
		w.issuer(t, func(i *gatewaytest.Issuer) {
			i.Answer = func(w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(http.StatusInternalServerError)
				io.WriteString(w, "the application") // of nobody's but the issuer's
				return true
			}
		})
		w.denied(t, w.traveller(t).get(t, "/app"), http.StatusServiceUnavailable)
		w.denied(t, w.traveller(t).send(t, request{Lines: fieldsOf("Accept", "application/json")}))
		for target, status := range map[string]int{"/public/../app": 400, "/app%2f": 400, "/app;x": 400, "//app": 400, "/%61pp%00": 400, "/_portero/app": 404} {
			if a := w.ask(t, request{Target: target, Lines: fieldsOf("Cookie", w.alice)}); a.Status != status {
				t.Errorf("%s: got %s, want %d", target, a, status)
			}
		}
		w.nothingReached(t)
	})
	t.Run("the store is cut off", func(t *testing.T) {
		server := redistest.Start(t)
		proxy := redistest.NewProxy(t, server.Addr)
		f := newFront(t, gatewaytest.Options{TLS: true, Session: fmt.Sprintf("store: redis, secret: %s, redis: {url: %q}", gatewaytest.SessionSecret, "redis://"+proxy.Addr+"/0")})
		proxy.Cut()
		ask := func(h2 bool, lines [][2]string) *gatewaytest.Answer {
			return way{front: f, h2: h2, cookie: f.alice}.ask(t, request{Lines: lines})
		}
		gatewaytest.Await(t, "the gateway notices", func() bool { return ask(false, navigation).Status == http.StatusServiceUnavailable })
		f.Upstream.Forget()
		for range 10 {
			for _, h2 := range []bool{false, true} {
				for _, lines := range [][][2]string{navigation, fieldsOf("Accept", "application/json"), nil} {
					if a := ask(h2, lines); a.Status != http.StatusServiceUnavailable || strings.Contains(a.Body, "the application") {
						t.Errorf("got %s, want 503 without the application", a)
					}
				}
			}
			f.denied(t, way{front: f}.ask(t, request{Lines: navigation}), http.StatusServiceUnavailable)
		}
		f.nothingReached(t)
		proxy.Heal()
		gatewaytest.Await(t, "all is well again", func() bool { return ask(false, navigation).Status == http.StatusOK })
	})
}

// refused401 fails unless an answer is 401 for what is no navigation: no redirect, no cookie, nothing to keep.
func (w way) refused401(t *testing.T, what string, a *gatewaytest.Answer) {
	t.Helper()
	if a.Status != http.StatusUnauthorized {
		t.Errorf("%s: got %s, want 401", what, a)
	}
	for header, want := range map[string]string{
		"Www-Authenticate": `Bearer realm="gw.test"`, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
	} {
		if got := a.Header[header]; len(got) != 1 || got[0] != want {
			t.Errorf("%s: %s: got %q, want %q", what, header, got, want)
		}
	}
	if got := a.Header.Get("Proxy-Status"); !strings.HasPrefix(got, "portero; error=http_request_") {
		t.Errorf("%s: Proxy-Status: got %q, want ours", what, got)
	}
	for _, header := range []string{"Location", "Set-Cookie", "Refresh"} {
		if got := a.Header[header]; len(got) != 0 {
			t.Errorf("%s: %s: got %q, want none", what, header, got)
		}
	}
	w.nothingReached(t)
}

func noNavigations(t *testing.T, d *doors) {
	html := fieldsOf("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	const jsonType, textType, htmlType = "application/json", "text/plain; charset=utf-8", "text/html; charset=utf-8"
	d.stranger(t, func(t *testing.T, w way) {
		begun := len(w.Issuer.Requests())
		for _, tt := range []struct {
			what, method, kind string
			lines              [][2]string
		}{
			{"JSON", "GET", jsonType, fieldsOf("Accept", "application/json")},
			{"JSON before HTML", "GET", jsonType, fieldsOf("Accept", "application/json, text/html;q=0.9")},
			{"any type", "GET", "", fieldsOf("Accept", "*/*")},
			{"no Accept", "GET", textType, nil},
			{"X-Requested-With", "GET", "", with(html, "X-Requested-With", "XMLHttpRequest")},
			{"cors", "GET", "", with(html, "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty")},
			{"no-cors", "GET", "", with(html, "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "script")},
			{"image", "GET", "", fieldsOf("Accept", "image/*", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image")},
			{"image alone", "GET", "", fieldsOf("Accept", "text/html", "Sec-Fetch-Dest", "image")},
			{"object", "GET", "", with(html, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "object")},
			{"worker", "GET", "", with(html, "Sec-Fetch-Mode", "same-origin", "Sec-Fetch-Dest", "serviceworker")},
			{"prefetch", "GET", "", with(navigation, "Sec-Purpose", "prefetch")},
			{"prerender", "GET", "", with(navigation, "Sec-Purpose", "prefetch;prerender")},
			{"old prefetch", "GET", "", with(html, "X-Moz", "prefetch")},
			{"older prefetch", "GET", "", with(html, "Purpose", "prefetch")},
			{"POST", "POST", "", html},
			{"cross-site POST", "POST", "", with(html, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "cross-site")},
			{"form of the same origin", "POST", htmlType, with(html, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "same-origin")},
			{"PUT", "PUT", "", html},
			{"PATCH", "PATCH", "", navigation},
			{"DELETE", "DELETE", "", navigation},
			{"PROPFIND", "PROPFIND", "", navigation},
			{"OPTIONS", "OPTIONS", "", navigation},
			{"preflight", "OPTIONS", "", fieldsOf("Origin", "https://evil.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "x")},
			{"frame", "GET", "", with(html, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Sec-Fetch-Site", "cross-site")},
			{"metadata that contradicts itself", "GET", "", with(html, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "empty")},
			{"metadata that comes twice", "GET", "", with(html, "Sec-Fetch-Mode", "cors", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")},
			{"WebSocket", "GET", "", with(html, "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Origin", w.URL)},
		} {
			if tt.what == "WebSocket" && w.h2 { // HTTP/2 has no Upgrade
				continue
			}
			for _, target := range []string{"/app", "/admin?x"} {
				a := w.ask(t, request{Method: tt.method, Target: target, Lines: tt.lines})
				w.refused401(t, tt.what+" "+target, a)
				if got := a.Header.Get("Content-Type"); tt.kind != "" && got != tt.kind {
					t.Errorf("%s: Content-Type: got %q, want %q", tt.what, got, tt.kind)
				}
				if a.Header.Get("Content-Type") == jsonType && !strings.HasPrefix(a.Body, "{") {
					t.Errorf("%s: got %q, want JSON", tt.what, a.Body)
				}
				if a.Header.Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("%s: another origin may read it", tt.what)
				}
			}
		}
		if got := len(w.Issuer.Requests()) - begun; got != 0 {
			t.Errorf("authorization requests: got %d, want none", got)
		}
	})
}

func clientTokens(t *testing.T, d *doors) {
	d.stranger(t, func(t *testing.T, w way) {
		tokens := map[string]string{"a word": "x", "nobody's": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0."}
		for value, what := range w.Issuer.Secrets() { // Alice's, which the issuer made and signed
			tokens["the "+what+" of Alice"] = value
		}
		_, tokens["the session token"], _ = strings.Cut(w.alice, "=")
		for what, token := range tokens {
			for _, q := range []request{
				{Lines: fieldsOf("Authorization", "Bearer "+token)},
				{Lines: fieldsOf("Authorization", "Basic "+token)},
				{Lines: fieldsOf("Authorization", "DPoP "+token, "Proxy-Authorization", "Bearer "+token)},
				{Lines: fieldsOf("X-Access-Token", token, "X-Forwarded-Access-Token", token, "X-Auth-Request-Access-Token", token, "X-Id-Token", token, "X-Auth-Token", token,
					"X-Portero-Assertion", token, "X-Pomerium-Jwt-Assertion", token, "X-Forwarded-User", token, "X-Api-Key", token)},
				{Target: "/app?access_token=" + token + "&id_token=" + token + "&token=" + token + "&jwt=" + token},
				{Method: "POST", Body: "access_token=" + token, Lines: fieldsOf("Content-Type", "application/x-www-form-urlencoded")},
				{Lines: fieldsOf("Cookie", "access_token="+token+"; id_token="+token+"; token="+token+"; BearerToken="+token+"; IdToken="+token+"; _oauth2_proxy="+token)},
				{Lines: fieldsOf("Sec-WebSocket-Protocol", "bearer, "+token)},
			} {
				w.refused401(t, what, w.ask(t, q))
			}
		}
	})
}

func deniedUploads(t *testing.T, d *doors) {
	const gigabyte = "1073741824"
	d.stranger(t, func(t *testing.T, w way) {
		if w.h2 {
			return
		}
		for _, tt := range []struct {
			name, method, target, cookie string
			lines                        [][2]string
			status                       int
		}{
			{"1 GB", "POST", "/app", "", fieldsOf("Content-Length", gigabyte), 401},
			{"1 GB, PUT", "PUT", "/app", "", fieldsOf("Content-Length", gigabyte), 401},
			{"a few bytes", "POST", "/app", "", fieldsOf("Content-Length", "10"), 401},
			{"chunked", "POST", "/app", "", fieldsOf("Transfer-Encoding", "chunked"), 401},
			{"waiting for leave", "POST", "/app", "", fieldsOf("Content-Length", gigabyte, "Expect", "100-continue"), 401},
			{"a cookie that is no session", "POST", "/app", w.Cookie() + "=x", fieldsOf("Content-Length", gigabyte), 401},
			{"a path that is refused", "POST", "/public/../x", "", fieldsOf("Content-Length", "10"), 400},
			{"a method that is none", "FOO", "/public/x", "", fieldsOf("Content-Length", "10"), 405},
			{"a navigation with a body", "GET", "/app", "", with(navigation, "Content-Length", "10"), 302},
			{"a navigation with a chunked body", "GET", "/app", "", with(navigation, "Transfer-Encoding", "chunked"), 302},
			{"a page of ours", "GET", "/_portero/", "", with(navigation, "Content-Length", "10"), 200},
			{"a redirect of ours", "GET", "/sign-in", "", with(navigation, "Content-Length", "10"), 302},
			{"signed in already", "GET", "/sign-in", w.alice, with(navigation, "Content-Length", "10"), 303},
			{"healthz", "GET", "/_portero/healthz", "", fieldsOf("Content-Length", "10"), 200},
			{"about the gateway as a whole", "OPTIONS", "*", "", fieldsOf("Content-Length", "10"), 204},
			{"another host", "POST", "/app", "", fieldsOf("Content-Length", gigabyte), 401},
		} {
			c := w.Dial(t)
			if tt.cookie != "" {
				tt.lines = with(tt.lines, "Cookie", tt.cookie)
			}
			began := time.Now()
			c.Send(request{Method: tt.method, Target: tt.target, Lines: tt.lines}.text(w.host))
			a := c.Answer(tt.method)
			if a.Status != tt.status || time.Since(began) > 10*time.Second {
				t.Errorf("%s: got %s after %s, want %d at once", tt.name, a, time.Since(began), tt.status)
			}
			if len(a.Informational) != 0 {
				t.Errorf("%s: got %v before the answer, want nobody asked for the body", tt.name, a.Informational)
			}
			if !a.Close {
				t.Errorf("%s: the connection stays open, with a body on it that nobody reads", tt.name)
			}
			c.Send("GET /public/smuggled HTTP/1.1\r\nHost: " + w.host + "\r\n\r\n") // as if it were the body
			if b := c.Answer("GET"); b.Status != 0 {
				t.Errorf("%s: what came behind was answered with %s", tt.name, b)
			}
			w.nothingReached(t)
		}
	})
	t.Run("HTTP 2", func(t *testing.T) { // streams end one by one; the connection goes on
		f := d.TLS()
		f.Upstream.Forget()
		client := f.http2Client(t)
		for _, method := range []string{"POST", "PUT"} {
			body := &endless{left: 1 << 30}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			r, err := http.NewRequestWithContext(ctx, method, f.URL+"/app", body)
			if err != nil {
				t.Fatal(err)
			}
			r.ContentLength = body.left
			resp, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != http.StatusUnauthorized || resp.ProtoMajor != 2 {
				t.Errorf("%s: got %s over %s, want 401", method, resp.Status, resp.Proto)
			}
			resp.Body.Close()
			cancel()
			const most = 4 << 20 // what fits into windows and buffers
			if got := body.taken.Load(); got > most {
				t.Errorf("%s: %d bytes of the body were taken, want %d at most", method, got, most)
			}
			f.nothingReached(t)
		}
		resp, err := client.Get(f.URL + "/public/x")
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("the same connection afterwards: got %v %v, want 200", resp, err)
		}
		resp.Body.Close()
	})
}

// endless is a body that counts what was taken of it.
type endless struct {
	left  int64
	taken atomic.Int64
}

func (b *endless) Read(p []byte) (int, error) {
	if b.taken.Add(int64(len(p))) > b.left {
		return 0, io.EOF
	}
	return len(p), nil
}

func redirectStatus(t *testing.T, d *doors) {
	d.stranger(t, func(t *testing.T, w way) {
		for _, method := range []string{"GET", "HEAD"} {
			for _, target := range []string{"/app", "/", "/admin?x", "/api/x", "/sign-in", "/sign-in?fresh=1", "/_portero/sign-in", "/_portero/continue", "/%C3%A9?q=%20"} {
				a := w.ask(t, request{Method: method, Target: target, Lines: navigation})
				if target == "/_portero/continue" { // which asks first
					if a.Status != http.StatusOK || a.Header.Get("Cache-Control") != "no-store" {
						t.Errorf("%s %s: got %s, want 200", method, target, a)
					}
					continue
				}
				w.toIssuer(t, a)
				if a.Body != "" || a.Header.Get("Expires") != "" || a.Header.Get("Etag") != "" || a.Header.Get("Last-Modified") != "" {
					t.Errorf("%s %s: got %d bytes and %v, want nothing to keep", method, target, len(a.Body), a.Header)
				}
			}
		}
		w.nothingReached(t)
	})
	d.signedIn(t, func(t *testing.T, w way) {
		seeOther(t, w.ask(t, request{Target: "/sign-in?return_to=/app", Lines: navigation}), "/app")
	})
}

func loops(t *testing.T, d *doors) {
	const mostRequests, mostRedirects = 4, 30
	keepsNothing := func(p *traveller) { clear(p.cookies) }
	keepsNoSession := func(p *traveller) { delete(p.cookies, p.Cookie()) }
	d.stranger(t, func(t *testing.T, w way) {
		for _, tt := range []struct {
			name    string
			issuer  func(*gatewaytest.Issuer)
			between func(*traveller) // after every answer
			status  int
			heading string
		}{
			{name: "the issuer refuses", issuer: func(i *gatewaytest.Issuer) { i.AuthError = "access_denied" }, status: 400, heading: headFailed},
			{name: "the issuer asks to sign in again and again", issuer: func(i *gatewaytest.Issuer) { i.AuthError = "login_required" }, status: 400, heading: headFailed},
			{name: "the issuer is broken", issuer: func(i *gatewaytest.Issuer) { i.AuthError = "server_error" }, status: 503, heading: headUnavailable},
			{name: "no code is ever good", issuer: func(i *gatewaytest.Issuer) {
				i.Answer = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path != "/oidc/token" {
						return false
					}
					gatewaytest.Refuse(w, http.StatusBadRequest, "invalid_grant")
					return true
				}
			}, status: 400, heading: headFailed},
			{name: "no cookie is kept", between: keepsNothing, status: 400, heading: headNoCookies},
			{name: "the session cookie is not kept", between: keepsNoSession, status: 400, heading: headFailed},
			{name: "the clock of the issuer is wrong", issuer: func(i *gatewaytest.Issuer) {
				i.Edit = func(claims map[string]any) {
					claims["exp"], claims["iat"] = time.Now().Add(-2*time.Hour).Unix(), time.Now().Add(-3*time.Hour).Unix()
				}
			}, status: 400, heading: headFailed},
			{name: "a sign-in that is always too old", issuer: func(i *gatewaytest.Issuer) { i.AuthTime = time.Now().Add(-30 * 24 * time.Hour) }, status: 400, heading: headFailed},
		} {
			t.Run(tt.name, func(t *testing.T) {
				if tt.issuer != nil {
					w.issuer(t, tt.issuer)
				}
				before := len(w.Issuer.Requests())
				p := w.traveller(t)
				a := p.get(t, "/app")
				for n := 0; a.Status >= 300 && a.Status < 400; n++ {
					if n == mostRedirects {
						t.Fatalf("still going round after %d redirects", n)
					}
					if tt.between != nil {
						tt.between(p)
					}
					target := a.Header.Get("Location")
					if strings.HasPrefix(target, w.Issuer.URL) {
						target = p.atIssuer(t, a)
					}
					a = p.get(t, target)
				}
				shows(t, a, tt.status, tt.heading)
				if got := len(w.Issuer.Requests()) - before; got > mostRequests {
					t.Errorf("authorization requests: got %d, want %d at most", got, mostRequests)
				}
				w.nothingReached(t)
			})
		}
	})
}
