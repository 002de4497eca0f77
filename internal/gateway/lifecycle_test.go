package gateway_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"portero/internal/config"
	"portero/internal/gateway"
	"portero/internal/gatewaytest"
)

// No goroutine outlives the gateways, issuers and applications of these tests.
// A pool of go-redis whose server is gone notices within a second, asleep, that it was closed.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// OP-08: readiness goes first; until shutdown.delay is over requests are taken; what is under way ends by itself; what
// would not is told so and closed.
func TestGracefulShutdown(t *testing.T) {
	t.Parallel()
	a := newApp(t)
	rig := gatewaytest.New(t, &gatewaytest.Options{Routes: a.routes, Shutdown: "delay: 700ms, timeout: 4s"})
	b := rig.SignedIn(t, "/")
	socket := dialSocket(t, rig, b, "/ws", nil)
	events := b.Open(b.Request(http.MethodGet, rig.URL+"/events", nil, nil))
	defer events.Body.Close()
	pr, pw := io.Pipe()
	upload := make(chan *gatewaytest.Response, 1)
	go func() {
		upload <- b.Do(b.Request(http.MethodPost, rig.URL+"/upload", pr, map[string]string{"Origin": rig.URL, "Sec-Fetch-Site": "same-origin"}))
	}()
	pw.Write([]byte("first"))

	start := time.Now()
	stopped := make(chan time.Duration, 1)
	go func() { rig.Stop(t); stopped <- time.Since(start) }()
	eventually(t, "readiness is off", func() bool {
		status, _, checks := readyz(t, rig)
		return status == 503 && checks["gateway"] == "failed"
	})
	if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
		t.Errorf("while readiness is off and the delay is not over: got %s, want 200", got.Status)
	}
	if took := time.Since(start); took > 700*time.Millisecond {
		t.Skipf("the machine is too slow to tell: %s", took)
	}
	socket.send("still open")
	if got := socket.receive(); got != "still open" {
		t.Errorf("WebSocket during the delay: got %q", got)
	}
	eventually(t, "nobody listens any more", func() bool {
		c, err := net.Dial("tcp", rig.Addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	pw.Write([]byte(" second"))
	pw.Close()
	if got := <-upload; got.StatusCode != http.StatusOK || !strings.Contains(got.Text, `"bytes":12`) {
		t.Errorf("the upload that was under way: got %s %s", got.Status, got.Text)
	}
	if code := socket.closed(); code != 1001 { // going away
		t.Errorf("WebSocket at the end: closed with %d, want 1001", code)
	}
	if _, err := io.ReadAll(events.Body); err != nil {
		t.Errorf("the event stream broke off: %v", err)
	}
	if took := <-stopped; took > 5*time.Second {
		t.Errorf("shutting down took %s, want delay and timeout at most", took)
	}
}

// What goes on until somebody ends it ends first, whosever it is; what ends by itself has the whole of shutdown.timeout.
func TestShutdownEndsStreamsFirst(t *testing.T) {
	t.Parallel()
	a := newApp(t)
	rig := gatewaytest.New(t, &gatewaytest.Options{Routes: a.routes, Shutdown: "timeout: 1m"})
	b := rig.SignedIn(t, "/")
	type upload struct {
		path   string
		body   *io.PipeWriter
		answer chan *gatewaytest.Response
	}
	var uploads []upload
	sockets, streams := map[string]*socket{}, map[string]io.Reader{}
	for _, prefix := range []string{"", "/public"} {
		sockets[prefix] = dialSocket(t, rig, b, prefix+"/ws", nil)
		events := b.Open(b.Request(http.MethodGet, rig.URL+prefix+"/events", nil, nil))
		defer events.Body.Close()
		streams[prefix] = events.Body
		pr, pw := io.Pipe()
		u := upload{prefix + "/upload", pw, make(chan *gatewaytest.Response, 1)}
		uploads = append(uploads, u)
		arrived := a.hits.Load() + 1
		go func() {
			u.answer <- b.Do(b.Request(http.MethodPost, rig.URL+u.path, pr, map[string]string{"Origin": rig.URL, "Sec-Fetch-Site": "same-origin"}))
		}()
		pw.Write([]byte("first"))
		eventually(t, u.path+" has arrived", func() bool { return a.hits.Load() == arrived })
	}

	start := time.Now()
	stopped := make(chan struct{})
	go func() { rig.Stop(t); close(stopped) }()
	for prefix, s := range sockets {
		if code := s.closed(); code != 1001 { // going away
			t.Errorf("%s/ws: closed with %d, want 1001", prefix, code)
		}
	}
	for prefix, events := range streams {
		if _, err := io.ReadAll(events); err != nil {
			t.Errorf("%s/events broke off: %v", prefix, err)
		}
	}
	for range streams {
		waitFor(t, "the application to notice that a stream is over", a.gone)
	}
	for _, u := range uploads {
		u.body.Write([]byte(" second"))
		u.body.Close()
		if got := <-u.answer; got.StatusCode != http.StatusOK || !strings.Contains(got.Text, `"bytes":12`) {
			t.Errorf("%s, which was under way: got %s %s", u.path, got.Status, got.Text)
		}
	}
	<-stopped
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("shutting down took %s, want no longer than the uploads", took)
	}
}

// The bound of a shutdown holds, whoever does not end.
func TestShutdownKeepsItsBound(t *testing.T) {
	t.Parallel()
	a := newApp(t)
	rig := gatewaytest.New(t, &gatewaytest.Options{Routes: a.routes, Shutdown: "timeout: 1s"})
	b := rig.SignedIn(t, "/")
	for _, path := range []string{"/wait/1", "/public/wait/2"} {
		go func() {
			if resp, err := b.Send(b.Request(http.MethodGet, rig.URL+path, nil, nil)); err == nil {
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		}()
		waitFor(t, path, a.begun)
	}
	idle := rig.Dial(t)
	idle.Send("GET / HTTP/1.1\r\nHost: lo") // half a request
	public := dialSocket(t, rig, rig.Browser(t), "/public/ws", nil)
	start := time.Now()
	rig.Stop(t)
	if took := time.Since(start); took > 2500*time.Millisecond {
		t.Errorf("shutting down took %s, want one second", took)
	}
	if code := public.closed(); code != 1001 {
		t.Errorf("a WebSocket of nobody: closed with %d, want 1001", code)
	}
	for range 2 {
		waitFor(t, "the application to notice", a.gone)
	}
}

// A shutdown with nothing to wait for takes no time.
func TestShutdownOfIdleGateway(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	rig.SignedIn(t, "/")
	start := time.Now()
	rig.Stop(t)
	if took := time.Since(start); took > time.Second {
		t.Errorf("got %s, want less than a second", took)
	}
}

// A refresh that is under way when the process ends is waited for: its tokens are kept for the next one.
func TestShutdownWaitsForRefresh(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s.db")
	rig := refreshRig(t, &gatewaytest.Options{Session: fmt.Sprintf("store: file, file: {path: %q}", path)})
	rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.Rotating = true })
	b := rig.SignedIn(t, "/")
	arrived, release := make(chan struct{}), make(chan struct{})
	answerRefresh(rig, func(w http.ResponseWriter, r *http.Request) bool {
		answerRefresh(rig, nil)
		close(arrived)
		<-release
		return false
	})
	rig.Clock.Add(late)
	b.Get(rig.URL + "/")
	<-arrived
	time.AfterFunc(200*time.Millisecond, func() { close(release) })
	rig.Restart(t)
	rig.Clock.Add(quick)
	if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
		t.Errorf("after the restart: got %s, want 200 with the refresh token that came last", got.Status)
	}
	if got := rig.Issuer.Calls("refresh_token"); got != 2 {
		t.Errorf("refreshes: got %d, want 2", got)
	}
}

// The file store outlives the process, and so do its secret and whoever is on the way to sign in.
func TestFileStoreRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "sessions.db")
	rig := gatewaytest.New(t, &gatewaytest.Options{Session: fmt.Sprintf("store: file, file: {path: %q}", path)})
	b := rig.SignedIn(t, "/")
	out := rig.SignedIn(t, "/second")
	gone := out.Cookies("localhost")[rig.Cookie()]
	half := rig.Browser(t)
	back := half.Get(half.Get(rig.URL + "/wanted").Location())
	for _, name := range []string{path, path + ".secret"} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got %v, %v; want mode 0600", name, info, err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{b.Cookies("localhost")[rig.Cookie()], "alice@example.com", "t8x4l8ohti1t"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the session file holds %q in the clear", secret)
		}
	}

	rig.Restart(t)
	if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
		t.Errorf("the session after a restart: got %s, want 200", got.Status)
	}
	if got := half.Follow(half.Get(back.Location())); got.StatusCode != http.StatusOK || got.Request.URL.Path != "/wanted" {
		t.Errorf("a sign-in that began before: got %s at %s, want 200 at /wanted", got.Status, got.Request.URL)
	}
	out.Post(rig.URL+"/sign-out", nil)
	rig.Restart(t)
	out.SetCookie("localhost", rig.Cookie(), gone)
	if got := out.Get(rig.URL + "/"); got.StatusCode != http.StatusFound {
		t.Errorf("a session that was ended, after a restart: got %s, want 302", got.Status)
	}
}

// A session file has one owner; the second is told what to do.
func TestFileStoreHasOneOwner(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "sessions.db")
	rig := gatewaytest.New(t, &gatewaytest.Options{Session: fmt.Sprintf("store: file, file: {path: %q}", path)})
	cfg, err := config.Load(config.Options{Path: filepath.Join(dir, "second.yaml"), Text: []byte(fmt.Sprintf(`
upstream: %q
logto: {endpoint: %q, app_id: a, app_secret: abcdefghijabcdefghij}
session: {file: {path: %q}}
allow: [{email_domains: ["*"]}]
`, rig.Upstream.URL, rig.Issuer.URL, path))})
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(cfg, gateway.Options{})
	if err == nil {
		g.Close()
		t.Fatal("a second gateway opened the file")
	}
	if !strings.Contains(err.Error(), "session.file.path") || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "has it open; stop it first") {
		t.Errorf("the error does not say what is wrong: %v", err)
	}
	if got := rig.SignedIn(t, "/"); got == nil {
		t.Error("the first one is disturbed")
	}
}

// The token that was made for the commands lies beside the session file, for its owner alone, while the process runs.
func TestMadeAdminToken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rig := gatewaytest.New(t, &gatewaytest.Options{
		Admin: `listen: "127.0.0.1:0"`, Session: fmt.Sprintf("store: file, file: {path: %q}", filepath.Join(dir, "s.db")),
	})
	var port int
	if _, err := fmt.Sscanf(rig.Gateway.AdminAddr().String(), "127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	file := gateway.TokenFile(dir, port)
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("token file: got %v, %v; want mode 0600", info, err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	token := strings.TrimSpace(string(text))
	if len(token) < 40 || token != rig.Gateway.AdminToken() {
		t.Errorf("token: got %d characters, want the gateway's", len(token))
	}
	for given, want := range map[string]int{token: http.StatusOK, token + "x": http.StatusUnauthorized, "": http.StatusUnauthorized, gatewaytest.AdminToken: http.StatusUnauthorized} {
		b := rig.Browser(t)
		r := b.Request(http.MethodGet, "http://"+rig.Gateway.AdminAddr().String()+"/api/status", nil, map[string]string{"Authorization": "Bearer " + given})
		if got := b.Do(r); got.StatusCode != want {
			t.Errorf("with a token of %d characters: got %s, want %d", len(given), got.Status, want)
		}
	}
	rig.Stop(t)
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the token file outlives the process: %v", err)
	}
	if strings.Contains(rig.Log.String(), token) {
		t.Error("the token is in the log")
	}
}
