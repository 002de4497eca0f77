package gatewaytest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startTimeout is how long a process may take to listen, or to end when it is asked to.
const startTimeout = 60 * time.Second

// workshop is where the program is built, once for all tests of a package.
type workshop struct {
	once    sync.Once
	dir     string
	program string
	err     error
}

var shop workshop

// Main runs the tests of a package that uses Program, and removes what was built for them.
func Main(m *testing.M) {
	code := m.Run()
	if shop.dir != "" {
		os.RemoveAll(shop.dir)
	}
	os.Exit(code)
}

// Program is the file of the program, built at the first call. Under the race detector, the program has it too.
// PORTERO_TEST_PROGRAM names one that is there already.
func Program(t testing.TB) string {
	t.Helper()
	if program := os.Getenv("PORTERO_TEST_PROGRAM"); program != "" {
		return program
	}
	shop.once.Do(func() {
		if shop.dir, shop.err = os.MkdirTemp("", "portero-program-"); shop.err != nil {
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

// Process is the program as an operator runs it, with a folder of its own; between two runs it is nobody. All runs end
// with the test, which fails if one ends by itself or its log tells of a race or a panic.
type Process struct {
	Name string   // for messages
	Dir  string   // its working directory, with its configuration file
	Env  []string // more of its environment, as NAME=VALUE
	Log  Lines    // what all runs have written to standard error

	t       testing.TB
	program string

	mu            sync.Mutex
	cmd           *exec.Cmd
	ended         chan struct{} // of cmd
	asked         bool          // the process was told to end
	public, admin string        // where it listens
}

// NewProcess makes one that has not been started.
func NewProcess(t testing.TB, name string) *Process {
	t.Helper()
	p := &Process{Name: name, Dir: t.TempDir(), t: t, program: Program(t)}
	t.Cleanup(p.cleanUp)
	return p
}

func (p *Process) String() string { return p.Name }

// File is the path of a file in its folder.
func (p *Process) File(name string) string { return filepath.Join(p.Dir, name) }

// Configure writes its configuration file, which it reads at the next start or SIGHUP.
func (p *Process) Configure(text string) {
	p.t.Helper()
	if err := os.WriteFile(p.File("portero.yaml"), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// Environment is the environment of the tests without settings of the program.
func Environment() []string {
	var out []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PORTERO_") {
			out = append(out, v)
		}
	}
	// The race detector would let a process sleep for a second at its end.
	return append(out, "GORACE=halt_on_error=0 exitcode=66 atexit_sleep_ms=20")
}

// Command is the program with arguments, in its folder and environment, for its other commands and for starts that
// are meant to fail.
func (p *Process) Command(args ...string) *exec.Cmd {
	cmd := exec.Command(p.program, args...)
	cmd.Dir, cmd.Env = p.Dir, append(Environment(), p.Env...)
	return cmd
}

// Start runs `serve` and waits until it listens. If it does not, the test fails, and goes on with false.
func (p *Process) Start() bool {
	p.t.Helper()
	cmd := p.Command("serve", "--config", p.File("portero.yaml"))
	cmd.Stderr, cmd.SysProcAttr = &p.Log, dieWithParent()
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Error(err)
		return false
	}
	if err := cmd.Start(); err != nil {
		p.t.Error(err)
		return false
	}
	ended, listening := make(chan struct{}), make(chan [2]string, 1)
	p.mu.Lock()
	p.cmd, p.ended, p.asked = cmd, ended, false
	p.mu.Unlock()
	go func() {
		announced(out, listening)
		err := cmd.Wait()
		p.mu.Lock()
		if !p.asked {
			p.t.Errorf("%s has ended by itself: %v", p, err)
		}
		p.mu.Unlock()
		close(ended)
	}()
	select {
	case at := <-listening:
		p.mu.Lock()
		p.public, p.admin = at[0], at[1]
		p.mu.Unlock()
		return true
	case <-ended:
		p.t.Errorf("%s does not start:\n%s", p, p.Log.String())
	case <-time.After(startTimeout):
		p.t.Errorf("%s does not say that it listens:\n%s", p, p.Log.String())
	}
	return false
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

// Addresses are the public listener's and the admin listener's of the latest run.
func (p *Process) Addresses() (public, admin string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.public, p.admin
}

// Running reports whether there is a run that nobody has asked to end.
func (p *Process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd != nil && !p.asked
}

// PID is the number of the latest run.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

func (p *Process) process() (*os.Process, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = true
	if p.cmd == nil {
		return nil, nil
	}
	return p.cmd.Process, p.ended
}

// Kill ends the run at once.
func (p *Process) Kill() {
	if process, ended := p.process(); process != nil {
		process.Kill()
		<-ended
	}
}

// Terminate asks the run to end in its own time, and waits for that.
func (p *Process) Terminate() {
	p.t.Helper()
	process, ended := p.process()
	if process == nil {
		return
	}
	if err := process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("%s: %v", p, err)
	}
	select {
	case <-ended:
	case <-time.After(startTimeout):
		p.t.Errorf("%s does not end:\n%s", p, p.Log.String())
		p.Kill()
	}
}

// ExitCode is that of the latest run, which has ended; -1 if a signal ended it.
func (p *Process) ExitCode() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.ProcessState.ExitCode()
}

// Pause stops the run where it is; Resume lets it go on; Hangup asks it to read its configuration again.
func (p *Process) Pause()  { p.signal(pause) }
func (p *Process) Resume() { p.signal(resume) }
func (p *Process) Hangup() { p.signal(func(p *os.Process) error { return p.Signal(syscall.SIGHUP) }) }

func (p *Process) signal(send func(*os.Process) error) {
	p.t.Helper()
	p.mu.Lock()
	cmd := p.cmd
	p.mu.Unlock()
	if err := send(cmd.Process); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("%s: %v", p, err)
	}
}

// cleanUp ends the run whatever state it is in, and tells what a reader of a failed test wants to know.
func (p *Process) cleanUp() {
	p.Kill()
	log := p.Log.String()
	for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if strings.Contains(log, bad) {
			p.t.Errorf("%s: its log has %q", p, bad)
		}
	}
	if p.t.Failed() {
		const most = 4 << 10
		p.t.Logf("the end of the log of %s:\n%s", p, log[max(0, len(log)-most):])
	}
}
