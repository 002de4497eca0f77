package config

import (
	"regexp"
	"slices"
	"strings"
)

// prefix begins the name of every environment variable of ours.
const prefix = "PORTERO_"

// kubernetes are the variables that Kubernetes makes for a Service named portero.
var kubernetes = regexp.MustCompile(`^PORTERO_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// readEnvironment gives the settings that environment variables make. An empty value counts: it empties the key.
func (d *decoder) readEnvironment(environ []string) map[string]any {
	byName := map[string]*key{}
	var known []string
	d.root.leaves(func(k *key) {
		byName[k.variable()] = k
		known = append(known, k.variable())
	})
	found := map[string]any{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, prefix) || name == prefix+"CONFIG" || strings.HasPrefix(name, prefix+"TEST_") || kubernetes.MatchString(name) {
			continue
		}
		report := func(message string) {
			d.problems = append(d.problems, Problem{Source: name, Message: message, place: inEnvironment})
		}
		k := byName[name]
		switch {
		case k == nil:
			if near := nearest(name, known); near != "" {
				report("is not a setting; did you mean " + near + "?")
			} else {
				report("is not a setting; remove it, or write PORTERO_ and the path of a key with _ for each dot")
			}
		case k.kind == list:
			report("is a list of sections, which one variable cannot hold; write " + k.path + " in the configuration file")
		case !d.skip(k):
			put(found, strings.Split(k.path, "."), textSetting(value, inEnvironment, name))
		}
	}
	return found
}

func put(m map[string]any, path []string, s *setting) {
	for _, name := range path[:len(path)-1] {
		below, ok := m[name].(map[string]any)
		if !ok {
			below = map[string]any{}
			m[name] = below
		}
		m = below
	}
	m[path[len(path)-1]] = s
}

// skip says whether a key is of a section that is not asked for.
func (d *decoder) skip(k *key) bool {
	if len(d.only) == 0 {
		return false
	}
	top, _, _ := strings.Cut(k.path, ".")
	return !slices.Contains(d.only, top)
}
