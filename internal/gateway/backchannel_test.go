package gateway_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"portero/internal/gateway"
	"portero/internal/gatewaytest"
	"portero/internal/session"
	"portero/internal/session/memstore"
)

// The cases of this file and its sibling are BL-01 to BL-14 of the catalogue of attacks: logouts that Logto sends.

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

func logoutForm(token string) string { return url.Values{"logout_token": {token}}.Encode() }

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

// household is three browsers of two people: Alice at home on both hosts, Alice at work, and Bob.
type household struct {
	*gatewaytest.Rig
	home, work, bob *gatewaytest.Browser
}

func newHousehold(t *testing.T, o *gatewaytest.Options) household {
	t.Helper()
	h := household{Rig: gatewaytest.New(t, o)}
	as(h.Rig, "alice", "home")
	h.home = h.SignedIn(t, "/")
	signIn(t, h.home, h.Second+"/")
	as(h.Rig, "alice", "work")
	h.work = h.SignedIn(t, "/")
	as(h.Rig, "bob", "bobs")
	h.bob = h.SignedIn(t, "/")
	return h
}

// in names who is signed in where.
func (h household) in(t *testing.T) []string {
	t.Helper()
	var in []string
	for _, one := range []struct {
		name    string
		b       *gatewaytest.Browser
		address string
	}{{"home", h.home, h.URL}, {"home, second host", h.home, h.Second}, {"work", h.work, h.URL}, {"bob", h.bob, h.URL}} {
		if isIn(t, one.b, one.address+"/") {
			in = append(in, one.name)
		}
	}
	return in
}

func TestBL01BackchannelLogout(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		change  map[string]any
		left    []string
		revoked int
	}{
		{"by sid", map[string]any{"sub": nil, "sid": "home"}, []string{"work", "bob"}, 2},
		{"by sub", map[string]any{"sub": "alice", "sid": nil}, []string{"bob"}, 3},
		{"by both", map[string]any{"sub": "alice", "sid": "home"}, []string{"work", "bob"}, 2},
		{"a sid that nobody has", map[string]any{"sub": "alice", "sid": "elsewhere"}, []string{"home", "home, second host", "work", "bob"}, 0},
		{"somebody who was never here", map[string]any{"sub": "carol", "sid": nil}, []string{"home", "home, second host", "work", "bob"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHousehold(t, nil)
			wantLogout(t, tt.name, h.Logout(t, h.Issuer.LogoutToken(edited(tt.change))), http.StatusOK)
			if got := h.in(t); !slices.Equal(got, tt.left) {
				t.Errorf("still signed in: got %q, want %q", got, tt.left)
			}
			eventually(t, "the rows are gone", func() bool { return h.Sessions(t) == len(tt.left) })
			eventually(t, "the refresh tokens are taken back", func() bool { return len(h.Issuer.Revoked()) == tt.revoked })
			eventually(t, "it is in the audit log", func() bool {
				return strings.Count(h.Log.String(), `"reason":"backchannel-logout"`) == max(1, tt.revoked)
			})
		})
	}
	t.Run("on the second host", func(t *testing.T) {
		t.Parallel()
		h := newHousehold(t, nil)
		b := h.Browser(t)
		token := h.Issuer.LogoutToken(edited(map[string]any{"sub": "alice", "sid": "home"}))
		r := b.Do(b.Request(http.MethodPost, h.Second+gatewaytest.LogoutPath, strings.NewReader(logoutForm(token)),
			map[string]string{"Content-Type": "application/x-www-form-urlencoded"}))
		wantLogout(t, "there", r, http.StatusOK)
		if got, want := h.in(t), []string{"work", "bob"}; !slices.Equal(got, want) {
			t.Errorf("still signed in: got %q, want %q", got, want)
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

// BL-01, on all replicas: what one has answered is known to the other a second later, whatever it keeps in memory.
func TestBL01OnAllReplicas(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]map[string]any{"by sid": {"sub": nil}, "by sub": {"sid": nil}, "by both": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rigs := replicas(t, memstore.New(memstore.Config{}), 2)
			a := rigs[0].SignedIn(t, "/")
			b := at(t, a, rigs[0], rigs[1])
			if !isIn(t, b, rigs[1].URL+"/") {
				t.Fatal("the session of one replica is none at the other")
			}
			token := rigs[0].Issuer.LogoutToken(edited(change))
			wantLogout(t, name, rigs[0].Logout(t, token), http.StatusOK)
			answered := time.Now()
			if isIn(t, a, rigs[0].URL+"/") {
				t.Error("where the logout came in: still signed in")
			}
			for {
				begun := time.Now()
				if !isIn(t, b, rigs[1].URL+"/") {
					break
				}
				if after := begun.Sub(answered); after > time.Second {
					t.Fatalf("the other replica serves a request that begins %s after the logout", after)
				}
			}
			// BL-09: a copy at another replica is a copy.
			wantLogout(t, "the same at the other replica", rigs[1].Logout(t, token), http.StatusBadRequest)
		})
	}
}

// Tokens that are refused do nothing.
func TestBackchannelRefusals(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, &gatewaytest.Options{Clock: gatewaytest.NewClock()})
	b := rig.SignedIn(t, "/")
	other := gatewaytest.NewIssuer(t) // has a key that nobody knows
	now := rig.Clock.Now().Unix()
	claims := func(name string, value any) func(header, claims map[string]any) {
		return edited(map[string]any{name: value})
	}
	header := func(name string, value any) func(header, claims map[string]any) {
		return func(header, _ map[string]any) {
			if header[name] = value; value == nil {
				delete(header, name)
			}
		}
	}
	event := func(value any) map[string]any { return map[string]any{gatewaytest.LogoutEvent: value} }
	var idToken string
	rig.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.EditAnswer = func(answer map[string]any) { idToken, _ = answer["id_token"].(string) }
	})
	rig.SignedIn(t, "/")
	tokens := map[string]string{
		"BL-02 empty signature":   strings.TrimRight(rig.Issuer.LogoutToken(header("alg", "none")), "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
		"BL-04 another issuer":    other.LogoutToken(nil),
		"BL-05 JW-05 another key": other.LogoutToken(edited(map[string]any{"iss": rig.Issuer.URL + "/oidc"})),
		"BL-07 ID token":          idToken,
		"BL-07 no token":          "abc",
		"BL-07 empty":             "",
	}
	for name, edit := range map[string]func(header, claims map[string]any){
		"BL-02 none":              header("alg", "none"),
		"BL-02 nOnE":              header("alg", "nOnE"),
		"BL-02 no alg":            header("alg", nil),
		"BL-03 HS256":             header("alg", "HS256"),
		"BL-03 another of ours":   header("alg", "RS256"),
		"BL-03 another curve":     header("alg", "ES256"),
		"BL-04 iss":               claims("iss", "https://evil.example/oidc"),
		"BL-04 iss with a slash":  claims("iss", rig.Issuer.URL+"/oidc/"),
		"BL-04 aud":               claims("aud", "another-client"),
		"BL-04 aud list":          claims("aud", []string{"a", "b"}),
		"BL-04 no aud":            claims("aud", nil),
		"BL-05 no events":         claims("events", nil),
		"BL-05 empty events":      claims("events", map[string]any{}),
		"BL-05 another event":     claims("events", map[string]any{"https://example.com/x": map[string]any{}}),
		"BL-05 event no object":   claims("events", event(true)),
		"BL-05 events a string":   claims("events", gatewaytest.LogoutEvent),
		"BL-06 nonce":             claims("nonce", "n"),
		"BL-06 empty nonce":       claims("nonce", ""),
		"BL-07 typ JWT":           header("typ", "JWT"),
		"BL-07 typ at+jwt":        header("typ", "at+jwt"),
		"BL-07 crit":              header("crit", []string{"exp"}),
		"BL-07 jku":               header("jku", rig.Issuer.URL+"/evil"),
		"BL-08 expired":           claims("exp", now),
		"BL-08 iat old":           claims("iat", now-121),
		"BL-08 iat in the future": claims("iat", now+61),
		"BL-08 no iat":            claims("iat", nil),
		"BL-08 no jti":            claims("jti", nil),
		"BL-08 empty jti":         claims("jti", ""),
		"BL-08 long jti":          claims("jti", strings.Repeat("j", 256)),
		"BL-10 neither":           edited(map[string]any{"sub": nil, "sid": nil}),
		"BL-10 empty sub":         claims("sub", ""),
		"BL-10 empty sub alone":   edited(map[string]any{"sub": "", "sid": nil}),
		"BL-10 empty sid alone":   edited(map[string]any{"sid": "", "sub": nil}),
		"BL-10 both empty":        edited(map[string]any{"sid": "", "sub": ""}),
		"BL-10 sid of another":    claims("sub", "bob"),
	} {
		tokens[name] = rig.Issuer.LogoutToken(edit)
	}
	rows := rig.Sessions(t)
	for name, token := range tokens {
		t.Run(name, func(t *testing.T) {
			r := rig.Logout(t, token)
			wantLogout(t, name, r, http.StatusBadRequest)
			if !isIn(t, b, rig.URL+"/") || rig.Sessions(t) != rows {
				t.Error("a session has ended")
			}
			code := r.Header.Get("Portero-Code")
			if got := strings.Count(rig.Log.String(), code); code == "" || got != 1 {
				t.Errorf("lines of the log with the support code: got %d, want 1", got)
			}
			for _, part := range strings.Split(token, ".") {
				if len(part) > 3 && (strings.Contains(rig.Log.String(), part) || strings.Contains(r.Text, part)) {
					t.Error("the log or the answer has a part of the token")
				}
			}
		})
	}
	if got := rig.Issuer.Calls("/evil"); got != 0 {
		t.Errorf("calls to an address of a token: got %d, want 0", got)
	}
	wantLogout(t, "a good one at last", rig.Logout(t, rig.Issuer.LogoutToken(nil)), http.StatusOK)
	if isIn(t, b, rig.URL+"/") {
		t.Error("a good one at last: still signed in")
	}
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
