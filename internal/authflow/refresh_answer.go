package authflow

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"

	"portero/internal/logto"
	"portero/internal/session"
)

// When a refresh is tried again that brought nothing. Each wait is up to a quarter longer, so that sessions whose
// refreshes failed together do not come back together.
const (
	refreshAgain     = 2 * time.Second // after it was sent for the first time: a token that Logto has rotated meanwhile is good for 3 s
	refreshRetry     = 5 * time.Second // later, and after Logto has denied the person
	refreshRetryMost = time.Minute     // while it goes on, and if Logto asks for longer
)

// refreshed is what one refresh has used, and what it brought.
type refreshed struct {
	session  *session.Session // whose tokens were used
	lease    *session.Lease
	sent     time.Time
	tokens   logto.Tokens
	userinfo json.RawMessage   // nil: not fetched
	audience *session.Audience // of the access token; nil: it is the session's own
}

// renew is the change of a record by an answer that came at now.
func (x *refreshed) renew(now time.Time) func(*session.Session) {
	return func(n *session.Session) {
		n.AccessToken = x.tokens.AccessToken
		n.AccessLife, n.AccessExpires = x.tokens.ExpiresIn, now.Add(x.tokens.ExpiresIn)
		n.UnreachableSince, n.RetryAt = time.Time{}, time.Time{}
		if x.tokens.RefreshToken != "" {
			n.RefreshToken = x.tokens.RefreshToken
		}
		if x.tokens.IDToken != "" {
			n.IDToken = x.tokens.IDToken
		}
		if x.userinfo != nil {
			n.Userinfo = x.userinfo
		}
	}
}

// putOff is the change of a record by a refresh that brought nothing at now: when the next one may be, since when
// Logto does not answer, and a refresh token that came all the same. after is how long Logto asked to wait.
func (x *refreshed) putOff(now time.Time, unreachable bool, after time.Duration) func(*session.Session) {
	return func(n *session.Session) {
		wait := longer(refreshRetry)
		switch first := n.UnreachableSince.IsZero() && !denied(n); {
		case !unreachable:
			n.UnreachableSince = time.Time{}
		case first:
			n.UnreachableSince = now
			if again := x.sent.Add(longer(refreshAgain)).Sub(now); again > 0 {
				wait = again
			}
		case !n.UnreachableSince.IsZero():
			wait = longer(max(refreshRetry, min(now.Sub(n.UnreachableSince)/4, refreshRetryMost*4/5)))
		}
		if after > 0 {
			wait = max(wait, longer(min(after, refreshRetryMost)))
		}
		n.RetryAt = now.Add(min(wait, refreshRetryMost))
		if x.tokens.RefreshToken != "" {
			n.RefreshToken = x.tokens.RefreshToken
		}
	}
}

// longer is a wait by up to a quarter longer, so that what was put off together does not come back together.
func longer(wait time.Duration) time.Duration { return wait + rand.N(wait/4+1) }

// brought reports whether the answer is worth storing later when it cannot be now: Logto counts the token that was
// used as spent.
func (x *refreshed) brought() bool { return x.tokens.AccessToken != "" }

// isIn reports whether the record has the access token that came.
func (x *refreshed) isIn(s *session.Session) bool {
	if x.audience != nil {
		return s.Token(*x.audience).Value == x.tokens.AccessToken
	}
	return s.AccessToken == x.tokens.AccessToken
}

// store changes the record and gives the lease back. Where the store cannot be asked although Logto has answered, that
// goes on beside for as long as the lease lasts; those who wait are told at once.
func (f *Flow) store(ctx context.Context, x *refreshed, outcome string, change func(*session.Session)) (*session.Session, error) {
	latest, err := f.write(ctx, x, x.session, outcome, change)
	if !errors.Is(err, session.ErrUnavailable) || !x.brought() {
		x.lease.Release(ctx)
		return latest, err
	}
	f.Refresh.beside(ctx, func(ctx context.Context) {
		defer x.lease.Release(ctx)
		err := err
		for wait := leasePause; errors.Is(err, session.ErrUnavailable) && x.lease.Left() > 0 && pause(ctx, wait); wait = min(2*wait, leasePauseMost) {
			var s *session.Session
			if s, err = f.reread(ctx, x.session); err == nil {
				_, err = f.write(ctx, x, s, outcome, change)
			}
		}
		if errors.Is(err, session.ErrUnavailable) {
			f.Log.Error("the tokens of a refresh could not be stored; this person may have to sign in again", "error", err, "session", x.session.ID)
		}
	})
	return latest, err
}

// write changes the record of a session, s being what it was last seen as. When the lease is over, or the record has
// moved because it was ended or renewed elsewhere, it is left alone, and what is there now is returned. Errors wrap
// session.ErrUnavailable, or are ErrSessionOver or errElsewhere.
func (f *Flow) write(ctx context.Context, x *refreshed, s *session.Session, outcome string, change func(*session.Session)) (*session.Session, error) {
	for {
		switch {
		case x.brought() && x.isIn(s): // an earlier try whose answer was lost
			f.Metrics.Refresh(outcome)
			return s, nil
		case x.lease.Left() <= 0 || !sameTokens(s, x.session):
			return f.discard(ctx, x)
		}
		stored, ok, err := f.Sessions.Update(ctx, s, change)
		if err != nil {
			return s, err
		}
		// Read again in any case: if it was stored, requests from here on get that.
		latest, err := f.reread(ctx, s)
		switch {
		case errors.Is(err, ErrSessionOver):
			return f.discard(ctx, x)
		case ok && err != nil:
			latest, err = stored, nil
			fallthrough
		case ok:
			f.Metrics.Refresh(outcome)
			return latest, nil
		case err != nil:
			return s, err
		}
		s = latest
	}
}

// discard leaves an answer alone that came too late. Its refresh token is taken back if the session is gone; else it
// belongs to the grant that the session lives on.
func (f *Flow) discard(ctx context.Context, x *refreshed) (*session.Session, error) {
	latest, err := f.reread(ctx, x.session)
	if errors.Is(err, session.ErrUnavailable) {
		return latest, err
	}
	f.Metrics.Refresh("discarded")
	if err != nil {
		if x.tokens.RefreshToken != x.session.RefreshToken {
			f.Revoker.later(f.Provider, f.Sessions, x.tokens.RefreshToken, x.session.SID, x.session.Key)
		}
		return latest, err
	}
	if f.due(latest) {
		return latest, errElsewhere
	}
	return latest, nil
}

// sameTokens reports whether nobody has refreshed between two readings of a session. Logto gives the same refresh token
// for most of its life, but never the same access token.
func sameTokens(a, b *session.Session) bool {
	return a.AccessToken == b.AccessToken && a.RefreshToken == b.RefreshToken
}

// reread reads a session again as the store has it now. On an error it is s.
func (f *Flow) reread(ctx context.Context, s *session.Session) (*session.Session, error) {
	found, err := f.Sessions.Reload(ctx, s)
	if err != nil {
		return s, err
	}
	if found.Session == nil {
		return s, ErrSessionOver
	}
	return found.Session, nil
}
