package importer_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"portero/internal/config"
	"portero/internal/importer"
	"portero/internal/route"
)

var update = flag.Bool("update", false, "write the golden files anew")

type run func(importer.Input, importer.Options) (*importer.Result, error)

var peers = map[string]run{
	"oauth2-proxy": importer.OAuth2Proxy, "traefik-forward-auth": importer.TraefikForwardAuth, "vouch": importer.Vouch,
}

// everything is what an operator can say beside the other configuration.
func everything() importer.Options {
	return importer.Options{
		ExternalURL: "https://wiki.example.com", LogtoEndpoint: "https://tenant.logto.app/", AppID: "k2x9w4",
		Upstreams: map[string]string{"": "http://wiki:8080"}, EmailDomains: []string{"staff.example.com"},
	}
}

// folder has the files that notes tell the operator to make.
func folder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"logto-app-secret": "Zq3vT8yN5wR1", "session-secret": "Zq3vT8yN5wR1kLm7xPd2sGh9bJc4fVa6", "redis-url": "rediss://app:Zq3vT8yN5wR1@redis:6380/0",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// load is what portero check does with a configuration.
func load(dir string, text []byte) (*config.Config, error) {
	c, err := config.Load(config.Options{Path: filepath.Join(dir, "portero.yaml"), Text: text, WorkDir: dir})
	if err != nil {
		return nil, err
	}
	words := map[string]route.Access{
		config.AccessPublic: route.Public, config.AccessOptional: route.Optional, config.AccessSignedIn: route.SignedIn, config.AccessDeny: route.Deny,
	}
	var routes []route.Route
	for i, r := range c.Routes {
		routes = append(routes, route.Route{Name: r.Name, Hosts: r.Hosts, Path: r.Path, Exact: r.Match == config.MatchExact, Methods: r.Methods, Access: words[r.Access], Index: i})
	}
	_, err = route.NewTable(routes)
	return c, err
}

func notes(r *importer.Result) string {
	var b strings.Builder
	for _, n := range r.Notes {
		b.WriteString(n.String() + "\n")
	}
	return b.String()
}

// Each file has what the other proxy is configured by (config.*, alpha.yaml, env, args, emails), which of the operator's
// own answers are kept back (without), and what comes out (portero.yaml, notes). Where check refuses that, it says so on top.
func TestGolden(t *testing.T) {
	t.Parallel()
	for peer, do := range peers {
		files, err := filepath.Glob(filepath.Join("testdata", peer, "*.txtar"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: got %d files, want some: %v", peer, len(files), err)
		}
		for _, file := range files {
			t.Run(peer+"/"+strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
				archive, err := txtar.ParseFile(file)
				if err != nil {
					t.Fatal(err)
				}
				in, o, dir := importer.Input{}, everything(), folder(t)
				o.Dir = dir
				o.ReadFile = func(name string) ([]byte, error) { return nil, fs.ErrNotExist }
				want := map[string]string{}
				var input []txtar.File
				complete := !strings.Contains(string(archive.Comment), "check refuses it")
				for _, f := range archive.Files {
					switch {
					case strings.HasPrefix(f.Name, "config"):
						in.Name, in.Config = f.Name, f.Data
					case f.Name == "alpha.yaml":
						in.Alpha = f.Data
					case f.Name == "env":
						in.Env = f.Data
					case f.Name == "args":
						if in.Args, err = importer.SplitArgs(f.Data); err != nil {
							t.Fatal(err)
						}
					case f.Name == "emails":
						o.ReadFile = func(name string) ([]byte, error) {
							if name != "/etc/emails.csv" {
								return nil, fs.ErrNotExist
							}
							return f.Data, nil
						}
					case f.Name == "without":
						for _, word := range strings.Fields(string(f.Data)) {
							switch word {
							case "external-url":
								o.ExternalURL = ""
							case "upstream":
								o.Upstreams = nil
							case "email-domains":
								o.EmailDomains = nil
							case "logto":
								o.LogtoEndpoint, o.AppID = "", ""
							default:
								t.Fatalf("without: unknown word %q", word)
							}
						}
					case f.Name == "upstreams":
						for _, word := range strings.Fields(string(f.Data)) {
							host, target, _ := strings.Cut(word, "=")
							o.Upstreams[host] = target
						}
					case f.Name == "portero.yaml" || f.Name == "notes":
						want[f.Name] = string(f.Data)
						continue
					default:
						t.Fatalf("unknown file %q", f.Name)
					}
					input = append(input, f)
				}
				got, err := do(in, o)
				if err != nil {
					t.Fatal(err)
				}
				if *update {
					archive.Files = append(input, txtar.File{Name: "portero.yaml", Data: got.YAML}, txtar.File{Name: "notes", Data: []byte(notes(got))})
					if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
						t.Fatal(err)
					}
					want["portero.yaml"], want["notes"] = string(got.YAML), notes(got)
				}
				if diff := cmp.Diff(want["portero.yaml"], string(got.YAML)); diff != "" {
					t.Errorf("configuration: want (-), got (+):\n%s", diff)
				}
				if diff := cmp.Diff(want["notes"], notes(got)); diff != "" {
					t.Errorf("notes: want (-), got (+):\n%s", diff)
				}
				if _, err := load(dir, got.YAML); complete && err != nil {
					t.Errorf("portero check refuses it: %v", err)
				} else if !complete && err == nil {
					t.Error("portero check takes it, although the operator has not said everything")
				}
				again, err := do(in, o)
				if err != nil || string(again.YAML) != string(got.YAML) || notes(again) != notes(got) {
					t.Error("a second run gives something else")
				}
			})
		}
	}
}

// Where the proxy in front goes on asking, routes have no upstream, that proxy is trusted, and what it asks at is there.
func TestAskedBy(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		peer    string
		in      importer.Input
		trusted string
		alias   string
	}{
		"oauth2-proxy": {"oauth2-proxy", importer.Input{Config: []byte(`upstreams = ["static://202"]
email_domains = ["example.com"]
reverse_proxy = true
trusted_proxy_ips = ["10.0.0.0/8"]
skip_auth_routes = ["GET=^/health$"]`)}, "[10.0.0.0/8 192.0.2.7/32]", config.AliasesOAuth2Proxy},
		"oauth2-proxy that says nothing of upstreams": {"oauth2-proxy", importer.Input{Config: []byte(`email_domains = ["example.com"]`)}, "[192.0.2.7/32]", config.AliasesOAuth2Proxy},
		"traefik-forward-auth": {"traefik-forward-auth", importer.Input{Config: []byte(`domain = example.com
rule.health.action = allow
rule.health.rule = Path("/health")`)}, "[192.0.2.7/32]", ""},
		"vouch": {"vouch", importer.Input{Config: []byte("vouch: {domains: [example.com]}")}, "[192.0.2.7/32]", ""},
	} {
		o := everything()
		o.Dir, o.Upstreams, o.AskedBy = folder(t), nil, []string{"192.0.2.7"}
		r, err := peers[tt.peer](tt.in, o)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c, err := load(o.Dir, r.YAML)
		if err != nil {
			t.Errorf("%s: check refuses it: %v\n%s", name, err, r.YAML)
			continue
		}
		if got := fmt.Sprint(c.TrustedProxies); got != tt.trusted || c.Endpoints.Aliases != tt.alias || len(c.Routes) == 0 {
			t.Errorf("%s: trusted %s, aliases %q, %d routes; want %s and %q\n%s", name, got, c.Endpoints.Aliases, len(c.Routes), tt.trusted, tt.alias, r.YAML)
		}
		for _, one := range c.Routes {
			if !one.ForwardAuthOnly || len(one.Upstreams) > 0 {
				t.Errorf("%s: the route %s is not asked about\n%s", name, one.Path, r.YAML)
			}
		}
		if text := notes(r); !strings.Contains(text, "docs/forward-auth.md") || strings.Contains(text, "give --upstream") {
			t.Errorf("%s: notes:\n%s", name, text)
		}
		// An application that is named is stood in front of, whoever asks.
		o.Upstreams = map[string]string{"": "http://wiki:8080"}
		if r, err := peers[tt.peer](tt.in, o); err != nil || strings.Contains(string(r.YAML), "forward_auth_only") || strings.Contains(string(r.YAML), "192.0.2.7") {
			t.Errorf("%s, with --upstream: %v\n%s", name, err, r.YAML)
		}
		o.Upstreams, o.AskedBy = nil, []string{"everybody"}
		if r, err := peers[tt.peer](tt.in, o); err != nil || strings.Contains(string(r.YAML), "forward_auth_only") {
			t.Errorf("%s, asked by nobody's address: %v\n%s", name, err, r.YAML)
		}
	}
}

// A configuration with the notes on top is the same configuration.
func TestComments(t *testing.T) {
	t.Parallel()
	o := everything()
	o.Dir = folder(t)
	r, err := importer.OAuth2Proxy(importer.Input{Config: []byte("upstreams = [\"http://app:8080\"]\nemail_domains = [\"example.com\"]\n\"un\\nknown: [\" = 1\n")}, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Notes) == 0 {
		t.Fatal("no notes; want some")
	}
	comments := r.Comments()
	for _, line := range strings.Split(strings.TrimSpace(string(comments)), "\n") {
		if !strings.HasPrefix(line, "#") {
			t.Errorf("the line %q is no comment", line)
		}
	}
	with, err := load(o.Dir, append(comments, r.YAML...))
	if err != nil {
		t.Fatal(err)
	}
	without, err := load(o.Dir, r.YAML)
	if err != nil || string(with.YAML()) != string(without.YAML()) {
		t.Error("the comments change the configuration")
	}
}

// Secrets of the other proxy are in no output, whatever becomes of their options.
func TestSecretsStay(t *testing.T) {
	t.Parallel()
	const canary = "c4n4ry-Zq3vT8yN5wR1kLm7xPd2sGh9bJc4fVa6"
	for _, tt := range []struct {
		name string
		peer string
		in   importer.Input
	}{
		{"oauth2-proxy's file", "oauth2-proxy", importer.Input{Config: []byte(strings.ReplaceAll(`
client_secret = "SECRET"
cookie_secret = "SECRET"
basic_auth_password = "SECRET"
signature_key = "sha256:SECRET"
github_token = "SECRET"
jwt_key = "SECRET"
session_store_type = "redis"
redis_connection_url = "redis://:SECRET@redis:6379/0"
redis_password = "SECRET"
redis_sentinel_password = "SECRET"
unknown_secret = "SECRET"
upstreams = ["http://user:SECRET@app:8080", "http://SECRET\u0000"]
email_domains = ["example.com"]
redirect_url = "https://user:SECRET@wiki.example.com/cb"
`, "SECRET", canary))}},
		{"a password in a wrong place", "oauth2-proxy", importer.Input{Config: []byte(`session_store_type = "redis"
redis_connection_url = "redis://:p/` + canary + `@redis:6379/0"`)}},
		{"a password of digits that ends early", "oauth2-proxy", importer.Input{Config: []byte(`session_store_type = "redis"
redis_connection_url = "redis://c4n4ry:4711#x@redis:6379/0"`)}},
		{"a password in a path", "oauth2-proxy", importer.Input{Config: []byte(`session_store_type = "redis"
redis_use_cluster = true
redis_cluster_connection_urls = ["redis://redis/` + canary + `@redis:6379"]`)}},
		{"a user and a password that end early", "oauth2-proxy", importer.Input{Config: []byte(`session_store_type = "redis"
redis_use_cluster = true
redis_cluster_connection_urls = ["redis://c4n4ry:4711#x@redis:6379", "redis://c2:6379"]`)}},
		{"a password for a database, beside one", "oauth2-proxy", importer.Input{Config: []byte(`session_store_type = "redis"
redis_password = "x"
redis_connection_url = "redis://redis:6379/` + canary + `"`)}},
		{"a password in a query", "oauth2-proxy", importer.Input{Config: []byte(`session_store_type = "redis"
redis_connection_url = "redis://redis:6379/0?password=` + canary + `"`)}},
		{"a password for a database", "oauth2-proxy", importer.Input{Config: []byte(`session_store_type = "redis"
redis_connection_url = "redis://redis:6379/` + canary + `"`)}},
		{"a password of Sentinels", "oauth2-proxy", importer.Input{Config: []byte(`session_store_type = "redis"
redis_use_sentinel = true
redis_sentinel_master_name = "main"
redis_sentinel_connection_urls = ["redis://u:` + canary + `@s1:26379", "redis://u:` + canary + `@s2:26379"]`)}},
		{"oauth2-proxy's variables", "oauth2-proxy", importer.Input{Env: []byte("OAUTH2_PROXY_CLIENT_SECRET=" + canary + "\nOAUTH2_PROXY_FOO=" + canary + "\nBAR=" + canary + "\n")}},
		{"oauth2-proxy's flags", "oauth2-proxy", importer.Input{Args: []string{"--client-secret", canary, "--bogus", canary, "--cookie-secret=" + canary, canary}}},
		{"the alpha configuration", "oauth2-proxy", importer.Input{Alpha: []byte(strings.ReplaceAll(`
injectRequestHeaders:
  - name: X-Key
    values: [{value: SECRET}]
  - name: Authorization
    values: [{claimSource: {claim: email, prefix: "Basic ", basicAuthPassword: {value: SECRET}}}]
  - name: X-Other
    values: [{secretSource: {value: SECRET}}]
providers:
  - {clientSecret: SECRET, clientID: abc, loginGovConfig: {jwtKey: SECRET}, githubConfig: {token: SECRET}, futuristicKey: SECRET, futuristicKeys: [SECRET]}
bogus: SECRET
`, "SECRET", canary))}},
		{"traefik-forward-auth's file", "traefik-forward-auth", importer.Input{Config: []byte(strings.ReplaceAll(`secret = SECRET
providers.google.client-secret = SECRET
google-client-secret=SECRET
rule.key.action = allow
rule.key.rule = Headers("X-Api-Key", "SECRET")
rule.query.rule = Path("/x") && Query("key=SECRET")
rule.key.bogus = SECRET
`, "SECRET", canary))}},
		{"traefik-forward-auth's variables", "traefik-forward-auth", importer.Input{Env: []byte("SECRET=" + canary + "\nPROVIDERS_OIDC_CLIENT_SECRET=" + canary + "\nFOO=" + canary)}},
		{"vouch's file", "vouch", importer.Input{Config: []byte(strings.ReplaceAll(`
vouch: {jwt: {secret: SECRET}, session: {key: SECRET}, bogus: SECRET, allowAllUsers: true}
oauth: {client_secret: SECRET, provider: oidc}
bogus: SECRET
`, "SECRET", canary))}},
		{"vouch's variables", "vouch", importer.Input{Env: []byte("VOUCH_JWT_SECRET=" + canary + "\nOAUTH_CLIENT_SECRET=" + canary + "\nFOO=" + canary)}},
		{"a file that is no TOML", "oauth2-proxy", importer.Input{Config: []byte(`client_secret = "` + canary + `" x`)}},
		{"a key that is no TOML", "oauth2-proxy", importer.Input{Config: []byte(canary + ` ! "`)}},
		{"a file that is no YAML", "vouch", importer.Input{Config: []byte("vouch: {jwt: {secret: " + canary)}},
		{"an alias", "vouch", importer.Input{Config: []byte("vouch: *" + canary)}},
		{"a line that is no variable", "vouch", importer.Input{Env: []byte(canary)}},
		{"a value with one quotation mark", "traefik-forward-auth", importer.Input{Config: []byte(`secret = "` + canary)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := everything()
			o.Dir = folder(t)
			r, err := peers[tt.peer](tt.in, o)
			out := ""
			if err != nil {
				out = err.Error()
			} else {
				out = string(r.YAML) + notes(r) + string(r.Comments())
			}
			if strings.Contains(out, "c4n4ry") {
				t.Errorf("the secret is there:\n%s", out)
			}
		})
	}
}

// What is not known is told by its name.
func TestUnknownOptionsAreTold(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		peer, option string
		in           importer.Input
	}{
		{"oauth2-proxy", "futuristic", importer.Input{Config: []byte("futuristic = 1")}},
		{"oauth2-proxy", "futuristic", importer.Input{Args: []string{"--futuristic", "1"}}},
		{"oauth2-proxy", "futuristic", importer.Input{Env: []byte("OAUTH2_PROXY_FUTURISTIC=1")}},
		{"oauth2-proxy", "FUTURISTIC", importer.Input{Env: []byte("FUTURISTIC=1")}},
		{"oauth2-proxy", "futuristic.deep", importer.Input{Config: []byte("[futuristic]\ndeep = 1")}},
		{"oauth2-proxy", "futuristic", importer.Input{Alpha: []byte("futuristic: 1")}},
		{"oauth2-proxy", "upstreams[0].futuristic", importer.Input{Alpha: []byte("upstreamConfig: {upstreams: [{path: /, uri: 'http://a', futuristic: 1}]}")}},
		{"oauth2-proxy", "server.futuristic", importer.Input{Alpha: []byte("server: {futuristic: 1}")}},
		{"oauth2-proxy", "server.tls.futuristic", importer.Input{Alpha: []byte("server: {tls: {futuristic: 1}}")}},
		{"oauth2-proxy", "providers[0].futuristic", importer.Input{Alpha: []byte("providers: [{futuristic: 1}]")}},
		{"oauth2-proxy", "metricsServer.futuristic", importer.Input{Alpha: []byte("metricsServer: {futuristic: 1}")}},
		{"oauth2-proxy", "injectRequestHeaders[0] X-A.futuristic", importer.Input{Alpha: []byte("injectRequestHeaders: [{name: X-A, futuristic: 1}]")}},
		{"traefik-forward-auth", "futuristic", importer.Input{Config: []byte("futuristic = 1")}},
		{"traefik-forward-auth", "rule.a.futuristic", importer.Input{Config: []byte("rule.a.futuristic = 1")}},
		{"traefik-forward-auth", "futuristic", importer.Input{Config: []byte("futuristic 1")}},
		{"traefik-forward-auth", "futuristic", importer.Input{Env: []byte("FUTURISTIC=1")}},
		{"vouch", "vouch.futuristic", importer.Input{Config: []byte("vouch: {futuristic: 1}")}},
		{"vouch", "futuristic", importer.Input{Config: []byte("futuristic: 1")}},
		{"vouch", "vouch.futuristic", importer.Input{Env: []byte("VOUCH_FUTURISTIC=1")}},
	} {
		r, err := peers[tt.peer](tt.in, everything())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(r.Notes, func(n importer.Note) bool {
			return slices.Contains(strings.Split(n.Option, ", "), tt.option)
		}) {
			t.Errorf("%s %s%s%s%s: no note for %s:\n%s", tt.peer, tt.in.Config, tt.in.Alpha, tt.in.Env, tt.in.Args, tt.option, notes(r))
		}
	}
}

// Flags stand over variables, variables over the file; a variable without a value takes away nothing.
func TestWhatStandsOverWhat(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, peer string
		in         importer.Input
		want       []string
	}{
		{"a variable over the file", "oauth2-proxy", importer.Input{Config: []byte("upstreams='http://a'\nemail_domains='file.example'"), Env: []byte("OAUTH2_PROXY_EMAIL_DOMAINS=env.example")},
			[]string{"/ env.example"}},
		{"an empty one", "oauth2-proxy", importer.Input{Config: []byte("upstreams='http://a'\nemail_domains='file.example'\nallowed_groups='a'"), Env: []byte("OAUTH2_PROXY_ALLOWED_GROUPS=\nOAUTH2_PROXY_EMAIL_DOMAINS=''")},
			[]string{"/ file.example role:a"}},
		{"a flag over both", "oauth2-proxy", importer.Input{Config: []byte("upstreams='http://a'\nemail_domains='file.example'"), Env: []byte("OAUTH2_PROXY_EMAIL_DOMAINS=env.example"),
			Args: []string{"--email-domain=flag.example", "--email-domain", "more.example"}}, []string{"/ flag.example more.example"}},
		{"an empty whitelist", "traefik-forward-auth", importer.Input{Config: []byte("domain = a.example\nwhitelist = ann@a.example"), Env: []byte("WHITELIST=")}, []string{"/ ann@a.example"}},
		{"a flag over a variable", "traefik-forward-auth", importer.Input{Env: []byte("DOMAIN=a.example"), Args: []string{"--domain=b.example"}}, []string{"/ b.example"}},
		{"vouch's variables", "vouch", importer.Input{Config: []byte("vouch: {whiteList: [ann@a.example]}"), Env: []byte("VOUCH_WHITELIST=bo@a.example\nVOUCH_ALLOWALLUSERS=")}, []string{"/ bo@a.example"}},
	} {
		o := everything()
		o.Dir, o.EmailDomains = folder(t), nil
		r, err := peers[tt.peer](tt.in, o)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		c, err := load(o.Dir, r.YAML)
		if err != nil {
			t.Errorf("%s: %v\n%s", tt.name, err, r.YAML)
			continue
		}
		if diff := cmp.Diff(tt.want, entries(c)); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", tt.name, diff)
		}
	}
}

// Plain http is written only where the other proxy was told to do without https.
func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	const up = "upstreams = 'http://app'\nemail_domains = 'example.com'\nredirect_url = 'http://wiki.example.com/cb'\n"
	for _, tt := range []struct {
		name, peer, config, typed, want string
		insecure                        bool
	}{
		{"not told", "oauth2-proxy", up, "", "http://localhost:3000", false},
		{"told", "oauth2-proxy", up + "cookie_secure = false", "", "http://wiki.example.com", true},
		{"told so by a text", "oauth2-proxy", up + "cookie_secure = 'false'", "", "http://wiki.example.com", true},
		{"told the other", "oauth2-proxy", up + "cookie_secure = true", "", "http://localhost:3000", false},
		{"typed and not told", "oauth2-proxy", up, "http://typed.example.com", "http://localhost:3000", false},
		{"typed with https", "oauth2-proxy", up + "cookie_secure = false", "https://typed.example.com", "https://typed.example.com", false},
		{"typed and told", "traefik-forward-auth", "domain = example.com\ninsecure-cookie = true", "http://typed.example.com", "http://typed.example.com", true},
		{"typed and not told there", "traefik-forward-auth", "domain = example.com", "http://typed.example.com", "http://localhost:3000", false},
		{"typed and told at vouch", "vouch", "vouch: {domains: [example.com], cookie: {secure: false}}", "http://typed.example.com", "http://typed.example.com", true},
		{"loopback", "vouch", "vouch: {domains: [example.com]}", "http://localhost:8000", "http://localhost:8000", false},
	} {
		o := everything()
		o.Dir, o.ExternalURL = folder(t), tt.typed
		r, err := peers[tt.peer](importer.Input{Config: []byte(tt.config)}, o)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		c, err := load(o.Dir, r.YAML)
		if err != nil {
			t.Errorf("%s: %v\n%s", tt.name, err, r.YAML)
			continue
		}
		if got := c.ExternalURL.String(); got != tt.want || c.IsInsecure(config.InsecurePlainHTTP) != tt.insecure {
			t.Errorf("%s: got %s, insecure %q, want %s, %v", tt.name, got, c.Insecure, tt.want, tt.insecure)
		}
	}
}

// opened lists what a configuration opens to everybody: METHODS HOST PATH MATCH.
func opened(c *config.Config) []string {
	out := []string{}
	for _, r := range c.Routes {
		if r.Access == config.AccessPublic || r.Access == config.AccessOptional {
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", strings.Join(r.Methods, ","), strings.Join(r.Hosts, ","), r.Path, r.Match)))
		}
	}
	return out
}

// entries are who may come in, and where nobody may.
func entries(c *config.Config) []string {
	var out []string
	for _, r := range c.Routes {
		if r.Access == config.AccessDeny {
			out = append(out, r.Path+" nobody")
		}
		for _, a := range r.Allow {
			words := slices.Concat(a.Emails, a.EmailDomains)
			for _, role := range a.Roles {
				words = append(words, "role:"+role)
			}
			for _, claim := range a.Claims {
				words = append(words, claim.Name+":"+strings.Join(claim.Values, "|"))
			}
			out = append(out, r.Path+" "+strings.Join(words, " "))
		}
	}
	slices.Sort(out)
	return out
}

// Who came in before, and nobody else. A row without want is refused by check until the operator has said who.
func TestNobodyElseComesIn(t *testing.T) {
	t.Parallel()
	const up = "upstreams = [\"http://app:8080\"]\n"
	for _, tt := range []struct {
		name, peer, config string
		want               []string
	}{
		{"a domain", "oauth2-proxy", up + `email_domains = ["Example.com"]`, []string{"/ example.com"}},
		{"everybody is a question", "oauth2-proxy", up + `email_domains = ["*"]`, nil},
		{"everybody and a domain is the domain", "oauth2-proxy", up + `email_domains = ["*", "example.com"]`, []string{"/ example.com"}},
		{"nobody said", "oauth2-proxy", up, nil},
		{"subdomains are left out", "oauth2-proxy", up + `email_domains = [".example.com", "*.example.org", "example.net"]`, []string{"/ example.net"}},
		{"an element that matched nobody", "oauth2-proxy", up + `email_domains = "example.com, example.org"`, []string{"/ example.com"}},
		{"a list with blanks", "traefik-forward-auth", "whitelist = ann@example.com, bo@example.com", []string{"/ ann@example.com"}},
		{"subdomains alone", "oauth2-proxy", up + `email_domains = [".example.com"]`, nil},
		{"a group narrows a domain", "oauth2-proxy", up + `email_domains = ["example.com"]
allowed_groups = ["a", "b"]`, []string{"/ example.com role:a role:b"}},
		{"a group narrows everybody", "oauth2-proxy", up + `email_domains = ["*"]
github_org = "acme"`, []string{"/ * role:acme"}},
		{"a group narrows what the operator says", "oauth2-proxy", "# with --email-domains\n" + up + `email_domains = ["*"]
allowed_groups = ["a"]`, []string{"/ staff.example.com role:a"}},
		{"the operator's word where nothing is said", "oauth2-proxy", "# with --email-domains\n" + up, []string{"/ staff.example.com"}},
		{"the operator's word does not widen a domain", "oauth2-proxy", "# with --email-domains\n" + up + `email_domains = ["example.com"]`, []string{"/ example.com"}},
		{"nor a list", "traefik-forward-auth", "# with --email-domains\nwhitelist = ann@example.com", []string{"/ ann@example.com"}},
		{"nor a list of vouch", "vouch", "# with --email-domains\nvouch: {whiteList: [ann@example.com]}", []string{"/ ann@example.com"}},
		{"two groups narrow both", "oauth2-proxy", up + `email_domains = ["example.com"]
allowed_groups = ["a"]
google_groups = ["b", "c"]`, []string{"/ example.com role:a roles:b|c"}},
		{"a group that can be no role", "oauth2-proxy", up + `email_domains = ["example.com"]
allowed_groups = ["<your group>"]`, nil},
		{"one of two groups that can be no role", "oauth2-proxy", up + `email_domains = ["example.com"]
allowed_groups = ["<your group>", "a"]`, []string{"/ example.com role:a"}},
		{"a team that can be no role", "vouch", "vouch: {teamWhitelist: [\"<team>\"], domains: [example.com]}", nil},
		{"a file of addresses", "oauth2-proxy", up + `authenticated_emails_file = "/people"`, []string{"/ ann@example.com bo@example.com"}},
		{"a group narrows the file", "oauth2-proxy", up + `authenticated_emails_file = "/people"
allowed_groups = ["a"]`, []string{"/ ann@example.com bo@example.com role:a"}},
		{"a file and a domain", "oauth2-proxy", up + `authenticated_emails_file = "/people"
email_domains = "example.org"`, []string{"/ ann@example.com bo@example.com", "/ example.org"}},
		{"a group of the alpha configuration", "oauth2-proxy alpha", `providers: [{provider: github, allowedGroups: [a, b], githubConfig: {org: acme}}]`,
			[]string{"/ example.com role:a role:b roles:acme"}},
		{"an unknown restriction", "oauth2-proxy alpha", `providers: [{provider: x, xConfig: {onlyThese: [a, b]}, scope: openid}]`, []string{"/ example.com role:onlyThese"}},
		{"no restriction", "oauth2-proxy alpha", `providers: [{provider: x, clientID: a, oidcConfig: {issuerURL: "https://a.example"}, allowedGroups: []}]`, []string{"/ example.com"}},
		{"three too", "oauth2-proxy", up + `email_domains = ["example.com"]
github_org = "a"
github_team = "b"
github_repo = "c/d"`, []string{"/ example.com role:a roles:b roles:c/d"}},
		{"a file that cannot be read", "oauth2-proxy", up + `authenticated_emails_file = "/nowhere"`, nil},
		{"a list", "traefik-forward-auth", "whitelist = ann@example.com,bo@example.com", []string{"/ ann@example.com bo@example.com"}},
		{"a list excludes domains", "traefik-forward-auth", "whitelist = ann@example.com\ndomain = example.com", []string{"/ ann@example.com"}},
		{"the last list of a rule", "traefik-forward-auth", "domain = example.com\nrule.a.rule = Path(`/a`)\nrule.a.whitelist = ann@example.com\nrule.a.whitelist = bo@example.com",
			[]string{"/ example.com", "/a bo@example.com"}},
		{"unless either is enough", "traefik-forward-auth", "whitelist = ann@example.com\ndomain = example.com\nmatch-whitelist-or-domain = true",
			[]string{"/ ann@example.com", "/ example.com"}},
		{"a list of no addresses excludes domains too", "traefik-forward-auth", "whitelist = ann\ndomain = example.com", nil},
		{"nobody said there", "traefik-forward-auth", "secret = x", nil},
		{"a rule of its own", "traefik-forward-auth", "domain = example.com\nrule.a.rule = PathPrefix(`/a/`)\nrule.a.whitelist = ann@example.com",
			[]string{"/ example.com", "/a ann@example.com"}},
		{"a rule that cannot be told closes the rest", "traefik-forward-auth", "domain = example.com\nrule.a.rule = HeadersRegexp(`A`, `b`)\nrule.a.whitelist = ann@example.com",
			[]string{"/ nobody"}},
		{"a rule over characters closes the rest", "traefik-forward-auth", "domain = example.com\nrule.a.rule = PathPrefix(`/a`)\nrule.a.domains = it.example.com",
			[]string{"/ nobody", "/a it.example.com"}},
		{"a rule that names nobody", "traefik-forward-auth", "domain = example.com\nrule.a.rule = Path(`/a`)\nrule.a.whitelist = ann",
			[]string{"/ example.com", "/a nobody"}},
		{"a rule with names that opens", "traefik-forward-auth", "domain = example.com\nrule.a.action = allow\nrule.a.rule = Path(`/a`)\nrule.a.whitelist = ann@example.com",
			[]string{"/ example.com", "/a ann@example.com"}},
		{"a rule that cannot be told and narrows nothing", "traefik-forward-auth", "domain = example.com\nrule.a.rule = HeadersRegexp(`A`, `b`)", []string{"/ example.com"}},
		{"a narrowing rule of one host closes that host", "traefik-forward-auth",
			"domain = example.com\nrule.a.rule = Host(`a.example.com`) && PathPrefix(`/x`)\nrule.a.whitelist = ann@example.com",
			[]string{"/ example.com", "/ nobody", "/x ann@example.com"}},
		{"a list comes first", "vouch", "vouch: {whiteList: [ann@example.com], teamWhitelist: [x], domains: [example.com]}", []string{"/ ann@example.com"}},
		{"names of accounts are roles", "vouch", "vouch: {whiteList: [ann, bo@example.com], domains: [example.com]}", []string{"/ * role:ann", "/ bo@example.com"}},
		{"teams are roles", "vouch", "vouch: {teamWhitelist: [org/team], domains: [example.com]}", []string{"/ * role:org/team"}},
		{"domains", "vouch", "vouch: {domains: [example.com]}", []string{"/ example.com"}},
		{"all users is a question", "vouch", "vouch: {allowAllUsers: true}", nil},
		{"all users, whatever else", "vouch", "vouch: {allowAllUsers: true, whiteList: [ann@example.com]}", nil},
		{"nothing said", "vouch", "vouch: {port: 9000}", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := everything()
			o.Dir = folder(t)
			if !strings.HasPrefix(tt.config, "# with --email-domains\n") {
				o.EmailDomains = nil
			}
			o.ReadFile = func(name string) ([]byte, error) {
				if name != "/people" {
					return nil, fs.ErrNotExist
				}
				return []byte("# people\nAnn@example.com, Ann\n bo@example.com, Bo\n"), nil
			}
			in, peer := importer.Input{Config: []byte(tt.config)}, tt.peer
			if peer == "oauth2-proxy alpha" {
				peer = "oauth2-proxy"
				in = importer.Input{Config: []byte(`email_domains = ["example.com"]`), Alpha: []byte("upstreamConfig: {upstreams: [{path: /, uri: \"http://app\"}]}\n" + tt.config)}
			}
			r, err := peers[peer](in, o)
			if err != nil {
				t.Fatal(err)
			}
			c, err := load(o.Dir, r.YAML)
			if tt.want == nil {
				if err == nil {
					t.Errorf("check takes it, want a refusal:\n%s", r.YAML)
				} else if !strings.Contains(err.Error(), "allow") {
					t.Errorf("got %v, want one about allow", err)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, r.YAML)
			}
			if diff := cmp.Diff(tt.want, entries(c)); diff != "" {
				t.Errorf("want (-), got (+):\n%s\n%s", diff, r.YAML)
			}
			if got := opened(c); len(got) > 0 {
				t.Errorf("opened to everybody: %q", got)
			}
		})
	}
}

// What was open stays open only where a route can say exactly that.
func TestNothingElseIsOpened(t *testing.T) {
	t.Parallel()
	const up = "upstreams = [\"http://app:8080\"]\nemail_domains = [\"example.com\"]\n"
	const wiki = "wiki.example.com "
	const rule = "domain = example.com\nrule.a.action = allow\nrule.a.rule = "
	for _, tt := range []struct {
		peer, config string
		want         []string
	}{
		{"oauth2-proxy", up + `skip_auth_routes = ["^/health$"]`, []string{wiki + "/health exact"}},
		{"oauth2-proxy", up + `skip_auth_routes = ["GET=^/health$", "post=^/health$", "GET=^/health/?$"]`, []string{"GET,POST " + wiki + "/health exact"}},
		{"oauth2-proxy", up + `skip_auth_routes = ["GET=^/health$", "^/health$"]`, []string{wiki + "/health exact"}},
		{"oauth2-proxy", up + `skip_auth_regex = ["^/static/"]`, []string{wiki + "/static prefix"}},
		{"oauth2-proxy", up + `skip_auth_routes = ["!=^/private/"]`, nil},
		{"oauth2-proxy", up + `skip_auth_routes = ["GET!=^/private/"]`, nil},
		{"oauth2-proxy", up + `skip_auth_routes = ["FETCH=^/health$"]`, nil},
		{"oauth2-proxy", up + `skip_auth_routes = ["TRACE=^/health$"]`, nil},
		{"oauth2-proxy", up + `skip_auth_routes = ["^/a=b$"]`, nil}, // its own reading: the method ^/A
		{"oauth2-proxy", up + `skip_auth_routes = ["^/", ".*", "", "^/.*", "/", "^"]`, nil},
		{"oauth2-proxy", up + `skip_auth_routes = ["x,^/health$"]`, nil}, // an element of a list is not taken apart
		{"oauth2-proxy", up + `skip_auth_preflight = true`, nil},
		{"oauth2-proxy", up + `trusted_ips = ["10.0.0.0/8"]`, nil},
		{"oauth2-proxy", up + `htpasswd_file = "x"`, nil},
		{"oauth2-proxy", "upstreams = [\"http://app/a/\", \"http://b/a/b/\"]\nemail_domains = [\"example.com\"]\nskip_auth_routes = [\"^/a/\"]", []string{wiki + "/a prefix"}},
		{"oauth2-proxy", "upstreams = [\"http://app/a/\"]\nemail_domains = [\"example.com\"]\nskip_auth_routes = [\"^/b/\"]", nil},
		{"traefik-forward-auth", rule + "Path(`/health`)", []string{wiki + "/health exact"}},
		{"traefik-forward-auth", rule + "PathPrefix(`/pub/`)", []string{wiki + "/pub prefix"}},
		{"traefik-forward-auth", rule + "PathPrefix(`/pub`)", []string{wiki + "/pub prefix"}},
		{"traefik-forward-auth", rule + "Host(`Stats.example.com`) && PathPrefix(`/pub/`) && Method(`GET`, `POST`)", []string{"GET,POST stats.example.com /pub prefix"}},
		{"traefik-forward-auth", rule + "Path(`/a`) || (Path(`/b`) && Method(`GET`))", []string{wiki + "/a exact", "GET " + wiki + "/b exact"}},
		{"traefik-forward-auth", rule + "Path(`/a`, `/b`)", []string{wiki + "/a exact", wiki + "/b exact"}},
		{"traefik-forward-auth", rule + "Path(`/a`) && Headers(`K`, `v`)", nil},
		{"traefik-forward-auth", rule + "Path(`/a`) || Headers(`K`, `v`)", nil},
		{"traefik-forward-auth", rule + "Path(`/a`) && && Query(`k=v`)", nil},
		{"traefik-forward-auth", rule + "!Path(`/a`)", nil},
		{"traefik-forward-auth", rule + "Path(`/a`) // && Query(`k=v`)", nil},
		{"traefik-forward-auth", rule + "Path(`/a`) /* && Query(`k=v`) */", nil},
		{"traefik-forward-auth", rule + "Path(`/a/{id:[0-9]+}`)", nil},
		{"traefik-forward-auth", rule + "PathPrefix(`/a/{x}`)", nil},
		{"traefik-forward-auth", rule + "Path(`/a`) && Path(`/b`)", nil},
		{"traefik-forward-auth", rule + "Path(`/a`) && PathPrefix(`/a`)", nil},
		{"traefik-forward-auth", rule + "Host(`{x:.*}`) && Path(`/a`)", nil},
		{"traefik-forward-auth", rule + "Host(`a.example.com`) && Host(`b.example.com`) && Path(`/a`)", nil},
		{"traefik-forward-auth", rule + "HostRegexp(`a.example.com`) && Path(`/a`)", nil},
		{"traefik-forward-auth", rule + "Method(`GET`) && Method(`POST`) && Path(`/a`)", nil},
		{"traefik-forward-auth", rule + "Method(`get`) && Path(`/a`)", nil},
		{"traefik-forward-auth", rule + "Host(`a.example.com`)", nil},
		{"traefik-forward-auth", rule + "Method(`GET`)", nil},
		{"traefik-forward-auth", rule + "PathPrefix(`/`)", nil},
		{"traefik-forward-auth", rule + "PathPrefix(``)", nil},
		{"traefik-forward-auth", rule + "Path(`a`)", nil},
		{"traefik-forward-auth", rule + "Path(`/a%2fb`)", nil},
		{"traefik-forward-auth", rule + "Path(`/a/../b`)", nil},
		{"traefik-forward-auth", rule + "Path(`/a//b`)", nil},
		{"traefik-forward-auth", rule + "Path()", nil},
		{"traefik-forward-auth", rule + "Path(x)", nil},
		{"traefik-forward-auth", rule + "path(`/a`)", nil},
		{"traefik-forward-auth", rule + "Path(`/a`) & Path(`/a`)", nil},
		{"traefik-forward-auth", rule + "Path(`/a`) == Path(`/a`)", nil},
		{"traefik-forward-auth", rule + "x.Path(`/a`)", nil},
		{"traefik-forward-auth", rule, nil},
		{"traefik-forward-auth", "domain = example.com\ndefault-action = allow", nil},
		{"traefik-forward-auth", "domain = example.com\nrule.a.action = public\nrule.a.rule = Path(`/a`)", nil},
		{"traefik-forward-auth", "domain = example.com\nrule.a.action = ALLOW\nrule.a.rule = Path(`/a`)", nil},
		{"vouch", "vouch: {domains: [example.com], publicAccess: true}", []string{wiki + "/ prefix"}},
		{"vouch", "vouch: {domains: [example.com], publicAccess: false}", nil},
		{"vouch", "vouch: {domains: [example.com], publicAccess: maybe}", nil},
	} {
		o := everything()
		o.Dir = folder(t)
		r, err := peers[tt.peer](importer.Input{Config: []byte(tt.config)}, o)
		if err != nil {
			t.Fatalf("%s: %v", tt.config, err)
		}
		c, err := load(o.Dir, r.YAML)
		if err != nil {
			t.Errorf("%s: %v", tt.config, err)
			continue
		}
		if diff := cmp.Diff(append([]string{}, tt.want...), opened(c)); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s\n%s", tt.config, diff, r.YAML)
		}
	}
}

// Input that cannot be read is said to be so, and nothing comes out.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, peer string
		in         importer.Input
	}{
		{"no TOML", "oauth2-proxy", importer.Input{Config: []byte("a = ")}},
		{"no YAML", "oauth2-proxy", importer.Input{Alpha: []byte("a: [")}},
		{"a list on top", "oauth2-proxy", importer.Input{Alpha: []byte("- a")}},
		{"no variable", "oauth2-proxy", importer.Input{Env: []byte("just words")}},
		{"not UTF-8", "oauth2-proxy", importer.Input{Config: []byte("a = \"\xff\"")}},
		{"too large", "oauth2-proxy", importer.Input{Config: []byte(strings.Repeat("#", 1<<20+1))}},
		{"no option", "traefik-forward-auth", importer.Input{Config: []byte("word")}},
		{"no YAML at vouch", "vouch", importer.Input{Config: []byte("{")}},
		{"a text on top", "vouch", importer.Input{Config: []byte("vouch")}},
		{"an alias", "vouch", importer.Input{Config: []byte("a: &x [1]\nb: *x")}},
	} {
		if r, err := peers[tt.peer](tt.in, everything()); err == nil {
			t.Errorf("%s: got no error:\n%s", tt.name, r.YAML)
		}
	}
	if _, err := importer.SplitArgs([]byte(`--a "b`)); err == nil {
		t.Error("an open quotation mark: got no error")
	}
}

func TestSplitArgs(t *testing.T) {
	t.Parallel()
	got, err := importer.SplitArgs([]byte("oauth2-proxy --a=b \\\n  --c 'd e' # no flag\n--f=\"g\\\"h\\n\" i\\ j ''\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"oauth2-proxy", "--a=b", "--c", "d e", "--f=g\"h\\n", "i j", ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// Files that are not there yet are named, and what they are for is not left out: without a certificate the listener would
// speak plain HTTP.
func TestFilesThatAreNotThere(t *testing.T) {
	t.Parallel()
	o := everything()
	o.Dir = folder(t)
	r, err := importer.OAuth2Proxy(importer.Input{Config: []byte("upstreams = \"http://app\"\nemail_domains = \"example.com\"\ntls_cert_file = \"/nowhere/cert.pem\"\ntls_key_file = \"/nowhere/key.pem\"\n")}, o)
	if err != nil {
		t.Fatal(err)
	}
	_, err = load(o.Dir, r.YAML)
	var problems config.Problems
	if !errors.As(err, &problems) || problems[0].Key != "tls.cert_file" {
		t.Errorf("got %v, want a refusal of tls.cert_file", err)
	}
	if !strings.Contains(notes(r), "tls_cert_file: portero check refuses tls.cert_file") {
		t.Errorf("no note names the certificate:\n%s", notes(r))
	}
}
