package route

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"portero/internal/access"
)

var (
	// ErrUnknownHost is returned by Match when no route names the host.
	ErrUnknownHost = errors.New("no route names this host")
	// ErrNoRoute is returned by Match when the host is known and none of its routes takes the path and method.
	ErrNoRoute = errors.New("no route for this path and method")
)

// Access says who gets to a route. The zero value lets nobody.
type Access uint8

// The access values; String gives the words of the configuration.
const (
	Deny     Access = iota // nobody
	Public                 // everybody; nobody is looked up
	Optional               // everybody, and the upstream is told who if they are signed in
	SignedIn               // those who are signed in and whom the route's rules let in
)

func (a Access) String() string {
	switch a {
	case Deny:
		return "deny"
	case Public:
		return "public"
	case Optional:
		return "optional"
	case SignedIn:
		return "signed-in"
	}
	return fmt.Sprintf("Access(%d)", uint8(a))
}

// Paths says what happens to paths that upstreams read differently.
type Paths uint8

// The values of `paths`.
const (
	Strict  Paths = iota // a path with %2f %5c %25 %3b %3f %23 ; or // is refused
	ByRoute              // such a path is forwarded if every reading of it selects the same route
)

func (p Paths) String() string {
	switch p {
	case Strict:
		return "strict"
	case ByRoute:
		return "by-route"
	}
	return fmt.Sprintf("Paths(%d)", uint8(p))
}

// Route is one route. NewTable checks it and keeps a copy, which nobody changes.
type Route struct {
	Name        string        // in logs and metrics
	Title       string        // what people read
	Hosts       []string      // at least one, as forwarded.CanonicalHost has them; one without port stands for every port
	Path        string        // decoded, in whole segments; "" is "/"
	Exact       bool          // only the path itself; false: everything below it too
	Methods     []string      // empty: all
	Access      Access        // zero: deny
	Allow       access.Policy // who may come in, with SignedIn; zero: nobody
	ReportOnly  bool          // with SignedIn: whom the rules deny is let in, and the decision says so
	StepUp      time.Duration // with SignedIn: how old the sign-in may be; 0: any age
	Paths       Paths         // zero: strict
	StripPrefix bool          // Path is taken off before forwarding
	Index       int           // position in the configuration, for messages
}

// Key is the name of one of the route's configuration keys: routes[2].paths.
func (r *Route) Key(name string) string {
	return fmt.Sprintf("routes[%d].%s", r.Index, name)
}

// takes says whether the route is a candidate for a method that matchMethod returned.
func (r *Route) takes(method string) bool {
	return len(r.Methods) == 0 || slices.Contains(r.Methods, method)
}

// prefix is Path without its trailing slash: "" for the root.
func (r *Route) prefix() string {
	if r.Path == "/" {
		return ""
	}
	return r.Path
}

// Forward returns the path bytes that leave for the upstream: those received, or with StripPrefix what follows the
// route's path. The remainder is checked again, because it is a path of its own: it must begin with one slash in
// every reading.
func (r *Route) Forward(t Target) (path string, err error) {
	if t.Raw == "" {
		return "", refuse("there is no path to forward")
	}
	if !r.StripPrefix {
		return t.Raw, nil
	}
	refused := func(reason string) (string, error) {
		return "", &TargetError{Reason: reason, Key: r.Key("strip_prefix")}
	}
	rest, ok := cutPrefix(t.Raw, r.prefix())
	if !ok {
		return refused("its path is not below the path of the route")
	}
	if rest == "" {
		rest = "/"
	}
	remainder := Target{Raw: rest}
	if err := remainder.readPath(); err != nil {
		return refused("what is left of its path is not clean")
	}
	all := dropParameters(decodeAll(rest))
	if len(all) > 1 && (all[1] == '/' || all[1] == '\\') {
		return refused("what is left of its path begins with more than one slash")
	}
	return rest, nil
}

// cutPrefix takes the bytes off raw that decode to prefix. What follows must be a slash or nothing.
func cutPrefix(raw, prefix string) (rest string, ok bool) {
	i := 0
	for n := range len(prefix) {
		if i >= len(raw) {
			return "", false
		}
		c, size := raw[i], 1
		if c == '%' {
			if c, ok = unescape(raw, i); !ok {
				return "", false
			}
			size = 3
		}
		if c != prefix[n] {
			return "", false
		}
		i += size
	}
	rest = raw[i:]
	return rest, rest == "" || rest[0] == '/'
}
