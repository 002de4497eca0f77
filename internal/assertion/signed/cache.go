package signed

import (
	"sync"
	"time"
)

// maxCached bounds the tokens that are kept; one is about a kilobyte.
const maxCached = 8 << 10

// about is what a token says: two requests with the same are told the same.
type about struct {
	subject, session string
	version          uint64 // of the session: what is known of the person changes with it
	audience         string
	life             time.Duration
}

type kept struct {
	token string
	made  time.Time
}

// cache keeps tokens for half of their lives. It has two halves: where the newer one is full, or has been there for as long as a
// token may be used, the older one is forgotten.
type cache struct {
	mu           sync.Mutex
	newer, older map[about]kept
	since        time.Time
}

func (c *cache) get(a about, now time.Time) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.newer[a]
	if !ok {
		k, ok = c.older[a]
	}
	if age := now.Sub(k.made); !ok || age < 0 || age >= a.life/2 {
		return ""
	}
	return k.token
}

func (c *cache) put(a about, token string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if age := now.Sub(c.since); c.newer == nil || len(c.newer) >= maxCached/2 || age < 0 || age >= Longest/2 {
		c.newer, c.older, c.since = make(map[about]kept), c.newer, now
	}
	c.newer[a] = kept{token, now}
}
