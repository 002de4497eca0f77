// Package redistest owns what tests need of real Redis: servers, a cluster, a failover
// group with its sentinels, and a proxy that cuts, slows and stalls connections.
//
// Everything ends with the test that started it, even if the test dies: no process, no
// port and no file is left. A machine without redis-server skips the test, unless
// PORTERO_TEST_REAL=1 says that it has to run.
//
// It knows nothing of what is stored, and is for tests alone.
package redistest

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	startTimeout = 30 * time.Second
	pollEvery    = 20 * time.Millisecond
)

// Options are how servers are started. Zero: plain TCP, everybody may do everything.
type Options struct {
	// TLS makes the servers speak TLS and nothing else, replicas and sentinels included.
	TLS bool
	// User is the one user there is, with Password and all rights; the default user is
	// off. Empty, with a Password: the default user has it. Sentinels ask nobody for it.
	User, Password string
	// Args are more arguments of redis-server, such as "--appendonly", "yes": without
	// them nothing is kept.
	Args []string
}

// Start starts a server with more arguments of redis-server.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return Options{Args: args}.Start(t)
}

// Start starts a server.
func (o Options) Start(t testing.TB) *Server {
	t.Helper()
	return o.group(t).server(t, nil)
}

// Server is one process of redis-server. Its methods may be called from any goroutine.
type Server struct {
	Addr string // host:port, the same after Restart
	// CA is what a client trusts, and CAFile where it is as PEM. Nil and empty without TLS.
	CA     *x509.CertPool
	CAFile string
	// Client is an administrator's.
	Client *redis.Client

	t       testing.TB
	options Options
	dir     string
	args    []string

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{}
}

// group is what the servers of one test have in common.
type group struct {
	Options
	program string
	ca      *authority
	config  string // of sentinels, which write it anew
}

func (o Options) group(t testing.TB) *group {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("PORTERO_TEST_REAL") == "1" {
			t.Fatal("no redis-server on this machine, and PORTERO_TEST_REAL=1 asks for it")
		}
		t.Skip("no redis-server on this machine")
	}
	g := &group{Options: o, program: program}
	if o.TLS {
		g.ca = newAuthority(t)
	}
	return g
}

// args are those by which every server of the group begins.
func (g *group) args(port, dir string) []string {
	args := []string{"--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"}
	if g.TLS {
		args = append(args, "--port", "0", "--tls-port", port, "--tls-cert-file", g.ca.cert, "--tls-key-file", g.ca.key,
			"--tls-ca-cert-file", g.ca.file, "--tls-auth-clients", "no", "--tls-replication", "yes", "--tls-cluster", "yes")
	} else {
		args = append(args, "--port", port)
	}
	switch {
	case g.User != "":
		args = append(args, "--user", g.User, "on", ">"+g.Password, "~*", "&*", "+@all", "--user", "default", "off",
			"--masteruser", g.User, "--masterauth", g.Password)
	case g.Password != "":
		args = append(args, "--requirepass", g.Password, "--masterauth", g.Password)
	}
	return append(args, g.Args...)
}

// server starts a server of the group; more, unless nil, returns more arguments.
func (g *group) server(t testing.TB, more func() []string) *Server {
	t.Helper()
	for range 5 { // another process may take the free port first
		addr := freeAddr(t)
		_, port, _ := net.SplitHostPort(addr)
		s := &Server{Addr: addr, t: t, options: g.Options, dir: t.TempDir()}
		s.args = append(s.args, g.program)
		if g.config != "" { // the first argument or none
			file := filepath.Join(s.dir, "redis.conf")
			if err := os.WriteFile(file, []byte(g.config), 0o600); err != nil {
				t.Fatal(err)
			}
			s.args = append(s.args, file)
		}
		s.args = append(s.args, g.args(port, s.dir)...)
		if more != nil {
			s.args = append(s.args, more()...)
		}
		if g.ca != nil {
			s.CA, s.CAFile = g.ca.pool, g.ca.file
		}
		err := s.begin()
		if err == nil {
			s.Client = redis.NewClient(&redis.Options{
				Addr: addr, Username: g.User, Password: g.Password, TLSConfig: s.TLS(), DisableIdentity: true, Protocol: 2,
			})
			t.Cleanup(func() {
				s.Client.Close()
				s.Kill()
				if t.Failed() {
					t.Logf("the log of redis-server at %s:\n%s", s.Addr, s.Log())
				}
			})
			return s
		}
		s.Kill()
		if !strings.Contains(s.Log(), "Address already in use") {
			t.Fatalf("%v:\n%s", err, s.Log())
		}
	}
	t.Fatal("redis-server finds no free port")
	return nil
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// begin starts the process and waits until it answers.
func (s *Server) begin() error {
	out, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	before := len(s.Log())
	cmd := exec.Command(s.args[0], s.args[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	s.mu.Lock()
	s.cmd, s.ended = cmd, ended
	s.mu.Unlock()
	return wait(startTimeout, ended, func() error {
		if !s.listens(before) {
			return errors.New("redis-server does not listen yet")
		}
		return s.probe()
	})
}

// listens says whether the process itself has the port, by what its log says from an
// offset on. Another server may have it, whose answer says nothing about this one.
func (s *Server) listens(from int) bool {
	log := s.Log()[from:]
	return strings.Contains(log, "Ready to accept connections") || strings.Contains(log, "Sentinel ID is")
}

// probe says whether the server answers, if only that it wants a password or has no
// master.
func (s *Server) probe() error {
	conn, err := net.DialTimeout("tcp", s.Addr, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	if config := s.TLS(); config != nil {
		conn = tls.Client(conn, config)
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	for _, ready := range []string{"+PONG", "-NOAUTH", "-MASTERDOWN", "-DENIED"} {
		if strings.HasPrefix(answer, ready) {
			return nil
		}
	}
	return errors.New(strings.TrimSpace(answer))
}

// wait calls ready until it is, or the process has ended.
func wait(limit time.Duration, ended <-chan struct{}, ready func() error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	timeout := time.After(limit)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return errors.New("redis-server has ended")
		case <-timeout:
			return fmt.Errorf("after %s: %w", limit, err)
		case <-tick.C:
		}
	}
}

// URL is that of the server with user and password, and the database 0.
func (s *Server) URL() string {
	u := url.URL{Scheme: "redis", Host: s.Addr, Path: "/0"}
	if s.options.TLS {
		u.Scheme = "rediss"
	}
	if s.options.User != "" || s.options.Password != "" {
		u.User = url.UserPassword(s.options.User, s.options.Password)
	}
	return u.String()
}

// TLS is a client's configuration; nil without TLS.
func (s *Server) TLS() *tls.Config {
	if s.CA == nil {
		return nil
	}
	return &tls.Config{RootCAs: s.CA, MinVersion: tls.VersionTLS12, ServerName: "127.0.0.1"}
}

// Do sends one command as administrator; an error fails the test.
func (s *Server) Do(args ...any) any {
	s.t.Helper()
	answer, err := s.Client.Do(context.Background(), args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		s.t.Errorf("%v: %v", args, err)
	}
	return answer
}

// Log is what the process has written.
func (s *Server) Log() string {
	text, _ := os.ReadFile(s.logFile())
	return string(text)
}

func (s *Server) logFile() string { return filepath.Join(s.dir, "server.log") }

func (s *Server) process() (*os.Process, chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return nil, nil
	}
	return s.cmd.Process, s.ended
}

// Kill ends the process at once, as a machine that fails does.
func (s *Server) Kill() {
	process, ended := s.process()
	if process == nil {
		return
	}
	process.Kill()
	<-ended
}

// Stop halts the process, if it runs: connections stay and are accepted, nothing is answered.
func (s *Server) Stop() {
	s.t.Helper()
	if process, _ := s.process(); process != nil {
		if err := pause(process); err != nil && !errors.Is(err, os.ErrProcessDone) {
			s.t.Errorf("stopping redis-server: %v", err)
		}
	}
}

// Continue lets a stopped process go on.
func (s *Server) Continue() {
	s.t.Helper()
	if process, _ := s.process(); process != nil {
		if err := resume(process); err != nil && !errors.Is(err, os.ErrProcessDone) {
			s.t.Errorf("continuing redis-server: %v", err)
		}
	}
}

// Restart starts the server again on the same port, after a Kill if it still runs. What
// it was not asked to keep is gone.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	err := wait(startTimeout, nil, func() error { // somebody's outgoing connection may have the port for a moment
		s.Kill()
		return s.begin()
	})
	if err != nil {
		s.t.Errorf("restarting redis-server: %v:\n%s", err, s.Log())
	}
}

// await fails the test if ready does not say so in time.
func await(t testing.TB, what string, ready func() error) {
	t.Helper()
	if err := wait(startTimeout, nil, ready); err != nil {
		t.Fatalf("waiting for %s: %v", what, err)
	}
}
