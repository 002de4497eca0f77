package upstream_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"portero/internal/upstream"
)

// answered returns the head of what the client gets when the upstream answers
// with these header lines.
func answered(t *testing.T, s setup, lines ...string) string {
	t.Helper()
	up := says(t, "HTTP/1.1 200 OK\r\n"+strings.Join(append(lines, "Content-Length: 2"), "\r\n")+"\r\n\r\nok")
	s.URLs = append(urls(up), s.URLs...)
	head, body, err := start(t, s).send(t, get("/"))
	if err != nil || body != "ok" {
		t.Errorf("got body %q, %v", body, err)
	}
	return head
}

// HS-15: what an upstream must not say.
func TestAnswersAreCleaned(t *testing.T) {
	t.Parallel()
	_, set := alice(t)
	s := setup{Config: upstream.Config{Headers: set}, before: func(h http.Header) {
		h.Set("Strict-Transport-Security", "max-age=63072000")
		h.Add("Vary", "Cookie")
	}}
	head := answered(t, s,
		"X-Forwarded-Email: x", "x_forwarded_email: x", "Remote-User: x", "X-Auth-Role: x",
		"X-Accel-Redirect: /internal", "X-Accel-Expires: 600", "X-Accel-Buffering: no",
		"Strict-Transport-Security: max-age=0", "Vary: Accept",
		"Set-Cookie: "+cookieName+"=evil; Path=/", "Set-Cookie: app=1; Path=/; HttpOnly", "Set-Cookie: "+cookieName+"-7f =x",
		"Set-Cookie: ="+cookieName+"=x", "Set-Cookie: "+cookieName, "Set-Cookie: \t= "+cookieName+"-1=x;", "set-cookie: b=\""+cookieName+"=\"",
		"ETag: \"odd  value\"", "X-App: a", "X-App: b")
	for name, want := range map[string][]string{
		"X-Forwarded-Email": nil, "X_forwarded_email": nil, "Remote-User": nil, "X-Auth-Role": nil, "X-Accel-Redirect": nil, "X-Accel-Expires": nil,
		"X-Accel-Buffering": {"no"}, "Strict-Transport-Security": {"max-age=63072000"}, "Vary": {"Cookie", "Accept"},
		"Set-Cookie": {"app=1; Path=/; HttpOnly", `b="` + cookieName + `="`}, "ETag": {`"odd  value"`}, "X-App": {"a", "b"},
		"Content-Type": nil, // none was said, none is guessed
	} {
		if diff := cmp.Diff(want, headers(head, name)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestAnswersOfUpstreamsPassUntouched(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"200 Fine", "204 No Content", "304 Not Modified", "401 Unauthorized", "404 Not Found", "500 Oops", "503 Service Unavailable", "599 x"} {
		up := listen(t, func(c net.Conn, _ *bufio.Reader, _ string) bool {
			body := "Content-Length: 4\r\n\r\nbody"
			if status[0] == '3' || strings.HasPrefix(status, "204") {
				body = "\r\n"
			}
			_, err := io.WriteString(c, "HTTP/1.1 "+status+"\r\nWWW-Authenticate: Basic realm=\"a, b\"\r\nX-App: yes\r\n"+body)
			return err == nil
		})
		head, body, err := start(t, setup{Config: upstream.Config{URLs: urls(up)}}).send(t, get("/"))
		if err != nil || head[9:12] != status[:3] || header(head, "X-App") != "yes" || header(head, "WWW-Authenticate") != `Basic realm="a, b"` {
			t.Errorf("%s: got %q %q %v", status, head, body, err)
		}
	}
}

// UP-09: challenges of schemes that sign in a connection.
func TestConnectionBoundChallengesAreRemoved(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ in, want []string }{
		"NTLM":                        {[]string{"NTLM"}, nil},
		"both":                        {[]string{"Negotiate", "ntlm TlRM=="}, nil},
		"with tabs":                   {[]string{"Basic realm=x,\tNegotiate\tabc", "\tNTLM\t"}, []string{"Basic realm=x"}},
		"another line stays":          {[]string{"Negotiate", `Basic realm="x"`}, []string{`Basic realm="x"`}},
		"another in the line stays":   {[]string{`Negotiate, Basic realm="a, NTLM", charset="UTF-8", NTLM`}, []string{`Basic realm="a, NTLM", charset="UTF-8"`}},
		"others are not touched":      {[]string{`Digest realm="NTLM",  nonce="n"`, "Bearer"}, []string{`Digest realm="NTLM",  nonce="n"`, "Bearer"}},
		"a name that only begins so":  {[]string{"NTLMv9 x"}, []string{"NTLMv9 x"}},
		"quotes that do not end stay": {[]string{`Basic realm="x, NTLM`}, []string{`Basic realm="x, NTLM`}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var lines []string
			for _, v := range tt.in {
				lines = append(lines, "WWW-Authenticate: "+v)
			}
			if diff := cmp.Diff(tt.want, headers(answered(t, setup{}, lines...), "WWW-Authenticate")); diff != "" {
				t.Errorf("challenges (-want +got):\n%s", diff)
			}
		})
	}
}

// CA-02
func TestCacheProtection(t *testing.T) {
	t.Parallel()
	const html, text = "Content-Type: text/html; charset=utf-8", "Content-Type: text/plain"
	tests := map[string]struct {
		in   []string
		want []string
	}{
		"public":                               {[]string{text, "Cache-Control: public, max-age=600"}, []string{"private, max-age=600"}},
		"public in capitals":                   {[]string{text, "Cache-Control: Max-Age=600,PUBLIC"}, []string{"private, Max-Age=600"}},
		"s-maxage":                             {[]string{text, "Cache-Control: s-maxage=60, max-age=1"}, []string{"private, max-age=1"}},
		"both, on several lines":               {[]string{html, "Cache-Control: public", "Cache-Control: s-maxage=9, immutable"}, []string{"private, immutable"}},
		"public and private":                   {[]string{text, "Cache-Control: private, public"}, []string{"private"}},
		"public and no-store":                  {[]string{text, "Cache-Control: public, no-store"}, []string{"private, no-store"}},
		"a quoted argument":                    {[]string{text, `Cache-Control: private="a, public", public`}, []string{`private, private="a, public"`}},
		"private is not touched":               {[]string{html, "Cache-Control: private,max-age=5"}, []string{"private,max-age=5"}},
		"no-store is not touched":              {[]string{html, "Cache-Control: max-age=0,No-Store"}, []string{"max-age=0,No-Store"}},
		"max-age alone":                        {[]string{html, "Cache-Control: max-age=600"}, []string{"private, max-age=600"}},
		"private for some fields alone":        {[]string{text, `Cache-Control: private="Set-Cookie", max-age=5`}, []string{`private, private="Set-Cookie", max-age=5`}},
		"nothing but a comma":                  {[]string{text, "Cache-Control: ,"}, []string{"private"}},
		"Expires alone":                        {[]string{text, "Expires: Fri, 01 Jan 2100 00:00:00 GMT"}, []string{"private"}},
		"public within quotes is no directive": {[]string{text, `Cache-Control: private, x="public, s-maxage"`}, []string{`private, x="public, s-maxage"`}},
		"HTML that says nothing":               {[]string{html}, []string{"private, no-store"}},
		"XHTML that says nothing":              {[]string{"Content-Type: Application/XHTML+xml"}, []string{"private, no-store"}},
		"what may be taken for HTML":           {nil, []string{"private, no-store"}},
		"anything else that says nothing":      {[]string{text}, []string{"private"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			head := answered(t, setup{Config: upstream.Config{ProtectCache: true}}, tt.in...)
			if diff := cmp.Diff(tt.want, headers(head, "Cache-Control")); diff != "" {
				t.Errorf("Cache-Control (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("words for some caches alone", func(t *testing.T) {
		names := []string{"CDN-Cache-Control", "Example-CDN-Cache-Control", "Surrogate-Control", "Edge-Control"}
		lines := []string{text}
		for _, name := range names {
			lines = append(lines, name+": max-age=600")
		}
		protected, trusted := answered(t, setup{Config: upstream.Config{ProtectCache: true}}, lines...), answered(t, setup{}, lines...)
		for _, name := range names {
			if got := headers(protected, name); len(got) != 0 {
				t.Errorf("%s: got %q, want none", name, got)
			}
			if got := headers(trusted, name); len(got) != 1 {
				t.Errorf("%s where the upstream is trusted: got %q, want its own", name, got)
			}
		}
	})
	t.Run("left to the upstream where told", func(t *testing.T) {
		head := answered(t, setup{}, html, "Cache-Control: public, max-age=600")
		if got := header(head, "Cache-Control"); got != "public, max-age=600" {
			t.Errorf("got %q", got)
		}
	})
}

// UP-10
func TestLocations(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ in, want string }{
		"a path":                     {"/x?y#z", "/x?y#z"},
		"relative":                   {"x/../y", "x/../y"},
		"another site":               {"https://other.example/x", "https://other.example/x"},
		"the upstream":               {"http://UP/x%2Fy?q=http://UP/#f", "https://wiki.example.com/x%2Fy?q=http://UP/#f"},
		"the upstream, odd scheme":   {"HTTP://UP", "https://wiki.example.com"},
		"the upstream with a query":  {"http://UP?x", "https://wiki.example.com?x"},
		"the upstream, no scheme":    {"//UP/x", "https://wiki.example.com/x"},
		"another upstream's":         {"http://second.internal/x", "https://wiki.example.com/x"},
		"its port written out":       {"http://Second.Internal:80/x", "https://wiki.example.com/x"},
		"its name with another port": {"http://second.internal:81/x", "http://second.internal:81/x"},
		"its name behind a user":     {"http://second.internal@evil.example/x", "http://second.internal@evil.example/x"},
		"another scheme":             {"ftp://second.internal/x", "ftp://second.internal/x"},
		"its own name outside":       {"https://wiki.example.com/x", "https://wiki.example.com/x"},
		"a name that begins so":      {"http://second.internal.evil.example/", "http://second.internal.evil.example/"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var own string
			up := listen(t, func(c net.Conn, _ *bufio.Reader, _ string) bool {
				in := strings.ReplaceAll(tt.in, "UP", own)
				_, err := io.WriteString(c, "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: "+in+"\r\nContent-Location: "+in+"\r\n\r\n")
				return err == nil
			})
			own = up.listener.Addr().String()
			g := start(t, setup{Config: upstream.Config{URLs: urls(up, parse(t, "http://second.internal"))}})
			head, _, err := g.send(t, get("/"))
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"Location", "Content-Location"} {
				if got, want := header(head, name), strings.ReplaceAll(tt.want, "UP", own); got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
		})
	}
}

// UP-08: what is no answer.
func TestOddAnswersAreBadGateways(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"status 000": "HTTP/1.1 000 x\r\nContent-Length: 0\r\n\r\n", "status 099": "HTTP/1.1 099 x\r\nContent-Length: 0\r\n\r\n",
		"status 999": "HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n", "status 600": "HTTP/1.1 600 x\r\nContent-Length: 0\r\n\r\n",
		"no status": "HTTP/1.1\r\n\r\n", "HTTP/0.9": "hello", "a header without a colon": "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
		"two lengths":        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"1 MB of headers":    "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n",
		"101 without asking": "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := listen(t, func(c net.Conn, _ *bufio.Reader, _ string) bool {
				io.WriteString(c, answer)
				if tcp := c.(*net.TCPConn); !strings.Contains(answer, "101") {
					tcp.CloseWrite()
				}
				io.Copy(io.Discard, c)
				return false
			})
			g := start(t, setup{Config: upstream.Config{URLs: urls(up)}})
			head, _, _ := g.send(t, get("/"))
			if !strings.HasPrefix(head, "HTTP/1.1 502 ") {
				t.Errorf("got %.60q, want 502", head)
			}
			wait(t, up.closed, "the end of the upstream's connection")
		})
	}
}

// SM-13, UP-06: 1xx answers pass, bounded, and the gateway's headers survive.
func TestInformationalAnswers(t *testing.T) {
	t.Parallel()
	const hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nSet-Cookie: " + cookieName + "=evil\r\nX-Forwarded-Email: x\r\n\r\n"
	before := func(h http.Header) {
		h.Set("X-Gateway", "one")
		h.Set("Link", "</gateway>")
		h.Add("Set-Cookie", cookieName+"=new")
	}
	read := func(t *testing.T, s setup, answer, request string) (infos []string, final string) {
		t.Helper()
		up := says(t, answer)
		s.URLs, s.before = urls(up), before
		c, in := start(t, s).dial(t)
		io.WriteString(c, request)
		for {
			head, err := readHead(in)
			if err != nil {
				t.Fatalf("after %q: %v", infos, err)
			}
			if head[9] != '1' {
				return infos, head
			}
			infos = append(infos, head)
		}
	}

	infos, final := read(t, setup{}, hints+hints+ok, get("/"))
	want := "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
	if diff := cmp.Diff([]string{want, want}, infos); diff != "" {
		t.Errorf("informational answers (-want +got):\n%s", diff)
	}
	if header(final, "X-Gateway") != "one" || header(final, "Set-Cookie") != cookieName+"=new" || header(final, "Link") != "</gateway>" {
		t.Errorf("the gateway's headers are lost: %q", final)
	}

	infos, final = read(t, setup{}, hints+"HTTP/1.1 999 x\r\n\r\n", get("/"))
	if len(infos) != 1 || final[9:12] != "502" || header(final, "X-Gateway") != "one" || strings.Contains(final, "a.css") {
		t.Errorf("an error after an informational answer: got %q", final)
	}

	if infos, _ = read(t, setup{}, strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 900)+ok, get("/")); len(infos) != 16 {
		t.Errorf("of 900 informational answers %d passed, want 16", len(infos))
	}
	if _, final = read(t, setup{}, strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 5000)+ok, get("/")); final[9:12] != "502" {
		t.Errorf("a flood of informational answers: got %.20q, want 502", final)
	}
	if infos, final = read(t, setup{}, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"+ok, get("/")); len(infos) != 0 || final[9:12] != "200" {
		t.Errorf("100 that nobody waits for: got %q", infos)
	}
	if infos, final = read(t, setup{}, hints+ok, "GET / HTTP/1.0\r\nHost: wiki.example.com\r\n\r\n"); len(infos) != 0 || final[9:12] != "200" {
		t.Errorf("an HTTP/1.0 client got %q", infos)
	}
}

func TestResponseTrailersPass(t *testing.T) {
	t.Parallel()
	_, set := alice(t)
	up := says(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Grpc-Status, X-Forwarded-Email\r\n\r\n2\r\nok\r\n0\r\nGrpc-Status: 0\r\nX-Forwarded-Email: root\r\nSet-Cookie: "+cookieName+"=x\r\n\r\n")
	g := start(t, setup{Config: upstream.Config{URLs: urls(up), Headers: set}})
	c, in := g.dial(t)
	io.WriteString(c, get("/"))
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); string(body) != "ok" || err != nil {
		t.Fatalf("got %q %v", body, err)
	}
	got := http.Header{}
	for name, v := range res.Trailer {
		if v != nil {
			got[name] = v
		}
	}
	if diff := cmp.Diff(http.Header{"Grpc-Status": {"0"}}, got); diff != "" {
		t.Errorf("trailers (-want +got):\n%s", diff)
	}
}

// DS-14: bodies are not decoded, and nothing is asked for that the client did not ask for.
func TestEncodedBodiesPass(t *testing.T) {
	t.Parallel()
	up := says(t, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x00\x00")
	g := start(t, setup{Config: upstream.Config{URLs: urls(up)}})
	head, body, err := g.send(t, get("/"))
	if body != "\x1f\x8b\x00\x00" || err != nil || header(head, "Content-Encoding") != "gzip" {
		t.Errorf("got %q %q %v", head, body, err)
	}
	if got := headers(up.head(t), "Accept-Encoding"); got != nil {
		t.Errorf("asked for %q, want nothing", got)
	}
}

func TestHeadAndLengthsPass(t *testing.T) {
	t.Parallel()
	up := listen(t, func(c net.Conn, _ *bufio.Reader, _ string) bool {
		_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n")
		return err == nil
	})
	g := start(t, setup{Config: upstream.Config{URLs: urls(up)}})
	head, _, err := g.send(t, strings.Replace(get("/"), "GET", "HEAD", 1))
	if err != nil || header(head, "Content-Length") != "12345" {
		t.Errorf("got %q %v", head, err)
	}
}
