package catalogue_test

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"portero/internal/gatewaytest"
)

// Logout tokens that are refused, by name.

// logoutsWith makes tokens whose header and claims are changed.
func logoutsWith(i *gatewaytest.Issuer, edits map[string]func(header, claims map[string]any)) map[string]string {
	out := map[string]string{}
	for name, edit := range edits {
		out[name] = i.LogoutToken(edit)
	}
	return out
}

// heading changes the header of a logout token; nil removes a member.
func heading(change map[string]any) func(header, claims map[string]any) {
	return func(header, _ map[string]any) {
		for name, value := range change {
			if header[name] = value; value == nil {
				delete(header, name)
			}
		}
	}
}

func unsignedLogouts(_ *testing.T, i *gatewaytest.Issuer) map[string]string {
	out := map[string]string{}
	for _, alg := range []any{"none", "None", "nOnE", "NONE", "", nil, 0, []string{"none"}} {
		text, _ := json.Marshal(alg)
		token := i.LogoutToken(heading(map[string]any{"alg": alg}))
		unsigned := token[:strings.LastIndexByte(token, '.')+1]
		out["alg "+string(text)] = token
		out["alg "+string(text)+" and no signature"] = unsigned
		out["alg "+string(text)+" and no third part"] = strings.TrimSuffix(unsigned, ".")
	}
	token := i.LogoutToken(nil)
	out["no signature"] = token[:strings.LastIndexByte(token, '.')+1]
	out["half a signature"] = token[:len(token)-64]
	out["no key named"] = i.LogoutToken(heading(map[string]any{"alg": "none", "kid": nil}))
	return out
}

// publicKey is the issuer's, as everybody can fetch it: the document, and the key.
func publicKey(t *testing.T, i *gatewaytest.Issuer) (document []byte, key *ecdsa.PublicKey) {
	t.Helper()
	resp, err := http.Get(i.URL + "/oidc/jwks")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if document, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(document, &set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("the key set: %v, %d keys", err, len(set.Keys))
	}
	return document, set.Keys[0].Key.(*ecdsa.PublicKey)
}

func symmetricLogouts(t *testing.T, i *gatewaytest.Issuer) map[string]string {
	document, key := publicKey(t, i)
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := jose.JSONWebKey{Key: key}.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for name, secret := range map[string][]byte{
		"DER": der, "PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "JWK": jwk, "key set": document, "point": point,
		"x": point[1 : 1+len(point)/2], "client secret": []byte(i.AppSecret), "client id": []byte(i.AppID), "nothing": nil,
	} {
		for _, alg := range []string{"HS256", "HS384", "HS512"} {
			token := i.LogoutToken(heading(map[string]any{"alg": alg}))
			input := token[:strings.LastIndexByte(token, '.')]
			mac := hmac.New(sha256.New, secret)
			mac.Write([]byte(input))
			out[alg+" with "+name] = input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
		}
	}
	for _, alg := range []string{"RS256", "PS256", "ES256", "ES512", "EdDSA", "es384"} {
		out[alg+" with the real key"] = i.LogoutToken(heading(map[string]any{"alg": alg}))
	}
	return out
}

func misaddressedLogouts(t *testing.T, i *gatewaytest.Issuer) map[string]string {
	iss, aud := i.URL+"/oidc", i.AppID
	other := gatewaytest.NewIssuer(t) // has a key that nobody knows
	out := map[string]string{
		"another issuer":                  other.LogoutToken(nil),
		"another key":                     other.LogoutToken(claiming(map[string]any{"iss": iss})),
		"another key under the right kid": "",
	}
	kid := ""
	i.LogoutToken(func(header, _ map[string]any) { kid, _ = header["kid"].(string) })
	out["another key under the right kid"] = other.LogoutToken(func(header, claims map[string]any) { header["kid"], claims["iss"] = kid, iss })
	for name, value := range map[string]any{
		"another": "https://evil.example/oidc", "slash": iss + "/", "no path": i.URL, "capitals": strings.ToUpper(iss), "https": strings.Replace(iss, "http:", "https:", 1),
		"list": []string{iss}, "number": 1, "empty": "", "none": nil, "space": iss + " ", "prefix": iss + ".evil.example",
	} {
		out["iss "+name] = i.LogoutToken(claiming(map[string]any{"iss": value}))
	}
	for name, value := range map[string]any{
		"another": "another-client", "list without us": []string{"a", "b"}, "empty list": []string{}, "empty": "", "none": nil, "number": 7, "capitals": strings.ToUpper(aud),
		"space": aud + " ", "object": map[string]any{aud: true}, "list in a list": []any{[]string{aud}}, "true": true,
	} {
		out["aud "+name] = i.LogoutToken(claiming(map[string]any{"aud": value}))
	}
	return out
}

func eventlessLogouts(_ *testing.T, i *gatewaytest.Issuer) map[string]string {
	event := func(value any) map[string]any { return map[string]any{gatewaytest.LogoutEvent: value} }
	out := map[string]string{}
	for name, value := range map[string]any{
		"none": nil, "empty": map[string]any{}, "another": map[string]any{"https://example.com/x": map[string]any{}}, "true": event(true), "null member": event(nil),
		"string member": event("yes"), "list member": event([]any{}), "number member": event(1), "string": gatewaytest.LogoutEvent, "list": []string{gatewaytest.LogoutEvent},
		"slash":    map[string]any{gatewaytest.LogoutEvent + "/": map[string]any{}},
		"https":    map[string]any{strings.Replace(gatewaytest.LogoutEvent, "http:", "https:", 1): map[string]any{}},
		"capitals": map[string]any{strings.ToUpper(gatewaytest.LogoutEvent): map[string]any{}},
		"front":    map[string]any{strings.Replace(gatewaytest.LogoutEvent, "back", "front", 1): map[string]any{}},
	} {
		out["events "+name] = i.LogoutToken(claiming(map[string]any{"events": value}))
	}
	return out
}

func logoutsWithNonce(_ *testing.T, i *gatewaytest.Issuer) map[string]string {
	out := map[string]string{}
	for name, value := range map[string]any{"text": "n", "empty": "", "number": 0, "false": false, "object": map[string]any{}, "list": []string{}} {
		out["nonce "+name] = i.LogoutToken(claiming(map[string]any{"nonce": value}))
	}
	// JSON's null is a member too.
	out["nonce null"] = i.LogoutToken(func(_, claims map[string]any) { claims["nonce"] = json.RawMessage("null") })
	return out
}

func otherTokens(_ *testing.T, i *gatewaytest.Issuer) map[string]string {
	out := map[string]string{"no token": "abc", "empty": "", "dots": "..", "many dots": strings.Repeat(".", 1000), "spaces": "  ", "NUL": "\x00"}
	for value, what := range i.Secrets() { // of those who have signed in: ID tokens, access tokens, refresh tokens, codes
		if what != "app_secret" {
			out[what] = value
		}
	}
	edits := map[string]func(header, claims map[string]any){
		"crit": heading(map[string]any{"crit": []string{"exp"}}),
		"b64":  heading(map[string]any{"b64": false, "crit": []string{"b64"}}),
		"jku":  heading(map[string]any{"jku": i.URL + "/evil", "kid": "evil"}),
		"x5u":  heading(map[string]any{"x5u": i.URL + "/evil", "kid": "evil"}),
		"ID token": func(header, claims map[string]any) {
			header["typ"] = "JWT"
			delete(claims, "events")
			claims["nonce"] = "n"
		},
		"no events":   func(header, claims map[string]any) { header["typ"] = "at+jwt"; delete(claims, "events") },
		"typ in typo": heading(map[string]any{"typ": "logout-jwt"}),
		"typ number":  heading(map[string]any{"typ": 1}),
		"nested":      heading(map[string]any{"cty": "JWT", "typ": "JWT"}),
	}
	for _, typ := range []string{"JWT", "at+jwt", "application/at+jwt", "dpop+jwt", "secevent+jwt", ""} {
		edits["typ "+typ] = heading(map[string]any{"typ": typ})
	}
	for name, token := range logoutsWith(i, edits) {
		out[name] = token
	}
	return out
}

func logoutTimes(t *testing.T, d *doors) {
	refusedLogouts(func(_ *testing.T, i *gatewaytest.Issuer) map[string]string {
		now := time.Now().Unix()
		claims := map[string]map[string]any{
			"expired": {"exp": now - 1}, "expired long ago": {"exp": now - 86400}, "expired before it was made": {"exp": now - 1, "iat": now},
			"iat old": {"iat": now - 125}, "iat old, exp far": {"iat": now - 125, "exp": now + 86400}, "iat of 1970": {"iat": 0}, "iat negative": {"iat": -1},
			"iat in the future": {"iat": now + 125}, "iat far in the future": {"iat": now + 86400}, "no iat": {"iat": nil}, "no iat, but exp": {"iat": nil, "exp": now + 60},
			"iat a string": {"iat": time.Now().String()}, "iat an object": {"iat": map[string]any{}}, "iat huge": {"iat": json.Number("1e300")}, "iat of milliseconds": {"iat": now * 1000},
			"exp a string": {"exp": "tomorrow"}, "exp zero": {"exp": 0}, "nbf in an hour": {"nbf": now + 3600},
			"no jti": {"jti": nil}, "empty jti": {"jti": ""}, "long jti": {"jti": strings.Repeat("j", 256)}, "jti a number": {"jti": 1}, "jti a list": {"jti": []string{"a"}},
		}
		out := map[string]string{}
		for name, change := range claims {
			out[name] = i.LogoutToken(claiming(change))
		}
		return out
	})(t, d)
	d.stranger(t, func(t *testing.T, w way) {
		now := time.Now().Unix()
		for name, change := range map[string]map[string]any{
			"no exp": {"exp": nil}, "exp": {"exp": now + 60}, "iat of a minute ago": {"iat": now - 60}, "iat a float": {"iat": float64(now) - 0.5},
			"a clock that is a little ahead": {"iat": now + 20}, "long jti": {"jti": strings.Repeat("j", 255-12) + time.Now().Format("150405.00000")},
		} {
			who := newAlice()
			change["sid"] = who["sid"]
			p := w.front.arrive(t, who)
			logoutAnswered(t, name, w.logout(t, w.Issuer.LogoutToken(claiming(change))), http.StatusOK)
			if change["iat"] == nil || name == "a clock that is a little ahead" {
				p.wantOut(t)
			}
		}
	})
}

func namelessLogouts(_ *testing.T, i *gatewaytest.Issuer) map[string]string {
	out := map[string]string{}
	for name, change := range map[string]map[string]any{
		"neither": {"sub": nil, "sid": nil}, "empty sub": {"sub": ""}, "empty sub alone": {"sub": "", "sid": nil}, "empty sid": {"sid": ""}, "empty sid alone": {"sid": "", "sub": nil},
		"both empty": {"sub": "", "sid": ""}, "another's sub": {"sub": "bob000000000"}, "sub a list": {"sub": []string{"t8x4l8ohti1t"}}, "sub a number": {"sub": 1},
		"sub an object": {"sub": map[string]any{}}, "sid a list": {"sid": []string{"sid-alice"}}, "sid a number": {"sid": 1}, "sub true": {"sub": true, "sid": nil},
	} {
		out[name] = i.LogoutToken(claiming(change))
	}
	return out
}

// jtiOf is the jti of a token.
func jtiOf(t *testing.T, token string) string {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct{ JTI string }
	if err := json.Unmarshal(text, &claims); err != nil || claims.JTI == "" {
		t.Fatalf("the jti of %s: %v", text, err)
	}
	return claims.JTI
}
