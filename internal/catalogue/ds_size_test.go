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
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// calm fails when something inside the program broke off.
func (f *front) calm(t *testing.T) {
	t.Helper()
	log := f.Log.String()
	for _, word := range []string{`"panic"`, "panic serving", "runtime error", "goroutine ", "superfluous", "broke off inside"} {
		if strings.Contains(log, word) {
			t.Errorf("the log has %s", word)
		}
	}
}

func largeHeads(t *testing.T, d *doors) {
	const mib = 1 << 20
	fill := func(n int) string { return strings.Repeat("a", n) }
	many := func(n int) (out [][2]string) {
		for i := range n {
			out = append(out, [2]string{"X-Foo-" + strconv.Itoa(i), "a"})
		}
		return out
	}
	d.each(t, func(t *testing.T, w way) {
		for name, q := range map[string]request{
			"a MiB less one":               {Lines: fieldsOf("X-Foo", fill(mib-len("X-Foo: ")-1))},
			"a MiB and one":                {Lines: fieldsOf("X-Foo", fill(mib+1))},
			"ten thousand fields":          {Lines: many(10_000)},
			"ten thousand of one name":     {Lines: with(nil, strings.Split(strings.Repeat("X-Foo,a,", 10_000), ",")[:20_000]...)},
			"a field of 72 KiB":            {Lines: fieldsOf("X-Foo", fill(72<<10))},
			"a name of 72 KiB":             {Lines: fieldsOf("X-"+fill(72<<10), "a")},
			"a cookie of 72 KiB":           {Lines: fieldsOf("Cookie", "a="+fill(72<<10))},
			"ten thousand cookies":         {Lines: with(nil, strings.Split(strings.Repeat("Cookie,abcd=efgh,", 10_000), ",")[:20_000]...)},
			"a target of 72 KiB":           {Target: "/" + fill(72<<10)},
			"a query of 72 KiB":            {Target: "/?" + fill(72<<10)},
			"a stranger's public resource": {Target: "/public/x", Lines: fieldsOf("X-Foo", fill(mib))},
			"a sign-in":                    {Target: "/sign-in?return_to=/" + fill(mib), Lines: navigation},
		} {
			a := w.ask(t, q)
			if a.Status != http.StatusRequestHeaderFieldsTooLarge && (!w.h2 || a.Status != 0) {
				t.Errorf("%s: got %s, want 431", name, a)
			}
			w.nothingReached(t)
			if len(a.Header["Set-Cookie"]) != 0 {
				t.Errorf("%s: got %q", name, a.Header["Set-Cookie"])
			}
		}
		// Just below: it passes whole.
		if w.cookie != "" {
			a := w.ask(t, request{Lines: fieldsOf("X-Foo", fill(60<<10))})
			if head, _ := w.reached(t); a.Status != http.StatusOK || len(gatewaytest.Header(head, "X-Foo")[0]) != 60<<10 {
				t.Errorf("a field of 60 KiB: got %s, want it passed", a)
			}
		}
	})
	d.TLS().calm(t)
}

func largeUploads(t *testing.T, _ *doors) {
	const size = 512 << 20
	var begun, whole, broken atomic.Int64
	up := newPeer(t, func(c net.Conn, r *bufio.Reader) {
		for buf := make([]byte, 256<<10); ; {
			head, err := readHead(r)
			if err != nil {
				return
			}
			if strings.HasPrefix(head, "GET ") {
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
				for range size / len(buf) {
					c.Write(buf)
				}
				continue
			}
			begun.Add(1)
			length := int64(-1)
			if l := gatewaytest.Header(head, "Content-Length"); len(l) == 1 {
				length, _ = strconv.ParseInt(l[0], 10, 64)
			}
			var body io.Reader = io.LimitReader(r, length)
			if length < 0 { // in chunks
				body = httpChunks(r)
			}
			n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{body}, buf)
			if err != nil || length >= 0 && n < length {
				broken.Add(1)
				return
			}
			whole.Add(n)
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%d", len(strconv.FormatInt(n, 10)), n)
		}
	})
	list := strings.ReplaceAll(strict, "UPSTREAM", strconv.Quote("http://"+up.addr))
	inTLS, plain := unsigned(t, gatewaytest.Options{TLS: true, Routes: list}), unsigned(t, gatewaytest.Options{Routes: list})
	zeros := make([]byte, 1<<20)
	var wg sync.WaitGroup
	run := func() {
		for _, u := range []*upload{
			way{front: plain}.upload(t, "PUT", "/public/u", size), way{front: plain}.upload(t, "PUT", "/public/u", -1),
			way{front: inTLS}.upload(t, "PUT", "/public/u", size), way{front: inTLS, h2: true}.upload(t, "PUT", "/public/u", -1),
		} {
			wg.Go(func() {
				for range size / len(zeros) {
					if _, err := u.Write(zeros); err != nil {
						t.Errorf("writing: %v", err)
						break
					}
				}
				u.end()
				if a := <-u.answer; a.Status != http.StatusOK || a.Body != strconv.Itoa(size) {
					t.Errorf("got %s %q, want %d bytes", a, a.Body, size)
				}
			})
		}
		wg.Wait()
	}
	began := time.Now()
	var two int
	one := plain.peak(t, func() { two = inTLS.peak(t, run) })
	t.Logf("4 times %d MiB in %s; memory grew by %d and %d KiB", size>>20, time.Since(began), one, two)
	flat(t, "of the plain one", one, 64)
	flat(t, "of the one in TLS", two, 64)

	for n, w := range []way{{front: plain}, {front: inTLS}, {front: inTLS, h2: true}} {
		for i, length := range []int64{size, -1} {
			want := int64(2*n + i + 1)
			u := w.upload(t, "PUT", "/public/u", length)
			u.Write(zeros)
			gatewaytest.Await(t, "it has begun to arrive", func() bool { return begun.Load() == 4+want })
			u.leave()
			gatewaytest.Await(t, "the application sees that the client is gone", func() bool { return broken.Load() == want })
		}
	}
	// And the other way.
	for name, w := range map[string]way{"plain": {front: plain}, "over HTTP/2": {front: inTLS, h2: true}} {
		client := w.http2Client(t)
		if !w.h2 {
			client = &http.Client{Transport: &http.Transport{DialContext: client.Transport.(*http.Transport).DialContext, DisableKeepAlives: true}}
		}
		flat(t, "in a download "+name, w.peak(t, func() {
			resp, err := client.Get(map[bool]string{true: w.URL, false: "http://gw.test"}[w.h2] + "/public/d")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != size || resp.StatusCode != http.StatusOK {
				t.Errorf("a download %s: got %s with %d bytes, %v, want %d", name, resp.Status, n, err, size)
			}
		}), 64)
	}
	if got := whole.Load(); got != 4*size {
		t.Errorf("whole bodies: %d bytes, want %d", got, 4*size)
	}
}

// httpChunks reads the data of a body in chunks, to its end.
func httpChunks(r *bufio.Reader) io.Reader {
	var left int64
	ended := false
	return reader(func(p []byte) (int, error) {
		if ended {
			return 0, io.EOF
		}
		if left == 0 {
			l, err := r.ReadString('\n')
			if err != nil {
				return 0, io.ErrUnexpectedEOF
			}
			if left, err = strconv.ParseInt(strings.TrimSpace(l), 16, 64); err != nil {
				return 0, err
			}
			if left == 0 {
				ended = true
				if _, err := r.ReadString('\n'); err != nil {
					return 0, io.ErrUnexpectedEOF
				}
				return 0, io.EOF
			}
		}
		n, err := r.Read(p[:min(int64(len(p)), left)])
		if left -= int64(n); left == 0 && err == nil {
			_, err = r.Discard(2)
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return n, err
	})
}

type reader func([]byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }

func chunkExtensions(t *testing.T, d *doors) {
	extended := func(n, extension int) string {
		return strings.Repeat("1;"+strings.Repeat("e", extension)+"\r\na\r\n", n) + "0\r\n\r\n"
	}
	const head = "Transfer-Encoding: chunked\r\nOrigin: https://gw.test\r\nSec-Fetch-Site: same-origin\r\n\r\n"
	for _, f := range []*front{d.TLS(), d.Plain()} {
		post := "POST /app/chunks HTTP/1.1\r\nHost: gw.test\r\nCookie: " + f.alice + "\r\n" + head
		for name, body := range map[string]string{
			"1-byte chunks with 100 bytes of extensions": extended(100_000, 100), "extensions of 1 KiB": extended(10_000, 1<<10), "one extension of 8 KiB": extended(1, 8<<10),
			"lengths with zeros in front": strings.Repeat(strings.Repeat("0", 100)+"1\r\na\r\n", 10_000) + "0\r\n\r\n",
		} {
			f.Upstream.Forget()
			open := f.Upstream.Open()
			c := f.Dial(t)
			sent := make(chan struct{})
			go func() { c.Send(post + body); close(sent) }()
			if a := c.Answer("POST"); a.Status != http.StatusBadRequest && a.Status != 0 {
				t.Errorf("%s: got %s, want 400", name, a)
			}
			c.Close()
			<-sent
			if got := f.Upstream.Requests(); len(got) != 0 {
				t.Errorf("%s: the application has read %q to its end", name, got)
			}
			if got := len(f.Upstream.Bytes()); got > 64<<10 {
				t.Errorf("%s: the application has got %d bytes, want it to have broken off", name, got)
			}
			gatewaytest.Await(t, "the application is let go", func() bool { return f.Upstream.Open() <= open })
		}
		// Small chunks are no crime, and neither is an extension.
		f.Upstream.Forget()
		a := f.Raw(t, post+strings.Repeat("1\r\na\r\n", 10_000)+"3;name=value\r\nabc\r\n0\r\n\r\n")
		all := f.Upstream.Connections()
		_, rest, _ := strings.Cut(all[len(all)-1], "\r\n\r\n")
		got, err := io.ReadAll(httpChunks(bufio.NewReader(strings.NewReader(rest))))
		if a.Status != http.StatusOK || err != nil || string(got) != strings.Repeat("a", 10_000)+"abc" || strings.Contains(rest, ";") {
			t.Errorf("small chunks: got %s, and %d bytes (%v) at the application, want 10,003 without extensions", a, len(got), err)
		}
	}
	d.signedIn(t, func(t *testing.T, w way) {
		w.Upstream.Say(func(string) string {
			return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + extended(100_000, 100)
		}, true)
		if a := w.ask(t, request{}); a.Err == nil {
			t.Errorf("from the application: got %s with %d bytes to a clean end, want it broken off", a, len(a.Body))
		}
		w.Upstream.Say(nil, false)
		w.Upstream.Forget()
	})
}

func largeForms(t *testing.T, d *doors) {
	const length = 10 << 20
	keys := strings.Repeat("a=&", 22<<10)
	long := "return_to=/" + strings.Repeat("a", 66<<10)
	d.each(t, func(t *testing.T, w way) {
		rows := w.Sessions(t)
		calls := w.Issuer.Calls("/oidc/token")
		for target, status := range map[string]int{
			"/sign-out": 413, "/_portero/sign-out": 413, "/_portero/sessions/end": 413, gatewaytest.LogoutPath: 413,
			"/callback": 405, "/_portero/callback": 405, "/sign-in": 405, "/_portero/": 405, "/_portero/session": 405, "/_portero/language": 405, "/_portero/healthz": 405,
		} {
			for name, body := range map[string]string{"many keys": keys, "one value": long, "no form": strings.Repeat("%", 66<<10), "a token": "logout_token=" + strings.Repeat("a.", 33<<10)} {
				if status == http.StatusMethodNotAllowed && name != "many keys" {
					continue // whatever it is, it is not read
				}
				for _, announced := range []int64{length, -1} {
					u := w.upload(t, "POST", target, announced, "Content-Type", "application/x-www-form-urlencoded", "Accept", "text/html")
					io.WriteString(u, body) // and no more: whoever wants all of it first waits for ever
					a := u.answered(t)
					if a.Status != status {
						t.Errorf("%s to %s: got %s, want %d", name, target, a, status)
					}
					if !w.h2 && !a.Close {
						t.Errorf("%s to %s: the connection stays open", name, target)
					}
					u.leave()
				}
			}
		}
		for _, kind := range []string{"application/json", "", "text/plain"} { // refused for that, without waiting for what was announced
			for _, target := range []string{gatewaytest.LogoutPath, "/callback"} {
				for _, announced := range []int64{100, -1} {
					u := w.upload(t, "POST", target, announced, "Content-Type", kind)
					io.WriteString(u, "a")
					if a := u.answered(t); a.Status != map[bool]int{true: 400, false: 405}[target == gatewaytest.LogoutPath] || !w.h2 && !a.Close {
						t.Errorf("%q to %s: got %s, closing %t, want 400 or 405 at once", kind, target, a, a.Close)
					}
					u.leave()
				}
			}
		}
		w.nothingReached(t)
		w.rows(t, rows)
		if got := w.Issuer.Calls("/oidc/token"); got != calls {
			t.Errorf("token calls: got %d, want none", got-calls)
		}
		// What fits is read.
		if a := w.ask(t, request{Method: "POST", Target: gatewaytest.LogoutPath, Body: "logout_token=" + strings.Repeat("a", 60<<10), Lines: fieldsOf("Content-Type", "application/x-www-form-urlencoded")}); a.Status != http.StatusBadRequest {
			t.Errorf("a logout token of 60 KiB: got %s, want 400", a)
		}
		p := w.arrive(t, newAlice()).over(w.h2)
		if a := p.send(t, request{Method: "POST", Target: "/sign-out", Body: "return_to=/" + strings.Repeat("a", 32<<10), Lines: fieldsOf("Accept", "text/html",
			"Content-Type", "application/x-www-form-urlencoded", "Origin", w.URL, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")}); a.Status != http.StatusSeeOther {
			t.Errorf("a form of 32 KiB: got %s, want 303", a)
		}
		w.Upstream.Forget()
	})
}

func pathologicalPaths(t *testing.T, d *doors) {
	const size = 60 << 10
	repeat := func(s string) string { return strings.Repeat(s, size/len(s)) }
	tries := map[string]int{ // :: target → status as Alice, paths: strict
		repeat("/.."): 400, repeat("/."): 400, "/" + repeat("%2e"): 200, "/" + repeat("%2e%2e/"): 400, "/" + repeat("%2E/"): 400, repeat("//"): 400, "/" + repeat(";"): 400,
		"/" + repeat("%252e"): 400, "/" + repeat("%25"): 400, "/" + repeat("%"): 400, "/" + repeat("%2f"): 400, "/" + repeat(`\`): 400, "/" + repeat("%5c.."): 400,
		"/public" + repeat("/..;"): 400, "/public" + repeat("/a/.."): 400, "/" + repeat("%c3%28"): 400, "/" + repeat("%00"): 400,
		repeat("/a"): 200, "/" + repeat("a"): 200, "/" + repeat("%61"): 200, "/" + repeat("%C3%A9"): 200, "/?" + repeat("/.."): 200, "/?" + repeat("%2e&"): 200, "/?" + repeat(";"): 200,
		"/api" + repeat("/.."): 400, "/api" + repeat("/a"): 200, "/_portero" + repeat("/.."): 400, "/_portero" + repeat("/a"): 404, "/callback" + repeat("/.."): 400,
	}
	const most = 5 * time.Second // square growth would be minutes
	try := func(t *testing.T, w way, loose bool) {
		k := w.talk(t)
		defer k.close()
		for target, status := range tries {
			began := time.Now()
			a := k.ask(request{Target: target, Lines: navigation})
			took := time.Since(began)
			if w.cookie == "" && status == 200 {
				status = 302
			}
			if w.h2 && a.Status == 0 && strings.HasPrefix(target, "/%%") { // not even a request
				k.close()
				continue
			}
			if a.Status != status && !(loose && (a.Status == 200 || a.Status == 302 || a.Status == 400 || a.Status == 404)) {
				t.Errorf("%.20s…: got %s, want %d", target, a, status)
			}
			if took > most {
				t.Errorf("%.20s…: it took %s", target, took)
			}
			if w.cookie == "" && !strings.HasPrefix(target, "/public") {
				w.nothingReached(t)
			}
			w.Upstream.Forget()
		}
	}
	d.each(t, func(t *testing.T, w way) { try(t, w, false) })
	t.Run("by-route", func(t *testing.T) {
		try(t, way{front: d.Loose(), cookie: d.Loose().alice}, true)
		try(t, way{front: d.Loose(), h2: true}, true)
	})
}

func oddBodies(t *testing.T, d *doors) {
	for _, f := range []*front{d.TLS(), d.Plain()} {
		for name, c := range map[string]struct {
			method, text string // its headers and body
			length       string // Content-Length at the application; "": none
			body         string // as the application reads it, framing included
		}{
			"POST without a body":  {"POST", "Content-Length: 0\r\n\r\n", "0", ""},
			"POST without length":  {"POST", "\r\n", "0", ""},
			"PATCH without a body": {"PATCH", "\r\n", "0", ""},
			"PUT without a body":   {"PUT", "\r\n", "0", ""},
			"PUT":                  {"PUT", "Content-Length: 3\r\n\r\nabc", "3", "abc"},
			"chunked":              {"POST", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "", "abcde"},
			"chunked and empty":    {"POST", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "", ""},
			"DELETE with a body":   {"DELETE", "Content-Length: 2\r\n\r\nxy", "2", "xy"},
			"GET with a body":      {"GET", "Content-Length: 2\r\n\r\nxy", "2", "xy"},
			"GET of length 0":      {"GET", "Content-Length: 0\r\n\r\n", "", ""},
			"PROPFIND with a body": {"PROPFIND", "Content-Length: 2\r\n\r\nxy", "2", "xy"},
			"REPORT":               {"REPORT", "\r\n", "", ""},
			"a compressed body":    {"POST", "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b", "2", "\x1f\x8b"},
			"NUL and line ends":    {"POST", "Content-Length: 8\r\n\r\n\x00\r\n\r\n\x00\x00\n", "8", "\x00\r\n\r\n\x00\x00\n"},
			"a form":               {"POST", "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 11\r\n\r\na=1&&b=;%zz", "11", "a=1&&b=;%zz"},
		} {
			f.Upstream.Forget()
			a := f.Raw(t, c.method+" /app/body HTTP/1.1\r\nHost: gw.test\r\nCookie: "+f.alice+"\r\nOrigin: https://gw.test\r\nSec-Fetch-Site: same-origin\r\n"+c.text)
			if a.Status != http.StatusOK {
				t.Errorf("%s: got %s, want 200", name, a)
				continue
			}
			head, rest := f.reached(t)
			body := rest
			if len(gatewaytest.Header(head, "Transfer-Encoding")) > 0 {
				text, err := io.ReadAll(httpChunks(bufio.NewReader(strings.NewReader(rest))))
				if body = string(text); err != nil {
					t.Errorf("%s: %v in %q", name, err, rest)
				}
			}
			if got := strings.Join(gatewaytest.Header(head, "Content-Length"), ","); got != c.length || body != c.body || !strings.HasPrefix(head, c.method+" /app/body HTTP/1.1\r\n") {
				t.Errorf("%s: the application got %q with the length %q and %q, want %q and %q", name, line(head), got, body, c.length, c.body)
			}
		}
	}
	d.signedIn(t, func(t *testing.T, w way) {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
			for _, body := range []string{"", "abc"} {
				if a := w.ask(t, request{Method: method, Body: body, Lines: fieldsOf("Origin", w.URL, "Sec-Fetch-Site", "same-origin")}); a.Status != http.StatusOK {
					t.Errorf("%s with %q: got %s, want 200", method, body, a)
				}
				head, rest := w.reached(t)
				if len(gatewaytest.Header(head, "Transfer-Encoding")) > 0 {
					text, _ := io.ReadAll(httpChunks(bufio.NewReader(strings.NewReader(rest))))
					rest = string(text)
				}
				if !strings.HasPrefix(head, method+" ") || rest != body {
					t.Errorf("%s with %q: the application got %q and %q", method, body, line(head), rest)
				}
			}
		}
	})
}
