package gatewaytest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// FreePort is a port of loopback that was free a moment ago.
func FreePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// WorkDir is a folder with files that other users may read, since some servers leave root. @DIR@ in a file is its path.
func WorkDir(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "@DIR@", dir)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Run runs a program of somebody else's until the end of the test, by when it has to end by itself. What it prints is returned, and shown if
// the test fails. ended is closed when it has ended.
func Run(t testing.TB, name string, cmd *exec.Cmd) (log *Lines, ended <-chan struct{}) {
	t.Helper()
	log = &Lines{}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.WaitDelay = time.Second // children that have the log open are not waited for
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		cmd.Wait()
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-over:
		case <-time.After(10 * time.Second):
			cmd.Process.Kill()
			<-over
			t.Errorf("%s did not end by itself", name)
		}
		if t.Failed() {
			const most = 2 << 10
			text := log.String()
			t.Logf("the end of what %s said:\n%s", name, text[max(0, len(text)-most):])
		}
	})
	return log, over
}

// Daemon runs a server of somebody else's, as Run does, and waits until its port of loopback answers.
func Daemon(t testing.TB, name, port string, cmd *exec.Cmd) *Lines {
	t.Helper()
	log, ended := Run(t, name, cmd)
	if !listens(t, name, port, ended) {
		t.Fatalf("%s has ended: %v\n%s", name, cmd.ProcessState, log)
	}
	return log
}

// Listening is Daemon on a port that was free a moment ago; if somebody else has taken it since, on another.
func Listening(t testing.TB, name string, command func(port string) *exec.Cmd) (port string) {
	t.Helper()
	for range 5 {
		port = FreePort(t)
		log, ended := Run(t, name, command(port))
		if listens(t, name, port, ended) {
			return port
		}
		if !strings.Contains(log.String(), "Address already in use") {
			t.Fatalf("%s has ended:\n%s", name, log)
		}
	}
	t.Fatalf("%s found no free port", name)
	return ""
}

// listens waits until a port of loopback answers; false if the program that is to listen there has ended.
func listens(t testing.TB, name, port string, ended <-chan struct{}) (yes bool) {
	t.Helper()
	Await(t, name+" listens", func() bool {
		select {
		case <-ended:
			return true
		default:
		}
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			return false
		}
		c.Close()
		yes = true
		return true
	})
	return yes
}
