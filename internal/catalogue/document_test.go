package catalogue_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// sizes is how many attacks each family has. The known ones are 322.
var sizes = map[string]int{
	"HS": 17, "RD": 20, "PA": 25, "HO": 8, "TP": 7, "ST": 14, "CB": 10, "SE": 13, "CK": 14, "SO": 9, "BL": 14, "JW": 18, "RT": 10, "IP": 12, "SM": 15,
	"H2": 8, "ME": 3, "WS": 9, "CL": 13, "DN": 6, "XS": 6, "CA": 6, "TL": 7, "DS": 15, "UP": 12, "SR": 6, "LG": 7, "OP": 8, "CF": 10,

	"IN": 25, "FA": 11, "AT": 14, "CO": 7, "SA": 7, "EX": 6,
}

// withoutGap are the families in which every attack has to be tried.
var withoutGap = []string{"HS", "PA", "ST", "CB", "SE", "CK", "SO", "BL", "JW", "DN", "IN", "FA", "AT", "CO", "SA", "EX"}

// knownAttacks is how many there are of the known ones, and leastTried how many of them have to be tried.
const knownAttacks, leastTried = 322, 300

// TestComplete keeps the catalogue whole: every attack is there once, in order, with what has to happen, and is tried or
// says why not.
func TestComplete(t *testing.T) {
	t.Parallel()
	if len(families) != len(sizes) {
		t.Errorf("got %d families, want %d", len(families), len(sizes))
	}
	if all, tried := count(knownFamilies); all != knownAttacks || tried < leastTried {
		t.Errorf("got %d known attacks and %d of them are tried, want %d and %d at least", all, tried, knownAttacks, leastTried)
	}
	for _, f := range families {
		if len(f.Attacks) != sizes[f.ID] {
			t.Errorf("%s: got %d attacks, want %d", f.ID, len(f.Attacks), sizes[f.ID])
		}
		for i, a := range f.Attacks {
			if want := fmt.Sprintf("%s-%02d", f.ID, i+1); a.ID != want {
				t.Errorf("%s: got %s at place %d, want %s", f.ID, a.ID, i+1, want)
			}
			if a.Name == "" || a.Want == "" {
				t.Errorf("%s: its name or what has to happen is missing", a.ID)
			}
			if a.Test != nil {
				continue
			}
			if a.Missing == "" {
				t.Errorf("%s is not tried, and nothing says why", a.ID)
			}
			for _, id := range withoutGap {
				if f.ID == id {
					t.Errorf("%s is not tried", a.ID)
				}
			}
		}
	}
}

// count is how many attacks families have, and how many are tried.
func count(families []family) (all, tried int) {
	for _, f := range families {
		for _, a := range f.Attacks {
			all++
			if a.Test != nil {
				tried++
			}
		}
	}
	return all, tried
}

// document is docs/attacks.md.
func document() string {
	var b strings.Builder
	all, tried := count(knownFamilies)
	more, moreTried := count(ownFamilies)
	fmt.Fprintf(&b, `# The catalogue of attacks

Each of these is tried against the program itself, from outside, in every run of the tests; `+"`go test ./internal/catalogue -run 'TestCatalogue/HS/HS-03'`"+` tries
one. %d of %d are tried: attacks that gateways are known for. Beyond them %d of %d are tried on what Portero has of its own (%s). This page is written from the catalogue, and a test keeps it so. What follows from it for operators is in
[security.md](security.md).

| family | tried |
|---|---|
`, tried, all, moreTried, more, strings.Join(ids(ownFamilies), ", "))
	for _, f := range families {
		n := 0
		for _, a := range f.Attacks {
			if a.Test != nil {
				n++
			}
		}
		fmt.Fprintf(&b, "| [%s](#%s) %s | %d of %d |\n", f.ID, anchor(f), f.Title, n, len(f.Attacks))
	}
	for _, f := range families {
		fmt.Fprintf(&b, "\n## %s: %s\n\n| id | what is tried | what has to happen | why | state |\n|---|---|---|---|---|\n", f.ID, f.Title)
		for _, a := range f.Attacks {
			state := "tried"
			switch {
			case a.Test == nil:
				state = "not tried: " + a.Missing
			case a.Missing != "":
				state = "tried, but for this: " + a.Missing
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", a.ID, cell(a.Name), cell(a.Want), cell(a.Why), cell(state))
		}
	}
	return b.String()
}

// ids are the names of families.
func ids(families []family) (out []string) {
	for _, f := range families {
		out = append(out, f.ID)
	}
	return out
}

// anchor is where GitHub puts the heading of a family.
func anchor(f family) string {
	text := strings.ToLower(f.ID + ": " + f.Title)
	return strings.ReplaceAll(strings.Map(func(r rune) rune {
		if r == ' ' || r == '-' || 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return -1
	}, text), " ", "-")
}

func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;", ">", "&gt;").Replace(s)
}

// TestDocument keeps docs/attacks.md what the catalogue says.
func TestDocument(t *testing.T) {
	t.Parallel()
	const path = "../../docs/attacks.md"
	if *update {
		if err := os.WriteFile(path, []byte(document()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != document() {
		t.Errorf("%s is not what the catalogue says; run: go test ./internal/catalogue -run TestDocument -update", path)
	}
}

// TestPromises keeps docs/security.md true: whatever it says is tried by something is tried by it.
func TestPromises(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	tried := map[string]bool{}
	for _, f := range families {
		for _, a := range f.Attacks {
			tried[a.ID] = a.Test != nil
		}
	}
	_, table, _ := strings.Cut(string(text), "| promise | tried by |")
	table, _, _ = strings.Cut(table, "\n\n")
	ids := regexp.MustCompile(`\b[A-Z][A-Z0-9]-\d\d\b`).FindAllString(table, -1)
	if len(ids) < 50 {
		t.Errorf("got %d attacks in the table, want all that stand behind its promises", len(ids))
	}
	for _, id := range ids {
		if !tried[id] {
			t.Errorf("docs/security.md: the attack %s is not there, or is not tried", id)
		}
	}
	for _, m := range regexp.MustCompile("`(Test[A-Za-z]+)`").FindAllStringSubmatch(table, -1) {
		if !isTest(t, m[1]) {
			t.Errorf("docs/security.md: there is no test %s", m[1])
		}
	}
}

// TestOptionsAreTried keeps triedElsewhere true: the cases that it names are there.
func TestOptionsAreTried(t *testing.T) {
	t.Parallel()
	for path, where := range triedElsewhere {
		for name := range strings.SplitSeq(where, ", ") {
			test, isOfGateway := strings.CutPrefix(name, "gateway.")
			if isOfGateway && !isTest(t, test) || !isOfGateway && !isTried(name) {
				t.Errorf("%s: %s is said to try it, and there is no such case", path, name)
			}
		}
	}
}

// isTried says whether there is a family or an attack of that name that is tried.
func isTried(name string) bool {
	for _, f := range families {
		for _, a := range f.Attacks {
			if a.Test != nil && (a.ID == name || f.ID == name) {
				return true
			}
		}
	}
	return false
}

// isTest says whether this package, the gateway's or the one of replicas has a test of that name.
func isTest(t *testing.T, name string) bool {
	t.Helper()
	for _, pattern := range []string{"*_test.go", "../gateway/*_test.go", "../replicas/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), "\nfunc "+name+"(t *testing.T)") {
				return true
			}
		}
	}
	return false
}
