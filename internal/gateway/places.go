package gateway

import (
	"fmt"

	"portero/internal/access"
	"portero/internal/authflow"
	"portero/internal/config"
	"portero/internal/route"
)

// places says what requests are for: the routes of a configuration, and the endpoints of our own.
type places struct {
	table     *route.Table
	endpoints authflow.Endpoints
}

func newPlaces(cfg *config.Config) (places, error) {
	table, err := buildTable(cfg)
	e := cfg.Endpoints
	return places{table, authflow.Endpoints{SignIn: e.SignIn, Callback: e.Callback, SignOut: e.SignOut, Prefix: e.Prefix, Aliases: e.AliasPrefix()}}, err
}

// place is what one request is for.
type place struct {
	route  *route.Route // nil: an endpoint of ours, or `*`
	target route.Target
}

// find reads a request's method, its target as it was received and the host that it names, and says what it is for. host is
// the one that was typed, in canonical form. Whoever asks the guard has asked here first.
func (p *places) find(method, requestURI, named, host string) (place, error) {
	if !route.ValidMethod(method) {
		return place{}, errMethod
	}
	target, err := route.ParseTarget(method, requestURI, named)
	if err != nil {
		return place{}, err
	}
	if !p.table.KnowsHost(host) {
		return place{}, route.ErrUnknownHost
	}
	if target.Asterisk || p.endpoints.Ours(target.Path) {
		return place{target: target}, nil
	}
	rt, err := p.table.Match(host, method, target)
	if err != nil {
		return place{}, err
	}
	if target.Reads(p.endpoints.Ours) { // for somebody who decodes more often than we do
		return place{}, errNotFound
	}
	if _, err := rt.Forward(target); err != nil { // nobody is sent to sign in for a path that cannot leave
		return place{}, err
	}
	return place{rt, target}, nil
}

// buildTable makes the routes. Words that the configuration has checked and that are unknown here deny.
func buildTable(cfg *config.Config) (*route.Table, error) {
	routes := make([]route.Route, 0, len(cfg.Routes))
	for i, r := range cfg.Routes {
		allow, err := access.NewPolicy(rules(r.Allow))
		if err != nil {
			return nil, fmt.Errorf("routes[%d].allow: %w", i, err)
		}
		rt := route.Route{
			Name: r.Name, Title: r.Title, Hosts: r.Hosts, Path: r.Path, Exact: r.Match == config.MatchExact, Methods: r.Methods,
			Allow: allow, ReportOnly: r.ReportOnly, StepUp: r.StepUp.MaxAge, StripPrefix: r.StripPrefix, Index: i,
		}
		switch r.Access {
		case config.AccessPublic:
			rt.Access = route.Public
		case config.AccessOptional:
			rt.Access = route.Optional
		case config.AccessSignedIn:
			rt.Access = route.SignedIn
		}
		if r.Paths == config.PathsByRoute {
			rt.Paths = route.ByRoute
		}
		routes = append(routes, rt)
	}
	return route.NewTable(routes)
}

func rules(list []config.Rule) []access.Rule {
	out := make([]access.Rule, 0, len(list))
	for _, r := range list {
		rule := access.Rule{
			Emails: r.Emails, EmailDomains: r.EmailDomains, Roles: r.Roles, Organizations: r.Organizations, OrganizationRoles: r.OrganizationRoles,
			Networks: r.Networks, Methods: r.Methods, Expression: r.Expression,
		}
		for _, c := range r.Claims {
			rule.Claims = append(rule.Claims, access.Claim{Name: c.Name, Values: c.Values})
		}
		out = append(out, rule)
	}
	return out
}
