package config_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"portero/internal/config"
)

var update = flag.Bool("update", false, "write the golden files")

// canary is the secret of the tests: it must never be printed.
const canary = "canary-7d1f0b2c-app-secret"

// base is the least configuration that loads, one section in each element.
var base = []string{
	"upstream: http://127.0.0.1:8080",
	"email_domains: [example.com]",
	"logto: {endpoint: https://tenant.logto.app/, app_id: abc, app_secret: " + canary + "}",
}

// with is base with some sections replaced or added. A section "-name" is left out.
func with(sections ...string) string {
	name := func(s string) string { n, _, _ := strings.Cut(strings.TrimPrefix(s, "-"), ":"); return n }
	var out []string
	for _, b := range base {
		if !slices.ContainsFunc(sections, func(s string) bool { return name(s) == name(b) }) {
			out = append(out, b)
		}
	}
	for _, s := range sections {
		if !strings.HasPrefix(s, "-") {
			out = append(out, s)
		}
	}
	return strings.Join(out, "\n") + "\n"
}

// routes is base with these routes instead of its upstream.
func routes(list string, more ...string) string {
	return with(append([]string{"-upstream", "routes:\n" + list}, more...)...)
}

func load(t *testing.T, text string, env ...string) (*config.Config, error) {
	t.Helper()
	return config.Load(config.Options{Path: "portero.yaml", Text: []byte(text), Env: env, WorkDir: t.TempDir()})
}

func mustLoad(t *testing.T, text string, env ...string) *config.Config {
	t.Helper()
	c, err := load(t, text, env...)
	if err != nil {
		t.Fatalf("loading\n%s\n%v", text, err)
	}
	return c
}

// wantProblem checks that one problem begins with prefix and has all the parts, and that no problem has the canary.
func wantProblem(t *testing.T, err error, prefix string, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no problem, want one that begins with %q", prefix)
	}
	if strings.Contains(err.Error(), canary) {
		t.Errorf("a secret is quoted: %v", err)
	}
	for line := range strings.Lines(err.Error()) {
		if !strings.HasPrefix(line, prefix) {
			continue
		}
		missing := false
		for _, p := range parts {
			missing = missing || !strings.Contains(line, p)
		}
		if !missing {
			return
		}
	}
	t.Errorf("got\n%v\nwant a line that begins with %q and has %q", err, prefix, parts)
}

func write(t *testing.T, name, content string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return name
}
