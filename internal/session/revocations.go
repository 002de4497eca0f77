package session

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// readEvery is how often the revocation log is read.
	readEvery = 500 * time.Millisecond
	// currentFor is how long after the beginning of a successful read what it said
	// is current: a revocation that was answered longer ago is known.
	currentFor = time.Second
	// learnedFor is how long a revocation is remembered for what the cache holds. It
	// outlives every snapshot there: maxTouchInterval, and a lookup under way.
	learnedFor = 3 * time.Minute
	// repeatFor is how long this process's own revocations are remembered, to be said
	// again to a store that may have forgotten them: one that failed over.
	repeatFor  = 10 * time.Minute
	maxRepeats = 10_000
	// clockEvery is how often the store's clock is compared with ours.
	clockEvery = 10 * time.Second
	// repeatAtOnce bounds how long repeating keeps the log from being read.
	repeatAtOnce = 200 * time.Millisecond
)

// RevocationsConfig makes Revocations.
type RevocationsConfig struct {
	Store Store
	// Ended is called for every revocation that is learned of, this process's own at
	// once, and perhaps more than once. It must not block for long. Nil: nobody asks.
	Ended func(Revocation)
	// Missed is called when revocations may have been missed: whoever acted on them
	// has to ask about everything again. It must not block for long. Nil: nobody asks.
	Missed func()
	Now    func() time.Time // nil: time.Now
	Log    *slog.Logger     // nil: none
}

// Revocations is what a process knows of the store's revocation log. All Managers of
// the process share one, so that a reload forgets nothing. It is safe for concurrent
// use.
type Revocations struct {
	store  Store
	tell   func(Revocation)
	missed func()
	now    func() time.Time
	log    *slog.Logger

	base    time.Time     // what is measured from, by the monotonic clock
	current atomic.Int64  // nanoseconds since base until which the last read counts
	epoch   atomic.Uint64 // of the log: what was cached in an older one is not used
	names   sync.Map      // :: Revocation.By → learned
	offset  atomic.Int64  // nanoseconds by which the store's clock is ahead of ours

	mu  sync.Mutex
	own []*ending // oldest first
}

type learned struct {
	at, seen time.Time
	said     bool // the others can know of it: the store has it
}

// ending is what is written to end sessions.
type ending struct {
	marks []Marker
	at    time.Time
	keep  time.Duration
	since time.Time // when this process began to say it
	said  bool      // the store has it; guarded by Revocations.mu
}

// NewRevocations makes one. It learns nothing until Run.
func NewRevocations(c RevocationsConfig) *Revocations {
	r := &Revocations{store: c.Store, tell: c.Ended, missed: c.Missed, now: c.Now, log: c.Log, base: time.Now()}
	if r.now == nil {
		r.now = time.Now
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	return r
}

// Run reads the log until ctx ends. One Run at a time.
func (r *Revocations) Run(ctx context.Context) {
	ticker := time.NewTicker(readEvery)
	defer ticker.Stop()
	defer r.current.Store(0)
	place, lost := "", false
	var compared time.Time
	for {
		began := time.Now()
		rs, next, whole, err := r.read(ctx, place)
		if err == nil && (compared.IsZero() || began.Sub(compared) >= clockEvery) {
			err = r.compareClocks(ctx)
			compared = began
		}
		switch {
		case err != nil:
			if !lost && ctx.Err() == nil {
				r.log.WarnContext(ctx, "session store: contact is lost", "error", err)
				lost = true
			}
		case !whole:
			r.epoch.Add(1) // nothing that is cached counts from here on
			if place != "" {
				r.log.WarnContext(ctx, "session store: its revocation log is another one; what is cached is read again")
				r.repeatAll()
			}
			if r.missed != nil { // at the first time too: sessions may have been served before it
				r.missed()
			}
			place = next
		default:
			for _, x := range rs {
				r.learn(x, true)
			}
			place = next
			if len(rs) == LogPage { // there is more
				continue
			}
			r.current.Store(int64(began.Add(currentFor).Sub(r.base)))
		}
		if err == nil {
			if lost {
				r.log.InfoContext(ctx, "session store: contact is back")
				r.repeatAll()
				lost = false
			}
			r.repeat(ctx)
		}
		r.forget(began)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (r *Revocations) read(ctx context.Context, place string) ([]Revocation, string, bool, error) {
	ctx, cancel := bound(ctx)
	defer cancel()
	return r.store.Published(ctx, place)
}

func (r *Revocations) compareClocks(ctx context.Context) error {
	ctx, cancel := bound(ctx)
	defer cancel()
	now, err := r.store.Now(ctx)
	if err == nil {
		r.offset.Store(int64(now.Sub(r.now())))
	}
	return err
}

// isCurrent reports whether whatever was answered a second ago is known.
func (r *Revocations) isCurrent() bool { return int64(time.Since(r.base)) < r.current.Load() }

// ended is when a revocation that is known here ended a session, and whether the others
// can know of it. Zero: none did.
func (r *Revocations) ended(s *Session) (at time.Time, said bool) {
	for _, name := range s.Names {
		if x, known := r.names.Load(name); known && !s.CreatedAt.After(x.(learned).at) {
			return x.(learned).at, x.(learned).said
		}
	}
	return time.Time{}, true
}

func (r *Revocations) ends(s *Session) bool {
	at, _ := r.ended(s)
	return !at.IsZero()
}

func (r *Revocations) learn(x Revocation, said bool) {
	for {
		next := learned{x.At, time.Now(), said}
		have, known := r.names.LoadOrStore(x.By, next)
		if !known {
			break
		}
		switch have := have.(learned); have.at.Compare(next.at) {
		case 1:
			next.at, next.said = have.at, have.said
		case 0:
			next.said = next.said || have.said
		}
		if r.names.CompareAndSwap(x.By, have, next) {
			break
		}
	}
	if r.tell != nil {
		r.tell(x)
	}
}

// forget lets go of what no snapshot needs any more.
func (r *Revocations) forget(now time.Time) {
	r.names.Range(func(name, x any) bool {
		if now.Sub(x.(learned).seen) > learnedFor {
			r.names.CompareAndDelete(name, x)
		}
		return true
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.own = slices.DeleteFunc(r.own, func(e *ending) bool { return e.said && now.Sub(e.since) > repeatFor })
}

// end writes markers at one time, which is returned, and publishes those that end
// sessions. when makes that time of the store's present one. Here it counts at once.
// Whatever fails is said again once the store can be asked, and the error returned.
func (r *Revocations) end(ctx context.Context, when func(now time.Time) time.Time, keep time.Duration, marks ...Marker) (time.Time, error) {
	e := &ending{marks: marks, keep: keep, since: time.Now()}
	asking, cancel := bound(ctx)
	at, err := r.store.Now(asking)
	cancel()
	if err != nil {
		at = r.now().Add(time.Duration(r.offset.Load()))
	}
	e.at = when(at).UTC().Truncate(time.Microsecond)
	r.mu.Lock()
	r.own = append(r.own[max(0, len(r.own)-maxRepeats+1):], e)
	r.mu.Unlock()
	if err == nil {
		err = r.write(ctx, e)
	}
	for _, x := range e.revocations() {
		r.learn(x, err == nil)
	}
	return e.at, err
}

func (e *ending) revocations() []Revocation {
	var rs []Revocation
	for _, m := range e.marks {
		if m.Kind == Ended {
			rs = append(rs, Revocation{By: m.By, At: e.at})
		}
	}
	return rs
}

// pass tells of a revocation that was found in the store before it was heard of.
func (r *Revocations) pass(ctx context.Context, x Revocation) error {
	if err := r.store.Publish(ctx, x); err != nil {
		return err
	}
	r.learn(x, true)
	return nil
}

// write sets the markers, all of them though one fails, and then publishes.
func (r *Revocations) write(ctx context.Context, e *ending) error {
	var errs []error
	for _, m := range e.marks {
		marking, cancel := bound(ctx)
		errs = append(errs, r.store.Mark(marking, m, e.at, e.keep))
		cancel()
	}
	if rs := e.revocations(); len(rs) > 0 {
		publishing, cancel := bound(ctx)
		errs = append(errs, r.store.Publish(publishing, rs...))
		cancel()
	}
	err := errors.Join(errs...)
	r.mu.Lock()
	e.said = err == nil
	r.mu.Unlock()
	return err
}

// repeatAll has everything said again.
func (r *Revocations) repeatAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.own {
		e.said = false
	}
}

// repeat says again what the store does not have, as far as the time goes. Saying it
// twice changes nothing: each revocation has its time.
func (r *Revocations) repeat(ctx context.Context) {
	began := time.Now()
	for _, e := range r.unsaid(func(*ending) bool { return true }) {
		if time.Since(began) >= repeatAtOnce || r.sayAgain(ctx, e) != nil {
			return
		}
	}
}

// say says what the store does not have of a session's end, before anybody is told that
// it is over.
func (r *Revocations) say(ctx context.Context, s *Session) error {
	about := func(e *ending) bool {
		return slices.ContainsFunc(e.marks, func(m Marker) bool { return slices.Contains(s.Names, m.By) })
	}
	for _, e := range r.unsaid(about) {
		if err := r.sayAgain(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

func (r *Revocations) unsaid(about func(*ending) bool) []*ending {
	r.mu.Lock()
	defer r.mu.Unlock()
	var open []*ending
	for _, e := range r.own {
		if !e.said && about(e) {
			open = append(open, e)
		}
	}
	return open
}

func (r *Revocations) sayAgain(ctx context.Context, e *ending) error {
	if err := r.write(ctx, e); err != nil {
		return err
	}
	for _, x := range e.revocations() {
		r.learn(x, true)
	}
	return nil
}
