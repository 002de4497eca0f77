package logto

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"portero/internal/identity"
)

const (
	// mostAge is how long ago an ID token may have been issued. It is generous, since only fresh answers of the token
	// endpoint are verified: what it catches is a clock that is off by days.
	mostAge = 24 * time.Hour
	// lastTime is the end of the year 9999: later times are nonsense.
	lastTime = 253402300800
	maxSub   = 255
)

// Check names what a token failed. It is safe to log and to label with.
type Check string

// The checks in the order they are made.
const (
	CheckShape       Check = "shape"     // three parts of canonical base64url, not too large
	CheckHeader      Check = "header"    // a JSON object without members that change what is verified
	CheckType        Check = "typ"       // JWT, or none
	CheckAlgorithm   Check = "alg"       // one of ours, and the one of its key
	CheckKey         Check = "kid"       // a key of Logto's set
	CheckSignature   Check = "signature" //
	CheckClaims      Check = "claims"    // a JSON object we read
	CheckIssuer      Check = "iss"
	CheckAudience    Check = "aud"
	CheckParty       Check = "azp"
	CheckSubject     Check = "sub"
	CheckExpiry      Check = "exp"
	CheckNotBefore   Check = "nbf"
	CheckIssuedAt    Check = "iat"
	CheckAuthTime    Check = "auth_time"
	CheckNonce       Check = "nonce"
	CheckAccessToken Check = "at_hash"
)

// TokenError says which check an ID token failed. It matches ErrToken, and holds nothing of the token.
type TokenError struct {
	Check  Check
	Detail string
}

func (e *TokenError) Error() string { return fmt.Sprintf("%v: %s: %s", ErrToken, e.Check, e.Detail) }

// Unwrap makes the error match ErrToken.
func (e *TokenError) Unwrap() error { return ErrToken }

// Expect is what an ID token has to agree with, beside issuer and client.
type Expect struct {
	Nonce            string // "": not compared
	AccessToken      string // compared with at_hash where the token has one; "": not compared
	Subject          string // "": not compared
	AuthTimeRequired bool
}

// Verified is an ID token that has passed every check.
type Verified struct {
	Subject, SID, Nonce         string    // SID, Nonce "": it has none
	AuthTime, IssuedAt, Expires time.Time // AuthTime zero: it has none
	Claims                      identity.Claims
}

// Verify checks an ID token (OpenID Connect Core 1.0 3.1.3.7). Its steps:
//
//  1. shape and header, before anything is built from the token
//  2. the key: of Logto's set, by the header's kid, for the header's algorithm (RFC 8725 3.1)
//  3. the signature, by go-oidc and go-jose
//  4. issuer and audience, by go-oidc
//  5. azp, sub, exp, nbf, iat, auth_time, at_hash, nonce
//
// Errors match ErrToken, or ErrUnavailable where the key cannot be fetched.
func (p *Provider) Verify(ctx context.Context, idToken string, e Expect) (Verified, error) {
	header, err := parseHeader(idToken, "JWT")
	if err != nil {
		return Verified{}, err
	}
	signed := &signature{set: p.keys, header: header}
	verifier := oidc.NewVerifier(p.issuer, signed, &oidc.Config{
		ClientID:             p.config.AppID,
		SupportedSigningAlgs: []string{string(header.algorithm)},
		SkipExpiryCheck:      true, // checked below, with our leeway
	})
	token, err := verifier.Verify(ctx, idToken)
	if signed.err != nil {
		return Verified{}, signed.err
	}
	if signed.claims == nil {
		return Verified{}, &TokenError{Check: CheckSignature, Detail: "it cannot be read"}
	}
	verified, checkErr := p.checkClaims(signed.claims, e)
	switch {
	case checkErr != nil:
		return Verified{}, checkErr
	case err != nil:
		// Nothing that the library refuses passes, even if our own checks see no fault.
		return Verified{}, &TokenError{Check: CheckClaims, Detail: "they are refused by the library"}
	case e.AccessToken != "" && token.AccessTokenHash != "" && token.VerifyAccessToken(e.AccessToken) != nil:
		return Verified{}, &TokenError{Check: CheckAccessToken, Detail: "the access token belongs to another ID token"}
	}
	return verified, nil
}

// header is what is believed of a JWS header before the signature is checked.
type header struct {
	algorithm jose.SignatureAlgorithm
	keyID     string // "": none
	typed     bool   // it says what type it is
}

// parseHeader checks everything that can be checked without a key. A token without a type is taken for one of types: Logto
// leaves the type out of ID tokens from 1.42 on.
func parseHeader(token string, types ...string) (header, error) {
	if len(token) > maxToken {
		return header{}, &TokenError{Check: CheckShape, Detail: "it is too long"}
	}
	if strings.Count(token, ".") != 2 {
		return header{}, &TokenError{Check: CheckShape, Detail: "it has not three parts"}
	}
	var first []byte
	for i, part := range strings.Split(token, ".") {
		data, err := decodePart(part)
		if err != nil {
			return header{}, err
		}
		if i == 0 {
			first = data
		}
	}
	o, err := parseObject(first)
	if err != nil {
		return header{}, &TokenError{Check: CheckHeader, Detail: "it is no JSON object we read"}
	}
	// RFC 8725 3.10 and 3.8: keys come from Logto's set alone; extensions (RFC 7515 4.1.11, RFC 7797) and encryption
	// would change what is verified.
	for _, name := range []string{"crit", "b64", "jwk", "jku", "x5c", "x5u", "enc", "zip", "epk", "p2c", "cty"} {
		if _, there := o[name]; there {
			return header{}, &TokenError{Check: CheckHeader, Detail: "it has the member " + name}
		}
	}
	for name := range o {
		if lower := strings.ToLower(name); lower != name && (lower == "alg" || lower == "kid" || lower == "typ") {
			return header{}, &TokenError{Check: CheckHeader, Detail: "it has a member in the wrong case"}
		}
	}
	// RFC 8725 3.11: tokens of one kind must not pass for another. Logout tokens and access tokens say what they are.
	raw, typed := o["typ"]
	if typed {
		says, err := o.text("typ")
		if err != nil || string(raw) == "null" || !slices.ContainsFunc(types, func(typ string) bool { return strings.EqualFold(says, typ) }) {
			return header{}, &TokenError{Check: CheckType, Detail: "it is a token of another type"}
		}
	}
	h := header{typed: typed}
	algorithm, err := o.text("alg")
	if err != nil {
		return header{}, &TokenError{Check: CheckAlgorithm, Detail: "it is no string"}
	}
	for _, known := range algorithms {
		if algorithm == string(known) {
			h.algorithm = known
		}
	}
	if h.algorithm == "" {
		return header{}, &TokenError{Check: CheckAlgorithm, Detail: "it is not accepted"}
	}
	if h.keyID, err = o.text("kid"); err != nil || len(h.keyID) > maxKeyID {
		return header{}, &TokenError{Check: CheckKey, Detail: "it is no string of a sane length"}
	}
	return h, nil
}

// decodePart decodes base64url as RFC 7515 2 has it, and only the one spelling of it. The standard decoder skips line
// breaks even when strict, so the alphabet is checked first.
func decodePart(part string) ([]byte, error) {
	if part == "" {
		return nil, &TokenError{Check: CheckShape, Detail: "a part is empty"}
	}
	for i := range len(part) {
		b := part[i]
		if (b < 'A' || b > 'Z') && (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '-' && b != '_' {
			return nil, &TokenError{Check: CheckShape, Detail: "a part is not base64url"}
		}
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return nil, &TokenError{Check: CheckShape, Detail: "a part is not canonical base64url"}
	}
	return data, nil
}

// signature is the key set under go-oidc's verifier, for one token. It keeps its error, which the verifier would
// flatten, and hands on only the claims the verifier checks, by their exact names: the verifier's own decoding takes
// `ISS` for `iss`, and fails on claims that are not its business.
type signature struct {
	set    *keySet
	header header

	claims identity.Claims // set once the signature holds
	err    error
}

var _ oidc.KeySet = (*signature)(nil)

// VerifySignature implements oidc.KeySet.
func (s *signature) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	payload, err := s.verify(ctx, token)
	if err != nil {
		s.err = err
		return nil, err
	}
	claims, err := identity.ParseClaims(payload)
	if err != nil {
		s.err = &TokenError{Check: CheckClaims, Detail: "they are no JSON object we read"}
		return nil, s.err
	}
	checked := map[string]any{}
	for _, name := range []string{"iss", "aud", "at_hash"} {
		if value, there := claims[name]; there {
			checked[name] = value
		}
	}
	clean, err := json.Marshal(checked)
	if err != nil {
		s.err = &TokenError{Check: CheckClaims, Detail: "they cannot be encoded"}
		return nil, s.err
	}
	s.claims = claims
	return clean, nil
}

func (s *signature) verify(ctx context.Context, token string) ([]byte, error) {
	keys, err := s.set.find(ctx, s.header, &s.set.renewed)
	if err != nil {
		return nil, err
	}
	payload, _, err := s.header.signed(token, keys)
	return payload, err
}

// signed returns the payload of a token that one of keys has signed with the header's algorithm, and that key.
func (h header) signed(token string, keys []key) ([]byte, key, error) {
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{h.algorithm})
	if err != nil || len(jws.Signatures) != 1 {
		return nil, key{}, &TokenError{Check: CheckSignature, Detail: "it cannot be read"}
	}
	for _, k := range keys {
		if payload, err := jws.Verify(k.public); err == nil {
			return payload, k, nil
		}
	}
	return nil, key{}, &TokenError{Check: CheckSignature, Detail: "it is not Logto's"}
}

// checkClaims is step 5, with a name for each refusal.
func (p *Provider) checkClaims(c identity.Claims, e Expect) (Verified, error) {
	fail := func(check Check, detail string) (Verified, error) {
		return Verified{}, &TokenError{Check: check, Detail: detail}
	}
	v := Verified{Claims: c}

	if issuer, ok := c["iss"].(string); !ok || issuer != p.issuer {
		return fail(CheckIssuer, "it is of another issuer")
	}
	if check, detail := p.checkAudience(c); detail != "" {
		return fail(check, detail)
	}
	// A logout token under the type of an ID token is still one (Back-Channel Logout 1.0 2.4).
	if _, there := c["events"]; there {
		return fail(CheckType, "it is a logout token")
	}
	subject, ok := c["sub"].(string)
	if !ok || subject == "" || len(subject) > maxSub || hasControl(subject) {
		return fail(CheckSubject, "it is missing or malformed")
	}
	if e.Subject != "" && subject != e.Subject {
		return fail(CheckSubject, "it is about another person")
	}
	v.Subject = subject

	now := p.config.Now()
	var err error
	if v.Expires, err = timeClaim(c, "exp"); err != nil || v.Expires.IsZero() {
		return fail(CheckExpiry, "it is missing or no time")
	}
	// RFC 7519 4.1.4: the current time must be before it.
	if !now.Before(v.Expires) {
		return fail(CheckExpiry, "it has expired; if it was issued just now, compare the clocks")
	}
	notBefore, err := timeClaim(c, "nbf")
	if err != nil {
		return fail(CheckNotBefore, "it is no time")
	}
	if now.Add(p.config.Leeway).Before(notBefore) {
		return fail(CheckNotBefore, "it is not valid yet; compare the clocks")
	}
	if v.IssuedAt, err = timeClaim(c, "iat"); err != nil || v.IssuedAt.IsZero() {
		return fail(CheckIssuedAt, "it is missing or no time")
	}
	if now.Add(p.config.Leeway).Before(v.IssuedAt) {
		return fail(CheckIssuedAt, "it was issued in the future; compare the clocks")
	}
	if now.Sub(v.IssuedAt) > mostAge {
		return fail(CheckIssuedAt, "it was issued too long ago; compare the clocks")
	}
	if v.AuthTime, err = timeClaim(c, "auth_time"); err != nil || e.AuthTimeRequired && v.AuthTime.IsZero() {
		return fail(CheckAuthTime, "it is missing or no time")
	}
	if now.Add(p.config.Leeway).Before(v.AuthTime) {
		return fail(CheckAuthTime, "it is in the future; compare the clocks")
	}

	nonce, _ := c["nonce"].(string)
	if e.Nonce != "" && subtle.ConstantTimeCompare([]byte(nonce), []byte(e.Nonce)) != 1 {
		return fail(CheckNonce, "it is missing or of another sign-in")
	}
	v.Nonce = nonce
	if hash, there := c["at_hash"]; there {
		if text, ok := hash.(string); !ok || text == "" {
			return fail(CheckAccessToken, "it is no hash")
		}
	}
	v.SID, _ = c["sid"].(string)
	return v, nil
}

// checkAudience wants us in the audience, and us as the authorized party where there is one or where we are not alone
// (OpenID Connect Core 1.0 3.1.3.7, 3 to 5). detail is "" if all is well.
func (p *Provider) checkAudience(c identity.Claims) (check Check, detail string) {
	alone, detail := p.inAudience(c)
	if detail != "" {
		return CheckAudience, detail
	}
	if party, there := c["azp"]; there || !alone {
		if text, ok := party.(string); !ok || text != p.config.AppID {
			return CheckParty, "it was issued to another client"
		}
	}
	return "", ""
}

// inAudience wants us in the audience, by exact name. detail is "" if we are; alone, if nobody else is.
func (p *Provider) inAudience(c identity.Claims) (alone bool, detail string) {
	switch audience := c["aud"].(type) {
	case string:
		if audience != p.config.AppID {
			return false, "it is for another client"
		}
		return true, ""
	case []any:
		found := false
		for _, entry := range audience {
			text, ok := entry.(string)
			if !ok {
				return false, "it is no list of clients"
			}
			found = found || text == p.config.AppID
		}
		if !found {
			return false, "it is for other clients"
		}
		return len(audience) == 1, ""
	}
	return false, "it is missing or malformed"
}

// timeClaim reads a NumericDate (RFC 7519 2): a number of seconds, fractions allowed. Zero: the claim is absent.
func timeClaim(c identity.Claims, name string) (time.Time, error) {
	value, there := c[name]
	if !there {
		return time.Time{}, nil
	}
	number, ok := value.(json.Number)
	if !ok {
		return time.Time{}, errors.New("no number")
	}
	seconds, err := strconv.ParseFloat(number.String(), 64)
	if err != nil || math.IsNaN(seconds) || seconds <= 0 || seconds >= lastTime {
		return time.Time{}, errors.New("no sane time")
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)), nil
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 })
}
