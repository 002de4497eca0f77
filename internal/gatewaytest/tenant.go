package gatewaytest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"portero/internal/demo/provider"
	"portero/internal/demo/tenant"
)

// TenantOptions change a tenant. The zero value is an empty one of Logto 1.42.
type TenantOptions struct {
	Line141 bool // Logto 1.41

	// Half is a tenant that somebody has begun to set up by hand: the e-mail connector is there, with the one delivery `Generic`, and so is
	// an application "Portero" with the redirect URI http://localhost:3000/callback and nothing else. People still sign in with username and
	// password.
	Half bool
	// Prepare does more to the tenant before it is served.
	Prepare func(k *tenant.Tenant)

	// Send delivers what the connector sends. nil: every mail is accepted, and nobody reads it.
	Send func(ctx context.Context, m tenant.Mail) error

	Now func() time.Time // nil: time.Now
}

// Tenant is a tenant behind a provider on a loopback port, as Logto seeds it: no application, no connector, signing in with username and
// password, and the role "Logto Management API access". Its client of the Management API is not one of its applications.
type Tenant struct {
	URL                            string
	ManagementID, ManagementSecret string
	Tenant                         *tenant.Tenant
	Provider                       *provider.Provider

	mu       sync.Mutex
	hook     func(w http.ResponseWriter, r *http.Request) bool
	requests []string
	left     int // changes until nothing is answered; negative: no such bound
}

// HalfID and HalfSecret belong to the application of TenantOptions.Half.
const (
	HalfID     = "half0application0made"
	HalfSecret = "SecretOfTheApplicationMadeByHand"
)

// NewTenant starts one; it ends with the test.
func NewTenant(t testing.TB, o TenantOptions) *Tenant {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	k := &Tenant{left: -1, URL: "http://" + server.Listener.Addr().String(), ManagementID: "setup-m2m", ManagementSecret: "management-secret-of-a-test"}
	k.Tenant = tenant.New(tenant.Config{Line141: o.Line141, Send: o.Send, Now: o.Now})
	if o.Half {
		err := k.Tenant.SetConnector(map[string]any{
			"domain": "mg.example.com", "apiKey": "key-test", "from": "Test <no-reply@mg.example.com>",
			"deliveries": map[string]any{"Generic": map[string]any{"subject": "{{code}}", "html": "<p>{{code}}</p>"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		k.Tenant.Add(tenant.Application{ID: HalfID, Name: "Portero", Type: "Traditional", RedirectURIs: []string{"http://localhost:3000/callback"}}, HalfSecret)
	}
	if o.Prepare != nil {
		o.Prepare(k.Tenant)
	}
	var err error
	k.Provider, err = provider.New(provider.Config{
		URL: k.URL, Tenant: k.Tenant, ManagementID: k.ManagementID, ManagementSecret: k.ManagementSecret, Now: o.Now,
	})
	if err != nil {
		server.Close()
		t.Fatal(err)
	}
	server.Config.Handler = k
	server.Start()
	t.Cleanup(func() {
		k.Provider.Close()
		server.Close()
	})
	return k
}

// ServeHTTP shows every request to the hook, and notes those that may change something.
func (k *Tenant) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	change := !slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions}, r.Method) && r.URL.Path != "/oidc/token"
	k.mu.Lock()
	hook, killed := k.hook, k.left == 0
	if change && !killed {
		k.requests = append(k.requests, r.Method+" "+r.URL.Path)
		k.left = max(k.left-1, -1)
	}
	lost := change && k.left == 0
	k.mu.Unlock()
	switch {
	case killed:
		panic(http.ErrAbortHandler)
	case hook != nil && hook(w, r):
	case lost:
		k.Provider.Handler().ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	default:
		k.Provider.Handler().ServeHTTP(w, r)
	}
}

// KillAfter is what becomes of a tenant where whoever sets it up is killed: the n-th change from now on is made and its answer lost, and
// nothing is answered after it. With 0 nothing is answered at all. Negative: everything is answered again.
func (k *Tenant) KillAfter(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.left = max(n, -1)
}

// Hook lets a function see every request first; where it returns true it has answered. nil: none.
func (k *Tenant) Hook(hook func(w http.ResponseWriter, r *http.Request) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.hook = hook
}

// Requests are those that came to change something, as "METHOD path", in their order; token requests are left out.
func (k *Tenant) Requests() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.requests)
}

// Forget empties Requests.
func (k *Tenant) Forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.requests = nil
}
