package authflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"portero/internal/audit"
	"portero/internal/management"
	"portero/internal/page"
	"portero/internal/session"
)

const (
	nameEndSessions = "/sessions/end"
	purposeNotice   = "notice"
	// noticeLife is how long after an action its notice is shown, however often the page is loaded.
	noticeLife = time.Minute
	// revokeAtOnce is how many sessions are ended at the same time.
	revokeAtOnce = 16
	// providerWait bounds ending one person's sessions at Logto.
	providerWait = 10 * time.Second
)

// The audit log's words for who ended a session from elsewhere.
const (
	reasonOwnPage  = "own-page"
	ReasonOperator = "operator"
)

var errForeignForm = errors.New("a form that ends sessions came from another site, or did not say where it came from")

// EndSessionsPath is where the forms of the own page post to that end sessions.
func (e Endpoints) EndSessionsPath() string { return e.Prefix + nameEndSessions }

// EndSessions handles POST /_portero/sessions/end: `id=…` ends one session of the person who asks, `others=1` all but
// the one that asks. Anything else, another person's id included, ends nothing and goes back without a word.
//
//  1. Only a form of our own page counts: a foreign one is refused before a session is looked up.
//  2. The session that asks is signed out like everywhere else, which is what its owner means.
//  3. The others end, each by a marker; a `fresh` marker asks this person for a code at the next sign-in, whatever
//     Logto's own session says.
//  4. Refresh tokens are taken back, and Logto's own sessions ended where that is possible, beside.
//  5. The browser goes back to the own page, which says how many have ended.
func (f *Flow) EndSessions(w http.ResponseWriter, r *http.Request) error {
	own, _ := ParseReturnPath(f.Endpoints.OwnPath())
	form, err := readForm(w, r)
	if err != nil {
		p := f.problem(r, page.BadRequest, ReturnPath{}, err)
		p.Page.Status, p.Page.Primary = http.StatusRequestEntityTooLarge, nil
		return p
	}
	if !sameOrigin(r, f.origin(r)) {
		p := f.problem(r, page.BadRequest, ReturnPath{}, errForeignForm)
		p.Page.Status, p.Page.Primary, p.ProxyStatus = http.StatusForbidden, nil, "http_request_denied"
		return p
	}
	found, err := f.Sessions.Find(r.Context(), r, hostOf(r)) // one that ended a moment ago ends nobody
	if err != nil {
		return f.unavailable(r, own, err)
	}
	s := found.Session
	if s == nil { // ended meanwhile: the own page says so
		redirect(w, own.String(), http.StatusSeeOther)
		return nil
	}
	id := form.Get("id")
	if id == s.ID && !form.Has("others") {
		return f.SignOut(w, r)
	}
	all, err := f.Sessions.SessionsOf(r.Context(), s.Subject)
	if err != nil {
		return f.unavailable(r, own, err)
	}
	var chosen []*session.Session
	for _, one := range all {
		if one.Key != s.Key && (form.Get("others") == "1" && id == "" || id != "" && one.ID == id && !form.Has("others")) {
			chosen = append(chosen, one)
		}
	}
	ended, settled, err := f.EndFromElsewhere(r, reasonOwnPage, chosen)
	if err != nil {
		return f.unavailable(r, own, err)
	}
	if ended == 0 {
		redirect(w, own.String(), http.StatusSeeOther)
		return nil
	}
	timer := time.NewTimer(revokeWait) // what takes longer goes on beside
	defer timer.Stop()
	select {
	case <-settled:
	case <-timer.C:
	}
	notice := f.sealNotice(hostOf(r), s, ended)
	redirect(w, own.String()+"?"+url.Values{"notice": {notice}}.Encode(), http.StatusSeeOther)
	return nil
}

// EndFromElsewhere ends sessions that are not the one that asks: their owner wants it from another browser, or an
// operator. It returns when they have ended, how many that were, and a channel that is closed once Logto's own have
// been asked to end (Settle). After an error some may have ended; all will have once the store can be asked.
func (f *Flow) EndFromElsewhere(r *http.Request, reason string, chosen []*session.Session) (int, <-chan struct{}, error) {
	ctx := context.WithoutCancel(r.Context())
	var ended atomic.Int64
	work := errgroup.Group{}
	work.SetLimit(revokeAtOnce)
	for _, one := range chosen {
		work.Go(func() error {
			err := f.Sessions.Revoke(ctx, one)
			if err == nil {
				ended.Add(1)
			}
			return err
		})
	}
	err := work.Wait()
	return int(ended.Load()), f.Settle(r, reason, chosen), err
}

// Settle does what follows when sessions have ended by somebody's decision: the audit log hears of each, their refresh
// tokens are taken back from the queue, and Logto's own sessions end, where credentials are there. The channel is
// closed when Logto has been asked.
func (f *Flow) Settle(r *http.Request, reason string, ended []*session.Session) <-chan struct{} {
	settled := make(chan struct{})
	for _, s := range ended {
		f.record(r, audit.Event{
			Action: "session-ended", Outcome: "ended", Reason: reason, Subject: s.Subject, Email: s.Identity.Email, SessionID: s.ID,
		})
		f.Revoker.later(f.Provider, f.Sessions, s.RefreshToken, s.SID, s.Key)
	}
	if f.Management == nil || len(ended) == 0 {
		close(settled)
		return settled
	}
	f.Revoker.beside(func(ctx context.Context) {
		defer close(settled)
		f.endAtLogto(ctx, ended)
	})
	return settled
}

// endAtLogto ends Logto's own sessions in the browsers whose sessions have ended here. One that another session here
// still lives by stays: with it, that session's refresh token would die. It does not matter to anybody's safety
// whether this succeeds: the `fresh` marker asks for a code in any case.
func (f *Flow) endAtLogto(ctx context.Context, ended []*session.Session) {
	sids := map[string][]string{} // :: subject → its sids that nobody here lives by
	seen := map[string]bool{}
	for _, s := range ended {
		if s.SID == "" || seen[s.SID] {
			continue
		}
		seen[s.SID] = true
		switch shared, err := f.Sessions.LiveWithSID(ctx, s.SID, ""); {
		case err != nil:
			f.Log.Warn("ending Logto's own session: it is not known whether another session lives by it", "session", s.ID, "error", err)
		case !shared:
			sids[s.Subject] = append(sids[s.Subject], s.SID)
		}
	}
	for subject, list := range sids {
		wait, cancel := context.WithTimeout(ctx, providerWait)
		_, err := f.Management.EndBySIDs(wait, subject, f.ClientID, list...)
		cancel()
		if err != nil {
			f.Log.Warn("ending Logto's own session", "subject", subject, "error", err)
		}
		if errors.Is(err, management.ErrUnavailable) { // the next one would wait as long
			return
		}
	}
}

// notice travels in the address of the own page, sealed for the session that it is for.
type notice struct {
	Ended int
	At    int64 // seconds
}

func (f *Flow) sealNotice(host string, s *session.Session, ended int) string {
	plain, err := json.Marshal(notice{Ended: ended, At: f.now().Unix()})
	if err != nil {
		return ""
	}
	return f.Keys.SealText(purposeNotice, plain, append(f.bind(host), s.Key...))
}

// noticeOf is how many sessions the last action has ended, if the page is loaded because of it. 0: none.
func (f *Flow) noticeOf(r *http.Request, s *session.Session) int {
	text := r.URL.Query().Get("notice")
	if text == "" {
		return 0
	}
	host := hostOf(r)
	var n notice
	plain, _, err := f.Keys.OpenText(purposeNotice, text, append(f.bind(host), s.Key...))
	if err != nil || json.Unmarshal(plain, &n) != nil {
		return 0
	}
	if age := f.now().Sub(time.Unix(n.At, 0)); age < -noticeLife || age > noticeLife {
		return 0
	}
	return n.Ended
}

// listSessions is every live session of a person as the own page shows it, with the one that asks.
func (f *Flow) listSessions(r *http.Request, this *session.Session) ([]page.AccountSession, error) {
	all, err := f.Sessions.SessionsOf(r.Context(), this.Subject)
	if err != nil {
		return nil, fmt.Errorf("listing a person's sessions: %w", err)
	}
	lang := f.Pages.Language(r)
	row := func(s *session.Session) page.AccountSession {
		return page.AccountSession{
			ID: s.ID, Device: f.Pages.Device(s.UserAgent, lang), SignedIn: s.CreatedAt, LastUsed: s.LastUsed, This: s.Key == this.Key,
		}
	}
	list := []page.AccountSession{row(this)}
	for _, s := range all {
		if s.Key != this.Key {
			list = append(list, row(s))
		}
	}
	return list, nil
}
