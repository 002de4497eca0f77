package logto

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/logto-io/go/v2/core"
)

// NewVerifier returns a fresh PKCE verifier and its S256 challenge (RFC 7636 4.1).
func NewVerifier() (verifier, challenge string) {
	verifier = core.GenerateCodeVerifier()
	return verifier, Challenge(verifier)
}

// Challenge is the S256 challenge of a verifier (RFC 7636 4.2).
func Challenge(verifier string) string { return core.GenerateCodeChallenge(verifier) }

// NewRandom returns a fresh unguessable value for a state or a nonce: 512 bits in 86 base64url characters.
func NewRandom() string { return core.GenerateState() }

// AuthorizationRequest is what a sign-in asks of Logto. Empty fields are not sent.
type AuthorizationRequest struct {
	RedirectURI, State, Nonce, Challenge string // required
	Prompt, UILocales, LoginHint         string
	FirstScreen                          string   // Logto's: identifier:sign_in …
	Identifiers                          []string // Logto's: email …
	Scopes                               []string // in addition to openid, offline_access and profile
	Resources                            []string // API resources that refreshes will ask access tokens for (RFC 8707 2.1)
	MaxAge                               time.Duration
	Extra                                map[string]string // names the request has fields for are ignored
}

// AuthorizationURL is where a browser begins to sign in (OpenID Connect Core 1.0 3.1.2.1).
func (p *Provider) AuthorizationURL(ctx context.Context, r AuthorizationRequest) (string, error) {
	if r.RedirectURI == "" || r.State == "" || r.Nonce == "" || r.Challenge == "" {
		return "", errors.New("making an authorization URL: redirect URI, state, nonce and challenge are required")
	}
	m, err := p.Discover(ctx)
	if err != nil {
		return "", err
	}
	params := map[string]string{
		core.QueryKeyClientID:            p.config.AppID,
		core.QueryKeyRedirectURI:         r.RedirectURI,
		core.QueryKeyResponseType:        core.ResponseTypeCode,
		core.QueryKeyScope:               strings.Join(scopes(r.Scopes), " "),
		core.QueryKeyState:               r.State,
		core.QueryKeyCodeChallenge:       r.Challenge,
		core.QueryKeyCodeChallengeMethod: "S256",
		"nonce":                          r.Nonce,
		core.QueryKeyPrompt:              r.Prompt,
		core.QueryKeyLoginHint:           r.LoginHint,
		core.QueryKeyFirstScreen:         r.FirstScreen,
		"ui_locales":                     r.UILocales,
		// Logto reads `identifier`; the SDK's constant says `identifiers`.
		"identifier": strings.Join(r.Identifiers, " "),
		"max_age":    "",
		// Nobody may ask for these: they change how the answer comes, or what the request says.
		"response_mode":       "",
		"request":             "",
		"request_uri":         "",
		"registration":        "",
		"client_secret":       "",
		"id_token_hint":       "",
		"code_verifier":       "",
		"dpop_jkt":            "",
		core.QueryKeyResource: "",
	}
	if r.MaxAge > 0 {
		params["max_age"] = strconv.FormatInt(max(1, int64(r.MaxAge/time.Second)), 10)
	}
	for name, value := range r.Extra {
		if _, ours := params[name]; !ours {
			params[name] = value
		}
	}
	location, err := withQuery(m.AuthorizationEndpoint, params)
	if err != nil {
		return "", err
	}
	for _, resource := range r.Resources {
		location += "&" + core.QueryKeyResource + "=" + url.QueryEscape(resource)
	}
	return location, nil
}

// scopes puts the three that every sign-in needs first and drops repetitions.
func scopes(more []string) []string {
	all := []string{core.ReservedScopeOpenId, core.ReservedScopeOfflineAccess, core.UserScopeProfile}
	for _, s := range more {
		if s != "" && !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// EndSession is what a sign-out asks of Logto. Empty fields are not sent.
type EndSession struct {
	IDTokenHint, PostLogoutRedirectURI, State string
}

// EndSessionURL is where a browser ends Logto's session (OpenID Connect RP-Initiated Logout 1.0 2). The client is
// always named, so that Logto goes back even where it does not know the hint.
func (p *Provider) EndSessionURL(ctx context.Context, e EndSession) (string, error) {
	m, err := p.Discover(ctx)
	if err != nil {
		return "", err
	}
	if m.EndSessionEndpoint == "" {
		return "", &RefusedError{Call: "end-session", Cause: errNotOffered}
	}
	return withQuery(m.EndSessionEndpoint, map[string]string{
		"client_id":                p.config.AppID,
		"id_token_hint":            e.IDTokenHint,
		"post_logout_redirect_uri": e.PostLogoutRedirectURI,
		"state":                    e.State,
	})
}

// withQuery adds params to the query that an endpoint may have. Ours win; empty ones are left out.
func withQuery(endpoint string, params map[string]string) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", fmt.Errorf("reading an endpoint: %w", errMalformed)
	}
	query := u.Query()
	for name, value := range params {
		query.Del(name)
		if value != "" {
			query.Set(name, value)
		}
	}
	u.RawQuery = query.Encode()
	return u.String(), nil
}
