package gateway

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"syscall"
	"testing"
	"time"
)

// cpu is what this process has used so far.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkForwardAuth is one check with a warm session: ns/op in the handler alone; and over loopback, in turns with a handler
// that gives the same answer to everything, cpu-µs is the processor time of one check beyond that of one such answer, and `ratio` that of the
// whole checks over the whole answers, as medians.
func BenchmarkForwardAuth(b *testing.B) {
	g, cookie := benchGateway(b, "http://127.0.0.1:1", false)
	ask := func() *http.Request {
		r := benchRequest("/_portero/auth", cookie)
		r.Header.Set("X-Forwarded-For", "192.0.2.7")
		r.Header.Set("X-Forwarded-Proto", "http")
		r.Header.Set("X-Forwarded-Host", "localhost:3000")
		r.Header.Set("X-Forwarded-Method", "GET")
		r.Header.Set("X-Forwarded-Uri", "/reports/2026?q=a")
		return r
	}
	b.Run("handler", func(b *testing.B) {
		h, r := g.Handler(), ask()
		b.ReportAllocs()
		for b.Loop() {
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code != http.StatusOK || w.Header().Get("X-Forwarded-User") == "" {
				b.Fatal(w.Code, w.Body)
			}
		}
	})
	b.Run("loopback", func(b *testing.B) {
		gate := httptest.NewServer(g.Handler())
		defer gate.Close()
		recorded := httptest.NewRecorder()
		g.Handler().ServeHTTP(recorded, ask())
		bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			maps.Copy(w.Header(), recorded.Header())
			w.WriteHeader(http.StatusOK)
		}))
		defer bare.Close()
		client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
		const batch = 500
		cost := func(base string) time.Duration {
			before := cpu(b)
			for range batch {
				r := ask()
				r.RequestURI = ""
				r.URL, _ = r.URL.Parse(base + "/_portero/auth")
				resp, err := client.Do(r)
				if err != nil {
					b.Fatal(err)
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					b.Fatal(resp.Status)
				}
			}
			return (cpu(b) - before) / batch
		}
		cost(bare.URL)
		cost(gate.URL)
		var own, ratio []float64
		for b.Loop() {
			a, c := cost(bare.URL), cost(gate.URL)
			own, ratio = append(own, float64(c-a)/1e3), append(ratio, float64(c)/float64(a))
		}
		slices.Sort(own)
		slices.Sort(ratio)
		b.ReportMetric(own[len(own)/2], "cpu-µs")
		b.ReportMetric(ratio[len(ratio)/2], "ratio")
	})
}
