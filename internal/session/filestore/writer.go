package filestore

import (
	"context"
	"time"

	bolt "go.etcd.io/bbolt"

	"portero/internal/session"
)

// maxBatch bounds how many writes share a commit.
const maxBatch = 256

// write is one change that waits for its turn.
type write struct {
	ctx  context.Context
	do   func(*bolt.Tx) error // may run again if the commit it was part of fails
	then func()               // runs when it is on the disk, even if nobody waits any more; nil: nothing
	done chan error
}

// update runs do in a transaction and waits until it is on the disk, or until ctx
// ends; then do may still run, and the caller must not read what it sets.
func (s *Store) update(ctx context.Context, do func(*bolt.Tx) error) error {
	return s.updateThen(ctx, do, nil)
}

// updateThen is update and has the writer run then, before the next transaction.
func (s *Store) updateThen(ctx context.Context, do func(*bolt.Tx) error, then func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w := &write{ctx: ctx, do: do, then: then, done: make(chan error, 1)}
	if err := s.usable(); err != nil {
		return err
	}
	select {
	case s.writes <- w:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stop:
		return session.ErrClosed
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write takes what waits, all at once, and commits it together: one write alone
// waits for nobody, many at once cost one sync of the disk. It also sweeps.
func (s *Store) write() {
	defer close(s.done)
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
			s.sweep()
		case w := <-s.writes:
			s.commit(s.gather(w))
		}
	}
}

func (s *Store) gather(first *write) []*write {
	batch := []*write{first}
	for len(batch) < maxBatch {
		select {
		case w := <-s.writes:
			batch = append(batch, w)
		default:
			return batch
		}
	}
	return batch
}

// commit answers every write of the batch. If the transaction fails, each is tried
// by itself, so that one that cannot be done does not fail the others.
func (s *Store) commit(batch []*write) {
	var live []*write
	for _, w := range batch {
		if err := w.ctx.Err(); err != nil { // nobody waits for it any more
			w.done <- err
			continue
		}
		live = append(live, w)
	}
	if len(live) == 0 {
		return
	}
	err := s.transact(func(tx *bolt.Tx) error {
		for _, w := range live {
			if err := w.do(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && len(live) > 1 {
		for _, w := range live {
			s.commit([]*write{w})
		}
		return
	}
	for _, w := range live {
		if err == nil && w.then != nil {
			w.then()
		}
		w.done <- err
	}
}

func (s *Store) transact(do func(*bolt.Tx) error) (err error) {
	defer func() { s.giveUp(err) }()
	tx, err := s.begin(true)
	if err != nil {
		return err
	}
	defer damage(&err)()
	defer tx.Rollback() // does nothing after a commit
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// sweep removes what has expired. It runs in the writer's goroutine and lets others
// in between its transactions.
func (s *Store) sweep() {
	s.markers.expire(s.clock())
	for {
		more := false
		err := s.transact(func(tx *bolt.Tx) error {
			var err error
			more, err = expire(tx, s.clock(), sweepAtOnce)
			return err
		})
		if err != nil {
			s.log.Error("expired sessions could not be removed from the file", "file", s.path, "error", err)
			return
		}
		if !more {
			return
		}
		select {
		case <-s.stop:
			return
		case w := <-s.writes:
			s.commit(s.gather(w))
		default:
		}
	}
}
