package internal_test

import (
	"bytes"
	"errors"
	"fmt"
	"image/png"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"portero/internal/config"
	"portero/internal/gatewaytest"
	"portero/internal/setup"
)

// What people copy out of the texts works.

// texts are the pages for operators.
func texts(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	names, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(names, "../README.md") {
		out[name] = read(t, name)
	}
	if len(out) < 3 {
		t.Fatalf("texts: got %d, want README.md and docs", len(out))
	}
	return out
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// secretFile is the name of a file with a secret: in a container, or beside the configuration.
var secretFile = regexp.MustCompile(`(/run/secrets/|(?:secret|api_key)_file: )([a-z_-]+)\b`)

// withSecrets puts real files and names where an example has those of an operator or a gap to fill in.
func withSecrets(t *testing.T, text string) string {
	t.Helper()
	text = secretFile.ReplaceAllStringFunc(text, func(found string) string {
		m := secretFile.FindStringSubmatch(found)
		file := filepath.Join(t.TempDir(), m[2])
		if err := os.WriteFile(file, []byte("Zq3vT8yN5wR1kLm7xPd2sGh9bJc4fVa6\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(m[1], "/run/secrets/") + file
	})
	return strings.NewReplacer("your-tenant", "tenant", "your-app-id", "k2x9w4", "your-management-id", "m4k7q1", "your-management-secret", "Zq3vT8yN5wR1").Replace(text)
}

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

func TestConfigurationsInTheTextsLoad(t *testing.T) {
	t.Parallel()
	whole := 0
	for name, text := range texts(t) {
		for i, block := range yamlBlock.FindAllStringSubmatch(text, -1) {
			t.Run(fmt.Sprintf("%s %d", filepath.Base(name), i), func(t *testing.T) {
				yaml := withSecrets(t, block[1])
				if strings.Contains("\n"+yaml, "\nlogto:") {
					whole++
				} else { // a part: the rest is the least that a configuration needs
					yaml += "external_url: https://portal.example.com\nsession: {store: memory}\nlogto: {endpoint: https://tenant.logto.app/, app_id: k2x9w4, app_secret: Zq3vT8yN5wR1}\n"
				}
				forSetup := strings.Contains(yaml, "management:") && !strings.Contains(yaml, "\n  app_id:") // which makes the application
				c, err := config.Load(config.Options{Path: filepath.Join(t.TempDir(), "portero.yaml"), Text: []byte(yaml), Setup: forSetup})
				if err != nil {
					t.Fatalf("%v\n%s", err, yaml)
				}
				if len(c.Routes) == 0 {
					t.Error("it has no routes")
				}
			})
		}
	}
	if whole == 0 {
		t.Error("no text has a whole configuration")
	}
}

// environment is KEY=VALUE of every PORTERO_ variable in a text.
func environment(text string) []string {
	return regexp.MustCompile(`PORTERO_[A-Z_]+=[^\s"`+"`"+`\\]+`).FindAllString(text, -1)
}

// The image's own variables and those of the example for containers make a configuration that needs no file.
func TestComposeFileConfigures(t *testing.T) {
	t.Parallel()
	var compose struct {
		Services map[string]struct {
			Environment map[string]string
			Ports       []string
			Secrets     []string
			Volumes     []string
		}
		Secrets map[string]any
	}
	if err := yaml.Unmarshal([]byte(read(t, "../deploy/docker-compose.yaml")), &compose); err != nil {
		t.Fatal(err)
	}
	portero := compose.Services["portero"]
	env := environment(read(t, "../Dockerfile"))
	if len(env) == 0 {
		t.Error("the image sets no variable; want at least PORTERO_LISTEN")
	}
	for name, value := range portero.Environment {
		if secret, ok := strings.CutPrefix(value, "/run/secrets/"); ok {
			if _, there := compose.Secrets[secret]; !there || !slices.Contains(portero.Secrets, secret) {
				t.Errorf("%s: no secret %s is given to the service", name, secret)
			}
		}
		env = slices.DeleteFunc(env, func(pair string) bool { return strings.HasPrefix(pair, name+"=") })
		env = append(env, name+"="+withSecrets(t, value))
	}
	c, err := config.Load(config.Options{Env: env, WorkDir: t.TempDir()})
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(env, "\n"))
	}
	if !strings.HasPrefix(c.Listen, "0.0.0.0:") {
		t.Errorf("listen: got %s, want every address of the container", c.Listen)
	}
	if folder := filepath.Dir(c.Session.File.Path); !slices.ContainsFunc(portero.Volumes, func(v string) bool { return strings.HasSuffix(v, ":"+folder) }) {
		t.Errorf("sessions lie in %s, which is on none of the volumes %q", folder, portero.Volumes)
	}
	for name, s := range compose.Services {
		if len(s.Ports) > 0 && name != "portero" {
			t.Errorf("%s publishes the ports %q: people could reach it without Portero", name, s.Ports)
		}
	}
	for _, u := range c.Routes[0].Upstreams {
		if _, there := compose.Services[u.URL.Hostname()]; !there {
			t.Errorf("the application %s is no service of the file", u.URL.Host)
		}
	}
}

// The unit's variables go with the configuration of the README, and its commands exist.
func TestUnitFileConfigures(t *testing.T) {
	t.Parallel()
	unit := read(t, "../deploy/portero.service")
	block := yamlBlock.FindStringSubmatch(read(t, "../README.md"))
	if block == nil {
		t.Fatal("README.md has no configuration")
	}
	env := environment(unit)
	if len(env) == 0 {
		t.Error("the unit sets no variable; want the place of the sessions")
	}
	c, err := config.Load(config.Options{Path: filepath.Join(t.TempDir(), "portero.yaml"), Text: []byte(withSecrets(t, block[1])), Env: env})
	if err != nil {
		t.Fatal(err)
	}
	state := regexp.MustCompile(`(?m)^StateDirectory=(\S+)$`).FindStringSubmatch(unit)
	if state == nil || filepath.Dir(c.Session.File.Path) != "/var/lib/"+state[1] {
		t.Errorf("sessions lie in %s, want the unit's StateDirectory", c.Session.File.Path)
	}
	for _, command := range []string{"portero check --config ", "portero serve --config ", "Type=notify-reload"} {
		if !strings.Contains(unit, command) {
			t.Errorf("the unit does not say %q", command)
		}
	}
}

func TestReadmeNamesTheTwoCommands(t *testing.T) {
	t.Parallel()
	text := read(t, "../README.md")
	for _, command := range []string{"go run ./cmd/portero demo", "go test ./..."} {
		if !strings.Contains(text, command) {
			t.Errorf("README.md does not say %q", command)
		}
	}
	if pair := environment(text); len(pair) > 0 {
		env := append(pair, "PORTERO_LOGTO_ENDPOINT=https://tenant.logto.app/", "PORTERO_LOGTO_APP_ID=k2x9w4", "PORTERO_LOGTO_APP_SECRET=Zq3vT8yN5wR1")
		if _, err := config.Load(config.Options{Env: env, WorkDir: t.TempDir()}); err != nil {
			t.Errorf("%s: %v", strings.Join(pair, " "), err)
		}
	}
}

var (
	link   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	header = regexp.MustCompile(`(?m)^#+ (.+)$`)
	metric = regexp.MustCompile(`\bportero_[a-z_]+\b`)
	fence  = regexp.MustCompile("(?ms)^```.*?^```$")
	image  = regexp.MustCompile(`!\[([^\]]*)\]\(([^)]*)\)`)
)

// A link within the project leads to a file, or to a heading, that is there.
func TestLinksInTheTextsLeadSomewhere(t *testing.T) {
	t.Parallel()
	all := texts(t)
	all["README.md"] = read(t, "README.md")
	anchors := func(name string) []string {
		var out []string
		for _, h := range header.FindAllStringSubmatch(fence.ReplaceAllString(read(t, name), ""), -1) {
			plain := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(h[1]), "")
			out = append(out, strings.ReplaceAll(plain, " ", "-"))
		}
		return out
	}
	for name, text := range all {
		for _, l := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(l[1], "://") {
				continue
			}
			file, anchor, _ := strings.Cut(l[1], "#")
			if file == "" {
				file = name
			} else {
				file = filepath.Join(filepath.Dir(name), file)
			}
			if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: the link %s leads nowhere", name, l[1])
			} else if anchor != "" && !slices.Contains(anchors(file), anchor) {
				t.Errorf("%s: the link %s leads to no heading", name, l[1])
			}
		}
	}
}

// A picture is there, is small, and says in words what it shows; and none lies about that no text shows. That it shows what people see today
// is for TestPictures of internal/demo.
func TestPicturesOfTheTexts(t *testing.T) {
	t.Parallel()
	shown := map[string]bool{}
	for name, text := range texts(t) {
		if strings.Contains(text, "<img") {
			t.Errorf("%s has an <img>; write ![what it shows](file)", name)
		}
		for _, i := range image.FindAllStringSubmatch(text, -1) {
			words, file := i[1], filepath.Join(filepath.Dir(name), i[2])
			if len(strings.Fields(words)) < 4 {
				t.Errorf("%s: the picture %s says %q of itself; want what it shows, in a sentence", name, i[2], words)
			}
			picture, err := os.ReadFile(file)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if _, err := png.Decode(bytes.NewReader(picture)); err != nil || len(picture) > 60<<10 {
				t.Errorf("%s: the picture %s is no PNG of at most 60 KB: %d bytes, %v", name, i[2], len(picture), err)
			}
			shown[file] = true
		}
	}
	if len(shown) == 0 {
		t.Error("no text has a picture")
	}
	err := filepath.WalkDir("../docs", func(file string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(file) != ".md" && !shown[file] {
			t.Errorf("no text shows %s", file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The part of a plan in docs/logto.md is what its own file comes to at a tenant as Logto makes it.
func TestPlanInTheText(t *testing.T) {
	t.Parallel()
	text := read(t, "../docs/logto.md")
	k := gatewaytest.NewTenant(t, gatewaytest.TenantOptions{})
	file := withSecrets(t, yamlBlock.FindStringSubmatch(text)[1])
	file = regexp.MustCompile(`(?m)^    resource: .*\n`).ReplaceAllString(file, "") // as for a Logto of one's own
	file = strings.NewReplacer("https://tenant.logto.app/", k.URL, "m4k7q1", k.ManagementID).Replace(file)
	secret := regexp.MustCompile(`(?m)^    app_secret_file: (\S+)`).FindStringSubmatch(file)
	if secret == nil {
		t.Fatal("docs/logto.md names no file with the secret of the machine-to-machine application")
	}
	if err := os.WriteFile(secret[1], []byte(k.ManagementSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Options{Path: filepath.Join(t.TempDir(), "portero.yaml"), Text: []byte(file), Setup: true})
	if err != nil {
		t.Fatalf("%v\n%s", err, file)
	}
	client, err := setup.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	desired := setup.NewDesired(c)
	state, err := setup.Read(t.Context(), client, desired)
	if err != nil {
		t.Fatal(err)
	}
	plan := setup.NewPlan(desired, state, setup.Options{}).String()
	told := strings.Split(plan, "\n")
	_, after, _ := strings.Cut(text, "\nLines begin with `+`")
	shown := regexp.MustCompile(`(?m)^[+~-] .*$`).FindAllString(fence.FindString(after), -1)
	if len(shown) == 0 {
		t.Fatal("docs/logto.md shows no plan")
	}
	for _, line := range shown {
		at := slices.Index(told, line)
		if at < 0 {
			t.Fatalf("docs/logto.md: %q is not in the plan, or not at this place:\n%s", line, plan)
		}
		told = told[at+1:]
	}
}

// A metric that a text names is one that is counted.
func TestMetricsInTheTextsExist(t *testing.T) {
	t.Parallel()
	source := read(t, "telemetry/metrics.go")
	for name, text := range texts(t) {
		for _, m := range metric.FindAllString(text, -1) {
			if !strings.Contains(source, `"`+m+`"`) && !strings.Contains(source, `"`+strings.TrimPrefix(m, "portero_")+`"`) {
				t.Errorf("%s names the metric %s, which is not there", name, m)
			}
		}
	}
}
