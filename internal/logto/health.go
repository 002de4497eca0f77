package logto

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"portero/internal/outbound"
)

// Status is what readiness needs to know about Logto. The zero value: nothing was tried yet.
type Status struct {
	// Discovered: a discovery document is in hand, so that people can sign in.
	Discovered bool
	// Call is the kind of call that failed last, if it has not worked since: discovery, keys, token, userinfo or
	// revocation. A failure that nobody repeats is forgotten after a quarter of an hour. "": none.
	Call string
	// Class says how it fails, in a word: timeout, unreachable, tls, redirect, malformed, busy, refused, or the OAuth
	// error code that names the client (invalid_client). "": it does not.
	Class string
	// Since is when that call began to fail, or when Logto last began to be well. Zero: nothing was tried yet.
	Since time.Time
}

// Status tells how Logto has been of late. It makes no call.
func (p *Provider) Status() Status {
	s := p.health.status()
	_, s.Discovered = p.discovery.peek()
	return s
}

// The kinds of calls that health tells apart.
const (
	callDiscovery  = "discovery"
	callKeys       = "keys"
	callToken      = "token"
	callUserinfo   = "userinfo"
	callRevocation = "revocation"
)

// failureKept is how long a failure counts that is neither repeated nor mended: not every call is made every day.
const failureKept = 15 * time.Minute

type failure struct {
	class        string
	since, again time.Time
}

// health remembers which calls fail.
type health struct {
	now func() time.Time

	mu      sync.Mutex
	failing map[string]failure // :: call → how it fails; calls that work are absent
	well    time.Time          // since when nothing fails; zero: nothing was tried yet
	good    time.Time          // when a call last went well; zero: never
}

// note records how a call ended: class "" is well. It says whether that is new.
func (h *health) note(call, class string) (changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	if class == "" {
		h.good = now
		_, was := h.failing[call]
		if was || h.well.IsZero() {
			h.well = now
		}
		delete(h.failing, call)
		return was
	}
	if h.failing == nil {
		h.failing = map[string]failure{}
	}
	f, was := h.failing[call]
	if !was {
		f.since = now
	}
	changed = f.class != class
	f.class, f.again = class, now
	h.failing[call] = f
	return changed
}

// lately says when a call last went well, and when discovery last failed if it fails now.
func (h *health) lately() (good, failed time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.good, h.failing[callDiscovery].again
}

func (h *health) status() Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := Status{Since: h.well}
	var last time.Time
	for _, call := range []string{callDiscovery, callKeys, callToken, callUserinfo, callRevocation} {
		f, ok := h.failing[call]
		if ok && h.now().Sub(f.again) < failureKept && (s.Call == "" || f.again.After(last)) {
			s.Call, s.Class, s.Since, last = call, f.class, f.since, f.again
		}
	}
	return s
}

// classOf puts an error of a call into one word.
func classOf(err error) string {
	var refused *RefusedError
	var timeout net.Error
	var cert *tls.CertificateVerificationError
	switch {
	case err == nil:
		return ""
	case errors.Is(err, outbound.ErrRedirect):
		return "redirect"
	case errors.Is(err, outbound.ErrTooLarge), errors.Is(err, outbound.ErrUnreadable), errors.Is(err, errMalformed):
		return "malformed"
	case errors.As(err, &cert):
		return "tls"
	case errors.Is(err, errBusy):
		return "busy"
	case errors.As(err, &refused):
		if refused.Code == "invalid_client" {
			return refused.Code
		}
		return "refused"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	default:
		return "unreachable"
	}
}
