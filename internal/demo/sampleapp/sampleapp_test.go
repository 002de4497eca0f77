package sampleapp_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"portero/internal/demo/sampleapp"
)

func handler() http.Handler { return sampleapp.New(sampleapp.Config{}).Handler() }

func get(h http.Handler, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func server(t *testing.T, cfg sampleapp.Config) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(sampleapp.New(cfg).Handler())
	t.Cleanup(s.Close)
	return s
}

type received struct {
	Method, Path, Query string
	Headers             http.Header
}

// The bytes of path and query are shown as they came, whatever a router would make of them.
func TestHeadersOverTheWire(t *testing.T) {
	t.Parallel()
	s := server(t, sampleapp.Config{})
	tests := []struct {
		name, line string
		want       received
	}{
		{"plain", "GET /headers HTTP/1.1", received{Method: "GET", Path: "/headers"}},
		{"query as it came", "GET /headers?b=%2f&a=1;x&&c HTTP/1.1", received{Method: "GET", Path: "/headers", Query: "b=%2f&a=1;x&&c"}},
		{"below a path", "GET /a/b/headers HTTP/1.1", received{Method: "GET", Path: "/a/b/headers"}},
		{"odd bytes stay", "GET //a%2F..%2fb/%C3%B1/headers HTTP/1.1", received{Method: "GET", Path: "//a%2F..%2fb/%C3%B1/headers"}},
		{"dot segments stay", "GET /a/../headers HTTP/1.1", received{Method: "GET", Path: "/a/../headers"}},
		{"absolute form", "GET http://gw.test/x/headers?q HTTP/1.1", received{Method: "GET", Path: "/x/headers", Query: "q"}},
		{"another method", "DELETE /headers HTTP/1.1", received{Method: "DELETE", Path: "/headers"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, err := net.Dial("tcp", s.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			fmt.Fprintf(c, "%s\r\nHost: gw.test\r\nX-Two: one\r\nX-Two: two\r\nx_odd.name: 1\r\nConnection: close\r\n\r\n", test.line)
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if kind := resp.Header.Get("Content-Type"); kind != "application/json; charset=utf-8" {
				t.Errorf("content type: got %s, want JSON", kind)
			}
			var got received
			if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
				t.Fatal(err)
			}
			test.want.Headers = http.Header{"Host": {"gw.test"}, "X-Two": {"one", "two"}, "X_odd.name": {"1"}, "Connection": {"close"}}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.line, diff)
			}
		})
	}
}

func TestReceived(t *testing.T) {
	t.Parallel()
	who := []string{
		"X-Forwarded-Email", "alice@example.com", "X-Forwarded-Name", "Alice%20Pe%C3%B1a", "X-Forwarded-User", "u1",
		"Accept-Language", "en", "User-Agent", "<script>alert(1)</script>",
	}
	tests := []struct {
		name, target string
		header       []string
		want         []string
	}{
		{"English", "/reports?q=a", who, []string{
			`<html lang="en">`, "<h1>What the application received</h1>", "Demonstration: runs on this computer only and forgets everything when it stops.",
			"<dd><bdi>alice<wbr>@example.com</bdi></dd>", "<bdi>Alice Peña</bdi>", "<bdi>u1</bdi>", "<code>GET <bdi>/reports?q=a</bdi></code>",
			`<tr><th scope="row">X-Forwarded-Email</th><td><bdi>alice@example.com</bdi></td><td><strong>set by Portero</strong></td></tr>`,
			`<td><bdi>&lt;script&gt;alert(1)&lt;/script&gt;</bdi></td><td>sent by the browser</td>`,
			`href="/form"`, `href="/ws"`, `href="/events"`, `href="/slow?ms=3000"`, `<a href="/_portero/">Your own page</a>`, `<a href="/sign-out">Sign out</a>`,
		}},
		{"Spanish", "/", append(who[:6:6], "Accept-Language", "es-MX"), []string{
			`<html lang="es">`, "<h1>Lo que ha recibido la aplicación</h1>", "<strong>puesta por Portero</strong>",
			"Demostración: funciona solo en este equipo y lo olvida todo al detenerse.", `<a href="/sign-out">Cerrar sesión</a>`,
		}},
		{"chosen language", "/?lang=es", []string{"Accept-Language", "en"}, []string{`<html lang="es">`}},
		{"nobody", "/public/", nil, []string{"Nobody is signed in here."}},
		{"any path", "/a/b%2Fc", nil, []string{"<bdi>/a/b%2Fc</bdi>"}},
		{"a name that is not percent-encoded", "/", []string{"X-Forwarded-Name", "100%", "X-Forwarded-User", "u1"}, []string{"<bdi>100%</bdi>"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := get(handler(), test.target, test.header...)
			if w.Code != 200 {
				t.Fatalf("got %d, want 200", w.Code)
			}
			for _, piece := range test.want {
				if !strings.Contains(w.Body.String(), piece) {
					t.Errorf("page lacks %s:\n%s", piece, w.Body)
				}
			}
			if strings.Contains(w.Body.String(), "<script>alert") {
				t.Errorf("a header got into the page unescaped")
			}
		})
	}
}

func TestConfiguredNames(t *testing.T) {
	t.Parallel()
	h := sampleapp.New(sampleapp.Config{
		SetByPortero: []string{"remote-user"}, User: "Remote-User", Email: "Remote-Email", Name: "Remote-Name", Prefix: "/_door/", SignOut: "/bye",
	}).Handler()
	page := get(h, "/", "Remote-User", "alice", "X-Forwarded-Email", "mallory@example.com").Body.String()
	for _, piece := range []string{
		`Remote-User</th><td><bdi>alice</bdi></td><td><strong>set by Portero`, `mallory@example.com</bdi></td><td>sent by the browser`, `href="/_door/"`, `href="/bye"`, `<dd><bdi>alice</bdi></dd>`,
	} {
		if !strings.Contains(page, piece) {
			t.Errorf("page lacks %s:\n%s", piece, page)
		}
	}
	if strings.Contains(page, "<dd><bdi>mallory") {
		t.Errorf("page takes the person from a header that is not configured")
	}
}

func TestPolicyFitsTheStyle(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/", "/form", "/ws", "/slow?ms=0"} {
		w := get(handler(), path)
		_, style, _ := strings.Cut(w.Body.String(), "<style>")
		style, _, _ = strings.Cut(style, "</style>")
		hash := sha256.Sum256([]byte(style))
		policy := w.Header().Get("Content-Security-Policy")
		if want := "'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'"; !strings.Contains(policy, want) {
			t.Errorf("%s: policy %q does not have the style sheet's hash, want %s", path, policy, want)
		}
		if strings.Contains(policy, "unsafe") || regexp.MustCompile(`\s(style|on[a-z]+)=`).MatchString(w.Body.String()) {
			t.Errorf("%s: inline style or script, or a policy that allows it: %s", path, policy)
		}
		if len(style) > 5<<10 {
			t.Errorf("style sheet: got %d bytes, want at most 5 KiB", len(style))
		}
	}
}

func TestForm(t *testing.T) {
	t.Parallel()
	if page := get(handler(), "/form").Body.String(); !strings.Contains(page, `<form method="post" action="/form">`) {
		t.Errorf("no form on the page:\n%s", page)
	}
	large := strings.Repeat("añb ", 40_000) // 200 KB
	var parts bytes.Buffer
	mw := multipart.NewWriter(&parts)
	fw, err := mw.CreateFormFile("file", "a<b>.txt")
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(fw, "hello")
	mw.WriteField("title", "multi")
	mw.Close()
	const urlencoded = "application/x-www-form-urlencoded"
	tests := []struct {
		name, kind, body string
		status           int
		want             []string
	}{
		{"fields", urlencoded, "title=Hello+%3Cb%3E&text=l%C3%ADnea&title=again", 200, []string{"What the form brought", "Hello &lt;b&gt;", "again", "línea"}},
		{"two hundred kilobytes", urlencoded, url.Values{"text": {large}}.Encode(), 200, []string{large, "200000"}},
		{"multipart", mw.FormDataContentType(), parts.String(), 200, []string{"multi", "a&lt;b&gt;.txt"}},
		{"empty", urlencoded, "", 200, []string{"The form was empty."}},
		{"another kind of body", "application/json", "{}", 200, []string{"The form was empty."}},
		{"bad escapes", urlencoded, "a=%zz", 400, nil},
		{"broken multipart", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\ncut", 400, nil},
		{"too large", urlencoded, "text=" + strings.Repeat("a", sampleapp.MaxForm), 413, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest("POST", "/form", strings.NewReader(test.body))
			r.Header.Set("Content-Type", test.kind)
			w := httptest.NewRecorder()
			handler().ServeHTTP(w, r)
			if w.Code != test.status {
				t.Fatalf("got %d, want %d", w.Code, test.status)
			}
			for _, piece := range test.want {
				if !strings.Contains(w.Body.String(), piece) {
					t.Errorf("page lacks %.80s", piece)
				}
			}
		})
	}
	r := httptest.NewRequest("PUT", "/form", nil)
	w := httptest.NewRecorder()
	handler().ServeHTTP(w, r)
	if w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("PUT: got %d allowing %q, want 405 with the methods", w.Code, w.Header().Get("Allow"))
	}
}

func TestWebSocketEchoes(t *testing.T) {
	t.Parallel()
	s := server(t, sampleapp.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, strings.Replace(s.URL, "http", "ws", 1)+"/ws", &websocket.DialOptions{
		HTTPHeader: http.Header{"Origin": {"https://elsewhere.example"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	c.SetReadLimit(1 << 20)
	for _, message := range []struct {
		kind websocket.MessageType
		data string
	}{{websocket.MessageText, "hola ñ"}, {websocket.MessageBinary, "\x00\xff"}, {websocket.MessageText, ""}, {websocket.MessageText, strings.Repeat("x", 500_000)}} {
		if err := c.Write(ctx, message.kind, []byte(message.data)); err != nil {
			t.Fatal(err)
		}
		kind, data, err := c.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if kind != message.kind || string(data) != message.data {
			t.Errorf("echo of %.20q: got %v %.20q", message.data, kind, data)
		}
	}
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("closing: %v", err)
	}
}

func TestWebSocketMessageIsBounded(t *testing.T) {
	t.Parallel()
	s := server(t, sampleapp.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, strings.Replace(s.URL, "http", "ws", 1)+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	_ = c.Write(ctx, websocket.MessageBinary, make([]byte, 2<<20))
	if _, _, err := c.Read(ctx); err == nil {
		t.Error("a message of 2 MiB came back, want the connection closed")
	}
}

func TestWebSocketPage(t *testing.T) {
	t.Parallel()
	w := get(handler(), "/ws")
	if w.Code != 200 || !strings.Contains(w.Body.String(), `<script src="/sample.js">`) {
		t.Errorf("got %d %s, want a page with the script", w.Code, w.Body)
	}
	if w := get(handler(), "/sample.js"); w.Header().Get("Content-Type") != "text/javascript; charset=utf-8" || !strings.Contains(w.Body.String(), "WebSocket") {
		t.Errorf("script: got %s %.40s", w.Header().Get("Content-Type"), w.Body)
	}
	if w := get(handler(), "/ws", "Connection", "Upgrade", "Upgrade", "websocket"); w.Code < 400 {
		t.Errorf("an incomplete handshake: got %d, want it refused", w.Code)
	}
}

func TestEventsUntilTheClientLeaves(t *testing.T) {
	t.Parallel()
	ticks, stopped := make(chan time.Time), make(chan struct{})
	s := server(t, sampleapp.Config{
		Tick: func() (<-chan time.Time, func()) { return ticks, func() { close(stopped) } },
		Now:  func() time.Time { return time.Date(2026, 11, 22, 7, 40, 0, 0, time.UTC) },
	})
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	req, err := http.NewRequestWithContext(ctx, "GET", s.URL+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("content type: got %s, want text/event-stream", got)
	}
	lines := bufio.NewReader(resp.Body)
	for n := 1; n <= 3; n++ {
		if n > 1 {
			ticks <- time.Time{}
		}
		var got string
		for range 3 {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			got += line
		}
		if want := fmt.Sprintf("id: %d\ndata: {\"n\":%d,\"time\":\"2026-11-22T07:40:00Z\"}\n\n", n, n); got != want {
			t.Errorf("event %d: got %q, want %q", n, got, want)
		}
	}
	leave()
	select {
	case <-stopped:
	case <-time.After(10 * time.Second):
		t.Error("the stream goes on after its client has left")
	}
}

func TestEventsOncePerSecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5500*time.Millisecond)
		defer cancel()
		w := httptest.NewRecorder()
		handler().ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/events", nil))
		if got, want := strings.Count(w.Body.String(), "data: "), 6; got != want {
			t.Errorf("events in 5.5 s: got %d, want %d", got, want)
		}
	})
}

func TestSlow(t *testing.T) {
	t.Parallel()
	tests := []struct {
		query  string
		leaves time.Duration // 0: stays
		status int
		took   time.Duration
	}{
		{"", 0, 200, time.Second},
		{"?ms=2500", 0, 200, 2500 * time.Millisecond},
		{"?ms=0", 0, 200, 0},
		{"?ms=60000", 0, 200, time.Minute},
		{"?ms=60001", 0, 400, 0},
		{"?ms=-1", 0, 400, 0},
		{"?ms=99999999999999999999", 0, 400, 0},
		{"?ms=9223372036854775807", 0, 400, 0},
		{"?ms=x", 0, 400, 0},
		{"?ms=60000", 3 * time.Second, 0, 3 * time.Second},
	}
	for _, test := range tests {
		t.Run(test.query, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if test.leaves > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.leaves)
					defer cancel()
				}
				start := time.Now()
				w := httptest.NewRecorder()
				handler().ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/slow"+test.query, nil))
				if got := time.Since(start); got != test.took {
					t.Errorf("took %v, want %v", got, test.took)
				}
				if test.status == 0 {
					if w.Body.Len() > 0 {
						t.Errorf("answered somebody who had left: %s", w.Body)
					}
				} else if w.Code != test.status {
					t.Errorf("got %d, want %d", w.Code, test.status)
				}
			})
		})
	}
}

func TestEarlyHints(t *testing.T) {
	t.Parallel()
	s := server(t, sampleapp.Config{})
	var early []string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			early = append(early, fmt.Sprint(code, " ", h.Get("Link")))
			return nil
		},
	})
	req, err := http.NewRequestWithContext(ctx, "GET", s.URL+"/hints", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if diff := cmp.Diff([]string{"103 </sample.js>; rel=preload; as=script"}, early); diff != "" {
		t.Errorf("early answers (-want +got):\n%s", diff)
	}
	if resp.StatusCode != 200 || !strings.Contains(string(body), "What the application received") {
		t.Errorf("got %d %.80s, want the page", resp.StatusCode, body)
	}
}
