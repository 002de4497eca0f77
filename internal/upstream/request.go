package upstream

import (
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"portero/internal/assertion/signed"
)

// rewrite makes the outgoing request. Hop-by-hop headers are gone already.
func (p *Proxy) rewrite(pr *httputil.ProxyRequest) {
	x, out := exchangeOf(pr.In.Context()), pr.Out
	c, h := x.call, pr.Out.Header

	// 1. The target, byte for byte. URL.Opaque is written as it is, except that
	// net/http takes one that begins with // for an authority; those go as
	// RawPath, which net/http keeps if it is a spelling of Path.
	*out.URL = url.URL{Opaque: x.path, RawQuery: c.Target.Query, ForceQuery: c.Target.HasQuery}
	if strings.HasPrefix(x.path, "//") {
		decoded, _ := url.PathUnescape(x.path) // its escapes have been checked
		out.URL.Opaque, out.URL.Path, out.URL.RawPath = "", decoded, x.path
	}
	out.Host = "" // the upstream's
	if p.cfg.PreserveHost {
		if out.Host = c.From.Host; out.Host == "" {
			out.Host = pr.In.Host
		}
	}

	// 2. What is between us and the client, and not for the upstream.
	out.Trailer = nil
	h.Del("Trailer")
	h.Del("Te")
	h.Del("Connection")
	h.Del("Upgrade")
	if x.socket {
		h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	}
	if lines := h["Cookie"]; len(lines) > 0 {
		if lines = keepCookies(lines, p.cfg.OwnCookie); len(lines) == 0 {
			delete(h, "Cookie")
		} else {
			h["Cookie"] = lines
		}
	}
	if p.cfg.DropAuthorization || bindsConnection(h["Authorization"]) {
		delete(h, "Authorization")
	}
	if c.AccessToken != "" {
		h["Authorization"] = []string{"Bearer " + c.AccessToken}
	}

	// 3. Who is asking: removed always, set if known.
	for _, name := range p.cfg.Headers.Apply(h, c.Identity) {
		p.warn("an identity header was left out: its value is too long or cannot be encoded", name,
			slog.String("header", name), slog.String("subject", c.Identity.Subject))
	}

	if p.cfg.Signed != nil && c.Identity != nil {
		p.sign(x, out)
	}

	// net/http takes these two for leave to send a request again that may have arrived; in lower case it does not know them.
	for _, name := range [...]string{"Idempotency-Key", "X-Idempotency-Key"} {
		if lines := h[name]; len(lines) > 0 {
			delete(h, name)
			h[strings.ToLower(name)] = lines
		}
	}

	// 4. Where it came from.
	x.values = [...]string{c.From.ForwardedFor, c.From.Host, c.From.Scheme, c.From.Port, clientAddr(c.From.Client), c.From.RequestID}
	for i, name := range [...]string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Real-Ip", "X-Request-Id"} {
		if x.values[i] != "" {
			h[name] = x.values[i : i+1 : i+1]
		} else {
			delete(h, name)
		}
	}
}

// sign adds who is asking in signed form. Where that cannot be made the request leaves without, and who looks for it refuses it.
func (p *Proxy) sign(x *exchange, out *http.Request) {
	c := x.call
	r := signed.Request{Origin: x.origin(), Method: out.Method, Path: x.path}
	if p.cfg.OriginOf != nil && c.From.Host != "" {
		r.Origin = p.cfg.OriginOf(c.From.Hostname())
	}
	if c.Session != nil {
		r.SessionID, r.Version = c.Session.ID, c.Session.Version
	}
	token, err := p.cfg.Signed.Token(c.Identity, r)
	if err != nil {
		p.warn("a request left without its signed assertion", err.Error(), slog.Any("error", err), slog.String("subject", c.Identity.Subject))
		return
	}
	for _, name := range p.cfg.Signed.Headers {
		out.Header[name] = []string{token}
	}
}

// blanks are what net/http trims off the name of a cookie.
const blanks = " \t\r\n"

// KeepCookies is what is left of Cookie lines for an application: see keepCookies. It changes lines.
func KeepCookies(lines []string, own func(string) bool) []string { return keepCookies(lines, own) }

// keepCookies takes the gateway's cookies out of the Cookie lines and leaves
// every other byte as it is. Lines are split at semicolons alone, quoted or not,
// as the gateway's own reading of cookies does: what it would take for its
// cookie goes, wherever it stands.
func keepCookies(lines []string, own func(string) bool) []string {
	kept := lines[:0]
	for _, line := range lines {
		if line = keepInLine(line, own); strings.Trim(line, blanks+";") != "" {
			kept = append(kept, line)
		}
	}
	return kept
}

func keepInLine(line string, own func(string) bool) string {
	var b []byte // the line so far, once something has been taken out
	taken := false
	for rest, more := line, true; more; {
		var part string
		start := len(line) - len(rest)
		part, rest, more = strings.Cut(rest, ";")
		name, _, _ := strings.Cut(part, "=")
		if own(strings.Trim(name, blanks)) {
			if !taken {
				taken = true
				b = append(b, line[:max(0, start-1)]...) // without the semicolon before
			}
			continue
		}
		if taken {
			if len(b) > 0 {
				b = append(b, ';')
			} else {
				part = strings.TrimLeft(part, " \t")
			}
			b = append(b, part...)
		}
	}
	if !taken {
		return line
	}
	return string(b)
}

// bindsConnection reports whether credentials sign in a connection instead of a
// request. Connections to upstreams are shared by all who come: the next one to
// use it would be taken for this one.
func bindsConnection(credentials []string) bool {
	for _, c := range credentials {
		if connectionScheme(firstWord(c)) {
			return true
		}
	}
	return false
}

// firstWord is the scheme of a challenge or of credentials, for whoever takes a tab for a blank, too.
func firstWord(s string) string {
	s = strings.TrimLeft(s, " \t")
	if end := strings.IndexAny(s, " \t,"); end >= 0 {
		return s[:end]
	}
	return s
}

func connectionScheme(scheme string) bool {
	return strings.EqualFold(scheme, "NTLM") || strings.EqualFold(scheme, "Negotiate")
}

// ownHeaders is a copy of what the gateway has set on the answer so far.
func ownHeaders(h http.Header) http.Header {
	if len(h) == 0 {
		return nil
	}
	own := make(http.Header, len(h))
	for k, v := range h {
		own[k] = v
	}
	return own
}
