package session

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// clearAfter is how long after its end a row is left to those who ended it.
	clearAfter = time.Minute
	// clearAtOnce is how many rows are deleted at the same time.
	clearAtOnce = 16
)

// End ends s for good: an Ended marker by its sid (bySID, on every host) or by the
// session alone, and its row goes. A Fresh marker by sid, else by subject, keeps the
// provider from signing the same person in silently. Once End has returned nil, no
// Lookup of this process returns the session, nor any of another that begins a second
// later. It finishes even if ctx is cancelled. On an error the session may be over,
// and will be once the store can be asked.
func (m *Manager) End(ctx context.Context, s *Session, bySID bool) error {
	if !bySID || s.SID == "" {
		_, err := m.end(ctx, s, bySession(Ended, s.Key), m.fresh(s.SID, s.Subject))
		return err
	}
	at, err := m.end(ctx, s, m.bySID(Ended, s.SID), m.fresh(s.SID, s.Subject))
	if err != nil {
		return err
	}
	if _, err := m.Clear(context.WithoutCancel(ctx), Ending{Filter{SID: m.hash("sid", s.SID)}, at}); err != nil {
		m.log.WarnContext(ctx, "rows of ended sessions could not all be deleted; their marker ends them", "error", err)
	}
	return nil
}

// Revoke ends s alone, as its owner or an operator does from elsewhere: the Fresh
// marker is by subject, so that no browser of that person gets a new session without
// a code.
func (m *Manager) Revoke(ctx context.Context, s *Session) error {
	_, err := m.end(ctx, s, bySession(Ended, s.Key), m.bySubject(Fresh, s.Subject))
	return err
}

// Drop ends s alone because the provider does not renew it, or because its browser
// has a newer one. No Fresh marker is set: the provider decides whether the same
// person is signed in again without being asked.
func (m *Manager) Drop(ctx context.Context, s *Session) error {
	_, err := m.end(ctx, s, bySession(Ended, s.Key))
	return err
}

// end sets the markers of one session, publishes them, and deletes its row. The row
// stays where the others could not be told: by it, whoever is asked next finds the
// marker, and tells them.
func (m *Manager) end(ctx context.Context, s *Session, marks ...Marker) (time.Time, error) {
	ctx = context.WithoutCancel(ctx)
	// The clock may have gone back since the session was created.
	when := func(now time.Time) time.Time { return later(now, s.CreatedAt) }
	at, err := m.mark(ctx, when, s.ExpiresAt.Sub(m.now()), marks...)
	if err != nil {
		return time.Time{}, err
	}
	if _, err := m.remove(ctx, s.Key); err != nil {
		m.log.WarnContext(ctx, "row of an ended session could not be deleted; its marker ends it",
			"session", s.ID, "error", err)
	}
	m.observe(EventEnded)
	return at, nil
}

// Ending is what EndSID or EndSubject has ended. Rows of it may still be there; no
// Lookup returns them.
type Ending struct {
	filter Filter
	at     time.Time
}

// EndSubject ends every session of a person. With fresh, the next sign-in needs a
// code. As with End, the sessions are over when it has returned nil.
func (m *Manager) EndSubject(ctx context.Context, subject string, fresh bool) (Ending, error) {
	return m.endAll(ctx, present, fresh, "", subject)
}

// EndSID ends every session of one session at the provider, on all hosts, without
// one of them at hand: for a logout that the provider sends.
func (m *Manager) EndSID(ctx context.Context, sid string, fresh bool) (Ending, error) {
	if sid == "" {
		return Ending{}, errors.New("ending by an empty sid")
	}
	return m.endAll(ctx, present, fresh, sid, "")
}

// EndOlder is EndSID, or EndSubject without a sid, for sessions that were created
// before at or then; with fresh. It is for what was said at that time and could not be
// done at once.
func (m *Manager) EndOlder(ctx context.Context, sid, subject string, at time.Time) (Ending, error) {
	if sid == "" && subject == "" {
		return Ending{}, errors.New("ending by nothing")
	}
	return m.endAll(ctx, func(now time.Time) time.Time { return earlier(now, at) }, true, sid, subject)
}

func present(now time.Time) time.Time { return now }

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (m *Manager) endAll(ctx context.Context, when func(time.Time) time.Time, fresh bool, sid, subject string) (Ending, error) {
	marks, f := []Marker{m.bySubject(Ended, subject), m.bySubject(Fresh, subject)}, Filter{Subject: m.hash("subject", subject)}
	if sid != "" {
		marks, f = []Marker{m.bySID(Ended, sid), m.bySID(Fresh, sid)}, Filter{SID: m.hash("sid", sid)}
	}
	if !fresh {
		marks = marks[:1]
	}
	at, err := m.mark(context.WithoutCancel(ctx), when, 0, marks...)
	if err != nil {
		return Ending{}, err
	}
	m.observe(EventEnded)
	return Ending{f, at}, nil
}

// Clear deletes the rows that listing finds of what was ended, and returns those that
// could be opened. What it misses has ended all the same. Rows that are gone before
// an error are returned with it.
func (m *Manager) Clear(ctx context.Context, e Ending) ([]*Session, error) {
	var mu sync.Mutex
	var cleared []*Session
	work := errgroup.Group{}
	work.SetLimit(clearAtOnce)
	if e.filter == (Filter{}) {
		return nil, nil
	}
	listing := m.rows(ctx, e.filter, func(row Row) error {
		if row.CreatedAt.After(e.at) { // somebody signed in since
			return nil
		}
		work.Go(func() error {
			ok, err := m.remove(ctx, row.Key)
			if !ok {
				return err
			}
			if s, idled, _, err := m.decode(row.Key, &row); err == nil && !idled {
				mu.Lock()
				cleared = append(cleared, s)
				mu.Unlock()
			}
			return nil
		})
		return nil
	})
	err := errors.Join(listing, work.Wait())
	return cleared, err
}

// FreshAfter is the newest Fresh marker for a sign-in with this sid and subject; a
// sign-in that is older does not count. Zero: none.
func (m *Manager) FreshAfter(ctx context.Context, sid, subject string) (time.Time, error) {
	markers := []Marker{m.bySubject(Fresh, subject)}
	if sid != "" {
		markers = append(markers, m.bySID(Fresh, sid))
	}
	ctx, cancel := bound(ctx)
	defer cancel()
	marks, err := m.store.Marked(ctx, markers...)
	if err != nil {
		return time.Time{}, m.unavailable("reading markers", err)
	}
	return slices.MaxFunc(marks, time.Time.Compare), nil
}

// mark sets markers at a time that when makes of the store's present one, and keeps
// them as long as any session could live that they concern. Those that end sessions are
// published.
func (m *Manager) mark(ctx context.Context, when func(time.Time) time.Time, keep time.Duration, marks ...Marker) (time.Time, error) {
	at, err := m.revocations.end(ctx, when, max(keep, m.lifetime, markerLife)+time.Hour, marks...)
	if err != nil {
		return time.Time{}, m.unavailable("ending sessions", err)
	}
	return at, nil
}

// sessionName begins the name of a session; its key follows.
const sessionName = "session:"

func bySession(kind MarkerKind, key string) Marker { return Marker{kind, sessionName + key} }

func (m *Manager) bySID(kind MarkerKind, sid string) Marker {
	return Marker{kind, "sid:" + m.hash("sid", sid)}
}

func (m *Manager) bySubject(kind MarkerKind, subject string) Marker {
	return Marker{kind, "subject:" + m.hash("subject", subject)}
}

// fresh is the Fresh marker of one session at the provider, or of the person where
// the provider names no session.
func (m *Manager) fresh(sid, subject string) Marker {
	if sid != "" {
		return m.bySID(Fresh, sid)
	}
	return m.bySubject(Fresh, subject)
}
