// Package internal_test holds the checks that concern all packages: the layers of the map, and that each package
// says what it owns.
package internal_test

import (
	"bufio"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// readLayers reads the list in README.md. // :: package → layer
func readLayers(t *testing.T) map[string]int {
	t.Helper()
	f, err := os.Open("README.md")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	layers, inside := map[string]int{}, false
	for s := bufio.NewScanner(f); s.Scan(); {
		line := s.Text()
		switch {
		case line == "```layers":
			inside = true
		case line == "```":
			inside = false
		case inside:
			words := strings.Fields(line)
			n, err := strconv.Atoi(words[0])
			if err != nil {
				t.Fatalf("layer line %q does not begin with a number", line)
			}
			for _, name := range words[1:] {
				layers[name] = n
			}
		}
	}
	if len(layers) == 0 {
		t.Fatal("README.md lists no layers")
	}
	return layers
}

// source is one Go file that is no test.
type source struct {
	pkg, path string
	imports   []string
	doc       string
}

func readSources(t *testing.T, root string) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		s := source{pkg: filepath.ToSlash(filepath.Dir(path)), path: filepath.ToSlash(path), doc: f.Doc.Text()}
		for _, i := range f.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			s.imports = append(s.imports, name)
		}
		out = append(out, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestImportsRunOneWay(t *testing.T) {
	layers := readLayers(t)
	for _, s := range readSources(t, ".") {
		mine, listed := layers[s.pkg]
		if !listed {
			t.Errorf("%s: the package %s is in no layer of README.md", s.path, s.pkg)
			continue
		}
		for _, name := range s.imports {
			other, ours := strings.CutPrefix(name, "portero/internal/")
			if !ours || strings.HasPrefix(s.pkg, other+"/") {
				continue
			}
			if theirs, ok := layers[other]; !ok || theirs >= mine {
				t.Errorf("%s: %s (layer %d) imports %s (layer %d)", s.path, s.pkg, mine, other, theirs)
			}
			if other == "config" && mine < 6 {
				t.Errorf("%s: imports config, which is for layer 6 and above", s.path)
			}
		}
	}
}

func TestEveryLayeredPackageExists(t *testing.T) {
	for name := range readLayers(t) {
		if _, err := os.Stat(name); err != nil {
			t.Errorf("README.md lists %s, which is not there", name)
		}
	}
}

func TestOneImporter(t *testing.T) {
	only := map[string]string{ // :: module → the one place that may import it
		"github.com/spf13/viper":    "config/load.go",
		"github.com/logto-io/go/v2": "logto/",
	}
	for _, s := range readSources(t, ".") {
		for _, name := range s.imports {
			for module, place := range only {
				if (name == module || strings.HasPrefix(name, module+"/")) && !strings.HasPrefix(s.path, place) {
					t.Errorf("%s imports %s, which only %s may", s.path, module, place)
				}
			}
		}
	}
}

func TestEveryPackageSaysWhatItOwns(t *testing.T) {
	docs := map[string]bool{}
	for _, root := range []string{".", "../cmd"} {
		for _, s := range readSources(t, root) {
			docs[s.pkg] = docs[s.pkg] || strings.HasPrefix(s.doc, "Package ") || strings.HasPrefix(s.doc, "Command ")
		}
	}
	for pkg, ok := range docs {
		if !ok {
			t.Errorf("%s has no package comment", pkg)
		}
	}
}

// section is the text of the map under a heading, up to the next one of the same level.
func section(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("README.md has no section %q", heading)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	return rest
}

// firstCells are the first cells of the tables in a text, where they are code.
func firstCells(text string) []string {
	var out []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	return out
}

func TestTheMapSaysWhatEachPackageOwns(t *testing.T) {
	told := firstCells(section(t, "What each package owns"))
	layers := readLayers(t)
	for name := range layers {
		if !slices.Contains(told, name) {
			t.Errorf("README.md does not say what %s owns", name)
		}
	}
	for _, name := range told {
		if _, there := layers[name]; !there {
			t.Errorf("README.md says what %s owns, which is in no layer", name)
		}
	}
}

// Every rule and invariant names places that are there and tests that are there.
func TestRulesNamePlacesAndTests(t *testing.T) {
	tests := map[string]bool{} // :: package.Test → true
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(filepath.Dir(path))
		if pkg == "." {
			pkg = "internal"
		}
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Example)\w*)\(`).FindAllStringSubmatch(string(text), -1) {
			tests[pkg+"."+m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile("`([^`]+)`")
	rows := 0
	for line := range strings.SplitSeq(section(t, "Rules and invariants"), "\n") {
		cells := strings.Split(line, " | ")
		if len(cells) != 4 || !strings.HasPrefix(line, "| ") || cells[0] == "| " {
			continue
		}
		number, err := strconv.Atoi(strings.TrimPrefix(cells[0], "| "))
		if err != nil {
			continue
		}
		rows++
		named := code.FindAllStringSubmatch(cells[3], -1)
		if len(named) == 0 {
			t.Errorf("%d %s: no test is named", number, cells[1])
		}
		for _, m := range named {
			name := m[1]
			if !strings.Contains(name, ".") {
				name = "gateway." + name
			}
			if !tests[name] {
				t.Errorf("%d %s: there is no test %s", number, cells[1], name)
			}
		}
		for _, m := range code.FindAllStringSubmatch(cells[2], -1) {
			if !strings.HasSuffix(m[1], ".go") {
				continue
			}
			if _, err := os.Stat(m[1]); err != nil {
				t.Errorf("%d %s: there is no %s", number, cells[1], m[1])
			}
		}
	}
	if rows != 20+12 {
		t.Errorf("rows: got %d, want twenty rules and twelve invariants", rows)
	}
}

// Every module that a file of ours imports has a line that says what it saves, and no other has.
func TestEveryDependencySaysWhatItSaves(t *testing.T) {
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	var modules []string
	for _, m := range regexp.MustCompile(`(?m)^\t(\S+) v\S+`).FindAllStringSubmatch(string(mod), -1) {
		modules = append(modules, m[1])
	}
	imported := map[string]bool{}
	for _, root := range []string{".", "../cmd"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
				return err
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			for _, i := range f.Imports {
				name, err := strconv.Unquote(i.Path.Value)
				if err != nil {
					return err
				}
				for _, module := range modules {
					if name == module || strings.HasPrefix(name, module+"/") {
						imported[module] = true
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	told := firstCells(section(t, "Dependencies"))
	for module := range imported {
		if !slices.Contains(told, module) {
			t.Errorf("README.md does not say what %s saves", module)
		}
	}
	for _, module := range told {
		if !imported[module] {
			t.Errorf("README.md says what %s saves, which nothing imports", module)
		}
	}
}
