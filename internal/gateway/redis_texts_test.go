package gateway_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"portero/internal/config"
	"portero/internal/redistest"
)

// What the texts tell operators to write about Redis works.

func textOf(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// withFiles puts real files where an example has those of a container.
func withFiles(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	return regexp.MustCompile(`/run/secrets/[a-z_./-]+`).ReplaceAllStringFunc(text, func(name string) string {
		file := filepath.Join(dir, strings.ReplaceAll(strings.TrimPrefix(name, "/run/secrets/"), "/", "-"))
		content := firstSecret
		if strings.Contains(name, "url") {
			content = "redis://portero:9vJ2mQ7xT4cK@redis:6379/0"
		}
		if err := os.WriteFile(file, []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	})
}

// loadWith loads a configuration with the least that one needs beside.
func loadWith(t *testing.T, text string, env ...string) *config.Config {
	t.Helper()
	c, err := config.Load(config.Options{
		Path: filepath.Join(t.TempDir(), "portero.yaml"), Text: []byte(withFiles(t, text)),
		Env: append(env, "PORTERO_UPSTREAM=http://wiki:8080", "PORTERO_EMAIL_DOMAINS=example.com", "PORTERO_LOGTO_ENDPOINT=https://tenant.logto.app/",
			"PORTERO_LOGTO_APP_ID=k2x9w4", "PORTERO_LOGTO_APP_SECRET=Zq3vT8yN5wR1"),
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return c
}

func TestRedisPartsOfTheTextLoad(t *testing.T) {
	t.Parallel()
	text := textOf(t, "docs/sessions.md")
	blocks := regexp.MustCompile("(?m)^ *```\n( *session:\n(?: .*\n)+?) *```").FindAllStringSubmatch(text, -1)
	if len(blocks) != 4 {
		t.Errorf("got %d parts of a configuration, want those for Sentinel, a cluster, and two for another secret", len(blocks))
	}
	for _, block := range blocks {
		lines := strings.SplitAfter(block[1], "\n")
		indent := len(lines[0]) - len(strings.TrimLeft(lines[0], " "))
		var part strings.Builder
		for _, line := range lines {
			part.WriteString(line[min(indent, len(line)):])
		}
		env := []string{"PORTERO_SESSION_STORE=redis"}
		if !strings.Contains(part.String(), "secret_file") {
			env = append(env, "PORTERO_SESSION_SECRET="+firstSecret)
		}
		loadWith(t, part.String(), env...)
	}

	kubernetes := regexp.MustCompile("(?s)```\n(spec:.*?)```").FindStringSubmatch(text)
	if kubernetes == nil {
		t.Fatal("the text has nothing for Kubernetes")
	}
	var deployment struct {
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct {
						Env []struct{ Name, Value string }
					}
				}
			}
		}
	}
	if err := yaml.Unmarshal([]byte(withFiles(t, kubernetes[1])), &deployment); err != nil {
		t.Fatal(err)
	}
	var env []string
	for _, variable := range deployment.Spec.Template.Spec.Containers[0].Env {
		env = append(env, variable.Name+"="+variable.Value)
	}
	if c := loadWith(t, "{}", env...); c.Session.Store != config.StoreRedis {
		t.Errorf("on Kubernetes: got store %s, want redis", c.Session.Store)
	}
}

// The example for containers is one configuration with the one it stands on, and its user is that of the text.
func TestRedisComposeFile(t *testing.T) {
	t.Parallel()
	type file struct {
		Services map[string]struct {
			Environment map[string]string
			Command     string
			Ports       []string
			Secrets     []string
		}
		Secrets map[string]any
	}
	text := textOf(t, "deploy/docker-compose.redis.yaml")
	var below, above file
	for name, into := range map[string]*file{textOf(t, "deploy/docker-compose.yaml"): &below, text: &above} {
		if err := yaml.Unmarshal([]byte(name), into); err != nil {
			t.Fatal(err)
		}
	}
	env := below.Services["portero"].Environment
	maps.Copy(env, above.Services["portero"].Environment)
	given := append(below.Services["portero"].Secrets, above.Services["portero"].Secrets...)
	maps.Copy(below.Secrets, above.Secrets)
	var pairs []string
	for name, value := range env {
		if secret, ok := strings.CutPrefix(value, "/run/secrets/"); ok && (!slices.Contains(given, secret) || below.Secrets[secret] == nil) {
			t.Errorf("%s: no secret %s is given to the service", name, secret)
		}
		pairs = append(pairs, name+"="+withFiles(t, value))
	}
	c, err := config.Load(config.Options{Env: pairs, WorkDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if server := c.Session.Redis.Server(); c.Session.Store != config.StoreRedis || server.Address != "redis:6379" || len(above.Services["redis"].Ports) > 0 {
		t.Errorf("got store %s at %q, want redis at its service, which publishes no port", c.Session.Store, server.Address)
	}

	words, _ := userLine(t)
	users := regexp.MustCompile(`(?m)^#   (user .+)$`).FindAllStringSubmatch(text, -1)
	if len(users) != 2 {
		t.Fatalf("got %d users, want the default one and ours", len(users))
	}
	var lines []string
	for _, user := range users {
		lines = append(lines, strings.ReplaceAll(user[1], "$password", "9vJ2mQ7xT4cK"))
	}
	if got, want := lines[1], "user portero "+strings.Join(words, " "); got != want {
		t.Errorf("the user of the example is not that of the text:\ngot  %s\nwant %s", got, want)
	}
	// Redis takes the file, and the command's other arguments.
	acl := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(acl, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	command := strings.Fields(strings.ReplaceAll(above.Services["redis"].Command, "/run/secrets/redis_users", acl))
	server := redistest.Start(t, command[1:]...)
	redisRig(t, "redis://portero:9vJ2mQ7xT4cK@"+server.Addr+"/0").SignedIn(t, "/")
}
