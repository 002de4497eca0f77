package serve

import (
	"context"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long a folder has to be quiet before files are compared:
	// a certificate and its key are written one after the other.
	settle = 200 * time.Millisecond
	// settleAtMost bounds the wait in a folder that is never quiet.
	settleAtMost = 2 * time.Second
	// lookAnyway is how often files are compared without any event: network
	// file systems and single files mounted into a container send none.
	lookAnyway = 30 * time.Second
)

// Watcher remembers what files hold, so that no change is missed while one watch
// ends and the next begins. The zero value knows nothing.
type Watcher struct {
	mu   sync.Mutex
	seen map[string]string // :: file → digest of its content
}

// Learn takes what the files hold now as known, those that are not known yet. It
// is for somebody who has just read them.
func (w *Watcher) Learn(files []string) {
	for _, f := range files {
		sum, ok := digest(f)
		w.mu.Lock()
		if _, known := w.seen[f]; !known && ok {
			w.remember(f, sum)
		}
		w.mu.Unlock()
	}
}

func (w *Watcher) remember(file, sum string) {
	if w.seen == nil {
		w.seen = map[string]string{}
	}
	w.seen[file] = sum
}

// WatchFiles is Watch by a Watcher that takes what the files hold now as known.
func WatchFiles(ctx context.Context, files []string, changed func()) error {
	return new(Watcher).Watch(ctx, files, changed)
}

// Watch calls changed, from one goroutine, whenever the content of one of
// the files has changed, until ctx ends; then it returns nil. A change since the
// file became known counts, even if nobody watched meanwhile. What counts is
// the content as read through all symbolic links, so the way Kubernetes swaps
// its ..data link counts, and rewriting a file with what it held does not.
// Files that are missing count once they appear. Where the system has no
// watches left, files are compared every 30 seconds instead.
func (w *Watcher) Watch(ctx context.Context, files []string, changed func()) error {
	x := &watch{files: files, known: w, folders: map[string]bool{}}
	if notify, err := fsnotify.NewWatcher(); err == nil {
		x.notify = notify
		defer notify.Close()
	}
	x.follow() // before the first look, so that no change falls between them
	if x.compare(true) {
		changed()
	}

	var events chan fsnotify.Event
	var errs chan error
	if x.notify != nil {
		events, errs = x.notify.Events, x.notify.Errors
	}
	anyway := time.NewTicker(lookAnyway)
	defer anyway.Stop()
	quiet := time.NewTimer(settle)
	quiet.Stop()
	defer quiet.Stop()
	var first time.Time // the first event not looked at yet; zero: none

	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			if first.IsZero() {
				first = time.Now()
			}
			quiet.Reset(min(settle, max(0, settleAtMost-time.Since(first))))
			continue
		case _, ok := <-errs:
			// An overflow loses events; comparing makes up for it.
			if !ok {
				errs = nil
				continue
			}
		case <-quiet.C:
		case <-anyway.C:
		}
		first = time.Time{}
		x.follow()
		if x.compare(false) {
			changed()
		}
	}
}

type watch struct {
	files   []string
	notify  *fsnotify.Watcher // nil: none to be had
	known   *Watcher
	folders map[string]bool // those watched
}

// follow watches the folder of every file, and of what its links lead to, as
// they are now. Folders that are gone are watched again once they are back.
func (w *watch) follow() {
	if w.notify == nil {
		return
	}
	want := map[string]bool{}
	for _, f := range w.files {
		want[filepath.Dir(f)] = true
		if target, err := filepath.EvalSymlinks(f); err == nil {
			want[filepath.Dir(target)] = true
		}
	}
	for folder := range w.folders {
		if !want[folder] {
			_ = w.notify.Remove(folder) // gone already, as a rule
			delete(w.folders, folder)
		}
	}
	for folder := range want {
		// Adding one that is watched changes nothing; adding one that was
		// removed and made again watches the new one.
		if w.notify.Add(folder) == nil {
			w.folders[folder] = true
		}
	}
}

// compare reads all files and reports whether one differs from the last look. A
// file that nobody has looked at yet has appeared, except in the first look. One
// that cannot be read now keeps its last digest: in the middle of a swap there is
// nothing to load.
func (w *watch) compare(first bool) bool {
	changed := false
	for _, f := range w.files {
		sum, ok := digest(f)
		if !ok {
			continue
		}
		w.known.mu.Lock()
		if old, known := w.known.seen[f]; !known || old != sum {
			w.known.remember(f, sum)
			changed = changed || known || !first
		}
		w.known.mu.Unlock()
	}
	return changed
}

func digest(file string) (string, bool) {
	f, err := os.Open(file)
	if err != nil {
		return "", false
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", false
	}
	return string(h.Sum(nil)), true
}
