// Package redisstore owns a session.Store in Redis, for several processes that share
// their sessions: one server, a master with sentinels, or a cluster.
//
// Each operation concerns one key and is decided by one script in the server, so that
// it holds on a cluster as on one machine. Keys are hashes under a prefix: nothing of
// a row's key, a mark or a marker can be read from them.
//
// Invariants: the clock is the server's, never ours. What has expired by that clock is
// absent, whether the server has removed it or not. A row that cannot be read, or that
// a newer version has written in another format, is absent and is left alone; a marker
// or a mark that cannot be read is an error, for its absence would let somebody in.
// Indexes serve listing and counting alone, lie in keys of their own, and are mended
// when read. Nothing is sent twice unless the second answer is as good as the first.
// Errors name what was done and what kind of trouble it was, never a key or a value.
//
// On a cluster, what is compared comes from one clock: Now always asks for the same
// key, and so the same master, and the times of markers are the caller's. The other
// masters' clocks say when something is over, and the log is one key as well. After
// another has taken over, its clock counts; keep them together.
//
// No read may go to a replica, which may not know yet what ended. Reading the log
// writes, and where that is refused no session is read until it goes well again: so
// somebody has to read it, as session.Revocations does. A client that is told that its
// server is none drops its connections and looks for the master anew.
//
// It does not own how the server keeps its data. One that evicts keys, or forgets
// writes at a failover, forgets sign-outs too: it needs maxmemory-policy noeviction.
package redisstore

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"portero/internal/session"
)

const defaultPrefix = "portero:"

// Config makes a Store of a client, for tests. Dial makes both.
type Config struct {
	// Client is that of NewClient: one server, a failover group, or a cluster. The
	// store closes it.
	Client redis.UniversalClient
	// Prefix begins every key. Empty: "portero:".
	Prefix string
	// Log is told of rows that cannot be read. Nil: nobody.
	Log *slog.Logger
}

// Store is a session.Store in Redis. It is safe for concurrent use.
type Store struct {
	client redis.UniversalClient
	prefix string
	log    *slog.Logger
	closed atomic.Bool
	// standby says why the log could not be read last time, where the server is a
	// replica, or a master that may have been cut off: elsewhere more may have ended, so
	// nothing that is read here lets anybody in. Nil: it is neither.
	standby atomic.Pointer[refusal]
}

var (
	_ session.Store   = (*Store)(nil)
	_ session.Counter = (*Store)(nil)
)

// New makes a store. Nothing is asked of the server before the first operation.
func New(c Config) *Store {
	s := &Store{client: c.Client, prefix: c.Prefix, log: c.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.prefix == "" {
		s.prefix = defaultPrefix
	}
	return s
}

// ready is called first by every operation.
func (s *Store) ready(ctx context.Context) error {
	if s.closed.Load() {
		return session.ErrClosed
	}
	return ctx.Err()
}

// believed is called first by what lets somebody in.
func (s *Store) believed(ctx context.Context) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	if why := s.standby.Load(); why != nil {
		return *why
	}
	return nil
}

// The kinds of key.
const (
	rowKind    = "row:"
	markKind   = "mark:"
	markerKind = "marker:"
	leaseKind  = "lease:"
	logKey     = "log"
	clockKey   = "clock"
	pingKey    = "ping"
)

const hashSize = 22 // characters, for 128 bits

func digest(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:16] // two that are equal would have to be found among what we make ourselves
}

func hash(text string) string { return base64.RawURLEncoding.EncodeToString(digest(text)) }

// key is the key in the server; the hash has no brace, so that each has its own slot.
func (s *Store) key(kind, name string) string { return s.prefix + kind + hash(name) }

func (s *Store) markerKey(m session.Marker) string {
	return s.key(markerKind, strconv.Itoa(int(m.Kind))+":"+m.By)
}

// run calls a script with one key.
func (s *Store) run(ctx context.Context, script script, key string, args ...any) ([]any, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	send := func(name, text string) ([]any, error) {
		cmd := once{redis.NewCmd(ctx, append([]any{name, text, 1, key}, args...)...)}
		s.client.Process(ctx, cmd)
		return cmd.Slice()
	}
	reply, err := send("evalsha", script.hash)
	if redis.HasErrorPrefix(err, "NOSCRIPT") { // and so nothing was done
		reply, err = send("eval", script.text)
	}
	if err != nil {
		s.lost(ctx, err)
		return nil, s.plain(ctx, err)
	}
	if len(reply) == 0 {
		return nil, errReply
	}
	return reply, nil
}

// lost lets a cluster's client look who has the slots when a node does not answer.
func (s *Store) lost(ctx context.Context, err error) {
	var refusal redis.Error
	if cluster, ok := s.client.(*redis.ClusterClient); ok && !errors.As(err, &refusal) {
		cluster.ReloadState(ctx)
	}
}

// Create implements session.Store.
func (s *Store) Create(ctx context.Context, row session.Row) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	if row.Key == "" || len(row.Key) > maxName {
		return session.ErrKey
	}
	value, err := encode(row)
	if err != nil {
		return fmt.Errorf("creating session: %w", err)
	}
	reply, err := s.run(ctx, create, s.key(rowKind, row.Key), value)
	if err != nil {
		return fmt.Errorf("creating session: %w", err)
	}
	if reply[0] != int64(1) {
		return session.ErrExists
	}
	s.index(ctx, row, session.Row{})
	return nil
}

// Get implements session.Store.
func (s *Store) Get(ctx context.Context, key string) (session.Row, bool, error) {
	if err := s.believed(ctx); err != nil {
		return session.Row{}, false, fmt.Errorf("reading session: %w", err)
	}
	reply, err := s.run(ctx, get, s.key(rowKind, key), packed(key), "body")
	if err != nil {
		return session.Row{}, false, fmt.Errorf("reading session: %w", err)
	}
	row, state := decode(reply)
	if state == unreadable {
		s.log.WarnContext(ctx, "a row in Redis is damaged, or a newer version has written it; it is left alone, and that session is none",
			"row", s.key(rowKind, key))
	}
	if state != readable {
		return session.Row{}, false, nil
	}
	// The script has compared the keys; if they differ here, it is not our answer.
	if row.Key != key {
		return session.Row{}, false, fmt.Errorf("reading session: %w", errReply)
	}
	return row, true, nil
}

// Update implements session.Store.
func (s *Store) Update(ctx context.Context, row session.Row, was uint64) (bool, error) {
	if err := s.ready(ctx); err != nil {
		return false, err
	}
	if row.Version <= was {
		return false, fmt.Errorf("updating session: version %d does not follow %d", row.Version, was)
	}
	value, err := encode(row)
	if err != nil {
		return false, fmt.Errorf("updating session: %w", err)
	}
	reply, err := s.run(ctx, update, s.key(rowKind, row.Key), packed(row.Key), value, strconv.FormatUint(was, 10))
	if err != nil {
		return false, fmt.Errorf("updating session: %w", err)
	}
	old, state := decode(reply)
	if state == absent {
		return false, nil
	}
	if state != readable {
		return false, fmt.Errorf("updating session: %w", errReply)
	}
	s.index(ctx, row, old)
	return true, nil
}

// Touch implements session.Store.
func (s *Store) Touch(ctx context.Context, key string, lastUsed time.Time) (bool, error) {
	used, err := fixed(lastUsed)
	if err != nil {
		return false, fmt.Errorf("touching session: %w", err)
	}
	reply, err := s.run(ctx, touch, s.key(rowKind, key), packed(key), used)
	if err != nil {
		return false, fmt.Errorf("touching session: %w", err)
	}
	return reply[0] == int64(1), nil
}

// Delete implements session.Store. It removes what cannot be read too.
func (s *Store) Delete(ctx context.Context, key string) (bool, error) {
	reply, err := s.run(ctx, remove, s.key(rowKind, key), packed(key))
	if err != nil {
		return false, fmt.Errorf("deleting session: %w", err)
	}
	old, state := decode(reply)
	if state != readable {
		return reply[0] == int64(1), nil
	}
	s.index(ctx, session.Row{Key: key}, old)
	return true, nil
}

// Now implements session.Store. On a cluster it is always the same master that is
// asked, as long as it has the slot.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	reply, err := s.run(ctx, clock, s.prefix+clockKey)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading the store's clock: %w", err)
	}
	at, err := parseMicros(text(reply[0]))
	if err != nil {
		return time.Time{}, fmt.Errorf("reading the store's clock: %w", errReply)
	}
	return at, nil
}

// Ping implements session.Store. It writes: a server that can only be read is a
// replica, or full, and signs nobody in or out.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	if err := s.client.Set(ctx, s.prefix+pingKey, "", time.Minute).Err(); err != nil {
		s.lost(ctx, err)
		return fmt.Errorf("asking the session store: %w", s.plain(ctx, err))
	}
	return nil
}

// Close implements session.Store. What is stored stays.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	if err := s.client.Close(); err != nil {
		return fmt.Errorf("closing session store: %w", s.plain(context.Background(), err))
	}
	return nil
}

func text(reply any) string {
	t, _ := reply.(string)
	return t
}
