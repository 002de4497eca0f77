package session

import (
	"context"
	"crypto/rand"
	"time"
)

// Lease is the right to do something about one session while nobody else does, on
// this replica or another. It counts from before the store was asked, by the
// monotonic clock of this process, so that it ends here no later than there.
type Lease struct {
	manager      *Manager
	name, holder string
	until        time.Time
}

// Lease takes the lease of s for as long as keep. False: somebody has it.
func (m *Manager) Lease(ctx context.Context, s *Session, keep time.Duration) (*Lease, bool, error) {
	l := &Lease{manager: m, name: "refresh:" + s.Key, holder: rand.Text(), until: time.Now().Add(keep)}
	ctx, cancel := bound(ctx)
	defer cancel()
	ok, err := m.store.Lease(ctx, l.name, l.holder, keep)
	if err != nil {
		return nil, false, m.unavailable("leasing session", err)
	}
	return l, ok, nil
}

// Left is how long the lease lasts still.
func (l *Lease) Left() time.Duration { return time.Until(l.until) }

// Release gives the lease back. It finishes even if ctx is cancelled; where the store
// does not answer, the lease ends by itself.
func (l *Lease) Release(ctx context.Context) {
	ctx, cancel := bound(context.WithoutCancel(ctx))
	defer cancel()
	_, _ = l.manager.store.Release(ctx, l.name, l.holder)
}
