package demo_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"portero/internal/config"
	"portero/internal/demo"
	"portero/internal/demo/tenant"
	"portero/internal/gatewaytest"
	"portero/internal/mail"
	"portero/internal/setup"
)

// TestSetUp sets the demonstration's tenant up as an operator would, and signs somebody in to a second gateway by what that gave. The mail
// has the looks of the new connector and is in the mailbox all the same.
func TestSetUp(t *testing.T) {
	t.Parallel()
	d := start(t, demo.Config{})
	file := filepath.Join(t.TempDir(), "secret")
	text := fmt.Sprintf(`
external_url: http://localhost:3999
logto: {endpoint: "%s", app_secret_file: "%s", management: {app_id: %s, app_secret: %s}, sign_in: {registration: open}}
mailgun:
  domain: mg.example.com
  api_key: key-that-nobody-has
  from: "Wiki <no-reply@mg.example.com>"
  deliveries: [{usage: Generic, subject: "Wiki: {{code}}", html: "<p>{{code}}</p>", text: "The code of the wiki is {{code}}"}]
email_domains: ["*"]
upstream: http://127.0.0.1:1
`, d.Logto.Endpoint, file, d.Logto.Management.AppID, d.Logto.Management.AppSecret)
	cfg, err := config.Load(config.Options{Path: "portero.yaml", Text: []byte(text), Setup: true})
	if err != nil {
		t.Fatal(err)
	}
	client, err := setup.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	desired := setup.NewDesired(cfg)
	plan := func() *setup.Plan {
		t.Helper()
		state, err := setup.Read(t.Context(), client, desired)
		if err != nil {
			t.Fatal(err)
		}
		return setup.NewPlan(desired, state, setup.Options{})
	}
	id, err := setup.Apply(t.Context(), client, desired, setup.Options{}, plan(), func(setup.Change) {})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if id == "" || id == d.Logto.AppID {
		t.Fatalf("the application is %q, want one beside the demonstration's own %q", id, d.Logto.AppID)
	}
	text = strings.Replace(text, "app_secret_file", "app_id: "+id+", app_secret_file", 1)
	if cfg, err = config.Load(config.Options{Path: "portero.yaml", Text: []byte(text), Setup: true}); err != nil {
		t.Fatal(err)
	}
	desired = setup.NewDesired(cfg)
	if again := plan(); again.Pending() {
		t.Errorf("a second run has work to do:\n%s", again)
	}

	r := gatewaytest.New(t, &gatewaytest.Options{Logto: &gatewaytest.Logto{Endpoint: d.Logto.Endpoint, AppID: id, AppSecret: strings.TrimSpace(string(secret))}})
	for name, gateway := range map[string]string{"the second gateway": r.URL, "the demonstration's own": d.Addresses.Gateway} {
		b := gatewaytest.NewBrowser(t, map[string]string{"localhost": strings.TrimPrefix(strings.Replace(gateway, "localhost", "127.0.0.1", 1), "http://")})
		last := signIn(t, b, d, b.Visit(gateway+"/headers"), "ana@example.com")
		if last.StatusCode != 200 || last.Request.URL.String() != gateway+"/headers" {
			t.Errorf("%s: after signing in: got %s at %s", name, last.Status, last.Request.URL)
		}
		var mails []struct{ From, Subject, Text string }
		if err := json.Unmarshal([]byte(b.Get(d.Addresses.Mailbox+"/api/messages?to="+url.QueryEscape("ana@example.com")).Text), &mails); err != nil || len(mails) == 0 {
			t.Fatalf("%s: the mailbox has %v (%v)", name, mails, err)
		}
		if one := mails[0]; one.From != "Wiki <no-reply@mg.example.com>" || !strings.HasPrefix(one.Subject, "Wiki: ") || !strings.HasPrefix(one.Text, "The code of the wiki is ") {
			t.Errorf("%s: the mail is %+v", name, one)
		}
	}
}

// TestOwnAccount sends the mails over an account at Mailgun that was named: by its deliveries, with its key, which the tenant does not tell.
func TestOwnAccount(t *testing.T) {
	t.Parallel()
	got := make(chan url.Values, 1)
	mailgun := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, key, _ := r.BasicAuth(); key != "key-of-the-account" || r.URL.Path != "/v3/mg.example.com/messages" {
			t.Errorf("asked at %s with the key %q", r.URL.Path, key)
		}
		r.ParseMultipartForm(1 << 20)
		got <- r.PostForm
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"id":"<1@mg.example.com>","message":"Queued. Thank you."}`)
	}))
	t.Cleanup(mailgun.Close)
	from, err := config.Load(config.Options{Path: "portero.yaml", Text: []byte(fmt.Sprintf(`
external_url: http://localhost:3000
logto: {endpoint: "http://127.0.0.1:3001", app_id: a, app_secret: b}
mailgun:
  endpoint: %s
  domain: mg.example.com
  api_key: key-of-the-account
  from: "Wiki <no-reply@mg.example.com>"
  deliveries: [{usage: SignIn, subject: "Wiki {{code}}", template: welcome, variables: [{name: brand, value: "Example"}]}]
email_domains: ["*"]
upstream: http://127.0.0.1:1
`, mailgun.URL))})
	if err != nil {
		t.Fatal(err)
	}
	d := start(t, demo.Config{From: from})
	b := gatewaytest.NewBrowser(t, map[string]string{"localhost": strings.TrimPrefix(strings.Replace(d.Addresses.Gateway, "localhost", "127.0.0.1", 1), "http://")})
	to, fields := form(t, b.Visit(d.Addresses.Gateway+"/"))
	fields.Set("identifier", "ana@example.com")
	b.Post(to, fields)
	mail := <-got
	if mail.Get("template") != "welcome" || mail.Get("to") != "ana@example.com" || !strings.HasPrefix(mail.Get("subject"), "Wiki ") ||
		!strings.Contains(fmt.Sprint(mail), "Example") || mail.Get("html") != "" {
		t.Errorf("the mail is %v", mail)
	}
	if strings.Contains(told(t, d.Provider.Tenant()), "key-of-the-account") {
		t.Error("the tenant tells the key of the account")
	}
}

func told(t *testing.T, k *tenant.Tenant) string {
	t.Helper()
	w := httptest.NewRecorder()
	k.ServeHTTP(w, httptest.NewRequest("GET", "/api/connectors", nil))
	return w.Body.String()
}

// Another gateway's mails get into the mailbox by what the demonstration tells, and its sender's domain is in order.
func TestMailboxAsAnAccount(t *testing.T) {
	t.Parallel()
	d := start(t, demo.Config{})
	m, err := mail.New(mail.Config{Endpoint: d.Mailgun.Endpoint, Domain: d.Mailgun.Domain, APIKey: d.Mailgun.APIKey, From: d.Mailgun.From})
	if err != nil {
		t.Fatal(err)
	}
	if state, err := m.Domain(t.Context()); err != nil || state.State != mail.DomainActive || len(state.Missing) > 0 {
		t.Errorf("got %+v and %v, want an active domain whose records are all found", state, err)
	}
	if err := m.Send(t.Context(), mail.Default(mail.SignIn, "Wiki").Message("ana@example.com", "000000")); err != nil {
		t.Fatal(err)
	}
	if got := d.Mailbox.Messages("ana@example.com"); len(got) != 1 || got[0].Code != "000000" {
		t.Errorf("got %+v, want the mail", got)
	}
}
