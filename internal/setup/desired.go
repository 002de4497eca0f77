// Package setup makes a tenant of Logto into what a configuration needs: it says what that is, what there is, how the two
// differ, and makes them the same.
//
// It does not know how Logto is asked (package management), nor what mails look like (package mail).
//
// Invariants:
//   - A plan is a function of what is desired and what there is: it asks nobody. One that has problems changes nothing.
//   - What somebody else entered stays, unless it is asked to go; what stands in the way is named before it is replaced.
//   - Every step can be repeated. Killed after any request, the next run completes what was begun.
//   - No plan and no error has a secret in it.
//
// Specifications: Logto's Management API.
package setup

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"portero/internal/config"
	"portero/internal/mail"
	"portero/internal/management"
	"portero/internal/outbound"
)

// Desired is what a configuration needs of the tenant. It is made by NewDesired.
type Desired struct {
	Application Application
	Email       *Email // nil: nothing is configured, and the connector that is there stays
	SignIn      SignIn
	Resources   []Resource // in the order of the configuration, each indicator once
	Roles       []string   // of people, in the order of the rules, each once

	Secret     config.Secret // the client secret that is configured now; not set: none
	SecretFile string        // absolute; "": logto.app_secret_file is not configured
}

// Application is the client that the gateway is.
type Application struct {
	ID             string // logto.app_id; "": it is looked for by its name and its redirect URIs
	Name           string
	Named          bool // the name is configured, so another one is replaced
	RedirectURIs   []string
	PostLogoutURIs []string
	BackchannelURI string
	RefreshDays    int // how long a refresh token has to last, 1 to 180
}

// Email is the Mailgun connector.
type Email struct {
	Endpoint   string // "": Logto's default, DefaultEndpoint
	Domain     string
	APIKey     config.Secret
	From       string
	Deliveries map[string]management.Object // :: usage → delivery, as Logto writes it
	// Defaults are the usages whose delivery is the default though others are configured.
	Defaults []string
}

// DefaultEndpoint is Mailgun's address where the connector names none.
const DefaultEndpoint = "https://api.mailgun.net"

// Config is the connector's configuration, as Logto writes it. It has the key in clear.
func (e *Email) Config() management.Object {
	deliveries := map[string]any{}
	for usage, d := range e.Deliveries {
		deliveries[usage] = map[string]any(d)
	}
	c := management.Object{"domain": e.Domain, "apiKey": e.APIKey.Reveal(), "from": e.From, "deliveries": deliveries}
	if e.Endpoint != "" {
		c["endpoint"] = e.Endpoint
	}
	return c
}

// The words of Logto's sign-in experience.
const (
	ModeOpen   = "SignInAndRegister"
	ModeClosed = "SignIn"
)

// SignIn is how people sign in: by an address and a code.
type SignIn struct {
	Mode        string   // ModeOpen or ModeClosed
	ContinueURL string   // for a sign-in page that Logto does not know any more
	Continues   []string // that of each host; any of them is as good
}

// Resource is an API for which access tokens are asked or accepted.
type Resource struct {
	Indicator string
	Scopes    []string // that rules ask of its access tokens
}

// NewDesired says what a configuration needs of the tenant.
func NewDesired(c *config.Config) *Desired {
	l := c.Logto
	host := c.ExternalURL.Host
	d := &Desired{
		Application: Application{
			ID: l.AppID, Name: c.Pages.Name, Named: c.Pages.Name != "",
			RedirectURIs: c.RedirectURIs(), PostLogoutURIs: c.PostLogoutURIs(), BackchannelURI: c.BackchannelURI(),
			RefreshDays: refreshDays(c.Session.Lifetime),
		},
		Email:  newEmail(c),
		SignIn: SignIn{Mode: ModeOpen, ContinueURL: c.ExternalURL.Scheme + "://" + host + c.Endpoints.Prefix + "/continue"},
		Secret: l.AppSecret, SecretFile: l.AppSecretFile,
	}
	if !d.Application.Named {
		d.Application.Name = "Portero " + host
	}
	if l.SignIn.Registration == config.RegistrationClosed {
		d.SignIn.Mode = ModeClosed
	}
	for _, h := range c.Hosts() {
		d.SignIn.Continues = append(d.SignIn.Continues, c.Origin(h)+c.Endpoints.Prefix+"/continue")
	}
	d.addResources(c)
	d.addRoles(c)
	return d
}

// refreshDays is how many days a refresh token has to last for a session, within what Logto takes.
func refreshDays(lifetime time.Duration) int {
	const day = 24 * time.Hour
	return int(min(max((lifetime+day-1)/day, 1), 180))
}

// addResources collects the APIs. The Management API is Logto's own.
func (d *Desired) addResources(c *config.Config) {
	add := func(indicator string, scopes ...string) {
		if indicator == "" || indicator == c.Logto.Management.Resource {
			return
		}
		i := slices.IndexFunc(d.Resources, func(r Resource) bool { return r.Indicator == indicator })
		if i < 0 {
			d.Resources = append(d.Resources, Resource{Indicator: indicator})
			i = len(d.Resources) - 1
		}
		d.Resources[i].Scopes = union(d.Resources[i].Scopes, scopes)
	}
	for _, indicator := range c.Logto.Resources {
		add(indicator)
	}
	for _, r := range c.Routes {
		add(r.AccessToken.Resource)
		add(r.Bearer.Audience, strings.Fields(strings.Join(claimed(r, "scope"), " "))...)
	}
}

func (d *Desired) addRoles(c *config.Config) {
	for _, r := range c.Routes {
		for _, rule := range r.Allow {
			d.Roles = union(d.Roles, rule.Roles)
		}
		d.Roles = union(d.Roles, claimed(r, "roles"))
	}
}

// claimed are the values that a route's rules ask of a claim.
func claimed(r config.Route, claim string) []string {
	var values []string
	for _, rule := range r.Allow {
		for _, c := range rule.Claims {
			if c.Name == claim {
				values = append(values, c.Values...)
			}
		}
	}
	return values
}

// union is list with those of more that it lacks.
func union(list, more []string) []string {
	for _, one := range more {
		if !slices.Contains(list, one) {
			list = append(list, one)
		}
	}
	return list
}

// newEmail is the connector that a configuration describes; nil: none.
func newEmail(c *config.Config) *Email {
	m := c.Mailgun
	if m.Domain == "" {
		return nil
	}
	e := &Email{Domain: m.Domain, APIKey: m.APIKey, From: m.From, Deliveries: map[string]management.Object{}}
	if m.Endpoint != nil {
		if endpoint := strings.TrimRight(m.Endpoint.String(), "/"); endpoint != DefaultEndpoint {
			e.Endpoint = endpoint
		}
	}
	for _, one := range m.Deliveries {
		e.Deliveries[one.Usage] = delivery(one)
	}
	if e.Deliveries[mail.Generic] != nil {
		return e // Logto itself takes it for the usages that are not there
	}
	name := c.Pages.Name
	if name == "" {
		name = c.ExternalURL.Hostname()
	}
	for _, usage := range mail.Usages() {
		if e.Deliveries[usage] == nil {
			if len(m.Deliveries) > 0 {
				e.Defaults = append(e.Defaults, usage)
			}
			d := mail.Default(usage, name)
			e.Deliveries[usage] = delivery(config.Delivery{Subject: d.Subject, HTML: d.HTML, Text: d.Text})
		}
	}
	return e
}

// delivery is a delivery as Logto writes it. What is empty is left out. Logto fills in the code alone, so the values of
// variables are written into subject, HTML and text here.
func delivery(d config.Delivery) management.Object {
	d.Subject, d.Text = inline(d.Subject, d.Variables, nil), inline(d.Text, d.Variables, nil)
	d.HTML = inline(d.HTML, d.Variables, html.EscapeString)
	o := management.Object{}
	for name, value := range map[string]string{"subject": d.Subject, "replyTo": d.ReplyTo, "html": d.HTML, "text": d.Text, "template": d.Template} {
		if value != "" {
			o[name] = value
		}
	}
	if d.Template != "" && len(d.Variables) > 0 {
		variables := map[string]any{}
		for _, v := range d.Variables {
			variables[v.Name] = v.Value
		}
		o["variables"] = variables
	}
	return o
}

// inline replaces each {{name}} that is a variable's, once; a value is not searched for more.
func inline(text string, variables []config.Param, escape func(string) string) string {
	return placeholder.ReplaceAllStringFunc(text, func(found string) string {
		name := strings.TrimSpace(found[2 : len(found)-2])
		for _, v := range variables {
			if v.Name != name {
				continue
			}
			if escape != nil {
				return escape(v.Value)
			}
			return v.Value
		}
		return found
	})
}

var placeholder = regexp.MustCompile(`\{\{[^{}]*\}\}`)

// retries is how often a command asks Logto again.
const retries = 3

// NewClient makes the client of the Management API that a configuration describes, for a command that may wait: what Logto
// could not answer is asked again. It asks nothing.
func NewClient(c *config.Config) (*management.Client, error) { return NewClientTrying(c, retries, nil) }

// NewClientTrying is NewClient for who has less time: retries and wait are those of management.Config.
func NewClientTrying(c *config.Config, retries int, wait func(context.Context, time.Duration) error) (*management.Client, error) {
	client, err := newHTTPClient(c)
	if err != nil {
		return nil, err
	}
	l := c.Logto
	return management.New(management.Config{
		Endpoint: l.Endpoint, AppID: l.Management.AppID, AppSecret: l.Management.AppSecret.Reveal(), Resource: l.Management.Resource,
		Client: client, Retries: retries, Wait: wait,
	}), nil
}

// newHTTPClient makes the client that reaches Logto.
func newHTTPClient(c *config.Config) (*http.Client, error) {
	l := c.Logto
	out := outbound.Config{Public: l.Endpoint, Internal: l.InternalEndpoint}
	if l.CAFile != "" {
		var err error
		if out.CA, err = outbound.LoadCA(l.CAFile); err != nil {
			return nil, fmt.Errorf("logto.ca_file: %w", err)
		}
	}
	return outbound.New(out), nil
}
