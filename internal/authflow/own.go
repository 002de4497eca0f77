package authflow

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"portero/internal/page"
	"portero/internal/session"
	"portero/internal/telemetry"
)

// Own handles GET /_portero/, the person's own page: where they are signed in, and what applications learn.
func (f *Flow) Own(w http.ResponseWriter, r *http.Request) error {
	here := f.Endpoints.OwnPath()
	found, err := f.lookup(r)
	if err != nil {
		ret, _ := ParseReturnPath(here)
		return f.unavailable(r, ret, err)
	}
	host := hostOf(r)
	p := page.Page{ID: page.AccountPage, App: f.title(host, ReturnPath{}), LanguageReturn: here}
	s := found.Session
	if s == nil {
		ret, _ := ParseReturnPath(here)
		p.Primary = &page.Action{URL: f.Endpoints.SignInURL(ret, false)}
		f.Pages.Render(w, r, p)
		return nil
	}
	sessions, err := f.listSessions(r, s)
	if err != nil {
		ret, _ := ParseReturnPath(here)
		return f.unavailable(r, ret, err)
	}
	p.Email, p.User = s.Identity.Email, s.Identity.Email
	p.Account = &page.Account{
		Email:      s.Identity.Email,
		Name:       s.Identity.Name,
		Sessions:   sessions,
		Learned:    learned(s),
		Notice:     f.noticeOf(r, s),
		SignOutURL: f.Endpoints.SignOutPath(),
		EndURL:     f.Endpoints.EndSessionsPath(),
	}
	f.Pages.Render(w, r, p)
	return nil
}

// learned is what applications are told about a person, as the own page shows it; never a token.
func learned(s *session.Session) []page.LearnedItem {
	id := s.Identity
	items := []page.LearnedItem{{Label: "subject", Value: id.Subject}}
	add := func(label, value string) {
		if value != "" {
			items = append(items, page.LearnedItem{Label: label, Value: value})
		}
	}
	add("email", id.Email)
	add("name", id.Name)
	add("username", id.Username)
	add("roles", strings.Join(id.Roles, ", "))
	add("organizations", strings.Join(id.Organizations, ", "))
	return items
}

// Session handles GET /_portero/session: who is signed in, always as JSON. Absent claims are null.
func (f *Flow) Session(w http.ResponseWriter, r *http.Request) error {
	s, err := f.sessionJSON(w, r)
	if s == nil {
		return err
	}
	text := func(v string) *string {
		if v == "" {
			return nil
		}
		return &v
	}
	verified := &s.Identity.EmailVerified
	if _, told := s.Identity.Claims.Lookup("email_verified"); !told {
		verified = nil
	}
	return answerJSON(w, r, http.StatusOK, struct {
		Subject       string    `json:"subject"`
		Email         *string   `json:"email"`
		EmailVerified *bool     `json:"email_verified"`
		Name          *string   `json:"name"`
		Username      *string   `json:"username"`
		Roles         []string  `json:"roles"`
		SignedInAt    time.Time `json:"signed_in_at"`
		IdleEndsAt    time.Time `json:"idle_ends_at"`
		EndsAt        time.Time `json:"ends_at"`
	}{
		s.Subject, text(s.Identity.Email), verified, text(s.Identity.Name), text(s.Identity.Username), s.Identity.Roles,
		s.CreatedAt.UTC(), f.Sessions.IdleEnds(s).UTC(), s.ExpiresAt.UTC(),
	})
}

// OAuth2Userinfo handles GET /oauth2/userinfo: who is signed in, as oauth2-proxy says it.
func (f *Flow) OAuth2Userinfo(w http.ResponseWriter, r *http.Request) error {
	s, err := f.sessionJSON(w, r)
	if s == nil {
		return err
	}
	return answerJSON(w, r, http.StatusOK, struct {
		User              string   `json:"user"`
		Email             string   `json:"email"`
		Groups            []string `json:"groups,omitempty"`
		PreferredUsername string   `json:"preferredUsername,omitempty"`
	}{s.Subject, s.Identity.Email, s.Identity.Roles, s.Identity.Username})
}

// sessionJSON is the session that an answer in JSON is about. nil: nobody is signed in, and that has been answered.
func (f *Flow) sessionJSON(w http.ResponseWriter, r *http.Request) (*session.Session, error) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin") // a page of a sibling host brings the cookie along
	found, err := f.lookup(r)
	if err != nil {
		x := telemetry.FromContext(r.Context())
		x.Err = err
		h.Set("Retry-After", "5")
		h.Set("Portero-Code", x.SupportCode())
		h.Set("Proxy-Status", "portero; error=proxy_internal_error")
		return nil, answerJSON(w, r, http.StatusServiceUnavailable, map[string]string{
			"error": "unavailable", "message": "The session cannot be checked at the moment.",
		})
	}
	if found.Session == nil {
		return nil, f.signedOutJSON(w, r)
	}
	return found.Session, nil
}

func (f *Flow) signedOutJSON(w http.ResponseWriter, r *http.Request) error {
	host := hostOf(r)
	w.Header().Set("Www-Authenticate", f.bearer(host).Get("Www-Authenticate"))
	return answerJSON(w, r, http.StatusUnauthorized, map[string]string{
		"error":       "sign_in_required",
		"message":     "Nobody is signed in.",
		"sign_in_url": f.originOf(host) + f.Endpoints.SignInURL(ReturnPath{}, false),
	})
}

func answerJSON(w http.ResponseWriter, r *http.Request, status int, v any) error {
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return nil
	}
	return json.NewEncoder(w).Encode(v)
}

// SignedIn handles GET /_portero/signed-in, where a sign-in lands that was started in a second tab.
func (f *Flow) SignedIn(w http.ResponseWriter, r *http.Request) error {
	found, err := f.lookup(r)
	if err != nil {
		return f.unavailable(r, ReturnPath{}, err)
	}
	if found.Session == nil {
		redirect(w, f.Endpoints.OwnPath(), http.StatusSeeOther)
		return nil
	}
	f.Pages.Render(w, r, page.Page{
		ID:             page.SignedIn,
		App:            f.title(hostOf(r), ReturnPath{}),
		User:           found.Session.Identity.Email,
		LanguageReturn: f.Endpoints.Prefix + nameSignedIn,
	})
	return nil
}

// Continue handles GET /_portero/continue, where Logto sends a browser whose sign-in page it no longer knows: on to the
// newest page this browser waits for, or to the own page, which offers a sign-in to those who are signed out.
func (f *Flow) Continue(w http.ResponseWriter, r *http.Request) error {
	host := hostOf(r)
	own, _ := ParseReturnPath(f.Endpoints.OwnPath())
	ret := own
	found, _ := f.attempts(r, host)
	for _, a := range found {
		if a.usable(f.now()) {
			ret = f.Endpoints.Return(a.returnPath())
			break
		}
	}
	lookup, err := f.lookup(r)
	if err != nil {
		return f.unavailable(r, ret, err)
	}
	if lookup.Session != nil {
		redirect(w, ret.String(), http.StatusSeeOther)
		return nil
	}
	f.Pages.Render(w, r, page.Page{
		ID:             page.AccountPage,
		App:            f.title(host, ret),
		Primary:        &page.Action{URL: f.Endpoints.SignInURL(ret, false)},
		LanguageReturn: r.URL.Path,
	})
	return nil
}

// Language handles GET /_portero/language?lang=es&return_to=…: it keeps the choice in a plain cookie and goes back.
// Unlike other return paths, this one may be a page of ours.
func (f *Flow) Language(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	f.Pages.SetLanguage(w, q.Get("lang"))
	ret, _ := ParseReturnPath(q.Get("return_to"))
	if path := ret.Path(); path == f.Endpoints.Callback || path == f.Endpoints.Prefix+nameCallback || path == f.Endpoints.LanguagePath() {
		ret = ReturnPath{}
	}
	redirect(w, ret.String(), http.StatusSeeOther)
	return nil
}
