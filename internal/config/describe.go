package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"time"
)

// kind is what can be written for a key.
type kind uint8

const (
	section kind = iota + 1 // keys below it
	list                    // of sections
	text
	texts    // list of text
	scalars  // list of texts, numbers, booleans
	names    // text, or a list of them
	prefixes // list of networks
	boolean
	number
	duration
	address // URL
	secret
)

// key is one key of the configuration: a field of a struct in types.go and its entry in keys.go.
type key struct {
	entry
	name   string
	kind   kind
	index  int    // of the field in its struct
	file   string // of a secret: the name of the key beside it that names its file
	fields []*key // of a section, or of a list's elements
}

// describe joins structs and entries. The root has no name.
func describe() *key {
	byPath := make(map[string]entry, len(entries))
	for _, e := range entries {
		if _, twice := byPath[e.path]; twice {
			panic("config: two entries for " + e.path)
		}
		byPath[e.path] = e
	}
	root := &key{kind: section}
	used := map[string]bool{}
	root.addFields(reflect.TypeFor[Config](), "", "", byPath, used)
	for _, e := range entries {
		if !used[e.path] {
			panic("config: no field for " + e.path)
		}
	}
	return root
}

// addFields describes the fields of a struct. below is the path of the keys, from that of their entries.
func (k *key) addFields(t reflect.Type, below, from string, byPath map[string]entry, used map[string]bool) {
	for i := range t.NumField() {
		field := t.Field(i)
		name, ok := field.Tag.Lookup("key")
		if !ok {
			continue
		}
		path, source := join(below, name), join(from, name)
		if other, ok := sameAs[path]; ok {
			source = other
		}
		e, ok := byPath[source]
		if !ok {
			panic("config: no entry for " + source)
		}
		used[source] = true
		e.path = path
		e.start, e.later = e.start || k.start, e.later || k.later
		child := &key{entry: e, name: name, index: i}
		var element reflect.Type
		child.kind, element = kindOf(field.Type)
		if child.kind == secret {
			child.file = name + "_file"
			if file, ok := field.Tag.Lookup("file"); ok {
				child.file = file
			}
		}
		switch child.kind {
		case section:
			child.addFields(element, path, source, byPath, used)
		case list:
			path, source = path+"[]", source+"[]"
			if other, ok := sameAs[path]; ok {
				source = other
			}
			child.addFields(element, path, source, byPath, used)
		}
		k.fields = append(k.fields, child)
	}
}

func kindOf(t reflect.Type) (kind, reflect.Type) {
	switch t {
	case reflect.TypeFor[Secret]():
		return secret, nil
	case reflect.TypeFor[time.Duration]():
		return duration, nil
	case reflect.TypeFor[*url.URL]():
		return address, nil
	case reflect.TypeFor[[]netip.Prefix]():
		return prefixes, nil
	case reflect.TypeFor[Names]():
		return names, nil
	case reflect.TypeFor[Scalars]():
		return scalars, nil
	case reflect.TypeFor[[]string]():
		return texts, nil
	}
	switch t.Kind() {
	case reflect.String:
		return text, nil
	case reflect.Bool:
		return boolean, nil
	case reflect.Int:
		return number, nil
	case reflect.Struct:
		return section, t
	case reflect.Slice:
		return list, t.Elem()
	}
	panic(fmt.Sprintf("config: no key can be a %s", t))
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// field is the key below k with this name; nil if there is none.
func (k *key) field(name string) *key {
	for _, f := range k.fields {
		if f.name == name {
			return f
		}
	}
	return nil
}

// leaves calls visit for every key that has a value of its own and is not an element of a list.
func (k *key) leaves(visit func(*key)) {
	for _, f := range k.fields {
		if f.kind == section {
			f.leaves(visit)
		} else {
			visit(f)
		}
	}
}

// variable is the environment variable of a key.
func (k *key) variable() string {
	return prefix + strings.ToUpper(strings.ReplaceAll(k.path, ".", "_"))
}

// flagName is the flag of a key, without its dashes.
func (k *key) flagName() string { return strings.NewReplacer(".", "-", "_", "-").Replace(k.path) }

// takesList says whether a value is a list that can be written with commas.
func (k *key) takesList() bool {
	return k.kind == texts || k.kind == scalars || k.kind == names || k.kind == prefixes
}

func valueOf(c *Config) reflect.Value { return reflect.ValueOf(c).Elem() }

func (k *key) startOnlyChanges(old, new reflect.Value, changed *[]string) {
	old, new = old.Field(k.index), new.Field(k.index)
	if k.kind == section {
		for _, f := range k.fields {
			f.startOnlyChanges(old, new, changed)
		}
		return
	}
	if k.start && !reflect.DeepEqual(old.Interface(), new.Interface()) {
		*changed = append(*changed, k.path)
	}
}
