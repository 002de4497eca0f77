package serve

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// TakenError is returned by Listen when another process listens on the address.
type TakenError struct {
	Name string // the listener's name
	Addr string // the address that was asked for
	// Process is the name of the process that has the port, PID its number;
	// "" and 0 when that cannot be seen.
	Process string
	PID     int
	Err     error
}

// Error says who has the port, as far as that can be seen, and what to type.
func (e *TakenError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "listening on %s (%s): the port is taken", e.Addr, e.Name)
	if e.PID == os.Getpid() {
		b.WriteString(" by another listener of this process")
	} else if e.Process != "" {
		fmt.Fprintf(&b, " by %s (pid %d)", e.Process, e.PID)
	}
	b.WriteString("; " + e.Hint())
	return b.String()
}

// Hint is the command that deals with the port's owner.
func (e *TakenError) Hint() string {
	if e.PID == os.Getpid() {
		return "give each listener a port of its own"
	}
	if e.PID != 0 {
		return fmt.Sprintf("end it with: kill %d, or choose another address", e.PID)
	}
	_, port, _ := net.SplitHostPort(e.Addr)
	if runtime.GOOS == "linux" {
		return fmt.Sprintf("see who has it with: sudo ss -ltnp 'sport = :%s', or choose another address", port)
	}
	return fmt.Sprintf("see who has it with: sudo lsof -nP -iTCP:%s -sTCP:LISTEN, or choose another address", port)
}

func (e *TakenError) Unwrap() error { return e.Err }

func explainListen(name, addr string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		e := &TakenError{Name: name, Addr: addr, Err: err}
		if _, port, splitErr := net.SplitHostPort(addr); splitErr == nil {
			e.Process, e.PID = owner("/proc", port)
		}
		return e
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("listening on %s (%s): %w; ports below 1024 need a privilege: choose a higher one, or type: sudo setcap cap_net_bind_service=+ep $(command -v portero)", addr, name, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listening on %s (%s): %w; this machine has no such address: see them with: ip address", addr, name, err)
	}
	return fmt.Errorf("listening on %s (%s): %w", addr, name, err)
}

// owner finds the process that listens on the port, in Linux's proc file
// system. It sees other people's processes only when run by root; everything
// that cannot be read is passed over.
func owner(proc, port string) (name string, pid int) {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", 0
	}
	sockets := map[string]bool{} // :: "socket:[inode]" → listens on the port
	for _, table := range []string{"tcp", "tcp6"} {
		listening(filepath.Join(proc, "net", table), n, sockets)
	}
	if len(sockets) == 0 {
		return "", 0
	}
	links, _ := filepath.Glob(filepath.Join(proc, "[0-9]*", "fd", "*"))
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || !sockets[target] {
			continue
		}
		dir := filepath.Dir(filepath.Dir(link))
		comm, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		return strings.TrimSpace(string(comm)), pid
	}
	return "", 0
}

// listening adds the sockets of one table (proc(5), /proc/net/tcp) that listen
// on the port.
func listening(table string, port uint64, sockets map[string]bool) {
	f, err := os.Open(table)
	if err != nil {
		return
	}
	defer f.Close()
	const stateListen = "0A"
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || fields[3] != stateListen {
			continue
		}
		_, hex, _ := strings.Cut(fields[1], ":")
		if got, err := strconv.ParseUint(hex, 16, 16); err == nil && got == port {
			sockets["socket:["+fields[9]+"]"] = true
		}
	}
}
