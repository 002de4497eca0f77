package route

import (
	"strings"
	"unicode/utf8"

	"portero/internal/forwarded"
)

// Target is the request target in its one normal form. Only ParseTarget makes one; the zero value matches no route.
type Target struct {
	Raw      string // the path as received, byte for byte: what is forwarded
	Path     string // Raw, decoded once
	Query    string // as received, byte for byte, without the question mark
	HasQuery bool   // there was a question mark, even if nothing follows it
	Asterisk bool   // `OPTIONS *`: about the gateway as a whole, answered by it; the other fields are empty

	odd   string // what `paths: strict` refuses in Raw; "" nothing
	plain bool   // every reading of Raw is Path
}

// String is path and query as received, fit for a request line.
func (t Target) String() string {
	switch {
	case t.Asterisk:
		return "*"
	case t.HasQuery:
		return t.Raw + "?" + t.Query
	}
	return t.Raw
}

// TargetError is returned by ParseTarget, Match and Forward when a request target can be understood in two ways, or
// in none. The answer is 400. Nothing of the target is in the message.
type TargetError struct {
	Reason string // what is wrong with it
	Key    string // the configuration key that decides about it: `routes[2].paths`; "" if none does
}

func (e *TargetError) Error() string {
	if e.Key == "" {
		return "request target refused: " + e.Reason
	}
	return "request target refused by " + e.Key + ": " + e.Reason
}

func refuse(reason string) error { return &TargetError{Reason: reason} }

// ParseTarget reads the request target as it was on the request line (http.Request.RequestURI, or :path), host being
// the host the request is for.
//
//   - The asterisk form is for OPTIONS alone (RFC 9112 3.2.4).
//   - The absolute form must have the scheme http or https and name host itself (RFC 9112 3.2.2).
//   - In the path, control bytes, raw or encoded, bytes that RFC 3986 does not use, a raw #, bad escapes, escapes
//     that are not UTF-8 when decoded, and dot segments in any encoding are errors.
//   - In the query, control bytes, raw bytes beyond ASCII and a raw # are errors; it is not parsed.
func ParseTarget(method, requestURI, host string) (Target, error) {
	switch {
	case requestURI == "*" && method == "OPTIONS":
		return Target{Asterisk: true}, nil
	case requestURI == "":
		return Target{}, refuse("it is empty")
	case requestURI[0] != '/':
		rest, err := cutAuthority(requestURI, host)
		if err != nil {
			return Target{}, err
		}
		switch {
		case rest == "" && method == "OPTIONS":
			return Target{Asterisk: true}, nil
		case rest == "" || rest[0] == '?':
			rest = "/" + rest
		}
		requestURI = rest
	}
	var t Target
	t.Raw, t.Query, t.HasQuery = strings.Cut(requestURI, "?")
	if err := t.readPath(); err != nil {
		return Target{}, err
	}
	if err := checkQuery(t.Query); err != nil {
		return Target{}, err
	}
	return t, nil
}

// cutAuthority takes scheme and authority off a target in absolute form, once they are known to be host's.
func cutAuthority(target, host string) (rest string, err error) {
	scheme, rest, ok := strings.Cut(target, "://")
	if ok {
		scheme = strings.ToLower(scheme)
	}
	if scheme != "http" && scheme != "https" || !ok {
		return "", refuse("it is neither a path nor an http or https URL")
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	named, err := forwarded.CanonicalHost(rest[:end], scheme)
	if err != nil {
		return "", refuse("the host of its absolute form is malformed")
	}
	if asked, err := forwarded.CanonicalHost(host, scheme); err != nil || asked != named {
		return "", refuse("its absolute form names another host")
	}
	return rest[end:], nil
}

// readPath checks Raw and fills Path and what depends on both.
func (t *Target) readPath() error {
	t.plain = true
	escapes := 0
	for i := 0; i < len(t.Raw); i++ {
		c := t.Raw[i]
		if !allowedInPath[c] {
			return refuse("its path has " + describe(c))
		}
		switch c {
		case '%':
			decoded, ok := unescape(t.Raw, i)
			if !ok {
				return refuse("its path has a % that begins no escape")
			}
			if decoded < 0x20 || decoded == 0x7f {
				return refuse("its path has an encoded control byte")
			}
			if name := oddEscape(decoded); name != "" && t.odd == "" {
				t.odd = name
			}
			t.plain = t.plain && needsEscape(decoded)
			escapes++
			i += 2
		case ';':
			t.plain = false
			if t.odd == "" {
				t.odd = ";"
			}
		case '/':
			if i > 0 && t.Raw[i-1] == '/' {
				t.plain = false
				if t.odd == "" {
					t.odd = "//"
				}
			}
		}
	}
	t.Path = t.Raw
	if escapes > 0 {
		t.Path = decode(t.Raw)
	}
	return checkDecoded(t.Path)
}

// checkDecoded refuses what decoding must never bring forth, however often it is done: bytes that are not UTF-8,
// control bytes, dot segments.
func checkDecoded(once string) error {
	twice := decode(once)
	readings := [...]string{once, twice, decodeAll(twice)}
	for i, s := range readings {
		if i > 0 && len(s) == len(readings[i-1]) {
			break // nothing was left to decode
		}
		if !utf8.ValidString(s) {
			return refuse("its path does not decode to valid UTF-8")
		}
		if i > 0 && strings.IndexFunc(s, isControl) >= 0 { // the first reading has been looked at byte by byte
			return refuse("its path has an encoded control byte")
		}
		if hasDotSegment(s) {
			return refuse("its path has a dot segment")
		}
	}
	return nil
}

func checkQuery(query string) error {
	for i := 0; i < len(query); i++ {
		if c := query[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return refuse("its query has " + describe(c))
		}
	}
	return nil
}

// hasDotSegment looks for . and .. between slashes of either kind, and as lenient readers see them: before a
// parameter, a query or a fragment, and with blanks after them.
func hasDotSegment(s string) bool {
	if !strings.Contains(s, "/.") && !strings.Contains(s, `\.`) {
		return false
	}
	for s != "" {
		segment := s
		if i := strings.IndexAny(s, `/\`); i >= 0 {
			segment, s = s[:i], s[i+1:]
		} else {
			s = ""
		}
		if segment == "" || segment[0] != '.' {
			continue
		}
		if i := strings.IndexAny(segment, ";?#"); i >= 0 {
			segment = segment[:i]
		}
		if segment = strings.TrimRight(segment, " "); segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// decode replaces every escape by its byte, once. What is no escape stays.
func decode(s string) string {
	return decodeWhere(s, func(byte) bool { return true })
}

// decodeNeedful replaces the escapes of bytes that can stand in a path only so: é and é encoded are one spelling
// of a path, a and a encoded are two.
func decodeNeedful(s string) string {
	return decodeWhere(s, needsEscape)
}

func decodeWhere(s string, wanted func(byte) bool) string {
	next := strings.IndexByte(s, '%')
	if next < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	b = append(b, s[:next]...)
	for i := next; i < len(s); i++ {
		if s[i] == '%' {
			if c, ok := unescape(s, i); ok && wanted(c) {
				b = append(b, c)
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	if len(b) == len(s) {
		return s
	}
	return string(b)
}

// decodeAll decodes until no escape is left, in one pass: an escape is replaced as soon as it is complete, and what
// comes of it may complete another. Decoding again and again would take quadratic time for %2525252525….
func decodeAll(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		b = append(b, s[i])
		for len(b) >= 3 && b[len(b)-3] == '%' {
			high, ok1 := hex(b[len(b)-2])
			low, ok2 := hex(b[len(b)-1])
			if !ok1 || !ok2 {
				break
			}
			b = append(b[:len(b)-3], high<<4|low)
		}
	}
	return string(b)
}

// unescape reads the escape that begins at s[i].
func unescape(s string, i int) (c byte, ok bool) {
	if i+2 >= len(s) {
		return 0, false
	}
	high, ok1 := hex(s[i+1])
	low, ok2 := hex(s[i+2])
	return high<<4 | low, ok1 && ok2
}

func hex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// oddEscape names the escapes that `paths: strict` refuses: those that upstreams disagree about.
func oddEscape(c byte) string {
	switch c {
	case '/':
		return "%2f"
	case '\\':
		return "%5c"
	case '%':
		return "%25"
	case ';':
		return "%3b"
	case '?':
		return "%3f"
	case '#':
		return "%23"
	}
	return ""
}

// needsEscape says whether a byte can stand in a path only percent-encoded, and means nothing but itself.
func needsEscape(c byte) bool {
	return !allowedInPath[c] && oddEscape(c) == ""
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

// allowedInPath has the bytes that RFC 3986 uses (2.2, 2.3), less the two that end a path. The brackets are among
// them: pchar leaves them out, but browsers send them as they are.
var allowedInPath = func() (table [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=:@/[]%") {
		table[c] = true
	}
	return table
}()

// describe names a byte that is not allowed, never the bytes around it.
func describe(c byte) string {
	switch {
	case c < 0x20 || c == 0x7f:
		return "a control byte"
	case c == ' ':
		return "a blank"
	case c >= 0x80:
		return "a byte beyond ASCII"
	}
	return "a raw " + string(rune(c))
}
