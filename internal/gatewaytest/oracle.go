package gatewaytest

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
)

// Oracle is another program's reading of something: one process that answers line for line, so that asking costs little.
type Oracle struct {
	mu  sync.Mutex
	in  io.Writer
	out *bufio.Scanner
}

// NodeOracle answers with a JavaScript function of one text, which returns a text or null. Without Node it is nil, unless
// PORTERO_TEST_REAL=1 says that it has to be there.
func NodeOracle(t testing.TB, function string) *Oracle {
	t.Helper()
	return newOracle(t, "node", "-e", "const read = "+function+`;
require('readline').createInterface({input: process.stdin, crlfDelay: Infinity, terminal: false}).on('line', l => {
  let answer; try { answer = read(JSON.parse(l)) } catch (e) { answer = null }
  process.stdout.write(JSON.stringify(answer).replace(/[\u007f-\uffff]/g, c => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0')) + '\n')
})`)
}

// PythonOracle is NodeOracle with a Python expression of `s`.
func PythonOracle(t testing.TB, expression string) *Oracle {
	t.Helper()
	return newOracle(t, "python3", "-u", "-c", `
import json, posixpath, sys, urllib.parse
for line in sys.stdin:
    s = json.loads(line)
    try:
        answer = `+expression+`
    except Exception:
        answer = None
    print(json.dumps(answer))
`)
}

func newOracle(t testing.TB, program string, args ...string) *Oracle {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		if real() {
			Need(t, program)
		}
		t.Logf("no %s on this machine: a rule written in Go alone stands for it", program)
		return nil
	}
	cmd := exec.Command(path, args...)
	cmd.SysProcAttr, cmd.Stderr = dieWithParent(), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	o := &Oracle{in: in, out: bufio.NewScanner(out)}
	o.out.Buffer(nil, 64<<20)
	return o
}

// Ask is the answer for a text; ok is false if there is none.
func (o *Oracle) Ask(t testing.TB, text string) (answer string, ok bool) {
	t.Helper()
	line, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, err := o.in.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
	if !o.out.Scan() {
		t.Fatalf("the oracle has ended: %v", o.out.Err())
	}
	var read *string
	if err := json.Unmarshal(o.out.Bytes(), &read); err != nil {
		t.Fatal(err)
	}
	if read == nil {
		return "", false
	}
	return *read, true
}
