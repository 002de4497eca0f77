package setup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"portero/internal/management"
)

// State is what the tenant has, as far as it matters here. It is made by Read and has secrets in it.
type State struct {
	// Application is the gateway's; nil: there is none.
	Application *management.Application
	// Same are other applications that could be taken for it: Traditional ones of Logto's own side with its name or its
	// redirect URIs.
	Same    []management.Application
	Secrets []management.Secret // of Application, those that have not expired
	Email   *management.Connector
	SignIn  management.Object
	// Resources has those that are desired and there.
	Resources []management.Resource
	Scopes    map[string][]management.Scope // :: indicator → its permissions, of the resources whose scopes are desired
	Roles     []management.Role
}

// Read asks the tenant for all that a plan needs. It changes nothing.
func Read(ctx context.Context, m *management.Client, d *Desired) (*State, error) {
	s := &State{Scopes: map[string][]management.Scope{}}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	group.Go(func() error { return s.readApplication(ctx, m, d) })
	group.Go(func() error {
		all, err := m.Connectors(ctx)
		if err != nil {
			return fmt.Errorf("reading the connectors: %w", err)
		}
		if i := slices.IndexFunc(all, func(c management.Connector) bool { return c.Type == management.EmailConnector }); i >= 0 {
			s.Email = &all[i]
		}
		return nil
	})
	group.Go(func() error {
		var err error
		if s.SignIn, err = m.SignInExperience(ctx); err != nil {
			return fmt.Errorf("reading the sign-in experience: %w", err)
		}
		return nil
	})
	if len(d.Resources) > 0 {
		group.Go(func() error { return s.readResources(ctx, m, d) })
	}
	if len(d.Roles) > 0 {
		group.Go(func() error {
			var err error
			if s.Roles, err = m.Roles(ctx); err != nil {
				return fmt.Errorf("reading the roles: %w", err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return s, nil
}

// readApplication finds the gateway's application, by its id or else by name and redirect URIs.
func (s *State) readApplication(ctx context.Context, m *management.Client, d *Desired) error {
	if d.Application.ID != "" {
		a, err := m.Application(ctx, d.Application.ID)
		switch {
		case errors.Is(err, management.ErrNotFound) || errors.Is(err, management.ErrID):
			return nil
		case err != nil:
			return fmt.Errorf("reading the application: %w", err)
		}
		s.Application = &a
	} else {
		all, err := m.Applications(ctx, management.Traditional)
		if err != nil {
			return fmt.Errorf("reading the applications: %w", err)
		}
		s.choose(all, d.Application)
	}
	if s.Application == nil {
		return nil
	}
	var err error
	if s.Secrets, err = m.Secrets(ctx, s.Application.ID); err != nil {
		return fmt.Errorf("reading the client secrets: %w", err)
	}
	now := time.Now().UnixMilli()
	s.Secrets = slices.DeleteFunc(s.Secrets, func(one management.Secret) bool { return one.ExpiresAt != nil && *one.ExpiresAt <= now })
	return nil
}

// choose takes the one application of the right name that has a redirect URI of ours. Of several it takes the first where
// setup has made them all, in runs at the same time of which one was broken off; else none.
func (s *State) choose(all []management.Application, want Application) {
	var ours []management.Application
	for _, a := range all {
		switch {
		case want.isIt(a):
			ours = append(ours, a)
		case want.hasItsURI(a):
			s.Same = append(s.Same, a)
		}
	}
	byHand := func(a management.Application) bool { return a.Description != want.mark() }
	if len(ours) == 1 || len(ours) > 1 && !slices.ContainsFunc(ours, byHand) {
		slices.SortFunc(ours, earlier)
		s.Application, ours = &ours[0], ours[1:]
	}
	s.Same = append(ours, s.Same...)
}

// isIt says whether an application of the tenant can be taken for the gateway's.
func (a Application) isIt(one management.Application) bool {
	return one.Name == a.Name && a.hasItsURI(one)
}

// hasItsURI says whether it is of the right kind and has a redirect URI of the gateway.
func (a Application) hasItsURI(one management.Application) bool {
	return one.Type == management.Traditional && !one.ThirdParty &&
		slices.ContainsFunc(texts(one.OIDC["redirectUris"]), func(uri string) bool { return slices.Contains(a.RedirectURIs, uri) })
}

// earlier compares applications by when they were made, and by their ids where that is the same.
func earlier(a, b management.Application) int {
	return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), cmp.Compare(a.ID, b.ID))
}

func (s *State) readResources(ctx context.Context, m *management.Client, d *Desired) error {
	all, err := m.Resources(ctx)
	if err != nil {
		return fmt.Errorf("reading the API resources: %w", err)
	}
	for _, want := range d.Resources {
		i := slices.IndexFunc(all, func(r management.Resource) bool { return r.Indicator == want.Indicator })
		if i < 0 {
			continue
		}
		s.Resources = append(s.Resources, all[i])
		if len(want.Scopes) == 0 {
			continue
		}
		if s.Scopes[want.Indicator], err = m.Scopes(ctx, all[i].ID); err != nil {
			return fmt.Errorf("reading the permissions of the API resource %s: %w", want.Indicator, err)
		}
	}
	return nil
}

// texts are the texts of a JSON list; nil: it is none.
func texts(v any) []string {
	switch list := v.(type) {
	case []string:
		return list
	case []any:
		var out []string
		for _, one := range list {
			if text, ok := one.(string); ok {
				out = append(out, text)
			}
		}
		return out
	}
	return nil
}
