package session

import (
	"crypto/rand"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Local is the revocation log and the leases of a store that one process has for
// itself: both may be forgotten when it ends. The zero value is ready to use.
type Local struct {
	mu     sync.Mutex
	id     string           // of this log: places in another one mean nothing here
	first  uint64           // place of the oldest entry of log
	log    []published      // oldest first
	leases map[string]lease // :: name → who has it
}

type published struct {
	Revocation
	until time.Time
}

type lease struct {
	holder string
	until  time.Time
}

// Publish implements Store.
func (l *Local) Publish(now time.Time, rs ...Revocation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := slices.IndexFunc(l.log, func(p published) bool { return now.Before(p.until) })
	if old < 0 {
		old = len(l.log)
	}
	l.first += uint64(old)
	l.log = slices.Delete(l.log, 0, old)
	for _, r := range rs {
		l.log = append(l.log, published{r, now.Add(LogLife)})
	}
}

// Published implements Store.
func (l *Local) Published(after string) (rs []Revocation, next string, whole bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.id == "" {
		l.id = rand.Text()
	}
	end := l.first + uint64(len(l.log))
	id, place, _ := strings.Cut(after, ".")
	from, err := strconv.ParseUint(place, 10, 64)
	if err != nil || id != l.id || from < l.first || from > end {
		return nil, l.place(end), false
	}
	page := l.log[from-l.first:]
	page = page[:min(len(page), LogPage)]
	for _, p := range page {
		rs = append(rs, p.Revocation)
	}
	return rs, l.place(from + uint64(len(page))), true
}

func (l *Local) place(n uint64) string { return l.id + "." + strconv.FormatUint(n, 10) }

// Lease implements Store.
func (l *Local) Lease(now time.Time, name, holder string, keep time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leases == nil {
		l.leases = map[string]lease{}
	}
	if have, held := l.leases[name]; held && now.Before(have.until) {
		return false
	}
	for name, have := range l.leases { // of holders that never came back; there are few
		if !now.Before(have.until) {
			delete(l.leases, name)
		}
	}
	l.leases[name] = lease{holder, now.Add(keep)}
	return true
}

// Release implements Store.
func (l *Local) Release(now time.Time, name, holder string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	have, held := l.leases[name]
	if !held || have.holder != holder || !now.Before(have.until) {
		return false
	}
	delete(l.leases, name)
	return true
}
