package session

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
)

// Lookup finds the session of a request to a host. An error wraps ErrUnavailable and means
// that nobody knows: callers deny with 503.
//
//  1. One cookie of our name, of the right length and alphabet; else no store is asked.
//  2. A session that was found here a moment ago is returned without asking, as long
//     as everything is known that could have ended it.
//  3. The row is read, and opened unless exactly these bytes were opened before.
//  4. It has to be of this host: elsewhere its cookie is worth nothing.
//  5. The markers that could end it are read.
//  6. Absolute end, then idling.
//  7. At most once an interval LastUsed is moved; a body under an old key is resealed.
func (m *Manager) Lookup(ctx context.Context, r *http.Request, host string) (Lookup, error) {
	token, reason := m.token(r)
	if reason != Found {
		return Lookup{Reason: reason, Clear: reason != NoCookie}, nil
	}
	key := keyOf(token)
	if s := m.ready(key); s != nil && s.Host == host {
		return Lookup{Session: s}, nil
	}
	return m.find(ctx, key, host, false)
}

// Find is Lookup past every snapshot, with the tokens.
func (m *Manager) Find(ctx context.Context, r *http.Request, host string) (Lookup, error) {
	token, reason := m.token(r)
	if reason != Found {
		return Lookup{Reason: reason, Clear: reason != NoCookie}, nil
	}
	return m.find(ctx, keyOf(token), host, true)
}

// Reload looks s up again, past every snapshot: what the store says now, with the
// tokens.
func (m *Manager) Reload(ctx context.Context, s *Session) (Lookup, error) {
	return m.find(ctx, s.Key, s.Host, true)
}

// ready returns the session under key if it needs nothing from the store: it was read
// there at most a touch interval ago, it has not run out since, and the log of
// revocations, as it was at most a second ago, does not end it.
func (m *Manager) ready(key string) *Session {
	if !m.revocations.isCurrent() {
		return nil
	}
	slot := m.cache.get(key)
	if slot == nil {
		return nil
	}
	r := slot.ready.Load()
	if r == nil || r.epoch != m.revocations.epoch.Load() || uptime()-r.read >= m.touchEvery {
		return nil
	}
	now, s := m.now(), r.session
	if now.Sub(s.LastUsed) >= m.touchEvery || !now.Before(m.IdleEnds(s)) || m.revocations.ends(s) {
		return nil
	}
	return s
}

// find asks the store, and counts as a use. With whole, the tokens are returned too.
func (m *Manager) find(ctx context.Context, key, host string, whole bool) (Lookup, error) {
	began, epoch := uptime(), m.revocations.epoch.Load()
	found, answer, err := m.stand(ctx, key, whole)
	if err != nil || found.slot == nil {
		return answer, err
	}
	if found.entry.session.Host != host {
		return Lookup{Reason: Unknown, Clear: true}, nil
	}
	slot, e, all := found.slot, found.entry, found.all
	if !found.newest {
		all = m.reseal(ctx, all)
		e = slot.entry.Load()
	}
	now, lastUsed := found.at, found.lastUsed
	if m.touchDue(slot, lastUsed, now) {
		touched, there := m.touch(ctx, key, now)
		if !there { // ended since the row was read
			m.cache.drop(key)
			return Lookup{Reason: Unknown, Clear: true}, nil
		}
		if touched {
			lastUsed = now.Truncate(time.Microsecond)
		}
	}
	s := e.at(lastUsed, slot)
	slot.keep(&ready{session: s, read: began, epoch: epoch})
	if whole {
		all.LastUsed = lastUsed
		s = all
	}
	return Lookup{Session: s}, nil
}

// standing is a session that the store has and that is not over. The zero value is
// none.
type standing struct {
	slot     *slot
	entry    *entry
	all      *Session // with the tokens; nil: not decoded, because entry is what the row says
	newest   bool     // it is sealed with the newest key
	lastUsed time.Time
	at       time.Time // when that was
}

// stand asks the store about a session without using it. Without one the answer says
// why.
func (m *Manager) stand(ctx context.Context, key string, whole bool) (standing, Lookup, error) {
	reading, cancel := bound(ctx) // one deadline for both reads
	defer cancel()
	row, found, err := m.store.Get(reading, key)
	if err != nil {
		return standing{}, Lookup{}, m.unavailable("reading session", err)
	}
	if !found {
		m.cache.drop(key)
		return standing{}, Lookup{Reason: Unknown, Clear: true}, nil
	}
	slot, newest := m.cache.get(key), true
	var e *entry
	if slot != nil {
		e = slot.entry.Load()
	}
	known := e != nil && e.of(&row)
	var all *Session
	if whole || !known {
		var idled bool
		all, idled, newest, err = m.decode(key, &row)
		if err == nil && !known {
			if slot, err = m.cache.put(row.Body, all, idled); err == nil {
				e = slot.entry.Load()
			}
		}
		if err != nil {
			m.observe(EventUnreadable)
			m.log.WarnContext(ctx, "session record is unreadable; the browser is told to drop its cookie",
				"session", publicID(key), "error", err)
			return standing{}, Lookup{Reason: Unreadable, Clear: true}, nil
		}
	}
	ended, err := m.ended(reading, e.session)
	if err != nil {
		return standing{}, Lookup{}, err
	}
	now := m.now()
	if !ended.IsZero() {
		// The marker decides; the row is only cleared away, and not before whoever ended
		// it had the time to read its refresh token.
		if now.Sub(ended) > clearAfter {
			m.remove(ctx, key)
		}
		return standing{}, Lookup{Reason: EndedReason, Clear: true}, nil
	}

	switch {
	case !now.Before(e.session.ExpiresAt):
		return standing{}, Lookup{Reason: Expired, Clear: true}, nil
	case e.idled || row.Idled || m.idle > 0 && !now.Before(row.LastUsed.Add(m.idle)):
		answer, err := m.idling(ctx, slot, e, &row)
		return standing{}, answer, err
	}
	return standing{slot, e, all, newest, row.LastUsed, now}, Lookup{}, nil
}

// Standing says how long the session of that name, the first of Session.Names, can go
// on: ends is when it idles unless it is used, expires its absolute end. It is for
// what is open for a session; asking is no use of it. ok is false when the session is
// over, which is noted as at a lookup.
func (m *Manager) Standing(ctx context.Context, name string) (ends, expires time.Time, ok bool, err error) {
	key, named := strings.CutPrefix(name, sessionName)
	if !named {
		return time.Time{}, time.Time{}, false, errors.New("asking about a session by a name of something else")
	}
	found, _, err := m.stand(ctx, key, false)
	if err != nil || found.slot == nil {
		return time.Time{}, time.Time{}, false, err
	}
	if !found.newest { // the next lookup finds it opened, and would not notice
		m.reseal(ctx, found.all)
	}
	s := *found.entry.session
	s.LastUsed = found.lastUsed
	return m.IdleEnds(&s), s.ExpiresAt, true, nil
}

// decode opens a row. What is believed comes from the sealed body.
func (m *Manager) decode(key string, row *Row) (s *Session, idled, newest bool, err error) {
	rec, newest, err := m.open(key, row.Version, row.Body)
	if err != nil {
		return nil, false, false, err
	}
	if s, err = m.session(rec, key, row.Version); err != nil {
		return nil, false, false, err
	}
	s.LastUsed = row.LastUsed
	return s, rec.Idled, newest, nil
}

// at returns the session as used at that time, without copying it when it is known
// so already.
func (e *entry) at(lastUsed time.Time, in *slot) *Session {
	if e.session.LastUsed.Equal(lastUsed) {
		return e.session
	}
	moved, s := *e, *e.session
	s.LastUsed = lastUsed
	moved.session = &s
	in.entry.CompareAndSwap(e, &moved)
	return &s
}

// ended is when a marker ended the session, which was created before or at it. Zero: it
// lives. What is known here counts although the store has forgotten it, as after a
// failover. The caller bounds ctx.
func (m *Manager) ended(ctx context.Context, s *Session) (time.Time, error) {
	if at, said := m.revocations.ended(s); !at.IsZero() {
		if !said {
			if err := m.revocations.say(ctx, s); err != nil {
				return time.Time{}, m.unavailable("ending sessions", err)
			}
		}
		return at, nil
	}
	markers := make([]Marker, len(s.Names))
	for i, name := range s.Names {
		markers[i] = Marker{Ended, name}
	}
	marks, err := m.store.Marked(ctx, markers...)
	if err != nil {
		return time.Time{}, m.unavailable("reading markers", err)
	}
	for i, at := range marks {
		if at.IsZero() || s.CreatedAt.After(at) {
			continue
		}
		// Whoever set the marker may not have been able to publish it, or not yet: what is
		// kept here and elsewhere must not be served once this has been answered.
		if err := m.revocations.pass(ctx, Revocation{By: s.Names[i], At: at}); err != nil {
			return time.Time{}, m.unavailable("publishing a revocation", err)
		}
		return at, nil
	}
	return time.Time{}, nil
}

// idling answers for a session that was not used for too long. The first time, the
// marker is set and then the row flagged; in this order, because a crash between
// the two may ask for a code twice but must not let a silent sign-in through.
func (m *Manager) idling(ctx context.Context, in *slot, e *entry, row *Row) (Lookup, error) {
	answer := Lookup{Reason: Idle, Subject: e.session.Subject, SID: e.session.SID}
	if e.idled {
		return answer, nil
	}
	in.idling.Lock()
	defer in.idling.Unlock()
	if in.idled {
		return answer, nil
	}
	ctx = context.WithoutCancel(ctx)
	if m.afterIdleCode {
		if _, err := m.mark(ctx, present, 0, m.fresh(e.session.SID, e.session.Subject)); err != nil {
			return Lookup{}, err
		}
	}
	flagged, _, _, err := m.decode(row.Key, row)
	if err != nil {
		return Lookup{}, err
	}
	flagged.Version++
	next, err := m.seal(flagged, true)
	if err != nil {
		return Lookup{}, err
	}
	writing, cancel := bound(ctx)
	defer cancel()
	ok, err := m.store.Update(writing, next, row.Version)
	if err != nil {
		return Lookup{}, m.unavailable("noting idle session", err)
	}
	if ok {
		in.idled = true
		m.observe(EventIdled)
	}
	return answer, nil
}

// reseal writes the body with the newest key. It is a compare-and-set like every
// other change, and losing it or failing costs nothing: the next cold lookup tries
// again.
func (m *Manager) reseal(ctx context.Context, s *Session) *Session {
	next := *s
	next.Version++
	resealed, ok, err := m.replace(ctx, &next)
	if err != nil {
		m.log.WarnContext(ctx, "session record could not be resealed", "session", s.ID, "error", err)
	}
	if err != nil || !ok {
		return s
	}
	m.observe(EventResealed)
	return resealed
}

// touchDue claims the touch of this interval for the caller.
func (m *Manager) touchDue(in *slot, lastUsed, now time.Time) bool {
	if now.Sub(lastUsed) < m.touchEvery {
		return false
	}
	before := in.touched.Load()
	if before != 0 && now.UnixMicro()-before < m.touchEvery.Microseconds() && now.UnixMicro() >= before {
		return false
	}
	return in.touched.CompareAndSwap(before, now.UnixMicro())
}

// touch moves LastUsed. A store that cannot write does not take the session away:
// reading it worked, so this request is served and the next interval tries again.
func (m *Manager) touch(ctx context.Context, key string, now time.Time) (touched, there bool) {
	ctx, cancel := bound(ctx)
	defer cancel()
	ok, err := m.store.Touch(ctx, key, now.Truncate(time.Microsecond))
	if err != nil {
		m.unavailable("touching session", err)
		m.log.WarnContext(ctx, "time of last use could not be written", "session", publicID(key), "error", err)
		return false, true
	}
	if ok {
		m.observe(EventTouched)
	}
	return ok, ok
}

// IdleEnds is when s ends if it is not used until then, at most its absolute end.
func (m *Manager) IdleEnds(s *Session) time.Time {
	if ends := s.LastUsed.Add(m.idle); m.idle > 0 && ends.Before(s.ExpiresAt) {
		return ends
	}
	return s.ExpiresAt
}
