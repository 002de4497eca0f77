package gateway_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// RT-05: while Logto does not answer a session goes on for refresh_grace; then not, until it answers again.
func TestRefreshGrace(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"connections break": cut,
		"server error": func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "no", http.StatusInternalServerError)
			return true
		},
		"too many": func(w http.ResponseWriter, _ *http.Request) bool {
			gatewaytest.Refuse(w, http.StatusTooManyRequests, "slow_down")
			return true
		},
		"a proxy's page": func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "<h1>gone</h1>", http.StatusForbidden)
			return true
		},
		"no JSON": func(w http.ResponseWriter, _ *http.Request) bool { w.Write([]byte("<h1>hello</h1>")); return true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rig := refreshRig(t, &gatewaytest.Options{Session: "store: memory, refresh_grace: 30m"})
			b := rig.SignedIn(t, "/")
			answerRefresh(rig, away)
			rig.Clock.Add(quick)
			var calls int
			for range 30 {
				if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
					t.Fatalf("%s into the outage: got %s, want 200", rig.Clock.Now(), got.Status)
				}
				calls++
				rig.Clock.Add(time.Minute)
			}
			if got := rig.Issuer.Calls("/oidc/token"); got > calls+1 {
				t.Errorf("token calls: got %d for %d requests a minute apart", got, calls)
			}
			rig.Clock.Add(2 * time.Minute)
			got := b.Get(rig.URL + "/")
			if got.StatusCode == http.StatusOK {
				t.Fatalf("after refresh_grace: got %s, want a sign-in", got.Status)
			}
			answerRefresh(rig, nil)
			rig.Clock.Add(time.Minute)
			if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
				t.Errorf("once Logto answers: got %s, want 200 with the same session", got.Status)
			}
			if got := len(rig.Issuer.Requests()); got != 1 {
				t.Errorf("authorization requests: got %d, want none but the first", got)
			}
		})
	}
}

// Whoever comes between two attempts does not ask Logto, and neither do those who read the session before the last
// attempt failed.
func TestRefreshBackOff(t *testing.T) {
	t.Parallel()
	rig := refreshRig(t, nil)
	b := rig.SignedIn(t, "/")
	answerRefresh(rig, cut)
	rig.Clock.Add(quick)
	var wait sync.WaitGroup
	for range 50 {
		wait.Go(func() {
			if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
				t.Errorf("got %s, want 200", got.Status)
			}
		})
	}
	wait.Wait()
	if got := rig.Issuer.Calls("/oidc/token"); got != 2 {
		t.Errorf("token calls of 50 requests at once: got %d, want the sign-in's and 1", got)
	}
	for range 6 {
		rig.Clock.Add(time.Second)
		b.Get(rig.URL + "/")
	}
	if got := rig.Issuer.Calls("/oidc/token"); got != 3 {
		t.Errorf("token calls six seconds later: got %d, want 3: one more after two seconds, while a rotated token is still taken", got)
	}
	for range 20 * 60 {
		rig.Clock.Add(time.Second)
		b.Get(rig.URL + "/")
	}
	if got := rig.Issuer.Calls("/oidc/token"); got < 20 || got > 60 {
		t.Errorf("token calls in twenty minutes of a request a second: got %d, want 20 to 60", got)
	}
}

// RT-09: Logto that takes its time holds a request up for five seconds, not for its whole time.
func TestRefreshSlow(t *testing.T) {
	t.Parallel()
	rig := refreshRig(t, nil)
	b := rig.SignedIn(t, "/")
	release := make(chan struct{})
	answerRefresh(rig, func(http.ResponseWriter, *http.Request) bool { <-release; return false })
	rig.Clock.Add(quick)
	start := time.Now()
	got := b.Get(rig.URL + "/")
	if took := time.Since(start); got.StatusCode != http.StatusOK || took > 8*time.Second || took < 4*time.Second {
		t.Errorf("got %s after %s, want 200 after five seconds", got.Status, took)
	}
	close(release)
	eventually(t, "the refresh has succeeded all the same", func() bool { return refreshes(t, rig, "succeeded") == "1" })
}

// A refresh token that came is kept even if what came with it cannot be verified now: the one before is worth nothing.
func TestRotatedTokenOutlivesAnOutage(t *testing.T) {
	t.Parallel()
	rig := refreshRig(t, nil)
	b := rig.SignedIn(t, "/")
	rig.Issuer.Rotate() // the key is not known yet, and cannot be fetched
	rig.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.Rotating = true
		i.Answer = func(_ http.ResponseWriter, r *http.Request) bool { return r.URL.Path == "/oidc/jwks" && cut(nil, nil) }
	})
	rig.Clock.Add(quick)
	for range 3 {
		if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
			t.Fatalf("while keys cannot be fetched: got %s, want 200", got.Status)
		}
		rig.Clock.Add(time.Minute)
	}
	answerRefresh(rig, nil)
	rig.Clock.Add(2 * time.Minute)
	if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
		t.Errorf("afterwards: got %s, want 200", got.Status)
	}
	if got := refreshes(t, rig, "succeeded"); got != "1" {
		t.Errorf("refreshes that succeeded: got %s, want 1", got)
	}
}
