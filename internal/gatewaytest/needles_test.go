package gatewaytest

import (
	"maps"
	"testing"
)

func TestNeedles(t *testing.T) {
	t.Parallel()
	n := newNeedles([]string{"canary-", "a secret of ours", "a secret of theirs", "at the end", "eight by", "not there", "x", ""})
	const text = "eight bytes: canary-1, a secret of a secret of ours ours, a secret of ours, nearly a secret of their, and at the end"
	got := map[string]int{}
	n.in(text, func(needle string, at int) {
		if _, twice := got[needle]; twice {
			t.Errorf("%q was found twice", needle)
		}
		got[needle] = at
	})
	want := map[string]int{"eight by": 0, "canary-": 13, "a secret of ours": 35, "at the end": 106}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, short := range []string{"", "x", "canary"} {
		n.in(short, func(needle string, _ int) {
			if needle != short {
				t.Errorf("%q was found in %q", needle, short)
			}
		})
	}
}
