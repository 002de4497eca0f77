package gatewaytest

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"
)

// Issuer is a raw OpenID provider with Logto's paths that asks nobody anything and says whatever a test wants: it
// signs in the person it is told to, at once, and its answers and tokens can be made wrong in every way.
//
// The fields may be changed between requests, under Do.
type Issuer struct {
	URL              string // of the endpoint, without a trailing slash
	AppID, AppSecret string

	// Person is who is signed in: claims beside the protocol's own.
	Person map[string]any
	// Edit changes the claims of an ID token before it is signed. nil: none.
	Edit func(claims map[string]any)
	// EditAnswer changes a token answer before it is sent. nil: none.
	EditAnswer func(answer map[string]any)
	// Rotating gives a new refresh token at every refresh; the one before is worth nothing then.
	Rotating bool
	// Sign replaces the signing of an ID token. nil: with Key.
	Sign func(claims map[string]any) string
	// Key signs; at first one for ES384.
	Key *Key
	// Keys are what the key set holds. nil: Key.
	Keys []any
	// EditDiscovery changes the discovery document before it is sent. nil: none.
	EditDiscovery func(doc map[string]any)
	// EditReturn changes what a browser is sent back with from the end of a session. nil: none.
	EditReturn func(q url.Values)
	// Answer, if set, takes a request before the issuer does; it returns whether it answered.
	Answer func(w http.ResponseWriter, r *http.Request) bool
	// AuthError is sent to the callback in place of a code.
	AuthError string
	// AuthTime is the auth_time of the next sign-ins; zero: now.
	AuthTime time.Time
	// AccessLife is expires_in of the token answer; 0: one hour.
	AccessLife time.Duration
	// RefuseFor are the resources and organizations that refreshes get no access token for. // :: identifier → OAuth code
	RefuseFor map[string]string
	// Now is the issuer's clock; nil: time.Now.
	Now func() time.Time

	mu       sync.Mutex
	codes    map[string]url.Values // :: code → authorization request
	calls    map[string]int        // :: path or grant type → requests
	requests []url.Values          // authorization requests, oldest first
	nonce    map[string]string     // :: refresh token → nonce
	granted  []string              // refresh tokens, oldest first
	revoked  []string
	secrets  map[string]string // :: value → what it is, of all that nobody else may learn
}

// NewIssuer starts one on a loopback port; it ends with the test.
func NewIssuer(t testing.TB) *Issuer { return NewTLSIssuer(t, nil) }

// NewTLSIssuer is NewIssuer inside TLS. nil: it is plain.
func NewTLSIssuer(t testing.TB, config *tls.Config) *Issuer {
	t.Helper()
	i := &Issuer{
		AppID: "app-1", AppSecret: "0123456789abcdefghijABCDEFGHIJ12",
		Person: map[string]any{"sub": "t8x4l8ohti1t", "email": "alice@example.com", "email_verified": true, "name": "Alice", "sid": "sid-1"},
		codes:  map[string]url.Values{}, calls: map[string]int{}, nonce: map[string]string{}, secrets: map[string]string{},
	}
	i.Rotate()
	s := httptest.NewUnstartedServer(i)
	if s.TLS = config; config != nil {
		s.Config.ErrorLog = log.New(io.Discard, "", 0) // that nobody trusts it is the point
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	i.URL = s.URL
	return i
}

// Do changes or reads fields while no request is answered.
func (i *Issuer) Do(f func(*Issuer)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f(i)
}

// Calls is how often a path (such as /oidc/token) or grant type was asked for.
func (i *Issuer) Calls(what string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.calls[what]
}

// Requests are the authorization requests so far, oldest first.
func (i *Issuer) Requests() []url.Values {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]url.Values(nil), i.requests...)
}

// Revoked are the tokens that were revoked.
func (i *Issuer) Revoked() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]string(nil), i.revoked...)
}

// Granted is how many refresh tokens it has handed out.
func (i *Issuer) Granted() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.granted)
}

// RevokedSince is Revoked without the refresh tokens that it had handed out when Granted said so many: those of
// somebody before may still be on their way.
func (i *Issuer) RevokedSince(granted int) []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(i.revoked), func(token string) bool { return slices.Contains(i.granted[:granted], token) })
}

// Rotate makes a new signing key; the old one leaves the key set.
func (i *Issuer) Rotate() {
	key := NewKey("ES384")
	i.mu.Lock()
	defer i.mu.Unlock()
	i.Key, i.Keys = key, nil
}

func (i *Issuer) now() time.Time {
	if i.Now != nil {
		return i.Now()
	}
	return time.Now()
}

func random() string {
	b := make([]byte, 32)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// ServeHTTP answers as Logto would.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "form", http.StatusBadRequest)
		return
	}
	i.mu.Lock()
	i.calls[r.URL.Path]++
	answer := i.Answer
	i.mu.Unlock()
	if answer != nil && answer(w, r) {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	switch r.URL.Path {
	case "/oidc/.well-known/openid-configuration":
		i.discovery(w)
	case "/oidc/jwks":
		keys := i.Keys
		if keys == nil {
			keys = []any{i.Key.JWK(nil)}
		}
		reply(w, map[string]any{"keys": keys})
	case "/oidc/auth":
		i.authorize(w, r)
	case "/oidc/token":
		i.token(w, r)
	case "/oidc/me":
		reply(w, i.Person)
	case "/oidc/token/revocation":
		i.revocation(w, r)
	case "/oidc/session/end":
		q := url.Values{"state": {r.Form.Get("state")}}
		if i.EditReturn != nil {
			i.EditReturn(q)
		}
		http.Redirect(w, r, r.Form.Get("post_logout_redirect_uri")+"?"+q.Encode(), http.StatusSeeOther)
	default:
		http.NotFound(w, r)
	}
}

func (i *Issuer) discovery(w http.ResponseWriter) {
	o := i.URL + "/oidc"
	doc := map[string]any{
		"issuer": o, "authorization_endpoint": o + "/auth", "token_endpoint": o + "/token", "jwks_uri": o + "/jwks",
		"userinfo_endpoint": o + "/me", "revocation_endpoint": o + "/token/revocation", "end_session_endpoint": o + "/session/end",
		"authorization_response_iss_parameter_supported": true, "id_token_signing_alg_values_supported": []string{"ES384"},
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		"code_challenge_methods_supported": []string{"S256"}, "backchannel_logout_supported": true, "backchannel_logout_session_supported": true,
	}
	if i.EditDiscovery != nil {
		i.EditDiscovery(doc)
	}
	reply(w, doc)
}

func (i *Issuer) authorize(w http.ResponseWriter, r *http.Request) {
	i.requests = append(i.requests, r.Form)
	for _, name := range []string{"state", "nonce"} {
		i.secrets[r.Form.Get(name)] = name
	}
	q := url.Values{"state": {r.Form.Get("state")}, "iss": {i.URL + "/oidc"}}
	if i.AuthError != "" {
		q.Set("error", i.AuthError)
		q.Set("error_description", "<script>alert(1)</script>")
	} else {
		code := random()
		i.codes[code], i.secrets[code] = r.Form, "code"
		q.Set("code", code)
	}
	http.Redirect(w, r, r.Form.Get("redirect_uri")+"?"+q.Encode(), http.StatusSeeOther)
}

func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	grant := r.Form.Get("grant_type")
	i.calls[grant]++
	if id, secret, _ := r.BasicAuth(); id != i.AppID || secret != i.AppSecret {
		refuse(w, http.StatusUnauthorized, "invalid_client")
		return
	}
	refresh, nonce, authTime := r.Form.Get("refresh_token"), "", i.AuthTime
	switch grant {
	case "authorization_code":
		asked, ok := i.codes[r.Form.Get("code")]
		delete(i.codes, r.Form.Get("code"))
		sum := sha256.Sum256([]byte(r.Form.Get("code_verifier")))
		if !ok || asked.Get("redirect_uri") != r.Form.Get("redirect_uri") ||
			asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) {
			refuse(w, http.StatusBadRequest, "invalid_grant")
			return
		}
		refresh, nonce = random(), asked.Get("nonce")
		i.nonce[refresh] = nonce
		i.granted = append(i.granted, refresh)
	case "refresh_token":
		var ok bool
		if nonce, ok = i.nonce[refresh]; !ok {
			refuse(w, http.StatusBadRequest, "invalid_grant")
			return
		}
		if i.Rotating {
			delete(i.nonce, refresh)
			refresh = random()
			i.nonce[refresh] = nonce
			i.granted = append(i.granted, refresh)
		}
	default:
		refuse(w, http.StatusBadRequest, "unsupported_grant_type")
		return
	}
	life := i.AccessLife
	if life == 0 {
		life = time.Hour
	}
	if authTime.IsZero() {
		authTime = i.now()
	}
	claims := map[string]any{
		"iss": i.URL + "/oidc", "aud": i.AppID, "iat": i.now().Unix(), "exp": i.now().Add(time.Hour).Unix(),
		"auth_time": authTime.Unix(), "nonce": nonce,
	}
	maps.Copy(claims, i.Person)
	if i.Edit != nil {
		i.Edit(claims)
	}
	w.Header().Set("Cache-Control", "no-store")
	answer := map[string]any{
		"access_token": random(), "refresh_token": refresh, "id_token": i.sign(claims), "token_type": "Bearer",
		"expires_in": int(life / time.Second), "scope": "openid offline_access profile email",
	}
	for _, name := range []string{"access_token", "refresh_token", "id_token"} {
		i.secrets[answer[name].(string)] = name
	}
	i.secrets[r.Form.Get("code_verifier")] = "code_verifier"
	if resource, organization := r.Form.Get("resource"), r.Form.Get("organization_id"); resource+organization != "" && grant == "refresh_token" {
		i.calls["refresh_token for "+resource+organization]++
		for _, asked := range []string{resource, organization} {
			if code := i.RefuseFor[asked]; code != "" {
				refuse(w, map[bool]int{true: http.StatusForbidden, false: http.StatusBadRequest}[code == "access_denied"], code)
				return
			}
		}
		if resource == "" {
			resource = "urn:logto:organization:" + organization
		}
		answer["access_token"] = i.Key.Token(i.Key.Header(map[string]any{"typ": "at+jwt"}), map[string]any{
			"jti": random(), "sub": i.Person["sub"], "client_id": i.AppID, "iss": i.URL + "/oidc", "aud": resource, "scope": "read",
			"iat": i.now().Unix(), "exp": i.now().Add(life).Unix(),
		})
		i.secrets[answer["access_token"].(string)] = "access_token"
	}
	if i.EditAnswer != nil {
		i.EditAnswer(answer)
	}
	reply(w, answer)
}

// Secrets are codes, states, nonces, verifiers and tokens so far. // :: value → what it is
func (i *Issuer) Secrets() map[string]string {
	i.mu.Lock()
	defer i.mu.Unlock()
	out := maps.Clone(i.secrets)
	maps.DeleteFunc(out, func(value, _ string) bool { return len(value) < shortestSecret }) // a token may be as wrong as to be a blank
	out[i.AppSecret] = "app_secret"
	return out
}

// Refuse is an OAuth error answer with that code, for Answer.
func Refuse(w http.ResponseWriter, status int, code string) { refuse(w, status, code) }

func (i *Issuer) sign(claims map[string]any) string {
	if i.Sign != nil {
		return i.Sign(claims)
	}
	return i.Key.Token(i.Key.Header(nil), claims)
}

func (i *Issuer) revocation(w http.ResponseWriter, r *http.Request) {
	if id, secret, _ := r.BasicAuth(); id != i.AppID || secret != i.AppSecret {
		refuse(w, http.StatusUnauthorized, "invalid_client")
		return
	}
	token := r.Form.Get("token")
	i.revoked = append(i.revoked, token)
	delete(i.nonce, token)
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"code": "oidc." + code, "error": code, "error_description": "grant request is invalid"})
}
