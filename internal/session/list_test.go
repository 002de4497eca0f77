package session_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"portero/internal/session"
)

// search goes through all pages and returns the IDs that were found, sorted.
func (s *setup) search(by session.Selection, limit int) []string {
	s.Helper()
	var ids []string
	for cursor, pages := "", 0; ; pages++ {
		page, next, err := s.Search(context.Background(), by, cursor, limit)
		if err != nil || pages > 1000 {
			s.Fatalf("Search(%+v): page %d: %v", by, pages, err)
		}
		if limit > 0 && by.ID == "" && len(page) > limit {
			s.Errorf("Search(%+v): %d sessions on a page of %d", by, len(page), limit)
		}
		for _, one := range page {
			ids = append(ids, one.ID)
			if one.RefreshToken == "" {
				s.Errorf("session %s comes without its tokens", one.ID)
			}
		}
		if cursor = next; cursor == "" {
			slices.Sort(ids)
			return ids
		}
	}
}

func TestSearch(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	var ana, sid2, everybody []string
	var one *session.Session
	for i := range 30 {
		name, sid := "ana", fmt.Sprintf("sid-%d", i%5)
		if i%3 == 0 {
			name, sid = "ben", "sid-of-ben"
		}
		got, _ := s.start(person(t, name, sid))
		switch {
		case i == 29:
			if err := s.Revoke(t.Context(), got); err != nil {
				t.Fatal(err)
			}
			continue
		case name == "ana":
			one = got
			ana = append(ana, got.ID)
			if sid == "sid-2" {
				sid2 = append(sid2, got.ID)
			}
		}
		everybody = append(everybody, got.ID)
	}
	for _, list := range [][]string{ana, sid2, everybody} {
		slices.Sort(list)
	}
	for _, limit := range []int{0, 1, 3, 500} {
		for _, tt := range []struct {
			by   session.Selection
			want []string
		}{
			{session.Selection{}, everybody},
			{session.Selection{Subject: "ana"}, ana},
			{session.Selection{SID: "sid-2"}, sid2},
			{session.Selection{SID: "sid-2", Subject: "ana"}, sid2},
			{session.Selection{SID: "sid-2", Subject: "ben"}, nil},
			{session.Selection{ID: one.ID}, []string{one.ID}},
			{session.Selection{ID: one.ID, Subject: "ana"}, []string{one.ID}},
			{session.Selection{ID: one.ID, Subject: "ben"}, nil},
			{session.Selection{ID: one.ID[:8]}, nil},
			{session.Selection{ID: one.Key}, nil},
			{session.Selection{Subject: "nobody"}, nil},
		} {
			if got := s.search(tt.by, limit); !slices.Equal(got, tt.want) {
				t.Errorf("%+v by %d: got %q, want %q", tt.by, limit, got, tt.want)
			}
		}
	}
	s.store.failing(func(context.Context, string) error { return errors.New("away") })
	if _, _, err := s.Search(t.Context(), session.Selection{}, "", 10); !errors.Is(err, session.ErrUnavailable) {
		t.Errorf("without the store: got %v, want ErrUnavailable", err)
	}
}

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
