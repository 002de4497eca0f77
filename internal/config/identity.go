package config

import (
	"reflect"
	"slices"
	"strings"
	"time"
)

// presets are the headers of each preset, as package assertion has them. Their names are those that other gateways made
// common. // :: name → YAML
var presets = map[string]string{
	PresetRemoteUser: `
- {name: Remote-User, claim: email}
- {name: Remote-Email, claim: email}
- {name: Remote-Name, claim: name, encoding: percent}
- {name: Remote-Groups, claim: roles}`,
	PresetAuthRequest: `
- {name: X-Auth-Request-User, claim: sub}
- {name: X-Auth-Request-Email, claim: email}
- {name: X-Auth-Request-Preferred-Username, claim: [username, email]}
- {name: X-Auth-Request-Groups, claim: roles}`,
	PresetPomerium: `
- {name: X-Pomerium-Claim-Sub, claim: sub}
- {name: X-Pomerium-Claim-Email, claim: email}
- {name: X-Pomerium-Claim-Name, claim: name, encoding: percent}
- {name: X-Pomerium-Claim-Groups, claim: roles}`,
	PresetGrafana: `
- {name: X-WEBAUTH-USER, claim: email}
- {name: X-WEBAUTH-EMAIL, claim: email}
- {name: X-WEBAUTH-NAME, claim: name, encoding: percent}
- {name: X-WEBAUTH-GROUPS, claim: roles}`,
	PresetNone: `[]`,
}

// The limits of what an upstream is told; those of package assertion.
const (
	maxHeaders        = 16 << 10
	shortestAssertion = 5 * time.Second
	longestAssertion  = 60 * time.Second
)

// Headers of the signed assertion that need not be configured.
const (
	assertionHeader = "X-Portero-Assertion"
	pomeriumHeader  = "X-Pomerium-Jwt-Assertion"
)

// Asserts says whether the upstreams of the route get a signed assertion.
func (r *RouteIdentity) Asserts() bool { return len(r.AssertionHeaders()) > 0 }

// AssertionHeaders are the headers that carry the signed assertion; none: there is none.
func (r *RouteIdentity) AssertionHeaders() []string {
	var names []string
	if r.Assertion.Enabled {
		names = append(names, r.Assertion.Header)
	}
	if r.Preset == PresetPomerium && !slices.ContainsFunc(names, func(n string) bool { return fold(n) == fold(pomeriumHeader) }) {
		names = append(names, pomeriumHeader)
	}
	return names
}

// presetHeaders are the headers of a preset.
func presetHeaders(name string) []Header {
	var headers []Header
	k := describe().field("identity").field("headers")
	newDecoder(Options{}).decode(k, reflect.ValueOf(&headers).Elem(), k.path, &setting{node: mustParse(presets[name]), place: inDefaults})
	return headers
}

func (d *decoder) checkIdentity(c *Config) {
	d.checkHeaders("identity.headers", c.Identity.Headers)
	d.writeOutPreset("identity", c.Identity.Preset, &c.Identity.Headers)
	a := c.Identity.Assertion
	d.checkAssertion("identity.assertion", &RouteIdentity{Headers: c.Identity.Headers, Preset: c.Identity.Preset,
		Assertion: RouteAssertion{Enabled: a.Enabled, Header: a.Header, Lifetime: a.Lifetime}})
}

// checkRouteIdentity completes what a route says of the identity with what the top level says, and checks it. Headers and
// preset are one thing, each key of the assertion is one by itself.
func (d *decoder) checkRouteIdentity(path string, c *Config, r *RouteIdentity) {
	switch {
	case r.Preset != "" || !d.ok(path+".preset"):
		d.checkHeaders(path+".headers", r.Headers)
		d.writeOutPreset(path, r.Preset, &r.Headers)
	case d.wasSet(path + ".headers"):
		d.checkHeaders(path+".headers", r.Headers)
	default:
		r.Headers, r.Preset = c.Identity.Headers, c.Identity.Preset
	}
	own := func(key string) bool { return d.wasSet(path + ".assertion." + key) }
	a, above := &r.Assertion, c.Identity.Assertion
	if !own("enabled") {
		a.Enabled = above.Enabled
	}
	if !own("header") {
		a.Header = above.Header
	}
	if !own("lifetime") {
		a.Lifetime = above.Lifetime
	}
	if !own("bind") {
		a.Bind = above.Bind
	}
	if own("enabled") || own("header") || own("lifetime") || d.wasSet(path+".headers") || d.wasSet(path+".preset") {
		d.checkAssertion(path+".assertion", r)
	}
}

// writeOutPreset puts the headers of a preset in the place of the default ones. Beside headers that were written it is refused,
// unless they are its own: so that what check prints can be read again.
func (d *decoder) writeOutPreset(path, preset string, headers *[]Header) {
	if preset == "" || !d.ok(path+".preset") {
		return
	}
	made := presetHeaders(preset)
	if d.wasSet(path+".headers") && !d.anyBadBelow(path+".headers") && !equalHeaders(*headers, made) {
		d.problem(path+".preset", "replaces `headers`, and both are written; keep one of them")
	}
	*headers = made
}

func equalHeaders(a, b []Header) bool {
	return slices.EqualFunc(a, b, func(a, b Header) bool { return reflect.DeepEqual(a, b) })
}

// checkAssertion checks the signed assertion of the top level or of a route.
func (d *decoder) checkAssertion(path string, r *RouteIdentity) {
	a := r.Assertion
	if d.ok(path+".lifetime") && (a.Lifetime < shortestAssertion || a.Lifetime > longestAssertion) {
		d.problem(path+".lifetime", "%s is not from 5s to 60s; an assertion is for one request, write 60s or less", formatDuration(a.Lifetime))
	}
	at, name := path+".header", fold(a.Header)
	switch {
	case !d.ok(at):
	case a.Header == "":
		d.problem(at, "is empty; write the name of the header, like %s, or enabled: false", assertionHeader)
	case !isToken(a.Header):
		d.problem(at, "%s is no name of a header; write letters, digits and dashes", quote(a.Header))
	case isReserved(name) && !strings.EqualFold(a.Header, assertionHeader) && !strings.EqualFold(a.Header, pomeriumHeader):
		d.problem(at, "%s has a meaning of its own and cannot carry an assertion; write another name, like %s", a.Header, assertionHeader)
	default:
		if slices.ContainsFunc(r.Headers, func(h Header) bool { return fold(h.Name) == name }) {
			d.problem(at, "%s is the name of one of the other headers, or reads like it; write another", a.Header)
		}
	}
}
