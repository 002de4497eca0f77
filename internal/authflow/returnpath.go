package authflow

import (
	"net/url"
	"strings"
)

// maxReturnPath bounds a return path in bytes; a longer one becomes "/".
const maxReturnPath = 8 << 10

// ReturnPath is where a person goes after a sign-in or sign-out: a path and query on the host that was asked for,
// never another host. The zero value is "/".
type ReturnPath struct{ text string }

// String renders the path for a Location header or a link. It begins with one slash.
func (p ReturnPath) String() string {
	if p.text == "" {
		return "/"
	}
	return p.text
}

// Path is the decoded path without query, "/" for the zero value.
func (p ReturnPath) Path() string {
	u, err := url.Parse(p.String())
	if err != nil {
		return "/"
	}
	return u.Path
}

// withoutQuery keeps the path alone.
func (p ReturnPath) withoutQuery() ReturnPath {
	path, _, _ := strings.Cut(p.String(), "?")
	path, _, _ = strings.Cut(path, "#")
	return ReturnPath{text: path}
}

// ParseReturnPath reads a return path. Anything a browser could take for another host, and anything that is not
// plainly a path (controls, blanks, backslashes, non-ASCII, dot segments in any encoding, more than 8 KiB), is not
// one: ok is false and the result is "/".
//
// The text is parsed once and rendered again from its parts, so that what leaves is what was checked.
func ParseReturnPath(s string) (p ReturnPath, ok bool) {
	if len(s) == 0 || len(s) > maxReturnPath || s[0] != '/' || startsNetworkPath(s) {
		return ReturnPath{}, false
	}
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '\\' {
			return ReturnPath{}, false
		}
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "" || u.Opaque != "" || u.Host != "" || u.User != nil {
		return ReturnPath{}, false
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return ReturnPath{}, false
		}
	}
	for i := 0; i < len(u.Path); i++ {
		if u.Path[i] < ' ' || u.Path[i] == 0x7f {
			return ReturnPath{}, false
		}
	}
	out := u.String()
	if out == "" || out[0] != '/' || startsNetworkPath(out) || len(out) > maxReturnPath {
		return ReturnPath{}, false
	}
	return ReturnPath{text: out}, true
}

// startsNetworkPath reports whether a browser would read a host after the first byte (RFC 3986 4.2; the URL standard
// treats a backslash as a slash).
func startsNetworkPath(s string) bool {
	return len(s) > 1 && (s[1] == '/' || s[1] == '\\')
}
