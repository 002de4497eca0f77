package catalogue_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
	"portero/internal/redistest"
)

var storeFaults = family{ID: "SR", Title: "A store that fails", Attacks: []attack{
	{ID: "SR-01", Name: "down at the start, later, and flapping", Want: "not ready and no crash; protected routes say 503 within a second, public ones go on, all recovers without a restart", Test: storeDown},
	{ID: "SR-02", Name: "slow", Want: "each answer in its time, nothing piles up", Why: "stores whose calls have no deadline", Test: storeSlow},
	{ID: "SR-03", Name: "what a store may say, or lose", Want: "503 or a sign-in, never another's data, never open", Test: storeSays,
		Missing: "Failover of a group and of a cluster is tried by gateway.TestStoreTroubleFailover and package replicas, which need many servers."},
	{ID: "SR-04", Name: "full of garbage", Want: "what cannot be read lets nobody in, and nobody is kept out by it once it is gone", Test: storeOfGarbage},
	{ID: "SR-05", Name: "another version on the same store", Want: "rows of a format of tomorrow are absent today and left alone; a file of one is refused untouched", Why: "mod_auth_openidc marks its payload with a version", Test: anotherVersion,
		Missing: "There is one version so far: what another one writes is made by hand."},
	{ID: "SR-06", Name: "programs killed while people sign in", Want: "nobody's code is used twice, and everybody gets in by trying again", Test: killedInStorm},
}}

// closed fails unless a protected route is, for a signed-in person, without the store: nobody is signed out, and nothing
// reaches the application.
func (p *traveller) closed(t *testing.T) {
	t.Helper()
	p.Upstream.Forget()
	for _, q := range []request{
		{Lines: navigation}, {}, {Method: "POST", Target: "/app", Body: "x"}, {Target: "/admin/x"}, {Target: "/api/x"}, {Target: "/_portero/session"},
		{Target: "/sign-in?return_to=/app", Lines: navigation},
	} {
		began := time.Now()
		a := p.twin().send(t, q)
		if a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s %s: got %s and Retry-After %q, want 503 and one", q.Method, q.Target, a, a.Header.Get("Retry-After"))
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s %s: it took %s, want half a second", q.Method, q.Target, took)
		}
		if got := a.Header.Values("Set-Cookie"); len(got) != 0 {
			t.Errorf("%s %s: got the cookies %q, want none", q.Method, q.Target, got)
		}
		p.noSession(t, a)
	}
	p.nothingReached(t)
	p.public(t)
	if got := p.Admin(t, http.MethodGet, "/readyz").StatusCode; got != http.StatusServiceUnavailable {
		t.Errorf("readyz: got %d, want 503", got)
	}
	if got := p.Admin(t, http.MethodGet, "/healthz").StatusCode; got != http.StatusOK {
		t.Errorf("healthz: got %d, want 200", got)
	}
}

// public fails unless what is public goes on, and nobody is named there.
func (p *traveller) public(t *testing.T) {
	t.Helper()
	for _, target := range []string{"/public/x", "/health", "/optional/x"} {
		p.Upstream.Forget()
		if a := p.twin().send(t, request{Target: target}); a.Status != http.StatusOK {
			t.Errorf("%s: got %s, want 200", target, a)
			continue
		}
		head, _ := p.reached(t)
		saysNobody(t, head)
	}
}

// closing waits until a trouble that began at since is noticed: no request that begins more than a second later is let in.
func (p *traveller) closing(t *testing.T, since time.Time) {
	t.Helper()
	gatewaytest.Await(t, "protected routes are closed", func() bool {
		began := time.Since(since)
		a := p.twin().send(t, request{})
		if a.Status == http.StatusOK && began > time.Second {
			t.Errorf("a request that began %s after the trouble did was let in", began)
		} else if a.Status != http.StatusOK && a.Status != http.StatusServiceUnavailable {
			t.Errorf("got %s, want 200 or 503", a)
		}
		return a.Status == http.StatusServiceUnavailable && began > 1200*time.Millisecond
	})
}

// open waits until a gateway is ready and the session good again.
func (p *traveller) open(t *testing.T) {
	t.Helper()
	gatewaytest.Await(t, "protected routes are open", func() bool { return p.twin().send(t, request{}).Status == http.StatusOK })
	gatewaytest.Await(t, "it is ready", func() bool { return p.Admin(t, http.MethodGet, "/readyz").StatusCode == http.StatusOK })
	if !p.in(t) {
		t.Error("with the store back: signed out")
	}
}

// noSignIn fails unless a stranger is told that signing in is not possible now.
func (f *front) noSignIn(t *testing.T) {
	t.Helper()
	p := way{front: f}.traveller(t)
	calls := f.tokenCalls()
	a := p.get(t, "/app")
	if a.Status == http.StatusFound {
		a = p.get(t, p.atIssuer(t, a))
	}
	if a.Status != http.StatusServiceUnavailable || p.session() != "" || f.tokenCalls() != calls {
		t.Errorf("a stranger signs in: got %s, %d token calls and the session %q; want 503 and none", a, f.tokenCalls()-calls, p.session())
	}
}

func storeDown(t *testing.T, d *doors) {
	x := d.Nodes()
	f, link := x.all[0], x.links[0]
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("at the start, HTTP 2 %t", h2), func(t *testing.T) {
			p := f.arrive(t, newAlice()).over(h2)
			link.Cut()
			f.Restart(t)
			p.closed(t)
			f.noSignIn(t)
			link.Heal()
			p.open(t)
			f.arrive(t, newAlice())
		})
		t.Run(fmt.Sprintf("later, HTTP 2 %t", h2), func(t *testing.T) {
			p := f.arrive(t, newAlice()).over(h2)
			p.in(t)
			link.Cut()
			p.closing(t, time.Now())
			p.closed(t)
			f.noSignIn(t)
			if !p.on(x.all[1]).in(t) {
				t.Error("the other node, which has the store, lets nobody in")
			}
			link.Heal()
			p.open(t)
		})
	}
	t.Run("flapping", func(t *testing.T) {
		p, gone := f.arrive(t, newAlice()), f.arrive(t, newAlice())
		if a := gone.twin().post(t, "/sign-out", nil); a.Status != http.StatusSeeOther {
			t.Fatalf("signing out: got %s", a)
		}
		f.Upstream.Forget()
		served, stop := 0, make(chan struct{})
		var asking sync.WaitGroup
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				switch a := p.twin().send(t, request{}); a.Status {
				case http.StatusOK:
					served++
				case http.StatusServiceUnavailable:
				default:
					t.Errorf("got %s, want 200 or 503", a)
				}
				if a := gone.twin().send(t, request{}); a.Status != http.StatusUnauthorized && a.Status != http.StatusServiceUnavailable {
					t.Errorf("who has signed out: got %s, want 401 or 503", a)
				}
			}
		})
		tick := time.NewTicker(150 * time.Millisecond)
		defer tick.Stop()
		for flap := range 20 {
			if flap%2 == 0 {
				link.Cut()
			} else {
				link.Heal()
			}
			<-tick.C
		}
		close(stop)
		asking.Wait()
		if got := len(f.Upstream.Requests()); got != served {
			t.Errorf("requests at the application: got %d, want %d", got, served)
		}
		p.open(t)
		gone.wantOut(t)
	})
	storeFileAtStart(t)
	storeFileLater(t)
}

func storeSlow(t *testing.T, d *doors) {
	x := d.Nodes()
	f, link := x.all[0], x.links[0]
	for name, slow := range map[string]func(){"by two seconds": func() { link.Delay(time.Second) }, "by a minute": link.Stall} {
		t.Run(name, func(t *testing.T) {
			p := f.arrive(t, newAlice())
			p.in(t)
			slow()
			t.Cleanup(link.Heal)
			p.closing(t, time.Now())
			p.closed(t)
			before := f.goroutines(t)
			for range 2 {
				var wait sync.WaitGroup
				began := time.Now()
				for n := range 60 {
					wait.Go(func() {
						if a := p.twin().over(n%2 == 1).send(t, request{}); a.Status != http.StatusServiceUnavailable {
							t.Errorf("one of many: got %s, want 503", a)
						}
					})
				}
				wait.Wait()
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("sixty requests took %s, want about a second", took)
				}
			}
			gatewaytest.Await(t, "nothing has piled up", func() bool { return f.goroutines(t) < before+50 })
			link.Heal()
			p.open(t)
		})
	}
}

// goroutines is what the metrics say of a program.
func (f *front) goroutines(t *testing.T) int {
	t.Helper()
	_, after, ok := strings.Cut(f.Admin(t, http.MethodGet, "/metrics").Text, "\ngo_goroutines ")
	number, _, _ := strings.Cut(after, "\n")
	n, err := strconv.Atoi(number)
	if !ok || err != nil {
		t.Fatalf("go_goroutines: %q, %v", number, err)
	}
	return n
}

func storeSays(t *testing.T, d *doors) {
	storeLies(t)
	x := d.Nodes()
	f := x.all[0]
	two := func(t *testing.T) (alices, bobs *traveller) { return f.arrive(t, newAlice()), f.arrive(t, bob) }
	t.Run("everything is lost", func(t *testing.T) {
		for name, lose := range map[string]func(){"FLUSHALL": func() { x.redis.Do("FLUSHALL") }, "restart without data": x.redis.Restart} {
			a, b := two(t)
			a.in(t)
			b.in(t)
			lose()
			since := time.Now()
			for _, p := range []*traveller{a, b} {
				gatewaytest.Await(t, name+": the session is gone", func() bool {
					began := time.Since(since)
					got := p.twin().send(t, request{})
					if got.Status == http.StatusOK && began > time.Second {
						t.Errorf("%s: a request that began %s later was let in", name, began)
					}
					return got.Status == http.StatusUnauthorized
				})
			}
			x.ready(t)
			f.arrive(t, newAlice())
		}
	})
	t.Run("it has become a replica", func(t *testing.T) {
		a, b := two(t)
		a.in(t)
		b.in(t)
		other := redistest.Start(t) // the new master, with all that the old one had
		follow := func(s, master *redistest.Server) {
			host, port, _ := net.SplitHostPort(master.Addr)
			s.Do("REPLICAOF", host, port)
		}
		follow(other, x.redis)
		gatewaytest.Await(t, "it has the data", func() bool {
			info, err := other.Client.Info(context.Background(), "replication").Result()
			return err == nil && strings.Contains(info, "master_link_status:up")
		})
		other.Do("REPLICAOF", "NO", "ONE")
		follow(x.redis, other)
		since := time.Now()
		end := sync.OnceFunc(func() { x.redis.Do("REPLICAOF", "NO", "ONE") })
		t.Cleanup(end)
		a.closing(t, since)
		a.closed(t)
		f.noSignIn(t)
		end()
		a.open(t)
		b.open(t)
		x.ready(t)
	})
	t.Run("it permits nothing", func(t *testing.T) {
		a, b := two(t)
		a.in(t)
		b.in(t)
		x.redis.Do("ACL", "SETUSER", "default", "-@all", "+acl", "+info", "+ping", "+hello", "+client")
		since := time.Now()
		end := sync.OnceFunc(func() { x.redis.Do("ACL", "SETUSER", "default", "+@all") })
		t.Cleanup(end)
		a.closing(t, since)
		a.closed(t)
		end()
		a.open(t)
		b.open(t)
		x.ready(t)
	})
	t.Run("it evicts", func(t *testing.T) {
		x.ready(t)
		a, b := two(t)
		for _, row := range x.keys(t, "portero:row:*") {
			x.redis.Do("DEL", row)
		}
		for _, p := range []*traveller{a.on(x.all[1]), b.on(x.all[1])} {
			p.wantOut(t)
		}
	})
}

func storeOfGarbage(t *testing.T, d *doors) {
	x := d.Nodes()
	near, far := x.all[0], x.all[1]
	t.Run("beside what is ours", func(t *testing.T) {
		x.ready(t)
		p, _ := x.arrive(t, newAlice())
		for i := range 300 {
			for n, command := range [][]any{{"SET", "garbage"}, {"RPUSH", "1"}, {"HSET", "1", "2"}, {"SADD", "1"}, {"ZADD", "1", "1"}} {
				kind := []string{"row", "mark", "marker", "lease", "subjects", "x"}[i%6]
				x.redis.Do(append([]any{command[0], fmt.Sprintf("portero:%s:garbage-%d-%d", kind, i, n)}, command[1:]...)...)
			}
		}
		for _, f := range x.all {
			if !p.on(f).in(t) {
				t.Error("it is signed out")
			}
			for _, path := range []string{"/api/status", "/api/sessions", "/readyz"} {
				gatewaytest.Await(t, path+" is answered", func() bool { return f.Admin(t, http.MethodGet, path).StatusCode == http.StatusOK })
			}
		}
		for _, key := range x.keys(t, "portero:*garbage*") {
			x.redis.Do("DEL", key)
		}
	})
	t.Run("markers", func(t *testing.T) {
		x.ready(t)
		before := x.keys(t, "portero:marker:*")
		p, _ := x.arrive(t, newAlice())
		session := p.twin()
		if a := p.post(t, "/sign-out", nil); a.Status != http.StatusSeeOther {
			t.Fatalf("signing out: got %s", a)
		}
		var spoiled []string
		for _, key := range x.keys(t, "portero:marker:*") {
			if !strings.Contains(strings.Join(before, " "), key) {
				otherKey("RPUSH", "garbage")(t, x, key)
				spoiled = append(spoiled, key)
			}
		}
		if len(spoiled) == 0 {
			t.Fatal("signing out has set no marker")
		}
		far.Restart(t) // and no memory of what it was told
		gatewaytest.Await(t, "it is ready", func() bool { return far.Admin(t, http.MethodGet, "/readyz").StatusCode == http.StatusOK })
		far.Upstream.Forget()
		if a := session.on(far).send(t, request{}); a.Status != http.StatusUnauthorized && a.Status != http.StatusServiceUnavailable {
			t.Errorf("with garbage as the marker that ended it: got %s, want 401 or 503", a)
		}
		far.nothingReached(t)
		for _, key := range spoiled {
			x.redis.Do("DEL", key)
		}
	})
	t.Run("every key of ours", func(t *testing.T) {
		x.ready(t)
		p, _ := x.arrive(t, newAlice())
		for _, key := range x.keys(t, "portero:*") {
			otherKey("GEOADD", "13.4", "52.5", "garbage")(t, x, key)
		}
		near.Restart(t)
		near.Upstream.Forget()
		for range 3 {
			if a := p.twin().send(t, request{}); a.Status != http.StatusUnauthorized && a.Status != http.StatusServiceUnavailable {
				t.Errorf("got %s, want 401 or 503", a)
			}
		}
		near.nothingReached(t)
		p.public(t)
		x.redis.Do("FLUSHALL")
		x.ready(t)
		near.arrive(t, newAlice())
	})
}

func killedInStorm(t *testing.T, _ *doors) {
	const people, kills = 12, 6
	issuer := gatewaytest.NewIssuer(t)
	var mu sync.Mutex
	redeemed := map[string]int{} // :: code → token calls
	issuer.Do(func(i *gatewaytest.Issuer) {
		i.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/oidc/token" {
				mu.Lock()
				defer mu.Unlock()
				redeemed[r.PostForm.Get("code")]++
			}
			return false
		}
	})
	x := newNodes(t, 2, gatewaytest.Options{TLS: true, Issuer: issuer})
	var signedIn sync.WaitGroup
	stop := make(chan struct{})
	for n := range people {
		signedIn.Go(func() {
			for round := 0; ; round++ {
				x.signInThrough(t, n+round)
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for n := range kills {
		<-tick.C
		f := x.all[n%2]
		f.Process.Kill()
		f.Process.Start()
	}
	close(stop)
	signedIn.Wait()
	mu.Lock()
	defer mu.Unlock()
	for _, n := range redeemed {
		if n > 1 {
			t.Errorf("a code was redeemed %d times", n)
		}
	}
	if len(redeemed) < people {
		t.Errorf("codes: got %d, want one for each of %d people at least", len(redeemed), people)
	}
}

// signInThrough signs somebody in while nodes are killed: each request goes to the next node, and one that fails is made
// once more, as a person does who reloads the page.
func (x *nodes) signInThrough(t *testing.T, turn int) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Error(err)
		return
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if strings.HasPrefix(addr, gatewaytest.Host+":") {
				turn++
				addr, _ = x.all[turn%len(x.all)].Process.Addresses()
			}
			var d net.Dialer
			return d.DialContext(ctx, network, addr)
		},
	}
	client := &http.Client{Transport: transport, Jar: jar, Timeout: 15 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	const start = "https://" + gatewaytest.Host + "/app"
	at := start
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); {
		r, err := http.NewRequest(http.MethodGet, at, nil)
		if err != nil {
			t.Error(err)
			return
		}
		r.Header = gatewaytest.Navigation()
		resp, err := client.Do(r)
		if err != nil {
			continue
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		to, noWhere := resp.Location()
		switch {
		case err != nil:
		case noWhere == nil:
			at = to.String()
		case resp.StatusCode == http.StatusOK && strings.Contains(string(text), "the application"):
			return
		case resp.Header.Get("Refresh") != "": // a page that waits
		case resp.StatusCode == http.StatusServiceUnavailable:
		default: // broken off twice
			if resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: got %s, want a redirect, 503 or a page that waits\n%s", r.URL.Path, resp.Status, text)
			}
			at = start
		}
	}
	t.Error("somebody could not sign in by trying again")
}
