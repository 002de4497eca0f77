package authflow

import (
	"errors"
	"fmt"
	"net/http"

	"portero/internal/forwarded"
	"portero/internal/logto"
	"portero/internal/page"
	"portero/internal/session"
)

// begin says how a sign-in is started.
type begin struct {
	ret   ReturnPath
	login bool // the person has to sign in again: prompt=login
	auto  bool // nobody pressed anything: the loop breaker applies
	state state
	guest *invitation // who was invited and signs in by that; nil: nobody was
	only  []byte      // guestOf the address that alone may sign in; nil: anybody may, or the guest
	hint  string      // the address that Logto's page begins with; "": none
}

// SignIn handles GET /sign-in?return_to=PATH[&fresh=1]: a top-level navigation starts a sign-in, and goes straight on
// when there is a session and no fresh one is asked for.
func (f *Flow) SignIn(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	ret := f.Endpoints.ParseReturn(q.Get("return_to"))
	fresh := q.Get("fresh") == "1"
	if kind := Classify(r, f.origin(r)); kind != Navigation {
		return f.refuse(r, kind, ret)
	}
	found, err := f.lookup(r)
	switch {
	case fresh:
		return f.begin(w, r, begin{ret: ret, login: true, hint: f.stepUpHint(r, ret, found.Session)})
	case err != nil:
		return f.unavailable(r, ret, err)
	case found.Session != nil:
		redirect(w, ret.String(), http.StatusSeeOther)
		return nil
	}
	return f.begin(w, r, begin{ret: ret})
}

// Challenge answers a request that needs a sign-in by what it is: a page goes to Logto, a form is not lost, a frame
// says so, everything else gets 401.
func (f *Flow) Challenge(w http.ResponseWriter, r *http.Request, ret ReturnPath) error {
	ret = f.Endpoints.Return(ret)
	if kind := Classify(r, f.origin(r)); kind != Navigation {
		return f.refuse(r, kind, ret)
	}
	return f.begin(w, r, begin{ret: ret, auto: true})
}

// refuse answers 401 to what is no navigation.
func (f *Flow) refuse(r *http.Request, kind Kind, ret ReturnPath) error {
	from := forwarded.FromContext(r.Context())
	switch kind {
	case Form:
		p := f.problem(r, page.FormNotSent, ret, nil)
		signedIn, _ := ParseReturnPath(f.Endpoints.Prefix + nameSignedIn)
		p.Page.Primary = &page.Action{URL: f.Endpoints.SignInURL(signedIn, false)}
		p.Page.SignInURL = p.Page.Primary.URL
		p.Header = f.bearer(from.Hostname())
		return p
	case Frame:
		p := f.problem(r, page.Framed, f.outer(r, ret), nil)
		p.Page.SignInURL = p.Page.Primary.URL
		p.Header = f.bearer(from.Hostname())
		return p
	}
	return f.Unauthorized(r, ret)
}

// outer is the page around a frame, where the browser tells: a Referer of the same origin. Else the frame's own page.
func (f *Flow) outer(r *http.Request, ret ReturnPath) ReturnPath {
	referer, ok := cutPrefix(r.Header.Get("Referer"), f.origin(r))
	if !ok {
		return ret
	}
	p, ok := ParseReturnPath(referer)
	if !ok {
		return ret
	}
	return f.Endpoints.Return(p)
}

// cutPrefix removes an origin from a URL, and leaves a path.
func cutPrefix(s, origin string) (string, bool) {
	if len(s) <= len(origin) || s[:len(origin)] != origin || s[len(origin)] != '/' {
		return "", false
	}
	return s[len(origin):], true
}

func (f *Flow) bearer(host string) http.Header {
	return http.Header{"Www-Authenticate": {challenge(host)}}
}

// BearerChallenge is the challenge to a request that has to say who sends it, without an error yet.
func (f *Flow) BearerChallenge(r *http.Request) string { return challenge(hostOf(r)) }

func challenge(host string) string { return fmt.Sprintf("Bearer realm=%q", host) }

// Unauthorized answers 401 to what is not a page: no redirect, no attempt, JSON for those who read it.
func (f *Flow) Unauthorized(r *http.Request, ret ReturnPath) error {
	host := hostOf(r)
	return &page.Problem{
		Page:        page.Page{ID: page.SignInRequired, SignInURL: f.originOf(host) + f.Endpoints.SignInURL(ret, false)},
		ProxyStatus: "http_request_denied",
		Header:      f.bearer(host),
	}
}

var errLoop = errors.New("three sign-ins for this page landed within a minute and none was kept")

// begin starts a sign-in: one attempt cookie, one redirect to Logto, nothing in any store.
func (f *Flow) begin(w http.ResponseWriter, r *http.Request, b begin) error {
	host := hostOf(r)
	now := f.now()
	found, broken := f.attempts(r, host)
	if b.auto && looping(found, b.ret, now) {
		f.Metrics.SignIn("failed")
		return f.problem(r, page.SignInFailed, b.ret, errLoop)
	}
	if err := f.Provider.Reachable(r.Context()); err != nil {
		return f.unavailable(r, b.ret, err)
	}
	a := newAttempt(now, b.ret, b.login)
	if a.Guest = b.only; b.guest != nil {
		a.Guest = guestOf(b.guest.Email)
	}
	b.state.attempt, b.state.start = a.id, now
	prompt := "consent" // without it Logto gives no refresh token
	if b.login {
		prompt = "login consent"
	}
	request := logto.AuthorizationRequest{
		RedirectURI: f.redirectURI(host),
		State:       f.sealState(host, b.state),
		Nonce:       a.nonce(),
		Challenge:   logto.Challenge(a.verifier()),
		Prompt:      prompt,
		UILocales:   f.Pages.Language(r),
		FirstScreen: f.FirstScreen,
		Identifiers: f.Identifiers,
		Scopes:      f.Scopes,
		Resources:   f.Resources,
		MaxAge:      f.maxAge(host, b.ret),
		LoginHint:   b.hint,
		Extra:       f.ExtraParams,
	}
	if b.guest != nil {
		b.guest.present(&request)
	}
	location, err := f.Provider.AuthorizationURL(r.Context(), request)
	if err != nil {
		return f.unavailable(r, b.ret, err)
	}
	if !f.setAttempt(w, host, a) {
		f.Log.Info("a return path is too long for its cookie; its query was left out", "host", host)
		a.Return = b.ret.withoutQuery().String()
		if !f.setAttempt(w, host, a) {
			a.Return = "/"
			f.setAttempt(w, host, a)
		}
	}
	f.dropAttempts(w, found, broken, a.size)
	redirect(w, location, http.StatusFound)
	return nil
}

// unavailable is the page for a sign-in that cannot go on because Logto or the session store does not answer.
func (f *Flow) unavailable(r *http.Request, ret ReturnPath, cause error) error {
	f.Metrics.SignIn("unavailable")
	if errors.Is(cause, session.ErrUnavailable) {
		p := f.problem(r, page.Unavailable, ret, cause)
		p.Page.Primary = &page.Action{URL: ret.String()}
		return p
	}
	return f.problem(r, page.SignInUnavailable, ret, cause)
}
