package assertion

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Encoding says how a claim becomes a header value. All but Strict carry every text and can be undone.
type Encoding uint8

// The encodings; String gives the words of the configuration.
const (
	Strict  Encoding = iota // printable ASCII without blanks at the ends as it is; anything else is left out
	Percent                 // UTF-8, with % + " and what Strict refuses percent-encoded
	Base64                  // UTF-8 in base64 with padding, RFC 4648 4
	RFC2047                 // as it is where Strict would, else encoded words of UTF-8 in base64
)

func (e Encoding) String() string {
	switch e {
	case Strict:
		return "strict"
	case Percent:
		return "percent"
	case Base64:
		return "base64"
	case RFC2047:
		return "rfc2047"
	}
	return fmt.Sprintf("Encoding(%d)", uint8(e))
}

// ParseEncoding reads the word of the configuration; "" is strict.
func ParseEncoding(s string) (Encoding, error) {
	switch s {
	case "", "strict":
		return Strict, nil
	case "percent":
		return Percent, nil
	case "base64":
		return Base64, nil
	case "rfc2047":
		return RFC2047, nil
	}
	return Strict, fmt.Errorf("%q is no encoding; write strict, percent, base64 or rfc2047", s)
}

// separates says whether values in this encoding can be told apart when separator stands between them.
func (e Encoding) separates(separator string) bool {
	if len(separator) > 4 || strings.Trim(separator, " ") == "" && separator != " " {
		return false
	}
	for i := range len(separator) {
		if c := separator[i]; c < ' ' || c > '~' || alphanumeric(c) {
			return false
		}
	}
	switch e {
	case Percent:
		return !strings.Contains(separator, "%")
	case Base64:
		return !strings.ContainsAny(separator, "+/=")
	case RFC2047:
		return !strings.ContainsAny(separator, "+/=?") && separator != " "
	}
	return true
}

// encode writes s so that it is one value, and one element where elements are separated; ok is false if this encoding
// cannot. An empty separator means that s stands alone.
func (e Encoding) encode(s, separator string) (value string, ok bool) {
	delimiters := strings.ReplaceAll(separator, " ", "") // "a b" is one element between ", "
	if delimiters == "" {
		delimiters = separator
	}
	clean := printable(s) && !strings.ContainsAny(s, delimiters)
	switch e {
	case Strict:
		return s, clean
	case Percent:
		return percent(s, delimiters), true
	case Base64:
		return base64.StdEncoding.EncodeToString([]byte(s)), true
	case RFC2047:
		if clean && !strings.Contains(s, "=?") {
			return s, true
		}
		return encodedWords(s)
	}
	return "", false
}

// printable says whether s can stand in a header field as it is and arrive as it is: transports trim blanks at the ends.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && s[0] != ' ' && s[len(s)-1] != ' '
}

// percent leaves printable ASCII readable, save %, + (a blank to some decoders), the double quote and delimiters.
func percent(s, delimiters string) string {
	const digits = "0123456789ABCDEF"
	escaped := func(i int) bool {
		c, atEnd := s[i], i == 0 || i == len(s)-1
		return c < ' ' || c > '~' || c == '%' || c == '+' || c == '"' || c == ' ' && atEnd || strings.IndexByte(delimiters, c) >= 0
	}
	clean := 0
	for clean < len(s) && !escaped(clean) {
		clean++
	}
	if clean == len(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 8)
	b.WriteString(s[:clean])
	for i := clean; i < len(s); i++ {
		c := s[i]
		if escaped(i) {
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// encodedWords writes s as words of at most 75 bytes, none of which splits a character (RFC 2047 2 and 5). Text that
// is not UTF-8 has no encoded words.
func encodedWords(s string) (string, bool) {
	const perWord = 45 // bytes, 60 in base64
	if !utf8.ValidString(s) {
		return "", false
	}
	var b strings.Builder
	for s != "" {
		n := min(perWord, len(s))
		for n < len(s) && !utf8.RuneStart(s[n]) {
			n--
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString("=?utf-8?B?")
		b.WriteString(base64.StdEncoding.EncodeToString([]byte(s[:n])))
		b.WriteString("?=")
		s = s[n:]
	}
	return b.String(), true
}
