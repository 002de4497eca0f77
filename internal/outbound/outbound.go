// Package outbound owns the one way Portero calls other services: an HTTP client that cannot be led astray.
//
// It does not know what is called: OAuth, mail and management are the business of its callers.
//
// Invariants:
//   - A redirect is an error and nothing is sent a second time, so no code, verifier, secret or refresh token
//     reaches a host that was not asked for.
//   - Every call ends: dialling, the TLS handshake, the header and the body share one deadline.
//   - A body is read up to its limit, counted after decompression; one byte more is an error.
//   - No error quotes what the other side sent. The URL that net/http puts before an error is reduced by Clean.
//   - TLS is never unverified, and never older than 1.2.
//
// Specifications: RFC 9110 15.4 (redirection), RFC 9112; RFC 7239 is not used, X-Forwarded-* is what Logto reads.
package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	defaultTimeout = 10 * time.Second
	defaultMaxBody = 1 << 20

	connectTimeout = 5 * time.Second
	idleTimeout    = 60 * time.Second
	maxHeader      = 64 << 10
)

var (
	// ErrRedirect is returned by a call when the service answers with a redirect.
	ErrRedirect = errors.New("the service answered with a redirect, which is not followed")
	// ErrTooLarge is returned by a call, or by reading its body, when the body is larger than Config.MaxBody.
	ErrTooLarge = errors.New("the answer is larger than allowed")
	// ErrUnreadable is returned by a call, or by reading its body, when the answer breaks HTTP.
	ErrUnreadable = errors.New("the answer is not readable HTTP")
)

// Config says how to reach a service. The zero value reaches public services with the system's certificates.
type Config struct {
	// Timeout bounds a whole call, from dialling to the last byte of the body. 0: 10 s.
	Timeout time.Duration
	// MaxBody is the largest body that can be read, after decompression. 0: 1 MiB.
	MaxBody int64
	// CA holds the certificate authorities to trust, and only these. nil: those of the system.
	CA *x509.CertPool
	// Internal and Public go together: a call to Public's origin is sent to Internal's, with Public's Host and
	// X-Forwarded-Proto and -Host. TLS is checked against Internal's name. nil: calls go where their URL says.
	Internal, Public *url.URL
	// UserAgent is sent where a call sets none. "": portero.
	UserAgent string
}

// New makes a client from c. Proxies named by HTTP_PROXY and HTTPS_PROXY are used, except for loopback addresses
// and for Config.Internal.
func New(c Config) *http.Client {
	t := &transport{maxBody: c.MaxBody, userAgent: c.UserAgent}
	if t.maxBody <= 0 {
		t.maxBody = defaultMaxBody
	}
	if t.userAgent == "" {
		t.userAgent = "portero"
	}
	if c.Internal != nil && c.Public != nil {
		t.internal, t.public = c.Internal, c.Public
	}
	dialer := &net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second}
	t.base = &http.Transport{
		Proxy:                  t.proxy,
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.CA},
		TLSHandshakeTimeout:    connectTimeout,
		MaxIdleConns:           32,
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeader,
	}
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	return &http.Client{Transport: t, Timeout: timeout}
}

// LoadCA reads a PEM file of certificate authorities for Config.CA.
func LoadCA(file string) (*x509.CertPool, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading certificate authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("reading certificate authorities: %s holds no PEM certificate", file)
	}
	return pool, nil
}

// Clean returns err with the URL that net/http put into it reduced to scheme, host and path: a query, a fragment
// or user information may be secret. Errors without a URL come back as they are.
func Clean(err error) error {
	var wrapped *url.Error
	if !errors.As(err, &wrapped) {
		return err
	}
	shown := ""
	if u, perr := url.Parse(wrapped.URL); perr == nil {
		shown = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
	}
	return &url.Error{Op: wrapped.Op, URL: shown, Err: wrapped.Err}
}

type transport struct {
	base             *http.Transport
	maxBody          int64
	userAgent        string
	internal, public *url.URL // both or neither
}

// RoundTrip sends one request and refuses what a careful client does not want to see.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	out := req.Clone(req.Context())
	if out.Header.Get("User-Agent") == "" {
		out.Header.Set("User-Agent", t.userAgent)
	}
	if t.public != nil && sameOrigin(out.URL, t.public) {
		out.Host = t.public.Host
		out.Header.Set("X-Forwarded-Host", t.public.Host)
		out.Header.Set("X-Forwarded-Proto", t.public.Scheme)
		out.URL.Scheme, out.URL.Host = t.internal.Scheme, t.internal.Host
	}

	resp, err := t.base.RoundTrip(out)
	if err != nil {
		return nil, plain(req.Context(), err)
	}
	// An http.Client follows what it is handed: a redirect has to end here, whatever its Location says.
	if resp.StatusCode >= 300 && resp.StatusCode < 400 && resp.StatusCode != http.StatusNotModified {
		resp.Body.Close()
		return nil, ErrRedirect
	}
	if resp.ContentLength > t.maxBody {
		resp.Body.Close()
		return nil, ErrTooLarge
	}
	resp.Body = &body{ctx: req.Context(), from: resp.Body, left: t.maxBody}
	// The status text is the other side's; nobody shall be tempted to quote it.
	resp.Status = fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	return resp, nil
}

// CloseIdleConnections is what http.Client.CloseIdleConnections calls.
func (t *transport) CloseIdleConnections() { t.base.CloseIdleConnections() }

// proxy keeps calls to the internal address direct; the environment's rules already exempt loopback.
func (t *transport) proxy(req *http.Request) (*url.URL, error) {
	if t.internal != nil && sameOrigin(req.URL, t.internal) {
		return nil, nil
	}
	return http.ProxyFromEnvironment(req)
}

// body reads at most left bytes; the next one is an error.
type body struct {
	ctx  context.Context
	from io.ReadCloser
	left int64
	err  error // sticky
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	// One byte past the limit is asked for, to tell a body that fits exactly from one that goes on.
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.from.Read(p)
	if int64(n) > b.left {
		n, err = int(b.left), ErrTooLarge
	}
	b.left -= int64(n)
	if err != nil && err != io.EOF && err != ErrTooLarge {
		err = plain(b.ctx, err)
	}
	b.err = err
	return n, err
}

func (b *body) Close() error { return b.from.Close() }

// plain keeps the errors that say where the network failed and replaces those that may quote the answer.
func plain(ctx context.Context, err error) error {
	if cause := ctx.Err(); cause != nil {
		return cause
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns
	}
	if bad, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return bad
	}
	if record, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return fmt.Errorf("tls: %s", record.Msg)
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	for _, known := range []error{context.Canceled, context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, known) {
			return known
		}
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return timeout
	}
	// Until the handshake is done the other side knows nothing it could quote.
	if text := err.Error(); strings.HasPrefix(text, "tls: ") {
		return err
	}
	return ErrUnreadable
}

// sameOrigin compares scheme, host and port as RFC 6454 4 does.
func sameOrigin(a, b *url.URL) bool {
	return strings.EqualFold(a.Scheme, b.Scheme) && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if strings.EqualFold(u.Scheme, "https") {
		return "443"
	}
	return "80"
}
