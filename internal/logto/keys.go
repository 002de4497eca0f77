package logto

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	maxKeys       = 100
	leastRSA      = 2048
	mostRSA       = 8192
	maxKeyID      = 255
	mostSameKeyID = 4
)

// algorithms are those an ID token may be signed with at all: Logto's ES384 and, after a rotation to RSA, RS256; and
// the other curves, which Logto's engine can be given.
var algorithms = []jose.SignatureAlgorithm{jose.ES384, jose.RS256, jose.ES256, jose.ES512}

// key is a signing key with the one algorithm it may be used for.
type key struct {
	id        string // "": it has none
	algorithm jose.SignatureAlgorithm
	public    any // *rsa.PublicKey or *ecdsa.PublicKey
}

// keySet is Logto's key set. A token that names a key we do not know has it fetched anew, so that a rotated key is
// known at once, but at most once a minute, so that invented key ids cost nothing.
//
// ID tokens come from Logto's token endpoint; logout tokens and access tokens come from anybody. So these have minutes of
// their own: key ids that a stranger invents do not keep a sign-in from learning of a rotation.
type keySet struct {
	cache cache[[]key]

	renewed, logoutRenewed, accessRenewed time.Time // under cache.mu: when a token of that kind last had the set fetched
}

// find returns the keys that a token with this header may be signed with: usually one. renewed is the one of the
// token's kind.
func (s *keySet) find(ctx context.Context, h header, renewed *time.Time) ([]key, error) {
	known, started, err := s.cache.get(ctx)
	if err != nil {
		return nil, unavailable(callKeys, err)
	}
	// A fetch that was under way may have been answered before the key was there: after joining one, look again, and
	// then have one made. A set that was fetched for this very token holds all there is.
	for fetched := started; ; {
		fits, err := fitting(known, h.algorithm, h.keyID)
		if err != nil || len(fits) > 0 {
			return fits, err
		}
		if fetched {
			return nil, &TokenError{Check: CheckKey, Detail: "its key is not in Logto's key set"}
		}
		var joined bool
		joined, fetched, err = s.cache.renew(ctx, renewed)
		if err != nil {
			return nil, unavailable(callKeys, err)
		}
		fetched = fetched || !joined
		known, _ = s.cache.peek()
	}
}

// fitting selects by key id and algorithm. A token without a key id is accepted if exactly one key has its algorithm
// (OpenID Connect Core 1.0 10.1).
func fitting(keys []key, algorithm jose.SignatureAlgorithm, id string) ([]key, error) {
	var fits []key
	other := false
	for _, k := range keys {
		switch {
		case id != "" && k.id != id:
		case k.algorithm != algorithm:
			other = other || id != ""
		default:
			fits = append(fits, k)
		}
	}
	switch {
	case id == "" && len(fits) > 1:
		return nil, &TokenError{Check: CheckKey, Detail: "it names no key and several fit"}
	case len(fits) > mostSameKeyID:
		return nil, &TokenError{Check: CheckKey, Detail: "too many keys have its key id"}
	case len(fits) == 0 && other:
		return nil, &TokenError{Check: CheckAlgorithm, Detail: "its key is for another algorithm"}
	}
	return fits, nil
}

func (p *Provider) fetchKeys(ctx context.Context) ([]key, error) {
	keys, err := p.callKeys(ctx)
	p.noteFetch(callKeys, err)
	return keys, err
}

func (p *Provider) callKeys(ctx context.Context) ([]key, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout())
	defer cancel()
	m, err := p.Discover(ctx)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.KeysEndpoint, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json, application/jwk-set+json")
	resp, err := p.do(req, callKeys)
	if err != nil {
		return nil, err
	}
	set, _, err := readObject(resp)
	if err != nil {
		return nil, err
	}
	keys, skipped, err := parseKeys(set)
	if err != nil {
		return nil, err
	}
	for _, reason := range skipped {
		p.config.Log.Debug("a key of Logto's key set is left out", "reason", reason)
	}
	return keys, nil
}

// parseKeys reads a JWK set (RFC 7517 5). Keys that are not for verifying signatures, not of a kind we know or broken
// are left out, one by one; a set without a key that is left is an error.
func parseKeys(set object) (keys []key, skipped []error, err error) {
	var entries []json.RawMessage
	if err := json.Unmarshal(set["keys"], &entries); err != nil {
		return nil, nil, fmt.Errorf("%w: keys is no list", errMalformed)
	}
	if len(entries) > maxKeys {
		return nil, nil, fmt.Errorf("%w: more than %d keys", errMalformed, maxKeys)
	}
	for _, entry := range entries {
		k, err := parseKey(entry)
		if err != nil {
			skipped = append(skipped, err)
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, skipped, fmt.Errorf("%w: no key in it can be used", errMalformed)
	}
	return keys, skipped, nil
}

func parseKey(entry json.RawMessage) (key, error) {
	var o object
	if err := json.Unmarshal(entry, &o); err != nil || o == nil {
		return key{}, errors.New("it is no object")
	}
	text := map[string]string{}
	for _, name := range []string{"kty", "use", "kid", "alg", "crv", "x", "y", "n", "e"} {
		value, err := o.text(name)
		if err != nil {
			return key{}, err
		}
		text[name] = value
	}
	if len(text["kid"]) > maxKeyID {
		return key{}, errors.New("its kid is too long")
	}
	if text["use"] != "" && text["use"] != "sig" {
		return key{}, errors.New("it is not for signatures")
	}
	if raw, ok := o["key_ops"]; ok {
		var ops []string
		if json.Unmarshal(raw, &ops) != nil || !slices.Contains(ops, "verify") {
			return key{}, errors.New("it is not for verifying")
		}
	}
	if _, private := o["d"]; private {
		return key{}, errors.New("it is a private key")
	}

	// The library is given the members that make the key, and none that could make it stumble, such as x5c.
	members := map[string]string{}
	for _, name := range []string{"kty", "crv", "x", "y", "n", "e"} {
		if text[name] != "" {
			members[name] = text[name]
		}
	}
	if kind := text["kty"]; kind != "RSA" && kind != "EC" {
		return key{}, errors.New("its kind is unknown or not for ID tokens")
	}
	clean, err := json.Marshal(members)
	if err != nil {
		return key{}, err
	}
	var parsed jose.JSONWebKey
	if err := parsed.UnmarshalJSON(clean); err != nil || !parsed.Valid() {
		return key{}, errors.New("it is broken")
	}
	algorithm, err := algorithmOf(parsed.Key)
	if err != nil {
		return key{}, err
	}
	// RFC 8725 3.1: a key is for one algorithm. Logto's RSA keys name none.
	if text["alg"] != "" && text["alg"] != string(algorithm) {
		return key{}, errors.New("its algorithm is not one for ID tokens")
	}
	return key{id: text["kid"], algorithm: algorithm, public: parsed.Key}, nil
}

// algorithmOf is the one algorithm that a key of this kind is for.
func algorithmOf(public any) (jose.SignatureAlgorithm, error) {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < leastRSA || bits > mostRSA {
			return "", errors.New("it is an RSA key of a size that is not accepted")
		}
		return jose.RS256, nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return jose.ES256, nil
		case elliptic.P384():
			return jose.ES384, nil
		case elliptic.P521():
			return jose.ES512, nil
		}
	}
	return "", errors.New("it is of a kind that is not accepted")
}
