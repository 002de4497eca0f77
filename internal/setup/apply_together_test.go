package setup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
	"portero/internal/management"
	"portero/internal/outbound"
	"portero/internal/setup"
)

// Limits and restarts that pass are waited for, at every request.
func TestApplyWaitsForLogto(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]int{"429": http.StatusTooManyRequests, "503": http.StatusServiceUnavailable} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOperator(t, gatewaytest.TenantOptions{}, whole)
			var mu sync.Mutex
			seen, refused := map[string]int{}, 0
			o.tenant.Hook(func(w http.ResponseWriter, r *http.Request) bool {
				mu.Lock()
				defer mu.Unlock()
				call := r.Method + " " + r.URL.Path
				// What a POST asks for may have been done when a 503 comes.
				if seen[call]++; seen[call]%2 == 0 || status == 503 && r.Method == http.MethodPost && r.URL.Path != "/oidc/token" {
					return false
				}
				refused++
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(status)
				return true
			})
			var waits []time.Duration
			var err error
			o.asks, err = setup.NewClientTrying(o.config(), 3, func(_ context.Context, d time.Duration) error {
				mu.Lock()
				defer mu.Unlock()
				waits = append(waits, d)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			o.mustApply(setup.Options{})
			o.tenant.Hook(nil)
			for _, d := range waits {
				if d != 7*time.Second {
					t.Errorf("waited %v, want what Logto says", d)
				}
			}
			if len(waits) != refused || refused < 10 {
				t.Errorf("got %d waits for %d refusals, want as many, and at least ten", len(waits), refused)
			}
			o.wantWhole()
		})
	}
}

// The client of the commands tries again without being told.
func TestClientOfTheCommandsTriesAgain(t *testing.T) {
	t.Parallel()
	o := newOperator(t, gatewaytest.TenantOptions{}, whole)
	var mu sync.Mutex
	count := 0
	o.tenant.Hook(func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path != "/api/sign-in-exp" {
			return false
		}
		if count++; count > 1 {
			return false
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	var err error
	if o.asks, err = setup.NewClient(o.config()); err != nil {
		t.Fatal(err)
	}
	o.mustPlan(setup.Options{})
	if count != 2 {
		t.Errorf("got %d requests, want one again", count)
	}
}

// gate is the way of one run's requests to Logto, at which it can be stopped.
type gate struct {
	// at is asked before each request is sent and after each answer, with how many there were, and what is asked. It may
	// stop the run. nil: all pass.
	at func(n int, answered bool, call string)

	mu sync.Mutex
	n  int
}

func (g *gate) RoundTrip(r *http.Request) (*http.Response, error) {
	g.mu.Lock()
	g.n++
	n := g.n
	g.mu.Unlock()
	call := r.Method + " " + r.URL.Path
	g.at(n, false, call)
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil {
		g.at(n, true, call)
	}
	return resp, err
}

// stop stops a run at one place, once: there says that it is there, and goes on when on is closed.
type stop struct {
	there, on chan struct{}
	once      sync.Once
}

func newStop() *stop { return &stop{there: make(chan struct{}), on: make(chan struct{})} }

func (s *stop) here() {
	s.once.Do(func() {
		close(s.there)
		<-s.on
	})
}

// beside is another machine from which the same tenant is set up.
func (o *operator) beside(at func(n int, answered bool, call string)) *operator {
	o.t.Helper()
	other := &operator{t: o.t, tenant: o.tenant, file: o.t.TempDir() + "/logto-secret"}
	other.text = strings.ReplaceAll(o.text, o.file, other.file)
	u, err := url.Parse(o.tenant.URL)
	if err != nil {
		o.t.Fatal(err)
	}
	client := outbound.New(outbound.Config{})
	client.Transport = &gate{at: at}
	other.asks = management.New(management.Config{Endpoint: u, AppID: o.tenant.ManagementID, AppSecret: o.tenant.ManagementSecret, Client: client})
	return other
}

// outcome is how a run ended.
type outcome struct {
	app   string // that it printed
	notes string
	err   error
}

// start is one run of the command, in the background.
func (o *operator) start(ctx context.Context) <-chan outcome {
	end := make(chan outcome, 1)
	go func() {
		var out outcome
		defer func() { end <- out }()
		d := setup.NewDesired(o.config())
		s, err := setup.Read(ctx, o.asks, d)
		if err != nil {
			out.err = err
			return
		}
		p := setup.NewPlan(d, s, setup.Options{})
		if len(p.Problems) > 0 {
			out.err = fmt.Errorf("problems: %v", p.Problems)
			return
		}
		out.app, out.err = setup.Apply(ctx, o.asks, d, setup.Options{Settle: settle}, p, func(c setup.Change) { out.notes += c.Note })
	}()
	return end
}

// wantOne checks that there is one application, and that every run that ended well printed it and has a secret of it. One
// that did not says why, and completes when it is repeated.
func wantOne(t *testing.T, runs map[*operator]outcome) {
	t.Helper()
	for o, out := range runs {
		if out.err == nil {
			continue
		}
		var told interface{ Hint() string }
		if !errors.As(out.err, &told) || !strings.Contains(told.Hint(), "run portero setup apply again") {
			t.Errorf("got error %v, want one that says to run setup again", out.err)
		}
		o.asks = nil
		again := o.asNewProcess()
		again.client()
		out = <-again.start(t.Context())
		if out.err != nil {
			t.Errorf("the next run: %v", out.err)
		}
		runs[o] = out
	}
	for o, out := range runs {
		o.asks = nil
		app := o.app() // there is one
		if out.app != app.ID {
			t.Errorf("a run printed the application %q, want %q", out.app, app.ID)
		}
		o.wantItsSecret(app.ID)
		if p := o.mustPlan(setup.Options{}); p.Pending() {
			t.Errorf("there is still something to do:\n%s", p)
		}
	}
}

func (o *operator) wantItsSecret(app string) {
	o.t.Helper()
	secret, err := os.ReadFile(o.file)
	if err != nil || !o.tenant.Tenant.Authenticates(app, strings.TrimSpace(string(secret))) {
		o.t.Errorf("the file for the secret: %v; want a secret of the application %s", err, app)
	}
}

const makesApplication = "POST /api/applications"

// One run is stopped at each of its requests, before it is sent and after it is answered, and another one goes from its
// beginning to its end meanwhile.
func TestApplyWhileAnotherRunIsStopped(t *testing.T) {
	t.Parallel()
	for _, answered := range []bool{false, true} {
		t.Run(fmt.Sprintf("answered %v", answered), func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				o := newOperator(t, gatewaytest.TenantOptions{}, whole)
				s := newStop()
				a := o.beside(func(at int, after bool, _ string) {
					if at == n && after == answered {
						s.here()
					}
				})
				b := o.beside(func(int, bool, string) {})
				endA := a.start(t.Context())
				var outA outcome
				select {
				case <-s.there:
				case outA = <-endA:
					if n < 18 || outA.err != nil {
						t.Errorf("a run of %d requests: %v", n-1, outA.err)
					}
					return
				}
				outB := <-b.start(t.Context())
				close(s.on)
				outA = <-endA
				wantOne(t, map[*operator]outcome{a: outA, b: outB})
				if t.Failed() {
					t.Fatalf("stopped at request %d: %+v, %+v", n, outA, outB)
				}
			}
		})
	}
}

// Both runs have read the tenant before either changes it. From the application on, each is stopped at each place, the
// other goes on to each place or to its end, and then the one goes on to its end.
func TestApplyTwiceAtOnce(t *testing.T) {
	t.Parallel()
	type place struct {
		call     string
		nth      int
		answered bool
	}
	places := []place{
		{makesApplication, 1, false}, {makesApplication, 1, true},
		// The list is read for the plan, before it is carried out, and after the making.
		{"GET /api/applications", 3, false},
		{"DELETE", 1, false}, // by whom the other run was before
		{"/secrets", 1, false}, {"/secrets", 1, true},
	}
	stopAt := func(p place, s *stop) func(int, bool, string) {
		var mu sync.Mutex
		before, after := 0, 0
		return func(_ int, answered bool, call string) {
			if !(call == p.call || p.call == "DELETE" && strings.HasPrefix(call, p.call) || p.call == "/secrets" && strings.HasSuffix(call, p.call)) || answered != p.answered {
				return
			}
			mu.Lock()
			count := &before
			if answered {
				count = &after
			}
			*count++
			here := *count == p.nth
			mu.Unlock()
			if here {
				s.here()
			}
		}
	}
	var mu sync.Mutex
	removed := 0
	t.Run("places", func(t *testing.T) {
		for _, p := range places {
			for _, q := range places {
				t.Run(fmt.Sprint(p, q), func(t *testing.T) {
					t.Parallel()
					o := newOperator(t, gatewaytest.TenantOptions{}, whole)
					// Both plan, and read once more; each waits there for the other.
					first := []*stop{newStop(), newStop()}
					then := []*stop{newStop(), newStop()}
					var runs []*operator
					var ends []<-chan outcome
					for i, at := range []place{p, q} {
						begin, later := stopAt(place{"POST /api/connectors", 1, false}, first[i]), stopAt(at, then[i])
						runs = append(runs, o.beside(func(n int, answered bool, call string) {
							begin(n, answered, call)
							later(n, answered, call)
						}))
						ends = append(ends, runs[i].start(t.Context()))
					}
					var out [2]outcome
					var over [2]bool
					reach := func(i int, s *stop) {
						if over[i] {
							return
						}
						select {
						case <-s.there:
						case out[i] = <-ends[i]:
							over[i] = true
						}
					}
					end := func(i int) {
						if !over[i] {
							out[i], over[i] = <-ends[i], true
						}
					}
					reach(0, first[0])
					reach(1, first[1])
					close(first[0].on)
					reach(0, then[0])
					close(first[1].on)
					reach(1, then[1])
					close(then[0].on)
					end(0)
					close(then[1].on)
					end(1)
					for i := range out {
						if strings.Contains(out[i].notes, "another run of setup was first") {
							mu.Lock()
							removed++
							mu.Unlock()
							if !strings.Contains(out[i].notes, out[1-i].app) {
								t.Errorf("the note does not name the other's application %s: %s", out[1-i].app, out[i].notes)
							}
						}
					}
					wantOne(t, map[*operator]outcome{runs[0]: out[0], runs[1]: out[1]})
					if t.Failed() {
						t.Logf("%+v", out)
					}
				})
			}
		}
	})
	if removed < len(places) {
		t.Errorf("in %d of the runs an application was removed, want more", removed)
	}
}

// A run that has to give its application up is killed at each request from there: the next one takes the other's.
func TestApplyIsKilledBesideAnother(t *testing.T) {
	t.Parallel()
	for _, done := range []bool{true, false} {
		t.Run(fmt.Sprintf("done %v", done), func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				o := newOperator(t, gatewaytest.TenantOptions{}, whole)
				s := newStop()
				ctx, die := context.WithCancel(t.Context())
				defer die()
				var mu sync.Mutex
				from, died := 0, false
				a := o.beside(func(at int, answered bool, call string) {
					if call == makesApplication && !answered {
						s.here()
						mu.Lock()
						from = at
						mu.Unlock()
					}
					mu.Lock()
					defer mu.Unlock()
					if from > 0 && at == from+n-1 && answered == done {
						died = true
						die()
					}
				})
				b := o.beside(func(int, bool, string) {})
				endA := a.start(ctx)
				<-s.there
				outB := <-b.start(t.Context())
				if outB.err != nil {
					t.Fatal(outB.err)
				}
				close(s.on)
				outA := <-endA
				mu.Lock()
				killed := died
				mu.Unlock()
				if !killed {
					if n < 5 || outA.err != nil {
						t.Errorf("only %d requests were killed: %v", n-1, outA.err)
					}
					wantOne(t, map[*operator]outcome{a: outA, b: outB})
					return
				}
				if outA.err == nil && !done {
					t.Errorf("request %d was killed, and the run says nothing", n)
				}
				a.asNewProcess().client()
				again := <-a.start(t.Context())
				if again.err != nil || again.app != outB.app {
					t.Errorf("killed at request %d: the next run: got %q and %v, want the application %q", n, again.app, again.err, outB.app)
				}
				a.wantItsSecret(outB.app)
				b.wantItsSecret(outB.app)
				// What it had made is still there, or not: nobody else removes it, and people are told.
				all, err := b.client().Applications(t.Context(), management.Traditional)
				if err != nil || len(all) > 2 {
					t.Errorf("got %d applications and %v, want at most two", len(all), err)
				}
				p := a.mustPlan(setup.Options{})
				if told := strings.Contains(p.String(), "made by another run of setup"); p.Pending() || p.AppID != outB.app || told != (len(all) == 2) {
					t.Errorf("%d applications, and the plan says\n%s", len(all), p)
				}
				if t.Failed() {
					return
				}
			}
		})
	}
}

// Between the plan and the change somebody makes what it would make: that is as good.
func TestThingsThatSomebodyMakesMeanwhile(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/api/roles", "/api/resources", "/scopes", "/secrets"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			o := newOperator(t, gatewaytest.TenantOptions{}, whole)
			d := setup.NewDesired(o.config())
			d.Resources[0].Scopes = []string{"read"}
			if path == "/secrets" { // without a first secret a new one is made
				o.mustApply(setup.Options{})
				if err := o.client().DeleteSecret(t.Context(), o.app().ID, "Default secret"); err != nil {
					t.Fatal(err)
				}
				if err := os.Remove(o.file); err != nil {
					t.Fatal(err)
				}
				d.Secret = setup.NewDesired(o.config()).Secret
			}
			o.tenant.Forget()
			twice := 0
			o.tenant.Hook(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, path) && twice == 0 {
					twice++
					body, err := io.ReadAll(r.Body)
					if err != nil {
						t.Error(err)
					}
					first := r.Clone(r.Context())
					first.Body, r.Body = io.NopCloser(bytes.NewReader(body)), io.NopCloser(bytes.NewReader(body))
					o.tenant.Provider.Handler().ServeHTTP(httptest.NewRecorder(), first)
				}
				return false
			})
			s, err := setup.Read(t.Context(), o.client(), d)
			if err != nil {
				t.Fatal(err)
			}
			app, err := setup.Apply(t.Context(), o.client(), d, setup.Options{}, setup.NewPlan(d, s, setup.Options{}), func(setup.Change) {})
			if err != nil || twice != 1 {
				t.Fatalf("got %v, and %d things made twice", err, twice)
			}
			o.tenant.Hook(nil)
			o.wantItsSecret(app)
			if s, err = setup.Read(t.Context(), o.client(), d); err != nil {
				t.Fatal(err)
			}
			if len(s.Roles) != 1 || len(s.Resources) != 1 || len(s.Scopes[d.Resources[0].Indicator]) != 1 || len(s.Secrets) != 1 {
				t.Errorf("got %d roles, %d resources, %d scopes, %d secrets, want one of each", len(s.Roles), len(s.Resources), len(s.Scopes[d.Resources[0].Indicator]), len(s.Secrets))
			}
		})
	}
}

// A name that something else has is an error all the same.
func TestNameThatSomethingElseHas(t *testing.T) {
	t.Parallel()
	o := newOperator(t, gatewaytest.TenantOptions{}, strings.Replace(whole, "[staff]", `["Logto Management API access"]`, 1)) // of applications
	_, err := o.apply(t.Context(), setup.Options{})
	var step *setup.StepError
	if !errors.As(err, &step) || !errors.Is(err, management.ErrTaken) || !strings.HasPrefix(step.Failed, "role ") {
		t.Errorf("got %v, want that the role is taken", err)
	}
}

// Applications that are not the gateway's are none that was there first, whatever their age.
func TestApplyBesideOlderApplications(t *testing.T) {
	t.Parallel()
	o := newOperator(t, gatewaytest.TenantOptions{Half: true}, whole)
	d := setup.NewDesired(o.config())
	for _, other := range []management.Application{
		{Name: d.Application.Name, OIDC: management.Object{"redirectUris": []string{"https://other.example.com/callback"}, "postLogoutRedirectUris": []string{}}},
		{Name: "Another", OIDC: management.Object{"redirectUris": d.Application.RedirectURIs, "postLogoutRedirectUris": []string{}}},
	} {
		other.Type = management.Traditional
		if _, err := o.client().CreateApplication(t.Context(), other); err != nil {
			t.Fatal(err)
		}
	}
	before, err := o.client().Applications(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	const pause = 40 * time.Millisecond
	var made, looked time.Time
	a := o.beside(func(_ int, answered bool, call string) {
		switch {
		case call == makesApplication && answered:
			made = time.Now()
		case call == "GET /api/applications" && !answered && !made.IsZero():
			looked = time.Now()
		}
	})
	s, err := setup.Read(t.Context(), a.asks, d)
	if err != nil {
		t.Fatal(err)
	}
	d.SecretFile = a.file
	id, err := setup.Apply(t.Context(), a.asks, d, setup.Options{Settle: pause}, setup.NewPlan(d, s, setup.Options{}), func(c setup.Change) {
		if c.Note != "" {
			t.Errorf("got the note %q", c.Note)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if took := looked.Sub(made); took < pause {
		t.Errorf("it looked for others after %v, want after %v", took, pause)
	}
	after, err := o.client().Applications(t.Context(), "")
	if err != nil || len(after) != len(before)+1 {
		t.Errorf("got %d applications, %v, want %d", len(after), err, len(before)+1)
	}
	for _, other := range before {
		if other.ID == id {
			t.Errorf("took the application %q, which is another", other.Name)
		}
	}
	a.wantItsSecret(id)
}

// Where the first has another configuration, what this one needs is added to its application.
func TestApplyGoesOnWithAnothersApplication(t *testing.T) {
	t.Parallel()
	o := newOperator(t, gatewaytest.TenantOptions{}, whole)
	s := newStop()
	a := o.beside(func(_ int, answered bool, call string) {
		if call == makesApplication && !answered {
			s.here()
		}
	})
	b := o.beside(func(int, bool, string) {})
	b.text = strings.Replace(b.text, "hosts: [hr.example.com]", "hosts: [pay.example.com]", 1)
	endA := a.start(t.Context())
	<-s.there
	outB := <-b.start(t.Context())
	close(s.on)
	outA := <-endA
	if outA.err != nil || outB.err != nil || outA.app != outB.app {
		t.Fatalf("got %+v and %+v, want one application", outA, outB)
	}
	var uris []string
	for _, uri := range a.asNewProcess().app().OIDC["redirectUris"].([]any) {
		uris = append(uris, strings.TrimSuffix(strings.TrimPrefix(uri.(string), "https://"), ".example.com/callback"))
	}
	if got := strings.Join(uris, " "); got != "wiki pay hr" {
		t.Errorf("redirect URIs of: got %s, want those of both", got)
	}
}
