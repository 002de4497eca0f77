package live_test

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/live"
)

// at is a moment, so many seconds after a beginning.
func at(seconds int) time.Time { return time.Unix(1_800_000_000+int64(seconds), 0) }

// of is a session with these names, created at the beginning.
func of(names ...string) live.Session { return live.Session{Names: names, Created: at(0)} }

func TestClosing(t *testing.T) {
	t.Parallel()
	entries := []live.Session{
		of("session:1", "subject:alice", "sid:1"),
		of("session:2", "subject:alice", "sid:1"),
		of("session:3", "subject:alice", "sid:2"),
		of("session:4", "subject:bob"),
		{}, // belongs to nobody
		{Names: []string{"session:6", "subject:alice", "sid:1"}, Created: at(5)}, // signed in again
	}
	tests := map[string]struct {
		close func(*live.Registry) int
		want  []int // which entries end
	}{
		"nothing by an unknown session": {func(r *live.Registry) int { return r.Close("session:9", at(9)) }, nil},
		"nothing by an empty name":      {func(r *live.Registry) int { return r.Close("", at(9)) }, nil},
		"nothing by no endings":         {func(r *live.Registry) int { return r.CloseEach(nil) }, nil},
		"nothing by empty names": {func(r *live.Registry) int {
			return r.CloseEach([]live.Ending{{"", at(9)}, {"", at(9)}})
		}, nil},
		"names are whole":                                 {func(r *live.Registry) int { return r.Close("session:", at(9)) }, nil},
		"one session":                                     {func(r *live.Registry) int { return r.Close("session:2", at(9)) }, []int{1}},
		"one created at that very moment":                 {func(r *live.Registry) int { return r.Close("session:2", at(0)) }, []int{1}},
		"none created after it":                           {func(r *live.Registry) int { return r.Close("session:2", at(-1)) }, nil},
		"all sessions of a sid, but not the newer one":    {func(r *live.Registry) int { return r.Close("sid:1", at(4)) }, []int{0, 1}},
		"all sessions of a person, but not the newer one": {func(r *live.Registry) int { return r.Close("subject:alice", at(4)) }, []int{0, 1, 2}},
		"the newer one by a newer ending":                 {func(r *live.Registry) int { return r.Close("sid:1", at(5)) }, []int{0, 1, 5}},
		"several at once": {func(r *live.Registry) int {
			return r.CloseEach([]live.Ending{{"session:3", at(1)}, {"", at(9)}, {"subject:bob", at(1)}, {"sid:1", at(-1)}})
		}, []int{2, 3}},
		"the latest of one name counts": {func(r *live.Registry) int {
			return r.CloseEach([]live.Ending{{"sid:1", at(-1)}, {"sid:1", at(6)}, {"sid:1", at(4)}})
		}, []int{0, 1, 5}},
		"everything, nobody's things too": {func(r *live.Registry) int { return r.CloseAll() }, []int{0, 1, 2, 3, 4, 5}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := live.New()
			got := make([]int, len(entries))
			for i, e := range entries {
				r.Add(e, func() { got[i]++ })
			}
			n := tt.close(r)
			tt.close(r) // nothing ends twice
			for i := range entries {
				want := 0
				if slices.Contains(tt.want, i) {
					want = 1
				}
				if got[i] != want {
					t.Errorf("%+v was ended %d times, want %d", entries[i], got[i], want)
				}
			}
			if n != len(tt.want) {
				t.Errorf("got %d ended, want %d", n, len(tt.want))
			}
			if got, want := r.Len(), len(entries)-len(tt.want); got != want {
				t.Errorf("Len() = %d, want %d", got, want)
			}
		})
	}
}

func TestRemovedEntriesAreNotEnded(t *testing.T) {
	t.Parallel()
	r := live.New()
	e := r.Add(alice(), func() { t.Error("a removed entry was ended") })
	e.Endless()
	e.Remove()
	e.Remove()
	if got := r.Close("session:k", at(9)) + r.CloseEndless() + r.CloseAll(); got != 0 || r.Len() != 0 {
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
		"somebody else signed out":   {func(r *live.Registry) { r.Close("session:other", at(9)); r.Close("subject:bob", at(9)) }, false},
		"the session ended":          {func(r *live.Registry) { r.Close("session:other", at(9)); r.Close("session:k", at(9)) }, true},
		"it ended among others":      {func(r *live.Registry) { r.CloseEach([]live.Ending{{"session:other", at(9)}, {"session:k", at(9)}}) }, true},
		"its sid ended":              {func(r *live.Registry) { r.Close("sid:s", at(9)) }, true},
		"the person was signed out":  {func(r *live.Registry) { r.Close("subject:u", at(9)); r.Close("subject:bob", at(9)) }, true},
		"it ended when it began":     {func(r *live.Registry) { r.Close("subject:u", at(0)) }, true},
		"an ending from before it":   {func(r *live.Registry) { r.Close("subject:u", at(-1)) }, false},
		"all are asked about":        {func(r *live.Registry) { r.Sessions() }, false},
		"asked about, and ended":     {func(r *live.Registry) { r.Sessions(); r.Close("sid:s", at(9)) }, true},
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
			e := r.AddSince(since, alice(), func() { ended++ })
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
		r.Close("session:other", at(9))
	}
}

// alice is a session of somebody.
func alice() live.Session { return of("session:k", "subject:u", "sid:s") }

func TestAnOldEndingDoesNotEndANewSession(t *testing.T) {
	t.Parallel()
	r := live.New()
	r.Close("subject:u", at(9))
	r.AddSince(r.Mark(), alice(), func() { t.Error("ended by a sign-out before the look-up") })
	r.Add(of("session:k2", "subject:u", "sid:s"), func() { t.Error("ended by a sign-out before it was added") })
}

// A revocation that is said again, as replicas do, spares whoever has signed in since.
func TestARepeatedEndingDoesNotEndANewSession(t *testing.T) {
	t.Parallel()
	r := live.New()
	since := r.Mark()
	r.Close("subject:u", at(9))
	newer := live.Session{Names: []string{"session:k2", "subject:u", "sid:s"}, Created: at(10)}
	r.AddSince(since, newer, func() { t.Error("the newer session was ended") })
	for range 3 {
		r.Close("subject:u", at(9))
		r.CloseEach([]live.Ending{{"sid:s", at(9)}, {"subject:u", at(9)}})
	}
	if r.Len() != 1 {
		t.Errorf("Len() = %d, want 1", r.Len())
	}
}

// What idles is named until somebody says that it was used; what expires ends by itself.
func TestDue(t *testing.T) {
	t.Parallel()
	r := live.New()
	ended := map[string]int{}
	add := func(name string, ends, expires time.Time) *live.Entry {
		s := live.Session{Created: at(0), Ends: ends, Expires: expires}
		if name != "" {
			s.Names = []string{name, "subject:u"}
		}
		return r.Add(s, func() { ended[name]++ })
	}
	add("idles", at(10), at(20))
	add("idles", at(10), at(20)) // another connection
	add("idles later", at(11), at(20))
	add("expires", at(10), at(10))
	add("never", time.Time{}, time.Time{})
	add("", time.Time{}, time.Time{})
	due := func(seconds int, want ...string) {
		t.Helper()
		got := r.Due(at(seconds))
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("due after %d s: got %q, want %q", seconds, got, want)
		}
	}
	due(9)
	if len(ended) != 0 || r.Len() != 6 {
		t.Errorf("ended too early: %v", ended)
	}
	due(10, "idles")
	due(10, "idles") // nobody has said anything
	if ended["expires"] != 1 || len(ended) != 1 {
		t.Errorf("at the absolute end: %v have ended, want one", ended)
	}
	r.Extend(map[string]time.Time{"idles": at(15), "unknown": at(1), "": at(1), "subject:u": at(1)})
	r.Extend(nil)
	due(14, "idles later")
	due(15, "idles", "idles later")
	r.Extend(map[string]time.Time{"idles": {}})
	due(19, "idles later")
	due(20)
	if ended["idles"] != 2 || ended["idles later"] != 1 || len(ended) != 3 || r.Len() != 2 {
		t.Errorf("at last: %v have ended, %d left", ended, r.Len())
	}
}

// Everything is asked about once the log of endings was lost, what comes late too.
func TestSessions(t *testing.T) {
	t.Parallel()
	r := live.New()
	quiet := func() { t.Error("something was ended") }
	since := r.Mark()
	r.Add(of("session:1", "subject:u"), quiet)
	r.Add(of("session:1", "subject:u"), quiet)
	r.Add(of("session:2", "subject:u"), quiet)
	r.Add(live.Session{}, quiet)
	got := r.Sessions()
	slices.Sort(got)
	if want := []string{"session:1", "session:2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	r.AddSince(since, of("session:late"), quiet)
	r.AddSince(r.Mark(), of("session:looked up since"), quiet)
	r.AddSince(since, live.Session{}, quiet)
	if got := r.Due(at(0)); !slices.Equal(got, []string{"session:late"}) {
		t.Errorf("due: got %q, want the one that was looked up before", got)
	}
	r.Extend(map[string]time.Time{"session:late": at(5)})
	if got := r.Due(at(0)); len(got) != 0 {
		t.Errorf("due after it was asked about: %q", got)
	}
}

// What is endless ends first, and late comers too; what ends by itself goes on until CloseAll.
func TestEndless(t *testing.T) {
	t.Parallel()
	r := live.New()
	var got []string
	add := func(key, name string) *live.Entry {
		return r.Add(of(key), func() { got = append(got, name) })
	}
	add("k", "stream").Endless()
	add("", "stream of nobody").Endless()
	late := add("k", "answer that becomes a stream")
	add("k", "download")
	if r.Close("other", at(9)); len(got) != 0 {
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
	r.Add(of("k"), func() { atEnd = r.Draining() })
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
	one, two := r.Add(of("k"), func() {}), r.Add(live.Session{}, func() {})
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
				r.AddSince(since, alice(), func() { ended.Add(1) })
			}
		})
	}
	wg.Go(func() {
		over.Store(true)
		r.CloseEach([]live.Ending{{"session:k", at(0)}, {"session:other", at(0)}})
	})
	wg.Go(func() {
		for range 100 { // what else goes on meanwhile
			r.Due(at(0))
			r.Extend(map[string]time.Time{"session:k": at(5)})
			r.Sessions()
		}
	})
	wg.Wait()
	if served.Load() != ended.Load() || r.Len() != 0 {
		t.Errorf("%d were served, %d ended, %d left", served.Load(), ended.Load(), r.Len())
	}
}

func BenchmarkAdd(b *testing.B) {
	r := live.New()
	s := alice()
	s.Ends, s.Expires = at(10), at(20)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		cancel := func() {}
		for pb.Next() {
			r.AddSince(r.Mark(), s, cancel).Remove()
		}
	})
}

// crowd is a registry with so many entries, each of its own session.
func crowd(b *testing.B, n int) *live.Registry {
	b.Helper()
	r := live.New()
	for i := range n {
		s := of(fmt.Sprint("session:", i), fmt.Sprint("subject:", i), fmt.Sprint("sid:", i))
		s.Ends, s.Expires = at(math.MaxInt32), at(math.MaxInt32)
		r.Add(s, func() {})
	}
	return r
}

func BenchmarkCloseSessionAmongTenThousand(b *testing.B) {
	r := crowd(b, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		r.Close("session:other", at(9))
	}
}

// A page of the revocation log at once.
func BenchmarkCloseThousandAmongTenThousand(b *testing.B) {
	r := crowd(b, 10_000)
	var endings []live.Ending
	for i := range 1000 {
		endings = append(endings, live.Ending{Name: fmt.Sprint("session:other", i), At: at(9)})
	}
	b.ReportAllocs()
	for b.Loop() {
		r.CloseEach(endings)
	}
}

func BenchmarkDueAmongTenThousand(b *testing.B) {
	r := crowd(b, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		if len(r.Due(at(0))) != 0 {
			b.Fatal("something is due")
		}
	}
}

func BenchmarkCloseFiveThousand(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		r := live.New()
		for range 5000 {
			r.Add(alice(), func() {})
		}
		b.StartTimer()
		if n := r.Close("subject:u", at(9)); n != 5000 {
			b.Fatalf("%d ended", n)
		}
	}
}
