package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"portero/internal/authflow"
	"portero/internal/config"
	"portero/internal/page"
	"portero/internal/route"
	"portero/internal/session"
	"portero/internal/telemetry"
)

// dropsAuthorization reports whether the client's Authorization is not for the application.
func dropsAuthorization(r *config.Route) bool {
	return r.Authorization == config.AuthorizationDrop || r.Bearer.Audience != "" || r.AccessToken != (config.AccessToken{})
}

// accessToken is the person's access token that the upstream of a route gets. "": it gets none. Where it is to get one and there
// is none, there is an error, and nothing is forwarded.
func (g *generation) accessToken(r *http.Request, rt *route.Route, s *session.Session) (string, error) {
	want := g.config.Routes[rt.Index].AccessToken
	if want == (config.AccessToken{}) {
		return "", nil
	}
	if s == nil {
		return "", fmt.Errorf("%w: nobody is signed in", authflow.ErrNoAccessToken)
	}
	return g.flow.AccessToken(r.Context(), s, session.Audience{Resource: want.Resource, Organization: want.Organization})
}

// withoutToken is the answer to a request that was let in, and whose application would have got an access token. It is not for
// authflow.ErrSessionOver.
func (g *generation) withoutToken(r *http.Request, rt *route.Route, s *session.Session, err error) error {
	var refused *authflow.TokenRefusedError
	p := &page.Problem{
		Page:        page.Page{ID: page.Unavailable, App: g.appOf(rt), Support: g.supportOf(rt), Primary: &page.Action{URL: g.retry(r).String()}},
		ProxyStatus: "proxy_internal_error", Cause: err,
	}
	switch {
	case errors.Is(err, session.ErrUnavailable), errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &refused):
		key := rt.Key("access_token.resource")
		if g.config.Routes[rt.Index].AccessToken.Organization != "" && refused.Code == "access_denied" {
			key = rt.Key("access_token.organization")
		}
		g.log.Warn("a request was denied: Logto gives this person no access token", "key", key, "error_code", refused.Code, "route", rt.Name,
			"session", s.ID, "support_code", telemetry.FromContext(r.Context()).SupportCode())
		p.Page.ID, p.ProxyStatus = page.Denied, "http_request_denied"
		p.Page.Primary = &page.Action{URL: g.endpoints.SignInURL(g.retry(r), true)}
		p.Page.Email, p.Page.User = s.Identity.Email, s.Identity.Email
	}
	return p
}
