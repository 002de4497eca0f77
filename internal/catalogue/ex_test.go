package catalogue_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

var conditions = family{ID: "EX", Title: "Conditions in rules", Attacks: []attack{
	{ID: "EX-01", Name: "conditions that cannot be evaluated", Want: "403, whatever is denied or negated around them, and a line that says why", Why: "a claim that is missing makes `!=` true elsewhere", Test: brokenConditions},
	{ID: "EX-02", Name: "an entry beside it", Want: "each entry lets in by itself alone: one that cannot be evaluated neither opens nor closes another", Why: "an error that ends the evaluation, with whatever was found so far", Test: besideConditions},
	{ID: "EX-03", Name: "claims of another type", Want: "403: a text is no boolean and no number, one value is no list", Why: "languages that compare them", Test: typedConditions},
	{ID: "EX-04", Name: "what a client says about its request", Want: "a condition sees the method, the path and the address that were decided on", Why: "headers that frameworks take for the method or the address", Test: requestConditions},
	{ID: "EX-05", Name: "report-only", Want: "nobody who is not signed in comes in, and the line says who would not", Why: "a switch for trying rules that opens the route", Test: reportedConditions},
	{ID: "EX-06", Name: "claims that cost much", Want: "an answer in short time; a list of more than a thousand entries counts as none", Why: "work that grows with what somebody is allowed to write about themselves", Test: costlyConditions},
}}

// broken are conditions that cannot be evaluated for Alice, and would hold if what is missing were false, empty or nothing.
var broken = []string{
	`claims.nothing`, `!claims.nothing`, `claims.nothing != "x"`, `!(claims.nothing == "x")`, `claims.custom_data.nothing != "x"`, `!("x" in claims.nothing)`, `claims.nothing == null`, `claims.roles[9] != "x"`, `!(claims.roles[9] == "x")`, `claims.custom_data.tenant > 5`,
	`!(claims.custom_data.tenant > 5)`, `1 / claims.zero >= 0`, `int(claims.name) >= 0`, `claims.name`, `!claims.name`, `claims.age.startsWith("")`, `size(claims.age) == 0`, `timestamp(claims.name) < request.time`, `claims.roles.all(r, r.nothing != "x")`,
	`claims.nothing ? true : true`, `claims.email.nothing != "x"`, `claims["nothing"] != "x"`, `bool(claims.name)`,
}

// judging is a gateway with a route for each list of entries, in front of which somebody with more claims has signed in.
func judging(t *testing.T, tls bool, person map[string]any, more string, entries ...string) (*front, string) {
	t.Helper()
	var routes strings.Builder
	routes.WriteString("\n  - {name: begin, path: /begin, upstreams: [{url: UPSTREAM}]}\n")
	for i, list := range entries {
		fmt.Fprintf(&routes, "  - name: r%d\n    path: /r%d\n    allow: %s\n    upstreams: [{url: UPSTREAM}]\n%s", i, i, list, more)
	}
	f := unsigned(t, gatewaytest.Options{TLS: tls, Routes: routes.String(), Extra: headers})
	who := maps.Clone(alice)
	maps.Copy(who, person)
	return f, f.cookieOf(t, f.person(t, who, "/begin"))
}

// quoted is an entry with one condition.
func quoted(condition string) string {
	return `{expression: '` + strings.ReplaceAll(condition, "'", "''") + `'}`
}

// judged fails unless each route answers with that status, over every protocol that a gateway speaks.
func (f *front) judged(t *testing.T, cookie string, entries []string, want func(i int) int) {
	t.Helper()
	f.Upstream.Forget()
	for _, w := range []way{{front: f, cookie: cookie}, {front: f, cookie: cookie, h2: true}} {
		if w.h2 && !f.TLS {
			continue
		}
		for i, entry := range entries {
			a := w.ask(t, request{Target: fmt.Sprintf("/r%d/x", i)})
			if a.Status != want(i) {
				t.Errorf("%s: got %s, want %d", entry, a, want(i))
			}
			if a.Status != http.StatusOK {
				f.nothingReached(t)
			}
			f.Upstream.Forget()
		}
	}
}

var odd = map[string]any{"zero": 0, "age": 5, "flag": "true", "count": "5", "one": "admin", "yes": true}

func brokenConditions(t *testing.T, _ *doors) {
	var entries []string
	for _, b := range broken {
		entries = append(entries, "["+quoted(b)+"]")
	}
	for _, tls := range []bool{true, false} {
		f, cookie := judging(t, tls, odd, "", entries...)
		f.judged(t, cookie, entries, func(int) int { return http.StatusForbidden })
		gatewaytest.Await(t, "lines say why", func() bool {
			return strings.Contains(f.Log.String(), `"rule-error:missing-member"`) && strings.Contains(f.Log.String(), `"rule-error:type"`)
		})
	}
}

func besideConditions(t *testing.T, _ *doors) {
	good, bad := quoted(`"admin" in claims.roles`), quoted(`"owner" in claims.roles`)
	var entries []string
	var want []int
	for _, b := range broken[:12] {
		for _, tt := range []struct {
			list string
			want int
		}{
			{"[%s, " + good + "]", 200}, {"[" + good + ", %s]", 200}, {"[%s, " + bad + "]", 403}, {"[" + bad + ", %s]", 403}, {"[%s, {roles: [owner]}]", 403}, {"[%s, {roles: [admin]}]", 200},
		} {
			entries, want = append(entries, fmt.Sprintf(tt.list, quoted(b))), append(want, tt.want)
		}
		one := strings.TrimSuffix(quoted(b), "}") // an entry holds if all of it does
		entries, want = append(entries, "["+one+", roles: [admin]}]", "["+one+`, email_domains: ["*"], networks: ["0.0.0.0/0"]}]`), append(want, 403, 403)
	}
	f, cookie := judging(t, true, odd, "", entries...)
	f.judged(t, cookie, entries, func(i int) int { return want[i] })
}

func typedConditions(t *testing.T, _ *doors) {
	entries := map[string]int{
		`claims.flag == true`: 403, `claims.flag`: 403, `claims.yes == true`: 200, `claims.yes`: 200, `claims.yes == "true"`: 403, `claims.count == 5`: 403, `claims.count > 4`: 403, `claims.age > 4`: 200, `claims.age == "5"`: 403, `"admin" in claims.one`: 403, `claims.one == "admin"`: 200,
		`claims.one.exists(r, r == "admin")`: 403, `claims.roles == "admin"`: 403, `claims.roles.contains("admin")`: 403, `"Admin" in claims.roles`: 403, `"adm" in claims.roles`: 403, `claims.email == "ALICE@example.com"`: 403, `claims.email == "alice@example.com"`: 200, `claims.custom_data == "acme"`: 403,
	}
	var lists []string
	var want []int
	for condition, status := range entries {
		lists, want = append(lists, "["+quoted(condition)+"]"), append(want, status)
	}
	f, cookie := judging(t, false, odd, "", lists...)
	f.judged(t, cookie, lists, func(i int) int { return want[i] })
	// An address that nobody verified is none.
	for what, change := range map[string]map[string]any{"not verified": {"email_verified": false}, "verified in words": {"email_verified": "true"}, "nobody says": {"email_verified": null}} {
		lists := []string{`[{expression: 'claims.email == "alice@example.com"'}, {roles: [owner]}]`, `[{expression: 'claims.email.endsWith("@example.com")'}]`, `[{expression: 'claims.email != "x"'}]`}
		f := unsigned(t, gatewaytest.Options{Extra: headers, Routes: fmt.Sprintf("\n  - {name: begin, path: /begin, access: optional, upstreams: [{url: UPSTREAM}]}\n  - {name: a, path: /r0, allow: %s, upstreams: [{url: UPSTREAM}]}\n  - {name: b, path: /r1, allow: %s, upstreams: [{url: UPSTREAM}]}\n  - {name: c, path: /r2, allow: %s, upstreams: [{url: UPSTREAM}]}\n  - {name: any, path: /any, allow: [{roles: [admin]}], upstreams: [{url: UPSTREAM}]}\n", lists[0], lists[1], lists[2])})
		who := maps.Clone(alice)
		maps.Copy(who, change)
		cookie := f.cookieOf(t, f.person(t, who, "/any"))
		f.judged(t, cookie, lists, func(int) int { return http.StatusForbidden })
		if t.Failed() {
			t.Logf("an address, %s", what)
		}
	}
}

func requestConditions(t *testing.T, _ *doors) {
	lists := []string{`[{expression: 'request.method == "DELETE"'}]`, `[{expression: 'request.path.startsWith("/public")'}]`, `[{expression: 'request.client_in("10.0.0.0/8")'}]`, `[{expression: 'request.host == "other.test"'}]`, `[{expression: 'request.scheme == "http"'}]`}
	for _, tls := range []bool{true, false} {
		f, cookie := judging(t, tls, nil, "", lists...)
		f.Upstream.Forget()
		for _, w := range []way{{front: f, cookie: cookie}, {front: f, cookie: cookie, h2: tls}} {
			for i, list := range lists {
				for _, lines := range [][][2]string{
					nil, fieldsOf("X-HTTP-Method-Override", "DELETE", "X-Method-Override", "DELETE", "X-HTTP-Method", "DELETE", "X-Forwarded-Method", "DELETE"), fieldsOf("X-Original-Url", "/public", "X-Rewrite-Url", "/public", "X-Forwarded-Uri", "/public", "X-Forwarded-Prefix", "/public"),
					fieldsOf("X-Forwarded-For", "10.0.0.1", "X-Real-Ip", "10.0.0.1", "Forwarded", "for=10.0.0.1", "True-Client-Ip", "10.0.0.1", "X-Client-Ip", "10.0.0.1"), fieldsOf("X-Forwarded-Host", "other.test", "X-Forwarded-Proto", "http", "X-Forwarded-Scheme", "http", "X-Original-Host", "other.test"),
				} {
					for _, target := range []string{"/x", "/public", "?/public", "/..%2fpublic", "/%2e%2e/public", ";/public", "//public"} {
						a := w.ask(t, request{Method: "POST", Target: fmt.Sprintf("/r%d%s", i, target), Lines: lines, Body: "_method=DELETE"})
						if a.Status == http.StatusOK {
							t.Errorf("%s with %s and %q: got %s", list, target, lines, a)
						}
						f.nothingReached(t)
					}
				}
			}
			if a := w.ask(t, request{Method: "DELETE", Target: "/r0"}); a.Status != http.StatusOK {
				t.Errorf("%s: got %s, want 200", lists[0], a)
			}
			f.Upstream.Forget()
		}
	}
}

func reportedConditions(t *testing.T, _ *doors) {
	lists := []string{"[" + quoted(broken[2]) + "]", "[" + quoted(`"owner" in claims.roles`) + "]", "[{roles: [owner]}]"}
	for _, tls := range []bool{true, false} {
		f, cookie := judging(t, tls, odd, "    report_only: true\n", lists...)
		f.judged(t, cookie, lists, func(int) int { return http.StatusOK })
		for _, stranger := range []string{"", f.Cookie() + "=" + strings.Repeat("A", 43)} {
			f.judged(t, stranger, lists, func(int) int { return http.StatusUnauthorized })
		}
		gatewaytest.Await(t, "lines say who would not", func() bool {
			return strings.Contains(f.Log.String(), `"would_deny":"rule-error:missing-member"`) && strings.Contains(f.Log.String(), `"would_deny":"no-rule"`)
		})
	}
}

func costlyConditions(t *testing.T, _ *doors) {
	many := make([]string, 1500)
	for i := range many {
		many[i] = fmt.Sprintf("r%d", i)
	}
	lists := []string{`[{expression: '"r1499" in claims.many'}]`, `[{expression: 'claims.many.exists(r, r == "r1")'}]`, `[{expression: '!("x" in claims.many)'}]`, `[{claims: [{name: many, values: [r1499]}]}]`, `[{expression: 'claims.long.matches("^(a+)+$")'}]`, `[{expression: 'claims.text.split == "x"'}]`}
	f, cookie := judging(t, true, map[string]any{"many": many, "long": strings.Repeat("a", 20000) + "!"}, "", lists...)
	f.judged(t, cookie, lists, func(int) int { return http.StatusForbidden })
	p := gatewaytest.NewProcess(t, "the program")
	for _, text := range []string{`claims.a.all(x, claims.a.all(y, claims.a.all(z, x == y && y == z)))`, strings.Repeat("(", 100) + "true" + strings.Repeat(")", 100), strings.Repeat(`claims.a == "x" || `, 400) + "true", `"x"`, `1`, `nothing`, `claims.a.matches("(")`, `claims.a.matches(claims.pattern)`, `request.client_in("10.0.0.1/8")`, ``, `claims.`} {
		run(t, p, "check", rewritten(t, sound, "email_domains: [example.com]", "allow: ["+quoted(text)+"]")).refused(t, fmt.Sprintf("%.60s", text), "allow[0]")
	}
}
