package importer

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"portero/internal/config"
)

// vouch is an import of vouch-proxy.
type vouch struct {
	draft
	settings
}

// vouchOptions are the options of vouch under `vouch`, in lower case. // :: name → what to do; empty: read
var vouchOptions = map[string]string{
	"allowallusers":             "",
	"cookie.domain":             "has no counterpart: each host has a session of its own, and Logto's makes the second sign-in silent; name the hosts under routes[].hosts",
	"cookie.httponly":           theCookie,
	"cookie.maxage":             "",
	"cookie.name":               theCookie,
	"cookie.samesite":           theCookie,
	"cookie.secure":             "",
	"document_root":             "has no counterpart: Portero's own paths are under endpoints.prefix of each host",
	"domains":                   "",
	"headers.accesstoken":       "has no counterpart as a header of its own; `access_token` of a route sends Logto's access token as Authorization: Bearer",
	"headers.claimheader":       "",
	"headers.claims":            "",
	"headers.error":             "needs nothing: no proxy is told of errors",
	"headers.idtoken":           "has no counterpart: the ID token is not sent; an application reads the headers of `identity`, or verifies identity.assertion",
	"headers.jwt":               "has no counterpart: the session is in Portero's cookie alone; API clients bring access tokens of Logto",
	"headers.querystring":       "has no counterpart: no token is taken from a URL, where logs would have it",
	"headers.redirect":          "needs nothing: people come back to the page that they asked for",
	"headers.success":           "needs nothing: what reaches the application was let in",
	"headers.user":              "",
	"idletimeout":               "has no counterpart: bounds for an application are `timeouts` of its route",
	"jwt.compress":              "needs nothing: what is known of people is not in cookies",
	"jwt.issuer":                "has no counterpart; identity.assertion signs who somebody is",
	"jwt.maxage":                "",
	"jwt.private_key_file":      "has no counterpart; identity.assertion signs who somebody is",
	"jwt.public_key_file":       "has no counterpart; identity.assertion signs who somebody is",
	"jwt.secret":                "is not taken over, since secrets are not shared between programs; a store in a file makes its own",
	"jwt.signing_method":        "has no counterpart; identity.assertion signs who somebody is",
	"listen":                    "",
	"loglevel":                  "",
	"port":                      "",
	"post_logout_redirect_uris": "has no counterpart: people who have signed out read so on a page of Portero; pages.home_url is where its button leads",
	"publicaccess":              "",
	"readtimeout":               "has no counterpart: bounds for an application are `timeouts` of its route",
	"session.key":               "is not taken over, since secrets are not shared between programs; a store in a file makes its own",
	"session.maxage":            "needs nothing: a sign-in that was begun is good for 60 minutes",
	"session.name":              theCookie,
	"socket_group":              "has no counterpart: Portero listens on addresses",
	"socket_mode":               "has no counterpart: Portero listens on addresses",
	"teamwhitelist":             "",
	"test_url":                  "needs nothing: portero check and portero doctor look at the configuration and around it",
	"test_urls":                 "needs nothing: portero check and portero doctor look at the configuration and around it",
	"testing":                   "needs nothing: portero check and portero doctor look at the configuration and around it",
	"tls.cert":                  "",
	"tls.key":                   "",
	"tls.profile":               "needs nothing: the suites of Go's standard library, TLS 1.2 and later",
	"whitelist":                 "",
	"writetimeout":              "has no counterpart: bounds for an application are `timeouts` of its route",
}

// Vouch writes the configuration of vouch-proxy as Portero's. The error says which input cannot be read.
func Vouch(in Input, o Options) (*Result, error) {
	d := &vouch{draft: draft{o: o, peer: "vouch"}, settings: settings{}}
	if err := d.read(in); err != nil {
		return nil, err
	}
	d.external("", "", d.has("cookie.secure") && !d.is("cookie.secure", true))
	d.logto()
	d.server()
	d.people()
	d.identity()
	d.application()
	d.rest()
	return d.result()
}

// has and text look at what stands under `vouch`.
func (d *vouch) has(name string) bool { return d.settings.has("vouch." + name) }

func (d *vouch) text(name string) string { return d.settings.text("vouch." + name) }

func (d *vouch) is(name string, standard bool) bool { return d.settings.is("vouch."+name, standard) }

func (d *vouch) all(name string) []string { return d.settings.all("vouch." + name) }

func (d *vouch) read(in Input) error {
	root, err := readYAML(in.Config)
	if err != nil {
		return fmt.Errorf("%s: %w", fileName(in), err)
	}
	root.flatten("", d.settings, func(name string) { d.note(name, "is there twice, and the first was read; keep one") })
	variables, err := readEnv(in.Env)
	if err != nil {
		return fmt.Errorf("the file with variables: %w", err)
	}
	for _, name := range variables.sorted() {
		folded := strings.ToLower(name)
		switch rest, ok := strings.CutPrefix(folded, "vouch_"); {
		case ok:
			d.settings["vouch."+vouchOption(rest)] = variables[name]
		case strings.HasPrefix(folded, "oauth_"):
			d.settings["oauth."+strings.TrimPrefix(folded, "oauth_")] = variables[name]
		default:
			d.note(name, "is no variable of vouch; nothing is made of it")
		}
	}
	return nil
}

// vouchOption is the option of a variable's name, which has _ for the dots.
func vouchOption(name string) string {
	bare := strings.ReplaceAll(name, "_", "")
	for option := range vouchOptions {
		if strings.NewReplacer(".", "", "_", "").Replace(option) == bare {
			return option
		}
	}
	return name
}

func (d *vouch) server() {
	host, port := d.text("listen"), d.text("port")
	from := "listen, port"
	if host == "" && port == "" {
		from = "the default of vouch"
	}
	if host == "" {
		host = "0.0.0.0"
	}
	if port == "" {
		port = "9090"
	}
	if strings.HasPrefix(host, "unix:") {
		d.listen("listen", host)
	} else {
		d.listen(from, host+":"+port)
	}
	if cert, key := d.text("tls.cert"), d.text("tls.key"); cert != "" || key != "" {
		d.set(item{"tls.cert_file", "tls.cert", cert}, item{"tls.key_file", "tls.key", key})
	}
	d.lifetimeOf()
	d.logLevel("logLevel", d.text("loglevel"))
}

// lifetimeOf is the shorter of the two bounds, in minutes; a cookie's 0 is none.
func (d *vouch) lifetimeOf() {
	minutes := func(name string) int {
		n, err := strconv.Atoi(d.text(name))
		if err != nil || n < 0 || n > 1<<31 {
			if d.has(name) {
				d.note(name, "is no number of minutes, so the default of vouch is written; write session.lifetime")
			}
			return 240
		}
		return n
	}
	length, from := minutes("jwt.maxage"), "the default of vouch"
	if d.has("jwt.maxage") {
		from = "jwt.maxAge"
	}
	if cookie := minutes("cookie.maxage"); cookie > 0 && cookie < length {
		length = cookie
		if d.has("cookie.maxage") {
			from = "cookie.maxAge"
		}
	}
	d.lifetime(from, time.Duration(length)*time.Minute)
}

// people writes who may come in. vouch asks the first of its lists that has something.
func (d *vouch) people() {
	for _, other := range []string{"whitelist", "teamwhitelist", "domains"} {
		if d.is("allowallusers", false) && d.has(other) {
			d.note(other, "did not count beside allowAllUsers")
		}
	}
	switch {
	case d.is("allowallusers", false):
		d.everybody("allowAllUsers", nil)
	case len(d.all("whitelist")) > 0:
		var addresses, names []string
		for _, name := range d.all("whitelist") {
			if strings.Contains(name, "@") {
				addresses = append(addresses, name)
			} else {
				names = append(names, name)
			}
		}
		if addresses = d.emails("whiteList", addresses); len(addresses) > 0 {
			d.allow = append(d.allow, rule{emails: addresses, from: "whiteList"})
		}
		if len(names) > 0 {
			d.note("whiteList", "names of accounts, which people might choose for themselves, are no addresses: write the address as an entry `emails` of allow, or give the role")
			d.everybody("whiteList", [][]string{d.roles("whiteList", names)})
		}
		d.unused("teamwhitelist", "did not count beside whiteList")
		d.unused("domains", "did not say who came in beside whiteList; it bound cookies, which belong to one host each here")
	case len(d.all("teamwhitelist")) > 0:
		d.everybody("teamWhitelist", [][]string{d.roles("teamWhitelist", d.all("teamwhitelist"))})
		d.unused("domains", "did not say who came in beside teamWhitelist; it bound cookies, which belong to one host each here")
	case len(d.all("domains")) > 0:
		if domains := d.emailDomains("domains", d.all("domains")); len(domains) > 0 {
			d.allow = append(d.allow, rule{domains: domains, from: "domains"})
			d.note("domains", "addresses below these domains came in too, which are not matched; write each domain in full under allow")
		}
	default:
		d.everybody("domains", nil)
	}
}

func (d *vouch) unused(name, text string) {
	if d.has(name) {
		d.note(name, "%s", text)
	}
}

// identity writes the headers that vouch told the proxy in front.
func (d *vouch) identity() {
	d.told = true
	user := d.text("headers.user")
	if user == "" {
		user = "X-Vouch-User"
	}
	d.addHeader(header{name: user, claims: []string{"email"}, from: "headers.user"})
	prefix := d.text("headers.claimheader")
	if prefix == "" {
		prefix = "X-Vouch-IdP-Claims-"
	}
	for _, claim := range d.all("headers.claims") {
		name := prefix + claimHeader(claim)
		if d.hasHeader(name) {
			d.note("headers.claims", "two claims have one header; the first counts")
			continue
		}
		claims, join := []string{claim}, ""
		if claim == "groups" {
			claims, join = []string{"roles"}, ","
		} else {
			d.note("headers.claims", "portero check says which of the claims Logto does not have")
		}
		d.addHeader(header{name: name, claims: claims, join: join, from: "headers.claims"})
	}
	d.note("headers", "the proxy in front gave them to the application, maybe under other names; they go there as they are")
}

// claimHeader is a claim as a part of a header's name: words with dashes between them.
func claimHeader(claim string) string {
	claim = strings.TrimPrefix(strings.TrimPrefix(claim, "http://"), "https://")
	words := strings.FieldsFunc(claim, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9')
	})
	for i, w := range words {
		words[i] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.Join(words, "-")
}

func (d *vouch) application() {
	r := &route{path: "/", match: config.MatchPrefix, access: config.AccessSignedIn, from: "all that the proxy in front asked about"}
	if d.is("publicaccess", false) {
		r.access = config.AccessOptional
		d.note("publicAccess", "everybody reaches the application, signed in or not, as before; write access: signed-in where that is not meant")
	}
	if host := d.externalHost(); host != "" {
		r.hosts = []string{host}
	}
	d.answersProxies(r)
	r.hosts = nil
	d.addRoute(r)
	hosts := []string{}
	for host := range d.o.Upstreams {
		if host != "" && host != d.externalHost() {
			hosts = append(hosts, host)
		}
	}
	slices.Sort(hosts)
	for _, host := range hosts {
		other := *r
		other.hosts = []string{host}
		other.from = "--upstream"
		d.answersProxies(&other)
		d.addRoute(&other)
	}
	if len(d.o.AskedBy) == 0 {
		d.note("routes", "Portero stands in front of the applications itself; give --upstream HOST=URL for each host, and the proxy in front needs no auth_request")
	}
}

// rest tells what has no counterpart.
func (d *vouch) rest() {
	for _, name := range d.sorted() {
		below, ours := strings.CutPrefix(name, "vouch.")
		text, known := vouchOptions[below]
		switch {
		case name == "oauth.callback_url" || name == "oauth.callback_urls":
			d.note(name, "the callback is /callback of each host, which portero check prints and portero setup apply enters at Logto")
		case strings.HasPrefix(name, "oauth."):
			d.note(name, theProvider)
		case !ours || !known:
			d.note(name, "is no option of vouch that is known here; look what it did, and write it by hand")
		case text != "":
			d.note(name, "%s", text)
		}
	}
}
