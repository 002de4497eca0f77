//go:build unix

package setup

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Setup may run as root, and the gateway as somebody who has to read the file.
func TestOwnerOfTheSecretStays(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		return // only root can give files away
	}
	name := filepath.Join(t.TempDir(), "secret")
	if err := errors.Join(os.WriteFile(name, []byte("old\n"), 0o640), os.Chown(name, 4711, 4712), writeSecret(name, "value")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Sys().(*syscall.Stat_t); got.Uid != 4711 || got.Gid != 4712 || info.Mode().Perm() != 0o600 {
		t.Errorf("got owner %d:%d and mode %v, want 4711:4712 and 0600", got.Uid, got.Gid, info.Mode())
	}
}

// A file of one's own that a group reads, and nobody else, is read by it afterwards too.
func TestGroupOfTheSecretStays(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "secret")
	gid := os.Getgid()
	if os.Getuid() == 0 {
		gid = 4712
	}
	if err := errors.Join(os.WriteFile(name, []byte("old\n"), 0o640), os.Chmod(name, 0o640), os.Chown(name, -1, gid), writeSecret(name, "value")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Sys().(*syscall.Stat_t); int(got.Gid) != gid || info.Mode().Perm() != 0o640 {
		t.Errorf("got group %d and mode %v, want %d and 0640", got.Gid, info.Mode(), gid)
	}
}
