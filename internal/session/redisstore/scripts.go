package redisstore

import "github.com/redis/go-redis/v9"

// timeLua begins every script: the server's clock in microseconds, which is asked
// nowhere else.
const timeLua = `
local function now()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end
local function typeof(id)
  local kind = redis.call('TYPE', id)
  if type(kind) == 'table' then kind = kind['ok'] end
  return kind
end
local function millis(micro, extra)
  return string.format('%.0f', math.min(math.ceil(micro / 1000) + extra, 1e13))
end
`

// rowLua is what the scripts of rows share. Versions are compared as text, since a
// number here has 53 bits. load answers 0 for what is absent, 2 for what is there but
// cannot be read, and for a row 1, its digits, and all that precedes the body.
const rowLua = timeLua + `
local function name(head, at) -- where the name ends
  if string.sub(head, at, at) == 'h' then return at + 32 end
  local size = string.match(string.sub(head, at, at + 5), '^(%d+):')
  return size and at + #size + tonumber(size)
end
local function load(id, key)
  local kind = typeof(id)
  if kind == 'none' then return 0 end
  if kind ~= 'string' then return 2 end
  local size = redis.call('STRLEN', id)
  if size > 4194304 + 65536 then return 2 end
  local head = redis.call('GETRANGE', id, 0, 255)
  local d = string.match(head, '^1[01](%d+) ')
  if not d or #d < 54 or #d > 73 then return 2 end
  local whole = tonumber(string.sub(d, 49, 53))
  if whole > size then return 2 end
  if whole > 256 then head = redis.call('GETRANGE', id, 0, whole - 1) end
  head = string.sub(head, 1, whole)
  local from = #d + 4
  local owner = name(head, from)
  local subject = owner and name(head, owner + 1)
  local sid = subject and name(head, subject + 1)
  if sid ~= whole then return 2 end
  if key ~= '' and string.sub(head, from, owner) ~= key then return 2 end
  if now() >= tonumber(string.sub(d, 17, 32)) then return 0 end
  return 1, d, head
end
local function put(id, value)
  local left = tonumber(string.sub(value, 19, 34)) - now()
  if left <= 0 then
    redis.call('DEL', id)
    return
  end
  -- the end is compared at every read; the server clears away later
  redis.call('SET', id, value, 'PX', millis(left, 10000))
end
`

const (
	// create: what cannot be read is somebody's, and stays. It writes once: a server that
	// is full refuses only the first write of a script.
	createLua = rowLua + `
local state = load(KEYS[1], '')
if state ~= 0 then return {0} end
put(KEYS[1], ARGV[1])
return {1}`

	getLua = rowLua + `
local state, d, head = load(KEYS[1], ARGV[1])
if state ~= 1 then return {state} end
if ARGV[2] == 'body' then return {1, redis.call('GET', KEYS[1])} end
return {1, head}`

	updateLua = rowLua + `
local state, d, head = load(KEYS[1], ARGV[1])
if state ~= 1 or string.sub(d, 54) ~= ARGV[3] then return {0} end
local value, used = ARGV[2], string.sub(d, 1, 16)
if tonumber(used) > tonumber(string.sub(value, 3, 18)) then
  value = string.sub(value, 1, 2) .. used .. string.sub(value, 19)
end
put(KEYS[1], value)
return {1, head}`

	touchLua = rowLua + `
local state, d = load(KEYS[1], ARGV[1])
if state ~= 1 then return {0} end
if tonumber(ARGV[2]) > tonumber(string.sub(d, 1, 16)) then redis.call('SETRANGE', KEYS[1], 2, ARGV[2]) end
return {1}`

	removeLua = rowLua + `
local state, d, head = load(KEYS[1], ARGV[1])
redis.call('DEL', KEYS[1])
if state ~= 1 then return {0} end
return {1, head}`

	clockLua = timeLua + `return {string.format('%.0f', now())}`
)

// A mark or marker is "1 at until", in microseconds.
const datedLua = timeLua + `
local function read()
  local v = redis.call('GET', KEYS[1])
  if not v then return 0 end
  local at, till = string.match(v, '^1 (%d+) (%d+)$')
  if not at then return 2 end
  if tonumber(till) <= now() then return 0 end
  return 1, tonumber(at), tonumber(till)
end
local function write(at, till, left, extra)
  if left <= 0 then
    redis.call('DEL', KEYS[1])
    return
  end
  redis.call('SET', KEYS[1], string.format('1 %.0f %.0f', at, till), 'PX', millis(left, extra))
end
`

const (
	// consume: a mark that cannot be read may be a consumed one.
	consumeLua = datedLua + `
local state, at = read()
if state == 2 then return redis.error_reply('DAMAGED mark') end
if state == 1 then return {0, string.format('%.0f', at)} end
local t, keep = now(), tonumber(ARGV[1])
write(t, t + keep, keep, 10000)
return {1, string.format('%.0f', t)}`

	// mark: what cannot be read may have been any time up to now, and its life counts.
	markLua = datedLua + `
local state, at, till = 0, 0, 0
local kind = typeof(KEYS[1])
if kind == 'string' then
  state, at, till = read()
elseif kind ~= 'none' then
  state = 2
end
local t = now()
local set, last = tonumber(ARGV[1]), t + tonumber(ARGV[2])
if state == 1 then
  set = math.max(set, at)
  last = math.max(last, till)
elseif state == 2 then
  set = math.max(set, t)
  last = math.max(last, t + redis.call('PTTL', KEYS[1]) * 1000)
end
write(set, last, last - t, 0)
return {1}`

	// A lease is "1 until holder". One that cannot be read is somebody's.
	leaseLua = timeLua + `
local t, keep = now(), tonumber(ARGV[2])
if typeof(KEYS[1]) ~= 'none' then
  local till = typeof(KEYS[1]) == 'string' and string.match(redis.call('GET', KEYS[1]), '^1 (%d+) ')
  if not till or tonumber(till) > t then return {0} end
end
redis.call('SET', KEYS[1], string.format('1 %.0f ', t + keep) .. ARGV[1], 'PX', millis(math.max(keep, 0), 10000))
return {1}`

	releaseLua = timeLua + `
if typeof(KEYS[1]) ~= 'string' then return {0} end
local v = redis.call('GET', KEYS[1])
local till = string.match(v, '^1 (%d+) ')
if not till or string.sub(v, #till + 4) ~= ARGV[1] then return {0} end
redis.call('DEL', KEYS[1])
if tonumber(till) <= now() then return {0} end
return {1}`
)

// script is what runs in the server, under its hash once it has been seen there.
type script struct{ text, hash string }

func newScript(text string) script { return script{text, redis.NewScript(text).Hash()} }

var (
	create  = newScript(createLua)
	get     = newScript(getLua)
	update  = newScript(updateLua)
	touch   = newScript(touchLua)
	remove  = newScript(removeLua)
	clock   = newScript(clockLua)
	consume = newScript(consumeLua)
	mark    = newScript(markLua)
	lease   = newScript(leaseLua)
	release = newScript(releaseLua)
	enlist  = newScript(enlistLua)
	listed  = newScript(listedLua)
	count   = newScript(countLua)
	publish = newScript(publishLua)
	logEnd  = newScript(logEndLua)
)
