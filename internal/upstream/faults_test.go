package upstream_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/live"
	"portero/internal/telemetry"
	"portero/internal/upstream"
)

// nobody is an address that refuses connections.
func nobody(t testing.TB) parsed {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return parse(t, "http://"+l.Addr().String())
}

// UP-01, UP-02, UP-05
func TestUpstreamsThatDoNotAnswer(t *testing.T) {
	t.Parallel()
	hangs := listen(t, func(c net.Conn, _ *bufio.Reader, _ string) bool { io.Copy(io.Discard, c); return false })
	resets := listen(t, func(c net.Conn, _ *bufio.Reader, _ string) bool { c.(*net.TCPConn).SetLinger(0); return false })
	plain := serveHTTP(t, http.NotFoundHandler())
	plain.Config.ErrorLog = log.New(io.Discard, "", 0)
	tests := map[string]struct {
		url    *url.URL
		kind   upstream.Kind
		token  string
		limit  time.Duration
		status string
	}{
		"refused":             {nobody(t).URL, upstream.Unreachable, "connection_refused", 0, "502"},
		"no such name":        {parse(t, "http://no-such-host.invalid").URL, upstream.Unreachable, "dns_error", 0, "502"},
		"reset before a head": {resets.url(), upstream.Unreachable, "connection_terminated", 0, "502"},
		"no answer in time":   {hangs.url(), upstream.Slow, "http_response_timeout", 50 * time.Millisecond, "504"},
		"no TLS":              {&url.URL{Scheme: "https", Host: plain.url().Host}, upstream.Unreachable, "tls_protocol_error", 0, "502"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, setup{Config: upstream.Config{URLs: []*url.URL{tt.url}, ResponseHeader: tt.limit}})
			head, _, _ := g.send(t, get("/"))
			e := wait(t, g.errors, "an error")
			if head[9:12] != tt.status || e.Kind != tt.kind || e.ProxyStatus() != tt.token || e.Timeout != tt.limit || e.Route == nil || e.Route.Name != "wiki" {
				t.Errorf("got %.12q, %v (%s), limit %v, want %s %v (%s), %v: %v", head, e.Kind, e.ProxyStatus(), e.Timeout, tt.status, tt.kind, tt.token, tt.limit, e)
			}
		})
	}
}

// What is wrong with an answer is told without quoting it.
func TestErrorsQuoteNothingOfAnAnswer(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"no answer":                  "canary\r\n\r\n",
		"a version":                  "canary/1.1 200 OK\r\n\r\n",
		"a status":                   "HTTP/1.1 canary OK\r\n\r\n",
		"a header without colon":     "HTTP/1.1 200 OK\r\ncanary\r\n\r\n",
		"a transfer encoding":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: canary\r\n\r\n",
		"two transfer encodings":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: canary\r\n\r\n",
		"a length":                   "HTTP/1.1 200 OK\r\nContent-Length: canary\r\n\r\n",
		"two lengths":                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: canary\r\n\r\n",
		"a trailer that may be none": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Length, canary\r\n\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, setup{Config: upstream.Config{URLs: urls(says(t, answer))}})
			head, _, _ := g.send(t, get("/"))
			if e := wait(t, g.errors, "an error"); head[9:12] != "502" || strings.Contains(e.Error(), "canary") || len(e.Cause.Error()) < 10 {
				t.Errorf("got %.12q and %q, want 502 and the kind of error alone", head, e)
			}
		})
	}
}

// What was not sent goes to the next upstream, a body that nobody has read too.
func TestAnUpstreamThatRefusesIsPassedOver(t *testing.T) {
	t.Parallel()
	var bodies atomic.Int64
	up := listen(t, func(c net.Conn, in *bufio.Reader, head string) bool {
		if header(head, "Content-Length") != "" {
			b := make([]byte, 4)
			io.ReadFull(in, b)
			if string(b) == "body" {
				bodies.Add(1)
			}
		}
		_, err := io.WriteString(c, ok)
		return err == nil
	})
	g := start(t, setup{Config: upstream.Config{URLs: urls(nobody(t), up, nobody(t))}})
	for range 6 {
		head, body, err := g.send(t, "POST / HTTP/1.1\r\nHost: wiki.example.com\r\nContent-Length: 4\r\n\r\nbody")
		if err != nil || head[9:12] != "200" || body != "ok" {
			t.Fatalf("got %q %q %v", head, body, err)
		}
	}
	if got := bodies.Load(); got != 6 {
		t.Errorf("%d bodies arrived, want 6", got)
	}
}

func TestUpstreamsTakeTurns(t *testing.T) {
	t.Parallel()
	one, two, three := says(t, ok), says(t, ok), says(t, ok)
	g := start(t, setup{Config: upstream.Config{URLs: urls(one, two, three)}})
	for range 9 {
		g.send(t, get("/"))
	}
	if a, b, c := len(one.heads), len(two.heads), len(three.heads); a != 3 || b != 3 || c != 3 {
		t.Errorf("the upstreams had %d, %d and %d requests, want 3 each", a, b, c)
	}
}

// UP-02: what may have arrived is repeated only if that is harmless, and once.
func TestRequestsThatMayHaveArrived(t *testing.T) {
	t.Parallel()
	resets := func(t *testing.T) *raw {
		return listen(t, func(c net.Conn, _ *bufio.Reader, _ string) bool { c.(*net.TCPConn).SetLinger(0); return false })
	}
	for request, want := range map[string]int{
		get("/"): 2, strings.Replace(get("/"), "GET", "HEAD", 1): 2, strings.Replace(get("/"), "GET", "OPTIONS", 1): 2,
		strings.Replace(get("/"), "GET", "DELETE", 1): 1, "POST / HTTP/1.1\r\nHost: wiki.example.com\r\nContent-Length: 1\r\n\r\nx": 1,
		"POST / HTTP/1.1\r\nHost: wiki.example.com\r\nIdempotency-Key: k\r\nContent-Length: 0\r\n\r\n": 1,
		get("/", "Content-Length: 1") + "x": 1, upgrading(): 1,
	} {
		t.Run(method(request)+fmt.Sprint(len(request)), func(t *testing.T) {
			t.Parallel()
			one, two, three := resets(t), resets(t), resets(t)
			g := start(t, setup{Config: upstream.Config{URLs: urls(one, two, three)}})
			head, _, _ := g.send(t, request)
			if got := len(one.heads) + len(two.heads) + len(three.heads); got != want || !strings.HasPrefix(head, "HTTP/1.1 502") {
				t.Errorf("%.20q arrived %d times, want %d; answer %.20q", request, got, want, head)
			}
		})
	}
}

// UP-03: an answer that breaks off is not made whole.
func TestTruncatedAnswersStayBroken(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"with a length":  "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
		"chunked":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
		"within a chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\nhalf",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := listen(t, func(c net.Conn, _ *bufio.Reader, _ string) bool { io.WriteString(c, answer); return false })
			g := start(t, setup{Config: upstream.Config{URLs: urls(up)}})
			_, body, err := g.send(t, get("/"))
			if err == nil {
				t.Errorf("got a clean end after %q", body)
			}
		})
	}
}

// SM-08: a body that cannot be read breaks the upstream's connection.
func TestMalformedBodies(t *testing.T) {
	t.Parallel()
	up := listen(t, func(c net.Conn, in *bufio.Reader, _ string) bool { io.Copy(io.Discard, in); return false })
	g := start(t, setup{Config: upstream.Config{URLs: urls(up)}})
	for _, chunk := range []string{"0x2\r\nab\r\n0\r\n\r\n", "-2\r\nab\r\n", "11111111111111111\r\nab", "2\r\nabc\r\n"} {
		head, _, _ := g.send(t, "POST / HTTP/1.1\r\nHost: wiki.example.com\r\nTransfer-Encoding: chunked\r\n\r\n"+chunk)
		if !strings.HasPrefix(head, "HTTP/1.1 400") {
			t.Errorf("%q: got %.20q, want 400", chunk, head)
		}
		if e := wait(t, g.errors, "an error"); e.Kind != upstream.BadRequest {
			t.Errorf("%q: got %v, want %v", chunk, e, upstream.BadRequest)
		}
		wait(t, up.closed, "the end of the upstream's connection")
	}
}

// UP-12: a client that leaves takes the upstream's request with it.
func TestClientsThatLeave(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"while the upstream works": get("/"),
		"in the middle of a body":  "POST / HTTP/1.1\r\nHost: wiki.example.com\r\nContent-Length: 100\r\n\r\nhalf",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := listen(t, func(c net.Conn, in *bufio.Reader, _ string) bool { io.Copy(io.Discard, in); return false })
			g := start(t, setup{Config: upstream.Config{URLs: urls(up)}})
			c, _ := g.dial(t)
			io.WriteString(c, request)
			up.head(t)
			began := time.Now()
			c.Close()
			wait(t, up.closed, "the end of the upstream's connection")
			if e := wait(t, g.errors, "an error"); e.Kind != upstream.Cancelled {
				t.Errorf("got %v, want %v", e, upstream.Cancelled)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("it took %v, want under a second", took)
			}
		})
	}
}

func TestTheSessionEndsBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	up := listen(t, func(c net.Conn, in *bufio.Reader, _ string) bool { io.Copy(io.Discard, in); return false })
	registry := live.New()
	g := start(t, setup{Config: upstream.Config{URLs: urls(up), Live: registry}, call: func(c *upstream.Call) { c.Session = aliceSession() }})
	c, in := g.dial(t)
	io.WriteString(c, get("/"))
	up.head(t)
	registry.Close("subject:u1", time.Now())
	head, err := readHead(in)
	e := wait(t, g.errors, "an error")
	if err != nil || head[9:12] != "503" || e.Kind != upstream.Cancelled || !errors.Is(e, upstream.ErrSessionEnded) {
		t.Errorf("got %.20q %v and %v, want a page and that the session has ended", head, err, e)
	}
	wait(t, up.closed, "the end of the upstream's connection")
}

// At a shutdown nothing endless begins any more; an answer that ends by itself does.
func TestNothingEndlessBeginsAtAShutdown(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		request, answer, status string
	}{
		"a WebSocket":        {upgrading(), accepts, "503"},
		"a stream":           {get("/"), "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", "503"},
		"an ordinary answer": {get("/"), ok, "200"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			release := make(chan struct{})
			up := listen(t, func(c net.Conn, in *bufio.Reader, _ string) bool {
				<-release
				io.WriteString(c, tt.answer)
				return tt.answer == ok
			})
			registry := live.New()
			g := start(t, setup{Config: upstream.Config{URLs: urls(up), Live: registry}})
			c, in := g.dial(t)
			io.WriteString(c, tt.request)
			up.head(t)
			registry.CloseEndless()
			close(release)
			if head, err := readHead(in); err != nil || head[9:12] != tt.status {
				t.Errorf("got %.40q %v, want %s", head, err, tt.status)
			}
			wait(t, g.served, "the end of the request")
			registry.CloseAll()
			wait(t, registry.Drained(), "the registry's end")
		})
	}
}

// A sign-out between the look-up of the session and here counts.
func TestTheSessionEndsBeforeTheRequestIsKnown(t *testing.T) {
	t.Parallel()
	up := says(t, ok)
	registry := live.New()
	g := start(t, setup{Config: upstream.Config{URLs: urls(up), Live: registry}, call: func(c *upstream.Call) {
		c.Session, c.Since = aliceSession(), registry.Mark()
		registry.Close("session:k1", time.Now())
	}})
	head, _, _ := g.send(t, get("/"))
	if e := wait(t, g.errors, "an error"); head[9:12] != "503" || !errors.Is(e, upstream.ErrSessionEnded) {
		t.Errorf("got %.20q and %v, want that the session has ended", head, e)
	}
	if len(up.heads) != 0 {
		t.Error("the upstream was reached")
	}
}

// A connection whose request ended at the last moment serves the next one.
func TestKeptConnectionsOutliveAnEndedSession(t *testing.T) {
	t.Parallel()
	up := says(t, ok)
	registry := live.New()
	var n atomic.Int64
	g := start(t, setup{Config: upstream.Config{URLs: urls(up), Live: registry}, call: func(c *upstream.Call) {
		c.Session = aliceSession()
		n.Add(1)
	}})
	c, in := g.dial(t)
	for i := range 50 {
		io.WriteString(c, get("/"))
		if i%5 == 4 {
			go registry.Close("session:k1", time.Now())
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			c.Close()
			c, in = g.dial(t) // broken off within the answer, which is right too
			continue
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
}

// SM-12: an upstream that answers in the middle of a body is heard, even when the
// client waits for it, and nothing of the body is taken for a request.
func TestEarlyAnswers(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"with a length":    "Connection: close\r\nContent-Length: 2\r\n\r\nno",
		"chunked":          "Transfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
		"kept alive":       "Content-Length: 2\r\n\r\nno",
		"an upstream gone": "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := listen(t, func(c net.Conn, in *bufio.Reader, _ string) bool {
				io.WriteString(c, "HTTP/1.1 413 Too Large\r\n"+answer)
				io.Copy(io.Discard, in)
				return false
			})
			want, target := "413", urls(up)
			if answer == "" {
				want, target = "502", urls(nobody(t))
			}
			g := start(t, setup{Config: upstream.Config{URLs: target}})
			c, in := g.dial(t)
			io.WriteString(c, "POST / HTTP/1.1\r\nHost: wiki.example.com\r\nContent-Length: 100\r\n\r\nhalf")
			head, err := readHead(in)
			if err != nil || head[9:12] != want {
				t.Fatalf("got %.20q %v, want %s", head, err, want)
			}
			io.WriteString(c, get("/smuggled"))
			if rest, _ := io.ReadAll(in); bytes.Contains(rest, []byte("HTTP/1.1")) {
				t.Errorf("got %q behind the head, want the body alone", rest)
			}
			if n := len(up.heads); n > 1 {
				t.Errorf("the upstream had %d requests, want 1", n)
			}
		})
	}
}

// Both directions may flow at once.
func TestBothDirectionsAtOnce(t *testing.T) {
	t.Parallel()
	up := listen(t, func(c net.Conn, in *bufio.Reader, _ string) bool {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		b := make([]byte, 4)
		for range 3 {
			io.ReadFull(in, b)
			fmt.Fprintf(c, "4\r\n%s\r\n", b)
		}
		io.WriteString(c, "0\r\n\r\n")
		return false
	})
	g := start(t, setup{Config: upstream.Config{URLs: urls(up)}})
	c, in := g.dial(t)
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: wiki.example.com\r\nContent-Length: 12\r\n\r\n")
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for _, word := range []string{"ping", "pong", "stop"} {
		io.WriteString(c, word)
		b := make([]byte, 4)
		if _, err := io.ReadFull(res.Body, b); err != nil || string(b) != word {
			t.Fatalf("got %q %v, want %q", b, err, word)
		}
	}
	if rest, err := io.ReadAll(res.Body); len(rest) != 0 || err != nil {
		t.Errorf("got %q %v behind", rest, err)
	}
}

// UP-07, SM-12: an early refusal leaves nothing behind.
func TestExpectContinue(t *testing.T) {
	t.Parallel()
	const head = "POST / HTTP/1.1\r\nHost: wiki.example.com\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
	t.Run("wanted", func(t *testing.T) {
		t.Parallel()
		got := make(chan string, 1)
		up := listen(t, func(c net.Conn, in *bufio.Reader, head string) bool {
			if header(head, "Expect") != "100-continue" {
				t.Errorf("the upstream was not asked: %q", head)
			}
			io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
			b := make([]byte, 4)
			io.ReadFull(in, b)
			got <- string(b)
			io.WriteString(c, ok)
			return true
		})
		g := start(t, setup{Config: upstream.Config{URLs: urls(up)}})
		c, in := g.dial(t)
		io.WriteString(c, head)
		if h, err := readHead(in); err != nil || h != "HTTP/1.1 100 Continue\r\n\r\n" {
			t.Fatalf("got %q %v, want one 100", h, err)
		}
		io.WriteString(c, "body")
		if h, err := readHead(in); err != nil || h[9:12] != "200" {
			t.Errorf("got %q %v, want 200", h, err)
		}
		if b := wait(t, got, "the body"); b != "body" {
			t.Errorf("got body %q", b)
		}
	})
	t.Run("wanted by many at once", func(t *testing.T) { // net/http may read the body before it says that it was asked for
		t.Parallel()
		up := listen(t, func(c net.Conn, in *bufio.Reader, _ string) bool {
			io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
			if _, err := io.CopyN(io.Discard, in, 4); err != nil {
				return false
			}
			_, err := io.WriteString(c, ok)
			return err == nil
		})
		g := start(t, setup{Config: upstream.Config{URLs: urls(up)}})
		over := make(chan struct{})
		t.Cleanup(func() { close(over) })
		go func() { // nobody else listens, and there are many
			for {
				select {
				case <-up.heads:
				case <-g.served:
				case <-over:
					return
				}
			}
		}()
		var all sync.WaitGroup
		for range 16 {
			c, in := g.dial(t)
			all.Go(func() {
				for range 100 {
					io.WriteString(c, head)
					if h, err := readHead(in); err != nil || h != "HTTP/1.1 100 Continue\r\n\r\n" {
						t.Errorf("got %q %v, want one 100", h, err)
						return
					}
					io.WriteString(c, "body")
					if h, err := readHead(in); err != nil || h[9:12] != "200" {
						t.Errorf("got %q %v, want 200", h, err)
						return
					}
					io.CopyN(io.Discard, in, 2)
				}
			})
		}
		all.Wait()
	})
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		up := listen(t, func(c net.Conn, in *bufio.Reader, head string) bool {
			if strings.HasPrefix(head, "POST") {
				io.WriteString(c, "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
			} else {
				io.WriteString(c, ok)
			}
			return true
		})
		g := start(t, setup{Config: upstream.Config{URLs: urls(up)}})
		if h, _, _ := g.send(t, head); h[9:12] != "417" {
			t.Errorf("got %q, want 417", h)
		}
		if h, body, err := g.send(t, get("/next")); err != nil || h[9:12] != "200" || body != "ok" {
			t.Errorf("the next request got %q %q %v", h, body, err)
		}
	})
}

// WS-09: an event is there when it has been sent.
func TestEventsArriveAtOnce(t *testing.T) {
	t.Parallel()
	for name, framing := range map[string]string{"with unknown length": "Transfer-Encoding: chunked\r\nContent-Type: text/plain", "event stream": "Content-Type: text/event-stream; charset=utf-8\r\nContent-Length: 27"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			next := make(chan struct{})
			up := listen(t, func(c net.Conn, in *bufio.Reader, _ string) bool {
				io.WriteString(c, "HTTP/1.1 200 OK\r\n"+framing+"\r\n\r\n")
				for range 3 {
					<-next
					if strings.Contains(framing, "chunked") {
						io.WriteString(c, "9\r\n")
					}
					io.WriteString(c, "data: 1\n\n")
					if strings.Contains(framing, "chunked") {
						io.WriteString(c, "\r\n")
					}
				}
				<-next
				return false
			})
			g := start(t, setup{Config: upstream.Config{URLs: urls(up)}})
			c, in := g.dial(t)
			io.WriteString(c, get("/"))
			res, err := http.ReadResponse(in, nil) // the head comes before any event
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			for range 3 {
				next <- struct{}{}
				b := make([]byte, 9)
				if _, err := io.ReadFull(res.Body, b); err != nil || string(b) != "data: 1\n\n" {
					t.Fatalf("got %q %v", b, err)
				}
			}
			close(next)
		})
	}
}

// DS-07: bodies are not kept.
func TestLargeBodiesUseNoMemory(t *testing.T) {
	const size = 256 << 20
	up := serveHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Length", fmt.Sprint(n))
		io.CopyN(w, zeros{}, n)
	}))
	g := start(t, setup{Config: upstream.Config{URLs: urls(up)}})
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequest("POST", g.URL, io.LimitReader(zeros{}, size))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "wiki.example.com"
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	res, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, res.Body)
	res.Body.Close()
	runtime.ReadMemStats(&after)
	if n != size || err != nil {
		t.Errorf("got %d bytes back, %v", n, err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20 {
		t.Errorf("%d MiB were allocated for %d MiB both ways", used>>20, size>>20)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestTheUpstreamIsTold(t *testing.T) {
	t.Parallel()
	up := says(t, ok)
	g := start(t, setup{Config: upstream.Config{URLs: urls(nobody(t), up)}})
	x := &telemetry.Exchange{}
	handler := g.Config.Handler
	g.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(telemetry.NewContext(r.Context(), x)))
	})
	g.send(t, get("/"))
	wait(t, g.served, "the end of the request")
	if want := up.listener.Addr().String(); x.Upstream != want {
		t.Errorf("got upstream %q, want %q", x.Upstream, want)
	}
}
