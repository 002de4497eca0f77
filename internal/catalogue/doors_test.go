package catalogue_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

// routes are those that the catalogue speaks of. PATHS stands for a setting that all of them have.
const routes = `
  - {name: public, path: /public, access: public, PATHS, upstreams: [{url: UPSTREAM}]}
  - {name: health, path: /health, match: exact, access: public, methods: [GET], PATHS, upstreams: [{url: UPSTREAM}]}
  - {name: optional, path: /optional, access: optional, PATHS, upstreams: [{url: UPSTREAM}]}
  - {name: admin, path: /admin, allow: [{roles: [admin]}], PATHS, upstreams: [{url: UPSTREAM}]}
  - {name: api, path: /api, strip_prefix: true, PATHS, upstreams: [{url: UPSTREAM}]}
  - {name: drop, path: /drop, authorization: drop, PATHS, upstreams: [{url: UPSTREAM}]}
  - {name: app, title: Wiki, path: /, PATHS, upstreams: [{url: UPSTREAM}]}
  - {name: other, title: Other, hosts: [other.test], path: /, PATHS, upstreams: [{url: UPSTREAM}]}
`

// strict are the routes as they are unless somebody says otherwise.
var strict = strings.ReplaceAll(routes, "PATHS", "paths: strict")

// headers tell the applications who somebody is; one name is written in lower case.
const headers = `
identity:
  headers:
    - {name: X-Auth-Sub, claim: sub}
    - {name: X-Auth-Email, claim: email}
    - {name: X-Auth-Name, claim: name, encoding: percent}
    - {name: X-Auth-Roles, claim: roles, join: ","}
    - {name: x-auth-tenant, claim: custom_data.tenant}
`

// aliceHeaders is all that an application learns of Alice, by folded name.
var aliceHeaders = map[string]string{
	"x-auth-sub": "t8x4l8ohti1t", "x-auth-email": "alice@example.com", "x-auth-name": "Alice",
	"x-auth-roles": "admin,editor", "x-auth-tenant": "acme",
}

// alice and bob are who signs in; carol has nothing but a subject.
var (
	alice = map[string]any{"sub": "t8x4l8ohti1t", "sid": "sid-alice", "email": "alice@example.com", "email_verified": true, "name": "Alice",
		"roles": []string{"admin", "editor"}, "custom_data": map[string]any{"tenant": "acme"}}
	bob = map[string]any{"sub": "bob000000000", "sid": "sid-bob", "email": "bob@example.com", "email_verified": true, "name": "Bob",
		"roles": []string{"editor"}, "custom_data": map[string]any{"tenant": "other"}}
	carol = map[string]any{"sub": "carol0000000", "sid": "sid-carol", "email": "carol@example.com", "email_verified": true}
)

// front is a gateway with Alice signed in, in front of which raw requests are made.
type front struct {
	*gatewaytest.Rig
	host  string // as it stands in Host
	alice string // her session cookie, NAME=VALUE
}

// newFront starts a program with the catalogue's routes and headers, and signs Alice in. With o.Clock it is a gateway
// inside the test.
func newFront(t *testing.T, o gatewaytest.Options) *front {
	t.Helper()
	f := unsigned(t, o)
	f.alice = f.signIn(t, alice)
	f.Upstream.Forget()
	return f
}

// unsigned is newFront with nobody signed in.
func unsigned(t *testing.T, o gatewaytest.Options) *front {
	t.Helper()
	if o.Routes == "" {
		o.Routes = strict
	}
	if !strings.Contains(o.Extra, "identity:") {
		o.Extra += headers
	}
	if o.Clock == nil {
		o.Program = true
	} else {
		o.Routes = strings.ReplaceAll(o.Routes, gatewaytest.SecondHost, "127.0.0.1")
	}
	f := &front{Rig: gatewaytest.New(t, &o)}
	_, f.host, _ = strings.Cut(f.URL, "://")
	return f
}

// signIn signs somebody in and returns the session cookie, NAME=VALUE. Whoever signs in at the issuer next is Alice.
func (f *front) signIn(t *testing.T, person map[string]any) string {
	t.Helper()
	return f.cookieOf(t, f.person(t, person, "/"))
}

// person is a browser in which somebody has signed in and stands on path.
func (f *front) person(t *testing.T, person map[string]any, path string) *gatewaytest.Browser {
	t.Helper()
	f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person = maps.Clone(person) })
	b := f.Browser(t)
	if resp := b.Visit(f.URL + path); resp.StatusCode != http.StatusOK {
		t.Fatalf("signing in for %s: got %s, want 200\n%s", path, resp.Status, resp.Text)
	}
	f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person = maps.Clone(alice) })
	return b
}

// cookieOf is the session cookie of a browser, NAME=VALUE.
func (f *front) cookieOf(t *testing.T, b *gatewaytest.Browser) string {
	t.Helper()
	host, _, _ := strings.Cut(f.host, ":")
	value := b.Cookies(host)[f.Cookie()]
	if value == "" {
		t.Fatal("no session cookie after signing in")
	}
	return f.Cookie() + "=" + value
}

// nothingReached fails when a byte reached the upstream.
func (f *front) nothingReached(t *testing.T) {
	t.Helper()
	if got := f.Upstream.Bytes(); got != "" {
		t.Errorf("the upstream got %q, want nothing", got[:min(len(got), 1000)])
		f.Upstream.Forget()
	}
}

// reached fails unless exactly one request reached the upstream; it returns its head, and the bytes behind it.
func (f *front) reached(t *testing.T) (head, rest string) {
	t.Helper()
	all, everything := f.Upstream.Requests(), f.Upstream.Bytes()
	f.Upstream.Forget()
	if len(all) != 1 {
		t.Fatalf("the upstream got %q, want one request", all)
	}
	_, rest, _ = strings.Cut(everything, "\r\n\r\n")
	return all[0], rest
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

// denied fails unless an answer sends a navigation to the issuer, or refuses anything else with 401 or one of also, and
// nothing reached the upstream, nobody got a session and no row was made.
func (f *front) denied(t *testing.T, a *gatewaytest.Answer, also ...int) {
	t.Helper()
	switch {
	case a.Status == http.StatusFound && strings.HasPrefix(a.Header.Get("Location"), f.Issuer.URL+"/oidc/auth?"):
	case a.Status == http.StatusUnauthorized:
	default:
		ok := false
		for _, status := range also {
			ok = ok || a.Status == status
		}
		if !ok {
			t.Errorf("got %s to %q, want a redirect to the issuer, 401 or one of %d\n%s", a, a.Header.Get("Location"), also, a.Body[:min(len(a.Body), 500)])
		}
	}
	f.nothingReached(t)
	f.noSession(t, a)
}

// rows fails unless the store holds so many sessions.
func (f *front) rows(t *testing.T, want int) {
	t.Helper()
	if got := f.Sessions(t); got != want {
		t.Errorf("sessions in the store: got %d, want %d", got, want)
	}
}

// line is the request line of a head.
func line(head string) string {
	first, _, _ := strings.Cut(head, "\r\n")
	return first
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

// saysAlice fails unless a head says who Alice is: every header once, with her value, under every spelling.
func saysAlice(t *testing.T, head string) {
	t.Helper()
	got := fields(head)
	for name, want := range aliceHeaders {
		if len(got[name]) != 1 || got[name][0] != want {
			t.Errorf("%s at the upstream: got %q, want [%q]", name, got[name], want)
		}
	}
}

// saysNobody fails when a head says who somebody is, under any spelling.
func saysNobody(t *testing.T, head string) {
	t.Helper()
	for name := range aliceHeaders {
		absent(t, head, name)
	}
}

// absent fails when a head has one of the headers, under any spelling.
func absent(t *testing.T, head string, names ...string) {
	t.Helper()
	got := fields(head)
	for _, name := range names {
		if values := got[fold(name)]; len(values) != 0 {
			t.Errorf("%s at the upstream: got %q, want none", name, values)
		}
	}
}

// exactly fails unless a head has these values of a header, over all spellings.
func exactly(t *testing.T, head, name string, want ...string) {
	t.Helper()
	if got := fields(head)[fold(name)]; strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s at the upstream: got %q, want %q", name, got, want)
	}
}
