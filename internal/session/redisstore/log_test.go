package redisstore_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"portero/internal/session"
	"portero/internal/session/redisstore"
	"portero/internal/session/storetest"
)

const logKey = "portero:log"

// read is what Published says of a place: the names in one text, or "lost".
func read(t *testing.T, s *redisstore.Store, place string) (names, next string) {
	t.Helper()
	rs, next, whole, err := s.Published(t.Context(), place)
	if err != nil {
		t.Fatalf("Published: %v", err)
	}
	if !whole {
		return "lost", next
	}
	for _, r := range rs {
		names += r.By
	}
	return names, next
}

func publish(t *testing.T, s *redisstore.Store, clock *storetest.Clock, names string) {
	t.Helper()
	for _, name := range names {
		if err := s.Publish(t.Context(), session.Revocation{By: string(name), At: clock.Now()}); err != nil {
			t.Fatalf("Publish: %v", err)
		}
	}
}

// A reader that stands behind a learns of b, c and d, or that it cannot know.
func TestLogThatIsNotTheSame(t *testing.T) {
	t.Parallel()
	drop := func(at ...int) func(entries []miniredis.StreamEntry) []miniredis.StreamEntry {
		return func(entries []miniredis.StreamEntry) (left []miniredis.StreamEntry) {
			for i, entry := range entries {
				if len(at) > 0 && at[0] == i {
					at = at[1:]
					continue
				}
				left = append(left, entry)
			}
			return left
		}
	}
	set := func(at int, field, value string) func(entries []miniredis.StreamEntry) []miniredis.StreamEntry {
		return func(entries []miniredis.StreamEntry) []miniredis.StreamEntry {
			for i := 0; i < len(entries[at].Values); i += 2 {
				if entries[at].Values[i] == field {
					entries[at].Values[i+1] = value
				}
			}
			return entries
		}
	}
	// Entries: 0 begins the log, 1 is a, 2 b, 3 c, 4 d.
	for _, test := range []struct {
		name   string
		change func(entries []miniredis.StreamEntry) []miniredis.StreamEntry
		want   string
	}{
		{"untouched", drop(), "bcd"},
		{"trimmed before the place", drop(0), "bcd"},
		{"trimmed up to the place", drop(0, 1), "bcd"},
		{"trimmed behind the place", drop(0, 1, 2), "lost"},
		{"trimmed to the last", drop(0, 1, 2, 3), "lost"},
		{"gone", drop(0, 1, 2, 3, 4), "lost"},
		{"ends before the place", drop(1, 2, 3, 4), "lost"},
		{"ends at the place", drop(2, 3, 4), ""},
		{"one in between is missing", drop(3), "lost"},
		{"another entry has the ID of the place", set(1, "i", "another_tag_"), "lost"},
		{"the place was lost, and what came later follows another", func(e []miniredis.StreamEntry) []miniredis.StreamEntry {
			return set(1, "p", "another_tag_")(drop(1)(e))
		}, "lost"},
		{"an entry follows another", set(3, "p", "another_tag_"), "lost"},
		{"a time that is none", set(3, "a", "soon"), "lost"},
		{"an entry of somebody else", func(e []miniredis.StreamEntry) []miniredis.StreamEntry {
			e[4].Values = []string{"x", "y"}
			return e
		}, "lost"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			clock := storetest.NewClock()
			mini := newMini(t, clock)
			s := open(t, redis.UniversalOptions{Addrs: []string{mini.Addr()}}, "")
			_, begin := read(t, s, "")
			publish(t, s, clock, "a")
			_, place := read(t, s, begin)
			publish(t, s, clock, "bcd")
			entries, err := mini.Stream(logKey)
			if err != nil || len(entries) != 5 {
				t.Fatalf("%d entries, %v; want 5", len(entries), err)
			}
			entries = test.change(entries)
			mini.Del(logKey)
			for _, entry := range entries {
				if _, err := mini.XAdd(logKey, entry.ID, entry.Values); err != nil {
					t.Fatal(err)
				}
			}
			got, next := read(t, s, place)
			if got != test.want {
				t.Errorf("behind the place: %q, want %q", got, test.want)
			}
			publish(t, s, clock, "e")
			if got, _ := read(t, s, next); got != "e" {
				t.Errorf("from where it went on: %q, want e", got)
			}
		})
	}
}

// The server was restarted without its data, or another took over that had less of it,
// and meanwhile as much has been published as before.
func TestLogBegunAnew(t *testing.T) {
	t.Parallel()
	clock := storetest.NewClock() // it stands still: the IDs are the same again
	mini := newMini(t, clock)
	s := open(t, redis.UniversalOptions{Addrs: []string{mini.Addr()}}, "")
	read(t, s, "")
	publish(t, s, clock, "abc")
	_, place := read(t, s, "")
	mini.FlushAll()
	read(t, s, "")
	publish(t, s, clock, "xyz")
	if _, again := read(t, s, ""); strings.Split(again, ".")[0] != strings.Split(place, ".")[0] || again == place {
		t.Errorf("the log ends at %s, want the ID of %s and another tag", again, place)
	}
	if got, _ := read(t, s, place); got != "lost" {
		t.Errorf("behind an entry of the log before: %q, want that some may be missing", got)
	}
	publish(t, s, clock, "w")
	if got, _ := read(t, s, place); got != "lost" {
		t.Errorf("behind an entry of the log before, and one that follows another: %q, want that some may be missing", got)
	}
}

func TestLogIsBounded(t *testing.T) {
	t.Parallel()
	clock := storetest.NewClock()
	mini := newMini(t, clock)
	s := open(t, redis.UniversalOptions{Addrs: []string{mini.Addr()}}, "")
	for range 100 {
		publish(t, s, clock, "a")
		clock.Advance(session.LogLife / 10)
	}
	if entries, err := mini.Stream(logKey); len(entries) < 10 || len(entries) > 20 || err != nil {
		t.Errorf("%d entries, %v; want those of the last %s", len(entries), err, session.LogLife)
	}
	// A reader that was there all the time loses nothing.
	_, place := read(t, s, "")
	for i := range 50 {
		publish(t, s, clock, strconv.Itoa(i%10))
		clock.Advance(session.LogLife / 2)
		got, next := read(t, s, place)
		if got != strconv.Itoa(i%10) {
			t.Fatalf("entry %d: %q", i, got)
		}
		place = next
	}
}

// A log under its key that is none stops those who rely on it.
func TestLogOfAnotherType(t *testing.T) {
	t.Parallel()
	clock := storetest.NewClock()
	mini := newMini(t, clock)
	s := open(t, redis.UniversalOptions{Addrs: []string{mini.Addr()}}, "")
	_, place := read(t, s, "")
	mini.Del(logKey)
	mini.Set(logKey, "garbage")
	for _, place := range []string{place, ""} {
		if rs, next, whole, err := s.Published(t.Context(), place); err == nil || whole {
			t.Errorf("Published(%q) = %v, %q, %t, %v; want an error", place, rs, next, whole, err)
		}
	}
	if err := s.Publish(t.Context(), session.Revocation{By: "a", At: clock.Now()}); err == nil {
		t.Error("Publish: no error")
	}
}

// Reading and writing by pages, of which the last is full.
func TestLogPages(t *testing.T) {
	t.Parallel()
	clock := storetest.NewClock()
	s := open(t, redis.UniversalOptions{Addrs: []string{newMini(t, clock).Addr()}}, "")
	_, place := read(t, s, "")
	var rs []session.Revocation
	for i := range 2 * session.LogPage {
		rs = append(rs, session.Revocation{By: fmt.Sprint(i), At: clock.Now().Add(time.Duration(i))})
	}
	if err := s.Publish(t.Context(), rs...); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{session.LogPage, session.LogPage, 0} {
		got, next, whole, err := s.Published(t.Context(), place)
		if len(got) != want || !whole || err != nil {
			t.Fatalf("page %d: %d entries, whole %t, %v; want %d", i, len(got), whole, err, want)
		}
		if want > 0 && got[0].By != fmt.Sprint(i*session.LogPage) {
			t.Errorf("page %d begins with %s", i, got[0].By)
		}
		place = next
	}
}
