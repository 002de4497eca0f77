package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxSize is how large a configuration file may be.
const maxSize = 1 << 20

// readFile reads the file into the settings of the sections. // :: name → *setting, or a map of the same kind
func (d *decoder) readFile(o Options) map[string]any {
	content := o.Text
	if content == nil {
		if o.Path == "" {
			return map[string]any{}
		}
		var err error
		if content, err = readLimited(absolute(o.WorkDir, o.Path), maxSize); err != nil {
			d.unread(0, readError(err, "1 MiB"))
			return nil
		}
	}
	root := d.parse(content)
	if root == nil {
		return map[string]any{}
	}
	d.walk(root, "")
	return d.collect(d.root, root)
}

// unread is a problem after which nothing can be said about the rest.
func (d *decoder) unread(line int, message string) {
	d.unreadable = true
	d.problems = append(d.problems, Problem{Source: d.file, Line: line, Message: message, place: inFile})
}

var errTooLarge = errors.New("too large")

func readLimited(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, errors.New("is a folder")
	}
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = errTooLarge
	}
	return content, err
}

// readError says why a file cannot be read, without its name.
func readError(err error, limit string) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such file; write the name of one that exists"
	case errors.Is(err, fs.ErrPermission):
		return "the file cannot be read: permission denied; let the user of this process read it"
	case errors.Is(err, errTooLarge):
		return "the file is larger than " + limit + "; write a smaller one"
	}
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err
	}
	return "the file cannot be read: " + err.Error()
}

// parse returns the top of the document, nil if there is nothing in it or it cannot be parsed.
func (d *decoder) parse(content []byte) *yaml.Node {
	if !utf8.Valid(content) {
		valid := 0
		for valid < len(content) {
			r, size := utf8.DecodeRune(content[valid:])
			if r == utf8.RuneError && size == 1 {
				break
			}
			valid += size
		}
		d.unread(1+bytes.Count(content[:valid], []byte("\n")), "has bytes that are not UTF-8; save the file as UTF-8")
		return nil
	}
	y := yaml.NewDecoder(bytes.NewReader(content))
	var document, second yaml.Node
	if err := y.Decode(&document); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		d.syntaxError(content, err)
		return nil
	}
	if err := y.Decode(&second); !errors.Is(err, io.EOF) {
		d.unread(max(second.Line, 1), "begins a second document; keep one")
		return nil
	}
	if lines := tabbed(content, &document); len(lines) > 0 {
		d.tabs(lines)
		return nil
	}
	if len(document.Content) == 0 || isNull(document.Content[0]) {
		return nil
	}
	top := document.Content[0]
	if top.Kind != yaml.MappingNode && top.Kind != yaml.AliasNode {
		d.unread(top.Line, "is not a list of keys with values; begin with a key, like `listen: 127.0.0.1:3000`")
		return nil
	}
	return top
}

var (
	yamlLine   = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)
	yamlQuoted = regexp.MustCompile("'[^']*'|\"[^\"]*\"|`[^`]*`")
)

// syntaxError is what the parser says. Its messages quote names of anchors and tags at most; even these are left out.
func (d *decoder) syntaxError(content []byte, err error) {
	if lines := tabbed(content, nil); len(lines) > 0 {
		d.tabs(lines)
		return
	}
	message, line := err.Error(), 1
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		message = message[len(m[0]):]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
	}
	message = yamlQuoted.ReplaceAllString(message, "…")
	d.unread(line, "is not YAML: "+message+"; check the indentation, the colons and the quotes around here")
}

func (d *decoder) tabs(lines []int) {
	for _, line := range lines {
		d.unread(line, "is indented with a tab; write spaces")
	}
}

// tabbed lists the lines that are indented with a tab, save those of block texts, where a tab is part of the text.
func tabbed(content []byte, document *yaml.Node) []int {
	inText := map[int]bool{}
	var visit func(*yaml.Node)
	visit = func(n *yaml.Node) {
		if n.Kind == yaml.ScalarNode && n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
			for i := range strings.Count(n.Value, "\n") + 2 {
				inText[n.Line+i] = true
			}
		}
		for _, child := range n.Content {
			visit(child)
		}
	}
	if document != nil {
		visit(document)
	}
	var lines []int
	for i, line := range bytes.Split(content, []byte("\n")) {
		indent := line[:len(line)-len(bytes.TrimLeft(line, " \t"))]
		if bytes.ContainsRune(indent, '\t') && len(bytes.TrimSpace(line)) > 0 && !inText[i+1] {
			lines = append(lines, i+1)
		}
	}
	return lines
}

// walk remembers where every key stands, and refuses what no key may have.
func (d *decoder) walk(n *yaml.Node, path string) {
	if _, known := d.places[path]; !known {
		d.places[path] = &setting{node: n, place: inFile, source: d.file, line: n.Line}
	}
	switch {
	case n.Kind == yaml.AliasNode:
		d.problem(path, "is an alias (*); aliases are not read, write the value out")
		d.bad[path] = true
		return
	case n.Anchor != "":
		d.problem(path, "has an anchor (&); anchors are not read, remove it")
	case n.Style&yaml.TaggedStyle != 0:
		d.problem(path, "has a tag (!); tags are not read, remove it")
		d.bad[path] = true
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for i, element := range n.Content {
			d.walk(element, fmt.Sprintf("%s[%d]", path, i))
		}
	case yaml.MappingNode:
		first := map[string]int{} // :: name in lower case → line
		for i := 0; i+1 < len(n.Content); i += 2 {
			name, value := n.Content[i], n.Content[i+1]
			if name.Kind != yaml.ScalarNode {
				d.at(name.Line, path, "has a key that is no word; write `name: value`")
				continue
			}
			if name.ShortTag() == "!!merge" {
				d.at(name.Line, path, "has a merge key (<<); merge keys are not read, write the values out")
				continue
			}
			below := join(path, name.Value)
			folded := strings.ToLower(name.Value)
			if line, twice := first[folded]; twice {
				d.at(name.Line, below, fmt.Sprintf("is there twice, in line %d already; keep one of them", line))
				continue
			}
			first[folded] = name.Line
			d.places[below] = &setting{node: value, place: inFile, source: d.file, line: name.Line}
			d.walk(value, below)
		}
	}
}

// collect gives the settings of a section's keys, and refuses keys that do not exist.
func (d *decoder) collect(k *key, n *yaml.Node) map[string]any {
	found := map[string]any{}
	d.pairs(k, n, k.path, func(child *key, place *setting) {
		if d.skip(child) {
			return
		}
		if child.kind != section {
			found[child.name] = place
			return
		}
		if d.isSection(place, child.path) {
			found[child.name] = d.collect(child, place.node)
		}
	})
	return found
}

// isSection says whether the node has keys. Nothing at all is a section without keys: everything in it was commented out.
func (d *decoder) isSection(s *setting, path string) bool {
	switch {
	case d.bad[path] || isNull(s.node):
		return false
	case s.node.Kind != yaml.MappingNode:
		d.problem(path, "is %s; write keys below it, one on each line", describeNode(s.node))
		return false
	}
	return true
}

// pairs calls visit for the keys of a section that exist, and refuses the others.
func (d *decoder) pairs(k *key, n *yaml.Node, path string, visit func(*key, *setting)) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i]
		if name.Kind != yaml.ScalarNode || name.ShortTag() == "!!merge" {
			continue // walk has said so
		}
		below := join(path, name.Value)
		child := k.field(name.Value)
		if child == nil {
			d.at(name.Line, below, "is not a key; "+d.suggest(k, name.Value))
			continue
		}
		if place := d.places[below]; place != nil && place.node == n.Content[i+1] { // else it is there twice
			visit(child, place)
		}
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// describeNode says what a node is, without quoting it.
func describeNode(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a section with keys"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "without a value"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	case "!!timestamp":
		return "a date"
	}
	return "a text"
}
