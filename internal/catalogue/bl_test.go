package catalogue_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

var backchannelLogouts = family{ID: "BL", Title: "Back-channel logout", Attacks: []attack{
	{ID: "BL-01", Name: "a good one, by sid, by sub, by both", Want: "200 with no-store, and exactly those sessions end, on all hosts and all nodes", Test: goodLogouts},
	{ID: "BL-02", Name: "alg none", Want: "400, and nobody is signed out", Why: "conformance module", Test: refusedLogouts(unsignedLogouts)},
	{ID: "BL-03", Name: "HS256 with what everybody knows, or with the client secret", Want: "400, and nobody is signed out", Why: "confusion of algorithms", Test: refusedLogouts(symmetricLogouts)},
	{ID: "BL-04", Name: "wrong iss or aud", Want: "400, and nobody is signed out", Why: "conformance modules", Test: refusedLogouts(misaddressedLogouts)},
	{ID: "BL-05", Name: "events that are none", Want: "400, and nobody is signed out", Why: "conformance modules", Test: refusedLogouts(eventlessLogouts)},
	{ID: "BL-06", Name: "nonce", Want: "400, and nobody is signed out", Why: "conformance module: an ID token must not pass as a logout token", Test: refusedLogouts(logoutsWithNonce)},
	{ID: "BL-07", Name: "tokens of another kind", Want: "400, and nobody is signed out", Why: "confusion of tokens", Test: refusedLogouts(otherTokens)},
	{ID: "BL-08", Name: "times and jti", Want: "400 unless iat is of these two minutes; a missing exp is accepted", Why: "mod_auth_openidc, August 2026; Logto up to 1.41 sends no exp", Test: logoutTimes},
	{ID: "BL-09", Name: "replay", Want: "400 for a copy, on every node; without the store 503, and it is done later", Why: "the replay cache of mod_auth_openidc fails open", Test: replayedLogouts},
	{ID: "BL-10", Name: "nobody's, and another's", Want: "400; an empty sub is not everybody", Test: refusedLogouts(namelessLogouts)},
	{ID: "BL-11", Name: "transport", Want: "400, 405 or 413, nobody is signed out, and cookies mean nothing", Test: logoutTransport},
	{ID: "BL-12", Name: "unknown keys", Want: "one fetch of the key set at most", Why: "mod_auth_openidc, August 2026", Test: unknownLogoutKeys},
	{ID: "BL-13", Name: "race with a sign-in", Want: "what the sign-in makes ends with the logout", Why: "needs a marker by sid", Test: logoutDuringSignIn},
	{ID: "BL-14", Name: "flood", Want: "429 beyond two hundred and a hundred a second; people sign in meanwhile", Test: logoutFlood},
}}

// logoutAnswered fails unless an answer is that to a logout: done (200), or an error in the words of the specification.
func logoutAnswered(t *testing.T, what string, a *gatewaytest.Answer, status int) {
	t.Helper()
	if a.Status != status {
		t.Errorf("%s: got %s, want %d\n%s", what, a, status, a.Body)
		return
	}
	if got := a.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("%s: Cache-Control: got %q, want no-store", what, got)
	}
	if got := a.Header.Values("Set-Cookie"); len(got) != 0 {
		t.Errorf("%s: got the cookies %q, want none", what, got)
	}
	if status == http.StatusOK {
		if a.Body != "" {
			t.Errorf("%s: got the body %q, want none", what, a.Body)
		}
		return
	}
	var answer struct {
		Error       string
		Description string `json:"error_description"`
	}
	if err := json.Unmarshal([]byte(a.Body), &answer); err != nil || a.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s: got %q as %q (%v), want JSON", what, a.Body, a.Header.Get("Content-Type"), err)
	}
	want := "invalid_request"
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		want = "temporarily_unavailable"
		if a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: there is no Retry-After", what)
		}
	}
	if answer.Error != want || answer.Description == "" {
		t.Errorf("%s: got %+v, want the error %s with a description", what, answer, want)
	}
}

// resident is one session of a household, seen from outside.
type resident struct {
	name, host string
	*traveller
}

// in reports whether the session is good at a node, of which the others may be learning that it has ended.
func (r resident) in(t *testing.T, f *front) bool {
	t.Helper()
	f.Upstream.Forget()
	a := r.on(f).twin().send(t, request{Host: r.host})
	if a.Status != http.StatusOK && a.Status != http.StatusUnauthorized {
		t.Errorf("%s: got %s, want 200 or 401", r.name, a)
	}
	return a.Status == http.StatusOK
}

// household signs in two people at the first node: Alice at home on both hosts and at work, and Bob. Their subjects and
// sids end in a number that is theirs alone.
func (x *nodes) household(t *testing.T) (all []resident, n string) {
	t.Helper()
	f := x.all[0]
	n = fmt.Sprintf("-%d", arrivals.Add(1))
	browser := func(sub, sid string) *gatewaytest.Browser {
		return f.person(t, somebody(sub+n, sid+n), "/app")
	}
	live := func(name, host string, b *gatewaytest.Browser) {
		p := way{front: f}.traveller(t)
		p.cookies[f.Cookie()] = b.Cookies(host)[f.Cookie()]
		all = append(all, resident{name, host, p})
	}
	home := browser("alice", "home")
	live("home", gatewaytest.Host, home)
	f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person = somebody("alice"+n, "home"+n) })
	if r := home.Visit(f.Second + "/"); r.StatusCode != http.StatusOK {
		t.Fatalf("the second host: got %s, want 200", r.Status)
	}
	live("home, second host", gatewaytest.SecondHost, home)
	live("work", gatewaytest.Host, browser("alice", "work"))
	live("bob", gatewaytest.Host, browser("bob", "bobs"))
	for _, f := range x.all {
		for _, r := range all { // what a node has in its memory must not help
			if !r.in(t, f) {
				t.Fatalf("%s is not signed in", r.name)
			}
		}
	}
	return all, n
}

func goodLogouts(t *testing.T, d *doors) {
	x := d.Nodes()
	for i, c := range []struct {
		name     string
		sub, sid string
		left     []string
		revoked  int
	}{
		{"by sid", "", "home", []string{"work", "bob"}, 2},
		{"by sub", "alice", "", []string{"bob"}, 3},
		{"by both", "alice", "home", []string{"work", "bob"}, 2},
		{"a sid that nobody has", "alice", "elsewhere", []string{"home", "home, second host", "work", "bob"}, 0},
		{"somebody who was never here", "carol", "", []string{"home", "home, second host", "work", "bob"}, 0},
	} {
		for told := range x.all {
			t.Run(fmt.Sprintf("%s, told to node %d", c.name, told), func(t *testing.T) {
				at, other := x.all[told], x.all[1-told]
				granted := at.Issuer.Granted()
				all, n := x.household(t)
				rows := len(x.keys(t, "portero:row:*"))
				from := len(at.Log.String())
				claims := map[string]any{"sub": nil, "sid": nil}
				if c.sub != "" {
					claims["sub"] = c.sub + n
				}
				if c.sid != "" {
					claims["sid"] = c.sid + n
				}
				token := at.Issuer.LogoutToken(claiming(claims))
				logoutAnswered(t, c.name, way{front: at, h2: i%2 == 1}.logout(t, token), http.StatusOK)
				answered := time.Now()
				in := func(f *front) (names []string) {
					for _, r := range all {
						if r.in(t, f) {
							names = append(names, r.name)
						}
					}
					return names
				}
				if got := in(at); !slices.Equal(got, c.left) {
					t.Errorf("still signed in where it was told: got %q, want %q", got, c.left)
				}
				gatewaytest.Await(t, "the other node knows", func() bool {
					began := time.Since(answered)
					got := in(other)
					if began > time.Second && !slices.Equal(got, c.left) {
						t.Fatalf("still signed in at the other node after %s: got %q, want %q", began, got, c.left)
					}
					return slices.Equal(got, c.left)
				})
				for _, f := range x.all {
					for _, r := range all {
						if r.in(t, f); !slices.Contains(c.left, r.name) {
							f.nothingReached(t)
						}
					}
				}
				gatewaytest.Await(t, "the rows are gone", func() bool { return len(x.keys(t, "portero:row:*")) == rows-4+len(c.left) })
				gatewaytest.Await(t, "the refresh tokens are taken back", func() bool { return len(at.Issuer.RevokedSince(granted)) == c.revoked })
				gatewaytest.Await(t, "it is in the audit log", func() bool {
					return strings.Count(at.Log.String()[from:], `"reason":"backchannel-logout"`) == max(1, c.revoked)
				})
			})
		}
	}
	t.Run("told to the second host", func(t *testing.T) {
		all, n := x.household(t)
		token := x.all[0].Issuer.LogoutToken(claiming(map[string]any{"sub": "alice" + n, "sid": "home" + n}))
		a := way{front: x.all[0]}.ask(t, logoutRequest(token, gatewaytest.SecondHost))
		logoutAnswered(t, "there", a, http.StatusOK)
		for _, r := range all {
			if got, want := r.in(t, x.all[0]), !strings.HasPrefix(r.name, "home"); got != want {
				t.Errorf("%s signed in: got %t, want %t", r.name, got, want)
			}
		}
	})
}

// refusedLogouts tries tokens that are refused, over every protocol: nobody is signed out, the answer and the log say
// nothing of the token, and a good one counts afterwards.
func refusedLogouts(tokens func(t *testing.T, i *gatewaytest.Issuer) map[string]string) func(*testing.T, *doors) {
	return func(t *testing.T, d *doors) {
		d.stranger(t, func(t *testing.T, w way) {
			alice := way{front: w.front, h2: w.h2, cookie: w.front.alice}
			for name, token := range tokens(t, w.Issuer) {
				w.refusesLogout(t, name, token)
				if a := alice.ask(t, request{}); a.Status != http.StatusOK {
					t.Fatalf("%s: afterwards Alice got %s, want 200", name, a)
				}
			}
			who := newAlice()
			p := w.front.arrive(t, who)
			logoutAnswered(t, "a good one", w.logout(t, w.Issuer.LogoutToken(claiming(map[string]any{"sid": who["sid"]}))), http.StatusOK)
			p.wantOut(t)
		})
	}
}

// refusesLogout fails unless a token is refused with 400, and no row goes.
func (w way) refusesLogout(t *testing.T, name, token string) {
	t.Helper()
	rows := w.Sessions(t)
	a := w.logout(t, token)
	logoutAnswered(t, name, a, http.StatusBadRequest)
	w.rows(t, rows)
	code := a.Header.Get("Portero-Code")
	if code == "" {
		t.Fatalf("%s: no support code", name)
	}
	gatewaytest.Await(t, "the log has the support code of "+name, func() bool { return strings.Contains(w.Log.String(), code) })
	if got := strings.Count(w.Log.String(), code); got != 1 {
		t.Errorf("%s: lines of the log with the support code: got %d, want 1", name, got)
	}
	for _, part := range strings.Split(token, ".") {
		if len(part) > 8 && (strings.Contains(w.Log.String(), part) || strings.Contains(a.Body, part)) {
			t.Errorf("%s: the log or the answer has a part of the token", name)
		}
	}
}

func replayedLogouts(t *testing.T, d *doors) {
	x := d.Nodes()
	near, far := x.all[0], x.all[1]
	// again signs the same person in with the same sid, as one who has proved who they are since.
	again := func(t *testing.T, who map[string]any) *traveller {
		t.Helper()
		near.Issuer.Do(func(i *gatewaytest.Issuer) { i.AuthTime = time.Now().Add(2 * time.Second) })
		defer near.Issuer.Do(func(i *gatewaytest.Issuer) { i.AuthTime = time.Time{} })
		return near.arrive(t, who)
	}
	t.Run("copies", func(t *testing.T) {
		who := newAlice()
		p := near.arrive(t, who)
		token := near.Issuer.LogoutToken(claiming(map[string]any{"sid": who["sid"]}))
		logoutAnswered(t, "the first", way{front: near}.logout(t, token), http.StatusOK)
		p.wantOut(t)
		p = again(t, who)
		for _, f := range x.all {
			for _, h2 := range []bool{false, true} {
				logoutAnswered(t, "a copy", way{front: f, h2: h2}.logout(t, token), http.StatusBadRequest)
			}
		}
		jti := jtiOf(t, token)
		same := near.Issuer.LogoutToken(claiming(map[string]any{"sid": who["sid"], "jti": jti}))
		logoutAnswered(t, "another token with that jti", way{front: far}.logout(t, same), http.StatusBadRequest)
		if !p.in(t) || !p.on(far).in(t) {
			t.Error("a copy has ended the session that came after")
		}
	})
	t.Run("copies at once", func(t *testing.T) {
		who := newAlice()
		p := near.arrive(t, who)
		token := near.Issuer.LogoutToken(claiming(map[string]any{"sid": who["sid"]}))
		var done, refused atomic.Int64
		var wait sync.WaitGroup
		for n := range 20 {
			wait.Go(func() {
				switch a := (way{front: x.all[n%2]}).logout(t, token); a.Status {
				case http.StatusOK:
					done.Add(1)
				case http.StatusBadRequest:
					refused.Add(1)
				}
			})
		}
		wait.Wait()
		if done.Load() != 1 || refused.Load() != 19 {
			t.Errorf("got %d times 200 and %d times 400, want once and 19 times", done.Load(), refused.Load())
		}
		p.wantOut(t)
	})
	for name, trouble := range map[string]struct {
		begin, end func()
		copy       int // the answer to a copy
	}{
		"down":    {x.links[0].Cut, x.links[0].Heal, http.StatusServiceUnavailable},
		"hanging": {x.links[0].Stall, x.links[0].Heal, http.StatusServiceUnavailable},
		"full":    {func() { x.redis.Do("CONFIG", "SET", "maxmemory", "1") }, func() { x.redis.Do("CONFIG", "SET", "maxmemory", "0") }, http.StatusBadRequest}, // it can be read
	} {
		for by, claims := range map[string]map[string]any{"by sid": {"sub": nil}, "by sub": {"sid": nil}, "by both": {}} {
			t.Run("store "+name+", "+by, func(t *testing.T) {
				n := fmt.Sprintf("-%d", arrivals.Add(1))
				who := somebody("alice"+n, "sid"+n)
				p := near.arrive(t, who)
				claims := maps.Clone(claims)
				for _, claim := range []string{"sub", "sid"} {
					if _, without := claims[claim]; !without {
						claims[claim] = who[claim]
					}
				}
				spent := near.Issuer.LogoutToken(claiming(map[string]any{"sub": nil, "sid": "nobody" + n}))
				logoutAnswered(t, "one before", way{front: near}.logout(t, spent), http.StatusOK)
				claims["iat"] = time.Now().Unix() + 2 // later than the session, of which a token in whole seconds can be the elder
				next := near.Issuer.LogoutToken(claiming(claims))
				trouble.begin()
				t.Cleanup(trouble.end)
				for what, c := range map[string]struct {
					token  string
					status int
				}{"a copy": {spent, trouble.copy}, "a new one": {next, http.StatusServiceUnavailable}} {
					began := time.Now()
					logoutAnswered(t, what, way{front: near}.logout(t, c.token), c.status)
					if took := time.Since(began); took > 5*time.Second {
						t.Errorf("%s: it took %s, want about a second", what, took)
					}
				}
				trouble.end()
				x.ready(t)
				gatewaytest.Await(t, "what could not be done is done", func() bool { return p.out(t) && p.on(far).out(t) })
				logoutAnswered(t, "the new one with the store back", way{front: far}.logout(t, next), http.StatusOK)
				logoutAnswered(t, "a copy of it", way{front: near}.logout(t, next), http.StatusBadRequest)
				logoutAnswered(t, "the copy", way{front: near}.logout(t, spent), http.StatusBadRequest)
			})
		}
	}
}

// flood posts n tokens over four connections at a time, and counts the answers by status.
func (f *front) flood(t *testing.T, n int, token func(n int) string) map[int]int {
	t.Helper()
	var mu sync.Mutex
	got := map[int]int{}
	var wait sync.WaitGroup
	for worker := range 4 {
		wait.Go(func() {
			for i := range n / 4 {
				a := way{front: f}.ask(t, logoutRequest(token(worker*n+i), ""))
				if a.Status != http.StatusOK {
					logoutAnswered(t, "one of many", a, a.Status)
				}
				mu.Lock()
				got[a.Status]++
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	return got
}

// A thousand of them, on a gateway of their own since the limit is the gateway's.
func unknownLogoutKeys(t *testing.T, _ *doors) {
	t.Parallel()
	f := newFront(t, gatewaytest.Options{})
	before := f.Issuer.Calls("/oidc/jwks")
	random := func(n int) string {
		return f.Issuer.LogoutToken(func(header, _ map[string]any) { header["kid"] = fmt.Sprintf("random-%d", n) })
	}
	if got := f.flood(t, 160, random); got[http.StatusBadRequest] != 160 {
		t.Errorf("random kids: got %v, want 400 each", got)
	}
	got := f.flood(t, 840, random)
	if got[http.StatusBadRequest]+got[http.StatusTooManyRequests] != 840 {
		t.Errorf("many random kids: got %v, want 400 or 429", got)
	}
	if got := f.Issuer.Calls("/oidc/jwks") - before; got > 1 {
		t.Errorf("fetches of the key set: got %d, want 1 at most", got)
	}
	// The issuer changes its key: people sign in at once, and its logouts count.
	f.Issuer.Rotate()
	who := newAlice()
	p := f.arrive(t, who)
	gatewaytest.Await(t, "a logout with the new key is taken", func() bool {
		a := way{front: f}.logout(t, f.Issuer.LogoutToken(claiming(map[string]any{"sid": who["sid"]})))
		if a.Status != http.StatusOK && a.Status != http.StatusTooManyRequests {
			t.Fatalf("with the new key: got %s, want 200", a)
		}
		return a.Status == http.StatusOK
	})
	p.wantOut(t)
}

func logoutDuringSignIn(t *testing.T, d *doors) {
	x := d.Nodes()
	near := x.all[0]
	for where, path := range map[string]string{"before the tokens": "/oidc/token", "between tokens and session": "/oidc/me"} {
		for by, without := range map[string]string{"by sid": "sub", "by sub": "sid", "by both": ""} {
			for told, f := range x.all {
				t.Run(fmt.Sprintf("%s, %s, told to node %d", where, by, told), func(t *testing.T) {
					n := fmt.Sprintf("-%d", arrivals.Add(1))
					who := somebody("alice"+n, "sid"+n)
					near.issuer(t, func(i *gatewaytest.Issuer) { i.Person = who })
					p := way{front: near}.traveller(t)
					back := p.leave(t, "/app")
					reached, wait := make(chan struct{}), make(chan struct{})
					once, release := sync.OnceFunc(func() { close(reached) }), sync.OnceFunc(func() { close(wait) })
					t.Cleanup(release)
					near.Issuer.Do(func(i *gatewaytest.Issuer) {
						i.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
							if r.URL.Path == path {
								once()
								<-wait
							}
							return false
						}
					})
					done := make(chan *gatewaytest.Answer, 1)
					go func() { done <- p.get(t, back) }()
					<-reached
					logoutAnswered(t, "meanwhile", way{front: f}.logout(t, near.Issuer.LogoutToken(func(_, claims map[string]any) { delete(claims, without) })), http.StatusOK)
					release()
					if a := <-done; a.Status != http.StatusSeeOther && a.Status != http.StatusFound {
						t.Errorf("the callback: got %s, want a redirect", a)
					}
					for _, f := range x.all {
						p.on(f).wantOut(t)
					}
					near.Issuer.Do(func(i *gatewaytest.Issuer) { i.Answer, i.AuthTime = nil, time.Now().Add(2*time.Second) })
					seeOther(t, p.get(t, p.leave(t, "/app")), "/app")
					if !p.in(t) {
						t.Error("signing in once more: it is not good")
					}
				})
			}
		}
	}
}

// Six hundred, on a gateway of their own since the limit is the gateway's.
func logoutFlood(t *testing.T, _ *doors) {
	t.Parallel()
	f := newFront(t, gatewaytest.Options{})
	who := newAlice()
	p := f.arrive(t, who)
	kid := ""
	f.Issuer.LogoutToken(func(header, _ map[string]any) { kid, _ = header["kid"].(string) })
	evil := gatewaytest.NewIssuer(t)
	forged := evil.LogoutToken(func(header, claims map[string]any) { header["kid"], claims["iss"] = kid, f.Issuer.URL+"/oidc" })
	if got := f.flood(t, 400, func(int) string { return "junk" }); got[http.StatusBadRequest] != 400 {
		t.Errorf("what is no token: got %v, want 400 each: it is not even looked at", got)
	}
	began := time.Now()
	flooding := make(chan map[int]int, 1)
	go func() { flooding <- f.flood(t, 600, func(int) string { return forged }) }()
	another := f.arrive(t, newAlice())
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("signing in meanwhile took %s", took)
	}
	if !another.in(t) || !p.in(t) {
		t.Error("who signed in meanwhile, or before, is not in")
	}
	got := <-flooding
	if most := 200 + int(100*time.Since(began).Seconds()) + 10; got[http.StatusBadRequest]+got[http.StatusTooManyRequests] != 600 ||
		got[http.StatusBadRequest] > most || got[http.StatusBadRequest] < 200 {
		t.Errorf("the flood: got %v, want 200 to %d times 400, and else 429", got, most)
	}
	gatewaytest.Await(t, "a good one is taken", func() bool {
		a := way{front: f}.logout(t, f.Issuer.LogoutToken(claiming(map[string]any{"sid": who["sid"]})))
		if a.Status != http.StatusTooManyRequests {
			logoutAnswered(t, "a good one", a, http.StatusOK)
		}
		return a.Status != http.StatusTooManyRequests
	})
	p.wantOut(t)
}
