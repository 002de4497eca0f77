package redistest

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

const (
	masters = 3
	slots   = 16384
	// nodeTimeout in milliseconds is when a node that does not answer is taken for dead.
	// Less, and a busy machine is enough for a failover nobody asked for.
	nodeTimeout = "2000"
)

// Cluster is three masters, each with a replica that takes over when it is gone. A
// script that touches two slots is refused.
type Cluster struct {
	Servers []*Server // the first three began as masters, the last three as their replicas
	Addrs   []string  // of all servers

	t testing.TB
}

// StartCluster starts a cluster with more arguments of redis-server.
func StartCluster(t testing.TB, args ...string) *Cluster {
	t.Helper()
	return Options{Args: args}.StartCluster(t)
}

// StartCluster starts a cluster.
func (o Options) StartCluster(t testing.TB) *Cluster {
	t.Helper()
	g := o.group(t)
	c := &Cluster{t: t}
	buses := map[*Server]string{}
	for range 2 * masters {
		var bus string
		s := g.server(t, func() []string {
			_, bus, _ = net.SplitHostPort(freeAddr(t))
			return []string{
				"--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", nodeTimeout,
				"--cluster-replica-validity-factor", "0", "--cluster-require-full-coverage", "no",
			}
		})
		buses[s] = bus
		c.Servers = append(c.Servers, s)
		c.Addrs = append(c.Addrs, s.Addr)
	}
	ids := make([]string, len(c.Servers))
	for i, s := range c.Servers {
		ids[i], _ = s.Do("CLUSTER", "MYID").(string)
		s.Do("CLUSTER", "SET-CONFIG-EPOCH", i+1)
		if i < masters {
			each := slots/masters + 1
			s.Do("CLUSTER", "ADDSLOTSRANGE", i*each, min((i+1)*each, slots)-1)
		}
		for _, other := range c.Servers[:i] {
			host, port, _ := net.SplitHostPort(other.Addr)
			s.Do("CLUSTER", "MEET", host, port, buses[other])
		}
	}
	for i, s := range c.Servers[masters:] {
		await(t, "the replica to know its master", func() error {
			return s.Client.Do(context.Background(), "CLUSTER", "REPLICATE", ids[i]).Err()
		})
	}
	for _, s := range c.Servers {
		await(t, "the cluster to come together", func() error { return c.whole(s, ids) })
	}
	return c
}

// whole says whether s knows all slots and all replicas, and has its own data.
func (c *Cluster) whole(s *Server, ids []string) error {
	info, err := s.Client.ClusterInfo(context.Background()).Result()
	if err != nil {
		return err
	}
	if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, fmt.Sprintf("cluster_slots_ok:%d", slots)) {
		return fmt.Errorf("cluster: %s", info)
	}
	nodes, err := s.Client.ClusterNodes(context.Background()).Result()
	if err != nil {
		return err
	}
	for _, id := range ids[:masters] {
		if !strings.Contains(nodes, "slave "+id) {
			return fmt.Errorf("master %s has no replica: %s", id, nodes)
		}
	}
	return synced(s)
}

// synced is an error while a replica has no data.
func synced(s *Server) error {
	info, err := s.Client.Info(context.Background(), "replication").Result()
	if err != nil {
		return err
	}
	if strings.Contains(info, "role:slave") && !strings.Contains(info, "master_link_status:up") {
		return fmt.Errorf("replica without its master: %s", info)
	}
	return nil
}

// MasterOf is the server that takes writes to the key, as the majority of those that
// answer sees it.
func (c *Cluster) MasterOf(key string) *Server {
	c.t.Helper()
	var master *Server
	await(c.t, "a master", func() error {
		var err error
		master, err = c.masterOf(key, nil)
		return err
	})
	return master
}

// AwaitMasterOf waits until another server than old takes writes to the key.
func (c *Cluster) AwaitMasterOf(key string, old *Server) *Server {
	c.t.Helper()
	var master *Server
	await(c.t, "another master", func() error {
		var err error
		master, err = c.masterOf(key, old)
		return err
	})
	return master
}

func (c *Cluster) masterOf(key string, but *Server) (*Server, error) {
	votes := map[string]int{}
	for _, s := range c.Servers {
		if s == but || !s.answers() {
			continue
		}
		slot, err := s.Client.ClusterKeySlot(context.Background(), key).Result()
		if err != nil {
			continue
		}
		shards, err := s.Client.ClusterShards(context.Background()).Result()
		if err != nil {
			continue
		}
		for _, shard := range shards {
			has := slices.ContainsFunc(shard.Slots, func(r redis.SlotRange) bool { return slot >= r.Start && slot <= r.End })
			for _, node := range shard.Nodes {
				if has && node.Role == "master" && node.Health == "online" {
					votes[net.JoinHostPort(node.IP, strconv.FormatInt(max(node.Port, node.TLSPort), 10))]++
				}
			}
		}
	}
	for _, s := range c.Servers {
		if s != but && votes[s.Addr] > masters {
			return s, nil
		}
	}
	return nil, fmt.Errorf("no majority: %v", votes)
}
