package replicas_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// live signs in and out, again and again.
func (w *world) live(ctx context.Context, h *human, s *slot, name string) {
	for n := 0; ctx.Err() == nil; n++ {
		x := w.signIn(ctx, h, fmt.Sprintf("sid-%s-%d", name, n))
		if x == nil {
			rest(ctx, 100*time.Millisecond)
			continue
		}
		s.enter(x)
		for range w.pick(3) {
			w.open(x)
		}
		life := w.between(0, 8*time.Second)
		if w.chance(25) {
			life = w.between(0, 300*time.Millisecond)
		}
		rest(ctx, life)
		w.end(x)
		w.checks.Go(func() {
			w.press(x, time.Now())
			rest(context.Background(), lag-pressure)
			x.mu.Lock()
			x.retired = true
			x.mu.Unlock()
			s.leave(x)
			x.uses.Wait()
			w.check(x)
		})
	}
}

// signIn signs somebody in. The answer of the issuer comes back up to three times, over several replicas.
func (w *world) signIn(ctx context.Context, h *human, sid string) *session {
	c := w.site.Client(h.subject, sid)
	begin := time.Now()
	next, nonce := origin+"/sign-in?return_to=/app", ""
	for range hops {
		before := c.with()
		r := w.replica()
		a, err := c.navigate(r, next)
		if err != nil || a.Location == nil {
			w.count("sign-ins that broke off")
			return nil
		}
		if a.Location.Path == "/oidc/auth" {
			nonce = a.Location.Query().Get("nonce")
		}
		next = a.Location.String()
		if a.Location.Path == "/callback" {
			if w.chance(30) {
				w.hot(r)
			}
			c, a = w.callback(c, next)
			if c == nil {
				w.count("sign-ins that broke off")
				return nil
			}
			if a.SetToken {
				x := &session{client: c, human: h}
				x.add(operation{event: begins, Replica: r.N, Begin: begin, End: time.Now()})
				w.mu.Lock()
				w.sessions[nonce] = x
				w.counts["sign-ins"]++
				w.mu.Unlock()
				if w.chance(30) {
					w.replay(before, next)
				}
				return x
			}
			if a.Location == nil {
				return nil
			}
			if a.Location.Path == "/oidc/auth" {
				nonce = a.Location.Query().Get("nonce")
			}
			next = a.Location.String()
		}
		if ctx.Err() != nil {
			return nil
		}
	}
	return nil
}

// callback brings the issuer's answer, perhaps several copies of it at once, and returns the browser that got a session,
// else the first that was answered.
func (w *world) callback(c *client, address string) (*client, answer) {
	copies := 1
	if w.chance(40) {
		copies = 2 + w.pick(2)
	}
	type outcome struct {
		c   *client
		a   answer
		err error
	}
	outcomes := make([]outcome, copies)
	var sending sync.WaitGroup
	for i := range outcomes {
		tab, r := c.with(), w.replica()
		sending.Go(func() {
			a, err := tab.navigate(r, address)
			outcomes[i] = outcome{tab, a, err}
		})
	}
	sending.Wait()
	w.count(fmt.Sprintf("answers in %d copies", copies))
	best := outcome{}
	for _, o := range outcomes {
		switch {
		case o.err != nil:
		case o.a.SetToken && best.a.SetToken:
			w.violate("one answer of the issuer has led to two sessions")
		case o.a.SetToken || best.c == nil || best.a.Location == nil && !best.a.SetToken:
			best = o
		}
	}
	return best.c, best.a
}

// replay brings an answer that was used once more.
func (w *world) replay(before *client, address string) {
	a, err := before.navigate(w.replica(), address)
	if err == nil && a.SetToken {
		w.violate("an answer of the issuer that was used has led to another session")
	}
	w.count("replays")
}

// use uses what a browser has.
func (w *world) use(ctx context.Context, s *slot) {
	for rest(ctx, w.between(10*time.Millisecond, 140*time.Millisecond)) {
		x := s.any(w)
		if x == nil {
			continue
		}
		w.useOnce(x, w.replica())
		x.uses.Done()
	}
}

func (w *world) useOnce(x *session, r *replica) {
	o := operation{Replica: r.N, Begin: time.Now()}
	a, err := x.client.use(r)
	o.End = time.Now()
	switch {
	case err != nil:
		w.count("uses without an answer")
		if len(w.faults.Met(r.N, o.Begin.Add(-settle), o.End)) == 0 {
			w.violate("%s does not answer, and nothing is the matter with it: %v", r, err)
		}
		return
	case undecided(a):
		w.count("uses that could not be decided")
		if len(w.faults.Met(r.N, o.Begin.Add(-settle), o.End)) == 0 {
			w.count("of these without a fault")
		}
		return
	case x.client.let(a):
		o.event = let
		w.count("uses let in")
	case refused(a):
		o.event = refuse
		w.count("uses refused")
	default:
		w.violate("%s answers %s for %s: %.200q", r, a, x.client.Subject, a.Text)
		return
	}
	x.add(o)
}

// press uses a session that has just ended on every replica around the end of the bound, when what lets in too long shows.
func (w *world) press(x *session, since time.Time) {
	var pressing sync.WaitGroup
	for _, r := range w.site.Replicas {
		pressing.Go(func() {
			rest(context.Background(), time.Until(since.Add(bound)))
			for time.Since(since) < pressure {
				w.useOnce(x, r)
				rest(context.Background(), w.between(10*time.Millisecond, 40*time.Millisecond))
			}
		})
	}
	pressing.Wait()
}

// open opens something that lasts.
func (w *world) open(x *session) {
	r := w.replica()
	st := &stream{Replica: r.N, What: "event stream"}
	dial := x.client.events
	if w.chance(50) {
		st.What, dial = "WebSocket", x.client.echo
	}
	var err error
	if st.open, err = dial(r); err != nil {
		w.count("streams that did not open")
		return
	}
	st.Since = time.Now()
	w.count("streams")
	x.mu.Lock()
	defer x.mu.Unlock()
	x.streams = append(x.streams, st)
}

// end ends a session in one of the ways there are, until one is answered.
func (w *world) end(x *session) {
	for range 8 {
		r := w.replica()
		o := operation{event: ending, Replica: r.N, What: "sign-out", Begin: time.Now()}
		var a answer
		var err error
		want := http.StatusSeeOther
		var everywhere *logout
		switch n := w.pick(10); {
		case n < 6:
			a, err = x.client.with().signOut(r, origin)
			if err == nil && a.Location != nil && a.Location.Path == "/oidc/auth" {
				err = errors.New("nobody to sign out")
			}
		case n < 8:
			o.What, want = "logout by sid", http.StatusOK
			a, err = w.site.logout(r, w.site.Issuer.Logout(x.client.SID, ""))
		default:
			o.What, want = "logout by subject", http.StatusOK
			everywhere = &logout{operation: o}
			x.human.mu.Lock()
			x.human.logouts = append(x.human.logouts, everywhere)
			x.human.mu.Unlock()
			a, err = w.site.logout(r, w.site.Issuer.Logout("", x.client.Subject))
		}
		o.End = time.Now()
		done := err == nil && a.Status == want
		if done {
			w.hot(r)
			w.count(o.What)
		} else {
			w.count(o.What + " without success")
		}
		if everywhere != nil {
			x.human.mu.Lock()
			everywhere.End, everywhere.done = o.End, done
			x.human.mu.Unlock()
		} else {
			x.add(o)
			if done {
				o.event = ended
				x.add(o)
			}
		}
		if done {
			return
		}
	}
}
