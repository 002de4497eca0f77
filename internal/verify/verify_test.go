package verify_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/assertion/signed"
	"portero/internal/identity"
	"portero/internal/outbound"
	"portero/internal/seal"
	"portero/internal/verify"
)

const (
	issuer   = "https://portal.example.com"
	audience = "https://wiki.example.com"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// signer makes tokens of every kind, also those that no library makes.
type signer struct {
	key *ecdsa.PrivateKey
	kid string
}

func newSigner(t testing.TB, kid string) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{key, kid}
}

func (s signer) jwk(t testing.TB) map[string]any {
	t.Helper()
	point, err := s.key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": s.kid, "x": b64(point[1:33]), "y": b64(point[33:])}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func text(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// raw signs header and payload whatever they are.
func (s signer) raw(header, payload []byte) string {
	input := b64(header) + "." + b64(payload)
	digest := sha256.Sum256([]byte(input))
	r, v, err := ecdsa.Sign(rand.Reader, s.key, digest[:])
	if err != nil {
		panic(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	v.FillBytes(signature[32:])
	return input + "." + b64(signature)
}

func (s signer) header(changes map[string]any) []byte {
	return text(with(map[string]any{"alg": "ES256", "kid": s.kid, "typ": "JWT"}, changes))
}

func (s signer) token(changes map[string]any) string { return s.raw(s.header(nil), claims(changes)) }

func claims(changes map[string]any) []byte {
	return text(with(map[string]any{"iss": issuer, "aud": audience, "sub": "u1", "roles": []string{}, "iat": noon.Unix(), "exp": noon.Unix() + 60, "jti": "j1"}, changes))
}

func with(m, changes map[string]any) map[string]any {
	maps.Copy(m, changes)
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil })
	return m
}

// beside is a verifier in front of an application that keeps what reaches it.
type beside struct {
	*httptest.Server
	log  *bytes.Buffer
	seen *[]*http.Request
}

func start(t *testing.T, c *verify.Config, authRequest bool) beside {
	t.Helper()
	var mu sync.Mutex
	seen := &[]*http.Request{}
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		*seen = append(*seen, r)
		w.Header().Set("X-Seen", r.RequestURI)
		w.WriteHeader(http.StatusTeapot)
		w.Write(body)
	}))
	t.Cleanup(app.Close)
	b := beside{log: &bytes.Buffer{}, seen: seen}
	log := slog.New(slog.NewTextHandler(b.log, nil))
	u, err := url.Parse(app.URL)
	if err != nil {
		t.Fatal(err)
	}
	if authRequest {
		u = nil
	}
	c.Keys.Log = log
	b.Server = httptest.NewServer(verify.Handler(c, u, log))
	t.Cleanup(b.Close)
	return b
}

func (b beside) do(t *testing.T, method, target string, h http.Header, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, b.URL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	path, query, _ := strings.Cut(target, "?")
	req.URL.Opaque, req.URL.RawQuery, req.Host, req.Header = path, query, "wiki.example.com", h
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

func keyFile(t *testing.T, keys ...map[string]any) *verify.Keys {
	t.Helper()
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, text(map[string]any{"keys": keys}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &verify.Keys{File: file}
}

func one(token string) http.Header { return http.Header{verify.DefaultHeader: {token}} }

func TestWrongAssertions(t *testing.T) {
	t.Parallel()
	s, stranger := newSigner(t, "k1"), newSigner(t, "k1")
	jwk := s.jwk(t)
	c := &verify.Config{Issuer: issuer, Audience: audience, Keys: keyFile(t, jwk), Now: func() time.Time { return noon }}
	b := start(t, c, false)
	good := s.token(nil)
	parts := strings.Split(good, ".")
	keyed := func(secret []byte) string { // HS256 with what everybody knows
		input := b64(s.header(map[string]any{"alg": "HS256"})) + "." + b64(claims(nil))
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(input))
		return input + "." + b64(mac.Sum(nil))
	}
	point, _ := s.key.PublicKey.Bytes()
	flipped, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	flipped[10] ^= 1
	der, _ := ecdsa.SignASN1(rand.Reader, s.key, make([]byte, 32))
	at := func(d time.Duration) int64 { return noon.Add(d).Unix() }

	for _, tt := range []struct {
		name   string
		header http.Header
		status int
		why    string
	}{
		{"none", http.Header{}, 401, "there is no X-Portero-Assertion"},
		{"an empty one", one(""), 403, "no signed JWT"},
		{"a word", one("alice"), 403, "no signed JWT"},
		{"algorithm none", one(b64(s.header(map[string]any{"alg": "none"})) + "." + parts[1] + "."), 403, "algorithm is not ES256"},
		{"algorithm none, with a signature", one(s.raw(s.header(map[string]any{"alg": "none"}), claims(nil))), 403, "algorithm is not ES256"},
		{"HS256 with the public key", one(keyed(point)), 403, "algorithm is not ES256"},
		{"HS256 with the key set", one(keyed(text(jwk))), 403, "algorithm is not ES256"},
		{"ES384", one(s.raw(s.header(map[string]any{"alg": "ES384"}), claims(nil))), 403, "algorithm is not ES256"},
		{"lower case algorithm", one(s.raw(s.header(map[string]any{"alg": "es256"}), claims(nil))), 403, "algorithm is not ES256"},
		{"no algorithm", one(s.raw(s.header(map[string]any{"alg": nil}), claims(nil))), 403, "algorithm is not ES256"},
		{"another type", one(s.raw(s.header(map[string]any{"typ": "at+jwt"}), claims(nil))), 403, "type is not JWT"},
		{"no key named", one(s.raw(s.header(map[string]any{"kid": nil}), claims(nil))), 403, "names no key"},
		{"another key named", one(s.raw(s.header(map[string]any{"kid": "k2"}), claims(nil))), 403, "key is unknown"},
		{"a key of its own", one(stranger.raw(s.header(map[string]any{"jwk": stranger.jwk(t)}), claims(nil))), 403, "has the member"},
		{"a key set of its own", one(stranger.raw(s.header(map[string]any{"jku": "https://evil.test/"}), claims(nil))), 403, "has the member"},
		{"a critical extension", one(s.raw(s.header(map[string]any{"crit": []string{"x"}, "x": 1}), claims(nil))), 403, "has the member"},
		{"two algorithms", one(s.raw([]byte(`{"alg":"none","alg":"ES256","kid":"k1","typ":"JWT"}`), claims(nil))), 403, "header is unreadable"},
		{"a key of the same name", one(stranger.token(nil)), 403, "signature is wrong"},
		{"a changed signature", one(parts[0] + "." + parts[1] + "." + b64(flipped)), 403, "signature is wrong"},
		{"a changed payload", one(parts[0] + "." + b64(claims(map[string]any{"sub": "root"})) + "." + parts[2]), 403, "signature is wrong"},
		{"a signature of nothing", one(parts[0] + "." + parts[1] + "." + b64(make([]byte, 64))), 403, "signature is wrong"},
		{"a signature in ASN.1", one(parts[0] + "." + parts[1] + "." + b64(der)), 403, "signature has not the length"},
		{"no signature", one(parts[0] + "." + parts[1] + "."), 403, "signature has not the length"},
		{"cut", one(good[:len(good)-1]), 403, "not base64url"},
		{"cut in two", one(parts[0] + "." + parts[1]), 403, "no signed JWT"},
		{"four parts", one(good + "."), 403, "no signed JWT"},
		{"padded", one(good + "=="), 403, "not base64url"},
		{"with a blank inside", one(parts[0] + ". " + parts[1] + "." + parts[2]), 403, "not base64url"},
		{"very long", one(good + strings.Repeat("A", 17000)), 403, "no signed JWT"},
		{"another audience", one(s.token(map[string]any{"aud": "https://build.example.com"})), 403, "audience is"},
		{"an audience among others", one(s.token(map[string]any{"aud": []string{audience, "https://build.example.com"}})), 403, "audience is"},
		{"an audience that begins alike", one(s.token(map[string]any{"aud": audience + ".evil.test"})), 403, "audience is"},
		{"no audience", one(s.token(map[string]any{"aud": nil})), 403, "audience is"},
		{"another issuer", one(s.token(map[string]any{"iss": "https://portal.example.com/"})), 403, "issuer is"},
		{"no issuer", one(s.token(map[string]any{"iss": nil})), 403, "issuer is"},
		{"expired", one(s.token(map[string]any{"iat": at(-66 * time.Second), "exp": at(-6 * time.Second)})), 403, "has ended"},
		{"from the future", one(s.token(map[string]any{"iat": at(6 * time.Second), "exp": at(66 * time.Second)})), 403, "from the future"},
		{"without end", one(s.token(map[string]any{"exp": nil})), 403, "times are missing"},
		{"without beginning", one(s.token(map[string]any{"iat": nil})), 403, "times are missing"},
		{"an end in words", one(s.token(map[string]any{"exp": "never"})), 403, "times are missing"},
		{"an end beyond all numbers", one(s.raw(s.header(nil), []byte(`{"iss":"`+issuer+`","aud":"`+audience+`","sub":"u1","iat":1,"exp":1e300}`))), 403, "times are missing"},
		{"a long life", one(s.token(map[string]any{"exp": at(time.Hour)})), 403, "lives for"},
		{"not before a later time", one(s.token(map[string]any{"nbf": at(30 * time.Second)})), 403, "not good yet"},
		{"about nobody", one(s.token(map[string]any{"sub": ""})), 403, "about nobody"},
		{"two subjects", one(s.raw(s.header(nil), append([]byte(`{"sub":"root",`), claims(nil)[1:]...))), 403, "claims are unreadable"},
		{"claims that are a list", one(s.raw(s.header(nil), []byte(`[]`))), 403, "claims are unreadable"},
		{"another method", one(s.token(map[string]any{"htm": "GET"})), 403, "bound to the method"},
		{"another path", one(s.token(map[string]any{"htu": audience + "/a/b"})), 403, "bound to"},
		{"another spelling of the path", one(s.token(map[string]any{"htu": audience + "/%61"})), 403, "bound to"},
		{"a binding to something else", one(s.token(map[string]any{"htu": 7})), 403, "bound to"},
		{"two", http.Header{verify.DefaultHeader: {good, good}}, 403, "more than one"},
		{"two in one", one(good + "," + good), 403, "no signed JWT"},
		{"another spelling", http.Header{"X_Portero_Assertion": {good}}, 403, "applications could take for"},
		{"another spelling beside", http.Header{verify.DefaultHeader: {good}, "X_portero-Assertion": {good}}, 403, "applications could take for"},
		{"another header", http.Header{"X-Pomerium-Jwt-Assertion": {good}}, 401, "there is no"},
	} {
		b.log.Reset()
		resp, body := b.do(t, "POST", "/a", tt.header, "body")
		if resp.StatusCode != tt.status || !strings.Contains(b.log.String(), tt.why) {
			t.Errorf("%s: got %s, want %d and %q in\n%s", tt.name, resp.Status, tt.status, tt.why, b.log)
		}
		if strings.Contains(body, tt.why) || strings.Contains(b.log.String(), good) || strings.Contains(b.log.String(), parts[2]) {
			t.Errorf("%s: the answer says why, or the log has the assertion: %q\n%s", tt.name, body, b.log)
		}
		if challenge := resp.Header.Get("WWW-Authenticate"); (challenge != "") != (tt.status == 401) {
			t.Errorf("%s: WWW-Authenticate is %q", tt.name, challenge)
		}
	}
	if len(*b.seen) != 0 {
		t.Errorf("%d of them reached the application", len(*b.seen))
	}
	for name, h := range map[string]http.Header{
		"good": one(good), "at the end of its life": one(s.token(map[string]any{"iat": at(-64 * time.Second), "exp": at(-4 * time.Second)})),
		"a clock ahead": one(s.token(map[string]any{"iat": at(4 * time.Second), "exp": at(64 * time.Second)})),
		"bound":         one(s.token(map[string]any{"htm": "POST", "htu": "https://other.example.com/a"})),
	} {
		if resp, _ := b.do(t, "POST", "/a?b", h, "body"); resp.StatusCode != http.StatusTeapot {
			t.Errorf("%s: got %s, want the application's\n%s", name, resp.Status, b.log)
		}
	}
}

// What Portero signs is good, and --bind demands that it is bound.
func TestWhatPorteroSigns(t *testing.T) {
	t.Parallel()
	ring, err := seal.NewKeyRing([]byte("a secret of thirty-two bytes, one"))
	if err != nil {
		t.Fatal(err)
	}
	k := signed.NewKeys(ring, nil)
	set := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(k.JWKS()) }))
	t.Cleanup(set.Close)
	for _, tt := range []struct {
		name   string
		bound  bool
		wants  bool
		method string
		path   string
		status int
	}{
		{"unbound", false, false, "GET", "/x", 418},
		{"bound", true, true, "POST", "/a%2Fb/c", 418},
		{"bound, and not asked for", true, false, "POST", "/a%2Fb/c", 418},
		{"bound to another method", true, false, "GET", "/a%2Fb/c", 403},
		{"bound to another path", true, false, "POST", "/a/b/c", 403},
		{"unbound, and asked for", false, true, "POST", "/a%2Fb/c", 403},
	} {
		a := &signed.Assertion{Keys: k, Issuer: issuer, Method: tt.bound, Path: tt.bound}
		token, err := a.Token(&identity.Identity{Subject: "u1"}, signed.Request{Origin: audience, Method: "POST", Path: "/a%2Fb/c"})
		if err != nil {
			t.Fatal(err)
		}
		b := start(t, &verify.Config{Issuer: issuer, Audience: audience, Method: tt.wants, Path: tt.wants, Keys: &verify.Keys{URL: set.URL, Client: outbound.New(outbound.Config{})}}, false)
		if resp, _ := b.do(t, tt.method, tt.path+"?q=1", one(token), ""); resp.StatusCode != tt.status {
			t.Errorf("%s: got %s, want %d\n%s", tt.name, resp.Status, tt.status, b.log)
		}
	}
}

func TestNothingElseIsTouched(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	b := start(t, &verify.Config{Issuer: issuer, Audience: audience, Keys: keyFile(t, s.jwk(t)), Now: func() time.Time { return noon }}, false)
	h := one(s.token(nil))
	for name, value := range map[string]string{"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "wiki.example.com", "X-Forwarded-Proto": "https", "Forwarded": "for=a",
		"X-Forwarded-User": "u1", "Cookie": "a=b", "Authorization": "Basic eA==", "User-Agent": "x"} {
		h.Set(name, value)
	}
	for _, target := range []string{"/", "/a%2Fb//c;d?e=%zz&f;g", "/a?", "/%61"} {
		resp, body := b.do(t, "PUT", target, h.Clone(), "the body")
		if resp.StatusCode != http.StatusTeapot || body != "the body" {
			t.Fatalf("%s: got %s %q\n%s", target, resp.Status, body, b.log)
		}
		got := (*b.seen)[len(*b.seen)-1]
		if want := strings.TrimSuffix(target, "?"); strings.TrimSuffix(got.RequestURI, "?") != want || got.Method != "PUT" || got.Host != "wiki.example.com" {
			t.Errorf("got %s %s for %s, want PUT %s", got.Method, got.RequestURI, got.Host, want)
		}
		for name := range h {
			if strings.Join(got.Header[name], "|") != strings.Join(h[name], "|") {
				t.Errorf("%s: got %q, want %q", name, got.Header[name], h[name])
			}
		}
	}
}

func TestAuthRequest(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	b := start(t, &verify.Config{Issuer: issuer, Audience: audience, Keys: keyFile(t, s.jwk(t)), Now: func() time.Time { return noon }}, true)
	bound := s.token(map[string]any{"htm": "POST", "htu": audience + "/a"})
	for name, tt := range map[string]struct {
		token, method, uri string
		status             int
	}{
		"good":                {s.token(nil), "", "", 200},
		"none":                {"", "POST", "/a", 401},
		"bound":               {bound, "POST", "/a?b=c", 200},
		"another method":      {bound, "GET", "/a", 403},
		"another path":        {bound, "POST", "/b", 403},
		"bound, nothing said": {bound, "", "", 403},
	} {
		h := http.Header{}
		for name, value := range map[string]string{verify.DefaultHeader: tt.token, "X-Original-Method": tt.method, "X-Original-URI": tt.uri} {
			if value != "" {
				h.Set(name, value)
			}
		}
		if resp, body := b.do(t, "GET", "/anything", h, ""); resp.StatusCode != tt.status || tt.status == 200 && body != "" {
			t.Errorf("%s: got %s %q, want %d\n%s", name, resp.Status, body, tt.status, b.log)
		}
	}
}

// source is a key set that changes, fails and counts.
type source struct {
	*httptest.Server
	set   atomic.Value // []byte; empty: 500
	calls atomic.Int32
}

func newSource(t *testing.T, keys ...map[string]any) *source {
	t.Helper()
	s := &source{}
	s.has(keys...)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.calls.Add(1)
		if set := s.set.Load().([]byte); len(set) > 0 {
			w.Write(set)
			return
		}
		w.WriteHeader(http.StatusInternalServerError)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *source) has(keys ...map[string]any) {
	if keys == nil {
		s.set.Store([]byte{})
		return
	}
	s.set.Store(text(map[string]any{"keys": keys}))
}

func TestKeys(t *testing.T) {
	t.Parallel()
	first, second := newSigner(t, "k1"), newSigner(t, "k2")
	src := newSource(t)
	var clock atomic.Int64
	now := func() time.Time { return noon.Add(time.Duration(clock.Load())) }
	b := start(t, &verify.Config{Issuer: issuer, Audience: audience, Now: now, Keys: &verify.Keys{URL: src.URL, Client: outbound.New(outbound.Config{}), Now: now}}, false)
	fresh := func(s signer) string {
		return s.token(map[string]any{"iat": now().Unix(), "exp": now().Unix() + 60})
	}
	step := func(name string, s signer, status int, calls int32) {
		t.Helper()
		before := src.calls.Load()
		resp, _ := b.do(t, "GET", "/", one(fresh(s)), "")
		if got := src.calls.Load() - before; resp.StatusCode != status || got != calls {
			t.Errorf("%s: got %s after %d looks, want %d after %d\n%s", name, resp.Status, got, status, calls, b.log)
		}
	}
	health := func(status int) {
		t.Helper()
		if resp, _ := b.do(t, "GET", verify.Healthz, http.Header{}, ""); resp.StatusCode != status {
			t.Errorf("health: got %s, want %d", resp.Status, status)
		}
	}
	step("no keys", first, 503, 1)
	step("no keys, at once again", first, 503, 0)
	health(503)
	src.has(map[string]any{"kty": "RSA"}, map[string]any{"kty": "EC", "crv": "P-256", "kid": "k1", "x": "AAAA", "y": "AAAA"})
	clock.Add(int64(time.Second))
	step("keys that are none", first, 503, 1)
	src.has(first.jwk(t))
	clock.Add(int64(time.Second))
	step("keys", first, 418, 1)
	step("keys, again", first, 418, 0)
	health(200)
	src.has(second.jwk(t))
	step("an unknown key, at once", second, 403, 0)
	clock.Add(int64(time.Minute))
	step("an unknown key, a minute later", second, 418, 1)
	step("a key that is gone", first, 403, 0)
	src.has()
	clock.Add(int64(5 * time.Minute))
	step("the set is gone, and kept", second, 418, 1)
	step("the set is gone, and not looked for all the time", second, 418, 0)
	clock.Add(int64(time.Minute))
	step("an unknown key while the set is gone", first, 403, 1)
	for range 20 {
		step("a storm of unknown keys", first, 403, 0)
	}
	src.has(first.jwk(t))
	clock.Add(int64(time.Minute))
	step("the set is back", first, 418, 1)
	step("and what is not in it is gone", second, 403, 0)
}

// Many who come at once have the set looked at once, and all get their answer.
func TestKeysAreFetchedOnce(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	src := newSource(t, s.jwk(t))
	b := start(t, &verify.Config{Issuer: issuer, Audience: audience, Now: func() time.Time { return noon }, Keys: &verify.Keys{URL: src.URL, Client: outbound.New(outbound.Config{})}}, false)
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			req, _ := http.NewRequest("GET", b.URL, nil)
			req.Header.Set(verify.DefaultHeader, s.token(nil))
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusTeapot {
				t.Errorf("got %s", resp.Status)
			}
		})
	}
	wait.Wait()
	if got := src.calls.Load(); got != 1 {
		t.Errorf("the set was fetched %d times, want once", got)
	}
}
