package upstream_test

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"portero/internal/assertion"
	"portero/internal/forwarded"
	"portero/internal/identity"
	"portero/internal/route"
	"portero/internal/session"
	"portero/internal/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second // how long a test waits for what must come

// raw is an upstream over a bare socket, which sees every byte.
type raw struct {
	listener net.Listener
	heads    chan string // :: what each request's head was
	closed   chan struct{}
	wg       sync.WaitGroup
}

// listen starts an upstream that calls answer for every head it receives.
// Returning false closes the connection.
func listen(t testing.TB, answer func(c net.Conn, in *bufio.Reader, head string) bool) *raw {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &raw{listener: l, heads: make(chan string, 64), closed: make(chan struct{}, 64)}
	var mu sync.Mutex
	conns := map[net.Conn]bool{}
	u.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			u.wg.Go(func() {
				defer c.Close()
				defer func() { u.closed <- struct{}{} }()
				in := bufio.NewReader(c)
				for {
					head, err := readHead(in)
					if err != nil {
						return
					}
					u.heads <- head
					if !answer(c, in, head) {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for c := range conns {
			c.Close()
		}
		mu.Unlock()
		u.wg.Wait()
	})
	return u
}

func readHead(in *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return b.String(), err
		}
		b.WriteString(line)
		if line == "\r\n" {
			return b.String(), nil
		}
	}
}

// says is an upstream that answers every request with the same bytes, once it
// has read a body with a Content-Length.
func says(t testing.TB, answer string) *raw {
	return listen(t, func(c net.Conn, in *bufio.Reader, head string) bool {
		if n, err := strconv.Atoi(header(head, "Content-Length")); err == nil {
			io.CopyN(io.Discard, in, int64(n))
		}
		_, err := io.WriteString(c, answer)
		return err == nil && !strings.Contains(answer, "Connection: close") && strings.Contains(answer, "\r\n\r\n")
	})
}

const ok = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"

func (u *raw) url() *url.URL { return &url.URL{Scheme: "http", Host: u.listener.Addr().String()} }

func (u *raw) head(t testing.TB) string {
	t.Helper()
	return wait(t, u.heads, "a request at the upstream")
}

func wait[T any](t testing.TB, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// header returns the value of a header in raw bytes, "" if it is not there.
func header(head, name string) string {
	all := headers(head, name)
	if len(all) == 0 {
		return ""
	}
	return all[0]
}

func headers(head, name string) (values []string) {
	for line := range strings.SplitSeq(head, "\r\n") {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(k, name) {
			values = append(values, strings.TrimSpace(v))
		}
	}
	return values
}

// gateway is a server around one Proxy, with what a test changes.
type gateway struct {
	*httptest.Server
	proxy  *upstream.Proxy
	errors chan *upstream.Error
	served chan struct{}
}

type setup struct {
	upstream.Config
	route  route.Route
	call   func(*upstream.Call)
	before func(http.Header) // what the gateway sets on answers
}

const cookieName = "__Host-portero"

func ownCookie(name string) bool {
	return name == cookieName || strings.HasPrefix(name, cookieName+"-")
}

func start(t testing.TB, s setup) *gateway {
	t.Helper()
	if s.route.Name == "" {
		s.route.Name = "wiki"
	}
	if s.Config.OwnCookie == nil {
		s.Config.OwnCookie = ownCookie
	}
	if s.Config.OriginOf == nil {
		s.Config.OriginOf = func(host string) string { return "https://" + host }
	}
	if s.Config.Log == nil {
		s.Config.Log = slog.New(slog.DiscardHandler)
	}
	s.route.Hosts = []string{"wiki.example.com"}
	s.route.Access = route.Public
	table, err := route.NewTable([]route.Route{s.route})
	if err != nil {
		t.Fatal(err)
	}
	s.Config.Route = table.Routes()[0]
	proxy, err := upstream.New(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	external := &url.URL{Scheme: "https", Host: "wiki.example.com"}
	resolver := forwarded.New(forwarded.Config{ExternalURL: external})
	g := &gateway{proxy: proxy, errors: make(chan *upstream.Error, 64), served: make(chan struct{}, 64)}
	g.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { g.served <- struct{}{} }()
		from, err := resolver.Resolve(r)
		if err != nil {
			http.Error(w, err.Error(), 400)
			return
		}
		target, err := route.ParseTarget(r.Method, r.RequestURI, r.Host)
		if err != nil {
			http.Error(w, err.Error(), 400)
			return
		}
		if s.before != nil {
			s.before(w.Header())
		}
		call := upstream.Call{Target: target, From: from}
		if s.call != nil {
			s.call(&call)
		}
		if err := proxy.Serve(w, r, call); err != nil {
			var e *upstream.Error
			if !errors.As(err, &e) {
				t.Errorf("Serve returned %T, want *Error", err)
				return
			}
			g.errors <- e
			status := map[upstream.Kind]int{upstream.Unreachable: 502, upstream.Slow: 504, upstream.BadRequest: 400, upstream.ForbiddenOrigin: 403, upstream.Cancelled: 503}[e.Kind]
			http.Error(w, e.Kind.String(), status)
		}
	}))
	g.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	g.Start()
	t.Cleanup(func() {
		g.CloseClientConnections()
		g.Close()
		proxy.Close()
	})
	return g
}

// dial opens a connection to the gateway.
func (g *gateway) dial(t testing.TB) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", g.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { c.Close() })
	return c, bufio.NewReader(c)
}

// send writes a request to the gateway and returns head and body of the answer,
// and the error the body ended with.
func (g *gateway) send(t testing.TB, request string) (head, body string, err error) {
	t.Helper()
	c, in := g.dial(t)
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	head, err = readHead(in)
	if err != nil {
		return head, "", err
	}
	res, err := http.ReadResponse(bufio.NewReader(io.MultiReader(strings.NewReader(head), in)), &http.Request{Method: method(request)})
	if err != nil {
		return head, "", err
	}
	b, err := io.ReadAll(res.Body)
	res.Body.Close()
	return head, string(b), err
}

func method(request string) string {
	m, _, _ := strings.Cut(request, " ")
	return m
}

func get(target string, lines ...string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: wiki.example.com\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n"
}

func alice(t testing.TB) (*identity.Identity, *assertion.Set) {
	t.Helper()
	id, err := identity.New(identity.Claims{"sub": "u1", "email": "alice@example.com", "email_verified": true}, identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	set, err := assertion.NewSet([]assertion.Header{
		{Name: "X-Forwarded-User", Claims: []string{"sub"}},
		{Name: "X-Forwarded-Email", Claims: []string{"email"}},
		{Name: "X-Auth-Role", Claims: []string{"role"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &id, set
}

func aliceSession() *session.Session {
	return &session.Session{
		Key: "k1", SID: "s1", Subject: "u1", Names: []string{"session:k1", "subject:u1", "sid:s1"}, CreatedAt: time.Now().Add(-time.Hour),
	}
}

// urls are the upstreams of a test: raw ones, or parsed URLs.
func urls(ups ...interface{ url() *url.URL }) (all []*url.URL) {
	for _, u := range ups {
		all = append(all, u.url())
	}
	return all
}

type parsed struct{ *url.URL }

func (p parsed) url() *url.URL { return p.URL }

func parse(t testing.TB, s string) parsed {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return parsed{u}
}

// app is an upstream made of a handler.
type app struct{ *httptest.Server }

func (a app) url() *url.URL {
	u, _ := url.Parse(a.URL)
	return u
}

func serveHTTP(t testing.TB, h http.Handler) app {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return app{s}
}

// fill writes until nobody has taken a byte for a second: everything between is full, and not only slow.
func fill(c net.Conn, data []byte) {
	for {
		c.SetWriteDeadline(time.Now().Add(time.Second))
		if n, err := c.Write(data); err != nil && n == 0 {
			c.SetWriteDeadline(time.Time{})
			return
		}
	}
}
