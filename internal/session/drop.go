package session

import (
	"context"
	"time"
)

// Drop ends s alone because the provider does not renew it. No Fresh marker is set:
// the provider decides whether the same person is signed in again without being
// asked. It finishes even if ctx is cancelled.
func (m *Manager) Drop(ctx context.Context, s *Session) error {
	ctx = context.WithoutCancel(ctx)
	_, err := m.mark(ctx, bySession(Ended, s.Key), s.ExpiresAt.Sub(m.now()))
	if _, removeErr := m.remove(ctx, s.Key); removeErr != nil && err != nil {
		return err
	}
	m.observe(EventEnded)
	return nil
}

// IdleEnds is when s ends if it is not used until then, at most its absolute end.
func (m *Manager) IdleEnds(s *Session) time.Time {
	if ends := s.LastUsed.Add(m.idle); m.idle > 0 && ends.Before(s.ExpiresAt) {
		return ends
	}
	return s.ExpiresAt
}
