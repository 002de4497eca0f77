package access_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"portero/internal/access"
	"portero/internal/identity"
)

func TestEvaluate(t *testing.T) {
	t.Parallel()
	const (
		ann    = `{"sub":"u1","email":"ann@corp.com","email_verified":true,"roles":["admin","dev"],"organizations":["o1"],"custom_data":{"department":"it","level":3,"remote":true,"sites":["bilbao","lugo"]},"https://corp.com/tier":"gold"}`
		noMail = `{"sub":"u2","roles":["admin"]}`
		unsure = `{"sub":"u3","email":"ann@corp.com","email_verified":false}`
	)
	inside, outside := "10.1.2.3", "203.0.113.9"
	networks := func(prefixes ...string) (list []netip.Prefix) {
		for _, p := range prefixes {
			list = append(list, netip.MustParsePrefix(p))
		}
		return list
	}
	claim := func(name string, values ...string) []access.Claim {
		return []access.Claim{{Name: name, Values: values}}
	}
	for _, test := range []struct {
		name   string
		rules  []access.Rule
		claims string
		client string
		want   access.Verdict
	}{
		{"no rules", nil, ann, inside, no},
		{"nobody", []access.Rule{{EmailDomains: []string{"*"}}}, "", inside, no},
		{"nobody, network rule", []access.Rule{{Networks: networks("0.0.0.0/0")}}, "", inside, no},

		{"address", []access.Rule{{Emails: []string{"bob@corp.com", "ann@corp.com"}}}, ann, inside, yes(0)},
		{"address in other case", []access.Rule{{Emails: []string{"ANN@Corp.com"}}}, ann, inside, yes(0)},
		{"address of somebody else", []access.Rule{{Emails: []string{"bob@corp.com"}}}, ann, inside, no},
		{"address with a longer name", []access.Rule{{Emails: []string{"joann@corp.com"}}}, ann, inside, no},
		{"address nobody verified", []access.Rule{{Emails: []string{"ann@corp.com"}}}, unsure, inside, no},
		{"no address", []access.Rule{{Emails: []string{"ann@corp.com"}}}, noMail, inside, no},

		{"domain", []access.Rule{{EmailDomains: []string{"corp.com"}}}, ann, inside, yes(0)},
		{"domain in other case", []access.Rule{{EmailDomains: []string{"CORP.com"}}}, ann, inside, yes(0)},
		{"parent domain", []access.Rule{{EmailDomains: []string{"com"}}}, ann, inside, no},
		{"subdomain", []access.Rule{{EmailDomains: []string{"mail.corp.com"}}}, ann, inside, no},
		{"domain that ends the same", []access.Rule{{EmailDomains: []string{"orp.com"}}}, ann, inside, no},
		{"any domain", []access.Rule{{EmailDomains: []string{"*"}}}, ann, inside, yes(0)},
		{"any domain, no address", []access.Rule{{EmailDomains: []string{"*"}}}, noMail, inside, no},
		{"any domain, unverified", []access.Rule{{EmailDomains: []string{"*"}}}, unsure, inside, no},

		{"role", []access.Rule{{Roles: []string{"root", "dev"}}}, ann, inside, yes(0)},
		{"role in other case", []access.Rule{{Roles: []string{"Admin"}}}, ann, inside, no},
		{"role that begins the same", []access.Rule{{Roles: []string{"adm"}}}, ann, inside, no},
		{"organization", []access.Rule{{Organizations: []string{"o1"}}}, ann, inside, yes(0)},
		{"other organization", []access.Rule{{Organizations: []string{"o2"}}}, ann, inside, no},

		{"nested claim", []access.Rule{{Claims: claim("custom_data.department", "hr", "it")}}, ann, inside, yes(0)},
		{"nested claim, other value", []access.Rule{{Claims: claim("custom_data.department", "IT")}}, ann, inside, no},
		{"list claim, any element", []access.Rule{{Claims: claim("custom_data.sites", "lugo")}}, ann, inside, yes(0)},
		{"list claim is not its join", []access.Rule{{Claims: claim("custom_data.sites", "bilbao,lugo")}}, ann, inside, no},
		{"number claim", []access.Rule{{Claims: claim("custom_data.level", "3")}}, ann, inside, yes(0)},
		{"boolean claim", []access.Rule{{Claims: claim("custom_data.remote", "true")}}, ann, inside, yes(0)},
		{"object claim", []access.Rule{{Claims: claim("custom_data", "it")}}, ann, inside, no},
		{"claim named as a URL", []access.Rule{{Claims: claim("https://corp.com/tier", "gold")}}, ann, inside, yes(0)},
		{"absent claim", []access.Rule{{Claims: claim("custom_data.absent", "x")}}, ann, inside, no},
		{"subject by claim", []access.Rule{{Claims: claim("sub", "u1")}}, ann, inside, yes(0)},
		{"address by claim", []access.Rule{{Claims: claim("email", "Ann@corp.com")}}, ann, inside, yes(0)},
		{"unverified address by claim", []access.Rule{{Claims: claim("email", "ann@corp.com")}}, unsure, inside, no},
		{"two claims, one holds", []access.Rule{{Claims: append(claim("custom_data.level", "3"), claim("custom_data.department", "hr")...)}}, ann, inside, no},
		{"two claims, both hold", []access.Rule{{Claims: append(claim("custom_data.level", "3"), claim("custom_data.department", "it")...)}}, ann, inside, yes(0)},

		{"network", []access.Rule{{Networks: networks("192.168.0.0/16", "10.0.0.0/8")}}, noMail, inside, yes(0)},
		{"other network", []access.Rule{{Networks: networks("10.0.0.0/8")}}, noMail, outside, netOnly},
		{"IPv4-mapped client", []access.Rule{{Networks: networks("10.0.0.0/8")}}, noMail, "::ffff:10.1.2.3", yes(0)},
		{"IPv4-mapped network", []access.Rule{{Networks: networks("::ffff:10.0.0.0/104")}}, noMail, inside, yes(0)},
		{"network with host bits", []access.Rule{{Networks: networks("10.9.9.9/8")}}, noMail, inside, yes(0)},
		{"IPv6", []access.Rule{{Networks: networks("2001:db8::/32")}}, noMail, "2001:db8::1", yes(0)},
		{"IPv6 with zone", []access.Rule{{Networks: networks("fe80::/10")}}, noMail, "fe80::1%eth0", yes(0)},
		{"client unknown", []access.Rule{{Networks: networks("0.0.0.0/0", "::/0")}}, noMail, "", netOnly},

		{"all fields must hold: all do", []access.Rule{{EmailDomains: []string{"corp.com"}, Roles: []string{"admin"}, Organizations: []string{"o1"}, Networks: networks("10.0.0.0/8")}}, ann, inside, yes(0)},
		{"all fields must hold: role does not", []access.Rule{{EmailDomains: []string{"corp.com"}, Roles: []string{"root"}}}, ann, inside, no},
		{"all fields must hold: domain does not", []access.Rule{{EmailDomains: []string{"evil.com"}, Roles: []string{"admin"}}}, ann, inside, no},
		{"all fields must hold: network does not", []access.Rule{{Roles: []string{"admin"}, Networks: networks("10.0.0.0/8")}}, ann, outside, netOnly},
		{"network and more do not hold", []access.Rule{{Roles: []string{"root"}, Networks: networks("10.0.0.0/8")}}, ann, outside, no},
		{"any entry suffices", []access.Rule{{Roles: []string{"root"}}, {Emails: []string{"ann@corp.com"}}}, ann, inside, yes(1)},
		{"first entry that holds", []access.Rule{{Roles: []string{"admin"}}, {Emails: []string{"ann@corp.com"}}}, ann, inside, yes(0)},
		{"entries do not lend fields", []access.Rule{{Emails: []string{"ann@corp.com"}, Roles: []string{"root"}}, {Emails: []string{"bob@corp.com"}, Roles: []string{"admin"}}}, ann, inside, no},
		{"wrong network of one entry, other entry allows", []access.Rule{{Roles: []string{"admin"}, Networks: networks("192.168.0.0/16")}, {Roles: []string{"dev"}}}, ann, inside, yes(1)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, err := access.NewPolicy(test.rules)
			if err != nil {
				t.Fatal(err)
			}
			var client netip.Addr
			if test.client != "" {
				client = netip.MustParseAddr(test.client)
			}
			if got := ask(p, person(t, test.claims), client); got != test.want {
				t.Errorf("Evaluate(%s from %s) = %+v, want %+v", test.claims, test.client, got, test.want)
			}
		})
	}
}

// CL-09, oauth2-proxy CVE-2026-40574: the identity is made by hand, as if nobody had looked at the address before.
func TestEvaluateForgedAddresses(t *testing.T) {
	t.Parallel()
	p, err := access.NewPolicy([]access.Rule{{EmailDomains: []string{"corp.com"}}, {Emails: []string{"ann@corp.com"}}, {EmailDomains: []string{"*"}, Roles: []string{"any"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, email := range []string{"", "@", "@corp.com", "corp.com", "a@evil@corp.com", "ann@corp.com@evil.com", `"ann@corp.com"@evil.com`,
		"ann@corp.com\n", "ann@corp.com ", " ann@corp.com", "ann@corp.com\x00", "ann@corp.com\u00a0", "ann@\u00a0corp.com", "ann@corp.com.",
		"ann@.corp.com", "ann@corp.com,", "ann@corp.co\u212a"} {
		got := ask(p, &identity.Identity{Subject: "u1", Email: email}, netip.Addr{})
		if got != no {
			t.Errorf("Evaluate(address %q) = %+v, want %+v", email, got, no)
		}
	}
	if got := ask(p, &identity.Identity{Email: "ann@corp.com"}, netip.Addr{}); got != no {
		t.Errorf("Evaluate without subject = %+v, want %+v", got, no)
	}
	var zero access.Policy
	if got := ask(zero, &identity.Identity{Subject: "u1", Email: "ann@corp.com"}, netip.Addr{}); got != no {
		t.Errorf("the zero policy: %+v, want %+v", got, no)
	}
}

func TestNewPolicyRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		rule access.Rule
		want string // in the error
	}{
		"empty entry":                 {access.Rule{}, "allow[1]: the entry is empty"},
		"empty lists":                 {access.Rule{Emails: []string{}, Claims: []access.Claim{}}, "allow[1]: the entry is empty"},
		"empty address":               {access.Rule{Emails: []string{""}}, "allow[1].emails[0]: "},
		"address without domain":      {access.Rule{Emails: []string{"a@b.c", "ann"}}, "allow[1].emails[1]: "},
		"address pattern":             {access.Rule{Emails: []string{"*@corp.com", "a@@b"}}, "allow[1].emails[1]: "},
		"empty domain":                {access.Rule{EmailDomains: []string{""}}, "allow[1].email_domains[0]: "},
		"domain with at":              {access.Rule{EmailDomains: []string{"@corp.com"}}, "write the part after it"},
		"domain is an address":        {access.Rule{EmailDomains: []string{"a@corp.com"}}, "is no domain"},
		"leading dot":                 {access.Rule{EmailDomains: []string{".corp.com"}}, "names subdomains"},
		"wildcard domain":             {access.Rule{EmailDomains: []string{"*.corp.com"}}, "names subdomains"},
		"star inside":                 {access.Rule{EmailDomains: []string{"corp.*"}}, "is no domain"},
		"trailing dot":                {access.Rule{EmailDomains: []string{"corp.com."}}, "is no domain"},
		"two domains in one text":     {access.Rule{EmailDomains: []string{"corp.com,evil.com"}}, "is no domain"},
		"blank in domain":             {access.Rule{EmailDomains: []string{"corp.com "}}, "is no domain"},
		"empty role":                  {access.Rule{Roles: []string{"a", ""}}, "allow[1].roles[1]: is empty"},
		"empty organization":          {access.Rule{Organizations: []string{""}}, "allow[1].organizations[0]: is empty"},
		"claim without name":          {access.Rule{Claims: []access.Claim{{Values: []string{"x"}}}}, "allow[1].claims[0].name: "},
		"claim without values":        {access.Rule{Claims: []access.Claim{{Name: "x"}}}, "allow[1].claims[0].values: "},
		"claim with empty value":      {access.Rule{Claims: []access.Claim{{Name: "x", Values: []string{""}}}}, "allow[1].claims[0].values[0]: "},
		"network that is none":        {access.Rule{Networks: []netip.Prefix{{}}}, "allow[1].networks[0]: "},
		"good field beside a bad one": {access.Rule{Roles: []string{"a"}, Emails: []string{"b"}}, "allow[1].emails[0]: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := access.NewPolicy([]access.Rule{{Roles: []string{"fine"}}, test.rule})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("NewPolicy(%+v) = %v, want an error with %q", test.rule, err, test.want)
			}
			if p.Len() != 0 {
				t.Errorf("a refused policy has %d rules", p.Len())
			}
		})
	}
}

// FuzzEmailDomain: whoever is let in for corp.com has an address that every way of taking it apart puts at corp.com.
func FuzzEmailDomain(f *testing.F) {
	for _, seed := range []string{"ann@corp.com", "a@evil@corp.com", `"a@corp.com"@evil`, "a@CORP.COM", "a@corp.com\n", "@corp.com", "a@corp.com@", "a@xcorp.com", "a@c\u212arp.com"} {
		f.Add(seed)
	}
	p, err := access.NewPolicy([]access.Rule{{EmailDomains: []string{"corp.com"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, email string) {
		id, err := identity.New(identity.Claims{"sub": "u1", "email": email, "email_verified": true}, identity.Options{})
		if err != nil {
			t.Fatal(err)
		}
		made := ask(p, &id, netip.Addr{}).Allowed
		raw := ask(p, &identity.Identity{Subject: "u1", Email: email}, netip.Addr{}).Allowed
		if made != raw {
			t.Errorf("address %q: %t by way of identity.New, %t by hand", email, made, raw)
		}
		parts := strings.Split(email, "@")
		if want := len(parts) == 2 && parts[0] != "" && strings.EqualFold(parts[1], "corp.com"); made && !want {
			t.Errorf("address %q is let in", email)
		}
	})
}

func BenchmarkEvaluate(b *testing.B) {
	emails := make([]string, 1000)
	for i := range emails {
		emails[i] = strings.Repeat("x", i%20+1) + "@corp.com"
	}
	p, err := access.NewPolicy([]access.Rule{{Emails: emails}, {Roles: []string{"root"}}, {EmailDomains: []string{"corp.com"}, Claims: []access.Claim{{Name: "custom_data.department", Values: []string{"it"}}}}})
	if err != nil {
		b.Fatal(err)
	}
	id := person(b, `{"sub":"u1","email":"ann@corp.com","email_verified":true,"custom_data":{"department":"it"}}`)
	client := netip.MustParseAddr("10.1.2.3")
	b.ReportAllocs()
	for b.Loop() {
		if !ask(p, id, client).Allowed {
			b.Fatal("denied")
		}
	}
}

var (
	no      = access.Verdict{Rule: -1, Broken: -1}
	netOnly = access.Verdict{Rule: -1, Broken: -1, NetworkOnly: true}
)

func yes(rule int) access.Verdict { return access.Verdict{Allowed: true, Rule: rule, Broken: -1} }

// ask asks about a request of which the client's address is known.
func ask(p access.Policy, id *identity.Identity, client netip.Addr) access.Verdict {
	return p.Evaluate(context.Background(), id, &access.Request{Client: client})
}

func person(t testing.TB, claims string) *identity.Identity {
	t.Helper()
	if claims == "" {
		return nil
	}
	c, err := identity.ParseClaims([]byte(claims))
	if err != nil {
		t.Fatal(err)
	}
	id, err := identity.New(c, identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &id
}
