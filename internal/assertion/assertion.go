// Package assertion tells the application behind who somebody is, in request headers that nobody else can set.
//
// It owns the names that mean identity or rewrite where a request comes from, and removes them from every request,
// whatever their spelling; it owns the encoding of claims as header values. It does not own the headers that the
// gateway itself writes about a request (X-Forwarded-For and its like: package upstream sets them after Apply), nor
// the cookies.
//
// # Names
//
// CGI, WSGI, Rack and PHP turn X_Forwarded_Email, X.Forwarded.Email and X-Forwarded-Email into one variable. Names are
// therefore compared after Fold. Removed from requests are: every header a preset could emit and every configured
// one; the names by which a client would rewrite its address, its URL or its method (X-Real-IP, X-Original-*,
// X-Rewrite-*, X-Forwarded-*, Forwarded, Proxy, X-HTTP-Method-Override and their like); announcements that are for
// one connection (TE, Trailer, Keep-Alive …); and other spellings of Content-Length and Transfer-Encoding.
//
// # Signed
//
// Sub-package signed makes the signed form of the same identity, for applications that check who told them.
//
// Invariants: removal comes first and does not depend on the identity, so a claim that is missing never leaves what
// the client sent. A value is sent whole or not at all. Values are data: nothing is expanded or trimmed.
//
// Specifications: RFC 9110 5 and 6.6.2 (fields, trailers), RFC 3875 4.1.18 (CGI's names), RFC 3986 2.1, RFC 4648 4,
// RFC 2047 2 and 4.1.
package assertion

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"portero/internal/identity"

	"golang.org/x/net/http/httpguts"
)

// Limits of what one request is told. What goes beyond is left out and reported, or keeps the request from leaving.
const (
	DefaultMaxBytes = 4 << 10
	MaxTotal        = 16 << 10
)

// Header says which claim becomes which header.
type Header struct {
	Name     string
	Claims   []string // names or paths; the first one that is not empty wins
	Encoding Encoding // zero: Strict
	Join     string   // between the elements of a list; "": a comma
	MaxBytes int      // of the value as it is sent; 0: DefaultMaxBytes
	Deny     bool     // a value that is too long is to keep the request from leaving, see Overflow; false: it is left out
}

// DefaultHeaders is what upstreams are told where the configuration says nothing.
func DefaultHeaders() []Header {
	return separated([]Header{
		{Name: "X-Forwarded-User", Claims: []string{"sub"}},
		{Name: "X-Forwarded-Email", Claims: []string{"email"}},
		{Name: "X-Forwarded-Preferred-Username", Claims: []string{"username", "email"}},
		{Name: "X-Forwarded-Name", Claims: []string{"name"}, Encoding: Percent},
		{Name: "X-Forwarded-Groups", Claims: []string{"roles"}},
	})
}

// separated puts a comma between elements, and so into no value: many who read a header take it apart there.
func separated(headers []Header) []Header {
	for i := range headers {
		headers[i].Join = ","
	}
	return headers
}

// Preset is the list of headers of a preset by its name in the configuration; "" is DefaultHeaders.
func Preset(name string) ([]Header, error) {
	four := func(user, email, display, groups, userClaim string) []Header {
		return separated([]Header{
			{Name: user, Claims: []string{userClaim}},
			{Name: email, Claims: []string{"email"}},
			{Name: display, Claims: []string{"name"}, Encoding: Percent},
			{Name: groups, Claims: []string{"roles"}},
		})
	}
	switch name {
	case "":
		return DefaultHeaders(), nil
	case "none":
		return nil, nil
	case "remote-user":
		return four("Remote-User", "Remote-Email", "Remote-Name", "Remote-Groups", "email"), nil
	case "grafana":
		return four("X-WEBAUTH-USER", "X-WEBAUTH-EMAIL", "X-WEBAUTH-NAME", "X-WEBAUTH-GROUPS", "email"), nil
	case "pomerium":
		return four("X-Pomerium-Claim-Sub", "X-Pomerium-Claim-Email", "X-Pomerium-Claim-Name", "X-Pomerium-Claim-Groups", "sub"), nil
	case "auth-request":
		return separated([]Header{
			{Name: "X-Auth-Request-User", Claims: []string{"sub"}},
			{Name: "X-Auth-Request-Email", Claims: []string{"email"}},
			{Name: "X-Auth-Request-Preferred-Username", Claims: []string{"username", "email"}},
			{Name: "X-Auth-Request-Groups", Claims: []string{"roles"}},
		}), nil
	}
	return nil, fmt.Errorf("%q is no preset; write remote-user, auth-request, pomerium, grafana or none", name)
}

// Set is the headers of one route, ready to be applied. A nil Set sets none and removes what every Set removes.
type Set struct {
	headers []prepared
	own     map[string]struct{} // :: folded name of a configured header, of this set or another of the gateway → nothing
	denies  bool                // at least one of them
}

type prepared struct {
	Header
	key string // canonical
}

// NewSet checks the headers. All that is wrong is reported at once, each with its key below `identity`. Headers with these
// other names are removed as the configured ones are, and somebody else sets them: the signed assertion.
func NewSet(headers []Header, others ...string) (*Set, error) {
	s := &Set{own: make(map[string]struct{}, len(headers)+len(others))}
	var problems []error
	for i, h := range headers {
		add := func(key, format string, args ...any) {
			problems = append(problems, fmt.Errorf("headers[%d].%s: %s", i, key, fmt.Sprintf(format, args...)))
		}
		folded := Fold(h.Name)
		_, twice := s.own[folded]
		switch {
		case !httpguts.ValidHeaderFieldName(h.Name):
			add("name", "%q is no header name", h.Name)
		case reserved(folded):
			add("name", "%s is not for claims; choose a name that nothing else has, such as X-Auth-…", h.Name)
		case twice:
			add("name", "%s is there already; names that differ by case or by - and _ only are the same to many applications", h.Name)
		}
		if len(h.Claims) == 0 || slices.Contains(h.Claims, "") {
			add("claim", "is empty; write the name of a claim")
		}
		if h.MaxBytes < 0 || h.MaxBytes > MaxTotal {
			add("max_bytes", "%d is not from 1 to %d", h.MaxBytes, MaxTotal)
		}
		if h.Encoding > RFC2047 {
			add("encoding", "%s is unknown; write strict, percent, base64 or rfc2047", h.Encoding)
		}
		if h.Join != "" && !h.Encoding.separates(h.Join) {
			add("join", "%q cannot be told from values in the encoding %s; write a comma", h.Join, h.Encoding)
		}
		s.own[folded] = struct{}{}
		s.denies = s.denies || h.Deny
		h.Claims = slices.Clone(h.Claims)
		if h.MaxBytes == 0 {
			h.MaxBytes = DefaultMaxBytes
		}
		s.headers = append(s.headers, prepared{Header: h, key: http.CanonicalHeaderKey(h.Name)})
	}
	for _, name := range others {
		folded := Fold(name)
		_, twice := s.own[folded]
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			problems = append(problems, fmt.Errorf("assertion.header: %q is no header name", name))
		case reserved(folded) && folded != "x-portero-assertion" && folded != "x-pomerium-jwt-assertion":
			problems = append(problems, fmt.Errorf("assertion.header: %s is not for an assertion", name))
		case twice:
			problems = append(problems, fmt.Errorf("assertion.header: %s is there already", name))
		}
		s.own[folded] = struct{}{}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return s, nil
}

// Together makes each of the sets of a gateway remove what any of them sets: routes may lead to one application, which would take
// on one route what the gateway says on another. Nil sets are left out.
func Together(sets []*Set) {
	all := map[string]struct{}{}
	for _, s := range sets {
		if s != nil {
			maps.Copy(all, s.own)
		}
	}
	for _, s := range sets {
		if s != nil {
			s.own = all
		}
	}
}

// Names are the names of the headers that the set can emit, canonical and in order.
func (s *Set) Names() []string {
	if s == nil {
		return nil
	}
	names := make([]string, len(s.headers))
	for i, h := range s.headers {
		names[i] = h.key
	}
	return names
}

// Apply makes the headers of a request those that an upstream may see: it removes, always, what a client could
// pretend with, and then sets what id is; a nil id sets nothing. What could not be sent is returned for the log, as
// header name and reason, never with the value.
//
// Headers that the gateway writes itself (X-Forwarded-For, X-Real-IP, X-Request-Id …) are removed too and must be
// set afterwards.
func (s *Set) Apply(h http.Header, id *identity.Identity) (omitted []string) {
	for name := range h {
		if s.strips(name) {
			delete(h, name)
		}
	}
	if s == nil || id == nil {
		return nil
	}
	values := make([]string, 0, len(s.headers)) // one array for all: each header has one value
	total := 0
	for i := range s.headers {
		header := &s.headers[i]
		value, problem, _ := header.within(id, &total)
		if problem != "" {
			omitted = append(omitted, header.key+": "+problem)
		}
		if value != "" {
			values = append(values, value)
			h[header.key] = values[len(values)-1 : len(values) : len(values)]
		}
	}
	return omitted
}

// Overflow is the name of the first header whose value for id is too long and which is not to be left out for that, "" if
// there is none. The request is to be denied before anything of it leaves; whoever decides asks.
func (s *Set) Overflow(id *identity.Identity) string {
	if s == nil || id == nil || !s.denies {
		return ""
	}
	total := 0
	for i := range s.headers {
		header := &s.headers[i]
		if _, _, long := header.within(id, &total); long && header.Deny {
			return header.key
		}
	}
	return ""
}

// within is the header's value for id as far as the limits allow, and adds its length to total. long says that it is left out
// for its length.
func (p *prepared) within(id *identity.Identity, total *int) (value, problem string, long bool) {
	value, problem = p.value(id)
	switch {
	case len(value) > p.MaxBytes:
		return "", fmt.Sprintf("longer than %d bytes", p.MaxBytes), true
	case *total+len(value) > MaxTotal:
		return "", fmt.Sprintf("all headers together are longer than %d bytes", MaxTotal), true
	}
	*total += len(value)
	return value, problem, false
}

// StripResponse removes identity headers from the response of an upstream: they would tell a proxy before us, or a
// script, something that only the gateway may say.
func (s *Set) StripResponse(h http.Header) {
	for name := range h {
		var buffer [64]byte
		folded := fold(buffer[:0], name)
		if classify(folded) == identityName || s.owns(folded) {
			delete(h, name)
		}
	}
}

// Strips says whether Apply removes a header of this name from a request.
func (s *Set) Strips(name string) bool { return s.strips(name) }

// Foreign is the name of a header in h that Apply would remove and that would stay where somebody else removes those of
// replaced, by name: another one that says who somebody is, or another spelling of one that is removed. "": there is none.
// replaced are canonical.
func (s *Set) Foreign(h http.Header, replaced []string) string {
	for name := range h {
		var buffer [64]byte
		folded := fold(buffer[:0], name)
		class := classify(folded)
		switch {
		case class == otherName && !s.owns(folded):
		case strings.ContainsFunc(name, func(r rune) bool { return r != '-' && !alphanumeric(byte(r)) }):
			return name
		case (class == identityName || s.owns(folded)) && !slices.Contains(replaced, name):
			return name
		}
	}
	return ""
}

func (s *Set) strips(name string) bool {
	var buffer [64]byte // on the stack: most names need no allocation
	folded := fold(buffer[:0], name)
	switch classify(folded) {
	case identityName, requestName:
		return true
	case framingName: // its own spelling is for the HTTP library to read
		return strings.ContainsFunc(name, func(r rune) bool { return r != '-' && !alphanumeric(byte(r)) })
	}
	return s.owns(folded)
}

func (s *Set) owns(folded []byte) bool {
	if s == nil {
		return false
	}
	_, ok := s.own[string(folded)]
	return ok
}

// value is the header's value for id; "" leaves it out. problem says what could not be sent, if anything.
func (p *prepared) value(id *identity.Identity) (value, problem string) {
	for _, claim := range p.Claims {
		if p.Join == "" {
			if text := id.Text(claim); text != "" {
				value, ok := p.Encoding.encode(text, "")
				if !ok {
					return "", "not printable ASCII"
				}
				return value, ""
			}
		}
		if list := id.List(claim); len(list) > 0 {
			return p.join(list)
		}
	}
	return "", ""
}

// join leaves out the elements that cannot be sent: a role less is better than a role too many.
func (p *prepared) join(list []string) (value, problem string) {
	separator := p.Join
	if separator == "" {
		separator = ","
	}
	var b strings.Builder
	for _, element := range list {
		encoded, ok := p.Encoding.encode(element, separator)
		if !ok {
			problem = "an element has the separator or is not printable ASCII"
			continue
		}
		if b.Len() > p.MaxBytes {
			break // refused by the caller whatever follows
		}
		if b.Len() > 0 {
			b.WriteString(separator)
		}
		b.WriteString(encoded)
	}
	return b.String(), problem
}
