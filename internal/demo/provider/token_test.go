package provider_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"portero/internal/demo/provider"
)

// refused compares an error of the token endpoint with the mixed body of Logto.
func refused(t *testing.T, name string, got tokens, status int, code string) {
	t.Helper()
	if got.Status != status || got.Error != code || got.Code != "oidc."+code || got.Message == "" || got.Description == "" || got.AccessToken != "" {
		t.Errorf("%s: got %+v, want %d %s", name, got, status, code)
	}
}

func TestCodeExchangeRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	code := w.browser().signIn("ann@example.com", w.authorization(nil)).Get("code")
	with := func(change map[string]string) url.Values {
		f := codeForm(code)
		for k, v := range change {
			if f.Set(k, v); v == "" {
				f.Del(k)
			}
		}
		return f
	}
	for _, row := range []struct {
		name       string
		form       url.Values
		id, secret string
		status     int
		want       string
	}{
		{"no client", with(nil), "", "", 400, "invalid_request"},
		{"client without secret", with(map[string]string{"client_id": appID}), "", "", 401, "invalid_client"},
		{"wrong secret", with(nil), appID, "wrong", 401, "invalid_client"},
		{"empty secret", with(nil), appID, "", 401, "invalid_client"},
		{"wrong secret in the body", with(map[string]string{"client_id": appID, "client_secret": "wrong"}), "", "", 401, "invalid_client"},
		{"unknown client", with(nil), "nobody", appSecret, 400, "invalid_client"},
		{"machine client", with(nil), "m2m", "m2m-secret", 400, "invalid_grant"},
		{"two authentications", with(map[string]string{"client_id": appID, "client_secret": appSecret}), appID, appSecret, 400, "invalid_request"},
		{"no verifier", with(map[string]string{"code_verifier": ""}), appID, appSecret, 400, "invalid_grant"},
		{"wrong verifier", with(map[string]string{"code_verifier": verifier + "x"}), appID, appSecret, 400, "invalid_grant"},
		{"challenge as verifier", with(map[string]string{"code_verifier": challenge}), appID, appSecret, 400, "invalid_grant"},
		{"wrong redirect_uri", with(map[string]string{"redirect_uri": callback + "/"}), appID, appSecret, 400, "invalid_grant"},
		{"no redirect_uri", with(map[string]string{"redirect_uri": ""}), appID, appSecret, 400, "invalid_grant"},
		{"unknown code", with(map[string]string{"code": "unknown"}), appID, appSecret, 400, "invalid_grant"},
		{"no code", with(map[string]string{"code": ""}), appID, appSecret, 400, "invalid_grant"},
		{"no grant_type", with(map[string]string{"grant_type": ""}), appID, appSecret, 400, "invalid_request"},
		{"unknown grant_type", with(map[string]string{"grant_type": "password"}), appID, appSecret, 400, "unsupported_grant_type"},
	} {
		got := w.token(row.form, row.id, row.secret)
		refused(t, row.name, got, row.status, row.want)
		if basic := got.Header.Get("WWW-Authenticate"); (basic != "") != (row.id != "" && row.status == 401) {
			t.Errorf("%s: got WWW-Authenticate %q", row.name, basic)
		}
	}
	// None of them used the code up.
	if got := w.token(with(map[string]string{"client_id": appID, "client_secret": appSecret}), "", ""); got.Status != 200 {
		t.Errorf("after all refusals, secret in the body: got %+v", got)
	}
}

func TestVerifierWithoutChallenge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	plain := w.authorization(map[string]string{"code_challenge": "", "code_challenge_method": ""})
	refused(t, "superfluous verifier", w.redeem(b.signIn("ann@example.com", plain).Get("code")), 400, "invalid_grant")
	f := codeForm(b.open(plain).location(t).Query().Get("code"))
	f.Del("code_verifier")
	if got := w.token(f, appID, appSecret); got.Status != 200 {
		t.Errorf("without PKCE: got %+v", got)
	}
}

func TestCodeIsGoodForAMinute(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	code := b.signIn("ann@example.com", w.authorization(nil)).Get("code")
	w.clock.Advance(59 * time.Second)
	if got := w.redeem(code); got.Status != 200 {
		t.Errorf("after 59 s: got %+v", got)
	}
	code = b.open(w.authorization(nil)).location(t).Query().Get("code")
	w.clock.Advance(60 * time.Second)
	refused(t, "after 60 s", w.redeem(code), 400, "invalid_grant")
}

func TestCodeReuseEndsTheGrant(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	code := w.browser().signIn("ann@example.com", w.authorization(nil)).Get("code")
	got := w.redeem(code)
	w.clock.Advance(30 * time.Minute) // also long after the code ran out
	refused(t, "second use", w.redeem(code), 400, "invalid_grant")
	refused(t, "refresh token of the first", w.refresh(got.RefreshToken), 400, "invalid_grant")
	if status, _ := w.userinfo(got.AccessToken); status != 401 {
		t.Errorf("access token of the first: got %d, want 401", status)
	}
}

func TestCodeIsRedeemedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	code := w.browser().signIn("ann@example.com", w.authorization(nil)).Get("code")
	var group sync.WaitGroup
	var mu sync.Mutex
	redeemed := 0
	for range 30 {
		group.Go(func() {
			if w.redeem(code).Status == 200 {
				mu.Lock()
				defer mu.Unlock()
				redeemed++
			}
		})
	}
	group.Wait()
	if redeemed != 1 {
		t.Errorf("one code was redeemed %d times", redeemed)
	}
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	first := b.signedIn("ann@example.com")
	w.clock.Advance(2 * time.Hour)
	w.Switches().SetProfile("ann@example.com", provider.Profile{Roles: []string{"editor"}})
	got := w.refresh(first.RefreshToken)
	if got.Status != 200 || got.RefreshToken != first.RefreshToken || got.AccessToken == first.AccessToken || got.Scope != fullScope {
		t.Errorf("refresh: got %+v", got)
	}
	claims := w.claims(got.IDToken)
	have := map[string]any{"nonce": claims["nonce"], "roles": claims["roles"], "auth_time": claims["auth_time"], "iat": claims["iat"]}
	now := w.clock.Now()
	want := map[string]any{
		"nonce": "nonce-1", "roles": []any{"editor"},
		"auth_time": float64(now.Add(-2 * time.Hour).Unix()), "iat": float64(now.Unix()),
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("claims of a refreshed ID token (-want +got):\n%s", diff)
	}
	if status, _ := w.userinfo(first.AccessToken); status != 401 {
		t.Errorf("access token after two hours: got %d", status)
	}
	if status, _ := w.userinfo(got.AccessToken); status != 200 {
		t.Errorf("refreshed access token: got %d", status)
	}

	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {first.RefreshToken}, "scope": {"openid email"}}
	narrow := w.token(form, appID, appSecret)
	if c := w.claims(narrow.IDToken); narrow.Scope != "openid email" || c["email"] == nil || c["roles"] != nil {
		t.Errorf("narrower scope: got %q with %v", narrow.Scope, c)
	}
	form.Set("scope", "openid identities")
	refused(t, "wider scope", w.token(form, appID, appSecret), 400, "invalid_scope")
	form.Del("scope")
	refused(t, "wrong secret", w.token(form, appID, "wrong"), 401, "invalid_client")
	form.Set("client_id", appID)
	refused(t, "no secret", w.token(form, "", ""), 401, "invalid_client")
	refused(t, "unknown token", w.refresh("unknown"), 400, "invalid_grant")
	refused(t, "access token", w.refresh(got.AccessToken), 400, "invalid_grant")
	if again := w.refresh(first.RefreshToken); again.Scope != fullScope {
		t.Errorf("full scope after a narrower one: got %q", again.Scope)
	}
	w.clock.Advance(14 * 24 * time.Hour)
	refused(t, "expired", w.refresh(first.RefreshToken), 400, "invalid_grant")
}

func TestRotationAndReuse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	lifetime := 14 * 24 * time.Hour
	early := lifetime * 7 / 10
	first := w.browser().signedIn("ann@example.com").RefreshToken
	w.clock.Advance(early - time.Second)
	if got := w.refresh(first); got.RefreshToken != first {
		t.Errorf("before 70 %%: got another refresh token")
	}
	w.clock.Advance(time.Second)
	second := w.refresh(first)
	if second.Status != 200 || second.RefreshToken == first {
		t.Fatalf("at 70 %%: got %+v", second)
	}
	w.clock.Advance(3 * time.Second)
	third := w.refresh(first)
	if third.Status != 200 || third.RefreshToken == first || third.RefreshToken == second.RefreshToken {
		t.Errorf("the replaced one three seconds later: got %+v", third)
	}
	w.clock.Advance(early - 4*time.Second)
	if got := w.refresh(second.RefreshToken); got.RefreshToken != second.RefreshToken {
		t.Errorf("the second has no full lifetime")
	}
}

func TestReuseEndsTheGrant(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.Switches().Change(func(b *provider.Behaviour) { b.RotateRefreshTokens = true })
	b := w.browser()
	first := b.signedIn("ann@example.com")
	second := w.refresh(first.RefreshToken)
	w.clock.Advance(3*time.Second + time.Millisecond)
	refused(t, "reuse", w.refresh(first.RefreshToken), 400, "invalid_grant")
	refused(t, "the new token after a reuse", w.refresh(second.RefreshToken), 400, "invalid_grant")
	if status, _ := w.userinfo(second.AccessToken); status != 401 {
		t.Errorf("access token after a reuse: got %d", status)
	}
	if q := b.open(w.authorization(map[string]string{"prompt": "none"})).location(t).Query(); q.Get("error") != "consent_required" {
		t.Errorf("prompt=none after a reuse: got %v", q)
	}
	if got := w.redeem(b.open(w.authorization(nil)).location(t).Query().Get("code")); got.RefreshToken == "" {
		t.Errorf("silent sign-in after a reuse: got %+v", got)
	}
}

func TestRevocation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	got := b.signedIn("ann@example.com")
	for _, row := range []struct {
		name       string
		form       url.Values
		id, secret string
		want       int
	}{
		{"client id alone", url.Values{"token": {got.RefreshToken}, "client_id": {appID}}, "", "", 401},
		{"no client", url.Values{"token": {got.RefreshToken}}, "", "", 401},
		{"wrong secret", url.Values{"token": {got.RefreshToken}}, appID, "wrong", 401},
		{"unknown client", url.Values{"token": {got.RefreshToken}}, "nobody", "x", 400},
		{"no token", url.Values{}, appID, appSecret, 400},
		{"another client", url.Values{"token": {got.RefreshToken}}, "m2m", "m2m-secret", 200},
		{"unknown token", url.Values{"token": {"unknown"}}, appID, appSecret, 200},
	} {
		status, _, body := w.call("/oidc/token/revocation", row.form, row.id, row.secret)
		if status != row.want || (status != 200) != strings.Contains(string(body), `"error":"invalid_`) {
			t.Errorf("%s: got %d %s, want %d", row.name, status, body, row.want)
		}
	}
	if again := w.refresh(got.RefreshToken); again.Status != 200 {
		t.Errorf("after requests that revoke nothing: got %+v", again)
	}
	status, header, body := w.call("/oidc/token/revocation",
		url.Values{"token": {got.RefreshToken}, "client_id": {appID}, "client_secret": {appSecret}, "token_type_hint": {"refresh_token"}}, "", "")
	if status != 200 || len(body) != 0 || !strings.HasPrefix(header.Get("Content-Type"), "text/plain") {
		t.Errorf("revocation: got %d %s %q", status, header.Get("Content-Type"), body)
	}
	refused(t, "revoked", w.refresh(got.RefreshToken), 400, "invalid_grant")
	if status, info := w.userinfo(got.AccessToken); status != 401 || info["error"] != "invalid_token" {
		t.Errorf("access token of a revoked grant: got %d %v", status, info)
	}
	if v := b.do("GET", w.authorization(nil), nil); v.location(t).Query().Get("code") == "" {
		t.Errorf("silent sign-in after the revocation: got %v", v.Header)
	}
}

func TestRevokingAnAccessToken(t *testing.T) {
	t.Parallel()
	for _, line141 := range []bool{false, true} {
		w := newWorld(t, nil)
		w.Switches().Change(func(b *provider.Behaviour) { b.Line141 = line141 })
		got := w.browser().signedIn("ann@example.com")
		w.call("/oidc/token/revocation", url.Values{"token": {got.AccessToken}}, appID, appSecret)
		if status, _ := w.userinfo(got.AccessToken); status != 401 {
			t.Errorf("line 1.41 %v: revoked access token: got %d", line141, status)
		}
		if alive := w.refresh(got.RefreshToken).Status == 200; alive != line141 {
			t.Errorf("line 1.41 %v: grant alive: %v", line141, alive)
		}
	}
}

func TestUserinfoRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, header := range map[string]http.Header{
		"nothing":       {},
		"unknown token": {"Authorization": {"Bearer unknown"}},
		"basic":         {"Authorization": {"Basic YTpi"}},
	} {
		status, h, body := w.get("/oidc/me", header)
		if status != 401 || body["code"] != "oidc.invalid_token" || !strings.HasPrefix(h.Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%s: got %d %v", name, status, body)
		}
	}
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	const resource = "https://default.logto.app/api"
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {resource}, "scope": {"all"}}
	got := w.token(form, "m2m", "m2m-secret")
	if got.Status != 200 || got.Scope != "all" || got.ExpiresIn != 3600 || got.IDToken != "" || got.RefreshToken != "" {
		t.Fatalf("management token: got %+v", got)
	}
	token, err := jwt.ParseSigned(got.AccessToken, []jose.SignatureAlgorithm{jose.ES384})
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := token.UnsafeClaimsWithoutVerification(&claims); err != nil {
		t.Fatal(err)
	}
	if token.Headers[0].ExtraHeaders["typ"] != "at+jwt" || claims["aud"] != resource || claims["sub"] != "m2m" || claims["client_id"] != "m2m" || claims["scope"] != "all" {
		t.Errorf("management token: got %v %v", token.Headers, claims)
	}
	refused(t, "wrong secret", w.token(form, "m2m", "wrong"), 401, "invalid_client")
	refused(t, "unknown client", w.token(form, "m-default", "x"), 400, "invalid_client")
	refused(t, "the relying party", w.token(form, appID, appSecret), 400, "unauthorized_client")
	form.Del("scope")
	if got := w.token(form, "m2m", "m2m-secret"); got.Status != 200 || got.Scope != "" {
		t.Errorf("no scope: got %+v", got)
	}
	form.Set("resource", "https://elsewhere.example")
	refused(t, "unknown resource", w.token(form, "m2m", "m2m-secret"), 400, "invalid_target")
	form.Del("resource")
	refused(t, "no resource", w.token(form, "m2m", "m2m-secret"), 400, "invalid_target")

	none := newWorld(t, func(c *provider.Config) { c.ManagementID, c.ManagementSecret = "", "" })
	refused(t, "no management client", none.token(form, "m2m", "m2m-secret"), 400, "invalid_client")
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	status, _, doc := w.get("/oidc/.well-known/openid-configuration", nil)
	want := map[string]any{
		"issuer":                 w.url + "/oidc",
		"authorization_endpoint": w.url + "/oidc/auth",
		"token_endpoint":         w.url + "/oidc/token",
		"jwks_uri":               w.url + "/oidc/jwks",
		"userinfo_endpoint":      w.url + "/oidc/me",
		"end_session_endpoint":   w.url + "/oidc/session/end",
		"revocation_endpoint":    w.url + "/oidc/token/revocation",
		"authorization_response_iss_parameter_supported": true,
		"backchannel_logout_supported":                   true,
		"backchannel_logout_session_supported":           true,
		"id_token_signing_alg_values_supported":          []any{"ES384"},
		"code_challenge_methods_supported":               []any{"S256"},
	}
	got := map[string]any{}
	for name := range want {
		got[name] = doc[name]
	}
	if diff := cmp.Diff(want, got); status != 200 || diff != "" {
		t.Errorf("discovery %d (-want +got):\n%s", status, diff)
	}
	for _, line141 := range []bool{false, true} {
		w.Switches().Change(func(b *provider.Behaviour) { b.Line141 = line141 })
		_, _, doc := w.get("/oidc/.well-known/openid-configuration", nil)
		if got, there := doc["request_parameter_supported"]; there != line141 || line141 && got != false {
			t.Errorf("Logto 1.41 %v: got request_parameter_supported %v", line141, got)
		}
	}
}

func TestKeyRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	first := b.signedIn("ann@example.com")
	for _, row := range []struct {
		algorithm string
		keys      int
		listed    []any
	}{
		{"ES384", 2, []any{"ES384"}},
		{"RS256", 3, []any{"PS256", "RS256", "ES384"}},
	} {
		if err := w.Switches().RotateKey(row.algorithm); err != nil {
			t.Fatal(err)
		}
		_, _, doc := w.get("/oidc/.well-known/openid-configuration", nil)
		if diff := cmp.Diff(row.listed, doc["id_token_signing_alg_values_supported"]); diff != "" {
			t.Errorf("algorithms after %s (-want +got):\n%s", row.algorithm, diff)
		}
		_, header, set := w.get("/oidc/jwks", nil)
		keys := set["keys"].([]any)
		newest := keys[0].(map[string]any)
		if alg, ok := newest["alg"]; len(keys) != row.keys || ok != (row.algorithm == "ES384") || (ok && alg != row.algorithm) || newest["use"] != "sig" {
			t.Errorf("key set after %s: got %d keys, newest %v", row.algorithm, len(keys), newest)
		}
		if !strings.HasPrefix(header.Get("Content-Type"), "application/jwk-set+json") {
			t.Errorf("key set: got %s", header.Get("Content-Type"))
		}
		got := w.refresh(first.RefreshToken)
		w.claims(got.IDToken)
		token, err := jwt.ParseSigned(got.IDToken, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(row.algorithm)})
		if err != nil || token.Headers[0].KeyID != newest["kid"] {
			t.Errorf("ID token after %s: %v, %v", row.algorithm, err, token)
		}
	}
	w.claims(first.IDToken) // the first key still verifies
	if err := w.Switches().RotateKey("HS256"); err == nil {
		t.Error("a key of an unknown algorithm is made")
	}
}
