package gateway_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// asks are the endpoints of forward-auth.
var asks = []string{"/_portero/auth", "/_portero/auth-redirect"}

// trusted are options for a rig that believes what stands in front of it.
func trusted(o gatewaytest.Options) *gatewaytest.Options {
	o.Extra += "\ntrusted_proxies: [127.0.0.1]"
	return &o
}

// about are the headers by which a proxy asks about a request.
func about(rig *gatewaytest.Rig, method, target string) map[string]string {
	u, _ := url.Parse(rig.URL)
	return map[string]string{
		"X-Forwarded-Method": method, "X-Forwarded-Proto": u.Scheme, "X-Forwarded-Host": u.Host, "X-Forwarded-Uri": target,
		"X-Forwarded-For": gatewaytest.AccessInside,
	}
}

// asked asks about a request of b's, with more headers; an empty value removes one.
func asked(rig *gatewaytest.Rig, b *gatewaytest.Browser, endpoint, method, target string, more map[string]string) *gatewaytest.Response {
	headers := about(rig, method, target)
	maps.Copy(headers, more)
	return b.Do(b.Request(http.MethodGet, rig.URL+endpoint, nil, headers))
}

// wantNothing fails unless an answer lets nobody pass, tells nothing and sets no cookie.
func wantNothing(t testing.TB, what string, r *gatewaytest.Response, status int) {
	t.Helper()
	if r.StatusCode != status {
		t.Errorf("%s: got %s, want %d\n%.300s", what, r.Status, status, r.Text)
	}
	for name := range r.Header {
		if name == "Set-Cookie" || name == "Cookie" || strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "X-Envoy-") || strings.HasPrefix(name, "X-Portero-") {
			t.Errorf("%s: the answer has %s", what, name)
		}
	}
}

func TestForwardAuthIsForTrustedProxies(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	b := rig.SignedIn(t, "/")
	for _, endpoint := range append(slices.Clone(asks), "/_portero/auth/public/x", "/_portero/auth-redirect/public/x", "/_portero/auth?x", "/_portero/auth/", "/_portero/auth-page") {
		for _, method := range []string{"GET", "HEAD", "POST", "DELETE", "OPTIONS", "FOO"} {
			for _, headers := range []map[string]string{nil, about(rig, "GET", "/public/x"), about(rig, "GET", "/"), {"X-Forwarded-Uri": "/%"}, {"X-Forwarded-Host": "a b"}} {
				r := b.Do(b.Request(method, rig.URL+endpoint, nil, headers))
				wantNothing(t, fmt.Sprint(method, " ", endpoint, " ", headers), r, http.StatusForbidden)
			}
		}
	}
	if text := rig.Log.String(); !strings.Contains(text, `"key":"trusted_proxies"`) {
		t.Errorf("no line of the log names the key")
	}
	for _, endpoint := range []string{"/_portero/authx", "/_portero/auth-", "/_portero/auth-redirectx", "/_portero/Auth", "/_portero/auth%2d", "/_portero/%61uth"} {
		if r := b.Get(rig.URL + endpoint); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: got %s, want 404", endpoint, r.Status)
		}
	}
}

// Whoever is signed in and allowed is not let in by a question that is not clear.
func TestForwardAuthRefusesUnclearQuestions(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, trusted(gatewaytest.Options{}))
	b := rig.SignedIn(t, "/")
	host := strings.TrimPrefix(rig.URL, "http://")
	lines := func(pairs ...string) string {
		var out strings.Builder
		for i := 0; i < len(pairs); i += 2 {
			out.WriteString(pairs[i] + ": " + pairs[i+1] + "\r\n")
		}
		return out.String()
	}
	// whole is a clear question, without the lines of these names and with more.
	whole := func(without string, more ...string) string {
		var pairs []string
		for _, p := range [][2]string{{"X-Forwarded-Method", "GET"}, {"X-Forwarded-Proto", "http"}, {"X-Forwarded-Host", host}, {"X-Forwarded-Uri", "/app"}, {"X-Forwarded-For", "10.1.2.3"}} {
			if !strings.Contains(without, p[0]) {
				pairs = append(pairs, p[:]...)
			}
		}
		return lines(append(pairs, more...)...)
	}
	uri := func(u string) string { return whole("X-Forwarded-Uri", "X-Forwarded-Uri", u) }
	cookie := "Cookie: " + rig.Cookie() + "=" + b.Cookies("localhost")[rig.Cookie()] + "\r\n"
	ask := func(first, headers string) *gatewaytest.Answer {
		return rig.Raw(t, first+"\r\nHost: "+host+"\r\nAccept: text/html\r\n"+cookie+headers+"\r\n")
	}
	if a := ask("GET /_portero/auth HTTP/1.1", whole("")); a.Status != http.StatusOK || a.Header.Get("X-Forwarded-User") == "" {
		t.Fatalf("a clear question: got %s %v, want 200 and who it is", a, a.Header)
	}
	if a := ask("GET /_portero/auth?x=/public HTTP/1.0", whole("")); a.Status != http.StatusOK || !a.Close {
		t.Errorf("over HTTP/1.0: got %s, want 200 and the end of the connection", a)
	}

	for name, headers := range map[string]string{
		"nothing":              "",
		"no method":            whole("X-Forwarded-Method"),
		"an empty method":      whole("X-Forwarded-Method", "X-Forwarded-Method", ""),
		"two methods":          whole("", "X-Forwarded-Method", "GET"),
		"a list of methods":    whole("X-Forwarded-Method", "X-Forwarded-Method", "GET, POST"),
		"no scheme":            whole("X-Forwarded-Proto"),
		"two schemes":          whole("", "X-Forwarded-Proto", "http"),
		"a list of schemes":    whole("X-Forwarded-Proto", "X-Forwarded-Proto", "http, https"),
		"another scheme":       whole("X-Forwarded-Proto", "X-Forwarded-Proto", "gopher"),
		"no host":              whole("X-Forwarded-Host"),
		"an empty host":        whole("X-Forwarded-Host", "X-Forwarded-Host", ""),
		"two hosts":            whole("", "X-Forwarded-Host", host),
		"a list of hosts":      whole("X-Forwarded-Host", "X-Forwarded-Host", host+", "+host),
		"a host that is none":  whole("X-Forwarded-Host", "X-Forwarded-Host", "a..b"),
		"a URL as host":        whole("X-Forwarded-Host", "X-Forwarded-Host", "http://"+host),
		"no target":            whole("X-Forwarded-Uri"),
		"an empty target":      uri(""),
		"two targets":          whole("", "X-Forwarded-Uri", "/public/x"),
		"a broken escape":      uri("/%"),
		"no path":              uri("public/x"),
		"an asterisk":          uri("*"),
		"half a URL":           uri("http://["),
		"a URL":                uri("http://" + host + "/public/x"),
		"a fragment":           uri("/public/x#"),
		"dot segments":         uri("/public/../app"),
		"encoded dot segments": uri("/public/%2e%2e/app"),
		"an encoded slash":     uri("/public%2fx"),
		"an encoded NUL":       uri("/public/%00"),
		"a raw control byte":   uri("/public/\x01"),
		"bytes beyond ASCII":   uri("/público"),
		"a blank":              uri("/public x"),
		"no client":            whole("X-Forwarded-For"),
		"underscores":          whole("", "X_Forwarded_Uri", "/public/x"),
		"a dot":                whole("", "X.Forwarded.Uri", "/public/x"),
		"underscored identity": whole("", "X_Forwarded_User", "root"),
		"half underscored":     whole("", "X-Forwarded_User", "root"),
		"another preset":       whole("", "Remote-User", "root"),
		"an assertion":         whole("", "X-Portero-Assertion", "a.b.c"),
		"odd client address":   whole("", "X_Real_IP", "10.0.0.1"),
		"odd length":           whole("", "Content_Length", "0"),
	} {
		for _, endpoint := range asks {
			if a := ask("GET "+endpoint+" HTTP/1.1", headers); a.Status != http.StatusBadRequest || len(a.Header["Set-Cookie"]) != 0 || a.Header.Get("X-Forwarded-User") != "" {
				t.Errorf("%s, to %s: got %s %v, want 400 and nothing told", name, endpoint, a, a.Header)
			}
		}
	}
	for name, status := range map[string]int{
		uri("/" + strings.Repeat("a", 50<<10)):                                     http.StatusOK, // long, and clear
		uri("/" + strings.Repeat("a", 70<<10)):                                     http.StatusRequestHeaderFieldsTooLarge,
		whole("X-Forwarded-Host", "X-Forwarded-Host", "evil.test"):                 http.StatusForbidden,
		whole("X-Forwarded-Method", "X-Forwarded-Method", "get"):                   http.StatusForbidden,
		whole("X-Forwarded-Method", "X-Forwarded-Method", "TRACE"):                 http.StatusForbidden,
		whole("X-Forwarded-Method", "X-Forwarded-Method", "CONNECT"):               http.StatusForbidden,
		whole("X-Forwarded-Method", "X-Forwarded-Method", "GET;x"):                 http.StatusForbidden,
		uri("/_portero/session"):                                                   http.StatusForbidden,
		uri("/sign-in"):                                                            http.StatusForbidden,
		uri("/callback?code=a&state=b"):                                            http.StatusForbidden,
		uri("/sign-out"):                                                           http.StatusForbidden,
		uri("/_portero/auth"):                                                      http.StatusForbidden,
		uri("/closed"):                                                             http.StatusForbidden,
		whole("", "User-Agent", "GoogleHC/1.0", "X-Original-Uri", "/public/x"):     http.StatusOK, // decide nothing
		whole("", "X-Rewrite-Url", "/public/x", "X-Http-Method-Override", "TRACE"): http.StatusOK,
	} {
		if a := ask("GET /_portero/auth HTTP/1.1", name); a.Status != status {
			t.Errorf("%.300s: got %s, want %d", name, a, status)
		}
	}
	for first, status := range map[string]int{
		"GET /_portero/auth/app?x=1 HTTP/1.1":           http.StatusOK,
		"GET /_portero/auth/ HTTP/1.1":                  http.StatusOK,
		"GET /_portero/auth-redirect/app HTTP/1.1":      http.StatusOK,
		"get /_portero/auth/app HTTP/1.1":               http.StatusForbidden,
		"get /_portero/auth-redirect/app HTTP/1.1":      http.StatusMethodNotAllowed,
		"TRACE /_portero/auth/app HTTP/1.1":             http.StatusForbidden,
		"CONNECT /_portero/auth/app HTTP/1.1":           http.StatusForbidden,
		"GET /_portero/auth/public/../app HTTP/1.1":     http.StatusBadRequest,
		"GET /_portero/auth//app HTTP/1.1":              http.StatusBadRequest,
		"GET /_portero/auth/% HTTP/1.1":                 http.StatusBadRequest,
		"GET /_portero/auth/_portero/session HTTP/1.1":  http.StatusForbidden,
		"GET /_portero/auth/closed HTTP/1.1":            http.StatusForbidden,
		"OPTIONS /_portero/auth/* HTTP/1.1":             http.StatusOK,
		"GET /_portero/auth/%2e%2e/_portero/x HTTP/1.1": http.StatusBadRequest,
	} {
		if a := ask(first, ""); a.Status != status {
			t.Errorf("%s: got %s, want %d", first, a, status)
		}
	}
	for name, headers := range map[string]string{
		"another target": lines("X-Forwarded-Uri", "/public/x"), "another method": lines("X-Forwarded-Method", "POST"), "another host": lines("X-Forwarded-Host", "other.test"),
		"two targets": lines("X-Forwarded-Uri", "/app", "X-Forwarded-Uri", "/app"), "a scheme that is none": lines("X-Forwarded-Proto", "x"),
	} {
		if a := ask("GET /_portero/auth/app HTTP/1.1", headers); a.Status != http.StatusBadRequest {
			t.Errorf("%s beside an appended one: got %s, want 400", name, a)
		}
	}
	if a := ask("GET /_portero/auth/app HTTP/1.1", whole("")); a.Status != http.StatusOK {
		t.Errorf("the same said twice: got %s, want 200", a)
	}
	// A body is not waited for.
	if a := ask("POST /_portero/auth HTTP/1.1", whole("", "Content-Length", "1000000")); a.Status != http.StatusOK || !a.Close {
		t.Errorf("with a body that does not come: got %s, want 200 and the end of the connection", a)
	}
	if a := ask("HEAD /_portero/auth HTTP/1.1", whole("X-Forwarded-Uri", "X-Forwarded-Uri", "/admin")); a.Status != http.StatusForbidden || a.Body != "" {
		t.Errorf("HEAD: got %s %q, want 403 without a body", a, a.Body)
	}
	log := rig.Log.String()
	for _, want := range []string{"X-Forwarded-Uri is missing", "X-Forwarded-Host is there twice", "is an endpoint of Portero", "the client sent X_forwarded_user", `"mode":"forward-auth"`} {
		if !strings.Contains(log, want) {
			t.Errorf("no line of the log says %q", want)
		}
	}
}

func TestForwardAuthAnswers(t *testing.T) {
	t.Parallel()
	clock := gatewaytest.NewClock()
	rig := gatewaytest.New(t, trusted(gatewaytest.Options{Clock: clock, Routes: gatewaytest.DefaultRoutes + `
  - {name: fresh, path: /fresh, step_up: {max_age: 1h}, upstreams: [{url: UPSTREAM}]}
  - {name: asked, title: Asked, path: /asked, forward_auth_only: true}
`}))
	anybody, b := rig.Browser(t), rig.SignedIn(t, "/")
	wantNothing(t, "anybody", asked(rig, anybody, asks[0], "GET", "/", nil), http.StatusUnauthorized)
	r := asked(rig, anybody, asks[1], "GET", "/app/x?q=a%20b&r=%26", nil)
	wantNothing(t, "anybody", r, http.StatusFound)
	if want := rig.URL + "/_portero/sign-in?return_to=%2Fapp%2Fx%3Fq%3Da%2520b%26r%3D%2526"; r.Header.Get("Location") != want || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("anybody: sent to %q, want %q, uncached", r.Header.Get("Location"), want)
	}
	if r := anybody.Visit(r.Header.Get("Location")); r.StatusCode != http.StatusOK || r.Request.URL.RequestURI() != "/app/x?q=a%20b&r=%26" {
		t.Errorf("signing in from there: got %s at %s", r.Status, r.Request.URL)
	}
	other := rig.Browser(t)
	for _, endpoint := range asks {
		for name, tt := range map[string]struct {
			method string
			more   map[string]string
		}{
			"a script":   {"GET", map[string]string{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Accept": "application/json"}},
			"a prefetch": {"GET", map[string]string{"Sec-Purpose": "prefetch"}},
			"a form":     {"POST", map[string]string{"Sec-Fetch-Site": "same-origin"}},
			"a frame":    {"GET", map[string]string{"Sec-Fetch-Dest": "iframe"}},
			"a deletion": {"DELETE", nil},
		} {
			r := asked(rig, other, endpoint, tt.method, "/app", tt.more)
			wantNothing(t, name, r, http.StatusUnauthorized)
			if !strings.HasPrefix(r.Header.Get("Www-Authenticate"), "Bearer ") || name == "a script" && !json.Valid([]byte(r.Text)) {
				t.Errorf("%s: got %v %s", name, r.Header, r.Text)
			}
		}
		r := asked(rig, b, endpoint, "GET", "/admin", nil)
		wantNothing(t, "denied", r, http.StatusForbidden)
		if !strings.Contains(r.Text, "Administration") {
			t.Errorf("the page of the denied does not name the application\n%s", r.Text)
		}
		wantNothing(t, "another network", asked(rig, b, endpoint, "GET", "/office", nil), http.StatusForbidden)
		if r := asked(rig, b, endpoint, "GET", "/office", map[string]string{"X-Forwarded-For": "10.9.8.7"}); r.StatusCode != http.StatusOK {
			t.Errorf("the right network: got %s", r.Status)
		}
		for _, path := range []string{"/public/x", "/health"} {
			if r := asked(rig, other, endpoint, "GET", path, nil); r.StatusCode != http.StatusOK || r.Header.Get("X-Forwarded-User") != "" || r.Text != "" {
				t.Errorf("%s: got %s %v", path, r.Status, r.Header)
			}
		}
		for _, path := range []string{"/", "/optional", "/asked/x", "/api/x", "/fresh"} {
			r := asked(rig, b, endpoint, "POST", path, map[string]string{"Cookie": "theme=dark; portero-1=x; lang=en", "X-Forwarded-User": "root", "X-Forwarded-Groups": "admin"})
			if r.StatusCode != http.StatusOK || r.Header.Get("X-Forwarded-User") != rig.Issuer.Person["sub"] || r.Header.Get("X-Forwarded-Email") == "" || r.Header.Get("X-Forwarded-Groups") == "admin" || len(r.Header["X-Forwarded-User"]) != 1 {
				t.Errorf("%s: got %s %v", path, r.Status, r.Header)
			}
			if got := r.Header["Cookie"]; len(got) != 1 || got[0] != "theme=dark; lang=en" {
				t.Errorf("%s: the application's cookies are %q", path, got)
			}
			if len(r.Header["Set-Cookie"]) != 0 || r.Header.Get("X-Envoy-Auth-Headers-To-Remove") != "" || r.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: got %v", path, r.Header)
			}
		}
	}
	// As Envoy asks: what the answer does not have is named, since it would be left.
	r = b.Do(b.Request("POST", rig.URL+"/_portero/auth-redirect/asked", nil, map[string]string{"X-Forwarded-Name": "root"}))
	if got := strings.Split(r.Header.Get("X-Envoy-Auth-Headers-To-Remove"), ","); r.StatusCode != http.StatusOK || !slices.Contains(got, "x-forwarded-groups") || !slices.Contains(got, "cookie") || slices.Contains(got, "x-forwarded-user") {
		t.Errorf("as Envoy asks: got %s %v", r.Status, r.Header)
	}
	// What is asked about only is not forwarded.
	before := len(rig.Upstream.Requests())
	if r := b.Get(rig.URL + "/asked"); r.StatusCode != http.StatusNotFound {
		t.Errorf("a route that is asked about only: got %s, want 404", r.Status)
	}
	if got := len(rig.Upstream.Requests()); got != before {
		t.Error("a request was forwarded")
	}
	// Where the redirect is not the answer of a plain check.
	clock.Add(2 * time.Hour)
	for _, endpoint := range asks {
		r := asked(rig, b, endpoint, "GET", "/fresh", nil)
		wantNothing(t, "too long ago", r, http.StatusUnauthorized)
		if !strings.Contains(r.Header.Get("Www-Authenticate"), "insufficient_user_authentication") {
			t.Errorf("too long ago: got %v", r.Header)
		}
	}
	for path, status := range map[string]int{"/asked%2f": http.StatusBadRequest, "/closed": http.StatusForbidden} {
		wantNothing(t, path, asked(rig, b, asks[1], "GET", path, nil), status)
	}
	wantNothing(t, "another host", asked(rig, b, asks[1], "GET", "/", map[string]string{"X-Forwarded-Host": "evil.test"}), http.StatusMisdirectedRequest)
	wantNothing(t, "a signed-out cookie", asked(rig, rig.Browser(t), asks[0], "GET", "/", map[string]string{"Cookie": rig.Cookie() + "=x"}), http.StatusUnauthorized)
}

// TestForwardAuthPage: who was not let pass is shown why, as by auth-redirect, and who may pass by now asks again.
func TestForwardAuthPage(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, trusted(gatewaytest.Options{}))
	const page = "/_portero/auth-page"
	anybody, b := rig.Browser(t), rig.SignedIn(t, "/")
	r := asked(rig, anybody, page, "GET", "/app/x?q=1", nil)
	wantNothing(t, "anybody", r, http.StatusFound)
	if want := rig.URL + "/_portero/sign-in?return_to=%2Fapp%2Fx%3Fq%3D1"; r.Header.Get("Location") != want {
		t.Errorf("anybody: sent to %q, want %q", r.Header.Get("Location"), want)
	}
	wantNothing(t, "a script", asked(rig, anybody, page, "GET", "/app/x", map[string]string{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Accept": "application/json"}), http.StatusUnauthorized)
	r = asked(rig, b, page, "GET", "/admin", nil)
	wantNothing(t, "denied", r, http.StatusForbidden)
	if !strings.Contains(r.Text, "Administration") {
		t.Errorf("the page of the denied does not name the application\n%s", r.Text)
	}
	for _, path := range []string{"/app/x?q=a%20b&r=%26", "/public/x", "/optional"} {
		r := asked(rig, b, page, "POST", path, nil)
		wantNothing(t, path, r, http.StatusTemporaryRedirect)
		if r.Header.Get("Location") != path || r.Header.Get("Cache-Control") != "no-store" || r.Text != "" {
			t.Errorf("%s: got %v %q, want the same path, uncached", path, r.Header, r.Text)
		}
	}
	wantNothing(t, "unclear", asked(rig, b, page, "GET", "/", map[string]string{"X-Forwarded-Method": ""}), http.StatusBadRequest)
}

func TestForwardAuthWebSockets(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, trusted(gatewaytest.Options{}))
	b := rig.SignedIn(t, "/")
	handshake := func(more ...string) map[string]string {
		h := map[string]string{"Sec-Fetch-Mode": "websocket", "Sec-Fetch-Dest": "empty", "Accept": "*/*", "Sec-Websocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-Websocket-Version": "13"}
		for i := 0; i < len(more); i += 2 {
			h[more[i]] = more[i+1]
		}
		return h
	}
	for _, endpoint := range asks {
		for name, tt := range map[string]struct {
			b      *gatewaytest.Browser
			method string
			more   map[string]string
			want   int
		}{
			"of a page of the host":          {b, "GET", handshake("Origin", rig.URL), http.StatusOK},
			"of a page of another":           {b, "GET", handshake("Origin", "http://evil.test"), http.StatusForbidden},
			"of a sibling":                   {b, "GET", handshake("Origin", rig.Second), http.StatusForbidden},
			"of no page":                     {b, "GET", handshake(), http.StatusForbidden},
			"of null":                        {b, "GET", handshake("Origin", "null"), http.StatusForbidden},
			"by another method":              {b, "POST", handshake("Origin", rig.URL), http.StatusBadRequest},
			"that says only Upgrade":         {b, "GET", map[string]string{"Upgrade": "WebSocket", "Origin": "http://evil.test"}, http.StatusForbidden},
			"of nobody":                      {rig.Browser(t), "GET", handshake("Origin", rig.URL), http.StatusUnauthorized},
			"of nobody, with a page's looks": {rig.Browser(t), "GET", map[string]string{"Upgrade": "websocket"}, http.StatusUnauthorized},
		} {
			wantStatus(t, "a handshake "+name, asked(rig, tt.b, endpoint, tt.method, "/socket", tt.more), tt.want)
		}
		wantStatus(t, "a public one", asked(rig, rig.Browser(t), endpoint, "GET", "/public/socket", handshake()), http.StatusOK)
		wantStatus(t, "a public one of another page", asked(rig, rig.Browser(t), endpoint, "GET", "/public/socket", handshake("Origin", "http://evil.test")), http.StatusForbidden)
	}
}

func wantStatus(t testing.TB, what string, r *gatewaytest.Response, status int) {
	t.Helper()
	if r.StatusCode != status || len(r.Header["Set-Cookie"]) != 0 {
		t.Errorf("%s: got %s %v, want %d without a cookie", what, r.Status, r.Header, status)
	}
}

// The access matrix: the proxy path and both endpoints of forward-auth decide the same, in every word of the audit log.
func TestAccessMatrixThroughForwardAuth(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "audit.log")
	m := newMatrixRig(t, func(o *gatewaytest.Options) { o.Log = "level: debug, audit_file: " + file }, nil)
	decisions := func() []map[string]any {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(file, 0); err != nil {
			t.Fatal(err)
		}
		var out []map[string]any
		for line := range strings.Lines(string(text)) {
			var entry map[string]any
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Fatal(err)
			}
			delete(entry, "time")
			delete(entry, "request_id")
			out = append(out, entry)
		}
		return out
	}
	decisions()
	for _, row := range gatewaytest.AccessRows() {
		want := m.status(row)
		client := row.Client
		if client == "" {
			client = "unknown"
		}
		b := m.browsers[row.Person.Name]
		more := map[string]string{"X-Forwarded-For": client}
		proxied := b.Do(b.Request(row.Method, m.rig.URL+row.Path, nil, more))
		entries := [][]map[string]any{decisions()}
		for i, endpoint := range asks {
			r := asked(m.rig, b, endpoint, row.Method, row.Path, more)
			if expected := want; i == 0 && want == http.StatusFound && r.StatusCode != http.StatusUnauthorized || (i == 1 || want != http.StatusFound) && r.StatusCode != expected {
				t.Errorf("%s: %s got %s, the proxy path %s (%s)", row.Name(), endpoint, r.Status, proxied.Status, row.Want)
			}
			if want == http.StatusFound && i == 1 && !strings.HasPrefix(r.Header.Get("Location"), m.rig.URL+"/_portero/sign-in?") {
				t.Errorf("%s: sent to %s", row.Name(), r.Header.Get("Location"))
			}
			entries = append(entries, decisions())
		}
		for i, got := range entries[1:] {
			if a, b := jsonText(t, got), jsonText(t, entries[0]); a != b {
				t.Errorf("%s: %s\n got %s\nwant %s", row.Name(), asks[i], a, b)
			}
		}
	}
}

// matrixRig is a gateway with the routes of the access matrix, and its people, signed in.
type matrixRig struct {
	rig      *gatewaytest.Rig
	browsers map[string]*gatewaytest.Browser
}

// newMatrixRig starts it. at, if it is there, starts what people come through, and says where that listens.
func newMatrixRig(t *testing.T, change func(*gatewaytest.Options), at func(*gatewaytest.Rig) string) *matrixRig {
	t.Helper()
	clock := gatewaytest.NewClock()
	o := &gatewaytest.Options{
		Clock: clock, Extra: "trusted_proxies: [127.0.0.1]",
		Routes: gatewaytest.AccessRoutes() + "  - {name: land, path: /land, allow: [{expression: \"true\"}], upstreams: [{url: UPSTREAM}]}\n",
	}
	if change != nil {
		change(o)
	}
	m := &matrixRig{rig: gatewaytest.New(t, o), browsers: map[string]*gatewaytest.Browser{}}
	where := m.rig.Addr
	if at != nil {
		where = at(m.rig)
	}
	for _, p := range gatewaytest.AccessPeople() {
		b := gatewaytest.NewBrowser(t, map[string]string{"localhost": where})
		m.browsers[p.Name] = b
		if p.Claims == "" {
			continue
		}
		m.rig.Issuer.Do(func(i *gatewaytest.Issuer) {
			i.Person = map[string]any{}
			if err := json.Unmarshal([]byte(p.Claims), &i.Person); err != nil {
				t.Fatal(err)
			}
			i.AuthTime = clock.Now().Add(-p.Age)
		})
		if r := b.Visit(m.rig.URL + "/land"); r.StatusCode != http.StatusOK {
			t.Fatalf("%s signs in: got %s", p.Name, r.Status)
		}
	}
	return m
}

// status is what a navigation of a row is answered with.
func (m *matrixRig) status(row gatewaytest.AccessRow) int {
	switch {
	case strings.HasPrefix(row.Want, "allow "):
		return http.StatusOK
	case strings.HasPrefix(row.Want, "sign-in step-up"):
		return http.StatusUnauthorized
	case strings.HasPrefix(row.Want, "sign-in "):
		if row.Method != http.MethodGet && row.Method != http.MethodHead {
			return http.StatusUnauthorized
		}
		return http.StatusFound
	}
	return http.StatusForbidden
}

// TestForwardAuthCORS: the pages that a route names may read why somebody was not let pass, and nobody else; nothing is granted, and what
// the application answers is its own.
func TestForwardAuthCORS(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, trusted(gatewaytest.Options{Routes: corsRoutes}))
	anybody, b := rig.Browser(t), rig.SignedIn(t, "/")
	script := func(origin string) map[string]string {
		return map[string]string{"Origin": origin, "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "cross-site", "Accept": "application/json"}
	}
	preflight := script(otherApp)
	preflight["Access-Control-Request-Method"] = "PUT"
	read := []string{"Access-Control-Allow-Credentials: true", "Access-Control-Allow-Origin: " + otherApp}
	for _, endpoint := range append(slices.Clone(asks), "/_portero/auth-page") {
		for name, tt := range map[string]struct {
			b            *gatewaytest.Browser
			method, path string
			headers      map[string]string
			status       int
			want         []string
		}{
			"the page that is named":    {anybody, "GET", "/api/x", script(otherApp), http.StatusUnauthorized, read},
			"its POST":                  {anybody, "POST", "/api/x", script(otherApp), http.StatusUnauthorized, read},
			"who may not":               {b, "GET", "/office", script(otherApp), http.StatusForbidden, read[1:]},
			"a preflight":               {anybody, "OPTIONS", "/api/x", preflight, http.StatusUnauthorized, read},
			"another page":              {anybody, "GET", "/api/x", script("https://evil.example"), http.StatusUnauthorized, nil},
			"null":                      {anybody, "GET", "/api/x", script("null"), http.StatusUnauthorized, nil},
			"another page, may not":     {b, "GET", "/office", script("https://evil.example"), http.StatusForbidden, nil},
			"a route that names nobody": {anybody, "GET", "/x", script(otherApp), http.StatusUnauthorized, nil},
			"a path of two readings":    {b, "GET", "/api/..%2foffice", script(otherApp), http.StatusBadRequest, nil},
		} {
			r := asked(rig, tt.b, endpoint, tt.method, tt.path, tt.headers)
			wantNothing(t, endpoint+", "+name, r, tt.status)
			if got := gatewaytest.Sharing(r.Header); !slices.Equal(got, tt.want) || varies(r.Header) != (tt.path == "/api/x" || tt.path == "/office") {
				t.Errorf("%s, %s: got %q and Vary %q, want %q", endpoint, name, got, r.Header["Vary"], tt.want)
			}
		}
	}
	for _, endpoint := range asks {
		if r := asked(rig, b, endpoint, "GET", "/api/x", script(otherApp)); r.StatusCode != http.StatusOK || len(gatewaytest.Sharing(r.Header)) != 0 {
			t.Errorf("%s: who may pass: got %s with %q, want 200 with nothing", endpoint, r.Status, gatewaytest.Sharing(r.Header))
		}
	}
}
