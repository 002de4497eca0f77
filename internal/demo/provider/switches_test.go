package provider_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"portero/internal/demo/provider"
)

func decode(t *testing.T, r io.Reader, into any) {
	t.Helper()
	if err := json.NewDecoder(r).Decode(into); err != nil {
		t.Fatal(err)
	}
}

// unverified returns header and claims of a token that need not be right.
func unverified(t *testing.T, raw string) (jose.Header, map[string]any) {
	t.Helper()
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.ES384, jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := token.UnsafeClaimsWithoutVerification(&claims); err != nil {
		t.Fatal(err)
	}
	return token.Headers[0], claims
}

func TestBehaviour(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	change := func(f func(*provider.Behaviour)) {
		w.Switches().Change(func(b *provider.Behaviour) { *b = provider.Behaviour{}; f(b) })
	}
	change(func(*provider.Behaviour) {})
	b.signedIn("ann@example.com")
	silent := func() url.Values { return b.open(w.authorization(nil)).location(t).Query() }
	issue := func() tokens { return w.redeem(silent().Get("code")) }

	header, claims := unverified(t, issue().IDToken)
	if _, typ := header.ExtraHeaders["typ"]; typ || claims["at_hash"] != nil {
		t.Errorf("1.42: got header %v, at_hash %v", header, claims["at_hash"])
	}
	change(func(b *provider.Behaviour) { b.Line141 = true })
	header, claims = unverified(t, issue().IDToken)
	if header.ExtraHeaders["typ"] != "JWT" || len(claims["at_hash"].(string)) != 32 {
		t.Errorf("1.41: got header %v, at_hash %v", header, claims["at_hash"])
	}
	change(func(b *provider.Behaviour) { b.WrongNonce = true })
	if _, claims = unverified(t, issue().IDToken); claims["nonce"] == "nonce-1" || claims["nonce"] == nil {
		t.Errorf("wrong nonce: got %v", claims["nonce"])
	}
	change(func(b *provider.Behaviour) { b.WrongAudience = true })
	if _, claims = unverified(t, issue().IDToken); claims["aud"] == appID {
		t.Errorf("wrong audience: got %v", claims["aud"])
	}
	change(func(b *provider.Behaviour) { b.OmitIssuer = true })
	if q := silent(); q.Has("iss") || !q.Has("code") {
		t.Errorf("missing iss: got %v", q)
	}
	change(func(b *provider.Behaviour) {
		b.AccessTokenLifetime, b.IDTokenLifetime, b.RefreshTokenLifetime = time.Minute, 2*time.Minute, 3*time.Minute
	})
	short := issue()
	if _, claims = unverified(t, short.IDToken); short.ExpiresIn != 60 || claims["exp"].(float64)-claims["iat"].(float64) != 120 {
		t.Errorf("lifetimes: got %d and %v", short.ExpiresIn, claims)
	}
	w.clock.Advance(time.Minute)
	if status, _ := w.userinfo(short.AccessToken); status != 401 {
		t.Errorf("access token after its minute: got %d", status)
	}
	w.clock.Advance(2 * time.Minute)
	refused(t, "refresh token after its three minutes", w.refresh(short.RefreshToken), 400, "invalid_grant")

	change(func(*provider.Behaviour) {})
	token := issue().RefreshToken
	change(func(b *provider.Behaviour) { b.OmitRefreshToken = true })
	if got := w.refresh(token); got.RefreshToken != "" || got.IDToken == "" {
		t.Errorf("omitted refresh token: got %+v", got)
	}
	change(func(b *provider.Behaviour) { b.OmitIDToken = true })
	if got := w.refresh(token); got.RefreshToken != token || got.IDToken != "" || got.Status != 200 {
		t.Errorf("omitted ID token: got %+v", got)
	}
	change(func(b *provider.Behaviour) { b.DenyRefresh = true })
	refused(t, "denied", w.refresh(token), 400, "access_denied")
	change(func(b *provider.Behaviour) { b.RotateRefreshTokens = true })
	if got := w.refresh(token); got.Status != 200 || got.RefreshToken == token {
		t.Errorf("given back, and rotated: got %+v", got)
	}
}

func TestOutagesAndCounters(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := w.Switches()
	token := w.browser().signedIn("ann@example.com").RefreshToken
	if s.TokenCalls("authorization_code") != 1 || s.TokenCalls("refresh_token") != 0 || s.Calls(provider.Token) != 1 {
		t.Errorf("calls: got %d, %d of %d", s.TokenCalls("authorization_code"), s.TokenCalls("refresh_token"), s.Calls(provider.Token))
	}
	status := func(ctx context.Context, path string) int {
		req, _ := http.NewRequestWithContext(ctx, "GET", w.url+path, nil)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	s.Down(provider.KeySet, 503)
	if got := status(t.Context(), "/oidc/jwks"); got != 503 || s.Calls(provider.KeySet) != 1 {
		t.Errorf("down: got %d after %d calls", got, s.Calls(provider.KeySet))
	}
	if got := status(t.Context(), "/oidc/.well-known/openid-configuration"); got != 200 {
		t.Errorf("another endpoint: got %d", got)
	}
	s.Hang(provider.KeySet)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if got := status(ctx, "/oidc/jwks"); got != 0 {
		t.Errorf("hanging: got %d", got)
	}
	s.Up(provider.KeySet)
	if got := status(t.Context(), "/oidc/jwks"); got != 200 {
		t.Errorf("up: got %d", got)
	}
	s.Delay(provider.Token, 30*time.Millisecond)
	began := time.Now()
	if got := w.refresh(token); got.Status != 200 || time.Since(began) < 30*time.Millisecond || s.TokenCalls("refresh_token") != 1 {
		t.Errorf("delayed: got %d after %v", got.Status, time.Since(began))
	}
	s.Down(provider.Userinfo, 500)
	s.Up()
	if got, _ := w.userinfo("x"); got != 401 {
		t.Errorf("all up: got %d", got)
	}
}

func TestCloseEndsHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.Switches().Hang(provider.Token)
	done := make(chan struct{})
	go func() {
		defer close(done)
		resp, err := http.PostForm(w.url+"/oidc/token", url.Values{"grant_type": {"refresh_token"}})
		if err == nil {
			resp.Body.Close()
			t.Errorf("got %s", resp.Status)
		}
	}()
	for w.Switches().Calls(provider.Token) == 0 {
		select {
		case <-done:
			t.Fatal("the request did not hang")
		default:
			runtime.Gosched()
		}
	}
	w.Close()
	<-done
}
