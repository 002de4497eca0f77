package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"portero/internal/config"
)

func TestASecretIsNeverPrinted(t *testing.T) {
	t.Parallel()
	s := config.NewSecret(canary)
	type holder struct {
		Public  config.Secret
		private config.Secret
	}
	values := map[string]any{"secret": s, "pointer": &s, "struct": holder{s, s}, "slice": []config.Secret{s}, "map": map[string]config.Secret{"a": s}}
	// The verbs of numbers and texts show bytes in other forms, so these are looked for too.
	forms := []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), fmt.Sprint([]byte(canary))}
	for name, value := range values {
		var printed []string
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c", "%U", "%t", "%p", "%z"} {
			printed = append(printed, fmt.Sprintf(verb, value))
		}
		if text, err := json.Marshal(value); err == nil {
			printed = append(printed, string(text))
		}
		if text, err := yaml.Marshal(value); err == nil {
			printed = append(printed, string(text))
		}
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("a", "value", value)
		slog.New(slog.NewTextHandler(&log, nil)).Info("a", "value", value)
		printed = append(printed, log.String(), fmt.Errorf("with %v", value).Error())
		for _, got := range printed {
			for _, form := range forms {
				if strings.Contains(got, form) {
					t.Errorf("%s is printed as %s", name, got)
				}
			}
		}
	}
	if got, want := fmt.Sprint(s, " ", config.Secret{}), "(redacted) "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !s.Equal(config.NewSecret(canary)) || s.Equal(config.Secret{}) || !s.IsSet() || (config.Secret{}).IsSet() {
		t.Error("secrets do not compare by value")
	}
}

func TestNothingPrintedOfAConfigHasASecret(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, with(
		"admin: {token: "+canary+"}", "mailgun: {domain: a.example, api_key: "+canary+", from: a@a.example}",
		"session: {secret: "+canary+"-and-32-bytes-of-it, old_secrets: [{value: "+canary+"-and-32-bytes-of-it}]}",
		"logto: {endpoint: https://t.logto.app/, app_id: abc, app_secret: "+canary+", management: {app_id: m, app_secret: "+canary+"}}"))
	resolved := string(c.YAML())
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{"YAML": resolved, "JSON": string(asJSON), "%+v": fmt.Sprintf("%+v", c), "%#v": fmt.Sprintf("%#v", *c)} {
		if strings.Contains(got, canary) {
			t.Errorf("%s has a secret:\n%s", name, got)
		}
	}
	if got, want := strings.Count(resolved, "(redacted)"), 6; got != want {
		t.Errorf("got %d times (redacted), want %d in\n%s", got, want, resolved)
	}
}

func TestTheResolvedConfigurationLoadsToItself(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := strings.ReplaceAll(config.Example(), "…", canary)
	load := func(text string) *config.Config {
		c, err := config.Load(config.Options{Path: dir + "/portero.yaml", Text: []byte(text)})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	once := load(text)
	resolved := string(once.YAML())
	twice := load(strings.ReplaceAll(resolved, "(redacted)", canary))
	if diff := cmp.Diff(resolved, string(twice.YAML())); diff != "" {
		t.Errorf("printed, loaded and printed again (-first +second):\n%s", diff)
	}
	if got, want := twice.Logto.FinalScopes(), once.Logto.FinalScopes(); !cmp.Equal(got, want) {
		t.Errorf("got scopes %q, want %q", got, want)
	}
	_, err := config.Load(config.Options{Path: dir + "/portero.yaml", Text: []byte(resolved)})
	wantProblem(t, err, dir+"/portero.yaml:", "logto.app_secret: is an example text")
}

const exampleFile = "../../config.example.yaml"

func TestTheExampleFileIsTheOneThatIsPrinted(t *testing.T) {
	t.Parallel()
	if *update {
		if err := os.WriteFile(exampleFile, []byte(config.Example()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(file), config.Example()); diff != "" {
		t.Errorf("config.example.yaml is not what `portero config example` prints; run go test ./internal/config -update (-file +printed):\n%s", diff)
	}
}

func TestTheExampleLoadsOnceItsSecretsAreThere(t *testing.T) {
	t.Parallel()
	_, err := config.Load(config.Options{Path: exampleFile})
	wantProblem(t, err, exampleFile+":", "logto.app_secret: is an example text")
	wantProblem(t, err, exampleFile+":", "mailgun.api_key: is an example text")
	c, err := config.Load(config.Options{Path: exampleFile, Env: []string{"PORTERO_LOGTO_APP_SECRET=" + canary, "PORTERO_MAILGUN_API_KEY=" + canary}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(c.Routes), 1; got != want {
		t.Errorf("got %d routes, want %d", got, want)
	}
}

// TestTheExampleNamesEveryKey finds the keys by the tags of the structs, so that neither table nor example can leave one out:
// each stands in the example, or in the comment of the list it belongs to.
func TestTheExampleNamesEveryKey(t *testing.T) {
	t.Parallel()
	example := config.Example()
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(example), &document); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(example, "\n")
	var visit func(typ reflect.Type, nodes []*yaml.Node, comment, path string)
	visit = func(typ reflect.Type, nodes []*yaml.Node, comment, path string) {
		for i := range typ.NumField() {
			field := typ.Field(i)
			name, ok := field.Tag.Lookup("key")
			if !ok {
				continue
			}
			var below []*yaml.Node
			about := comment
			for _, n := range nodes {
				for j := 0; j+1 < len(n.Content); j += 2 {
					if n.Content[j].Value != name {
						continue
					}
					line := n.Content[j].Line
					about = lines[line-2] + "\n" + lines[line-1]
					below = append(below, n.Content[j+1])
				}
			}
			if len(below) == 0 && !strings.Contains(comment, name) {
				t.Errorf("the example does not name %s.%s", path, name)
			}
			switch inner := field.Type; {
			case inner.Kind() == reflect.Struct && inner.NumField() > 0 && inner != reflect.TypeFor[config.Secret]():
				visit(inner, below, about, path+"."+name)
			case inner.Kind() == reflect.Slice && inner.Elem().Kind() == reflect.Struct && inner.Elem().PkgPath() == reflect.TypeFor[config.Config]().PkgPath():
				var elements []*yaml.Node
				for _, list := range below {
					elements = append(elements, list.Content...)
				}
				if path == "" && name == "allow" {
					about = "routes[].allow: emails email_domains roles organizations organization_roles claims name values networks methods expression" // said there
				}
				visit(inner.Elem(), elements, about, path+"."+name)
			}
		}
	}
	visit(reflect.TypeFor[config.Config](), []*yaml.Node{document.Content[0]}, "", "")
}

func TestTheSchemaTakesTheExampleAndRefusesMistakes(t *testing.T) {
	t.Parallel()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(config.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("portero.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("portero.json")
	if err != nil {
		t.Fatal(err)
	}
	validate := func(text string) error {
		var value any
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			t.Fatal(err)
		}
		return schema.Validate(value)
	}
	if err := validate(config.Example()); err != nil {
		t.Errorf("the example: %v", err)
	}
	if err := validate(with("session:\n", "reload: {watch: true}", "shutdown: {delay: 1m30s}")); err != nil {
		t.Errorf("a small configuration: %v", err)
	}
	for name, text := range map[string]string{
		"unknown key":           "liste: a",
		"unknown key in a list": "routes: [{acces: public}]",
		"unknown word":          "log: {level: loud}",
		"number for a text":     "listen: 3000",
		"text for a boolean":    "reload: {watch: sure}",
		"no unit":               "shutdown: {delay: 30}",
		"no scheme":             "upstream: localhost:8080",
		"text for a list":       "trusted_proxies: all",
	} {
		if err := validate(text); err == nil {
			t.Errorf("%s: %q passes", name, text)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(config.Example()))
	f.Add([]byte(with()))
	f.Add([]byte("a: &a [*a]\n<<: {b: c}\n? {c: d}\n: e\n"))
	f.Add([]byte("routes: [{}, null, [], {allow: [{claims: [{}]}]}]\nidentity: {headers: [{claim: []}]}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := config.Load(config.Options{Path: "p.yaml", Text: text, WorkDir: "/nonexistent"})
		if (c == nil) == (err == nil) {
			t.Fatalf("got configuration %v and error %v", c, err)
		}
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, "p.yaml:") {
					t.Errorf("a problem without a place: %q", line)
				}
			}
			return
		}
		for _, r := range c.Routes {
			if r.Access == config.AccessSignedIn && len(r.Allow) == 0 {
				t.Errorf("route %s lets nobody in and was taken", r.Name)
			}
		}
		// What is printed is the same configuration, but for the secrets.
		printed := bytes.ReplaceAll(c.YAML(), []byte("(redacted)"), bytes.Repeat([]byte("s"), 40))
		again, err := config.Load(config.Options{Path: "q.yaml", Text: printed, WorkDir: "/nonexistent"})
		if err != nil {
			t.Fatalf("printed, it is none: %v\n%s", err, printed)
		}
		if !bytes.Equal(again.YAML(), c.YAML()) {
			t.Errorf("printed, it is another:\n%s\n%s", c.YAML(), again.YAML())
		}
	})
}
