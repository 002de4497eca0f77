// Package forwarded decides, once for each request, who sent it and which URL was typed.
//
// It owns the reading of Host, X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto, X-Forwarded-Port and X-Request-Id, and
// of X-Forwarded-Method and X-Forwarded-Uri where a proxy asks about a request. It does not own the routing by host, and it neither removes nor writes a header: what leaves towards an upstream is written
// from the [Request] it returns.
//
// Invariants:
//   - Nobody is trusted unless the configuration names the peer's prefix; from anybody else every one of these headers except
//     Host is ignored.
//   - The client is the peer unless every hop to its right in X-Forwarded-For is a trusted proxy. Whatever cannot be read in
//     that walk makes the client unknown, and then it is the peer, never an entry further to the left.
//   - At most [MaxHops] hops are read.
//   - Inside TLS, a request is for the host that the handshake named.
//   - A host has one spelling: lower case, no default port, no trailing dot, IPv6 in its shortest form.
//
// X-Real-IP, Forwarded (RFC 7239), X-Forwarded-Prefix, True-Client-IP and their like are never read: one source, one answer.
//
// Specifications: RFC 9110 sections 7.2 (Host) and 7.4 (misdirected requests), RFC 9112 section 3.2, RFC 3986 section 3.2.2 (host), RFC 5952 (IPv6 text).
package forwarded

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// MaxHops is how many hops of X-Forwarded-For are read, from the right. A client behind more trusted proxies than that is
// unknown.
const MaxHops = 64

// ErrPlainHTTP is returned by Resolve when a trusted proxy says that the person came over http although the external URL is
// https. The Request that comes with it is complete and names the https URL (with the external URL's port), so that GET and
// HEAD can be answered with 308 to it and everything else with 400.
var ErrPlainHTTP = errors.New("the request came over http, the external URL is https")

// ErrMisdirected is returned by Resolve when the TLS handshake named another host than the request, and the peer is no
// trusted proxy: answer 421. What stands in front may have decided by the name in the handshake. Browsers that use a
// connection for several hosts of one certificate open another one then (RFC 9110 section 15.5.20).
var ErrMisdirected = errors.New("the TLS handshake was for another host")

// HeaderError is returned by Resolve when the request does not say, or says twice, which host it is for: answer 400.
// It does not hold the value, which came from the net.
type HeaderError struct {
	Header  string // Host, X-Forwarded-Host or X-Forwarded-Proto
	Problem string
}

func (e *HeaderError) Error() string { return "reading " + e.Header + ": " + e.Problem }

// Config is what a Resolver needs to know of the deployment.
type Config struct {
	// ExternalURL is how browsers reach the gateway. Only its scheme matters here. Nil: http.
	ExternalURL *url.URL
	// TrustedProxies are the peers whose X-Forwarded-* are believed. Empty: nobody's.
	TrustedProxies []netip.Prefix
	// ListenerTLS says that the listener itself speaks TLS. False: plain.
	ListenerTLS bool
}

// Resolver answers who sent a request and which URL was typed. It is safe for concurrent use and keeps no state.
type Resolver struct {
	https   bool   // the external URL's scheme
	port    string // the external URL's port, empty for the scheme's own
	scheme  string // of a request that no trusted proxy says otherwise of
	trusted []netip.Prefix
}

// New returns a Resolver for cfg.
func New(cfg Config) *Resolver {
	r := &Resolver{scheme: "http"}
	if u := cfg.ExternalURL; u != nil {
		r.https = strings.EqualFold(u.Scheme, "https")
		if p := u.Port(); p != defaultPort(strings.ToLower(u.Scheme)) {
			r.port = p
		}
	}
	// A plain listener under an https external URL stands behind something that ends TLS.
	if r.https || cfg.ListenerTLS {
		r.scheme = "https"
	}
	for _, p := range cfg.TrustedProxies {
		if p = normalPrefix(p); p.IsValid() {
			r.trusted = append(r.trusted, p)
		}
	}
	return r
}

// Request is what Resolve found out. Everything after Resolve works with it and reads none of the headers again.
type Request struct {
	// Peer is the other end of the connection; the zero Addr when the connection has none (a Unix socket).
	Peer netip.Addr
	// Client is who sent the request: the peer, or what trusted proxies say of it. IPv4 is never in its IPv6-mapped form and
	// there is no zone.
	Client netip.Addr
	// Trusted says that the peer is a trusted proxy.
	Trusted bool
	// Scheme, Host and Port are of the URL that was typed. Host is canonical and has its port only if that is not the scheme's
	// default; Port is never empty.
	Scheme, Host, Port string
	// ForwardedFor is the value of X-Forwarded-For for the upstream: the client, the trusted hops behind it, the peer. Empty
	// when the peer has no address.
	ForwardedFor string
	// RequestID is a trusted proxy's X-Request-Id, else a fresh random one.
	RequestID string
}

// Hostname returns Host without port and brackets.
func (r Request) Hostname() string {
	name, _ := splitCanonical(r.Host)
	return strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
}

// Origin returns the origin that was typed, such as https://wiki.example.com.
func (r Request) Origin() string { return r.Scheme + "://" + r.Host }

// Resolve decides who sent req and which URL was typed. The error is ErrPlainHTTP, ErrMisdirected or a *HeaderError, with which
// the peer alone is known, and whether it is trusted.
func (r *Resolver) Resolve(req *http.Request) (Request, error) {
	var out Request
	out.Peer = peer(req.RemoteAddr)
	out.Trusted = r.trusts(out.Peer)
	out.Client = out.Peer
	if out.Peer.IsValid() {
		out.ForwardedFor = out.Peer.String()
	}
	if out.Trusted {
		chain := req.Header["X-Forwarded-For"]
		if client, hops, ok := r.walk(chain); ok {
			out.Client = client
			out.ForwardedFor = joinHops(hops, out.ForwardedFor)
		}
		if ids := req.Header["X-Request-Id"]; len(ids) == 1 && validRequestID(ids[0]) {
			out.RequestID = ids[0]
		}
	}
	if out.RequestID == "" {
		out.RequestID = newRequestID()
	}

	plain := false
	out.Scheme = r.scheme
	if protos := req.Header["X-Forwarded-Proto"]; out.Trusted && len(protos) > 0 {
		scheme, ok := schemeOf(protos[0])
		if !ok {
			return Request{Peer: out.Peer, Trusted: out.Trusted}, &HeaderError{Header: "X-Forwarded-Proto", Problem: "neither http nor https"}
		}
		plain = r.https && scheme == "http"
		if !plain {
			out.Scheme = scheme
		}
	}

	// net/http refuses two Host lines, but leaves a Host field beside HTTP/2's :authority to us.
	for _, h := range req.Header["Host"] {
		if h != req.Host {
			return Request{Peer: out.Peer, Trusted: out.Trusted}, &HeaderError{Header: "Host", Problem: "given twice, with different values"}
		}
	}
	header, value := "Host", req.Host
	if hosts := req.Header["X-Forwarded-Host"]; out.Trusted && len(hosts) > 0 {
		var ok bool
		header = "X-Forwarded-Host"
		if value, ok = agreed(hosts); !ok {
			return Request{Peer: out.Peer, Trusted: out.Trusted}, &HeaderError{Header: header, Problem: "several different values"}
		}
	}
	host, err := CanonicalHost(value, out.Scheme)
	if err != nil {
		return Request{Peer: out.Peer, Trusted: out.Trusted}, &HeaderError{Header: header, Problem: err.Error()}
	}
	if plain { // the port that came with the host is http's
		if host, _ = splitCanonical(host); r.port != "" {
			host += ":" + r.port
		}
	}
	out.Host = host
	if req.TLS != nil && req.TLS.ServerName != "" && !out.Trusted && !strings.EqualFold(req.TLS.ServerName, out.Hostname()) {
		return out, ErrMisdirected
	}
	if _, out.Port = splitCanonical(host); out.Port == "" {
		out.Port = defaultPort(out.Scheme)
		// A proxy that keeps the port out of the host says it here; a bad one changes nothing but this one value.
		if ports := req.Header["X-Forwarded-Port"]; out.Trusted && !plain && len(ports) == 1 && validPort(ports[0]) {
			out.Port = ports[0]
		}
	}
	if plain {
		return out, ErrPlainHTTP
	}
	return out, nil
}

// walk reads the chain from the right: past trusted hops, to the first hop that is none, which is the client. When all hops
// are trusted the client is the leftmost. ok is false when there is no chain, when a hop on the way cannot be read, or when
// the chain is longer than MaxHops: the client is unknown. hops is the client and the trusted hops after it, in the order of
// the header, as it is to be sent on.
func (r *Resolver) walk(lines []string) (client netip.Addr, hops []netip.Addr, ok bool) {
	var back [8]netip.Addr
	reversed := back[:0]
	read := 0
	for i := len(lines) - 1; i >= 0; i-- {
		rest, more := lines[i], true
		for more {
			if read == MaxHops {
				return netip.Addr{}, nil, false
			}
			read++
			var text string
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, text = rest[:comma], rest[comma+1:]
			} else {
				text, more = rest, false
			}
			hop, valid := parseHop(text)
			if !valid {
				return netip.Addr{}, nil, false
			}
			reversed = append(reversed, hop)
			if !r.trusts(hop) {
				return hop, reverse(reversed), true
			}
		}
	}
	if len(reversed) == 0 {
		return netip.Addr{}, nil, false
	}
	return reversed[len(reversed)-1], reverse(reversed), true
}

func (r *Resolver) trusts(a netip.Addr) bool {
	if !a.IsValid() {
		return false
	}
	for _, p := range r.trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func reverse(in []netip.Addr) []netip.Addr {
	out := make([]netip.Addr, len(in))
	for i, a := range in {
		out[len(in)-1-i] = a
	}
	return out
}

func joinHops(hops []netip.Addr, peer string) string {
	b := make([]byte, 0, 128)
	for _, h := range hops {
		b = h.AppendTo(b)
		b = append(b, ", "...)
	}
	return string(append(b, peer...))
}

// parseHop reads one element of X-Forwarded-For: an address, with or without a port, IPv6 with or without brackets.
func parseHop(s string) (netip.Addr, bool) {
	s = trim(s)
	// The longest address with brackets, zone and port is far below; what is longer is not worth parsing.
	if s == "" || len(s) > 80 {
		return netip.Addr{}, false
	}
	var a netip.Addr
	var err error
	switch {
	case s[0] == '[' && s[len(s)-1] == ']':
		if a, err = netip.ParseAddr(s[1 : len(s)-1]); err == nil && a.Is4() {
			return netip.Addr{}, false
		}
	case s[0] == '[' || strings.Count(s, ":") == 1:
		var ap netip.AddrPort
		ap, err = netip.ParseAddrPort(s)
		a = ap.Addr()
	default:
		a, err = netip.ParseAddr(s)
	}
	if err != nil || a.IsUnspecified() {
		return netip.Addr{}, false
	}
	return normal(a), true
}

func peer(remote string) netip.Addr {
	if ap, err := netip.ParseAddrPort(remote); err == nil {
		return normal(ap.Addr())
	}
	return netip.Addr{}
}

func normal(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// normalPrefix turns a prefix over IPv4-mapped addresses into the IPv4 prefix it means, since addresses are compared unmapped.
func normalPrefix(p netip.Prefix) netip.Prefix {
	if p.IsValid() && p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// agreed returns the value of a header that may have been given several times if all say the same. A proxy that appends to
// what a client sent must not let the client choose.
func agreed(lines []string) (string, bool) {
	first, found := "", false
	for _, line := range lines {
		for rest, more := line, true; more; {
			var v string
			v, rest, more = strings.Cut(rest, ",")
			v = trim(v)
			if !found {
				first, found = v, true
			} else if v != first {
				return "", false
			}
		}
	}
	return first, found
}

// schemeOf reads X-Forwarded-Proto. Of a list the first counts: it is the hop next to the person. Some proxies name a
// WebSocket's scheme.
func schemeOf(value string) (string, bool) {
	first, _, _ := strings.Cut(value, ",")
	first = trim(first)
	switch {
	case strings.EqualFold(first, "https"), strings.EqualFold(first, "wss"):
		return "https", true
	case strings.EqualFold(first, "http"), strings.EqualFold(first, "ws"):
		return "http", true
	}
	return "", false
}

func trim(s string) string { return strings.Trim(s, " \t") }

func validRequestID(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !alphanumeric(c) && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

func newRequestID() string {
	var raw [16]byte
	var text [32]byte
	rand.Read(raw[:]) // never fails: crypto/rand ends the process instead
	hex.Encode(text[:], raw[:])
	return string(text[:])
}

type contextKey struct{}

// NewContext returns a context that carries r.
func NewContext(ctx context.Context, r Request) context.Context {
	return context.WithValue(ctx, contextKey{}, r)
}

// FromContext returns what NewContext stored, or the zero Request: no peer, not trusted.
func FromContext(ctx context.Context) Request {
	r, _ := ctx.Value(contextKey{}).(Request)
	return r
}
