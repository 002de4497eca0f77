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
