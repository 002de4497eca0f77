// Package config owns the configuration: its shape, where it comes from (defaults, one YAML file, environment, flags), and
// everything that can be said about it without calling anybody.
//
// It does not build anything: the gateway turns a [Config] into the configurations of the parts. It calls nobody over the net.
//
// Invariants:
//   - A Config that Load returned is complete and consistent; with any problem there is no Config, and all problems are
//     returned at once, each with its place and what to write.
//   - No error, warning or print has a secret's value.
//   - The structs of types.go and the table of keys.go are one description: decoding, the names of environment variables,
//     the JSON Schema, the example and the resolved print all walk it. A key that stands in one of the two alone does not
//     get past the first test.
//   - Maps of the file never have names that mean something, since viper folds them: such things are lists of objects.
//
// Specifications: YAML 1.2 without anchors, aliases, merge keys and tags; JSON Schema 2020-12; RFC 9110 sections 5.1 and 9.1
// (names of fields and methods); RFC 4918, 3253, 5323, 3744 (methods of WebDAV).
package config

import (
	"slices"
	"strings"
)

// CookieName is the name of the session cookie. Attempts add "-" and their id, the language cookie "-lang". On http the
// name has the port of external_url, since cookies know no ports.
func (c *Config) CookieName() string {
	if c.SecureCookies() {
		return "__Host-portero"
	}
	port := c.ExternalURL.Port()
	if port == "" {
		port = "80"
	}
	return "portero-" + port
}

// SecureCookies says whether browsers use https.
func (c *Config) SecureCookies() bool { return c.ExternalURL.Scheme == "https" }

// IsInsecure says whether `insecure` names the setting.
func (c *Config) IsInsecure(name string) bool { return slices.Contains(c.Insecure, name) }

// Hosts are the hosts that routes name, each once, in the order of the routes.
func (c *Config) Hosts() []string {
	var hosts []string
	for _, r := range c.Routes {
		for _, host := range r.Hosts {
			if !slices.Contains(hosts, host) {
				hosts = append(hosts, host)
			}
		}
	}
	return hosts
}

// Origin is the URL of a host that a route names: the scheme and the port of external_url.
func (c *Config) Origin(host string) string {
	if port := c.ExternalURL.Port(); port != "" {
		host += ":" + port
	}
	return c.ExternalURL.Scheme + "://" + host
}

// RedirectURIs are the addresses that Logto has to know as redirect URIs: the callback of every host.
func (c *Config) RedirectURIs() []string {
	path := c.Endpoints.Callback
	if path == "" {
		path = c.Endpoints.Prefix + "/callback"
	}
	var uris []string
	for _, host := range c.Hosts() {
		uris = append(uris, c.Origin(host)+path)
	}
	return uris
}

// PostLogoutURIs are the addresses that Logto has to know as post sign-out redirect URIs.
func (c *Config) PostLogoutURIs() []string {
	var uris []string
	for _, host := range c.Hosts() {
		uris = append(uris, c.Origin(host)+c.Endpoints.Prefix+"/signed-out")
	}
	return uris
}

// BackchannelURI is where Logto says that somebody has signed out. It knows one for an application, whatever the hosts.
func (c *Config) BackchannelURI() string {
	return c.ExternalURL.Scheme + "://" + c.ExternalURL.Host + c.Endpoints.Prefix + "/backchannel-logout"
}

// FinalScopes are the scopes of the authorization request, in Logto's words: openid, offline_access and profile, those
// that are configured, and those that a rule or a header needs.
func (l Logto) FinalScopes() []string { return slices.Clone(l.finalScopes) }

// FinalResources are the API resources that a sign-in is granted: those that are configured, and those of routes.
func (l Logto) FinalResources() []string { return slices.Clone(l.finalResources) }

// NeedsUserinfo says whether a rule or a header needs a claim that only userinfo has.
func (l Logto) NeedsUserinfo() bool { return l.needsUserinfo }

// WatchedFiles are the files whose change is worth a reload: certificates and secrets always, the configuration file and
// the logos with `reload.watch`.
func (c *Config) WatchedFiles() []string {
	var files []string
	add := func(names ...string) {
		for _, name := range names {
			if name != "" && !slices.Contains(files, name) {
				files = append(files, name)
			}
		}
	}
	add(c.TLS.CertFile, c.TLS.KeyFile, c.Logto.CAFile)
	add(c.secretFiles...)
	if c.Reload.Watch {
		add(c.File, c.Pages.LogoFile, c.Pages.LogoDarkFile)
	}
	return files
}

// StartOnlyChanges names the keys that differ and cannot be changed by a reload.
func StartOnlyChanges(old, new *Config) []string {
	var changed []string
	for _, k := range describe().fields {
		k.startOnlyChanges(valueOf(old), valueOf(new), &changed)
	}
	return changed
}

// lowerASCII changes A to Z and nothing else, as the packages that compare do.
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
