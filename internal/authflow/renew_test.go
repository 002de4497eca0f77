package authflow_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
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
	flow     *authflow.Flow // of the first replica
	sessions *session.Manager
	issuer   *gatewaytest.Issuer
	grants   *gatewaytest.Grants
	clock    *gatewaytest.Clock
	store    session.Store
	due      *session.Session
}

// accessLife is how long access tokens live here.
const accessLife = 10 * time.Minute

func newRenewal(t testing.TB) *renewal {
	t.Helper()
	x := &renewal{clock: gatewaytest.NewClock(), issuer: gatewaytest.NewIssuer(t)}
	x.issuer.Do(func(i *gatewaytest.Issuer) { i.Now, i.AccessLife = x.clock.Now, accessLife })
	x.grants = gatewaytest.NewGrants(x.issuer)
	x.store = memstore.New(memstore.Config{Now: x.clock.Now})
	t.Cleanup(func() { x.store.Close() })
	x.flow = x.replica(t, authflow.NewRefresher(), nil, nil)
	x.sessions = x.flow.Sessions
	x.due = x.signIn(t)
	x.clock.Add(accessLife + time.Minute)
	return x
}

// replica is one more process over the same store. wrap and pass change what it has of the store and of the network;
// nil: nothing.
func (x *renewal) replica(t testing.TB, refresher *authflow.Refresher, wrap func(session.Store) session.Store, pass func(http.RoundTripper) http.RoundTripper) *authflow.Flow {
	t.Helper()
	endpoint, err := url.Parse(x.issuer.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	client := outbound.New(outbound.Config{})
	if pass != nil {
		client.Transport = pass(client.Transport)
	}
	provider := logto.New(logto.Config{Endpoint: endpoint, AppID: x.issuer.AppID, AppSecret: x.issuer.AppSecret, Client: client, Now: x.clock.Now})
	t.Cleanup(provider.Close)
	keys, err := seal.NewKeyRing(bytes.Repeat([]byte("k"), 32))
	if err != nil {
		t.Fatal(err)
	}
	store := x.store
	if wrap != nil {
		store = wrap(store)
	}
	sessions, err := session.NewManager(session.Config{
		Store: store, Keys: keys, Issuer: provider.Issuer(), ClientID: x.issuer.AppID, Lifetime: 30 * 24 * time.Hour, Cookie: "portero-80", Now: x.clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	revoker := authflow.NewRevoker(log)
	t.Cleanup(func() {
		refresher.Close(context.Background())
		revoker.Close(context.Background())
	})
	return &authflow.Flow{
		Provider: provider, Sessions: sessions, Keys: keys, Refresh: refresher, Revoker: revoker, Log: log, ClientID: x.issuer.AppID, Grace: time.Hour, Now: x.clock.Now,
	}
}

// signIn is a sign-in without a browser.
func (x *renewal) signIn(t testing.TB) *session.Session {
	t.Helper()
	ctx, provider := t.Context(), x.flow.Provider
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
	s, err := x.flow.Sessions.Start(ctx, httptest.NewRecorder(), session.New{
		Subject: id.Subject, SID: id.SID, Host: "localhost", IDToken: tokens.IDToken, AccessToken: tokens.AccessToken, RefreshToken: tokens.RefreshToken,
		AccessExpires: x.clock.Now().Add(tokens.ExpiresIn), AccessLife: tokens.ExpiresIn, Claims: id.Claims, AuthTime: id.AuthTime,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// stored is the session as the store has it, nil if it is gone.
func (x *renewal) stored(t testing.TB, s *session.Session) *session.Session {
	t.Helper()
	found, err := x.sessions.Reload(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return found.Session
}

// await waits until something that happens beside a call has happened.
func await(t testing.TB, what string, is func() bool) {
	t.Helper()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(15 * time.Second); !is(); <-look.C {
		if time.Now().After(deadline) {
			t.Fatalf("it never came true that %s", what)
		}
	}
}

// elsewhere renews a session as a process would that knows no leases.
func (x *renewal) elsewhere(change func(*session.Session)) bool {
	now, err := x.sessions.Reload(context.Background(), x.due)
	if err != nil || now.Session == nil {
		return false
	}
	_, ok, err := x.sessions.Update(context.Background(), now.Session, change)
	return ok && err == nil
}

// A request that read its session before the last refresh ended gets what that one brought, and asks Logto nothing.
func TestRenewOfAnOldSnapshot(t *testing.T) {
	t.Parallel()
	x := newRenewal(t)
	renewed, err := x.flow.Renew(t.Context(), x.due)
	if err != nil || renewed.AccessToken == x.due.AccessToken {
		t.Fatalf("the first refresh: got %v, want a new access token", err)
	}
	for name, replica := range map[string]*authflow.Flow{"here": x.flow, "another replica": x.replica(t, authflow.NewRefresher(), nil, nil)} {
		again, err := replica.Renew(t.Context(), x.due)
		if err != nil || again.AccessToken != renewed.AccessToken || again.Version != renewed.Version {
			t.Errorf("%s: renewing the old snapshot: got %+v and %v, want what the first refresh brought", name, again, err)
		}
	}
	if got := len(x.grants.Presented()); got != 1 {
		t.Errorf("refreshes: got %d, want 1", got)
	}
}

// What another process has renewed while this one asked Logto stays: a newer token set is never overwritten by an older
// one, even if Logto left the refresh token as it was. A record that merely moved, because it was sealed anew, takes
// what came.
func TestRenewalMeetsAnother(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		other func(*session.Session)
		wins  bool
	}{
		"with another refresh token": {func(s *session.Session) {
			s.AccessToken, s.RefreshToken, s.AccessExpires = "newer-access", "newer-refresh", s.AccessExpires.Add(time.Hour)
		}, true},
		"with the same refresh token": {func(s *session.Session) {
			s.AccessToken, s.AccessExpires = "newer-access", s.AccessExpires.Add(time.Hour)
		}, true},
		"with nothing new": {func(*session.Session) {}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newRenewal(t)
			var moved atomic.Bool
			x.grants.Keep = true
			x.grants.Deliver = func(string) bool { // the answer is on its way
				moved.Store(x.elsewhere(c.other))
				return true
			}
			got, err := x.flow.Renew(t.Context(), x.due)
			if err != nil || !moved.Load() {
				t.Fatalf("got %v, moved %t", err, moved.Load())
			}
			if newer := got.AccessToken == "newer-access"; newer != c.wins {
				t.Errorf("got the other's tokens %t, want %t", newer, c.wins)
			}
			if got.AccessToken == x.due.AccessToken {
				t.Error("got the tokens of before")
			}
			if there := x.stored(t, x.due); there == nil || there.AccessToken != got.AccessToken || there.RefreshToken != got.RefreshToken {
				t.Error("the store has other tokens than were returned")
			}
			if got := x.issuer.Revoked(); len(got) != 0 {
				t.Errorf("revoked: got %d tokens, want none: they are the grant of a living session", len(got))
			}
		})
	}
}

// A refusal of a token that another process has replaced meanwhile says nothing about the session.
func TestRefusedTokenWasReplaced(t *testing.T) {
	t.Parallel()
	for name, replaced := range map[string]bool{"replaced": true, "still the session's": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newRenewal(t)
			x.issuer.Do(func(i *gatewaytest.Issuer) {
				i.Answer = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path != "/oidc/token" {
						return false
					}
					if replaced && !x.elsewhere(func(s *session.Session) {
						s.AccessToken, s.RefreshToken, s.AccessExpires = "newer-access", "newer-refresh", x.clock.Now().Add(accessLife)
					}) {
						t.Error("the other process could not store its tokens")
					}
					gatewaytest.Refuse(w, http.StatusBadRequest, "invalid_grant")
					return true
				}
			})
			got, err := x.flow.Renew(t.Context(), x.due)
			there := x.stored(t, x.due)
			switch {
			case replaced && (err != nil || got.AccessToken != "newer-access" || there == nil):
				t.Errorf("got %v, session there: %t; want the newer tokens", err, there != nil)
			case !replaced && (!errors.Is(err, authflow.ErrSessionOver) || there != nil):
				t.Errorf("got %v, session there: %t; want its end", err, there != nil)
			}
		})
	}
}

// RT-05: a call that takes too long is broken off. The session goes on, on every replica, and nobody asks again at once:
// Logto may be overloaded, and what it made of the token is not known.
func TestRT05Timeout(t *testing.T) {
	t.Parallel()
	x := newRenewal(t)
	held := make(chan struct{})
	t.Cleanup(func() { close(held) })
	x.grants.Deliver = func(string) bool { <-held; return false }
	for n := range 3 {
		replica := x.replica(t, authflow.NewRefresherWithin(100*time.Millisecond), nil, nil)
		for range 2 {
			got, err := replica.Renew(t.Context(), x.due)
			if err != nil || got.AccessToken != x.due.AccessToken || got.UnreachableSince.IsZero() || !got.RetryAt.After(x.clock.Now()) {
				t.Errorf("replica %d: got %v, want the session as it was, put off", n, err)
			}
		}
	}
	if got := len(x.grants.Presented()); got != 1 {
		t.Errorf("refreshes: got %d, want 1", got)
	}
}

// The answer of a refresh is lost, and the person has gone: the process asks once more by itself, while a token that
// was rotated is still taken. Otherwise it would end the grant, of other sessions too, when it came again later.
func TestLostAnswerIsAskedForAgain(t *testing.T) {
	t.Parallel()
	x := newRenewal(t)
	var answers atomic.Int64
	x.grants.Deliver = func(string) bool { return answers.Add(1) > 1 }
	if got, err := x.flow.Renew(t.Context(), x.due); err != nil || got.AccessToken != x.due.AccessToken {
		t.Fatalf("got %v, want the session as it was", err)
	}
	x.clock.Add(2500 * time.Millisecond) // a little later by the clock of the test
	await(t, "the session has new tokens", func() bool { return x.stored(t, x.due).AccessToken != x.due.AccessToken })
	if got := len(x.grants.Presented()); got != 2 || x.grants.Killed() {
		t.Errorf("refreshes: got %d, the grant is dead %t; want 2, and a living one", got, x.grants.Killed())
	}
}

// stopped passes requests on, and stops what sent a refresh once its answer is there, as SIGSTOP does.
type stopped struct {
	http.RoundTripper
	meanwhile func() (refused bool)
}

func (s stopped) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := s.RoundTripper.RoundTrip(r)
	if err != nil || r.URL.Path != "/oidc/token" {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if s.meanwhile() {
		resp.StatusCode, resp.Body = http.StatusBadRequest, io.NopCloser(strings.NewReader(`{"error": "invalid_grant"}`))
	}
	return resp, nil
}

// An answer that is read after the lease has ended is discarded, for another process may have asked since. It is not
// taken back while the session lives, and is when that is gone.
func TestAnswerAfterTheLease(t *testing.T) {
	t.Parallel()
	const timeout = 300 * time.Millisecond
	for name, c := range map[string]struct {
		meanwhile func(*testing.T, *renewal, *authflow.Flow)
		presented int
		over      bool
		refused   bool
	}{
		"another process has refreshed": {func(t *testing.T, x *renewal, rival *authflow.Flow) {
			if got, err := rival.Renew(context.Background(), x.due); err != nil || got.AccessToken == x.due.AccessToken {
				t.Errorf("the other process: got %v", err)
			}
		}, 2, false, false},
		"nobody has":      {func(*testing.T, *renewal, *authflow.Flow) {}, 2, false, false},
		"it is a refusal": {func(*testing.T, *renewal, *authflow.Flow) {}, 2, false, true},
		"the person has signed out": {func(t *testing.T, x *renewal, rival *authflow.Flow) {
			if err := rival.Sessions.End(context.Background(), x.due, true); err != nil {
				t.Error(err)
			}
		}, 1, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newRenewal(t)
			rival := x.replica(t, authflow.NewRefresher(), nil, nil)
			var once atomic.Bool
			var refresher *authflow.Refresher
			var meanwhile *session.Session
			refresher = authflow.NewRefresherWithin(timeout)
			stopping := x.replica(t, refresher, nil, func(rt http.RoundTripper) http.RoundTripper {
				return stopped{rt, func() bool {
					if once.Swap(true) {
						return false
					}
					life := authflow.LeaseLife(refresher)
					for began, look := time.Now(), time.Tick(5*time.Millisecond); time.Since(began) <= life; <-look {
					}
					x.clock.Add(life) // the store's clock goes on too
					c.meanwhile(t, x, rival)
					meanwhile = x.stored(t, x.due)
					return c.refused
				}}
			})
			got, err := stopping.Renew(t.Context(), x.due)
			if over := errors.Is(err, authflow.ErrSessionOver); over != c.over || !over && err != nil {
				t.Fatalf("got %v, over %t; want over %t", err, over, c.over)
			}
			if got := len(x.grants.Presented()); got != c.presented {
				t.Errorf("refreshes: got %d, want %d", got, c.presented)
			}
			there := x.stored(t, x.due)
			if c.over {
				if there != nil {
					t.Error("the session is there")
				}
				await(t, "the token that came is taken back", func() bool { return len(x.issuer.Revoked()) == 1 })
				return
			}
			if there == nil || got.AccessToken != there.AccessToken || there.AccessToken == x.due.AccessToken {
				t.Fatal("the session has other tokens than were returned, or those of before")
			}
			if name == "another process has refreshed" && there.AccessToken != meanwhile.AccessToken {
				t.Error("what the other process had stored was overwritten")
			}
			if x.grants.Killed() || len(x.issuer.Revoked()) != 0 {
				t.Errorf("the grant is dead %t, revoked tokens %d; want a living one", x.grants.Killed(), len(x.issuer.Revoked()))
			}
		})
	}
}

// Nothing is sent on a lease so old that another process could have it before the answer is here.
func TestNothingIsSentOnAnOldLease(t *testing.T) {
	t.Parallel()
	x := newRenewal(t)
	const timeout = 300 * time.Millisecond
	var leases atomic.Int64
	slow := x.replica(t, authflow.NewRefresherWithin(timeout), func(s session.Store) session.Store {
		return slowLease{s, func() {
			if leases.Add(1) > 1 {
				return
			}
			x.clock.Add(time.Second) // the store gives it up in time
			for began, look := time.Now(), time.Tick(5*time.Millisecond); time.Since(began) < 2*timeout; <-look {
			}
			if got := len(x.grants.Presented()); got != 0 {
				t.Errorf("refreshes before there was a lease: %d", got)
			}
		}}
	}, nil)
	got, err := slow.Renew(t.Context(), x.due)
	if err != nil || got.AccessToken == x.due.AccessToken {
		t.Fatalf("got %v, want new tokens with the second lease", err)
	}
	if got := leases.Load(); got != 2 {
		t.Errorf("leases: got %d, want 2: the first came too late to be used", got)
	}
	if got := len(x.grants.Presented()); got != 1 {
		t.Errorf("refreshes: got %d, want 1", got)
	}
}

// slowLease has a process stopped after its lease was given.
type slowLease struct {
	session.Store
	stop func()
}

func (s slowLease) Lease(ctx context.Context, name, holder string, keep time.Duration) (bool, error) {
	ok, err := s.Store.Lease(ctx, name, holder, keep)
	s.stop()
	return ok, err
}

// Renewing what is not due costs nothing.
func TestRenewCostsNothing(t *testing.T) {
	x := newRenewal(t)
	s, err := x.flow.Renew(t.Context(), x.due)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if got := testing.AllocsPerRun(1000, func() {
		if got, err := x.flow.Renew(ctx, s); err != nil || got != s {
			t.Errorf("got %v", err)
		}
	}); got != 0 {
		t.Errorf("allocations: got %v, want none", got)
	}
}

func BenchmarkRenewNotDue(b *testing.B) {
	x := newRenewal(b)
	ctx := b.Context()
	s, err := x.flow.Renew(ctx, x.due)
	if err != nil {
		b.Fatal(err)
	}
	x.flow.Now = nil // the test's clock has a lock
	s = fresh(s)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.flow.Renew(ctx, s); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRenewElsewhere is a request in the last fifth while another process refreshes.
func BenchmarkRenewElsewhere(b *testing.B) {
	x := newRenewal(b)
	ctx := b.Context()
	if _, ok, err := x.sessions.Lease(ctx, x.due, time.Hour); !ok || err != nil {
		b.Fatal(ok, err)
	}
	x.clock.Add(-2 * time.Minute)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.flow.Renew(ctx, x.due); err != nil {
			b.Fatal(err)
		}
	}
}

// fresh is a copy of s that was renewed now, by the real clock.
func fresh(s *session.Session) *session.Session {
	c := *s
	c.Names = slices.Clone(s.Names)
	c.AccessExpires, c.AccessLife = time.Now().Add(time.Hour), time.Hour
	return &c
}
