package upstream_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/live"
	"portero/internal/upstream"
)

// What is answered for a session ends with it, whatever the two sides are doing. An event stream ends properly, between
// two events if it can; whatever else is cut off looks cut off.
func TestTheSessionEndsWithinTheAnswer(t *testing.T) {
	t.Parallel()
	const stream = "Content-Type: text/event-stream\r\n"
	for name, tt := range map[string]struct {
		head    string
		say     string // before the session ends
		after   string // once it has
		repeats bool   // say, for as long as somebody takes it
		want    string // the body, if it ends properly
		cut     bool
	}{
		"a silent stream":                 {stream, "data: 1\n\n", "", false, "data: 1\n\n", false},
		"a stream without an event":       {stream, "", "", false, "", false},
		"a stream after a comment":        {stream, "data: 1\n\n: still here\n", "", false, "data: 1\n\n: still here\n", false},
		"with parameters":                 {"Content-Type: Text/Event-Stream ;charset=utf-8\r\n", "data: 1\r\n\r\n", "", false, "data: 1\r\n\r\n", false},
		"within an event that goes on":    {stream, "data: 1\n\nid: 2\nda", "ta: 2\n\ndata: 3\n\n", false, "data: 1\n\nid: 2\ndata: 2\n\n", false},
		"within an event that stays half": {stream, "data: 1\n\nid: 2\nda", "", false, "data: 1\n\nid: 2\nda", false},
		"within one that goes on forever": {stream, "data: 1\n\ndata: ", "data", false, "data: 1\n\ndata: data", false},
		"a compressed stream":             {stream + "Content-Encoding: gzip\r\n", "\x1f\x8b", "more", false, "\x1f\x8b", false},
		"a stream that has a length":      {stream + "Content-Length: 100\r\n", "data: 1\n\n", "", false, "", true},
		"a stream nobody reads":           {stream, strings.Repeat("data: 2\n\n", 1<<16), "", true, "", true},
		"a download":                      {"Content-Type: application/octet-stream\r\n", "data: 1\n\n", "", false, "", true},
		"a download that has a length":    {"Content-Length: 100000\r\n", strings.Repeat("data", 1<<13), "", false, "", true},
		"a download nobody reads":         {"", strings.Repeat("data: 2\n\n", 1<<16), "", true, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said, over := make(chan struct{}), make(chan struct{})
			end := sync.OnceFunc(func() { close(over) })
			up := listen(t, func(c net.Conn, in *bufio.Reader, head string) bool {
				if strings.HasPrefix(head, "GET /?next ") {
					return false
				}
				io.WriteString(c, "HTTP/1.1 200 OK\r\n"+tt.head+"\r\n"+tt.say)
				if tt.repeats {
					fill(c, []byte(tt.say))
				}
				close(said)
				<-over
				io.WriteString(c, tt.after)
				io.Copy(io.Discard, in)
				return false
			})
			t.Cleanup(end)
			registry := live.New()
			g := start(t, setup{Config: upstream.Config{URLs: urls(up), Live: registry}, call: func(c *upstream.Call) { c.Session = aliceSession() }})
			c, in := g.dial(t)
			io.WriteString(c, get("/"))
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			if !tt.repeats {
				got = make([]byte, min(len(tt.say), 16<<10))
				if _, err := io.ReadFull(res.Body, got); err != nil {
					t.Fatal(err)
				}
			}
			wait(t, said, "the stream")
			began := time.Now()
			registry.Close("sid:s1", time.Now())
			end()
			wait(t, up.closed, "the end of the upstream's connection")
			wait(t, g.served, "the end of the request")
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("it took %v, want under two seconds", took)
			}
			rest, err := io.ReadAll(res.Body)
			if tt.cut {
				if err == nil {
					t.Errorf("it ended as if it were complete, after %d bytes", len(rest))
				}
				return
			}
			if got = append(got, rest...); err != nil || string(got) != tt.want {
				t.Errorf("got %q and %v, want %q and the end", got, err, tt.want)
			}
			// The connection serves the next request.
			io.WriteString(c, get("/?next"))
			up.head(t)
			if head := up.head(t); !strings.HasPrefix(head, "GET /?next ") {
				t.Errorf("the next request: got %.30q", head)
			}
		})
	}
}

// An event stream that breaks off by itself looks broken off, and so does one in which nothing moves.
func TestStreamsThatBreakLookBroken(t *testing.T) {
	t.Parallel()
	for name, hang := range map[string]bool{"the upstream breaks": false, "nothing moves": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := listen(t, func(c net.Conn, in *bufio.Reader, _ string) bool {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n")
				if hang {
					io.Copy(io.Discard, in)
				}
				return false
			})
			g := start(t, setup{Config: upstream.Config{URLs: urls(up), Live: live.New(), Idle: 100 * time.Millisecond}, call: func(c *upstream.Call) { c.Session = aliceSession() }})
			if _, body, err := g.send(t, get("/")); err == nil || body != "data: 1\n\n" {
				t.Errorf("got %q and %v, want the event and that it broke", body, err)
			}
		})
	}
}

// Events are followed however they are cut.
func FuzzEvents(f *testing.F) {
	f.Add("data: 1\n\ndata: 2\n\n", 3)
	f.Add(": c\r\nid: 1\rdata: x\r\n\r\n", 1)
	f.Add("\n\n\r\r\r\n: \n", 2)
	f.Fuzz(func(t *testing.T, text string, step int) {
		// What the standard says, on the whole of it: every line end is a line feed.
		between := func(s string) bool {
			s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
			if s != "" && !strings.HasSuffix(s, "\n") {
				return false
			}
			open := false
			for line := range strings.SplitAfterSeq(s, "\n") {
				switch {
				case line == "\n":
					open = false
				case line != "" && line[0] != ':':
					open = true
				}
			}
			return !open
		}
		step = max(1, step%64)
		var e upstream.Events
		for seen := 0; seen < len(text); {
			part := []byte(text[seen:min(len(text), seen+step)])
			stopped := e // by value: how it would end here
			if n := stopped.Pass(part, true); n < len(part) || stopped.Between() {
				if !between(text[:seen+n]) {
					t.Fatalf("it would end within an event, behind %q", text[:seen+n])
				}
				for i := seen; i < seen+n; i++ {
					if between(text[:i]) {
						t.Fatalf("it would end behind %q, and could behind %q", text[:seen+n], text[:i])
					}
				}
			}
			if n := e.Pass(part, false); n != len(part) {
				t.Fatalf("%d of %d bytes pass", n, len(part))
			}
			seen += len(part)
			if got := e.Between(); got != between(text[:seen]) {
				t.Fatalf("behind %q: between is %v", text[:seen], got)
			}
		}
	})
}
