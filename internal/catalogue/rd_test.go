package catalogue_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"portero/internal/gatewaytest"
)

var openRedirects = family{ID: "RD", Title: "Open redirects", Attacks: []attack{
	{ID: "RD-01", Name: "scheme-relative", Want: "the start page, wherever a return path is taken", Why: "browsers read a host behind two slashes",
		Test: returnPaths(home("//evil.test", "///evil.test", "////evil.test/..", "//evil.test/%2e%2e", "//localhost:1", "//gw.test/x"))},
	{ID: "RD-02", Name: "backslash", Want: "the start page", Why: "to a browser a backslash is a slash",
		Test: returnPaths(home(`/\evil.test`, `\\evil.test`, `/\/evil.test`, `\/evil.test`, `/a\..\..\\evil.test`, `\evil.test`, `/x?a=\\evil.test`))},
	{ID: "RD-03", Name: "encoded backslash and slash", Want: "a path on our own host, never decoded a second time, or the start page", Why: "proxies in front may decode",
		Test: returnPaths(kept("/%5cevil.test", "/%2f/evil.test", "/%2fevil.test", "/%255cevil.test", "/%252f%252fevil.test"), home("%2f%2fevil.test", "%5c%5cevil.test", "%252f%252fevil.test", "%255c%255cevil.test"))},
	{ID: "RD-04", Name: "scheme tricks", Want: "the start page", Why: "browsers mend what is nearly an address",
		Test: returnPaths(home("https:evil.test", "https:/evil.test", "https:///evil.test", `http:\\evil.test`, "HTTPS://evil.test", "https:", "://evil.test", "http:0x7f000001", "ftp://evil.test/"))},
	{ID: "RD-05", Name: "tab and line end inside", Want: "the start page", Why: "CVE-2022-23527: browsers delete them",
		Test: returnPaths(home("/\t/evil.test", "/\n/evil.test", "ht\ttps://evil.test", "\x01//evil.test", "/%09/evil.test", "/%0a/evil.test", "/\r/evil.test", "/%0d/evil.test", "/\x00/evil.test"))},
	{ID: "RD-06", Name: "blanks and controls around", Want: "the start page", Why: "browsers trim",
		Test: returnPaths(home(" //evil.test", "%20//evil.test", "\u00a0//evil", "\u2028//evil", "//evil.test ", "\x00//evil.test", "/ /evil.test", "\ufeff//evil.test", "\t/x", "/x ", "/\u202e//evil.test"))},
	{ID: "RD-07", Name: "userinfo", Want: "the start page", Test: returnPaths(home("https://gw.test@evil.test", "https://gw.test:443@evil.test", "//gw.test%40evil.test", "//gw.test@evil.test/", `https://gw.test\@evil.test`))},
	{ID: "RD-08", Name: "line ends", Want: "the start page, and no header of the client's", Why: "CR and LF that become two blanks are still no path",
		Test: returnPaths(home("/ok%0d%0aSet-Cookie:%20x=1", "/ok\r\nSet-Cookie: x=1", "/ok\nLocation: //evil.test", "/ok%0aSet-Cookie:x=1", "/\u010d\u010aSet-Cookie: x=1", "/ok%00"))},
	{ID: "RD-09", Name: "dangerous schemes", Want: "the start page",
		Test: returnPaths(home("javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "vbscript:x", "blob:https://evil.test/x", "java\nscript:alert(1)", "java%0ascript:alert(1)", "file:///etc/passwd", "view-source:x", "about:blank"))},
	{ID: "RD-10", Name: "very long", Want: "beyond 8 KiB the start page, beyond 64 KiB 431; neither cookies nor the address at the issuer grow with it, and the store has no row", Why: "storage that strangers fill, heads that overflow at the issuer", Test: longReturnPaths},
	{ID: "RD-11", Name: "forged state", Want: "400, no redirect and no token call, whichever byte of the state is changed", Why: "traefik-forward-auth #77", Test: forgedState},
	{ID: "RD-12", Name: "suffixes of our host", Want: "the start page", Why: "CVE-2021-21291. There is no list of hosts to return to, so no suffix of one can be taken for it",
		Test: returnPaths(home("https://evilgw.test", "https://gw.test.evil", "https://xgw.test/", "https://gw.test:1/", "//gw.test:1", "https://other.test/", "https://gw.test/", ".gw.test", "evilgw.test"))},
	{ID: "RD-13", Name: "sign-in that another site begins", Want: "our own parameters alone at our own issuer, and the start page", Why: "CVE-2021-39191", Test: thirdPartySignIn,
		Missing: "400 for a wrong iss is not tried: sign-ins that others begin are no part of the gateway, and it ignores their parameters."},
	{ID: "RD-14", Name: "fragments and queries", Want: "kept as they are on our own host, and nothing else is", Test: func(t *testing.T, d *doors) {
		returnPaths(kept("/app?x=//evil#//evil", "/app?next=https://evil.test/", "/app?", "/app?a=1;b=%zz", "/app#frag"), home("?next", "#frag", "app", "", "?", "app?x=/", "*"))(t, d)
		t.Run("the address that was asked for", func(t *testing.T) { storedAddresses(t, d) })
	}},
	{ID: "RD-15", Name: "dot segments", Want: "the start page", Why: "who cleans a path may bring forth two slashes at its start",
		Test: returnPaths(home("/..//evil.test", `/./\evil.test`, "/.//evil.test", "/%2e%2e//evil.test", "/a/../..//evil.test", "/..", "/.", "/x/..", "/%2e//evil.test", "/.%2e//evil.test"))},
	{ID: "RD-16", Name: "confusion of hosts", Want: "the start page; and of an application's own redirects only those to itself become ours", Why: "CVE-2026-39821, CVE-2025-47912", Test: func(t *testing.T, d *doors) {
		returnPaths(home("https://gw.test.evil.test", "https://gw\u3002test", "https://xn--gw-.test", "http://[::1]gw.test", "https://gw.test:99999", "https://gw.test%00.evil.test", "https://[gw.test]", "//[::1", "https://gw.test#@evil.test", "https://gw.test?@evil.test"))(t, d)
		t.Run("the application's redirects", func(t *testing.T) { upstreamRedirects(t, d) })
	}},
	{ID: "RD-17", Name: "a form instead of a page", Want: "401 with a page that says so; nothing of the form is kept, and whoever signs in from there comes back by GET", Why: "mod_auth_openidc keeps forms, and lost them to others", Test: formNotSent},
	{ID: "RD-18", Name: "loop", Want: "the start page, but for our two pages that are places to be", Why: "sign-ins without end, and sign-outs that others cause",
		Test: returnPaths(home("/sign-in", "/callback", "/sign-out", "/sign-in/", "/sign-in?return_to=/", "/callback?code=1&state=2", "/sign-out#x", "/%73ign-out", "/sign%2dout", "/_portero/sign-out", "/_portero/session", "/_portero//sign-out",
			"/_portero/language?lang=es", "/_portero/continue", "/_portero/signed-out", "/_portero/auth", "/_portero/nothing", "/%5fportero/sign-out"), kept("/_portero/", "/_portero/signed-in"))},
	{ID: "RD-19", Name: "what an address tells", Want: "the address asked for, with its query, goes neither to the issuer nor to other sites nor into a log", Test: keptToOurselves},
	{ID: "RD-20", Name: "a corpus", Want: "550 open redirects, raw and decoded once and twice, all lead a browser to our own host", Why: "Go's parser is not the browser's: Node's URL judges", Test: corpus},
}}

// returnPath is one from outside, and where it leads.
type returnPath struct{ value, want string }

// home are return paths that lead to the start page.
func home(values ...string) (out []returnPath) {
	for _, v := range values {
		out = append(out, returnPath{v, "/"})
	}
	return out
}

// kept are return paths that lead where they say.
func kept(values ...string) (out []returnPath) {
	for _, v := range values {
		out = append(out, returnPath{v, v})
	}
	return out
}

// returnPaths tries return paths in every place that takes one, and has a browser's parser say where each of them leads.
func returnPaths(lists ...[]returnPath) func(*testing.T, *doors) {
	return func(t *testing.T, d *doors) {
		const ways = 3
		seen, turn := map[string]string{}, -1
		d.stranger(t, func(t *testing.T, w way) {
			alice := w
			alice.cookie = w.front.alice
			in, out := alice.talk(t), w.talk(t)
			turn++
			for i, p := range slices.Concat(lists...) {
				for _, to := range destinations(t, in, out, p.value) {
					seen[to] = p.value
				}
				// Whoever is signed in goes on at once.
				q := "?" + url.Values{"return_to": {p.value}}.Encode()
				for _, signIn := range []string{"/sign-in", "/_portero/sign-in"} {
					a := in.ask(request{Target: signIn + q, Lines: navigation})
					if got := a.Header.Get("Location"); a.Status != http.StatusSeeOther || got != p.want {
						t.Errorf("%s with %.80q, signed in: got %s to %.80q, want 303 to %.80q", signIn, p.value, a, got, p.want)
					}
				}
				// For everybody else the value travels sealed through a whole sign-in: for each value in one of the ways in.
				if i%ways == turn {
					person := w.traveller(t)
					seeOther(t, person.get(t, person.leave(t, "/sign-in"+q)), p.want)
				}
				w.nothingReached(t)
			}
			if strings.Contains(w.Log.String(), "evil") {
				t.Error("the log has a return path")
			}
			in.close()
			out.close()
		})
		staysHere(t, seen)
	}
}

// destinations tries a return path in the places that take one without going to the issuer, and returns where each leads.
func destinations(t *testing.T, in, out *talk, value string) (all []string) {
	t.Helper()
	issuer := in.Issuer.URL + "/"
	expect := func(a *gatewaytest.Answer, status int, what string) *gatewaytest.Answer {
		t.Helper()
		if a.Status != status {
			t.Fatalf("%s with %.80q: got %s, want %d", what, value, a, status)
		}
		for _, c := range a.Header.Values("Set-Cookie") {
			if strings.HasPrefix(c, "x=") {
				t.Errorf("%s with %.80q: it made a header: %q", what, value, c)
			}
		}
		if l := a.Header.Get("Location"); l != "" && !strings.HasPrefix(l, issuer) {
			all = append(all, l)
		}
		return a
	}
	q := url.Values{"return_to": {value}}.Encode()
	expect(in.ask(request{Target: "/sign-in?" + q, Lines: navigation}), 303, "sign-in, signed in")
	expect(out.ask(request{Target: "/_portero/language?lang=es&" + q, Lines: navigation}), 303, "the language switch")
	expect(out.ask(request{Method: "POST", Target: "/sign-in", Body: q, Lines: ownForm}), 405, "a form for the sign-in")
	page := expect(in.ask(request{Target: "/sign-out?" + q, Lines: navigation}), 200, "the page that asks before signing out")
	all = append(all, links(t, page.Body)...)
	page = expect(out.ask(request{Target: "/_portero/no-page?" + q, Lines: navigation}), 404, "a page that is none")
	all = append(all, links(t, page.Body)...)

	// Through the issuer's end-session endpoint and back.
	a := expect(out.ask(request{Method: "POST", Target: "/sign-out", Body: q, Lines: ownForm}), 303, "signing out")
	end, err := url.Parse(a.Header.Get("Location"))
	if err != nil || !strings.HasPrefix(end.String(), issuer+"oidc/session/end?") {
		t.Fatalf("signing out with %.80q: got Location %q, want the end-session endpoint", value, a.Header.Get("Location"))
	}
	back := end.Query()["post_logout_redirect_uri"]
	if want := in.URL + "/_portero/signed-out"; len(back) != 1 || back[0] != want || strings.Contains(end.RawQuery, "evil") {
		t.Errorf("signing out with %.80q: the issuer is told %q, want to come back to %s and nothing of the value", value, end.RawQuery, want)
	}
	page = expect(out.ask(request{Target: "/_portero/signed-out?" + url.Values{"state": end.Query()["state"]}.Encode(), Lines: navigation}), 200, "the page after signing out")
	all = append(all, links(t, page.Body)...)

	if strings.IndexFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) < 0 && len(value) < 8<<10 {
		page = expect(out.ask(request{Lines: fieldsOf("Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Sec-Fetch-Site", "same-origin", "Referer", in.URL+value)}), 401, "a frame")
		all = append(all, links(t, page.Body)...)
	}
	return all
}

// ownForm are the headers of a form on a page of ours.
var ownForm = fieldsOf("Accept", "text/html", "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "same-origin")

// links are the addresses of a page that a browser could go to: of links, forms and hidden fields, and those inside
// their return_to.
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

// staysHere fails for every address that a browser on our page would take elsewhere, or Go would. seen: address → what
// it was made of.
func staysHere(t *testing.T, seen map[string]string) {
	t.Helper()
	const origin, base = "https://" + gatewaytest.Host, "https://" + gatewaytest.Host + "/some/page"
	here, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) == 0 {
		t.Fatal("no address was seen")
	}
	var in, origins []string
	for address, from := range seen {
		in = append(in, address)
		if u, err := here.Parse(address); err != nil || u.Scheme+"://"+u.Host != origin {
			t.Errorf("%q, from %.80q, leads to %v (%v), want %s", address, from, u, err, origin)
		}
	}
	t.Run("in a browser", func(t *testing.T) {
		gatewaytest.Node(t, `console.log(JSON.stringify(input.addresses.map(a => { try { return new URL(a, input.base).origin } catch { return 'invalid' } })))`,
			map[string]any{"addresses": in, "base": base}, &origins)
		for i, got := range origins {
			if got != origin {
				t.Errorf("%q, from %.80q, leads a browser to %s, want %s", in[i], seen[in[i]], got, origin)
			}
		}
	})
}
