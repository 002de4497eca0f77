package authflow_test

import (
	"context"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"portero/internal/authflow"
	"portero/internal/session"
)

// TestGrantIsNeverKilled has several processes use the sessions of one browser in whatever order comes, with old and
// new snapshots of them, a store and an issuer that take their time, and answers that are lost. The issuer rotates at
// every refresh and kills the grant when a token comes again after its time: that never happens, and no token comes
// twice unless its answer was lost.
//
// PORTERO_TEST_SEED repeats a run, PORTERO_TEST_RUNS makes more of them.
func TestGrantIsNeverKilled(t *testing.T) {
	t.Parallel()
	number := func(variable string, otherwise uint64) uint64 {
		if n, err := strconv.ParseUint(os.Getenv(variable), 10, 64); err == nil {
			return n
		}
		return otherwise
	}
	first := number("PORTERO_TEST_SEED", rand.Uint64())
	for n := range number("PORTERO_TEST_RUNS", 6) {
		seed := first + n
		t.Run("seed "+strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			newGrantModel(t, seed).run(t, 12)
		})
	}
}

type grantModel struct {
	*renewal
	replicas []*authflow.Flow
	sessions []*session.Session // as they began

	mu    sync.Mutex
	rand  *rand.Rand
	seen  [][]*session.Session // :: session → snapshots that somebody may still have
	lose  bool                 // the next answer
	lost  map[string]int       // :: refresh token → answers lost
	calls int                  // under way
}

func newGrantModel(t *testing.T, seed uint64) *grantModel {
	m := &grantModel{renewal: newRenewal(t), rand: rand.New(rand.NewPCG(seed, 1)), lost: map[string]int{}}
	m.grants.Deliver = m.deliver
	m.start(t)
	m.sessions = []*session.Session{m.due}
	for range m.rand.IntN(3) {
		m.sessions = append(m.sessions, m.signIn(t))
	}
	for _, s := range m.sessions {
		m.seen = append(m.seen, []*session.Session{s})
	}
	return m
}

// start has new processes take over.
func (m *grantModel) start(t *testing.T) {
	m.replicas = nil
	for range 2 + m.rand.IntN(3) {
		m.replicas = append(m.replicas, m.replica(t, authflow.NewRefresher(), func(s session.Store) session.Store { return dawdling{s, m} }, nil))
	}
}

// run has the sessions used, round by round.
func (m *grantModel) run(t *testing.T, rounds int) {
	for round := range rounds {
		m.clock.Add(time.Duration(m.pick(int(accessLife * 3 / 2))))
		m.mu.Lock()
		m.lose = m.rand.IntN(4) == 0
		m.mu.Unlock()
		before := m.losses()
		m.use(t, 1+m.pick(12), false)
		m.mu.Lock()
		m.lose = false
		m.mu.Unlock()
		if m.losses() > before {
			// Whoever asks again while the token that was rotated is still taken saves the grant. A process does so by
			// itself, but by another clock; and those that saw somebody else at it just now leave it alone.
			m.clock.Add(2500 * time.Millisecond)
			m.start(t)
			m.use(t, len(m.sessions)*(1+m.pick(4)), true)
		}
		if m.grants.Killed() {
			t.Fatalf("round %d: the grant is dead", round)
		}
	}
	times := map[string]int{}
	for _, token := range m.grants.Presented() {
		times[token]++
		if times[token] > 1+m.lost[token] {
			t.Errorf("a refresh token was presented %d times, and %d of its answers were lost", times[token], m.lost[token])
		}
	}
	if len(m.grants.Presented()) < rounds/4 {
		t.Errorf("refreshes in %d rounds: got %d; the test tries nothing", rounds, len(m.grants.Presented()))
	}
}

// use has n requests at once. each: every session is used, and waited for.
func (m *grantModel) use(t *testing.T, n int, each bool) {
	var wait sync.WaitGroup
	for i := range n {
		which := m.pick(len(m.sessions))
		if each {
			which = i % len(m.sessions)
		}
		replica := m.replicas[m.pick(len(m.replicas))]
		m.mu.Lock()
		s := m.seen[which][m.rand.IntN(len(m.seen[which]))]
		m.mu.Unlock()
		wait.Go(func() {
			got, err := replica.Renew(context.Background(), s)
			if err != nil {
				t.Errorf("using a session: %v", err)
				return
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			m.seen[which] = append(m.seen[which], got)
		})
	}
	wait.Wait()
	for _, r := range m.replicas { // what runs beside the requests
		for _, s := range m.sessions {
			authflow.Settled(r.Refresh, s)
		}
	}
}

func (m *grantModel) deliver(token string) bool {
	m.mu.Lock()
	m.calls++
	calls, pause, lose := m.calls, m.rand.IntN(3), m.lose
	if lose {
		m.lose = false
		m.lost[token]++
	}
	m.mu.Unlock()
	if calls > len(m.sessions) {
		panic("more refreshes under way than there are sessions")
	}
	for range pause * 20 {
		runtime.Gosched()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls--
	return !lose
}

func (m *grantModel) losses() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, lost := range m.lost {
		n += lost
	}
	return n
}

func (m *grantModel) pick(n int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rand.IntN(n)
}

// dawdling is a store that lets others go first now and then.
type dawdling struct {
	session.Store
	model *grantModel
}

func (d dawdling) dawdle() {
	for range d.model.pick(4) * 4 {
		runtime.Gosched()
	}
}

func (d dawdling) Get(ctx context.Context, key string) (session.Row, bool, error) {
	d.dawdle()
	defer d.dawdle()
	return d.Store.Get(ctx, key)
}

func (d dawdling) Update(ctx context.Context, row session.Row, was uint64) (bool, error) {
	d.dawdle()
	defer d.dawdle()
	return d.Store.Update(ctx, row, was)
}

func (d dawdling) Lease(ctx context.Context, name, holder string, keep time.Duration) (bool, error) {
	d.dawdle()
	defer d.dawdle()
	return d.Store.Lease(ctx, name, holder, keep)
}
