package replicas_test

import (
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// atOnce uses a session n times over all replicas at the same moment, and returns how long that took.
func (s *site) atOnce(c *client, n int) time.Duration {
	var using sync.WaitGroup
	start, began := make(chan struct{}), time.Now()
	for i := range n {
		r := s.Replicas[i%replicas]
		using.Go(func() {
			<-start
			if a, err := c.use(r); err != nil || !c.let(a) {
				s.t.Errorf("%s: got %s, %v, want 200", r, a, err)
			}
		})
	}
	close(start)
	using.Wait()
	return time.Since(began)
}

// once checks that every refresh token and every code came once.
func (s *site) once() {
	s.t.Helper()
	for _, grant := range []string{"refresh_token", "authorization_code"} {
		for _, n := range s.Issuer.Presented(grant) {
			if n != 1 {
				s.t.Errorf("the issuer got one %s %d times", grant, n)
			}
		}
	}
}

// A hundred requests over three replicas find the access token at its end: one token call, and everybody is answered.
func TestParallelRefreshOverReplicas(t *testing.T) {
	t.Parallel()
	const life = 5 * time.Second
	for name, wait := range map[string]time.Duration{"past the end": life + 100*time.Millisecond, "in the last fifth": life - 700*time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, options{AccessLife: life, Rotating: true})
			s.Issuer.Slow(400 * time.Millisecond)
			c := s.signedIn("alice", "sid-alice", s.Replicas[0])
			last := time.Now()
			s.atOnce(c, replicas) // all of them know the session
			for round := 1; round <= 2; round++ {
				sleep(time.Until(last.Add(wait)))
				took := s.atOnce(c, 100)
				s.await("the refresh to end", patience, func() bool {
					calls := s.Issuer.TokenCalls("refresh_token")
					return len(calls) > 0 && !calls[len(calls)-1].End.IsZero()
				})
				calls := s.Issuer.TokenCalls("refresh_token")
				if len(calls) != round {
					t.Fatalf("round %d: %d token calls so far, want one a round", round, len(calls))
				}
				last = calls[round-1].End
				t.Logf("round %d: 100 requests in %s, the refresh took %s on replica %d", round, took.Round(time.Millisecond),
					last.Sub(calls[round-1].Begin).Round(time.Millisecond), calls[round-1].Replica)
			}
			s.once()
		})
	}
}

// All sessions of one browser live on one grant, and revoking one of its tokens kills it. Signing in on one host, on the
// other, and on the first again leaves two sessions, and both are refreshed.
func TestTwoHostsOneGrant(t *testing.T) {
	t.Parallel()
	const life = 3 * time.Second
	s := newSite(t, options{AccessLife: life}) // the grants rotate
	grants := gatewaytest.NewGrants(s.Issuer.Issuer)
	c := s.Client("bob", "sid-bob")
	turn := 0
	next := func() *replica { turn++; return s.Replicas[turn%replicas] }
	for _, at := range []string{origin, second, origin} {
		if err := c.signIn(at, next); err != nil {
			t.Fatalf("signing in on %s: %v", at, err)
		}
	}
	for round := 1; round <= 2; round++ {
		before := len(s.Issuer.TokenCalls("refresh_token"))
		sleep(life + 100*time.Millisecond)
		for _, at := range []string{origin, second} {
			for _, r := range s.Replicas {
				if a, err := c.useAt(r, at); err != nil || !c.let(a) {
					t.Errorf("round %d: %s on %s: got %s, %v, want 200", round, at, r, a, err)
				}
			}
		}
		calls := s.Issuer.TokenCalls("refresh_token")[before:]
		if len(calls) != 2 || calls[0].Nonce == calls[1].Nonce {
			t.Errorf("round %d: %d token calls, want one for each session", round, len(calls))
		}
		for _, call := range calls {
			if call.Status != http.StatusOK {
				t.Errorf("round %d: a refresh was answered with %d", round, call.Status)
			}
		}
	}
	if grants.Killed() || len(s.Issuer.Revoked()) != 0 {
		t.Error("the grant was killed")
	}
	s.once()
}

// A process that is killed inside a refresh holds up nobody for good: others answer meanwhile, and what it held is free
// when the lease is over.
func TestKilledInsideARefresh(t *testing.T) {
	t.Parallel()
	if os.Getenv(lengthVariable) == "" {
		t.Skip("it takes as long as a lease, half a minute; " + lengthVariable + " asks for it")
	}
	const life = 2 * time.Second
	s := newSite(t, options{AccessLife: life})
	c := s.signedIn("carol", "sid-carol", s.Replicas[0])
	sleep(life)
	s.Issuer.Slow(8 * time.Second)
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		c.use(s.Replicas[0]) // nobody answers
	}()
	s.await("the refresh to begin", patience, func() bool { return len(s.Issuer.TokenCalls("refresh_token")) == 1 })
	s.Replicas[0].Kill()
	killed := time.Now()
	<-asked
	s.Issuer.Slow(0)
	var longest time.Duration
	n := 0
	s.await("another replica to refresh", time.Minute, func() bool {
		began := time.Now()
		for _, r := range s.Replicas[1:] {
			if a, err := c.use(r); err != nil || !c.let(a) {
				t.Fatalf("%s: got %s, %v, want 200", r, a, err)
			}
			n++
		}
		longest = max(longest, time.Since(began))
		return len(s.Issuer.TokenCalls("refresh_token")) > 1
	})
	calls := s.Issuer.TokenCalls("refresh_token")
	t.Logf("refreshed %s after the kill; %d requests meanwhile, the slowest pair took %s",
		calls[1].Begin.Sub(killed).Round(time.Millisecond), n, longest.Round(time.Millisecond))
	s.await("the refresh to end", patience, func() bool {
		calls := s.Issuer.TokenCalls("refresh_token")
		return calls[1].Status == http.StatusOK
	})
	if a, err := c.use(s.Replicas[1]); err != nil || !c.let(a) {
		t.Errorf("afterwards: got %s, %v", a, err)
	}
}
