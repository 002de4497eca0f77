package session_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"portero/internal/session"
	"portero/internal/session/memstore"
)

// SR-02: a store that hangs holds nobody longer than half a second.
func TestStoreThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &faulty{Store: memstore.New(memstore.Config{})}
		defer store.Close()
		s := newSetupOn(t, store, nil, func(c *session.Config) { c.Now = nil })
		live, c := s.start(person(t, "ann", "s1"))
		store.failing(func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() })
		ctx := context.Background()
		for name, call := range map[string]func() error{
			"Lookup":     func() error { _, err := s.Lookup(ctx, with(c), host); return err },
			"Start":      func() error { _, err := s.Start(ctx, httptest.NewRecorder(), person(t, "a", "")); return err },
			"Update":     func() error { _, _, err := s.Update(ctx, live, func(*session.Session) {}); return err },
			"Consume":    func() error { _, _, err := s.Consume(ctx, "x"); return err },
			"FreshAfter": func() error { _, err := s.FreshAfter(ctx, "x", "y"); return err },
			"Ping":       func() error { return s.Ping(ctx) },
		} {
			began := time.Now()
			err := call()
			if took := time.Since(began); took != 500*time.Millisecond {
				t.Errorf("%s took %s, want 500ms", name, took)
			}
			if !errors.Is(err, session.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v, want ErrUnavailable", name, err)
			}
		}
		gone, cancel := context.WithCancel(ctx)
		cancel()
		before := s.events.of(session.EventStoreError)
		if _, err := s.Lookup(gone, with(c), host); !errors.Is(err, session.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("a client that went away: %v", err)
		}
		if got := s.events.of(session.EventStoreError); got != before {
			t.Error("a client that went away counts as trouble of the store")
		}
	})
}

func TestEnd(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	first, a := s.start(person(t, "ann", "s1"))  // wiki
	_, b := s.start(person(t, "ann", "s1"))      // another host, same browser
	_, other := s.start(person(t, "ann", "s2"))  // another browser
	_, somebody := s.start(person(t, "bob", "")) // no sid at all
	s.clock.Advance(time.Second)
	ended := s.clock.Now()
	if err := s.End(t.Context(), first, true); err != nil {
		t.Fatal(err)
	}
	s.wantReason(a, session.Unknown)
	s.wantReason(b, session.Unknown)
	s.wantReason(other, session.Found)
	s.wantReason(somebody, session.Found)
	if got, err := s.FreshAfter(t.Context(), "s1", "ann"); err != nil || !got.Equal(ended) {
		t.Errorf("FreshAfter = %s, %v; want %s", got, err, ended)
	}
	if got, err := s.FreshAfter(t.Context(), "s2", "ann"); err != nil || !got.IsZero() {
		t.Errorf("FreshAfter of the other browser = %s, %v; want none", got, err)
	}
	s.clock.Advance(time.Second)
	_, again := s.start(person(t, "ann", "s1")) // the same sid may sign in anew
	s.wantReason(again, session.Found)

	if err := s.End(t.Context(), first, true); err != nil { // twice is fine, and ends the new one: it has that sid
		t.Errorf("End again: %v", err)
	}
}

// Without listing, the markers alone end other hosts' sessions.
func TestMarkersEndWhatListingMisses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		end  func(*setup, *session.Session) error
		// which of: the session itself, same sid, same subject
		want [3]session.Reason
	}{
		{"by sid", func(s *setup, x *session.Session) error { return s.End(s.ctx(), x, true) },
			[3]session.Reason{session.Unknown, session.EndedReason, session.Found}},
		{"this one alone", func(s *setup, x *session.Session) error { return s.End(s.ctx(), x, false) },
			[3]session.Reason{session.Unknown, session.Found, session.Found}},
		{"revoked", func(s *setup, x *session.Session) error { return s.Revoke(s.ctx(), x) },
			[3]session.Reason{session.Unknown, session.Found, session.Found}},
		{"subject", func(s *setup, x *session.Session) error { _, err := s.EndSubject(s.ctx(), "ann", true); return err },
			[3]session.Reason{session.EndedReason, session.EndedReason, session.EndedReason}},
		{"sid from the provider", func(s *setup, x *session.Session) error { _, err := s.EndSID(s.ctx(), "s1", false); return err },
			[3]session.Reason{session.EndedReason, session.EndedReason, session.Found}},
	} {
		for _, temperature := range []string{"warm", "cold"} {
			t.Run(row.name+" "+temperature, func(t *testing.T) {
				t.Parallel()
				s := newSetup(t, nil)
				x, a := s.start(person(t, "ann", "s1"))
				_, b := s.start(person(t, "ann", "s1"))
				_, c := s.start(person(t, "ann", "s2"))
				_, d := s.start(person(t, "bob", "s3"))
				cookies := []*http.Cookie{a, b, c}
				if temperature == "warm" {
					for _, c := range cookies {
						s.wantReason(c, session.Found)
					}
				} else {
					s.Manager, _ = session.NewManager(s.config)
				}
				s.store.failing(breaks("list"))
				if err := row.end(s, x); err != nil {
					t.Fatal(err)
				}
				look := func() {
					for i, c := range cookies {
						s.wantReason(c, row.want[i])
					}
					s.wantReason(d, session.Found)
				}
				look()
				deleted := 0
				for _, reason := range row.want {
					if reason == session.Unknown {
						deleted++
					}
				}
				if rows, _ := s.store.Store.(session.Counter).Count(t.Context()); rows != 4-deleted {
					t.Errorf("%d rows: some went before their refresh tokens could be read", rows)
				}
				s.clock.Advance(2 * time.Minute)
				look()
				s.store.failing(breaks())
				rows, _ := s.Count(t.Context())
				want := 4
				for _, reason := range row.want {
					if reason != session.Found {
						want--
					}
				}
				if rows != want {
					t.Errorf("%d rows left, want %d: looked-up rows are cleared away", rows, want)
				}
			})
		}
	}
}

func (s *setup) ctx() context.Context { return context.Background() }

func TestRowThatCannotBeDeletedIsEndedByItsMarker(t *testing.T) {
	t.Parallel()
	for _, bySID := range []bool{false, true} {
		s := newSetup(t, nil)
		x, c := s.start(person(t, "ann", "s1"))
		s.store.failing(breaks("delete"))
		if err := s.End(t.Context(), x, bySID); err != nil {
			t.Fatal(err)
		}
		s.wantReason(c, session.EndedReason)
		if _, ok, err := s.Update(t.Context(), x, func(*session.Session) {}); ok || err != nil {
			t.Errorf("Update of an ended session = %t, %v; want false", ok, err)
		}
		s.wantReason(c, session.EndedReason)
		s.clock.Advance(336*time.Hour - time.Minute) // the marker lives as long as the row could
		if got := s.lookup(c); got.Session != nil {
			t.Error("the session came back when its marker went")
		}
	}
}

// The session began before the sign-out that arrived during its sign-in.
func TestSignInThatASignOutOvertook(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	n := person(t, "ann", "s1")
	var err error
	if n.Began, err = s.Now(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.clock.Advance(time.Second)
	if _, err := s.EndSID(t.Context(), "s1", true); err != nil {
		t.Fatal(err)
	}
	s.clock.Advance(time.Second)
	_, c := s.start(n)
	s.wantReason(c, session.EndedReason)
	n.Began = time.Time{}
	_, c = s.start(n)
	s.wantReason(c, session.Found)
}

// SE-09, SE-10, SE-11: nothing that was under way brings a session back.
func TestNoResurrection(t *testing.T) {
	t.Parallel()
	for _, bySID := range []bool{false, true} {
		s := newSetup(t, nil)
		_, c := s.start(person(t, "ann", "s1"))
		before := s.whole(c)
		s.clock.Advance(5 * time.Minute) // a touch is due
		var slow session.Lookup
		s.store.after.Store(func(string) { // between the slow request's read and its touch
			s.store.after.Store(func(string) {})
			if err := s.End(t.Context(), before, bySID); err != nil {
				t.Error(err)
			}
		})
		slow = s.lookup(c)
		if slow.Session != nil {
			t.Error("a request that was answered after the sign-out was served")
		}
		got, ok, err := s.Update(t.Context(), before, func(u *session.Session) { u.RefreshToken = "new" })
		if got != nil || ok || err != nil {
			t.Errorf("Update after End = %v, %t, %v; want false", got, ok, err)
		}
		s.wantReason(c, session.Unknown)
		if rows, _ := s.Count(t.Context()); rows != 0 {
			t.Errorf("%d rows, want none", rows)
		}
	}
}

func TestTouchAfterEndIsNoSession(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	x, c := s.start(person(t, "ann", "s1"))
	s.clock.Advance(5 * time.Minute)
	s.store.failing(func(ctx context.Context, op string) error {
		if op == "touch" { // everything was read already
			s.store.Store.Delete(ctx, x.Key)
		}
		return nil
	})
	s.wantReason(c, session.Unknown)
}

// SE-03, RT-06
func TestUpdate(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	first, c := s.start(person(t, "ann", "s1"))
	retry := s.clock.Now().Add(time.Minute)
	got, ok, err := s.Update(t.Context(), first, func(u *session.Session) {
		u.AccessToken, u.RefreshToken, u.RetryAt, u.UnreachableSince = "a2", "r2", retry, retry
		u.IDToken = idToken(t, map[string]any{"sub": "ann", "name": "Ann Two"})
		u.Key, u.ID, u.Version, u.Subject, u.Host = "x", "x", 99, "bob", "evil"
		u.CreatedAt, u.ExpiresAt = retry, retry
	})
	if !ok || err != nil {
		t.Fatalf("Update = %t, %v", ok, err)
	}
	if got.Key != first.Key || got.ID != first.ID || got.Version != first.Version+1 || got.Subject != "ann" || got.Host != first.Host ||
		!got.CreatedAt.Equal(first.CreatedAt) || !got.ExpiresAt.Equal(first.ExpiresAt) {
		t.Errorf("Update changed what is not the caller's: %+v", got)
	}
	if got.RefreshToken != "r2" || got.Identity.Name != "Ann Two" || !got.RetryAt.Equal(retry) || first.RefreshToken != "refresh of ann" {
		t.Errorf("Update = %+v", got)
	}
	if look := s.wantReason(c, session.Found); look.Session.Identity.Name != "Ann Two" {
		t.Errorf("Lookup = %+v", look.Session)
	}
	if found := s.whole(c); found.RefreshToken != "r2" {
		t.Errorf("Find = %+v", found)
	}
	// The old snapshot lost: an older token set never overwrites a newer one.
	if _, ok, err := s.Update(t.Context(), first, func(u *session.Session) { u.RefreshToken = "r1" }); ok || err != nil {
		t.Errorf("Update of an old snapshot = %t, %v; want false", ok, err)
	}
	if look, err := s.Reload(t.Context(), first); err != nil || look.Session.RefreshToken != "r2" {
		t.Errorf("Reload = %+v, %v", look, err)
	}
	// RT-07: another subject is refused.
	_, ok, err = s.Update(t.Context(), got, func(u *session.Session) { u.IDToken = idToken(t, map[string]any{"sub": "bob"}) })
	if ok || err == nil || errors.Is(err, session.ErrUnavailable) {
		t.Errorf("Update to another subject = %t, %v; want an error", ok, err)
	}
	// A cancelled request does not lose a renewed token.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, ok, err := s.Update(ctx, got, func(u *session.Session) { u.RefreshToken = "r3" }); !ok || err != nil {
		t.Errorf("Update in a cancelled request = %t, %v", ok, err)
	}
	won := make(chan bool, 50)
	now := s.whole(c)
	parallel(50, func() {
		_, ok, err := s.Update(t.Context(), now, func(u *session.Session) { u.RefreshToken = "r4" })
		won <- ok && err == nil
	})
	close(won)
	n := 0
	for ok := range won {
		if ok {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d of 50 updates won, want 1", n)
	}
}

func TestUpdateKeepsTheTimeOfUse(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	first, c := s.start(person(t, "ann", "s1"))
	s.clock.Advance(10 * time.Minute)
	s.wantReason(c, session.Found) // touched
	used := s.clock.Now()
	if _, ok, err := s.Update(t.Context(), first, func(u *session.Session) { u.RefreshToken = "r2" }); !ok || err != nil {
		t.Fatalf("a touch is no new version: Update = %t, %v", ok, err)
	}
	if got := s.lookup(c).Session.LastUsed; !got.Equal(used) {
		t.Errorf("last used %s, want %s", got, used)
	}
}

func TestLiveWithSID(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	a, _ := s.start(person(t, "ann", "s1"))
	want := func(what string, sid string, want bool) {
		t.Helper()
		if got, err := s.LiveWithSID(t.Context(), sid, a.Key); got != want || err != nil {
			t.Errorf("%s: LiveWithSID = %t, %v; want %t", what, got, err, want)
		}
	}
	want("alone", "s1", false)
	want("empty", "", false)
	s.start(person(t, "ann", ""))
	s.start(person(t, "ann", "s2"))
	want("others have another", "s1", false)
	b, _ := s.start(person(t, "ann", "s1"))
	want("two", "s1", true)
	if err := s.End(t.Context(), b, false); err != nil {
		t.Fatal(err)
	}
	want("the other ended", "s1", false)
	s.clock.Advance(time.Second)
	_, c := s.start(person(t, "ann", "s1"))
	want("another again", "s1", true)
	s.clock.Advance(25 * time.Hour)
	want("the other idles, nobody has looked", "s1", false)
	s.wantReason(c, session.Idle)
	want("the other idles", "s1", false)
}

func TestListing(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	a, _ := s.start(person(t, "ann", "s1"))
	s.clock.Advance(time.Minute)
	b, _ := s.start(person(t, "ann", "s2"))
	c, _ := s.start(person(t, "bob", "s3"))
	// Another client on the same store is not ours to see.
	stranger := s.config
	stranger.ClientID = "another"
	m, _ := session.NewManager(stranger)
	m.Start(t.Context(), httptest.NewRecorder(), person(t, "ann", "s1"))

	got, err := s.SessionsOf(t.Context(), "ann")
	if err != nil || len(got) != 2 || got[0].Key != b.Key || got[1].Key != a.Key {
		t.Errorf("SessionsOf = %v, %v; want the last used first", got, err)
	}
	seen := map[string]bool{}
	for cursor := ""; ; {
		page, next, err := s.Search(t.Context(), session.Selection{}, cursor, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range page {
			seen[x.Key] = true
		}
		if next == "" {
			break
		}
		cursor = next
	}
	if len(seen) != 3 || !seen[a.Key] || !seen[b.Key] || !seen[c.Key] {
		t.Errorf("Search = %v, want our three", seen)
	}
	ended, err := s.EndSubject(t.Context(), "ann", false)
	if err != nil {
		t.Errorf("EndSubject: %v", err)
	}
	cleared, err := s.Clear(t.Context(), ended)
	if len(cleared) != 2 || err != nil {
		t.Errorf("Clear = %v, %v; want two", cleared, err)
	}
	for _, x := range cleared {
		if x.RefreshToken == "" {
			t.Error("a session was cleared without saying what its refresh token is")
		}
	}
	if got, err := s.SessionsOf(t.Context(), "ann"); len(got) != 0 || err != nil {
		t.Errorf("SessionsOf after their end = %v, %v", got, err)
	}
	if got, err := m.SessionsOf(t.Context(), "ann"); len(got) != 1 || err != nil {
		t.Errorf("the other client's session ended too: %v, %v", got, err)
	}
	if got, _ := s.FreshAfter(t.Context(), "", "ann"); !got.IsZero() {
		t.Errorf("EndSubject without fresh left a marker of %s", got)
	}
}

func TestConsume(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	at := s.clock.Now()
	for i, want := range []bool{true, false, false} {
		first, got, err := s.Consume(t.Context(), "state")
		if first != want || err != nil || !got.Equal(at) {
			t.Errorf("call %d: Consume = %t, %s, %v; want %t, %s", i, first, got, err, want, at)
		}
		s.clock.Advance(12 * time.Hour)
	}
	other := s.config
	other.Issuer = "https://other.logto.app/oidc"
	m, _ := session.NewManager(other)
	if first, _, err := m.Consume(t.Context(), "state"); !first || err != nil {
		t.Errorf("another issuer's mark is ours: %t, %v", first, err)
	}
}

func TestEndingFinishesThoughTheClientIsGone(t *testing.T) {
	t.Parallel()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, row := range []struct {
		name string
		end  func(*setup, *session.Session) error
		want session.Reason
	}{
		{"End", func(s *setup, x *session.Session) error { return s.End(gone, x, true) }, session.Unknown},
		{"Revoke", func(s *setup, x *session.Session) error { return s.Revoke(gone, x) }, session.Unknown},
		{"Drop", func(s *setup, x *session.Session) error { return s.Drop(gone, x) }, session.Unknown},
		{"EndSubject", func(s *setup, x *session.Session) error { _, err := s.EndSubject(gone, "ann", true); return err }, session.EndedReason},
		{"EndSID", func(s *setup, x *session.Session) error { _, err := s.EndSID(gone, "s1", true); return err }, session.EndedReason},
	} {
		s := newSetup(t, nil)
		x, c := s.start(person(t, "ann", "s1"))
		if err := row.end(s, x); err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
		s.wantReason(c, row.want)
	}
}

// Somebody who signs in while the old sessions are being cleared away stays signed in.
func TestEndingSparesWhoSignsInMeanwhile(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	x, old := s.start(person(t, "ann", "s1"))
	var fresh *http.Cookie
	s.store.failing(func(_ context.Context, op string) error {
		if op == "list" && fresh == nil { // after the marker, before the rows are listed
			s.clock.Advance(time.Microsecond)
			_, fresh = s.start(person(t, "ann", "s1"))
		}
		return nil
	})
	if err := s.End(t.Context(), x, true); err != nil {
		t.Fatal(err)
	}
	s.wantReason(old, session.Unknown)
	s.wantReason(fresh, session.Found)
}
