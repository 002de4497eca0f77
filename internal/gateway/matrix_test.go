package gateway_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

// The access matrix through the proxy: the same rows as without HTTP, asked by browsers who have signed in.
func TestAccessMatrixThroughTheProxy(t *testing.T) {
	t.Parallel()
	clock := gatewaytest.NewClock()
	rig := gatewaytest.New(t, &gatewaytest.Options{
		Clock: clock, Extra: "trusted_proxies: [127.0.0.1]",
		Routes: gatewaytest.AccessRoutes() + "  - {name: land, path: /land, allow: [{expression: \"true\"}], upstreams: [{url: UPSTREAM}]}\n",
	})
	browsers := map[string]*gatewaytest.Browser{}
	for _, p := range gatewaytest.AccessPeople() {
		b := rig.Browser(t)
		browsers[p.Name] = b
		if p.Claims == "" {
			continue
		}
		rig.Issuer.Do(func(i *gatewaytest.Issuer) {
			i.Person = map[string]any{}
			if err := json.Unmarshal([]byte(p.Claims), &i.Person); err != nil {
				t.Fatal(err)
			}
			i.AuthTime = clock.Now().Add(-p.Age)
		})
		if r := b.Visit(rig.URL + "/land"); r.StatusCode != http.StatusOK {
			t.Fatalf("%s signs in: got %s", p.Name, r.Status)
		}
	}
	before := len(rig.Upstream.Requests())
	allowed := 0
	for _, row := range gatewaytest.AccessRows() {
		want := http.StatusForbidden
		switch {
		case strings.HasPrefix(row.Want, "allow "):
			want = http.StatusOK
			allowed++
		case strings.HasPrefix(row.Want, "sign-in step-up"):
			want = http.StatusUnauthorized
		case strings.HasPrefix(row.Want, "sign-in "):
			want = http.StatusFound
			if row.Method != http.MethodGet && row.Method != http.MethodHead {
				want = http.StatusUnauthorized
			}
		}
		client := row.Client
		if client == "" {
			client = "unknown"
		}
		b := browsers[row.Person.Name]
		r := b.Do(b.Request(row.Method, rig.URL+row.Path, nil, map[string]string{"X-Forwarded-For": client}))
		if r.StatusCode != want {
			t.Errorf("%s: got %s, want %d (%s)", row.Name(), r.Status, want, row.Want)
		}
		if at := r.Header.Get("Location"); at != "" && !strings.HasPrefix(at, rig.Issuer.URL+"/") {
			t.Errorf("%s: sent to %s", row.Name(), at)
		}
	}
	if got := len(rig.Upstream.Requests()) - before; got != allowed {
		t.Errorf("the application saw %d requests, want the %d that are allowed", got, allowed)
	}
}
