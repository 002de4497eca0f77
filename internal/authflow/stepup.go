package authflow

import (
	"fmt"
	"net/http"
	"time"

	"portero/internal/page"
	"portero/internal/session"
)

// StepUp answers a request of somebody who is signed in, but longer ago than the route takes: a page says so and leads
// to a fresh sign-in, a form is not lost, a frame says so, everything else gets 401 with the challenge of RFC 9470 3.
// Nothing starts by itself.
func (f *Flow) StepUp(r *http.Request, ret ReturnPath, maxAge time.Duration, email string) error {
	host := hostOf(r)
	ret = f.Endpoints.Return(ret)
	kind := Classify(r, f.origin(r))
	id := page.StepUp
	switch kind {
	case Form:
		id = page.FormNotSent
	case Frame:
		id, ret = page.Framed, f.outer(r, ret)
	}
	p := f.problem(r, id, ret, nil)
	p.ProxyStatus = "http_request_denied"
	p.Header = http.Header{"Www-Authenticate": {fmt.Sprintf("Bearer realm=%q, error=\"insufficient_user_authentication\", "+
		"error_description=\"the sign-in is too old\", max_age=%d", host, int64(maxAge/time.Second))}}
	fresh := f.Endpoints.SignInURL(ret, true)
	if kind == Form {
		signedIn, _ := ParseReturnPath(f.Endpoints.Prefix + nameSignedIn)
		fresh = f.Endpoints.SignInURL(signedIn, true)
	}
	p.Page.Primary = &page.Action{URL: fresh}
	p.Page.MaxAge, p.Page.Email, p.Page.User = maxAge, email, email
	if kind == Navigation {
		p.Page.Secondary = f.back(r, ret)
	}
	p.Page.SignInURL = f.originOf(host) + fresh
	return p
}

// back leads to the page that somebody came from, where that is one of this host, else to the start page.
func (f *Flow) back(r *http.Request, ret ReturnPath) *page.Action {
	from := f.outer(r, ReturnPath{})
	if from.Path() == ret.Path() {
		return nil
	}
	return &page.Action{URL: from.String()}
}

// stepUpHint is the address of somebody whose sign-in is too old for a page: most likely the same person signs in again. It
// is "" for all others, who may want another account.
func (f *Flow) stepUpHint(r *http.Request, ret ReturnPath, s *session.Session) string {
	age := f.stepUpAge(hostOf(r), ret)
	if s == nil || age <= 0 || f.now().Sub(s.AuthTime) <= age {
		return ""
	}
	return s.Identity.Email
}
