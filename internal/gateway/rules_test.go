package gateway_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/gateway"
	"portero/internal/gatewaytest"
	"portero/internal/session"
	"portero/internal/session/memstore"
)

// Nobody who is not signed in writes anything to the store, whatever they ask for; but a callback that brings an attempt
// of ours is remembered, once.
func TestAnonymousRequestsWriteNothing(t *testing.T) {
	t.Parallel()
	rig, store := storeRig(t, gatewaytest.Options{})
	token := strings.Repeat("A", 43)

	sent := rig.Browser(t).Get(rig.URL + "/wiki") // an attempt of somebody else
	back := rig.Browser(t).Get(sent.Location()).Location()
	state := mustQuery(t, back).Get("state")
	tests := []struct {
		name, method, target string
		header               map[string]string
		cookie               string
	}{
		{name: "a page", target: "/wiki?q=1"},
		{name: "a script's request", target: "/wiki", header: map[string]string{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Accept": "application/json"}},
		{name: "a form", method: "POST", target: "/wiki", header: map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": rig.URL}},
		{name: "a frame", target: "/wiki", header: map[string]string{"Sec-Fetch-Dest": "iframe"}},
		{name: "a public page", target: "/public/x"},
		{name: "an optional page", target: "/optional/x"},
		{name: "a closed page", target: "/closed"},
		{name: "a path that is refused", target: "/wiki/%2e%2e/x"},
		{name: "a session nobody has", target: "/wiki", cookie: token},
		{name: "a session nobody has, optional", target: "/optional/x", cookie: token},
		{name: "a malformed session", target: "/wiki", cookie: "x"},
		{name: "sign-in", target: "/sign-in?return_to=/wiki&fresh=1"},
		{name: "a callback without state", target: "/callback?code=x"},
		{name: "a callback with a foreign state", target: "/callback?code=x&state=" + strings.Repeat("x", 200)},
		{name: "a callback with somebody else's state", target: "/callback?code=x&state=" + url.QueryEscape(state) + "&iss=" + url.QueryEscape(rig.Issuer.URL+"/oidc")},
		{name: "sign-out", target: "/sign-out"},
		{name: "sign-out, sent", method: "POST", target: "/sign-out", header: map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": rig.URL}, cookie: token},
		{name: "the own page", target: "/_portero/"},
		{name: "who is it", target: "/_portero/session", cookie: token},
		{name: "signed out", target: "/_portero/signed-out?state=x"},
		{name: "continue", target: "/_portero/continue"},
		{name: "the language", target: "/_portero/language?lang=es&return_to=/"},
		{name: "ending sessions", method: "POST", target: "/_portero/sessions/end", header: map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": rig.URL}},
		{name: "health", target: "/_portero/healthz"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := store.writes()
			b := rig.Browser(t)
			if tt.cookie != "" {
				b.SetCookie("localhost", rig.Cookie(), tt.cookie)
			}
			method := tt.method
			if method == "" {
				method = http.MethodGet
			}
			for range 3 {
				b.Do(b.Request(method, rig.URL+tt.target, nil, tt.header))
			}
			if got := store.writes() - before; got != 0 {
				t.Errorf("writes: got %d, want 0", got)
			}
		})
	}

	rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.AuthError = "access_denied" })
	b := rig.Browser(t)
	before := store.writes()
	back = b.Get(b.Get(rig.URL + "/wiki").Location()).Location()
	b.Get(back)
	b.Get(back)
	if got := store.writes() - before; got != 1 {
		t.Errorf("writes for an attempt of ours that came back twice: got %d, want 1", got)
	}
}

func mustQuery(t testing.TB, address string) url.Values {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

// held is a store whose next answer about markers waits, once it has been read.
type held struct {
	session.Store
	arm     atomic.Bool
	reached chan struct{}
	release chan struct{}
}

func (s *held) Marked(ctx context.Context, ms ...session.Marker) ([]time.Time, error) {
	at, err := s.Store.Marked(ctx, ms...)
	if s.arm.CompareAndSwap(true, false) {
		close(s.reached)
		<-s.release
	}
	return at, err
}

// A request that read its session before a sign-out was answered, and goes on afterwards, is not served with it.
func TestSignOutOvertakesALookup(t *testing.T) {
	t.Parallel()
	clock := gatewaytest.NewClock()
	store := &held{Store: memstore.New(memstore.Config{Now: clock.Now}), reached: make(chan struct{}), release: make(chan struct{})}
	rig := gatewaytest.New(t, &gatewaytest.Options{Clock: clock, Gateway: gateway.Options{Store: store}})
	b := rig.SignedIn(t, "/")
	slow := twin(t, rig, b)
	rig.Upstream.Forget()
	clock.Add(2 * time.Minute) // what was found a moment ago is asked for again

	store.arm.Store(true)
	answer := make(chan *gatewaytest.Response, 1)
	go func() { answer <- slow.Get(rig.URL + "/reports") }()
	<-store.reached
	out := b.Post(rig.URL+"/sign-out", nil)
	close(store.release)
	if out.StatusCode != http.StatusSeeOther {
		t.Errorf("signing out: got %s, want 303", out.Status)
	}
	if got := <-answer; got.StatusCode == http.StatusOK || strings.Contains(got.Text, "the application") {
		t.Errorf("the overtaken request: got %s %q, want no answer of the application", got.Status, got.Text)
	}
	if got := rig.Upstream.Requests(); len(got) != 0 {
		t.Errorf("after the sign-out the upstream got %q", got)
	}
}
