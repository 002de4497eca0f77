package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

// verdict is what becomes of a target: what a stranger gets and what Alice gets.
type verdict int

const (
	isRefused   verdict = iota // 400 for everybody
	isProtected                // sign-in for strangers; Alice's goes through, byte for byte
	isPublic                   // goes through for everybody, byte for byte
	isMissing                  // 404 of the gateway's own
	isLocal                    // 204 of the gateway's own
	isSignIn                   // the gateway's own sign-in: 302, or 303 with a session
)

// pathCase is a target and its verdict where all routes have `paths: strict`, and `by-route`.
type pathCase struct {
	name, target  string
	strict, loose verdict
	forwarded     string // what leaves, where it is not the target: strip_prefix, absolute form
	line          bool   // can only stand on a request line of HTTP/1.1
}

func pathCases(origin string) []pathCase {
	both := func(name string, v verdict, targets ...string) []pathCase {
		out := make([]pathCase, len(targets))
		for i, target := range targets {
			out[i] = pathCase{name: name, target: target, strict: v, loose: v}
		}
		return out
	}
	loose := func(name string, v verdict, targets ...string) []pathCase {
		out := both(name, v, targets...)
		for i := range out {
			out[i].strict = isRefused
		}
		return out
	}
	leaves := func(forwarded string, cases ...pathCase) []pathCase {
		for i := range cases {
			cases[i].forwarded = forwarded
		}
		return cases
	}
	line := func(cases ...pathCase) []pathCase {
		for i := range cases {
			cases[i].line = true
		}
		return cases
	}
	var all []pathCase
	for _, list := range [][]pathCase{
		both("PA-01 dot-dot", isRefused, "/public/../admin", "/public/./../admin", "/public/..", "/..", "/.", "/public/.", "/public/../public/x", "/../public/x"),
		both("PA-02 encoded dots", isRefused, "/public/%2e%2e/admin", "/public/%2E./admin", "/public/.%2e/admin", "/public/%2e/x", "/%2E%2E"),
		both("PA-03 encoded slash", isRefused, "/public/..%2fadmin", "/public%2f..%2fadmin", "/public/x%2f..%2f..%2fadmin", "/public%2fadmin", "/public/..%2Fadmin"),
		both("PA-04 double encoding", isRefused, "/public/%252e%252e/admin", "/public/%252e%252e%252fadmin", "/public/%25252e%25252e/admin", "/%2561dmin", "/%252fadmin"),
		both("PA-05 backslash", isRefused, "/public/..%5cadmin", `/public\..\admin`, `/public/..\admin`, "/public%5c..%5cadmin", "/public/%255c..%255cadmin", `/\admin`, "/%5cadmin"),
		both("PA-06 path parameters", isRefused, "/public/..;/admin", "/public;/../admin", "/admin;/public/", "/public/..%3b/admin", "/public/..;x=1/admin", "/;/admin", "/public/.;/x", "/admin;x", "/public;a/x"),
		both("PA-07 multiple slashes", isRefused, "//admin", "/public//..//admin", "//localhost/public/../admin", "///admin", "//public/x"),
		loose("PA-07 multiple slashes below one route", isPublic, "/public///x", "/public//"),
		loose("PA-07 multiple slashes below a protected route", isProtected, "//wiki", "/wiki//page", "/health//x"),
		both("PA-08 overlong or illegal", isRefused, "/public/..%c0%afadmin", "/public/%e0%80%af", "/public/%00/../admin", "/admin%00/public/", "/public/%0a../admin", "/public/%0d", "/public/%7f", "/public/%ff", "/public/%", "/public/%2", "/public/%zz", "/public/\xc0\xaf", "/public/\xe2\x82\xac", "/public/%u002e"),
		both("PA-09 reserved encodings", isRefused, "/public/%00", "/wiki/%00"),
		loose("PA-09 reserved encodings", isPublic, "/public/a%2fb", "/public/a%5cb", "/public/a%3bb", "/public/100%25.pdf", "/public/a%3fb", "/public/a%23b", "/public/a;b"),
		loose("PA-09 reserved encodings", isProtected, "/wiki/a%2fb", "/wiki/a%5cb", "/wiki/a%3bb", "/wiki/100%25.pdf", "/wiki/a%3fb", "/wiki/a%23b", "/wiki;b"),
		both("PA-10 prefix strip", isRefused, "/api/..%2fadmin", "/api//admin", "/api%2fadmin", "/api/../admin", "/api/%2fadmin", "/api/;/admin", "/api;/x", "/api/%5cx", "/api/%252f%252fx", "/api/.%2e/x", "/%61pi/x"),
		both("PA-10 not below the prefix", isProtected, "/apix/y"),
		leaves("/y", both("PA-10 the remainder", isProtected, "/api/y")...),
		leaves("/", both("PA-10 nothing remains", isProtected, "/api", "/api/")...),
		leaves("/x%2fy", loose("PA-10 the remainder, by route", isProtected, "/api/x%2fy")...),
		leaves("/y?q=%2e%2e/", both("PA-10 with a query", isProtected, "/api/y?q=%2e%2e/")...),
		both("PA-11 case", isProtected, "/PUBLIC/x", "/Health", "/Public/x"),
		both("PA-11 encoded letters", isRefused, "/%70ublic/x", "/publi%63/x", "/%61dmin"),
		both("PA-12 a slash behind is the same path", isPublic, "/health/"),
		both("PA-12 trailing forms", isProtected, "/health%20", "/health.", "/healthx", "/health/x", "/health%20/"),
		both("PA-12 trailing forms", isRefused, "/health;x", "/health/../admin", "/health%2f..%2fadmin", "/health%3fx", "/health%23", "/health%00"),
		both("PA-13 query tricks", isProtected, "/admin?/public/", "/admin?x=/public/a", "/admin?", "/admin??", "/wiki?/../public/x", "/admin?x=%00%2e%2e/&..;/"),
		both("PA-13 query tricks on a public route", isPublic, "/health?x=/admin", "/public/x?../admin", "/public/x?"),
		both("PA-14 fragment", isRefused, "/admin#/public/x", "/public/x#/../admin", "/admin%23/public/", "/public/x?a#b", "/#/public/"),
		both("PA-16 unparsable query", isProtected, "/app?a=1;b=2&c=%zz", "/app?%", "/app?a=%ff&&==&;", "/app?a[]=1&b|", `/app?{"a":1}`, "/app?a=b?c=d", "/app?a=\\x"),
		both("PA-16 a query with bytes no query has", isRefused, "/app?a=\x01", "/app?a=\xff", "/app?a=\x7f"),
		line(leaves("/wiki", both("PA-18 absolute form of ours", isProtected, origin+"/wiki", strings.ToUpper(origin[:5])+origin[5:]+"/wiki")...)...),
		line(leaves("/", both("PA-18 absolute form without path", isProtected, origin)...)...),
		line(both("PA-18 absolute form", isRefused, origin+"/public/../admin", "file:///etc/passwd", "ftp://localhost/wiki", "*", "admin", "localhost", "javascript:alert(1)", "/wiki wiki", "")...),
		both("PA-24 no endpoint of ours", isRefused, "/callback/../admin", "/sign-in%2f..", "/_portero/../admin", "/_portero/%2e%2e/admin"),
		loose("PA-24 another reading is an endpoint of ours", isMissing, "/sign-in;x", "/_portero;x/session", "//_portero/session", "/sign-out%3b", "//sign-in", "/sign-in%23", "/_portero%252fsession", "/%255fportero/x", "/_portero%5csession"),
		both("PA-24 no endpoint of ours", isProtected, "/sign-out/x", "/callback-evil", "/.well-known/openid-configuration", "/sign-in.html", "/_porterox", "/Sign-In"),
		both("PA-24 under the prefix nothing is forwarded", isMissing, "/_portero%2fsession", "/_portero//session", "/_portero/;/x", "/_portero/nothing", "/_portero/session/x", "/%5fportero/session", "/_portero/sessio%6e", "/sign-i%6e", "/_portero/assets/..x"),
		both("PA-24 exact", isSignIn, "/sign-in", "/_portero/sign-in"),
		both("PA-26 one odd byte", isRefused, "/a|b%2Fc", `/a"b%2F..%2Fadmin`, "/x{y}%3b", "/a^b", "/a`b", "/a<b>c", "/public/a|b", "/public/{x}", `/public/"`),
	} {
		all = append(all, list...)
	}
	return all
}

// PA-01 to PA-14, PA-16, PA-18, PA-24 to PA-26: what a target is decided on is what is forwarded, with and without
// session, over HTTP/1.1 and HTTP/2.
func TestSecurityPaths(t *testing.T) {
	t.Parallel()
	for _, setting := range []string{"strict", "by-route"} {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			f := newFront(t, gatewaytest.Options{TLS: true, Routes: strings.ReplaceAll(catalogueRoutes, "PATHS", "paths: "+setting)})
			for _, tt := range pathCases(f.URL) {
				t.Run(tt.name+" "+tt.target, func(t *testing.T) {
					want := tt.strict
					if setting == "by-route" {
						want = tt.loose
					}
					for _, who := range []struct{ name, cookie string }{{"stranger", ""}, {"Alice", f.alice}} {
						c := f.Dial(t)
						c.Send(f.head("GET", tt.target, who.cookie, navigation))
						f.judge(t, "HTTP/1.1, "+who.name, tt, want, who.cookie != "", c.Answer("GET"))
						f.next(t, c) // PA-25
						c.Close()
						if tt.line {
							continue
						}
						fields := [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", f.host}, {":path", tt.target}, {"accept", "text/html"}}
						if who.cookie != "" {
							fields = append(fields, [2]string{"cookie", who.cookie})
						}
						f.judge(t, "HTTP/2, "+who.name, tt, want, who.cookie != "", f.RawHTTP2(t, gatewaytest.HTTP2{Fields: fields}))
					}
				})
			}
			f.quiet(t)
			if got := f.Sessions(t); got != 1 {
				t.Errorf("rows in the store: got %d, want Alice's", got)
			}
		})
	}
}

// judge compares an answer, and what reached the upstream, with a verdict.
func (f *front) judge(t *testing.T, how string, c pathCase, v verdict, signedIn bool, a *gatewaytest.Answer) {
	t.Helper()
	want := map[verdict]int{isRefused: 400, isProtected: 302, isPublic: 200, isMissing: 404, isLocal: 204, isSignIn: 302}[v]
	if signedIn && v == isProtected {
		want = http.StatusOK
	} else if signedIn && v == isSignIn {
		want = http.StatusSeeOther
	}
	status := a.Status
	if status == 0 && v == isRefused && strings.HasPrefix(how, "HTTP/2") && a.Err != nil && strings.Contains(a.Err.Error(), "PROTOCOL_ERROR") {
		status = http.StatusBadRequest // RFC 9113 8.1.1: a malformed request ends its stream
	}
	if status != want {
		t.Errorf("%s: got %s, want %d", how, a, want)
	}
	if want != http.StatusOK {
		f.nothingReached(t)
		f.noSession(t, a)
		return
	}
	leaves := c.forwarded
	if leaves == "" {
		leaves = c.target
	}
	all := f.Upstream.Requests()
	f.Upstream.Forget()
	if len(all) != 1 || line(all[0]) != "GET "+leaves+" HTTP/1.1" {
		t.Errorf("%s: the upstream got %q, want GET %s", how, all, leaves)
	}
}

// next makes a good request on the connection of another one, unless that was closed.
func (f *front) next(t *testing.T, c *gatewaytest.Conn) {
	t.Helper()
	c.Send(f.head("GET", "/public/next", "", ""))
	a := c.Answer("GET")
	if a.Status == 0 {
		f.Upstream.Forget() // the connection was closed, which is the safe thing after a malformed request
		return
	}
	if a.Status != http.StatusOK || a.Body != "<!doctype html><title>app</title>the application" {
		t.Errorf("PA-25: the next request on the connection: got %s %q, want the application's page", a, a.Body)
	}
	if got := f.Upstream.Requests(); len(got) != 1 || line(got[0]) != "GET /public/next HTTP/1.1" {
		t.Errorf("PA-25: the upstream got %q, want the next request alone", got)
	}
	f.Upstream.Forget()
}
