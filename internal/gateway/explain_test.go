package gateway_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"portero/internal/config"
	"portero/internal/gateway"
	"portero/internal/gatewaytest"
	"portero/internal/identity"
)

func newExplainer(t *testing.T, routes string) *gateway.Explainer {
	t.Helper()
	cfg, err := config.Load(config.Options{Path: "portero.yaml", Text: []byte(`
external_url: https://wiki.corp.com
session: {store: memory}
logto: {endpoint: https://tenant.logto.app/, app_id: k2x9w4, app_secret: Zq3vT8yN5wR1}
routes:` + strings.ReplaceAll(routes, "UPSTREAM", "http://127.0.0.1:1"))})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	e, err := gateway.NewExplainer(cfg, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// The access matrix, explained: the same rows as by the guard and through the proxy.
func TestAccessMatrixExplained(t *testing.T) {
	t.Parallel()
	e := newExplainer(t, gatewaytest.AccessRoutes())
	for _, row := range gatewaytest.AccessRows() {
		q := gateway.Question{Method: row.Method, URL: row.Path, Age: row.Person.Age}
		var err error
		if row.Person.Claims != "" {
			if q.Claims, err = identity.ParseClaims([]byte(row.Person.Claims)); err != nil {
				t.Fatal(err)
			}
		}
		if row.Client != "" {
			q.Client = netip.MustParseAddr(row.Client)
		}
		x, err := e.Explain(t.Context(), q)
		if err != nil {
			t.Fatalf("%s: %v", row.Name(), err)
		}
		d := x.Decision
		got := strings.Join(strings.Fields(strings.Join([]string{d.Outcome.String(), d.Why(), d.WouldDenyWhy(), d.Rule}, " ")), " ")
		if got != row.Want || x.Refused != nil || x.Own {
			t.Errorf("%s\n got  %s\n want %s", row.Name(), got, row.Want)
		}
		if told := x.Headers.Get("X-Forwarded-User") != ""; told != (d.Identity != nil) {
			t.Errorf("%s: the headers are %v", row.Name(), x.Headers)
		}
		holds := map[string]bool{}
		for _, r := range x.Rules {
			holds[d.Route.Allow.Name(r.Rule)] = r.Field == ""
		}
		if strings.HasPrefix(row.Want, "allow rule ") && !holds[d.Rule] {
			t.Errorf("%s: %s let them in, and does not hold: %v", row.Name(), d.Rule, x.Rules)
		}
		if strings.HasPrefix(row.Want, "deny ") && d.Route.Access.String() == "signed-in" {
			for name, held := range holds {
				if held {
					t.Errorf("%s: is denied, and %s holds", row.Name(), name)
				}
			}
		}
	}
}

// What a gateway refuses before it decides is refused here; what it answers itself is said to be its own.
func TestExplainRefuses(t *testing.T) {
	t.Parallel()
	e := newExplainer(t, `
  - {name: wiki, allow: [{email_domains: [corp.com]}], upstreams: [{url: UPSTREAM}]}
  - {name: open, hosts: [open.corp.com], path: /files, access: public, upstreams: [{url: UPSTREAM}]}
`)
	for url, want := range map[string]string{
		"/":                                  "sign-in",
		"https://wiki.corp.com":              "sign-in",
		"https://WIKI.corp.com:443/a?b=c#d":  "sign-in",
		"?a=b":                               "question",
		"//wiki.corp.com/":                   "refused",
		"https://open.corp.com/files/x":      "allow",
		"https://open.corp.com/filesystem":   "refused",
		"https://open.corp.com/files/%2e%2e": "refused",
		"https://other.corp.com/":            "refused",
		"/a%2fb":                             "refused",
		"/a/../b":                            "refused",
		"/a b":                               "refused",
		"/_portero/session":                  "own",
		"/%5fportero/session":                "own",
		"/sign-in":                           "own",
		"wiki":                               "question",
		"":                                   "question",
		"ftp://wiki.corp.com/":               "question",
		"https://ann@wiki.corp.com/":         "question",
		"https:///x":                         "question",
	} {
		x, err := e.Explain(t.Context(), gateway.Question{URL: url})
		got := x.Decision.Outcome.String()
		switch {
		case err != nil:
			got = "question"
		case x.Refused != nil:
			got = "refused"
		case x.Own:
			got = "own"
		}
		if got != want {
			t.Errorf("%q: got %s (%v, %v), want %s", url, got, err, x.Refused, want)
		}
		if (x.Refused != nil || x.Own) && x.Headers != nil {
			t.Errorf("%q: somebody would be told who this is", url)
		}
	}
	for _, method := range []string{"TRACE", "CONNECT", "get", "HAT"} {
		if x, err := e.Explain(t.Context(), gateway.Question{Method: method, URL: "/"}); err == nil && x.Refused == nil {
			t.Errorf("%s is decided about: %v", method, x.Decision.Outcome)
		}
	}
	for _, claims := range []identity.Claims{{}, {"sub": ""}, {"sub": 7}} {
		if _, err := e.Explain(t.Context(), gateway.Question{URL: "/", Claims: claims}); err == nil {
			t.Errorf("somebody without subject may ask: %v", claims)
		}
	}
}
