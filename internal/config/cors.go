package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// longestMaxAge is as long as any browser keeps the answer to a preflight.
const longestMaxAge = 24 * time.Hour

// checkCORS checks which pages of other origins may read the answers of a route.
func (d *decoder) checkCORS(path string, r *Route) {
	c := &r.CORS
	for i, origin := range c.Origins {
		at := fmt.Sprintf("%s.origins[%d]", path, i)
		switch {
		case origin == "*" && c.Credentials:
			d.problem(at, "\"*\" is every page on the net, and none of them may use somebody's cookies; write the origins, or credentials: false")
		case origin != "*":
			d.checkOrigin(at, origin)
		}
		if slices.Contains(c.Origins[:i], origin) {
			d.problem(at, "%s is there twice; keep one", quote(origin))
		}
	}
	d.checkMethods(path, c.Methods)
	for i, name := range c.Headers {
		if !isToken(name) {
			d.problem(fmt.Sprintf("%s.headers[%d]", path, i), "%s is no name of a header; write each by itself, like Content-Type", quote(name))
		}
	}
	if c.MaxAge > longestMaxAge && d.ok(path+".max_age") {
		d.problem(path+".max_age", "%s is longer than browsers keep it; write 24h or less", quote(formatDuration(c.MaxAge)))
	}
	switch {
	case len(c.Origins) == 0:
		if !d.anyBadBelow(path) && (len(c.Methods) > 0 || len(c.Headers) > 0 || c.Credentials) {
			d.problem(path+".origins", "is missing, so that no page is meant; write them, like [https://app.example.com]")
		}
	case (r.Access == AccessPublic || r.Access == AccessDeny) && d.ok(strings.TrimSuffix(path, "cors")+"access"):
		d.problem(path, "is for access: signed-in and optional; remove it: the application of a public route answers for itself")
	}
}

// checkOrigin checks that an origin is written as browsers write it: it is compared byte for byte.
func (d *decoder) checkOrigin(path, origin string) {
	if origin == "null" {
		d.problem(path, "null is the origin of any page that hides its own; write the origin of the application's pages")
		return
	}
	u, message := parseURL(origin)
	switch {
	case message != "":
		d.problem(path, "%s", message)
	case u == nil:
		d.problem(path, "is empty; write an origin like https://app.example.com")
	case origin != u.Scheme+"://"+u.Host:
		d.problem(path, "%s is not as browsers write an origin; write %s://%s", quote(origin), u.Scheme, u.Host)
	case needsPlainHTTP(u):
		d.warn(path, "%s is http, so everybody on the way can put scripts into its pages; write an https origin", quote(origin))
	}
}
