package setup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"portero/internal/mail"
	"portero/internal/management"
)

// Action says what becomes of something. Its value is the sign that begins its lines.
type Action string

// What a plan does.
const (
	Add    Action = "+"
	Modify Action = "~"
	Remove Action = "-"
)

// Plan is what has to be done to a tenant. It is made by NewPlan and never changed.
type Plan struct {
	AppID    string    // of the application that is there; "": there is none yet
	Changes  []Change  // in the order in which they are done
	Notes    []string  // what stays though it is not of the configuration, and what the operator has to know
	Problems []Problem // with one of them, nothing is done
}

// Change is one thing that is done: by one request, or by none where the next one does it too.
type Change struct {
	Action Action
	What   string // e-mail connector, sign-in experience, API resource, permission, role, application, client secret
	Name   string // "": there is only one
	Fields []Field

	// Note is what has to be said of it once it is done; "": nothing.
	Note string

	do func(context.Context, *run) error // nil: the next change does it
}

// String is the first line of a change, without its sign: application "Wiki".
func (c Change) String() string {
	if c.Name == "" {
		return c.What
	}
	return c.What + " " + c.Name
}

// Field is a part of a change. Old and New are for people: shortened, and secrets as (sensitive).
type Field struct {
	Action   Action
	Name     string // as Logto writes it: redirectUris
	Old, New string // "": there is none
}

// Problem is why a plan cannot be done, and what to write.
type Problem struct {
	Key     string `json:"key"` // of the configuration
	Message string `json:"message"`
}

// Options change what a plan does.
type Options struct {
	Prune bool // removes what somebody else entered into the application and the connector that are ours
	// Settle is how long after the making of an application one is looked for that another run made before: by then Logto
	// lists all that is earlier, and what it makes is later by its clock. 0: 100 ms.
	Settle time.Duration
}

// sensitive stands for a secret.
const sensitive = "(sensitive)"

// NewPlan compares what is desired with what there is. It asks nobody. Something that cannot be done is a problem, never
// left out in silence.
func NewPlan(d *Desired, s *State, o Options) *Plan {
	p := &Plan{}
	p.planEmail(d.Email, s.Email, o)
	p.planSignIn(d.SignIn, s.SignIn)
	p.planResources(d, s)
	p.planRoles(d.Roles, s.Roles)
	p.planApplication(d, s, o)
	p.planSecret(d, s)
	return p
}

// note and problem are for people: what comes from the tenant goes through show.
func (p *Plan) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

func (p *Plan) problem(key, format string, args ...any) {
	p.Problems = append(p.Problems, Problem{key, fmt.Sprintf(format, args...)})
}

// planEmail: a connector of another maker is replaced by Logto as soon as ours is made.
func (p *Plan) planEmail(want *Email, have *management.Connector, o Options) {
	switch {
	case want == nil && have == nil:
		p.problem("mailgun.domain", "is missing, and the tenant has no connector that sends e-mail; write mailgun with domain, api_key and from")
		return
	case want == nil && have.Factory != management.MailgunConnector:
		p.note("the e-mail connector %s stays as it is: the configuration has no `mailgun`", show(have.Factory))
		return
	case want == nil:
		p.note("the e-mail connector stays as it is: the configuration has no `mailgun`")
		return
	}
	if want.Endpoint != "" && !strings.HasSuffix(want.Endpoint, ".mailgun.net") {
		p.problem("mailgun.endpoint", "%q is refused by Logto, which takes addresses that end in .mailgun.net alone; write one, or remove the key for %s", want.Endpoint, DefaultEndpoint)
	}
	for _, usage := range want.Defaults {
		if usage == mail.Generic {
			p.note("mailgun.deliveries has no usage: Generic, so Logto gets the short default mail for whatever has none of its own; write one to have your own")
			continue
		}
		p.note("mailgun.deliveries has neither usage: %s nor usage: Generic, so Logto gets the short default mail for it; write one of them to have your own", usage)
	}
	c := Change{Action: Add, What: "e-mail connector", Name: management.MailgunConnector}
	if have == nil || have.Factory != management.MailgunConnector {
		if have != nil {
			p.Changes = append(p.Changes, Change{Action: Remove, What: c.What, Name: show(have.Factory)})
		}
		config := want.Config()
		c.Fields = compareConfig(config, nil)
		c.do = func(ctx context.Context, r *run) error {
			_, err := r.client.CreateConnector(ctx, management.MailgunConnector, config)
			return err
		}
		p.Changes = append(p.Changes, c)
		return
	}
	config, id := p.mergeConfig(want, have.Config, o), have.ID
	if c.Action, c.Fields = Modify, compareConfig(config, have.Config); len(c.Fields) == 0 {
		return
	}
	c.do = func(ctx context.Context, r *run) error {
		_, err := r.client.UpdateConnector(ctx, id, config)
		return err
	}
	p.Changes = append(p.Changes, c)
}

// mergeConfig is the connector's configuration as it shall be, with what is not ours and stays.
func (p *Plan) mergeConfig(want *Email, have management.Object, o Options) management.Object {
	config := management.Object{}
	maps.Copy(config, have)
	maps.Copy(config, want.Config())
	if want.Endpoint == "" && strings.TrimRight(text(have["endpoint"]), "/") != DefaultEndpoint {
		delete(config, "endpoint")
	}
	deliveries := config["deliveries"].(map[string]any) // just made
	for _, usage := range slices.Sorted(maps.Keys(object(have["deliveries"]))) {
		if _, ours := deliveries[usage]; ours || o.Prune {
			continue
		}
		deliveries[usage] = object(have["deliveries"])[usage]
		p.note("the delivery %s of the e-mail connector is not of this configuration and stays; --prune removes it", show(usage))
	}
	return config
}

// compareConfig compares two configurations of the connector, deliveries part by part.
func compareConfig(want, have management.Object) []Field {
	var fields []Field
	add := func(name string, a, b any) { fields = append(fields, compare(name, a, b)...) }
	for _, name := range []string{"endpoint", "domain", "apiKey", "from"} {
		if name == "apiKey" {
			if f := compare(name, want[name], have[name]); len(f) > 0 {
				fields = append(fields, hide(f[0]))
			}
			continue
		}
		add(name, want[name], have[name])
	}
	now, then := object(want["deliveries"]), object(have["deliveries"])
	for _, usage := range keys(now, then) {
		a, b := object(now[usage]), object(then[usage])
		for _, part := range keys(a, b) {
			add("deliveries."+show(usage)+"."+part, a[part], b[part])
		}
	}
	return fields
}

// hide takes the values out of a field.
func hide(f Field) Field {
	for _, value := range []*string{&f.Old, &f.New} {
		if *value != "" {
			*value = sensitive
		}
	}
	return f
}

func (p *Plan) planResources(d *Desired, s *State) {
	for _, want := range d.Resources {
		i := slices.IndexFunc(s.Resources, func(r management.Resource) bool { return r.Indicator == want.Indicator })
		id := "" // of one that is still to be made
		if i >= 0 {
			id = s.Resources[i].ID
		} else {
			p.Changes = append(p.Changes, Change{Action: Add, What: "API resource", Name: want.Indicator, do: func(ctx context.Context, r *run) error {
				made, err := r.client.CreateResource(ctx, want.Indicator, want.Indicator)
				if errors.Is(err, management.ErrTaken) {
					made, err = again(ctx, err, r.client.Resources, func(one management.Resource) bool { return one.Indicator == want.Indicator })
				}
				r.resources[want.Indicator] = made.ID
				return err
			}})
		}
		for _, scope := range want.Scopes {
			if slices.ContainsFunc(s.Scopes[want.Indicator], func(one management.Scope) bool { return one.Name == scope }) {
				continue
			}
			p.Changes = append(p.Changes, Change{Action: Add, What: "permission", Name: scope + " of " + want.Indicator, do: func(ctx context.Context, r *run) error {
				resource := id
				if resource == "" {
					resource = r.resources[want.Indicator]
				}
				_, err := r.client.CreateScope(ctx, resource, management.Scope{Name: scope})
				if errors.Is(err, management.ErrTaken) {
					scopes := func(ctx context.Context) ([]management.Scope, error) { return r.client.Scopes(ctx, resource) }
					_, err = again(ctx, err, scopes, func(one management.Scope) bool { return one.Name == scope })
				}
				return err
			}})
		}
	}
}

func (p *Plan) planRoles(want []string, have []management.Role) {
	for _, name := range want {
		if slices.ContainsFunc(have, func(r management.Role) bool { return r.Name == name }) {
			continue
		}
		p.Changes = append(p.Changes, Change{Action: Add, What: "role", Name: fmt.Sprintf("%q", name), do: func(ctx context.Context, r *run) error {
			_, err := r.client.CreateRole(ctx, name, "A rule of Portero names it.") // Logto takes no empty description
			if errors.Is(err, management.ErrTaken) {
				_, err = again(ctx, err, r.client.Roles, func(one management.Role) bool { return one.Name == name })
			}
			return err
		}})
	}
}

// again reads a list in which Logto says that something is already, and returns it: somebody made it meanwhile. taken: it is
// not there, so that what Logto said is the error.
func again[T any](ctx context.Context, taken error, list func(context.Context) ([]T, error), is func(T) bool) (T, error) {
	var none T
	all, err := list(ctx)
	if err != nil {
		return none, err
	}
	if i := slices.IndexFunc(all, is); i >= 0 {
		return all[i], nil
	}
	return none, taken
}
