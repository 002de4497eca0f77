package serve_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"portero/internal/serve"
)

// pipes is a listener whose connections exist in memory alone, so that they know the time of a test.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

// A client that is slow has no connection for long: its handshake, its head, and its next request have a time; a body
// has none.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	certFile, keyFile := certificate(t, t.TempDir(), time.Now().Add(time.Hour))
	certs, err := serve.LoadCertificates(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	const whole = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	tests := []struct {
		name   string
		tls    *serve.Certificates
		send   string        // at once
		answer bool          // and its answer is read
		after  time.Duration // when the connection ends; 0: not within an hour
	}{
		{name: "nothing", after: 10 * time.Second},
		{name: "half a request line", send: "GET / HT", after: 10 * time.Second},
		{name: "half a head", send: "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", after: 10 * time.Second},
		{name: "no handshake", tls: certs, after: 10 * time.Second},
		{name: "half a handshake", tls: certs, send: "\x16\x03\x01", after: 10 * time.Second},
		{name: "no second request", send: whole, answer: true, after: 120 * time.Second},
		{name: "half of a second request", send: whole + "GET / HT", answer: true, after: 10 * time.Second},
		{name: "a body that takes its time", send: "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newPipes()
				s, err := serve.Listen(serve.Config{Listener: l, TLS: tt.tls, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					io.Copy(io.Discard, r.Body)
				})})
				if err != nil {
					t.Fatal(err)
				}
				served := make(chan error, 1)
				go func() { served <- s.Serve() }()
				defer func() {
					s.Close()
					if err := <-served; err != nil {
						t.Error(err)
					}
				}()

				began := time.Now()
				c := l.dial()
				defer c.Close()
				go io.WriteString(c, tt.send)
				r := bufio.NewReader(c)
				if tt.answer {
					resp, err := http.ReadResponse(r, nil)
					if err != nil {
						t.Fatal(err)
					}
					resp.Body.Close()
				}
				c.SetReadDeadline(began.Add(time.Hour))
				_, err = io.Copy(io.Discard, r)
				got := time.Since(began)
				var timeout net.Error
				if open := errors.As(err, &timeout) && timeout.Timeout(); open {
					got = 0
				}
				if got != tt.after {
					t.Errorf("the connection ended after %s (%v), want %s", got, err, tt.after)
				}
			})
		})
	}
}
