package gatewaytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
)

// Key is a key that signs tokens, an issuer's or an attacker's. It signs whatever it is given.
type Key struct {
	ID        string
	Algorithm string // the one it is for: ES256, ES384, ES512 or RS256
	private   crypto.Signer
}

// curves of the algorithms that have one. // :: algorithm → curve
var curves = map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}

// NewKey makes one for an algorithm; its id is random.
func NewKey(algorithm string) *Key {
	k := &Key{ID: random(), Algorithm: algorithm}
	var err error
	if curve := curves[algorithm]; curve != nil {
		k.private, err = ecdsa.GenerateKey(curve, rand.Reader)
	} else {
		k.private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		panic(err)
	}
	return k
}

// Public is its public half.
func (k *Key) Public() crypto.PublicKey { return k.private.Public() }

// JWK is the key as a key set has it, with members changed; nil removes one.
func (k *Key) JWK(change map[string]any) map[string]any {
	out := map[string]any{"kid": k.ID, "use": "sig", "alg": k.Algorithm}
	switch public := k.Public().(type) {
	case *ecdsa.PublicKey:
		point, err := public.Bytes() // 4, x, y
		if err != nil {
			panic(err)
		}
		half := (len(point) - 1) / 2
		out["kty"], out["crv"] = "EC", public.Curve.Params().Name
		out["x"], out["y"] = base64URL(point[1:1+half]), base64URL(point[1+half:])
	case *rsa.PublicKey:
		out["kty"], out["n"] = "RSA", base64URL(public.N.Bytes())
		out["e"] = base64URL(binary.BigEndian.AppendUint32(nil, uint32(public.E))[1:])
	}
	return merged(out, change)
}

// Header is the header of a token that it signs, with members changed; nil removes one.
func (k *Key) Header(change map[string]any) map[string]any {
	return merged(map[string]any{"alg": k.Algorithm, "kid": k.ID}, change)
}

func merged(out, change map[string]any) map[string]any {
	maps.Copy(out, change)
	maps.DeleteFunc(out, func(_ string, v any) bool { return v == nil })
	return out
}

// Token is a token with exactly this header and payload, signed by the key whatever the header says. Strings stand as
// they are, all else becomes JSON.
func (k *Key) Token(header, payload any) string { return k.TokenAs(k.Algorithm, header, payload) }

// TokenAs is Token with another algorithm for the same key, such as PS256 or RS512 for RS256.
func (k *Key) TokenAs(algorithm string, header, payload any) string {
	input := Unsigned(header, payload)
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[algorithm[2:]]
	sum := hash.New()
	sum.Write([]byte(input))
	digest := sum.Sum(nil)
	var signature []byte
	var err error
	switch private := k.private.(type) {
	case *ecdsa.PrivateKey:
		r, s, signErr := ecdsa.Sign(rand.Reader, private, digest)
		if err = signErr; err == nil {
			wide := make([]byte, (private.Curve.Params().BitSize+7)/8)
			signature = append(append(signature, r.FillBytes(wide)...), s.FillBytes(wide)...)
		}
	case *rsa.PrivateKey:
		if strings.HasPrefix(algorithm, "PS") {
			signature, err = rsa.SignPSS(rand.Reader, private, hash, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			signature, err = rsa.SignPKCS1v15(nil, private, hash, digest)
		}
	default:
		err = fmt.Errorf("a key of type %T", private)
	}
	if err != nil {
		panic(err)
	}
	return input + "." + base64URL(signature)
}

// SharedSecretToken is a token signed with HMAC and SHA-256 whatever the header says.
func SharedSecretToken(secret []byte, header, payload any) string {
	input := Unsigned(header, payload)
	sum := hmac.New(sha256.New, secret)
	sum.Write([]byte(input))
	return input + "." + base64URL(sum.Sum(nil))
}

// Unsigned are the first two parts of a token. Strings stand as they are, all else becomes JSON.
func Unsigned(header, payload any) string {
	part := func(v any) string {
		if text, ok := v.(string); ok {
			return base64URL([]byte(text))
		}
		text, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return base64URL(text)
	}
	return part(header) + "." + part(payload)
}

func base64URL(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
