package upstream

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// handshake reports whether a request is the opening handshake of a WebSocket
// (RFC 6455, section 4.2.1). One that asks for any other protocol is a plain
// request. One that asks for a WebSocket wrongly is an error: what a proxy takes
// for an upgrade and the upstream for a request, or the other way round, is a
// way past the gateway.
func (p *Proxy) handshake(r *http.Request, c *Call) (socket bool, err *Error) {
	upgrade := r.Header["Upgrade"]
	if len(upgrade) == 0 || r.ProtoMajor != 1 || !hasToken(r.Header["Connection"], "upgrade") {
		return false, nil
	}
	for _, u := range upgrade {
		if strings.IndexFunc(u, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
			return false, badHandshake("the Upgrade header has bytes that are not printable")
		}
	}
	if len(upgrade) != 1 || !strings.EqualFold(strings.Trim(upgrade[0], " \t"), "websocket") {
		return false, nil
	}
	key := r.Header["Sec-Websocket-Key"]
	switch {
	case !r.ProtoAtLeast(1, 1):
		return false, badHandshake("it is not HTTP/1.1")
	case r.ContentLength != 0 || len(r.TransferEncoding) > 0:
		return false, badHandshake("it has a body")
	case len(r.Header["Sec-Websocket-Version"]) != 1 || r.Header.Get("Sec-Websocket-Version") != "13":
		return false, badHandshake("its version is not 13")
	case len(key) != 1 || !validKey(key[0]):
		return false, badHandshake("its key is missing or malformed")
	}
	own := ""
	if p.cfg.OriginOf != nil {
		own = p.cfg.OriginOf(c.From.Hostname())
	}
	if err := CheckOrigin(r, c.Session != nil, own); err != nil {
		return false, err
	}
	return true, nil
}

// CheckOrigin says why r, the opening handshake of a WebSocket, is refused by its method or by the page that opens it; nil: it
// is not. own is the origin of the host that r is for, "" for none.
func CheckOrigin(r *http.Request, session bool, own string) *Error {
	origin := r.Header["Origin"]
	switch {
	case r.Method != http.MethodGet:
		return badHandshake("its method is not GET")
	case len(origin) > 1:
		return badHandshake("it has several origins")
	case len(origin) == 0 && session:
		return &Error{Kind: ForbiddenOrigin, Cause: errors.New("a WebSocket for a session has no Origin")}
	case len(origin) == 1 && (own == "" || origin[0] != own):
		return &Error{Kind: ForbiddenOrigin, Cause: errors.New("a WebSocket was opened by a page of another origin")}
	}
	return nil
}

func badHandshake(why string) *Error {
	return &Error{Kind: BadRequest, Cause: errors.New("a WebSocket handshake is malformed: " + why)}
}

func validKey(key string) bool {
	nonce, err := base64.StdEncoding.DecodeString(key)
	return err == nil && len(nonce) == 16
}

func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for word := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.Trim(word, " \t"), token) {
				return true
			}
		}
	}
	return false
}

// Why a WebSocket is closed (RFC 6455, section 7.4.1).
const (
	statusGoingAway       uint16 = 1001
	statusPolicyViolation uint16 = 1008
)

// farewell is what a close frame and a write before it may take.
const farewell = 250 * time.Millisecond

// socketConn is the client's side of a WebSocket. It counts frames, so that a
// close frame can be put between two of them.
type socketConn struct {
	net.Conn
	early *bufio.Reader // may hold what the client sent behind its handshake
	x     *exchange

	mu     sync.Mutex // held while writing
	frames frames

	ending sync.Mutex // guards code
	code   uint16     // 0: nobody ends it
}

func (s *socketConn) Read(p []byte) (int, error) {
	var n int
	var err error
	if s.early.Buffered() > 0 {
		n, err = s.early.Read(p[:min(len(p), s.early.Buffered())])
	} else {
		n, err = s.Conn.Read(p)
	}
	if s.ends() != 0 { // what comes now is for nobody
		return 0, net.ErrClosed
	}
	s.x.idle.touch()
	return n, err
}

func (s *socketConn) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.Conn.Write(p)
	s.frames.pass(p[:n])
	s.x.idle.touch()
	return n, err
}

// CloseWrite lets the client read to the end of what the upstream has sent.
func (s *socketConn) CloseWrite() error {
	if c, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return s.Close()
}

// end makes both directions return soon; ReverseProxy closes then.
func (s *socketConn) end(code uint16) {
	s.ending.Lock()
	s.code = code
	s.ending.Unlock()
	_ = s.Conn.SetReadDeadline(time.Unix(1, 0))
	_ = s.Conn.SetWriteDeadline(time.Now().Add(farewell))
}

// ends is why the connection is being ended; 0: it is not.
func (s *socketConn) ends() uint16 {
	s.ending.Lock()
	defer s.ending.Unlock()
	return s.code
}

// Close says why, if the last frame is complete, and closes.
func (s *socketConn) Close() error {
	if code := s.ends(); code != 0 {
		s.mu.Lock() // a write that waits gives up at its deadline
		said := s.frames.between()
		if said {
			s.frames.closed = true
			_ = s.Conn.SetWriteDeadline(time.Now().Add(farewell))
			_, _ = s.Conn.Write(binary.BigEndian.AppendUint16([]byte{0x88, 2}, code))
		}
		s.mu.Unlock()
		if said {
			s.linger()
		}
	}
	return s.Conn.Close()
}

// linger waits a moment for the client to close (RFC 6455, section 7.1.1). With bytes
// unread, closing would reset the connection, and the close frame might never be seen.
func (s *socketConn) linger() {
	_ = s.Conn.SetReadDeadline(time.Now().Add(farewell))
	if c, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	_, _ = io.Copy(io.Discard, s.Conn)
}

// frames follows WebSocket frames (RFC 6455, section 5.2) as they pass.
type frames struct {
	head    [14]byte
	n       int    // bytes of the head seen
	payload uint64 // bytes of the payload to come
	closed  bool   // a close frame has passed
}

func (f *frames) pass(p []byte) {
	for len(p) > 0 {
		if f.payload > 0 {
			n := min(f.payload, uint64(len(p)))
			f.payload -= n
			p = p[n:]
			continue
		}
		f.head[f.n] = p[0]
		f.n++
		p = p[1:]
		if f.n == f.size() {
			f.payload, f.n = f.length(), 0
			f.closed = f.closed || f.head[0]&0x0f == 8
		}
	}
}

// size is how long the head is, as far as can be told yet.
func (f *frames) size() int {
	if f.n < 2 {
		return 2
	}
	size := 2
	switch f.head[1] & 0x7f {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if f.head[1]&0x80 != 0 {
		size += 4
	}
	return size
}

func (f *frames) length() uint64 {
	switch n := f.head[1] & 0x7f; n {
	case 126:
		return uint64(binary.BigEndian.Uint16(f.head[2:]))
	case 127:
		return binary.BigEndian.Uint64(f.head[2:])
	default:
		return uint64(n)
	}
}

// between reports whether another frame may follow here.
func (f *frames) between() bool { return f.n == 0 && f.payload == 0 && !f.closed }
