package gateway_test

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"portero/internal/gateway"
	"portero/internal/gatewaytest"
)

// arm announces a request, and returns its nonce.
func arm(t testing.TB, rig *gatewaytest.Rig) string {
	t.Helper()
	r := adminAsk(t, rig, "POST", "/api/mirror", "", "")
	var armed struct {
		Nonce   string
		Seconds int
	}
	if err := json.Unmarshal([]byte(r.Text), &armed); err != nil || r.StatusCode != http.StatusCreated || len(armed.Nonce) < 22 || armed.Seconds != 20 {
		t.Fatalf("arming: got %s and %v\n%s", r.Status, err, r.Text)
	}
	return armed.Nonce
}

type reflection struct {
	Arrived bool
	gateway.Arrival
}

// reflected asks how the request with a nonce arrived.
func reflected(t testing.TB, rig *gatewaytest.Rig, nonce string) (status int, got reflection) {
	t.Helper()
	r := adminAsk(t, rig, "GET", "/api/mirror?nonce="+nonce, "", "")
	if err := json.Unmarshal([]byte(r.Text), &got); err != nil {
		t.Fatalf("%v\n%s", err, r.Text)
	}
	return r.StatusCode, got
}

// healthz asks for the public endpoint, whose answer is always the same.
func healthz(t testing.TB, rig *gatewaytest.Rig, method, query string, header map[string]string) {
	t.Helper()
	b := gatewaytest.NewBrowser(t, nil)
	r := b.Do(b.Request(method, rig.URL+"/_portero/healthz"+query, nil, header))
	want := "ok\n"
	if method == http.MethodHead {
		want = ""
	}
	r.Header.Del("Date")
	all := http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"}, "Cache-Control": {"no-store"}, "Content-Length": {"3"}}
	if method == http.MethodHead {
		delete(all, "Content-Length")
	}
	if diff := cmp.Diff(all, r.Header); r.StatusCode != http.StatusOK || r.Text != want || diff != "" {
		t.Errorf("%s healthz%s: got %s %q; header (-want +got):\n%s", method, query, r.Status, r.Text, diff)
	}
}

func TestMirror(t *testing.T) {
	t.Parallel()
	claims := map[string]string{
		"X-Forwarded-For": "192.0.2.77", "X-Forwarded-Host": "127.0.0.1", "X-Forwarded-Proto": "http", "Forwarded": "for=192.0.2.77", "X-Real-IP": "192.0.2.77",
		"Cookie": "private=1",
	}
	all := []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"}
	with := func(change map[string]string) map[string]string {
		out := map[string]string{}
		for name, value := range claims {
			out[name] = value
		}
		for name, value := range change {
			out[name] = value
		}
		return out
	}
	for _, tt := range []struct {
		name, extra string
		header      map[string]string
		want        gateway.Arrival
	}{
		{"nothing claimed", "", nil, gateway.Arrival{Headers: []string{}, Client: "127.0.0.1", Scheme: "http", Host: "HOST", ForwardedFor: "127.0.0.1"}},
		{"a stranger's claims", "", claims, gateway.Arrival{Headers: all, Client: "127.0.0.1", Scheme: "http", Host: "HOST", ForwardedFor: "127.0.0.1"}},
		{"claims of a proxy", "trusted_proxies: [127.0.0.1/32]", claims,
			gateway.Arrival{Trusted: true, Headers: all, Client: "192.0.2.77", Scheme: "http", Host: "127.0.0.1", ForwardedFor: "192.0.2.77, 127.0.0.1"}},
		{"a chain", "trusted_proxies: [127.0.0.1/32]", map[string]string{"X-Forwarded-For": "192.0.2.77, 198.51.100.1, 127.0.0.1"},
			gateway.Arrival{Trusted: true, Headers: []string{"X-Forwarded-For"}, Client: "198.51.100.1", Scheme: "http", Host: "HOST", ForwardedFor: "198.51.100.1, 127.0.0.1, 127.0.0.1"}},
		{"hosts that do not agree", "trusted_proxies: [127.0.0.1/32]", with(map[string]string{"X-Forwarded-Host": "a.test, b.test"}),
			gateway.Arrival{Trusted: true, Headers: all, Problem: "reading X-Forwarded-Host: several different values"}},
		{"a scheme that is none", "trusted_proxies: [127.0.0.1/32]", with(map[string]string{"X-Forwarded-Proto": "gopher", "X-Forwarded-Port": "1"}),
			gateway.Arrival{Trusted: true, Headers: []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto"}, Problem: "reading X-Forwarded-Proto: neither http nor https"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rig := gatewaytest.New(t, &gatewaytest.Options{Extra: tt.extra})
			nonce := arm(t, rig)
			if status, got := reflected(t, rig, nonce); status != http.StatusOK || got.Arrived {
				t.Errorf("before the request: got %d and %+v", status, got)
			}
			healthz(t, rig, "GET", "?mirror="+nonce, tt.header)
			status, got := reflected(t, rig, nonce)
			if tt.want.Host == "HOST" {
				tt.want.Host = strings.TrimPrefix(rig.URL, "http://")
			}
			if diff := cmp.Diff(reflection{true, tt.want}, got, cmpopts.IgnoreFields(gateway.Arrival{}, "Peer")); status != http.StatusOK || diff != "" {
				t.Errorf("got %d (-want +got):\n%s", status, diff)
			}
			if peer, err := netip.ParseAddrPort(got.Peer); err != nil || peer.Addr() != netip.MustParseAddr("127.0.0.1") || peer.Port() == 0 {
				t.Errorf("peer: got %q", got.Peer)
			}
		})
	}
	t.Run("http where external_url is https", func(t *testing.T) {
		t.Parallel()
		rig := gatewaytest.New(t, &gatewaytest.Options{TLS: true, Extra: "trusted_proxies: [127.0.0.1/32]"})
		nonce := arm(t, rig)
		healthz(t, rig, "GET", "?mirror="+nonce, map[string]string{"X-Forwarded-Proto": "http"})
		if _, got := reflected(t, rig, nonce); got.Scheme != "http" || got.Problem != "" || got.Host != strings.TrimPrefix(rig.URL, "https://") {
			t.Errorf("got %+v, want http", got)
		}
	})
}

// Only who has the token arms and reads, a nonce is good for one request and one answer, and nobody else sees a difference.
func TestMirrorRefuses(t *testing.T) {
	t.Parallel()
	clock := gatewaytest.NewClock()
	rig := gatewaytest.New(t, &gatewaytest.Options{Clock: clock})
	gone := func(t *testing.T, nonce string) {
		t.Helper()
		if status, got := reflected(t, rig, nonce); status != http.StatusNotFound || got.Arrived {
			t.Errorf("got %d and %+v, want 404", status, got)
		}
	}
	waits := func(t *testing.T, nonce string) {
		t.Helper()
		if status, got := reflected(t, rig, nonce); status != http.StatusOK || got.Arrived {
			t.Errorf("got %d and %+v, want one that has not come", status, got)
		}
	}
	came := func(t *testing.T, nonce string) gateway.Arrival {
		t.Helper()
		status, got := reflected(t, rig, nonce)
		if status != http.StatusOK || !got.Arrived {
			t.Errorf("got %d and %+v, want one that has come", status, got)
		}
		return got.Arrival
	}

	t.Run("tokens", func(t *testing.T) {
		nonce := arm(t, rig)
		b := gatewaytest.NewBrowser(t, nil)
		for _, token := range []string{"", "Bearer ", "Bearer " + strings.Repeat("x", len(gatewaytest.AdminToken)), "Basic " + gatewaytest.AdminToken, "Bearer " + nonce} {
			for _, one := range [][2]string{{"POST", "/api/mirror"}, {"GET", "/api/mirror?nonce=" + nonce}} {
				header := map[string]string{}
				if token != "" {
					header["Authorization"] = token
				}
				r := b.Do(b.Request(one[0], "http://"+rig.Gateway.AdminAddr().String()+one[1], nil, header))
				if r.StatusCode != http.StatusUnauthorized || strings.Contains(r.Text, "nonce") {
					t.Errorf("%s with %q: got %s\n%s", one, token, r.Status, r.Text)
				}
			}
		}
		waits(t, nonce)
	})
	t.Run("from the public listener", func(t *testing.T) {
		nonce := arm(t, rig)
		b := rig.Browser(t)
		for _, path := range []string{"/api/mirror?nonce=" + nonce, "/_portero/api/mirror?nonce=" + nonce, "/_portero/mirror?nonce=" + nonce} {
			r := b.Do(b.Request("GET", rig.URL+path, nil, map[string]string{"Authorization": "Bearer " + gatewaytest.AdminToken}))
			if r.StatusCode == http.StatusOK || strings.Contains(r.Text, "arrived") {
				t.Errorf("%s: got %s\n%s", path, r.Status, r.Text)
			}
		}
		waits(t, nonce)
	})
	t.Run("nonces that are none", func(t *testing.T) {
		nonce := arm(t, rig)
		for _, other := range []string{"", "x", nonce[1:], nonce + "x", strings.ToLower(nonce), nonce + "&a=b", "%20" + nonce, strings.Repeat("x", 3000)} {
			healthz(t, rig, "GET", "?mirror="+other, nil)
		}
		waits(t, nonce)
		for _, query := range []string{"", "?nonce=", "?nonce=a&nonce=b", "?nonce=" + nonce + "&all=1", "?nonce=%zz"} {
			if r := adminAsk(t, rig, "GET", "/api/mirror"+query, "", ""); r.StatusCode != http.StatusBadRequest && r.StatusCode != http.StatusNotFound {
				t.Errorf("%s: got %s\n%s", query, r.Status, r.Text)
			}
		}
		gone(t, nonce+"x")
		waits(t, nonce)
	})
	t.Run("methods", func(t *testing.T) {
		nonce := arm(t, rig)
		healthz(t, rig, "HEAD", "?mirror="+nonce, nil)
		b := gatewaytest.NewBrowser(t, nil)
		if r := b.Do(b.Request("POST", rig.URL+"/_portero/healthz?mirror="+nonce, nil, nil)); r.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("POST: got %s, want 405", r.Status)
		}
		waits(t, nonce)
	})
	t.Run("once", func(t *testing.T) {
		nonce := arm(t, rig)
		healthz(t, rig, "GET", "?mirror="+nonce, nil)
		healthz(t, rig, "GET", "?mirror="+nonce, map[string]string{"X-Forwarded-For": "192.0.2.77"})
		if got := came(t, nonce); len(got.Headers) != 0 {
			t.Errorf("the second request was kept: %+v", got)
		}
		gone(t, nonce)
		healthz(t, rig, "GET", "?mirror="+nonce, nil)
		gone(t, nonce)
	})
	t.Run("time", func(t *testing.T) {
		early, late := arm(t, rig), arm(t, rig)
		healthz(t, rig, "GET", "?mirror="+early, nil)
		clock.Add(20*time.Second - time.Millisecond)
		waits(t, late)
		clock.Add(time.Millisecond)
		healthz(t, rig, "GET", "?mirror="+late, nil)
		gone(t, early)
		gone(t, late)
	})
	t.Run("eight at once", func(t *testing.T) {
		var nonces []string
		for range 9 {
			nonces = append(nonces, arm(t, rig))
		}
		gone(t, nonces[0])
		for _, nonce := range nonces {
			healthz(t, rig, "GET", "?mirror="+nonce, nil)
		}
		gone(t, nonces[0])
		for _, nonce := range nonces[1:] {
			came(t, nonce)
		}
	})
	t.Run("many at once", func(t *testing.T) {
		nonce := arm(t, rig)
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() { healthz(t, rig, "GET", "?mirror="+nonce, nil) })
			group.Go(func() { healthz(t, rig, "GET", "?mirror=A"+nonce[1:], nil) })
		}
		group.Wait()
		told := make(chan bool, 8)
		for range cap(told) {
			group.Go(func() {
				_, got := reflected(t, rig, nonce)
				told <- got.Arrived
			})
		}
		group.Wait()
		close(told)
		times := 0
		for arrived := range told {
			if arrived {
				times++
			}
		}
		if times != 1 {
			t.Errorf("told %d times, want once", times)
		}
	})
	for line := range strings.Lines(rig.Log.String()) {
		if strings.Contains(line, "?mirror") || strings.Contains(line, "healthz") && !strings.Contains(line, `"method":"POST"`) {
			t.Errorf("it is in the log: %s", line)
		}
	}
}

// A nonce goes on over a reload: nothing of it belongs to a configuration.
func TestMirrorOverReload(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	nonce := arm(t, rig)
	if err := rig.Gateway.Reload(); err != nil {
		t.Fatal(err)
	}
	healthz(t, rig, "GET", "?mirror="+nonce, nil)
	if status, got := reflected(t, rig, nonce); status != http.StatusOK || !got.Arrived {
		t.Errorf("got %d and %+v, want one that has come", status, got)
	}
}
