package logto

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"portero/internal/identity"
)

// Userinfo fetches the claims that an access token opens (OpenID Connect Core 1.0 5.3) and returns them as they came,
// once their `sub` equals subject, which is that of the verified ID token: only then may they be used (5.3.2).
func (p *Provider) Userinfo(ctx context.Context, accessToken, subject string) (json.RawMessage, error) {
	m, err := p.Discover(ctx)
	if err != nil {
		return nil, fmt.Errorf("fetching userinfo: %w", err)
	}
	data, err := p.userinfo(ctx, m.UserinfoEndpoint, accessToken, subject)
	if err := p.outcome(ctx, callUserinfo, err); err != nil {
		return nil, fmt.Errorf("fetching userinfo: %w", err)
	}
	return data, nil
}

func (p *Provider) userinfo(ctx context.Context, endpoint, accessToken, subject string) (json.RawMessage, error) {
	if endpoint == "" {
		return nil, &RefusedError{Call: callUserinfo, Cause: errNotOffered}
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Authorization", "Bearer "+accessToken)
	resp, err := p.do(req, callUserinfo)
	if err != nil {
		return nil, err
	}
	_, data, err := readObject(resp)
	if err != nil {
		return nil, err
	}
	claims, err := identity.ParseClaims(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, errClaims)
	}
	if sub, ok := claims["sub"].(string); !ok || sub == "" || sub != subject {
		return nil, fmt.Errorf("%w: it is about another subject", errMalformed)
	}
	return data, nil
}

// errClaims stands for what a parser says about claims: that may quote them.
var errClaims = errors.New("the claims are no JSON object we read")
