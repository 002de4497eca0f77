package catalogue_test

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// gracefulStop ends a program while much is under way.
func gracefulStop(t *testing.T, _ *doors) {
	const each = 100
	store := fmt.Sprintf("store: file, file: {path: %q}", filepath.Join(t.TempDir(), "s.db"))
	f := newFront(t, gatewaytest.Options{Session: store, Shutdown: "delay: 2s, timeout: 40s", Log: "level: info"})
	w := way{front: f}
	f.Upstream.Say(func(head string) string {
		if strings.Contains(head, "Upgrade: websocket") {
			return "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
		}
		return "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone"
	}, false)

	var uploads, sockets []*gatewaytest.Conn
	for range each {
		c := f.Dial(t)
		c.Send("POST /app/upload HTTP/1.1\r\nHost: gw.test\r\nOrigin: https://gw.test\r\nSec-Fetch-Site: same-origin\r\nCookie: " + f.alice + "\r\nContent-Length: 12\r\n\r\nfirst ")
		uploads = append(uploads, c)
		c = f.Dial(t)
		c.Send("GET /app/ws HTTP/1.1\r\nHost: gw.test\r\nOrigin: https://gw.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: " + f.alice + "\r\n\r\n")
		if a := c.Answer("GET"); a.Status != http.StatusSwitchingProtocols {
			t.Fatalf("a WebSocket: got %s", a)
		}
		sockets = append(sockets, c)
	}
	release := make(chan struct{})
	var called atomic.Int64
	people, answers := make([]*traveller, each), make([]*gatewaytest.Answer, each)
	backs := make([]string, each)
	for i := range people {
		people[i] = w.traveller(t)
		backs[i] = people[i].leave(t, "/app")
	}
	f.issuer(t, func(i *gatewaytest.Issuer) {
		i.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/oidc/token" {
				called.Add(1)
				<-release
			}
			return false
		}
	})
	var signIns sync.WaitGroup
	for i, p := range people {
		signIns.Go(func() { answers[i] = p.get(t, backs[i]) })
	}
	gatewaytest.Await(t, "all sign-ins have come to the token call", func() bool { return called.Load() == each })
	gatewaytest.Await(t, "all uploads have arrived", func() bool { return strings.Count(f.Upstream.Bytes(), "first ") == each })

	stopped := make(chan struct{})
	go func() { f.Process.Terminate(); close(stopped) }()
	// 1. Readiness is off, and requests are still taken.
	gatewaytest.Await(t, "readiness is off", func() bool {
		return f.Admin(t, http.MethodGet, "/readyz").StatusCode == http.StatusServiceUnavailable
	})
	if c, err := net.Dial("tcp", f.Addr); err == nil { // else the machine was too slow to see it
		c.SetDeadline(time.Now().Add(15 * time.Second))
		io.WriteString(c, "GET /public/x HTTP/1.1\r\nHost: gw.test\r\nConnection: close\r\n\r\n")
		if text, err := io.ReadAll(c); len(text) > 0 && !strings.HasPrefix(string(text), "HTTP/1.1 200") {
			t.Errorf("a request while readiness is off: got %q, %v, want 200", text, err)
		}
		c.Close()
	}
	// 2. Nobody listens any more.
	gatewaytest.Await(t, "nobody listens", func() bool {
		c, err := net.Dial("tcp", f.Addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	select {
	case <-stopped:
		t.Fatal("the program has ended with everything under way")
	default:
	}
	// 3. Sockets are told; what ends by itself is waited for.
	for i, c := range sockets {
		c.SetDeadline(time.Now().Add(20 * time.Second))
		frame := make([]byte, 4)
		if _, err := io.ReadFull(c, frame); err != nil || frame[0] != 0x88 || int(frame[2])<<8|int(frame[3]) != 1001 {
			t.Errorf("WebSocket %d: got % x, %v, want a close frame with 1001", i, frame, err)
		}
		c.Close()
	}
	for i, c := range uploads {
		c.Send("second")
		if a := c.Answer("POST"); a.Status != http.StatusOK || a.Body != "done" {
			t.Errorf("upload %d: got %s, want 200", i, a)
		}
	}
	close(release)
	signIns.Wait()
	for i, p := range people {
		if answers[i].Status != http.StatusSeeOther || p.session() == "" {
			t.Errorf("sign-in %d: got %s, want 303 and a session", i, answers[i])
		}
	}
	<-stopped
	if code := f.Process.ExitCode(); code != 0 {
		t.Errorf("exit code: got %d, want 0", code)
	}
	// 4. Whoever signed in at the last moment is signed in.
	f.Upstream.Say(nil, false)
	f.Restart(t)
	for _, p := range people[:5] {
		if a := p.get(t, "/app"); a.Status != http.StatusOK {
			t.Errorf("a session of the last moment: got %s, want 200", a)
		}
	}

	t.Run("the bound", func(t *testing.T) {
		f := newFront(t, gatewaytest.Options{Shutdown: "timeout: 1s"})
		for _, text := range []string{
			"POST /app/never HTTP/1.1\r\nHost: gw.test\r\nOrigin: https://gw.test\r\nSec-Fetch-Site: same-origin\r\nCookie: " + f.alice + "\r\nContent-Length: 9\r\n\r\nx", "GET /public/half HTTP/1.1\r\nHost: gw.te", "",
		} {
			f.Dial(t).Send(text)
		}
		gatewaytest.Await(t, "the upload has arrived", func() bool { return strings.Contains(f.Upstream.Bytes(), "POST /app/never") })
		began := time.Now()
		f.Process.Terminate()
		if took := time.Since(began); took < time.Second || took > 20*time.Second {
			t.Errorf("the end took %s, want a second", took)
		}
		if code := f.Process.ExitCode(); code != 0 {
			t.Errorf("exit code: got %d, want 0", code)
		}
	})
	t.Run("a second signal", func(t *testing.T) {
		f := newFront(t, gatewaytest.Options{Shutdown: "timeout: 50s"})
		f.Dial(t).Send("POST /app/never HTTP/1.1\r\nHost: gw.test\r\nOrigin: https://gw.test\r\nSec-Fetch-Site: same-origin\r\nCookie: " + f.alice + "\r\nContent-Length: 9\r\n\r\nx")
		gatewaytest.Await(t, "the upload has arrived", func() bool { return strings.Contains(f.Upstream.Bytes(), "POST /app/never") })
		pid, done := f.Process.PID(), make(chan struct{})
		began := time.Now()
		go func() { f.Process.Terminate(); close(done) }()
		gatewaytest.Await(t, "nobody listens", func() bool {
			c, err := net.Dial("tcp", f.Addr)
			if err == nil {
				c.Close()
			}
			return err != nil
		})
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		<-done
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("the end took %s, want none", took)
		}
	})
}

// container runs the program as its image does: without rights, with nothing around it.
func container(t *testing.T, _ *doors) {
	const root = "../.."
	text, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	dockerfile := strings.ReplaceAll(string(text), "\\\n", " ")
	stages := regexp.MustCompile(`(?m)^FROM .*$`).FindAllStringIndex(dockerfile, -1)
	if len(stages) != 2 {
		t.Fatalf("stages: got %d, want 2", len(stages))
	}
	build, image := dockerfile[:stages[1][0]], dockerfile[stages[1][0]:]
	for _, line := range []string{`^FROM scratch$`, `^USER 65532:65532$`, `^ENTRYPOINT \["/portero"\]$`, `^CMD \["serve"\]$`, `^HEALTHCHECK .*CMD \["/portero", "health"\]$`, `^VOLUME /var/lib/portero$`, `^EXPOSE 3000$`} {
		if !regexp.MustCompile("(?m)" + line).MatchString(image) {
			t.Errorf("the image has no line %s", line)
		}
	}
	for line := range strings.Lines(image) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "", "#", "FROM", "USER", "ENTRYPOINT", "CMD", "HEALTHCHECK", "VOLUME", "EXPOSE":
		case "ENV":
			if regexp.MustCompile(`(?i)secret|token|password|insecure`).MatchString(rest) {
				t.Errorf("the image has a secret in its environment: %s", line)
			}
		case "COPY":
			if !regexp.MustCompile(`^--from=build (--chown=65532:65532 /out/data|/out/portero /portero$|/out/etc /etc/portero$|/etc/ssl/certs/ca-certificates.crt )`).MatchString(rest) {
				t.Errorf("the image has something that it does not need: %s", line)
			}
		default:
			t.Errorf("the image has a line %s, want none that runs or adds something", line)
		}
	}
	if !strings.Contains(build, "CGO_ENABLED=0 go build -trimpath") {
		t.Error("the program of the image is not static, or names the folder it was built in")
	}

	// The folder that is the image.
	dir := t.TempDir()
	program := filepath.Join(dir, "portero")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "portero/cmd/portero")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	if file, err := elf.Open(program); err == nil {
		for _, p := range file.Progs {
			if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
				t.Errorf("the program needs a loader: it has a %s", p.Type)
			}
		}
		file.Close()
	}
	if os.Geteuid() != 0 {
		gatewaytest.Lacks(t, "only root may change the root folder")
	}
	const nobody = 65532
	data := filepath.Join(dir, "var/lib/portero")
	listen := freeAddr(t)
	issuer, up := gatewaytest.NewIssuer(t), gatewaytest.NewUpstream(t)
	issuer.Do(func(i *gatewaytest.Issuer) { i.Person = alice })
	config := fmt.Sprintf("external_url: https://gw.test\nadmin: {listen: \"127.0.0.1:0\"}\nlogto: {endpoint: %q, app_id: %s, app_secret: %s}\nemail_domains: [\"*\"]\nupstream: %q\nlog: {level: debug}\n", issuer.URL, issuer.AppID, issuer.AppSecret, up.URL)
	for _, err := range []error{
		os.MkdirAll(data, 0o755), os.Chown(data, nobody, nobody), os.MkdirAll(filepath.Join(dir, "etc/portero"), 0o755),
		os.WriteFile(filepath.Join(dir, "etc/portero/portero.yaml"), []byte(config), 0o644), os.Chmod(program, 0o555), os.Chmod(dir, 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	files := func() []string {
		var out []string
		filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if name, _ := filepath.Rel(dir, path); err == nil && !e.IsDir() && !strings.HasPrefix(path, data) {
				out = append(out, name)
			}
			return err
		})
		return out
	}
	before := files()
	inside := func(arguments ...string) *exec.Cmd {
		cmd := exec.Command("/portero", arguments...)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: dir, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		cmd.Env = []string{"PORTERO_LISTEN=" + listen, "PORTERO_SESSION_FILE_PATH=/var/lib/portero/portero.db", "PORTERO_SHUTDOWN_DELAY=0s"}
		return cmd
	}
	var log gatewaytest.Lines
	serve := func() (*exec.Cmd, string) {
		t.Helper()
		cmd := inside("serve")
		cmd.Stderr = &log
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill() })
		var said bytes.Buffer
		line := make([]byte, 1)
		for !bytes.Contains(said.Bytes(), []byte("\n")) {
			if _, err := out.Read(line); err != nil {
				t.Fatalf("the program does not start: %v\n%s", err, log.String())
			}
			said.Write(line)
		}
		go io.Copy(io.Discard, out)
		return cmd, strings.Fields(said.String())[2]
	}
	running, addr := serve()
	w := way{front: &front{Rig: &gatewaytest.Rig{Issuer: issuer, Upstream: up, URL: "https://gw.test", Addr: addr, Log: &log}, host: "gw.test"}}
	p := w.traveller(t)
	seeOther(t, p.get(t, p.leave(t, "/app")), "/app")
	if a := p.get(t, "/app"); a.Status != http.StatusOK {
		t.Errorf("signed in: got %s, want 200", a)
	}
	gatewaytest.Await(t, "the health check of the image passes", func() bool { return inside("health").Run() == nil })
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", running.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"Uid:\t65532\t65532\t65532\t65532", "Gid:\t65532\t65532\t65532\t65532", "Groups:\t \n", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000"} {
		if !strings.Contains(string(status), line) {
			t.Errorf("the process has not %q:\n%s", line, status)
		}
	}
	running.Process.Signal(syscall.SIGTERM)
	if err := running.Wait(); err != nil {
		t.Errorf("the end: %v", err)
	}
	if err := inside("health").Run(); err == nil {
		t.Error("the health check passes although nobody runs")
	}
	running, w.Addr = serve()
	if a := p.get(t, "/app"); a.Status != http.StatusOK {
		t.Errorf("after a restart: got %s, want 200", a)
	}
	running.Process.Signal(syscall.SIGTERM)
	running.Wait()
	if after := files(); !slices.Equal(after, before) {
		t.Errorf("files outside the data folder: got %q, want %q", after, before)
	}
	if strings.Contains(log.String(), `"level":"ERROR"`) {
		t.Errorf("the log has errors:\n%s", log.String())
	}
	for _, name := range []string{"portero.db", "portero.db.secret"} {
		if info, err := os.Stat(filepath.Join(data, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got %v, %v, want it with mode 0600", name, info, err)
		}
	}
}
