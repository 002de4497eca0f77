package catalogue_test

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// forgetful is a program that forgets at SIGHUP what it has learned of the issuer, since the file of authorities may
// have changed.
func forgetful(t *testing.T) *front {
	t.Helper()
	return newFront(t, gatewaytest.Options{TLS: true, Env: []string{"PORTERO_LOGTO_CA_FILE=" + gatewaytest.NewAuthority(t).File}})
}

// learns has the issuer sign with a key and publish others, and the program forget what it has known. Without others
// the key set holds the key.
func (f *front) learns(t *testing.T, key *gatewaytest.Key, keys ...any) {
	t.Helper()
	f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Key, i.Keys = key, keys })
	if said := f.Hangup(t); !strings.Contains(said, "configuration reloaded") {
		t.Fatalf("SIGHUP: the program says %s", said)
	}
}

// signInOver tries tokens over HTTP/2 and 1.1, with and without a session.
func (f *front) signInOver(t *testing.T, tokens ...idToken) {
	t.Helper()
	way{front: f, h2: true}.signInWith(t, tokens...)
	way{front: f, cookie: f.alice}.signInWith(t, tokens...)
}

func sharedSecrets(t *testing.T, _ *doors) {
	f := forgetful(t)
	key := gatewaytest.NewKey("RS256")
	public := key.Public().(*rsa.PublicKey)
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := json.Marshal(key.JWK(nil))
	if err != nil {
		t.Fatal(err)
	}
	text := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	pkcs1 := x509.MarshalPKCS1PublicKey(public)
	shared := gatewaytest.Canary + "published-secret-of-32-bytes-and-more"
	oct := map[string]any{"kty": "oct", "kid": "oct", "use": "sig", "alg": "HS256", "k": base64.RawURLEncoding.EncodeToString([]byte(shared))}
	for _, keys := range [][]any{{key.JWK(nil)}, {oct, key.JWK(map[string]any{"alg": nil})}, {key.JWK(map[string]any{"alg": "HS256"}), key.JWK(nil)}} {
		f.learns(t, key, keys...)
		var rows []idToken
		for name, secret := range map[string][]byte{
			"DER": der, "PEM": text("PUBLIC KEY", der), "PEM in one line": []byte(strings.ReplaceAll(string(text("PUBLIC KEY", der)), "\n", "")), "PKCS 1": pkcs1, "PKCS 1 in PEM": text("RSA PUBLIC KEY", pkcs1),
			"JWK": jwk, "modulus": public.N.Bytes(), "modulus as text": []byte(base64.RawURLEncoding.EncodeToString(public.N.Bytes())), "app secret": []byte(f.Issuer.AppSecret), "app id": []byte(f.Issuer.AppID),
			"nothing": nil, "what the key set publishes": []byte(shared),
		} {
			for _, kid := range []any{key.ID, "oct", nil} {
				rows = append(rows, idToken{name: fmt.Sprintf("HS256 keyed with %s, kid %v", name, kid), header: map[string]any{"alg": "HS256", "kid": kid}, fails: "alg",
					make: func(_ *gatewaytest.Issuer, header, claims map[string]any) string {
						return gatewaytest.SharedSecretToken(secret, header, claims)
					}})
			}
			rows = append(rows, idToken{name: "RS256 that is HMAC keyed with " + name, fails: "signature", make: func(_ *gatewaytest.Issuer, header, claims map[string]any) string {
				return gatewaytest.SharedSecretToken(secret, header, claims)
			}})
		}
		way{front: f, h2: true}.signInWith(t, append(rows, idToken{name: "RS256, signed with the key"})...)
		way{front: f, cookie: f.alice}.signInWith(t, rows[:8]...)
	}
}

func otherAlgorithms(t *testing.T, _ *doors) {
	f := forgetful(t)
	r, e, small := gatewaytest.NewKey("RS256"), gatewaytest.NewKey("ES384"), gatewaytest.NewKey("ES256")
	none := map[string]any{"alg": nil}
	for name, keys := range map[string][]any{
		"keys for their algorithm":  {r.JWK(nil), e.JWK(nil), small.JWK(nil)},
		"keys that name none":       {r.JWK(none), e.JWK(none), small.JWK(none)},
		"an RSA key that names one": {r.JWK(nil), e.JWK(none), small.JWK(none)},
	} {
		f.learns(t, e, keys...)
		var rows []idToken
		for _, x := range []struct {
			key       *gatewaytest.Key
			alg, with string // what the header says, and what it is signed with
			good      bool
		}{
			{r, "RS256", "RS256", true}, {r, "RS384", "RS384", false}, {r, "RS512", "RS512", false}, {r, "PS256", "PS256", false}, {r, "PS384", "PS384", false}, {r, "PS512", "PS512", false},
			{r, "ES384", "RS256", false}, {r, "HS256", "RS256", false}, {r, "EdDSA", "RS256", false},
			{e, "ES384", "ES384", true}, {e, "ES256", "ES256", false}, {e, "ES512", "ES512", false}, {e, "ES256K", "ES256", false}, {e, "RS256", "ES384", false}, {e, "EdDSA", "ES384", false},
			{small, "ES256", "ES256", true}, {small, "ES384", "ES384", false}, {small, "ES512", "ES512", false}, {small, "RS256", "ES256", false},
		} {
			row := idToken{name: fmt.Sprintf("%s: %s of a key for %s", name, x.alg, x.key.Algorithm), header: map[string]any{"alg": x.alg, "kid": x.key.ID}, fails: "alg",
				make: func(_ *gatewaytest.Issuer, header, claims map[string]any) string {
					return x.key.TokenAs(x.with, header, claims)
				}}
			if x.good {
				row.fails = ""
			}
			rows = append(rows, row)
		}
		// Under RS256 in the header, but signed as PS256 or with another hash.
		for _, with := range []string{"PS256", "RS384", "RS512"} {
			rows = append(rows, idToken{name: name + ": " + with + " that says RS256", header: map[string]any{"alg": "RS256", "kid": r.ID}, fails: "signature",
				make: func(_ *gatewaytest.Issuer, header, claims map[string]any) string {
					return r.TokenAs(with, header, claims)
				}})
		}
		f.signInOver(t, rows...)
	}
	// A key for PS256, and one of a curve that is not its algorithm's, are none for ID tokens.
	f.learns(t, small, r.JWK(map[string]any{"alg": "PS256"}), e.JWK(map[string]any{"alg": "ES256"}), small.JWK(nil))
	f.signInOver(t,
		idToken{name: "key for PS256", fails: "alg", make: func(_ *gatewaytest.Issuer, _, claims map[string]any) string {
			return r.TokenAs("PS256", r.Header(map[string]any{"alg": "PS256"}), claims)
		}},
		idToken{name: "key for PS256, as RS256", fails: "kid", make: func(_ *gatewaytest.Issuer, _, claims map[string]any) string { return r.Token(r.Header(nil), claims) }},
		idToken{name: "P-384 key for ES256", fails: "kid", make: func(_ *gatewaytest.Issuer, _, claims map[string]any) string { return e.Token(e.Header(nil), claims) }},
		idToken{name: "the key that is left"},
	)
}

func keyIDAbsent(t *testing.T, _ *doors) {
	f := forgetful(t)
	e, e2, r := gatewaytest.NewKey("ES384"), gatewaytest.NewKey("ES384"), gatewaytest.NewKey("RS256")
	absent := map[string]any{"kid": nil}
	for _, set := range []struct {
		name  string
		keys  []any
		fails string
	}{
		{"one key", []any{e.JWK(nil)}, ""},
		{"one key without a kid either", []any{e.JWK(absent)}, ""},
		{"one that fits and an RSA key", []any{r.JWK(nil), e.JWK(nil)}, ""},
		{"one that fits and one to encrypt", []any{e.JWK(nil), e2.JWK(map[string]any{"use": "enc"})}, ""},
		{"two that fit", []any{e.JWK(nil), e2.JWK(nil)}, "kid"},
		{"two that fit, without a kid either", []any{e.JWK(absent), e2.JWK(absent)}, "kid"},
		{"none that fits", []any{r.JWK(nil)}, "kid"},
		{"one that fits and did not sign", []any{e2.JWK(nil)}, "signature"},
	} {
		f.learns(t, e, set.keys...)
		rows := append(withHeader(set.fails, "kid", nil, ""), withHeader("kid", "kid", 5, []string{e.ID}, true, strings.Repeat("k", 300))...)
		for n := range rows {
			rows[n].name = set.name + ": " + rows[n].name
		}
		f.signInOver(t, rows...)
	}
	// A token that names a key is not tried with one that has no name.
	f.learns(t, e, e.JWK(absent))
	f.signInOver(t, withHeader("kid", "kid", e.ID, gatewaytest.Canary+"kid")...)
}

func refetchStorm(t *testing.T, _ *doors) {
	const many = 100
	unknown := gatewaytest.NewKey("ES384")
	// storm has many people come back at once whose tokens name a key that nobody knows; between is called once all their
	// codes are redeemed.
	storm := func(t *testing.T, f *front, between func()) []*gatewaytest.Answer {
		t.Helper()
		f.Issuer.Do(func(i *gatewaytest.Issuer) {
			i.Sign = func(claims map[string]any) string { return unknown.Token(unknown.Header(nil), claims) }
		})
		people, backs, answers := make([]*traveller, many), make([]string, many), make([]*gatewaytest.Answer, many)
		for n := range people {
			people[n] = way{front: f}.traveller(t)
			backs[n] = people[n].leave(t, "/app")
		}
		calls := f.Issuer.Calls("authorization_code")
		var wg sync.WaitGroup
		for n, p := range people {
			wg.Go(func() { answers[n] = p.get(t, backs[n]) })
		}
		gatewaytest.Await(t, "all codes are redeemed", func() bool { return f.Issuer.Calls("authorization_code")-calls == many })
		f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Sign = nil })
		between()
		wg.Wait()
		return answers
	}
	known := func(t *testing.T, f *front, when string) {
		t.Helper()
		p := way{front: f}.traveller(t)
		if a := p.get(t, p.leave(t, "/app")); a.Status != 303 {
			t.Errorf("a known key %s: got %s, want 303", when, a)
		}
	}
	fetches := func(t *testing.T, f *front, when string, want int) {
		t.Helper()
		if got := f.Issuer.Calls("/oidc/jwks"); got != want {
			t.Errorf("fetches of the keys %s: got %d, want %d", when, got, want)
		}
	}
	all := func(t *testing.T, f *front, answers []*gatewaytest.Answer, status int, heading string) {
		t.Helper()
		for _, a := range answers {
			shows(t, a, status, heading)
			f.noSession(t, a)
		}
		f.nothingReached(t)
	}

	f := newFront(t, gatewaytest.Options{})
	release := make(chan struct{})
	f.issuer(t, func(i *gatewaytest.Issuer) {
		i.Answer = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/oidc/jwks" {
				return false
			}
			<-release
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
	})
	answers := storm(t, f, func() {
		gatewaytest.Await(t, "the keys are fetched", func() bool { return f.Issuer.Calls("/oidc/jwks") == 2 })
		known(t, f, "while the key set is slow")
		close(release)
	})
	all(t, f, answers, http.StatusServiceUnavailable, headUnavailable)
	fetches(t, f, "while they are slow", 2)
	began := time.Now()
	all(t, f, storm(t, f, func() {}), http.StatusServiceUnavailable, headUnavailable)
	if took := time.Since(began); took < 45*time.Second { // else another fetch may have been due
		fetches(t, f, "within the minute", 2)
	}
	known(t, f, "after a fetch that failed")
	f.rows(t, 3)

	f = newFront(t, gatewaytest.Options{Clock: gatewaytest.NewClock()})
	for minute, want := range []int{2, 2, 3} {
		f.Clock.Add(time.Duration(minute) * 30 * time.Second)
		all(t, f, storm(t, f, func() {}), http.StatusBadRequest, headFailed)
		fetches(t, f, fmt.Sprintf("in storm %d", minute+1), want)
		known(t, f, "after a storm")
	}
}

func keyRotation(t *testing.T, d *doors) {
	// A key that was made a moment ago.
	d.each(t, func(t *testing.T, w way) {
		if w.h2 || w.cookie == "" {
			return // a program fetches anew once a minute, so once for each of the two
		}
		before, fetched := w.Issuer.Key, w.Issuer.Calls("/oidc/jwks")
		next := gatewaytest.NewKey("ES384")
		w.signInWith(t,
			idToken{name: "rotated just before signing", make: func(i *gatewaytest.Issuer, _, claims map[string]any) string {
				i.Key, i.Keys = next, []any{next.JWK(nil)}
				return next.Token(next.Header(nil), claims)
			}},
			idToken{name: "a key that was taken out", fails: "kid", make: func(_ *gatewaytest.Issuer, _, claims map[string]any) string {
				return before.Token(before.Header(nil), claims)
			}},
			idToken{name: "the new key again"},
		)
		if got := w.Issuer.Calls("/oidc/jwks") - fetched; got != 1 {
			t.Errorf("fetches of the keys: got %d, want 1", got)
		}
	})

	f := forgetful(t)
	good, r := gatewaytest.NewKey("ES384"), gatewaytest.NewKey("RS256")
	other := func(change map[string]any) map[string]any {
		change["kid"] = "other"
		return good.JWK(change)
	}
	zeros := base64.RawURLEncoding.EncodeToString(make([]byte, 48))
	junk := []any{
		map[string]any{"kty": "oct", "kid": "o", "k": "c2VjcmV0"},
		map[string]any{"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
		map[string]any{"kty": "XYZ", "kid": "x"},
		map[string]any{"kty": "EC", "crv": "P-999", "kid": "x", "x": "AA", "y": "AA"},
		map[string]any{"kty": "EC", "crv": "secp256k1", "kid": "x", "x": "AA", "y": "AA"},
		map[string]any{"kid": "x"},
		map[string]any{},
		other(map[string]any{"y": zeros}),
		other(map[string]any{"use": "enc"}),
		other(map[string]any{"key_ops": []string{"sign"}}),
		other(map[string]any{"key_ops": 5}),
		other(map[string]any{"alg": []string{"ES384"}}),
		other(map[string]any{"d": zeros}),
		good.JWK(map[string]any{"kid": 5}),
		map[string]any{"kty": "RSA", "kid": "x", "n": "!!!", "e": "AQAB"},
		map[string]any{"kty": "RSA", "kid": "x", "e": "AQAB"},
		map[string]any{"kty": "RSA", "kid": "x", "n": base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("\xff", 64))), "e": "AQAB"},
		map[string]any{"kty": "RSA", "kid": "x", "n": base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("\xff", 8192))), "e": "AQAB"},
		nil, 5, "key", []any{"key"}, true,
	}
	signsIn := func(name string, keys ...any) {
		t.Helper()
		f.learns(t, good, keys...)
		way{front: f, h2: true}.signInWith(t, idToken{name: name})
	}
	for n, key := range junk {
		signsIn(fmt.Sprintf("junk %d: %v", n, key), key, good.JWK(nil), key)
	}
	signsIn("all of that", slices.Concat(junk, []any{good.JWK(nil)}, junk)...)
	for _, change := range []map[string]any{
		{"x5c": []string{"MIIB", "no certificate"}}, {"x5t": "abc", "x5t#S256": "abc", "x5u": "https://example.com/"}, {"key_ops": []string{"verify"}}, {"use": nil},
		{"nbf": 5, "exp": map[string]any{}}, {"alg": nil}, {"x5c": null},
	} {
		signsIn(fmt.Sprintf("a good key with %v", change), good.JWK(change))
	}
	signsIn("a second key under the same kid", r.JWK(map[string]any{"kid": good.ID}), gatewaytest.NewKey("ES384").JWK(map[string]any{"kid": good.ID}), good.JWK(nil))

	// No key that is any good: nobody signs in, and it is nobody's fault in front of the screen.
	f.learns(t, good, junk...)
	p := way{front: f}.traveller(t)
	a := p.get(t, p.leave(t, "/app"))
	shows(t, a, http.StatusServiceUnavailable, headUnavailable)
	f.noSession(t, a)
	f.nothingReached(t)
}

func times(t *testing.T, d *doors) {
	const minute, day = 60, 86400
	rows := func(now int64, margin int64) []idToken {
		one := func(name, fails string, value any) idToken {
			return idToken{name: fmt.Sprintf("%s %v, now %d", name, value, now), claims: map[string]any{name: value}, fails: fails}
		}
		out := []idToken{
			one("exp", "exp", now-margin), one("exp", "exp", now-day), one("exp", "", now+margin), one("exp", "", now+10*day),
			one("exp", "exp", nil), one("exp", "exp", null), one("exp", "exp", fmt.Sprint(now+3600)), one("exp", "exp", ""), one("exp", "exp", true), one("exp", "exp", []int64{now + 3600}),
			one("exp", "", number(fmt.Sprintf("%d.5", now+3600))), one("exp", "", number("2.5e9")), one("exp", "", number(fmt.Sprintf("%d.0", now+3600))),
			one("exp", "exp", number("1e300")), one("exp", "exp", number("1e400")), one("exp", "exp", -1), one("exp", "exp", 0), one("exp", "exp", number("-0")),
			one("exp", "exp", number("9223372036854775807")), one("exp", "exp", number("9223372036854775808")), one("exp", "exp", number("18446744073709551616")), one("exp", "exp", (now+3600)*1000),
			one("nbf", "nbf", now+3600), one("nbf", "nbf", now+minute+margin), one("nbf", "", now+minute-margin), one("nbf", "", now-3600), one("nbf", "nbf", "now"), one("nbf", "nbf", null), one("nbf", "nbf", number("1e300")),
			one("iat", "", now-61), one("iat", "", now-600), one("iat", "", now-day+minute), one("iat", "iat", now-day-margin), one("iat", "", now+minute-margin), one("iat", "iat", now+minute+margin),
			one("iat", "iat", nil), one("iat", "iat", null), one("iat", "iat", fmt.Sprint(now)), one("iat", "", number(fmt.Sprintf("%d.25", now-10))), one("iat", "iat", number("1e300")), one("iat", "iat", -5), one("iat", "iat", 0),
			one("auth_time", "auth_time", nil), one("auth_time", "auth_time", null), one("auth_time", "auth_time", fmt.Sprint(now)), one("auth_time", "auth_time", now+minute+margin), one("auth_time", "auth_time", number("1e300")),
			one("auth_time", "", now+minute-margin), one("auth_time", "", now-minute/2), one("auth_time", "older than the question", now-2*minute-margin),
		}
		if margin == 1 { // on a clock that stands
			out = append(out, one("exp", "exp", now), one("nbf", "", now+minute), one("iat", "", now+minute), one("iat", "", now-day), one("auth_time", "", now+minute), one("auth_time", "", now-minute), one("auth_time", "older than the question", now-minute-1))
		}
		return out
	}
	f := newFront(t, gatewaytest.Options{Clock: gatewaytest.NewClock(), TLS: true})
	f.signInOver(t, rows(f.Clock.Now().Unix(), 1)...)
	d.each(t, func(t *testing.T, w way) { w.signInWith(t, share(w, rows(time.Now().Unix(), 30))...) })
}

func accessTokenHash(t *testing.T, d *doors) {
	const access = gatewaytest.Canary + "access-token"
	half := func(sum []byte) string { return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2]) }
	sum256, sum384, sum512 := sha256.Sum256([]byte(access)), sha512.Sum384([]byte(access)), sha512.Sum512([]byte(access))
	other := sha512.Sum384([]byte(access + "x"))
	good := half(sum384[:])
	rows := slices.Concat(
		withClaim("", "at_hash", good, nil),
		withClaim("at_hash", "at_hash", half(other[:]), half(sum256[:]), half(sum512[:]), base64.RawURLEncoding.EncodeToString(sum384[:]), "garbage", "", null, 5, []string{good}, good+"=", good[1:], strings.ToUpper(good)),
		withClaim("", "AT_HASH", "garbage"),
	)
	d.each(t, func(t *testing.T, w way) {
		w.issuer(t, func(i *gatewaytest.Issuer) {
			i.EditAnswer = func(answer map[string]any) { answer["access_token"] = access }
		})
		w.signInWith(t, rows...)
	})
	f, key := forgetful(t), gatewaytest.NewKey("RS256")
	f.learns(t, key)
	f.issuer(t, func(i *gatewaytest.Issuer) {
		i.EditAnswer = func(answer map[string]any) { answer["access_token"] = access }
	})
	f.signInOver(t, append(withClaim("", "at_hash", half(sum256[:])), withClaim("at_hash", "at_hash", half(sum384[:]))...)...)
}

// wrongUserinfo are answers of the userinfo endpoint that nobody may use, with Alice's subject where they have one.
func wrongUserinfo() map[string]http.HandlerFunc {
	says := func(status int, contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			w.Write([]byte(body))
		}
	}
	const kind, good = "application/json", `{"sub":"t8x4l8ohti1t","email":"alice@example.com","custom_data":{"tenant":"` + gatewaytest.Canary + `tenant"}}`
	key := gatewaytest.NewKey("ES384")
	return map[string]http.HandlerFunc{
		"another sub":         says(200, kind, strings.Replace(good, "t8x4", "t8x5", 1)),
		"a longer sub":        says(200, kind, strings.Replace(good, "ti1t", "ti1tinvalid", 1)),
		"sub in upper case":   says(200, kind, strings.Replace(good, "t8x4l8ohti1t", "T8X4L8OHTI1T", 1)),
		"SUB for sub":         says(200, kind, strings.Replace(good, "sub", "SUB", 1)),
		"no sub":              says(200, kind, `{"email":"alice@example.com"}`),
		"empty sub":           says(200, kind, `{"sub":""}`),
		"sub in a list":       says(200, kind, `{"sub":["t8x4l8ohti1t"]}`),
		"sub twice":           says(200, kind, `{"sub":"root","sub":"t8x4l8ohti1t"}`),
		"signed":              says(200, "application/jwt", key.Token(key.Header(nil), good)),
		"signed, called JSON": says(200, kind, key.Token(key.Header(nil), good)),
		"HTML":                says(200, "text/html", "<html>sign in</html>"),
		"HTML called JSON":    says(200, kind, "<html>sign in</html>"),
		"JSON called HTML":    says(200, "text/html", good),
		"no content type":     says(200, "", good),
		"a list":              says(200, kind, "["+good+"]"),
		"empty":               says(200, kind, ""),
		"cut off":             says(200, kind, good[:len(good)-1]),
		"larger than claims":  says(200, kind, `{"sub":"t8x4l8ohti1t","x":"`+strings.Repeat("x", 70<<10)+`"}`),
		"2 MiB":               says(200, kind, `{"sub":"t8x4l8ohti1t","x":"`+strings.Repeat("x", 2<<20)+`"}`),
		"201":                 says(201, kind, good),
		"204":                 says(204, kind, ""),
		"401":                 says(401, kind, `{"error":"invalid_token","error_description":"`+gatewaytest.Canary+`x"}`),
		"302":                 func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/oidc/me2", http.StatusFound) },
	}
}

func userinfos(t *testing.T, d *doors) {
	// userinfo has the issuer answer so.
	userinfo := func(t *testing.T, f *front, answer http.HandlerFunc) {
		t.Helper()
		f.Issuer.Do(func(i *gatewaytest.Issuer) {
			i.Answer = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/oidc/me" {
					answer(w, r)
				}
				return r.URL.Path == "/oidc/me"
			}
		})
	}
	wrong := wrongUserinfo()
	d.each(t, func(t *testing.T, w way) {
		w.issuer(t, func(*gatewaytest.Issuer) {})
		p := w.traveller(t)
		rows, from := w.Sessions(t), len(w.Log.String())
		var want []idToken
		for _, name := range slices.Sorted(maps.Keys(wrong)) {
			userinfo(t, w.front, wrong[name])
			back, before := p.leave(t, "/sign-in?fresh=1&return_to=/app"), p.session()
			a := p.get(t, back)
			if a.Status != http.StatusBadRequest || !strings.Contains(a.Body, "<title>"+headFailed) || p.session() != before {
				t.Errorf("%s: got %s, want 400 with %q and no session", name, a, headFailed)
			}
			w.noSession(t, a)
			w.nothingReached(t)
			want = append(want, idToken{name: name, fails: "userinfo endpoint"})
			p.forgetAttempts()
		}
		w.failures(t, from, want)
		for name, answer := range map[string]http.HandlerFunc{
			"503":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
			"429":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
			"hangs up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		} {
			userinfo(t, w.front, answer)
			before := p.session()
			a := p.get(t, p.leave(t, "/sign-in?fresh=1&return_to=/app"))
			if shows(t, a, http.StatusServiceUnavailable, headUnavailable); p.session() != before {
				t.Errorf("%s: the session was replaced", name)
			}
			p.forgetAttempts()
		}
		w.rows(t, rows)
		w.Issuer.Do(func(i *gatewaytest.Issuer) { i.Answer = nil })
		seeOther(t, p.get(t, p.leave(t, "/sign-in?fresh=1&return_to=/app")), "/app")
		if got := w.Issuer.Calls("/oidc/me2"); got != 0 {
			t.Errorf("calls at the target of a redirect: got %d, want none", got)
		}
	})

	// Of such an answer at a refresh nothing is used either: the claims of before go on for refresh_grace.
	f := unsigned(t, gatewaytest.Options{Clock: gatewaytest.NewClock()})
	f.issuer(t, func(i *gatewaytest.Issuer) { i.AccessLife = time.Minute })
	for _, name := range slices.Sorted(maps.Keys(wrong)) {
		f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Answer, i.Person = nil, maps.Clone(alice) })
		p := way{front: f}.traveller(t)
		seeOther(t, p.get(t, p.leave(t, "/app")), "/app")
		userinfo(t, f, wrong[name])
		f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person["name"], i.Person["roles"] = "Mallory", []string{"root"} })
		f.Upstream.Forget()
		from := len(f.Log.String())
		f.Clock.Add(time.Minute)
		a := p.get(t, "/app")
		if name == "401" { // it is the application that is refused
			f.toIssuer(t, a)
			f.nothingReached(t)
			continue
		}
		if a.Status != http.StatusOK {
			t.Errorf("%s at a refresh: got %s, want 200", name, a)
			continue
		}
		head, _ := f.reached(t)
		saysAlice(t, head)
		if said := f.Log.String()[from:]; !strings.Contains(said, `"level":"WARN","msg":"refreshing a session`) || !strings.Contains(said, "userinfo endpoint") {
			t.Errorf("%s at a refresh: the log has no warning: %s", name, said)
		}
	}
}
