package logto

import (
	"context"
	"sync"
	"time"
)

const (
	// cacheFresh is how long a fetched value is used without asking again.
	cacheFresh = time.Hour
	// cacheKept is how long it is used at all while Logto cannot be asked.
	cacheKept = 24 * time.Hour
	// renewEvery limits how often callers who miss something may have the value fetched anew.
	renewEvery = time.Minute

	backoffFirst = time.Second
	backoffMost  = 30 * time.Second
)

// cache holds one fetched value. At most one fetch runs; it belongs to no caller, so that nobody's leaving spoils it
// for the others, and it ends by the deadline of the client.
type cache[T any] struct {
	ctx   context.Context // of every fetch
	fetch func(context.Context) (T, error)
	now   func() time.Time

	mu       sync.Mutex
	value    T
	at       time.Time // when value was fetched; zero: never
	flight   *flight   // the fetch that runs; nil: none
	failures int       // in a row
	retryAt  time.Time // no new fetch before, after a failure
	err      error     // of the last fetch; nil: it went well
}

// flight is one running fetch.
type flight struct {
	done chan struct{}
	err  error // readable once done is closed
}

// peek returns the value if it may still be used.
func (c *cache[T]) peek() (value T, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at.IsZero() || c.now().Sub(c.at) >= cacheKept {
		return value, false
	}
	return c.value, true
}

// get returns the value, fetching it if there is none that may be used. A value older than cacheFresh is returned at
// once and fetched anew in the background. started: this very call had the value fetched.
func (c *cache[T]) get(ctx context.Context) (value T, started bool, err error) {
	c.mu.Lock()
	now := c.now()
	have := !c.at.IsZero() && now.Sub(c.at) < cacheKept
	stale := !have || now.Sub(c.at) >= cacheFresh
	if stale && c.flight == nil && c.mayTry(now) {
		c.start()
		started = true
	}
	if have {
		defer c.mu.Unlock()
		return c.value, false, nil
	}
	running, last := c.flight, c.err
	c.mu.Unlock()
	if running == nil {
		return value, false, last
	}
	if err := running.wait(ctx); err != nil {
		return value, false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.value, started, nil
}

// renew has the value fetched anew for a caller who missed something in it: it joins the fetch that runs, or starts
// one, but at most one in renewEvery, which last is for: when that caller, or those who share it, last started one. It
// returns false at once when neither is possible.
func (c *cache[T]) renew(ctx context.Context, last *time.Time) (joined, started bool, err error) {
	c.mu.Lock()
	running := c.flight
	if running == nil {
		now := c.now()
		if since := now.Sub(*last); !last.IsZero() && since >= 0 && since < renewEvery {
			defer c.mu.Unlock()
			return false, false, c.err
		}
		*last = now
		c.start()
		running, started = c.flight, true
	}
	c.mu.Unlock()
	return true, started, running.wait(ctx)
}

// mayTry is false while the last failure is too recent. A clock that was set back does not prolong the wait.
func (c *cache[T]) mayTry(now time.Time) bool {
	wait := c.retryAt.Sub(now)
	return c.failures == 0 || wait <= 0 || wait > backoffMost
}

// start begins a fetch. The caller holds c.mu.
func (c *cache[T]) start() {
	f := &flight{done: make(chan struct{})}
	c.flight = f
	go func() {
		value, err := c.fetch(c.ctx)
		c.mu.Lock()
		defer c.mu.Unlock()
		now := c.now()
		if err != nil {
			wait := backoffMost
			if c.failures < 5 {
				wait = min(backoffMost, backoffFirst<<c.failures)
			}
			c.failures++
			c.retryAt = now.Add(wait)
		} else {
			c.value, c.at, c.failures = value, now, 0
		}
		c.err, f.err, c.flight = err, err, nil
		close(f.done)
	}()
}

func (f *flight) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
