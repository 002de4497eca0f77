package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"portero/internal/expression"
)

// setting is a value as it was written, and where.
type setting struct {
	node   *yaml.Node // for a value that is not from the file: a text, however it looks
	place  place
	source string
	line   int
}

func textSetting(value string, at place, source string) *setting {
	return &setting{node: &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}, place: at, source: source}
}

// standard is the default of a key; nil if that is the zero value.
func (k *key) standard() any {
	if k.value == "" {
		return nil
	}
	return &setting{node: mustParse(k.value), place: inDefaults}
}

func mustParse(value string) *yaml.Node {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(value), &document); err != nil {
		panic("config: " + err.Error())
	}
	return document.Content[0]
}

// decoder turns settings into a Config and collects what is wrong.
type decoder struct {
	root        *key
	only        []string
	setup       bool                // Options.Setup
	file        string              // name of the file in messages
	dir         string              // what names of files are relative to
	places      map[string]*setting // :: path of what was written, or of its first element … → where
	bad         map[string]bool     // :: path of a value that was refused: nothing more is said about it
	problems    []Problem
	warnings    []Problem
	takesTokens bool                           // a route takes access tokens of API clients
	expressions map[string]*expression.Program // :: text → what it is, of those that can be used
	unreadable  bool                           // the file says nothing: what is missing cannot be told
}

func newDecoder(o Options) *decoder {
	return &decoder{root: describe(), only: o.Only, setup: o.Setup, file: o.Path, dir: filepath.Clean(o.WorkDir),
		places: map[string]*setting{}, bad: map[string]bool{}, expressions: map[string]*expression.Program{}}
}

// at reports a problem in a line of the file.
func (d *decoder) at(line int, path, message string) {
	d.problems = append(d.problems, Problem{Source: d.file, Line: line, Key: path, Message: message, place: inFile})
}

// problem reports what is wrong with the value of a key, and that it cannot be used.
func (d *decoder) problem(path, format string, args ...any) {
	d.bad[path] = true
	d.problems = append(d.problems, d.locate(path, fmt.Sprintf(format, args...)))
}

func (d *decoder) warn(path, format string, args ...any) {
	d.warnings = append(d.warnings, d.locate(path, fmt.Sprintf(format, args...)))
}

func (d *decoder) locate(path, message string) Problem {
	return locate(d.file, d.places, path, message)
}

// locate finds where a key stands, or what it would stand in.
func locate(file string, places map[string]*setting, path, message string) Problem {
	for above := path; ; {
		if s := places[above]; s != nil && s.place != inDefaults {
			return Problem{Source: s.source, Line: s.line, Key: path, Message: message, place: s.place}
		}
		i := strings.LastIndexAny(above, ".[")
		if i < 0 {
			break
		}
		above = above[:i]
	}
	p := Problem{Source: file, Key: path, Message: message, place: inFile}
	if file != "" {
		p.Line = 1
	}
	return p
}

// wasSet says whether the key was written anywhere, as opposed to having its default.
func (d *decoder) wasSet(path string) bool {
	s := d.places[path]
	return s != nil && s.place != inDefaults
}

// decodeSection fills the struct v from the settings that get finds.
func (d *decoder) decodeSection(k *key, v reflect.Value, path string, get func(*key) *setting) {
	for _, f := range k.fields {
		below := join(path, f.name)
		if f.kind == section {
			d.decodeSection(f, v.Field(f.index), below, get)
			continue
		}
		s := get(f)
		if s == nil {
			continue
		}
		if s.place != inDefaults {
			d.places[below] = s
		}
		d.decode(f, v.Field(f.index), below, s)
		if f.later && s.place != inDefaults && !d.bad[below] && !f.isStandard(v.Field(f.index)) {
			d.problem(below, "is not available in this version; remove it")
		}
	}
}

// isStandard says whether the value is the key's default.
func (k *key) isStandard(v reflect.Value) bool {
	want := reflect.New(v.Type()).Elem()
	if s, ok := k.standard().(*setting); ok {
		newDecoder(Options{}).decode(k, want, k.path, s)
	}
	return v.IsZero() && want.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0 && want.Len() == 0 ||
		reflect.DeepEqual(v.Interface(), want.Interface())
}

// decodeElement fills one element of a list of sections.
func (d *decoder) decodeElement(k *key, v reflect.Value, path string, s *setting) {
	if !d.isSection(s, path) {
		if isNull(s.node) {
			d.problem(path, "is empty; write its keys, or remove it")
		}
		return
	}
	d.decodeNested(k, v, path, s.node)
}

func (d *decoder) decodeNested(k *key, v reflect.Value, path string, n *yaml.Node) {
	found := map[string]*setting{}
	if n != nil {
		d.pairs(k, n, path, func(f *key, s *setting) { found[f.name] = s })
	}
	for _, f := range k.fields {
		if f.kind != section {
			continue
		}
		below, s := join(path, f.name), found[f.name]
		if s != nil && d.isSection(s, below) {
			d.decodeNested(f, v.Field(f.index), below, s.node)
		} else {
			d.decodeNested(f, v.Field(f.index), below, nil)
		}
	}
	leaves := key{fields: slices.DeleteFunc(slices.Clone(k.fields), func(f *key) bool { return f.kind == section })}
	d.decodeSection(&leaves, v, path, func(f *key) *setting {
		if s := found[f.name]; s != nil {
			return s
		}
		s, _ := f.standard().(*setting)
		return s
	})
}

// decode fills one value.
func (d *decoder) decode(k *key, v reflect.Value, path string, s *setting) {
	if d.bad[path] {
		return
	}
	if isNull(s.node) {
		d.problem(path, "has no value; write one, or remove the key")
		return
	}
	switch {
	case k.kind == list:
		if s.node.Kind != yaml.SequenceNode {
			d.problem(path, "is %s; write a list, each element with a dash in front", describeNode(s.node))
			return
		}
		elements := reflect.MakeSlice(v.Type(), len(s.node.Content), len(s.node.Content))
		for i, n := range s.node.Content {
			below := fmt.Sprintf("%s[%d]", path, i)
			if s.place == inDefaults { // defaults were never walked
				d.decodeStandardElement(k, elements.Index(i), below, n)
				continue
			}
			d.decodeElement(k, elements.Index(i), below, d.places[below])
		}
		v.Set(elements)
	case k.takesList():
		d.decodeList(k, v, path, s)
	default:
		d.decodeScalar(k, v, path, s)
	}
}

// decodeStandardElement fills an element of a default, which has no place.
func (d *decoder) decodeStandardElement(k *key, v reflect.Value, path string, n *yaml.Node) {
	values := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		values[n.Content[i].Value] = n.Content[i+1]
	}
	d.decodeSection(&key{fields: k.fields}, v, path, func(f *key) *setting {
		if n := values[f.name]; n != nil {
			return &setting{node: n, place: inDefaults}
		}
		s, _ := f.standard().(*setting)
		return s
	})
}

// decodeList fills a list of scalars. From outside the file it is written with commas.
func (d *decoder) decodeList(k *key, v reflect.Value, path string, s *setting) {
	var elements []*yaml.Node
	switch {
	case s.place == inEnvironment || s.place == inFlags:
		for _, part := range strings.Split(s.node.Value, ",") {
			if part = strings.TrimSpace(part); part != "" {
				elements = append(elements, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: part})
			}
		}
	case s.node.Kind == yaml.SequenceNode:
		elements = s.node.Content
	case k.kind == names && s.node.Kind == yaml.ScalarNode:
		elements = []*yaml.Node{s.node}
	default:
		d.problem(path, "is %s; write a list, like [a, b]", describeNode(s.node))
		return
	}
	if v.Type() == reflect.TypeFor[[]netip.Prefix]() {
		networks := []netip.Prefix{}
		for i, n := range elements {
			below := fmt.Sprintf("%s[%d]", path, i)
			if value, ok := d.scalar(k, below, &setting{node: n, place: s.place}); ok {
				if network, message := parsePrefix(value); message != "" {
					d.problem(below, "%s", message)
				} else {
					networks = append(networks, network)
				}
			}
		}
		v.Set(reflect.ValueOf(networks))
		return
	}
	values := []string{}
	for i, n := range elements {
		below := fmt.Sprintf("%s[%d]", path, i)
		value, ok := d.scalar(k, below, &setting{node: n, place: s.place})
		switch {
		case !ok:
		case value == "":
			d.problem(below, "is empty; write a value, or remove it")
		case slices.Contains(values, value):
			d.problem(below, "%s is there twice; keep one", quote(value))
		default:
			values = append(values, value)
		}
	}
	v.Set(reflect.ValueOf(values).Convert(v.Type()))
}

func (d *decoder) decodeScalar(k *key, v reflect.Value, path string, s *setting) {
	value, ok := d.scalar(k, path, s)
	if !ok {
		return
	}
	switch k.kind {
	case text:
		v.SetString(value)
	case boolean:
		v.SetBool(value == "true")
	case number:
		n, err := strconv.Atoi(value)
		if err != nil {
			d.problem(path, "%s is no whole number; write one like 4096", quote(value))
			return
		}
		v.SetInt(int64(n))
	case duration:
		length, message := parseDuration(value)
		if message != "" {
			d.problem(path, "%s", message)
			return
		}
		v.SetInt(int64(length))
	case address:
		u, message := parseURL(value)
		if message != "" {
			d.problem(path, "%s", message)
			return
		}
		v.Set(reflect.ValueOf(u))
	case secret:
		parsed, err := parseSecret(value)
		if err != nil {
			d.problem(path, "%s", err.Error())
			return
		}
		v.Set(reflect.ValueOf(parsed))
	}
}

// scalar is the text of one value, if it is of the right type and admitted.
func (d *decoder) scalar(k *key, path string, s *setting) (string, bool) {
	n := s.node
	if d.bad[path] {
		return "", false
	}
	tag := n.ShortTag()
	literal := n.Value
	switch {
	case n.Kind != yaml.ScalarNode || tag == "!!null":
		d.problem(path, "is %s; write %s", describeNode(n), k.wanted())
		return "", false
	case k.kind == boolean:
		if literal = strings.ToLower(literal); s.place <= inFile && tag != "!!bool" || literal != "true" && literal != "false" {
			d.problem(path, "is not true or false; write true or false, without quotes")
			return "", false
		}
		return literal, true
	case k.kind == scalars:
	case k.kind == number && (tag == "!!int" || s.place > inFile):
	case k.kind == number:
		d.problem(path, "is %s; write a whole number, without quotes", describeNode(n))
		return "", false
	case k.kind == duration && tag == "!!int":
		d.problem(path, "%s has no unit; write %ss for seconds, or m or h", quote(literal), literal)
		return "", false
	case tag != "!!str" && k.kind == secret:
		d.problem(path, "is %s; write it in quotes", describeNode(n))
		return "", false
	case tag != "!!str":
		d.problem(path, "is %s; write it in quotes: %q", describeNode(n), literal)
		return "", false
	}
	if k.kind == secret {
		return literal, true
	}
	switch {
	case !utf8.ValidString(literal):
		d.problem(path, "is not UTF-8; write it as UTF-8")
	case strings.ContainsFunc(literal, func(r rune) bool {
		return unicode.IsControl(r) && !(k.free && (r == '\n' || r == '\t'))
	}):
		d.problem(path, "has control characters; remove them")
	case !k.free && isPlaceholder(literal):
		d.problem(path, "is an example text; write the real value")
	case k.words != nil && !slices.Contains(k.words, literal):
		d.problem(path, "%s is unknown; %s", quote(literal), choice(literal, k.words))
	default:
		return literal, true
	}
	return "", false
}

// wanted says what a key takes.
func (k *key) wanted() string {
	switch k.kind {
	case boolean:
		return "true or false"
	case number:
		return "a whole number"
	case duration:
		return "a duration like 30s, 5m or 24h"
	case address:
		return "a URL"
	case prefixes:
		return "a network like 10.0.0.0/8"
	}
	return "one text"
}

// choice says which word to write.
func choice(value string, words []string) string {
	var real []string
	for _, w := range words {
		if w != "" {
			real = append(real, w)
		}
	}
	if near := nearest(value, real); near != "" {
		return "did you mean " + near + "?"
	}
	return "write one of " + strings.Join(real, ", ")
}

// quote shows a value that is no secret, cut where it is long. What may hold a password is not shown.
func quote(value string) string {
	if strings.Contains(value, "@") && strings.Contains(value, "//") {
		return "the value"
	}
	if utf8.RuneCountInString(value) > 80 {
		value = string([]rune(value)[:79]) + "…"
	}
	return strconv.Quote(value)
}

func parseDuration(value string) (time.Duration, string) {
	if value == "" {
		return 0, "is empty; write a duration like 30s, 5m or 24h"
	}
	if _, err := strconv.ParseFloat(value, 64); err == nil {
		return 0, fmt.Sprintf("%s has no unit; write %ss for seconds, or m or h", quote(value), value)
	}
	length, err := time.ParseDuration(value)
	if err == nil && length < 0 {
		return 0, quote(value) + " is negative; write 0s or more"
	}
	if err == nil {
		return length, ""
	}
	if days, ok := strings.CutSuffix(value, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n < 10000 {
			return 0, fmt.Sprintf("%s is in days; write %dh", quote(value), 24*n)
		}
	}
	return 0, quote(value) + " is no duration; write one like 30s, 5m or 24h"
}

func parsePrefix(value string) (netip.Prefix, string) {
	network, err := netip.ParsePrefix(value)
	if err != nil {
		addr, err := netip.ParseAddr(value)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, quote(value) + " is no network; write one like 10.0.0.0/8 or 2001:db8::/32"
		}
		network = netip.PrefixFrom(addr, addr.BitLen())
	}
	if network.Masked() != network {
		return netip.Prefix{}, fmt.Sprintf("%s has bits beyond its length; write %s", quote(value), network.Masked())
	}
	if network.Addr().Is4In6() && network.Bits() >= 96 {
		network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-96)
	}
	return network, ""
}

// parseURL reads an address of http or https; "" is nil. The host comes out in its one spelling, without default port.
func parseURL(value string) (*url.URL, string) {
	if value == "" {
		return nil, ""
	}
	scheme, rest, ok := strings.Cut(value, "://")
	scheme = strings.ToLower(scheme)
	switch {
	case !ok:
		return nil, fmt.Sprintf("%s has no scheme; write http://%s", quote(value), strings.TrimLeft(value, "/"))
	case scheme != "http" && scheme != "https":
		return nil, quote(value) + " is not http or https; write http://… or https://…"
	}
	u, err := url.Parse(scheme + "://" + rest)
	switch {
	case strings.Contains(rest, "@"):
		return nil, "has a user name or a password in it; write the URL without"
	case err != nil:
		return nil, quote(value) + " is no URL; write one like https://host.example.com"
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(rest, "#"):
		return nil, quote(value) + " has a query or a fragment; write the URL without"
	}
	host, port := u.Hostname(), u.Port()
	name, message := canonicalName(host)
	if message != "" {
		return nil, quote(value) + ": its host " + message
	}
	if n, err := strconv.Atoi(port); port != "" && (err != nil || n < 1 || n > 65535) || strings.HasSuffix(u.Host, ":") {
		return nil, quote(value) + " has a port that is none; write a number from 1 to 65535"
	}
	u.Host = name
	if port != "" && !(scheme == "http" && port == "80") && !(scheme == "https" && port == "443") {
		u.Host = net.JoinHostPort(strings.Trim(name, "[]"), port)
	}
	return u, ""
}
