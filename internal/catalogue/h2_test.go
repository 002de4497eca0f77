package catalogue_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

var http2Frames = family{ID: "H2", Title: "HTTP/2", Attacks: []attack{
	{ID: "H2-01", Name: "rapid reset", Want: "at most 250 requests at the application at once; the connection is given up or goes on, memory is bounded", Why: "CVE-2023-39325", Test: rapidReset,
		Missing: "20,000 streams stand for a hundred thousand."},
	{ID: "H2-02", Name: "endless heads", Want: "431, or the connection is given up; nothing reaches the application, memory is bounded", Why: "CVE-2023-45288 CONTINUATION flood, CVE-2022-41717 HPACK bomb", Test: endlessHeads},
	{ID: "H2-03", Name: "floods of control frames, and windows of nothing", Want: "the connection is given up or goes on; memory is bounded", Why: "CVE-2019-9511 to 9518", Test: controlFloods},
	{ID: "H2-04", Name: "h2spec", Want: "no test fails but the known ones of net/http's server", Why: "the specification, byte by byte", Test: specification},
	{ID: "H2-05", Name: "headers that HTTP/2 does not have", Want: "400 or the stream is reset; nothing reaches the application", Why: "a request of HTTP/1.1 inside a header: what is one field here is two lines there", Test: foreignHeaders},
	{ID: "H2-06", Name: "odd pseudo-headers", Want: "400, 405, 421 or the stream is reset; nothing reaches the application", Why: "a target that is another one when it is written into a request line", Test: pseudoHeaders},
	{ID: "H2-07", Name: "cookies in crumbs", Want: "one Cookie line, joined by a semicolon and a blank", Why: "RFC 9113, section 8.2.3: who does not join them lets the application see the first alone", Test: cookieCrumbs},
	{ID: "H2-08", Name: "HTTP/2 without TLS", Want: "none: 400 or 405, and an upgrade is ignored; never forwarded", Why: "a tunnel in which requests pass the gateway unseen", Test: clearText},
}}

// maxStreams is how many requests one connection may have under way.
const maxStreams = 250

// refusedStream fails unless a request over HTTP/2 gets one of those statuses, 400 if none is named, or its stream or
// connection ends, and nothing reaches the application.
func (w way) refusedStream(t *testing.T, q gatewaytest.HTTP2, also ...int) {
	t.Helper()
	a := w.RawHTTP2(t, q)
	if a.Status != 0 && a.Status != http.StatusBadRequest && !slices.Contains(also, a.Status) {
		t.Errorf("%.300q: got %s, want the stream reset, 400 or one of %d", q.Fields, a, also)
	}
	w.nothingReached(t)
	w.noSession(t, a)
}

// http2 tries something over HTTP/2 alone, signed in and not.
func (d *doors) http2(t *testing.T, try func(t *testing.T, w way)) {
	t.Helper()
	d.each(t, func(t *testing.T, w way) {
		if w.h2 {
			try(t, w)
		}
	})
}

// start is the head of a good request, for whoever is signed in.
func (w way) start() [][2]string {
	q := request{Target: "/public/x"}
	if w.cookie != "" {
		q = request{Lines: fieldsOf("cookie", w.cookie)}
	}
	return q.http2(w.host).Fields
}

func foreignHeaders(t *testing.T, d *doors) {
	d.http2(t, func(t *testing.T, w way) {
		try := func(more ...string) {
			t.Helper()
			w.refusedStream(t, gatewaytest.HTTP2{Fields: with(w.start(), more...)})
			w.refusedStream(t, gatewaytest.HTTP2{Fields: with(w.start(), more...), Body: expand(evil, w.host)})
		}
		for _, l := range fieldsOf(
			"Foo", "bar", "X-Auth-Email", "root", "fOO", "bar", "foo ", "bar", " foo", "bar", "fo o", "bar", "foo\t", "bar", "foo:", "bar", ":foo", "bar", "fo:o", "bar", "", "bar", "foo\x00", "bar", "foo\r\nbar", "baz", "foo\nbar", "baz", "foo\r", "bar", "f\u00f6\u00f6", "bar", "foo\x80", "bar", "foo(", "bar",
			"foo", "bar\r\nx-auth-email: root", "foo", "bar\nx-auth-email: root", "foo", "bar\rx-auth-email: root", "foo", "bar\x00", "foo", "\x00", "foo", "bar\r\n\r\nGET /admin/evil HTTP/1.1\r\nHost: gw.test\r\n\r\n", "foo", "bar\x7f", "foo", "bar\x01",
			"connection", "close", "connection", "keep-alive, x-auth-email", "connection", "", "keep-alive", "timeout=5", "proxy-connection", "keep-alive", "upgrade", "h2c", "upgrade", "websocket", "transfer-encoding", "chunked", "transfer-encoding", "identity", "transfer-encoding", "", "transfer-encoding", "\x0bchunked",
			"te", "gzip", "te", "trailers, gzip", "te", "chunked",
		) {
			try(l[0], l[1])
		}
		try("foo", "bar\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /admin/evil HTTP/1.1\r\nHost: gw.test\r\n\r\n")
		try("cookie", "a=b\r\nx-auth-email: root")
		try("content-length", "1, 1")
		try("content-length", "+1")
		try("content-length", "-1")
		try("content-length", "1", "content-length", "2")
		// A length with another body: the head may be on its way, a whole request never is.
		for _, n := range []string{"1", "99999"} {
			target := "/public/wrong/" + n + map[bool]string{true: "/signed-in"}[w.cookie != ""]
			if a := w.RawHTTP2(t, gatewaytest.HTTP2{Fields: with(request{Target: target}.http2(w.host).Fields, "content-length", n), Body: expand(evil, w.host)}); a.Status != 0 && a.Status != http.StatusBadRequest && a.Status != http.StatusBadGateway {
				t.Errorf("a length of %s: got %s", n, a)
			}
			gatewaytest.Await(t, "the request has ended", func() bool { return strings.Contains(w.Log.String(), `"path":"`+target+`"`) })
			for _, m := range w.messages(t) {
				if !m.Half {
					t.Errorf("a length of %s reached the upstream as %#v", n, m)
				}
			}
			w.Upstream.Forget()
		}
		// Trailers are headers too.
		for _, l := range fieldsOf("Foo", "bar", "foo", "bar\r\nx: y", ":path", "/admin", "foo\x00", "bar", "connection", "close", "transfer-encoding", "chunked") {
			a := w.RawHTTP2(t, gatewaytest.HTTP2{Fields: with(w.start()), Body: "abc", Trailers: fieldsOf(l[0], l[1])})
			for _, m := range w.messages(t) {
				absent(t, m.Head, "Foo", "Trailer")
				if strings.Contains(m.Body, "x: y") || m.Body != "" && m.Body != "abc" {
					t.Errorf("the trailer %q: got %s, and %#v at the upstream", l, a, m)
				}
			}
			for _, stream := range w.Upstream.Connections() {
				if strings.Contains(stream, "/admin") || strings.Contains(stream, "x: y") {
					t.Errorf("the trailer %q reached the upstream: %q", l, stream)
				}
			}
			w.Upstream.Forget()
		}
	})
}

func pseudoHeaders(t *testing.T, d *doors) {
	d.http2(t, func(t *testing.T, w way) {
		cookie, path := [][2]string(nil), "/public/x"
		if w.cookie != "" {
			cookie, path = fieldsOf("cookie", w.cookie), "/app"
		}
		try := func(fields ...string) {
			t.Helper()
			w.refusedStream(t, gatewaytest.HTTP2{Fields: append(fieldsOf(fields...), cookie...)}, http.StatusMethodNotAllowed, http.StatusMisdirectedRequest)
		}
		for _, p := range []string{"", " ", path + " ", " " + path, path + " HTTP/1.1\r\nX: y", path + "\r\nHost: evil.test", path + "\nx", path + "\x00", path + "\t", path + "#x", "https://evil.test/", "https://" + w.host + path, "http://" + w.host + "/admin", "*", "x", "../admin", "\\admin", path + "\x80", path + "\x7f", w.host + path, "?", "//evil.test/ x"} {
			try(":method", "GET", ":scheme", "https", ":authority", w.host, ":path", p)
		}
		for _, m := range []string{"", " ", "GET ", " GET", "GET /admin HTTP/1.1\r\nHost: x\r\n\r\n", "GET /admin", "G\x00T", "GET\r\n", "GET\n", "get", "TRACE", "CONNECT", "PRI", "(GET)", "GET\x80"} {
			try(":method", m, ":scheme", "https", ":authority", w.host, ":path", path)
		}
		for _, a := range []string{"", " ", "evil.test", w.host + " evil.test", w.host + "\r\nX: y", w.host + "\x00", w.host + "/admin", w.host + "@evil.test", "evil.test@" + w.host, w.host + ":80:80", w.host + ",evil.test", w.host + "\x80", "[::1", w.host + "?x", w.host + "#x"} {
			try(":method", "GET", ":scheme", "https", ":authority", a, ":path", path)
		}
		for _, s := range []string{"", "ftp", "https\r\nX: y", "https://evil.test/?", "http s"} {
			a := w.RawHTTP2(t, gatewaytest.HTTP2{Fields: append(fieldsOf(":method", "GET", ":scheme", s, ":authority", w.host, ":path", path), cookie...)})
			switch {
			case a.Status == http.StatusOK: // nobody looks at the scheme: what is forwarded says https
				head, _ := w.reached(t)
				exactly(t, head, "X-Forwarded-Proto", "https")
			case a.Status != 0 && a.Status != http.StatusBadRequest:
				t.Errorf(":scheme %q: got %s", s, a)
			}
			w.Upstream.Forget()
		}
		all := fieldsOf(":method", "GET", ":scheme", "https", ":authority", w.host, ":path", path)
		for i, l := range all {
			twice := append(append([][2]string(nil), all...), l)
			w.refusedStream(t, gatewaytest.HTTP2{Fields: append(twice, cookie...)})
			other := append(append([][2]string(nil), all...), [2]string{l[0], "/admin"})
			w.refusedStream(t, gatewaytest.HTTP2{Fields: append(other, cookie...)})
			without := append(append([][2]string(nil), all[:i]...), all[i+1:]...)
			if l[0] != ":authority" { // is refused above, as a request to no host
				w.refusedStream(t, gatewaytest.HTTP2{Fields: append(without, cookie...)})
			}
			late := append(append(append([][2]string(nil), without...), [2]string{"foo", "bar"}), l)
			w.refusedStream(t, gatewaytest.HTTP2{Fields: append(late, cookie...)})
		}
		for _, l := range fieldsOf(":status", "200", ":foo", "bar", ":protocol", "websocket", ":Path", "/admin", ":", "x", ":host", w.host) {
			w.refusedStream(t, gatewaytest.HTTP2{Fields: append(append(append([][2]string(nil), all...), l), cookie...)})
		}
		// Two names of the host: the same one, or 400.
		for _, host := range []string{"evil.test", "other.test", w.host + ":8443", "", w.host + " ", w.host + ",evil.test"} {
			a := w.RawHTTP2(t, gatewaytest.HTTP2{Fields: append(with(all, "host", host), cookie...)})
			switch {
			case a.Status == http.StatusOK:
				head, _ := w.reached(t)
				exactly(t, head, "Host", w.host)
				exactly(t, head, "X-Forwarded-Host", w.host)
			case a.Status != 0 && a.Status != http.StatusBadRequest && a.Status != http.StatusMisdirectedRequest:
				t.Errorf("host %q: got %s", host, a)
			default:
				w.nothingReached(t)
			}
		}
	})
}

func cookieCrumbs(t *testing.T, d *doors) {
	d.http2(t, func(t *testing.T, w way) {
		own := w.Cookie() + "=" + strings.Repeat("A", 43)
		if w.cookie != "" {
			own = w.cookie
		}
		for _, tt := range []struct {
			name   string
			crumbs []string
			want   []string
		}{
			{"three", []string{"a=1", "b=2", "c=3"}, []string{"a=1; b=2; c=3"}},
			{"with ours between", []string{"a=1", own, "b=2"}, []string{"a=1; b=2"}},
			{"ours within a crumb", []string{"a=1; " + own + "; b=2", "c=3"}, []string{"a=1; b=2; c=3"}},
			{"ours alone", []string{own}, nil},
			{"fifty", strings.Split(strings.TrimSuffix(strings.Repeat("x=y|", 50), "|"), "|"), []string{strings.TrimSuffix(strings.Repeat("x=y; ", 50), "; ")}},
			{"the same twice", []string{"a=1", "a=2"}, []string{"a=1; a=2"}},
		} {
			q := gatewaytest.HTTP2{Fields: request{Target: "/optional/x"}.http2(w.host).Fields}
			has := false
			for _, crumb := range tt.crumbs {
				q.Fields = append(q.Fields, [2]string{"cookie", crumb})
				has = has || strings.Contains(crumb, own)
			}
			if a := w.RawHTTP2(t, q); a.Status != http.StatusOK {
				t.Fatalf("%s: got %s", tt.name, a)
			}
			want := onlyNobody
			if has && w.cookie != "" {
				want = onlyAlice
			}
			head, _ := w.seen(t, want)
			exactly(t, head, "Cookie", tt.want...)
		}
		if w.cookie == "" {
			return
		}
		// One cookie cut in two is none.
		a := w.RawHTTP2(t, gatewaytest.HTTP2{Fields: with(request{}.http2(w.host).Fields, "cookie", w.cookie[:30], "cookie", w.cookie[30:])})
		w.denied(t, a)
	})
}

func clearText(t *testing.T, d *doors) {
	f := d.Plain()
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	for _, text := range []string{preface, preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00", "PRI * HTTP/2.0\r\nHost: " + f.host + "\r\n\r\nSM\r\n\r\n"} {
		for _, g := range []*front{f, d.TLS()} { // and inside TLS where HTTP/1.1 was agreed on
			g.Upstream.Forget()
			c := g.Dial(t)
			c.Send(text)
			if a := c.Answer("PRI"); a.Status != http.StatusBadRequest && a.Status != http.StatusMethodNotAllowed && a.Status != http.StatusHTTPVersionNotSupported {
				t.Errorf("%q: got %s, want 400, 405 or 505", text, a)
			}
			g.nothingReached(t)
			c.Close()
		}
	}
	// Settings are no request either: nothing but HTTP/1.1 comes back.
	c := f.Dial(t)
	c.Send(preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	rest, _ := io.ReadAll(c)
	if !strings.HasPrefix(string(rest), "HTTP/1.1 ") || strings.Contains(string(rest), "\x00\x00") {
		t.Errorf("prior knowledge: got %q", rest)
	}
	for _, signedIn := range []bool{true, false} {
		d.http1(t, signedIn, func(t *testing.T, w way) {
			target, lines := "/public/x", [][2]string(nil)
			if signedIn {
				target, lines = "/app", fieldsOf("Cookie", w.cookie)
			}
			for _, upgrade := range []string{"h2c", "H2C", "h2c, websocket", "h2", "h2c\t", "h2c;q=1"} {
				for _, body := range []string{"", preface} {
					for _, switches := range []bool{false, true} {
						w.Upstream.Take(func(head string, r *bufio.Reader, c net.Conn) bool {
							if !switches {
								return echoApp(head, r, c)
							}
							io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
							io.Copy(io.Discard, r)
							return false
						})
						q := request{Method: "POST", Target: target, Lines: with(lines, "Connection", "Upgrade, HTTP2-Settings", "Upgrade", upgrade, "HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"), Body: body}
						a := w.Raw(t, q.text(w.host))
						if want := map[bool]int{false: http.StatusOK, true: http.StatusBadGateway}[switches]; a.Status != want {
							t.Errorf("Upgrade: %q: got %s, want %d", upgrade, a, want)
						}
						head, _ := w.reached(t)
						absent(t, head, "Upgrade", "HTTP2-Settings", "Connection")
					}
				}
			}
		})
	}
}
