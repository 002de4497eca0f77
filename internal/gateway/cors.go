package gateway

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"portero/internal/config"
	"portero/internal/forwarded"
	"portero/internal/telemetry"
)

// maxPreflightHeaders bounds the names that a preflight may ask for, in bytes.
const maxPreflightHeaders = 4 << 10

// cors says which pages of other origins may read the answers of a route. It lets nobody in: a request is decided on whether
// it has an Origin or not.
//
// Specifications: Fetch 3.2 (CORS protocol).
type cors struct {
	origins          []string // as browsers write them; "*": every one
	methods, headers []string // what preflights grant; empty: what they ask for
	credentials      bool
	maxAge           string // seconds
}

// buildCORS are the rules of each route, nil for one without.
func buildCORS(cfg *config.Config) []*cors {
	out := make([]*cors, len(cfg.Routes))
	for i, r := range cfg.Routes {
		if len(r.CORS.Origins) == 0 {
			continue
		}
		c := &cors{origins: r.CORS.Origins, methods: r.CORS.Methods, headers: r.CORS.Headers, credentials: r.CORS.Credentials}
		c.maxAge = strconv.Itoa(int(r.CORS.MaxAge / time.Second))
		out[i] = c
	}
	return out
}

// share writes on an answer, whoever gives it, whether the page that asked may read it.
func (c *cors) share(h http.Header, r *http.Request) (allowed bool) {
	h.Add("Vary", "Origin")
	origins := r.Header["Origin"]
	if len(origins) != 1 {
		return false
	}
	switch {
	case slices.Contains(c.origins, origins[0]):
		h.Set("Access-Control-Allow-Origin", origins[0])
	case slices.Contains(c.origins, "*"):
		h.Set("Access-Control-Allow-Origin", "*")
	default:
		return false
	}
	if c.credentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	return true
}

// grant answers what a preflight asks for.
func (c *cors) grant(h http.Header, method, headers string) {
	methods := c.methods
	if len(methods) == 0 {
		methods = []string{method}
	}
	h.Set("Access-Control-Allow-Methods", strings.Join(methods, ", "))
	names := c.headers
	if len(names) == 0 {
		names = headerNames(headers)
	}
	if len(names) > 0 {
		h.Set("Access-Control-Allow-Headers", strings.Join(names, ", "))
	}
	h.Set("Access-Control-Max-Age", c.maxAge)
}

// headerNames reads a list of names of headers. One that is none makes it empty.
func headerNames(list string) []string {
	if list == "" || len(list) > maxPreflightHeaders {
		return nil
	}
	names := strings.Split(list, ",")
	for i := range names {
		names[i] = strings.Trim(names[i], " \t")
		if !httpguts.ValidHeaderFieldName(names[i]) {
			return nil
		}
	}
	return names
}

// preflight answers a browser that asks whether a page of another origin may send a request, if the route of that request
// says so to that origin. Browsers ask without cookies, so nobody is asked to sign in, and the application is not asked.
// Every other OPTIONS is a request like all others.
func (g *generation) preflight(w http.ResponseWriter, r *http.Request, from forwarded.Request) bool {
	asked := r.Header["Access-Control-Request-Method"]
	if r.Method != http.MethodOptions || len(asked) != 1 || len(r.Header["Access-Control-Request-Headers"]) > 1 {
		return false
	}
	at, err := g.find(asked[0], r.RequestURI, r.Host, from.Host)
	if err != nil || at.route == nil || g.cors[at.route.Index] == nil {
		return false
	}
	c, h := g.cors[at.route.Index], http.Header{}
	if !c.share(h, r) {
		return false
	}
	c.grant(h, asked[0], r.Header.Get("Access-Control-Request-Headers"))
	for name, values := range h {
		w.Header()[name] = values
	}
	w.Header().Set("Cache-Control", "no-store")
	telemetry.FromContext(r.Context()).Route = at.route.Name
	leaveUnread(w, r)
	w.WriteHeader(http.StatusNoContent)
	return true
}
