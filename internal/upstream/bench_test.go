package upstream_test

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"portero/internal/forwarded"
	"portero/internal/live"
	"portero/internal/route"
	"portero/internal/upstream"
)

// BenchmarkHop compares one hop through Proxy.Serve with one through a bare
// ReverseProxy over the same kind of transport. Client and upstream count in
// both; the difference is what is ours.
func BenchmarkHop(b *testing.B) {
	up := serveHTTP(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, "hello")
	}))
	transport := &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}
	defer transport.CloseIdleConnections()
	bare := &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(up.url())
			r.SetXForwarded()
		},
	}
	b.Run("bare", func(b *testing.B) { hop(b, bare) })

	id, set := alice(b)
	table, err := route.NewTable([]route.Route{{Name: "wiki", Hosts: []string{"wiki.example.com"}, Access: route.SignedIn}})
	if err != nil {
		b.Fatal(err)
	}
	proxy, err := upstream.New(upstream.Config{
		Route: table.Routes()[0], URLs: []*url.URL{up.url()}, Headers: set, Live: live.New(), OwnCookie: ownCookie, ProtectCache: true, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	defer proxy.Close()
	target, err := route.ParseTarget("GET", "/page?q=1", "wiki.example.com")
	if err != nil {
		b.Fatal(err)
	}
	client := netip.MustParseAddr("127.0.0.1")
	from := forwarded.Request{Peer: client, Client: client, Scheme: "https", Host: "wiki.example.com", Port: "443", ForwardedFor: "127.0.0.1", RequestID: "0123456789abcdef"}
	s := aliceSession()
	b.Run("Serve", func(b *testing.B) {
		hop(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := proxy.Serve(w, r, upstream.Call{Target: target, From: from, Identity: id, Session: s}); err != nil {
				b.Error(err)
			}
		}))
	})
}

func hop(b *testing.B, h http.Handler) {
	s := httptest.NewServer(h)
	defer s.Close()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Minute))
	request := []byte(get("/page?q=1", "Cookie: a=1; "+cookieName+"=0123456789012345678901234567890123456789012", "User-Agent: bench", "Accept: text/html"))
	answer := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		c.Write(request)
		if n, err := c.Read(answer); err != nil || n < 20 || answer[9] != '2' {
			b.Fatalf("got %q %v", answer[:n], err)
		}
	}
}
