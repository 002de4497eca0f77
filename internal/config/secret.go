package config

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// redacted is what a secret prints as.
const redacted = "(redacted)"

// Secret is a value that is never printed: every verb of fmt, JSON, YAML and slog show "(redacted)". The zero value is
// a secret that is not set, and prints as nothing.
type Secret struct {
	// A pointer, because fmt calls no method on what it reaches through an unexported field: there it prints an address.
	value *string
}

// NewSecret makes a secret of its value.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{&value}
}

// Reveal is the value; "" if it is not set.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsSet says whether there is a value.
func (s Secret) IsSet() bool { return s.value != nil }

// Equal compares the values in constant time.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

func (s Secret) String() string {
	if s.value == nil {
		return ""
	}
	return redacted
}

// Format implements fmt.Formatter for every verb, the unknown ones included.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// MarshalText implements encoding.TextMarshaler, and so JSON.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalYAML implements yaml.Marshaler.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

var (
	_ fmt.Formatter  = Secret{}
	_ yaml.Marshaler = Secret{}
	_ slog.LogValuer = Secret{}
)

// parseSecret reads a secret as it is written in the configuration or in a file of its own: bytes after `base64:` or
// `hex:`, else the text less one newline at its end. The error never quotes it.
func parseSecret(text string) (Secret, error) {
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	if encoded, ok := strings.CutPrefix(text, "base64:"); ok {
		value, err := decodeBase64(encoded)
		if err != nil || len(value) == 0 {
			return Secret{}, errors.New("is not base64 after `base64:`; write the value again, or run portero secret for a new one")
		}
		return NewSecret(string(value)), nil
	}
	if encoded, ok := strings.CutPrefix(text, "hex:"); ok {
		value, err := hex.DecodeString(encoded)
		if err != nil || len(value) == 0 {
			return Secret{}, errors.New("is not hexadecimal after `hex:`; write two digits for each byte")
		}
		return NewSecret(string(value)), nil
	}
	if isPlaceholder(text) || isSecretPlaceholder(text) {
		return Secret{}, errors.New("is an example text; write the real value")
	}
	return NewSecret(text), nil
}

// decodeBase64 takes either alphabet, with or without padding.
func decodeBase64(s string) ([]byte, error) {
	s = strings.TrimRight(s, "=")
	if strings.ContainsAny(s, "-_") {
		return base64.RawURLEncoding.DecodeString(s)
	}
	return base64.RawStdEncoding.DecodeString(s)
}

// isPlaceholder recognises texts that stand for a value still to be written, wherever they are.
func isPlaceholder(text string) bool {
	t := strings.ToLower(strings.TrimSpace(text))
	switch strings.NewReplacer("-", "", "_", "", " ", "").Replace(t) {
	case "changeme", "changethis", "replaceme", "replacethis", "todo", "tbd", "fixme", redacted:
		return true
	case "":
		return false
	}
	if strings.Trim(t, "x") == "" && utf8.RuneCountInString(t) >= 3 { // xxx
		return true
	}
	if strings.Trim(t, ".…") == "" && (strings.Contains(t, "…") || len(t) >= 3) { // … and ...
		return true
	}
	inner, ok := strings.CutPrefix(t, "<") // <your app id>
	return ok && strings.HasSuffix(inner, ">") && !strings.ContainsAny(inner[:len(inner)-1], "<>/")
}

// isSecretPlaceholder recognises what is no placeholder elsewhere, but no secret either.
func isSecretPlaceholder(text string) bool {
	t := strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(strings.TrimSpace(text)))
	switch t {
	case "secret", "password", "passwd", "example", "token", "apikey", "appsecret", "clientsecret", "test", "mysecret", "verysecret", "none", "null":
		return true
	}
	return strings.HasPrefix(t, "your") && (strings.HasSuffix(t, "secret") || strings.HasSuffix(t, "key") || strings.HasSuffix(t, "token") || strings.HasSuffix(t, "here"))
}
