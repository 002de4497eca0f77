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
