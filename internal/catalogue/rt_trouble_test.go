package catalogue_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// Over a gateway of its own with a short refresh_grace.
func failingRefresh(t *testing.T, _ *doors) {
	t.Parallel()
	const grace = 6 * time.Second
	f := unsigned(t, gatewaytest.Options{Session: fmt.Sprintf("store: memory, refresh_grace: %s", grace)})
	kinds := []string{"500", "503", "429", "reset", "reset once", "timeout"}
	var mu sync.Mutex
	kind, asked := map[string]string{}, map[string]int{} // :: refresh token → kind; kind → calls
	healed := false
	var people []map[string]any
	for range kinds {
		people = append(people, newAlice())
	}
	var next int
	f.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.EditAnswer = func(answer map[string]any) {
			if next < len(kinds) {
				kind[answer["refresh_token"].(string)] = kinds[next]
				next++
			}
		}
	})
	all := map[string]*traveller{}
	for i, p := range f.spent(t, people...) {
		all[kinds[i]] = p
	}
	grants := map[string]*gatewaytest.Grants{}
	for _, k := range kinds {
		grants[k] = gatewaytest.NewGrants(f.Issuer)
	}
	lost := false
	grants["reset once"].Deliver = func(string) bool {
		mu.Lock()
		defer mu.Unlock()
		before := lost
		lost = true
		return before
	}
	f.onRefresh(func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		k, whole := kind[r.PostForm.Get("refresh_token")], healed
		if k == "" { // one that it was given for another
			k = "reset once"
		}
		asked[k]++
		mu.Unlock()
		switch {
		case whole, k == "reset once":
			return grants[k].Answer(w, r)
		case k == "500", k == "503":
			http.Error(w, "no", map[string]int{"500": 500, "503": 503}[k])
		case k == "429":
			w.Header().Set("Retry-After", "30")
			gatewaytest.Refuse(w, http.StatusTooManyRequests, "slow_down")
		case k == "reset":
			panic(http.ErrAbortHandler)
		case k == "timeout":
			<-r.Context().Done()
		}
		return true
	})
	began := time.Now()
	slow := make(chan time.Duration, 1)
	go func() {
		if a := all["timeout"].twin().send(t, request{}); a.Status != http.StatusOK {
			t.Errorf("timeout: got %s, want 200 with the claims of before", a)
		}
		slow <- time.Since(began)
	}()
	quick := []string{"500", "503", "429", "reset", "reset once"}
	gatewaytest.Await(t, "most of the grace is over", func() bool {
		for _, k := range quick {
			at := time.Now()
			a := all[k].twin().send(t, request{})
			if a.Status != http.StatusOK && time.Since(began) < grace {
				t.Errorf("%s, %s after the first failure: got %s, want 200", k, at.Sub(began), a)
			}
		}
		return time.Since(began) > 4*time.Second
	})
	mu.Lock()
	for k, bounds := range map[string][2]int{"500": {2, 4}, "503": {2, 4}, "429": {1, 1}, "reset": {2, 4}, "timeout": {1, 1}} {
		if n := asked[k]; n < bounds[0] || n > bounds[1] {
			t.Errorf("%s: calls within four seconds: got %d, want %d to %d", k, n, bounds[0], bounds[1])
		}
	}
	mu.Unlock()
	presented := grants["reset once"].Presented()
	if len(presented) != 2 || presented[0] != presented[1] || grants["reset once"].Killed() {
		t.Errorf("reset once: got %d calls, grant dead %t; want the same token twice while it is taken, and the grant alive", len(presented), grants["reset once"].Killed())
	}
	if took := <-slow; took > 12*time.Second {
		t.Errorf("timeout: it took %s, want five seconds", took)
	}
	gatewaytest.Await(t, "the grace is over", func() bool { return time.Since(began) > grace+2*time.Second })
	for _, k := range []string{"500", "503", "429", "reset"} {
		all[k].wantOut(t)
	}
	if !all["reset once"].in(t) {
		t.Error("reset once: it is not signed in after the grace, although the next answer came")
	}
	mu.Lock()
	healed = true
	mu.Unlock()
	for _, k := range []string{"500", "503", "reset"} {
		gatewaytest.Await(t, k+" has recovered", func() bool { return !all[k].out(t) })
		if !all[k].in(t) {
			t.Errorf("%s: it is not signed in with the issuer back", k)
		}
	}
}

func killedInRefresh(t *testing.T, d *doors) {
	// kill lets a gateway die inside a refresh of p; worked says whether the issuer has worked it off by then.
	kill := func(t *testing.T, f *front, p *traveller, worked bool) *gatewaytest.Grants {
		t.Helper()
		grants := gatewaytest.NewGrants(f.Issuer)
		arrived, wait := make(chan struct{}, 10), make(chan struct{})
		release := sync.OnceFunc(func() { close(wait) })
		t.Cleanup(release)
		if worked {
			f.Issuer.Do(func(*gatewaytest.Issuer) {
				grants.Deliver = func(string) bool { arrived <- struct{}{}; <-wait; return true }
			})
		} else {
			f.onRefresh(func(http.ResponseWriter, *http.Request) bool {
				arrived <- struct{}{}
				<-wait
				panic(http.ErrAbortHandler)
			})
		}
		answered := make(chan *gatewaytest.Answer, 1)
		go func() { answered <- p.twin().send(t, request{}) }()
		<-arrived
		f.Process.Kill()
		if a := <-answered; a.Status != 0 {
			t.Errorf("the request of a gateway that was killed: got %s", a)
		}
		f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Answer = grants.Answer })
		release()
		return grants
	}
	for _, worked := range []bool{false, true} {
		t.Run(fmt.Sprintf("two nodes, worked off %t", worked), func(t *testing.T) {
			x := d.Nodes()
			near, far := x.all[0], x.all[1]
			all := near.spent(t, newAlice(), newAlice())
			p, other := all[0], all[1]
			rows := x.keys(t, "portero:row:*")
			grants := kill(t, near, p, worked)
			if got := x.keys(t, "portero:row:*"); fmt.Sprint(got) != fmt.Sprint(rows) {
				t.Errorf("rows: got %q, want %q", got, rows)
			}
			began := time.Now()
			for _, q := range []*traveller{p, other} {
				if a := q.on(far).patient(t, request{}); a.Status != http.StatusOK {
					t.Errorf("at the other node meanwhile: got %s, want 200", a)
				}
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("the other node answered after %s, want five seconds", took)
			}
			near.Restart(t)
			for _, lease := range x.keys(t, "portero:lease:*") { // half a minute later
				x.redis.Do("DEL", lease)
			}
			gatewaytest.Await(t, "the token is used again", func() bool { // of two, since other's was used before
				p.on(far).out(t)
				return len(grants.Presented()) >= 2
			})
			if !worked {
				granted(t, grants, 2)
				if !p.on(far).in(t) || !p.on(near).in(t) {
					t.Error("the session is lost although nothing was sent")
				}
			}
			browser := p.on(near)
			if !browser.in(t) { // its token had been used: once more at the issuer
				seeOther(t, browser.get(t, browser.leave(t, "/app")), "/app")
			}
			if !browser.in(t) || !browser.on(far).in(t) {
				t.Error("in the end nobody is signed in")
			}
			if log := near.Log.String() + far.Log.String(); strings.Contains(log, saysUnreadable) || strings.Contains(log, saysDamaged) {
				t.Error("a row is damaged")
			}
		})
	}
	t.Run("a file", func(t *testing.T) {
		f := unsigned(t, gatewaytest.Options{Session: fmt.Sprintf("store: file, secret: %s, file: {path: %q}", gatewaytest.SessionSecret, t.TempDir()+"/sessions.db")})
		all := f.spent(t, newAlice(), newAlice())
		for range 2 {
			kill(t, f, all[0], true)
			f.Restart(t)
			if !all[1].in(t) {
				t.Error("another session is lost")
			}
		}
		browser := all[0].twin()
		if !browser.in(t) {
			seeOther(t, browser.get(t, browser.leave(t, "/app")), "/app")
		}
		if !browser.in(t) {
			t.Error("in the end nobody is signed in")
		}
		if log := f.Log.String(); strings.Contains(log, "damaged") || strings.Contains(log, saysUnreadable) {
			t.Error("the file is damaged")
		}
	})
}

func slowRefresh(t *testing.T, d *doors) {
	x := d.Nodes()
	f := x.all[0]
	o := f.own(nil)
	who := newAlice()
	p := f.spent(t, who)[0]
	f.own(o)
	f.Issuer.Do(func(*gatewaytest.Issuer) {
		o.change[who["sid"].(string)] = func(claims map[string]any) { claims["name"] = "Alicia" }
	})
	arrived, wait := make(chan struct{}, 10), make(chan struct{})
	release := sync.OnceFunc(func() { close(wait) })
	t.Cleanup(release)
	f.onRefresh(func(http.ResponseWriter, *http.Request) bool { arrived <- struct{}{}; <-wait; return false })
	calls := f.Issuer.Calls("refresh_token")
	for _, f := range x.all {
		f.Upstream.Forget()
	}
	var waiting sync.WaitGroup
	for n, f := range x.all {
		for _, h2 := range []bool{false, true} {
			waiting.Go(func() {
				began := time.Now()
				a := p.on(f).over(h2).send(t, request{})
				if took := time.Since(began); a.Status != http.StatusOK || took < 4*time.Second || took > 12*time.Second {
					t.Errorf("node %d: got %s after %s, want 200 after five seconds", n, a, took)
				}
			})
		}
	}
	<-arrived
	waiting.Wait()
	for _, f := range x.all {
		for _, head := range f.Upstream.Requests() {
			saysAlice(t, head)
		}
	}
	release()
	for _, f := range x.all {
		gatewaytest.Await(t, "the new name is told", func() bool {
			f.Upstream.Forget()
			if a := p.on(f).twin().send(t, request{}); a.Status != http.StatusOK {
				t.Fatalf("afterwards: got %s, want 200", a)
			}
			head, _ := f.reached(t)
			return fields(head)["x-auth-name"][0] == "Alicia"
		})
	}
	if got := len(arrived) + 1; got != 1 || f.Issuer.Calls("refresh_token")-calls != 1 {
		t.Errorf("refreshes: got %d begun and %d done, want one", got, f.Issuer.Calls("refresh_token")-calls)
	}
}

// Over a gateway inside the test, for its clock.
func clockJumps(t *testing.T, _ *doors) {
	for name, store := range map[string]string{"memory": "store: memory", "file": `store: file, file: {path: "` + t.TempDir() + `/jumps.db"}`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := gatewaytest.NewClock()
			f := unsigned(t, gatewaytest.Options{Clock: clock, Session: store + ", lifetime: 12h, idle_timeout: 3h"})
			f.Issuer.Do(func(i *gatewaytest.Issuer) { i.AccessLife = 10 * time.Minute })
			var people []*traveller
			for range 5 {
				people = append(people, f.arrive(t, newAlice()))
			}
			for _, jump := range []time.Duration{time.Hour, -time.Hour, -time.Hour, 2 * time.Hour, -30 * time.Minute, 10 * time.Minute, -time.Hour} {
				clock.Add(jump)
				for i, p := range people {
					if !p.in(t) {
						t.Fatalf("after a jump of %s: number %d is signed out", jump, i)
					}
				}
			}
			// Nobody stays for ever: what the issuer says at the end of an access token counts, and so do both ends.
			f.onRefresh(func(w http.ResponseWriter, _ *http.Request) bool {
				gatewaytest.Refuse(w, http.StatusBadRequest, "invalid_grant")
				return true
			})
			clock.Add(2 * time.Hour)
			people[0].wantOut(t)
			f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Answer = nil })
			if !people[1].in(t) {
				t.Error("two hours later: signed out")
			}
			clock.Add(4 * time.Hour)
			people[1].wantOut(t) // idle
			late := f.arrive(t, newAlice())
			clock.Add(-time.Hour)
			for range 7 {
				clock.Add(2 * time.Hour)
				late.in(t)
			}
			late.wantOut(t) // thirteen hours after its sign-in
		})
	}
}
