package tenant

import (
	"net/http"
	"slices"
	"strings"
)

// role is what people, or applications, can have.
type role struct {
	TenantID    string `json:"tenantId"`
	ID          string `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Type        string `json:"type"`
	Default     bool   `json:"isDefault"`
}

// listedRole is a role in a list, with who has it.
type listedRole struct {
	*role
	Users                int   `json:"usersCount"`
	FeaturedUsers        []any `json:"featuredUsers"`
	Applications         int   `json:"applicationsCount"`
	FeaturedApplications []any `json:"featuredApplications"`
}

var roleTypes = []string{"User", "MachineToMachine"}

var (
	createRole = object(
		member{"name", text(atLeast(1), atMost(128))},
		member{"description", text(atLeast(1), atMost(128))},
		member{"type", optional(one(roleTypes...))},
		member{"isDefault", optional(boolean)},
		member{"scopeIds", optional(list(text(atLeast(1))))},
	)
	assignRoles = object(member{"roleIds", list(text(atLeast(1)))})
)

func (t *Tenant) routeRoles() {
	t.handle("GET /api/roles", nil, func(c call) (answer, error) {
		kind := c.URL.Query().Get("type")
		if kind != "" && !slices.Contains(roleTypes, kind) {
			return answer{}, refusedInput("query", one(roleTypes...)(kind, path{"type"}).issues)
		}
		all := []listedRole{}
		for _, r := range t.roles {
			if kind != "" && r.Type != kind {
				continue
			}
			listed := listedRole{role: r, FeaturedUsers: []any{}, FeaturedApplications: []any{}}
			for _, a := range t.applications {
				if slices.Contains(a.roles, r.ID) {
					if listed.Applications++; len(listed.FeaturedApplications) < 3 {
						listed.FeaturedApplications = append(listed.FeaturedApplications, map[string]any{"id": a.ID, "name": a.Name, "type": a.Type})
					}
				}
			}
			all = append(all, listed)
		}
		some, err := Page(c.w, c.Request, all, false)
		return answer{http.StatusOK, some}, err
	})
	t.handle("POST /api/roles", createRole, func(c call) (answer, error) {
		made := &role{TenantID: "default", ID: newID(21), Type: "User"}
		delete(c.body, "scopeIds")
		fill(made, c.body)
		switch {
		case slices.ContainsFunc(t.roles, func(r *role) bool { return r.Name == made.Name }):
			return answer{}, unprocessable("role.name_in_use", "This role name "+made.Name+" is already in use")
		case strings.HasPrefix(made.Name, "#internal:"):
			return answer{}, &Error{Status: http.StatusForbidden, Code: "role.internal_role_violation",
				Message: "You may be trying to update or delete an internal role which is forbidden by Logto. If you are creating a new role, try another name that does not start with \"#internal:\"."}
		}
		t.roles = append(t.roles, made)
		return answer{http.StatusOK, made}, nil
	})
	t.handle("GET /api/roles/{id}", nil, func(c call) (answer, error) {
		r, err := t.role(c.PathValue("id"))
		return answer{http.StatusOK, r}, err
	})
	t.handle("DELETE /api/roles/{id}", nil, func(c call) (answer, error) {
		r, err := t.role(c.PathValue("id"))
		if err != nil {
			return answer{}, err
		}
		t.roles = slices.DeleteFunc(t.roles, func(one *role) bool { return one == r })
		return answer{status: http.StatusNoContent}, nil
	})
	t.handle("GET /api/applications/{id}/roles", nil, func(c call) (answer, error) {
		a, err := t.application(c.PathValue("id"))
		if err != nil {
			return answer{}, err
		}
		var all []*role
		for _, r := range t.roles {
			if slices.Contains(a.roles, r.ID) {
				all = append(all, r)
			}
		}
		some, err := Page(c.w, c.Request, all, true)
		return answer{http.StatusOK, some}, err
	})
	t.handle("POST /api/applications/{id}/roles", assignRoles, func(c call) (answer, error) {
		a, err := t.application(c.PathValue("id"))
		if err != nil {
			return answer{}, err
		}
		if a.Type != "MachineToMachine" {
			return answer{}, unprocessable("application.invalid_type", "Only machine to machine applications can have associated roles.")
		}
		ids, added := texts(c.body["roleIds"]), []string{}
		for _, id := range ids {
			r, err := t.role(id)
			switch {
			case err != nil:
				return answer{}, err
			case r.Type != "MachineToMachine":
				return answer{}, unprocessable("application.invalid_role_type", "Can not assign user type role to machine to machine application.")
			case !slices.Contains(a.roles, id) && !slices.Contains(added, id):
				added = append(added, id)
			}
		}
		a.roles = append(a.roles, added...)
		return answer{http.StatusCreated, map[string]any{"roleIds": ids, "addedRoleIds": added}}, nil
	})
}

// role finds one. The caller holds the mutex.
func (t *Tenant) role(id string) (*role, error) {
	for _, r := range t.roles {
		if r.ID == id {
			return r, nil
		}
	}
	return nil, notExists("roles", id)
}

func texts(v any) []string {
	all := []string{}
	for _, one := range v.([]any) {
		all = append(all, one.(string))
	}
	return all
}

// MayManage reports whether an application has the role by which it may use the Management API.
func (t *Tenant) MayManage(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	a, err := t.application(id)
	return err == nil && slices.ContainsFunc(t.roles, func(r *role) bool {
		return r.Name == "Logto Management API access" && slices.Contains(a.roles, r.ID)
	})
}

// RoleNames are the names of people's roles. Its error is an *Error.
func (t *Tenant) RoleNames(ids []string) ([]string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var names []string
	for _, id := range ids {
		r, err := t.role(id)
		switch {
		case err != nil:
			return nil, err
		case r.Type != "User":
			return nil, unprocessable("user.invalid_role_type", "Invalid role type, can not assign machine-to-machine role to user.")
		}
		names = append(names, r.Name)
	}
	return names, nil
}
