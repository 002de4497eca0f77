package replicas_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/redistest"
)

const (
	// again is how long after there is a new master everybody is served, and what was ended is over, everywhere.
	again = 5 * time.Second
)

func quoted(addrs []string) string { return `["` + strings.Join(addrs, `", "`) + `"]` }

// people signs n people in, over the replicas in turn.
func (s *site) people(n int) []*client {
	var out []*client
	for i := range n {
		out = append(out, s.signedIn(fmt.Sprintf("person-%d", i), fmt.Sprintf("sid-%d", i), s.Replicas[i%replicas]))
	}
	return out
}

// recovered waits until every replica lets everybody in, and says how long after since that was. Nobody may be asked to
// sign in meanwhile.
func (s *site) recovered(people []*client, since time.Time) {
	var waiting sync.WaitGroup
	for _, r := range s.Replicas {
		waiting.Go(func() {
			for _, c := range people {
				limit := time.After(startTimeout)
				for {
					a, err := c.use(r)
					if err == nil && c.let(a) {
						break
					}
					if err != nil || refused(a) {
						s.t.Errorf("%s: %s: got %s, %v; nobody is to lose the session", r, c.Subject, a, err)
						break
					}
					select {
					case <-limit:
						s.t.Errorf("%s: %s: still %s", r, c.Subject, a)
						return
					case <-time.After(pollEvery):
					}
				}
			}
			s.t.Logf("%s serves everybody again %s after the failure", r, time.Since(since).Round(time.Millisecond))
		})
	}
	waiting.Wait()
}

// stayOut uses ended sessions on every replica until again after there was a new master, and says how long after the
// failure each was last let in. From then on it may not be, and never on the replica of that number, which ended it.
func (s *site) stayOut(ended []*client, failed time.Time, master <-chan time.Time) {
	var waiting sync.WaitGroup
	deadline := make(chan struct{})
	var ready time.Time
	go func() {
		ready = <-master
		sleep(time.Until(ready.Add(again)))
		close(deadline)
	}()
	for _, r := range s.Replicas {
		for i, c := range ended {
			waiting.Go(func() {
				last, done := time.Duration(0), false
				for !done {
					select {
					case <-deadline:
						done = true
					case <-time.After(5 * pollEvery):
					}
					a, err := c.use(r)
					if err != nil {
						s.t.Errorf("%s: %v", r, err)
						return
					}
					if c.let(a) {
						last = time.Since(failed)
						if i == r.N {
							s.t.Errorf("%s lets %s in, whom it has signed out itself", r, c.Subject)
							return
						}
					}
					if done && undecided(a) && time.Since(ready) < startTimeout { // it is too busy
						done = false
					}
					if done && !refused(a) {
						s.t.Errorf("%s: %s has signed out and gets %s, %s after there is a new master", r, c.Subject, a, time.Since(ready))
					}
				}
				if last > 0 {
					s.t.Logf("%s: %s was last let in %s after the failure", r, c.Subject, last.Round(time.Millisecond))
				}
			})
		}
	}
	waiting.Wait()
}

// newcomer waits until somebody can sign in, and says how long after since that was.
func (s *site) newcomer(since, master time.Time) {
	s.t.Helper()
	s.await("a sign-in to succeed", startTimeout, func() bool {
		return s.Client("newcomer", "sid-newcomer").signIn(origin, func() *replica { return s.Replicas[1] }) == nil
	})
	took := time.Since(master)
	s.t.Logf("signing in works %s after the failure, %s after the new master", time.Since(since).Round(time.Millisecond), took.Round(time.Millisecond))
	if took > again {
		s.t.Errorf("signing in works only %s after there is a new master", took)
	}
}

// A master dies that has not told its replicas everything. Sessions that they know survive, and a sign-out that they do
// not know is said again by the gateway that answered it.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	group := redistest.StartSentinel(t)
	s := newSite(t, options{Redis: fmt.Sprintf("url: redis://sessions/0, master_name: %s, addresses: %s", group.Name, quoted(group.Addrs))})
	people := s.people(9)
	for _, c := range people {
		s.atOnce(c, replicas)
	}
	group.Servers[0].Do("WAIT", 2, 5000)

	// What comes from here on, no replica of Redis learns.
	for _, server := range group.Servers[1:] {
		server.Stop()
	}
	group.Servers[0].Do("CLIENT", "KILL", "TYPE", "replica")
	ended, stay := people[:3], people[3:]
	for i, c := range ended {
		copied := c.with()
		if err := ends[i].do(s, copied, s.Replicas[i]); err != nil {
			t.Fatalf("%s: %v", ends[i].name, err)
		}
	}
	old := group.KillMaster()
	failed := time.Now()
	for _, server := range group.Servers[1:] {
		server.Continue()
	}
	master := make(chan time.Time, 1)
	var out sync.WaitGroup
	out.Go(func() { s.stayOut(ended, failed, master) })
	group.AwaitMaster(old)
	promoted := time.Now()
	master <- promoted
	t.Logf("the sentinels have another master after %s", promoted.Sub(failed).Round(time.Millisecond))
	s.newcomer(failed, promoted)
	s.recovered(stay, failed)
	out.Wait()
}

// One of three masters of a cluster dies: the one with the revocation log, which concerns everybody.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	s := newSite(t, options{Redis: fmt.Sprintf("url: redis://sessions/0, cluster: true, addresses: %s", quoted(cluster.Addrs[:3]))})
	people := s.people(12)
	for _, c := range people {
		s.atOnce(c, replicas)
	}
	const log = "portero:log"
	old := cluster.MasterOf(log)
	ended, stay := people[:3], people[3:]
	for i, c := range ended {
		if err := ends[i].do(s, c.with(), s.Replicas[i]); err != nil {
			t.Fatalf("%s: %v", ends[i].name, err)
		}
	}
	old.Kill()
	failed := time.Now()
	master := make(chan time.Time, 1)
	var out sync.WaitGroup
	out.Go(func() { s.stayOut(ended, failed, master) })
	cluster.AwaitMasterOf(log, old)
	promoted := time.Now()
	master <- promoted
	t.Logf("the cluster has another master after %s", promoted.Sub(failed).Round(time.Millisecond))
	s.newcomer(failed, promoted)
	s.recovered(stay, failed)
	out.Wait()

	// The one that was away comes back as a replica, and nothing changes.
	old.Restart()
	s.recovered(stay, time.Now())
	if err := ends[0].do(s, stay[0], s.Replicas[2]); err != nil {
		t.Errorf("signing out afterwards: %v", err)
	}
}
