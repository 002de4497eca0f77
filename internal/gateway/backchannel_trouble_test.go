package gateway_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/gateway"
	"portero/internal/gatewaytest"
	"portero/internal/session"
	"portero/internal/session/memstore"
)

// soon is the second within which a logout is answered, and room for a busy machine.
const soon = time.Second + 500*time.Millisecond

// markless is a store that takes its time over what ends sessions, or does not do it, until it is told otherwise.
type markless struct {
	session.Store
	slow, hangs, fails atomic.Bool
}

func (s *markless) trouble(ctx context.Context) error {
	switch {
	case s.fails.Load():
		return errDisk
	case s.hangs.Load():
		<-ctx.Done()
		return ctx.Err()
	case s.slow.Load(): // each call within its time, all together not within a second
		select {
		case <-time.After(450 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (s *markless) Mark(ctx context.Context, m session.Marker, at time.Time, keep time.Duration) error {
	if err := s.trouble(ctx); err != nil {
		return err
	}
	return s.Store.Mark(ctx, m, at, keep)
}

func (s *markless) Publish(ctx context.Context, rs ...session.Revocation) error {
	if err := s.trouble(ctx); err != nil {
		return err
	}
	return s.Store.Publish(ctx, rs...)
}

func (s *markless) Now(ctx context.Context) (time.Time, error) {
	if err := s.trouble(ctx); err != nil {
		return time.Time{}, err
	}
	return s.Store.Now(ctx)
}

// A jti that is spent although the sessions could not be ended is no way to stay in: the logout is not confirmed, and
// done once the store can be asked.
func TestBackchannelLogoutIsNotLost(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]func(*markless) *atomic.Bool{
		"slow":    func(s *markless) *atomic.Bool { return &s.slow },
		"hanging": func(s *markless) *atomic.Bool { return &s.hangs },
		"failing": func(s *markless) *atomic.Bool { return &s.fails },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := &markless{Store: memstore.New(memstore.Config{})}
			rigs := replicas(t, store, 2)
			a := rigs[0].SignedIn(t, "/")
			b := at(t, a, rigs[0], rigs[1])
			if !isIn(t, b, rigs[1].URL+"/") {
				t.Fatal("not signed in at the other replica")
			}
			token := rigs[0].Issuer.LogoutToken(nil)
			trouble(store).Store(true)
			began := time.Now()
			wantLogout(t, "while markers are not written", rigs[0].Logout(t, token), http.StatusServiceUnavailable)
			if took := time.Since(began); took > soon {
				t.Errorf("it took %s", took)
			}
			trouble(store).Store(false)
			eventually(t, "the session has ended on both", func() bool {
				return !isIn(t, a, rigs[0].URL+"/") && !isIn(t, b, rigs[1].URL+"/")
			})
		})
	}
}

// Logto asks once: a logout that comes while the store is away is done when it is back.
func TestBackchannelLogoutDuringAnOutage(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]map[string]any{"by sid": {"sub": nil}, "by sub": {"sid": nil}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rig, store := storeRig(t, gatewaytest.Options{})
			b := rig.SignedIn(t, "/")
			rig.Clock.Add(time.Minute)
			token := rig.Issuer.LogoutToken(edited(change))
			store.fails.Store(true)
			wantLogout(t, "store down", rig.Logout(t, token), http.StatusServiceUnavailable)
			store.fails.Store(false)
			eventually(t, "the session has ended", func() bool { return !isIn(t, b, rig.URL+"/") })
		})
	}
}

// While the key set cannot be fetched, nobody knows: that is no 400.
func TestBackchannelLogtoDown(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"refusing": func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		},
		"hanging": func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			issuer := gatewaytest.NewIssuer(t)
			issuer.Do(func(i *gatewaytest.Issuer) {
				i.Answer = func(w http.ResponseWriter, r *http.Request) bool { return r.URL.Path == "/oidc/jwks" && answer(w, r) }
			})
			rig := gatewaytest.New(t, &gatewaytest.Options{Issuer: issuer, Gateway: gateway.Options{}})
			began := time.Now()
			wantLogout(t, name, rig.Logout(t, issuer.LogoutToken(nil)), http.StatusServiceUnavailable)
			if took := time.Since(began); took > soon {
				t.Errorf("it took %s", took)
			}
		})
	}
}
