package route_test

import (
	"fmt"
	"log"
	"math/rand/v2"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
	"portero/internal/route"
)

// The decoders are what real upstreams do to a path, written apart from the package: each returns the path that the
// upstream would act on.

// decodeGo decodes once and resolves dot segments, as net/http's mux does. Strict: a bad escape is no path.
func decodeGo(raw string) (string, bool) {
	p, err := url.PathUnescape(raw)
	return path.Clean("/" + p), err == nil
}

// decodeServlet drops parameters segment by segment, then decodes, merges slashes and resolves, as Tomcat does.
func decodeServlet(raw string) (string, bool) {
	segments := strings.Split(raw, "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	p, err := url.PathUnescape(strings.Join(segments, "/"))
	return path.Clean("/" + p), err == nil
}

var escape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// decodeTwice decodes leniently two times, takes backslashes for slashes, ends at ? or #, and drops parameters last,
// as rewriting front ends before IIS and PHP do.
func decodeTwice(raw string) (string, bool) {
	for range 2 {
		raw = escape.ReplaceAllStringFunc(raw, func(e string) string {
			c, _ := strconv.ParseUint(e[1:], 16, 8)
			return string([]byte{byte(c)})
		})
	}
	if i := strings.IndexAny(raw, "?#"); i >= 0 {
		raw = raw[:i]
	}
	segments := strings.Split(strings.ReplaceAll(raw, `\`, "/"), "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	return path.Clean("/" + strings.Join(segments, "/")), true
}

// decodeReference resolves the target against a base, as `new URL(req.url, base)` does in Node: what follows two
// slashes is a host, and backslashes are slashes.
func decodeReference(raw string) (string, bool) {
	raw = strings.ReplaceAll(raw, `\`, "/")
	if strings.HasPrefix(raw, "//") {
		_, raw, _ = strings.Cut(strings.TrimLeft(raw, "/"), "/")
	}
	p, err := url.PathUnescape(raw)
	return path.Clean("/" + p), err == nil
}

// decoders are the readings there are: those above, and those of Node and Python where these are installed.
func decoders(t testing.TB) map[string]func(testing.TB, string) (string, bool) {
	plain := func(decode func(string) (string, bool)) func(testing.TB, string) (string, bool) {
		return func(_ testing.TB, raw string) (string, bool) { return decode(raw) }
	}
	all := map[string]func(testing.TB, string) (string, bool){"go": plain(decodeGo), "servlet": plain(decodeServlet), "twice": plain(decodeTwice), "reference": plain(decodeReference)}
	for name, oracle := range map[string]*gatewaytest.Oracle{
		"node":   gatewaytest.NodeOracle(t, `s => require('path').posix.normalize(decodeURIComponent(new URL('http://gw.test' + s).pathname)).replace(/(.)\/+$/, '$1')`),
		"python": gatewaytest.PythonOracle(t, `posixpath.normpath("/" + urllib.parse.unquote(urllib.parse.urlsplit("http://gw.test" + s).path, errors="strict").lstrip("/"))`),
	} {
		if oracle != nil {
			all[name] = oracle.Ask
		}
	}
	return all
}

// protectedPath is the reference for siteRoutes: what may be read without signing in.
func protectedPath(p string) bool {
	public := p == "/health" || p == "/public" || strings.HasPrefix(p, "/public/") && p != "/public/admin"
	return !public
}

// FuzzPublic: a target that is let through without signing in is public to every upstream, however it decodes.
func FuzzPublic(f *testing.F) {
	for _, seed := range []string{
		"/public/x", "/public/../admin", "/public/%2e%2e/admin", "/public/..%2fadmin", "/public/%252e%252e%252fadmin", "/public/..%5cadmin", "/public/..;/admin", "/public;/x",
		"/public//admin", "/public/x;y%2f..%2f", "/public/%61dmin", "/public/admin%3fx", "/public/admin%253bx", "/%70ublic", "/health;x", "/public/%5c..", "/public/x%255c..%255cadmin",
		"/public/;/admin", "/public/%2f/admin", "/public/a%3b/../admin", "/public/%25%32%65", "//public/x", "/public/.%3b./admin", "/public/%2%35", "/public/admin/x",
	} {
		f.Add(seed)
	}
	tables, readings := publicTables(f), decoders(f)
	f.Fuzz(func(t *testing.T, requestURI string) { checkPublic(t, tables, readings, requestURI) })
}

// TestPublicFromPieces puts paths together from what matters, which random bytes rarely do.
func TestPublicFromPieces(t *testing.T) {
	t.Parallel()
	pieces := []string{"/", "/", "/", "/public", "/admin", "/health", "/api", "public", "admin", "%61dmin", "%2561dmin", "x", ".", "..", "%2e", "%252e", "%2f", "%252f", "%5c", "%255c",
		";", ";v=1", "%3b", "%253b", "%3f", "%253f", "%23", "%25", "%2525", "%20", "2f", "2e", "5c", "3b", "//", "%C3%A9"}
	tables, readings := publicTables(t), decoders(t)
	random := rand.New(rand.NewPCG(1, 2))
	passed := 0
	for range 60_000 {
		var b strings.Builder
		b.WriteString([]string{"/public", "/public/", "/", "/health", "/public/admin"}[random.IntN(5)])
		for range 1 + random.IntN(6) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		if checkPublic(t, tables, readings, b.String()) {
			passed++
		}
	}
	if passed < 1000 {
		t.Errorf("only %d of the paths go to a public route: the test tests little", passed)
	}
}

func publicTables(t testing.TB) map[string]*route.Table {
	return map[string]*route.Table{"strict": newTable(t, siteRoutes(route.Strict)), "by-route": newTable(t, siteRoutes(route.ByRoute))}
}

// checkPublic reports whether the target goes to a public route, and fails if any decoder reads a protected path.
func checkPublic(t *testing.T, tables map[string]*route.Table, decoders map[string]func(testing.TB, string) (string, bool), requestURI string) (public bool) {
	t.Helper()
	target, err := route.ParseTarget("GET", requestURI, host)
	if err != nil {
		return false
	}
	for mode, table := range tables {
		r, err := table.Match(host, "GET", target)
		if err != nil {
			continue
		}
		sent, err := r.Forward(target)
		switch {
		case err != nil && !r.StripPrefix:
			t.Errorf("%s: %q is matched and not forwarded: %v", mode, target.Raw, err)
		case err == nil && !r.StripPrefix && sent != target.Raw:
			t.Errorf("%s: %q leaves as %q", mode, target.Raw, sent)
		case err == nil && (!strings.HasSuffix(target.Raw, sent) && sent != "/" || sent[0] != '/' || r.StripPrefix && strings.HasPrefix(sent, "//")):
			t.Errorf("%s: %q leaves as %q", mode, target.Raw, sent)
		}
		if r.Access != route.Public {
			continue
		}
		public = true
		for name, decode := range decoders {
			if read, ok := decode(t, target.Raw); ok && protectedPath(read) {
				t.Errorf("%s: %q goes to the public route %s, but an upstream (%s) reads %q", mode, target.Raw, r.Name, name, read)
			}
		}
	}
	return public
}

// FuzzParseTarget: what is accepted is kept byte for byte, in both forms.
func FuzzParseTarget(f *testing.F) {
	for _, seed := range []string{"/", "/a?b", "http://gw.test/a", "//x", "/%C3%A9", "/a%2fb;c", "*", "/?", "https://GW.test:443?x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, requestURI string) {
		target, err := route.ParseTarget("GET", requestURI, host)
		if err != nil {
			return
		}
		if !strings.HasSuffix(requestURI, target.String()) && target.Raw != "/" {
			t.Errorf("%q is forwarded as %q", requestURI, target)
		}
		if !strings.HasPrefix(target.Raw, "/") || strings.ContainsAny(target.Raw, "?# \\\"<>^`{|}\r\n\t\x00") || target.Path == "" {
			t.Errorf("%q has the path %q", requestURI, target.Raw)
		}
		for _, segment := range strings.Split(target.Path, "/") {
			if segment == "." || segment == ".." {
				t.Errorf("%q has a dot segment", requestURI)
			}
		}
		again, err := route.ParseTarget("GET", target.String(), host)
		if err != nil || again != target {
			t.Errorf("%q read again as %q: %+v, %v", requestURI, target, again, err)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	var routes []route.Route
	for i := range 50 {
		routes = append(routes, route.Route{Name: fmt.Sprint("r", i), Hosts: []string{host}, Path: fmt.Sprintf("/app%d/section%d", i%10, i), Access: route.SignedIn, Paths: route.ByRoute, Index: i})
	}
	routes = append(routes, route.Route{Name: "root", Hosts: []string{host}, Access: route.SignedIn, Paths: route.ByRoute, Index: 50})
	table := newTable(b, routes)
	for name, requestURI := range map[string]string{
		"plain":   "/app7/section17/documents/2026/report.html?page=2",
		"unicode": "/app7/section17/caf%C3%A9%20menu",
		"slash":   "/app7/section17/%2F/queue",
		"root":    "/assets/app.js",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				target, err := route.ParseTarget("GET", requestURI, host)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := table.Match(host, "GET", target); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func ExampleTable_Match() {
	table, err := route.NewTable([]route.Route{
		{Name: "wiki", Hosts: []string{"wiki.example.com"}, Access: route.SignedIn},
		{Name: "help", Hosts: []string{"wiki.example.com"}, Path: "/help", Access: route.Public, Index: 1},
		{Name: "queues", Hosts: []string{"wiki.example.com"}, Path: "/api/queues", Access: route.SignedIn, Paths: route.ByRoute, Index: 2},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, requestURI := range []string{"/page?id=1", "/help/", "/helpless", "/help/../page", "/help/a%2Fb", "/api/queues/%2F/q"} {
		target, err := route.ParseTarget("GET", requestURI, "wiki.example.com")
		if err != nil {
			fmt.Println(requestURI, "→", err)
			continue
		}
		r, err := table.Match("wiki.example.com", "GET", target)
		if err != nil {
			fmt.Println(requestURI, "→", err)
			continue
		}
		fmt.Println(requestURI, "→", r.Name, r.Access)
	}
	// Output:
	// /page?id=1 → wiki signed-in
	// /help/ → help public
	// /helpless → wiki signed-in
	// /help/../page → request target refused: its path has a dot segment
	// /help/a%2Fb → request target refused by routes[1].paths: its path has %2f
	// /api/queues/%2F/q → queues signed-in
}
