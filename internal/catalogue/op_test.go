package catalogue_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

var operation = family{ID: "OP", Title: "Operation", Attacks: []attack{
	{ID: "OP-01", Name: "profiles on the public listener", Want: "under their own names they are the application's, behind the sign-in; under the prefix 404; nowhere else either", Why: "importing net/http/pprof registers it with the default mux", Test: profiles},
	{ID: "OP-02", Name: "metrics and detail of health", Want: "on the public listener the same, and a health answer of one word, without versions and addresses", Why: "CVE-2022-24797 Pomerium", Test: metricsOutside},
	{ID: "OP-03", Name: "admin listener", Want: "another site, a rebound name or a missing token: 403 or 401, and nothing is done", Why: "CVE-2026-27589 Caddy. From where a request comes is no question of the answer: the listener is on loopback, and off it a token has to be configured", Test: adminListener},
	{ID: "OP-04", Name: "version", Want: "no answer says which program and version it is from", Test: noVersion},
	{ID: "OP-05", Name: "cardinality of metrics", Want: "two thousand of each of paths, methods, hosts, queries, user agents and states, and forty people, make no series", Why: "CVE-2023-25151; a million would take minutes and say no more", Test: cardinality},
	{ID: "OP-06", Name: "page about oneself", Want: "who one is, to the same origin alone, kept by nobody, and no token", Why: "CVE-2024-39315 Pomerium", Test: aboutOneself},
	{ID: "OP-07", Name: "container", Want: "a static program that works as a user without rights in a folder with nothing but itself, its configuration and its data", Test: container,
		Missing: "The image itself, with its read-only root and the engine's seccomp profile: there is no container engine. A chroot with the files of the Dockerfile takes its place."},
	{ID: "OP-08", Name: "graceful stop", Want: "readiness goes first, then the listeners; a hundred uploads, a hundred sign-ins and a hundred WebSockets end properly; the bound is kept; exit code 0", Test: gracefulStop},
}}

// atAdmin sends text to the admin listener as it is, and reads the answer.
func (f *front) atAdmin(t *testing.T, text string) *gatewaytest.Answer {
	t.Helper()
	_, admin := f.Process.Addresses()
	return askAt(t, admin, text)
}

// askAt sends text to an address as it is, and reads the answer.
func askAt(t *testing.T, address, text string) *gatewaytest.Answer {
	t.Helper()
	const patience = 15 * time.Second
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, text)
	method, _, _ := strings.Cut(text, " ")
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		return &gatewaytest.Answer{Err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return &gatewaytest.Answer{Status: resp.StatusCode, Header: resp.Header, Body: string(body), Err: err}
}

// freeAddr is an address on loopback where nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// adminForm posts a form to the admin listener, with its token.
func (f *front) adminForm(t *testing.T, path string, form url.Values) *gatewaytest.Answer {
	t.Helper()
	body := form.Encode()
	return f.atAdmin(t, "POST "+path+" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+gatewaytest.AdminToken+
		"\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"+body)
}

// operators are headers by which somebody claims to be one.
var operators = [][][2]string{nil, fieldsOf("Authorization", "Bearer "+gatewaytest.AdminToken), fieldsOf("X-Forwarded-For", "127.0.0.1", "X-Real-Ip", "127.0.0.1", "X-Forwarded-Host", "localhost")}

// notServed fails unless a target is the application's, behind the sign-in, and its spellings under the prefix are nobody's.
func notServed(t *testing.T, d *doors, paths ...string) {
	t.Helper()
	d.each(t, func(t *testing.T, w way) {
		for _, path := range paths {
			for _, lines := range operators {
				a := w.ask(t, request{Target: path, Lines: lines})
				switch {
				case w.cookie == "":
					w.denied(t, a, http.StatusBadRequest)
				case a.Status == http.StatusOK:
					if !strings.Contains(a.Body, "the application") {
						t.Errorf("%s: got %q, want the application's page", path, a.Body)
					}
				case a.Status != http.StatusBadRequest:
					t.Errorf("%s: got %s, want the application's page, or 400", path, a)
				}
				w.Upstream.Forget()
				a = w.ask(t, request{Target: "/_portero" + path, Lines: lines})
				if a.Status != http.StatusNotFound && a.Status != http.StatusBadRequest {
					t.Errorf("/_portero%s: got %s, want 404 or 400", path, a)
				}
				w.nothingReached(t)
			}
		}
		for _, host := range []string{"localhost", "127.0.0.1", "127.0.0.1:3010", "admin.gw.test", "portero"} {
			for _, path := range paths {
				if a := w.ask(t, request{Target: path, Host: host, Lines: operators[1]}); a.Status != http.StatusMisdirectedRequest && a.Status != http.StatusBadRequest {
					t.Errorf("%s for %s: got %s, want 421 or 400", path, host, a)
				}
				w.nothingReached(t)
			}
		}
	})
}

func profiles(t *testing.T, d *doors) {
	paths := []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/pprof/profile?seconds=1", "/debug/pprof/trace?seconds=1", "/debug/pprof/symbol", "/debug/pprof/goroutine?debug=2", "/debug/vars",
		"/debug/requests", "/debug/events", "/%64ebug/pprof/", "/debug%2fpprof/", "//debug/pprof/", "/debug/./pprof/", "/debug/pprof;x/", "/DEBUG/PPROF/"}
	notServed(t, d, paths...)
	f := d.TLS()
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/vars", "/", "/api/nothing"} {
		for token, want := range map[string]int{"": http.StatusUnauthorized, "Authorization: Bearer " + gatewaytest.AdminToken + "\r\n": http.StatusNotFound} {
			if a := f.atAdmin(t, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n"+token+"\r\n"); a.Status != want {
				t.Errorf("%s at the admin listener: got %s, want %d", path, a, want)
			}
		}
	}
}

func metricsOutside(t *testing.T, d *doors) {
	notServed(t, d, "/metrics", "/ready?verbose", "/readyz?verbose", "/readyz", "/api/status", "/api/sessions", "/metrics/", "/%6detrics")
	d.each(t, func(t *testing.T, w way) {
		for _, host := range []string{"", "10.0.0.1:8080", "nowhere.test"} {
			for _, target := range []string{"/_portero/healthz", "/_portero/healthz?verbose", "/_portero/healthz?verbose=1&full=true"} {
				a := w.ask(t, request{Target: target, Host: host})
				if target == "/_portero/healthz" && (a.Status != http.StatusOK || a.Body != "ok\n") {
					t.Errorf("%s of %q: got %s %q, want 200 ok", target, host, a, a.Body)
				}
				if a.Status == http.StatusOK && a.Body != "ok\n" {
					t.Errorf("%s of %q: got %q, want one word", target, host, a.Body)
				}
				if all := fmt.Sprint(a.Header, a.Body); strings.Contains(all, strings.TrimPrefix(w.Upstream.URL, "http://")) {
					t.Errorf("%s of %q names an address behind it: %s", target, host, all)
				}
			}
		}
		w.nothingReached(t)
	})
}

func adminListener(t *testing.T, _ *doors) {
	metrics := freeAddr(t)
	f := unsigned(t, gatewaytest.Options{Admin: `listen: "127.0.0.1:0", hosts: [admin.example.com], token: ` + gatewaytest.AdminToken + `, metrics_listen: "` + metrics + `"`})
	_, admin := f.Process.Addresses()
	_, port, _ := net.SplitHostPort(admin)
	const bearer = "Authorization: Bearer " + gatewaytest.AdminToken + "\r\n"
	reloads := func() int { return strings.Count(f.Log.String(), "configuration reloaded") }
	for name, tt := range map[string]struct {
		method, path, host, lines string
		want                      int
	}{
		"health":                          {"GET", "/healthz", "localhost", "", 200},
		"readiness":                       {"GET", "/readyz", "127.0.0.1", "", 200},
		"metrics":                         {"GET", "/metrics", "localhost:" + port, "", 200},
		"a configured name":               {"GET", "/metrics", "admin.example.com", "", 200},
		"an address of another kind":      {"GET", "/metrics", "[::1]:" + port, "", 200},
		"the token":                       {"GET", "/api/status", "localhost", bearer, 200},
		"no token":                        {"POST", "/api/reload", "localhost", "", 401},
		"a wrong token":                   {"POST", "/api/reload", "localhost", "Authorization: Bearer " + gatewaytest.AdminToken + "x\r\n", 401},
		"a part of the token":             {"POST", "/api/reload", "localhost", "Authorization: Bearer " + gatewaytest.AdminToken[:31] + "\r\n", 401},
		"an empty token":                  {"POST", "/api/reload", "localhost", "Authorization: Bearer \r\n", 401},
		"another scheme":                  {"POST", "/api/reload", "localhost", "Authorization: Basic " + gatewaytest.AdminToken + "\r\n", 401},
		"the token in the query":          {"POST", "/api/reload?token=" + gatewaytest.AdminToken, "localhost", "", 401},
		"the token as a cookie":           {"POST", "/api/reload", "localhost", "Cookie: token=" + gatewaytest.AdminToken + "\r\n", 401},
		"a session":                       {"GET", "/api/sessions", "localhost", "Cookie: __Host-portero=x\r\n", 401},
		"an unknown path without token":   {"GET", "/api/other", "localhost", "", 401},
		"a rebound name":                  {"POST", "/api/reload", "evil.test", bearer, 403},
		"a rebound name, health":          {"GET", "/healthz", "evil.test", "", 403},
		"a rebound name with the port":    {"POST", "/api/reload", "evil.test:" + port, bearer, 403},
		"a name that ends like ours":      {"POST", "/api/reload", "localhost.evil.test", bearer, 403},
		"a name that begins like ours":    {"POST", "/api/reload", "admin.example.com.evil.test", bearer, 403},
		"an address as a name":            {"POST", "/api/reload", "127.0.0.1.nip.test", bearer, 403},
		"the public host":                 {"POST", "/api/reload", "gw.test", bearer, 403},
		"a form of another site":          {"POST", "/api/reload", "localhost", bearer + "Origin: https://evil.test\r\n", 403},
		"a form of a sibling":             {"POST", "/api/reload", "localhost", bearer + "Origin: http://localhost:1\r\n", 403},
		"a form of nowhere":               {"POST", "/api/reload", "localhost", bearer + "Origin: null\r\n", 403},
		"a page of another site":          {"POST", "/api/reload", "localhost", bearer + "Sec-Fetch-Site: cross-site\r\n", 403},
		"a page of the same site":         {"GET", "/api/status", "localhost", bearer + "Sec-Fetch-Site: same-site\r\n", 403},
		"metrics for another site":        {"GET", "/metrics", "localhost", "Sec-Fetch-Site: cross-site\r\n", 403},
		"an end of sessions from outside": {"POST", "/api/sessions/revoke", "localhost", bearer + "Origin: https://evil.test\r\n", 403},
		"a reload by GET":                 {"GET", "/api/reload", "localhost", bearer, 405},
		"a method in a header":            {"GET", "/api/reload", "localhost", bearer + "X-HTTP-Method-Override: POST\r\n", 405},
	} {
		before := reloads()
		length := map[bool]string{true: "Content-Length: 0\r\n"}[tt.method == "POST"]
		a := f.atAdmin(t, tt.method+" "+tt.path+" HTTP/1.1\r\nHost: "+tt.host+"\r\n"+tt.lines+length+"\r\n")
		if a.Status != tt.want {
			t.Errorf("%s: got %s, want %d\n%s", name, a, tt.want, a.Body)
		}
		if a.Status == http.StatusUnauthorized && (a.Header.Get("WWW-Authenticate") == "" || len(a.Body) > 200) {
			t.Errorf("%s: 401 without a challenge, or with more than a sentence: %v %q", name, a.Header, a.Body)
		}
		if a.Status >= 400 && len(a.Header["Access-Control-Allow-Origin"]) != 0 || reloads() != before {
			t.Errorf("%s: it was done, or allowed to another origin", name)
		}
	}
	// The listener for metrics has nothing else, whatever comes along.
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200, "/": 404, "/api/status": 404, "/api/sessions": 404, "/api/reload": 404, "/debug/pprof/": 404, "/_portero/": 404} {
		if a := askAt(t, metrics, "GET "+path+" HTTP/1.1\r\nHost: prometheus.internal\r\n"+bearer+"\r\n"); a.Status != want {
			t.Errorf("%s at the listener for metrics: got %s, want %d", path, a, want)
		}
		if a := askAt(t, metrics, "POST "+path+" HTTP/1.1\r\nHost: localhost\r\n"+bearer+"Content-Length: 0\r\n\r\n"); a.Status < 400 {
			t.Errorf("POST %s at the listener for metrics: got %s, want 404 or 405", path, a)
		}
	}
	// Preflights allow nothing.
	for _, target := range []string{"/api/reload", "/api/sessions/revoke", "/metrics"} {
		a := f.atAdmin(t, "OPTIONS "+target+" HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.test\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n\r\n")
		for name := range a.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("a preflight for %s: got %s", target, name)
			}
		}
	}
}

// programs are words that say which program answers.
var programs = regexp.MustCompile(`(?i)golang|go1\.\d|net/http|portero[ /]v?\d|\bv\d+\.\d+\.\d+|chi/|fasthttp|\(devel\)`)

func noVersion(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		for _, q := range []request{
			{Target: "/app"}, {Target: "/app", Lines: navigation}, {Target: "/admin/x", Lines: navigation}, {Target: "/public/x"}, {Target: "/_portero/"}, {Target: "/_portero/session"}, {Target: "/_portero/none", Lines: navigation},
			{Target: "/_portero/healthz"}, {Target: "/sign-out", Lines: navigation}, {Target: "/callback?code=x&state=y", Lines: navigation}, {Target: "/a%00"}, {Method: "TRACE"}, {Method: "POST", Body: "x"}, {Target: "/app", Host: "nowhere.test"},
			{Method: "OPTIONS", Target: "/app", Lines: fieldsOf("Origin", "https://evil.test", "Access-Control-Request-Method", "GET")}, {Target: "/_portero/signed-out", Lines: navigation}, {Target: "/public/" + strings.Repeat("x", 70<<10)},
		} {
			a := w.ask(t, q)
			for _, name := range []string{"Server", "X-Powered-By", "Via", "X-Aspnet-Version", "X-Generator", "X-Runtime"} {
				if v := a.Header[name]; len(v) != 0 {
					t.Errorf("%s %.40s: got %s: %q, want none", q.Method, q.Target, name, v)
				}
			}
			if found := programs.FindString(fmt.Sprint(a.Header, a.Body)); found != "" {
				t.Errorf("%s %.40s: the answer has %q", q.Method, q.Target, found)
			}
		}
		w.Upstream.Forget()
	})
	for _, text := range []string{"garbage\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/3.0\r\nHost: gw.test\r\n\r\n", "GET / HTTP/1.1\r\nHost: gw.test\r\nA b: c\r\n\r\n"} {
		for _, a := range []*gatewaytest.Answer{d.Plain().Raw(t, text), d.TLS().Raw(t, text), d.TLS().atAdmin(t, text), askAt(t, d.TLS().Addr, text)} { // the last in the clear, where TLS is spoken
			if found := programs.FindString(fmt.Sprint(a.Header, a.Body)); found != "" || len(a.Header["Server"]) != 0 {
				t.Errorf("%q: the answer has %q and Server %q", text, found, a.Header["Server"])
			}
		}
	}
}

func cardinality(t *testing.T, d *doors) {
	const many = 2000
	f := newFront(t, gatewaytest.Options{Log: "level: error"})
	series := func() []string {
		var out []string
		for line := range strings.Lines(f.Admin(t, http.MethodGet, "/metrics").Text) {
			if name, _, ok := strings.Cut(line, " "); ok && !strings.HasPrefix(line, "#") {
				out = append(out, name)
			}
		}
		return out
	}
	kinds := map[string]func(n int) string{
		"path":   func(n int) string { return request{Target: fmt.Sprintf("/app/%d/%d", n, n)}.text(f.host) },
		"public": func(n int) string { return request{Target: fmt.Sprintf("/public/%d", n)}.text(f.host) },
		"own":    func(n int) string { return request{Target: fmt.Sprintf("/_portero/%d", n)}.text(f.host) },
		"method": func(n int) string { return request{Method: fmt.Sprintf("M%d", n)}.text(f.host) },
		"host":   func(n int) string { return request{Host: fmt.Sprintf("h%d.test", n)}.text(f.host) },
		"query":  func(n int) string { return request{Target: fmt.Sprintf("/public/x?a%d=%d", n, n)}.text(f.host) },
		"User-Agent": func(n int) string {
			return request{Target: "/public/x", Lines: fieldsOf("User-Agent", fmt.Sprint(n), "Referer", fmt.Sprint("https://r.test/", n), "X-Request-Id", fmt.Sprint(n))}.text(f.host)
		},
		"session": func(n int) string {
			return request{Lines: fieldsOf("Cookie", fmt.Sprintf("__Host-portero=%043d", n))}.text(f.host)
		},
		"state": func(n int) string {
			return request{Target: fmt.Sprintf("/callback?state=%d&error=e%d", n, n)}.text(f.host)
		},
	}
	ask := func(n int) {
		for name, text := range kinds {
			c := f.Dial(t)
			for i := range n {
				c.Send(text(i))
				a := c.Answer("GET")
				if a.Status == 0 {
					t.Fatalf("%s %d: %s", name, i, a)
				}
				if a.Close {
					c.Close()
					c = f.Dial(t)
				}
			}
			c.Close()
		}
	}
	w := way{front: f}
	person := func(n int) {
		f.Issuer.Do(func(i *gatewaytest.Issuer) {
			i.Person = maps.Clone(carol)
			i.Person["sub"], i.Person["sid"], i.Person["email"] = fmt.Sprint("u", n), fmt.Sprint("s", n), fmt.Sprintf("u%d@d%d.example", n, n)
		})
		p := w.traveller(t)
		p.get(t, p.leave(t, "/app"))
		p.get(t, "/app")
		p.get(t, "/admin/x")
	}
	// An upstream may answer with any status.
	statuses := func(n int) {
		f.Upstream.Say(func(line string) string {
			return fmt.Sprintf("HTTP/1.1 %d Whatever\r\nContent-Length: 0\r\n\r\n", 200+n)
		}, false)
		f.Raw(t, request{Target: "/public/status"}.text(f.host))
		f.Upstream.Say(nil, false)
	}
	ask(1)
	person(0)
	for n := range 400 {
		if http.StatusText(200+n) != "" || n%100 == 99 {
			statuses(n)
		}
	}
	before := series()
	ask(many / len(kinds) * 2)
	for n := range 40 {
		person(n + 1)
	}
	for n := range 400 {
		statuses(n)
	}
	if after := series(); !slices.Equal(after, before) || len(before) < 50 {
		t.Errorf("series: got %d, want %d as before", len(after), len(before))
		for _, s := range after {
			if !slices.Contains(before, s) {
				t.Errorf("new: %s", s)
			}
		}
	}
}

func aboutOneself(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		for _, target := range []string{"/_portero/session", "/_portero/", "/_portero/session?callback=evil", "/_portero/session.js", "/whoami", "/userinfo", "/oauth2/userinfo", "/.pomerium/"} {
			for _, lines := range [][][2]string{
				nil, navigation, fieldsOf("Origin", "https://evil.test", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors"), fieldsOf("Origin", "null"),
				fieldsOf("Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "script"), fieldsOf("Origin", "https://other.test", "Sec-Fetch-Site", "same-site", "Accept", "application/json"),
			} {
				a := w.ask(t, request{Target: target, Lines: lines})
				own := strings.HasPrefix(target, "/_portero/")
				if !own {
					if w.cookie == "" {
						w.denied(t, a)
					}
					w.Upstream.Forget()
					continue
				}
				for name := range a.Header {
					if strings.HasPrefix(name, "Access-Control-") {
						t.Errorf("%s %v: got %s", target, lines, name)
					}
				}
				if a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("%s %v: got %q", target, lines, a.Header)
				}
				if a.Status == http.StatusOK {
					if got := a.Header.Get("Cross-Origin-Resource-Policy"); got != "same-origin" {
						t.Errorf("%s %v: Cross-Origin-Resource-Policy: got %q, want same-origin", target, lines, got)
					}
					w.unsaid(t, target, a.Body)
					if token := strings.TrimPrefix(w.cookie, w.Cookie()+"="); token != "" && strings.Contains(a.Body, token) {
						t.Errorf("%s: the session token is in it", target)
					}
				}
				if strings.HasPrefix(target, "/_portero/session") && !strings.HasPrefix(a.Header.Get("Content-Type"), "application/json") && !strings.Contains(target, ".js") {
					t.Errorf("%s: got %q, want JSON", target, a.Header.Get("Content-Type"))
				}
				w.nothingReached(t)
			}
		}
		a := w.ask(t, request{Target: "/_portero/session"})
		if w.cookie == "" {
			if a.Status != http.StatusUnauthorized || strings.Contains(a.Body, "alice") {
				t.Errorf("signed out: got %s %s", a, a.Body)
			}
			return
		}
		var got map[string]any
		if err := json.Unmarshal([]byte(a.Body), &got); err != nil {
			t.Fatal(err)
		}
		want := []string{"email", "email_verified", "ends_at", "idle_ends_at", "name", "roles", "signed_in_at", "subject", "username"}
		if keys := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, want) || got["subject"] != "t8x4l8ohti1t" {
			t.Errorf("signed in: got %v, want %q of Alice", got, want)
		}
	})
}

// certificateAt is the serial number of the certificate that is shown at an address.
func certificateAt(t *testing.T, address string) string {
	t.Helper()
	c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, ServerName: gatewaytest.Host})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
}
