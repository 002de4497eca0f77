package upstream

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptrace"
	"sync"
	"time"
)

// conn is a connection to an upstream that knows whether it is quiet: everything that came has been taken, and somebody
// waits for more.
//
// net/http hands a connection to the next request as soon as an answer has been read, and looks only then whether there
// are bytes behind it. A request that is quicker than that look would be answered with what an upstream has said too
// much. Here it waits until the connection is quiet, or net/http has given it up.
type conn struct {
	net.Conn
	mu      sync.Mutex
	quiet   bool          // somebody waits in Read, and has taken all that came
	closed  bool          // it will never be quiet
	silent  bool          // nobody has asked anything since somebody got the connection
	changed chan struct{} // closed when one of the first two comes true; nil: nobody waits
}

// settling is how long net/http may take to look at a connection.
const settling = 5 * time.Second

var errUnasked = errors.New("the upstream answers before anybody has asked")

// Read implements net.Conn. Under TLS there is more to read than answers, so that silent is not set there.
func (c *conn) Read(p []byte) (int, error) {
	c.set(func() { c.quiet = true })
	n, err := c.Conn.Read(p)
	silent := false
	c.set(func() { c.quiet, silent = false, c.silent })
	if n > 0 && silent {
		c.Close()
		return 0, errUnasked
	}
	return n, err
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	c.set(func() { c.silent = false })
	return c.Conn.Write(p)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.set(func() { c.closed = true })
	return c.Conn.Close()
}

// CloseWrite lets an upstream read to the end of what was sent to a WebSocket.
func (c *conn) CloseWrite() error {
	if c, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return c.Close()
}

func (c *conn) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	if c.changed != nil && (c.quiet || c.closed) {
		close(c.changed)
		c.changed = nil
	}
}

// settle waits until the connection is quiet or closed.
func (c *conn) settle(plain bool) {
	c.mu.Lock()
	c.silent = plain
	if c.quiet || c.closed {
		c.mu.Unlock()
		return
	}
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	changed := c.changed
	c.mu.Unlock()
	late := time.NewTimer(settling)
	defer late.Stop()
	select {
	case <-changed:
	case <-late.C:
		c.Close()
	}
}

// settled makes requests wait until the connection that they got is quiet.
func settled() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
		switch c := got.Conn.(type) {
		case *conn:
			c.settle(true)
		case *tls.Conn:
			// Answers of HTTP/2 say which request they are for.
			if under, ok := c.NetConn().(*conn); ok && c.ConnectionState().NegotiatedProtocol != "h2" {
				under.settle(false)
			}
		}
	}}
}
