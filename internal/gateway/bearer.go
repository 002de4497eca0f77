package gateway

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"portero/internal/config"
	"portero/internal/guard"
	"portero/internal/identity"
	"portero/internal/logto"
	"portero/internal/page"
	"portero/internal/route"
	"portero/internal/telemetry"
)

// API clients bring an access token of Logto's in place of a session (RFC 6750 2.1), to routes with bearer.audience. A token
// in a form or a query is never read. Where one is brought it decides, right or wrong: the session is not looked up.

// Why no token can be read from a request that seems to bring one.
var (
	errTwoCredentials = errors.New("there is more than one Authorization header")
	errNoToken        = errors.New("the Authorization header says Bearer, and what follows is no access token")
)

// audience is what access tokens for a route have to be for. "": it takes none.
func (g *generation) audience(rt *route.Route) string {
	return g.config.Routes[rt.Index].Bearer.Audience
}

// bringsToken reports whether a request brings an access token to a route that takes one, or seems to.
func (g *generation) bringsToken(r *http.Request, rt *route.Route) bool {
	if rt.Access != route.SignedIn || g.audience(rt) == "" {
		return false
	}
	for _, line := range r.Header["Authorization"] {
		if isBearer(line) {
			return true
		}
	}
	return false
}

// isBearer reports whether credentials are of the scheme Bearer, for whoever takes a tab or a comma for its end, too.
func isBearer(credentials string) bool {
	credentials = strings.TrimLeft(credentials, " \t")
	if end := strings.IndexAny(credentials, " \t,"); end >= 0 {
		credentials = credentials[:end]
	}
	return strings.EqualFold(credentials, "Bearer")
}

// tokenIn reads the access token of the Authorization lines of which one says Bearer (RFC 9110 11.4, RFC 6750 2.1).
func tokenIn(lines []string) (string, error) {
	if len(lines) != 1 {
		return "", errTwoCredentials
	}
	scheme, token, _ := strings.Cut(lines[0], " ")
	token = strings.TrimLeft(token, " ")
	if !strings.EqualFold(scheme, "Bearer") || !isToken68(token) {
		return "", errNoToken
	}
	return token, nil
}

// isToken68 reports whether s is what may follow the scheme (RFC 9110 11.2).
func isToken68(s string) bool {
	s = strings.TrimRight(s, "=")
	for i := range len(s) {
		b := s[i]
		if (b < 'A' || b > 'Z') && (b < 'a' || b > 'z') && (b < '0' || b > '9') && strings.IndexByte("-._~+/", b) < 0 {
			return false
		}
	}
	return s != ""
}

// bearer verifies the access token of a request. nil: it brings none.
func (g *generation) bearer(r *http.Request, rt *route.Route) *guard.Bearer {
	if !g.bringsToken(r, rt) {
		return nil
	}
	token, err := tokenIn(r.Header["Authorization"])
	if err != nil {
		return &guard.Bearer{Failure: guard.ReasonTokenMalformed, Cause: err}
	}
	access, err := g.flow.Provider.VerifyAccess(r.Context(), token, g.audience(rt))
	var refused *logto.AccessError
	switch {
	case errors.As(err, &refused):
		return &guard.Bearer{Failure: guard.ReasonTokenInvalid, Check: string(refused.Check), Cause: err}
	case err != nil:
		return &guard.Bearer{Failure: guard.ReasonTokenUnchecked, Cause: err}
	}
	id, err := identity.New(access.Claims, identity.Options{UnverifiedEmail: g.config.IsInsecure(config.InsecureUnverifiedEmail)})
	if err != nil {
		return &guard.Bearer{Failure: guard.ReasonTokenInvalid, Check: string(logto.CheckSubject), Cause: err}
	}
	return &guard.Bearer{Identity: id, ClientID: access.ClientID, Expires: access.Expires}
}

// left is how long the access token that let a request in is valid still: what is open for it ends then. Zero: there is none.
func (g *generation) left(d guard.Decision) time.Duration {
	if d.Bearer == nil || d.Outcome != guard.Allow {
		return 0
	}
	return max(1, d.Bearer.Expires.Sub(g.now()))
}

// tokenDenial is the answer to a request that an access token did not let in (RFC 6750 3.1).
func (g *generation) tokenDenial(r *http.Request, b *guard.Bearer, base page.Page) answer {
	challenge := func(code, description string) http.Header {
		value := g.flow.BearerChallenge(r) + `, error="` + code + `"`
		if description != "" {
			value += `, error_description="` + description + `"`
		}
		return http.Header{"Www-Authenticate": {value}}
	}
	refused := answer{page: base, proxy: "http_request_denied"}
	switch b.Failure {
	case guard.ReasonTokenMalformed:
		refused.page.ID, refused.header = page.BadRequest, challenge("invalid_request", "")
	case guard.ReasonTokenInvalid:
		refused.page.ID, refused.header = page.SignInRequired, challenge("invalid_token", tokenFault(b.Cause))
	case guard.ReasonTokenUnchecked:
		refused.page.ID, refused.proxy = page.Unavailable, "proxy_internal_error"
		if !errors.Is(b.Cause, context.Canceled) {
			g.log.Warn("an access token cannot be checked", "error", b.Cause, "support_code", telemetry.FromContext(r.Context()).SupportCode())
		}
	default: // the rules
		refused.page.ID, refused.header = page.Denied, challenge("insufficient_scope", "")
	}
	return refused
}

// tokenFault tells a client's developers what is wrong with their token, by what is known of it without it: which check
// failed.
func tokenFault(cause error) string {
	var refused *logto.AccessError
	if !errors.As(cause, &refused) {
		return ""
	}
	return string(refused.Check) + ": " + refused.Detail
}
