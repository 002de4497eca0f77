// Package replicas_test tries several replicas of Portero on one Redis, as an operator runs them: processes of the real
// program, each with its own configuration file, its own ports and its own link to a real Redis, behind one external URL.
//
// It owns the processes and what is done to them: killing, pausing, ending, starting again, and cutting, stalling and
// slowing their links. Issuer, upstream and clients are in the process of the tests.
//
// What replicas promise about sign-outs is checked in two ways: by scripts that measure, and by histories of many
// clients under random faults, of which porcupine says whether the promise can have been kept.
//
// A machine without redis-server skips these tests, unless PORTERO_TEST_REAL=1 says that they have to run. Nothing is
// left of them: no process, no port and no file.
package replicas_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// workshop is where the program is built, once for all tests.
type workshop struct {
	once    sync.Once
	dir     string
	program string
	err     error
}

var shop workshop

func TestMain(m *testing.M) {
	code := m.Run()
	if shop.dir != "" {
		os.RemoveAll(shop.dir)
	}
	os.Exit(code)
}

// build returns the program's file. Under the race detector, the program has it too.
func build(t testing.TB) string {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("PORTERO_TEST_REAL") == "1" {
			t.Fatal("no redis-server on this machine, and PORTERO_TEST_REAL=1 asks for it")
		}
		t.Skip("no redis-server on this machine")
	}
	shop.once.Do(func() {
		if shop.dir, shop.err = os.MkdirTemp("", "portero-replicas-"); shop.err != nil {
			return
		}
		shop.program = filepath.Join(shop.dir, "portero")
		args := []string{"build", "-o", shop.program}
		if raceDetector {
			args = append(args, "-race")
		}
		cmd := exec.Command("go", append(args, "portero/cmd/portero")...)
		if out, err := cmd.CombinedOutput(); err != nil {
			shop.err = fmt.Errorf("building the program: %w\n%s", err, out)
		}
	})
	if shop.err != nil {
		t.Fatal(shop.err)
	}
	return shop.program
}

// environment is the test's own without settings of the program.
func environment() []string {
	var out []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PORTERO_") {
			out = append(out, v)
		}
	}
	return append(out, "GORACE=halt_on_error=0 exitcode=66")
}
