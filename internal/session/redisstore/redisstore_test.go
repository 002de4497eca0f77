package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"portero/internal/session"
	"portero/internal/session/redisstore"
	"portero/internal/session/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newMini(t testing.TB, clock *storetest.Clock) *miniredis.Miniredis {
	t.Helper()
	mini := miniredis.RunT(t)
	last := clock.Now()
	mini.SetTime(last)
	clock.OnAdvance(func(now time.Time) {
		mini.SetTime(now)
		if now.After(last) {
			mini.FastForward(now.Sub(last))
		}
		last = now
	})
	return mini
}

func open(t testing.TB, o redis.UniversalOptions, prefix string) *redisstore.Store {
	t.Helper()
	s := redisstore.New(redisstore.Config{Client: redisstore.NewClient(o, nil), Prefix: prefix})
	t.Cleanup(func() { s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T, clock *storetest.Clock) session.Store {
		return open(t, redis.UniversalOptions{Addrs: []string{newMini(t, clock).Addr()}}, "")
	})
}

func row(key string, clock *storetest.Clock) session.Row {
	now := clock.Now()
	return session.Row{
		Key: key, Version: 1, Subject: "ann", SID: "s", CreatedAt: now, LastUsed: now,
		ExpiresAt: now.Add(time.Hour), Body: []byte("body of " + key),
	}
}

func create(t testing.TB, s session.Store, rows ...session.Row) {
	t.Helper()
	for _, row := range rows {
		if err := s.Create(t.Context(), row); err != nil {
			t.Fatalf("Create: %v", err)
		}
	}
}

// rowKey is where the one row of the server lies.
func rowKey(t testing.TB, mini *miniredis.Miniredis) string {
	t.Helper()
	return keyWith(t, mini, ":row:")
}

func keyWith(t testing.TB, mini *miniredis.Miniredis, part string) string {
	t.Helper()
	for _, key := range mini.Keys() {
		if strings.Contains(key, part) {
			return key
		}
	}
	t.Fatalf("no key with %q in %q", part, mini.Keys())
	return ""
}

// SR-04, SR-05, SE-05: what cannot be read is no session, in no operation, and what
// another version wrote is left to it.
func TestRowsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	edit := func(old, new string) func(string) string {
		return func(v string) string { return strings.Replace(v, old, new, 1) }
	}
	at := func(i int, text string) func(string) string {
		return func(v string) string { return v[:i] + text + v[i+len(text):] }
	}
	for _, test := range []struct {
		name   string
		damage func(value string) string
	}{
		{"a newer format", at(0, "2")},
		{"no format", at(0, " ")},
		{"an idled that is neither", at(1, "2")},
		{"an end that is no number", at(18, "never           ")},
		{"an end in another notation", at(18, "           1e300")},
		{"an end with a sign", at(18, "-")},
		{"a version that is no number", edit("1 3:key", "x 3:key")},
		{"a version too large", edit("1 3:key", "123456789012345678901 3:key")},
		{"no version", edit("1 3:key", " 3:key")},
		{"a head beyond the row", at(50, "99999")},
		{"a head within the times", at(50, "00012")},
		{"a head within the names", at(50, "00060")},
		{"the row of another key", edit("3:key", "3:kez")},
		{"the row of a longer key", edit("3:key", "4:keys")},
		{"nothing but its beginning", func(v string) string { return v[:20] }},
		{"no names", func(v string) string { return v[:strings.Index(v, " ")+1] }},
		{"nothing", func(string) string { return "" }},
		{"ten megabytes", func(v string) string { return v + strings.Repeat("x", 10<<20) }},
		{"garbage", func(string) string { return "\x00garbage %n" }},
		{"a hash of an older version", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, clock := t.Context(), storetest.NewClock()
			mini := newMini(t, clock)
			var log strings.Builder
			s := redisstore.New(redisstore.Config{
				Client: redisstore.NewClient(redis.UniversalOptions{Addrs: []string{mini.Addr()}}, nil), Log: slog.New(slog.NewTextHandler(&log, nil)),
			})
			t.Cleanup(func() { s.Close() })
			create(t, s, row("key", clock))
			key := rowKey(t, mini)
			value, err := mini.Get(key)
			if err != nil {
				t.Fatal(err)
			}
			if test.damage == nil {
				mini.Del(key)
				mini.HSet(key, "f", "1")
			} else if damaged := test.damage(value); damaged == value {
				t.Fatal("the row is as it was")
			} else {
				mini.Set(key, damaged)
			}

			if got, found, err := s.Get(ctx, "key"); found || err != nil {
				t.Errorf("Get = %+v, %t, %v; want absent", got, found, err)
			}
			if got, found, err := s.Get(ctx, "other"); found || err != nil {
				t.Errorf("Get of another = %+v, %t, %v; want absent", got, found, err)
			}
			if got := log.String(); strings.Count(got, "level=WARN") != 1 || !strings.Contains(got, key) {
				t.Errorf("got the log %q, want one line with %s", got, key)
			}
			for _, filter := range []session.Filter{{}, {Subject: "ann"}, {SID: "s"}} {
				if rows, _, err := s.List(ctx, filter, "", 10); len(rows) != 0 || err != nil {
					t.Errorf("List(%+v) = %v, %v; want nothing", filter, rows, err)
				}
			}
			next := row("key", clock)
			next.Version = 2
			for _, was := range []uint64{0, 1} {
				if ok, err := s.Update(ctx, next, was); ok || err != nil {
					t.Errorf("Update from %d = %t, %v; want false", was, ok, err)
				}
			}
			if ok, err := s.Touch(ctx, "key", clock.Now().Add(time.Minute)); ok || err != nil {
				t.Errorf("Touch = %t, %v; want false", ok, err)
			}
			if err := s.Create(ctx, row("key", clock)); !errors.Is(err, session.ErrExists) {
				t.Errorf("Create = %v, want ErrExists", err)
			}
			if _, err := s.Delete(ctx, "key"); err != nil {
				t.Errorf("Delete: %v", err)
			}
			create(t, s, row("key", clock)) // and then the key is free
		})
	}
}

// A marker or mark that cannot be read is never absence.
func TestMarksThatCannotBeRead(t *testing.T) {
	t.Parallel()
	m := session.Marker{Kind: session.Ended, By: "sid:x"}
	for name, damage := range map[string]func(mini *miniredis.Miniredis, key string){
		"a newer format": func(mini *miniredis.Miniredis, key string) { mini.Set(key, "2 5 9 9") },
		"garbage":        func(mini *miniredis.Miniredis, key string) { mini.Set(key, "\x00%n") },
		"empty":          func(mini *miniredis.Miniredis, key string) { mini.Set(key, "") },
		"a list":         func(mini *miniredis.Miniredis, key string) { mini.Del(key); mini.Push(key, "1") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, clock := t.Context(), storetest.NewClock()
			mini := newMini(t, clock)
			s := open(t, redis.UniversalOptions{Addrs: []string{mini.Addr()}}, "")
			s.Mark(ctx, m, clock.Now(), time.Hour)
			s.Lease(ctx, "a", "x", time.Hour)
			s.Consume(ctx, "state", time.Hour)
			damage(mini, keyWith(t, mini, ":marker:"))
			damage(mini, keyWith(t, mini, ":mark:"))
			damage(mini, keyWith(t, mini, ":lease:"))
			if got, err := s.Marked(ctx, m); err == nil {
				t.Errorf("Marked = %v, want an error", got)
			}
			if first, _, err := s.Consume(ctx, "state", time.Hour); first || err == nil {
				t.Errorf("Consume = %t, %v; want an error", first, err)
			}
			if ok, err := s.Lease(ctx, "a", "x", time.Hour); ok || err != nil {
				t.Errorf("Lease = %t, %v; want it to be somebody's", ok, err)
			}
			if ok, err := s.Release(ctx, "a", "x"); ok || err != nil {
				t.Errorf("Release = %t, %v; want it left alone", ok, err)
			}
			// Ending again mends it. What was there may have been any time up to now.
			if err := s.Mark(ctx, m, clock.Now().Add(-time.Minute), time.Hour); err != nil {
				t.Fatalf("Mark: %v", err)
			}
			if got, err := s.Marked(ctx, m); err != nil || !got[0].Equal(clock.Now()) {
				t.Errorf("Marked after Mark = %v, %v; want %s", got, err, clock.Now())
			}
		})
	}
}

// Nothing of keys, marks and markers can be read from the server's keys, and all of
// them go by themselves.
func TestKeysAreHashedAndExpire(t *testing.T) {
	t.Parallel()
	ctx, clock := t.Context(), storetest.NewClock()
	mini := newMini(t, clock)
	s := open(t, redis.UniversalOptions{Addrs: []string{mini.Addr()}}, "a*[b]?\\:")
	create(t, s, row("secret-key", clock))
	s.Mark(ctx, session.Marker{Kind: session.Ended, By: "sid:secret"}, clock.Now(), time.Hour)
	s.Consume(ctx, "secret-state", time.Hour)
	s.Lease(ctx, "secret-refresh", "holder", time.Hour)
	s.Publish(ctx, session.Revocation{By: "sid:x", At: clock.Now()})
	s.Ping(ctx)
	if len(mini.Keys()) != 9 {
		t.Errorf("keys: %q, want a row, three indexes, a mark, a marker, a lease, the log and the ping", mini.Keys())
	}
	for _, key := range mini.Keys() {
		if !strings.HasPrefix(key, "a*[b]?\\:") || strings.Contains(key, "secret") || strings.Contains(key, "ann") {
			t.Errorf("key %q tells something, or lacks the prefix", key)
		}
		if mini.TTL(key) <= 0 {
			t.Errorf("key %q stays for ever", key)
		}
	}
	mini.Set("aXb:row:foreign", "x")
	mini.SAdd("aXb:all:00", "foreign")
	if rows, _, err := s.List(ctx, session.Filter{}, "", 10); len(rows) != 1 || err != nil {
		t.Errorf("List under a prefix with wildcards = %d rows, %v; want the one", len(rows), err)
	}
	clock.Advance(25 * time.Hour)
	if got := mini.Keys(); len(got) != 2 {
		t.Errorf("keys that are left: %q", got)
	}
}

// Entries whose row is gone leave the index; rows without an entry are whole.
func TestIndexIsMended(t *testing.T) {
	t.Parallel()
	ctx, clock := t.Context(), storetest.NewClock()
	mini := newMini(t, clock)
	s := open(t, redis.UniversalOptions{Addrs: []string{mini.Addr()}}, "")
	create(t, s, row("a", clock), row("b", clock))
	mini.Del(rowKey(t, mini))
	index := keyWith(t, mini, ":subject:")
	rows, _, err := s.List(ctx, session.Filter{Subject: "ann"}, "", 10)
	if len(rows) != 1 || err != nil {
		t.Fatalf("List = %d rows, %v; want one", len(rows), err)
	}
	if members, err := mini.ZMembers(index); len(members) != 1 || err != nil {
		t.Errorf("index: %q, %v; want one entry", members, err)
	}
	mini.Del(index)
	key := rows[0].Key
	if _, found, err := s.Get(ctx, key); !found || err != nil {
		t.Errorf("Get without an index = %t, %v", found, err)
	}
	next := row(key, clock)
	next.Version = 2
	if ok, err := s.Update(ctx, next, 1); !ok || err != nil {
		t.Fatalf("Update = %t, %v", ok, err)
	}
	if rows, _, err := s.List(ctx, session.Filter{Subject: "ann"}, "", 10); len(rows) != 1 || err != nil {
		t.Errorf("List after an update = %d rows, %v; want it listed again", len(rows), err)
	}
}

// every calls all operations that ask the server, with the errors by name.
func every(ctx context.Context, s session.Store, clock *storetest.Clock) map[string]error {
	errs := map[string]error{}
	next := row("key", clock)
	next.Version = 2
	errs["Create"] = s.Create(ctx, row("s3cret-new", clock))
	_, _, errs["Get"] = s.Get(ctx, "key")
	_, errs["Update"] = s.Update(ctx, next, 1)
	_, errs["Touch"] = s.Touch(ctx, "key", clock.Now().Add(time.Minute))
	_, errs["Delete"] = s.Delete(ctx, "key")
	_, _, errs["Consume"] = s.Consume(ctx, "s3cret-state", time.Hour)
	errs["Mark"] = s.Mark(ctx, session.Marker{Kind: session.Ended, By: "s3cret"}, clock.Now(), time.Hour)
	errs["Publish"] = s.Publish(ctx, session.Revocation{By: "s3cret", At: clock.Now()})
	_, _, _, errs["Published"] = s.Published(ctx, "")
	_, errs["Lease"] = s.Lease(ctx, "s3cret", "s3cret", time.Hour)
	_, errs["Release"] = s.Release(ctx, "s3cret", "s3cret")
	_, errs["Count"] = s.(session.Counter).Count(ctx)
	_, errs["Marked"] = s.Marked(ctx, session.Marker{Kind: session.Ended, By: "s3cret"})
	_, _, errs["List"] = s.List(ctx, session.Filter{}, "", 10)
	_, errs["Now"] = s.Now(ctx)
	errs["Ping"] = s.Ping(ctx)
	return errs
}

// SR-03, LG: a server that refuses gives errors, with the class of the refusal alone.
func TestRefusalsTellTheirClassAlone(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ answer, want string }{
		{"OOM command not allowed when used memory > 'maxmemory'. s3cret", "OOM"},
		{"LOADING Redis is loading the dataset in memory s3cret", "LOADING"},
		{"READONLY You can't write against a read only replica. s3cret", "READONLY"},
		{"NOAUTH Authentication required. s3cret", "NOAUTH"},
		{"MOVED 3999 127.0.0.1:1 s3cret", "MOVED"},
		{"ERR unknown command 'X', with args beginning with: 's3cret'", "ERR"},
		{"s3cret", "another reason"},
	} {
		t.Run(test.want, func(t *testing.T) {
			t.Parallel()
			clock := storetest.NewClock()
			mini := newMini(t, clock)
			s := open(t, redis.UniversalOptions{Addrs: []string{mini.Addr()}}, "")
			mini.SetError(test.answer)
			for name, err := range every(t.Context(), s, clock) {
				if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "s3cret") {
					t.Errorf("%s: %v, want the class %s and no more", name, err, test.want)
				}
			}
			mini.SetError("")
			if err := s.Ping(t.Context()); err != nil {
				t.Errorf("Ping after it has recovered: %v", err)
			}
		})
	}
}

// SR-01, SR-02: a server that is away or hangs costs the deadline at most, and tells
// nothing of the password.
func TestServerAwayOrSilent(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	for name, addr := range map[string]string{"silent": silent.Addr().String(), "away": gone.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, redis.UniversalOptions{Addrs: []string{addr}, Password: "s3cret-password"}, "")
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			for name, err := range every(ctx, s, storetest.NewClock()) {
				if err == nil || strings.Contains(err.Error(), "s3cret") {
					t.Errorf("%s: %v, want an error without the secrets", name, err)
				}
			}
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("took %s with a deadline of 200ms", took)
			}
		})
	}
}

// A body beyond the bound is refused rather than stored and never read again.
func TestBodyIsBounded(t *testing.T) {
	t.Parallel()
	clock := storetest.NewClock()
	s := open(t, redis.UniversalOptions{Addrs: []string{newMini(t, clock).Addr()}}, "")
	for _, test := range []struct {
		size int
		ok   bool
	}{{4 << 20, true}, {4<<20 + 1, false}} {
		big := row(fmt.Sprint(test.size), clock)
		big.Body = make([]byte, test.size)
		if err := s.Create(t.Context(), big); (err == nil) != test.ok {
			t.Errorf("Create with %d bytes: %v, want accepted %t", test.size, err, test.ok)
		}
		if _, found, err := s.Get(t.Context(), big.Key); found != test.ok || err != nil {
			t.Errorf("Get of %d bytes = %t, %v; want %t", test.size, found, err, test.ok)
		}
	}
}
