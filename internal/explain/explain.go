// Package explain tells an operator what a configuration decides: about one request, or about a table of them.
//
// It owns the question (who asks for what), the words of the answer, and the file of `portero test`. It decides nothing: that
// is package gateway's Explainer, by the same guard as for requests that come in.
//
// Invariants: nobody is called over the net, and nothing is recorded. A table that cannot be read whole is not run: a test
// that is not understood does not count as passed.
package explain

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"portero/internal/gateway"
	"portero/internal/guard"
	"portero/internal/identity"
	"portero/internal/route"
)

// Subject is the claim `sub` of a person of whom none is told.
const Subject = "user-id"

// Claims makes the claims of a person. An address counts as verified unless email_verified says otherwise.
func Claims(members map[string]any) (identity.Claims, error) {
	all := map[string]any{"sub": Subject}
	if _, ok := members["email"]; ok {
		all["email_verified"] = true
	}
	maps.Copy(all, members)
	data, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("the claims: %w", err)
	}
	return identity.ParseClaims(data)
}

// lists are the claims that Logto always sends as lists.
var lists = []string{"roles", "organizations", "organization_roles"}

// ParseClaims reads claims as NAME=VALUE. A value is JSON where it can be, else text; a name that comes again makes a list;
// a dot leads into an object, save in a URL.
func ParseClaims(flags []string) (map[string]any, error) {
	claims := map[string]any{}
	for _, flag := range flags {
		name, text, found := strings.Cut(flag, "=")
		if !found || name == "" {
			return nil, fmt.Errorf("the claim %q: write NAME=VALUE", flag)
		}
		var value any
		if json.Unmarshal([]byte(text), &value) != nil {
			value = text
		} else if _, number := value.(float64); number {
			value = json.Number(text)
		}
		object := claims
		if !strings.Contains(name, "://") {
			parts := strings.Split(name, ".")
			for _, part := range parts[:len(parts)-1] {
				inner, ok := object[part].(map[string]any)
				if _, there := object[part]; there && !ok {
					return nil, fmt.Errorf("the claim %s is an object in one place and a value in another", part)
				}
				if !ok {
					inner = map[string]any{}
					object[part] = inner
				}
				object = inner
			}
			name = parts[len(parts)-1]
		}
		switch before, again := object[name]; {
		case again:
			list, ok := before.([]any)
			if !ok {
				list = []any{before}
			}
			object[name] = append(list, value)
		case slices.Contains(lists, name) && !isList(value):
			object[name] = []any{value}
		default:
			object[name] = value
		}
	}
	return claims, nil
}

func isList(v any) bool {
	_, ok := v.([]any)
	return ok
}

// Answer is an explanation as it is printed.
type Answer struct {
	Decision  string              `json:"decision"` // allow | sign-in | deny
	URL       string              `json:"url"`
	Route     string              `json:"route,omitempty"`
	Access    string              `json:"access,omitempty"`
	Rule      string              `json:"rule,omitempty"` // that allowed, or could not be evaluated
	Reason    string              `json:"reason"`         // the word that log and metrics have
	Sentence  string              `json:"explanation"`
	WouldDeny string              `json:"would_deny,omitempty"` // of a route that only reports
	Rules     []Rule              `json:"rules,omitempty"`
	Headers   map[string][]string `json:"headers,omitempty"`
	Omitted   []string            `json:"omitted,omitempty"` // headers that cannot be sent, and why
}

// Rule says how one entry of `allow` came out.
type Rule struct {
	Name   string `json:"rule"`
	Holds  bool   `json:"holds"`
	Field  string `json:"field,omitempty"` // the first that does not hold
	Reason string `json:"reason"`
}

// String is one line: allow[0] roles: the person has others.
func (r Rule) String() string {
	if r.Field == "" {
		return r.Name + ": " + r.Reason
	}
	return r.Name + " " + r.Field + ": " + r.Reason
}

// The reasons of answers that no guard was asked for.
const (
	reasonOwn     = "own-endpoint"
	reasonRefused = "refused"
)

// sentences say the reasons in full.
var sentences = map[guard.Reason]string{
	guard.ReasonPublic:         "the route is public",
	guard.ReasonAnonymous:      "the route is open to everybody, and nobody is signed in",
	guard.ReasonSignedIn:       "the route is open to everybody, and is told who this is",
	guard.ReasonRule:           "a rule lets this person in",
	guard.ReasonReportOnly:     "no rule lets this person in, and the route only reports that",
	guard.ReasonNoSession:      "nobody is signed in",
	guard.ReasonStepUp:         "a rule lets this person in, after a new sign-in: the last one is too long ago",
	guard.ReasonNoRule:         "no rule lets this person in",
	guard.ReasonNetwork:        "a rule would let this person in from another network",
	guard.ReasonRuleError:      "no rule lets this person in, and one could not be evaluated",
	guard.ReasonHeaderOverflow: "a header that says who this is would be too long, and the route wants it",
	guard.ReasonRouteDenied:    "the route lets nobody in",
	guard.ReasonNoRoute:        "no route is for this path and method",
}

// New puts an explanation into words.
func New(x gateway.Explanation) Answer {
	a := Answer{Decision: guard.Deny.String(), URL: x.URL}
	switch {
	case errors.Is(x.Refused, route.ErrNoRoute):
		a.Reason, a.Sentence = string(guard.ReasonNoRoute), sentences[guard.ReasonNoRoute]
		return a
	case x.Refused != nil:
		a.Reason, a.Sentence = reasonRefused, x.Refused.Error()
		return a
	case x.Own:
		a.Decision, a.Reason, a.Sentence = guard.Allow.String(), reasonOwn, "Portero answers this path itself, whoever asks"
		return a
	}
	d := x.Decision
	a.Decision, a.Reason, a.Sentence, a.Rule, a.WouldDeny = d.Outcome.String(), d.Why(), sentences[d.Reason], d.Rule, d.WouldDenyWhy()
	if a.Sentence == "" {
		a.Sentence = string(d.Reason)
	}
	if d.Header != "" {
		a.Sentence += ": " + d.Header
	}
	if d.Route != nil {
		a.Route, a.Access = d.Route.Name, d.Route.Access.String()
		for _, r := range x.Rules {
			a.Rules = append(a.Rules, Rule{Name: d.Route.Allow.Name(r.Rule), Holds: r.Field == "", Field: r.Field, Reason: r.Reason})
		}
	}
	a.Headers, a.Omitted = x.Headers, x.Omitted
	return a
}

// Print writes an answer for people, the decision in the first line.
func (a Answer) Print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "decision: %s\nurl: %s\n", a.Decision, a.URL)
	if a.Route != "" {
		fmt.Fprintf(&b, "route: %s (%s)\n", a.Route, a.Access)
	}
	if a.Rule != "" {
		fmt.Fprintf(&b, "rule: %s\n", a.Rule)
	}
	fmt.Fprintf(&b, "reason: %s (%s)\n", a.Reason, a.Sentence)
	if a.WouldDeny != "" {
		fmt.Fprintf(&b, "would deny: %s\n", a.WouldDeny)
	}
	if len(a.Rules) > 0 {
		b.WriteString("rules:\n")
		for _, r := range a.Rules {
			fmt.Fprintf(&b, "  %s\n", r)
		}
	}
	if len(a.Headers) > 0 {
		b.WriteString("headers:\n")
		for _, name := range slices.Sorted(maps.Keys(a.Headers)) {
			for _, value := range a.Headers[name] {
				fmt.Fprintf(&b, "  %s: %s\n", name, value)
			}
		}
	}
	for _, o := range a.Omitted {
		fmt.Fprintf(&b, "left out: %s\n", o)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
