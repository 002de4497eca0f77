package catalogue_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

var accessTokens = family{ID: "AT", Title: "Access tokens of programs", Attacks: []attack{
	{ID: "AT-01", Name: "tokens of another kind", Want: "401: an ID token, a logout token, a refresh token, a session and an opaque token are no access token", Why: "RFC 8725, section 3.12: a token that was made for one thing is taken for another", Test: wrongTokens(otherKindsOfTokens)},
	{ID: "AT-02", Name: "algorithms and keys", Want: "401: none, HMAC with what everybody knows, another algorithm, keys that the token brings, keys of others", Why: "CVE-2015-9235, CVE-2016-5431, CVE-2018-0114", Test: wrongTokens(wrongKeys)},
	{ID: "AT-03", Name: "audiences", Want: "401 for all but the one of the route, whole; for two at once, too", Why: "an API that is sent a token for itself can bring it here", Test: wrongTokens(wrongAudiences)},
	{ID: "AT-04", Name: "issuer, times, subject, client", Want: "401 where one is missing, of another type, or not good now", Why: "a check that passes where there is nothing to check", Test: wrongTokens(wrongClaims)},
	{ID: "AT-05", Name: "spellings of a good token", Want: "401 for every byte that is changed, cut or added", Why: "what two readers decode in two ways", Test: respelledTokens},
	{ID: "AT-06", Name: "a session beside a wrong token", Want: "401: the session does not make up for it; beside a good one the application learns of the program alone", Why: "who falls back to the cookie lets a page of another site choose which of two people it is", Test: tokenAndSession},
	{ID: "AT-07", Name: "several credentials, and half of one", Want: "400, with a session beside them, too", Why: "the gateway reads the first, the application the last", Test: doubledCredentials},
	{ID: "AT-08", Name: "tokens in other places", Want: "not read: 401", Why: "RFC 9700, section 4.3.2: addresses are logged, and sent on in Referer", Test: misplacedTokens},
	{ID: "AT-09", Name: "what reaches the application", Want: "who it is, once, and no token; nothing of what the client says about itself", Why: "a token that passes can be used elsewhere", Test: programTokensStay},
	{ID: "AT-10", Name: "keys that nobody has", Want: "401, and the issuer's keys are fetched twice at most", Why: "whoever sends tokens decides how often others are asked", Test: inventedKeys},
	{ID: "AT-11", Name: "programs where people are meant, and scopes of one's own making", Want: "403, and the challenge says insufficient_scope", Why: "a rule about addresses that everybody without one passes", Test: tokenRules},
	{ID: "AT-12", Name: "routes that take no tokens", Want: "a good token opens nothing there", Why: "one key for the whole gateway", Test: tokensElsewhere},
	{ID: "AT-13", Name: "a token that was good", Want: "401 after its end, and once its key is not the issuer's any more, though it was verified before", Why: "what is remembered outlives what it stands for. The clock is moved: a gateway inside the test", Test: tokensEnd},
	{ID: "AT-14", Name: "through forward-auth", Want: "the same, and no token in the answer", Why: "two ways to one decision", Test: askedTokens},
}}

const apiAudience = "https://api.test"

// apiRoutes are routes that take tokens, and some that do not.
const apiRoutes = `
  - {name: api, path: /api, bearer: {audience: "https://api.test"}, allow: [{claims: [{name: scopes, values: [read]}]}, {email_domains: ["*"]}], upstreams: [{url: UPSTREAM}]}
  - {name: other, path: /other, bearer: {audience: "https://other.test"}, allow: [{claims: [{name: client_id, values: [machine-1]}]}], upstreams: [{url: UPSTREAM}]}
  - {name: people, path: /people, bearer: {audience: "https://api.test"}, allow: [{email_domains: ["*"]}], upstreams: [{url: UPSTREAM}]}
  - {name: boss, path: /boss, bearer: {audience: "https://api.test"}, allow: [{claims: [{name: scopes, values: [boss]}]}, {roles: [boss]}], upstreams: [{url: UPSTREAM}]}
  - {name: optional, path: /optional, access: optional, upstreams: [{url: UPSTREAM}]}
  - {name: app, path: /, upstreams: [{url: UPSTREAM}]}
`

// programs tries something at gateways that take access tokens, over every protocol, beside Alice's session and without.
func (d *doors) programs(t *testing.T, try func(t *testing.T, w way)) {
	t.Helper()
	d.special(t, &d.apis, gatewaytest.Options{Routes: apiRoutes}, try)
}

// call is a program's request with Authorization lines.
func (w way) call(t *testing.T, target string, authorization ...string) *gatewaytest.Answer {
	t.Helper()
	lines := fieldsOf("Content-Type", "application/json", "Accept", "application/json")
	for _, a := range authorization {
		lines = with(lines, "Authorization", a)
	}
	return w.ask(t, request{Method: "POST", Target: target, Lines: lines, Body: "{}"})
}

// invalid fails unless a token is refused as such, whoever is signed in, and nothing of it is told.
func (w way) invalid(t *testing.T, what, token string) {
	t.Helper()
	a := w.call(t, "/api/x", "Bearer "+token)
	if challenge := a.Header.Get("Www-Authenticate"); a.Status != http.StatusUnauthorized || !strings.HasPrefix(challenge, `Bearer realm="gw.test", error="invalid_token"`) {
		t.Errorf("%s: got %s with %q, want 401 and invalid_token", what, a, challenge)
	}
	if len(token) > 40 && strings.Contains(a.Body, token) {
		t.Errorf("%s: the token is in the answer", what)
	}
	w.nothingReached(t)
	w.noSession(t, a)
}

// wrongTokens tries tokens of which none is good, and a good one.
func wrongTokens(make func(t *testing.T, w way) map[string]string) func(*testing.T, *doors) {
	return func(t *testing.T, d *doors) {
		d.programs(t, func(t *testing.T, w way) {
			for what, token := range make(t, w) {
				w.invalid(t, what, token)
			}
			if a := w.call(t, "/api/x", "Bearer "+w.Issuer.AccessToken(apiAudience, nil)); a.Status != http.StatusOK {
				t.Errorf("a good token: got %s, want 200", a)
			}
			w.Upstream.Forget()
		})
	}
}

// claiming is a good token with claims changed; nil removes one.
func (f *front) claiming(change map[string]any) string {
	return f.Issuer.AccessToken(apiAudience, func(_, claims map[string]any) { amended(claims, change) })
}

// heading is a good token with members of its header changed; nil removes one.
func (f *front) heading(change map[string]any) string {
	return f.Issuer.AccessToken(apiAudience, func(header, _ map[string]any) { amended(header, change) })
}

func otherKindsOfTokens(t *testing.T, w way) map[string]string {
	idToken := func(typ, audience any, more map[string]any) string {
		return w.Issuer.AccessToken(apiAudience, func(h, c map[string]any) {
			maps.Copy(c, alice)
			delete(c, "client_id")
			delete(c, "scope")
			c["aud"], c["nonce"], c["auth_time"] = audience, "n", time.Now().Unix()
			maps.Copy(c, more)
			if h["typ"] = typ; typ == nil {
				delete(h, "typ")
			}
		})
	}
	var made string // a real one, as a sign-in gets it
	w.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.Sign = func(claims map[string]any) string {
			made = i.Key.Token(i.Key.Header(nil), claims)
			return made
		}
	})
	w.person(t, bob, "/")
	w.Issuer.Do(func(i *gatewaytest.Issuer) { i.Sign = nil })
	w.Upstream.Forget()
	logout := func(change func(h, c map[string]any)) string { return w.Issuer.LogoutToken(change) }
	_, session, _ := strings.Cut(w.front.alice, "=")
	out := map[string]string{
		"an ID token":                                   made,
		"an ID token whose audience is the API":         idToken(nil, apiAudience, nil),
		"an ID token whose audience is the API, as JWT": idToken("JWT", apiAudience, nil),
		"an ID token under the type":                    idToken("at+jwt", w.Issuer.AppID, nil),
		"an ID token under the type, for the API":       idToken("at+jwt", apiAudience, map[string]any{"client_id": w.Issuer.AppID}),
		"a logout token":                                logout(nil),
		"a logout token under the type": logout(func(h, c map[string]any) {
			h["typ"], c["aud"], c["client_id"], c["sub"], c["exp"] = "at+jwt", apiAudience, "machine-1", "machine-1", time.Now().Unix()+60
		}),
		"no type": w.heading(map[string]any{"typ": nil}), "the type JWT": w.heading(map[string]any{"typ": "JWT"}), "the type of a logout token": w.heading(map[string]any{"typ": "logout+jwt"}),
		"a type that is a list": w.heading(map[string]any{"typ": []string{"at+jwt"}}), "a type with more": w.heading(map[string]any{"typ": "at+jwt; x"}), "the type null": w.heading(map[string]any{"typ": null}),
		"a session": session, "an opaque token": "uWLmx1yU0hH0n8T7Qm5sXw2kE4vB6rZ3aC9dF1gJ5lN", "the secret of the application": w.Issuer.AppSecret,
		"encrypted": base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RSA-OAEP","enc":"A256GCM","typ":"at+jwt"}`)) + ".a.b.c.d",
		"bound":     w.claiming(map[string]any{"cnf": map[string]any{"jkt": "x"}}),
	}
	return out
}

func wrongKeys(t *testing.T, w way) map[string]string {
	var key *gatewaytest.Key
	w.Issuer.Do(func(i *gatewaytest.Issuer) { key = i.Key })
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(w.Issuer.AccessToken(apiAudience, nil), ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	claims := string(payload)
	head := func(change map[string]any) map[string]any {
		return amended(key.Header(map[string]any{"typ": "at+jwt"}), change)
	}
	stranger, rsa := gatewaytest.NewKey(key.Algorithm), gatewaytest.NewKey("RS256")
	stranger.ID = key.ID
	set, err := json.Marshal(key.JWK(nil))
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{
		"none, unsigned": gatewaytest.Unsigned(head(map[string]any{"alg": "none"}), claims) + ".", "none, in another case": gatewaytest.Unsigned(head(map[string]any{"alg": "nOnE"}), claims) + ".",
		"none, signed": w.heading(map[string]any{"alg": "none"}), "no algorithm": w.heading(map[string]any{"alg": nil}), "an algorithm that is a list": w.heading(map[string]any{"alg": []string{key.Algorithm}}),
		"RS256 under the id of the key": rsa.Token(head(map[string]any{"alg": "RS256"}), claims), "a key of somebody else": stranger.Token(head(nil), claims), "a key of somebody else, unnamed": stranger.Token(head(map[string]any{"kid": nil}), claims),
		"a key that it brings": stranger.Token(head(map[string]any{"jwk": stranger.JWK(nil)}), claims), "a key that it brings, unnamed": stranger.Token(head(map[string]any{"jwk": stranger.JWK(nil), "kid": nil}), claims),
		"a key that it brings under its own id": rsa.Token(rsa.Header(map[string]any{"typ": "at+jwt", "jwk": rsa.JWK(nil)}), claims),
		"a key by address":                      w.heading(map[string]any{"jku": w.Issuer.URL + "/oidc/jwks"}), "a certificate": w.heading(map[string]any{"x5c": []string{"MIIB"}}), "a certificate by address": w.heading(map[string]any{"x5u": "https://evil.test/"}),
		"an extension": w.heading(map[string]any{"crit": []string{"exp"}}), "nested": w.heading(map[string]any{"cty": "JWT"}), "compressed": w.heading(map[string]any{"zip": "DEF"}), "not encoded": w.heading(map[string]any{"b64": false, "crit": []string{"b64"}}),
		"an id that is a path": w.heading(map[string]any{"kid": "../../dev/null"}), "an id that is SQL": w.heading(map[string]any{"kid": "' OR 1=1 --"}), "an id that is a number": w.heading(map[string]any{"kid": 0}),
		"a signature of zeros": gatewaytest.Unsigned(head(nil), claims) + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 96)), // CVE-2022-21449
	}
	for name, secret := range map[string][]byte{
		"the key in JSON": set, "the key in PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "the key in DER": der, "the secret of the application": []byte(w.Issuer.AppSecret), "nothing": nil, "the id of the key": []byte(key.ID),
	} {
		out["HMAC with "+name] = gatewaytest.SharedSecretToken(secret, head(map[string]any{"alg": "HS256"}), claims)
		out["HMAC with "+name+", under the algorithm of the key"] = gatewaytest.SharedSecretToken(secret, head(nil), claims)
	}
	for _, algorithm := range []string{"ES256", "ES256K", "ES512", "RS256", "PS256", "HS384", "EdDSA", strings.ToLower(key.Algorithm)} {
		if algorithm != key.Algorithm {
			out["the key under "+algorithm] = w.heading(map[string]any{"alg": algorithm})
		}
	}
	return out
}

func wrongAudiences(t *testing.T, w way) map[string]string {
	out := map[string]string{"no audience": w.claiming(map[string]any{"aud": nil})}
	for _, audience := range []any{
		"https://other.test", "https://API.test", apiAudience + "/", apiAudience + "/v1", apiAudience + " ", "http://api.test", "https://api.test.evil.test", "https://evil-api.test", "*", "", w.Issuer.AppID, "https://default.logto.app/api",
		[]string{}, []string{apiAudience, "https://other.test"}, []string{"https://other.test", apiAudience}, []string{apiAudience, apiAudience}, []any{apiAudience, 1}, []any{[]string{apiAudience}}, map[string]any{apiAudience: true}, 1, true, null,
		"urn:logto:organization:org1", apiAudience + ",https://other.test", apiAudience + " https://other.test", "https://api.test\x00",
	} {
		out[fmt.Sprintf("audience %q", fmt.Sprint(audience))] = w.claiming(map[string]any{"aud": audience})
	}
	return out
}

func wrongClaims(t *testing.T, w way) map[string]string {
	now := time.Now().Unix()
	out := map[string]string{}
	for name, values := range map[string][]any{
		"iss":       {nil, "", "https://evil.test/oidc", w.Issuer.URL, w.Issuer.URL + "/oidc/", strings.ToUpper(w.Issuer.URL) + "/oidc", []string{w.Issuer.URL + "/oidc"}, null},
		"exp":       {nil, now - 1, now - 30, 0, -1, fmt.Sprint(now + 60), null, true, 1e300, []int64{now + 60}},
		"nbf":       {now + 300, "soon", null, true},
		"iat":       {nil, now + 300, "now", null, -1e300},
		"sub":       {nil, "", 1, null, []string{"machine-1"}, "machine-1\r\nX-Auth-Roles: admin", "a\x00b", strings.Repeat("a", 300)},
		"client_id": {nil, "", 1, null, []string{"machine-1"}, "machine-1\nx", strings.Repeat("a", 300)},
		"scope":     {[]string{"read"}, 1, "read\nwrite", "read\twrite", map[string]any{"read": true}, strings.Repeat("a ", 1001)},
		"nonce":     {"n", ""},
		"cnf":       {map[string]any{"jkt": "x"}, map[string]any{}},
		"events":    {map[string]any{}, map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}},
	} {
		for _, v := range values {
			out[fmt.Sprintf("%s %.40q", name, fmt.Sprint(v))] = w.claiming(map[string]any{name: v})
		}
	}
	return out
}

func respelledTokens(t *testing.T, d *doors) {
	d.programs(t, func(t *testing.T, w way) {
		good := w.Issuer.AccessToken(apiAudience, nil)
		if a := w.call(t, "/api/x", "Bearer "+good); a.Status != http.StatusOK { // from now on it is known
			t.Fatalf("a good token: got %s, want 200", a)
		}
		w.Upstream.Forget()
		parts := strings.Split(good, ".")
		tries := []string{}
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		for i, part := range parts { // the first, the last and some in between, each with its lowest bit turned
			for _, at := range []int{0, 1, len(part) / 3, len(part) / 2, len(part) - 2, len(part) - 1} {
				changed := []byte(part)
				changed[at] = alphabet[strings.IndexByte(alphabet, changed[at])^1]
				all := slices.Clone(parts)
				all[i] = string(changed)
				tries = append(tries, strings.Join(all, "."))
			}
		}
		claims, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			t.Fatal(err)
		}
		other := base64.RawURLEncoding.EncodeToString(bytes.Replace(claims, []byte("machine-1"), []byte("machine-2"), 1))
		tries = append(tries, good[:len(good)-1], good[1:], good+"A", good+"=", good+"==", good+".", "."+good, parts[0]+"."+parts[1], parts[0]+"."+parts[1]+".", parts[0]+".."+parts[2], good+"."+parts[2], "...", "..", ".",
			parts[0]+"."+other+"."+parts[2], parts[0]+"."+strings.ReplaceAll(parts[1], "e", "e=")+"."+parts[2], strings.ToUpper(good), strings.ReplaceAll(good, ".", "/"), strings.Repeat("a", 17<<10), strings.Repeat("a.", 8000))
		for _, token := range tries {
			if token == good {
				continue
			}
			if a := w.call(t, "/api/x", "Bearer "+token); a.Status != http.StatusUnauthorized && a.Status != http.StatusBadRequest {
				t.Errorf("%.60s… of %d bytes: got %s, want 401", token, len(token), a)
			}
			w.nothingReached(t)
		}
		if a := w.call(t, "/api/x", "Bearer "+good+strings.Repeat("a", 100<<10)); a.Status != http.StatusRequestHeaderFieldsTooLarge && a.Status != 0 {
			t.Errorf("100 KiB: got %s, want 431", a)
		}
		w.nothingReached(t)
	})
}

func tokenAndSession(t *testing.T, d *doors) {
	d.programs(t, func(t *testing.T, w way) {
		for what, token := range map[string]string{
			"another audience": w.Issuer.AccessToken("https://other.test", nil), "over": w.claiming(map[string]any{"exp": time.Now().Unix() - 1}), "an opaque token": "opaque", "Alice's own name": w.claiming(map[string]any{"sub": alice["sub"], "aud": "x"}),
		} {
			w.invalid(t, what, token)
			for _, target := range []string{"/people", "/boss", "/other"} {
				if what == "another audience" && target == "/other" {
					continue
				}
				if a := w.call(t, target, "Bearer "+token); a.Status != http.StatusUnauthorized {
					t.Errorf("%s at %s: got %s, want 401", what, target, a)
				}
				w.nothingReached(t)
			}
		}
		good := w.Issuer.AccessToken(apiAudience, nil)
		if a := w.call(t, "/api/x", "Bearer "+good); a.Status != http.StatusOK {
			t.Errorf("a good token: got %s, want 200", a)
		}
		head, _ := w.reached(t)
		exactly(t, head, "X-Auth-Sub", "machine-1")
		absent(t, head, "X-Auth-Email", "X-Auth-Name", "X-Auth-Roles", "X-Auth-Tenant", "Authorization")
		if a := w.call(t, "/people", "Bearer "+good); a.Status != http.StatusForbidden { // where Alice may
			t.Errorf("a good token where only people may: got %s, want 403", a)
		}
		w.nothingReached(t)
		want := map[bool]int{true: http.StatusOK, false: http.StatusUnauthorized}[w.cookie != ""]
		if a := w.call(t, "/people"); a.Status != want {
			t.Errorf("without a token: got %s, want %d", a, want)
		}
		w.Upstream.Forget()
	})
}

func doubledCredentials(t *testing.T, d *doors) {
	d.programs(t, func(t *testing.T, w way) {
		good, bad := w.Issuer.AccessToken(apiAudience, nil), w.claiming(map[string]any{"sub": "root", "aud": "x"})
		for what, lines := range map[string][]string{
			"twice": {"Bearer " + good, "Bearer " + good}, "a bad one first": {"Bearer " + bad, "Bearer " + good}, "a bad one last": {"Bearer " + good, "Bearer " + bad}, "Basic first": {"Basic YTpi", "Bearer " + good}, "Basic last": {"Bearer " + good, "Basic YTpi"},
			"a list": {"Bearer " + good + ", Bearer " + good}, "a list with Basic": {"Bearer " + good + ", Basic YTpi"}, "two tokens": {"Bearer " + good + " " + good}, "the word alone": {"Bearer"}, "a tab": {"Bearer\t" + good}, "a comma": {"Bearer," + good},
			"quoted": {`Bearer "` + good + `"`}, "a parameter": {"Bearer token=" + good + ", x=y"}, "equals": {"Bearer ==="}, "other bytes": {"Bearer \xff" + good}, "an empty line beside it": {"", "Bearer " + good},
		} {
			a := w.call(t, "/api/x", lines...)
			if a.Status != http.StatusBadRequest || strings.Contains(a.Header.Get("Www-Authenticate"), good) {
				t.Errorf("%s: got %s with %q, want 400", what, a, a.Header.Get("Www-Authenticate"))
			}
			w.nothingReached(t)
		}
		want := map[bool]int{true: http.StatusOK, false: http.StatusUnauthorized}[w.cookie != ""]
		for what, line := range map[string]string{"Basic": "Basic YTpi", "DPoP": "DPoP " + good, "no scheme": good, "Bearers": "Bearers " + good, "another letter": "Bea\u017fer " + good} { // no credentials of ours: as without
			if a := w.call(t, "/api/x", line); a.Status != want {
				t.Errorf("%s: got %s, want %d", what, a, want)
			}
			if w.cookie != "" {
				head, _ := w.reached(t)
				saysAlice(t, head)
				absent(t, head, "Authorization")
			}
		}
		for _, scheme := range []string{"bearer ", "BEARER ", "Bearer  "} {
			if a := w.call(t, "/api/x", scheme+good); a.Status != http.StatusOK {
				t.Errorf("%q: got %s, want 200", scheme, a)
			}
		}
		w.Upstream.Forget()
	})
}

func misplacedTokens(t *testing.T, d *doors) {
	d.programs(t, func(t *testing.T, w way) {
		w.cookie = ""
		good := w.Issuer.AccessToken(apiAudience, nil)
		form := fieldsOf("Content-Type", "application/x-www-form-urlencoded")
		for what, q := range map[string]request{
			"a form": {Method: "POST", Lines: form, Body: url.Values{"access_token": {good}}.Encode()}, "a cookie": {Lines: fieldsOf("Cookie", "access_token="+good+"; Authorization=Bearer "+good)},
			"a header": {Lines: fieldsOf("X-Access-Token", good, "X-Forwarded-Access-Token", good, "Access-Token", good, "X-Auth-Token", good)}, "another Authorization": {Lines: fieldsOf("X-Forwarded-Authorization", "Bearer "+good, "X-Authorization", "Bearer "+good, "Proxy-Authorization", "Bearer "+good)},
			"underscores": {Lines: fieldsOf("Authorization_", "Bearer "+good)}, "a protocol of WebSockets": {Lines: fieldsOf("Sec-WebSocket-Protocol", "bearer, "+good)}, "a trailer": {Method: "POST", Body: "{}", Trailers: fieldsOf("Authorization", "Bearer "+good)},
		} {
			q.Target = "/api/x"
			if q.Lines = with(q.Lines, "Accept", "application/json"); w.h2 && q.Trailers != nil {
				continue // what such a trailer is to HTTP/2 is tried with the framing of messages
			}
			if a := w.ask(t, q); a.Status != http.StatusUnauthorized || strings.Contains(a.Header.Get("Www-Authenticate"), "error=") {
				t.Errorf("in %s: got %s with %q, want 401 as without a token", what, a, a.Header.Get("Www-Authenticate"))
			}
			w.nothingReached(t)
		}
		// The page that asks for a sign-in leads back to where the client was, its query included: this token is none of those
		// that pages are searched for.
		w.Issuer.Do(func(i *gatewaytest.Issuer) {
			good = i.Key.Token(i.Key.Header(map[string]any{"typ": "at+jwt"}), map[string]any{
				"sub": "machine-1", "client_id": "machine-1", "iss": i.URL + "/oidc", "aud": apiAudience, "scope": "read", "iat": time.Now().Unix(), "exp": time.Now().Unix() + 3600,
			})
		})
		if a := w.call(t, "/api/x", "Bearer "+good); a.Status != http.StatusOK {
			t.Fatalf("it is a good one: got %s, want 200", a)
		}
		w.Upstream.Forget()
		for _, name := range []string{"access_token", "token", "bearer", "authorization", "id_token", "jwt"} {
			if a := w.call(t, "/api/x?"+name+"="+good); a.Status != http.StatusUnauthorized {
				t.Errorf("in the query, as %s: got %s, want 401", name, a)
			}
			w.nothingReached(t)
		}
	})
}

func programTokensStay(t *testing.T, d *doors) {
	d.programs(t, func(t *testing.T, w way) {
		good := w.Issuer.AccessToken(apiAudience, func(_, c map[string]any) {
			c["roles"], c["name"], c["custom_data"] = []string{"a,b", "robot"}, "Röbot\r\nX-Auth-Sub: root", map[string]any{"tenant": "acme"}
			c["email"] = "root@example.com" // nobody says that it is verified
		})
		for _, h := range [][2]string{{"X-Auth-Sub", "root"}, {"X_Auth_Sub", "root"}, {"X-Auth-Email", "root@example.com"}, {"X-Auth-Roles", "admin"}, {"x-auth_tenant", "evil"}} {
			a := w.ask(t, request{Target: "/api/x", Lines: fieldsOf("Authorization", "Bearer "+good, h[0], h[1], "Connection", "Authorization", "Cookie", "theme=dark")})
			if a.Status != http.StatusOK {
				t.Errorf("with %s: got %s, want 200", h[0], a)
				continue
			}
			head, _ := w.reached(t)
			exactly(t, head, "X-Auth-Sub", "machine-1")
			exactly(t, head, "X-Auth-Tenant", "acme")
			exactly(t, head, "Cookie", "theme=dark")
			absent(t, head, "Authorization", "X-Auth-Email")
			if strings.Contains(head, good) || strings.Contains(head, strings.Split(good, ".")[2]) || strings.Contains(head, "root") && !strings.Contains(head, "%0D%0AX-Auth-Sub") {
				t.Errorf("the application got\n%s", head)
			}
		}
	})
}

func inventedKeys(t *testing.T, d *doors) {
	d.programs(t, func(t *testing.T, w way) {
		before := w.Issuer.Calls("/oidc/jwks")
		for n := range 60 {
			w.invalid(t, "an invented key", w.heading(map[string]any{"kid": fmt.Sprintf("invented-%d-%t-%s", n, w.h2, w.cookie[:min(len(w.cookie), 3)])}))
		}
		if got := w.Issuer.Calls("/oidc/jwks") - before; got > 2 {
			t.Errorf("the keys were fetched %d times, want twice at most", got)
		}
	})
}

func tokenRules(t *testing.T, d *doors) {
	d.programs(t, func(t *testing.T, w way) {
		for what, claims := range map[string]map[string]any{
			"a program": nil, "an address that nobody verified": {"email": "alice@example.com"}, "an address that is verified in words": {"email": "alice@example.com", "email_verified": "true"},
			"an address of another": {"email": "alice@example.com", "email_verified": false},
		} {
			if a := w.call(t, "/people", "Bearer "+w.claiming(claims)); a.Status != http.StatusForbidden || !strings.Contains(a.Header.Get("Www-Authenticate"), `error="insufficient_scope"`) {
				t.Errorf("%s, where only people may: got %s with %q, want 403 and insufficient_scope", what, a, a.Header.Get("Www-Authenticate"))
			}
			w.nothingReached(t)
		}
		for what, claims := range map[string]map[string]any{
			"no scope": {"scope": nil}, "an empty scope": {"scope": ""}, "scopes of one's own": {"scopes": []string{"boss"}}, "scopes in a text": {"scopes": "boss"}, "a part of a word": {"scope": "bossy hugeboss Boss BOSS boss,read"}, "with the name": {"scope": "scope:boss api/boss"},
			"roles in words": {"roles": "boss of all"}, "another claim": {"scp": "boss", "permissions": []string{"boss"}},
		} {
			if a := w.call(t, "/boss", "Bearer "+w.claiming(claims)); a.Status != http.StatusForbidden {
				t.Errorf("%s: got %s, want 403", what, a)
			}
			w.nothingReached(t)
		}
		if a := w.call(t, "/boss", "Bearer "+w.claiming(map[string]any{"scope": "read boss"})); a.Status != http.StatusOK {
			t.Errorf("the scope: got %s, want 200", a)
		}
		w.Upstream.Forget()
	})
	p := gatewaytest.NewProcess(t, "the program") // nobody says when a program's person signed in, and no stranger brings a token
	for _, more := range []string{"step_up: {max_age: 1h}", "path: /x, access: public", "path: /x, access: optional"} {
		run(t, p, "check", rewritten(t, sound, "upstream: http://127.0.0.1:8080", `routes: [{upstreams: [{url: "http://127.0.0.1:8080"}], bearer: {audience: "https://api.test"}, `+more+"}]")).refused(t, more, "routes[0].bearer.audience")
	}
}

func tokensElsewhere(t *testing.T, d *doors) {
	d.programs(t, func(t *testing.T, w way) {
		good := w.Issuer.AccessToken(apiAudience, nil)
		w.cookie = ""
		if a := w.call(t, "/api/x", "Bearer "+good); a.Status != http.StatusOK {
			t.Fatalf("a good token: got %s, want 200", a)
		}
		w.Upstream.Forget()
		for _, target := range []string{"/app", "/", "/apix", "/API/x", "/_portero/session", "/other", "/api/../app"} {
			a := w.call(t, target, "Bearer "+good)
			if a.Status != http.StatusUnauthorized && a.Status != http.StatusMethodNotAllowed && a.Status != http.StatusBadRequest {
				t.Errorf("%s: got %s, want 401", target, a)
			}
			w.nothingReached(t)
		}
		if a := w.call(t, "/optional", "Bearer "+good); a.Status != http.StatusOK {
			t.Errorf("/optional: got %s, want 200", a)
		}
		head, _ := w.reached(t)
		saysNobody(t, head)
	})
}

func tokensEnd(t *testing.T, _ *doors) {
	clock := gatewaytest.NewClock()
	f := unsigned(t, gatewaytest.Options{Routes: apiRoutes, Clock: clock})
	w := way{front: f}
	short := f.Issuer.AccessToken(apiAudience, func(_, c map[string]any) { c["exp"] = clock.Now().Unix() + 60 })
	long := f.Issuer.AccessToken(apiAudience, func(_, c map[string]any) { c["exp"] = clock.Now().Unix() + 86400 })
	status := func(what, target, token string, want int) {
		t.Helper()
		if a := w.call(t, target, "Bearer "+token); a.Status != want {
			t.Errorf("%s: got %s, want %d", what, a, want)
		}
		if want != http.StatusOK {
			f.nothingReached(t)
		}
		f.Upstream.Forget()
	}
	for range 3 {
		status("a short one", "/api/x", short, http.StatusOK)
		status("a long one", "/api/x", long, http.StatusOK)
		status("what was verified for one audience at another", "/other", long, http.StatusUnauthorized)
	}
	clock.Add(time.Minute)
	status("the short one after its end", "/api/x", short, http.StatusUnauthorized)
	status("the long one", "/api/x", long, http.StatusOK)
	clock.Add(2 * time.Minute)
	f.Issuer.Rotate()
	status("one of the new key", "/api/x", f.Issuer.AccessToken(apiAudience, nil), http.StatusOK)
	status("the long one, whose key is gone", "/api/x", long, http.StatusUnauthorized)
}

func askedTokens(t *testing.T, _ *doors) {
	f := newFront(t, gatewaytest.Options{Routes: apiRoutes, Extra: "trusted_proxies: [127.0.0.1]\n"})
	good, bad := f.Issuer.AccessToken(apiAudience, nil), f.claiming(map[string]any{"aud": "x"})
	for _, w := range []way{{front: f}, {front: f, cookie: f.alice}} {
		for _, endpoint := range checks {
			for _, tt := range []struct {
				what, target string
				status       int
				lines        []string
			}{
				{"a good one", "/api/x", http.StatusOK, []string{"Bearer " + good}}, {"a wrong one", "/api/x", http.StatusUnauthorized, []string{"Bearer " + bad}}, {"one for people", "/people", http.StatusForbidden, []string{"Bearer " + good}},
				{"two", "/api/x", http.StatusBadRequest, []string{"Bearer " + good, "Bearer " + good}}, {"another audience", "/other", http.StatusUnauthorized, []string{"Bearer " + good}},
			} {
				lines := about(tt.target)
				for _, l := range tt.lines {
					lines = with(lines, "Authorization", l)
				}
				a := w.check(t, endpoint, lines)
				if a.Status != tt.status {
					t.Errorf("%s, to %s: got %s, want %d", tt.what, endpoint, a, tt.status)
				}
				if got := a.Header["Authorization"]; len(got) != 0 {
					t.Errorf("%s, to %s: the answer has Authorization", tt.what, endpoint)
				}
				if tt.status != http.StatusOK {
					w.tellsNothing(t, tt.what, a)
				} else if got := a.Header["X-Auth-Sub"]; len(got) != 1 || got[0] != "machine-1" || a.Header.Get("X-Auth-Email") != "" {
					t.Errorf("%s, to %s: the answer says %q", tt.what, endpoint, got)
				}
			}
		}
	}
	f.nothingReached(t)
}
