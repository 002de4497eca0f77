package gateway_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"runtime"
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

// heldStore is a store that several gateways share, whose log one of them can lose.
type heldStore struct {
	watchedStore
	gets  atomic.Int64
	reads atomic.Int64 // of the log
	blind atomic.Bool  // the log says nothing
	lost  atomic.Bool  // the log is another one, the next time it is read

	said struct {
		sync.Mutex
		rs []session.Revocation
	}
}

func (*heldStore) Close() error { return nil }

func (s *heldStore) Get(ctx context.Context, key string) (session.Row, bool, error) {
	s.gets.Add(1)
	return s.watchedStore.Get(ctx, key)
}

func (s *heldStore) Publish(ctx context.Context, rs ...session.Revocation) error {
	s.said.Lock()
	s.said.rs = append(s.said.rs, rs...)
	s.said.Unlock()
	return s.watchedStore.Publish(ctx, rs...)
}

func (s *heldStore) Published(ctx context.Context, after string) ([]session.Revocation, string, bool, error) {
	defer s.reads.Add(1)
	switch {
	case s.fails.Load():
		return nil, "", false, errDisk
	case after != "" && s.lost.CompareAndSwap(true, false):
		_, next, _, err := s.Store.Published(ctx, "")
		return nil, next, false, err
	case after != "" && s.blind.Load():
		return nil, after, true, nil
	}
	return s.Store.Published(ctx, after)
}

// pair is two gateways over one store, in front of one application.
type pair struct {
	app    *app
	clock  *gatewaytest.Clock
	near   *gatewaytest.Rig // where people sign in and out
	far    *gatewaytest.Rig // where their connections are open
	stores [2]*heldStore    // of near and far
}

// newPair makes one; sessions is more of `session: {…}`.
func newPair(t *testing.T, sessions string) *pair {
	t.Helper()
	p := &pair{app: newApp(t), clock: gatewaytest.NewClock()}
	store := memstore.New(memstore.Config{Now: p.clock.Now})
	t.Cleanup(func() { store.Close() })
	issuer := gatewaytest.NewIssuer(t)
	for i, rig := range []**gatewaytest.Rig{&p.near, &p.far} {
		p.stores[i] = &heldStore{watchedStore: watchedStore{Store: store}}
		*rig = gatewaytest.New(t, &gatewaytest.Options{
			Routes: p.app.routes, Clock: p.clock, Issuer: issuer, Gateway: gateway.Options{Store: p.stores[i]},
			Session: "store: memory, secret: the-one-secret-of-both-of-the-gateways" + sessions,
		})
	}
	return p
}

// signIn signs the issuer's person in at the near gateway, and shows them to the far one.
func (p *pair) signIn(t *testing.T) (near, far *gatewaytest.Browser) {
	t.Helper()
	near = p.near.SignedIn(t, "/")
	return near, at(t, near, p.near, p.far)
}

// opened is what somebody has open at a gateway.
type opened struct {
	pair   *pair
	socket *socket
	events *http.Response
	upload chan error
	poll   chan *http.Response // for a script
	page   chan *http.Response // for a person
}

var script = map[string]string{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "same-origin", "Accept": "application/json"}

// open opens one of everything.
func (p *pair) open(t *testing.T, rig *gatewaytest.Rig, b *gatewaytest.Browser) *opened {
	t.Helper()
	o := &opened{pair: p, upload: make(chan error, 1), poll: make(chan *http.Response, 1), page: make(chan *http.Response, 1)}
	o.socket = dialSocket(t, rig, b, "/ws", nil)
	o.events = b.Open(b.Request(http.MethodGet, rig.URL+"/events", nil, script))
	t.Cleanup(func() { o.events.Body.Close() })
	p.app.event <- "one"
	if got := readEvent(t, o.events.Body); got != "one" {
		t.Errorf("event: got %q", got)
	}
	send := func(to chan *http.Response, path string, header map[string]string) {
		go func() {
			resp, err := b.Send(b.Request(http.MethodGet, rig.URL+path, nil, header))
			if err != nil {
				t.Errorf("%s: %v", path, err)
			}
			to <- resp
		}()
		waitFor(t, path, p.app.begun)
	}
	send(o.poll, "/wait/script", script)
	send(o.page, "/wait/page?q=1", nil)
	body, sending := io.Pipe()
	t.Cleanup(func() { sending.Close() })
	hits := p.app.hits.Load()
	go func() {
		header := map[string]string{"Origin": rig.URL}
		for name, value := range script {
			header[name] = value
		}
		resp, err := b.Send(b.Request(http.MethodPost, rig.URL+"/upload", body, header))
		if err == nil {
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("the upload: got %s, want 401", resp.Status)
			}
			err = errors.New(resp.Status)
			resp.Body.Close()
		}
		o.upload <- err
	}()
	if _, err := sending.Write([]byte("first")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the upload has arrived", func() bool { return p.app.hits.Load() > hits })
	o.stays(t)
	return o
}

// stays fails the test unless everything works on.
func (o *opened) stays(t *testing.T) {
	t.Helper()
	o.socket.send("hello")
	if got := o.socket.receive(); got != "hello" {
		t.Errorf("echo: got %q", got)
	}
	select {
	case o.pair.app.event <- "still here":
		if got := readEvent(t, o.events.Body); got != "still here" {
			t.Errorf("event: got %q", got)
		}
	case <-time.After(10 * time.Second):
		t.Error("nobody listens to the events any more")
	}
	select {
	case <-o.upload:
		t.Error("the upload has ended")
	case <-o.poll:
		t.Error("the long poll has ended")
	case <-o.page:
		t.Error("the page has come")
	default:
	}
}

// ends fails the test unless everything ends as it should, within two seconds of began.
func (o *opened) ends(t *testing.T, began time.Time) {
	t.Helper()
	if got := o.socket.closed(); got != 1008 {
		t.Errorf("the WebSocket was closed with %d, want 1008", got)
	}
	if rest, err := io.ReadAll(o.events.Body); err != nil || len(rest) > 0 {
		t.Errorf("the event stream: got %q and %v, want its end", rest, err)
	}
	if got := <-o.poll; got != nil {
		body, _ := io.ReadAll(got.Body)
		got.Body.Close()
		if got.StatusCode != http.StatusUnauthorized || !strings.Contains(got.Header.Get("Content-Type"), "json") || got.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("the long poll: got %s %s, want 401 as JSON", got.Status, body)
		}
	}
	if got := <-o.page; got != nil {
		got.Body.Close()
		if got.StatusCode != http.StatusFound || !strings.Contains(got.Header.Get("Location"), "/oidc/auth") {
			t.Errorf("the page: got %s, want a sign-in", got.Status)
		}
	}
	<-o.upload
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %s, want two seconds at most", took)
	}
	gone := map[string]int{}
	for range 5 {
		gone[waitFor(t, "the application to notice", o.pair.app.gone)]++
	}
	if len(gone) != 5 {
		t.Errorf("the application noticed the end of %v, want one of each", gone)
	}
}

// revoke ends sessions over the admin listener.
func revoke(t *testing.T, rig *gatewaytest.Rig, form url.Values) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+rig.Gateway.AdminAddr().String()+"/api/sessions/revoke", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+gatewaytest.AdminToken)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if got := gatewaytest.NewBrowser(t, nil).Do(req); got.StatusCode != http.StatusOK {
		t.Fatalf("revoking %v: got %s\n%s", form, got.Status, got.Text)
	}
}

// WS-06, SE-09, SE-10, on another replica: whatever ends a session ends what is open for it, of every kind, within two
// seconds, and nothing of anybody else.
func TestEndOnAnotherReplica(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, p *pair, near *gatewaytest.Browser){
		"sign-out": func(t *testing.T, p *pair, near *gatewaytest.Browser) {
			if got := near.Post(p.near.URL+"/sign-out", nil); got.StatusCode != http.StatusSeeOther {
				t.Errorf("signing out: got %s, want 303", got.Status)
			}
		},
		"a logout by sid": func(t *testing.T, p *pair, _ *gatewaytest.Browser) {
			wantLogout(t, "logout", p.near.Logout(t, p.near.Issuer.LogoutToken(edited(map[string]any{"sub": nil, "sid": "home"}))), 200)
		},
		"a logout by subject": func(t *testing.T, p *pair, _ *gatewaytest.Browser) {
			wantLogout(t, "logout", p.near.Logout(t, p.near.Issuer.LogoutToken(edited(map[string]any{"sub": "alice", "sid": nil}))), 200)
		},
		"a revocation of the person": func(t *testing.T, p *pair, _ *gatewaytest.Browser) {
			revoke(t, p.near, url.Values{"subject": {"alice"}})
		},
		"a revocation of the address": func(t *testing.T, p *pair, _ *gatewaytest.Browser) {
			revoke(t, p.near, url.Values{"email": {"alice@example.com"}})
		},
		"a session that replaces it": func(t *testing.T, p *pair, near *gatewaytest.Browser) {
			as(p.near, "alice", "home")
			if got := near.Visit(p.near.URL + "/_portero/sign-in?return_to=/&fresh=1"); got.StatusCode != http.StatusOK {
				t.Errorf("signing in again: got %s", got.Status)
			}
		},
		"idling":           func(_ *testing.T, p *pair, _ *gatewaytest.Browser) { p.clock.Add(10 * time.Minute) },
		"the absolute end": func(_ *testing.T, p *pair, _ *gatewaytest.Browser) { p.clock.Add(time.Hour) },
		"the absolute end, while the store is away": func(_ *testing.T, p *pair, _ *gatewaytest.Browser) {
			for _, s := range p.stores {
				s.fails.Store(true)
			}
			p.clock.Add(time.Hour)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, ", idle_timeout: 10m, lifetime: 1h")
			as(p.near, "alice", "home")
			near, far := p.signIn(t)
			o := p.open(t, p.far, far)
			as(p.near, "bob", "bobs")
			var other *socket
			if !strings.HasPrefix(name, "the absolute end") && name != "idling" { // those come for all
				_, bob := p.signIn(t)
				other = dialSocket(t, p.far, bob, "/ws", nil)
			}
			marks := p.stores[1].marks.Load()
			began := time.Now()
			end(t, p, near)
			o.ends(t, began)
			if other != nil {
				other.send("still here")
				if got := other.receive(); got != "still here" {
					t.Errorf("somebody else: got %q", got)
				}
			}
			if name == "idling" && p.stores[1].marks.Load() == marks {
				t.Error("it was not noted that the session ended by idling: the next sign-in needs no code")
			}
		})
	}
}

// What is used on one replica stays open on the other, until it idles there too.
func TestUseElsewhereKeepsOpen(t *testing.T) {
	t.Parallel()
	p := newPair(t, ", idle_timeout: 10m, lifetime: 1h")
	near, far := p.signIn(t)
	o := p.open(t, p.far, far)
	for _, minutes := range [][2]time.Duration{{6, 4}, {5, 1}, {8, 1}} { // until the next use, and then until it would have idled
		p.clock.Add(minutes[0] * time.Minute)
		if got := near.Get(p.near.URL + "/"); got.StatusCode != http.StatusOK {
			t.Fatalf("a request elsewhere: got %s, want 200", got.Status)
		}
		asked := p.stores[1].gets.Load()
		p.clock.Add(minutes[1] * time.Minute)
		eventually(t, "the store is asked", func() bool { return p.stores[1].gets.Load() > asked })
		o.stays(t)
	}
	began := time.Now()
	p.clock.Add(9 * time.Minute)
	o.ends(t, began)
}

// A store that is away takes nothing away: it is asked again.
func TestIdlingWhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	p := newPair(t, ", idle_timeout: 10m, lifetime: 1h")
	_, far := p.signIn(t)
	o := p.open(t, p.far, far)
	p.stores[1].fails.Store(true)
	asked := p.stores[1].gets.Load()
	p.clock.Add(10 * time.Minute)
	eventually(t, "the store is asked, and again", func() bool { return p.stores[1].gets.Load() > asked+1 })
	o.stays(t)
	began := time.Now()
	p.stores[1].fails.Store(false)
	o.ends(t, began)
}

// Endings that were lost with the log count all the same, and what has not ended stays.
func TestEndingsThatWereLost(t *testing.T) {
	t.Parallel()
	p := newPair(t, "")
	as(p.near, "alice", "home")
	near, far := p.signIn(t)
	o := p.open(t, p.far, far)
	as(p.near, "bob", "bobs")
	_, bob := p.signIn(t)
	other := dialSocket(t, p.far, bob, "/ws", nil)

	p.stores[1].blind.Store(true)
	near.Post(p.near.URL+"/sign-out", nil)
	reads := p.stores[1].reads.Load()
	eventually(t, "the log is read", func() bool { return p.stores[1].reads.Load() > reads+1 })
	o.stays(t) // nobody has said anything

	began := time.Now()
	p.stores[1].lost.Store(true)
	o.ends(t, began)
	other.send("still here")
	if got := other.receive(); got != "still here" {
		t.Errorf("somebody else: got %q", got)
	}
}

// A revocation that is said again, as after a failover, spares the session of somebody who has signed in since.
func TestARepeatedRevocationSparesTheNewSession(t *testing.T) {
	t.Parallel()
	p := newPair(t, "")
	as(p.near, "alice", "home")
	_, far := p.signIn(t)
	o := p.open(t, p.far, far)
	began := time.Now()
	wantLogout(t, "logout", p.near.Logout(t, p.near.Issuer.LogoutToken(edited(map[string]any{"sub": "alice", "sid": nil}))), 200)
	wantLogout(t, "logout", p.near.Logout(t, p.near.Issuer.LogoutToken(edited(map[string]any{"sub": nil, "sid": "home"}))), 200)
	o.ends(t, began)

	p.clock.Add(time.Second)
	near, again := p.signIn(t) // the same person, the same session at the provider
	o = p.open(t, p.far, again)
	said := &p.stores[0].said
	said.Lock()
	rs := said.rs
	said.Unlock()
	if len(rs) < 2 {
		t.Fatalf("%d revocations were published, want two at least", len(rs))
	}
	if err := p.stores[0].Store.Publish(t.Context(), rs...); err != nil {
		t.Fatal(err)
	}
	reads := p.stores[1].reads.Load()
	eventually(t, "they are read", func() bool { return p.stores[1].reads.Load() > reads+1 })
	o.stays(t)
	began = time.Now()
	near.Post(p.near.URL+"/sign-out", nil)
	o.ends(t, began)
}

// A reload that shortens idling counts for what is open already.
func TestReloadThatShortensIdling(t *testing.T) {
	t.Parallel()
	p := newPair(t, ", idle_timeout: 10m, lifetime: 1h")
	_, far := p.signIn(t)
	o := p.open(t, p.far, far)
	p.clock.Add(5 * time.Minute)
	o.stays(t)
	began := time.Now()
	reload(t, p.far, &gatewaytest.Options{Routes: p.app.routes, Session: "store: memory, secret: the-one-secret-of-both-of-the-gateways, idle_timeout: 5m, lifetime: 1h"})
	o.ends(t, began)
}

// Nothing is left of what was open: no goroutine, no descriptor.
func TestNothingIsLeftOfWhatWasOpen(t *testing.T) { // alone: it counts what the process has
	p := newPair(t, "")
	near, far := p.signIn(t)
	go func() { // the application waits until somebody hears of it
		for {
			select {
			case <-p.app.gone:
			case <-p.app.done:
				return
			}
		}
	}()
	warm := dialSocket(t, p.far, far, "/ws", nil)
	warm.c.CloseNow()
	near.Get(p.near.URL + "/")
	descriptors := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("this system does not list descriptors")
		}
		return len(all)
	}
	eventually(t, "nothing is open", func() bool { return metric(t, p.far, "portero_live_connections") == "0" })
	goroutines, files := runtime.NumGoroutine(), descriptors()
	const each = 50
	var sockets []*socket
	var streams []*http.Response
	for range each {
		sockets = append(sockets, dialSocket(t, p.far, far, "/ws", nil))
		streams = append(streams, far.Open(far.Request(http.MethodGet, p.far.URL+"/events", nil, script)))
	}
	if now := runtime.NumGoroutine(); now < goroutines+2*each {
		t.Errorf("%d goroutines serve %d connections, and %d none", now, 2*each, goroutines)
	}
	began := time.Now()
	near.Post(p.near.URL+"/sign-out", nil)
	for _, s := range sockets {
		if got := s.closed(); got != 1008 {
			t.Errorf("a WebSocket was closed with %d, want 1008", got)
		}
	}
	for _, s := range streams {
		if _, err := io.ReadAll(s.Body); err != nil {
			t.Errorf("an event stream broke off: %v", err)
		}
		s.Body.Close()
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %s, want two seconds at most", took)
	}
	// Connections that are kept for later requests are few, and they are not of those.
	const kept = 10
	eventually(t, "goroutines and descriptors are what they were", func() bool {
		return runtime.NumGoroutine() <= goroutines+kept && descriptors() <= files+kept
	})
}
