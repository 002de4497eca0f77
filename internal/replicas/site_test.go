package replicas_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"portero/internal/gatewaytest"
	"portero/internal/redistest"
)

const (
	// origin is what people type. Nobody listens there: clients choose a replica and name it as the host.
	origin = "http://localhost:4180"
	// second is another host of the same site.
	second = "http://127.0.0.1:4180"
	// cookie is the name of the session cookie there.
	cookie = "portero-4180"

	secret     = "session-secret-of-the-replicas-of-32-bytes-and-more"
	adminToken = "0123456789abcdefghijklmnopqrstuv"

	startTimeout = 60 * time.Second
	pollEvery    = 10 * time.Millisecond
)

// options change a site. The zero value is three replicas, each with a link of its own to one Redis.
type options struct {
	// Redis is what stands in `redis: {…}`. "": one server, over the links.
	Redis string
	// Shutdown is what stands in `shutdown: {…}`. "": at once.
	Shutdown string
	// Session is more of `session: {…}`, beginning with a comma.
	Session string
	// AccessLife is how long access tokens live. 0: an hour.
	AccessLife time.Duration
	// Rotating gives a new refresh token at every refresh.
	Rotating bool
}

// site is three replicas with an issuer, an upstream, and, unless options.Redis says otherwise, a Redis.
type site struct {
	t        testing.TB
	Issuer   *provider
	Upstream *httptest.Server
	Redis    *redistest.Server
	Replicas []*replica
	client   *http.Client // keeps connections
	single   *http.Client // one connection for each request, which is never sent twice
}

const replicas = 3

func newSite(t testing.TB, o options) *site {
	t.Helper()
	s := &site{t: t, Issuer: newProvider(t, replicas, o), Upstream: httptest.NewServer(application())}
	t.Cleanup(s.Upstream.Close)
	for _, c := range []struct {
		client **http.Client
		keep   bool
	}{{&s.client, true}, {&s.single, false}} {
		transport := &http.Transport{DisableCompression: true, DisableKeepAlives: !c.keep, MaxIdleConnsPerHost: 200}
		*c.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		t.Cleanup(transport.CloseIdleConnections)
	}
	if o.Redis == "" {
		s.Redis = redistest.Start(t)
	}
	for i := range replicas {
		r := &replica{Process: gatewaytest.NewProcess(t, fmt.Sprintf("replica %d", i)), N: i}
		redis := o.Redis
		if s.Redis != nil {
			r.Link = redistest.NewProxy(t, s.Redis.Addr)
			redis = fmt.Sprintf("url: %q", "redis://"+r.Link.Addr+"/0")
		}
		r.configure(s, o, redis)
		s.Replicas = append(s.Replicas, r)
	}
	var started sync.WaitGroup
	for _, r := range s.Replicas {
		started.Go(func() { r.Start() })
	}
	started.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for _, r := range s.Replicas {
		s.await(fmt.Sprintf("%s to be ready", r), startTimeout, func() bool { return s.ready(r) })
	}
	return s
}

// application is what stands behind the gateways.
func application() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "user=%s", r.Header.Get("X-Forwarded-User"))
	})
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			fmt.Fprintf(w, "data: user=%s\n\n", r.Header.Get("X-Forwarded-User"))
			if http.NewResponseController(w).Flush() != nil {
				return
			}
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return
			}
		}
	})
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, message, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, message) != nil {
				return
			}
		}
	})
	return mux
}

// ready asks the replica's readiness, as a load balancer does.
func (s *site) ready(r *replica) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, admin := r.Addresses()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := s.single.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// await polls until done says so, and fails the test if it does not in time. It returns how long it took.
func (s *site) await(what string, limit time.Duration, done func() bool) time.Duration {
	s.t.Helper()
	began := time.Now()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !done() {
		if time.Since(began) > limit {
			s.t.Fatalf("waiting for %s: not within %s", what, limit)
		}
		<-tick.C
	}
	return time.Since(began)
}

// sleep lets d pass, which is what is tried. It does nothing about what happens meanwhile.
func sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// replica is one process of Portero, or none between two of them.
type replica struct {
	*gatewaytest.Process
	N    int
	Link *redistest.Proxy // to Redis; nil: it goes there directly
}

func (r *replica) configure(s *site, o options, redis string) {
	issuer := s.Issuer
	r.Configure(fmt.Sprintf(`listen: 127.0.0.1:0
external_url: %s
admin: {listen: "127.0.0.1:0", token: %s}
logto: {endpoint: %q, internal_endpoint: %q, app_id: %s, app_secret: %s}
session: {store: redis, secret: %s, redis: {%s}%s}
allow: [{email_domains: ["*"]}]
shutdown: {%s}
log: {level: info, format: json, access: false}
routes:
  - {name: public, path: /public, access: public, upstreams: [{url: %[11]q}]}
  - {name: app, path: /, upstreams: [{url: %[11]q}]}
  - {name: second, hosts: [127.0.0.1], path: /, upstreams: [{url: %[11]q}]}
`, origin, adminToken, issuer.URL, issuer.Internal[r.N], issuer.AppID, issuer.AppSecret,
		secret, redis, o.Session, cmp.Or(o.Shutdown, "timeout: 2s"), s.Upstream.URL))
}

// hostOf is the host of an address, with its port.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}
