package gateway_test

import (
	"context"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/gatewaytest"
	"portero/internal/redistest"
)

// What people and applications notice of every state that Redis can be in. The figures that are promised: one second
// until protected routes are closed, about two until they are open again.

const (
	closesWithin = time.Second
	// answersWithin bounds one answer while the store is in trouble: its deadline is half a second, and a machine that
	// runs tests is busy.
	answersWithin = 5 * time.Second
	// recoversWithin is so long for the same reason.
	recoversWithin = 10 * time.Second
)

// behindProxy is a rig whose Redis is behind a proxy that can break.
func behindProxy(t testing.TB, args ...string) (*gatewaytest.Rig, *redistest.Proxy, *redistest.Server) {
	t.Helper()
	server := redistest.Start(t, args...)
	proxy := redistest.NewProxy(t, server.Addr)
	return redisRig(t, "redis://"+proxy.Addr+"/0"), proxy, server
}

// get is a navigation of which only the answer's status and its duration count. 0: there was no answer.
func get(t testing.TB, b *gatewaytest.Browser, address string) (status int, took time.Duration) {
	t.Helper()
	start := time.Now()
	resp, err := b.Send(b.Request(http.MethodGet, address, nil, nil))
	if err != nil {
		t.Errorf("%s: %v", address, err)
		return 0, time.Since(start)
	}
	resp.Body.Close()
	return resp.StatusCode, time.Since(start)
}

// warm waits until the gateway answers for this person without asking Redis. Then others of the test may break what lies
// between: until it is noticed, what is cached counts.
func warm(t testing.TB, rig *gatewaytest.Rig, server *redistest.Server, b *gatewaytest.Browser) {
	t.Helper()
	reads := func() string { // of rows; the revocation log is read all the time
		stats, err := server.Client.Info(context.Background(), "commandstats").Result()
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(stats, "cmdstat_strlen:")
		calls, _, _ := strings.Cut(after, ",")
		return calls
	}
	every(t, 20*time.Millisecond, "sessions are served from the cache", func() bool {
		before := reads()
		for range 3 {
			if status, _ := get(t, b, rig.URL+"/"); status != http.StatusOK {
				t.Fatalf("got %d, want 200", status)
			}
		}
		return before != "" && reads() == before
	})
}

// wantClosing asks for a protected page until the trouble that had begun at since is noticed. No request that begins a second
// later, and none after the first that was refused, is let in.
func wantClosing(t testing.TB, rig *gatewaytest.Rig, b *gatewaytest.Browser, since time.Time) {
	t.Helper()
	var last time.Duration // when the last request began that was let in
	var refused int
	every(t, 5*time.Millisecond, "protected routes are closed", func() bool {
		began := time.Since(since)
		switch status, _ := get(t, b, rig.URL+"/"); {
		case status == http.StatusOK && began >= closesWithin:
			t.Errorf("a request %s after the trouble began was let in", began)
		case status == http.StatusOK && refused > 0:
			t.Errorf("a request %s after the trouble began was let in, after others had been refused", began)
		case status == http.StatusOK:
			last = began
		case status == http.StatusServiceUnavailable:
			refused++
		default:
			t.Errorf("%s after the trouble began: got %d, want 200 or 503", began, status)
		}
		return refused > 0 && began > closesWithin+200*time.Millisecond
	})
	t.Logf("protected routes were open for %s", last.Round(time.Millisecond))
}

// wantClosed says that nobody gets in anywhere that is protected, nobody is signed out, nothing protected reaches the
// application, and what is public goes on.
func wantClosed(t testing.TB, rig *gatewaytest.Rig, b *gatewaytest.Browser) {
	t.Helper()
	before := b.Cookies("localhost")[rig.Cookie()]
	seen := len(rig.Upstream.Requests())
	for _, c := range []struct{ method, path string }{
		{"GET", "/"}, {"POST", "/"}, {"GET", "/admin/"}, {"GET", "/_portero/session"}, {"POST", "/sign-out"}, {"GET", "/sign-in?return_to=/"},
	} {
		start := time.Now()
		got := b.Do(b.Request(c.method, rig.URL+c.path, nil, map[string]string{"Origin": rig.URL, "Sec-Fetch-Site": "same-origin"}))
		if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" {
			t.Errorf("%s %s: got %s, Retry-After %q, want 503 and one", c.method, c.path, got.Status, got.Header.Get("Retry-After"))
		}
		if took := time.Since(start); took > answersWithin {
			t.Errorf("%s %s: the answer took %s", c.method, c.path, took)
		}
	}
	if got := len(rig.Upstream.Requests()); got != seen {
		t.Errorf("%d requests of protected routes reached the application", got-seen)
	}
	if got := b.Cookies("localhost")[rig.Cookie()]; got != before || got == "" {
		t.Error("the browser was told to drop its session")
	}
	wantPublic(t, rig, b)
	if status, state, checks := readyz(t, rig); status != http.StatusServiceUnavailable || state != "failed" || checks["store"] != "failed" {
		t.Errorf("readyz: got %d %q %v, want 503 and the store failed", status, state, checks)
	}
}

// wantPublic says that what is public goes on, and that nobody is told about who is not known.
func wantPublic(t testing.TB, rig *gatewaytest.Rig, b *gatewaytest.Browser) {
	t.Helper()
	for _, path := range []string{"/public/", "/health", "/optional/"} {
		if status, _ := get(t, b, rig.URL+path); status != http.StatusOK {
			t.Errorf("%s: got %d, want 200", path, status)
		}
	}
	if got := gatewaytest.Header(rig.Upstream.Last(), "X-Forwarded-User"); len(got) != 0 {
		t.Errorf("the application was told %q without the store", got)
	}
}

// wantOpen waits until the same session is good again, without a restart.
func wantOpen(t testing.TB, rig *gatewaytest.Rig, b *gatewaytest.Browser) {
	t.Helper()
	since := time.Now()
	every(t, 10*time.Millisecond, "protected routes are open again", func() bool {
		status, _ := get(t, b, rig.URL+"/")
		if status != http.StatusOK && status != http.StatusServiceUnavailable {
			t.Fatalf("while the store comes back: got %d, want 503 and then 200", status)
		}
		return status == http.StatusOK
	})
	if took := time.Since(since); took > recoversWithin {
		t.Errorf("it took %s, want about two seconds", took)
	} else {
		t.Logf("protected routes were open again after %s", took.Round(time.Millisecond))
	}
	every(t, 10*time.Millisecond, "the gateway is ready again", func() bool {
		status, _, _ := readyz(t, rig)
		return status == http.StatusOK
	})
}

// wantNoSignIn says that a stranger is told that signing in is not possible now.
func wantNoSignIn(t testing.TB, rig *gatewaytest.Rig) {
	t.Helper()
	b := rig.Browser(t)
	got := b.Visit(rig.URL + "/")
	if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" || b.Cookies("localhost")[rig.Cookie()] != "" {
		t.Errorf("a stranger signs in: got %s, Retry-After %q, want 503, and no session\n%s", got.Status, got.Header.Get("Retry-After"), got.Text)
	}
}

// wantSignIn waits until a stranger can sign in.
func wantSignIn(t testing.TB, rig *gatewaytest.Rig) {
	t.Helper()
	since := time.Now()
	every(t, 20*time.Millisecond, "signing in is possible again", func() bool {
		return rig.Browser(t).Visit(rig.URL+"/").StatusCode == http.StatusOK
	})
	if took := time.Since(since); took > recoversWithin {
		t.Errorf("signing in was possible after %s, want about two seconds", took)
	}
}

func TestStoreTroubleContact(t *testing.T) {
	t.Parallel()
	t.Run("SR-01 down at start", func(t *testing.T) {
		t.Parallel()
		rig, proxy, _ := behindProxy(t)
		b := rig.SignedIn(t, "/")
		proxy.Cut()
		rig.Restart(t)
		wantClosed(t, rig, b)
		wantNoSignIn(t, rig)
		proxy.Heal()
		wantOpen(t, rig, b)
		rig.SignedIn(t, "/")
	})
	t.Run("SR-01 down later, with a warm cache", func(t *testing.T) {
		t.Parallel()
		rig, proxy, server := behindProxy(t)
		b := rig.SignedIn(t, "/")
		warm(t, rig, server, b)
		proxy.Cut()
		since := time.Now()
		wantClosing(t, rig, b, since)
		wantClosed(t, rig, b)
		wantNoSignIn(t, rig)
		proxy.Heal()
		wantOpen(t, rig, b)
		for _, line := range []string{"contact is lost", "contact is back"} {
			eventually(t, "the log says "+line, func() bool { return strings.Contains(rig.Log.String(), line) })
		}
	})
	t.Run("SR-01 killed and started again", func(t *testing.T) {
		t.Parallel()
		server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
		rig := redisRig(t, server.URL())
		b := rig.SignedIn(t, "/")
		warm(t, rig, server, b)
		server.Kill()
		since := time.Now()
		wantClosing(t, rig, b, since)
		wantClosed(t, rig, b)
		server.Restart()
		wantOpen(t, rig, b)
	})
	t.Run("SR-01 flapping", func(t *testing.T) {
		t.Parallel()
		rig, proxy, _ := behindProxy(t)
		gone := rig.SignedIn(t, "/")
		ended := gone.Cookies("localhost")[rig.Cookie()]
		rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person["sid"] = "sid-2" })
		b := rig.SignedIn(t, "/")
		if got := gone.Post(rig.URL+"/sign-out", nil); got.StatusCode != http.StatusSeeOther {
			t.Fatalf("signing out: got %s", got.Status)
		}
		gone.SetCookie("localhost", rig.Cookie(), ended)
		rig.Upstream.Forget()
		var served atomic.Int64
		stop := make(chan struct{})
		var wait sync.WaitGroup
		for range 4 {
			wait.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					switch status, took := get(t, b, rig.URL+"/"); {
					case status == http.StatusOK:
						served.Add(1)
					case status != http.StatusServiceUnavailable:
						t.Errorf("got %d, want 200 or 503", status)
					case took > answersWithin:
						t.Errorf("an answer took %s", took)
					}
					gone.SetCookie("localhost", rig.Cookie(), ended)
					if status, _ := get(t, gone, rig.URL+"/admin/"); status == http.StatusOK || status == http.StatusForbidden {
						t.Errorf("the session that was ended: got %d", status)
					}
				}
			})
		}
		flaps := 0
		every(t, 150*time.Millisecond, "it has flapped", func() bool {
			if flaps++; flaps%2 == 1 {
				proxy.Cut()
			} else {
				proxy.Heal()
			}
			return flaps == 20
		})
		close(stop)
		wait.Wait()
		if got := len(rig.Upstream.Requests()); int64(got) != served.Load() {
			t.Errorf("%d requests reached the application, and %d were answered with its page", got, served.Load())
		}
		wantOpen(t, rig, b)
	})
	t.Run("SR-02 a little slow", func(t *testing.T) {
		t.Parallel()
		rig, proxy, _ := behindProxy(t)
		b := rig.SignedIn(t, "/")
		proxy.Delay(20 * time.Millisecond)
		rig.SignedIn(t, "/")
		if status, _, _ := readyz(t, rig); status != http.StatusOK {
			t.Errorf("readyz: got %d, want 200", status)
		}
		for range 50 {
			if status, _ := get(t, b, rig.URL+"/"); status != http.StatusOK {
				t.Fatalf("got %d, want 200", status)
			}
		}
	})
	t.Run("SR-02 slow by two seconds", func(t *testing.T) {
		t.Parallel()
		rig, proxy, server := behindProxy(t)
		b := rig.SignedIn(t, "/")
		warm(t, rig, server, b)
		proxy.Delay(time.Second)
		since := time.Now()
		wantClosing(t, rig, b, since)
		wantClosed(t, rig, b)
		wantNoSignIn(t, rig)
		proxy.Heal()
		wantOpen(t, rig, b)
	})
	t.Run("SR-02 stalled", func(t *testing.T) {
		t.Parallel()
		rig, proxy, server := behindProxy(t)
		b := rig.SignedIn(t, "/")
		warm(t, rig, server, b)
		proxy.Stall()
		since := time.Now()
		wantClosing(t, rig, b, since)
		wantClosed(t, rig, b)
		wantNoSignIn(t, rig)
		proxy.Heal()
		wantOpen(t, rig, b)
	})
	t.Run("SR-02 the process of Redis is stopped", func(t *testing.T) {
		t.Parallel()
		server := redistest.Start(t)
		rig := redisRig(t, server.URL())
		b := rig.SignedIn(t, "/")
		warm(t, rig, server, b)
		server.Stop()
		since := time.Now()
		wantClosing(t, rig, b, since)
		wantClosed(t, rig, b)
		server.Continue()
		wantOpen(t, rig, b)
	})
}

// SR-02 under load. It runs alone, since it counts goroutines.
func TestStoreTroubleUnderLoad(t *testing.T) {
	for name, trouble := range map[string]func(*redistest.Proxy){
		"SR-02 slow by two seconds": func(p *redistest.Proxy) { p.Delay(time.Second) },
		"SR-02 stalled":             (*redistest.Proxy).Stall,
		"SR-01 down":                (*redistest.Proxy).Cut,
	} {
		t.Run(name, func(t *testing.T) {
			const requests = 200
			rig, proxy, _ := behindProxy(t)
			b := rig.SignedIn(t, "/")
			rig.Upstream.Forget()
			trouble(proxy)
			every(t, 20*time.Millisecond, "it is noticed", func() bool {
				status, _ := get(t, b, rig.URL+"/")
				return status == http.StatusServiceUnavailable
			})
			rig.Upstream.Forget()
			// Connections of the clients are no part of what is counted.
			load := func() (longest time.Duration) {
				clients := make([]*http.Client, requests)
				var wait sync.WaitGroup
				var mu sync.Mutex
				for i := range clients {
					transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
						var d net.Dialer
						return d.DialContext(ctx, network, rig.Addr)
					}}
					clients[i] = &http.Client{Transport: transport, Timeout: 30 * time.Second}
					wait.Go(func() {
						r := b.Request(http.MethodGet, rig.URL+"/", nil, map[string]string{"Cookie": rig.Cookie() + "=" + b.Cookies("localhost")[rig.Cookie()]})
						start := time.Now()
						resp, err := clients[i].Do(r)
						if err != nil {
							t.Errorf("a request of many: %v", err)
							return
						}
						resp.Body.Close()
						if resp.StatusCode != http.StatusServiceUnavailable {
							t.Errorf("a request of many: got %s, want 503", resp.Status)
						}
						mu.Lock()
						defer mu.Unlock()
						longest = max(longest, time.Since(start))
					})
				}
				wait.Wait()
				return longest
			}
			load()
			before := runtime.NumGoroutine()
			for range 3 {
				longest := load()
				t.Logf("%d requests at once: the longest took %s", requests, longest.Round(time.Millisecond))
				if longest > answersWithin {
					t.Errorf("the longest of %d requests took %s, want %s at most", requests, longest, answersWithin)
				}
			}
			var after int
			eventually(t, "goroutines end", func() bool { after = runtime.NumGoroutine(); return after <= before+20 })
			t.Logf("goroutines: %d before, %d after", before, after)
			if got := len(rig.Upstream.Requests()); got != 0 {
				t.Errorf("%d requests reached the application", got)
			}
			proxy.Heal()
			wantOpen(t, rig, b)
		})
	}
}
