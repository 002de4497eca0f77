package redisstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// dialTimeout bounds one connection with its TLS handshake.
	dialTimeout = time.Second
	// sentinelTimeout bounds a sentinel's answer. One that hangs is asked twice before the
	// others are, all within openTimeout.
	sentinelTimeout = time.Second
	openTimeout     = 8 * time.Second
	// answerTimeout bounds an answer for callers without a deadline.
	answerTimeout = 3 * time.Second
	// dropEvery is how often all connections are dropped at most.
	dropEvery = time.Second
)

// Options say where Redis is. Zero values mean none, except where it says otherwise.
type Options struct {
	// URL is redis://, rediss:// (TLS) or unix://, with user, password and database.
	URL string
	// Addresses are host and port of sentinels or of some nodes of a cluster, instead of
	// the URL's. User, password, database and TLS are the URL's all the same; sentinels
	// are asked without user and password.
	Addresses []string
	// MasterName is the name by which the sentinels know the master.
	MasterName string
	// Cluster says that the servers are a cluster.
	Cluster bool
	// CA are the authorities that count with rediss. Nil: the system's.
	CA *x509.CertPool
	// Prefix begins every key. Empty: "portero:".
	Prefix string
	// Log is told of rows that cannot be read, and at debug what the client has to say
	// about connections. Nil: nobody. The client has one logger for the process: that of
	// the last call counts.
	Log *slog.Logger
}

// Dial makes a store. Nothing is asked of the server before the first operation. Errors
// name the key of the configuration and quote nothing.
func Dial(o Options) (*Store, error) {
	u, err := o.universal()
	if err != nil {
		return nil, err
	}
	return New(Config{Client: NewClient(u, o.Log), Prefix: o.Prefix, Log: o.Log}), nil
}

func (o Options) universal() (redis.UniversalOptions, error) {
	scheme, _, _ := strings.Cut(o.URL, "://")
	switch {
	case scheme != "redis" && scheme != "rediss" && scheme != "unix":
		return redis.UniversalOptions{}, errors.New("session.redis.url: is not redis://, rediss:// or unix://")
	case scheme != "unix" && strings.ContainsAny(o.URL, "?#"): // the parser would let certificates go unchecked
		return redis.UniversalOptions{}, errors.New("session.redis.url: has a query or a fragment")
	}
	parsed, err := redis.ParseURL(o.URL)
	if err != nil { // its text has the password
		return redis.UniversalOptions{}, errors.New("session.redis.url: cannot be read as the address of a server")
	}
	u := redis.UniversalOptions{
		Addrs: []string{parsed.Addr}, Username: parsed.Username, Password: parsed.Password, DB: parsed.DB,
		MasterName: o.MasterName, IsClusterMode: o.Cluster,
	}
	if scheme == "rediss" {
		u.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.CA}
	}
	switch {
	case o.MasterName != "" && o.Cluster:
		return u, errors.New("session.redis.cluster: excludes session.redis.master_name")
	case o.MasterName != "" && len(o.Addresses) == 0:
		return u, errors.New("session.redis.addresses: are missing, and session.redis.master_name needs them")
	case o.MasterName == "" && !o.Cluster && len(o.Addresses) > 0:
		return u, errors.New("session.redis.addresses: need session.redis.master_name or session.redis.cluster")
	case scheme == "unix" && (o.MasterName != "" || o.Cluster):
		return u, errors.New("session.redis.url: is a socket, which is neither sentinels nor a cluster")
	case o.Cluster && parsed.DB != 0:
		return u, errors.New("session.redis.url: names a database, and a cluster has only number 0")
	}
	for i, address := range o.Addresses {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return u, fmt.Errorf("session.redis.addresses[%d]: is not a host and a port", i)
		}
	}
	if len(o.Addresses) > 0 {
		u.Addrs = o.Addresses
	}
	return u, nil
}

// NewClient makes a client as the store needs it, without connecting: the context's
// deadline counts, no read goes to a replica, and nothing is sent twice, since the
// second answer to a write is another than the first. log is as in Options.
func NewClient(o redis.UniversalOptions, log *slog.Logger) redis.UniversalClient {
	// The library logs to standard error otherwise, and only as a whole.
	redis.SetLogger(logger{log})
	d := &dialer{tls: o.TLSConfig}
	if o.MasterName != "" {
		d.sentinels = o.Addrs
	}
	o.Dialer, o.TLSConfig = d.dial, nil
	o.Protocol = 2 // the third version's server pushes are of no use here
	o.ContextTimeoutEnabled = true
	o.MaxRetries, o.DialerRetries = -1, 1
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = openTimeout, answerTimeout, answerTimeout
	o.ReadOnly, o.RouteByLatency, o.RouteRandomly = false, false, false
	o.PipelinePoolSize = -1 // pipelines are short, and go where everything goes
	o.DisableIdentity = true
	if o.MasterName == "" && (o.IsClusterMode || len(o.Addrs) > 1) {
		c := o.Cluster()
		c.DisableRoutingPolicies = true // every command of ours names its key
		return redis.NewClusterClient(c)
	}
	client := redis.NewUniversalClient(&o)
	client.AddHook(demoted{d})
	return client
}

// dialer opens connections, within the context, and knows those that are open.
type dialer struct {
	tls       *tls.Config
	sentinels []string

	mu      sync.Mutex
	open    map[*conn]struct{}
	dropped time.Time
}

func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var raw net.Conn
	var err error
	plain := net.Dialer{KeepAlive: 30 * time.Second}
	if d.tls != nil && network != "unix" {
		raw, err = (&tls.Dialer{NetDialer: &plain, Config: d.tls}).DialContext(ctx, network, addr)
	} else {
		raw, err = plain.DialContext(ctx, network, addr)
	}
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: raw, dialer: d, sentinel: slices.Contains(d.sentinels, addr)}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open == nil {
		d.open = map[*conn]struct{}{}
	}
	d.open[c] = struct{}{}
	return c, nil
}

// drop closes all connections, so that the next call looks for the server again.
func (d *dialer) drop() {
	d.mu.Lock()
	if time.Since(d.dropped) < dropEvery {
		d.mu.Unlock()
		return
	}
	d.dropped = time.Now()
	open := d.open
	d.open = nil
	d.mu.Unlock()
	for c := range open {
		c.Conn.Close()
	}
}

type conn struct {
	net.Conn
	dialer   *dialer
	sentinel bool
}

// SetReadDeadline waits no longer for a sentinel than there is time to ask another.
func (c *conn) SetReadDeadline(t time.Time) error {
	if soon := time.Now().Add(sentinelTimeout); c.sentinel && t.After(soon) {
		t = soon
	}
	return c.Conn.SetReadDeadline(t)
}

// SyscallConn lets the pool see, before it sends, that the server has hung up; of TLS
// as well, where nothing lies unread between two answers.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	raw := c.Conn
	if t, ok := raw.(*tls.Conn); ok {
		raw = t.NetConn()
	}
	if s, ok := raw.(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

func (c *conn) Close() error {
	c.dialer.mu.Lock()
	delete(c.dialer.open, c)
	c.dialer.mu.Unlock()
	return c.Conn.Close()
}

// demoted drops all connections when a server says that it is not the master any more:
// what it says to reads is old, and the new one is behind the same name or known to
// the sentinels. Nodes of a cluster name the new one themselves.
type demoted struct{ dialer *dialer }

func (h demoted) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h demoted) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		h.look(cmd, err)
		return err
	}
}

func (h demoted) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		h.look(cmds[0], err)
		return err
	}
}

func (h demoted) look(cmd redis.Cmder, err error) {
	if err == nil || cmd.Name() == "hello" { // as a connection begins, it is nobody's yet
		return
	}
	if redis.IsReadOnlyError(err) || redis.IsMasterDownError(err) || redis.IsLoadingError(err) {
		h.dialer.drop()
	}
}

// once is a command that a client of a cluster does not send again when no answer came:
// it may have been done.
type once struct{ *redis.Cmd }

func (once) NoRetry() bool { return true }

// logger passes on what the library logs.
type logger struct{ log *slog.Logger }

func (l logger) Printf(ctx context.Context, format string, v ...any) {
	if l.log != nil && l.log.Enabled(ctx, slog.LevelDebug) {
		l.log.DebugContext(ctx, "redis client", "message", fmt.Sprintf(format, v...))
	}
}
