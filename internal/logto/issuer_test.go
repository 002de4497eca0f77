package logto_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"portero/internal/logto"
	"portero/internal/outbound"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	appID     = "ka05d1xb8d03499g91i63"
	appSecret = "CANARYsecretCANARYsecretCANARY12"
)

// clock is a time that moves when it is told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(1795332730, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// issuer is an identity provider that does what a test tells it, good or bad. It shares no code with the package.
type issuer struct {
	clock    *clock
	endpoint string // without a slash at the end

	mu     sync.Mutex
	routes map[string]http.HandlerFunc // :: path → answer
	calls  map[string]int              // :: path → how often it was asked
}

const (
	pathDiscovery = "/oidc/.well-known/openid-configuration"
	pathKeys      = "/oidc/jwks"
	pathToken     = "/oidc/token"
	pathUserinfo  = "/oidc/me"
	pathRevoke    = "/oidc/token/revocation"
)

// newIssuer makes an issuer that has one key and answers discovery. Its address is decided by who serves it.
func newIssuer(endpoint string, keys ...jwk) *issuer {
	i := &issuer{clock: newClock(), endpoint: endpoint, calls: map[string]int{}}
	i.routes = map[string]http.HandlerFunc{
		pathDiscovery: func(w http.ResponseWriter, r *http.Request) { writeJSON(w, 200, i.discovery(nil)) },
		pathRevoke:    func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Type", "text/plain") },
	}
	i.publish(keys...)
	return i
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	i.calls[r.URL.Path]++
	h := i.routes[r.URL.Path]
	i.mu.Unlock()
	if h == nil {
		http.NotFound(w, r)
		return
	}
	h(w, r)
}

func (i *issuer) set(path string, h http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.routes[path] = h
}

func (i *issuer) count(path string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.calls[path]
}

func (i *issuer) publish(keys ...jwk) {
	i.set(pathKeys, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json; charset=utf-8")
		json.NewEncoder(w).Encode(map[string]any{"keys": keys})
	})
}

func (i *issuer) issuer() string { return i.endpoint + "/oidc" }

// discovery is a good document with some members changed; nil removes one.
func (i *issuer) discovery(change map[string]any) map[string]any {
	doc := map[string]any{
		"issuer":                 i.issuer(),
		"authorization_endpoint": i.endpoint + "/oidc/auth",
		"token_endpoint":         i.endpoint + pathToken,
		"jwks_uri":               i.endpoint + pathKeys,
		"userinfo_endpoint":      i.endpoint + pathUserinfo,
		"end_session_endpoint":   i.endpoint + "/oidc/session/end",
		"revocation_endpoint":    i.endpoint + pathRevoke,
		"authorization_response_iss_parameter_supported": true,
		"backchannel_logout_supported":                   true,
	}
	for name, value := range change {
		if doc[name] = value; value == nil {
			delete(doc, name)
		}
	}
	return doc
}

// claims are those of a good ID token, with some changed; nil removes one.
func (i *issuer) claims(change map[string]any) string {
	now := i.clock.Now().Unix()
	c := map[string]any{
		"iss": i.issuer(), "aud": appID, "sub": "6ybbj4dc2w10", "iat": now, "exp": now + 3600, "nonce": "the-nonce",
		"auth_time": now, "sid": "TXXB38grqsBoLrvTYGkQn", "email": "a@example.com", "email_verified": true,
	}
	for name, value := range change {
		if c[name] = value; value == nil {
			delete(c, name)
		}
	}
	data, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// roundTrip serves requests in memory, with the context of the request.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// inMemory is a client that never leaves the process, for tests in which time stands still.
func inMemory(h http.Handler) *http.Client {
	return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if err := r.Context().Err(); err != nil {
			return nil, err
		}
		in := r.Clone(r.Context())
		in.RequestURI = r.URL.RequestURI()
		if in.Body == nil {
			in.Body = http.NoBody
		}
		rec := httptest.NewRecorder()
		done := make(chan struct{})
		go func() { defer close(done); h.ServeHTTP(rec, in) }()
		select {
		case <-done:
			return rec.Result(), nil
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	})}
}

// serve puts an issuer with the given keys behind a real listener and makes a provider that uses it.
func serve(t testing.TB, keys ...jwk) (*issuer, *logto.Provider) {
	t.Helper()
	i := newIssuer("", keys...)
	s := httptest.NewServer(i)
	i.endpoint = s.URL
	t.Cleanup(s.Close)
	return i, provider(t, i, nil)
}

// provider makes a relying party for i that calls over the network, unless change says otherwise.
func provider(t testing.TB, i *issuer, change func(*logto.Config)) *logto.Provider {
	t.Helper()
	endpoint, err := url.Parse(i.endpoint + "/")
	if err != nil {
		t.Fatal(err)
	}
	c := logto.Config{Endpoint: endpoint, AppID: appID, AppSecret: appSecret, Now: i.clock.Now, Client: outbound.New(outbound.Config{})}
	if change != nil {
		change(&c)
	}
	t.Cleanup(c.Client.CloseIdleConnections)
	return logto.New(c)
}

// stand makes an issuer and a provider that talk in memory.
func stand(t testing.TB, keys ...jwk) (*issuer, *logto.Provider) {
	t.Helper()
	i := newIssuer("https://auth.example.com", keys...)
	return i, provider(t, i, func(c *logto.Config) { c.Client = inMemory(i) })
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

// write answers with exactly this.
func write(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = nil
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// jwk is one entry of a key set; any JSON will do.
type jwk any

// signer is a key pair of the issuer.
type signer struct {
	kid string
	key crypto.Signer
}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newEC(kid string, curve elliptic.Curve) signer {
	return signer{kid, must(ecdsa.GenerateKey(curve, rand.Reader))}
}

func newES384(kid string) signer { return newEC(kid, elliptic.P384()) }

func newRSA(kid string) signer { return signer{kid, rsaKey()} }

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// jwk is the public key as Logto publishes it (an RSA key without alg), with some members changed; nil removes one.
func (s signer) jwk(change map[string]any) map[string]any {
	out := map[string]any{"use": "sig", "kid": s.kid}
	switch k := s.key.Public().(type) {
	case *rsa.PublicKey:
		maps.Copy(out, map[string]any{"kty": "RSA", "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes())})
	case *ecdsa.PublicKey:
		bits := k.Params().BitSize
		point := must(k.Bytes())[1:]
		maps.Copy(out, map[string]any{"kty": "EC", "crv": k.Params().Name, "x": b64(point[:len(point)/2]), "y": b64(point[len(point)/2:])})
		out["alg"] = map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[bits]
	}
	for name, value := range change {
		if out[name] = value; value == nil {
			delete(out, name)
		}
	}
	return out
}

// alg is the algorithm Logto would use with the key.
func (s signer) alg() string {
	if alg, ok := s.jwk(nil)["alg"].(string); ok {
		return alg
	}
	return "RS256"
}

// token signs a payload under a good header with some members changed; nil removes one.
func (s signer) token(payload string, change map[string]any) string {
	h := map[string]any{"alg": s.alg(), "kid": s.kid, "typ": "JWT"}
	for name, value := range change {
		if h[name] = value; value == nil {
			delete(h, name)
		}
	}
	alg, _ := h["alg"].(string)
	return s.raw(string(must(json.Marshal(h))), payload, alg)
}

// raw signs exactly these bytes with alg, whatever the header says.
func (s signer) raw(header, payload, alg string) string {
	input := b64([]byte(header)) + "." + b64([]byte(payload))
	return input + "." + b64(s.sign(alg, input))
}

func (s signer) sign(alg, input string) []byte {
	if len(alg) != 5 {
		return []byte("no signature")
	}
	var h hash.Hash
	var id crypto.Hash
	switch alg[2:] {
	case "256":
		h, id = sha256.New(), crypto.SHA256
	case "384":
		h, id = sha512.New384(), crypto.SHA384
	default:
		h, id = sha512.New(), crypto.SHA512
	}
	h.Write([]byte(input))
	digest := h.Sum(nil)
	switch k := s.key.(type) {
	case *rsa.PrivateKey:
		if alg[:2] == "PS" {
			return must(rsa.SignPSS(rand.Reader, k, id, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}))
		}
		return must(rsa.SignPKCS1v15(rand.Reader, k, id, digest))
	case *ecdsa.PrivateKey:
		r, sig, err := ecdsa.Sign(rand.Reader, k, digest)
		if err != nil {
			panic(err)
		}
		size := (k.Params().BitSize + 7) / 8
		return append(r.FillBytes(make([]byte, size)), sig.FillBytes(make([]byte, size))...)
	}
	return nil
}

// hmacToken is an HS256 token keyed with secret.
func hmacToken(kid, payload string, secret []byte) string {
	input := b64([]byte(`{"alg":"HS256","typ":"JWT","kid":"`+kid+`"}`)) + "." + b64([]byte(payload))
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(input))
	return input + "." + b64(mac.Sum(nil))
}

// wantCheck fails the test unless err is the refusal of this check ("" accepts).
func wantCheck(t *testing.T, what string, err error, want logto.Check) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("%s: got error %v, want none", what, err)
		}
		return
	}
	if !errors.Is(err, logto.ErrToken) {
		t.Errorf("%s: got error %v, want %v", what, err, logto.ErrToken)
		return
	}
	var refused *logto.TokenError
	if !errors.As(err, &refused) || refused.Check != want {
		t.Errorf("%s: got %v, want a refusal by the check %q", what, err, want)
	}
}

// logs collects what is logged.
type logs struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logs) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func exchange(t testing.TB, p *logto.Provider) (logto.Tokens, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return p.Exchange(ctx, "CANARYcode", "https://app.example.com/callback", "CANARYverifier")
}

func tokenAnswer(change map[string]any) map[string]any {
	answer := map[string]any{
		"access_token": "access-token", "refresh_token": "refresh-token", "id_token": "id.to.ken", "token_type": "Bearer",
		"expires_in": 3600, "scope": "openid offline_access profile email",
	}
	for name, value := range change {
		if answer[name] = value; value == nil {
			delete(answer, name)
		}
	}
	return answer
}
