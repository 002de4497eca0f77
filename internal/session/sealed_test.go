package session_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"portero/internal/session"
)

// SE-04, SE-05: whatever a row holds, the answer is no session, never a failure, and
// no byte of it is believed; warm or cold.
func TestUnreadableRows(t *testing.T) {
	t.Parallel()
	ring := keys(t, 'k')
	for name, change := range map[string]func(*session.Row){
		"empty body":           func(r *session.Row) { r.Body = nil },
		"truncated":            func(r *session.Row) { r.Body = r.Body[:len(r.Body)-1] },
		"half":                 func(r *session.Row) { r.Body = r.Body[:len(r.Body)/2] },
		"one bit":              func(r *session.Row) { r.Body = bytes.Clone(r.Body); r.Body[len(r.Body)/2] ^= 1 },
		"longer":               func(r *session.Row) { r.Body = append(bytes.Clone(r.Body), 0) },
		"random":               func(r *session.Row) { r.Body = bytes.Repeat([]byte{0x5a}, 500) },
		"JSON":                 func(r *session.Row) { r.Body = []byte(`{"v":1,"sub":"ann"}`) },
		"10 MB":                func(r *session.Row) { r.Body = make([]byte, 10<<20) },
		"another version":      func(r *session.Row) { r.Version++ },
		"sealed for nobody":    func(r *session.Row) { r.Body = ring.Seal("session", []byte(`{"v":1,"sub":"ann"}`), nil) },
		"sealed as an attempt": func(r *session.Row) { r.Body = ring.Seal("attempt", []byte(`{"v":1,"sub":"ann"}`), []byte(r.Key)) },
	} {
		for _, temperature := range []string{"warm", "cold"} {
			t.Run(name+" "+temperature, func(t *testing.T) {
				t.Parallel()
				s := newSetup(t, nil)
				_, c := s.start(person(t, "ann", "s1"))
				if temperature == "warm" {
					s.wantReason(c, session.Found)
				} else {
					s.Manager, _ = session.NewManager(s.config)
				}
				s.store.change.Store(change)
				got := s.wantReason(c, session.Unreadable)
				if !got.Clear {
					t.Error("the cookie is kept")
				}
				if lines := strings.Count(s.log.String(), "\n"); lines != 1 {
					t.Errorf("%d log lines, want 1: %s", lines, s.log)
				}
				for _, secret := range []string{c.Value, "refresh of", "access of", "ann"} {
					if strings.Contains(s.log.String(), secret) {
						t.Errorf("the log has %q: %s", secret, s.log)
					}
				}
				if s.events.of(session.EventUnreadable) != 1 {
					t.Error("not counted")
				}
				s.store.change.Store(func(*session.Row) {}) // nothing was destroyed
				s.wantReason(c, session.Found)
			})
		}
	}
}

// SE-06: a store that answers with somebody else's row gives nobody that session.
func TestSwappedRows(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	_, ann := s.start(person(t, "ann", "s1"))
	bobs, bob := s.start(person(t, "bob", "s2"))
	bobsRow, _, _ := s.store.Store.Get(t.Context(), bobs.Key)
	for _, temperature := range []string{"warm", "cold"} {
		if temperature == "cold" {
			s.Manager, _ = session.NewManager(s.config)
		}
		for name, change := range map[string]func(*session.Row){
			"whole row":      func(r *session.Row) { *r = bobsRow },
			"all but key":    func(r *session.Row) { key := r.Key; *r = bobsRow; r.Key = key },
			"body alone":     func(r *session.Row) { r.Body = bobsRow.Body },
			"own, then body": func(r *session.Row) { r.Body, r.Version = bobsRow.Body, bobsRow.Version },
		} {
			s.store.change.Store(change)
			got := s.lookup(ann)
			if got.Reason != session.Unreadable {
				t.Errorf("%s, %s: reason %q, want unreadable", name, temperature, got.Reason)
			}
		}
		s.store.change.Store(func(*session.Row) {})
	}
	if got := s.wantReason(bob, session.Found); got.Session.Subject != "bob" {
		t.Errorf("bob's cookie is %s's", got.Session.Subject)
	}
	if got := s.wantReason(ann, session.Found); got.Session.Subject != "ann" {
		t.Errorf("ann's cookie is %s's", got.Session.Subject)
	}
}

// What a row says in the clear decides nothing but idling.
func TestClearBookkeepingIsNotBelieved(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	x, c := s.start(person(t, "ann", "s1"))
	s.store.change.Store(func(r *session.Row) {
		r.Subject, r.SID, r.Key = "", "", "x"
		r.CreatedAt, r.ExpiresAt = r.CreatedAt.Add(1e5*time.Hour), r.ExpiresAt.Add(1e5*time.Hour)
	})
	got := s.wantReason(c, session.Found).Session
	if got.Key != x.Key || got.SID != "s1" || !got.CreatedAt.Equal(x.CreatedAt) || !got.ExpiresAt.Equal(x.ExpiresAt) {
		t.Errorf("Lookup = %+v", got)
	}
	s.store.failing(breaks("list", "delete"))
	if err := s.End(t.Context(), x, true); err != nil {
		t.Fatal(err)
	}
	s.wantReason(c, session.EndedReason)
}

func TestAbsoluteEndIsReadFromTheSeal(t *testing.T) {
	t.Parallel()
	s := newSetup(t, func(c *session.Config) { c.IdleTimeout = 0 })
	x, c := s.start(person(t, "ann", "s1"))
	row, _, _ := s.store.Store.Get(t.Context(), x.Key)
	row.ExpiresAt = row.ExpiresAt.Add(1e5 * time.Hour)
	s.store.Store.Delete(t.Context(), x.Key)
	if err := s.store.Store.Create(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	s.clock.Advance(336*time.Hour - time.Second)
	s.wantReason(c, session.Found)
	s.clock.Advance(time.Second)
	if got := s.wantReason(c, session.Expired); !got.Clear {
		t.Error("the cookie is kept")
	}
}

// CF-08: managers over one store see each other's sessions only as one client of one
// issuer, with a secret in common.
func TestIssuersAndClientsAreApart(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	x, c := s.start(person(t, "ann", "s1"))
	for name, change := range map[string]func(*session.Config){
		"another issuer":       func(c *session.Config) { c.Issuer = "https://other.logto.app/oidc" },
		"another client":       func(c *session.Config) { c.ClientID = "other" },
		"the border moved":     func(c *session.Config) { c.Issuer += "c"; c.ClientID = "lient" },
		"another secret":       func(c *session.Config) { c.Keys = keys(t, 'x') },
		"other clients' tests": func(c *session.Config) { c.Issuer, c.ClientID = c.ClientID, c.Issuer },
	} {
		other := s.config
		change(&other)
		m, err := session.NewManager(other)
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Lookup(t.Context(), with(c), host)
		if err != nil || got.Session != nil || got.Reason != session.Unreadable {
			t.Errorf("%s: Lookup = %+v, %v; want unreadable", name, got, err)
		}
		if name == "another secret" { // the same client: its markers count
			continue
		}
		if _, err := m.EndSubject(t.Context(), "ann", true); err != nil {
			t.Fatal(err)
		}
		if _, err := m.EndSID(t.Context(), "s1", true); err != nil {
			t.Fatal(err)
		}
		if at, err := s.FreshAfter(t.Context(), "s1", "ann"); !at.IsZero() || err != nil {
			t.Errorf("%s: its markers are ours: %s, %v", name, at, err)
		}
		s.wantReason(c, session.Found)
		if live, err := m.LiveWithSID(t.Context(), "s1", ""); live || err != nil {
			t.Errorf("%s: LiveWithSID = %t, %v", name, live, err)
		}
	}
	same, _ := session.NewManager(s.config)
	if got, err := same.Lookup(t.Context(), with(c), host); err != nil || got.Session.Key != x.Key {
		t.Errorf("a replica: %+v, %v", got, err)
	}
}

// The store holds neither tokens nor anything that names a person.
func TestStoreHoldsNothingReadable(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	x, c := s.start(person(t, "ann-canary", "sid-canary"))
	s.clock.Advance(25 * time.Hour)
	s.wantReason(c, session.Idle)
	row, found, err := s.store.Store.Get(t.Context(), x.Key)
	if !found || err != nil {
		t.Fatal(found, err)
	}
	kept := fmt.Sprintf("%+v %s", row, row.Body)
	for _, secret := range []string{c.Value, "canary", "refresh of", "e30.", "wiki.example.com", "Mozilla"} {
		if strings.Contains(kept, secret) {
			t.Errorf("the row has %q", secret)
		}
	}
}

// CK-14
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	s := newSetup(t, func(c *session.Config) { c.Keys = keys(t, '1') })
	_, c := s.start(person(t, "ann", "s1"))
	_, idle := s.start(person(t, "bob", "s2"))
	manager := func(current byte, old ...byte) *session.Manager {
		t.Helper()
		config := s.config
		config.Keys = keys(t, current, old...)
		m, err := session.NewManager(config)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	look := func(m *session.Manager, c *http.Cookie, want session.Reason) *session.Session {
		t.Helper()
		got, err := m.Find(t.Context(), with(c), host)
		if err != nil || got.Reason != want {
			t.Fatalf("Find = %+v, %v; want reason %q", got, err, want)
		}
		return got.Session
	}
	rotated := manager('2', '1')
	seen := make(chan uint64, 50)
	parallel(50, func() {
		got, err := rotated.Lookup(t.Context(), with(c), host)
		if err != nil || got.Session == nil {
			t.Errorf("Lookup after rotation = %+v, %v", got, err)
			seen <- 0
			return
		}
		seen <- got.Session.Version
	})
	close(seen)
	for version := range seen {
		if version != 1 && version != 2 {
			t.Errorf("version %d after resealing once", version)
		}
	}
	now := look(rotated, c, session.Found)
	if now.Version != 2 {
		t.Errorf("version %d, want it resealed once", now.Version)
	}
	if got := s.events.of(session.EventResealed); got != 1 {
		t.Errorf("resealed %d times, want once", got)
	}
	updates := s.store.updates.Load()
	for range 10 {
		look(rotated, c, session.Found)
	}
	if s.store.updates.Load() != updates {
		t.Error("a warm lookup wrote")
	}
	if _, ok, err := rotated.Update(t.Context(), now, func(u *session.Session) { u.RefreshToken = "r2" }); !ok || err != nil {
		t.Errorf("Update after resealing = %t, %v", ok, err)
	}
	again := manager('3', '2')
	if got := look(again, c, session.Found); got.RefreshToken != "r2" {
		t.Errorf("refresh token %q, want r2", got.RefreshToken)
	}
	look(again, idle, session.Unreadable) // not used while its key was known
	look(manager('1'), c, session.Unreadable)
}

func TestResealingThatFailsServesTheRequest(t *testing.T) {
	t.Parallel()
	s := newSetup(t, func(c *session.Config) { c.Keys = keys(t, '1') })
	_, c := s.start(person(t, "ann", "s1"))
	s.config.Keys = keys(t, '2', '1')
	s.Manager, _ = session.NewManager(s.config)
	s.store.failing(breaks("update"))
	s.wantReason(c, session.Found)
	s.store.failing(breaks())
	s.wantReason(c, session.Found)
}

func TestCacheIsBoundedAndOnlySavesWork(t *testing.T) {
	t.Parallel()
	s := newSetup(t, func(c *session.Config) { c.CacheSize = 4 })
	cookies := map[string]*http.Cookie{}
	for i := range 40 {
		name := fmt.Sprint("person", i)
		_, cookies[name] = s.start(person(t, name, ""))
	}
	for range 3 {
		for name, c := range cookies {
			if got := s.wantReason(c, session.Found); got.Session.Subject != name {
				t.Fatalf("%s's cookie is %s's", name, got.Session.Subject)
			}
		}
	}
	if got := s.Decoded(); got > 4 {
		t.Errorf("sessions kept decoded: got %d, want at most 4", got)
	}
	// Warm lookups of one version share one snapshot; another version is another one.
	c := cookies["person1"]
	one, two := s.lookup(c).Session, s.lookup(c).Session
	if one != two {
		t.Error("a warm lookup decoded again")
	}
	s.clock.Advance(2 * time.Minute)
	three, four := s.lookup(c).Session, s.lookup(c).Session
	if three == one || three != four || one.LastUsed.Equal(three.LastUsed) {
		t.Error("a touch must give a new snapshot, once, and leave the old one alone")
	}
}

// Who writes to the store cannot wake an idled session: that it idled is sealed too.
func TestIdlingIsSealed(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	_, c := s.start(person(t, "ann", "s1"))
	s.clock.Advance(25 * time.Hour)
	s.wantReason(c, session.Idle)
	s.store.change.Store(func(r *session.Row) { r.Idled, r.LastUsed = false, s.clock.Now() })
	s.wantReason(c, session.Idle)
	s.store.change.Store(func(*session.Row) {})
	s.clock.Advance(-20 * time.Hour) // nor does a clock that goes back
	s.wantReason(c, session.Idle)
	if live, err := s.LiveWithSID(t.Context(), "s1", ""); live || err != nil {
		t.Errorf("LiveWithSID = %t, %v; want an idled session to count as over", live, err)
	}
}
