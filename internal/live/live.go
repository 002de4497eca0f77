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

// Entry is something that is being served. Registry.Add makes one.
type Entry struct {
	registry          *Registry
	shard             *shard // guards what follows
	next, prev        *Entry // nil: not in the list
	key, sid, subject string
	cancel            func()
	endless, removed  bool
}

// ending names what was ended: exactly one field is set.
type ending struct{ key, sid, subject string }

func (e ending) covers(x *Entry) bool {
	return e.key != "" && e.key == x.key || e.sid != "" && e.sid == x.sid || e.subject != "" && e.subject == x.subject
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
// Empty words never match: what belongs to nobody is ended by a shutdown alone.
// The cancel function may be called from any goroutine, from within Add and
// Endless too, and may still be running when Remove returns. It must not block
// for long and must not add to the registry or end anything in it.
func (r *Registry) Add(key, sid, subject string, cancel func()) *Entry {
	return r.AddSince(0, key, sid, subject, cancel)
}

// AddSince is Add for somebody who looked the session up after taking since: if
// the session was ended between then and now, cancel is called at once.
func (r *Registry) AddSince(since Mark, key, sid, subject string, cancel func()) *Entry {
	e := &Entry{registry: r, key: key, sid: sid, subject: subject, cancel: cancel}
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
	for i := first; i < last; i++ {
		if r.ring[i%remembered].covers(e) {
			return true
		}
	}
	return false
}

// CloseSession ends everything that is served for the session with this key and
// returns how many that were.
func (r *Registry) CloseSession(key string) int { return r.end(ending{key: key}) }

// CloseSID ends everything served for sessions that came from the provider's
// session sid.
func (r *Registry) CloseSID(sid string) int { return r.end(ending{sid: sid}) }

// CloseSubject ends everything served for one person.
func (r *Registry) CloseSubject(subject string) int { return r.end(ending{subject: subject}) }

func (r *Registry) end(what ending) int {
	if what == (ending{}) {
		return 0
	}
	r.mu.Lock()
	r.ring[r.ended.Load()%remembered] = what
	r.ended.Add(1)
	r.mu.Unlock()
	return r.cancel(what.covers)
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
	for i := range r.shard {
		s := &r.shard[i]
		s.mu.Lock()
		for e := s.head.next; e != &s.head; {
			next := e.next
			if match(e) {
				s.unlink(e)
				cancels = append(cancels, e.cancel)
			}
			e = next
		}
		s.mu.Unlock()
	}
	r.live.Add(-int64(len(cancels)))
	for _, cancel := range cancels { // outside the locks
		cancel()
	}
	return len(cancels)
}

// Len returns how many entries there are.
func (r *Registry) Len() int { return int(r.live.Load()) }
