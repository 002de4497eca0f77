package gatewaytest

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"testing"
	"time"
)

// Need is where the first of some programs is on this machine. Without one the test is skipped, or fails where the
// environment asks for the real thing with PORTERO_TEST_REAL=1.
func Need(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		for _, path := range []string{name, "/usr/sbin/" + name} {
			if found, err := exec.LookPath(path); err == nil {
				return found
			}
		}
	}
	Lacks(t, "no "+names[0]+" on this machine")
	return ""
}

// Lacks skips a test for want of something, or fails it where the environment asks for the real thing.
func Lacks(t testing.TB, what string) {
	t.Helper()
	if real() {
		t.Fatal(what + ", and PORTERO_TEST_REAL=1 asks for it")
	}
	t.Skip(what)
}

// real reports whether everything that tests can want has to be there.
func real() bool { return os.Getenv("PORTERO_TEST_REAL") == "1" }

// Node runs a script in Node with in as `input`, and reads JSON from its output into out.
func Node(t testing.TB, script string, in, out any) {
	t.Helper()
	path := Need(t, "node")
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-e", "const input = JSON.parse(require('fs').readFileSync(0, 'utf8'));"+script)
	cmd.Stdin = bytes.NewReader(text)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer timer.Stop()
	answer, err := cmd.Output()
	if err != nil {
		t.Fatalf("node: %v\n%s", err, stderr.String())
	}
	if err := json.Unmarshal(answer, out); err != nil {
		t.Fatal(err)
	}
}
