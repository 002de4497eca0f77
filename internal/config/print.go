package config

import (
	"bytes"
	"net/netip"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// YAML prints the configuration as it counts: complete, short forms written out, secrets as "(redacted)". Keys that are not
// available in this version are left out.
func (c *Config) YAML() []byte {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	err := e.Encode(describe().node(valueOf(c)))
	if err == nil {
		err = e.Close()
	}
	if err != nil { // nodes that we made ourselves
		panic("config: " + err.Error())
	}
	return b.Bytes()
}

// node prints a section.
func (k *key) node(v reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range k.fields {
		if f.later || k.path == "" && (f.name == "upstream" || f.name == "email_domains") {
			continue
		}
		n.Content = append(n.Content, stringNode(f.name), f.valueNode(v.Field(f.index)))
	}
	return n
}

func (k *key) valueNode(v reflect.Value) *yaml.Node {
	switch value := v.Interface().(type) {
	case Secret:
		if k.print != nil {
			return stringNode(k.print(value.Reveal()))
		}
		return stringNode(value.String())
	case time.Duration:
		return stringNode(formatDuration(value))
	case *url.URL:
		if value == nil {
			return stringNode("")
		}
		return stringNode(value.String())
	case bool:
		if value {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true"}
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "false"}
	case int:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.Itoa(value)}
	case []netip.Prefix:
		n := flowList()
		for _, network := range value {
			n.Content = append(n.Content, stringNode(network.String()))
		}
		return n
	}
	switch k.kind {
	case section:
		return k.node(v)
	case list:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		if v.Len() == 0 {
			n.Style = yaml.FlowStyle
		}
		for i := range v.Len() {
			n.Content = append(n.Content, k.node(v.Index(i)))
		}
		return n
	case names:
		if v.Len() == 1 {
			return stringNode(v.Index(0).String())
		}
	}
	if v.Kind() == reflect.Slice {
		n := flowList()
		for i := range v.Len() {
			n.Content = append(n.Content, stringNode(v.Index(i).String()))
		}
		return n
	}
	return stringNode(v.String())
}

func flowList() *yaml.Node { return &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle} }

func stringNode(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	if s == "" {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// formatDuration writes 336h, not 336h0m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
