package guard_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"portero/internal/access"
	"portero/internal/audit"
	"portero/internal/guard"
	"portero/internal/identity"
	"portero/internal/route"
	"portero/internal/session"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var (
	inside       = netip.MustParseAddr("10.1.2.3")
	outside      = netip.MustParseAddr("203.0.113.9")
	errStoreDown = fmt.Errorf("reading session: %w", session.ErrUnavailable)
	errLookup    = errors.New("refreshing: access denied")
)

// TestMatrix is the access matrix: every access value against who asks.
func TestMatrix(t *testing.T) {
	t.Parallel()
	ann := someone("u1", "ann@corp.com")
	bob := someone("u2", "bob@evil.com")
	broken := &session.Session{Subject: "u3", ID: "broken"} // without identity
	corp := policy(t, access.Rule{Roles: []string{"root"}}, access.Rule{EmailDomains: []string{"corp.com"}})
	office := policy(t, access.Rule{EmailDomains: []string{"corp.com"}, Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})

	type who struct {
		name    string
		session *session.Session
		missing session.Reason
		lookup  error
		client  netip.Addr
	}
	people := []who{
		{"nobody", nil, session.NoCookie, nil, inside},
		{"idled", nil, session.Idle, nil, inside},
		{"ann", ann, session.Found, nil, inside},
		{"ann elsewhere", ann, session.Found, nil, outside},
		{"ann, address unknown", ann, session.Found, nil, netip.Addr{}},
		{"bob", bob, session.Found, nil, inside},
		{"broken", broken, session.Found, nil, inside},
		{"ended", ann, session.EndedReason, nil, inside}, // contradictory: the reason wins
		{"store down", nil, session.Found, errStoreDown, inside},
		{"store down, session at hand", ann, session.Found, errStoreDown, inside},
		{"other trouble", ann, session.Found, errLookup, inside},
	}
	everybody := func(want string) map[string]string {
		m := map[string]string{}
		for _, w := range people {
			m[w.name] = want
		}
		return m
	}
	but := func(m map[string]string, changes ...string) map[string]string {
		for i := 0; i < len(changes); i += 2 {
			m[changes[i]] = changes[i+1]
		}
		return m
	}
	signedIn := func(ann, elsewhere, unknown, bob string) map[string]string {
		return map[string]string{
			"nobody": "sign-in no-session no-cookie", "idled": "sign-in no-session idle", "ended": "sign-in no-session ended", "broken": "sign-in no-session ",
			"ann": ann, "ann elsewhere": elsewhere, "ann, address unknown": unknown, "bob": bob,
			"store down": "deny store-unavailable", "store down, session at hand": "deny store-unavailable", "other trouble": "deny unchecked",
		}
	}
	const allowed, annIn = "allow rule allow[1] u1", "allow rule allow[0] u1"
	for _, test := range []struct {
		name  string
		route *route.Route
		want  map[string]string // :: who → outcome, reason, what became of the session or rule, identity
	}{
		{"no route", nil, everybody("deny no-route")},
		{"zero route", &route.Route{}, everybody("deny route-denied")},
		{"deny", &route.Route{Access: route.Deny, Allow: corp}, everybody("deny route-denied")},
		{"unknown access", &route.Route{Access: 77, Allow: corp}, everybody("deny route-denied")},
		{"public", &route.Route{Access: route.Public}, everybody("allow public")},
		{"public with rules", &route.Route{Access: route.Public, Allow: corp}, everybody("allow public")},
		{"optional", &route.Route{Access: route.Optional}, but(everybody("allow anonymous"),
			"ann", "allow signed-in u1", "ann elsewhere", "allow signed-in u1", "ann, address unknown", "allow signed-in u1", "bob", "allow signed-in u2")},
		{"signed-in without rules", &route.Route{Access: route.SignedIn}, signedIn("deny no-rule", "deny no-rule", "deny no-rule", "deny no-rule")},
		{"signed-in, domain", &route.Route{Access: route.SignedIn, Allow: corp}, signedIn(allowed, allowed, allowed, "deny no-rule")},
		{"signed-in, network", &route.Route{Access: route.SignedIn, Allow: office}, signedIn(annIn, "deny network", "deny network", "deny no-rule")},
	} {
		for _, w := range people {
			want, listed := test.want[w.name]
			if !listed {
				t.Errorf("%s: the table forgets %s", test.name, w.name)
			}
			d := new(guard.Guard).Decide(t.Context(), guard.Request{Route: test.route, Session: w.session, Missing: w.missing, Lookup: w.lookup, Client: w.client})
			if got := describe(d); got != want {
				t.Errorf("%s, %s: got %q, want %q", test.name, w.name, got, want)
			}
			if d.Route != test.route {
				t.Errorf("%s, %s: the decision is about another route", test.name, w.name)
			}
			if d.NetworkOnly != (d.Reason == guard.ReasonNetwork) || d.Identity != nil && d.Outcome != guard.Allow {
				t.Errorf("%s, %s: %+v contradicts itself", test.name, w.name, d)
			}
		}
	}
}

func TestZero(t *testing.T) {
	t.Parallel()
	if d := new(guard.Guard).Decide(t.Context(), guard.Request{}); d.Outcome != guard.Deny || d.Reason != guard.ReasonNoRoute || d.Identity != nil {
		t.Errorf("the zero Request: %+v, want deny", d)
	}
	if d := (guard.Decision{}); d.Outcome != guard.Deny {
		t.Errorf("the zero Decision: %+v, want deny", d)
	}
	if got := guard.Outcome(9).String(); got != "Outcome(9)" {
		t.Errorf("an unknown outcome is called %q", got)
	}
}

// TestFailuresDeny: whatever else is set, a protected route is closed while nobody knows whether the session is good,
// and only a rule that holds opens it.
func TestFailuresDeny(t *testing.T) {
	t.Parallel()
	everybody := policy(t, access.Rule{EmailDomains: []string{"*"}}, access.Rule{Networks: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}})
	rapid.Check(t, func(t *rapid.T) {
		r := guard.Request{
			Session:   rapid.SampledFrom([]*session.Session{nil, {}, {Subject: "u1"}, someone("u1", "ann@corp.com"), someone("", "ann@corp.com")}).Draw(t, "session"),
			Missing:   rapid.SampledFrom([]session.Reason{session.Found, session.NoCookie, session.Idle, session.EndedReason, "new reason"}).Draw(t, "missing"),
			Lookup:    rapid.SampledFrom([]error{nil, errStoreDown, errLookup, context.Canceled}).Draw(t, "lookup"),
			Client:    rapid.SampledFrom([]netip.Addr{{}, inside, outside}).Draw(t, "client"),
			Method:    rapid.SampledFrom([]string{"", "GET", "OPTIONS"}).Draw(t, "method"),
			Path:      rapid.String().Draw(t, "path"),
			Host:      rapid.String().Draw(t, "host"),
			RequestID: rapid.String().Draw(t, "id"),
		}
		r.Route = &route.Route{
			Access: route.Access(rapid.Uint8Range(0, 9).Draw(t, "access")),
			Allow:  rapid.SampledFrom([]access.Policy{{}, everybody}).Draw(t, "allow"),
			Paths:  route.Paths(rapid.Uint8().Draw(t, "paths")),
			StepUp: rapid.SampledFrom([]time.Duration{0, time.Minute, -1}).Draw(t, "step up"),
		}
		if rapid.IntRange(0, 9).Draw(t, "route") == 0 {
			r.Route = nil
		}
		d := new(guard.Guard).Decide(context.Background(), r)
		good := r.Session != nil && r.Session.Identity.Subject != "" && r.Missing == session.Found && r.Lookup == nil
		switch {
		case r.Route == nil || r.Route.Access == route.Deny || r.Route.Access > route.SignedIn:
			if d.Outcome != guard.Deny {
				t.Fatalf("%+v: %+v", r, d)
			}
		case r.Route.Access == route.SignedIn && r.Lookup != nil:
			if d.Outcome != guard.Deny {
				t.Fatalf("lookup error on a protected route: %+v", d)
			}
		case r.Route.Access == route.SignedIn && d.Outcome == guard.Allow:
			if !good || r.Route.Allow.Len() == 0 || d.Identity == nil || d.Rule == "" {
				t.Fatalf("%+v: allowed by %+v", r, d)
			}
		}
		if d.Identity != nil && (!good || d.Outcome != guard.Allow || r.Route.Access == route.Public) {
			t.Fatalf("%+v: the upstream would be told %+v", r, d.Identity)
		}
	})
}

// TestStepUpAge: how old a sign-in may be, where nobody knows, and where the clocks differ.
func TestStepUpAge(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	g := &guard.Guard{Now: func() time.Time { return now }}
	corp := policy(t, access.Rule{EmailDomains: []string{"corp.com"}})
	for _, test := range []struct {
		name     string
		signedIn time.Time
		want     string
	}{
		{"just now", now, "allow rule allow[0] u1"},
		{"as long ago as may be", now.Add(-5 * time.Minute), "allow rule allow[0] u1"},
		{"longer ago", now.Add(-5*time.Minute - time.Second), "sign-in step-up allow[0]"},
		{"nobody knows", time.Time{}, "sign-in step-up allow[0]"},
		{"on a clock that is fast", now.Add(time.Minute), "allow rule allow[0] u1"},
		{"in the future", now.Add(time.Minute + time.Second), "sign-in step-up allow[0]"},
	} {
		s := someone("u1", "ann@corp.com")
		s.AuthTime = test.signedIn
		for _, reportOnly := range []bool{false, true} {
			d := g.Decide(t.Context(), guard.Request{Route: &route.Route{Access: route.SignedIn, Allow: corp, StepUp: 5 * time.Minute, ReportOnly: reportOnly}, Session: s})
			if got := describe(d); got != test.want || (d.MaxAge != 0) != (d.Outcome == guard.SignIn) {
				t.Errorf("%s: got %s with max_age %v, want %s", test.name, got, d.MaxAge, test.want)
			}
		}
	}
}

// TestReportOnlyIsForTheSignedIn: report_only looks past rules, and past nothing else.
func TestReportOnlyIsForTheSignedIn(t *testing.T) {
	t.Parallel()
	nobody := policy(t, access.Rule{Roles: []string{"root"}})
	ann := someone("u1", "ann@corp.com")
	for want, r := range map[string]guard.Request{
		"allow report-only u1":         {Session: ann},
		"sign-in no-session no-cookie": {Missing: session.NoCookie},
		"sign-in no-session ended":     {Session: ann, Missing: session.EndedReason},
		"sign-in no-session ":          {Session: &session.Session{Subject: "u3"}},
		"deny store-unavailable":       {Session: ann, Lookup: errStoreDown},
		"deny unchecked":               {Session: ann, Lookup: errLookup},
	} {
		r.Route = &route.Route{Access: route.SignedIn, Allow: nobody, ReportOnly: true}
		d := new(guard.Guard).Decide(t.Context(), r)
		if got := describe(d); got != want || (d.WouldDeny != "") != (d.Outcome == guard.Allow) {
			t.Errorf("got %s (%q), want %s", got, d.WouldDeny, want)
		}
	}
	for _, a := range []route.Access{route.Deny, 77} {
		if d := new(guard.Guard).Decide(t.Context(), guard.Request{Session: ann, Route: &route.Route{Access: a, Allow: nobody, ReportOnly: true}}); d.Outcome != guard.Deny {
			t.Errorf("access %s: %+v", a, d)
		}
	}
}

func TestAudit(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "audit.log")
	log, err := audit.New(audit.Config{File: file})
	if err != nil {
		t.Fatal(err)
	}
	g := &guard.Guard{Audit: log}
	ann := someone("u1", "ann@corp.com")
	corp := policy(t, access.Rule{EmailDomains: []string{"corp.com"}})
	request := func(name string, a route.Access, s *session.Session, missing session.Reason) guard.Request {
		return guard.Request{Route: &route.Route{Name: name, Access: a, Allow: corp}, Session: s, Missing: missing, Client: inside,
			Method: "GET", Host: "wiki.corp.com", Path: "/a\nb", RequestID: "r1"}
	}
	g.Decide(t.Context(), request("public", route.Public, nil, session.NoCookie))
	g.Decide(t.Context(), request("wiki", route.SignedIn, ann, session.Found))
	g.Decide(t.Context(), request("wiki", route.SignedIn, nil, session.NoCookie))
	g.Decide(t.Context(), request("wiki", route.SignedIn, nil, session.Idle))
	g.Decide(t.Context(), request("wiki", route.SignedIn, someone("u2", "bob@evil.com"), session.Found))
	g.Decide(t.Context(), request("start", route.Optional, nil, session.NoCookie))
	g.Decide(t.Context(), guard.Request{})
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range bytes.Lines(data) {
		var e map[string]any
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("audit line %q: %v", line, err)
		}
		got = append(got, fmt.Sprint(e["action"], " ", e["outcome"], " ", e["reason"], " ", e["route"], " ", e["rule"], " ", e["subject"], " ", e["email"], " ", e["session"]))
	}
	want := []string{
		"decision allow rule wiki allow[0] u1 ann@corp.com s-u1",
		"decision sign-in no-session wiki <nil> <nil> <nil> <nil>",
		"decision sign-in no-session:idle wiki <nil> <nil> <nil> <nil>",
		"decision deny no-rule wiki <nil> u2 bob@evil.com s-u2",
		"decision allow anonymous start <nil> <nil> <nil> <nil>",
		"decision deny no-route <nil> <nil> <nil> <nil> <nil>",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("audit: (-want +got)\n%s", diff)
	}
	for _, part := range []string{`"client":"10.1.2.3"`, `"method":"GET"`, `"host":"wiki.corp.com"`, `"request_id":"r1"`} {
		if !strings.Contains(string(data), part) {
			t.Errorf("the audit file lacks %s:\n%s", part, data)
		}
	}
}

// benchRequest is of somebody whom the last of the rules lets in.
func benchRequest(b *testing.B, rules ...access.Rule) guard.Request {
	b.Helper()
	claims, err := identity.ParseClaims([]byte(`{"sub":"u1","email":"ann@corp.com","email_verified":true,"roles":["dev","ops"],"organizations":["o1"],` +
		`"organization_roles":["o1:member"],"custom_data":{"department":"it","level":3},"name":"Ann","username":"ann","sid":"s1","iss":"https://t.logto.app/oidc","aud":"a"}`))
	if err != nil {
		b.Fatal(err)
	}
	id, err := identity.New(claims, identity.Options{})
	if err != nil {
		b.Fatal(err)
	}
	return guard.Request{
		Route:   &route.Route{Name: "wiki", Access: route.SignedIn, Allow: policy(b, rules...), StepUp: time.Hour},
		Session: &session.Session{Subject: "u1", ID: "s-u1", Identity: id, AuthTime: time.Now(), CreatedAt: time.Now()},
		Client:  inside, Method: "GET", Scheme: "https", Host: "wiki.corp.com", Path: "/reports/2026", RequestID: "r1",
	}
}

// tenRules are rules of every kind, of which the last two are expressions; only the last lets Ann in.
func tenRules() []access.Rule {
	networks := []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("172.16.0.0/12")}
	return []access.Rule{
		{Emails: []string{"root@corp.com", "boss@corp.com"}},
		{EmailDomains: []string{"partner.example", "other.example"}},
		{Roles: []string{"admin", "owner"}},
		{Organizations: []string{"o2"}},
		{OrganizationRoles: []string{"o1:admin"}},
		{Claims: []access.Claim{{Name: "custom_data.department", Values: []string{"hr", "finance"}}}},
		{Methods: []string{"POST"}, EmailDomains: []string{"corp.com"}},
		{EmailDomains: []string{"corp.com"}, Networks: networks},
		{Expression: `"admin" in claims.roles && request.method == "GET"`},
		{Expression: `claims.email.endsWith("@corp.com") && request.path.startsWith("/reports/")`},
	}
}

// BenchmarkDecide is a decision with its audit entry, which nobody reads: of one rule, and of ten with two expressions, for
// which the last one lets in. `ratio` is that of the ten rules to the one, in turns in the same run.
func BenchmarkDecide(b *testing.B) {
	quiet, err := audit.New(audit.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	one := benchRequest(b, access.Rule{EmailDomains: []string{"corp.com"}})
	ten := benchRequest(b, tenRules()...)
	looping := tenRules()
	looping[8].Expression = `claims.roles.exists(r, r.startsWith("adm")) && request.method == "GET"`
	loop := benchRequest(b, looping...)
	decide := func(g *guard.Guard, r guard.Request) {
		if d := g.Decide(b.Context(), r); d.Outcome != guard.Allow {
			b.Fatalf("denied: %+v", d)
		}
	}
	for _, run := range []struct {
		name  string
		guard *guard.Guard
		r     guard.Request
	}{{"one rule", &guard.Guard{}, one}, {"one rule, audit", &guard.Guard{Audit: quiet}, one}, {"ten rules, audit", &guard.Guard{Audit: quiet}, ten},
		{"ten rules with a loop, audit", &guard.Guard{Audit: quiet}, loop}} {
		b.Run(run.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				decide(run.guard, run.r)
			}
		})
	}
	b.Run("ratio", func(b *testing.B) {
		g := &guard.Guard{Audit: quiet}
		const turns = 200 // at a time, so that the clock costs nothing
		var ones, tens []time.Duration
		spend := func(r guard.Request) time.Duration {
			began := time.Now()
			for range turns {
				decide(g, r)
			}
			return time.Since(began) / turns
		}
		for b.Loop() {
			ones, tens = append(ones, spend(one)), append(tens, spend(ten))
		}
		slices.Sort(ones)
		slices.Sort(tens)
		short, long := ones[len(ones)/2], tens[len(tens)/2]
		b.ReportMetric(float64(short.Nanoseconds()), "one-ns")
		b.ReportMetric(float64(long.Nanoseconds()), "ten-ns")
		b.ReportMetric(float64(long)/float64(short), "ratio")
	})
}

func describe(d guard.Decision) string {
	s := d.Outcome.String() + " " + string(d.Reason)
	switch {
	case d.Reason == guard.ReasonNoSession:
		s += " " + string(d.Missing)
	case d.Rule != "":
		s += " " + d.Rule
	}
	if d.Identity != nil {
		s += " " + d.Identity.Subject
	}
	return s
}

func someone(subject, email string) *session.Session {
	return &session.Session{Subject: subject, ID: "s-" + subject, Identity: identity.Identity{Subject: subject, Email: email, EmailVerified: true}}
}

func policy(t testing.TB, rules ...access.Rule) access.Policy {
	t.Helper()
	p, err := access.NewPolicy(rules)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
