package gateway_test

import (
	"io"
	"net/http"
	"sync"
	"testing"

	"portero/internal/gatewaytest"
)

// BenchmarkSignOutOfManyStreams is how long it takes from the sign-out until the last of 1,000 event streams of that
// person has its end, on the replica that was asked.
func BenchmarkSignOutOfManyStreams(b *testing.B) {
	const streams = 1000
	for b.Loop() {
		b.StopTimer()
		a := newApp(b)
		rig := gatewaytest.New(b, &gatewaytest.Options{Routes: a.routes, Log: "level: error, access: false"})
		who := rig.SignedIn(b, "/")
		go func() { // the application waits until somebody hears that a stream is over
			for {
				select {
				case <-a.gone:
				case <-a.done:
					return
				}
			}
		}()
		var ended sync.WaitGroup
		for range streams {
			resp := who.Open(who.Request(http.MethodGet, rig.URL+"/events", nil, nil))
			ended.Go(func() {
				defer resp.Body.Close()
				if _, err := io.Copy(io.Discard, resp.Body); err != nil {
					b.Errorf("a stream broke off: %v", err)
				}
			})
		}
		b.StartTimer()
		who.Post(rig.URL+"/sign-out", nil)
		ended.Wait()
		b.StopTimer()
		rig.Stop(b)
		b.StartTimer()
	}
}
