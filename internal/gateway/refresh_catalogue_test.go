package gateway_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// TestRT has the cases RT-01 to RT-10 of tokens over time by their names, each over three gateways on one store. What
// one gateway does is tried closer in the tests named in the comments.
func TestRT(t *testing.T) {
	t.Parallel()
	for name, try := range map[string]func(*testing.T){
		"RT-01 parallel refresh":               testRT01,
		"RT-02 two nodes":                      testRT02,
		"RT-03 two users":                      testRT03,
		"RT-04 refresh refused":                testRT04,
		"RT-05 refresh temporarily failing":    testRT05,
		"RT-06 answer without parts":           testRT06,
		"RT-07 changed claims":                 testRT07,
		"RT-08 crash between refresh and save": testRT08,
		"RT-09 refresh in the request path":    testRT09,
		"RT-10 clock jumps":                    testRT10,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			try(t)
		})
	}
}

// TestParallelRefreshIsOne.
func testRT01(t *testing.T) {
	x := newTrio(t)
	p := x.signIn()
	x.clock.Add(quick)
	var wait sync.WaitGroup
	for range 100 {
		wait.Go(func() { x.want(p, 0, http.StatusOK) })
	}
	wait.Wait()
	x.presented(1)
}

// TestReplicasRefreshOnce.
func testRT02(t *testing.T) {
	x := newTrio(t)
	p := x.signIn()
	for round := 1; round <= 5; round++ {
		x.clock.Add(quick)
		var wait sync.WaitGroup
		for n := range 20 {
			wait.Go(func() { x.want(p, n%2, http.StatusOK) })
		}
		wait.Wait()
		x.presented(round)
	}
}

// TestRefreshOfTwoPeople. Here the issuer answers for whoever's token it was given.
func testRT03(t *testing.T) {
	x := newTrio(t)
	emails := []string{"alice@example.com", "bob@example.com"}
	x.grants.Keep = true
	people := map[any]map[string]any{} // :: nonce of the sign-in → who that was
	x.issuer.Do(func(i *gatewaytest.Issuer) {
		i.Edit = func(claims map[string]any) {
			who := people[claims["nonce"]]
			if who == nil {
				who = i.Person
				people[claims["nonce"]] = who
			}
			maps.Copy(claims, who)
		}
	})
	var all []*person
	for _, email := range emails {
		x.issuer.Do(func(i *gatewaytest.Issuer) {
			i.Person = map[string]any{"sub": "sub-of-" + email[:3], "email": email, "email_verified": true, "sid": "sid-of-" + email}
		})
		all = append(all, x.signIn())
	}
	x.clock.Add(quick)
	var wait sync.WaitGroup
	for n := range 30 {
		wait.Go(func() {
			b := all[n%2].at[n%3]
			var got struct{ Email string }
			if text := b.Get(x.rigs[n%3].URL + "/_portero/session").Text; json.Unmarshal([]byte(text), &got) != nil || got.Email != emails[n%2] {
				t.Errorf("%s was shown %s", emails[n%2], text)
			}
			x.want(all[n%2], n%3, http.StatusOK)
		})
	}
	wait.Wait()
	for i, rig := range x.rigs {
		b := map[string]int{}
		for _, head := range rig.Upstream.Requests() {
			b[gatewaytest.Header(head, "X-Forwarded-Email")[0]]++
		}
		if b[emails[0]] == 0 || b[emails[1]] == 0 {
			t.Errorf("gateway %d: the application was told %v, want both", i, b)
		}
	}
	if got := len(x.grants.Presented()); got != 2 {
		t.Errorf("refreshes: got %d, want one each", got)
	}
}

// TestRefreshRefused, TestRefusedApplicationIsToldOnce.
func testRT04(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		code   string
	}{
		"invalid_grant":  {http.StatusBadRequest, "invalid_grant"},
		"invalid_client": {http.StatusUnauthorized, "invalid_client"},
		"401":            {http.StatusUnauthorized, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTrio(t)
			p := x.signIn()
			refuseRefresh(x.rigs[0], c.status, c.code)
			x.clock.Add(quick)
			var wait sync.WaitGroup
			for n := range 30 {
				wait.Go(func() { x.want(p, n%3, http.StatusFound) })
			}
			wait.Wait()
			if got := x.issuer.Calls("/oidc/token"); got != 2 {
				t.Errorf("token calls: got %d, want the sign-in's and one", got)
			}
			lines := 0
			for i, rig := range x.rigs {
				lines += strings.Count(rig.Log.String(), `"action":"session-ended"`)
				if got := rig.Sessions(t); got != 0 {
					t.Errorf("gateway %d: sessions left: got %d, want none", i, got)
				}
			}
			if lines != 1 {
				t.Errorf("lines about the end of the session: got %d, want 1", lines)
			}
		})
	}
}

// TestRefreshGrace, TestRefreshBackOff, TestNoStampede; authflow.TestRT05Timeout.
func testRT05(t *testing.T) {
	for name, away := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"500": func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "no", http.StatusInternalServerError)
			return true
		},
		"429 with Retry-After": func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Retry-After", "40")
			gatewaytest.Refuse(w, http.StatusTooManyRequests, "slow_down")
			return true
		},
		"reset after send": cut,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTrio(t)
			p := x.signIn()
			answerRefresh(x.rigs[0], away)
			x.clock.Add(quick)
			var at []int // seconds at which Logto was asked
			for second := range 60 {
				before := x.issuer.Calls("/oidc/token")
				for i := range x.rigs {
					x.want(p, i, http.StatusOK)
				}
				switch x.issuer.Calls("/oidc/token") - before {
				case 0:
				case 1:
					at = append(at, second)
				default:
					t.Errorf("second %d: more than one token call", second)
				}
				x.clock.Add(time.Second)
			}
			asked, again := len(at), at[min(1, len(at)-1)]
			if strings.Contains(name, "Retry-After") {
				if asked != 2 || again < 40 {
					t.Errorf("asked at %v, want at 0 and not before 40", at)
				}
			} else if asked < 4 || asked > 12 || again > 3 {
				t.Errorf("asked at %v, want within three seconds, while a rotated token is still taken, and then now and then", at)
			}
			x.clock.Add(30 * time.Minute)
			for i := range x.rigs {
				x.want(p, i, http.StatusFound) // refresh_grace is over
			}
			x.issuer.Do(func(i *gatewaytest.Issuer) { i.Answer = x.grants.Answer })
			x.clock.Add(time.Minute)
			for i := range x.rigs {
				x.want(p, i, http.StatusOK)
			}
			x.presented(1)
		})
	}
}

// TestRefreshAnswersWithParts.
func testRT06(t *testing.T) {
	x := newTrio(t)
	x.grants.Keep = true
	p := x.signIn()
	x.issuer.Do(func(i *gatewaytest.Issuer) {
		i.EditAnswer = func(answer map[string]any) {
			delete(answer, "refresh_token")
			delete(answer, "id_token")
		}
	})
	for i := range x.rigs {
		x.clock.Add(quick)
		x.want(p, i, http.StatusOK)
		if got := gatewaytest.Header(x.rigs[i].Upstream.Last(), "X-Forwarded-Email"); len(got) != 1 || got[0] != "alice@example.com" {
			t.Errorf("gateway %d: the application was told %q", i, got)
		}
	}
	if got := x.grants.Presented(); len(got) != 3 || got[0] != got[2] {
		t.Errorf("refreshes: got %d, want three with the one token", len(got))
	}
}

// TestRefreshChangesTheDecision.
func testRT07(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(claims map[string]any)
		want int
	}{
		"changed claims":  {func(c map[string]any) { c["roles"] = []string{"admin"} }, http.StatusOK},
		"other sub":       {func(c map[string]any) { c["sub"] = "somebody-else" }, http.StatusFound},
		"other iss":       {func(c map[string]any) { c["iss"] = "https://evil.example.com/oidc" }, http.StatusFound},
		"other aud":       {func(c map[string]any) { c["aud"] = "app-2" }, http.StatusFound},
		"older auth_time": {func(c map[string]any) { c["auth_time"], c["roles"] = 1, []string{"admin"} }, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTrio(t)
			p := x.signIn()
			x.issuer.Do(func(i *gatewaytest.Issuer) { i.Edit = c.edit })
			x.clock.Add(quick)
			for i := range x.rigs {
				if x.want(p, i, c.want); c.want == http.StatusOK && x.groups(i) != "admin" {
					t.Errorf("gateway %d: the application was told %q, want the new role", i, x.groups(i))
				}
			}
			x.presented(1)
		})
	}
}

// TestReplicaEndsInsideTheCall. Here the process dies before anything is sent but after it has the lease, and the row
// stays as it was.
func testRT08(t *testing.T) {
	x := newTrio(t)
	p := x.signIn()
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	t.Cleanup(release)
	arrived := make(chan struct{}, 10)
	answerRefresh(x.rigs[0], func(http.ResponseWriter, *http.Request) bool {
		arrived <- struct{}{}
		<-held
		return cut(nil, nil)
	})
	x.clock.Add(late)
	x.want(p, 0, http.StatusOK)
	<-arrived
	x.stores[0].down.Store(true)
	x.rigs[0].Stop(t)
	x.issuer.Do(func(i *gatewaytest.Issuer) { i.Answer = x.grants.Answer })
	x.want(p, 1, http.StatusOK)
	x.presented(0)
	x.clock.Add(quick)
	x.want(p, 1, http.StatusOK)
	x.want(p, 2, http.StatusOK)
	x.presented(1)
}

// TestRefreshSlow.
func testRT09(t *testing.T) {
	x := newTrio(t)
	p := x.signIn()
	arrived, release := x.hold()
	asRole(x.rigs[0], "admin")
	x.clock.Add(quick)
	var wait sync.WaitGroup
	for i := range x.rigs {
		wait.Go(func() {
			began := time.Now()
			x.want(p, i, http.StatusOK)
			if took := time.Since(began); took < 4*time.Second || took > 9*time.Second {
				t.Errorf("gateway %d: answered after %s, want five seconds", i, took)
			}
			if got := x.groups(i); got != "" {
				t.Errorf("gateway %d: the application was told %q, want the claims of before", i, got)
			}
		})
	}
	wait.Wait()
	<-arrived
	release()
	eventually(t, "the refresh has succeeded all the same", func() bool { return x.refreshes("succeeded") == 1 })
	for i := range x.rigs {
		if x.want(p, i, http.StatusOK); x.groups(i) != "admin" {
			t.Errorf("gateway %d: the application was told %q, want the new role", i, x.groups(i))
		}
	}
	x.presented(1)
}

// TestRefreshWhenTheClockJumps.
func testRT10(t *testing.T) {
	x := newTrio(t)
	p := x.signIn()
	for n, jump := range []time.Duration{time.Hour, -time.Hour, -time.Hour, 2 * time.Hour, -30 * time.Minute, quick} {
		x.clock.Add(jump)
		x.want(p, n%3, http.StatusOK)
		x.want(p, (n+1)%3, http.StatusOK)
	}
	// No endless session: an access token counts for its life from when it came, and what Logto says then counts.
	refuseRefresh(x.rigs[0], http.StatusBadRequest, "invalid_grant")
	x.clock.Add(3 * time.Hour)
	for i := range x.rigs {
		x.want(p, i, http.StatusFound)
	}
}

// A secret that is not the application's any more is the operator's mistake, which everybody's refreshes find: the log
// names the key, once a minute.
func TestRefusedApplicationIsToldOnce(t *testing.T) {
	t.Parallel()
	x := newTrio(t)
	people := []*person{x.signIn(), x.signIn(), x.signIn(), x.signIn()}
	refuseRefresh(x.rigs[0], http.StatusUnauthorized, "invalid_client")
	x.clock.Add(quick)
	for _, p := range people {
		x.want(p, 0, http.StatusFound)
	}
	told := 0
	for line := range strings.SplitSeq(x.rigs[0].Log.String(), "\n") {
		if strings.Contains(line, `"level":"ERROR"`) && strings.Contains(line, "refresh") {
			told++
			if !strings.Contains(line, "logto.app_secret") || strings.Contains(line, x.issuer.AppSecret) {
				t.Errorf("got %s, want the name of the key and not its value", line)
			}
		}
	}
	if told != 1 {
		t.Errorf("lines about the secret for %d people: got %d, want 1", len(people), told)
	}
	if got := strings.Count(x.rigs[0].Log.String(), `"action":"session-ended"`); got != len(people) {
		t.Errorf("lines about ended sessions: got %d, want one each", got)
	}
}
