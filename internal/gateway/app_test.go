package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"portero/internal/gatewaytest"
)

// app is an application that speaks the whole of HTTP.
type app struct {
	URL    string
	routes string      // one signed-in route to it
	event  chan string // what /events sends next
	gone   chan string // paths whose request was cancelled
	begun  chan string // paths under /wait that have arrived
	hits   atomic.Int64
	done   chan struct{} // closed at the end of the test
}

func newApp(t testing.TB) *app {
	t.Helper()
	a := &app{event: make(chan string), gone: make(chan string, 16), begun: make(chan string, 128), done: make(chan struct{})}
	m := http.NewServeMux()
	m.HandleFunc("/ws", a.echo)
	m.HandleFunc("/events", a.events)
	m.HandleFunc("/upload", a.upload)
	m.HandleFunc("/download", a.download)
	m.HandleFunc("/trailers", a.trailers)
	m.HandleFunc("/wait/", a.wait)
	m.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.hits.Add(1)
		m.ServeHTTP(w, r)
	}))
	s.Config.ErrorLog = nil
	s.Start()
	t.Cleanup(func() {
		close(a.done)
		s.CloseClientConnections()
		s.Close()
	})
	a.URL = s.URL
	a.routes = fmt.Sprintf("\n  - {name: app, title: Wiki, path: /, upstreams: [{url: %q}]}\n  - {name: public, path: /public, access: public, strip_prefix: true, upstreams: [{url: %q}]}\n", s.URL, s.URL)
	return a
}

func (a *app) echo(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer c.CloseNow()
	c.SetReadLimit(1 << 20)
	for {
		kind, message, err := c.Read(r.Context())
		if err != nil {
			select {
			case a.gone <- r.URL.Path:
			default:
			}
			return
		}
		if c.Write(r.Context(), kind, message) != nil {
			return
		}
	}
}

func (a *app) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	http.NewResponseController(w).Flush()
	for {
		select {
		case e := <-a.event:
			fmt.Fprintf(w, "data: %s\n\n", e)
			http.NewResponseController(w).Flush()
		case <-r.Context().Done():
			a.gone <- r.URL.Path
			return
		case <-a.done:
			return
		}
	}
}

func (a *app) upload(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		a.gone <- r.URL.Path
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"bytes": n, "method": r.Method, "length": r.ContentLength})
}

func (a *app) download(w http.ResponseWriter, r *http.Request) {
	block := make([]byte, 64<<10)
	for range 64 << 20 / len(block) {
		if _, err := w.Write(block); err != nil {
			a.gone <- r.URL.Path
			return
		}
	}
}

func (a *app) trailers(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	w.Header().Set("Trailer", "Digest-Of-It")
	io.WriteString(w, "body")
	w.Header().Set("Digest-Of-It", "abc:"+r.Trailer.Get("Checksum"))
	w.Header().Set(http.TrailerPrefix+"X-Forwarded-User", "forged")
}

// wait answers never.
func (a *app) wait(_ http.ResponseWriter, r *http.Request) {
	a.begun <- r.URL.Path
	select {
	case <-r.Context().Done():
		a.gone <- r.URL.Path
	case <-a.done:
	}
	panic(http.ErrAbortHandler)
}

// waitFor receives within ten seconds.
func waitFor(t testing.TB, what string, from <-chan string) string {
	t.Helper()
	select {
	case s := <-from:
		return s
	case <-time.After(10 * time.Second):
		t.Fatalf("waiting for %s", what)
		return ""
	}
}

// socket is a person's side of a WebSocket.
type socket struct {
	t testing.TB
	c *websocket.Conn
}

func openSocket(rig *gatewaytest.Rig, b *gatewaytest.Browser, path string, header http.Header) (*websocket.Conn, *http.Response, error) {
	h := http.Header{"Origin": {rig.URL}}
	for name, value := range b.Cookies("localhost") {
		h.Add("Cookie", name+"="+value)
	}
	for name, values := range header {
		if h[name] = values; len(values) == 0 {
			delete(h, name)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return websocket.Dial(ctx, strings.Replace(rig.URL, "http", "ws", 1)+path, &websocket.DialOptions{HTTPHeader: h})
}

func dialSocket(t testing.TB, rig *gatewaytest.Rig, b *gatewaytest.Browser, path string, header http.Header) *socket {
	t.Helper()
	c, _, err := openSocket(rig, b, path, header)
	if err != nil {
		t.Fatalf("opening a WebSocket: %v", err)
	}
	t.Cleanup(func() { c.CloseNow() })
	c.SetReadLimit(1 << 20)
	return &socket{t, c}
}

func (s *socket) send(text string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		s.t.Fatalf("sending: %v", err)
	}
}

func (s *socket) receive() string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, text, err := s.c.Read(ctx)
	if err != nil {
		s.t.Fatalf("receiving: %v", err)
	}
	return string(text)
}

// closed waits for the end and returns the code of the close frame, 0 without one.
func (s *socket) closed() int {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, _, err := s.c.Read(ctx)
	var end websocket.CloseError
	switch {
	case err == nil:
		s.t.Fatal("a message came, want the end")
	case errors.Is(err, context.DeadlineExceeded):
		s.t.Fatal("the WebSocket stays open")
	case errors.As(err, &end):
		return int(end.Code)
	}
	return 0
}

// readEvent reads one event of a stream.
func readEvent(t testing.TB, stream io.Reader) string {
	t.Helper()
	type read struct {
		line string
		err  error
	}
	ended := make(chan read, 1)
	go func() { // byte for byte, so that nothing of the next event is lost
		var line []byte
		var b [1]byte
		for !strings.HasSuffix(string(line), "\n\n") {
			if _, err := io.ReadFull(stream, b[:]); err != nil {
				ended <- read{err: err}
				return
			}
			line = append(line, b[0])
		}
		ended <- read{line: string(line)}
	}()
	select {
	case got := <-ended:
		if got.err != nil {
			t.Fatalf("reading an event: %v", got.err)
		}
		data, _ := textproto.NewReader(bufio.NewReader(strings.NewReader(got.line))).ReadLine()
		return strings.TrimPrefix(data, "data: ")
	case <-time.After(10 * time.Second):
		t.Fatal("the event does not come")
		return ""
	}
}
