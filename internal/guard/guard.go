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
// An access token decides alone: no session makes up for a
// wrong one. Report-only lets in nobody who is not signed in, and a sign-in that is too old is asked for again whoever lets the person in.
package guard

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"portero/internal/access"
	"portero/internal/assertion"
	"portero/internal/audit"
	"portero/internal/expression"
	"portero/internal/identity"
	"portero/internal/route"
	"portero/internal/session"
)

// Outcome is what becomes of a request. The zero value denies.
type Outcome uint8

// The outcomes; String gives the words of logs, metrics and explain.
const (
	Deny   Outcome = iota
	SignIn         // nobody is signed in who could be asked about, or not recently enough
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
	ReasonReportOnly       Reason = "report-only"       // allow: Decision.WouldDeny says why the rules would not
	ReasonNoSession        Reason = "no-session"        // sign-in: Decision.Missing says what became of the session
	ReasonStepUp           Reason = "step-up"           // sign-in: a rule lets this person in, who has to sign in again; deny: with an access token
	ReasonNoRule           Reason = "no-rule"           // deny: signed in, but no rule lets this person in
	ReasonNetwork          Reason = "network"           // deny: a rule would let this person in from another network
	ReasonRuleError        Reason = "rule-error"        // deny: no rule lets this person in, and Decision.Rule could not be evaluated
	ReasonHeaderOverflow   Reason = "header-overflow"   // deny: what the upstream has to be told is too long, see Decision.Header
	ReasonRouteDenied      Reason = "route-denied"      // deny: the route lets nobody in
	ReasonNoRoute          Reason = "no-route"          // deny: there is no route
	ReasonStoreUnavailable Reason = "store-unavailable" // deny: the session store could not be asked
	ReasonUnchecked        Reason = "unchecked"         // deny: the session could not be checked for another reason
	ReasonTokenMalformed   Reason = "token-malformed"   // deny: it cannot be told which access token is meant
	ReasonTokenInvalid     Reason = "token-invalid"     // deny: the access token does not verify; Bearer.Check says why
	ReasonTokenUnchecked   Reason = "token-unchecked"   // deny: the access token could not be checked
)

// Bearer is the access token that a request brings, and what became of it: verified, or not to be used for one reason.
type Bearer struct {
	Identity identity.Identity // zero: the token is not to be used
	ClientID string
	Expires  time.Time
	Failure  Reason // ReasonTokenMalformed, ReasonTokenInvalid or ReasonTokenUnchecked; "" it is verified
	Check    string // with ReasonTokenInvalid: the check that it failed
	Cause    error  // of Failure, for the log; it holds nothing of the token
}

// Request is what a decision is made on.
type Request struct {
	Route   *route.Route     // nil: denied
	Session *session.Session // nil: nobody is signed in
	Missing session.Reason   // why Session is nil; a session with a reason not to be there is none
	Lookup  error            // why nobody knows whether there is a session; nil: it is known
	Bearer  *Bearer          // on routes for those who are signed in it decides, whatever session there is; nil: none was brought
	Client  netip.Addr       // for rules with networks; invalid: in none
	Headers *assertion.Set   // what the upstream of the route is told; nil: nothing

	// For rules and for the audit entry.
	Method, Scheme, Host, Path string

	RequestID string // for the audit entry alone
}

// Decision is the answer. The zero value denies.
type Decision struct {
	Outcome     Outcome
	Reason      Reason
	Route       *route.Route
	Rule        string             // the entry that allowed, or that could not be evaluated: "allow[0]"; "" none
	Trouble     expression.Kind    // why Rule could not be evaluated; "" it could
	WouldDeny   Reason             // on a report-only route: why the rules would have denied; "" they would not
	Identity    *identity.Identity // whom the upstream is told about; nil: nobody
	Missing     session.Reason     // with ReasonNoSession: what became of the session
	NetworkOnly bool               // denied, but the same person would be allowed from another network
	Header      string             // with ReasonHeaderOverflow: the header that would be too long
	MaxAge      time.Duration      // with ReasonStepUp: how old the sign-in may be
	Bearer      *Bearer            // the access token that decided; nil: none
}

// Why is the reason with what is known beyond it, as the audit log has it: no-session:idle, rule-error:missing-member.
func (d Decision) Why() string {
	switch {
	case d.Missing != session.Found && d.Missing != session.NoCookie:
		return string(d.Reason) + ":" + string(d.Missing)
	case d.Reason == ReasonTokenInvalid && d.Bearer != nil && d.Bearer.Check != "":
		return string(d.Reason) + ":" + d.Bearer.Check
	case d.Trouble != "" && d.Reason == ReasonRuleError:
		return string(d.Reason) + ":" + string(d.Trouble)
	}
	return string(d.Reason)
}

// WouldDenyWhy is WouldDeny as Why has a reason; "" where nobody would have been denied.
func (d Decision) WouldDenyWhy() string {
	if d.WouldDeny == ReasonRuleError {
		return string(d.WouldDeny) + ":" + string(d.Trouble)
	}
	return string(d.WouldDeny)
}

// Guard decides. The zero value decides and records nothing.
type Guard struct {
	Audit *audit.Log       // nil: no audit
	Now   func() time.Time // nil: time.Now
}

// Decide is the one function that can say Allow; it writes the audit entry before it returns.
func (g *Guard) Decide(ctx context.Context, r Request) Decision {
	d := tellable(r, g.decide(ctx, r))
	if g.Audit != nil && (d.Outcome != Allow || d.Reason != ReasonPublic) {
		g.Audit.Record(ctx, event(r, d))
	}
	return d
}

func (g *Guard) decide(ctx context.Context, r Request) Decision {
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
		case r.Bearer != nil:
			return g.bearer(ctx, r)
		case errors.Is(r.Lookup, session.ErrUnavailable):
			return Decision{Reason: ReasonStoreUnavailable, Route: r.Route}
		case r.Lookup != nil:
			return Decision{Reason: ReasonUnchecked, Route: r.Route}
		case s == nil:
			return Decision{Outcome: SignIn, Reason: ReasonNoSession, Route: r.Route, Missing: r.Missing}
		}
		return g.signedIn(ctx, r, s)
	}
	return Decision{Reason: ReasonRouteDenied, Route: r.Route}
}

// ForRules is what the rules look at beside the person.
func (r *Request) ForRules(now func() time.Time) *access.Request {
	asked := &access.Request{Method: r.Method, Scheme: r.Scheme, Host: r.Host, Path: r.Path, Client: r.Client, Now: now}
	if s := r.Session; s != nil {
		asked.SessionID, asked.SignedInAt, asked.AuthTime = s.ID, s.CreatedAt, s.AuthTime
	}
	return asked
}

// clockSlack is how far ahead of ours the provider's clock may be.
const clockSlack = 60 * time.Second

// bearer decides about an access token. Nobody says when its person was asked last, so a route that wants to know lets none in.
func (g *Guard) bearer(ctx context.Context, r Request) Decision {
	b := r.Bearer
	d := Decision{Reason: b.Failure, Route: r.Route, Bearer: b}
	switch {
	case b.Failure != "":
		return d
	case b.Identity.Subject == "":
		d.Reason = ReasonTokenInvalid
		return d
	}
	d = g.signedIn(ctx, r, &session.Session{Identity: b.Identity})
	if d.Bearer = b; d.Outcome == SignIn {
		d.Outcome, d.MaxAge = Deny, 0
	}
	return d
}

// signedIn decides about somebody who is signed in: first the rules, then the age of the sign-in.
func (g *Guard) signedIn(ctx context.Context, r Request, s *session.Session) Decision {
	now := time.Now
	if g.Now != nil {
		now = g.Now
	}
	verdict := r.Route.Allow.Evaluate(ctx, &s.Identity, r.ForRules(now))
	d := Decision{Route: r.Route}
	switch {
	case verdict.Allowed:
		d.Outcome, d.Reason, d.Rule = Allow, ReasonRule, r.Route.Allow.Name(verdict.Rule)
	case verdict.NetworkOnly:
		d.Reason, d.NetworkOnly = ReasonNetwork, true
	case verdict.Broken >= 0:
		d.Reason, d.Rule, d.Trouble = ReasonRuleError, r.Route.Allow.Name(verdict.Broken), verdict.Trouble
	default:
		d.Reason = ReasonNoRule
	}
	if d.Outcome != Allow && r.Route.ReportOnly {
		d.Outcome, d.Reason, d.WouldDeny, d.NetworkOnly = Allow, ReasonReportOnly, d.Reason, false
	}
	if d.Outcome != Allow {
		return d
	}
	if most := r.Route.StepUp; most != 0 && tooOld(s.AuthTime, now(), most) {
		d.Outcome, d.Reason, d.MaxAge = SignIn, ReasonStepUp, most
		return d
	}
	d.Identity = &s.Identity
	return d
}

// tooOld says whether a sign-in is older than it may be, or nobody can tell.
func tooOld(signedIn, now time.Time, most time.Duration) bool {
	age := now.Sub(signedIn)
	return signedIn.IsZero() || age > most || age < -clockSlack
}

// tellable denies where the upstream could not be told who it is and the configuration wants it to know.
func tellable(r Request, d Decision) Decision {
	if header := r.Headers.Overflow(d.Identity); header != "" {
		return Decision{Reason: ReasonHeaderOverflow, Route: d.Route, Header: header, Bearer: d.Bearer}
	}
	return d
}

// event is the audit entry. It names the person of the session even where nobody was told about them.
func event(r Request, d Decision) audit.Event {
	e := audit.Event{
		Action: "decision", Outcome: d.Outcome.String(), Reason: d.Why(), WouldDeny: d.WouldDenyWhy(), Rule: d.Rule,
		Method: r.Method, Host: r.Host, Path: r.Path, RequestID: r.RequestID,
	}
	if r.Route != nil {
		e.Route = r.Route.Name
	}
	if r.Client.IsValid() {
		e.Client = r.Client.String()
	}
	if b := d.Bearer; b != nil {
		e.Subject, e.Email, e.ClientID = b.Identity.Subject, b.Identity.Email, b.ClientID
	} else if s := r.Session; s != nil {
		e.Subject, e.Email, e.SessionID = s.Subject, s.Identity.Email, s.ID
	}
	return e
}
