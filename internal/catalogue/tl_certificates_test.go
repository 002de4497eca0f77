package catalogue_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// tlServer is an application behind TLS: what it was asked for, and every byte that reached it.
type tlServer struct {
	*peer
	mu    sync.Mutex
	names []string     // of the handshakes
	raw   bytes.Buffer // as it came
	heads []string     // of the requests
}

// tlHeard keeps what comes over a connection.
type tlHeard struct {
	net.Conn
	s *tlServer
}

func (h tlHeard) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	h.s.raw.Write(p[:n])
	return n, err
}

// newTLServer starts one. Without a configuration it speaks HTTP in the clear.
func newTLServer(t *testing.T, c *tls.Config) *tlServer {
	t.Helper()
	s := &tlServer{}
	if c != nil {
		c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.names = append(s.names, hello.ServerName)
			return nil, nil
		}
	}
	s.peer = newPeer(t, func(conn net.Conn, _ *bufio.Reader) {
		conn = tlHeard{conn, s}
		if c == nil { // what any server says to a handshake
			conn.Read(make([]byte, 4096))
			io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			return
		}
		conn = tls.Server(conn, c)
		r := bufio.NewReader(conn)
		head, err := readHead(r)
		if err != nil || gatewaytest.SkipBody(r, head) != nil {
			return
		}
		s.mu.Lock()
		s.heads = append(s.heads, head)
		s.mu.Unlock()
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 15\r\nConnection: close\r\n\r\nthe application")
	})
	return s
}

// take is what was heard since the last call.
func (s *tlServer) take() (names, heads []string, raw string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	names, heads, raw = s.names, s.heads, s.raw.String()
	s.names, s.heads = nil, nil
	s.raw.Reset()
	return names, heads, raw
}

func upstreamCertificates(t *testing.T, _ *doors) {
	known, rogue := gatewaytest.NewAuthority(t), gatewaytest.NewAuthority(t)
	with := func(a *gatewaytest.Authority, change func(*x509.Certificate)) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{a.Certificate(t, change)}, NextProtos: []string{"http/1.1"}}
	}
	alone, err := tls.LoadX509KeyPair(gatewaytest.Certificate(t))
	if err != nil {
		t.Fatal(err)
	}
	old := with(known, nil)
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	weak := with(known, nil)
	weak.MaxVersion, weak.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA}
	unnamed := func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, nil }
	cases := []struct {
		name, host string
		server     *tlServer
		served     bool
	}{
		{"good", "localhost", newTLServer(t, with(known, nil)), true},
		{"good, for an address", "127.0.0.1", newTLServer(t, with(known, nil)), true},
		{"expired", "localhost", newTLServer(t, with(known, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })), false},
		{"not valid yet", "localhost", newTLServer(t, with(known, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })), false},
		{"for another host", "localhost", newTLServer(t, with(known, func(c *x509.Certificate) {
			c.DNSNames, c.IPAddresses = []string{"app.test", "localhost.test", "*.localhost"}, nil
		})), false},
		{"for the name and not the address", "127.0.0.1", newTLServer(t, with(known, func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = []string{"localhost", "127.0.0.1"}, nil })), false},
		{"for another address", "127.0.0.1", newTLServer(t, with(known, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 2)} })), false},
		{"with a common name alone", "localhost", newTLServer(t, with(known, unnamed)), false},
		{"for clients", "localhost", newTLServer(t, with(known, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })), false},
		{"of an authority that nobody knows", "localhost", newTLServer(t, with(rogue, nil)), false},
		{"of no authority", "localhost", newTLServer(t, &tls.Config{Certificates: []tls.Certificate{alone}}), false},
		{"TLS 1.1", "localhost", newTLServer(t, old), false},
		{"RC4", "localhost", newTLServer(t, weak), false},
		{"no TLS at all", "localhost", newTLServer(t, nil), false},
	}
	var more strings.Builder
	for n, tt := range cases {
		_, port, _ := net.SplitHostPort(tt.server.addr)
		fmt.Fprintf(&more, "\n  - {name: p%d, path: /p%d, access: public, upstreams: [{url: \"https://%s:%s\"}]}\n  - {name: s%d, path: /s%d, upstreams: [{url: \"https://%s:%s\"}]}", n, n, tt.host, port, n, n, tt.host, port)
	}
	o := gatewaytest.Options{Routes: more.String() + strict, Env: []string{"SSL_CERT_FILE=" + known.File}}
	inTLS := o
	inTLS.TLS = true
	over := &doors{t: t, tls: newFront(t, inTLS), plain: newFront(t, o)}
	over.each(t, func(t *testing.T, w way) {
		for n, tt := range cases {
			targets := []string{fmt.Sprintf("/p%d/x", n)}
			if w.cookie != "" {
				targets = append(targets, fmt.Sprintf("/s%d/x", n))
			}
			for _, target := range targets {
				for _, q := range []request{{Target: target}, {Method: "POST", Target: target, Body: gatewaytest.Canary + "body", Lines: fieldsOf("Authorization", "Bearer "+gatewaytest.Canary+"token", "Origin", w.URL)}} {
					a := w.ask(t, q)
					names, heads, raw := tt.server.take()
					if tt.served {
						name := map[string]string{"localhost": "localhost", "127.0.0.1": ""}[tt.host] // an address is no name
						if a.Status != http.StatusOK || len(heads) != 1 || len(names) != 1 || names[0] != name {
							t.Errorf("%s, %s %s: got %s, the application heard %q in handshakes for %q; want 200, one request, and %q", tt.name, q.Method, target, a, heads, names, name)
						}
						continue
					}
					if a.Status != http.StatusBadGateway || len(heads) != 0 {
						t.Errorf("%s, %s %s: got %s, the application heard %q; want 502 and nothing", tt.name, q.Method, target, a, heads)
					}
					if strings.Contains(raw, gatewaytest.Canary) || strings.Contains(raw, "HTTP/1.1") || strings.Contains(raw, gatewaytest.Host) {
						t.Errorf("%s: in the clear came %q, want a handshake alone", tt.name, raw)
					}
					for _, word := range []string{"x509", "certificate", "localhost", "127.0.0.1", "the application"} {
						if strings.Contains(a.Body, word) {
							t.Errorf("%s: the page says %q", tt.name, word)
						}
					}
					for _, name := range names {
						if name == gatewaytest.Host || name == gatewaytest.SecondHost {
							t.Errorf("%s: the handshake names %s, want the application's own name", tt.name, name)
						}
					}
				}
			}
		}
		w.nothingReached(t)
	})
}

// tlClient asks a gateway whatever certificate it shows.
func (f *front) tlClient(t *testing.T, h2, keep bool) *http.Client {
	t.Helper()
	tr := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", f.Addr)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: !keep, ForceAttemptHTTP2: h2,
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute}
}

func certificateReload(t *testing.T, _ *doors) {
	f := newFront(t, gatewaytest.Options{TLS: true})
	slow := make(chan struct{})
	arrived := make(chan struct{}, 2)
	f.Upstream.Take(func(head string, r *bufio.Reader, c net.Conn) bool {
		if strings.HasPrefix(head, "GET /public/slow ") {
			arrived <- struct{}{}
			<-slow
		}
		_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\nthe application")
		return err == nil
	})
	release := sync.OnceFunc(func() { close(slow) })
	defer release()

	// What is open and under way.
	under := f.Dial(t)
	under.Send("GET /public/slow HTTP/1.1\r\nHost: gw.test\r\n\r\n")
	under2 := f.DialHTTP2(t, gatewaytest.Dialing{})
	under2.Open([][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", f.host}, {":path", "/public/slow"}}, true)
	for range 2 {
		<-arrived
	}
	idle := way{front: f, cookie: f.alice}.talk(t)
	idle.ask(request{})
	before := idle.c
	tickets := tls.NewLRUClientSessionCache(4)
	resume := func() {
		if status, _, err := f.tlGet(t, &tls.Config{ServerName: gatewaytest.Host, ClientSessionCache: tickets}); status != "HTTP/1.1 200 OK" {
			t.Errorf("with a session of TLS from before: got %q (%v), want 200", status, err)
		}
	}
	resume()

	// And people who do not stop.
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var people sync.WaitGroup
	var answers atomic.Int64
	for n := range 6 {
		client := f.tlClient(t, n%2 == 0, n < 4) // two of them with a handshake for each request
		people.Go(func() {
			for ctx.Err() == nil {
				req, err := http.NewRequest(http.MethodGet, f.URL+"/app", nil)
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Cookie", f.alice)
				resp, err := client.Do(req)
				if err != nil {
					t.Errorf("a request was dropped: %v", err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK || err != nil || string(body) != "the application" {
					t.Errorf("a request: got %s %q (%v), want the application", resp.Status, body, err)
					return
				}
				answers.Add(1)
			}
		})
	}
	goesOn := func(what string) {
		t.Helper()
		n := answers.Load()
		gatewaytest.Await(t, "people are served after "+what, func() bool { return answers.Load() >= n+30 || t.Failed() })
	}
	goesOn("nothing")
	for n := range 3 {
		serial := tlCertificate(t, f, n == 1)
		gatewaytest.Await(t, "the new certificate is shown", func() bool { return certificateAt(t, f.Addr) == serial })
		goesOn("a new certificate")
		resume()
	}
	serial := certificateAt(t, f.Addr)
	otherCert, _ := gatewaytest.Certificate(t)
	other, err := os.ReadFile(otherCert)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"no certificate": []byte(gatewaytest.Canary + "no-certificate"), "a certificate of another key": other, "an empty file": nil} {
		failures := strings.Count(f.Log.String(), "reload failed")
		tlReplace(t, f.Cert, text)
		gatewaytest.Await(t, "the log says that the reload failed", func() bool { return strings.Count(f.Log.String(), "reload failed") > failures })
		if got := certificateAt(t, f.Addr); got != serial {
			t.Errorf("%s: another certificate is shown, want the one from before", name)
		}
		goesOn(name)
	}
	serial = tlCertificate(t, f, false)
	gatewaytest.Await(t, "a good one is shown again", func() bool { return certificateAt(t, f.Addr) == serial })

	// Other files, named by a configuration that is read again.
	f.Cert, f.Key = gatewaytest.Certificate(t)
	f.Configure(&gatewaytest.Options{Routes: strict, Extra: headers})
	if said := f.Hangup(t); !strings.Contains(said, "configuration reloaded") {
		t.Errorf("the reload: got %q", said)
	}
	// What Hangup has read may be the word about the reload before.
	gatewaytest.Await(t, "the certificate of other files is shown", func() bool { return certificateAt(t, f.Addr) != serial })
	goesOn("a reload")
	stop()
	people.Wait()

	if a := idle.ask(request{}); a.Status != http.StatusOK || idle.c != before {
		t.Errorf("the connection that was open: got %s, want 200 on the same one", a)
	}
	release()
	if a := under.Answer("GET"); a.Status != http.StatusOK || a.Body != "the application" {
		t.Errorf("the request under way: got %s %q, want the application", a, a.Body)
	}
	if got := under2.Data(1, len("the application")); got != "the application" {
		t.Errorf("the request under way over HTTP 2: got %q, want the application", got)
	}
	t.Logf("%d requests were served meanwhile", answers.Load())
}
