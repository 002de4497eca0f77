package expression_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/expression"

	"github.com/google/go-cmp/cmp"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// input is what an ordinary request of an ordinary person looks like.
func input() *expression.Input {
	return &expression.Input{
		Claims: map[string]any{
			"sub": "u1", "email": "Ann@Example.com", "email_verified": true, "roles": []any{"dev", "admin"}, "organizations": []any{}, "phone_number": nil,
			"custom_data": map[string]any{"department": "it", "level": json.Number("3"), "share": json.Number("0.5"), "big": json.Number("18446744073709551616"),
				"sites": []any{"bilbao", "lugo"}},
			"https://corp.com/tier": "gold", "given": []string{"a", "b"},
		},
		Email: "ann@example.com", Method: "GET", Scheme: "https", Host: "wiki.example.com:8443", Path: "/reports/2026", Client: netip.MustParseAddr("10.1.2.3"),
		SessionID: "s1", Subject: "u1", SignedInAt: now.Add(-time.Hour), AuthTime: now.Add(-2 * time.Hour), Now: func() time.Time { return now },
	}
}

func TestEval(t *testing.T) {
	t.Parallel()
	with := func(change func(*expression.Input)) *expression.Input {
		in := input()
		change(in)
		return in
	}
	long := func(n int) *expression.Input {
		list := make([]any, n)
		for i := range list {
			list[i] = "r"
		}
		return with(func(in *expression.Input) { in.Claims["roles"] = list })
	}
	object := func(n int) *expression.Input {
		m := map[string]any{}
		for i := range n {
			m[fmt.Sprint(i)] = true
		}
		return with(func(in *expression.Input) { in.Claims["custom_data"] = m })
	}
	for _, test := range []struct {
		text string
		in   *expression.Input // nil: the ordinary one
		want string            // true, false, or the kind of error
	}{
		{`true`, nil, "true"},
		{`claims.sub == "u1"`, nil, "true"},
		{`claims.sub == "U1"`, nil, "false"},
		{`claims.email == "ann@example.com"`, nil, "true"}, // lower case, as it counts
		{`claims.email.endsWith("@example.com") && request.method == "GET"`, nil, "true"},
		{`claims["email"] == "ann@example.com"`, nil, "true"},
		{`claims.exists(k, k == "email")`, nil, "true"},
		{`claims.email == "ann@example.com"`, with(func(in *expression.Input) { in.Email = "" }), "missing-member"},
		{`has(claims.email)`, with(func(in *expression.Input) { in.Email = "" }), "false"},
		{`"email" in claims`, with(func(in *expression.Input) { in.Email = "" }), "false"},
		{`claims.exists(k, k == "email")`, with(func(in *expression.Input) { in.Email = "" }), "false"},
		{`has(claims.email)`, with(func(in *expression.Input) { in.Claims = nil }), "true"},
		{`has(claims.email)`, with(func(in *expression.Input) { in.Claims, in.Email = nil, "" }), "false"},
		{`claims.email_verified`, nil, "true"},
		{`!claims.email_verified`, nil, "false"},

		{`claims.custom_data.department == "it"`, nil, "true"},
		{`claims.custom_data["department"] in ["it", "hr"]`, nil, "true"},
		{`claims.custom_data.level == 3`, nil, "true"},
		{`claims.custom_data.level >= 3 && claims.custom_data.level < 4`, nil, "true"},
		{`claims.custom_data.level == 3.0`, nil, "true"},
		{`claims.custom_data.level == "3"`, nil, "false"},
		{`claims.custom_data.share == 0.5`, nil, "true"},
		{`claims.custom_data.big > 1`, nil, "type"}, // no int, and a double would equal its neighbours
		{`claims["https://corp.com/tier"] == "gold"`, nil, "true"},
		{`"lugo" in claims.custom_data.sites`, nil, "true"},
		{`claims.custom_data.sites[0] == "bilbao"`, nil, "true"},
		{`claims.custom_data.sites[2] == "bilbao"`, nil, "missing-member"},
		{`claims.given[1] == "b"`, nil, "true"},
		{`claims.phone_number == null`, nil, "true"},
		{`size(claims.organizations) == 0`, nil, "true"},

		{`claims.nothing == "x"`, nil, "missing-member"},
		{`claims.nothing != "x"`, nil, "missing-member"},
		{`!(claims.nothing == "x")`, nil, "missing-member"},
		{`!("blocked" in claims.nothing)`, nil, "missing-member"},
		{`claims.custom_data.nothing.at.all`, nil, "missing-member"},
		{`claims.sub.nothing == 1`, nil, "missing-member"},
		{`has(claims.nothing) && claims.nothing == "x"`, nil, "false"},
		{`has(claims.custom_data.department) && has(claims.custom_data)`, nil, "true"},
		{`claims.nothing == "x" || claims.sub == "u1"`, nil, "true"}, // true whatever the other side is
		{`claims.nothing == "x" || claims.sub == "u2"`, nil, "missing-member"},
		{`claims.nothing == "x" && claims.sub == "u2"`, nil, "false"},
		{`claims.sub`, nil, "type"},
		{`claims.sub > 3`, nil, "type"},
		{`claims.roles + ["x"] == ["dev", "admin", "x"]`, nil, "true"},
		{`claims.roles + claims.sub == []`, nil, "type"},
		{`"admin" in claims.sub`, nil, "type"},
		{`claims.custom_data.level / 0 == 1`, nil, "type"},

		{`"admin" in claims.roles`, nil, "true"},
		{`"Admin" in claims.roles`, nil, "false"},
		{`claims.roles.exists(r, r.startsWith("adm"))`, nil, "true"},
		{`claims.roles.all(r, r in ["dev", "admin"])`, nil, "true"},
		{`claims.roles.exists_one(r, r == "dev")`, nil, "true"},
		{`claims.roles.filter(r, r == "dev").size() == 1`, nil, "true"},
		{`claims.roles.map(r, r + "s") == ["devs", "admins"]`, nil, "true"},
		{`claims.roles.exists(r, r.matches("^ad[a-z]+$"))`, nil, "true"},
		{`"r" in claims.roles`, long(1000), "true"},
		{`"r" in claims.roles`, long(1001), "list-too-long"},
		{`claims.roles[0] == "r"`, long(1001), "list-too-long"},
		{`claims.roles.exists(r, r == "r")`, long(1001), "list-too-long"},
		{`size(claims.roles) > 1`, long(1001), "list-too-long"},
		{`claims.sub == "u1"`, long(1001), "true"}, // nobody looks at it
		{`claims.custom_data.exists(k, k == "1")`, object(1000), "true"},
		{`claims.custom_data["1"]`, object(1001), "list-too-long"},

		{`request.method == "GET" && request.scheme == "https" && request.host == "wiki.example.com" && request.path == "/reports/2026"`, nil, "true"},
		{`request.host == "[::1]"`, with(func(in *expression.Input) { in.Host = "[::1]:3000" }), "true"},
		{`request.host == "[::1]"`, with(func(in *expression.Input) { in.Host = "[::1]" }), "true"},
		{`request.path.startsWith("/reports/")`, nil, "true"},
		{`request.client_ip == "10.1.2.3"`, nil, "true"},
		{`request.client_in("10.0.0.0/8")`, nil, "true"},
		{`request.client_in("192.168.0.0/16", "10.1.0.0/16")`, nil, "true"},
		{`request.client_in("192.168.0.0/16")`, nil, "false"},
		{`request.client_in("2001:db8::/32")`, nil, "false"},
		{`request.client_in("2001:db8::/32")`, with(func(in *expression.Input) { in.Client = netip.MustParseAddr("2001:db8::1") }), "true"},
		{`request.client_in("10.0.0.0/8")`, with(func(in *expression.Input) { in.Client = netip.Addr{} }), "client-unknown"},
		{`!request.client_in("10.0.0.0/8")`, with(func(in *expression.Input) { in.Client = netip.Addr{} }), "client-unknown"},
		{`request.client_ip != "10.0.0.1"`, with(func(in *expression.Input) { in.Client = netip.Addr{} }), "client-unknown"},
		{`request.time < timestamp("2026-03-01T12:00:01Z") && request.time.getHours() == 12`, nil, "true"},

		{`session.subject == "u1" && session.id == "s1"`, nil, "true"},
		{`session.age == duration("2h")`, nil, "true"},
		{`session.age < duration("1h")`, nil, "false"},
		{`session.signed_in_at == timestamp("2026-03-01T11:00:00Z") && session.auth_time == timestamp("2026-03-01T10:00:00Z")`, nil, "true"},
		{`session.age < duration("1h")`, with(func(in *expression.Input) { in.AuthTime = now.Add(30 * time.Second) }), "true"},
		{`session.age < duration("1h")`, with(func(in *expression.Input) { in.AuthTime = now.Add(2 * time.Minute) }), "session-time"},
		{`session.age < duration("1h")`, with(func(in *expression.Input) { in.AuthTime = time.Time{} }), "session-time"},
		{`session.auth_time < request.time`, with(func(in *expression.Input) { in.AuthTime = time.Time{} }), "session-time"},
		{`session.signed_in_at < request.time`, with(func(in *expression.Input) { in.SignedInAt = time.Time{} }), "session-time"},
	} {
		t.Run(test.text, func(t *testing.T) {
			t.Parallel()
			p, err := expression.Compile(test.text)
			if err != nil {
				t.Fatal(err)
			}
			in := test.in
			if in == nil {
				in = input()
			}
			before := maps.Clone(in.Claims)
			if got := answer(p, t.Context(), in); got != test.want {
				t.Errorf("%s: got %s, want %s", test.text, got, test.want)
			}
			if diff := cmp.Diff(before, in.Claims); diff != "" {
				t.Errorf("the claims were changed:\n%s", diff)
			}
		})
	}
}

// answer is what an expression says, in one word.
func answer(p *expression.Program, ctx context.Context, in *expression.Input) string {
	holds, err := p.Eval(ctx, in)
	if err != nil {
		if holds {
			return "true and an error"
		}
		return string(expression.KindOf(err))
	}
	return fmt.Sprint(holds)
}

// What claims have in them costs no more than maxCost, and no longer than whoever asked waits.
func TestEvalIsBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 60<<10)
	list := make([]any, 1000)
	for i := range list {
		list[i] = long
	}
	in := input()
	in.Claims = map[string]any{"sub": long, "roles": list}
	for _, text := range []string{
		`claims.roles.exists(r, r.matches("^(a|aa)+b$"))`,
		`claims.roles.exists(r, r.contains(claims.sub + "b"))`,
		`claims.roles.map(r, r + r + "b").exists(r, r.endsWith(claims.sub))`,
	} {
		p, err := expression.Compile(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		began := time.Now()
		if got := answer(p, t.Context(), in); got != "cost" {
			t.Errorf("%s: got %s, want cost", text, got)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s took %v", text, took)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	p, err := expression.Compile(`claims.roles.filter(r, r == "x").size() == 0`)
	if err != nil {
		t.Fatal(err)
	}
	for i := range list {
		list[i] = "r"
	}
	if got := answer(p, gone, in); got != "interrupted" {
		t.Errorf("for somebody who has left: got %s, want interrupted", got)
	}
	if got := answer(p, t.Context(), in); got != "true" {
		t.Errorf("for somebody who waits: got %s, want true", got)
	}
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                    `is empty; write one like "admin" in claims.roles`,
		"  ":                                  `is empty; `,
		`1 +`:                                 `column 4: is no expression (mismatched input '<EOF>'); write one like`,
		`claims.sub == 'x`:                    `is no expression (`,
		`clams.sub == "x"`:                    `column 1: there is no "clams"; write claims, request or session`,
		`request.methd == "GET"`:              `column 8: a request has no "methd"; write one of client_in(), client_ip, host, method, path, scheme, time`,
		`request.query == "x"`:                `column 8: a request has no "query"; write one of`,
		`session.email == "x"`:                `column 8: a session has no "email"; write one of age, auth_time, id, signed_in_at, subject`,
		"claims.sub == \"x\" &&\n  session.a": `line 2, column 10: a session has no "a"`,
		`has(request.method)`:                 `column 4: a request always has what it has; write it without has()`,
		`request == session`:                  `column 1: request is no value by itself`,
		`request.method`:                      `is a string, not true or false; write a comparison`,
		`size(claims.roles)`:                  `is a int, not true or false`,
		`session.age < 5`:                     `column 13: found no matching overload for '_<_' applied to '(duration, int)'; write `,
		`request.path + 1 == 2`:               `found no matching overload`,
		`claims.sub.lower() == "x"`:           `there is no "lower"`,
		`request.client_in()`:                 `client_in names no network; write request.client_in("10.0.0.0/8")`,
		`request.client_in("10.0.0.1/8")`:     `column 19: "10.0.0.1/8" has bits beyond its length; write 10.0.0.0/8`,
		`request.client_in("10.0.0.1")`:       `"10.0.0.1" is no network; write one like`,
		`request.client_in(claims.net)`:       `client_in takes networks in quotes`,
		`claims.client_in("10.0.0.0/8")`:      `only a request has client_in`,
		`claims.sub.matches(claims.email)`:    `the pattern of matches() is no constant; write it in quotes`,
		`matches(claims.sub, claims.email)`:   `the pattern of matches() is no constant`,
		`claims.sub.matches("(")`:             `invalid matches argument; write one in quotes that can be read`,
		`request.path.matches("^/a")`:         `matches a path against a pattern, which is the usual way around a rule; write startsWith() or a route of its own`,
		`matches(request.path, "^/a")`:        `matches a path against a pattern`,
		`claims.a.exists(claims, true)`:       `"claims" already has a meaning; write another name`,
		`[1].exists(request, request == 1)`:   `"request" already has a meaning`,
		`session.age < duration("5 minutes")`: `invalid duration argument; write one in quotes`,
		`timestamp("soon") < request.time`:    `invalid timestamp argument`,
		`claims.a.exists(a, claims.b.exists(b, claims.c.exists(c, a == b && b == c)))`: `may cost too much for a request; write it with fewer lists inside one another`,
		`claims.a == "` + strings.Repeat("x", 4096) + `"`:                              `is longer than 4096 characters; write a shorter one`,
		strings.Repeat("(", 100) + "true" + strings.Repeat(")", 100):                   `is too long or too deep`,
	} {
		p, err := expression.Compile(text)
		var problem *expression.Problem
		if err == nil || !strings.Contains(err.Error(), want) || !errors.As(err, &problem) || !strings.Contains(err.Error(), "; write ") {
			t.Errorf("%.80s: got %v, want %s", text, err, want)
		}
		if p != nil {
			t.Errorf("%.80s: refused, and a program all the same", text)
		}
	}
}

func TestClaims(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		claims  string
		dynamic bool
	}{
		`request.method == "GET"`:                                         {"", false},
		`claims.sub == "x" && claims.sub != "y"`:                          {"sub", false},
		`claims.custom_data.department == "it"`:                           {"custom_data.department", false},
		`claims["custom_data"]["department"] == "it"`:                     {"custom_data.department", false},
		`has(claims.custom_data.level) ? claims.roles == [] : true`:       {"custom_data.level roles", false},
		`claims.roles.exists(r, r == claims.sub)`:                         {"roles sub", false},
		`claims.organizations[0] == {"a": claims.name}["a"]`:              {"name organizations", false},
		`"picture" in claims`:                                             {"picture", false},
		`claims[claims.key] == "x"`:                                       {"key", true},
		`claims.exists(k, k == "x")`:                                      {"", true},
		`claims == {}`:                                                    {"", true},
		`[claims.a].size() == 1 && dyn(claims.b) == 1 && claims.c.d.e[1]`: {"a b c.d.e", false},
		`claims.custom_data[claims.sub] == 1`:                             {"custom_data sub", false},
	} {
		p, err := expression.Compile(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		claims, dynamic := p.Claims()
		if strings.Join(claims, " ") != want.claims || dynamic != want.dynamic {
			t.Errorf("%s: got %q, %t; want %q, %t", text, claims, dynamic, want.claims, want.dynamic)
		}
	}
	if !slices.Contains(expression.Names(), "session.age") || !slices.IsSorted(expression.Names()) {
		t.Errorf("names: %q", expression.Names())
	}
}

// An error says nothing of what claims have.
func TestErrorsAreSilent(t *testing.T) {
	t.Parallel()
	in := input()
	in.Claims["roles"] = []any{"needle-4711"}
	for _, text := range []string{`claims.roles[0] > 3`, `claims[claims.roles[0]] == 1`, `int(claims.roles[0]) == 1`, `timestamp(claims.roles[0]) < request.time`, `claims.roles == claims.sub + claims.roles[0] + 1`} {
		p, err := expression.Compile(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if holds, err := p.Eval(t.Context(), in); err == nil || holds || strings.Contains(err.Error(), "needle") {
			t.Errorf("%s: got %t, %v; want an error without a value", text, holds, err)
		}
	}
}

// FuzzExpression: whatever is written, nothing panics, it ends soon, and what is not true is false or an error.
func FuzzExpression(f *testing.F) {
	for _, seed := range []string{
		`claims.email.endsWith("@example.com") && request.method == "GET"`, `claims.roles.exists(r, r == "admin")`, `request.client_in("10.0.0.0/8")`,
		`has(claims.x) ? claims.x : !claims.y`, `[1, 2].map(x, x * 2).all(x, claims.n[x])`, `session.age < duration("5m")`, `claims`, `"\x00" in claims.a`, `{1: 2}[claims.a]`,
		`claims.a.map(b, claims.a).exists(c, c == c)`, `"aaaa".matches("(a*)*b")`, `b"a" + bytes(claims.a) == b""`, `type(claims) == map`, `request.time - session.age > request.time`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		began := time.Now()
		p, err := expression.Compile(text)
		if err != nil {
			var problem *expression.Problem
			if !errors.As(err, &problem) || p != nil {
				t.Fatalf("%q: got %v and %v", text, p, err)
			}
			return
		}
		holds, err := p.Eval(t.Context(), input())
		var kind *expression.Error
		if err != nil && (holds || !errors.As(err, &kind) || kind.Kind == "" || kind.Kind == expression.Internal) {
			t.Fatalf("%q: got %t, %v", text, holds, err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Fatalf("%q took %v", text, took)
		}
	})
}

func BenchmarkEval(b *testing.B) {
	for name, text := range map[string]string{
		"text":    `claims.email.endsWith("@example.com") && request.method == "GET"`,
		"list":    `"admin" in claims.roles`,
		"loop":    `claims.roles.exists(r, r == "admin")`,
		"network": `request.client_in("10.0.0.0/8") && session.age < duration("5h")`,
		"counted": `claims.roles.exists(r, r.matches("^adm.*$"))`, // its cost is counted and its time bounded
	} {
		p, err := expression.Compile(text)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			in := input()
			in.Claims["email"] = in.Email
			for b.Loop() {
				if holds, err := p.Eval(b.Context(), in); !holds || err != nil {
					b.Fatal(holds, err)
				}
			}
		})
	}
}

// One program serves every request at the same time, those that fail too.
func TestEvalAtTheSameTime(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`claims.sub > 3`, `claims.nothing == 1`, `claims.roles.filter(r, r > 3).size() == 1`, `"admin" in claims.roles`, `!claims.sub`, `request.client_in("10.0.0.0/8")`} {
		p, err := expression.Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		want := answer(p, t.Context(), input())
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 50 {
					if got := answer(p, t.Context(), input()); got != want {
						t.Errorf("%s: got %s, want %s", text, got, want)
					}
				}
			})
		}
		all.Wait()
	}
}
