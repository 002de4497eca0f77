package upstream_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"portero/internal/live"
	"portero/internal/upstream"
)

const (
	key     = "dGhlIHNhbXBsZSBub25jZQ=="
	accepts = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)

// upgrading is an opening handshake with some lines changed or, with an empty
// value, left out.
func upgrading(changes ...string) string {
	lines := []string{"Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + key, "Origin: https://wiki.example.com"}
	for _, change := range changes {
		name, value, _ := strings.Cut(change, ":")
		kept := lines[:0:0]
		for _, l := range lines {
			if !strings.HasPrefix(l, name+":") {
				kept = append(kept, l)
			}
		}
		if lines = kept; strings.TrimSpace(value) != "" {
			lines = append(lines, change)
		}
	}
	return get("/ws", lines...)
}

// WS-02, WS-04, WS-05, H2-08.
func TestHandshakes(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		request string
		session bool
		status  string
		upgrade bool // the upstream sees the wish
	}{
		"a good one":                        {upgrading(), true, "101", true},
		"a good one in odd case":            {upgrading("Upgrade: WebSocket", "Connection: upgrade"), true, "101", true},
		"another origin":                    {upgrading("Origin: https://evil.example"), true, "403", false},
		"an origin that begins like ours":   {upgrading("Origin: https://wiki.example.com.evil.example"), true, "403", false},
		"our origin over http":              {upgrading("Origin: http://wiki.example.com"), true, "403", false},
		"the null origin":                   {upgrading("Origin: null"), true, "403", false},
		"no origin, with a session":         {upgrading("Origin:"), true, "403", false},
		"no origin, without a session":      {upgrading("Origin:"), false, "101", true},
		"another origin, without a session": {upgrading("Origin: https://evil.example"), false, "403", false},
		"two origins":                       {upgrading("Origin: https://wiki.example.com\r\nOrigin: https://wiki.example.com"), true, "400", false},
		"an old version":                    {upgrading("Sec-WebSocket-Version: 8"), true, "400", false},
		"no version":                        {upgrading("Sec-WebSocket-Version:"), true, "400", false},
		"no key":                            {upgrading("Sec-WebSocket-Key:"), true, "400", false},
		"a short key":                       {upgrading("Sec-WebSocket-Key: YWJj"), true, "400", false},
		"two keys":                          {upgrading("Sec-WebSocket-Key: " + key + "\r\nSec-WebSocket-Key: " + key), true, "400", false},
		"a POST":                            {strings.Replace(upgrading("X: y"), "GET", "POST", 1), true, "400", false},
		"a body":                            {upgrading("Content-Length: 3") + "abc", true, "400", false},
		"a chunked body":                    {upgrading("Transfer-Encoding: chunked") + "0\r\n\r\n", true, "400", false},
		"HTTP/1.0":                          {strings.Replace(upgrading(), "HTTP/1.1", "HTTP/1.0", 1), true, "400", false},
		"bytes that are not printable":      {upgrading("Upgrade: web\xffsocket"), true, "400", false},
		"another protocol":                  {upgrading("Upgrade: evil"), true, "200", false},
		"h2c":                               {upgrading("Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__", "Connection: Upgrade, HTTP2-Settings"), true, "200", false},
		"two protocols":                     {upgrading("Upgrade: websocket, h2c"), true, "200", false},
		"two protocols on two lines":        {upgrading("Upgrade: websocket\r\nUpgrade: h2c"), true, "200", false},
		"TLS":                               {upgrading("Upgrade: TLS/1.0"), true, "200", false},
		"not named by Connection":           {upgrading("Connection: keep-alive"), true, "200", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := listen(t, func(c net.Conn, _ *bufio.Reader, head string) bool {
				if header(head, "Upgrade") == "" {
					io.WriteString(c, ok)
					return true
				}
				io.WriteString(c, accepts)
				return false
			})
			g := start(t, setup{Config: upstream.Config{URLs: urls(up)}, call: func(c *upstream.Call) {
				if tt.session {
					c.Session = aliceSession()
				}
			}})
			c, in := g.dial(t)
			io.WriteString(c, tt.request)
			head, err := readHead(in)
			if err != nil || head[9:12] != tt.status {
				t.Fatalf("got %.60q %v, want %s", head, err, tt.status)
			}
			if tt.status[0] == '4' {
				select {
				case seen := <-up.heads:
					t.Errorf("the upstream was reached: %q", seen)
				default:
				}
				return
			}
			seen := up.head(t)
			if got := header(seen, "Upgrade") == "websocket" && header(seen, "Connection") == "Upgrade"; got != tt.upgrade {
				t.Errorf("the upstream saw an upgrade: %v, want %v: %q", got, tt.upgrade, seen)
			}
			if strings.Contains(strings.ToLower(seen), "h2c") || strings.Contains(seen, "evil") {
				t.Errorf("the upstream saw %q", seen)
			}
		})
	}
}

func TestSwitchingToSomethingElseIsABadGateway(t *testing.T) {
	t.Parallel()
	up := listen(t, func(c net.Conn, _ *bufio.Reader, _ string) bool {
		io.WriteString(c, strings.Replace(accepts, "Upgrade: websocket", "Upgrade: h2c", 1))
		io.Copy(io.Discard, c)
		return false
	})
	g := start(t, setup{Config: upstream.Config{URLs: urls(up)}})
	head, _, _ := g.send(t, upgrading())
	if head[9:12] != "502" {
		t.Errorf("got %.40q, want 502", head)
	}
	wait(t, up.closed, "the end of the upstream's connection")
}

func TestARefusedUpgradeIsAnAnswer(t *testing.T) {
	t.Parallel()
	up := says(t, "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\nSec-WebSocket-Version: 13\r\n\r\nno")
	g := start(t, setup{Config: upstream.Config{URLs: urls(up)}})
	if head, body, err := g.send(t, upgrading()); head[9:12] != "426" || body != "no" || err != nil {
		t.Errorf("got %q %q %v", head, body, err)
	}
}

// A real client and a real server talk through the gateway.
func TestWebSocketsEcho(t *testing.T) {
	t.Parallel()
	app := serveHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true, CompressionMode: websocket.CompressionContextTakeover})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(1 << 20)
		for {
			kind, data, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if err := c.Write(r.Context(), kind, data); err != nil {
				return
			}
		}
	}))
	registry := live.New()
	g := start(t, setup{Config: upstream.Config{URLs: urls(app), Live: registry}, call: func(c *upstream.Call) { c.Session = aliceSession() }})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, _, err := websocket.Dial(ctx, g.URL+"/ws", &websocket.DialOptions{
		Host: "wiki.example.com", HTTPHeader: http.Header{"Origin": {"https://wiki.example.com"}}, CompressionMode: websocket.CompressionContextTakeover,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	c.SetReadLimit(1 << 20)
	for _, size := range []int{0, 1, 125, 126, 65535, 65536, 300_000} {
		message := strings.Repeat("m", size)
		if err := c.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(ctx); err != nil || string(got) != message {
			t.Fatalf("%d bytes: got %d bytes, %v", size, len(got), err)
		}
	}
	if got := registry.Len(); got != 1 {
		t.Errorf("%d live connections, want 1", got)
	}
	registry.Close("sid:s1", time.Now())
	_, _, err = c.Read(ctx)
	var closed websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != websocket.StatusPolicyViolation {
		t.Errorf("after the session's end: got %v, want a close frame with 1008", err)
	}
	wait(t, g.served, "the end of the request")
	if got := registry.Len(); got != 0 {
		t.Errorf("%d live connections left", got)
	}
}

// WS-06: the end comes on both sides, whatever either is doing.
func TestSocketsEndWithTheSession(t *testing.T) {
	t.Parallel()
	frame := append(binary.BigEndian.AppendUint16([]byte{0x82, 126}, 300), make([]byte, 300)...)
	tests := map[string]struct {
		say  []byte // what the upstream has sent
		end  func(*live.Registry)
		want string // what the client gets behind it
	}{
		"between frames":        {frame, func(r *live.Registry) { r.Close("session:k1", time.Now()) }, "\x88\x02\x03\xf0"},
		"before any frame":      {nil, func(r *live.Registry) { r.Close("subject:u1", time.Now()) }, "\x88\x02\x03\xf0"},
		"within a frame":        {frame[:200], func(r *live.Registry) { r.Close("session:k1", time.Now()) }, ""},
		"within a frame's head": {frame[:3], func(r *live.Registry) { r.Close("session:k1", time.Now()) }, ""},
		"behind a close frame":  {[]byte("\x88\x00"), func(r *live.Registry) { r.Close("session:k1", time.Now()) }, ""},
		"at shutdown":           {frame, func(r *live.Registry) { r.CloseAll() }, "\x88\x02\x03\xe9"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := listen(t, func(c net.Conn, _ *bufio.Reader, _ string) bool {
				io.WriteString(c, accepts+string(tt.say))
				io.Copy(io.Discard, c)
				return false
			})
			registry := live.New()
			g := start(t, setup{Config: upstream.Config{URLs: urls(up), Live: registry}, call: func(c *upstream.Call) { c.Session = aliceSession() }})
			c, in := g.dial(t)
			io.WriteString(c, upgrading())
			if head, err := readHead(in); err != nil || head[9:12] != "101" {
				t.Fatalf("got %q %v", head, err)
			}
			if _, err := io.ReadFull(in, make([]byte, len(tt.say))); err != nil {
				t.Fatal(err)
			}
			tt.end(registry)
			got, _ := io.ReadAll(in)
			if string(got) != tt.want {
				t.Errorf("got %q behind, want %q", got, tt.want)
			}
			wait(t, up.closed, "the end of the upstream's connection")
			wait(t, g.served, "the end of the request")
		})
	}
}

// A client that is in the middle of sending sees the close frame too, and no reset.
func TestSocketsOfSendersEndWithAFrame(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	up := listen(t, func(c net.Conn, in *bufio.Reader, _ string) bool {
		io.WriteString(c, accepts)
		<-ended // it reads nothing: what the client sends piles up
		return false
	})
	registry := live.New()
	g := start(t, setup{Config: upstream.Config{URLs: urls(up), Live: registry}, call: func(c *upstream.Call) { c.Session = aliceSession() }})
	for range 20 {
		c, in := g.dial(t)
		io.WriteString(c, upgrading())
		if head, err := readHead(in); err != nil || head[9:12] != "101" {
			t.Fatalf("got %q %v", head, err)
		}
		sending := make(chan struct{})
		go func() {
			defer close(sending)
			chunk := append(binary.BigEndian.AppendUint16([]byte{0x82, 0x80 | 126}, 4000), make([]byte, 4004)...)
			for range 100 {
				if _, err := c.Write(chunk); err != nil {
					return
				}
			}
		}()
		registry.Close("session:k1", time.Now())
		got, err := io.ReadAll(in)
		if string(got) != "\x88\x02\x03\xf0" || err != nil {
			t.Errorf("got %q, %v; want a close frame and an end", got, err)
		}
		c.Close()
		<-sending
		wait(t, g.served, "the end of the request")
	}
	close(ended)
}

func TestSocketsOfNobodyEndAtShutdown(t *testing.T) {
	t.Parallel()
	up := listen(t, func(c net.Conn, _ *bufio.Reader, _ string) bool {
		io.WriteString(c, accepts)
		io.Copy(io.Discard, c)
		return false
	})
	registry := live.New()
	g := start(t, setup{Config: upstream.Config{URLs: urls(up), Live: registry}})
	c, in := g.dial(t)
	io.WriteString(c, upgrading("Origin:"))
	readHead(in)
	registry.Close("", time.Now())
	registry.CloseAll()
	if got, _ := io.ReadAll(in); string(got) != "\x88\x02\x03\xe9" {
		t.Errorf("got %q, want a close frame with 1001", got)
	}
	wait(t, registry.Drained(), "the registry's end")
}

// A client that reads nothing holds up nobody.
func TestSocketsOfSlowReadersEndWithTheSession(t *testing.T) {
	t.Parallel()
	full := make(chan struct{})
	up := listen(t, func(c net.Conn, _ *bufio.Reader, _ string) bool {
		io.WriteString(c, accepts)
		fill(c, append(binary.BigEndian.AppendUint64([]byte{0x82, 127}, 1<<40), make([]byte, 1<<20)...))
		close(full)
		io.Copy(io.Discard, c)
		return false
	})
	registry := live.New()
	g := start(t, setup{Config: upstream.Config{URLs: urls(up), Live: registry}, call: func(c *upstream.Call) { c.Session = aliceSession() }})
	c, in := g.dial(t)
	io.WriteString(c, upgrading())
	if _, err := readHead(in); err != nil {
		t.Fatal(err)
	}
	wait(t, full, "all buffers to be full")
	began := time.Now()
	registry.Close("session:k1", time.Now())
	wait(t, up.closed, "the end of the upstream's connection")
	wait(t, g.served, "the end of the request")
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %v, want under two seconds", took)
	}
}

// What the client sends right behind its handshake is not lost.
func TestBytesBehindTheHandshake(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	up := listen(t, func(c net.Conn, in *bufio.Reader, _ string) bool {
		io.WriteString(c, accepts)
		b := make([]byte, 5)
		io.ReadFull(in, b)
		got <- string(b)
		return false
	})
	g := start(t, setup{Config: upstream.Config{URLs: urls(up)}})
	c, _ := g.dial(t)
	io.WriteString(c, upgrading()+"early")
	if b := wait(t, got, "the early bytes"); b != "early" {
		t.Errorf("got %q", b)
	}
}

func TestIdleSocketsAreClosed(t *testing.T) {
	t.Parallel()
	up := listen(t, func(c net.Conn, _ *bufio.Reader, _ string) bool {
		io.WriteString(c, accepts)
		io.Copy(io.Discard, c)
		return false
	})
	g := start(t, setup{Config: upstream.Config{URLs: urls(up), Idle: 50 * time.Millisecond}})
	c, in := g.dial(t)
	io.WriteString(c, upgrading())
	readHead(in)
	if got, _ := io.ReadAll(in); string(got) != "\x88\x02\x03\xe9" {
		t.Errorf("got %q, want a close frame with 1001", got)
	}
	wait(t, up.closed, "the end of the upstream's connection")
}

// Frames are followed however they are cut.
func FuzzFrames(f *testing.F) {
	f.Add(uint16(0), uint8(1), true)
	f.Add(uint16(126), uint8(3), false)
	f.Add(uint16(65535), uint8(200), true)
	f.Fuzz(func(t *testing.T, size uint16, step uint8, masked bool) {
		var stream []byte
		for range 3 {
			head := []byte{0x82, 0}
			switch {
			case size < 126:
				head[1] = byte(size)
			case size%2 == 0:
				head[1] = 126
				head = binary.BigEndian.AppendUint16(head, size)
			default:
				head[1] = 127
				head = binary.BigEndian.AppendUint64(head, uint64(size))
			}
			if masked {
				head[1] |= 0x80
				head = append(head, 1, 2, 3, 4)
			}
			stream = append(append(stream, head...), make([]byte, size)...)
		}
		var frames upstream.Frames
		n := int(step) + 1
		for rest := stream; len(rest) > 0; {
			part := rest[:min(n, len(rest))]
			frames.Pass(part)
			rest = rest[len(part):]
			seen := len(stream) - len(rest)
			if want := seen%(len(stream)/3) == 0; frames.Between() != want {
				t.Fatalf("after %d of %d bytes: between is %v, want %v", seen, len(stream), !want, want)
			}
		}
	})
}
