package provider

import (
	"fmt"
	"testing"
	"time"
)

func TestShelf(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	s := newShelf[int](3)
	for i := range 5 {
		s.put(now.Add(time.Duration(i)*time.Second), fmt.Sprint(i), i, time.Hour)
	}
	for i := range 5 {
		if got := s.get(now, fmt.Sprint(i)) != nil; got != (i >= 2) {
			t.Errorf("of five with room for three, %d is kept: %v", i, got)
		}
	}
	if s.get(now.Add(time.Hour+2*time.Second), "2") != nil || s.get(now.Add(time.Hour+time.Second), "2") == nil {
		t.Error("a value does not end exactly when it expires")
	}
	s.put(now.Add(2*time.Hour), "new", 1, time.Hour)
	if len(s.items) != 1 {
		t.Errorf("expired values stay: %d items", len(s.items))
	}
}
