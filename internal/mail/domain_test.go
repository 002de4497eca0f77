package mail_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mailgun/mailgun-go/v5/mocks"

	"portero/internal/mail"
)

// region is one of Mailgun's: what it answers when it is asked for the domain, and when it is sent a mail.
type region struct {
	domain, mail int    // status
	kind         string // "": JSON
	text         string // of the answer about the domain; "": the key and the mail, as the worst that could come back
}

func (r *region) start(t *testing.T, mails *atomic.Int32) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		asked, _ := io.ReadAll(req.Body)
		if user, password, _ := req.BasicAuth(); user != "api" || password != key {
			t.Errorf("%s %s: asked with another key", req.Method, req.URL)
		}
		kind := r.kind
		if kind == "" {
			kind = "application/json"
		}
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Location", "/elsewhere?"+key)
		switch req.Method + " " + req.URL.Path {
		case "GET /v4/domains/mg.example.com":
			w.WriteHeader(r.domain)
			if r.text != "" {
				io.WriteString(w, r.text)
				return
			}
		case "POST /v3/mg.example.com/messages":
			if form, err := fields(req.Header.Get("Content-Type"), asked); err != nil || form["to"] != "" || form["from"] != "" || form["o:testmode"] != "yes" {
				t.Errorf("got fields %v and error %v, want nothing that could be sent", form, err)
			}
			mails.Add(1)
			w.WriteHeader(r.mail)
		default:
			t.Errorf("got %s %s", req.Method, req.URL)
			w.WriteHeader(http.StatusTeapot)
		}
		fmt.Fprintf(w, "%s %s %s %s", key, code, body, asked)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// answer is what Mailgun says about a domain, with more in it than is wanted.
func answer(state string, disabled bool, records ...map[string]any) string {
	text, err := json.Marshal(map[string]any{
		"domain": map[string]any{
			"name": "mg.example.com", "state": state, "is_disabled": disabled, "created_at": "no time", "smtp_password": key, "smtp_login": body,
		},
		"sending_dns_records": records, "receiving_dns_records": []any{},
	})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func record(kind, name, valid string) map[string]any {
	return map[string]any{"record_type": kind, "name": name, "valid": valid, "value": "v=spf1 " + body, "cached": []string{body}, "is_active": true}
}

func TestDomain(t *testing.T) {
	t.Parallel()
	spf, dkim := record("TXT", "mg.example.com", "valid"), record("TXT", "k1._domainkey.mg.example.com", "valid")
	good := &region{domain: 200, text: answer("active", false, spf, dkim)}
	nobody := &region{domain: 401, mail: 401}
	tests := []struct {
		name        string
		here, there *region // there nil: no other region
		want        mail.DomainState
		err         error  // nil: none
		says        string // in the error
		elsewhere   bool   // want.Elsewhere is there's
		mails       int32  // messages that nobody gets
	}{
		{name: "the key is wrong", here: nobody, there: nobody, want: mail.DomainState{State: mail.KeyRefused}, mails: 2},
		{name: "the key is forbidden", here: &region{domain: 403, mail: 403}, want: mail.DomainState{State: mail.KeyRefused}, mails: 1},
		{name: "a sending key", here: &region{domain: 401, mail: 400}, there: nobody, want: mail.DomainState{State: mail.DomainUnknown}, mails: 1},
		{name: "a sending key that is forbidden to read", here: &region{domain: 403, mail: 400}, want: mail.DomainState{State: mail.DomainUnknown}, mails: 1},
		{name: "a sending key of another domain", here: &region{domain: 401, mail: 404}, want: mail.DomainState{State: mail.DomainAbsent}, mails: 1},
		{name: "a sending key of the other region", here: nobody, there: &region{domain: 401, mail: 400}, want: mail.DomainState{State: mail.KeyRefused}, elsewhere: true, mails: 2},
		{name: "no such domain", here: &region{domain: 404}, there: &region{domain: 404}, want: mail.DomainState{State: mail.DomainAbsent}},
		{name: "no such domain, and no other region", here: &region{domain: 404}, want: mail.DomainState{State: mail.DomainAbsent}},
		{name: "in the other region", here: &region{domain: 404}, there: good, want: mail.DomainState{State: mail.DomainAbsent}, elsewhere: true},
		{name: "in the other region, where the key is another", here: nobody, there: good, want: mail.DomainState{State: mail.KeyRefused}, elsewhere: true, mails: 1},
		{name: "the other region has trouble", here: &region{domain: 404}, there: &region{domain: 503}, want: mail.DomainState{State: mail.DomainAbsent}},
		{name: "the other region refuses the key", here: &region{domain: 404}, there: nobody, want: mail.DomainState{State: mail.DomainAbsent}, mails: 1},
		{name: "the key is known elsewhere, the domain nowhere", here: nobody, there: &region{domain: 404}, want: mail.DomainState{State: mail.KeyRefused}, elsewhere: true, mails: 1},
		{name: "active", here: good, there: nobody, want: mail.DomainState{State: mail.DomainActive}},
		{
			name: "unverified", here: &region{domain: 200, text: answer("unverified", false, record("TXT", "mg.example.com", "invalid"), dkim, record("CNAME", "email.mg.example.com", "unknown"))},
			want: mail.DomainState{State: mail.DomainUnverified, Missing: []mail.DNSRecord{{Type: "TXT", Name: "mg.example.com", Valid: "invalid"}, {Type: "CNAME", Name: "email.mg.example.com", Valid: "unknown"}}},
		},
		{name: "disabled", here: &region{domain: 200, text: answer("active", true)}, want: mail.DomainState{State: mail.DomainDisabled}},
		{name: "disabled, by its state", here: &region{domain: 200, text: answer("disabled", false)}, want: mail.DomainState{State: mail.DomainDisabled}},
		{name: "a word that is not known here", here: &region{domain: 200, text: answer(body, false)}, want: mail.DomainState{State: mail.DomainUnknown}},
		{
			name: "records with anything in them", here: &region{domain: 200, text: answer("unverified", false, record(body+key, "a b\n"+key, body))},
			want: mail.DomainState{State: mail.DomainUnverified, Missing: []mail.DNSRecord{{Type: "DNS", Valid: "unknown"}}},
		},
		{name: "a web page", here: &region{domain: 200, kind: "text/html; charset=utf-8", text: "<p>" + key}, there: good, err: mail.ErrRefused, says: "mailgun.endpoint"},
		{name: "something else", here: &region{domain: 200, text: `{"message":"` + key + `"}`}, err: mail.ErrRefused, says: "mailgun.endpoint"},
		{name: "no JSON", here: &region{domain: 200, kind: "text/plain", text: key}, err: mail.ErrRefused, says: "mailgun.endpoint"},
		{name: "a redirect", here: &region{domain: 307}, err: mail.ErrRefused, says: "redirect"},
		{name: "not understood", here: &region{domain: 400}, err: mail.ErrRefused, says: "mailgun.domain"},
		{name: "too many calls", here: &region{domain: 429}, there: good, err: mail.ErrUnavailable, says: "too many"},
		{name: "trouble", here: &region{domain: 503}, err: mail.ErrUnavailable, says: "trouble"},
		{name: "trouble with the second question", here: &region{domain: 401, mail: 500}, err: mail.ErrUnavailable, says: "trouble", mails: 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var mails atomic.Int32
			cfg := mail.Config{Endpoint: test.here.start(t, &mails), Domain: "mg.example.com", APIKey: key, From: "no-reply@mg.example.com"}
			if test.there != nil {
				cfg.Other = test.there.start(t, &mails)
			}
			m, err := mail.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			got, err := m.Domain(t.Context())
			if !errors.Is(err, test.err) {
				t.Fatalf("got error %v, want %v", err, test.err)
			}
			if err != nil {
				withoutSecrets(t, err)
				if !strings.Contains(err.Error(), test.says) {
					t.Errorf("got error %q, want it to say %q", err, test.says)
				}
			}
			if test.elsewhere {
				test.want.Elsewhere = cfg.Other
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := mails.Load(); got != test.mails {
				t.Errorf("messages that nobody gets: got %d, want %d", got, test.mails)
			}
		})
	}
}

func TestDomainAgainstMailgunsMock(t *testing.T) {
	t.Parallel()
	server := mocks.NewServer()
	t.Cleanup(server.Stop)
	before := len(server.Events())
	for domain, want := range map[string]mail.DomainState{
		"mailgun.test":   {State: mail.DomainActive},
		"mg.example.com": {State: mail.DomainAbsent},
	} {
		m, err := mail.New(mail.Config{Endpoint: server.URL(), Domain: domain, APIKey: key, From: "no-reply@" + domain})
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Domain(t.Context())
		if err != nil {
			t.Errorf("%s: %v", domain, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", domain, diff)
		}
	}
	if got := len(server.Events()); got != before {
		t.Errorf("asking sent something: got %d events more", got-before)
	}
}

// Which region is the other one where the endpoint is Mailgun's.
func TestTheOtherRegion(t *testing.T) {
	t.Parallel()
	for endpoint, want := range map[string][]string{
		"":                            {"api.mailgun.net", "api.eu.mailgun.net"},
		"https://api.eu.mailgun.net/": {"api.eu.mailgun.net", "api.mailgun.net"},
		"https://mailgun.example":     {"mailgun.example"},
	} {
		asked := &absent{}
		m := newMailer(t, endpoint, &http.Client{Transport: asked})
		if got, err := m.Domain(t.Context()); err != nil || got.State != mail.DomainAbsent {
			t.Errorf("%s: got %+v and error %v", endpoint, got, err)
		}
		if diff := cmp.Diff(want, asked.hosts); diff != "" {
			t.Errorf("%s: hosts that were asked (-want +got):\n%s", endpoint, diff)
		}
	}
}

// absent is a Mailgun without domains.
type absent struct{ hosts []string }

func (a *absent) RoundTrip(req *http.Request) (*http.Response, error) {
	a.hosts = append(a.hosts, req.URL.Host)
	return &http.Response{StatusCode: http.StatusNotFound, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

func TestDomainOfASlowServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := newMailer(t, "", &http.Client{Transport: silent{}}).Domain(t.Context())
		if !errors.Is(err, mail.ErrUnavailable) || !strings.Contains(err.Error(), "in time") {
			t.Errorf("got error %v, want ErrUnavailable that says the time was up", err)
		}
		withoutSecrets(t, err)
		if got := time.Since(start); got != mail.Timeout {
			t.Errorf("gave up after %v, want %v", got, mail.Timeout)
		}
	})
}
