package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"portero/internal/route"
)

// Kind says what kept a request from being answered.
type Kind uint8

// The kinds of Error, each with the status that fits it.
const (
	Unreachable     Kind = iota // 502: no connection, a broken one, or an answer that is none
	Slow                        // 504: no connection or no answer in time
	BadRequest                  // 400: the request's body or its WebSocket handshake is malformed
	ForbiddenOrigin             // 403: a WebSocket opened by a page that is not ours
	Cancelled                   // the client has left, or the session ended meanwhile (ErrSessionEnded)
)

func (k Kind) String() string {
	switch k {
	case Unreachable:
		return "unreachable"
	case Slow:
		return "slow"
	case BadRequest:
		return "bad-request"
	case ForbiddenOrigin:
		return "forbidden-origin"
	case Cancelled:
		return "cancelled"
	}
	return "unknown"
}

// Error is what Serve returns. Nothing of an answer has been written then.
type Error struct {
	Kind    Kind
	Cause   error         // for the log alone
	Route   *route.Route  // that was served
	Timeout time.Duration // the limit that was passed, with Slow; 0: one that has no number
}

func (e *Error) Error() string { return "proxying (" + e.Kind.String() + "): " + e.Cause.Error() }

func (e *Error) Unwrap() error { return e.Cause }

// ProxyStatus is the error token of RFC 9209, section 2.3.
func (e *Error) ProxyStatus() string {
	var dns *net.DNSError
	var connect *connectError
	switch {
	case e.Kind == BadRequest:
		return "http_request_error"
	case e.Kind == ForbiddenOrigin:
		return "http_request_denied"
	case e.Kind == Cancelled:
		return "connection_terminated"
	case errors.As(e.Cause, &dns) && dns.IsTimeout:
		return "dns_timeout"
	case errors.As(e.Cause, &dns):
		return "dns_error"
	case errors.As(e.Cause, &connect) && e.Kind == Slow:
		return "connection_timeout"
	case errors.As(e.Cause, &connect):
		return "connection_refused"
	case e.Kind == Slow:
		return "http_response_timeout"
	case tlsFailed(e.Cause):
		return "tls_protocol_error"
	case errors.Is(e.Cause, io.EOF), errors.Is(e.Cause, net.ErrClosed), isOp(e.Cause):
		return "connection_terminated"
	}
	return "http_protocol_error"
}

func isOp(err error) bool {
	var op *net.OpError
	return errors.As(err, &op)
}

var (
	// ErrSessionEnded is the cause of an *Error when the session ended while the
	// upstream had not answered yet.
	ErrSessionEnded = errors.New("the session has ended")

	errDraining   = errors.New("the gateway is shutting down")
	errIdle       = errors.New("nothing has moved for the idle timeout")
	errClientIdle = errors.New("the client has sent nothing for the idle timeout")
	errFlood      = errors.New("the upstream floods with informational answers")
	errServed     = errors.New("the request has been served")
)

// connectError is a failure before anything could be sent.
type connectError struct{ err error }

func (e *connectError) Error() string { return e.err.Error() }
func (e *connectError) Unwrap() error { return e.err }

// unsent reports whether the error came before any byte of the request left.
func unsent(err error) bool {
	var connect *connectError
	return errors.As(err, &connect) || tlsFailed(err)
}

// tlsFailed reports whether a TLS handshake failed. net/http has no type for it.
func tlsFailed(err error) bool {
	var (
		verify    *tls.CertificateVerificationError
		record    tls.RecordHeaderError
		alert     tls.AlertError
		authority x509.UnknownAuthorityError
	)
	return errors.As(err, &verify) || errors.As(err, &record) || errors.As(err, &alert) || errors.As(err, &authority) ||
		err != nil && (strings.HasPrefix(err.Error(), "tls: ") || strings.HasPrefix(err.Error(), "remote error: tls: ") ||
			strings.Contains(err.Error(), "TLS handshake timeout"))
}

func timedOut(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// failed is the ReverseProxy's ErrorHandler: nothing has been written yet.
func (p *Proxy) failed(_ http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r.Context())
	x.failure = x.classify(err)
}

func (x *exchange) classify(err error) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	switch cause := context.Cause(x.Context); {
	case cause == nil:
	case errors.Is(cause, errIdle):
		return &Error{Kind: Slow, Cause: cause}
	case errors.Is(cause, errClientIdle):
		return &Error{Kind: BadRequest, Cause: cause}
	case errors.Is(cause, errFlood):
		return &Error{Kind: Unreachable, Cause: cause}
	case errors.Is(cause, context.DeadlineExceeded):
		return &Error{Kind: Slow, Cause: cause}
	default:
		return &Error{Kind: Cancelled, Cause: cause}
	}
	x.mu.Lock()
	broken := x.broken
	x.mu.Unlock()
	switch {
	case broken == nil:
	case errors.Is(broken, io.ErrUnexpectedEOF), isOp(broken):
		return &Error{Kind: Cancelled, Cause: broken}
	default:
		return &Error{Kind: BadRequest, Cause: broken}
	}
	if timedOut(err) {
		return &Error{Kind: Slow, Cause: err}
	}
	return &Error{Kind: Unreachable, Cause: withoutAnswer(err)}
}

// withoutAnswer takes out of net/http's errors what they quote of an answer: that is the application's, and may be
// anybody's. What comes of the network alone quotes nothing of it.
func withoutAnswer(err error) error {
	if unsent(err) || isOp(err) {
		return err
	}
	text := err.Error()
	if at := strings.IndexByte(text, '"'); at > 0 {
		return errors.New(strings.TrimRight(text[:at], ": ["))
	}
	return err
}
