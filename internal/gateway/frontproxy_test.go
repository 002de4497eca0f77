package gateway_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.yaml.in/yaml/v3"

	"portero/internal/assertion"
	"portero/internal/gatewaytest"
)

// front is a proxy of somebody else's that reaches the application itself and asks about each request, with what stands in
// deploy/forward-auth.
type front struct {
	name    string
	program string
	start   func(t *testing.T, program, port, portero, application string)
}

var fronts = []front{
	{"nginx", "nginx", startNginx},
	{"Caddy", "caddy", startCaddy},
	{"HAProxy", "haproxy", startHAProxy},
}

// adapted is a file that is handed out, changed for a test: each text stands there at least once.
func adapted(t *testing.T, name string, changes ...string) string {
	t.Helper()
	raw, err := os.ReadFile("../../deploy/forward-auth/" + name)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(text, changes[i]) {
			t.Fatalf("deploy/forward-auth/%s: there is no %q", name, changes[i])
		}
		text = strings.ReplaceAll(text, changes[i], changes[i+1])
	}
	return text
}

func startNginx(t *testing.T, program, port, portero, application string) {
	conf := adapted(t, "nginx.conf", "listen 443 ssl;", "listen 127.0.0.1:"+port+";", "127.0.0.1:3000", portero, "127.0.0.1:8080", application,
		"server_name wiki.example.com;", "server_name localhost;")
	runNginx(t, program, port, conf)
}

// runNginx runs one process of nginx with what stands in `http`, without TLS.
func runNginx(t *testing.T, program, port, conf string) {
	conf = regexp.MustCompile(`(?m)^\s*(ssl_certificate.*|http2 on;.*)$`).ReplaceAllString(conf, "")
	dir := gatewaytest.WorkDir(t, map[string]string{"nginx.conf": `daemon off; master_process off; pid @DIR@/pid; error_log stderr;
events {}
http {
  access_log off; large_client_header_buffers 8 64k;
  client_body_temp_path @DIR@; proxy_temp_path @DIR@; fastcgi_temp_path @DIR@; uwsgi_temp_path @DIR@; scgi_temp_path @DIR@;
` + conf + "}\n"})
	gatewaytest.Daemon(t, "nginx", port, exec.Command(program, "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr"))
}

func startCaddy(t *testing.T, program, port, portero, application string) {
	// Clients of the test say by X-Forwarded-For where they are: Caddy has to believe them, which it does only if it is told to.
	believe := "\n\t\ttrusted_proxies 127.0.0.1/32"
	conf := adapted(t, "Caddyfile", "wiki.example.com {", "http://localhost:"+port+" {\n\tbind 127.0.0.1", "forward_auth 127.0.0.1:3000 {", "forward_auth 127.0.0.1:3000 {"+believe,
		"reverse_proxy 127.0.0.1:8080", "reverse_proxy 127.0.0.1:8080 {"+believe+"\n\t}", "127.0.0.1:3000", portero, "127.0.0.1:8080", application)
	// People come with the port of the gateway in their Host.
	conf = strings.Replace(conf, "http://localhost:"+port+" {", "http://:"+port+" {", 1)
	dir := gatewaytest.WorkDir(t, map[string]string{"Caddyfile": "{\n\tadmin off\n\tauto_https off\n}\n" + conf})
	cmd := exec.Command(program, "run", "--adapter", "caddyfile", "--config", filepath.Join(dir, "Caddyfile"))
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	gatewaytest.Daemon(t, "Caddy", port, cmd)
}

func startHAProxy(t *testing.T, program, port, portero, application string) {
	conf := adapted(t, "haproxy.cfg", "bind :443 ssl crt /etc/ssl/wiki.example.com.pem alpn h2,http/1.1", "bind 127.0.0.1:"+port,
		"127.0.0.1:3000", portero, "127.0.0.1:8080", application, "lua-load-per-thread portero.lua", "lua-load-per-thread @DIR@/portero.lua\n    tune.bufsize 65536")
	dir := gatewaytest.WorkDir(t, map[string]string{"haproxy.cfg": conf, "portero.lua": adapted(t, "portero.lua", "127.0.0.1:3000", portero)})
	gatewaytest.Daemon(t, "HAProxy", port, exec.Command(program, "-db", "-f", filepath.Join(dir, "haproxy.cfg")))
}

// forged are headers by which a client says that it is somebody.
var forged = map[string]string{
	"X-Forwarded-User": "root", "X-Forwarded-Email": "root@corp.com", "X-Forwarded-Preferred-Username": "root", "X-Forwarded-Name": "root", "X-Forwarded-Groups": "admin",
}

// newFrontRig has the routes of the matrix, without upstreams, and its people signed in through f.
func newFrontRig(t *testing.T, f front) (m *matrixRig, application *gatewaytest.Upstream) {
	t.Helper()
	application = gatewaytest.NewUpstream(t)
	m, _ = newFrontRigOf(t, f, application.URL)
	return m, application
}

// newFrontRigOf is one with another application. where is the address at which f listens.
func newFrontRigOf(t *testing.T, f front, application string) (m *matrixRig, where string) {
	t.Helper()
	program := gatewaytest.Need(t, f.program)
	m = newMatrixRig(t, func(o *gatewaytest.Options) {
		o.Routes = strings.ReplaceAll(o.Routes, "upstreams: [{url: UPSTREAM}]", "forward_auth_only: true")
	}, func(rig *gatewaytest.Rig) string {
		port := gatewaytest.FreePort(t)
		f.start(t, program, port, rig.Addr, strings.TrimPrefix(application, "http://"))
		where = "127.0.0.1:" + port
		return where
	})
	return m, where
}

// TestAccessMatrixThroughFrontProxies: everybody signs in through a proxy in front, and it lets them do what the gateway itself
// would; whom it does not let is shown the gateway's pages. What a client says about itself never arrives.
func TestAccessMatrixThroughFrontProxies(t *testing.T) {
	t.Parallel()
	for _, f := range fronts {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			m, application := newFrontRig(t, f)
			for _, row := range gatewaytest.AccessRows() {
				client := row.Client
				if client == "" {
					client = "unknown"
				}
				application.Forget()
				b := m.browsers[row.Person.Name]
				more := map[string]string{"X-Forwarded-For": client, "X-Forwarded-Method": "GET", "X-Forwarded-Uri": "/emails"}
				if f.name != "Caddy" { // which believes the whole of what it believes the client's address of
					more["X-Forwarded-Host"] = "evil.test"
				}
				for name, value := range forged {
					more[name] = value
				}
				r := b.Do(b.Request(row.Method, m.rig.URL+row.Path, nil, more))
				want, seen := m.status(row), application.Requests()
				switch {
				case r.StatusCode != want:
					t.Errorf("%s: got %s, want %d (%s)\n%.300s", row.Name(), r.Status, want, row.Want, r.Text)
				case want == http.StatusOK && len(seen) != 1, want != http.StatusOK && len(seen) != 0:
					t.Errorf("%s: %d requests reached the application", row.Name(), len(seen))
				case want == http.StatusOK:
					m.wantTold(t, row, seen[0])
				case want == http.StatusFound && !strings.HasPrefix(r.Header.Get("Location"), m.rig.URL+"/_portero/sign-in?return_to="):
					t.Errorf("%s: sent to %s", row.Name(), r.Header.Get("Location"))
				case want == http.StatusForbidden && row.Method == http.MethodGet && r.Header.Get("Portero-Code") == "":
					t.Errorf("%s: the page is not the gateway's\n%.300s", row.Name(), r.Text)
				}
			}
		})
	}
}

// wantTold fails unless the application was told who asks, once, and nothing that the client said, nor a cookie of ours.
func (m *matrixRig) wantTold(t *testing.T, row gatewaytest.AccessRow, head string) {
	t.Helper()
	if !strings.HasPrefix(head, row.Method+" "+row.Path+" HTTP/1.1\r\n") {
		t.Errorf("%s: the application saw %.80q", row.Name(), head)
	}
	told := 0
	for name := range forged {
		values := gatewaytest.Header(head, name)
		if name == "X-Forwarded-User" {
			told += len(values)
		}
		if slices.ContainsFunc(values, func(v string) bool { return strings.HasPrefix(v, "root") || v == "" }) || len(values) > 1 {
			t.Errorf("%s: the application was told %s %q", row.Name(), name, values)
		}
	}
	want := 1
	if row.Person.Claims == "" || strings.HasPrefix(row.Want, "allow public") {
		want = 0
	}
	if told != want {
		t.Errorf("%s: the application was told %d users, want %d\n%s", row.Name(), told, want, head)
	}
	if strings.Contains(head, m.rig.Cookie()) || strings.Contains(head, "{http") {
		t.Errorf("%s: the application got what is not for it\n%s", row.Name(), head)
	}
}

// TestFrontProxies: the rest of what stands in deploy/forward-auth.
func TestFrontProxies(t *testing.T) {
	t.Parallel()
	for _, f := range fronts {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			m, application := newFrontRig(t, f)
			ann := m.browsers["ann"]
			get := func(b *gatewaytest.Browser, method, target string, more map[string]string) *gatewaytest.Response {
				application.Forget()
				return b.Do(b.Request(method, m.rig.URL+target, nil, more))
			}

			// Nobody asks from outside, though nginx itself may: the answers hold what is for the application.
			about := map[string]string{"X-Forwarded-Method": "GET", "X-Forwarded-Uri": "/emails", "X-Forwarded-For": "10.1.2.3", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "localhost"}
			for _, target := range []string{"/_portero/auth", "/_portero/auth?x", "/_portero/auth/", "/_portero/auth/emails", "/_portero/auth-redirect", "/_portero/auth-page", "/_portero//auth", "/_portero/./auth", "/_portero/%61uth", "//_portero/auth", "/x/../_portero/auth"} {
				r := get(ann, "GET", target, about)
				if r.StatusCode == http.StatusOK || r.Header.Get("X-Forwarded-User") != "" || len(application.Requests()) != 0 {
					t.Errorf("%s: got %s %v", target, r.Status, r.Header)
				}
			}

			// Cookies and credentials of the application's own arrive, ours do not.
			ann.SetCookie("localhost", "theme", "dark")
			r := get(ann, "POST", "/land/a%20b?q=%26&r=1", map[string]string{"Authorization": "Basic YTpi", "X-Forwarded-For": gatewaytest.AccessInside})
			head := application.Last()
			if r.StatusCode != http.StatusOK || !strings.HasPrefix(head, "POST /land/a%20b?q=%26&r=1 HTTP/1.1\r\n") {
				t.Errorf("a deep path: got %s, the application saw %.80q", r.Status, head)
			}
			if got := gatewaytest.Header(head, "Cookie"); !slices.Equal(got, []string{"theme=dark"}) {
				t.Errorf("Cookie at the application: got %q, want theme=dark", got)
			}
			if got := gatewaytest.Header(head, "Authorization"); !slices.Equal(got, []string{"Basic YTpi"}) {
				t.Errorf("Authorization at the application: got %q, want the client's", got)
			}

			// Other spellings of the names, as CGI reads them.
			for _, name := range []string{"X_Forwarded_User", "x-forwarded_user", "X.Forwarded.User"} {
				req := ann.Request("GET", m.rig.URL+"/land", nil, nil)
				req.Header[name] = []string{"root"}
				application.Forget()
				r := ann.Do(req)
				for _, head := range application.Requests() {
					if strings.Contains(head, "root") {
						t.Errorf("%s arrived\n%s", name, head)
					}
				}
				if r.StatusCode != http.StatusBadRequest && r.StatusCode != http.StatusOK {
					t.Errorf("%s: got %s, want 400, or 200 without it", name, r.Status)
				}
			}

			// What a client's Connection names is for the next hop alone (RFC 9110, section 7.6.1); nobody hides by it who they are.
			for _, names := range []string{"X-Forwarded-User, X-Forwarded-Groups", "close, x-forwarded-email", "X-Forwarded-Name,close", "Authorization, Cookie"} {
				r := get(ann, "GET", "/land", map[string]string{"Connection": names})
				for _, head := range application.Requests() {
					if got := gatewaytest.Header(head, "Connection"); strings.Contains(strings.ToLower(strings.Join(got, ",")), "x-") {
						t.Errorf("Connection: %s: the application was told the same: %q", names, got)
					}
					for name := range forged {
						if got := gatewaytest.Header(head, name); len(got) != 1 {
							t.Errorf("Connection: %s: the application was told %s %q", names, name, got)
						}
					}
				}
				if r.StatusCode >= http.StatusInternalServerError {
					t.Errorf("Connection: %s: got %s", names, r.Status)
				}
			}

			// What cannot be decided is told by our page, with our status.
			if r := get(ann, "GET", "/land%2f..%2femails", nil); r.StatusCode != http.StatusBadRequest || len(application.Requests()) != 0 {
				t.Errorf("a path that can be read in two ways: got %s, %d requests at the application", r.Status, len(application.Requests()))
			}
			// A script gets 401 that it can read; a body is not in the way.
			size := 1 << 20
			if f.name == "HAProxy" {
				size = 1 << 10 // it ends a connection with what it has not read
			}
			req := m.browsers["nobody"].Request("PUT", m.rig.URL+"/land", strings.NewReader(strings.Repeat("x", size)), map[string]string{
				"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Accept": "application/json"})
			if r := m.browsers["nobody"].Do(req); r.StatusCode != http.StatusUnauthorized || !strings.Contains(r.Text, `"sign_in_url"`) || !strings.HasPrefix(r.Header.Get("Www-Authenticate"), "Bearer ") {
				t.Errorf("a script: got %s %v %s", r.Status, r.Header, r.Text)
			}

			// The sign-out is the gateway's own page, and ends the session here too.
			r = ann.Get(m.rig.URL + "/sign-out")
			if r.StatusCode != http.StatusOK || !strings.Contains(r.Text, "Sign out") {
				t.Fatalf("the sign-out page: got %s", r.Status)
			}
			if r := ann.Post(m.rig.URL+"/sign-out", url.Values{"return_to": {"/land"}}); r.StatusCode != http.StatusSeeOther {
				t.Errorf("signing out: got %s", r.Status)
			}
			if r := get(ann, "GET", "/land", nil); r.StatusCode != http.StatusFound || len(application.Requests()) != 0 {
				t.Errorf("after the sign-out: got %s", r.Status)
			}

			// Without Portero nobody gets in.
			m.rig.Stop(t)
			if r := get(m.browsers["bob"], "GET", "/land", nil); r.StatusCode < http.StatusInternalServerError || len(application.Requests()) != 0 {
				t.Errorf("without Portero: got %s, %d requests at the application", r.Status, len(application.Requests()))
			}
		})
	}
}

// TestWebSocketsThroughFrontProxies: a page of the host opens one, and nobody else does.
func TestWebSocketsThroughFrontProxies(t *testing.T) {
	t.Parallel()
	for _, f := range fronts {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			var opened atomic.Int32
			application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Upgrade") == "" { // the page at which people land
					return
				}
				opened.Add(1)
				echoSocket(w, r, r.Header.Get("X-Forwarded-Email")+" ")
			}))
			t.Cleanup(application.Close)
			m, where := newFrontRigOf(t, f, application.URL)
			host := strings.TrimPrefix(m.rig.URL, "http://")
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			open := func(b *gatewaytest.Browser, path, origin string) (*websocket.Conn, *http.Response, error) {
				h := http.Header{"Origin": {origin}, "X-Forwarded-Email": {"root@corp.com"}}
				for name, value := range b.Cookies("localhost") {
					h.Add("Cookie", name+"="+value)
				}
				return websocket.Dial(ctx, "ws://"+where+path, &websocket.DialOptions{Host: host, HTTPHeader: h})
			}
			ann, noCheck := m.browsers["ann"], http.StatusNotFound
			if f.name == "Traefik" {
				noCheck = http.StatusForbidden // it has no answer of its own, and asks about that too
			}
			for name, tt := range map[string]struct {
				b            *gatewaytest.Browser
				path, origin string
				status       int
			}{
				"of another page":    {ann, "/land/socket", "http://evil.test", http.StatusForbidden},
				"of a sandboxed one": {ann, "/land/socket", "null", http.StatusForbidden},
				"of nobody":          {m.browsers["nobody"], "/land/socket", m.rig.URL, http.StatusUnauthorized},
				"of a check":         {ann, "/_portero/auth/land/socket", m.rig.URL, noCheck},
			} {
				if _, resp, err := open(tt.b, tt.path, tt.origin); err == nil || resp == nil || resp.StatusCode != tt.status {
					t.Errorf("a WebSocket %s: got %v, want %d", name, err, tt.status)
				}
			}
			if got := opened.Load(); got != 0 {
				t.Errorf("%d refused handshakes reached the application", got)
			}
			c, _, err := open(ann, "/land/socket", m.rig.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer c.CloseNow()
			for _, message := range []string{"hello", strings.Repeat("x", 20_000)} {
				if err := c.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
					t.Fatal(err)
				}
				_, got, err := c.Read(ctx)
				if email, text, _ := strings.Cut(string(got), " "); err != nil || text != message || !strings.HasPrefix(email, "ann@") {
					t.Fatalf("echo: got %.60q and %v", got, err)
				}
			}
			c.Close(websocket.StatusNormalClosure, "")
		})
	}
}

// asker is a proxy that is tried by what it asks and does with the answers: its own source or documentation says so.
type asker struct {
	name string
	file string // in deploy/forward-auth
	key  string // of the list there that has the names of what the application is told
	// ask is the question about a request of b's with the client's headers.
	ask func(rig *gatewaytest.Rig, b *gatewaytest.Browser, row gatewaytest.AccessRow, headers map[string]string) *http.Request
	// told changes the client's headers by an answer that lets the request pass.
	told func(seen, answer http.Header, names []string)
}

var askers = []asker{
	{
		// pkg/middlewares/auth/forward.go and pkg/middlewares/forwardedheaders of Traefik 3.5: writeHeader, ServeHTTP.
		"Traefik", "traefik.yaml", "authResponseHeaders",
		func(rig *gatewaytest.Rig, b *gatewaytest.Browser, row gatewaytest.AccessRow, headers map[string]string) *http.Request {
			host := strings.TrimPrefix(rig.URL, "http://")
			_, port, _ := strings.Cut(host, ":")
			maps.Copy(headers, map[string]string{
				"X-Forwarded-Method": row.Method, "X-Forwarded-Proto": "http", "X-Forwarded-Host": host, "X-Forwarded-Uri": row.Path,
				"X-Forwarded-Port": port, "X-Forwarded-Server": "traefik", "X-Real-Ip": headers["X-Forwarded-For"],
			})
			return b.Request(http.MethodGet, rig.URL+"/_portero/auth-redirect", nil, headers)
		},
		func(seen, answer http.Header, names []string) {
			for _, name := range names {
				seen.Del(name)
				if values := answer.Values(name); len(values) > 0 {
					seen[http.CanonicalHeaderKey(name)] = values
				}
			}
		},
	},
	{
		// envoy.extensions.filters.http.ext_authz.v3.HttpService: path_prefix, allowed_headers, allowed_upstream_headers; and the
		// header by which the answer says what is to be removed.
		"Envoy", "envoy.yaml", "allowed_upstream_headers",
		func(rig *gatewaytest.Rig, b *gatewaytest.Browser, row gatewaytest.AccessRow, headers map[string]string) *http.Request {
			maps.Copy(headers, map[string]string{
				"X-Forwarded-Proto": "http", "X-Request-Id": "0f5c1a8e-7d4b-9c1f-8a63-1f2d3c4b5a69", "X-Envoy-Internal": "true",
				"X-Envoy-Expected-Rq-Timeout-Ms": "10000", "Content-Length": "0",
			})
			return b.Request(row.Method, rig.URL+"/_portero/auth-redirect"+row.Path, nil, headers)
		},
		func(seen, answer http.Header, names []string) {
			for _, name := range names {
				if values := answer.Values(name); len(values) > 0 {
					seen[http.CanonicalHeaderKey(name)] = values
				}
			}
			for name := range strings.SplitSeq(answer.Get("X-Envoy-Auth-Headers-To-Remove"), ",") {
				seen.Del(name)
			}
		},
	},
}

// TestAccessMatrixAsOthersAsk: Traefik and Envoy are told the same, and what they do with it leaves nothing of what a client says about
// itself.
func TestAccessMatrixAsOthersAsk(t *testing.T) {
	t.Parallel()
	m := newMatrixRig(t, nil, nil)
	for _, a := range askers {
		t.Run(a.name, func(t *testing.T) {
			names := namesIn(t, a.file, a.key)
			for _, row := range gatewaytest.AccessRows() {
				headers := maps.Clone(forged)
				if headers["X-Forwarded-For"] = row.Client; row.Client == "" {
					headers["X-Forwarded-For"] = "unknown"
				}
				b := m.browsers[row.Person.Name]
				seen := http.Header{}
				for name, value := range headers {
					seen.Set(name, value)
				}
				for name, value := range b.Cookies("localhost") {
					seen.Add("Cookie", name+"="+value)
				}
				r := b.Do(a.ask(m.rig, b, row, headers))
				want := m.status(row)
				switch {
				case r.StatusCode != want || len(r.Header["Set-Cookie"]) != 0:
					t.Errorf("%s: got %s %v, want %d (%s)", row.Name(), r.Status, r.Header, want, row.Want)
				case want == http.StatusFound && !strings.HasPrefix(r.Header.Get("Location"), m.rig.URL+"/_portero/sign-in?return_to="):
					t.Errorf("%s: sent to %s", row.Name(), r.Header.Get("Location"))
				case want == http.StatusOK:
					a.told(seen, r.Header, names)
					var head strings.Builder
					head.WriteString(row.Method + " " + row.Path + " HTTP/1.1\r\n")
					seen.Write(&head)
					m.wantTold(t, row, head.String()+"\r\n")
				}
			}
		})
	}
}

// namesIn are the names in the list under a key, wherever that stands in a file of deploy/forward-auth.
func namesIn(t *testing.T, file, key string) []string {
	t.Helper()
	var names []string
	var collect func(v any, inside bool)
	collect = func(v any, inside bool) {
		switch v := v.(type) {
		case map[string]any:
			for k, more := range v {
				collect(more, inside || k == key)
			}
		case []any:
			for _, more := range v {
				collect(more, inside)
			}
		case string:
			if inside {
				names = append(names, v)
			}
		}
	}
	var whole map[string]any
	if err := yaml.Unmarshal([]byte(adapted(t, file)), &whole); err != nil {
		t.Fatal(err)
	}
	if collect(whole, false); len(names) == 0 {
		t.Fatalf("%s has nothing under %s", file, key)
	}
	return names
}

// TestForwardAuthFiles: what stands in deploy/forward-auth replaces every header that an application is told by default, its cookies and its
// credentials, asks at an endpoint that there is, and keeps the checks to itself.
func TestForwardAuthFiles(t *testing.T) {
	t.Parallel()
	names := []string{"Cookie", "Authorization"}
	for _, h := range assertion.DefaultHeaders() {
		names = append(names, h.Name)
	}
	for file, marks := range map[string][]string{
		"nginx.conf":   {"proxy_pass http://127.0.0.1:3000;", "location = /_portero/auth {\n        internal;", "location ^~ /_portero/auth { return 404; }", "/_portero/auth-page"},
		"Caddyfile":    {"uri /_portero/auth-redirect\n", "respond @checks 404\n", "@checks path /_portero/auth*\n"},
		"portero.lua":  {`"/_portero/auth-redirect"`},
		"haproxy.cfg":  {"http-request return status 404 if { path_beg /_portero/auth }\n"},
		"traefik.yaml": {"address: http://127.0.0.1:3000/_portero/auth-redirect\n", "!PathPrefix(`/_portero/auth`)"},
		"envoy.yaml":   {"path_prefix: /_portero/auth-redirect ", "match: {prefix: /_portero/auth}\n                          direct_response: {status: 404}", "failure_mode_allow: false"},
	} {
		text := adapted(t, file)
		for _, mark := range marks {
			if !strings.Contains(text, mark) {
				t.Errorf("%s: there is no %q", file, mark)
			}
		}
		if file == "haproxy.cfg" {
			continue // portero.lua has the names
		}
		for _, name := range names {
			if !regexp.MustCompile(`(?i)(?m)\b` + regexp.QuoteMeta(name) + `\b`).MatchString(text) {
				t.Errorf("%s does not have %s", file, name)
			}
		}
		if strings.HasSuffix(file, ".yaml") {
			if err := yaml.Unmarshal([]byte(text), new(map[string]any)); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}

// TestForwardAuthLines: what docs/forward-auth.md shows of the files stands in them.
func TestForwardAuthLines(t *testing.T) {
	t.Parallel()
	text := adapted(t, "../../docs/forward-auth.md")
	blocks := regexp.MustCompile("(?s)From \\[[^\\]]+\\]\\(\\.\\./deploy/forward-auth/([^)]+)\\)[^\n]*:\n\n```[a-z]+\n(.*?)```").FindAllStringSubmatch(text, -1)
	if len(blocks) != 5 {
		t.Fatalf("got %d blocks, want one of each proxy", len(blocks))
	}
	for _, block := range blocks {
		var lines []string
		for line := range strings.Lines(adapted(t, block[1])) {
			lines = append(lines, strings.TrimSpace(line))
		}
		for line := range strings.Lines(block[2]) {
			if !slices.Contains(lines, strings.TrimSpace(line)) {
				t.Errorf("%s does not have the line %q", block[1], strings.TrimSpace(line))
			}
		}
	}
}
