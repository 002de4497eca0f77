package authflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/singleflight"

	"portero/internal/audit"
	"portero/internal/logto"
	"portero/internal/session"
)

// Bounds of a refresh.
const (
	refreshTimeout = 10 * time.Second // one refresh, all its calls
	refreshWait    = 5 * time.Second  // how long a request whose access token has run out waits for it
	refreshRetry   = 5 * time.Second  // after Logto did not answer
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
// configuration, so that a reload starts no second one. The zero value is ready.
type Refresher struct {
	calls singleflight.Group // :: session key → the refresh under way
}

// Renew keeps the tokens and claims of a session fresh, by use: in the last fifth of the access token's life a
// refresh starts beside the request, which does not wait; after its end the request waits, and goes on with the
// claims of before only while Logto does not answer, and no longer than refresh_grace.
//
// A session without a refresh token is over when its access token is: what Logto says about the person is never older
// than one access token's life.
func (f *Flow) Renew(ctx context.Context, s *session.Session) (*session.Session, error) {
	if !f.due(s) {
		return s, nil
	}
	now := f.now()
	expired := !now.Before(s.AccessExpires)
	switch {
	case s.RefreshToken == "" && expired:
		return nil, f.over(ctx, s, "no-refresh-token")
	case s.RefreshToken == "":
		return s, nil
	case now.Before(s.RetryAt):
		return f.withinGrace(s, now, expired)
	}

	call := f.Refresh.calls.DoChan(s.Key, func() (any, error) {
		work, cancel := context.WithTimeout(context.WithoutCancel(ctx), refreshTimeout)
		defer cancel()
		return f.refresh(work, s)
	})
	if !expired {
		return s, nil
	}
	timer := time.NewTimer(refreshWait)
	defer timer.Stop()
	select {
	case res := <-call:
		if res.Err == nil {
			return res.Val.(*session.Session), nil
		}
		if errors.Is(res.Err, errPostponed) {
			return f.withinGrace(s, now, expired)
		}
		return nil, res.Err
	case <-timer.C:
		return f.withinGrace(s, now, expired)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// withinGrace lets a session go on while Logto does not answer, counted from the first refresh that failed.
func (f *Flow) withinGrace(s *session.Session, now time.Time, expired bool) (*session.Session, error) {
	if expired && !s.UnreachableSince.IsZero() && now.Sub(s.UnreachableSince) > f.Grace {
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
func (f *Flow) refresh(ctx context.Context, s *session.Session) (*session.Session, error) {
	s, err := f.reread(ctx, s)
	if err != nil || !f.due(s) {
		return s, err
	}
	tokens, err := f.Provider.Refresh(ctx, s.RefreshToken)
	var id logto.Verified
	if err == nil && tokens.IDToken != "" {
		id, err = f.Provider.Verify(ctx, tokens.IDToken, logto.Expect{Subject: s.Subject, AccessToken: tokens.AccessToken, Nonce: nonceOf(s)})
	}
	var userinfo json.RawMessage
	if err == nil && f.Userinfo {
		userinfo, err = f.Provider.Userinfo(ctx, tokens.AccessToken, s.Subject)
	}
	switch {
	case errors.Is(err, logto.ErrUnavailable), noAnswer(err):
		return nil, f.postpone(ctx, s, err)
	case errors.Is(err, logto.ErrAccessDenied):
		f.Metrics.Refresh("access_denied")
		f.retryLater(ctx, s, false)
		return nil, fmt.Errorf("%w: %w", ErrAccessDenied, err)
	case errors.Is(err, logto.ErrInvalidGrant):
		return nil, f.over(ctx, s, "invalid_grant")
	case err != nil:
		f.Log.Error("refreshing a session", "error", err, "session", s.ID)
		return nil, f.over(ctx, s, "refused")
	}

	change := func(n *session.Session) {
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
	}
	for used := s.RefreshToken; ; {
		next, ok, err := f.Sessions.Update(ctx, s, change)
		if err != nil {
			return nil, err
		}
		if ok {
			f.Metrics.Refresh("succeeded")
			return next, nil
		}
		// The record moved: ended, resealed, or renewed elsewhere. A newer token set is left alone.
		if s, err = f.reread(ctx, s); err != nil || s.RefreshToken != used {
			f.Metrics.Refresh("discarded")
			if tokens.RefreshToken != used {
				f.Revoker.later(f.Provider, f.Sessions, tokens.RefreshToken, id.SID, "")
			}
			return s, err
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

// postpone notes that Logto did not answer.
func (f *Flow) postpone(ctx context.Context, s *session.Session, cause error) error {
	f.Metrics.Refresh("unavailable")
	f.Log.Warn("refreshing a session: Logto does not answer, the session goes on for refresh_grace", "error", cause, "session", s.ID)
	f.retryLater(ctx, s, true)
	return fmt.Errorf("%w: %w", errPostponed, cause)
}

func (f *Flow) retryLater(ctx context.Context, s *session.Session, unreachable bool) {
	now := f.now()
	_, _, err := f.Sessions.Update(ctx, s, func(n *session.Session) {
		n.RetryAt = now.Add(refreshRetry)
		if unreachable && n.UnreachableSince.IsZero() {
			n.UnreachableSince = now
		}
	})
	if err != nil {
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
