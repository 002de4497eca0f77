package redisstore_test

import (
	"bufio"
	"context"
	"crypto/x509"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/redistest"
	"portero/internal/session"
	"portero/internal/session/redisstore"
	"portero/internal/session/storetest"
)

func TestDialRefuses(t *testing.T) {
	t.Parallel()
	one := []string{"127.0.0.1:1"}
	for _, test := range []struct {
		name, want string
		options    redisstore.Options
	}{
		{"nothing", "session.redis.url", redisstore.Options{}},
		{"another scheme", "session.redis.url", redisstore.Options{URL: "http://u:s3cret@h"}},
		{"a password that is not encoded", "session.redis.url", redisstore.Options{URL: "redis://u:s3cret%zz@h:1"}},
		{"a database that is none", "session.redis.url", redisstore.Options{URL: "redis://u:s3cret@h:1/s3cret"}},
		{"an option that turns checks off", "session.redis.url", redisstore.Options{URL: "rediss://u:s3cret@h:1/0?skip_verify=true"}},
		{"sentinels and a cluster", "session.redis.cluster", redisstore.Options{URL: "redis://h", Addresses: one, MasterName: "m", Cluster: true}},
		{"a name and no sentinels", "session.redis.addresses", redisstore.Options{URL: "redis://h", MasterName: "m"}},
		{"addresses of what", "session.redis.addresses", redisstore.Options{URL: "redis://h", Addresses: one}},
		{"an address without a port", "session.redis.addresses[1]", redisstore.Options{URL: "redis://h", Addresses: []string{"h:1", "h"}, Cluster: true}},
		{"a socket of a cluster", "session.redis.url", redisstore.Options{URL: "unix:///run/r.sock", Cluster: true}},
		{"a database of a cluster", "session.redis.url", redisstore.Options{URL: "redis://h/1", Cluster: true}},
	} {
		s, err := redisstore.Dial(test.options)
		if err == nil {
			s.Close()
			t.Errorf("%s: no error", test.name)
			continue
		}
		if !strings.HasPrefix(err.Error(), test.want+":") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v; want %s, and no secret", test.name, err, test.want)
		}
	}
}

// TLS and the user of the URL hold for servers, failover groups and clusters alike.
func TestDialWithTLSAndUser(t *testing.T) {
	t.Parallel()
	o := redistest.Options{TLS: true, User: "portero", Password: "s3cret/word@x"}
	for name, start := range map[string]func(t *testing.T) (redisstore.Options, *redistest.Server){
		"server": func(t *testing.T) (redisstore.Options, *redistest.Server) {
			s := o.Start(t)
			return redisstore.Options{URL: s.URL()}, s
		},
		"sentinels": func(t *testing.T) (redisstore.Options, *redistest.Server) {
			s := o.StartSentinel(t)
			return redisstore.Options{URL: s.Servers[0].URL(), Addresses: s.Addrs, MasterName: s.Name}, s.Servers[0]
		},
		"cluster": func(t *testing.T) (redisstore.Options, *redistest.Server) {
			c := o.StartCluster(t)
			return redisstore.Options{URL: c.Servers[0].URL(), Addresses: c.Addrs, Cluster: true}, c.Servers[0]
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options, server := start(t)
			ctx := t.Context()
			good := options
			good.CA = server.CA
			s := dialOptions(t, good)
			row := now(row("key", storetest.NewClock()))
			create(t, s, row)
			if _, found, err := s.Get(ctx, "key"); !found || err != nil {
				t.Errorf("Get = %t, %v", found, err)
			}
			if rows, _, err := s.List(ctx, session.Filter{}, "", 10); len(rows) != 1 || err != nil {
				t.Errorf("List = %d rows, %v", len(rows), err)
			}
			for name, change := range map[string]func(o *redisstore.Options){
				"another authority": func(o *redisstore.Options) { o.CA = x509.NewCertPool() },
				"the system's":      func(o *redisstore.Options) { o.CA = nil },
				"without TLS":       func(o *redisstore.Options) { o.URL = strings.Replace(o.URL, "rediss", "redis", 1) },
				"another password":  func(o *redisstore.Options) { o.URL = strings.Replace(o.URL, "word", "w0rd", 1) },
				"another user":      func(o *redisstore.Options) { o.URL = strings.Replace(o.URL, "portero", "portera", 1) },
				"no user":           func(o *redisstore.Options) { o.URL = "rediss://" + o.URL[strings.LastIndex(o.URL, "@")+1:] },
			} {
				bad := good
				change(&bad)
				s := dialOptions(t, bad)
				err := s.Ping(ctx)
				if err == nil || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "w0rd") {
					t.Errorf("%s: %v; want an error without the secrets", name, err)
				}
				if name == "the system's" && !strings.Contains(err.Error(), "certificate") {
					t.Errorf("%s: %v; want it to name the certificate", name, err)
				}
			}
		})
	}
}

func dialOptions(t *testing.T, o redisstore.Options) *redisstore.Store {
	t.Helper()
	s, err := redisstore.Dial(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestSentinelsThatDoNotKnowTheName(t *testing.T) {
	t.Parallel()
	sentinel := redistest.StartSentinel(t)
	s := dialOptions(t, redisstore.Options{URL: "redis://unused", Addresses: sentinel.Addrs, MasterName: "another"})
	if err := s.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "no master of that name") {
		t.Errorf("Ping = %v; want it to say that the name is unknown", err)
	}
}

// mute is a server that takes commands and hangs up instead of answering those of a
// store. It counts them.
type mute struct {
	addr  string
	taken atomic.Int64
}

func newMute(t *testing.T) *mute {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &mute{addr: l.Addr().String()}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { m.serve(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return m
}

func (m *mute) serve(conn net.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	host, port, _ := net.SplitHostPort(m.addr)
	r := bufio.NewReader(conn)
	for {
		args := readCommand(r)
		if len(args) == 0 {
			return
		}
		answer := "+OK\r\n"
		switch strings.ToLower(args[0]) {
		case "hello":
			answer = "*4\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:2\r\n"
		case "cluster":
			answer = "*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$" + strconv.Itoa(len(host)) + "\r\n" + host + "\r\n:" + port + "\r\n$1\r\nx\r\n"
		case "evalsha", "eval":
			m.taken.Add(1)
			return
		case "command":
			answer = "*0\r\n"
		}
		if _, err := conn.Write([]byte(answer)); err != nil {
			return
		}
	}
}

func readCommand(r *bufio.Reader) (args []string) {
	line := func() string {
		text, _ := r.ReadString('\n')
		return strings.TrimSpace(text)
	}
	n, _ := strconv.Atoi(strings.TrimPrefix(line(), "*"))
	for range n {
		size, _ := strconv.Atoi(strings.TrimPrefix(line(), "$"))
		data := make([]byte, size+2)
		for read := 0; read < len(data); {
			n, err := r.Read(data[read:])
			if err != nil {
				return nil
			}
			read += n
		}
		args = append(args, string(data[:size]))
	}
	return args
}

// A command whose answer is lost may have been done, and is not sent again: a mark
// would not be the first, a lease would be somebody else's.
func TestNothingIsSentTwice(t *testing.T) {
	t.Parallel()
	for name, cluster := range map[string]bool{"server": false, "cluster": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMute(t)
			s := dialOptions(t, redisstore.Options{URL: "redis://" + m.addr, Cluster: cluster})
			clock := storetest.NewClock()
			next := row("key", clock)
			next.Version = 2
			for name, do := range map[string]func(ctx context.Context) error{
				"Create":  func(ctx context.Context) error { return s.Create(ctx, row("key", clock)) },
				"Update":  func(ctx context.Context) error { _, err := s.Update(ctx, next, 1); return err },
				"Delete":  func(ctx context.Context) error { _, err := s.Delete(ctx, "key"); return err },
				"Consume": func(ctx context.Context) error { _, _, err := s.Consume(ctx, "a", time.Hour); return err },
				"Lease":   func(ctx context.Context) error { _, err := s.Lease(ctx, "a", "x", time.Hour); return err },
				"Release": func(ctx context.Context) error { _, err := s.Release(ctx, "a", "x"); return err },
				"Publish": func(ctx context.Context) error {
					return s.Publish(ctx, session.Revocation{By: "a", At: clock.Now()})
				},
			} {
				before := m.taken.Load()
				if err := do(t.Context()); err == nil {
					t.Errorf("%s: no error", name)
				}
				if got := m.taken.Load() - before; got != 1 {
					t.Errorf("%s was sent %d times, want once", name, got)
				}
			}
		})
	}
}

// A server that hangs up on all connections, as one does that starts again, costs no
// call an error: the pool looks before it sends.
func TestServerThatStartedAgain(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]redistest.Options{"plain": {}, "TLS": {TLS: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := o.Start(t)
			s := dialOptions(t, redisstore.Options{URL: server.URL(), CA: server.CA})
			for range 3 {
				for range 5 {
					if err := s.Ping(t.Context()); err != nil {
						t.Errorf("Ping: %v", err)
					}
				}
				server.Restart()
			}
		})
	}
}
