// Package identity says who somebody is: the raw claims of a verified ID token, and the typed identity read from
// them.
//
// It owns the reading of claims (strict JSON, dotted paths, canonical text) and what makes an e-mail address count.
// It does not own the verification of the token (package logto), the rules about who may come in (package access),
// or the headers that tell an application (package assertion).
//
// Invariants: an identity always has a subject. An address that is not verified, or that two readers could take
// apart in two ways, is none. Lower case means ASCII lower case: a Kelvin sign is no k.
//
// Specifications: OpenID Connect Core 1.0, 5.1 and 5.7 (claims; sub at most 255 characters); RFC 8259 4 (JSON
// objects, member names unique); RFC 5321 2.4 and 4.5.3.1 (addresses).
package identity

import (
	"errors"
	"strings"
	"unicode"
)

// Limits on names of people.
const (
	maxSubject = 255
	maxEmail   = 320
)

// Options says how claims are read. The zero value is the careful one.
type Options struct {
	UnverifiedEmail bool // an address counts even if email_verified is not true
}

// Identity is who somebody is. It is shared between requests and never modified.
type Identity struct {
	Subject       string    // sub: never empty
	Email         string    // lower case; "" if unverified (unless Options says otherwise) or malformed
	Name          string    // name: chosen by the person
	Username      string    // username
	EmailVerified bool      // email_verified is the boolean true
	Roles         []string  // roles
	Organizations []string  // organizations: identifiers
	Claims        *ClaimSet // all of them, as received

	OrganizationRoles []string // organization_roles: ORGANIZATION:ROLE
}

// New reads the identity from the claims of a verified ID token. The only error is a subject that is missing, empty,
// longer than 255 bytes or has a control character. Any other claim of the wrong type is skipped.
func New(c Claims, o Options) (Identity, error) {
	subject, ok := c["sub"].(string)
	switch {
	case !ok || subject == "":
		return Identity{}, errors.New("reading identity: claim sub is missing, empty or no text")
	case len(subject) > maxSubject:
		return Identity{}, errors.New("reading identity: claim sub is longer than 255 bytes")
	case strings.ContainsFunc(subject, unicode.IsControl):
		return Identity{}, errors.New("reading identity: claim sub has a control character")
	}
	id := Identity{
		Subject:       subject,
		Roles:         c.List("roles"),
		Organizations: c.List("organizations"),
		Claims:        NewClaimSet(c),

		OrganizationRoles: c.List("organization_roles"),
	}
	id.Name, _ = c["name"].(string)
	id.Username, _ = c["username"].(string)
	id.EmailVerified, _ = c["email_verified"].(bool) // the text "true" is not true
	if email, ok := c["email"].(string); ok && (id.EmailVerified || o.UnverifiedEmail) {
		id.Email = NormalEmail(email)
	}
	return id, nil
}

// Compact returns a copy that takes little memory: raw is the JSON of the same claims,
// which are decoded when somebody asks for one without a field of its own.
func (id Identity) Compact(raw string) Identity {
	id.Claims = &ClaimSet{raw: raw}
	return id
}

// Text is the text of the claim at path as rules and applications see it: Claims.Text, save that a claim with a field
// of its own is that field, so that `email` is the address that counts.
func (id *Identity) Text(path string) string {
	switch path {
	case "sub":
		return id.Subject
	case "email":
		return id.Email
	case "name":
		return id.Name
	case "username":
		return id.Username
	}
	return id.Claims.Text(path)
}

// List is the list of the claim at path as rules and applications see it: Claims.List, save for the claims with a
// field of their own.
func (id *Identity) List(path string) []string {
	switch path {
	case "roles":
		return id.Roles
	case "organizations":
		return id.Organizations
	case "organization_roles":
		return id.OrganizationRoles
	case "sub", "email", "name", "username":
		if text := id.Text(path); text != "" {
			return []string{text}
		}
		return nil
	}
	return id.Claims.List(path)
}

// Any says whether an element of List(path) is among values, and how many there are; it makes no list.
func (id *Identity) Any(path string, values map[string]struct{}) (found bool, entries int) {
	switch path {
	case "roles", "organizations", "organization_roles", "sub", "email", "name", "username":
		list := id.List(path)
		return anyOf(list, values), len(list)
	}
	v, _ := id.Claims.Lookup(path)
	switch list := v.(type) {
	case []any:
		for _, element := range list {
			s := text(element)
			if _, ok := values[s]; ok && s != "" {
				return true, len(list)
			}
		}
		return false, len(list)
	case []string:
		return anyOf(list, values), len(list)
	}
	s := text(v)
	_, ok := values[s]
	return ok && s != "", 1
}

func anyOf(list []string, values map[string]struct{}) bool {
	for _, s := range list {
		if _, ok := values[s]; ok && s != "" {
			return true
		}
	}
	return false
}

// NormalEmail is the one form in which addresses are kept and compared: ASCII lower case, exactly one @ with
// something on either side, no blanks or control characters, at most 320 bytes. It is "" for anything else.
func NormalEmail(s string) string {
	if isNormalEmail(s) {
		return s
	}
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" || domain == "" || strings.Contains(domain, "@") || len(s) > maxEmail {
		return ""
	}
	if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) || r == unicode.ReplacementChar }) {
		return ""
	}
	return LowerASCII(s)
}

// isNormalEmail knows the addresses that most people have, in their normal form already.
func isNormalEmail(s string) bool {
	at := -1
	for i := range len(s) {
		switch c := s[i]; {
		case c == '@' && at >= 0, c <= ' ', c > '~', 'A' <= c && c <= 'Z':
			return false
		case c == '@':
			at = i
		}
	}
	return at > 0 && at < len(s)-1 && len(s) <= maxEmail
}

// LowerASCII changes A to Z and nothing else. Unicode's case mapping turns the Kelvin sign into k and a dotted
// capital I into two characters, and would make one domain match another.
func LowerASCII(s string) string {
	if strings.IndexFunc(s, isUpper) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if isUpper(r) {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func isUpper(r rune) bool { return 'A' <= r && r <= 'Z' }
