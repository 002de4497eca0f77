package logto

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"portero/internal/identity"
)

const (
	// maxAccess is the length of the longest access token that is read; Logto's have 700 bytes.
	maxAccess   = 16 << 10
	maxClientID = 255
	maxScopes   = 1000
	// mostAccess is how many verified access tokens are remembered.
	mostAccess = 4096
)

// The checks that only access tokens have.
const (
	CheckClientID Check = "client_id"
	CheckScope    Check = "scope"
	CheckBound    Check = "cnf"
)

// ErrAccessToken is returned by VerifyAccess when the access token does not verify. The error is an *AccessError.
var ErrAccessToken = errors.New("the access token does not verify")

// AccessError says which check an access token failed. It matches ErrAccessToken, and holds nothing of the token.
type AccessError struct {
	Check  Check
	Detail string
}

func (e *AccessError) Error() string {
	return fmt.Sprintf("%v: %s: %s", ErrAccessToken, e.Check, e.Detail)
}

// Unwrap makes the error match ErrAccessToken.
func (e *AccessError) Unwrap() error { return ErrAccessToken }

// Access is an access token that has passed every check.
type Access struct {
	Subject  string // a person, or the client itself
	ClientID string
	Expires  time.Time
	// Claims have beside those of the token the list `scopes`, made of its `scope`. Nobody modifies them.
	Claims identity.Claims
}

// VerifyAccess checks a JWT access token for one audience (RFC 9068 4). Everybody can send one, so what costs comes last:
//
//  1. one that was verified before is known by its hash, as long as it is valid and its key is in Logto's set
//  2. shape, header and claims, which are believed for nothing but a refusal yet
//  3. the key, as for ID tokens; key ids that Logto's set lacks have it fetched once a minute at most
//  4. the signature, over the very claims that were checked; so many at once as there are processors
//
// The type has to be there: it is what tells access tokens from ID tokens of an application whose id is the audience. A token
// for several audiences is refused, since another of them could bring it here (RFC 8707 3); so is one that is bound to a
// key of its client (RFC 7800), which is worth nothing without a proof.
//
// Errors match ErrAccessToken, or ErrUnavailable where the key cannot be fetched.
func (p *Provider) VerifyAccess(ctx context.Context, token, audience string) (Access, error) {
	a, err := p.verifyAccess(ctx, token, audience)
	var refused *TokenError
	if errors.As(err, &refused) {
		err = &AccessError{Check: refused.Check, Detail: refused.Detail}
	}
	if err != nil {
		return Access{}, err
	}
	return a, nil
}

func (p *Provider) verifyAccess(ctx context.Context, token, audience string) (Access, error) {
	if len(token) > maxAccess {
		return Access{}, &TokenError{Check: CheckShape, Detail: "it is too long"}
	}
	sum := accessSum(token, audience)
	if a, ok := p.access.find(ctx, p, sum); ok {
		return a, nil
	}
	h, err := parseHeader(token, "at+jwt", "application/at+jwt")
	if err != nil {
		return Access{}, err
	}
	if !h.typed {
		return Access{}, &TokenError{Check: CheckType, Detail: "it has no type"}
	}
	payload, err := decodePart(strings.Split(token, ".")[1])
	if err != nil {
		return Access{}, err
	}
	claims, err := identity.ParseClaims(payload)
	if err != nil {
		return Access{}, &TokenError{Check: CheckClaims, Detail: "they are no JSON object we read"}
	}
	a, err := p.checkAccess(claims, audience)
	if err != nil {
		return Access{}, err
	}
	keys, err := p.keys.find(ctx, h, &p.keys.accessRenewed)
	if err != nil {
		return Access{}, err
	}
	if err := p.access.begin(ctx); err != nil {
		return Access{}, err
	}
	signed, used, err := h.signed(token, keys)
	p.access.end()
	if err != nil {
		return Access{}, err
	}
	if !bytes.Equal(signed, payload) {
		return Access{}, &TokenError{Check: CheckSignature, Detail: "it is over other claims"}
	}
	p.access.keep(sum, verifiedAccess{access: a, header: h, public: used.public})
	return a, nil
}

// checkAccess is the claims' part of step 2, with a name for each refusal.
func (p *Provider) checkAccess(c identity.Claims, audience string) (Access, error) {
	fail := func(check Check, detail string) (Access, error) {
		return Access{}, &TokenError{Check: check, Detail: detail}
	}
	if issuer, ok := c["iss"].(string); !ok || issuer != p.issuer {
		return fail(CheckIssuer, "it is of another issuer")
	}
	if detail := checkOneAudience(c["aud"], audience); detail != "" {
		return fail(CheckAudience, detail)
	}
	// What no access token has, under its type.
	if _, there := c["events"]; there {
		return fail(CheckType, "it is a logout token")
	}
	if _, there := c["nonce"]; there {
		return fail(CheckNonce, "there is one: it is an ID token")
	}
	if _, there := c["cnf"]; there {
		return fail(CheckBound, "it is bound to a key of its client")
	}
	a := Access{Claims: c}
	var ok bool
	if a.Subject, ok = c["sub"].(string); !ok || a.Subject == "" || len(a.Subject) > maxSub || hasControl(a.Subject) {
		return fail(CheckSubject, "it is missing or malformed")
	}
	if a.ClientID, ok = c["client_id"].(string); !ok || a.ClientID == "" || len(a.ClientID) > maxClientID || hasControl(a.ClientID) {
		return fail(CheckClientID, "it is missing or malformed")
	}
	var err error
	if a.Expires, err = p.accessTimes(c); err != nil {
		return Access{}, err
	}
	scopes, detail := scopeList(c)
	if detail != "" {
		return fail(CheckScope, detail)
	}
	c["scopes"] = scopes // whatever else the token has under that name
	return a, nil
}

// checkOneAudience wants the audience, by exact name, and no other. detail is "" if all is well.
func checkOneAudience(claim any, audience string) (detail string) {
	if list, ok := claim.([]any); ok {
		if len(list) != 1 {
			return "it is not one"
		}
		claim = list[0]
	}
	switch text, ok := claim.(string); {
	case !ok:
		return "it is missing or malformed"
	case text != audience || audience == "":
		return "it is for another audience"
	}
	return ""
}

// accessTimes checks exp, nbf and iat.
func (p *Provider) accessTimes(c identity.Claims) (expires time.Time, err error) {
	fail := func(check Check, detail string) (time.Time, error) {
		return time.Time{}, &TokenError{Check: check, Detail: detail}
	}
	now := p.config.Now()
	if expires, err = timeClaim(c, "exp"); err != nil || expires.IsZero() {
		return fail(CheckExpiry, "it is missing or no time")
	}
	if !now.Before(expires) {
		return fail(CheckExpiry, "it has expired; if it was issued just now, compare the clocks")
	}
	if notBefore, err := timeClaim(c, "nbf"); err != nil || now.Add(p.config.Leeway).Before(notBefore) {
		return fail(CheckNotBefore, "it is not valid yet, or is no time; compare the clocks")
	}
	issued, err := timeClaim(c, "iat")
	if err != nil || issued.IsZero() {
		return fail(CheckIssuedAt, "it is missing or no time")
	}
	if now.Add(p.config.Leeway).Before(issued) {
		return fail(CheckIssuedAt, "it was issued in the future; compare the clocks")
	}
	return expires, nil
}

// scopeList is the claim scope (RFC 9068 2.2.3) in its parts: tokens between single blanks (RFC 6749 3.3). None: no claim.
func scopeList(c identity.Claims) (scopes []any, detail string) {
	scopes = []any{}
	claim, there := c["scope"]
	text, ok := claim.(string)
	if there && (!ok || !printable(text)) {
		return nil, "it is no list of scopes"
	}
	for scope := range strings.SplitSeq(text, " ") {
		if scope != "" {
			scopes = append(scopes, scope)
		}
	}
	if len(scopes) > maxScopes {
		return nil, "it has too many scopes"
	}
	return scopes, ""
}

// accessCache remembers verified access tokens by their hash, so that a client that calls often costs one signature. Only
// tokens of Logto's get into it.
type accessCache struct {
	now   func() time.Time
	slots chan struct{} // one for each signature that is being checked

	mu    sync.Mutex
	known map[[sha256.Size]byte]verifiedAccess
}

type verifiedAccess struct {
	access Access
	header header
	public any
}

func newAccessCache(now func() time.Time) *accessCache {
	return &accessCache{now: now, slots: make(chan struct{}, runtime.GOMAXPROCS(0)), known: map[[sha256.Size]byte]verifiedAccess{}}
}

// accessSum names a token that was verified for one audience.
func accessSum(token, audience string) [sha256.Size]byte {
	return sha256.Sum256([]byte(token + " " + audience)) // neither has a blank
}

// find returns a token that was verified before, if it is still valid under a key that is still in Logto's set.
func (c *accessCache) find(ctx context.Context, p *Provider, sum [sha256.Size]byte) (Access, bool) {
	c.mu.Lock()
	v, ok := c.known[sum]
	c.mu.Unlock()
	if !ok {
		return Access{}, false
	}
	if c.now().Before(v.access.Expires) {
		known, _, err := p.keys.cache.get(ctx)
		if err != nil {
			return Access{}, false // the caller asks again, and learns why
		}
		if fits, err := fitting(known, v.header.algorithm, v.header.keyID); err == nil && hasKey(fits, v.public) {
			return v.access, true
		}
	}
	c.mu.Lock()
	delete(c.known, sum)
	c.mu.Unlock()
	return Access{}, false
}

// keep remembers a token. A full cache forgets those that have expired, or else any one.
func (c *accessCache) keep(sum [sha256.Size]byte, v verifiedAccess) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= mostAccess {
		now, looked := c.now(), 0
		for other, v := range c.known {
			if looked++; looked > 16 && len(c.known) < mostAccess {
				break
			}
			if !now.Before(v.access.Expires) || looked > 16 {
				delete(c.known, other)
			}
		}
	}
	c.known[sum] = v
}

// begin waits until there is a processor for one more signature; end gives it back.
func (c *accessCache) begin(ctx context.Context) error {
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *accessCache) end() { <-c.slots }

func hasKey(keys []key, public any) bool {
	for _, k := range keys {
		switch other := k.public.(type) {
		case *ecdsa.PublicKey:
			if other.Equal(public) {
				return true
			}
		case *rsa.PublicKey:
			if other.Equal(public) {
				return true
			}
		}
	}
	return false
}
