package provider

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"

	"portero/internal/demo/tenant"
)

// listedUser is a person as the Management API tells one. Times are milliseconds.
type listedUser struct {
	ID            string         `json:"id"`
	Username      any            `json:"username"`
	Email         string         `json:"primaryEmail"`
	Phone         any            `json:"primaryPhone"`
	Name          any            `json:"name"`
	Avatar        any            `json:"avatar"`
	CustomData    map[string]any `json:"customData"`
	Identities    map[string]any `json:"identities"`
	LastSignIn    any            `json:"lastSignInAt"`
	CreatedAt     int64          `json:"createdAt"`
	UpdatedAt     int64          `json:"updatedAt"`
	Profile       map[string]any `json:"profile"`
	ApplicationID any            `json:"applicationId"`
	CIMDClient    *any           `json:"cimdClientId,omitempty"` // from 1.42 on, null
	Suspended     bool           `json:"isSuspended"`
	HasPassword   bool           `json:"hasPassword"`
}

func (p *Provider) listed(who person) listedUser {
	u := listedUser{
		ID: who.subject, Username: orNull(who.profile.Username), Email: who.address, Name: orNull(who.profile.Name),
		Avatar: orNull(who.profile.Picture), CustomData: who.profile.CustomData, Identities: map[string]any{},
		CreatedAt: who.created.UnixMilli(), UpdatedAt: who.updated.UnixMilli(), Profile: map[string]any{},
		ApplicationID: orNull(who.client), Suspended: who.suspended,
	}
	if u.CustomData == nil {
		u.CustomData = map[string]any{}
	}
	if !who.signedIn.IsZero() {
		u.LastSignIn = who.signedIn.UnixMilli()
	}
	if !p.tenant.Line141() {
		u.CIMDClient = new(any)
	}
	return u
}

var (
	errNoUser = &tenant.Error{Status: http.StatusNotFound, Code: "entity.not_found", Message: "The resource does not exist."}
	errBody   = &tenant.Error{Status: http.StatusBadRequest, Code: "guard.invalid_input", Message: "The request body is invalid."}
)

// routePeople lists what the Management API says of people and of signing keys. Of a person there is an address always, and nothing but an
// address, a name and roles can be given.
func (p *Provider) routePeople(handle func(pattern string, h http.HandlerFunc)) {
	handle("GET /api/users", p.serveUsers)
	handle("POST /api/users", p.serveCreateUser)
	handle("GET /api/users/{user}", func(w http.ResponseWriter, r *http.Request) { p.writeUser(w, r.PathValue("user")) })
	handle("DELETE /api/users/{user}", func(w http.ResponseWriter, r *http.Request) {
		if !p.store.remove(r.PathValue("user")) {
			tenant.WriteError(w, errNoUser)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	handle("PATCH /api/users/{user}/is-suspended", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Suspended *bool `json:"isSuspended"`
		}
		if !readJSON(w, r, &body) || body.Suspended == nil {
			tenant.WriteError(w, errBody)
			return
		}
		if who, ok := p.store.person(r.PathValue("user")); ok {
			p.store.suspend(who.address, *body.Suspended)
		}
		p.writeUser(w, r.PathValue("user"))
	})
	handle("POST /api/users/{user}/roles", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Roles []string `json:"roleIds"`
		}
		if !readJSON(w, r, &body) {
			tenant.WriteError(w, errBody)
			return
		}
		names, err := p.tenant.RoleNames(body.Roles)
		if err != nil {
			tenant.WriteError(w, err)
			return
		}
		if !p.store.addRoles(r.PathValue("user"), names) {
			tenant.WriteError(w, errNoUser)
			return
		}
		writeJSON(w, http.StatusCreated, "application/json; charset=utf-8", map[string]any{"roleIds": body.Roles, "addedRoleIds": body.Roles})
	})
	handle("GET /api/configs/oidc/private-keys", func(w http.ResponseWriter, _ *http.Request) { p.writeKeys(w) })
	handle("POST /api/configs/oidc/private-keys/rotate", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Algorithm string `json:"signingKeyAlgorithm"`
		}
		algorithm, known := "", false
		if readJSON(w, r, &body) {
			algorithm, known = map[string]string{"EC": "ES384", "RSA": "RS256", "": "ES384"}[body.Algorithm]
		}
		if !known {
			tenant.WriteError(w, errBody)
			return
		}
		if err := p.keys.rotate(algorithm); err != nil {
			tenant.WriteError(w, err)
			return
		}
		p.keys.keep(2)
		p.writeKeys(w)
	})
	handle("DELETE /api/configs/oidc/private-keys/{key}", func(w http.ResponseWriter, r *http.Request) {
		switch found, ok := p.keys.remove(r.PathValue("key")); {
		case !found:
			tenant.WriteError(w, &tenant.Error{Status: http.StatusNotFound, Code: "oidc.key_not_found", Message: "Key with ID " + r.PathValue("key") + " is not found."})
		case !ok:
			tenant.WriteError(w, &tenant.Error{Status: http.StatusUnprocessableEntity, Code: "oidc.key_required", Message: "At least one key is required."})
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
}

func readJSON(w http.ResponseWriter, r *http.Request, into any) bool {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	return err == nil && json.Unmarshal(raw, into) == nil
}

func (p *Provider) writeUser(w http.ResponseWriter, subject string) {
	who, ok := p.store.person(subject)
	if !ok {
		tenant.WriteError(w, errNoUser)
		return
	}
	writeJSON(w, http.StatusOK, "application/json; charset=utf-8", p.listed(who))
}

// serveUsers: GET /api/users finds people by `search.primaryEmail` with `mode.primaryEmail=exact`, or by `search`, in which % stands for
// anything; the newest first.
func (p *Provider) serveUsers(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	found := []listedUser{}
	for _, who := range p.store.everybody() {
		if matchesSearch(query.Get("search.primaryEmail"), query.Get("mode.primaryEmail"), who.address) &&
			(matchesSearch(query.Get("search"), query.Get("mode"), who.address) || matchesSearch(query.Get("search"), query.Get("mode"), who.subject)) {
			found = append(found, p.listed(who))
		}
	}
	some, err := tenant.Page(w, r, found, false)
	if err != nil {
		tenant.WriteError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, "application/json; charset=utf-8", some)
}

func matchesSearch(pattern, mode, value string) bool {
	pattern, value = strings.ToLower(pattern), strings.ToLower(value)
	if pattern == "" || mode == "exact" {
		return pattern == "" || pattern == value
	}
	like := strings.NewReplacer("%", "*", "_", "?", "*", `\*`, "?", `\?`, "[", `\[`, `\`, `\\`).Replace(pattern)
	ok, err := path.Match(like, value)
	return err == nil && ok
}

func (p *Provider) serveCreateUser(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Email string `json:"primaryEmail"`
		Name  string `json:"name"`
	}
	if !readJSON(w, r, &body) || !readable(body.Email) {
		tenant.WriteError(w, errBody)
		return
	}
	if p.store.knows(body.Email) {
		tenant.WriteError(w, &tenant.Error{Status: http.StatusUnprocessableEntity, Code: "user.email_already_in_use",
			Message: "This email is associated with an existing account."})
		return
	}
	p.writeUser(w, p.store.setProfile(body.Email, Profile{Name: body.Name}))
}

func (p *Provider) writeKeys(w http.ResponseWriter) {
	list := []map[string]any{}
	for i, key := range p.keys.list() {
		algorithm, status := "EC", "Previous"
		if key.algorithm == "RS256" {
			algorithm = "RSA"
		}
		if i == 0 {
			status = "Current"
		}
		list = append(list, map[string]any{"id": key.name, "createdAt": key.created.Unix(), "signingKeyAlgorithm": algorithm, "status": status})
	}
	writeJSON(w, http.StatusOK, "application/json; charset=utf-8", list)
}

// everybody is everybody who is registered, the newest first.
func (s *store) everybody() []person {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []person
	for _, p := range s.subjects {
		all = append(all, *p)
	}
	slices.SortFunc(all, func(a, b person) int { return cmp.Or(b.created.Compare(a.created), cmp.Compare(a.subject, b.subject)) })
	return all
}

// remove deletes a person, with sessions and grants. False: there is none.
func (s *store) remove(subject string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.subjects[subject]
	if ok {
		s.endAll(p)
		delete(s.subjects, subject)
		delete(s.people, strings.ToLower(p.address))
	}
	return ok
}

func (s *store) addRoles(subject string, names []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.subjects[subject]
	if ok {
		p.profile.Roles = append(slices.Clone(p.roles()), names...)
		slices.Sort(p.profile.Roles)
		p.profile.Roles = slices.Compact(p.profile.Roles)
	}
	return ok
}
