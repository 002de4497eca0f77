package setup

import (
	"strings"
	"testing"
)

func TestLongTextsAreShortened(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ñ", 200)
	for _, tt := range []struct{ old, new, wantOld, wantNew string }{
		{"a", "b", "a", "b"},
		{"a\nb", "\x1b[2Jb", `"a\nb"`, `"\x1b[2Jb"`},
		{long + "abc", long + "xyz", "…" + strings.Repeat("ñ", 20) + "abc (203 characters)", "…" + strings.Repeat("ñ", 20) + "xyz (203 characters)"},
		{long, "short", strings.Repeat("ñ", 60) + "… (200 characters)", "short"},
		{long + "a", long, "…" + strings.Repeat("ñ", 20) + "a (201 characters)", "…" + strings.Repeat("ñ", 20) + " (200 characters)"},
		{"x\n" + long, "y" + long, `"x\n` + strings.Repeat("ñ", 58) + `…" (202 characters)`, "y" + strings.Repeat("ñ", 59) + "… (201 characters)"},
	} {
		gotOld, gotNew := showBoth(tt.old, tt.new)
		if gotOld != tt.wantOld || gotNew != tt.wantNew {
			t.Errorf("got  %s → %s\nwant %s → %s", gotOld, gotNew, tt.wantOld, tt.wantNew)
		}
	}
	if got, want := show(map[string]any{"a": "<&>"}), `{"a":"<&>"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
