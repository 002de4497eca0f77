package gateway

import "strings"

// ownCookie reports whether a cookie's name is one that Portero gives, on any scheme and port: cookies of http know no
// ports, so another gateway's on the same host come along too. None of them reaches an upstream, and no upstream sets
// one.
func ownCookie(name string) bool {
	if rest, ok := strings.CutPrefix(name, "__Host-portero"); ok {
		return rest == "" || rest[0] == '-'
	}
	rest, ok := strings.CutPrefix(name, "portero-")
	if !ok {
		return false
	}
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		digits++
	}
	return digits > 0 && (digits == len(rest) || rest[digits] == '-')
}
