package importer

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"go.yaml.in/yaml/v3"
)

// setting is the value of one option, as texts.
type setting struct {
	values []string
	list   bool // it was written as a list: commas in its elements are theirs
}

// settings are the options that were set. // :: name of the option → value
type settings map[string]setting

// text is the last value of an option; "" if it was not set.
func (s settings) text(name string) string {
	if v := s[name].values; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// all are the values of an option that takes several, each once, without empty ones.
func (s settings) all(name string) []string {
	v := s[name]
	var out []string
	for _, value := range v.values {
		parts := []string{value}
		if !v.list {
			parts = strings.Split(value, ",")
		}
		for _, part := range parts {
			if part != "" && !slices.Contains(out, part) { // blanks count there: an element with one matches nobody
				out = append(out, part)
			}
		}
	}
	return out
}

// is says whether an option is on; standard is what counts where it was not set or is no truth value.
func (s settings) is(name string, standard bool) bool {
	if on, err := strconv.ParseBool(strings.TrimSpace(s.text(name))); err == nil {
		return on
	}
	return standard
}

func (s settings) has(name string) bool { _, ok := s[name]; return ok }

// sorted are the names of the options.
func (s settings) sorted() []string { return slices.Sorted(maps.Keys(s)) }

func checkText(text []byte) error {
	if len(text) > maxInput || !utf8.Valid(text) {
		return errNotText
	}
	return nil
}

// readTOML flattens a TOML file: names of tables and keys are joined by dots, in lower case if fold.
func readTOML(text []byte, fold bool) (settings, error) {
	if err := checkText(text); err != nil {
		return nil, err
	}
	var root map[string]any
	if err := toml.Unmarshal(text, &root); err != nil {
		var where *toml.DecodeError
		if errors.As(err, &where) { // its text may quote the file
			row, _ := where.Position()
			return nil, fmt.Errorf("line %d: is not TOML; check the quotes, the brackets and the equals signs around here", row)
		}
		return nil, errors.New("is not TOML; check the quotes, the brackets and the equals signs")
	}
	out := settings{}
	var flatten func(prefix string, value any)
	flatten = func(prefix string, value any) {
		switch v := value.(type) {
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(v)) {
				below := name
				if fold {
					below = strings.ToLower(name)
				}
				if prefix != "" {
					below = prefix + "." + below
				}
				flatten(below, v[name])
			}
		case []any:
			s := setting{list: true}
			for _, element := range v {
				s.values = append(s.values, fmt.Sprint(element))
			}
			out[prefix] = s
		default:
			out[prefix] = setting{values: []string{fmt.Sprint(v)}}
		}
	}
	flatten("", root)
	return out, nil
}

// readEnv reads lines of KEY=VALUE, as container tools do: no quotes are taken away but a pair around the whole value. A
// variable without a value is none: it does not take away what a file restricts.
func readEnv(text []byte) (settings, error) {
	if err := checkText(text); err != nil {
		return nil, err
	}
	out := settings{}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		line = strings.TrimPrefix(line, "export ")
		name, value, ok := strings.Cut(line, "=")
		if name = strings.TrimSpace(name); !ok || name == "" || strings.ContainsAny(name, " \t\"'") {
			return nil, fmt.Errorf("line %d: is not KEY=VALUE; write one variable on each line", i+1)
		}
		if n := len(value); n >= 2 && value[0] == value[n-1] && (value[0] == '"' || value[0] == '\'') {
			value = value[1 : n-1]
		}
		if value == "" {
			continue
		}
		out[name] = setting{values: []string{value}}
	}
	return out, nil
}

// readINI reads lines of NAME=VALUE, or of NAME VALUE as older versions had them. Names of sections are left out.
func readINI(text []byte) (settings, error) {
	if err := checkText(text); err != nil {
		return nil, err
	}
	out := settings{}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' || line[0] == '[' && line[len(line)-1] == ']' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if before, after, blank := strings.Cut(line, " "); !ok || blank && !strings.Contains(before, "=") && !strings.HasPrefix(strings.TrimSpace(after), "=") {
			if !blank {
				return nil, fmt.Errorf("line %d: is not NAME=VALUE; write one option on each line", i+1)
			}
			name, value = before, after
		}
		value = strings.TrimSpace(value)
		if strings.HasPrefix(value, `"`) {
			unquoted, err := strconv.Unquote(value)
			if err != nil {
				return nil, fmt.Errorf("line %d: has a quotation mark that does not end; write one at the end of the value", i+1)
			}
			value = unquoted
		}
		name = strings.TrimSpace(name)
		out[name] = setting{values: append(out[name].values, value)}
	}
	return out, nil
}

// flag says how a flag's name becomes an option's, and whether it stands without a value and takes commas apart.
type flag func(name string) (option string, truth, list bool)

// readArgs reads flags: --name=value, --name value, and --name of those that are on or off. What is no flag is told.
func (d *draft) readArgs(args []string, known flag) settings {
	out := settings{}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if !strings.HasPrefix(arg, "-") || strings.Trim(arg, "-") == "" {
			if i > 0 || strings.HasPrefix(arg, "-") { // the first may be the program
				d.note("the command line", "has a word that belongs to no flag; write flags as --name=value")
			}
			continue
		}
		name, value, given := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		option, truth, list := known(name)
		switch {
		case given:
		case truth:
			value = "true"
		case i+1 < len(args) && !strings.HasPrefix(args[i+1], "-"):
			i++
			value = args[i]
		}
		s := out[option]
		if list {
			s.list = true
			s.values = append(s.values, commas(value)...)
		} else {
			s.values = append(s.values, value)
		}
		out[option] = s
	}
	return out
}

// commas takes the value of a flag for a list apart, as the flags of the other proxies do.
func commas(value string) []string {
	parts, err := csv.NewReader(strings.NewReader(value)).Read()
	if err != nil {
		return []string{value}
	}
	return parts
}

// SplitArgs takes a file with flags apart: words between blanks and ends of lines, with ' " and \ as a shell reads them,
// and comments from # on.
func SplitArgs(text []byte) ([]string, error) {
	if err := checkText(text); err != nil {
		return nil, err
	}
	var args []string
	var word strings.Builder
	inWord, quote := false, rune(0)
	runes := []rune(string(text))
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		switch {
		case quote == '\'' && r != '\'', quote == '"' && r != '"' && r != '\\':
			word.WriteRune(r)
		case quote != 0 && r == quote:
			quote = 0
		case r == '\\' && i+1 < len(runes):
			if i++; runes[i] == '\n' {
				continue
			}
			if quote == '"' && !strings.ContainsRune("\"\\$`", runes[i]) {
				word.WriteRune('\\')
			}
			word.WriteRune(runes[i])
			inWord = true
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == '#' && !inWord:
			for i+1 < len(runes) && runes[i+1] != '\n' {
				i++
			}
		case strings.ContainsRune(" \t\r\n", r):
			if inWord {
				args = append(args, word.String())
			}
			word.Reset()
			inWord = false
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, errors.New("has a quotation mark that does not end; write one at the end of the value")
	}
	if inWord {
		args = append(args, word.String())
	}
	return args, nil
}

// tree is a YAML document: a text, a list, or fields. Names of fields are as they were written.
type tree struct {
	text   string
	list   []*tree
	names  []string
	fields map[string]*tree // nil: no section
	twice  []string         // names that stand there more than once; the first counts
}

// readYAML reads one document. A file without anything in it is a tree without fields.
func readYAML(text []byte) (*tree, error) {
	if err := checkText(text); err != nil {
		return nil, err
	}
	var document yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&document); err != nil && len(bytes.TrimSpace(text)) > 0 {
		return nil, errors.New("is not YAML; check the indentation, the colons and the quotes")
	}
	if len(document.Content) == 0 {
		return &tree{fields: map[string]*tree{}}, nil
	}
	root, err := toTree(document.Content[0], 0)
	if err != nil {
		return nil, err
	}
	if root.fields == nil && (root.text != "" || root.list != nil) {
		return nil, errors.New("has no keys at its top; give the right file")
	}
	return root, nil
}

const maxDepth = 50

func toTree(n *yaml.Node, depth int) (*tree, error) {
	if depth > maxDepth {
		return nil, errors.New("is nested too deeply")
	}
	t := &tree{}
	switch n.Kind {
	case yaml.ScalarNode:
		if n.ShortTag() != "!!null" {
			t.text = n.Value
		}
	case yaml.SequenceNode:
		t.list = []*tree{}
		for _, element := range n.Content {
			below, err := toTree(element, depth+1)
			if err != nil {
				return nil, err
			}
			t.list = append(t.list, below)
		}
	case yaml.MappingNode:
		t.fields = map[string]*tree{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			below, err := toTree(n.Content[i+1], depth+1)
			if err != nil {
				return nil, err
			}
			name := n.Content[i].Value
			if n.Content[i].Kind != yaml.ScalarNode {
				return nil, fmt.Errorf("line %d: has a key that is no word; write `name: value`", n.Content[i].Line)
			}
			if _, there := t.fields[name]; there {
				t.twice = append(t.twice, name)
				continue
			}
			t.names, t.fields[name] = append(t.names, name), below
		}
	default:
		return nil, fmt.Errorf("line %d: is an alias (*); write the value out", n.Line)
	}
	return t, nil
}

// flatten gives the values under their dotted names in lower case, as vouch reads them.
func (t *tree) flatten(prefix string, out settings, twice func(string)) {
	for _, name := range t.twice {
		twice(join(prefix, strings.ToLower(name)))
	}
	for _, name := range t.names {
		below, value := join(prefix, strings.ToLower(name)), t.fields[name]
		switch {
		case len(value.fields) > 0:
			value.flatten(below, out, twice)
		case value.list != nil:
			s := setting{list: true}
			for _, element := range value.list {
				s.values = append(s.values, element.text)
			}
			out[below] = s
		case value.fields == nil && value.text != "":
			out[below] = setting{values: []string{value.text}}
		}
	}
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}

// merge puts what stands over it over the settings.
func (s settings) merge(over settings) { maps.Copy(s, over) }
