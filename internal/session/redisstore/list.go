package redisstore

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"portero/internal/session"
)

// An index is a sorted set of names of rows, with the second of their end for a score,
// so that what has ended is left out and leaves by itself. Indexes are shared, for a
// key of its own would take more memory than what is in it: all rows by the first byte
// of their hash, so that all can be walked through; those of a subject or a sid, under
// its hash and theirs, by its first fourteen bits: so a million sessions lie in small
// sets, for which the server has a form of a third of the size.
const (
	allKind     = "all:"
	subjectKind = "subject:"
	sidKind     = "sid:"

	buckets      = 256
	defaultLimit = 100
	maxLimit     = 1000
)

const (
	// enlist adds a row to an index, which stays an hour longer than the last of its rows.
	enlistLua = timeLua + `
local t = now()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', math.floor(t / 1000000)))
local left = tonumber(ARGV[2]) - t
if left <= 0 then return {0} end
redis.call('ZADD', KEYS[1], string.format('%.0f', math.ceil(tonumber(ARGV[2]) / 1000000)), ARGV[1])
local stay = millis(left, 3600000)
if redis.call('PTTL', KEYS[1]) < tonumber(stay) then redis.call('PEXPIRE', KEYS[1], stay) end
return {1}`

	// listed answers what begins with a prefix, without it, in no order.
	listedLua = timeLua + `
local found, size = {}, #ARGV[1]
local second = string.format('(%.0f', math.floor(now() / 1000000))
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], second, '+inf')) do
  if string.sub(member, 1, size) == ARGV[1] then found[#found + 1] = string.sub(member, size + 1) end
end
return found`

	countLua = timeLua + `
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', math.floor(now() / 1000000)))
return redis.call('ZCARD', KEYS[1])`
)

// place in an index: which, and under what name.
type listing struct{ index, member string }

func (s *Store) allIndex(bucket int) string {
	return fmt.Sprintf("%s%s%02x", s.prefix, allKind, bucket)
}

func (s *Store) sharedIndex(kind, name string) listing {
	sum := digest(name)
	return listing{fmt.Sprintf("%s%s%02x%02x", s.prefix, kind, sum[0], sum[1]&0xfc), base64.RawURLEncoding.EncodeToString(sum)}
}

// listings are where a row is listed.
func (s *Store) listings(row session.Row) []listing {
	sum := digest(row.Key)
	member := base64.RawURLEncoding.EncodeToString(sum)
	at := []listing{{s.allIndex(int(sum[0])), member}}
	for _, by := range []struct{ kind, name string }{{subjectKind, row.Subject}, {sidKind, row.SID}} {
		if by.name != "" {
			l := s.sharedIndex(by.kind, by.name)
			l.member += member
			at = append(at, l)
		}
	}
	return at
}

// index notes where a row is listed, and removes it from where it was; a row without an
// end is listed nowhere. Trouble is not told: the row is what it is, no decision rests
// on a list, and the next update lists it again.
func (s *Store) index(ctx context.Context, row, was session.Row) {
	var is []listing
	if !row.ExpiresAt.IsZero() {
		is = s.listings(row)
	}
	var calls []call
	for _, l := range is {
		calls = append(calls, call{enlist, l.index, []any{l.member, micros(row.ExpiresAt)}})
	}
	s.scripts(ctx, calls)
	if was.Key == "" {
		return
	}
	pipe := s.client.Pipeline()
	for _, l := range s.listings(was) {
		if !slices.Contains(is, l) {
			pipe.ZRem(ctx, l.index, l.member)
		}
	}
	if pipe.Len() > 0 {
		pipe.Exec(ctx)
	}
}

// call is one of several scripts in a pipeline. All of them may be sent twice.
type call struct {
	script script
	key    string
	args   []any
}

// scripts calls scripts in one round trip.
func (s *Store) scripts(ctx context.Context, calls []call) ([]*redis.Cmd, error) {
	if len(calls) == 0 {
		return nil, nil
	}
	send := func(whole bool) ([]*redis.Cmd, error) {
		pipe := s.client.Pipeline()
		cmds := make([]*redis.Cmd, len(calls))
		for i, c := range calls {
			if whole {
				cmds[i] = pipe.Eval(ctx, c.script.text, []string{c.key}, c.args...)
			} else {
				cmds[i] = pipe.EvalSha(ctx, c.script.hash, []string{c.key}, c.args...)
			}
		}
		pipe.Exec(ctx)
		for _, cmd := range cmds { // of a cluster, some nodes may have the script
			if err := cmd.Err(); err != nil && !errors.Is(err, redis.Nil) {
				return nil, err
			}
		}
		return cmds, nil
	}
	cmds, err := send(false)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		cmds, err = send(true)
	}
	if err != nil {
		s.lost(ctx, err)
	}
	return cmds, err
}

// List implements session.Store. A page ends with the hash of a row, which is the
// cursor of the next.
func (s *Store) List(ctx context.Context, f session.Filter, cursor string, limit int) ([]session.Row, string, error) {
	if err := s.ready(ctx); err != nil {
		return nil, "", err
	}
	if limit <= 0 {
		limit = defaultLimit
	}
	limit = min(limit, maxLimit)
	if _, err := base64.RawURLEncoding.DecodeString(cursor); cursor != "" && (err != nil || len(cursor) != hashSize) {
		return nil, "", errors.New("listing sessions: this is no cursor of a page")
	}
	members, err := s.members(ctx, f, cursor, limit+1)
	if err != nil {
		return nil, "", fmt.Errorf("listing sessions: %w", s.plain(ctx, err))
	}
	next := ""
	if len(members) > limit {
		members = members[:limit]
		next = members[limit-1]
	}
	rows, err := s.rows(ctx, f, members)
	if err != nil {
		return nil, "", fmt.Errorf("listing sessions: %w", s.plain(ctx, err))
	}
	return rows, next, nil
}

// members returns the hashes of the rows after cursor, n if there are so many.
func (s *Store) members(ctx context.Context, f session.Filter, cursor string, n int) ([]string, error) {
	var calls []call
	switch {
	case f.Subject != "":
		l := s.sharedIndex(subjectKind, f.Subject)
		calls = append(calls, call{listed, l.index, []any{l.member}})
	case f.SID != "":
		l := s.sharedIndex(sidKind, f.SID)
		calls = append(calls, call{listed, l.index, []any{l.member}})
	default:
		return s.all(ctx, cursor, n)
	}
	cmds, err := s.scripts(ctx, calls)
	if err != nil {
		return nil, err
	}
	return after(cmds[0], cursor)
}

// all walks through the indexes of all rows from that of the cursor on: first one, and
// more at a time while they hold little.
func (s *Store) all(ctx context.Context, cursor string, n int) ([]string, error) {
	bucket := 0
	if cursor != "" {
		bucket = bucketOf(cursor)
	}
	var members []string
	for step := 1; bucket < buckets && len(members) < n; step = min(4*step, buckets) {
		var calls []call
		for b := bucket; b < min(bucket+step, buckets); b++ {
			calls = append(calls, call{listed, s.allIndex(b), []any{""}})
		}
		cmds, err := s.scripts(ctx, calls)
		if err != nil {
			return nil, err
		}
		for _, cmd := range cmds {
			some, err := after(cmd, cursor)
			if err != nil {
				return nil, err
			}
			members = append(members, some...)
			cursor = "" // the next indexes lie behind it as a whole
		}
		bucket += len(calls)
	}
	return members, nil
}

// bucketOf is the first byte of a hash.
func bucketOf(member string) int {
	raw, err := base64.RawURLEncoding.DecodeString(member[:min(4, len(member))])
	if err != nil || len(raw) == 0 {
		return 0
	}
	return int(raw[0])
}

// after is what an index holds behind the cursor, sorted.
func after(cmd *redis.Cmd, cursor string) ([]string, error) {
	members, err := cmd.StringSlice()
	if err != nil {
		return nil, err
	}
	members = slices.DeleteFunc(members, func(member string) bool { return member <= cursor || len(member) != hashSize })
	slices.Sort(members)
	return members, nil
}

// rows reads what is under the hashes, in one round trip, and removes from the indexes
// what does not belong there.
func (s *Store) rows(ctx context.Context, f session.Filter, members []string) ([]session.Row, error) {
	part := "body"
	if f.NoBody {
		part = ""
	}
	calls := make([]call, len(members))
	for i, member := range members {
		calls[i] = call{get, s.prefix + rowKind + member, []any{"", part}}
	}
	cmds, err := s.scripts(ctx, calls)
	if err != nil {
		return nil, err
	}
	rows := make([]session.Row, 0, len(members))
	stale := map[string][]any{} // :: index → members
	for i, cmd := range cmds {
		reply, err := cmd.Slice()
		if err != nil {
			return nil, err
		}
		row, state := decode(reply)
		switch {
		case state == unreadable:
			continue
		case state == absent,
			f.Subject != "" && row.Subject != f.Subject, f.Subject == "" && f.SID != "" && row.SID != f.SID:
			l := s.listingOf(f, members[i])
			stale[l.index] = append(stale[l.index], l.member)
			continue
		case hash(row.Key) != members[i]:
			continue // a row under a key that is not its own is none
		}
		if f.NoBody {
			row.Body = nil
		}
		rows = append(rows, row)
	}
	pipe := s.client.Pipeline()
	for index, members := range stale {
		pipe.ZRem(ctx, index, members...)
	}
	if pipe.Len() > 0 {
		pipe.Exec(ctx) // if not now, then at the next reading
	}
	return rows, nil
}

// listingOf is where a list with this filter found the hash of a row.
func (s *Store) listingOf(f session.Filter, member string) listing {
	var l listing
	switch {
	case f.Subject != "":
		l = s.sharedIndex(subjectKind, f.Subject)
	case f.SID != "":
		l = s.sharedIndex(sidKind, f.SID)
	default:
		l.index = s.allIndex(bucketOf(member))
	}
	l.member += member
	return l
}

// Count implements session.Counter.
func (s *Store) Count(ctx context.Context) (int, error) {
	if err := s.ready(ctx); err != nil {
		return 0, err
	}
	calls := make([]call, buckets)
	for b := range calls {
		calls[b] = call{count, s.allIndex(b), nil}
	}
	cmds, err := s.scripts(ctx, calls)
	if err != nil {
		return 0, fmt.Errorf("counting sessions: %w", s.plain(ctx, err))
	}
	total := 0
	for _, cmd := range cmds {
		n, err := cmd.Int()
		if err != nil {
			return 0, fmt.Errorf("counting sessions: %w", errReply)
		}
		total += n
	}
	return total, nil
}
