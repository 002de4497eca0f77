package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"portero/internal/session"
)

// Consume implements session.Store.
func (s *Store) Consume(ctx context.Context, mark string, keep time.Duration) (bool, time.Time, error) {
	reply, err := s.run(ctx, consume, s.key(markKind, mark), keep.Microseconds())
	if err != nil {
		return false, time.Time{}, fmt.Errorf("consuming mark: %w", err)
	}
	if len(reply) != 2 {
		return false, time.Time{}, fmt.Errorf("consuming mark: %w", errReply)
	}
	at, err := parseMicros(text(reply[1]))
	if err != nil {
		return false, time.Time{}, fmt.Errorf("consuming mark: %w", errReply)
	}
	return reply[0] == int64(1), at, nil
}

// Mark implements session.Store.
func (s *Store) Mark(ctx context.Context, m session.Marker, at time.Time, keep time.Duration) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	if _, err := fixed(at); err != nil || at.IsZero() {
		return fmt.Errorf("setting marker: %w", errTime)
	}
	if _, err := s.run(ctx, mark, s.markerKey(m), micros(at), keep.Microseconds()); err != nil {
		return fmt.Errorf("setting marker: %w", err)
	}
	return nil
}

// Marked implements session.Store: one round trip of independent reads. Markers leave
// by the server's own expiry.
func (s *Store) Marked(ctx context.Context, ms ...session.Marker) ([]time.Time, error) {
	if err := s.believed(ctx); err != nil {
		return nil, fmt.Errorf("reading markers: %w", err)
	}
	times := make([]time.Time, len(ms))
	if len(ms) == 0 {
		return times, nil
	}
	pipe := s.client.Pipeline()
	reads := make([]*redis.StringCmd, len(ms))
	for i, m := range ms {
		reads[i] = pipe.Get(ctx, s.markerKey(m))
	}
	pipe.Exec(ctx) // each read has its own error
	for i, read := range reads {
		value, err := read.Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			s.lost(ctx, err)
			return nil, fmt.Errorf("reading markers: %w", s.plain(ctx, err))
		}
		if times[i], err = parseMarker(value); err != nil {
			return nil, fmt.Errorf("reading markers: %w", err)
		}
	}
	return times, nil
}

// parseMarker reads "1 at until".
func parseMarker(value string) (time.Time, error) {
	fields := strings.Split(value, " ")
	if len(fields) != 3 || fields[0] != format {
		return time.Time{}, errMarker
	}
	at, err := parseMicros(fields[1])
	if err != nil {
		return time.Time{}, errMarker
	}
	if _, err := parseMicros(fields[2]); err != nil {
		return time.Time{}, errMarker
	}
	return at, nil
}

// Lease implements session.Store.
func (s *Store) Lease(ctx context.Context, name, holder string, keep time.Duration) (bool, error) {
	reply, err := s.run(ctx, lease, s.key(leaseKind, name), holder, keep.Microseconds())
	if err != nil {
		return false, fmt.Errorf("taking lease: %w", err)
	}
	return reply[0] == int64(1), nil
}

// Release implements session.Store.
func (s *Store) Release(ctx context.Context, name, holder string) (bool, error) {
	reply, err := s.run(ctx, release, s.key(leaseKind, name), holder)
	if err != nil {
		return false, fmt.Errorf("releasing lease: %w", err)
	}
	return reply[0] == int64(1), nil
}
