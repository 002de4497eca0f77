package catalogue_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"portero/internal/gatewaytest"
)

func informational(t *testing.T, d *doors) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nLink: </style.css>; rel=preload\r\nSet-Cookie: app=1; Path=/\r\nEtag: \"1\"\r\nContent-Length: 2\r\n\r\nok"
	repeat := func(status string, n int) string { return strings.Repeat("HTTP/1.1 "+status+"\r\n\r\n", n) }
	const hints = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nSet-Cookie: __Host-portero=evil; Path=/; Secure\r\nX-Auth-Email: evil@example.com\r\nConnection: close\r\nX-Hint: yes\r\n\r\n"
	d.signedIn(t, func(t *testing.T, w way) {
		for name, c := range map[string]struct {
			before string
			want   []int // the 1xx at the client; nil: none
			status int
		}{
			"early hints":                     {hints, []int{103}, 200},
			"continue, twice":                 {repeat("100 Continue", 2), nil, 200},
			"processing":                      {repeat("102 Processing", 3), []int{102, 102, 102}, 200},
			"all of them":                     {hints + repeat("100 Continue", 1) + repeat("102 Processing", 1) + hints, []int{103, 102, 103}, 200},
			"a thousand":                      {repeat("102 Processing", 1000), slices.Repeat([]int{102}, 16), 200},
			"more than a thousand":            {repeat("102 Processing", 1100), slices.Repeat([]int{102}, 16), 502},
			"one of 300 KiB":                  {"HTTP/1.1 103 Early Hints\r\nX-Foo: " + strings.Repeat("a", 300<<10) + "\r\n\r\n", nil, 502},
			"many of 20 KiB":                  {strings.Repeat("HTTP/1.1 103 Early Hints\r\nX-Foo: "+strings.Repeat("a", 20<<10)+"\r\n\r\n", 20), nil, 0},
			"switching that nobody asked for": {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", nil, 502},
		} {
			w.Upstream.Say(func(string) string { return c.before + answer }, true)
			a := w.ask(t, request{})
			if c.status != 0 && a.Status != c.status || c.status == 0 && a.Status != 200 && a.Status != 502 {
				t.Errorf("%s: got %s, want %d", name, a, c.status)
			}
			if c.status != 0 && !slices.Equal(a.Informational, c.want) {
				t.Errorf("%s: got %d before it, want %d", name, a.Informational, c.want)
			}
			if len(a.Informational) > 16 {
				t.Errorf("%s: got %d informational answers", name, len(a.Informational))
			}
			if a.Status == 200 && (a.Body != "ok" || a.Header.Get("Etag") != `"1"` || a.Header.Get("Link") == "" || strings.Join(a.Header["Set-Cookie"], ",") != "app=1; Path=/" || a.Header.Get("Cache-Control") != "private, no-store") {
				t.Errorf("%s: the answer has lost something: %v %q", name, a.Header, a.Body)
			}
			w.Upstream.Forget()
		}
		w.Upstream.Say(nil, false)
	})
	// What the hints say, and that a cookie of the gateway's comes with the answer and not before.
	for _, f := range []*front{d.TLS(), d.Plain()} {
		f.Upstream.Say(func(string) string { return hints + answer }, true)
		c := f.Dial(t)
		c.Send("GET /optional/x HTTP/1.1\r\nHost: gw.test\r\nConnection: close\r\nCookie: " + f.Cookie() + "=" + strings.Repeat("A", 43) + "\r\n\r\n")
		text, _ := io.ReadAll(c)
		first, rest, _ := strings.Cut(string(text), "\r\n\r\n")
		if !strings.HasPrefix(first, "HTTP/1.1 103 ") || len(gatewaytest.Header(first, "Link")) != 1 || len(gatewaytest.Header(first, "X-Hint")) != 1 {
			t.Errorf("got %q first, want the early hints", first)
		}
		for _, name := range []string{"Set-Cookie", "X-Auth-Email", "Connection", "Cache-Control", "Portero-Code"} {
			if got := gatewaytest.Header(first, name); len(got) != 0 {
				t.Errorf("the early hints have %s: %q", name, got)
			}
		}
		if got := gatewaytest.Header(rest, "Set-Cookie"); len(got) != 2 || !strings.Contains(strings.Join(got, "\n"), f.Cookie()+"=; ") {
			t.Errorf("the answer has the cookies %q, want the application's, and the gateway's dropped", got)
		}
		if a := f.Raw(t, "GET /public/x HTTP/1.0\r\nHost: gw.test\r\n\r\n"); a.Status != 200 || len(a.Informational) != 0 {
			t.Errorf("HTTP/1.0: got %s after %d, want nothing before it", a, a.Informational)
		}
		f.Upstream.Say(nil, false)
		f.Upstream.Forget()
	}
}

func expectations(t *testing.T, _ *doors) {
	var bodies, requests atomic.Int64
	var refuse atomic.Value // a status line; "": the body is wanted
	up := newPeer(t, func(c net.Conn, r *bufio.Reader) {
		for {
			head, err := readHead(r)
			if err != nil {
				return
			}
			requests.Add(1)
			status := refuse.Load().(string)
			if len(gatewaytest.Header(head, "Expect")) == 0 {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain")
				continue
			}
			if status != "" {
				io.WriteString(c, "HTTP/1.1 "+status+"\r\nContent-Length: 2\r\n\r\nno")
				if n, _ := io.Copy(io.Discard, r); n > 0 { // whatever comes now, nobody has asked for it
					bodies.Add(n)
				}
				return
			}
			io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
			size, _ := strconv.Atoi(gatewaytest.Header(head, "Content-Length")[0])
			n, _ := io.CopyN(io.Discard, r, int64(size))
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n%04d", n)
		}
	})
	refuse.Store("")
	own := behind(t, "up", "", up.addr)
	for _, f := range []*front{own.TLS(), own.Plain()} {
		head := func(target, more string) string {
			return "POST " + target + " HTTP/1.1\r\nHost: gw.test\r\nCookie: " + f.alice + "\r\nOrigin: https://gw.test\r\nSec-Fetch-Site: same-origin\r\n" + more
		}
		const expecting = "Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n"
		for range 3 {
			refuse.Store("")
			c := f.Dial(t)
			c.Send(head("/up/x", expecting))
			if l, err := readHead(bufio.NewReaderSize(oneByOne{c}, 16)); err != nil || !strings.HasPrefix(l, "HTTP/1.1 100 Continue") {
				t.Fatalf("an upload that is wanted: got %q (%v), want to be told to continue", l, err)
			}
			c.Send(strings.Repeat("x", 1000))
			if a := c.Answer("POST"); a.Status != http.StatusOK || a.Body != "1000" || len(a.Informational) != 0 {
				t.Errorf("an upload that is wanted: got %s %q after %d", a, a.Body, a.Informational)
			}
			for _, status := range []string{"417 Expectation Failed", "401 Unauthorized", "500 Internal Server Error", "413 Too Large", "200 OK"} {
				refuse.Store(status)
				c := f.Dial(t)
				c.Send(head("/up/x", expecting))
				a := c.Answer("POST")
				if strconv.Itoa(a.Status) != status[:3] || a.Body != "no" || len(a.Informational) != 0 {
					t.Errorf("%s: got %s %q after %d, want it and nothing before", status, a, a.Body, a.Informational)
				}
				// The next request: on the same connection, where it is kept, and at the same application.
				if !a.Close {
					c.Send(head("/up/next", "Content-Length: 0\r\n\r\n"))
					if a := c.Answer("POST"); a.Status != 0 && (a.Status != http.StatusOK || a.Body != "plain") {
						t.Errorf("the next request after %s: got %s %q, want 200", status, a, a.Body)
					}
				}
				c.Close()
				if a := f.Raw(t, head("/up/next", "Content-Length: 0\r\n\r\n")); a.Status != http.StatusOK || a.Body != "plain" {
					t.Errorf("somebody's request after %s: got %s %q, want 200", status, a, a.Body)
				}
			}
		}
		// Without a session the body is not asked for at all.
		seen := requests.Load()
		c := f.Dial(t)
		c.Send("POST /up/x HTTP/1.1\r\nHost: gw.test\r\n" + expecting)
		if a := c.Answer("POST"); a.Status != http.StatusUnauthorized || len(a.Informational) != 0 || requests.Load() != seen {
			t.Errorf("without a session: got %s after %d, want 401 and nothing before", a, a.Informational)
		}
	}
	if got := bodies.Load(); got != 0 {
		t.Errorf("the application was sent %d bytes that it had refused", got)
	}
}

// oneByOne gives no more than a byte, so that nothing is read ahead.
type oneByOne struct{ io.Reader }

func (r oneByOne) Read(p []byte) (int, error) { return r.Reader.Read(p[:1]) }

func noAnswers(t *testing.T, d *doors) {
	const secret = "of-the-application"
	d.signedIn(t, func(t *testing.T, w way) {
		for name, c := range map[string]struct {
			answer string
			status int // 0: it breaks off, or is no more than its head said
		}{
			"it closes":                          {"", 502},
			"it is no HTTP":                      {"SSH-2.0-OpenSSH_9.9\r\n\r\n", 502},
			"HTTP/0.9":                           {"<html>" + secret, 502},
			"half a head":                        {"HTTP/1.1 200 OK\r\nContent-Ty", 502},
			"999":                                {"HTTP/1.1 999 " + secret + "\r\nContent-Length: 0\r\n\r\n", 502},
			"600":                                {"HTTP/1.1 600 " + secret + "\r\nContent-Length: 0\r\n\r\n", 502},
			"000":                                {"HTTP/1.1 000 " + secret + "\r\nContent-Length: 0\r\n\r\n", 502},
			"099":                                {"HTTP/1.1 099 " + secret + "\r\nContent-Length: 0\r\n\r\n", 502},
			"20":                                 {"HTTP/1.1 20 " + secret + "\r\nContent-Length: 0\r\n\r\n", 502},
			"2000":                               {"HTTP/1.1 2000 " + secret + "\r\nContent-Length: 0\r\n\r\n", 502},
			"-200":                               {"HTTP/1.1 -20 " + secret + "\r\nContent-Length: 0\r\n\r\n", 502},
			"another version":                    {"HTTP/3.7 abc " + secret + "\r\nContent-Length: 0\r\n\r\n", 502},
			"a switch nobody asked for":          {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + secret, 502},
			"two lengths":                        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 502},
			"a list of lengths":                  {"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nab", 502},
			"a negative length":                  {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nab", 502},
			"a length in letters":                {"HTTP/1.1 200 OK\r\nContent-Length: " + secret + "\r\n\r\nab", 502},
			"an unknown transfer coding":         {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 502},
			"two transfer codings":               {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 502},
			"a head of a MiB":                    {"HTTP/1.1 200 OK\r\nX-Foo: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", 502},
			"a hundred thousand headers":         {"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 100_000) + "\r\n", 502},
			"a status line of a MiB":             {"HTTP/1.1 200 " + strings.Repeat("a", 1<<20) + "\r\n\r\n", 502},
			"a header without colon":             {"HTTP/1.1 200 OK\r\n" + secret + "\r\n\r\n", 502},
			"a header without a name":            {"HTTP/1.1 200 OK\r\n: " + secret + "\r\n\r\n", 502},
			"a blank in a name":                  {"HTTP/1.1 200 OK\r\nX Foo: " + "x" + "\r\n\r\n", 200},
			"a blank before a colon":             {"HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\nok", 200},
			"a continued first line":             {"HTTP/1.1 200 OK\r\n " + secret + ": x\r\n\r\n", 502},
			"NUL in a header":                    {"HTTP/1.1 200 OK\r\nX-Foo: a\x00b\r\nContent-Length: 0\r\n\r\n", 502},
			"half a body":                        {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", 0},
			"half a chunk":                       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nabc", 0},
			"no reason":                          {"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200},
			"an empty reason":                    {"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", 200},
			"an unknown status":                  {"HTTP/1.1 299 " + secret + "\r\nContent-Length: 2\r\n\r\nok", 299},
			"the same length twice":              {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", 200},
			"bare line feeds":                    {"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200},
			"HTTP/1.0":                           {"HTTP/1.0 200 OK\r\n\r\nok", 200},
			"a body behind 204":                  {"HTTP/1.1 204 No Content\r\n\r\n" + secret, 204},
			"a body behind 304":                  {"HTTP/1.1 304 Not Modified\r\nContent-Length: 19\r\n\r\n" + secret, 304},
			"an answer behind the answer":        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n" + secret, 200},
			"more than was announced":            {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + secret, 200},
			"an answer to what nobody asked for": {"HTTP/1.1 408 Request Timeout\r\nContent-Length: 2\r\n\r\nok", 408},
		} {
			t.Run(name, func(t *testing.T) {
				w.Upstream.Say(func(string) string { return c.answer }, true)
				a := w.ask(t, request{Lines: navigation})
				if c.status == 0 {
					if a.Status != 0 && a.Err == nil {
						t.Errorf("got %s with %q as a whole answer, want it broken off", a, a.Body)
					}
				} else if a.Status != c.status {
					t.Fatalf("got %s (%q), want %d", a, a.Body[:min(len(a.Body), 100)], c.status)
				}
				if a.Status == 502 {
					if !strings.HasPrefix(a.Header.Get("Proxy-Status"), "portero; error=") || a.Header.Get("Portero-Code") == "" {
						t.Errorf("Proxy-Status %q, Portero-Code %q: want both", a.Header.Get("Proxy-Status"), a.Header.Get("Portero-Code"))
					}
					for _, bad := range []string{"OpenSSH", "127.0.0.1", secret, "h2c", "malformed"} {
						if strings.Contains(a.Body, bad) {
							t.Errorf("the page has %q of the application", bad)
						}
					}
					if strings.Contains(a.Body, "<script") || strings.Contains(a.Body, " onerror") {
						t.Error("the page has something that runs")
					}
				} else if strings.Contains(a.Body, secret) {
					t.Errorf("got %q, want no more than was announced", a.Body)
				}
				for name := range a.Header { // net/http reads such names, and passes none on
					if strings.Contains(name, " ") {
						t.Errorf("the answer has a header %q", name)
					}
				}
				// What came behind it belongs to nobody.
				w.Upstream.Say(func(string) string { return "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext" }, false)
				for range 3 {
					if a := w.ask(t, request{}); a.Status != http.StatusOK || a.Body != "next" {
						t.Errorf("the next request: got %s %q, want its own answer", a, a.Body)
					}
				}
			})
		}
		w.Upstream.Say(func(string) string { return "HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n" + secret }, true)
		if a := w.ask(t, request{Method: "HEAD"}); a.Status != http.StatusOK || a.Body != "" {
			t.Errorf("a body behind HEAD: got %s %q, want none", a, a.Body)
		}
		w.Upstream.Say(nil, false)
		if a := w.ask(t, request{}); a.Status != http.StatusOK || strings.Contains(a.Body, secret) {
			t.Errorf("the request behind it: got %s %q", a, a.Body)
		}
		w.calm(t)
		w.Upstream.Forget()
	})
}

func connectionIdentities(t *testing.T, _ *doors) {
	// An application that believes a connection once it has seen credentials on it.
	var believed atomic.Int64
	var challenge atomic.Value
	challenge.Store("")
	up := newPeer(t, func(c net.Conn, r *bufio.Reader) {
		who := "nobody"
		for {
			head, err := readHead(r)
			if err != nil {
				return
			}
			for _, l := range append(gatewaytest.Header(head, "Authorization"), gatewaytest.Header(head, "Proxy-Authorization")...) {
				if l = strings.ToLower(strings.TrimSpace(l)); strings.HasPrefix(l, "ntlm") || strings.HasPrefix(l, "negotiate") {
					who = "somebody"
					believed.Add(1)
				}
			}
			fmt.Fprintf(c, "HTTP/1.1 401 Unauthorized\r\n%sContent-Length: %d\r\n\r\n%s", challenge.Load(), len(who), who)
		}
	})
	own := behind(t, "up", "", up.addr)
	for challenges, want := range map[string][]string{
		"WWW-Authenticate: NTLM\r\n": nil, "WWW-Authenticate: Negotiate\r\n": nil, "WWW-Authenticate: negotiate TlRMTVNTUAAC\r\n": nil, "WWW-Authenticate: nTLM abc==\r\n": nil,
		"WWW-Authenticate: Negotiate\r\nWWW-Authenticate: NTLM\r\nWWW-Authenticate: Basic realm=\"x\"\r\n": {`Basic realm="x"`},
		"WWW-Authenticate: Negotiate, NTLM, Basic realm=\"a, NTLM b\"\r\n":                                 {`Basic realm="a, NTLM b"`},
		"www-authenticate: Bearer realm=\"x\", Negotiate abc, Digest nonce=\"y\"\r\n":                      {`Bearer realm="x", Digest nonce="y"`},
	} {
		challenge.Store(challenges)
		own.signedIn(t, func(t *testing.T, w way) {
			a := w.ask(t, request{Target: "/up/x"})
			if got := a.Header["Www-Authenticate"]; a.Status != http.StatusUnauthorized || strings.Join(got, "|") != strings.Join(want, "|") {
				t.Errorf("%q: got %s with %q, want 401 with %q", challenges, a, got, want)
			}
			for _, credentials := range []string{"NTLM TlRMTVNTUAAD", "Negotiate YII", "ntlm abc", "\tNegotiate\tabc", "NEGOTIATE"} {
				for _, name := range []string{"Authorization", "authorization", "Proxy-Authorization"} {
					if w.h2 && strings.HasPrefix(credentials, "\t") {
						continue
					}
					a := w.ask(t, request{Target: "/up/x", Lines: fieldsOf(name, credentials)})
					if a.Body != "nobody" {
						t.Errorf("%s: %s: the application answers %q to Alice", name, credentials, a.Body)
					}
				}
			}
			bobs := way{front: w.front, h2: w.h2, cookie: w.signIn(t, bob)}
			for range 3 {
				if a := bobs.ask(t, request{Target: "/up/x"}); a.Body != "nobody" {
					t.Errorf("Bob is %q", a.Body)
				}
			}
			if a := w.ask(t, request{Target: "/up/x", Lines: fieldsOf("Authorization", "Basic YTpi")}); a.Status != http.StatusUnauthorized {
				t.Errorf("Basic: got %s", a)
			}
		})
	}
	if got := believed.Load(); got != 0 {
		t.Errorf("credentials of a connection have arrived %d times", got)
	}
	if !strings.Contains(own.TLS().Log.String(), "NTLM or Negotiate") {
		t.Error("the log does not say why the application's challenge is missing")
	}
}

func redirectsInside(t *testing.T, d *doors) {
	d.signedIn(t, func(t *testing.T, w way) {
		inside := strings.TrimPrefix(w.Upstream.URL, "http://")
		_, port, _ := strings.Cut(inside, ":")
		for location, want := range map[string]string{
			"http://" + inside + "/x":       "https://gw.test/x",
			"HTTP://" + inside + "/x?a=b#c": "https://gw.test/x?a=b#c",
			"http://" + inside:              "https://gw.test",
			"http://" + inside + "?q":       "https://gw.test?q",
			"//" + inside + "/x":            "https://gw.test/x",
			"http://" + inside + "/%2e%2e/": "https://gw.test/%2e%2e/",
			"http://" + inside + `\@evil`:   `https://gw.test\@evil`,
			// Everything else is the application's to say.
			"/x": "/x", "x/y": "x/y", "?q": "?q", "": "", "https://gw.test/x": "https://gw.test/x", "//other.test/x": "//other.test/x", "https://elsewhere.test/": "https://elsewhere.test/",
			"http://127.0.0.1:1" + port + "/x": "http://127.0.0.1:1" + port + "/x", "http://user@" + inside + "/x": "http://user@" + inside + "/x",
			"/x?next=http://" + inside: "/x?next=http://" + inside, "ftp://" + inside + "/": "ftp://" + inside + "/",
		} {
			for _, status := range []string{"301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent", "201 Created"} {
				w.Upstream.Say(func(string) string {
					return "HTTP/1.1 " + status + "\r\nLocation: " + location + "\r\nContent-Location: " + location + "\r\nContent-Length: 0\r\n\r\n"
				}, false)
				a := w.ask(t, request{Target: "/app/x"})
				if got := a.Header.Get("Location"); strconv.Itoa(a.Status) != status[:3] || got != want || a.Header.Get("Content-Location") != want {
					t.Errorf("%s to %q: got %s to %q and %q, want %q", status, location, a, got, a.Header.Get("Content-Location"), want)
				}
			}
		}
		w.Upstream.Say(func(string) string {
			return "HTTP/1.1 302 Found\r\nLocation: http://" + inside + "/x\r\nContent-Length: 0\r\n\r\n"
		}, false)
		if a := (way{front: w.front, h2: w.h2}).ask(t, request{Target: "/public/x", Lines: fieldsOf("X-Forwarded-Host", "evil.test")}); a.Header.Get("Location") != "https://gw.test/x" {
			t.Errorf("with a spoofed host: got %q", a.Header.Get("Location"))
		}
		w.Upstream.Say(nil, false)
		w.Upstream.Forget()
	})
}

func applicationCookies(t *testing.T, d *doors) {
	d.signedIn(t, func(t *testing.T, w way) {
		pass := []string{
			"app=1", "app=1; Domain=internal; Path=/api", "app=1; Path=/api; HttpOnly; SameSite=None; Secure", "a=b=c; Path=/", `q="a;b"`, "=portless", "portero=1; Path=/",
			"__Host-app=1; Secure; Path=/", "__Secure-app=1; Secure", "x__Host-portero=1", "app=\"__Host-portero=evil\"", "app=1; Expires=Wed, 21 Oct 2099 07:28:00 GMT",
		}
		refuse := []string{
			"__Host-portero=evil; Path=/; Secure", "__Host-portero=; Max-Age=0", "__Host-portero-abc=evil", "__Host-portero-lang=xx", " __Host-portero=evil", "\t__Host-portero =evil",
			"=__Host-portero=evil", "__Host-portero", "__Host-portero=evil; Domain=gw.test",
		}
		for _, target := range []string{"/app", "/api/x", "/public/x"} {
			var lines strings.Builder
			for _, c := range append(slices.Clone(pass), refuse...) {
				lines.WriteString("Set-Cookie: " + c + "\r\n")
			}
			w.Upstream.Say(func(string) string { return "HTTP/1.1 200 OK\r\n" + lines.String() + "Content-Length: 2\r\n\r\nok" }, false)
			a := w.ask(t, request{Target: target})
			if got := a.Header["Set-Cookie"]; a.Status != http.StatusOK || strings.Join(got, "\n") != strings.Join(pass, "\n") {
				t.Errorf("%s: got %s with %q, want %q", target, a, got, pass)
			}
		}
		w.Upstream.Say(nil, false)
		w.Upstream.Forget()
		if a := w.ask(t, request{}); a.Status != http.StatusOK {
			t.Errorf("the session afterwards: got %s, want 200", a)
		}
	})
}
