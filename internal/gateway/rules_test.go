package gateway_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
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

// secrets collects what nobody may read in a log, a metric or a page.
type secrets struct {
	mu   sync.Mutex
	told map[string]string // :: value → what it is
	seen strings.Builder   // pages of the gateway
}

func (s *secrets) add(what, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(value) >= 12 { // anything shorter is no secret
		s.told[value] = what
	}
}

// go on along redirects, and take what is secret in them.
func (s *secrets) follow(t *testing.T, rig *gatewaytest.Rig, b *gatewaytest.Browser, r *gatewaytest.Response) *gatewaytest.Response {
	t.Helper()
	for range 20 {
		for _, c := range r.Cookies() {
			s.add("the cookie "+c.Name, c.Value)
		}
		if r.Header.Get("Proxy-Status") != "" || r.Request.URL.Path == "/callback" || strings.HasPrefix(r.Request.URL.Path, "/_portero/") {
			s.seen.WriteString(r.Text)
		}
		if r.StatusCode < 300 || r.StatusCode > 399 {
			return r
		}
		q := mustQuery(t, r.Location())
		ours := strings.HasPrefix(r.Location(), rig.URL+"/_portero/signed-out") || strings.Contains(r.Location(), "/oidc/session/end")
		for _, name := range []string{"state", "code", "nonce", "code_challenge", "id_token_hint"} {
			if !ours || name != "state" { // that of a sign-out holds a return path alone, and the language switch keeps it
				s.add(name, q.Get(name))
			}
		}
		r = b.Get(r.Location())
	}
	t.Fatalf("too many redirects, the last to %s", r.Location())
	return nil
}

// Whatever goes well or wrong, no secret, code, state, token, cookie or query is in the log or the metrics, and no secret
// of others or of Logto in a page.
func TestNothingSecretIsTold(t *testing.T) {
	t.Parallel()
	const query = "canary=querycanary0123456789"
	clock := gatewaytest.NewClock()
	rig := gatewaytest.New(t, &gatewaytest.Options{
		Clock: clock, Session: "store: memory, secret: canary-of-the-session-secret-0123456789",
		Routes: gatewaytest.DefaultRoutes + "  - {name: gone, path: /gone, upstreams: [{url: \"http://127.0.0.1:9\"}]}\n",
	})
	s := &secrets{told: map[string]string{}}
	s.add("the client secret", rig.Issuer.AppSecret)
	s.add("the session secret", "canary-of-the-session-secret-0123456789")
	s.add("the admin token", gatewaytest.AdminToken)
	s.add("an error's text", "canary-of-error-description")
	s.add("a refusal's body", "canary-of-a-refusal")
	s.add("credentials of an application", "canary-of-authorization")
	s.add("a cookie of an application", "canary-of-a-cookie")
	s.add("a fragment of a referer", "canary-of-a-referer")
	rig.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.AccessLife = 10 * time.Minute
		i.EditAnswer = func(answer map[string]any) {
			for _, name := range []string{"access_token", "refresh_token", "id_token"} {
				s.add(name, fmt.Sprint(answer[name]))
			}
		}
	})
	refuse := func(grant, code string) {
		rig.Issuer.Do(func(i *gatewaytest.Issuer) {
			i.Answer = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Form.Get("grant_type") != grant {
					return false
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprintf(w, `{"error": %q, "error_description": "canary-of-a-refusal %s %s"}`, code, r.Form.Get("code"), r.Form.Get("refresh_token"))
				return true
			}
		})
	}
	answer := func() { rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.Answer, i.AuthError, i.Edit = nil, "", nil }) }
	page := rig.URL + "/reports?" + query
	carry := map[string]string{
		"Authorization": "Bearer canary-of-authorization", "Cookie": "app=canary-of-a-cookie", "Referer": rig.URL + "/x?canary-of-a-referer",
	}

	// A sign-in, its answer again in the same browser and in another one, and without its cookies.
	b := rig.Browser(t)
	r := b.Do(b.Request(http.MethodGet, page, nil, carry))
	back := b.Get(r.Location()).Location()
	if last := s.follow(t, rig, b, r); last.StatusCode != http.StatusOK {
		t.Fatalf("signing in: got %s\n%s", last.Status, last.Text)
	}
	s.add("a code", mustQuery(t, back).Get("code"))
	for _, who := range []*gatewaytest.Browser{b, rig.Browser(t), rig.Browser(t)} {
		s.follow(t, rig, who, who.Get(back))
	}
	b.Do(b.Request(http.MethodGet, rig.URL+"/gone?"+query, nil, carry)) // its application is away
	b.Do(b.Request(http.MethodGet, rig.URL+"/office?"+query, nil, carry))
	b.Do(b.Request(http.MethodGet, rig.URL+"/_portero/session?"+query, nil, carry))
	b.Do(b.Request(http.MethodGet, rig.URL+"/reports/%2e%2e?"+query, nil, carry))
	garbage := rig.Browser(t)
	garbage.SetCookie("localhost", rig.Cookie(), "canary-of-a-cookie"+strings.Repeat("A", 25))
	s.follow(t, rig, garbage, garbage.Get(page))

	// A refresh, one that is refused for a while, and one that ends the session.
	clock.Add(9 * time.Minute)
	s.follow(t, rig, b, b.Get(page))
	eventually(t, "a refresh", func() bool { return rig.Issuer.Calls("refresh_token") > 0 })
	refuse("refresh_token", "temporarily_unavailable")
	clock.Add(11 * time.Minute)
	s.follow(t, rig, b, b.Get(page))
	refuse("refresh_token", "invalid_grant")
	clock.Add(11 * time.Minute)
	s.follow(t, rig, b, b.Get(page))
	answer()

	// Sign-ins that fail: at Logto, at the token endpoint, by their ID token.
	for _, code := range []string{"access_denied", "login_required", "server_error"} {
		rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.AuthError = code })
		who := rig.Browser(t)
		first := who.Get(who.Get(page).Location()).Location()
		s.follow(t, rig, who, who.Get(first+"&error_description=canary-of-error-description"))
	}
	answer()
	for _, code := range []string{"invalid_client", "invalid_grant", "canary-of-a-refusal"} {
		refuse("authorization_code", code)
		who := rig.Browser(t)
		s.follow(t, rig, who, who.Get(page))
	}
	answer()
	for _, wrong := range []string{"aud", "nonce", "iss", "sub"} {
		rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.Edit = func(c map[string]any) { c[wrong] = "" } })
		who := rig.Browser(t)
		s.follow(t, rig, who, who.Get(page))
	}
	answer()

	// A sign-out, with the page that asks.
	b = rig.Browser(t)
	s.follow(t, rig, b, b.Get(page))
	s.follow(t, rig, b, b.Get(rig.URL+"/sign-out?return_to="+url.QueryEscape("/reports?"+query)))
	if last := s.follow(t, rig, b, b.Post(rig.URL+"/sign-out", url.Values{"return_to": {"/reports?" + query}})); !strings.Contains(last.Text, "You are signed out") {
		t.Fatalf("signing out: got %s\n%s", last.Status, last.Text)
	}
	rig.Admin(t, http.MethodPost, "/api/reload")

	eventually(t, "the revocation", func() bool { return len(rig.Issuer.Revoked()) > 0 })
	for _, token := range rig.Issuer.Revoked() {
		s.add("a refresh token", token)
	}
	if len(s.told) < 60 {
		t.Errorf("secrets: got %d, want those of all these sign-ins", len(s.told))
	}
	log, status := rig.Log.String(), ""
	for _, path := range []string{"/metrics", "/readyz?verbose", "/api/status"} {
		status += rig.Admin(t, http.MethodGet, path).Text
	}
	var found []string
	for value, what := range s.told {
		for place, text := range map[string]string{"the log": log, "what the admin listener tells": status, "a page": s.seen.String()} {
			if strings.Contains(text, value) {
				found = append(found, what+" is in "+place)
			}
		}
	}
	for place, text := range map[string]string{"the log": log, "what the admin listener tells": status} {
		if strings.Contains(text, "querycanary") {
			found = append(found, "the query is in "+place)
		}
	}
	slices.Sort(found)
	for _, f := range slices.Compact(found) {
		t.Error(f)
	}
}

// What the admin listener serves is on no other listener, and what is behind its token not on the one for metrics.
func TestAdminStaysOnItsListener(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	alice := rig.SignedIn(t, "/")
	rig.Upstream.Forget()
	for _, path := range []string{"/metrics", "/readyz", "/healthz", "/api/status", "/debug/pprof/", "/debug/pprof/heap", "/debug/vars"} {
		for _, who := range []*gatewaytest.Browser{rig.Browser(t), alice} {
			// Under their own names they are the application's, and protected like everything of it.
			want := http.StatusFound
			if who == alice {
				want = http.StatusOK
			}
			got := who.Do(who.Request(http.MethodGet, rig.URL+path, nil, map[string]string{"Authorization": "Bearer " + gatewaytest.AdminToken}))
			if got.StatusCode != want || want == http.StatusOK && !strings.Contains(got.Text, "the application") {
				t.Errorf("%s: got %s %q, want %d and the application's page", path, got.Status, got.Text, want)
			}
			// Under the prefix there are none.
			if path == "/healthz" {
				continue
			}
			got = who.Do(who.Request(http.MethodGet, rig.URL+"/_portero"+path, nil, map[string]string{"Authorization": "Bearer " + gatewaytest.AdminToken}))
			if got.StatusCode != http.StatusNotFound {
				t.Errorf("/_portero%s: got %s, want 404", path, got.Status)
			}
		}
	}
	if got := alice.Do(alice.Request(http.MethodPost, rig.URL+"/_portero/api/reload", nil, map[string]string{"Authorization": "Bearer " + gatewaytest.AdminToken})); got.StatusCode != http.StatusNotFound {
		t.Errorf("/_portero/api/reload: got %s, want 404", got.Status)
	}

	admin := "http://" + rig.Gateway.AdminAddr().String()
	for _, path := range []string{"/debug/pprof/", "/debug/vars", "/api/status", "/", "/api/nothing"} {
		b := gatewaytest.NewBrowser(t, nil)
		if got := b.Get(admin + path); got.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s on the admin listener, without token: got %s, want 401", path, got.Status)
		}
	}
	for _, path := range []string{"/debug/pprof/", "/debug/vars"} {
		if got := rig.Admin(t, http.MethodGet, path); got.StatusCode != http.StatusNotFound {
			t.Errorf("%s on the admin listener, with token: got %s, want 404", path, got.Status)
		}
	}
}

// The listener for metrics has health, readiness and metrics, and nothing else, whatever token comes along.
func TestMetricsListenerHasNothingElse(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, &gatewaytest.Options{Admin: `listen: "127.0.0.1:0", token: ` + gatewaytest.AdminToken + `, metrics_listen: "127.0.0.1:0"`})
	address := "http://" + rig.Gateway.MetricsAddr().String()
	b := gatewaytest.NewBrowser(t, nil)
	for path, want := range map[string]int{
		"/healthz": 200, "/readyz": 200, "/metrics": 200, "/": 404, "/api/status": 404, "/debug/pprof/": 404, "/_portero/": 404,
	} {
		got := b.Do(b.Request(http.MethodGet, address+path, nil, map[string]string{"Authorization": "Bearer " + gatewaytest.AdminToken}))
		if got.StatusCode != want {
			t.Errorf("%s: got %s, want %d", path, got.Status, want)
		}
	}
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
	store := &held{Store: memstore.New(memstore.Config{}), reached: make(chan struct{}), release: make(chan struct{})}
	rig := gatewaytest.New(t, &gatewaytest.Options{Gateway: gateway.Options{Store: store}})
	b := rig.SignedIn(t, "/")
	slow := twin(t, rig, b)
	rig.Upstream.Forget()

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

// A form of ours is read as far as it can be one.
func TestFormsAreBounded(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	b := rig.SignedIn(t, "/")
	if got := b.Post(rig.URL+"/sign-out", url.Values{"return_to": {"/" + strings.Repeat("a", 64<<10)}}); got.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a form of more than 64 KiB: got %s, want 413", got.Status)
	}
	if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
		t.Errorf("the session afterwards: got %s, want 200", got.Status)
	}
	if got := b.Post(rig.URL+"/sign-out", url.Values{"return_to": {"/" + strings.Repeat("a", 32<<10)}}); got.StatusCode != http.StatusSeeOther {
		t.Errorf("a form of 32 KiB: got %s, want 303", got.Status)
	}
}
