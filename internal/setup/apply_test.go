package setup_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/config"
	"portero/internal/gatewaytest"
	"portero/internal/management"
	"portero/internal/setup"
)

// whole needs something of every kind.
const whole = `
external_url: https://wiki.example.com
logto:
  endpoint: TENANT
  app_secret_file: SECRET-FILE
  resources: [https://api.example.com]
  sign_in: {registration: closed}
  management: {app_id: MANAGEMENT-ID, app_secret: MANAGEMENT-SECRET}
mailgun: {domain: mg.example.com, api_key: API-KEY, from: "Wiki <no-reply@mg.example.com>"}
email_domains: [example.com]
routes:
  - {path: /, upstreams: [{url: http://127.0.0.1:8080}]}
  - {hosts: [hr.example.com], path: /, upstreams: [{url: http://127.0.0.1:8081}], allow: [{roles: [staff]}]}
`

// settle is time enough for a tenant in memory.
const settle = 5 * time.Millisecond

// operator is somebody who sets up a tenant.
type operator struct {
	t      *testing.T
	tenant *gatewaytest.Tenant
	file   string // the client secret's
	text   string // the configuration
	asks   *management.Client
}

func newOperator(t *testing.T, o gatewaytest.TenantOptions, text string) *operator {
	t.Helper()
	k := gatewaytest.NewTenant(t, o)
	file := filepath.Join(t.TempDir(), "logto-secret")
	return &operator{t: t, tenant: k, file: file, text: strings.NewReplacer(
		"TENANT", k.URL, "SECRET-FILE", file, "MANAGEMENT-ID", k.ManagementID, "MANAGEMENT-SECRET", k.ManagementSecret).Replace(text)}
}

func (o *operator) config() *config.Config { o.t.Helper(); return load(o.t, o.text) }

// client is the one of the process, which has its token. It asks once, so that requests can be counted.
func (o *operator) client() *management.Client {
	o.t.Helper()
	if o.asks == nil {
		var err error
		if o.asks, err = setup.NewClientTrying(o.config(), 0, nil); err != nil {
			o.t.Fatal(err)
		}
	}
	return o.asks
}

// asNewProcess forgets what a process knows.
func (o *operator) asNewProcess() *operator {
	o.asks = nil
	return o
}

func (o *operator) plan(ctx context.Context, opts setup.Options) (*setup.Plan, error) {
	o.t.Helper()
	d := setup.NewDesired(o.config())
	s, err := setup.Read(ctx, o.client(), d)
	if err != nil {
		return nil, err
	}
	return setup.NewPlan(d, s, opts), nil
}

func (o *operator) mustPlan(opts setup.Options) *setup.Plan {
	o.t.Helper()
	p, err := o.plan(o.t.Context(), opts)
	if err != nil {
		o.t.Fatal(err)
	}
	if len(p.Problems) > 0 {
		o.t.Fatalf("problems: %v", p.Problems)
	}
	return p
}

// apply is one run of the command: what it said is done.
func (o *operator) apply(ctx context.Context, opts setup.Options) (done []string, err error) {
	o.t.Helper()
	opts.Settle = settle
	p, err := o.plan(ctx, opts)
	if err != nil {
		return nil, err
	}
	_, err = setup.Apply(ctx, o.client(), setup.NewDesired(o.config()), opts, p, func(c setup.Change) { done = append(done, c.String()) })
	return done, err
}

func (o *operator) mustApply(opts setup.Options) []string {
	o.t.Helper()
	done, err := o.apply(o.t.Context(), opts)
	if err != nil {
		o.t.Fatal(err)
	}
	return done
}

// wantWhole checks that everything is as it shall be, once.
func (o *operator) wantWhole() {
	o.t.Helper()
	ctx, m := o.t.Context(), o.client()
	if p := o.mustPlan(setup.Options{Prune: true}); p.Pending() {
		o.t.Errorf("there is still something to do:\n%s", p)
	}
	apps, err := m.Applications(ctx, "")
	if err != nil || len(apps) != 1 {
		o.t.Fatalf("got %d applications, %v, want 1", len(apps), err)
	}
	connectors, err := m.Connectors(ctx)
	if err != nil || len(connectors) != 1 {
		o.t.Errorf("got %d connectors, %v, want 1", len(connectors), err)
	}
	all, err := m.Secrets(ctx, apps[0].ID)
	if err != nil || len(all) != 1 {
		o.t.Fatalf("got %d secrets, %v, want 1", len(all), err)
	}
	o.wantSecret(all[0].Value)
}

func (o *operator) wantSecret(value string) {
	o.t.Helper()
	content, err := os.ReadFile(o.file)
	if err != nil || string(content) != value+"\n" {
		o.t.Errorf("the file for the secret: got %d bytes, %v, want the application's secret", len(content), err)
	}
	if info, err := os.Stat(o.file); err != nil || info.Mode().Perm() != 0o600 {
		o.t.Errorf("the file for the secret: mode %v, %v, want 0600", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(o.file)); len(entries) != 1 {
		o.t.Errorf("got %v beside the secret, want nothing", entries)
	}
}

func TestApplyTwice(t *testing.T) {
	t.Parallel()
	for _, line141 := range []bool{true, false} {
		t.Run(fmt.Sprintf("1.41 %v", line141), func(t *testing.T) {
			t.Parallel()
			o := newOperator(t, gatewaytest.TenantOptions{Line141: line141}, whole)
			if p := o.mustPlan(setup.Options{}); !p.Pending() || p.AppID != "" || len(o.tenant.Requests()) > 0 {
				t.Errorf("a plan changed something, or has nothing to do: %v\n%s", o.tenant.Requests(), p)
			}
			want := []string{"e-mail connector mailgun-email", "sign-in experience", "API resource https://api.example.com", `role "staff"`,
				`application "Portero wiki.example.com"`, "client secret in " + o.file}
			if got := o.mustApply(setup.Options{}); !slices.Equal(got, want) {
				t.Errorf("done:\ngot  %q\nwant %q", got, want)
			}
			o.wantWhole()
			o.tenant.Forget()
			before, _ := os.Stat(o.file)
			if done := o.mustApply(setup.Options{}); len(done) > 0 || len(o.tenant.Requests()) > 0 {
				t.Errorf("the second run did %q with %v", done, o.tenant.Requests())
			}
			if after, _ := os.Stat(o.file); !os.SameFile(before, after) || after.ModTime() != before.ModTime() {
				t.Error("the second run wrote the secret again")
			}
			if got := o.mustPlan(setup.Options{}).String(); got != "nothing to do\n" {
				t.Errorf("got %q, want nothing to do", got)
			}
			o.wantWhole()
		})
	}
}

// dying lets the run die with its request number n: no answer comes, and nothing more is sent. done: the request was done.
func dying(k *gatewaytest.Tenant, n int, done bool, die func()) (died func() bool) {
	var mu sync.Mutex
	count := 0 // requests that came
	k.Hook(func(_ http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if count++; count < n {
			return false
		}
		if count == n && done {
			k.Provider.Handler().ServeHTTP(httptest.NewRecorder(), r)
		}
		die()
		panic(http.ErrAbortHandler)
	})
	return func() bool {
		k.Hook(nil)
		mu.Lock()
		defer mu.Unlock()
		return count >= n
	}
}

// Whichever request is the last, the next run completes, and nothing is there twice.
func TestApplyIsKilled(t *testing.T) {
	t.Parallel()
	for _, done := range []bool{true, false} {
		t.Run(fmt.Sprintf("done %v", done), func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				o := newOperator(t, gatewaytest.TenantOptions{}, whole)
				ctx, die := context.WithCancel(t.Context())
				defer die()
				died := dying(o.tenant, n, done, die)
				_, err := o.asNewProcess().apply(ctx, setup.Options{})
				if !died() {
					if err != nil {
						t.Fatalf("a run of less than %d requests: %v", n, err)
					}
					if n < 15 {
						t.Errorf("only %d requests were killed", n-1)
					}
					return
				}
				if err == nil {
					t.Errorf("request %d was killed, and the run says nothing", n)
				}
				o.asNewProcess().mustApply(setup.Options{})
				o.wantWhole()
				if t.Failed() {
					t.Fatalf("after request %d of %v", n, o.tenant.Requests())
				}
			}
		})
	}
}

// The same while what somebody else entered is removed.
func TestPruneIsKilled(t *testing.T) {
	t.Parallel()
	for _, done := range []bool{true, false} {
		for n := 1; ; n++ {
			o := newOperator(t, gatewaytest.TenantOptions{}, whole)
			o.mustApply(setup.Options{})
			o.disturb()
			ctx, die := context.WithCancel(t.Context())
			defer die()
			died := dying(o.tenant, n, done, die)
			_, err := o.asNewProcess().apply(ctx, setup.Options{Prune: true})
			if !died() {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			if err == nil {
				t.Errorf("request %d was killed, and the run says nothing", n)
			}
			o.asNewProcess().mustApply(setup.Options{Prune: true})
			o.wantWhole()
		}
	}
}

// app is the one application.
func (o *operator) app() management.Application {
	o.t.Helper()
	all, err := o.client().Applications(o.t.Context(), management.Traditional)
	if err != nil || len(all) != 1 {
		o.t.Fatalf("got %d applications, %v, want 1", len(all), err)
	}
	return all[0]
}

// disturb is what somebody else does to a tenant that was set up.
func (o *operator) disturb() {
	o.t.Helper()
	ctx, m := o.t.Context(), o.client()
	a := o.app()
	a.OIDC["redirectUris"] = []string{"https://other.example.com/callback", "https://wiki.example.com/callback"} // one of ours is gone
	a.OIDC["postLogoutRedirectUris"] = append(a.OIDC["postLogoutRedirectUris"].([]any), "https://other.example.com/")
	a.OIDC["logoUri"] = "https://other.example.com/logo.png"
	custom := management.Object{"alwaysIssueRefreshToken": true, "corsAllowedOrigins": []string{"https://other.example.com"}, "rotateRefreshToken": false, "refreshTokenTtlInDays": 30}
	if _, err := m.UpdateApplication(ctx, a.ID, management.Object{"oidcClientMetadata": a.OIDC, "customClientMetadata": custom}); err != nil {
		o.t.Fatal(err)
	}
	connectors, err := m.Connectors(ctx)
	if err != nil || len(connectors) != 1 {
		o.t.Fatal(connectors, err)
	}
	c := connectors[0].Config
	c["deliveries"].(map[string]any)["OrganizationInvitation"] = map[string]any{"subject": "Come in", "html": "{{link}}"}
	c["domain"] = "other.example.com"
	if _, err := m.UpdateConnector(ctx, connectors[0].ID, c); err != nil {
		o.t.Fatal(err)
	}
	o.tenant.Forget()
}

func TestWhatSomebodyElseEnteredStays(t *testing.T) {
	t.Parallel()
	o := newOperator(t, gatewaytest.TenantOptions{}, whole)
	o.mustApply(setup.Options{})
	o.disturb()
	if done := o.mustApply(setup.Options{}); len(done) != 2 {
		t.Errorf("done: %q, want the connector and the application", done)
	}
	if p := o.mustPlan(setup.Options{}); p.Pending() || len(p.Notes) != 3 {
		t.Errorf("got\n%s\nwant nothing to do, and three notes", p)
	}
	a := o.app()
	want := map[string]string{
		"redirectUris":           `["https://other.example.com/callback","https://wiki.example.com/callback","https://hr.example.com/callback"]`,
		"postLogoutRedirectUris": `["https://wiki.example.com/_portero/signed-out","https://hr.example.com/_portero/signed-out","https://other.example.com/"]`,
		"logoUri":                `"https://other.example.com/logo.png"`, "backchannelLogoutSessionRequired": "true",
		"alwaysIssueRefreshToken": "true", "corsAllowedOrigins": `["https://other.example.com"]`, "rotateRefreshToken": "true", "refreshTokenTtlInDays": "30",
	}
	for name, text := range want {
		value, there := a.OIDC[name]
		if !there {
			value = a.Custom[name]
		}
		if got, _ := json.Marshal(value); string(got) != text {
			t.Errorf("%s: got %s, want %s", name, got, text)
		}
	}

	o.tenant.Forget()
	if done := o.mustApply(setup.Options{Prune: true}); len(done) != 2 {
		t.Errorf("done: %q, want the connector and the application", done)
	}
	a = o.app()
	if got, _ := json.Marshal(a.OIDC["redirectUris"]); string(got) != `["https://wiki.example.com/callback","https://hr.example.com/callback"]` {
		t.Errorf("after --prune: got %s", got)
	}
	if a.OIDC["logoUri"] == nil || a.Custom["corsAllowedOrigins"] == nil {
		t.Errorf("--prune removed what is none of its business: %v %v", a.OIDC, a.Custom)
	}
	o.wantWhole()
}

// Ours is added before anything is removed, so that no sign-in fails meanwhile.
func TestPruneAddsFirst(t *testing.T) {
	t.Parallel()
	o := newOperator(t, gatewaytest.TenantOptions{}, whole)
	o.mustApply(setup.Options{})
	o.disturb()
	m, id := o.client(), o.app().ID
	var seen []int
	o.tenant.Hook(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch && strings.HasPrefix(r.URL.Path, "/api/applications/") {
			a, err := m.Application(r.Context(), id)
			if err != nil {
				t.Error(err)
			}
			uris, _ := a.OIDC["redirectUris"].([]any)
			seen = append(seen, len(uris))
		}
		return false
	})
	o.mustApply(setup.Options{Prune: true})
	if !slices.Equal(seen, []int{2, 3}) { // what the application had before each request
		t.Errorf("redirect URIs before each request: got %v, want 2 and then 3", seen)
	}
}

func TestApplyStopsAtTheFirstFailure(t *testing.T) {
	t.Parallel()
	o := newOperator(t, gatewaytest.TenantOptions{}, whole)
	o.tenant.Hook(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch || r.URL.Path != "/api/sign-in-exp" {
			return false
		}
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"code":"connector.general","message":"http://api:%s@host/ 123456"}`, apiKey)
		return true
	})
	done, err := o.apply(t.Context(), setup.Options{})
	var step *setup.StepError
	if !errors.As(err, &step) {
		t.Fatalf("got %v, want a StepError", err)
	}
	if len(done) != 1 || !slices.Equal(step.Done, done) || step.Failed != "sign-in experience" || len(step.Left) != 4 {
		t.Errorf("got done %q, failed %q, left %q", step.Done, step.Failed, step.Left)
	}
	for _, part := range []string{"sign-in experience: ", "\ndone: e-mail connector mailgun-email\n", "\nnot done: sign-in experience, API resource", "client secret in "} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error lacks %q:\n%v", part, err)
		}
	}
	if strings.Contains(err.Error(), apiKey) || strings.Contains(err.Error(), "123456") || !strings.Contains(step.Hint(), "run portero setup apply again") {
		t.Errorf("got %v\nhint: %s", err, step.Hint())
	}
	if got := o.tenant.Requests(); len(got) != 2 {
		t.Errorf("got %v, want nothing after the failure", got)
	}
	o.tenant.Hook(nil)
	o.mustApply(setup.Options{})
	o.wantWhole()
}

func TestTenantThatChangedMeanwhile(t *testing.T) {
	t.Parallel()
	o := newOperator(t, gatewaytest.TenantOptions{}, whole)
	shown := o.mustPlan(setup.Options{})
	if _, err := o.client().CreateRole(t.Context(), "staff", "somebody else's"); err != nil {
		t.Fatal(err)
	}
	o.tenant.Forget()
	_, err := setup.Apply(t.Context(), o.client(), setup.NewDesired(o.config()), setup.Options{}, shown, nil)
	if !errors.Is(err, setup.ErrChanged) || len(o.tenant.Requests()) > 0 {
		t.Errorf("got %v and %v, want ErrChanged and no request", err, o.tenant.Requests())
	}
	if entries, _ := os.ReadDir(filepath.Dir(o.file)); len(entries) > 0 {
		t.Errorf("got %v, want no file", entries)
	}
}

func TestPlanWithProblemsIsNotApplied(t *testing.T) {
	t.Parallel()
	o := newOperator(t, gatewaytest.TenantOptions{}, little+"upstream: http://127.0.0.1:1\n")
	o.text = strings.NewReplacer("https://tenant.logto.app/", o.tenant.URL, "app_id: m2m, app_secret: M2M-SECRET", "app_id: "+o.tenant.ManagementID+", app_secret: "+o.tenant.ManagementSecret).Replace(o.text)
	if _, err := o.apply(t.Context(), setup.Options{}); !errors.Is(err, setup.ErrProblems) || len(o.tenant.Requests()) > 0 {
		t.Errorf("got %v and %v, want ErrProblems and no request", err, o.tenant.Requests())
	}
}

func TestFileThatCannotBeWrittenChangesNothing(t *testing.T) {
	t.Parallel()
	o := newOperator(t, gatewaytest.TenantOptions{}, whole)
	o.text = strings.ReplaceAll(o.text, o.file, filepath.Join(o.file, "nowhere", "secret"))
	var file *setup.FileError
	if _, err := o.apply(t.Context(), setup.Options{}); !errors.As(err, &file) || len(o.tenant.Requests()) > 0 {
		t.Errorf("got %v and %v, want a FileError and no request", err, o.tenant.Requests())
	}
}

// The file has to be writable for a new secret, and for nothing else.
func TestFileThatCannotBeWrittenIsNotNeededWithoutASecret(t *testing.T) {
	t.Parallel()
	o := newOperator(t, gatewaytest.TenantOptions{}, whole)
	o.mustApply(setup.Options{})
	o.disturb()
	d := setup.NewDesired(o.config())
	d.SecretFile = filepath.Join(o.file, "nowhere", "secret")
	state, err := setup.Read(t.Context(), o.client(), d)
	if err != nil {
		t.Fatal(err)
	}
	p := setup.NewPlan(d, state, setup.Options{})
	if _, err := setup.Apply(t.Context(), o.client(), d, setup.Options{Settle: settle}, p, func(setup.Change) {}); err != nil || len(p.Changes) != 2 {
		t.Errorf("got %d changes and error %v, want the connector and the application", len(p.Changes), err)
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	o := newOperator(t, gatewaytest.TenantOptions{}, whole)
	o.mustApply(setup.Options{})
	ctx, m, app := t.Context(), o.client(), o.app().ID
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(o.file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rotated, err := m.CreateSecret(ctx, app, "rotated by hand")
	if err != nil {
		t.Fatal(err)
	}

	write(rotated.Value + "\n")
	if done := o.mustApply(setup.Options{}); len(done) > 0 {
		t.Errorf("a good secret was replaced: %q", done)
	}
	o.wantSecret(rotated.Value)

	write("of-another-application\n")
	if done := o.mustApply(setup.Options{}); len(done) != 1 {
		t.Errorf("a wrong secret: done %q, want the secret alone", done)
	}
	all, err := m.Secrets(ctx, app)
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	i := slices.IndexFunc(all, func(s management.Secret) bool { return s.Name == "Default secret" })
	o.wantSecret(all[i].Value)

	// Without a first secret there is a new one, once; other people's are not taken.
	if err := m.DeleteSecret(ctx, app, "Default secret"); err != nil {
		t.Fatal(err)
	}
	var made string
	for range 2 {
		write("")
		o.mustApply(setup.Options{})
		all, err := m.Secrets(ctx, app)
		if err != nil || len(all) != 2 {
			t.Fatalf("got %d secrets, %v, want 2", len(all), err)
		}
		i := slices.IndexFunc(all, func(s management.Secret) bool { return s.Name == "portero" })
		if i < 0 || made != "" && made != all[i].Value {
			t.Fatal("there is no secret of Portero's, or another one")
		}
		made = all[i].Value
		o.wantSecret(made)
	}
}

// One that ends by itself some day would end the gateway with it.
func TestSecretThatWillExpireIsNotTaken(t *testing.T) {
	t.Parallel()
	o := newOperator(t, gatewaytest.TenantOptions{}, whole)
	o.tenant.Hook(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/secrets") {
			return false
		}
		w.Write([]byte(`[{"name":"Default secret","value":"a","expiresAt":4000000000000},{"name":"portero","value":"b","expiresAt":4000000000000}]`))
		return true
	})
	o.mustApply(setup.Options{})
	o.tenant.Hook(nil)
	all, err := o.client().Secrets(t.Context(), o.app().ID)
	if err != nil || len(all) != 2 {
		t.Fatalf("got %d secrets, %v, want 2", len(all), err)
	}
	i := slices.IndexFunc(all, func(s management.Secret) bool { return s.Name == "portero-2" })
	if i < 0 {
		t.Fatal("there is no secret portero-2")
	}
	o.wantSecret(all[i].Value)
}

func TestErrorsOfTheManagementAPISayWhatToType(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ old, new, hint string }{
		"wrong secret":   {"management-secret-of-a-test", "another-secret", "logto.management.app_id"},
		"wrong id":       {"setup-m2m", "nobody", "logto.management.app_id"},
		"wrong resource": {"management: {", "management: {resource: https://elsewhere.example.com/api, ", "logto.management.resource"},
		"not a Logto":    {"endpoint: http://127", "endpoint: http://localhost:1/ #", "logto.endpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOperator(t, gatewaytest.TenantOptions{}, whole)
			o.text = strings.ReplaceAll(o.text, tt.old, tt.new)
			_, err := o.plan(t.Context(), setup.Options{})
			var told interface{ Hint() string }
			if !errors.As(err, &told) || !strings.Contains(told.Hint(), tt.hint) {
				t.Errorf("got %v, want the hint %q", err, tt.hint)
			}
		})
	}
}

// Logto has one connector for e-mail: ours takes the place of another maker's, and people are told before and after.
func TestConnectorOfAnotherMaker(t *testing.T) {
	t.Parallel()
	o := newOperator(t, gatewaytest.TenantOptions{}, whole)
	o.tenant.Hook(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || r.URL.Path != "/api/connectors" || len(o.tenant.Requests()) > 0 {
			return false
		}
		w.Write([]byte(`[{"id":"a","connectorId":"github-universal","type":"Social","config":{}},{"id":"b","connectorId":"sendgrid-email-service","type":"Email","config":{}}]`))
		return true
	})
	if p := o.mustPlan(setup.Options{}).String(); !strings.HasPrefix(p, "- e-mail connector sendgrid-email-service\n+ e-mail connector mailgun-email\n") {
		t.Errorf("got\n%s", p)
	}
	done := o.mustApply(setup.Options{})
	if len(done) < 2 || done[0] != "e-mail connector sendgrid-email-service" || done[1] != "e-mail connector mailgun-email" {
		t.Errorf("done: %q", done)
	}
	o.wantWhole()
}

// A user name that was the first identifier is asked for besides, without a code: there is nowhere to send one.
func TestFirstIdentifierIsAskedForBesides(t *testing.T) {
	t.Parallel()
	o := newOperator(t, gatewaytest.TenantOptions{}, whole)
	o.mustApply(setup.Options{})
	have, err := o.client().SignInExperience(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	have["signUp"] = management.Object{"identifiers": []string{"username"}, "password": true, "verify": true,
		"secondaryIdentifiers": []management.Object{{"identifier": "email", "verify": true}}}
	have["signIn"] = management.Object{"methods": []management.Object{
		{"identifier": "username", "password": true, "verificationCode": false, "isPasswordPrimary": true},
		{"identifier": "email", "password": true, "verificationCode": true, "isPasswordPrimary": false}}}
	if _, err := o.client().UpdateSignInExperience(t.Context(), management.Object{"signUp": have["signUp"], "signIn": have["signIn"]}); err != nil {
		t.Fatal(err)
	}
	o.mustApply(setup.Options{})
	if have, err = o.client().SignInExperience(t.Context()); err != nil {
		t.Fatal(err)
	}
	up := have["signUp"].(map[string]any)
	for name, want := range map[string]string{"identifiers": `["email"]`, "verify": "true", "password": "true", "secondaryIdentifiers": `[{"identifier":"username"}]`} {
		if got, _ := json.Marshal(up[name]); string(got) != want {
			t.Errorf("signUp.%s: got %s, want %s", name, got, want)
		}
	}
	if p := o.mustPlan(setup.Options{}); p.Pending() {
		t.Errorf("there is still something to do:\n%s", p)
	}
}
