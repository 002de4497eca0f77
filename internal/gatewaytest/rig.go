package gatewaytest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
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
)

// Options change a rig. The zero value, or nil, is a gateway with the default routes and sessions in memory.
type Options struct {
	// Routes is the list under `routes:` (YAML), UPSTREAM standing for the upstream's URL. "": DefaultRoutes.
	Routes string
	// Extra is more configuration (YAML at the top level).
	Extra string
	// Session is what stands in `session: {…}`. "": store: memory.
	Session string
	// Admin is what stands in `admin: {…}`. "": a free port, and AdminToken.
	Admin string
	// Management is what stands in `logto.management: {…}`. "": there is none.
	Management string
	// Log is what stands in `log: {…}`. "": level: debug.
	Log string
	// Shutdown is what stands in `shutdown: {…}`. "": timeout: 2s.
	Shutdown string
	// TLS makes the listener and the external URL speak https.
	TLS bool
	// Program runs the real program as a process of its own, for Host; without TLS its listener is plain, as behind a
	// proxy that ends TLS. Clock and Gateway are not looked at.
	Program bool
	// Env is more of that process's environment, as NAME=VALUE.
	Env []string
	// Clock is the clock of gateway and issuer. nil: the real one.
	Clock *Clock
	// Issuer is used instead of a new one.
	Issuer *Issuer
	// Logto is used instead of an issuer. Its clock is its own.
	Logto *Logto
	// Options of the gateway itself; Log, Load, Now and the listeners are set by the rig.
	Gateway gateway.Options
}

// Logto is an application at a provider that no rig owns.
type Logto struct{ Endpoint, AppID, AppSecret string }

// DefaultRoutes has every kind of access, and a second host.
const DefaultRoutes = `
  - {name: public, path: /public, access: public, upstreams: [{url: UPSTREAM}]}
  - {name: health, path: /health, match: exact, access: public, upstreams: [{url: UPSTREAM}]}
  - {name: optional, path: /optional, access: optional, upstreams: [{url: UPSTREAM}]}
  - {name: closed, path: /closed, access: deny}
  - {name: admin, title: Administration, path: /admin, allow: [{roles: [admin]}], upstreams: [{url: UPSTREAM}]}
  - {name: office, path: /office, allow: [{email_domains: ["*"], networks: [10.9.0.0/16]}], upstreams: [{url: UPSTREAM}]}
  - {name: api, path: /api, strip_prefix: true, upstreams: [{url: UPSTREAM}]}
  - {name: loose, path: /loose, paths: by-route, upstreams: [{url: UPSTREAM}]}
  - {name: app, title: Wiki, path: /, upstreams: [{url: UPSTREAM}]}
  - {name: second, title: Second, hosts: ["127.0.0.1"], path: /, upstreams: [{url: UPSTREAM}]}
`

// Clock is a clock that a test moves.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock starts at the present second.
func NewClock() *Clock { return &Clock{now: time.Now().Truncate(time.Second)} }

// Now is the time on it.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Add moves it.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Host and SecondHost are the two hosts of a program; nobody resolves them.
const (
	Host       = "gw.test"
	SecondHost = "other.test"
)

// Rig is a gateway in front of an upstream, with an issuer that says what a test wants.
type Rig struct {
	Gateway  *gateway.Gateway // nil: Process
	Process  *Process         // nil: Gateway
	Issuer   *Issuer          // nil: Options.Logto
	Upstream *Upstream
	Clock    *Clock // nil: the real clock
	URL      string // http://localhost:PORT, or https; of a program https://gw.test
	Second   string // http://127.0.0.1:PORT, another host of the same gateway; of a program https://other.test
	TLS      bool   // it listens inside TLS
	Addr     string // where it listens
	Log      *Lines // what it logs, debug level included; of a program Process.Log
	Cert     string // the certificate file; "" without TLS
	Key      string // its key

	opts gateway.Options
	stop context.CancelFunc
	done chan error // nil: it has been stopped

	mu      sync.Mutex
	text    string            // the configuration
	secrets map[string]string // :: value → what it is, of a program
	pages   strings.Builder   // of a program
	kept    map[string]string // :: what it is → text to be searched, of a program
}

// New starts a rig; it ends with the test.
func New(t testing.TB, o *Options) *Rig {
	t.Helper()
	if o == nil {
		o = &Options{}
	}
	r := &Rig{Issuer: o.Issuer, Upstream: NewUpstream(t), Clock: o.Clock, Log: &Lines{}}
	if r.Issuer == nil && o.Logto == nil {
		r.Issuer = NewIssuer(t)
	}
	if r.Clock != nil && r.Issuer != nil {
		r.Issuer.Do(func(i *Issuer) { i.Now = r.Clock.Now })
	}
	if o.Program {
		r.startProgram(t, o)
		return r
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	r.Addr = l.Addr().String()
	scheme := "http"
	if o.TLS {
		r.TLS, scheme = true, "https"
		r.Cert, r.Key = Certificate(t)
	}
	r.URL, r.Second = fmt.Sprintf("%s://localhost:%d", scheme, port), fmt.Sprintf("%s://127.0.0.1:%d", scheme, port)
	r.Configure(o)

	r.opts = o.Gateway
	level := slog.Leveler(slog.LevelDebug)
	if r.opts.Level != nil {
		level = r.opts.Level
	}
	r.opts.Log = slog.New(slog.NewJSONHandler(r.Log, &slog.HandlerOptions{Level: level}))
	r.opts.Load = r.load
	if r.Clock != nil {
		r.opts.Now = r.Clock.Now
	}
	r.start(t, l)
	t.Cleanup(func() { r.Stop(t) })
	return r
}

func (r *Rig) start(t testing.TB, l net.Listener) {
	t.Helper()
	cfg, err := r.load()
	if err != nil {
		l.Close()
		t.Fatalf("the rig's configuration:\n%v", err)
	}
	r.opts.Public = l
	if r.Gateway, err = gateway.New(cfg, r.opts); err != nil {
		l.Close()
		t.Fatal(err)
	}
	if err := r.Gateway.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Gateway.Run(ctx) }()
	r.stop, r.done = cancel, done
}

// Stop ends the gateway as SIGTERM does, and waits for its end.
func (r *Rig) Stop(t testing.TB) {
	t.Helper()
	if r.Process != nil {
		r.Process.Terminate()
		return
	}
	if r.done == nil {
		return
	}
	r.stop()
	if err := <-r.done; err != nil {
		t.Errorf("the gateway ended with %v", err)
	}
	r.done = nil
}

// Restart stops the gateway and starts another one at the same address, with the present configuration.
func (r *Rig) Restart(t testing.TB) {
	t.Helper()
	r.Stop(t)
	if r.Process != nil {
		r.startProcess(t)
		return
	}
	l, err := net.Listen("tcp", r.Addr)
	if err != nil {
		t.Fatal(err)
	}
	r.start(t, l)
}

// Configure writes the configuration that the gateway reads next, at its start or at a reload.
func (r *Rig) Configure(o *Options) {
	routes, session := o.Routes, o.Session
	if routes == "" {
		routes = DefaultRoutes
	}
	if session == "" {
		session = "store: memory"
	}
	app := o.Logto
	if app == nil {
		app = &Logto{r.Issuer.URL, r.Issuer.AppID, r.Issuer.AppSecret}
	}
	var tls string
	if r.TLS {
		tls = fmt.Sprintf("tls: {cert_file: %q, key_file: %q}", r.Cert, r.Key)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text = fmt.Sprintf(`listen: 127.0.0.1:0
external_url: %s
admin: {%s}
logto: {endpoint: "%s", app_id: %s, app_secret: %s, management: {%s}}
session: {%s}
allow: [{email_domains: ["*"]}]
shutdown: {%s}
log: {%s}
%s
routes:%s
%s`, r.URL, cmp.Or(o.Admin, `listen: "127.0.0.1:0", token: `+AdminToken), app.Endpoint, app.AppID, app.AppSecret, o.Management, session,
		cmp.Or(o.Shutdown, "timeout: 2s"), cmp.Or(o.Log, "level: debug"), tls,
		strings.ReplaceAll(routes, "UPSTREAM", `"`+r.Upstream.URL+`"`), o.Extra)
	if r.Process != nil {
		r.Process.Configure(r.text)
	}
}

func (r *Rig) load() (*config.Config, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return config.Load(config.Options{Path: "rig.yaml", Text: []byte(r.text)})
}

// Browser is a new person in front of the rig.
func (r *Rig) Browser(t testing.TB) *Browser {
	if r.Process != nil {
		return r.programBrowser(t)
	}
	return NewBrowser(t, map[string]string{"localhost": r.Addr})
}

// adminAddr is where the admin listener listens.
func (r *Rig) adminAddr() string {
	if r.Process != nil {
		_, admin := r.Process.Addresses()
		return admin
	}
	return r.Gateway.AdminAddr().String()
}

// SignedIn is a new person who has signed in and stands on path.
func (r *Rig) SignedIn(t testing.TB, path string) *Browser {
	t.Helper()
	b := r.Browser(t)
	if resp := b.Visit(r.URL + path); resp.StatusCode != http.StatusOK {
		t.Fatalf("signing in for %s: got %s, want 200\n%s", path, resp.Status, resp.Text)
	}
	return b
}

// AdminToken is the token of the rig's admin listener.
const AdminToken = "0123456789abcdefghijklmnopqrstuv"

// Admin asks the admin listener, with its token.
func (r *Rig) Admin(t testing.TB, method, path string) *Response {
	t.Helper()
	b := NewBrowser(t, nil)
	req, err := http.NewRequest(method, "http://"+r.adminAddr()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+AdminToken)
	req.Close = true // nothing is held open by those who look at what is
	return b.Do(req)
}

// Sessions is how many sessions the store holds.
func (r *Rig) Sessions(t testing.TB) int {
	t.Helper()
	var status struct{ Sessions int }
	resp := r.Admin(t, http.MethodGet, "/api/status")
	if err := json.Unmarshal([]byte(resp.Text), &status); err != nil {
		t.Fatalf("status: %v\n%s", err, resp.Text)
	}
	return status.Sessions
}

// Cookie is the name of the session cookie.
func (r *Rig) Cookie() string {
	if strings.HasPrefix(r.URL, "https:") {
		return "__Host-portero"
	}
	_, port, _ := strings.Cut(strings.TrimPrefix(r.URL, "http://"), ":")
	return "portero-" + port
}

// Lines is a log that a test can read while it is written.
type Lines struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	dropped bool
}

// Drop forgets what was logged and keeps nothing more, for tests that look at memory.
func (l *Lines) Drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf, l.dropped = bytes.Buffer{}, true
}

func (l *Lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dropped {
		return len(p), nil
	}
	return l.buf.Write(p)
}

func (l *Lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
