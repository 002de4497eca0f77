package provider

import "time"

// shelf keeps values by key until they expire. With a limit it forgets the one that would expire first to take in another. It is not safe for
// use by several goroutines: the store's mutex guards it.
type shelf[V any] struct {
	limit int // 0: none
	items map[string]*item[V]
	sweep time.Time // when expired items are next thrown away
}

type item[V any] struct {
	value   V
	expires time.Time
}

func newShelf[V any](limit int) shelf[V] { return shelf[V]{limit: limit, items: map[string]*item[V]{}} }

func (s *shelf[V]) put(now time.Time, key string, value V, keep time.Duration) *V {
	if !now.Before(s.sweep) {
		for k, it := range s.items {
			if !now.Before(it.expires) {
				delete(s.items, k)
			}
		}
		s.sweep = now.Add(time.Minute)
	}
	if _, known := s.items[key]; !known && s.limit > 0 && len(s.items) >= s.limit {
		var first string
		var earliest time.Time
		for k, it := range s.items {
			if first == "" || it.expires.Before(earliest) {
				first, earliest = k, it.expires
			}
		}
		delete(s.items, first)
	}
	it := &item[V]{value: value, expires: now.Add(keep)}
	s.items[key] = it
	return &it.value
}

// get returns nil for what is absent or expired.
func (s *shelf[V]) get(now time.Time, key string) *V {
	it, ok := s.items[key]
	if !ok || !now.Before(it.expires) {
		return nil
	}
	return &it.value
}

func (s *shelf[V]) drop(key string) { delete(s.items, key) }
