package gatewaytest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// patience bounds every step of a raw client.
const patience = 15 * time.Second

// Answer is what came back to a raw request.
type Answer struct {
	Status        int   // 0: the connection or the stream ended without an answer
	Informational []int // the 1xx before it, in order
	Header        http.Header
	Body          string
	Close         bool  // the gateway ends the connection after it
	Err           error // why there is no answer, or only half of one
}

// String is for messages of tests.
func (a *Answer) String() string {
	if a.Status == 0 {
		return fmt.Sprintf("no answer (%v)", a.Err)
	}
	return fmt.Sprintf("%d %s", a.Status, http.StatusText(a.Status))
}

// Conn is a connection on which the bytes of a test leave as they are.
type Conn struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

// Dial opens a raw connection to the gateway, inside TLS where it speaks TLS. It closes with the test.
func (r *Rig) Dial(t testing.TB) *Conn {
	t.Helper()
	return r.dial(t, "http/1.1")
}

func (r *Rig) dial(t testing.TB, protocol string) *Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", r.Addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	if r.TLS {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, ServerName: r.serverName(), NextProtos: []string{protocol}})
	}
	t.Cleanup(func() { c.Close() })
	return &Conn{Conn: c, t: t, r: bufio.NewReader(c)}
}

// Send writes text as it is. That the gateway has closed already is no failure: the answer tells.
func (c *Conn) Send(text string) {
	c.Conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(c.Conn, text)
}

// Answer reads the answer to a request with that method.
func (c *Conn) Answer(method string) *Answer {
	var informational []int
	for {
		resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
		if err != nil {
			return &Answer{Informational: informational, Err: err}
		}
		if resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
			informational = append(informational, resp.StatusCode)
			continue
		}
		a := &Answer{Status: resp.StatusCode, Informational: informational, Header: resp.Header, Close: resp.Close}
		if resp.StatusCode == http.StatusSwitchingProtocols {
			return a
		}
		body, err := io.ReadAll(resp.Body)
		a.Body, a.Err = string(body), err
		return a
	}
}

// Raw sends text on a connection of its own and reads the answer to it.
func (r *Rig) Raw(t testing.TB, text string) *Answer {
	t.Helper()
	c := r.Dial(t)
	defer c.Close()
	c.Send(text)
	method, _, _ := bytes.Cut([]byte(text), []byte(" "))
	a := c.Answer(string(method))
	r.page(a.Body)
	return a
}

// HTTP2 is a raw request over HTTP/2: the fields leave as they are, pseudo-fields included, in their order.
type HTTP2 struct {
	Fields   [][2]string
	Body     string
	Trailers [][2]string
}

// RawHTTP2 sends a request over HTTP/2 on a connection of its own and reads the answer. The rig must speak TLS.
func (r *Rig) RawHTTP2(t testing.TB, q HTTP2) *Answer {
	t.Helper()
	c := r.dial(t, "h2")
	defer c.Close()
	io.WriteString(c, http2.ClientPreface)
	framer := http2.NewFramer(c, c.r)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	framer.MaxHeaderListSize = 1 << 20
	framer.AllowIllegalWrites = true
	framer.WriteSettings()
	var table bytes.Buffer
	encoder := hpack.NewEncoder(&table)
	encode := func(fields [][2]string) []byte {
		table.Reset()
		for _, f := range fields {
			encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
		return bytes.Clone(table.Bytes())
	}
	writeHeaders(framer, encode(q.Fields), q.Body == "" && len(q.Trailers) == 0)
	if q.Body != "" {
		framer.WriteData(1, len(q.Trailers) == 0, []byte(q.Body))
	}
	if len(q.Trailers) > 0 {
		writeHeaders(framer, encode(q.Trailers), true)
	}
	a := readHTTP2(framer)
	r.page(a.Body)
	return a
}

// writeHeaders splits a head into frames that every peer takes.
func writeHeaders(framer *http2.Framer, block []byte, end bool) {
	const most = 16 << 10
	first := block[:min(most, len(block))]
	block = block[len(first):]
	framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: first, EndStream: end, EndHeaders: len(block) == 0})
	for len(block) > 0 {
		next := block[:min(most, len(block))]
		block = block[len(next):]
		framer.WriteContinuation(1, len(block) == 0, next)
	}
}

func readHTTP2(framer *http2.Framer) *Answer {
	a := &Answer{}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			a.Err = err
			return a
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				framer.WriteSettingsAck()
			}
		case *http2.GoAwayFrame:
			a.Err = fmt.Errorf("the connection was given up: %s", f.ErrCode)
			if f.LastStreamID == 0 || f.ErrCode != http2.ErrCodeNo {
				return a
			}
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
			if f.StreamEnded() {
				return a
			}
		}
	}
}
