package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"portero/internal/audit"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 5000, time.FixedZone("CET", 3600))

func newLog(t testing.TB, logger *slog.Logger) (*audit.Log, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	l, err := audit.New(audit.Config{File: file, Logger: logger, Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l, file
}

func lines(t testing.TB, file string) []string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) == 0 {
		return nil
	}
	if data[len(data)-1] != '\n' {
		t.Errorf("%s does not end with a newline", file)
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

func TestLine(t *testing.T) {
	t.Parallel()
	l, file := newLog(t, nil)
	l.Record(t.Context(), audit.Event{
		Action: "decision", Outcome: "deny", Reason: "no-rule", Route: "wiki", Rule: "allow[0]", Subject: "u1", Email: "a@example.com",
		SessionID: "3f2a", Client: "203.0.113.7", Method: "GET", Host: "wiki.test", Path: "/x", Code: "7K3F-Q9XM", RequestID: "r1",
	})
	l.Record(t.Context(), audit.Event{Action: "reload"})
	want := []string{
		`{"time":"2026-11-22T11:00:00.000005Z","action":"decision","outcome":"deny","reason":"no-rule","route":"wiki","rule":"allow[0]","subject":"u1","email":"a@example.com","session":"3f2a","client":"203.0.113.7","method":"GET","host":"wiki.test","path":"/x","support_code":"7K3F-Q9XM","request_id":"r1"}`,
		`{"time":"2026-11-22T11:00:00.000005Z","action":"reload"}`,
	}
	if diff := cmp.Diff(want, lines(t, file)); diff != "" {
		t.Errorf("audit file (-want +got):\n%s", diff)
	}
}

func TestFileMode(t *testing.T) {
	t.Parallel()
	_, file := newLog(t, nil)
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := info.Mode().Perm(), os.FileMode(0o600); got != want {
		t.Errorf("mode of a new audit file: got %v, want %v", got, want)
	}
}

func TestExistingFileIsContinued(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(file, []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := audit.New(audit.Config{File: file})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.Record(t.Context(), audit.Event{Action: "reload"})
	if got := lines(t, file); len(got) != 2 || got[0] != "before" {
		t.Errorf("audit file: got %q, want the old line and a new one", got)
	}
}

func TestNoFolder(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "missing", "audit.jsonl")
	l, err := audit.New(audit.Config{File: file})
	if err == nil {
		l.Close()
		t.Fatalf("New with a file in a folder that does not exist: got no error")
	}
	if !strings.Contains(err.Error(), file) {
		t.Errorf("New: got error %q, want it to name %s", err, file)
	}
}

// LG-04.
func TestOneEscapedLine(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, value, want string }{
		{"newline", "a\nb\r\n", "a\nb\r\n"},
		{"escape sequence", "\x1b[2J", "\x1b[2J"},
		{"line separators", "a\u2028b\u2029", "a\u2028b\u2029"},
		{"quotes and backslashes", `a"b\c`, `a"b\c`},
		{"NUL and DEL", "\x00\x7f", "\x00\x7f"},
		{"C1 control", "\u009b31m", "\u009b31m"},
		{"right-to-left override", "\u202egpj.exe", "\u202egpj.exe"},
		{"invalid UTF-8", "a\xff\xfeb\xc3", "a\ufffd\ufffdb\ufffd"},
		{"beyond the first plane", "\U000e0041\U0001f600", "\U000e0041\U0001f600"},
		{"forged line", `x"}` + "\n" + `{"action":"decision","outcome":"allow"}`, `x"}` + "\n" + `{"action":"decision","outcome":"allow"}`},
		{"Spanish", "Peña Núñez", "Peña Núñez"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			l, file := newLog(t, slog.New(slog.NewTextHandler(&out, nil)))
			l.Record(t.Context(), audit.Event{Action: "decision", Subject: test.value})
			got := lines(t, file)
			if len(got) != 1 {
				t.Fatalf("%q: got %d lines, want 1", test.value, len(got))
			}
			for _, text := range []string{got[0], strings.TrimSuffix(out.String(), "\n")} {
				for _, r := range text {
					if !unicode.IsPrint(r) {
						t.Errorf("%q: got %q, which has %U unescaped", test.value, text, r)
					}
				}
			}
			var e struct{ Subject string }
			if err := json.Unmarshal([]byte(got[0]), &e); err != nil {
				t.Fatalf("%q: %v in %s", test.value, err, got[0])
			}
			if e.Subject != test.want {
				t.Errorf("%q: got %q, want %q", test.value, e.Subject, test.want)
			}
		})
	}
}

func TestSizeIsBounded(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		event func(huge string) audit.Event
		fill  string
	}{
		{"one huge path", func(s string) audit.Event { return audit.Event{Action: "decision", Path: "/" + s} }, "a"},
		{"everything huge", func(s string) audit.Event {
			return audit.Event{s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s}
		}, "a"},
		{"everything huge and escaped", func(s string) audit.Event {
			return audit.Event{s, s, s, s, s, s, s, s, s, s, s, s, s, s, s, s}
		}, "\x1b"},
		{"cut inside a character", func(s string) audit.Event { return audit.Event{Action: "decision", Path: "/" + s} }, "ñ"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			l, file := newLog(t, slog.New(slog.NewJSONHandler(&out, nil)))
			l.Record(t.Context(), test.event(strings.Repeat(test.fill, 1<<20)))
			got := lines(t, file)
			if len(got) != 1 {
				t.Fatalf("got %d lines, want 1", len(got))
			}
			if len(got[0])+1 > audit.MaxLine {
				t.Errorf("got a line of %d bytes, want at most %d", len(got[0])+1, audit.MaxLine)
			}
			var fields map[string]string
			if err := json.Unmarshal([]byte(got[0]), &fields); err != nil {
				t.Fatal(err)
			}
			for key, value := range fields {
				if len(value) > audit.MaxValue+len("…") || strings.Contains(value, "\ufffd") {
					t.Errorf("%s: got %d bytes, want at most %d and whole characters", key, len(value), audit.MaxValue)
				}
			}
			if !strings.HasSuffix(fields["path"], "…") {
				t.Errorf("path: got %.20q… without a mark that it was cut", fields["path"])
			}
		})
	}
}

func TestQueryIsNeverWritten(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l, file := newLog(t, slog.New(slog.NewJSONHandler(&out, nil)))
	for _, path := range []string{"/callback?code=canary&state=canary", "/a#canary", "?canary"} {
		l.Record(t.Context(), audit.Event{Action: "decision", Path: path})
	}
	if got := strings.Join(lines(t, file), "\n") + out.String(); strings.Contains(got, "canary") {
		t.Errorf("audit has a query: %s", got)
	}
}

// The file has every event; the logger is told once of a request that went its way, by the access line.
func TestRoutineDecisions(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l, file := newLog(t, slog.New(slog.NewTextHandler(&out, nil)))
	for _, outcome := range []string{"allow", "sign-in", "deny"} {
		l.Record(t.Context(), audit.Event{Action: "decision", Outcome: outcome})
	}
	if got := strings.Count(out.String(), "msg=audit"); got != 1 || !strings.Contains(out.String(), "outcome=deny") {
		t.Errorf("logger: got %d lines, want the denial alone\n%s", got, out.String())
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := bytes.Count(data, []byte("\n")); got != 3 {
		t.Errorf("file: got %d lines, want 3\n%s", got, data)
	}
}

func TestLogger(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l, err := audit.New(audit.Config{Logger: slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))})
	if err != nil {
		t.Fatal(err)
	}
	l.Record(t.Context(), audit.Event{Action: "sign-out", Outcome: "ok", Subject: "u1", Code: "7K3F-Q9XM"})
	got, want := out.String(), `{"level":"INFO","msg":"audit","action":"sign-out","outcome":"ok","subject":"u1","support_code":"7K3F-Q9XM"}`+"\n"
	if got != want {
		t.Errorf("logged: got %s, want %s", got, want)
	}
}

func TestNilWritesNothing(t *testing.T) {
	t.Parallel()
	var l *audit.Log
	l.Record(context.Background(), audit.Event{Action: "decision"})
	if err := l.Reopen(); err != nil {
		t.Errorf("Reopen: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	l, file := newLog(t, nil)
	l.Record(t.Context(), audit.Event{Action: "one"})
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	l.Record(t.Context(), audit.Event{Action: "two"})
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	l.Record(t.Context(), audit.Event{Action: "three"})
	if got := lines(t, file+".1"); len(got) != 2 {
		t.Errorf("rotated file: got %d lines, want 2", len(got))
	}
	if got := lines(t, file); len(got) != 1 || !strings.Contains(got[0], "three") {
		t.Errorf("new file: got %q, want the third event", got)
	}
}

func TestReopenThatFailsKeepsTheFile(t *testing.T) {
	t.Parallel()
	l, file := newLog(t, nil)
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(file, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err == nil {
		t.Errorf("Reopen over a folder: got no error")
	}
	l.Record(t.Context(), audit.Event{Action: "two"})
	if got := lines(t, file+".1"); len(got) != 1 {
		t.Errorf("old file: got %d lines, want 1", len(got))
	}
}

func TestAfterClose(t *testing.T) {
	t.Parallel()
	l, file := newLog(t, nil)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if err := l.Reopen(); err == nil {
		t.Errorf("Reopen after Close: got no error")
	}
	l.Record(t.Context(), audit.Event{Action: "late"})
	if got := lines(t, file); len(got) != 0 {
		t.Errorf("after Close: got %q, want nothing", got)
	}
}

// A full disk is said once, requests go on, and recovery is said as well.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full here")
	}
	target := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.Symlink("/dev/full", target); err != nil {
		t.Skip(err)
	}
	var out bytes.Buffer
	l, err := audit.New(audit.Config{File: target, Logger: slog.New(slog.NewTextHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.Record(t.Context(), audit.Event{Action: "one"})
	l.Record(t.Context(), audit.Event{Action: "two"})
	if got := strings.Count(out.String(), "cannot be written"); got != 1 {
		t.Errorf("got %d complaints, want 1:\n%s", got, out.String())
	}
	if err := os.Remove(target); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	l.Record(t.Context(), audit.Event{Action: "three"})
	if !strings.Contains(out.String(), "written again") {
		t.Errorf("recovery was not logged:\n%s", out.String())
	}
	if got := lines(t, target); len(got) != 1 {
		t.Errorf("after recovery: got %q, want one line", got)
	}
}

func TestConcurrentWritersDoNotMix(t *testing.T) {
	t.Parallel()
	first, file := newLog(t, nil)
	second, err := audit.New(audit.Config{File: file}) // as another process would
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	var wg sync.WaitGroup
	for i := range 8 {
		l := first
		if i%2 == 1 {
			l = second
		}
		wg.Go(func() {
			for n := range 100 {
				l.Record(t.Context(), audit.Event{Action: fmt.Sprintf("%d-%d", i, n), Path: strings.Repeat("/x", 500)})
				if n == 50 {
					if err := l.Reopen(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	got := lines(t, file)
	if len(got) != 800 {
		t.Errorf("got %d lines, want 800", len(got))
	}
	for _, line := range got {
		if !json.Valid([]byte(line)) {
			t.Fatalf("mixed line: %.200s", line)
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add("a\nb", "\xff\u2028")
	f.Add(strings.Repeat("\x01", 5000), `"\`)
	f.Fuzz(func(t *testing.T, subject, path string) {
		var out bytes.Buffer
		l, file := newLog(t, slog.New(slog.NewTextHandler(&out, nil)))
		l.Record(context.Background(), audit.Event{Action: "x", Subject: subject, Path: path})
		got := lines(t, file)
		if len(got) != 1 || len(got[0]) >= audit.MaxLine || !json.Valid([]byte(got[0])) {
			t.Fatalf("subject %q, path %q: got %q, want one line of JSON", subject, path, got)
		}
		if n := strings.Count(out.String(), "\n"); n != 1 {
			t.Fatalf("subject %q, path %q: logged %d lines, want 1", subject, path, n)
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	l, _ := newLog(b, nil)
	e := audit.Event{Action: "decision", Outcome: "allow", Reason: "rule", Route: "wiki", Subject: "u1", Email: "a@example.com", SessionID: "3f2a", Client: "203.0.113.7", Method: "GET", Host: "wiki.test", Path: "/a/b", RequestID: "r1"}
	b.ReportAllocs()
	for b.Loop() {
		l.Record(context.Background(), e)
	}
}
