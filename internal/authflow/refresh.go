package authflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"portero/internal/audit"
	"portero/internal/logto"
	"portero/internal/session"
)

// Bounds of a refresh.
const (
	refreshTimeout   = 10 * time.Second // one refresh, all its calls
	refreshWait      = 5 * time.Second  // how long a request whose access token has run out waits for it
	refreshAgain     = 2 * time.Second  // after Logto did not answer for the first time: a token that it has rotated meanwhile is good for 3 s
	refreshRetry     = 5 * time.Second  // after Logto did not answer once more, or denied
	refreshRetryMost = time.Minute      // and while it goes on
)

// Why a session cannot be used now although it is there.
var (
	// ErrSessionOver is returned by Flow.Renew when Logto has ended what the session stands on: the person signs in
	// again.
	ErrSessionOver = errors.New("logto does not renew this session")
	// ErrAccessDenied is returned by Flow.Renew while Logto denies this person the application; it may give access
	// back later.
	ErrAccessDenied = errors.New("logto denies this person access to the application")
	// ErrGraceOver is returned by Flow.Renew when Logto has not answered for longer than refresh_grace.
	ErrGraceOver = errors.New("logto has not answered for longer than refresh_grace")

	errPostponed = errors.New("the refresh is tried again later")
)

// Refresher runs one refresh at a time for each session of this process. One serves all generations of the
// configuration, so that a reload starts no second one.
type Refresher struct {
	calls singleflight.Group // :: session key → the refresh under way
	ctx   context.Context    // ends with Close
	stop  context.CancelFunc

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

// NewRefresher makes one. Close ends it.
func NewRefresher() *Refresher {
	ctx, stop := context.WithCancel(context.Background())
	return &Refresher{ctx: ctx, stop: stop}
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
func (x *Refresher) run(ctx context.Context, key string, refresh func(context.Context) (*session.Session, error)) <-chan singleflight.Result {
	return x.calls.DoChan(key, func() (any, error) {
		x.mu.Lock()
		if x.closed {
			x.mu.Unlock()
			return (*session.Session)(nil), errPostponed
		}
		x.running.Add(1)
		x.mu.Unlock()
		defer x.running.Done()
		work, cancel := context.WithTimeout(context.WithoutCancel(ctx), refreshTimeout)
		defer cancel()
		defer context.AfterFunc(x.ctx, cancel)()
		return refresh(work)
	})
}

// Renew keeps the tokens and claims of a session fresh, by use: in the last fifth of the access token's life a
// refresh starts beside the request, which does not wait; after its end the request waits, and goes on with the
// claims of before only while Logto does not answer, and no longer than refresh_grace.
//
// Once Logto has denied the person the application, requests are denied and wait for the next answer, until one gives
// access back.
//
// A session without a refresh token is over when its access token is: what Logto says about the person is never older
// than one access token's life.
func (f *Flow) Renew(ctx context.Context, s *session.Session) (*session.Session, error) {
	if !f.due(s) {
		return s, nil
	}
	now := f.now()
	wait := !now.Before(s.AccessExpires) || denied(s)
	switch {
	case !s.Renewable && wait:
		return nil, f.over(ctx, s, "no-refresh-token")
	case !s.Renewable:
		return s, nil
	case postponed(s, now):
		return f.meanwhile(s, now)
	}

	call := f.Refresh.run(ctx, s.Key, func(ctx context.Context) (*session.Session, error) { return f.refresh(ctx, s) })
	if !wait {
		return s, nil
	}
	timer := time.NewTimer(refreshWait)
	defer timer.Stop()
	select {
	case res := <-call:
		latest := res.Val.(*session.Session)
		if !errors.Is(res.Err, errPostponed) {
			return latest, res.Err
		}
		if latest == nil {
			latest = s
		}
		return f.meanwhile(latest, now)
	case <-timer.C:
		return f.meanwhile(s, now)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// denied reports whether the last refresh was denied: it is put off although Logto answered.
func denied(s *session.Session) bool { return !s.RetryAt.IsZero() && s.UnreachableSince.IsZero() }

// postponed reports whether it is too early for another refresh. A clock that was set back does not prolong the wait.
func postponed(s *session.Session, now time.Time) bool {
	return now.Before(s.RetryAt) && s.RetryAt.Sub(now) <= refreshRetryMost
}

// meanwhile says what holds between two refreshes: a denial stays one; while Logto does not answer a session goes on,
// for refresh_grace from the first refresh that failed.
func (f *Flow) meanwhile(s *session.Session, now time.Time) (*session.Session, error) {
	switch {
	case denied(s):
		return nil, ErrAccessDenied
	case !now.Before(s.AccessExpires) && !s.UnreachableSince.IsZero() && now.Sub(s.UnreachableSince) > f.Grace:
		return nil, ErrGraceOver
	}
	return s, nil
}

// due reports whether s is in the last fifth of its access token's life, or past it.
func (f *Flow) due(s *session.Session) bool {
	return !f.now().Before(s.AccessExpires.Add(-s.AccessLife / 5))
}

// refresh asks Logto once and stores the answer, if the session is still there and still the same version: a newer
// token set is never overwritten by an older one, and a session that was ended stays ended.
//
//  1. The session is read again: whoever asked may have seen it before the last refresh ended.
//  2. The refresh token is used (OpenID Connect Core 1.0 12.1), and what comes is verified (12.2).
//  3. Until then nothing but a new refresh token is kept: Logto takes the one before as stolen when it comes again.
//  4. Tokens for a session that is gone meanwhile are taken back.
func (f *Flow) refresh(ctx context.Context, s *session.Session) (*session.Session, error) {
	s, err := f.reread(ctx, s)
	if err != nil || !f.due(s) {
		return s, err
	}
	if postponed(s, f.now()) {
		return s, errPostponed
	}
	tokens, err := f.Provider.Refresh(ctx, s.RefreshToken)
	if err == nil && tokens.IDToken != "" {
		_, err = f.Provider.Verify(ctx, tokens.IDToken, logto.Expect{Subject: s.Subject, AccessToken: tokens.AccessToken, Nonce: nonceOf(s)})
	}
	var userinfo json.RawMessage
	if err == nil && f.Userinfo {
		userinfo, err = f.Provider.Userinfo(ctx, tokens.AccessToken, s.Subject)
	}
	switch {
	case errors.Is(err, logto.ErrUnavailable), noAnswer(err):
		f.Metrics.Refresh("unavailable")
		f.Log.Warn("refreshing a session: Logto does not answer, the session goes on for refresh_grace", "error", err, "session", s.ID)
		f.retryLater(ctx, s, tokens.RefreshToken, true)
		return nil, fmt.Errorf("%w: %w", errPostponed, err)
	case errors.Is(err, logto.ErrAccessDenied):
		f.Metrics.Refresh("access_denied")
		f.retryLater(ctx, s, tokens.RefreshToken, false)
		return nil, fmt.Errorf("%w: %w", ErrAccessDenied, err)
	case errors.Is(err, logto.ErrInvalidGrant):
		return nil, f.over(ctx, s, "invalid_grant")
	case err != nil:
		f.Log.Error("refreshing a session", "error", err, "session", s.ID)
		return nil, f.over(ctx, s, "refused")
	}

	next, ok, err := f.store(ctx, s, func(n *session.Session) {
		n.AccessToken = tokens.AccessToken
		n.AccessLife, n.AccessExpires = tokens.ExpiresIn, f.now().Add(tokens.ExpiresIn)
		n.UnreachableSince, n.RetryAt = time.Time{}, time.Time{}
		if tokens.RefreshToken != "" {
			n.RefreshToken = tokens.RefreshToken
		}
		if tokens.IDToken != "" {
			n.IDToken = tokens.IDToken
		}
		if userinfo != nil {
			n.Userinfo = userinfo
		}
	})
	switch {
	case ok:
		f.Metrics.Refresh("succeeded")
	case err == nil || errors.Is(err, ErrSessionOver):
		f.Metrics.Refresh("discarded")
		if err != nil && tokens.RefreshToken != s.RefreshToken {
			f.Revoker.later(f.Provider, f.Sessions, tokens.RefreshToken, s.SID, s.Key)
		}
	}
	return next, err
}

// store changes a session whose refresh token was used. When the record has moved meanwhile because it was ended or
// renewed elsewhere, it is left alone: ok is false, and what is there now is returned.
func (f *Flow) store(ctx context.Context, s *session.Session, change func(*session.Session)) (now *session.Session, ok bool, err error) {
	for used := s.RefreshToken; ; {
		now, ok, err = f.Sessions.Update(ctx, s, change)
		if err != nil || ok {
			return now, ok, err
		}
		if s, err = f.reread(ctx, s); err != nil || s.RefreshToken != used {
			return s, false, err
		}
	}
}

// reread reads a session again as the store has it now.
func (f *Flow) reread(ctx context.Context, s *session.Session) (*session.Session, error) {
	found, err := f.Sessions.Reload(ctx, s)
	if err != nil {
		return nil, err
	}
	if found.Session == nil {
		return nil, ErrSessionOver
	}
	return found.Session, nil
}

// nonceOf is the nonce of the ID token that a session holds: a refreshed one has the same or none (OpenID Connect
// Core 1.0 12.2).
func nonceOf(s *session.Session) string { return s.Identity.Claims.Text("nonce") }

// noAnswer reports whether what came was no answer of Logto's, such as the page of a proxy in between.
func noAnswer(err error) bool {
	var refused *logto.RefusedError
	return errors.As(err, &refused) && refused.Code == ""
}

// retryLater notes a refresh that brought nothing: when the next one may be, since when Logto does not answer, and a
// refresh token that came all the same ("": none).
func (f *Flow) retryLater(ctx context.Context, s *session.Session, refreshToken string, unreachable bool) {
	now := f.now()
	_, _, err := f.store(ctx, s, func(n *session.Session) {
		switch {
		case !unreachable:
			n.UnreachableSince = time.Time{}
		case n.UnreachableSince.IsZero() && !denied(n):
			n.UnreachableSince = now
		}
		wait := refreshRetry
		if since := n.UnreachableSince; since.Equal(now) {
			wait = refreshAgain
		} else if !since.IsZero() {
			wait = min(max(refreshRetry, now.Sub(since)/4), refreshRetryMost)
		}
		n.RetryAt = now.Add(wait)
		if refreshToken != "" {
			n.RefreshToken = refreshToken
		}
	})
	if err != nil && !errors.Is(err, ErrSessionOver) {
		f.Log.Warn("noting a failed refresh", "error", err, "session", s.ID)
	}
}

// over ends a session that Logto does not renew. No `fresh` marker is set: Logto decides whether it signs in again.
func (f *Flow) over(ctx context.Context, s *session.Session, why string) error {
	f.Metrics.Refresh("ended")
	if err := f.Sessions.Drop(ctx, s); err != nil {
		return err
	}
	f.closeLive(&session.Session{Key: s.Key})
	f.Audit.Record(ctx, audit.Event{Action: "session-ended", Outcome: "ended", Reason: why, Subject: s.Subject, Email: s.Identity.Email, SessionID: s.ID})
	return ErrSessionOver
}
