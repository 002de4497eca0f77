package catalogue_test

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

var webSockets = family{ID: "WS", Title: "WebSockets and streams", Attacks: []attack{
	{ID: "WS-01", Name: "no session", Want: "401; nothing reaches the application", Why: "an upgrade that goes another way than requests do", Test: socketWithoutSession},
	{ID: "WS-02", Name: "cross-site", Want: "403; nothing reaches the application", Why: "cross-site WebSocket hijacking: no preflight, and the cookie comes along from every subdomain", Test: socketOrigins},
	{ID: "WS-03", Name: "101 that nobody asked for", Want: "502, and no tunnel", Why: "what follows would pass the gateway unseen", Test: unaskedSwitch},
	{ID: "WS-04", Name: "another protocol", Want: "a plain request without Upgrade; a 101 to it is 502", Why: "h2c and any other word open a tunnel in proxies that pass Upgrade on", Test: otherProtocols},
	{ID: "WS-05", Name: "malformed handshake", Want: "400; nothing reaches the application, and what stands behind is the next request", Why: "a proxy that takes a failed handshake for a tunnel passes the next request unseen", Test: badHandshakes},
	{ID: "WS-06", Name: "end of the session", Want: "closed with 1008 within two seconds, by sign-out, back-channel logout, an operator, and time", Why: "a socket that outlives its session is a session", Test: socketLifetime},
	{ID: "WS-07", Name: "idle sockets, slow readers, endless streams", Want: "memory is bounded, and nothing is left of a socket that closed", Why: "each costs a connection on both sides", Test: manySockets,
		Missing: "200 sockets and 64 MiB stand for ten thousand and a gigabyte, for the sake of the machines on which tests run."},
	{ID: "WS-08", Name: "shutdown", Want: "sockets are closed with 1001 and the process ends in time", Why: "a socket holds a process that waits for requests", Test: socketsAtShutdown},
	{ID: "WS-09", Name: "event streams, chunks and trailers", Want: "each piece arrives before the next one is sent", Why: "a proxy that buffers breaks what is live", Test: streams},
}}

// socketKey is what a handshake has; the answer to it is known.
const socketKey = "dGhlIHNhbXBsZSBub25jZQ=="

// handshake are the headers of one, changed by name: an empty value leaves a header out.
func handshake(origin string, change ...string) (out [][2]string) {
	lines := fieldsOf("Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", socketKey, "Origin", origin)
	for _, l := range lines {
		for i := 0; i+1 < len(change); i += 2 {
			if strings.EqualFold(change[i], l[0]) {
				l[1] = change[i+1]
			}
		}
		if l[1] != "" {
			out = append(out, l)
		}
	}
	return out
}

// echoApp is an application that sends back every byte of a WebSocket, and answers anything else with a page.
func echoApp(head string, r *bufio.Reader, c net.Conn) bool {
	key := gatewaytest.Header(head, "Sec-WebSocket-Key")
	if len(key) != 1 || len(gatewaytest.Header(head, "Upgrade")) == 0 {
		gatewaytest.SkipBody(r, head)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\nthe application")
		return true
	}
	sum := sha1.Sum([]byte(key[0] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n")
	io.Copy(c, r)
	return false
}

// frame is one of a WebSocket from a client, its payload masked by nothing.
func frame(opcode byte, payload string) string {
	head := []byte{0x80 | opcode, 0x80}
	switch n := len(payload); {
	case n < 126:
		head[1] |= byte(n)
	case n < 1<<16:
		head[1] |= 126
		head = binary.BigEndian.AppendUint16(head, uint16(n))
	default:
		head[1] |= 127
		head = binary.BigEndian.AppendUint64(head, uint64(n))
	}
	return string(head) + "\x00\x00\x00\x00" + payload
}

// socket opens a WebSocket over HTTP/1.1 and fails unless it opens.
func (w way) socket(t *testing.T, target string) *gatewaytest.Conn {
	t.Helper()
	c := w.Dial(t)
	lines := handshake(w.URL)
	if w.cookie != "" {
		lines = with(lines, "Cookie", w.cookie)
	}
	c.Send(request{Target: target, Lines: lines}.text(w.host))
	if a := c.Answer("GET"); a.Status != http.StatusSwitchingProtocols || a.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("opening a WebSocket: got %s\n%s", a, a.Body)
	}
	return c
}

// echoed fails unless a frame comes back.
func echoed(t *testing.T, c *gatewaytest.Conn, payload string) {
	t.Helper()
	sent := frame(2, payload)
	go c.Send(sent)
	got := make([]byte, len(sent))
	c.SetReadDeadline(time.Now().Add(15 * time.Second))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != sent {
		t.Fatalf("a frame of %d bytes: got %d bytes back (%v)", len(payload), n, err)
	}
}

// closedWith fails unless the gateway closes a socket with a close frame of that code within limit.
func closedWith(t *testing.T, c *gatewaytest.Conn, code uint16, limit time.Duration) {
	t.Helper()
	began := time.Now()
	c.SetReadDeadline(began.Add(limit))
	rest, err := io.ReadAll(c)
	want := string(binary.BigEndian.AppendUint16([]byte{0x88, 2}, code))
	if !strings.HasSuffix(string(rest), want) || err != nil && time.Since(began) >= limit {
		t.Errorf("the end of the socket: got %q (%v) after %s, want a close frame with %d", rest, err, time.Since(began), code)
	}
}

// http1 are the doors at which a WebSocket can be opened: over HTTP/2 there is none.
func (d *doors) http1(t *testing.T, signedIn bool, try func(t *testing.T, w way)) {
	t.Helper()
	d.over(t, signedIn, func(t *testing.T, w way) {
		if !w.h2 {
			w.Upstream.Take(echoApp)
			defer w.Upstream.Take(nil)
			try(t, w)
		}
	})
}

func socketWithoutSession(t *testing.T, d *doors) {
	d.http1(t, false, func(t *testing.T, w way) {
		for _, cookie := range []string{"", w.Cookie() + "=", w.Cookie() + "=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", w.Cookie() + "=" + strings.Repeat("a", 4000), "portero=x; session=y"} {
			for _, target := range []string{"/app", "/admin", "/api/x", "/"} {
				for _, lines := range [][][2]string{handshake(w.URL), with(handshake(w.URL), "X-Auth-Email", "root", "Authorization", "Bearer x"), with(handshake(w.URL), navigation[0][0], navigation[0][1], "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")} {
					if cookie != "" {
						lines = with(lines, "Cookie", cookie)
					}
					c := w.Dial(t)
					c.Send(request{Target: target, Lines: lines}.text(w.host) + frame(1, expand(evil, w.host)))
					a := c.Answer("GET")
					if a.Status != http.StatusUnauthorized && (len(lines) < 8 || a.Status != http.StatusFound) {
						t.Errorf("%s with %.80q: got %s, want 401", target, cookie, a)
					}
					w.denied(t, a)
					c.Close()
				}
			}
		}
		echoed(t, w.socket(t, "/public/socket"), "everybody may")
		w.Upstream.Forget()
	})
}

func socketOrigins(t *testing.T, d *doors) {
	for _, signedIn := range []bool{true, false} {
		d.http1(t, signedIn, func(t *testing.T, w way) {
			target := map[bool]string{true: "/app", false: "/public/x"}[signedIn]
			for _, origin := range []string{
				"https://evil.test", "null", "Null", "https://gw.test.evil", "https://evil-gw.test", "https://a.gw.test", "http://gw.test", "https://gw.test:444", "https://gw.test:443@evil.test", "https://gw.test/", "https://gw.test evil", "https://gw.test.", "gw.test", "//gw.test", "https://", " ", "wss://gw.test", "file://",
				"https://evil.test https://gw.test", "https://gw.test, https://evil.test", w.Upstream.URL, w.Issuer.URL, "https://gw.test\x80", "https://127.0.0.1", "*",
				w.Second, // a page of another application behind this gateway
			} {
				lines := handshake(origin)
				if signedIn {
					lines = with(lines, "Cookie", w.cookie)
				}
				a := w.Raw(t, request{Target: target, Lines: lines}.text(w.host))
				want := http.StatusForbidden
				if a.Status != want {
					t.Errorf("Origin %q: got %s, want %d", origin, a, want)
				}
				w.nothingReached(t)
			}
			for _, lines := range [][][2]string{with(handshake(w.URL), "Origin", "https://evil.test"), with(handshake("https://evil.test"), "Origin", w.URL), with(handshake(w.URL), "Origin", w.URL)} {
				if signedIn {
					lines = with(lines, "Cookie", w.cookie)
				}
				if a := w.Raw(t, request{Target: target, Lines: lines}.text(w.host)); a.Status != http.StatusBadRequest {
					t.Errorf("two origins: got %s, want 400", a)
				}
				w.nothingReached(t)
			}
			if signedIn { // programs send no Origin, and have no cookies of a browser either
				if a := w.Raw(t, request{Target: target, Lines: with(handshake(""), "Cookie", w.cookie)}.text(w.host)); a.Status != http.StatusForbidden {
					t.Errorf("no origin: got %s, want 403", a)
				}
				w.nothingReached(t)
			}
			echoed(t, w.socket(t, target), "ours")
			head, _ := w.reached(t)
			exactly(t, head, "Upgrade", "websocket")
			exactly(t, head, "Connection", "Upgrade")
		})
	}
}

func unaskedSwitch(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		defer w.Upstream.Take(nil)
		for _, said := range []string{"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", "Connection: Upgrade\r\nUpgrade: h2c\r\n", "", "Upgrade: websocket\r\nContent-Length: 0\r\n"} {
			w.Upstream.Take(func(_ string, r *bufio.Reader, c net.Conn) bool {
				io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\n"+said+"\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
				io.Copy(io.Discard, r)
				return false
			})
			for _, q := range []request{{Target: "/public/x"}, {Target: "/public/x", Method: "POST", Body: "abc"}, {Target: "/public/x", Method: "HEAD"}} {
				a := w.ask(t, q)
				if a.Status != http.StatusBadGateway || strings.Contains(a.Body, "evil") {
					t.Errorf("%s %q: got %s, want 502\n%s", q.Method, said, a, a.Body)
				}
			}
			if !w.h2 { // and to a WebSocket, but to something else
				if strings.Contains(said, "websocket") {
					continue
				}
				c := w.Dial(t)
				lines := handshake(w.URL)
				if w.cookie != "" {
					lines = with(lines, "Cookie", w.cookie)
				}
				c.Send(request{Target: "/public/x", Lines: lines}.text(w.host))
				if a := c.Answer("GET"); a.Status != http.StatusBadGateway {
					t.Errorf("%q to a WebSocket: got %s, want 502", said, a)
				}
			}
		}
		w.messages(t)
		w.Upstream.Forget()
	})
}

func otherProtocols(t *testing.T, d *doors) {
	for _, signedIn := range []bool{true, false} {
		d.http1(t, signedIn, func(t *testing.T, w way) {
			cookie, target := [][2]string(nil), "/public/x"
			if signedIn {
				cookie, target = fieldsOf("Cookie", w.cookie), "/app"
			}
			tries := [][][2]string{
				fieldsOf("Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c", "HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
				fieldsOf("Connection", "Upgrade, HTTP2-Settings", "Upgrade", "websocket", "Upgrade", "h2c", "HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", socketKey),
				fieldsOf("Connection", "keep-alive", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", socketKey),
				fieldsOf("Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", socketKey),
			}
			for _, token := range []string{"evil", "websocket, h2c", "h2c, websocket", "TLS/1.0", "TLS/1.0, HTTP/1.1", "websocket/13", "WebSocket2", "web socket", "websocket;", "\"websocket\"", "HTTP/2.0", "connect-udp", ","} {
				tries = append(tries, handshake(w.URL, "Upgrade", token))
			}
			for _, lines := range tries {
				for _, switches := range []bool{false, true} {
					w.Upstream.Take(func(head string, r *bufio.Reader, c net.Conn) bool {
						if !switches {
							return echoApp(head, r, c)
						}
						io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
						io.Copy(c, r)
						return false
					})
					c := w.Dial(t)
					c.Send(request{Target: target, Lines: append(append([][2]string(nil), cookie...), lines...)}.text(w.host) + expand(evil, w.host))
					want := map[bool]int{false: http.StatusOK, true: http.StatusBadGateway}[switches]
					if a := c.Answer("GET"); a.Status != want {
						t.Errorf("%q: got %s, want %d", lines, a, want)
					}
					head, rest := w.reached(t)
					absent(t, head, "Upgrade", "Connection", "HTTP2-Settings")
					if rest != "" {
						t.Errorf("%q: behind the request the upstream got %q", lines, rest)
					}
					if a := c.Answer("GET"); a.Status != http.StatusUnauthorized && (a.Status != 0 || !switches) {
						t.Errorf("%q: what stands behind got %s, want 401", lines, a)
					}
					c.Close()
				}
			}
		})
	}
}

func badHandshakes(t *testing.T, d *doors) {
	for _, signedIn := range []bool{true, false} {
		d.http1(t, signedIn, func(t *testing.T, w way) {
			cookie, target := "", "/public/x"
			if signedIn {
				cookie, target = "Cookie: "+w.cookie+"\r\n", "/app"
			}
			text := func(first string, lines [][2]string, rest string) string {
				var b strings.Builder
				b.WriteString(first + "\r\nHost: " + w.host + "\r\n" + cookie)
				for _, l := range lines {
					b.WriteString(l[0] + ": " + l[1] + "\r\n")
				}
				return b.String() + rest
			}
			get, good := "GET "+target+" HTTP/1.1", handshake(w.URL)
			for name, sent := range map[string]string{
				"version 8":                    text(get, handshake(w.URL, "Sec-WebSocket-Version", "8"), "\r\n"),
				"version 777":                  text(get, handshake(w.URL, "Sec-WebSocket-Version", "777"), "\r\n"),
				"no version":                   text(get, handshake(w.URL, "Sec-WebSocket-Version", ""), "\r\n"),
				"two versions":                 text(get, with(good, "Sec-WebSocket-Version", "13"), "\r\n"),
				"a list of versions":           text(get, handshake(w.URL, "Sec-WebSocket-Version", "13, 8"), "\r\n"),
				"no key":                       text(get, handshake(w.URL, "Sec-WebSocket-Key", ""), "\r\n"),
				"a short key":                  text(get, handshake(w.URL, "Sec-WebSocket-Key", "YWJj"), "\r\n"),
				"a key that is no base64":      text(get, handshake(w.URL, "Sec-WebSocket-Key", "!!!!!!!!!!!!!!!!!!!!!!=="), "\r\n"),
				"two keys":                     text(get, with(good, "Sec-WebSocket-Key", socketKey), "\r\n"),
				"POST":                         text("POST "+target+" HTTP/1.1", good, "\r\n"),
				"HEAD":                         text("HEAD "+target+" HTTP/1.1", good, "\r\n"),
				"OPTIONS":                      text("OPTIONS "+target+" HTTP/1.1", good, "\r\n"),
				"HTTP/1.0":                     text("GET "+target+" HTTP/1.0", good, "\r\n"),
				"a body":                       text(get, good, "Content-Length: 3\r\n\r\nabc"),
				"a body in chunks":             text(get, good, "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
				"a body in no chunks":          text(get, good, "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
				"an upgrade with odd bytes":    text(get, handshake(w.URL, "Upgrade", "web\xffsocket"), "\r\n"),
				"a body and an old version":    text("POST "+target+" HTTP/1.1", handshake(w.URL, "Sec-WebSocket-Version", "8"), "Content-Length: 3\r\n\r\nabc"),
				"version 13 with a blank less": text(get, handshake(w.URL, "Sec-WebSocket-Version", "1 3"), "\r\n"),
			} {
				c := w.Dial(t)
				c.Send(sent + expand(evil, w.host))
				method, _, _ := strings.Cut(sent, " ")
				if a := c.Answer(method); a.Status != http.StatusBadRequest {
					t.Errorf("%s: got %s, want 400", name, a)
				}
				w.nothingReached(t)
				if a := c.Answer("GET"); a.Status != 0 && a.Status != http.StatusUnauthorized {
					t.Errorf("%s: what stands behind got %s, want 401 or the end of the connection", name, a)
				}
				w.nothingReached(t)
				c.Close()
			}
			// A handshake that the application refuses is an answer like others, and no tunnel.
			for _, status := range []string{"426 Upgrade Required", "200 OK", "400 Bad Request"} {
				w.Upstream.Take(func(head string, r *bufio.Reader, c net.Conn) bool {
					io.WriteString(c, "HTTP/1.1 "+status+"\r\nSec-WebSocket-Version: 13\r\nContent-Length: 2\r\n\r\nno")
					return true
				})
				c := w.Dial(t)
				c.Send(text(get, good, "\r\n") + expand(evil, w.host))
				if a := c.Answer("GET"); a.Body != "no" || !strings.HasPrefix(status, fmt.Sprint(a.Status)) {
					t.Errorf("the application says %s: got %s with %q", status, a, a.Body)
				}
				if a := c.Answer("GET"); a.Status != http.StatusUnauthorized {
					t.Errorf("the application says %s: what stands behind got %s, want 401", status, a)
				}
				if all := w.messages(t); len(all) != 1 {
					t.Errorf("the application says %s: the upstream got %#v, want the handshake alone", status, all)
				}
				w.Upstream.Forget()
				c.Close()
			}
		})
	}
}

func socketLifetime(t *testing.T, d *doors) {
	const soon = 10 * time.Second // two on a machine of one's own
	for name, f := range map[string]*front{"in TLS": d.TLS(), "plain": d.Plain()} {
		f.Upstream.Take(echoApp)
		for way1, end := range map[string]func(t *testing.T, b *gatewaytest.Browser){
			"sign-out":            func(t *testing.T, b *gatewaytest.Browser) { b.Post(f.URL+"/sign-out", url.Values{}) },
			"back-channel logout": func(t *testing.T, b *gatewaytest.Browser) { f.endByLogout(t) },
			"the operator": func(t *testing.T, b *gatewaytest.Browser) {
				if got := (way{front: f}).adminForm(t, "/api/sessions/revoke", url.Values{"subject": {bob["sub"].(string)}}); got.Status != http.StatusOK {
					t.Errorf("ending sessions: got %s", got)
				}
			},
		} {
			t.Run(way1+", "+name, func(t *testing.T) {
				b := f.person(t, bob, "/")
				w := way{front: f, cookie: f.cookieOf(t, b)}
				c := w.socket(t, "/app")
				echoed(t, c, "hello")
				other := way{front: f, cookie: f.alice}.socket(t, "/app")
				end(t, b)
				closedWith(t, c, 1008, soon)
				echoed(t, other, "still here")
				if a := w.Raw(t, request{Lines: with(handshake(w.URL), "Cookie", w.cookie)}.text(w.host)); a.Status != http.StatusUnauthorized {
					t.Errorf("another socket with the old cookie: got %s, want 401", a)
				}
			})
		}
		f.Upstream.Take(nil)
		f.Upstream.Forget()
	}
	// Time needs a clock that can be moved: a gateway inside the test.
	for name, tt := range map[string]struct {
		session string
		active  bool // frames pass all the time
		after   time.Duration
	}{
		"the session's absolute end":  {"store: memory, lifetime: 10m, idle_timeout: 10m", true, 10 * time.Minute},
		"the session idles":           {"store: memory, lifetime: 1h, idle_timeout: 10m", false, 10 * time.Minute},
		"frames are no use of either": {"store: memory, lifetime: 1h, idle_timeout: 10m", true, 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			clock := gatewaytest.NewClock()
			f := newFront(t, gatewaytest.Options{Session: tt.session, Clock: clock})
			f.Upstream.Take(echoApp)
			c := way{front: f, cookie: f.alice}.socket(t, "/app")
			for range 3 {
				clock.Add(tt.after/4 - time.Second)
				if tt.active {
					echoed(t, c, "hello")
				}
			}
			clock.Add(tt.after/4 + 4*time.Second)
			closedWith(t, c, 1008, soon)
		})
	}
}

// endByLogout ends Bob's sessions as Logto does.
func (f *front) endByLogout(t *testing.T) {
	t.Helper()
	token := f.Issuer.LogoutToken(func(_, claims map[string]any) { claims["sub"], claims["sid"] = bob["sub"], bob["sid"] })
	if got := f.Logout(t, token); got.StatusCode != http.StatusOK && got.StatusCode != http.StatusNoContent {
		t.Errorf("back-channel logout: got %s\n%s", got.Status, got.Text)
	}
}

// descriptors are how many files and connections a process has open.
func descriptors(t *testing.T, pid int) int {
	t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Skip("no /proc on this machine")
	}
	return len(all)
}

func manySockets(t *testing.T, d *doors) {
	const sockets, most = 200, 256 << 10 // KiB; the race detector's program takes several times what it would
	for name, f := range map[string]*front{"plain": d.Plain(), "in TLS": d.TLS()} {
		t.Run(name, func(t *testing.T) {
			f.Upstream.Take(echoApp)
			defer f.Upstream.Take(nil)
			w, pid := way{front: f, cookie: f.alice}, f.Process.PID()
			gatewaytest.Await(t, "the upstream's connections are idle", func() bool { return f.Upstream.Open() < 20 })
			before, open := residentKB(t, pid), descriptors(t, pid)
			var all []*gatewaytest.Conn
			for range sockets {
				all = append(all, w.socket(t, "/app"))
			}
			echoed(t, all[0], "the first")
			echoed(t, all[sockets-1], "the last")
			if grown := residentKB(t, pid) - before; grown > most {
				t.Errorf("%d idle sockets took %d KiB, want %d at most", sockets, grown, most)
			}
			for i, c := range all {
				if i%2 == 0 { // half of them say goodbye, half are gone
					c.Send(frame(8, "\x03\xe8"))
				}
				c.Close()
			}
			gatewaytest.Await(t, "nothing is left of the sockets", func() bool { return descriptors(t, pid) <= open+8 && f.Upstream.Open() < 20 })

			// A reader that does not read: what the application sends stays with the application.
			endless := make(chan int, 1)
			f.Upstream.Take(func(head string, r *bufio.Reader, c net.Conn) bool {
				io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
				n, piece := 0, "\x82\x7f\x00\x00\x00\x00\x40\x00\x00\x00"+strings.Repeat("a", 1<<20)
				for ; n < 256; n++ {
					c.SetWriteDeadline(time.Now().Add(2 * time.Second))
					if _, err := io.WriteString(c, piece); err != nil {
						break
					}
				}
				endless <- n
				return false
			})
			before = residentKB(t, pid)
			slow := w.socket(t, "/app")
			if n := <-endless; n >= 64 {
				t.Errorf("the application got rid of %d MiB that nobody reads", n)
			}
			if grown := residentKB(t, pid) - before; grown > most {
				t.Errorf("a slow reader took %d KiB, want %d at most", grown, most)
			}
			slow.Close()

			// One message that does not end, both ways.
			f.Upstream.Take(echoApp)
			before = residentKB(t, pid)
			c := w.socket(t, "/app")
			const total = 64 << 20
			go func() {
				c.Send("\x82\xff\x00\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00")
				for piece := strings.Repeat("a", 1<<20); ; {
					if _, err := io.WriteString(c.Conn, piece); err != nil {
						return
					}
				}
			}()
			c.SetReadDeadline(time.Now().Add(60 * time.Second))
			if n, err := io.CopyN(io.Discard, c, total); err != nil {
				t.Errorf("an endless message: got %d bytes back (%v)", n, err)
			}
			if grown := residentKB(t, pid) - before; grown > most {
				t.Errorf("an endless message took %d KiB, want %d at most", grown, most)
			}
			c.Close()
			f.Upstream.Forget()
			gatewaytest.Await(t, "nothing is left of the sockets", func() bool { return descriptors(t, pid) <= open+8 && f.Upstream.Open() < 20 })
		})
	}
}

func socketsAtShutdown(t *testing.T, _ *doors) {
	for name, o := range map[string]gatewaytest.Options{"plain": {}, "in TLS": {TLS: true}} {
		t.Run(name, func(t *testing.T) {
			o.Shutdown = "timeout: 20s"
			f := newFront(t, o)
			f.Upstream.Take(echoApp)
			mine, public := way{front: f, cookie: f.alice}.socket(t, "/app"), way{front: f}.socket(t, "/public/x")
			echoed(t, mine, "hello")
			silent := way{front: f, cookie: f.alice}.socket(t, "/app") // never reads, never answers the close frame
			began := time.Now()
			ended := make(chan struct{})
			go func() { f.Process.Terminate(); close(ended) }()
			closedWith(t, mine, 1001, 15*time.Second)
			closedWith(t, public, 1001, 15*time.Second)
			<-ended
			if took := time.Since(began); took > 18*time.Second {
				t.Errorf("the process took %s to end, want less than its timeout", took)
			}
			if code := f.Process.ExitCode(); code != 0 {
				t.Errorf("it ended with %d, want 0", code)
			}
			silent.Close()
		})
	}
}
