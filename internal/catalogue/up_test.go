package catalogue_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

var upstreamFaults = family{ID: "UP", Title: "An application that fails or lies", Attacks: []attack{
	{ID: "UP-01", Name: "no application", Want: "refused, unknown, a black hole or no TLS: 502 or 504 within the bound, a page that tells nothing of where it is, and the session as before", Test: noApplication},
	{ID: "UP-02", Name: "broken before an answer", Want: "502; what may have arrived is sent again only if that is harmless, and once", Why: "net/http repeats by itself, and takes Idempotency-Key for leave", Test: brokenBefore},
	{ID: "UP-03", Name: "broken within an answer", Want: "the client's answer is broken off too, over HTTP/1.1 and HTTP/2", Why: "half a download that passes for the whole", Test: brokenWithin},
	{ID: "UP-04", Name: "what breaks off inside", Want: "no other request on the same connection is touched, and the log has no crash", Why: "CVE-2021-36221", Test: othersLive},
	{ID: "UP-05", Name: "slow answers", Want: "504 after timeouts.response_header; an answer that has begun takes its time", Test: slowAnswers},
	{ID: "UP-06", Name: "informational answers", Want: "early hints pass without the gateway's cookies, and its headers come with the answer; 100 is nothing, floods are bounded", Why: "net/http/httputil clears headers after each; scs writes its cookie on the first", Test: informational},
	{ID: "UP-07", Name: "Expect: 100-continue refused", Want: "the refusal arrives, no body is sent, and the connections serve the next request", Why: "CVE-2024-24791", Test: expectations},
	{ID: "UP-08", Name: "odd answers", Want: "what is no answer is 502, and nothing of it is shown; what follows an answer belongs to nobody", Test: noAnswers},
	{ID: "UP-09", Name: "identities of connections", Want: "NTLM and Negotiate pass in neither direction, so no connection belongs to anybody", Why: "CVE-2026-88007 Traefik", Test: connectionIdentities},
	{ID: "UP-10", Name: "redirects to inside", Want: "the application's own origin becomes the one that was typed; everything else passes as it is", Test: redirectsInside},
	{ID: "UP-11", Name: "cookies of the application", Want: "they pass as they are, but for those that would set one of the gateway's", Test: applicationCookies},
	{ID: "UP-12", Name: "clients that leave", Want: "the application's request ends with the client's, over both protocols, and nothing is left", Test: leavingClients},
}}

// nobodyAt is an address at which nobody listens.
func nobodyAt(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// blackHole is an address that answers nobody who wants to connect: its queue is full.
func blackHole(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for range 8 {
		c, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { c.Close() })
	}
	gatewaytest.Lacks(t, "this system accepts for those who do not")
	return ""
}

// silent takes what comes and says nothing.
func silent(t *testing.T) *peer {
	return newPeer(t, func(_ net.Conn, r *bufio.Reader) { io.Copy(io.Discard, r) })
}

// behind are doors whose routes lead to other addresses, route by route, as [name, access and more, address, …].
func behind(t *testing.T, routes ...string) *doors {
	t.Helper()
	list := strict
	for i := 0; i+2 < len(routes); i += 3 {
		scheme := "http://"
		if strings.HasPrefix(routes[i+2], "https://") {
			scheme = ""
		}
		list += fmt.Sprintf("  - {name: %[1]s, title: Payroll, path: /%[1]s, %[2]s upstreams: [{url: \"%[3]s\"}]}\n", routes[i], routes[i+1], scheme+routes[i+2])
	}
	return &doors{t: t, tls: newFront(t, gatewaytest.Options{TLS: true, Routes: list}), plain: newFront(t, gatewaytest.Options{Routes: list})}
}

func noApplication(t *testing.T, _ *doors) {
	plain := newPeer(t, func(c net.Conn, r *bufio.Reader) {
		r.ReadByte()
		io.WriteString(c, "HTTP/1.1 400 canary-of-the-application\r\n\r\n")
	})
	authority := gatewaytest.NewAuthority(t)
	stranger := tlsUpstream(t, authority.Certificate(t, nil), nil)
	const short = "timeouts: {connect: 1s, response_header: 1s},"
	at := map[string]string{"refused": nobodyAt(t), "unknown": "no-such-name.invalid:8080", "hole": blackHole(t), "mute": silent(t).addr, "notls": "https://" + plain.addr, "untrusted": "https://" + stranger.addr, "tlsmute": "https://" + silent(t).addr}
	var routes []string
	for name, addr := range at {
		routes = append(routes, name, short, addr, "open"+name, "access: public, "+short, addr)
	}
	d := behind(t, routes...)
	cases := map[string]struct {
		status int
		token  string
		words  string
	}{
		"refused": {502, "connection_refused", "Payroll is not answering"}, "unknown": {502, "dns_error", "Payroll is not answering"}, "hole": {504, "connection_timeout", "Payroll is taking too long"},
		"mute": {504, "http_response_timeout", "Payroll is taking too long"}, "notls": {502, "tls_protocol_error", "Payroll is not answering"}, "untrusted": {502, "tls_protocol_error", "Payroll is not answering"},
		"tlsmute": {504, "http_response_timeout", "Payroll is taking too long"},
	}
	d.each(t, func(t *testing.T, w way) {
		var all sync.WaitGroup
		var codes sync.Map
		for name, c := range cases {
			for _, method := range []string{"GET", "POST"} {
				all.Go(func() {
					q := request{Method: method, Target: "/" + name + "/x", Lines: navigation}
					if w.cookie == "" {
						q.Target = "/open" + name + "/x"
					}
					if method == "POST" {
						q.Lines, q.Body = with(navigation, "Origin", w.URL, "Content-Type", "application/x-www-form-urlencoded"), "a=b"
						q.Lines[3][1] = "same-origin"
					}
					began := time.Now()
					a := w.ask(t, q)
					if took := time.Since(began); took > 13*time.Second {
						t.Errorf("%s %s: it took %s", method, name, took)
					}
					if a.Status != c.status || a.Header.Get("Proxy-Status") != "portero; error="+c.token {
						t.Errorf("%s %s: got %s, Proxy-Status %q, want %d, %s", method, name, a, a.Header.Get("Proxy-Status"), c.status, c.token)
					}
					for words, want := range map[string]bool{c.words: true, "You are still signed in": w.cookie != "" && c.status == 502, "may not have arrived": method == "POST", "Try again": method == "GET"} {
						if got := strings.Contains(a.Body, words); got != want && (words != "You are still signed in" || c.status == 502) {
							t.Errorf("%s %s: the page says %q: %t, want %t", method, name, words, got, want)
						}
					}
					whole := a.Body
					for _, values := range a.Header {
						whole += strings.Join(values, "\n")
					}
					for _, secret := range []string{strings.TrimPrefix(at[name], "https://"), "no-such-name", "dial tcp", "x509", "tls:", "lookup", "canary-of"} {
						if strings.Contains(whole, secret) {
							t.Errorf("%s %s: the answer says %q", method, name, secret)
						}
					}
					code := a.Header.Get("Portero-Code")
					if code == "" || !strings.Contains(a.Body, code) {
						t.Errorf("%s %s: the support code %q is not on the page", method, name, code)
					}
					codes.Store(code, true)
					if got := a.Header["Set-Cookie"]; len(got) != 0 {
						t.Errorf("%s %s: the session is touched: %q", method, name, got)
					}
				})
			}
		}
		all.Wait()
		codes.Range(func(code, _ any) bool {
			gatewaytest.Await(t, "the support code is in the log", func() bool {
				return strings.Contains(w.Log.String(), `"support_code":"`+code.(string)+`"`)
			})
			return true
		})
		w.nothingReached(t)
		target := map[bool]string{true: "/app", false: "/public/x"}[w.cookie != ""]
		if a := w.ask(t, request{Target: target}); a.Status != http.StatusOK {
			t.Errorf("afterwards: got %s, want 200", a)
		}
		w.Upstream.Forget()
	})
	if got := plain.opens.Load(); got == 0 {
		t.Error("nobody asked the application without TLS")
	}
}

func brokenBefore(t *testing.T, d *doors) {
	breakers := map[string]func(c net.Conn){
		"reset": func(c net.Conn) { c.(*net.TCPConn).SetLinger(0) }, "closed": func(net.Conn) {}, "half a head": func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Ty") },
	}
	var mode atomic.Value // string
	var keep atomic.Int64 // how many requests of a connection are answered first
	var hits atomic.Int64
	serve := func(c net.Conn, r *bufio.Reader) {
		for n := int64(0); ; n++ {
			head, err := readHead(r)
			if err != nil {
				return
			}
			if l := gatewaytest.Header(head, "Content-Length"); len(l) == 1 {
				size, _ := strconv.Atoi(l[0])
				r.Discard(size)
			} else if len(gatewaytest.Header(head, "Transfer-Encoding")) == 1 {
				io.Copy(io.Discard, httpChunks(r))
			}
			if n < keep.Load() {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				continue
			}
			hits.Add(1)
			breakers[mode.Load().(string)](c)
			return
		}
	}
	one, two, three := newPeer(t, serve), newPeer(t, serve), newPeer(t, serve)
	own := behind(t, "one", "", one.addr, "two", "", two.addr+`"}, {url: "http://`+three.addr)
	own.signedIn(t, func(t *testing.T, w way) {
		for name := range breakers {
			mode.Store(name)
			for _, c := range []struct {
				method, path, body string
				fresh, kept        int64 // how often it arrives on a new connection, and on one that served before
			}{
				{"GET", "/one", "", 1, 2}, {"HEAD", "/one", "", 1, 2}, {"OPTIONS", "/one", "", 1, 2}, {"GET", "/one", "body", 1, 1}, {"POST", "/one", "", 1, 1}, {"POST", "/one", "a=b", 1, 1},
				{"PUT", "/one", "x", 1, 1}, {"DELETE", "/one", "", 1, 1}, {"PATCH", "/one", "x", 1, 1}, {"PROPFIND", "/one", "", 1, 1},
				{"GET", "/two", "", 2, 4}, {"POST", "/two", "", 1, 1}, {"POST", "/two", "a=b", 1, 1}, {"DELETE", "/two", "", 1, 1}, {"PUT", "/two", "x", 1, 1},
			} {
				for _, kept := range []bool{false, true} {
					most := c.fresh
					keep.Store(0)
					lines := fieldsOf("Origin", w.URL, "Sec-Fetch-Site", "same-origin", "Idempotency-Key", "1", "X-Idempotency-Key", "1")
					if kept {
						most = c.kept
						keep.Store(1)
						for range map[string]int{"/one": 1, "/two": 2}[c.path] {
							if a := w.ask(t, request{Target: c.path}); a.Status != http.StatusOK {
								t.Fatalf("a first request: got %s, want 200", a)
							}
						}
					}
					hits.Store(0)
					a := w.ask(t, request{Method: c.method, Target: c.path, Body: c.body, Lines: lines})
					if a.Status != http.StatusBadGateway && !kept {
						t.Errorf("%s %s with %q, %s: got %s, want 502", c.method, c.path, c.body, name, a)
					}
					if got := hits.Load(); got > most || got == 0 && a.Status == http.StatusBadGateway {
						t.Errorf("%s %s with %q, %s, on a kept connection %t: it arrived %d times, want %d at most", c.method, c.path, c.body, name, kept, got, most)
					}
					if kept && a.Status != http.StatusBadGateway && most == 1 { // else a new connection has served it
						t.Errorf("%s %s with %q, %s, on a kept connection: got %s, want 502: it has been sent again", c.method, c.path, c.body, name, a)
					}
					// Connections that served are of no use for the next.
					keep.Store(0)
					for range 3 {
						w.ask(t, request{Target: c.path})
					}
				}
			}
		}
	})
}

func brokenWithin(t *testing.T, _ *doors) {
	answers := map[string]string{
		"a length":               "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
		"chunks":                 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
		"within a chunk":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf",
		"a chunk that is none":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n\r\n",
		"no end of the trailers": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n4\r\nhalf\r\n0\r\nX-T: ",
		"a large one":            "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat("x", 900_000),
		"events":                 "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n8\r\ndata: x\n\r\n",
	}
	var answer atomic.Value
	serve := func(linger bool) *peer {
		return newPeer(t, func(c net.Conn, r *bufio.Reader) {
			if _, err := readHead(r); err != nil {
				return
			}
			io.WriteString(c, answer.Load().(string))
			if linger {
				// The client has what came, then it is reset.
				c.(*net.TCPConn).SetLinger(0)
			}
		})
	}
	own := behind(t, "closes", "", serve(false).addr, "resets", "", serve(true).addr)
	own.signedIn(t, func(t *testing.T, w way) {
		for name, text := range answers {
			answer.Store(text)
			for _, target := range []string{"/closes", "/resets"} {
				a := w.ask(t, request{Target: target})
				if a.Status == http.StatusBadGateway && target == "/resets" { // before its head was read
					continue
				}
				if a.Err == nil {
					t.Errorf("%s, %s: got %s with %d bytes and a clean end, want it broken off", target, name, a, len(a.Body))
				}
			}
			if a := w.ask(t, request{}); a.Status != http.StatusOK {
				t.Errorf("the next request: got %s, want 200", a)
			}
		}
		// Without a length and chunks, only a reset can be told from an end.
		answer.Store("HTTP/1.1 200 OK\r\n\r\nall")
		if a := w.ask(t, request{Target: "/closes"}); a.Status != http.StatusOK || a.Body != "all" || a.Err != nil {
			t.Errorf("an answer to the end of its connection: got %s %q (%v), want it whole", a, a.Body, a.Err)
		}
		w.calm(t)
	})
}

func othersLive(t *testing.T, _ *doors) {
	release := make(chan struct{})
	up := newPeer(t, func(c net.Conn, r *bufio.Reader) {
		for {
			head, err := readHead(r)
			if err != nil {
				return
			}
			if strings.Contains(head, "/patient") {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npati")
				<-release
				io.WriteString(c, "ence")
				continue
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
			return
		}
	})
	own := behind(t, "up", "access: public,", up.addr)
	client := own.TLS().http2Client(t)
	patient := make(chan string, 1)
	go func() {
		resp, err := client.Get(own.TLS().URL + "/up/patient")
		if err != nil {
			patient <- err.Error()
			return
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		patient <- fmt.Sprint(string(text), err)
	}()
	gatewaytest.Await(t, "it is at the application", func() bool { return up.open.Load() == 1 })
	for range 50 {
		resp, err := client.Get(own.TLS().URL + "/up/breaks")
		if err != nil {
			continue // before its head was read
		}
		if text, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("got %q and a clean end, want it broken off", text)
		}
		resp.Body.Close()
	}
	for range 20 {
		own.Plain().Raw(t, "GET /up/breaks HTTP/1.1\r\nHost: gw.test\r\n\r\n")
	}
	close(release)
	if got := <-patient; got != "patience<nil>" {
		t.Errorf("another request on the connection: got %q", got)
	}
	own.TLS().calm(t)
	own.Plain().calm(t)
	if log := own.TLS().Log.String(); strings.Contains(log, `"level":"ERROR"`) {
		t.Error("the log has errors")
	}
}

func slowAnswers(t *testing.T, _ *doors) {
	up := newPeer(t, func(c net.Conn, r *bufio.Reader) {
		for {
			head, err := readHead(r)
			if err != nil {
				return
			}
			switch {
			case strings.Contains(head, "/never"):
				io.Copy(io.Discard, r)
				return
			case strings.Contains(head, "/events"):
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
				for n := range 3 {
					<-time.After(700 * time.Millisecond)
					fmt.Fprintf(c, "data: %d\n\n", n)
				}
				return
			default: // a long poll: the head at once
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
				<-time.After(2 * time.Second)
				io.WriteString(c, "done")
			}
		}
	})
	own := behind(t, "up", "timeouts: {response_header: 1s},", up.addr)
	t.Parallel()
	own.signedIn(t, func(t *testing.T, w way) {
		var all sync.WaitGroup
		for target, body := range map[string]string{"/up/events": "data: 0\n\ndata: 1\n\ndata: 2\n\n", "/up/poll": "done", "/up/never": ""} {
			for _, method := range []string{"GET", "POST"} {
				all.Go(func() {
					began := time.Now()
					a := w.ask(t, request{Method: method, Target: target, Lines: fieldsOf("Origin", w.URL, "Sec-Fetch-Site", "same-origin")})
					took := time.Since(began)
					switch {
					case body != "" && (a.Status != http.StatusOK || a.Body != body || a.Err != nil || took < 2*time.Second):
						t.Errorf("%s %s: got %s %q (%v) after %s, want it whole after two seconds", method, target, a, a.Body, a.Err, took)
					case body == "" && (a.Status != http.StatusGatewayTimeout || took < 900*time.Millisecond || took > 12*time.Second):
						t.Errorf("%s %s: got %s after %s, want 504 after a second", method, target, a, took)
					}
				})
			}
		}
		all.Wait()
	})
}

func leavingClients(t *testing.T, _ *doors) {
	up := newPeer(t, func(c net.Conn, r *bufio.Reader) {
		head, err := readHead(r)
		if err != nil {
			return
		}
		if strings.Contains(head, "/begun") {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
		}
		io.Copy(io.Discard, r)
	})
	own := behind(t, "up", "", up.addr)
	own.signedIn(t, func(t *testing.T, w way) {
		w.ask(t, request{})
		before := w.holds(t)
		for _, target := range []string{"/up/thinks", "/up/begun"} {
			const many = 20
			var leave []func()
			for range many {
				u := w.upload(t, map[string]string{"/up/thinks": "POST", "/up/begun": "PUT"}[target], target, 10)
				io.WriteString(u, "half")
				leave = append(leave, u.leave)
			}
			gatewaytest.Await(t, "all are at the application", func() bool { return up.open.Load() == many })
			for _, l := range leave {
				l()
			}
			if took := gatewaytest.Await(t, "the application has lost them all", func() bool { return up.open.Load() == 0 }); took > 10*time.Second {
				t.Errorf("%s: it took %s, want a second", target, took)
			}
		}
		w.emptied(t, before)
		gatewaytest.Await(t, "nothing is counted as live", func() bool { return w.metric(t, "portero_live_connections") == 0 })
		if a := w.ask(t, request{}); a.Status != http.StatusOK {
			t.Errorf("afterwards: got %s, want 200", a)
		}
	})
	if log := own.TLS().Log.String(); strings.Contains(log, `"level":"ERROR"`) {
		t.Error("the log has errors")
	}
}

// tlsUpstream is an application inside TLS. hello, if not nil, is told of each handshake's beginning.
func tlsUpstream(t *testing.T, certificate tls.Certificate, hello func(*tls.ClientHelloInfo), more ...func(*tls.Config)) *peer {
	t.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if hello != nil {
			hello(h)
		}
		return nil, nil
	}}
	for _, change := range more {
		change(config)
	}
	return newPeer(t, func(c net.Conn, r *bufio.Reader) {
		s := tls.Server(c, config)
		in := bufio.NewReader(s)
		for {
			if _, err := readHead(in); err != nil {
				return
			}
			io.WriteString(s, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
		}
	})
}
