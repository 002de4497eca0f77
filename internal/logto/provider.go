// Package logto owns the relying party's half of OpenID Connect with Logto: discovery, keys, authorization and
// end-of-session URLs, the token calls, verification of ID tokens, logout tokens and access tokens, userinfo and revocation.
//
// It does not own browsers, cookies, attempts or sessions; and it decides nothing about who may come in.
//
// Invariants:
//   - The issuer comes from the configuration. Discovery only confirms it, and every endpoint lies on its origin.
//   - A token is believed only under a key of that issuer, with the one algorithm that the key is for.
//   - Discovery and keys are fetched by one call at a time, however many wait; what was fetched outlives an outage
//     by a day.
//   - No error, and no log line, holds a secret, a code, a token or a byte of an answer, save the `error` code of
//     an OAuth answer, which is reduced to lower-case letters and `_`.
//   - Every call ends with its context.
//
// Specifications: OpenID Connect Core 1.0 3.1 (code flow), 3.1.3.7 (ID token validation), 5.3 (userinfo), 12
// (refresh); OpenID Connect Discovery 1.0 4; RP-Initiated Logout 1.0; Back-Channel Logout 1.0 2.4, 2.6; RFC 6749
// 2.3.1, 4.1.3, 5, 6; RFC 7009; RFC 7515; RFC 7517; RFC 7518; RFC 7519; RFC 7636; RFC 8707; RFC 8725; RFC 9068.
package logto

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"portero/internal/outbound"
)

var (
	// ErrUnavailable is returned by every call when Logto does not answer, answers 429 or 5xx, or was found out of
	// reach a moment ago.
	ErrUnavailable = errors.New("no answer from Logto")
	// ErrInvalidGrant is returned by Exchange and Refresh when the code or refresh token is spent, expired, revoked
	// or somebody else's.
	ErrInvalidGrant = errors.New("the grant is not valid any more")
	// ErrAccessDenied is returned by Exchange and Refresh when Logto's access control keeps the person from this
	// application. It may be given back.
	ErrAccessDenied = errors.New("access denied by Logto")
	// ErrRefused is returned when Logto answers with any other error, or with something that is no valid answer. The
	// error is a *RefusedError.
	ErrRefused = errors.New("refused by Logto")
	// ErrToken is returned by Verify when the ID token does not verify. The error is a *TokenError.
	ErrToken = errors.New("the ID token does not verify")
)

// RefusedError says why Logto refused, or what was wrong with its answer. It matches ErrRefused.
type RefusedError struct {
	Call   string // the call that was made: token, userinfo, revocation
	Status int    // the answer's status; 0: no status to speak of
	Code   string // the OAuth error code, lower-case letters and `_`; "": none, it was no OAuth answer
	Cause  error  // what was wrong with an answer that is no OAuth error; nil: nothing
}

func (e *RefusedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v: %s endpoint", ErrRefused, e.Call)
	if e.Status != 0 {
		fmt.Fprintf(&b, ": status %d", e.Status)
	}
	if e.Code != "" {
		fmt.Fprintf(&b, ": %s", e.Code)
	}
	if e.Code == "invalid_client" {
		b.WriteString("; check logto.app_id and logto.app_secret against the application in Logto's console")
	}
	if e.Cause != nil {
		fmt.Fprintf(&b, ": %v", e.Cause)
	}
	return b.String()
}

// Unwrap makes the error match ErrRefused and its cause.
func (e *RefusedError) Unwrap() []error { return withCause(ErrRefused, e.Cause) }

// Config says which Logto application the gateway is.
type Config struct {
	// Endpoint is Logto's base URL, as browsers see it.
	Endpoint *url.URL
	// Internal is where the gateway itself reaches Logto. Client does the mapping; here it widens what discovery may
	// name. nil: Endpoint.
	Internal *url.URL
	// AppID and AppSecret authenticate the gateway at the token and revocation endpoints.
	AppID, AppSecret string
	// Secret is AppSecret where it can be replaced. nil: one that holds AppSecret.
	Secret *Secret
	// Client makes the calls; its Timeout bounds each. nil: one from package outbound with its defaults.
	Client *http.Client
	// Now tells the time. nil: time.Now.
	Now func() time.Time
	// Leeway is how far Logto's clock may be ahead of ours. 0: 60 s.
	Leeway time.Duration
	// Log receives what an operator should know about keys and outages. nil: nothing.
	Log *slog.Logger
}

// Provider is one Logto application. Its methods may be called concurrently.
type Provider struct {
	config    Config
	issuer    string
	discovery *cache[*Metadata]
	keys      *keySet
	logouts   *rate.Limiter // of the signatures of logout tokens
	access    *accessCache
	health    *health
	probes    singleflight.Group
	stop      context.CancelFunc
}

// New makes a Provider. It does no I/O: Logto may be down.
func New(c Config) *Provider {
	if c.Client == nil {
		c.Client = outbound.New(outbound.Config{Internal: c.Internal, Public: c.Endpoint})
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Leeway <= 0 {
		c.Leeway = time.Minute
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Secret == nil {
		c.Secret = NewSecret(c.AppSecret)
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &Provider{config: c, issuer: issuerOf(c.Endpoint), logouts: newLogoutLimit(), access: newAccessCache(c.Now), health: &health{now: c.Now}, stop: stop}
	p.discovery = &cache[*Metadata]{ctx: ctx, fetch: p.fetchMetadata, now: c.Now}
	p.keys = &keySet{cache: cache[[]key]{ctx: ctx, fetch: p.fetchKeys, now: c.Now}}
	return p
}

// Close breaks off what is fetched beside everything else, and lets go of connections that are not in use.
func (p *Provider) Close() {
	p.stop()
	p.config.Client.CloseIdleConnections()
}

// Issuer is the one issuer whose tokens are accepted.
func (p *Provider) Issuer() string { return p.issuer }

// issuerOf spells the issuer as Logto does: the endpoint normalised as a WHATWG URL, and `oidc`.
func issuerOf(endpoint *url.URL) string {
	u := &url.URL{Scheme: strings.ToLower(endpoint.Scheme), Host: strings.ToLower(endpoint.Host), Path: endpoint.Path}
	if port := u.Port(); port == "443" && u.Scheme == "https" || port == "80" && u.Scheme == "http" {
		u.Host = strings.TrimSuffix(u.Host, ":"+port)
	}
	return strings.TrimSuffix(u.String(), "/") + "/oidc"
}

func withCause(sentinel, cause error) []error {
	if cause == nil {
		return []error{sentinel}
	}
	return []error{sentinel, cause}
}
