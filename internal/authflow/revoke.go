package authflow

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"portero/internal/logto"
	"portero/internal/session"
)

// Bounds of the revocation queue.
const (
	revokeQueue   = 1024
	revokeTimeout = 10 * time.Second
	revokeTries   = 3
)

// Revoker takes back refresh tokens at Logto, at once or from a bounded queue. One serves all generations of the
// configuration.
//
// Logto's grant is shared by all sessions of one browser, so a refresh token is revoked only when no session with the
// same sid is left.
type Revoker struct {
	log   *slog.Logger
	queue chan revocation
	ctx   context.Context // of everything that runs here
	stop  context.CancelFunc
	done  chan struct{}
	aside sync.WaitGroup // what may still write to the queue

	mu              sync.Mutex // held while the queue is written to, or closed
	closing, closed bool       // closing: nothing more is begun aside
}

type revocation struct {
	provider  *logto.Provider
	sessions  *session.Manager
	token     string
	sid, key  string
	remaining int
}

// NewRevoker starts the queue. Close ends it.
func NewRevoker(log *slog.Logger) *Revoker {
	ctx, stop := context.WithCancel(context.Background())
	v := &Revoker{log: log, queue: make(chan revocation, revokeQueue), ctx: ctx, stop: stop, done: make(chan struct{})}
	go v.work(ctx)
	return v
}

// Close works off what is queued until ctx ends, and stops.
func (v *Revoker) Close(ctx context.Context) {
	v.mu.Lock()
	v.closing = true
	v.mu.Unlock()
	settled := make(chan struct{})
	go func() {
		defer close(settled)
		v.aside.Wait()
	}()
	select {
	case <-settled:
	case <-ctx.Done():
		v.stop()
		<-settled
	}
	v.mu.Lock()
	v.closed = true
	close(v.queue)
	v.mu.Unlock()
	select {
	case <-v.done:
	case <-ctx.Done():
	}
	v.stop()
	<-v.done
}

// beside runs what a request has begun and does not wait for. Close gives it the same time as the queue.
func (v *Revoker) beside(do func(context.Context)) {
	v.mu.Lock()
	closing := v.closing
	if !closing {
		v.aside.Add(1)
	}
	v.mu.Unlock()
	if closing { // nobody would wait for it
		do(v.ctx)
		return
	}
	go func() {
		defer v.aside.Done()
		do(v.ctx)
	}()
}

func (v *Revoker) work(ctx context.Context) {
	defer close(v.done)
	for x := range v.queue {
		for x.remaining = revokeTries; x.remaining > 0 && ctx.Err() == nil; x.remaining-- {
			wait, cancel := context.WithTimeout(ctx, revokeTimeout)
			err := v.now(wait, x.provider, x.sessions, x.token, x.sid, x.key)
			cancel()
			if err == nil {
				break
			}
			v.log.Warn("revoking a refresh token", "error", err, "tries_left", x.remaining-1)
		}
	}
}

// now revokes one refresh token, unless another session with its sid lives on. key names the session it belonged to.
func (v *Revoker) now(ctx context.Context, p *logto.Provider, m *session.Manager, token, sid, key string) error {
	if token == "" {
		return nil
	}
	if sid != "" {
		shared, err := m.LiveWithSID(ctx, sid, key)
		if err != nil {
			return err
		}
		if shared {
			return nil
		}
	}
	return p.Revoke(ctx, token)
}

// later queues a revocation. When the queue is full, or closed, the token is left to its lifetime, and the log says so.
func (v *Revoker) later(p *logto.Provider, m *session.Manager, token, sid, key string) {
	if token == "" {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.closed {
		select {
		case v.queue <- revocation{provider: p, sessions: m, token: token, sid: sid, key: key}:
			return
		default:
		}
	}
	v.log.Error("the revocation queue is full or closed: a refresh token stays valid until it runs out")
}
