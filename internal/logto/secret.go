package logto

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"sync"
)

// Secret is the client secret of one application, for every Provider that is that application. It can be replaced while
// calls are under way: a call that begins afterwards has the new one, whichever Provider makes it.
type Secret struct {
	mu    sync.Mutex
	value string
	turn  int         // how often it was replaced
	taken bool        // Logto has taken the present value
	calls map[int]int // :: turn → calls under way with its value
}

// NewSecret makes one.
func NewSecret(value string) *Secret { return &Secret{value: value, calls: map[int]int{}} }

// Replace puts another value in its place, and reports whether it is another one.
func (s *Secret) Replace(value string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.value == value {
		return false
	}
	s.value, s.taken = value, false
	s.turn++
	return true
}

// Taken reports whether Logto has taken the present value in a call.
func (s *Secret) Taken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken
}

// Used reports whether this value is the present one and no call needs an earlier one any more: Logto has taken it, and no
// call with another is under way.
func (s *Secret) Used(value string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	earlier := len(s.calls)
	if s.calls[s.turn] > 0 {
		earlier--
	}
	return s.value == value && s.taken && earlier == 0
}

// begin is the value for a call, which ends by calling done with how it went.
func (s *Secret) begin() (value string, done func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	turn := s.turn
	s.calls[turn]++
	return s.value, func(err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.calls[turn]--; s.calls[turn] == 0 {
			delete(s.calls, turn)
		}
		// Of a code or a token Logto says nothing before it knows who asks (RFC 6749 5.2).
		if turn == s.turn && (err == nil || errors.Is(err, ErrInvalidGrant) || errors.Is(err, ErrAccessDenied)) {
			s.taken = true
		}
	}
}

// Fingerprint names a client secret without telling it: who knows the secret can tell whether it is the same.
func Fingerprint(appID, secret string) string {
	sum := sha256.Sum256([]byte("portero client secret\x00" + appID + "\x00" + secret))
	return hex.EncodeToString(sum[:8])
}

// Prove has Logto say whether it takes the client secret, by redeeming a code that nobody was given. nil: it does. ErrRefused:
// it does not; ErrUnavailable: it did not say.
func (p *Provider) Prove(ctx context.Context) error {
	_, err := p.Exchange(ctx, "portero-asks-whether-the-secret-is-good", p.issuer, "portero-asks-whether-the-client-secret-is-good")
	switch {
	case errors.Is(err, ErrInvalidGrant):
		return nil
	case err == nil:
		err = &RefusedError{Call: callToken, Status: http.StatusOK, Cause: fmt.Errorf("%w: a code that nobody was given was redeemed", errMalformed)}
	}
	return fmt.Errorf("trying the client secret: %w", err)
}
