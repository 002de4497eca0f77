package session

import (
	"context"
	"errors"
	"time"
)

// ErrExists is returned by Store.Create when the key is taken.
var ErrExists = errors.New("session exists already")

// ErrClosed is returned by every method of a Store after Close, save Close itself.
var ErrClosed = errors.New("session store is closed")

// ErrKey is returned by Store.Create for an empty key or one too long for the store.
var ErrKey = errors.New("session key has a length the store does not take")

// Row is what a store keeps of a session: clear bookkeeping, of which nothing is
// secret and nothing is believed where it matters, and a sealed body.
// Times have microsecond precision.
type Row struct {
	// Key is the hash of the session token.
	Key string
	// Version grows with every Update.
	Version uint64
	// Subject and SID are hashes, for listing only. Empty: not listed by it.
	Subject, SID string
	// CreatedAt is by the store's clock, as markers are.
	CreatedAt time.Time
	// LastUsed never moves backwards.
	LastUsed time.Time
	// ExpiresAt is the absolute end: from then on the row is absent.
	ExpiresAt time.Time
	// Idled says that the session ended by not being used; the row stays so that
	// this is noticed.
	Idled bool
	// Body is sealed. Neither side modifies it after handing it over.
	Body []byte
}

// MarkerKind says what a marker does to sessions.
type MarkerKind uint8

// The kinds of marker. Zero is none.
const (
	// Ended ends every matching session created before or at the marker.
	Ended MarkerKind = 1
	// Fresh ends nothing: a sign-in that is older than it does not count.
	Fresh MarkerKind = 2
)

const (
	// LogLife is how long the revocation log keeps an entry at least.
	LogLife = 5 * time.Minute
	// LogPage is how many entries of the log are read at once at most.
	LogPage = 1000
)

// Marker is a point in time noted about a session, a sid or a subject.
type Marker struct {
	Kind MarkerKind
	// By is "session:", "sid:" or "subject:" and a hash.
	By string
}

// Revocation says that what By names has ended: every session of that name that was
// created before or at At. It is what replicas tell each other.
type Revocation struct {
	By string    // as Marker.By
	At time.Time // by the store's clock
}

// Filter selects rows for listing. Zero: all rows.
type Filter struct {
	// Subject and SID are the hashes of Row; at most one of them is set.
	Subject, SID string
	// NoBody leaves Row.Body out, for callers that count or compare.
	NoBody bool
}

// Store keeps rows, markers and consumed marks. Every implementation passes
// storetest.Run.
//
// Each operation concerns one key (List and Marked are several independent reads),
// so that a store that is spread over many machines can give the same promises.
// Index and list serve listing only: no decision rests on them.
//
// Errors mean that the store could not be asked; absence is no error. After a
// context ends, an operation returns an error soon, and may still take effect.
type Store interface {
	// Create adds a row; ErrExists if the key is taken by a row that has not expired.
	Create(ctx context.Context, row Row) error
	// Get returns the row. Absent and expired: found is false.
	Get(ctx context.Context, key string) (row Row, found bool, err error)
	// Update replaces the row if its version is was; row.Version must be larger.
	// LastUsed keeps the later of both. An absent row stays absent: false.
	Update(ctx context.Context, row Row, was uint64) (ok bool, err error)
	// Touch moves LastUsed forward, never backwards, and changes nothing else.
	// False: there is no such row.
	Touch(ctx context.Context, key string, lastUsed time.Time) (ok bool, err error)
	// Delete removes the row; false if there was none.
	Delete(ctx context.Context, key string) (ok bool, err error)
	// Consume notes mark for as long as keep. Of all calls of all users of the store,
	// one is first; at is when that was, by the store's clock.
	Consume(ctx context.Context, mark string, keep time.Duration) (first bool, at time.Time, err error)
	// Mark sets the marker to at, which is a time of the store's clock (Now), or leaves
	// a later one. It is kept for as long as keep, or longer if an earlier call said so.
	Mark(ctx context.Context, m Marker, at time.Time, keep time.Duration) error
	// Marked returns one time per marker, zero where there is none.
	Marked(ctx context.Context, ms ...Marker) ([]time.Time, error)
	// List returns a page of rows in no particular order and the cursor of the next
	// page, "" after the last. A page may be short or even empty before the last. A
	// row that is there from the first page to the last is on exactly one of them.
	// The limit is a wish; zero or less: 100.
	List(ctx context.Context, f Filter, cursor string, limit int) (rows []Row, next string, err error)
	// Publish appends to the revocation log, which keeps every entry for LogLife.
	Publish(ctx context.Context, rs ...Revocation) error
	// Published returns what was published after the place that an earlier call named
	// as next, oldest first, and the place after it. whole is false if something may be
	// missing: after is "", is older than the log, or the log is not the same any more;
	// then next is its present end. After LogPage entries the rest follows at the next
	// call; fewer were all there was.
	Published(ctx context.Context, after string) (rs []Revocation, next string, whole bool, err error)
	// Lease gives name to holder for as long as keep, unless somebody has it, holder
	// included: false. Leases come back only by Release or by their end.
	Lease(ctx context.Context, name, holder string, keep time.Duration) (ok bool, err error)
	// Release ends a lease if holder has it; false if not.
	Release(ctx context.Context, name, holder string) (ok bool, err error)
	// Now is the store's clock. On a store of many machines it is that of one of them.
	Now(ctx context.Context) (time.Time, error)
	// Ping says whether the store can be asked.
	Ping(ctx context.Context) error
	// Close ends the store; later calls of other methods return ErrClosed. Closing
	// twice is no error.
	Close() error
}

// Counter is implemented by stores that know how many rows they hold without
// listing them. Rows that expired a moment ago may be counted.
type Counter interface {
	Count(ctx context.Context) (int, error)
}
