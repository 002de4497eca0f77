package gateway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"portero/internal/config"
	"portero/internal/gateway"
	"portero/internal/gatewaytest"
)

// nginxHost is the name in deploy/nginx.conf.
const nginxHost = "wiki.example.com"

// behindNginx is a gateway with nginx in front, as deploy/nginx.conf has it.
type behindNginx struct {
	https string // where nginx listens inside TLS
	http  string // its plain listener, which sends everybody to https by itself
	plain string // another plain one, which asks the gateway
	app   *nginxApp
	log   *gatewaytest.Lines
}

// nginxApp keeps what reaches the application.
type nginxApp struct {
	mu       sync.Mutex
	requests []*http.Request
	tick     chan string // what the event stream sends
	uploaded chan int    // how much of an upload has come
}

func (a *nginxApp) last() *http.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.requests) == 0 {
		return nil
	}
	return a.requests[len(a.requests)-1]
}

func (a *nginxApp) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.requests)
}

func (a *nginxApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.requests = append(a.requests, r)
	a.mu.Unlock()
	switch r.URL.Path {
	case "/socket":
		echoSocket(w, r, "")
	case "/events":
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			select {
			case event, more := <-a.tick:
				if !more {
					return
				}
				fmt.Fprintf(w, "data: %s\n\n", event)
				if http.NewResponseController(w).Flush() != nil {
					return
				}
			case <-r.Context().Done():
				return
			}
		}
	case "/upload":
		buffer, total := make([]byte, 64<<10), 0
		for {
			n, err := r.Body.Read(buffer)
			total += n
			select {
			case a.uploaded <- total:
			default:
			}
			if err != nil {
				break
			}
		}
		fmt.Fprintf(w, "got %d", total)
	default:
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<!doctype html><title>app</title>the application")
	}
}

// echoSocket opens a WebSocket and sends each message back, behind a text.
func echoSocket(w http.ResponseWriter, r *http.Request, before string) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true}) // the gateway looks at Origin
	if err != nil {
		return
	}
	defer c.CloseNow()
	for {
		kind, message, err := c.Read(r.Context())
		if err != nil || c.Write(r.Context(), kind, append([]byte(before), message...)) != nil {
			return
		}
	}
}

func newBehindNginx(t *testing.T) *behindNginx {
	t.Helper()
	program := gatewaytest.Need(t, "nginx")
	n := &behindNginx{log: &gatewaytest.Lines{}, app: &nginxApp{tick: make(chan string), uploaded: make(chan int, 1)}}
	upstream := httptest.NewServer(n.app)
	t.Cleanup(upstream.Close)
	issuer := gatewaytest.NewIssuer(t)

	text := fmt.Sprintf(`
external_url: https://%s
listen: 127.0.0.1:0
trusted_proxies: [127.0.0.1/32]
admin: {listen: "127.0.0.1:0", token: %s}
logto: {endpoint: %q, app_id: %s, app_secret: %s}
session: {store: memory}
allow: [{email_domains: ["*"]}]
shutdown: {timeout: 2s}
routes:
  - {name: loose, path: /loose, paths: by-route, upstreams: [{url: %[6]q}]}
  - {name: app, upstreams: [{url: %[6]q}]}
`, nginxHost, gatewaytest.AdminToken, issuer.URL, issuer.AppID, issuer.AppSecret, upstream.URL)
	cfg, err := config.Load(config.Options{Path: "portero.yaml", Text: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(cfg, gateway.Options{Log: slog.New(slog.NewJSONHandler(n.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the gateway ended with %v", err)
		}
	})
	n.start(t, program, g.Addr().String())
	return n
}

// adapted is deploy/nginx.conf for these ports and this certificate. Whatever it does not find is an error: the file that
// is handed out has to be the file that is tried.
func (n *behindNginx) adapted(t *testing.T, program, backend string) string {
	t.Helper()
	raw, err := os.ReadFile("../../deploy/nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	conf := string(raw)
	replace := func(from, to string) {
		t.Helper()
		if strings.Count(conf, from) != 1 {
			t.Fatalf("deploy/nginx.conf: %q stands there %d times, want once", from, strings.Count(conf, from))
		}
		conf = strings.Replace(conf, from, to, 1)
	}
	cert, key := gatewaytest.Certificate(t)
	replace("/etc/ssl/wiki.example.com.pem", cert)
	replace("/etc/ssl/wiki.example.com.key", key)
	replace("listen 443 ssl;", "listen "+n.https+" ssl;")
	replace("listen 80;", "listen "+n.http+";")
	replace("http://127.0.0.1:3000", "http://"+backend)
	if version, err := exec.Command(program, "-v").CombinedOutput(); err != nil {
		t.Fatal(err)
	} else if old := regexp.MustCompile(`nginx/1\.(1?\d|2[0-4])\.`); old.Match(version) {
		replace("http2 on;", "") // since 1.25.1; before, it stood behind listen
		replace("listen "+n.https+" ssl;", "listen "+n.https+" ssl http2;")
	}
	// The same server once more, without TLS.
	begin := strings.Index(conf, "server {")
	end := begin + strings.Index(conf[begin:], "\n}\n") + len("\n}\n")
	plain := regexp.MustCompile(`(?m)^\s*(ssl_certificate.*|http2 on;.*)$`).ReplaceAllString(conf[begin:end], "")
	plain = regexp.MustCompile(`listen [^;]*;`).ReplaceAllString(plain, "listen "+n.plain+";")
	return conf + plain
}

// start runs nginx as one process, which ends with the test. Its ports were free a moment ago; if somebody else has
// taken one since, others are tried.
func (n *behindNginx) start(t *testing.T, program, backend string) {
	t.Helper()
	for range 5 {
		var free []net.Listener
		for _, address := range []*string{&n.https, &n.http, &n.plain} {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			*address = l.Addr().String()
			free = append(free, l)
		}
		for _, l := range free {
			l.Close()
		}
		if n.run(t, program, backend) {
			return
		}
	}
	t.Fatal("nginx found no free ports")
}

// run reports whether nginx got its ports.
func (n *behindNginx) run(t *testing.T, program, backend string) bool {
	t.Helper()
	dir := t.TempDir()
	var temp strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temp, "%s_temp_path %s;\n", kind, filepath.Join(dir, kind))
	}
	conf := filepath.Join(dir, "nginx.conf")
	whole := "daemon off;\nmaster_process off;\npid " + filepath.Join(dir, "pid") + ";\nerror_log stderr warn;\nevents {}\nhttp {\naccess_log off;\n" +
		temp.String() + n.adapted(t, program, backend) + "}\n"
	if err := os.WriteFile(conf, []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-p", dir, "-c", conf, "-e", "stderr")
	said := &gatewaytest.Lines{}
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cmd.Wait()
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			cmd.Process.Kill()
			<-ended
			t.Error("nginx did not end by itself")
		}
		if t.Failed() {
			t.Logf("nginx said:\n%s", said)
		}
	})
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		if c, err := net.Dial("tcp", n.https); err == nil {
			c.Close()
			return true
		}
		select {
		case <-ended:
			if strings.Contains(said.String(), "Address already in use") {
				return false
			}
			t.Fatalf("nginx ended: %s", cmd.ProcessState)
		case <-retry.C:
		}
	}
}

func (n *behindNginx) browser(t *testing.T) *gatewaytest.Browser {
	return gatewaytest.NewBrowser(t, map[string]string{nginxHost: n.https})
}

// raw sends a request in bytes, from an address that is no trusted proxy, and reads the answer.
func (n *behindNginx) raw(t *testing.T, address, text string) (*http.Response, string) {
	t.Helper()
	dialer := &net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	c, err := dialer.Dial("tcp", address)
	if err != nil {
		gatewaytest.Lacks(t, "127.0.0.2 is no address of this machine")
	}
	defer c.Close()
	if address == n.https {
		c = tls.Client(c, &tls.Config{ServerName: nginxHost, InsecureSkipVerify: true}) // of no authority
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, text)
	method, _, _ := strings.Cut(text, " ")
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// cookieLine is a person's cookies as a header line.
func cookieLine(b *gatewaytest.Browser) string {
	var all []string
	for name, value := range b.Cookies(nginxHost) {
		all = append(all, name+"="+value)
	}
	return "Cookie: " + strings.Join(all, "; ") + "\r\n"
}

// The product behind the proxy that most people have in front: what deploy/nginx.conf says is true.
func TestBehindNginx(t *testing.T) {
	t.Parallel()
	n := newBehindNginx(t)
	b := n.browser(t)
	const asked = "https://" + nginxHost + "/reports/2026?q=a%20b&x=1"

	t.Run("sign-in", func(t *testing.T) {
		first := b.Get(asked)
		if first.StatusCode != http.StatusFound {
			t.Fatalf("first answer: got %s, want 302", first.Status)
		}
		if got, want := mustQuery(t, first.Location()).Get("redirect_uri"), "https://"+nginxHost+"/callback"; got != want {
			t.Errorf("redirect URI: got %q, want %q", got, want)
		}
		if n.app.count() != 0 {
			t.Error("a request reached the application before anybody signed in")
		}
		last := b.Follow(first)
		if last.StatusCode != http.StatusOK || last.Request.URL.String() != asked || !strings.Contains(last.Text, "the application") {
			t.Fatalf("after signing in: got %s at %s\n%s", last.Status, last.Request.URL, last.Text)
		}
		if b.Cookies(nginxHost)["__Host-portero"] == "" {
			t.Errorf("cookies: got %s, want __Host-portero", b)
		}
		r := n.app.last()
		for name, want := range map[string]string{
			"X-Forwarded-User": "t8x4l8ohti1t", "X-Forwarded-Email": "alice@example.com", "X-Forwarded-Proto": "https",
			"X-Forwarded-Host": nginxHost, "X-Forwarded-Port": "443", "Cookie": "",
		} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s at the application: got %q, want %q", name, got, want)
			}
		}
		if r.Host != nginxHost {
			t.Errorf("Host at the application: got %q, want %q", r.Host, nginxHost)
		}
	})

	head := func(method, target, lines string) string {
		return method + " " + target + " HTTP/1.1\r\nHost: " + nginxHost + "\r\nConnection: close\r\n" + cookieLine(b) + lines + "\r\n"
	}
	t.Run("paths", func(t *testing.T) {
		for target, want := range map[string]int{
			"/reports/2026?q=a%20b&x=%2F": 200, "/caf%C3%A9/%41?%zz": 200, "/a//b": 400, "/a%2Fb": 400, "/loose/a%2Fb%25c": 200, "/loose/a//b;c=1": 200,
			"/x/%2e%2e/y": 400, "/loose/..%2fapp": 400, "/x?": 200, "/x/": 200, "/x%00": 400,
		} {
			before := n.app.count()
			resp, text := n.raw(t, n.https, head("GET", target, ""))
			if resp.StatusCode != want {
				t.Errorf("%s: got %s, want %d\n%s", target, resp.Status, want, text)
				continue
			}
			if reached := n.app.count() - before; reached != 0 != (want == 200) {
				t.Errorf("%s: reached the application %d times", target, reached)
			}
			if want == 200 && n.app.last().RequestURI != target {
				t.Errorf("%s: the application got %q", target, n.app.last().RequestURI)
			}
		}
	})
	t.Run("who sent it", func(t *testing.T) {
		for name, lines := range map[string]string{
			"nothing claimed": "",
			"claimed":         "X-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-User: root\r\nX_Forwarded_User: root\r\nX-Forwarded-Prefix: /x\r\n",
			"claimed twice":   "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 127.0.0.1, 10.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Proto: http\r\n",
		} {
			resp, _ := n.raw(t, n.https, head("GET", "/who", lines))
			if resp.StatusCode != http.StatusOK {
				t.Errorf("%s: got %s, want 200", name, resp.Status)
				continue
			}
			r := n.app.last()
			for header, want := range map[string]string{
				"X-Forwarded-For": "127.0.0.2, 127.0.0.1", "X-Real-Ip": "127.0.0.2", "X-Forwarded-Proto": "https", "X-Forwarded-Host": nginxHost,
				"X-Forwarded-User": "t8x4l8ohti1t", "Forwarded": "", "X-Forwarded-Prefix": "", "X_forwarded_user": "",
			} {
				if got := strings.Join(r.Header[header], ";"); got != want {
					t.Errorf("%s: %s at the application: got %q, want %q", name, header, got, want)
				}
			}
		}
		if !strings.Contains(n.log.String(), `"client":"127.0.0.2"`) {
			t.Error("the log does not name the client")
		}
	})
	t.Run("http", func(t *testing.T) {
		before := n.app.count()
		for address, what := range map[string]string{n.http: "nginx", n.plain: "the gateway"} {
			resp, _ := n.raw(t, address, head("GET", "/reports/a%20b?x=%2F", "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"))
			if got, want := resp.Header.Get("Location"), "https://"+nginxHost+"/reports/a%20b?x=%2F"; resp.StatusCode != http.StatusPermanentRedirect || got != want {
				t.Errorf("from %s: got %s to %q, want 308 to %q", what, resp.Status, got, want)
			}
		}
		if resp, _ := n.raw(t, n.plain, head("POST", "/form", "Content-Length: 0\r\n")); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("a form over http: got %s, want 400", resp.Status)
		}
		if got := n.app.count() - before; got != 0 {
			t.Errorf("requests over http at the application: got %d, want 0", got)
		}
	})

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, n.https)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true, DisableCompression: true,
	}
	t.Cleanup(transport.CloseIdleConnections)
	request := func(t *testing.T, method, path string, body io.Reader) *http.Request {
		r, err := http.NewRequestWithContext(ctx, method, "https://"+nginxHost+path, body)
		if err != nil {
			t.Fatal(err)
		}
		_, cookies, _ := strings.Cut(strings.TrimSpace(cookieLine(b)), ": ")
		r.Header.Set("Cookie", cookies)
		return r
	}
	t.Run("HTTP/2", func(t *testing.T) {
		resp, err := transport.RoundTrip(request(t, "GET", "/two", nil))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
			t.Errorf("got %s over %s, want 200 over HTTP/2", resp.Status, resp.Proto)
		}
	})
	t.Run("WebSocket", func(t *testing.T) {
		one := transport.Clone() // a WebSocket is one of HTTP/1.1
		one.ForceAttemptHTTP2, one.TLSClientConfig.NextProtos = false, []string{"http/1.1"}
		defer one.CloseIdleConnections()
		open := func(origin string) (*websocket.Conn, *http.Response, error) {
			h := request(t, "GET", "/", nil).Header
			h.Set("Origin", origin)
			return websocket.Dial(ctx, "wss://"+nginxHost+"/socket", &websocket.DialOptions{HTTPClient: &http.Client{Transport: one}, HTTPHeader: h})
		}
		if _, resp, err := open("https://evil.test"); err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
			t.Errorf("from another origin: got %v, want 403", err)
		}
		c, _, err := open("https://" + nginxHost)
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		for _, message := range []string{"hello", strings.Repeat("x", 20_000)} {
			if err := c.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
				t.Fatal(err)
			}
			if _, got, err := c.Read(ctx); err != nil || string(got) != message {
				t.Fatalf("echo: got %d bytes and %v, want %d", len(got), err, len(message))
			}
		}
		c.Close(websocket.StatusNormalClosure, "")
	})
	t.Run("event stream", func(t *testing.T) {
		answer := make(chan *http.Response, 1)
		go func() {
			resp, err := transport.RoundTrip(request(t, "GET", "/events", nil))
			if err != nil {
				t.Error(err)
			}
			answer <- resp
		}()
		send := func(event string) {
			select {
			case n.app.tick <- event:
			case <-ctx.Done():
				t.Error("nobody takes the event " + event)
			}
		}
		send("0")
		resp := <-answer
		if resp == nil {
			return
		}
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		for i := range 3 { // the next one is sent once this one is here
			if !lines.Scan() || lines.Text() != fmt.Sprintf("data: %d", i) {
				t.Fatalf("event %d: got %q and %v", i, lines.Text(), lines.Err())
			}
			lines.Scan() // the empty line
			if i < 2 {
				send(fmt.Sprint(i + 1))
			}
		}
		close(n.app.tick)
		if lines.Scan() {
			t.Errorf("after the last event: got %q, want the end", lines.Text())
		}
	})
	t.Run("upload", func(t *testing.T) {
		const size, first = 48 << 20, 1 << 20
		reader, writer := io.Pipe()
		go func() {
			chunk := make([]byte, 64<<10)
			for sent := 0; sent < size; sent += len(chunk) {
				if sent == first { // nothing more until the application has begun to read
					select {
					case <-n.app.uploaded:
					case <-ctx.Done():
						writer.CloseWithError(errors.New("nothing of the upload has arrived"))
						return
					}
				}
				if _, err := writer.Write(chunk); err != nil {
					return
				}
			}
			writer.Close()
		}()
		r := request(t, "POST", "/upload", reader)
		r.ContentLength = size
		resp, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if want := fmt.Sprintf("got %d", size); err != nil || string(text) != want {
			t.Errorf("got %s %q and %v, want %q", resp.Status, text, err, want)
		}
	})

	t.Run("sign-out", func(t *testing.T) {
		out := b.Follow(b.Post("https://"+nginxHost+"/sign-out", url.Values{}))
		if out.StatusCode != http.StatusOK || !strings.Contains(out.Text, "You are signed out") {
			t.Fatalf("got %s\n%s", out.Status, out.Text)
		}
		if got := b.Get(asked); got.StatusCode != http.StatusFound {
			t.Errorf("asking again: got %s, want 302", got.Status)
		}
	})
}
