package provider

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"portero/internal/demo/tenant"
)

// Scopes beside those of OpenID Connect Core 1.0, section 5.4.
const (
	scopeOffline           = oidc.ScopeOfflineAccess
	scopeRoles             = "roles"
	scopeOrganizations     = "urn:logto:scope:organizations"
	scopeOrganizationRoles = "urn:logto:scope:organization_roles"
	scopeCustomData        = "custom_data"
	scopeIdentities        = "identities"
)

var scopes = []string{oidc.ScopeOpenID, scopeOffline, oidc.ScopeProfile, oidc.ScopeEmail, oidc.ScopePhone, oidc.ScopeAddress,
	scopeCustomData, scopeIdentities, scopeRoles, scopeOrganizations, scopeOrganizationRoles}

// engine is op's side of the provider: it parses requests and says whether they are valid, asking the storage below for clients, codes and
// refresh tokens. Its router is not served, and so none of op's endpoints, cross-origin rules or log lines with request values in them.
type engine struct {
	*op.Provider
	storage *storage
}

func newEngine(p *Provider) (*engine, error) {
	s := &storage{provider: p}
	o, err := op.NewProvider(&op.Config{CodeMethodS256: true, AuthMethodPost: true, GrantTypeRefreshToken: true}, s, op.StaticIssuer(p.issuer),
		op.WithAllowInsecure(),
		op.WithIDTokenHintKeySet(p.keys),
		op.WithIDTokenHintVerifierOpts(op.WithSupportedIDTokenHintSigningAlgorithms("ES384", "RS256")),
		op.WithCORSOptions(nil))
	if err != nil {
		return nil, fmt.Errorf("preparing the OpenID engine: %w", err)
	}
	return &engine{Provider: o, storage: s}, nil
}

// storage answers what op asks while it validates a request. The embedded interface is nil: what only op's own endpoints ask for is not here.
type storage struct {
	op.Storage
	provider *Provider
}

var (
	errUnknownClient = errors.New("unknown client")
	errWrongSecret   = errors.New("wrong client secret")
	errUnknownGrant  = errors.New("unknown, expired or revoked")
)

// GetClientByClientID implements op.OPStorage.
func (s *storage) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	if id != "" && id == s.provider.config.ManagementID {
		return client{id: id, grants: []oidc.GrantType{oidc.GrantTypeClientCredentials}}, nil
	}
	switch app, known := s.provider.tenant.Application(id); {
	case !known:
	case app.Type == "MachineToMachine":
		return client{id: id, app: app, grants: []oidc.GrantType{oidc.GrantTypeClientCredentials}}, nil
	case app.Type == "Traditional":
		return client{id: id, app: app, grants: []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeRefreshToken}}, nil
	}
	return nil, oidc.ErrInvalidClient().WithDescription("invalid client %s", id).WithParent(errUnknownClient)
}

// AuthorizeClientIDSecret implements op.OPStorage.
func (s *storage) AuthorizeClientIDSecret(ctx context.Context, id, secret string) error {
	if _, err := s.GetClientByClientID(ctx, id); err != nil {
		return err
	}
	good := s.provider.tenant.Authenticates(id, secret)
	if id == s.provider.config.ManagementID {
		want := s.provider.config.ManagementSecret
		good = want != "" && subtle.ConstantTimeCompare([]byte(secret), []byte(want)) == 1
	}
	if !good {
		return errWrongSecret
	}
	return nil
}

// ClientCredentials implements op.ClientCredentialsStorage.
func (s *storage) ClientCredentials(ctx context.Context, id, secret string) (op.Client, error) {
	if err := s.AuthorizeClientIDSecret(ctx, id, secret); err != nil {
		return nil, err
	}
	return s.GetClientByClientID(ctx, id)
}

// ClientCredentialsTokenRequest implements op.ClientCredentialsStorage.
func (s *storage) ClientCredentialsTokenRequest(_ context.Context, id string, scopes []string) (op.TokenRequest, error) {
	return grantRequest{issue: issue{client: id, subject: id, scopes: scopes}}, nil
}

// AuthRequestByCode implements op.AuthStorage. It redeems nothing: op calls it before it has checked the client.
func (s *storage) AuthRequestByCode(_ context.Context, key string) (op.AuthRequest, error) {
	c, ok := s.provider.store.code(key)
	if !ok {
		return nil, errUnknownGrant
	}
	return codeRequest{grantRequest: grantRequest{c.issue}, code: c}, nil
}

// TokenRequestByRefreshToken implements op.AuthStorage.
func (s *storage) TokenRequestByRefreshToken(_ context.Context, key string) (op.RefreshTokenRequest, error) {
	t, ok := s.provider.store.refreshToken(key)
	if !ok {
		return nil, errUnknownGrant
	}
	return &refreshRequest{grantRequest{t.issue}}, nil
}

// client is a confidential client as op sees one.
type client struct {
	id                       string
	app                      tenant.Application // zero: Config's management client
	grants                   []oidc.GrantType
	redirectURIs, logoutURIs []string // those of the request at hand, once they have passed ParseRedirectURI
}

var _ op.Client = client{}

func (c client) GetID() string                       { return c.id }
func (c client) RedirectURIs() []string              { return c.redirectURIs }
func (c client) PostLogoutRedirectURIs() []string    { return c.logoutURIs }
func (c client) ApplicationType() op.ApplicationType { return op.ApplicationTypeWeb }
func (c client) AuthMethod() oidc.AuthMethod         { return oidc.AuthMethodBasic }
func (c client) ResponseTypes() []oidc.ResponseType {
	return []oidc.ResponseType{oidc.ResponseTypeCode}
}
func (c client) GrantTypes() []oidc.GrantType         { return c.grants }
func (c client) LoginURL(string) string               { return "" }
func (c client) AccessTokenType() op.AccessTokenType  { return op.AccessTokenTypeBearer }
func (c client) IDTokenLifetime() time.Duration       { return time.Hour }
func (c client) DevMode() bool                        { return true }
func (c client) IDTokenUserinfoClaimsAssertion() bool { return true }
func (c client) ClockSkew() time.Duration             { return 0 }
func (c client) IsScopeAllowed(scope string) bool     { return slices.Contains(scopes, scope) }
func (c client) RestrictAdditionalIdTokenScopes() func([]string) []string {
	return func(s []string) []string { return s }
}
func (c client) RestrictAdditionalAccessTokenScopes() func([]string) []string {
	return func(s []string) []string { return s }
}

// grantRequest is what the requests of all grants have in common for op.
type grantRequest struct{ issue issue }

func (g grantRequest) GetSubject() string     { return g.issue.subject }
func (g grantRequest) GetClientID() string    { return g.issue.client }
func (g grantRequest) GetAudience() []string  { return []string{g.issue.client} }
func (g grantRequest) GetScopes() []string    { return g.issue.scopes }
func (g grantRequest) GetAMR() []string       { return nil }
func (g grantRequest) GetACR() string         { return "" }
func (g grantRequest) GetNonce() string       { return g.issue.nonce }
func (g grantRequest) GetAuthTime() time.Time { return g.issue.authTime }

// codeRequest is an authorization request that was answered with a code.
type codeRequest struct {
	grantRequest
	code code
}

var _ op.AuthRequest = codeRequest{}

func (c codeRequest) GetID() string                      { return "" }
func (c codeRequest) GetRedirectURI() string             { return c.code.redirectURI }
func (c codeRequest) GetResponseType() oidc.ResponseType { return oidc.ResponseTypeCode }
func (c codeRequest) GetResponseMode() oidc.ResponseMode { return "" }
func (c codeRequest) GetState() string                   { return "" }
func (c codeRequest) Done() bool                         { return true }
func (c codeRequest) GetCodeChallenge() *oidc.CodeChallenge {
	if c.code.challenge == "" {
		return nil
	}
	return &oidc.CodeChallenge{Challenge: c.code.challenge, Method: oidc.CodeChallengeMethodS256}
}

// refreshRequest is the use of a refresh token; its scopes may be narrowed.
type refreshRequest struct{ grantRequest }

var _ op.RefreshTokenRequest = (*refreshRequest)(nil)

func (r *refreshRequest) SetCurrentScopes(scopes []string) { r.issue.scopes = scopes }

// digest is a short name for a value that must not be kept itself.
func digest(value string) string {
	sum := sha256.Sum256([]byte(value))
	return string(sum[:])
}
