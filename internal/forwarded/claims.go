package forwarded

import "net/http"

// claims are the headers that a Resolver may believe, and the one of RFC 7239, which a proxy may send in their place.
var claims = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto"}

// Claims names the headers in h that say who sent a request and which URL was typed, whatever is in them and whether or not
// the peer is believed. Operators look at them; nothing is decided by them.
func Claims(h http.Header) []string {
	names := []string{}
	for _, name := range claims {
		if len(h[name]) > 0 {
			names = append(names, name)
		}
	}
	return names
}
