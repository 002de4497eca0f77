package catalogue_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// headTime is how long a head, a handshake or a form of the gateway's own may take; loaded is how much later than that
// a busy machine may be.
const (
	headTime = 10 * time.Second
	loaded   = 30 * time.Second
)

func slowHeads(t *testing.T, _ *doors) {
	plain, inTLS := newFront(t, gatewaytest.Options{}), newFront(t, gatewaytest.Options{TLS: true})
	others := []way{{front: plain, cookie: plain.alice}, {front: inTLS, cookie: inTLS.alice}, {front: inTLS, h2: true, cookie: inTLS.alice}}
	var usual []time.Duration
	for _, w := range others {
		usual = append(usual, w.median(t, 15, request{}))
	}
	before := []holding{plain.holds(t), inTLS.holds(t)}
	all := []*stalled{{name: "a head, plain"}, {name: "a head in TLS"}, {name: "a second head"}}
	for n, s := range all {
		f, many := plain, 1000
		if n == 1 {
			f, many = inTLS, 300
		} else if n == 2 {
			many = 100
		}
		s.t = t
		for range many {
			began := time.Now()
			c := f.Dial(t)
			if n == 2 { // the second request of a connection has no more time than the first
				c.Send("GET /_portero/healthz HTTP/1.1\r\nHost: gw.test\r\n\r\n")
				if a := c.Answer("GET"); a.Status != http.StatusOK {
					t.Fatalf("a first request: got %s, want 200", a)
				}
			}
			c.Send("GET /public/slow HTTP/1.1\r\nHost: gw.test\r\nX-Slow: ")
			s.add(c, began)
		}
		s.watch()
		go s.drip(time.Second)
	}
	for n, w := range others {
		took, most := w.median(t, 15, request{}), 2*usual[n]+500*time.Millisecond
		for again := 0; again < 2 && took > most; again++ { // the machine may have been busy
			took = w.median(t, 15, request{})
		}
		if took > most {
			t.Errorf("others take %s, and %s without the slow ones; want twice that at most", took, usual[n])
		}
	}
	plain.Upstream.Forget()
	inTLS.Upstream.Forget()
	t.Parallel() // with others who wait
	for _, s := range all {
		s.endBetween(headTime-time.Second, headTime+loaded)
	}
	plain.nothingReached(t)
	inTLS.nothingReached(t)
	plain.emptied(t, before[0])
	inTLS.emptied(t, before[1])
}

func halves(t *testing.T, _ *doors) {
	f := newFront(t, gatewaytest.Options{TLS: true})
	w := way{front: f, cookie: f.alice}
	w.median(t, 15, request{})
	before := f.holds(t)
	dial := func() net.Conn {
		c, err := net.Dial("tcp", f.Addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	const preface, settings = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	hello := string(clientHello{Suites: []uint16{0x1301, 0xc02b}, ServerName: "gw.test"}.bytes())
	const each = 50
	var all, pinged []*stalled
	for name, send := range map[string]string{
		"no handshake": "", "a byte of a record": "\x16", "half a record's head": "\x16\x03\x01", "half a hello": hello[:len(hello)/2], "all but a byte of a hello": hello[:len(hello)-1],
		"a hello and nothing behind": hello,
	} {
		s := &stalled{t: t, name: name}
		for range each {
			began, c := time.Now(), dial()
			io.WriteString(c, send)
			s.add(c, began)
		}
		s.watch()
		all = append(all, s)
	}
	slow := &stalled{t: t, name: "a hello, byte by byte"}
	for range each {
		began, c := time.Now(), dial()
		io.WriteString(c, "\x16\x03\x01\x10\x00\x01\x00\x0f\xfc\x03\x03")
		slow.add(c, began)
	}
	slow.watch()
	go slow.drip(time.Second)
	all = append(all, slow)
	for name, send := range map[string]string{"nothing behind the handshake": "", "half a preface": preface[:12], "a preface without settings": preface} {
		s := &stalled{t: t, name: "HTTP/2, " + name}
		for range each {
			began, c := time.Now(), f.DialAs(t, gatewaytest.Dialing{Protocol: "h2"})
			io.WriteString(c, send)
			s.add(c, began)
		}
		s.watch()
		all = append(all, s)
	}
	for name, send := range map[string]string{
		"half the head of a frame": settings[:4], "a frame without its end": "\x00\x40\x00\x01\x05\x00\x00\x00\x01abc", "a head that goes on": "\x00\x00\x01\x01\x01\x00\x00\x00\x01\x82",
	} {
		s := &stalled{t: t, name: "HTTP/2, " + name}
		for range each {
			began, c := time.Now(), f.DialAs(t, gatewaytest.Dialing{Protocol: "h2"})
			io.WriteString(c, preface+settings+send)
			s.add(c, began)
		}
		s.watch()
		pinged = append(pinged, s)
	}
	if took := w.median(t, 15, request{}); took > 5*time.Second {
		t.Errorf("others take %s", took)
	}
	f.Upstream.Forget()
	t.Parallel()
	for _, s := range all {
		early := headTime - time.Second
		if strings.HasPrefix(s.name, "HTTP/2, a preface") {
			early = time.Second // settings have two seconds
		}
		s.greets()
		s.endBetween(early, headTime+loaded)
	}
	for _, s := range pinged { // silence is pinged after 30 s, and a ping has 15 s
		s.greets()
		s.endBetween(time.Second, 45*time.Second+loaded)
	}
	f.nothingReached(t)
	f.emptied(t, before)
}

// greets forgives what a server of HTTP/2 says by itself.
func (s *stalled) greets() {
	s.wait.Wait()
	for n, text := range s.said {
		if len(text) > 9 && (text[3] == 4 || text[3] == 7) { // SETTINGS, GOAWAY
			s.said[n] = ""
		}
	}
}

// idling is a pair of doors whose routes give up after a second in which nothing moves.
func idling(t *testing.T, upstream string) *doors {
	list := strings.ReplaceAll(strict, "paths: strict", "paths: strict, timeouts: {idle: 1s}")
	if upstream != "" {
		list = strings.ReplaceAll(list, "UPSTREAM", strconv.Quote("http://"+upstream))
	}
	d := &doors{t: t}
	d.tls, d.plain = unsigned(t, gatewaytest.Options{TLS: true, Routes: list}), unsigned(t, gatewaytest.Options{Routes: list})
	if upstream == "" {
		d.tls.alice, d.plain.alice = d.tls.signIn(t, alice), d.plain.signIn(t, alice)
	}
	return d
}

func slowBodies(t *testing.T, _ *doors) {
	var ways []way // each with an application of its own
	for _, d := range []*doors{idling(t, ""), idling(t, "")} {
		ways = append(ways, way{front: d.tls, h2: len(ways) > 0}, way{front: d.plain})
	}
	ways = ways[:3]
	// Forms of ours.
	began := time.Now()
	var forms []*upload
	for _, w := range ways {
		for _, target := range []string{"/sign-out", "/_portero/sessions/end"} {
			u := w.upload(t, "POST", target, 100, "Content-Type", "application/x-www-form-urlencoded")
			io.WriteString(u, "return_to=")
			forms = append(forms, u)
		}
	}
	t.Parallel()
	t.Cleanup(func() {
		for n, u := range forms {
			a := u.answered(t)
			if took := time.Since(began); a.Status != http.StatusRequestEntityTooLarge || took < headTime-time.Second {
				t.Errorf("half a form, %d: got %s after %s, want 413 after %s", n, a, took, headTime)
			}
			u.leave()
		}
	})
	for _, w := range ways {
		t.Run(map[bool]string{true: "HTTP 2", false: map[bool]string{true: "HTTP 1.1 in TLS", false: "plain HTTP 1.1"}[w.TLS]}[w.h2], func(t *testing.T) {
			t.Parallel()
			w.cookie = w.alice
			// Slow, and never idle: twice as long as the limit.
			for _, length := range []int64{10, -1} {
				u := w.upload(t, "POST", "/app/slow", length)
				tick := time.NewTicker(200 * time.Millisecond)
				for range 10 {
					<-tick.C
					io.WriteString(u, "x")
				}
				tick.Stop()
				u.end()
				if a := u.answered(t); a.Status != http.StatusOK {
					t.Errorf("a slow upload: got %s, want 200", a)
				}
				w.Upstream.Forget()
			}
			for name, method := range map[string]string{"a body that stops": "POST", "a GET that announces a body": "GET"} {
				open, began := w.Upstream.Open(), time.Now()
				u := w.upload(t, method, "/app/stops", 1_000_000)
				if method == "POST" {
					io.WriteString(u, strings.Repeat("x", 100))
				}
				gatewaytest.Await(t, "the request is at the application", func() bool { return strings.Contains(w.Upstream.Bytes(), "/app/stops") })
				a := u.answered(t)
				if took := time.Since(began); a.Status != http.StatusBadRequest || took < 900*time.Millisecond || took > loaded {
					t.Errorf("%s: got %s after %s, want 400 after a second", name, a, took)
				}
				gatewaytest.Await(t, "the application is let go", func() bool { return w.Upstream.Open() <= open })
				if strings.Contains(a.Body, "the application") || w.Upstream.Requests() != nil {
					t.Errorf("%s: the application has answered %q", name, w.Upstream.Requests())
				}
				w.Upstream.Forget()
				u.leave()
			}
			if a := w.ask(t, request{}); a.Status != http.StatusOK {
				t.Errorf("afterwards: got %s, want 200", a)
			}

			// Strangers.
			w.cookie = ""
			w.Upstream.Forget()
			for _, length := range []int64{1_000_000, -1} {
				u := w.upload(t, "POST", "/app/slow", length)
				io.WriteString(u, "x")
				a := u.answered(t)
				if a.Status != http.StatusUnauthorized || !w.h2 && !a.Close {
					t.Errorf("a stranger's upload: got %s, closing %t, want 401 and the end of the connection", a, a.Close)
				}
				w.denied(t, a)
				u.leave()
			}
			began := time.Now()
			u := w.upload(t, "POST", gatewaytest.LogoutPath, 100, "Content-Type", "application/x-www-form-urlencoded")
			io.WriteString(u, "logout_token=")
			if a := u.answered(t); a.Status != http.StatusBadRequest || time.Since(began) > loaded {
				t.Errorf("half a logout token: got %s after %s, want 400 within a second", a, time.Since(began))
			}
			u.leave()
		})
	}
}

func slowReaders(t *testing.T, _ *doors) {
	const steady, block = 2 << 20, 64 << 10
	var sent atomic.Int64
	up := newPeer(t, func(c net.Conn, r *bufio.Reader) {
		for {
			head, err := readHead(r)
			if err != nil {
				return
			}
			if strings.Contains(head, "/public/steady") {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: "+strconv.Itoa(steady)+"\r\n\r\n")
				c.Write(make([]byte, steady))
				return
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
			for zeros := make([]byte, block); ; {
				n, err := c.Write(zeros)
				sent.Add(int64(n))
				if err != nil {
					return
				}
			}
		}
	})
	d := idling(t, up.addr)
	t.Parallel()
	d.stranger(t, func(t *testing.T, w way) {
		const readers = 20
		sent.Store(0)
		open := func(target string) io.ReadCloser {
			if w.h2 {
				resp, err := w.http2Client(t).Get(w.URL + target)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { resp.Body.Close() })
				return resp.Body
			}
			c := w.Dial(t)
			c.Send(request{Target: target}.text(w.host))
			c.SetDeadline(time.Now().Add(2 * time.Minute))
			return c
		}
		grew := w.peak(t, func() {
			for range readers {
				body := open("/public/endless")
				body.Read(make([]byte, 1))
			}
			gatewaytest.Await(t, "all of them have begun", func() bool { return up.opens.Load() >= readers })
			gatewaytest.Await(t, "the application is let go", func() bool { return up.open.Load() == 0 })
		})
		flat(t, "for twenty who do not read", grew, 64)
		if got, most := sent.Load()/readers, int64(16<<20); got > most {
			t.Errorf("the application has sent %d bytes to each who does not read, want %d at most", got, most)
		}
		body := open("/public/steady")
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		got := 0
		for got < steady { // three seconds
			<-tick.C
			n, err := io.ReadFull(body, make([]byte, min(block, steady-got)))
			if got += n; err != nil {
				t.Fatalf("a slow reader has got %d bytes of %d: %v", got, steady, err)
			}
		}
		body.Close()
	})
}

func idleConnections(t *testing.T, _ *doors) {
	f := newFront(t, gatewaytest.Options{})
	w := way{front: f, cookie: f.alice}
	w.median(t, 10, request{})
	before := f.holds(t)
	const many = 2000
	var conns []*gatewaytest.Conn
	grew := f.peak(t, func() {
		for range many {
			c := f.Dial(t)
			c.Send("GET /_portero/healthz HTTP/1.1\r\nHost: gw.test\r\n\r\n")
			conns = append(conns, c)
		}
		for _, c := range conns {
			c.SetDeadline(time.Now().Add(time.Minute))
			if a := c.Answer("GET"); a.Status != http.StatusOK || a.Close {
				t.Fatalf("got %s, closing %t, want 200 and an open connection", a, a.Close)
			}
		}
	})
	flat(t, "with 2,000 idle connections", grew, 256)
	if got := f.holds(t).files - before.files; got < many-10 { // what was open before may have gone since
		t.Errorf("open files: got %d more, want one for each connection", got)
	}
	if a := f.Admin(t, http.MethodGet, "/readyz"); a.StatusCode != http.StatusOK {
		t.Errorf("readiness: got %s, want 200", a.Status)
	}
	w.median(t, 10, request{})
	for _, c := range conns {
		c.Close()
	}
	f.emptied(t, before)

	// As many files as there are.
	pid := f.Process.PID()
	limit := f.holds(t).files + 100
	if out, err := exec.Command(gatewaytest.Need(t, "prlimit"), fmt.Sprintf("--pid=%d", pid), fmt.Sprintf("--nofile=%d:%d", limit, limit)).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	conns = nil
	for range 300 {
		conns = append(conns, f.Dial(t)) // the system takes them, the program cannot
	}
	gatewaytest.Await(t, "the program says that it has no files left", func() bool { return strings.Contains(f.Log.String(), "too many open files") })
	for _, c := range conns {
		c.Close()
	}
	began := time.Now()
	w.median(t, 10, request{})
	if took := time.Since(began); took > loaded {
		t.Errorf("it took %s until there were requests again", took)
	}
	if a := f.Admin(t, http.MethodGet, "/readyz"); a.StatusCode != http.StatusOK {
		t.Errorf("readiness: got %s, want 200", a.Status)
	}
	if got := strings.Count(f.Log.String(), "too many open files"); got > 200 {
		t.Errorf("the log says it %d times", got)
	}
}
