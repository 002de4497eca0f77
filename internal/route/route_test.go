package route_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"portero/internal/route"

	"github.com/google/go-cmp/cmp"
)

const host = "gw.test"

// siteRoutes is a site with a public part, an exact public page and protected rest, all with the given paths mode.
func siteRoutes(mode route.Paths) []route.Route {
	return []route.Route{
		{Name: "root", Hosts: []string{host}, Path: "/", Access: route.SignedIn, Paths: mode, Index: 0},
		{Name: "public", Hosts: []string{host}, Path: "/public", Access: route.Public, Paths: mode, Index: 1},
		{Name: "health", Hosts: []string{host}, Path: "/health", Exact: true, Access: route.Public, Paths: mode, Index: 2},
		{Name: "admin", Hosts: []string{host}, Path: "/admin", Access: route.SignedIn, Paths: mode, Index: 3},
		{Name: "secret", Hosts: []string{host}, Path: "/public/admin", Exact: true, Access: route.SignedIn, Paths: mode, Index: 4},
		{Name: "api", Hosts: []string{host}, Path: "/api", Access: route.SignedIn, Paths: mode, StripPrefix: true, Index: 5},
	}
}

func TestMatchOrder(t *testing.T) {
	t.Parallel()
	const a, b = "a.test", "b.test:8443"
	table := newTable(t, []route.Route{
		{Name: "a", Hosts: []string{a}, Path: "/"},
		{Name: "a-get", Hosts: []string{a}, Methods: []string{"GET"}},
		{Name: "docs", Hosts: []string{a}, Path: "/docs/"},
		{Name: "docs-exact", Hosts: []string{a}, Path: "/docs", Exact: true},
		{Name: "docs-exact-post", Hosts: []string{a}, Path: "/docs", Exact: true, Methods: []string{"POST", "PUT"}},
		{Name: "docs-deep", Hosts: []string{a}, Path: "/docs/deep/er"},
		{Name: "docs-deep-post", Hosts: []string{a}, Path: "/docs/deep/er/est", Methods: []string{"POST"}},
		{Name: "café", Hosts: []string{a}, Path: "/café/my menu"},
		{Name: "b-only", Hosts: []string{b}, Path: "/only", Exact: true},
		{Name: "b-get", Hosts: []string{b}, Path: "/get", Methods: []string{"GET", "HEAD"}},
		{Name: "b-report", Hosts: []string{"B.test:8443", b}, Path: "/get", Methods: []string{"REPORT"}},
		{Name: "both", Hosts: []string{a, b}, Path: "/both"},
	})
	for _, test := range []struct{ host, method, target, want string }{
		{a, "GET", "/", "a-get"},
		{a, "HEAD", "/", "a-get"},
		{a, "POST", "/", "a"},
		{a, "GET", "/docs", "docs-exact"},
		{a, "GET", "/docs/", "docs-exact"},
		{a, "POST", "/docs", "docs-exact-post"},
		{a, "PUT", "/docs/", "docs-exact-post"},
		{a, "GET", "/docs/x", "docs"},
		{a, "GET", "/docs/deep", "docs"},
		{a, "GET", "/docs/deep/er", "docs-deep"},
		{a, "GET", "/docs/deep/er/", "docs-deep"},
		{a, "GET", "/docs/deep/ere", "docs"},
		{a, "GET", "/docs/deep/er/est/x", "docs-deep"},
		{a, "POST", "/docs/deep/er/est/x", "docs-deep-post"},
		{a, "GET", "/docsx", "a-get"},
		{a, "GET", "/Docs", "a-get"},
		{a, "GET", "/docs?/both", "docs-exact"},
		{a, "GET", "/both/x", "both"},
		{a, "GET", "/caf%C3%A9/my%20menu", "café"},
		{a, "GET", "/caf%c3%a9/my%20menu/x", "café"},
		{a, "GET", "/caf%C3%A9", "a-get"},
		{"a.test:9000", "POST", "/", "a"},
		{b, "GET", "/both", "both"},
		{b, "GET", "/only", "b-only"},
		{b, "GET", "/only/", "b-only"},
		{b, "GET", "/only/x", "no route"},
		{b, "GET", "/", "no route"},
		{b, "GET", "/get", "b-get"},
		{b, "HEAD", "/get/x", "b-get"},
		{b, "REPORT", "/get/x", "b-report"},
		{b, "POST", "/get/x", "no route"},
		{"b.test", "GET", "/both", "unknown host"},
		{"b.test:1", "GET", "/both", "unknown host"},
		{"A.test", "GET", "/both", "unknown host"},
		{"x.a.test", "GET", "/both", "unknown host"},
		{"evil.test", "GET", "/both", "unknown host"},
		{"", "GET", "/both", "unknown host"},
		{":80", "GET", "/both", "unknown host"},
		{"[::1]", "GET", "/both", "unknown host"},
	} {
		if got := match(table, test.host, test.method, test.target); got != test.want {
			t.Errorf("%s %s%s: got %s, want %s", test.method, test.host, test.target, got, test.want)
		}
	}
	if got, want := table.Hosts(), []string{a, b}; !slices.Equal(got, want) {
		t.Errorf("Hosts() = %q, want %q", got, want)
	}
	if table.KnowsHost("b.test") || !table.KnowsHost("a.test:1") || !table.KnowsHost(b) {
		t.Error("KnowsHost differs from Match")
	}
	var order []string
	for _, r := range table.Routes() {
		order = append(order, r.Name)
	}
	if diff := cmp.Diff([]string{"docs-deep-post", "café", "docs-deep", "both", "docs-exact-post", "docs-exact", "docs", "a-get", "a", "b-only", "b-get", "b-report"}, order); diff != "" {
		t.Errorf("Routes(): (-want +got)\n%s", diff)
	}
}

func TestMatchZero(t *testing.T) {
	t.Parallel()
	table := newTable(t, siteRoutes(route.ByRoute))
	asterisk, err := route.ParseTarget("OPTIONS", "*", host)
	if err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]route.Target{"zero": {}, "asterisk": asterisk, "made by hand": {Path: "/public"}, "without path": {Raw: "/public"}} {
		var refused *route.TargetError
		if r, err := table.Match(host, "GET", target); r != nil || !errors.As(err, &refused) {
			t.Errorf("Match(%s target) = %v, %v; want a TargetError", name, r, err)
		}
		if path, err := (&route.Route{}).Forward(target); path != "" && target.Raw == "" || err == nil && target.Raw == "" {
			t.Errorf("Forward(%s target) = %q, %v; want an error", name, path, err)
		}
	}
	if r, err := newTable(t, nil).Match(host, "GET", parse(t, "/")); r != nil || err != route.ErrUnknownHost {
		t.Errorf("Match without routes = %v, %v; want ErrUnknownHost", r, err)
	}
	// A target made by hand has no reading but those of its two paths: it gains nothing.
	if r, err := table.Match(host, "GET", route.Target{Raw: "/admin", Path: "/public"}); r != nil || err == nil {
		t.Errorf("Match(raw /admin, path /public) = %v, %v; want an error", r, err)
	}
	var zero route.Route
	if zero.Access != route.Deny || zero.Paths != route.Strict || zero.Allow.Len() != 0 {
		t.Errorf("the zero route is %+v; want deny, strict and no rules", zero)
	}
}

func TestNewTableRefuses(t *testing.T) {
	t.Parallel()
	hosts := []string{host}
	for name, test := range map[string]struct {
		routes []route.Route
		want   []string // parts of the error
	}{
		"no host":               {[]route.Route{{Index: 7}}, []string{"routes[7].hosts: is empty"}},
		"host that is a URL":    {[]route.Route{{Hosts: []string{host, "http://x.test"}}}, []string{"routes[0].hosts[1]: "}},
		"wildcard host":         {[]route.Route{{Hosts: []string{"*.test"}}}, []string{"routes[0].hosts[0]: "}},
		"relative path":         {[]route.Route{{Hosts: hosts, Path: "admin"}}, []string{"routes[0].path: ", "write /admin"}},
		"encoded path":          {[]route.Route{{Hosts: hosts, Path: "/a%2fb"}}, []string{"write the path decoded"}},
		"empty segment":         {[]route.Route{{Hosts: hosts, Path: "/a//b"}}, []string{"empty segment"}},
		"double trailing slash": {[]route.Route{{Hosts: hosts, Path: "/a//"}}, []string{"empty segment"}},
		"dot segment":           {[]route.Route{{Hosts: hosts, Path: "/a/../b"}}, []string{"dot segment"}},
		"parameter":             {[]route.Route{{Hosts: hosts, Path: "/a;b"}}, []string{"routes[0].path: "}},
		"query":                 {[]route.Route{{Hosts: hosts, Path: "/a?b"}}, []string{"routes[0].path: "}},
		"star":                  {[]route.Route{{Hosts: hosts, Path: "/a/*"}}, []string{"whole segments"}},
		"control character":     {[]route.Route{{Hosts: hosts, Path: "/a\n"}}, []string{"routes[0].path: "}},
		"invalid UTF-8":         {[]route.Route{{Hosts: hosts, Path: "/\xff"}}, []string{"routes[0].path: "}},
		"lower-case method":     {[]route.Route{{Hosts: hosts, Methods: []string{"POST", "get"}}}, []string{"routes[0].methods[1]: ", "write GET"}},
		"TRACE":                 {[]route.Route{{Hosts: hosts, Methods: []string{"TRACE"}}}, []string{"routes[0].methods[0]: "}},
		"HEAD alone":            {[]route.Route{{Hosts: hosts, Methods: []string{"HEAD"}}}, []string{"write GET"}},
		"same twice":            {[]route.Route{{Hosts: hosts, Path: "/a"}, {Hosts: hosts, Path: "/a/", Index: 1}}, []string{"routes[1].path: ", "routes[0]", "neither has methods"}},
		"overlapping methods": {[]route.Route{{Hosts: hosts, Methods: []string{"GET", "PUT"}}, {Hosts: hosts, Methods: []string{"PUT"}, Index: 1}},
			[]string{"routes[1].path: ", "both have the method PUT"}},
		"same on the second host": {[]route.Route{{Hosts: []string{"a.test", "b.test"}}, {Hosts: []string{"c.test", "B.test"}, Index: 1}}, []string{"routes[1].path: has host b.test"}},
		"all at once":             {[]route.Route{{Hosts: hosts, Path: "a", Methods: []string{"x"}}, {Index: 1}}, []string{"routes[0].path", "routes[0].methods[0]", "routes[1].hosts"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			table, err := route.NewTable(test.routes)
			if err == nil || table != nil {
				t.Fatalf("NewTable(%+v) = %v, %v; want an error", test.routes, table, err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("NewTable(%+v): %q lacks %q", test.routes, err, want)
				}
			}
		})
	}
}

func TestNewTableAccepts(t *testing.T) {
	t.Parallel()
	newTable(t, []route.Route{
		{Hosts: []string{host}}, {Hosts: []string{host}, Exact: true}, {Hosts: []string{host}, Methods: []string{"GET"}}, {Hosts: []string{host}, Methods: []string{"PUT", "POST"}},
		{Hosts: []string{"[::1]:3000"}}, {Hosts: []string{"127.0.0.1"}}, {Hosts: []string{"x.test", "x.test"}}, {Hosts: []string{"x.test:8080"}},
	})
	given := []route.Route{{Hosts: []string{"X.test"}, Path: "/a/", Methods: []string{"HEAD", "GET"}}}
	newTable(t, given)
	if diff := cmp.Diff([]string{"X.test"}, given[0].Hosts); diff != "" || given[0].Path != "/a/" || len(given[0].Methods) != 2 {
		t.Errorf("NewTable changed what it was given: %+v", given[0])
	}
}

func TestForward(t *testing.T) {
	t.Parallel()
	plain := route.Route{Path: "/api"}
	strip := route.Route{Path: "/api", StripPrefix: true, Index: 3}
	spelled := route.Route{Path: "/café/x y", StripPrefix: true}
	root := route.Route{Path: "/", StripPrefix: true}
	for _, test := range []struct {
		name   string
		route  route.Route
		target string
		want   string // "": refused
	}{
		{"as received", plain, "/api/a%20b;c//%2F", "/api/a%20b;c//%2F"},
		{"stripped", strip, "/api/x/y", "/x/y"},
		{"stripped to nothing", strip, "/api", "/"},
		{"stripped to the slash", strip, "/api/", "/"},
		{"stripped, remainder kept byte for byte", strip, "/api/a%2Fb%c3%a9;v=1/", "/a%2Fb%c3%a9;v=1/"},
		{"prefix spelled with escapes", strip, "/%61pi/x", "/x"},
		{"route path that needs escapes", spelled, "/caf%C3%A9/x%20y/z%20", "/z%20"},
		{"root", root, "/x//y", "/x//y"},
		{"root to nothing", root, "/", "/"},
		{"not below", strip, "/other", ""},
		{"not a whole segment", strip, "/apix/y", ""},
		{"segment with parameters", strip, "/api;v=1/y", ""},
		{"encoded slash after the prefix", strip, "/api%2fadmin", ""},
		{"two slashes after the prefix", strip, "/api//admin", ""},
		{"encoded second slash", strip, "/api/%2fadmin", ""},
		{"twice encoded second slash", strip, "/api/%252fadmin", ""},
		{"encoded backslash", strip, "/api/%5cadmin", ""},
		{"parameters between two slashes", strip, "/api/;v=1/admin", ""},
		{"cut inside an escape", route.Route{Path: "/api/a", StripPrefix: true}, "/api/%61b", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := test.route.Forward(parse(t, test.target))
			if got != test.want || (err == nil) != (test.want != "") {
				t.Errorf("Forward(%s) = %q, %v; want %q", test.target, got, err, test.want)
			}
			var refused *route.TargetError
			if err != nil && (!errors.As(err, &refused) || refused.Key != test.route.Key("strip_prefix")) {
				t.Errorf("Forward(%s): %v; want a TargetError that names strip_prefix", test.target, err)
			}
		})
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		route.Deny.String(): "deny", route.Public.String(): "public", route.Optional.String(): "optional", route.SignedIn.String(): "signed-in",
		route.Access(9).String(): "Access(9)", route.Strict.String(): "strict", route.ByRoute.String(): "by-route", route.Paths(9).String(): "Paths(9)",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// match is the name of the route, or what became of the request.
func match(table *route.Table, host, method, requestURI string) string {
	target, err := route.ParseTarget(method, requestURI, host)
	if err != nil {
		return "400"
	}
	r, err := table.Match(host, method, target)
	var refused *route.TargetError
	switch {
	case err == nil:
		return r.Name
	case errors.As(err, &refused):
		return "400"
	case errors.Is(err, route.ErrNoRoute):
		return "no route"
	case errors.Is(err, route.ErrUnknownHost):
		return "unknown host"
	}
	return err.Error()
}

func newTable(t testing.TB, routes []route.Route) *route.Table {
	t.Helper()
	table, err := route.NewTable(routes)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func parse(t testing.TB, requestURI string) route.Target {
	t.Helper()
	target, err := route.ParseTarget("GET", requestURI, host)
	if err != nil {
		t.Fatalf("ParseTarget(%q): %v", requestURI, err)
	}
	return target
}
