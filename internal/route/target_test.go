package route_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"portero/internal/route"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParseTargetRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, target string }{
		{"empty", ""},
		{"asterisk", "*"},
		{"no slash", "admin"},
		{"query alone", "?x"},
		{"file URL", "file:///etc/passwd"},
		{"javascript", "javascript:alert(1)"},
		{"other scheme", "ftp://gw.test/"},
		{"absolute, other host", "http://evil.test/public"},
		{"absolute, other port", "http://gw.test:8080/"},
		{"absolute, port of the other scheme", "http://gw.test:443/"},
		{"absolute, user information", "http://gw.test@evil.test/"},
		{"absolute, user information of ours", "http://user@gw.test/"},
		{"absolute, no host", "http:///admin"},
		{"absolute, one slash", "http:/gw.test/"},
		{"absolute, blank host", "http://gw .test/"},
		{"absolute, open bracket", "http://[/"},
		{"absolute, fragment", "http://gw.test#/admin"},
		{"absolute, dot segment", "http://gw.test/public/../admin"},
		{"absolute, backslash before the path", `http://gw.test\@evil.test/`},
		{"authority", "gw.test:443"},
		{"dot segment", "/a/../b"},
		{"dot segment at the end", "/a/.."},
		{"single dot", "/a/./b"},
		{"single dot at the end", "/a/."},
		{"single dot at the start", "/."},
		{"encoded dots", "/a/%2e%2E/b"},
		{"half encoded dots", "/a/.%2e/b"},
		{"dots encoded twice", "/a/%252e%252e/b"},
		{"dots encoded three times", "/a/%25252e%25252e/b"},
		{"dots encoded in parts", "/a/%2%35%32%65/b"},
		{"dot segment after encoded slash", "/a%2f..%2fb"},
		{"dot segment after encoded backslash", "/a%5c..%5cb"},
		{"dot segment with parameter", "/a/..;x/b"},
		{"dot segment with encoded parameter", "/a/..%3bx/b"},
		{"dot segment with parameter encoded twice", "/a/..%253bx/b"},
		{"dot segment before encoded query", "/a/..%3fx"},
		{"dot segment before encoded fragment", "/a/..%23x"},
		{"dot segment with blank", "/a/..%20/b"},
		{"bad escape", "/a%zz"},
		{"escape cut short", "/a%2"},
		{"lone percent", "/100%"},
		{"IIS escape", "/%u002e%u002e/admin"},
		{"NUL", "/a%00"},
		{"NUL encoded twice", "/a%2500"},
		{"newline", "/a%0a"},
		{"DEL", "/a%7f"},
		{"raw newline", "/a\nb"},
		{"raw tab", "/a\tb"},
		{"raw blank", "/a b"},
		{"raw DEL", "/a\x7f"},
		{"raw non-ASCII", "/caf\u00e9"},
		{"raw fragment", "/a#b"},
		{"raw backslash", `/a\b`},
		{"raw double quote", `/a"b%2F..%2Fadmin`},
		{"raw vertical bar", "/a|b%2Fc"},
		{"raw braces", "/x{y}%3b"},
		{"raw angle bracket", "/a<b"},
		{"raw caret", "/a^b"},
		{"raw backtick", "/a`b"},
		{"overlong slash", "/..%c0%afadmin"},
		{"overlong slash of three bytes", "/a%e0%80%afb"},
		{"overlong dot encoded twice", "/a/%25c0%25ae"},
		{"Latin-1", "/caf%e9"},
		{"surrogate", "/%ed%a0%80"},
		{"beyond Unicode", "/%f5%80%80%80"},
		{"fragment in the query", "/a?b#c"},
		{"blank in the query", "/a?b c"},
		{"newline in the query", "/a?b\nc"},
		{"non-ASCII in the query", "/a?\u00e9"},
		{"DEL in the query", "/a?\x7f"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := route.ParseTarget("GET", test.target, host)
			var refused *route.TargetError
			if !errors.As(err, &refused) || refused.Reason == "" || refused.Key != "" {
				t.Fatalf("ParseTarget(%q) = %+v, %v; want a TargetError without key", test.target, got, err)
			}
			if got != (route.Target{}) {
				t.Errorf("ParseTarget(%q) returns %+v beside the error", test.target, got)
			}
			if strings.Contains(err.Error(), "admin") || strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("ParseTarget(%q): the error quotes the target: %q", test.target, err)
			}
		})
	}
}

func TestParseTarget(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		method, target, host string
		want                 route.Target
	}{
		{"GET", "/", host, route.Target{Raw: "/", Path: "/"}},
		{"GET", "/?", host, route.Target{Raw: "/", Path: "/", HasQuery: true}},
		{"GET", "/a?b?c", host, route.Target{Raw: "/a", Path: "/a", Query: "b?c", HasQuery: true}},
		{"GET", "/app?a=1;b=2&c=%zz&%00=%0a&\"<>{}|\\^`", host, route.Target{Raw: "/app", Path: "/app", Query: "a=1;b=2&c=%zz&%00=%0a&\"<>{}|\\^`", HasQuery: true}},
		{"GET", "/a%20b/%C3%a9", host, route.Target{Raw: "/a%20b/%C3%a9", Path: "/a b/\u00e9"}},
		{"GET", "/a-._~!$&'()*+,;=:@[x]/", host, route.Target{Raw: "/a-._~!$&'()*+,;=:@[x]/", Path: "/a-._~!$&'()*+,;=:@[x]/"}},
		{"GET", "//admin", host, route.Target{Raw: "//admin", Path: "//admin"}},
		{"GET", "//gw.test/admin", host, route.Target{Raw: "//gw.test/admin", Path: "//gw.test/admin"}},
		{"GET", "/...", host, route.Target{Raw: "/...", Path: "/..."}},
		{"GET", "/.well-known/x", host, route.Target{Raw: "/.well-known/x", Path: "/.well-known/x"}},
		{"GET", "/a..b/.c", host, route.Target{Raw: "/a..b/.c", Path: "/a..b/.c"}},
		{"GET", "/100%25.pdf", host, route.Target{Raw: "/100%25.pdf", Path: "/100%.pdf"}},
		{"GET", "http://gw.test/a?b", host, route.Target{Raw: "/a", Path: "/a", Query: "b", HasQuery: true}},
		{"GET", "HTTPS://GW.test:443/a", host, route.Target{Raw: "/a", Path: "/a"}},
		{"GET", "http://gw.test", host, route.Target{Raw: "/", Path: "/"}},
		{"GET", "http://gw.test?x", host, route.Target{Raw: "/", Path: "/", Query: "x", HasQuery: true}},
		{"GET", "http://gw.test//evil.test/", host, route.Target{Raw: "//evil.test/", Path: "//evil.test/"}},
		{"GET", "http://localhost:3000/a", "localhost:3000", route.Target{Raw: "/a", Path: "/a"}},
		{"OPTIONS", "*", host, route.Target{Asterisk: true}},
		{"OPTIONS", "http://gw.test", host, route.Target{Asterisk: true}},
		{"OPTIONS", "/", host, route.Target{Raw: "/", Path: "/"}},
	} {
		got, err := route.ParseTarget(test.method, test.target, test.host)
		if diff := cmp.Diff(test.want, got, cmpopts.IgnoreUnexported(route.Target{})); err != nil || diff != "" {
			t.Errorf("ParseTarget(%s %q): %v (-want +got)\n%s", test.method, test.target, err, diff)
		}
		if path, query, _ := strings.Cut(test.target, "?"); strings.HasPrefix(path, "/") && (got.String() != test.target || got.Query != query) {
			t.Errorf("ParseTarget(%q).String() = %q; want it byte for byte", test.target, got.String())
		}
	}
	if got, _ := route.ParseTarget("OPTIONS", "*", host); got.String() != "*" {
		t.Errorf("String() of the asterisk form = %q", got)
	}
}

// TestPA has the path cases that this package decides. "400" under both settings means that no setting helps;
// otherwise the name of the route under `by-route`, where it must never be a public one for what a lenient upstream
// would take for something protected.
func TestPA(t *testing.T) {
	t.Parallel()
	strict, byRoute := newTable(t, siteRoutes(route.Strict)), newTable(t, siteRoutes(route.ByRoute))
	for _, test := range []struct{ id, method, target, strict, byRoute string }{
		{"PA-01", "GET", "/public/../admin", "400", "400"},
		{"PA-01", "GET", "/public/./../admin", "400", "400"},
		{"PA-02", "GET", "/public/%2e%2e/admin", "400", "400"},
		{"PA-02", "GET", "/public/%2E./admin", "400", "400"},
		{"PA-02", "GET", "/public/.%2e/admin", "400", "400"},
		{"PA-03", "GET", "/public/..%2fadmin", "400", "400"},
		{"PA-03", "GET", "/public%2f..%2fadmin", "400", "400"},
		{"PA-03", "GET", "/public/x%2f..%2f..%2fadmin", "400", "400"},
		{"PA-03", "GET", "/public%2fx", "400", "400"},
		{"PA-03", "GET", "/public/x%2fy", "400", "public"},
		{"PA-03", "GET", "/public%2fadmin", "400", "400"},
		{"PA-03", "GET", "/public/%2fadmin", "400", "400"},
		{"PA-04", "GET", "/public/%252e%252e/admin", "400", "400"},
		{"PA-04", "GET", "/public/%252e%252e%252fadmin", "400", "400"},
		{"PA-04", "GET", "/%2561dmin/x", "400", "400"},
		{"PA-04", "GET", "/public/%2561dmin", "400", "400"},
		{"PA-04", "GET", "/public/%2561", "400", "public"},
		{"PA-05", "GET", "/public/..%5cadmin", "400", "400"},
		{"PA-05", "GET", `/public\..\admin`, "400", "400"},
		{"PA-05", "GET", "/public%5cx", "400", "400"},
		{"PA-05", "GET", "/public/%5cadmin", "400", "400"},
		{"PA-05", "GET", "/public/a%5cb", "400", "public"},
		{"PA-06", "GET", "/public/..;/admin", "400", "400"},
		{"PA-06", "GET", "/public;/../admin", "400", "400"},
		{"PA-06", "GET", "/admin;/public/", "400", "400"},
		{"PA-06", "GET", "/public/..%3b/admin", "400", "400"},
		{"PA-06", "GET", "/public/admin;x", "400", "400"},
		{"PA-06", "GET", "/public/admin%3bx", "400", "400"},
		{"PA-06", "GET", "/public;x/y", "400", "400"},
		{"PA-06", "GET", "/public/;x/admin", "400", "400"},
		{"PA-06", "GET", "/public/x;y%2fz/../admin", "400", "400"},
		{"PA-06", "GET", "/public/x;y", "400", "public"},
		{"PA-07", "GET", "//admin", "400", "400"},
		{"PA-07", "GET", "/public//..//admin", "400", "400"},
		{"PA-07", "GET", "//gw.test/public/../admin", "400", "400"},
		{"PA-07", "GET", "//public/x", "400", "400"},
		{"PA-07", "GET", "//x/admin", "400", "400"},
		{"PA-07", "GET", "//x/public/y", "400", "400"},
		{"PA-07", "GET", "///x/admin/y", "400", "400"},
		{"PA-07", "GET", "/%2fx/admin", "400", "400"},
		{"PA-07", "GET", "/%5c%5cx/admin", "400", "400"},
		{"PA-07", "GET", "//x/y", "400", "root"},
		{"PA-07", "GET", "/public///x", "400", "public"},
		{"PA-07", "GET", "/public//admin", "400", "400"},
		{"PA-08", "GET", "/public/..%c0%afadmin", "400", "400"},
		{"PA-08", "GET", "/public/%e0%80%af", "400", "400"},
		{"PA-08", "GET", "/public/%00/../admin", "400", "400"},
		{"PA-08", "GET", "/admin%00/public/", "400", "400"},
		{"PA-08", "GET", "/public/%0a../admin", "400", "400"},
		{"PA-09", "GET", "/public/%2f", "400", "public"},
		{"PA-09", "GET", "/public/%5c", "400", "public"},
		{"PA-09", "GET", "/public/%00", "400", "400"},
		{"PA-09", "GET", "/public/%3b", "400", "public"},
		{"PA-09", "GET", "/public/%25", "400", "public"},
		{"PA-09", "GET", "/public/%3f", "400", "public"},
		{"PA-09", "GET", "/public/%23", "400", "public"},
		{"PA-09", "GET", "/public/admin%3fx", "400", "400"},
		{"PA-09", "GET", "/public/admin%23x", "400", "400"},
		{"PA-09", "GET", "/public/admin%253fx", "400", "400"},
		{"PA-09", "GET", "/health%3fx", "400", "400"},
		{"PA-10", "GET", "/api/..%2fadmin", "400", "400"},
		{"PA-10", "GET", "/api//admin", "400", "400 by strip_prefix"},
		{"PA-10", "GET", "/api%2fadmin", "400", "400"},
		{"PA-10", "GET", "/apix/y", "root", "root"},
		{"PA-10", "GET", "/api/../admin", "400", "400"},
		{"PA-10", "GET", "/api/y", "api", "api"},
		{"PA-11", "GET", "/PUBLIC/x", "root", "root"},
		{"PA-11", "GET", "/%70ublic/x", "400", "400"},
		{"PA-11", "GET", "/public/%61dmin", "400", "400"},
		{"PA-11", "GET", "/public/%61", "public", "public"},
		{"PA-12", "GET", "/health", "health", "health"},
		{"PA-12", "GET", "/health/", "health", "health"},
		{"PA-12", "GET", "/health;x", "400", "400"},
		{"PA-12", "GET", "/health%20", "root", "root"},
		{"PA-12", "GET", "/health.", "root", "root"},
		{"PA-12", "GET", "/healthx", "root", "root"},
		{"PA-12", "GET", "/health/x", "root", "root"},
		{"PA-12", "GET", "/health//", "400", "400"},
		{"PA-12", "GET", "/health/../admin", "400", "400"},
		{"PA-12", "GET", "/health%2f..%2fadmin", "400", "400"},
		{"PA-13", "GET", "/admin?/public/", "admin", "admin"},
		{"PA-13", "GET", "/admin?x=/public/a", "admin", "admin"},
		{"PA-13", "GET", "/admin?", "admin", "admin"},
		{"PA-13", "GET", "/health?x=/admin", "health", "health"},
		{"PA-14", "GET", "/admin#/public/x", "400", "400"},
		{"PA-14", "GET", "/public/x#/../admin", "400", "400"},
		{"PA-14", "GET", "/admin%23/public/", "400", "400"},
		{"PA-16", "GET", "/app?a=1;b=2&c=%zz", "root", "root"},
		{"PA-18", "GET", "http://evil.test/public/../admin", "400", "400"},
		{"PA-18", "GET", "http://evil.test/public/x", "400", "400"},
		{"PA-18", "GET", "https://gw.test/admin", "admin", "admin"},
		{"PA-18", "GET", "file:///etc/passwd", "400", "400"},
		{"PA-18", "GET", "*", "400", "400"},
		{"PA-21", "HEAD", "/admin", "admin", "admin"},
		{"PA-23", "GET", "/%", "400", "400"},
		{"PA-23", "GET", "", "400", "400"},
		{"PA-23", "GET", "http://[", "400", "400"},
		{"PA-23", "GET", "/" + strings.Repeat("a", 64<<10), "root", "root"},
		{"PA-26", "GET", "/a|b%2Fc", "400", "400"},
		{"PA-26", "GET", `/a"b%2F..%2Fadmin`, "400", "400"},
		{"PA-26", "GET", "/x{y}%3b", "400", "400"},
	} {
		for mode, want := range map[*route.Table]string{strict: test.strict, byRoute: test.byRoute} {
			got := match(mode, host, test.method, test.target)
			if got == "api" {
				got = forward(t, mode, test.method, test.target)
			}
			if got != want {
				t.Errorf("%s %s %.60q: got %s, want %s (strict: %t)", test.id, test.method, test.target, got, want, mode == strict)
			}
		}
	}
}

func forward(t *testing.T, table *route.Table, method, requestURI string) string {
	t.Helper()
	target := parse(t, requestURI)
	r, err := table.Match(host, method, target)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Forward(target); err != nil {
		return "400 by strip_prefix"
	}
	return r.Name
}

// TestByRouteKeepsRealPaths: applications that need such paths get them, byte for byte.
func TestByRouteKeepsRealPaths(t *testing.T) {
	t.Parallel()
	table := newTable(t, []route.Route{
		{Name: "queue", Hosts: []string{host}, Path: "/api", Access: route.SignedIn, Paths: route.ByRoute},
		{Name: "git", Hosts: []string{host}, Path: "/", Access: route.SignedIn, Paths: route.ByRoute, Index: 1},
		{Name: "files", Hosts: []string{host}, Path: "/files", Access: route.SignedIn, Index: 2},
	})
	for requestURI, want := range map[string]string{
		"/api/queues/%2F/q":                   "queue",
		"/api/queues/%2f/q%2Fr?columns=a;b":   "queue",
		"/gitlab/api/v4/projects/g%2Fp/x":     "git",
		"/app/page;jsessionid=0A1B?x=1":       "git",
		"/app/page;jsessionid=0A1B.node1;v=2": "git",
		"/docs/100%25.pdf":                    "git",
		"/w/C%23":                             "git",
		"/w/Who%3F":                           "git",
		"/proxy/http://example.com//x":        "git",
		"/share%5Cdir":                        "git",
	} {
		target := parse(t, requestURI)
		r, err := table.Match(host, "GET", target)
		if err != nil || r.Name != want {
			t.Errorf("Match(%s) = %v, %v; want %s", requestURI, r, err, want)
			continue
		}
		path, err := r.Forward(target)
		if raw, _, _ := strings.Cut(requestURI, "?"); err != nil || path != raw {
			t.Errorf("Forward(%s) = %q, %v; want it byte for byte", requestURI, path, err)
		}
	}
	for requestURI, key := range map[string]string{
		"/files/100%25.pdf":   "routes[2].paths", // strict
		"/files/a;v=1":        "routes[2].paths",
		"/files//a":           "routes[2].paths",
		"/api%2Fqueues":       "routes[0].paths", // another route when not decoded
		"/api;v=1/queues":     "routes[1].paths",
		"/x/%252e%252e/files": "", // no setting helps
	} {
		target, err := route.ParseTarget("GET", requestURI, host)
		if err == nil {
			_, err = table.Match(host, "GET", target)
		}
		var refused *route.TargetError
		if !errors.As(err, &refused) || refused.Key != key || key != "" && !strings.Contains(err.Error(), key) {
			t.Errorf("Match(%s): %v; want a TargetError with the key %q", requestURI, err, key)
		}
	}
}

// TestLinearTime (DS-11): the hostile paths of 60 KiB must not cost more than a harmless one by orders of magnitude.
func TestLinearTime(t *testing.T) {
	t.Parallel()
	tables := []*route.Table{newTable(t, siteRoutes(route.Strict)), newTable(t, siteRoutes(route.ByRoute))}
	const size = 60 << 10
	for _, unit := range []string{"/..", "%2e", "/", "%2f", ";", "/;", "%25", "25", "%2525", "%252e%252f", "/a;b", "%5c", "%3b%2f", "%253b%255c", "/%3f%23", "a"} {
		for _, start := range []string{"/public", "/public/%", "/public/%25"} {
			requestURI := start + strings.Repeat(unit, size/len(unit))
			began := time.Now()
			for _, table := range tables {
				match(table, host, "GET", requestURI)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("60 KiB of %s after %s took %v", unit, start, took)
			}
		}
	}
}

func TestValidMethod(t *testing.T) { // ME-01 to ME-03
	t.Parallel()
	known := strings.Fields(`GET HEAD POST PUT DELETE OPTIONS PATCH PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK
		VERSION-CONTROL REPORT CHECKOUT CHECKIN UNCHECKOUT MKWORKSPACE UPDATE LABEL MERGE BASELINE-CONTROL MKACTIVITY SEARCH ACL`)
	if got, want := route.Methods(), strings.Join(known, ", "); got != want {
		t.Errorf("Methods() = %q, want %q", got, want)
	}
	for _, m := range known {
		if !route.ValidMethod(m) {
			t.Errorf("ValidMethod(%s) = false", m)
		}
		if route.ValidMethod(strings.ToLower(m)) || route.ValidMethod(m+" ") {
			t.Errorf("ValidMethod takes other spellings of %s", m)
		}
	}
	for _, m := range []string{"", "CONNECT", "TRACE", "TRACK", "get", "Get", "GET ", "GET%20", "M-SEARCH", "FOO", "PRI", "DEBUG", "PURGE", strings.Repeat("A", 1024)} {
		if route.ValidMethod(m) {
			t.Errorf("ValidMethod(%.20q) = true", m)
		}
	}
}
