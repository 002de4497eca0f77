package identity

import "sync/atomic"

// ClaimSet is a claim set that is shared and never modified: decoded, or as JSON until
// somebody asks. A nil ClaimSet has no claims.
type ClaimSet struct {
	raw     string // one that ParseClaims took
	decoded atomic.Pointer[Claims]
}

// NewClaimSet makes a set of claims that nobody modifies any more.
func NewClaimSet(c Claims) *ClaimSet {
	s := &ClaimSet{}
	s.decoded.Store(&c)
	return s
}

// All returns the claims, which the caller does not modify.
func (s *ClaimSet) All() Claims {
	if s == nil {
		return nil
	}
	if c := s.decoded.Load(); c != nil {
		return *c
	}
	c, err := ParseClaims([]byte(s.raw))
	if err != nil {
		c = nil // no claim is told rather than a wrong one
	}
	s.decoded.Store(&c)
	return c
}

// Lookup is Claims.Lookup.
func (s *ClaimSet) Lookup(path string) (any, bool) { return s.All().Lookup(path) }

// Text is Claims.Text.
func (s *ClaimSet) Text(path string) string { return s.All().Text(path) }

// List is Claims.List.
func (s *ClaimSet) List(path string) []string { return s.All().List(path) }
