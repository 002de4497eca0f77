package management

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
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
}

// Applications lists the applications of a type; "": of all.
func (m *Client) Applications(ctx context.Context, kind string) ([]Application, error) {
	query := url.Values{}
	if kind != "" {
		query.Set("types", kind)
	}
	return list[Application](ctx, m, "applications", query, "api", "applications")
}

// Application is the one with that id. ErrNotFound: there is none.
func (m *Client) Application(ctx context.Context, id string) (Application, error) {
	var a Application
	return a, m.ask(ctx, "application", http.MethodGet, nil, &a, id, "api", "applications", id)
}

// CreateApplication makes one; it has a first secret then.
func (m *Client) CreateApplication(ctx context.Context, a Application) (Application, error) {
	var made Application
	return made, m.ask(ctx, "create application", http.MethodPost, a, &made, "", "api", "applications")
}

// UpdateApplication replaces the members that change has, each as a whole, and returns what has become of it.
func (m *Client) UpdateApplication(ctx context.Context, id string, change Object) (Application, error) {
	var a Application
	return a, m.ask(ctx, "update application", http.MethodPatch, change, &a, id, "api", "applications", id)
}

// Secret is a client secret. Several are good at once.
type Secret struct {
	Name      string `json:"name"`
	Value     string `json:"value"`
	CreatedAt int64  `json:"createdAt"` // milliseconds
	ExpiresAt *int64 `json:"expiresAt"` // milliseconds; nil: never
}

// Secrets lists the secrets of an application. Its member `secret` is none.
func (m *Client) Secrets(ctx context.Context, id string) ([]Secret, error) {
	var all []Secret
	return all, m.ask(ctx, "secrets", http.MethodGet, nil, &all, id, "api", "applications", id, "secrets")
}

// CreateSecret makes one more that never expires. ErrTaken: it has one of that name.
func (m *Client) CreateSecret(ctx context.Context, id, name string) (Secret, error) {
	var made Secret
	return made, m.ask(ctx, "create secret", http.MethodPost, Object{"name": name, "expiresAt": nil}, &made, id, "api", "applications", id, "secrets")
}

// DeleteSecret ends one at once. One that is gone already is no error.
func (m *Client) DeleteSecret(ctx context.Context, id, name string) error {
	if name == "" || name == "." || name == ".." { // it stands in the path
		return fmt.Errorf("delete secret: %w", ErrID)
	}
	err := m.ask(ctx, "delete secret", http.MethodDelete, nil, nil, id, "api", "applications", id, "secrets", name)
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
	var all []Connector
	return all, m.ask(ctx, "connectors", http.MethodGet, nil, &all, "", "api", "connectors")
}

// CreateConnector sets one up. One for e-mail replaces the one that is there, whatever it was.
func (m *Client) CreateConnector(ctx context.Context, factory string, config Object) (Connector, error) {
	var made Connector
	return made, m.ask(ctx, "create connector", http.MethodPost, Object{"connectorId": factory, "config": config}, &made, "", "api", "connectors")
}

// UpdateConnector replaces the whole configuration of one, at once.
func (m *Client) UpdateConnector(ctx context.Context, id string, config Object) (Connector, error) {
	var c Connector
	return c, m.ask(ctx, "update connector", http.MethodPatch, Object{"config": config}, &c, id, "api", "connectors", id)
}

// TestConnector has Logto send one mail of the delivery `Generic`, with the code 000000, by a configuration that need not
// be the one that is set up.
func (m *Client) TestConnector(ctx context.Context, factory, to string, config Object) error {
	return m.ask(ctx, "test connector", http.MethodPost, Object{"email": to, "config": config}, nil, factory, "api", "connectors", factory, "test")
}

// SignInExperience is how people sign in.
func (m *Client) SignInExperience(ctx context.Context) (Object, error) {
	var o Object
	return o, m.ask(ctx, "sign-in experience", http.MethodGet, nil, &o, "", "api", "sign-in-exp")
}

// UpdateSignInExperience replaces the members that change has, each as a whole, and returns what has become of it.
func (m *Client) UpdateSignInExperience(ctx context.Context, change Object) (Object, error) {
	var o Object
	return o, m.ask(ctx, "update sign-in experience", http.MethodPatch, change, &o, "", "api", "sign-in-exp")
}

// Resource is an API for which Logto gives access tokens.
type Resource struct {
	ID        string `json:"id,omitempty"`
	Name      string `json:"name"`
	Indicator string `json:"indicator"`
}

// Resources lists all of them, the Management API itself included.
func (m *Client) Resources(ctx context.Context) ([]Resource, error) {
	return list[Resource](ctx, m, "resources", nil, "api", "resources")
}

// CreateResource makes one. ErrTaken: there is one of that indicator.
func (m *Client) CreateResource(ctx context.Context, name, indicator string) (Resource, error) {
	var made Resource
	return made, m.ask(ctx, "create resource", http.MethodPost, Resource{Name: name, Indicator: indicator}, &made, "", "api", "resources")
}

// Scope is a permission of a resource.
type Scope struct {
	ID          string `json:"id,omitempty"`
	Name        string `json:"name"`
	Description string `json:"description"`
}

// Scopes lists the permissions of a resource.
func (m *Client) Scopes(ctx context.Context, resource string) ([]Scope, error) {
	if err := checkID(resource); err != nil {
		return nil, err
	}
	return list[Scope](ctx, m, "scopes", nil, "api", "resources", resource, "scopes")
}

// CreateScope makes one. ErrTaken: there is one of that name.
func (m *Client) CreateScope(ctx context.Context, resource string, s Scope) (Scope, error) {
	var made Scope
	return made, m.ask(ctx, "create scope", http.MethodPost, s, &made, resource, "api", "resources", resource, "scopes")
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
	return list[Role](ctx, m, "roles", url.Values{"type": {"User"}}, "api", "roles")
}

// CreateRole makes one for people. ErrTaken: there is one of that name.
func (m *Client) CreateRole(ctx context.Context, name, description string) (Role, error) {
	var made Role
	return made, m.ask(ctx, "create role", http.MethodPost, Role{Name: name, Description: description, Type: "User"}, &made, "", "api", "roles")
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
	var made OneTimeToken
	body := Object{"email": email, "expiresIn": int64(life / time.Second)}
	return made, m.ask(ctx, "create one-time token", http.MethodPost, body, &made, "", "api", "one-time-tokens")
}

// ask is one call. id is what stands in the path and comes from elsewhere; "": nothing does.
func (m *Client) ask(ctx context.Context, name, method string, body, into any, id string, path ...string) error {
	if id != "" {
		if err := checkID(id); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return m.call(ctx, name, method, m.address("", path...), body, into)
}

// The pages of a list. A tenant that has more is not one that is set up here.
const (
	pageSize = 100
	maxPages = 100
)

// list reads every page of a list.
func list[T any](ctx context.Context, m *Client, name string, query url.Values, path ...string) ([]T, error) {
	var all []T
	q := url.Values{"page_size": {strconv.Itoa(pageSize)}}
	for k, v := range query {
		q[k] = v
	}
	for page := 1; page <= maxPages; page++ {
		q.Set("page", strconv.Itoa(page))
		var some []T
		if err := m.call(ctx, name, http.MethodGet, m.address(q.Encode(), path...), nil, &some); err != nil {
			return nil, err
		}
		all = append(all, some...)
		if len(some) < pageSize {
			return all, nil
		}
	}
	return nil, &RefusedError{Call: name, cause: fmt.Errorf("there are more than %d", pageSize*maxPages)}
}
