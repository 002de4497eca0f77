package gatewaytest

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Upstream is a raw application: it keeps every byte that reaches it, by connection, and answers with a page.
type Upstream struct {
	URL string

	// Answer is the whole answer to a request line, head and body. nil: 200 with a small HTML page.
	Answer func(request string) string

	listener net.Listener
	mu       sync.Mutex
	heads    []string
	streams  []*stream // in the order of their first bytes
	kept     int       // bytes in streams
	hangUp   bool
	take     Taker
	conns    map[net.Conn]bool
	wait     sync.WaitGroup
}

// Taker serves one request instead of the upstream: it has the head, and reads the body from r and writes the answer to c
// by itself. The connection goes on if it returns true, which it may do only when all of the body has been read.
type Taker func(head string, r *bufio.Reader, c net.Conn) bool

// stream is what came over one connection since the last Forget.
type stream struct {
	upstream *Upstream
	bytes    bytes.Buffer
	listed   bool // in Upstream.streams
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

// Take lets somebody else serve the requests that come from now on. nil: Answer, as before.
func (u *Upstream) Take(take Taker) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.take = take
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

// Bytes is everything that came since the last Forget, heads and bodies, one connection behind the other.
func (u *Upstream) Bytes() string { return strings.Join(u.Connections(), "") }

// Connections is what came since the last Forget by connection, in the order in which they brought their first bytes.
func (u *Upstream) Connections() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []string
	for _, s := range u.streams {
		out = append(out, s.bytes.String())
	}
	return out
}

// Open is how many connections there are at this moment, idle ones included.
func (u *Upstream) Open() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.conns)
}

// Forget drops what was kept.
func (u *Upstream) Forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, s := range u.streams {
		s.bytes, s.listed = bytes.Buffer{}, false
	}
	u.heads, u.streams, u.kept = nil, nil, 0
}

// mostBytes bounds what is kept: bodies of tests that are about size are not of interest.
const mostBytes = 4 << 20

// Write keeps what a connection brings.
func (s *stream) Write(p []byte) (int, error) {
	u := s.upstream
	u.mu.Lock()
	defer u.mu.Unlock()
	if !s.listed {
		s.listed, u.streams = true, append(u.streams, s)
	}
	if u.kept < mostBytes {
		s.bytes.Write(p)
		u.kept += len(p)
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

// Sharing are the headers of an answer that speak to pages of other origins, sorted, "Name: value".
func Sharing(h http.Header) (out []string) {
	for name, values := range h {
		for _, v := range values {
			if strings.HasPrefix(name, "Access-Control-") || name == "Timing-Allow-Origin" {
				out = append(out, name+": "+v)
			}
		}
	}
	slices.Sort(out)
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
	r := bufio.NewReader(io.TeeReader(c, &stream{upstream: u}))
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
		u.mu.Lock()
		take := u.take
		if take != nil {
			u.heads = append(u.heads, text)
		}
		u.mu.Unlock()
		if take != nil {
			if !take(text, r, c) {
				return
			}
			continue
		}
		if err := SkipBody(r, text); err != nil {
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

// SkipBody reads the body that a head announces, and nothing more.
func SkipBody(r *bufio.Reader, head string) error {
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
