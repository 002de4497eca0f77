package gateway_test

import (
	"bufio"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"portero/internal/gatewaytest"
)

// deadRoute has nobody behind it.
const deadRoute = `  - {name: dead, path: /dead, access: public, upstreams: [{url: "http://127.0.0.1:1"}]}
`

// clean fails when a page has anything that runs, or an address that is none of ours, of our issuer or of a mail program.
func (f *front) clean(t *testing.T, text string) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch n.Data {
		case "script", "iframe", "object", "embed", "base", "svg", "math", "template":
			t.Errorf("the page has a %s element", n.Data)
		}
		for _, a := range n.Attr {
			value := strings.ToLower(strings.TrimSpace(a.Val))
			switch {
			case strings.HasPrefix(a.Key, "on"), a.Key == "style", a.Key == "srcdoc":
				t.Errorf("the page has %s=%q on a %s", a.Key, a.Val, n.Data)
			case strings.HasPrefix(value, "javascript:"), strings.HasPrefix(value, "data:"), strings.HasPrefix(value, "vbscript:"):
				t.Errorf("the page has %s=%q", a.Key, a.Val)
			case a.Key == "http-equiv":
				t.Errorf("the page has a meta http-equiv %q", a.Val)
			}
		}
	}
}

// calm fails when something inside the gateway broke off, or a status that no case explains was given.
func (f *front) calm(t *testing.T) {
	t.Helper()
	log := f.Log.String()
	for _, word := range []string{`"panic"`, "runtime error", "goroutine ", "superfluous", "broke off inside"} {
		if strings.Contains(log, word) {
			t.Errorf("the log has %s", word)
		}
	}
}

// What is no request is answered, or its connection closed, and nothing of it goes on.
func TestSecurityMalformedRequests(t *testing.T) {
	t.Parallel()
	f := newFront(t, gatewaytest.Options{})
	host, cookie := "Host: "+f.host+"\r\n", "Cookie: "+f.alice+"\r\n"
	tests := []struct {
		name, text string
		status     int
	}{
		{"no version", "GET /app\r\n\r\n", 400},
		{"an unknown version", "GET /app HTTP/3.7\r\n" + host + "\r\n", 505},
		{"a version in letters", "GET /app HTTP/x.y\r\n" + host + "\r\n", 400},
		{"no target", "GET HTTP/1.1\r\n" + host + "\r\n", 400},
		{"blanks", "   \r\n\r\n", 400},
		{"a method with a line end", "GE\nT /app HTTP/1.1\r\n" + host + "\r\n", 400},
		{"a method with NUL", "G\x00T /app HTTP/1.1\r\n" + host + "\r\n", 400},
		{"no colon", "GET /app HTTP/1.1\r\n" + host + "X-Foo\r\n\r\n", 400},
		{"a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},
		{"the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
		{"a negative length", "POST /app HTTP/1.1\r\n" + host + cookie + "Content-Length: -1\r\n\r\n", 400},
		{"a length in letters", "POST /app HTTP/1.1\r\n" + host + cookie + "Content-Length: 1a\r\n\r\n", 400},
		{"a length with a sign", "POST /app HTTP/1.1\r\n" + host + cookie + "Content-Length: +1\r\n\r\na", 400},
		{"two lengths", "POST /app HTTP/1.1\r\n" + host + cookie + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400},
		{"a length beyond all", "POST /app HTTP/1.1\r\n" + host + cookie + "Content-Length: 99999999999999999999999\r\n\r\n", 400},
		{"an unknown transfer coding", "POST /app HTTP/1.1\r\n" + host + cookie + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
		{"two transfer codings", "POST /app HTTP/1.1\r\n" + host + cookie + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n", 501},
		{"an expectation nobody meets", "POST /app HTTP/1.1\r\n" + host + cookie + "Expect: 200-maybe\r\nContent-Length: 1\r\n\r\na", 417},
		{"a head that is too large", "GET /app HTTP/1.1\r\n" + host + cookie + "X-Foo: " + strings.Repeat("a", 128<<10) + "\r\n\r\n", 431},
		{"a head of many lines", "GET /app HTTP/1.1\r\n" + host + cookie + strings.Repeat("X-Foo: a\r\n", 20_000) + "\r\n", 431},
		{"a cookie that is too large", "GET /app HTTP/1.1\r\n" + host + "Cookie: a=" + strings.Repeat("a", 1<<20) + "\r\n\r\n", 431},
		{"a WebSocket of another version", "GET /app HTTP/1.1\r\n" + host + cookie + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\nOrigin: " + f.URL + "\r\n\r\n", 400},
		{"a WebSocket of another origin", "GET /app HTTP/1.1\r\n" + host + cookie + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: https://evil.test\r\n\r\n", 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := f.Raw(t, tt.text)
			if a.Status != tt.status {
				t.Errorf("got %s, want %d", a, tt.status)
			}
			f.nothingReached(t)
		})
	}
	f.calm(t)
	f.quiet(t)
	if a := f.Raw(t, f.head("GET", "/app", f.alice, "")); a.Status != http.StatusOK {
		t.Errorf("a good request afterwards: got %s, want 200", a)
	}
}

// A body that is no body ends the request with an error, and the connection.
func TestSecurityMalformedBodies(t *testing.T) {
	t.Parallel()
	f := newFront(t, gatewaytest.Options{})
	for name, body := range map[string]string{
		"no number": "zz\r\nabc\r\n0\r\n\r\n", "a negative number": "-3\r\nabc\r\n0\r\n\r\n", "a number beyond all": "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
		"no line end after a chunk": "3\r\nabcX0\r\n\r\n", "a trailer without colon": "3\r\nabc\r\n0\r\nX-Foo\r\n\r\n",
	} {
		t.Run("chunks with "+name, func(t *testing.T) {
			c := f.Dial(t)
			c.Send(f.head("POST", "/app", f.alice, "Transfer-Encoding: chunked\r\n") + body + f.head("GET", "/smuggled", f.alice, ""))
			if a := c.Answer("POST"); a.Status/100 == 2 && name != "a trailer without colon" {
				t.Errorf("got %s, want an error", a)
			}
			if a := c.Answer("GET"); a.Status == http.StatusOK {
				t.Errorf("what came behind was served: %s", a)
			}
			if strings.Contains(f.Upstream.Bytes(), "smuggled") {
				t.Errorf("what came behind reached the upstream: %q", f.Upstream.Bytes())
			}
			f.Upstream.Forget()
		})
	}
	f.calm(t)
}

// An upstream that breaks off, resets or talks nonsense is a page with 502, and a broken answer is never a whole one.
func TestSecurityBrokenUpstream(t *testing.T) {
	t.Parallel()
	resetting, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resetting.Close() })
	go func() {
		for {
			c, err := resetting.Accept()
			if err != nil {
				return
			}
			bufio.NewReader(c).ReadString('\n')
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}
	}()
	f := newFront(t, gatewaytest.Options{Routes: strings.ReplaceAll(catalogueRoutes, "PATHS", "paths: strict") + deadRoute +
		`  - {name: reset, path: /reset, access: public, upstreams: [{url: "http://` + resetting.Addr().String() + `"}]}` + "\n"})
	tests := []struct {
		name, target, answer string
		status               int // 0: the connection breaks off
	}{
		{"nobody listens", "/dead", "", 502},
		{"it resets", "/reset", "", 502},
		{"it closes", "/app", "", 502},
		{"it is no HTTP", "/app", "SSH-2.0-OpenSSH_9.9\r\n\r\n", 502},
		{"half a head", "/app", "HTTP/1.1 200 OK\r\nContent-Ty", 502},
		{"a status that is none", "/app", "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", 502},
		{"a switch nobody asked for", "/app", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 502},
		{"two lengths", "/app", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 502},
		{"a head beyond all", "/app", "HTTP/1.1 200 OK\r\nX-Foo: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", 502},
		{"half a body", "/app", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", 0},
		{"half a chunk", "/app", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nabc", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f.Upstream.Say(func(string) string { return tt.answer }, true)
			got := f.Raw(t, f.head("GET", tt.target, f.alice, navigation))
			if tt.status == 0 {
				if got.Status != 0 && got.Err == nil {
					t.Errorf("got %s with %q as a whole answer, want it broken off", got, got.Body)
				}
				return
			}
			if got.Status != tt.status {
				t.Fatalf("got %s, want %d", got, tt.status)
			}
			if !strings.HasPrefix(got.Header.Get("Proxy-Status"), "portero; error=") || got.Header.Get("Portero-Code") == "" {
				t.Errorf("Proxy-Status %q, Portero-Code %q: want both", got.Header.Get("Proxy-Status"), got.Header.Get("Portero-Code"))
			}
			for _, bad := range []string{"OpenSSH", "127.0.0.1", "Odd", "h2c"} {
				if strings.Contains(got.Body, bad) {
					t.Errorf("the page has %q of the upstream", bad)
				}
			}
			f.clean(t, got.Body)
		})
	}
	f.calm(t)
}

// Rows that cannot be opened, here because the secret was replaced, are no session: the cookie goes, people sign in
// again, and nothing fails.
func TestSecurityUnreadableRows(t *testing.T) {
	t.Parallel()
	o := gatewaytest.Options{Session: "store: memory, secret: 0123456789abcdefghijklmnopqrstuvwxyz"}
	f := newFront(t, o)
	o.Session = "store: memory, secret: zyxwvutsrqponmlkjihgfedcba9876543210"
	o.Routes = strings.ReplaceAll(catalogueRoutes, "PATHS", "paths: strict")
	f.Configure(&o)
	if err := f.Gateway.Reload(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, tt := range []struct {
			name, target, lines string
			status              int
		}{
			{"a page", "/app", navigation, 302},
			{"a script", "/app", "Accept: application/json\r\n", 401},
			{"an upload", "/app", "Content-Length: 1073741824\r\n", 401},
			{"who am I", "/_portero/session", "", 401},
		} {
			t.Run(tt.name, func(t *testing.T) {
				a := f.Raw(t, f.head("GET", tt.target, f.alice, tt.lines))
				if a.Status != tt.status {
					t.Errorf("got %s, want %d", a, tt.status)
				}
				f.nothingReached(t)
				f.noSession(t, a)
				if tt.target != "/app" {
					return
				}
				cleared := false
				for _, c := range (&http.Response{Header: a.Header}).Cookies() {
					cleared = cleared || c.Name == f.Cookie() && c.MaxAge < 0
				}
				if !cleared {
					t.Errorf("Set-Cookie: got %q, want the session cookie dropped", a.Header["Set-Cookie"])
				}
			})
		}
		for _, target := range []string{"/public/x", "/optional/x"} {
			if a := f.Raw(t, f.head("GET", target, f.alice, "")); a.Status != http.StatusOK {
				t.Errorf("%s: got %s, want 200", target, a)
			}
			saysNobody(t, f.reached(t))
		}
	}
	f.calm(t)
	f.quiet(t)
	if !strings.Contains(f.Log.String(), "unreadable") {
		t.Error("the log says nothing of unreadable rows")
	}
	f.signIn(t)
	f.Upstream.Forget()
}
