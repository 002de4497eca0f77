package gatewaytest

import (
	"testing"
	"time"
)

// awaitLimit is how long something may take that a test waits for.
const awaitLimit = 20 * time.Second

// Await polls until is says so, and fails the test if it does not in time. It returns how long it took.
func Await(t testing.TB, what string, is func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		if time.Since(began) > awaitLimit {
			t.Fatalf("it never came true that %s", what)
		}
		<-tick.C
	}
	return time.Since(began)
}
