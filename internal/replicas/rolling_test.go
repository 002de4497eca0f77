package replicas_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// balancer sends each request to a replica that says it is ready, one after the other. It looks every tenth of a second,
// and tries another one only where a connection was refused, as real ones do.
type balancer struct {
	site *site
	in   [replicas]atomic.Bool
	next atomic.Uint64
}

func (b *balancer) watch(ctx context.Context) {
	var watching sync.WaitGroup
	for i, r := range b.site.Replicas {
		watching.Go(func() {
			for {
				b.in[i].Store(b.site.ready(r))
				if !rest(ctx, 100*time.Millisecond) {
					return
				}
			}
		})
	}
	watching.Wait()
}

func (b *balancer) pick() *replica {
	for range replicas {
		if n := b.next.Add(1) % replicas; b.in[n].Load() {
			return b.site.Replicas[n]
		}
	}
	return b.site.Replicas[b.next.Add(1)%replicas]
}

func (b *balancer) do(send func(*replica) (answer, error)) (a answer, err error) {
	for range replicas {
		if a, err = send(b.pick()); !errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
	}
	return a, err
}

// Every replica is restarted while people work, sign in and sign out: no session is lost and no request fails.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	s := newSite(t, options{Shutdown: "delay: 1s, timeout: 10s", AccessLife: 4 * time.Second, Rotating: true})
	b := &balancer{site: s}
	ctx, stop := context.WithCancel(context.Background())
	var watching, working sync.WaitGroup
	watching.Go(func() { b.watch(ctx) })
	defer watching.Wait()
	defer stop()
	s.await("the balancer to find everybody ready", startTimeout, func() bool {
		return b.in[0].Load() && b.in[1].Load() && b.in[2].Load()
	})

	var uses, signIns atomic.Int64
	const people = 12
	for i := range people {
		c := s.signedIn(fmt.Sprintf("person-%d", i), fmt.Sprintf("sid-%d", i), b.pick())
		working.Go(func() {
			for rest(ctx, 25*time.Millisecond) {
				a, err := b.do(c.use)
				if err != nil || !c.let(a) {
					t.Errorf("%s: got %s, %v, want 200", c.Subject, a, err)
					return
				}
				uses.Add(1)
			}
		})
	}
	for i := range 2 { // people who come and go
		working.Go(func() {
			for n := 0; rest(ctx, 50*time.Millisecond); n++ {
				c := s.Client(fmt.Sprintf("guest-%d", i), fmt.Sprintf("sid-%d-%d", i, n))
				if err := b.signIn(c); err != nil {
					t.Errorf("signing in: %v", err)
					return
				}
				if a, err := b.do(c.use); err != nil || !c.let(a) {
					t.Errorf("after signing in: got %s, %v, want 200", a, err)
					return
				}
				a, err := b.do(func(r *replica) (answer, error) { return c.signOut(r, origin) })
				if err != nil || a.Status != http.StatusSeeOther {
					t.Errorf("signing out: got %s, %v, want 303", a, err)
					return
				}
				signIns.Add(1)
			}
		})
	}
	for i := range 2 * replicas { // twice round
		i %= replicas
		r := s.Replicas[i]
		rest(ctx, 500*time.Millisecond)
		began := time.Now()
		r.Terminate()
		down := time.Since(began)
		r.Start()
		s.await("the replica to be back", startTimeout, func() bool { return b.in[i].Load() })
		t.Logf("%s: ended in %s, back after %s", r, down.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	}
	rest(ctx, time.Second)
	stop()
	working.Wait()
	t.Logf("%d uses and %d sign-ins with sign-outs; %d refreshes", uses.Load(), signIns.Load(), len(s.Issuer.TokenCalls("refresh_token")))
	s.once()
	if n := len(s.Issuer.Presented("authorization_code")); n < people {
		t.Errorf("%d codes, want at least %d", n, people)
	}
}

// signIn signs in over the balancer.
func (b *balancer) signIn(c *client) error {
	next := origin + "/sign-in?return_to=/app"
	for range hops {
		a, err := b.do(func(r *replica) (answer, error) { return c.navigate(r, next) })
		switch {
		case err != nil:
			return err
		case a.SetToken:
			return nil
		case a.Location == nil:
			return fmt.Errorf("%w: %s", errNoSession, a)
		}
		next = a.Location.String()
	}
	return errNoSession
}
