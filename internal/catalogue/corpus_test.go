package catalogue_test

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// payload is one of the corpus of request smuggling: the bytes of one connection. Whoever decides rightly serves
// requests below /public alone; somebody else may find one for evilTarget in it.
type payload struct{ Name, Text string }

// evilTarget is what smuggled requests ask for; nobody may without having signed in.
const evilTarget = "/admin/evil"

// smuggling reads testdata/smuggling.txt for a gateway's host, as it stands in Host.
func smuggling(t *testing.T, host string) []payload {
	t.Helper()
	f, err := os.Open("testdata/smuggling.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []payload
	names := map[string]bool{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		name, quoted, _ := strings.Cut(line, "\t")
		text, err := strconv.Unquote(quoted)
		if err != nil || names[name] {
			t.Fatalf("testdata/smuggling.txt:%d: %q is no Go string, or there are two of the name", n, line)
		}
		names[name] = true
		out = append(out, payload{name, expand(text, host)})
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// expand fills in what depends on the host, and what would make a long line.
func expand(text, host string) string {
	evil := "GET " + evilTarget + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
	text = strings.NewReplacer(
		"@HOST@", host,
		"@CHUNK@", fmt.Sprintf("%x\r\n%s\r\n", len(evil), evil),
		"@2KIB@", strings.Repeat("a", 2<<10), "@8KIB@", strings.Repeat("a", 8<<10), "@16KIB@", strings.Repeat("a", 16<<10),
	).Replace(text)
	// What stands behind the head: for all who take LF or CR for the end of a line, too.
	body := text
	for _, end := range []string{"\r\n\r\n", "\n\n", "\r\r"} {
		if _, rest, ok := strings.Cut(text, end); ok && len(rest) < len(body) && (end == "\r\n\r\n" || !strings.Contains(text[:len(text)-len(rest)], "\r\n")) {
			body = rest
		}
	}
	return strings.ReplaceAll(text, "@REST@", strconv.Itoa(len(body)))
}
