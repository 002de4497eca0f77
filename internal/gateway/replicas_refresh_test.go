package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/gateway"
	"portero/internal/gatewaytest"
	"portero/internal/session"
	"portero/internal/session/memstore"
)

// trio is three gateways over one store, in front of one issuer that rotates refresh tokens.
type trio struct {
	t      *testing.T
	clock  *gatewaytest.Clock
	issuer *gatewaytest.Issuer
	grants *gatewaytest.Grants
	rigs   [3]*gatewaytest.Rig
	stores [3]*sharedStore
}

func newTrio(t *testing.T) *trio {
	t.Helper()
	x := &trio{t: t, clock: gatewaytest.NewClock(), issuer: gatewaytest.NewIssuer(t)}
	x.issuer.Do(func(i *gatewaytest.Issuer) { i.AccessLife = quick })
	x.grants = gatewaytest.NewGrants(x.issuer)
	store := memstore.New(memstore.Config{Now: x.clock.Now})
	t.Cleanup(func() { store.Close() })
	for i := range x.rigs {
		x.stores[i] = &sharedStore{Store: store}
		x.rigs[i] = gatewaytest.New(t, &gatewaytest.Options{
			Clock: x.clock, Issuer: x.issuer, Gateway: gateway.Options{Store: x.stores[i]}, Shutdown: "timeout: 200ms",
			Session: "store: memory, refresh_grace: 30m, secret: one-secret-of-all-three-gateways",
		})
	}
	return x
}

// person is somebody who is signed in everywhere.
type person struct {
	token string
	at    [3]*gatewaytest.Browser
}

// signIn signs somebody in on the first gateway, and shows them to the others.
func (x *trio) signIn() *person {
	x.t.Helper()
	b := x.rigs[0].SignedIn(x.t, "/")
	p := &person{token: b.Cookies("localhost")[x.rigs[0].Cookie()]}
	p.at[0] = b
	for i := range x.rigs[1:] {
		p.at[i+1] = x.rigs[i+1].Browser(x.t)
		p.at[i+1].SetCookie("localhost", x.rigs[i+1].Cookie(), p.token)
		x.want(p, i+1, http.StatusOK)
	}
	return p
}

// get asks the gateway for a page.
func (x *trio) get(p *person, i int) *gatewaytest.Response {
	return p.at[i].Get(x.rigs[i].URL + "/")
}

func (x *trio) want(p *person, i, status int) {
	x.t.Helper()
	if got := x.get(p, i); got.StatusCode != status {
		x.t.Errorf("gateway %d: got %s, want %d", i, got.Status, status)
	}
}

// groups are what the application behind the gateway was told last.
func (x *trio) groups(i int) string {
	return strings.Join(gatewaytest.Header(x.rigs[i].Upstream.Last(), "X-Forwarded-Groups"), " ")
}

// refreshes adds up what the gateways that run say of refreshes with that outcome.
func (x *trio) refreshes(outcome string, of ...int) int {
	x.t.Helper()
	if of == nil {
		of = []int{0, 1, 2}
	}
	sum := 0
	for _, i := range of {
		n, _ := strconv.Atoi(refreshes(x.t, x.rigs[i], outcome))
		sum += n
	}
	return sum
}

// presented checks how many refreshes there were, that no token came twice, and that the grant lives.
func (x *trio) presented(want int) {
	x.t.Helper()
	all := x.grants.Presented()
	if len(all) != want {
		x.t.Errorf("refreshes: got %d, want %d", len(all), want)
	}
	once := slices.Clone(all)
	slices.Sort(once)
	if len(slices.Compact(once)) != len(all) {
		x.t.Error("a refresh token was presented twice")
	}
	if x.grants.Killed() {
		x.t.Error("the grant is dead")
	}
}

// hold has refreshes wait at the issuer, after they were worked off. arrived is told of each.
func (x *trio) hold() (arrived chan string, release func()) {
	arrived, held := make(chan string, 100), make(chan struct{})
	x.grants.Deliver = func(token string) bool {
		arrived <- token
		<-held
		return true
	}
	release = sync.OnceFunc(func() { close(held) })
	x.t.Cleanup(release)
	return arrived, release
}

// sharedStore is one gateway's way to the store.
type sharedStore struct {
	session.Store
	down, noLease, noUpdate atomic.Bool
	leases, asked           atomic.Int64 // asked: about sessions
}

var errStore = errors.New("the store cannot be asked")

func (s *sharedStore) ask(fails ...*atomic.Bool) error {
	for _, f := range append(fails, &s.down) {
		if f.Load() {
			return errStore
		}
	}
	return nil
}

func (s *sharedStore) Close() error { return nil } // the others go on

func (s *sharedStore) Get(ctx context.Context, key string) (session.Row, bool, error) {
	s.asked.Add(1)
	if err := s.ask(); err != nil {
		return session.Row{}, false, err
	}
	return s.Store.Get(ctx, key)
}

func (s *sharedStore) Marked(ctx context.Context, ms ...session.Marker) ([]time.Time, error) {
	if err := s.ask(); err != nil {
		return nil, err
	}
	return s.Store.Marked(ctx, ms...)
}

func (s *sharedStore) Update(ctx context.Context, row session.Row, was uint64) (bool, error) {
	if err := s.ask(&s.noUpdate); err != nil {
		return false, err
	}
	return s.Store.Update(ctx, row, was)
}

func (s *sharedStore) Touch(ctx context.Context, key string, at time.Time) (bool, error) {
	if err := s.ask(); err != nil {
		return false, err
	}
	return s.Store.Touch(ctx, key, at)
}

func (s *sharedStore) Lease(ctx context.Context, name, holder string, keep time.Duration) (bool, error) {
	s.leases.Add(1)
	if err := s.ask(&s.noLease); err != nil {
		return false, err
	}
	return s.Store.Lease(ctx, name, holder, keep)
}

func (s *sharedStore) Release(ctx context.Context, name, holder string) (bool, error) {
	if err := s.ask(); err != nil {
		return false, err
	}
	return s.Store.Release(ctx, name, holder)
}

func (s *sharedStore) Published(ctx context.Context, after string) ([]session.Revocation, string, bool, error) {
	if err := s.ask(); err != nil {
		return nil, "", false, err
	}
	return s.Store.Published(ctx, after)
}

// RT-02: 100 requests at expiry over three gateways are one token call, and those that had to wait have what it
// brought.
func TestReplicasRefreshOnce(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]time.Duration{"in the last fifth": late, "after its end": quick + time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTrio(t)
			p := x.signIn()
			for round := 1; round <= 3; round++ {
				role := fmt.Sprintf("role-%d", round)
				asRole(x.rigs[0], role)
				x.clock.Add(after)
				for _, rig := range x.rigs {
					rig.Upstream.Forget()
				}
				var wait sync.WaitGroup
				for n := range 100 {
					wait.Go(func() { x.want(p, n%3, http.StatusOK) })
				}
				wait.Wait()
				eventually(t, "the refresh has succeeded", func() bool { return x.refreshes("succeeded") == round })
				for i, rig := range x.rigs {
					for _, head := range rig.Upstream.Requests() {
						if got := gatewaytest.Header(head, "X-Forwarded-Groups"); after > quick && (len(got) != 1 || got[0] != role) {
							t.Errorf("round %d, gateway %d: the application was told %q, want %s", round, i, got, role)
						}
					}
					eventually(t, "every gateway has the new claims", func() bool { x.want(p, i, http.StatusOK); return x.groups(i) == role })
				}
				x.presented(round)
			}
		})
	}
}

// While another gateway refreshes, requests in the last fifth go on with what they have, and ask the store next to
// nothing; those after the end wait, and have the new claims.
func TestReplicasLosers(t *testing.T) {
	t.Parallel()
	x := newTrio(t)
	p := x.signIn()
	arrived, release := x.hold()
	asRole(x.rigs[0], "admin")
	const soon = 10 * time.Second // less than a lease
	x.clock.Add(quick - soon)
	x.want(p, 0, http.StatusOK)
	<-arrived

	eventually(t, "the other gateway serves from memory, and has found the lease taken", func() bool {
		asked := x.stores[1].asked.Load()
		x.want(p, 1, http.StatusOK)
		return asked == x.stores[1].asked.Load() && x.stores[1].leases.Load() > 0
	})
	began, asked, leases := time.Now(), x.stores[1].asked.Load(), x.stores[1].leases.Load()
	for range 200 {
		x.want(p, 1, http.StatusOK)
	}
	seconds := int64(time.Since(began)/time.Second) + 1
	if got := x.stores[1].leases.Load() - leases; got > seconds {
		t.Errorf("leases tried during 200 requests in %d s: got %d, want one a second at most", seconds, got)
	}
	if got := x.stores[1].asked.Load() - asked; got > 4*seconds {
		t.Errorf("sessions read during 200 requests in %d s: got %d, want a few", seconds, got)
	}
	if x.groups(1) != "" {
		t.Errorf("the application was told %q before there was an answer", x.groups(1))
	}

	x.clock.Add(soon)
	tried := x.stores[2].leases.Load()
	var wait sync.WaitGroup
	for n := range 20 {
		wait.Go(func() { x.want(p, 1+n%2, http.StatusOK) })
	}
	eventually(t, "they wait", func() bool { return x.stores[2].leases.Load() > tried+1 })
	tried, began = x.stores[2].leases.Load(), time.Now()
	eventually(t, "half a second has passed", func() bool { return time.Since(began) > 500*time.Millisecond })
	if got := x.stores[2].leases.Load() - tried; got > 12 {
		t.Errorf("leases tried in half a second of waiting: got %d, want a few", got)
	}
	if x.groups(1) != "" || x.groups(2) != "" {
		t.Error("a request went on with an access token that had run out")
	}
	release()
	wait.Wait()
	for i := 1; i < 3; i++ {
		if x.groups(i) != "admin" {
			t.Errorf("gateway %d: the application was told %q, want the new role", i, x.groups(i))
		}
	}
	x.presented(1)
}

// A gateway that ends inside the call, and what the others do.
func TestReplicaEndsInsideTheCall(t *testing.T) {
	t.Parallel()
	const leaseLife, soon = 30 * time.Second, 10 * time.Second
	start := func(t *testing.T, keep bool) *trio {
		x := newTrio(t)
		x.grants.Keep = keep
		return x
	}
	begin := func(x *trio) *person {
		p := x.signIn()
		arrived, _ := x.hold()
		x.clock.Add(quick - soon)
		x.want(p, 0, http.StatusOK)
		<-arrived
		x.grants.Deliver = nil // of those to come
		return p
	}
	// Shut down: the call is broken off, which counts as no answer, and the record says when another one may ask. That
	// is soon enough for a token that was rotated.
	t.Run("shut down", func(t *testing.T) {
		t.Parallel()
		x := start(t, false)
		p := begin(x)
		asRole(x.rigs[0], "admin")
		x.rigs[0].Stop(t)
		x.want(p, 1, http.StatusOK)
		x.want(p, 2, http.StatusOK)
		if got := len(x.grants.Presented()); got != 1 {
			t.Errorf("refreshes at once: got %d, want only the one that was broken off", got)
		}
		x.clock.Add(2500 * time.Millisecond)
		x.want(p, 1, http.StatusOK)
		eventually(t, "another gateway has refreshed", func() bool { return x.refreshes("succeeded", 1, 2) == 1 })
		x.want(p, 2, http.StatusOK)
		if got := x.grants.Presented(); len(got) != 2 || got[0] != got[1] || x.grants.Killed() {
			t.Errorf("refreshes: got %d, the grant is dead %t; want the same token again, in time", len(got), x.grants.Killed())
		}
	})
	// Killed: nothing is written any more. Its lease keeps the others from asking until it is over.
	for name, keep := range map[string]bool{"killed": true, "RT-08 crash between refresh and save": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := start(t, keep)
			p := begin(x)
			asRole(x.rigs[0], "admin")
			x.stores[0].down.Store(true)
			x.rigs[0].Stop(t)
			x.clock.Add(soon)
			if keep { // once is enough of waiting
				began := time.Now()
				x.want(p, 1, http.StatusOK)
				if took := time.Since(began); took < 4*time.Second || took > 8*time.Second {
					t.Errorf("a request that finds the lease of a dead process: took %s, want the five seconds that one waits", took)
				}
				if got := len(x.grants.Presented()); got != 1 || x.groups(1) != "" {
					t.Errorf("refreshes during the lease: got %d, the application was told %q; want nothing new", got, x.groups(1))
				}
			}
			x.clock.Add(leaseLife)
			if keep {
				x.want(p, 1, http.StatusOK)
				if x.groups(1) != "admin" || x.refreshes("succeeded", 1) != 1 {
					t.Errorf("after the lease: the application was told %q, want what another gateway brought", x.groups(1))
				}
				return
			}
			// Logto had rotated the token, and nobody knows the new one.
			got := x.get(p, 1)
			if got.StatusCode != http.StatusFound || len(x.grants.Presented()) != 2 {
				t.Fatalf("after the lease: got %s and %d refreshes, want a sign-in after the second", got.Status, len(x.grants.Presented()))
			}
			x.issuer.Do(func(i *gatewaytest.Issuer) { i.Answer = nil })
			if got := p.at[1].Follow(got); got.StatusCode != http.StatusOK {
				t.Errorf("signing in again: got %s, want 200", got.Status)
			}
			if got := x.rigs[1].Sessions(t); got != 1 {
				t.Errorf("sessions: got %d, want the new one", got)
			}
		})
	}
}

// Sessions of one browser share the grant: signing in on host A, on B, and on A again takes nothing from any of them.
func TestRefreshesOfOneBrowser(t *testing.T) {
	t.Parallel()
	x := newTrio(t)
	b := x.rigs[0].SignedIn(t, "/")
	if got := b.Visit(x.rigs[0].Second + "/"); got.StatusCode != http.StatusOK {
		t.Fatalf("signing in on the second host: got %s", got.Status)
	}
	before := b.Cookies("localhost")[x.rigs[0].Cookie()]
	if got := b.Visit(x.rigs[0].URL + "/sign-in?fresh=1&return_to=/"); got.StatusCode != http.StatusOK {
		t.Fatalf("signing in again on the first: got %s", got.Status)
	}
	if before == b.Cookies("localhost")[x.rigs[0].Cookie()] {
		t.Fatal("signing in again made no new session")
	}
	for n := range 6 {
		x.clock.Add(quick)
		i := n % 3
		there := x.rigs[i].Browser(t)
		for host, base := range map[string]string{"localhost": x.rigs[i].URL, "127.0.0.1": x.rigs[i].Second} {
			there.SetCookie(host, x.rigs[i].Cookie(), b.Cookies(host)[x.rigs[0].Cookie()])
			if got := there.Get(base + "/"); got.StatusCode != http.StatusOK {
				t.Errorf("round %d on %s: got %s, want 200", n, host, got.Status)
			}
		}
	}
	x.presented(12)
	if got := x.issuer.Revoked(); len(got) != 0 {
		t.Errorf("revoked: got %d tokens, want none", len(got))
	}
}

// Without a lease nothing is sent. Requests that need no refresh go on, and ask for a lease once a second.
func TestNoLeaseNoRefresh(t *testing.T) {
	t.Parallel()
	x := newTrio(t)
	p := x.signIn()
	for _, s := range x.stores {
		s.noLease.Store(true)
	}
	x.clock.Add(late)
	began := time.Now()
	for range 50 {
		x.want(p, 0, http.StatusOK)
	}
	if got, most := x.stores[0].leases.Load(), int64(time.Since(began)/time.Second)+2; got > most {
		t.Errorf("leases tried by 50 requests: got %d, want %d at most", got, most)
	}
	x.clock.Add(quick - late)
	for i := range x.rigs {
		x.want(p, i, http.StatusServiceUnavailable)
	}
	x.presented(0)
	for _, s := range x.stores {
		s.noLease.Store(false)
	}
	for i := range x.rigs {
		x.want(p, i, http.StatusOK)
	}
	x.presented(1)
}

// Tokens that came while the store could not be written to are stored once it can, by the process that has them: the
// one before is worth nothing any more.
func TestTokensOutliveTheStoresTrouble(t *testing.T) {
	t.Parallel()
	x := newTrio(t)
	p := x.signIn()
	asRole(x.rigs[0], "admin")
	x.stores[0].noUpdate.Store(true)
	x.clock.Add(quick)
	x.want(p, 0, http.StatusServiceUnavailable)
	done := make(chan struct{})
	go func() { // finds the lease taken, and waits
		defer close(done)
		x.want(p, 1, http.StatusOK)
	}()
	eventually(t, "another gateway waits", func() bool { return x.stores[1].leases.Load() > 1 })
	x.stores[0].noUpdate.Store(false)
	<-done
	for i := range x.rigs {
		x.want(p, i, http.StatusOK)
		if got := x.groups(i); got != "admin" {
			t.Errorf("gateway %d: the application was told %q, want the new role", i, got)
		}
	}
	x.presented(1)
}

// When Logto comes back after a while, the sessions that wait for it do not come all at once.
func TestNoStampede(t *testing.T) {
	t.Parallel()
	x := newTrio(t)
	const people, step = 30, 5 * time.Second
	var all []*person
	for range people {
		all = append(all, x.signIn())
	}
	x.issuer.Do(func(i *gatewaytest.Issuer) {
		i.Answer = func(_ http.ResponseWriter, r *http.Request) bool { return r.URL.Path == "/oidc/token" && cut(nil, nil) }
	})
	random := rand.New(rand.NewPCG(1, 2))
	x.clock.Add(quick)
	for range 5 * time.Minute / step {
		for _, p := range all {
			x.want(p, random.IntN(3), http.StatusOK)
		}
		x.clock.Add(step)
	}
	var most, before int
	x.issuer.Do(func(i *gatewaytest.Issuer) { i.Answer = x.grants.Answer })
	for range time.Minute/step + 1 {
		for _, p := range all {
			x.want(p, random.IntN(3), http.StatusOK)
		}
		calls := len(x.grants.Presented())
		most, before = max(most, calls-before), calls
		x.clock.Add(step)
	}
	if before != people {
		t.Errorf("refreshes within a minute: got %d, want one of each of %d sessions", before, people)
	}
	if most > people*2/3 {
		t.Errorf("at once: got %d of %d", most, people)
	}
	t.Logf("at most %d of %d sessions at once", most, people)
}
