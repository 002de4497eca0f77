package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"portero/internal/authflow"
	"portero/internal/forwarded"
	"portero/internal/page"
	"portero/internal/session"
)

// Bounds of one call to the admin API. What is left over is reached by the cursor of the answer.
const (
	apiSessionsDefault = 100
	apiSessionsMost    = 500
	apiSessionsPages   = 40               // of the store
	apiSessionsTime    = 10 * time.Second // after which no further page is read
	apiSessionsForm    = 64 << 10
)

// apiSession is a session as operators see it: no token, and nothing by which somebody could become its owner.
type apiSession struct {
	ID         string    `json:"id"`
	Subject    string    `json:"subject"`
	Email      string    `json:"email"`
	Host       string    `json:"host"`
	UserAgent  string    `json:"user_agent"`
	Device     string    `json:"device"`
	SID        string    `json:"sid"`
	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at"`
	IdleEndsAt time.Time `json:"idle_ends_at"`
	EndsAt     time.Time `json:"ends_at"`
}

// sessionsWanted is what a call asks for. Its parts must all hold. Zero: all sessions.
type sessionsWanted struct{ Subject, Email, SID, Host, ID string }

// search is the part that a store is asked for.
func (q sessionsWanted) search() session.Selection {
	return session.Selection{ID: q.ID, Subject: q.Subject, SID: q.SID}
}

// matches is the part that a store knows nothing of.
func (q sessionsWanted) matches(s *session.Session) bool {
	return (q.Email == "" || strings.EqualFold(q.Email, s.Identity.Email)) && (q.Host == "" || strings.EqualFold(q.Host, s.Host))
}

// apiSessions handles GET /api/sessions[?subject=&email=&sid=&host=&id=][&limit=][&cursor=]: live sessions, newest use
// first within a page. While `next` is not empty there may be more, even behind a page without any.
func (g *Gateway) apiSessions(w http.ResponseWriter, r *http.Request) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		refuseAPI(w, http.StatusBadRequest, "bad_request", "the query cannot be read")
		return
	}
	values, err := single(q, "subject", "email", "sid", "host", "id", "limit", "cursor")
	if err != nil {
		refuseAPI(w, http.StatusBadRequest, "bad_request", err.Error())
		return
	}
	limit := apiSessionsDefault
	if text, told := values["limit"]; told {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > apiSessionsMost {
			refuseAPI(w, http.StatusBadRequest, "bad_request", fmt.Sprintf("limit is a number from 1 to %d", apiSessionsMost))
			return
		}
	}
	gen := g.current.Load()
	want := sessionsWanted{Subject: values["subject"], Email: values["email"], SID: values["sid"], Host: values["host"], ID: values["id"]}
	found, next, err := gen.findSessions(r.Context(), want, values["cursor"], limit)
	if err != nil {
		gen.failAPI(w, err)
		return
	}
	slices.SortStableFunc(found, func(a, b *session.Session) int { return b.LastUsed.Compare(a.LastUsed) })
	list := make([]apiSession, 0, len(found))
	for _, s := range found {
		list = append(list, apiSession{
			ID: s.ID, Subject: s.Subject, Email: s.Identity.Email, Host: s.Host, UserAgent: s.UserAgent, Device: page.Device(s.UserAgent, "en"),
			SID: s.SID, CreatedAt: s.CreatedAt.UTC(), LastUsedAt: s.LastUsed.UTC(), IdleEndsAt: gen.sessions.IdleEnds(s).UTC(), EndsAt: s.ExpiresAt.UTC(),
		})
	}
	writeJSON(w, http.StatusOK, map[string]any{"sessions": list, "next": next})
}

// findSessions reads pages of the store until limit sessions are found, nothing is left, or the call has done enough.
func (gen *generation) findSessions(ctx context.Context, want sessionsWanted, cursor string, limit int) (found []*session.Session, next string, err error) {
	until := time.Now().Add(apiSessionsTime)
	for pages := 0; pages < apiSessionsPages && len(found) < limit && time.Now().Before(until); pages++ {
		size := limit - len(found)
		if want.Email != "" || want.Host != "" {
			size = apiSessionsMost // most of them are somebody else's
		}
		list, more, err := gen.sessions.Search(ctx, want.search(), cursor, size)
		if err != nil {
			return nil, "", err
		}
		unwanted := func(s *session.Session) bool { return !want.matches(s) }
		list = slices.DeleteFunc(list, unwanted)
		if rest := limit - len(found); len(list) > rest && size > rest && want.ID == "" { // the same again, in a page that cannot hold too many
			if list, more, err = gen.sessions.Search(ctx, want.search(), cursor, rest); err != nil {
				return nil, "", err
			}
			list = slices.DeleteFunc(list, unwanted)
		}
		found = append(found, list...)
		if cursor = more; cursor == "" {
			return found, "", nil
		}
	}
	return found, cursor, nil
}

// sessionsToEnd is the body of POST /api/sessions/revoke. Exactly one of the first five says which.
type sessionsToEnd struct {
	ID      string `json:"id"`
	Subject string `json:"subject"`
	Email   string `json:"email"`
	SID     string `json:"sid"`
	All     bool   `json:"all"`
	Cursor  string `json:"cursor"` // `next` of the answer before
}

// apiRevoke handles POST /api/sessions/revoke, JSON or a form: it ends one session by its id, those of a person, of an
// address, of one browser at Logto, or all. The next sign-in of each person needs a code. While `next` is not empty
// there is more to look at: the same call with it as `cursor` goes on.
func (g *Gateway) apiRevoke(w http.ResponseWriter, r *http.Request) {
	want, err := readRevocation(w, r)
	if err != nil {
		status := http.StatusBadRequest
		var large *http.MaxBytesError
		switch {
		case errors.As(err, &large):
			status = http.StatusRequestEntityTooLarge
		case errors.Is(err, errContentType):
			status = http.StatusUnsupportedMediaType
		}
		refuseAPI(w, status, "bad_request", err.Error())
		return
	}
	gen := g.current.Load()
	r = asOperator(r)
	ctx := context.WithoutCancel(r.Context()) // what has begun is finished, though nobody waits
	var revoked int
	var next string
	switch {
	case want.ID != "":
		revoked, next, err = gen.revokeID(ctx, r, want)
	case want.Subject != "":
		revoked, err = gen.revokeSubject(ctx, r, want.Subject)
	case want.SID != "":
		revoked, err = gen.revokeSID(ctx, r, want.SID)
	default:
		revoked, next, err = gen.revokePage(ctx, r, want)
	}
	if err != nil {
		gen.failAPI(w, err)
		return
	}
	body := map[string]any{"revoked": revoked}
	if next != "" {
		body["next"] = next
	}
	writeJSON(w, http.StatusOK, body)
}

// errAmbiguous is returned by revokeID when an id names several sessions.
var errAmbiguous = errors.New("several sessions have this id; end them by subject, email or sid")

func (gen *generation) revokeID(ctx context.Context, r *http.Request, want sessionsToEnd) (revoked int, next string, err error) {
	found, next, err := gen.findSessions(ctx, sessionsWanted{ID: want.ID}, want.Cursor, 2)
	switch {
	case err != nil:
		return 0, "", err
	case len(found) > 1:
		return 0, "", errAmbiguous
	case len(found) == 1:
		next = "" // an id is 72 bits of a hash: there is no other one
	}
	revoked, _, err = gen.flow.EndFromElsewhere(r, authflow.ReasonOperator, found)
	return revoked, next, err
}

// revokeSubject ends all sessions of a person by one marker, whatever listing knows of.
func (gen *generation) revokeSubject(ctx context.Context, r *http.Request, subject string) (int, error) {
	ending, err := gen.sessions.EndSubject(ctx, subject, true)
	if err != nil {
		return 0, err
	}
	return gen.cleared(ctx, r, ending, nil)
}

// revokeSID ends all sessions of one browser session at Logto by one marker. The `fresh` marker of that is by sid;
// ending one of them once more sets that of the person.
func (gen *generation) revokeSID(ctx context.Context, r *http.Request, sid string) (int, error) {
	ending, err := gen.sessions.EndSID(ctx, sid, true)
	if err != nil {
		return 0, err
	}
	return gen.cleared(ctx, r, ending, gen.sessions.Revoke)
}

// cleared deletes the rows of what has ended, and does for one of each person what else is to be done.
func (gen *generation) cleared(ctx context.Context, r *http.Request, ending session.Ending, once func(context.Context, *session.Session) error) (int, error) {
	sessions, err := gen.sessions.Clear(ctx, ending)
	if err != nil {
		gen.log.Warn("rows of ended sessions could not all be deleted; their marker ends them", "error", err)
	}
	gen.flow.Settle(r, authflow.ReasonOperator, sessions)
	done := map[string]bool{}
	for _, s := range sessions {
		if once == nil || done[s.Subject] {
			continue
		}
		done[s.Subject] = true
		if err := once(ctx, s); err != nil {
			return 0, err
		}
	}
	return len(sessions), nil
}

// revokePage ends what one call finds of an address, or of all. Of all, each person's sessions end by one marker.
func (gen *generation) revokePage(ctx context.Context, r *http.Request, want sessionsToEnd) (revoked int, next string, err error) {
	found, next, err := gen.findSessions(ctx, sessionsWanted{Email: want.Email}, want.Cursor, apiSessionsMost)
	if err != nil {
		return 0, "", err
	}
	if !want.All {
		revoked, _, err = gen.flow.EndFromElsewhere(r, authflow.ReasonOperator, found)
		return revoked, next, err
	}
	done := map[string]bool{}
	for _, s := range found {
		if done[s.Subject] {
			continue
		}
		done[s.Subject] = true
		n, err := gen.revokeSubject(ctx, r, s.Subject)
		if err != nil {
			return revoked, "", err
		}
		revoked += n
	}
	return revoked, next, nil
}

var errContentType = errors.New("send application/json or application/x-www-form-urlencoded")

// readRevocation reads which sessions are to end. What is not understood ends nothing.
func readRevocation(w http.ResponseWriter, r *http.Request) (want sessionsToEnd, err error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" && kind != "application/x-www-form-urlencoded" {
		return want, errContentType
	}
	if r.URL.RawQuery != "" {
		return want, errors.New("the query says nothing here; send the fields in the body")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, apiSessionsForm))
	if err != nil {
		return want, fmt.Errorf("reading the body: %w", err)
	}
	if kind == "application/json" {
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&want); err != nil {
			return sessionsToEnd{}, errors.New("the body is no JSON object of id, subject, email, sid (texts), all (true) and cursor")
		}
		if _, err := dec.Token(); err != io.EOF {
			return sessionsToEnd{}, errors.New("something follows the JSON object")
		}
	} else {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return want, errors.New("the body is no form")
		}
		values, err := single(form, "id", "subject", "email", "sid", "all", "cursor")
		if err != nil {
			return want, err
		}
		if all, told := values["all"]; told && all != "true" {
			return want, errors.New("all is true, or not there")
		}
		want = sessionsToEnd{
			ID: values["id"], Subject: values["subject"], Email: values["email"], SID: values["sid"], All: values["all"] == "true", Cursor: values["cursor"],
		}
	}
	said := 0
	for _, one := range []bool{want.ID != "", want.Subject != "", want.Email != "", want.SID != "", want.All} {
		if one {
			said++
		}
	}
	if said != 1 {
		return sessionsToEnd{}, errors.New("say which sessions by exactly one of id, subject, email, sid and all")
	}
	return want, nil
}

// single reads parameters of which each is there once at most, and no other is. An empty one is an error: it would
// select everything.
func single(q url.Values, names ...string) (map[string]string, error) {
	values := map[string]string{}
	for name, list := range q {
		switch {
		case !slices.Contains(names, name):
			return nil, fmt.Errorf("unknown parameter; there are %s", strings.Join(names, ", "))
		case len(list) != 1:
			return nil, fmt.Errorf("%s is there twice", name)
		case list[0] == "" && name != "cursor":
			return nil, fmt.Errorf("%s is empty; leave it out", name)
		}
		values[name] = list[0]
	}
	return values, nil
}

// asOperator gives a request of the admin listener what the audit log says about a request.
func asOperator(r *http.Request) *http.Request {
	from := forwarded.Request{Host: r.Host}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		from.Peer = peer.Addr().Unmap()
		from.Client = from.Peer
	}
	return r.WithContext(forwarded.NewContext(r.Context(), from))
}

// failAPI answers with what a caller can do about an error; the log has it.
func (gen *generation) failAPI(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, errAmbiguous):
		refuseAPI(w, http.StatusConflict, "ambiguous", err.Error())
	default:
		gen.log.Warn("answering the admin API", "error", err)
		w.Header().Set("Retry-After", "5")
		refuseAPI(w, http.StatusServiceUnavailable, "unavailable", "the session store does not answer; try again")
	}
}

func refuseAPI(w http.ResponseWriter, status int, word, message string) {
	writeJSON(w, status, map[string]string{"error": word, "message": message})
}
