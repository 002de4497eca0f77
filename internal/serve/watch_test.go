package serve_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"portero/internal/serve"
)

// watching runs WatchFiles until the test ends.
func watching(t *testing.T, files ...string) (noticed <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	changed, done := make(chan struct{}, 64), make(chan error, 1)
	go func() { done <- serve.WatchFiles(ctx, files, func() { changed <- struct{}{} }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("WatchFiles() = %v, want nil after its context", err)
		}
	})
	return changed
}

// until changes something until the watch has noticed: nothing says when a
// watch has begun.
func until(t *testing.T, noticed <-chan struct{}, change func(try int)) {
	t.Helper()
	for try := range 20 {
		change(try)
		select {
		case <-noticed:
			return
		case <-time.After(time.Second):
		}
	}
	t.Fatal("the change was not noticed")
}

func TestWatchSeesAFileWrittenInPlace(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secret")
	write(t, file, "old")
	until(t, watching(t, file), func(try int) { write(t, file, "new"+string(rune('a'+try))) })
}

func TestWatchSeesAFileReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "secret")
	write(t, file, "old")
	until(t, watching(t, file), func(try int) {
		write(t, filepath.Join(dir, "tmp"), "new"+string(rune('a'+try)))
		if err := os.Rename(filepath.Join(dir, "tmp"), file); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWatchSeesAFileAppear(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secret")
	until(t, watching(t, file), func(try int) {
		os.Remove(file)
		write(t, file, "new"+string(rune('a'+try)))
	})
}

func TestWatchSeesTheSwapOfKubernetes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	version := func(n int, content string) {
		t.Helper()
		folder := filepath.Join(dir, "..version"+string(rune('a'+n)))
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(folder, "tls.crt"), content)
		link := filepath.Join(dir, "..data_tmp")
		if err := os.Symlink(filepath.Base(folder), link); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link, filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	version(0, "old")
	file := filepath.Join(dir, "tls.crt")
	if err := os.Symlink("..data/tls.crt", file); err != nil {
		t.Fatal(err)
	}
	noticed := watching(t, file)
	until(t, noticed, func(try int) { version(try+1, "new"+string(rune('a'+try))) })
	// The folder of the new version is followed as well.
	until(t, noticed, func(try int) { write(t, file, "newer"+string(rune('a'+try))) })
}

func TestWatchIsSilentAboutWhatDoesNotMatter(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, other := filepath.Join(dir, "secret"), filepath.Join(dir, "other")
	write(t, file, "same")
	noticed := watching(t, file)
	until(t, noticed, func(try int) { write(t, file, "ready"+string(rune('a'+try))) })
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for len(noticed) > 0 {
		<-noticed
	}

	write(t, file, string(content))
	write(t, other, "neighbour")
	select {
	case <-noticed:
		t.Error("the same content and a neighbour counted as a change")
	case <-time.After(time.Second):
	}
}
