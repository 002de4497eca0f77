package catalogue_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"portero/internal/gatewaytest"
)

// A store in a file that is not what it should be.

// inFile is the configuration of a store in that file.
func inFile(path string) string {
	return fmt.Sprintf("store: file, secret: %s, file: {path: %q}", gatewaytest.SessionSecret, path)
}

// refusesToStart fails unless a program that is not running ends at its start and says why in one of these words.
func (f *front) refusesToStart(t *testing.T, name string, words ...string) {
	t.Helper()
	cmd := f.Process.Command("serve", "--config", f.Process.File("portero.yaml"))
	timer := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
	out, err := cmd.CombinedOutput()
	timer.Stop()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("%s: it ended with %v, want the exit code 1\n%s", name, err, out)
	}
	if !slices.ContainsFunc(words, func(w string) bool { return bytes.Contains(out, []byte(w)) }) || !bytes.Contains(out, []byte("session.file.path")) {
		t.Errorf("%s: it says %q, want session.file.path and one of %q", name, out, words)
	}
	for _, bad := range []string{"goroutine ", "panic", "SIGBUS"} {
		if bytes.Contains(out, []byte(bad)) {
			t.Errorf("%s: it says %q, which has %q", name, out, bad)
		}
	}
}

// storeFileAtStart tries files that a program finds when it starts: it refuses, and leaves them as they are.
func storeFileAtStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	f := unsigned(t, gatewaytest.Options{Session: inFile(path)})
	p := f.arrive(t, newAlice())
	f.refusesToStart(t, "a second program", "has it open")
	f.Stop(t)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range map[string][]byte{
		"cut in half": good[:len(good)/2], "one page": good[:4096], "a few bytes": good[:100], "text": []byte("sessions, I promise\n"),
		"both heads overwritten": append(bytes.Repeat([]byte{0xff}, 8192), good[8192:]...), "random bytes": []byte(randomBytes(len(good))), "zeros": make([]byte, len(good)),
	} {
		write(data)
		f.refusesToStart(t, name, "damaged", "no session store")
		if after, _ := os.ReadFile(path); !bytes.Equal(after, data) {
			t.Errorf("%s: the file was changed", name)
		}
	}
	write(good)
	f.Restart(t)
	if !p.in(t) {
		t.Error("with the file as it was: signed out")
	}
	f.Stop(t)
	folder := filepath.Dir(path)
	if err := os.Rename(folder, folder+"-away"); err != nil {
		t.Fatal(err)
	}
	f.refusesToStart(t, "no folder", "no such file or directory", "cannot find")
	if err := os.Rename(folder+"-away", folder); err != nil {
		t.Fatal(err)
	}
	f.Restart(t)
	if !p.in(t) {
		t.Error("with the folder back: signed out")
	}
}

// storeFileLater tries what may happen to a file while a program has it open.
func storeFileLater(t *testing.T) {
	for name, harm := range map[string]func(path string) error{
		"cut":         func(path string) error { return os.Truncate(path, 8192) },
		"emptied":     func(path string) error { return os.Truncate(path, 0) },
		"overwritten": func(path string) error { return overwrite(path, bytes.Repeat([]byte{0xff}, 4096)) },
		"filled with zeros": func(path string) error {
			return overwrite(path, make([]byte, 4096))
		},
	} {
		t.Run("the file is "+name+" while it is open", func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "sessions.db")
			f := unsigned(t, gatewaytest.Options{Session: inFile(path)})
			p := f.arrive(t, newAlice())
			stranger := f.arrive(t, bob)
			if err := harm(path); err != nil {
				t.Fatal(err)
			}
			// The file's pages are gone: who has been read before may be served for a moment, and nobody else is.
			f.Upstream.Forget()
			for range 5 {
				for _, q := range []*traveller{p, stranger} {
					if a := q.twin().send(t, request{}); a.Status == http.StatusOK {
						t.Errorf("got %s from a file that is damaged", a)
					}
				}
				f.nothingReached(t)
				q := way{front: f}.traveller(t)
				if a := q.get(t, q.leave(t, "/app")); a.Status == http.StatusSeeOther || q.session() != "" {
					t.Errorf("signing in on a file that is damaged: got %s", a)
				}
			}
			p.public(t)
			if !f.Process.Running() {
				t.Error("the program has ended")
			}
		})
	}
	t.Run("the file system is full", func(t *testing.T) {
		folder := tiny(t)
		f := unsigned(t, gatewaytest.Options{Session: inFile(filepath.Join(folder, "sessions.db"))})
		p := f.arrive(t, newAlice())
		filler := filepath.Join(folder, "filler")
		fill(t, filler)
		full := 0
		for range 40 { // until the pages that were free are used up
			q := way{front: f}.traveller(t)
			switch a := q.get(t, q.leave(t, "/app")); {
			case a.Status == http.StatusSeeOther && q.session() != "":
				if !q.in(t) {
					t.Fatal("a session that was given is none")
				}
				fill(t, filler)
			case a.Status == http.StatusServiceUnavailable && q.session() == "":
				full++
			default:
				t.Errorf("signing in: got %s, want 503 or a session", a)
			}
			if full > 2 {
				break
			}
		}
		if full == 0 {
			t.Error("the file system was never full for the program")
		}
		if !p.in(t) {
			t.Error("who was signed in before is signed out")
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		f.arrive(t, newAlice())
		if a := p.twin().post(t, "/sign-out", nil); a.Status != http.StatusSeeOther {
			t.Errorf("signing out with room again: got %s, want 303", a)
		}
		p.wantOut(t)
		f.Restart(t)
		p.wantOut(t)
	})
	t.Run("the folder cannot be written", func(t *testing.T) {
		folder := tiny(t)
		f := unsigned(t, gatewaytest.Options{Session: inFile(filepath.Join(folder, "sessions.db"))})
		p := f.arrive(t, newAlice())
		f.Stop(t)
		mount(t, "-o", "remount,ro", folder)
		f.refusesToStart(t, "read-only", "read-only file system")
		mount(t, "-o", "remount,rw", folder)
		f.Restart(t)
		if !p.in(t) {
			t.Error("with the folder writable again: signed out")
		}
	})
}

// overwrite writes page after page over a file behind its two heads, without making it longer.
func overwrite(path string, page []byte) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	for at := int64(2 * len(page)); at < info.Size(); at += int64(len(page)) {
		if _, err := file.WriteAt(page, at); err != nil {
			return err
		}
	}
	return nil
}

// tiny is a folder that is a file system of a mebibyte. Where nobody may mount one the test is skipped.
func tiny(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	mount(t, "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder)
	t.Cleanup(func() {
		if out, err := exec.Command("umount", folder).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return folder
}

func mount(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(gatewaytest.Need(t, "mount"), args...).CombinedOutput(); err != nil {
		gatewaytest.Lacks(t, fmt.Sprintf("mount %s: %v: %s", strings.Join(args, " "), err, out))
	}
}

// fill appends to a file until its file system is full.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for page := make([]byte, 4096); ; {
		if _, err := file.Write(page); err != nil {
			return
		}
	}
}

func anotherVersion(t *testing.T, d *doors) {
	x := d.Nodes()
	for name, version := range map[string]string{"2": "2", "9": "9", "a letter": "b"} {
		t.Run("a row of version "+name, func(t *testing.T) {
			p, row := x.arrive(t, newAlice())
			x.redis.Do("SETRANGE", row, 0, version)
			before := x.redis.Do("DUMP", row)
			far := p.on(x.all[1])
			far.notASession(t, saysDamaged)
			far.twin().post(t, "/sign-out", nil)
			for _, path := range []string{"/api/sessions", "/api/status"} {
				if got := far.Admin(t, http.MethodGet, path); got.StatusCode != http.StatusOK {
					t.Errorf("%s: got %s, want 200", path, got.Status)
				}
			}
			if got := x.redis.Do("DUMP", row); got != before {
				t.Error("the row of another version was changed")
			}
			// The version that wrote it reads it again.
			x.redis.Do("SETRANGE", row, 0, "1")
			if !far.in(t) {
				t.Error("in its own version: signed out")
			}
		})
	}
	t.Run("a file of another version", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "sessions.db")
		f := unsigned(t, gatewaytest.Options{Session: inFile(path)})
		p := f.arrive(t, newAlice())
		f.Stop(t)
		setFormat := func(format byte) {
			t.Helper()
			db, err := bolt.Open(path, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if err := db.Update(func(tx *bolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("format"), []byte{format}) }); err != nil {
				t.Fatal(err)
			}
		}
		setFormat(2)
		before, _ := os.ReadFile(path)
		f.refusesToStart(t, "format 2", "has format [2], this version reads format 1", "has format 2, this version reads format 1")
		if after, _ := os.ReadFile(path); !bytes.Equal(after, before) {
			t.Error("the file of another version was changed")
		}
		setFormat(1)
		f.Restart(t)
		if !p.in(t) {
			t.Error("in its own version: signed out")
		}
	})
}
