package filestore

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"portero/internal/session"
)

// FuzzDecodeRow: any bytes give an error or a row that encodes to the same bytes.
func FuzzDecodeRow(f *testing.F) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for _, row := range []session.Row{
		{},
		{Version: 1<<64 - 1, Subject: "subject", SID: "sid", CreatedAt: now, ExpiresAt: now, Idled: true, Body: []byte("body")},
		{Subject: string(make([]byte, 300)), CreatedAt: time.Time{}, ExpiresAt: now.Add(-1e5 * time.Hour)},
	} {
		f.Add(encodeRow(row))
	}
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 60))
	f.Fuzz(func(t *testing.T, b []byte) {
		row, err := decodeRow(b)
		if err != nil {
			return
		}
		again, err := decodeRow(encodeRow(row))
		if err != nil || cmp.Diff(row, again) != "" {
			t.Fatalf("%x decodes to %+v, which comes back as %+v, %v", b, row, again, err)
		}
		if !expiryOf(b).Equal(row.ExpiresAt) {
			t.Fatalf("%x ends at %s or %s", b, expiryOf(b), row.ExpiresAt)
		}
	})
}

func TestTimesSort(t *testing.T) {
	t.Parallel()
	times := []time.Time{{}, time.Unix(-1, 0), time.UnixMicro(-1), time.Unix(0, 0), time.UnixMicro(1), time.Unix(1<<40, 0)}
	for i, a := range times {
		if got := decodeTime(encodeTime(a)); !got.Equal(a) {
			t.Errorf("%s comes back as %s", a, got)
		}
		for _, b := range times[i+1:] {
			if bytes.Compare(encodeTime(a), encodeTime(b)) >= 0 {
				t.Errorf("%s does not sort before %s", a, b)
			}
		}
	}
}

func newStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(Config{Path: filepath.Join(t.TempDir(), "portero.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// A damaged row is an error, not an absence: the gateway must say 503, not sign the
// person out or, worse, take the key for free.
func TestDamagedRowIsAnError(t *testing.T) {
	t.Parallel()
	for name, value := range map[string][]byte{"short": {1, 2, 3}, "another format": append([]byte{9}, encodeRow(session.Row{})[1:]...)} {
		s := newStore(t)
		ctx := t.Context()
		row := session.Row{Key: "k", Version: 1, ExpiresAt: time.Now().Add(time.Hour)}
		if err := s.Create(ctx, row); err != nil {
			t.Fatal(err)
		}
		if len(value) > 10 {
			copy(value[18:26], encodeTime(time.Now().Add(time.Hour)))
		}
		if err := s.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketRows).Put([]byte("k"), value) }); err != nil {
			t.Fatal(err)
		}
		if _, found, err := s.Get(ctx, "k"); found || err == nil {
			t.Errorf("%s: Get = found %t, %v; want an error", name, found, err)
		}
		if err := s.Create(ctx, row); err == nil || errors.Is(err, session.ErrExists) {
			t.Errorf("%s: Create = %v; want an error", name, err)
		}
		if err := s.Ping(ctx); !errors.Is(err, errBroken) {
			t.Errorf("%s: Ping after a write met damage = %v; want it to say so", name, err)
		}
	}
}

// One write that cannot be done does not fail those it shares a commit with.
func TestOneBadWriteFailsAlone(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	bad := errors.New("cannot be done")
	ran, told := 0, 0
	newWrite := func(ctx context.Context, do func(*bolt.Tx) error) *write {
		return &write{ctx: ctx, do: do, then: func() { told++ }, done: make(chan error, 1)}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	batch := []*write{
		newWrite(t.Context(), func(tx *bolt.Tx) error { return put(tx, session.Row{Key: "a", ExpiresAt: time.Now().Add(time.Hour)}) }),
		newWrite(t.Context(), func(*bolt.Tx) error { return bad }),
		newWrite(gone, func(*bolt.Tx) error { ran++; return nil }),
		newWrite(t.Context(), func(tx *bolt.Tx) error { return put(tx, session.Row{Key: "b", ExpiresAt: time.Now().Add(time.Hour)}) }),
	}
	s.commit(batch)
	for i, want := range []error{nil, bad, context.Canceled, nil} {
		if got := <-batch[i].done; !errors.Is(got, want) || (got == nil) != (want == nil) {
			t.Errorf("write %d: %v, want %v", i, got, want)
		}
	}
	if ran != 0 || told != 2 {
		t.Errorf("abandoned write ran %d times, %d were told; want 0 and 2", ran, told)
	}
	for _, key := range []string{"a", "b"} {
		if _, found, err := s.Get(t.Context(), key); !found || err != nil {
			t.Errorf("%s: found %t, %v", key, found, err)
		}
	}
}

// Sweeping a great many rows takes several transactions.
func TestSweepGoesOn(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	err := s.transact(func(tx *bolt.Tx) error {
		for i := range 3*sweepAtOnce + 1 {
			row := session.Row{Key: string(rune('a'+i%26)) + time.Duration(i).String(), ExpiresAt: time.Now().Add(-time.Hour)}
			if err := put(tx, row); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.sweep()
	for _, bucket := range [][]byte{bucketRows, bucketUsed, bucketExpiry, bucketSubjects, bucketSIDs} {
		s.db.View(func(tx *bolt.Tx) error {
			if n := tx.Bucket(bucket).Stats().KeyN; n != 0 {
				t.Errorf("%d entries left in %s", n, bucket)
			}
			return nil
		})
	}
}

func TestForeignFormatIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "portero.db")
	s, err := Open(Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	s.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put([]byte("format"), []byte{7}) })
	s.Close()
	if _, err := Open(Config{Path: path}); err == nil {
		t.Error("a file of a later format was opened")
	}
}
