package gatewaytest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Message is one request as somebody reads it in a stream of bytes.
type Message struct {
	Head string // its exact bytes, from the request line to the last header
	Body string // its content, without chunk sizes
	Half bool   // its head is all there, its body is not; Body is empty
}

// Reading is a way to find the requests in a stream of bytes. The zero value reads RFC 9112 to the letter; each field
// is a liberty that some server takes.
type Reading struct {
	Name string

	BareLF      bool // a line ends at LF, with CR or without (RFC 9112, section 2.2)
	BareCR      bool // and at a CR alone
	Folded      bool // a line that begins with a blank goes on with the one before (section 5.2)
	BlankColon  bool // blanks before a colon belong to nobody (section 5.1)
	Underscores bool // Content_Length is Content-Length, as to CGI; so is any other byte that is no letter
	LengthFirst bool // Content-Length counts, whatever Transfer-Encoding says (section 6.3)
	LastLength  bool // of several lengths the last one counts; without it the first; neither is an error
	OddNumbers  bool // a number is what its digits up to the first other byte say, signs and 0x skipped
	AnyCoding   bool // whatever has `chunked` in it is chunked
	Version     bool // any version is taken
}

// Strict reads as RFC 9112 says, and takes nothing else.
var Strict = Reading{Name: "strict"}

func (r Reading) strict() bool { return r == Reading{Name: r.Name} }

// Lenient are the readers that take what they get, one for each way in which they differ.
var Lenient = []Reading{
	{Name: "lenient", BareLF: true, Folded: true, BlankColon: true, Underscores: true, OddNumbers: true, AnyCoding: true, Version: true},
	{Name: "lenient, at any CR", BareLF: true, BareCR: true, Folded: true, BlankColon: true, Underscores: true, OddNumbers: true, AnyCoding: true, Version: true},
	{Name: "lenient, length first", BareLF: true, BlankColon: true, Underscores: true, LengthFirst: true, OddNumbers: true, Version: true},
	{Name: "lenient, last length first", BareLF: true, BlankColon: true, Underscores: true, LengthFirst: true, LastLength: true, OddNumbers: true, Version: true},
}

// ErrIncomplete is returned by Read when the bytes end in the middle of a request.
var ErrIncomplete = errors.New("it ends in the middle of a request")

// Read finds the requests in a stream. The error says what is left that is no request, or not all of one (ErrIncomplete).
func (r Reading) Read(in string) ([]Message, error) {
	var out []Message
	for in != "" {
		if rest, ok := strings.CutPrefix(in, "\r\n"); ok { // before a request line (RFC 9112, section 2.2)
			in = rest
			continue
		}
		m, rest, err := r.message(in)
		if errors.Is(err, ErrIncomplete) && m.Head != "" {
			out = append(out, Message{Head: m.Head, Half: true})
		}
		if err != nil {
			return out, fmt.Errorf("request %d (%.60q): %w", len(out)+1, in, err)
		}
		out, in = append(out, m), rest
	}
	return out, nil
}

// line cuts off one line, without its end.
func (r Reading) line(in string) (line, rest string, err error) {
	at := strings.IndexAny(in, "\r\n")
	for ; at >= 0; at = next(in, at) {
		switch {
		case strings.HasPrefix(in[at:], "\r\n"):
			return in[:at], in[at+2:], nil
		case in[at] == '\n' && r.BareLF, in[at] == '\r' && r.BareCR:
			return in[:at], in[at+1:], nil
		case !r.BareLF && !r.BareCR:
			return "", "", fmt.Errorf("a bare %q in a line", in[at])
		}
	}
	return "", "", ErrIncomplete
}

// next is where the next line end may be, behind at; -1: nowhere.
func next(in string, at int) int {
	if n := strings.IndexAny(in[at+1:], "\r\n"); n >= 0 {
		return at + 1 + n
	}
	return -1
}

// framing is what a head says about its body.
type framing struct {
	lengths []string
	codings []string
}

func (r Reading) message(in string) (m Message, rest string, err error) {
	first, rest, err := r.line(in)
	if err != nil {
		return m, "", err
	}
	words := strings.Split(first, " ")
	switch {
	case len(words) != 3 && (!r.Version || len(words) < 2):
		return m, "", fmt.Errorf("the request line %.60q", first)
	case !r.Version && (!token(words[0]) || words[1] == "" || words[2] != "HTTP/1.1"):
		return m, "", fmt.Errorf("the request line %.60q", first)
	case !r.Version && strings.ContainsFunc(words[1], func(c rune) bool { return c <= ' ' || c >= 0x7f }):
		return m, "", fmt.Errorf("the target %.60q", words[1])
	}
	var f framing
	hosts := 0
	for name := ""; ; {
		var line string
		if line, rest, err = r.line(rest); err != nil {
			return m, "", err
		}
		if line == "" {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			if !r.Folded {
				if r.strict() {
					return m, "", fmt.Errorf("the folded line %.60q", line)
				}
				continue
			}
			f.add(name, strings.Trim(line, " \t"), true)
			continue
		}
		var value string
		var colon bool
		if name, value, colon = strings.Cut(line, ":"); r.strict() && (!colon || !token(name) || !text(value)) {
			return m, "", fmt.Errorf("the header %.60q", line)
		}
		name = r.name(name)
		if name == "host" {
			hosts++
		}
		f.add(name, strings.Trim(value, " \t"), false)
	}
	if r.strict() && hosts != 1 {
		return m, "", fmt.Errorf("%d hosts", hosts)
	}
	m.Head = in[:len(in)-len(rest)]
	m.Body, rest, err = r.body(f, rest)
	return m, rest, err
}

func (f *framing) add(name, value string, folded bool) {
	for key, list := range map[string]*[]string{"content-length": &f.lengths, "transfer-encoding": &f.codings} {
		switch {
		case name != key:
		case folded && len(*list) > 0:
			last := &(*list)[len(*list)-1]
			*last = strings.Trim(*last+" "+value, " ")
		default:
			*list = append(*list, value)
		}
	}
}

// name is how a reader knows a header.
func (r Reading) name(name string) string {
	if r.BlankColon {
		name = strings.Trim(name, " \t\x0b\x0c\x00")
	}
	name = strings.ToLower(name)
	if r.Underscores {
		name = strings.Map(func(c rune) rune {
			if c < 'a' || c > 'z' {
				return '-'
			}
			return c
		}, name)
	}
	return name
}

func (r Reading) body(f framing, in string) (body, rest string, err error) {
	chunked := false
	if len(f.codings) > 0 {
		all := strings.ToLower(strings.Join(f.codings, ", "))
		switch {
		case r.AnyCoding:
			chunked = strings.Contains(all, "chunked")
		case all == "chunked":
			chunked = true
		case r.strict():
			return "", "", fmt.Errorf("the transfer coding %q", all)
		}
	}
	if r.strict() && len(f.codings) > 0 && len(f.lengths) > 0 {
		return "", "", errors.New("a length and a transfer coding")
	}
	if r.LengthFirst && len(f.lengths) > 0 {
		chunked = false
	}
	switch {
	case chunked:
		return r.chunks(in)
	case len(f.lengths) == 0:
		return "", in, nil
	}
	length := f.lengths[0]
	if r.LastLength {
		length = f.lengths[len(f.lengths)-1]
	}
	if r.strict() && len(f.lengths) > 1 {
		return "", "", errors.New("several lengths")
	}
	n, err := r.number(length, 10)
	if err != nil {
		return "", "", err
	}
	if n > uint64(len(in)) {
		return "", "", ErrIncomplete
	}
	return in[:n], in[n:], nil
}

func (r Reading) chunks(in string) (body, rest string, err error) {
	for {
		var line string
		if line, in, err = r.line(in); err != nil {
			return "", "", err
		}
		if r.strict() && strings.Trim(line, "0123456789abcdefABCDEF") != "" {
			return "", "", fmt.Errorf("the chunk size %.60q", line) // an extension is allowed, but nobody sends any
		}
		size, _, _ := strings.Cut(line, ";")
		n, err := r.number(strings.Trim(size, " \t"), 16)
		if err != nil {
			return "", "", err
		}
		if n == 0 {
			break
		}
		if n > uint64(len(in)) {
			return "", "", ErrIncomplete
		}
		body, in = body+in[:n], in[n:]
		if line, in, err = r.line(in); err != nil {
			return "", "", err
		}
		if line != "" {
			return "", "", fmt.Errorf("%.60q behind a chunk", line)
		}
	}
	for { // trailers
		var line string
		if line, in, err = r.line(in); err != nil || line == "" {
			return body, in, err
		}
	}
}

func (r Reading) number(s string, base int) (uint64, error) {
	digits := "0123456789abcdefABCDEF"[:10+map[int]int{10: 0, 16: 12}[base]]
	if r.OddNumbers {
		s = strings.TrimLeft(s, " \t+-\"")
		if base == 16 {
			s = strings.TrimPrefix(strings.ToLower(s), "0x")
		}
		if end := strings.IndexFunc(s, func(c rune) bool { return !strings.ContainsRune(digits, c) }); end >= 0 {
			s = s[:end]
		}
		if s == "" {
			return 0, nil
		}
	}
	if s == "" || strings.Trim(s, digits) != "" {
		return 0, fmt.Errorf("the number %q", s)
	}
	return strconv.ParseUint(s, base, 63)
}

// token reports whether s is a token (RFC 9110, section 5.6.2).
func token(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
	})
}

// text reports whether s may be the value of a header (RFC 9110, section 5.5).
func text(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return true
}
