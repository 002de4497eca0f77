package setup

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestWriteSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	if err := os.WriteFile(open, []byte("old\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(open, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{filepath.Join(dir, "new"), open, link} {
		if err := errors.Join(canWrite(name), writeSecret(name, "value")); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(name)
		if string(content) != "value\n" || err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got %q, %v, mode %v, want the secret and 0600", name, content, err, info.Mode())
		}
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is no link any more: %v, %v", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 3 {
		t.Errorf("got %v, want nothing left behind", entries)
	}
}

func TestSecretThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{filepath.Join(dir, "nowhere", "secret"), dir} {
		var file *FileError
		if err := canWrite(name); !errors.As(err, &file) || file.Hint() == "" {
			t.Errorf("%s: got %v, want a FileError with a hint", name, err)
		}
		if err := writeSecret(name, "value"); err == nil {
			t.Errorf("%s: it was written", name)
		}
	}
}
