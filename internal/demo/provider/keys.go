package provider

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// keyRing has the signing keys, newest first: it signs with the first and publishes all.
type keyRing struct {
	now func() time.Time

	mu   sync.RWMutex
	keys []signingKey
}

type signingKey struct {
	id        string // RFC 7638 thumbprint
	name      string // its id for the Management API
	created   time.Time
	algorithm jose.SignatureAlgorithm
	private   crypto.Signer
}

func newKeyRing(now func() time.Time) (*keyRing, error) {
	k := &keyRing{now: now}
	if err := k.rotate(string(jose.ES384)); err != nil {
		return nil, fmt.Errorf("making a signing key: %w", err)
	}
	return k, nil
}

func (k *keyRing) rotate(algorithm string) error {
	var private crypto.Signer
	var err error
	switch algorithm {
	case string(jose.ES384):
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case string(jose.RS256):
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		return fmt.Errorf("%q is neither ES384 nor RS256", algorithm)
	}
	if err != nil {
		return err
	}
	public := jose.JSONWebKey{Key: private.Public()}
	sum, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return err
	}
	key := signingKey{name: newID(21), created: k.now(), id: base64.RawURLEncoding.EncodeToString(sum), algorithm: jose.SignatureAlgorithm(algorithm), private: private}

	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys = append([]signingKey{key}, k.keys...)
	return nil
}

// keep drops all but the newest keys.
func (k *keyRing) keep(newest int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys = slices.Clone(k.keys[:min(newest, len(k.keys))])
}

// remove takes out a key that signs no more, by its name. found is false for one that is not there; the one that signs cannot go.
func (k *keyRing) remove(name string) (found, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	i := slices.IndexFunc(k.keys, func(key signingKey) bool { return key.name == name })
	if i <= 0 {
		return i == 0, false
	}
	k.keys = slices.Delete(slices.Clone(k.keys), i, i+1)
	return true, true
}

func (k *keyRing) list() []signingKey {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return slices.Clone(k.keys)
}

func (k *keyRing) current() signingKey {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.keys[0]
}

// public is the key set as Logto publishes it: an RSA key has no alg.
func (k *keyRing) public() jose.JSONWebKeySet {
	k.mu.RLock()
	defer k.mu.RUnlock()
	var set jose.JSONWebKeySet
	for _, key := range k.keys {
		public := jose.JSONWebKey{KeyID: key.id, Use: "sig", Key: key.private.Public()}
		if key.algorithm == jose.ES384 {
			public.Algorithm = string(key.algorithm)
		}
		set.Keys = append(set.Keys, public)
	}
	return set
}

// algorithms are those ID tokens may be signed with, as discovery lists them.
func (k *keyRing) algorithms() []string {
	k.mu.RLock()
	defer k.mu.RUnlock()
	var all []string
	for _, key := range k.keys {
		names := []string{string(key.algorithm)}
		if key.algorithm == jose.RS256 {
			names = []string{string(jose.PS256), string(jose.RS256)}
		}
		for _, name := range names {
			if !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	return all
}

// VerifySignature is what op asks of the keys of ID token hints.
func (k *keyRing) VerifySignature(_ context.Context, jws *jose.JSONWebSignature) ([]byte, error) {
	id, algorithm := oidc.GetKeyIDAndAlg(jws)
	key, err := oidc.FindMatchingKey(id, oidc.KeyUseSignature, algorithm, k.public().Keys...)
	if err != nil {
		return nil, err
	}
	return jws.Verify(&key)
}

// signed returns claims as a JWT of the newest key. An empty typ leaves the header out.
func (k *keyRing) signed(key signingKey, typ jose.ContentType, claims any) (string, error) {
	options := &jose.SignerOptions{}
	if typ != "" {
		options.WithType(typ)
	}
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: key.algorithm,
		Key:       jose.JSONWebKey{Key: key.private, KeyID: key.id},
	}, options)
	if err != nil {
		return "", fmt.Errorf("preparing a signature: %w", err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encoding claims: %w", err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("signing claims: %w", err)
	}
	return jws.CompactSerialize()
}

// serveKeySet: GET /oidc/jwks
func (p *Provider) serveKeySet(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-cache, max-age=0, must-revalidate")
	writeJSON(w, http.StatusOK, "application/jwk-set+json; charset=utf-8", p.keys.public())
}

// serveDiscovery: GET /oidc/.well-known/openid-configuration (OpenID Connect Discovery 1.0, section 3). It promises what is served here and
// nothing else of what Logto has.
func (p *Provider) serveDiscovery(w http.ResponseWriter, _ *http.Request) {
	grants := []string{string(oidc.GrantTypeCode), string(oidc.GrantTypeRefreshToken)}
	if p.config.ManagementID != "" {
		grants = append(grants, string(oidc.GrantTypeClientCredentials))
	}
	doc := map[string]any{
		"issuer":                 p.issuer,
		"authorization_endpoint": p.issuer + "/auth",
		"token_endpoint":         p.issuer + "/token",
		"jwks_uri":               p.issuer + "/jwks",
		"userinfo_endpoint":      p.issuer + "/me",
		"end_session_endpoint":   p.issuer + "/session/end",
		"revocation_endpoint":    p.issuer + "/token/revocation",
		"authorization_response_iss_parameter_supported": true,
		"backchannel_logout_supported":                   true,
		"backchannel_logout_session_supported":           true,
		"claims_parameter_supported":                     false,
		"request_uri_parameter_supported":                false,
		"claim_types_supported":                          []string{"normal"},
		"claims_supported": []string{"sub", "name", "picture", "updated_at", "username", "created_at", "email", "email_verified", "custom_data",
			"identities", "roles", "organizations", "organization_data", "organization_roles", "sid", "auth_time", "iss"},
		"code_challenge_methods_supported":      []string{string(oidc.CodeChallengeMethodS256)},
		"grant_types_supported":                 grants,
		"id_token_signing_alg_values_supported": p.keys.algorithms(),
		"response_modes_supported":              []string{"fragment", "query"},
		"response_types_supported":              []string{"code"},
		"scopes_supported":                      scopes,
		"subject_types_supported":               []string{"public"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
	}
	if p.switches.current().Line141 {
		doc["request_parameter_supported"] = false
	}
	writeJSON(w, http.StatusOK, "application/json; charset=utf-8", doc)
}
