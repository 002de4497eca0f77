package gateway_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/config"
	"portero/internal/gateway"
	"portero/internal/gatewaytest"
	"portero/internal/redistest"
)

const (
	firstSecret  = "first-session-secret-of-32-bytes-and-more"
	secondSecret = "second-session-secret-of-32-bytes-and-more"
)

// inRedis is what stands in `session: {…}` for sessions in the Redis at url, with the secrets of which the first seals,
// and more keys of `redis: {…}`.
func inRedis(url string, secrets []string, more ...string) string {
	if len(secrets) == 0 {
		secrets = []string{firstSecret}
	}
	var old []string
	for _, s := range secrets[1:] {
		old = append(old, "{value: "+s+"}")
	}
	return fmt.Sprintf("store: redis, secret: %s, old_secrets: [%s], redis: {%s}", secrets[0], strings.Join(old, ", "),
		strings.Join(append([]string{fmt.Sprintf("url: %q", url)}, more...), ", "))
}

// redisRig is a rig with its sessions in the Redis at url.
func redisRig(t testing.TB, url string, more ...string) *gatewaytest.Rig {
	t.Helper()
	return gatewaytest.New(t, &gatewaytest.Options{Session: inRedis(url, nil, more...)})
}

// site is one address with several gateways behind it.
type site struct {
	Issuer   *gatewaytest.Issuer
	Upstream *gatewaytest.Upstream
	URL      string // http://localhost:PORT, which no replica need be listening on

	t testing.TB
}

func newSite(t testing.TB) *site {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return &site{
		Issuer: gatewaytest.NewIssuer(t), Upstream: gatewaytest.NewUpstream(t), t: t,
		URL: fmt.Sprintf("http://localhost:%d", l.Addr().(*net.TCPAddr).Port),
	}
}

// Cookie is the name of the session cookie.
func (s *site) Cookie() string { return "portero-" + s.URL[strings.LastIndexByte(s.URL, ':')+1:] }

// replica is one of the gateways.
type replica struct {
	Gateway *gateway.Gateway
	Log     *gatewaytest.Lines

	site *site
	addr string
	stop context.CancelFunc
	done chan error

	mu      sync.Mutex
	session string
}

// Start starts a gateway with that in `session: {…}`.
func (s *site) Start(session string) *replica {
	s.t.Helper()
	r := &replica{site: s, session: session, Log: &gatewaytest.Lines{}, done: make(chan error, 1)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	r.addr = l.Addr().String()
	cfg, err := r.load()
	if err != nil {
		l.Close()
		s.t.Fatal(err)
	}
	log := slog.New(slog.NewJSONHandler(r.Log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if r.Gateway, err = gateway.New(cfg, gateway.Options{Log: log, Load: r.load, Public: l}); err != nil {
		l.Close()
		s.t.Fatal(err)
	}
	if err := r.Gateway.Listen(); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { r.done <- r.Gateway.Run(ctx) }()
	s.t.Cleanup(func() {
		r.Stop()
		if s.t.Failed() {
			s.t.Logf("the warnings and errors of the replica on %s:\n%s", r.addr, r.warnings())
		}
	})
	return r
}

// patiently asks again while the answer is 503 because Redis had none in time, which is half a second: a machine that runs other
// tests may need more. A 503 for any other reason is an answer.
func (r *replica) patiently(ask func() *gatewaytest.Response) *gatewaytest.Response {
	r.site.t.Helper()
	for until := time.Now().Add(20 * time.Second); ; {
		got := ask()
		code := got.Header.Get("Portero-Code")
		if got.StatusCode != http.StatusServiceUnavailable || code == "" || time.Now().After(until) {
			return got
		}
		var why string
		gatewaytest.Await(r.site.t, "the log says why it is 503", func() bool {
			for line := range strings.Lines(r.Log.String()) {
				if strings.Contains(line, code) && strings.Contains(line, `"msg":"request"`) {
					why = line
				}
			}
			return why != ""
		})
		if !strings.Contains(why, "the server cannot be asked: no answer in time") {
			return got
		}
	}
}

// warnings are the lines of its log that say that something was wrong.
func (r *replica) warnings() string {
	var out strings.Builder
	for line := range strings.Lines(r.Log.String()) {
		if strings.Contains(line, `"level":"WARN"`) || strings.Contains(line, `"level":"ERROR"`) {
			out.WriteString(line)
		}
	}
	return out.String()
}

// Stop ends it as SIGTERM does.
func (r *replica) Stop() {
	r.stop()
	if err, first := <-r.done; first && err != nil {
		r.site.t.Errorf("the gateway ended with %v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.session != "" {
		close(r.done)
		r.session = ""
	}
}

// Reload gives it another `session: {…}`.
func (r *replica) Reload(session string) {
	r.site.t.Helper()
	r.mu.Lock()
	r.session = session
	r.mu.Unlock()
	if err := r.Gateway.Reload(); err != nil {
		r.site.t.Errorf("reloading: %v", err)
	}
}

func (r *replica) load() (*config.Config, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return config.Load(config.Options{Path: "replica.yaml", Text: fmt.Appendf(nil, `listen: 127.0.0.1:0
external_url: %s
admin: {listen: "127.0.0.1:0", token: %s}
logto: {endpoint: "%s", app_id: %s, app_secret: %s}
session: {%s}
allow: [{email_domains: ["*"]}]
shutdown: {timeout: 2s}
routes: %s
`, r.site.URL, gatewaytest.AdminToken, r.site.Issuer.URL, r.site.Issuer.AppID, r.site.Issuer.AppSecret, r.session,
		strings.ReplaceAll(gatewaytest.DefaultRoutes, "UPSTREAM", `"`+r.site.Upstream.URL+`"`))})
}

// Browser is a new person whose requests go to this replica.
func (r *replica) Browser() *gatewaytest.Browser {
	return gatewaytest.NewBrowser(r.site.t, map[string]string{"localhost": r.addr})
}

// Take is the person of a browser, with their present cookies, whose next requests go to this replica.
func (r *replica) Take(b *gatewaytest.Browser) *gatewaytest.Browser {
	moved := r.Browser()
	for name, value := range b.Cookies("localhost") {
		moved.SetCookie("localhost", name, value)
	}
	return moved
}

// rowKeys are the keys of the sessions in a Redis.
func rowKeys(t testing.TB, server *redistest.Server) []string {
	t.Helper()
	keys, err := server.Client.Keys(context.Background(), "portero:row:*").Result()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// every calls f each interval until it says so, or the test fails after a minute.
func every(t testing.TB, interval time.Duration, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for limit := time.Now().Add(time.Minute); !done(); <-tick.C {
		if time.Now().After(limit) {
			t.Fatalf("it never came true that %s", what)
		}
	}
}
