package redisstore_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/redistest"
	"portero/internal/session"
	"portero/internal/session/redisstore"
	"portero/internal/session/storetest"
)

// callTimeout is the deadline that the manager gives each call.
const callTimeout = 500 * time.Millisecond

// recovers calls do, each time with the deadline of a call, until it goes well.
func recovers(t *testing.T, what string, do func(ctx context.Context) error) {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
		asked := time.Now()
		err := do(ctx)
		cancel()
		if took := time.Since(asked); took > 2*callTimeout {
			t.Errorf("%s took %s with a deadline of %s", what, took, callTimeout)
		}
		if err == nil {
			if took := time.Since(began); took > callTimeout {
				t.Logf("%s: again after %s", what, took.Round(time.Millisecond))
			}
			return
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("%s does not recover: %v", what, err)
		}
		<-tick.C
	}
}

func group(t *testing.T) (*redistest.Sentinel, *redisstore.Store) {
	t.Helper()
	sentinel := redistest.StartSentinel(t)
	return sentinel, dialOptions(t, redisstore.Options{
		URL: "redis://unused", Addresses: sentinel.Addrs, MasterName: sentinel.Name,
	})
}

func wantThere(t *testing.T, s *redisstore.Store, key string) {
	t.Helper()
	if got, found, err := s.Get(t.Context(), key); !found || err != nil || got.Key != key {
		t.Errorf("Get(%q) = %t, %v; want the session that was there before", key, found, err)
	}
}

// The master is gone, and with it nothing that a replica has.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	sentinel, s := group(t)
	ctx, clock := t.Context(), storetest.NewClock()
	_, place := read(t, s, "")
	create(t, s, now(row("key", clock)))
	at := time.Now().Truncate(time.Microsecond)
	marker := session.Marker{Kind: session.Ended, By: "sid:x"}
	if err := s.Mark(ctx, marker, at, time.Hour); err != nil {
		t.Fatal(err)
	}
	publish(t, s, clock, "a")
	sentinel.Servers[0].Do("WAIT", 2, 5000)
	old := sentinel.KillMaster()
	recovers(t, "a master that was killed", s.Ping)
	wantThere(t, s, "key")
	if got, err := s.Marked(ctx, marker); err != nil || !got[0].Equal(at) {
		t.Errorf("Marked = %v, %v; want %s", got, err, at)
	}
	publish(t, s, clock, "b")
	got, place := read(t, s, place)
	if got != "ab" {
		t.Errorf("the log says %q, want ab", got)
	}
	// The old one comes back, thinks that it is the master, and is told otherwise.
	master := sentinel.AwaitMaster(old)
	for _, x := range sentinel.Sentinels { // a busy machine is no reason for another failover
		x.Do("SENTINEL", "SET", sentinel.Name, "down-after-milliseconds", 60_000)
	}
	old.Restart()
	sentinel.AwaitReplicas()
	if sentinel.Master() != master {
		t.Fatal("another failover came between")
	}
	create(t, s, now(row("later", clock)))
	publish(t, s, clock, "c")
	if got, _ := read(t, s, place); got != "c" {
		t.Errorf("the log says %q, want c", got)
	}
	if n := len(keys(t, master, "*row:*")); n != 2 {
		t.Errorf("the new master has %d rows, want 2", n)
	}
}

func keys(t *testing.T, server *redistest.Server, pattern string) []string {
	t.Helper()
	keys, err := server.Client.Keys(t.Context(), pattern).Result()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// Replicas that lag lose entries of the log, and whoever has read them is told, even if
// the new master has as many as the old one had.
func TestSentinelFailoverWithLoss(t *testing.T) {
	t.Parallel()
	sentinel, s := group(t)
	clock := storetest.NewClock()
	read(t, s, "")
	publish(t, s, clock, "a")
	_, kept := read(t, s, "")
	sentinel.Servers[0].Do("WAIT", 2, 5000)
	for _, replica := range sentinel.Servers[1:] {
		replica.Stop()
	}
	sentinel.Servers[0].Do("CLIENT", "KILL", "TYPE", "replica") // and what comes now reaches none
	publish(t, s, clock, "b")
	_, lost := read(t, s, "")
	old := sentinel.KillMaster()
	for _, replica := range sentinel.Servers[1:] {
		replica.Continue()
	}
	recovers(t, "a master that was killed", s.Ping)
	if sentinel.AwaitMaster(old) == old {
		t.Fatal("the old master is the new one")
	}
	if got, _ := read(t, s, lost); got != "lost" {
		t.Errorf("behind an entry that was lost: %q, want that some may be missing", got)
	}
	publish(t, s, clock, "c")
	if got, _ := read(t, s, lost); got != "lost" {
		t.Errorf("behind an entry that was lost, after another: %q, want that some may be missing", got)
	}
	if got, _ := read(t, s, kept); got != "c" {
		t.Errorf("behind an entry that was kept: %q, want c", got)
	}
}

// A master that hangs keeps its connections open; one that goes on after it was
// replaced must not be asked again.
func TestSentinelMasterHangs(t *testing.T) {
	t.Parallel()
	sentinel, s := group(t)
	clock := storetest.NewClock()
	create(t, s, now(row("key", clock)))
	_, place := read(t, s, "")
	var wg sync.WaitGroup
	for range 10 { // so that there are many connections
		wg.Go(func() { s.Ping(t.Context()) })
	}
	wg.Wait()
	old := sentinel.Master()
	old.Do("WAIT", 2, 5000)
	old.Stop()
	recovers(t, "a master that hangs", s.Ping)
	master := sentinel.AwaitMaster(old)
	wantThere(t, s, "key")
	publish(t, s, clock, "a")
	if got, _ := read(t, s, place); got != "a" && got != "lost" {
		t.Errorf("the log says %q, want a, or that some may be missing", got)
	}
	old.Continue()
	for i := range 100 {
		create(t, s, now(row(string(rune('A'+i)), clock)))
	}
	if n := len(keys(t, master, "*row:*")); n != 101 {
		t.Errorf("the new master has %d rows, want 101", n)
	}
	for i := range 100 {
		wantThere(t, s, string(rune('A'+i)))
	}
}

// The machine that is gone had a sentinel as well: the very one that was asked.
func TestSentinelHangsToo(t *testing.T) {
	t.Parallel()
	sentinel, s := group(t)
	create(t, s, now(row("key", storetest.NewClock())))
	asked := -1
	recovers(t, "listening to a sentinel", func(context.Context) error {
		asked = slices.IndexFunc(sentinel.Sentinels, func(s *redistest.Server) bool {
			clients, err := s.Client.ClientList(t.Context()).Result()
			return err == nil && strings.Contains(clients, " sub=2 ")
		})
		if asked < 0 {
			return errors.New("nobody listens to a sentinel")
		}
		return nil
	})
	old := sentinel.Master()
	old.Do("WAIT", 2, 5000)
	sentinel.Sentinels[asked].Stop()
	old.Stop()
	recovers(t, "a master and a sentinel that hang", s.Ping)
	wantThere(t, s, "key")
	sentinel.Sentinels[asked].Continue()
}

// Of a cluster one master goes; its slots are served by its replica, and all others
// all the time.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]func(s *redistest.Server){
		"killed": (*redistest.Server).Kill, "hangs": (*redistest.Server).Stop,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := redistest.StartCluster(t)
			s := dialOptions(t, redisstore.Options{URL: "redis://unused", Addresses: cluster.Addrs, Cluster: true})
			clock := storetest.NewClock()
			var names []string
			for i := range 30 {
				names = append(names, string(rune('A'+i)))
				create(t, s, now(row(names[i], clock)))
			}
			_, place := read(t, s, "")
			publish(t, s, clock, "a")
			old := cluster.MasterOf(logKey)
			old.Do("WAIT", 1, 5000)
			away(old)
			recovers(t, "the log", func(ctx context.Context) error {
				return s.Publish(ctx, session.Revocation{By: "b", At: clock.Now()})
			})
			if got, _ := read(t, s, place); got != "ab" && got != "lost" {
				t.Errorf("the log says %q, want ab, or that some may be missing", got)
			}
			for _, name := range names {
				recovers(t, "a session", func(ctx context.Context) error {
					_, found, err := s.Get(ctx, name)
					if err == nil && !found {
						t.Errorf("the session %q is gone", name)
					}
					return err
				})
			}
			old.Continue()
		})
	}
}

// A server of the same name is made a replica of another, as behind an address that
// moves: what it says to reads is old, and nobody goes on asking it.
func TestDemotedServerIsLeft(t *testing.T) {
	t.Parallel()
	first, second := redistest.Start(t), redistest.Start(t)
	address := newSwitch(t, first.Addr)
	s := dialOptions(t, redisstore.Options{URL: "redis://" + address.addr})
	clock := storetest.NewClock()
	create(t, s, now(row("key", clock)))
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { s.Ping(t.Context()) })
	}
	wg.Wait()
	host, port := split(t, first.Addr)
	second.Do("REPLICAOF", host, port)
	first.Do("WAIT", 1, 5000)
	second.Do("REPLICAOF", "NO", "ONE")
	host, port = split(t, second.Addr)
	first.Do("REPLICAOF", host, port)
	address.to(second.Addr)
	// One write is refused, and from then on everything goes to the other.
	recovers(t, "an address that moved", s.Ping)
	create(t, s, now(row("new", clock)))
	for range 20 {
		wg.Go(func() {
			if err := s.Ping(t.Context()); err != nil {
				t.Errorf("Ping: %v", err)
			}
		})
	}
	wg.Wait()
	if n := len(keys(t, second, "*row:*")); n != 2 {
		t.Errorf("the new master has %d rows, want 2", n)
	}
}
