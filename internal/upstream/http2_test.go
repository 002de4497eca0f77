package upstream_test

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"portero/internal/live"
	"portero/internal/upstream"
)

// secure is an upstream that speaks HTTP/2; clients must be told to trust it.
func secure(t *testing.T, h http.Handler) app {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return app{s}
}

// An upstream over TLS gets HTTP/2, targets byte for byte there as well, and a
// certificate that nobody vouches for is refused.
func TestHTTP2Upstreams(t *testing.T) {
	t.Parallel()
	targets := make(chan string, 8)
	up := secure(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		targets <- r.Proto + " " + r.RequestURI
	}))
	g := start(t, setup{Config: upstream.Config{URLs: urls(up)}})
	if head, _, _ := g.send(t, get("/")); head[9:12] != "502" {
		t.Errorf("an unknown certificate: got %.20q, want 502", head)
	}
	if e := wait(t, g.errors, "an error"); e.ProxyStatus() != "tls_protocol_error" {
		t.Errorf("got %s: %v", e.ProxyStatus(), e)
	}

	g = start(t, setup{Config: upstream.Config{URLs: urls(up)}})
	upstream.Trust(g.proxy, up.Client().Transport.(*http.Transport).TLSClientConfig)
	for _, target := range []string{"/a%2Fb?", "//a//b", "/x?y=%zz;z", "//"} {
		if head, _, err := g.send(t, get(target)); err != nil || head[9:12] != "200" {
			t.Fatalf("%s: got %.20q %v", target, head, err)
		}
		if got := wait(t, targets, "a request"); got != "HTTP/2.0 "+target {
			t.Errorf("got %q, want %q over HTTP/2", got, target)
		}
	}
}

// A WebSocket goes over HTTP/1.1 to an upstream that prefers HTTP/2.
func TestWebSocketsToHTTP2Upstreams(t *testing.T) {
	t.Parallel()
	protocols := make(chan string, 2)
	up := secure(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocols <- r.Proto + " " + r.Header.Get("Upgrade")
		w.WriteHeader(http.StatusUpgradeRequired)
	}))
	g := start(t, setup{Config: upstream.Config{URLs: urls(up)}})
	upstream.Trust(g.proxy, up.Client().Transport.(*http.Transport).TLSClientConfig)
	g.send(t, get("/"))
	wait(t, protocols, "a request")
	g.send(t, upgrading())
	if got := wait(t, protocols, "a request"); got != "HTTP/1.1 websocket" {
		t.Errorf("got %q", got)
	}
}

// H2-07: cookies come in crumbs, targets as they were. What HTTP/2 forbids in a
// request (connection, te) is refused by net/http.
func TestHTTP2Clients(t *testing.T) {
	t.Parallel()
	up := says(t, "HTTP/1.1 200 OK\r\nConnection: x\r\nContent-Length: 2\r\n\r\nok")
	id, set := alice(t)
	registry := live.New()
	g := start(t, setup{Config: upstream.Config{URLs: urls(up), Headers: set, Live: registry}, call: func(c *upstream.Call) {
		c.Identity, c.Session = id, aliceSession()
	}})
	front := httptest.NewUnstartedServer(g.Config.Handler)
	front.EnableHTTP2 = true
	front.StartTLS()
	defer front.Close()

	conn, err := tls.DialWithDialer(new(net.Dialer), "tcp", front.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	framer.WriteSettings()
	var block strings.Builder
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{
		{":method", "GET"}, {":scheme", "https"}, {":authority", "wiki.example.com"}, {":path", "//a%2Fb?"},
		{"x-forwarded-email", "root"}, {"te", "trailers"}, {"cookie", "a=1"}, {"cookie", cookieName + "=x"}, {"cookie", "b=2"},
	} {
		enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte(block.String()), EndStream: true, EndHeaders: true})
	head := up.head(t)
	for name, want := range map[string]string{
		"X-Forwarded-Email": "alice@example.com", "X-Forwarded-For": "127.0.0.1", "Connection": "", "Te": "", "Upgrade": "", "Cookie": "a=1; b=2",
	} {
		if got := header(head, name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if line, _, _ := strings.Cut(head, "\r\n"); line != "GET //a%2Fb? HTTP/1.1" {
		t.Errorf("got %q", line)
	}
	wait(t, g.served, "the end of the request")
}

// Answers over HTTP/2 end with the session too, event streams as if they were complete and others not, and the
// connection goes on.
func TestHTTP2StreamsEndWithTheSession(t *testing.T) {
	t.Parallel()
	up := serveHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/short" {
			return
		}
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
		io.WriteString(w, "data: 1\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	registry := live.New()
	g := start(t, setup{Config: upstream.Config{URLs: urls(up), Live: registry}, call: func(c *upstream.Call) { c.Session = aliceSession() }})
	front := httptest.NewUnstartedServer(g.Config.Handler)
	front.EnableHTTP2 = true
	front.StartTLS()
	defer front.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request := func(path string) *http.Response {
		r, _ := http.NewRequestWithContext(ctx, "GET", front.URL+path, nil)
		r.Host = "wiki.example.com"
		res, err := front.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	events, other := request("/?type=text/event-stream"), request("/?type=text/plain")
	for _, res := range []*http.Response{events, other} {
		defer res.Body.Close()
		io.ReadFull(res.Body, make([]byte, 9))
	}
	registry.Close("session:k1", time.Now())
	if rest, err := io.ReadAll(events.Body); err != nil || len(rest) != 0 {
		t.Errorf("the event stream: got %q behind and %v, want its end", rest, err)
	}
	if rest, err := io.ReadAll(other.Body); err == nil || ctx.Err() != nil {
		t.Errorf("another answer: got a clean end after %q (%v)", rest, ctx.Err())
	}
	next := request("/short")
	next.Body.Close()
	if next.StatusCode != 200 || next.Proto != "HTTP/2.0" {
		t.Errorf("the next request got %v", next)
	}
}
