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
