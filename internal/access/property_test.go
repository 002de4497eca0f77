package access_test

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"portero/internal/access"
	"portero/internal/identity"

	"pgregory.net/rapid"
)

// conditions are some of every field of a rule. // :: field → rules with that field alone
var conditions = map[string][]access.Rule{
	"Emails":            {{Emails: []string{"ann@corp.com"}}, {Emails: []string{"bob@corp.com", "eve@evil.example"}}},
	"EmailDomains":      {{EmailDomains: []string{"*"}}, {EmailDomains: []string{"corp.com"}}},
	"Roles":             {{Roles: []string{"admin"}}, {Roles: []string{"dev", "ops"}}},
	"Organizations":     {{Organizations: []string{"o1"}}},
	"OrganizationRoles": {{OrganizationRoles: []string{"o1:admin"}}},
	"Claims": {{Claims: []access.Claim{{Name: "custom_data.level", Values: []string{"3"}}}},
		{Claims: []access.Claim{{Name: "email", Values: []string{"ann@corp.com"}}, {Name: "sub", Values: []string{"ann", "bob"}}}}},
	"Networks": {{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, {Networks: []netip.Prefix{netip.MustParsePrefix("::/0"), netip.MustParsePrefix("0.0.0.0/0")}}},
	"Methods":  {{Methods: []string{"GET"}}, {Methods: []string{"POST", "PUT"}}},
	"Expression": {{Expression: `claims.custom_data.level == 3`}, {Expression: `request.method == "GET"`}, {Expression: `request.client_in("10.0.0.0/8")`},
		{Expression: `session.age < duration("1h")`}, {Expression: `!has(claims.email)`}},
}

func drawPerson(t *rapid.T) *identity.Identity {
	c := identity.Claims{"sub": rapid.SampledFrom([]string{"ann", "bob", "Ann"}).Draw(t, "sub")}
	some := func(name string, values ...any) {
		if i := rapid.IntRange(-1, len(values)-1).Draw(t, name); i >= 0 {
			c[name] = values[i]
		}
	}
	long := make([]any, 1001)
	long[0] = "admin"
	some("email", "ann@corp.com", "Bob@CORP.com", "eve@evil.example", "a@b@corp.com", true)
	some("email_verified", true, false)
	some("roles", []any{"admin"}, []any{"dev", "x"}, "ops", long)
	some("organizations", []any{"o1"}, []any{"o2"})
	some("organization_roles", []any{"o1:admin"}, []any{"o1:member"})
	some("custom_data", map[string]any{"level": 3}, map[string]any{"level": "3"}, map[string]any{}, "x")
	id, err := identity.New(c, identity.Options{UnverifiedEmail: rapid.Bool().Draw(t, "unverified")})
	if err != nil {
		t.Fatal(err)
	}
	return &id
}

func drawRequest(t *rapid.T) *access.Request {
	now := time.Unix(1_800_000_000, 0)
	return &access.Request{
		Method:   rapid.SampledFrom([]string{"GET", "HEAD", "POST", "DELETE", ""}).Draw(t, "method"),
		Client:   rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("2001:db8::1")}).Draw(t, "client"),
		Path:     "/a",
		AuthTime: rapid.SampledFrom([]time.Time{{}, now, now.Add(-2 * time.Hour), now.Add(time.Hour)}).Draw(t, "signed in"),
		Now:      func() time.Time { return now },
	}
}

// with copies the fields that more has into r.
func with(r, more access.Rule) access.Rule {
	to, from := reflect.ValueOf(&r).Elem(), reflect.ValueOf(more)
	for i := range from.NumField() {
		if !from.Field(i).IsZero() {
			to.Field(i).Set(from.Field(i))
		}
	}
	return r
}

func drawRule(t *rapid.T) access.Rule {
	var r access.Rule
	for i := range reflect.TypeFor[access.Rule]().NumField() {
		name := reflect.TypeFor[access.Rule]().Field(i).Name
		if rapid.IntRange(0, 2).Draw(t, name+"?") == 0 {
			r = with(r, rapid.SampledFrom(conditions[name]).Draw(t, name))
		}
	}
	return r
}

// A condition that is added lets in nobody who was not let in before, and an entry that is added shuts out nobody.
func TestConditionsOnlyRestrict(t *testing.T) {
	t.Parallel()
	fields := reflect.TypeFor[access.Rule]()
	for i := range fields.NumField() {
		name := fields.Field(i).Name
		if len(conditions[name]) == 0 {
			t.Errorf("no condition on %s is tried", name)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		id, request, loose := drawPerson(t), drawRequest(t), drawRule(t)
		before, err := access.NewPolicy([]access.Rule{loose})
		if err != nil {
			return // says nothing
		}
		was := before.Evaluate(t.Context(), id, request)

		name := fields.Field(rapid.IntRange(0, fields.NumField()-1).Draw(t, "field")).Name
		if reflect.ValueOf(loose).FieldByName(name).IsZero() {
			strict := with(loose, rapid.SampledFrom(conditions[name]).Draw(t, "added"))
			after, err := access.NewPolicy([]access.Rule{strict})
			if err != nil {
				t.Fatalf("%+v: %v", strict, err)
			}
			if is := after.Evaluate(t.Context(), id, request); is.Allowed && !was.Allowed {
				t.Fatalf("%+v lets in whom %+v does not", strict, loose)
			}
		}
		other := drawRule(t)
		both, err := access.NewPolicy([]access.Rule{loose, other})
		if err != nil {
			return
		}
		is := both.Evaluate(t.Context(), id, request)
		if was.Allowed && !is.Allowed {
			t.Fatalf("%+v beside %+v shuts out", other, loose)
		}
		holds := 0
		for i, reason := range both.Explain(t.Context(), id, request) {
			if reason.Rule != i || reason.Reason == "" {
				t.Fatalf("explained as %+v", reason)
			}
			if reason.Field == "" {
				holds++
			}
		}
		if is.Allowed != (holds > 0) {
			t.Fatalf("decided %+v, explained that %d rules hold", is, holds)
		}
		if is.Allowed && (is.NetworkOnly || is.Broken >= 0 || is.Rule < 0) || !is.Allowed && is.Rule >= 0 || (is.Broken >= 0) != (is.Trouble != "") {
			t.Fatalf("%+v contradicts itself", is)
		}
	})
}

func TestExplain(t *testing.T) {
	t.Parallel()
	long := `"admin"`
	for range 1000 {
		long += `,"r"`
	}
	const (
		ann   = `{"sub":"ann","email":"ann@corp.com","email_verified":true,"roles":["dev"],"custom_data":{"level":3}}`
		plain = `{"sub":"bob"}`
	)
	crowd := `{"sub":"crowd","roles":[` + long + `]}`
	networks := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, test := range []struct {
		rule   access.Rule
		claims string
		client string
		want   string // field, reason, trouble
	}{
		{access.Rule{Roles: []string{"dev"}}, ann, "", "|every condition holds|"},
		{access.Rule{Methods: []string{"POST"}, Roles: []string{"dev"}}, ann, "", "methods|the rule counts for other methods than GET|"},
		{access.Rule{Emails: []string{"bob@corp.com"}}, ann, "", "emails|the address is none of them|"},
		{access.Rule{EmailDomains: []string{"*"}}, plain, "", "email_domains|there is no address that counts: none, or none that is verified|"},
		{access.Rule{Roles: []string{"admin"}}, ann, "", "roles|the person has others|"},
		{access.Rule{Organizations: []string{"o1"}}, ann, "", "organizations|the person has none|"},
		{access.Rule{OrganizationRoles: []string{"o1:admin"}}, ann, "", "organization_roles|the person has none|"},
		{access.Rule{Roles: []string{"admin"}}, crowd, "", "roles|a list that it looks at has more than 1000 entries|list-too-long"},
		{access.Rule{Claims: []access.Claim{{Name: "sub", Values: []string{"ann"}}, {Name: "custom_data.level", Values: []string{"4"}}}}, ann, "", "claims[1]|the claim custom_data.level has another value|"},
		{access.Rule{Claims: []access.Claim{{Name: "custom_data.tier", Values: []string{"4"}}}}, ann, "", "claims[0]|the claim custom_data.tier is not there, or has no text|"},
		{access.Rule{Expression: `claims.custom_data.level > 3`}, ann, "", "expression|the expression is false|"},
		{access.Rule{Expression: `claims.custom_data.tier > 3`}, ann, "", "expression|a claim that it looks at is not there; write has(…) in front, or let Logto supply the claim|missing-member"},
		{access.Rule{Expression: `claims.sub > 3`}, ann, "", "expression|a claim is of another type than the expression expects|type"},
		{access.Rule{Networks: networks}, ann, "", "networks|nobody knows the client's address|"},
		{access.Rule{Networks: networks}, ann, "203.0.113.9", "networks|the client's address is in none of them|"},
	} {
		p, err := access.NewPolicy([]access.Rule{test.rule})
		if err != nil {
			t.Fatal(err)
		}
		r := &access.Request{Method: "HEAD"}
		if test.client != "" {
			r.Client = netip.MustParseAddr(test.client)
		}
		got := p.Explain(t.Context(), person(t, test.claims), r)
		if len(got) != 1 || got[0].Field+"|"+got[0].Reason+"|"+string(got[0].Trouble) != test.want {
			t.Errorf("%+v: got %+v, want %s", test.rule, got, test.want)
		}
		if got := p.Explain(t.Context(), nil, r); got != nil {
			t.Errorf("nobody: got %+v", got)
		}
	}
}
