package filestore

import (
	"maps"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"portero/internal/session"
)

// markers mirrors the markers of the file. The writer changes it after each commit,
// so what it says is on the disk.
type markers struct {
	mu    sync.RWMutex
	dated map[session.Marker]dated
}

func (m *markers) load(tx *bolt.Tx) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dated = map[session.Marker]dated{}
	return tx.Bucket(bucketMarkers).ForEach(func(key, value []byte) error {
		if len(key) < 2 || len(value) != 16 {
			return errRow
		}
		marker := session.Marker{Kind: session.MarkerKind(key[1]), By: string(key[2:])}
		m.dated[marker] = dated{decodeTime(value[:8]), decodeTime(value[8:])}
		return nil
	})
}

func (m *markers) set(marker session.Marker, d dated) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dated[marker] = d
}

func (m *markers) of(ms []session.Marker, now time.Time) []time.Time {
	marks := make([]time.Time, len(ms))
	m.mu.RLock()
	defer m.mu.RUnlock()
	for i, marker := range ms {
		if have, found := m.dated[marker]; found && now.Before(have.until) {
			marks[i] = have.at
		}
	}
	return marks
}

func (m *markers) expire(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.dated, func(_ session.Marker, d dated) bool { return !now.Before(d.until) })
}
