package redisstore_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"portero/internal/redistest"
	"portero/internal/session"
	"portero/internal/session/redisstore"
	"portero/internal/session/storetest"
)

// What a script takes for a row, the gateway can read, and the other way round: else a
// session would be touched that nobody can have.
func FuzzRow(f *testing.F) {
	const front = "10177260076789123417726043678912341772600767891234"
	hashed := "h" + strings.Repeat("x", 32)
	for _, seed := range []string{
		"", "1", front, front + "000791 3:key3:ann1:sbody", front + "000671 3:key0:0:", front + "000661 3:key0:0:",
		front + "001551 " + hashed + hashed + hashed + "body", front + "000781 3:key3:ann1:sbody",
		front + "999991 3:key3:ann1:sbody", "2" + front[1:] + "000791 3:key3:ann1:sbody", front + "000791 3:key9:ann1:sbody",
		front + "0007918446744073709551615 3:key3:ann1:s", front + "00079 1 3:key3:ann1:s", front + "000791 03:key:0:0:",
	} {
		f.Add(seed)
	}
	clock := storetest.NewClock()
	mini := newMini(f, clock)
	s := open(f, redis.UniversalOptions{Addrs: []string{mini.Addr()}}, "")
	f.Fuzz(func(t *testing.T, value string) {
		mini.FlushAll()
		create(t, s, row("key", clock))
		mini.Set(rowKey(t, mini), value)
		agree(t, s)
	})
}

// agree calls what reads a row in the server and here.
func agree(t *testing.T, s *redisstore.Store) {
	t.Helper()
	got, found, err := s.Get(t.Context(), "key")
	if err != nil || found && got.Key != "key" {
		t.Errorf("Get = %+v, %v", got, err)
	}
	touched, err := s.Touch(t.Context(), "key", time.Now().Add(time.Minute))
	if err != nil || touched != found {
		t.Errorf("Get found it %t, Touch %t, %v", found, touched, err)
	}
	rows, _, err := s.List(t.Context(), session.Filter{}, "", 10)
	if err != nil || !found && len(rows) > 0 { // what was not there for a moment is listed at the next update
		t.Errorf("Get found it %t, List %d, %v", found, len(rows), err)
	}
	if !found {
		return
	}
	next := got
	next.Version++
	if next.Version > 0 {
		if ok, err := s.Update(t.Context(), next, got.Version); !ok || err != nil {
			t.Errorf("Update = %t, %v", ok, err)
		}
	}
}

// The same with the server's own Lua: of a row that is whole, each byte is another one.
func TestRowsWithOneByteChanged(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := dial(t, server.URL())
	create(t, s, now(row("key", storetest.NewClock())))
	key := keys(t, server, "*row:*")[0]
	value, err := server.Client.Get(t.Context(), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	for i := range value {
		for _, other := range "\x000129: h\xff" {
			server.Do("SET", key, value[:i]+string(other)+value[i+1:])
			agree(t, s)
		}
		server.Do("SET", key, value[:i])
		agree(t, s)
	}
}

// A version has 64 bits, more than a number of a script.
func TestLargeVersions(t *testing.T) {
	t.Parallel()
	clock := storetest.NewClock()
	s := open(t, redis.UniversalOptions{Addrs: []string{newMini(t, clock).Addr()}}, "")
	last := ^uint64(0)
	first := row("key", clock)
	first.Version = last - 1
	create(t, s, first)
	next := first
	next.Version = last
	for _, was := range []uint64{last - 2, last - 1024} {
		if ok, err := s.Update(t.Context(), next, was); ok || err != nil {
			t.Errorf("Update from %d = %t, %v; want false", was, ok, err)
		}
	}
	if ok, err := s.Update(t.Context(), next, last-1); !ok || err != nil {
		t.Errorf("Update = %t, %v", ok, err)
	}
	if got, _, err := s.Get(t.Context(), "key"); got.Version != last || err != nil {
		t.Errorf("version %d, %v; want %d", got.Version, err, last)
	}
}

// Times beyond what a row has room for are refused, and zero stays zero.
func TestTimesOfRows(t *testing.T) {
	t.Parallel()
	clock := storetest.NewClock()
	s := open(t, redis.UniversalOptions{Addrs: []string{newMini(t, clock).Addr()}}, "")
	for name, change := range map[string]func(r *session.Row){
		"before 1970":    func(r *session.Row) { r.CreatedAt = time.Unix(-1, 0) },
		"after 2286":     func(r *session.Row) { r.ExpiresAt = time.Unix(1e10, 0) },
		"far in between": func(r *session.Row) { r.LastUsed = time.Unix(1e12, 0) },
	} {
		r := row("key", clock)
		change(&r)
		if err := s.Create(t.Context(), r); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	r := row("key", clock)
	r.CreatedAt, r.LastUsed = time.Time{}, time.Time{}
	create(t, s, r)
	if got, _, err := s.Get(t.Context(), "key"); !got.CreatedAt.IsZero() || !got.LastUsed.IsZero() || err != nil {
		t.Errorf("Get = %s, %s, %v; want zero times", got.CreatedAt, got.LastUsed, err)
	}
}

// A list goes on behind its cursor, in whichever index that lies, and forgets rows that
// the server has removed.
func TestListOfManyIndexes(t *testing.T) {
	t.Parallel()
	ctx, clock := t.Context(), storetest.NewClock()
	mini := newMini(t, clock)
	s := open(t, redis.UniversalOptions{Addrs: []string{mini.Addr()}}, "")
	const n = 1500 // several in each of 256
	for i := range n {
		r := row(name("key", i), clock)
		r.Subject, r.SID = name("subject", i%3), ""
		create(t, s, r)
	}
	if got, err := s.Count(ctx); got != n || err != nil {
		t.Errorf("Count = %d, %v; want %d", got, err, n)
	}
	for _, limit := range []int{7, 500, 1_000_000} {
		seen, pages := map[string]bool{}, 0
		for cursor := ""; pages == 0 || cursor != ""; pages++ {
			rows, next, err := s.List(ctx, session.Filter{NoBody: true}, cursor, limit)
			if err != nil || len(rows) > limit || len(rows) > 1000 {
				t.Fatalf("List: %d rows, %v", len(rows), err)
			}
			for _, r := range rows {
				if seen[r.Key] {
					t.Errorf("%s twice", r.Key)
				}
				seen[r.Key] = true
			}
			cursor = next
		}
		if len(seen) != n {
			t.Errorf("by %d: %d rows, want %d", limit, len(seen), n)
		}
	}
	for _, key := range mini.Keys() {
		if strings.Contains(key, ":row:") {
			mini.Del(key)
		}
	}
	for cursor, first := "", true; first || cursor != ""; first = false {
		rows, next, err := s.List(ctx, session.Filter{}, cursor, 1000)
		if len(rows) > 0 || err != nil {
			t.Errorf("List = %d rows, %v; want none", len(rows), err)
		}
		cursor = next
	}
	if got, err := s.Count(ctx); got != 0 || err != nil {
		t.Errorf("Count = %d, %v; want 0", got, err)
	}
}

// What ended leaves the indexes without being listed, when others come.
func TestIndexesForgetWhatEnded(t *testing.T) {
	t.Parallel()
	clock := storetest.NewClock()
	mini := newMini(t, clock)
	s := open(t, redis.UniversalOptions{Addrs: []string{mini.Addr()}}, "")
	for i := range 20 {
		r := row(name("key", i), clock)
		r.SID = ""
		create(t, s, r)
		clock.Advance(10 * time.Minute)
	}
	members, err := mini.ZMembers(keyWith(t, mini, ":subject:"))
	if len(members) > 7 || err != nil {
		t.Errorf("%d entries of which at most 6 have not ended, %v", len(members), err)
	}
}

// A server that was restarted, or took over, has no scripts.
func TestScriptsAreSentAgain(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := dial(t, server.URL())
	clock := storetest.NewClock()
	create(t, s, now(row("key", clock)))
	for name, do := range map[string]func() error{
		"Get":   func() error { _, _, err := s.Get(t.Context(), "key"); return err },
		"List":  func() error { _, _, err := s.List(t.Context(), session.Filter{}, "", 10); return err },
		"Count": func() error { _, err := s.Count(t.Context()); return err },
	} {
		server.Do("SCRIPT", "FLUSH")
		if err := do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
