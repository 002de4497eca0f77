package setup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"portero/internal/config"
	"portero/internal/demo/tenant"
	"portero/internal/gatewaytest"
	"portero/internal/mail"
	"portero/internal/setup"
)

// The key and the texts of a mail: no error may hold one of them.
const (
	mailKey  = "key-canary-77"
	mailText = "canary-of-the-mail"
)

// mailConfig is a configuration for a tenant with some deliveries (YAML), at an endpoint of Mailgun.
func mailConfig(t *testing.T, logto *gatewaytest.Tenant, endpoint, deliveries string) *config.Config {
	t.Helper()
	where := "{endpoint: http://127.0.0.1:1/, app_id: app, app_secret: not-asked-for, management: {app_id: m2m, app_secret: not-asked-for}}"
	if logto != nil {
		where = fmt.Sprintf("{endpoint: %q, management: {app_id: %s, app_secret: %s}}", logto.URL, logto.ManagementID, logto.ManagementSecret)
	}
	mailgun := "{}"
	if endpoint != "" {
		mailgun = fmt.Sprintf("{endpoint: %q, domain: mg.example.com, api_key: %s, from: \"Example <no-reply@mg.example.com>\", deliveries: [%s]}", endpoint, mailKey, deliveries)
	}
	text := fmt.Sprintf("external_url: https://wiki.example.com\nupstream: http://127.0.0.1:1\nallow: [{email_domains: [\"*\"]}]\nsession: {store: memory}\nlogto: %s\nmailgun: %s\n", where, mailgun)
	c, err := config.Load(config.Options{Path: "portero.yaml", Text: []byte(text), WorkDir: t.TempDir(), Setup: true})
	if err != nil {
		t.Fatalf("the configuration:\n%v", err)
	}
	return c
}

// mailgun is Mailgun as a transport: it keeps the fields of the last mail, or answers with a status.
type mailgun struct {
	status int

	mu   sync.Mutex
	to   string
	form map[string]string
}

func (m *mailgun) RoundTrip(req *http.Request) (*http.Response, error) {
	_, params, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	form := map[string]string{}
	for parts := multipart.NewReader(bytes.NewReader(body), params["boundary"]); ; {
		part, err := parts.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return nil, err
		}
		form[part.FormName()] = string(value)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.to, m.form = req.Method+" "+req.URL.String(), form
	return &http.Response{
		StatusCode: m.status, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(fmt.Sprintf(`{"message":"%s %s"}`, mailKey, mailText))), // the worst that could come back
	}, nil
}

func withoutMail(t *testing.T, err error) {
	t.Helper()
	for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err)} {
		for _, canary := range []string{mailKey, mailText, setup.TestCode} {
			if strings.Contains(text, canary) {
				t.Errorf("error %q holds %q", text, canary)
			}
		}
	}
}

const (
	signIn   = `{usage: SignIn, subject: "Sign in {{code}} at {{brand}}", html: "<p>{{code}} {{brand}} canary-of-the-mail</p>", text: "{{code}} {{brand}}", reply_to: help@example.com, variables: [{name: brand, value: A&B}]}`
	bare     = `{usage: ForgotPassword, subject: "Forgot", html: "<p>{{code}}</p>"}`
	register = `{usage: Register, subject: "Welcome", template: welcome, reply_to: "Help <help@example.com>", variables: [{name: brand, value: Example}]}`
	generic  = `{usage: Generic, subject: "Generic {{code}}", html: "<p>generic {{code}}</p>", text: "generic {{code}}"}`
)

func TestTestEmailThatCannotBe(t *testing.T) {
	t.Parallel()
	m := &mailgun{status: 200}
	for name, tt := range map[string]struct {
		test       setup.TestEmail
		endpoint   string
		deliveries string
		want       error
		says       string
	}{
		"no address":            {setup.TestEmail{To: "nobody", Usage: mail.SignIn}, "https://api.mailgun.net", "", setup.ErrTestEmail, "nobody"},
		"two addresses":         {setup.TestEmail{To: "a@example.com,b@example.com", Usage: mail.SignIn}, "https://api.mailgun.net", "", setup.ErrTestEmail, "one address"},
		"a name with it":        {setup.TestEmail{To: "A <a@example.com>", Usage: mail.SignIn}, "https://api.mailgun.net", "", setup.ErrTestEmail, "one address"},
		"a comment with it":     {setup.TestEmail{To: "a@example.com (A)", Usage: mail.SignIn}, "https://api.mailgun.net", "", setup.ErrTestEmail, "one address"},
		"a header":              {setup.TestEmail{To: "a@example.com\r\nBcc: b@example.com", Usage: mail.SignIn}, "https://api.mailgun.net", "", setup.ErrTestEmail, "one address"},
		"unknown usage":         {setup.TestEmail{To: "a@example.com", Usage: "signin"}, "https://api.mailgun.net", "", setup.ErrTestEmail, "ForgotPassword"},
		"nothing is configured": {setup.TestEmail{To: "a@example.com", Usage: mail.SignIn}, "", "", nil, "mailgun.domain"},
		"no delivery for it":    {setup.TestEmail{To: "a@example.com", Usage: mail.Register}, "https://api.mailgun.net", signIn, mail.ErrNoDelivery, "the short default mail"},
	} {
		c := mailConfig(t, nil, tt.endpoint, tt.deliveries)
		client, err := setup.NewClient(c)
		if err != nil {
			t.Fatal(err)
		}
		_, direct := tt.test.Direct(t.Context(), c, &http.Client{Transport: m})
		_, through := tt.test.ThroughLogto(t.Context(), client, c)
		for _, err := range []error{direct, through} {
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%s: got error %v, want %v that says %q", name, err, tt.want, tt.says)
			}
		}
	}
	if m.to != "" {
		t.Errorf("something was sent: %s", m.to)
	}
}

// What Logto's connector sends in its test is what goes to Mailgun directly, field by field.
func TestTestEmailIsTheSameOnBothWays(t *testing.T) {
	t.Parallel()
	var got tenant.Mail
	logto := gatewaytest.NewTenant(t, gatewaytest.TenantOptions{Send: func(_ context.Context, m tenant.Mail) error { got = m; return nil }})
	all := strings.Join([]string{signIn, bare, register, generic}, ", ")
	variables := `{"brand":"Example","code":"000000"}`
	for _, tt := range []struct {
		name, endpoint, deliveries, usage string
		made                              string            // the usage whose delivery it is
		want                              map[string]string // without from and to; nil: only both the same
	}{
		{"html", "https://api.mailgun.net", all, mail.SignIn, mail.SignIn, map[string]string{
			"subject": "Sign in 000000 at A&B", "html": "<p>000000 A&amp;B canary-of-the-mail</p>", "text": "000000 A&B", "h:Reply-To": "help@example.com",
		}},
		{"html alone", "https://api.eu.mailgun.net", all, mail.ForgotPassword, mail.ForgotPassword, map[string]string{"subject": "Forgot", "html": "<p>000000</p>"}},
		{"template", "https://api.eu.mailgun.net", all, mail.Register, mail.Register, map[string]string{
			"subject": "Welcome", "template": "welcome", "h:Reply-To": "Help <help@example.com>", "h:X-Mailgun-Variables": variables,
		}},
		{"Generic", "https://api.mailgun.net", all, mail.Generic, mail.Generic, map[string]string{"subject": "Generic 000000", "html": "<p>generic 000000</p>", "text": "generic 000000"}},
		{"Generic stands in", "https://api.eu.mailgun.net", generic, mail.SignIn, mail.Generic, map[string]string{"subject": "Generic 000000", "html": "<p>generic 000000</p>", "text": "generic 000000"}},
		{"the default", "https://api.eu.mailgun.net", "", mail.SignIn, mail.SignIn, nil},
		{"the default of another usage", "https://api.mailgun.net", "", mail.Register, mail.Register, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := mailConfig(t, logto, tt.endpoint, tt.deliveries)
			client, err := setup.NewClient(c)
			if err != nil {
				t.Fatal(err)
			}
			test := setup.TestEmail{To: "Who@Example.com", Usage: tt.usage}
			m := &mailgun{status: 200}
			made, err := test.Direct(t.Context(), c, &http.Client{Transport: m})
			if err != nil || made != tt.made {
				t.Fatalf("direct: got the delivery %q and error %v, want %q", made, err, tt.made)
			}
			if made, err = test.ThroughLogto(t.Context(), client, c); err != nil || made != tt.made {
				t.Fatalf("through Logto: got the delivery %q and error %v, want %q", made, err, tt.made)
			}
			through := map[string]string{}
			for _, f := range got.Form {
				through[f.Name] = f.Value
			}
			if diff := cmp.Diff(through, m.form); diff != "" {
				t.Errorf("(-through Logto +direct):\n%s", diff)
			}
			if tt.want != nil {
				want := map[string]string{"from": "Example <no-reply@mg.example.com>", "to": "Who@Example.com"}
				maps.Copy(want, tt.want)
				if diff := cmp.Diff(want, m.form); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
			if want := "POST " + tt.endpoint + "/v3/mg.example.com/messages"; m.to != want || "POST "+got.URL != want || got.APIKey != mailKey {
				t.Errorf("got %q direct and %q through Logto, want %q", m.to, got.URL, want)
			}
		})
	}
	if changed := logto.Requests(); len(changed) != 7 || len(slices.Compact(changed)) != 1 || changed[0] != "POST /api/connectors/mailgun-email/test" {
		t.Errorf("requests: got %q, want tests alone", changed)
	}
}

func TestTestEmailThatFails(t *testing.T) {
	t.Parallel()
	c := mailConfig(t, nil, "https://api.mailgun.net", generic)
	for status, says := range map[int]string{401: "mailgun.api_key", 404: "mailgun.domain", 400: "mailgun.from", 503: "trouble"} {
		_, err := setup.TestEmail{To: "a@example.com", Usage: mail.SignIn}.Direct(t.Context(), c, &http.Client{Transport: &mailgun{status: status}})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("direct, %d: got error %v, want one that says %s", status, err, says)
			continue
		}
		withoutMail(t, err)
	}
	for name, tt := range map[string]struct {
		send     error
		endpoint string
		says     string
		hints    []string
	}{
		"wrong key, or region": {&tenant.MailError{Status: 401, Body: mailKey + " " + mailText}, "https://api.mailgun.net", "does not take the key",
			[]string{"mailgun.api_key", "mailgun.endpoint: https://api.eu.mailgun.net", "portero doctor", "--direct"}},
		"no such domain, or region": {&tenant.MailError{Status: 404, Body: mailKey + " " + mailText}, "https://api.eu.mailgun.net", "does not know the domain",
			[]string{"mailgun.domain", "any other https://api.mailgun.net", "portero doctor", "--direct"}},
		"Mailgun refuses":      {&tenant.MailError{Status: 400, Body: mailKey + " " + mailText}, "https://api.mailgun.net", "status 400", []string{"mailgun.from", "--direct"}},
		"Mailgun in trouble":   {&tenant.MailError{Status: 503, Body: mailKey + " " + mailText}, "https://api.mailgun.net", "status 503", []string{"try again later", "--direct"}},
		"Mailgun is away":      {errors.New("connect ECONNREFUSED"), "https://api.mailgun.net", "could not reach Mailgun", []string{"mailgun.endpoint", "--direct"}},
		"the endpoint is none": {nil, "http://127.0.0.1:1", "at endpoint", []string{"mailgun.endpoint to https://api.mailgun.net", ".mailgun.net"}},
	} {
		logto := gatewaytest.NewTenant(t, gatewaytest.TenantOptions{Send: func(context.Context, tenant.Mail) error { return tt.send }})
		c := mailConfig(t, logto, tt.endpoint, signIn)
		client, err := setup.NewClient(c)
		if err != nil {
			t.Fatal(err)
		}
		_, err = setup.TestEmail{To: "a@example.com", Usage: mail.SignIn}.ThroughLogto(t.Context(), client, c)
		var advice interface{ Hint() string }
		if !errors.As(err, &advice) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got error %v, want one that says %q, with a hint", name, err, tt.says)
			continue
		}
		withoutMail(t, err)
		for _, words := range tt.hints {
			if hint := advice.Hint(); !strings.Contains(hint, words) || strings.Contains(hint, mailKey) {
				t.Errorf("%s: got the hint %q, want it to say %q, and no key", name, hint, words)
			}
		}
	}
}

// A usage that is left to the default mail has none to try: what is said is what setup does, and what to write.
func TestTestEmailOfTheDefaultBesideOthers(t *testing.T) {
	t.Parallel()
	c := mailConfig(t, nil, "https://api.mailgun.net", signIn)
	m := &mailgun{status: 200}
	_, err := setup.TestEmail{To: "a@example.com", Usage: mail.Register}.Direct(t.Context(), c, &http.Client{Transport: m})
	var advice interface{ Hint() string }
	if !errors.As(err, &advice) || !errors.Is(err, mail.ErrNoDelivery) || m.to != "" {
		t.Fatalf("got %v, want ErrNoDelivery with a hint, and no mail", err)
	}
	for _, words := range []string{"for Register", "portero setup apply gives Logto the short default mail"} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("got %q, want it to say %q", err, words)
		}
	}
	if want := "add an entry with usage: Register, or one with usage: Generic for all that have none, to mailgun.deliveries"; advice.Hint() != want {
		t.Errorf("got the hint %q, want %q", advice.Hint(), want)
	}
	// It is true.
	d := setup.NewDesired(c)
	own := mail.Default(mail.Register, "wiki.example.com")
	if got := d.Email.Deliveries[mail.Register]; got["subject"] != own.Subject || got["html"] != own.HTML || got["text"] != own.Text {
		t.Errorf("setup has %v for Register, want the default", got)
	}
	if got := d.Email.Deliveries[mail.SignIn]["replyTo"]; got != "help@example.com" {
		t.Errorf("setup has the reply address %v for SignIn, want what is configured", got)
	}
}
