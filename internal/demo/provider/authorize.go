package provider

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// Pages of an interaction, at Logto's paths.
const (
	signInPath  = "/sign-in"
	codePath    = "/sign-in/verification-code"
	newCodePath = "/sign-in/new-code"
)

var signInPaths = []string{signInPath, "/identifier-sign-in", "/register", "/identifier-register"}

// firstPage is the page that first_screen asks for; Logto ignores values it does not know.
func firstPage(firstScreen string) (path, usage string) {
	switch firstScreen {
	case "register":
		return "/register", "Register"
	case "identifier:register":
		return "/identifier-register", "Register"
	case "identifier:sign_in":
		return "/identifier-sign-in", "SignIn"
	}
	return signInPath, "SignIn"
}

// Names of the two cookies.
const (
	sessionCookie     = "demo_session"
	interactionCookie = "demo_interaction"
)

// serveAuthorization: GET and POST /oidc/auth (OpenID Connect Core 1.0, section 3.1.2.1).
//
//  1. The client and the redirect URI. Until both are known nobody is redirected: errors are JSON here.
//  2. The rest of the request. From here errors go to the redirect URI.
//  3. The browser session: with prompt=none it has to do; else, if it does, the answer is a code at once.
//  4. An interaction is kept and the browser sent to its page.
func (p *Provider) serveAuthorization(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")

	// 1. client and redirect URI
	req, err := op.ParseAuthorizeRequest(r, p.engine.Decoder())
	if err != nil {
		writeOAuthError(w, oauthError{http.StatusBadRequest, "invalid_request", "authorization request cannot be read"})
		return
	}
	if oversized(r.Form) {
		writeOAuthError(w, oauthError{http.StatusBadRequest, "invalid_request", "authorization request is too long"})
		return
	}
	for name, values := range r.Form {
		if len(values) > 1 && name != "resource" {
			writeOAuthError(w, oauthError{http.StatusBadRequest, "invalid_request", "'" + name + "' parameter must not be provided twice"})
			return
		}
	}
	if req.ClientID == "" {
		writeOAuthError(w, oauthError{http.StatusBadRequest, "invalid_request", "missing required parameter 'client_id'"})
		return
	}
	known, err := p.engine.storage.GetClientByClientID(r.Context(), req.ClientID)
	if err != nil || !op.ValidateGrantType(known, oidc.GrantTypeCode) {
		writeOAuthError(w, oauthError{http.StatusBadRequest, "invalid_client", "invalid client " + req.ClientID})
		return
	}
	c := known.(client)
	redirect, err := ParseRedirectURI(req.RedirectURI, c.app.RedirectURIs...)
	if err == nil {
		c.redirectURIs = []string{req.RedirectURI}
		err = op.ValidateAuthReqRedirectURI(c, req.RedirectURI, oidc.ResponseTypeCode)
	}
	if err != nil {
		writeOAuthError(w, oauthError{http.StatusBadRequest, "invalid_redirect_uri", "redirect_uri did not match any of the client's registered redirect_uris"})
		return
	}

	// 2. the rest
	a := answer{redirect: redirect, mode: req.ResponseMode, state: req.State}
	it, problem := p.newInteraction(r.Form, req, c)
	if problem != nil {
		if req.ResponseMode == "" && strings.Contains(string(req.ResponseType), "token") {
			a.mode = oidc.ResponseModeFragment
		}
		p.answer(w, r, a, problem)
		return
	}

	// 3. the browser session
	live, signedIn := p.liveSession(w, r)
	switch {
	case slices.Contains(req.Prompt, oidc.PromptNone):
		switch {
		case !signedIn:
			p.answer(w, r, a, oidc.ErrLoginRequired().WithDescription("End-User authentication is required"))
		case !p.satisfies(it, live):
			p.answer(w, r, a, oidc.ErrLoginRequired().WithDescription("login prompt was not resolved"))
		case !p.subjectHinted(r, req.IDTokenHint, live.subject):
			p.answer(w, r, a, oidc.ErrLoginRequired().WithDescription("id_token_hint and authenticated subject do not match"))
		case !p.store.granted(live.id, c.id, it.scopes):
			p.answer(w, r, a, &oidc.Error{ErrorType: "consent_required", Description: "requested scopes not granted"})
		default:
			p.finish(w, r, it, live)
		}
		return
	case signedIn && p.satisfies(it, live) && p.subjectHinted(r, req.IDTokenHint, live.subject):
		p.finish(w, r, it, live)
		return
	}

	// 4. the page
	it.browser = p.browser(w, r)
	it = p.store.start(it, p.config.ParallelInteractions)
	query := p.pageQuery(it)
	if it.hint != "" {
		query.Set("login_hint", it.hint)
	}
	if it.oneTimeToken != "" {
		query.Set("one_time_token", it.oneTimeToken)
	}
	http.Redirect(w, r, it.page+"?"+query.Encode(), http.StatusSeeOther)
}

// newInteraction reads an authorization request whose client and redirect URI are good; what is wrong with the rest it returns as an error
// for the client.
func (p *Provider) newInteraction(form url.Values, req *oidc.AuthRequest, c client) (interaction, *oidc.Error) {
	invalid := func(description string) *oidc.Error {
		return oidc.ErrInvalidRequest().WithDescription("%s", description)
	}
	switch {
	case req.ResponseType == "":
		return interaction{}, invalid("missing required parameter 'response_type'")
	case op.ValidateAuthReqResponseType(c, req.ResponseType) != nil:
		return interaction{}, &oidc.Error{ErrorType: "unsupported_response_type", Description: "unsupported response_type requested"}
	case req.ResponseMode != "" && req.ResponseMode != oidc.ResponseModeQuery && req.ResponseMode != oidc.ResponseModeFragment:
		return interaction{}, invalid("unsupported response_mode requested")
	case req.RequestParam != "":
		return interaction{}, &oidc.Error{ErrorType: "request_not_supported", Description: "request parameter provided but not supported"}
	case form.Has("request_uri"):
		return interaction{}, &oidc.Error{ErrorType: "request_uri_not_supported", Description: "request_uri parameter provided but not supported"}
	case req.CodeChallenge == "" && req.CodeChallengeMethod != "":
		return interaction{}, invalid("code_challenge must be provided with code_challenge_method")
	case req.CodeChallenge != "" && req.CodeChallengeMethod != oidc.CodeChallengeMethodS256:
		return interaction{}, invalid("code_challenge_method must be S256")
	case req.CodeChallenge != "" && (len(req.CodeChallenge) < 43 || len(req.CodeChallenge) > 128):
		return interaction{}, invalid("code_challenge must be a string with a minimum length of 43 characters and at most 128")
	case form.Has("resource") && p.config.ManagementResource != form.Get("resource"):
		return interaction{}, &oidc.Error{ErrorType: "invalid_target", Description: "resource indicator is missing, or unknown"}
	}
	for _, prompt := range req.Prompt {
		if prompt != oidc.PromptNone && prompt != oidc.PromptLogin && prompt != oidc.PromptConsent {
			return interaction{}, invalid("unsupported prompt value requested")
		}
	}
	if _, err := op.ValidateAuthReqPrompt(req.Prompt, req.MaxAge); err != nil {
		return interaction{}, invalid("prompt none must only be used alone")
	}
	asked, err := op.ValidateAuthReqScopes(c, req.Scopes)
	if err != nil {
		return interaction{}, invalid("missing required parameter 'scope'")
	}
	if req.Nonce != "" && !slices.Contains(asked, oidc.ScopeOpenID) {
		return interaction{}, invalid("openid scope must be requested when using the nonce parameter")
	}
	if !slices.Contains(req.Prompt, oidc.PromptConsent) {
		asked = slices.DeleteFunc(asked, func(scope string) bool { return scope == scopeOffline })
	}
	page, usage := firstPage(form.Get("first_screen"))
	return interaction{
		oneTimeToken: form.Get("one_time_token"),
		client:       req.ClientID, redirectURI: req.RedirectURI, responseMode: string(req.ResponseMode),
		state: req.State, nonce: req.Nonce, challenge: req.CodeChallenge, scopes: asked,
		login: slices.Contains(req.Prompt, oidc.PromptLogin), maxAge: req.MaxAge,
		locales: form.Get("ui_locales"), hint: req.LoginHint, identifier: form.Get("identifier"),
		page: page, usage: usage,
	}, nil
}

// satisfies reports whether a browser session is enough for a request: nobody has to sign in (again).
func (p *Provider) satisfies(it interaction, live session) bool {
	switch {
	case it.signedIn:
		return true
	case it.login:
		return false
	case it.maxAge != nil:
		return *it.maxAge > 0 && int64(p.now().Sub(live.authTime).Seconds()) <= int64(*it.maxAge)
	}
	return true
}

// subjectHinted reports whether an ID token hint names a subject; no hint names everybody. An expired one counts.
func (p *Provider) subjectHinted(r *http.Request, hint, subject string) bool {
	if hint == "" {
		return true
	}
	claims, err := p.verifyHint(r, hint)
	return err == nil && claims.Subject == subject
}

func (p *Provider) verifyHint(r *http.Request, hint string) (*oidc.TokenClaims, error) {
	ctx := op.ContextWithIssuer(r.Context(), p.issuer)
	claims, err := op.VerifyIDTokenHint[*oidc.TokenClaims](ctx, hint, p.engine.IDTokenHintVerifier(ctx))
	if expired := (op.IDTokenHintExpiredError{}); err != nil && !errors.As(err, &expired) {
		return nil, err
	}
	return claims, nil
}

// finish answers an interaction with a code for the person who is signed in.
func (p *Provider) finish(w http.ResponseWriter, r *http.Request, it interaction, live session) {
	app, _ := p.tenant.Application(it.client)
	redirect, err := ParseRedirectURI(it.redirectURI, app.RedirectURIs...)
	if err != nil {
		writeOAuthError(w, oauthError{http.StatusBadRequest, "invalid_redirect_uri", "redirect_uri did not match any of the client's registered redirect_uris"})
		return
	}
	a := answer{redirect: redirect, mode: oidc.ResponseMode(it.responseMode), state: it.state}
	if who, known := p.store.person(live.subject); known && !p.allows(it.client, who) {
		// Who has been let in before is sent back; who has not, never leaves Logto.
		if p.store.granted(live.id, it.client, nil) {
			p.answer(w, r, a, &oidc.Error{ErrorType: "access_denied", Description: "Access denied."})
		} else {
			p.writeDenied(w, r, it)
		}
		return
	}
	key, ok := p.store.authorize(live.id, it)
	if !ok {
		p.answer(w, r, a, oidc.ErrLoginRequired().WithDescription("End-User authentication is required"))
		return
	}
	a.code = key
	p.answer(w, r, a, nil)
}

// allows reports whether an application lets a person in.
func (p *Provider) allows(client string, who person) bool {
	return p.tenant.Allows(client, who.subject, who.roles())
}

// oversized reports whether a request is longer than what is kept of one for an hour should be.
func oversized(form url.Values) bool { return len(form.Encode()) > maxRequest }

// answer is an authorization response.
type answer struct {
	redirect    *url.URL
	mode        oidc.ResponseMode
	state, code string
}

// answer sends the browser to the redirect URI with a code or an error, and with the issuer (RFC 9207).
func (p *Provider) answer(w http.ResponseWriter, r *http.Request, a answer, problem *oidc.Error) {
	response := struct {
		Code        string `schema:"code,omitempty"`
		Error       string `schema:"error,omitempty"`
		Description string `schema:"error_description,omitempty"`
		State       string `schema:"state,omitempty"`
		Issuer      string `schema:"iss,omitempty"`
	}{Code: a.code, State: a.state, Issuer: p.issuer}
	if problem != nil {
		response.Error, response.Description = string(problem.ErrorType), problem.Description
	}
	if p.switches.current().OmitIssuer {
		response.Issuer = ""
	}
	target, err := op.AuthResponseURL(a.redirect.String(), oidc.ResponseTypeCode, a.mode, response, p.engine.Encoder())
	if err != nil {
		writeOAuthError(w, oauthError{http.StatusInternalServerError, "server_error", "the response could not be encoded"})
		return
	}
	w.Header().Set("Location", target)
	w.WriteHeader(http.StatusSeeOther)
}

// liveSession returns the browser's session and gives its cookie another 14 days.
func (p *Provider) liveSession(w http.ResponseWriter, r *http.Request) (session, bool) {
	live, ok := p.store.session(cookie(r, sessionCookie))
	if ok {
		p.setCookie(w, sessionCookie, live.id, int(sessionLifetime.Seconds()))
	}
	return live, ok
}

// browser returns the value of the browser's interaction cookie and gives it one if it has none of ours.
func (p *Provider) browser(w http.ResponseWriter, r *http.Request) string {
	value := cookie(r, interactionCookie)
	if !p.store.browser(value) {
		value = random()
	}
	p.setCookie(w, interactionCookie, value, int(interactionLifetime.Seconds()))
	return value
}

func cookie(r *http.Request, name string) string {
	c, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	return c.Value
}

func (p *Provider) setCookie(w http.ResponseWriter, name, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, Secure: p.secure, SameSite: http.SameSiteLaxMode,
	})
}
