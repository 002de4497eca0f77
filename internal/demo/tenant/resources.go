package tenant

import (
	"net/http"
	"slices"
	"strings"
	"unicode"
)

// resource is an API that access tokens are for.
type resource struct {
	TenantID  string `json:"tenantId"`
	ID        string `json:"id"`
	Name      string `json:"name"`
	Indicator string `json:"indicator"`
	Default   bool   `json:"isDefault"`
	TTL       int64  `json:"accessTokenTtl"` // seconds

	scopes []*scope
}

// scope is a permission of a resource.
type scope struct {
	TenantID    string  `json:"tenantId"`
	ID          string  `json:"id"`
	ResourceID  string  `json:"resourceId"`
	Name        string  `json:"name"`
	Description *string `json:"description"`
	CreatedAt   int64   `json:"createdAt"` // milliseconds
}

var (
	createResource = object(
		member{"name", text(atLeast(1))},
		member{"indicator", text(atLeast(1))},
		member{"accessTokenTtl", optional(number(whole, atMostNumber(1<<53)))},
	)
	createScope = object(
		member{"name", text(atLeast(1), atMost(256))},
		member{"description", optional(nullable(text()))},
	)
)

func (t *Tenant) routeResources() {
	t.handle("GET /api/resources", nil, func(c call) (answer, error) {
		some, err := Page(c.w, c.Request, t.resources, true)
		return answer{http.StatusOK, slices.Clone(some)}, err
	})
	t.handle("POST /api/resources", createResource, func(c call) (answer, error) {
		made := &resource{TenantID: "default", ID: newID(21), TTL: 3600}
		fill(made, c.body)
		if slices.ContainsFunc(t.resources, func(r *resource) bool { return r.Indicator == made.Indicator }) {
			return answer{}, unprocessable("resource.resource_identifier_in_use", "The API identifier "+made.Indicator+" is already in use")
		}
		t.resources = append(t.resources, made)
		return answer{http.StatusCreated, struct {
			*resource
			Scopes []scope `json:"scopes"`
		}{made, []scope{}}}, nil
	})
	t.handle("GET /api/resources/{id}", nil, func(c call) (answer, error) {
		r, err := t.resource(c.PathValue("id"))
		return answer{http.StatusOK, r}, err
	})
	t.handle("DELETE /api/resources/{id}", nil, func(c call) (answer, error) {
		r, err := t.resource(c.PathValue("id"))
		switch {
		case err != nil:
			return answer{}, err
		case r.Indicator == t.config.Resource:
			return answer{}, refused("resource.cannot_delete_management_api", "Cannot delete Logto Management API.")
		}
		t.resources = slices.DeleteFunc(t.resources, func(one *resource) bool { return one == r })
		return answer{status: http.StatusNoContent}, nil
	})
	// GET /api/resources/{id}/scopes: an unknown resource has none.
	t.handle("GET /api/resources/{id}/scopes", nil, func(c call) (answer, error) {
		var all []*scope
		if r, err := t.resource(c.PathValue("id")); err == nil {
			all = slices.Clone(r.scopes)
			slices.Reverse(all) // the newest first
		}
		some, err := Page(c.w, c.Request, all, false)
		return answer{http.StatusOK, some}, err
	})
	t.handle("POST /api/resources/{id}/scopes", createScope, func(c call) (answer, error) {
		made := &scope{TenantID: "default", ID: newID(21), ResourceID: c.PathValue("id"), CreatedAt: t.milliseconds()}
		fill(made, withoutEmpty(c.body))
		if strings.ContainsFunc(made.Name, unicode.IsSpace) {
			return answer{}, refused("scope.name_with_space", "The name of the scope cannot contain any spaces.")
		}
		r, err := t.resource(made.ResourceID)
		switch {
		case err != nil:
			return answer{}, err
		case r.Indicator == t.config.Resource:
			return answer{}, refused("resource.cannot_modify_management_api", "Cannot modify Logto Management API.")
		case slices.ContainsFunc(r.scopes, func(s *scope) bool { return s.Name == made.Name }):
			return answer{}, unprocessable("scope.name_exists", "The scope name "+made.Name+" is already in use")
		}
		r.scopes = append(r.scopes, made)
		return answer{http.StatusCreated, made}, nil
	})
}

// resource finds one. The caller holds the mutex.
func (t *Tenant) resource(id string) (*resource, error) {
	for _, r := range t.resources {
		if r.ID == id {
			return r, nil
		}
	}
	return nil, notExists("resources", id)
}
