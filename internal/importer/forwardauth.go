package importer

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"portero/internal/config"
)

// forwardAuth is an import of traefik-forward-auth.
type forwardAuth struct {
	draft
	settings
	rules  map[string]settings // :: name of the rule → its parameters
	names  []string            // of the rules, in order
	hosts  []string            // of all rules and of external_url
	closed []string            // hosts whose other paths nobody opens, since a rule that restricted them cannot be told; "" stands for all
}

// forwardOptions are the options of traefik-forward-auth, as its file names them. // :: name → what to do; empty: read
var forwardOptions = map[string]string{
	"auth-host":                 "has no counterpart: each host has a callback of its own, which portero setup apply enters at Logto",
	"client-id":                 theProvider,
	"client-secret":             theProvider,
	"config":                    "names another file, which is not read; give that file",
	"cookie-domain":             "has no counterpart: each host has a session of its own, and Logto's makes the second sign-in silent; name the hosts under routes[].hosts",
	"cookie-domains":            "has no counterpart: each host has a session of its own, and Logto's makes the second sign-in silent; name the hosts under routes[].hosts",
	"cookie-name":               theCookie,
	"cookie-secret":             "is not taken over, since secrets are not shared between programs; a store in a file makes its own",
	"cookie-secure":             "",
	"csrf-cookie-name":          theCookie,
	"default-action":            "",
	"default-provider":          theProvider,
	"domain":                    "",
	"insecure-cookie":           "",
	"lifetime":                  "",
	"log-format":                "",
	"log-level":                 "",
	"logout-redirect":           "has no counterpart: people who have signed out read so on a page of Portero; pages.home_url is where its button leads",
	"match-whitelist-or-domain": "",
	"port":                      "",
	"prompt":                    theProvider,
	"secret":                    "is not taken over, since secrets are not shared between programs; a store in a file makes its own",
	"url-path":                  "",
	"whitelist":                 "",
}

func forwardFlag(name string) (string, bool, bool) {
	return name, name == "insecure-cookie" || name == "match-whitelist-or-domain", false
}

// TraefikForwardAuth writes the configuration of traefik-forward-auth as Portero's. The error says which input cannot be read.
func TraefikForwardAuth(in Input, o Options) (*Result, error) {
	d := &forwardAuth{draft: draft{o: o, peer: "traefik-forward-auth"}, settings: settings{}, rules: map[string]settings{}}
	if err := d.read(in); err != nil {
		return nil, err
	}
	d.external("", "", d.is("insecure-cookie", d.has("cookie-secure") && !d.is("cookie-secure", true)))
	d.logto()
	d.server()
	d.people()
	d.told = true
	d.addHeader(header{name: "X-Forwarded-User", claims: []string{"email"}, from: "its one header"})
	d.applications()
	d.rest()
	return d.result()
}

func (d *forwardAuth) has(name string) bool { return d.settings.has(name) }

func (d *forwardAuth) text(name string) string { return d.settings.text(name) }

func (d *forwardAuth) read(in Input) error {
	read := readINI
	if strings.HasSuffix(strings.ToLower(in.Name), ".toml") {
		read = func(text []byte) (settings, error) { return readTOML(text, false) }
	}
	file, err := read(in.Config)
	if err != nil {
		return fmt.Errorf("%s: %w", fileName(in), err)
	}
	d.merge(file)
	variables, err := readEnv(in.Env)
	if err != nil {
		return fmt.Errorf("the file with variables: %w", err)
	}
	for _, name := range variables.sorted() {
		option := strings.ReplaceAll(strings.ToLower(name), "_", "-")
		for _, provider := range []string{"google", "oidc", "generic-oauth"} {
			if rest, ok := strings.CutPrefix(option, "providers-"+provider+"-"); ok {
				option = "providers." + provider + "." + rest
			}
		}
		d.settings[option] = variables[name]
	}
	d.merge(d.readArgs(in.Args, forwardFlag))
	for _, option := range d.sorted() {
		parts := strings.Split(option, ".")
		if len(parts) == 3 && parts[0] == "rule" && parts[1] != "" {
			if d.rules[parts[1]] == nil {
				d.rules[parts[1]] = settings{}
				d.names = append(d.names, parts[1])
			}
			s := d.settings[option]
			if n := len(s.values); n > 1 && !s.list {
				d.note(option, "is there several times; the last counts")
				s.values = s.values[n-1:]
			}
			d.rules[parts[1]][parts[2]] = s
			delete(d.settings, option)
		}
	}
	slices.Sort(d.names)
	return nil
}

func (d *forwardAuth) server() {
	port, from := d.text("port"), "port"
	if port == "" {
		port, from = "4181", "the default of traefik-forward-auth"
	}
	d.listen(from, ":"+port)
	seconds, from := 43200, "the default of traefik-forward-auth"
	if d.has("lifetime") {
		n, err := strconv.Atoi(d.text("lifetime"))
		if err != nil || n < 0 || n > 1<<31 {
			d.note("lifetime", "is no number of seconds, so the default of traefik-forward-auth is written; write session.lifetime")
		} else {
			seconds, from = n, "lifetime"
		}
	}
	d.lifetime(from, time.Duration(seconds)*time.Second)
	if path := d.text("url-path"); path != "" {
		d.set(item{"endpoints.callback", "url-path", "/" + strings.TrimPrefix(path, "/")})
	}
	d.logLevel("log-level", d.text("log-level"))
	switch format := d.text("log-format"); format {
	case "":
	case "json":
		d.set(item{"log.format", "log-format", format})
	default:
		d.set(item{"log.format", "log-format", "text"})
	}
}

// logLevel writes how much is logged, in our words for it.
func (d *draft) logLevel(from, level string) {
	words := map[string]string{"trace": "debug", "debug": "debug", "info": "info", "warn": "warn", "warning": "warn", "error": "error", "fatal": "error", "panic": "error"}
	if word := words[strings.ToLower(level)]; word != "" {
		d.set(item{"log.level", from, word})
	} else if level != "" {
		d.note(from, "is unknown; write log.level: debug, info, warn or error")
	}
}

// entries are who comes in by a whitelist and domains: where there is a whitelist, domains count only if either is enough.
func (d *forwardAuth) entries(from string, s settings, whitelist, domains string) []rule {
	var out []rule
	listed := s.all(whitelist)
	if addresses := d.emails(from+whitelist, listed); len(addresses) > 0 {
		out = append(out, rule{emails: addresses, from: from + whitelist})
	}
	if len(listed) > 0 && !d.is("match-whitelist-or-domain", false) {
		if len(s.all(domains)) > 0 {
			d.note(from+domains, "did not count beside %s; the addresses alone come in", whitelist)
		}
		return out
	}
	if names := d.emailDomains(from+domains, s.all(domains)); len(names) > 0 {
		out = append(out, rule{domains: names, from: from + domains})
	}
	return out
}

// restricts says whether a list of addresses or domains was set at all.
func restricts(s settings, whitelist, domains string) bool {
	return len(s.all(whitelist)) > 0 || len(s.all(domains)) > 0
}

func (d *forwardAuth) people() {
	if restricts(d.settings, "whitelist", "domain") {
		d.allow = d.entries("", d.settings, "whitelist", "domain")
	} else {
		d.everybody("whitelist, domain", nil)
	}
}

// routeOf is one alternative of a rule.
type routeOf struct {
	name, action string
	match        match
	params       settings
}

// applications writes the routes: those of the rules, and one for everything else.
func (d *forwardAuth) applications() {
	var all []routeOf
	if host := d.externalHost(); host != "" {
		d.hosts = append(d.hosts, host)
	}
	for _, name := range d.names {
		all = append(all, d.rule(name, d.rules[name])...)
	}
	for _, one := range all {
		for _, host := range one.match.hosts {
			if !slices.Contains(d.hosts, host) {
				d.hosts = append(d.hosts, host)
			}
		}
	}
	if len(d.hosts) > 1 {
		slices.Sort(d.hosts[min(1, len(d.hosts)):])
	}
	for _, one := range all {
		d.application(one)
	}
	d.otherPaths()
	d.note("routes", "Portero stands in front of the applications itself, at --upstream; other hosts that the proxy asked about are added to routes[].hosts")
}

var routeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// rule reads one rule. What cannot be told exactly stays protected; if it let in fewer people than elsewhere, nobody is
// let in where it may have stood.
func (d *forwardAuth) rule(name string, params settings) []routeOf {
	option := "rule." + name
	action := params.text("action")
	if action == "" {
		action = "auth"
	}
	for _, param := range params.sorted() {
		switch param {
		case "action", "rule", "whitelist", "domains":
		case "provider":
			d.note(option+".provider", theProvider)
		default:
			d.note(option+"."+param, "is no parameter of a rule that is known here; look what it did, and write it by hand")
		}
	}
	restricted := restricts(params, "whitelist", "domains")
	matches, why := parseRule(params.text("rule"))
	if action != "auth" && action != "allow" {
		matches, why = nil, "has an action that is neither auth nor allow"
	}
	if matches == nil {
		d.note(option, "%s: what it means stays protected; write a route", why)
		if restricted {
			d.close(option)
		}
		return nil
	}
	var out []routeOf
	for _, m := range matches {
		out = append(out, routeOf{name: name, action: action, match: m, params: params})
	}
	return out
}

// close keeps everybody out of what no route names, on these hosts.
func (d *forwardAuth) close(option string, hosts ...string) {
	d.note(option, "let in fewer people, so everything that no route names is denied until you have written a route for it, and access: signed-in for the rest")
	if len(hosts) == 0 {
		hosts = []string{""}
	}
	d.closed = append(d.closed, hosts...)
}

// application writes the route of one alternative of a rule.
func (d *forwardAuth) application(one routeOf) {
	option := "rule." + one.name
	hosts := one.match.hosts
	if len(hosts) == 0 {
		hosts = d.hosts
	}
	entries, restricted := d.entries(option+".", one.params, "whitelist", "domains"), restricts(one.params, "whitelist", "domains")
	open := one.action == "allow" && !restricted
	if one.action == "allow" && restricted {
		d.note(option, "opened the path to everybody, although it names people; here these people alone come in")
	}
	p := one.match.pattern
	switch {
	case p.path == "":
		p = pattern{path: "/", match: config.MatchPrefix}
		if open && len(one.match.methods) == 0 {
			d.note(option, "opens whole hosts, which stays protected; write access: public and public-root in `insecure` if that is meant")
			return
		}
	case open && p.slash:
		d.note(option, "%s and %s/ are one path here, and both are open; remove the route if the application shows something else on one of them", p.path, p.path)
	}
	if one.match.halfSegments {
		d.note(option, "compared characters, so that %s meant %sfoo too; here it is %s and what is below it", p.path, p.path, p.path)
		if restricted {
			d.close(option, one.match.hosts...)
		}
	}
	r := route{path: p.path, match: p.match, methods: one.match.methods, access: config.AccessSignedIn, allow: entries, from: option}
	switch {
	case open:
		r.access = config.AccessPublic
	case restricted && len(entries) == 0:
		r.access = config.AccessDeny
		d.note(option, "names nobody who can be written, so nobody comes in; write allow")
	}
	d.byUpstream(r, hosts, restricted)
}

// byUpstream adds a route for the hosts of each upstream.
func (d *forwardAuth) byUpstream(r route, hosts []string, restricted bool) {
	groups, names := map[string][]string{}, []string{}
	for _, host := range hosts {
		u := d.upstreamOf(host)
		if groups[u] == nil {
			names = append(names, u)
		}
		groups[u] = append(groups[u], host)
	}
	if len(hosts) == 0 {
		names = []string{""}
	}
	for _, u := range names {
		one := r
		one.hosts = groups[u]
		if r.access != config.AccessDeny {
			d.answersProxies(&one)
		}
		if name, ok := strings.CutPrefix(r.from, "rule."); ok {
			one.name = d.freeName(name)
		}
		if !d.addRoute(&one) && restricted {
			d.close(r.from, one.hosts...)
		}
	}
}

// freeName is the name, with a number where it is taken; "" where it is no name of a route.
func (d *forwardAuth) freeName(name string) string {
	free := name
	for n := 2; slices.ContainsFunc(d.routes, func(o *route) bool { return o.name == free }); n++ {
		free = fmt.Sprintf("%s-%d", name, n)
	}
	if !routeName.MatchString(free) {
		return ""
	}
	return free
}

// otherPaths is what no rule names.
func (d *forwardAuth) otherPaths() {
	if d.text("default-action") == "allow" {
		d.note("default-action", "opened everything that no rule named, which stays protected; write access: public routes for what everybody may open")
	}
	var open, shut []string
	for _, host := range d.hosts {
		if slices.Contains(d.closed, host) || slices.Contains(d.closed, "") {
			shut = append(shut, host)
		} else {
			open = append(open, host)
		}
	}
	standard := route{path: "/", match: config.MatchPrefix, access: config.AccessSignedIn, from: "everything else"}
	if len(d.hosts) == 0 && len(d.closed) > 0 {
		standard.access = config.AccessDeny
	}
	if len(open) > 0 || len(d.hosts) == 0 {
		d.whole(standard, open)
	}
	if len(shut) > 0 {
		standard.access = config.AccessDeny
		d.whole(standard, shut)
	}
}

// whole adds the route of whole hosts, save where a rule has written it.
func (d *forwardAuth) whole(r route, hosts []string) {
	free := slices.DeleteFunc(slices.Clone(hosts), func(host string) bool {
		return slices.ContainsFunc(d.routes, func(o *route) bool {
			return o.path == "/" && o.match == config.MatchPrefix && len(o.methods) == 0 && (slices.Contains(o.hosts, host) || len(o.hosts) == 0)
		})
	})
	if len(free) > 0 || len(hosts) == 0 && !slices.ContainsFunc(d.routes, func(o *route) bool {
		return o.path == "/" && o.match == config.MatchPrefix && len(o.methods) == 0
	}) {
		d.byUpstream(r, free, false)
	}
}

// rest tells what has no counterpart.
func (d *forwardAuth) rest() {
	for _, name := range d.sorted() {
		text, known := forwardOptions[name]
		switch {
		case strings.HasPrefix(name, "providers."):
			d.note(name, theProvider)
		case !known:
			d.note(name, "is no option of traefik-forward-auth that is known here; look what it did, and write it by hand")
		case text != "":
			d.note(name, "%s", text)
		}
	}
}
