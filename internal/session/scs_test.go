package session_test

import (
	"bytes"
	"errors"
	"net/http"
	"testing"
	"time"

	"portero/internal/session"
)

// The adapter keeps the promises of an scs store, although only CommitCtx is used.
func TestAdapter(t *testing.T) {
	t.Parallel()
	s := newSetup(t, nil)
	a, ctx, store := s.Adapter(), t.Context(), s.store.Store
	if _, _, err := a.Find("x"); !errors.Is(err, session.ErrContext) {
		t.Errorf("Find: %v", err)
	}
	if err := a.Commit("x", nil, time.Time{}); !errors.Is(err, session.ErrContext) {
		t.Errorf("Commit: %v", err)
	}
	if err := a.Delete("x"); !errors.Is(err, session.ErrContext) {
		t.Errorf("Delete: %v", err)
	}

	ends := s.clock.Now().Add(time.Hour)
	plain, err := session.EncodeRecord("ann", ends)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.CommitCtx(ctx, "key", []byte("no record"), ends); err == nil {
		t.Error("a body that is no record was committed")
	}
	if err := a.CommitCtx(ctx, "key", plain, ends); err != nil {
		t.Fatal(err)
	}
	if err := a.CommitCtx(ctx, "key", plain, ends); !errors.Is(err, session.ErrExists) {
		t.Errorf("CommitCtx on a taken key: %v, want ErrExists", err)
	}
	got, found, err := a.FindCtx(ctx, "key")
	if !bytes.Equal(got, plain) || !found || err != nil {
		t.Errorf("FindCtx = %s, %t, %v", got, found, err)
	}
	if deadline, subject, err := session.DecodeRecord(got); err != nil || !deadline.Equal(ends) || subject != "ann" {
		t.Errorf("Decode = %s, %q, %v", deadline, subject, err)
	}
	if _, found, err := a.FindCtx(ctx, "nobody"); found || err != nil {
		t.Errorf("FindCtx of an absent one = %t, %v", found, err)
	}
	row, _, _ := store.Get(ctx, "key")
	row.Version++
	if _, err := store.Update(ctx, row, row.Version-1); err != nil { // sealed for version 1
		t.Fatal(err)
	}
	if _, found, err := a.FindCtx(ctx, "key"); found || err != nil {
		t.Errorf("FindCtx of an unreadable one = %t, %v; want not found", found, err)
	}
	for range 2 {
		if err := a.DeleteCtx(ctx, "key"); err != nil {
			t.Errorf("DeleteCtx: %v", err)
		}
	}
	store.Close()
	if _, _, err := a.FindCtx(ctx, "key"); err == nil {
		t.Error("FindCtx on a closed store: no error")
	}

	if session.EncodeNothing() == nil {
		t.Error("Encode without a record: no error")
	}
	for _, bad := range []string{"", "null", "[]", `{"v":2}`, `{"v":"1"}`, `{"v":1,"sub":7}`, `{"v":1}x`} {
		if _, _, err := session.DecodeRecord([]byte(bad)); err == nil {
			t.Errorf("Decode(%q): no error", bad)
		}
	}
}

// FuzzToken: the header reader takes a token only if exactly one cookie has our name.
func FuzzToken(f *testing.F) {
	m := newSetup(f, nil).Manager
	token := "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	for _, seed := range []string{
		"", "a=b", "__Host-portero=" + token, "a=b; __Host-portero=" + token + ";", "__Host-portero=" + token + "; __Host-portero=x",
		"__Host-portero", ";;;=;", "__host-portero=" + token, "\t__Host-portero=" + token + " ",
	} {
		f.Add(seed, "")
	}
	f.Add("__Host-portero="+token, "__Host-portero="+token)
	f.Fuzz(func(t *testing.T, one, two string) {
		r := &http.Request{Header: http.Header{"Cookie": {one, two}}}
		got, reason := m.Token(r)
		if (reason == session.Found) != (got != "") || got != "" && !session.WellFormed(got) {
			t.Fatalf("token(%q, %q) = %q, %q", one, two, got, reason)
		}
		if reason != session.Found {
			return
		}
		// net/http, which is laxer, must see the same and no other of that name.
		for _, c := range r.CookiesNamed(cookieName) {
			if c.Value != got {
				t.Fatalf("token(%q, %q) = %q, net/http sees %q", one, two, got, c.Value)
			}
		}
	})
}
