package catalogue_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"portero/internal/config"
	"portero/internal/gatewaytest"
)

// ran is what a command of the program has said.
type ran struct {
	out, problems string
	code          int
}

// run runs a command of the program on a configuration. Variables of the environment are NAME=VALUE.
func run(t *testing.T, p *gatewaytest.Process, command, text string, env ...string) ran {
	t.Helper()
	p.Configure(text)
	cmd := p.Command(command, "--config", p.File("portero.yaml"))
	cmd.Env = append(cmd.Env, env...)
	var out, problems strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &problems
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return ran{out.String(), problems.String(), cmd.ProcessState.ExitCode()}
}

// refused fails unless a configuration was refused with exit code 2, each of the wanted texts being in what was said, and
// nothing secret.
func (r ran) refused(t *testing.T, what string, want ...string) {
	t.Helper()
	if r.code != 2 || r.out != "" {
		t.Errorf("%s: got exit code %d and %d bytes of output, want 2 and none\n%s", what, r.code, len(r.out), r.problems)
	}
	for _, w := range want {
		if !strings.Contains(r.problems, w) {
			t.Errorf("%s: got %q, want %q in it", what, r.problems, w)
		}
	}
	if strings.Contains(r.problems, gatewaytest.Canary) || strings.Contains(r.out, gatewaytest.Canary) {
		t.Errorf("%s: the value of a secret is told: %s", what, r.problems)
	}
}

// option is one key of the configuration.
type option struct {
	path string // with [] behind a list
	kind reflect.Type
}

// options are all keys that have a value of their own, as the program knows them.
func options(t *testing.T) []option {
	t.Helper()
	var out []option
	var visit func(r reflect.Type, below string)
	visit = func(r reflect.Type, below string) {
		for i := range r.NumField() {
			field := r.Field(i)
			name, ok := field.Tag.Lookup("key")
			if !ok {
				continue
			}
			path, kind := strings.TrimPrefix(below+"."+name, "."), field.Type
			element := kind
			if kind.Kind() == reflect.Slice {
				element = kind.Elem()
			}
			if element.Kind() == reflect.Struct && element.NumField() > 0 && element.Field(0).Tag.Get("key") != "" {
				if kind.Kind() == reflect.Slice {
					path += "[]"
				}
				visit(element, path)
				continue
			}
			out = append(out, option{path, kind})
		}
	}
	visit(reflect.TypeFor[config.Config](), "")
	if len(out) < 80 {
		t.Fatalf("options: got %d, want all there are", len(out))
	}
	return out
}

// secretsOf is a configuration with a value for every secret there is; each stands for the key of that name.
const secretsOf = `external_url: https://gw.test
admin: {token: "admin.token"}
logto: {endpoint: https://tenant.logto.app/, app_id: abc, app_secret: "logto.app_secret", management: {app_id: m, app_secret: "logto.management.app_secret"}}
mailgun: {domain: mg.example.com, from: x@example.com, api_key: "mailgun.api_key"}
session: {store: redis, secret: "session.secret", old_secrets: [{value: "session.old_secrets[].value"}], redis: {url: "session.redis.url"}}
email_domains: [example.com]
upstream: http://127.0.0.1:8080
`

// valid gives each secret but one a value that is right, and that one another.
func valid(but, value string) string {
	out := secretsOf
	for _, key := range []string{"session.old_secrets[].value", "session.redis.url", "session.secret", "mailgun.api_key", "logto.management.app_secret", "logto.app_secret", "admin.token"} {
		good := `"` + gatewaytest.Canary + strings.Repeat("v", 32) + `"`
		if key == "session.redis.url" {
			good = `"redis://portero:` + gatewaytest.Canary + `p@127.0.0.1:6379/0"`
		}
		if key == but {
			good = value
		}
		out = strings.ReplaceAll(out, `"`+key+`"`, good)
	}
	return out
}

func configurationErrors(t *testing.T, _ *doors) {
	p := gatewaytest.NewProcess(t, "the program")
	all := valid("", "")
	if got := run(t, p, "check", all); got.code != 0 || strings.Contains(got.out+got.problems, gatewaytest.Canary) || strings.Count(got.out, "(redacted)") < 6 {
		t.Fatalf("a configuration with all secrets: got %+v, want it with all of them hidden", got)
	}
	var keys []string
	for _, o := range options(t) {
		if o.kind == reflect.TypeFor[config.Secret]() {
			keys = append(keys, o.path)
			if !strings.Contains(secretsOf, `"`+o.path+`"`) {
				t.Errorf("%s is a secret that this test does not know", o.path)
			}
		}
	}
	if len(keys) != 7 {
		t.Errorf("secrets: got %q", keys)
	}
	const c = gatewaytest.Canary + "0123456789012345678901234567890123456789"
	for _, key := range keys {
		named := strings.Replace(key, "[]", "[0]", 1)
		for _, value := range []string{
			"{a: " + c + "}", "[" + c + "]", "[[" + c + "]]", "{" + c + ": 1}", "&" + c + " " + c, "*" + c, "!secret " + c, "!!binary " + c, `"base64:` + c + `%%%"`, `"hex:` + c + `zz"`, `"` + c + `\x00\x1b[2J"`,
		} {
			got := run(t, p, "check", valid(key, value))
			if got.code == 0 && (strings.HasSuffix(value, `[2J"`) || strings.HasPrefix(value, "!!binary")) {
				continue // a secret may be any bytes
			}
			got.refused(t, key+" as "+value, "portero.yaml:")
			if !strings.HasPrefix(value, "*") && !strings.Contains(got.problems, named) { // an alias of nothing is no YAML
				t.Errorf("%s as %s: got %q, want the key in it", key, value, got.problems)
			}
		}
		if variable := "PORTERO_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_")); !strings.Contains(key, "[]") {
			for _, value := range []string{"base64:" + c + "%%%", "hex:" + c + "zz"} {
				run(t, p, "check", all, variable+"="+value).refused(t, variable+"="+value, variable)
			}
			run(t, p, "check", all, variable+"_="+c).refused(t, variable+"_", variable+"_")
		}
	}
	for name, value := range map[string]string{
		"a port that is none": `"redis://u:` + c + `@h:x/0"`, "an escape that is none": `"redis://u:` + c + `%zz@h:1/0"`, "another scheme": `"http://u:` + c + `@h:1/0"`, "a query": `"redis://u:` + c + `@h:1/0?db=` + c + `"`,
		"a database that is none": `"redis://u:` + c + `@h:1/` + c + `"`, "no host": `"redis://u:` + c + `@:1/0"`, "a control character": `"redis://u:` + c + `\x00@h:1/0"`, "no scheme": `"u:` + c + `@h:1"`,
	} {
		run(t, p, "check", valid("session.redis.url", value)).refused(t, "session.redis.url with "+name, "session.redis.url")
		run(t, p, "serve", valid("session.redis.url", value)).refused(t, "serve, session.redis.url with "+name, "session.redis.url")
	}
	// A URL elsewhere may have credentials in it by mistake.
	for key, line := range map[string]string{
		"upstream": `upstream: "http://u:` + c + `@127.0.0.1:8080"`, "external_url": `external_url: "https://u:` + c + `@gw.test"`, "mailgun.endpoint": `mailgun: {endpoint: "https://api:` + c + `@api.mailgun.net"}`,
	} {
		text := slices.DeleteFunc(strings.SplitAfter(all, "\n"), func(l string) bool { return strings.HasPrefix(l, strings.SplitN(line, ":", 2)[0]+":") })
		run(t, p, "check", strings.Join(text, "")+line+"\n").refused(t, key+" with a password", key)
	}
	// Files: of secrets, and the configuration itself.
	file := filepath.Join(t.TempDir(), "secret")
	for name, content := range map[string]string{"empty": "", "blank": " \n", "not base64": "base64:" + c + "%%%", "a placeholder": "changeme", "large": strings.Repeat(c, 3000), "short": gatewaytest.Canary + "short"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(valid("session.secret", `""`), `secret: ""`, `secret_file: `+file, 1)
		run(t, p, "check", text).refused(t, "a file of a secret that is "+name, "session.secret")
	}
	for name, text := range map[string]string{
		"broken in the middle": strings.Replace(all, "mailgun: {", "mailgun: {"+c+": [", 1), "with a secret as key": all + c + ": 1\n", "with an unknown key for a secret": strings.Replace(all, "app_secret:", "appsecret:", 1),
		"with a secret twice": strings.Replace(all, "app_secret:", "app_secret: "+c+"2, app_secret:", 1), "with a tab": strings.Replace(all, "session:", "\tx: "+c+"\nsession:", 1), "with an anchor": "x: &" + c + " y\n" + all,
		"that is a list": "- " + c + "\n", "that is a text": c + "\n", "with other bytes": all + "# \xff" + c, "with a second document": all + "---\n" + c + "\n", "without end": `x: "` + c,
	} {
		got := run(t, p, "check", text)
		if name == "with a secret as key" || name == "with an anchor" { // what was written as a key is told, that is how one finds it
			got.problems = strings.ReplaceAll(got.problems, c, "…")
		}
		got.refused(t, "a file "+name, "portero.yaml:")
	}
}
