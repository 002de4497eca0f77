package redistest_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"portero/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ask sends PING over a connection of its own and returns the answer.
func ask(addr string, limit time.Duration) (string, error) {
	conn, err := net.DialTimeout("tcp", addr, limit)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return ping(conn, limit)
}

func ping(conn net.Conn, limit time.Duration) (string, error) {
	conn.SetDeadline(time.Now().Add(limit))
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return "", err
	}
	return bufio.NewReader(conn).ReadString('\n')
}

func TestServer(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Do("SET", "key", "value")
	s.Kill()
	if answer, err := ask(s.Addr, time.Second); err == nil {
		t.Errorf("a killed server answers %q", answer)
	}
	s.Restart()
	if got := s.Do("GET", "key"); got != nil {
		t.Errorf("after a restart the key is %v, want it forgotten", got)
	}
	s.Stop()
	if answer, err := ask(s.Addr, 200*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a stopped server: %q, %v; want no answer in time", answer, err)
	}
	s.Continue()
	if answer, err := ask(s.Addr, 5*time.Second); err != nil || answer != "+PONG\r\n" {
		t.Errorf("a server that goes on: %q, %v", answer, err)
	}
}

func TestServerThatKeeps(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	s.Do("SET", "key", "value")
	s.Restart()
	if got := s.Do("GET", "key"); got != "value" {
		t.Errorf("after a restart the key is %v, want it kept", got)
	}
}

func TestProcessEndsWithItsTest(t *testing.T) {
	t.Parallel()
	var addr string
	t.Run("inner", func(t *testing.T) {
		s := redistest.Start(t)
		s.Stop() // even then
		addr = s.Addr
	})
	if addr == "" {
		t.Skip("no server was started")
	}
	if answer, err := ask(addr, time.Second); err == nil {
		t.Errorf("after its test the server answers %q", answer)
	}
}

func TestTLSAndUser(t *testing.T) {
	t.Parallel()
	s := redistest.Options{TLS: true, User: "portero", Password: "s3cret/word@x"}.Start(t)
	o, err := redis.ParseURL(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	o.TLSConfig = s.TLS()
	client := redis.NewClient(o)
	defer client.Close()
	if err := client.Set(t.Context(), "key", "value", 0).Err(); err != nil {
		t.Errorf("Set as the user: %v", err)
	}
	o.Username, o.Password = "", ""
	stranger := redis.NewClient(o)
	defer stranger.Close()
	if err := stranger.Get(t.Context(), "key").Err(); err == nil {
		t.Error("a stranger reads")
	}
}

func TestProxy(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr)
	open, err := net.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if answer, err := ping(open, 5*time.Second); answer != "+PONG\r\n" {
		t.Fatalf("through the proxy: %q, %v", answer, err)
	}

	p.Delay(150 * time.Millisecond)
	began := time.Now()
	if answer, err := ping(open, 5*time.Second); answer != "+PONG\r\n" || time.Since(began) < 250*time.Millisecond {
		t.Errorf("delayed twice: %q, %v after %s", answer, err, time.Since(began))
	}
	p.Heal()
	if answer, err := ping(open, 5*time.Second); answer != "+PONG\r\n" {
		t.Errorf("after the delay: %q, %v", answer, err)
	}

	p.Stall()
	if answer, err := ping(open, 200*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("stalled: %q, %v; want no answer in time", answer, err)
	}
	if answer, err := ask(p.Addr, 200*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("stalled, a new connection: %q, %v; want it accepted and no answer", answer, err)
	}
	p.Heal()
	if answer, err := ask(p.Addr, 5*time.Second); answer != "+PONG\r\n" {
		t.Errorf("healed: %q, %v", answer, err)
	}

	kept, err := net.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	if _, err := ping(kept, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	p.Cut()
	kept.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := kept.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("cut, an open connection: %v; want it broken", err)
	}
	if answer, err := ask(p.Addr, time.Second); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("cut: %q, %v; want it refused", answer, err)
	}
	p.Cut() // twice is fine
	p.Heal()
	if answer, err := ask(p.Addr, 5*time.Second); answer != "+PONG\r\n" {
		t.Errorf("healed: %q, %v", answer, err)
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t)
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs})
	defer client.Close()
	for _, key := range []string{"a", "b", "c"} {
		if err := client.Set(t.Context(), key, key, 0).Err(); err != nil {
			t.Errorf("Set(%q): %v", key, err)
		}
	}
	old := c.MasterOf("a")
	old.Do("WAIT", 1, 5000)
	old.Kill()
	master := c.AwaitMasterOf("a", old)
	if got, err := master.Client.Get(context.Background(), "a").Result(); got != "a" {
		t.Errorf("on the new master: %q, %v", got, err)
	}
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]redistest.Options{
		"plain": {}, "with TLS and a user": {TLS: true, User: "portero", Password: "s3cret"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := o.StartSentinel(t)
			if s.Master() != s.Servers[0] {
				t.Error("the first server is not the master")
			}
			s.Servers[0].Do("SET", "key", "value")
			s.Servers[0].Do("WAIT", 2, 5000)
			began := time.Now()
			old := s.KillMaster()
			master := s.AwaitMaster(old)
			t.Logf("another master after %s", time.Since(began).Round(time.Millisecond))
			if got := master.Do("GET", "key"); got != "value" {
				t.Errorf("on the new master: %v", got)
			}
			if !o.TLS { // it takes ten seconds
				old.Restart()
				s.AwaitReplicas()
			}
		})
	}
}
