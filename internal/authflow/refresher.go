package authflow

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"portero/internal/session"
)

const (
	// refreshTimeout bounds one refresh with all its calls: the token call, and the keys and the userinfo where they
	// have to be fetched. The token call needs no smaller bound of its own: what it brought is kept when time runs out
	// after it.
	refreshTimeout = 10 * time.Second
	// leaseTimeouts is how many such times a lease lasts. Nothing is sent in its last one, so an answer is here before
	// anybody else may ask; the rest is for the store, before and after.
	leaseTimeouts = 3
	// leaseAgain is when a process looks again at a lease that it found taken, while no request waits for it.
	leaseAgain = time.Second
	// Where one does wait, the store is asked again after the first pause, and then after twice as long, up to the last.
	leasePause, leasePauseMost = 50 * time.Millisecond, 500 * time.Millisecond
	// secretAgain is how often the log says that Logto refuses the application itself.
	secretAgain = time.Minute
)

// Refresher lets one refresh at a time run for each session: in this process those who ask join it, and over all
// replicas it has the session's lease. One serves all generations of the configuration, so that a reload starts no
// second one.
type Refresher struct {
	timeout time.Duration      // of one refresh, as refreshTimeout
	calls   singleflight.Group // :: session key → the refresh under way
	ctx     context.Context    // ends with Close
	stop    context.CancelFunc
	running sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	elsewhere map[string]time.Time // :: session key → when its lease was last found taken
	swept     time.Time            // when elsewhere was last cleared of what is old
	toldOfIt  time.Time            // when the log last said that Logto refuses the application
}

// NewRefresher makes one. Close ends it.
func NewRefresher() *Refresher { return newRefresher(refreshTimeout) }

func newRefresher(timeout time.Duration) *Refresher {
	ctx, stop := context.WithCancel(context.Background())
	return &Refresher{timeout: timeout, ctx: ctx, stop: stop, elsewhere: map[string]time.Time{}}
}

// Close waits until ctx ends for the refreshes under way, whose tokens would be lost, then breaks them off. No other
// one starts.
func (x *Refresher) Close(ctx context.Context) {
	x.mu.Lock()
	x.closed = true
	x.mu.Unlock()
	breakOff := context.AfterFunc(ctx, x.stop)
	x.running.Wait()
	breakOff()
	x.stop()
}

// run joins the refresh of a session that is under way, or starts one. It belongs to no request.
func (x *Refresher) run(ctx context.Context, s *session.Session, refresh func(context.Context) (*session.Session, error)) <-chan singleflight.Result {
	return x.calls.DoChan(s.Key, func() (any, error) {
		x.mu.Lock()
		if x.closed {
			x.mu.Unlock()
			return s, errPostponed
		}
		x.running.Add(1)
		x.mu.Unlock()
		defer x.running.Done()
		work, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		defer context.AfterFunc(x.ctx, cancel)()
		return refresh(work)
	})
}

// beside runs what a refresh leaves behind, which Close waits for too. It is called by a refresh under way.
func (x *Refresher) beside(ctx context.Context, do func(context.Context)) {
	x.running.Go(func() {
		work, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		defer context.AfterFunc(x.ctx, cancel)()
		do(work)
	})
}

// taken notes that a session is refreshed elsewhere, or cannot be now.
func (x *Refresher) taken(key string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := time.Now()
	x.elsewhere[key] = now
	if now.Sub(x.swept) < leaseAgain {
		return
	}
	x.swept = now
	for key, at := range x.elsewhere {
		if now.Sub(at) >= leaseAgain {
			delete(x.elsewhere, key)
		}
	}
}

// wasTaken reports whether it was so a moment ago, so that the requests of a busy session do not each ask the store.
func (x *Refresher) wasTaken(key string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	at, noted := x.elsewhere[key]
	return noted && time.Since(at) < leaseAgain
}

// tellOfSecret reports whether it is time to tell the operator that Logto refuses the application: everybody's
// refreshes find that out.
func (x *Refresher) tellOfSecret() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := time.Now()
	if !x.toldOfIt.IsZero() && now.Sub(x.toldOfIt) < secretAgain {
		return false
	}
	x.toldOfIt = now
	return true
}

// pause waits for d, or until ctx ends: false.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
