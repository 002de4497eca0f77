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
}

// NewTenant starts one; it ends with the test.
func NewTenant(t testing.TB, o TenantOptions) *Tenant {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	k := &Tenant{URL: "http://" + server.Listener.Addr().String(), ManagementID: "setup-m2m", ManagementSecret: "management-secret-of-a-test"}
	k.Tenant = tenant.New(tenant.Config{Line141: o.Line141, Send: o.Send, Now: o.Now})
	var err error
	k.Provider, err = provider.New(provider.Config{
		URL: k.URL, Tenant: k.Tenant, ManagementID: k.ManagementID, ManagementSecret: k.ManagementSecret, Now: o.Now,
		SendCode: func(context.Context, string, string, string, string) error { return nil },
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
	k.mu.Lock()
	hook := k.hook
	if !slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions}, r.Method) && r.URL.Path != "/oidc/token" {
		k.requests = append(k.requests, r.Method+" "+r.URL.Path)
	}
	k.mu.Unlock()
	if hook != nil && hook(w, r) {
		return
	}
	k.Provider.Handler().ServeHTTP(w, r)
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
