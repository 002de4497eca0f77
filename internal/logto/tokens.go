package logto

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/logto-io/go/v2/core"
)

const (
	// Bounds of an access token's lifetime as we take it, and what holds when none is given (RFC 6749 5.1 recommends
	// to say; Logto's own default is an hour).
	leastLifetime   = time.Second
	mostLifetime    = 24 * time.Hour
	defaultLifetime = time.Hour

	maxToken = 64 << 10
)

// setByCall stands for the client secret in what the SDK makes: exchange puts the real one there.
const setByCall = "-"

// Tokens is what the token endpoint gave.
type Tokens struct {
	IDToken      string // not verified yet; never "" after Exchange
	AccessToken  string
	RefreshToken string // "": none came; after Refresh the caller keeps the old one
	ExpiresIn    time.Duration
	Scope        string
}

// Exchange redeems an authorization code (OpenID Connect Core 1.0 3.1.3). The caller has compared the state before.
func (p *Provider) Exchange(ctx context.Context, code, redirectURI, verifier string) (Tokens, error) {
	t, err := p.token(ctx, func(client *http.Client, endpoint string) (core.CodeTokenResponse, error) {
		return core.FetchTokenByAuthorizationCode(client, &core.FetchTokenByAuthorizationCodeOptions{
			TokenEndpoint: endpoint,
			Code:          code,
			CodeVerifier:  verifier,
			ClientId:      p.config.AppID,
			ClientSecret:  setByCall,
			RedirectUri:   redirectURI,
		})
	})
	if err != nil {
		return Tokens{}, fmt.Errorf("redeeming the code: %w", err)
	}
	if t.IDToken == "" {
		err := &RefusedError{Call: callToken, Status: http.StatusOK, Cause: fmt.Errorf("%w: no ID token came", errMalformed)}
		return Tokens{}, fmt.Errorf("redeeming the code: %w", err)
	}
	return t, nil
}

// Refresh trades a refresh token for new tokens (OpenID Connect Core 1.0 12). Absent ones stay "".
func (p *Provider) Refresh(ctx context.Context, refreshToken string) (Tokens, error) {
	return p.RefreshFor(ctx, refreshToken, "", "")
}

// RefreshFor is Refresh with an access token for an API resource (RFC 8707 2.2), for an organization of Logto's, or for the
// resource as a member of the organization. A "" is not asked for.
func (p *Provider) RefreshFor(ctx context.Context, refreshToken, resource, organization string) (Tokens, error) {
	t, err := p.token(ctx, func(client *http.Client, endpoint string) (core.CodeTokenResponse, error) {
		return core.FetchTokenByRefreshToken(client, &core.FetchTokenByRefreshTokenOptions{
			TokenEndpoint: endpoint,
			ClientId:      p.config.AppID,
			ClientSecret:  setByCall,
			RefreshToken:  refreshToken,
			Resource:      resource, OrganizationId: organization,
		})
	})
	if err != nil {
		return Tokens{}, fmt.Errorf("refreshing: %w", err)
	}
	return t, nil
}

func (p *Provider) token(ctx context.Context, fetch func(*http.Client, string) (core.CodeTokenResponse, error)) (Tokens, error) {
	m, err := p.Discover(ctx)
	if err != nil {
		return Tokens{}, err
	}
	call := p.newCall(ctx, callToken)
	defer call.end()
	call.normal = tokenMembers
	answer, err := fetch(call.client(), m.TokenEndpoint)
	if err != nil {
		return Tokens{}, p.outcome(ctx, callToken, call.failed(err))
	}
	p.health.note(callToken, "")
	return Tokens{
		IDToken:      answer.IdToken,
		AccessToken:  answer.AccessToken,
		RefreshToken: answer.RefreshToken,
		ExpiresIn:    time.Duration(answer.ExpireIn) * time.Second,
		Scope:        answer.Scope,
	}, nil
}

// tokenMembers checks a token answer (RFC 6749 5.1) and returns what the SDK reads of it.
func tokenMembers(o object) (map[string]any, error) {
	out := map[string]any{}
	for _, name := range []string{"access_token", "refresh_token", "id_token", "scope", "token_type"} {
		text, err := o.text(name)
		if err != nil {
			return nil, err
		}
		if !printable(text) || len(text) > maxToken {
			return nil, fmt.Errorf("%w: %s is too long or has bytes that do not belong there", errMalformed, name)
		}
		out[name] = text
	}
	if out["access_token"] == "" {
		return nil, fmt.Errorf("%w: no access token came", errMalformed)
	}
	// The value is case-insensitive (RFC 6749 5.1); another type would ask for proofs we do not make.
	if !strings.EqualFold(out["token_type"].(string), "Bearer") {
		return nil, fmt.Errorf("%w: the token type is not Bearer", errMalformed)
	}
	out["expires_in"] = int(lifetime(o["expires_in"]) / time.Second)
	return out, nil
}

// printable says whether s is made of the visible ASCII of RFC 6749's tokens, and spaces for scopes.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// lifetime reads expires_in: a number, or a string that is one; bounded. Anything else counts as absent.
func lifetime(raw json.RawMessage) time.Duration {
	text := string(raw)
	var quoted string
	if json.Unmarshal(raw, &quoted) == nil {
		text = quoted
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if text == "" || math.IsNaN(seconds) || err != nil && !errors.Is(err, strconv.ErrRange) {
		return defaultLifetime
	}
	seconds = min(max(seconds, leastLifetime.Seconds()), mostLifetime.Seconds())
	return time.Duration(seconds) * time.Second
}

// Revoke ends a refresh token, and with it Logto's whole grant (RFC 7009). Logto insists on client authentication.
func (p *Provider) Revoke(ctx context.Context, refreshToken string) error {
	m, err := p.Discover(ctx)
	if err != nil {
		return fmt.Errorf("revoking: %w", err)
	}
	if m.RevocationEndpoint == "" {
		return fmt.Errorf("revoking: %w", &RefusedError{Call: callRevocation, Cause: errNotOffered})
	}
	short, cancel := context.WithTimeout(ctx, p.timeout())
	defer cancel()
	form := url.Values{"token": {refreshToken}, "token_type_hint": {"refresh_token"}}
	req, err := http.NewRequestWithContext(short, http.MethodPost, m.RevocationEndpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return fmt.Errorf("revoking: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	done := p.authenticate(req)
	resp, err := p.do(req, callRevocation)
	done(err)
	if err == nil {
		resp.Body.Close() // the content of a 200 means nothing (RFC 7009 2.2)
	}
	if err := p.outcome(ctx, callRevocation, err); err != nil {
		return fmt.Errorf("revoking: %w", err)
	}
	return nil
}

// errNotOffered is the cause when the discovery document lacks an endpoint.
var errNotOffered = errors.New("the discovery document names no such endpoint")
