package page

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// colour is an opaque sRGB colour.
type colour [3]uint8

func parseColour(s string) (colour, error) {
	hex, ok := strings.CutPrefix(s, "#")
	if ok && len(hex) == 3 {
		hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
	}
	n, err := strconv.ParseUint(hex, 16, 32)
	if !ok || len(hex) != 6 || err != nil {
		return colour{}, fmt.Errorf("%q is no colour; write it like #0b5cad", cut(s))
	}
	return colour{uint8(n >> 16), uint8(n >> 8), uint8(n)}, nil
}

func (c colour) String() string { return fmt.Sprintf("#%02x%02x%02x", c[0], c[1], c[2]) }

// luminance is the relative luminance of WCAG 2.2.
func (c colour) luminance() float64 {
	lin := func(v uint8) float64 {
		f := float64(v) / 255
		if f <= .04045 {
			return f / 12.92
		}
		return math.Pow((f+.055)/1.055, 2.4)
	}
	return .2126*lin(c[0]) + .7152*lin(c[1]) + .0722*lin(c[2])
}

// contrast is the contrast ratio of WCAG 2.2, 1 to 21.
func contrast(a, b colour) float64 {
	x, y := a.luminance(), b.luminance()
	return (max(x, y) + .05) / (min(x, y) + .05)
}

// mix moves c towards to by n parts of 256.
func (c colour) mix(to colour, n int) colour {
	var out colour
	for i := range c {
		out[i] = uint8((int(c[i])*(256-n) + int(to[i])*n + 128) / 256)
	}
	return out
}

// nearest is the first colour on the way from c to end, which is black or white, that
// has the contrast on every one of the grounds.
func (c colour) nearest(end colour, ratio float64, grounds ...colour) colour {
	for n := range 257 {
		if m := c.mix(end, n); m.passes(ratio, grounds...) {
			return m
		}
	}
	return end
}

func (c colour) passes(ratio float64, grounds ...colour) bool {
	for _, g := range grounds {
		if contrast(c, g) < ratio {
			return false
		}
	}
	return true
}

// textContrast is what text needs on its ground, WCAG 2.2 success criterion 1.4.3.
const textContrast = 4.5

// theme is the set of colours of the light or of the dark pages.
type theme struct {
	bg, card, text, muted, accent, accentInk, hover colour
	danger, ok, note, noteInk, field, line          colour
}

func lightTheme() theme {
	return theme{
		bg: colour{0xf6, 0xf7, 0xf9}, card: colour{0xff, 0xff, 0xff},
		text: colour{0x1b, 0x1f, 0x24}, muted: colour{0x57, 0x60, 0x6a},
		accent: colour{0x0b, 0x5c, 0xad}, accentInk: colour{0xff, 0xff, 0xff}, hover: colour{0x09, 0x4a, 0x8c},
		danger: colour{0xb4, 0x23, 0x18}, ok: colour{0x1a, 0x7f, 0x37},
		note: colour{0xff, 0xf4, 0xd6}, noteInk: colour{0x5c, 0x43, 0x00},
		field: colour{0x7d, 0x85, 0x90}, line: colour{0xd8, 0xdd, 0xe3},
	}
}

func darkTheme() theme {
	return theme{
		bg: colour{0x14, 0x17, 0x1a}, card: colour{0x1d, 0x21, 0x25},
		text: colour{0xe8, 0xea, 0xed}, muted: colour{0xa3, 0xab, 0xb4},
		accent: colour{0x8a, 0xb8, 0xf5}, accentInk: colour{0x0d, 0x1b, 0x2a}, hover: colour{0xa9, 0xcb, 0xf8},
		danger: colour{0xff, 0x9b, 0x8f}, ok: colour{0x6f, 0xd0, 0x8c},
		note: colour{0x3a, 0x2e, 0x0a}, noteInk: colour{0xff, 0xe0, 0x8a},
		field: colour{0x7d, 0x87, 0x91}, line: colour{0x34, 0x3a, 0x40},
	}
}

// properties are the custom properties of the style sheet.
func (t theme) properties() string {
	var b strings.Builder
	for _, p := range []struct {
		name string
		c    colour
	}{
		{"bg", t.bg}, {"card", t.card}, {"text", t.text}, {"muted", t.muted},
		{"accent", t.accent}, {"accent-ink", t.accentInk}, {"hover", t.hover}, {"focus", t.accent},
		{"danger", t.danger}, {"ok", t.ok}, {"note", t.note}, {"note-ink", t.noteInk},
		{"field", t.field}, {"line", t.line},
	} {
		b.WriteString("--" + p.name + ":" + p.c.String() + ";")
	}
	return strings.TrimSuffix(b.String(), ";")
}

// branded puts the configured accents into the two themes, or says which key does
// not pass and what would.
func branded(accent, accentDark string) (light, dark theme, problems []error) {
	light, dark = lightTheme(), darkTheme()
	white, black := colour{0xff, 0xff, 0xff}, colour{}
	// A dark ink or a light one passes on every accent that passes on its ground, so
	// the ground is all there is to check; a test keeps this true.
	check := func(key, value string, t *theme, end colour) bool {
		c, err := parseColour(value)
		if err != nil {
			problems = append(problems, &KeyError{Key: key, Text: err.Error()})
			return false
		}
		if !c.passes(textContrast, t.bg, t.card, t.accentInk) {
			problems = append(problems, &KeyError{Key: key, Text: fmt.Sprintf(
				"%s has a contrast of %.2f:1 and text needs %.1f:1; the nearest colour that passes is %s", c,
				min(contrast(c, t.bg), contrast(c, t.card), contrast(c, t.accentInk)), textContrast, c.nearest(end, textContrast, t.bg, t.card, t.accentInk))})
			return false
		}
		t.accent = c
		return true
	}
	if accent != "" && check("pages.accent", accent, &light, black) && light.accent != lightTheme().accent {
		light.hover = light.accent.mix(black, 51)
		// As far from the dark card as the accent of our own is.
		dark.accent = light.accent.nearest(white, 7, dark.bg, dark.card)
		dark.hover = dark.accent.mix(white, 64)
	}
	if accentDark != "" && check("pages.accent_dark", accentDark, &dark, white) {
		dark.hover = dark.accent.mix(white, 64)
		if own := darkTheme(); dark.accent == own.accent {
			dark.hover = own.hover
		}
	}
	return light, dark, problems
}
