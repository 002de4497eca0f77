// Package audit writes the record of what the gateway decided and did: one JSON object a line, to a file and to a logger.
//
// It owns the form of a line. It does not own what is worth a line: whoever decides also records.
//
// Invariants:
//   - One event is one line of at most [MaxLine] bytes, written with a single write to a file opened for appending, so that
//     several processes may share the file and a rotation loses nothing.
//   - Values are cut at [MaxValue] bytes; control characters, line separators, invisible characters and invalid UTF-8 are
//     escaped, in the file and for the logger alike.
//   - A path never has its query: whatever follows a `?` or `#` is dropped here, should a caller forget.
//
// Specifications: RFC 8259 section 7 (strings), RFC 3339 (times, UTC).
package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxValue is how many bytes of one value are kept.
	MaxValue = 2 << 10
	// MaxLine is the length of the longest line, with its newline.
	MaxLine = 8 << 10
)

// Event is something worth remembering. Empty fields are left out of the line.
type Event struct {
	Action  string // decision, sign-in, sign-out, refresh, session-ended, attempt, reload …
	Outcome string // allow, sign-in, deny, ok, failed …
	Reason  string
	// WouldDeny is the reason for which somebody would have been denied who was let in.
	WouldDeny string
	Route     string
	Rule      string
	Subject   string
	Email     string
	// SessionID is the prefix of the session's hash, never the session token.
	SessionID string
	// ClientID is the API client whose token decided.
	ClientID string
	Client   string
	Method   string
	Host     string
	Path     string
	// Code is the support code that the person was shown.
	Code      string
	RequestID string
}

// fields yields the keys of a line in their order. The same keys go to the logger.
func (e *Event) fields(yield func(key, value string)) {
	yield("action", e.Action)
	yield("outcome", e.Outcome)
	yield("reason", e.Reason)
	yield("would_deny", e.WouldDeny)
	yield("route", e.Route)
	yield("rule", e.Rule)
	yield("subject", e.Subject)
	yield("email", e.Email)
	yield("session", e.SessionID)
	yield("client_id", e.ClientID)
	yield("client", e.Client)
	yield("method", e.Method)
	yield("host", e.Host)
	yield("path", e.Path)
	yield("support_code", e.Code)
	yield("request_id", e.RequestID)
}

// Config says where events go.
type Config struct {
	// File is opened for appending and created with mode 0600. Empty: no file.
	File string
	// Logger gets every event at level info, those of requests that went their way at debug, and an error when the file
	// cannot be written. Nil: no logger.
	Logger *slog.Logger
	// Now tells the time of an event. Nil: time.Now.
	Now func() time.Time
}

// Log writes events. A nil Log is valid and writes nothing. It is safe for concurrent use.
type Log struct {
	logger *slog.Logger
	now    func() time.Time
	filed  atomic.Bool // there is a file; without one nobody waits for the lock

	mu      sync.Mutex
	path    string   // "" without a file
	file    *os.File // nil without a file and after Close
	closed  bool
	buf     []byte
	torn    bool // the last write ended in the middle of a line
	failing bool // the last write failed, which has been logged
}

// New opens the file of cfg.
func New(cfg Config) (*Log, error) {
	l := &Log{path: cfg.File, logger: cfg.Logger, now: cfg.Now}
	if l.now == nil {
		l.now = time.Now
	}
	if l.path == "" {
		return l, nil
	}
	f, err := open(l.path)
	if err != nil {
		return nil, fmt.Errorf("opening audit file: %w", err)
	}
	l.file = f
	l.filed.Store(true)
	return l, nil
}

func open(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
}

// Record writes one event. It never fails: a request is not refused because a disk is full, but the logger says so.
func (l *Log) Record(ctx context.Context, e Event) {
	if l == nil {
		return
	}
	if i := strings.IndexAny(e.Path, "?#"); i >= 0 {
		e.Path = e.Path[:i]
	}
	level := slog.LevelInfo
	if e.Action == "decision" && e.Outcome != "deny" {
		level = slog.LevelDebug // the access line of the same request says as much
	}
	if l.logger != nil && l.logger.Enabled(ctx, level) {
		attrs := make([]slog.Attr, 0, 16)
		e.fields(func(key, value string) {
			if value != "" {
				attrs = append(attrs, slog.String(key, printable(value)))
			}
		})
		l.logger.LogAttrs(ctx, level, "audit", attrs...)
	}
	if !l.filed.Load() {
		return
	}
	at := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return
	}
	l.buf = appendLine(l.buf[:0], at, &e)
	if err := l.write(); err != nil {
		if !l.failing && l.logger != nil {
			l.logger.ErrorContext(ctx, "audit file cannot be written, events are being lost", "file", l.path, "error", err)
		}
		l.failing = true
		return
	}
	if l.failing && l.logger != nil {
		l.logger.InfoContext(ctx, "audit file is being written again", "file", l.path)
	}
	l.failing = false
}

func (l *Log) write() error {
	line := l.buf
	if l.torn { // a full disk left half a line behind: what follows begins on its own
		line = append([]byte{'\n'}, line...)
	}
	n, err := l.file.Write(line)
	switch {
	case err == nil:
		l.torn = false
	case n > 0:
		l.torn = line[n-1] != '\n'
	}
	return err
}

// Reopen opens the file anew, after a log rotation has moved the old one away. If that fails the old file stays in use.
func (l *Log) Reopen() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.move(l.path)
}

// Move opens file, "" for none, and writes there from now on. If that fails nothing changes.
func (l *Log) Move(file string) error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.move(file)
}

func (l *Log) move(file string) error {
	var f *os.File
	if file != "" {
		var err error
		if f, err = open(file); err != nil {
			return fmt.Errorf("opening audit file: %w", err)
		}
		if l.closed {
			return errors.Join(fmt.Errorf("opening audit file: %w", fs.ErrClosed), f.Close())
		}
	}
	old := l.file
	l.path, l.file, l.torn = file, f, false
	l.filed.Store(f != nil)
	if old != nil {
		_ = old.Close() // every line was written when it was recorded
	}
	return nil
}

// Close closes the file. Later events go to the logger alone.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	f := l.file
	l.file, l.closed = nil, true
	if err := f.Close(); err != nil {
		return fmt.Errorf("closing audit file: %w", err)
	}
	return nil
}

// appendLine appends the line of e. Escaping can make a value six times as long, so values are cut further until the line fits.
func appendLine(b []byte, at time.Time, e *Event) []byte {
	start := len(b)
	for limit := MaxValue; ; limit /= 2 {
		b = append(b[:start], `{"time":"`...)
		b = at.UTC().AppendFormat(b, time.RFC3339Nano)
		b = append(b, '"')
		e.fields(func(key, value string) {
			if value == "" {
				return
			}
			b = append(b, `,"`...)
			b = append(b, key...)
			b = append(b, `":"`...)
			b = appendEscaped(b, value, limit)
			b = append(b, '"')
		})
		b = append(b, "}\n"...)
		if len(b)-start <= MaxLine {
			return b
		}
	}
}

// appendEscaped appends at most limit bytes of s as the inside of a JSON string; … marks what was cut.
func appendEscaped(b []byte, s string, limit int) []byte {
	const digits = "0123456789abcdef"
	hex4 := func(r rune) {
		b = append(b, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
	}
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if i+size > limit {
			return append(b, "…"...)
		}
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == utf8.RuneError && size == 1:
			b = append(b, `\ufffd`...)
		case unicode.IsPrint(r):
			b = append(b, s[i:i+size]...)
		case r > 0xffff:
			r -= 0x10000
			hex4(0xd800 + r>>10)
			hex4(0xdc00 + r&0x3ff)
		default:
			hex4(r)
		}
		i += size
	}
	return b
}

// printable returns s as a logger may have it: cut, and with everything that is not printable escaped in place.
func printable(s string) string {
	if len(s) <= MaxValue {
		clean := utf8.ValidString(s)
		for _, r := range s {
			if !unicode.IsPrint(r) {
				clean = false
				break
			}
		}
		if clean {
			return s
		}
	}
	return string(appendEscaped(nil, s, MaxValue))
}
