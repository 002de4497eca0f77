package session

import (
	"bytes"
	"sync"
	"sync/atomic"
)

// entry is a row's body together with what it says, decoded. It is never modified.
type entry struct {
	version uint64
	body    []byte
	session *Session // with the LastUsed of the row it was last seen in
	markers []Marker // that can end it
	idled   bool
}

// of reports whether e is what the row says. The sealed bytes are compared, not
// the version alone: a row that was tampered with must not be served from here.
func (e *entry) of(row *Row) bool { return e.version == row.Version && bytes.Equal(e.body, row.Body) }

// slot is what the process knows about one key over all its versions.
type slot struct {
	entry   atomic.Pointer[entry]
	used    atomic.Bool  // since eviction last looked
	touched atomic.Int64 // microseconds; when this process last tried to touch
	idling  sync.Mutex   // held while the end by idling is noted
	idled   bool         // noted; guarded by idling
}

// cache keeps decoded sessions, so that a lookup of one that is in use opens and
// parses nothing. It answers nothing by itself: the row is read every time, and an
// entry stands in only for the decoding of exactly these bytes.
type cache struct {
	mu    sync.RWMutex
	max   int
	slots map[string]*slot // :: key → slot
}

func newCache(size int) *cache { return &cache{max: size, slots: make(map[string]*slot)} }

func (c *cache) get(key string) *slot {
	c.mu.RLock()
	s := c.slots[key]
	c.mu.RUnlock()
	if s != nil && !s.used.Load() {
		s.used.Store(true)
	}
	return s
}

// put keeps e and returns the key's slot, the same one to all callers.
func (c *cache) put(key string, e *entry) *slot {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.slots[key]
	if s == nil {
		for len(c.slots) >= c.max {
			c.evict()
		}
		s = &slot{}
		c.slots[key] = s
	}
	s.used.Store(true)
	s.entry.Store(e)
	return s
}

func (c *cache) drop(key string) {
	c.mu.RLock()
	_, have := c.slots[key]
	c.mu.RUnlock()
	if !have {
		return
	}
	c.mu.Lock()
	delete(c.slots, key)
	c.mu.Unlock()
}

// evict removes one slot that was not used since the last look. Map order begins
// anywhere, so this is a clock hand with a random start: one step on average while
// some are unused, one round when all are.
func (c *cache) evict() {
	var last string
	for key, s := range c.slots {
		if !s.used.Swap(false) {
			delete(c.slots, key)
			return
		}
		last = key
	}
	delete(c.slots, last)
}
