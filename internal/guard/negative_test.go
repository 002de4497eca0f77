package guard_test

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"portero/internal/config"
	"portero/internal/gateway"
	"portero/internal/gatewaytest"
	"portero/internal/guard"
	"portero/internal/route"
)

// Every key that restricts who comes in is tried: without it somebody is let in, and with it nobody is who does not meet it. A
// key that is new is in one of these lists, or the test fails.

// restricting are the keys of a route. // :: key → the route without, with, and the path that is asked for
var restricting = map[string]struct{ without, with, path string }{
	"hosts":       {``, `hosts: [other.corp.com]`, "/a"},
	"path":        {``, `path: /b`, "/a"},
	"match":       {`path: /a`, `path: /a, match: exact`, "/a/b"},
	"methods":     {``, `methods: [POST]`, "/a"},
	"access":      {`access: signed-in`, `access: deny`, "/a"},
	"allow":       {``, `allow: [{roles: [root]}]`, "/a"},
	"paths":       {`paths: by-route`, `paths: strict`, "/a%2Fb"},
	"report_only": {`allow: [{roles: [root]}], report_only: true`, `allow: [{roles: [root]}], report_only: false`, "/a"},
	"step_up":     {`step_up: {max_age: 4h}`, `step_up: {max_age: 1h}`, "/a"},
}

// restrictingRules are the keys of an entry of allow, beside a condition that holds. // :: key → what does not hold for Ann
var restrictingRules = map[string]string{
	"emails":             `[bob@corp.com]`,
	"email_domains":      `[evil.example]`,
	"roles":              `[root]`,
	"organizations":      `[o2]`,
	"organization_roles": `["o1:owner"]`,
	"claims":             `[{name: custom_data.department, values: [hr]}]`,
	"networks":           `[192.168.0.0/16]`,
	"methods":            `[POST]`,
	"expression":         `"false"`,
}

// unrestricting are the keys of a route that say nothing about who comes in.
var unrestricting = strings.Fields(`name title upstreams strip_prefix preserve_host timeouts authorization cache identity support access_token bearer cors forward_auth_only`)

func keysOf(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		if key, ok := t.Field(i).Tag.Lookup("key"); ok {
			keys = append(keys, key)
		}
	}
	return keys
}

func TestEveryRestrictingKeyRestricts(t *testing.T) {
	t.Parallel()
	for _, key := range keysOf(reflect.TypeFor[config.Route]()) {
		test, ok := restricting[key]
		if !ok {
			if !strings.Contains(" "+strings.Join(unrestricting, " ")+" ", " "+key+" ") {
				t.Errorf("routes[].%s restricts nobody in a test, and is not in the list of keys that need not", key)
			}
			continue
		}
		if got := annAsks(t, test.without, test.path); got != guard.Allow {
			t.Errorf("%s: without it, got %s", key, got)
		}
		if got := annAsks(t, test.with, test.path); got == guard.Allow {
			t.Errorf("%s: {%s} lets in", key, test.with)
		}
	}
	for _, key := range keysOf(reflect.TypeFor[config.Rule]()) {
		value, ok := restrictingRules[key]
		if !ok {
			t.Errorf("allow[].%s restricts nobody in a test", key)
			continue
		}
		beside := `roles: [admin]`
		if key == "roles" {
			beside = `organizations: [o1]`
		}
		if got := annAsks(t, `allow: [{`+beside+`}]`, "/a"); got != guard.Allow {
			t.Errorf("allow[].%s: without it, got %s", key, got)
		}
		if got := annAsks(t, `allow: [{`+beside+`, `+key+`: `+value+`}]`, "/a"); got != guard.Deny {
			t.Errorf("allow[].%s: %s lets in", key, value)
		}
	}
}

// annAsks is what becomes of a GET by Ann, who signed in three hours ago, on a gateway with one route.
func annAsks(t *testing.T, keys, path string) guard.Outcome {
	t.Helper()
	now := time.Now()
	cfg, err := config.Load(config.Options{Path: "one.yaml", Text: []byte(`
external_url: https://wiki.corp.com
session: {store: memory}
logto: {endpoint: https://tenant.logto.app/, app_id: k2x9w4, app_secret: Zq3vT8yN5wR1}
allow: [{email_domains: ["*"]}]
routes: [{upstreams: [{url: "http://127.0.0.1:1"}], ` + keys + `}]`)})
	if err != nil {
		t.Fatalf("%s: %v", keys, err)
	}
	table, err := gateway.Table(cfg)
	if err != nil {
		t.Fatal(err)
	}
	target, err := route.ParseTarget("GET", path, "wiki.corp.com")
	if err != nil {
		t.Fatal(err)
	}
	rt, err := table.Match("wiki.corp.com", "GET", target)
	if err != nil {
		rt = nil
	}
	var ann gatewaytest.AccessPerson
	for _, p := range gatewaytest.AccessPeople() {
		if p.Name == "ann" {
			ann = p
		}
	}
	ann.Age = 3 * time.Hour
	g := &guard.Guard{Now: func() time.Time { return now }}
	return g.Decide(t.Context(), guard.Request{
		Route: rt, Session: sessionOf(t, ann, now), Method: "GET", Host: "wiki.corp.com", Path: target.Path, Client: netip.MustParseAddr(gatewaytest.AccessInside),
	}).Outcome
}
