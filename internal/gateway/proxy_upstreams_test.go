package gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
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

// mute is an address that takes connections and says nothing.
func mute(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var conns []net.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		for _, c := range conns {
			c.Close()
		}
	})
	return "http://" + l.Addr().String()
}

// UP-01, UP-05: an application that is away or slow has its own page, with the status and the words that fit; who
// sent a form is told to look before sending it again.
func TestApplicationTrouble(t *testing.T) {
	t.Parallel()
	down := refusing(t)
	rig := gatewaytest.New(t, &gatewaytest.Options{Routes: fmt.Sprintf(`
  - {name: app, title: Wiki, path: /, upstreams: [{url: UPSTREAM}]}
  - {name: away, title: Payroll, path: /away, upstreams: [{url: %q}]}
  - {name: open, title: Open, path: /open, access: public, upstreams: [{url: %q}]}
  - {name: slow, title: Reports, path: /slow, timeouts: {response_header: 1500ms}, upstreams: [{url: %q}]}
  - {name: name, title: Name, path: /name, upstreams: [{url: "http://does-not-exist.invalid:8080"}]}
`, down, down, mute(t))})
	b := rig.SignedIn(t, "/")
	for name, c := range map[string]struct {
		method, path string
		status       int
		has, hasNot  []string
		proxy        string
	}{
		"refused":                {"GET", "/away/x", 502, []string{"Payroll is not answering", "You are still signed in", "Try again"}, []string{"may not have arrived"}, "connection_refused"},
		"refused, not signed in": {"GET", "/open/x", 502, []string{"Open is not answering"}, []string{"You are still signed in"}, "connection_refused"},
		"refused after a form":   {"POST", "/away/x", 502, []string{"Payroll is not answering", "may not have arrived"}, []string{"Try again"}, "connection_refused"},
		"slow":                   {"GET", "/slow/x", 504, []string{"Reports is taking too long", "has not answered within"}, []string{"may not have arrived"}, "http_response_timeout"},
		"slow after a form":      {"POST", "/slow/x", 504, []string{"Reports is taking too long", "may not have arrived"}, nil, "http_response_timeout"},
		"no such name":           {"GET", "/name/x", 502, []string{"Name is not answering"}, []string{"does-not-exist"}, "dns_error"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := b.Request(c.method, rig.URL+c.path, nil, nil)
			if c.method == "POST" {
				r = b.Request(c.method, rig.URL+c.path, strings.NewReader("a=b"), map[string]string{
					"Origin": rig.URL, "Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded",
				})
			}
			got := b.Do(r)
			if got.StatusCode != c.status || got.Header.Get("Proxy-Status") != "portero; error="+c.proxy {
				t.Errorf("got %s, Proxy-Status %q; want %d, %s", got.Status, got.Header.Get("Proxy-Status"), c.status, c.proxy)
			}
			for _, text := range c.has {
				if !strings.Contains(got.Text, text) {
					t.Errorf("the page does not say %q:\n%s", text, got.Text)
				}
			}
			for _, text := range append(c.hasNot, down, strings.TrimPrefix(down, "http://"), "dial tcp") {
				if strings.Contains(got.Text, text) {
					t.Errorf("the page says %q", text)
				}
			}
			code := got.Header.Get("Portero-Code")
			if code == "" || !strings.Contains(got.Text, code) || strings.Count(rig.Log.String(), `"support_code":"`+code+`"`) == 0 {
				t.Errorf("the support code %q is not on the page and in the log", code)
			}
			if got := got.Header.Values("Set-Cookie"); len(got) != 0 {
				t.Errorf("the session is touched: %q", got)
			}
		})
	}
}

// UP-02: what may have arrived is not sent twice, unless it is harmless.
func TestRetries(t *testing.T) {
	t.Parallel()
	// Two upstreams that take the request and then break the connection; counted together.
	var hits atomic.Int64
	breaking := func() string {
		u := gatewaytest.NewUpstream(t)
		u.Answer = func(string) string { hits.Add(1); return "" }
		return u.URL
	}
	rig := gatewaytest.New(t, &gatewaytest.Options{Routes: fmt.Sprintf(`
  - {name: app, path: /, upstreams: [{url: UPSTREAM}]}
  - {name: two, path: /two, upstreams: [{url: %q}, {url: %q}]}
  - {name: one, path: /one, upstreams: [{url: %q}]}
`, breaking(), breaking(), breaking())})
	b := rig.SignedIn(t, "/")
	for _, c := range []struct {
		method, path, body string
		most               int64
	}{
		{"GET", "/one", "", 1}, {"GET", "/two", "", 2}, {"HEAD", "/two", "", 2}, {"POST", "/two", "a=b", 1}, {"POST", "/two", "", 1},
		{"PUT", "/two", "x", 1}, {"DELETE", "/two", "", 1}, {"PATCH", "/two", "x", 1}, {"GET", "/two", "body", 1},
	} {
		hits.Store(0)
		var body io.Reader
		if c.body != "" {
			body = strings.NewReader(c.body)
		}
		got := b.Do(b.Request(c.method, rig.URL+c.path, body, map[string]string{"Origin": rig.URL, "Sec-Fetch-Site": "same-origin", "Idempotency-Key": "1"}))
		if got.StatusCode != http.StatusBadGateway || hits.Load() > c.most || hits.Load() == 0 {
			t.Errorf("%s %s with %q: got %s after %d attempts, want 502 after %d at most", c.method, c.path, c.body, got.Status, hits.Load(), c.most)
		}
	}
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
