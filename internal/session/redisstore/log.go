package redisstore

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"portero/internal/session"
)

// The log is a stream in one key. Each entry has a tag of its own, made at random, and
// that of the entry before it: i its tag, p the one before, a the time, b what ended.
// The first has no b, and nobody's tag before it.
//
// A place is an entry's ID and its tag. What follows it is whole if the stream still
// has that very entry, or if the first entry after it names the tag: so it is seen when
// entries were trimmed, when the stream was lost and begun anew, and when another
// master took over that lacks some of it, even if it gave out the same IDs again.
const (
	logPage = session.LogPage // also of one call of publish
	logKeep = session.LogLife + time.Minute
	// logMost bounds the stream in its bytes; readers see that entries are missing.
	logMost = 100_000
	// logIdle is when a log that nobody reads or writes leaves.
	logIdle = 24 * time.Hour
	tagSize = 12
)

const logLua = timeLua + `
local function field(entry, name)
  for n = 1, #entry[2], 2 do
    if entry[2][n] == name then return entry[2][n + 1] end
  end
  return ''
end
local function last() return redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1] end
-- add gives an entry an ID that grows, even if the clock went back
local function add(after, tag, at, by)
  local ms, seq, before = math.floor(now() / 1000), 0, ''
  if after then
    local m, n = string.match(after[1], '^(%d+)-(%d+)$')
    before = field(after, 'i')
    if tonumber(m) >= ms then ms, seq = tonumber(m), tonumber(n) + 1 end
  end
  local fields = {'i', tag, 'p', before}
  if by then fields = {'i', tag, 'p', before, 'a', at, 'b', by} end
  local id = redis.call('XADD', KEYS[1], string.format('%.0f-%.0f', ms, seq), unpack(fields))
  return {id, fields}
end
`

const (
	// publish takes the tag, time and name of each entry.
	publishLua = logLua + `
local entry = last()
for n = 4, #ARGV, 3 do entry = add(entry, ARGV[n], ARGV[n + 1], ARGV[n + 2]) end
redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[2])
redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f', math.floor(now() / 1000) - ARGV[1]))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {1}`

	// logEnd answers the last entry, and begins the log if there is none of ours.
	logEndLua = logLua + `
local entry = last()
if not entry or #field(entry, 'i') ~= #ARGV[1] then entry = add(entry, ARGV[1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {entry[1], field(entry, 'i')}`
)

// Publish implements session.Store. What is cut off by an error may have been
// published in part; to publish it again does no harm.
func (s *Store) Publish(ctx context.Context, rs ...session.Revocation) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	for some := range slices.Chunk(rs, logPage) {
		args := make([]any, 0, 3+3*len(some))
		args = append(args, logKeep.Milliseconds(), logMost, logIdle.Milliseconds())
		for _, r := range some {
			at, err := fixed(r.At)
			if err != nil {
				return fmt.Errorf("publishing revocations: %w", err)
			}
			args = append(args, newTag(), at, r.By)
		}
		if _, err := s.run(ctx, publish, s.prefix+logKey, args...); err != nil {
			return fmt.Errorf("publishing revocations: %w", err)
		}
	}
	return nil
}

// Published implements session.Store. It writes: a replica, or a master that has lost
// its own, does not say that nothing has happened, and from then on no session is read
// there.
func (s *Store) Published(ctx context.Context, after string) (rs []session.Revocation, next string, whole bool, err error) {
	rs, next, whole, err = s.published(ctx, after)
	var why refusal
	switch {
	case err == nil:
		s.standby.Store(nil)
	case errors.As(err, &why) && (why == "READONLY" || why == "NOREPLICAS"):
		s.standby.Store(&why)
	}
	return rs, next, whole, err
}

func (s *Store) published(ctx context.Context, after string) ([]session.Revocation, string, bool, error) {
	if err := s.ready(ctx); err != nil {
		return nil, "", false, err
	}
	if id, tag := parsePlace(after); id != "" {
		pipe := s.client.Pipeline()
		written := pipe.PExpire(ctx, s.prefix+logKey, logIdle)
		read := pipe.XRangeN(ctx, s.prefix+logKey, id, "+", logPage+1)
		pipe.Exec(ctx) // each has its own error
		for _, err := range []error{written.Err(), read.Err()} {
			if err != nil {
				s.lost(ctx, err)
				return nil, "", false, fmt.Errorf("reading revocations: %w", s.plain(ctx, err))
			}
		}
		if rs, next, whole := follow(read.Val(), id, tag); whole {
			return rs, next, true, nil
		}
	}
	reply, err := s.run(ctx, logEnd, s.prefix+logKey, newTag(), logIdle.Milliseconds())
	if err != nil {
		return nil, "", false, fmt.Errorf("reading revocations: %w", err)
	}
	if len(reply) == 2 {
		next := place(text(reply[0]), text(reply[1]))
		if id, _ := parsePlace(next); id != "" {
			return nil, next, false, nil
		}
	}
	return nil, "", false, fmt.Errorf("reading revocations: %w", errReply)
}

// follow reads the entries from a place on. They are whole if the first is that of the
// place, or comes after it, and each of the others comes after the one before.
func follow(entries []redis.XMessage, id, tag string) (rs []session.Revocation, next string, whole bool) {
	if len(entries) == 0 {
		return nil, "", false // not even the place is left
	}
	for i, entry := range entries {
		field := func(name string) string { return text(entry.Values[name]) }
		if i == 0 && entry.ID == id && field("i") == tag {
			continue
		}
		if field("p") != tag || field("i") == "" {
			return nil, "", false
		}
		id, tag = entry.ID, field("i")
		at, err := parseFixed(field("a"))
		if err != nil { // somebody has ended, and it cannot be told who
			return nil, "", false
		}
		rs = append(rs, session.Revocation{By: field("b"), At: at})
	}
	return rs, place(id, tag), true
}

func newTag() string {
	raw := make([]byte, tagSize*3/4)
	rand.Read(raw)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// placeForm is an ID with its tag.
var placeForm = regexp.MustCompile(fmt.Sprintf(`^([0-9]{1,16}-[0-9]{1,16})\.([0-9A-Za-z_-]{%d})$`, tagSize))

func place(id, tag string) string { return id + "." + tag }

func parsePlace(text string) (id, tag string) {
	if found := placeForm.FindStringSubmatch(text); found != nil {
		return found[1], found[2]
	}
	return "", ""
}
