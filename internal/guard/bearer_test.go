package guard_test

import (
	"errors"
	"testing"
	"time"

	"portero/internal/access"
	"portero/internal/guard"
	"portero/internal/identity"
	"portero/internal/route"
	"portero/internal/session"
)

// TestBearerDecides: an access token decides alone on routes for those who are signed in, and says nothing elsewhere.
func TestBearerDecides(t *testing.T) {
	t.Parallel()
	ann := someone("u1", "ann@corp.com")
	corp, machines := access.Rule{EmailDomains: []string{"corp.com"}}, access.Rule{Claims: []access.Claim{{Name: "client_id", Values: []string{"m1"}}}}
	machine, err := identity.New(identity.Claims{"sub": "m1", "client_id": "m1"}, identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	good := &guard.Bearer{Identity: machine, ClientID: "m1"}
	for _, row := range []struct {
		name   string
		route  *route.Route
		bearer *guard.Bearer
		lookup error
		want   string
	}{
		{"good, by client", &route.Route{Access: route.SignedIn, Allow: policy(t, machines)}, good, nil, "allow rule m1"},
		{"good, where only ann may", &route.Route{Access: route.SignedIn, Allow: policy(t, corp)}, good, nil, "deny no-rule "},
		{"good, the store is down", &route.Route{Access: route.SignedIn, Allow: policy(t, machines)}, good, errStoreDown, "allow rule m1"},
		{"good, no rules", &route.Route{Access: route.SignedIn}, good, nil, "deny no-rule "},
		{"good, reported only", &route.Route{Access: route.SignedIn, ReportOnly: true}, good, nil, "allow report-only m1"},
		{"good, recent sign-in wanted", &route.Route{Access: route.SignedIn, Allow: policy(t, machines), StepUp: time.Hour}, good, nil, "deny step-up "},
		{"zero", &route.Route{Access: route.SignedIn, Allow: policy(t, corp), ReportOnly: true}, &guard.Bearer{}, nil, "deny token-invalid "},
		{"wrong", &route.Route{Access: route.SignedIn, Allow: policy(t, corp), ReportOnly: true}, &guard.Bearer{Failure: guard.ReasonTokenInvalid, Check: "aud"}, nil, "deny token-invalid:aud "},
		{"wrong, with an identity all the same", &route.Route{Access: route.SignedIn, Allow: policy(t, machines)},
			&guard.Bearer{Identity: machine, Failure: guard.ReasonTokenInvalid}, nil, "deny token-invalid "},
		{"malformed", &route.Route{Access: route.SignedIn, Allow: policy(t, corp)}, &guard.Bearer{Failure: guard.ReasonTokenMalformed}, nil, "deny token-malformed "},
		{"unchecked", &route.Route{Access: route.SignedIn, Allow: policy(t, corp)}, &guard.Bearer{Failure: guard.ReasonTokenUnchecked, Cause: errors.New("away")}, nil, "deny token-unchecked "},
		{"public", &route.Route{Access: route.Public}, &guard.Bearer{Failure: guard.ReasonTokenInvalid}, nil, "allow public "},
		{"denied to all", &route.Route{Access: route.Deny, Allow: policy(t, machines)}, good, nil, "deny route-denied "},
		{"no route", nil, good, nil, "deny no-route "},
	} {
		for _, s := range []*session.Session{nil, ann} { // whatever session there is
			d := new(guard.Guard).Decide(t.Context(), guard.Request{Route: row.route, Bearer: row.bearer, Session: s, Lookup: row.lookup, Client: inside})
			got := d.Outcome.String() + " " + d.Why() + " "
			if d.Identity != nil {
				got += d.Identity.Subject
			}
			if got != row.want {
				t.Errorf("%s, session %t: got %q, want %q", row.name, s != nil, got, row.want)
			}
		}
	}
}
