package authflow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"portero/internal/logto"
	"portero/internal/session"
)

// maxUpstreamToken is the longest access token that is sent to an application.
const maxUpstreamToken = 16 << 10

// ErrNoAccessToken is returned by Flow.AccessToken when there is no access token now: Logto does not answer, or the session has
// no refresh token.
var ErrNoAccessToken = errors.New("there is no access token for the application now")

// TokenRefusedError is returned by Flow.AccessToken while Logto gives this person no access token for what is asked for.
type TokenRefusedError struct {
	Code string // of OAuth: invalid_target, access_denied …
}

func (e *TokenRefusedError) Error() string {
	return "logto gives this person no access token for the application: " + e.Code
}

// AccessToken is the person's access token for an audience, as an application gets it. It is fetched when it is first asked
// for and kept in the session, for all replicas; in the last fifth of its life another one is fetched beside the request,
// and after its end the request waits.
//
// Each use of the refresh token may replace it, so this is a refresh as any other: one at a time for a session over all
// replicas, and none while the last one is put off.
func (f *Flow) AccessToken(ctx context.Context, s *session.Session, of session.Audience) (string, error) {
	timer := time.NewTimer(refreshWait)
	defer timer.Stop()
	for {
		now := f.now()
		held := s.Token(of)
		switch fits := now.Before(held.Expires); {
		case held.Value != "" && fits:
			if !f.fresh(held) && s.Renewable && !postponed(s, now) && !f.Refresh.wasTaken(s.Key) {
				f.fetchBeside(ctx, s, of)
			}
			return held.Value, nil
		case refusedNow(held, now):
			return "", &TokenRefusedError{Code: held.Refused}
		case !s.Renewable:
			return "", fmt.Errorf("%w: the session has no refresh token", ErrNoAccessToken)
		case postponed(s, now):
			return "", fmt.Errorf("%w: Logto did not answer a moment ago", ErrNoAccessToken)
		}
		select {
		case res := <-f.fetchBeside(ctx, s, of):
			latest := res.session
			switch {
			case errors.Is(res.err, errPostponed):
				if got := latest.Token(of); got.Value == "" || !f.now().Before(got.Expires) {
					return "", fmt.Errorf("%w: %w", ErrNoAccessToken, res.err)
				}
			case res.err != nil && !errors.Is(res.err, errElsewhere):
				return "", res.err
			}
			s = latest
		case <-timer.C:
			return "", fmt.Errorf("%w: Logto takes too long", ErrNoAccessToken)
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// fetched is how a fetch ended.
type fetched struct {
	session *session.Session
	err     error
}

// fetchBeside joins the refresh of a session that is under way, or starts one for an audience.
func (f *Flow) fetchBeside(ctx context.Context, s *session.Session, of session.Audience) <-chan fetched {
	call := f.Refresh.run(ctx, s, func(ctx context.Context) (*session.Session, error) { return f.fetch(ctx, s, of) })
	out := make(chan fetched, 1)
	go func() {
		res := <-call
		out <- fetched{res.Val.(*session.Session), res.Err}
	}()
	return out
}

// fresh reports whether a token is not in the last fifth of its life.
func (f *Flow) fresh(t session.Token) bool {
	return t.Value != "" && f.now().Before(t.Expires.Add(-t.Life/5))
}

// refusedNow reports whether it is too early to ask again for what was refused.
func refusedNow(t session.Token, now time.Time) bool {
	return t.Refused != "" && now.Before(t.RetryAt) && t.RetryAt.Sub(now) <= 2*refreshRetryMost
}

// fetch asks Logto for the access token of one audience, as refresh asks for the session's own. A refusal may have
// replaced the refresh token all the same, without telling: an ordinary refresh is sent behind it at once, while Logto
// still takes the one before.
func (f *Flow) fetch(ctx context.Context, s *session.Session, of session.Audience) (*session.Session, error) {
	wanted := func(s *session.Session) bool { t := s.Token(of); return !f.fresh(t) && !refusedNow(t, f.now()) }
	without := func(s *session.Session) bool { t := s.Token(of); return t.Value == "" || !f.now().Before(t.Expires) }
	lease, s, err := f.turn(ctx, s, wanted, without)
	if lease == nil {
		return s, err
	}
	if lease.Left() <= f.Refresh.timeout || s.RefreshToken == "" {
		lease.Release(ctx)
		return s, errElsewhere
	}
	asking, cancel := context.WithTimeout(ctx, f.Refresh.timeout)
	defer cancel()
	x := &refreshed{session: s, lease: lease, sent: f.now(), audience: &of}
	x.tokens, err = f.Provider.RefreshFor(asking, s.RefreshToken, of.Resource, of.Organization)
	if err == nil && x.tokens.IDToken != "" {
		_, err = f.Provider.Verify(asking, x.tokens.IDToken, logto.Expect{Subject: s.Subject, AccessToken: x.tokens.AccessToken, Nonce: nonceOf(s)})
	}
	code := refusedCode(err)
	if err == nil && len(x.tokens.AccessToken) > maxUpstreamToken {
		code = "too_long"
	}
	switch {
	case code != "":
		return f.refusedToken(ctx, asking, x, code)
	case err != nil:
		return f.settle(ctx, x, err)
	}
	return f.store(ctx, x, "succeeded", x.grant(f.now()))
}

// refusedToken notes that Logto gives no token for an audience, and renews the session.
func (f *Flow) refusedToken(ctx, asking context.Context, x *refreshed, code string) (*session.Session, error) {
	again := &refreshed{session: x.session, lease: x.lease, sent: f.now()}
	var err error
	if again.tokens, again.userinfo, err = f.ask(asking, x.session); err != nil {
		return f.settle(ctx, again, err)
	}
	now := f.now()
	renew := again.renew(now)
	return f.store(ctx, again, "succeeded", func(n *session.Session) {
		renew(n)
		n.SetToken(session.Token{Audience: *x.audience, Refused: code, RetryAt: now.Add(longer(refreshRetryMost))})
	})
}

// grant is the change of a record by an access token for an audience that came at now.
func (x *refreshed) grant(now time.Time) func(*session.Session) {
	return func(n *session.Session) {
		if x.tokens.RefreshToken != "" {
			n.RefreshToken = x.tokens.RefreshToken
		}
		n.UnreachableSince, n.RetryAt = time.Time{}, time.Time{}
		n.SetToken(session.Token{Audience: *x.audience, Value: x.tokens.AccessToken, Expires: now.Add(x.tokens.ExpiresIn), Life: x.tokens.ExpiresIn})
	}
}

// refusedCode is the code of an error by which Logto refuses a token, and not the refresh token or the application. "": it is
// none.
func refusedCode(err error) string {
	var refused *logto.RefusedError
	switch {
	case errors.Is(err, logto.ErrAccessDenied):
		return "access_denied"
	case errors.As(err, &refused) && refused.Code != "" && !ofClient(err):
		return refused.Code
	}
	return ""
}
