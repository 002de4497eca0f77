package access

import (
	"context"
	"net/netip"
	"strings"
	"sync"

	"portero/internal/expression"
	"portero/internal/identity"
)

// The fields of a rule, as the configuration calls them.
const (
	fieldMethods           = "methods"
	fieldEmails            = "emails"
	fieldDomains           = "email_domains"
	fieldRoles             = "roles"
	fieldOrganizations     = "organizations"
	fieldOrganizationRoles = "organization_roles"
	fieldClaims            = "claims"
	fieldExpression        = "expression"
	fieldNetworks          = "networks"
)

// miss is the first condition of a rule that does not hold. The zero value: all hold.
type miss struct {
	field   string
	index   int             // of the claim, with fieldClaims
	trouble expression.Kind // why it could not be evaluated; "": it could, and does not hold
}

// question is one person and one request, as the rules of one policy are asked about them.
type question struct {
	ctx    context.Context
	id     *identity.Identity
	email  string // the one that counts
	method string
	client netip.Addr
	input  *expression.Input // nil: no rule has an expression
}

// ask makes a question; done ends it.
func (p Policy) ask(ctx context.Context, id *identity.Identity, r *Request) question {
	q := question{ctx: ctx, id: id, email: identity.NormalEmail(id.Email), method: r.Method, client: r.Client.Unmap().WithZone("")}
	if q.method == "HEAD" {
		q.method = "GET"
	}
	if p.expressions {
		q.input = inputs.Get().(*expression.Input)
		*q.input = expression.Input{
			Claims: id.Claims.All(), Email: q.email,
			Method: r.Method, Scheme: r.Scheme, Host: r.Host, Path: r.Path, Client: q.client,
			SessionID: r.SessionID, Subject: id.Subject, SignedInAt: r.SignedInAt, AuthTime: r.AuthTime, Now: r.Now,
		}
	}
	return q
}

var inputs = sync.Pool{New: func() any { return new(expression.Input) }}

func (q *question) done() {
	if q.input != nil {
		*q.input = expression.Input{}
		inputs.Put(q.input)
	}
}

// check finds the first condition that does not hold. The networks come last, so that a rule that fails by them would hold
// elsewhere.
func (r *rule) check(q *question) miss {
	if r.methods != nil {
		if _, ok := r.methods[q.method]; !ok {
			return miss{field: fieldMethods}
		}
	}
	if r.emails != nil {
		if _, ok := r.emails[q.email]; !ok || q.email == "" {
			return miss{field: fieldEmails}
		}
	}
	if r.domains != nil && !r.matchesDomain(q.email) {
		return miss{field: fieldDomains}
	}
	if m := checkList(q, fieldRoles, r.roles); m.field != "" {
		return m
	}
	if m := checkList(q, fieldOrganizations, r.organizations); m.field != "" {
		return m
	}
	if m := checkList(q, fieldOrganizationRoles, r.memberships); m.field != "" {
		return m
	}
	for i := range r.claims {
		if m := checkList(q, r.claims[i].name, r.claims[i].values); m.field != "" {
			return miss{field: fieldClaims, index: i, trouble: m.trouble}
		}
	}
	if r.expression != nil {
		switch holds, err := r.expression.Eval(q.ctx, q.input); {
		case err != nil:
			return miss{field: fieldExpression, trouble: expression.KindOf(err)}
		case !holds:
			return miss{field: fieldExpression}
		}
	}
	if r.networks != nil && !contains(r.networks, q.client) {
		return miss{field: fieldNetworks}
	}
	return miss{}
}

// checkList compares the list of a claim with the values that are let in. One with too many entries is not looked at.
func checkList(q *question, claim string, values set) miss {
	if values == nil {
		return miss{}
	}
	switch found, entries := q.id.Any(claim, values); {
	case entries > maxEntries:
		return miss{field: claim, trouble: expression.List}
	case !found:
		return miss{field: claim}
	}
	return miss{}
}

// matchesDomain compares the part after the last @; email has exactly one, or is "".
func (r *rule) matchesDomain(email string) bool {
	if email == "" {
		return false
	}
	if r.anyDomain {
		return true
	}
	_, ok := r.domains[email[strings.LastIndexByte(email, '@')+1:]]
	return ok
}

func contains(networks []netip.Prefix, client netip.Addr) bool {
	for _, network := range networks {
		if network.Contains(client) {
			return true
		}
	}
	return false
}
