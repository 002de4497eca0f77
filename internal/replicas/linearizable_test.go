package replicas_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// How long the run lasts, and from which number its choices come.
const (
	lengthVariable = "PORTERO_TEST_LINEARIZABLE"
	seedVariable   = "PORTERO_TEST_SEED"
)

const (
	persons  = 3
	browsers = 2 // of each person
	tabs     = 3 // of each browser
	// lag is how long a session is still tried after its end.
	lag = 2500 * time.Millisecond
	// pressure is how long it is tried hard.
	pressure = bound + 400*time.Millisecond
	// settle is how long after a fault a replica may say that it cannot be asked.
	settle = 4 * time.Second
)

// Many clients sign in, use, refresh, sign out, and are signed out by the issuer, on replicas that are killed, paused and
// cut off. What they saw must be what one of the orders that the promise allows can have brought:
//
//   - no use that begins a second after a completed sign-out succeeds, and on the replica that answered none that
//     begins after the answer;
//   - a use after a completed sign-in that ends before any sign-out begins succeeds, or the replica says that it cannot
//     be asked; only a process that was stopped or killed inside a refresh may cost a sign-in;
//   - each code is redeemed at most once, and leads to one session;
//   - one refresh of a session is in flight, and no refresh token is presented twice, save by a process that was stopped
//     or killed inside the call;
//   - what is open ends within two seconds of a sign-out, and not before.
func TestLinearizable(t *testing.T) {
	length := 15 * time.Second
	if text := os.Getenv(lengthVariable); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%s=%d", seedVariable, seed)
	s := newSite(t, options{AccessLife: 4 * time.Second, Rotating: true})
	w := &world{t: t, site: s, began: time.Now(), sessions: map[string]*session{}, counts: map[string]int{}}
	w.random = rand.New(rand.NewPCG(seed, 1))
	w.faults = newFaults(s, rand.New(rand.NewPCG(seed, 2)))
	w.faults.Long = length > time.Minute
	ctx, cancel := context.WithTimeout(context.Background(), length)
	defer cancel()
	w.stop = cancel
	w.Run(ctx)
	w.report()
}

// world is a run.
type world struct {
	t      *testing.T
	site   *site
	faults *faults
	began  time.Time
	stop   context.CancelFunc // at the first violation, so that how long it took can be said
	failed atomic.Bool
	checks sync.WaitGroup

	randomMu sync.Mutex
	random   *rand.Rand

	mu       sync.Mutex
	sessions map[string]*session // :: nonce → session
	counts   map[string]int
	checked  int // refreshes and codes that were looked at
}

func (w *world) between(from, to time.Duration) time.Duration {
	w.randomMu.Lock()
	defer w.randomMu.Unlock()
	return from + time.Duration(w.random.Int64N(int64(to-from)))
}

func (w *world) chance(percent int) bool { return w.pick(100) < percent }

func (w *world) pick(n int) int {
	w.randomMu.Lock()
	defer w.randomMu.Unlock()
	return w.random.IntN(n)
}

func (w *world) replica() *replica { return w.site.Replicas[w.pick(replicas)] }

// hot tells the faults that a replica has just done something that matters.
func (w *world) hot(r *replica) {
	if w.chance(20) {
		select {
		case w.faults.Hot <- r:
		default:
		}
	}
}

func (w *world) count(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[what]++
}

// violate says that a promise was broken, and ends the run.
func (w *world) violate(format string, args ...any) {
	if !w.failed.Swap(true) {
		w.t.Logf("first violation after %s", time.Since(w.began).Round(time.Millisecond))
	}
	w.t.Errorf(format, args...)
	w.stop()
}

// rest lets time pass; false: the run is over.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// human is one person with several browsers.
type human struct {
	subject string

	mu      sync.Mutex
	logouts []*logout
}

// logout is one logout of a person that the issuer sent, over all sessions.
type logout struct {
	operation
	done bool
}

// session is one session and everything that was seen of it.
type session struct {
	client *client
	human  *human
	uses   sync.WaitGroup

	mu      sync.Mutex
	seen    history
	retired bool
	streams []*stream
}

// stream is something open on a replica.
type stream struct {
	*open
	Replica int
	What    string
	Since   time.Time
}

func (x *session) add(ops ...operation) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.seen = append(x.seen, ops...)
}

// slot is what one browser has: its session, and the one before.
type slot struct {
	mu       sync.Mutex
	sessions []*session
}

// any returns a session for one use, which ends with Done; nil: there is none.
func (s *slot) any(w *world) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sessions) == 0 {
		return nil
	}
	x := s.sessions[len(s.sessions)-1]
	if w.chance(35) {
		x = s.sessions[w.pick(len(s.sessions))]
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.retired {
		return nil
	}
	x.uses.Add(1)
	return x
}

func (s *slot) enter(x *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions = append(s.sessions, x)
}

func (s *slot) leave(x *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions = slices.DeleteFunc(s.sessions, func(y *session) bool { return x == y })
}

// Run is the run. Afterwards everything is whole, and every session has been checked.
func (w *world) Run(ctx context.Context) {
	var living, using, breaking sync.WaitGroup
	users, enough := context.WithCancel(context.Background())
	breaking.Go(func() { w.faults.Run(ctx) })
	for p := range persons {
		h := &human{subject: fmt.Sprintf("person-%d", p)}
		for b := range browsers {
			s := &slot{}
			living.Go(func() { w.live(ctx, h, s, fmt.Sprintf("%d-%d", p, b)) })
			for range tabs {
				using.Go(func() { w.use(users, s) })
			}
		}
	}
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		for rest(ctx, time.Second) {
			w.checkTokens()
		}
	}()
	<-ctx.Done()
	breaking.Wait()
	living.Wait()
	w.checks.Wait() // sessions that were under way are used on until they are checked
	enough()
	using.Wait()
	<-watching
	w.checkTokens()
}

// report says what was tried, and fails a run that tried too little.
func (w *world) report() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts["refreshes"] = w.checked
	maps.Copy(w.counts, w.faults.Counts())
	for _, what := range slices.Sorted(maps.Keys(w.counts)) {
		w.t.Logf("%7d %s", w.counts[what], what)
	}
	if w.t.Failed() {
		return
	}
	for _, what := range []string{"sign-ins", "uses let in", "uses refused", "sign-out", "refreshes", "sessions checked"} {
		if w.counts[what] == 0 {
			w.t.Errorf("nothing was tried of: %s", what)
		}
	}
	if n, all := w.counts["of these without a fault"], w.counts["uses let in"]; n > 10 && n > all/50 {
		w.t.Errorf("%d uses could not be decided although nothing was the matter, and %d were let in", n, all)
	}
}
