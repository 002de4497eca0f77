package session_test

import (
	"slices"
	"testing"

	"portero/internal/session"
)

func TestWithSID(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	for _, n := range []session.New{person(t, "ann", "s1"), person(t, "ann", "s1"), person(t, "ann", "s2"), person(t, "bob", "s1"), person(t, "ann", "")} {
		s.start(n)
	}
	over, _ := s.start(person(t, "cid", "s1"))
	if err := s.Drop(t.Context(), over); err != nil {
		t.Fatal(err)
	}
	for sid, want := range map[string][]string{"s1": {"ann", "ann", "bob"}, "s2": {"ann"}, "s3": nil, "": nil, "S1": nil} {
		all, err := s.WithSID(t.Context(), sid)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, x := range all {
			got = append(got, x.Subject)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("WithSID(%q): got sessions of %q, want %q", sid, got, want)
		}
	}
}
