// Package storetest owns the conformance suite of session.Store: what every store
// promises, as tests that a store's own tests run.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"portero/internal/session"
)

// Clock is the clock that a store under test reads. It moves only when told.
type Clock struct {
	mu    sync.Mutex
	now   time.Time
	hooks []func(time.Time)
}

// NewClock starts at a time with microseconds.
func NewClock() *Clock {
	return &Clock{now: time.Date(2026, time.March, 4, 5, 6, 7, 891234000, time.UTC)}
}

// Now is the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock, backwards too.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	now, hooks := c.now, c.hooks
	c.mu.Unlock()
	for _, hook := range hooks {
		hook(now)
	}
}

// OnAdvance is for stores whose clock is set rather than read.
func (c *Clock) OnAdvance(hook func(now time.Time)) { c.hooks = append(c.hooks, hook) }

// Run runs the suite. open returns an empty store that reads clock; the suite closes
// it.
func Run(t *testing.T, open func(t *testing.T, clock *Clock) session.Store) {
	for _, test := range []struct {
		name string
		run  func(*fixture)
	}{
		{"absent is no error", testAbsent},
		{"what is created is read", testRoundTrip},
		{"create refuses a taken key", testCreateTaken},
		{"create of one key has one winner", testCreateRace},
		{"a row is absent from its end on", testExpiry},
		{"update needs the version", testUpdate},
		{"update has one winner", testUpdateRace},
		{"update can move the end", testUpdateExpiry},
		{"update resurrects nothing", testUpdateAbsent},
		{"touch moves forward only", testTouch},
		{"touch resurrects nothing", testTouchAbsent},
		{"nothing survives a delete", testDeleteRace},
		{"deleting twice", testDelete},
		{"a mark is consumed once", testConsume},
		{"consuming has one winner", testConsumeRace},
		{"the latest marker wins", testMarkers},
		{"markers do not mix", testMarkersApart},
		{"markers never go back", testMarkerBack},
		{"the log tells what was published since", testLog},
		{"the log by many writers", testLogRace},
		{"the log lives long enough", testLogLife},
		{"places that are not in the log", testLogPlaces},
		{"a lease has one holder", testLease},
		{"leasing has one winner", testLeaseRace},
		{"listing", testList},
		{"listing by pages", testListPages},
		{"listing while rows come and go", testListMoving},
		{"listing forgets what ended", testListRepair},
		{"hostile keys", testHostileKeys},
		{"bodies of any size", testBodies},
		{"counting", testCount},
		{"the clock is the store's", testClock},
		{"an ended context", testContext},
		{"a closed store", testClose},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			clock := NewClock()
			f := &fixture{T: t, clock: clock, store: open(t, clock)}
			t.Cleanup(func() { f.store.Close() })
			test.run(f)
		})
	}
}

type fixture struct {
	*testing.T
	clock *Clock
	store session.Store
}

// row is a row that ends in an hour.
func (f *fixture) row(key string) session.Row {
	now := f.clock.Now()
	return session.Row{
		Key: key, Version: 1, Subject: "subject of " + key, SID: "sid of " + key,
		CreatedAt: now, LastUsed: now, ExpiresAt: now.Add(time.Hour), Body: []byte("body of " + key),
	}
}

func (f *fixture) create(rows ...session.Row) {
	f.Helper()
	for _, row := range rows {
		if err := f.store.Create(f.Context(), row); err != nil {
			f.Fatalf("Create(%.40q): %v", row.Key, err)
		}
	}
}

// wantRow checks what is under the row's key.
func (f *fixture) wantRow(want session.Row) {
	f.Helper()
	got, found, err := f.store.Get(f.Context(), want.Key)
	if err != nil || !found {
		f.Fatalf("Get(%.40q) = found %t, %v; want it", want.Key, found, err)
	}
	if diff := diffRow(got, want); diff != "" {
		f.Fatalf("Get(%.40q): (-got +want)\n%s", want.Key, diff)
	}
}

func (f *fixture) wantAbsent(key string) {
	f.Helper()
	if got, found, err := f.store.Get(f.Context(), key); found || err != nil {
		f.Fatalf("Get(%.40q) = %+v, found %t, %v; want absent without an error", key, got, found, err)
	}
}

func diffRow(got, want session.Row) string {
	if len(got.Body) == 0 && len(want.Body) == 0 {
		got.Body, want.Body = nil, nil
	}
	return cmp.Diff(got, want)
}

// yes reports an unexpected answer of a method that returns a bool.
func (f *fixture) yes(what string, got bool, err error, want bool) {
	f.Helper()
	if err != nil || got != want {
		f.Fatalf("%s = %t, %v; want %t", what, got, err, want)
	}
}

// race calls do in n goroutines at once and returns how many said true.
func (f *fixture) race(n int, do func(i int) (bool, error)) int {
	f.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			ok, err := do(i)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				f.Errorf("call %d: %v", i, err)
			}
			if ok {
				won++
			}
		})
	}
	close(start)
	wg.Wait()
	return won
}

func testAbsent(f *fixture) {
	ctx := f.Context()
	for _, key := range []string{"nobody", ""} {
		f.wantAbsent(key)
		ok, err := f.store.Touch(ctx, key, f.clock.Now())
		f.yes("Touch", ok, err, false)
		ok, err = f.store.Delete(ctx, key)
		f.yes("Delete", ok, err, false)
	}
	row := f.row("nobody")
	row.Version = 2
	ok, err := f.store.Update(ctx, row, 1)
	f.yes("Update", ok, err, false)
	f.wantAbsent("nobody")
	rows, next, err := f.store.List(ctx, session.Filter{}, "", 10)
	if len(rows) != 0 || next != "" || err != nil {
		f.Errorf("List = %v, %q, %v; want nothing", rows, next, err)
	}
	marks, err := f.store.Marked(ctx, session.Marker{Kind: session.Ended, By: "sid:x"}, session.Marker{})
	if len(marks) != 2 || !marks[0].IsZero() || !marks[1].IsZero() || err != nil {
		f.Errorf("Marked = %v, %v; want two zero times", marks, err)
	}
	if marks, err := f.store.Marked(ctx); len(marks) != 0 || err != nil {
		f.Errorf("Marked of nothing = %v, %v", marks, err)
	}
	if err := f.store.Create(ctx, session.Row{ExpiresAt: f.clock.Now().Add(time.Hour)}); !errors.Is(err, session.ErrKey) {
		f.Errorf("Create with an empty key: %v, want ErrKey", err)
	}
}

func testRoundTrip(f *fixture) {
	full := f.row("full")
	full.Version = 1<<64 - 1
	full.LastUsed = full.LastUsed.Add(time.Microsecond)
	full.CreatedAt = full.CreatedAt.Add(-time.Microsecond)
	full.Idled = true
	bare := session.Row{Key: "bare", Version: 1, ExpiresAt: f.clock.Now().Add(time.Microsecond)}
	f.create(full, bare)
	f.wantRow(full)
	f.wantRow(bare)

	zone := f.row("zone")
	inZone := zone
	inZone.ExpiresAt = zone.ExpiresAt.In(time.FixedZone("X", 7*3600)).Add(999)
	inZone.CreatedAt = zone.CreatedAt.In(time.FixedZone("X", 7*3600)).Add(999)
	f.create(inZone)
	f.wantRow(zone) // microseconds, UTC
}

func testCreateTaken(f *fixture) {
	first := f.row("key")
	f.create(first)
	second := f.row("key")
	second.Body = []byte("other")
	if err := f.store.Create(f.Context(), second); !errors.Is(err, session.ErrExists) {
		f.Fatalf("Create on a taken key: %v, want ErrExists", err)
	}
	f.wantRow(first)
	f.clock.Advance(time.Hour) // expired, perhaps not yet swept: the key is free
	second = f.row("key")
	second.Subject = "other"
	f.create(second)
	f.wantRow(second)
	rows, _, err := f.store.List(f.Context(), session.Filter{Subject: first.Subject}, "", 10)
	if len(rows) != 0 || err != nil {
		f.Errorf("the expired row is still listed: %v, %v", rows, err)
	}
}

func testCreateRace(f *fixture) {
	won := f.race(50, func(i int) (bool, error) {
		row := f.row("key")
		row.Body = fmt.Append(nil, i)
		err := f.store.Create(f.Context(), row)
		if errors.Is(err, session.ErrExists) {
			return false, nil
		}
		return err == nil, err
	})
	if won != 1 {
		f.Errorf("%d creations won, want 1", won)
	}
}

func testExpiry(f *fixture) {
	row := f.row("key")
	f.create(row)
	f.clock.Advance(time.Hour - time.Second)
	f.wantRow(row)
	f.clock.Advance(time.Second - time.Microsecond)
	f.wantRow(row)
	f.clock.Advance(time.Microsecond)
	f.wantAbsent("key")
	f.clock.Advance(time.Second)
	f.wantAbsent("key")

	ctx := f.Context()
	next := row
	next.Version, next.ExpiresAt = 2, f.clock.Now().Add(time.Hour)
	ok, err := f.store.Update(ctx, next, 1)
	f.yes("Update of an expired row", ok, err, false)
	ok, err = f.store.Touch(ctx, "key", f.clock.Now())
	f.yes("Touch of an expired row", ok, err, false)
	ok, err = f.store.Delete(ctx, "key")
	f.yes("Delete of an expired row", ok, err, false)
	f.wantAbsent("key")
}

func testUpdate(f *fixture) {
	ctx := f.Context()
	row := f.row("key")
	f.create(row)
	next := row
	next.Version, next.Body, next.Idled, next.Subject, next.SID = 2, []byte("two"), true, "new subject", ""
	for _, was := range []uint64{0, 3, 1<<64 - 2} {
		wrong := next
		wrong.Version = was + 1
		ok, err := f.store.Update(ctx, wrong, was)
		f.yes(fmt.Sprint("Update of version ", was), ok, err, false)
		f.wantRow(row)
	}
	for _, version := range []uint64{0, 1} {
		wrong := next
		wrong.Version = version
		if ok, err := f.store.Update(ctx, wrong, 1); ok || err == nil {
			f.Errorf("Update from version 1 to %d = %t, %v; want an error", version, ok, err)
		}
		f.wantRow(row)
	}
	ok, err := f.store.Update(ctx, next, 1)
	f.yes("Update", ok, err, true)
	f.wantRow(next)
	ok, err = f.store.Update(ctx, next, 1)
	f.yes("Update again", ok, err, false)

	f.clock.Advance(time.Minute)
	ok, err = f.store.Touch(ctx, "key", f.clock.Now())
	f.yes("Touch", ok, err, true)
	third := next
	third.Version = 7
	ok, err = f.store.Update(ctx, third, 2)
	f.yes("Update with an older time of use", ok, err, true)
	third.LastUsed = f.clock.Now()
	f.wantRow(third)
}

func testUpdateRace(f *fixture) {
	f.create(f.row("key"))
	won := f.race(50, func(i int) (bool, error) {
		row := f.row("key")
		row.Version, row.Body = 2, fmt.Append(nil, i)
		return f.store.Update(f.Context(), row, 1)
	})
	if won != 1 {
		f.Errorf("%d updates won, want 1", won)
	}
	// A chain: each success is one step of the version.
	won = f.race(20, func(int) (bool, error) {
		for {
			row, found, err := f.store.Get(f.Context(), "key")
			if err != nil || !found {
				return false, err
			}
			was := row.Version
			row.Version++
			if ok, err := f.store.Update(f.Context(), row, was); ok || err != nil {
				return ok, err
			}
		}
	})
	row, _, err := f.store.Get(f.Context(), "key")
	if won != 20 || row.Version != 22 || err != nil {
		f.Errorf("%d updates from version 2 to %d, %v; want 20 to 22", won, row.Version, err)
	}
}

func testUpdateExpiry(f *fixture) {
	row := f.row("key")
	f.create(row)
	next := row
	next.Version, next.ExpiresAt = 2, row.ExpiresAt.Add(time.Hour)
	ok, err := f.store.Update(f.Context(), next, 1)
	f.yes("Update", ok, err, true)
	f.clock.Advance(2*time.Hour - time.Second)
	f.wantRow(next)
	f.clock.Advance(time.Second)
	f.wantAbsent("key")
}

func testUpdateAbsent(f *fixture) {
	f.create(f.row("key"))
	ok, err := f.store.Delete(f.Context(), "key")
	f.yes("Delete", ok, err, true)
	next := f.row("key")
	next.Version = 2
	for _, was := range []uint64{0, 1} {
		ok, err := f.store.Update(f.Context(), next, was)
		f.yes("Update of a deleted row", ok, err, false)
	}
	f.wantAbsent("key")
}

func testTouch(f *fixture) {
	ctx := f.Context()
	row := f.row("key")
	f.create(row)
	for _, step := range []struct{ to, want time.Duration }{
		{0, 0}, {-time.Minute, 0}, {time.Microsecond, time.Microsecond}, {time.Minute, time.Minute},
		{time.Minute - time.Microsecond, time.Minute}, {-time.Hour, time.Minute}, {2 * time.Hour, 2 * time.Hour},
	} {
		ok, err := f.store.Touch(ctx, "key", row.CreatedAt.Add(step.to))
		f.yes(fmt.Sprint("Touch at ", step.to), ok, err, true)
		want := row
		want.LastUsed = row.CreatedAt.Add(step.want)
		f.wantRow(want)
	}
	f.clock.Advance(time.Hour) // a touch does not move the end
	f.wantAbsent("key")
}

func testTouchAbsent(f *fixture) {
	row := f.row("key")
	f.create(row)
	ok, err := f.store.Delete(f.Context(), "key")
	f.yes("Delete", ok, err, true)
	ok, err = f.store.Touch(f.Context(), "key", f.clock.Now().Add(time.Minute))
	f.yes("Touch of a deleted row", ok, err, false)
	f.wantAbsent("key")
	f.create(row) // no earlier touch shows through
	f.wantRow(row)
}

func testDeleteRace(f *fixture) {
	f.create(f.row("key"))
	f.race(40, func(i int) (bool, error) {
		switch {
		case i == 20:
			return f.store.Delete(f.Context(), "key")
		case i%2 == 0:
			return f.store.Touch(f.Context(), "key", f.clock.Now().Add(time.Duration(i)*time.Second))
		}
		for was := range uint64(5) {
			row := f.row("key")
			row.Version = was + 1
			if _, err := f.store.Update(f.Context(), row, was); err != nil {
				return false, err
			}
		}
		return false, nil
	})
	f.wantAbsent("key")
	rows, _, err := f.store.List(f.Context(), session.Filter{}, "", 10)
	if len(rows) != 0 || err != nil {
		f.Errorf("List = %v, %v; want nothing", rows, err)
	}
}

func testDelete(f *fixture) {
	f.create(f.row("key"), f.row("other"))
	ok, err := f.store.Delete(f.Context(), "key")
	f.yes("Delete", ok, err, true)
	ok, err = f.store.Delete(f.Context(), "key")
	f.yes("Delete again", ok, err, false)
	f.wantAbsent("key")
	f.wantRow(f.row("other"))
}

func testClock(f *fixture) {
	for range 3 {
		got, err := f.store.Now(f.Context())
		if want := f.clock.Now().Truncate(time.Microsecond); err != nil || !got.Equal(want) {
			f.Errorf("Now = %s, %v; want %s", got, err, want)
		}
		f.clock.Advance(7 * time.Second)
	}
	if err := f.store.Ping(f.Context()); err != nil {
		f.Errorf("Ping: %v", err)
	}
}

func testHostileKeys(f *fixture) {
	ctx := f.Context()
	keys := []string{
		"%n%s%x", "../../etc/passwd", "*", "\r\nFLUSHALL\r\n", "\x00", "a\x00b", "a", "a\x00", "é\xff\xfe", "{slot}", "a:b", "a;b",
		" ", "\n", strings.Repeat("x", 8<<10), strings.Repeat("x", 8<<10-1),
	}
	for i, key := range keys {
		row := f.row(key)
		row.Subject, row.SID = key, key
		row.Body = fmt.Append(nil, i)
		f.create(row)
	}
	for i, key := range keys {
		row := f.row(key)
		row.Subject, row.SID = key, key
		row.Body = fmt.Append(nil, i)
		f.wantRow(row)
		for _, filter := range []session.Filter{{Subject: key}, {SID: key}} {
			rows, next, err := f.store.List(ctx, filter, "", 10)
			if err != nil || next != "" || len(rows) != 1 || rows[0].Key != key {
				f.Errorf("List by %.40q = %d rows, %q, %v; want the one", key, len(rows), next, err)
			}
		}
		first, _, err := f.store.Consume(ctx, key, time.Hour)
		f.yes("Consume", first, err, true)
		first, _, err = f.store.Consume(ctx, key, time.Hour)
		f.yes("Consume again", first, err, false)
		if err := f.store.Mark(ctx, session.Marker{Kind: session.Ended, By: key}, f.clock.Now(), time.Hour); err != nil {
			f.Errorf("Mark(%.40q): %v", key, err)
		}
		ok, err := f.store.Lease(ctx, key, key, time.Hour)
		f.yes("Lease", ok, err, true)
		f.publish(session.Revocation{By: key, At: f.clock.Now()})
	}
	if got := len(f.all(session.Filter{}, 3)); got != len(keys) {
		f.Errorf("%d rows listed by pages of three, want %d", got, len(keys))
	}
	for i, key := range keys {
		ok, err := f.store.Delete(ctx, key)
		f.yes("Delete", ok, err, true)
		f.wantAbsent(key)
		if got, want := len(f.all(session.Filter{}, 100)), len(keys)-i-1; got != want {
			f.Fatalf("%d rows after deleting %.40q, want %d", got, key, want)
		}
	}
	first, _, err := f.store.Consume(ctx, "", time.Hour)
	f.yes("Consume of an empty mark", first, err, true)
}

func testBodies(f *fixture) {
	for _, n := range []int{0, 1, 4095, 4096, 4097, 1 << 20} {
		row := f.row(fmt.Sprint("key ", n))
		row.Body = slices.Repeat([]byte{0xa5}, n)
		f.create(row)
		f.wantRow(row)
		row.Version = 2
		row.Body = slices.Repeat([]byte{0x5a}, n/2)
		ok, err := f.store.Update(f.Context(), row, 1)
		f.yes("Update", ok, err, true)
		f.wantRow(row)
	}
}

func testContext(f *fixture) {
	f.create(f.row("key"))
	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	for name, err := range f.everything(ctx, "key") {
		if !errors.Is(err, context.Canceled) {
			f.Errorf("%s with an ended context: %v, want its error", name, err)
		}
	}
	f.wantRow(f.row("key"))
}

func testClose(f *fixture) {
	f.create(f.row("key"))
	for range 2 {
		if err := f.store.Close(); err != nil {
			f.Errorf("Close: %v", err)
		}
	}
	for name, err := range f.everything(f.Context(), "key") {
		if !errors.Is(err, session.ErrClosed) {
			f.Errorf("%s on a closed store: %v, want ErrClosed", name, err)
		}
	}
}

// everything calls every operation and returns their errors by name.
func (f *fixture) everything(ctx context.Context, key string) map[string]error {
	errs := map[string]error{}
	row := f.row(key)
	row.Version = 2
	errs["Create"] = f.store.Create(ctx, f.row("another"))
	_, _, errs["Get"] = f.store.Get(ctx, key)
	_, errs["Update"] = f.store.Update(ctx, row, 1)
	_, errs["Touch"] = f.store.Touch(ctx, key, f.clock.Now().Add(time.Second))
	_, errs["Delete"] = f.store.Delete(ctx, key)
	_, _, errs["Consume"] = f.store.Consume(ctx, "mark", time.Hour)
	errs["Mark"] = f.store.Mark(ctx, session.Marker{Kind: session.Fresh, By: "sid:x"}, f.clock.Now(), time.Hour)
	_, errs["Marked"] = f.store.Marked(ctx, session.Marker{Kind: session.Fresh, By: "sid:x"})
	_, _, errs["List"] = f.store.List(ctx, session.Filter{}, "", 10)
	errs["Publish"] = f.store.Publish(ctx, session.Revocation{By: "sid:x", At: f.clock.Now()})
	_, _, _, errs["Published"] = f.store.Published(ctx, "")
	_, errs["Lease"] = f.store.Lease(ctx, "name", "holder", time.Hour)
	_, errs["Release"] = f.store.Release(ctx, "name", "holder")
	_, errs["Now"] = f.store.Now(ctx)
	errs["Ping"] = f.store.Ping(ctx)
	if counter, ok := f.store.(session.Counter); ok {
		_, errs["Count"] = counter.Count(ctx)
	}
	return errs
}
