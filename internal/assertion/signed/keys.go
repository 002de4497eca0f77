package signed

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"portero/internal/seal"
)

// epoch is how long one key signs. The key set has those of the epochs before and after too, so clocks of replicas and of
// applications may differ, and key sets be kept, for that long.
const epoch = 24 * time.Hour

// MaxAge is how long a key set may be kept without looking again. It is far shorter than an epoch: where a session secret was
// given up because somebody knows it, its keys are gone as soon.
const MaxAge = 5 * time.Minute

// Keys are the keys that sign, of all epochs. All processes with the same secrets have the same, and no store knows them.
// It is safe for concurrent use.
type Keys struct {
	ring    *seal.KeyRing
	now     func() time.Time
	present atomic.Pointer[present]
	cache   cache
}

// present is what an epoch needs.
type present struct {
	epoch  int64
	signer *key
	set    []byte // JSON
}

// NewKeys derives keys from the secrets of a ring: the newest one's sign, those of the older ones are still published.
// nil: time.Now.
func NewKeys(ring *seal.KeyRing, now func() time.Time) *Keys {
	if now == nil {
		now = time.Now
	}
	return &Keys{ring: ring, now: now}
}

// JWKS is the key set of this moment (RFC 7517 section 5).
func (k *Keys) JWKS() []byte { return k.at(k.now()).set }

func (k *Keys) at(now time.Time) *present {
	n := now.Unix() / int64(epoch/time.Second)
	if p := k.present.Load(); p != nil && p.epoch == n {
		return p
	}
	p := &present{epoch: n}
	var set struct {
		Keys []jwk `json:"keys"`
	}
	for i, e := range []int64{n, n - 1, n + 1} {
		for j, made := range k.ofEpoch(e) {
			if i == 0 && j == 0 {
				p.signer = made
			}
			set.Keys = append(set.Keys, made.public)
		}
	}
	text, err := json.Marshal(set)
	if err != nil { // texts alone
		panic("signed: " + err.Error())
	}
	p.set = append(text, '\n')
	k.present.Store(p)
	return p
}

// ofEpoch are the keys of an epoch, that of the newest secret first.
func (k *Keys) ofEpoch(n int64) []*key {
	var out []*key
	for _, one := range k.ring.Apart() {
		out = append(out, firstKey(func(try int) []byte {
			return one.Derive(fmt.Sprintf("signed assertion v1 P-256 epoch %d try %d", n, try), 32)
		}))
	}
	return out
}

// key signs, and its public half is published.
type key struct {
	private *ecdsa.PrivateKey
	public  jwk
	header  string // of a token, encoded
}

// jwk is a public key (RFC 7517, RFC 7518 section 6.2.1).
type jwk struct {
	Curve     string `json:"crv"`
	Type      string `json:"kty"`
	X         string `json:"x"`
	Y         string `json:"y"`
	ID        string `json:"kid"`
	Algorithm string `json:"alg"`
	Use       string `json:"use"`
}

// firstKey makes the key of the first candidate that is one: a number from 1 to the order of P-256 less one. Taking a candidate
// whole or not at all leaves every key equally likely (FIPS 186-5 A.2.2). One in 2^32 is none.
func firstKey(candidate func(try int) []byte) *key {
	for try := 0; ; try++ {
		private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), candidate(try))
		if err != nil {
			continue
		}
		return newKey(private)
	}
}

func newKey(private *ecdsa.PrivateKey) *key {
	point, err := private.PublicKey.Bytes() // 4, x, y
	if err != nil {
		panic("signed: " + err.Error()) // of a curve that is none
	}
	k := &key{private: private, public: jwk{Curve: "P-256", Type: "EC", X: encode(point[1:33]), Y: encode(point[33:])}}
	k.public.ID = thumbprint(k.public)
	k.public.Algorithm, k.public.Use = "ES256", "sig"
	k.header = encode([]byte(`{"alg":"ES256","kid":"` + k.public.ID + `","typ":"JWT"}`))
	return k
}

// thumbprint is RFC 7638 section 3.
func thumbprint(public jwk) string {
	sum := sha256.Sum256([]byte(`{"crv":"` + public.Curve + `","kty":"` + public.Type + `","x":"` + public.X + `","y":"` + public.Y + `"}`))
	return encode(sum[:])
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
