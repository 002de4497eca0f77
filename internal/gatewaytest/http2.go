package gatewaytest

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"golang.org/x/net/http2"
)

// Head reads the head of the answer to a request with that method; its body is read by whoever wants it.
func (c *Conn) Head(method string) *http.Response {
	c.t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("reading the head of an answer: %v", err)
	}
	return resp
}

// Open sends the head of a request on a stream of its own, whose number it returns, and waits for nothing.
func (c *HTTP2Conn) Open(fields [][2]string, end bool) uint32 {
	c.last += 1 + c.last&1 // 1, 3, 5, …
	c.headers(fields, end)
	return c.last
}

// Framer writes and reads the frames of the connection.
func (c *HTTP2Conn) Framer() *http2.Framer { return c.framer }

// Block is fields in HPACK, for frames that are made by hand.
func (c *HTTP2Conn) Block(fields [][2]string) []byte {
	c.table.Reset()
	c.encode(fields)
	return append([]byte(nil), c.table.Bytes()...)
}

// Follow reads frames until see returns false or the connection ends, whose error it returns. It answers settings and
// opens the windows for data.
func (c *HTTP2Conn) Follow(see func(f http2.Frame) bool) error {
	for {
		f, err := c.framer.ReadFrame()
		var stream http2.StreamError
		if errors.As(err, &stream) {
			continue
		}
		if err != nil {
			return err
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				c.framer.WriteSettingsAck()
			}
		case *http2.DataFrame:
			if n := len(f.Data()); n > 0 {
				c.framer.WriteWindowUpdate(0, uint32(n))
				c.framer.WriteWindowUpdate(f.StreamID, uint32(n))
			}
		}
		if !see(f) {
			return nil
		}
	}
}

// Marker is what a ping says to which Ends waits for the answer.
var Marker = [8]byte{'m', 'a', 'r', 'k', 'e', 'r'}

// Ends reads, answering nothing, so that somebody else may write meanwhile, until the connection ends or a ping with
// Marker has been answered: then all that was sent before has been read. why is why the peer gave the connection up, ""
// if it did not.
func (c *HTTP2Conn) Ends() (why string) {
	for {
		f, err := c.framer.ReadFrame()
		var stream http2.StreamError
		if err != nil && !errors.As(err, &stream) {
			if why == "" && errors.Is(err, os.ErrDeadlineExceeded) {
				c.t.Errorf("neither the end of the connection nor the answer to a ping: %v", err)
			}
			if why == "" {
				why = err.Error()
			}
			return why
		}
		switch f := f.(type) {
		case *http2.GoAwayFrame:
			why = f.ErrCode.String()
		case *http2.PingFrame:
			if f.IsAck() && f.Data == Marker {
				return why
			}
		}
	}
}

// Data reads until a stream has brought n bytes more, or ends.
func (c *HTTP2Conn) Data(stream uint32, n int) string {
	c.t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	if c.data == nil {
		c.data = map[uint32]string{}
	}
	for len(c.data[stream]) < n {
		ended := false
		err := c.Follow(func(f http2.Frame) bool {
			if f.Header().StreamID != stream {
				return true
			}
			switch f := f.(type) {
			case *http2.DataFrame:
				c.data[stream] += string(f.Data())
				ended = f.StreamEnded()
			case *http2.RSTStreamFrame:
				ended = true
			case *http2.MetaHeadersFrame:
				ended = f.StreamEnded()
			}
			return false
		})
		if err != nil || ended && len(c.data[stream]) < n {
			c.t.Fatalf("stream %d: it ended with %q (%v), want %d bytes", stream, c.data[stream], err, n)
		}
	}
	out := c.data[stream][:n]
	c.data[stream] = c.data[stream][n:]
	return out
}

// Trailer reads to the end of a stream and returns a trailer, "" without one.
func (c *HTTP2Conn) Trailer(stream uint32, name string) (value string) {
	c.t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	err := c.Follow(func(f http2.Frame) bool {
		if f.Header().StreamID != stream {
			return true
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			for _, field := range f.RegularFields() {
				if field.Name == name {
					value = field.Value
				}
			}
			return !f.StreamEnded()
		case *http2.DataFrame:
			return !f.StreamEnded()
		case *http2.RSTStreamFrame:
			value = fmt.Sprintf("the stream was reset: %s", f.ErrCode)
			return false
		}
		return true
	})
	if err != nil {
		c.t.Errorf("stream %d: %v", stream, err)
	}
	return value
}
