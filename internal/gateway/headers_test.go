package gateway_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

// toldHeaders are the headers of a head that have one of these names, as bytes came.
func toldHeaders(head string, names []string) http.Header {
	told := http.Header{}
	for line := range strings.SplitSeq(head, "\r\n") {
		name, value, ok := strings.Cut(line, ": ")
		if name = http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-")); ok && slices.Contains(names, name) {
			told[name] = append(told[name], value)
		}
	}
	return told
}

// Every person and every preset: the application gets these headers, each once, and nothing that the client sent in their
// names or those of another preset.
func TestPresets(t *testing.T) {
	t.Parallel()
	var routes strings.Builder
	var all []string
	for i, preset := range gatewaytest.Presets() {
		all = append(all, gatewaytest.PresetNames(preset)...)
		routes.WriteString("\n  - {name: p" + strconv.Itoa(i) + ", path: /p" + strconv.Itoa(i) + ", upstreams: [{url: UPSTREAM}], identity: {preset: " + strconv.Quote(preset) + "}}")
	}
	rig := gatewaytest.New(t, &gatewaytest.Options{Routes: routes.String()})
	forged := map[string]string{}
	for _, name := range all {
		forged[name], forged[strings.ReplaceAll(name, "-", "_")] = "forged", "forged"
	}
	for _, person := range gatewaytest.People() {
		rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person = person.Claims })
		b := rig.SignedIn(t, "/p0/")
		for i, preset := range gatewaytest.Presets() {
			path := "/p" + strconv.Itoa(i) + "/"
			if resp := b.Do(b.Request(http.MethodGet, rig.URL+path, nil, forged)); resp.StatusCode != http.StatusOK {
				t.Fatalf("%s, preset %q: got %s", person.Name, preset, resp.Status)
			}
			head := rig.Upstream.Last()
			if got, want := toldHeaders(head, all), person.Header(preset); !equalHeaders(got, want) || strings.Contains(head, "forged") {
				t.Errorf("%s, preset %q: got\n%q, want\n%q\n%s", person.Name, preset, got, want, head)
			}
		}
	}
}

func equalHeaders(a, b http.Header) bool {
	for _, pair := range [][2]http.Header{{a, b}, {b, a}} {
		for name, values := range pair[0] {
			if !slices.Equal(values, pair[1][name]) {
				return false
			}
		}
	}
	return true
}

// A header that is too long and not to be left out is a denial: nothing reaches the application, and everybody can find out why.
func TestHeaderOverflow(t *testing.T) {
	t.Parallel()
	auditFile := filepath.Join(t.TempDir(), "audit")
	rig := gatewaytest.New(t, &gatewaytest.Options{
		Routes: `
  - {name: plain, path: /, upstreams: [{url: UPSTREAM}]}
  - {name: drop, path: /drop, upstreams: [{url: UPSTREAM}], identity: {headers: [{name: X-Name, claim: name, max_bytes: 8}]}}
  - {name: deny, path: /deny, upstreams: [{url: UPSTREAM}], identity: {headers: [{name: X-Sub, claim: sub}, {name: X-Name, claim: name, max_bytes: 8, overflow: deny}]}}
  - {name: optional, path: /optional, access: optional, upstreams: [{url: UPSTREAM}], identity: {headers: [{name: X-Name, claim: name, max_bytes: 8, overflow: deny}]}}
`,
		Log: "level: debug, audit_file: " + strconv.Quote(auditFile),
	})
	visit := func(name, path string) (int, string, http.Header) {
		rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person["name"] = name })
		b := rig.SignedIn(t, "/")
		rig.Upstream.Forget()
		resp := b.Do(b.Request(http.MethodPost, rig.URL+path, strings.NewReader("body"), map[string]string{"X-Name": "forged", "Accept": "application/json"}))
		return resp.StatusCode, rig.Upstream.Bytes(), resp.Header
	}
	for _, tt := range []struct {
		name, path string
		status     int
		want       string // "": no such header
	}{
		{"Ann Lees", "/drop", 200, "Ann Lees"},
		{"Ann Lee 2", "/drop", 200, ""}, // not Ann Lee
		{"Ann Lees", "/deny", 200, "Ann Lees"},
		{"Ann Lee 2", "/deny", 403, ""},
		{"Ann Lee 2", "/optional", 403, ""},
	} {
		status, reached, header := visit(tt.name, tt.path)
		if status != tt.status {
			t.Errorf("%s at %s: got %d, want %d", tt.name, tt.path, status, tt.status)
		}
		if (reached == "") != (tt.status == 403) {
			t.Errorf("%s at %s: this reached the application:\n%s", tt.name, tt.path, reached)
		}
		if got := strings.Join(gatewaytest.Header(reached, "X-Name"), "|"); got != tt.want {
			t.Errorf("%s at %s: X-Name is %q, want %q", tt.name, tt.path, got, tt.want)
		}
		if code := header.Get("Portero-Code"); tt.status == 403 && (code == "" || !lineWith(rig.Log.String(), code, `"header":"X-Name"`)) {
			t.Errorf("%s at %s: the code %q finds no log line with the header", tt.name, tt.path, code)
		}
	}
	if !lineWith(rig.Log.String(), "an identity header was left out", `"route":"drop"`) {
		t.Error("the log does not say that a header was left out")
	}
	written, err := os.ReadFile(auditFile)
	if err != nil {
		t.Fatal(err)
	}
	audit := string(written)
	if got := strings.Count(audit, `"reason":"header-overflow"`); got != 2 {
		t.Errorf("the audit has %d denials for header-overflow, want 2\n%s", got, audit)
	}
	if strings.Contains(audit+rig.Log.String(), "Ann Lee 2") {
		t.Error("the log has the value")
	}
	if anonymous := rig.Browser(t).Get(rig.URL + "/optional"); anonymous.StatusCode != http.StatusOK {
		t.Errorf("nobody at /optional: got %s, want 200", anonymous.Status)
	}
}

// lineWith reports whether one line has all of the words.
func lineWith(text string, words ...string) bool {
	for line := range strings.Lines(text) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			return true
		}
	}
	return false
}

// What one route tells its application nobody can tell it by another route, signed in or not, in no spelling.
func TestHeadersOfAnotherRoute(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, &gatewaytest.Options{Routes: `
  - {name: badge, path: /badge, identity: {headers: [{name: X-Badge, claim: sub}], assertion: {enabled: true, header: X-Proof}}, upstreams: [{url: UPSTREAM}]}
  - {name: open, path: /open, access: public, upstreams: [{url: UPSTREAM}]}
  - {name: app, path: /, upstreams: [{url: UPSTREAM}]}
`})
	b := rig.SignedIn(t, "/")
	for _, path := range []string{"/open", "/app", "/badge"} {
		for _, name := range []string{"X-Badge", "x_badge", "X.Badge", "X-Proof", "x-proof", "X_Proof"} {
			req := b.Request("GET", rig.URL+path, nil, nil)
			req.Header[name] = []string{"forged"}
			if r := b.Do(req); r.StatusCode != http.StatusOK || strings.Contains(rig.Upstream.Last(), "forged") {
				t.Errorf("%s with %s: got %s, the application saw\n%s", path, name, r.Status, rig.Upstream.Last())
			}
		}
	}
	if got := gatewaytest.Header(rig.Upstream.Last(), "X-Badge"); len(got) != 1 || got[0] != "t8x4l8ohti1t" {
		t.Errorf("X-Badge of the route itself: got %q, want the subject", got)
	}
}
