package upstream_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"portero/internal/route"
	"portero/internal/upstream"
)

// What was received is what is forwarded, byte for byte.
func TestTargetLeavesByteForByte(t *testing.T) {
	t.Parallel()
	up := says(t, ok)
	g := start(t, setup{Config: upstream.Config{URLs: urls(up)}})
	for _, target := range []string{
		"/", "/a/b", "/a%2Fb", "/a%2fb", "/x%7By%7D", "/%61", "//", "//a//b", "//evil.example/x", "///", "/a//", "/;v=1/b;c", "/a:b@c!$&'()*+,=~",
		"/%E2%82%AC", "/?", "//?", "/a?b=c;d", "/a?x=%zz&y=%", "/a?%2F=/&&=&b+c", "/a?q=?&r=//x", "/?a=b&a=c&A=d", "/a?url=http://x/{y}|\"z\"",
		"/a?" + strings.Repeat("p&", 12000) + "end",
	} {
		if _, _, err := g.send(t, get(target)); err != nil {
			t.Errorf("%.60q: %v", target, err)
			continue
		}
		line, _, _ := strings.Cut(up.head(t), "\r\n")
		if want := "GET " + target + " HTTP/1.1"; line != want {
			t.Errorf("got %.80q, want %.80q", line, want)
		}
	}
}

func TestAbsoluteFormLeavesInOriginForm(t *testing.T) {
	t.Parallel()
	up := says(t, ok)
	g := start(t, setup{Config: upstream.Config{URLs: urls(up)}})
	g.send(t, get("http://wiki.example.com//a%2Fb?"))
	if line, _, _ := strings.Cut(up.head(t), "\r\n"); line != "GET //a%2Fb? HTTP/1.1" {
		t.Errorf("got %q", line)
	}
}

func TestStripPrefixForwardsTheRemainder(t *testing.T) {
	t.Parallel()
	up := says(t, ok)
	g := start(t, setup{Config: upstream.Config{URLs: urls(up)}, route: route.Route{Path: "/app", StripPrefix: true}})
	for target, want := range map[string]string{"/app": "/", "/app?": "/?", "/app/a%2Fb?x": "/a%2Fb?x", "/%61pp/%61": "/%61"} {
		g.send(t, get(target))
		if line, _, _ := strings.Cut(up.head(t), "\r\n"); line != "GET "+want+" HTTP/1.1" {
			t.Errorf("%s: got %q, want %q", target, line, want)
		}
	}
	head, _, _ := g.send(t, get("/app//evil.example"))
	if !strings.HasPrefix(head, "HTTP/1.1 400 ") {
		t.Errorf("a remainder that begins with two slashes: got %.30q, want 400", head)
	}
}

// HS-05, HS-06, HS-07, HS-12 and the names that are never a client's.
func TestHeadersThatLeave(t *testing.T) {
	t.Parallel()
	up := says(t, ok)
	id, set := alice(t)
	g := start(t, setup{Config: upstream.Config{URLs: urls(up), Headers: set, PreserveHost: true}, call: func(c *upstream.Call) {
		c.Identity, c.Session = id, aliceSession()
	}})
	g.send(t, "GET / HTTP/1.1\r\n"+strings.Join([]string{
		"Host: WIKI.example.com",
		"Connection: close, X-Forwarded-Email, X-Forwarded-For, X-Forwarded-Host, Cookie-Of-Mine",
		"connection: x-forwarded-user ,,x-real-ip;",
		"Keep-Alive: timeout=5", "Proxy-Connection: x", "Proxy-Authorization: Basic x", "TE: trailers", "Trailer: X-Auth-Role",
		"X-Forwarded-Email: root@example.com", "x_forwarded_email: root@example.com", "X.Forwarded.User: root", "X-Auth-Role: admin", "Remote-User: root",
		"X-Forwarded-For: 1.2.3.4", "X-Real-IP: 1.2.3.4", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: http", "X-Forwarded-Port: 1",
		"X-Forwarded-Prefix: /x", "X-Original-URL: /admin", "X-Rewrite-URL: /admin", "Forwarded: for=1.2.3.4", "X-Request-Id: mine", "Proxy: http://evil.example",
		"Transfer_Encoding: chunked", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__",
		"Accept-Encoding: br, x", "Accept: a", "Accept: b", "X-App: kept", "User-Agent: ua/1",
	}, "\r\n")+"\r\n\r\n")
	head := up.head(t)
	requestID := header(head, "X-Request-Id")
	if requestID == "" || requestID == "mine" {
		t.Errorf("X-Request-Id is %q, want one of ours", requestID)
	}
	client, _, _ := net.SplitHostPort(g.Listener.Addr().String())
	want := map[string][]string{
		"host": {"wiki.example.com"}, "user-agent": {"ua/1"}, "accept": {"a", "b"}, "accept-encoding": {"br, x"}, "x-app": {"kept"},
		"x-forwarded-user": {"u1"}, "x-forwarded-email": {"alice@example.com"},
		"x-forwarded-for": {client}, "x-forwarded-host": {"wiki.example.com"}, "x-forwarded-proto": {"https"}, "x-forwarded-port": {"443"},
		"x-real-ip": {client}, "x-request-id": {requestID},
	}
	got := map[string][]string{}
	for _, line := range strings.Split(head, "\r\n")[1:] {
		if k, v, ok := strings.Cut(line, ": "); ok {
			got[strings.ToLower(k)] = append(got[strings.ToLower(k)], v)
		}
	}
	delete(got, "http2-settings") // harmless without the upgrade
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headers at the upstream (-want +got):\n%s", diff)
	}
}

// HS-09: without an identity the headers are removed all the same.
func TestWithoutIdentityHeadersAreOnlyStripped(t *testing.T) {
	t.Parallel()
	up := says(t, ok)
	_, set := alice(t)
	for name, c := range map[string]upstream.Config{"with a set": {Headers: set}, "without": {}} {
		c.URLs = urls(up)
		g := start(t, setup{Config: c})
		g.send(t, get("/", "X-Forwarded-Email: root@example.com", "Remote-User: root", "X_Forwarded_User: root"))
		head := up.head(t)
		if strings.Contains(head, "root") {
			t.Errorf("%s: the upstream got %q", name, head)
		}
		if got := header(head, "Host"); got != up.listener.Addr().String() {
			t.Errorf("%s: got host %q, want the upstream's own", name, got)
		}
	}
}

// HS-12, P8: neither the announcement nor the field.
func TestRequestTrailersDoNotLeave(t *testing.T) {
	t.Parallel()
	bodies := make(chan string, 1)
	up := listen(t, func(c net.Conn, in *bufio.Reader, head string) bool {
		var b strings.Builder
		for !strings.HasSuffix(b.String(), "0\r\n\r\n") {
			line, err := in.ReadString('\n')
			if err != nil {
				break
			}
			b.WriteString(line)
			if line == "0\r\n" {
				rest, _ := in.ReadString('\n')
				b.WriteString(rest)
				break
			}
		}
		bodies <- b.String()
		_, err := io.WriteString(c, ok)
		return err == nil
	})
	g := start(t, setup{Config: upstream.Config{URLs: urls(up)}})
	g.send(t, "POST / HTTP/1.1\r\nHost: wiki.example.com\r\nTE: trailers\r\nTrailer: X-Auth-Role\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Auth-Role: admin\r\n\r\n")
	if head := up.head(t); strings.Contains(strings.ToLower(head), "trailer") {
		t.Errorf("the announcement left: %q", head)
	}
	if got := wait(t, bodies, "the body"); got != "3\r\nabc\r\n0\r\n\r\n" {
		t.Errorf("got body %q", got)
	}
}

func TestAuthorization(t *testing.T) {
	t.Parallel()
	up := says(t, ok)
	tests := map[string]struct {
		drop bool
		line string
		want string
	}{
		"passes":                           {false, "Authorization: Basic YTpi", "Basic YTpi"},
		"is dropped where told":            {true, "Authorization: Basic YTpi", ""},
		"NTLM binds a connection":          {false, "Authorization: NTLM TlRMTVNTUAAB", ""},
		"Negotiate does, in any case":      {false, "Authorization: negotiate YII", ""},
		"and with a tab behind it":         {false, "Authorization: Negotiate\tYII", ""},
		"a name that only begins so":       {false, "Authorization: NegotiateX YII", "NegotiateX YII"},
		"hidden behind another credential": {false, "Authorization: Basic YTpi\r\nAuthorization: NTLM x", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := start(t, setup{Config: upstream.Config{URLs: urls(up), DropAuthorization: tt.drop}})
			g.send(t, get("/", tt.line))
			if got := header(up.head(t), "Authorization"); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// CK-12: the application's cookies are not ours to tidy up.
func TestCookiesThatLeave(t *testing.T) {
	t.Parallel()
	up := says(t, ok)
	g := start(t, setup{Config: upstream.Config{URLs: urls(up)}})
	const own, attempt = cookieName + "=secret", cookieName + "-7f=secret"
	tests := map[string]struct{ in, want []string }{
		"none of ours":                 {[]string{`a=1; b="q;x"; c`}, []string{`a=1; b="q;x"; c`}},
		"ours first":                   {[]string{own + `; a=1; b="q;x"; c`}, []string{`a=1; b="q;x"; c`}},
		"ours in the middle":           {[]string{`a=1; ` + own + `; b="q;x"; c`}, []string{`a=1; b="q;x"; c`}},
		"ours last":                    {[]string{`a=1; b="q;x"; c; ` + own}, []string{`a=1; b="q;x"; c`}},
		"ours alone":                   {[]string{own}, nil},
		"several of ours":              {[]string{own + "; " + attempt + ";a=1;" + own}, []string{"a=1"}},
		"several lines":                {[]string{"a=1; " + own, own, "b=2"}, []string{"a=1", "b=2"}},
		"odd blanks stay":              {[]string{"a=1;b=2 ;  c = 3;\td;; " + own + " ;e"}, []string{"a=1;b=2 ;  c = 3;\td;;e"}},
		"ours with blanks around":      {[]string{"a=1;\t" + cookieName + " = secret ;b"}, []string{"a=1;b"}},
		"ours within quotes":           {[]string{`a="x; ` + own + `; y"; b=1`}, []string{`a="x; y"; b=1`}},
		"ours without a value":         {[]string{cookieName + "; a=1"}, []string{"a=1"}},
		"a name that only begins so":   {[]string{cookieName + "x=1"}, []string{cookieName + "x=1"}},
		"a value that looks like ours": {[]string{"a=" + own}, []string{"a=" + own}},
		"odd bytes stay":               {[]string{"a=\xe9\"\\,{}; " + own}, []string{"a=\xe9\"\\,{}"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var lines []string
			for _, c := range tt.in {
				lines = append(lines, "Cookie: "+c)
			}
			g.send(t, get("/", lines...))
			if diff := cmp.Diff(tt.want, headers(up.head(t), "Cookie")); diff != "" {
				t.Errorf("cookies at the upstream (-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever a Cookie line is, no reading of what leaves finds one of our
// cookies, and a line that has none leaves as it came.
func FuzzCookies(f *testing.F) {
	f.Add(`a=1; __Host-portero=x; b="q;x"; c`)
	f.Add("__Host-portero-1=x;;=; __Host-portero")
	f.Add("__Host-portero\r")
	f.Add(";\t__Host-portero =x")
	f.Fuzz(func(t *testing.T, line string) {
		kept := upstream.KeepCookies([]string{line}, ownCookie)
		found := false
		for part := range strings.SplitSeq(line, ";") {
			name, _, _ := strings.Cut(part, "=")
			found = found || ownCookie(strings.Trim(name, " \t\r\n"))
		}
		if !found && strings.Trim(line, " \t\r\n;") != "" && (len(kept) != 1 || kept[0] != line) {
			t.Errorf("%q left as %q", line, kept)
		}
		for _, c := range (&http.Request{Header: http.Header{"Cookie": kept}}).Cookies() {
			if ownCookie(c.Name) {
				t.Errorf("%q leaves in %q", c.Name, kept)
			}
		}
	})
}

func TestNewRefusesWhatIsNoUpstream(t *testing.T) {
	t.Parallel()
	table, err := route.NewTable([]route.Route{{Name: "r", Hosts: []string{"a.example"}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, u := range map[string]string{
		"no scheme": "//localhost:8080", "another scheme": "ftp://localhost", "no host": "http:///x", "a path": "http://localhost/app",
		"a query": "http://localhost/?x", "a user": "http://u:p@localhost",
	} {
		if _, err := upstream.New(upstream.Config{Route: table.Routes()[0], URLs: urls(parse(t, u))}); err == nil || !strings.Contains(err.Error(), "write http") {
			t.Errorf("%s: got %v, want an error that says what to write", name, err)
		}
	}
	if _, err := upstream.New(upstream.Config{Route: table.Routes()[0]}); err == nil {
		t.Error("no upstream at all: got nil")
	}
}
