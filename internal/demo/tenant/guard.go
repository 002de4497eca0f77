package tenant

import (
	"cmp"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// Logto guards every body with zod (version 3), and its errors say word for word what zod found. What follows is as much of zod as the guards
// here need: a guard takes a value and returns what is kept of it, with every issue there is.

// guard checks a value at a path.
type guard func(v any, at path) result

type path []any // names and indices, from the outside to the inside

func (p path) with(key any) path { return append(slices.Clone(p), key) }

// result is what has become of a value. Issues of type make it unusable; others, such as a string that is no URL, leave it dirty. Unions tell
// the difference.
type result struct {
	value    any
	issues   []issue
	unusable bool
}

// undefined is the value of a member that is not there.
type undefined struct{}

// issue is one complaint of zod.
type issue struct {
	Code        string     `json:"code"`
	Expected    any        `json:"expected,omitempty"`
	Received    any        `json:"received,omitempty"`
	Options     []string   `json:"options,omitempty"`
	Validation  any        `json:"validation,omitempty"`
	UnionErrors []zodError `json:"unionErrors,omitempty"`
	Minimum     *float64   `json:"minimum,omitempty"`
	Maximum     *float64   `json:"maximum,omitempty"`
	Type        string     `json:"type,omitempty"`
	Inclusive   *bool      `json:"inclusive,omitempty"`
	Exact       *bool      `json:"exact,omitempty"`
	Message     string     `json:"message"`
	Path        path       `json:"path"`
}

// zodError is how a set of issues looks in an answer.
type zodError struct {
	Issues []issue `json:"issues"`
	Name   string  `json:"name"`
}

func newZodError(issues []issue) zodError { return zodError{Issues: issues, Name: "ZodError"} }

// details is what Logto makes of the issues for people to read.
func (e zodError) details() string {
	lines := make([]string, 0, len(e.Issues))
	for _, i := range e.Issues {
		keys := make([]string, 0, len(i.Path))
		for _, key := range i.Path {
			keys = append(keys, fmt.Sprint(key))
		}
		said := i.Message
		if i.Code == "invalid_type" {
			said = fmt.Sprintf("Expected %v but received %v.", i.Expected, i.Received)
		}
		lines = append(lines, fmt.Sprintf("Error in key path %q: (%s) %s", strings.Join(keys, "."), i.Code, said))
	}
	return strings.Join(lines, "\n")
}

// typeOf names the type of a JSON value as zod does.
func typeOf(v any) string {
	switch v.(type) {
	case undefined:
		return "undefined"
	case nil:
		return "null"
	case string:
		return "string"
	case bool:
		return "boolean"
	case float64:
		return "number"
	case []any:
		return "array"
	}
	return "object"
}

func good(v any) result { return result{value: v} }

func wrongType(expected string, v any, at path) result {
	i := issue{Code: "invalid_type", Expected: expected, Received: typeOf(v), Path: at, Message: "Required"}
	if i.Received != "undefined" {
		i.Message = fmt.Sprintf("Expected %s, received %s", expected, i.Received)
	}
	return result{issues: []issue{i}, unusable: true}
}

// check is one requirement on a value whose type is right; nil: met.
type check[V any] func(v V) *issue

func checked[V any](v V, at path, checks []check[V]) result {
	r := good(v)
	for _, c := range checks {
		if i := c(v); i != nil {
			i.Path = at
			r.issues = append(r.issues, *i)
		}
	}
	return r
}

// text is a string.
func text(checks ...check[string]) guard {
	return func(v any, at path) result {
		s, ok := v.(string)
		if !ok {
			return wrongType("string", v, at)
		}
		return checked(s, at, checks)
	}
}

// number is a number.
func number(checks ...check[float64]) guard {
	return func(v any, at path) result {
		n, ok := v.(float64)
		if !ok {
			return wrongType("number", v, at)
		}
		return checked(n, at, checks)
	}
}

func boolean(v any, at path) result {
	if _, ok := v.(bool); !ok {
		return wrongType("boolean", v, at)
	}
	return good(v)
}

// anything lets everything pass that is there.
func anything(v any, _ path) result { return good(v) }

// one is one of several strings.
func one(options ...string) guard {
	return func(v any, at path) result {
		s, ok := v.(string)
		quoted := "'" + strings.Join(options, "' | '") + "'"
		switch {
		case !ok:
			return wrongType(quoted, v, at)
		case !slices.Contains(options, s):
			return result{unusable: true, issues: []issue{{
				Code: "invalid_enum_value", Received: s, Options: options, Path: at,
				Message: fmt.Sprintf("Invalid enum value. Expected %s, received '%s'", quoted, s),
			}}}
		}
		return good(s)
	}
}

// literal is exactly one string.
func literal(want string) guard {
	return func(v any, at path) result {
		if v == want {
			return good(v)
		}
		i := issue{Code: "invalid_literal", Expected: want, Path: at, Message: fmt.Sprintf("Invalid literal value, expected %q", want)}
		if _, missing := v.(undefined); !missing {
			i.Received = v
		}
		return result{issues: []issue{i}, unusable: true}
	}
}

// optional need not be there.
func optional(g guard) guard {
	return func(v any, at path) result {
		if _, missing := v.(undefined); missing {
			return good(v)
		}
		return g(v, at)
	}
}

// nullable may be null.
func nullable(g guard) guard {
	return func(v any, at path) result {
		if v == nil {
			return good(nil)
		}
		return g(v, at)
	}
}

// list is an array.
func list(of guard) guard {
	return func(v any, at path) result {
		items, ok := v.([]any)
		if !ok {
			return wrongType("array", v, at)
		}
		kept := make([]any, 0, len(items))
		var r result
		for i, item := range items {
			one := of(item, at.with(i))
			r.issues, r.unusable = append(r.issues, one.issues...), r.unusable || one.unusable
			kept = append(kept, one.value)
		}
		r.value = kept
		return r
	}
}

// member is a member of an object.
type member struct {
	name string
	guard
}

// object is an object of which only the members that are known are kept.
func object(members ...member) guard {
	return func(v any, at path) result {
		o, ok := v.(map[string]any)
		if !ok {
			return wrongType("object", v, at)
		}
		kept := map[string]any{}
		var r result
		for _, m := range members {
			value, there := o[m.name]
			if !there {
				value = undefined{}
			}
			one := m.guard(value, at.with(m.name))
			r.issues, r.unusable = append(r.issues, one.issues...), r.unusable || one.unusable
			if _, missing := one.value.(undefined); !missing && there {
				kept[m.name] = one.value
			}
		}
		r.value = kept
		return r
	}
}

// partial is a list of members none of which has to be there.
func partial(members ...member) []member {
	all := slices.Clone(members)
	for i := range all {
		all[i].guard = optional(all[i].guard)
	}
	return all
}

// record is an object of any names.
func record(of guard) guard {
	return func(v any, at path) result {
		o, ok := v.(map[string]any)
		if !ok {
			return wrongType("object", v, at)
		}
		kept := map[string]any{}
		var r result
		names := make([]string, 0, len(o))
		for name := range o {
			names = append(names, name)
		}
		slices.Sort(names) // zod keeps the order of the body, which Go does not know
		for _, name := range names {
			one := of(o[name], at.with(name))
			r.issues, r.unusable = append(r.issues, one.issues...), r.unusable || one.unusable
			kept[name] = one.value
		}
		r.value = kept
		return r
	}
}

// union is the first of several that fits.
func union(options ...guard) guard {
	return func(v any, at path) result {
		var dirty *result
		var all []zodError
		for _, option := range options {
			r := option(v, at)
			if len(r.issues) == 0 {
				return r
			}
			if !r.unusable && dirty == nil {
				dirty = &r
			}
			all = append(all, newZodError(r.issues))
		}
		if dirty != nil {
			return *dirty
		}
		return result{issues: []issue{{Code: "invalid_union", UnionErrors: all, Path: at, Message: "Invalid input"}}, unusable: true}
	}
}

// refined is what zod's refine makes of a requirement of Logto's own.
func refined(ok func(string) bool) check[string] {
	return func(s string) *issue {
		if ok(s) {
			return nil
		}
		return &issue{Code: "custom", Message: "Invalid input"}
	}
}

// isURL is zod's url: whatever the platform's URL parser takes.
func isURL(s string) *issue {
	if parsable(s) {
		return nil
	}
	return &issue{Code: "invalid_string", Validation: "url", Message: "Invalid url"}
}

func endsWith(suffix string) check[string] {
	return func(s string) *issue {
		if strings.HasSuffix(s, suffix) {
			return nil
		}
		return &issue{Code: "invalid_string", Validation: map[string]string{"endsWith": suffix}, Message: fmt.Sprintf("Invalid input: must end with %q", suffix)}
	}
}

func matches(re *regexp.Regexp, validation, message string) check[string] {
	return func(s string) *issue {
		if re.MatchString(s) {
			return nil
		}
		return &issue{Code: "invalid_string", Validation: validation, Message: message}
	}
}

func atLeast(n int) check[string] {
	return func(s string) *issue {
		if len(utf16.Encode([]rune(s))) >= n {
			return nil
		}
		return &issue{Code: "too_small", Minimum: ptr(float64(n)), Type: "string", Inclusive: ptr(true), Exact: ptr(false),
			Message: fmt.Sprintf("String must contain at least %d character(s)", n)}
	}
}

func atMost(n int) check[string] {
	return func(s string) *issue {
		if len(utf16.Encode([]rune(s))) <= n {
			return nil
		}
		return &issue{Code: "too_big", Maximum: ptr(float64(n)), Type: "string", Inclusive: ptr(true), Exact: ptr(false),
			Message: fmt.Sprintf("String must contain at most %d character(s)", n)}
	}
}

func whole(n float64) *issue {
	if n == math.Trunc(n) {
		return nil
	}
	return &issue{Code: "invalid_type", Expected: "integer", Received: "float", Message: "Expected integer, received float"}
}

func atLeastNumber(least float64) check[float64] {
	return func(n float64) *issue {
		if n >= least {
			return nil
		}
		return &issue{Code: "too_small", Minimum: ptr(least), Type: "number", Inclusive: ptr(true), Exact: ptr(false),
			Message: "Number must be greater than or equal to " + strconv.FormatFloat(least, 'f', -1, 64)}
	}
}

func atMostNumber(most float64) check[float64] {
	return func(n float64) *issue {
		if n <= most {
			return nil
		}
		return &issue{Code: "too_big", Maximum: ptr(most), Type: "number", Inclusive: ptr(true), Exact: ptr(false),
			Message: "Number must be less than or equal to " + strconv.FormatFloat(most, 'f', -1, 64)}
	}
}

func positive(n float64) *issue {
	if n > 0 {
		return nil
	}
	return &issue{Code: "too_small", Minimum: ptr(0.0), Type: "number", Inclusive: ptr(false), Exact: ptr(false), Message: "Number must be greater than 0"}
}

func ptr[V any](v V) *V { return &v }

var scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`)

// parsable reports whether a browser's URL parser takes a string: anything after a scheme, and a host where the scheme needs one.
func parsable(s string) bool {
	s = strings.Trim(s, " \t\r\n")
	found := scheme.FindString(s)
	if found == "" {
		return false
	}
	rest := s[len(found):]
	switch strings.ToLower(found) {
	case "http:", "https:", "ws:", "wss:", "ftp:":
		host := strings.TrimLeft(rest, `/\`)
		if i := strings.IndexAny(host, `/\?#`); i >= 0 {
			host = host[:i]
		}
		u, err := url.Parse("http://" + host[strings.LastIndexByte(host, '@')+1:])
		if err != nil || u.Hostname() == "" || strings.ContainsAny(u.Hostname(), "<>^|%") {
			return false
		}
		port, err := strconv.Atoi(cmp.Or(u.Port(), "0"))
		return err == nil && port <= 65535
	}
	return true
}
