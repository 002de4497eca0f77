package gateway_test

import (
	"math/rand/v2"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

// What a request says about itself never changes the decision: PA-17, PA-19, PA-21, PA-22.
func TestSecurityClaimsAboutTheRequest(t *testing.T) {
	t.Parallel()
	f := newFront(t, gatewaytest.Options{})
	const script = "Accept: application/json\r\n"
	tests := []struct {
		name, method, target, lines string
		stranger, alice             int // status; 200 reaches the upstream
	}{
		{"PA-17 many parameters", "GET", "/app?" + strings.Repeat("a=x&", 10_001) + "admin=1", navigation, 302, 200},
		{"PA-17 many parameters on an endpoint of ours", "GET", "/sign-in?" + strings.Repeat("a=x&", 10_001) + "return_to=/x", navigation, 302, 303},
		{"PA-17 a target that is too long", "GET", "/app?" + strings.Repeat("a=x&", 20_000), navigation, 431, 431},
		{"PA-17 a path that is too long for anything", "GET", "/public/" + strings.Repeat("a/", 60_000), navigation, 431, 431},
		{"PA-19 X-Forwarded-Uri", "GET", "/admin", navigation + "X-Forwarded-Uri: /public/x\r\n", 302, 200},
		{"PA-19 X-Original-URI", "GET", "/admin", navigation + "X-Original-URI: /public/x\r\nX-Original-URL: /public/x\r\nX-Rewrite-URL: /public/x\r\n", 302, 200},
		{"PA-19 X-Forwarded-Prefix", "GET", "/admin", navigation + "X-Forwarded-Prefix: /public\r\nX-Forwarded-Path: /public\r\n", 302, 200},
		{"PA-19 X-Forwarded-Method", "GET", "/admin", script + "X-Forwarded-Method: OPTIONS\r\n", 401, 200},
		{"PA-19 X-Auth-Request-Redirect", "GET", "/admin", navigation + "X-Auth-Request-Redirect: /public/x\r\n", 302, 200},
		{"PA-19 X-Forwarded-Host", "GET", "/admin", navigation + "X-Forwarded-Host: evil.test\r\nX-Forwarded-Proto: https\r\n", 302, 200},
		{"PA-21 override to a method of a public route", "POST", "/health", script + "Content-Length: 0\r\nX-HTTP-Method-Override: GET\r\n", 401, 200},
		{"PA-21 override in the query", "POST", "/app?_method=GET", script + "Content-Length: 0\r\n", 401, 200},
		{"PA-21 HEAD", "HEAD", "/admin", navigation, 302, 200},
		{"PA-21 HEAD of a public route", "HEAD", "/health", script, 200, 200},
		{"PA-21 lower case", "get", "/admin", navigation, 405, 405},
		{"PA-21 lower case on a public route", "get", "/public/x", navigation, 405, 405},
		{"PA-21 unknown", "FOO", "/admin", navigation, 405, 405},
		{"PA-21 CONNECT", "CONNECT", "/public/x", "", 405, 405},
		{"PA-21 CONNECT to a host", "CONNECT", "127.0.0.1:22", "", 405, 405},
		{"PA-21 TRACE", "TRACE", "/public/x", "", 405, 405},
		{"PA-21 PRI", "PRI", "/public/x", "", 405, 405},
		{"PA-18 OPTIONS *", "OPTIONS", "*", "", 204, 204},
		{"PA-22 health checker of a cloud", "GET", "/admin", "User-Agent: GoogleHC/1.0\r\n", 401, 200},
		{"PA-22 health checker of a cluster", "GET", "/admin", "User-Agent: kube-probe/1.30\r\n", 401, 200},
		{"PA-22 from loopback, it says", "GET", "/admin", "X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\n", 401, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, who := range []struct {
				name, cookie string
				want         int
			}{{"stranger", "", tt.stranger}, {"Alice", f.alice, tt.alice}} {
				a := f.Raw(t, f.head(tt.method, tt.target, who.cookie, tt.lines))
				if a.Status != who.want {
					t.Errorf("%s: got %s, want %d", who.name, a, who.want)
				}
				if who.want != http.StatusOK {
					f.nothingReached(t)
					f.noSession(t, a)
					continue
				}
				if got, want := line(f.reached(t)), tt.method+" "+tt.target+" HTTP/1.1"; got != want {
					t.Errorf("%s: the upstream got %.80q, want %.80q", who.name, got, want)
				}
			}
		})
	}
	if got := f.Sessions(t); got != 1 {
		t.Errorf("rows in the store: got %d, want Alice's", got)
	}
}

// places says where readers of a path end up: "public" and "health" are open to strangers, "admin" to administrators.
func place(decoded string) string {
	clean := path.Clean("/" + decoded)
	switch {
	case clean == "/public" || strings.HasPrefix(clean, "/public/"):
		return "public"
	case clean == "/health":
		return "health"
	case clean == "/admin" || strings.HasPrefix(clean, "/admin/"):
		return "admin"
	}
	return "app"
}

// readers are how applications take a request target.
func readers() map[string]func(target string) (string, bool) {
	decode := func(s string) string {
		for i := 0; i < len(s); i++ {
			if s[i] == '%' && i+2 < len(s) {
				if one, err := url.PathUnescape(s[i : i+3]); err == nil {
					s = s[:i] + one + s[i+3:]
				}
			}
		}
		return s
	}
	raw := func(target string) string { p, _, _ := strings.Cut(target, "?"); return p }
	parameters := func(s string) string {
		segments := strings.Split(s, "/")
		for i := range segments {
			segments[i], _, _ = strings.Cut(segments[i], ";")
		}
		return strings.Join(segments, "/")
	}
	slashes := func(s string) string { return strings.ReplaceAll(s, `\`, "/") }
	return map[string]func(string) (string, bool){
		"Go": func(target string) (string, bool) {
			u, err := url.ParseRequestURI(target)
			if err != nil {
				return "", false
			}
			return u.Path, true
		},
		"PHP's own server":               func(target string) (string, bool) { return decode(raw(target)), true },
		"decoding twice":                 func(target string) (string, bool) { return decode(decode(raw(target))), true },
		"dropping parameters, then once": func(target string) (string, bool) { return decode(parameters(raw(target))), true },
		"once, then dropping parameters": func(target string) (string, bool) { return parameters(decode(raw(target))), true },
		"backslashes as slashes":         func(target string) (string, bool) { return slashes(decode(raw(target))), true },
		"all of it":                      func(target string) (string, bool) { return parameters(slashes(decode(decode(raw(target))))), true },
		"cut at a question mark or hash": func(target string) (string, bool) {
			s := decode(raw(target))
			if i := strings.IndexAny(s, "?#"); i >= 0 {
				s = s[:i]
			}
			return s, true
		},
		"raw": func(target string) (string, bool) { return raw(target), true },
	}
}

// PA-15: what a stranger got through is public, and what somebody without the role got through is not the
// administrators', for every reader of the path.
func TestSecurityReadingsAgree(t *testing.T) {
	t.Parallel()
	issuer := gatewaytest.NewIssuer(t)
	f := newFront(t, gatewaytest.Options{Issuer: issuer, Routes: strings.ReplaceAll(catalogueRoutes, "PATHS", "paths: by-route")})
	issuer.Do(func(i *gatewaytest.Issuer) {
		i.Person = map[string]any{"sub": "bob", "sid": "sid-b", "email": "bob@example.com", "email_verified": true, "roles": []string{"editor"}}
	})
	bob := f.signIn(t)

	var targets []string
	for _, c := range pathCases(f.URL) {
		if !c.line {
			targets = append(targets, c.target)
		}
	}
	pieces := []string{
		"/", "/", "/", "//", "public", "public", "admin", "admin", "health", "wiki", "..", ".", "%2e%2e", "%2e", "%2f", "%2F", "%5c", "%252f", "%252e",
		"%255c", ";", ";x=1", "%3b", "%253b", "%23", "%3f", "?", "%61dmin", "%70ublic", "%2561dmin", "%c3%a9", "%20", "x", "a%2fb", "..;", "%2e.", "&", "=",
	}
	random := rand.New(rand.NewPCG(15, 15))
	for range 4000 {
		target := "/"
		if random.IntN(2) == 0 {
			target += []string{"public", "admin", "health", "wiki"}[random.IntN(4)]
		}
		for range 1 + random.IntN(5) {
			target += pieces[random.IntN(len(pieces))]
		}
		targets = append(targets, target)
	}

	type passed struct{ Target, who string }
	var through []passed
	for who, cookie := range map[string]string{"stranger": "", "Bob": bob} {
		c := f.Dial(t)
		for _, target := range targets {
			f.Upstream.Forget()
			c.Send(f.head("GET", target, cookie, ""))
			a := c.Answer("GET")
			if a.Status == 0 {
				t.Fatalf("%s, %q: %s", who, target, a)
			}
			got := f.Upstream.Requests()
			if a.Status != http.StatusOK {
				if len(got) != 0 {
					t.Fatalf("%s, %q: got %s, and the upstream got %q", who, target, a, got)
				}
			} else if len(got) == 1 && !strings.HasPrefix(target, "/api") {
				if want := "GET " + target + " HTTP/1.1"; line(got[0]) != want {
					t.Fatalf("%s, %q: the upstream got %q, want the target byte for byte", who, target, line(got[0]))
				}
				through = append(through, passed{target, who})
			}
			if a.Close {
				c.Close()
				c = f.Dial(t)
			}
		}
		c.Close()
	}
	if len(through) < 200 {
		t.Fatalf("only %d targets of %d passed: nothing was compared", len(through), 2*len(targets))
	}
	judge := func(reader string, p passed, decoded string) {
		switch where := place(decoded); {
		case p.who == "stranger" && where != "public" && where != "health":
			t.Errorf("%q passed for a stranger; for %s it is %s (%q)", p.Target, reader, where, decoded)
		case p.who == "Bob" && where == "admin":
			t.Errorf("%q passed for Bob, who is no administrator; for %s it is the administrators' (%q)", p.Target, reader, decoded)
		}
	}
	for name, read := range readers() {
		for _, p := range through {
			if decoded, ok := read(p.Target); ok {
				judge(name, p, decoded)
			}
		}
	}
	t.Run("WHATWG", func(t *testing.T) {
		var in, once []string
		for _, p := range through {
			in = append(in, p.Target)
		}
		gatewaytest.Node(t, `console.log(JSON.stringify(input.map(t => {
			const p = new URL('http://localhost' + t).pathname
			try { return decodeURIComponent(p) } catch { return p }
		})))`, in, &once)
		for i, p := range through {
			judge("WHATWG", p, once[i])
		}
	})
}

// Paths of real applications that need by-route: they pass byte for byte, and cannot change the route.
func TestSecurityRealPaths(t *testing.T) {
	t.Parallel()
	f := newFront(t, gatewaytest.Options{Routes: `
  - {name: loose, path: /loose, paths: by-route, upstreams: [{url: UPSTREAM}]}
  - {name: inner, path: /loose/admin, paths: by-route, allow: [{roles: [nobody-has-it]}], upstreams: [{url: UPSTREAM}]}
  - {name: open, path: /loose/open, access: public, paths: by-route, upstreams: [{url: UPSTREAM}]}
  - {name: stripped, path: /git, strip_prefix: true, paths: by-route, upstreams: [{url: UPSTREAM}]}
  - {name: app, path: /, upstreams: [{url: UPSTREAM}]}
`})
	pass := []struct{ name, target, forwarded string }{
		{"RabbitMQ, the default virtual host", "/loose/api/queues/%2F/q", ""},
		{"RabbitMQ, lower case and a query", "/loose/api/queues/%2f/my%20queue?disable_stats=true&enable_queue_totals=true", ""},
		{"GitLab, a project by its path", "/loose/api/v4/projects/group%2Fsub%2Fproject/repository/files/dir%2Ffile%2Emd/raw?ref=main", ""},
		{"GitLab, behind strip_prefix", "/git/api/v4/projects/group%2Fproject", "/api/v4/projects/group%2Fproject"},
		{"Java, a session in the path", "/loose/app/page.jsf;jsessionid=0AAB6C8DE415.node1?x=1", ""},
		{"a percent sign in a file name", "/loose/files/100%25.pdf", ""},
		{"matrix parameters", "/loose/map;v=1;w=2/tile", ""},
		{"an encoded question mark and hash", "/loose/a%3Fb%23c", ""},
		{"an encoded semicolon", "/loose/a%3Bb", ""},
		{"a URL inside the path", "/loose/proxy/https://example.com/x", ""},
		{"a URL inside the path, encoded", "/loose/proxy/https%3A%2F%2Fexample.com%2Fx", ""},
		{"Windows shares", "/loose/share/%5C%5Cserver%5Cdir", ""},
	}
	for _, tt := range pass {
		t.Run(tt.name, func(t *testing.T) {
			if a := f.get(t, tt.target, ""); a.Status != http.StatusFound {
				t.Errorf("stranger: got %s, want 302", a)
			}
			f.nothingReached(t)
			if a := f.get(t, tt.target, f.alice); a.Status != http.StatusOK {
				t.Fatalf("Alice: got %s, want 200", a)
			}
			want := tt.forwarded
			if want == "" {
				want = tt.target
			}
			if got := line(f.reached(t)); got != "GET "+want+" HTTP/1.1" {
				t.Errorf("the upstream got %q, want GET %s", got, want)
			}
		})
	}
	for _, target := range []string{
		"/loose/x/..%2fadmin", "/loose%2fadmin/x", "/loose/;/admin", "/loose//admin", "/loose/%61dmin", "/loose/%2fadmin", "/loose/%2f/admin",
		"/loose/x%252f..%252fadmin", "/loose/admin;x/y", "/loose/open/..;/admin", "/loose/open%2f..%2fx", "/loose/open;/x", "/loose/op%65n/x",
		"/loose/open%5c..%5cadmin", "/loose%5copen/x", "/loose/open%253b/x", "/loose;/open/x", "//loose/open/x", "/loose/open%3f/../x", "/loose/admin%3f", "/loose/admin%23",
		"/x/..%2floose/open", "/loose/open/%2e%2e%2fx",
	} {
		t.Run("cannot change the route "+target, func(t *testing.T) {
			for _, cookie := range []string{"", f.alice} {
				if a := f.get(t, target, cookie); a.Status != http.StatusBadRequest {
					t.Errorf("got %s, want 400", a)
				}
				f.nothingReached(t)
			}
		})
	}
}
