package doctor

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"portero/internal/config"
	"portero/internal/gatewaytest"
)

// mailgunFake is both regions of Mailgun, which know the key and the domain mg.example.com. The fields may be changed
// before the checks run.
type mailgunFake struct {
	url, elsewhere string // of the two regions
	// here and there are what the regions say.
	here, there region

	mu   sync.Mutex
	sent []string // bodies of mails
}

type region struct {
	domain, mail int // status of the answers about the domain, and to a mail
	state        string
	disabled     bool
	records      []map[string]any
	page         bool // a web page answers
}

func newMailgun(t *testing.T) *mailgunFake {
	t.Helper()
	f := &mailgunFake{here: region{domain: 200, mail: 400, state: "active"}, there: region{domain: 404, mail: 404}}
	serve := func(r *region) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if _, password, _ := req.BasicAuth(); password != apiKey {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			if r.page {
				w.Header().Set("Content-Type", "text/html")
			}
			answer := map[string]any{"message": foreignText + apiKey}
			status := r.mail
			if req.Method == http.MethodGet {
				if status = r.domain; status == 200 {
					name := req.URL.Path[strings.LastIndexByte(req.URL.Path, '/')+1:]
					answer = map[string]any{"domain": map[string]any{"name": name, "state": r.state, "is_disabled": r.disabled, "smtp_password": apiKey}, "sending_dns_records": r.records}
				}
			} else if err := req.ParseMultipartForm(1 << 20); err == nil && req.FormValue("to") != "" {
				f.mu.Lock()
				f.sent = append(f.sent, req.FormValue("to"))
				f.mu.Unlock()
			}
			w.WriteHeader(status)
			json.NewEncoder(w).Encode(answer)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	f.url, f.elsewhere = serve(&f.here), serve(&f.there)
	return f
}

func record(kind, name, valid string) map[string]any {
	return map[string]any{"record_type": kind, "name": name, "valid": valid, "value": foreignText, "cached": []string{foreignText}}
}

func TestMailgunChecks(t *testing.T) {
	t.Parallel()
	forward(t, []row{
		{
			name: "key not accepted", change: func(w *world) {
				w.mailgun.here, w.mailgun.there = region{domain: 401, mail: 401}, region{domain: 401, mail: 401}
			},
			check: "mailgun-domain", want: Failed, says: []string{"mailgun.api_key", "not accepted", "Sending keys"}, skips: "mailgun-delivery",
		},
		{
			name: "key in a file", change: func(w *world) {
				w.replace("api_key: "+apiKey, "api_key_file: "+w.file("key", apiKey))
				w.mailgun.here, w.mailgun.there = region{domain: 401, mail: 401}, region{domain: 401, mail: 401}
			},
			check: "mailgun-domain", want: Failed, says: []string{"mailgun.api_key_file"}, skips: "mailgun-delivery",
		},
		{
			name: "domain unknown", change: func(w *world) { w.mailgun.here.domain = 404 },
			check: "mailgun-domain", want: Failed, says: []string{"no such domain", "mailgun.domain", "mg.example.com"}, skips: "mailgun-delivery",
		},
		{
			name: "domain in the other region", change: func(w *world) { w.mailgun.here.domain = 404; w.mailgun.there = region{domain: 200, state: "active"} },
			check: "mailgun-domain", want: Failed, says: []string{"mailgun.endpoint: {elsewhere}", "portero setup apply"}, skips: "mailgun-delivery",
		},
		{
			name: "key of the other region", change: func(w *world) { w.mailgun.here = region{domain: 401, mail: 401}; w.mailgun.there.domain = 200 },
			check: "mailgun-domain", want: Failed, says: []string{"mailgun.endpoint: {elsewhere}"}, skips: "mailgun-delivery",
		},
		{
			name: "a web page", change: func(w *world) { w.mailgun.here.page = true },
			check: "mailgun-domain", want: Failed, says: []string{"mailgun.endpoint"}, skips: "mailgun-delivery",
		},
		{
			name: "trouble", change: func(w *world) { w.mailgun.here.domain = 503 },
			check: "mailgun-domain", want: Failed, says: []string{"status.mailgun.com"}, skips: "mailgun-delivery",
		},
		{
			name: "a sending key", change: func(w *world) { w.mailgun.here.domain = 401 },
			check: "mailgun-delivery", want: Skipped, says: []string{"sending key", "portero setup test-email"},
		},
		{
			name: "unverified", change: func(w *world) {
				w.mailgun.here.state = "unverified"
				w.mailgun.here.records = []map[string]any{record("TXT", "mg.example.com", "invalid"), record("TXT", "k1._domainkey.mg.example.com", "valid"), record("CNAME", "email.mg.example.com", "unknown")}
			},
			check: "mailgun-delivery", want: Failed, says: []string{"not verified", "TXT mg.example.com, CNAME email.mg.example.com", "DNS"},
		},
		{
			name: "verified, and a record is missing", change: func(w *world) { w.mailgun.here.records = []map[string]any{record("TXT", "mg.example.com", "invalid")} },
			check: "mailgun-delivery", want: Warning, says: []string{"TXT mg.example.com"},
		},
		{
			name: "disabled", change: func(w *world) { w.mailgun.here.disabled = true },
			check: "mailgun-delivery", want: Failed, says: []string{"disabled", "support"},
		},
		{
			name: "sandbox", change: func(w *world) {
				w.replace("domain: mg.example.com", "domain: sandbox0123.mailgun.org")
				w.replace("no-reply@mg.example.com", "no-reply@sandbox0123.mailgun.org")
			},
			check: "mailgun-delivery", want: Warning, says: []string{"authorized recipients", "mailgun.domain"}, also: []string{"logto-connector", "logto-drift"},
		},
		{
			name: "sender of another domain", change: func(w *world) { w.replace("no-reply@mg.example.com", "Wiki <no-reply@example.org>") },
			check: "mailgun-from", want: Warning, says: []string{"example.org", "mailgun.from: no-reply@mg.example.com"}, also: []string{"logto-connector", "logto-drift"},
		},
		{
			name: "sender of the domain above", change: func(w *world) { w.replace("no-reply@mg.example.com", "Wiki <no-reply@example.com>") },
			check: "mailgun-from", want: OK, also: []string{"logto-connector", "logto-drift"},
		},
		{
			name: "sender of a domain below", change: func(w *world) { w.replace("no-reply@mg.example.com", "Wiki <no-reply@eu.mg.example.com>") },
			check: "mailgun-from", want: OK, says: []string{"eu.mg.example.com"}, also: []string{"logto-connector", "logto-drift"},
		},
		{
			name: "sender of a domain that ends alike", change: func(w *world) { w.replace("no-reply@mg.example.com", "Wiki <no-reply@amg.example.com>") },
			check: "mailgun-from", want: Warning, says: []string{"amg.example.com", "mailgun.from", "mailgun.domain"}, also: []string{"logto-connector", "logto-drift"},
		},
		{
			name: "sender that is none", change: func(w *world) { w.adjust = func(c *config.Config) { c.Mailgun.From = "nobody" } },
			check: "mailgun-from", want: Failed, says: []string{"mailgun.from: no-reply@mg.example.com"}, also: []string{"logto-connector", "logto-drift", "mailgun-domain"},
		},
		{
			name: "endpoint that is none", change: func(w *world) {
				w.adjust = func(c *config.Config) { c.Mailgun.Endpoint = &url.URL{Scheme: "ftp", Host: "api.mailgun.net"} }
			},
			check: "mailgun-domain", want: Failed, says: []string{"mailgun.endpoint: https://api.mailgun.net or https://api.eu.mailgun.net"}, skips: "mailgun-delivery", also: []string{"logto-connector", "logto-drift"},
		},
		{
			name: "a record whose name is not told", change: func(w *world) { w.mailgun.here.records = []map[string]any{record("TXT", "no name at all", "invalid")} },
			check: "mailgun-delivery", want: Warning, says: []string{"TXT (see Mailgun's console)"},
		},
		{
			name: "not configured", change: func(w *world) { w.text = dropLine(w.text, "mailgun:") },
			check: "mailgun-domain", want: Skipped, says: []string{"mailgun.domain", "mailgun.api_key"},
		},
	})
}

// Nothing is changed at Mailgun, and nobody gets a mail.
func TestMailgunIsOnlyAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gatewaytest.TenantOptions{})
	w.mailgun.here.domain = 401
	w.run()
	if len(w.mailgun.sent) > 0 {
		t.Errorf("mails went to %q, want none", w.mailgun.sent)
	}
}
