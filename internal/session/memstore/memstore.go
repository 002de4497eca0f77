// Package memstore owns a session.Store in the memory of one process: for the
// demonstration, for tests, and for those who accept that a restart signs everybody
// out.
//
// It is bounded by expiry alone. Rows, marks and markers that have expired are
// absent at once and leave memory within a minute.
package memstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"portero/internal/session"
)

const (
	sweepEvery   = time.Minute
	defaultLimit = 100
)

// Config makes a Store. The zero value is fine.
type Config struct {
	Now func() time.Time // nil: time.Now
}

// Store is a session.Store in memory. It is safe for concurrent use.
type Store struct {
	now   func() time.Time
	stop  chan struct{}
	done  chan struct{}
	local session.Local

	mu       sync.RWMutex
	closed   bool
	rows     map[string]session.Row         // :: key → row
	bySub    map[string]map[string]struct{} // :: subject hash → keys
	bySID    map[string]map[string]struct{} // :: sid hash → keys
	consumed map[string]dated               // :: mark → when first consumed
	markers  map[session.Marker]dated       // :: marker → when set
}

// dated is a point in time that is kept until another.
type dated struct{ at, until time.Time }

var (
	_ session.Store   = (*Store)(nil)
	_ session.Counter = (*Store)(nil)
)

// New makes an empty store. Close ends its sweeping goroutine.
func New(c Config) *Store {
	s := &Store{
		now: c.Now, stop: make(chan struct{}), done: make(chan struct{}),
		rows: map[string]session.Row{}, bySub: map[string]map[string]struct{}{}, bySID: map[string]map[string]struct{}{},
		consumed: map[string]dated{}, markers: map[session.Marker]dated{},
	}
	if s.now == nil {
		s.now = time.Now
	}
	go s.sweepUntilClosed()
	return s
}

// ready is called first by every operation, with the lock held. A deadline does not
// count: nothing here waits for anything, and one that a busy machine has let pass
// says nothing about this store.
func (s *Store) ready(ctx context.Context) error {
	if s.closed {
		return session.ErrClosed
	}
	if err := ctx.Err(); errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (s *Store) clock() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

// row returns the row under key unless it has expired. The lock is held.
func (s *Store) row(key string) (session.Row, bool) {
	row, found := s.rows[key]
	if !found || !s.clock().Before(row.ExpiresAt) {
		return session.Row{}, false
	}
	return row, true
}

// Create implements session.Store.
func (s *Store) Create(ctx context.Context, row session.Row) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(ctx); err != nil {
		return err
	}
	if row.Key == "" {
		return session.ErrKey
	}
	if _, taken := s.row(row.Key); taken {
		return session.ErrExists
	}
	s.put(row)
	return nil
}

// Get implements session.Store.
func (s *Store) Get(ctx context.Context, key string) (session.Row, bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.ready(ctx); err != nil {
		return session.Row{}, false, err
	}
	row, found := s.row(key)
	return row, found, nil
}

// Update implements session.Store.
func (s *Store) Update(ctx context.Context, row session.Row, was uint64) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(ctx); err != nil {
		return false, err
	}
	if row.Version <= was {
		return false, fmt.Errorf("updating session: version %d does not follow %d", row.Version, was)
	}
	have, found := s.row(row.Key)
	if !found || have.Version != was {
		return false, nil
	}
	if have.LastUsed.After(row.LastUsed) {
		row.LastUsed = have.LastUsed
	}
	s.put(row)
	return true, nil
}

// Touch implements session.Store.
func (s *Store) Touch(ctx context.Context, key string, lastUsed time.Time) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(ctx); err != nil {
		return false, err
	}
	row, found := s.row(key)
	if !found {
		return false, nil
	}
	if lastUsed = lastUsed.UTC().Truncate(time.Microsecond); lastUsed.After(row.LastUsed) {
		row.LastUsed = lastUsed
		s.rows[key] = row
	}
	return true, nil
}

// Delete implements session.Store.
func (s *Store) Delete(ctx context.Context, key string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(ctx); err != nil {
		return false, err
	}
	_, found := s.row(key)
	s.drop(key)
	return found, nil
}

// Consume implements session.Store.
func (s *Store) Consume(ctx context.Context, mark string, keep time.Duration) (bool, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(ctx); err != nil {
		return false, time.Time{}, err
	}
	now := s.clock()
	if have, found := s.consumed[mark]; found && now.Before(have.until) {
		return false, have.at, nil
	}
	s.consumed[mark] = dated{now, now.Add(keep)}
	return true, now, nil
}

// Mark implements session.Store.
func (s *Store) Mark(ctx context.Context, m session.Marker, at time.Time, keep time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(ctx); err != nil {
		return err
	}
	now := s.clock()
	set := dated{at.UTC().Truncate(time.Microsecond), now.Add(keep)}
	if have, found := s.markers[m]; found && now.Before(have.until) {
		if have.at.After(set.at) {
			set.at = have.at
		}
		if have.until.After(set.until) {
			set.until = have.until
		}
	}
	s.markers[m] = set
	return nil
}

// Marked implements session.Store.
func (s *Store) Marked(ctx context.Context, ms ...session.Marker) ([]time.Time, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	marks := make([]time.Time, len(ms))
	for i, m := range ms {
		if have, found := s.markers[m]; found && s.clock().Before(have.until) {
			marks[i] = have.at
		}
	}
	return marks, nil
}

// List implements session.Store. The cursor is the last key of the page before.
func (s *Store) List(ctx context.Context, f session.Filter, cursor string, limit int) ([]session.Row, string, error) {
	if limit <= 0 {
		limit = defaultLimit
	}
	keys, err := s.keys(ctx, f, cursor)
	if err != nil {
		return nil, "", err
	}
	slices.Sort(keys) // without the lock: it takes the longest
	next := ""
	if len(keys) > limit {
		keys = keys[:limit]
		next = keys[limit-1]
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.ready(ctx); err != nil {
		return nil, "", err
	}
	rows := make([]session.Row, 0, len(keys))
	for _, key := range keys {
		row, found := s.row(key)
		if !found {
			continue
		}
		if f.NoBody {
			row.Body = nil
		}
		rows = append(rows, row)
	}
	return rows, next, nil
}

// keys returns those after cursor that the filter selects.
func (s *Store) keys(ctx context.Context, f session.Filter, cursor string) ([]string, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	var keys []string
	add := func(key string) {
		if key > cursor {
			keys = append(keys, key)
		}
	}
	switch {
	case f.Subject != "":
		for key := range s.bySub[f.Subject] {
			add(key)
		}
	case f.SID != "":
		for key := range s.bySID[f.SID] {
			add(key)
		}
	default:
		keys = make([]string, 0, len(s.rows))
		for key := range s.rows {
			add(key)
		}
	}
	return keys, nil
}

// Count implements session.Counter.
func (s *Store) Count(ctx context.Context) (int, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.rows), s.ready(ctx)
}

// Publish implements session.Store.
func (s *Store) Publish(ctx context.Context, rs ...session.Revocation) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.ready(ctx); err != nil {
		return err
	}
	s.local.Publish(s.clock(), rs...)
	return nil
}

// Published implements session.Store.
func (s *Store) Published(ctx context.Context, after string) ([]session.Revocation, string, bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.ready(ctx); err != nil {
		return nil, "", false, err
	}
	rs, next, whole := s.local.Published(after)
	return rs, next, whole, nil
}

// Lease implements session.Store.
func (s *Store) Lease(ctx context.Context, name, holder string, keep time.Duration) (bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.ready(ctx); err != nil {
		return false, err
	}
	return s.local.Lease(s.clock(), name, holder, keep), nil
}

// Release implements session.Store.
func (s *Store) Release(ctx context.Context, name, holder string) (bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.ready(ctx); err != nil {
		return false, err
	}
	return s.local.Release(s.clock(), name, holder), nil
}

// Now implements session.Store.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.clock(), s.ready(ctx)
}

// Ping implements session.Store.
func (s *Store) Ping(ctx context.Context) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.ready(ctx)
}

// Close implements session.Store. Everything is forgotten.
func (s *Store) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		s.rows, s.bySub, s.bySID, s.consumed, s.markers = nil, nil, nil, nil, nil
		close(s.stop)
	}
	s.mu.Unlock()
	<-s.done
	return nil
}

// put stores a row in place of the one under its key. The lock is held.
func (s *Store) put(row session.Row) {
	s.drop(row.Key)
	row.CreatedAt = row.CreatedAt.UTC().Truncate(time.Microsecond)
	row.LastUsed = row.LastUsed.UTC().Truncate(time.Microsecond)
	row.ExpiresAt = row.ExpiresAt.UTC().Truncate(time.Microsecond)
	s.rows[row.Key] = row
	list(s.bySub, row.Subject, row.Key)
	list(s.bySID, row.SID, row.Key)
}

func (s *Store) drop(key string) {
	row, found := s.rows[key]
	if !found {
		return
	}
	delete(s.rows, key)
	unlist(s.bySub, row.Subject, key)
	unlist(s.bySID, row.SID, key)
}

func list(index map[string]map[string]struct{}, by, key string) {
	if by == "" {
		return
	}
	if index[by] == nil {
		index[by] = map[string]struct{}{}
	}
	index[by][key] = struct{}{}
}

func unlist(index map[string]map[string]struct{}, by, key string) {
	delete(index[by], key)
	if len(index[by]) == 0 {
		delete(index, by)
	}
}

func (s *Store) sweepUntilClosed() {
	defer close(s.done)
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
			s.sweep()
		}
	}
}

// sweep frees what has expired. Each map is swept under a lock of its own, so that
// lookups wait for one at most.
func (s *Store) sweep() {
	for _, clear := range []func(now time.Time){
		func(now time.Time) {
			for key, row := range s.rows {
				if !now.Before(row.ExpiresAt) {
					s.drop(key)
				}
			}
		},
		func(now time.Time) { expire(s.consumed, now) },
		func(now time.Time) { expire(s.markers, now) },
	} {
		s.mu.Lock()
		clear(s.clock())
		s.mu.Unlock()
	}
}

func expire[K comparable](marks map[K]dated, now time.Time) {
	for key, mark := range marks {
		if !now.Before(mark.until) {
			delete(marks, key)
		}
	}
}
