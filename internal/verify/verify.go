// Package verify is the other side of the signed assertion: beside an application it lets only requests through that Portero has
// signed for this application.
//
// It owns the check, the keys as they are fetched and kept, and the proxy or the endpoint that says what came of it. It shares no code
// with what signs (package assertion/signed), so that no mistake can be in both.
//
// Invariants: what is not known to be good is refused, with a reason in the log and none in the answer. There is one algorithm. The header
// counts under its own name alone; a second one, or one that applications could take for it, refuses the request. A binding that is
// in an assertion is checked whether it was asked for or not. Nothing of a request is changed.
//
// What is checked is the assertion and nothing else: the other identity headers of the request are not covered. A jti is not
// remembered: an assertion that somebody caught is good until it ends, for the request that it is bound to if it is.
//
// Specifications: RFC 7515 5.2, RFC 7517 5, RFC 7518 3.4, RFC 7519 7.2, RFC 8725 3, RFC 9449 4.2 (names alone).
package verify

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"time"

	"portero/internal/assertion"
	"portero/internal/identity"
)

// DefaultHeader is the header that Portero sends without a configuration.
const DefaultHeader = "X-Portero-Assertion"

const (
	slack    = 5 * time.Second // between our clock and Portero's
	longest  = 60 * time.Second
	maxToken = 16 << 10
)

// Config says which assertions are good.
type Config struct {
	Keys     *Keys
	Issuer   string           // Portero's external_url, without a slash at its end
	Audience string           // this application
	Header   string           // "": DefaultHeader
	Method   bool             // an assertion has to be bound to the method
	Path     bool             // … and to the path
	Now      func() time.Time // nil: time.Now
}

// Refusal is why a request is not let through.
type Refusal struct {
	Status int    // 401: there is no assertion; 403: it is not good; 503: nobody can tell
	Why    string // for the log
}

func (r *Refusal) Error() string { return r.Why }

func refuse(format string, args ...any) error {
	return &Refusal{http.StatusForbidden, fmt.Sprintf(format, args...)}
}

// Check is nil if the header has an assertion that is good for this method and path (as it stands in the request line, without the
// query). Any error is a *Refusal.
func (c *Config) Check(ctx context.Context, h http.Header, method, path string) (subject string, err error) {
	token, err := c.token(h)
	if err != nil {
		return "", err
	}
	claims, err := c.open(ctx, token)
	if err != nil {
		return "", err
	}
	if err := c.good(claims); err != nil {
		return "", err
	}
	if err := c.bound(claims, method, path); err != nil {
		return "", err
	}
	return claims["sub"].(string), nil
}

// token is the one assertion of a request.
func (c *Config) token(h http.Header) (string, error) {
	header := c.Header
	if header == "" {
		header = DefaultHeader
	}
	header = http.CanonicalHeaderKey(header)
	folded := assertion.Fold(header)
	for name := range h {
		if name != header && assertion.Fold(name) == folded {
			return "", refuse("there is a header %q, which applications could take for %s", name, header)
		}
	}
	switch values := h[header]; {
	case len(values) == 0:
		return "", &Refusal{http.StatusUnauthorized, "there is no " + header}
	case len(values) > 1:
		return "", refuse("there is more than one %s", header)
	default:
		return values[0], nil
	}
}

// open is RFC 7515 section 5.2, for ES256 alone.
func (c *Config) open(ctx context.Context, token string) (identity.Claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || len(token) > maxToken {
		return nil, refuse("it is no signed JWT")
	}
	var decoded [3][]byte
	for i, part := range parts {
		var err error
		if decoded[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil || base64.RawURLEncoding.EncodedLen(len(decoded[i])) != len(part) {
			return nil, refuse("it is not base64url")
		}
	}
	header, err := identity.ParseClaims(decoded[0])
	if err != nil {
		return nil, refuse("its header is unreadable")
	}
	for name := range header {
		if name != "alg" && name != "kid" && name != "typ" {
			return nil, refuse("its header has the member %.20q", name)
		}
	}
	kid, _ := header["kid"].(string)
	switch {
	case header["alg"] != "ES256":
		return nil, refuse("its algorithm is not ES256")
	case header["typ"] != "JWT":
		return nil, refuse("its type is not JWT")
	case kid == "":
		return nil, refuse("it names no key")
	case len(decoded[2]) != 64:
		return nil, refuse("its signature has not the length of one")
	}
	key, err := c.Keys.Find(ctx, kid)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if !ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(decoded[2][:32]), new(big.Int).SetBytes(decoded[2][32:])) {
		return nil, refuse("its signature is wrong")
	}
	claims, err := identity.ParseClaims(decoded[1])
	if err != nil {
		return nil, refuse("its claims are unreadable")
	}
	return claims, nil
}

// good checks what RFC 7519 section 7.2 leaves to the application.
func (c *Config) good(claims identity.Claims) error {
	now := time.Now
	if c.Now != nil {
		now = c.Now
	}
	at := now()
	issued, err1 := moment(claims["iat"])
	ends, err2 := moment(claims["exp"])
	subject, _ := claims["sub"].(string)
	switch {
	case claims["iss"] != c.Issuer:
		return refuse("its issuer is %.100q, not %q", fmt.Sprint(claims["iss"]), c.Issuer)
	case claims["aud"] != c.Audience:
		return refuse("its audience is %.100q, not %q", fmt.Sprint(claims["aud"]), c.Audience)
	case subject == "":
		return refuse("it is about nobody")
	case err1 != nil || err2 != nil:
		return refuse("its times are missing or unreadable")
	case issued.After(at.Add(slack)):
		return refuse("it is from the future: iat is %s, and the clock here shows %s", issued.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	case !ends.Add(slack).After(at):
		return refuse("it has ended: exp is %s, and the clock here shows %s", ends.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	case ends.Sub(issued) > longest || !ends.After(issued):
		return refuse("it lives for %s, and none does that", ends.Sub(issued))
	}
	if _, ok := claims["nbf"]; ok {
		if from, err := moment(claims["nbf"]); err != nil || from.After(at.Add(slack)) {
			return refuse("it is not good yet")
		}
	}
	return nil
}

// moment reads whole seconds.
func moment(v any) (time.Time, error) {
	n, ok := v.(json.Number)
	if !ok {
		return time.Time{}, errors.New("no number")
	}
	seconds, err := n.Int64()
	if err != nil || seconds < 0 || seconds > 1<<40 {
		return time.Time{}, errors.New("no moment")
	}
	return time.Unix(seconds, 0), nil
}

// bound checks that the assertion was made for this request, as far as it was made for one.
func (c *Config) bound(claims identity.Claims, method, path string) error {
	htm, isMethod := claims["htm"]
	htu, isPath := claims["htu"]
	switch {
	case c.Method && !isMethod:
		return refuse("it is not bound to a method")
	case c.Path && !isPath:
		return refuse("it is not bound to a path")
	case isMethod && (method == "" || htm != method):
		return refuse("it is bound to the method %.20q, and this is %.20q", fmt.Sprint(htm), method)
	case isPath && (path == "" || pathOf(htu) != path):
		return refuse("it is bound to %.200q, and this is %.200q", fmt.Sprint(htu), path)
	}
	return nil
}

// pathOf is the path of a URL as it is written; "" for anything else.
func pathOf(htu any) string {
	text, _ := htu.(string)
	_, rest, ok := strings.Cut(text, "://")
	at := strings.IndexByte(rest, '/')
	if !ok || at < 1 {
		return ""
	}
	return rest[at:]
}
