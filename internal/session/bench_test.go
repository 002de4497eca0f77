package session_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"portero/internal/redistest"
	"portero/internal/session"
	"portero/internal/session/filestore"
	"portero/internal/session/memstore"
	"portero/internal/session/redisstore"
)

// stores opens each kind of store for a benchmark.
var stores = []struct {
	name string
	open func(b *testing.B) session.Store
}{
	{"memory", func(*testing.B) session.Store { return memstore.New(memstore.Config{}) }},
	{"file", func(b *testing.B) session.Store {
		s, err := filestore.Open(filestore.Config{Path: filepath.Join(b.TempDir(), "portero.db")})
		if err != nil {
			b.Fatal(err)
		}
		return s
	}},
	{"redis", func(b *testing.B) session.Store {
		s, err := redisstore.Dial(redisstore.Options{URL: redistest.Start(b).URL()})
		if err != nil {
			b.Fatal(err)
		}
		return s
	}},
}

func benchmark(b *testing.B, run func(b *testing.B, s *setup)) {
	for _, kind := range stores {
		b.Run(kind.name, func(b *testing.B) {
			store := kind.open(b)
			defer store.Close()
			s := newSetupOn(b, &faulty{Store: store}, nil, func(c *session.Config) { c.Now, c.Store, c.Metrics = nil, store, nil })
			b.ReportAllocs()
			run(b, s)
		})
	}
}

// BenchmarkLookupReady is the cost of a session on every request of somebody who is
// signed in: nothing is asked of the store.
func BenchmarkLookupReady(b *testing.B) {
	store := &faulty{Store: memstore.New(memstore.Config{})}
	b.Cleanup(func() { store.Close() })
	s := newSetupOn(b, store, nil, func(c *session.Config) { c.Now, c.Metrics = nil, nil; ready(b, c) })
	_, c := s.start(person(b, "ann", "s1"))
	r := with(c)
	b.ReportAllocs()
	for b.Loop() {
		if got, err := s.Lookup(r.Context(), r, host); err != nil || got.Session == nil {
			b.Fatal(got, err)
		}
	}
}

// BenchmarkLookupWarm reads the store, as a request does once a minute, and whenever
// the log of revocations cannot be read; the session is decoded already.
func BenchmarkLookupWarm(b *testing.B) {
	benchmark(b, func(b *testing.B, s *setup) {
		_, c := s.start(person(b, "ann", "s1"))
		r := with(c)
		for b.Loop() {
			if got, err := s.Lookup(r.Context(), r, host); err != nil || got.Session == nil {
				b.Fatal(got, err)
			}
		}
	})
}

// BenchmarkLookupCold decodes at each lookup: twenty sessions take turns in a cache
// of one.
func BenchmarkLookupCold(b *testing.B) {
	benchmark(b, func(b *testing.B, s *setup) {
		config := s.config
		config.CacheSize = 1
		m, err := session.NewManager(config)
		if err != nil {
			b.Fatal(err)
		}
		var requests []*http.Request
		for i := range 20 {
			_, c := s.start(person(b, fmt.Sprint("person", i), "s1"))
			requests = append(requests, with(c))
		}
		i := 0
		for b.Loop() {
			r := requests[i%len(requests)]
			if got, err := m.Lookup(r.Context(), r, host); err != nil || got.Session == nil {
				b.Fatal(got, err)
			}
			i++
		}
	})
}

// BenchmarkStart is one sign-in's share: a token, a sealed row, a cookie.
func BenchmarkStart(b *testing.B) {
	benchmark(b, func(b *testing.B, s *setup) {
		n := person(b, "ann", "s1")
		for b.Loop() {
			if _, err := s.Start(b.Context(), httptest.NewRecorder(), n); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkRevokeSubject ends the thousand sessions of one person: the marker, and
// then the rows.
func BenchmarkRevokeSubject(b *testing.B) {
	benchmark(b, func(b *testing.B, s *setup) {
		n := person(b, "ann", "s1")
		for b.Loop() {
			b.StopTimer()
			for range 1000 {
				if _, err := s.Start(b.Context(), httptest.NewRecorder(), n); err != nil {
					b.Fatal(err)
				}
			}
			b.StartTimer()
			ended, err := s.EndSubject(b.Context(), "ann", true)
			if err != nil {
				b.Fatal(err)
			}
			if cleared, err := s.Clear(b.Context(), ended); err != nil || len(cleared) != 1000 {
				b.Fatal(len(cleared), err)
			}
		}
	})
}

// TestMemoryOfTheCache: 100,000 identities of people of Logto take less than 150 MB.
func TestMemoryOfTheCache(t *testing.T) {
	if each := cacheOf(t, 10_000); each > 1500 {
		t.Errorf("%d bytes an identity, more than 1500", each)
	}
}

// BenchmarkCacheOf100000 measures the same with all of them.
func BenchmarkCacheOf100000(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(float64(cacheOf(b, 100_000)), "B/identity")
	}
}

// cacheOf fills a cache and returns how many bytes each identity takes.
func cacheOf(t testing.TB, people int) int {
	s := newSetup(t, func(c *session.Config) { c.Store = &oneRow{Store: c.Store} })
	one := s.config.Store.(*oneRow)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range people {
		name := fmt.Sprintf("%012d", i)
		n := person(t, name, fmt.Sprintf("%043d", i))
		n.UserAgent = fmt.Sprintf("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36", 100+i%50)
		n.IDToken = idToken(t, map[string]any{
			"sub": name, "name": nil, "picture": nil, "updated_at": 1795332755139, "username": nil, "created_at": 1795332754996,
			"email": "rec" + name + "@example.com", "email_verified": true, "roles": []string{}, "organizations": []string{},
			"organization_roles": []string{}, "auth_time": 1795332755, "nonce": "uc1V_Q0d0q0", "sid": n.SID,
			"aud": "xtped54fur8eyi6oo4q8s", "exp": 1795336355, "iat": 1795332755, "iss": "http://localhost:3011/oidc",
		}) + strings.Repeat("s", 124)
		n.AccessToken, n.RefreshToken = fmt.Sprintf("a%042d", i), fmt.Sprintf("r%042d", i)
		one.next()
		_, c := s.start(n)
		s.wantReason(c, session.Found)
	}
	one.next()
	taken := heap() - before
	if s.Decoded() != people {
		t.Errorf("%d of %d are kept", s.Decoded(), people)
	}
	runtime.KeepAlive(s)
	return int(taken) / people
}

// oneRow is a store that forgets every row but the last one.
type oneRow struct {
	session.Store
	last string
}

func (o *oneRow) Create(ctx context.Context, row session.Row) error {
	o.last = row.Key
	return o.Store.Create(ctx, row)
}

func (o *oneRow) next() {
	if o.last != "" {
		_, _ = o.Store.Delete(context.Background(), o.last)
	}
}
