package setup

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// String is a plan as people read it: a line for each part, which begins with + ~ or -, and the notes below. Problems are
// not in it.
func (p *Plan) String() string {
	var b strings.Builder
	for _, c := range p.Changes {
		fmt.Fprintf(&b, "%s %s\n", c.Action, c)
		for _, f := range c.Fields {
			fmt.Fprintf(&b, "%s   %s\n", f.Action, f)
		}
	}
	if len(p.Changes) == 0 && len(p.Problems) == 0 {
		b.WriteString("nothing to do\n")
	}
	if len(p.Notes) > 0 && b.Len() > 0 {
		b.WriteByte('\n')
	}
	for _, line := range p.Notes {
		b.WriteString("note: " + line + "\n")
	}
	return b.String()
}

// String is a field without its sign.
func (f Field) String() string {
	switch f.Action {
	case Modify:
		return fmt.Sprintf("%s: %s → %s", f.Name, f.Old, f.New)
	case Remove:
		return f.Name + ": " + f.Old
	}
	return f.Name + ": " + f.New
}

// Pending says whether there is work to do.
func (p *Plan) Pending() bool { return len(p.Changes) > 0 }

// equal says whether a person who has read one plan has read the other.
func (p *Plan) equal(other *Plan) bool { return p.String() == other.String() && p.AppID == other.AppID }

// MarshalJSON is a plan for programs; lists are never null.
func (p *Plan) MarshalJSON() ([]byte, error) {
	type field struct {
		Action string `json:"action"`
		Name   string `json:"name"`
		Old    string `json:"old,omitempty"`
		New    string `json:"new,omitempty"`
	}
	type change struct {
		Action string  `json:"action"`
		What   string  `json:"what"`
		Name   string  `json:"name,omitempty"`
		Fields []field `json:"fields"`
	}
	words := map[Action]string{Add: "add", Modify: "change", Remove: "remove"}
	out := struct {
		AppID    string    `json:"app_id,omitempty"`
		Changes  []change  `json:"changes"`
		Notes    []string  `json:"notes"`
		Problems []Problem `json:"problems"`
	}{p.AppID, []change{}, append([]string{}, p.Notes...), append([]Problem{}, p.Problems...)}
	for _, c := range p.Changes {
		one := change{words[c.Action], c.What, c.Name, []field{}}
		for _, f := range c.Fields {
			one.Fields = append(one.Fields, field{words[f.Action], f.Name, f.Old, f.New})
		}
		out.Changes = append(out.Changes, one)
	}
	return json.Marshal(out)
}

// How many characters of a long text are shown, and from which length on it is one.
const (
	longText  = 100
	shownText = 60
)

// show is a value on one line: a long one shortened, and quoted where it has something that a terminal would act on.
func show(v any) string {
	text, ok := v.(string)
	if !ok {
		var b strings.Builder
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if e.Encode(v) == nil {
			text = strings.TrimSpace(b.String())
		}
	}
	return shorten(text, 0)
}

// showBoth shows two texts that differ: long ones from shortly before where they do.
func showBoth(old, new string) (string, string) {
	a, b := []rune(old), []rune(new)
	if len(a) <= longText && len(b) <= longText {
		return show(old), show(new)
	}
	differ := 0
	for differ < len(a) && differ < len(b) && a[differ] == b[differ] {
		differ++
	}
	from := max(0, differ-shownText/3)
	return shorten(old, from), shorten(new, from)
}

func shorten(text string, from int) string {
	whole := []rune(text)
	end := ""
	if len(whole) > longText {
		part := whole[min(from, len(whole)):]
		part = part[:min(len(part), shownText)]
		text = string(part)
		if from > 0 {
			text = "…" + text
		}
		if from+len(part) < len(whole) {
			text += "…"
		}
		end = fmt.Sprintf(" (%d characters)", len(whole))
	}
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		text = fmt.Sprintf("%q", text)
	}
	return text + end
}
