package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

// The cases of this file's siblings are attacks on gateways like this one, each under the id it has in the catalogue of
// them: XS pages, DN answers to those who are not let in.

// catalogueRoutes are the routes that the catalogue speaks of. PATHS stands for a setting that all of them have.
const catalogueRoutes = `
  - {name: public, path: /public, access: public, PATHS, upstreams: [{url: UPSTREAM}]}
  - {name: health, path: /health, match: exact, access: public, methods: [GET], PATHS, upstreams: [{url: UPSTREAM}]}
  - {name: optional, path: /optional, access: optional, PATHS, upstreams: [{url: UPSTREAM}]}
  - {name: admin, path: /admin, allow: [{roles: [admin]}], PATHS, upstreams: [{url: UPSTREAM}]}
  - {name: api, path: /api, strip_prefix: true, PATHS, upstreams: [{url: UPSTREAM}]}
  - {name: drop, path: /drop, authorization: drop, PATHS, upstreams: [{url: UPSTREAM}]}
  - {name: app, title: Wiki, path: /, PATHS, upstreams: [{url: UPSTREAM}]}
`

// catalogueHeaders tell the applications of the catalogue who somebody is; one name is written in lower case.
const catalogueHeaders = `
identity:
  headers:
    - {name: X-Auth-Sub, claim: sub}
    - {name: X-Auth-Email, claim: email}
    - {name: X-Auth-Name, claim: name, encoding: percent}
    - {name: X-Auth-Roles, claim: roles, join: ","}
    - {name: x-auth-tenant, claim: custom_data.tenant}
`

// aliceHeaders is all that an application learns of Alice.
var aliceHeaders = map[string]string{
	"x-auth-sub": "t8x4l8ohti1t", "x-auth-email": "alice@example.com", "x-auth-name": "Alice",
	"x-auth-roles": "admin,editor", "x-auth-tenant": "acme",
}

// front is a gateway with Alice signed in, in front of which raw requests are made.
type front struct {
	*gatewaytest.Rig
	host  string // as it stands in Host
	alice string // her cookies
}

func newFront(t *testing.T, o gatewaytest.Options) *front {
	t.Helper()
	if o.Routes == "" {
		o.Routes = strings.ReplaceAll(catalogueRoutes, "PATHS", "paths: strict")
	}
	o.Extra += catalogueHeaders
	if o.Issuer == nil {
		o.Issuer = gatewaytest.NewIssuer(t)
	}
	o.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.Person["roles"] = []string{"admin", "editor"}
		i.Person["custom_data"] = map[string]any{"tenant": "acme"}
	})
	f := &front{Rig: gatewaytest.New(t, &o)}
	_, f.host, _ = strings.Cut(f.URL, "://")
	f.alice = f.signIn(t)
	f.Upstream.Forget()
	return f
}

// signIn signs in whoever the issuer says and returns the session cookie.
func (f *front) signIn(t *testing.T) string {
	t.Helper()
	b := f.SignedIn(t, "/")
	value := b.Cookies("localhost")[f.Cookie()]
	if value == "" {
		t.Fatal("no session cookie after signing in")
	}
	return f.Cookie() + "=" + value
}

// navigation are the lines of somebody typing an address.
const navigation = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Site: none\r\n"

// head is a request head: method, target, Host, then the lines as they are (each with its line end).
func (f *front) head(method, target, cookie, lines string) string {
	if cookie != "" {
		lines = "Cookie: " + cookie + "\r\n" + lines
	}
	return method + " " + target + " HTTP/1.1\r\nHost: " + f.host + "\r\n" + lines + "\r\n"
}

// nothingReached fails when a byte reached the upstream.
func (f *front) nothingReached(t *testing.T) {
	t.Helper()
	if got := f.Upstream.Bytes(); got != "" {
		t.Errorf("the upstream got %q, want nothing", got)
		f.Upstream.Forget()
	}
}

// reached fails unless exactly one request reached the upstream; it returns its head.
func (f *front) reached(t *testing.T) string {
	t.Helper()
	all := f.Upstream.Requests()
	f.Upstream.Forget()
	if len(all) != 1 {
		t.Fatalf("the upstream got %q, want one request", all)
	}
	return all[0]
}

// noSession fails when an answer gives somebody a session, or says something that only a signed-in person may know.
func (f *front) noSession(t *testing.T, a *gatewaytest.Answer) {
	t.Helper()
	for _, c := range (&http.Response{Header: a.Header}).Cookies() {
		if c.Name == f.Cookie() && c.MaxAge >= 0 {
			t.Errorf("Set-Cookie %s: got a value, want none", c.Name)
		}
	}
	if strings.Contains(a.Body, "the application") {
		t.Errorf("the body has bytes of the application: %q", a.Body)
	}
}

// quiet fails when the log has a secret: the session cookie's value, or anything named.
func (f *front) quiet(t *testing.T, secrets ...string) {
	t.Helper()
	_, value, _ := strings.Cut(f.alice, "=")
	for _, s := range append(secrets, value) {
		if strings.Contains(f.Log.String(), s) {
			t.Errorf("the log has %q", s)
		}
	}
}

// fold is how CGI, WSGI, Rack and PHP read names: all of these are one to them.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		}
		return '-'
	}, name)
}

// fields are all headers of a head by folded name.
func fields(head string) map[string][]string {
	out := map[string][]string{}
	for _, l := range strings.Split(head, "\r\n")[1:] {
		name, value, ok := strings.Cut(l, ":")
		if ok {
			out[fold(name)] = append(out[fold(name)], strings.TrimSpace(value))
		}
	}
	return out
}

// saysNobody fails when a head says who somebody is, under any spelling.
func saysNobody(t *testing.T, head string) {
	t.Helper()
	got := fields(head)
	for name := range aliceHeaders {
		if len(got[name]) != 0 {
			t.Errorf("%s at the upstream: got %q, want none", name, got[name])
		}
	}
}
