// Package access decides which signed-in person may come in: rules over the verified identity and the network the
// request came from.
//
// It owns the matching of rules and the validation of what they name. It does not own which route asks (package
// route), what a denied person sees, or who is signed in.
//
// Invariants: the zero Policy denies everybody, and so does every policy for nobody. An entry that says nothing is
// refused, so no rule allows by being empty. Addresses and domains are compared in ASCII lower case on the one @ an
// address may have; everything else is compared byte for byte.
package access

import (
	"fmt"
	"net/netip"
	"strings"

	"portero/internal/identity"
)

// Claim is held by a person one of whose values of the claim is among Values.
type Claim struct {
	Name   string   // a claim, or a path: custom_data.department
	Values []string // canonical text, as identity.Claims.Text has it; a list claim matches by any element
}

// Rule is one entry of `allow`. Its fields must all hold; of a field's list, one value is enough. A field left empty
// asks for nothing, but one field at least is filled.
type Rule struct {
	Emails        []string       // whole addresses
	EmailDomains  []string       // exact domains, without subdomains; "*": any address that counts
	Roles         []string       // exact
	Organizations []string       // exact identifiers
	Claims        []Claim        // all of them
	Networks      []netip.Prefix // of the client's address
}

// Policy is a list of rules of which any suffices. The zero value denies everybody.
type Policy struct {
	rules []rule
}

// Verdict is what a policy says.
type Verdict struct {
	Allowed     bool
	Rule        int  // index of the rule that allowed; -1: none
	NetworkOnly bool // denied, but the same person would be allowed from another network
}

// rule is a Rule ready to be matched: sets for lists, nil for a field that asks for nothing.
type rule struct {
	emails, domains, roles, organizations set
	anyDomain                             bool
	claims                                []claim
	networks                              []netip.Prefix
}

type claim struct {
	name   string
	values set
}

type set map[string]struct{}

func (s set) hasAny(values []string) bool {
	for _, v := range values {
		if _, ok := s[v]; ok {
			return true
		}
	}
	return false
}

// NewPolicy checks the rules and makes them ready. The error names the key below `allow`.
func NewPolicy(rules []Rule) (Policy, error) {
	p := Policy{rules: make([]rule, 0, len(rules))}
	for i, r := range rules {
		ready, err := newRule(r)
		if err != nil {
			return Policy{}, fmt.Errorf("allow[%d]%w", i, err)
		}
		p.rules = append(p.rules, ready)
	}
	return p, nil
}

func newRule(r Rule) (ready rule, err error) {
	if len(r.Emails)+len(r.EmailDomains)+len(r.Roles)+len(r.Organizations)+len(r.Claims)+len(r.Networks) == 0 {
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

// Evaluate says whether somebody may come in from the address client. Nobody (nil, or an identity without subject)
// is denied. An invalid client address is in no network.
func (p Policy) Evaluate(id *identity.Identity, client netip.Addr) Verdict {
	denied := Verdict{Rule: -1}
	if id == nil || id.Subject == "" {
		return denied
	}
	client = client.Unmap().WithZone("")
	email := identity.NormalEmail(id.Email)
	for i := range p.rules {
		r := &p.rules[i]
		if !r.matchesPerson(id, email) {
			continue
		}
		if r.matchesNetwork(client) {
			return Verdict{Allowed: true, Rule: i}
		}
		denied.NetworkOnly = true
	}
	return denied
}

// matchesPerson compares every field but the networks.
func (r *rule) matchesPerson(id *identity.Identity, email string) bool {
	if r.emails != nil {
		if _, ok := r.emails[email]; !ok || email == "" {
			return false
		}
	}
	if r.domains != nil && !r.matchesDomain(email) {
		return false
	}
	if r.roles != nil && !r.roles.hasAny(id.Roles) {
		return false
	}
	if r.organizations != nil && !r.organizations.hasAny(id.Organizations) {
		return false
	}
	for _, c := range r.claims {
		if !c.values.hasAny(id.List(c.name)) {
			return false
		}
	}
	return true
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

func (r *rule) matchesNetwork(client netip.Addr) bool {
	if r.networks == nil {
		return true
	}
	for _, network := range r.networks {
		if network.Contains(client) {
			return true
		}
	}
	return false
}
