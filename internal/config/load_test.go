package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"portero/internal/config"
)

func TestShortFormsAreWrittenOut(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, with())
	if c.Upstream != nil || c.EmailDomains != nil {
		t.Errorf("got upstream %v, email_domains %v, want both written out", c.Upstream, c.EmailDomains)
	}
	if len(c.Routes) != 1 {
		t.Fatalf("got %d routes, want 1", len(c.Routes))
	}
	r := c.Routes[0]
	for _, one := range []struct{ what, got, want string }{
		{"name", r.Name, "/"}, {"path", r.Path, "/"}, {"match", r.Match, config.MatchPrefix}, {"access", r.Access, config.AccessSignedIn},
		{"hosts", strings.Join(r.Hosts, " "), "localhost"}, {"upstream", r.Upstreams[0].URL.String(), "http://127.0.0.1:8080"},
		{"paths", r.Paths, config.PathsStrict}, {"cache", r.Cache, config.CacheProtect}, {"authorization", r.Authorization, config.AuthorizationPass},
		{"rule", strings.Join(r.Allow[0].EmailDomains, " "), "example.com"},
		{"first header", r.Identity.Headers[0].Name, "X-Forwarded-User"},
		{"cookie", c.CookieName(), "portero-3000"},
	} {
		if one.got != one.want {
			t.Errorf("%s: got %q, want %q", one.what, one.got, one.want)
		}
	}
	if !r.PreserveHost || r.StripPrefix {
		t.Errorf("got preserve_host %v, strip_prefix %v, want true, false", r.PreserveHost, r.StripPrefix)
	}
	if want := (config.Timeouts{Connect: 5 * time.Second, ResponseHeader: time.Minute}); r.Timeouts != want {
		t.Errorf("got timeouts %v, want %v", r.Timeouts, want)
	}
	if got, want := c.RedirectURIs(), []string{"http://localhost:3000/callback"}; !cmp.Equal(got, want) {
		t.Errorf("got redirect URIs %v, want %v", got, want)
	}
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	flags := func(args ...string) *pflag.FlagSet {
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		config.AddFlags(fs)
		if err := fs.Parse(args); err != nil {
			t.Fatal(err)
		}
		return fs
	}
	const file, env, flag = "127.0.0.1:1001", "PORTERO_LISTEN=127.0.0.1:1002", "--listen=127.0.0.1:1003"
	for name, tt := range map[string]struct {
		text  string
		env   []string
		flags *pflag.FlagSet
		want  string
	}{
		"default":                   {with(), nil, flags(), "127.0.0.1:3000"},
		"file over default":         {with("listen: " + file), nil, flags(), file},
		"environment over file":     {with("listen: " + file), []string{env}, flags(), "127.0.0.1:1002"},
		"flag over environment":     {with("listen: " + file), []string{env}, flags(flag), "127.0.0.1:1003"},
		"flag over file, no others": {with("listen: " + file), nil, flags(flag), "127.0.0.1:1003"},
		"flag over default":         {with(), nil, flags(flag), "127.0.0.1:1003"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := config.Load(config.Options{Path: "p.yaml", Text: []byte(tt.text), Env: tt.env, Flags: tt.flags, WorkDir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			if c.Listen != tt.want {
				t.Errorf("got %q, want %q", c.Listen, tt.want)
			}
		})
	}
	_, err := config.Load(config.Options{Flags: flags("--listen=nowhere"), Env: []string{"PORTERO_LOGTO_APP_ID="}, WorkDir: t.TempDir()})
	wantProblem(t, err, `--listen: "nowhere" is no address`)
	wantProblem(t, err, "PORTERO_LOGTO_APP_ID: is empty; write")
}

func TestEnvironmentAloneIsEnough(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := write(t, filepath.Join(dir, "secret"), canary+"\n", 0o600)
	c, err := config.Load(config.Options{WorkDir: dir, Env: []string{
		"PORTERO_UPSTREAM=http://app:8080", "PORTERO_EMAIL_DOMAINS=example.com, Example.org,", "PORTERO_LOGTO_ENDPOINT=https://t.logto.app",
		"PORTERO_LOGTO_APP_ID=abc", "PORTERO_LOGTO_APP_SECRET_FILE=" + secret, "PORTERO_SESSION_FILE_PATH=data/sessions.db",
		"PORTERO_TRUSTED_PROXIES=10.0.0.0/8,192.168.1.7", "PORTERO_RELOAD_WATCH=true", "PORTERO_SHUTDOWN_DELAY=5s",
		"PORTERO_PAGES_LANGUAGES=es", "HOME=/root", "PORTEROX=1",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Allow[0].EmailDomains, []string{"example.com", "example.org"}; !cmp.Equal(got, want) {
		t.Errorf("got domains %v, want %v", got, want)
	}
	if got, want := c.TrustedProxies, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.168.1.7/32")}; !cmp.Equal(got, want, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })) {
		t.Errorf("got proxies %v, want %v", got, want)
	}
	if got := c.Logto.AppSecret.Reveal(); got != canary {
		t.Errorf("got secret %q, want the content of the file less one newline", got)
	}
	if got, want := c.Session.File.Path, filepath.Join(dir, "data/sessions.db"); got != want {
		t.Errorf("got path %q, want %q", got, want)
	}
	if got, want := c.Logto.Endpoint.String(), "https://t.logto.app/"; got != want {
		t.Errorf("got endpoint %q, want %q", got, want)
	}
	if !c.Reload.Watch || c.Shutdown.Delay != 5*time.Second || !cmp.Equal(c.Pages.Languages, []string{"es"}) {
		t.Errorf("got watch %v, delay %v, languages %v", c.Reload.Watch, c.Shutdown.Delay, c.Pages.Languages)
	}
}

func TestEveryScalarHasItsVariable(t *testing.T) {
	t.Parallel()
	// viper answers for keys of the environment only if they are known to it: each is tried.
	for variable, want := range map[string]string{
		"PORTERO_ADMIN_METRICS_LISTEN=127.0.0.1:9":                 "metrics_listen: 127.0.0.1:9",
		"PORTERO_LOGTO_SIGN_IN_FIRST_SCREEN=register":              "first_screen: register",
		"PORTERO_LOGTO_MANAGEMENT_RESOURCE=https://a.example/api":  "resource: https://a.example/api",
		"PORTERO_ENDPOINTS_SIGN_IN=/in":                            "sign_in: /in",
		"PORTERO_PAGES_SUPPORT_EMAIL=help@example.com":             "email: help@example.com",
		"PORTERO_LOG_ACCESS=false":                                 "access: false",
		"PORTERO_INSECURE=plain-http,public-root":                  "insecure: [plain-http, public-root]",
		"PORTERO_MAILGUN_ENDPOINT=https://api.eu.mailgun.net":      "endpoint: https://api.eu.mailgun.net",
		"PORTERO_SESSION_IDLE_TIMEOUT=2h":                          "idle_timeout: 2h",
		"PORTERO_LOGTO_INTERNAL_ENDPOINT=http://logto.internal:80": "internal_endpoint: http://logto.internal/",
	} {
		c := mustLoad(t, with(), variable)
		if got := string(c.YAML()); !strings.Contains(got, " "+want+"\n") && !strings.Contains(got, "\n"+want+"\n") {
			t.Errorf("with %s: %q is not in\n%s", variable, want, got)
		}
	}
}

func TestAnEmptyVariableCountsAsSet(t *testing.T) {
	t.Parallel()
	text := with("trusted_proxies: [10.0.0.0/8]", "pages: {name: Wiki}")
	c := mustLoad(t, text, "PORTERO_TRUSTED_PROXIES=", "PORTERO_PAGES_NAME=")
	if len(c.TrustedProxies) != 0 || c.Pages.Name != "" {
		t.Errorf("got proxies %v, name %q, want none", c.TrustedProxies, c.Pages.Name)
	}
	_, err := load(t, with(), "PORTERO_LISTEN=")
	wantProblem(t, err, "PORTERO_LISTEN: ")
	_, err = load(t, with(), "PORTERO_SHUTDOWN_DELAY=")
	wantProblem(t, err, "PORTERO_SHUTDOWN_DELAY: is empty")
}

func TestUnknownVariables(t *testing.T) {
	t.Parallel()
	_, err := load(t, with(), "PORTERO_LOGTO_APPSECRET="+canary, "PORTERO_ROUTES=x", "PORTERO_FROBNICATE=1", "PORTERO_ADMIN_LISTEN=1", "PORTERO_SERVICE_HOSTS=1")
	wantProblem(t, err, "PORTERO_LOGTO_APPSECRET: is not a setting; did you mean PORTERO_LOGTO_APP_SECRET?")
	wantProblem(t, err, "PORTERO_ROUTES: is a list of sections", "in the configuration file")
	wantProblem(t, err, "PORTERO_FROBNICATE: is not a setting; remove it")
	wantProblem(t, err, "PORTERO_ADMIN_LISTEN: \"1\" is a port alone", "127.0.0.1:1")
	wantProblem(t, err, "PORTERO_SERVICE_HOSTS: is not a setting")

	mustLoad(t, with(), "PORTERO_CONFIG=/etc/x", "PORTERO_TEST_REAL=1", "PORTERO_SERVICE_HOST=10.0.0.1", "PORTERO_SERVICE_PORT=3000",
		"PORTERO_SERVICE_PORT_HTTP=3000", "PORTERO_PORT=tcp://10.0.0.1:3000", "PORTERO_PORT_3000_TCP=tcp://10.0.0.1:3000",
		"PORTERO_PORT_3000_TCP_PROTO=tcp", "PORTERO_PORT_3000_TCP_PORT=3000", "PORTERO_PORT_3000_TCP_ADDR=10.0.0.1")
}

func TestOfASecretAndItsFileTheHigherSourceCounts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "secret"), "from-the-file", 0o600)
	logto := "logto: {endpoint: https://t.logto.app/, app_id: abc, app_secret_file: secret}"
	load := func(env ...string) (*config.Config, error) {
		return config.Load(config.Options{Path: filepath.Join(dir, "p.yaml"), Text: []byte(with(logto)), Env: env})
	}
	for name, tt := range map[string]struct{ env, want string }{
		"file of the file":            {"X=1", "from-the-file"},
		"value of the environment":    {"PORTERO_LOGTO_APP_SECRET=from-the-environment", "from-the-environment"},
		"emptied by the environment":  {"PORTERO_LOGTO_APP_SECRET=", "from-the-file"},
		"hexadecimal":                 {"PORTERO_LOGTO_APP_SECRET=hex:6162", "ab"},
		"base64":                      {"PORTERO_LOGTO_APP_SECRET=base64:+/8=", "\xfb\xff"},
		"base64 of the other sort":    {"PORTERO_LOGTO_APP_SECRET=base64:-_8", "\xfb\xff"},
		"one newline and not two":     {"PORTERO_LOGTO_APP_SECRET=a\n\n", "a\n"},
		"blanks are part of a secret": {"PORTERO_LOGTO_APP_SECRET= a ", " a "},
	} {
		c, err := load(tt.env)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := c.Logto.AppSecret.Reveal(); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
	_, err := load("PORTERO_LOGTO_APP_SECRET=a-value", "PORTERO_LOGTO_APP_SECRET_FILE="+filepath.Join(dir, "secret"))
	wantProblem(t, err, "PORTERO_LOGTO_APP_SECRET_FILE: is there together with logto.app_secret")
}

func TestFilesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := config.Load(config.Options{Path: "nowhere.yaml", WorkDir: dir})
	wantProblem(t, err, "nowhere.yaml: there is no such file")
	_, err = config.Load(config.Options{Path: dir})
	wantProblem(t, err, dir+": the file cannot be read: is a folder")
	large := write(t, filepath.Join(dir, "large.yaml"), strings.Repeat("# comment\n", 120000), 0o600)
	_, err = config.Load(config.Options{Path: large})
	wantProblem(t, err, large+": the file is larger than 1 MiB")
	write(t, filepath.Join(dir, "empty"), "\n", 0o600)
	_, err = config.Load(config.Options{Path: filepath.Join(dir, "p.yaml"), Text: []byte(with("session: {secret_file: empty}"))})
	wantProblem(t, err, filepath.Join(dir, "p.yaml")+":4: session.secret_file: ", "the file is empty")
	write(t, filepath.Join(dir, "example"), "changeme\n", 0o600)
	_, err = config.Load(config.Options{Path: filepath.Join(dir, "p.yaml"), Text: []byte(with("session: {secret_file: example}"))})
	wantProblem(t, err, filepath.Join(dir, "p.yaml")+":4: session.secret_file: ", "example text")
}

func TestEmptyFilesAreNoMistake(t *testing.T) {
	t.Parallel()
	env := []string{"PORTERO_UPSTREAM=http://app:8080", "PORTERO_EMAIL_DOMAINS=*", "PORTERO_LOGTO_ENDPOINT=https://t.logto.app", "PORTERO_LOGTO_APP_ID=abc", "PORTERO_LOGTO_APP_SECRET=" + canary}
	for _, text := range []string{"", "# nothing\n", "---\n", "\n\n", "session:\n  # lifetime: 2h\n", "pages: {}\n"} {
		if _, err := load(t, text, env...); err != nil {
			t.Errorf("file %q: %v", text, err)
		}
	}
}

func TestTabsInTextsStay(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, with("mailgun:\n  deliveries:\n    - usage: SignIn\n      subject: a\n      html: |\n        <p>\n        \t{{code}}\n        </p>\n"))
	if got, want := c.Mailgun.Deliveries[0].HTML, "<p>\n\t{{code}}\n</p>\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestInsecureSettingsNeedTheirName(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, with("external_url: http://portal.example.com", "trusted_proxies: [0.0.0.0/0]",
		"logto: {endpoint: http://logto.internal:3001, app_id: abc, app_secret: "+canary+"}", "insecure: [plain-http, trust-everybody]"))
	if got, want := c.CookieName(), "portero-80"; got != want {
		t.Errorf("got cookie %q, want %q", got, want)
	}
	mustLoad(t, routes("  - {upstreams: [{url: http://a:1}], access: public}", "insecure: [public-root]"))
	// What is no danger needs no name.
	for _, external := range []string{"http://localhost", "http://127.0.0.1:3000", "http://[::1]:3000", "https://portal.example.com"} {
		mustLoad(t, with("external_url: \""+external+"\""))
	}
	mustLoad(t, routes("  - {upstreams: [{url: http://a:1}], access: public, path: /public}\n  - {upstreams: [{url: http://a:1}], access: public, match: exact}"))
}

func TestCanonicalAddresses(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://Portal.Example.COM./":    "https://portal.example.com",
		"https://portal.example.com:443":  "https://portal.example.com",
		"HTTPS://portal.example.com:8443": "https://portal.example.com:8443",
		"http://[0:0::1]:80":              "http://[::1]",
	} {
		c := mustLoad(t, with(`external_url: "`+in+`"`))
		if got := c.ExternalURL.String(); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
	c := mustLoad(t, routes("  - {upstreams: [{url: \"http://APP.internal:80/\"}], hosts: [\"Wiki.Example.com.\", \"127.0.0.1\", \"[::1]\", \"localhost:3000\"], path: /a/}"))
	r := c.Routes[0]
	if got, want := r.Hosts, []string{"wiki.example.com", "127.0.0.1", "[::1]", "localhost"}; !cmp.Equal(got, want) {
		t.Errorf("got hosts %q, want %q", got, want)
	}
	if got, want := r.Upstreams[0].URL.String()+" "+r.Path+" "+r.Name, "http://app.internal /a wiki.example.com/a"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := c.PostLogoutURIs()[2], "http://[::1]:3000/_portero/signed-out"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRoutesTakeWhatTheTopLevelSays(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, routes(strings.Join([]string{
		"  - {upstreams: [{url: http://a:1}]}",
		"  - {path: /own, upstreams: [{url: http://a:1}], allow: [{roles: [admin]}], identity: {headers: [{name: X-User, claim: sub}]}}",
		"  - {path: /none, upstreams: [{url: http://a:1}], identity: {headers: []}}",
		"  - {path: /open, upstreams: [{url: http://a:1}], access: optional}",
		"  - {path: /shut, access: deny}",
	}, "\n")))
	var got []string
	for _, r := range c.Routes {
		got = append(got, strings.Join([]string{r.Path, string(rune('0' + len(r.Allow))), string(rune('0' + len(r.Identity.Headers)))}, " "))
	}
	if want := []string{"/ 1 5", "/own 1 1", "/none 1 0", "/open 0 5", "/shut 0 5"}; !cmp.Equal(got, want) {
		t.Errorf("got path, rules and headers\n%q, want\n%q", got, want)
	}
	if got, want := c.Routes[1].Allow[0].Roles, []string{"admin"}; !cmp.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestIdentityOfRoutes(t *testing.T) {
	t.Parallel()
	const up = "upstreams: [{url: http://a:1}]"
	c := mustLoad(t, routes(strings.Join([]string{
		"  - {" + up + "}",
		"  - {path: /own, " + up + ", identity: {headers: [{name: X-User, claim: sub}], assertion: {audience: own}}}",
		"  - {path: /remote, " + up + ", identity: {preset: remote-user, assertion: {enabled: false}}}",
		"  - {path: /none, " + up + ", identity: {preset: none, assertion: {header: X-Jwt, lifetime: 5s, bind: []}}}",
		"  - {path: /request, " + up + ", identity: {preset: auth-request}}",
		"  - {path: /grafana, " + up + ", identity: {preset: grafana, headers: [{name: X-WEBAUTH-USER, claim: email}, {name: X-WEBAUTH-EMAIL, claim: [email]}, " +
			"{name: X-WEBAUTH-NAME, claim: name, encoding: percent}, {name: X-WEBAUTH-GROUPS, claim: roles, max_bytes: 4096}]}}",
	}, "\n"), "identity: {preset: pomerium, assertion: {enabled: true, lifetime: 30s, bind: [method]}}"))
	var got []string
	for _, r := range c.Routes {
		a := r.Identity.Assertion
		got = append(got, fmt.Sprintf("%s %d %v %q %s %q %q", r.Identity.Preset, len(r.Identity.Headers), r.Identity.Headers[:min(1, len(r.Identity.Headers))],
			r.Identity.AssertionHeaders(), a.Lifetime, a.Bind, a.Audience))
	}
	header := func(name, claim string) string { return fmt.Sprintf("[{%s [%s] strict , 4096 drop}]", name, claim) }
	want := []string{
		"pomerium 4 " + header("X-Pomerium-Claim-Sub", "sub") + ` ["X-Portero-Assertion" "X-Pomerium-Jwt-Assertion"] 30s ["method"] ""`,
		" 1 " + header("X-User", "sub") + ` ["X-Portero-Assertion"] 30s ["method"] "own"`,
		"remote-user 4 " + header("Remote-User", "email") + ` [] 30s ["method"] ""`,
		`none 0 [] ["X-Jwt"] 5s [] ""`,
		"auth-request 4 " + header("X-Auth-Request-User", "sub") + ` ["X-Portero-Assertion"] 30s ["method"] ""`,
		"grafana 4 " + header("X-WEBAUTH-USER", "email") + ` ["X-Portero-Assertion"] 30s ["method"] ""`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("preset, headers, assertion: (-want +got)\n%s", diff)
	}
	again := mustLoad(t, strings.ReplaceAll(string(c.YAML()), "(redacted)", canary))
	if diff := cmp.Diff(string(c.YAML()), string(again.YAML())); diff != "" {
		t.Errorf("printed and loaded: (-first +second)\n%s", diff)
	}
}

func TestScopesFollowWhatIsNeeded(t *testing.T) {
	t.Parallel()
	logto := func(scopes string) string {
		return "logto: {endpoint: https://t.logto.app/, app_id: abc, app_secret: " + canary + ", scopes: " + scopes + "}"
	}
	none := "identity: {headers: []}"
	for name, tt := range map[string]struct {
		text     string
		want     string
		userinfo bool
	}{
		"always":                   {with(none, logto("[]"), "-email_domains", "allow: [{networks: [10.0.0.0/8]}]"), "openid offline_access profile", false},
		"default headers":          {with(), "openid offline_access profile email roles", false},
		"addresses in rules":       {with(none, logto("[]")), "openid offline_access profile email", false},
		"said twice":               {with(none, logto("[openid, email, profile]")), "openid offline_access profile email", false},
		"Logto's names":            {with(none, logto("[organizations, organization_roles, \"read:reports\"]")), "openid offline_access profile urn:logto:scope:organizations urn:logto:scope:organization_roles read:reports email", false},
		"organizations in a rule":  {with(none, "-email_domains", "allow: [{organizations: [o1]}]"), "openid offline_access profile email urn:logto:scope:organizations", false},
		"roles there in a rule":    {with(none, "-email_domains", "allow: [{organization_roles: [\"o1:admin\"]}]"), "openid offline_access profile email urn:logto:scope:organization_roles", false},
		"roles in an expression":   {with(none, logto("[]"), "-email_domains", `allow: [{expression: '"admin" in claims.roles && has(claims.organizations)'}]`), "openid offline_access profile urn:logto:scope:organizations roles", false},
		"data in an expression":    {with(none, logto("[]"), "-email_domains", `allow: [{expression: 'claims["custom_data"].department == "it"'}]`), "openid offline_access profile custom_data", true},
		"custom data in a rule":    {with(none, "-email_domains", "allow: [{claims: [{name: custom_data.department, values: [it, 7, true]}]}]"), "openid offline_access profile email custom_data", true},
		"custom data in a header":  {with("identity: {headers: [{name: X-Department, claim: [custom_data.department, email]}]}"), "openid offline_access profile email custom_data", true},
		"header nobody gets":       {routes("  - {path: /a, access: public, upstreams: [{url: http://a:1}]}", "identity: {headers: [{name: X-D, claim: custom_data.d}]}"), "openid offline_access profile email", false},
		"assertion":                {with("identity: {preset: none, assertion: {enabled: true}}", logto("[]"), "-email_domains", "allow: [{networks: [10.0.0.0/8]}]"), "openid offline_access profile email roles", false},
		"preset with an assertion": {with("identity: {preset: pomerium}", logto("[]"), "-email_domains", "allow: [{networks: [10.0.0.0/8]}]"), "openid offline_access profile email roles", false},
		"preset without anything":  {with("identity: {preset: none}", logto("[]"), "-email_domains", "allow: [{networks: [10.0.0.0/8]}]"), "openid offline_access profile", false},
	} {
		c := mustLoad(t, tt.text)
		if got := strings.Join(c.Logto.FinalScopes(), " "); got != tt.want {
			t.Errorf("%s: got scopes %q, want %q", name, got, tt.want)
		}
		if got := c.Logto.NeedsUserinfo(); got != tt.userinfo {
			t.Errorf("%s: got userinfo %v, want %v", name, got, tt.userinfo)
		}
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	loose := write(t, filepath.Join(dir, "loose"), canary, 0o644)
	shared := write(t, filepath.Join(dir, "shared"), canary, 0o660)
	write(t, filepath.Join(dir, "tight"), canary, 0o640)
	open := write(t, filepath.Join(dir, "open.yaml"), with("admin: {token: 0123456789abcdefghijklmnopqrstuv}"), 0o644)
	for name, tt := range map[string]struct {
		path, text string
		want       []string
	}{
		"nothing": {"p.yaml", with(), nil},
		"claim of nobody": {"p.yaml", with("identity: {headers: [{name: X-Badge, claim: badge_number}]}"),
			[]string{`p.yaml:4: identity.headers[0].claim[0]: the claim "badge_number" is supplied by nobody`, "custom_data.badge_number"}},
		"claim of nobody, near": {"p.yaml", with("-email_domains", "allow: [{claims: [{name: rolls, values: [a]}]}]"),
			[]string{`p.yaml:3: allow[0].claims[0].name: the claim "rolls" is supplied by nobody`, "did you mean roles?"}},
		"claim of nobody, in an expression": {"p.yaml", with("-email_domains", "allow: [{expression: 'claims.rolls == []'}]"),
			[]string{`p.yaml:3: allow[0].expression: the claim "rolls" is supplied by nobody`, "did you mean roles?"}},
		"claims of no name": {"p.yaml", with("-email_domains", "allow: [{expression: 'claims[claims.sub] == 1'}]"),
			[]string{`p.yaml:3: allow[0].expression: looks at claims whose names are not known until somebody comes`}},
		"account by a name that people choose": {"p.yaml", with("identity: {headers: [{name: Remote-User, claim: username}]}"),
			[]string{"people may change themselves"}},
		"host in the clear":          {"p.yaml", routes("  - {hosts: [wiki.example.com], upstreams: [{url: http://a:1}]}"), []string{`routes[0].hosts[0]: "wiki.example.com" is served over http`}},
		"secret file open to all":    {"p.yaml", with("session: {secret_file: loose}", "logto: {endpoint: https://t.logto.app/, app_id: a, app_secret_file: "+loose+"}"), []string{"app_secret_file", "can be read by every user (mode 0644)", "chmod 600"}},
		"secret file of a group":     {"p.yaml", with("logto: {endpoint: https://t.logto.app/, app_id: a, app_secret_file: " + shared + "}"), []string{"can be changed by other users (mode 0660)"}},
		"secret file for a group":    {"p.yaml", with("logto: {endpoint: https://t.logto.app/, app_id: a, app_secret_file: tight}"), nil},
		"file with secrets, open":    {open, "", []string{"logto.app_secret: the configuration file", "admin.token: the configuration file", "can be read by every user"}},
		"TLS behind an http address": {"p.yaml", with("tls: {cert_file: cert.pem, key_file: key.pem}"), []string{"external_url: is http although `tls`"}},
	} {
		if strings.Contains(tt.text, "secret_file: loose") {
			tt.text = strings.Replace(tt.text, "session: {secret_file: loose}\n", "", 1)
		}
		if strings.Contains(tt.text, "cert.pem") {
			makeCertificate(t, dir)
		}
		o := config.Options{Path: filepath.Join(dir, tt.path), Text: []byte(tt.text)}
		if filepath.IsAbs(tt.path) {
			o = config.Options{Path: tt.path}
		}
		c, err := config.Load(o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, w := range c.Warnings {
			got = append(got, w.String())
		}
		all := strings.Join(got, "\n")
		if len(tt.want) == 0 && all != "" {
			t.Errorf("%s: got warnings\n%s\nwant none", name, all)
		}
		for _, want := range tt.want {
			if !strings.Contains(all, want) {
				t.Errorf("%s: got warnings\n%s\nwant %q", name, all, want)
			}
		}
		if strings.Contains(all, canary) {
			t.Errorf("%s: a secret is quoted: %s", name, all)
		}
	}
}

func makeCertificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "cert.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})), 0o600)
	write(t, filepath.Join(dir, "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), 0o600)
}

func TestWatchedFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	makeCertificate(t, dir)
	write(t, filepath.Join(dir, "secret"), strings.Repeat("s", 40), 0o600)
	write(t, filepath.Join(dir, "old"), strings.Repeat("o", 40), 0o600)
	write(t, filepath.Join(dir, "logo.svg"), `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>`, 0o644)
	text := with("tls: {cert_file: cert.pem, key_file: key.pem}", "external_url: https://localhost:3000",
		"session: {secret_file: secret, old_secrets: [{file: old}]}", "pages: {logo_file: logo.svg}")
	names := func(more ...string) string {
		c, err := config.Load(config.Options{Path: filepath.Join(dir, "p.yaml"), Text: []byte(text), Env: more})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range c.WatchedFiles() {
			names = append(names, strings.TrimPrefix(f, dir+string(os.PathSeparator)))
		}
		return strings.Join(names, " ")
	}
	if got, want := names(), "cert.pem key.pem secret old"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := names("PORTERO_RELOAD_WATCH=true"), "cert.pem key.pem secret old p.yaml logo.svg"; got != want {
		t.Errorf("with reload.watch: got %q, want %q", got, want)
	}
}

func TestStartOnlyChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(text string, env ...string) *config.Config {
		c, err := config.Load(config.Options{Path: filepath.Join(dir, "p.yaml"), Text: []byte(text), Env: env})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	old := at(with())
	if got := config.StartOnlyChanges(old, at(with())); len(got) != 0 {
		t.Errorf("the same twice: got %q, want none", got)
	}
	if got := config.StartOnlyChanges(old, at(with("pages: {name: A}", "log: {level: debug}", "session: {lifetime: 3h, secret: "+strings.Repeat("s", 40)+"}"))); len(got) != 0 {
		t.Errorf("keys that reload: got %q, want none", got)
	}
	changed := at(with("listen: 127.0.0.1:9", "admin: {hosts: [a.example.com], token: "+canary+"}", "external_url: https://a.example.com",
		"endpoints: {sign_in: /in}", "session: {store: memory, file: {path: other.db}}"))
	want := []string{"listen", "external_url", "admin.hosts", "admin.token", "session.store", "session.file.path", "endpoints.sign_in"}
	if got := config.StartOnlyChanges(old, changed); !cmp.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOnlySomeSections(t *testing.T) {
	t.Parallel()
	c, err := config.Load(config.Options{Path: "p.yaml", WorkDir: t.TempDir(), Only: []string{"mailgun", "pages"}, Text: []byte(
		"mailgun: {domain: mg.example.com, api_key: " + canary + ", from: a@mg.example.com}\npages: {name: Wiki}\nlisten: nonsense\nlogto: {app_secret: changeme}\n")})
	if err != nil {
		t.Fatal(err)
	}
	if c.Mailgun.APIKey.Reveal() != canary || c.Pages.Name != "Wiki" || c.Listen != "127.0.0.1:3000" {
		t.Errorf("got mailgun %+v, pages.name %q, listen %q", c.Mailgun, c.Pages.Name, c.Listen)
	}
	_, err = config.Load(config.Options{Path: "p.yaml", WorkDir: t.TempDir(), Only: []string{"mailgun"}, Text: []byte("mailgun: {domian: a}\n")})
	wantProblem(t, err, "p.yaml:1: mailgun.domian: is not a key; did you mean domain?")
}

func TestWhatIsNotYetThereMayHaveItsDefault(t *testing.T) {
	t.Parallel()
	mustLoad(t, with(`identity: {preset: "", assertion: {enabled: false, header: X-Portero-Assertion, lifetime: 60s}}`, `telemetry: {otlp_endpoint: ""}`,
		"-upstream", `routes: [{upstreams: [{url: http://a:1}], report_only: false, step_up: {max_age: 0s}, access_token: {resource: "", organization: ""}, bearer: {audience: ""}}]`))
}
