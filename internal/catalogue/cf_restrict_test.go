package catalogue_test

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"portero/internal/gatewaytest"
)

// overTLS makes an issuer be reached over TLS; it returns the file with the certificate of its authority.
func overTLS(t *testing.T, i *gatewaytest.Issuer) string {
	t.Helper()
	s := httptest.NewTLSServer(i)
	t.Cleanup(s.Close)
	i.URL = s.URL
	return write(t, filepath.Join(t.TempDir(), "ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})), 0o644)
}

// replaceFile puts other content in place of a file, as programs that renew certificates do.
func replaceFile(t *testing.T, name, content string) {
	t.Helper()
	write(t, name+".new", content, 0o600)
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

func contentOf(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func rotation(t *testing.T, _ *doors) {
	dir := t.TempDir()
	issuer := gatewaytest.NewIssuer(t)
	ca := overTLS(t, issuer)
	good := contentOf(t, ca)
	first := write(t, filepath.Join(dir, "first"), gatewaytest.Canary+strings.Repeat("1", 40), 0o600)
	second := write(t, filepath.Join(dir, "second"), gatewaytest.Canary+strings.Repeat("2", 40), 0o600)
	f := unsigned(t, gatewaytest.Options{TLS: true, Issuer: issuer, Session: fmt.Sprintf("store: memory, secret_file: %q", first), Log: "level: info"})
	f.configured(t, "logto: {", fmt.Sprintf("logto: {ca_file: %q, ", ca))
	if said := f.Hangup(t); !strings.Contains(said, "configuration reloaded") {
		t.Fatalf("an authority: %s", said)
	}
	f.alice = f.signIn(t, alice)

	var stop atomic.Bool
	var served atomic.Int64
	var wait sync.WaitGroup
	w := way{front: f, cookie: f.alice}
	for i := range 4 {
		wait.Go(func() {
			for n := 0; !stop.Load(); n++ {
				one := way{front: f, cookie: f.alice, h2: i%2 == 0}
				if a := one.ask(t, request{Target: fmt.Sprintf("/app/%d/%d", i, n)}); a.Status != http.StatusOK {
					t.Errorf("under load: got %s", a)
					return
				}
				served.Add(1)
			}
		})
	}
	mostly := func(what string) { // a while of load behind a change
		t.Helper()
		at := served.Load()
		gatewaytest.Await(t, "requests are served after "+what, func() bool { return served.Load() >= at+20 || t.Failed() })
	}
	half := f.Browser(t) // on the way to sign in
	back := half.Get(half.Get(f.URL + "/app").Location()).Location()

	f.configured(t, "secret_file: \""+first+"\"", fmt.Sprintf("secret_file: %q, old_secrets: [{file: %q}]", second, first))
	if said := f.Hangup(t); !strings.Contains(said, "configuration reloaded") {
		t.Errorf("a new session secret: %s", said)
	}
	mostly("a new session secret")
	if r := half.Follow(half.Get(back)); r.StatusCode != http.StatusOK {
		t.Errorf("a sign-in that began before: got %s", r.Status)
	}
	issuer.Do(func(i *gatewaytest.Issuer) { i.AppSecret = "rotated-0123456789abcdefABCDEF123456" })
	f.configured(t, "0123456789abcdefghijABCDEFGHIJ12", "rotated-0123456789abcdefABCDEF123456")
	f.Hangup(t)
	mostly("a new client secret")
	f.person(t, bob, "/app")

	before := f.certificate(t)
	cert, key := gatewaytest.Certificate(t)
	replaceFile(t, f.Key, contentOf(t, key))
	replaceFile(t, f.Cert, contentOf(t, cert))
	gatewaytest.Await(t, "the new certificate is shown", func() bool { return f.certificate(t) != before })
	mostly("a new certificate")

	// Files that are wrong change nothing.
	present := f.certificate(t)
	other, _ := gatewaytest.Certificate(t)
	for name, wrong := range map[string]func(){
		"a key that does not fit":   func() { replaceFile(t, f.Cert, contentOf(t, other)) },
		"no certificate":            func() { replaceFile(t, f.Cert, "no certificate") },
		"an authority that is none": func() { replaceFile(t, ca, "no certificate") },
		"a short session secret":    func() { replaceFile(t, second, "short") },
		"no session secret":         func() { os.Remove(second) },
	} {
		failed := strings.Count(f.Log.String(), "reload failed")
		wrong()
		f.Process.Hangup()
		gatewaytest.Await(t, name+" is refused", func() bool { return strings.Count(f.Log.String(), "reload failed") > failed })
		if got := f.certificate(t); got != present {
			t.Errorf("%s: another certificate is shown", name)
		}
		if a := w.ask(t, request{}); a.Status != http.StatusOK {
			t.Errorf("%s: got %s", name, a)
		}
		f.person(t, bob, "/app")
		replaceFile(t, f.Cert, contentOf(t, cert))
		replaceFile(t, ca, good)
		replaceFile(t, second, gatewaytest.Canary+strings.Repeat("2", 40))
	}
	mostly("files that are wrong")
	gatewaytest.Await(t, "the files are right again", func() bool { return strings.Contains(f.Hangup(t), "configuration reloaded") })

	// Another authority: nobody signs in any more, and whoever has goes on.
	replaceFile(t, ca, contentOf(t, other))
	gatewaytest.Await(t, "the other authority counts", func() bool {
		f.Process.Hangup()
		b := f.Browser(t)
		return b.Get(f.URL+"/app").StatusCode == http.StatusServiceUnavailable
	})
	mostly("another authority")
	replaceFile(t, ca, good)
	gatewaytest.Await(t, "the authority counts again", func() bool {
		f.Process.Hangup()
		return f.Browser(t).Visit(f.URL+"/app").StatusCode == http.StatusOK
	})
	// The old secret may go once what it sealed was used.
	f.configured(t, fmt.Sprintf(", old_secrets: [{file: %q}]", first), "")
	f.Hangup(t)
	mostly("the end of the old secret")
	stop.Store(true)
	wait.Wait()
	f.Upstream.Forget()
}

// certificate is the serial number of the certificate that is shown.
func (f *front) certificate(t *testing.T) string {
	t.Helper()
	return certificateAt(t, f.Addr)
}

func unreadableFiles(t *testing.T, _ *doors) {
	dir := t.TempDir()
	cert, key := gatewaytest.Certificate(t)
	empty, garbage := write(t, filepath.Join(dir, "empty"), "", 0o600), write(t, filepath.Join(dir, "garbage"), gatewaytest.Canary+"\x00\xff no such thing", 0o600)
	// where each key that names a file is written, FILE standing for its name.
	where := map[string][2]string{ // :: key → what is replaced, by what
		"admin.token_file":                 {"admin: {", `admin: {token_file: "FILE", `},
		"tls.cert_file":                    {fmt.Sprintf("cert_file: %q", cert), `cert_file: "FILE"`},
		"tls.key_file":                     {fmt.Sprintf("key_file: %q", key), `key_file: "FILE"`},
		"logto.ca_file":                    {"logto: {", `logto: {ca_file: "FILE", `},
		"logto.app_secret_file":            {"app_secret: 0123456789abcdefghijABCDEFGHIJ12", `app_secret_file: "FILE"`},
		"logto.management.app_secret_file": {"logto: {", `logto: {management: {app_id: m, app_secret_file: "FILE"}, `},
		"mailgun.api_key_file":             {"shutdown:", "mailgun: {domain: mg.test, from: x@example.com, api_key_file: \"FILE\"}\nshutdown:"},
		"session.secret_file":              {"session: {", `session: {secret_file: "FILE", `},
		"session.old_secrets[].file":       {"session: {", `session: {old_secrets: [{file: "FILE"}], `},
		"session.redis.url_file":           {"session: {store: memory", "session: {store: redis, secret: 0123456789012345678901234567890123456789, redis: {url_file: \"FILE\"}"},
		"session.redis.tls.ca_file":        {"session: {store: memory", "session: {store: redis, secret: 0123456789012345678901234567890123456789, redis: {url: \"rediss://127.0.0.1:1/0\", tls: {ca_file: \"FILE\"}}"},
		"pages.logo_file":                  {"shutdown:", "pages: {logo_file: \"FILE\"}\nshutdown:"},
		"pages.logo_dark_file":             {"shutdown:", "pages: {logo_file: \"FILE\", logo_dark_file: \"FILE\"}\nshutdown:"},
		"log.audit_file":                   {"log: {", `log: {audit_file: "FILE", `},
	}
	bytesWillDo := regexp.MustCompile(`secret_file$|old_secrets|token_file$|api_key_file$|audit_file$`) // any content is one
	for _, o := range options(t) {
		if strings.HasSuffix(o.path, "_file") || strings.HasSuffix(o.path, ".file") {
			if _, ok := where[o.path]; !ok {
				t.Errorf("%s names a file, and is not tried", o.path)
			}
		}
	}
	f := newFront(t, gatewaytest.Options{Admin: `listen: "127.0.0.1:0"`, Log: "level: info"})
	f.configured(t, "shutdown:", fmt.Sprintf("tls: {cert_file: %q, key_file: %q}\nshutdown:", cert, key))
	base := contentOf(t, f.Process.File("portero.yaml"))
	plain := strings.Replace(base, fmt.Sprintf("tls: {cert_file: %q, key_file: %q}\n", cert, key), "", 1)
	w := way{front: f, cookie: f.alice}
	p := gatewaytest.NewProcess(t, "another run")
	for key, parts := range where {
		for name, file := range map[string]string{"missing": "/nowhere/file", "a folder": dir, "empty": empty, "garbage": garbage} {
			if (name == "garbage" || name == "empty" && key == "log.audit_file") && bytesWillDo.MatchString(key) {
				continue
			}
			text := strings.ReplaceAll(rewritten(t, base, parts[0], parts[1]), "FILE", file)
			for _, command := range []string{"check", "serve"} {
				if command == "check" && key == "log.audit_file" {
					continue // it is made by a start
				}
				got := run(t, p, command, text)
				if got.code == 0 || strings.Contains(got.out, "listening") || !strings.Contains(got.problems, regexp.MustCompile(`\[.*|\.(url_)?file$`).ReplaceAllString(key, "")) || strings.Contains(got.problems, gatewaytest.Canary) {
					t.Errorf("%s, %s, %s: got exit code %d and %.500q, want no start and the key", key, name, command, got.code, got.problems)
				}
			}
			if strings.HasPrefix(key, "tls.") {
				continue // a listener does not change over to TLS: that is tried with the rotation
			}
			f.Process.Configure(strings.ReplaceAll(rewritten(t, plain, parts[0], parts[1]), "FILE", file))
			if said := f.Hangup(t); !strings.Contains(said, "reload failed") || strings.Contains(said, gatewaytest.Canary) {
				t.Errorf("%s, %s: a reload says %s", key, name, said)
			}
			if a := w.ask(t, request{}); a.Status != http.StatusOK {
				t.Errorf("%s, %s: after the reload that failed, signed in: got %s", key, name, a)
			}
			f.Upstream.Forget()
			f.denied(t, way{front: f}.ask(t, request{Target: "/admin/x"}))
		}
	}
	f.Process.Configure(plain)
	if said := f.Hangup(t); !strings.Contains(said, "configuration reloaded") {
		t.Errorf("all is well again: %s", said)
	}
}

func strictness(t *testing.T, _ *doors) {
	p := gatewaytest.NewProcess(t, "the program")
	session := func(text string) string { return rewritten(t, sound, "store: memory", "store: memory, "+text) }
	route := func(text string) string {
		return rewritten(t, sound, "upstream: http://127.0.0.1:8080", `routes: [{name: r, upstreams: [{url: "http://127.0.0.1:8080"}], `+text+`}]`)
	}
	for name, tt := range map[string]struct {
		text string
		at   string
	}{
		"an unknown key":                     {sound + "colour: blue\n", "portero.yaml:6: colour"},
		"an unknown key below":               {session("colour: blue"), "portero.yaml:3: session.colour"},
		"a key of another case":              {sound + "Listen: 127.0.0.1:1\n", "portero.yaml:6: Listen"},
		"a key with blanks":                  {sound + "\" listen\": 127.0.0.1:1\n", "portero.yaml:6:"},
		"two keys":                           {sound + "listen: 127.0.0.1:1\nlisten: 127.0.0.1:2\n", "portero.yaml"},
		"two keys that differ in case":       {sound + "listen: 127.0.0.1:1\nLISTEN: 127.0.0.1:2\n", "portero.yaml:7: LISTEN"},
		"two keys below, in case":            {session("lifetime: 1h, LIFETIME: 2h"), "portero.yaml:3: session.LIFETIME"},
		"a boolean in words":                 {sound + "reload: {watch: \"yes please\"}\n", "portero.yaml:6: reload.watch"},
		"yes":                                {sound + "reload: {watch: yes}\n", "portero.yaml:6: reload.watch"},
		"on":                                 {sound + "reload: {watch: on}\n", "portero.yaml:6: reload.watch"},
		"one":                                {sound + "reload: {watch: 1}\n", "portero.yaml:6: reload.watch"},
		"nothing for a boolean":              {route("preserve_host: \"\""), "portero.yaml:5: routes[0].preserve_host"},
		"a duration without unit":            {sound + "shutdown: {timeout: 30}\n", "portero.yaml:6: shutdown.timeout"},
		"a duration without unit, as a text": {sound + "shutdown: {timeout: \"30\"}\n", "portero.yaml:6: shutdown.timeout"},
		"a duration in days":                 {session("lifetime: 14d"), "portero.yaml:3: session.lifetime"},
		"a duration that is negative":        {session("idle_timeout: -1h"), "portero.yaml:3: session.idle_timeout"},
		"a duration that overflows":          {session("refresh_grace: 9999999999h"), "portero.yaml:3: session.refresh_grace"},
		"a duration with a comma":            {route("timeouts: {connect: \"1,5s\"}"), "portero.yaml:5: routes[0].timeouts.connect"},
		"a tab":                              {sound + "shutdown:\n\ttimeout: 30s\n", "portero.yaml:7:"},
		"a tab behind blanks":                {sound + "shutdown:\n  \ttimeout: 30s\n", "portero.yaml:7:"},
		"an anchor":                          {sound + "pages: {name: &a x}\n", "portero.yaml:6: pages.name"},
		"an alias":                           {sound + "pages: &a {name: x}\nlog: *a\n", "portero.yaml:7: log"},
		"a merge key":                        {sound + "pages: &a {name: x}\nlog: {<<: *a}\n", "portero.yaml:7:"},
		"laughs by the billion":              {sound + "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d]\n", "portero.yaml"},
		"a tag":                              {sound + "pages: {name: !!binary eA==}\n", "portero.yaml:6: pages.name"},
		"a tag of one's own":                 {sound + "pages: {name: !ruby/object x}\n", "portero.yaml:6: pages.name"},
		"a second document":                  {sound + "---\nlisten: 127.0.0.1:1\n", "portero.yaml:6:"},
		"ten megabytes":                      {sound + "# " + strings.Repeat("x", 10<<20) + "\n", "1 MiB"},
		"deep lists":                         {sound + "insecure: " + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + "\n", "portero.yaml"},
		"a list for a text":                  {sound + "listen: [127.0.0.1:1]\n", "portero.yaml:6: listen"},
		"a text for a list":                  {rewritten(t, sound, "[example.com]", "example.com"), "portero.yaml:4: email_domains"},
		"a number for a text of a list":      {route("methods: [7]"), "portero.yaml:5: routes[0].methods[0]"},
		"a section for a list":               {rewritten(t, sound, "upstream: http://127.0.0.1:8080", "routes: {name: r}"), "portero.yaml:5: routes"},
		"nothing for a list":                 {rewritten(t, sound, "[example.com]", "[]"), "portero.yaml"},
		"nothing for a text of a list":       {rewritten(t, sound, "[example.com]", "[\"\"]"), "portero.yaml:4: email_domains[0]"},
		"a word of another case":             {route("access: Public"), "portero.yaml:5: routes[0].access"},
		"an unknown word":                    {route("access: open"), "portero.yaml:5: routes[0].access"},
		"a port alone":                       {sound + "listen: 3000\n", "portero.yaml:6: listen"},
		"a port that is none":                {sound + "listen: 127.0.0.1:70000\n", "portero.yaml:6: listen"},
		"a network with bits to spare":       {sound + "trusted_proxies: [10.0.0.1/8]\n", "portero.yaml:6: trusted_proxies[0]"},
		"a network that is none":             {sound + "trusted_proxies: [10.0.0.0/99]\n", "portero.yaml:6: trusted_proxies[0]"},
		"a sexagesimal number":               {session("lifetime: 1:30:00"), "portero.yaml:3: session.lifetime"},
		"an octal number":                    {session("lifetime: 0o17"), "portero.yaml:3: session.lifetime"},
		"a domain with an at":                {rewritten(t, sound, "[example.com]", "[\"@example.com\"]"), "portero.yaml:4: email_domains[0]"},
		"a domain with a wildcard":           {rewritten(t, sound, "[example.com]", "[\"*.example.com\"]"), "portero.yaml:4: email_domains[0]"},
		"bytes that are not UTF-8":           {sound + "pages: {name: \"\xff\"}\n", "portero.yaml:6:"},
		"a byte order mark in the middle":    {sound + "\ufefflisten: 127.0.0.1:1\n", "portero.yaml:6:"},
		"allow beside its short form":        {sound + "allow: [{emails: [a@example.com]}]\n", "portero.yaml"},
		"an entry of allow that is empty":    {rewritten(t, sound, "email_domains: [example.com]", "allow: [{}]"), "portero.yaml:4: allow[0]"},
		"two routes alike":                   {rewritten(t, sound, "upstream: http://127.0.0.1:8080", `routes: [{name: a, path: /x, upstreams: [{url: "http://127.0.0.1:1"}]}, {name: b, path: /x/, upstreams: [{url: "http://127.0.0.1:2"}]}]`), "portero.yaml"},
		"a rule on a public route":           {route("path: /x, access: public, allow: [{emails: [a@example.com]}]"), "portero.yaml:5: routes[0].allow"},
		"an upstream with a path":            {rewritten(t, sound, "http://127.0.0.1:8080", "http://127.0.0.1:8080/app"), "portero.yaml:5: upstream"},
		"a prefix of everything":             {sound + "endpoints: {prefix: /}\n", "portero.yaml:6: endpoints.prefix"},
	} {
		run(t, p, "check", tt.text).refused(t, name, tt.at)
	}
	if got := run(t, p, "serve", sound+"colour: blue\n"); got.code != 2 || strings.Contains(got.out, "listening") {
		t.Errorf("serve starts with an unknown key: %+v", got)
	}
}
