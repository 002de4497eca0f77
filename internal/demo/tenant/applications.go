package tenant

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// application is a client, as Logto's table and answers have it.
type application struct {
	TenantID      string         `json:"tenantId"`
	ID            string         `json:"id"`
	Name          string         `json:"name"`
	Internal      string         `json:"secret,omitempty"` // no secret for anybody's use; told by 1.41 alone
	Description   *string        `json:"description"`
	Type          string         `json:"type"`
	OIDC          map[string]any `json:"oidcClientMetadata"`
	Custom        map[string]any `json:"customClientMetadata"`
	Protected     map[string]any `json:"protectedAppMetadata"`
	Data          map[string]any `json:"customData"`
	ThirdParty    bool           `json:"isThirdParty"`
	AccessControl bool           `json:"appLevelAccessControlEnabled"`
	CreatedAt     int64          `json:"createdAt"`         // milliseconds
	Admin         *bool          `json:"isAdmin,omitempty"` // told of a single one alone

	internal string
	secrets  []*secret
	access   accessControl
	roles    []string // ids
}

// secret is one of an application's client secrets.
type secret struct {
	TenantID      string `json:"tenantId"`
	ApplicationID string `json:"applicationId"`
	Name          string `json:"name"`
	Value         string `json:"value"`
	CreatedAt     int64  `json:"createdAt"` // milliseconds
	ExpiresAt     *int64 `json:"expiresAt"` // milliseconds; nil: never
}

// accessControl says who may sign in to an application where that is switched on.
type accessControl struct {
	Users         []string           `json:"userIds"`
	Roles         []string           `json:"userRoleIds"`
	Organizations []string           `json:"organizationIds"`
	Rules         []organizationRule `json:"organizationRoleRules"`
}

type organizationRule struct {
	Organization string   `json:"organizationId"`
	Roles        []string `json:"organizationRoleIds"`
}

func (a accessControl) empty() bool {
	return len(a.Users) == 0 && len(a.Roles) == 0 && len(a.Organizations) == 0 &&
		!slices.ContainsFunc(a.Rules, func(r organizationRule) bool { return len(r.Roles) > 0 })
}

var applicationTypes = []string{"Native", "SPA", "Traditional", "MachineToMachine", "Protected", "SAML"}

var (
	oidcMetadata = object(
		member{"redirectUris", list(text(refined(validRedirectURI)))},
		member{"postLogoutRedirectUris", list(text(refined(validRedirectURI)))},
		member{"backchannelLogoutUri", optional(text(isURL))},
		member{"backchannelLogoutSessionRequired", optional(boolean)},
		member{"logoUri", optional(text())},
	)
	customMetadata = object(partial(
		member{"corsAllowedOrigins", list(text(atLeast(1)))},
		member{"idTokenTtl", number()},
		member{"refreshTokenTtl", number()},
		member{"refreshTokenTtlInDays", number(whole, atLeastNumber(1), atMostNumber(180))},
		member{"tenantId", text()},
		member{"alwaysIssueRefreshToken", boolean},
		member{"rotateRefreshToken", boolean},
		member{"allowTokenExchange", boolean},
		member{"isDeviceFlow", boolean},
		member{"maxAllowedGrants", number(whole, positive)},
	)...)
	applicationMembers = []member{
		{"description", optional(nullable(text()))},
		{"oidcClientMetadata", optional(oidcMetadata)},
		{"customClientMetadata", optional(customMetadata)},
		{"protectedAppMetadata", optional(nullable(record(anything)))},
		{"customData", optional(record(anything))},
	}
	createApplication = object(append([]member{
		{"name", text(atLeast(1), atMost(256))},
		{"type", one(applicationTypes...)},
		{"isThirdParty", optional(boolean)},
	}, applicationMembers...)...)
	patchApplication = object(append([]member{
		{"name", optional(text(atLeast(1), atMost(256)))},
		{"appLevelAccessControlEnabled", optional(boolean)},
		{"isAdmin", optional(boolean)},
	}, applicationMembers...)...)
	createSecret = object(
		member{"name", text(atLeast(1), atMost(256))},
		member{"expiresAt", optional(nullable(number(whole, atMostNumber(1<<53))))},
	)
	strs             = list(text())
	putAccessControl = object(
		member{"userIds", strs}, member{"userRoleIds", strs}, member{"organizationIds", strs},
		member{"organizationRoleRules", list(object(member{"organizationId", text()}, member{"organizationRoleIds", strs}))},
	)
)

func (t *Tenant) routeApplications() {
	// GET /api/applications: all of them, or those of some types.
	t.handle("GET /api/applications", nil, func(c call) (answer, error) {
		types := c.URL.Query()["types"]
		for _, kind := range types {
			if !slices.Contains(applicationTypes, kind) {
				return answer{}, refusedInput("query", one(applicationTypes...)(kind, path{"types"}).issues)
			}
		}
		found := []application{}
		for _, a := range slices.Backward(t.applications) { // the newest first
			if len(types) == 0 || slices.Contains(types, a.Type) {
				found = append(found, t.shown(a))
			}
		}
		some, err := Page(c.w, c.Request, found, true)
		return answer{http.StatusOK, some}, err
	})
	t.handle("POST /api/applications", createApplication, func(c call) (answer, error) {
		a := &application{Data: map[string]any{}, Custom: map[string]any{}}
		fill(a, withoutEmpty(c.body))
		switch {
		case a.Type == "SAML":
			return answer{}, refused("application.saml.use_saml_app_api", "Use `[METHOD] /saml-applications(/.*)?` API to operate SAML app.")
		case a.Type != "Native" && a.Custom["isDeviceFlow"] == true:
			return answer{}, unprocessable("application.device_flow_native_only", "Device flow is only available for native applications.")
		case a.Type == "Protected":
			return answer{}, refused("application.protected_app_metadata_is_required", "Protected app metadata is required.")
		}
		t.add(a)
		return answer{http.StatusOK, t.shown(a)}, nil
	})
	t.handle("GET /api/applications/{id}", nil, func(c call) (answer, error) {
		a, err := t.application(c.PathValue("id"))
		if err != nil {
			return answer{}, err
		}
		one := t.shown(a)
		one.Admin = ptr(false)
		return answer{http.StatusOK, one}, nil
	})
	// PATCH /api/applications/{id}: metadata is replaced as a whole.
	t.handle("PATCH /api/applications/{id}", patchApplication, func(c call) (answer, error) {
		a, err := t.application(c.PathValue("id"))
		if err != nil {
			return answer{}, err
		}
		if c.body["appLevelAccessControlEnabled"] == true && a.access.empty() {
			return answer{}, unprocessable("request.invalid_input",
				"Input is invalid. Application access control must include at least one rule before it can be enabled.")
		}
		if custom, ok := c.body["customClientMetadata"].(map[string]any); ok && (custom["isDeviceFlow"] == true) != (a.Custom["isDeviceFlow"] == true) {
			return answer{}, unprocessable("application.device_flow_not_changeable", "Device flow cannot be changed after application creation.")
		}
		for name, into := range map[string]*map[string]any{
			"oidcClientMetadata": &a.OIDC, "customClientMetadata": &a.Custom, "protectedAppMetadata": &a.Protected, "customData": &a.Data,
		} {
			if _, given := c.body[name]; given {
				*into = nil // so that fill does not merge
			}
		}
		delete(c.body, "isAdmin")
		fill(a, withoutEmpty(c.body))
		return answer{http.StatusOK, t.shown(a)}, nil
	})
	t.handle("DELETE /api/applications/{id}", nil, func(c call) (answer, error) {
		a, err := t.application(c.PathValue("id"))
		if err != nil {
			return answer{}, err
		}
		t.applications = slices.DeleteFunc(t.applications, func(one *application) bool { return one == a })
		return answer{status: http.StatusNoContent}, nil
	})

	t.handle("GET /api/applications/{id}/secrets", nil, func(c call) (answer, error) {
		a, err := t.application(c.PathValue("id"))
		if err != nil {
			return answer{}, err
		}
		return answer{http.StatusOK, append([]*secret{}, a.secrets...)}, nil
	})
	t.handle("POST /api/applications/{id}/secrets", createSecret, func(c call) (answer, error) {
		s := &secret{TenantID: "default", ApplicationID: c.PathValue("id"), Value: newSecret(), CreatedAt: t.milliseconds()}
		fill(s, c.body)
		if s.ExpiresAt != nil && *s.ExpiresAt <= t.milliseconds() {
			return answer{}, refused("request.invalid_input", "Input is invalid. The value of `expiresAt` must be in the future.")
		}
		a, err := t.application(s.ApplicationID)
		switch {
		case err != nil:
			return answer{}, err
		case !a.hasSecrets():
			return answer{}, unprocessable("entity.db_constraint_violated", "Database constraint violated.")
		case slices.ContainsFunc(a.secrets, func(one *secret) bool { return one.Name == s.Name }):
			return answer{}, unprocessable("application.secret_name_exists", "Secret name already exists.")
		}
		a.secrets = append(a.secrets, s)
		return answer{http.StatusCreated, s}, nil
	})
	t.handle("DELETE /api/applications/{id}/secrets/{name}", nil, func(c call) (answer, error) {
		a, err := t.application(c.PathValue("id"))
		if err != nil {
			return answer{}, err
		}
		before := len(a.secrets)
		a.secrets = slices.DeleteFunc(a.secrets, func(one *secret) bool { return one.Name == c.PathValue("name") })
		if len(a.secrets) == before {
			return answer{}, errNotFound
		}
		return answer{status: http.StatusNoContent}, nil
	})

	t.handle("GET /api/applications/{id}/access-control", nil, func(c call) (answer, error) {
		a, err := t.application(c.PathValue("id"))
		if err != nil {
			return answer{}, err
		}
		return answer{http.StatusOK, a.access}, nil
	})
	t.handle("PUT /api/applications/{id}/access-control", putAccessControl, func(c call) (answer, error) {
		var next accessControl
		fill(&next, c.body)
		if slices.ContainsFunc(next.Rules, func(r organizationRule) bool { return len(r.Roles) == 0 }) {
			return answer{}, unprocessable("request.invalid_input",
				"Input is invalid. Organization-role rule groups must include at least one organization role.")
		}
		a, err := t.application(c.PathValue("id"))
		if err != nil {
			return answer{}, err
		}
		if a.AccessControl && next.empty() {
			return answer{}, unprocessable("request.invalid_input",
				"Input is invalid. Application access control must include at least one rule before it can be enabled.")
		}
		a.access = next
		return answer{http.StatusOK, next}, nil
	})
}

// application finds one. The caller holds the mutex.
func (t *Tenant) application(id string) (*application, error) {
	for _, a := range t.applications {
		if a.ID == id {
			return a, nil
		}
	}
	return nil, notExists("applications", id)
}

// add gives an application what Logto gives every new one. The caller holds the mutex.
func (t *Tenant) add(a *application) {
	a.TenantID, a.CreatedAt, a.internal = "default", t.milliseconds(), "#internal:"+newSecret()
	if a.ID == "" {
		a.ID = newID(21)
	}
	if a.OIDC == nil {
		a.OIDC = map[string]any{"redirectUris": []any{}, "postLogoutRedirectUris": []any{}}
	}
	a.access = accessControl{Users: []string{}, Roles: []string{}, Organizations: []string{}, Rules: []organizationRule{}}
	if a.hasSecrets() && len(a.secrets) == 0 {
		a.secrets = []*secret{{TenantID: "default", ApplicationID: a.ID, Name: "Default secret", Value: newSecret(), CreatedAt: t.milliseconds()}}
	}
	t.applications = append(t.applications, a)
}

func (a *application) hasSecrets() bool {
	return a.Type == "MachineToMachine" || a.Type == "Traditional" || a.Type == "Protected"
}

// shown is an application as this line of Logto tells it.
func (t *Tenant) shown(a *application) application {
	one := *a
	if t.config.Line141 {
		one.Internal = a.internal
	}
	return one
}

var mobileScheme = regexp.MustCompile(`^[a-z][\d+_a-z-]*(\.[\d+_a-z-]+)*:$`)

// validRedirectURI is loose: any URI whatever its scheme, and patterns with * for the web.
func validRedirectURI(s string) bool {
	found := strings.ToLower(scheme.FindString(s))
	return webRedirectURI(s) || (found != "http:" && found != "https:" && mobileScheme.MatchString(found) && parsable(s))
}

func webRedirectURI(s string) bool {
	before, rest, hierarchical := strings.Cut(s, "://")
	if hierarchical && before != "" {
		where, _, _ := strings.Cut(rest, "#")
		where, _, _ = strings.Cut(where, "?")
		_, p, _ := strings.Cut(where, "/")
		for segment := range strings.SplitSeq(p, "/") {
			switch strings.ToLower(segment) {
			case ".", "..", "%2e", "%2e%2e":
				return false
			}
		}
	}
	found := strings.ToLower(scheme.FindString(s))
	if found != "http:" && found != "https:" {
		return false
	}
	if !strings.Contains(s, "*") {
		return parsable(s)
	}
	if !hierarchical || strings.Contains(before, "*") {
		return false
	}
	if i := strings.IndexAny(s, "?#"); i >= 0 && strings.Contains(s[i:], "*") {
		return false
	}
	host := rest
	if i := strings.IndexAny(rest, "#/?"); i >= 0 {
		host = rest[:i]
	}
	name, port, _ := strings.Cut(host, ":")
	if strings.Contains(host, "@") || strings.HasPrefix(host, "[") || strings.Contains(port, "*") || (strings.Contains(name, "*") && !strings.Contains(name, ".")) {
		return false
	}
	return parsable(strings.ReplaceAll(s, "*", "wildcard"))
}

// Application is what an OpenID provider asks about a client.
type Application struct {
	ID, Name, Type                       string
	RedirectURIs, PostLogoutRedirectURIs []string
	BackchannelLogoutURI                 string        // "" none
	SessionRequired                      bool          // ID tokens and logout tokens have sid
	AlwaysIssueRefreshToken              bool          // without prompt=consent too
	KeepRefreshToken                     bool          // it is never replaced
	RefreshTokenLifetime                 time.Duration // 0: Logto's 14 days
	IDTokenLifetime                      time.Duration // 0: Logto's hour
}

// Application returns a client. False: there is none.
func (t *Tenant) Application(id string) (Application, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a, err := t.application(id)
	if err != nil {
		return Application{}, false
	}
	var oidc struct {
		RedirectURIs           []string `json:"redirectUris"`
		PostLogoutRedirectURIs []string `json:"postLogoutRedirectUris"`
		Backchannel            string   `json:"backchannelLogoutUri"`
		SessionRequired        bool     `json:"backchannelLogoutSessionRequired"`
	}
	var custom struct {
		Always bool    `json:"alwaysIssueRefreshToken"`
		Rotate *bool   `json:"rotateRefreshToken"`
		Days   int     `json:"refreshTokenTtlInDays"`
		TTL    float64 `json:"refreshTokenTtl"`
		IDTTL  float64 `json:"idTokenTtl"`
	}
	fill(&oidc, a.OIDC)
	fill(&custom, a.Custom)
	one := Application{
		ID: a.ID, Name: a.Name, Type: a.Type, RedirectURIs: oidc.RedirectURIs, PostLogoutRedirectURIs: oidc.PostLogoutRedirectURIs,
		BackchannelLogoutURI: oidc.Backchannel, SessionRequired: oidc.SessionRequired, AlwaysIssueRefreshToken: custom.Always,
		KeepRefreshToken:     custom.Rotate != nil && !*custom.Rotate,
		RefreshTokenLifetime: time.Duration(custom.TTL) * time.Second, IDTokenLifetime: time.Duration(custom.IDTTL) * time.Second,
	}
	if custom.Days > 0 {
		one.RefreshTokenLifetime = time.Duration(custom.Days) * 24 * time.Hour
	}
	return one, true
}

// Add puts in an application of a known id and secret, as no call of the API can.
func (t *Tenant) Add(a Application, value string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	oidc := map[string]any{"redirectUris": anyList(a.RedirectURIs), "postLogoutRedirectUris": anyList(a.PostLogoutRedirectURIs)}
	if a.BackchannelLogoutURI != "" {
		oidc["backchannelLogoutUri"] = a.BackchannelLogoutURI
	}
	if a.SessionRequired {
		oidc["backchannelLogoutSessionRequired"] = true
	}
	custom := map[string]any{}
	if a.AlwaysIssueRefreshToken {
		custom["alwaysIssueRefreshToken"] = true
	}
	if a.KeepRefreshToken {
		custom["rotateRefreshToken"] = false
	}
	if a.RefreshTokenLifetime > 0 {
		custom["refreshTokenTtlInDays"] = float64(a.RefreshTokenLifetime / (24 * time.Hour))
	}
	if a.IDTokenLifetime > 0 {
		custom["idTokenTtl"] = a.IDTokenLifetime.Seconds()
	}
	made := &application{ID: a.ID, Name: a.Name, Type: a.Type, OIDC: oidc, Custom: custom, Data: map[string]any{}}
	made.secrets = []*secret{{TenantID: "default", ApplicationID: a.ID, Name: "Default secret", Value: value, CreatedAt: t.milliseconds()}}
	t.add(made)
}

func anyList(list []string) []any {
	all := []any{}
	for _, one := range list {
		all = append(all, one)
	}
	return all
}

// Allows reports whether an application lets a person in: everybody, or those its access control names by id or by a role's name. The rules
// for organizations allow nobody here.
func (t *Tenant) Allows(id, subject string, roles []string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	a, err := t.application(id)
	if err != nil {
		return false
	}
	return !a.AccessControl || slices.Contains(a.access.Users, subject) || slices.ContainsFunc(t.roles, func(r *role) bool {
		return slices.Contains(a.access.Roles, r.ID) && slices.Contains(roles, r.Name)
	})
}

// Authenticates reports whether a value is a live secret of an application. The internal one of 1.41 is good too, as it is there.
func (t *Tenant) Authenticates(id, value string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	a, err := t.application(id)
	if err != nil || value == "" {
		return false
	}
	for _, s := range a.secrets {
		if same(s.Value, value) && (s.ExpiresAt == nil || *s.ExpiresAt > t.milliseconds()) {
			return true
		}
	}
	if plain, err := url.QueryUnescape(value); err == nil && same(a.internal, plain) {
		return true
	}
	return same(a.internal, value)
}
