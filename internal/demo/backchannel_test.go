package demo_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"portero/internal/demo"
	"portero/internal/gatewaytest"
)

// Signing out at the provider ends the sessions of that browser on every host of the gateway: the provider tells of it.
func TestSignOutAtTheProvider(t *testing.T) {
	t.Parallel()
	d := start(t, demo.Config{Extra: `  - {name: second, hosts: ["127.0.0.1"], path: /, upstreams: [{url: APPLICATION}]}` + "\n"})
	address := strings.Replace(d.Addresses.Gateway, "localhost", "127.0.0.1", 1)
	hosts := []string{d.Addresses.Gateway + "/", address + "/"}
	dial := map[string]string{"localhost": strings.TrimPrefix(address, "http://")}
	ana, other := gatewaytest.NewBrowser(t, dial), gatewaytest.NewBrowser(t, dial)
	for _, b := range []*gatewaytest.Browser{ana, other} {
		signIn(t, b, d, b.Visit(hosts[0]), "ana@example.com")
		for _, host := range hosts { // on the second one silently
			if got := b.Visit(host); got.StatusCode != http.StatusOK || got.Request.URL.String() != host {
				t.Fatalf("signing in for %s: got %s at %s", host, got.Status, got.Request.URL)
			}
		}
	}

	to, fields := form(t, ana.Visit(d.Addresses.Provider+"/oidc/session/end?"+url.Values{"client_id": {d.Logto.AppID}}.Encode()))
	ana.Follow(ana.Post(to, fields))
	for _, host := range hosts {
		if got := ana.Get(host); got.StatusCode != http.StatusFound {
			t.Errorf("%s after signing out at the provider: got %s, want 302", host, got.Status)
		}
		if got := other.Get(host); got.StatusCode != http.StatusOK {
			t.Errorf("%s in another browser of the same person: got %s, want 200", host, got.Status)
		}
	}
	if got := ana.Visit(hosts[0]); !strings.HasPrefix(got.Request.URL.String(), d.Addresses.Provider) {
		t.Errorf("asking again: landed on %s, want the provider", got.Request.URL)
	}
}
