package gatewaytest

import (
	"context"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// SessionSecret seals what a program keeps, where a rig's options say nothing else.
const SessionSecret = "session-secret-of-programs-under-test-32-bytes-and-more"

// Canary begins every value of a test that must appear in no log, metric and page: a test may put it into queries,
// cookies and headers, and never into paths.
const Canary = "canary-"

// shortestSecret is the length from which on a value is looked for: a shorter one may stand anywhere.
const shortestSecret = 8

// pagesKept bounds how much of the pages of a program is kept for the search at its end.
const pagesKept = 8 << 20

// startProgram is New for Options.Program.
func (r *Rig) startProgram(t testing.TB, o *Options) {
	t.Helper()
	r.URL, r.Second, r.TLS = "https://"+Host, "https://"+SecondHost, o.TLS
	if o.TLS {
		r.Cert, r.Key = Certificate(t)
	}
	r.Process = NewProcess(t, "the program")
	r.Process.Env = o.Env
	r.Log = &r.Process.Log
	r.Configure(o)
	// Runs before the process is ended, which Cleanup does in the opposite order.
	t.Cleanup(func() { r.searchSecrets(t) })
	r.startProcess(t)
}

func (r *Rig) startProcess(t testing.TB) {
	t.Helper()
	if !r.Process.Start() {
		t.FailNow()
	}
	r.Addr, _ = r.Process.Addresses()
}

// serverName is the name in a TLS handshake.
func (r *Rig) serverName() string {
	if r.Process != nil {
		return Host
	}
	return "localhost"
}

// serverNameOf is the name in a TLS handshake for a request to a host.
func (r *Rig) serverNameOf(host string) string {
	_, second, _ := strings.Cut(r.Second, "://")
	name := func(host string) string { name, _, _ := strings.Cut(host, ":"); return name }
	if name(host) == name(second) {
		return name(second) // an address is named in no handshake
	}
	return r.serverName()
}

// programBrowser is Browser for a program: its hosts are where it listens at that moment, and https is plain where
// something else is thought to end TLS.
func (r *Rig) programBrowser(t testing.TB) *Browser {
	b := NewBrowser(t, nil)
	transport := b.client.Transport.(*http.Transport)
	there := transport.DialContext
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		if host, _, err := net.SplitHostPort(addr); err == nil && (host == Host || host == SecondHost) {
			addr = r.Addr
		}
		return there(ctx, network, addr)
	}
	transport.DialContext = dial
	if !r.TLS {
		transport.DialTLSContext = dial
	}
	b.seen = func(resp *Response) {
		for _, c := range resp.Cookies() {
			if strings.HasPrefix(c.Name, r.Cookie()) && c.Name != r.Cookie()+"-lang" {
				r.Secret(c.Value, "cookie "+c.Name)
			}
		}
		if host := resp.Request.URL.Hostname(); host == Host || host == SecondHost {
			r.page(resp.Text)
		}
	}
	return b
}

// Secret says that a value must appear in no log, metric or page until the end of the test.
func (r *Rig) Secret(value, what string) {
	if len(value) < shortestSecret {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.secrets == nil {
		r.secrets = map[string]string{}
	}
	r.secrets[value] = what
}

// page keeps a body of the gateway for the search at the end.
func (r *Rig) page(body string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pages.Len() < pagesKept {
		r.pages.WriteString(body)
		r.pages.WriteByte('\n')
	}
}

// Keep says that a text is to be searched for secrets too, such as what a command has printed or a file holds.
func (r *Rig) Keep(where, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept == nil {
		r.kept = map[string]string{}
	}
	r.kept[where] += text
}

// searchSecrets fails the test if anything secret was told: in the log, in metrics, on a page or by the admin listener.
func (r *Rig) searchSecrets(t testing.TB) {
	secrets := map[string]string{}
	if r.Issuer != nil {
		secrets = r.Issuer.Secrets()
	}
	r.mu.Lock()
	maps.Copy(secrets, r.secrets)
	pages, kept := r.pages.String(), maps.Clone(r.kept)
	r.mu.Unlock()
	maps.Copy(secrets, map[string]string{SessionSecret: "session.secret", AdminToken: "admin.token", Canary: "a canary"})
	delete(secrets, "")
	texts := map[string]string{"a page": pages, "the log": r.Log.String()}
	maps.Copy(texts, kept)
	if r.Process.Running() {
		for _, path := range []string{"/metrics", "/readyz?verbose", "/api/status", "/api/sessions"} {
			texts["the admin listener's "+path] = r.Admin(t, http.MethodGet, path).Text
		}
	}
	forms := map[string]string{} // :: secret, also as it stands in a query → what it is
	for value, what := range secrets {
		forms[value], forms[url.QueryEscape(value)] = what, what
	}
	sought := newNeedles(slices.Collect(maps.Keys(forms)))
	for _, where := range slices.Sorted(maps.Keys(texts)) {
		text := texts[where]
		sought.in(text, func(form string, at int) {
			t.Errorf("%s has the %s: …%q…", where, forms[form], text[max(0, at-100):min(len(text), at+len(form)+100)])
		})
	}
}

// Hangup makes a program read its configuration again, and returns the line in which it says what came of it.
func (r *Rig) Hangup(t testing.TB) string {
	t.Helper()
	from := len(r.Log.String())
	r.Process.Hangup()
	var said string
	Await(t, "a word about the reload", func() bool {
		for line := range strings.Lines(r.Log.String()[from:]) {
			if strings.Contains(line, "configuration reloaded") || strings.Contains(line, "reload failed") {
				said = line
				return strings.HasSuffix(line, "\n")
			}
		}
		return false
	})
	return said
}
