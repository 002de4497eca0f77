package authflow_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"portero/internal/authflow"
	"portero/internal/gatewaytest"
	"portero/internal/logto"
	"portero/internal/outbound"
	"portero/internal/seal"
	"portero/internal/session"
	"portero/internal/session/memstore"
)

// A request that read its session before the last refresh ended gets what that one brought, and asks Logto nothing: a
// newer token set is not renewed on behalf of an older one.
func TestRenewOfAnOldSnapshot(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	clock, issuer := gatewaytest.NewClock(), gatewaytest.NewIssuer(t)
	issuer.Do(func(i *gatewaytest.Issuer) { i.Now, i.AccessLife = clock.Now, 10*time.Minute })
	endpoint, err := url.Parse(issuer.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	provider := logto.New(logto.Config{
		Endpoint: endpoint, AppID: issuer.AppID, AppSecret: issuer.AppSecret, Client: outbound.New(outbound.Config{}), Now: clock.Now,
	})
	t.Cleanup(provider.Close)
	keys, err := seal.NewKeyRing(bytes.Repeat([]byte("k"), 32))
	if err != nil {
		t.Fatal(err)
	}
	store := memstore.New(memstore.Config{Now: clock.Now})
	t.Cleanup(func() { store.Close() })
	sessions, err := session.NewManager(session.Config{
		Store: store, Keys: keys, Issuer: provider.Issuer(), ClientID: issuer.AppID, Lifetime: time.Hour, Cookie: "portero-80", Now: clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	refresher, revoker := authflow.NewRefresher(), authflow.NewRevoker(log)
	t.Cleanup(func() {
		refresher.Close(context.Background())
		revoker.Close(context.Background())
	})
	flow := &authflow.Flow{
		Provider: provider, Sessions: sessions, Keys: keys, Refresh: refresher, Revoker: revoker, Log: log, ClientID: issuer.AppID, Grace: time.Hour, Now: clock.Now,
	}

	// A sign-in, without a browser.
	verifier, challenge := logto.NewVerifier()
	address, err := provider.AuthorizationURL(ctx, logto.AuthorizationRequest{
		RedirectURI: "http://localhost/callback", State: "state-of-a-test", Nonce: "nonce-of-a-test", Challenge: challenge,
		Prompt: "consent", Scopes: []string{"openid", "offline_access"}, MaxAge: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	back := gatewaytest.NewBrowser(t, nil).Get(address)
	q, err := url.Parse(back.Location())
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := provider.Exchange(ctx, q.Query().Get("code"), "http://localhost/callback", verifier)
	if err != nil {
		t.Fatal(err)
	}
	id, err := provider.Verify(ctx, tokens.IDToken, logto.Expect{Nonce: "nonce-of-a-test"})
	if err != nil {
		t.Fatal(err)
	}
	old, err := sessions.Start(ctx, httptest.NewRecorder(), session.New{
		Subject: id.Subject, SID: id.SID, Host: "localhost", IDToken: tokens.IDToken, AccessToken: tokens.AccessToken, RefreshToken: tokens.RefreshToken,
		AccessExpires: clock.Now().Add(tokens.ExpiresIn), AccessLife: tokens.ExpiresIn, Claims: id.Claims, AuthTime: id.AuthTime,
	})
	if err != nil {
		t.Fatal(err)
	}

	clock.Add(11 * time.Minute)
	renewed, err := flow.Renew(ctx, old)
	if err != nil || renewed.AccessToken == old.AccessToken {
		t.Fatalf("the first refresh: got %v, want a new access token", err)
	}
	again, err := flow.Renew(ctx, old)
	if err != nil || again.AccessToken != renewed.AccessToken || again.Version != renewed.Version {
		t.Errorf("renewing the old snapshot: got %+v and %v, want what the first refresh brought", again, err)
	}
	if got := issuer.Calls("refresh_token"); got != 1 {
		t.Errorf("refreshes: got %d, want 1", got)
	}
}
