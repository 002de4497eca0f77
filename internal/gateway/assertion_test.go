package gateway_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"portero/internal/gatewaytest"

	"github.com/go-jose/go-jose/v4"
)

const assertionRoutes = `
  - {name: wiki, path: /wiki, upstreams: [{url: UPSTREAM}]}
  - {name: own, path: /own, strip_prefix: true, upstreams: [{url: UPSTREAM}], identity: {preset: none, assertion: {audience: own, bind: [method, path], lifetime: 5s, header: X-Corp-Jwt}}}
  - {name: pomerium, path: /pomerium, upstreams: [{url: UPSTREAM}], identity: {preset: pomerium, assertion: {enabled: false}}}
  - {name: both, path: /both, upstreams: [{url: UPSTREAM}], identity: {preset: pomerium}}
  - {name: off, path: /off, upstreams: [{url: UPSTREAM}], identity: {assertion: {enabled: false, header: X-Corp-Jwt}}}
  - {name: optional, path: /optional, access: optional, upstreams: [{url: UPSTREAM}]}
  - {name: public, path: /public, access: public, upstreams: [{url: UPSTREAM}]}
  - {name: app, path: /, upstreams: [{url: UPSTREAM}]}
  - {name: second, hosts: ["127.0.0.1"], path: /, upstreams: [{url: UPSTREAM}]}
`

// assertionHeaders are all in which an assertion can be.
var assertionHeaders = []string{"X-Portero-Assertion", "X-Pomerium-Jwt-Assertion", "X-Corp-Jwt"}

func TestSignedAssertion(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, &gatewaytest.Options{Routes: assertionRoutes, Extra: "identity: {assertion: {enabled: true}}"})
	rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person["roles"] = []string{"admin"} })
	forged := map[string]string{}
	for _, name := range assertionHeaders {
		forged[name], forged[strings.ReplaceAll(name, "-", "_")], forged[strings.ReplaceAll(name, "-", ".")] = "forged", "forged", "forged"
	}
	signedIn := rig.SignedIn(t, "/")
	other := rig.Browser(t)
	other.Visit(rig.Second + "/")
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(rig.Browser(t).Get(rig.URL+"/_portero/jwks.json").Text), &set); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, tt := range []struct {
		name, method, url string
		browser           *gatewaytest.Browser
		in                []string
		aud, htm, htu     string
		life              float64
	}{
		{"by default", "GET", rig.URL + "/wiki/a", signedIn, []string{"X-Portero-Assertion"}, rig.URL, "", "", 60},
		{"by default, again", "GET", rig.URL + "/wiki/a", signedIn, []string{"X-Portero-Assertion"}, rig.URL, "", "", 60},
		{"of its own", "POST", rig.URL + "/own/a/b?c=d", signedIn, []string{"X-Corp-Jwt"}, "own", "POST", rig.URL + "/a/b", 5},
		{"of its own, again", "POST", rig.URL + "/own/a/b?c=d", signedIn, []string{"X-Corp-Jwt"}, "own", "POST", rig.URL + "/a/b", 5},
		{"of the preset", "GET", rig.URL + "/pomerium", signedIn, []string{"X-Pomerium-Jwt-Assertion"}, rig.URL, "", "", 60},
		{"of both", "GET", rig.URL + "/both", signedIn, []string{"X-Portero-Assertion", "X-Pomerium-Jwt-Assertion"}, rig.URL, "", "", 60},
		{"switched off", "GET", rig.URL + "/off", signedIn, nil, "", "", "", 0},
		{"optional", "GET", rig.URL + "/optional", signedIn, []string{"X-Portero-Assertion"}, rig.URL, "", "", 60},
		{"optional, nobody", "GET", rig.URL + "/optional", rig.Browser(t), nil, "", "", "", 0},
		{"public", "GET", rig.URL + "/public", signedIn, nil, "", "", "", 0},
		{"another host", "GET", rig.Second + "/", other, []string{"X-Portero-Assertion"}, rig.Second, "", "", 60},
	} {
		if resp := tt.browser.Do(tt.browser.Request(tt.method, tt.url, nil, forged)); resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: got %s\n%s", tt.name, resp.Status, resp.Text)
		}
		head := rig.Upstream.Last()
		if strings.Contains(head, "forged") {
			t.Errorf("%s: the client's passes\n%s", tt.name, head)
		}
		var tokens []string
		for _, name := range assertionHeaders {
			for _, value := range gatewaytest.Header(head, name) {
				if value != "forged" {
					tokens = append(tokens, name+": "+value)
				}
			}
		}
		if len(tokens) != len(tt.in) {
			t.Errorf("%s: got %q, want one in each of %q", tt.name, tokens, tt.in)
			continue
		}
		for i, name := range tt.in {
			_, token, _ := strings.Cut(tokens[i], ": ")
			if !strings.HasPrefix(tokens[i], name+": ") {
				t.Errorf("%s: got %q, want it in %s", tt.name, tokens[i], name)
			}
			claims := openAssertion(t, set, token)
			for name, want := range map[string]any{"iss": rig.URL, "aud": tt.aud, "sub": "t8x4l8ohti1t", "email": "alice@example.com", "email_verified": true, "htm": tt.htm, "htu": tt.htu} {
				if got := claims[name]; got != want && !(got == nil && want == "") {
					t.Errorf("%s: %s is %v, want %v", tt.name, name, got, want)
				}
			}
			if claims["exp"].(float64)-claims["iat"].(float64) != tt.life || claims["sid"] == "" || claims["sid"] == nil {
				t.Errorf("%s: claims %v", tt.name, claims)
			}
			if id := claims["jti"].(string); seen[id] && tt.htm != "" {
				t.Errorf("%s: its jti was another request's", tt.name)
			} else {
				seen[id] = true
			}
			if !strings.Contains(rig.Log.String(), `"session_id":"`+claims["sid"].(string)+`"`) && !strings.Contains(rig.Log.String(), claims["sid"].(string)) {
				t.Errorf("%s: sid %v is no session that the log knows", tt.name, claims["sid"])
			}
		}
	}
	if strings.Contains(rig.Log.String(), "eyJ") {
		t.Error("the log has a token")
	}
}

func openAssertion(t *testing.T, set jose.JSONWebKeySet, token string) map[string]any {
	t.Helper()
	parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatalf("%q: %v", token, err)
	}
	found := set.Key(parsed.Signatures[0].Protected.KeyID)
	if len(found) != 1 {
		t.Fatalf("the set has %d keys for it", len(found))
	}
	payload, err := parsed.Verify(found[0])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// GET /_portero/jwks.json says the same to everybody who reaches the gateway under any name.
func TestJWKS(t *testing.T) {
	t.Parallel()
	const secret = "secret: Zq3vT8yN5wR1kLm7xPd2sGh9bJc4fVa6"
	rig := gatewaytest.New(t, &gatewaytest.Options{Session: "store: memory, " + secret})
	twin := gatewaytest.New(t, &gatewaytest.Options{Session: "store: memory, " + secret})
	made := gatewaytest.New(t, nil)
	b := rig.Browser(t)
	first := b.Get(rig.URL + "/_portero/jwks.json")
	for name, want := range map[string]string{"Content-Type": "application/jwk-set+json", "Cache-Control": "public, max-age=300", "X-Content-Type-Options": "nosniff",
		"Set-Cookie": "", "Access-Control-Allow-Origin": "", "Vary": ""} {
		if got := first.Header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if first.StatusCode != http.StatusOK || strings.Contains(first.Text, `"d"`) || strings.Contains(first.Text, "Zq3v") {
		t.Errorf("got %s\n%s", first.Status, first.Text)
	}
	for name, resp := range map[string]*gatewaytest.Response{
		"another host":      b.Get(rig.Second + "/_portero/jwks.json"),
		"another replica":   twin.Browser(t).Get(twin.URL + "/_portero/jwks.json"),
		"a name not ours":   b.Do(withHost(b.Request(http.MethodGet, rig.URL+"/_portero/jwks.json", nil, nil), "portero:3000")),
		"somebody's script": b.Do(b.Request(http.MethodGet, rig.URL+"/_portero/jwks.json", nil, map[string]string{"Origin": "https://evil.test", "Sec-Fetch-Mode": "cors"})),
	} {
		if resp.StatusCode != http.StatusOK || resp.Text != first.Text || resp.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: got %s, and not the same keys\n%s", name, resp.Status, resp.Text)
		}
	}
	if resp := made.Browser(t).Get(made.URL + "/_portero/jwks.json"); resp.StatusCode != http.StatusOK || resp.Text == first.Text || !strings.Contains(resp.Text, "P-256") {
		t.Errorf("with a secret that was made at start: got %s\n%s", resp.Status, resp.Text)
	}
	if resp := b.Do(b.Request(http.MethodPost, rig.URL+"/_portero/jwks.json", strings.NewReader("a"), nil)); resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: got %s, Allow %q", resp.Status, resp.Header.Get("Allow"))
	}
	if resp := b.Do(b.Request(http.MethodHead, rig.URL+"/_portero/jwks.json", nil, nil)); resp.StatusCode != http.StatusOK || resp.Text != "" {
		t.Errorf("HEAD: got %s %q", resp.Status, resp.Text)
	}
	for _, path := range []string{"/_portero/jwks.json/", "/_portero/jwks.jso%6e", "/_portero/jwks"} {
		if resp := b.Get(rig.URL + path); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: got %s, want 404", path, resp.Status)
		}
	}
	if rig.Upstream.Last() != "" {
		t.Errorf("this reached the application: %s", rig.Upstream.Last())
	}
}

// A change of the secret in two steps, as replicas do it, never leaves an application with a token that no key opens.
func TestSecretChangesWithOverlap(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, &gatewaytest.Options{Session: "store: memory, secret: Zq3vT8yN5wR1kLm7xPd2sGh9bJc4fVa6", Extra: "identity: {assertion: {enabled: true}}"})
	b := rig.SignedIn(t, "/")
	last := func() string {
		b.Get(rig.URL + "/")
		return strings.Join(gatewaytest.Header(rig.Upstream.Last(), "X-Portero-Assertion"), " ")
	}
	keys := func() (set jose.JSONWebKeySet) {
		if err := json.Unmarshal([]byte(b.Get(rig.URL+"/_portero/jwks.json").Text), &set); err != nil {
			t.Fatal(err)
		}
		return set
	}
	before, kept := last(), keys()
	rig.Configure(&gatewaytest.Options{Extra: "identity: {assertion: {enabled: true}}",
		Session: "store: memory, secret: bJc4fVa6Zq3vT8yN5wR1kLm7xPd2sGh9, old_secrets: [{value: Zq3vT8yN5wR1kLm7xPd2sGh9bJc4fVa6}]"})
	if err := rig.Gateway.Reload(); err != nil {
		t.Fatal(err)
	}
	after, set := last(), keys()
	openAssertion(t, kept, before)
	openAssertion(t, set, before)
	openAssertion(t, set, after)
	if len(set.Keys) != 6 || len(kept.Keys) != 3 {
		t.Errorf("got %d keys, then %d; want 3, then 6", len(kept.Keys), len(set.Keys))
	}
}

func withHost(r *http.Request, host string) *http.Request {
	r.Host = host
	return r
}
