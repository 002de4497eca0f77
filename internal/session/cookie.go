package session

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
)

// tokenLength is that of an scs token: 32 random bytes in base64url.
const tokenLength = 43

// token returns the session token a request brings. It reads the header itself:
// net/http skips what it cannot parse and takes the first of several, and both
// would hide that somebody else wrote a cookie of ours.
func (m *Manager) token(r *http.Request) (string, Reason) {
	token, reason := "", NoCookie
	for _, line := range r.Header["Cookie"] {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			name, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
			if name != m.cookie {
				continue
			}
			if reason != NoCookie {
				return "", SeveralCookies
			}
			token, reason = value, Found
		}
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
