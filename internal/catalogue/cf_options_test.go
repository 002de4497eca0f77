package catalogue_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

// free are options that keep nobody out by themselves, and why.
var free = map[string]string{
	"listen": "where it listens", "external_url": "its name", "upstream": "what is behind it", "admin.listen": "where operators are heard; off loopback a token is asked for (CF-10)",
	"logto.endpoint": "who signs people in", "logto.internal_endpoint": "how that is reached", "logto.app_id": "its name there (CF-08)", "logto.app_secret": "what it proves itself with", "logto.app_secret_file": "the same",
	"logto.scopes": "what is asked for", "logto.resources": "what is asked for", "logto.sign_in.first_screen": "how signing in looks", "logto.sign_in.identifiers": "how signing in looks", "logto.sign_in.registration": "for setup",
	"logto.sign_in.extra_params[].name": "how signing in looks", "logto.sign_in.extra_params[].value": "how signing in looks", "logto.management.app_id": "for operators", "logto.management.app_secret": "for operators",
	"logto.management.app_secret_file": "for operators", "logto.management.resource": "for operators", "session.store": "where sessions are", "session.file.path": "where sessions are", "session.redis.url": "where sessions are",
	"session.redis.url_file": "where sessions are", "session.redis.addresses": "where sessions are", "session.redis.master_name": "where sessions are", "session.redis.cluster": "where sessions are",
	"session.old_secrets[].value": "what still opens (CF-02, CF-03)", "session.old_secrets[].file": "what still opens (CF-02, CF-03)", "endpoints.sign_in": "a name", "endpoints.callback": "a name", "endpoints.sign_out": "a name", "endpoints.aliases": "more names",
	"identity.headers[].name": "what applications learn (HS, CL)", "identity.headers[].claim": "what applications learn (HS, CL)", "identity.headers[].encoding": "what applications learn (CL)", "identity.headers[].join": "what applications learn (CL)",
	"routes[].name": "a name", "routes[].title": "a name", "routes[].upstreams[].url": "what is behind it", "routes[].strip_prefix": "what the application sees", "routes[].preserve_host": "what the application sees",
	"routes[].timeouts.connect": "patience with the application (UP)", "routes[].timeouts.response_header": "patience with the application (UP)", "routes[].timeouts.idle": "patience with the application (UP)",
	"routes[].identity.headers[].name": "what applications learn", "routes[].identity.headers[].claim": "what applications learn", "routes[].identity.headers[].encoding": "what applications learn", "routes[].identity.headers[].join": "what applications learn",
	"identity.headers[].max_bytes": "as of routes[]", "identity.headers[].overflow": "as of routes[]", "identity.preset": "what applications learn (CL)", "routes[].identity.preset": "what applications learn (CL)",
	"identity.assertion.enabled": "what applications learn", "identity.assertion.header": "what applications learn", "identity.assertion.lifetime": "what applications learn", "identity.assertion.bind": "what applications learn",
	"routes[].identity.assertion.enabled": "what applications learn", "routes[].identity.assertion.header": "what applications learn", "routes[].identity.assertion.lifetime": "what applications learn",
	"routes[].identity.assertion.bind": "what applications learn", "routes[].identity.assertion.audience": "what applications learn", "routes[].cors.max_age": "what browsers keep",
	"insecure": "it permits (CF-10)", "reload.watch": "when files are read", "shutdown.delay": "how it ends (OP-08)", "shutdown.timeout": "how it ends (OP-08)", "log.level": "what is written", "log.format": "what is written",
	"log.access": "what is written", "log.audit_file": "what is written", "tls.cert_file": "who it is (CF-03, CF-04)", "tls.key_file": "who it is (CF-03, CF-04)", "admin.metrics_listen": "one more listener (OP-03)",
}

// later are options of a version to come: they are refused, so that nobody believes they restrict something. // :: path → value
var later = map[string]string{
	"telemetry.otlp_endpoint": "http://127.0.0.1:4317",
}

// triedElsewhere are options that restrict something, and the cases that try it.
var triedElsewhere = map[string]string{
	"admin.token": "OP-03", "admin.token_file": "CF-04, OP-03", "admin.hosts": "OP-03", "trusted_proxies": "TP", "logto.ca_file": "CF-03", "session.secret": "CF-02", "session.secret_file": "CF-02", "session.redis.key_prefix": "CF-08",
	"session.lifetime": "SE", "session.idle_timeout": "SE", "session.after_idle": "SE", "session.refresh_grace": "RT", "session.redis.tls.ca_file": "CF-04", "endpoints.prefix": "OP-01",
	"routes[].step_up.max_age": "gateway.TestStepUp", "routes[].forward_auth_only": "FA-11", "routes[].bearer.audience": "AT-03", "routes[].access_token.resource": "gateway.TestAccessTokenRefused", "routes[].access_token.organization": "gateway.TestAccessTokenRefused",
	"routes[].cors.origins": "CO-01", "routes[].cors.methods": "CO-04", "routes[].cors.headers": "CO-04", "routes[].cors.credentials": "CO-02",
}

// restricting are the options that are tried here, each by what it lets Alice do and what not.
var restricting = map[string]struct {
	yes, no      string // the settings with which Alice comes in, and with which she does not
	status       int    // what she gets then; 0: 403
	method, path string // "": GET /it
}{
	"allow[].emails":                        {yes: "allow: [{emails: [ALICE@example.com]}]", no: "allow: [{emails: [bob@example.com, alice@example.org, xalice@example.com]}]"},
	"allow[].email_domains":                 {yes: "allow: [{email_domains: [Example.com]}]", no: "allow: [{email_domains: [example.org, ample.com, com, evil-example.com, example.com.evil.test]}]"},
	"allow[].roles":                         {yes: "allow: [{roles: [admin]}]", no: "allow: [{roles: [Admin, adm, root, \"admin,editor\", owner]}]"},
	"allow[].organizations":                 {yes: "allow: [{organizations: [org1]}]", no: "allow: [{organizations: [org2, ORG1, org]}]"},
	"allow[].claims[].name":                 {yes: "allow: [{claims: [{name: custom_data.tenant, values: [acme]}]}]", no: "allow: [{claims: [{name: custom_data.other, values: [acme]}]}]"},
	"allow[].claims[].values":               {yes: "allow: [{claims: [{name: custom_data.tenant, values: [x, acme]}]}]", no: "allow: [{claims: [{name: custom_data.tenant, values: [Acme, acme2, acm]}]}]"},
	"allow[].networks":                      {yes: "allow: [{networks: [127.0.0.0/8]}]", no: "allow: [{networks: [10.0.0.0/8, \"::1/128\", 127.0.0.2/32]}]"},
	"allow[].organization_roles":            {yes: "allow: [{organization_roles: [\"org1:editor\"]}]", no: "allow: [{organization_roles: [\"org1:Editor\", \"org2:editor\", \"org1:edit\", \"org:1editor\"]}]"},
	"allow[].methods":                       {yes: "allow: [{roles: [admin], methods: [PUT, GET]}]", no: "allow: [{roles: [admin], methods: [PUT, POST, DELETE]}]"},
	"allow[].expression":                    {yes: "allow: [{expression: 'claims.custom_data.tenant == \"acme\"'}]", no: "allow: [{expression: 'claims.custom_data.other == \"acme\" || true && claims.nothing'}]"},
	"routes[].report_only":                  {yes: "allow: [{roles: [nobody]}], report_only: true", no: "allow: [{roles: [nobody]}], report_only: false"},
	"routes[].identity.headers[].max_bytes": {yes: "identity: {headers: [{name: X-It, claim: email, max_bytes: 17, overflow: deny}]}", no: "identity: {headers: [{name: X-It, claim: email, max_bytes: 16, overflow: deny}]}"},
	"routes[].identity.headers[].overflow":  {yes: "identity: {headers: [{name: X-It, claim: email, max_bytes: 16, overflow: drop}]}", no: "identity: {headers: [{name: X-It, claim: email, max_bytes: 16, overflow: deny}]}"},
	"email_domains":                         {yes: "allow: [{email_domains: [\"*\"]}]", no: "allow: [{email_domains: [\"*\"], roles: [nobody]}]"}, // its own form is tried below
	"routes[].access":                       {yes: "access: signed-in", no: "access: deny"},
	"routes[].methods":                      {yes: "methods: [POST]", no: "methods: [PUT]", method: "POST"},
	"routes[].match":                        {yes: "match: prefix", no: "match: exact", path: "/it/below"},
	"routes[].path":                         {yes: "match: prefix", no: "match: prefix", path: "/IT"},
	"routes[].hosts":                        {yes: "hosts: [gw.test]", no: "hosts: [other.test]"},
	"routes[].paths":                        {yes: "paths: by-route", no: "paths: strict", path: "/it/a%2fb", status: http.StatusBadRequest},
	"routes[].authorization":                {yes: "authorization: pass", no: "authorization: drop", status: http.StatusOK},
	"routes[].cache":                        {yes: "cache: upstream", no: "cache: protect", status: http.StatusOK},
}

func restrictions(t *testing.T, _ *doors) {
	for _, o := range options(t) {
		path := strings.Replace(o.path, "routes[].allow[]", "allow[]", 1)
		_, isFree := free[path]
		_, isLater := later[o.path]
		_, isElsewhere := triedElsewhere[path]
		_, isTried := restricting[path]
		if !isFree && !isLater && !isElsewhere && !isTried && !strings.HasPrefix(path, "mailgun.") && !strings.HasPrefix(path, "pages.") && !strings.HasPrefix(path, "routes[].support.") {
			t.Errorf("%s: is an option that no table here has: if it keeps somebody out, write into `restricting` a value with which Alice comes in and one with which she does not, "+
				"or into `triedElsewhere` the case that tries it; if it keeps nobody out, write into `free` why; if it is refused as of a version to come, write a value for it into `later`", path)
		}
	}

	// What is not there yet is refused.
	p := gatewaytest.NewProcess(t, "the program")
	for path, value := range later {
		text, parts := value, strings.Split(path, ".")
		for i := len(parts) - 1; i > 0; i-- {
			name, isList := strings.CutSuffix(parts[i], "[]")
			if text = fmt.Sprintf("{%s: %s}", name, text); isList {
				text = fmt.Sprintf("{%s: [%s]}", name, strings.TrimSuffix(strings.TrimPrefix(text, "{"+name+": "), "}"))
			}
		}
		configured := sound + parts[0] + ": " + text + "\n"
		switch parts[0] {
		case "routes[]":
			configured = rewritten(t, sound, "upstream: http://127.0.0.1:8080", `routes: [{upstreams: [{url: "http://127.0.0.1:8080"}], `+strings.TrimPrefix(text, "{")+"]")
		case "allow[]":
			configured = rewritten(t, sound, "email_domains: [example.com]", "allow: ["+text+"]")
		}
		run(t, p, "check", configured).refused(t, path, strings.ReplaceAll(strings.Split(path, ".")[len(parts)-1], "[]", ""))
	}

	// Each option has a gateway with a route for what lets Alice in, and one for what does not, of two hosts' worth.
	route := func(name, path, settings string) string {
		r := fmt.Sprintf("  - {name: %s, path: %s, %s", name, path, settings)
		if !strings.Contains(settings, "access: deny") {
			r += ", upstreams: [{url: UPSTREAM}]"
		}
		return r + "}\n"
	}
	yes, no := "\n", "\n"
	names := map[string]string{} // :: option → its path
	for name, tt := range restricting {
		at := "/it" + strings.NewReplacer("[]", "", ".", "-", "_", "-").Replace(name)
		names[name] = at
		yes += route(at[1:], at, tt.yes)
		no += route(at[1:], at, tt.no)
	}
	root := "  - {name: root, path: /, access: deny}\n  - {name: second, hosts: [other.test], path: /, access: deny}\n"
	person := maps.Clone(alice)
	person["organizations"], person["organization_roles"] = []string{"org1"}, []string{"org1:editor"}
	gateways := map[bool]*front{}
	for allowed, routes := range map[bool]string{true: yes + root, false: no + root} {
		f := unsigned(t, gatewaytest.Options{Routes: strings.Replace(routes, "\n", "\n  - {name: begin, path: /begin, upstreams: [{url: UPSTREAM}]}\n", 1), Extra: headers})
		f.alice = f.cookieOf(t, f.person(t, person, "/begin"))
		f.Upstream.Say(func(string) string {
			return "HTTP/1.1 200 OK\r\nCache-Control: public, s-maxage=60\r\nContent-Length: 2\r\n\r\nok"
		}, false)
		gateways[allowed] = f
	}
	for name, tt := range restricting {
		path := names[name] + strings.TrimPrefix(strings.TrimPrefix(tt.path, "/it"), "/IT")
		ask := func(f *front, path string) *gatewaytest.Answer {
			f.Upstream.Forget()
			return way{front: f, cookie: f.alice}.ask(t, request{Method: tt.method, Target: path, Lines: fieldsOf("Authorization", "Basic "+gatewaytest.Canary+"credentials", "Origin", f.URL, "Sec-Fetch-Site", "same-origin")})
		}
		if a := ask(gateways[true], path); a.Status != http.StatusOK {
			t.Errorf("%s: with %q: got %s, want 200", name, tt.yes, a)
		}
		if name == "routes[].path" {
			path = strings.ToUpper(path)
		}
		f := gateways[false]
		a := ask(f, path)
		want := tt.status
		if want == 0 {
			want = http.StatusForbidden
		}
		if a.Status != want {
			t.Errorf("%s: with %q: got %s, want %d", name, tt.no, a, want)
		}
		switch {
		case want != http.StatusOK:
			f.nothingReached(t)
		case name == "routes[].authorization":
			absent(t, f.Upstream.Last(), "Authorization")
		case name == "routes[].cache":
			if got := a.Header.Get("Cache-Control"); strings.Contains(got, "public") || strings.Contains(got, "s-maxage") {
				t.Errorf("%s: got %q, want nothing for shared caches", name, got)
			}
		}
	}
	// The short form, and the rule of all where a route has none.
	f := unsigned(t, gatewaytest.Options{Routes: "\n  - {name: app, path: /, upstreams: [{url: UPSTREAM}]}\n", Extra: headers})
	f.configured(t, `allow: [{email_domains: ["*"]}]`, "email_domains: [example.org]")
	f.Hangup(t)
	b := f.Browser(t)
	if r := b.Visit(f.URL + "/app"); r.StatusCode != http.StatusForbidden {
		t.Errorf("an address of another domain: got %s, want 403", r.Status)
	}
	f.nothingReached(t)
	f.configured(t, "email_domains: [example.org]", "email_domains: [example.com]")
	f.Hangup(t)
	if r := b.Visit(f.URL + "/app"); r.StatusCode != http.StatusOK {
		t.Errorf("an address of the domain: got %s, want 200", r.Status)
	}
}
