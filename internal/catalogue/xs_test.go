package catalogue_test

import (
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"portero/internal/gatewaytest"
)

var ownPages = family{ID: "XS", Title: "Pages of the gateway's own", Attacks: []attack{
	{ID: "XS-01", Name: "error parameters", Want: "a page that shows and links nothing of them", Why: "CVE-2017-6059 mod_auth_openidc", Test: errorParameters},
	{ID: "XS-02", Name: "headers of every page", Want: "a policy that runs nothing and frames nothing, nosniff, no-store, no referrer; an application's answers get none of these", Why: "clickjacking", Test: pageHeaders},
	{ID: "XS-03", Name: "the template", Want: "what comes from anywhere stands only where text and attributes are escaped: none in scripts, styles or refreshes", Why: "seven flaws of html/template", Test: pageTemplate},
	{ID: "XS-04", Name: "reflected path and host", Want: "neither is shown, whatever the status", Test: reflections},
	{ID: "XS-05", Name: "form fields", Want: "a return path with quotes stays inside its field", Test: formFields},
	{ID: "XS-06", Name: "content type", Want: "every answer of ours has its type and nosniff, JSON is never text/html; what net/http refuses by itself is plain text that repeats nothing", Test: contentTypes},
}}

// hostile is what an attacker would like to see on a page of ours.
const hostile = `"><script>alert(1)</script><img src=x onerror=alert(2)>`

// deadRoute has nobody behind it.
const deadRoute = `  - {name: dead, path: /dead, access: public, paths: strict, upstreams: [{url: "http://127.0.0.1:1"}]}
`

// pageDoors are the doors of this family, which have that route too.
func pageDoors(d *doors) *doors {
	if d.tls == nil {
		d.tls = newFront(d.t, gatewaytest.Options{TLS: true, Routes: strict + deadRoute})
		d.plain = newFront(d.t, gatewaytest.Options{Routes: strict + deadRoute})
	}
	return d
}

// harmless fails when a page has anything that runs, or an address that does.
func harmless(t *testing.T, what, text string) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch n.Data {
		case "script", "iframe", "object", "embed", "base", "svg", "math", "template", "img":
			t.Errorf("%s: the page has a %s element", what, n.Data)
		}
		for _, a := range n.Attr {
			value := strings.ToLower(strings.TrimSpace(a.Val))
			switch {
			case strings.HasPrefix(a.Key, "on"), a.Key == "style", a.Key == "srcdoc":
				t.Errorf("%s: the page has %s=%q on a %s", what, a.Key, a.Val, n.Data)
			case strings.HasPrefix(value, "javascript:"), strings.HasPrefix(value, "data:"), strings.HasPrefix(value, "vbscript:"):
				t.Errorf("%s: the page has %s=%q", what, a.Key, a.Val)
			case a.Key == "http-equiv":
				t.Errorf("%s: the page has a meta http-equiv %q", what, a.Val)
			}
		}
	}
}

func errorParameters(t *testing.T, d *doors) {
	pageDoors(d).stranger(t, func(t *testing.T, w way) {
		for _, name := range []string{"error", "error_description", "error_uri", "iss", "state", "code", "unknown"} {
			for _, value := range []string{hostile, "javascript:alert(1)", "https://evil.test/", "<svg/onload=1>\r\nX: y", "\u202eevil", "{{.}}", "<evil", "evil\x00"} {
				q := url.Values{"state": {"x"}, "error": {"access_denied"}}
				q.Set(name, value)
				forged := w.ask(t, request{Target: "/callback?" + q.Encode(), Lines: navigation})

				p := w.traveller(t) // the same with a state of ours
				back := p.leave(t, "/app")
				q.Set("iss", w.Issuer.URL+"/oidc")
				if name != "state" {
					q.Set("state", queryOf(t, back).Get("state"))
				}
				q.Set(name, q.Get(name))
				if name == "iss" || name == "code" {
					q.Set(name, value)
				}
				authentic := p.get(t, "/callback?"+q.Encode())
				for how, a := range map[string]*gatewaytest.Answer{"state not ours": forged, "state of ours": authentic} {
					what := name + " " + value + ", " + how
					if a.Status != http.StatusBadRequest || a.Header.Get("X") != "" || a.Header.Get("Location") != "" {
						t.Errorf("%s: got %s with the headers %v, want 400", what, a, a.Header)
					}
					harmless(t, what, a.Body)
					for _, bad := range []string{"evil", "alert(1)", "onload", "<svg", "{{", "access_denied"} {
						if strings.Contains(a.Body, bad) {
							t.Errorf("%s: the page has %q\n%s", what, bad, a.Body)
						}
					}
				}
			}
		}
		w.nothingReached(t)
	})
}

// everyPage gets every page of ours that a person can come to, by what they did; mallory is signed in and has no role.
func everyPage(t *testing.T, w way, mallory *traveller) map[string]*gatewaytest.Answer {
	t.Helper()
	get := func(target string) *gatewaytest.Answer { return w.ask(t, request{Target: target, Lines: navigation}) }
	hers := func(target string) *gatewaytest.Answer {
		return w.ask(t, request{Target: target, Lines: with(navigation, "Cookie", w.alice)})
	}
	say := func(method, target string, lines ...string) *gatewaytest.Answer {
		return w.ask(t, request{Method: method, Target: target, Lines: fieldsOf(lines...)})
	}
	out := map[string]*gatewaytest.Answer{
		"sign-in-failed":     get("/callback"),
		"not-found":          get("/_portero/nothing"),
		"bad-request":        get("/public/../x"),
		"method":             say("POST", "/callback", "Accept", "text/html"),
		"unknown method":     say("FOO", "/app", "Accept", "text/html"),
		"unknown-host":       w.ask(t, request{Host: "evil.test", Lines: navigation}),
		"bad host":           w.ask(t, request{Host: "localhost:port", Lines: navigation}),
		"denied":             mallory.get(t, "/admin"),
		"sign-out":           hers("/sign-out"),
		"sign-out, stranger": get("/sign-out"),
		"signed-out":         get("/_portero/signed-out"),
		"account":            hers("/_portero/"),
		"account, mallory":   mallory.get(t, "/_portero/"),
		"account, stranger":  get("/_portero/"),
		"signed-in":          hers("/_portero/signed-in"),
		"continue":           get("/_portero/continue"),
		"form-not-sent":      say("POST", "/save", "Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "same-origin"),
		"form too large": w.ask(t, request{Method: "POST", Target: "/sign-out", Body: strings.Repeat("a", 65<<10), Lines: fieldsOf("Accept", "text/html", "Content-Type", "application/x-www-form-urlencoded",
			"Sec-Fetch-Site", "same-origin")}),
		"framed":            say("GET", "/app", "Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Sec-Fetch-Site", "same-origin"),
		"app-unavailable":   get("/dead"),
		"401 for HTML":      say("POST", "/app", "Accept", "text/html"),
		"401 for JSON":      say("GET", "/app", "Accept", "application/json"),
		"401 for text":      say("GET", "/app"),
		"session":           hers("/_portero/session"),
		"session, stranger": get("/_portero/session"),
		"404 for JSON":      say("GET", "/_portero/nothing", "Accept", "application/json"),
		"404 for text":      say("GET", "/_portero/nothing", "Accept", "image/png"),
		"502 for JSON":      say("GET", "/dead", "Accept", "application/json"),
		"502 for text":      say("GET", "/dead", "Accept", "image/png"),
	}
	p := w.traveller(t)
	back := p.leave(t, "/app")
	early := p.twin()
	w.issuer(t, func(i *gatewaytest.Issuer) {
		i.Answer = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/oidc/token" {
				w.WriteHeader(http.StatusServiceUnavailable)
				return true
			}
			return false
		}
	})
	out["sign-in-unavailable"] = p.get(t, back)
	out["waiting"] = early.get(t, back)
	lost := w.traveller(t)
	again := lost.atIssuer(t, lost.get(t, back))
	lost.forgetAttempts()
	out["no-cookies"] = lost.get(t, again)
	return out
}

// pageStatuses are the statuses of these pages; all others are shown with 200.
var pageStatuses = map[string]int{
	"sign-in-failed": 400, "not-found": 404, "bad-request": 400, "method": 405, "unknown method": 405, "unknown-host": 421, "bad host": 400, "denied": 403,
	"form-not-sent": 401, "form too large": 413, "framed": 401, "app-unavailable": 502, "401 for HTML": 401, "401 for JSON": 401, "401 for text": 401, "session, stranger": 401,
	"404 for JSON": 404, "404 for text": 404, "502 for JSON": 502, "502 for text": 502, "sign-in-unavailable": 503, "no-cookies": 400,
}

var pagePolicy = regexp.MustCompile(`^default-src 'none'; style-src 'sha256-[A-Za-z0-9+/=]+'; img-src 'self'; form-action 'self'( https?://[a-z0-9.:]+)*; base-uri 'none'; frame-ancestors '(none|self)'$`)

func pageHeaders(t *testing.T, d *doors) {
	pageDoors(d).stranger(t, func(t *testing.T, w way) {
		w.newcomer(t)
		w.issuer(t, func(i *gatewaytest.Issuer) { i.Person["name"], i.Person["username"] = hostile, hostile })
		mallory := w.traveller(t)
		seeOther(t, mallory.get(t, mallory.leave(t, "/app")), "/app")
		for name, a := range everyPage(t, w, mallory) {
			status := pageStatuses[name]
			if status == 0 {
				status = http.StatusOK
			}
			if a.Status != status {
				t.Errorf("%s: got %s, want %d\n%s", name, a, status, a.Body)
			}
			kind := kindOf(name)
			want := map[string]string{"Content-Type": kind, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
			if !strings.HasPrefix(name, "session") {
				want["Cross-Origin-Opener-Policy"], want["Referrer-Policy"], want["X-Robots-Tag"] = "same-origin", "no-referrer", "noindex"
				if strings.HasPrefix(name, "sign-out") || strings.HasPrefix(name, "account") || name == "continue" {
					want["Referrer-Policy"] = "same-origin" // so that the form behind it has an Origin
				}
				if name != "framed" {
					want["X-Frame-Options"] = "DENY"
				}
				if csp := a.Header["Content-Security-Policy"]; len(csp) != 1 || !pagePolicy.MatchString(csp[0]) || strings.Contains(csp[0], "frame-ancestors 'self'") != (name == "framed") {
					t.Errorf("%s: Content-Security-Policy: got %q", name, csp)
				}
			}
			for header, value := range want {
				if got := a.Header[header]; len(got) != 1 || got[0] != value {
					t.Errorf("%s: %s: got %q, want %q", name, header, got, value)
				}
			}
			for _, header := range []string{"Access-Control-Allow-Origin", "Server", "X-Powered-By", "Etag", "Last-Modified"} {
				if got := a.Header[header]; len(got) != 0 {
					t.Errorf("%s: %s: got %q, want none", name, header, got)
				}
			}
			if kind != "application/json" {
				harmless(t, name, a.Body)
			}
		}
		w.nothingReached(t)
		for _, target := range []string{"/app", "/public/x"} { // an application's answers are its own
			a := w.ask(t, request{Target: target, Lines: with(navigation, "Cookie", w.alice)})
			for _, header := range []string{"Content-Security-Policy", "X-Frame-Options", "Cross-Origin-Opener-Policy", "Referrer-Policy", "X-Content-Type-Options", "X-Robots-Tag", "Proxy-Status"} {
				if got := a.Header[header]; len(got) != 0 || a.Status != http.StatusOK {
					t.Errorf("%s: got %s with %s %q, want 200 and none", target, a, header, got)
				}
			}
		}
	})
}

// kindOf is the type of a page of everyPage.
func kindOf(name string) string {
	switch {
	case strings.HasSuffix(name, "for JSON"), strings.HasPrefix(name, "session"):
		return "application/json"
	case strings.HasSuffix(name, "for text"):
		return "text/plain; charset=utf-8"
	}
	return "text/html; charset=utf-8"
}

func pageTemplate(t *testing.T, _ *doors) {
	text, err := os.ReadFile("../page/page.html")
	if err != nil {
		t.Fatal(err)
	}
	for what, pattern := range map[string]string{
		"a script":                     `(?i)<script`,
		"a handler":                    `(?i)\son[a-z]+\s*=`,
		"a style attribute":            `(?i)\sstyle\s*=`,
		"a refresh":                    `(?i)http-equiv`,
		"a comment":                    `<!--`,
		"an unquoted attribute":        `=\{\{`,
		"a name of an attribute":       `<[a-z]+\s+\{\{[^}]*\}\}=`,
		"data in the style sheet":      `(?s)<style>.*\{\{[^}]*\}\}.*\{\{[^}]*\}\}.*</style>`,
		"a frame or an object":         `(?i)<(iframe|object|embed|base|svg|math|template)`,
		"something that leaves a page": `(?i)(src|href|action)="(https?:)?//`,
	} {
		if found := regexp.MustCompile(pattern).FindString(string(text)); found != "" {
			t.Errorf("the template has %s: %q", what, found)
		}
	}
	if !strings.Contains(string(text), "{{") {
		t.Error("that is no template")
	}
}

func reflections(t *testing.T, d *doors) {
	encoded := url.PathEscape(strings.ReplaceAll(hostile, "/", ""))
	query := "?q=" + encoded + "&" + gatewaytest.Canary + "name=" + encoded
	pageDoors(d).each(t, func(t *testing.T, w way) {
		for _, tt := range []struct {
			name, target, host string
			status             int
		}{
			{"raw", "/<script>alert(1)</script>", "", 400},
			{"raw quotes", `/public/"onload="alert(1)`, "", 400},
			{"404", "/_portero/" + encoded, "", 404},
			{"404 with a query", "/_portero/nothing" + query, "", 404},
			{"400", "/public/..%2f" + encoded, "", 400},
			{"400 with a key", "/wiki//" + encoded, "", 400},
			{"400 with a query", "/public/..%2f" + query, "", 400},
			{"405", "/callback?q=" + encoded, "", 405},
			{"502", "/dead/" + encoded + "?q=" + encoded, "", 502},
			{"host", "/", "evil.test", 421},
			{"host with markup", "/", hostile, 400},
			{"host with markup and port", "/", "<b>:80", 400},
			{"host with letters for markup", "/", "alert-1.evil.test", 421},
			{"host with a path", "/", "gw.test/<script>", 400},
		} {
			method := map[bool]string{true: "PUT"}[tt.status == http.StatusMethodNotAllowed]
			for _, lines := range [][][2]string{navigation, fieldsOf("Accept", "application/json"), fieldsOf("Accept", "image/png")} {
				a := w.ask(t, request{Method: method, Target: tt.target, Host: tt.host, Lines: lines})
				if a.Status != tt.status && (a.Status != 0 || !w.h2) { // HTTP/2 resets a stream whose pseudo-fields are none
					t.Errorf("%s: got %s, want %d", tt.name, a, tt.status)
				}
				harmless(t, tt.name, a.Body)
				for _, bad := range []string{"<script", "alert(1)<", "<img", "evil.test", "<b>", `"onload`} {
					if strings.Contains(a.Body, bad) {
						t.Errorf("%s: the answer has %q\n%s", tt.name, bad, a.Body)
					}
				}
			}
		}
		w.nothingReached(t)
	})
	d.stranger(t, func(t *testing.T, w way) { // where it is sent on to
		a := w.ask(t, request{Target: "/" + encoded + "?q=" + encoded, Lines: navigation})
		w.toIssuer(t, a)
		if strings.ContainsAny(a.Header.Get("Location"), `<>"`) || strings.Contains(a.Header.Get("Location"), "alert") || a.Body != "" {
			t.Errorf("Location: got %q, want nothing of the address", a.Header.Get("Location"))
		}
	})
}

func formFields(t *testing.T, d *doors) {
	pageDoors(d).each(t, func(t *testing.T, w way) {
		for _, value := range []string{`/a"b`, `/"><script>alert(1)</script>`, `/'onfocus='alert(1)`, "/`", "/x?a=\"><img src=x onerror=alert(1)>", "/{{.}}", "/x#\"><script>", "/x?a=&#34;><script>", "/x?a=%22%3E%3Cscript%3E",
			"javascript:alert(1)", "\"autofocus onfocus=alert(1) x=\""} {
			for _, target := range []string{"/sign-out?", "/_portero/sign-out?", "/_portero/signed-out?", "/_portero/?"} {
				a := w.ask(t, request{Target: target + url.Values{"return_to": {value}, "rd": {value}, "state": {value}, "lang": {value}}.Encode(), Lines: navigation})
				if a.Status != http.StatusOK && a.Status != http.StatusSeeOther {
					t.Fatalf("%s%s: got %s, want 200", target, value, a)
				}
				harmless(t, target+value, a.Body)
				root, err := html.Parse(strings.NewReader(a.Body))
				if err != nil {
					t.Fatal(err)
				}
				for n := range root.Descendants() { // what a field holds is a path of ours, as a browser reads it
					if n.Type != html.ElementNode || n.Data != "input" {
						continue
					}
					for _, attr := range n.Attr {
						if !slices.Contains([]string{"type", "name", "value"}, attr.Key) {
							t.Errorf("%s%s: a field has the attribute %s", target, value, attr.Key)
						}
						if attr.Key == "value" && strings.HasPrefix(attr.Val, "/") && strings.ContainsAny(attr.Val, "\"<>`") {
							t.Errorf("%s%s: a field has %q", target, value, attr.Val)
						}
					}
				}
			}
		}
	})
}

func contentTypes(t *testing.T, d *doors) {
	pageDoors(d).stranger(t, func(t *testing.T, w way) {
		more := map[string]*gatewaytest.Answer{
			"healthz":                     w.ask(t, request{Target: "/_portero/healthz"}),
			"405 healthz":                 w.ask(t, request{Method: "POST", Target: "/_portero/healthz"}),
			"logout token that is none":   w.ask(t, request{Method: "POST", Target: "/_portero/backchannel-logout", Body: "logout_token=x", Lines: fieldsOf("Content-Type", "application/x-www-form-urlencoded")}),
			"logout token as JSON":        w.ask(t, request{Method: "POST", Target: "/_portero/backchannel-logout", Body: "{}", Lines: fieldsOf("Content-Type", "application/json")}),
			"405 for logout tokens":       w.ask(t, request{Target: "/_portero/backchannel-logout", Lines: navigation}),
			"asset that is none":          w.ask(t, request{Target: "/_portero/assets/x.js"}),
			"401 for */*":                 w.ask(t, request{Lines: fieldsOf("Accept", "*/*")}),
			"a type of the client's own":  w.ask(t, request{Lines: fieldsOf("Accept", "text/html;charset=utf-7,application/json;q=0.9", "X-Requested-With", "x")}),
			"a type with markup":          w.ask(t, request{Lines: fieldsOf("Accept", "<script>alert(1)</script>")}),
			"403 of a socket's page":      w.ask(t, request{Method: "OPTIONS", Target: "/_portero/session"}),
			"sessions/end without origin": w.ask(t, request{Method: "POST", Target: "/_portero/sessions/end"}),
		}
		mallory := w.traveller(t)
		w.newcomer(t)
		seeOther(t, mallory.get(t, mallory.leave(t, "/app")), "/app")
		maps.Copy(more, everyPage(t, w, mallory))
		types := []string{"text/html; charset=utf-8", "application/json", "text/plain; charset=utf-8"}
		for name, a := range more {
			got := a.Header["Content-Type"]
			if len(got) != 1 || !slices.Contains(types, got[0]) {
				t.Errorf("%s: %s: Content-Type: got %q, want one of %q", name, a, got, types)
				continue
			}
			if sniff := a.Header["X-Content-Type-Options"]; len(sniff) != 1 || sniff[0] != "nosniff" {
				t.Errorf("%s: %s: X-Content-Type-Options: got %q, want nosniff", name, a, sniff)
			}
			body := strings.TrimSpace(a.Body)
			if isJSON, isHTML := strings.HasPrefix(body, "{"), strings.HasPrefix(body, "<"); isJSON != (got[0] == types[1]) || isHTML != (got[0] == types[0]) {
				t.Errorf("%s: the type is %s, and the body begins with %.20q", name, got[0], body)
			}
		}
	})
	// What net/http refuses before we see it has a type, and repeats nothing; our headers it cannot have.
	for _, f := range []*front{d.TLS(), d.Plain()} {
		for name, tt := range map[string]struct {
			text, body string
			status     int
		}{
			"no host":           {"GET /app HTTP/1.1\r\n\r\n", "400 Bad Request: missing required Host header", 400},
			"two hosts":         {"GET /app HTTP/1.1\r\nHost: gw.test\r\nHost: <script>\r\n\r\n", "400 Bad Request", 400},
			"host with markup":  {"GET /app HTTP/1.1\r\nHost: <script>\r\n\r\n", "400 Bad Request: malformed Host header", 400},
			"no request":        {"<script>alert(1)</script>\r\n\r\n", "400 Bad Request", 400},
			"header with blank": {"GET /app HTTP/1.1\r\nHost: gw.test\r\n<script> : x\r\n\r\n", "400 Bad Request", 400},
			"coding unknown":    {"POST /app HTTP/1.1\r\nHost: gw.test\r\nTransfer-Encoding: <script>\r\n\r\n", "Unsupported transfer encoding", 501},
			"version":           {"GET /app HTTP/3.7\r\nHost: gw.test\r\n\r\n", "505 HTTP Version Not Supported: unsupported protocol version", 505},
			"head too large":    {"GET /app HTTP/1.1\r\nHost: gw.test\r\nX: " + strings.Repeat("<", 80<<10) + "\r\n\r\n", "431 Request Header Fields Too Large", 431},
		} {
			a := f.Raw(t, tt.text)
			if a.Status != tt.status || strings.TrimSpace(a.Body) != tt.body || strings.Contains(a.Body, "script") {
				t.Errorf("%s: got %s %q, want %d %q", name, a, a.Body, tt.status, tt.body)
			}
			if got := a.Header.Get("Content-Type"); got != "text/plain; charset=utf-8" && tt.status != 501 {
				t.Errorf("%s: Content-Type: got %q, want plain text", name, got)
			}
			if !a.Close || len(a.Header["X-Content-Type-Options"]) != 0 || len(a.Header["Set-Cookie"]) != 0 {
				t.Errorf("%s: got the headers %v, want net/http's own and the connection closed", name, a.Header)
			}
		}
		f.nothingReached(t)
	}
}
