package storetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"portero/internal/session"
)

func (f *fixture) publish(rs ...session.Revocation) {
	f.Helper()
	if err := f.store.Publish(f.Context(), rs...); err != nil {
		f.Fatalf("Publish: %v", err)
	}
}

// published reads the log from a place to its end.
func (f *fixture) published(after string) (names []string, next string, whole bool) {
	f.Helper()
	for pages := 0; ; pages++ {
		rs, end, ok, err := f.store.Published(f.Context(), after)
		if err != nil {
			f.Fatalf("Published(%.60q): %v", after, err)
		}
		for _, r := range rs {
			names = append(names, r.By)
		}
		if !ok {
			if len(rs) > 0 {
				f.Errorf("Published(%.60q) = %d entries of a log that is not whole", after, len(rs))
			}
			return names, end, false
		}
		if len(rs) < session.LogPage || pages > 1000 {
			return names, end, true
		}
		after = end
	}
}

// wantPublished reads on from a place and returns the next one.
func (f *fixture) wantPublished(after string, want ...string) string {
	f.Helper()
	got, next, whole := f.published(after)
	if !whole || !slices.Equal(got, want) {
		f.Fatalf("Published(%q) = %q, whole %t; want %q", after, got, whole, want)
	}
	return next
}

func testLog(f *fixture) {
	_, place, whole := f.published("")
	if whole || place == "" {
		f.Fatalf("Published from nowhere: whole %t, next %q; want a place to begin at", whole, place)
	}
	place = f.wantPublished(place)
	at := f.clock.Now().Add(-time.Hour + time.Microsecond)
	f.publish(session.Revocation{By: "sid:x", At: at})
	rs, _, _, err := f.store.Published(f.Context(), place)
	if err != nil || len(rs) != 1 || rs[0].By != "sid:x" || !rs[0].At.Equal(at) {
		f.Errorf("Published = %v, %v; want what was published", rs, err)
	}
	next := f.wantPublished(place, "sid:x")
	f.wantPublished(next)
	f.publish(session.Revocation{By: "a", At: at}, session.Revocation{By: "sid:x", At: at}, session.Revocation{By: "b\x00 %n\n", At: at})
	f.publish()
	f.publish(session.Revocation{By: "c", At: at})
	f.wantPublished(place, "sid:x", "a", "sid:x", "b\x00 %n\n", "c")
	f.wantPublished(f.wantPublished(next, "a", "sid:x", "b\x00 %n\n", "c"))
	if _, end, _ := f.published(""); f.wantPublished(end) == "" {
		f.Error("no place after the end")
	}
	f.mark(session.Marker{Kind: session.Ended, By: "x"}, time.Hour) // a marker is no entry
	f.wantPublished(next, "a", "sid:x", "b\x00 %n\n", "c")
}

func testLogRace(f *fixture) {
	_, place, _ := f.published("")
	f.race(20, func(i int) (bool, error) {
		for n := range 70 { // more than a page
			if err := f.store.Publish(f.Context(), session.Revocation{By: fmt.Sprintf("%d/%02d", i, n), At: f.clock.Now()}); err != nil {
				return false, err
			}
		}
		return true, nil
	})
	f.race(10, func(int) (bool, error) {
		got, _, whole := f.published(place)
		last := map[string]string{}
		for _, name := range got {
			writer, n, _ := strings.Cut(name, "/")
			if n <= last[writer] {
				return false, fmt.Errorf("entry %s after %s", name, last[writer])
			}
			last[writer] = n
		}
		if len(got) != 1400 || !whole {
			return false, fmt.Errorf("%d entries, whole %t; want 1400", len(got), whole)
		}
		return true, nil
	})
}

func testLogLife(f *fixture) {
	_, place, _ := f.published("")
	for i := range 10 {
		f.publish(session.Revocation{By: fmt.Sprint(i), At: f.clock.Now()})
		f.clock.Advance(session.LogLife/10 - time.Second)
	}
	f.wantPublished(place, "0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
	f.clock.Advance(2 * session.LogLife)
	f.publish(session.Revocation{By: "later", At: f.clock.Now()})
	got, _, whole := f.published(place)
	if whole && len(got) != 11 || !whole && len(got) > 0 {
		f.Errorf("Published after its life = %q, whole %t; want all, or the word that some are missing", got, whole)
	}
	_, place, _ = f.published("")
	f.wantPublished(place)
	f.clock.Advance(-session.LogLife)
	f.publish(session.Revocation{By: "back", At: f.clock.Now()})
	f.wantPublished(place, "back")
}

func testLogPlaces(f *fixture) {
	f.publish(session.Revocation{By: "a", At: f.clock.Now()})
	_, place, _ := f.published("")
	for _, foreign := range []string{"0", "-", "x", "\x00", place + "0", place + " ", "9" + place, strings.Repeat("9", 40), "99999999999999-0"} {
		got, next, whole := f.published(foreign)
		if whole || len(got) > 0 {
			f.Errorf("Published(%q) = %q, whole %t; want the word that some may be missing", foreign, got, whole)
		}
		f.wantPublished(next)
	}
}

func testLease(f *fixture) {
	ctx := f.Context()
	lease := func(name, holder string, want bool) {
		f.Helper()
		ok, err := f.store.Lease(ctx, name, holder, time.Minute)
		f.yes(fmt.Sprintf("Lease(%q, %q)", name, holder), ok, err, want)
	}
	release := func(name, holder string, want bool) {
		f.Helper()
		ok, err := f.store.Release(ctx, name, holder)
		f.yes(fmt.Sprintf("Release(%q, %q)", name, holder), ok, err, want)
	}
	release("a", "x", false)
	lease("a", "x", true)
	lease("a", "y", false)
	lease("a", "x", false)
	lease("b", "y", true)
	release("a", "y", false)
	lease("a", "y", false)
	release("a", "x", true)
	release("a", "x", false)
	lease("a", "y", true)
	f.clock.Advance(time.Minute - time.Second)
	lease("a", "x", false)
	f.clock.Advance(time.Second)
	release("a", "y", false)
	lease("a", "x", true)
	f.clock.Advance(30 * time.Second)
	release("a", "y", false) // whose lease has ended does not end another's
	lease("a", "y", false)
	lease("", "", true)
	lease("", "x", false)
}

func testLeaseRace(f *fixture) {
	for range 5 {
		if won := f.race(50, func(i int) (bool, error) {
			return f.store.Lease(f.Context(), "name", fmt.Sprint(i), time.Minute)
		}); won != 1 {
			f.Errorf("%d of 50 have the lease, want 1", won)
		}
		won := f.race(50, func(i int) (bool, error) { return f.store.Release(f.Context(), "name", fmt.Sprint(i)) })
		if won != 1 {
			f.Errorf("%d of 50 gave the lease back, want 1", won)
		}
	}
}
