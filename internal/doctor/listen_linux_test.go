package doctor

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"portero/internal/gatewaytest"
)

// A port that only the privileged may have.
func TestListenWithoutPrivilege(t *testing.T) {
	t.Parallel()
	if first, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start"); err != nil || strings.TrimSpace(string(first)) == "0" {
		gatewaytest.Lacks(t, "every port of this machine is everybody's")
	}
	runtime.LockOSThread() // and not unlocked: the thread ends with the test, and what it lacks with it
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		t.Fatal(err)
	}
	sets[0].Effective &^= 1 << unix.CAP_NET_BIND_SERVICE
	if err := unix.Capset(&header, &sets[0]); err != nil {
		t.Fatal(err)
	}
	r := runningAt(t, closedPort(t), "")
	r.config.Listen = "127.0.0.1:783"
	outcome(t, r.checkListen(t.Context()), Failed, "may not be bound", "above 1023 into listen", "AmbientCapabilities=CAP_NET_BIND_SERVICE", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE")
}
