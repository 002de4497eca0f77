package filestore

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// holder names the process that has the file locked, as far as the system tells
// (Linux: proc_locks(5)); elsewhere it says what is most likely.
func holder(path string) string {
	const unknown = "another process (another portero, or one that is still stopping)"
	info, err := os.Stat(path)
	if err != nil {
		return unknown
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return unknown
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return unknown
	}
	// "1: FLOCK  ADVISORY  WRITE 4711 fe:01:131090 0 EOF"
	for lines := bufio.NewScanner(bytes.NewReader(locks)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || fields[1] != "FLOCK" || !strings.HasSuffix(fields[5], fmt.Sprintf(":%d", stat.Ino)) {
			continue
		}
		name, err := os.ReadFile("/proc/" + fields[4] + "/comm")
		if err != nil {
			return unknown
		}
		return fmt.Sprintf("process %s (%s)", fields[4], strings.TrimSpace(string(name)))
	}
	return unknown
}
