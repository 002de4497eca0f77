package gateway_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/gateway"
	"portero/internal/gatewaytest"
)

const (
	before = `
  - {name: app, path: /, upstreams: [{url: UPSTREAM}]}
`
	after = `
  - {name: app, path: /, upstreams: [{url: UPSTREAM}]}
  - {name: news, path: /news, access: public, upstreams: [{url: UPSTREAM}]}
  - {name: gone, path: /gone, access: deny}
`
)

func reload(t testing.TB, rig *gatewaytest.Rig, o *gatewaytest.Options) {
	t.Helper()
	rig.Configure(o)
	if err := rig.Gateway.Reload(); err != nil {
		t.Fatalf("reloading: %v", err)
	}
}

// Invariant 12: a reload that succeeds changes the routes and drops no request, whatever is under way.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, &gatewaytest.Options{Routes: before})
	b := rig.SignedIn(t, "/")
	if got := b.Get(rig.URL + "/gone"); got.StatusCode != http.StatusOK {
		t.Fatalf("before: got %s, want 200", got.Status)
	}

	// One request is under way during all reloads.
	slow, answer := make(chan struct{}), make(chan struct{})
	rig.Upstream.Answer = func(head string) string {
		if strings.HasPrefix(head, "GET /slow ") {
			close(slow)
			<-answer
		}
		return "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
	}
	ended := make(chan *gatewaytest.Response, 1)
	go func() { ended <- b.Get(rig.URL + "/slow") }()
	<-slow

	var stop atomic.Bool
	var served atomic.Int64
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for !stop.Load() {
				if got := b.Get(rig.URL + "/page"); got.StatusCode != http.StatusOK || got.Text != "ok" {
					t.Errorf("during the reloads: got %s", got.Status)
					return
				}
				served.Add(1)
			}
		})
	}
	for n := range 20 {
		reload(t, rig, &gatewaytest.Options{Routes: []string{after, before}[n%2]})
	}
	reload(t, rig, &gatewaytest.Options{Routes: after})
	stop.Store(true)
	wait.Wait()
	close(answer)
	if got := <-ended; got.StatusCode != http.StatusOK || got.Text != "ok" {
		t.Errorf("the request that was under way: got %s", got.Status)
	}
	if served.Load() == 0 {
		t.Error("nothing was served during the reloads")
	}
	if got := rig.Browser(t).Get(rig.URL + "/news/today"); got.StatusCode != http.StatusOK {
		t.Errorf("the new public route: got %s, want 200", got.Status)
	}
	if got := b.Get(rig.URL + "/gone"); got.StatusCode != http.StatusForbidden {
		t.Errorf("the route that was closed: got %s, want 403", got.Status)
	}
	if got := metric(t, rig, "portero_config_last_reload_successful"); got != "1" {
		t.Errorf("portero_config_last_reload_successful: got %s, want 1", got)
	}
}

// Invariant 12: a reload that fails changes nothing, and says which key is at fault.
func TestReloadThatFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.pem")
	if err := os.WriteFile(broken, []byte("canary-not-a-certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	rig := gatewaytest.New(t, &gatewaytest.Options{Routes: before, TLS: true, Session: fmt.Sprintf("store: file, file: {path: %q}", filepath.Join(dir, "s.db"))})
	b := rig.SignedIn(t, "/")
	good := gatewaytest.Options{Routes: after, Session: fmt.Sprintf("store: file, file: {path: %q}", filepath.Join(dir, "s.db"))}
	stamp := metric(t, rig, "portero_config_last_reload_success_timestamp_seconds")

	cases := map[string]struct {
		change func(o *gatewaytest.Options)
		names  string
	}{
		"an unknown key": {func(o *gatewaytest.Options) { o.Extra = "colour: blue" }, "colour"},
		"a bad duration": {func(o *gatewaytest.Options) { o.Shutdown = "timeout: 30" }, "shutdown.timeout"},
		"a bad route": {func(o *gatewaytest.Options) {
			o.Routes = "\n  - {name: app, path: relative, upstreams: [{url: UPSTREAM}]}\n"
		}, "routes[0].path"},
		"no upstream":      {func(o *gatewaytest.Options) { o.Routes = "\n  - {name: app, path: /}\n" }, "routes[0].upstreams"},
		"a missing secret": {func(o *gatewaytest.Options) { o.Session += ", secret_file: /nowhere/secret" }, "session.secret_file"},
		"a short secret":   {func(o *gatewaytest.Options) { o.Session += ", secret: short" }, "session.secret"},
		"another store":    {func(o *gatewaytest.Options) { o.Session = "store: memory" }, "session.store"},
		"another session file": {func(o *gatewaytest.Options) {
			o.Session = fmt.Sprintf("store: file, file: {path: %q}", filepath.Join(dir, "t.db"))
		}, "session.file.path"},
		"another admin token": {func(o *gatewaytest.Options) {
			o.Admin = `listen: "127.0.0.1:0", token: abcdefghijklmnopqrstuvwxyz012345`
		}, "admin.token"},
		"another admin port":  {func(o *gatewaytest.Options) { o.Admin = `listen: "127.0.0.1:1", token: ` + gatewaytest.AdminToken }, "admin.listen"},
		"other endpoints":     {func(o *gatewaytest.Options) { o.Extra = "endpoints: {prefix: /_gate}" }, "endpoints.prefix"},
		"another log format":  {func(o *gatewaytest.Options) { o.Log = "level: debug, format: text" }, "log.format"},
		"no audit file there": {func(o *gatewaytest.Options) { o.Log = "level: debug, audit_file: /nowhere/audit.log" }, "log.audit_file"},
	}
	fails := func(t *testing.T, o *gatewaytest.Options, names string) {
		t.Helper()
		rig.Configure(o)
		err := rig.Gateway.Reload()
		if err == nil {
			t.Fatal("the reload succeeded")
		}
		if !strings.Contains(err.Error(), names) {
			t.Errorf("the error does not name %s: %v", names, err)
		}
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("the error shows what a file holds: %v", err)
		}
		if got := rig.Browser(t).Get(rig.URL + "/news/today"); got.StatusCode != http.StatusFound {
			t.Errorf("a route of the configuration that failed: got %s, want 302 as before", got.Status)
		}
		if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
			t.Errorf("the session: got %s, want 200", got.Status)
		}
		if got := metric(t, rig, "portero_config_last_reload_successful"); got != "0" {
			t.Errorf("portero_config_last_reload_successful: got %s, want 0", got)
		}
		if got := metric(t, rig, "portero_config_last_reload_success_timestamp_seconds"); got != stamp {
			t.Errorf("portero_config_last_reload_success_timestamp_seconds: got %s, want %s as before", got, stamp)
		}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := good
			c.change(&o)
			fails(t, &o, c.names)
		})
	}
	t.Run("a broken certificate", func(t *testing.T) {
		cert := rig.Cert
		defer func() { rig.Cert = cert }()
		rig.Cert = broken
		fails(t, &good, "tls")
	})
	t.Run("no certificate any more", func(t *testing.T) {
		defer func() { rig.TLS = true }()
		rig.TLS = false
		fails(t, &good, "tls")
	})
	t.Run("another external URL", func(t *testing.T) {
		url := rig.URL
		rig.URL = "https://localhost:1"
		rig.Configure(&good)
		rig.URL = url
		err := rig.Gateway.Reload()
		if err == nil || !strings.Contains(err.Error(), "external_url") {
			t.Errorf("got %v, want an error that names external_url", err)
		}
	})
	// What was wrong is put right.
	reload(t, rig, &good)
	if got := rig.Browser(t).Get(rig.URL + "/news/today"); got.StatusCode != http.StatusOK {
		t.Errorf("the route at last: got %s, want 200", got.Status)
	}
	if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
		t.Errorf("the session at last: got %s, want 200", got.Status)
	}
}

// POST /api/reload does what SIGHUP does, and says what went wrong.
func TestReloadOverAdmin(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, &gatewaytest.Options{Routes: before})
	rig.Configure(&gatewaytest.Options{Routes: after})
	if got := rig.Admin(t, http.MethodPost, "/api/reload"); got.StatusCode != http.StatusOK {
		t.Errorf("got %s, want 200\n%s", got.Status, got.Text)
	}
	if got := rig.Browser(t).Get(rig.URL + "/news/"); got.StatusCode != http.StatusOK {
		t.Errorf("the new route: got %s, want 200", got.Status)
	}
	rig.Configure(&gatewaytest.Options{Extra: "colour: blue"})
	if got := rig.Admin(t, http.MethodPost, "/api/reload"); got.StatusCode != http.StatusConflict || !strings.Contains(got.Text, "colour") {
		t.Errorf("a bad configuration: got %s, want 409 and the key\n%s", got.Status, got.Text)
	}
}

// CF-03: sessions and sign-ins under way survive a new secret, as long as the old one is listed.
func TestReloadRotatesSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	one, two, three := file("one", strings.Repeat("1", 40)), file("two", strings.Repeat("2", 40)), file("three", strings.Repeat("3", 40))
	rig := gatewaytest.New(t, &gatewaytest.Options{Session: fmt.Sprintf("store: memory, secret_file: %q", one)})
	b := rig.SignedIn(t, "/")
	half := rig.Browser(t)
	onTheWay := half.Get(half.Get(rig.URL + "/wanted").Location())

	reload(t, rig, &gatewaytest.Options{Session: fmt.Sprintf("store: memory, secret_file: %q, old_secrets: [{file: %q}]", two, one)})
	if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
		t.Errorf("with the old secret listed: got %s, want 200", got.Status)
	}
	if got := half.Follow(half.Get(onTheWay.Location())); got.StatusCode != http.StatusOK || got.Request.URL.Path != "/wanted" {
		t.Errorf("a sign-in that began before: got %s at %s, want 200 at /wanted", got.Status, got.Request.URL)
	}
	// What was used meanwhile is sealed with the new secret: the old one may go.
	reload(t, rig, &gatewaytest.Options{Session: fmt.Sprintf("store: memory, secret_file: %q", two)})
	if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
		t.Errorf("after the old secret was taken away: got %s, want 200", got.Status)
	}
	reload(t, rig, &gatewaytest.Options{Session: fmt.Sprintf("store: memory, secret_file: %q", three)})
	if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusFound {
		t.Errorf("with a secret that opens nothing: got %s, want 302", got.Status)
	}
}

// A new client secret of the application takes effect with a reload; so does a new refusal.
func TestReloadChangesTheClient(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	b := rig.SignedIn(t, "/")
	rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.AppSecret = "rotated-abcdefghijABCDEFGHIJ12345" })
	if got := rig.Browser(t).Visit(rig.URL + "/"); got.StatusCode != http.StatusBadRequest {
		t.Errorf("with the old secret: got %s, want 400", got.Status)
	}
	reload(t, rig, &gatewaytest.Options{})
	if got := rig.Browser(t).Visit(rig.URL + "/"); got.StatusCode != http.StatusOK {
		t.Errorf("with the new secret: got %s, want 200", got.Status)
	}
	if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
		t.Errorf("who was signed in: got %s, want 200", got.Status)
	}
}

// Level and access log follow a reload, and the audit file may be another.
func TestReloadOfLogging(t *testing.T) {
	t.Parallel()
	level := &slog.LevelVar{}
	rig := gatewaytest.New(t, &gatewaytest.Options{Log: "level: info", Gateway: gateway.Options{Level: level}})
	b := rig.Browser(t)
	lines := func(path string) int {
		b.Get(rig.URL + path)
		return strings.Count(rig.Log.String(), `"path":"`+path+`"`)
	}
	if got := lines("/public/one"); got != 1 {
		t.Errorf("access lines: got %d, want 1", got)
	}
	audit := filepath.Join(t.TempDir(), "audit.log")
	reload(t, rig, &gatewaytest.Options{Log: fmt.Sprintf("level: debug, access: false, audit_file: %q", audit)})
	if got := lines("/public/two"); got != 0 {
		t.Errorf("access lines with log.access off: got %d, want 0", got)
	}
	if level.Level() != slog.LevelDebug {
		t.Errorf("level: got %s, want DEBUG", level.Level())
	}
	b.Get(rig.URL + "/closed")
	if got, err := os.ReadFile(audit); err != nil || !strings.Contains(string(got), `"path":"/closed"`) {
		t.Errorf("audit file: got %q, %v; want a line about /closed", got, err)
	}
	if info, err := os.Stat(audit); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("audit file: got %v, %v; want mode 0600", info, err)
	}
	reload(t, rig, &gatewaytest.Options{Log: "level: warn"})
	if got := lines("/public/three"); got != 0 || level.Level() != slog.LevelWarn {
		t.Errorf("at level warn: got %d access lines and %s", got, level.Level())
	}
}

// Certificates and secret files are watched, without being asked to; the configuration file only when asked.
func TestWatchedFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(secret+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(secret+".new", secret); err != nil {
			t.Fatal(err)
		}
	}
	write(strings.Repeat("1", 40))
	rig := gatewaytest.New(t, &gatewaytest.Options{TLS: true, Session: "store: memory"})
	serial := func() string {
		c, err := tls.Dial("tcp", rig.Addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	// A file that a reload brings is watched from then on.
	reload(t, rig, &gatewaytest.Options{Session: fmt.Sprintf("store: memory, secret_file: %q", secret)})
	b := rig.SignedIn(t, "/")

	old, notAfter := serial(), metric(t, rig, "portero_certificate_not_after_timestamp_seconds")
	cert, key := gatewaytest.Certificate(t)
	replace(t, cert, rig.Cert)
	replace(t, key, rig.Key)
	eventually(t, "the new certificate is presented", func() bool { return serial() != old })
	if notAfter == "" {
		t.Error("portero_certificate_not_after_timestamp_seconds is missing")
	}
	if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
		t.Errorf("the session: got %s, want 200", got.Status)
	}

	// A pair that does not fit changes nothing.
	fresh := serial()
	if err := os.WriteFile(rig.Cert, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the reload has failed", func() bool { return strings.Contains(rig.Log.String(), "reload failed") })
	if got := serial(); got != fresh {
		t.Error("a broken certificate replaced one that works")
	}
	cert, key = gatewaytest.Certificate(t)
	replace(t, cert, rig.Cert)
	replace(t, key, rig.Key)
	eventually(t, "the next certificate is presented", func() bool { return serial() != fresh })

	eventually(t, "the secret is noticed: with a new one, and the old one not listed, the session is over", func() bool {
		write(strings.Repeat("2", 40))
		return b.Get(rig.URL+"/").StatusCode == http.StatusFound
	})
}

// replace puts a copy of a file in place of another, as programs that renew certificates do.
func replace(t testing.TB, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = errors.Join(os.WriteFile(to+".new", text, 0o600), os.Rename(to+".new", to))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A WebSocket and a download outlive a reload that takes their route away; the next request has the new routes.
func TestReloadKeepsLiveConnections(t *testing.T) {
	t.Parallel()
	app := newApp(t)
	rig := gatewaytest.New(t, &gatewaytest.Options{Routes: app.routes})
	b := rig.SignedIn(t, "/")
	socket := dialSocket(t, rig, b, "/ws", nil)
	socket.send("one")
	if got := socket.receive(); got != "one" {
		t.Fatalf("echo: got %q, want one", got)
	}
	events := b.Open(b.Request(http.MethodGet, rig.URL+"/events", nil, nil))
	defer events.Body.Close()
	app.event <- "first"
	if got := readEvent(t, events.Body); got != "first" {
		t.Fatalf("event: got %q, want first", got)
	}
	reload(t, rig, &gatewaytest.Options{Routes: "\n  - {name: closed, path: /, access: deny}\n"})
	if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusForbidden {
		t.Errorf("the next request: got %s, want 403", got.Status)
	}
	socket.send("two")
	if got := socket.receive(); got != "two" {
		t.Errorf("echo after the reload: got %q, want two", got)
	}
	app.event <- "second"
	if got := readEvent(t, events.Body); got != "second" {
		t.Errorf("event after the reload: got %q, want second", got)
	}
	// They end with their session all the same.
	reload(t, rig, &gatewaytest.Options{Routes: app.routes})
	start := time.Now()
	b.Post(rig.URL+"/sign-out", nil)
	if code := socket.closed(); code != 1008 || time.Since(start) > 2*time.Second {
		t.Errorf("after the sign-out: closed with %d after %s, want 1008 within two seconds", code, time.Since(start))
	}
	if _, err := io.ReadAll(events.Body); err != nil {
		t.Errorf("the event stream broke off: %v", err)
	}
}
