package authflow

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"portero/internal/audit"
	"portero/internal/forwarded"
	"portero/internal/logto"
	"portero/internal/page"
	"portero/internal/session"
)

const (
	// revokeWait is how long a sign-out waits for the revocation; the rest is done from the queue.
	revokeWait = 800 * time.Millisecond
	// maxForm bounds the forms that people send to endpoints of ours, in bytes.
	maxForm = 64 << 10
	// formWait is how long such a form may take to arrive.
	formWait = 10 * time.Second
)

// signedOut travels through Logto in the sealed `state` of the end-session request.
type signedOut struct {
	Return string
	Silent bool `json:",omitempty"` // Logto did not answer
}

// SignOut handles /sign-out. A same-origin POST, or a link of our own origin that was followed, signs out; everything
// else gets the page that asks.
//
//  1. The session ends, and with it every session of the same sign-in at Logto (its sid) on all hosts and replicas, and
//     what is open for them.
//  2. The refresh token is revoked (RFC 7009), within 800 ms or from the queue.
//  3. The browser goes to Logto's end-session endpoint (RP-Initiated Logout 1.0 2), and from there to signed-out.
func (f *Flow) SignOut(w http.ResponseWriter, r *http.Request) error {
	ret, err := f.signOutReturn(w, r)
	if err != nil {
		return err
	}
	found, err := f.Sessions.Find(r.Context(), r, hostOf(r))
	if err != nil {
		return f.unavailable(r, ret, err)
	}
	allowed := r.Method == http.MethodPost && sameOrigin(r, f.origin(r)) ||
		r.Method == http.MethodGet && sameOriginNavigation(r)
	if !allowed {
		f.confirmSignOut(w, r, ret, found.Session)
		return nil
	}

	ctx := context.WithoutCancel(r.Context())
	answered := true
	var hint string
	if s := found.Session; s != nil {
		hint = s.IDToken
		if err := f.Sessions.End(ctx, s, s.SID != ""); err != nil {
			return f.unavailable(r, ret, err)
		}
		f.record(r, audit.Event{Action: "sign-out", Outcome: "succeeded", Subject: s.Subject, Email: s.Identity.Email, SessionID: s.ID})
		answered = f.revoke(ctx, s)
	}
	f.Sessions.ClearCookie(w)
	w.Header().Set("Clear-Site-Data", `"cache"`)
	redirect(w, f.afterSignOut(ctx, r, ret, hint, answered), http.StatusSeeOther)
	return nil
}

// signOutReturn reads return_to from the query of a GET or the form of a POST.
func (f *Flow) signOutReturn(w http.ResponseWriter, r *http.Request) (ReturnPath, error) {
	if r.Method != http.MethodPost {
		return f.Endpoints.ParseReturn(r.URL.Query().Get("return_to")), nil
	}
	form, err := readForm(w, r)
	if err != nil {
		p := f.problem(r, page.BadRequest, ReturnPath{}, err)
		p.Page.Status = http.StatusRequestEntityTooLarge
		return ReturnPath{}, p
	}
	return f.Endpoints.ParseReturn(form.Get("return_to")), nil
}

// readForm reads a small form. Other content types give an empty one: the body is ignored.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	connection := http.NewResponseController(w) // one that has no deadlines is a test's
	_ = connection.SetReadDeadline(time.Now().Add(formWait))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		return nil, errors.New("the form is larger than 64 KiB, broke off, or did not come in time")
	}
	_ = connection.SetReadDeadline(time.Time{})
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return url.Values{}, nil
	}
	return form, nil
}

func (f *Flow) confirmSignOut(w http.ResponseWriter, r *http.Request, ret ReturnPath, s *session.Session) {
	from := forwarded.FromContext(r.Context())
	p := page.Page{
		ID:             page.SignOut,
		App:            f.title(from.Hostname(), ret),
		Primary:        &page.Action{URL: f.Endpoints.SignOutPath(), Post: true, Fields: []page.Field{{Name: "return_to", Value: ret.String()}}},
		Secondary:      &page.Action{URL: ret.String()},
		LanguageReturn: f.Endpoints.SignOutPath() + "?" + url.Values{"return_to": {ret.String()}}.Encode(),
	}
	if s != nil {
		p.Email, p.User = s.Identity.Email, s.Identity.Email
	}
	f.Pages.Render(w, r, p)
}

// revoke takes back the refresh token of an ended session; answered is false when Logto gave no answer in time.
func (f *Flow) revoke(ctx context.Context, s *session.Session) (answered bool) {
	if s.RefreshToken == "" {
		return true
	}
	wait, cancel := context.WithTimeout(ctx, revokeWait)
	defer cancel()
	err := f.Revoker.now(wait, f.Provider, f.Sessions, s.RefreshToken, s.SID, s.Key)
	if err == nil {
		return true
	}
	f.Revoker.later(f.Provider, f.Sessions, s.RefreshToken, s.SID, s.Key)
	return !errors.Is(err, logto.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded)
}

// afterSignOut is where the browser goes next: Logto's end-session endpoint, or straight to our page when Logto does
// not answer.
func (f *Flow) afterSignOut(ctx context.Context, r *http.Request, ret ReturnPath, hint string, answered bool) string {
	host := hostOf(r)
	if answered {
		location, err := f.endSession(ctx, host, ret, hint)
		if err == nil {
			return location
		}
		f.Log.Warn("signing out: Logto's own session is not ended", "error", err)
	}
	return f.Endpoints.Prefix + nameSignedOut + "?" + url.Values{
		"state": {f.sealSignedOut(host, signedOut{Return: ret.String(), Silent: true})},
	}.Encode()
}

// endSession is the address at Logto that ends its own session. What was discovered lives on while Logto is away, so
// it is asked whether it answers.
func (f *Flow) endSession(ctx context.Context, host string, ret ReturnPath, hint string) (string, error) {
	wait, cancel := context.WithTimeout(ctx, revokeWait)
	defer cancel()
	if err := f.Provider.Reachable(wait); err != nil {
		return "", err
	}
	return f.Provider.EndSessionURL(wait, logto.EndSession{
		IDTokenHint:           hint,
		PostLogoutRedirectURI: f.originOf(host) + f.Endpoints.Prefix + nameSignedOut,
		State:                 f.sealSignedOut(host, signedOut{Return: ret.String()}),
	})
}

func (f *Flow) sealSignedOut(host string, s signedOut) string {
	plain, err := json.Marshal(s)
	if err != nil {
		return ""
	}
	return f.Keys.SealText(purposeSignedOut, plain, f.bind(host))
}

// SignedOut handles GET /_portero/signed-out, the post-logout redirect URI. It never signs in by itself.
func (f *Flow) SignedOut(w http.ResponseWriter, r *http.Request) error {
	host := hostOf(r)
	here := f.Endpoints.Prefix + nameSignedOut
	var s signedOut
	sealed := r.URL.Query().Get("state")
	if plain, _, err := f.Keys.OpenText(purposeSignedOut, sealed, f.bind(host)); err == nil {
		if json.Unmarshal(plain, &s) != nil {
			s = signedOut{}
		}
		here += "?" + url.Values{"state": {sealed}}.Encode()
	}
	ret := f.Endpoints.ParseReturn(s.Return)
	found, err := f.lookup(r)
	if err == nil && found.Session != nil {
		redirect(w, f.Endpoints.OwnPath(), http.StatusSeeOther)
		return nil
	}
	p := page.Page{
		ID:             page.SignedOut,
		App:            f.title(host, ret),
		Primary:        &page.Action{URL: f.Endpoints.SignInURL(ret, false)},
		ProviderSilent: s.Silent,
		LanguageReturn: here,
	}
	if s.Silent {
		p.Primary = &page.Action{URL: f.Endpoints.SignOutPath(), Post: true, Fields: []page.Field{{Name: "return_to", Value: ret.String()}}}
	}
	f.Pages.Render(w, r, p)
	return nil
}
