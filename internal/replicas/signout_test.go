package replicas_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

const (
	// bound is how long after the answer to a sign-out another replica may still let in.
	bound = time.Second
	// openBound is how long what is open may stay so.
	openBound = 2 * time.Second
)

// known makes sure that every replica serves a session from memory.
func (s *site) known(c *client) error {
	for began := time.Now(); time.Since(began) < 1200*time.Millisecond; sleep(pollEvery) {
		for _, r := range s.Replicas {
			if a, err := c.use(r); err != nil || !c.let(a) && !undecided(a) {
				return fmt.Errorf("%s: got %s, %v, want 200", r, a, err)
			}
		}
	}
	return nil
}

// end is a way to end a session.
type end struct {
	name string
	do   func(s *site, c *client, r *replica) error
}

func wantStatus(a answer, err error, want int) error {
	if err == nil && a.Status != want {
		err = fmt.Errorf("got %s, want %d", a, want)
	}
	return err
}

var ends = []end{
	{name: "sign-out", do: func(_ *site, c *client, r *replica) error {
		a, err := c.signOut(r, origin)
		return wantStatus(a, err, http.StatusSeeOther)
	}},
	{name: "logout by sid", do: func(s *site, c *client, r *replica) error {
		a, err := s.logout(r, s.Issuer.Logout(c.SID, ""))
		return wantStatus(a, err, http.StatusOK)
	}},
	{name: "logout by subject", do: func(s *site, c *client, r *replica) error {
		a, err := s.logout(r, s.Issuer.Logout("", c.Subject))
		return wantStatus(a, err, http.StatusOK)
	}},
}

// What is signed in on one replica is signed in on all at once. What is ended on one is over there at once, on the
// others within a second, and what is open within two.
func TestSignInAndOutOverReplicas(t *testing.T) {
	t.Parallel()
	s := newSite(t, options{})
	var running sync.WaitGroup
	defer running.Wait()
	for i, end := range ends {
		for from := range replicas {
			running.Go(func() { s.inAndOut(end, i, from) })
		}
	}
}

func (s *site) inAndOut(end end, n, from int) {
	t, r := s.t, s.Replicas[from]
	c := s.Client(fmt.Sprintf("person-%d-%d", n, from), fmt.Sprintf("sid-%d-%d", n, from))
	// The sign-in goes over all replicas in turn, and ends on the one.
	turn := from
	if err := c.signIn(origin, func() *replica { turn++; return s.Replicas[turn%replicas] }); err != nil {
		t.Errorf("%s: signing in: %v", end.name, err)
		return
	}
	var opened [][]*open
	for _, r := range s.Replicas {
		if a, err := c.use(r); err != nil || !c.let(a) {
			t.Errorf("%s: %s at once after the sign-in: got %s, %v", end.name, r, a, err)
			return
		}
	}
	if err := s.known(c); err != nil {
		t.Errorf("%s: %v", end.name, err)
		return
	}
	for _, r := range s.Replicas {
		events, err := c.events(r)
		if err != nil {
			t.Errorf("%s: %v", r, err)
			return
		}
		defer events.Stop()
		echo, err := c.echo(r)
		if err != nil {
			t.Errorf("%s: %v", r, err)
			return
		}
		defer echo.Stop()
		opened = append(opened, []*open{events, echo})
	}

	copied := c.with() // a sign-out clears the cookie of the browser that does it
	if err := end.do(s, c, r); err != nil {
		t.Errorf("%s: %v", end.name, err)
		return
	}
	answered := time.Now()
	var polling sync.WaitGroup
	for _, other := range s.Replicas {
		polling.Go(func() {
			last, n, busy := time.Duration(0), 0, 0
			for began := time.Duration(0); began < bound+500*time.Millisecond; sleep(2 * pollEvery) {
				began = time.Since(answered)
				n++
				switch a, err := copied.use(other); {
				case err == nil && undecided(a): // on a machine that is too busy
					busy++
				case err != nil:
					t.Errorf("%s: %v", other, err)
					return
				case copied.let(a) && (other == r || began >= bound):
					t.Errorf("%s on %s: %s lets in after %s", end.name, r, other, began)
					return
				case copied.let(a):
					last = began
				case !refused(a):
					t.Errorf("%s: got %s", other, a)
					return
				}
			}
			if busy == n {
				t.Errorf("%s never says whether it lets in", other)
			}
			t.Logf("%s on %s: %s let in for %s, in %d requests", end.name, r, other, last.Round(time.Millisecond), n)
		})
	}
	polling.Wait()
	late := time.After(time.Until(answered.Add(openBound)))
	for i, pair := range opened {
		for j, o := range pair {
			what := fmt.Sprintf("%s on %s: the %s on %s", end.name, r, []string{"event stream", "WebSocket"}[j], s.Replicas[i])
			select {
			case <-o.Ended:
				t.Logf("%s ended after %s", what, o.At.Sub(answered).Round(time.Millisecond))
			case <-late:
				t.Errorf("%s is open after %s", what, openBound)
				return
			}
			switch {
			case j == 0 && o.Err != nil:
				t.Errorf("%s: %v, want a clean end", what, o.Err)
			case j == 1 && o.Code != websocket.StatusPolicyViolation:
				t.Errorf("%s: close code %d (%v), want %d", what, o.Code, o.Err, websocket.StatusPolicyViolation)
			}
		}
	}
}
