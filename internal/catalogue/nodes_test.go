package catalogue_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/gatewaytest"
	"portero/internal/redistest"
)

// nodes are programs on one Redis, each over a link of its own that can break, with one issuer and one secret.
type nodes struct {
	redis *redistest.Server
	links []*redistest.Proxy // :: node → its link
	all   []*front
}

// newNodes starts n of them with nobody signed in. o.Session is more of what stands in `session: {…}`, beginning with a
// comma; args are more arguments of redis-server.
func newNodes(t *testing.T, n int, o gatewaytest.Options, args ...string) *nodes {
	t.Helper()
	x := &nodes{redis: redistest.Start(t, args...)}
	if o.Issuer == nil {
		o.Issuer = gatewaytest.NewIssuer(t)
	}
	o.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person = maps.Clone(alice) })
	more := o.Session
	for range n {
		link := redistest.NewProxy(t, x.redis.Addr)
		o.Session = fmt.Sprintf("store: redis, secret: %s, redis: {url: %q}", gatewaytest.SessionSecret, "redis://"+link.Addr+"/0") + more
		x.links, x.all = append(x.links, link), append(x.all, unsigned(t, o))
	}
	return x
}

// Nodes are two that speak TLS, HTTP/1.1 and HTTP/2.
func (d *doors) Nodes() *nodes {
	if d.pair == nil {
		d.pair = newNodes(d.t, 2, gatewaytest.Options{TLS: true})
	}
	return d.pair
}

// arrive is somebody who has just signed in at a gateway over HTTP/1.1, and has not asked for anything since. Whoever
// signs in at the issuer next is Alice.
func (f *front) arrive(t *testing.T, person map[string]any) *traveller {
	t.Helper()
	f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person = maps.Clone(person) })
	p := way{front: f}.traveller(t)
	seeOther(t, p.get(t, p.leave(t, "/app")), "/app")
	p.forgetAttempts()
	f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person = maps.Clone(alice) })
	return p
}

// arrive is front.arrive at the first node, with the key of the row that was made for it.
func (x *nodes) arrive(t *testing.T, person map[string]any) (p *traveller, row string) {
	t.Helper()
	before := x.keys(t, "portero:row:*")
	p = x.all[0].arrive(t, person)
	made := slices.DeleteFunc(x.keys(t, "portero:row:*"), func(key string) bool { return slices.Contains(before, key) })
	if len(made) != 1 {
		t.Fatalf("rows that a sign-in made: got %q, want one", made)
	}
	return p, made[0]
}

// keys are those in Redis that a pattern fits.
func (x *nodes) keys(t *testing.T, pattern string) []string {
	t.Helper()
	keys, err := x.redis.Client.Keys(context.Background(), pattern).Result()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	return keys
}

// on is the same browser in front of another gateway of the same site, as it is now.
func (p *traveller) on(f *front) *traveller {
	out := p.twin()
	out.front = f
	return out
}

// over is the same browser, with HTTP/2 or without it.
func (p *traveller) over(h2 bool) *traveller {
	out := p.twin()
	out.h2 = h2
	return out
}

// in reports whether the session is good: the application is asked once and told of its person, or nothing reaches it.
// The browser keeps its cookies whatever the answer says.
func (p *traveller) in(t *testing.T) bool {
	t.Helper()
	in := p.let(t)
	if !in {
		p.nothingReached(t)
		return false
	}
	head, _ := p.reached(t)
	if got := fields(head)["x-auth-sub"]; len(got) != 1 {
		t.Errorf("X-Auth-Sub at the upstream: got %q, want one", got)
	}
	return true
}

// let is in at a moment at which the session may be ending: what was let in a moment before may be broken off. It is
// patient.
func (p *traveller) let(t *testing.T) bool {
	t.Helper()
	p.Upstream.Forget()
	a := p.twin().patient(t, request{})
	switch {
	case a.Status == http.StatusOK, a.Status == 0 && !errors.Is(a.Err, os.ErrDeadlineExceeded):
		return true
	case a.Status != http.StatusUnauthorized:
		t.Errorf("got %s, want 200 or 401\n%s", a, a.Body)
	}
	p.noSession(t, a)
	return false
}

// patient sends a request again while the answer is 503, as a person does who reloads the page: with a hundred of them at
// once on a machine that is busy, the store may not answer within half a second.
func (p *traveller) patient(t *testing.T, q request) *gatewaytest.Answer {
	t.Helper()
	again := time.NewTicker(300 * time.Millisecond)
	defer again.Stop()
	for until := time.Now().Add(20 * time.Second); ; <-again.C {
		if a := p.twin().send(t, q); a.Status != http.StatusServiceUnavailable || time.Now().After(until) {
			return a
		}
	}
}

// out is let for a gateway that may not know yet whether its store can be asked.
func (p *traveller) out(t *testing.T) bool {
	t.Helper()
	switch a := p.twin().send(t, request{}); a.Status {
	case http.StatusUnauthorized:
		return true
	case http.StatusOK, http.StatusServiceUnavailable:
	default:
		t.Errorf("got %s, want 200, 401 or 503", a)
	}
	return false
}

// outWithin waits until a session has ended at a gateway that others told of it, and fails if a request that begins more
// than a second after since is let in.
func (p *traveller) outWithin(t *testing.T, since time.Time) {
	t.Helper()
	gatewaytest.Await(t, "the session has ended", func() bool {
		began := time.Since(since)
		in := p.let(t)
		if in && began > time.Second {
			t.Fatalf("a request that began %s after the end was let in, want none after a second", began)
		}
		return !in
	})
	gatewaytest.Await(t, "nothing reaches the application", func() bool { // what was broken off may be read there a moment later
		if p.let(t) {
			t.Fatal("it is signed in again")
		}
		return len(p.Upstream.Requests()) == 0
	})
}

// somebody is a person with that subject and sid.
func somebody(sub, sid string) map[string]any {
	return map[string]any{"sub": sub, "sid": sid, "email": sub + "@example.com", "email_verified": true}
}

// wantOut fails if the session is good.
func (p *traveller) wantOut(t *testing.T) {
	t.Helper()
	if p.in(t) {
		t.Error("it is still signed in")
	}
}

// gone waits until a row is not there any more.
func (x *nodes) gone(t *testing.T, row string) {
	t.Helper()
	gatewaytest.Await(t, "the row is gone", func() bool { return x.redis.Do("EXISTS", row) == int64(0) })
}

// usedAt is where a row has the time of its last use, in sixteen digits, as it has its end and its beginning behind it.
const usedAt, usedDigits = 2, 16

// used is when a row was last used.
func (x *nodes) used(t *testing.T, row string) time.Time {
	t.Helper()
	micros, err := strconv.ParseInt(x.redis.Do("GETRANGE", row, usedAt, usedAt+usedDigits-1).(string), 10, 64)
	if err != nil {
		t.Fatalf("the last use in a row: %v", err)
	}
	return time.UnixMicro(micros)
}

// backdate makes the last use of a row so much older. A node that has the session in its memory does not look.
func (x *nodes) backdate(t *testing.T, row string, by time.Duration) {
	t.Helper()
	x.redis.Do("SETRANGE", row, usedAt, fmt.Sprintf("%0*d", usedDigits, x.used(t, row).Add(-by).UnixMicro()))
}

// logout posts a logout token as the issuer does: without cookies.
func (w way) logout(t *testing.T, token string) *gatewaytest.Answer {
	t.Helper()
	w.cookie = ""
	w.Secret(token, "logout token")
	return w.ask(t, request{Method: "POST", Target: gatewaytest.LogoutPath, Lines: fieldsOf("Content-Type", "application/x-www-form-urlencoded"),
		Body: url.Values{"logout_token": {token}}.Encode()})
}

// arrivals counts the browsers of newAlice.
var arrivals atomic.Int64

// newAlice is Alice in a browser of her own: what ends in another one does not concern it.
func newAlice() map[string]any {
	person := maps.Clone(alice)
	person["sid"] = fmt.Sprintf("sid-alice-%d", arrivals.Add(1))
	return person
}

// claiming changes claims of a logout token; nil removes one.
func claiming(change map[string]any) func(header, claims map[string]any) {
	return func(_, claims map[string]any) {
		for name, value := range change {
			if claims[name] = value; value == nil {
				delete(claims, name)
			}
		}
	}
}
