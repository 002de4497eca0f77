package catalogue_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

// String is for names of tests.
func (w way) String() string {
	name := map[bool]string{true: "HTTP 2", false: "HTTP 1.1"}[w.h2]
	if w.cookie != "" {
		name += ", signed in"
	}
	return name
}

// placeOf says where a reader of a path ends up: public and health are open to strangers, admin to administrators.
func placeOf(decoded string) string {
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

// readers are ways in which applications take a request target.
func readers() map[string]func(target string) (string, bool) {
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
		"decoding once":                  func(target string) (string, bool) { return decoded(raw(target)), true },
		"decoding twice":                 func(target string) (string, bool) { return decoded(decoded(raw(target))), true },
		"dropping parameters, then once": func(target string) (string, bool) { return decoded(parameters(raw(target))), true },
		"once, then dropping parameters": func(target string) (string, bool) { return parameters(decoded(raw(target))), true },
		"backslashes as slashes":         func(target string) (string, bool) { return slashes(decoded(raw(target))), true },
		"all of it":                      func(target string) (string, bool) { return parameters(slashes(decoded(decoded(raw(target))))), true },
		"cut at a question mark or hash": func(target string) (string, bool) {
			s := decoded(raw(target))
			if i := strings.IndexAny(s, "?#"); i >= 0 {
				s = s[:i]
			}
			return s, true
		},
		"raw": func(target string) (string, bool) { return raw(target), true },
	}
}

func readingsAgree(t *testing.T, d *doors) {
	const made = 4000
	targets := slices.Clone(pathTargets)
	pieces := []string{
		"/", "/", "/", "//", "public", "public", "admin", "admin", "health", "wiki", "..", ".", "%2e%2e", "%2e", "%2f", "%2F", "%5c", "%252f", "%252e",
		"%255c", ";", ";x=1", "%3b", "%253b", "%23", "%3f", "?", "%61dmin", "%70ublic", "%2561dmin", "%c3%a9", "%20", "x", "a%2fb", "..;", "%2e.", "&", "=",
	}
	random := rand.New(rand.NewPCG(15, 15))
	for range made {
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
	for _, f := range []*front{d.Loose(), d.TLS()} {
		for who, cookie := range map[string]string{"a stranger": "", "Bob": f.signIn(t, bob)} {
			f.Upstream.Forget()
			k := way{front: f, cookie: cookie}.talk(t)
			for _, target := range targets {
				a := k.ask(request{Target: target})
				if a.Status == 0 {
					t.Fatalf("%s, %q: %s", who, target, a)
				}
				got := f.Upstream.Requests()
				f.Upstream.Forget()
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
			}
			k.close()
		}
	}
	if len(through) < 400 {
		t.Fatalf("only %d targets of %d passed: nothing was compared", len(through), len(targets))
	}
	t.Logf("%d targets, %d times one passed", len(targets), len(through))
	judge := func(t *testing.T, reader string, p passed, read string) {
		t.Helper()
		switch where := placeOf(read); {
		case p.who == "a stranger" && where != "public" && where != "health":
			t.Errorf("%q passed for a stranger; for %s it is %s (%q)", p.Target, reader, where, read)
		case p.who == "Bob" && where == "admin":
			t.Errorf("%q passed for Bob, who is no administrator; for %s it is the administrators' (%q)", p.Target, reader, read)
		}
	}
	for name, read := range readers() {
		for _, p := range through {
			if path, ok := read(p.Target); ok {
				judge(t, name, p, path)
			}
		}
	}
	t.Run("the URL of browsers and Node", func(t *testing.T) {
		var readings [][2]string
		var in []string
		for _, p := range through {
			in = append(in, p.Target)
		}
		gatewaytest.Node(t, `
			const decoded = p => { try { return decodeURIComponent(p) } catch { return p } }
			const parsed = (t, base) => { try { return decoded(new URL(t, base).pathname) } catch { return '/public' } } // Node answers 500
			console.log(JSON.stringify(input.map(t => [parsed('http://localhost' + t), parsed(t, 'http://localhost')])))`, in, &readings)
		for i, p := range through {
			judge(t, "a browser", p, readings[i][0])
			judge(t, "Node, relative to a base,", p, readings[i][1])
		}
	})
	t.Run("PHP's own server", func(t *testing.T) {
		php := phpUpstream(t)
		reports := map[string]string{}
		for _, p := range through {
			if _, ok := reports[p.Target]; !ok {
				reports[p.Target] = asks(t, strings.TrimPrefix(php.url, "http://"), p.Target)
			}
			judge(t, "PHP", p, reports[p.Target])
		}
	})
	t.Run("PHP's parse_url", func(t *testing.T) {
		var list strings.Builder
		for _, p := range through {
			list.WriteString(p.Target + "\n")
		}
		cmd := exec.Command(gatewaytest.Need(t, "php"), "-r", `while (($l = fgets(STDIN)) !== false) { $p = parse_url(rtrim($l, "\n"), PHP_URL_PATH); echo is_string($p) ? rawurldecode($p) : '/public', "\n"; }`)
		cmd.Stdin = strings.NewReader(list.String())
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		readings := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
		if len(readings) != len(through) {
			t.Fatalf("PHP read %d targets, want %d", len(readings), len(through))
		}
		for i, p := range through {
			judge(t, "PHP's parse_url", p, readings[i])
		}
	})
}

// asks sends a target to a server that reports what it understood, byte for byte, and returns the path.
func asks(t *testing.T, addr, target string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n", target, gatewaytest.Host)
	text, _ := io.ReadAll(c)
	_, body, _ := strings.Cut(string(text), "\r\n\r\n")
	u, ok := readUnderstood(body)
	if !ok {
		t.Fatalf("%q: got %q, want a report", target, text)
	}
	return u.Path
}

// realPaths: paths of real applications that need by-route pass byte for byte, and cannot change the route.
func realPaths(t *testing.T, d *doors) {
	f := newFront(t, gatewaytest.Options{TLS: true, Routes: `
  - {name: loose, path: /loose, paths: by-route, upstreams: [{url: UPSTREAM}]}
  - {name: inner, path: /loose/admin, paths: by-route, allow: [{roles: [nobody-has-it]}], upstreams: [{url: UPSTREAM}]}
  - {name: open, path: /loose/open, access: public, paths: by-route, upstreams: [{url: UPSTREAM}]}
  - {name: stripped, path: /git, strip_prefix: true, paths: by-route, upstreams: [{url: UPSTREAM}]}
  - {name: app, path: /, upstreams: [{url: UPSTREAM}]}
`})
	for _, w := range []way{{front: f}, {front: f, h2: true}, {front: f, cookie: f.alice}, {front: f, h2: true, cookie: f.alice}} {
		t.Run("real applications, "+w.String(), func(t *testing.T) {
			for _, tt := range []struct{ name, target, forwarded string }{
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
			} {
				w.judge(t, tt.target, tt.forwarded, isProtected, w.ask(t, request{Target: tt.target, Lines: navigation}))
			}
			for _, target := range []string{
				"/loose/x/..%2fadmin", "/loose%2fadmin/x", "/loose/;/admin", "/loose//admin", "/loose/%61dmin", "/loose/%2fadmin", "/loose/%2f/admin",
				"/loose/x%252f..%252fadmin", "/loose/admin;x/y", "/loose/open/..;/admin", "/loose/open%2f..%2fx", "/loose/open;/x", "/loose/op%65n/x",
				"/loose/open%5c..%5cadmin", "/loose%5copen/x", "/loose/open%253b/x", "/loose;/open/x", "//loose/open/x", "/loose/open%3f/../x", "/loose/admin%3f", "/loose/admin%23",
				"/x/..%2floose/open", "/loose/open/%2e%2e%2fx",
			} {
				w.judge(t, target, "", isRefused, w.ask(t, request{Target: target, Lines: navigation}))
			}
		})
	}
}
