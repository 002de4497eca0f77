// Package live knows which requests and upgraded connections are being served
// for which session at this moment, so that ending a session ends them too.
//
// It owns the list and nothing else: what ending means is the cancel function
// of whoever added the entry. It stores nothing beyond the life of a request.
//
// Invariants:
//   - an entry's cancel function is called at most once, and is not called at
//     all when Remove came first;
//   - a request that looked its session up before the session was ended and is
//     added afterwards is cancelled all the same, if it is added with the Mark
//     it took before the look-up: no request slips between the two;
//   - a session is ended by its names only if it was created before or at the
//     ending: what somebody opens after signing in again stays;
//   - an entry that turns out to be endless after CloseEndless is cancelled all
//     the same.
//
// Adding and removing takes a lock of one shard and no map. Closing walks over
// all entries: it happens when somebody signs out, adding happens every request.
package live

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	shards = 16
	// remembered is how many endings are kept for entries that come late. An
	// entry whose mark is older than all of them is cancelled: with this many
	// sign-outs during one look-up there is no telling.
	remembered = 4096
)

// Registry is the list. Use New.
type Registry struct {
	shard    [shards]shard
	live     atomic.Int64 // entries in the list
	open     atomic.Int64 // entries that have not been removed, the ended ones included
	draining atomic.Bool  // what is endless has no place any more
	closed   atomic.Bool  // nothing has
	drained  chan struct{}
	once     sync.Once // closes drained

	ended atomic.Uint64 // how many endings there have been
	mu    sync.Mutex    // orders endings
	ring  [remembered]ending
}

type shard struct {
	mu   sync.Mutex
	head Entry // the ring's fixed member
	_    [24]byte
}

// Session is what something is served for. The zero value is nobody's: it is ended
// by a shutdown alone.
type Session struct {
	// Names are those by which the session can be ended, as session.Session.Names. The
	// first is its own.
	Names []string
	// Created is compared with the time of an ending.
	Created time.Time
	// Ends is when the session idles, as far as is known. Zero: never.
	Ends time.Time
	// Expires is its absolute end. Zero: it has none.
	Expires time.Time
}

// Entry is something that is being served. Registry.Add makes one.
type Entry struct {
	registry         *Registry
	shard            *shard // guards what follows
	next, prev       *Entry // nil: not in the list
	names            []string
	created          int64 // by nanos, as are these
	ends, expires    int64 // 0: never
	cancel           func()
	endless, removed bool
}

// Ending says what has ended: every session that has the name and was created before
// or at that time.
type Ending struct {
	Name string
	At   time.Time
}

// ending is an Ending in the ring. Without a name nothing has ended, but may have:
// whatever comes late has to be asked about.
type ending struct {
	name string
	at   int64
}

func (e ending) covers(x *Entry) bool {
	if x.created > e.at || e.name == "" {
		return false
	}
	for _, name := range x.names {
		if name == e.name {
			return true
		}
	}
	return false
}

// nanos is a time as it is kept: 0 is none. It holds until the year 2262.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// Mark is a moment in the life of a registry. The zero Mark is no moment.
type Mark uint64

// New returns an empty registry.
func New() *Registry {
	r := &Registry{drained: make(chan struct{})}
	for i := range r.shard {
		h := &r.shard[i].head
		h.next, h.prev = h, h
	}
	return r
}

// Mark returns the present moment, to be taken before a session is looked up.
func (r *Registry) Mark() Mark { return Mark(r.ended.Load() + 1) }

// Add enters something that is served for a session until Remove is called.
// The cancel function may be called from any goroutine, from within Add and
// Endless too, and may still be running when Remove returns. It must not block
// for long and must not add to the registry or end anything in it.
func (r *Registry) Add(s Session, cancel func()) *Entry {
	return r.AddSince(0, s, cancel)
}

// AddSince is Add for somebody who looked the session up after taking since: if
// the session was ended between then and now, cancel is called at once.
func (r *Registry) AddSince(since Mark, of Session, cancel func()) *Entry {
	e := &Entry{registry: r, names: of.Names, created: nanos(of.Created), ends: nanos(of.Ends), expires: nanos(of.Expires), cancel: cancel}
	s := &r.shard[rand.Uint64()%shards]
	e.shard = s
	s.mu.Lock()
	e.next, e.prev = s.head.next, &s.head
	e.next.prev, s.head.next = e, e
	s.mu.Unlock()
	r.live.Add(1)
	r.open.Add(1)

	// The entry is in the list before the count of endings is read, and an
	// ending is counted before the list is walked: one of the two sees the other.
	if r.closed.Load() || since != 0 && r.ended.Load() != uint64(since)-1 && r.endedSince(since, e) {
		e.end()
	}
	return e
}

// Endless says that the entry goes on until somebody ends it: a WebSocket, a
// stream of events. CloseEndless ends it, at once if it has been called before.
func (e *Entry) Endless() {
	e.shard.mu.Lock()
	e.endless = true
	e.shard.mu.Unlock()
	if e.registry.draining.Load() {
		e.end()
	}
}

// Remove takes the entry out: it has ended by itself, or has done what its
// cancel function began.
func (e *Entry) Remove() {
	r, s := e.registry, e.shard
	s.mu.Lock()
	listed, first := s.unlink(e), !e.removed
	e.removed = true
	s.mu.Unlock()
	if listed {
		r.live.Add(-1)
	}
	if first && r.open.Add(-1) == 0 && r.closed.Load() {
		r.once.Do(func() { close(r.drained) })
	}
}

// end cancels the entry unless somebody else does.
func (e *Entry) end() {
	e.shard.mu.Lock()
	listed := e.shard.unlink(e)
	e.shard.mu.Unlock()
	if listed {
		e.registry.live.Add(-1)
		e.cancel()
	}
}

func (s *shard) unlink(e *Entry) bool {
	if e.next == nil {
		return false
	}
	e.prev.next, e.next.prev = e.next, e.prev
	e.next, e.prev = nil, nil
	return true
}

func (r *Registry) endedSince(since Mark, e *Entry) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	first, last := uint64(since)-1, r.ended.Load()
	if last-first > remembered {
		return true
	}
	doubt := false
	for i := first; i < last; i++ {
		x := &r.ring[i%remembered]
		if x.covers(e) {
			return true
		}
		doubt = doubt || x.name == ""
	}
	if doubt {
		e.shard.mu.Lock()
		e.ends = longAgo
		e.shard.mu.Unlock()
	}
	return false
}

// Close ends what is served for the sessions that have the name and were created
// before or at that time, and returns how many entries that were.
func (r *Registry) Close(name string, at time.Time) int { return r.CloseEach([]Ending{{name, at}}) }

// CloseEach is Close for many endings at once: it walks over the entries once.
func (r *Registry) CloseEach(all []Ending) int {
	if len(all) == 1 && all[0].Name != "" {
		only := ending{all[0].Name, nanos(all[0].At)}
		r.note(only)
		return r.cancel(only.covers)
	}
	ended := make(map[string]int64, len(all)) // :: name → the latest time
	r.mu.Lock()
	for _, x := range all {
		if x.Name == "" {
			continue
		}
		at := nanos(x.At)
		if before, known := ended[x.Name]; !known || at > before {
			ended[x.Name] = at
		}
		r.noteLocked(ending{x.Name, at})
	}
	r.mu.Unlock()
	if len(ended) == 0 {
		return 0
	}
	return r.cancel(func(e *Entry) bool {
		for _, name := range e.names {
			if at, known := ended[name]; known && e.created <= at {
				return true
			}
		}
		return false
	})
}

func (r *Registry) note(e ending) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.noteLocked(e)
}

func (r *Registry) noteLocked(e ending) {
	r.ring[r.ended.Load()%remembered] = e
	r.ended.Add(1)
}

// longAgo is when a session idled of which nothing is known.
const longAgo = 1

// Due ends what is served for sessions whose absolute end has come, and returns the
// names of those that have idled by now unless they were used elsewhere. Whoever
// asks says so with Extend, or ends them; until then they are due.
func (r *Registry) Due(now time.Time) []string {
	at := nanos(now)
	r.cancel(func(e *Entry) bool { return e.expires != 0 && e.expires <= at })
	return r.named(func(e *Entry) bool { return e.ends != 0 && e.ends <= at })
}

// Sessions returns the name of every session that something is served for, for
// somebody who has to ask about all of them. One that was looked up before and is
// added afterwards is due at once.
func (r *Registry) Sessions() []string {
	r.note(ending{})
	return r.named(func(*Entry) bool { return true })
}

// named returns the distinct names of the sessions of the entries that match.
func (r *Registry) named(match func(*Entry) bool) []string {
	var names []string
	seen := map[string]bool{}
	r.walk(func(_ *shard, e *Entry) {
		if len(e.names) > 0 && match(e) && !seen[e.names[0]] {
			seen[e.names[0]] = true
			names = append(names, e.names[0])
		}
	})
	return names
}

// Extend says when sessions idle: ends is by the first of their names.
func (r *Registry) Extend(ends map[string]time.Time) {
	if len(ends) == 0 {
		return
	}
	r.walk(func(_ *shard, e *Entry) {
		if len(e.names) == 0 {
			return
		}
		if at, known := ends[e.names[0]]; known {
			e.ends = nanos(at)
		}
	})
}

// CloseEndless ends what is endless, whosever it is, and from then on whatever
// turns out to be so at once: the process is going down, and waits for what
// ends by itself.
func (r *Registry) CloseEndless() int {
	r.draining.Store(true)
	return r.cancel(func(e *Entry) bool { return e.endless })
}

// CloseAll ends everything, and from then on whatever is added at once: the
// time of a shutdown is over.
func (r *Registry) CloseAll() int {
	r.draining.Store(true)
	r.closed.Store(true)
	n := r.cancel(func(*Entry) bool { return true })
	if r.open.Load() == 0 {
		r.once.Do(func() { close(r.drained) })
	}
	return n
}

// Drained is closed when, after CloseAll, everything has been removed by those
// who added it: close frames have been sent, connections are closed.
func (r *Registry) Drained() <-chan struct{} { return r.drained }

// Draining reports whether CloseEndless or CloseAll has been called. A cancel
// function that asks can tell a shutdown from a sign-out.
func (r *Registry) Draining() bool { return r.draining.Load() }

func (r *Registry) cancel(match func(*Entry) bool) int {
	var cancels []func()
	r.walk(func(s *shard, e *Entry) {
		if match(e) {
			s.unlink(e)
			cancels = append(cancels, e.cancel)
		}
	})
	r.live.Add(-int64(len(cancels)))
	for _, cancel := range cancels { // outside the locks
		cancel()
	}
	return len(cancels)
}

// walk calls do for every entry, whose shard is locked; do may unlink it.
func (r *Registry) walk(do func(*shard, *Entry)) {
	for i := range r.shard {
		s := &r.shard[i]
		s.mu.Lock()
		for e := s.head.next; e != &s.head; {
			next := e.next
			do(s, e)
			e = next
		}
		s.mu.Unlock()
	}
}

// Len returns how many entries there are.
func (r *Registry) Len() int { return int(r.live.Load()) }
