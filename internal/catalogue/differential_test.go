package catalogue_test

import (
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"portero/internal/gatewaytest"
)

// detours lead from a public path to another one, for somebody who reads paths in one way or another.
var detours = []string{
	"/../", "/./../", "/%2e%2e/", "/.%2e/", "/%2E./", "/..%2f", "%2f..%2f", "%2f..%2F", "/%252e%252e/", "/%252e%252e%252f", "/..%252f", "/%25252e%25252e/",
	"/..%5c", `\..\`, "%5c..%5c", "/..%255c", "/..;/", ";/../", "/..%3b/", "/..;x=y/", "/%2e%2e;/", "/;/../", ";x/../", "/%2e%2e%3bx/",
	"//..//", "/..//", "//../", "/.//../", "/..%2f%2f", "/%c0%ae%c0%ae/", "/..%c0%af", "/%e0%80%ae%e0%80%ae/", "/%00/../", "/..%00/", "%00/../", "/%0a../", "/..%0d/", "/..%09/",
	"/x/../../", "/x%2f..%2f..%2f", "/x/%2e%2e/%2e%2e/", "/%2e%2e%5c", "/.%00./", "/..%20/", "/%20../", "/..+/", "/%ef%bc%8e%ef%bc%8e/", "/..%ef%bc%8f", "/..%e2%88%95", "/.../", "/..../",
	"?/../", "#/../", "/..?", "/..#/", "%3f/../", "%23/../", "/..%3f/", "/..%23/", "/@/../", "/x:/../", "/[/../", "/..:80/", "/~/../", "/%7e/../", "/..%u002f", "/%uff0e%uff0e/",
	"%2f", "%2F", "//", "/%2f", "/;x/", ";x/", "%3b/", "%5c", `\`, "%252f", "%25", "%3f", "%23", "/x%2fy/", "/x//", "/x;y=/admin/", "/%2e%2e%2e/", "/..%2e/",
}

// publicPrefixes are where the gateway lets everybody in.
var publicPrefixes = []string{"/public", "/optional", "/health"}

// isPublic says whether a path, as somebody understood it, lies where everybody is let in: as it is, and once more as
// Windows and a second cleaning would have it.
func isPublic(understood string) bool {
	for _, reading := range []string{understood, path.Clean("/" + strings.ReplaceAll(understood, `\`, "/"))} {
		in := func(prefix string) bool { return reading == prefix || strings.HasPrefix(reading, prefix+"/") }
		if !slices.ContainsFunc(publicPrefixes, in) {
			return false
		}
	}
	return true
}

// TestServersAgreeOnPaths asks, as nobody, for paths that can be read in several ways, in front of each real server.
// What is let in is decided to be public; the server must have understood it so, whatever `paths` says.
func TestServersAgreeOnPaths(t *testing.T) {
	t.Parallel()
	var targets []string
	for _, from := range []string{"/public", "/public/x", "/optional", "/health", "/PUBLIC", "/%70ublic", "/public%2fx"} {
		for _, detour := range detours {
			for _, to := range []string{"admin", "admin/", "api/x", ""} {
				targets = append(targets, from+detour+to)
			}
		}
	}
	servers := legacies(t)
	for _, setting := range []string{"strict", "by-route"} {
		for _, s := range servers {
			t.Run(s.name+" with paths "+setting, func(t *testing.T) {
				f := unsigned(t, gatewaytest.Options{Routes: strings.NewReplacer("PATHS", "paths: "+setting, "UPSTREAM", `"`+s.url+`"`).Replace(routes)})
				c, let, refused := f.Dial(t), 0, 0
				for _, target := range targets {
					c.Send("GET " + target + " HTTP/1.1\r\nHost: " + f.host + "\r\n\r\n")
					a := c.Answer("GET")
					if a.Status == 0 || a.Close {
						c.Close()
						c = f.Dial(t)
					}
					u, is := readUnderstood(a.Body)
					switch {
					case a.Status == http.StatusOK && is:
						let++
						if !isPublic(u.Path) {
							t.Errorf("%s was let in as public; %s understood %q", target, s.name, u.Path)
						}
					case a.Status == http.StatusOK:
						t.Errorf("%s: got 200 with %q, want a report of the server or a refusal", target, a.Body)
					default:
						refused++
					}
				}
				if let == 0 || refused == 0 {
					t.Errorf("%d let in and %d refused: want some of both", let, refused)
				}
				t.Logf("%d targets, %d let in", len(targets), let)
			})
		}
	}
}

// spellings are of one header name, for somebody who reads names in one way or another.
func spellings(name string) []string {
	out := []string{name, strings.ToLower(name), strings.ToUpper(name)}
	for _, c := range "_.~!'`+|#$%&*^" {
		odd := strings.ReplaceAll(name, "-", string(c))
		out = append(out, odd, strings.Replace(name, "-", string(c), 1), strings.ToUpper(odd))
	}
	return append(out, "HTTP_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_")), "HTTP-"+name)
}

// TestServersFoldNoHeaders sends identity headers in every spelling to each real server: it is told of Alice and of
// nobody else, and on a public route of nobody.
func TestServersFoldNoHeaders(t *testing.T) {
	t.Parallel()
	for _, s := range legacies(t) {
		t.Run(s.name, func(t *testing.T) {
			f := newFront(t, gatewaytest.Options{Routes: strings.ReplaceAll(strict, "UPSTREAM", `"`+s.url+`"`)})
			for i := range spellings(told[0]) {
				var lines strings.Builder
				for _, name := range told {
					lines.WriteString(spellings(name)[i] + ": root\r\n")
				}
				for _, cookie := range []string{"Cookie: " + f.alice + "\r\n", ""} {
					target := map[bool]string{true: "/public/x", false: "/app"}[cookie == ""]
					a := f.Raw(t, fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\n%s%s\r\n", target, f.host, cookie, lines.String()))
					u, is := readUnderstood(a.Body)
					if a.Status != http.StatusOK || !is {
						t.Fatalf("%q: got %s with %q, want a report", lines.String(), a, a.Body)
					}
					for header, want := range aliceHeaders {
						got := strings.Join(u.Header[header], " and ")
						if cookie == "" {
							want = ""
						}
						if got != want {
							t.Errorf("%q: %s understood %s to be %q, want %q", lines.String(), s.name, header, got, want)
						}
					}
				}
			}
		})
	}
}

// TestServersFindNothingSmuggled sends the corpus of request smuggling to each real server through a gateway: it sees no
// request that the gateway did not let in, and whoever comes next gets the answer to what they asked for.
func TestServersFindNothingSmuggled(t *testing.T) {
	t.Parallel()
	for _, s := range legacies(t) {
		t.Run(s.name, func(t *testing.T) {
			f := unsigned(t, gatewaytest.Options{Routes: strings.ReplaceAll(strict, "UPSTREAM", `"`+s.url+`"`)})
			next := make(chan payload)
			var wait sync.WaitGroup
			for range 16 {
				wait.Go(func() {
					for p := range next {
						f.send(t, p)
						a := f.Raw(t, "GET /public/next HTTP/1.1\r\nHost: "+f.host+"\r\n\r\n")
						if u, is := readUnderstood(a.Body); a.Status != http.StatusOK || !is || u.Path != "/public/next" {
							t.Errorf("%s: the next request got %s with %q", p.Name, a, a.Body)
						}
					}
				})
			}
			all := smuggling(t, f.host)
			for _, p := range all {
				next <- p
			}
			close(next)
			wait.Wait()
			seen, let := s.seen(), 0
			for _, line := range seen {
				if path, _, _ := strings.Cut(line, "?"); !strings.Contains(path, "/public") || strings.Contains(path, "evil") {
					t.Errorf("%s saw %q", s.name, line)
				}
			}
			gatewaytest.Await(t, "the gateway says of each request that "+s.name+" saw that it was let in", func() bool {
				let = 0
				for _, d := range f.decisions(t) {
					if d.Decision == "allow" {
						let++
					}
				}
				return len(seen) <= let
			})
			if len(seen) < len(all) {
				t.Errorf("%s saw %d requests, want one behind each of %d payloads", s.name, len(seen), len(all))
			}
			t.Logf("%d payloads; %d requests were let in, %s saw %d", len(all), let, s.name, len(seen))
		})
	}
}
