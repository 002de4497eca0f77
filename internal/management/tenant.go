package management

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Object is a JSON object of Logto's, kept whole: what is not known here goes back as it came. Numbers are json.Number.
type Object map[string]any

// The kinds of applications that are looked for here.
const (
	Traditional      = "Traditional"
	MachineToMachine = "MachineToMachine"
)

// MailgunConnector is the id of Logto's Mailgun connector among those that are installed.
const MailgunConnector = "mailgun-email"

// EmailConnector is the type of connectors that send e-mail. A tenant has at most one.
const EmailConnector = "Email"

// Application is a client of the tenant.
type Application struct {
	ID          string `json:"id,omitempty"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Type        string `json:"type"`
	// OIDC and Custom are replaced as a whole by UpdateApplication.
	OIDC          Object `json:"oidcClientMetadata"`
	Custom        Object `json:"customClientMetadata,omitempty"`
	AccessControl bool   `json:"appLevelAccessControlEnabled,omitempty"` // Logto itself turns people away
	ThirdParty    bool   `json:"isThirdParty,omitempty"`
	CreatedAt     int64  `json:"createdAt,omitempty"` // milliseconds
}

// Applications lists the applications of a type; "": of all.
func (m *Client) Applications(ctx context.Context, kind string) ([]Application, error) {
	query := url.Values{}
	if kind != "" {
		query.Set("types", kind)
	}
	return list[Application](ctx, m, "applications", query, "applications")
}

// Application is the one with that id. ErrNotFound: there is none.
func (m *Client) Application(ctx context.Context, id string) (Application, error) {
	return one[Application](ctx, m, "application", http.MethodGet, nil, "applications", id)
}

// CreateApplication makes one; it has a first secret then.
func (m *Client) CreateApplication(ctx context.Context, a Application) (Application, error) {
	return one[Application](ctx, m, "create application", http.MethodPost, a, "applications")
}

// UpdateApplication replaces the members that change has, each as a whole, and returns what has become of it.
func (m *Client) UpdateApplication(ctx context.Context, id string, change Object) (Application, error) {
	return one[Application](ctx, m, "update application", http.MethodPatch, change, "applications", id)
}

// DeleteApplication removes one with all its secrets. One that is gone already is no error.
func (m *Client) DeleteApplication(ctx context.Context, id string) error {
	const name = "delete application"
	address, err := m.path(name, nil, "applications", id)
	if err != nil {
		return err
	}
	if _, err = m.call(ctx, name, http.MethodDelete, address, nil, nil); errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// Secret is a client secret. Several are good at once.
type Secret struct {
	Name      string `json:"name"`
	Value     string `json:"value"`     // "": Logto does not show it
	CreatedAt int64  `json:"createdAt"` // milliseconds
	ExpiresAt *int64 `json:"expiresAt"` // milliseconds; nil: never
}

// Secrets lists the secrets of an application. Its member `secret` is none.
func (m *Client) Secrets(ctx context.Context, id string) ([]Secret, error) {
	return all[Secret](ctx, m, "secrets", "applications", id, "secrets")
}

// CreateSecret makes one more that never expires. ErrTaken: it has one of that name.
func (m *Client) CreateSecret(ctx context.Context, id, name string) (Secret, error) {
	made, err := one[Secret](ctx, m, "create secret", http.MethodPost, Object{"name": name, "expiresAt": nil}, "applications", id, "secrets")
	if err == nil && made.Value == "" {
		return Secret{}, &RefusedError{Call: "create secret", Status: http.StatusOK, cause: errMalformed}
	}
	return made, err
}

// DeleteSecret ends one at once. One that is gone already is no error.
func (m *Client) DeleteSecret(ctx context.Context, id, name string) error {
	if name == "" || name == "." || name == ".." { // it stands in the path
		return fmt.Errorf("delete secret: %w", ErrID)
	}
	if err := checkID(id); err != nil {
		return fmt.Errorf("delete secret: %w", err)
	}
	_, err := m.call(ctx, "delete secret", http.MethodDelete, m.address("", "api", "applications", id, "secrets", name), nil, nil)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// Connector is a way to send mails, or to sign in elsewhere.
type Connector struct {
	ID      string `json:"id"`
	Factory string `json:"connectorId"` // MailgunConnector
	Type    string `json:"type"`        // EmailConnector
	Config  Object `json:"config"`      // has secrets in clear
}

// Connectors lists those that are set up.
func (m *Client) Connectors(ctx context.Context) ([]Connector, error) {
	return all[Connector](ctx, m, "connectors", "connectors")
}

// CreateConnector sets one up. One for e-mail replaces the one that is there, whatever it was.
func (m *Client) CreateConnector(ctx context.Context, factory string, config Object) (Connector, error) {
	return one[Connector](ctx, m, "create connector", http.MethodPost, Object{"connectorId": factory, "config": config}, "connectors")
}

// UpdateConnector replaces the whole configuration of one, at once.
func (m *Client) UpdateConnector(ctx context.Context, id string, config Object) (Connector, error) {
	return one[Connector](ctx, m, "update connector", http.MethodPatch, Object{"config": config}, "connectors", id)
}

// TestConnector has Logto send one mail of the delivery `Generic`, with the code 000000, by a configuration that need not
// be the one that is set up.
func (m *Client) TestConnector(ctx context.Context, factory, to string, config Object) error {
	address, err := m.path("test connector", nil, "connectors", factory, "test")
	if err != nil {
		return err
	}
	_, err = m.call(ctx, "test connector", http.MethodPost, address, Object{"email": to, "config": config}, nil)
	return err
}

// SignInExperience is how people sign in.
func (m *Client) SignInExperience(ctx context.Context) (Object, error) {
	return one[Object](ctx, m, "sign-in experience", http.MethodGet, nil, "sign-in-exp")
}

// UpdateSignInExperience replaces the members that change has, each as a whole, and returns what has become of it.
func (m *Client) UpdateSignInExperience(ctx context.Context, change Object) (Object, error) {
	return one[Object](ctx, m, "update sign-in experience", http.MethodPatch, change, "sign-in-exp")
}

// Resource is an API for which Logto gives access tokens.
type Resource struct {
	ID        string `json:"id,omitempty"`
	Name      string `json:"name"`
	Indicator string `json:"indicator"`
}

// Resources lists all of them, the Management API itself included.
func (m *Client) Resources(ctx context.Context) ([]Resource, error) {
	return list[Resource](ctx, m, "resources", nil, "resources")
}

// CreateResource makes one. ErrTaken: there is one of that indicator.
func (m *Client) CreateResource(ctx context.Context, name, indicator string) (Resource, error) {
	return one[Resource](ctx, m, "create resource", http.MethodPost, Resource{Name: name, Indicator: indicator}, "resources")
}

// Scope is a permission of a resource.
type Scope struct {
	ID          string `json:"id,omitempty"`
	Name        string `json:"name"`
	Description string `json:"description"`
}

// Scopes lists the permissions of a resource.
func (m *Client) Scopes(ctx context.Context, resource string) ([]Scope, error) {
	return list[Scope](ctx, m, "scopes", nil, "resources", resource, "scopes")
}

// CreateScope makes one. ErrTaken: there is one of that name.
func (m *Client) CreateScope(ctx context.Context, resource string, s Scope) (Scope, error) {
	return one[Scope](ctx, m, "create scope", http.MethodPost, s, "resources", resource, "scopes")
}

// Role is what people, or applications, can have.
type Role struct {
	ID          string `json:"id,omitempty"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Type        string `json:"type,omitempty"` // User or MachineToMachine
}

// Roles lists those of people.
func (m *Client) Roles(ctx context.Context) ([]Role, error) {
	return list[Role](ctx, m, "roles", url.Values{"type": {"User"}}, "roles")
}

// CreateRole makes one for people; it needs a description. ErrTaken: there is one of that name.
func (m *Client) CreateRole(ctx context.Context, name, description string) (Role, error) {
	return one[Role](ctx, m, "create role", http.MethodPost, Role{Name: name, Description: description, Type: "User"}, "roles")
}

// OneTimeToken signs its address in once, without a code.
type OneTimeToken struct {
	ID        string `json:"id"`
	Email     string `json:"email"`
	Token     string `json:"token"`
	Status    string `json:"status"`    // active, consumed, …
	ExpiresAt int64  `json:"expiresAt"` // milliseconds
}

// CreateOneTimeToken makes one that is good for that long. Logto sends no mail.
func (m *Client) CreateOneTimeToken(ctx context.Context, email string, life time.Duration) (OneTimeToken, error) {
	body := Object{"email": email, "expiresIn": int64(life / time.Second)}
	return one[OneTimeToken](ctx, m, "create one-time token", http.MethodPost, body, "one-time-tokens")
}

// User is a person whom the tenant knows.
type User struct {
	ID           string `json:"id"`
	Email        string `json:"primaryEmail"`
	Name         string `json:"name"`
	Suspended    bool   `json:"isSuspended"`
	LastSignInAt int64  `json:"lastSignInAt"` // milliseconds; 0: never
}

// UserByEmail is the person with that address, whatever its case. ErrNotFound: there is none.
func (m *Client) UserByEmail(ctx context.Context, address string) (User, error) {
	const name = "user by address"
	if !strings.Contains(address, "@") || len(address) > 320 {
		return User{}, fmt.Errorf("%s: it is no address: %w", name, ErrNotFound)
	}
	found, err := list[User](ctx, m, name, url.Values{"search.primaryEmail": {address}, "mode.primaryEmail": {"exact"}}, "users")
	if err != nil {
		return User{}, err
	}
	// An exact address before one that differs in case; nobody else, whatever the search found.
	for _, same := range []func(string) bool{
		func(other string) bool { return other == address },
		func(other string) bool { return strings.EqualFold(other, address) },
	} {
		if i := slices.IndexFunc(found, func(u User) bool { return same(u.Email) }); i >= 0 {
			return found[i], nil
		}
	}
	return User{}, fmt.Errorf("%s: %w", name, ErrNotFound)
}

// entity is what an answer tells of. key is its id, or its name where it has none; "": the answer lacks what it has to tell.
type entity interface{ key() string }

func (a Application) key() string  { return a.ID }
func (c Connector) key() string    { return c.ID }
func (r Resource) key() string     { return r.ID }
func (s Scope) key() string        { return s.ID }
func (r Role) key() string         { return r.ID }
func (u User) key() string         { return u.ID }
func (s Secret) key() string       { return s.Name }
func (t OneTimeToken) key() string { return keyIf(t.ID, t.Token != "") }
func (o Object) key() string       { return keyIf("object", len(o) > 0) }

func keyIf(key string, whole bool) string {
	if !whole {
		return ""
	}
	return key
}

// one is a call that is answered with one thing.
func one[T entity](ctx context.Context, m *Client, name, method string, body any, path ...string) (T, error) {
	var answer, none T
	address, err := m.path(name, nil, path...)
	if err != nil {
		return none, err
	}
	if _, err := m.call(ctx, name, method, address, body, &answer); err != nil {
		return none, err
	}
	if answer.key() == "" {
		return none, &RefusedError{Call: name, Status: http.StatusOK, cause: errMalformed}
	}
	return answer, nil
}

// read is a call that is answered with a list, or a page of one.
func read[T entity](ctx context.Context, m *Client, name string, query url.Values, path ...string) ([]T, http.Header, error) {
	address, err := m.path(name, query, path...)
	if err != nil {
		return nil, nil, err
	}
	var answer []T
	header, err := m.call(ctx, name, http.MethodGet, address, nil, &answer)
	if err != nil {
		return nil, nil, err
	}
	if answer == nil || slices.ContainsFunc(answer, func(one T) bool { return one.key() == "" }) {
		return nil, nil, &RefusedError{Call: name, Status: http.StatusOK, cause: errMalformed}
	}
	return answer, header, nil
}

// all reads a list that has no pages.
func all[T entity](ctx context.Context, m *Client, name string, path ...string) ([]T, error) {
	answer, _, err := read[T](ctx, m, name, nil, path...)
	return answer, err
}

// The pages of a list. A tenant that has more is not one that is set up here.
const (
	pageSize = 100 // the most that Logto gives
	maxPages = 100
)

// list reads every page of a list. A Logto that knows no pages of it sends all of it each time, and does not say how
// many there are.
func list[T entity](ctx context.Context, m *Client, name string, query url.Values, path ...string) ([]T, error) {
	q := url.Values{"page_size": {strconv.Itoa(pageSize)}}
	maps.Copy(q, query)
	var all []T
	seen := map[string]bool{} // :: key → it is in all
	for page := 1; page <= maxPages; page++ {
		q.Set("page", strconv.Itoa(page))
		some, header, err := read[T](ctx, m, name, q, path...)
		if err != nil {
			return nil, err
		}
		before := len(all)
		for _, entry := range some {
			if !seen[entry.key()] { // what is added meanwhile moves the rest to the next page
				seen[entry.key()] = true
				all = append(all, entry)
			}
		}
		total, err := strconv.Atoi(header.Get("total-number"))
		switch told := err == nil; {
		case len(all) == before, told && len(all) >= total, !told && len(some) != pageSize:
			return all, nil
		}
	}
	return nil, &RefusedError{Call: name, Status: http.StatusOK, cause: fmt.Errorf("there are more than %d", pageSize*maxPages)}
}
