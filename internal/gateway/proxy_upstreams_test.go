package gateway_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

// refusing is an address at which nobody listens.
func refusing(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

// Several upstreams take turns; one that is down costs nobody an answer, not even a form.
func TestSeveralUpstreams(t *testing.T) {
	t.Parallel()
	one, two := newApp(t), newApp(t)
	rig := gatewaytest.New(t, &gatewaytest.Options{Routes: fmt.Sprintf("\n  - {name: app, path: /, upstreams: [{url: %q}, {url: %q}, {url: %q}]}\n", one.URL, refusing(t), two.URL)})
	b := rig.SignedIn(t, "/")
	for n := range 30 {
		r := b.Request(http.MethodGet, rig.URL+"/", nil, nil)
		if n%2 == 0 {
			r = b.Request(http.MethodPost, rig.URL+"/upload", bytes.NewReader(make([]byte, 1000)), map[string]string{"Origin": rig.URL, "Sec-Fetch-Site": "same-origin"})
		}
		got := b.Do(r)
		if got.StatusCode != http.StatusOK || n%2 == 0 && !strings.Contains(got.Text, `"bytes":1000`) {
			t.Fatalf("request %d: got %s %s, want 200", n, got.Status, got.Text)
		}
	}
	if one.hits.Load() < 5 || two.hits.Load() < 5 {
		t.Errorf("turns: got %d and %d of 31, want both", one.hits.Load(), two.hits.Load())
	}
	if status, state, checks := readyz(t, rig); status != http.StatusOK || state != "degraded" || checks["upstream app"] != "degraded" {
		t.Errorf("readyz: got %d %q %v, want 200 and a degraded upstream", status, state, checks)
	}
}
