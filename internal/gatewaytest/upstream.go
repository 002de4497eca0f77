package gatewaytest

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Upstream is a raw application: it keeps the exact head of every request that reaches it, and answers with a page.
type Upstream struct {
	URL string

	// Answer is the whole answer to a request line, head and body. nil: 200 with a small HTML page.
	Answer func(request string) string

	listener net.Listener
	mu       sync.Mutex
	heads    []string
	bytes    bytes.Buffer
	hangUp   bool
	conns    map[net.Conn]bool
	wait     sync.WaitGroup
}

// NewUpstream starts one on a loopback port; it ends with the test.
func NewUpstream(t testing.TB) *Upstream {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &Upstream{URL: "http://" + l.Addr().String(), listener: l, conns: map[net.Conn]bool{}}
	u.wait.Go(u.accept)
	t.Cleanup(func() {
		l.Close()
		u.mu.Lock()
		for c := range u.conns {
			c.Close()
		}
		u.mu.Unlock()
		u.wait.Wait()
	})
	return u
}

// Say sets what is answered from now on, while requests may be under way, and whether the connection is closed behind
// each answer.
func (u *Upstream) Say(answer func(request string) string, hangUp bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.Answer, u.hangUp = answer, hangUp
}

// Requests are the heads so far, from request line to the last header, oldest first.
func (u *Upstream) Requests() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]string(nil), u.heads...)
}

// Last is the newest head, "" when nothing came.
func (u *Upstream) Last() string {
	all := u.Requests()
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

// Bytes is everything that came since the last Forget, heads and bodies, over all connections.
func (u *Upstream) Bytes() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.bytes.String()
}

// Forget drops what was kept.
func (u *Upstream) Forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.heads = nil
	u.bytes.Reset()
}

// mostBytes bounds what Bytes keeps: bodies of tests that are about size are not of interest.
const mostBytes = 4 << 20

// Write keeps what a connection brings.
func (u *Upstream) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.bytes.Len() < mostBytes {
		u.bytes.Write(p)
	}
	return len(p), nil
}

// Header lists the values of a header in a head, by exact name without regard to case.
func Header(head, name string) []string {
	var out []string
	for line := range strings.SplitSeq(head, "\r\n") {
		n, v, ok := strings.Cut(line, ":")
		if ok && strings.EqualFold(n, name) {
			out = append(out, strings.TrimSpace(v))
		}
	}
	return out
}

func (u *Upstream) accept() {
	for {
		c, err := u.listener.Accept()
		if err != nil {
			return
		}
		u.mu.Lock()
		u.conns[c] = true
		u.mu.Unlock()
		u.wait.Go(func() {
			u.serve(c)
			c.Close()
			u.mu.Lock()
			delete(u.conns, c)
			u.mu.Unlock()
		})
	}
}

func (u *Upstream) serve(c net.Conn) {
	r := bufio.NewReader(io.TeeReader(c, u))
	for {
		var head bytes.Buffer
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if line == "\r\n" {
				break
			}
			head.WriteString(line)
		}
		text := head.String()
		if err := skipBody(r, text); err != nil {
			return
		}
		u.mu.Lock()
		u.heads = append(u.heads, text)
		answer, hangUp := u.Answer, u.hangUp
		u.mu.Unlock()
		if answer != nil {
			if out := answer(text); out == "" {
				return
			} else if _, err := io.WriteString(c, out); err != nil || hangUp {
				return
			}
			continue
		}
		const page = "<!doctype html><title>app</title>the application"
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: "+strconv.Itoa(len(page))+"\r\n\r\n")
		if !strings.HasPrefix(text, "HEAD ") {
			io.WriteString(c, page)
		}
	}
}

func skipBody(r *bufio.Reader, head string) error {
	if te := Header(head, "Transfer-Encoding"); len(te) == 1 && te[0] == "chunked" {
		return skipChunks(r)
	}
	if cl := Header(head, "Content-Length"); len(cl) == 1 {
		n, err := strconv.ParseInt(cl[0], 10, 64)
		if err != nil {
			return err
		}
		_, err = io.CopyN(io.Discard, r, n)
		return err
	}
	return nil
}

func skipChunks(r *bufio.Reader) error {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(strings.TrimSpace(strings.SplitN(line, ";", 2)[0]), 16, 64)
		if err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, r, n+2); err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
	}
}
