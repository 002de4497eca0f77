//go:build !linux

package gatewaytest

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

func dieWithParent() *syscall.SysProcAttr { return nil }

func pause(p *os.Process) error  { return exec.Command("kill", "-STOP", strconv.Itoa(p.Pid)).Run() }
func resume(p *os.Process) error { return exec.Command("kill", "-CONT", strconv.Itoa(p.Pid)).Run() }
