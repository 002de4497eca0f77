package importer

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"portero/internal/config"
)

// draft is the configuration that is being written.
type draft struct {
	o       Options
	peer    string
	items   []item // values that are no elements of lists of sections, in any order
	allow   []rule
	headers []header
	told    bool // headers are written, even if there are none
	routes  []*route
	notes   []Note
}

// item is one value and the option that it comes from.
type item struct {
	key, from string
	value     any // string, bool or []string
}

// rule is one entry of `allow`.
type rule struct {
	emails, domains []string
	roles           [][]string // of each list one is needed
	from            string
}

// header is one header with the identity.
type header struct {
	name   string
	claims []string
	join   string
	from   string
}

// route is one entry of `routes`.
type route struct {
	name, path, match string
	hosts, methods    []string
	upstream          string // empty: none is known
	asked             bool   // forward_auth_only
	access            string
	allow             []rule
	strip, ownHost    bool // strip_prefix, and preserve_host: false
	timeout           string
	from              string
}

// The files that the operator makes, beside the configuration.
const (
	appSecretFile     = "logto-app-secret"
	sessionSecretFile = "session-secret"
	redisURLFile      = "redis-url"
)

func (d *draft) note(option, format string, args ...any) {
	n := Note{Option: plain(option, 100), Text: plain(fmt.Sprintf(format, args...), 600)}
	if !slices.Contains(d.notes, n) {
		d.notes = append(d.notes, n)
	}
}

// together are the notes, those that say the same as one.
func together(notes []Note) []Note {
	var out []Note
	for _, n := range notes {
		if i := slices.IndexFunc(out, func(o Note) bool { return o.Text == n.Text }); i >= 0 {
			out[i].Option += ", " + n.Option
		} else {
			out = append(out, n)
		}
	}
	return out
}

// problems is what package config says about a part of a configuration.
func (d *draft) problems(text []byte, only ...string) []config.Problem {
	_, err := config.Load(config.Options{Path: "portero.yaml", Text: text, WorkDir: d.o.Dir, Only: only})
	var problems config.Problems
	if errors.As(err, &problems) {
		return problems
	}
	return nil
}

// set writes values of one section that belong together, if package config takes them. What it says about files is told,
// and their names are kept: leaving one out could weaken what the other proxy did.
func (d *draft) set(items ...item) bool {
	section, _, _ := strings.Cut(items[0].key, ".")
	trial := draft{o: d.o}
	for _, old := range d.items {
		if strings.HasPrefix(old.key+".", section+".") && !slices.ContainsFunc(items, func(i item) bool { return i.key == old.key }) {
			trial.items = append(trial.items, old)
		}
	}
	trial.items = append(trial.items, items...)
	text, err := trial.render()
	if err != nil {
		d.note(items[0].from, "has a value that cannot be written; write it by hand")
		return false
	}
	only := []string{section}
	if section == "external_url" {
		only = append(only, "insecure")
		text = append(text, "insecure: [plain-http]\n"...) // told by external
	}
	refused := false
	for _, p := range d.problems(text, only...) {
		switch {
		case strings.HasSuffix(p.Key, "_file") || p.Key == "session.secret":
			if !isMade(items) {
				d.note(items[0].from, "portero check refuses %s as long as %s", p.Key, p.Message)
			}
		case section == "logto" && strings.HasPrefix(p.Message, "is missing"):
		default:
			refused = true
			d.note(items[0].from, "is not taken over: %s %s", p.Key, p.Message)
		}
	}
	if refused {
		return false
	}
	for _, i := range items {
		d.items = slices.DeleteFunc(d.items, func(old item) bool { return old.key == i.key })
		d.items = append(d.items, i)
	}
	return true
}

// isMade says whether the values name files that notes tell the operator to make.
func isMade(items []item) bool {
	return slices.ContainsFunc(items, func(i item) bool {
		return i.value == sessionSecretFile || i.value == redisURLFile || i.value == appSecretFile
	})
}

func (d *draft) has(key string) bool {
	return slices.ContainsFunc(d.items, func(i item) bool { return i.key == key })
}

func (d *draft) text(key string) string {
	for _, i := range d.items {
		if s, ok := i.value.(string); ok && i.key == key {
			return s
		}
	}
	return ""
}

// valid keeps the elements that package config takes where make puts them, and tells the others.
func (d *draft) valid(from string, values []string, section string, part func([]string) *yaml.Node) []string {
	try := func(values []string) []config.Problem {
		text, err := encode(mapping(field(section, part(values))))
		if err != nil {
			return []config.Problem{{Message: "has a value that cannot be written"}}
		}
		return d.problems(text, section)
	}
	if len(values) == 0 || len(try(values)) == 0 {
		return values
	}
	var kept []string
	for _, value := range values {
		if problems := try([]string{value}); len(problems) > 0 {
			d.note(from, "one value is not taken over: %s", problems[0].Message)
		} else {
			kept = append(kept, value)
		}
	}
	return kept
}

// emailDomains are the domains that can be compared exactly.
func (d *draft) emailDomains(from string, domains []string) []string {
	return d.valid(from, folded(domains), "allow", func(v []string) *yaml.Node {
		return sequence(mapping(field("email_domains", flow(v...))))
	})
}

// emails are the addresses.
func (d *draft) emails(from string, addresses []string) []string {
	return d.valid(from, folded(addresses), "allow", func(v []string) *yaml.Node {
		return sequence(mapping(field("emails", flow(v...))))
	})
}

// roles are the names that can be roles, in the place of groups. None: nobody can come in by them.
func (d *draft) roles(from string, groups []string) []string {
	d.note(from, "roles of the same names take the place; make them at Logto and give them to the people, nobody has one yet")
	kept := d.valid(from, groups, "allow", func(v []string) *yaml.Node {
		return sequence(mapping(field("roles", flow(v...))))
	})
	if len(kept) == 0 {
		d.note(from, "no group can be a role, so nobody comes in; write allow")
	}
	return kept
}

// folded is each value in lower case, once.
func folded(values []string) []string {
	var out []string
	for _, v := range values {
		if v = strings.ToLower(v); v != "" && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// everybody stands for those whom the other proxy let in without asking who they are: only an operator knows who that was,
// since Logto gives a code to whoever has an address. With roles, nobody comes in before the operator gives them one.
func (d *draft) everybody(from string, roles [][]string) {
	switch {
	case impossible(roles):
	case len(d.o.EmailDomains) > 0:
		if domains := d.emailDomains("--email-domains", d.o.EmailDomains); len(domains) > 0 {
			d.allow = append(d.allow, rule{domains: domains, roles: roles, from: "--email-domains"})
		}
	case len(roles) > 0:
		d.allow = append(d.allow, rule{domains: []string{"*"}, roles: roles, from: from})
	default:
		d.note(from, "everybody came in whom the other provider knew, which Logto cannot tell; say who may with --email-domains (\"*\": everybody who can receive a code)")
	}
}

// impossible says whether one of the restrictions lets nobody in.
func impossible(roles [][]string) bool {
	return slices.ContainsFunc(roles, func(list []string) bool { return len(list) == 0 })
}

// addHeader adds a header, if package config takes it.
func (d *draft) addHeader(h header) {
	d.told = true
	trial := draft{o: d.o, headers: append(slices.Clone(d.headers), h), told: true}
	text, err := trial.render()
	if err != nil {
		d.note(h.from, "has a value that cannot be written; write it by hand")
		return
	}
	if problems := d.problems(text, "identity"); len(problems) > 0 {
		d.note(h.from, "the header is not sent: %s", problems[0].Message)
		return
	}
	d.headers = append(d.headers, h)
}

// hasHeader says whether a header of that name is sent.
func (d *draft) hasHeader(name string) bool {
	return slices.ContainsFunc(d.headers, func(h header) bool { return strings.EqualFold(h.name, name) })
}

// addRoute adds a route, if package config takes it; a route of its own for each upstream that its hosts have.
func (d *draft) addRoute(r *route) bool {
	trial := draft{o: d.o, routes: append(slices.Clone(d.routes), r), allow: []rule{{domains: []string{"*"}}}}
	for _, i := range d.items {
		if strings.HasPrefix(i.key, "endpoints.") || i.key == "external_url" {
			trial.items = append(trial.items, i)
		}
	}
	if r.asked {
		trial.items = append(trial.items, item{"trusted_proxies", "", d.o.AskedBy})
	}
	text, err := trial.render()
	if err != nil {
		d.note(r.from, "has a value that cannot be written; write it by hand")
		return false
	}
	text = append(text, "insecure: [plain-http]\n"...)
	for _, p := range d.problems(text, "routes", "allow", "external_url", "endpoints", "insecure", "trusted_proxies") {
		if !strings.HasSuffix(p.Key, ".upstreams") { // told once, at the end
			d.note(r.from, "is not taken over: %s", p.Message)
			return false
		}
	}
	d.routes = append(d.routes, r)
	return true
}

// answersProxies is for a route of an application that the other proxy did not know, because it only answered the questions of
// another: Portero stands in front of it, at --upstream, or goes on answering.
func (d *draft) answersProxies(r *route) {
	host := ""
	if len(r.hosts) == 1 {
		host = r.hosts[0]
	}
	r.upstream = d.upstreamOf(host)
	r.asked = r.upstream == "" && len(d.o.AskedBy) > 0
}

// goesOnAnswering reports whether there is such a route.
func (d *draft) goesOnAnswering() bool {
	return slices.ContainsFunc(d.routes, func(r *route) bool { return r.asked })
}

func (d *draft) upstreamOf(host string) string {
	if u := d.o.Upstreams[host]; u != "" {
		return u
	}
	return d.o.Upstreams[""]
}

// external writes how browsers reach Portero: as the operator says, else as the other configuration does.
func (d *draft) external(found, from string, plainHTTP bool) {
	typed := d.o.ExternalURL != ""
	if typed {
		found, from = d.o.ExternalURL, "--external-url"
	}
	if found == "" {
		d.note("external_url", "is not known; give --external-url https://…, the address that people open")
		return
	}
	u, err := url.Parse(found)
	if err != nil || u.Host == "" || u.User != nil {
		d.note(from, "has no host that browsers could open; give --external-url https://…")
		return
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		if !plainHTTP {
			d.note(from, "is http, so everybody on the way would read sessions; give --external-url https://…")
			return
		}
		if d.set(item{"insecure", "cookies that were not bound to https", []string{config.InsecurePlainHTTP}}) {
			d.note(from, "is http, and so everybody on the way reads sessions, as before; take plain-http out of `insecure` once the address is https")
		}
	}
	d.set(item{"external_url", from, u.Scheme + "://" + u.Host})
}

func isLoopback(host string) bool {
	return host == "localhost" || strings.HasPrefix(host, "127.") || host == "::1"
}

// externalHost is the host of external_url; "" if it is not known.
func (d *draft) externalHost() string {
	if u, err := url.Parse(d.text("external_url")); err == nil {
		return u.Hostname()
	}
	return ""
}

// lifetime writes how long people stay signed in.
func (d *draft) lifetime(from string, length time.Duration) {
	const longest, shortest = 336 * time.Hour, time.Minute
	switch {
	case length > longest:
		d.note(from, "is over 336h, the longest there is; people sign in again after that")
		length = longest
	case length < shortest:
		d.note(from, "is under a minute, the shortest there is; a minute is written")
		length = shortest
	}
	d.set(item{"session.lifetime", from, shortDuration(length)})
}

// shortDuration is 168h rather than 168h0m0s.
func shortDuration(length time.Duration) string {
	s := length.String()
	s = strings.TrimSuffix(s, "m0s")
	if len(s) < len(length.String()) {
		s += "m"
	}
	if trimmed, ok := strings.CutSuffix(s, "h0m"); ok {
		s = trimmed + "h"
	}
	return s
}

// listen writes the address of the listener, which may have a scheme in front.
func (d *draft) listen(from, address string) {
	address = strings.TrimPrefix(strings.TrimPrefix(address, "http://"), "https://")
	if strings.HasPrefix(address, "unix:") || strings.HasPrefix(strings.ToLower(address), "fd:") {
		d.note(from, "is a socket, and Portero listens on addresses; write listen: 127.0.0.1:3000 and let the proxy in front ask there")
		return
	}
	d.set(item{"listen", from, address})
}

// logto writes what is known of the provider, which is another one from now on.
func (d *draft) logto() {
	if d.o.LogtoEndpoint == "" {
		d.note("logto.endpoint", "people sign in with Logto from now on; give --logto-endpoint https://…")
	} else {
		d.set(item{"logto.endpoint", "--logto-endpoint", d.o.LogtoEndpoint})
	}
	if d.o.AppID == "" {
		d.note("logto.app_id", "make the application with portero setup apply, which prints its id, or in Logto's console; then give --app-id")
	} else {
		d.set(item{"logto.app_id", "--app-id", d.o.AppID})
	}
	d.set(item{"logto.app_secret_file", "portero setup apply writes it", appSecretFile})
}

// sessionSecret names the file with the secret that replicas share.
func (d *draft) sessionSecret() item {
	d.note("session.secret_file", "run portero secret > %s, mode 0600; every replica needs the same", sessionSecretFile)
	return item{"session.secret_file", "made by portero secret", sessionSecretFile}
}

// result completes the configuration and looks at it as a whole.
func (d *draft) result() (*Result, error) {
	if len(d.routes) == 0 {
		d.note("routes", "there is nothing to stand in front of; give --upstream http://HOST:PORT, or write routes")
	}
	for _, r := range d.routes {
		if r.upstream == "" && r.access != config.AccessDeny && !r.asked {
			d.note("routes", "where the application is stood with another proxy; give --upstream http://HOST:PORT, or --upstream HOST=URL for each host; or, where that proxy goes on asking, --asked-by with its address")
			break
		}
	}
	if d.goesOnAnswering() {
		d.trustAsking()
	}
	needs := slices.ContainsFunc(d.routes, func(r *route) bool { return r.access == config.AccessSignedIn && len(r.allow) == 0 })
	if needs && len(d.allow) == 0 {
		d.note("allow", "nobody could come in; say who may with --email-domains, or write allow")
	}
	text, err := d.render()
	if err != nil {
		return nil, err
	}
	_, err = config.Load(config.Options{Path: "portero.yaml", Text: text, Env: d.standIns(), WorkDir: d.o.Dir})
	var problems config.Problems
	errors.As(err, &problems)
	for _, p := range problems {
		known := strings.HasSuffix(p.Key, "_file") || strings.HasSuffix(p.Key, ".upstreams") || p.Key == "routes" ||
			(p.Key == "allow" || strings.HasSuffix(p.Key, ".allow")) && len(d.allow) == 0
		if !known {
			d.note("portero check", "%s %s", p.Key, p.Message)
		}
	}
	head := "# Made from the configuration of " + d.peer + " by portero import. A comment names the option that a value comes from.\n\n"
	return &Result{YAML: append([]byte(head), text...), Notes: together(d.notes)}, nil
}

// trustAsking writes who may ask, beside the proxies that are trusted already.
func (d *draft) trustAsking() {
	trusted := item{"trusted_proxies", "--asked-by", slices.Clone(d.o.AskedBy)}
	for _, i := range d.items {
		if list, ok := i.value.([]string); ok && i.key == trusted.key {
			trusted = item{i.key, i.from + ", --asked-by", append(slices.Clone(list), d.o.AskedBy...)}
		}
	}
	d.set(trusted)
	d.note("the proxy in front", "it goes on asking: docs/forward-auth.md says what it has to send, and what it has to keep to itself")
}

// standIns are variables for what the operator still has to say, or to put into files.
func (d *draft) standIns() []string {
	env := []string{"PORTERO_LOGTO_APP_SECRET=Zq3vT8yN5wR1"}
	if !d.has("logto.endpoint") {
		env = append(env, "PORTERO_LOGTO_ENDPOINT=https://tenant.logto.app/")
	}
	if !d.has("logto.app_id") {
		env = append(env, "PORTERO_LOGTO_APP_ID=k2x9w4")
	}
	if d.has("session.secret_file") {
		env = append(env, "PORTERO_SESSION_SECRET=Zq3vT8yN5wR1kLm7xPd2sGh9bJc4fVa6")
	}
	if d.has("session.redis.url_file") {
		env = append(env, "PORTERO_SESSION_REDIS_URL=rediss://127.0.0.1:6379/0")
	}
	return env
}

// order is the order of the keys in the file.
var order = strings.Fields(`listen external_url trusted_proxies admin.metrics_listen tls.cert_file tls.key_file
	logto.endpoint logto.app_id logto.app_secret_file
	session.store session.lifetime session.secret_file
	session.redis.url session.redis.url_file session.redis.addresses session.redis.master_name session.redis.cluster session.redis.tls.ca_file
	endpoints.callback endpoints.prefix endpoints.aliases insecure log.level log.format log.access`)

// render writes the configuration.
func (d *draft) render() ([]byte, error) {
	root := mapping()
	for _, key := range order {
		for _, i := range d.items {
			if i.key == key {
				put(root, strings.Split(key, "."), i)
			}
		}
	}
	if len(d.allow) > 0 {
		root.Content = append(root.Content, key("allow"), rules(d.allow))
	}
	if d.told {
		list := sequence()
		for i, h := range d.headers {
			if i > 0 && h.from == d.headers[i-1].from {
				h.from = ""
			}
			list.Content = append(list.Content, h.node())
		}
		if len(d.headers) == 0 {
			list.Style = yaml.FlowStyle
		}
		root.Content = append(root.Content, key("identity"), mapping(field("headers", list)))
	}
	if len(d.routes) > 0 {
		list := sequence()
		for _, r := range d.routes {
			list.Content = append(list.Content, r.node())
		}
		root.Content = append(root.Content, key("routes"), list)
	}
	if len(root.Content) == 0 {
		return []byte("{}\n"), nil
	}
	return encode(root)
}

func encode(n *yaml.Node) ([]byte, error) {
	var b bytes.Buffer
	y := yaml.NewEncoder(&b)
	y.SetIndent(2)
	if err := y.Encode(n); err != nil {
		return nil, errors.New("a value cannot be written as YAML")
	}
	if err := y.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// put writes a value under its path.
func put(n *yaml.Node, path []string, i item) {
	if len(path) > 1 {
		for at := 0; at < len(n.Content); at += 2 {
			if n.Content[at].Value == path[0] {
				put(n.Content[at+1], path[1:], i)
				return
			}
		}
		below := mapping()
		n.Content = append(n.Content, key(path[0]), below)
		put(below, path[1:], i)
		return
	}
	var value *yaml.Node
	switch v := i.value.(type) {
	case bool:
		value = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(v)}
	case []string:
		value = flow(v...)
	case string:
		value = text(v)
	}
	value.LineComment = comment(i.from)
	n.Content = append(n.Content, key(path[0]), value)
}

func comment(from string) string {
	if from == "" {
		return ""
	}
	return "# " + plain(from, 100)
}

func rules(list []rule) *yaml.Node {
	out := sequence()
	for _, r := range list {
		n := mapping()
		n.Style = yaml.FlowStyle
		add := func(name string, values []string) {
			if len(values) > 0 {
				n.Content = append(n.Content, field(name, flow(values...))...)
			}
		}
		add("emails", r.emails)
		add("email_domains", r.domains)
		for i, roles := range r.roles {
			if i == 0 {
				add("roles", roles)
			} else if i == 1 {
				n.Content = append(n.Content, field("claims", sequence())...)
			}
			if i > 0 {
				claims := n.Content[len(n.Content)-1]
				claims.Style = yaml.FlowStyle
				claims.Content = append(claims.Content, mapping(field("name", text("roles")), field("values", flow(roles...))))
			}
		}
		n.HeadComment = comment(r.from)
		out.Content = append(out.Content, n)
	}
	return out
}

func (h header) node() *yaml.Node {
	n := mapping(field("name", text(h.name)))
	n.Style = yaml.FlowStyle
	if len(h.claims) == 1 {
		n.Content = append(n.Content, field("claim", text(h.claims[0]))...)
	} else {
		n.Content = append(n.Content, field("claim", flow(h.claims...))...)
	}
	if h.join != "" {
		n.Content = append(n.Content, field("join", text(h.join))...)
	}
	n.HeadComment = comment(h.from)
	return n
}

func (r *route) node() *yaml.Node {
	n := mapping()
	add := func(name string, value *yaml.Node) { n.Content = append(n.Content, field(name, value)...) }
	if r.name != "" {
		add("name", text(r.name))
	}
	if len(r.hosts) > 0 {
		add("hosts", flow(r.hosts...))
	}
	add("path", text(r.path))
	if r.match == config.MatchExact {
		add("match", text(r.match))
	}
	if len(r.methods) > 0 {
		add("methods", flow(r.methods...))
	}
	if r.upstream != "" {
		one := mapping(field("url", text(r.upstream)))
		one.Style = yaml.FlowStyle
		list := sequence(one)
		list.Style = yaml.FlowStyle
		add("upstreams", list)
	}
	if r.asked {
		add("forward_auth_only", truth(true))
	}
	add("access", text(r.access))
	if len(r.allow) > 0 {
		add("allow", rules(r.allow))
	}
	if r.strip {
		add("strip_prefix", truth(true))
	}
	if r.ownHost {
		add("preserve_host", truth(false))
	}
	if r.timeout != "" {
		add("timeouts", mapping(field("response_header", text(r.timeout))))
	}
	n.HeadComment = comment(r.from)
	return n
}

func text(value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
}

func key(name string) *yaml.Node { return text(name) }

func truth(on bool) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(on)}
}

func flow(values ...string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, v := range values {
		n.Content = append(n.Content, text(v))
	}
	return n
}

func sequence(elements ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.SequenceNode, Content: elements}
}

// field is a key and its value, as the content of a mapping has them.
func field(name string, value *yaml.Node) []*yaml.Node { return []*yaml.Node{key(name), value} }

func mapping(fields ...[]*yaml.Node) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range fields {
		n.Content = append(n.Content, f...)
	}
	return n
}
