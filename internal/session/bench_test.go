package session_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"portero/internal/session"
	"portero/internal/session/filestore"
	"portero/internal/session/memstore"
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

// BenchmarkLookupWarm is the cost of a session on every request of somebody who is
// signed in.
func BenchmarkLookupWarm(b *testing.B) {
	benchmark(b, func(b *testing.B, s *setup) {
		_, c := s.start(person(b, "ann", "s1"))
		r := with(c)
		for b.Loop() {
			if got, err := s.Lookup(r.Context(), r); err != nil || got.Session == nil {
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
			if got, err := m.Lookup(r.Context(), r); err != nil || got.Session == nil {
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
