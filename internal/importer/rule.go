package importer

import (
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"portero/internal/config"
)

// match is one alternative of a rule in Traefik's language, as a route can say it.
type match struct {
	hosts, methods []string // nil: all
	pattern        pattern  // without a path: all
	halfSegments   bool     // the rule compared characters, and the route whole segments
}

const maxAlternatives = 32

// parseRule reads a rule made of Host, Path, PathPrefix and Method with && and ||, which Traefik writes as expressions of
// Go. A rule that has anything else is none, and why says so without quoting it: rules may have keys in them.
func parseRule(text string) (matches []match, why string) {
	if text == "" || len(text) > 4096 {
		return nil, "has no rule, or one that is too long"
	}
	tree, err := parser.ParseExpr(text)
	if err != nil || hasComment(text) {
		return nil, "is no rule that can be read"
	}
	matches, why = parseExpr(tree, 0)
	if why != "" {
		return nil, why
	}
	return matches, ""
}

// hasComment says whether a part of the text would not count in Go.
func hasComment(text string) bool {
	var s scanner.Scanner
	s.Init(token.NewFileSet().AddFile("", -1, len(text)), []byte(text), nil, scanner.ScanComments)
	for {
		switch _, kind, _ := s.Scan(); kind {
		case token.COMMENT:
			return true
		case token.EOF:
			return false
		}
	}
}

func parseExpr(tree ast.Expr, depth int) ([]match, string) {
	if depth > 100 {
		return nil, "is nested too deeply"
	}
	switch e := tree.(type) {
	case *ast.ParenExpr:
		return parseExpr(e.X, depth+1)
	case *ast.CallExpr:
		return parseCall(e)
	case *ast.BinaryExpr:
		left, why := parseExpr(e.X, depth+1)
		if why != "" {
			return nil, why
		}
		right, why := parseExpr(e.Y, depth+1)
		if why != "" {
			return nil, why
		}
		switch e.Op {
		case token.LOR:
			if len(left)+len(right) > maxAlternatives {
				return nil, "has too many alternatives"
			}
			return append(left, right...), ""
		case token.LAND:
			return both(left, right)
		}
	}
	return nil, "has more than Host, Path, PathPrefix and Method with && and ||"
}

// both joins two conditions that must hold together.
func both(left, right []match) ([]match, string) {
	if len(left)*len(right) > maxAlternatives {
		return nil, "has too many alternatives"
	}
	var out []match
	for _, l := range left {
		for _, r := range right {
			hosts, ok := intersect(l.hosts, r.hosts)
			methods, also := intersect(l.methods, r.methods)
			if l.pattern.path != "" && r.pattern.path != "" {
				return nil, "names two paths at once"
			}
			if !ok || !also {
				continue // no request is meant
			}
			m := l
			if r.pattern.path != "" {
				m = r
			}
			m.hosts, m.methods = hosts, methods
			out = append(out, m)
		}
	}
	if len(out) == 0 {
		return nil, "means no request"
	}
	return out, ""
}

// intersect is what is in both, where nil is everything.
func intersect(a, b []string) ([]string, bool) {
	if a == nil {
		return b, true
	}
	if b == nil {
		return a, true
	}
	out := []string{}
	for _, v := range a {
		if slices.Contains(b, v) {
			out = append(out, v)
		}
	}
	return out, len(out) > 0
}

// hostName is a host without patterns.
var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)

func parseCall(call *ast.CallExpr) ([]match, string) {
	name, ok := call.Fun.(*ast.Ident)
	if !ok || len(call.Args) == 0 || call.Ellipsis.IsValid() {
		return nil, "is no rule that can be read"
	}
	var values []string
	for _, arg := range call.Args {
		literal, ok := arg.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return nil, "is no rule that can be read"
		}
		value, err := strconv.Unquote(literal.Value)
		if err != nil {
			return nil, "is no rule that can be read"
		}
		if !slices.Contains(values, value) {
			values = append(values, value)
		}
	}
	switch name.Name {
	case "Host":
		for i, v := range values {
			if !hostName.MatchString(v) {
				return nil, "has a host with a pattern"
			}
			values[i] = strings.ToLower(v)
		}
		return []match{{hosts: folded(values)}}, ""
	case "Method":
		return []match{{methods: values}}, ""
	case "Path", "PathPrefix":
		var out []match
		for _, v := range values {
			m, ok := pathMatch(name.Name, v)
			if !ok {
				return nil, "has a path with a pattern, or one that can be read in two ways"
			}
			out = append(out, m)
		}
		return out, ""
	}
	return nil, "has more than Host, Path, PathPrefix and Method with && and ||"
}

func pathMatch(kind, path string) (match, bool) {
	if kind == "Path" {
		p, ok := exactPath(path)
		return match{pattern: p}, ok
	}
	if path == "/" {
		return match{pattern: pattern{path: "/", match: config.MatchPrefix}}, true
	}
	p, ok := prefixPath(strings.TrimSuffix(path, "/") + "/")
	half := !strings.HasSuffix(path, "/")
	p.slash = !half // /admin means itself there too, /admin/ does not mean /admin
	return match{pattern: p, halfSegments: half}, ok
}
