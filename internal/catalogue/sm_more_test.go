package catalogue_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"portero/internal/gatewaytest"
)

func otherCodings(t *testing.T, d *doors) {
	var all []wire
	for _, coding := range []string{"xchunked", "chunked, identity", "identity, chunked", "identity", "", "chunked, chunked", "gzip, chunked", "chunked, gzip", ",chunked", "chunked,", "chunked;q=1", `"chunked"`,
		"chu nked", "\xa0chunked", "chunked\x85", "chunked\r\nTransfer-Encoding: chunked", "chunked\r\nTransfer-Encoding: identity", "identity\r\ntransfer-encoding: chunked", "chunked\r\nTransfer-Encoding:"} {
		for _, length := range []string{"", "Content-Length: @REST@\r\n"} {
			all = append(all, wire{name: strconv.Quote(coding) + " " + length, lines: length + "Transfer-Encoding: " + coding + "\r\n", body: "0\r\n\r\n" + evil, want: []int{http.StatusNotImplemented}})
		}
	}
	for _, coding := range []string{": \x0bchunked", ": chunked\x0b", ":\x0cchunked", ": \x00chunked", ": chunked\x00", ": chunked\x7f", " : chunked", "\t: chunked", "\x0b: chunked", "\x00: chunked"} {
		all = append(all, wire{name: strconv.Quote(coding), lines: "Content-Length: @REST@\r\nTransfer-Encoding" + coding + "\r\n", body: "0\r\n\r\n" + evil, want: bad})
	}
	for _, coding := range []string{": chunked\t", ":\tchunked", ": CHUNKED", ":chunked "} {
		all = append(all, wire{name: strconv.Quote(coding), lines: "Transfer-Encoding" + coding + "\r\n", body: "3\r\nabc\r\n0\r\n\r\n" + evil, want: ok, got: []string{"abc"}})
	}
	for _, name := range []string{"Transfer_Encoding", "TRANSFER_ENCODING", "Transfer.Encoding", "transfer~encoding", "Transfer+Encoding"} {
		all = append(all, wire{name: name, lines: "Content-Length: @REST@\r\n" + name + ": chunked\r\n", body: "0\r\n\r\n" + evil, want: ok, got: []string{"0\r\n\r\n" + evil}, keeps: true},
			wire{name: name + " without length", lines: name + ": chunked\r\n", body: evil, want: []int{200, 401}, got: []string{""}, keeps: true})
	}
	wires(all...)(t, d)
}

func oddLengths(t *testing.T, d *doors) {
	var all []wire
	for _, n := range []string{"+5", "5, 5", "5,5", "-1", "-0", "0x5", "", "5 6", "18446744073709551616", "9223372036854775808", "99999999999999999999999", "5.0", "5e0", "5a", "a", "5;", `"5"`, "1_0", "\x0b5", "5\x0b", "5\x00", "\xa05", "\xd9\xa5", "5,", ",5", "inf",
		"5\r\n 6"} {
		all = append(all, wire{name: strconv.Quote(n), lines: "Content-Length: " + n + "\r\n", body: "hello" + evil, want: bad},
			wire{name: strconv.Quote(n) + " on GET", method: "GET", lines: "Content-Length: " + n + "\r\n", body: "hello" + evil, want: bad})
	}
	for _, line := range []string{"Content-Length : 5", "Content-Length\t: 5", "Content-Length\x00: 5", "Content-Length:: 5", "Content Length: 5", "Content-Length 5"} {
		all = append(all, wire{name: strconv.Quote(line), lines: line + "\r\n", body: "hello" + evil, want: bad})
	}
	for _, n := range []string{"0005", "5 ", "\t5", "00000000000000000000000000005"} {
		all = append(all, wire{name: strconv.Quote(n), lines: "Content-Length: " + n + "\r\n", body: "hello" + evil, want: []int{200, 401}, got: []string{"hello"}, keeps: true})
	}
	wires(all...)(t, d)
}

func oddChunks(t *testing.T, d *doors) {
	var all []wire
	for _, chunks := range []string{
		"5\nhello\r\n0\r\n\r\n", "5\rhello\r\n0\r\n\r\n", "5\r\r\nhello\r\n0\r\n\r\n", "2;\nxx\r\n0\r\n\r\n", "2;\nxx\r\n2\r\nab\r\n0\r\n\r\n", "2;\rxx\r\n0\r\n\r\n", "0x2\r\nab\r\n0\r\n\r\n", "2\r\nab\r\n0x0\r\n\r\n", "+2\r\nab\r\n0\r\n\r\n", "-2\r\nab\r\n0\r\n\r\n", "-0\r\n\r\n",
		" 2\r\nab\r\n0\r\n\r\n", "\t2\r\nab\r\n0\r\n\r\n", "2\x0b\r\nab\r\n0\r\n\r\n", "2\x00\r\nab\r\n0\r\n\r\n", "fffffffffffffffff\r\nab\r\n0\r\n\r\n", "00000000000000002\r\nab\r\n0\r\n\r\n", "1 0\r\nab\r\n0\r\n\r\n", "2,2\r\nab\r\n0\r\n\r\n", "2h\r\nab\r\n0\r\n\r\n", "zz\r\nab\r\n0\r\n\r\n", "\r\nab\r\n0\r\n\r\n",
		"2\r\nab0\r\n\r\n", "2\r\nabc\r\n0\r\n\r\n", "2\r\nabXX0\r\n\r\n", "2\r\nab\n0\r\n\r\n", "2\r\nab\r0\r\n\r\n", "2\r\nab\r\n\r\n0\r\n\r\n", "2\r\nab\r\n0\n\r\n", "2\r\nab\r\n0\r\r\n", "2\r\nab\r\n0\r\nX-Foo\r\n\r\n", "2\r\nab\r\n0\r\nX-Foo: \x00\r\n\r\n", "2\r\nab\r\n0\r\n x: y\r\n\r\n", "2\r\nab\r\n0\r\nGET /admin/evil HTTP/1.1\r\nX: y\r\n\r\n",
		"2;" + strings.Repeat("a", 8<<10) + "\r\nab\r\n0\r\n\r\n",
	} {
		all = append(all, wire{name: fmt.Sprintf("%.40q", chunks), lines: "Transfer-Encoding: chunked\r\n", body: chunks + evil, want: bad, half: true})
	}
	// These are chunks to everybody, and leave as plain ones.
	for chunks, got := range map[string]string{"2 \r\nab\r\n0\r\n\r\n": "ab", "2;a=b\r\nab\r\n0\r\n\r\n": "ab", "2;\r\nab\r\n0;x\r\n\r\n": "ab", "002\r\nab\r\n000\r\n\r\n": "ab", "2\r\nab\r\n0\r\nContent-Length: 99\r\nTransfer-Encoding: gzip\r\nHost: evil.test\r\n\r\n": "ab", "0\r\n\r\n": ""} {
		all = append(all, wire{name: fmt.Sprintf("%.40q", chunks), lines: "Transfer-Encoding: chunked\r\n", body: chunks + evil, want: ok, got: []string{got}})
	}
	wires(all...)(t, d)
}

func unexpectedBodies(t *testing.T, d *doors) {
	var all []wire
	for _, method := range []string{"GET", "HEAD", "DELETE", "OPTIONS", "PROPFIND"} {
		all = append(all, wire{name: method, method: method, lines: "Content-Length: @REST@\r\n", body: evil, want: ok, got: []string{evil}, keeps: true},
			wire{name: method + " with another request behind", method: method, lines: "Content-Length: 30\r\n", body: "GET /admin/evil HTTP/1.1\r\nX: y" + evil, want: []int{200, 401}, got: []string{"GET /admin/evil HTTP/1.1\r\nX: y"}, keeps: true},
			wire{name: method + " in chunks", method: method, lines: "Transfer-Encoding: chunked\r\n", body: "@CHUNK@0\r\n\r\n" + evil, want: ok, got: []string{evil}})
	}
	wires(all...)(t, d)
	// Over HTTP/2 a body has an end of its own, and a length that says otherwise is an error.
	d.signedIn(t, func(t *testing.T, w way) {
		if !w.h2 {
			return
		}
		body := expand(evil, w.host)
		for _, method := range []string{"GET", "DELETE", "OPTIONS", "POST"} {
			for _, length := range []string{"", strconv.Itoa(len(body))} {
				q := request{Method: method, Body: body, Exact: true}
				if length != "" {
					q.Lines = fieldsOf("content-length", length)
				}
				if a := w.ask(t, q); a.Status != http.StatusOK {
					t.Errorf("%s: got %s, want 200", method, a)
				}
				got := w.messages(t)
				if len(got) != 1 || got[0].Body != body {
					t.Errorf("%s with length %q reached the upstream as %#v", method, length, got)
				}
				w.Upstream.Forget()
			}
			for _, length := range []string{"0", "1", strconv.Itoa(len(body) - 1), strconv.Itoa(len(body) + 1), "99999"} {
				target := "/app/wrong/" + method + "/" + length
				if a := w.ask(t, request{Method: method, Target: target, Body: body, Lines: fieldsOf("content-length", length), Exact: true}); a.Status != 0 && a.Status != http.StatusBadRequest && (length != "0" || a.Status != http.StatusOK) { // who has none may be answered before it comes
					t.Errorf("%s with length %s: got %s, want the stream reset or 400", method, length, a)
				}
				gatewaytest.Await(t, "the request has ended", func() bool { return strings.Contains(w.Log.String(), `"path":"`+target+`"`) })
				for _, m := range w.messages(t) {
					if !m.Half && m.Body != "" { // a head may be on its way before its body is found to be wrong
						t.Errorf("%s with length %s reached the upstream as %#v", method, length, m)
					}
				}
				w.Upstream.Forget()
			}
		}
	})
}

func versions(t *testing.T, d *doors) {
	const keep = "Connection: keep-alive\r\n"
	wires(
		wire{name: "1.0", method: "GET", version: "HTTP/1.0", body: evil, want: ok, got: []string{""}},
		wire{name: "1.0, to be kept", method: "GET", version: "HTTP/1.0", lines: keep, body: evil, want: ok, got: []string{""}},
		wire{name: "1.0 with a body", version: "HTTP/1.0", lines: "Content-Length: 3\r\n", body: "abc" + evil, want: ok, got: []string{"abc"}},
		wire{name: "1.0 with a body, to be kept", version: "HTTP/1.0", lines: keep + "Content-Length: 3\r\n", body: "abc" + evil, want: ok, got: []string{"abc"}},
		wire{name: "1.0 with chunks", method: "GET", version: "HTTP/1.0", lines: keep + "Transfer-Encoding: chunked\r\n", body: "0\r\n\r\n" + evil, want: ok, got: []string{""}},
		wire{name: "1.0 with an expectation", version: "HTTP/1.0", lines: "Expect: 100-continue\r\nContent-Length: 3\r\n", body: "abc", want: ok, got: []string{"abc"}},
		wire{name: "1.2", method: "GET", version: "HTTP/1.2", want: ok, got: []string{""}, keeps: true},
		wire{name: "0.9", method: "GET", version: "HTTP/0.9", want: []int{505}},
		wire{name: "2.0", method: "GET", version: "HTTP/2.0", body: evil, want: []int{505}},
		wire{name: "3.7", method: "GET", version: "HTTP/3.7", want: []int{505}},
		wire{name: "1", method: "GET", version: "HTTP/1", want: bad},
		wire{name: "1.10", method: "GET", version: "HTTP/1.10", want: bad},
		wire{name: "01.1", method: "GET", version: "HTTP/01.1", want: bad},
		wire{name: "1.1.1", method: "GET", version: "HTTP/1.1.1", want: bad},
		wire{name: "small letters", method: "GET", version: "http/1.1", want: bad},
		wire{name: "letters", method: "GET", version: "HTTP/x.y", want: bad},
		wire{name: "another protocol", method: "GET", version: "ICY/1.1", want: bad},
		wire{name: "nothing behind the slash", method: "GET", version: "HTTP/", want: bad},
	)(t, d)
	d.stranger(t, func(t *testing.T, w way) {
		if w.h2 {
			return
		}
		for _, text := range []string{"GET /public/x\r\n\r\n", "GET /public/x\r\nHost: " + w.host + "\r\n\r\n", "GET\r\n\r\n", "\r\n\r\n\r\n\r\n", "   \r\n\r\n"} {
			w.wireText(t, wire{want: bad}, text, "GET", "/public/x")
		}
	})
}

func pipelining(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		if w.h2 {
			return
		}
		w.Upstream.Say(func(head string) string {
			return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(line(head)), line(head))
		}, false)
		defer w.Upstream.Say(nil, false)
		const all, denied = 50, 24
		var text strings.Builder
		for i := range all {
			cookie, target := "", "/public/"
			if w.cookie != "" && i%2 == 0 {
				cookie, target = "Cookie: "+w.cookie+"\r\n", "/app/"
			}
			if i == denied {
				cookie, target = "", "/admin/"
			}
			body := strings.Repeat("GET /admin/evil HTTP/1.1\r\n\r\n", i%3)
			fmt.Fprintf(&text, "POST %s%d HTTP/1.1\r\nHost: %s\r\n%sContent-Length: %d\r\n\r\n%s", target, i, w.host, cookie, len(body), body)
		}
		c := w.Dial(t)
		c.Send(text.String())
		for i := range all {
			a := c.Answer("POST")
			switch {
			case i == denied && a.Status != http.StatusUnauthorized:
				t.Fatalf("request %d: got %s, want 401", i, a)
			case i != denied && (a.Status != http.StatusOK || !strings.HasSuffix(a.Body, "/"+strconv.Itoa(i)+" HTTP/1.1")):
				t.Fatalf("request %d: got %s with %q, want its own answer", i, a, a.Body)
			}
		}
		if got := w.messages(t); len(got) != all-1 {
			t.Errorf("%d requests reached the upstream, want %d", len(got), all-1)
		}
	})
}

// earlyAnswers has an application answer before it has read the body, and wait for the next request.
func earlyAnswers(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		evils := func() (n int) {
			for _, log := range w.decisions(t) {
				if strings.Contains(log.Path, evilTarget) {
					n++
				}
			}
			return n
		}
		before := evils()
		defer w.Upstream.Take(nil)
		target := "/public/early"
		many := strings.Repeat(expand(evil, w.host), 8<<10) // half a megabyte
		if w.h2 {
			many = many[:16<<10] // one frame
		}
		for _, status := range []string{"200 OK", "413 Content Too Large", "401 Unauthorized"} {
			for _, q := range []request{
				{Method: "POST", Target: target, Body: many},
				{Method: "POST", Target: target, Body: expand(evil, w.host)},
				{Method: "POST", Target: target, Body: many, Trailers: fieldsOf("X-Foo", "bar")},
				{Method: "GET", Target: target, Body: many},
				{Method: "PUT", Target: target, Lines: fieldsOf("Expect", "100-continue"), Body: many},
			} {
				w.Upstream.Forget()
				w.Upstream.Take(func(head string, r *bufio.Reader, c net.Conn) bool {
					if !strings.Contains(line(head), target) {
						io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext")
						return true
					}
					io.WriteString(c, "HTTP/1.1 "+status+"\r\nContent-Length: 5\r\n\r\nearly")
					return gatewaytest.SkipBody(r, head) == nil
				})
				k := w.talk(t)
				a := k.ask(q)
				if a.Status != 0 && (fmt.Sprint(a.Status) != status[:3] || a.Body != "early") {
					t.Errorf("%s %s: got %s with %q, want %s", q.Method, status, a, a.Body, status)
				}
				if a.Status == 0 && !w.h2 && len(q.Body) < 1<<10 {
					t.Errorf("%s %s: got %s, want %s", q.Method, status, a, status)
				}
				next := k.ask(request{Target: "/public/next"})
				if k.c == nil && next.Status == 0 { // closed behind the answer
					next = k.ask(request{Target: "/public/next"})
				}
				if next.Status != http.StatusOK || next.Body != "next" {
					t.Errorf("%s %s: the next request got %s with %q, want 200", q.Method, status, next, next.Body)
				}
				k.close()
				for _, m := range w.messages(t) {
					if strings.Contains(line(m.Head), evilTarget) {
						t.Errorf("%s %s: %q reached the upstream", q.Method, status, line(m.Head))
					}
				}
			}
		}
		if n := evils() - before; n != 0 {
			t.Errorf("the gateway took some of the bodies for %d requests", n)
		}
	})
}

func splitAnswers(t *testing.T, d *doors) {
	const second = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
	tests := []struct {
		name, answer string
		status       int // 0: the answer breaks off
		body         string
		method       string // "": GET
		hangUp       bool
	}{
		{name: "two answers", answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + second, status: 200, body: "ok"},
		{name: "two answers, the first in chunks", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + second, status: 200, body: "ok"},
		{name: "half of another answer behind", answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nX-Evil: ", status: 200, body: "ok"},
		{name: "a longer body than it says", answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokevil", status: 200, body: "ok"},
		{name: "a body where it says none", answer: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + second, status: 200},
		{name: "a shorter body than it says", answer: "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok", hangUp: true},
		{name: "chunks that end early", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok", hangUp: true},
		{name: "chunks that are none", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n" + second},
		{name: "chunks with an odd end", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokXX0\r\n\r\n" + second},
		{name: "a length and chunks", answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + second, status: 200, body: "ok"},
		{name: "two lengths", answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 60\r\n\r\nok" + second, status: 502},
		{name: "an odd length", answer: "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok" + second, status: 502},
		{name: "a list of lengths", answer: "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok" + second, status: 502},
		{name: "an odd coding", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + second, status: 502},
		{name: "two codings", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + second, status: 502},
		{name: "204 with a body", answer: "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil", status: 204},
		{name: "204 with an answer for a body", answer: "HTTP/1.1 204 No Content\r\n\r\n" + second, status: 204},
		{name: "304 with a body", answer: "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil", status: 304},
		{name: "304 with chunks", answer: "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n", status: 304},
		{name: "HEAD with a body", method: "HEAD", answer: "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", status: 200},
		{name: "HEAD with an answer for a body", method: "HEAD", answer: "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n" + second, status: 200},
		{name: "a flood of informational answers", answer: strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 5000) + second, status: 502},
		{name: "a header with CR", answer: "HTTP/1.1 200 OK\r\nX-Foo: a\rSet-Cookie: b=c\r\nContent-Length: 2\r\n\r\nok", status: 502},
		{name: "a header with NUL", answer: "HTTP/1.1 200 OK\r\nX-Foo: a\x00b\r\nContent-Length: 2\r\n\r\nok", status: 502},
		{name: "a blank before a colon", answer: "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok" + second, status: 200, body: "ok" + second, hangUp: true}, // a name with a blank is no length
		{name: "no colon", answer: "HTTP/1.1 200 OK\r\nFoo\r\nContent-Length: 2\r\n\r\nok", status: 502},
		{name: "a switch that nobody asked for", answer: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + second, status: 502},
		{name: "another protocol", answer: "ICY 200 OK\r\n\r\n" + second, status: 502},
		{name: "no status", answer: "HTTP/1.1\r\n\r\n" + second, status: 502},
		{name: "a body first", answer: "evil\r\n" + second, status: 502},
	}
	d.each(t, func(t *testing.T, w way) {
		w.Upstream.Say(func(head string) string {
			method, target, _ := strings.Cut(line(head), " ")
			for _, tt := range tests {
				if strings.HasPrefix(target, "/public/"+strings.ReplaceAll(tt.name, " ", "-")+" ") {
					return tt.answer
				}
			}
			if method == "HEAD" {
				return "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
			}
			return "HTTP/1.1 200 OK\r\nX-Real: yes\r\nContent-Length: 4\r\n\r\nreal"
		}, false)
		defer w.Upstream.Say(nil, false)
		for _, tt := range tests {
			w.Upstream.Forget()
			if tt.hangUp {
				w.Upstream.Take(func(_ string, _ *bufio.Reader, c net.Conn) bool { io.WriteString(c, tt.answer); return false })
			}
			target := "/public/" + strings.ReplaceAll(tt.name, " ", "-")
			a := w.ask(t, request{Method: tt.method, Target: target})
			w.Upstream.Take(nil)
			switch {
			case tt.status == 0 && a.Status != 0 && a.Err == nil:
				t.Errorf("%s: got %s with %q as if it were whole, want it broken off", tt.name, a, a.Body)
			case tt.status != 0 && (a.Status != tt.status || tt.status < 500 && a.Body != tt.body):
				t.Errorf("%s: got %s with %q, want %d with %q", tt.name, a, a.Body, tt.status, tt.body)
			}
			if strings.Contains(a.Body, "evil") && !strings.Contains(tt.body, "evil") {
				t.Errorf("%s: what stood behind the answer reached the client: %q", tt.name, a.Body)
			}
			for range 3 {
				if a := w.ask(t, request{Target: "/public/next"}); a.Status != http.StatusOK || a.Body != "real" || a.Header.Get("X-Real") != "yes" || a.Header.Get("X-Evil") != "" {
					t.Errorf("%s: the next client got %s with %q, want its own answer", tt.name, a, a.Body)
				}
			}
			for _, stream := range w.Upstream.Connections() {
				if n := strings.Count(stream, " HTTP/1.1\r\n"); strings.Contains(stream, target) && !strings.HasSuffix(stream[strings.Index(stream, target):], "\r\n\r\n") || strings.Contains(stream, target) && strings.Contains(stream[strings.Index(stream, target):], "/public/next") {
					t.Errorf("%s: the connection of the wrong answer went on, with %d requests", tt.name, n)
				}
			}
		}
	})
	t.Run("many at once", func(t *testing.T) { splitAtOnce(t, d.TLS()) })
}

// splitAtOnce has an application send one answer too many each time, while many wait for a connection to it.
func splitAtOnce(t *testing.T, f *front) {
	f.Upstream.Say(func(head string) string {
		own := gatewaytest.Header(head, "X-Number")[0]
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%sHTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n"+gatewaytest.Canary+"evil", len(own), own)
	}, false)
	defer f.Upstream.Say(nil, false)
	var wait sync.WaitGroup
	for client := range 32 {
		wait.Go(func() {
			c := f.Dial(t)
			defer c.Close()
			for i := range 50 {
				number := fmt.Sprintf("%d-%d", client, i)
				c.Send("GET /public/x HTTP/1.1\r\nHost: " + f.host + "\r\nX-Number: " + number + "\r\n\r\n")
				if a := c.Answer("GET"); a.Status == 0 {
					t.Errorf("got %s", a)
					return
				} else if a.Status != http.StatusOK || a.Body != number {
					t.Errorf("%s: got %s with %q", number, a, a.Body)
				}
			}
		})
	}
	wait.Wait()
}

func oddTargets(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		for _, target := range []string{"/public/\x80", "/public/\xff\xfe", "/public/\x85", "/public/\xc3\xa9", "/public/a\\b", "/public/a\"b", "/public/a<b", "/public/a^b", "/public/a{b}", "/public/a|b", "/public/a`b", "/public/a#b", "/public/%0d%0aX:y", "/public/%00", "/public/%7f", "/public/%zz", "/public/%", "/public/\x7f", "/public/\x01", "/public/a\x0bb", "/public/a\x00b", "/public/a\tb", "/public/a\rb"} {
			w.refused(t, request{Target: target})
			if w.cookie != "" {
				w.refused(t, request{Target: strings.Replace(target, "/public", "/app", 1)})
			}
		}
		if w.h2 {
			for _, target := range []string{"/public/a b", "/public/a b HTTP/1.1", "/public/a\nb", "/public/a\r\nX-Auth-Email: root", " /public/a", "/public/a ", "public/a", ""} {
				w.refused(t, request{Target: target + " "})
				w.refused(t, request{Lines: fieldsOf(":path", target), Exact: true})
			}
			return
		}
		host, cookie := "Host: "+w.host+"\r\n", ""
		if w.cookie != "" {
			cookie = "Cookie: " + w.cookie + "\r\n"
		}
		for _, l := range []string{"GET /a\tb HTTP/1.1", "GET  /a HTTP/1.1", "GET /a  HTTP/1.1", "GET /a HTTP/1.1 x", "GET /a HTTP/1.1 ", "GET /a HTTP/1.1\x00", "GET\x00 /a HTTP/1.1", "GET /a\x00 HTTP/1.1", "GET\t/a HTTP/1.1", "GET\xa0/a HTTP/1.1", "GET /a\x0bHTTP/1.1", " GET /a HTTP/1.1", "G\x00T /a HTTP/1.1", "GE\nT /a HTTP/1.1", "G\rET /a HTTP/1.1", "GET HTTP/1.1", "GET: /a HTTP/1.1", "GE(T) /a HTTP/1.1", "GE\x80T /a HTTP/1.1", " HTTP/1.1", "/a HTTP/1.1",
			"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET /a HTTP/1.1", "\x0d\x0a\x0d\x0a\x00\x0d\x0aQUIT\x0a"} {
			w.wireText(t, wire{want: bad}, l+"\r\n"+host+cookie+"\r\n"+expand(evil, w.host), "GET", "/a")
		}
		for _, tt := range []struct {
			lines string
			want  int
		}{
			{"Expect: 200-maybe\r\nContent-Length: 1\r\n\r\na", http.StatusExpectationFailed},
			{"X-Foo: " + strings.Repeat("a", 128<<10) + "\r\n\r\n", http.StatusRequestHeaderFieldsTooLarge},
			{strings.Repeat("X-Foo: a\r\n", 20_000) + "\r\n", http.StatusRequestHeaderFieldsTooLarge},
			{"Cookie: a=" + strings.Repeat("a", 1<<20) + "\r\n\r\n", http.StatusRequestHeaderFieldsTooLarge},
		} {
			w.wireText(t, wire{want: []int{tt.want}}, "GET /public/x HTTP/1.1\r\n"+host+cookie+tt.lines, "GET", "/public/x")
		}
	})
}
