package gateway_test

import (
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"portero/internal/gatewaytest"
)

// redirectCase is a return path from outside, and where somebody who brings it lands. "" is the start page.
type redirectCase struct{ name, value, want string }

func redirectCases() []redirectCase {
	home := func(name string, values ...string) []redirectCase {
		out := make([]redirectCase, len(values))
		for i, v := range values {
			out[i] = redirectCase{name, v, "/"}
		}
		return out
	}
	kept := func(name string, values ...string) []redirectCase {
		out := make([]redirectCase, len(values))
		for i, v := range values {
			out[i] = redirectCase{name, v, v}
		}
		return out
	}
	var all []redirectCase
	for _, list := range [][]redirectCase{
		home("RD-01 scheme-relative", "//evil.test", "///evil.test", "////evil.test/.."),
		home("RD-02 backslash", `/\evil.test`, `\\evil.test`, `/\/evil.test`, `\/evil.test`, `/a\..\..\\evil.test`),
		kept("RD-03 encoded, decoded never twice", "/%5cevil.test", "/%2f/evil.test", "/%255cevil.test", "/%252f%252fevil.test"),
		home("RD-03 encoded", "%2f%2fevil.test", "%5c%5cevil.test", "%252f%252fevil.test"),
		home("RD-04 scheme tricks", "https:evil.test", "https:/evil.test", "https:///evil.test", `http:\\evil.test`, "HTTPS://evil.test"),
		home("RD-05 tab and newline inside", "/\t/evil.test", "/\n/evil.test", "ht\ttps://evil.test", "\x01//evil.test", "/%09/evil.test", "/%0a/evil.test", "/\r/evil.test"),
		home("RD-06 blanks and controls around", " //evil.test", "%20//evil.test", "\u00a0//evil", "\u2028//evil", "//evil.test ", "\x00//evil.test", "/ /evil.test"),
		home("RD-07 userinfo", "https://localhost@evil.test", "https://localhost:443@evil.test", "//localhost%40evil.test"),
		home("RD-08 line ends", "/ok%0d%0aSet-Cookie:%20x=1", "/ok\r\nSet-Cookie: x=1", "/ok\nLocation: //evil.test"),
		home("RD-09 dangerous schemes", "javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "vbscript:x", "blob:https://evil.test/x", "java\nscript:alert(1)"),
		home("RD-10 very long", "/"+strings.Repeat("a", 8<<10), "/?"+strings.Repeat("a", 20<<10)),
		home("RD-12 suffixes of our host", "https://evillocalhost", "https://localhost.evil", "https://xlocalhost/", "https://localhost:1/", "//localhost:1"),
		kept("RD-14 fragments and queries", "/app?x=//evil#//evil", "/app?next=https://evil.test/", "/app?", "/app?a=1;b=%zz", "/app#frag"),
		home("RD-14 no path", "?next", "#frag", "app"),
		home("RD-15 dot segments", "/..//evil.test", `/./\evil.test`, "/.//evil.test", "/%2e%2e//evil.test", "/a/../..//evil.test", "/.."),
		home("RD-16 host confusions", "https://localhost.evil.test", "https://localhost\u3002evil", "https://xn--gw-.test", "http://[::1]localhost", "https://localhost:99999"),
		home("RD-18 loop", "/sign-in", "/callback", "/sign-out", "/sign-in/", "/sign-in?return_to=/", "/callback?code=1&state=2", "/sign-out#x", "/%73ign-out", "/_portero/sign-out", "/_portero/session", "/_portero//sign-out", "/_portero/language?lang=es", "/_portero/continue", "/_portero/signed-out"),
		kept("RD-18 our pages that are places to be", "/_portero/", "/_portero/signed-in"),
	} {
		all = append(all, list...)
	}
	return all
}

// links are the addresses of a page that a browser could go to: of links, forms and hidden fields, and those inside their
// return_to.
func links(t *testing.T, text string) []string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	add := func(address string) {
		out = append(out, address)
		if u, err := url.Parse(address); err == nil {
			for _, nested := range u.Query()["return_to"] {
				out = append(out, nested)
				if u, err := url.Parse(nested); err == nil {
					out = append(out, u.Query()["return_to"]...)
				}
			}
		}
	}
	for n := range root.Descendants() {
		attributes := map[string]string{}
		for _, a := range n.Attr {
			attributes[a.Key] = a.Val
		}
		for _, name := range []string{"href", "action", "formaction", "src"} {
			if v, ok := attributes[name]; ok {
				add(v)
			}
		}
		if attributes["name"] == "return_to" {
			add(attributes["value"])
		}
		if n.Data == "meta" && attributes["http-equiv"] != "" {
			t.Errorf("the page has a meta http-equiv: %v", n.Attr)
		}
	}
	return out
}

// destinations tries a return path in every place that takes one without a sign-in at Logto, and returns where each leads.
func (f *front) destinations(t *testing.T, value string) []string {
	t.Helper()
	var out []string
	q := url.Values{"return_to": {value}}.Encode()
	expect := func(a *gatewaytest.Answer, status int, what string) {
		t.Helper()
		if a.Status != status {
			t.Fatalf("%s with %.80q: got %s, want %d", what, value, a, status)
		}
		for _, c := range a.Header["Set-Cookie"] {
			if strings.HasPrefix(c, "x=") {
				t.Errorf("%s with %.80q: it made a header: %q", what, value, c)
			}
		}
		if l := a.Header.Get("Location"); l != "" && !strings.HasPrefix(l, f.Issuer.URL+"/") {
			out = append(out, l)
		}
	}
	expect(f.get(t, "/sign-in?"+q, f.alice), 303, "sign-in, signed in")
	expect(f.get(t, "/_portero/language?lang=es&"+q, ""), 303, "the language switch")

	a := f.get(t, "/sign-out?"+q, f.alice)
	expect(a, 200, "the page that asks before signing out")
	out = append(out, links(t, a.Body)...)

	form := "Content-Type: application/x-www-form-urlencoded\r\nSec-Fetch-Site: same-origin\r\nContent-Length: "
	a = f.Raw(t, f.head("POST", "/sign-out", "", form+itoa(len(q))+"\r\n")+q)
	expect(a, 303, "signing out")
	end, err := url.Parse(a.Header.Get("Location"))
	if err != nil || !strings.HasPrefix(end.String(), f.Issuer.URL+"/oidc/session/end?") {
		t.Fatalf("signing out with %.80q: got Location %q, want the end-session endpoint", value, a.Header.Get("Location"))
	}
	a = f.get(t, "/_portero/signed-out?"+url.Values{"state": end.Query()["state"]}.Encode(), "")
	expect(a, 200, "the page after signing out")
	out = append(out, links(t, a.Body)...)

	if strings.IndexFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) < 0 && len(value) < 8<<10 {
		a = f.Raw(t, f.head("GET", "/app", "", "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\nSec-Fetch-Site: same-origin\r\nReferer: "+f.URL+value+"\r\n"))
		expect(a, 401, "a frame")
		out = append(out, links(t, a.Body)...)
	}
	return out
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

// whatwg fails for every address that a browser on our page would take elsewhere.
func (f *front) whatwg(t *testing.T, addresses map[string]string) {
	t.Helper()
	var in []string
	for address := range addresses {
		in = append(in, address)
		u, err := url.Parse(f.URL + "/some/page")
		if err != nil {
			t.Fatal(err)
		}
		if u, err = u.Parse(address); err != nil || u.Scheme+"://"+u.Host != f.URL {
			t.Errorf("%q, from %.80q, leads to %v (%v), want %s", address, addresses[address], u, err, f.URL)
		}
	}
	t.Run("WHATWG", func(t *testing.T) {
		var origins []string
		gatewaytest.Node(t, `console.log(JSON.stringify(input.addresses.map(a => { try { return new URL(a, input.base).origin } catch { return 'invalid' } })))`,
			map[string]any{"addresses": in, "base": f.URL + "/some/page"}, &origins)
		for i, origin := range origins {
			if origin != f.URL {
				t.Errorf("%q, from %.80q, leads a browser to %s, want %s", in[i], addresses[in[i]], origin, f.URL)
			}
		}
	})
}

// RD-01 to RD-10, RD-12, RD-14 to RD-16, RD-18: where return paths from outside lead, at every place that takes one.
func TestSecurityReturnPaths(t *testing.T) {
	t.Parallel()
	f := newFront(t, gatewaytest.Options{})
	seen := map[string]string{}
	for _, tt := range redirectCases() {
		t.Run(tt.name+" "+shorten(tt.value), func(t *testing.T) {
			for _, d := range f.destinations(t, tt.value) {
				seen[d] = tt.value
			}
			q := url.Values{"return_to": {tt.value}}.Encode()
			if got := f.get(t, "/sign-in?"+q, f.alice).Header.Get("Location"); got != tt.want {
				t.Errorf("signed in: got Location %.80q, want %.80q", got, tt.want)
			}
			// A whole sign-in: the value travels sealed in the attempt. What is too long for its cookie is left out.
			b := f.Browser(t)
			last := b.Get(b.Get(b.Get(f.URL + "/sign-in?" + q).Location()).Location())
			if got := last.Header.Get("Location"); last.StatusCode != http.StatusSeeOther || got != tt.want {
				t.Errorf("after signing in: got %s to %.80q, want 303 to %.80q", last.Status, got, tt.want)
			}
			seen[last.Header.Get("Location")] = tt.value
			f.nothingReached(t)
		})
	}
	f.whatwg(t, seen)
	if strings.Contains(f.Log.String(), "evil") {
		t.Error("the log has a return path")
	}
}

func shorten(s string) string {
	if len(s) > 60 {
		return s[:60]
	}
	return s
}

// RD-20: a collection of open redirects, raw and decoded once and twice.
func TestSecurityOpenRedirectCorpus(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/openredirects.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) < 200 {
		t.Fatalf("the corpus has %d lines, want 200 at least", len(lines))
	}
	decode := readers()["PHP's own server"]
	twice := readers()["decoding twice"]
	values := map[string]bool{}
	for _, l := range lines {
		values[l] = true
		// The readers cut at a question mark; a corpus keeps it.
		path, query, has := strings.Cut(l, "?")
		for _, read := range []func(string) (string, bool){decode, twice} {
			d, _ := read(path)
			if has {
				q, _ := read(query)
				d += "?" + q
			}
			values[d] = true
		}
	}
	f := newFront(t, gatewaytest.Options{})
	seen := map[string]string{}
	for v := range values {
		for _, d := range f.destinations(t, v) {
			seen[d] = v
		}
	}
	f.nothingReached(t)
	f.whatwg(t, seen)
}

// The address that was asked for is a return path too: it comes back as it was, or as the start page.
func TestSecurityStoredAddress(t *testing.T) {
	t.Parallel()
	f := newFront(t, gatewaytest.Options{Routes: strings.ReplaceAll(catalogueRoutes, "PATHS", "paths: by-route")})
	tests := []struct{ name, target, want string }{ // want "": 400 at once
		{"RD-01 scheme-relative", "//evil.test", "/"},
		{"RD-01 scheme-relative with a query", "//evil.test/?x=1", "/"},
		{"RD-02 backslash", `/\evil.test`, ""},
		{"RD-03 encoded", "/%5cevil.test", "/%5cevil.test"},
		{"RD-03 encoded slash", "/%2fevil.test", "/%2fevil.test"},
		{"RD-05 tab", "/%09/evil.test", ""},
		{"RD-08 line ends", "/ok%0d%0aSet-Cookie:%20x=1", ""},
		{"RD-14 query", "/app?x=//evil&y=%0d%0a", "/app?x=//evil&y=%0d%0a"},
		{"RD-14 a backslash in the query", `/app?x=\\evil`, "/app"},
		{"RD-15 dots", "/..//evil.test", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := f.get(t, tt.target, "")
			if tt.want == "" {
				if a.Status != http.StatusBadRequest {
					t.Errorf("got %s, want 400", a)
				}
				return
			}
			if a.Status != http.StatusFound {
				t.Fatalf("got %s, want 302", a)
			}
			b := f.Browser(t)
			for _, c := range (&http.Response{Header: a.Header}).Cookies() {
				b.SetCookie("localhost", c.Name, c.Value)
			}
			last := b.Get(b.Get(a.Header.Get("Location")).Location())
			if got := last.Header.Get("Location"); last.StatusCode != http.StatusSeeOther || got != tt.want {
				t.Errorf("after signing in: got %s to %q, want 303 to %q", last.Status, got, tt.want)
			}
			f.nothingReached(t)
		})
	}
}

// An upstream's redirect is its own, save that its own address becomes the one that was typed, and stays ours.
func TestSecurityUpstreamRedirects(t *testing.T) {
	t.Parallel()
	f := newFront(t, gatewaytest.Options{})
	_, up, _ := strings.Cut(f.Upstream.URL, "://")
	tests := []struct{ name, location, want string }{
		{"its own address", "http://" + up + "/x?y#z", f.URL + "/x?y#z"},
		{"its own address, then slashes", "http://" + up + "//evil.test", f.URL + "//evil.test"},
		{"its own address, then a backslash", "http://" + up + `\@evil.test`, f.URL + `\@evil.test`},
		{"its own address as userinfo", "http://" + up + "@evil.test/", "http://" + up + "@evil.test/"},
		{"its own address as prefix of a host", "http://" + up + ".evil.test/", "http://" + up + ".evil.test/"},
		{"another's", "https://evil.test/", "https://evil.test/"},
		{"a path", "/x", "/x"},
	}
	ours := map[string]string{}
	for _, tt := range tests {
		t.Run("RD "+tt.name, func(t *testing.T) {
			f.Upstream.Say(func(string) string {
				return "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + tt.location + "\r\n\r\n"
			}, false)
			a := f.get(t, "/public/x", "")
			if got := a.Header.Get("Location"); a.Status != http.StatusFound || got != tt.want {
				t.Errorf("got %s to %q, want 302 to %q", a, got, tt.want)
			}
			if strings.HasPrefix(tt.want, f.URL) && !strings.Contains(tt.want, `\`) { // Go refuses to read that one
				ours[a.Header.Get("Location")] = tt.location
			}
		})
	}
	f.whatwg(t, ours)
}

// RD-10: what is longer than any address is refused before anything is stored.
func TestSecurityLongReturnPath(t *testing.T) {
	t.Parallel()
	f := newFront(t, gatewaytest.Options{})
	tests := []struct {
		name, target string
		status       int
	}{
		{"RD-10 8 KiB", "/sign-in?return_to=/" + strings.Repeat("a", 8<<10), 302},
		{"RD-10 64 KiB", "/sign-in?return_to=/" + strings.Repeat("a", 70<<10), 431},
		{"RD-10 1 MiB", "/sign-in?return_to=/" + strings.Repeat("a", 1<<20), 431},
		{"RD-10 an address of 20 KiB", "/app?" + strings.Repeat("a", 20<<10), 302},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := f.get(t, tt.target, "")
			if a.Status != tt.status {
				t.Fatalf("got %s, want %d", a, tt.status)
			}
			total := 0
			for _, c := range a.Header["Set-Cookie"] {
				total += len(c)
			}
			if l := len(a.Header.Get("Location")); l > 4<<10 || total > 2<<10 {
				t.Errorf("Location of %d bytes, cookies of %d, want neither to grow with the address", l, total)
			}
		})
	}
	if got := f.Sessions(t); got != 1 {
		t.Errorf("rows in the store: got %d, want Alice's", got)
	}
}

// RD-11: a state that was changed in any one byte leads nowhere.
func TestSecurityForgedState(t *testing.T) {
	t.Parallel()
	f := newFront(t, gatewaytest.Options{})
	b := f.Browser(t)
	asked, err := url.Parse(b.Get(f.URL + "/app?x=1").Location())
	if err != nil {
		t.Fatal(err)
	}
	state := asked.Query().Get("state")
	calls := f.Issuer.Calls("/oidc/token")
	for i := range state {
		other := byte('A')
		if state[i] == other {
			other = 'B'
		}
		forged := state[:i] + string(rune(other)) + state[i+1:]
		got := b.Get(f.URL + "/callback?" + url.Values{"code": {"x"}, "state": {forged}, "iss": {f.Issuer.URL + "/oidc"}}.Encode())
		if got.StatusCode != http.StatusBadRequest || got.Header.Get("Location") != "" {
			t.Fatalf("RD-11 byte %d: got %s to %q, want 400", i, got.Status, got.Header.Get("Location"))
		}
	}
	if got := f.Issuer.Calls("/oidc/token"); got != calls {
		t.Errorf("RD-11: %d calls of the token endpoint, want none", got-calls)
	}
	if last := b.Follow(b.Get(asked.String())); last.StatusCode != http.StatusOK {
		t.Errorf("RD-11: the attempt itself afterwards: got %s, want 200", last.Status)
	}
	f.quiet(t, state)
}

// RD-13: nobody else starts a sign-in that leads elsewhere.
func TestSecurityThirdPartySignIn(t *testing.T) {
	t.Parallel()
	f := newFront(t, gatewaytest.Options{})
	for _, q := range []string{
		"iss=" + url.QueryEscape(f.Issuer.URL+"/oidc") + "&target_link_uri=https://evil.test", "iss=https://evil.test&target_link_uri=https://evil.test",
		"target_link_uri=/app&rd=https://evil.test&redirect=https://evil.test&next=//evil.test&redirect_uri=https://evil.test&post_logout_redirect_uri=https://evil.test",
		"return_to=/&return_to=https://evil.test", "return_to=https://evil.test&return_to=/x",
		"login_hint=x%26redirect_uri%3Dhttps://evil.test%26prompt%3Dnone",
	} {
		t.Run("RD-13 "+shorten(q), func(t *testing.T) {
			if got := f.get(t, "/sign-in?"+q, f.alice); got.Status != http.StatusSeeOther || got.Header.Get("Location") != "/" {
				t.Errorf("signed in: got %s to %q, want 303 to /", got, got.Header.Get("Location"))
			}
			a := f.get(t, "/sign-in?"+q, "")
			asked, err := url.Parse(a.Header.Get("Location"))
			if err != nil || a.Status != http.StatusFound || !strings.HasPrefix(asked.String(), f.Issuer.URL+"/oidc/auth?") {
				t.Fatalf("got %s to %q, want 302 to our issuer", a, a.Header.Get("Location"))
			}
			if got := asked.Query()["redirect_uri"]; len(got) != 1 || got[0] != f.URL+"/callback" || strings.Contains(asked.RawQuery, "evil") {
				t.Errorf("the authorization request is %q, want our own parameters alone", asked)
			}
		})
	}
}

// RD-17: a form that could not be sent is neither repeated nor kept.
func TestSecurityFormNotSent(t *testing.T) {
	t.Parallel()
	f := newFront(t, gatewaytest.Options{})
	const body = "amount=4711&to=secret-recipient"
	a := f.Raw(t, f.head("POST", "/save", "", "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Site: same-origin\r\nOrigin: "+f.URL+
		"\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: "+itoa(len(body))+"\r\n")+body)
	if a.Status != http.StatusUnauthorized || !strings.Contains(a.Body, "form") {
		t.Errorf("RD-17: got %s, want 401 with the page about the form\n%s", a, a.Body)
	}
	if got := a.Header["Set-Cookie"]; len(got) != 0 {
		t.Errorf("RD-17: got Set-Cookie %q, want nothing kept", got)
	}
	if strings.Contains(a.Body, "4711") || strings.Contains(a.Body, "secret-recipient") {
		t.Errorf("RD-17: the page has what was sent\n%s", a.Body)
	}
	f.nothingReached(t)
	f.quiet(t, "4711", "secret-recipient")

	// Whoever signs in from there lands on a page, by GET.
	b := f.Browser(t)
	last := b.Visit(f.URL + links(t, a.Body)[0])
	for _, l := range links(t, a.Body) {
		if strings.HasPrefix(l, "/_portero/sign-in") {
			last = b.Visit(f.URL + l)
		}
	}
	if last.StatusCode != http.StatusOK || last.Request.URL.Path != "/_portero/signed-in" {
		t.Errorf("RD-17: after signing in: got %s at %s, want the page signed-in", last.Status, last.Request.URL)
	}
	f.nothingReached(t)
}

// RD-19: the address that was asked for, with its query, goes neither to the issuer nor to other sites nor to the log.
func TestSecurityReturnPathIsKept(t *testing.T) {
	t.Parallel()
	f := newFront(t, gatewaytest.Options{})
	b := f.Browser(t)
	first := b.Get(f.URL + "/app?token=TOP-SECRET-1")
	if strings.Contains(first.Location(), "TOP-SECRET") {
		t.Errorf("RD-19: the issuer is told %q", first.Location())
	}
	back := b.Get(first.Location())
	last := b.Get(back.Location())
	for name, r := range map[string]*gatewaytest.Response{"the answer that starts the sign-in": first, "the callback": last} {
		if got := r.Header.Get("Referrer-Policy"); got != "no-referrer" {
			t.Errorf("RD-19: Referrer-Policy of %s: got %q, want no-referrer", name, got)
		}
		if got := r.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("RD-19: Cache-Control of %s: got %q, want no-store", name, got)
		}
	}
	if got := last.Header.Get("Location"); got != "/app?token=TOP-SECRET-1" {
		t.Errorf("RD-19: after signing in: got %q", got)
	}
	for _, q := range f.Issuer.Requests() {
		if strings.Contains(q.Encode(), "TOP-SECRET") {
			t.Errorf("RD-19: the issuer was told %q", q)
		}
	}
	callback, err := url.Parse(back.Location())
	if err != nil {
		t.Fatal(err)
	}
	f.quiet(t, "TOP-SECRET", callback.Query().Get("state"), callback.Query().Get("code"))
}
