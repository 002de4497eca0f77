package setup_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"portero/internal/setup"
)

const little = `
external_url: https://wiki.example.com
logto: {endpoint: "https://tenant.logto.app/", app_secret_file: logto-secret, management: {app_id: m2m, app_secret: M2M-SECRET}}
email_domains: [example.com]
`

func TestResourcesThatRoutesName(t *testing.T) {
	t.Parallel()
	cfg := load(t, little+`
routes:
  - {path: /a, upstreams: [{url: http://127.0.0.1:1}]}
  - {path: /b, upstreams: [{url: http://127.0.0.1:1}], allow: [{claims: [{name: scope, values: [read:things, "read:things write:things"]}]}, {claims: [{name: scope, values: [admin]}]}]}
  - {path: /c, upstreams: [{url: http://127.0.0.1:1}], allow: [{claims: [{name: scope, values: [other]}]}]}
  - {path: /d, upstreams: [{url: http://127.0.0.1:1}]}
`)
	cfg.Logto.Resources = []string{"https://one.example.com", cfg.Logto.Management.Resource}
	cfg.Routes[0].AccessToken.Resource = "https://two.example.com"
	cfg.Routes[1].Bearer.Audience = "https://three.example.com"
	cfg.Routes[3].Bearer.Audience = "https://one.example.com"
	want := []setup.Resource{
		{Indicator: "https://one.example.com"}, {Indicator: "https://two.example.com"},
		{Indicator: "https://three.example.com", Scopes: []string{"read:things", "write:things", "admin"}},
	}
	if diff := cmp.Diff(want, setup.NewDesired(cfg).Resources); diff != "" {
		t.Errorf("resources (-want +got):\n%s", diff)
	}
}

func TestRefreshTokensLastAsLongAsSessions(t *testing.T) {
	t.Parallel()
	for lifetime, want := range map[time.Duration]int{
		time.Minute: 1, 24 * time.Hour: 1, 24*time.Hour + 1: 2, 336 * time.Hour: 14, 10000 * time.Hour: 180,
	} {
		cfg := load(t, little+"upstream: http://127.0.0.1:1\n")
		cfg.Session.Lifetime = lifetime
		if got := setup.NewDesired(cfg).Application.RefreshDays; got != want {
			t.Errorf("%v: got %d days, want %d", lifetime, got, want)
		}
	}
}

// The fields are Logto's own; variables are filled in, since Logto fills in the code alone.
func TestConnectorAsLogtoWritesIt(t *testing.T) {
	t.Parallel()
	cfg := load(t, little+`upstream: http://127.0.0.1:1
mailgun: {endpoint: "https://api.mailgun.net/", domain: mg.example.com, api_key: API-KEY, from: a@mg.example.com, deliveries: [{usage: Generic, subject: "{{code}}", html: "{{ code }} {{{a}}", variables: [{name: a, value: "{{code}}<"}]}]}
`)
	want := map[string]any{"domain": "mg.example.com", "apiKey": apiKey, "from": "a@mg.example.com",
		"deliveries": map[string]any{"Generic": map[string]any{"subject": "{{code}}", "html": "{{ code }} {{{code}}&lt;"}}}
	if diff := cmp.Diff(want, map[string]any(setup.NewDesired(cfg).Email.Config())); diff != "" {
		t.Errorf("connector (-want +got):\n%s", diff)
	}
	if setup.NewDesired(load(t, little+"upstream: http://127.0.0.1:1\n")).Email != nil {
		t.Error("without mailgun there is a connector")
	}
}

// Defaults are told to those who write mail of their own, even one: their readers will get two kinds.
func TestUsagesWithTheDefaultMail(t *testing.T) {
	t.Parallel()
	for deliveries, want := range map[string][]string{
		"": nil,
		`{usage: SignIn, subject: s, template: one}`:      {"Register", "ForgotPassword", "Generic"},
		`{usage: Generic, subject: s, template: generic}`: nil,
	} {
		cfg := load(t, little+"upstream: http://127.0.0.1:1\nmailgun: {domain: mg.example.com, api_key: API-KEY, from: a@mg.example.com, deliveries: ["+deliveries+"]}\n")
		if diff := cmp.Diff(want, setup.NewDesired(cfg).Email.Defaults); diff != "" {
			t.Errorf("deliveries [%s] (-want +got):\n%s", deliveries, diff)
		}
	}
}
