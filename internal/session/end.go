package session

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"
)

// pageSize is how many rows are asked of the store at once.
const pageSize = 500

// End ends s for good: its row goes, and an Ended marker by its sid (bySID, on every
// host) or by the session alone makes sure of it. A Fresh marker by sid, else by
// subject, keeps the provider from signing the same person in silently. Once End has
// returned nil, no Lookup on any replica returns the session. It finishes even if
// ctx is cancelled. On an error the session may be over; call it again.
func (m *Manager) End(ctx context.Context, s *Session, bySID bool) error {
	return m.end(ctx, s, bySID, m.fresh(s.SID, s.Subject))
}

// Revoke ends s alone, as its owner or an operator does from elsewhere: the Fresh
// marker is by subject, so that no browser of that person gets a new session without
// a code.
func (m *Manager) Revoke(ctx context.Context, s *Session) error {
	return m.end(ctx, s, false, m.bySubject(Fresh, s.Subject))
}

func (m *Manager) end(ctx context.Context, s *Session, bySID bool, fresh Marker) error {
	ctx = context.WithoutCancel(ctx)
	keep := s.ExpiresAt.Sub(m.now())
	ending := bySession(Ended, s.Key)
	bySID = bySID && s.SID != ""
	if bySID {
		ending = m.bySID(Ended, s.SID)
	}
	at, err := m.mark(ctx, ending, keep)
	_, freshErr := m.mark(ctx, fresh, 0)
	// The row goes even if a marker could not be set, and the other way round.
	if _, removeErr := m.remove(ctx, s.Key); removeErr != nil {
		m.log.WarnContext(ctx, "row of an ended session could not be deleted; its marker ends it",
			"session", s.ID, "error", removeErr)
	}
	if err := errors.Join(err, freshErr); err != nil {
		return err
	}
	if bySID {
		m.removeListed(ctx, Filter{SID: m.hash("sid", s.SID)}, at)
	}
	m.observe(EventEnded)
	return nil
}

// EndSubject ends every session of a person, and says how many rows were found.
// With fresh, the next sign-in needs a code.
func (m *Manager) EndSubject(ctx context.Context, subject string, fresh bool) (int, error) {
	return m.endAll(ctx, m.bySubject(Ended, subject), m.bySubject(Fresh, subject), fresh,
		Filter{Subject: m.hash("subject", subject)})
}

// EndSID ends every session of one session at the provider, on all hosts, without
// one of them at hand: for a logout that the provider sends.
func (m *Manager) EndSID(ctx context.Context, sid string, fresh bool) (int, error) {
	if sid == "" {
		return 0, errors.New("ending by an empty sid")
	}
	return m.endAll(ctx, m.bySID(Ended, sid), m.bySID(Fresh, sid), fresh, Filter{SID: m.hash("sid", sid)})
}

func (m *Manager) endAll(ctx context.Context, ending, freshMark Marker, fresh bool, f Filter) (int, error) {
	ctx = context.WithoutCancel(ctx)
	at, err := m.mark(ctx, ending, 0)
	if fresh {
		_, freshErr := m.mark(ctx, freshMark, 0)
		err = errors.Join(err, freshErr)
	}
	if err != nil {
		return 0, err
	}
	m.observe(EventEnded)
	return m.removeListed(ctx, f, at), nil
}

// removeListed clears rows away that a marker has ended. Whatever it misses is
// ended all the same.
func (m *Manager) removeListed(ctx context.Context, f Filter, at time.Time) int {
	f.NoBody = true
	removed := 0
	err := m.rows(ctx, f, func(row Row) error {
		if row.CreatedAt.After(at) { // somebody signed in since
			return nil
		}
		ok, err := m.remove(ctx, row.Key)
		if ok {
			removed++
		}
		return err
	})
	if err != nil {
		m.log.WarnContext(ctx, "rows of ended sessions could not all be deleted; their marker ends them", "error", err)
	}
	return removed
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

// LiveWithSID reports whether another live session than exceptKey has this sid. It
// rests on listing, so it serves questions like "may the shared grant be revoked",
// never whether somebody is signed in.
func (m *Manager) LiveWithSID(ctx context.Context, sid, exceptKey string) (bool, error) {
	if sid == "" {
		return false, nil
	}
	found := errors.New("found")
	err := m.rows(ctx, Filter{SID: m.hash("sid", sid)}, func(row Row) error {
		if row.Key == exceptKey {
			return nil
		}
		s, err := m.live(ctx, row)
		if err == nil && s != nil {
			err = found
		}
		return err
	})
	if err == found {
		return true, nil
	}
	return false, err
}

// SessionsOf lists the live sessions of a person, the last used first.
func (m *Manager) SessionsOf(ctx context.Context, subject string) ([]*Session, error) {
	var all []*Session
	err := m.rows(ctx, Filter{Subject: m.hash("subject", subject)}, func(row Row) error {
		s, err := m.live(ctx, row)
		if s != nil && s.Subject == subject {
			all = append(all, s)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b *Session) int {
		return cmp.Or(b.LastUsed.Compare(a.LastUsed), cmp.Compare(a.Key, b.Key))
	})
	return all, nil
}

// List is a page of the live sessions of this client and the cursor of the next
// page, "" after the last. A page may be empty before the last.
func (m *Manager) List(ctx context.Context, cursor string, limit int) (page []*Session, next string, err error) {
	reading, cancel := bound(ctx)
	defer cancel()
	rows, next, err := m.store.List(reading, Filter{}, cursor, limit)
	if err != nil {
		return nil, "", m.unavailable("listing sessions", err)
	}
	for _, row := range rows {
		s, err := m.live(ctx, row)
		if err != nil {
			return nil, "", err
		}
		if s != nil {
			page = append(page, s)
		}
	}
	return page, next, nil
}

// Count says how many rows the store holds, idled ones and those of other clients
// of the same store included.
func (m *Manager) Count(ctx context.Context) (int, error) {
	if counter, ok := m.store.(Counter); ok {
		ctx, cancel := bound(ctx)
		defer cancel()
		n, err := counter.Count(ctx)
		if err != nil {
			return 0, m.unavailable("counting sessions", err)
		}
		return n, nil
	}
	n := 0
	err := m.rows(ctx, Filter{NoBody: true}, func(Row) error { n++; return nil })
	return n, err
}

// live is the session of a listed row, or nil if it is over or does not open.
func (m *Manager) live(ctx context.Context, row Row) (*Session, error) {
	e, _, err := m.decode(row.Key, &row)
	if err != nil {
		return nil, nil // another client's, or unreadable: Lookup is where that is reported
	}
	now := m.now()
	if e.idled || row.Idled || !now.Before(e.session.ExpiresAt) || m.idle > 0 && !now.Before(row.LastUsed.Add(m.idle)) {
		return nil, nil
	}
	ctx, cancel := bound(ctx)
	defer cancel()
	ended, err := m.ended(ctx, e)
	if err != nil || ended {
		return nil, err
	}
	e.session.LastUsed = row.LastUsed
	return e.session, nil
}

// rows calls do for every row that listing finds, page by page, until do fails.
func (m *Manager) rows(ctx context.Context, f Filter, do func(Row) error) error {
	for cursor := ""; ; {
		reading, cancel := bound(ctx)
		page, next, err := m.store.List(reading, f, cursor, pageSize)
		cancel()
		if err != nil {
			return m.unavailable("listing sessions", err)
		}
		for _, row := range page {
			if err := do(row); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		cursor = next
	}
}

// mark sets a marker by the store's clock and keeps it as long as any session could
// live that it concerns.
func (m *Manager) mark(ctx context.Context, mark Marker, keep time.Duration) (time.Time, error) {
	ctx, cancel := bound(ctx)
	defer cancel()
	at, err := m.store.Mark(ctx, mark, max(keep, m.lifetime, markerLife)+time.Hour)
	if err != nil {
		return time.Time{}, m.unavailable("setting marker", err)
	}
	return at, nil
}

func bySession(kind MarkerKind, key string) Marker { return Marker{kind, "session:" + key} }

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
