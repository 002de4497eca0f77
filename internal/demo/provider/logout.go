package provider

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/pkg/op"

	"portero/internal/demo/tenant"
)

const (
	logoutLifetime     = 10 * time.Minute // of an end-session page
	backchannelTimeout = 2500 * time.Millisecond
	logoutEvent        = "http://schemas.openid.net/event/backchannel-logout"
)

// logout is an end of a session that awaits its confirmation.
type logout struct {
	session string // digest of the session cookie the page was made for
	client  string // "" unknown
	target  string // "" the provider's own page
}

// newBackchannelClient delivers logout tokens: directly, once, without following redirects.
func newBackchannelClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	return &http.Client{
		Transport:     transport,
		Timeout:       backchannelTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// serveEndSession: GET and POST /oidc/session/end (OpenID Connect RP-Initiated Logout 1.0, section 2). It ends nothing yet: the page it answers
// with posts a form.
func (p *Provider) serveEndSession(w http.ResponseWriter, r *http.Request) {
	refuse := func(code, description string) {
		writeOAuthError(w, oauthError{http.StatusBadRequest, code, description})
	}
	req, err := op.ParseEndSessionRequest(r, p.engine.Decoder())
	if err != nil || oversized(r.Form) {
		refuse("invalid_request", "end of session request cannot be read")
		return
	}
	if req.IdTokenHint != "" {
		claims, err := p.verifyHint(r, req.IdTokenHint)
		if err != nil || len(claims.Audience) != 1 {
			refuse("invalid_request", "could not decode id_token_hint")
			return
		}
		if req.ClientID != "" && req.ClientID != claims.Audience[0] {
			refuse("invalid_request", "client_id does not match the provided id_token_hint")
			return
		}
		req.ClientID = claims.Audience[0]
	}
	pending := logout{session: digest(cookie(r, sessionCookie))}
	if req.ClientID != "" {
		known, err := p.engine.storage.GetClientByClientID(r.Context(), req.ClientID)
		if err != nil {
			refuse("invalid_client", "invalid client "+req.ClientID)
			return
		}
		pending.client = req.ClientID
		if req.PostLogoutRedirectURI != "" {
			c := known.(client)
			target, err := ParseRedirectURI(req.PostLogoutRedirectURI, c.app.PostLogoutRedirectURIs...)
			if err == nil {
				c.logoutURIs = []string{req.PostLogoutRedirectURI}
				err = op.ValidateEndSessionPostLogoutRedirectURI(req.PostLogoutRedirectURI, c)
			}
			if err != nil {
				refuse("invalid_request", "post_logout_redirect_uri not registered")
				return
			}
			if req.State != "" {
				query := target.Query()
				query.Set("state", req.State)
				target.RawQuery = query.Encode()
			}
			pending.target = target.String()
		}
	}
	xsrf := random()
	p.store.awaitLogout(xsrf, pending)
	p.writeLogoutPage(w, r, pending, xsrf)
}

// serveEndSessionConfirm: POST /oidc/session/end/confirm ends the browser session, tells the clients that were signed in in it, and goes on to
// the post-logout redirect URI. Without logout=yes only the client is forgotten, and the session goes on.
func (p *Provider) serveEndSessionConfirm(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	id := cookie(r, sessionCookie)
	pending, ok := p.store.takeLogout(r.PostFormValue("xsrf"))
	if !ok || pending.session != digest(id) {
		writeOAuthError(w, oauthError{http.StatusBadRequest, "invalid_request", "xsrf token invalid"})
		return
	}
	if r.PostFormValue("logout") != "" {
		if ended, ok := p.store.endSession(id); ok {
			p.tell(r.Context(), ended)
		}
		p.setCookie(w, sessionCookie, "", -1)
	} else if pending.client != "" {
		p.store.forgetClient(id, pending.client)
	}
	target := pending.target
	if target == "" {
		target = "/oidc/session/end/success"
	}
	w.Header().Set("Location", target)
	w.WriteHeader(http.StatusSeeOther)
}

// tell sends a logout token to the clients that were signed in in a browser session (OpenID Connect Back-Channel Logout 1.0, section 2.5): one
// try, and whatever becomes of it the person's sign-out goes on.
func (p *Provider) tell(ctx context.Context, ended session) {
	for id, a := range ended.clients {
		if app, known := p.tenant.Application(id); known {
			p.tellOne(ctx, app, ended, a)
		}
	}
}

func (p *Provider) tellOne(ctx context.Context, app tenant.Application, ended session, a authorization) {
	b := p.switches.current()
	to := cmp.Or(b.BackchannelURI, app.BackchannelLogoutURI)
	if to == "" || b.LoseLogouts {
		return
	}
	now := p.now()
	claims := map[string]any{
		"iss": p.issuer, "aud": app.ID, "sub": ended.subject, "iat": now.Unix(), "jti": random(),
		"events": map[string]any{logoutEvent: map[string]any{}},
	}
	if app.SessionRequired && !b.OmitSID {
		claims["sid"] = a.sid
	}
	if !b.Line141 {
		claims["exp"] = now.Add(2 * time.Minute).Unix()
	}
	token, err := p.keys.signed(p.keys.current(), "logout+jwt", claims)
	if err != nil {
		p.log.ErrorContext(ctx, "making a logout token", "error", err)
		return
	}
	// The person who closes the tab now has signed out all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), backchannelTimeout)
	defer cancel()
	if err := p.deliver(ctx, to, token); err != nil {
		p.log.WarnContext(ctx, "delivering a logout token", "error", err)
	}
}

func (p *Provider) deliver(ctx context.Context, uri, token string) error {
	body := url.Values{"logout_token": {token}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, uri, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("User-Agent", "")
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, maxBody))
	if resp.StatusCode >= 300 {
		return errors.New("the client answered " + resp.Status)
	}
	return nil
}

func (s *store) awaitLogout(xsrf string, l logout) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logouts.put(s.now(), xsrf, l, logoutLifetime)
}

// takeLogout returns what an end-session page was made for, once.
func (s *store) takeLogout(xsrf string) (logout, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.logouts.get(s.now(), xsrf)
	if l == nil {
		return logout{}, false
	}
	taken := *l
	s.logouts.drop(xsrf)
	return taken, true
}
