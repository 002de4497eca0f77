package redisstore_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"portero/internal/redistest"
	"portero/internal/session"
	"portero/internal/session/redisstore"
	"portero/internal/session/storetest"
)

// noScript is what a server says that has not seen a script.
type noScript struct{}

func (noScript) Error() string { return "NOSCRIPT no matching script" }
func (noScript) RedisError()   {}

// timeOf puts the clock of the test in the place of the server's: in each script, the
// only place where the store asks for it.
type timeOf struct{ clock *storetest.Clock }

func (h timeOf) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h timeOf) rewrite(cmd redis.Cmder) {
	if cmd.Name() == "eval" {
		micro := h.clock.Now().UnixMicro()
		now := fmt.Sprintf("{'%d', '%d'}", micro/1e6, micro%1e6)
		cmd.Args()[1] = strings.ReplaceAll(cmd.Args()[1].(string), "redis.call('TIME')", now)
	}
}

func (h timeOf) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "evalsha" {
			cmd.SetErr(noScript{})
			return noScript{}
		}
		h.rewrite(cmd)
		return next(ctx, cmd)
	}
}

func (h timeOf) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			if cmd.Name() == "evalsha" {
				cmd.SetErr(noScript{})
				return noScript{}
			}
			h.rewrite(cmd)
		}
		return next(ctx, cmds)
	}
}

// removeMarkers does what the server's own expiry does: the store reads markers
// without asking for the time.
func removeMarkers(t *testing.T, client redis.UniversalClient, prefix string, now time.Time) {
	ctx := context.Background()
	remove := func(ctx context.Context, node *redis.Client) error {
		pages := node.Scan(ctx, 0, prefix+"marker:*", 1000).Iterator()
		for pages.Next(ctx) {
			value, err := node.Get(ctx, pages.Val()).Result()
			if err != nil {
				return err
			}
			until, err := strconv.ParseInt(value[strings.LastIndexByte(value, ' ')+1:], 10, 64)
			if err != nil {
				return err
			}
			if until <= now.UnixMicro() {
				node.Del(ctx, pages.Val())
			}
		}
		return pages.Err()
	}
	var err error
	switch client := client.(type) {
	case *redis.ClusterClient:
		err = client.ForEachMaster(ctx, remove)
	case *redis.Client:
		err = remove(ctx, client)
	}
	if err != nil {
		t.Errorf("removing markers: %v", err)
	}
}

func conformance(t *testing.T, o redis.UniversalOptions) {
	storetest.Run(t, func(t *testing.T, clock *storetest.Clock) session.Store {
		// All tests share the server, each under a prefix of its own.
		prefix := strings.NewReplacer("/", "-", "*", "-").Replace(t.Name()) + ":"
		client, plain := redisstore.NewClient(o, nil), redisstore.NewClient(o, nil)
		t.Cleanup(func() { plain.Close() })
		client.AddHook(timeOf{clock})
		clock.OnAdvance(func(now time.Time) { removeMarkers(t, plain, prefix, now) })
		return redisstore.New(redisstore.Config{Client: client, Prefix: prefix})
	})
}

func TestConformanceOnARealServer(t *testing.T) {
	t.Parallel()
	conformance(t, redis.UniversalOptions{Addrs: []string{redistest.Start(t).Addr}})
}

func TestConformanceOnACluster(t *testing.T) {
	t.Parallel()
	conformance(t, redis.UniversalOptions{Addrs: redistest.StartCluster(t).Addrs, IsClusterMode: true})
}

func now(row session.Row) session.Row {
	row.CreatedAt, row.LastUsed, row.ExpiresAt = time.Now(), time.Now(), time.Now().Add(time.Hour)
	return row
}

// The server's own clock is what rows, marks and markers go by.
func TestClockOfARealServer(t *testing.T) {
	t.Parallel()
	ctx, clock := t.Context(), storetest.NewClock()
	s := open(t, redis.UniversalOptions{Addrs: []string{redistest.Start(t).Addr}}, "")
	before := time.Now().Truncate(time.Microsecond)
	at, err := s.Now(ctx)
	if err != nil || at.Before(before) || at.After(time.Now()) {
		t.Errorf("Now = %s, %v; want about %s", at, err, before)
	}
	create(t, s, row("past", clock), now(row("key", clock)))
	if _, found, err := s.Get(ctx, "past"); found || err != nil {
		t.Errorf("Get of a row that ended before = %t, %v; want absent", found, err)
	}
	if got, found, err := s.Get(ctx, "key"); !found || err != nil || string(got.Body) != "body of key" {
		t.Errorf("Get = %q, %t, %v", got.Body, found, err)
	}
	first, marked, err := s.Consume(ctx, "state", time.Hour)
	if !first || err != nil || marked.Before(at) {
		t.Errorf("Consume = %t, %s, %v", first, marked, err)
	}
}

// SR-03 on the real thing: each refusal is an error, and the session is there again
// when the server has recovered.
func TestRealRefusals(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, want     string
		spoil, restore []any
		reads          bool
	}{
		{"full", "OOM", []any{"CONFIG", "SET", "maxmemory", "1"}, []any{"CONFIG", "SET", "maxmemory", "0"}, true},
		{"a replica", "READONLY", []any{"REPLICAOF", "127.0.0.1", "1"}, []any{"REPLICAOF", "NO", "ONE"}, true},
		{"a replica that serves nothing", "MASTERDOWN", []any{"REPLICAOF", "127.0.0.1", "1"}, []any{"REPLICAOF", "NO", "ONE"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, clock := t.Context(), storetest.NewClock()
			var args []string
			if !test.reads {
				args = []string{"--replica-serve-stale-data", "no"}
			}
			addr := redistest.Start(t, args...).Addr
			s := open(t, redis.UniversalOptions{Addrs: []string{addr}}, "")
			admin := redis.NewClient(&redis.Options{Addr: addr})
			defer admin.Close()
			create(t, s, now(row("key", clock)))
			_, place := read(t, s, "")
			if err := admin.Do(ctx, test.spoil...).Err(); err != nil {
				t.Fatal(err)
			}
			got, found, err := s.Get(ctx, "key")
			if test.reads && (!found || err != nil || got.Key != "key") || !test.reads && (found || err == nil) {
				t.Errorf("Get = %+v, %t, %v", got, found, err)
			}
			next := now(row("key", clock))
			next.Version = 2
			_, updating := s.Update(ctx, next, 1)
			first, _, consuming := s.Consume(ctx, "state", time.Hour)
			marking := s.Mark(ctx, session.Marker{Kind: session.Ended, By: "sid:x"}, time.Now(), time.Hour)
			leased, leasing := s.Lease(ctx, "a", "x", time.Hour)
			_, touching := s.Touch(ctx, "key", time.Now().Add(time.Minute))
			for name, err := range map[string]error{
				"Create": s.Create(ctx, now(row("new", clock))), "Update": updating, "Lease": leasing, "Touch": touching,
				"Publish": s.Publish(ctx, session.Revocation{By: "a", At: time.Now()}), "Consume": consuming, "Mark": marking, "Ping": s.Ping(ctx),
			} {
				// A write by itself is told first that this is a replica.
				if err == nil || !strings.Contains(err.Error(), test.want) && !strings.Contains(err.Error(), "READONLY") {
					t.Errorf("%s = %v, want %s", name, err, test.want)
				}
			}
			if first || leased {
				t.Errorf("a mark that could not be noted was the first %t, a lease was given %t", first, leased)
			}
			// One that is full knows what was published; a replica may not.
			_, _, whole, err := s.Published(ctx, place)
			if full := test.want == "OOM"; whole != full || (err == nil) != full {
				t.Errorf("Published: whole %t, %v; want it whole %t", whole, err, full)
			}
			if err := admin.Do(ctx, test.restore...).Err(); err != nil {
				t.Fatal(err)
			}
			if _, _, err := s.Get(ctx, "key"); (err == nil) != whole {
				t.Errorf("Get before the log is read: %v; want an error unless it was the master all the time", err)
			}
			if got, _ := read(t, s, place); got != "" {
				t.Errorf("the log says %q, want nothing new", got)
			}
			if got, found, err := s.Get(ctx, "key"); !found || err != nil || got.Version != 1 {
				t.Errorf("Get after it has recovered = %+v, %t, %v", got, found, err)
			}
			if _, found, err := s.Get(ctx, "new"); found || err != nil {
				t.Errorf("Get of what was refused = %t, %v; want absent", found, err)
			}
		})
	}
}

func TestRealPassword(t *testing.T) {
	t.Parallel()
	addr := redistest.Options{Password: "s3cret-password"}.Start(t).Addr
	for name, test := range map[string]struct{ password, want string }{
		"none": {"", "NOAUTH"}, "wrong": {"s3cret-wrong", "WRONGPASS"},
	} {
		s := open(t, redis.UniversalOptions{Addrs: []string{addr}, Password: test.password}, "")
		if err := s.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s password: %v, want %s", name, err, test.want)
		}
		// Of strangers the server takes short commands alone, and hangs up at others.
		for call, err := range every(t.Context(), s, storetest.NewClock()) {
			if err == nil || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%s password, %s: %v; want an error without the secrets", name, call, err)
			}
		}
	}
	s := open(t, redis.UniversalOptions{Addrs: []string{addr}, Password: "s3cret-password"}, "")
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("the right password: %v", err)
	}
}
