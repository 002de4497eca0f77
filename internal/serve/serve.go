// Package serve owns listeners: it binds an address, serves HTTP/1.1 and, over
// TLS, HTTP/2 with limits that hold against slow and greedy clients, reloads
// certificates, tells systemd how the process is, and watches files.
//
// It does not own what is served: the handler decides everything about a
// request. It reads no configuration.
//
// Invariants:
//   - reading a request's head takes 10 seconds at most and its size is bounded;
//     bodies have no deadline here, because uploads and streams take their time;
//   - HTTP/2 is spoken over TLS only; there is no h2c;
//   - a certificate that cannot be loaded never replaces one that works;
//   - `OPTIONS *` and every other request reaches the handler: net/http answers
//     none by itself.
//
// Specifications: RFC 9112, RFC 9113, RFC 8446, sd_notify(3).
package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Config describes one listener.
type Config struct {
	// Name says in logs and errors which listener this is. Empty: "public".
	Name string
	// Addr is the address to bind, host:port; port 0 picks a free one.
	Addr string
	// Listener is used instead of binding Addr. Nil: Addr is bound.
	Listener net.Listener
	// Handler answers every request.
	Handler http.Handler
	// TLS holds the certificate. Nil: plain HTTP.
	TLS *Certificates
	// Log receives what net/http has to say. Nil: slog.Default().
	Log *slog.Logger
	// MaxHeaderBytes bounds the head of a request. Zero: 64 KiB.
	MaxHeaderBytes int
}

// The limits of every listener.
const (
	readHeaderTimeout     = 10 * time.Second
	idleTimeout           = 120 * time.Second
	defaultMaxHeaderBytes = 64 << 10
	maxConcurrentStreams  = 250
	pingAfterSilence      = 30 * time.Second
	pingTimeout           = 15 * time.Second
)

// Server is one bound listener with its HTTP server.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Bind binds an address for the listener of that name. The error says what to type;
// it is a *TakenError when somebody else has the port.
func Bind(name, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, explainListen(name, addr, err)
	}
	return l, nil
}

// Listen binds the address, so that a taken port is reported before anything
// else starts. The error is a *TakenError when somebody else has the port.
func Listen(c Config) (*Server, error) {
	if c.Name == "" {
		c.Name = "public"
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.MaxHeaderBytes == 0 {
		c.MaxHeaderBytes = defaultMaxHeaderBytes
	}
	l := c.Listener
	if l == nil {
		var err error
		if l, err = Bind(c.Name, c.Addr); err != nil {
			return nil, err
		}
	}

	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(c.TLS != nil)
	s := &http.Server{
		Handler:                      c.Handler,
		ReadHeaderTimeout:            readHeaderTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               c.MaxHeaderBytes,
		DisableGeneralOptionsHandler: true,
		Protocols:                    protocols,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxConcurrentStreams,
			SendPingTimeout:      pingAfterSilence,
			PingTimeout:          pingTimeout,
		},
		ErrorLog: errorLog(c.Log, c.Name),
	}
	if c.TLS != nil {
		s.TLSConfig = c.TLS.TLSConfig()
	}
	return &Server{listener: l, http: s}, nil
}

// Addr returns the bound address.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve accepts connections until Shutdown or Close; then it returns nil at
// once, while Shutdown is still waiting for requests to end.
func (s *Server) Serve() error {
	var err error
	if s.http.TLSConfig != nil {
		err = s.http.ServeTLS(s.listener, "", "")
	} else {
		err = s.http.Serve(s.listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving %s: %w", s.Addr(), err)
}

// Shutdown stops accepting and waits until every request has been answered or
// ctx ends. Connections that were upgraded are not waited for and not closed:
// the registry of live connections knows them.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	// A server that was never served has not taken over its listener.
	if cerr := s.listener.Close(); err == nil && cerr != nil && !errors.Is(cerr, net.ErrClosed) {
		err = cerr
	}
	return err
}

// Close ends every connection that was not upgraded, at once.
func (s *Server) Close() error {
	err := s.http.Close()
	if cerr := s.listener.Close(); err == nil && cerr != nil && !errors.Is(cerr, net.ErrClosed) {
		err = cerr
	}
	return err
}

// minTLS is what clients must speak at least (RFC 9325, section 3.1.1).
const minTLS = tls.VersionTLS12

// suites are those of TLS 1.2 with forward secrecy and authenticated encryption
// (RFC 9325, section 4.2); what Go takes by itself has CBC with SHA-1 as well.
// TLS 1.3 has its own.
var suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}
