package gateway_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
	"portero/internal/redistest"
)

// What people notice of a Redis that answers, and says that it will not.

// replicate makes a server the replica of another, or nobody's, and waits until it has the data.
func replicate(t testing.TB, server, master *redistest.Server) {
	t.Helper()
	if master == nil {
		server.Do("REPLICAOF", "NO", "ONE")
		return
	}
	host, port, _ := net.SplitHostPort(master.Addr)
	server.Do("REPLICAOF", host, port)
	every(t, 20*time.Millisecond, "the replica has the data", func() bool {
		info, err := server.Client.Info(context.Background(), "replication").Result()
		return err == nil && strings.Contains(info, "master_link_status:up")
	})
}

func TestStoreTroubleRefusals(t *testing.T) {
	t.Parallel()
	// A replica may not know yet who was signed out: nothing it says counts.
	t.Run("SR-03 read-only replica", func(t *testing.T) {
		t.Parallel()
		server, other := redistest.Start(t), redistest.Start(t)
		rig := redisRig(t, server.URL())
		b := rig.SignedIn(t, "/")
		warm(t, rig, server, b)
		replicate(t, other, server)
		replicate(t, other, nil)
		host, port, _ := net.SplitHostPort(other.Addr)
		server.Do("REPLICAOF", host, port)
		since := time.Now()
		wantClosing(t, rig, b, since)
		wantClosed(t, rig, b)
		wantNoSignIn(t, rig)
		replicate(t, server, other) // to the end
		replicate(t, server, nil)
		wantOpen(t, rig, b)
	})
	// It may have been cut off, and another one may be the master by now.
	t.Run("SR-03 master without the replicas it wants", func(t *testing.T) {
		t.Parallel()
		server := redistest.Start(t)
		rig := redisRig(t, server.URL())
		b := rig.SignedIn(t, "/")
		warm(t, rig, server, b)
		server.Do("CONFIG", "SET", "min-replicas-to-write", "1")
		since := time.Now()
		wantClosing(t, rig, b, since)
		wantClosed(t, rig, b)
		server.Do("CONFIG", "SET", "min-replicas-to-write", "0")
		wantOpen(t, rig, b)
	})
	t.Run("SR-03 full", func(t *testing.T) {
		t.Parallel()
		server := redistest.Start(t, "--maxmemory-policy", "noeviction")
		rig := redisRig(t, server.URL())
		b := rig.SignedIn(t, "/")
		server.Do("CONFIG", "SET", "maxmemory", "1")
		wantNoSignIn(t, rig)
		for path, want := range map[string]int{"/": 200, "/admin/": 403, "/_portero/session": 200} {
			if status, _ := get(t, b, rig.URL+path); status != want {
				t.Errorf("%s of who was signed in before: got %d, want %d", path, status, want)
			}
		}
		rig.Restart(t) // and no memory of our own
		if status, _ := get(t, b, rig.URL+"/"); status != http.StatusOK {
			t.Errorf("after a restart: got %d, want 200", status)
		}
		wantPublic(t, rig, rig.Browser(t))
		if status, _, checks := readyz(t, rig); status != http.StatusServiceUnavailable || checks["store"] != "failed" {
			t.Errorf("readyz: got %d %v, want 503 and the store failed", status, checks)
		}
		token := b.Cookies("localhost")[rig.Cookie()]
		if got := b.Post(rig.URL+"/sign-out", nil); got.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("signing out: got %s, want 503, since it cannot be noted", got.Status)
		}
		if b.Cookies("localhost")[rig.Cookie()] != token {
			t.Error("the cookie is gone although the session is not")
		}
		server.Do("CONFIG", "SET", "maxmemory", "0")
		every(t, 20*time.Millisecond, "the gateway is ready", func() bool { status, _, _ := readyz(t, rig); return status == http.StatusOK })
		rig.SignedIn(t, "/")
		b.Post(rig.URL+"/sign-out", nil)
		b.SetCookie("localhost", rig.Cookie(), token)
		if status, _ := get(t, b, rig.URL+"/"); status == http.StatusOK {
			t.Error("the session that was signed out in the end is still good")
		}
	})
	t.Run("SR-03 NOAUTH and WRONGPASS", func(t *testing.T) {
		t.Parallel()
		server := redistest.Start(t)
		server.Do("ACL", "SETUSER", "portero", "on", ">first-password", "~*", "&*", "+@all")
		rig := redisRig(t, "redis://portero:first-password@"+server.Addr+"/0")
		b := rig.SignedIn(t, "/")
		warm(t, rig, server, b)
		server.Do("ACL", "SETUSER", "portero", "resetpass", ">another-password")
		server.Do("CLIENT", "KILL", "USER", "portero")
		since := time.Now()
		wantClosing(t, rig, b, since)
		wantClosed(t, rig, b)
		wantNoSignIn(t, rig)
		server.Do("ACL", "SETUSER", "portero", ">first-password")
		wantOpen(t, rig, b)

		nobody := redistest.Options{Password: "some-password"}.Start(t)
		open := redisRig(t, "redis://"+nobody.Addr+"/0")
		wantNoSignIn(t, open)
		if status, _, checks := readyz(t, open); status != http.StatusServiceUnavailable || checks["store"] != "failed" {
			t.Errorf("readyz without a password: got %d %v, want 503 and the store failed", status, checks)
		}
		for _, log := range []string{rig.Log.String(), open.Log.String()} {
			if strings.Contains(log, "first-password") || strings.Contains(log, "some-password") {
				t.Error("a password is in the log")
			}
		}
		if log := open.Log.String(); !strings.Contains(log, "NOAUTH") {
			t.Error("the log does not say NOAUTH")
		}
		if log := rig.Log.String(); !strings.Contains(log, "WRONGPASS") {
			t.Error("the log does not say WRONGPASS")
		}
	})
	t.Run("SR-03 NOPERM", func(t *testing.T) {
		t.Parallel()
		server := redistest.Start(t)
		server.Do("ACL", "SETUSER", "portero", "on", ">first-password", "~*", "&*", "+@all")
		rig := redisRig(t, "redis://portero:first-password@"+server.Addr+"/0")
		b := rig.SignedIn(t, "/")
		warm(t, rig, server, b)
		server.Do("ACL", "SETUSER", "portero", "resetkeys", "~other:*")
		since := time.Now()
		wantClosing(t, rig, b, since)
		wantClosed(t, rig, b)
		server.Do("ACL", "SETUSER", "portero", "~*")
		wantOpen(t, rig, b)
	})
	t.Run("SR-03 LOADING", func(t *testing.T) {
		t.Parallel()
		// Each of a hundred keys takes 60 ms to load, and questions are answered meanwhile.
		server := redistest.Start(t, "--key-load-delay", "60000", "--loading-process-events-interval-bytes", "1024", "--rdbcompression", "no")
		rig := redisRig(t, server.URL())
		b := rig.SignedIn(t, "/")
		for i := range 100 {
			server.Do("SET", fmt.Sprintf("other:%d", i), strings.Repeat("x", 1024))
		}
		warm(t, rig, server, b)
		server.Do("SAVE")
		server.Kill()
		since := time.Now()
		restarted := make(chan struct{})
		go func() {
			defer close(restarted)
			server.Restart()
		}()
		wantClosing(t, rig, b, since)
		every(t, 20*time.Millisecond, "the log says LOADING", func() bool {
			if status, _ := get(t, b, rig.URL+"/"); status != http.StatusServiceUnavailable && status != http.StatusOK {
				t.Errorf("got %d, want 503, or 200 once it is loaded", status)
			}
			select {
			case <-restarted:
				t.Error("Redis was loaded before it was asked")
				return true
			default:
				return strings.Contains(rig.Log.String(), "LOADING")
			}
		})
		<-restarted
		wantOpen(t, rig, b)
	})
}

func TestStoreTroubleLosses(t *testing.T) {
	t.Parallel()
	// Everybody signs in again, and whoever was cached is gone within a second.
	t.Run("SR-03 FLUSHALL", func(t *testing.T) {
		t.Parallel()
		server := redistest.Start(t)
		rig := redisRig(t, server.URL())
		b := rig.SignedIn(t, "/")
		warm(t, rig, server, b)
		token := b.Cookies("localhost")[rig.Cookie()]
		server.Do("FLUSHALL")
		since := time.Now()
		every(t, 5*time.Millisecond, "the session is gone", func() bool {
			began := time.Since(since)
			b.SetCookie("localhost", rig.Cookie(), token)
			status, _ := get(t, b, rig.URL+"/")
			if status == http.StatusOK && began >= closesWithin {
				t.Errorf("a request %s after FLUSHALL was let in", began)
			} else if status != http.StatusOK && status != http.StatusFound {
				t.Errorf("got %d, want 200 or 302", status)
			}
			return began > closesWithin+200*time.Millisecond
		})
		if got := b.Cookies("localhost")[rig.Cookie()]; got != "" {
			t.Error("the browser keeps the cookie of the session that is gone")
		}
		if got := b.Visit(rig.URL + "/"); got.StatusCode != http.StatusOK {
			t.Errorf("signing in again: got %s, want 200", got.Status)
		}
	})
	t.Run("SR-03 restart without data", func(t *testing.T) {
		t.Parallel()
		server := redistest.Start(t)
		rig := redisRig(t, server.URL())
		b := rig.SignedIn(t, "/")
		server.Restart()
		every(t, 10*time.Millisecond, "signing in is offered", func() bool {
			status, _ := get(t, b, rig.URL+"/")
			if status != http.StatusOK && status != http.StatusServiceUnavailable && status != http.StatusFound {
				t.Errorf("got %d, want 200, 503 or 302", status)
			}
			return status == http.StatusFound
		})
		if got := b.Visit(rig.URL + "/"); got.StatusCode != http.StatusOK {
			t.Errorf("signing in again: got %s, want 200", got.Status)
		}
	})
	t.Run("SR-03 eviction", func(t *testing.T) {
		t.Parallel()
		server := redistest.Start(t, "--maxmemory-policy", "allkeys-random", "--maxmemory", "3mb")
		rig := redisRig(t, server.URL())
		b := rig.SignedIn(t, "/")
		junk := 0
		every(t, time.Millisecond, "Redis has evicted every session", func() bool {
			for range 200 {
				junk++
				server.Do("SET", fmt.Sprintf("other:%d", junk), strings.Repeat("x", 4096))
			}
			return len(rowKeys(t, server)) == 0
		})
		rig.Restart(t) // a session that was read a moment ago may be good for a minute
		if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusFound {
			t.Errorf("after eviction: got %s, want 302", got.Status)
		}
		server.Do("CONFIG", "SET", "maxmemory", "0")
		server.Do("FLUSHALL")
		if got := b.Visit(rig.URL + "/"); got.StatusCode != http.StatusOK {
			t.Errorf("signing in again: got %s, want 200", got.Status)
		}
	})
}

// SR-06: Redis is killed again and again while people sign in. Whoever reloads the page that failed gets in, and no code
// is redeemed twice.
func TestStoreTroubleKilledDuringSignIns(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	issuer := gatewaytest.NewIssuer(t)
	var mu sync.Mutex
	redeemed := map[string]int{} // :: code → token calls
	issuer.Do(func(i *gatewaytest.Issuer) {
		i.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/oidc/token" {
				mu.Lock()
				defer mu.Unlock()
				redeemed[r.Form.Get("code")]++
			}
			return false
		}
	})
	rig := gatewaytest.New(t, &gatewaytest.Options{Issuer: issuer, Session: inRedis(server.URL(), nil)})
	stop := make(chan struct{})
	var killing sync.WaitGroup
	killing.Go(func() {
		pause := 300 * time.Millisecond
		tick := time.NewTimer(pause)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				server.Restart()
				pause += 50 * time.Millisecond // on a slow machine somebody gets through in the end
				tick.Reset(pause)
			}
		}
	})
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 3 {
				b := rig.Browser(t)
				address := rig.URL + "/"
				every(t, 20*time.Millisecond, "somebody is signed in", func() bool {
					for range 20 {
						got := b.Get(address)
						switch {
						case got.StatusCode == http.StatusOK && got.Header.Get("Refresh") == "": // the application
							return true
						case got.StatusCode >= 300 && got.StatusCode < 400:
							address = got.Location()
							continue
						case got.StatusCode == http.StatusBadRequest && strings.Contains(got.Text, "Start again"): // broken off twice
							address = rig.URL + "/"
						case got.StatusCode != http.StatusServiceUnavailable && got.Header.Get("Refresh") == "":
							t.Errorf("got %s, want 503 while Redis is away\n%s", got.Status, got.Text)
							address = rig.URL + "/"
						}
						return false // the person reloads the page
					}
					address = rig.URL + "/"
					return false
				})
			}
		})
	}
	wait.Wait()
	close(stop)
	killing.Wait()
	mu.Lock()
	defer mu.Unlock()
	for _, n := range redeemed {
		if n > 1 {
			t.Errorf("a code was redeemed %d times", n)
		}
	}
	t.Logf("%d codes were redeemed", len(redeemed))
}

// A failover forgets what had not reached the replica; nobody is let in meanwhile who should not be.
func TestStoreTroubleFailover(t *testing.T) {
	t.Parallel()
	t.Run("SR-03 Sentinel", func(t *testing.T) {
		t.Parallel()
		group := redistest.StartSentinel(t)
		rig := redisRig(t, "redis://127.0.0.1/0", "master_name: "+group.Name, "addresses: "+addresses(group.Addrs))
		gone := rig.SignedIn(t, "/")
		ended := gone.Cookies("localhost")[rig.Cookie()]
		rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person["sid"] = "sid-2" })
		b := rig.SignedIn(t, "/")
		if got := gone.Post(rig.URL+"/sign-out", nil); got.StatusCode != http.StatusSeeOther {
			t.Fatalf("signing out: got %s, want 303", got.Status)
		}
		group.AwaitReplicas()
		rig.Upstream.Forget()
		old := group.KillMaster()
		since := time.Now()
		wantFailover(t, rig, b, gone, ended, since)
		group.AwaitMaster(old)
		wantOpen(t, rig, b)
		wantSignIn(t, rig)
		old.Restart() // the sentinels make it a replica
		if status, _ := get(t, b, rig.URL+"/"); status != http.StatusOK {
			t.Errorf("with the old master back: got %d, want 200", status)
		}
	})
	t.Run("SR-03 Cluster", func(t *testing.T) {
		t.Parallel()
		cluster := redistest.StartCluster(t)
		rig := redisRig(t, "redis://"+cluster.Servers[0].Addr+"/0", "cluster: true", "addresses: "+addresses(cluster.Addrs))
		gone := rig.SignedIn(t, "/")
		ended := gone.Cookies("localhost")[rig.Cookie()]
		rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person["sid"] = "sid-2" })
		b := rig.SignedIn(t, "/")
		if got := gone.Post(rig.URL+"/sign-out", nil); got.StatusCode != http.StatusSeeOther {
			t.Fatalf("signing out: got %s, want 303", got.Status)
		}
		var keys []string
		for _, s := range cluster.Servers[:3] {
			keys = append(keys, rowKeys(t, s)...)
		}
		if len(keys) != 1 {
			t.Fatalf("the masters have %d sessions, want 1", len(keys))
		}
		key := keys[0]
		master := cluster.MasterOf(key)
		master.Kill()
		since := time.Now()
		wantFailover(t, rig, b, gone, ended, since)
		cluster.AwaitMasterOf(key, master)
		rig.Restart(t) // another master had the log, so what was cached was good all the time
		wantOpen(t, rig, b)
		wantSignIn(t, rig)
	})
}

func addresses(list []string) string { return `["` + strings.Join(list, `", "`) + `"]` }

// wantFailover asks during a failover: who was signed in gets 200 or 503, and who was signed out nothing.
func wantFailover(t testing.TB, rig *gatewaytest.Rig, b, gone *gatewaytest.Browser, ended string, since time.Time) {
	t.Helper()
	refused := false
	every(t, 10*time.Millisecond, "the failover is over", func() bool {
		status, took := get(t, b, rig.URL+"/")
		switch {
		case status == http.StatusServiceUnavailable:
			refused = true
		case status != http.StatusOK:
			t.Errorf("%s after the master was killed: got %d, want 200 or 503", time.Since(since), status)
		}
		if took > answersWithin {
			t.Errorf("an answer took %s", took)
		}
		gone.SetCookie("localhost", rig.Cookie(), ended)
		if status, _ := get(t, gone, rig.URL+"/"); status == http.StatusOK {
			t.Error("the session that was signed out is let in")
		}
		return status == http.StatusOK && (refused || time.Since(since) > 10*time.Second)
	})
	t.Logf("the failover was over %s after the master was killed; requests were refused: %v", time.Since(since).Round(time.Millisecond), refused)
}
