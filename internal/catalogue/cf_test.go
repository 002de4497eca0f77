package catalogue_test

import (
	"debug/buildinfo"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
	"portero/internal/redistest"
)

var configuration = family{ID: "CF", Title: "Configuration", Attacks: []attack{
	{ID: "CF-01", Name: "permissions", Want: "a file with a secret that others can read or change is warned of, by its key and mode, by check and at every start; what the program writes is its owner's alone", Test: filePermissions},
	{ID: "CF-02", Name: "sources of secrets", Want: "file, variable and file named by a variable give the same secret, less one line end; an empty, short or example one is refused", Test: secretSources},
	{ID: "CF-03", Name: "rotation", Want: "session secret, client secret, certificate and authority are replaced under load, and nobody notices; a new file that is wrong changes nothing", Test: rotation},
	{ID: "CF-04", Name: "files that cannot be read", Want: "for every key that names a file: no start, and at a reload everything stays as it was", Why: "CVE-2026-27586 Caddy: without its authority it let everybody in", Test: unreadableFiles},
	{ID: "CF-05", Name: "every restriction bites", Want: "each option that restricts something keeps somebody out", Why: "CVE-2021-21411 oauth2-proxy: an option that was read and not used. An option that has no entry fails the case", Test: restrictions,
		Missing: "logto.sign_in.registration, which `setup` is to apply at Logto and which the gateway itself does not read. Limits in time of an hour and more are tried with the clock moved, in the cases about sessions."},
	{ID: "CF-06", Name: "strictness", Want: "what could mean two things is refused with its line", Why: "a well-known reader of configurations takes the last of two keys, takes a bad boolean for false, and 30 for 30 ns", Test: strictness},
	{ID: "CF-07", Name: "dependencies", Want: "the program lists what it is made of, each with its checksum and none replaced, and nothing older than what mended a known hole", Why: "go-jose, chi and go-redis had holes that would be reachable here", Test: dependencies,
		Missing: "The scan for vulnerabilities itself, which needs a database from the network; the versions that mended those known when this was written are compared."},
	{ID: "CF-08", Name: "two gateways on one store", Want: "sessions, states and logout tokens of one issuer or client are nothing to the other", Why: "CVE-2026-33496 Oathkeeper: a cache whose key did not name the issuer", Test: separation},
	{ID: "CF-09", Name: "environment", Want: "unknown and empty variables, and such with blanks, are refused by name or count as written; those of Kubernetes are passed over", Why: "an empty variable that switches a protection off", Test: environment},
	{ID: "CF-10", Name: "insecure settings", Want: "no start without the word in `insecure`, and with it a line in the log at every start and reload", Why: "defaults of oauth2-proxy", Test: insecureSettings,
		Missing: "skip_verify, SameSite=None and a template of one's own: there is no such setting; that they are refused is tried."},
}}

// sound is a configuration with nothing wrong in it, one key on each line.
const sound = `external_url: https://gw.test
logto: {endpoint: https://tenant.logto.app/, app_id: abc, app_secret: canary-0123456789abcdef}
session: {store: memory}
email_domains: [example.com]
upstream: http://127.0.0.1:8080
`

// rewritten is a text with one part replaced, which has to be there.
func rewritten(t *testing.T, text, old, with string) string {
	t.Helper()
	if !strings.Contains(text, old) {
		t.Fatalf("%q is not in\n%s", old, text)
	}
	return strings.Replace(text, old, with, 1)
}

// configured is the present configuration of a program, and sets another with one part replaced.
func (f *front) configured(t *testing.T, old, with string) {
	t.Helper()
	text, err := os.ReadFile(f.Process.File("portero.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	f.Process.Configure(rewritten(t, string(text), old, with))
}

// write makes a file with that mode.
func write(t *testing.T, name, content string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	return name
}

func filePermissions(t *testing.T, _ *doors) {
	p := gatewaytest.NewProcess(t, "the program")
	dir := t.TempDir()
	cert, key := gatewaytest.Certificate(t)
	const c = gatewaytest.Canary + "0123456789abcdef0123456789abcdef"
	type file struct{ key, name, text string }
	files := []file{
		{"logto.app_secret_file", filepath.Join(dir, "app"), rewritten(t, sound, "app_secret: canary-0123456789abcdef", "app_secret_file: "+dir+"/app")},
		{"session.secret_file", filepath.Join(dir, "session"), rewritten(t, sound, "store: memory", "store: memory, secret_file: "+dir+"/session")},
		{"admin.token_file", filepath.Join(dir, "token"), sound + "admin: {token_file: " + dir + "/token}\n"},
		{"tls.key_file", key, sound + fmt.Sprintf("tls: {cert_file: %q, key_file: %q}\n", cert, key)},
		{"logto.app_secret", p.File("portero.yaml"), sound},
	}
	for _, tt := range files {
		for mode, want := range map[os.FileMode]string{0o600: "", 0o400: "", 0o640: "", 0o644: "can be read by every user (mode 0644)", 0o604: "can be read by every user (mode 0604)",
			0o620: "can be changed by other users (mode 0620)", 0o602: "can be changed by other users (mode 0602)", 0o666: "can be changed by other users (mode 0666)"} {
			p.Configure(tt.text)
			content := c
			if tt.key == "tls.key_file" || tt.key == "logto.app_secret" {
				text, err := os.ReadFile(tt.name)
				if err != nil {
					t.Fatal(err)
				}
				content = string(text)
			}
			os.Chmod(tt.name, 0o600)
			write(t, tt.name, content, mode)
			out, err := p.Command("check").CombinedOutput()
			warned := strings.Contains(string(out), "warning: portero.yaml:") && strings.Contains(string(out), tt.key+": ") && strings.Contains(string(out), want) && strings.Contains(string(out), "chmod 600")
			if err != nil || (want != "") != warned || want == "" && strings.Contains(string(out), "warning") {
				t.Errorf("%s with mode %04o: got %v, %.600s, want a warning %q", tt.key, mode, err, out, want)
			}
			if strings.Contains(string(out), gatewaytest.Canary) {
				t.Errorf("%s with mode %04o: the secret is told", tt.key, mode)
			}
		}
	}

	// A start says it too, and what is written then is the owner's alone, whatever the mask.
	data := t.TempDir()
	secret := write(t, filepath.Join(data, "given"), c, 0o644)
	f := newFront(t, gatewaytest.Options{Admin: `listen: "127.0.0.1:0"`, Session: fmt.Sprintf("store: file, old_secrets: [{file: %q}], file: {path: %q}", secret, filepath.Join(data, "s.db")), Log: fmt.Sprintf("audit_file: %q", filepath.Join(data, "audit.log"))})
	if !strings.Contains(f.Log.String(), "session.old_secrets[0].file") || !strings.Contains(f.Log.String(), "mode 0644") {
		t.Errorf("the start warns of nothing:\n%.2000s", f.Log.String())
	}
	entries, err := os.ReadDir(data)
	if err != nil {
		t.Fatal(err)
	}
	written := 0
	for _, e := range entries {
		if info, err := e.Info(); e.Name() != "given" {
			written++
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: got %v, %v, want mode 0600", e.Name(), info.Mode(), err)
			}
		}
	}
	if written != 4 {
		t.Errorf("files: got %v, want session file, secret, admin token and audit file", entries)
	}
}

func secretSources(t *testing.T, _ *doors) {
	const secret = gatewaytest.Canary + "one-secret-by-many-ways-0123456789"
	dir := t.TempDir()
	file := func(name, content string) string { return write(t, filepath.Join(dir, name), content, 0o600) }
	store := fmt.Sprintf("store: file, file: {path: %q}", filepath.Join(dir, "s.db"))
	f := newFront(t, gatewaytest.Options{Session: store + fmt.Sprintf(", secret: %q", secret)})
	w := way{front: f, cookie: f.alice}
	for _, tt := range []struct {
		name, session, env string
		same               bool
	}{
		{"a file", fmt.Sprintf("secret_file: %q", file("plain", secret)), "", true},
		{"a file with a line end", fmt.Sprintf("secret_file: %q", file("lf", secret+"\n")), "", true},
		{"a file with a line end of Windows", fmt.Sprintf("secret_file: %q", file("crlf", secret+"\r\n")), "", true},
		{"a variable", "", "PORTERO_SESSION_SECRET=" + secret, true},
		{"a variable that names a file", "", "PORTERO_SESSION_SECRET_FILE=" + file("named", secret+"\n"), true},
		{"a variable over the file", "secret: " + strings.Repeat("x", 40), "PORTERO_SESSION_SECRET=" + secret, true},
		{"base64", `secret: "base64:Y2FuYXJ5LW9uZS1zZWNyZXQtYnktbWFueS13YXlzLTAxMjM0NTY3ODk="`, "", true},
		{"hex", fmt.Sprintf(`secret: "hex:%x"`, secret), "", true},
		{"two line ends", fmt.Sprintf("secret_file: %q", file("two", secret+"\n\n")), "", false},
		{"a blank behind it", fmt.Sprintf("secret: %q", secret+" "), "", false},
		{"another one", "secret: " + strings.Repeat("y", 40), "", false},
	} {
		session := store
		if tt.session != "" {
			session += ", " + tt.session
		}
		f.Configure(&gatewaytest.Options{Routes: strict, Session: session, Extra: headers})
		f.Process.Env = nil
		if tt.env != "" {
			f.Process.Env = []string{tt.env}
		}
		f.Restart(t)
		a := w.ask(t, request{Lines: navigation})
		if (a.Status == http.StatusOK) != tt.same || !tt.same && a.Status != http.StatusFound {
			t.Errorf("%s: got %s, want the session to count: %t", tt.name, a, tt.same)
		}
		if !tt.same { // what it opened is over now
			break
		}
	}
	for _, tt := range []struct{ name, key, text string }{
		{"a short one", "session.secret", "secret: 0123456789abcdef0123456789abcde"},
		{"a short one, encoded", "session.secret", `secret: "base64:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZQ=="`},
		{"a short one in a file", "session.secret_file", fmt.Sprintf("secret_file: %q", file("short", "0123456789abcdef0123456789abcde\n"))},
		{"an empty file", "session.secret_file", fmt.Sprintf("secret_file: %q", file("empty", ""))},
		{"a blank file", "session.secret_file", fmt.Sprintf("secret_file: %q", file("blank", "\n\n"))},
		{"an example", "session.secret", "secret: changeme"}, {"another example", "session.secret", "secret: <your secret>"}, {"dots", "session.secret", `secret: "…"`},
		{"an example in a file", "session.secret_file", fmt.Sprintf("secret_file: %q", file("example", "changeme\n"))},
		{"as it is printed", "session.secret", "secret: (redacted)"},
		{"a value and a file", "session.secret_file", fmt.Sprintf("secret: %q, secret_file: %q", strings.Repeat("z", 40), file("both", strings.Repeat("z", 40)))},
		{"no such file", "session.secret_file", "secret_file: /nowhere/secret"},
		{"a folder", "session.secret_file", fmt.Sprintf("secret_file: %q", dir)},
		{"an old one that is short", "session.old_secrets[0].value", "old_secrets: [{value: short-0123}]"},
		{"an old one that is empty", "session.old_secrets[0]", "old_secrets: [{}]"},
		{"none for Redis", "session.secret", "store: redis"},
	} {
		p := gatewaytest.NewProcess(t, "the program")
		text := rewritten(t, sound, "store: memory", "store: memory, "+tt.text)
		if strings.HasPrefix(tt.text, "store:") {
			text = rewritten(t, sound, "store: memory", tt.text)
		}
		run(t, p, "check", text).refused(t, tt.name, "portero.yaml", tt.key)
		run(t, p, "serve", text).refused(t, tt.name+", serve", tt.key)
	}
	for _, key := range []string{"app_secret: canary-0123456789abcdef"} {
		for _, example := range []string{"changeme", "secret", "password", "your-app-secret", "<app secret>", "xxx", "...", "TODO", `""`} {
			run(t, gatewaytest.NewProcess(t, "the program"), "check", rewritten(t, sound, key, "app_secret: "+example)).refused(t, "the client secret "+example, "logto.app_secret")
		}
	}
}

// mended are the versions in which holes were mended that would be reachable here. // :: module → version
var mended = map[string]string{
	"github.com/go-jose/go-jose/v4":       "v4.1.4",  // CVE-2025-27144, CVE-2026-34986
	"github.com/go-chi/chi/v5":            "v5.3.0",  // GHSA-vrw8-fxc6-2r93, GHSA-mqqf-5wvp-8fh8, GHSA-3fxj-6jh8-hvhx
	"github.com/redis/go-redis/v9":        "v9.7.3",  // CVE-2025-29923
	"github.com/go-viper/mapstructure/v2": "v2.4.0",  // GHSA-fv92-fjc5-jj9h, GHSA-2464-8j7c-4cjm
	"golang.org/x/net":                    "v0.38.0", // CVE-2025-22870, CVE-2025-22872
	"golang.org/x/crypto":                 "v0.35.0", // CVE-2025-22869
	"golang.org/x/oauth2":                 "v0.27.0", // CVE-2025-22868
	"github.com/prometheus/client_golang": "v1.11.1", // CVE-2022-21698
}

// goMended is the version of Go with the mends of which the cases speak.
const goMended = "v1.26.6"

// older reports whether a version is before another.
func older(version, other string) bool {
	number := func(v string) (out []int) {
		v, _, _ = strings.Cut(strings.TrimPrefix(v, "v"), "-")
		for part := range strings.SplitSeq(v, ".") {
			n, _ := strconv.Atoi(part)
			out = append(out, n)
		}
		return out
	}
	return slices.Compare(number(version), number(other)) < 0
}

func dependencies(t *testing.T, _ *doors) {
	info, err := buildinfo.ReadFile(gatewaytest.Program(t))
	if err != nil {
		t.Fatal(err)
	}
	if got := regexp.MustCompile(`^go([\d.]+)`).FindStringSubmatch(info.GoVersion); got == nil || older("v"+got[1], goMended) {
		t.Errorf("built with %s, want %s at least", info.GoVersion, goMended)
	}
	sums, err := os.ReadFile("../../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Deps) < 20 {
		t.Errorf("modules in the program: got %d, want all of them", len(info.Deps))
	}
	found := 0
	for _, m := range info.Deps {
		if m.Replace != nil || m.Sum == "" || !strings.Contains(string(sums), m.Path+" "+m.Version+" "+m.Sum+"\n") {
			t.Errorf("%s %s is replaced, or is not what go.sum says", m.Path, m.Version)
		}
		if least, ok := mended[m.Path]; ok {
			found++
			if older(m.Version, least) {
				t.Errorf("%s: got %s, want %s at least", m.Path, m.Version, least)
			}
		}
		for _, test := range []string{"miniredis", "chromedp", "toxiproxy", "goleak", "pgregory.net/rapid", "porcupine", "go-cmp"} {
			if strings.Contains(m.Path, test) {
				t.Errorf("%s is for tests, and in the program", m.Path)
			}
		}
	}
	if found < 5 {
		t.Errorf("modules with known holes: found %d, the names have changed", found)
	}
}

func separation(t *testing.T, _ *doors) {
	server := redistest.Start(t)
	store := fmt.Sprintf("store: redis, secret: %q, redis: {url: %q}", gatewaytest.SessionSecret, server.URL())
	o := func() gatewaytest.Options { return gatewaytest.Options{TLS: true, Session: store} }
	one := newFront(t, o())
	two := newFront(t, o()) // another issuer, the same store, secret and names
	foreign := gatewaytest.Options{TLS: true, Session: store, Logto: &gatewaytest.Logto{Endpoint: one.Issuer.URL, AppID: "app-2", AppSecret: one.Issuer.AppSecret}}
	three := unsigned(t, foreign) // another application of the same issuer
	prefixed := o()
	prefixed.Issuer, prefixed.Session = one.Issuer, strings.Replace(store, "redis: {", `redis: {key_prefix: "other:", `, 1)
	four := unsigned(t, prefixed) // the same in all but the names in the store
	for name, other := range map[string]*front{"another issuer": two, "another client": three, "another prefix": four} {
		if a := (way{front: other, cookie: one.alice}).ask(t, request{Lines: navigation}); a.Status != http.StatusFound {
			t.Errorf("a session of another gateway at %s: got %s, want 302 to sign in", name, a)
		}
		other.nothingReached(t)
		if name == "another prefix" {
			continue // a sign-in that was begun is in the browser, and the same there
		}
		// Nor is a sign-in that was begun at one finished at the other.
		p := way{front: one}.traveller(t)
		back := p.leave(t, "/app")
		q := way{front: other}.traveller(t)
		q.cookies = p.cookies
		calls := one.tokenCalls()
		if a := q.get(t, back); a.Status != http.StatusBadRequest && a.Status != http.StatusFound || q.session() != "" {
			t.Errorf("a callback of another gateway at %s: got %s, want a page or a new beginning", name, a)
		}
		if got := one.tokenCalls() - calls; got != 0 {
			t.Errorf("a callback of another gateway at %s: got %d token calls, want none", name, got)
		}
		if a := (way{front: one, cookie: one.alice}).ask(t, request{}); a.Status != http.StatusOK {
			t.Errorf("the session at its own gateway, after %s: got %s, want 200", name, a)
		}
		one.Upstream.Forget()
	}
	// A logout token for one ends nothing at the other.
	if resp := two.Logout(t, one.Issuer.LogoutToken(nil)); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a logout token of another issuer: got %s, want 400", resp.Status)
	}
	if resp := one.Logout(t, two.Issuer.LogoutToken(nil)); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a logout token of another issuer: got %s, want 400", resp.Status)
	}
	if resp := two.Logout(t, two.Issuer.LogoutToken(nil)); resp.StatusCode != http.StatusOK { // the same sid and sub
		t.Errorf("a logout token of its own: got %s, want 200", resp.Status)
	}
	if a := (way{front: two, cookie: two.alice}).ask(t, request{Lines: navigation}); a.Status != http.StatusFound {
		t.Errorf("the session that was ended: got %s, want 302", a)
	}
	if a := (way{front: one, cookie: one.alice}).ask(t, request{}); a.Status != http.StatusOK {
		t.Errorf("the session with the same sid of another issuer: got %s, want 200", a)
	}
	// Nor an operator's word, nor signing out.
	if a := two.adminForm(t, "/api/sessions/revoke", url.Values{"subject": {"t8x4l8ohti1t"}}); a.Status != http.StatusOK {
		t.Errorf("revoking: got %s", a)
	}
	if a := (way{front: one, cookie: one.alice}).ask(t, request{}); a.Status != http.StatusOK {
		t.Errorf("the session after an operator of another gateway: got %s, want 200", a)
	}
	one.rows(t, 1)
	four.rows(t, 0)
	if text := three.Admin(t, http.MethodGet, "/api/sessions").Text; strings.Contains(text, "t8x4l8ohti1t") {
		t.Errorf("the sessions of another client are listed: %s", text)
	}
}

func environment(t *testing.T, _ *doors) {
	p := gatewaytest.NewProcess(t, "the program")
	if got := run(t, p, "check", sound); got.code != 0 {
		t.Fatalf("got %+v", got)
	}
	for variable, names := range map[string]string{
		"PORTERO_UNKNOWN=x": "PORTERO_UNKNOWN", "PORTERO_LOGTO_APPSECRET=canary-x": "did you mean PORTERO_LOGTO_APP_SECRET", "PORTERO_LISTEN_=127.0.0.1:1": "PORTERO_LISTEN_", "PORTERO_=x": "PORTERO_", "PORTERO_listen=127.0.0.1:1": "PORTERO_listen",
		"PORTERO_ROUTES=[]": "list of sections", "PORTERO_ALLOW=x": "list of sections", "PORTERO_LISTEN= ": "PORTERO_LISTEN", "PORTERO_LISTEN=127.0.0.1:1 ": "PORTERO_LISTEN", "PORTERO_EXTERNAL_URL= https://gw.test": "PORTERO_EXTERNAL_URL",
		"PORTERO_SESSION_LIFETIME=": "PORTERO_SESSION_LIFETIME", "PORTERO_SESSION_LIFETIME=30": "PORTERO_SESSION_LIFETIME", "PORTERO_RELOAD_WATCH=yes please": "PORTERO_RELOAD_WATCH", "PORTERO_LOGTO_ENDPOINT=": "PORTERO_LOGTO_ENDPOINT",
		"PORTERO_LOGTO_APP_SECRET=": "PORTERO_LOGTO_APP_SECRET", "PORTERO_TRUSTED_PROXIES=0.0.0.0/0": "trust-everybody", "PORTERO_INSECURE=everything": "PORTERO_INSECURE",
		"PORTERO_EMAIL_DOMAINS=": "", "PORTERO_UPSTREAM=": "routes", "PORTERO_SESSION_STORE=Memory": "PORTERO_SESSION_STORE", "PORTERO_LOG_LEVEL=DEBUG ": "PORTERO_LOG_LEVEL", "PORTERO_IDENTITY_PRESET=Remote-User": "PORTERO_IDENTITY_PRESET", "PORTERO_IDENTITY_PRESET=remote_user": "PORTERO_IDENTITY_PRESET", "PORTERO_IDENTITY_ASSERTION_ENABLED=1": "PORTERO_IDENTITY_ASSERTION_ENABLED",
		"PORTERO_SESSION_SECRET=  ": "PORTERO_SESSION_SECRET", "PORTERO_SESSION_SECRET_FILE=/nowhere": "PORTERO_SESSION_SECRET_FILE", "PORTERO_ADMIN_LISTEN=0.0.0.0:3010": "PORTERO_ADMIN_LISTEN", "PORTERO_CONFIG_FILE=x": "PORTERO_CONFIG_FILE",
	} {
		got := run(t, p, "check", sound, variable)
		got.refused(t, variable, names)
	}
	// Those that are nobody's business change nothing.
	want := run(t, p, "check", sound)
	for _, variable := range []string{
		"PORTERO_SERVICE_HOST=10.0.0.1", "PORTERO_SERVICE_PORT=80", "PORTERO_SERVICE_PORT_HTTP=80", "PORTERO_PORT=tcp://10.0.0.1:80", "PORTERO_PORT_80_TCP=tcp://10.0.0.1:80", "PORTERO_PORT_80_TCP_PROTO=tcp", "PORTERO_PORT_80_TCP_ADDR=10.0.0.1",
		"PORTERO_TEST_ANYTHING=x", "portero_listen=127.0.0.1:1", "LISTEN=127.0.0.1:1", "GW_LISTEN=x", "EXTERNAL_URL=http://x", "HTTP_PROXY=http://evil.test", "PORTEROX=1",
	} {
		if got := run(t, p, "check", sound, variable); got != want {
			t.Errorf("%s: got %+v, want it to change nothing", variable, got)
		}
	}
	// And an empty one empties its key.
	if got := run(t, p, "check", sound, "PORTERO_PAGES_NAME=", "PORTERO_TRUSTED_PROXIES=", "PORTERO_LOG_FORMAT="); got.code != 0 {
		t.Errorf("empty variables of keys that may be empty: got %+v", got)
	}
	if got := run(t, p, "check", sound, "PORTERO_IDENTITY_PRESET=remote-user"); got.code != 0 || !strings.Contains(got.out, "Remote-User") {
		t.Errorf("a preset: got %+v, want its headers", got)
	}
	if got := run(t, p, "check", sound, "PORTERO_EMAIL_DOMAINS=a.example,b.example"); got.code != 0 || !strings.Contains(got.out, "[a.example, b.example]") {
		t.Errorf("a list: got %+v", got)
	}
}

func insecureSettings(t *testing.T, _ *doors) {
	p := gatewaytest.NewProcess(t, "the program")
	everybody := sound + "trusted_proxies: [PREFIX]\n"
	for _, tt := range []struct{ name, word, text string }{
		{"http outside", "plain-http", rewritten(t, sound, "https://gw.test", "http://gw.test")},
		{"http at an address", "plain-http", rewritten(t, sound, "https://gw.test", "http://192.0.2.1:3000")},
		{"http at a name like ours", "plain-http", rewritten(t, sound, "https://gw.test", "http://localhost.evil.test")},
		{"Logto over http", "plain-http", rewritten(t, sound, "https://tenant.logto.app/", "http://logto.test:3001/")},
		{"everybody, IPv4", "trust-everybody", rewritten(t, everybody, "PREFIX", "0.0.0.0/0")},
		{"everybody, IPv6", "trust-everybody", rewritten(t, everybody, "PREFIX", `"::/0"`)},
		{"everybody, mapped", "trust-everybody", rewritten(t, everybody, "PREFIX", `"::ffff:0.0.0.0/96"`)},
		{"everybody beside somebody", "trust-everybody", rewritten(t, everybody, "PREFIX", "10.0.0.0/8, 0.0.0.0/0")},
		{"a public root", "public-root", rewritten(t, sound, "upstream: http://127.0.0.1:8080", `routes: [{name: r, path: /, access: public, upstreams: [{url: "http://127.0.0.1:8080"}]}]`)},
		{"a public root without path", "public-root", rewritten(t, sound, "upstream: http://127.0.0.1:8080", `routes: [{name: r, access: public, upstreams: [{url: "http://127.0.0.1:8080"}]}]`)},
		{"a public root of another host", "public-root", rewritten(t, sound, "upstream: http://127.0.0.1:8080", `routes: [{name: a, upstreams: [{url: "http://127.0.0.1:8080"}]}, {name: r, hosts: [x.test], access: public, upstreams: [{url: "http://127.0.0.1:8080"}]}]`)},
	} {
		for _, command := range []string{"check", "serve"} {
			run(t, p, command, tt.text).refused(t, tt.name+", "+command, tt.word, "portero.yaml:")
		}
		others := slices.DeleteFunc([]string{"plain-http", "trust-everybody", "public-root", "unverified-email"}, func(w string) bool { return w == tt.word })
		run(t, p, "check", tt.text+"insecure: ["+strings.Join(others, ", ")+"]\n").refused(t, tt.name+" with every other word", tt.word)
		if got := run(t, p, "check", tt.text+"insecure: ["+tt.word+"]\n"); got.code != 0 {
			t.Errorf("%s with the word: got %+v, want it accepted", tt.name, got)
		}
	}
	// A wildcard of everything, said in another way, and switches that are not there.
	for name, text := range map[string]string{
		"a wildcard path": rewritten(t, sound, "upstream: http://127.0.0.1:8080", `routes: [{name: r, path: "/*", access: public, upstreams: [{url: "http://127.0.0.1:8080"}]}]`),
		"a wildcard host": rewritten(t, sound, "upstream: http://127.0.0.1:8080", `routes: [{name: r, hosts: ["*"], upstreams: [{url: "http://127.0.0.1:8080"}]}]`),
		"skip_verify":     rewritten(t, sound, "app_id: abc", "app_id: abc, skip_verify: true"), "insecure_skip_verify": sound + "insecure_skip_verify: true\n", "same_site": rewritten(t, sound, "store: memory", "store: memory, same_site: none"),
		"cookie_secure": rewritten(t, sound, "store: memory", "store: memory, cookie_secure: false"), "an unknown word": sound + "insecure: [everything]\n", "a word as a text": sound + "insecure: plain-http\n", "true": sound + "insecure: true\n",
		"admin off loopback": sound + "admin: {listen: \"0.0.0.0:3010\"}\n", "admin on every address": sound + "admin: {listen: \":3010\"}\n", "nobody named": rewritten(t, sound, "email_domains: [example.com]\n", ""),
	} {
		run(t, p, "check", text).refused(t, name, "portero.yaml")
	}
	// It is logged at every start, and a reload that brings one says so too.
	o := gatewaytest.Options{Extra: "insecure: [trust-everybody]\ntrusted_proxies: [0.0.0.0/0]\n"}
	f := unsigned(t, o)
	said := func(when string, times int) {
		t.Helper()
		gatewaytest.Await(t, "the word is in the log "+when, func() bool { return strings.Count(f.Log.String(), `"insecure":"trust-everybody"`) == times })
	}
	said("at the start", 1)
	f.Restart(t)
	said("at every start", 2)
	f.Hangup(t)
	said("at a reload", 3)
}
