package replicas_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// trouble is what may be the matter with a replica.
type trouble uint8

const (
	killed     trouble = iota // and started again
	terminated                // and started again
	paused
	unlinked // its link to Redis was cut, stalled or slow
	troubles
)

func (k trouble) String() string {
	return [...]string{"killed", "terminated", "paused", "without its link"}[k]
}

// fault is a trouble from Begin to End; a zero End: it still is.
type fault struct {
	trouble
	Replica    int
	Begin, End time.Time
}

// faults does things to replicas and remembers what was when.
type faults struct {
	site *site
	// Hot are replicas to which something is done at once, because one has just done something that matters.
	Hot chan *replica
	// Long lets processes stop for longer than a lease lasts.
	Long bool

	random *rand.Rand // of Run alone
	wait   sync.WaitGroup

	mu   sync.Mutex
	log  []*fault
	busy map[[2]int]bool // :: replica, whether it is the link → something is being done to it
}

func newFaults(s *site, random *rand.Rand) *faults {
	return &faults{site: s, random: random, Hot: make(chan *replica, 4), busy: map[[2]int]bool{}}
}

// Run does one thing after another until ctx ends, and then leaves everything whole.
func (f *faults) Run(ctx context.Context) {
	defer func() {
		f.wait.Wait()
		f.site.Issuer.Slow(0)
	}()
	for {
		timer := time.NewTimer(300*time.Millisecond + time.Duration(f.random.Int64N(int64(3*time.Second))))
		var r *replica
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case r = <-f.Hot:
		case <-timer.C:
			r = f.site.Replicas[f.random.IntN(len(f.site.Replicas))]
		}
		timer.Stop()
		f.one(ctx, r)
	}
}

// one begins something, and lets the issuer be as slow as it may.
func (f *faults) one(ctx context.Context, r *replica) {
	between := func(from, to time.Duration) time.Duration {
		return from + time.Duration(f.random.Int64N(int64(to-from)))
	}
	switch n := f.random.IntN(10); {
	case n < 4:
		f.site.Issuer.Slow(0)
	case n < 9:
		f.site.Issuer.Slow(between(20*time.Millisecond, 500*time.Millisecond))
	default:
		f.site.Issuer.Slow(between(500*time.Millisecond, 4*time.Second))
	}
	n := f.random.IntN(100)
	switch {
	case n < 20:
		down := between(0, time.Second)
		f.begin(ctx, r, killed, r.Kill, down, func() { r.Start() })
	case n < 27:
		down := between(0, time.Second)
		f.begin(ctx, r, terminated, r.Terminate, down, func() { r.Start() })
	case n < 50:
		stopped := between(50*time.Millisecond, 4*time.Second)
		if f.Long && f.random.IntN(20) == 0 {
			stopped = between(31*time.Second, 36*time.Second)
		}
		f.begin(ctx, r, paused, r.Pause, stopped, r.Resume)
	case n < 63:
		f.begin(ctx, r, unlinked, r.Link.Cut, between(50*time.Millisecond, 5*time.Second), r.Link.Heal)
	case n < 78:
		f.begin(ctx, r, unlinked, r.Link.Stall, between(50*time.Millisecond, 5*time.Second), r.Link.Heal)
	case n < 86:
		d := between(10*time.Millisecond, 300*time.Millisecond)
		f.begin(ctx, r, unlinked, func() { r.Link.Delay(d) }, between(time.Second, 5*time.Second), r.Link.Heal)
	default: // what came last was old when it came
		d, stalled := between(50*time.Millisecond, 240*time.Millisecond), between(time.Second, 3*time.Second)
		f.begin(ctx, r, unlinked, func() { r.Link.Delay(d) }, between(time.Second, 3*time.Second), func() {
			r.Link.Stall()
			rest(ctx, stalled)
			r.Link.Heal()
		})
	}
}

// begin does something to a replica, unless something of the kind is being done, and undoes it after d.
func (f *faults) begin(ctx context.Context, r *replica, k trouble, do func(), d time.Duration, undo func()) {
	key := [2]int{r.N}
	if k == unlinked {
		key[1] = 1
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.busy[key] {
		return
	}
	f.busy[key] = true
	x := &fault{trouble: k, Replica: r.N, Begin: time.Now()}
	f.log = append(f.log, x)
	f.wait.Go(func() {
		do()
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		undo()
		f.mu.Lock()
		defer f.mu.Unlock()
		x.End = time.Now()
		f.busy[key] = false
	})
}

// Met are the faults of a replica that were at some time between from and to.
func (f *faults) Met(replica int, from, to time.Time) []fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []fault
	for _, x := range f.log {
		if x.Replica == replica && !x.Begin.After(to) && (x.End.IsZero() || !x.End.Before(from)) {
			out = append(out, *x)
		}
	}
	return out
}

// Halted is when the process of a replica was first killed or paused between from and to; zero: it was not.
func (f *faults) Halted(replica int, from, to time.Time) time.Time {
	for _, x := range f.Met(replica, from, to) {
		if x.trouble == killed || x.trouble == paused {
			return x.Begin
		}
	}
	return time.Time{}
}

// Whole is when a replica was well again after what was the matter with it at a time: with nothing the matter, then.
// settle is how long it may take to be well after a fault. Zero: it is not yet.
func (f *faults) Whole(replica int, at time.Time, settle time.Duration) time.Time {
	for {
		next := at
		for _, x := range f.Met(replica, at.Add(-settle), at) {
			if x.End.IsZero() {
				return time.Time{}
			}
			if x.End.Add(settle).After(next) {
				next = x.End.Add(settle)
			}
		}
		if !next.After(at) {
			return at
		}
		at = next
	}
}

// Counts says how often each trouble was.
func (f *faults) Counts() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]int{}
	for _, x := range f.log {
		out[x.trouble.String()]++
	}
	return out
}
