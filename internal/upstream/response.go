package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"portero/internal/live"
)

// receive is the ReverseProxy's ModifyResponse: it takes out of an answer what
// an upstream must not say, and leaves everything else as it is.
func (p *Proxy) receive(res *http.Response) error {
	x := exchangeOf(res.Request.Context())
	switch {
	case x.Err() != nil: // ended in between; there is still time for a page
		return x.Err()
	case res.StatusCode == http.StatusSwitchingProtocols:
		if !x.socket || !strings.EqualFold(res.Header.Get("Upgrade"), "websocket") {
			return &Error{Kind: Unreachable, Cause: errors.New("the upstream switches to a protocol nobody asked for")}
		}
	case res.StatusCode < 200, res.StatusCode > 599: // RFC 9110, section 15
		return &Error{Kind: Unreachable, Cause: fmt.Errorf("the upstream answers with the status %d", res.StatusCode)}
	}
	h := res.Header
	p.clean(h)
	p.dropConnectionSchemes(h)
	for name := range x.w.own {
		// What the gateway has set stands; these two add up.
		if name != "Set-Cookie" && name != "Vary" {
			delete(h, name)
		}
	}
	p.relocate(h, "Location", x)
	p.relocate(h, "Content-Location", x)
	if p.cfg.ProtectCache && len(x.w.own["Cache-Control"]) == 0 {
		protectCache(res)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		x.answer = answerBody{body: res.Body, res: res, x: x, stream: isEvents(h), events: events{opaque: len(h["Content-Encoding"]) > 0}}
		res.Body = &x.answer
	}
	x.idle.answering()
	if res.StatusCode == http.StatusSwitchingProtocols || x.answer.stream {
		x.goesOn()
		return x.Err() // a process that goes down begins nothing endless
	}
	return nil
}

// goesOn sees to it that an answer that somebody has to end, a WebSocket or an event stream, ends first of all at a
// shutdown. What passes over it is no use of its session.
func (x *exchange) goesOn() {
	registry := x.proxy.cfg.Live
	if registry == nil {
		return
	}
	if x.live == nil {
		x.live = registry.Add(live.Session{}, x.end)
	}
	x.live.Endless()
}

// clean takes out of an answer's head, an informational answer's or a trailer
// what belongs to the gateway.
func (p *Proxy) clean(h http.Header) {
	p.cfg.Headers.StripResponse(h)
	for name := range h {
		// Commands to a server in front. Whether to buffer is the application's to
		// say, the others are not: they name files and other requests.
		if strings.HasPrefix(name, "X-Accel-") && name != "X-Accel-Buffering" {
			delete(h, name)
		}
		// Which headers a page may read is the application's to say: it opens nothing.
		if p.cfg.DropSharing && strings.HasPrefix(name, "Access-Control-") && name != "Access-Control-Expose-Headers" {
			delete(h, name)
		}
	}
	cookies := h["Set-Cookie"]
	if len(cookies) == 0 {
		return
	}
	kept := cookies[:0]
	for _, c := range cookies {
		if !p.setsOwn(c) {
			kept = append(kept, c)
		}
	}
	if len(kept) == 0 {
		delete(h, "Set-Cookie")
	} else {
		h["Set-Cookie"] = kept
	}
}

// setsOwn reports whether a Set-Cookie sets a cookie of the gateway. A cookie
// without a name comes back as its value alone, so its value must not begin
// like one of ours either (RFC 6265bis, section 5.6).
func (p *Proxy) setsOwn(cookie string) bool {
	pair, _, _ := strings.Cut(cookie, ";")
	name, _, _ := strings.Cut(strings.TrimLeft(pair, "="+blanks), "=")
	return p.cfg.OwnCookie(strings.Trim(name, blanks))
}

// dropConnectionSchemes takes out the challenges of schemes that sign in a
// connection; see bindsConnection.
func (p *Proxy) dropConnectionSchemes(h http.Header) {
	lines := h["Www-Authenticate"]
	kept := lines[:0]
	for _, line := range lines {
		left, dropped := keepChallenges(line)
		if dropped {
			p.warn("the upstream asks for NTLM or Negotiate, which signs in a connection that others share: not passed on", "")
		}
		if left != "" {
			kept = append(kept, left)
		}
	}
	switch {
	case len(kept) > 0:
		h["Www-Authenticate"] = kept
	case len(lines) > 0:
		delete(h, "Www-Authenticate")
	}
}

// keepChallenges splits a list of challenges (RFC 9110, section 11.6.1) at the
// commas outside quotes and keeps those of other schemes.
func keepChallenges(line string) (kept string, dropped bool) {
	var keep []string
	dropping := false
	for line != "" {
		var element string
		element, line = cutElement(line)
		word := firstWord(element)
		if !strings.Contains(word, "=") { // a scheme; otherwise a parameter of the last one
			dropping = connectionScheme(word)
		}
		if dropping {
			dropped = true
		} else {
			keep = append(keep, element)
		}
	}
	if !dropped {
		return strings.Join(keep, ","), false
	}
	return strings.Trim(strings.Join(keep, ","), " \t"), true
}

func cutElement(list string) (element, rest string) {
	quoted := false
	for i := 0; i < len(list); i++ {
		switch list[i] {
		case '"':
			quoted = !quoted
		case '\\':
			if quoted {
				i++
			}
		case ',':
			if !quoted {
				return list[:i], list[i+1:]
			}
		}
	}
	return list, ""
}

// relocate replaces the upstream's own origin, which nobody outside reaches or
// should know, by the one that was typed. What follows it stays as it is.
func (p *Proxy) relocate(h http.Header, name string, x *exchange) {
	if len(h[name]) != 1 {
		return
	}
	value := h[name][0]
	scheme, rest := "", value
	if i := strings.Index(value, "://"); i > 0 {
		scheme, rest = strings.ToLower(value[:i]), value[i+3:]
		if scheme != "http" && scheme != "https" {
			return
		}
	} else if after, ok := strings.CutPrefix(value, "//"); ok {
		rest = after
	} else {
		return
	}
	end := strings.IndexAny(rest, `/?#\`)
	if end < 0 {
		end = len(rest)
	}
	for _, t := range p.targets {
		s := scheme
		if s == "" {
			s = t.scheme
		}
		if authority(rest[:end], s) == t.authority {
			if origin := x.origin(); origin != "" {
				h[name] = []string{origin + rest[end:]}
			}
			return
		}
	}
}

// protectCache keeps an answer that was made for one person out of caches that
// many share (RFC 9111, section 5.2.2): it becomes private, unless it says so
// itself or is not kept at all. One that says nothing is kept by many of them all
// the same; a page that says nothing is not even kept by the browser.
func protectCache(res *http.Response) {
	h := res.Header
	for name := range h {
		if isTargeted(name) {
			delete(h, name)
		}
	}
	lines := h["Cache-Control"]
	if len(lines) == 0 {
		switch {
		case isPage(res):
			h["Cache-Control"] = []string{"private, no-store"}
		case res.StatusCode != http.StatusNotModified && res.StatusCode != http.StatusSwitchingProtocols:
			h["Cache-Control"] = []string{"private"}
		}
		return
	}
	kept, shared, protected := []string{"private"}, false, false
	for _, line := range lines {
		for line != "" {
			var d string
			d, line = cutElement(line)
			switch d = strings.Trim(d, " \t"); {
			case allowsShared(d):
				shared = true
			case strings.EqualFold(d, "private"):
				protected = true
			case d != "":
				protected = protected || strings.EqualFold(d, "no-store")
				kept = append(kept, d)
			}
		}
	}
	if shared || !protected {
		h["Cache-Control"] = []string{strings.Join(kept, ", ")}
	}
}

// isTargeted reports whether a header speaks to caches of one kind, which then
// look at Cache-Control no more (RFC 9213, and what was there before it).
func isTargeted(name string) bool {
	return strings.HasSuffix(name, "-Cache-Control") || name == "Surrogate-Control" || name == "Edge-Control"
}

func allowsShared(directive string) bool {
	name, _, _ := strings.Cut(directive, "=")
	name = strings.TrimRight(name, " \t")
	return strings.EqualFold(name, "public") || strings.EqualFold(name, "s-maxage")
}

// isPage reports whether browsers take the answer for HTML: because it says so,
// or because it says nothing and they look for themselves.
func isPage(res *http.Response) bool {
	kind, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	switch strings.ToLower(strings.Trim(kind, " \t")) {
	case "text/html", "application/xhtml+xml":
		return true
	case "":
		return res.StatusCode == http.StatusOK && res.ContentLength != 0
	}
	return false
}
