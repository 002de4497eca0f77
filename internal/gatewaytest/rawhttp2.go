package gatewaytest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// HTTP2 is a raw request over HTTP/2: the fields leave as they are, pseudo-fields included, in their order.
type HTTP2 struct {
	Fields   [][2]string
	Body     string
	Trailers [][2]string
}

// RawHTTP2 sends a request over HTTP/2 on a connection of its own and reads the answer; the handshake is as Raw's. The
// rig must speak TLS.
func (r *Rig) RawHTTP2(t testing.TB, q HTTP2) *Answer {
	t.Helper()
	host := ""
	for _, f := range q.Fields {
		if f[0] == ":authority" {
			host = f[1]
		}
	}
	c := r.DialHTTP2(t, Dialing{ServerName: r.serverNameOf(host)})
	defer c.Close()
	return c.Ask(q)
}

// HTTP2Conn is a connection on which requests leave frame by frame, one after the other.
type HTTP2Conn struct {
	*Conn
	framer  *http2.Framer
	table   bytes.Buffer
	encoder *hpack.Encoder
	last    uint32            // the newest stream; 0: none yet
	data    map[uint32]string // :: stream → what Data has not returned yet
}

// DialHTTP2 opens a raw connection for HTTP/2. The rig must speak TLS. It closes with the test.
func (r *Rig) DialHTTP2(t testing.TB, d Dialing) *HTTP2Conn {
	t.Helper()
	c := &HTTP2Conn{Conn: r.dial(t, d, "h2")}
	io.WriteString(c, http2.ClientPreface)
	c.framer = http2.NewFramer(c, c.r)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.framer.MaxHeaderListSize = 1 << 20
	c.framer.AllowIllegalWrites = true
	c.framer.WriteSettings()
	c.encoder = hpack.NewEncoder(&c.table)
	return c
}

// Ask sends a request on a stream of its own and reads the answer.
func (c *HTTP2Conn) Ask(q HTTP2) *Answer {
	c.SetDeadline(time.Now().Add(patience))
	c.last += 1 + c.last&1 // 1, 3, 5, …
	c.headers(q.Fields, q.Body == "" && len(q.Trailers) == 0)
	if q.Body != "" {
		c.framer.WriteData(c.last, len(q.Trailers) == 0, []byte(q.Body))
	}
	if len(q.Trailers) > 0 {
		c.headers(q.Trailers, true)
	}
	a := c.answer()
	c.rig.page(a.Body)
	return a
}

func (c *HTTP2Conn) encode(fields [][2]string) {
	for _, f := range fields {
		c.encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
}

// headers sends a head, or trailers, split into frames that every peer takes.
func (c *HTTP2Conn) headers(fields [][2]string, end bool) {
	const most = 16 << 10
	c.table.Reset()
	c.encode(fields)
	block := c.table.Bytes()
	first := block[:min(most, len(block))]
	block = block[len(first):]
	c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: c.last, BlockFragment: first, EndStream: end, EndHeaders: len(block) == 0})
	for len(block) > 0 {
		next := block[:min(most, len(block))]
		block = block[len(next):]
		c.framer.WriteContinuation(c.last, len(block) == 0, next)
	}
}

func (c *HTTP2Conn) answer() *Answer {
	a := &Answer{}
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			a.Err = err
			return a
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				c.framer.WriteSettingsAck()
			}
			continue
		case *http2.GoAwayFrame:
			a.Close, a.Err = true, fmt.Errorf("the connection was given up: %s", f.ErrCode)
			if f.LastStreamID < c.last || f.ErrCode != http2.ErrCodeNo {
				return a
			}
			continue
		}
		if frame.Header().StreamID != c.last {
			continue
		}
		switch f := frame.(type) {
		case *http2.RSTStreamFrame:
			a.Err = fmt.Errorf("the stream was reset: %s", f.ErrCode)
			return a
		case *http2.MetaHeadersFrame:
			if a.Status != 0 { // trailers
				return a
			}
			status, err := strconv.Atoi(f.PseudoValue("status"))
			if err != nil {
				a.Err = errors.New("an answer without status")
				return a
			}
			if status < 200 {
				a.Informational = append(a.Informational, status)
				continue
			}
			a.Status, a.Header = status, http.Header{}
			for _, field := range f.RegularFields() {
				a.Header.Add(field.Name, field.Value)
			}
			if f.StreamEnded() {
				return a
			}
		case *http2.DataFrame:
			a.Body += string(f.Data())
			if n := len(f.Data()); n > 0 {
				c.framer.WriteWindowUpdate(0, uint32(n))
				c.framer.WriteWindowUpdate(c.last, uint32(n))
			}
			if f.StreamEnded() {
				return a
			}
		}
	}
}
