// Package upstream carries a request that has been decided on to the
// application behind, and its answer back.
//
// It owns the connection to the application: the outgoing target and headers,
// WebSockets, time limits, the choice among several upstreams, and what is taken
// out of answers. It does not own the decision: whoever calls Serve has it. It
// renders no page: what went wrong before the answer began is returned.
//
// Invariants:
//   - path and query leave as the bytes that were decided on;
//   - identity headers, and those by which a client would rewrite its own
//     address, are removed from every request before any is set, and from every
//     answer; hop-by-hop headers are gone before that, so that none of ours can
//     be named away (RFC 9110, section 7.6.1);
//   - the gateway's cookies never leave; the application's leave byte for byte;
//     an application cannot set one of ours;
//   - nothing but a WebSocket of ours is ever switched to (no h2c, no tunnels);
//   - what is served for a session ends with the session: answers break off,
//     uploads stop, WebSockets get a close frame, event streams their end;
//   - a body that breaks off is never ended cleanly towards the client, so that
//     part of a download does not pass for the whole; event streams alone promise
//     no completeness.
//
// net/http repeats an idempotent request without a body by itself when a
// kept-alive connection turns out to be dead.
//
// Specifications: RFC 9110, RFC 9111 (section 5.2.2), RFC 9112, RFC 6455,
// RFC 8297, RFC 9209 (error tokens).
package upstream

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"portero/internal/assertion"
	"portero/internal/assertion/signed"
	"portero/internal/forwarded"
	"portero/internal/identity"
	"portero/internal/live"
	"portero/internal/route"
	"portero/internal/session"
	"portero/internal/telemetry"
)

// Config describes the upstreams of one route.
type Config struct {
	// Route is the route that is served. Required.
	Route *route.Route
	// URLs are the upstreams: scheme http or https, host, and nothing else. At
	// least one; several take turns.
	URLs []*url.URL
	// PreserveHost sends the host that was typed. False: the upstream's own.
	PreserveHost bool
	// Connect limits connecting, and the TLS handshake, each. Zero: 5 s.
	Connect time.Duration
	// ResponseHeader limits the wait for the head of an answer once the request
	// has been sent. Zero: no limit.
	ResponseHeader time.Duration
	// Idle ends a request whose body, or answer, or WebSocket, makes no progress
	// for that long. Zero: no limit.
	Idle time.Duration
	// DropAuthorization takes the client's own Authorization header out.
	DropAuthorization bool
	// DropSharing takes out what an answer says of other origins: the gateway says it.
	DropSharing bool
	// ProtectCache keeps answers out of shared caches.
	ProtectCache bool
	// OwnCookie reports whether a cookie of that name is the gateway's. Nil: none is.
	OwnCookie func(name string) bool
	// Headers strips and sets identity headers. Nil: strips only.
	Headers *assertion.Set
	// Signed makes the signed form of an identity. Nil: there is none.
	Signed *signed.Assertion
	// Live learns of every request that is served for a session, and of every
	// WebSocket and event stream. Nil: nobody does.
	Live *live.Registry
	// Log receives what nobody else could tell. Nil: slog.Default().
	Log *slog.Logger
	// ExternalURL stands for the origin that was typed where a Call has none.
	ExternalURL *url.URL
	// OriginOf is the origin of a host of ours. A WebSocket has to be opened by a page of
	// the host it is for: a cookie that is Lax comes along from every sibling. Nil: by none.
	OriginOf func(host string) string
}

// Proxy carries the requests of one route. It is safe for concurrent use.
type Proxy struct {
	cfg       Config
	targets   []*target
	next      atomic.Uint32 // whose turn it is
	transport *http.Transport
	settled   *httptrace.ClientTrace
	reverse   httputil.ReverseProxy
	told      sync.Map // :: what has been warned of once → struct{}
}

// Call is one request that was decided on.
type Call struct {
	// Target is what was decided on.
	Target route.Target
	// From is who sent it and which URL was typed.
	From forwarded.Request
	// Identity is what the upstream is told. Nil: nothing.
	Identity *identity.Identity
	// Session is what the request is served for. Nil: for none.
	Session *session.Session
	// Idles is when the session idles, as far as is known now. Zero: never.
	Idles time.Time
	// AccessToken is sent to the upstream in place of the client's Authorization.
	// Empty: none.
	AccessToken string
	// Left is how long what lets the request in lasts still, where that is no
	// session. Zero: for ever.
	Left time.Duration
	// Since is the registry's mark from before the session was looked up, so that
	// a sign-out in between counts. Zero: only a later one counts.
	Since live.Mark
}

const (
	defaultConnect = 5 * time.Second
	keepAlive      = 30 * time.Second
	idlePooled     = 60 * time.Second
	pooledPerHost  = 256
	waitContinue   = time.Second
	maxAnswerHead  = 256 << 10
	drain          = 500 * time.Millisecond
)

// New returns a proxy for the route's upstreams. It connects to nothing yet.
func New(c Config) (*Proxy, error) {
	if c.Route == nil || len(c.URLs) == 0 {
		return nil, errors.New("a proxy needs a route and at least one upstream")
	}
	if c.Connect == 0 {
		c.Connect = defaultConnect
	}
	if c.OwnCookie == nil {
		c.OwnCookie = func(string) bool { return false }
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}

	p := &Proxy{cfg: c, settled: settled()}
	for i, u := range c.URLs {
		t, err := newTarget(u)
		if err != nil {
			return nil, fmt.Errorf("upstreams[%d].url: %w", i, err)
		}
		p.targets = append(p.targets, t)
	}
	dialer := &net.Dialer{Timeout: c.Connect, KeepAlive: keepAlive}
	p.transport = &http.Transport{
		Proxy: nil, // the environment's proxies are not for what stands behind us
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, &connectError{err}
			}
			return &conn{Conn: c}, nil
		},
		TLSHandshakeTimeout:    c.Connect,
		ResponseHeaderTimeout:  c.ResponseHeader,
		ExpectContinueTimeout:  waitContinue,
		IdleConnTimeout:        idlePooled,
		MaxIdleConnsPerHost:    pooledPerHost,
		MaxResponseHeaderBytes: maxAnswerHead,
		DisableCompression:     true, // bodies pass as they are
		ForceAttemptHTTP2:      true, // over TLS, if the upstream has it
	}
	p.reverse = httputil.ReverseProxy{
		Rewrite:        p.rewrite,
		Transport:      balancer{p},
		ModifyResponse: p.receive,
		ErrorHandler:   p.failed,
		BufferPool:     &buffers{},
		ErrorLog:       log.New(logWriter{c.Log, c.Route.Name}, "", 0),
	}
	return p, nil
}

// Close lets go of the connections that are not in use. Requests under way
// finish.
func (p *Proxy) Close() { p.transport.CloseIdleConnections() }

// Serve carries one request and returns nil once it has been answered. An error
// is an *Error, and then nothing but informational answers has been written. It
// panics with http.ErrAbortHandler when an answer breaks off in the middle.
func (p *Proxy) Serve(w http.ResponseWriter, r *http.Request, c Call) error {
	// 1. What leaves is what was decided on.
	path, err := p.cfg.Route.Forward(c.Target)
	if err != nil {
		return p.explain(&Error{Kind: BadRequest, Cause: err})
	}
	// 2. The only protocol we switch to, and only for pages of ours.
	socket, bad := p.handshake(r, &c)
	if bad != nil {
		return p.explain(bad)
	}

	// 3. It ends when the client leaves, the session ends, or nothing moves.
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	x := &exchange{Context: httptrace.WithClientTrace(ctx, p.settled), cancel: cancel, proxy: p, call: &c, path: path, socket: socket,
		http1: r.ProtoMajor == 1, informs: r.ProtoAtLeast(1, 1), length: r.ContentLength}
	x.w = writer{ResponseWriter: w, x: x, own: ownHeaders(w.Header())}
	x.tell = telemetry.FromContext(r.Context())
	defer x.close()
	if s := c.Session; p.cfg.Live != nil && s != nil {
		x.live = p.cfg.Live.AddSince(c.Since, live.Session{Names: s.Names, Created: s.CreatedAt, Ends: c.Idles, Expires: s.ExpiresAt}, x.end)
	}

	if c.Left > 0 {
		ends := time.AfterFunc(c.Left, x.end)
		defer ends.Stop()
	}

	// 4. Carry it.
	if r.ContentLength != 0 && r.Body != nil {
		x.request.body, x.request.x = r.Body, x
		if hasToken(r.Header["Expect"], "100-continue") {
			x.Context = x.request.expecting(x.Context)
		}
		r = r.WithContext(x)
		r.Body = &x.request
	} else {
		r = r.WithContext(x)
	}
	x.idle.start(x, p.cfg.Idle, r.ContentLength != 0)
	p.reverse.ServeHTTP(&x.w, r)
	if x.failure == nil || x.w.hijacked {
		return nil
	}
	x.w.restore() // for the page that is written now
	return p.explain(x.failure)
}

// explain adds what a page about the error says.
func (p *Proxy) explain(e *Error) *Error {
	e.Route = p.cfg.Route
	var connect *connectError
	switch {
	case e.Kind != Slow:
	case errors.Is(e.Cause, errIdle):
		e.Timeout = p.cfg.Idle
	case errors.As(e.Cause, &connect), tlsFailed(e.Cause):
		e.Timeout = p.cfg.Connect
	case timedOut(e.Cause):
		e.Timeout = p.cfg.ResponseHeader
	}
	return e
}

// exchange is one request on its way. It is the context of the outgoing
// request, by which the parts of the ReverseProxy find it.
type exchange struct {
	context.Context
	cancel  context.CancelCauseFunc
	proxy   *Proxy
	call    *Call
	path    string // what leaves
	socket  bool   // a WebSocket was asked for
	http1   bool   // the client speaks HTTP/1
	informs bool   // and knows informational answers
	length  int64  // of the request's body; -1: not known
	tell    *telemetry.Exchange
	w       writer
	request requestBody
	answer  answerBody
	idle    idleWatch
	live    *live.Entry // nil: nobody's, and not endless as far as is known
	values  [6]string   // of the forwarding headers
	failure *Error

	mu        sync.Mutex
	code      uint16 // why it is stopped, as a WebSocket says it; 0: it is not
	cause     error  // and as the log says it
	begun     bool   // the answer has
	finishing bool   // and is an event stream, which ends
	cut       bool   // the client's connection takes no more, or soon will not
	served    bool   // and its connection may be another request's by now
	broken    error  // why the client's body could not be read
	upgrade   *socketConn
	farewell  *time.Timer // until when the last event may come; nil: nobody waits
}

type exchangeKey struct{}

// Value implements context.Context.
func (x *exchange) Value(key any) any {
	if key == (exchangeKey{}) {
		return x
	}
	return x.Context.Value(key)
}

func exchangeOf(ctx context.Context) *exchange { return ctx.Value(exchangeKey{}).(*exchange) }

// close lets nothing outlive the request.
func (x *exchange) close() {
	if x.live != nil {
		x.live.Remove()
	}
	x.idle.stop()
	x.request.closed.Store(true)
	if x.request.remains(x.length) && !x.w.hijacked {
		// net/http reads what is left of the body, before it answers or after. A
		// client that waits for the answer does not send it. The deadline stands
		// only if nobody is in the middle of reading when the handler returns.
		if http.NewResponseController(x.w.ResponseWriter).SetReadDeadline(time.Now().Add(drain)) == nil {
			x.request.wait()
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.served = true
	if x.farewell != nil {
		x.farewell.Stop()
	}
	if x.cut && !x.w.hijacked {
		_ = http.NewResponseController(x.w.ResponseWriter).SetWriteDeadline(time.Time{})
	}
}

// end is called when the session has ended, or the process is going down.
func (x *exchange) end() {
	code, cause := statusPolicyViolation, ErrSessionEnded
	if x.proxy.cfg.Live.Draining() {
		code, cause = statusGoingAway, errDraining
	}
	x.stop(cause, code)
}

// stop ends the exchange on both sides. Towards the client it does so only once
// the answer has begun: until then there is a page to be written.
func (x *exchange) stop(cause error, code uint16) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.served || x.code != 0 {
		return
	}
	x.code, x.cause = code, cause
	if x.upgrade != nil {
		x.upgrade.end(code)
	} else if x.begun && !x.breakOff() {
		return
	}
	x.cancel(cause)
	if x.upgrade == nil {
		x.stopReading()
	}
}

// stopReading makes a read that waits for the client's body return, once
// nobody needs the body any more: net/http's transport waits for it before it
// gives up. The server closes the connection behind the answer then, so that
// nothing of the body is taken for a request.
func (x *exchange) stopReading() {
	if x.request.reading.Load() {
		_ = http.NewResponseController(x.w.ResponseWriter).SetReadDeadline(time.Now())
	}
}

// breakOff ends an answer that has begun: a write that waits for a slow client
// returns. It reports whether the upstream is not needed any more either. The caller
// holds x.mu.
func (x *exchange) breakOff() bool {
	if x.answer.stream && canFinish(x.cause) {
		return x.finish()
	}
	x.cut = true
	_ = http.NewResponseController(x.w.ResponseWriter).SetWriteDeadline(time.Unix(1, 0))
	return true
}

// warn logs what an operator should know once, and later at debug level only.
func (p *Proxy) warn(what, key string, attrs ...slog.Attr) {
	level := slog.LevelWarn
	if _, again := p.told.LoadOrStore(what+key, struct{}{}); again {
		level = slog.LevelDebug
	}
	p.cfg.Log.LogAttrs(context.Background(), level, what, append(attrs, slog.String("route", p.cfg.Route.Name))...)
}

// origin is the origin that was typed.
func (x *exchange) origin() string {
	if x.call.From.Host != "" {
		return x.call.From.Origin()
	}
	if u := x.proxy.cfg.ExternalURL; u != nil {
		return u.Scheme + "://" + u.Host
	}
	return ""
}

// buffers are what bodies are copied through.
type buffers struct{ pool sync.Pool }

const bufferSize = 32 << 10

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return p[:]
	}
	return make([]byte, bufferSize)
}

func (b *buffers) Put(p []byte) { b.pool.Put((*[bufferSize]byte)(p)) }

// logWriter takes what ReverseProxy says to a log.Logger.
type logWriter struct {
	log   *slog.Logger
	route string
}

func (l logWriter) Write(line []byte) (int, error) {
	l.log.LogAttrs(context.Background(), slog.LevelWarn, "proxying", slog.String("message", string(line)), slog.String("route", l.route))
	return len(line), nil
}

// clientAddr is the client for X-Real-IP; "" if it has no address.
func clientAddr(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
