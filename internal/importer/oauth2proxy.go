package importer

import (
	"encoding/csv"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"portero/internal/config"
)

// oauth is an import of oauth2-proxy.
type oauth struct {
	draft
	settings
	upstreams []upstream
	asked     bool // it answers another proxy, and knows no application
	public    []public
	needed    [][]string // roles: of each list one is needed
}

// upstream is where oauth2-proxy sends a path.
type upstream struct {
	from, path, rewrite string
	uri                 string
	static              bool
	insecureTLS         bool
	ownHost             bool
	timeout             string
}

// public is a path that nobody signs in for.
type public struct {
	pattern
	methods []string // nil: all
	from    string
}

// OAuth2Proxy writes the configuration of oauth2-proxy as Portero's. The error says which input cannot be read.
func OAuth2Proxy(in Input, o Options) (*Result, error) {
	d := &oauth{draft: draft{o: o, peer: "oauth2-proxy"}, settings: settings{}}
	if err := d.read(in); err != nil {
		return nil, err
	}
	alpha := &tree{fields: map[string]*tree{}}
	if in.Alpha != nil {
		var err error
		if alpha, err = readYAML(in.Alpha); err != nil {
			return nil, fmt.Errorf("the alpha configuration: %w", err)
		}
	}
	d.external(d.redirectURL(), "redirect_url", d.has("cookie_secure") && !d.is("cookie_secure", true))
	d.proxies()
	d.logto()
	d.sessions()
	d.prefix()
	d.alpha(alpha)
	d.people()
	if in.Alpha == nil {
		d.legacyServer()
		d.legacyUpstreams()
		d.legacyHeaders()
	}
	d.publicPaths()
	d.applications()
	if d.settings.has("request_logging") && !d.is("request_logging", true) {
		d.set(item{"log.access", "request_logging", false})
	}
	d.rest(in.Alpha != nil)
	return d.result()
}

func (d *oauth) has(name string) bool { return d.settings.has(name) }

func (d *oauth) text(name string) string { return d.settings.text(name) }

// read puts the flags over the variables and these over the file.
func (d *oauth) read(in Input) error {
	file, err := readTOML(in.Config, true)
	if err != nil {
		return fmt.Errorf("%s: %w", fileName(in), err)
	}
	d.merge(file)
	variables, err := readEnv(in.Env)
	if err != nil {
		return fmt.Errorf("the file with variables: %w", err)
	}
	for _, name := range variables.sorted() {
		if option, ok := strings.CutPrefix(name, "OAUTH2_PROXY_"); ok {
			d.settings[strings.ToLower(option)] = variables[name]
		} else {
			d.note(name, "is no variable of oauth2-proxy; nothing is made of it")
		}
	}
	d.merge(d.readArgs(in.Args, oauthFlag))
	return nil
}

func fileName(in Input) string {
	if in.Name == "" {
		return "the file"
	}
	return in.Name
}

// redirectURL is how browsers reach oauth2-proxy; "" if it says no host.
func (d *oauth) redirectURL() string {
	found := d.text("redirect_url")
	if u, err := url.Parse(found); found != "" && (err != nil || u.Host == "") {
		d.note("redirect_url", "has no host that browsers could open; give --external-url https://…")
		return ""
	}
	if found != "" {
		d.note("redirect_url", "the redirect URI is another one, which portero check prints and portero setup apply enters at Logto")
	}
	return found
}

// proxies writes who is believed about clients.
func (d *oauth) proxies() {
	const ips = "trusted_proxy_ips"
	if !d.is("reverse_proxy", false) {
		if d.has(ips) {
			d.note(ips, "counted with reverse_proxy alone, which was off; write trusted_proxies if there is a proxy in front")
		}
		return
	}
	networks := d.all(ips)
	if len(networks) == 0 {
		d.note("reverse_proxy", "everybody was believed, and nobody is here; write the networks of your proxies in trusted_proxies")
		return
	}
	var kept []string
	for _, n := range networks {
		if d.set(item{"trusted_proxies", ips, append(slices.Clone(kept), n)}) {
			kept = append(kept, n)
		}
	}
}

func (d *oauth) sessions() {
	length, from := 168*time.Hour, "the default of oauth2-proxy"
	if d.has("cookie_expire") {
		from = "cookie_expire"
		parsed, err := readDuration(d.text("cookie_expire"))
		switch {
		case err != nil:
			d.note(from, "is no duration, so the default of oauth2-proxy is written; write session.lifetime")
		case parsed == 0:
			d.note(from, "meant until the browser is closed, which is no bound; %s is written as session.lifetime", shortDuration(length))
		default:
			length = parsed
		}
	}
	d.lifetime(from, length)
	switch store := d.text("session_store_type"); store {
	case "redis":
		d.redis()
	case "", "cookie":
		d.note("session_store_type", "sessions lie in a file beside the configuration, no longer in cookies; for several replicas write session.store: redis")
	default:
		d.note("session_store_type", "is unknown; sessions lie in a file beside the configuration")
	}
	if d.text("session_store_type") != "redis" {
		for _, name := range d.sorted() {
			if strings.HasPrefix(name, "redis_") && oauthOptions[name].text == "" {
				d.note(name, "counted with session_store_type redis alone, which it was not")
			}
		}
	}
}

// readDuration takes 168h, and nanoseconds, which a number without a unit is there.
func readDuration(text string) (time.Duration, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Duration(n), nil
	}
	return time.ParseDuration(text)
}

// redis writes the store. A password is never written: its URL stands in a file that the operator makes.
func (d *oauth) redis() {
	items := []item{{"session.store", "session_store_type", config.StoreRedis}, d.sessionSecret()}
	urls, from := []string{d.text("redis_connection_url")}, "redis_connection_url"
	switch {
	case d.is("redis_use_sentinel", false):
		from = "redis_sentinel_connection_urls"
		urls = d.all(from)
		items = append(items, item{"session.redis.master_name", "redis_sentinel_master_name", d.text("redis_sentinel_master_name")})
	case d.is("redis_use_cluster", false):
		from = "redis_cluster_connection_urls"
		urls = d.all(from)
		items = append(items, item{"session.redis.cluster", "redis_use_cluster", true})
	}
	secret := d.text("redis_password") != ""
	scheme, database := "redis", "0"
	var addresses []string
	for _, text := range urls {
		u, err := url.Parse(text)
		// Where a password has a character that ends it, a part of it stands where the host is taken from.
		broken := strings.Contains(text, "@") && (err != nil || u.User == nil)
		secret = secret || broken
		if err != nil || u.Hostname() == "" || broken {
			if !strings.HasPrefix(text, "unix:") {
				d.note(from, "has an address that is none; write session.redis by hand")
			}
			continue
		}
		secret = secret || u.User != nil
		if u.Scheme == "rediss" {
			scheme = "rediss"
		}
		if n := strings.Trim(u.Path, "/"); n != "" && from == "redis_connection_url" {
			database = safeNumber(n)
		}
		address := u.Host
		if u.Port() == "" {
			address += ":6379"
		}
		addresses = append(addresses, address)
	}
	host := "127.0.0.1:6379"
	if from != "redis_connection_url" {
		items = append(items, item{"session.redis.addresses", from, addresses})
		d.unused("redis_connection_url", "did not count beside %s", from)
	}
	if len(addresses) > 0 {
		host = addresses[0]
	}
	switch {
	case secret || d.text("redis_username") != "":
		items = append(items, item{"session.redis.url_file", from + ", which had a password", redisURLFile})
		d.note(from, "has a password, which is not copied: write %s://USER:PASSWORD@HOST:PORT/%s, with your values, into the file %s, mode 0600", scheme, database, redisURLFile)
	case strings.HasPrefix(urls0(urls), "unix:"):
		d.note(from, "is a socket; write session.redis.url: unix:///run/redis/redis.sock?db=0")
	default:
		items = append(items, item{"session.redis.url", from, scheme + "://" + host + "/" + database})
	}
	if ca := d.text("redis_ca_path"); ca != "" {
		if scheme == "rediss" {
			items = append(items, item{"session.redis.tls.ca_file", "redis_ca_path", ca})
		} else {
			d.note("redis_ca_path", "counts with TLS alone; write rediss:// and session.redis.tls.ca_file")
		}
	}
	if !d.set(items...) && !d.set(items[:2]...) {
		d.note("session_store_type", "Redis could not be written; write session.store: redis and session.redis by hand")
	}
}

func urls0(urls []string) string {
	if len(urls) == 0 {
		return ""
	}
	return urls[0]
}

// safeNumber is the number of a database, and nothing that may be a part of a password.
func safeNumber(s string) string {
	if n, err := strconv.Atoi(s); err == nil {
		return strconv.Itoa(n)
	}
	return "0"
}

func (d *oauth) unused(name, format string, args ...any) {
	if d.has(name) {
		d.note(name, format, args...)
	}
}

func (d *oauth) prefix() {
	if p := d.text("proxy_prefix"); p != "" {
		if d.set(item{"endpoints.prefix", "proxy_prefix", "/" + strings.Trim(p, "/")}) {
			d.note("proxy_prefix", "what is below it is Portero's own (/callback, /sign-out, /session …); change links to /start, /sign_in, /sign_out and /userinfo")
		}
	}
}

// people writes who may come in: an address of one of the domains or of the file, and of each group one.
func (d *oauth) people() {
	for _, name := range oauthRestrictions {
		groups := d.all(name)
		if len(groups) == 0 {
			continue
		}
		if name == "github_users" && (d.has("github_org") || d.has("github_team") || d.has("github_repo")) {
			d.note(name, "came in without belonging to the group; give these people the role at Logto")
			continue
		}
		d.needed = append(d.needed, d.roles(name, groups))
	}
	if impossible(d.needed) {
		return
	}
	var exact []string
	everybody := false
	for _, domain := range d.all("email_domains") {
		switch {
		case domain == "*":
			everybody = true
		case strings.HasPrefix(domain, ".") || strings.HasPrefix(domain, "*."):
			d.note("email_domains", "one names subdomains, which are not matched; write each domain in full under allow")
		default:
			exact = append(exact, domain)
		}
	}
	nobody := !d.has("email_domains") && !d.has("authenticated_emails_file") // with which it did not start
	if everybody || nobody && len(d.o.EmailDomains) > 0 {
		d.everybody("email_domains", d.needed)
	}
	if domains := d.emailDomains("email_domains", exact); len(domains) > 0 {
		d.allow = append(d.allow, rule{domains: domains, roles: d.needed, from: "email_domains"})
	}
	if addresses := d.addressFile(); len(addresses) > 0 {
		d.allow = append(d.allow, rule{emails: addresses, roles: d.needed, from: "authenticated_emails_file"})
	}
}

// addressFile reads the addresses, the first column of a file with commas.
func (d *oauth) addressFile() []string {
	const option = "authenticated_emails_file"
	name := d.text(option)
	if name == "" {
		return nil
	}
	if d.o.ReadFile == nil {
		d.note(option, "was not read; write its addresses as an entry `emails` of allow")
		return nil
	}
	content, err := d.o.ReadFile(name)
	if err != nil {
		d.note(option, "cannot be read here; write its addresses as an entry `emails` of allow")
		return nil
	}
	if checkText(content) != nil {
		d.note(option, "is larger than 1 MiB or not UTF-8; write its addresses as an entry `emails` of allow")
		return nil
	}
	r := csv.NewReader(strings.NewReader(string(content)))
	r.Comment, r.TrimLeadingSpace = '#', true
	rows, err := r.ReadAll()
	if err != nil {
		d.note(option, "is not a list of addresses; write them as an entry `emails` of allow")
		return nil
	}
	var addresses []string
	for _, row := range rows {
		addresses = append(addresses, strings.TrimSpace(row[0]))
	}
	d.note(option, "its addresses are copied; further ones are written into the configuration, or given a role at Logto")
	return d.emails(option, addresses)
}

func (d *oauth) legacyServer() {
	cert, key := d.text("tls_cert_file"), d.text("tls_key_file")
	if cert != "" || key != "" {
		d.server("https_address", d.standard("https_address", ":443"), "tls_cert_file", cert, "tls_key_file", key)
		d.unused("http_address", "did not count beside a certificate")
	} else {
		from := "http_address"
		if !d.has(from) {
			from = "the default of oauth2-proxy"
		}
		d.listen(from, d.standard("http_address", "127.0.0.1:4180"))
		d.unused("https_address", "did not count without a certificate")
	}
	if metrics := d.text("metrics_address"); metrics != "" && metrics != "-" {
		d.set(item{"admin.metrics_listen", "metrics_address", strings.TrimPrefix(metrics, "http://")})
	}
}

func (d *oauth) server(from, address, certFrom, cert, keyFrom, key string) {
	d.listen(from, address)
	d.set(item{"tls.cert_file", certFrom, cert}, item{"tls.key_file", keyFrom, key})
}

func (d *oauth) standard(name, value string) string {
	if t := d.text(name); t != "" {
		return t
	}
	return value
}

func (d *oauth) legacyUpstreams() {
	for i, text := range d.all("upstreams") {
		from := fmt.Sprintf("upstreams[%d]", i)
		u, err := url.Parse(text)
		if err != nil {
			d.note(from, "is no URL; write a route by hand")
			continue
		}
		one := upstream{from: from, path: u.Path, uri: text, ownHost: !d.is("pass_host_header", true), timeout: d.text("upstream_timeout")}
		switch u.Scheme {
		case "static":
			one.static, one.path = true, "/"
		case "file", "unix":
			one.path = "/"
		}
		d.upstreams = append(d.upstreams, one)
	}
}

// legacyHeaders writes which headers applications got, and those that another proxy was told.
func (d *oauth) legacyHeaders() {
	d.told = true
	user, from := "sub", "pass_user_headers"
	if d.is("prefer_email_to_user", false) {
		user = "email"
	}
	if d.is("pass_basic_auth", true) || d.is("pass_user_headers", true) {
		d.addHeader(header{name: "X-Forwarded-User", claims: []string{user}, from: from})
		if user != "email" {
			d.addHeader(header{name: "X-Forwarded-Email", claims: []string{"email"}, from: from})
		}
		d.addHeader(header{name: "X-Forwarded-Preferred-Username", claims: oauthClaims["preferred_username"], from: from})
		d.addHeader(header{name: "X-Forwarded-Groups", claims: []string{"roles"}, join: ",", from: from})
	}
	if d.is("set_xauthrequest", false) {
		from = "set_xauthrequest"
		for _, h := range []struct{ name, claim string }{
			{"X-Auth-Request-User", "user"}, {"X-Auth-Request-Email", "email"},
			{"X-Auth-Request-Preferred-Username", "preferred_username"}, {"X-Auth-Request-Groups", "groups"},
		} {
			d.addHeader(header{name: h.name, claims: oauthClaims[h.claim], join: joinOf(h.claim), from: from})
		}
	}
}

// oauthClaims are what sessions of oauth2-proxy hold, and where Logto has it. // :: name there → claims
var oauthClaims = map[string][]string{
	"user": {"sub"}, "email": {"email"}, "groups": {"roles"}, "preferred_username": {"username", "email"},
}

func joinOf(claim string) string {
	if claim == "groups" {
		return ","
	}
	return ""
}

// publicPaths are the expressions that mean exactly what a route can say.
func (d *oauth) publicPaths() {
	for i, expression := range d.all("skip_auth_regex") {
		d.publicPath(fmt.Sprintf("skip_auth_regex[%d]", i), expression, "")
	}
	between := regexp.MustCompile("!?=")
	for i, text := range d.all("skip_auth_routes") {
		from := fmt.Sprintf("skip_auth_routes[%d]", i)
		if strings.Contains(text, "!=") {
			d.note(from, "%q names what is protected, and so opens everything else: it is not taken over, all stays protected; write a public route for each path that everybody may open", text)
			continue
		}
		parts := between.Split(text, 2)
		if len(parts) == 1 {
			d.publicPath(from, parts[0], "")
		} else {
			d.publicPath(from, parts[1], strings.ToUpper(parts[0]))
		}
	}
}

func (d *oauth) publicPath(from, expression, method string) {
	p, ok := parseRegex(expression)
	if !ok {
		d.note(from, "%q is not exactly a path or everything below one (^/path$, ^/path/?$, ^/path(/|$), ^/path/, with dots as \\.): it stays protected; write a public route", expression)
		return
	}
	one := public{pattern: p, from: from}
	if method != "" {
		one.methods = []string{method}
	}
	for i, other := range d.public {
		if other.path != p.path || other.match != p.match {
			continue
		}
		d.public[i].slash = other.slash || p.slash
		switch {
		case method == "":
			d.public[i].methods = nil
			return
		case other.methods == nil:
			return
		default:
			if !slices.Contains(other.methods, method) {
				d.public[i].methods = append(other.methods, method)
			}
			return
		}
	}
	d.public = append(d.public, one)
}

// applications writes the routes.
func (d *oauth) applications() {
	for _, u := range d.upstreams {
		d.application(u)
	}
	if len(d.routes) == 0 && (d.upstreamOf("") != "" || len(d.o.AskedBy) > 0) { // file:///dev/null is one way to have none
		d.asked = true
		r := &route{path: "/", match: config.MatchPrefix, access: config.AccessSignedIn, from: "--upstream"}
		d.answersProxies(r)
		d.addRoute(r)
	}
	switch {
	case d.asked && d.goesOnAnswering():
		d.set(item{"endpoints.aliases", "--asked-by", config.AliasesOAuth2Proxy})
	case d.asked:
		d.note("upstreams", "it answered another proxy's questions; Portero stands in front of the application itself, at --upstream")
	}
	protected := slices.Clone(d.routes)
	for _, p := range d.public {
		d.publicRoute(p, protected)
	}
}

var rewriteBelow = regexp.MustCompile(`^\^(/[A-Za-z0-9._~-]+(?:/[A-Za-z0-9._~-]+)*)/\(\.\*\)\$?$`)

// application writes the route of one upstream.
func (d *oauth) application(u upstream) {
	r := &route{path: u.path, match: config.MatchPrefix, access: config.AccessSignedIn, ownHost: u.ownHost, from: u.from}
	switch {
	case u.rewrite != "":
		below := rewriteBelow.FindStringSubmatch(u.path)
		if below == nil || u.rewrite != "/$1" || strings.Contains(below[1], ".") {
			d.note(u.from, "rewrites paths, and only ^/path/(.*) to /$1 has a counterpart (strip_prefix); let the application answer under the path as it is")
			return
		}
		r.path, r.strip = below[1], true
	case u.path == "":
		r.path = "/"
	case u.path != "/" && strings.HasSuffix(u.path, "/"):
		r.path = strings.TrimSuffix(u.path, "/")
	case u.path != "/":
		r.match = config.MatchExact
	}
	target, err := url.Parse(u.uri)
	switch {
	case u.static:
		d.asked = true
		d.answersProxies(r)
	case err != nil || target.Scheme != "http" && target.Scheme != "https" || target.Host == "":
		d.note(u.from, "is no application over http or https; let a web server answer there and write a route to it")
		return
	case target.User != nil:
		d.note(u.from, "has a user or a password in its URL; write a route to the URL without")
		return
	default:
		r.upstream = target.Scheme + "://" + target.Host
	}
	if u.insecureTLS {
		d.note(u.from, "%s", oauthOptions["ssl_upstream_insecure_skip_verify"].text)
	}
	if u.timeout != "" {
		if length, err := readDuration(u.timeout); err == nil && length >= 0 {
			r.timeout = shortDuration(length)
		} else {
			d.note(u.from, "has a timeout that is no duration; write timeouts.response_header")
		}
	}
	d.addRoute(r)
}

// publicRoute opens a path that nobody signed in for, at the upstream that has it.
func (d *oauth) publicRoute(p public, protected []*route) {
	var best *route
	for _, r := range protected {
		of := pattern{path: r.path, match: r.match}
		switch {
		case of.covers(p.pattern):
			if best == nil || len(r.path) > len(best.path) || len(r.path) == len(best.path) && r.match == config.MatchExact {
				best = r
			}
		case p.covers(of):
			d.note(p.from, "the route %s below it stays protected; write access: public there if everybody may open it", r.path)
		}
	}
	if best == nil {
		d.note(p.from, "no upstream has the path, so there is nothing to open")
		return
	}
	if p.slash {
		d.note(p.from, "%s and %s/ are one path here, and both are open; remove the route if the application shows something else on one of them", p.path, p.path)
	}
	if best.path == p.path && best.match == p.match && len(p.methods) == 0 {
		if best.path != "/" || best.match == config.MatchExact {
			best.access, best.from = config.AccessPublic, best.from+", "+p.from
		}
		return
	}
	if best.strip {
		d.note(p.from, "is below a path that is taken away before forwarding, which a route below it cannot do: it stays protected")
		return
	}
	d.addRoute(&route{path: p.path, match: p.match, methods: p.methods, upstream: best.upstream, asked: best.asked, access: config.AccessPublic,
		ownHost: best.ownHost, timeout: best.timeout, from: p.from})
}

// rest tells what has no counterpart.
func (d *oauth) rest(alpha bool) {
	replaced := strings.Fields(`http_address https_address tls_cert_file tls_key_file metrics_address upstreams upstream_timeout
		pass_host_header pass_basic_auth pass_user_headers prefer_email_to_user set_xauthrequest`)
	for _, name := range d.sorted() {
		o, known := oauthOptions[name]
		switch {
		case !known:
			d.note(name, "is no option of oauth2-proxy that is known here; look what it did, and write it by hand")
		case o.text != "":
			if !o.truth || d.is(name, true) { // what was switched off asks for nothing
				d.note(name, "%s", o.text)
			}
		case alpha && slices.Contains(replaced, name):
			d.note(name, "did not count beside the alpha configuration")
		}
	}
}
