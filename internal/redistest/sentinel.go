package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
)

const (
	replicas  = 2
	sentinels = 3
)

// Sentinel is a master with two replicas, and three sentinels that make one of these
// the master when it has been away for a second. Less, and a busy machine is enough for
// a failover nobody asked for.
type Sentinel struct {
	Name      string    // of the master
	Addrs     []string  // of the sentinels
	Servers   []*Server // the first began as the master
	Sentinels []*Server

	t testing.TB
}

// StartSentinel starts a failover group with more arguments of its servers.
func StartSentinel(t testing.TB, args ...string) *Sentinel {
	t.Helper()
	return Options{Args: args}.StartSentinel(t)
}

// StartSentinel starts a failover group.
func (o Options) StartSentinel(t testing.TB) *Sentinel {
	t.Helper()
	g := o.group(t)
	s := &Sentinel{Name: "sessions", t: t}
	master := g.server(t, nil)
	host, port, _ := net.SplitHostPort(master.Addr)
	s.Servers = append(s.Servers, master)
	for range replicas {
		s.Servers = append(s.Servers, g.server(t, func() []string { return []string{"--replicaof", host + " " + port} }))
	}
	for _, server := range s.Servers {
		await(t, "replicas", func() error { return synced(server) })
	}
	config := fmt.Sprintf("sentinel monitor %[1]s %[2]s %[3]s 2\nsentinel down-after-milliseconds %[1]s 1000\n"+
		"sentinel failover-timeout %[1]s 3000\n", s.Name, host, port)
	if o.User != "" {
		config += fmt.Sprintf("sentinel auth-user %s %s\n", s.Name, o.User)
	}
	if o.Password != "" {
		config += fmt.Sprintf("sentinel auth-pass %s %s\n", s.Name, o.Password)
	}
	watch := &group{Options: Options{TLS: o.TLS}, program: g.program, ca: g.ca, config: config}
	for range sentinels {
		sentinel := watch.server(t, func() []string { return []string{"--sentinel"} })
		s.Sentinels = append(s.Sentinels, sentinel)
		s.Addrs = append(s.Addrs, sentinel.Addr)
	}
	for _, sentinel := range s.Sentinels {
		await(t, "the sentinels", func() error {
			info, err := sentinel.Client.Info(context.Background(), "sentinel").Result()
			if err != nil {
				return err
			}
			if want := fmt.Sprintf("status=ok,address=%s,slaves=%d,sentinels=%d", master.Addr, replicas, sentinels); !strings.Contains(info, want) {
				return fmt.Errorf("want %s: %s", want, info)
			}
			return nil
		})
	}
	return s
}

// Master is the server that the sentinels name.
func (s *Sentinel) Master() *Server {
	s.t.Helper()
	var master *Server
	await(s.t, "a master", func() error {
		var err error
		master, err = s.master(nil)
		return err
	})
	return master
}

// AwaitMaster waits until the sentinels name another server than old and it takes
// writes.
func (s *Sentinel) AwaitMaster(old *Server) *Server {
	s.t.Helper()
	var master *Server
	await(s.t, "another master", func() error {
		var err error
		master, err = s.master(old)
		return err
	})
	return master
}

// KillMaster kills the master and returns it. AwaitMaster waits for the next.
func (s *Sentinel) KillMaster() *Server {
	s.t.Helper()
	master := s.Master()
	master.Kill()
	return master
}

// AwaitReplicas waits until the servers that run have the data of the master.
func (s *Sentinel) AwaitReplicas() {
	s.t.Helper()
	await(s.t, "replicas", func() error {
		master, err := s.master(nil)
		if err != nil {
			return err
		}
		_, port, _ := net.SplitHostPort(master.Addr)
		for _, server := range s.Servers {
			if server == master || !server.answers() {
				continue
			}
			info, err := server.Client.Info(context.Background(), "replication").Result()
			if err != nil {
				return err
			}
			if !strings.Contains(info, "master_port:"+port) {
				return fmt.Errorf("replica of another: %s", info)
			}
			if err := synced(server); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Sentinel) master(but *Server) (*Server, error) {
	votes := map[string]int{}
	for _, sentinel := range s.Sentinels {
		if !sentinel.answers() {
			continue
		}
		answer, err := sentinel.Client.Do(context.Background(), "SENTINEL", "GET-MASTER-ADDR-BY-NAME", s.Name).StringSlice()
		if err == nil && len(answer) == 2 {
			votes[net.JoinHostPort(answer[0], answer[1])]++
		}
	}
	i := slices.IndexFunc(s.Servers, func(server *Server) bool { return votes[server.Addr] > sentinels/2 })
	if i < 0 || s.Servers[i] == but {
		return nil, fmt.Errorf("the sentinels name %v", votes)
	}
	role, err := s.Servers[i].Client.Do(context.Background(), "ROLE").Slice()
	if err != nil {
		return nil, err
	}
	if len(role) == 0 || role[0] != "master" {
		return nil, errors.New("the new master does not know yet")
	}
	return s.Servers[i], nil
}

// answers says whether the process runs and answers soon.
func (s *Server) answers() bool {
	_, ended := s.process()
	select {
	case <-ended:
		return false
	default:
		return s.probe() == nil
	}
}
