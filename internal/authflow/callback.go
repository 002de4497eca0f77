package authflow

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"portero/internal/audit"
	"portero/internal/logto"
	"portero/internal/page"
	"portero/internal/session"
	"portero/internal/telemetry"
)

const (
	// waitingWindow is how long a second copy of an answer is told to wait for the first.
	waitingWindow = 10 * time.Second
	// freshSlack is how long before the start of an attempt with prompt=login a sign-in still counts as its answer:
	// room for clocks that differ.
	freshSlack = 60 * time.Second
	// maxFresh bounds the automatic sign-ins with prompt=login.
	maxFresh = 2
)

// answer is what came back from Logto: the query of the callback.
type answer struct {
	state, code, err, iss string
}

// parseAnswer reads the query. A parameter that comes twice, or an answer that is neither a code nor an error, is
// refused (RFC 6749 3.1: parameters must not be included more than once).
func parseAnswer(rawQuery string) (answer, error) {
	q, err := url.ParseQuery(rawQuery)
	if err != nil {
		return answer{}, errors.New("the query cannot be read")
	}
	for _, name := range []string{"state", "code", "error", "iss"} {
		if len(q[name]) > 1 {
			return answer{}, fmt.Errorf("the parameter %s comes twice", name)
		}
	}
	a := answer{state: q.Get("state"), code: q.Get("code"), err: q.Get("error"), iss: q.Get("iss")}
	switch {
	case a.state == "":
		return answer{}, errors.New("there is no state")
	case (a.code == "") == (a.err == ""):
		return answer{}, errors.New("there is neither one code nor one error")
	}
	return a, nil
}

// finish is a callback on its way.
type finish struct {
	host    string
	answer  answer
	state   state
	attempt *attempt // nil: this browser brought none
	ret     ReturnPath
	live    *session.Session
}

// Callback handles GET /callback, the redirect URI.
//
//  1. The query is read; the state must be one that we sealed for this host, and `iss` our issuer (RFC 9207 2.4).
//  2. The attempt in this browser and a live session are looked up.
//  3. An attempt that can still be finished is consumed, before anything is sent: whoever comes second waits.
//  4. The code is exchanged (RFC 6749 4.1.3, RFC 7636 4.5) and the ID token verified (OpenID Connect Core 3.1.3.7).
//  5. A `fresh` marker newer than auth_time asks for a new sign-in.
//  6. The attempt of an invitation is finished by the invited address alone.
//  7. The session starts with a new token and the person lands on the return path.
func (f *Flow) Callback(w http.ResponseWriter, r *http.Request) error {
	c := &finish{host: hostOf(r)}

	var err error
	if c.answer, err = parseAnswer(r.URL.RawQuery); err != nil {
		return f.failedPage(r, c, err)
	}
	if c.state, err = f.openState(c.host, c.answer.state); err != nil {
		return f.failedPage(r, c, err)
	}
	if err := f.checkIssuer(r.Context(), c.answer.iss); err != nil {
		if errors.Is(err, logto.ErrUnavailable) {
			return f.unavailable(r, c.ret, err)
		}
		return f.failedPage(r, c, err)
	}

	found, _ := f.attempts(r, c.host)
	for _, a := range found {
		if a.id == c.state.attempt {
			c.attempt, c.ret = a, f.Endpoints.Return(a.returnPath())
		}
	}
	lookup, err := f.lookup(r)
	if err != nil {
		return f.unavailable(r, c.ret, err)
	}
	c.live = lookup.Session

	if c.attempt == nil || !c.attempt.usable(f.now()) {
		return f.spent(w, r, c)
	}
	first, at, err := f.Sessions.Consume(r.Context(), stateMark(c.answer.state))
	if err != nil {
		return f.unavailable(r, c.ret, err)
	}
	if !first {
		return f.second(w, r, c, at)
	}
	tried := *c.attempt
	f.spend(w, c.host, c.attempt)
	if c.answer.err != "" {
		return f.refused(w, r, c)
	}
	return f.exchange(w, r, c, &tried)
}

// checkIssuer compares `iss` with the issuer. It may be absent only where Logto does not announce it.
func (f *Flow) checkIssuer(ctx context.Context, iss string) error {
	if iss == f.Provider.Issuer() {
		return nil
	}
	if iss != "" {
		return errors.New("the answer comes from another issuer")
	}
	meta, err := f.Provider.Discover(ctx)
	if err != nil {
		return err
	}
	if meta.IssuerInResponse {
		return errors.New("the answer does not name its issuer")
	}
	return nil
}

// spent handles our state whose attempt is spent, missing, expired or lost the race: on to the page where there is a
// session, else once more from the start, by itself, once.
func (f *Flow) spent(w http.ResponseWriter, r *http.Request, c *finish) error {
	if c.live != nil {
		redirect(w, c.ret.String(), http.StatusSeeOther)
		return nil
	}
	noCookie := c.attempt == nil
	if c.state.restarts == 0 {
		f.Metrics.SignIn("restarted")
		var login bool
		var only []byte
		if c.attempt != nil { // another account that was asked for is not forgotten
			login, only = c.attempt.Login, c.attempt.Guest
		}
		return f.begin(w, r, begin{ret: c.ret, login: login, only: only, state: state{restarts: 1, fresh: c.state.fresh, noCookie: noCookie}})
	}
	if noCookie && c.state.noCookie {
		f.Metrics.SignIn("failed")
		return f.problem(r, page.NoCookies, c.ret, errors.New("no attempt cookie came back, twice"))
	}
	return f.failedPage(r, c, errors.New("the attempt is spent, missing or expired, and was restarted already"))
}

// second handles an answer that arrives while, or after, its first copy is worked on.
func (f *Flow) second(w http.ResponseWriter, r *http.Request, c *finish, at time.Time) error {
	if c.live == nil && f.now().Sub(at) < waitingWindow {
		f.Pages.Render(w, r, page.Page{
			ID:      page.Waiting,
			App:     f.title(c.host, c.ret),
			Primary: &page.Action{URL: ""}, // this same address, without writing code and state into the page
		})
		return nil
	}
	return f.spent(w, r, c)
}

// refused handles an answer with an error. It has been consumed; no token call follows.
func (f *Flow) refused(w http.ResponseWriter, r *http.Request, c *finish) error {
	cause := errors.New("logto answered with " + wordOf(c.answer.err))
	switch c.answer.err {
	case "server_error", "temporarily_unavailable":
		return f.unavailable(r, c.ret, cause)
	case "login_required", "consent_required", "interaction_required":
		return f.spent(w, r, c)
	}
	return f.failedPage(r, c, cause)
}

// wordOf names an OAuth error code (RFC 6749 4.1.2.1) for the log. It came in a query: what is no plain word is not
// repeated.
func wordOf(code string) string {
	const most = 40
	if len(code) > most || strings.Trim(code, "abcdefghijklmnopqrstuvwxyz_.") != "" {
		return "an error whose code is no word"
	}
	return strconv.Quote(code)
}

// exchange redeems the code and starts the session.
//
// The calls to Logto go on when the browser leaves: a code that was redeemed for nobody is taken back.
func (f *Flow) exchange(w http.ResponseWriter, r *http.Request, c *finish, tried *attempt) error {
	ctx := context.WithoutCancel(r.Context())
	began, err := f.Sessions.Now(ctx)
	if err != nil {
		return f.unavailable(r, c.ret, err)
	}
	tokens, err := f.Provider.Exchange(ctx, c.answer.code, f.redirectURI(c.host), tried.verifier())
	if err != nil {
		return f.exchangeFailed(w, r, c, err)
	}
	id, err := f.Provider.Verify(ctx, tokens.IDToken, logto.Expect{
		Nonce: tried.nonce(), AccessToken: tokens.AccessToken, AuthTimeRequired: true,
	})
	if err != nil {
		return f.exchangeFailed(w, r, c, err)
	}
	again, err := f.needsFresh(ctx, id, c, tried)
	switch {
	case errors.Is(err, errNotFresh):
		f.Log.Error("Logto says that a person signed in before they were asked to: compare the clocks of Logto and of this machine",
			"auth_time", id.AuthTime, "attempt_start", tried.startedAt())
		return f.failedPage(r, c, err)
	case err != nil:
		return f.unavailable(r, c.ret, err)
	case again && c.state.fresh >= maxFresh:
		return f.failedPage(r, c, errors.New("asked for a fresh sign-in twice and got an old one"))
	case again: // the tokens are dropped unrevoked: their grant may be that of another session
		f.Metrics.SignIn("stale")
		return f.begin(w, r, begin{ret: c.ret, login: true, only: tried.Guest, state: state{restarts: c.state.restarts, fresh: c.state.fresh + 1}})
	}

	var userinfo json.RawMessage
	if f.Userinfo {
		if userinfo, err = f.Provider.Userinfo(ctx, tokens.AccessToken, id.Subject); err != nil {
			return f.exchangeFailed(w, r, c, err)
		}
	}
	if r.Context().Err() != nil { // nobody is there to take the session
		f.Revoker.later(f.Provider, f.Sessions, tokens.RefreshToken, id.SID, "")
		return f.unavailable(r, c.ret, r.Context().Err())
	}
	draft := session.New{
		Subject: id.Subject, SID: id.SID, Host: c.host, UserAgent: r.UserAgent(),
		IDToken: tokens.IDToken, AccessToken: tokens.AccessToken, RefreshToken: tokens.RefreshToken,
		AccessExpires: f.now().Add(tokens.ExpiresIn), AccessLife: tokens.ExpiresIn,
		Claims: id.Claims, Userinfo: userinfo, AuthTime: signedInAt(id, tried), Began: began, Replace: c.live,
	}
	if err := f.admitGuest(draft, tried); err != nil {
		f.Revoker.later(f.Provider, f.Sessions, tokens.RefreshToken, id.SID, "")
		return f.failedPage(r, c, err)
	}
	started, err := f.Sessions.Start(ctx, w, draft)
	if err != nil {
		f.Revoker.later(f.Provider, f.Sessions, tokens.RefreshToken, id.SID, "")
		return f.unavailable(r, c.ret, err)
	}
	f.Metrics.SignIn("succeeded")
	telemetry.FromContext(r.Context()).Subject = started.Subject
	f.record(r, audit.Event{Action: "sign-in", Outcome: "succeeded", Subject: started.Subject, Email: started.Identity.Email, SessionID: started.ID})
	redirect(w, c.ret.String(), http.StatusSeeOther)
	return nil
}

// admitGuest refuses a session to anybody but the person whom an invitation is for; where there was none, to nobody.
func (f *Flow) admitGuest(n session.New, tried *attempt) error {
	if tried.Guest == nil {
		return nil
	}
	who, err := f.Sessions.Identify(n)
	if err != nil {
		return err
	}
	if !bytes.Equal(guestOf(who.Email), tried.Guest) {
		return errNotTheGuest
	}
	return nil
}

// exchangeFailed tells what a failed token call, or an ID token that does not verify, means for the person.
func (f *Flow) exchangeFailed(w http.ResponseWriter, r *http.Request, c *finish, err error) error {
	switch {
	case errors.Is(err, logto.ErrUnavailable):
		return f.unavailable(r, c.ret, err)
	case errors.Is(err, logto.ErrInvalidGrant):
		return f.spent(w, r, c)
	}
	return f.failedPage(r, c, err)
}

var errNotFresh = errors.New("the answer to a fresh sign-in is older than the question")

// needsFresh reports whether the person must sign in again: because a `fresh` marker is newer than their sign-in, or
// because that is older than max_age allows. The answer to an attempt with prompt=login is fresh by itself, or an
// error: asking once more would bring the same.
func (f *Flow) needsFresh(ctx context.Context, id logto.Verified, c *finish, tried *attempt) (bool, error) {
	if tried.Login {
		if id.AuthTime.Before(tried.startedAt().Add(-freshSlack)) {
			return false, errNotFresh
		}
		if most := f.stepUpAge(c.host, c.ret); most > 0 && f.now().Sub(signedInAt(id, tried)) > most {
			return false, errNotFresh
		}
		return false, nil
	}
	if f.now().Sub(id.AuthTime) > f.maxAge(c.host, c.ret)+freshSlack {
		return true, nil
	}
	after, err := f.Sessions.FreshAfter(ctx, id.SID, id.Subject)
	if err != nil {
		return false, err
	}
	return !after.IsZero() && id.AuthTime.Before(after), nil
}

// signedInAt is when the person signed in. Who was asked to sign in again did so after the question, whatever the
// clock of Logto says: one that is slow makes nobody sign in twice.
func signedInAt(id logto.Verified, tried *attempt) time.Time {
	if start := tried.startedAt(); tried.Login && id.AuthTime.Before(start) {
		return start
	}
	return id.AuthTime
}

func (f *Flow) failedPage(r *http.Request, c *finish, cause error) error {
	f.Metrics.SignIn("failed")
	f.record(r, audit.Event{Action: "sign-in", Outcome: "failed", Reason: cause.Error()})
	return f.problem(r, page.SignInFailed, c.ret, cause)
}
