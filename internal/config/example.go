package config

import (
	"strings"
	"unicode/utf8"
)

const (
	exampleComment = 48  // column where comments begin, where there is room
	exampleWidth   = 140 // of a line with its comment; longer ones stand above
)

const exampleHead = `# The configuration of Portero, with every key. Values are the defaults, except for logto.endpoint, app_id, app_secret,
# mailgun, allow and routes, which show examples and default to nothing.
#
# Every scalar can come from the environment: PORTERO_ and the path with _ (PORTERO_LOGTO_APP_SECRET), lists with commas;
# every secret also from a file: PORTERO_LOGTO_APP_SECRET_FILE. Flag over environment over file over default.
# Durations need a unit. Names of files are relative to this file. portero check says what is wrong, all at once.

`

// Example is a configuration file with every key, its default or an example, and what it means.
func Example() string {
	var b strings.Builder
	b.WriteString(exampleHead)
	for i, k := range describe().fields {
		if i > 0 && (k.kind == section || k.kind == list) {
			b.WriteString("\n")
		}
		(&key{fields: []*key{k}}).example(&b, "", "")
	}
	return b.String()
}

// example writes the keys of a section; first stands before the first of them instead of the indent.
func (k *key) example(b *strings.Builder, indent, first string) {
	for i, f := range k.fields {
		before := indent
		if i == 0 && first != "" {
			before = first
		}
		comment := f.doc
		if f.later && !k.later {
			comment = "not available in this version"
		}
		switch f.kind {
		case section:
			exampleLine(b, indent, before, f.name+":", comment)
			f.example(b, indent+"  ", "")
		case list:
			f.exampleList(b, indent, before, comment)
		default:
			exampleLine(b, indent, before, f.name+": "+f.exampleValue(), comment)
		}
	}
}

// exampleList writes the elements of a list of sections: those of the entry, or one with every key if there are examples for
// them, or none.
func (k *key) exampleList(b *strings.Builder, indent, before, comment string) {
	block := k.entry.example
	if block == "" {
		block = k.value
	}
	inner := indent + "  "
	switch {
	case block != "":
		exampleLine(b, indent, before, k.name+":", comment)
		for line := range strings.Lines(strings.TrimPrefix(block, "\n")) {
			b.WriteString(inner + strings.TrimSuffix(line, "\n") + "\n")
		}
	case k.hasExamples():
		exampleLine(b, indent, before, k.name+":", comment)
		(&key{fields: k.fields}).example(b, inner+"  ", inner+"- ")
	default:
		exampleLine(b, indent, before, k.name+": []", comment)
	}
}

func (k *key) hasExamples() bool {
	for _, f := range k.fields {
		if f.entry.example != "" {
			return true
		}
	}
	return false
}

func (k *key) exampleValue() string {
	switch {
	case k.entry.example != "":
		return k.entry.example
	case k.value != "":
		return k.value
	case k.takesList():
		return "[]"
	case k.kind == boolean:
		return "false"
	}
	return `""`
}

// exampleLine writes a key with its comment beside it, or above it where it is too long.
func exampleLine(b *strings.Builder, indent, before, line, comment string) {
	line = before + line
	width := utf8.RuneCountInString(line)
	column := max(exampleComment, width+2)
	switch {
	case comment == "":
	case column+utf8.RuneCountInString(comment)+2 <= exampleWidth:
		line += strings.Repeat(" ", column-width) + "# " + comment
	default:
		line = indent + "# " + comment + "\n" + line
	}
	b.WriteString(line + "\n")
}
