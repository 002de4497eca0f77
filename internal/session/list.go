package session

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Lists serve people to look at, and questions like "may the shared grant be revoked",
// never whether somebody is signed in: no decision rests on their being complete.

const (
	// pageSize is how many rows are asked of the store at once.
	pageSize = 500
	// searchTimeout bounds one page of Search: without an index a store may look at every
	// row it has.
	searchTimeout = 5 * time.Second
	// searchByID is how many rows are looked at for an ID alone; their bodies stay where
	// they are.
	searchByID = 20_000
	// searchAtOnce is how many rows are checked at the same time.
	searchAtOnce = 16
)

// LiveWithSID reports whether another live session than exceptKey has this sid.
func (m *Manager) LiveWithSID(ctx context.Context, sid, exceptKey string) (bool, error) {
	all, err := m.WithSID(ctx, sid)
	return slices.ContainsFunc(all, func(s *Session) bool { return s.Key != exceptKey }), err
}

// WithSID lists the live sessions of one session at the provider, in no particular
// order.
func (m *Manager) WithSID(ctx context.Context, sid string) ([]*Session, error) {
	if sid == "" {
		return nil, nil
	}
	return m.listed(ctx, Filter{SID: m.hash("sid", sid)}, func(s *Session) bool { return s.SID == sid })
}

// SessionsOf lists the live sessions of a person, the last used first.
func (m *Manager) SessionsOf(ctx context.Context, subject string) ([]*Session, error) {
	all, err := m.listed(ctx, Filter{Subject: m.hash("subject", subject)}, func(s *Session) bool { return s.Subject == subject })
	slices.SortFunc(all, func(a, b *Session) int {
		return cmp.Or(b.LastUsed.Compare(a.LastUsed), cmp.Compare(a.Key, b.Key))
	})
	return all, err
}

// listed returns the live sessions that a filter selects; an index may select others.
func (m *Manager) listed(ctx context.Context, f Filter, is func(*Session) bool) ([]*Session, error) {
	var all []*Session
	err := m.rows(ctx, f, func(row Row) error {
		s, err := m.live(ctx, row)
		if s != nil && is(s) {
			all = append(all, s)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
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
	s, idled, _, err := m.decode(row.Key, &row)
	if err != nil {
		return nil, nil // another client's, or unreadable: Lookup is where that is reported
	}
	now := m.now()
	if idled || row.Idled || !now.Before(s.ExpiresAt) || m.idle > 0 && !now.Before(row.LastUsed.Add(m.idle)) {
		return nil, nil
	}
	ctx, cancel := bound(ctx)
	defer cancel()
	ended, err := m.ended(ctx, s)
	if err != nil || !ended.IsZero() {
		return nil, err
	}
	return s, nil
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

// Selection says which sessions Search is to find. Its fields must all hold. Zero: all sessions.
type Selection struct {
	ID           string // Session.ID, whole
	Subject, SID string
}

// Search is a page of the live sessions of a selection, ordered by key, and the
// cursor of the next page, "" after the last. A page may be short or even empty before
// the last; it has at most limit sessions (zero or less: 100), or for an ID all that
// have it among the rows that were looked at. By subject and sid a store has an index.
func (m *Manager) Search(ctx context.Context, by Selection, cursor string, limit int) (page []*Session, next string, err error) {
	if limit <= 0 {
		limit = 100
	}
	var f Filter
	switch {
	case by.SID != "":
		f.SID = m.hash("sid", by.SID)
	case by.Subject != "":
		f.Subject = m.hash("subject", by.Subject)
	case by.ID != "":
		f.NoBody, limit = true, searchByID
	}
	listing, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	rows, next, err := m.store.List(listing, f, cursor, limit)
	if err != nil {
		return nil, "", m.unavailable("searching sessions", err)
	}
	var mu sync.Mutex
	work := errgroup.Group{}
	work.SetLimit(searchAtOnce)
	for _, row := range rows {
		if by.ID != "" && publicID(row.Key) != by.ID {
			continue
		}
		work.Go(func() error {
			if f.NoBody {
				reading, cancel := bound(ctx)
				defer cancel()
				whole, found, err := m.store.Get(reading, row.Key)
				if err != nil {
					return m.unavailable("reading session", err)
				}
				if !found {
					return nil
				}
				row = whole
			}
			s, err := m.live(ctx, row)
			if err != nil || s == nil || by.Subject != "" && s.Subject != by.Subject || by.SID != "" && s.SID != by.SID {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			page = append(page, s)
			return nil
		})
	}
	if err := work.Wait(); err != nil {
		return nil, "", err
	}
	slices.SortFunc(page, func(a, b *Session) int { return cmp.Compare(a.Key, b.Key) })
	return page, next, nil
}
