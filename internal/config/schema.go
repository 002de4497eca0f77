package config

import (
	"encoding/json"

	"go.yaml.in/yaml/v3"
)

// Schema is the JSON Schema (2020-12) of the configuration file, for editors. It says what can be written; what fits
// together is said by Load.
func Schema() []byte {
	root := describe().schemaOfSection()
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Portero configuration"
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil { // maps of plain values
		panic("config: " + err.Error())
	}
	return append(text, '\n')
}

func (k *key) schemaOfSection() map[string]any {
	properties := map[string]any{}
	for _, f := range k.fields {
		properties[f.name] = f.schema()
	}
	return map[string]any{"type": []any{"object", "null"}, "properties": properties, "additionalProperties": false}
}

func (k *key) schemaOfElement() map[string]any {
	s := k.schemaOfSection()
	s["type"] = "object"
	return s
}

func (k *key) schema() map[string]any {
	var s map[string]any
	switch k.kind {
	case section:
		s = k.schemaOfSection()
	case list:
		s = map[string]any{"type": "array", "items": k.schemaOfElement()}
	case texts, prefixes:
		s = map[string]any{"type": "array", "items": k.schemaOfText(), "uniqueItems": true}
	case scalars:
		s = map[string]any{"type": "array", "items": map[string]any{"type": []any{"string", "number", "boolean"}}}
	case names:
		s = map[string]any{"oneOf": []any{k.schemaOfText(), map[string]any{"type": "array", "items": k.schemaOfText(), "uniqueItems": true}}}
	case boolean:
		s = map[string]any{"type": "boolean"}
	case number:
		s = map[string]any{"type": "integer"}
	case duration:
		s = map[string]any{"type": "string", "pattern": `^([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$`}
	case address:
		s = map[string]any{"type": "string", "pattern": `^([Hh][Tt][Tt][Pp][Ss]?://.+)?$`}
	default:
		s = k.schemaOfText()
	}
	if k.doc != "" {
		s["description"] = k.doc
	}
	if k.value != "" {
		var standard any
		if err := yaml.Unmarshal([]byte(k.value), &standard); err != nil {
			panic("config: " + err.Error())
		}
		s["default"] = standard
	}
	if k.later {
		s["description"] = "not available in this version"
		s["deprecated"] = true // editors strike it through
	}
	return s
}

func (k *key) schemaOfText() map[string]any {
	s := map[string]any{"type": "string"}
	if len(k.words) > 0 {
		s["enum"] = k.words
	}
	return s
}
