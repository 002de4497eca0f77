package gateway_test

import (
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"portero/internal/gatewaytest"
)

// hostile is what an attacker would like to see on a page of ours.
const hostile = `"><script>alert(1)</script><img src=x onerror=alert(2)>`

// clean fails when a page has anything that runs, or an address that is none of ours, of our issuer or of a mail program.
func (f *front) clean(t *testing.T, text string) {
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
		case "script", "iframe", "object", "embed", "base", "svg", "math", "template":
			t.Errorf("the page has a %s element", n.Data)
		}
		for _, a := range n.Attr {
			value := strings.ToLower(strings.TrimSpace(a.Val))
			switch {
			case strings.HasPrefix(a.Key, "on"), a.Key == "style", a.Key == "srcdoc":
				t.Errorf("the page has %s=%q on a %s", a.Key, a.Val, n.Data)
			case strings.HasPrefix(value, "javascript:"), strings.HasPrefix(value, "data:"), strings.HasPrefix(value, "vbscript:"):
				t.Errorf("the page has %s=%q", a.Key, a.Val)
			case a.Key == "http-equiv":
				t.Errorf("the page has a meta http-equiv %q", a.Val)
			}
		}
	}
}

// XS-01: nothing of what comes back with an error is shown as markup or linked.
func TestSecurityErrorParameters(t *testing.T) {
	t.Parallel()
	f := newFront(t, gatewaytest.Options{})
	for _, name := range []string{"error", "error_description", "error_uri", "iss", "state", "code"} {
		for _, value := range []string{hostile, "javascript:alert(1)", "https://evil.test/", "<svg/onload=1>\r\nX: y", "\u202eevil"} {
			t.Run("XS-01 "+name+" "+value, func(t *testing.T) {
				q := url.Values{"state": {"x"}, "error": {"access_denied"}}
				q.Set(name, value)
				forged := f.get(t, "/callback?"+q.Encode(), "")

				b := f.Browser(t) // the same with a state of ours
				asked, err := url.Parse(b.Get(f.URL + "/app").Location())
				if err != nil {
					t.Fatal(err)
				}
				q.Set("iss", f.Issuer.URL+"/oidc")
				if name != "state" {
					q.Set("state", asked.Query().Get("state"))
				}
				if name == "iss" || name == "code" {
					q.Set(name, value)
				}
				authentic := b.Get(f.URL + "/callback?" + q.Encode())
				for how, text := range map[string]string{"state not ours": forged.Body, "state of ours": authentic.Text} {
					f.clean(t, text)
					for _, bad := range []string{"evil", "alert(1)", "onload", "<svg"} {
						if strings.Contains(text, bad) {
							t.Errorf("%s: the page has %q\n%s", how, bad, text)
						}
					}
				}
				if forged.Status != http.StatusBadRequest || authentic.StatusCode != http.StatusBadRequest {
					t.Errorf("got %s and %s, want 400", forged, authentic.Status)
				}
				if forged.Header.Get("X") != "" || authentic.Header.Get("X") != "" {
					t.Error("a header was made")
				}
			})
		}
	}
	f.nothingReached(t)
}

// ownPages gets every page of ours that a person can come to, by what they did.
func ownPages(t *testing.T, f *front, bob string) map[string]*gatewaytest.Answer {
	form := "Sec-Fetch-Site: same-origin\r\nContent-Length: 0\r\n"
	out := map[string]*gatewaytest.Answer{
		"sign-in-failed":     f.get(t, "/callback", ""),
		"not-found":          f.get(t, "/_portero/nothing", ""),
		"bad-request":        f.get(t, "/public/../x", ""),
		"method":             f.Raw(t, f.head("POST", "/callback", "", "Accept: text/html\r\nContent-Length: 0\r\n")),
		"unknown method":     f.Raw(t, f.head("FOO", "/app", "", "Accept: text/html\r\n")),
		"unknown-host":       f.Raw(t, "GET /app HTTP/1.1\r\nHost: evil.test\r\nAccept: text/html\r\n\r\n"),
		"bad host":           f.Raw(t, "GET /app HTTP/1.1\r\nHost: localhost:port\r\nAccept: text/html\r\n\r\n"),
		"denied":             f.get(t, "/admin", bob),
		"sign-out":           f.get(t, "/sign-out", f.alice),
		"sign-out, stranger": f.get(t, "/sign-out", ""),
		"signed-out":         f.get(t, "/_portero/signed-out", ""),
		"account":            f.get(t, "/_portero/", f.alice),
		"account, stranger":  f.get(t, "/_portero/", ""),
		"signed-in":          f.get(t, "/_portero/signed-in", f.alice),
		"continue":           f.get(t, "/_portero/continue", ""),
		"form-not-sent":      f.Raw(t, f.head("POST", "/save", "", navigation[:len(navigation)-len("Sec-Fetch-Site: none\r\n")]+form)),
		"framed":             f.Raw(t, f.head("GET", "/app", "", "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\nSec-Fetch-Site: same-origin\r\n")),
		"app-unavailable":    f.get(t, "/dead", ""),
		"401 for HTML":       f.Raw(t, f.head("POST", "/app", "", "Accept: text/html\r\nContent-Length: 0\r\n")),
		"401 for JSON":       f.Raw(t, f.head("GET", "/app", "", "Accept: application/json\r\n")),
		"401 for text":       f.Raw(t, f.head("GET", "/app", "", "")),
		"session":            f.get(t, "/_portero/session", f.alice),
		"session, stranger":  f.get(t, "/_portero/session", ""),
		"404 for JSON":       f.Raw(t, f.head("GET", "/_portero/nothing", "", "Accept: application/json\r\n")),
		"404 for text":       f.Raw(t, f.head("GET", "/_portero/nothing", "", "Accept: image/png\r\n")),
	}
	b := f.Browser(t)
	f.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.Answer = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/oidc/token" {
				w.WriteHeader(http.StatusServiceUnavailable)
				return true
			}
			return false
		}
	})
	broken := b.Visit(f.URL + "/app")
	f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Answer = nil })
	out["sign-in-unavailable"] = &gatewaytest.Answer{Status: broken.StatusCode, Header: broken.Header, Body: broken.Text}
	return out
}

const deadRoute = `  - {name: dead, path: /dead, access: public, upstreams: [{url: "http://127.0.0.1:1"}]}
`

// XS-02 and XS-06: every answer of ours has the headers of a page that nobody frames, sniffs, keeps or runs code in; an
// application's answers have none of them.
func TestSecurityPageHeaders(t *testing.T) {
	t.Parallel()
	issuer := gatewaytest.NewIssuer(t)
	f := newFront(t, gatewaytest.Options{Issuer: issuer, Routes: strings.ReplaceAll(catalogueRoutes, "PATHS", "paths: strict") + deadRoute})
	issuer.Do(func(i *gatewaytest.Issuer) {
		i.Person = map[string]any{"sub": "bob", "sid": "sid-b", "email": "bob@example.com", "email_verified": true, "name": hostile}
	})
	bob := f.signIn(t)
	f.Upstream.Forget()
	statuses := map[string]int{
		"sign-in-failed": 400, "not-found": 404, "bad-request": 400, "method": 405, "unknown method": 405, "unknown-host": 421, "bad host": 400, "denied": 403, "sign-out": 200,
		"sign-out, stranger": 200, "signed-out": 200, "account": 200, "account, stranger": 200, "signed-in": 200, "continue": 200, "form-not-sent": 401, "framed": 401,
		"app-unavailable": 502, "401 for HTML": 401, "401 for JSON": 401, "401 for text": 401, "session": 200, "session, stranger": 401, "404 for JSON": 404, "404 for text": 404,
		"sign-in-unavailable": 503,
	}
	policy := regexp.MustCompile(`^default-src 'none'; style-src 'sha256-[A-Za-z0-9+/=]+'; img-src 'self'; form-action 'self'( http://[a-z0-9.:]+)*; base-uri 'none'; frame-ancestors '(none|self)'$`)
	for name, a := range ownPages(t, f, bob) {
		t.Run("XS-02 "+name, func(t *testing.T) {
			if a.Status != statuses[name] {
				t.Errorf("got %s, want %d\n%s", a, statuses[name], a.Body)
			}
			kind := "text/html; charset=utf-8"
			switch {
			case strings.HasSuffix(name, "for JSON"), strings.HasPrefix(name, "session"):
				kind = "application/json"
			case strings.HasSuffix(name, "for text"):
				kind = "text/plain; charset=utf-8"
			}
			referrer := "no-referrer"
			if strings.HasPrefix(name, "sign-out") || strings.HasPrefix(name, "account") || name == "continue" {
				referrer = "same-origin" // so that the form behind it has an Origin
			}
			want := map[string]string{"Content-Type": kind, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
			if !strings.HasPrefix(name, "session") {
				want["Cross-Origin-Opener-Policy"], want["Referrer-Policy"], want["X-Robots-Tag"] = "same-origin", referrer, "noindex"
				if name != "framed" {
					want["X-Frame-Options"] = "DENY"
				}
			}
			for header, value := range want {
				if got := a.Header[header]; len(got) != 1 || got[0] != value {
					t.Errorf("%s: got %q, want %q", header, got, value)
				}
			}
			if csp := a.Header.Get("Content-Security-Policy"); !strings.HasPrefix(name, "session") && (!policy.MatchString(csp) || strings.Contains(csp, "frame-ancestors 'self'") != (name == "framed")) {
				t.Errorf("Content-Security-Policy: got %q", csp)
			}
			if kind != "application/json" {
				f.clean(t, a.Body)
			}
		})
	}
	f.nothingReached(t)
	t.Run("XS-02 not on an application's pages", func(t *testing.T) {
		for _, target := range []string{"/app", "/public/x"} {
			a := f.get(t, target, f.alice)
			for _, header := range []string{"Content-Security-Policy", "X-Frame-Options", "Cross-Origin-Opener-Policy", "Referrer-Policy", "X-Content-Type-Options", "X-Robots-Tag"} {
				if got := a.Header[header]; len(got) != 0 {
					t.Errorf("%s: %s: got %q, want none", target, header, got)
				}
			}
		}
	})
}

// XS-03: in the template, what comes from anywhere stands only where text and attributes are escaped.
func TestSecurityTemplate(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../page/page.html")
	if err != nil {
		t.Fatal(err)
	}
	for what, pattern := range map[string]string{
		"a script":                `(?i)<script`,
		"a handler":               `(?i)\son[a-z]+\s*=`,
		"a style attribute":       `(?i)\sstyle\s*=`,
		"a refresh":               `(?i)http-equiv`,
		"a comment":               `<!--`,
		"an unquoted attribute":   `=\{\{`,
		"data in the style sheet": `(?s)<style>.*\{\{[^}]*\}\}.*\{\{[^}]*\}\}.*</style>`,
	} {
		if found := regexp.MustCompile(pattern).FindString(string(text)); found != "" {
			t.Errorf("XS-03: the template has %s: %q", what, found)
		}
	}
}

// XS-04: neither path nor host is shown on a page of ours.
func TestSecurityReflection(t *testing.T) {
	t.Parallel()
	f := newFront(t, gatewaytest.Options{Routes: strings.ReplaceAll(catalogueRoutes, "PATHS", "paths: strict") + deadRoute})
	encoded := url.PathEscape(strings.ReplaceAll(hostile, "/", ""))
	tests := []struct {
		name, target, host string
		status             int
	}{
		{"XS-04 raw", "/<script>alert(1)</script>", "", 400},
		{"XS-04 404", "/_portero/" + encoded, "", 404},
		{"XS-04 400", "/public/..%2f" + encoded, "", 400},
		{"XS-04 400 with a key", "/wiki//" + encoded, "", 400},
		{"XS-04 502", "/dead/" + encoded + "?q=" + encoded, "", 502},
		{"XS-04 302", "/" + encoded + "?q=" + encoded, "", 302},
		{"XS-04 host", "/", "evil.test", 421},
		{"XS-04 host with markup", "/", hostile, 400},
		{"XS-04 host with markup and port", "/", "<b>:80", 400},
		{"XS-04 host of the alphabet", "/", "alert-1.evil.test", 421},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			host := tt.host
			if host == "" {
				host = f.host
			}
			a := f.Raw(t, "GET "+tt.target+" HTTP/1.1\r\nHost: "+host+"\r\n"+navigation+"\r\n")
			if a.Status != tt.status {
				t.Errorf("got %s, want %d", a, tt.status)
			}
			f.clean(t, a.Body)
			for _, bad := range []string{"<script", "alert(1)<", "<img", "evil.test", "<b>"} {
				if strings.Contains(a.Body, bad) {
					t.Errorf("the page has %q\n%s", bad, a.Body)
				}
			}
			f.nothingReached(t)
		})
	}
}

// XS-05: a return path with quotes stays inside its field.
func TestSecurityFormFields(t *testing.T) {
	t.Parallel()
	f := newFront(t, gatewaytest.Options{})
	for _, value := range []string{`/a"b`, `/"><script>alert(1)</script>`, `/'onfocus='alert(1)`, "/`", "/x?a=\"><img src=x onerror=alert(1)>", "/{{.}}", "/x#\"><script>"} {
		t.Run("XS-05 "+value, func(t *testing.T) {
			a := f.get(t, "/sign-out?"+url.Values{"return_to": {value}}.Encode(), f.alice)
			if a.Status != http.StatusOK {
				t.Fatalf("got %s, want 200", a)
			}
			f.clean(t, a.Body)
			if strings.Contains(a.Body, "<script") || strings.Contains(a.Body, "<img") {
				t.Errorf("the page has markup of the return path\n%s", a.Body)
			}
		})
	}
}
