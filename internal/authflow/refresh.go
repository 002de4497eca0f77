package authflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"portero/internal/audit"
	"portero/internal/logto"
	"portero/internal/session"
)

// refreshWait is how long a request whose access token has run out waits for a refresh.
const refreshWait = 5 * time.Second

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
	errElsewhere = errors.New("another process refreshes this session")
)

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
	wait := waits(s, now)
	switch {
	case !s.Renewable && wait:
		return nil, f.over(ctx, s, "no-refresh-token")
	case !s.Renewable:
		return s, nil
	case postponed(s, now):
		return f.meanwhile(s, now)
	case wait:
		return f.await(ctx, s)
	}
	if !f.Refresh.wasTaken(s.Key) {
		f.Refresh.run(ctx, s, func(ctx context.Context) (*session.Session, error) { return f.refresh(ctx, s) })
	}
	return s, nil
}

// await is Renew for a request that cannot go on before a refresh has ended, here or on another replica.
func (f *Flow) await(ctx context.Context, s *session.Session) (*session.Session, error) {
	timer := time.NewTimer(refreshWait)
	defer timer.Stop()
	for {
		call := f.Refresh.run(ctx, s, func(ctx context.Context) (*session.Session, error) { return f.refresh(ctx, s) })
		select {
		case res := <-call:
			latest := res.Val.(*session.Session)
			switch {
			case errors.Is(res.Err, errPostponed):
				return f.meanwhile(latest, f.now())
			case !errors.Is(res.Err, errElsewhere):
				return latest, res.Err
			case !waits(latest, f.now()):
				return latest, nil
			}
			s = latest
		case <-timer.C:
			return f.meanwhile(s, f.now())
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// due reports whether s is in the last fifth of its access token's life, or past it; or whether an answer was lost, which may
// have had a new refresh token.
func (f *Flow) due(s *session.Session) bool {
	return !s.UnreachableSince.IsZero() || !f.now().Before(s.AccessExpires.Add(-s.AccessLife/5))
}

// waits reports whether a request has to wait for a refresh of s.
func waits(s *session.Session, now time.Time) bool { return !now.Before(s.AccessExpires) || denied(s) }

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

// refresh asks Logto once, and stores the answer if it is still this process's turn and the tokens are still those
// that it used: a newer token set is never overwritten by an older one, and a session that was ended stays ended.
//
//  1. The session's lease is taken, and the session read again: whoever asked may have seen it before the last refresh
//     ended, here or elsewhere.
//  2. The refresh token is used (OpenID Connect Core 1.0 12.1), unless so little is left of the lease that another
//     process could begin before the answer is here; and what comes is verified (12.2).
//  3. Until then nothing but a new refresh token is kept: Logto takes the one before as stolen when it comes again.
//  4. An answer that comes after the lease has ended, because the process was stopped meanwhile, is discarded: another
//     one may have asked since.
//  5. Tokens for a session that is gone meanwhile are taken back.
//
// What holds of the session then is returned, with errPostponed or errElsewhere too.
func (f *Flow) refresh(ctx context.Context, s *session.Session) (*session.Session, error) {
	lease, s, err := f.turn(ctx, s, f.due, func(s *session.Session) bool { return waits(s, f.now()) })
	if lease == nil {
		return s, err
	}
	if lease.Left() <= f.Refresh.timeout {
		lease.Release(ctx)
		return s, errElsewhere
	}
	asking, cancel := context.WithTimeout(ctx, f.Refresh.timeout)
	x := &refreshed{session: s, lease: lease, sent: f.now()}
	x.tokens, x.userinfo, err = f.ask(asking, s)
	cancel()
	return f.settle(ctx, x, err)
}

// turn takes the lease of a session that is due, by what is asked for. Without it the session is returned as it stands: not due any more,
// put off, or refreshed elsewhere, which is waited for if requests do.
func (f *Flow) turn(ctx context.Context, s *session.Session, due, waits func(*session.Session) bool) (*session.Lease, *session.Session, error) {
	giveUp := time.Now().Add(refreshWait)
	for wait := leasePause; ; wait = min(2*wait, leasePauseMost) {
		lease, ours, err := f.Sessions.Lease(ctx, s, leaseTimeouts*f.Refresh.timeout)
		if err != nil {
			f.Refresh.taken(s.Key)
			return nil, s, err
		}
		latest, err := f.reread(ctx, s)
		switch {
		case err != nil:
		case !due(latest):
		case postponed(latest, f.now()):
			err = errPostponed
		case ours:
			return lease, latest, nil
		case !waits(latest) || !time.Now().Before(giveUp) || !pause(ctx, wait):
			f.Refresh.taken(s.Key)
			err = errElsewhere
		default:
			s = latest
			continue
		}
		if ours {
			lease.Release(ctx)
		}
		return nil, latest, err
	}
}

// ask makes the calls of one refresh. What came before an error is returned with it.
func (f *Flow) ask(ctx context.Context, s *session.Session) (tokens logto.Tokens, userinfo json.RawMessage, err error) {
	tokens, err = f.Provider.Refresh(ctx, s.RefreshToken)
	if err == nil && tokens.IDToken != "" {
		_, err = f.Provider.Verify(ctx, tokens.IDToken, logto.Expect{Subject: s.Subject, AccessToken: tokens.AccessToken, Nonce: nonceOf(s)})
	}
	if err == nil && f.Userinfo {
		userinfo, err = f.Provider.Userinfo(ctx, tokens.AccessToken, s.Subject)
	}
	return tokens, userinfo, err
}

// settle does what Logto's answer asks for, and gives the lease back.
func (f *Flow) settle(ctx context.Context, x *refreshed, failed error) (*session.Session, error) {
	s := x.session
	if failed == nil || x.lease.Left() <= 0 { // too late even for a refusal: store discards it
		return f.store(ctx, x, "succeeded", x.renew(f.now()))
	}
	switch {
	case errors.Is(failed, logto.ErrUnavailable), noAnswer(failed):
		if f.Refresh.ctx.Err() == nil {
			f.Log.Warn("refreshing a session: Logto does not answer, the session goes on for refresh_grace", "error", failed, "session", s.ID)
		}
		latest, err := f.store(ctx, x, "unavailable", x.putOff(f.now(), true, logto.RetryAfter(failed)))
		if err == nil && latest.UnreachableSince.After(s.UnreachableSince) {
			f.again(ctx, latest)
		}
		return latest, orPostponed(err, failed)
	case errors.Is(failed, logto.ErrAccessDenied):
		latest, err := f.store(ctx, x, "access_denied", x.putOff(f.now(), false, 0))
		return latest, orPostponed(err, failed)
	}
	defer x.lease.Release(ctx)
	latest, err := f.reread(ctx, s)
	switch {
	case err != nil:
		return latest, err
	case !sameTokens(latest, s): // there are newer ones, which were not refused
		f.Metrics.Refresh("discarded")
		return latest, orPostponed(nil, failed)
	case errors.Is(failed, logto.ErrInvalidGrant):
		return latest, f.over(ctx, s, "invalid_grant")
	}
	f.tellRefused(s, failed)
	return latest, f.over(ctx, s, "refused")
}

// again asks once more after the first failure, whether the session is used meanwhile or not: if only the answer was
// lost, the token that was used is worth nothing in a moment, and would end the grant when it came back later. Another
// process may be first.
func (f *Flow) again(ctx context.Context, s *session.Session) {
	wait := s.RetryAt.Sub(f.now())
	if wait <= 0 || wait > refreshAgain*5/4 {
		return
	}
	time.AfterFunc(wait, func() {
		f.Refresh.run(ctx, s, func(ctx context.Context) (*session.Session, error) { return f.refresh(ctx, s) })
	})
}

// orPostponed is what a refresh that brought nothing returns: why the record could not be asked, or errPostponed.
func orPostponed(err, failed error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: %w", errPostponed, failed)
}

// tellRefused tells the operator what ended a session. Where it is the application that Logto does not know, everybody
// is about to learn it, and one line is enough.
func (f *Flow) tellRefused(s *session.Session, failed error) {
	if !ofClient(failed) {
		f.Log.Error("refreshing a session", "error", failed, "session", s.ID)
		return
	}
	if f.Refresh.tellOfSecret() {
		f.Log.Error("refreshing sessions: Logto does not take logto.app_secret for logto.app_id, and every session ends "+
			"that is due; put the application's present secret there and reload", "error", failed)
	}
}

// ofClient reports whether Logto refused who is asking, not what for.
func ofClient(err error) bool {
	var refused *logto.RefusedError
	return errors.As(err, &refused) && (refused.Code == "invalid_client" || refused.Status == http.StatusUnauthorized)
}

// noAnswer reports whether what came was no answer of Logto's, such as the page of a proxy in between.
func noAnswer(err error) bool {
	var refused *logto.RefusedError
	return errors.As(err, &refused) && refused.Code == "" && !ofClient(err)
}

// nonceOf is the nonce of the ID token that a session holds: a refreshed one has the same or none (OpenID Connect
// Core 1.0 12.2).
func nonceOf(s *session.Session) string { return s.Identity.Claims.Text("nonce") }

// over ends a session that Logto does not renew. No `fresh` marker is set: Logto decides whether it signs in again.
func (f *Flow) over(ctx context.Context, s *session.Session, why string) error {
	f.Metrics.Refresh("ended")
	if err := f.Sessions.Drop(ctx, s); err != nil {
		return err
	}
	f.Audit.Record(ctx, audit.Event{Action: "session-ended", Outcome: "ended", Reason: why, Subject: s.Subject, Email: s.Identity.Email, SessionID: s.ID})
	return ErrSessionOver
}
