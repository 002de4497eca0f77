package page_test

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"portero/internal/page"
)

// The arithmetic of WCAG 2.2 once more, apart from the package, so that no mistake
// hides in both.

func luminance(hex string) float64 {
	channel := func(s string) float64 {
		n, _ := strconv.ParseUint(s, 16, 8)
		c := float64(n) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*channel(hex[1:3]) + 0.7152*channel(hex[3:5]) + 0.0722*channel(hex[5:7])
}

func ratio(a, b string) float64 {
	x, y := luminance(a), luminance(b)
	return (math.Max(x, y) + 0.05) / (math.Min(x, y) + 0.05)
}

// tokens reads the custom properties of the light and the dark pages from the style
// sheet of a rendered page.
func tokens(t *testing.T, set *page.Set) (light, dark map[string]string) {
	t.Helper()
	sheet := rawText(one(t, parse(t, render(set, request("en"), page.Page{ID: page.Denied}).Body.Bytes()), "style"))
	roots := regexp.MustCompile(`:root\{([^}]*)\}`).FindAllStringSubmatch(sheet, -1)
	if len(roots) != 2 || !strings.Contains(sheet, "@media (prefers-color-scheme:dark){:root{") {
		t.Fatalf("the sheet has %d sets of colours, want light and dark", len(roots))
	}
	read := func(s string) map[string]string {
		out := map[string]string{}
		for property := range strings.SplitSeq(s, ";") {
			name, value, _ := strings.Cut(property, ":")
			out[strings.TrimPrefix(name, "--")] = value
		}
		return out
	}
	return read(roots[0][1]), read(roots[1][1])
}

func TestColoursAreThoseOfTheSpecification(t *testing.T) {
	t.Parallel()
	light, dark := tokens(t, newSet(t, page.Config{}))
	for _, row := range []struct{ token, light, dark string }{
		{"bg", "#f6f7f9", "#14171a"}, {"card", "#ffffff", "#1d2125"},
		{"text", "#1b1f24", "#e8eaed"}, {"muted", "#57606a", "#a3abb4"},
		{"accent", "#0b5cad", "#8ab8f5"}, {"focus", "#0b5cad", "#8ab8f5"},
		{"accent-ink", "#ffffff", "#0d1b2a"}, {"hover", "#094a8c", "#a9cbf8"},
		{"danger", "#b42318", "#ff9b8f"}, {"ok", "#1a7f37", "#6fd08c"},
		{"note-ink", "#5c4300", "#ffe08a"}, {"note", "#fff4d6", "#3a2e0a"},
		{"field", "#7d8590", "#7d8791"}, {"line", "#d8dde3", "#343a40"},
	} {
		if light[row.token] != row.light || dark[row.token] != row.dark {
			t.Errorf("%s: got %s and %s, want %s and %s", row.token, light[row.token], dark[row.token], row.light, row.dark)
		}
	}
	for _, row := range []struct {
		ink, ground string
		light, dark float64
	}{
		{"text", "card", 16.56, 13.44}, {"text", "bg", 15.45, 14.93},
		{"muted", "card", 6.39, 6.97}, {"muted", "bg", 5.96, 7.75},
		{"accent", "card", 6.67, 7.91}, {"accent", "bg", 6.22, 8.79},
		{"accent-ink", "accent", 6.67, 8.49}, {"accent-ink", "hover", 8.86, 10.42},
		{"danger", "card", 6.57, 7.97}, {"danger", "bg", 6.13, 8.86},
		{"ok", "card", 5.08, 8.54}, {"note-ink", "note", 8.49, 10.34},
		{"field", "card", 3.73, 4.43}, {"field", "bg", 3.48, 4.92}, {"line", "card", 1.37, 1.41},
	} {
		l, d := ratio(light[row.ink], light[row.ground]), ratio(dark[row.ink], dark[row.ground])
		if math.Abs(l-row.light) > .011 {
			t.Errorf("%s on %s, light: %.2f, want %.2f", row.ink, row.ground, l, row.light)
		}
		// line stands on the page too; the specification names its weaker ground.
		if math.Abs(d-row.dark) > .011 && row.ink != "line" {
			t.Errorf("%s on %s, dark: %.2f, want %.2f", row.ink, row.ground, d, row.dark)
		}
	}
}

// readable checks what people must be able to read or find, in one theme.
func readable(t *testing.T, where string, c map[string]string) {
	t.Helper()
	for _, pair := range [][2]string{
		{"text", "card"}, {"text", "bg"}, {"muted", "card"}, {"muted", "bg"}, {"accent", "card"}, {"accent", "bg"},
		{"accent-ink", "accent"}, {"accent-ink", "hover"}, {"danger", "card"}, {"danger", "bg"}, {"ok", "card"}, {"note-ink", "note"},
	} {
		if got := ratio(c[pair[0]], c[pair[1]]); got < 4.5 {
			t.Errorf("%s: %s %s on %s %s: %.2f:1, text needs 4.5:1", where, pair[0], c[pair[0]], pair[1], c[pair[1]], got)
		}
	}
	for _, pair := range [][2]string{{"field", "card"}, {"field", "bg"}, {"focus", "card"}, {"focus", "bg"}} {
		if got := ratio(c[pair[0]], c[pair[1]]); got < 3 {
			t.Errorf("%s: %s on %s: %.2f:1, borders and focus need 3:1", where, pair[0], pair[1], got)
		}
	}
	if c["focus"] != c["accent"] {
		t.Errorf("%s: focus %s is not the accent %s", where, c["focus"], c["accent"])
	}
}

func TestEveryAcceptedAccentIsReadable(t *testing.T) {
	t.Parallel()
	nearest := regexp.MustCompile(`the nearest colour that passes is (#[0-9a-f]{6})`)
	accepted := 0
	for i := range 216 { // all of the old web palette
		hex := fmt.Sprintf("#%02x%02x%02x", i/36*51, i/6%6*51, i%6*51)
		for _, cfg := range []page.Config{{Accent: hex}, {AccentDark: hex}} {
			set, err := page.New(cfg)
			if err != nil {
				m := nearest.FindStringSubmatch(err.Error())
				if m == nil {
					t.Fatalf("%+v: %v; want the nearest colour that passes", cfg, err)
				}
				if cfg.Accent != "" {
					cfg.Accent = m[1]
				} else {
					cfg.AccentDark = m[1]
				}
				if set, err = page.New(cfg); err != nil {
					t.Errorf("%s: the colour that is said to pass does not: %v", hex, err)
					continue
				}
			} else {
				accepted++
			}
			light, dark := tokens(t, set)
			readable(t, "light "+hex, light)
			readable(t, "dark "+hex, dark)
		}
	}
	if accepted < 40 {
		t.Errorf("only %d of 432 accents accepted", accepted)
	}
}

func TestAccentDarkIsDerivedOrTaken(t *testing.T) {
	t.Parallel()
	_, dark := tokens(t, newSet(t, page.Config{Accent: "#7a1fa2"}))
	if dark["accent"] == "#8ab8f5" || dark["accent"] == "#7a1fa2" {
		t.Errorf("dark accent %s is not derived from the light one", dark["accent"])
	}
	light, dark := tokens(t, newSet(t, page.Config{Accent: "#7a1fa2", AccentDark: "#FC0"}))
	if light["accent"] != "#7a1fa2" || dark["accent"] != "#ffcc00" {
		t.Errorf("got %s and %s, want #7a1fa2 and #ffcc00", light["accent"], dark["accent"])
	}
	light, dark = tokens(t, newSet(t, page.Config{Accent: "#0b5cad", AccentDark: "#8ab8f5"}))
	if light["hover"] != "#094a8c" || dark["hover"] != "#a9cbf8" || dark["accent"] != "#8ab8f5" {
		t.Errorf("our own accents written out give %s, %s, %s", light["hover"], dark["accent"], dark["hover"])
	}
}

func TestAccentThatDoesNotPass(t *testing.T) {
	t.Parallel()
	_, err := page.New(page.Config{Accent: "#8ab8f5", AccentDark: "rgb(1,2,3)"})
	for _, want := range []string{
		"pages.accent: #8ab8f5 has a contrast of 1.9", "text needs 4.5:1; the nearest colour that passes is #",
		`pages.accent_dark: "rgb(1,2,3)" is no colour; write it like #0b5cad`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	var key *page.KeyError
	if !errors.As(err, &key) || key.Key != "pages.accent" {
		t.Errorf("no *KeyError with the key pages.accent in %v", err)
	}
}
