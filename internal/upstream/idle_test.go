package upstream_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"portero/internal/upstream"
)

// DS-03, and idle means idle: slow is not.
func TestIdle(t *testing.T) {
	t.Parallel()
	const idle = time.Second
	drip := func(w io.Writer, n int, every time.Duration) {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for range n {
			if _, err := io.WriteString(w, "x"); err != nil {
				return
			}
			<-tick.C
		}
	}
	reads := listen(t, func(c net.Conn, in *bufio.Reader, head string) bool {
		if _, err := io.CopyN(io.Discard, in, 10); err != nil {
			return false
		}
		io.WriteString(c, ok)
		return true
	})
	post := "POST / HTTP/1.1\r\nHost: wiki.example.com\r\nContent-Length: 10\r\n\r\n"

	t.Run("a client that stops sending", func(t *testing.T) {
		t.Parallel()
		g := start(t, setup{Config: upstream.Config{URLs: urls(reads), Idle: idle}})
		c, in := g.dial(t)
		io.WriteString(c, post+"half")
		head, err := readHead(in)
		if e := wait(t, g.errors, "an error"); err != nil || head[9:12] != "400" || e.Kind != upstream.BadRequest {
			t.Errorf("got %.20q %v %v", head, err, e)
		}
		// What comes late is no request of its own.
		io.WriteString(c, "abcdef"+get("/smuggled"))
		rest, _ := io.ReadAll(in)
		if bytes.Contains(rest, []byte("HTTP/1.1")) {
			t.Errorf("the rest of the body was answered: %q", rest)
		}
	})
	t.Run("a client that sends slowly", func(t *testing.T) {
		t.Parallel()
		g := start(t, setup{Config: upstream.Config{URLs: urls(reads), Idle: idle}})
		c, in := g.dial(t)
		io.WriteString(c, post)
		drip(c, 10, idle/8)
		if head, err := readHead(in); err != nil || head[9:12] != "200" {
			t.Errorf("got %.20q %v, want 200 after %v", head, err, 10*idle/8)
		}
	})
	t.Run("an upstream that thinks", func(t *testing.T) {
		t.Parallel()
		up := listen(t, func(c net.Conn, in *bufio.Reader, _ string) bool {
			drip(io.Discard, 10, idle/8)
			io.WriteString(c, ok)
			return true
		})
		g := start(t, setup{Config: upstream.Config{URLs: urls(up), Idle: idle}})
		if head, _, err := g.send(t, get("/")); err != nil || head[9:12] != "200" {
			t.Errorf("got %.20q %v, want 200: thinking has a limit of its own", head, err)
		}
	})
	t.Run("an upstream that stops sending", func(t *testing.T) {
		t.Parallel()
		up := listen(t, func(c net.Conn, in *bufio.Reader, _ string) bool {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"+strings.Repeat("x", 50))
			io.Copy(io.Discard, in)
			return false
		})
		g := start(t, setup{Config: upstream.Config{URLs: urls(up), Idle: idle}})
		if _, body, err := g.send(t, get("/")); err == nil {
			t.Errorf("got a clean end after %d bytes", len(body))
		}
		wait(t, up.closed, "the end of the upstream's connection")
	})
	t.Run("an upstream that sends slowly", func(t *testing.T) {
		t.Parallel()
		up := listen(t, func(c net.Conn, in *bufio.Reader, _ string) bool {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
			drip(c, 10, idle/8)
			return false
		})
		g := start(t, setup{Config: upstream.Config{URLs: urls(up), Idle: idle}})
		if _, body, err := g.send(t, get("/")); err != nil || len(body) != 10 {
			t.Errorf("got %d bytes, %v", len(body), err)
		}
	})
	t.Run("a client that stops reading", func(t *testing.T) {
		t.Parallel()
		up := listen(t, func(c net.Conn, in *bufio.Reader, _ string) bool {
			io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			for {
				if _, err := c.Write(make([]byte, 1<<20)); err != nil {
					return false
				}
			}
		})
		g := start(t, setup{Config: upstream.Config{URLs: urls(up), Idle: idle}})
		c, in := g.dial(t)
		io.WriteString(c, get("/"))
		readHead(in)
		wait(t, up.closed, "the end of the upstream's connection")
		wait(t, g.served, "the end of the request")
	})
}
