// Package seal owns the gateway's symmetric secrets: it seals bytes that leave
// the process (session records in a store, attempt cookies, the OAuth state) and
// opens what comes back.
//
// It does not know what it seals, keeps nothing, and checks no expiry: a caller
// that needs one puts a time inside the plaintext.
//
// Invariants:
//   - What was sealed for one purpose or one binding opens for no other: the
//     purpose selects the key, the binding is authenticated.
//   - Every sealed value has exactly one textual form; a changed bit, a longer or
//     shorter input and another spelling of the same base64url do not open.
//   - Everything that does not open gives the same error, ErrOpen.
//   - A KeyRing prints as "(redacted)" whatever the verb.
//
// Specifications: HKDF with SHA-256 (RFC 5869), XChaCha20-Poly1305
// (draft-irtf-cfrg-xchacha-03), base64url without padding (RFC 4648 section 5).
package seal

import (
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/crypto/chacha20poly1305"
)

// MinSecret is the least number of bytes a secret must have.
const MinSecret = 32

// Overhead is by how many bytes a sealed value is longer than its plaintext.
const Overhead = headerSize + chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead

// A sealed value is: format (1 byte), key id, nonce, ciphertext with its tag.
const (
	format     = 1
	keyIDSize  = 8
	headerSize = 1 + keyIDSize
)

// ErrOpen is returned by Open and OpenText when the value was not sealed by a key
// of this ring for this purpose and binding, or was changed since. It never says
// which.
var ErrOpen = errors.New("sealed value does not open")

// KeyRing holds one current secret, which seals, and older ones, which only open.
// It is safe for concurrent use.
type KeyRing struct {
	keys []*key // the newest first; never empty
}

type key struct {
	id     [keyIDSize]byte
	secret []byte
	aeads  sync.Map // :: purpose → cipher.AEAD; purposes are constants of the program, so it stays small
}

// NewKeyRing makes a ring that seals with current and opens with current and old.
// Each secret needs MinSecret bytes. A secret that is named twice counts once.
func NewKeyRing(current []byte, old ...[]byte) (*KeyRing, error) {
	ring := &KeyRing{}
	for i, secret := range append([][]byte{current}, old...) {
		name := "current secret"
		if i > 0 {
			name = fmt.Sprintf("old secret %d", i)
		}
		if len(secret) < MinSecret {
			return nil, fmt.Errorf("%s has %d bytes, needs at least %d", name, len(secret), MinSecret)
		}
		if ring.holds(secret) {
			continue
		}
		k := &key{secret: bytes.Clone(secret)}
		id, err := hkdf.Key(sha256.New, k.secret, nil, "portero key id v1", keyIDSize)
		if err != nil {
			return nil, fmt.Errorf("deriving key id of %s: %w", name, err)
		}
		copy(k.id[:], id)
		// The first derivation is the only one that can fail (a build that allows
		// FIPS algorithms only); later ones have nothing new to fail on.
		if _, err := k.aead(""); err != nil {
			return nil, fmt.Errorf("preparing cipher of %s: %w", name, err)
		}
		ring.keys = append(ring.keys, k)
	}
	return ring, nil
}

// Seal encrypts plaintext for one purpose and binds it to bind, which Open must be
// given again and which is not part of the result. Equal plaintexts give different
// results.
func (k *KeyRing) Seal(purpose string, plaintext, bind []byte) []byte {
	newest := k.keys[0]
	aead, err := newest.aead(purpose)
	if err != nil {
		panic("seal: " + err.Error()) // NewKeyRing has done the same with the same sizes
	}
	sealed := make([]byte, headerSize+chacha20poly1305.NonceSizeX, Overhead+len(plaintext))
	sealed[0] = format
	copy(sealed[1:], newest.id[:])
	nonce := sealed[headerSize:]
	rand.Read(nonce) // never fails, see crypto/rand
	return aead.Seal(sealed, nonce, plaintext, additional(sealed[:headerSize], bind))
}

// Open decrypts what Seal made for the same purpose and bind. newest is false when
// an older secret had sealed it, so that the caller can seal it again. The only
// error is ErrOpen.
func (k *KeyRing) Open(purpose string, sealed, bind []byte) (plaintext []byte, newest bool, err error) {
	if len(sealed) < Overhead || sealed[0] != format {
		return nil, false, ErrOpen
	}
	header, rest := sealed[:headerSize], sealed[headerSize:]
	for i, candidate := range k.keys {
		if !bytes.Equal(candidate.id[:], header[1:]) {
			continue
		}
		aead, err := candidate.aead(purpose)
		if err != nil {
			return nil, false, ErrOpen
		}
		nonce, ciphertext := rest[:chacha20poly1305.NonceSizeX], rest[chacha20poly1305.NonceSizeX:]
		plaintext, err := aead.Open(nil, nonce, ciphertext, additional(header, bind))
		if err != nil {
			return nil, false, ErrOpen
		}
		return plaintext, i == 0, nil
	}
	return nil, false, ErrOpen
}

// SealText is Seal in base64url without padding.
func (k *KeyRing) SealText(purpose string, plaintext, bind []byte) string {
	return base64.RawURLEncoding.EncodeToString(k.Seal(purpose, plaintext, bind))
}

// OpenText is Open for the text of SealText. Any other spelling of the same bytes
// (padding, line breaks, unused bits set) is refused.
func (k *KeyRing) OpenText(purpose, text string, bind []byte) (plaintext []byte, newest bool, err error) {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	// The decoder skips line breaks even when strict, so the length is compared too.
	if err != nil || base64.RawURLEncoding.EncodedLen(len(sealed)) != len(text) {
		return nil, false, ErrOpen
	}
	return k.Open(purpose, sealed, bind)
}

// Derive returns n bytes that depend on the newest secret and the purpose alone,
// independent of everything Seal uses. It panics when n is not within 1 to 8160
// (RFC 5869 section 2.3).
func (k *KeyRing) Derive(purpose string, n int) []byte {
	if n < 1 {
		panic(fmt.Sprintf("seal: deriving %d bytes", n))
	}
	derived, err := hkdf.Key(sha256.New, k.keys[0].secret, nil, "portero derive v1\x00"+purpose, n)
	if err != nil {
		panic("seal: " + err.Error())
	}
	return derived
}

// Apart returns a ring for each secret alone, the newest first: for those who derive from older ones too.
func (k *KeyRing) Apart() []*KeyRing {
	rings := make([]*KeyRing, len(k.keys))
	for i, one := range k.keys {
		rings[i] = &KeyRing{keys: []*key{one}}
	}
	return rings
}

// Format prints "(redacted)" for every verb, so that no log line can hold a secret.
func (k *KeyRing) Format(f fmt.State, _ rune) { io.WriteString(f, "(redacted)") }

func (k *KeyRing) holds(secret []byte) bool {
	for _, have := range k.keys {
		if bytes.Equal(have.secret, secret) {
			return true
		}
	}
	return false
}

func (k *key) aead(purpose string) (cipher.AEAD, error) {
	if have, ok := k.aeads.Load(purpose); ok {
		return have.(cipher.AEAD), nil
	}
	derived, err := hkdf.Key(sha256.New, k.secret, nil, "portero seal v1\x00"+purpose, chacha20poly1305.KeySize)
	if err != nil {
		return nil, err
	}
	aead, err := chacha20poly1305.NewX(derived)
	if err != nil {
		return nil, err
	}
	k.aeads.Store(purpose, aead)
	return aead, nil
}

// additional is what is authenticated beside the plaintext: the header, whose
// length never changes, and the caller's binding. The binding's length goes in
// front, so that the encoding stays unambiguous should a header ever grow.
func additional(header, bind []byte) []byte {
	data := make([]byte, 0, len(header)+8+len(bind))
	data = append(data, header...)
	data = binary.BigEndian.AppendUint64(data, uint64(len(bind)))
	return append(data, bind...)
}
