package page

import (
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// maxShown is how many characters of anything that came from a person or the net are shown.
const maxShown = 80

// placeholders are all names that may stand in braces in a text of `pages.texts`.
func placeholders() []string {
	return []string{"app", "email", "support", "wait", "timeout", "max_age"}
}

// piece is a stretch of fixed words, or a placeholder.
type piece struct {
	text string
	fill string // name of the placeholder. Empty: text stands as it is
}

// message is a sentence whose placeholders have been found once, at the start.
type message []piece

// parseMessage splits a text at its placeholders. known says which names may stand
// in braces; every other brace is an error.
func parseMessage(text string, known ...string) (message, error) {
	var m message
	for text != "" {
		open := strings.IndexAny(text, "{}")
		if open < 0 {
			return append(m, piece{text: text}), nil
		}
		if open > 0 {
			m = append(m, piece{text: text[:open]})
		}
		end := strings.IndexByte(text[open:], '}')
		if text[open] == '}' || end < 0 {
			return nil, fmt.Errorf("a brace without its partner")
		}
		name := text[open+1 : open+end]
		ok := false
		for _, k := range known {
			ok = ok || k == name
		}
		if !ok {
			return nil, fmt.Errorf("{%s} has no value here; write %s", cut(name), orList(known))
		}
		m = append(m, piece{fill: name})
		text = text[open+end+1:]
	}
	return m, nil
}

// ours parses a sentence of this package. A brace that does not fit is a mistake in
// this source, which the first test finds; people then read the words as they are.
func ours(text string) message {
	m, err := parseMessage(text, append(placeholders(), "in", "last")...)
	if err != nil {
		return message{{text: text}}
	}
	return m
}

func orList(names []string) string {
	if len(names) == 0 {
		return "no braces"
	}
	return "{" + strings.Join(names, "}, {") + "}"
}

// span is a stretch of a paragraph: plain words of ours, or a value, which is isolated.
type span struct {
	Plain string
	Value string
	Tail  string       // of an address: from the @ on, after a place to break the line
	Href  template.URL // makes a link of it
	Lang  string       // of what the link leads to
	Time  string       // makes a time of Plain
}

// values are what placeholders stand for in one answer.
type values struct {
	app, email    string
	wait, timeout string
	maxAge        string
	support       []span
}

func (v *values) spans(name string) []span {
	switch name {
	case "app":
		return []span{{Value: v.app}}
	case "email":
		return []span{addressSpan(v.email)}
	case "support":
		return v.support
	case "wait":
		return []span{{Plain: v.wait}}
	case "timeout":
		return []span{{Plain: v.timeout}}
	case "max_age":
		return []span{{Plain: v.maxAge}}
	}
	return nil
}

func addressSpan(address string) span {
	if at := strings.LastIndexByte(address, '@'); at > 0 {
		return span{Value: address[:at], Tail: address[at:]}
	}
	return span{Value: address}
}

// render fills in the message. The values have been cut already.
func (m message) render(v *values) []span {
	out := make([]span, 0, len(m)+2)
	for _, p := range m {
		if p.fill == "" {
			out = append(out, span{Plain: p.text})
			continue
		}
		out = append(out, v.spans(p.fill)...)
	}
	return out
}

// markup writes the spans, and is with the links and the rows of account the one place beside the
// template that makes HTML: a page has dozens of spans, and the template would take
// longer over them than over all the rest. Every string in it is escaped here, as text
// or as a value in double quotes; an href has been built by mailto, web or tel.
func markup(spans []span) template.HTML {
	b := make([]byte, 0, 384)
	quoted := func(before, value, after string) {
		b = append(b, before...)
		b = append(b, template.HTMLEscapeString(value)...)
		b = append(b, after...)
	}
	for _, s := range spans {
		if s.Href != "" {
			quoted(`<a href="`, string(s.Href), `"`)
			if s.Lang != "" {
				quoted(` lang="`, s.Lang, `"`)
				quoted(` hreflang="`, s.Lang, `"`)
			}
			b = append(b, '>')
		}
		switch {
		case s.Time != "":
			quoted(`<time datetime="`, s.Time, `">`)
			quoted("", s.Plain, "</time>")
		case s.Plain != "":
			quoted("", s.Plain, "")
		case s.Tail != "":
			quoted("<bdi>", s.Value, "<wbr>")
			quoted("", s.Tail, "</bdi>")
		default:
			quoted("<bdi>", s.Value, "</bdi>")
		}
		if s.Href != "" {
			b = append(b, "</a>"...)
		}
	}
	return template.HTML(b)
}

func plainText(spans []span) string {
	var b strings.Builder
	for _, s := range spans {
		b.WriteString(s.Plain)
		b.WriteString(s.Value)
		b.WriteString(s.Tail)
	}
	return b.String()
}

// cut makes a foreign string fit to be shown: valid UTF-8, no control characters and
// none that turn the direction of the text around them, at most maxShown characters.
func cut(s string) string {
	plain := len(s) <= maxShown
	for i := 0; plain && i < len(s); i++ {
		plain = s[i] >= 0x20 && s[i] < 0x7f
	}
	if plain {
		return s
	}
	runes := make([]rune, 0, maxShown)
	for _, r := range s { // a byte that is no UTF-8 arrives as U+FFFD
		if len(runes) == maxShown {
			runes[maxShown-1] = '…'
			break
		}
		// Cc: control. Cf: bidirectional overrides, invisible signs. Zl, Zp: line ends.
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			r = '\ufffd'
		}
		runes = append(runes, r)
	}
	return string(runes)
}

func (c *common) number(n int) string {
	s := strconv.Itoa(n)
	if len(s) <= 3 || n < 0 {
		return s
	}
	return s[:len(s)-3] + c.thousand + s[len(s)-3:]
}

func (c *common) count(n, unit int) string {
	form := 1
	if n == 1 {
		form = 0
	}
	return c.number(n) + " " + c.units[unit][form]
}

// duration says d in words, rounded up to whole seconds below two minutes, else to
// whole minutes or hours, so that nobody is told to wait too short.
func (c *common) duration(d time.Duration) string {
	d = wholeDuration(d)
	switch {
	case d < 2*time.Minute && d != time.Minute:
		return c.count(int(d/time.Second), 0)
	case d < 2*time.Hour && d != time.Hour:
		return c.count(int(d/time.Minute), 1)
	case d < 48*time.Hour:
		return c.count(int(d/time.Hour), 2)
	}
	return c.count(int(d/(24*time.Hour)), 3)
}

// wholeDuration rounds d up to what duration says.
func wholeDuration(d time.Duration) time.Duration {
	up := func(unit time.Duration) time.Duration { return (d + unit - 1) / unit * unit }
	switch {
	case d <= time.Second:
		return time.Second
	case d < 2*time.Minute:
		return up(time.Second)
	case d < 2*time.Hour:
		return up(time.Minute)
	case d < 48*time.Hour:
		return up(time.Hour)
	}
	return up(24 * time.Hour)
}

// lastDuration says d after "the last", which wants a plural: the last 60 minutes.
func (c *common) lastDuration(d time.Duration) (words string, hours bool) {
	d = wholeDuration(d)
	switch {
	case d < 2*time.Minute:
		return c.count(int(d/time.Second), 0), false
	case d < 2*time.Hour:
		return c.count(int(d/time.Minute), 1), false
	case d < 48*time.Hour:
		return c.count(int(d/time.Hour), 2), true
	}
	return c.count(int(d/(24*time.Hour)), 3), false
}

// when says a moment of the past relative to now, up to seven days, then the date.
// A moment of the future, by a clock that differs, is now.
func (c *common) when(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case d < time.Minute:
		return c.justNow
	case d < time.Hour:
		return fmt.Sprintf(c.ago, c.count(int(d/time.Minute), 1))
	case d < 24*time.Hour:
		return fmt.Sprintf(c.ago, c.count(int(d/time.Hour), 2))
	case d <= 7*24*time.Hour:
		return fmt.Sprintf(c.ago, c.count(int(d/(24*time.Hour)), 3))
	}
	return fmt.Sprintf(c.on, c.day(t))
}

func (c *common) day(t time.Time) string {
	t = t.UTC()
	return fmt.Sprintf(c.date, t.Day(), c.months[t.Month()-1], t.Year())
}

// moment is the time of the support line: "22 Nov 2026, 07:40 UTC".
func (c *common) moment(t time.Time) string {
	return c.day(t) + ", " + t.UTC().Format("15:04") + " UTC"
}
