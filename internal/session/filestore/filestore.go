// Package filestore owns a session.Store in one file, for one process: sessions
// survive a restart without another service to run.
//
// The file is a bbolt database with mode 0600. It belongs to one process at a time;
// a second one is told who holds it. Every answer to a write means that the write is
// on the disk; writes that arrive together share one commit.
//
// Invariants: indexes are changed in the same transaction as the rows they list. A
// file that cannot be read gives errors, never absence.
package filestore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"portero/internal/session"
)

const (
	lockTimeout  = time.Second
	sweepEvery   = time.Minute
	sweepAtOnce  = 500 // rows in one transaction, so that others get their turn
	defaultLimit = 100
	format       = 1
	smallest     = 8 << 10 // bytes of a file: it begins with two pages
)

// Config makes a Store.
type Config struct {
	Path string           // the file; its folder exists
	Now  func() time.Time // nil: time.Now
	Log  *slog.Logger     // nil: none
}

// Store is a session.Store in a file. It is safe for concurrent use.
type Store struct {
	path    string
	now     func() time.Time
	log     *slog.Logger
	db      *bolt.DB
	writes  chan *write
	stop    chan struct{} // closed by Close
	done    chan struct{} // closed when the writer has ended
	closer  chan struct{} // holds one token; whoever takes it closes
	markers markers       // all that the file has
	local   session.Local
	broken  atomic.Bool // a write, or the beginning of a read, met damage: bbolt's locks are in no known state
	// beginning is held while a transaction begins, so that nobody waits for a lock of
	// bbolt's that whoever met damage there will not give back.
	beginning sync.Mutex
}

var (
	_ session.Store   = (*Store)(nil)
	_ session.Counter = (*Store)(nil)
)

// Open opens the file, or makes it. If another process has it open, that is said
// after a second.
func Open(c Config) (*Store, error) {
	s := &Store{
		path: c.Path, now: c.Now, log: c.Log,
		writes: make(chan *write), stop: make(chan struct{}), done: make(chan struct{}), closer: make(chan struct{}, 1),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.closer <- struct{}{}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("opening session store %s: %w", c.Path, err)
	}
	go s.write()
	return s, nil
}

func (s *Store) open() (err error) {
	defer damage(&err)()
	s.db, err = bolt.Open(s.path, 0o600, &bolt.Options{Timeout: lockTimeout, FreelistType: bolt.FreelistMapType})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("%s has it open; stop it first, or give each its own file: %w", holder(s.path), err)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return fmt.Errorf("the file is damaged or no session store; move it away to start with an empty one: %w", err)
	case err != nil:
		if info, statErr := os.Stat(s.path); statErr == nil && info.Size() > 0 && info.Size() < smallest {
			return fmt.Errorf("%w: %w", errBroken, err)
		}
		return err
	}
	defer func() {
		if err != nil {
			s.db.Close()
		}
	}()
	info, err := os.Stat(s.path)
	if err != nil {
		return err
	}
	// Where the file was cut, the next write would fill the gap with zeros, and those
	// read as absence. So it is noticed before.
	if err := s.db.View(func(tx *bolt.Tx) error {
		if have, want := info.Size(), tx.Size(); have < want {
			return fmt.Errorf("%w: %d of %d bytes are there", errBroken, have, want)
		}
		return nil
	}); err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(s.path, 0o600); err != nil {
			s.log.Warn("session store can be read by others; give it mode 0600", "file", s.path, "error", err)
		}
	}
	if err := s.db.Update(prepare); err != nil {
		return err
	}
	return s.db.View(s.markers.load)
}

// Path is the file.
func (s *Store) Path() string { return s.path }

func (s *Store) clock() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

// Create implements session.Store.
func (s *Store) Create(ctx context.Context, row session.Row) error {
	if !storable(row) {
		return session.ErrKey
	}
	taken := false
	err := s.update(ctx, func(tx *bolt.Tx) error {
		_, taken = get(tx, row.Key, s.clock())
		if taken {
			return nil
		}
		return put(tx, row)
	})
	if err == nil && taken {
		return session.ErrExists
	}
	return err
}

// Get implements session.Store.
func (s *Store) Get(ctx context.Context, key string) (row session.Row, found bool, err error) {
	err = s.view(ctx, func(tx *bolt.Tx) error {
		row, found = get(tx, key, s.clock())
		return nil
	})
	return row, found, err
}

// Update implements session.Store.
func (s *Store) Update(ctx context.Context, row session.Row, was uint64) (bool, error) {
	if row.Version <= was {
		return false, fmt.Errorf("updating session: version %d does not follow %d", row.Version, was)
	}
	if !storable(row) {
		return false, session.ErrKey
	}
	replaced := false
	err := s.update(ctx, func(tx *bolt.Tx) error {
		have, found := get(tx, row.Key, s.clock())
		if replaced = found && have.Version == was; !replaced {
			return nil
		}
		if have.LastUsed.After(row.LastUsed) {
			row.LastUsed = have.LastUsed
		}
		return put(tx, row)
	})
	return err == nil && replaced, err
}

// Touch implements session.Store. It writes nothing but the time.
func (s *Store) Touch(ctx context.Context, key string, lastUsed time.Time) (bool, error) {
	found := false
	err := s.update(ctx, func(tx *bolt.Tx) error {
		if found = exists(tx, key, s.clock()); !found {
			return nil
		}
		return touch(tx, key, lastUsed)
	})
	return err == nil && found, err
}

// Delete implements session.Store.
func (s *Store) Delete(ctx context.Context, key string) (bool, error) {
	found := false
	err := s.update(ctx, func(tx *bolt.Tx) error {
		found = exists(tx, key, s.clock())
		return drop(tx, key)
	})
	return err == nil && found, err
}

// Consume implements session.Store.
func (s *Store) Consume(ctx context.Context, mark string, keep time.Duration) (bool, time.Time, error) {
	var first bool
	var at time.Time
	err := s.update(ctx, func(tx *bolt.Tx) error {
		now := s.clock()
		have, found := getDated(tx.Bucket(bucketConsumed), mark, now)
		if first = !found; !first {
			at = have.at
			return nil
		}
		at = now
		return putDated(tx, bucketConsumed, mark, dated{now, now.Add(keep)})
	})
	if err != nil {
		return false, time.Time{}, err
	}
	return first, at, nil
}

// Mark implements session.Store.
func (s *Store) Mark(ctx context.Context, m session.Marker, at time.Time, keep time.Duration) error {
	var set dated
	return s.updateThen(ctx, func(tx *bolt.Tx) error {
		now := s.clock()
		set = dated{at.UTC().Truncate(time.Microsecond), now.Add(keep)}
		if have, found := getDated(tx.Bucket(bucketMarkers), markerKey(m), now); found {
			if have.at.After(set.at) {
				set.at = have.at
			}
			if have.until.After(set.until) {
				set.until = have.until
			}
		}
		return putDated(tx, bucketMarkers, markerKey(m), set)
	}, func() { s.markers.set(m, set) })
}

// Marked implements session.Store. It answers from memory: every request asks for
// markers, and nobody else writes to the file.
func (s *Store) Marked(ctx context.Context, ms ...session.Marker) ([]time.Time, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	return s.markers.of(ms, s.clock()), nil
}

// Publish implements session.Store. The log is in memory: the file belongs to one
// process, and what that one has cached ends with it.
func (s *Store) Publish(ctx context.Context, rs ...session.Revocation) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	s.local.Publish(s.clock(), rs...)
	return nil
}

// Published implements session.Store.
func (s *Store) Published(ctx context.Context, after string) ([]session.Revocation, string, bool, error) {
	if err := s.ready(ctx); err != nil {
		return nil, "", false, err
	}
	rs, next, whole := s.local.Published(after)
	return rs, next, whole, nil
}

// Lease implements session.Store. Leases are in memory, as the log is.
func (s *Store) Lease(ctx context.Context, name, holder string, keep time.Duration) (bool, error) {
	if err := s.ready(ctx); err != nil {
		return false, err
	}
	return s.local.Lease(s.clock(), name, holder, keep), nil
}

// Release implements session.Store.
func (s *Store) Release(ctx context.Context, name, holder string) (bool, error) {
	if err := s.ready(ctx); err != nil {
		return false, err
	}
	return s.local.Release(s.clock(), name, holder), nil
}

// List implements session.Store. The cursor is the last key of the page before.
// There is nothing to repair: an index never differs from its rows.
func (s *Store) List(ctx context.Context, f session.Filter, cursor string, limit int) (rows []session.Row, next string, err error) {
	if limit <= 0 {
		limit = defaultLimit
	}
	err = s.view(ctx, func(tx *bolt.Tx) error {
		rows, next = list(tx, f, cursor, limit, s.clock())
		return nil
	})
	return rows, next, err
}

// Count implements session.Counter.
func (s *Store) Count(ctx context.Context) (n int, err error) {
	err = s.view(ctx, func(tx *bolt.Tx) error {
		n = tx.Bucket(bucketUsed).Stats().KeyN // the smallest bucket with one entry a row
		return nil
	})
	return n, err
}

// Now implements session.Store.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	if err := s.Ping(ctx); err != nil {
		return time.Time{}, err
	}
	return s.clock(), nil
}

// Ping implements session.Store.
func (s *Store) Ping(ctx context.Context) error {
	return s.view(ctx, func(*bolt.Tx) error { return nil })
}

// Close implements session.Store. It waits for the commit under way.
func (s *Store) Close() error {
	select {
	case <-s.closer:
	case <-s.done:
		return nil
	}
	close(s.stop)
	<-s.done
	if s.broken.Load() { // closing would wait for a lock that nobody gives back
		return errBroken
	}
	return s.db.Close()
}

// view reads. bbolt's readers do not wait for writers.
func (s *Store) view(ctx context.Context, read func(*bolt.Tx) error) (err error) {
	if err := s.ready(ctx); err != nil {
		return err
	}
	tx, err := s.begin(false)
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return session.ErrClosed
	}
	if err != nil {
		return err
	}
	defer damage(&err)()
	defer tx.Rollback()
	return read(tx)
}

// begin begins a transaction. It reads the head of the file under locks of bbolt's: when that meets damage, the file
// is no longer used.
func (s *Store) begin(writable bool) (tx *bolt.Tx, err error) {
	s.beginning.Lock()
	defer s.beginning.Unlock()
	if s.broken.Load() {
		return nil, errBroken
	}
	defer func() { s.giveUp(err) }()
	defer damage(&err)()
	return s.db.Begin(writable)
}

// giveUp notes that err is damage that leaves the file unusable.
func (s *Store) giveUp(err error) {
	if errors.Is(err, errBroken) && !s.broken.Swap(true) {
		s.log.Error("session store is damaged and no longer used", "file", s.path, "error", err)
	}
}

var errBroken = errors.New("the file is damaged; move it away to start with an empty one")

func (s *Store) ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.usable()
}

func (s *Store) usable() error {
	select {
	case <-s.stop:
		return session.ErrClosed
	default:
	}
	if s.broken.Load() {
		return errBroken
	}
	return nil
}

// damage turns what a damaged file does to bbolt into an error, which the gateway
// answers with a denial: it panics where pages contradict each other, and touching a
// page that a truncated file lacks is a memory fault that would end the process.
func damage(err *error) func() {
	before := debug.SetPanicOnFault(true) // of this goroutine
	return func() {
		debug.SetPanicOnFault(before)
		if p := recover(); p != nil {
			*err = fmt.Errorf("%w: %v", errBroken, p)
		}
	}
}
