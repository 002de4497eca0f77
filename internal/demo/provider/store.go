package provider

import (
	"crypto/rand"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Logto's lifetimes (defaults).
const (
	interactionLifetime = time.Hour
	sessionLifetime     = 14 * 24 * time.Hour
	grantLifetime       = 180 * 24 * time.Hour
	codeLifetime        = time.Minute     // of an authorization code
	reuseWindow         = 3 * time.Second // how long a replaced refresh token still works
	rotationShare       = 0.7             // of its lifetime after which a refresh token is replaced
	settled             = time.Minute     // how long a finished interaction still answers a form sent twice
)

// Bounds on what strangers can make the provider remember.
const (
	maxInteractions = 4096
	maxLogouts      = 4096
	maxMailings     = 4096
	maxRequest      = 16 << 10 // bytes of an authorization or end-session request
)

// store is everything the provider remembers. Its methods hold the mutex; what they return are copies.
type store struct {
	now func() time.Time

	mu           sync.Mutex
	people       map[string]*person // :: lower-case address → person
	subjects     map[string]*person // :: subject → person
	sessions     shelf[session]     // :: session cookie → browser session
	interactions shelf[interaction] // :: id → interaction
	browsers     shelf[string]      // :: interaction cookie → id of the interaction started last
	codes        shelf[code]        // :: authorization code → what it stands for
	grants       shelf[grant]       // :: id → grant
	access       shelf[accessToken]
	refresh      shelf[refreshToken]
	logouts      shelf[logout]      // :: xsrf → end of a session that awaits its confirmation
	mailings     shelf[[]time.Time] // :: lower-case address → when codes were sent
}

func newStore(now func() time.Time) *store {
	return &store{
		now:          now,
		people:       map[string]*person{},
		subjects:     map[string]*person{},
		sessions:     newShelf[session](0),
		interactions: newShelf[interaction](maxInteractions),
		browsers:     newShelf[string](maxInteractions),
		codes:        newShelf[code](0),
		grants:       newShelf[grant](0),
		access:       newShelf[accessToken](0),
		refresh:      newShelf[refreshToken](0),
		logouts:      newShelf[logout](maxLogouts),
		mailings:     newShelf[[]time.Time](maxMailings),
	}
}

type person struct {
	subject, address string // as it was typed first
	created, updated time.Time
	suspended        bool
	profile          Profile
	client           string    // where the person registered; "" nowhere
	signedIn         time.Time // last; zero: never
}

// session is one browser in which somebody is signed in.
type session struct {
	id, subject string
	uid         string // its name for the Management API, which outlives the cookie's value
	authTime    time.Time
	clients     map[string]authorization // :: client id → authorization
}

// authorization is what one client has in one browser session: one sid and one grant, shared by all its sign-ins there.
type authorization struct{ sid, grant string }

// grant is a person's permission to a client. What was issued under it dies with it.
type grant struct {
	client, subject string
	scopes          []string
	offline         bool // granted offline_access: outlives the browser session
}

// code is an authorization code: one of 60 seconds, redeemed once.
type code struct {
	issue
	redirectURI, challenge string
	redeemed               bool
}

// issue is what tokens are issued from.
type issue struct {
	grant, client, subject string
	scopes                 []string
	nonce, sid             string
	authTime               time.Time // zero: the request had no max_age, tokens say nothing
}

type accessToken struct {
	grant, client, subject string
	scopes                 []string
}

type refreshToken struct {
	issue
	lifetime time.Duration
	issued   time.Time
	replaced time.Time // zero: not yet
}

// register returns the person with an address and makes one where there is none. The caller holds the mutex.
func (s *store) register(address string) *person {
	key := strings.ToLower(address)
	if p, ok := s.people[key]; ok {
		return p
	}
	now := s.now()
	p := &person{subject: newSubject(), address: address, created: now, updated: now}
	s.people[key], s.subjects[p.subject] = p, p
	return p
}

// knows reports whether there is a person with an address.
func (s *store) knows(address string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.people[strings.ToLower(address)] != nil
}

// newSubject returns 12 lower-case alphanumerics, Logto's ids of people.
func newSubject() string { return newID(12) }

// newID returns lower-case alphanumerics.
func newID(length int) string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, length)
	rand.Read(b) // never fails (crypto/rand)
	for i, c := range b {
		b[i] = alphabet[int(c)%len(alphabet)]
	}
	return string(b)
}

func (s *store) setProfile(address string, profile Profile) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.register(address)
	profile.Roles, profile.Organizations = slices.Clone(profile.Roles), slices.Clone(profile.Organizations)
	profile.CustomData = maps.Clone(profile.CustomData)
	p.profile, p.updated = profile, s.now()
	return p.subject
}

func (s *store) suspend(address string, suspended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.register(address)
	p.suspended = suspended
	if suspended {
		s.endAll(p)
	}
}

// endAll ends the sessions and grants of a person. The caller holds the mutex.
func (s *store) endAll(p *person) {
	for id, it := range s.sessions.items {
		if it.value.subject == p.subject {
			s.sessions.drop(id)
		}
	}
	for id, it := range s.grants.items {
		if it.value.subject == p.subject {
			s.grants.drop(id)
		}
	}
}

// person returns a copy; false for nobody.
func (s *store) person(subject string) (person, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.subjects[subject]
	if !ok {
		return person{}, false
	}
	return *p, true
}

// session returns the live session of a cookie and keeps it for another 14 days, as every authorization request does.
func (s *store) session(cookie string) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	found := s.sessions.get(now, cookie)
	if found == nil {
		return session{}, false
	}
	s.sessions.items[cookie].expires = now.Add(sessionLifetime)
	return found.copy(), true
}

func (s session) copy() session {
	s.clients = maps.Clone(s.clients)
	return s
}

// signIn makes the person with an address signed in in a browser, whose session gets a new cookie value. The same person keeps the sids and
// grants of the browser; another one starts with none, and what was bound to the old session ends. False: the person is suspended.
func (s *store) signIn(cookie, address, client string) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	known := s.people[strings.ToLower(address)] != nil
	p := s.register(address)
	if p.suspended {
		return session{}, false
	}
	if !known {
		p.client = client
	}
	p.updated, p.signedIn = now, now
	fresh := session{id: random(), uid: random(), subject: p.subject, authTime: now, clients: map[string]authorization{}}
	if old := s.sessions.get(now, cookie); old != nil {
		if old.subject == p.subject {
			fresh.clients, fresh.uid = old.clients, old.uid
		} else {
			s.endBound(*old)
		}
		s.sessions.drop(cookie)
	}
	return s.sessions.put(now, fresh.id, fresh, sessionLifetime).copy(), true
}

// endBound ends the grants that live no longer than their browser session. The caller holds the mutex.
func (s *store) endBound(old session) {
	for _, a := range old.clients {
		if g := s.grants.get(s.now(), a.grant); g != nil && !g.offline {
			s.grants.drop(a.grant)
		}
	}
}

// granted reports whether a client has a grant in a browser session that covers scopes.
func (s *store) granted(cookie, client string, scopes []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	live := s.sessions.get(now, cookie)
	if live == nil {
		return false
	}
	g := s.grants.get(now, live.clients[client].grant)
	return g != nil && !slices.ContainsFunc(scopes, func(scope string) bool { return !slices.Contains(g.scopes, scope) })
}

// authorize grants scopes to a client in a browser session and returns an authorization code. False: the session has ended meanwhile.
func (s *store) authorize(cookie string, it interaction) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	live := s.sessions.get(now, cookie)
	if live == nil {
		return "", false
	}
	a := live.clients[it.client]
	g := s.grants.get(now, a.grant)
	if g == nil {
		a.grant = random()
		g = s.grants.put(now, a.grant, grant{client: it.client, subject: live.subject}, grantLifetime)
	}
	if a.sid == "" {
		a.sid = random()
	}
	live.clients[it.client] = a
	for _, scope := range it.scopes {
		if !slices.Contains(g.scopes, scope) {
			g.scopes = append(g.scopes, scope)
		}
		g.offline = g.offline || scope == scopeOffline
	}
	c := code{
		issue: issue{
			grant: a.grant, client: it.client, subject: live.subject,
			scopes: slices.Clone(it.scopes), nonce: it.nonce, sid: a.sid,
		},
		redirectURI: it.redirectURI, challenge: it.challenge,
	}
	if it.maxAge != nil {
		c.authTime = live.authTime
	}
	key := random()
	// Kept longer than it is good for, so that a code that comes back late is known for one that was redeemed.
	s.codes.put(now, key, c, codeLifetime+interactionLifetime)
	if kept := s.interactions.get(now, it.id); kept != nil {
		s.interactions.items[it.id].expires = now.Add(settled)
	}
	return key, true
}

// code returns what a code stands for, whether redeemed or not; false if unknown or older than 60 seconds.
func (s *store) code(key string) (code, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.codes.get(s.now(), key)
	if c == nil || (!c.redeemed && s.late(key)) {
		return code{}, false
	}
	return *c, true
}

func (s *store) late(key string) bool {
	return !s.now().Before(s.codes.items[key].expires.Add(-interactionLifetime))
}

// redeem takes a code and returns its tokens' origin. Of all who try one succeeds; a second try ends the grant (RFC 6749, section 4.1.2).
func (s *store) redeem(key string) (issue, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.codes.get(s.now(), key)
	if c == nil {
		return issue{}, false
	}
	if c.redeemed {
		s.grants.drop(c.grant)
		return issue{}, false
	}
	if s.late(key) {
		return issue{}, false
	}
	c.redeemed = true
	return c.issue, s.grants.get(s.now(), c.grant) != nil
}

// newAccess issues an access token.
func (s *store) newAccess(i issue, lifetime time.Duration) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := random()
	s.access.put(s.now(), key, accessToken{grant: i.grant, client: i.client, subject: i.subject, scopes: i.scopes}, lifetime)
	return key
}

// accessToken returns a live access token and its person.
func (s *store) accessToken(key string) (accessToken, person, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	t := s.access.get(now, key)
	if t == nil || s.grants.get(now, t.grant) == nil {
		return accessToken{}, person{}, false
	}
	p, ok := s.subjects[t.subject]
	if !ok || p.suspended {
		return accessToken{}, person{}, false
	}
	return *t, *p, true
}

// newRefresh issues a refresh token.
func (s *store) newRefresh(i issue, lifetime time.Duration) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.putRefresh(i, lifetime)
}

func (s *store) putRefresh(i issue, lifetime time.Duration) string {
	key := random()
	now := s.now()
	s.refresh.put(now, key, refreshToken{issue: i, lifetime: lifetime, issued: now}, lifetime)
	return key
}

// refreshToken returns a refresh token whose grant lives, whether replaced or not.
func (s *store) refreshToken(key string) (refreshToken, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	t := s.refresh.get(now, key)
	if t == nil || s.grants.get(now, t.grant) == nil {
		return refreshToken{}, false
	}
	return *t, true
}

// useRefresh uses a refresh token and returns the one to go on with: the same until 70 % of its lifetime have passed, or always another one if
// rotate says so, and the same to its end if keep does. A replaced one works for three more seconds, and each use gives yet another; after that its use ends the grant.
func (s *store) useRefresh(key string, rotate, keep bool, lifetime time.Duration) (next string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	t := s.refresh.get(now, key)
	if t == nil || s.grants.get(now, t.grant) == nil {
		return "", false
	}
	if !t.replaced.IsZero() {
		if now.Sub(t.replaced) > reuseWindow {
			s.grants.drop(t.grant)
			return "", false
		}
		return s.putRefresh(t.issue, lifetime), true
	}
	if rotate || !keep && now.Sub(t.issued) >= time.Duration(rotationShare*float64(t.lifetime)) {
		t.replaced = now
		return s.putRefresh(t.issue, lifetime), true
	}
	return key, true
}

// revoke revokes a token of a client: with a refresh token, or if wholeGrant is set with any, everything issued under its grant.
func (s *store) revoke(key, client string, wholeGrant bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if t := s.refresh.get(now, key); t != nil && t.client == client {
		s.grants.drop(t.grant)
	}
	if t := s.access.get(now, key); t != nil && t.client == client {
		s.access.drop(key)
		if wholeGrant {
			s.grants.drop(t.grant)
		}
	}
}

// endSession ends a browser session and what is bound to it, and returns it as it was.
func (s *store) endSession(cookie string) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	live := s.sessions.get(s.now(), cookie)
	if live == nil {
		return session{}, false
	}
	ended := live.copy()
	s.endBound(ended)
	s.sessions.drop(cookie)
	return ended, true
}

// forgetClient takes a client out of a browser session, which goes on.
func (s *store) forgetClient(cookie, client string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if live := s.sessions.get(s.now(), cookie); live != nil {
		delete(live.clients, client)
	}
}
