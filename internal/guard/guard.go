// Package guard decides what becomes of a request: it is let through, its sender is asked to sign in, or it is denied.
//
// It owns the decision and its audit entry, written by the same function. It does not own how the decision is told to
// people, applications or a proxy that asks (the proxy path and forward-auth render the same Decision), the rules
// (package access), or the lookup of the session (package session).
//
// # Audit
//
// Every decision is recorded, except that a public route lets everybody in: that says nothing about anybody, and there
// is one for every image.
//
// Invariants: nothing else says Allow. The zero Request, the zero Route, a nil Route and an unknown access value are
// denied. On a route that asks who somebody is, not knowing whether a session is good denies, whatever else is known;
// on an optional route it means nobody. An identity goes upstream only with Allow, and only where the route asks who.
package guard

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"portero/internal/audit"
	"portero/internal/identity"
	"portero/internal/route"
	"portero/internal/session"
)

// Outcome is what becomes of a request. The zero value denies.
type Outcome uint8

// The outcomes; String gives the words of logs, metrics and explain.
const (
	Deny   Outcome = iota
	SignIn         // nobody is signed in who could be asked about
	Allow
)

func (o Outcome) String() string {
	switch o {
	case Deny:
		return "deny"
	case SignIn:
		return "sign-in"
	case Allow:
		return "allow"
	}
	return fmt.Sprintf("Outcome(%d)", uint8(o))
}

// Reason says why, in one stable word.
type Reason string

// The reasons, with the outcome each belongs to.
const (
	ReasonPublic           Reason = "public"            // allow: the route is public
	ReasonAnonymous        Reason = "anonymous"         // allow: the route is optional and nobody is signed in, or nobody knows
	ReasonSignedIn         Reason = "signed-in"         // allow: the route is optional and somebody is signed in
	ReasonRule             Reason = "rule"              // allow: a rule lets this person in
	ReasonNoSession        Reason = "no-session"        // sign-in: Decision.Missing says what became of the session
	ReasonNoRule           Reason = "no-rule"           // deny: signed in, but no rule lets this person in
	ReasonNetwork          Reason = "network"           // deny: a rule would let this person in from another network
	ReasonRouteDenied      Reason = "route-denied"      // deny: the route lets nobody in
	ReasonNoRoute          Reason = "no-route"          // deny: there is no route
	ReasonStoreUnavailable Reason = "store-unavailable" // deny: the session store could not be asked
	ReasonUnchecked        Reason = "unchecked"         // deny: the session could not be checked for another reason
)

// Request is what a decision is made on.
type Request struct {
	Route   *route.Route     // nil: denied
	Session *session.Session // nil: nobody is signed in
	Missing session.Reason   // why Session is nil; a session with a reason not to be there is none
	Lookup  error            // why nobody knows whether there is a session; nil: it is known
	Client  netip.Addr       // for rules with networks; invalid: in none

	// For the audit entry alone.
	Method, Host, Path, RequestID string
}

// Decision is the answer. The zero value denies.
type Decision struct {
	Outcome     Outcome
	Reason      Reason
	Route       *route.Route
	Rule        string             // the entry that allowed: "allow[0]"; "" none
	Identity    *identity.Identity // whom the upstream is told about; nil: nobody
	Missing     session.Reason     // with ReasonNoSession: what became of the session
	NetworkOnly bool               // denied, but the same person would be allowed from another network
}

// Guard decides. The zero value decides and records nothing.
type Guard struct {
	Audit *audit.Log // nil: no audit
}

// Decide is the one function that can say Allow; it writes the audit entry before it returns.
func (g *Guard) Decide(ctx context.Context, r Request) Decision {
	d := decide(r)
	if g.Audit != nil && (d.Outcome != Allow || d.Reason != ReasonPublic) {
		g.Audit.Record(ctx, event(r, d))
	}
	return d
}

func decide(r Request) Decision {
	if r.Route == nil {
		return Decision{Reason: ReasonNoRoute}
	}
	s := r.Session
	if s != nil && (r.Lookup != nil || r.Missing != session.Found || s.Identity.Subject == "") {
		s = nil
	}
	switch r.Route.Access {
	case route.Public:
		return Decision{Outcome: Allow, Reason: ReasonPublic, Route: r.Route}

	case route.Optional:
		if s == nil {
			return Decision{Outcome: Allow, Reason: ReasonAnonymous, Route: r.Route}
		}
		return Decision{Outcome: Allow, Reason: ReasonSignedIn, Route: r.Route, Identity: &s.Identity}

	case route.SignedIn:
		switch {
		case errors.Is(r.Lookup, session.ErrUnavailable):
			return Decision{Reason: ReasonStoreUnavailable, Route: r.Route}
		case r.Lookup != nil:
			return Decision{Reason: ReasonUnchecked, Route: r.Route}
		case s == nil:
			return Decision{Outcome: SignIn, Reason: ReasonNoSession, Route: r.Route, Missing: r.Missing}
		}
		verdict := r.Route.Allow.Evaluate(&s.Identity, r.Client)
		switch {
		case verdict.Allowed:
			return Decision{Outcome: Allow, Reason: ReasonRule, Route: r.Route, Rule: fmt.Sprintf("allow[%d]", verdict.Rule), Identity: &s.Identity}
		case verdict.NetworkOnly:
			return Decision{Reason: ReasonNetwork, Route: r.Route, NetworkOnly: true}
		}
		return Decision{Reason: ReasonNoRule, Route: r.Route}
	}
	return Decision{Reason: ReasonRouteDenied, Route: r.Route}
}

// event is the audit entry. It names the person of the session even where nobody was told about them.
func event(r Request, d Decision) audit.Event {
	e := audit.Event{
		Action: "decision", Outcome: d.Outcome.String(), Reason: string(d.Reason), Rule: d.Rule,
		Method: r.Method, Host: r.Host, Path: r.Path, RequestID: r.RequestID,
	}
	if d.Missing != session.Found && d.Missing != session.NoCookie {
		e.Reason += ":" + string(d.Missing)
	}
	if r.Route != nil {
		e.Route = r.Route.Name
	}
	if r.Client.IsValid() {
		e.Client = r.Client.String()
	}
	if s := r.Session; s != nil {
		e.Subject, e.Email, e.SessionID = s.Subject, s.Identity.Email, s.ID
	}
	return e
}
