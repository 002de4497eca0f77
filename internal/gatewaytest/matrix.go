package gatewaytest

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The access matrix: who is let in where, and why. It says nothing about how a request arrives, so that the same rows are true
// of the guard without HTTP, of the proxy, and of a proxy in front that asks.

// AccessPerson is somebody who asks.
type AccessPerson struct {
	Name   string
	Claims string        // of the verified ID token, as JSON; "": nobody is signed in
	Age    time.Duration // how long ago they signed in
}

// AccessRow is one request of one person, and what is decided.
type AccessRow struct {
	Person AccessPerson
	Method string
	Path   string // without query
	Client string // the client's address; "": unknown

	// Want is the outcome, the reason as the audit log has it, with report-only what the rules say, and the rule:
	// "allow rule allow[0]", "deny rule-error:cost allow[1]", "allow report-only no-rule".
	Want string
}

// Name says which row it is.
func (r AccessRow) Name() string {
	return fmt.Sprintf("%s: %s %s from %q", r.Person.Name, r.Method, r.Path, r.Client)
}

// Addresses of clients in the matrix.
const (
	AccessInside  = "10.1.2.3"
	AccessOutside = "203.0.113.9"
)

// AccessPeople are those who ask, the first of whom is nobody.
func AccessPeople() []AccessPerson {
	crowd := `"admin"` + strings.Repeat(`,"r"`, 1000)
	return []AccessPerson{
		{Name: "nobody"},
		{Name: "ann", Claims: `{"sub":"ann","email":"ann@corp.com","email_verified":true,"name":"Ann","roles":["admin","dev"],"organizations":["o1"],` +
			`"organization_roles":["o1:admin","o2:member"],"custom_data":{"department":"it","level":3,"remote":true,"sites":["bilbao","lugo"]},"https://corp.com/tier":"gold"}`},
		{Name: "bob", Claims: `{"sub":"bob","email":"bob@corp.com","email_verified":true,"roles":["dev"],"organizations":["o2"],` +
			`"organization_roles":["o2:admin"],"custom_data":{"department":"hr","level":1,"remote":false,"sites":[]}}`},
		{Name: "carol", Claims: `{"sub":"carol","email":"Carol@CORP.com","email_verified":true}`},                 // an address in mixed case
		{Name: "eve", Claims: `{"sub":"eve","email":"eve@evil.example","email_verified":true,"roles":["Admin"]}`}, // a role in another case
		{Name: "unsure", Claims: `{"sub":"unsure","email":"ann@corp.com","email_verified":false}`},                // an address that nobody has verified
		{Name: "forged", Claims: `{"sub":"forged","email":"ann@evil.example@corp.com","email_verified":true}`},    // an address that two read in two ways
		{Name: "branch", Claims: `{"sub":"branch","email":"ann@mail.corp.com","email_verified":true}`},            // an address of a subdomain
		{Name: "nomail", Claims: `{"sub":"nomail","roles":["admin"]}`},                                            // no address
		{Name: "crowd", Claims: `{"sub":"crowd","email":"crowd@corp.com","email_verified":true,"roles":[` + crowd + // lists of 1,001
			`],"custom_data":{"sites":[` + crowd + `]}}`},
		{Name: "odd", Claims: `{"sub":"Ann","email":"ann@c` + "\u043e" + `rp.com","email_verified":true,"roles":["` + "\u0430" + // letters that look the same, claims of other types
			`dmin"],"organizations":"o1 ","organization_roles":{"o1":"admin"},"custom_data":"it"}`},
		{Name: "old", Claims: `{"sub":"old","email":"old@corp.com","email_verified":true,"roles":["admin"]}`, Age: 3 * time.Hour},
	}
}

// accessAsk is a request that everybody makes, and what is decided about whom: "ann bob: allow rule allow[0]; eve: deny no-rule".
// Who is not named is denied without a rule, and nobody is asked to sign in. "*" are all who are signed in and not named.
type accessAsk struct{ method, below, client, want string }

// accessRoute is a route of the matrix, and what people ask of it.
type accessRoute struct {
	path, keys string // keys of the route, YAML
	asks       []accessAsk
}

const (
	allowed  = ": allow rule allow[0]"
	corp     = "ann bob carol crowd old"
	tooLong  = ": deny rule-error:list-too-long allow[0]"
	noMember = ": deny rule-error:missing-member allow[0]"
)

func get(want string) []accessAsk { return []accessAsk{{"GET", "", AccessInside, want}} }

var accessRoutes = []accessRoute{
	{"/emails", `allow: [{emails: [ann@corp.com, carol@corp.com]}]`, get("ann carol" + allowed)},
	{"/emails-upper", `allow: [{emails: [ANN@CORP.COM]}]`, get("ann" + allowed)},
	{"/domain", `allow: [{email_domains: [corp.com]}]`, get(corp + allowed)},
	{"/domain-parent", `allow: [{email_domains: [com, evil.com]}]`, get("")},
	{"/domain-any", `allow: [{email_domains: ["*"]}]`, get(corp + " eve branch odd" + allowed)},
	{"/roles", `allow: [{roles: [admin]}]`, get("ann nomail old" + allowed + "; crowd" + tooLong)},
	{"/roles-other", `allow: [{roles: [root, dev]}]`, get("ann bob" + allowed + "; crowd" + tooLong)},
	{"/organizations", `allow: [{organizations: [o1]}]`, get("ann" + allowed)},
	{"/organization-roles", `allow: [{organization_roles: ["o1:admin"]}]`, get("ann" + allowed)},
	{"/organization-roles-other", `allow: [{organization_roles: ["o2:admin", "o3:admin"]}]`, get("bob" + allowed)},

	{"/claim", `allow: [{claims: [{name: custom_data.department, values: [it, sales]}]}]`, get("ann" + allowed)},
	{"/claim-number", `allow: [{claims: [{name: custom_data.level, values: [3]}]}]`, get("ann" + allowed)},
	{"/claim-boolean", `allow: [{claims: [{name: custom_data.remote, values: [false]}]}]`, get("bob" + allowed)},
	{"/claim-list", `allow: [{claims: [{name: custom_data.sites, values: [lugo]}]}]`, get("ann" + allowed + "; crowd" + tooLong)},
	{"/claim-dots", `allow: [{claims: [{name: "https://corp.com/tier", values: [gold]}]}]`, get("ann" + allowed)},
	{"/claim-address", `allow: [{claims: [{name: email, values: [ann@corp.com]}]}]`, get("ann" + allowed)},
	{"/claim-subject", `allow: [{claims: [{name: sub, values: [Ann]}]}]`, get("odd" + allowed)},
	{"/claims-all", `allow: [{claims: [{name: custom_data.department, values: [it]}, {name: custom_data.level, values: [1]}]}]`, get("")},
	{"/claims-text", `allow: [{claims: [{name: custom_data, values: [it]}]}]`, get("odd" + allowed)},

	{"/networks", `allow: [{networks: [10.0.0.0/8]}]`, []accessAsk{
		{"GET", "", AccessInside, "*" + allowed}, {"GET", "", AccessOutside, "*: deny network"}, {"GET", "", "", "*: deny network"}}},
	{"/office", `allow: [{email_domains: [corp.com], networks: [10.0.0.0/8, "2001:db8::/32"]}]`, []accessAsk{
		{"GET", "", AccessInside, corp + allowed}, {"GET", "", "2001:db8::7", corp + allowed},
		{"GET", "", AccessOutside, corp + ": deny network"}, {"GET", "", "", corp + ": deny network"}}},
	{"/methods", `allow: [{methods: [GET], email_domains: [corp.com]}, {methods: [POST, PUT], email_domains: [corp.com], roles: [admin]}]`, []accessAsk{
		{"GET", "", AccessInside, corp + allowed}, {"HEAD", "/a", AccessInside, corp + allowed},
		{"POST", "", AccessInside, "ann old: allow rule allow[1]; crowd: deny rule-error:list-too-long allow[1]"},
		{"PUT", "", AccessInside, "ann old: allow rule allow[1]; crowd: deny rule-error:list-too-long allow[1]"},
		{"DELETE", "", AccessInside, ""}, {"OPTIONS", "", AccessInside, ""}}},
	{"/all", `allow: [{email_domains: [corp.com], roles: [admin], organizations: [o1], networks: [10.0.0.0/8]}]`, []accessAsk{
		{"GET", "", AccessInside, "ann" + allowed + "; crowd" + tooLong}, {"GET", "", AccessOutside, "ann: deny network; crowd" + tooLong}}},
	{"/any-entry", `allow: [{roles: [root]}, {emails: [bob@corp.com]}, {email_domains: [corp.com]}]`,
		get("bob: allow rule allow[1]; ann carol crowd old: allow rule allow[2]")},
	{"/not-lent", `allow: [{emails: [ann@corp.com], roles: [root]}, {emails: [bob@corp.com], roles: [admin]}]`, get("")},
	{"/other-network", `allow: [{roles: [admin], networks: [192.168.0.0/16]}, {emails: [ann@corp.com]}]`,
		get("ann: allow rule allow[1]; nomail old: deny network; crowd" + tooLong)},

	{"/x-address", `allow: [{expression: 'claims.email.endsWith("@corp.com")'}]`, get(corp + allowed + "; unsure forged nomail" + noMember)},
	{"/x-has", `allow: [{expression: 'has(claims.email) && claims.email == "carol@corp.com"'}]`, get("carol" + allowed)},
	{"/x-not", `allow: [{expression: '!("admin" in claims.roles)'}]`, get("bob eve odd" + allowed + "; carol unsure forged branch" + noMember + "; crowd" + tooLong)},
	{"/x-role", `allow: [{expression: '"admin" in claims.roles'}]`, get("ann nomail old" + allowed + "; carol unsure forged branch" + noMember + "; crowd" + tooLong)},
	{"/x-loop", `allow: [{expression: 'claims.roles.exists(r, r.startsWith("de"))'}]`, get("ann bob" + allowed + "; carol unsure forged branch" + noMember + "; crowd" + tooLong)},
	{"/x-nested", `allow: [{expression: 'has(claims.custom_data) && claims.custom_data.level >= 3'}]`, get("ann" + allowed + "; crowd odd" + noMember)},
	{"/x-type", `allow: [{expression: 'claims.sub > 3'}]`, get("*: deny rule-error:type allow[0]")},
	{"/x-other-entry", `allow: [{expression: 'claims.custom_data.remote'}, {emails: [carol@corp.com]}]`,
		get("ann" + allowed + "; carol: allow rule allow[1]; eve unsure forged branch nomail crowd odd old" + noMember)},
	{"/x-with-more", `allow: [{email_domains: [corp.com], expression: 'claims.custom_data.level < 3'}]`, get("bob" + allowed + "; carol crowd old" + noMember)},
	{"/x-network", `allow: [{expression: 'request.client_in("10.0.0.0/8", "2001:db8::/32")'}]`, []accessAsk{
		{"GET", "", AccessInside, "*" + allowed}, {"GET", "", "2001:db8::7", "*" + allowed}, {"GET", "", AccessOutside, ""},
		{"GET", "", "", "*: deny rule-error:client-unknown allow[0]"}}},
	{"/x-request", `allow: [{expression: 'request.method == "GET" && request.path.startsWith("/x-request/open")'}]`, []accessAsk{
		{"GET", "/open/a", AccessInside, "*" + allowed}, {"GET", "", AccessInside, ""}, {"POST", "/open/a", AccessInside, ""}, {"GET", "/OPEN", AccessInside, ""}}},
	{"/x-age", `allow: [{expression: 'session.age < duration("1h")'}]`, get("ann bob carol eve unsure forged branch nomail crowd odd" + allowed)},
	{"/x-subject", `allow: [{expression: 'session.subject == "ann" && claims.sub == session.subject'}]`, get("ann" + allowed)},

	{"/step-up", `allow: [{email_domains: [corp.com]}], step_up: {max_age: 1h}`, get("ann bob carol crowd" + allowed + "; old: sign-in step-up allow[0]")},
	{"/step-up-day", `allow: [{email_domains: [corp.com]}], step_up: {max_age: 24h}`, get(corp + allowed)},
	{"/report", `allow: [{roles: [admin]}], report_only: true`,
		get("ann nomail old" + allowed + "; crowd: allow report-only rule-error:list-too-long allow[0]; *: allow report-only no-rule")},
	{"/report-office", `allow: [{email_domains: [corp.com], networks: [10.0.0.0/8]}], report_only: true`, []accessAsk{
		{"GET", "", AccessInside, corp + allowed + "; *: allow report-only no-rule"},
		{"GET", "", AccessOutside, corp + ": allow report-only network; *: allow report-only no-rule"}}},
	{"/report-step-up", `allow: [{roles: [root]}], report_only: true, step_up: {max_age: 1h}`,
		get("old: sign-in step-up no-rule; crowd: allow report-only rule-error:list-too-long allow[0]; *: allow report-only no-rule")},

	{"/public", `access: public`, get("nobody *: allow public")},
	{"/optional", `access: optional`, get("nobody: allow anonymous; *: allow signed-in")},
	{"/deny", `access: deny`, get("nobody *: deny route-denied")},
	{"/by-method", `methods: [GET], allow: [{email_domains: [corp.com]}]`, []accessAsk{{"GET", "", AccessInside, corp + allowed}, {"HEAD", "", AccessInside, corp + allowed}}},
	{"/by-method", `methods: [POST], allow: [{roles: [admin]}]`, []accessAsk{{"POST", "", AccessInside, "ann nomail old" + allowed + "; crowd" + tooLong}}},
	{"/by-method/open", `access: public`, []accessAsk{{"POST", "", AccessInside, "nobody *: allow public"}, {"GET", "/x", "", "nobody *: allow public"}}},
}

// AccessRoutes is the list under `routes:` that the rows are true of, as in Options.Routes.
func AccessRoutes() string {
	var b strings.Builder
	for i, r := range accessRoutes {
		fmt.Fprintf(&b, "\n  - {name: m%d, path: %s, upstreams: [{url: UPSTREAM}], %s}", i, r.path, r.keys)
	}
	return b.String() + "\n"
}

// AccessRows are the rows of the matrix. A row that nobody wrote for a person, or one that is written twice, is a panic.
func AccessRows() []AccessRow {
	people := AccessPeople()
	var rows []AccessRow
	for _, route := range accessRoutes {
		for _, ask := range route.asks {
			wants := accessWants(ask.want, people)
			for _, p := range people {
				rows = append(rows, AccessRow{Person: p, Method: ask.method, Path: route.path + ask.below, Client: ask.client, Want: wants[p.Name]})
			}
		}
	}
	return rows
}

// accessWants writes out what is decided about everybody. // :: person → decision
func accessWants(text string, people []AccessPerson) map[string]string {
	wants, others := map[string]string{}, "deny no-rule"
	for part := range strings.SplitSeq(text, "; ") {
		names, want, found := strings.Cut(part, ": ")
		for name := range strings.FieldsSeq(names) {
			known := slices.ContainsFunc(people, func(p AccessPerson) bool { return p.Name == name })
			switch {
			case name == "*":
				others = want
			case !known || !found || wants[name] != "":
				panic("gatewaytest: the access matrix cannot be read: " + text)
			default:
				wants[name] = want
			}
		}
	}
	for i, p := range people {
		if wants[p.Name] == "" {
			wants[p.Name] = others
			if i == 0 {
				wants[p.Name] = "sign-in no-session"
			}
		}
	}
	return wants
}
