package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"
	"portero/internal/identity"
	"portero/internal/seal"
)

const (
	// storeTimeout bounds every call of the store.
	storeTimeout = 500 * time.Millisecond
	// markerLife is how long markers are kept at least.
	markerLife = 14 * 24 * time.Hour
	// consumeLife outlives every sign-in attempt and its cookie.
	consumeLife = 25 * time.Hour
	// maxTouchInterval bounds how stale LastUsed may be.
	maxTouchInterval  = time.Minute
	maxUserAgent      = 512
	defaultCache      = 100_000
	defaultCacheBytes = 256 << 20
)

// Events that Config.Metrics is told.
const (
	EventStarted    = "started"
	EventEnded      = "ended"      // by End, EndSID, EndSubject
	EventIdled      = "idled"      // noticed for the first time
	EventTouched    = "touched"    // LastUsed moved
	EventResealed   = "resealed"   // opened by an old key, sealed with the newest
	EventUnreadable = "unreadable" // a body did not open
	EventStoreError = "store-error"
)

// Config makes a Manager. Two Managers over one store see each other's sessions
// if Issuer and ClientID are equal, and never otherwise.
type Config struct {
	Store            Store
	Keys             *seal.KeyRing
	Issuer, ClientID string // what records are bound to
	// Lifetime is the absolute life of a session and its cookie's Max-Age.
	Lifetime time.Duration
	// IdleTimeout ends a session that is not used. Zero: it does not idle.
	IdleTimeout time.Duration
	// AfterIdleCode: a session that idled leaves a Fresh marker.
	AfterIdleCode bool
	Cookie        string // name; with the prefix __Host- only if Secure
	Secure        bool
	Identity      identity.Options
	// Revocations is what the process knows of the store's log, shared by all its
	// Managers over one store. While it runs, sessions are served from the cache.
	// Nil: one that does not.
	Revocations *Revocations
	// CacheSize is how many decoded sessions are kept. Zero: 100,000.
	CacheSize int
	// CacheBytes is how much memory they may take, about. Zero: 256 MiB.
	CacheBytes int
	Now        func() time.Time   // nil: time.Now
	Log        *slog.Logger       // nil: none
	Metrics    func(event string) // nil: none
}

// Manager starts, finds, changes and ends sessions. It is safe for concurrent use
// and has nothing to close.
type Manager struct {
	store            Store
	keys             *seal.KeyRing
	issuer, clientID string
	lifetime, idle   time.Duration
	touchEvery       time.Duration
	afterIdleCode    bool
	cookie           string
	identity         identity.Options
	now              func() time.Time
	log              *slog.Logger
	observe          func(string)
	scs              *scs.SessionManager
	cache            *cache
	revocations      *Revocations
}

// NewManager makes a Manager; it does not ask the store.
func NewManager(c Config) (*Manager, error) {
	switch {
	case c.Store == nil || c.Keys == nil:
		return nil, errors.New("session manager needs a store and a key ring")
	case c.Lifetime < time.Second:
		return nil, fmt.Errorf("session lifetime %s is under a second", c.Lifetime)
	case c.IdleTimeout < 0:
		return nil, fmt.Errorf("idle timeout %s is negative", c.IdleTimeout)
	case (&http.Cookie{Name: c.Cookie, Value: "x"}).Valid() != nil:
		return nil, fmt.Errorf("session cookie cannot be named %q", c.Cookie)
	case strings.HasPrefix(c.Cookie, "__Host-") && !c.Secure:
		return nil, fmt.Errorf("session cookie %s needs to be secure", c.Cookie)
	}
	m := &Manager{
		store: c.Store, keys: c.Keys, issuer: c.Issuer, clientID: c.ClientID,
		lifetime: c.Lifetime, idle: c.IdleTimeout, touchEvery: maxTouchInterval, afterIdleCode: c.AfterIdleCode,
		cookie: c.Cookie, identity: c.Identity, now: c.Now, log: c.Log, observe: c.Metrics,
	}
	if m.idle > 0 {
		m.touchEvery = min(m.idle/20, maxTouchInterval)
	}
	if m.now == nil {
		m.now = time.Now
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.observe == nil {
		m.observe = func(string) {}
	}
	if m.revocations = c.Revocations; m.revocations == nil {
		m.revocations = NewRevocations(RevocationsConfig{Store: c.Store, Now: c.Now, Log: c.Log})
	}
	size := c.CacheSize
	if size <= 0 {
		size = defaultCache
	}
	bytes := c.CacheBytes
	if bytes <= 0 {
		bytes = defaultCacheBytes
	}
	m.cache = newCache(size, bytes)
	// A literal, not scs.New: that one starts a store of its own with a goroutine.
	// IdleTimeout stays zero: with it scs writes the whole record at every load.
	m.scs = &scs.SessionManager{
		Lifetime:         c.Lifetime,
		Store:            adapter{m},
		Codec:            codec{},
		HashTokenInStore: true,
		Cookie: scs.SessionCookie{
			Name: c.Cookie, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: c.Secure, Persist: true,
		},
	}
	return m, nil
}

// Start makes a session and writes its cookie to w.
//
//  1. The store's clock says when it was created, so that markers compare.
//  2. A fresh token; one that the browser brought is never taken over.
//  3. The row is created, sealed for the token's hash.
//  4. The session it replaces ends. Its tokens are not revoked: sessions of one
//     browser share the provider's grant.
//  5. Only then the cookie is written, and the answer made uncacheable.
func (m *Manager) Start(ctx context.Context, w http.ResponseWriter, n New) (*Session, error) {
	created := n.Began
	if created.IsZero() {
		var err error
		if created, err = m.Now(ctx); err != nil {
			return nil, err
		}
	}
	created = created.Truncate(time.Microsecond)
	draft := &Session{
		Subject: n.Subject, SID: n.SID, Host: n.Host, UserAgent: n.UserAgent[:min(maxUserAgent, len(n.UserAgent))],
		IDToken: n.IDToken, AccessToken: n.AccessToken, RefreshToken: n.RefreshToken,
		AccessExpires: n.AccessExpires, AccessLife: n.AccessLife, Userinfo: n.Userinfo, AuthTime: n.AuthTime,
		CreatedAt: created, LastUsed: m.now().Truncate(time.Microsecond), ExpiresAt: created.Add(m.lifetime),
	}
	draft.Identity.Claims = identity.NewClaimSet(n.Claims)
	rec := recordOf(draft, false)
	if _, err := m.session(rec, "", 0); err != nil { // what could not be read back is not written
		return nil, fmt.Errorf("starting session: %w", err)
	}

	bounded, cancel := bound(ctx)
	defer cancel()
	loaded, err := m.scs.Load(bounded, "")
	if err != nil {
		return nil, fmt.Errorf("starting session: %w", err)
	}
	m.scs.Put(loaded, recordValue, rec)
	token, expiry, err := m.scs.Commit(loaded)
	if err != nil {
		return nil, fmt.Errorf("starting session: %w", err)
	}
	s, err := m.session(rec, keyOf(token), 1)
	if err != nil {
		return nil, fmt.Errorf("starting session: %w", err)
	}

	if n.Replace != nil && n.Replace.Key != s.Key {
		if err := m.Drop(ctx, n.Replace); err != nil {
			m.log.WarnContext(ctx, "the session before this one ends when the store can be asked again", "session", n.Replace.ID, "error", err)
		}
	}
	m.scs.WriteSessionCookie(loaded, w, token, expiry)
	w.Header().Set("Cache-Control", "no-store") // scs's own value leaves the answer storable
	m.observe(EventStarted)
	return s, nil
}

// Identify is who the session would be of that Start makes of n.
func (m *Manager) Identify(n New) (identity.Identity, error) {
	s, err := m.session(&record{Subject: n.Subject, IDToken: n.IDToken, Claims: n.Claims, Userinfo: n.Userinfo}, "", 0)
	if err != nil {
		return identity.Identity{}, fmt.Errorf("reading who signed in: %w", err)
	}
	return s.Identity, nil
}

// ClearCookie tells the browser to drop the session cookie, with the attributes it
// was set with.
func (m *Manager) ClearCookie(w http.ResponseWriter) {
	m.scs.WriteSessionCookie(context.Background(), w, "", time.Time{})
	w.Header().Set("Cache-Control", "no-store")
}

// Update applies change to a copy of s and stores it if the record is still the
// one of s. False: it has moved or gone, or was ended meanwhile; Reload says which.
// Key, subject, times and version are not the caller's to change; the identity is
// read anew from ID token and userinfo. It finishes even if ctx is cancelled,
// because a renewed refresh token must not be lost.
func (m *Manager) Update(ctx context.Context, s *Session, change func(*Session)) (*Session, bool, error) {
	if s.compact {
		return nil, false, errors.New("updating session: it has no tokens; reload it first")
	}
	ctx = context.WithoutCancel(ctx)
	next := *s
	change(&next)
	next.Key, next.ID, next.Version, next.Subject, next.Host = s.Key, s.ID, s.Version+1, s.Subject, s.Host
	next.CreatedAt, next.LastUsed, next.ExpiresAt, next.Identity = s.CreatedAt, s.LastUsed, s.ExpiresAt, s.Identity
	updated, ok, err := m.replace(ctx, &next)
	if err != nil || !ok {
		return nil, false, err
	}
	// Ending writes its marker first, so asking after the write misses none that was
	// answered before it.
	reading, cancel := bound(ctx)
	defer cancel()
	ended, err := m.ended(reading, updated)
	if err != nil || !ended.IsZero() {
		return nil, false, err
	}
	return updated, true, nil
}

// replace writes s over the version before it and keeps it decoded.
func (m *Manager) replace(ctx context.Context, s *Session) (*Session, bool, error) {
	rec := recordOf(s, false)
	next, err := m.session(rec, s.Key, s.Version)
	if err != nil {
		return nil, false, fmt.Errorf("updating session: %w", err)
	}
	row, err := m.seal(next, false)
	if err != nil {
		return nil, false, err
	}
	ctx, cancel := bound(ctx)
	defer cancel()
	ok, err := m.store.Update(ctx, row, s.Version-1)
	if err != nil {
		return nil, false, m.unavailable("updating session", err)
	}
	if !ok {
		return nil, false, nil
	}
	if _, err := m.cache.put(row.Body, next, false); err != nil {
		return nil, false, err
	}
	return next, true, nil
}

// Consume notes mark, once: of all callers on all replicas one is first. at is when
// that was, by the store's clock.
func (m *Manager) Consume(ctx context.Context, mark string) (first bool, at time.Time, err error) {
	ctx, cancel := bound(ctx)
	defer cancel()
	first, at, err = m.store.Consume(ctx, m.hash("mark", mark), consumeLife)
	if err != nil {
		return false, time.Time{}, m.unavailable("consuming mark", err)
	}
	return first, at, nil
}

// Now is the store's clock, which markers and creation times are by.
func (m *Manager) Now(ctx context.Context) (time.Time, error) {
	ctx, cancel := bound(ctx)
	defer cancel()
	now, err := m.store.Now(ctx)
	if err != nil {
		return time.Time{}, m.unavailable("reading store's clock", err)
	}
	return now, nil
}

// Ping says whether the store can be asked.
func (m *Manager) Ping(ctx context.Context) error {
	ctx, cancel := bound(ctx)
	defer cancel()
	if err := m.store.Ping(ctx); err != nil {
		return m.unavailable("asking session store", err)
	}
	return nil
}

func bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, storeTimeout)
}

func (m *Manager) unavailable(doing string, err error) error {
	if !errors.Is(err, context.Canceled) { // somebody went away; the store is well
		m.observe(EventStoreError)
	}
	return fmt.Errorf("%s: %w: %w", doing, ErrUnavailable, err)
}

// remove deletes a row and what is decoded of it.
func (m *Manager) remove(ctx context.Context, key string) (bool, error) {
	ctx, cancel := bound(ctx)
	defer cancel()
	m.cache.drop(key)
	ok, err := m.store.Delete(ctx, key)
	if err != nil {
		return false, m.unavailable("deleting session", err)
	}
	return ok, nil
}
