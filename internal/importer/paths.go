package importer

import (
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"portero/internal/config"
)

// pattern is which paths somebody else's expression means, where a route can say just that.
type pattern struct {
	path, match string
	slash       bool // the path with and without a slash at its end are told apart there, and are one path here
}

var plainPath = regexp.MustCompile(`^(/[A-Za-z0-9._~@:+,=-]+)+/?$`)

// isLiteral says whether every reader reads a path alike.
func isLiteral(path string) bool {
	for _, segment := range strings.Split(path, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return plainPath.MatchString(path)
}

// exactPath is one path.
func exactPath(path string) (pattern, bool) {
	if path == "/" {
		return pattern{path: "/", match: config.MatchExact}, true
	}
	if !isLiteral(path) {
		return pattern{}, false
	}
	return pattern{path: strings.TrimSuffix(path, "/"), match: config.MatchExact, slash: true}, true
}

// prefixPath is everything below a path, which ends in a slash: without one, /admin would mean /administrator too.
func prefixPath(path string) (pattern, bool) {
	if path == "/" || !isLiteral(path) || !strings.HasSuffix(path, "/") {
		return pattern{}, false
	}
	return pattern{path: strings.TrimSuffix(path, "/"), match: config.MatchPrefix, slash: true}, true
}

// parseRegex finds the pattern of a regular expression over paths: ^/path$, ^/path/?$, ^/path(/|$), ^/path/, and the same
// with .* after the last slash. Everything else means more or other paths than a route can, and is none.
func parseRegex(expression string) (pattern, bool) {
	tree, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return pattern{}, false
	}
	parts := []*syntax.Regexp{tree}
	if tree.Op == syntax.OpConcat {
		parts = tree.Sub
	}
	if len(parts) < 2 || parts[0].Op != syntax.OpBeginText {
		return pattern{}, false
	}
	path, ok := literalOf(parts[1])
	if !ok {
		return pattern{}, false
	}
	rest := parts[2:]
	switch {
	case len(rest) == 0, len(rest) == 1 && isAnything(rest[0]), len(rest) == 2 && isAnything(rest[0]) && isEnd(rest[1]):
		return prefixPath(path) // ^/path/  ^/path/.*  ^/path/.*$
	case len(rest) == 1 && isEnd(rest[0]):
		return exactPath(path) // ^/path$
	case len(rest) == 2 && isOptional(rest[0], isSlash) && isEnd(rest[1]):
		p, ok := exactPath(path) // ^/path/?$
		p.slash = false
		return p, ok && !strings.HasSuffix(path, "/")
	case len(rest) == 1 && isBelow(rest[0]), len(rest) == 2 && isOptional(rest[0], isBelowSlash) && isEnd(rest[1]):
		p, ok := prefixPath(path + "/") // ^/path(/|$)  ^/path(/.*)?$
		p.slash = false
		return p, ok && !strings.HasSuffix(path, "/")
	}
	return pattern{}, false
}

func literalOf(r *syntax.Regexp) (string, bool) {
	if r.Op != syntax.OpLiteral || r.Flags&syntax.FoldCase != 0 {
		return "", false
	}
	return string(r.Rune), true
}

func isSlash(r *syntax.Regexp) bool {
	s, ok := literalOf(r)
	return ok && s == "/"
}

// isEnd is $ or \z, not the end of a line.
func isEnd(r *syntax.Regexp) bool { return r.Op == syntax.OpEndText }

// isAnything is .*; no path with the end of a line reaches a route.
func isAnything(r *syntax.Regexp) bool {
	return r.Op == syntax.OpStar && (r.Sub[0].Op == syntax.OpAnyCharNotNL || r.Sub[0].Op == syntax.OpAnyChar)
}

// within takes the group away that a part stands in.
func within(r *syntax.Regexp) *syntax.Regexp {
	for r.Op == syntax.OpCapture {
		r = r.Sub[0]
	}
	return r
}

func isOptional(r *syntax.Regexp, of func(*syntax.Regexp) bool) bool {
	return r.Op == syntax.OpQuest && of(within(r.Sub[0]))
}

// isBelowSlash is /.*
func isBelowSlash(r *syntax.Regexp) bool {
	return r.Op == syntax.OpConcat && len(r.Sub) == 2 && isSlash(r.Sub[0]) && isAnything(r.Sub[1])
}

// isBelow is (/|$), in either order.
func isBelow(r *syntax.Regexp) bool {
	r = within(r)
	if r.Op != syntax.OpAlternate || len(r.Sub) != 2 {
		return false
	}
	return slices.ContainsFunc(r.Sub, isSlash) && slices.ContainsFunc(r.Sub, isEnd)
}

// covers says whether every path of other is one of p.
func (p pattern) covers(other pattern) bool {
	if p.match == config.MatchExact {
		return other.match == config.MatchExact && p.path == other.path
	}
	return p.path == "/" || other.path == p.path || strings.HasPrefix(other.path, p.path+"/")
}
