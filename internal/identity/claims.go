package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of ParseClaims and Claims.Text.
const (
	maxClaimsBytes = 64 << 10
	maxClaimsDepth = 32
	maxNumberText  = 64
)

// Claims is the raw claim set of a verified ID token, with the claims of the userinfo endpoint merged in where
// something needs them. Names are compared exactly: SUB is not sub. Numbers are json.Number, nested objects
// map[string]any, lists []any.
type Claims map[string]any

// ParseClaims reads a claim set. It refuses what two readers could understand in two ways: anything but one JSON
// object, trailing data, a member named twice (at any depth), bytes that are not UTF-8; and what nobody needs:
// more than 64 KiB, or nesting deeper than 32.
func ParseClaims(data []byte) (Claims, error) {
	if len(data) > maxClaimsBytes {
		return nil, fmt.Errorf("parsing claims: larger than %d bytes", maxClaimsBytes)
	}
	if !utf8.Valid(data) {
		return nil, errors.New("parsing claims: not valid UTF-8")
	}
	if !json.Valid(data) {
		return nil, errors.New("parsing claims: not one JSON value")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := decode(d, 1)
	if err != nil {
		return nil, fmt.Errorf("parsing claims: %w", err)
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("parsing claims: not a JSON object")
	}
	return object, nil
}

// decode reads the next value token by token, because only so a duplicate member is seen. The syntax has been
// checked already.
func decode(d *json.Decoder, depth int) (any, error) {
	if depth > maxClaimsDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxClaimsDepth)
	}
	t, err := d.Token()
	if err != nil {
		return nil, errors.New("malformed JSON")
	}
	switch t {
	case json.Delim('{'):
		object := map[string]any{}
		for d.More() {
			t, err := d.Token()
			name, ok := t.(string)
			if err != nil || !ok {
				return nil, errors.New("malformed JSON")
			}
			if _, twice := object[name]; twice {
				return nil, errors.New("a member is named twice")
			}
			if object[name], err = decode(d, depth+1); err != nil {
				return nil, err
			}
		}
		_, err = d.Token()
		return object, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := decode(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = d.Token()
		return list, err
	}
	return t, nil
}

// With returns a copy of c that has the members of more too; where both have one, c's stays, because c is what a
// signature covers.
func (c Claims) With(more Claims) Claims {
	all := make(Claims, len(c)+len(more))
	maps.Copy(all, more)
	maps.Copy(all, c)
	return all
}

// Lookup finds the claim at path: the member of exactly this name first (names may contain dots, as URLs do), else
// the part before the first dot names an object in which the rest is looked up the same way.
func (c Claims) Lookup(path string) (any, bool) {
	object := map[string]any(c)
	for {
		if v, ok := object[path]; ok {
			return v, true
		}
		name, rest, dotted := strings.Cut(path, ".")
		if !dotted {
			return nil, false
		}
		switch nested := object[name].(type) {
		case map[string]any:
			object = nested
		case Claims:
			object = nested
		default:
			return nil, false
		}
		path = rest
	}
}

// Text is the canonical text of the scalar at path: strings as they are, true and false, numbers in decimal without
// exponent or needless zeros. It is "" if the claim is absent, null, a list, an object, or a number whose text
// would be longer than 64 characters.
func (c Claims) Text(path string) string {
	v, _ := c.Lookup(path)
	return text(v)
}

// List is the list of scalars at path, each as Text has it; a single scalar is a list of one. Elements without a
// text (null, lists, objects, empty strings) are dropped.
func (c Claims) List(path string) []string {
	v, _ := c.Lookup(path)
	var list []string
	switch v := v.(type) {
	case []any:
		for _, element := range v {
			if s := text(element); s != "" {
				list = append(list, s)
			}
		}
	case []string:
		for _, s := range v {
			if s != "" {
				list = append(list, s)
			}
		}
	default:
		if s := text(v); s != "" {
			list = append(list, s)
		}
	}
	return list
}

// text knows the types of ParseClaims, and those that a claim set written in Go has.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return decimal(string(v))
	case float64:
		return decimal(strconv.FormatFloat(v, 'g', -1, 64))
	case int:
		return strconv.Itoa(v)
	case int64:
		return strconv.FormatInt(v, 10)
	}
	return ""
}

// decimal writes a JSON number without exponent: 1e3 as 1000, 1.50 as 1.5, -0 as 0. The digits are moved, never
// computed, so that nothing is rounded and 1e999999999 costs nothing.
func decimal(number string) string {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(number), "e")
	shift := 0
	if exponent != "" {
		n, err := strconv.Atoi(exponent)
		if err != nil || n > maxNumberText || n < -maxNumberText {
			return ""
		}
		shift = n
	}
	digits, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	if len(whole)+len(fraction) > maxNumberText {
		return ""
	}
	digits = whole + fraction
	for _, d := range digits {
		if d < '0' || d > '9' {
			return "" // NaN and Inf of a float64
		}
	}
	point := len(whole) + shift
	if point < 0 {
		digits, point = strings.Repeat("0", -point)+digits, 0
	}
	if point > len(digits) {
		digits += strings.Repeat("0", point-len(digits))
	}
	whole, fraction = strings.TrimLeft(digits[:point], "0"), strings.TrimRight(digits[point:], "0")
	if whole == "" {
		whole = "0"
	}
	result := whole
	if fraction != "" {
		result += "." + fraction
	}
	if len(result) > maxNumberText {
		return ""
	}
	if negative && result != "0" {
		result = "-" + result
	}
	return result
}
