package access

import (
	"context"
	"fmt"

	"portero/internal/expression"
	"portero/internal/identity"
)

// RuleReason says why a rule does not hold, for people who ask: it is not part of a decision.
type RuleReason struct {
	Rule    int
	Field   string          // the first field that does not hold, as the configuration calls it: claims[1]. "": all hold
	Reason  string          // a part of a sentence; it has no values of claims
	Trouble expression.Kind // why the field could not be evaluated. "": it could
}

// Explain says of every rule which of its conditions is the first that does not hold. For nobody there is none.
func (p Policy) Explain(ctx context.Context, id *identity.Identity, r *Request) []RuleReason {
	if id == nil || id.Subject == "" {
		return nil
	}
	q := p.ask(ctx, id, r)
	defer q.done()
	reasons := make([]RuleReason, 0, len(p.rules))
	for i := range p.rules {
		m := p.rules[i].check(&q)
		one := RuleReason{Rule: i, Field: m.field, Trouble: m.trouble, Reason: p.rules[i].explain(m, &q)}
		if m.field == fieldClaims {
			one.Field = fmt.Sprintf("claims[%d]", m.index)
		}
		reasons = append(reasons, one)
	}
	return reasons
}

// explain is the sentence for a condition that does not hold.
func (r *rule) explain(m miss, q *question) string {
	if m.trouble != "" {
		return troubles[m.trouble]
	}
	switch m.field {
	case "":
		return "every condition holds"
	case fieldMethods:
		return "the rule counts for other methods than " + q.method
	case fieldEmails, fieldDomains:
		if q.email == "" {
			return "there is no address that counts: none, or none that is verified"
		}
		return "the address is none of them"
	case fieldRoles, fieldOrganizations, fieldOrganizationRoles:
		if len(q.id.List(m.field)) == 0 {
			return "the person has none"
		}
		return "the person has others"
	case fieldClaims:
		name := r.claims[m.index].name
		if len(q.id.List(name)) == 0 {
			return "the claim " + name + " is not there, or has no text"
		}
		return "the claim " + name + " has another value"
	case fieldExpression:
		return "the expression is false"
	case fieldNetworks:
		if !q.client.IsValid() {
			return "nobody knows the client's address"
		}
		return "the client's address is in none of them"
	}
	return "does not hold"
}

// troubles are the sentences for conditions that could not be evaluated.
var troubles = map[expression.Kind]string{
	expression.Missing:  "a claim that it looks at is not there; write has(…) in front, or let Logto supply the claim",
	expression.List:     fmt.Sprintf("a list that it looks at has more than %d entries", maxEntries),
	expression.Cost:     "it would cost too much for what these claims have",
	expression.Time:     "it took too long",
	expression.TypeOf:   "a claim is of another type than the expression expects",
	expression.Address:  "nobody knows the client's address",
	expression.Sign:     "nobody knows when the person signed in",
	expression.Internal: "the evaluation broke off",
}
