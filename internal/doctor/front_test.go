package doctor

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"portero/internal/config"
	"portero/internal/redistest"
)

// clock is the time of checks that compare none.
func clock() time.Time { return time.Now() }

// adminOf is an admin listener that says that of a gateway.
func adminOf(t *testing.T, status int, readiness, metrics string) string {
	t.Helper()
	return strings.TrimPrefix(front(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			io.WriteString(w, metrics)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, readiness)
	}, nil), "http://")
}

const isReady = `{"status":"ok","checks":[{"name":"gateway","state":"ok"}]}`

func runningAt(t *testing.T, listen, more string) *running {
	t.Helper()
	c := loaded(t, "upstream: http://127.0.0.1:8080\nadmin: {listen: \""+listen+"\"}\n"+more)
	return &running{config: c, version: "v1", asker: asker{plainClient(), clock}}
}

func TestGatewayRuns(t *testing.T) {
	t.Parallel()
	unready := `{"status":"failed","checks":[{"name":"gateway","state":"ok"},{"name":"store","state":"failed","detail":"` + foreignText + `"}]}`
	for _, tt := range []struct {
		name, listen string
		want         Status
		words        []string
	}{
		{"ready", adminOf(t, 200, isReady, ""), OK, nil},
		{"not there", closedPort(t), Skipped, []string{"portero serve"}},
		{"not ready", adminOf(t, 503, unready, ""), Failed, []string{"store"}},
		{"degraded", adminOf(t, 200, `{"status":"degraded","checks":[{"name":"logto","state":"degraded"}]}`, ""), Warning, []string{"logto"}},
		{"somebody else", adminOf(t, 200, "hello", ""), Failed, []string{"admin.listen"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			outcome(t, runningAt(t, tt.listen, "").checkGateway(t.Context()), tt.want, tt.words...)
		})
	}
}

func TestConfigurationThatRuns(t *testing.T) {
	t.Parallel()
	now := time.Now().Truncate(time.Second)
	metrics := func(version string, at time.Time) string {
		return fmt.Sprintf("# HELP x\nportero_build_info{goversion=\"go1\",version=%q} 1\nportero_config_last_reload_success_timestamp_seconds %g\n", version, float64(at.Unix()))
	}
	for _, tt := range []struct {
		name, metrics string
		want          Status
		words         []string
	}{
		{"as the file is", metrics("v1", now.Add(time.Minute)), OK, nil},
		{"changed since", metrics("v1", now.Add(-time.Hour)), Warning, []string{"kill -HUP"}},
		{"another version", metrics("v0", now.Add(time.Minute)), Warning, []string{`"v0"`, `"v1"`}},
		{"nothing told", "", OK, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := runningAt(t, adminOf(t, 200, isReady, tt.metrics), "")
			r.config.File = filepath.Join(t.TempDir(), "portero.yaml")
			if err := os.WriteFile(r.config.File, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(r.config.File, now, now); err != nil {
				t.Fatal(err)
			}
			outcome(t, r.checkLoaded(t.Context()), tt.want, tt.words...)
		})
	}
	t.Run("no gateway", func(t *testing.T) {
		outcome(t, runningAt(t, closedPort(t), "").checkLoaded(t.Context()), Skipped, "see gateway")
	})
	t.Run("metrics that cannot be read", func(t *testing.T) {
		outcome(t, runningAt(t, adminOf(t, 200, isReady, strings.Repeat("x", 100<<10)), "").checkLoaded(t.Context()), Skipped, "metrics cannot be read", "admin.listen")
	})
	t.Run("a file that is gone", func(t *testing.T) {
		r := runningAt(t, adminOf(t, 200, isReady, metrics("v1", now)), "")
		outcome(t, r.checkLoaded(t.Context()), Failed, "cannot be looked at", r.config.File)
	})
}

func TestExternalURL(t *testing.T) {
	t.Parallel()
	ours := front(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/_portero/backchannel-logout" || r.Method != http.MethodGet {
			t.Errorf("got a request for %s", r.URL)
		}
		w.Header().Set("Proxy-Status", "portero; error=http_request_denied")
		w.WriteHeader(http.StatusMethodNotAllowed)
	}, nil)
	for _, tt := range []struct {
		name, address string
		want          Status
		words         []string
	}{
		{"the gateway", ours, OK, nil},
		{"somebody else", serves(t, 404, nil), Failed, []string{"external_url", "404"}},
		{"nobody", "http://" + closedPort(t), Warning, []string{"external_url", "nobody listens"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			outcome(t, runningAt(t, adminOf(t, 200, isReady, ""), "external_url: "+tt.address+"\n").checkExternalURL(t.Context()), tt.want, tt.words...)
		})
	}
	t.Run("no gateway", func(t *testing.T) {
		outcome(t, runningAt(t, closedPort(t), "").checkExternalURL(t.Context()), Skipped, "see gateway")
	})
}

func TestForwardAuth(t *testing.T) {
	t.Parallel()
	asked := func(listen, address string) Finding {
		r := runningAt(t, listen, "external_url: "+address+"\n")
		r.config.Routes[0].ForwardAuthOnly = true
		return r.checkForwardAuth(t.Context())
	}
	open := front(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/_portero/auth" {
			t.Errorf("got a request for %s", r.URL)
		}
		w.Header().Set("Proxy-Status", "portero; error=http_request_denied")
		w.WriteHeader(http.StatusBadRequest)
	}, nil)
	asks := front(t, func(w http.ResponseWriter, _ *http.Request) { // as Traefik does
		w.Header().Set("Proxy-Status", "portero; error=http_request_denied")
		w.WriteHeader(http.StatusForbidden)
	}, nil)
	alias := front(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/oauth2/auth" {
			w.Header().Set("Proxy-Status", "portero; error=http_request_denied")
		}
		w.WriteHeader(http.StatusNotFound)
	}, nil)
	admin := func() string { return adminOf(t, 200, isReady, "") }
	outcome(t, asked(admin(), open), Failed, "/_portero/auth", "404", "forward_auth_only")
	outcome(t, asked(admin(), serves(t, 404, nil)), OK)
	outcome(t, asked(admin(), asks), OK)
	outcome(t, asked(admin(), alias), OK)
	outcome(t, asked(admin(), alias+"\nendpoints: {aliases: oauth2-proxy}"), Failed, "/oauth2/auth", "404")
	outcome(t, asked(admin(), "http://"+closedPort(t)), Skipped, "see external-url")
	outcome(t, asked(closedPort(t), open), Skipped, "see gateway")
	outcome(t, runningAt(t, admin(), "").checkForwardAuth(t.Context()), OK, "forward_auth_only")
}

func TestSessionStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	there := filepath.Join(dir, "portero.db")
	if err := os.WriteFile(there, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	store := func(text string) Finding {
		return checkStore(t.Context(), loaded(t, "upstream: http://127.0.0.1:8080\nsession: {"+text+"}\n"))
	}
	outcome(t, store("store: memory"), OK, "memory")
	outcome(t, store("store: file, file: {path: "+there+"}"), OK, there)
	outcome(t, store("store: file, file: {path: "+filepath.Join(dir, "new.db")+"}"), OK, "can be made")
	outcome(t, store("store: file, file: {path: "+filepath.Join(dir, "none", "new.db")+"}"), Failed, "session.file.path")
	outcome(t, store("store: file, file: {path: "+dir+"}"), Failed, "session.file.path")
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
	const secret = "secret: 0123456789abcdefghijklmnopqrstuvwxyz"
	outcome(t, store("store: redis, "+secret+`, redis: {url: "redis://:hunter2hunter2@`+closedPort(t)+`/0"}`), Failed, "session.redis")
	server := redistest.Start(t)
	at := `redis: {url: "redis://` + server.Addr + `/0"}`
	outcome(t, store("store: redis, "+secret+", "+at), OK)
	server.Do("CONFIG", "SET", "min-replicas-to-write", "1")
	outcome(t, store("store: redis, "+secret+", "+at), Failed, "NOREPLICAS", "session.redis")
	server.Do("CONFIG", "SET", "min-replicas-to-write", "0")
	server.Do("CONFIG", "SET", "requirepass", "hunter2hunter2")
	got := checkStore(t.Context(), loaded(t, "upstream: http://127.0.0.1:8080\nsession: {store: redis, "+secret+", "+at+"}\n"))
	outcome(t, got, Failed, "NOAUTH")
	if strings.Contains(fmt.Sprint(got), "hunter2") {
		t.Errorf("it has the password: %+v", got)
	}
}

// What config refuses, should it change after that.
func TestRedisThatCannotBeAsked(t *testing.T) {
	t.Parallel()
	r := config.Redis{Addresses: []string{closedPort(t)}, Cluster: true, MasterName: "main"}
	outcome(t, checkRedis(t.Context(), r), Failed, "session.redis")
	r.TLS.CAFile = filepath.Join(t.TempDir(), "gone")
	outcome(t, checkRedis(t.Context(), r), Failed, "session.redis.tls.ca_file")
}

func TestACheckThatBreaksOff(t *testing.T) {
	t.Parallel()
	outcome(t, check{name: "x", run: nil}.look(t.Context()), Failed, "broke off")
}
