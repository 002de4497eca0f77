package replicas_test

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

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
	program := build(t)
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
		r := &replica{t: t, N: i, program: program, dir: t.TempDir()}
		redis := o.Redis
		if s.Redis != nil {
			r.Link = redistest.NewProxy(t, s.Redis.Addr)
			redis = fmt.Sprintf("url: %q", "redis://"+r.Link.Addr+"/0")
		}
		r.configure(s, o, redis)
		s.Replicas = append(s.Replicas, r)
		t.Cleanup(r.cleanUp)
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
	N    int
	Link *redistest.Proxy // to Redis; nil: it goes there directly

	t       testing.TB
	program string
	dir     string

	mu            sync.Mutex
	cmd           *exec.Cmd
	ended         chan struct{} // of cmd
	asked         bool          // the process was told to end
	public, admin string        // where it listens
}

func (r *replica) String() string { return fmt.Sprintf("replica %d", r.N) }

func (r *replica) configure(s *site, o options, redis string) {
	issuer := s.Issuer
	text := fmt.Sprintf(`listen: 127.0.0.1:0
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
		secret, redis, o.Session, cmp.Or(o.Shutdown, "timeout: 2s"), s.Upstream.URL)
	if err := os.WriteFile(r.file("portero.yaml"), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *replica) file(name string) string { return filepath.Join(r.dir, name) }

// Log is what all processes of the replica have written.
func (r *replica) Log() string {
	text, _ := os.ReadFile(r.file("log"))
	return string(text)
}

// Addresses are the public listener's and the admin listener's of the latest process.
func (r *replica) Addresses() (public, admin string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.public, r.admin
}

// Start starts a process and waits until it listens.
func (r *replica) Start() {
	r.t.Helper()
	log, err := os.OpenFile(r.file("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		r.t.Error(err)
		return
	}
	defer log.Close()
	cmd := exec.Command(r.program, "serve", "--config", r.file("portero.yaml"))
	cmd.Dir, cmd.Env, cmd.Stderr, cmd.SysProcAttr = r.dir, environment(), log, dieWithParent()
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Error(err)
		return
	}
	if err := cmd.Start(); err != nil {
		r.t.Error(err)
		return
	}
	ended, listening := make(chan struct{}), make(chan [2]string, 1)
	r.mu.Lock()
	r.cmd, r.ended, r.asked = cmd, ended, false
	r.mu.Unlock()
	go func() {
		announced(out, listening)
		err := cmd.Wait()
		r.mu.Lock()
		if !r.asked {
			r.t.Errorf("%s has ended by itself: %v", r, err)
		}
		r.mu.Unlock()
		close(ended)
	}()
	select {
	case at := <-listening:
		r.mu.Lock()
		r.public, r.admin = at[0], at[1]
		r.mu.Unlock()
	case <-ended:
		r.t.Errorf("%s does not start:\n%s", r, r.Log())
	case <-time.After(startTimeout):
		r.t.Errorf("%s does not say that it listens:\n%s", r, r.Log())
	}
}

// announced reads what a process says about itself, to its end, and sends on where it listens.
func announced(out io.Reader, listening chan<- [2]string) {
	var at [2]string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		words := strings.Fields(lines.Text())
		switch {
		case strings.HasPrefix(lines.Text(), "listening on ") && len(words) > 2:
			at[0] = words[2]
		case strings.HasPrefix(lines.Text(), "admin listener on ") && len(words) > 3:
			at[1] = words[3]
			listening <- at
		}
	}
}

func (r *replica) process() (*os.Process, chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = true
	if r.cmd == nil {
		return nil, nil
	}
	return r.cmd.Process, r.ended
}

// Kill ends the process at once.
func (r *replica) Kill() {
	if process, ended := r.process(); process != nil {
		process.Kill()
		<-ended
	}
}

// Terminate asks the process to end in its own time, and waits for that.
func (r *replica) Terminate() {
	r.t.Helper()
	process, ended := r.process()
	if process == nil {
		return
	}
	if err := process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		r.t.Errorf("%s: %v", r, err)
	}
	select {
	case <-ended:
	case <-time.After(startTimeout):
		r.t.Errorf("%s does not end:\n%s", r, r.Log())
		r.Kill()
	}
}

// Pause stops the process where it is; Resume lets it go on.
func (r *replica) Pause()  { r.signal(pause) }
func (r *replica) Resume() { r.signal(resume) }

func (r *replica) signal(send func(*os.Process) error) {
	r.t.Helper()
	r.mu.Lock()
	cmd := r.cmd
	r.mu.Unlock()
	if err := send(cmd.Process); err != nil && !errors.Is(err, os.ErrProcessDone) {
		r.t.Errorf("%s: %v", r, err)
	}
}

// cleanUp ends the process whatever state it is in, and tells what a reader of a failed test wants to know.
func (r *replica) cleanUp() {
	r.Kill()
	log := r.Log()
	for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if strings.Contains(log, bad) {
			r.t.Errorf("%s: its log has %q", r, bad)
		}
	}
	if r.t.Failed() {
		const most = 4 << 10
		r.t.Logf("the end of the log of %s:\n%s", r, log[max(0, len(log)-most):])
	}
}

// hostOf is the host of an address, with its port.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}
