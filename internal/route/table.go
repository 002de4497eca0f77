package route

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"portero/internal/forwarded"
)

// Table finds the route of a request. It never changes.
type Table struct {
	hosts  map[string]*paths // :: canonical host → its routes
	names  []string          // the keys of hosts, sorted
	routes []*Route          // in match order
}

// paths are the routes of one host.
type paths struct {
	nodes   map[string]*node // :: path without trailing slash → the routes with that path
	longest int              // of the keys, in bytes
}

// node has the routes of one host and path, those with methods first.
type node struct {
	exact, prefix []*Route
}

// NewTable checks routes and orders them. All that is wrong is reported at once, each line with its key.
func NewTable(routes []Route) (*Table, error) {
	t := &Table{hosts: map[string]*paths{}}
	var problems []error
	for i := range routes {
		r := routes[i]
		if err := r.normalize(); err != nil {
			problems = append(problems, err)
			continue
		}
		if err := t.insert(&r); err != nil {
			problems = append(problems, err)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	slices.Sort(t.names)
	slices.SortStableFunc(t.routes, func(a, b *Route) int {
		return cmp.Or(
			cmp.Compare(a.Hosts[0], b.Hosts[0]),
			cmp.Compare(len(b.prefix()), len(a.prefix())),
			cmp.Compare(a.Path, b.Path),
			compareBool(b.Exact, a.Exact),
			compareBool(len(b.Methods) > 0, len(a.Methods) > 0),
		)
	})
	return t, nil
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// normalize brings hosts, path and methods into the form that requests are compared with. The slices are copied.
func (r *Route) normalize() error {
	var problems []error
	add := func(key, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: %s", r.Key(key), fmt.Sprintf(format, args...)))
	}

	if len(r.Hosts) == 0 {
		add("hosts", "is empty; write the host that browsers ask for")
	}
	hosts := make([]string, 0, len(r.Hosts))
	for i, h := range r.Hosts {
		name, err := forwarded.CanonicalHost(h, "http") // canonical already; this checks it
		if err != nil {
			add(fmt.Sprintf("hosts[%d]", i), "%q is no host; write one like wiki.example.com", h)
		} else if !slices.Contains(hosts, name) {
			hosts = append(hosts, name)
		}
	}
	r.Hosts = hosts

	if r.Path == "" {
		r.Path = "/"
	}
	if problem := checkRoutePath(r.Path); problem != "" {
		add("path", "%q %s", r.Path, problem)
	}
	if r.Path != "/" {
		r.Path = strings.TrimSuffix(r.Path, "/")
	}

	methods := make([]string, 0, len(r.Methods))
	for i, m := range r.Methods {
		key := fmt.Sprintf("methods[%d]", i)
		switch {
		case ValidMethod(m):
		case ValidMethod(strings.ToUpper(m)):
			add(key, "%q is in lower case; write %s", m, strings.ToUpper(m))
		default:
			add(key, "%q is no method that is forwarded", m)
		}
		if m == "HEAD" {
			if !slices.Contains(r.Methods, "GET") {
				add(key, "HEAD counts as GET; write GET")
			}
		} else if !slices.Contains(methods, m) {
			methods = append(methods, m)
		}
	}
	r.Methods = methods
	return errors.Join(problems...)
}

// checkRoutePath says what is wrong with the path of a route; "" nothing. Such a path has one reading.
func checkRoutePath(path string) string {
	switch {
	case path[0] != '/':
		return "does not begin with a slash; write /" + path
	case strings.Contains(path, "//"):
		return "has an empty segment"
	case strings.Contains(path, "%"):
		return "has a %; write the path decoded"
	case strings.ContainsAny(path, `\;?#`):
		return `has one of \ ; ? #, which no route can be told apart by`
	case strings.ContainsAny(path, "*"):
		return "has a *; a route matches whole segments, write the path above it"
	case !utf8.ValidString(path) || strings.ContainsFunc(path, unicode.IsControl):
		return "has control characters or is not UTF-8"
	case hasDotSegment(path):
		return "has a dot segment"
	}
	return ""
}

// insert adds a route that was normalized. Two routes that would win over each other are an error.
func (t *Table) insert(r *Route) error {
	for _, host := range r.Hosts {
		h := t.hosts[host]
		if h == nil {
			h = &paths{nodes: map[string]*node{}}
			t.hosts[host] = h
			t.names = append(t.names, host)
		}
		n := h.nodes[r.prefix()]
		if n == nil {
			n = &node{}
			h.nodes[r.prefix()] = n
		}
		h.longest = max(h.longest, len(r.prefix()))
		list := &n.prefix
		if r.Exact {
			list = &n.exact
		}
		for _, other := range *list {
			if conflict := conflictingMethod(r, other); conflict != "" {
				return fmt.Errorf("%s: has host %s, path and match of routes[%d], and %s; remove one of them or give them different methods",
					r.Key("path"), host, other.Index, conflict)
			}
		}
		*list = append(*list, r)
		slices.SortStableFunc(*list, func(a, b *Route) int {
			return compareBool(len(b.Methods) > 0, len(a.Methods) > 0)
		})
	}
	t.routes = append(t.routes, r)
	return nil
}

func conflictingMethod(a, b *Route) string {
	if len(a.Methods) == 0 && len(b.Methods) == 0 {
		return "neither has methods"
	}
	for _, m := range a.Methods {
		if slices.Contains(b.Methods, m) {
			return "both have the method " + m
		}
	}
	return ""
}

// Match finds the route of a request for host (as forwarded.Resolver made it). The error is ErrUnknownHost,
// ErrNoRoute or a *TargetError.
//
// The route is the one that Path, the target decoded once, selects; its `paths` decides. If any other reading
// selects another route, the request is refused under either setting: one of the two would be wrong.
func (t *Table) Match(host, method string, target Target) (*Route, error) {
	h := t.paths(host)
	if h == nil {
		return nil, ErrUnknownHost
	}
	if target.Raw == "" || target.Path == "" {
		return nil, refuse("there is no path")
	}
	method = matchMethod(method)
	r := h.find(target.Path, method)
	if !target.plain {
		if err := h.compareReadings(r, method, target); err != nil {
			return nil, err
		}
	}
	if r == nil {
		return nil, ErrNoRoute
	}
	return r, nil
}

// compareReadings refuses a target that r does not take, r being what Path selects (nil: nothing).
func (h *paths) compareReadings(r *Route, method string, target Target) error {
	key := ""
	if r != nil {
		key = r.Key("paths")
		if r.Paths != ByRoute && target.odd != "" {
			return &TargetError{Reason: "its path has " + target.odd, Key: key}
		}
	}
	readings, ok := target.readings()
	if !ok {
		return &TargetError{Reason: "its path has too many readings", Key: key}
	}
	for _, path := range readings {
		if h.find(path, method) != r {
			return &TargetError{Reason: "its path selects different routes depending on how it is decoded", Key: key}
		}
	}
	return nil
}

// paths finds the routes of a host: those that name it with its port, else those that name it without.
func (t *Table) paths(host string) *paths {
	if h := t.hosts[host]; h != nil {
		return h
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		return t.hosts[host[:i]]
	}
	return nil
}

// find selects the route of one reading of a path, which begins with a slash. No key is longer than h.longest, so
// at most that many bytes are looked at, however long the path.
func (h *paths) find(path, method string) *Route {
	path = strings.TrimSuffix(path, "/")
	whole := true
	for {
		if len(path) <= h.longest {
			if n := h.nodes[path]; n != nil {
				if whole {
					if r := first(n.exact, method); r != nil {
						return r
					}
				}
				if r := first(n.prefix, method); r != nil {
					return r
				}
			}
		}
		if path == "" {
			return nil
		}
		path = path[:strings.LastIndexByte(path[:min(len(path), h.longest+1)], '/')]
		whole = false
	}
}

func first(routes []*Route, method string) *Route {
	for _, r := range routes {
		if r.takes(method) {
			return r
		}
	}
	return nil
}

// Hosts are the hosts that routes name, sorted.
func (t *Table) Hosts() []string { return slices.Clone(t.names) }

// KnowsHost says whether a route names the host; if not, Match returns ErrUnknownHost.
func (t *Table) KnowsHost(host string) bool { return t.paths(host) != nil }

// Routes are the routes in match order, host by host. A route with several hosts stands where its first is.
func (t *Table) Routes() []*Route { return slices.Clone(t.routes) }
