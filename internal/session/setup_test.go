package session_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/seal"
	"portero/internal/session"
	"portero/internal/session/memstore"
	"portero/internal/session/storetest"
)

const cookieName = "__Host-portero"

// setup is a manager over a store whose calls are counted and can be disturbed.
type setup struct {
	testing.TB
	*session.Manager
	store  *faulty
	clock  *storetest.Clock
	log    *bytes.Buffer
	events *counts
	config session.Config
}

func keys(t testing.TB, current byte, old ...byte) *seal.KeyRing {
	t.Helper()
	fill := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	var olds [][]byte
	for _, b := range old {
		olds = append(olds, fill(b))
	}
	ring, err := seal.NewKeyRing(fill(current), olds...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func newSetup(t testing.TB, change func(*session.Config)) *setup {
	t.Helper()
	clock := storetest.NewClock()
	store := &faulty{Store: memstore.New(memstore.Config{Now: clock.Now})}
	t.Cleanup(func() { store.Close() })
	return newSetupOn(t, store, clock, change)
}

func newSetupOn(t testing.TB, store *faulty, clock *storetest.Clock, change func(*session.Config)) *setup {
	t.Helper()
	log := &bytes.Buffer{}
	events := &counts{n: map[string]int{}}
	c := session.Config{
		Store: store, Keys: keys(t, 'k'), Issuer: "https://tenant.logto.app/oidc", ClientID: "client",
		Lifetime: 336 * time.Hour, IdleTimeout: 24 * time.Hour, AfterIdleCode: true,
		Cookie: cookieName, Secure: true, Now: clock.Now, Metrics: events.add,
		Log: slog.New(slog.NewTextHandler(log, nil)),
	}
	if change != nil {
		change(&c)
	}
	m, err := session.NewManager(c)
	if err != nil {
		t.Fatal(err)
	}
	return &setup{TB: t, Manager: m, store: store, clock: clock, log: log, events: events, config: c}
}

// ready has the log of revocations read until the test ends, and returns once it is
// current.
func ready(t testing.TB, c *session.Config) {
	t.Helper()
	c.Revocations = session.NewRevocations(session.RevocationsConfig{Store: c.Store, Now: c.Now, Log: c.Log})
	ctx, stop := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() { c.Revocations.Run(ctx) })
	t.Cleanup(func() { stop(); wait.Wait() })
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !c.Revocations.Current() {
		<-tick.C
	}
}

type counts struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counts) add(event string) { c.mu.Lock(); c.n[event]++; c.mu.Unlock() }
func (c *counts) of(event string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[event]
}

// idToken is unsigned: whoever starts a session has verified it.
func idToken(t testing.TB, claims map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return "e30." + base64.RawURLEncoding.EncodeToString(payload) + ".c2ln"
}

// person is a sign-in of somebody; the sid is that of their browser.
func person(t testing.TB, name, sid string) session.New {
	return session.New{
		Subject: name, SID: sid, Host: host, UserAgent: "Mozilla/5.0",
		IDToken: idToken(t, map[string]any{
			"sub": name, "sid": sid, "email": name + "@Example.com", "email_verified": true, "name": name, "roles": []string{"admin"},
		}),
		AccessToken: "access of " + name, RefreshToken: "refresh of " + name,
		AccessExpires: time.Date(2026, 3, 4, 6, 6, 7, 0, time.UTC), AccessLife: time.Hour,
		AuthTime: time.Date(2026, 3, 4, 5, 6, 0, 0, time.UTC),
	}
}

// host is where everybody signs in.
const host = "wiki.example.com"

func (s *setup) start(n session.New) (*session.Session, *http.Cookie) {
	s.Helper()
	w := httptest.NewRecorder()
	got, err := s.Start(context.Background(), w, n)
	if err != nil {
		s.Fatalf("Start: %v", err)
	}
	cookies := w.Result().Cookies()
	if len(cookies) != 1 {
		s.Fatalf("%d cookies, want one", len(cookies))
	}
	return got, cookies[0]
}

func request(header ...string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	for _, line := range header {
		r.Header.Add("Cookie", line)
	}
	return r
}

func with(c *http.Cookie) *http.Request { return request(c.Name + "=" + c.Value) }

func (s *setup) lookup(c *http.Cookie) session.Lookup {
	s.Helper()
	got, err := s.Lookup(context.Background(), with(c), host)
	if err != nil {
		s.Fatalf("Lookup: %v", err)
	}
	if (got.Session != nil) != (got.Reason == session.Found) {
		s.Fatalf("Lookup: session %v with reason %q", got.Session, got.Reason)
	}
	return got
}

// whole is lookup with the tokens.
func (s *setup) whole(c *http.Cookie) *session.Session {
	s.Helper()
	got, err := s.Find(context.Background(), with(c), host)
	if err != nil || got.Session == nil {
		s.Fatalf("Find = %+v, %v", got, err)
	}
	return got.Session
}

func (s *setup) wantReason(c *http.Cookie, want session.Reason) session.Lookup {
	s.Helper()
	got := s.lookup(c)
	if got.Reason != want {
		s.Fatalf("Lookup: reason %q, want %q", got.Reason, want)
	}
	return got
}

// faulty is a store that can be disturbed.
type faulty struct {
	session.Store
	other                   atomic.Value // session.Store in its place; none: none
	calls, touches, updates atomic.Int64
	fail                    atomic.Value // func(operation string) error
	change                  atomic.Value // func(*session.Row)
	after                   atomic.Value // func(operation string)
}

// swap puts another store in the place of the one before.
func (f *faulty) swap(other session.Store) { f.other.Store(&other) }

func (f *faulty) now() session.Store {
	if other, _ := f.other.Load().(*session.Store); other != nil {
		return *other
	}
	return f.Store
}

func (f *faulty) before(ctx context.Context, operation string) error {
	f.calls.Add(1)
	if fail, _ := f.fail.Load().(func(context.Context, string) error); fail != nil {
		return fail(ctx, operation)
	}
	return nil
}

func (f *faulty) failing(fail func(ctx context.Context, operation string) error) { f.fail.Store(fail) }

// breaks has these operations fail, and no others.
func breaks(operations ...string) func(context.Context, string) error {
	return func(_ context.Context, op string) error {
		if slices.Contains(operations, op) {
			return errors.New("broken")
		}
		return nil
	}
}

func (f *faulty) Create(ctx context.Context, row session.Row) error {
	if err := f.before(ctx, "create"); err != nil {
		return err
	}
	return f.now().Create(ctx, row)
}

func (f *faulty) Get(ctx context.Context, key string) (session.Row, bool, error) {
	if err := f.before(ctx, "get"); err != nil {
		return session.Row{}, false, err
	}
	row, found, err := f.now().Get(ctx, key)
	if change, _ := f.change.Load().(func(*session.Row)); change != nil && found {
		change(&row)
	}
	if after, _ := f.after.Load().(func(string)); after != nil {
		after("get")
	}
	return row, found, err
}

func (f *faulty) Update(ctx context.Context, row session.Row, was uint64) (bool, error) {
	f.updates.Add(1)
	if err := f.before(ctx, "update"); err != nil {
		return false, err
	}
	return f.now().Update(ctx, row, was)
}

func (f *faulty) Touch(ctx context.Context, key string, at time.Time) (bool, error) {
	f.touches.Add(1)
	if err := f.before(ctx, "touch"); err != nil {
		return false, err
	}
	return f.now().Touch(ctx, key, at)
}

func (f *faulty) Delete(ctx context.Context, key string) (bool, error) {
	if err := f.before(ctx, "delete"); err != nil {
		return false, err
	}
	return f.now().Delete(ctx, key)
}

func (f *faulty) Consume(ctx context.Context, mark string, keep time.Duration) (bool, time.Time, error) {
	if err := f.before(ctx, "consume"); err != nil {
		return false, time.Time{}, err
	}
	return f.now().Consume(ctx, mark, keep)
}

func (f *faulty) Mark(ctx context.Context, m session.Marker, at time.Time, keep time.Duration) error {
	if err := f.before(ctx, "mark"); err != nil {
		return err
	}
	return f.now().Mark(ctx, m, at, keep)
}

func (f *faulty) Publish(ctx context.Context, rs ...session.Revocation) error {
	if err := f.before(ctx, "publish"); err != nil {
		return err
	}
	return f.now().Publish(ctx, rs...)
}

func (f *faulty) Published(ctx context.Context, after string) ([]session.Revocation, string, bool, error) {
	if err := f.before(ctx, "published"); err != nil {
		return nil, "", false, err
	}
	return f.now().Published(ctx, after)
}

func (f *faulty) Lease(ctx context.Context, name, holder string, keep time.Duration) (bool, error) {
	if err := f.before(ctx, "lease"); err != nil {
		return false, err
	}
	return f.now().Lease(ctx, name, holder, keep)
}

func (f *faulty) Marked(ctx context.Context, ms ...session.Marker) ([]time.Time, error) {
	if err := f.before(ctx, "marked"); err != nil {
		return nil, err
	}
	return f.now().Marked(ctx, ms...)
}

func (f *faulty) List(ctx context.Context, filter session.Filter, cursor string, limit int) ([]session.Row, string, error) {
	if err := f.before(ctx, "list"); err != nil {
		return nil, "", err
	}
	return f.now().List(ctx, filter, cursor, limit)
}

func (f *faulty) Now(ctx context.Context) (time.Time, error) {
	if err := f.before(ctx, "now"); err != nil {
		return time.Time{}, err
	}
	return f.now().Now(ctx)
}

func (f *faulty) Ping(ctx context.Context) error {
	if err := f.before(ctx, "ping"); err != nil {
		return err
	}
	return f.now().Ping(ctx)
}
