package telemetry

import (
	"context"
	"crypto/rand"
	"strings"
	"time"
)

// Exchange is what is learned about one request on its way. It belongs to the
// request's goroutine.
type Exchange struct {
	// Start is when the request arrived.
	Start time.Time
	// Method, Host, Path and Client are what was decided to have been asked for and
	// by whom. Empty: as the connection has it.
	Method, Host, Path, Client string
	// Mode is "forward-auth" for a request that another proxy asks about; "" for one
	// that came to be forwarded.
	Mode string
	// Route is the name of the route, from the configuration; "" for none.
	Route string
	// Decision is the guard's word, or "endpoint" for an answer of our own; "" for
	// none. Reason says why. Both come from fixed lists.
	Decision, Reason string
	// WouldDeny says why somebody would have been denied who was let in.
	WouldDeny string
	// Subject and SessionID say who asked: the session's public id, never its token.
	Subject, SessionID string
	// Upstream is the host and port that answered.
	Upstream string
	// RequestID is the id the upstream was told.
	RequestID string
	// Code is the support code; "" until SupportCode is called.
	Code string
	// Err is why something went wrong. It is logged, never shown.
	Err error
	// Quiet leaves the access line out.
	Quiet bool
}

// SupportCode returns the code that people can quote, made at the first call.
func (x *Exchange) SupportCode() string {
	if x.Code == "" {
		x.Code = NewSupportCode()
	}
	return x.Code
}

type contextKey struct{}

// NewContext returns a context that carries x.
func NewContext(ctx context.Context, x *Exchange) context.Context {
	return context.WithValue(ctx, contextKey{}, x)
}

// FromContext returns the request's exchange. It is never nil: without a
// Recorder it is one that nobody reads.
func FromContext(ctx context.Context) *Exchange {
	if x, ok := ctx.Value(contextKey{}).(*Exchange); ok {
		return x
	}
	return &Exchange{}
}

// The letters of support codes: those that are not mistaken for one another
// when read aloud or from paper, and no vowels, so that no words appear.
const codeAlphabet = "23456789BCDFGHJKMNPQRTVWXYZ"

const codeLetters = 8

// NewSupportCode returns a random code such as 7K3F-Q9XM.
func NewSupportCode() string {
	const fair = 256 - 256%len(codeAlphabet) // bytes above would favour some letters
	var code [codeLetters + 1]byte
	code[codeLetters/2] = '-'
	var random [16]byte
	for i := 0; i < len(code); {
		rand.Read(random[:])
		for _, b := range random {
			if i == codeLetters/2 {
				i++
			}
			if i < len(code) && int(b) < fair {
				code[i] = codeAlphabet[int(b)%len(codeAlphabet)]
				i++
			}
		}
	}
	return string(code[:])
}

// ParseSupportCode reads a code as people type it: in either case, with or
// without the hyphen, with blanks. It returns the code's one spelling.
func ParseSupportCode(s string) (code string, ok bool) {
	var out []byte
	for _, r := range s {
		switch {
		case r == '-' || r == ' ' || r == '\t':
			continue
		case r >= 'a' && r <= 'z':
			r -= 'a' - 'A'
		}
		if r > 0x7f || strings.IndexByte(codeAlphabet, byte(r)) < 0 || len(out) > codeLetters {
			return "", false
		}
		if len(out) == codeLetters/2 {
			out = append(out, '-')
		}
		out = append(out, byte(r))
	}
	return string(out), len(out) == codeLetters+1
}
