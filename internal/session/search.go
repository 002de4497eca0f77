package session

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// searchTimeout bounds one page of Search: without an index a store may look at every
	// row it has.
	searchTimeout = 5 * time.Second
	// searchByID is how many rows are looked at for an ID alone; their bodies stay where
	// they are.
	searchByID = 20_000
	// searchAtOnce is how many rows are checked at the same time.
	searchAtOnce = 16
)

// Selection says which sessions Search is to find. Its fields must all hold. Zero: all sessions.
type Selection struct {
	ID           string // Session.ID, whole
	Subject, SID string
}

// Search is a page of the live sessions of a selection, ordered by key, and the
// cursor of the next page, "" after the last. A page may be short or even empty before
// the last; it has at most limit sessions (zero or less: 100), or for an ID all that
// have it among the rows that were looked at. By subject and sid a store has an index;
// as every listing it serves people to look at, and no decision rests on it.
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
