package config

import (
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"portero/internal/expression"
)

// checkAllow checks `allow` and writes out its short form.
func (d *decoder) checkAllow(c *Config) {
	d.takesTokens = slices.ContainsFunc(c.Routes, func(r Route) bool { return r.Bearer.Audience != "" })
	if len(c.EmailDomains) > 0 {
		for i, domain := range c.EmailDomains {
			d.checkDomain(fmt.Sprintf("email_domains[%d]", i), &c.EmailDomains[i], domain)
		}
		if len(c.Allow) > 0 {
			d.problem("email_domains", "excludes `allow`; keep one of them")
		}
		c.Allow = append(c.Allow, Rule{EmailDomains: c.EmailDomains})
		c.EmailDomains = nil
		return
	}
	d.checkRules("allow", c.Allow)
}

func (d *decoder) checkRules(path string, rules []Rule) {
	for i := range rules {
		r, at := &rules[i], fmt.Sprintf("%s[%d]", path, i)
		if d.ok(at) && len(r.Emails)+len(r.EmailDomains)+len(r.Roles)+len(r.Organizations)+len(r.OrganizationRoles)+len(r.Claims)+len(r.Networks) == 0 && r.Expression == "" && !d.anyBadBelow(at) {
			if len(r.Methods) > 0 {
				d.problem(at+".methods", "says how, and nothing says who; write who is meant, or email_domains: [\"*\"] for everybody with an address")
			} else {
				d.problem(at, "says nothing; write who is meant, or email_domains: [\"*\"] for everybody with an address")
			}
		}
		for j, email := range r.Emails {
			d.checkEmail(fmt.Sprintf("%s.emails[%d]", at, j), &r.Emails[j], email)
		}
		for j, domain := range r.EmailDomains {
			d.checkDomain(fmt.Sprintf("%s.email_domains[%d]", at, j), &r.EmailDomains[j], domain)
		}
		for j, membership := range r.OrganizationRoles {
			if organization, role, ok := strings.Cut(membership, ":"); !ok || organization == "" || role == "" {
				d.problem(fmt.Sprintf("%s.organization_roles[%d]", at, j), "%s is no role in an organization; write ORGANIZATION:ROLE, like org-id:admin", quote(membership))
			}
		}
		d.checkMethods(at, r.Methods)
		if r.Expression != "" {
			d.checkExpression(at+".expression", r.Expression)
		}
		for j, claim := range r.Claims {
			below := fmt.Sprintf("%s.claims[%d]", at, j)
			if claim.Name == "" && d.ok(below) && d.ok(below+".name") {
				d.problem(below+".name", "is missing; write the claim that is compared, like custom_data.department")
			}
			if len(claim.Values) == 0 && d.ok(below) && !d.anyBadBelow(below+".values") && d.ok(below+".values") {
				d.problem(below+".values", "is missing; write the values that are let in")
			}
			if claim.Name == "email" {
				for k, value := range claim.Values {
					d.checkEmail(fmt.Sprintf("%s.values[%d]", below, k), &claim.Values[k], value)
				}
			}
			d.warnAboutClaim(below+".name", claim.Name)
		}
	}
}

// checkExpression checks an expression as it is checked again where rules are made, and the claims that it looks at.
func (d *decoder) checkExpression(path, text string) {
	p, err := expression.Compile(text)
	if err != nil {
		d.problem(path, "%s", err)
		return
	}
	d.expressions[text] = p
	claims, dynamic := p.Claims()
	for _, claim := range claims {
		d.warnAboutClaim(path, claim)
	}
	if dynamic {
		d.warn(path, "looks at claims whose names are not known until somebody comes, so that Logto is not asked for them; name them, like claims.roles, or write their scopes into logto.scopes")
	}
}

// anyBadBelow says whether something in a section was refused, so that its being empty says nothing.
func (d *decoder) anyBadBelow(path string) bool {
	for bad := range d.bad {
		if strings.HasPrefix(bad, path+".") || strings.HasPrefix(bad, path+"[") {
			return true
		}
	}
	return false
}

func (d *decoder) checkEmail(path string, to *string, email string) {
	local, domain, ok := strings.Cut(email, "@")
	if !ok || local == "" || domain == "" || strings.Contains(domain, "@") || len(email) > 320 || strings.ContainsFunc(email, blank) {
		d.problem(path, "%s is no address; write one like ann@example.com", quote(email))
		return
	}
	*to = lowerASCII(email)
}

func blank(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) || r == utf8.RuneError }

func (d *decoder) checkDomain(path string, to *string, domain string) {
	switch {
	case domain == "*":
	case strings.HasPrefix(domain, "@") && !strings.Contains(domain[1:], "@"):
		d.problem(path, "%s has an @; write %s", quote(domain), quote(domain[1:]))
	case strings.HasPrefix(domain, ".") || strings.HasPrefix(domain, "*."):
		d.problem(path, "%s names subdomains, which are not matched; write each domain in full", quote(domain))
	case domain == "" || strings.ContainsAny(domain, "@*/:,;<>\"\\") || strings.HasSuffix(domain, ".") || strings.ContainsFunc(domain, blank):
		d.problem(path, "%s is no domain; write one like example.com, or \"*\" for every address", quote(domain))
	default:
		*to = lowerASCII(domain)
	}
}

// checkRoutes completes and checks the routes.
func (d *decoder) checkRoutes(c *Config) {
	short := c.Upstream != nil
	switch {
	case short && len(c.Routes) > 0:
		d.problem("upstream", "excludes `routes`; keep one of them")
	case short:
		var r Route
		standard := newDecoder(Options{})
		standard.decodeNested(d.root.field("routes"), reflect.ValueOf(&r).Elem(), "routes[0]", nil)
		r.Upstreams = []Upstream{{URL: c.Upstream}}
		c.Routes = []Route{r}
	case len(c.Routes) == 0 && d.ok("routes") && d.ok("upstream"):
		d.problem("routes", "is missing, so there is nothing to stand in front of; write upstream: http://127.0.0.1:8080, or routes, or set PORTERO_UPSTREAM")
	}
	names := map[string]int{}
	for i := range c.Routes {
		path := fmt.Sprintf("routes[%d]", i)
		if !d.ok(path) {
			continue
		}
		r := &c.Routes[i]
		d.checkHosts(c, path, r)
		d.checkPath(c, path, r)
		d.checkMethods(path, r.Methods)
		d.checkUpstreams(path, r, short)
		d.checkForwardAuth(c, path, r)
		d.checkAccess(c, path, r)
		d.checkBearer(c, path, r)
		d.checkAccessToken(path, r)
		d.checkSupport(path+".support", r.Support)
		d.checkCORS(path+".cors", r)
		d.checkRouteIdentity(path+".identity", c, &r.Identity)
		d.checkName(path, r, names, i)
		for j := range i {
			d.checkEqual(path, r, &c.Routes[j], j)
		}
	}
	d.collectResources(c)
	c.Upstream = nil
}

func (d *decoder) checkHosts(c *Config, path string, r *Route) {
	if len(r.Hosts) == 0 {
		if c.ExternalURL != nil && !d.anyBadBelow(path+".hosts") {
			host, _ := canonicalName(c.ExternalURL.Hostname())
			r.Hosts = []string{host}
		}
		return
	}
	for i, host := range r.Hosts {
		at := fmt.Sprintf("%s.hosts[%d]", path, i)
		if c.ExternalURL != nil {
			host = strings.TrimSuffix(host, ":"+c.ExternalURL.Port())
		}
		name, message := canonicalName(host)
		switch {
		case strings.Contains(host, "://"):
			d.problem(at, "%s is a URL; write the name of the host alone", quote(host))
		case strings.Count(host, ":") == 1:
			d.problem(at, "%s has a port; write the name alone, the port is that of external_url", quote(host))
		case message != "":
			d.problem(at, "%s %s", quote(host), message)
		case slices.Contains(r.Hosts[:i], name):
			d.problem(at, "%s is there twice; keep one", quote(name))
		case c.ExternalURL != nil && c.ExternalURL.Scheme == "http" && !onLoopback(name):
			d.warn(at, "%s is served over http as external_url is, so everybody on the way reads sessions; write an https external_url", quote(name))
		}
		r.Hosts[i] = name
	}
}

func (d *decoder) checkPath(c *Config, path string, r *Route) {
	at := path + ".path"
	if !d.ok(at) {
		return
	}
	if message := routePathProblem(r.Path); message != "" {
		d.problem(at, "%s %s", quote(r.Path), message)
		return
	}
	if r.Path != "/" {
		r.Path = strings.TrimSuffix(r.Path, "/")
	}
	if prefix := c.Endpoints.Prefix; prefix != "" && prefix != "/" && (r.Path == prefix || strings.HasPrefix(r.Path, prefix+"/")) {
		d.problem(at, "%s is under endpoints.prefix, where nothing is forwarded; write another path", quote(r.Path))
	}
	if prefix := c.Endpoints.AliasPrefix(); prefix != "" && (r.Path == prefix || strings.HasPrefix(r.Path, prefix+"/")) {
		d.problem(at, "%s is under %s, where nothing is forwarded because of endpoints.aliases; write another path", quote(r.Path), prefix)
	}
}

// routePathProblem agrees with package route: such a path has one reading.
func routePathProblem(path string) string {
	switch {
	case path == "":
		return "is empty; write / for everything"
	case path[0] != '/':
		return "does not begin with a slash; write /" + path
	case strings.Contains(path, "//"):
		return "has an empty segment; write the path without"
	case strings.Contains(path, "%"):
		return "has a %; write the path decoded"
	case strings.ContainsAny(path, `\;?#`):
		return `has one of \ ; ? #, which no route can be told apart by; write the path without`
	case strings.Contains(path, "*"):
		return "has a *; a route matches whole segments, write the path above it"
	case hasDotSegment(path):
		return "has a segment of dots; write the path without"
	}
	return ""
}

var methods = strings.Fields(`GET HEAD POST PUT DELETE OPTIONS PATCH
	PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK
	VERSION-CONTROL REPORT CHECKOUT CHECKIN UNCHECKOUT MKWORKSPACE UPDATE LABEL MERGE BASELINE-CONTROL MKACTIVITY
	SEARCH ACL`)

func (d *decoder) checkMethods(path string, list []string) {
	for i, m := range list {
		at := fmt.Sprintf("%s.methods[%d]", path, i)
		switch {
		case slices.Contains(methods, m):
		case slices.Contains(methods, strings.ToUpper(m)):
			d.problem(at, "%s is not in upper case; write %s", quote(m), strings.ToUpper(m))
		case m == "CONNECT" || m == "TRACE":
			d.problem(at, "%s is never forwarded; remove it", m)
		default:
			d.problem(at, "%s is no method that is forwarded; %s", quote(m), choice(m, methods[:7]))
		}
	}
	if slices.Contains(list, "HEAD") && !slices.Contains(list, "GET") {
		d.problem(path+".methods", "has HEAD without GET; HEAD counts as GET, write GET")
	}
}

func (d *decoder) checkUpstreams(path string, r *Route, short bool) {
	if len(r.Upstreams) == 0 && r.Access != AccessDeny && !r.ForwardAuthOnly && d.ok(path+".access") && d.ok(path+".upstreams") && d.ok(path+".forward_auth_only") {
		d.problem(path+".upstreams", "is missing; write where requests go, like [{url: http://127.0.0.1:8080}], or access: deny, or forward_auth_only: true where another proxy asks")
	}
	for i, u := range r.Upstreams {
		at := fmt.Sprintf("%s.upstreams[%d].url", path, i)
		if short {
			at = "upstream"
		}
		switch {
		case !d.ok(at):
		case u.URL == nil:
			d.problem(at, "is missing; write one like http://127.0.0.1:8080")
		case u.URL.Path != "" && u.URL.Path != "/":
			d.problem(at, "has a path, %s, but paths are forwarded as they come; write %s://%s", quote(u.URL.Path), u.URL.Scheme, u.URL.Host)
		default:
			u.URL.Path, u.URL.RawPath = "", ""
		}
	}
}

// checkForwardAuth checks a route to which nothing is forwarded.
func (d *decoder) checkForwardAuth(c *Config, path string, r *Route) {
	at := path + ".forward_auth_only"
	switch {
	case !r.ForwardAuthOnly || !d.ok(at):
	case len(r.Upstreams) > 0:
		d.problem(at, "excludes `upstreams`: nothing is forwarded where another proxy asks; remove one of them (a route with upstreams can be asked about too)")
	case len(c.TrustedProxies) == 0 && d.ok("trusted_proxies") && !d.anyBadBelow("trusted_proxies"):
		d.problem(at, "lets nobody ask, since `trusted_proxies` is empty; write there the address of the proxy that asks, like trusted_proxies: [10.0.0.2]")
	}
}

func (d *decoder) checkAccess(c *Config, path string, r *Route) {
	allow := path + ".allow"
	d.checkRules(allow, r.Allow)
	if !d.ok(path + ".access") {
		return
	}
	if r.Access == AccessPublic && r.Path == "/" && r.Match == MatchPrefix && !c.IsInsecure(InsecurePublicRoot) {
		d.problem(path+".access", "public on a prefix route / opens everything that no other route names; write signed-in, or public-root in `insecure`")
	}
	d.checkStrictness(path, r)
	switch {
	case r.Access != AccessSignedIn:
		if len(r.Allow) > 0 {
			d.problem(allow, "is only for access: signed-in; remove it, or write access: signed-in")
		}
		r.Allow = nil
	case !d.ok(allow) || len(r.Allow) > 0:
	case d.wasSet(allow):
		d.problem(allow, "is empty, which lets nobody in; write who may come in, or remove it so that the `allow` of the top level counts")
	case len(c.Allow) > 0:
		r.Allow = c.Allow
	case d.ok("allow") && d.ok("email_domains") && !d.anyBadBelow("email_domains"):
		if !d.wasSet(path) {
			path = "allow"
		} else {
			path = allow
		}
		d.problem(path, "is missing, so nobody could come in; write who may, like email_domains: [example.com] at the top level (\"*\" for everybody who can receive a code)")
	}
}

// leastMaxAge leaves room for the clocks of Logto and of this machine to differ, and for signing in.
const leastMaxAge = time.Minute

// checkStrictness checks what makes rules looser or stricter than they are.
func (d *decoder) checkStrictness(path string, r *Route) {
	age := path + ".step_up.max_age"
	switch {
	case r.Access != AccessSignedIn:
		if r.ReportOnly {
			d.problem(path+".report_only", "is only for access: signed-in; remove it, or write access: signed-in")
		}
		if r.StepUp.MaxAge != 0 {
			d.problem(age, "is only for access: signed-in; remove it, or write access: signed-in")
		}
	case r.StepUp.MaxAge != 0 && r.StepUp.MaxAge < leastMaxAge && d.ok(age):
		d.problem(age, "%s is too short to sign in; write %s or more", quote(formatDuration(r.StepUp.MaxAge)), formatDuration(leastMaxAge))
	}
}

// checkBearer checks whose access tokens a route takes.
func (d *decoder) checkBearer(c *Config, path string, r *Route) {
	at := path + ".bearer.audience"
	switch audience := r.Bearer.Audience; {
	case audience == "" || !d.ok(at):
	case audience == c.Logto.AppID:
		d.problem(at, "is logto.app_id, which ID tokens are for; write the API identifier that Logto's console shows, like https://api.example.com")
	case r.Access != AccessSignedIn && d.ok(path+".access"):
		d.problem(at, "is only for access: signed-in; remove it, or write access: signed-in")
	case r.StepUp.MaxAge != 0:
		d.problem(at, "excludes step_up: an access token does not say when its person signed in; remove one of them, or give programs a route of their own")
	default:
		d.checkResource(at, audience)
	}
}

// checkAccessToken checks which access token of the person an application gets.
func (d *decoder) checkAccessToken(path string, r *Route) {
	at := path + ".access_token"
	t := r.AccessToken
	switch {
	case t == AccessToken{}:
		return
	case r.Access != AccessSignedIn && d.ok(path+".access"):
		d.problem(at, "is only for access: signed-in; remove it, or write access: signed-in")
	case r.Bearer.Audience != "":
		d.problem(at, "excludes bearer: who brings a token has no session that Logto would give another one for; remove one of them, or give programs a route of their own")
	}
	if t.Resource != "" {
		d.checkResource(at+".resource", t.Resource)
	}
	if strings.ContainsFunc(t.Organization, func(r rune) bool { return r <= ' ' || r > '~' }) {
		d.problem(at+".organization", "%s is no identifier; write the one that Logto's console shows", quote(t.Organization))
	}
}

// mostAccessTokens is how many access tokens a session keeps (session.MaxTokens).
const mostAccessTokens = 8

// collectResources finds the API resources that sign-ins are granted.
func (d *decoder) collectResources(c *Config) {
	l := &c.Logto
	l.finalResources = slices.Clone(l.Resources)
	var asked []AccessToken
	for i, r := range c.Routes {
		t := r.AccessToken
		if t.Resource != "" && !slices.Contains(l.finalResources, t.Resource) {
			l.finalResources = append(l.finalResources, t.Resource)
		}
		if t == (AccessToken{}) || slices.Contains(asked, t) {
			continue
		}
		if asked = append(asked, t); len(asked) == mostAccessTokens+1 {
			d.problem(fmt.Sprintf("routes[%d].access_token", i), "is the ninth kind of access token; a session keeps eight, write fewer")
		}
	}
}

var routeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// madeName is the name of a route that was given none.
func madeName(r *Route, withHost bool) string {
	name := r.Path
	if withHost && len(r.Hosts) > 0 {
		name = r.Hosts[0] + name
	}
	if r.Match == MatchExact {
		name = "=" + name
	}
	if len(r.Methods) > 0 {
		name = strings.Join(r.Methods, ",") + " " + name
	}
	return name
}

// checkName checks a route's name, or makes one: the path, with the host where it is not that of external_url.
func (d *decoder) checkName(path string, r *Route, names map[string]int, i int) {
	at := path + ".name"
	if !d.ok(at) {
		return
	}
	if r.Name == "" {
		r.Name = madeName(r, d.wasSet(path+".hosts"))
		names[r.Name] = i
		return
	}
	// A name that was made is one, so that what check prints can be read again.
	if !routeName.MatchString(r.Name) && r.Name != madeName(r, false) && r.Name != madeName(r, true) {
		d.problem(at, "%s is no name for logs and metrics; write letters, digits and -._, 64 at most (`title` is what people read)", quote(r.Name))
		return
	}
	if other, twice := names[r.Name]; twice {
		d.problem(at, "%s is the name of routes[%d] too; write another", quote(r.Name), other)
		return
	}
	names[r.Name] = i
}

// checkEqual refuses two routes of which neither is more specific than the other.
func (d *decoder) checkEqual(path string, r, other *Route, index int) {
	if r.Path != other.Path || r.Match != other.Match {
		return
	}
	host := ""
	for _, h := range r.Hosts {
		if slices.Contains(other.Hosts, h) {
			host = h
		}
	}
	if host == "" {
		return
	}
	if len(r.Methods) == 0 && len(other.Methods) == 0 {
		d.problem(path, "has the host, path and match of routes[%d] (%s%s, %s); remove one of them, or give one methods", index, host, r.Path, r.Match)
		return
	}
	for _, m := range r.Methods {
		if slices.Contains(other.Methods, m) {
			d.problem(path, "has the host, path and match of routes[%d] (%s%s, %s) and its method %s; give them different methods", index, host, r.Path, r.Match, m)
			return
		}
	}
}

func (d *decoder) checkSupport(path string, s Support) {
	if s.Email != "" && d.ok(path+".email") {
		d.checkEmail(path+".email", new(string), s.Email)
	}
	if s.URL != "" && d.ok(path+".url") {
		u, err := url.Parse(s.URL)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
			d.problem(path+".url", "%s is no address of a page; write one like https://help.example.com", quote(s.URL))
		}
	}
	if s.Phone != "" && d.ok(path+".phone") && (strings.ContainsFunc(s.Phone, func(r rune) bool {
		return !unicode.IsDigit(r) && !strings.ContainsRune(" +-()", r)
	}) || !strings.ContainsFunc(s.Phone, unicode.IsDigit)) {
		d.problem(path+".phone", "%s is no telephone number; write digits, blanks and + - ( )", quote(s.Phone))
	}
}
