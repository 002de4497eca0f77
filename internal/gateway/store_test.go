package gateway_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/gateway"
	"portero/internal/gatewaytest"
	"portero/internal/session"
	"portero/internal/session/memstore"
)

// watchedStore is a session store that counts what is asked to be written, and fails or hangs when a test wants it to.
// Its zero value does none of that to Store.
type watchedStore struct {
	session.Store
	creates, touches, deletes, consumes, updates, marks, leases atomic.Int64

	fails, hangs, forgets atomic.Bool // forgets: writing fails, reading works
}

// storeRig is a rig with a clock over such a store.
func storeRig(t testing.TB, o gatewaytest.Options) (*gatewaytest.Rig, *watchedStore) {
	t.Helper()
	o.Clock = gatewaytest.NewClock()
	store := &watchedStore{Store: memstore.New(memstore.Config{Now: o.Clock.Now})}
	o.Gateway = gateway.Options{Store: store}
	return gatewaytest.New(t, &o), store
}

// writes counts everything that was to change the store.
func (s *watchedStore) writes() int64 {
	return s.creates.Load() + s.touches.Load() + s.deletes.Load() + s.consumes.Load() + s.updates.Load() + s.marks.Load() + s.leases.Load()
}

var errDisk = errors.New("canary-disk-detail")

func (s *watchedStore) reading(ctx context.Context) error {
	if s.hangs.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	if s.fails.Load() {
		return errDisk
	}
	return nil
}

func (s *watchedStore) writing(ctx context.Context, count *atomic.Int64) error {
	count.Add(1)
	if err := s.reading(ctx); err != nil {
		return err
	}
	if s.forgets.Load() {
		return errDisk
	}
	return nil
}

func (s *watchedStore) Create(ctx context.Context, row session.Row) error {
	if err := s.writing(ctx, &s.creates); err != nil {
		return err
	}
	return s.Store.Create(ctx, row)
}

func (s *watchedStore) Get(ctx context.Context, key string) (session.Row, bool, error) {
	if err := s.reading(ctx); err != nil {
		return session.Row{}, false, err
	}
	return s.Store.Get(ctx, key)
}

func (s *watchedStore) Update(ctx context.Context, row session.Row, was uint64) (bool, error) {
	if err := s.writing(ctx, &s.updates); err != nil {
		return false, err
	}
	return s.Store.Update(ctx, row, was)
}

func (s *watchedStore) Touch(ctx context.Context, key string, at time.Time) (bool, error) {
	if err := s.writing(ctx, &s.touches); err != nil {
		return false, err
	}
	return s.Store.Touch(ctx, key, at)
}

func (s *watchedStore) Delete(ctx context.Context, key string) (bool, error) {
	if err := s.writing(ctx, &s.deletes); err != nil {
		return false, err
	}
	return s.Store.Delete(ctx, key)
}

func (s *watchedStore) Consume(ctx context.Context, mark string, keep time.Duration) (bool, time.Time, error) {
	if err := s.writing(ctx, &s.consumes); err != nil {
		return false, time.Time{}, err
	}
	return s.Store.Consume(ctx, mark, keep)
}

func (s *watchedStore) Mark(ctx context.Context, m session.Marker, at time.Time, keep time.Duration) error {
	if err := s.writing(ctx, &s.marks); err != nil {
		return err
	}
	return s.Store.Mark(ctx, m, at, keep)
}

func (s *watchedStore) Publish(ctx context.Context, rs ...session.Revocation) error {
	if err := s.writing(ctx, &s.marks); err != nil {
		return err
	}
	return s.Store.Publish(ctx, rs...)
}

func (s *watchedStore) Published(ctx context.Context, after string) ([]session.Revocation, string, bool, error) {
	if err := s.reading(ctx); err != nil {
		return nil, "", false, err
	}
	return s.Store.Published(ctx, after)
}

func (s *watchedStore) Lease(ctx context.Context, name, holder string, keep time.Duration) (bool, error) {
	if err := s.writing(ctx, &s.leases); err != nil {
		return false, err
	}
	return s.Store.Lease(ctx, name, holder, keep)
}

func (s *watchedStore) Marked(ctx context.Context, ms ...session.Marker) ([]time.Time, error) {
	if err := s.reading(ctx); err != nil {
		return nil, err
	}
	return s.Store.Marked(ctx, ms...)
}

func (s *watchedStore) List(ctx context.Context, filter session.Filter, cursor string, limit int) ([]session.Row, string, error) {
	if err := s.reading(ctx); err != nil {
		return nil, "", err
	}
	return s.Store.List(ctx, filter, cursor, limit)
}

func (s *watchedStore) Now(ctx context.Context) (time.Time, error) {
	if err := s.reading(ctx); err != nil {
		return time.Time{}, err
	}
	return s.Store.Now(ctx)
}

func (s *watchedStore) Ping(ctx context.Context) error {
	if err := s.reading(ctx); err != nil {
		return err
	}
	return s.Store.Ping(ctx)
}
