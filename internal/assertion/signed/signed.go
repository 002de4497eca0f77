// Package signed makes the signed form of an identity: a JWT for one application that says who asks, and lives for a minute.
//
// It owns the keys, the set of them that is published, and the claims. It does not own the header that carries the token, nor
// who may be told about (packages upstream and guard).
//
// # Keys
//
// The keys are derived from the session secret, one for each day (UTC). So all replicas have the same without a store, they
// change by themselves, and who changes the secret changes them. The set has the keys of the day before and of the next day, and
// those of old secrets.
//
// Invariants: a token is for one audience and lives at most a minute. One that is bound to a request is made for it, and no other has its
// jti; one that is not is made for a session and an application, and told to it with every request for half of its life at most,
// because a signature takes longer than all else that a request needs. What is not known is not said; an address that does not count is none. Nothing secret is in a token. A token that would
// be longer than MaxBytes is not made, rather than one that says less.
//
// Specifications: RFC 7515 (JWS, compact), RFC 7517, RFC 7518 3.4 (ES256), RFC 7519 (JWT), RFC 7638 (kid), RFC 8725; the names
// htm and htu are those of RFC 9449 4.2.
package signed

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"portero/internal/identity"
)

// MaxBytes is the length of the longest token that is made.
const MaxBytes = 8 << 10

// Longest is how long a token may live.
const Longest = 60 * time.Second

// ErrTooLong is returned by Token when what there is to say does not fit.
var ErrTooLong = fmt.Errorf("the assertion would be longer than %d bytes", MaxBytes)

// Assertion says what is asserted to the application behind one route.
type Assertion struct {
	Keys     *Keys
	Issuer   string        // iss: the origin of external_url
	Audience string        // aud; "": the origin that was typed
	Lifetime time.Duration // 0, or more than Longest: Longest
	Method   bool          // it is good for the method of the request alone
	Path     bool          // it is good for the path of the request alone
	Headers  []string      // that carry it, canonical
}

// Request is what an assertion is made for.
type Request struct {
	Origin    string // that was typed
	Method    string
	Path      string // as it leaves, without the query
	SessionID string // the public one; "": there is no session
	Version   uint64 // of the session
}

// claims are the members of a token, in the order in which they are written.
type claims struct {
	Issuer        string   `json:"iss"`
	Audience      string   `json:"aud"`
	Subject       string   `json:"sub"`
	Email         string   `json:"email,omitempty"`
	EmailVerified *bool    `json:"email_verified,omitempty"`
	Name          string   `json:"name,omitempty"`
	Roles         []string `json:"roles"`
	Organizations []string `json:"organizations,omitempty"`
	IssuedAt      int64    `json:"iat"`
	Expires       int64    `json:"exp"`
	ID            string   `json:"jti"`
	Session       string   `json:"sid,omitempty"`
	Method        string   `json:"htm,omitempty"`
	URL           string   `json:"htu,omitempty"`
}

// Token is the token for one request.
func (a *Assertion) Token(id *identity.Identity, r Request) (string, error) {
	now := a.Keys.now()
	life := a.Lifetime
	if life <= 0 || life > Longest {
		life = Longest
	}
	c := claims{
		Issuer: a.Issuer, Audience: a.Audience, Subject: id.Subject, Name: id.Name, Roles: id.Roles, Organizations: id.Organizations,
		IssuedAt: now.Unix(), Expires: now.Unix() + int64(life/time.Second), Session: r.SessionID,
	}
	if c.Audience == "" {
		c.Audience = r.Origin
	}
	key := about{subject: id.Subject, session: r.SessionID, version: r.Version, audience: c.Audience, life: life}
	reusable := !a.Method && !a.Path && r.SessionID != ""
	if reusable {
		if token := a.Keys.cache.get(key, now); token != "" {
			return token, nil
		}
	}
	if c.Subject == "" || c.Audience == "" || c.Issuer == "" {
		return "", errors.New("an assertion without issuer, audience or subject says nothing")
	}
	if id.Email != "" {
		c.Email, c.EmailVerified = id.Email, &id.EmailVerified
	}
	if c.Roles == nil {
		c.Roles = []string{}
	}
	if a.Method {
		c.Method = r.Method
	}
	if a.Path {
		c.URL = r.Origin + r.Path
	}
	c.ID = newID()
	payload, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("writing an assertion: %w", err)
	}
	token, err := a.Keys.at(now).signer.sign(payload)
	if err == nil && reusable {
		a.Keys.cache.put(key, token, now)
	}
	return token, err
}

// sign is RFC 7515 section 5.1 with ES256.
func (k *key) sign(payload []byte) (string, error) {
	const signature = 86 // 64 bytes, encoded
	token := make([]byte, 0, len(k.header)+2+(len(payload)*4+2)/3+signature)
	if cap(token) > MaxBytes {
		return "", ErrTooLong
	}
	token = append(token, k.header...)
	token = append(token, '.')
	token = append(token, encode(payload)...)
	digest := sha256.Sum256(token)
	r, s, err := ecdsa.Sign(rand.Reader, k.private, digest[:])
	if err != nil {
		return "", fmt.Errorf("signing an assertion: %w", err)
	}
	var both [64]byte // RFC 7518 section 3.4
	r.FillBytes(both[:32])
	s.FillBytes(both[32:])
	token = append(token, '.')
	token = append(token, encode(both[:])...)
	return string(token), nil
}

// newID is a jti that no other token has.
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return encode(b[:])
}
