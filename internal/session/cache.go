package session

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"
)

// entry is what a row's body says, decoded. It is never modified.
type entry struct {
	sum     [sha256.Size]byte // of the body
	session *Session          // with the LastUsed of the row it was last seen in
	idled   bool
}

// of reports whether e is what the row says. The sealed bytes are compared, not
// the version alone: a row that was tampered with must not be served from here.
func (e *entry) of(row *Row) bool {
	return e.session.Version == row.Version && e.sum == sha256.Sum256(row.Body)
}

// ready is a session as a lookup found it in the store, everything checked.
type ready struct {
	session *Session
	read    time.Duration // of uptime, before the store was asked
	epoch   uint64        // of the revocation log, then
}

var processStart = time.Now()

// uptime is the monotonic clock in a third of the memory.
func uptime() time.Duration { return time.Since(processStart) }

// slot is what the process knows about one key over all its versions.
type slot struct {
	entry   atomic.Pointer[entry]
	ready   atomic.Pointer[ready]
	touched atomic.Int64 // microseconds; when this process last tried to touch
	idling  sync.Mutex   // held while the end by idling is noted
	bytes   int          // guarded by cache.mu
	used    atomic.Bool  // since eviction last looked
	idled   bool         // noted; guarded by idling
}

// keep notes what a lookup found, unless another one has found something newer.
func (s *slot) keep(r *ready) {
	for {
		have := s.ready.Load()
		if have != nil && (have.session.Version > r.session.Version || have.session.Version == r.session.Version && have.read > r.read) {
			return
		}
		if s.ready.CompareAndSwap(have, r) {
			return
		}
	}
}

// cache keeps decoded sessions, so that a lookup of one that is in use opens and
// parses nothing, and those that are ready need not be read at all. It is bounded by
// count and by bytes.
type cache struct {
	mu       sync.RWMutex
	max      int
	maxBytes int
	bytes    int
	slots    map[string]*slot // :: key → slot
}

func newCache(size, bytes int) *cache {
	return &cache{max: size, maxBytes: bytes, slots: make(map[string]*slot)}
}

func (c *cache) get(key string) *slot {
	c.mu.RLock()
	s := c.slots[key]
	c.mu.RUnlock()
	if s != nil && !s.used.Load() {
		s.used.Store(true)
	}
	return s
}

// put keeps what a body says and returns the key's slot, the same one to all callers.
func (c *cache) put(body []byte, s *Session, idled bool) (*slot, error) {
	compact, err := compactOf(s)
	if err != nil {
		return nil, err
	}
	e := &entry{sum: sha256.Sum256(body), session: compact, idled: idled}
	size := sizeOf(s)
	c.mu.Lock()
	defer c.mu.Unlock()
	in := c.slots[compact.Key]
	if in == nil {
		in = &slot{}
		c.slots[compact.Key] = in
	}
	c.bytes += size - in.bytes
	in.bytes = size
	in.used.Store(true)
	in.entry.Store(e)
	for len(c.slots) > 1 && (len(c.slots) > c.max || c.bytes > c.maxBytes) {
		c.evict(compact.Key)
	}
	return in, nil
}

func (c *cache) drop(key string) {
	c.mu.RLock()
	_, have := c.slots[key]
	c.mu.RUnlock()
	if !have {
		return
	}
	c.mu.Lock()
	c.remove(key)
	c.mu.Unlock()
}

func (c *cache) remove(key string) {
	if s := c.slots[key]; s != nil {
		c.bytes -= s.bytes
		delete(c.slots, key)
	}
}

// evict removes one slot other than that of keep which was not used since the last
// look. Map order begins anywhere, so this is a clock hand with a random start: one
// step on average while some are unused, one round when all are.
func (c *cache) evict(keep string) {
	var last string
	for key, s := range c.slots {
		if key == keep {
			continue
		}
		if !s.used.Swap(false) {
			c.remove(key)
			return
		}
		last = key
	}
	c.remove(last)
}

// sizeOf is about how much memory a session takes here. Its claims are decoded where
// rules or headers ask for them, and take more then than now; the middle is counted.
func sizeOf(s *Session) int {
	const fixed = 1200 // of Session, its names, slot, entry, ready and the map
	tokens := 0
	for _, t := range s.Tokens {
		tokens += 200 + len(t.Value)
	}
	return fixed + 2*(len(s.IDToken)+len(s.Userinfo)) + len(s.SID) + tokens
}
