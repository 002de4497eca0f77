package logto

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"portero/internal/identity"
)

const (
	// logoutEvent is the member of `events` that makes a token a logout token (Back-Channel Logout 1.0 2.4).
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
	// logoutAge is how long ago a logout token may have been issued. Logto sends each once, at once, and up to 1.41
	// without `exp`.
	logoutAge = 2 * time.Minute
	// maxLogout is the length of the longest logout token that is read; Logto's have 600 bytes.
	maxLogout   = 16 << 10
	maxLogoutID = 255

	// Anybody may send logout tokens: so many signatures a second are checked, and so many at once.
	logoutRate  = 100
	logoutBurst = 200
)

// The checks that only logout tokens have.
const (
	CheckEvents   Check = "events"
	CheckLogoutID Check = "jti"
	CheckSession  Check = "sid"
)

var (
	// ErrLogoutToken is returned by VerifyLogout when the logout token does not verify. The error is a *LogoutError.
	ErrLogoutToken = errors.New("the logout token does not verify")
	// ErrTooManyLogouts is returned by VerifyLogout when more logout tokens come than signatures are checked.
	ErrTooManyLogouts = errors.New("too many logout tokens at once")
)

// LogoutError says which check a logout token failed. It matches ErrLogoutToken, and holds nothing of the token.
type LogoutError struct {
	Check  Check
	Detail string
}

func (e *LogoutError) Error() string {
	return fmt.Sprintf("%v: %s: %s", ErrLogoutToken, e.Check, e.Detail)
}

// Unwrap makes the error match ErrLogoutToken.
func (e *LogoutError) Unwrap() error { return ErrLogoutToken }

// Logout is a logout token that has passed every check. Whether it was seen before is the caller's to ask, by its ID.
type Logout struct {
	Subject  string // "": every session of SID, whoever's
	SID      string // "": every session of Subject
	ID       string // jti
	IssuedAt time.Time
}

// newLogoutLimit bounds the signatures of logout tokens.
func newLogoutLimit() *rate.Limiter { return rate.NewLimiter(logoutRate, logoutBurst) }

// VerifyLogout checks a logout token (OpenID Connect Back-Channel Logout 1.0 2.6). Everybody can send one, so what costs
// comes last:
//
//  1. shape, header and claims, which are believed for nothing but a refusal yet
//  2. the key, as for ID tokens; key ids that Logto's set lacks have it fetched once a minute at most
//  3. one of a bounded number of signatures a second
//  4. the signature, over the very claims that were checked
//
// ID tokens and access tokens are no logout tokens: they say so in their type, have no `events`, and ID tokens have a
// nonce. A token without a type is taken, as the specification has it, because the claims tell it apart as well.
//
// Errors match ErrLogoutToken, ErrTooManyLogouts, or ErrUnavailable where the key cannot be fetched.
func (p *Provider) VerifyLogout(ctx context.Context, token string) (Logout, error) {
	l, err := p.verifyLogout(ctx, token)
	var refused *TokenError
	if errors.As(err, &refused) {
		err = &LogoutError{Check: refused.Check, Detail: refused.Detail}
	}
	if err != nil {
		return Logout{}, err
	}
	return l, nil
}

func (p *Provider) verifyLogout(ctx context.Context, token string) (Logout, error) {
	if len(token) > maxLogout {
		return Logout{}, &TokenError{Check: CheckShape, Detail: "it is too long"}
	}
	header, err := parseHeader(token, "logout+jwt")
	if err != nil {
		return Logout{}, err
	}
	payload, err := decodePart(strings.Split(token, ".")[1])
	if err != nil {
		return Logout{}, err
	}
	claims, err := identity.ParseClaims(payload)
	if err != nil {
		return Logout{}, &TokenError{Check: CheckClaims, Detail: "they are no JSON object we read"}
	}
	l, err := p.checkLogout(claims)
	if err != nil {
		return Logout{}, err
	}
	keys, err := p.keys.find(ctx, header, &p.keys.logoutRenewed)
	if err != nil {
		return Logout{}, err
	}
	if !p.logouts.AllowN(p.config.Now(), 1) {
		return Logout{}, ErrTooManyLogouts
	}
	signed, _, err := header.signed(token, keys)
	if err != nil {
		return Logout{}, err
	}
	if !bytes.Equal(signed, payload) {
		return Logout{}, &TokenError{Check: CheckSignature, Detail: "it is over other claims"}
	}
	return l, nil
}

// checkLogout is the claims' part of step 1, with a name for each refusal.
func (p *Provider) checkLogout(c identity.Claims) (Logout, error) {
	fail := func(check Check, detail string) (Logout, error) {
		return Logout{}, &TokenError{Check: check, Detail: detail}
	}
	if issuer, ok := c["iss"].(string); !ok || issuer != p.issuer {
		return fail(CheckIssuer, "it is of another issuer")
	}
	if _, detail := p.inAudience(c); detail != "" {
		return fail(CheckAudience, detail)
	}
	events, ok := c["events"].(map[string]any)
	if !ok {
		return fail(CheckEvents, "they are missing or no object: it is a token of another kind")
	}
	if _, ok := events[logoutEvent].(map[string]any); !ok {
		return fail(CheckEvents, "they do not tell of a logout")
	}
	// Back-Channel Logout 1.0 2.4: prohibited, so that no logout token passes for an ID token, nor the other way round.
	if _, there := c["nonce"]; there {
		return fail(CheckNonce, "there is one: it is an ID token")
	}
	l, err := p.logoutTimes(c)
	if err != nil {
		return Logout{}, err
	}
	if l.ID, ok = c["jti"].(string); !ok || l.ID == "" || len(l.ID) > maxLogoutID {
		return fail(CheckLogoutID, "it is missing or malformed")
	}
	subject, hasSubject := c["sub"]
	if l.Subject, ok = subject.(string); hasSubject && (!ok || l.Subject == "" || len(l.Subject) > maxSub || hasControl(l.Subject)) {
		return fail(CheckSubject, "it is malformed")
	}
	sid, hasSID := c["sid"]
	if l.SID, ok = sid.(string); hasSID && (!ok || l.SID == "" || hasControl(l.SID)) {
		return fail(CheckSession, "it is malformed")
	}
	if !hasSubject && !hasSID {
		return fail(CheckSubject, "there is neither sub nor sid: nobody is meant")
	}
	return l, nil
}

// logoutTimes checks iat, exp and nbf.
func (p *Provider) logoutTimes(c identity.Claims) (Logout, error) {
	fail := func(check Check, detail string) (Logout, error) {
		return Logout{}, &TokenError{Check: check, Detail: detail}
	}
	now := p.config.Now()
	issued, err := timeClaim(c, "iat")
	switch {
	case err != nil || issued.IsZero():
		return fail(CheckIssuedAt, "it is missing or no time")
	case now.Add(p.config.Leeway).Before(issued):
		return fail(CheckIssuedAt, "it was issued in the future; compare the clocks")
	case now.Sub(issued) > logoutAge:
		return fail(CheckIssuedAt, "it was issued too long ago; compare the clocks")
	}
	expires, err := timeClaim(c, "exp")
	if err != nil || !expires.IsZero() && !now.Before(expires) {
		return fail(CheckExpiry, "it has expired, or is no time; if it was issued just now, compare the clocks")
	}
	notBefore, err := timeClaim(c, "nbf")
	if err != nil || now.Add(p.config.Leeway).Before(notBefore) {
		return fail(CheckNotBefore, "it is not valid yet, or is no time; compare the clocks")
	}
	return Logout{IssuedAt: issued}, nil
}
