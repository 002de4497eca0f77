package session_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"portero/internal/session"
	"portero/internal/session/memstore"
)

// replicas are managers over one store whose logs are read, in a bubble: time passes
// only when everybody waits.
type replicas struct {
	a, b   *setup
	stores [2]*faulty
	ended  [2]*names
	missed [2]*atomic.Int64
}

type names struct {
	mu  sync.Mutex
	all []session.Revocation
}

func (n *names) add(r session.Revocation) { n.mu.Lock(); n.all = append(n.all, r); n.mu.Unlock() }

// count says how often a name was told.
func (n *names) count(name string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	count := 0
	for _, r := range n.all {
		if r.By == name {
			count++
		}
	}
	return count
}

func newReplicas(t *testing.T, change func(*session.Config)) *replicas {
	t.Helper()
	shared := memstore.New(memstore.Config{})
	r := &replicas{}
	ctx, stop := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	for i, to := range []**setup{&r.a, &r.b} {
		store := &faulty{Store: shared}
		r.stores[i], r.ended[i], r.missed[i] = store, &names{}, &atomic.Int64{}
		*to = newSetupOn(t, store, nil, func(c *session.Config) {
			c.Now = nil
			c.Revocations = session.NewRevocations(session.RevocationsConfig{
				Store: store, Ended: r.ended[i].add, Missed: func() { r.missed[i].Add(1) }, Log: c.Log,
			})
			if change != nil {
				change(c)
			}
		})
		wait.Go(func() { (*to).config.Revocations.Run(ctx) })
	}
	t.Cleanup(func() { stop(); wait.Wait(); shared.Close() })
	pass(2 * time.Second) // the logs are current
	for i := range r.missed {
		if got := r.missed[i].Swap(0); got != 1 {
			t.Errorf("replica %d was told %d times at the beginning that it may have missed something, want once", i, got)
		}
	}
	return r
}

// pass lets the time of the bubble pass.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// asks counts what a lookup asks of the store.
func asks(s *setup, c *http.Cookie) int64 {
	before := s.store.calls.Load()
	s.lookup(c)
	return s.store.calls.Load() - before
}

func TestReadySessionsAreNotRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, func(c *session.Config) { c.IdleTimeout = 10 * time.Minute }) // touched each 30 s
		_, c := r.a.start(person(t, "ann", "s1"))
		if asks(r.a, c) == 0 {
			t.Error("a session was found that the store was not asked for")
		}
		for range 29 {
			pass(time.Second)
			if n := asks(r.a, c); n != 0 {
				t.Fatalf("a lookup of a session that is ready asked the store %d times", n)
			}
		}
		pass(2 * time.Second)
		if asks(r.a, c) == 0 || r.stores[0].touches.Load() != 1 {
			t.Errorf("%d touches after a touch interval, want 1", r.stores[0].touches.Load())
		}
		if n := asks(r.a, c); n != 0 {
			t.Errorf("a lookup after the touch asked the store %d times", n)
		}
	})
}

func TestCacheEndsWithTheSession(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name           string
		lifetime, idle time.Duration
		want           session.Reason
	}{
		{"absolute end", 10 * time.Second, 0, session.Expired},
		{"absolute end before idling", 10 * time.Second, time.Hour, session.Expired},
		{"idle", time.Hour, 10 * time.Second, session.Idle},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newReplicas(t, func(c *session.Config) { c.Lifetime, c.IdleTimeout = row.lifetime, row.idle })
				_, c := r.a.start(person(t, "ann", "s1"))
				r.a.wantReason(c, session.Found)
				pass(10*time.Second - time.Millisecond)
				r.b.wantReason(c, session.Found) // which is use, where sessions idle
				pass(time.Millisecond)
				if got := r.a.lookup(c); (got.Session != nil) != (row.want == session.Idle) {
					t.Errorf("at its end: %+v", got)
				}
				pass(10 * time.Second)
				if got := r.a.lookup(c); got.Session != nil {
					t.Errorf("past its end the session is found")
				}
			})
		})
	}
}

// What ends on one replica ends on the other for every request that begins a second
// later, whatever the moment; and each tells its live connections.
func TestReplicasLearnWhatEnded(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*setup, *session.Session) error{
		"End by sid": func(s *setup, x *session.Session) error { return s.End(s.ctx(), x, true) },
		"End":        func(s *setup, x *session.Session) error { return s.End(s.ctx(), x, false) },
		"Revoke":     func(s *setup, x *session.Session) error { return s.Revoke(s.ctx(), x) },
		"Drop":       func(s *setup, x *session.Session) error { return s.Drop(s.ctx(), x) },
		"EndSID":     func(s *setup, x *session.Session) error { _, err := s.EndSID(s.ctx(), "s1", true); return err },
		"EndSubject": func(s *setup, x *session.Session) error { _, err := s.EndSubject(s.ctx(), "ann", true); return err },
		"signing in again": func(s *setup, x *session.Session) error {
			n := person(s, "ann", "s1")
			n.Replace = x
			s.start(n)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newReplicas(t, nil)
				for i := range 10 { // moments between two readings
					x, c := r.a.start(person(t, "ann", "s1"))
					_, bob := r.a.start(person(t, "bob", "s2"))
					pass(time.Duration(i) * 101 * time.Millisecond)
					for _, s := range []*setup{r.a, r.b} {
						s.wantReason(c, session.Found)
						s.wantReason(c, session.Found)
						s.wantReason(bob, session.Found)
					}
					if err := end(r.a, x); err != nil {
						t.Fatal(err)
					}
					if got := r.a.lookup(c); got.Session != nil {
						t.Fatal("the session is found where it was ended")
					}
					pass(time.Second + time.Microsecond)
					if got := r.b.lookup(c); got.Session != nil {
						t.Fatal("the session is found on the other replica a second later")
					}
					for j, s := range []*setup{r.a, r.b} {
						told := 0
						for _, name := range x.Names {
							told += r.ended[j].count(name)
						}
						if told == 0 {
							t.Errorf("replica %d was not told", j)
						}
						s.wantReason(bob, session.Found)
					}
				}
			})
		})
	}
}

// A revocation names what was there: whoever signs in after it stays.
func TestNewSessionsOutliveOldRevocations(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, nil)
		_, old := r.a.start(person(t, "ann", "s1"))
		if _, err := r.a.EndSubject(t.Context(), "ann", false); err != nil {
			t.Fatal(err)
		}
		pass(time.Microsecond)
		_, c := r.a.start(person(t, "ann", "s1"))
		pass(2 * time.Second)
		r.b.wantReason(old, session.EndedReason)
		for range 3 {
			r.b.wantReason(c, session.Found)
		}
		if n := asks(r.b, c); n != 0 {
			t.Errorf("the new session is not kept: %d calls of the store", n)
		}
	})
}

// Contact is lost: what is in memory counts for a second, then nobody knows. Contact
// is back: all goes on.
func TestContactLost(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]func(context.Context, string) error{
		"refuses": func(context.Context, string) error { return errors.New("refused") },
		"hangs":   func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newReplicas(t, nil)
				x, c := r.a.start(person(t, "ann", "s1"))
				r.b.wantReason(c, session.Found)
				r.stores[1].failing(trouble)
				if err := r.a.End(t.Context(), x, true); err != nil {
					t.Fatal(err)
				}
				pass(time.Second)
				if _, err := r.b.Lookup(t.Context(), with(c), host); !errors.Is(err, session.ErrUnavailable) {
					t.Errorf("a second after contact was lost: %v, want ErrUnavailable", err)
				}
				r.stores[1].failing(breaks())
				pass(2 * time.Second)
				if got := r.b.lookup(c); got.Session != nil {
					t.Error("what ended meanwhile is found")
				}
				if r.ended[1].count(x.Names[2]) == 0 {
					t.Error("what ended meanwhile was not told")
				}
				if n := r.missed[1].Load(); n != 0 {
					t.Errorf("something counts as missed, though the log has it: %d times", n)
				}
			})
		})
	}
}

// Of a sign-out that the store could not be told, nothing is lost: it is said again.
func TestRevocationsAreSaidAgain(t *testing.T) {
	t.Parallel()
	for _, failing := range []string{"now", "mark", "publish"} {
		t.Run(failing, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newReplicas(t, nil)
				x, c := r.a.start(person(t, "ann", "s1"))
				r.a.wantReason(c, session.Found)
				r.b.wantReason(c, session.Found)
				r.stores[0].failing(breaks(failing))
				if err := r.a.End(t.Context(), x, true); !errors.Is(err, session.ErrUnavailable) {
					t.Fatalf("End = %v, want ErrUnavailable", err)
				}
				if _, found, err := r.b.store.Get(t.Context(), x.Key); !found || err != nil {
					t.Errorf("the row is gone (%t, %v), and with it what others would find the marker by", found, err)
				}
				r.stores[0].failing(breaks())
				pass(2 * time.Second)
				for _, s := range []*setup{r.a, r.b} {
					if got := s.lookup(c); got.Session != nil {
						t.Error("the session lives on")
					}
				}
			})
		})
	}
}

// A store that failed over has forgotten the last seconds: rows are back, markers and
// the end of the log are gone.
func TestStoreThatForgets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, nil)
		x, c := r.a.start(person(t, "ann", "s1"))
		y, other := r.a.start(person(t, "bob", "s2"))
		row, _, err := r.a.store.Store.Get(t.Context(), x.Key)
		if err != nil {
			t.Fatal(err)
		}
		rowOfBob, _, _ := r.a.store.Store.Get(t.Context(), y.Key)
		for _, s := range []*setup{r.a, r.b} {
			s.wantReason(c, session.Found)
			s.wantReason(other, session.Found)
		}
		if err := r.a.End(t.Context(), x, true); err != nil {
			t.Fatal(err)
		}
		before := memstore.New(memstore.Config{}) // the new master
		defer before.Close()
		for _, row := range []session.Row{row, rowOfBob} {
			if err := before.Create(t.Context(), row); err != nil {
				t.Fatal(err)
			}
		}
		for _, store := range r.stores {
			store.swap(before)
		}
		if got := r.a.lookup(c); got.Session != nil {
			t.Error("the replica that ended the session lets it in until it has said so again")
		}
		pass(2 * time.Second)
		for i, s := range []*setup{r.a, r.b} {
			if got := s.lookup(c); got.Session != nil {
				t.Errorf("replica %d: the session is back", i)
			}
			if s.wantReason(other, session.Found); r.missed[i].Load() != 1 {
				t.Errorf("replica %d was told %d times that it may have missed something, want once", i, r.missed[i].Load())
			}
		}
	})
}

// A sign-out that failed is known here; whoever asks again is not told that it is done
// before the others can know.
func TestNobodyIsToldBeforeTheOthers(t *testing.T) {
	t.Parallel()
	for _, failing := range []string{"now", "mark", "publish"} {
		t.Run(failing, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newReplicas(t, nil)
				x, c := r.a.start(person(t, "ann", "s1"))
				_, place, _, err := r.b.store.Published(t.Context(), "")
				if err != nil {
					t.Fatal(err)
				}
				r.stores[0].failing(breaks(failing))
				if err := r.a.End(t.Context(), x, true); !errors.Is(err, session.ErrUnavailable) {
					t.Fatalf("End = %v, want ErrUnavailable", err)
				}
				if failing != "now" {
					if got, err := r.a.Find(t.Context(), with(c), host); !errors.Is(err, session.ErrUnavailable) {
						t.Errorf("Find = %+v, %v; want ErrUnavailable, for the others do not know", got, err)
					}
				}
				r.stores[0].failing(breaks())
				if got, err := r.a.Find(t.Context(), with(c), host); err != nil || got.Session != nil {
					t.Errorf("Find = %+v, %v; want no session", got, err)
				}
				rs, _, whole, err := r.b.store.Published(t.Context(), place)
				if err != nil || !whole || len(rs) == 0 || rs[0].By != x.Names[2] {
					t.Errorf("Published = %v, %t, %v; want what was answered as done", rs, whole, err)
				}
			})
		})
	}
}

// A marker without an entry in the log: whoever set it went away in between. Once
// somebody has been told that the session is over, it is over everywhere.
func TestMarkerThatNobodyPublished(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, nil)
		x, c := r.a.start(person(t, "ann", "s1"))
		r.a.wantReason(c, session.Found)
		r.b.wantReason(c, session.Found)
		at, err := r.a.store.Now(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := r.a.store.Mark(t.Context(), session.Marker{Kind: session.Ended, By: x.Names[2]}, at, time.Hour); err != nil {
			t.Fatal(err)
		}
		r.stores[0].failing(breaks("publish"))
		if got, err := r.a.Reload(t.Context(), x); !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("Reload = %+v, %v; want ErrUnavailable: the others could not be told", got, err)
		}
		r.stores[0].failing(breaks())
		if got, err := r.a.Reload(t.Context(), x); err != nil || got.Session != nil {
			t.Errorf("Reload = %+v, %v; want no session", got, err)
		}
		if got := r.a.lookup(c); got.Session != nil {
			t.Error("the session is served from memory after somebody was told that it is over")
		}
		pass(time.Second + time.Microsecond)
		if got := r.b.lookup(c); got.Session != nil {
			t.Error("the other replica still serves it")
		}
		for i := range r.ended {
			if r.ended[i].count(x.Names[2]) == 0 {
				t.Errorf("replica %d was not told", i)
			}
		}
	})
}

// A store that was emptied holds nobody.
func TestStoreThatWasEmptied(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, nil)
		_, c := r.a.start(person(t, "ann", "s1"))
		r.a.wantReason(c, session.Found)
		empty := memstore.New(memstore.Config{})
		defer empty.Close()
		for _, store := range r.stores {
			store.swap(empty)
		}
		pass(time.Second)
		r.a.wantReason(c, session.Unknown)
	})
}

// Another replica's clock is ahead: what it notes as the last use lies in the future,
// and keeps nothing in memory any longer.
func TestLastUseInTheFuture(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, nil)
		x, c := r.a.start(person(t, "ann", "s1"))
		if _, err := r.a.store.Touch(t.Context(), x.Key, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		r.a.wantReason(c, session.Found)
		if n := asks(r.a, c); n != 0 {
			t.Errorf("it is not kept at all: %d calls of the store", n)
		}
		if _, err := r.a.store.Delete(t.Context(), x.Key); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		r.a.wantReason(c, session.Unknown)
	})
}

// The store's clock went back, as at a failover: a session that seems to be of the
// future can be ended all the same.
func TestEndingWhatBeganInTheFuture(t *testing.T) {
	t.Parallel()
	for _, bySID := range []bool{false, true} {
		s := newSetup(t, nil)
		x, c := s.start(person(t, "ann", "s1"))
		s.clock.Advance(-time.Hour)
		s.store.failing(breaks("delete"))
		if err := s.End(t.Context(), x, bySID); err != nil {
			t.Fatal(err)
		}
		s.wantReason(c, session.EndedReason)
	}
}

// A process that stood still wakes up and has to ask before it serves.
func TestProcessThatStoodStill(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, nil)
		x, c := r.a.start(person(t, "ann", "s1"))
		r.b.wantReason(c, session.Found)
		wake := make(chan struct{})
		r.stores[1].failing(func(_ context.Context, op string) error {
			if op == "published" {
				<-wake // nobody reads the log, and no deadline ends it
			}
			return nil
		})
		if err := r.a.End(t.Context(), x, false); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if got := r.b.lookup(c); got.Session != nil {
			t.Error("served from what was known a minute ago")
		}
		close(wake)
	})
}

func TestLeaseOfASession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, nil)
		x, _ := r.a.start(person(t, "ann", "s1"))
		y, _ := r.a.start(person(t, "ann", "s1"))
		lease, ok, err := r.a.Lease(t.Context(), x, time.Minute)
		if !ok || err != nil {
			t.Fatalf("Lease = %t, %v", ok, err)
		}
		if _, ok, err := r.b.Lease(t.Context(), x, time.Minute); ok || err != nil {
			t.Errorf("Lease of what is leased = %t, %v; want false", ok, err)
		}
		if _, ok, err := r.b.Lease(t.Context(), y, time.Minute); !ok || err != nil {
			t.Errorf("Lease of another session = %t, %v", ok, err)
		}
		pass(40 * time.Second)
		if left := lease.Left(); left > 20*time.Second || left < 19*time.Second {
			t.Errorf("%s left of the lease, want 20 s", left)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		lease.Release(gone)
		second, ok, err := r.b.Lease(t.Context(), x, time.Minute)
		if !ok || err != nil {
			t.Errorf("Lease after its release = %t, %v", ok, err)
		}
		lease.Release(t.Context()) // is not ours any more
		if _, ok, _ := r.a.Lease(t.Context(), x, time.Minute); ok {
			t.Error("a lease was released by somebody else")
		}
		pass(61 * time.Second)
		if second.Left() > 0 {
			t.Errorf("%s left of a lease that is over", second.Left())
		}
		r.stores[0].failing(func(context.Context, string) error { return errors.New("broken") })
		if _, ok, err := r.a.Lease(t.Context(), x, time.Minute); ok || !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("Lease without a store = %t, %v; want ErrUnavailable", ok, err)
		}
	})
}
