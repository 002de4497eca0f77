package gatewaytest

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
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

// Dialing says how a connection to the gateway is opened. The zero value is what anybody would do.
type Dialing struct {
	From       string // our own address, such as 127.0.0.2; "": what the system takes
	To         string // where to, as HOST:PORT; "": Rig.Addr
	ServerName string // the name in the TLS handshake; "": the gateway's
	First      string // what is sent before all else, before the TLS handshake too
	Protocol   string // what ALPN asks for; "": http/1.1
}

// Conn is a connection on which the bytes of a test leave as they are.
type Conn struct {
	net.Conn
	t   testing.TB
	rig *Rig
	r   *bufio.Reader
}

// Dial opens a raw connection to the gateway, inside TLS where it speaks TLS. It closes with the test.
func (r *Rig) Dial(t testing.TB) *Conn {
	t.Helper()
	return r.DialAs(t, Dialing{})
}

// DialAs is Dial in an unusual way.
func (r *Rig) DialAs(t testing.TB, d Dialing) *Conn {
	t.Helper()
	return r.dial(t, d, cmp.Or(d.Protocol, "http/1.1"))
}

func (r *Rig) dial(t testing.TB, d Dialing, protocol string) *Conn {
	t.Helper()
	dialer := net.Dialer{Timeout: patience}
	if d.From != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(d.From)}
	}
	c, err := dialer.Dial("tcp", cmp.Or(d.To, r.Addr))
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, d.First)
	if r.TLS {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, ServerName: cmp.Or(d.ServerName, r.serverName()), NextProtos: []string{protocol}})
	}
	t.Cleanup(func() { c.Close() })
	return &Conn{Conn: c, t: t, rig: r, r: bufio.NewReader(c)}
}

// Send writes text as it is. That the gateway has closed already is no failure: the answer tells.
func (c *Conn) Send(text string) {
	c.Conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(c.Conn, text)
}

// Read reads what comes behind the answers that were read, such as the frames of a WebSocket.
func (c *Conn) Read(p []byte) (int, error) { return c.r.Read(p) }

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
		c.rig.page(a.Body)
		return a
	}
}

// Raw sends text on a connection of its own and reads the answer to it. A TLS handshake names the host that the text
// names, if that is one of the gateway's.
func (r *Rig) Raw(t testing.TB, text string) *Answer {
	t.Helper()
	host := append(Header(text, "Host"), "")[0]
	c := r.DialAs(t, Dialing{ServerName: r.serverNameOf(host)})
	defer c.Close()
	c.Send(text)
	method, _, _ := bytes.Cut([]byte(text), []byte(" "))
	return c.Answer(string(method))
}
