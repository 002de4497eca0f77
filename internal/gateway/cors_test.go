package gateway_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

const (
	corsRoutes = `
  - {name: api, path: /api, cors: {origins: ["https://app.example.com", "http://localhost:9000"], credentials: true}, upstreams: [{url: UPSTREAM}]}
  - {name: narrow, path: /narrow, methods: [GET, PUT], cors: {origins: ["https://app.example.com"], methods: [PUT], headers: [X-One, X-Two], max_age: 1h}, upstreams: [{url: UPSTREAM}]}
  - {name: all, path: /all, access: optional, cors: {origins: ["*"]}, upstreams: [{url: UPSTREAM}]}
  - {name: office, path: /office, allow: [{roles: [boss]}], cors: {origins: ["https://app.example.com"]}, upstreams: [{url: UPSTREAM}]}
  - {name: down, path: /down, cors: {origins: ["https://app.example.com"]}, upstreams: [{url: "http://127.0.0.1:1"}]}
  - {name: app, path: /, upstreams: [{url: UPSTREAM}]}
`
	otherApp = "https://app.example.com"
)

func varies(h http.Header) bool {
	return slices.ContainsFunc(h.Values("Vary"), func(v string) bool { return v == "Origin" })
}

// rawRequest sends a head as it is, with a Host.
func rawRequest(t *testing.T, rig *gatewaytest.Rig, head ...string) *http.Response {
	t.Helper()
	c, err := net.Dial("tcp", rig.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix(rig.URL, "http://")
	if _, err := fmt.Fprintf(c, "%s\r\nHost: %s\r\n%s\r\n\r\n", head[0], host, strings.Join(head[1:], "\r\n")); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(head[0], " ")
	r, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", head, err)
	}
	r.Body.Close()
	return r
}

// What is no preflight of an origin that the route names is a request like all others: nobody is let in, nothing reaches the
// application, and no page may read the answer.
func TestCORSRefuses(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, &gatewaytest.Options{Routes: corsRoutes})
	for name, head := range map[string][]string{
		"null":                      {"Origin: null"},
		"no origin":                 {"X: y"},
		"empty":                     {"Origin: "},
		"upper case":                {"Origin: https://APP.example.com"},
		"scheme in upper case":      {"Origin: HTTPS://app.example.com"},
		"other scheme":              {"Origin: http://app.example.com"},
		"other port":                {"Origin: https://app.example.com:8443"},
		"default port":              {"Origin: https://app.example.com:443"},
		"port of another":           {"Origin: http://localhost"},
		"slash":                     {"Origin: https://app.example.com/"},
		"dot":                       {"Origin: https://app.example.com."},
		"subdomain":                 {"Origin: https://x.app.example.com"},
		"parent":                    {"Origin: https://example.com"},
		"prefix":                    {"Origin: https://app.example.com.evil.example"},
		"suffix":                    {"Origin: https://evilapp.example.com"},
		"user":                      {"Origin: https://app.example.com@evil.example"},
		"list":                      {"Origin: https://app.example.com https://evil.example"},
		"list with comma":           {"Origin: https://app.example.com, https://evil.example"},
		"two":                       {"Origin: https://app.example.com", "Origin: https://evil.example"},
		"the same twice":            {"Origin: https://app.example.com", "Origin: https://app.example.com"},
		"star":                      {"Origin: *"},
		"no dot, but any character": {"Origin: https://appxexample.com"},
		"two methods":               {"Origin: https://app.example.com", "Access-Control-Request-Method: GET"},
		"two lists of headers":      {"Origin: https://app.example.com", "Access-Control-Request-Headers: a", "Access-Control-Request-Headers: b"},
	} {
		r := rawRequest(t, rig, append([]string{"OPTIONS /api/x HTTP/1.1", "Access-Control-Request-Method: PUT", "Access-Control-Request-Private-Network: true"}, head...)...)
		got := gatewaytest.Sharing(r.Header)
		if name == "two methods" || name == "two lists of headers" { // of a page that may read
			got = slices.DeleteFunc(got, func(h string) bool {
				return h == "Access-Control-Allow-Origin: "+otherApp || h == "Access-Control-Allow-Credentials: true"
			})
		}
		if r.StatusCode != http.StatusUnauthorized || len(got) != 0 || !varies(r.Header) {
			t.Errorf("%s: got %s with %q and Vary %q, want 401, nothing, Origin", name, r.Status, got, r.Header["Vary"])
		}
	}
	for name, head := range map[string][]string{
		"no preflight":              {"OPTIONS /api/x HTTP/1.1"},
		"a method that is none":     {"OPTIONS /api/x HTTP/1.1", "Access-Control-Request-Method: BREW"},
		"a method in lower case":    {"OPTIONS /api/x HTTP/1.1", "Access-Control-Request-Method: put"},
		"TRACE":                     {"OPTIONS /api/x HTTP/1.1", "Access-Control-Request-Method: TRACE"},
		"a preflight by GET":        {"GET /api/x HTTP/1.1", "Access-Control-Request-Method: PUT"},
		"a preflight by POST":       {"POST /api/x HTTP/1.1", "Access-Control-Request-Method: PUT", "Content-Length: 0"},
		"of a method without route": {"OPTIONS /narrow HTTP/1.1", "Access-Control-Request-Method: DELETE"},
		"of a route without cors":   {"OPTIONS /x HTTP/1.1", "Access-Control-Request-Method: PUT"},
	} {
		r := rawRequest(t, rig, append(head, "Origin: "+otherApp)...)
		if r.StatusCode != http.StatusUnauthorized || r.Header.Get("Access-Control-Allow-Methods") != "" {
			t.Errorf("%s: got %s with %q, want 401 that grants nothing", name, r.Status, gatewaytest.Sharing(r.Header))
		}
	}
	for target, want := range map[string]int{"/_portero/session": 405, "/sign-in": 405, "/api/../x": 400, "/%2e%2e/api": 400, "/%5Fportero/session": 404} {
		r := rawRequest(t, rig, "OPTIONS "+target+" HTTP/1.1", "Access-Control-Request-Method: PUT", "Origin: "+otherApp)
		if r.StatusCode != want || len(gatewaytest.Sharing(r.Header)) != 0 {
			t.Errorf("%s: got %s with %q, want %d with nothing", target, r.Status, gatewaytest.Sharing(r.Header), want)
		}
	}
	if got := rig.Upstream.Requests(); len(got) != 0 {
		t.Errorf("the application saw %q", got)
	}
}

// A preflight is answered for the origins of the route of the request that it announces.
func TestCORSPreflight(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, &gatewaytest.Options{Routes: corsRoutes})
	kept := "Access-Control-Max-Age: 600"
	for name, tt := range map[string]struct {
		target, method, origin string
		head                   []string
		want                   []string
	}{
		"any method": {"/api/x", "PUT", otherApp, nil,
			[]string{"Access-Control-Allow-Credentials: true", "Access-Control-Allow-Methods: PUT", "Access-Control-Allow-Origin: " + otherApp, kept}},
		"the second origin": {"/api", "DELETE", "http://localhost:9000", nil,
			[]string{"Access-Control-Allow-Credentials: true", "Access-Control-Allow-Methods: DELETE", "Access-Control-Allow-Origin: http://localhost:9000", kept}},
		"any header": {"/api/x", "GET", otherApp, []string{"Access-Control-Request-Headers: authorization,  content-type"},
			[]string{"Access-Control-Allow-Credentials: true", "Access-Control-Allow-Headers: authorization, content-type", "Access-Control-Allow-Methods: GET", "Access-Control-Allow-Origin: " + otherApp, kept}},
		"headers that are none": {"/api/x", "GET", otherApp, []string{"Access-Control-Request-Headers: a b, c"},
			[]string{"Access-Control-Allow-Credentials: true", "Access-Control-Allow-Methods: GET", "Access-Control-Allow-Origin: " + otherApp, kept}},
		"private network": {"/api/x", "GET", otherApp, []string{"Access-Control-Request-Private-Network: true", "Access-Control-Request-Local-Network: true"},
			[]string{"Access-Control-Allow-Credentials: true", "Access-Control-Allow-Methods: GET", "Access-Control-Allow-Origin: " + otherApp, kept}},
		"with a body": {"/api/x", "GET", otherApp, []string{"Content-Length: 1000000"},
			[]string{"Access-Control-Allow-Credentials: true", "Access-Control-Allow-Methods: GET", "Access-Control-Allow-Origin: " + otherApp, kept}},
		"some methods and headers": {"/narrow", "GET", otherApp, []string{"Access-Control-Request-Headers: x-three"},
			[]string{"Access-Control-Allow-Headers: X-One, X-Two", "Access-Control-Allow-Methods: PUT", "Access-Control-Allow-Origin: " + otherApp, "Access-Control-Max-Age: 3600"}},
		"every origin": {"/all", "GET", "https://evil.example", nil,
			[]string{"Access-Control-Allow-Methods: GET", "Access-Control-Allow-Origin: *", kept}},
		"every origin, null": {"/all", "GET", "null", nil,
			[]string{"Access-Control-Allow-Methods: GET", "Access-Control-Allow-Origin: *", kept}},
	} {
		head := append([]string{"OPTIONS " + tt.target + " HTTP/1.1", "Origin: " + tt.origin, "Access-Control-Request-Method: " + tt.method}, tt.head...)
		r := rawRequest(t, rig, head...)
		if got := gatewaytest.Sharing(r.Header); r.StatusCode != http.StatusNoContent || !slices.Equal(got, tt.want) || !varies(r.Header) || len(r.Cookies()) != 0 {
			t.Errorf("%s: got %s with\n%q\nwant 204 with\n%q", name, r.Status, got, tt.want)
		}
	}
	if got := rig.Upstream.Requests(); len(got) != 0 {
		t.Errorf("the application saw %q", got)
	}
}

// Every answer of such a route says who may read it, ours as the application's, once; what the application says itself is
// left out, and Origin opens nothing.
func TestCORSOnAnswers(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, &gatewaytest.Options{Routes: corsRoutes})
	rig.Upstream.Say(func(string) string {
		return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\nVary: Accept\r\nAccess-Control-Allow-Origin: https://evil.example\r\n" +
			"access-control-allow-credentials: true\r\nAccess-Control-Allow-Methods: DELETE\r\nAccess-Control-Expose-Headers: X-Total\r\nAccess-Control-Allow-Private-Network: true\r\n\r\n{}"
	}, false)
	alice := rig.SignedIn(t, "/x")
	nobody := rig.Browser(t)
	read, with := "Access-Control-Allow-Origin: "+otherApp, "Access-Control-Allow-Credentials: true"
	for _, tt := range []struct {
		b              *gatewaytest.Browser
		target, origin string
		status         int
		want           []string
	}{
		{nobody, "/api/x", "https://evil.example", 401, nil},
		{nobody, "/api/x", "null", 401, nil},
		{nobody, "/api/x", otherApp, 401, []string{with, read}},
		{nobody, "/narrow", otherApp, 401, []string{read}},
		{nobody, "/x", otherApp, 401, nil},
		{alice, "/api/x", otherApp, 200, []string{with, read, "Access-Control-Expose-Headers: X-Total"}},
		{alice, "/api/x", "https://evil.example", 200, []string{"Access-Control-Expose-Headers: X-Total"}},
		{alice, "/api/x", "", 200, []string{"Access-Control-Expose-Headers: X-Total"}},
		{alice, "/all", "https://evil.example", 200, []string{"Access-Control-Allow-Origin: *", "Access-Control-Expose-Headers: X-Total"}},
		{alice, "/office", otherApp, 403, []string{read}},
		{alice, "/office", "https://evil.example", 403, nil},
		{alice, "/down", otherApp, 502, []string{read}},
		{alice, "/x", otherApp, 200, []string{"Access-Control-Allow-Credentials: true", "Access-Control-Allow-Methods: DELETE",
			"Access-Control-Allow-Origin: https://evil.example", "Access-Control-Allow-Private-Network: true", "Access-Control-Expose-Headers: X-Total"}},
	} {
		head := map[string]string{"Accept": "application/json", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "cross-site"}
		if tt.origin != "" {
			head["Origin"] = tt.origin
		}
		r := tt.b.Do(tt.b.Request("GET", rig.URL+tt.target, nil, head))
		if got := gatewaytest.Sharing(r.Header); r.StatusCode != tt.status || !slices.Equal(got, tt.want) {
			t.Errorf("%s from %s: got %s with\n%q\nwant %d with\n%q", tt.target, tt.origin, r.Status, got, tt.status, tt.want)
		}
		if varies(r.Header) != (tt.target != "/x") {
			t.Errorf("%s from %s: Vary %q", tt.target, tt.origin, r.Header["Vary"])
		}
	}
}

// Without the key there is nothing of the kind, whatever a page asks.
func TestCORSIsOffByDefault(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	for _, target := range []string{"/", "/api/x", "/optional", "/admin", "/closed", "/public", "/sign-in", "/_portero/session", "/_portero/jwks.json", "/_portero/healthz"} {
		for _, method := range []string{"OPTIONS", "GET"} {
			r := rawRequest(t, rig, method+" "+target+" HTTP/1.1", "Origin: "+rig.URL, "Access-Control-Request-Method: GET", "Access-Control-Request-Private-Network: true")
			if got := gatewaytest.Sharing(r.Header); len(got) != 0 || varies(r.Header) {
				t.Errorf("%s %s: got %q", method, target, got)
			}
		}
	}
}
