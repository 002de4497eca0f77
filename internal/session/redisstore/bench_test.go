package redisstore_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/redistest"
	"portero/internal/session"
	"portero/internal/session/redisstore"
)

// sealedSize is what a sealed record with an ID token takes.
const sealedSize = 1350

func name(kind string, i int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", kind, i))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// sealed is a row as the gateway writes it: names are hashes, and each person has one
// session.
func sealed(i int, now time.Time) session.Row {
	body := make([]byte, sealedSize)
	rand.Read(body)
	return session.Row{
		Key: name("key", i), Version: 1, Subject: name("subject", i), SID: name("sid", i),
		CreatedAt: now, LastUsed: now, ExpiresAt: now.Add(14 * 24 * time.Hour), Body: body,
	}
}

func dial(t testing.TB, url string) *redisstore.Store {
	t.Helper()
	s, err := redisstore.Dial(redisstore.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// markers are those that a lookup asks for.
func markers(row session.Row) []session.Marker {
	return []session.Marker{
		{Kind: session.Ended, By: "session:" + row.Key}, {Kind: session.Ended, By: "sid:" + row.SID}, {Kind: session.Ended, By: "subject:" + row.Subject},
	}
}

func BenchmarkColdLookup(b *testing.B) {
	s := dial(b, redistest.Start(b).URL())
	rows := make([]session.Row, 100)
	for i := range rows {
		rows[i] = sealed(i, time.Now())
		if err := s.Create(b.Context(), rows[i]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		row := rows[i%len(rows)]
		if _, found, err := s.Get(b.Context(), row.Key); !found || err != nil {
			b.Fatal(found, err)
		}
		if _, err := s.Marked(b.Context(), markers(row)...); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCreate(b *testing.B) {
	s := dial(b, redistest.Start(b).URL())
	now := time.Now()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := s.Create(b.Context(), sealed(i, now)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTouch(b *testing.B) {
	s := dial(b, redistest.Start(b).URL())
	row := sealed(0, time.Now())
	if err := s.Create(b.Context(), row); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if ok, err := s.Touch(b.Context(), row.Key, row.LastUsed.Add(time.Duration(i)*time.Microsecond)); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkPublish(b *testing.B) {
	s := dial(b, redistest.Start(b).URL())
	r := session.Revocation{By: "session:" + name("key", 0), At: time.Now()}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Publish(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}

// Nothing new: what each replica asks each 500 ms.
func BenchmarkPublished(b *testing.B) {
	s := dial(b, redistest.Start(b).URL())
	if err := s.Publish(b.Context(), session.Revocation{By: "session:" + name("key", 0), At: time.Now()}); err != nil {
		b.Fatal(err)
	}
	_, next, _, err := s.Published(b.Context(), "")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, whole, err := s.Published(b.Context(), next); !whole || err != nil {
			b.Fatal(whole, err)
		}
	}
}

// TestMillion fills a server and says what a session takes and how long a lookup does.
// It takes minutes and two gigabytes.
func TestMillion(t *testing.T) {
	if os.Getenv("PORTERO_TEST_MILLION") != "1" {
		t.Skip("PORTERO_TEST_MILLION=1 fills a Redis with a million sessions")
	}
	server := redistest.Start(t)
	s := dial(t, server.URL())
	// What does not belong to sessions: the scripts and the connections.
	if err := s.Create(t.Context(), sealed(-1, time.Now())); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Delete(t.Context(), name("key", -1)); err != nil {
		t.Fatal(err)
	}
	empty := usedMemory(t, server)
	filled := 0
	for _, size := range []int{1_000, 10_000, 100_000, 1_000_000} {
		began := time.Now()
		fill(t, s, filled, size)
		took := time.Since(began)
		filled = size
		each := float64(usedMemory(t, server)-empty) / float64(size)
		count, err := s.Count(t.Context())
		if err != nil || count != size {
			t.Errorf("Count = %d, %v; want %d", count, err, size)
		}
		get, all := medians(t, s, size)
		began = time.Now()
		if rows, _, err := s.List(t.Context(), session.Filter{}, "", 100); len(rows) == 0 || err != nil {
			t.Errorf("List = %d rows, %v", len(rows), err)
		}
		t.Logf("%9d sessions: %.0f bytes each; median of Get %s, with Marked %s; a page of the list %s; filled in %s",
			size, each, get, all, time.Since(began).Round(10*time.Microsecond), took.Round(time.Millisecond))
		if size >= 100_000 && each >= 2048 {
			t.Errorf("%d sessions take %.0f bytes each, want less than 2048", size, each)
		}
	}
}

func fill(t *testing.T, s *redisstore.Store, from, to int) {
	t.Helper()
	var wg sync.WaitGroup
	const writers = 16
	now := time.Now()
	for w := range writers {
		wg.Go(func() {
			for i := from + w; i < to; i += writers {
				if err := s.Create(t.Context(), sealed(i, now)); err != nil {
					t.Errorf("Create: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// medians are those of Get alone, and with the markers that a lookup asks for.
func medians(t *testing.T, s *redisstore.Store, size int) (get, all time.Duration) {
	t.Helper()
	var gets, alls []time.Duration
	for i := range 2000 {
		key := name("key", i*7919%size)
		began := time.Now()
		row, found, err := s.Get(t.Context(), key)
		gets = append(gets, time.Since(began))
		if !found || err != nil {
			t.Fatalf("Get = %t, %v", found, err)
		}
		if _, err := s.Marked(t.Context(), markers(row)...); err != nil {
			t.Fatal(err)
		}
		alls = append(alls, time.Since(began))
	}
	slices.Sort(gets)
	slices.Sort(alls)
	return gets[len(gets)/2], alls[len(alls)/2]
}

func usedMemory(t *testing.T, server *redistest.Server) int {
	t.Helper()
	info, err := server.Client.Info(context.Background(), "memory").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(info, "used_memory:")
	n, err := strconv.Atoi(strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
