package storetest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"portero/internal/session"
)

func testConsume(f *fixture) {
	ctx := f.Context()
	began := f.clock.Now()
	consume := func(mark string, wantFirst bool, wantAt time.Time) {
		f.Helper()
		first, at, err := f.store.Consume(ctx, mark, time.Hour)
		if err != nil || first != wantFirst || !at.Equal(wantAt) {
			f.Fatalf("Consume(%q) = %t, %s, %v; want %t, %s", mark, first, at, err, wantFirst, wantAt)
		}
	}
	consume("a", true, began)
	f.clock.Advance(9 * time.Second)
	consume("a", false, began) // and asking again keeps it no longer
	consume("b", true, began.Add(9*time.Second))
	f.create(f.row("a")) // a key is no mark
	consume("a", false, began)
	f.clock.Advance(time.Hour - 10*time.Second)
	consume("a", false, began)
	f.clock.Advance(time.Second)
	consume("a", true, began.Add(time.Hour))
	consume("b", false, began.Add(9*time.Second))
}

func testConsumeRace(f *fixture) {
	for _, mark := range []string{"a", "b"} {
		var mu sync.Mutex
		times := map[time.Time]bool{}
		won := f.race(50, func(int) (bool, error) {
			first, at, err := f.store.Consume(f.Context(), mark, time.Hour)
			mu.Lock()
			times[at] = true
			mu.Unlock()
			return first, err
		})
		if won != 1 || len(times) != 1 {
			f.Errorf("%d of 50 were first, at %d times; want one at one", won, len(times))
		}
	}
}

func (f *fixture) mark(m session.Marker, keep time.Duration) time.Time {
	f.Helper()
	at := f.clock.Now()
	if err := f.store.Mark(f.Context(), m, at, keep); err != nil {
		f.Fatalf("Mark(%v): %v", m, err)
	}
	return at
}

func (f *fixture) wantMarked(m session.Marker, want time.Time) {
	f.Helper()
	got, err := f.store.Marked(f.Context(), m)
	if err != nil || len(got) != 1 || !got[0].Equal(want) || got[0].IsZero() != want.IsZero() {
		f.Fatalf("Marked(%v) = %v, %v; want %s", m, got, err, want)
	}
}

func testMarkers(f *fixture) {
	m := session.Marker{Kind: session.Ended, By: "sid:x"}
	began := f.clock.Now()
	f.mark(m, time.Hour)
	f.wantMarked(m, began)
	f.clock.Advance(time.Minute)
	f.wantMarked(m, began)
	f.mark(m, time.Minute) // later, but a shorter life: the longer one stays
	f.wantMarked(m, began.Add(time.Minute))
	f.clock.Advance(59*time.Minute - time.Second)
	f.wantMarked(m, began.Add(time.Minute))
	f.clock.Advance(time.Second)
	f.wantMarked(m, time.Time{})
	f.mark(m, time.Second)
	f.wantMarked(m, began.Add(time.Hour))
	f.clock.Advance(time.Second)
	f.wantMarked(m, time.Time{})
}

func testMarkersApart(f *fixture) {
	ms := []session.Marker{
		{Kind: session.Ended, By: "sid:x"}, {Kind: session.Fresh, By: "sid:x"}, {Kind: session.Ended, By: "subject:x"},
		{Kind: session.Ended, By: "session:x"}, {Kind: session.Ended, By: "sid:x "}, {Kind: session.Ended, By: "sid:X"},
	}
	var want []time.Time
	for _, m := range ms {
		got, err := f.store.Marked(f.Context(), ms...)
		if err != nil || len(got) != len(ms) {
			f.Fatalf("Marked = %v, %v", got, err)
		}
		for i := range got {
			if i < len(want) && !got[i].Equal(want[i]) || i >= len(want) && !got[i].IsZero() {
				f.Fatalf("Marked = %v, want %v and then none", got, want)
			}
		}
		want = append(want, f.mark(m, time.Hour))
		f.clock.Advance(time.Second)
	}
	got, err := f.store.Marked(f.Context(), ms[3], ms[0], ms[3])
	if err != nil || !slices.EqualFunc(got, []time.Time{want[3], want[0], want[3]}, time.Time.Equal) {
		f.Errorf("Marked in another order = %v, %v", got, err)
	}
}

func testMarkerBack(f *fixture) {
	m := session.Marker{Kind: session.Ended, By: "sid:x"}
	at := f.mark(m, time.Hour)
	f.clock.Advance(-time.Minute)
	f.mark(m, time.Hour)
	f.wantMarked(m, at)
	f.clock.Advance(2 * time.Minute)
	for _, back := range []time.Duration{time.Minute, time.Microsecond, 0} {
		if err := f.store.Mark(f.Context(), m, at.Add(-back), time.Minute); err != nil {
			f.Fatal(err)
		}
		f.wantMarked(m, at)
	}
	if err := f.store.Mark(f.Context(), m, at.Add(time.Microsecond), time.Minute); err != nil {
		f.Fatal(err)
	}
	f.wantMarked(m, at.Add(time.Microsecond))

	old := session.Marker{Kind: session.Ended, By: "sid:old"} // told late, as after an outage
	if err := f.store.Mark(f.Context(), old, at.Add(-time.Hour), time.Minute); err != nil {
		f.Fatal(err)
	}
	f.wantMarked(old, at.Add(-time.Hour))
}

// all lists everything by pages and reports rows that come twice.
func (f *fixture) all(filter session.Filter, limit int) []session.Row {
	f.Helper()
	var all []session.Row
	seen := map[string]bool{}
	for cursor, pages := "", 0; ; pages++ {
		if pages > 10_000 {
			f.Fatal("listing does not end")
		}
		rows, next, err := f.store.List(f.Context(), filter, cursor, limit)
		if err != nil {
			f.Fatalf("List(%+v, %q): %v", filter, cursor, err)
		}
		for _, row := range rows {
			if seen[row.Key] {
				f.Fatalf("List(%+v): %q twice", filter, row.Key)
			}
			seen[row.Key] = true
		}
		all = append(all, rows...)
		if next == "" {
			return all
		}
		cursor = next
	}
}

func (f *fixture) wantListed(filter session.Filter, want ...string) {
	f.Helper()
	for _, limit := range []int{1, 2, 0} {
		got := []string{}
		for _, row := range f.all(filter, limit) {
			got = append(got, row.Key)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			f.Errorf("List(%+v) by %d = %q, want %q", filter, limit, got, want)
		}
	}
}

func testList(f *fixture) {
	for _, row := range []struct{ key, subject, sid string }{
		{"1", "ann", "s1"}, {"2", "ann", "s1"}, {"3", "ann", "s2"}, {"4", "bob", ""}, {"5", "", ""}, {"6", "an", "s"}, {"7", "annn", "s11"},
	} {
		r := f.row(row.key)
		r.Subject, r.SID = row.subject, row.sid
		f.create(r)
	}
	f.wantListed(session.Filter{}, "1", "2", "3", "4", "5", "6", "7")
	f.wantListed(session.Filter{Subject: "ann"}, "1", "2", "3")
	f.wantListed(session.Filter{Subject: "bob"}, "4")
	f.wantListed(session.Filter{Subject: "carl"})
	f.wantListed(session.Filter{SID: "s1"}, "1", "2")
	f.wantListed(session.Filter{SID: "ann"})

	for _, noBody := range []bool{false, true} {
		for _, row := range f.all(session.Filter{SID: "s2", NoBody: noBody}, 0) {
			want := f.row("3")
			want.Subject, want.SID = "ann", "s2"
			if noBody {
				want.Body = nil
			}
			if diff := diffRow(row, want); diff != "" {
				f.Errorf("listed row, without body %t: (-got +want)\n%s", noBody, diff)
			}
		}
	}
}

func testListPages(f *fixture) {
	var want []string
	for i := range 257 {
		row := f.row(fmt.Sprintf("%03d", i))
		row.Subject = "ann"
		f.create(row)
		want = append(want, row.Key)
	}
	for _, filter := range []session.Filter{{}, {Subject: "ann"}, {NoBody: true}} {
		for _, limit := range []int{-1, 1, 16, 256, 257, 258, 10_000} {
			got := []string{}
			for _, row := range f.all(filter, limit) {
				got = append(got, row.Key)
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				f.Errorf("by %d: %d rows, want %d", limit, len(got), len(want))
			}
		}
	}
	if _, _, err := f.store.List(f.Context(), session.Filter{}, "\x00 no cursor of ours %n", 10); err != nil {
		f.Logf("a foreign cursor: %v", err) // an error or some page, no panic
	}
}

// testListMoving: a row that stays is listed once, whatever happens to others.
func testListMoving(f *fixture) {
	for i := range 60 {
		f.create(f.row(fmt.Sprintf("stays %02d", i)))
		f.create(f.row(fmt.Sprintf("goes %02d", i)))
	}
	stays := map[string]int{}
	step := 0
	for cursor := ""; ; step++ {
		rows, next, err := f.store.List(f.Context(), session.Filter{}, cursor, 7)
		if err != nil {
			f.Fatal(err)
		}
		for _, row := range rows {
			stays[row.Key]++
		}
		if next == "" {
			break
		}
		cursor = next
		if _, err := f.store.Delete(f.Context(), fmt.Sprintf("goes %02d", 59-step)); err != nil {
			f.Fatal(err)
		}
		f.create(f.row(fmt.Sprintf("comes %02d", step)))
	}
	for i := range 60 {
		if n := stays[fmt.Sprintf("stays %02d", i)]; n != 1 {
			f.Errorf("row %d that stayed was listed %d times", i, n)
		}
	}
}

func testListRepair(f *fixture) {
	ctx := f.Context()
	for i := range 6 {
		row := f.row(fmt.Sprint(i))
		row.Subject, row.SID = "ann", "s"
		f.create(row)
	}
	if _, err := f.store.Delete(ctx, "0"); err != nil {
		f.Fatal(err)
	}
	moved := f.row("1")
	moved.Version, moved.Subject, moved.SID = 2, "bob", ""
	if _, err := f.store.Update(ctx, moved, 1); err != nil {
		f.Fatal(err)
	}
	short := f.row("2")
	short.Version, short.Subject, short.SID, short.ExpiresAt = 2, "ann", "s", f.clock.Now().Add(time.Minute)
	if _, err := f.store.Update(ctx, short, 1); err != nil {
		f.Fatal(err)
	}
	f.wantListed(session.Filter{Subject: "ann"}, "2", "3", "4", "5")
	f.clock.Advance(time.Minute)
	for _, filter := range []session.Filter{{Subject: "ann"}, {SID: "s"}} {
		f.wantListed(filter, "3", "4", "5")
	}
	f.wantListed(session.Filter{Subject: "bob"}, "1")
	f.clock.Advance(time.Hour)
	for _, filter := range []session.Filter{{Subject: "ann"}, {SID: "s"}, {Subject: "bob"}, {}} {
		f.wantListed(filter)
	}
}

func testCount(f *fixture) {
	counter, ok := f.store.(session.Counter)
	if !ok {
		f.Skip("this store does not count")
	}
	want := func(want int) {
		f.Helper()
		if got, err := counter.Count(f.Context()); err != nil || got != want {
			f.Errorf("Count = %d, %v; want %d", got, err, want)
		}
	}
	want(0)
	f.create(f.row("a"), f.row("b"))
	want(2)
	next := f.row("a")
	next.Version = 2
	f.store.Update(f.Context(), next, 1)
	f.store.Touch(f.Context(), "a", f.clock.Now().Add(time.Second))
	f.mark(session.Marker{Kind: session.Ended, By: "a"}, time.Hour)
	f.store.Consume(f.Context(), "a", time.Hour)
	want(2)
	f.store.Delete(f.Context(), "a")
	want(1)
}
