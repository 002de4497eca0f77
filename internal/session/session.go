package session

import (
	"encoding/json"
	"errors"
	"time"

	"portero/internal/identity"
)

// ErrUnavailable is wrapped by every error that means: the store could not be
// asked. Nothing is known about the session then, so callers deny.
var ErrUnavailable = errors.New("session store unavailable")

// Session is an immutable snapshot of one record. Callers change one only through
// Manager.Update.
type Session struct {
	Key     string // hash of the session token, as the store knows it
	ID      string // short and public: for pages, logs and the audit file
	Version uint64

	// Names are what a revocation can name it by: the session, the person and, where
	// the provider names one, its session there. As Marker.By.
	Names []string

	Subject   string
	SID       string // the provider's session; "" if it names none
	Host      string // on which the person signed in
	UserAgent string

	// The tokens and the userinfo are empty in what Lookup returns, which is kept in
	// memory for every session in use; Reload has them.
	IDToken, AccessToken, RefreshToken string
	Userinfo                           json.RawMessage // nil where it was not fetched
	compact                            bool            // they were left out
	Renewable                          bool            // there is a refresh token
	AccessExpires                      time.Time
	AccessLife                         time.Duration // how long an access token lived when it was new
	Tokens                             []Token       // access tokens for APIs; a change makes a new list

	AuthTime         time.Time // when the provider saw the person
	CreatedAt        time.Time // by the store's clock
	LastUsed         time.Time // at most a touch interval old
	ExpiresAt        time.Time // the absolute end
	UnreachableSince time.Time // the provider did not answer a refresh; zero: it did
	RetryAt          time.Time // no refresh before

	Identity identity.Identity // read from ID token and userinfo
}

// New is what a finished sign-in knows.
type New struct {
	Subject, SID, Host, UserAgent      string
	IDToken, AccessToken, RefreshToken string
	AccessExpires                      time.Time
	AccessLife                         time.Duration
	// Claims of the verified ID token. They are read from IDToken, so that what Start
	// returns is what every later lookup returns; these count only if it is empty.
	Claims   identity.Claims
	Userinfo json.RawMessage // its subject must be the same; nil: not fetched
	AuthTime time.Time
	// Began is when the sign-in was known to be good, by the store's clock
	// (Manager.Now): markers set since then end the session at once. A callback
	// takes it before it redeems the code, so that a sign-out during that call is
	// not lost. Zero: the time of Start.
	Began time.Time
	// Replace is the session this browser had; its row is deleted. Nil: none.
	Replace *Session
}

// Reason says why a lookup found no session.
type Reason string

// The reasons. Found is the zero value.
const (
	Found           Reason = ""
	NoCookie        Reason = "no-cookie"
	MalformedCookie Reason = "malformed-cookie"
	SeveralCookies  Reason = "several-cookies"
	Unknown         Reason = "unknown"    // no such row; after a sign-out too
	Unreadable      Reason = "unreadable" // a row that does not open, or is another client's
	Idle            Reason = "idle"
	Expired         Reason = "expired"
	EndedReason     Reason = "ended" // by a marker
)

// Lookup is the answer to "who is this". The zero value has no session.
type Lookup struct {
	Session *Session // nil unless Reason is Found
	Reason  Reason
	// Clear: the browser should drop its cookie. Not after idling, so that the next
	// navigation can still be told why it has to sign in.
	Clear bool
	// Subject and SID are those of a session that ended by idling.
	Subject, SID string
}
