package session_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"portero/internal/session"
)

// Asking how a session stands says what the store knows, and is no use of it.
func TestStanding(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		do     func(s *setup, x *session.Session, c *http.Cookie)
		ends   time.Duration // after the beginning; 0: it is over
		reason session.Reason
		fresh  bool
	}{
		{"untouched", func(*setup, *session.Session, *http.Cookie) {}, 24 * time.Hour, session.Found, false},
		{"long unused", func(s *setup, _ *session.Session, _ *http.Cookie) { s.clock.Advance(23 * time.Hour) }, 24 * time.Hour, session.Found, false},
		{"used", func(s *setup, _ *session.Session, c *http.Cookie) { s.clock.Advance(23 * time.Hour); s.lookup(c) }, 47 * time.Hour, session.Found, false},
		{"idled", func(s *setup, _ *session.Session, _ *http.Cookie) { s.clock.Advance(24 * time.Hour) }, 0, session.Idle, true},
		{"expired", func(s *setup, _ *session.Session, _ *http.Cookie) { s.clock.Advance(336 * time.Hour) }, 0, session.Unknown, false},
		{"signed out", func(s *setup, x *session.Session, _ *http.Cookie) { s.End(s.TB.Context(), x, false) }, 0, session.Unknown, true},
		{"the person is over", func(s *setup, _ *session.Session, _ *http.Cookie) { s.EndSubject(s.TB.Context(), "ann", false) }, 0, session.EndedReason, false},
		{"opened by an old key", func(s *setup, _ *session.Session, c *http.Cookie) {
			next := newSetupOn(s, s.store, s.clock, func(c *session.Config) { c.Keys = keys(s, 'n', 'k') })
			s.Manager, s.events = next.Manager, next.events
		}, 24 * time.Hour, session.Found, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t, nil)
			x, c := s.start(person(t, "ann", "s1"))
			row.do(s, x, c)
			touches := s.store.touches.Load()
			for range 2 {
				ends, expires, ok, err := s.Standing(t.Context(), x.Names[0])
				if err != nil || ok != (row.ends != 0) {
					t.Fatalf("Standing: %t, %v", ok, err)
				}
				if ok && (ends.Sub(x.CreatedAt) != row.ends || !expires.Equal(x.ExpiresAt)) {
					t.Errorf("ends after %s, want %s; expires %s, want %s", ends.Sub(x.CreatedAt), row.ends, expires, x.ExpiresAt)
				}
			}
			if got := s.store.touches.Load() - touches; got != 0 {
				t.Errorf("asking was counted as %d uses", got)
			}
			if row.name == "opened by an old key" && s.events.of(session.EventResealed) != 1 {
				t.Errorf("resealed %d times, want once", s.events.of(session.EventResealed))
			}
			s.wantReason(c, row.reason)
			if at, err := s.FreshAfter(t.Context(), "s1", "ann"); at.IsZero() == row.fresh || err != nil {
				t.Errorf("FreshAfter = %s, %v; want one: %t", at, err, row.fresh)
			}
		})
	}
}

func TestStandingOfNothing(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	x, c := s.start(person(t, "ann", "s1"))
	if _, _, ok, err := s.Standing(t.Context(), x.Names[1]); ok || err == nil {
		t.Errorf("a person's name: got %t, %v; want an error", ok, err)
	}
	if _, _, ok, err := s.Standing(t.Context(), "session:unknown"); ok || err != nil {
		t.Errorf("an unknown session: got %t, %v", ok, err)
	}
	s.store.failing(func(context.Context, string) error { return errors.New("broken") })
	if _, _, ok, err := s.Standing(t.Context(), x.Names[0]); ok || !errors.Is(err, session.ErrUnavailable) {
		t.Errorf("a store that is away: got %t, %v", ok, err)
	}
	s.store.failing(breaks())
	s.wantReason(c, session.Found)
}
