package gateway_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

const apiAudience = "https://api.example.com"

// apiRoutes are routes for programs, and one for people alone.
const apiRoutes = `
  - {name: api, path: /api, bearer: {audience: "https://api.example.com"}, allow: [{claims: [{name: scopes, values: [read]}]}, {email_domains: ["*"]}], upstreams: [{url: UPSTREAM}]}
  - {name: other, path: /other, bearer: {audience: "https://other.example.com"}, allow: [{claims: [{name: client_id, values: [machine-1]}]}], upstreams: [{url: UPSTREAM}]}
  - {name: people, path: /people, bearer: {audience: "https://api.example.com"}, allow: [{email_domains: ["*"]}], upstreams: [{url: UPSTREAM}]}
  - {name: expression, path: /expression, bearer: {audience: "https://api.example.com"}, allow: [{expression: '"write" in claims.scopes && claims.client_id == claims.sub'}], upstreams: [{url: UPSTREAM}]}
  - {name: recent, path: /recent, bearer: {audience: "https://api.example.com"}, allow: [{expression: 'session.age < duration("1h") || session.auth_time < request.time'}], upstreams: [{url: UPSTREAM}]}
  - {name: web, path: /, upstreams: [{url: UPSTREAM}]}
`

// call sends what a program would, with Authorization lines; a nil browser is one without cookies.
func call(t *testing.T, r *gatewaytest.Rig, b *gatewaytest.Browser, path string, authorization ...string) *gatewaytest.Response {
	t.Helper()
	if b == nil {
		b = r.Browser(t)
	}
	req, err := http.NewRequest(http.MethodPost, r.URL+path, strings.NewReader(`{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header["Content-Type"], req.Header["Accept"] = []string{"application/json"}, []string{"application/json"}
	if len(authorization) > 0 {
		req.Header["Authorization"] = authorization
	}
	return b.Do(req)
}

func TestBearerLetsMachinesIn(t *testing.T) {
	t.Parallel()
	r := gatewaytest.New(t, &gatewaytest.Options{Routes: apiRoutes})
	token := r.Issuer.AccessToken(apiAudience, nil)
	for _, spelling := range []string{"Bearer ", "bearer ", "BEARER   "} {
		r.Upstream.Forget()
		if got := call(t, r, nil, "/api/items", spelling+token); got.StatusCode != http.StatusOK {
			t.Fatalf("%q: got %s, want 200\n%s\n%s", spelling, got.Status, got.Text, r.Log)
		}
		head := r.Upstream.Last()
		for name, want := range map[string][]string{
			"X-Forwarded-User": {"machine-1"}, "X-Forwarded-Email": nil, "Authorization": nil, "Content-Type": {"application/json"},
		} {
			if got := gatewaytest.Header(head, name); strings.Join(got, "|") != strings.Join(want, "|") {
				t.Errorf("%s at the upstream: got %q, want %q", name, got, want)
			}
		}
	}
	// The rules decide about machines as about people.
	for path, want := range map[string]int{"/expression": 200, "/people": 403, "/recent": 403} {
		got := call(t, r, nil, path, "Bearer "+token)
		if got.StatusCode != want {
			t.Errorf("%s: got %s, want %d", path, got.Status, want)
		}
		if challenge := got.Header.Get("WWW-Authenticate"); want == 403 && challenge != `Bearer realm="localhost", error="insufficient_scope"` {
			t.Errorf("%s: got the challenge %q", path, challenge)
		}
	}
	// A person's token is a person's.
	person := r.Issuer.AccessToken(apiAudience, func(_, c map[string]any) {
		c["sub"], c["client_id"], c["email"], c["email_verified"], c["scope"] = "alice", "spa", "alice@example.com", true, ""
	})
	if got := call(t, r, nil, "/people", "Bearer "+person); got.StatusCode != http.StatusOK {
		t.Errorf("a person's token: got %s, want 200", got.Status)
	}
	if got := gatewaytest.Header(r.Upstream.Last(), "X-Forwarded-Email"); len(got) != 1 || got[0] != "alice@example.com" {
		t.Errorf("X-Forwarded-Email: got %q", got)
	}
	if n := r.Issuer.Calls("/oidc/jwks"); n != 1 {
		t.Errorf("the key set was fetched %d times, want once", n)
	}
	if log := r.Log.String(); strings.Contains(log, token) || strings.Contains(log, token[strings.LastIndexByte(token, '.')+1:]) {
		t.Error("the token is in the log")
	}
	if log := r.Log.String(); !strings.Contains(log, `"client_id":"machine-1"`) {
		t.Errorf("no line names the client\n%s", log)
	}
}

// TestBearerWrongTokens: none of these gets in, with a good session beside it or without.
func TestBearerWrongTokens(t *testing.T) {
	t.Parallel()
	r := gatewaytest.New(t, &gatewaytest.Options{Routes: apiRoutes})
	alice := r.SignedIn(t, "/")
	good := r.Issuer.AccessToken(apiAudience, nil)
	if got := call(t, r, nil, "/api/x", "Bearer "+good); got.StatusCode != http.StatusOK {
		t.Fatalf("the good one: got %s", got.Status)
	}
	edited := func(edit func(h, c map[string]any)) string { return r.Issuer.AccessToken(apiAudience, edit) }
	claim := func(name string, value any) string {
		return edited(func(_, c map[string]any) {
			if c[name] = value; value == nil {
				delete(c, name)
			}
		})
	}
	header := func(name string, value any) string {
		return edited(func(h, _ map[string]any) {
			if h[name] = value; value == nil {
				delete(h, name)
			}
		})
	}
	// signed is the good claims under another header or signature.
	var key *gatewaytest.Key
	r.Issuer.Do(func(i *gatewaytest.Issuer) { key = i.Key })
	parts := strings.Split(good, ".")
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	head := func(change map[string]any) map[string]any {
		h := key.Header(map[string]any{"typ": "at+jwt"})
		maps.Copy(h, change)
		return h
	}
	stranger := gatewaytest.NewKey("ES384")
	stranger.ID = key.ID
	rsa := gatewaytest.NewKey("RS256")
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(signature)
	flipped[10] ^= 1
	idToken := func(typ any) string {
		return edited(func(h, c map[string]any) {
			h["typ"] = typ
			if typ == nil {
				delete(h, "typ")
			}
			delete(c, "client_id")
			c["aud"], c["nonce"] = r.Issuer.AppID, "n"
		})
	}
	now := time.Now().Unix()
	b64 := base64.RawURLEncoding.EncodeToString
	for name, row := range map[string]struct{ token, check string }{
		"ID token":                       {idToken("JWT"), "typ"},
		"ID token as Logto makes it":     {idToken(nil), "typ"},
		"ID token under our type":        {idToken("at+jwt"), "aud"},
		"access token with a nonce":      {claim("nonce", "n"), "nonce"},
		"logout token":                   {r.Issuer.LogoutToken(nil), "typ"},
		"logout token under our type":    {r.Issuer.LogoutToken(func(h, c map[string]any) { h["typ"], c["aud"] = "at+jwt", apiAudience }), "typ"},
		"type of a plain JWT":            {header("typ", "JWT"), "typ"},
		"no type":                        {header("typ", nil), "typ"},
		"type that is no text":           {header("typ", 5), "typ"},
		"other audience":                 {claim("aud", "https://other.example.com"), "aud"},
		"audience in another case":       {claim("aud", "https://API.example.com"), "aud"},
		"audience with a slash":          {claim("aud", apiAudience+"/"), "aud"},
		"audience below":                 {claim("aud", apiAudience+"/v1"), "aud"},
		"two audiences":                  {claim("aud", []string{apiAudience, "https://other.example.com"}), "aud"},
		"our audience twice":             {claim("aud", []string{apiAudience, apiAudience}), "aud"},
		"no audience":                    {claim("aud", nil), "aud"},
		"empty list of audiences":        {claim("aud", []string{}), "aud"},
		"audience in an object":          {claim("aud", map[string]any{apiAudience: true}), "aud"},
		"other issuer":                   {claim("iss", "https://evil.example.com/oidc"), "iss"},
		"issuer with a slash":            {claim("iss", r.Issuer.URL+"/oidc/"), "iss"},
		"no issuer":                      {claim("iss", nil), "iss"},
		"expired":                        {claim("exp", now-1), "exp"},
		"no expiry":                      {claim("exp", nil), "exp"},
		"expiry that is text":            {claim("exp", fmt.Sprint(now+3600)), "exp"},
		"not valid yet":                  {claim("nbf", now+120), "nbf"},
		"nbf that is text":               {claim("nbf", "soon"), "nbf"},
		"issued in the future":           {claim("iat", now+120), "iat"},
		"no time of issue":               {claim("iat", nil), "iat"},
		"no subject":                     {claim("sub", nil), "sub"},
		"empty subject":                  {claim("sub", ""), "sub"},
		"subject with a line break":      {claim("sub", "machine-1\nroot"), "sub"},
		"subject that is a number":       {claim("sub", 1), "sub"},
		"no client":                      {claim("client_id", nil), "client_id"},
		"client that is a list":          {claim("client_id", []string{"machine-1"}), "client_id"},
		"scope that is a list":           {claim("scope", []string{"read"}), "scope"},
		"scope with a line break":        {claim("scope", "read\nwrite"), "scope"},
		"bound to a key":                 {claim("cnf", map[string]any{"jkt": "x"}), "cnf"},
		"alg none, no signature":         {gatewaytest.Unsigned(head(map[string]any{"alg": "none"}), string(claims)) + ".", "shape"},
		"alg none, good signature":       {header("alg", "none"), "alg"},
		"HS256 with the public key":      {gatewaytest.SharedSecretToken([]byte(fmt.Sprint(key.JWK(nil))), head(map[string]any{"alg": "HS256"}), string(claims)), "alg"},
		"HS256 with the app secret":      {gatewaytest.SharedSecretToken([]byte(r.Issuer.AppSecret), head(map[string]any{"alg": "HS256"}), string(claims)), "alg"},
		"other algorithm of the key":     {header("alg", "ES256"), "alg"},
		"RS256 under the key's id":       {rsa.Token(head(map[string]any{"alg": "RS256"}), string(claims)), "alg"},
		"embedded key":                   {stranger.Token(head(map[string]any{"jwk": stranger.JWK(nil)}), string(claims)), "header"},
		"key by URL":                     {header("jku", "https://evil.example.com/jwks"), "header"},
		"critical extension":             {header("crit", []string{"exp"}), "header"},
		"signed by somebody else":        {stranger.Token(head(nil), string(claims)), "signature"},
		"unknown key":                    {header("kid", "nobody-has-it"), "kid"},
		"key id that is a path":          {header("kid", "../../etc/passwd"), "kid"},
		"cut in the signature":           {good[:len(good)-8], "signature"},
		"cut after the claims":           {parts[0] + "." + parts[1], "shape"},
		"signature with a flipped bit":   {parts[0] + "." + parts[1] + "." + b64(flipped), "signature"},
		"signature of zeros":             {parts[0] + "." + parts[1] + "." + b64(make([]byte, 96)), "signature"},
		"signature in DER length":        {parts[0] + "." + parts[1] + "." + b64(append(signature, 0)), "signature"},
		"other claims under a signature": {parts[0] + "." + b64(bytes.Replace(claims, []byte("read"), []byte("root"), 1)) + "." + parts[2], "signature"},
		"padding":                        {good + "==", "shape"},
		"base64 that is not canonical":   {nonCanonical(parts), "shape"},
		"standard base64":                {parts[0] + "." + parts[1] + "." + base64.RawStdEncoding.EncodeToString(bytes.Repeat([]byte{0xfb, 0xff}, 48)), "shape"},
		"a claim twice":                  {key.Token(head(nil), strings.Replace(string(claims), "{", `{"sub":"root",`, 1)), "claims"},
		"a header member twice":          {key.Token(`{"alg":"ES384","typ":"JWT","typ":"at+jwt","kid":"`+key.ID+`"}`, string(claims)), "header"},
		"20 KiB":                         {claim("pad", strings.Repeat("x", 15<<10)), "shape"},
		"many scopes":                    {claim("scope", strings.Repeat("a ", 1001)), "scope"},
		"encrypted":                      {b64([]byte(`{"alg":"RSA-OAEP","enc":"A256GCM","typ":"at+jwt"}`)) + ".a.b.c.d", "shape"},
		"nested token":                   {header("cty", "JWT"), "header"},
		"opaque":                         {"uWLmx1yU0hH0n8T7Qm5sXw2kE4vB6rZ3aC9dF1gJ5lN", "shape"},
		"management token":               {claim("aud", "https://default.logto.app/api"), "aud"},
		"three dots":                     {"...", "shape"},
		"text":                           {"hello", "shape"},
	} {
		for _, with := range []struct {
			name string
			b    *gatewaytest.Browser
		}{{"alone", nil}, {"beside a session", alice}} {
			r.Upstream.Forget()
			got := call(t, r, with.b, "/api/x", "Bearer "+row.token)
			challenge := got.Header.Get("WWW-Authenticate")
			if got.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(challenge, `Bearer realm="localhost", error="invalid_token", error_description="`+row.check+": ") {
				t.Errorf("%s, %s: got %s and %q, want 401 for %s", name, with.name, got.Status, challenge, row.check)
			}
			if seen := r.Upstream.Requests(); len(seen) != 0 {
				t.Errorf("%s, %s: the upstream saw %q", name, with.name, seen)
			}
			if strings.Contains(got.Text, row.token) || len(row.token) > 40 && strings.Contains(r.Log.String(), row.token) {
				t.Errorf("%s: the token is in the answer or the log", name)
			}
		}
	}
	if got := call(t, r, nil, "/api/x", "Bearer "+claim("pad", strings.Repeat("x", 100<<10))); got.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("100 KiB: got %s, want 431", got.Status)
	}
	if n := r.Issuer.Calls("/oidc/jwks"); n > 2 {
		t.Errorf("the key set was fetched %d times, want twice at most", n)
	}
	if got := call(t, r, nil, "/api/x", "Bearer "+good); got.StatusCode != http.StatusOK {
		t.Errorf("the good one after all: got %s", got.Status)
	}
}

// nonCanonical has a signature that decodes to the same bytes where somebody does not look at the last bits.
func nonCanonical(parts []string) string {
	payload := parts[1]
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	if len(payload)%4 == 0 { // there are no bits to spare: a line break is skipped by careless decoders
		return parts[0] + "." + payload[:8] + "=" + payload[8:] + "." + parts[2]
	}
	last := strings.IndexByte(alphabet, payload[len(payload)-1])
	return parts[0] + "." + payload[:len(payload)-1] + string(alphabet[last^1]) + "." + parts[2]
}

// TestBearerCredentials: what is no single token of the scheme Bearer.
func TestBearerCredentials(t *testing.T) {
	t.Parallel()
	r := gatewaytest.New(t, &gatewaytest.Options{Routes: apiRoutes})
	alice := r.SignedIn(t, "/")
	good := r.Issuer.AccessToken(apiAudience, nil)
	const none, malformed = `Bearer realm="localhost"`, `Bearer realm="localhost", error="invalid_request"`
	for name, row := range map[string]struct {
		lines     []string
		status    int
		challenge string
		session   int // with a session beside it
	}{
		"nothing":                 {nil, 401, none, 200},
		"empty":                   {[]string{""}, 401, none, 200},
		"Basic":                   {[]string{"Basic YTpi"}, 401, none, 200},
		"Basic with a Bearer in":  {[]string{"Basic YTpi, Bearer " + good}, 401, none, 200},
		"DPoP":                    {[]string{"DPoP " + good}, 401, none, 200},
		"the token alone":         {[]string{good}, 401, none, 200},
		"Bearers":                 {[]string{"Bearers " + good}, 401, none, 200},
		"scheme alone":            {[]string{"Bearer"}, 400, malformed, 400},
		"twice":                   {[]string{"Bearer " + good, "Bearer " + good}, 400, malformed, 400},
		"Basic and Bearer":        {[]string{"Basic YTpi", "Bearer " + good}, 400, malformed, 400},
		"twice in a line":         {[]string{"Bearer " + good + ", Bearer " + good}, 400, malformed, 400},
		"tab":                     {[]string{"Bearer\t" + good}, 400, malformed, 400},
		"tab after the blank":     {[]string{"Bearer \t" + good}, 400, malformed, 400},
		"comma":                   {[]string{"Bearer, " + good}, 400, malformed, 400},
		"quoted":                  {[]string{`Bearer "` + good + `"`}, 400, malformed, 400},
		"parameters":              {[]string{"Bearer token=" + good + ", a=b"}, 400, malformed, 400},
		"two tokens":              {[]string{"Bearer " + good + " " + good}, 400, malformed, 400},
		"bytes beyond ASCII":      {[]string{"Bearer \xff\xfe" + good}, 400, malformed, 400},
		"scheme with a fold in":   {[]string{"Bea\u017fer " + good}, 401, none, 200},
		"only signs of equality":  {[]string{"Bearer ===="}, 400, malformed, 400},
		"another case of letters": {[]string{"bEARER " + good}, 200, "", 200},
	} {
		for with, b := range map[string]*gatewaytest.Browser{"alone": nil, "beside a session": alice} {
			want, challenge := row.status, row.challenge
			if b != nil {
				want = row.session
			}
			if want == 200 {
				challenge = ""
			}
			got := call(t, r, b, "/api/x", row.lines...)
			if got.StatusCode != want || got.Header.Get("WWW-Authenticate") != challenge {
				t.Errorf("%s, %s: got %s and %q, want %d and %q", name, with, got.Status, got.Header.Get("WWW-Authenticate"), want, challenge)
			}
			if got.StatusCode == 200 {
				if lines := gatewaytest.Header(r.Upstream.Last(), "Authorization"); len(lines) != 0 {
					t.Errorf("%s, %s: the upstream got %q", name, with, lines)
				}
			}
		}
	}
	// Nowhere else is a token read.
	for name, path := range map[string]string{"query": "/api/x?access_token=" + good, "query, bearer": "/api/x?bearer=" + good} {
		if got := call(t, r, nil, path); got.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: got %s, want 401", name, got.Status)
		}
	}
	form, err := http.NewRequest(http.MethodPost, r.URL+"/api/x", strings.NewReader("access_token="+good))
	if err != nil {
		t.Fatal(err)
	}
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if got := r.Browser(t).Do(form); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("form: got %s, want 401", got.Status)
	}
	// Routes that take no tokens leave the header to the application, and let nobody in by it.
	if got := call(t, r, nil, "/web", "Bearer "+good); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("a route without bearer: got %s, want 401", got.Status)
	}
	if got := call(t, r, alice, "/web", "Bearer "+good); got.StatusCode != http.StatusOK || len(gatewaytest.Header(r.Upstream.Last(), "Authorization")) != 1 {
		t.Errorf("a route without bearer, signed in: got %s, want 200 and the header at the upstream", got.Status)
	}
}

// TestBearerDecidesBesideASession: a token of one client and the session of a person make the client, and only it.
func TestBearerDecidesBesideASession(t *testing.T) {
	t.Parallel()
	r := gatewaytest.New(t, &gatewaytest.Options{Routes: apiRoutes})
	alice := r.SignedIn(t, "/")
	token := r.Issuer.AccessToken(apiAudience, nil)
	if got := call(t, r, alice, "/api/x", "Bearer "+token); got.StatusCode != http.StatusOK {
		t.Fatalf("got %s", got.Status)
	}
	if got := gatewaytest.Header(r.Upstream.Last(), "X-Forwarded-User"); len(got) != 1 || got[0] != "machine-1" {
		t.Errorf("X-Forwarded-User: got %q, want the client", got)
	}
	if got := call(t, r, alice, "/people", "Bearer "+token); got.StatusCode != http.StatusForbidden {
		t.Errorf("where alice may come in and the client may not: got %s, want 403", got.Status)
	}
	if got := call(t, r, alice, "/people"); got.StatusCode != http.StatusOK {
		t.Errorf("alice without the token: got %s, want 200", got.Status)
	}
	if got := call(t, r, nil, "/other", "Bearer "+token); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("a token verified for one audience at another: got %s, want 401", got.Status)
	}
	if got := call(t, r, nil, "/other", "Bearer "+r.Issuer.AccessToken("https://other.example.com", nil)); got.StatusCode != http.StatusOK {
		t.Errorf("by client_id: got %s, want 200", got.Status)
	}
}

// TestBearerKeys: clients go on while Logto is down, know no key that was never seen, and end with theirs.
func TestBearerKeys(t *testing.T) {
	t.Parallel()
	clock := gatewaytest.NewClock()
	r := gatewaytest.New(t, &gatewaytest.Options{Routes: apiRoutes, Clock: clock})
	old := r.Issuer.AccessToken(apiAudience, nil)
	down := func(is bool) {
		r.Issuer.Do(func(i *gatewaytest.Issuer) {
			if i.Answer = nil; is {
				i.Answer = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true }
			}
		})
	}
	down(true)
	if got := call(t, r, nil, "/api/x", "Bearer "+old); got.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("no key was ever fetched: got %s, want 503", got.Status)
	}
	down(false)
	clock.Add(time.Minute)
	if got := call(t, r, nil, "/api/x", "Bearer "+old); got.StatusCode != http.StatusOK {
		t.Fatalf("Logto is back: got %s, want 200", got.Status)
	}
	down(true)
	if got := call(t, r, nil, "/api/x", "Bearer "+r.Issuer.AccessToken(apiAudience, nil)); got.StatusCode != http.StatusOK {
		t.Errorf("Logto is down, the key is known: got %s, want 200", got.Status)
	}
	down(false)

	// Twenty keys that nobody has: one fetch.
	before := r.Issuer.Calls("/oidc/jwks")
	var strangers sync.WaitGroup
	for n := range 20 {
		token := r.Issuer.AccessToken(apiAudience, func(h, _ map[string]any) { h["kid"] = fmt.Sprint("invented-", n) })
		strangers.Go(func() {
			if got := call(t, r, nil, "/api/x", "Bearer "+token); got.StatusCode != http.StatusUnauthorized {
				t.Errorf("an invented key: got %s, want 401", got.Status)
			}
		})
	}
	strangers.Wait()
	if n := r.Issuer.Calls("/oidc/jwks") - before; n > 1 {
		t.Errorf("invented keys had the set fetched %d times, want once at most", n)
	}

	// A new key is known at once, and with the old one its tokens go.
	clock.Add(2 * time.Minute)
	r.Issuer.Rotate()
	if got := call(t, r, nil, "/api/x", "Bearer "+r.Issuer.AccessToken(apiAudience, nil)); got.StatusCode != http.StatusOK {
		t.Errorf("a token of the new key: got %s, want 200", got.Status)
	}
	if got := call(t, r, nil, "/api/x", "Bearer "+old); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("a token of the key that was rotated away: got %s, want 401", got.Status)
	}
	// And a token that was verified once ends when it says.
	short := r.Issuer.AccessToken(apiAudience, func(_, c map[string]any) { c["exp"] = clock.Now().Unix() + 60 })
	if got := call(t, r, nil, "/api/x", "Bearer "+short); got.StatusCode != http.StatusOK {
		t.Errorf("a short token: got %s, want 200", got.Status)
	}
	clock.Add(time.Minute)
	if got := call(t, r, nil, "/api/x", "Bearer "+short); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("a minute later: got %s, want 401", got.Status)
	}
}

// TestOIDCProviderMachine: a machine with a token of the engine inside Logto gets in, where the rules say so, and no further.
func TestOIDCProviderMachine(t *testing.T) {
	t.Parallel()
	p := gatewaytest.NewOIDCProvider(t, nil)
	c := certified{gatewaytest.New(t, &gatewaytest.Options{
		Clock: gatewaytest.NewClock(), Logto: &p.Logto, Session: "store: memory, idle_timeout: 0s", Routes: apiRoutes,
	}), p}
	c.advance(0)
	token := p.MachineToken(apiAudience, "read write")
	if got := call(t, c.Rig, nil, "/api/items?x=1", "Bearer "+token); got.StatusCode != http.StatusOK {
		t.Fatalf("got %s, want 200\n%v\n%s", got.Status, got.Header, c.Log)
	}
	head := c.Upstream.Last()
	if user := gatewaytest.Header(head, "X-Forwarded-User"); len(user) != 1 || user[0] != "machine-1" || len(gatewaytest.Header(head, "Authorization")) != 0 {
		t.Errorf("the upstream got\n%s", head)
	}
	for name, row := range map[string]struct {
		path, token string
		status      int
	}{
		"by expression":                  {"/expression", token, 200},
		"without the scope":              {"/api/x", p.MachineToken(apiAudience, "write"), 403},
		"where addresses count":          {"/people", token, 403},
		"at another audience":            {"/other", token, 401},
		"with a token for that audience": {"/other", p.MachineToken("https://other.example.com", ""), 200},
		"with that token here":           {"/api/x", p.MachineToken("https://other.example.com", "read"), 401},
	} {
		if got := call(t, c.Rig, nil, row.path, "Bearer "+row.token); got.StatusCode != row.status {
			t.Errorf("%s: got %s, want %d\n%v", name, got.Status, row.status, got.Header)
		}
	}
	p.RotateKey() // the engine publishes both
	for name, token := range map[string]string{"old": token, "new": p.MachineToken(apiAudience, "read")} {
		if got := call(t, c.Rig, nil, "/api/x", "Bearer "+token); got.StatusCode != http.StatusOK {
			t.Errorf("after a rotation, the %s token: got %s, want 200", name, got.Status)
		}
	}
	c.advance(time.Hour)
	if got := call(t, c.Rig, nil, "/api/x", "Bearer "+token); got.StatusCode != http.StatusUnauthorized || !strings.Contains(got.Header.Get("WWW-Authenticate"), "exp: ") {
		t.Errorf("an hour later: got %s, want 401 for exp", got.Status)
	}
}
