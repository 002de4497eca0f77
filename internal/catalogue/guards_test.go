package catalogue_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

var takeGuards = flag.Bool("guards", false, "take the guards out of the program, one at a time, and see whether an attack gets in")

// guard is one place of the program that keeps somebody out: a strip, a comparison, a limit.
type guard struct {
	File     string   // below internal
	Old, New string   // the text that stands there once, and the program without the guard
	Attacks  []string // those that try it: one of them has to get in
	Inside   bool     // they run on a gateway inside the test
}

// String names a guard by its file and the words that are taken away.
func (g guard) String() string {
	return g.File + ": " + strings.Join(strings.Fields(g.Old), " ")
}

// source is the file's text, which has to have the guard's once.
func (g guard) source(t *testing.T) (path, text string) {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", filepath.FromSlash(g.File)))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(raw), g.Old); n != 1 {
		t.Errorf("%s: the text is there %d times, want once", g, n)
	}
	return path, string(raw)
}

// TestGuardsAreThere keeps the list true: each guard stands where it is said to, and the attacks named for it exist.
func TestGuardsAreThere(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, f := range families {
		for _, a := range f.Attacks {
			known[a.ID] = a.Test != nil
		}
	}
	for _, g := range guards {
		g.source(t)
		if g.Old == g.New || len(g.Attacks) == 0 {
			t.Errorf("%s: nothing is taken away, or nothing tries it", g)
		}
		for _, id := range g.Attacks {
			if !known[id] {
				t.Errorf("%s: the attack %s is not there, or is not tried", g, id)
			}
		}
	}
}

// TestGuards takes each guard away and runs the attacks that are named for it, until one gets in:
//
//	go test ./internal/catalogue -run TestGuards$ -guards -v -timeout 60m
//
// It prints guard and attack. Nothing in the tree is changed: the compiler is shown another text of one file.
func TestGuards(t *testing.T) {
	if !*takeGuards {
		t.Log("nothing is taken away without -guards")
		return
	}
	began := time.Now()
	for _, g := range guards {
		t.Run(g.String(), func(t *testing.T) {
			t.Parallel()
			if id := g.missed(t); id == "" {
				t.Errorf("nobody misses it: %s does well without", strings.Join(g.Attacks, ", "))
			} else {
				t.Logf("%s misses it", id)
			}
		})
	}
	t.Cleanup(func() { t.Logf("%d guards in %s", len(guards), time.Since(began).Round(time.Second)) })
}

// missed is the first of the guard's attacks that fails without it; "": none does.
func (g guard) missed(t *testing.T) string {
	t.Helper()
	path, text := g.source(t)
	dir := t.TempDir()
	other, overlay := filepath.Join(dir, "other.go"), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]any{"Replace": map[string]string{path: other}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{other: []byte(strings.Replace(text, g.Old, g.New, 1)), overlay: list} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(name string, args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Env = append(gatewaytest.Environment(), "PORTERO_TEST_REAL=1", "PORTERO_TEST_PROGRAM="+filepath.Join(dir, "portero"))
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	tests, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	builds := [][]string{{"build", "-overlay", overlay, "-o", filepath.Join(dir, "portero"), "portero/cmd/portero"}}
	if g.Inside {
		tests = filepath.Join(dir, "tests")
		builds = append(builds, []string{"test", "-c", "-overlay", overlay, "-o", tests, "portero/internal/catalogue"})
	}
	for _, args := range builds {
		if out, err := run("go", args...); err != nil {
			t.Fatalf("%s does not build without it: %v\n%s", g.File, err, out)
		}
	}
	for _, id := range g.Attacks {
		family, _, _ := strings.Cut(id, "-")
		out, err := run(tests, "-test.run", fmt.Sprintf("^TestCatalogue$/^%s$/^%s$", family, id), "-test.v", "-test.timeout", "3m")
		if err != nil && strings.Contains(out, "panic: test timed out") && strings.Contains(out, "TestCatalogue/"+family+"/"+id) {
			return id // it waits for what does not come without the guard
		}
		if !slices.Contains(regexp.MustCompile(`(?m)^\s*--- (?:PASS|FAIL): TestCatalogue/\w+/([A-Z0-9]+-\d+) `).FindStringSubmatch(out), id) {
			t.Fatalf("%s has not run: %v\n%s", id, err, out)
		}
		if err != nil {
			return id
		}
	}
	return ""
}
