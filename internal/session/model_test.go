package session_test

import (
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"portero/internal/session"
	"portero/internal/session/filestore"
	"portero/internal/session/memstore"
	"portero/internal/session/storetest"
)

// model is what a session ought to be, without stores, seals, caches and markers.
type model struct {
	cookie  *http.Cookie
	stale   *session.Session // some earlier snapshot
	newest  *session.Session
	subject string
	sid     string
	refresh string
	used    time.Time
	created time.Time
	idled   bool
	ended   bool
}

const (
	modelLifetime = 10 * time.Hour
	modelIdle     = 2 * time.Hour
)

// TestModel runs random sequences of everything a manager does, by two replicas over
// one store, against the model. Above all: after its end, no session is found again.
func TestModel(t *testing.T) {
	t.Parallel()
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(rt *rapid.T) {
			clock := storetest.NewClock()
			store := memstore.New(memstore.Config{Now: clock.Now})
			defer store.Close()
			runModel(t, rt, store, clock)
		})
	})
	t.Run("file", func(t *testing.T) {
		t.Parallel()
		clock := storetest.NewClock()
		store, err := filestore.Open(filestore.Config{Path: filepath.Join(t.TempDir(), "portero.db"), Now: clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		left := 12 // each write is a sync of the disk
		rapid.Check(t, func(rt *rapid.T) {
			if left--; left < 0 {
				return
			}
			clock.Advance(20 * 24 * time.Hour) // nothing of the sequence before matters
			runModel(t, rt, store, clock)
		})
	})
}

func runModel(t *testing.T, rt *rapid.T, store session.Store, clock *storetest.Clock) {
	change := func(c *session.Config) {
		c.Lifetime, c.IdleTimeout, c.CacheSize = modelLifetime, modelIdle, 3
	}
	wrapped := &faulty{Store: store}
	a, b := newSetupOn(t, wrapped, clock, change), newSetupOn(t, wrapped, clock, change)
	replica := func() *setup {
		if rapid.Bool().Draw(rt, "replica") {
			return b
		}
		return a
	}
	var all []*model
	pick := func() *model {
		if len(all) == 0 {
			rt.Skip("no session yet")
		}
		return all[rapid.IntRange(0, len(all)-1).Draw(rt, "session")]
	}
	end := func(which func(*model) bool) {
		for _, x := range all {
			if which(x) {
				x.ended = true
			}
		}
		clock.Advance(time.Microsecond) // what starts in the same microsecond is ended too
	}
	live := func(x *model) bool {
		now := clock.Now()
		return !x.ended && !x.idled && now.Before(x.created.Add(modelLifetime)) && now.Before(x.used.Add(modelIdle))
	}
	check := func(x *model, got session.Lookup) {
		rt.Helper()
		if (got.Session != nil) != live(x) {
			rt.Fatalf("session %+v is found: %t (%q), should be: %t", x, got.Session != nil, got.Reason, live(x))
		}
		if got.Session == nil {
			if got.Reason == session.Idle && !x.ended {
				x.idled = true
			}
			return
		}
		whole, err := replica().Reload(t.Context(), got.Session)
		if err != nil || whole.Session == nil || whole.Session.Subject != x.subject || whole.Session.RefreshToken != x.refresh {
			rt.Fatalf("Reload = %+v, %v; want %+v", whole.Session, err, x)
		}
		if lag := clock.Now().Sub(got.Session.LastUsed); lag < 0 || lag >= time.Minute {
			rt.Fatalf("last used %s ago at a lookup", lag)
		}
		x.used, x.newest = got.Session.LastUsed, whole.Session
	}
	rt.Repeat(map[string]func(*rapid.T){
		"start": func(rt *rapid.T) {
			x := &model{
				subject: rapid.SampledFrom([]string{"ann", "bob"}).Draw(rt, "subject"),
				sid:     rapid.SampledFrom([]string{"", "s1", "s2"}).Draw(rt, "sid"),
				created: clock.Now(), used: clock.Now(),
			}
			n := person(t, x.subject, x.sid)
			x.refresh = n.RefreshToken
			if len(all) > 0 && rapid.Bool().Draw(rt, "replaces") {
				old := pick()
				n.Replace, old.ended = old.newest, true
			}
			x.newest, x.cookie = replica().start(n)
			x.stale = x.newest
			all = append(all, x)
		},
		"lookup": func(rt *rapid.T) { x := pick(); check(x, replica().lookup(x.cookie)) },
		"refresh": func(rt *rapid.T) {
			x := pick()
			from, token := x.newest, rapid.StringMatching("r[0-9]{3}").Draw(rt, "token")
			current := true
			if rapid.Bool().Draw(rt, "stale") {
				from, current = x.stale, x.stale.Version == x.newest.Version
			}
			got, ok, err := replica().Update(t.Context(), from, func(u *session.Session) { u.RefreshToken = token })
			expired := !clock.Now().Before(x.created.Add(modelLifetime))
			if want := current && !x.ended && !x.idled && !expired; err != nil || ok != want {
				rt.Fatalf("Update of %+v = %t, %v; want %t", x, ok, err, want)
			}
			if ok {
				x.stale, x.newest, x.refresh = x.newest, got, token
			}
		},
		"end": func(rt *rapid.T) {
			x, bySID := pick(), rapid.Bool().Draw(rt, "by sid")
			if err := replica().End(t.Context(), x.newest, bySID); err != nil {
				rt.Fatal(err)
			}
			end(func(y *model) bool { return y == x || bySID && x.sid != "" && y.sid == x.sid })
		},
		"end subject": func(rt *rapid.T) {
			x := pick()
			if _, err := replica().EndSubject(t.Context(), x.subject, true); err != nil {
				rt.Fatal(err)
			}
			end(func(y *model) bool { return y.subject == x.subject })
		},
		"end sid": func(rt *rapid.T) {
			x := pick()
			if x.sid == "" {
				rt.Skip("no sid")
			}
			if _, err := replica().EndSID(t.Context(), x.sid, true); err != nil {
				rt.Fatal(err)
			}
			end(func(y *model) bool { return y.sid == x.sid })
		},
		"list": func(rt *rapid.T) {
			subject := rapid.SampledFrom([]string{"ann", "bob"}).Draw(rt, "subject")
			listed, err := replica().SessionsOf(t.Context(), subject)
			if err != nil {
				rt.Fatal(err)
			}
			want := 0
			for _, x := range all {
				if x.subject == subject && live(x) {
					want++
				}
			}
			if len(listed) != want {
				rt.Fatalf("%d sessions of %s listed, want %d", len(listed), subject, want)
			}
		},
		"wait": func(rt *rapid.T) {
			clock.Advance(rapid.SampledFrom([]time.Duration{
				time.Microsecond, time.Second, time.Minute, 50 * time.Minute, modelIdle - time.Second, modelIdle + time.Second,
			}).Draw(rt, "for"))
		},
		"": func(rt *rapid.T) { // after every step
			for _, x := range all {
				if x.ended {
					check(x, replica().lookup(x.cookie))
				}
			}
		},
	})
}
