package gateway_test

import (
	"net/http"
	"testing"
	"time"

	"portero/internal/gatewaytest"
	"portero/internal/redistest"
)

// Several gateways on one Redis are one site. SO-02's other replica: what a sign-out ended is over there within a second.
func TestReplicasShareSessions(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := newSite(t)
	a, b := s.Start(inRedis(server.URL(), nil)), s.Start(inRedis(server.URL(), nil))

	// Begun on one, finished on the other.
	person := a.Browser()
	back := person.Get(person.Get(s.URL + "/wanted").Location()).Location()
	person = b.Take(person)
	if got := person.Follow(person.Get(back)); got.StatusCode != http.StatusOK || got.Request.URL.Path != "/wanted" {
		t.Fatalf("finishing a sign-in on another replica: got %s at %s, want 200 at /wanted", got.Status, got.Request.URL)
	}
	// At once on the first.
	atA, atB := a.Take(person), b.Take(person)
	if got := atA.Get(s.URL + "/"); got.StatusCode != http.StatusOK {
		t.Errorf("the other replica: got %s, want 200", got.Status)
	}
	// The answer with the code, once more on the other replica: it is spent, and the person goes on.
	calls := s.Issuer.Calls("/oidc/token")
	if got := atA.Get(back); got.StatusCode != http.StatusSeeOther && got.StatusCode != http.StatusFound || s.Issuer.Calls("/oidc/token") != calls {
		t.Errorf("the same callback on the other replica: got %s and %d more token calls, want a redirect and none", got.Status, s.Issuer.Calls("/oidc/token")-calls)
	}

	// Both know it well. A replica serves from its cache once it has read the revocation log twice.
	for began := time.Now(); time.Since(began) < 1200*time.Millisecond; {
		atA.Get(s.URL + "/")
		atB.Get(s.URL + "/")
	}
	token := atB.Cookies("localhost")[s.Cookie()]
	if got := atA.Post(s.URL+"/sign-out", nil); got.StatusCode != http.StatusSeeOther {
		t.Fatalf("signing out: got %s, want 303", got.Status)
	}
	since := time.Now()
	atA.SetCookie("localhost", s.Cookie(), token)
	if got := atA.Get(s.URL + "/"); got.StatusCode != http.StatusFound {
		t.Errorf("on the replica that answered: got %s, want 302", got.Status)
	}
	var last time.Duration
	every(t, 5*time.Millisecond, "a second has passed", func() bool {
		began := time.Since(since)
		atB.SetCookie("localhost", s.Cookie(), token)
		switch got := atB.Get(s.URL + "/"); {
		case got.StatusCode == http.StatusOK && began >= closesWithin:
			t.Errorf("%s after the sign-out the other replica lets in", began)
		case got.StatusCode == http.StatusOK:
			last = began
		case got.StatusCode != http.StatusFound:
			t.Errorf("got %s, want 200 or 302", got.Status)
		}
		return began > closesWithin+200*time.Millisecond
	})
	t.Logf("the other replica let in for %s", last.Round(time.Millisecond))
}

// Sessions belong to the issuer and the application: another gateway on the same Redis, even with the same secret, does
// not know them.
func TestReplicasOfAnotherSite(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	one, two := newSite(t), newSite(t)
	a, b := one.Start(inRedis(server.URL(), nil)), two.Start(inRedis(server.URL(), nil))
	person := a.Browser()
	if got := person.Visit(one.URL + "/"); got.StatusCode != http.StatusOK {
		t.Fatalf("signing in: got %s", got.Status)
	}
	other := b.Browser()
	other.SetCookie("localhost", two.Cookie(), person.Cookies("localhost")[one.Cookie()])
	if got := other.Get(two.URL + "/"); got.StatusCode != http.StatusFound {
		t.Errorf("at another issuer: got %s, want 302", got.Status)
	}
	if got := person.Get(one.URL + "/"); got.StatusCode != http.StatusOK {
		t.Errorf("at its own afterwards: got %s, want 200", got.Status)
	}
}

// rotation is somebody of each replica, who must never notice.
type rotation struct {
	t       *testing.T
	site    *site
	a, b    *replica
	persons []*gatewaytest.Browser
}

// check uses every session on both replicas, and signs one more person in on each.
func (r *rotation) check(what string) {
	r.t.Helper()
	for _, on := range []*replica{r.a, r.b} {
		for i, person := range r.persons {
			got := on.patiently(func() *gatewaytest.Response { return on.Take(person).Get(r.site.URL + "/") })
			if got.StatusCode != http.StatusOK {
				r.t.Errorf("%s: person %d: got %s, want 200", what, i, got.Status)
			}
		}
		person := on.Browser()
		if got := on.patiently(func() *gatewaytest.Response { return person.Visit(r.site.URL + "/") }); got.StatusCode != http.StatusOK {
			r.t.Errorf("%s: signing in: got %s, want 200", what, got.Status)
		}
		r.persons = append(r.persons, person)
	}
}

// A secret is rotated over two replicas, one after the other, by reloads or by restarts: nobody is signed out. The new
// secret has to be known everywhere before anything is sealed with it.
func TestReplicasRotateTheSecret(t *testing.T) {
	t.Parallel()
	old, mixed, swapped, done := []string{firstSecret}, []string{firstSecret, secondSecret}, []string{secondSecret, firstSecret}, []string{secondSecret}
	for name, change := range map[string]func(r *replica, session string) *replica{
		"by reloads": func(r *replica, session string) *replica {
			r.Reload(session)
			return r
		},
		"by restarts": func(r *replica, session string) *replica {
			r.Stop()
			return r.site.Start(session)
		},
	} {
		for order, aFirst := range map[string]bool{"one first": true, "the other first": false} {
			t.Run(name+", "+order, func(t *testing.T) {
				t.Parallel()
				server := redistest.Start(t)
				// A session is touched, and so resealed where it has to be, when it was not for a twentieth of this.
				session := func(secrets []string) string { return inRedis(server.URL(), secrets) + ", idle_timeout: 20s" }
				s := newSite(t)
				r := &rotation{t: t, site: s, a: s.Start(session(old)), b: s.Start(session(old))}
				r.check("before")
				for _, step := range []struct {
					what    string
					secrets []string
				}{{"the new one opens", mixed}, {"the new one seals", swapped}} {
					// Somebody is on the way to sign in all the while.
					waiting := r.a.Browser()
					back := waiting.Get(waiting.Get(s.URL + "/wanted").Location()).Location()
					for n := range 2 {
						if (n == 0) == aFirst {
							r.a = change(r.a, session(step.secrets))
						} else {
							r.b = change(r.b, session(step.secrets))
						}
						r.check(step.what)
					}
					waiting = r.b.Take(waiting)
					if got := r.b.patiently(func() *gatewaytest.Response { return waiting.Follow(waiting.Get(back)) }); got.StatusCode != http.StatusOK || got.Request.URL.Path != "/wanted" {
						t.Errorf("%s: a sign-in that was begun before: got %s at %s, want 200 at /wanted", step.what, got.Status, got.Request.URL)
					}
				}
				// Everybody has been seen since: their rows are sealed anew, and the old secret is not needed any more.
				r.a, r.b = change(r.a, session(done)), change(r.b, session(done))
				r.check("the old one is gone")
			})
		}
	}
}

// The other way round loses sessions: a replica that has not heard of the secret cannot open what it seals. It treats
// them as absent and leaves them alone, so nothing is lost that the person still has the cookie of.
func TestReplicasWithoutTheSecretLeaveRowsAlone(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := newSite(t)
	a, b := s.Start(inRedis(server.URL(), []string{secondSecret, firstSecret})), s.Start(inRedis(server.URL(), []string{firstSecret}))
	person := a.Browser()
	if got := person.Visit(s.URL + "/"); got.StatusCode != http.StatusOK {
		t.Fatalf("signing in: got %s", got.Status)
	}
	if got := b.Take(person).Get(s.URL + "/"); got.StatusCode != http.StatusFound {
		t.Errorf("the replica without the secret: got %s, want 302", got.Status)
	}
	if got := a.Take(person).Get(s.URL + "/"); got.StatusCode != http.StatusOK {
		t.Errorf("the replica with it, afterwards: got %s, want 200", got.Status)
	}
	b.Reload(inRedis(server.URL(), []string{firstSecret, secondSecret}))
	if got := b.Take(person).Get(s.URL + "/"); got.StatusCode != http.StatusOK {
		t.Errorf("the other one, once it has the secret: got %s, want 200", got.Status)
	}
}

// The address of Redis is start-only, and a reload that changes it changes nothing.
func TestReloadDoesNotMoveSessions(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rig := redisRig(t, server.URL())
	b := rig.SignedIn(t, "/")
	rig.Configure(&gatewaytest.Options{Session: inRedis("redis://127.0.0.1:1/0", []string{secondSecret})})
	if err := rig.Gateway.Reload(); err == nil || err.Error() != "session.redis.url: takes effect only at a start; restart portero, or undo the change" {
		t.Errorf("got %v, want a refusal that names session.redis.url", err)
	}
	if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
		t.Errorf("afterwards: got %s, want 200", got.Status)
	}
}
