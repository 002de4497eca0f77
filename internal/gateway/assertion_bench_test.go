package gateway

import (
	"fmt"
	"testing"
	"time"

	"portero/internal/assertion"
	"portero/internal/assertion/signed"
)

// BenchmarkAssertion is what the signed assertion adds to the headers of one request: told again, as it is without `bind`, and
// made for the request, as it is with it. `ratio` is over the headers without it.
func BenchmarkAssertion(b *testing.B) {
	g, cookie := benchGateway(b, "http://127.0.0.1:1", false)
	gen := g.current.Load()
	found, err := gen.sessions.Lookup(b.Context(), benchRequest("/reports", cookie), "localhost")
	if err != nil || found.Session == nil {
		b.Fatal(err, found.Reason)
	}
	set, err := assertion.NewSet(assertion.DefaultHeaders())
	if err != nil {
		b.Fatal(err)
	}
	headers := func(a *signed.Assertion) time.Duration {
		h := benchRequest("/reports", cookie).Header
		const times = 200
		start := time.Now()
		for i := range times {
			set.Apply(h, &found.Session.Identity)
			if a == nil {
				continue
			}
			token, err := a.Token(&found.Session.Identity, signed.Request{
				Origin: "http://localhost:3000", Method: "GET", Path: fmt.Sprintf("/reports/%d", i), SessionID: found.Session.ID, Version: found.Session.Version,
			})
			if err != nil {
				b.Fatal(err)
			}
			h["X-Portero-Assertion"] = []string{token}
		}
		return time.Since(start) / times
	}
	for name, bound := range map[string]bool{"told again": false, "bound": true} {
		b.Run(name, func(b *testing.B) {
			a := &signed.Assertion{Keys: gen.signing, Issuer: "http://localhost:3000", Method: bound, Path: bound}
			var with, without time.Duration
			rounds := 0
			for b.Loop() {
				with, without, rounds = with+headers(a), without+headers(nil), rounds+1
			}
			b.ReportMetric(float64((with-without).Nanoseconds())/float64(rounds), "added-ns")
			b.ReportMetric(float64(with)/float64(without), "ratio")
		})
	}
}
