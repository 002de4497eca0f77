package catalogue_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"portero/internal/gatewaytest"
)

// hostiles are what an attacker would like to see in somebody's log.
var hostiles = map[string]string{
	"a line end":           "x\n{\"level\":\"ERROR\",\"msg\":\"forged\"}\r\n",
	"an escape sequence":   "x\x1b[2J\x1b]0;title\x07\x1b[31m",
	"one of C1":            "x\u009b2J\u0085y",
	"line separators":      "x\u2028y\u2029z",
	"a change of course":   "x\u202egpj.exe\u2066",
	"nothing to be seen":   "x\u200b\ufeff\u00ady",
	"invalid UTF-8":        "x\xff\xfe\xc3\x28\xed\xa0\x80",
	"NUL":                  "x\x00y",
	"a quote":              `x","msg":"forged","y":"\`,
	"escapes in words":     `x\n\x1b[2J\u001b[2J%0a%1b[2J`,
	"as long as it may be": strings.Repeat("\u2028\"", 6000),
	"a megabyte":           strings.Repeat("x", 1<<20),
}

// wellFormed fails unless all of a log is lines of at most 8 KiB with nothing but what can be printed.
func wellFormed(t *testing.T, log string, isJSON bool) {
	t.Helper()
	for line := range strings.Lines(log) {
		text, whole := strings.CutSuffix(line, "\n")
		switch {
		case !whole:
			return
		case len(line) > 8<<10:
			t.Errorf("a line has %d bytes, want 8 KiB at most: %.300q", len(line), line)
		case !utf8.ValidString(text):
			t.Errorf("a line is not UTF-8: %.300q", line)
		case strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }):
			t.Errorf("a line has control characters or separators: %.300q", line)
		case isJSON && !json.Valid([]byte(line)):
			t.Errorf("a line is no JSON: %.300q", line)
		case strings.Contains(text, `"msg":"forged"`) || strings.HasPrefix(text, "forged"):
			t.Errorf("a line was forged: %.300q", line)
		}
	}
}

func logInjection(t *testing.T, _ *doors) {
	trail := filepath.Join(t.TempDir(), "audit.log")
	asJSON := newFront(t, gatewaytest.Options{TLS: true, Extra: "trusted_proxies: [127.0.0.1/32]\n", Log: fmt.Sprintf("level: debug, format: json, audit_file: %q", trail)})
	asText := newFront(t, gatewaytest.Options{Extra: "trusted_proxies: [127.0.0.1/32]\n", Log: "level: debug, format: text"})
	n, marks := 0, map[*front][]string{}
	for name, evil := range hostiles {
		for _, w := range []way{{front: asJSON}, {front: asJSON, h2: true}, {front: asText, cookie: asText.alice}} {
			inPath := strings.NewReplacer(" ", "_", "\n", "_", "\r", "_", "?", "_").Replace(evil)
			escaped := url.PathEscape(evil)
			for where, q := range map[string]request{
				"path":              {Target: "/public/" + inPath},
				"escaped path":      {Target: "/public/" + escaped[:min(len(escaped), 30<<10)]},
				"path of a denial":  {Target: "/admin/" + inPath},
				"query":             {Target: "/public/q?" + inPath},
				"User-Agent":        {Lines: fieldsOf("User-Agent", evil)},
				"Referer":           {Lines: fieldsOf("Referer", "https://gw.test/"+evil)},
				"X-Forwarded-For":   {Lines: fieldsOf("X-Forwarded-For", evil+", 203.0.113.7")},
				"X-Forwarded-Host":  {Lines: fieldsOf("X-Forwarded-Host", evil)},
				"X-Request-Id":      {Lines: fieldsOf("X-Request-Id", evil)},
				"Accept-Language":   {Lines: fieldsOf("Accept-Language", evil)},
				"Cookie":            {Lines: fieldsOf("Cookie", "__Host-portero="+evil)},
				"Host":              {Host: evil},
				"beginning of Host": {Host: "gw.test" + evil},
				"method":            {Method: "GET" + inPath},
				"error_description": {Target: "/callback?state=x&error=" + escaped[:min(len(escaped), 10<<10)] + "&error_description=" + escaped[:min(len(escaped), 10<<10)]},
				"Upgrade":           {Lines: fieldsOf("Connection", "upgrade", "Upgrade", evil)},
			} {
				n++
				if a := w.ask(t, q); a.Status >= 500 {
					t.Errorf("%s in %s: got %s", name, where, a)
				}
				// What comes behind it is one line, and a whole one.
				mark := fmt.Sprintf("/public/mark-%d.", n)
				if a := (way{front: w.front, h2: w.h2}).ask(t, request{Target: mark}); a.Status != http.StatusOK {
					t.Fatalf("a request behind %s in %s: got %s", name, where, a)
				}
				marks[w.front] = append(marks[w.front], mark)
				w.Upstream.Forget()
			}
		}
		for _, f := range []*front{asJSON, asText} {
			p := way{front: f}.traveller(t)
			f.Issuer.Do(func(i *gatewaytest.Issuer) {
				i.Person = map[string]any{"sub": "sub-" + strings.ToValidUTF8(evil, "?")[:min(len(strings.ToValidUTF8(evil, "?")), 400)], "sid": evil, "email": evil + "@example.com", "email_verified": true, "name": evil, "username": evil, "roles": []string{evil}}
			})
			p.get(t, p.leave(t, "/app"))
			p.get(t, "/admin/x")
			f.Issuer.Do(func(i *gatewaytest.Issuer) { i.AuthError = evil })
			p = way{front: f}.traveller(t)
			if evil = strings.ToValidUTF8(evil, "?"); len(evil) < 100 {
				p.get(t, p.leave(t, "/app"))
			}
			f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person, i.AuthError = maps.Clone(alice), "" })
		}
		helloWith(t, asJSON, evil)
	}
	asJSON.Raw(t, "not HTTP at all\x1b[2J\r\n\r\n")
	for f, all := range marks {
		gatewaytest.Await(t, "the last request is in the log", func() bool { return strings.Contains(f.Log.String(), all[len(all)-1]) })
		log := f.Log.String()
		for _, mark := range all {
			if got := strings.Count(log, mark); got != 1 {
				t.Errorf("lines of %s: got %d, want 1", mark, got)
			}
		}
		wellFormed(t, log, f == asJSON)
	}
	text, err := os.ReadFile(trail)
	if err != nil || len(text) == 0 {
		t.Fatalf("the audit file: %d bytes, %v", len(text), err)
	}
	wellFormed(t, string(text), true)
	if !strings.Contains(asJSON.Log.String(), "TLS handshake error") {
		t.Error("no handshake was refused")
	}
}

// helloWith begins a handshake that names hostile protocols and a hostile server.
func helloWith(t *testing.T, f *front, evil string) {
	t.Helper()
	const most = 255 // of a protocol's name
	for _, c := range []*tls.Config{{NextProtos: []string{evil[:min(len(evil), most)]}, ServerName: "gw.test"}, {ServerName: evil[:min(len(evil), most)]}} {
		c.InsecureSkipVerify = true
		conn, err := net.DialTimeout("tcp", f.Addr, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		_ = tls.Client(conn, c).Handshake() // whether it is refused is not the question
		conn.Close()
	}
}
