// Package access decides which signed-in person may come in: rules over the verified identity, the request and the network
// that it came from.
//
// It owns the matching of rules and the validation of what they name. It does not own which route asks (package
// route), what a denied person sees, who is signed in, or the language of expressions (package expression).
//
// Invariants: the zero Policy denies everybody, and so does every policy for nobody. An entry that says nothing is
// refused, so no rule allows by being empty. A rule that cannot be evaluated does not hold. Addresses and domains are compared
// in ASCII lower case on the one @ an address may have; everything else is compared byte for byte.
package access

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"portero/internal/expression"
	"portero/internal/identity"
)

// maxEntries is how many entries a list of a claim may have that a rule looks at.
const maxEntries = expression.MaxList

// Claim is held by a person one of whose values of the claim is among Values.
type Claim struct {
	Name   string   // a claim, or a path: custom_data.department
	Values []string // canonical text, as identity.Claims.Text has it; a list claim matches by any element
}

// Rule is one entry of `allow`. Its fields must all hold; of a field's list, one value is enough. A field left empty
// asks for nothing, but one field beside Methods is filled.
type Rule struct {
	Emails            []string       // whole addresses
	EmailDomains      []string       // exact domains, without subdomains; "*": any address that counts
	Roles             []string       // exact
	Organizations     []string       // exact identifiers
	OrganizationRoles []string       // exact: ORGANIZATION:ROLE
	Claims            []Claim        // all of them
	Networks          []netip.Prefix // of the client's address
	Methods           []string       // for which the rule counts; HEAD counts as GET
	Expression        string         // CEL, as package expression has it
}

// Request is what rules look at beside the person. The zero value is a request of which nothing is known.
type Request struct {
	Method, Scheme, Host, Path string
	Client                     netip.Addr // invalid: in no network

	SessionID  string
	SignedInAt time.Time // when the session began
	AuthTime   time.Time // when the provider saw the person; zero: unknown

	Now func() time.Time // nil: time.Now
}

// Policy is a list of rules of which any suffices. The zero value denies everybody.
type Policy struct {
	rules       []rule
	expressions bool // a rule has one
}

// Verdict is what a policy says.
type Verdict struct {
	Allowed     bool
	Rule        int  // index of the rule that allowed; -1: none
	NetworkOnly bool // denied, but the same person would be allowed from another network

	// Broken is the index of the first rule that could not be evaluated, and Trouble says why; -1: none, or a rule before allowed.
	Broken  int
	Trouble expression.Kind
}

// rule is a Rule ready to be matched: sets for lists, nil for a field that asks for nothing.
type rule struct {
	name                              string // allow[0]
	methods                           set
	emails, domains                   set
	anyDomain                         bool
	roles, organizations, memberships set
	claims                            []claim
	expression                        *expression.Program
	networks                          []netip.Prefix
}

type claim struct {
	name   string
	values set
}

type set map[string]struct{}

// NewPolicy checks the rules and makes them ready. The error names the key below `allow`.
func NewPolicy(rules []Rule) (Policy, error) {
	p := Policy{rules: make([]rule, 0, len(rules))}
	for i, r := range rules {
		ready, err := newRule(r)
		if err != nil {
			return Policy{}, fmt.Errorf("allow[%d]%w", i, err)
		}
		ready.name = fmt.Sprintf("allow[%d]", i)
		p.rules = append(p.rules, ready)
		p.expressions = p.expressions || ready.expression != nil
	}
	return p, nil
}

func newRule(r Rule) (ready rule, err error) {
	if len(r.Emails)+len(r.EmailDomains)+len(r.Roles)+len(r.Organizations)+len(r.OrganizationRoles)+len(r.Claims)+len(r.Networks) == 0 && r.Expression == "" {
		if len(r.Methods) > 0 {
			return rule{}, errors.New(".methods: says how, and nothing says who; write who is meant, or email_domains: [\"*\"] for everybody")
		}
		return rule{}, fmt.Errorf(": the entry is empty; write who is meant, or email_domains: [\"*\"] for everybody")
	}
	if ready.emails, err = newSet("emails", r.Emails, checkEmail); err != nil {
		return rule{}, err
	}
	if ready.domains, err = newSet("email_domains", r.EmailDomains, checkDomain); err != nil {
		return rule{}, err
	}
	_, ready.anyDomain = ready.domains["*"]
	if ready.roles, err = newSet("roles", r.Roles, checkText); err != nil {
		return rule{}, err
	}
	if ready.organizations, err = newSet("organizations", r.Organizations, checkText); err != nil {
		return rule{}, err
	}
	if ready.memberships, err = newSet("organization_roles", r.OrganizationRoles, checkMembership); err != nil {
		return rule{}, err
	}
	if ready.methods, err = newSet("methods", r.Methods, checkMethod); err != nil {
		return rule{}, err
	}
	if slices.Contains(r.Methods, "HEAD") && !slices.Contains(r.Methods, "GET") {
		return rule{}, errors.New(".methods: has HEAD without GET; HEAD counts as GET, write GET")
	}
	if r.Expression != "" {
		if ready.expression, err = expression.Compile(r.Expression); err != nil {
			return rule{}, fmt.Errorf(".expression: %w", err)
		}
	}
	for i, c := range r.Claims {
		switch {
		case c.Name == "":
			return rule{}, fmt.Errorf(".claims[%d].name: is empty", i)
		case len(c.Values) == 0:
			return rule{}, fmt.Errorf(".claims[%d].values: is empty; write the values that are let in", i)
		}
		check := checkText
		if c.Name == "email" {
			check = checkEmail
		}
		values, err := newSet(fmt.Sprintf("claims[%d].values", i), c.Values, check)
		if err != nil {
			return rule{}, err
		}
		ready.claims = append(ready.claims, claim{name: c.Name, values: values})
	}
	for i, network := range r.Networks {
		network, ok := unmapPrefix(network)
		if !ok {
			return rule{}, fmt.Errorf(".networks[%d]: is no network; write 10.0.0.0/8 or 2001:db8::/32", i)
		}
		ready.networks = append(ready.networks, network)
	}
	return ready, nil
}

func newSet(key string, values []string, check func(string) (string, error)) (set, error) {
	if len(values) == 0 {
		return nil, nil
	}
	s := make(set, len(values))
	for i, v := range values {
		v, err := check(v)
		if err != nil {
			return nil, fmt.Errorf(".%s[%d]: %w", key, i, err)
		}
		s[v] = struct{}{}
	}
	return s, nil
}

func checkText(s string) (string, error) {
	if s == "" {
		return "", fmt.Errorf("is empty")
	}
	return s, nil
}

// checkMembership takes what Logto's claim organization_roles has: ORGANIZATION:ROLE.
func checkMembership(s string) (string, error) {
	if organization, role, ok := strings.Cut(s, ":"); !ok || organization == "" || role == "" {
		return "", fmt.Errorf("%q is no role in an organization; write one like org-id:admin", s)
	}
	return s, nil
}

func checkMethod(s string) (string, error) {
	if s == "" || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "" {
		return "", fmt.Errorf("%q is no method; write one like GET", s)
	}
	return s, nil
}

func checkEmail(s string) (string, error) {
	if email := identity.NormalEmail(s); email != "" {
		return email, nil
	}
	return "", fmt.Errorf("%q is no address; write one like ann@example.com", s)
}

func checkDomain(s string) (string, error) {
	switch {
	case s == "*":
		return s, nil
	case strings.HasPrefix(s, "@") && !strings.Contains(s[1:], "@"):
		return "", fmt.Errorf("%q has an @; write the part after it", s)
	case strings.HasPrefix(s, ".") || strings.HasPrefix(s, "*."):
		return "", fmt.Errorf("%q names subdomains, which are not matched; write each domain in full", s)
	case strings.ContainsAny(s, "*/:,;<>\"\\") || strings.HasSuffix(s, ".") || identity.NormalEmail("a@"+s) == "":
		return "", fmt.Errorf("%q is no domain; write one like example.com, or \"*\" for every address", s)
	}
	return identity.LowerASCII(s), nil
}

// unmapPrefix turns ::ffff:10.0.0.0/104 into 10.0.0.0/8, the form in which client addresses are compared.
func unmapPrefix(p netip.Prefix) (netip.Prefix, bool) {
	if !p.IsValid() {
		return netip.Prefix{}, false
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}

// Len is the number of rules.
func (p Policy) Len() int { return len(p.rules) }

// Name is what logs call a rule: allow[0]. "" for -1.
func (p Policy) Name(i int) string {
	if i < 0 || i >= len(p.rules) {
		return ""
	}
	return p.rules[i].name
}

// Evaluate says whether somebody may come in with a request. Nobody (nil, or an identity without subject) is denied.
func (p Policy) Evaluate(ctx context.Context, id *identity.Identity, r *Request) Verdict {
	verdict := Verdict{Rule: -1, Broken: -1}
	if id == nil || id.Subject == "" {
		return verdict
	}
	q := p.ask(ctx, id, r)
	defer q.done()
	for i := range p.rules {
		switch miss := p.rules[i].check(&q); {
		case miss.field == "":
			return Verdict{Allowed: true, Rule: i, Broken: -1}
		case miss.trouble != "" && verdict.Broken < 0:
			verdict.Broken, verdict.Trouble = i, miss.trouble
		case miss.field == fieldNetworks:
			verdict.NetworkOnly = true
		}
	}
	return verdict
}
