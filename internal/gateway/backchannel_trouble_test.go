package gateway_test

import (
	"context"
	"fmt"
	"net/http"
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

// soon is the second within which a logout is answered, and room for a busy machine.
const soon = time.Second + 500*time.Millisecond

func TestBL09Replay(t *testing.T) {
	t.Parallel()
	rig, store := storeRig(t, gatewaytest.Options{})
	token := rig.Issuer.LogoutToken(nil)
	b := rig.SignedIn(t, "/")
	wantLogout(t, "the first", rig.Logout(t, token), http.StatusOK)
	if isIn(t, b, rig.URL+"/") {
		t.Error("still signed in")
	}
	rig.Clock.Add(time.Second)
	signIn(t, b, rig.URL+"/") // with the same sid
	for range 3 {
		wantLogout(t, "a copy", rig.Logout(t, token), http.StatusBadRequest)
	}
	// Another jti under the same claims is another logout, and one jti is one, whatever else is said.
	same := rig.Issuer.LogoutToken(func(_, claims map[string]any) { claims["jti"] = claimsOf(t, token)["jti"] })
	wantLogout(t, "another token with that jti", rig.Logout(t, same), http.StatusBadRequest)
	if !isIn(t, b, rig.URL+"/") {
		t.Error("a copy has ended the session that came after")
	}

	store.fails.Store(true)
	wantLogout(t, "a copy while the store is down", rig.Logout(t, token), http.StatusServiceUnavailable)
	store.fails.Store(false)

	// While the store cannot be asked, nothing is accepted, and nothing is spent; but it is not forgotten either. Of the
	// copy, what came after the token was spared.
	if !isIn(t, b, rig.URL+"/") {
		t.Error("a copy that came while the store was down has ended the session that came after")
	}
	for name, change := range map[string]map[string]any{"by sid": {"sub": nil}, "by sub": {"sid": nil}, "by both": nil} {
		next := rig.Issuer.LogoutToken(edited(change))
		for trouble, flag := range map[string]*atomic.Bool{"down": &store.fails, "read-only": &store.forgets, "hanging": &store.hangs} {
			flag.Store(true)
			began := time.Now()
			wantLogout(t, name+", store "+trouble, rig.Logout(t, next), http.StatusServiceUnavailable)
			if took := time.Since(began); took > soon {
				t.Errorf("%s, store %s: it took %s", name, trouble, took)
			}
			flag.Store(false)
		}
		wantLogout(t, name+", store back", rig.Logout(t, next), http.StatusOK)
		if isIn(t, b, rig.URL+"/") {
			t.Errorf("%s, store back: still signed in", name)
		}
		wantLogout(t, name+", once more", rig.Logout(t, next), http.StatusBadRequest)
		rig.Clock.Add(time.Minute) // whoever signs in three times a minute is taken for a loop
		signIn(t, b, rig.URL+"/")
	}
}

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

func TestBL11Transport(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	b := rig.SignedIn(t, "/")
	const form = "application/x-www-form-urlencoded"
	good := func() string { return rig.Issuer.LogoutToken(nil) }
	for _, tt := range []struct {
		name, contentType, body string
		change                  func(*http.Request)
		status                  int
	}{
		{"JSON", "application/json", `{"logout_token":"` + good() + `"}`, nil, 400},
		{"form that says JSON", "application/json", logoutForm(good()), nil, 400},
		{"JWT", "application/logout+jwt", good(), nil, 400},
		{"multipart", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"logout_token\"\r\n\r\n" + good() + "\r\n--x--\r\n", nil, 400},
		{"plain text", "text/plain", logoutForm(good()), nil, 400},
		{"no content type", "", logoutForm(good()), nil, 400},
		{"two content types", form, logoutForm(good()), func(r *http.Request) { r.Header.Add("Content-Type", form) }, 400},
		{"in the query", form, "", func(r *http.Request) { r.URL.RawQuery = logoutForm(good()) }, 400},
		{"half in the query", form, "x=1", func(r *http.Request) { r.URL.RawQuery = logoutForm(good()) }, 400},
		{"none", form, "", nil, 400},
		{"empty", form, "logout_token=", nil, 400},
		{"two", form, logoutForm(good()) + "&" + logoutForm(good()), nil, 400},
		{"two, one empty", form, logoutForm(good()) + "&logout_token=", nil, 400},
		{"name in other case", form, "Logout_Token=" + good(), nil, 400},
		{"bad escape", form, logoutForm(good()) + "&x=%zz", nil, 400},
		{"semicolons", form, "x=1;" + logoutForm(good()), nil, 400},
		{"1 MiB", form, logoutForm(good()) + "&x=" + strings.Repeat("x", 1<<20), nil, 413},
		{"64 KiB and more", form, logoutForm(good()) + "&x=" + strings.Repeat("x", 64<<10), nil, 413},
		{"1 MiB of token", form, "logout_token=" + strings.Repeat("A", 1<<20), nil, 413},
		{"60 KiB of token", form, "logout_token=" + strings.Repeat("A", 60<<10), nil, 400},
		{"compressed", form, "\x1f\x8b\x08", func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, 400},
	} {
		wantLogout(t, tt.name, rig.PostLogout(t, tt.contentType, tt.body, tt.change), tt.status)
		if !isIn(t, b, rig.URL+"/") {
			t.Fatalf("%s: the session has ended", tt.name)
		}
	}

	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"} {
		r := rig.PostLogout(t, form, logoutForm(good()), func(r *http.Request) {
			r.Method = method
			if method == "OPTIONS" { // a preflight of CORS
				r.Header.Set("Origin", "https://evil.example")
				r.Header.Set("Access-Control-Request-Method", "POST")
			}
		})
		if r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") != "POST" {
			t.Errorf("%s: got %s and Allow %q, want 405 and POST", method, r.Status, r.Header.Get("Allow"))
		}
		for name := range r.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s: got the header %s", method, name)
			}
		}
	}
	if !isIn(t, b, rig.URL+"/") {
		t.Error("another method has ended the session")
	}
	rig.Upstream.Forget()

	for _, tt := range []struct {
		name, contentType, body string
		change                  func(*http.Request)
	}{
		{"with a charset", form + "; charset=UTF-8", "", nil},
		{"content type in capitals", "Application/X-WWW-Form-URLEncoded", "", nil},
		{"with something else", form, "a=1&a=2&", nil},
		{"with a query that means nothing", form, "", func(r *http.Request) { r.URL.RawQuery = "x=1&" + logoutForm("junk") }},
		{"with cookies, from another site", form, "", func(r *http.Request) {
			r.Header.Set("Cookie", rig.Cookie()+"=x; "+rig.Cookie()+"=y")
			r.Header.Set("Origin", "https://evil.example")
			r.Header.Set("Sec-Fetch-Site", "cross-site")
		}},
		{"chunked", form, "", func(r *http.Request) { r.ContentLength = -1 }},
	} {
		b := rig.SignedIn(t, "/")
		wantLogout(t, tt.name, rig.PostLogout(t, tt.contentType, tt.body+logoutForm(good()), tt.change), http.StatusOK)
		if isIn(t, b, rig.URL+"/") {
			t.Errorf("%s: still signed in", tt.name)
		}
	}
	for _, head := range rig.Upstream.Requests() {
		if strings.Contains(head, "backchannel") {
			t.Errorf("the application got %q", line(head))
		}
	}
}

// A body that does not come is not waited for.
func TestBackchannelSlowBody(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	b := rig.SignedIn(t, "/")
	body := logoutForm(rig.Issuer.LogoutToken(nil))
	_, host, _ := strings.Cut(rig.URL, "://")
	c := rig.Dial(t)
	began := time.Now()
	c.Send(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
		gatewaytest.LogoutPath, host, len(body), body[:len(body)-1]))
	a := c.Answer("POST")
	if took := time.Since(began); a.Status != http.StatusBadRequest || !a.Close || took > soon {
		t.Errorf("got %s after %s, connection closed %v; want 400 within a second, and the connection closed", a, took, a.Close)
	}
	if !isIn(t, b, rig.URL+"/") {
		t.Error("half a token has ended the session")
	}
}

func TestBL12UnknownKeys(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, &gatewaytest.Options{Clock: gatewaytest.NewClock()})
	b := rig.SignedIn(t, "/")
	before := rig.Issuer.Calls("/oidc/jwks")
	var wait sync.WaitGroup
	for worker := range 4 {
		wait.Go(func() {
			for n := range 60 {
				token := rig.Issuer.LogoutToken(func(header, _ map[string]any) { header["kid"] = fmt.Sprintf("random-%d-%d", worker, n) })
				wantLogout(t, "a random kid", rig.Logout(t, token), http.StatusBadRequest)
			}
		})
	}
	wait.Wait()
	if got := rig.Issuer.Calls("/oidc/jwks") - before; got > 1 {
		t.Errorf("fetches of the key set: got %d, want at most 1", got)
	}
	// Logto changes its key: people sign in at once, and its logouts count.
	rig.Issuer.Rotate()
	c := rig.SignedIn(t, "/")
	wantLogout(t, "with the new key", rig.Logout(t, rig.Issuer.LogoutToken(nil)), http.StatusOK)
	if isIn(t, b, rig.URL+"/") || isIn(t, c, rig.URL+"/") {
		t.Error("still signed in")
	}
}

// BL-13: a logout that arrives while a sign-in finishes ends what comes of it.
func TestBL13RaceWithSignIn(t *testing.T) {
	t.Parallel()
	for where, extra := range map[string]string{
		"/oidc/token": "",                                                                           // between the callback and the tokens
		"/oidc/me":    "identity: {headers: [{name: X-Department, claim: custom_data.department}]}", // between tokens and session
	} {
		for name, change := range map[string]map[string]any{"by sid": {"sub": nil}, "by sub": {"sid": nil}, "by both": nil} {
			for _, moved := range []time.Duration{0, time.Second} {
				t.Run(fmt.Sprintf("%s %s, %s later", where, name, moved), func(t *testing.T) {
					t.Parallel()
					s := newScene(t, &gatewaytest.Options{Extra: extra})
					silent(s, s.clock.Now())
					reached, release := make(chan struct{}), make(chan struct{})
					once := sync.OnceFunc(func() { close(reached) })
					s.rig.Issuer.Do(func(i *gatewaytest.Issuer) {
						i.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
							if r.URL.Path == where {
								once()
								<-release
							}
							return false
						}
					})
					done := make(chan *gatewaytest.Response)
					go func() { done <- s.b.Get(s.back) }()
					<-reached
					s.clock.Add(moved)
					wantLogout(t, "meanwhile", s.rig.Logout(t, s.rig.Issuer.LogoutToken(edited(change))), http.StatusOK)
					s.clock.Add(moved)
					close(release)
					<-done
					if isIn(t, s.b, s.asked) {
						t.Error("the session that was being made lives")
					}
					// Signing in once more works.
					s.clock.Add(time.Second)
					silent(s, s.clock.Now())
					signIn(t, s.b, s.asked)
				})
			}
		}
	}
}

// BL-14: a flood of logout tokens is bounded, and people sign in meanwhile. The clock stands still, so that the bound is
// exact.
func TestBL14Flood(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, &gatewaytest.Options{Clock: gatewaytest.NewClock()})
	b := rig.SignedIn(t, "/")
	kid := ""
	rig.Issuer.LogoutToken(func(header, _ map[string]any) { kid, _ = header["kid"].(string) })
	evil := gatewaytest.NewIssuer(t)
	forged := evil.LogoutToken(func(header, claims map[string]any) {
		header["kid"], claims["iss"], claims["iat"] = kid, rig.Issuer.URL+"/oidc", rig.Clock.Now().Unix()
	})
	var refused, limited atomic.Int64
	flood := func(n int, token string) {
		var wait sync.WaitGroup
		for range 4 {
			wait.Go(func() {
				for range n / 4 {
					switch r := rig.Logout(t, token); r.StatusCode {
					case http.StatusBadRequest:
						refused.Add(1)
					case http.StatusTooManyRequests:
						wantLogout(t, "the flood", r, http.StatusTooManyRequests)
						limited.Add(1)
					default:
						t.Errorf("the flood: got %s", r.Status)
					}
				}
			})
		}
		wait.Wait()
	}
	flood(100, "junk") // is not even looked at
	flood(320, forged)
	if refused.Load() != 300 || limited.Load() != 120 {
		t.Errorf("got %d times 400 and %d times 429, want 300 and 120", refused.Load(), limited.Load())
	}
	if c := rig.SignedIn(t, "/"); !isIn(t, c, rig.URL+"/") || !isIn(t, b, rig.URL+"/") {
		t.Error("signing in while logouts are limited does not work")
	}
	wantLogout(t, "a good one meanwhile", rig.Logout(t, rig.Issuer.LogoutToken(nil)), http.StatusTooManyRequests)
	rig.Clock.Add(time.Second)
	wantLogout(t, "a good one a second later", rig.Logout(t, rig.Issuer.LogoutToken(nil)), http.StatusOK)
	if isIn(t, b, rig.URL+"/") {
		t.Error("still signed in")
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
