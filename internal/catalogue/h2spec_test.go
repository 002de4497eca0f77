package catalogue_test

import (
	"encoding/xml"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// h2spec is the version of the suite. It has no go.mod: what it needs is whatever is newest.
const h2spec = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"

// knownFailures are where net/http's server does otherwise than the suite wants, by what a test says of itself. :: test →
// what happens instead
var knownFailures = map[string]string{
	"http2/4.2 Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE":                          "net/http takes larger frames than it says",
	"http2/6.5.3 Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE":                                            "the suite wants data in a window that is of nothing in between",
	"http2/8.1.2.2 Sends a HEADERS frame that contains the connection-specific header field":                       "400 instead of a reset; H2-05 holds that nothing is forwarded",
	"http2/8.1.2.2 Sends a HEADERS frame that contains the TE header field with any value other than \"trailers\"": "400 instead of a reset; H2-05 holds that nothing is forwarded",
}

// specification runs h2spec through TLS. It is installed for the test where PORTERO_TEST_REAL=1 asks for the real thing.
func specification(t *testing.T, _ *doors) {
	program, err := exec.LookPath("h2spec")
	if err != nil {
		if os.Getenv("PORTERO_TEST_REAL") != "1" {
			t.Skip("no h2spec on this machine")
		}
		dir := t.TempDir()
		install := exec.Command("go", "install", h2spec)
		install.Dir, install.Env = dir, append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
		if out, err := install.CombinedOutput(); err != nil {
			t.Fatalf("installing h2spec: %v\n%s", err, out)
		}
		program = filepath.Join(dir, "h2spec")
	}
	// The suite speaks to an address.
	f := unsigned(t, gatewaytest.Options{TLS: true, Routes: strict + `
  - {name: spec, hosts: ["127.0.0.1"], path: /, access: public, upstreams: [{url: UPSTREAM}]}
`, Extra: "insecure: [public-root]"})
	host, port, _ := net.SplitHostPort(f.Addr)
	report := filepath.Join(t.TempDir(), "report.xml")
	cmd := exec.Command(program, "--tls", "--insecure", "--host", host, "--port", port, "--path", "/public/x", "--timeout", "5", "--junit-report", report)
	timer := time.AfterFunc(3*time.Minute, func() { cmd.Process.Kill() })
	defer timer.Stop()
	out, _ := cmd.CombinedOutput() // it fails when a test does
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatalf("h2spec: %v\n%s", err, out)
	}
	var suites struct {
		Suites []struct {
			Name  string `xml:"name,attr"`
			Cases []struct {
				Package string `xml:"package,attr"`
				Name    string `xml:"classname,attr"`
				Failure *struct {
					Text string `xml:",chardata"`
				} `xml:"failure"`
				Error *struct {
					Text string `xml:",chardata"`
				} `xml:"error"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(text, &suites); err != nil {
		t.Fatal(err)
	}
	all, failed := 0, map[string]bool{}
	for _, s := range suites.Suites {
		for _, c := range s.Cases {
			all++
			said := ""
			if c.Failure != nil {
				said = c.Failure.Text
			}
			if c.Error != nil {
				said = c.Error.Text
			}
			if said == "" {
				continue
			}
			name := c.Package + " " + c.Name
			failed[name] = true
			if _, known := knownFailures[name]; !known {
				t.Errorf("%s: %s", name, strings.Join(strings.Fields(said), " "))
			}
		}
	}
	const fewest = 140
	if reached := len(f.Upstream.Requests()); all < fewest || reached < 10 {
		t.Errorf("h2spec ran %d tests, want %d at least; %d requests reached the upstream\n%s", all, fewest, reached, out)
	}
	for _, m := range f.messages(t) {
		absent(t, m.Head, "Connection", "TE")
	}
	t.Logf("%d tests, %d failed", all, len(failed))
}
