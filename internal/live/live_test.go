package live_test

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"portero/internal/live"
)

func TestClosing(t *testing.T) {
	t.Parallel()
	type entry struct{ key, sid, subject string }
	entries := []entry{
		{"k1", "s1", "alice"},
		{"k2", "s1", "alice"},
		{"k3", "s2", "alice"},
		{"k4", "", "bob"},
		{"", "", ""}, // belongs to nobody
	}
	tests := map[string]struct {
		close func(*live.Registry) int
		want  []bool // which entries end
	}{
		"nothing by an unknown session":   {func(r *live.Registry) int { return r.CloseSession("k9") }, []bool{false, false, false, false, false}},
		"nothing by an empty session":     {func(r *live.Registry) int { return r.CloseSession("") }, []bool{false, false, false, false, false}},
		"nothing by an empty sid":         {func(r *live.Registry) int { return r.CloseSID("") }, []bool{false, false, false, false, false}},
		"nothing by an empty subject":     {func(r *live.Registry) int { return r.CloseSubject("") }, []bool{false, false, false, false, false}},
		"a sid is not a session's key":    {func(r *live.Registry) int { return r.CloseSession("s1") }, []bool{false, false, false, false, false}},
		"one session":                     {func(r *live.Registry) int { return r.CloseSession("k2") }, []bool{false, true, false, false, false}},
		"all sessions of a sid":           {func(r *live.Registry) int { return r.CloseSID("s1") }, []bool{true, true, false, false, false}},
		"all sessions of a person":        {func(r *live.Registry) int { return r.CloseSubject("alice") }, []bool{true, true, true, false, false}},
		"everything, nobody's things too": {func(r *live.Registry) int { return r.CloseAll() }, []bool{true, true, true, true, true}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := live.New()
			got := make([]int, len(entries))
			for i, e := range entries {
				r.Add(e.key, e.sid, e.subject, func() { got[i]++ })
			}
			n := tt.close(r)
			tt.close(r) // nothing ends twice
			ended := 0
			for i := range entries {
				want := 0
				if tt.want[i] {
					want = 1
					ended++
				}
				if got[i] != want {
					t.Errorf("%+v was ended %d times, want %d", entries[i], got[i], want)
				}
			}
			if n != ended {
				t.Errorf("got %d ended, want %d", n, ended)
			}
			if got, want := r.Len(), len(entries)-ended; got != want {
				t.Errorf("Len() = %d, want %d", got, want)
			}
		})
	}
}

func TestRemovedEntriesAreNotEnded(t *testing.T) {
	t.Parallel()
	r := live.New()
	e := r.Add("k", "s", "u", func() { t.Error("a removed entry was ended") })
	e.Endless()
	e.Remove()
	e.Remove()
	if got := r.CloseSession("k") + r.CloseEndless() + r.CloseAll(); got != 0 || r.Len() != 0 {
		t.Errorf("got %d ended and %d left, want none", got, r.Len())
	}
}

func TestAddedAfterTheSessionEnded(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		between func(*live.Registry)
		want    bool
	}{
		"nothing happened":           {func(*live.Registry) {}, false},
		"somebody else signed out":   {func(r *live.Registry) { r.CloseSession("other"); r.CloseSubject("bob") }, false},
		"the session ended":          {func(r *live.Registry) { r.CloseSession("other"); r.CloseSession("k") }, true},
		"its sid ended":              {func(r *live.Registry) { r.CloseSID("s") }, true},
		"the person was signed out":  {func(r *live.Registry) { r.CloseSubject("u"); r.CloseSubject("bob") }, true},
		"the process goes down":      {func(r *live.Registry) { r.CloseAll() }, true},
		"more ended than remembered": {func(r *live.Registry) { endMany(r, 5000) }, true},
		"many ended, all remembered": {func(r *live.Registry) { endMany(r, 4000) }, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := live.New()
			endMany(r, 10)
			since := r.Mark()
			tt.between(r)
			ended := 0
			e := r.AddSince(since, "k", "s", "u", func() { ended++ })
			if got := ended == 1; got != tt.want {
				t.Errorf("ended %d times, want ended: %v", ended, tt.want)
			}
			e.Remove()
			if r.Len() != 0 {
				t.Errorf("Len() = %d, want 0", r.Len())
			}
		})
	}
}

func endMany(r *live.Registry, n int) {
	for range n {
		r.CloseSession("other")
	}
}

func TestAnOldEndingDoesNotEndANewSession(t *testing.T) {
	t.Parallel()
	r := live.New()
	r.CloseSubject("u")
	r.AddSince(r.Mark(), "k", "s", "u", func() { t.Error("ended by a sign-out before the look-up") })
	r.Add("k2", "s", "u", func() { t.Error("ended by a sign-out before it was added") })
}

// What is endless ends first, and late comers too; what ends by itself goes on until CloseAll.
func TestEndless(t *testing.T) {
	t.Parallel()
	r := live.New()
	var got []string
	add := func(key, name string) *live.Entry {
		return r.Add(key, "", "", func() { got = append(got, name) })
	}
	add("k", "stream").Endless()
	add("", "stream of nobody").Endless()
	late := add("k", "answer that becomes a stream")
	add("k", "download")
	if r.CloseSession("other"); len(got) != 0 {
		t.Errorf("a sign-out of somebody else ended %q", got)
	}
	if n := r.CloseEndless(); n != 2 || len(got) != 2 || !r.Draining() {
		t.Errorf("got %q, counted %d, draining %v; want two streams and draining", got, n, r.Draining())
	}
	late.Endless()
	late.Endless()
	add("k", "new upload")
	add("k", "new stream").Endless()
	r.CloseEndless()
	if want := []string{"answer that becomes a stream", "new stream"}; len(got) != 4 || !slices.Equal(got[2:], want) {
		t.Errorf("afterwards: got %q, want %q behind the two", got, want)
	}
	if got := r.Len(); got != 2 {
		t.Errorf("Len() = %d, want 2, the download and the upload", got)
	}
	if n := r.CloseAll(); n != 2 || r.Len() != 0 {
		t.Errorf("CloseAll ended %d and left %d, want 2 and 0", n, r.Len())
	}
}

func TestDraining(t *testing.T) {
	t.Parallel()
	r := live.New()
	var atEnd bool
	r.Add("k", "", "", func() { atEnd = r.Draining() })
	if r.Draining() {
		t.Error("a new registry is draining")
	}
	r.CloseAll()
	if !atEnd {
		t.Error("the cancel function could not tell a shutdown")
	}
}

func TestDrained(t *testing.T) {
	t.Parallel()
	drained := func(r *live.Registry) bool {
		select {
		case <-r.Drained():
			return true
		default:
			return false
		}
	}
	r := live.New()
	one, two := r.Add("k", "", "", func() {}), r.Add("", "", "", func() {})
	one.Remove()
	if drained(r) {
		t.Error("drained before CloseAll")
	}
	r.CloseAll()
	if drained(r) {
		t.Error("drained while something is still being closed")
	}
	one.Remove()
	if drained(r) {
		t.Error("removing twice counted twice")
	}
	two.Remove()
	if !drained(r) {
		t.Error("not drained after everything was removed")
	}
	empty := live.New()
	empty.CloseAll()
	if !drained(empty) {
		t.Error("an empty registry is not drained by CloseAll")
	}
}

// Every entry that is there or comes while a session ends is either ended or
// was removed before.
func TestConcurrentEndings(t *testing.T) {
	t.Parallel()
	r := live.New()
	var over atomic.Bool // the session has ended, as the look-up sees it
	var served, ended atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				since := r.Mark()
				if over.Load() { // the look-up
					continue
				}
				served.Add(1)
				r.AddSince(since, "k", "s", "u", func() { ended.Add(1) })
			}
		})
	}
	wg.Go(func() {
		over.Store(true)
		r.CloseSession("k")
	})
	wg.Wait()
	if served.Load() != ended.Load() || r.Len() != 0 {
		t.Errorf("%d were served, %d ended, %d left", served.Load(), ended.Load(), r.Len())
	}
}

func BenchmarkAdd(b *testing.B) {
	r := live.New()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		cancel := func() {}
		for pb.Next() {
			r.AddSince(r.Mark(), "key", "sid", "subject", cancel).Remove()
		}
	})
}

func BenchmarkCloseSessionAmongTenThousand(b *testing.B) {
	r := live.New()
	for range 10_000 {
		r.Add("key", "sid", "subject", func() {})
	}
	b.ReportAllocs()
	for b.Loop() {
		r.CloseSession("other")
	}
}
