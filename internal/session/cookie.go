package session

import (
	"crypto/sha256"
	"encoding/base64"
	"iter"
	"net/http"
	"strings"
)

// tokenLength is that of an scs token: 32 random bytes in base64url.
const tokenLength = 43

// Cookies are the names and values of a request's cookies as they came. net/http skips
// what it cannot parse, which would hide that somebody else wrote a cookie of ours.
func Cookies(r *http.Request) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for _, line := range r.Header["Cookie"] {
			for line != "" {
				var pair string
				pair, line, _ = strings.Cut(line, ";")
				name, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
				if !yield(name, value) {
					return
				}
			}
		}
	}
}

// token returns the session token a request brings. Of two cookies nobody knows which
// one is ours.
func (m *Manager) token(r *http.Request) (string, Reason) {
	token, reason := "", NoCookie
	for name, value := range Cookies(r) {
		if name != m.cookie {
			continue
		}
		if reason != NoCookie {
			return "", SeveralCookies
		}
		token, reason = value, Found
	}
	if reason == Found && !wellFormed(token) {
		return "", MalformedCookie
	}
	return token, reason
}

// wellFormed reports whether token can be one of ours, so that nothing else
// reaches the store.
func wellFormed(token string) bool {
	if len(token) != tokenLength {
		return false
	}
	for i := range len(token) {
		c := token[i]
		if !('A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// keyOf is the name of a session in the store: what scs's HashTokenInStore makes
// of its token.
func keyOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
