package provider

import (
	"cmp"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"portero/internal/demo/tenant"
)

// oauthError is an error answer.
type oauthError struct {
	status            int
	code, description string
}

// errGrant is the one answer to everything that is wrong with a code or a refresh token.
var errGrant = oauthError{http.StatusBadRequest, "invalid_grant", "grant request is invalid"}

// tokenError turns what op found wrong with a request to the token or the revocation endpoint into Logto's answer.
func tokenError(err error) oauthError {
	problem := oidc.DefaultToServerError(err, "")
	switch {
	case errors.Is(err, errUnknownClient):
		return oauthError{http.StatusBadRequest, "invalid_client", clientDescription(err)}
	case problem.ErrorType == oidc.InvalidClient:
		return oauthError{http.StatusUnauthorized, "invalid_client", "client authentication failed"}
	case problem.ErrorType == oidc.InvalidGrant:
		return errGrant
	case problem.ErrorType == oidc.InvalidScope:
		return oauthError{http.StatusBadRequest, "invalid_scope", "refresh token missing requested scope"}
	case problem.ErrorType == oidc.ServerError:
		return oauthError{http.StatusInternalServerError, "server_error", "oops! something went wrong"}
	}
	return oauthError{http.StatusBadRequest, string(problem.ErrorType), problem.Description}
}

// clientDescription is the description of the innermost error, which names the client.
func clientDescription(err error) string {
	var named *oidc.Error
	for errors.As(err, &named) && named.Parent != errUnknownClient {
		err = named.Parent
	}
	if named == nil || named.Description == "" {
		return "invalid client"
	}
	return named.Description
}

// writeOAuthError writes the mixed body of Logto: its own code and message, and OAuth's error (RFC 6749, section 5.2).
func writeOAuthError(w http.ResponseWriter, e oauthError) {
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, e.status, "application/json; charset=utf-8", struct {
		Code        string `json:"code"`
		Message     string `json:"message"`
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{"oidc." + e.code, sentence(e.description), e.code, e.description})
}

func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + strings.TrimSuffix(s[1:], ".") + "."
}

func writeJSON(w http.ResponseWriter, status int, contentType string, value any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(value)
}

type tokenResponse struct {
	AccessToken  string `json:"access_token"`
	ExpiresIn    int64  `json:"expires_in"`
	IDToken      string `json:"id_token,omitempty"`
	RefreshToken string `json:"refresh_token,omitempty"`
	Scope        string `json:"scope"`
	TokenType    string `json:"token_type"`
}

// serveToken: POST /oidc/token (RFC 6749, sections 4.1.3, 4.4.2 and 6). The client is authenticated before its grant is looked at.
func (p *Provider) serveToken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if err := readTokenRequest(r); err != nil {
		writeOAuthError(w, oauthError{http.StatusBadRequest, "invalid_request", "request body cannot be read"})
		return
	}
	grantType := r.PostForm.Get("grant_type")
	p.switches.countGrant(grantType)

	var response tokenResponse
	var problem *oauthError
	switch oidc.GrantType(grantType) {
	case oidc.GrantTypeCode:
		response, problem = p.exchangeCode(r)
	case oidc.GrantTypeRefreshToken:
		response, problem = p.exchangeRefreshToken(r)
	case oidc.GrantTypeClientCredentials:
		response, problem = p.exchangeClientCredentials(r)
	case "":
		problem = &oauthError{http.StatusBadRequest, "invalid_request", "missing required parameter 'grant_type'"}
	default:
		problem = &oauthError{http.StatusBadRequest, "unsupported_grant_type", "unsupported grant_type requested"}
	}
	if problem != nil {
		if _, _, basic := r.BasicAuth(); basic && problem.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Basic realm="`+p.issuer+`", error="invalid_client", error_description="client authentication failed"`)
		}
		writeOAuthError(w, *problem)
		return
	}
	writeJSON(w, http.StatusOK, "application/json; charset=utf-8", response)
}

// readTokenRequest parses the form of a request. Logto takes it as JSON too.
func readTokenRequest(r *http.Request) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return r.ParseForm()
	}
	var members map[string]string
	if err := json.NewDecoder(r.Body).Decode(&members); err != nil {
		return err
	}
	r.PostForm = url.Values{}
	for name, value := range members {
		r.PostForm.Set(name, value)
	}
	return r.ParseForm() // the query, and Form out of both
}

// authenticate says what is wrong with a client's id and secret.
func (p *Provider) authenticate(r *http.Request, id, secret string) *oauthError {
	if id == "" {
		return &oauthError{http.StatusBadRequest, "invalid_request", "no client authentication mechanism provided"}
	}
	if err := op.AuthorizeClientIDSecret(r.Context(), id, secret, p.engine.storage); err != nil {
		problem := tokenError(err)
		return &problem
	}
	return nil
}

func (p *Provider) exchangeCode(r *http.Request) (tokenResponse, *oauthError) {
	req, err := op.ParseAccessTokenRequest(r, p.engine.Decoder())
	if err != nil {
		problem := tokenError(err)
		return tokenResponse{}, &problem
	}
	if problem := p.authenticate(r, req.ClientID, req.ClientSecret); problem != nil {
		return tokenResponse{}, problem
	}
	if _, _, err := op.ValidateAccessTokenRequest(r.Context(), req, p.engine); err != nil {
		problem := tokenError(err)
		if problem.code == "invalid_request" { // a missing or superfluous verifier
			problem = errGrant
		}
		return tokenResponse{}, &problem
	}
	from, ok := p.store.redeem(req.Code)
	if !ok {
		return tokenResponse{}, &errGrant
	}
	b := p.switches.current()
	response, err := p.issue(from, b)
	if err != nil {
		return tokenResponse{}, p.failed(r, err)
	}
	app, _ := p.tenant.Application(from.client)
	if app.AlwaysIssueRefreshToken || slices.Contains(from.scopes, scopeOffline) {
		response.RefreshToken = p.store.newRefresh(from, refreshLifetime(b, app))
	}
	return response, nil
}

func (p *Provider) exchangeRefreshToken(r *http.Request) (tokenResponse, *oauthError) {
	req, err := op.ParseRefreshTokenRequest(r, p.engine.Decoder())
	if err != nil {
		problem := tokenError(err)
		return tokenResponse{}, &problem
	}
	if problem := p.authenticate(r, req.ClientID, req.ClientSecret); problem != nil {
		return tokenResponse{}, problem
	}
	valid, _, err := op.ValidateRefreshTokenRequest(r.Context(), req, p.engine)
	if err != nil {
		problem := tokenError(err)
		return tokenResponse{}, &problem
	}
	b := p.switches.current()
	from := valid.(*refreshRequest).issue
	app, _ := p.tenant.Application(from.client)
	who, _ := p.store.person(from.subject)
	if b.DenyRefresh || !p.allows(from.client, who) {
		return tokenResponse{}, &oauthError{http.StatusBadRequest, "access_denied", "Access denied."}
	}
	next, ok := p.store.useRefresh(req.RefreshToken, b.RotateRefreshTokens, app.KeepRefreshToken, refreshLifetime(b, app))
	if !ok {
		return tokenResponse{}, &errGrant
	}
	response, err := p.issue(from, b)
	if err != nil {
		return tokenResponse{}, p.failed(r, err)
	}
	if !b.OmitRefreshToken {
		response.RefreshToken = next
	}
	if b.OmitIDToken {
		response.IDToken = ""
	}
	return response, nil
}

// refreshLifetime is how long a refresh token is good for: as a switch says, else as the application does, else 14 days.
func refreshLifetime(b Behaviour, app tenant.Application) time.Duration {
	return cmp.Or(b.RefreshTokenLifetime, app.RefreshTokenLifetime, 14*24*time.Hour)
}

// exchangeClientCredentials issues the management client's token, or one of an application with the role for it: a JWT (RFC 9068) for one resource.
func (p *Provider) exchangeClientCredentials(r *http.Request) (tokenResponse, *oauthError) {
	req, err := op.ParseClientCredentialsRequest(r, p.engine.Decoder())
	if err != nil {
		problem := tokenError(err)
		return tokenResponse{}, &problem
	}
	if problem := p.authenticate(r, req.ClientID, req.ClientSecret); problem != nil {
		return tokenResponse{}, problem
	}
	if c, err := p.engine.storage.GetClientByClientID(r.Context(), req.ClientID); err != nil || !op.ValidateGrantType(c, oidc.GrantTypeClientCredentials) {
		return tokenResponse{}, &oauthError{http.StatusBadRequest, "unauthorized_client", "requested grant type is not allowed for this client"}
	}
	switch r.PostForm.Get("resource") {
	case p.config.ManagementResource:
	case "":
		return tokenResponse{}, &oauthError{http.StatusBadRequest, "invalid_target", "both `resource` and `organization_id` are not provided"}
	default:
		return tokenResponse{}, &oauthError{http.StatusBadRequest, "invalid_target", "resource indicator is missing, or unknown"}
	}
	granted := ""
	if slices.Contains(req.Scope, "all") && (req.ClientID == p.config.ManagementID || p.tenant.MayManage(req.ClientID)) {
		granted = "all"
	}
	b, now := p.switches.current(), p.now()
	token, err := p.keys.signed(p.keys.current(), "at+jwt", map[string]any{
		"jti": random(), "sub": req.ClientID, "client_id": req.ClientID, "iss": p.issuer, "aud": p.config.ManagementResource,
		"iat": now.Unix(), "exp": now.Add(b.AccessTokenLifetime).Unix(), "scope": granted,
	})
	if err != nil {
		return tokenResponse{}, p.failed(r, err)
	}
	return tokenResponse{AccessToken: token, ExpiresIn: int64(b.AccessTokenLifetime.Seconds()), Scope: granted, TokenType: oidc.BearerToken}, nil
}

func (p *Provider) failed(r *http.Request, err error) *oauthError {
	p.log.ErrorContext(r.Context(), "issuing tokens", "error", err)
	return &oauthError{http.StatusInternalServerError, "server_error", "oops! something went wrong"}
}

// issue makes the access token and, with the scope openid, the ID token of an answer.
func (p *Provider) issue(from issue, b Behaviour) (tokenResponse, error) {
	response := tokenResponse{
		AccessToken: p.store.newAccess(from, b.AccessTokenLifetime),
		ExpiresIn:   int64(b.AccessTokenLifetime.Seconds()),
		Scope:       strings.Join(from.scopes, " "),
		TokenType:   oidc.BearerToken,
	}
	if !slices.Contains(from.scopes, oidc.ScopeOpenID) {
		return response, nil
	}
	who, ok := p.store.person(from.subject)
	if !ok {
		return response, errUnknownGrant
	}
	app, _ := p.tenant.Application(from.client)
	key, now := p.keys.current(), p.now()
	claims := who.claims(from.scopes)
	claims["iss"], claims["aud"] = p.issuer, from.client
	claims["iat"], claims["exp"] = now.Unix(), now.Add(cmp.Or(b.IDTokenLifetime, app.IDTokenLifetime, time.Hour)).Unix()
	if !from.authTime.IsZero() {
		claims["auth_time"] = from.authTime.Unix()
	}
	if from.nonce != "" {
		claims["nonce"] = from.nonce
	}
	if app.SessionRequired && !b.OmitSID {
		claims["sid"] = from.sid
	}
	if b.WrongNonce {
		claims["nonce"] = random()
	}
	if b.WrongAudience {
		claims["aud"] = "another-client"
	}
	var typ jose.ContentType
	if b.Line141 {
		typ = "JWT"
		hash, err := oidc.ClaimHash(response.AccessToken, key.algorithm)
		if err != nil {
			return response, err
		}
		claims["at_hash"] = hash
	}
	var err error
	response.IDToken, err = p.keys.signed(key, typ, claims)
	return response, err
}

// claims are what an ID token and userinfo both tell about a person. A name that is not set is null, times are milliseconds.
func (p person) claims(scopes []string) map[string]any {
	has := func(scope string) bool { return slices.Contains(scopes, scope) }
	claims := map[string]any{"sub": p.subject}
	if has(oidc.ScopeProfile) {
		claims["name"], claims["username"], claims["picture"] = orNull(p.profile.Name), orNull(p.profile.Username), orNull(p.profile.Picture)
		claims["updated_at"], claims["created_at"] = p.updated.UnixMilli(), p.created.UnixMilli()
	}
	if has(oidc.ScopeEmail) {
		claims["email"], claims["email_verified"] = p.address, !p.profile.UnverifiedEmail
	}
	if has(scopeRoles) {
		claims["roles"] = p.roles()
	}
	if has(scopeOrganizations) {
		claims["organizations"] = orEmpty(p.profile.Organizations)
	}
	if has(scopeOrganizationRoles) {
		claims["organization_roles"] = []string{}
	}
	return claims
}

func (p person) roles() []string {
	switch {
	case p.profile.Roles != nil:
		return p.profile.Roles
	case strings.HasSuffix(strings.ToLower(p.address), "@admin.example"):
		return []string{"admin"}
	}
	return []string{}
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// serveUserinfo: GET and POST /oidc/me (OpenID Connect Core 1.0, section 5.3).
func (p *Provider) serveUserinfo(w http.ResponseWriter, r *http.Request) {
	key, err := op.ParseUserinfoRequest(r, p.engine.Decoder())
	token, who, ok := p.store.accessToken(key)
	if err != nil || !ok {
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+p.issuer+`", error="invalid_token", error_description="invalid token provided"`)
		writeOAuthError(w, oauthError{http.StatusUnauthorized, "invalid_token", "invalid token provided"})
		return
	}
	claims := who.claims(token.scopes)
	if slices.Contains(token.scopes, scopeCustomData) {
		claims["custom_data"] = map[string]any{}
		if who.profile.CustomData != nil {
			claims["custom_data"] = who.profile.CustomData
		}
	}
	if slices.Contains(token.scopes, scopeIdentities) {
		claims["identities"] = map[string]any{}
	}
	if slices.Contains(token.scopes, scopeOrganizations) {
		data := []map[string]any{}
		for _, id := range who.profile.Organizations {
			data = append(data, map[string]any{"id": id, "name": id, "description": nil})
		}
		claims["organization_data"] = data
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, "application/json; charset=utf-8", claims)
}

// serveRevocation: POST /oidc/token/revocation (RFC 7009). A client id alone revokes nothing.
func (p *Provider) serveRevocation(w http.ResponseWriter, r *http.Request) {
	token, _, clientID, err := op.ParseTokenRevocationRequest(r, p.engine)
	if err != nil {
		problem := tokenError(err)
		if _, _, basic := r.BasicAuth(); basic && problem.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Basic realm="`+p.issuer+`", error="invalid_client", error_description="client authentication failed"`)
		}
		writeOAuthError(w, problem)
		return
	}
	if token == "" {
		writeOAuthError(w, oauthError{http.StatusBadRequest, "invalid_request", "missing required parameter 'token'"})
		return
	}
	p.store.revoke(token, clientID, !p.switches.current().Line141)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusOK)
}
