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

// Daemon runs a server of somebody else's until the end of the test, and waits until its port of loopback answers. What it prints
// is returned, and shown if the test fails.
func Daemon(t testing.TB, name, port string, cmd *exec.Cmd) *Lines {
	t.Helper()
	log := &Lines{}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.WaitDelay = time.Second // children that have the log open are not waited for
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			const most = 2 << 10
			text := log.String()
			t.Logf("the end of what %s said:\n%s", name, text[max(0, len(text)-most):])
		}
	})
	Await(t, name+" listens", func() bool {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s has ended: %v\n%s", name, err, log)
		default:
		}
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
	return log
}
