package filestore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"portero/internal/session"
	"portero/internal/session/filestore"
	"portero/internal/session/storetest"
)

// TestMain also plays the other process: it opens the file, says so, and holds it
// until its input ends.
func TestMain(m *testing.M) {
	if path := os.Getenv("FILESTORE_HOLD"); path != "" {
		s, err := filestore.Open(filestore.Config{Path: path})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("holding")
		os.Stdin.Read(make([]byte, 1))
		s.Close()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func open(t testing.TB, path string, now func() time.Time) *filestore.Store {
	t.Helper()
	s, err := filestore.Open(filestore.Config{Path: path, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T, clock *storetest.Clock) session.Store {
		return open(t, filepath.Join(t.TempDir(), "portero.db"), clock.Now)
	})
}

func TestEverythingSurvivesReopening(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	clock := storetest.NewClock()
	path := filepath.Join(t.TempDir(), "portero.db")
	s := open(t, path, clock.Now)
	row := session.Row{
		Key: "key", Version: 1, Subject: "sub", SID: "sid", Body: []byte("body"),
		CreatedAt: clock.Now(), LastUsed: clock.Now(), ExpiresAt: clock.Now().Add(time.Hour),
	}
	marker := session.Marker{Kind: session.Ended, By: "sid:x"}
	if err := s.Create(ctx, row); err != nil {
		t.Fatal(err)
	}
	s.Touch(ctx, "key", clock.Now().Add(time.Minute))
	at := clock.Now()
	s.Mark(ctx, marker, at, time.Hour)
	s.Consume(ctx, "mark", time.Hour)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = open(t, path, clock.Now)
	got, found, err := s.Get(ctx, "key")
	if !found || err != nil || string(got.Body) != "body" || !got.LastUsed.Equal(row.LastUsed.Add(time.Minute)) {
		t.Errorf("Get = %+v, %t, %v", got, found, err)
	}
	if marks, err := s.Marked(ctx, marker); err != nil || !marks[0].Equal(at) {
		t.Errorf("Marked = %v, %v; want %s", marks, err, at)
	}
	if first, _, err := s.Consume(ctx, "mark", time.Hour); first || err != nil {
		t.Errorf("Consume = first %t, %v; want the mark still consumed", first, err)
	}
	if rows, _, err := s.List(ctx, session.Filter{SID: "sid"}, "", 0); len(rows) != 1 || err != nil {
		t.Errorf("List = %d rows, %v; want one", len(rows), err)
	}
}

func TestFileIsForItsOwnerAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "portero.db")
	s := open(t, path, nil)
	wantMode(t, path)
	if got := s.Path(); got != path {
		t.Errorf("Path = %q, want %q", got, path)
	}
	s.Close()
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	open(t, path, nil)
	wantMode(t, path)
}

func wantMode(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("mode %o, want 600", got)
	}
}

func TestSecondProcessIsToldWhoHoldsTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "portero.db")
	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), "FILESTORE_HOLD="+path)
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Wait()
	defer in.Close()
	line := make([]byte, 200)
	n, _ := out.Read(line)
	if got := string(line[:n]); got != "holding\n" {
		t.Fatalf("the other process says %q", got)
	}

	began := time.Now()
	_, err = filestore.Open(filestore.Config{Path: path})
	if err == nil {
		t.Fatal("two processes opened one file")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s to say so", took)
	}
	for _, want := range []string{path, "has it open", "give each its own file"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q lacks %q", err, want)
		}
	}
	if _, statErr := os.Stat("/proc/locks"); statErr == nil && !strings.Contains(err.Error(), "process") {
		t.Errorf("error %q names no process", err)
	}
}

func TestDamagedFilesAreErrors(t *testing.T) {
	t.Parallel()
	good := filepath.Join(t.TempDir(), "portero.db")
	s := open(t, good, nil)
	s.Create(t.Context(), session.Row{Key: "k", Version: 1, ExpiresAt: time.Now().Add(time.Hour), Body: make([]byte, 9000)})
	s.Close()
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"text":       []byte(strings.Repeat("this is no database\n", 1000)),
		"zeros":      make([]byte, 1<<16),
		"first half": data[:8192],
		"no metas":   append(make([]byte, 8192), data[8192:]...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "portero.db")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := filestore.Open(filestore.Config{Path: path})
			if err == nil {
				s.Close()
				t.Fatal("it opened")
			}
			if !strings.Contains(err.Error(), path) {
				t.Errorf("error %q does not name the file", err)
			}
			if after, _ := os.ReadFile(path); name == "text" && !bytes.Equal(after, content) {
				t.Error("a file that is not ours was changed")
			}
		})
	}
}

// TestTruncatedFilesAreErrors: wherever the file was cut, that is said, the process
// lives, and no row is silently absent.
func TestTruncatedFilesAreErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := filepath.Join(dir, "good.db")
	s := open(t, good, nil)
	for i := range 20 {
		row := session.Row{Key: fmt.Sprint(i), Version: 1, ExpiresAt: time.Now().Add(time.Hour), Body: make([]byte, 9000)}
		if err := s.Create(t.Context(), row); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	refused := 0
	for n := 1; n < len(data); n += page - 1 {
		path := filepath.Join(dir, fmt.Sprint(n, ".db"))
		if err := os.WriteFile(path, data[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := filestore.Open(filestore.Config{Path: path})
		if err != nil {
			refused++
			continue
		}
		for i := range 3 { // the cut took pages that nothing used
			if _, err := s.Touch(t.Context(), fmt.Sprint(i), time.Now()); err != nil {
				t.Errorf("cut at %d: touching row %d: %v", n, i, err)
			}
			if row, found, err := s.Get(t.Context(), fmt.Sprint(i)); !found || err != nil || len(row.Body) != 9000 {
				t.Errorf("cut at %d: row %d is found: %t, %v", n, i, found, err)
			}
		}
		s.Close()
	}
	if refused == 0 {
		t.Error("no cut was noticed")
	}
}

func TestNoFolder(t *testing.T) {
	t.Parallel()
	_, err := filestore.Open(filestore.Config{Path: filepath.Join(t.TempDir(), "no", "portero.db")})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want one that says the folder is missing", err)
	}
}

// TestWritesShareCommits: writers that wait at once are answered together, each with
// its own result.
func TestWritesShareCommits(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "portero.db"), nil)
	var wg sync.WaitGroup
	for i := range 500 {
		wg.Go(func() {
			key := fmt.Sprint(i % 250)
			err := s.Create(t.Context(), session.Row{Key: key, Version: 1, ExpiresAt: time.Now().Add(time.Hour)})
			if err != nil && !errors.Is(err, session.ErrExists) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n, err := s.Count(t.Context()); n != 250 || err != nil {
		t.Errorf("%d rows, %v; want 250", n, err)
	}
}

// TestCloseUnderLoad: nobody hangs, and whoever was told "done" finds it afterwards.
func TestCloseUnderLoad(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "portero.db")
	s := open(t, path, nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	created := map[string]bool{}
	for i := range 64 {
		wg.Go(func() {
			for j := range 50 {
				key := fmt.Sprint(i, "-", j)
				err := s.Create(context.Background(), session.Row{Key: key, Version: 1, ExpiresAt: time.Now().Add(time.Hour)})
				if errors.Is(err, session.ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				created[key] = true
				mu.Unlock()
				if i == 0 && j == 3 {
					s.Close()
				}
			}
		})
	}
	wg.Wait()
	s = open(t, path, nil)
	for key := range created {
		if _, found, err := s.Get(t.Context(), key); !found || err != nil {
			t.Errorf("row %s was answered and is gone: %v", key, err)
		}
	}
}

func TestExpiredRowsLeaveTheFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		s, err := filestore.Open(filestore.Config{Path: filepath.Join(dir, "portero.db")})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for i := range 40 {
			row := session.Row{Key: fmt.Sprint(i), Version: 1, Subject: "a", ExpiresAt: time.Now().Add(time.Hour)}
			if i < 15 {
				row.ExpiresAt = time.Now().Add(30 * time.Second)
			}
			if err := s.Create(ctx, row); err != nil {
				t.Fatal(err)
			}
		}
		marker := session.Marker{Kind: session.Ended, By: "x"}
		s.Mark(ctx, marker, time.Now(), 30*time.Second)
		s.Mark(ctx, marker, time.Now(), 2*time.Hour) // kept longer: the first end must not remove it
		s.Consume(ctx, "x", 30*time.Second)
		for _, step := range []struct {
			after time.Duration
			want  int
		}{{59 * time.Second, 40}, {2 * time.Second, 25}, {time.Hour, 0}} {
			time.Sleep(step.after) // the bubble's clock, no real time passes
			synctest.Wait()
			if got, err := s.Count(ctx); got != step.want || err != nil {
				t.Errorf("after %s more: %d rows, %v; want %d", step.after, got, err, step.want)
			}
		}
		if marks, err := s.Marked(ctx, marker); err != nil || marks[0].IsZero() {
			t.Errorf("the marker went with its first end: %v, %v", marks, err)
		}
	})
}

// A file that goes away under an open store is an error for everybody, and nobody waits for ever for whoever met it first.
func TestFileEmptiedWhileItIsOpen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "portero.db")
	s, err := filestore.Open(filestore.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Create(t.Context(), session.Row{Key: "k", Version: 1, ExpiresAt: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	const readers = 8
	answered := make(chan error, 3*readers)
	for range readers {
		go func() {
			for range 3 {
				_, found, err := s.Get(t.Context(), "k")
				if found {
					err = nil
				}
				answered <- err
			}
		}()
	}
	timeout := time.After(20 * time.Second)
	for range 3 * readers {
		select {
		case err := <-answered:
			if err == nil {
				t.Error("Get = nil, want an error")
			}
		case <-timeout:
			t.Fatal("a reader waits for ever")
		}
	}
	if _, err := s.Touch(t.Context(), "k", time.Now()); err == nil {
		t.Error("Touch = nil, want an error")
	}
	s.Close() // returns
}
