package seal_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"portero/internal/seal"
)

func secret(fill byte) []byte { return bytes.Repeat([]byte{fill}, seal.MinSecret) }

func ring(t testing.TB, current []byte, old ...[]byte) *seal.KeyRing {
	t.Helper()
	k, err := seal.NewKeyRing(current, old...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func mustNotOpen(t *testing.T, k *seal.KeyRing, purpose string, sealed, bind []byte, what string) {
	t.Helper()
	got, newest, err := k.Open(purpose, sealed, bind)
	if got != nil || newest || !errors.Is(err, seal.ErrOpen) || err.Error() != seal.ErrOpen.Error() {
		t.Fatalf("%s: Open = %q, %t, %v; want the one error", what, got, newest, err)
	}
}

func TestNewKeyRingRefusesShortSecrets(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		current []byte
		old     [][]byte
		want    string
	}{
		{"no secret", nil, nil, "current secret has 0 bytes"},
		{"one byte short", secret('a')[1:], nil, "current secret has 31 bytes"},
		{"an old one short", secret('a'), [][]byte{secret('b'), []byte("changeme")}, "old secret 2 has 8 bytes"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, err := seal.NewKeyRing(row.current, row.old...)
			if err == nil || got != nil {
				t.Fatalf("NewKeyRing accepted it")
			}
			if !strings.Contains(err.Error(), row.want) {
				t.Errorf("error %q, want it to hold %q", err, row.want)
			}
			if strings.Contains(err.Error(), "changeme") || strings.Contains(err.Error(), "aaaa") {
				t.Errorf("error %q quotes a secret", err)
			}
		})
	}
}

func TestOpenRefusesEveryFlippedBit(t *testing.T) {
	t.Parallel()
	k := ring(t, secret('a'), secret('b'))
	sealed := k.Seal("session", []byte("the record"), []byte("key"))
	for i := range len(sealed) * 8 {
		changed := bytes.Clone(sealed)
		changed[i/8] ^= 1 << (i % 8)
		mustNotOpen(t, k, "session", changed, []byte("key"), fmt.Sprintf("bit %d flipped", i))
	}
}

func TestOpenRefusesEveryOtherLength(t *testing.T) {
	t.Parallel()
	k := ring(t, secret('a'))
	sealed := k.Seal("session", []byte("the record"), nil)
	for n := range len(sealed) {
		mustNotOpen(t, k, "session", sealed[:n], nil, fmt.Sprintf("first %d bytes", n))
		if n > 0 {
			mustNotOpen(t, k, "session", sealed[n:], nil, fmt.Sprintf("without the first %d bytes", n))
		}
	}
	mustNotOpen(t, k, "session", append(bytes.Clone(sealed), 0), nil, "one byte more")
	mustNotOpen(t, k, "session", append(bytes.Clone(sealed), sealed...), nil, "twice")
	mustNotOpen(t, k, "session", nil, nil, "nothing")
}

func TestPurposesAndBindingsAreNotInterchangeable(t *testing.T) {
	t.Parallel()
	k := ring(t, secret('a'))
	parts := []string{"", "a", "b", "ab", "a\x00b", "session", "attempt"}
	for _, purpose := range parts {
		for _, bind := range parts {
			sealed := k.Seal(purpose, []byte("x"), []byte(bind))
			for _, otherPurpose := range parts {
				for _, otherBind := range parts {
					if otherPurpose == purpose && otherBind == bind {
						if _, newest, err := k.Open(purpose, sealed, []byte(bind)); err != nil || !newest {
							t.Fatalf("%q/%q: Open = newest %t, %v", purpose, bind, newest, err)
						}
						continue
					}
					mustNotOpen(t, k, otherPurpose, sealed, []byte(otherBind),
						fmt.Sprintf("sealed for %q/%q, opened for %q/%q", purpose, bind, otherPurpose, otherBind))
				}
			}
		}
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	before := ring(t, secret('a'))
	during := ring(t, secret('b'), secret('a'))
	after := ring(t, secret('c'), secret('b'))

	old := before.Seal("session", []byte("x"), nil)
	if got, newest, err := during.Open("session", old, nil); string(got) != "x" || newest || err != nil {
		t.Errorf("old secret: Open = %q, %t, %v; want x, false, nil", got, newest, err)
	}
	mustNotOpen(t, after, "session", old, nil, "rotated twice")
	mustNotOpen(t, before, "session", during.Seal("session", []byte("x"), nil), nil, "sealed by a secret we do not have")

	// A secret that is both current and old is the current one.
	same := ring(t, secret('a'), secret('a'), secret('b'))
	if _, newest, err := same.Open("session", old, nil); !newest || err != nil {
		t.Errorf("secret named twice: newest %t, %v; want true, nil", newest, err)
	}
}

func TestRingKeepsNoReferenceToTheCallersBytes(t *testing.T) {
	t.Parallel()
	mine := secret('a')
	k := ring(t, mine)
	sealed := k.Seal("session", []byte("x"), nil)
	clear(mine)
	if _, _, err := k.Open("session", sealed, nil); err != nil {
		t.Errorf("Open after the caller wiped its copy: %v", err)
	}
	got, want := k.Derive("a", 32), ring(t, secret('a')).Derive("a", 32)
	if !bytes.Equal(got, want) {
		t.Errorf("Derive changed after the caller wiped its copy")
	}
}

func TestEqualPlaintextsDiffer(t *testing.T) {
	t.Parallel()
	k := ring(t, secret('a'))
	seen := map[string]bool{}
	for range 1000 {
		text := k.SealText("session", []byte("same"), nil)
		if seen[text] {
			t.Fatal("the same result twice")
		}
		seen[text] = true
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	k := ring(t, secret('a'))
	for _, n := range []int{0, 1, 15, 16, 17, 4096, 1 << 20} {
		plain := bytes.Repeat([]byte{7}, n)
		sealed := k.Seal("session", plain, []byte("b"))
		if got, want := len(sealed), n+seal.Overhead; got != want {
			t.Errorf("%d bytes sealed to %d, want %d", n, got, want)
		}
		got, newest, err := k.Open("session", sealed, []byte("b"))
		if !bytes.Equal(got, plain) || !newest || err != nil {
			t.Errorf("%d bytes: newest %t, error %v, equal %t", n, newest, err, bytes.Equal(got, plain))
		}
	}
}

func TestOpenTextRefusesOtherSpellings(t *testing.T) {
	t.Parallel()
	k := ring(t, secret('a'))
	// 1+8+24+16+n bytes: n = 0, 1, 2 give every remainder modulo three.
	for n := range 3 {
		text := k.SealText("session", make([]byte, n), nil)
		if _, _, err := k.OpenText("session", text, nil); err != nil {
			t.Fatalf("canonical text of %d bytes: %v", n, err)
		}
		sealed, _ := base64.RawURLEncoding.DecodeString(text)
		spellings := map[string]string{
			"padded":        base64.URLEncoding.EncodeToString(sealed) + strings.Repeat("=", (3-len(sealed)%3)%3),
			"one = more":    text + "=",
			"line feed":     text[:10] + "\n" + text[10:],
			"two returns":   text + "\r\n",
			"space":         text + " ",
			"leading space": " " + text,
			"NUL":           text + "\x00",
			"twice":         text + text,
			"dotted":        text + ".",
			"one more A":    text + "A",
			"empty":         "",
		}
		// The last character's unused bits: every other character that decodes to the same bytes.
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		for _, c := range alphabet {
			other := text[:len(text)-1] + string(c)
			if other == text {
				continue
			}
			spellings["last character "+string(c)] = other
		}
		for name, other := range spellings {
			if other == text { // a length that needs no padding
				continue
			}
			if got, _, err := k.OpenText("session", other, nil); !errors.Is(err, seal.ErrOpen) || got != nil {
				t.Errorf("%d bytes, %s: OpenText = %q, %v; want ErrOpen", n, name, got, err)
			}
		}
	}
}

func TestDerive(t *testing.T) {
	t.Parallel()
	a, b := ring(t, secret('a')), ring(t, secret('b'), secret('a'))
	if bytes.Equal(a.Derive("x", 32), a.Derive("y", 32)) {
		t.Error("two purposes, one result")
	}
	if bytes.Equal(a.Derive("x", 32), b.Derive("x", 32)) {
		t.Error("two newest secrets, one result")
	}
	if got, want := a.Derive("x", 32), a.Derive("x", 32); !bytes.Equal(got, want) {
		t.Error("not repeatable")
	}
	if got := len(a.Derive("x", 77)); got != 77 {
		t.Errorf("77 bytes asked, %d given", got)
	}
	for _, n := range []int{-1, 0, 255*32 + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Derive of %d bytes did not panic", n)
				}
			}()
			a.Derive("x", n)
		}()
	}
}

func TestRingIsNeverPrinted(t *testing.T) {
	t.Parallel()
	k := ring(t, bytes.Repeat([]byte("CANARY"), 8))
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "ring", k)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "ring", k)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		fmt.Fprintf(&log, verb+"\n", k)
	}
	for _, bad := range []string{"CANARY", "43414e", "67 65 78"} {
		if strings.Contains(log.String(), bad) {
			t.Errorf("printed: %s", log.String())
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	k := ring(t, secret('a'))
	done := make(chan error)
	for i := range 8 {
		go func() {
			var err error
			for j := range 200 {
				purpose := fmt.Sprint("p", (i+j)%5)
				if _, _, e := k.Open(purpose, k.Seal(purpose, []byte("x"), nil), nil); e != nil {
					err = e
				}
			}
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// FuzzMalleability: whatever opens, opens to what was sealed and has one spelling only.
func FuzzMalleability(f *testing.F) {
	k := ring(f, secret('a'), secret('b'))
	const text = "AQ9xIRZ_RCv5gDJrdoNVhkxHUsmiPJaNRpcBHf7zbuPQ687OH4DyERMHnNX_SIWrri27uriA" // constant, because the fuzzer's processes must agree; it also pins the format
	if got, _, err := k.OpenText("session", text, []byte("bind")); string(got) != "hello" {
		f.Fatalf("the format changed, sealed records in stores no longer open: %q, %v", got, err)
	}
	f.Add(text, "session", "bind")
	f.Add(text+"=", "session", "bind")
	f.Add(text[:len(text)-1]+"\n", "session", "bind")
	f.Add("", "", "")
	f.Add(base64.RawURLEncoding.EncodeToString(make([]byte, seal.Overhead)), "session", "")
	f.Fuzz(func(t *testing.T, in, purpose, bind string) {
		got, _, err := k.OpenText(purpose, in, []byte(bind))
		if err != nil {
			if got != nil || !errors.Is(err, seal.ErrOpen) {
				t.Fatalf("OpenText(%q) = %q, %v", in, got, err)
			}
			return
		}
		if in != text || purpose != "session" || bind != "bind" || string(got) != "hello" {
			t.Fatalf("OpenText(%q, %q, %q) = %q: opened without having been sealed", purpose, in, bind, got)
		}
	})
}

func FuzzRoundTrip(f *testing.F) {
	k := ring(f, secret('a'))
	f.Add("session", []byte("hello"), []byte("bind"))
	f.Add("", []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, purpose string, plain, bind []byte) {
		got, newest, err := k.OpenText(purpose, k.SealText(purpose, plain, bind), bind)
		if err != nil || !newest || !bytes.Equal(got, plain) {
			t.Fatalf("%q, %q, %q: %q, %t, %v", purpose, plain, bind, got, newest, err)
		}
	})
}

func BenchmarkOpenRecord(b *testing.B) {
	k := ring(b, secret('a'))
	sealed := k.Seal("session", make([]byte, 4096), []byte("key"))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := k.Open("session", sealed, []byte("key")); err != nil {
			b.Fatal(err)
		}
	}
}
