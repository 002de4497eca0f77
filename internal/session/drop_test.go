package session_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"portero/internal/session"
)

func TestDrop(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		failing string // operations that fail
		want    session.Reason
		err     bool
	}{
		{"all is well", "", session.Unknown, false},
		{"the row stays, its marker ends it", "delete", session.EndedReason, false},
		{"no marker, but it is known here and said again", "mark", session.EndedReason, true},
		{"neither", "delete mark", session.EndedReason, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t, nil)
			x, c := s.start(person(t, "ann", "s1"))
			_, other := s.start(person(t, "ann", "s1"))
			s.store.failing(func(_ context.Context, op string) error {
				if op == "delete" && row.failing != "" && row.failing != "mark" || op == "mark" && row.failing != "" && row.failing != "delete" {
					return errors.New("broken")
				}
				return nil
			})
			if err := s.Drop(t.Context(), x); (err != nil) != row.err || err != nil && !errors.Is(err, session.ErrUnavailable) {
				t.Errorf("Drop: %v, want an error: %t", err, row.err)
			}
			if row.err {
				if got, err := s.Lookup(t.Context(), with(c), host); !errors.Is(err, session.ErrUnavailable) {
					t.Errorf("Lookup = %+v, %v; want ErrUnavailable: it is over here, and the others cannot be told", got, err)
				}
				s.store.failing(breaks())
			}
			s.wantReason(c, row.want)
			s.wantReason(other, session.Found)
			if at, err := s.FreshAfter(t.Context(), "s1", "ann"); !at.IsZero() || err != nil {
				t.Errorf("FreshAfter = %s, %v; want none", at, err)
			}
		})
	}
}

func TestIdleEnds(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ idle, lifetime, want time.Duration }{
		{time.Hour, 10 * time.Hour, time.Hour},
		{time.Hour, 30 * time.Minute, 30 * time.Minute},
		{0, 10 * time.Hour, 10 * time.Hour},
	} {
		s := newSetup(t, func(c *session.Config) { c.IdleTimeout, c.Lifetime = row.idle, row.lifetime })
		x, _ := s.start(person(t, "ann", "s1"))
		if got := s.IdleEnds(x).Sub(x.CreatedAt); got != row.want {
			t.Errorf("idle %s of %s: ends after %s, want %s", row.idle, row.lifetime, got, row.want)
		}
	}
}
