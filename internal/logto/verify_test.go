package logto_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"portero/internal/logto"
)

func verify(t *testing.T, p *logto.Provider, token string) error {
	t.Helper()
	_, err := p.Verify(t.Context(), token, logto.Expect{Nonce: "the-nonce"})
	return err
}

func TestJW01AlgorithmNone(t *testing.T) {
	t.Parallel()
	k := newES384("k1")
	i, p := stand(t, k.jwk(nil))
	for _, alg := range []any{"none", "None", "NONE", "nOnE", "", nil, 5, []string{"ES384"}, map[string]any{}} {
		header := string(must(json.Marshal(map[string]any{"alg": alg, "kid": "k1"})))
		unsigned := b64([]byte(header)) + "." + b64([]byte(i.claims(nil))) + "."
		wantCheck(t, fmt.Sprintf("alg %v, empty signature", alg), verify(t, p, unsigned), logto.CheckShape)
		wantCheck(t, fmt.Sprintf("alg %v, good signature", alg), verify(t, p, k.raw(header, i.claims(nil), "ES384")), logto.CheckAlgorithm)
	}
	missing := k.raw(`{"kid":"k1"}`, i.claims(nil), "ES384")
	wantCheck(t, "alg missing", verify(t, p, missing), logto.CheckAlgorithm)
	wrongCase := k.raw(`{"Alg":"ES384","kid":"k1"}`, i.claims(nil), "ES384")
	wantCheck(t, "Alg for alg", verify(t, p, wrongCase), logto.CheckHeader)
}

func TestJW02PublicKeyAsSharedSecret(t *testing.T) {
	t.Parallel()
	k := newRSA("r1")
	i, p := stand(t, k.jwk(nil))
	der := must(x509.MarshalPKIXPublicKey(k.key.Public()))
	for name, secret := range map[string][]byte{
		"DER":        der,
		"PEM":        pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		"JWK":        must(json.Marshal(k.jwk(nil))),
		"modulus":    rsaKey().N.Bytes(),
		"app secret": []byte(appSecret),
		"empty":      nil,
	} {
		wantCheck(t, "HS256 keyed with "+name, verify(t, p, hmacToken("r1", i.claims(nil), secret)), logto.CheckAlgorithm)
	}
	// Even a set that publishes the secret makes no such key.
	i.publish(map[string]any{"kty": "oct", "kid": "o1", "k": b64([]byte(appSecret)), "alg": "HS256"}, k.jwk(nil))
	fresh := provider(t, i, func(c *logto.Config) { c.Client = inMemory(i) })
	wantCheck(t, "HS256 with an oct key in the set", verify(t, fresh, hmacToken("o1", i.claims(nil), []byte(appSecret))), logto.CheckAlgorithm)
}

func TestJW03AnotherAlgorithmOfTheSameKey(t *testing.T) {
	t.Parallel()
	r, e, e256 := newRSA("r1"), newES384("e1"), newEC("e256", elliptic.P256())
	for name, keys := range map[string][]jwk{
		"RSA key without alg": {r.jwk(nil), e.jwk(nil), e256.jwk(nil)},
		"RSA key for RS256":   {r.jwk(map[string]any{"alg": "RS256"}), e.jwk(nil), e256.jwk(nil)},
		"EC keys without alg": {r.jwk(nil), e.jwk(map[string]any{"alg": nil}), e256.jwk(map[string]any{"alg": nil})},
	} {
		i, p := stand(t, keys...)
		for _, row := range []struct {
			key  signer
			alg  string
			want logto.Check
		}{
			{r, "RS256", ""},
			{r, "RS384", logto.CheckAlgorithm},
			{r, "RS512", logto.CheckAlgorithm},
			{r, "PS256", logto.CheckAlgorithm},
			{r, "PS384", logto.CheckAlgorithm},
			{r, "ES384", logto.CheckAlgorithm},
			{e, "ES384", ""},
			{e, "ES256", logto.CheckAlgorithm},
			{e, "ES512", logto.CheckAlgorithm},
			{e, "RS256", logto.CheckAlgorithm},
			{e256, "ES256", ""},
			{e256, "ES384", logto.CheckAlgorithm},
		} {
			signWith := row.alg
			if row.alg[:2] != row.key.alg()[:2] && row.alg[:2] != "PS" {
				signWith = row.key.alg()
			}
			header := fmt.Sprintf(`{"alg":%q,"kid":%q}`, row.alg, row.key.kid)
			err := verify(t, p, row.key.raw(header, i.claims(nil), signWith))
			wantCheck(t, name+", "+row.key.kid+" with "+row.alg, err, row.want)
		}
	}
	// A key for PS256, and one whose algorithm is another curve's, are no keys for ID tokens.
	i, p := stand(t, r.jwk(map[string]any{"alg": "PS256"}), e.jwk(map[string]any{"alg": "ES256"}), e256.jwk(nil))
	wantCheck(t, "key for PS256", verify(t, p, r.token(i.claims(nil), nil)), logto.CheckKey)
	wantCheck(t, "P-384 key for ES256", verify(t, p, e.token(i.claims(nil), nil)), logto.CheckKey)
}

func TestJW04EmbeddedKeysAndExtensions(t *testing.T) {
	t.Parallel()
	good, evil := newES384("k1"), newES384("k1")
	i, p := stand(t, good.jwk(nil))
	for name, value := range map[string]any{
		"jwk":  evil.jwk(nil),
		"jku":  i.endpoint + "/evil",
		"x5u":  i.endpoint + "/evil",
		"x5c":  []string{"MIIB"},
		"crit": []string{"b64"},
		"b64":  false,
		"enc":  "A256GCM",
		"zip":  "DEF",
		"cty":  "JWT",
	} {
		for who, k := range map[string]signer{"Logto": good, "an attacker": evil} {
			err := verify(t, p, k.token(i.claims(nil), map[string]any{name: value}))
			wantCheck(t, name+" signed by "+who, err, logto.CheckHeader)
		}
	}
	if got := i.count("/evil"); got != 0 {
		t.Errorf("got %d calls to an address of the token, want 0", got)
	}
	wantCheck(t, "a header member that means nothing", verify(t, p, good.token(i.claims(nil), map[string]any{"x": 1})), "")
}

func TestJW05WrongSignatures(t *testing.T) {
	t.Parallel()
	k, other := newES384("k1"), newES384("k1")
	i, p := stand(t, k.jwk(nil))
	good := k.token(i.claims(nil), nil)
	cut := strings.LastIndexByte(good, '.') + 1
	input, sig := good[:cut], must(base64.RawURLEncoding.DecodeString(good[cut:]))
	order := elliptic.P384().Params().N
	wide := func(n *big.Int) []byte { return n.FillBytes(make([]byte, 48)) }
	zero, one, all := new(big.Int), big.NewInt(1), append(wide(order), wide(order)...)

	wantCheck(t, "good", verify(t, p, good), "")
	wantCheck(t, "another key of the same kid", verify(t, p, other.token(i.claims(nil), nil)), logto.CheckSignature)
	wantCheck(t, "signature of other claims", verify(t, p, input+good[cut:][:100]+b64(sig)[100:len(b64(sig))-4]+"AAAA"), logto.CheckSignature)
	wantCheck(t, "no signature", verify(t, p, input), logto.CheckShape)
	for name, bytes := range map[string][]byte{
		"truncated":         sig[:95],
		"halved":            sig[:48],
		"one byte":          {0},
		"extended":          append(append([]byte{}, sig...), 0),
		"r and s zero":      make([]byte, 96),
		"r zero":            append(wide(zero), sig[48:]...),
		"s zero":            append(append([]byte{}, sig[:48]...), wide(zero)...),
		"r and s one":       append(wide(one), wide(one)...),
		"r and s the order": all,
		"swapped":           append(append([]byte{}, sig[48:]...), sig[:48]...),
	} {
		wantCheck(t, name, verify(t, p, input+b64(bytes)), logto.CheckSignature)
	}
	// Claims of one token, signature of another.
	second := k.token(i.claims(map[string]any{"sub": "victim"}), nil)
	parts, swapped := strings.Split(good, "."), strings.Split(second, ".")
	wantCheck(t, "signature of another token", verify(t, p, swapped[0]+"."+swapped[1]+"."+parts[2]), logto.CheckSignature)
}

func TestJW06NoKeyID(t *testing.T) {
	t.Parallel()
	e, e2, r := newES384("e1"), newES384("e2"), newRSA("r1")
	for name, row := range map[string]struct {
		keys []jwk
		want logto.Check
	}{
		"one key":                        {[]jwk{e.jwk(nil)}, ""},
		"one key without a kid either":   {[]jwk{e.jwk(map[string]any{"kid": nil})}, ""},
		"one that fits and an RSA key":   {[]jwk{r.jwk(nil), e.jwk(nil)}, ""},
		"two that fit":                   {[]jwk{e.jwk(nil), e2.jwk(nil)}, logto.CheckKey},
		"one that fits, one to encrypt":  {[]jwk{e.jwk(nil), e2.jwk(map[string]any{"use": "enc"})}, ""},
		"none that fits":                 {[]jwk{r.jwk(nil)}, logto.CheckKey},
		"one that fits and did not sign": {[]jwk{e2.jwk(nil)}, logto.CheckSignature},
	} {
		i, p := stand(t, row.keys...)
		wantCheck(t, name+", kid absent", verify(t, p, e.token(i.claims(nil), map[string]any{"kid": nil})), row.want)
		wantCheck(t, name+", kid empty", verify(t, p, e.token(i.claims(nil), map[string]any{"kid": ""})), row.want)
	}
	i, p := stand(t, e.jwk(nil))
	for _, kid := range []any{5, []string{"e1"}, true, strings.Repeat("k", 300)} {
		wantCheck(t, fmt.Sprintf("kid %.20v", kid), verify(t, p, e.token(i.claims(nil), map[string]any{"kid": kid})), logto.CheckKey)
	}
	// A token that names a key is not tried with a key that has no name.
	i, p = stand(t, e.jwk(map[string]any{"kid": nil}))
	wantCheck(t, "kid that nobody has", verify(t, p, e.token(i.claims(nil), nil)), logto.CheckKey)
}

// claimRow is a change to good claims and the check that refuses it.
type claimRow struct {
	name   string
	change map[string]any
	want   logto.Check
}

func checkClaims(t *testing.T, rows []claimRow) {
	t.Helper()
	k := newES384("k1")
	i, p := stand(t, k.jwk(nil))
	for _, row := range rows {
		wantCheck(t, row.name, verify(t, p, k.token(i.claims(row.change), nil)), row.want)
	}
}

func TestJW07Audience(t *testing.T) {
	t.Parallel()
	const us, them = appID, "somebody-else"
	claim := func(aud, azp any) map[string]any {
		c := map[string]any{"aud": aud}
		if azp != nil {
			c["azp"] = azp
		}
		return c
	}
	checkClaims(t, []claimRow{
		{"us", claim(us, nil), ""},
		{"us, and the party is us", claim(us, us), ""},
		{"list of us", claim([]string{us}, nil), ""},
		{"us and another, the party is us", claim([]string{us, them}, us), ""},
		{"us and another, the party is the other", claim([]string{us, them}, them), logto.CheckParty},
		{"us and another, no party", claim([]string{us, them}, nil), logto.CheckParty},
		{"us, the party is another", claim(us, them), logto.CheckParty},
		{"us, the party is no string", claim(us, []string{us}), logto.CheckParty},
		{"us, the party is empty", claim(us, ""), logto.CheckParty},
		{"list of another", claim([]string{them}, nil), logto.CheckAudience},
		{"list of another, the party is us", claim([]string{them}, us), logto.CheckAudience},
		{"another", claim(them, nil), logto.CheckAudience},
		{"longer than us", claim(us+" ", nil), logto.CheckAudience},
		{"in another case", claim(strings.ToUpper(us), nil), logto.CheckAudience},
		{"empty list", claim([]string{}, nil), logto.CheckAudience},
		{"empty", claim("", nil), logto.CheckAudience},
		{"missing", claim(nil, nil), logto.CheckAudience},
		{"number", claim(5, nil), logto.CheckAudience},
		{"object", claim(map[string]any{us: us}, nil), logto.CheckAudience},
		{"list with a number", claim([]any{us, 5}, us), logto.CheckAudience},
		{"list in a list", claim([]any{[]string{us}}, nil), logto.CheckAudience},
	})
}

func TestJW08TokensOfAnotherKind(t *testing.T) {
	t.Parallel()
	k := newES384("k1")
	i, p := stand(t, k.jwk(nil))
	for typ, want := range map[any]logto.Check{
		"JWT": "", "jwt": "",
		"at+jwt": logto.CheckType, "AT+JWT": logto.CheckType, "application/at+jwt": logto.CheckType, "logout+jwt": logto.CheckType,
		"dpop+jwt": logto.CheckType, "": logto.CheckType, 5: logto.CheckType, "JWT ": logto.CheckType,
	} {
		wantCheck(t, fmt.Sprintf("typ %v", typ), verify(t, p, k.token(i.claims(nil), map[string]any{"typ": typ})), want)
	}
	wantCheck(t, "no typ, as Logto has it from 1.42 on", verify(t, p, k.token(i.claims(nil), map[string]any{"typ": nil})), "")
	wantCheck(t, "typ null", verify(t, p, k.raw(`{"alg":"ES384","kid":"k1","typ":null}`, i.claims(nil), "ES384")), logto.CheckType)

	logout := map[string]any{"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}
	wantCheck(t, "logout token that says JWT", verify(t, p, k.token(i.claims(logout), nil)), logto.CheckType)
	access := map[string]any{"aud": "https://api.example.com", "client_id": appID, "scope": "all"}
	wantCheck(t, "access token that says JWT", verify(t, p, k.token(i.claims(access), nil)), logto.CheckAudience)
	wantCheck(t, "another client's ID token", verify(t, p, k.token(i.claims(map[string]any{"aud": "other"}), nil)), logto.CheckAudience)
	wantCheck(t, "opaque access token", verify(t, p, "oObuNaoTtACELMMMmKNU01dPddd510s1akd_FUNhyrz"), logto.CheckShape)
}

func TestJW09Issuer(t *testing.T) {
	t.Parallel()
	rows := []claimRow{{"exact", nil, ""}}
	for _, iss := range []any{
		"https://auth.example.com/oidc/", "https://auth.example.com/OIDC", "https://AUTH.example.com/oidc", "http://auth.example.com/oidc",
		"https://auth.example.com:443/oidc", "https://auth.example.com", "https://other.example.com/oidc", "https://auth.example.com/oidc\x00",
		"", nil, 5, []string{"https://auth.example.com/oidc"}, map[string]any{},
	} {
		rows = append(rows, claimRow{fmt.Sprintf("%q", iss), map[string]any{"iss": iss}, logto.CheckIssuer})
	}
	checkClaims(t, rows)
}

func TestJW10Times(t *testing.T) {
	t.Parallel()
	now := newClock().Now().Unix()
	number := func(text string) json.RawMessage { return json.RawMessage(text) }
	checkClaims(t, []claimRow{
		{"exp a second ago", map[string]any{"exp": now - 1}, logto.CheckExpiry},
		{"exp now", map[string]any{"exp": now}, logto.CheckExpiry},
		{"exp in a second", map[string]any{"exp": now + 1}, ""},
		{"exp missing", map[string]any{"exp": nil}, logto.CheckExpiry},
		{"exp null", map[string]any{"exp": number("null")}, logto.CheckExpiry},
		{"exp a string", map[string]any{"exp": fmt.Sprint(now + 3600)}, logto.CheckExpiry},
		{"exp a fraction", map[string]any{"exp": number(fmt.Sprintf("%d.5", now+60))}, ""},
		{"exp with an exponent", map[string]any{"exp": number("1.8e9")}, ""},
		{"exp 1e300", map[string]any{"exp": number("1e300")}, logto.CheckExpiry},
		{"exp 1e400", map[string]any{"exp": number("1e400")}, logto.CheckExpiry},
		{"exp negative", map[string]any{"exp": -1}, logto.CheckExpiry},
		{"exp zero", map[string]any{"exp": 0}, logto.CheckExpiry},
		{"exp 2^63", map[string]any{"exp": number("9223372036854775808")}, logto.CheckExpiry},
		{"exp in milliseconds", map[string]any{"exp": (now + 3600) * 1000}, logto.CheckExpiry},
		{"exp true", map[string]any{"exp": true}, logto.CheckExpiry},
		{"exp a list", map[string]any{"exp": []int64{now + 3600}}, logto.CheckExpiry},

		{"nbf in an hour", map[string]any{"nbf": now + 3600}, logto.CheckNotBefore},
		{"nbf beyond the leeway", map[string]any{"nbf": now + 61}, logto.CheckNotBefore},
		{"nbf within the leeway", map[string]any{"nbf": now + 60}, ""},
		{"nbf past", map[string]any{"nbf": now - 3600}, ""},
		{"nbf a string", map[string]any{"nbf": "now"}, logto.CheckNotBefore},
		{"nbf null", map[string]any{"nbf": number("null")}, logto.CheckNotBefore},

		{"iat 61 s ago", map[string]any{"iat": now - 61}, ""},
		{"iat ten minutes ago", map[string]any{"iat": now - 600}, ""},
		{"iat within the leeway", map[string]any{"iat": now + 60}, ""},
		{"iat beyond the leeway", map[string]any{"iat": now + 61}, logto.CheckIssuedAt},
		{"iat two days ago", map[string]any{"iat": now - 2*86400}, logto.CheckIssuedAt},
		{"iat missing", map[string]any{"iat": nil}, logto.CheckIssuedAt},
		{"iat a fraction", map[string]any{"iat": number(fmt.Sprintf("%d.25", now))}, ""},
		{"iat a string", map[string]any{"iat": fmt.Sprint(now)}, logto.CheckIssuedAt},
		{"iat 1e300", map[string]any{"iat": number("1e300")}, logto.CheckIssuedAt},
		{"iat negative", map[string]any{"iat": -5}, logto.CheckIssuedAt},

		{"auth_time missing", map[string]any{"auth_time": nil}, ""},
		{"auth_time beyond the leeway", map[string]any{"auth_time": now + 61}, logto.CheckAuthTime},
		{"auth_time a string", map[string]any{"auth_time": "now"}, logto.CheckAuthTime},
		{"auth_time weeks ago", map[string]any{"auth_time": now - 13*86400}, ""},
	})

	k := newES384("k1")
	i, p := stand(t, k.jwk(nil))
	token := k.token(i.claims(map[string]any{"auth_time": nil}), nil)
	_, err := p.Verify(t.Context(), token, logto.Expect{AuthTimeRequired: true})
	wantCheck(t, "auth_time missing where it is required", err, logto.CheckAuthTime)
	v, err := p.Verify(t.Context(), k.token(i.claims(nil), nil), logto.Expect{AuthTimeRequired: true})
	if err != nil {
		t.Fatal(err)
	}
	if want := i.clock.Now(); !v.AuthTime.Equal(want) || !v.IssuedAt.Equal(want) || !v.Expires.Equal(want.Add(time.Hour)) {
		t.Errorf("got auth_time %v, iat %v, exp %v; want %v, and an hour later", v.AuthTime, v.IssuedAt, v.Expires, want)
	}
	lenient := provider(t, i, func(c *logto.Config) { c.Client, c.Leeway = inMemory(i), 5*time.Minute })
	_, err = lenient.Verify(t.Context(), k.token(i.claims(map[string]any{"iat": now + 300}), nil), logto.Expect{})
	wantCheck(t, "iat within a leeway of five minutes", err, "")
}

func TestJW11Nonce(t *testing.T) {
	t.Parallel()
	rows := []claimRow{{"ours", nil, ""}}
	for _, nonce := range []any{nil, "", "the-nonce2", "the-nonc", "THE-NONCE", "another-attempt", 5, []string{"the-nonce"}, map[string]any{}} {
		rows = append(rows, claimRow{fmt.Sprintf("%v", nonce), map[string]any{"nonce": nonce}, logto.CheckNonce})
	}
	checkClaims(t, rows)
	k := newES384("k1")
	i, p := stand(t, k.jwk(nil))
	v, err := p.Verify(t.Context(), k.token(i.claims(nil), nil), logto.Expect{})
	if err != nil || v.Nonce != "the-nonce" {
		t.Errorf("not compared: got nonce %q and error %v, want the token's and none", v.Nonce, err)
	}
}

func TestJW14Subject(t *testing.T) {
	t.Parallel()
	rows := []claimRow{
		{"good", nil, ""},
		{"255 bytes", map[string]any{"sub": strings.Repeat("s", 255)}, ""},
		{"not ASCII", map[string]any{"sub": "Zoë"}, ""},
	}
	for _, sub := range []any{nil, "", strings.Repeat("s", 256), strings.Repeat("s", 300), "a\x00b", "a\nb", "a\r\nX-Evil: 1", "a\x7fb", "a\u0085b", 5, true, []string{"s"}, map[string]any{"s": "s"}} {
		rows = append(rows, claimRow{fmt.Sprintf("%.20q", sub), map[string]any{"sub": sub}, logto.CheckSubject})
	}
	checkClaims(t, rows)
}

func TestRT07AnotherSubjectAfterARefresh(t *testing.T) {
	t.Parallel()
	k := newES384("k1")
	i, p := stand(t, k.jwk(nil))
	_, err := p.Verify(t.Context(), k.token(i.claims(nil), nil), logto.Expect{Subject: "6ybbj4dc2w10"})
	wantCheck(t, "the same", err, "")
	for _, before := range []string{"6ybbj4dc2w11", "6YBBJ4DC2W10", "6ybbj4dc2w1"} {
		_, err = p.Verify(t.Context(), k.token(i.claims(nil), nil), logto.Expect{Subject: before})
		wantCheck(t, before, err, logto.CheckSubject)
	}
	for name, change := range map[string]map[string]any{"iss": {"iss": "https://evil.example"}, "aud": {"aud": "other"}} {
		_, err = p.Verify(t.Context(), k.token(i.claims(change), nil), logto.Expect{Subject: "6ybbj4dc2w10"})
		wantCheck(t, name, err, logto.Check(name))
	}
}

func TestJW15ClaimTypes(t *testing.T) {
	t.Parallel()
	k := newES384("k1")
	i, p := stand(t, k.jwk(nil))
	odd := map[string]any{
		"roles": "admin", "name": 5, "username": json.RawMessage("null"), "picture": map[string]any{}, "email_verified": "true",
		"groups": []any{[]any{"a"}, map[string]any{"b": 1}}, "sid": 7, "SUB": "somebody-else", "ISS": "https://evil.example", "AUD": 5, "Exp": 1,
		"_claim_names": map[string]any{"x": "y"}, "NONCE": []int{1}, "updated_at": 1795332734674,
	}
	v, err := p.Verify(t.Context(), k.token(i.claims(odd), nil), logto.Expect{Nonce: "the-nonce"})
	if err != nil {
		t.Fatalf("odd types of claims that decide nothing: got error %v, want none", err)
	}
	if v.Subject != "6ybbj4dc2w10" || v.SID != "" || v.Claims.Text("updated_at") != "1795332734674" {
		t.Errorf("got subject %q, sid %q, updated_at %q; want the exact names' values", v.Subject, v.SID, v.Claims.Text("updated_at"))
	}
	good := i.claims(nil)
	for name, payload := range map[string]string{
		"sub twice":             strings.Replace(good, `{`, `{"sub":"somebody-else",`, 1),
		"a name twice, escaped": strings.Replace(good, `{`, `{"s\u0075b":"somebody-else",`, 1),
		"a nested name twice":   strings.Replace(good, `{`, `{"x":{"y":1,"y":2},`, 1),
		"something after it":    good + "{}",
		"a list":                "[" + good + "]",
		"a string":              `"x"`,
		"null":                  "null",
		"no JSON":               "x",
		"byte order mark":       "\ufeff" + good,
		"not UTF-8":             strings.Replace(good, `{`, "{\"x\":\"\xff\",", 1),
	} {
		wantCheck(t, name, verify(t, p, k.token(payload, nil)), logto.CheckClaims)
	}
	for name, header := range map[string]string{
		"header with a name twice": `{"alg":"ES384","kid":"k1","kid":"k1"}`,
		"header that is a list":    `["alg"]`,
		"header that is null":      `null`,
		"header with a tail":       `{"alg":"ES384","kid":"k1"}x`,
	} {
		wantCheck(t, name, verify(t, p, k.raw(header, good, "ES384")), logto.CheckHeader)
	}
}

func TestJW16SizeAndShape(t *testing.T) {
	t.Parallel()
	k := newES384("k1")
	i, p := stand(t, k.jwk(nil))
	good := k.token(i.claims(nil), nil)
	many := map[string]any{}
	for n := range 100_000 {
		many[fmt.Sprintf("c%d", n)] = n
	}
	for name, token := range map[string]string{
		"20 MB":             strings.Repeat("A", 20<<20),
		"20 MB in a part":   good + strings.Repeat("A", 20<<20),
		"a million dots":    strings.Repeat(".", 1_000_000),
		"60,000 dots":       strings.Repeat(".", 60_000),
		"five parts":        "a.b.c.d.e",
		"five parts, a JWE": b64([]byte(`{"alg":"dir","enc":"A256GCM"}`)) + ".." + "YQ.YQ.YQ",
		"two parts":         good[:strings.LastIndexByte(good, '.')],
		"empty":             "",
		"three empty parts": "..",
		"JSON form":         `{"payload":"e30","signatures":[{"protected":"e30","signature":"e30"}]}`,
		"100,000 claims":    k.token(i.claims(many), nil),
	} {
		wantCheck(t, name, verify(t, p, token), logto.CheckShape)
	}
	deep := strings.Replace(i.claims(nil), "{", `{"deep":`+strings.Repeat("[", 10_000)+strings.Repeat("]", 10_000)+",", 1)
	wantCheck(t, "10,000 deep", verify(t, p, k.token(deep, nil)), logto.CheckClaims)
	deepHeader := `{"alg":"ES384","kid":"k1","x":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + "}"
	wantCheck(t, "10,000 deep in the header", verify(t, p, k.raw(deepHeader, i.claims(nil), "ES384")), logto.CheckHeader)
	large := map[string]any{"note": strings.Repeat("n", 40<<10)}
	wantCheck(t, "40 KiB that is good", verify(t, p, k.token(i.claims(large), nil)), "")
}

func TestJW17AccessTokenHash(t *testing.T) {
	t.Parallel()
	e, r := newES384("e1"), newRSA("r1")
	i, p := stand(t, e.jwk(nil), r.jwk(nil))
	// Computed apart: the left half of SHA-384 and SHA-256 over "access-token".
	const sha384, sha256 = "fPnQAsvCEwe-sRB6O4tsdPgfI-EaOvsY", "Pxa-1wifRlPl7yG_0oJNfw"
	for _, row := range []struct {
		name   string
		key    signer
		hash   any
		access string
		want   logto.Check
	}{
		{"ES384", e, sha384, "access-token", ""},
		{"RS256", r, sha256, "access-token", ""},
		{"SHA-256 under ES384", e, sha256, "access-token", logto.CheckAccessToken},
		{"another access token", e, sha384, "access-tokem", logto.CheckAccessToken},
		{"garbage", e, "garbage", "access-token", logto.CheckAccessToken},
		{"empty", e, "", "access-token", logto.CheckAccessToken},
		{"no string", e, 5, "access-token", logto.CheckAccessToken},
		{"absent, as Logto has it from 1.42 on", e, nil, "access-token", ""},
		{"not compared", e, "garbage", "", ""},
	} {
		token := row.key.token(i.claims(map[string]any{"at_hash": row.hash}), nil)
		_, err := p.Verify(t.Context(), token, logto.Expect{AccessToken: row.access})
		wantCheck(t, row.name, err, row.want)
	}
}

func TestJW18Userinfo(t *testing.T) {
	t.Parallel()
	k := newES384("k1")
	const good = `{"sub":"6ybbj4dc2w10","custom_data":{"department":"it"},"updated_at":1795332734674}`
	for name, row := range map[string]struct {
		answer http.HandlerFunc
		want   error // nil: accepted
	}{
		"good":                {write(200, "application/json; charset=utf-8", good), nil},
		"another sub":         {write(200, "application/json", `{"sub":"somebody-else"}`), logto.ErrRefused},
		"sub in other case":   {write(200, "application/json", `{"SUB":"6ybbj4dc2w10"}`), logto.ErrRefused},
		"no sub":              {write(200, "application/json", `{"name":"x"}`), logto.ErrRefused},
		"empty sub":           {write(200, "application/json", `{"sub":""}`), logto.ErrRefused},
		"sub no string":       {write(200, "application/json", `{"sub":["6ybbj4dc2w10"]}`), logto.ErrRefused},
		"sub twice":           {write(200, "application/json", `{"sub":"x","sub":"6ybbj4dc2w10"}`), logto.ErrRefused},
		"signed":              {write(200, "application/jwt", k.token(good, nil)), logto.ErrRefused},
		"HTML":                {write(200, "text/html", "<html>sign in</html>"), logto.ErrRefused},
		"HTML that says JSON": {write(200, "application/json", "<html>sign in</html>"), logto.ErrRefused},
		"a list":              {write(200, "application/json", "["+good+"]"), logto.ErrRefused},
		"empty":               {write(200, "application/json", ""), logto.ErrRefused},
		"no content type":     {write(200, "", good), logto.ErrRefused},
		"larger than claims":  {write(200, "application/json", `{"sub":"6ybbj4dc2w10","x":"`+strings.Repeat("x", 70<<10)+`"}`), logto.ErrRefused},
		"401":                 {write(401, "application/json", `{"error":"invalid_token"}`), logto.ErrRefused},
		"503":                 {write(503, "application/json", good), logto.ErrUnavailable},
	} {
		i, p := stand(t, k.jwk(nil))
		var authorization string
		i.set(pathUserinfo, func(w http.ResponseWriter, r *http.Request) {
			authorization = r.Header.Get("Authorization")
			row.answer(w, r)
		})
		got, err := p.Userinfo(t.Context(), "access-token", "6ybbj4dc2w10")
		if row.want == nil {
			if err != nil || !bytes.Equal(got, []byte(good)) {
				t.Errorf("%s: got %s and error %v, want %s", name, got, err, good)
			}
		} else if got != nil || !errors.Is(err, row.want) {
			t.Errorf("%s: got %s and error %v, want %v", name, got, err, row.want)
		}
		if authorization != "Bearer access-token" {
			t.Errorf("%s: got Authorization %q, want the access token", name, authorization)
		}
	}
}

func TestVerifyDoesNotShareItsClaims(t *testing.T) {
	t.Parallel()
	k := newES384("k1")
	i, p := stand(t, k.jwk(nil))
	token := k.token(i.claims(nil), nil)
	first, err := p.Verify(t.Context(), token, logto.Expect{})
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(first.Claims, func(string, any) bool { return true })
	second, err := p.Verify(t.Context(), token, logto.Expect{})
	if err != nil || second.Claims.Text("email") != "a@example.com" {
		t.Errorf("got claims %v and error %v, want them whole", second.Claims, err)
	}
}
