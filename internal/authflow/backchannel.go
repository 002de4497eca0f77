package authflow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"time"

	"portero/internal/audit"
	"portero/internal/logto"
	"portero/internal/session"
	"portero/internal/telemetry"
)

const (
	// backchannelWait bounds a whole logout request, from its first byte to the answer: Logto waits 2.5 seconds, and
	// the person who signs out waits with it.
	backchannelWait = 900 * time.Millisecond
	// maxLogoutForm bounds its body, in bytes.
	maxLogoutForm = 64 << 10
	// reasonBackchannel is the audit log's word for sessions that ended so.
	reasonBackchannel = "backchannel-logout"
)

// logoutRefusal is why a logout request is not done, in the words of its answer.
type logoutRefusal struct {
	status int
	detail string
	cause  error // for the log; nil: detail says it all
}

func (e *logoutRefusal) Error() string {
	if e.cause == nil {
		return "a logout of Logto was refused: " + e.detail
	}
	return fmt.Sprintf("a logout of Logto was refused: %v", e.cause)
}

func (e *logoutRefusal) Unwrap() error { return e.cause }

func badLogout(detail string) error {
	return &logoutRefusal{status: http.StatusBadRequest, detail: detail}
}

// BackchannelLogout handles POST /_portero/backchannel-logout (OpenID Connect Back-Channel Logout 1.0 2.5 to 2.8): Logto
// says that somebody has signed out. No cookie means anything here, and whoever sends the request is not asked.
//
//  1. The body is a small form with one logout token; the query is not looked at.
//  2. The logout token is verified: what costs little first, and signatures at a bounded rate.
//  3. If the token names a session and a person, what is known under that sid must be that person's.
//  4. Its jti is consumed, over all replicas: a second copy does nothing.
//  5. The sessions end, by a marker: on this replica at once, on all others within a second, and a sign-in that is
//     finishing at this moment ends with them.
//  6. The answer goes out; rows are cleared away and refresh tokens, which Logto leaves alive, are taken back beside.
func (f *Flow) BackchannelLogout(w http.ResponseWriter, r *http.Request) error {
	began := time.Now()
	// Logto may have hung up by then; what it said holds all the same.
	ctx, cancel := context.WithDeadline(context.WithoutCancel(r.Context()), began.Add(backchannelWait))
	defer cancel()
	err := f.logout(ctx, w, r, began.Add(backchannelWait))
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if err == nil {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	x := telemetry.FromContext(r.Context())
	x.Err = err // the access log has a line for every request with an error, and this is its one
	h.Set("Portero-Code", x.SupportCode())
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	status, word, detail := http.StatusServiceUnavailable, "temporarily_unavailable", "the logout cannot be done at the moment"
	var refused *logoutRefusal
	switch {
	case errors.As(err, &refused):
		status, word, detail = refused.status, "invalid_request", refused.detail
		h.Set("Proxy-Status", "portero; error=http_request_error")
	case errors.Is(err, logto.ErrTooManyLogouts):
		status, detail = http.StatusTooManyRequests, err.Error()
		h.Set("Retry-After", "1")
		h.Set("Proxy-Status", "portero; error=http_request_denied")
	default:
		h.Set("Retry-After", "5")
		h.Set("Proxy-Status", "portero; error=proxy_internal_error")
	}
	return answerJSON(w, r, status, map[string]string{"error": word, "error_description": detail})
}

// logout is steps 1 to 5.
func (f *Flow) logout(ctx context.Context, w http.ResponseWriter, r *http.Request, deadline time.Time) error {
	token, err := readLogoutToken(w, r, deadline)
	if err != nil {
		return err
	}
	l, err := f.Provider.VerifyLogout(ctx, token)
	if errors.Is(err, logto.ErrLogoutToken) {
		return &logoutRefusal{status: http.StatusBadRequest, detail: err.Error(), cause: err}
	}
	if err != nil {
		return err
	}
	err = f.belongTogether(ctx, l)
	first := false
	if err == nil {
		first, _, err = f.Sessions.Consume(ctx, logoutMark(l.ID))
	}
	if err != nil {
		if errors.Is(err, session.ErrUnavailable) {
			// Logto asks once. What is begun here is said to the store again until it has heard it; and because
			// nobody knows whether this is a copy, it concerns what is older than the token alone.
			f.Revoker.beside(func(ctx context.Context) { _, _ = f.Sessions.EndOlder(ctx, l.SID, l.Subject, l.IssuedAt) })
		}
		return err
	}
	if !first {
		return badLogout("the logout token was sent before")
	}
	ended := make(chan error, 1)
	f.Revoker.beside(func(ctx context.Context) { f.endLogout(ctx, r, l, ended) })
	select {
	case err := <-ended:
		if err == nil { // of what is refused, the log tells nothing but why
			telemetry.FromContext(r.Context()).Subject = l.Subject
		}
		return err
	case <-ctx.Done(): // it goes on, and may yet succeed; nobody is told that it has
		return fmt.Errorf("ending sessions: %w", ctx.Err())
	}
}

// readLogoutToken reads the body: one logout_token, and whatever else there is, which means nothing (2.5).
func readLogoutToken(w http.ResponseWriter, r *http.Request, deadline time.Time) (string, error) {
	types := r.Header.Values("Content-Type")
	refusal := ""
	if len(types) != 1 {
		refusal = "there is not one content type"
	} else if kind, _, err := mime.ParseMediaType(types[0]); err != nil || kind != "application/x-www-form-urlencoded" {
		refusal = "the content type is not application/x-www-form-urlencoded"
	}
	if refusal != "" {
		if r.ContentLength != 0 && r.ProtoMajor == 1 { // else net/http waits for a body that nobody reads before it answers
			w.Header().Set("Connection", "close")
		}
		return "", badLogout(refusal)
	}
	connection := http.NewResponseController(w) // one that has no deadlines is a test's
	_ = connection.SetReadDeadline(deadline)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxLogoutForm))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return "", &logoutRefusal{status: http.StatusRequestEntityTooLarge, detail: "the body is larger than 64 KiB"}
	case err != nil:
		w.Header().Set("Connection", "close")
		return "", badLogout("the body broke off, or did not come in time")
	}
	_ = connection.SetReadDeadline(time.Time{})
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return "", badLogout("the body is no form")
	}
	if len(form["logout_token"]) != 1 {
		return "", badLogout("there is not one logout_token in the body")
	}
	return form.Get("logout_token"), nil
}

// belongTogether refuses a token that names a session and a person when that session is known as somebody else's.
// Where none is known under that sid, there may be one in a moment: that is no reason to refuse.
func (f *Flow) belongTogether(ctx context.Context, l logto.Logout) error {
	if l.SID == "" || l.Subject == "" {
		return nil
	}
	known, err := f.Sessions.WithSID(ctx, l.SID)
	if slices.ContainsFunc(known, func(s *session.Session) bool { return s.Subject != l.Subject }) {
		return badLogout("sid and sub do not belong together")
	}
	return err
}

// endLogout ends the sessions, says so, and clears up behind them. It is not tied to the request.
func (f *Flow) endLogout(ctx context.Context, r *http.Request, l logto.Logout, ended chan<- error) {
	ending, err := f.endNamed(ctx, l)
	ended <- err
	if err != nil {
		return
	}
	cleared, err := f.Sessions.Clear(ctx, ending)
	if err != nil {
		f.Log.Warn("rows of sessions that Logto ended could not all be deleted; their marker ends them", "error", err)
	}
	event := audit.Event{Action: "session-ended", Outcome: "ended", Reason: reasonBackchannel, Subject: l.Subject}
	if len(cleared) == 0 {
		f.record(r, event)
	}
	for _, s := range cleared {
		event.Subject, event.Email, event.SessionID = s.Subject, s.Identity.Email, s.ID
		f.record(r, event)
		f.Revoker.later(f.Provider, f.Sessions, s.RefreshToken, s.SID, s.Key)
	}
}

// endNamed ends one session at Logto by its sid, on all hosts; where none is named, all of the person (2.7). The next
// sign-in needs a code.
func (f *Flow) endNamed(ctx context.Context, l logto.Logout) (session.Ending, error) {
	if l.SID != "" {
		return f.Sessions.EndSID(ctx, l.SID, true)
	}
	return f.Sessions.EndSubject(ctx, l.Subject, true)
}

// logoutMark names a logout token in the store. No state of a sign-in has such a mark.
func logoutMark(id string) string { return "logout-token\x00" + id }
