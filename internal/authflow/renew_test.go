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

// renewal is a session that is due, and what renews it.
type renewal struct {
	flow     *authflow.Flow
	issuer   *gatewaytest.Issuer
	sessions *session.Manager
	clock    *gatewaytest.Clock
	due      *session.Session
}

func newRenewal(t *testing.T) *renewal {
	t.Helper()
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
	return &renewal{flow, issuer, sessions, clock, old}
}

// A request that read its session before the last refresh ended gets what that one brought, and asks Logto nothing.
func TestRenewOfAnOldSnapshot(t *testing.T) {
	t.Parallel()
	x := newRenewal(t)
	renewed, err := x.flow.Renew(t.Context(), x.due)
	if err != nil || renewed.AccessToken == x.due.AccessToken {
		t.Fatalf("the first refresh: got %v, want a new access token", err)
	}
	again, err := x.flow.Renew(t.Context(), x.due)
	if err != nil || again.AccessToken != renewed.AccessToken || again.Version != renewed.Version {
		t.Errorf("renewing the old snapshot: got %+v and %v, want what the first refresh brought", again, err)
	}
	if got := x.issuer.Calls("refresh_token"); got != 1 {
		t.Errorf("refreshes: got %d, want 1", got)
	}
}

// What another process has renewed while this one asked Logto stays: a newer token set is never overwritten by an older
// one. A record that merely moved, because it was used, takes what came.
func TestRenewalMeetsAnother(t *testing.T) {
	t.Parallel()
	for _, another := range []bool{true, false} {
		x := newRenewal(t)
		moved := false
		x.issuer.Do(func(i *gatewaytest.Issuer) {
			i.EditAnswer = func(map[string]any) { // the answer is on its way
				_, ok, err := x.sessions.Update(context.Background(), x.due, func(s *session.Session) {
					s.RetryAt = time.Time{}
					if another {
						s.AccessToken, s.RefreshToken, s.AccessExpires = "newer-access", "newer-refresh", x.clock.Now().Add(time.Hour)
					}
				})
				moved = ok && err == nil
			}
		})
		got, err := x.flow.Renew(t.Context(), x.due)
		if err != nil || !moved {
			t.Fatalf("got %v, moved %t", err, moved)
		}
		if newer := got.RefreshToken == "newer-refresh" && got.AccessToken == "newer-access"; newer != another {
			t.Errorf("another renewal %t: got the other's tokens %t", another, newer)
		}
		if got.AccessToken == x.due.AccessToken {
			t.Errorf("another renewal %t: got the tokens of before", another)
		}
		there, err := x.sessions.Reload(t.Context(), x.due)
		if err != nil || there.Session == nil || there.Session.AccessToken != got.AccessToken {
			t.Errorf("another renewal %t: the store has other tokens than were returned (%v)", another, err)
		}
	}
}
