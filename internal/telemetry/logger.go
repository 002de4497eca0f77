package telemetry

import (
	"context"
	"encoding"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lmittmann/tint"
)

// LogConfig describes the process's log.
type LogConfig struct {
	// Level is the least level that is written; a *slog.LevelVar can be changed
	// later. Nil: info.
	Level slog.Leveler
	// Format is "json" or "text". Empty: text on a terminal, else json.
	Format string
	// Writer receives the lines, each in one Write. Nil: os.Stderr.
	Writer io.Writer
	// Terminal says that a person reads along: text is coloured.
	Terminal bool
}

const (
	maxAttr = 2 << 10 // what one attribute may take, escaped
	maxLine = 7 << 10 // what all of a line's attributes may take, escaped
	// The rest up to 8 KiB is for the time, the level and the names.
)

// NewLogger returns a logger whose lines are bounded and escaped, whatever is
// logged.
func NewLogger(c LogConfig) *slog.Logger {
	if c.Level == nil {
		c.Level = slog.LevelInfo
	}
	if c.Writer == nil {
		c.Writer = os.Stderr
	}
	if c.Format == "text" || c.Format == "" && c.Terminal {
		return slog.New(&bounded{text: true, next: tint.NewTextHandler(c.Writer, &tint.Options{
			Level: c.Level, TimeFormat: time.TimeOnly, NoColor: !c.Terminal,
		})})
	}
	return slog.New(&bounded{next: slog.NewJSONHandler(c.Writer, &slog.HandlerOptions{Level: c.Level})})
}

// bounded cuts what is logged before the handler below writes it, and replaces
// what would command a terminal: for JSON only what that does not escape by
// itself, such as the control characters above ASCII.
type bounded struct {
	next slog.Handler
	text bool
	used int // what attributes given beforehand take of every line
}

func (b *bounded) Enabled(ctx context.Context, l slog.Level) bool { return b.next.Enabled(ctx, l) }

func (b *bounded) WithGroup(name string) slog.Handler {
	return &bounded{b.next.WithGroup(name), b.text, b.used}
}

func (b *bounded) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := cutter{left: min(maxAttr, maxLine-b.used), text: b.text}
	before := c.left
	cut := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		cut[i] = c.attr(a)
	}
	return &bounded{b.next.WithAttrs(cut), b.text, b.used + before - c.left}
}

// Handle passes short records on as they are, which is nearly all of them.
func (b *bounded) Handle(ctx context.Context, r slog.Record) error {
	// Escaping makes six bytes of one at most.
	const escaped = 6
	size, short := 0, true
	see := func(s string) {
		size += len(s)
		short = short && len(s)*escaped <= maxAttr && !b.commands(s)
	}
	see(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		switch a.Value.Kind() {
		case slog.KindString:
			see(a.Value.String())
		case slog.KindAny, slog.KindGroup, slog.KindLogValuer:
			short = false // of unknown size
		case slog.KindDuration:
			short = false // to be written as people write it
		}
		return short
	})
	if short && size*escaped <= maxLine-b.used {
		return b.next.Handle(ctx, r)
	}
	c := cutter{left: maxLine - b.used, text: b.text}
	cut := slog.NewRecord(r.Time, r.Level, c.string(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		cut.AddAttrs(c.attr(a))
		return true
	})
	return b.next.Handle(ctx, cut)
}

// cutter cuts the values of one line.
type cutter struct {
	left int // what the line has room for
	text bool
}

func (c *cutter) attr(a slog.Attr) slog.Attr {
	a.Value = a.Value.Resolve()
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(c.string(a.Value.String()))
	case slog.KindGroup:
		group := a.Value.Group()
		cut := make([]slog.Attr, len(group))
		for i, g := range group {
			cut[i] = c.attr(g)
		}
		a.Value = slog.GroupValue(cut...)
	case slog.KindAny:
		a.Value = c.any(a.Value)
	case slog.KindDuration: // which JSON would give in nanoseconds
		a.Value = slog.StringValue(c.string(a.Value.Duration().String()))
	default:
		c.left -= 32 // numbers, times
	}
	return a
}

// any turns errors into their text, and whatever is large into the beginning of
// its JSON.
func (c *cutter) any(v slog.Value) slog.Value {
	switch x := v.Any().(type) {
	case nil:
		return v
	case error:
		return slog.StringValue(c.string(x.Error()))
	case encoding.TextMarshaler:
		if text, err := x.MarshalText(); err == nil {
			return slog.StringValue(c.string(string(text)))
		}
	}
	text, err := json.Marshal(v.Any())
	if err != nil {
		text = []byte("unprintable: " + err.Error())
	} else if !c.text && len(text) <= min(maxAttr, c.left) && !unescaped(string(text)) {
		c.left -= len(text)
		return v
	}
	return slog.StringValue(c.string(string(text)))
}

const cutMark = "…"

// string returns s as far as its escaped form fits into one attribute and into
// what is left of the line.
func (c *cutter) string(s string) string {
	room := min(maxAttr, c.left)
	if room < len(cutMark) {
		return ""
	}
	used, end := 0, len(s)
	for i, r := range s {
		n := 1
		switch {
		case r > 0xffff:
			n = 12 // two escapes, where it cannot be printed
		case r == utf8.RuneError, !unicode.IsPrint(r), r == '<', r == '>', r == '&', r > 0x7f:
			n = 6
		case r == '"', r == '\\':
			n = 2
		}
		if used+n > room-len(cutMark) {
			end = i
			break
		}
		used += n
	}
	if end < len(s) {
		used += len(cutMark)
		s = s[:end] + cutMark
	}
	c.left -= used
	switch {
	case c.text && commands(s):
		s = harmless(s)
	case !c.text && unescaped(s):
		s = printable(s)
	}
	return s
}

// escOfTint is the escaped form of ESC that tint turns back into the byte in
// whatever it quotes, even where somebody wrote these four characters.
const escOfTint = `\x1b`

// commands reports whether s could move a terminal's cursor, colour it, or
// begin another line.
func commands(s string) bool {
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return true
		}
	}
	return strings.Contains(s, escOfTint)
}

func (b *bounded) commands(s string) bool {
	if b.text {
		return commands(s)
	}
	return unescaped(s)
}

// unescaped reports whether JSON would show something of s as it is that is not
// meant to be seen.
func unescaped(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x7f {
			return strings.ContainsFunc(s[i:], hidden)
		}
	}
	return false
}

func hidden(r rune) bool { return r >= 0x7f && !unicode.IsPrint(r) }

// printable replaces what is hidden.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if hidden(r) {
			return utf8.RuneError
		}
		return r
	}, s)
}

// harmless shows control characters as their pictures.
func harmless(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r < 0x20:
			return 0x2400 + r // SYMBOL FOR NULL and its neighbours
		case r == 0x7f:
			return 0x2421 // SYMBOL FOR DELETE
		case !unicode.IsPrint(r):
			return utf8.RuneError
		}
		return r
	}, s)
	return strings.ReplaceAll(s, escOfTint, `\x1B`)
}
