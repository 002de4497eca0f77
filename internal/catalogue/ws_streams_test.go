package catalogue_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// streams sends pieces of an answer, each one only when the one before has arrived: nothing that is kept back would
// ever come.
func streams(t *testing.T, d *doors) {
	const pieces = 20
	for _, tt := range []struct {
		name, head string
		piece      func(i int) (sent, got string)
		end        string
	}{
		{"event stream", "Content-Type: text/event-stream\r\n\r\n", func(i int) (string, string) { s := fmt.Sprintf("data: %d\n\n", i); return s, s }, ""},
		{"event stream in chunks", "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n", func(i int) (string, string) {
			s := fmt.Sprintf("data: %02d\n\n", i)
			return fmt.Sprintf("%x\r\n%s\r\n", len(s), s), s
		}, "0\r\n\r\n"},
		{"chunks", "Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n", func(int) (string, string) { return "1\r\nx\r\n", "x" }, "0\r\n\r\n"},
		{"trailers as gRPC has them", "Content-Type: application/grpc\r\nTransfer-Encoding: chunked\r\nTrailer: Grpc-Status\r\n\r\n", func(int) (string, string) { return "5\r\n\x00\x00\x00\x00\x00\r\n", "\x00\x00\x00\x00\x00" }, "0\r\nGrpc-Status: 0\r\n\r\n"},
	} {
		d.each(t, func(t *testing.T, w way) {
			arrived := make(chan struct{}, 1)
			w.Upstream.Take(func(_ string, _ *bufio.Reader, c net.Conn) bool {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n"+tt.head)
				for i := range pieces {
					sent, _ := tt.piece(i)
					io.WriteString(c, sent)
					select {
					case <-arrived:
					case <-time.After(20 * time.Second):
						return false
					}
				}
				io.WriteString(c, tt.end)
				return false
			})
			defer w.Upstream.Take(nil)
			target := "/public/x"
			if w.cookie != "" {
				target = "/app"
			}
			read, trailer := w.stream(t, target)
			for i := range pieces {
				_, want := tt.piece(i)
				if got := read(len(want)); got != want {
					t.Fatalf("%s: piece %d: got %q, want %q before anything else is sent", tt.name, i, got, want)
				}
				arrived <- struct{}{}
			}
			if got := trailer(); strings.Contains(tt.end, "Grpc") && got != "0" {
				t.Errorf("%s: got the trailer %q, want 0", tt.name, got)
			}
		})
	}
	// Both directions at once: each chunk of the request is answered before the next one leaves.
	d.each(t, func(t *testing.T, w way) {
		w.Upstream.Take(func(_ string, r *bufio.Reader, c net.Conn) bool {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
			io.Copy(c, r) // chunks are chunks
			return false
		})
		defer w.Upstream.Take(nil)
		if w.h2 {
			c := w.DialHTTP2(t, gatewaytest.Dialing{})
			q := request{Method: "POST", Target: "/public/x"}.http2(w.host)
			stream := c.Open(q.Fields, false)
			for i := range pieces {
				c.Framer().WriteData(stream, i == pieces-1, []byte("ping"))
				if got := c.Data(stream, 4); got != "ping" {
					t.Fatalf("piece %d: got %q back", i, got)
				}
			}
			return
		}
		c := w.Dial(t)
		c.Send("POST /public/x HTTP/1.1\r\nHost: " + w.host + "\r\nTransfer-Encoding: chunked\r\n\r\n")
		var resp *http.Response
		for i := range pieces {
			c.Send("4\r\nping\r\n")
			if resp == nil {
				resp = c.Head("POST")
			}
			got := make([]byte, 4)
			if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != "ping" {
				t.Fatalf("piece %d: got %q back (%v)", i, got, err)
			}
		}
		c.Close()
	})
}

// stream asks for something and returns what reads so many bytes of the answer, and then its trailer Grpc-Status.
func (w way) stream(t *testing.T, target string) (read func(n int) string, trailer func() string) {
	t.Helper()
	q := request{Target: target, Lines: fieldsOf("TE", "trailers")}
	if w.cookie != "" {
		q.Lines = with(q.Lines, "Cookie", w.cookie)
	}
	if w.h2 {
		c := w.DialHTTP2(t, gatewaytest.Dialing{})
		stream := c.Open(q.http2(w.host).Fields, true)
		return func(n int) string { return c.Data(stream, n) }, func() string { return c.Trailer(stream, "grpc-status") }
	}
	c := w.Dial(t)
	c.Send(q.text(w.host))
	resp := c.Head("GET")
	read = func(n int) string {
		b := make([]byte, n)
		n, _ = io.ReadFull(resp.Body, b)
		return string(b[:n])
	}
	return read, func() string { io.Copy(io.Discard, resp.Body); return resp.Trailer.Get("Grpc-Status") }
}
