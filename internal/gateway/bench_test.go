package gateway

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"testing"
	"time"

	"portero/internal/assertion"
	"portero/internal/config"
	"portero/internal/forwarded"
	"portero/internal/guard"
	"portero/internal/route"
	"portero/internal/session"
)

// benchGateway is a gateway with sessions in memory in front of upstream, and the cookie of somebody who is signed in.
func benchGateway(b *testing.B, upstream string, access bool) (*Gateway, *http.Cookie) {
	b.Helper()
	cfg, err := config.Load(config.Options{Path: "bench.yaml", Text: fmt.Appendf(nil, `
external_url: http://localhost:3000
trusted_proxies: [127.0.0.1]
logto: {endpoint: "http://127.0.0.1:1/", app_id: app, app_secret: 0123456789abcdefghij0123456789ab}
session: {store: memory}
admin: {listen: "127.0.0.1:0"}
log: {access: %v}
allow: [{email_domains: [example.com]}]
routes:
  - {name: public, path: /public, access: public, upstreams: [{url: "%s"}]}
  - {name: admin, path: /admin, allow: [{roles: [admin]}], upstreams: [{url: "%[2]s"}]}
  - {name: app, path: /, upstreams: [{url: "%[2]s"}]}
`, access, upstream)})
	if err != nil {
		b.Fatal(err)
	}
	g, err := New(cfg, Options{Log: slog.New(slog.NewJSONHandler(io.Discard, nil))})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { g.Close() })
	w := httptest.NewRecorder()
	_, err = g.current.Load().sessions.Start(context.Background(), w, session.New{
		Subject: "t8x4l8ohti1t", SID: "sid-1", Host: "localhost", AccessExpires: time.Now().Add(time.Hour), AccessLife: time.Hour, RefreshToken: "r",
		IDToken:  benchToken,
		AuthTime: time.Now(),
	})
	if err != nil {
		b.Fatal(err)
	}
	return g, w.Result().Cookies()[0]
}

// benchToken has the claims of an ID token of Logto; nobody verifies it again once a session holds it.
const benchToken = "eyJhbGciOiJFUzM4NCJ9.eyJzdWIiOiJ0OHg0bDhvaHRpMXQiLCJuYW1lIjoiQWxpY2UgRXhhbXBsZSIsInBpY3R1cmUiOm51bGwsInVzZXJuYW1lIjpudWxsLCJlbWFpbCI6ImFsaWNlQGV4YW1wbGUuY29tIiwiZW1haWxfdmVyaWZpZWQiOnRydWUsInNpZCI6InNpZC0xIn0.c2ln"

func benchRequest(target string, cookie *http.Cookie) *http.Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Host, r.RequestURI, r.RemoteAddr = "localhost:3000", target, "127.0.0.1:40000"
	r.Header = http.Header{
		"Accept":          {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
		"Accept-Language": {"en-US,en;q=0.5"}, "Accept-Encoding": {"gzip, deflate, br"},
		"User-Agent":     {"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"},
		"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}, "Sec-Fetch-Site": {"same-origin"},
		"Cookie": {"theme=dark; " + cookie.Name + "=" + cookie.Value + "; lang=en"},
	}
	return r
}

// BenchmarkOwnWork is what the gateway does by itself for a request with a warm session: who sent it, the normal form,
// the route, the session, the decision, the headers. Carrying the bytes is in BenchmarkHop.
func BenchmarkOwnWork(b *testing.B) {
	g, cookie := benchGateway(b, "http://127.0.0.1:1", true)
	gen := g.current.Load()
	headers, err := assertion.NewSet(assertion.DefaultHeaders())
	if err != nil {
		b.Fatal(err)
	}
	request := benchRequest("/reports/2026?q=a", cookie)
	out := request.Header.Clone()
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		from, err := gen.forwarded.Resolve(request)
		if err != nil {
			b.Fatal(err)
		}
		r := request.WithContext(forwarded.NewContext(request.Context(), from))
		target, err := route.ParseTarget(r.Method, r.RequestURI, r.Host)
		if err != nil || !gen.table.KnowsHost(from.Host) || gen.endpoints.Ours(target.Path) {
			b.Fatal("target")
		}
		rt, err := gen.table.Match(from.Host, r.Method, target)
		if err != nil {
			b.Fatal(err)
		}
		found, trouble := gen.lookup(w, r, rt, from.Hostname())
		d := gen.decide(r, rt, target, from, found, trouble)
		if d.Outcome != guard.Allow {
			b.Fatalf("decision: %s %s", d.Outcome, d.Reason)
		}
		headers.Apply(out, d.Identity)
	}
}

// BenchmarkHop is one whole hop over loopback, client to upstream and back: through the gateway with a warm session, and
// through a tuned httputil.ReverseProxy. Both run in turns in the same process, and `ratio` is the median of gateway over
// bare.
func BenchmarkHop(b *testing.B) {
	page := make([]byte, 8<<10)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Write(page)
	}))
	defer up.Close()
	u, err := url.Parse(up.URL)
	if err != nil {
		b.Fatal(err)
	}
	bare := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(u); p.SetXForwarded() },
		Transport: &http.Transport{
			DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, MaxIdleConnsPerHost: 256, DisableCompression: true,
		},
	})
	defer bare.Close()
	g, cookie := benchGateway(b, up.URL, false)
	gate := httptest.NewServer(g.Handler())
	defer gate.Close()

	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16, DisableCompression: true}}
	once := func(base string) time.Duration {
		r := benchRequest("/reports/2026?q=a", cookie)
		r.RequestURI = ""
		r.URL, _ = url.Parse(base + "/reports/2026?q=a")
		start := time.Now()
		resp, err := client.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			b.Fatalf("status %s", resp.Status)
		}
		return time.Since(start)
	}
	const warm = 200
	for range warm {
		once(bare.URL)
		once(gate.URL)
	}
	var throughBare, throughGate []time.Duration
	for b.Loop() {
		throughBare = append(throughBare, once(bare.URL))
		throughGate = append(throughGate, once(gate.URL))
	}
	slices.Sort(throughBare)
	slices.Sort(throughGate)
	a, c := throughBare[len(throughBare)/2], throughGate[len(throughGate)/2]
	b.ReportMetric(float64(a.Microseconds()), "bare-µs")
	b.ReportMetric(float64(c.Microseconds()), "gateway-µs")
	b.ReportMetric(float64(c)/float64(a), "ratio")
}
