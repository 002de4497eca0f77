package gateway_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"portero/internal/gateway"
	"portero/internal/gatewaytest"
	"portero/internal/session"
)

// Logouts that Logto sends; who might send them in its place is in the catalogue of attacks.

// edited changes claims of a logout token; nil removes one.
func edited(change map[string]any) func(header, claims map[string]any) {
	return func(_, claims map[string]any) {
		for name, value := range change {
			if claims[name] = value; value == nil {
				delete(claims, name)
			}
		}
	}
}

// wantLogout fails the test unless r is the answer to a logout: done (200), or an error in the words of the
// specification.
func wantLogout(t testing.TB, what string, r *gatewaytest.Response, status int) {
	t.Helper()
	if r.StatusCode != status {
		t.Errorf("%s: got %s, want %d\n%s", what, r.Status, status, r.Text)
		return
	}
	if got := r.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("%s: Cache-Control: got %q, want no-store", what, got)
	}
	if got := len(r.Cookies()); got != 0 {
		t.Errorf("%s: got %d cookies, want none", what, got)
	}
	if status == http.StatusOK {
		if r.Text != "" {
			t.Errorf("%s: got the body %q, want none", what, r.Text)
		}
		return
	}
	var answer struct {
		Error       string
		Description string `json:"error_description"`
	}
	if err := json.Unmarshal([]byte(r.Text), &answer); err != nil || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s: got %q as %q and error %v, want JSON", what, r.Text, r.Header.Get("Content-Type"), err)
	}
	want := "invalid_request"
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		want = "temporarily_unavailable"
		if r.Header.Get("Retry-After") == "" {
			t.Errorf("%s: there is no Retry-After", what)
		}
	}
	if answer.Error != want || answer.Description == "" {
		t.Errorf("%s: got %+v, want the error %s with a description", what, answer, want)
	}
}

// isIn reports whether the browser is signed in at an address.
func isIn(t testing.TB, b *gatewaytest.Browser, address string) bool {
	t.Helper()
	r := b.Get(address)
	if r.StatusCode != http.StatusOK && r.StatusCode != http.StatusFound {
		t.Errorf("%s: got %s, want 200 or 302", address, r.Status)
	}
	return r.StatusCode == http.StatusOK
}

// as makes the issuer sign in somebody.
func as(rig *gatewaytest.Rig, sub, sid string) {
	rig.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.Person = map[string]any{"sub": sub, "email": sub + "@example.com", "email_verified": true}
		if sid != "" {
			i.Person["sid"] = sid
		}
	})
}

// shared is a store for several gateways, which none of them closes.
type shared struct{ session.Store }

func (shared) Close() error { return nil }

// replicas are gateways over one store, with one issuer and one secret. The store is closed at the end of the test.
func replicas(t *testing.T, store session.Store, n int) []*gatewaytest.Rig {
	t.Helper()
	t.Cleanup(func() { store.Close() })
	issuer := gatewaytest.NewIssuer(t)
	rigs := make([]*gatewaytest.Rig, n)
	for i := range rigs {
		rigs[i] = gatewaytest.New(t, &gatewaytest.Options{
			Issuer: issuer, Session: `store: memory, secret: "0123456789abcdefghijklmnopqrstuvwxyzABCD"`, Gateway: gateway.Options{Store: shared{store}},
		})
	}
	return rigs
}

// at is a person's browser in front of another replica, with the cookie of the first.
func at(t *testing.T, b *gatewaytest.Browser, from, to *gatewaytest.Rig) *gatewaytest.Browser {
	t.Helper()
	c := to.Browser(t)
	c.SetCookie("localhost", to.Cookie(), b.Cookies("localhost")[from.Cookie()])
	return c
}

// A logout asks the next sign-in for a code, as a sign-out here does: Logto's own session must not undo it.
func TestBackchannelLogoutIsFresh(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]map[string]any{"by sid": {"sub": nil}, "by sub": {"sid": nil}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, nil)
			signedInAt := s.clock.Now()
			s.b.Get(s.back)
			s.clock.Add(time.Minute)
			wantLogout(t, name, s.rig.Logout(t, s.rig.Issuer.LogoutToken(edited(change))), http.StatusOK)
			r := again(t, s, signedInAt)
			if got := wantToLogto(t, s.rig, r).Get("prompt"); got != "login consent" {
				t.Errorf("prompt: got %q, want login consent", got)
			}
			s.clock.Add(time.Minute)
			silent(s, s.clock.Now())
			wantRedirect(t, s.b.Get(answered(t, s.rig, s.b, r)), s.asked)
		})
	}
}

// A refresh token is taken back only when no session of that sign-in is left.
func TestBackchannelLogoutSparesASharedGrant(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	held := make(chan struct{})
	reached := make(chan struct{}, 8)
	s.b.Get(s.back)
	s.clock.Add(time.Minute)
	// Two tokens wait in the queue, the first at Logto; meanwhile the person signs in again with the same sid.
	signIn(t, s.b, s.rig.Second+"/")
	s.rig.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/oidc/token/revocation" {
				reached <- struct{}{}
				<-held
			}
			return false
		}
	})
	wantLogout(t, "the logout", s.rig.Logout(t, s.rig.Issuer.LogoutToken(nil)), http.StatusOK)
	<-reached
	s.clock.Add(time.Minute)
	signIn(t, s.b, s.asked)
	close(held)
	eventually(t, "the first is taken back", func() bool { return len(s.rig.Issuer.Revoked()) == 1 })
	s.rig.Stop(t) // works the queue off
	if got := len(s.rig.Issuer.Revoked()); got != 1 {
		t.Errorf("revoked refresh tokens: got %d, want 1: the second belongs to a grant that lives on", got)
	}
}
