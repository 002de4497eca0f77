package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"portero/internal/identity"
	"portero/internal/session"
)

func TestNewManagerRefuses(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	for name, change := range map[string]func(*session.Config){
		"no store":                 func(c *session.Config) { c.Store = nil },
		"no keys":                  func(c *session.Config) { c.Keys = nil },
		"no lifetime":              func(c *session.Config) { c.Lifetime = 0 },
		"negative lifetime":        func(c *session.Config) { c.Lifetime = -time.Hour },
		"negative idle timeout":    func(c *session.Config) { c.IdleTimeout = -1 },
		"no cookie name":           func(c *session.Config) { c.Cookie = "" },
		"cookie name with a space": func(c *session.Config) { c.Cookie = "a b" },
		"__Host- over http":        func(c *session.Config) { c.Secure = false },
	} {
		c := s.config
		change(&c)
		if got, err := session.NewManager(c); err == nil || got != nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// CK-01, S7, S8
func TestIdentifySaysWhoStartMakes(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	n := person(t, "ann", "s1")
	n.Userinfo = []byte(`{"sub":"ann","email":"other@example.com","nickname":"a"}`)
	who, err := s.Identify(n)
	if err != nil {
		t.Fatal(err)
	}
	started, err := s.Start(t.Context(), httptest.NewRecorder(), n)
	if err != nil || who.Email != "ann@example.com" || who.Claims.Text("nickname") != "a" || who.Email != started.Identity.Email || who.Subject != started.Subject {
		t.Errorf("got %s with %q, want what Start makes (%v)", who.Subject, who.Email, err)
	}
	for name, change := range map[string]func(*session.New){
		"no token":       func(n *session.New) { n.IDToken = "" },
		"another person": func(n *session.New) { n.Subject = "bob" },
		"no claims":      func(n *session.New) { n.IDToken = "x.y.z" },
		"their userinfo": func(n *session.New) { n.Userinfo = []byte(`{"sub":"bob"}`) },
	} {
		other := n
		change(&other)
		if who, err := s.Identify(other); err == nil || who.Subject != "" || who.Email != "" {
			t.Errorf("%s: got %s with %q, want nobody", name, who.Subject, who.Email)
		}
	}
}

func TestStartWritesTheCookie(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		secure bool
		want   string
	}{
		{"__Host-portero", true, "; Path=/; Expires=EXPIRES; Max-Age=1209600; HttpOnly; Secure; SameSite=Lax"},
		{"portero-3000", false, "; Path=/; Expires=EXPIRES; Max-Age=1209600; HttpOnly; SameSite=Lax"},
	} {
		s := newSetup(t, func(c *session.Config) { c.Cookie, c.Secure = row.name, row.secure })
		w := httptest.NewRecorder()
		if _, err := s.Start(t.Context(), w, person(t, "ann", "s1")); err != nil {
			t.Fatal(err)
		}
		cookies := w.Result().Cookies()
		if len(cookies) != 1 || cookies[0].Name != row.name || len(cookies[0].Value) != 43 {
			t.Fatalf("cookies %v, want one of 43 characters", cookies)
		}
		got := w.Header().Get("Set-Cookie")
		want := row.name + "=" + cookies[0].Value + strings.Replace(row.want, "EXPIRES", cookies[0].RawExpires, 1)
		if got != want {
			t.Errorf("Set-Cookie = %q, want %q", got, want)
		}
		if life := time.Until(cookies[0].Expires); life < 335*time.Hour || life > 337*time.Hour {
			t.Errorf("cookie lives %s, want the lifetime", life)
		}
		if got := w.Header().Values("Cache-Control"); len(got) != 1 || got[0] != "no-store" {
			t.Errorf("Cache-Control = %q, want no-store", got)
		}

		w = httptest.NewRecorder()
		s.ClearCookie(w)
		want = row.name + "=" + strings.Replace(row.want, "EXPIRES", "Thu, 01 Jan 1970 00:00:01 GMT", 1)
		want = strings.Replace(want, "Max-Age=1209600", "Max-Age=0", 1)
		if got := w.Header().Get("Set-Cookie"); got != want {
			t.Errorf("clearing: Set-Cookie = %q, want %q", got, want)
		}
	}
}

func TestSessionOfAnotherHost(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	_, c := s.start(person(t, "ann", "s1"))
	for range 2 { // the second time from memory
		for _, elsewhere := range []string{"", "WIKI.example.com", "wiki.example.com.", "example.com", "shop.example.com"} {
			cold, _ := session.NewManager(s.config)
			for _, m := range []*session.Manager{s.Manager, cold} {
				for name, look := range map[string]func(context.Context, *http.Request, string) (session.Lookup, error){"Lookup": m.Lookup, "Find": m.Find} {
					if got, err := look(t.Context(), with(c), elsewhere); err != nil || got.Session != nil || got.Reason != session.Unknown {
						t.Errorf("%s at %q: %+v, %v, want none", name, elsewhere, got, err)
					}
				}
			}
		}
		if got, err := s.Lookup(t.Context(), with(c), host); err != nil || got.Session == nil {
			t.Fatalf("where it was made: %+v, %v", got, err)
		}
	}
}

func TestLookupGivesWhatStartMade(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	n := person(t, "ann", "s1")
	n.Userinfo = json.RawMessage(`{"sub":"ann","custom_data":{"department":"it"},"email":"evil@example.org","name":"other","roles":["root"]}`)
	started, c := s.start(n)
	for _, lookup := range []string{"warm", "cold"} {
		m := s.Manager
		if lookup == "cold" {
			m, _ = session.NewManager(s.config)
		}
		found, err := m.Find(t.Context(), with(c), host)
		if err != nil || found.Session == nil {
			t.Fatalf("%s: %+v, %v", lookup, found, err)
		}
		got, err := m.Lookup(t.Context(), with(c), host)
		if err != nil || got.Session == nil {
			t.Fatalf("%s: %+v, %v", lookup, got, err)
		}
		less := *started // what is kept for every session in use
		less.IDToken, less.AccessToken, less.RefreshToken, less.Userinfo = "", "", "", nil
		for _, pair := range [][2]session.Session{{*found.Session, *started}, {*got.Session, less}} {
			if diff := cmp.Diff(pair[0], pair[1], cmpopts.IgnoreUnexported(session.Session{}), cmp.Transformer("claims", (*identity.ClaimSet).All)); diff != "" {
				t.Errorf("%s: (-got +want)\n%s", lookup, diff)
			}
		}
		if _, ok, err := m.Update(t.Context(), got.Session, func(*session.Session) {}); ok || err == nil {
			t.Errorf("%s: Update of a session without its tokens = %t, %v; want an error", lookup, ok, err)
		}
	}
	id := started.Identity
	if id.Email != "ann@example.com" || id.Name != "ann" || len(id.Roles) != 1 || id.Roles[0] != "admin" {
		t.Errorf("userinfo changed what the ID token says: %+v", id)
	}
	if got := id.Claims.Text("custom_data.department"); got != "it" {
		t.Errorf("custom_data.department = %q, want it", got)
	}
	if started.ID == "" || len(started.ID) > 16 || !strings.HasPrefix(started.Key, started.ID) || strings.Contains(started.Key, c.Value) {
		t.Errorf("key %q, id %q", started.Key, started.ID)
	}
	if !started.ExpiresAt.Equal(started.CreatedAt.Add(336 * time.Hour)) {
		t.Errorf("ends %s after its start", started.ExpiresAt.Sub(started.CreatedAt))
	}
}

// One source's email_verified must not vouch for the other's address.
func TestUserinfoDoesNotVouchForTheTokensAddress(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	n := person(t, "ann", "")
	n.IDToken = idToken(t, map[string]any{"sub": "ann", "email": "boss@example.com"})
	n.Userinfo = json.RawMessage(`{"sub":"ann","email":"ann@example.com","email_verified":true}`)
	got, _ := s.start(n)
	if got.Identity.Email != "" || got.Identity.EmailVerified {
		t.Errorf("email %q, verified %t; want none", got.Identity.Email, got.Identity.EmailVerified)
	}
	n.IDToken = idToken(t, map[string]any{"sub": "ann"})
	if got, _ = s.start(n); got.Identity.Email != "ann@example.com" {
		t.Errorf("email %q, want userinfo's where the ID token has none", got.Identity.Email)
	}
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*session.New){
		"no subject":                func(n *session.New) { n.Subject = "" },
		"another subject":           func(n *session.New) { n.Subject = "bob" },
		"no token and no claims":    func(n *session.New) { n.IDToken = "" },
		"token of two parts":        func(n *session.New) { n.IDToken = "a.b" },
		"token that is no JSON":     func(n *session.New) { n.IDToken = "a.bm8.c" },
		"userinfo of another":       func(n *session.New) { n.Userinfo = json.RawMessage(`{"sub":"bob"}`) },
		"userinfo without subject":  func(n *session.New) { n.Userinfo = json.RawMessage(`{}`) },
		"userinfo that is no JSON":  func(n *session.New) { n.Userinfo = json.RawMessage(`{`) },
		"a record of over 512 KiB":  func(n *session.New) { n.RefreshToken = strings.Repeat("x", 600<<10) },
		"claims that say otherwise": func(n *session.New) { n.IDToken, n.Claims = "", identity.Claims{"sub": "bob"} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t, nil)
			n := person(t, "ann", "s1")
			change(&n)
			w := httptest.NewRecorder()
			if got, err := s.Start(t.Context(), w, n); err == nil || got != nil || errors.Is(err, session.ErrUnavailable) {
				t.Errorf("Start = %v, %v; want an error that does not blame the store", got, err)
			}
			if len(w.Header()) != 0 {
				t.Errorf("headers %v, want none", w.Header())
			}
			if rows, err := s.Count(t.Context()); rows != 0 || err != nil {
				t.Errorf("%d rows, %v; want none", rows, err)
			}
		})
	}
}

func TestStartWithClaimsAlone(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	_, c := s.start(session.New{Subject: "ann", Host: host, Claims: identity.Claims{"sub": "ann", "name": "Ann", "n": json.Number("1")}})
	cold, _ := session.NewManager(s.config)
	got, err := cold.Lookup(t.Context(), with(c), host)
	if err != nil || got.Session == nil || got.Session.Identity.Name != "Ann" || got.Session.Identity.Claims.Text("n") != "1" {
		t.Errorf("Lookup = %+v, %v", got, err)
	}
}

// SE-01, SE-02
func TestFixation(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	chosen := &http.Cookie{Name: cookieName, Value: strings.Repeat("A", 43)}
	s.wantReason(chosen, session.Unknown)
	old, planted := s.start(person(t, "mallory", "m"))

	n := person(t, "ann", "s1")
	n.Replace = old
	_, c := s.start(n)
	if c.Value == chosen.Value || c.Value == planted.Value {
		t.Fatal("a token was taken over")
	}
	s.wantReason(chosen, session.Unknown)
	s.wantReason(planted, session.Unknown)
	if got := s.wantReason(c, session.Found); got.Session.Subject != "ann" {
		t.Errorf("subject %q, want ann", got.Session.Subject)
	}
	seen := map[string]bool{}
	for range 200 {
		_, c := s.start(person(t, "ann", "s1"))
		if seen[c.Value] {
			t.Fatal("the same token twice")
		}
		seen[c.Value] = true
	}
}

func TestStartIsAllOrNothing(t *testing.T) {
	t.Parallel()
	for _, operation := range []string{"now", "create"} {
		t.Run(operation, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t, nil)
			old, oldCookie := s.start(person(t, "ann", "s1"))
			failed := false
			s.store.failing(func(_ context.Context, op string) error {
				if op == operation && !failed {
					failed = true
					return errors.New("broken")
				}
				return nil
			})
			n := person(t, "ann", "s1")
			n.Replace = old
			w := httptest.NewRecorder()
			if _, err := s.Start(t.Context(), w, n); !errors.Is(err, session.ErrUnavailable) {
				t.Errorf("Start: %v, want ErrUnavailable", err)
			}
			if len(w.Header()) != 0 {
				t.Errorf("headers %v, want none", w.Header())
			}
			if rows, _ := s.Count(t.Context()); rows != 1 {
				t.Errorf("%d rows, want the old one alone", rows)
			}
			s.wantReason(oldCookie, session.Found)
		})
	}
}

// Whoever has signed in again is signed in, though the session before cannot be ended
// at this moment: it will be.
func TestReplacedSessionEndsLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSetup(t, func(c *session.Config) {
			c.Revocations = session.NewRevocations(session.RevocationsConfig{Store: c.Store})
		})
		running, stop := context.WithCancel(t.Context())
		go s.config.Revocations.Run(running)
		defer stop()
		n := person(t, "ann", "s1")
		var oldCookie *http.Cookie
		n.Replace, oldCookie = s.start(n)
		s.store.failing(breaks("mark", "delete"))
		_, c := s.start(n)
		s.wantReason(c, session.Found)
		s.store.failing(breaks())
		time.Sleep(time.Second) // the bubble's clock
		synctest.Wait()
		s.wantReason(oldCookie, session.EndedReason)
		s.wantReason(c, session.Found)
	})
}

// SE-08, CK-05, CK-07, CK-08, CK-11
func TestCookiesThatNeverReachTheStore(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	_, c := s.start(person(t, "ann", "s1"))
	good := cookieName + "=" + c.Value
	other := cookieName + "=" + strings.Repeat("A", 43)
	for _, row := range []struct {
		name string
		want session.Reason
		in   []string
	}{
		{"none", session.NoCookie, nil},
		{"empty header", session.NoCookie, []string{""}},
		{"only others", session.NoCookie, []string{"a=1; b=2"}},
		{"lower-case name", session.NoCookie, []string{"__host-portero=" + c.Value}},
		{"name with a prefix", session.NoCookie, []string{"x" + good}},
		{"name with a suffix", session.NoCookie, []string{cookieName + "-lang=" + c.Value}},
		{"quoted name", session.NoCookie, []string{`"` + cookieName + `"=` + c.Value}},
		{"comma is no separator", session.NoCookie, []string{"a=b, " + good}},
		{"vertical tab is no space", session.NoCookie, []string{"\v" + good}},
		{"space before the equals sign", session.NoCookie, []string{cookieName + " =" + c.Value}},
		{"two", session.SeveralCookies, []string{other + "; " + good}},
		{"two the other way", session.SeveralCookies, []string{good + "; " + other}},
		{"two that are equal", session.SeveralCookies, []string{good + ";" + good}},
		{"two on two lines", session.SeveralCookies, []string{good, "a=1; " + other}},
		{"the second is malformed", session.SeveralCookies, []string{good + "; " + cookieName + "=%"}},
		{"the second is empty", session.SeveralCookies, []string{good + "; " + cookieName + "="}},
		{"the second is bare", session.SeveralCookies, []string{good + "; " + cookieName}},
		{"bare name", session.MalformedCookie, []string{cookieName}},
		{"empty", session.MalformedCookie, []string{cookieName + "="}},
		{"only an equals sign after", session.MalformedCookie, []string{cookieName + "=;;"}},
		{"percent", session.MalformedCookie, []string{cookieName + "=%%%"}},
		{"format verbs", session.MalformedCookie, []string{cookieName + "=%n%s"}},
		{"dot segments", session.MalformedCookie, []string{cookieName + "=../../x"}},
		{"star", session.MalformedCookie, []string{cookieName + "=*"}},
		{"line breaks", session.MalformedCookie, []string{cookieName + "=\r\nFLUSHALL\r\n"}},
		{"NUL", session.MalformedCookie, []string{cookieName + "=" + c.Value[:42] + "\x00"}},
		{"non-ASCII", session.MalformedCookie, []string{cookieName + "=" + c.Value[:41] + "é"}},
		{"quoted", session.MalformedCookie, []string{cookieName + `="` + c.Value + `"`}},
		{"space inside", session.MalformedCookie, []string{cookieName + "= " + c.Value}},
		{"one character less", session.MalformedCookie, []string{good[:len(good)-1]}},
		{"one character more", session.MalformedCookie, []string{good + "A"}},
		{"8 KiB", session.MalformedCookie, []string{cookieName + "=" + strings.Repeat("A", 8<<10)}},
		{"standard alphabet", session.MalformedCookie, []string{cookieName + "=" + strings.Repeat("+", 43)}},
	} {
		before := s.store.calls.Load()
		got, err := s.Lookup(t.Context(), request(row.in...), host)
		if err != nil || got.Reason != row.want || got.Session != nil || got.Clear != (row.want != session.NoCookie) {
			t.Errorf("%s: Lookup = %+v, %v; want reason %q", row.name, got, err, row.want)
		}
		if calls := s.store.calls.Load() - before; calls != 0 {
			t.Errorf("%s: the store was asked %d times", row.name, calls)
		}
	}
	for name, in := range map[string][]string{
		"alone":            {good},
		"between others":   {"a=1; b=\"q;x\"; " + good + "; $Version=1"},
		"no spaces":        {"a=1;" + good + ";b=2"},
		"on a second line": {"a=1", good},
		"trailing ;":       {good + ";"},
		"tab":              {"\t" + good + "\t"},
		"among 5000":       {strings.Repeat("a=1; ", 5000) + good},
	} {
		got, err := s.Lookup(t.Context(), request(in...), host)
		if err != nil || got.Session == nil {
			t.Errorf("%s: Lookup = %+v, %v; want the session", name, got, err)
		}
	}
}

// SE-07
func TestIdleAndAbsoluteEnd(t *testing.T) {
	t.Parallel()
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		s := newSetup(t, nil)
		_, alive := s.start(person(t, "ann", "s1"))
		_, idles := s.start(person(t, "bob", "s2"))
		s.clock.Advance(24*time.Hour - time.Second)
		s.wantReason(alive, session.Found)
		s.clock.Advance(2 * time.Second)
		got := s.wantReason(idles, session.Idle)
		if got.Subject != "bob" || got.SID != "s2" || got.Clear {
			t.Errorf("Lookup = %+v, want bob's subject and sid, cookie kept", got)
		}
		s.wantReason(alive, session.Found)
		s.clock.Advance(-time.Hour) // no way back
		s.wantReason(idles, session.Idle)
	})
	t.Run("exactly at the end", func(t *testing.T) {
		t.Parallel()
		s := newSetup(t, nil)
		_, c := s.start(person(t, "ann", "s1"))
		s.clock.Advance(24 * time.Hour)
		s.wantReason(c, session.Idle)
	})
	t.Run("absolute, though used every minute", func(t *testing.T) {
		t.Parallel()
		s := newSetup(t, func(c *session.Config) { c.Lifetime = 25 * time.Hour; c.IdleTimeout = time.Hour })
		started, c := s.start(person(t, "ann", "s1"))
		for s.clock.Now().Before(started.ExpiresAt.Add(-time.Second)) {
			got := s.wantReason(c, session.Found)
			if got.Session.Version%100 == 1 { // a refresh does not extend it either
				if _, ok, err := s.Update(t.Context(), s.whole(c), func(u *session.Session) {
					u.ExpiresAt, u.CreatedAt, u.LastUsed = u.ExpiresAt.Add(time.Hour), u.CreatedAt.Add(time.Hour), u.LastUsed.Add(time.Hour)
				}); !ok || err != nil {
					t.Fatalf("Update = %t, %v", ok, err)
				}
			}
			s.clock.Advance(min(time.Minute, started.ExpiresAt.Add(-time.Second).Sub(s.clock.Now())))
		}
		got := s.wantReason(c, session.Found)
		if !got.Session.ExpiresAt.Equal(started.ExpiresAt) || !got.Session.CreatedAt.Equal(started.CreatedAt) {
			t.Errorf("from %s to %s, want %s to %s", got.Session.CreatedAt, got.Session.ExpiresAt, started.CreatedAt, started.ExpiresAt)
		}
		s.clock.Advance(2 * time.Second)
		if got := s.lookup(c); got.Session != nil || !got.Clear {
			t.Errorf("Lookup = %+v, want none and the cookie cleared", got)
		}
	})
	t.Run("absolute end inside the seal counts", func(t *testing.T) {
		t.Parallel()
		s := newSetup(t, nil)
		_, c := s.start(person(t, "ann", "s1"))
		s.store.change.Store(func(row *session.Row) {
			row.ExpiresAt = row.ExpiresAt.Add(1e6 * time.Hour)
			row.LastUsed = s.clock.Now()
		})
		s.clock.Advance(336*time.Hour - time.Second)
		s.wantReason(c, session.Found)
	})
	t.Run("no idle timeout", func(t *testing.T) {
		t.Parallel()
		s := newSetup(t, func(c *session.Config) { c.IdleTimeout = 0 })
		_, c := s.start(person(t, "ann", "s1"))
		s.clock.Advance(335 * time.Hour)
		s.wantReason(c, session.Found)
	})
}

func TestIdlingIsNotedOnce(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name      string
		sid       string
		code      bool
		wantBySID bool
		wantFresh bool
	}{
		{"by sid", "s1", true, true, true},
		{"by subject", "", true, false, true},
		{"silent", "s1", false, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t, func(c *session.Config) { c.AfterIdleCode = row.code })
			_, c := s.start(person(t, "ann", row.sid))
			s.clock.Advance(25 * time.Hour)
			noticed := s.clock.Now()
			parallel(50, func() { s.wantReason(c, session.Idle) })
			if got := s.store.updates.Load(); got != 1 {
				t.Errorf("%d updates, want 1", got)
			}
			if got := s.events.of(session.EventIdled); got != 1 {
				t.Errorf("%d times noticed, want 1", got)
			}
			s.clock.Advance(time.Hour)
			s.wantReason(c, session.Idle)
			other, _ := session.NewManager(s.config) // another replica
			if got, err := other.Lookup(t.Context(), with(c), host); got.Reason != session.Idle || got.SID != row.sid || err != nil {
				t.Errorf("another replica: %+v, %v", got, err)
			}
			want := time.Time{}
			if row.wantFresh {
				want = noticed
			}
			got, err := s.FreshAfter(t.Context(), row.sid, "ann")
			if err != nil || !got.Equal(want) || got.IsZero() != want.IsZero() {
				t.Errorf("FreshAfter = %s, %v; want %s", got, err, want)
			}
			if got, _ := s.FreshAfter(t.Context(), "", "ann"); got.IsZero() == (row.wantFresh && !row.wantBySID) {
				t.Errorf("FreshAfter by subject alone = %s", got)
			}
			if got, _ := s.FreshAfter(t.Context(), "other", "bob"); !got.IsZero() {
				t.Errorf("FreshAfter of somebody else = %s", got)
			}
		})
	}
}

func parallel(n int, do func()) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(do)
	}
	wg.Wait()
}

// SE-13
func TestTouchOncePerInterval(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name           string
		idle, interval time.Duration
	}{
		{"a minute at most", 24 * time.Hour, time.Minute},
		{"a twentieth of the idle timeout", 10 * time.Minute, 30 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t, func(c *session.Config) { c.IdleTimeout = row.idle })
			_, c := s.start(person(t, "ann", "s1"))
			s.clock.Advance(row.interval - time.Second)
			parallel(100, func() { s.wantReason(c, session.Found) })
			if got := s.store.touches.Load(); got != 0 {
				t.Errorf("%d touches before the interval, want none", got)
			}
			for n := range int64(5) {
				s.clock.Advance(row.interval)
				parallel(100, func() { s.wantReason(c, session.Found) })
				if got := s.store.touches.Load(); got != n+1 {
					t.Errorf("%d touches in %d intervals", got, n+1)
				}
			}
			if got := s.lookup(c).Session.LastUsed; !got.Equal(s.clock.Now()) {
				t.Errorf("last used %s, want %s", got, s.clock.Now())
			}
			if got := s.store.updates.Load(); got != 0 {
				t.Errorf("%d rows were rewritten, want none", got)
			}
		})
	}
}

// SE-12
func TestTouchThatFailsServesTheRequest(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	_, c := s.start(person(t, "ann", "s1"))
	s.store.failing(breaks("touch"))
	s.clock.Advance(2 * time.Minute)
	for range 10 {
		s.wantReason(c, session.Found)
	}
	if got := s.store.touches.Load(); got != 1 {
		t.Errorf("%d touches, want one an interval", got)
	}
}

func TestStoreTrouble(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, operation := range []string{"get", "marked"} {
		s := newSetup(t, nil)
		_, c := s.start(person(t, "ann", "s1"))
		s.store.failing(func(_ context.Context, op string) error {
			if op == operation {
				return broken
			}
			return nil
		})
		got, err := s.Lookup(t.Context(), with(c), host)
		if !errors.Is(err, session.ErrUnavailable) || !errors.Is(err, broken) || got.Session != nil || got.Clear {
			t.Errorf("%s fails: Lookup = %+v, %v; want ErrUnavailable and the cookie kept", operation, got, err)
		}
		s.store.failing(breaks())
		s.wantReason(c, session.Found) // recovers by itself
	}
	s := newSetup(t, nil)
	live, _ := s.start(person(t, "ann", "s1"))
	s.store.failing(func(context.Context, string) error { return broken })
	ctx := t.Context()
	errs := map[string]error{}
	_, errs["Start"] = s.Start(ctx, httptest.NewRecorder(), person(t, "ann", ""))
	_, _, errs["Update"] = s.Update(ctx, live, func(*session.Session) {})
	errs["End"] = s.End(ctx, live, true)
	errs["Revoke"] = s.Revoke(ctx, live)
	_, errs["EndSubject"] = s.EndSubject(ctx, "ann", true)
	_, errs["EndSID"] = s.EndSID(ctx, "s1", true)
	_, errs["FreshAfter"] = s.FreshAfter(ctx, "s1", "ann")
	_, errs["LiveWithSID"] = s.LiveWithSID(ctx, "s1", "")
	_, _, errs["Consume"] = s.Consume(ctx, "x")
	_, errs["SessionsOf"] = s.SessionsOf(ctx, "ann")
	_, _, errs["Search"] = s.Search(ctx, session.Selection{}, "", 10)
	_, errs["Count"] = s.Count(ctx)
	_, errs["Now"] = s.Now(ctx)
	errs["Ping"] = s.Ping(ctx)
	_, errs["Reload"] = s.Reload(ctx, live)
	for name, err := range errs {
		if !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", name, err)
		}
	}
}
