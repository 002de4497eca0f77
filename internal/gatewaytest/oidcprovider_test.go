package gatewaytest_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// tokens is an answer of the token endpoint.
type tokens struct {
	IDToken      string `json:"id_token"`
	RefreshToken string `json:"refresh_token"`
	Error        string `json:"error"`
}

// client plays the application by hand, at an address where nobody listens.
type client struct {
	t        *testing.T
	provider *gatewaytest.OIDCProvider
	browser  *gatewaytest.Browser
}

const (
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636 appendix B
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	callback  = "http://localhost:9/callback"
)

// authorize sends an authorization request and follows the sign-in to the answer that would leave the provider.
func (c client) authorize(change map[string]string) url.Values {
	c.t.Helper()
	q := url.Values{
		"client_id": {c.provider.AppID}, "redirect_uri": {callback}, "response_type": {"code"}, "scope": {"openid offline_access profile email"},
		"state": {"s"}, "nonce": {"n"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"}, "prompt": {"consent"}, "max_age": {"1209600"},
	}
	for name, value := range change {
		q.Set(name, value)
		if value == "" {
			q.Del(name)
		}
	}
	r := c.browser.Get(c.provider.Endpoint + "/oidc/auth?" + q.Encode())
	form := url.Values{"identifier": {"alice@example.com"}, "code": {"1"}}
	for range 10 {
		if location := r.Location(); strings.HasPrefix(location, callback) {
			u, err := url.Parse(location)
			if err != nil {
				c.t.Fatal(err)
			}
			return u.Query()
		} else if location != "" {
			r = c.browser.Get(location)
		} else if strings.Contains(r.Text, "identifier") {
			r = c.browser.Post(r.Request.URL.String(), form)
		} else {
			c.t.Fatalf("authorization request: got %s\n%s", r.Status, r.Text)
		}
	}
	c.t.Fatal("the authorization request does not end")
	return nil
}

// token calls the token endpoint.
func (c client) token(form url.Values) tokens {
	c.t.Helper()
	r := c.browser.Request(http.MethodPost, c.provider.Endpoint+"/oidc/token", strings.NewReader(form.Encode()),
		map[string]string{"Content-Type": "application/x-www-form-urlencoded"})
	r.SetBasicAuth(c.provider.AppID, c.provider.AppSecret)
	var out tokens
	if err := json.Unmarshal([]byte(c.browser.Do(r).Text), &out); err != nil {
		c.t.Fatal(err)
	}
	return out
}

func (c client) exchange(code string) tokens {
	c.t.Helper()
	return c.token(url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier}})
}

func (c client) refresh(token string) tokens {
	c.t.Helper()
	return c.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}

func newClient(t *testing.T, o *gatewaytest.OIDCProviderOptions) client {
	t.Helper()
	return client{t, gatewaytest.NewOIDCProvider(t, o), gatewaytest.NewBrowser(t, nil)}
}

// The provider refuses what Logto refuses, so that a test that passes says something.
func TestOIDCProviderRefuses(t *testing.T) {
	t.Parallel()
	c := newClient(t, nil)
	for name, change := range map[string]map[string]string{
		"a request without PKCE":       {"code_challenge": "", "code_challenge_method": ""},
		"PKCE with the plain verifier": {"code_challenge_method": "plain"},
		"another response type":        {"response_type": "none"},
	} {
		if got := c.authorize(change); got.Get("error") == "" || got.Get("code") != "" {
			t.Errorf("%s: got %v, want an error", name, got)
		}
	}
	r := c.browser.Get(c.provider.Endpoint + "/oidc/auth?" + url.Values{
		"client_id": {c.provider.AppID}, "redirect_uri": {"http://example.com/callback"}, "response_type": {"code"}, "scope": {"openid"},
	}.Encode())
	if r.StatusCode != http.StatusBadRequest || r.Location() != "" {
		t.Errorf("a redirect URI that is not of this machine: got %s to %q, want 400", r.Status, r.Location())
	}
	if got := c.exchange(c.authorize(map[string]string{"code_challenge": strings.Repeat("A", 43)}).Get("code")); got.Error != "invalid_grant" {
		t.Errorf("a code with another verifier: got %q, want invalid_grant", got.Error)
	}
	if got := c.exchange(c.authorize(map[string]string{"prompt": ""}).Get("code")); got.Error != "" || got.IDToken == "" || got.RefreshToken != "" {
		t.Errorf("without prompt=consent: got %q and refresh token %q, want an ID token alone", got.Error, got.RefreshToken)
	}
}

// A rotated refresh token works for three seconds more; used later, it takes the whole grant with it.
func TestOIDCProviderReuse(t *testing.T) {
	t.Parallel()
	c := newClient(t, &gatewaytest.OIDCProviderOptions{RotateAlways: true})
	clock := gatewaytest.NewClock()
	c.provider.SetClock(clock.Now())
	answer := c.authorize(nil)
	if got, want := answer.Get("iss"), c.provider.Endpoint+"/oidc"; got != want {
		t.Errorf("iss of the authorization response: got %q, want %q", got, want)
	}
	first := c.exchange(answer.Get("code"))
	second := c.refresh(first.RefreshToken)
	if second.RefreshToken == "" || second.RefreshToken == first.RefreshToken || second.IDToken == "" {
		t.Fatalf("refresh: got %q (%s), want another refresh token", second.RefreshToken, second.Error)
	}
	clock.Add(3 * time.Second)
	c.provider.SetClock(clock.Now())
	if got := c.refresh(first.RefreshToken); got.Error != "" {
		t.Errorf("the rotated token after three seconds: got %q, want tokens", got.Error)
	}
	clock.Add(time.Second)
	c.provider.SetClock(clock.Now())
	if got := c.refresh(first.RefreshToken); got.Error != "invalid_grant" {
		t.Errorf("the rotated token after four seconds: got %q, want invalid_grant", got.Error)
	}
	if got := c.refresh(second.RefreshToken); got.Error != "invalid_grant" {
		t.Errorf("the new token after that: got %q, want invalid_grant", got.Error)
	}
}
