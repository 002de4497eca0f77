package management_test

import (
	"errors"
	"net/url"
	"slices"
	"testing"
	"time"

	"portero/internal/gatewaytest"
	"portero/internal/management"
	"portero/internal/outbound"
)

// Every call that sets up a tenant, against one that is empty, of each version.
func TestWholeTenant(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			k := gatewaytest.NewTenant(t, gatewaytest.TenantOptions{Line141: version == "1.41"})
			u, err := url.Parse(k.URL)
			if err != nil {
				t.Fatal(err)
			}
			client := outbound.New(outbound.Config{})
			t.Cleanup(client.CloseIdleConnections)
			c, ctx := management.New(management.Config{Endpoint: u, AppID: k.ManagementID, AppSecret: k.ManagementSecret, Client: client}), t.Context()
			must := func(what string, err error) {
				t.Helper()
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
			}
			refused := func(what string, err error, code string) {
				t.Helper()
				if r, ok := errors.AsType[*management.RefusedError](err); !ok || r.Code != code || r.Hint() == "" {
					t.Errorf("%s: got %v, want %s and a hint", what, err, code)
				}
			}

			// Nothing is there.
			apps, err := c.Applications(ctx, management.Traditional)
			must("applications", err)
			connectors, err := c.Connectors(ctx)
			must("connectors", err)
			roles, err := c.Roles(ctx)
			must("roles", err)
			if len(apps)+len(connectors)+len(roles) != 0 {
				t.Errorf("got %v, %v, %v of an empty tenant", apps, connectors, roles)
			}

			// The connector before the sign-in experience.
			byMail := management.Object{
				"signUp": management.Object{"identifiers": []string{"email"}, "password": false, "verify": true},
				"signIn": management.Object{"methods": []management.Object{{"identifier": "email", "password": false, "verificationCode": true, "isPasswordPrimary": false}}},
			}
			_, err = c.UpdateSignInExperience(ctx, byMail)
			refused("sign-in by e-mail without a connector", err, "sign_in_experiences.enabled_connector_not_found")
			mailgun := management.Object{
				"domain": "mg.example.com", "apiKey": "key-test", "from": "Test <no-reply@mg.example.com>",
				"deliveries": management.Object{"Generic": management.Object{"subject": "{{code}}", "html": "<p>{{code}}</p>"}},
			}
			_, err = c.CreateConnector(ctx, management.MailgunConnector, management.Object{"domain": "x"})
			refused("partial configuration", err, "connector.invalid_config")
			_, err = c.CreateConnector(ctx, "nope", mailgun)
			refused("another connector", err, "connector.not_found_with_connector_id")
			made, err := c.CreateConnector(ctx, management.MailgunConnector, mailgun)
			must("create connector", err)
			mailgun["domain"] = "mg2.example.com"
			changed, err := c.UpdateConnector(ctx, made.ID, mailgun)
			must("update connector", err)
			if changed.ID != made.ID || changed.Config["domain"] != "mg2.example.com" || changed.Type != management.EmailConnector || changed.Factory != management.MailgunConnector {
				t.Errorf("got the connector %s of %s, %v", changed.ID, changed.Factory, changed.Config["domain"])
			}
			must("test connector", c.TestConnector(ctx, management.MailgunConnector, "ana@example.com", mailgun))
			mailgun["deliveries"] = management.Object{"SignIn": management.Object{"html": "{{code}}"}}
			refused("no Generic", c.TestConnector(ctx, management.MailgunConnector, "ana@example.com", mailgun), "connector.template_not_found")
			_, err = c.UpdateSignInExperience(ctx, byMail)
			must("update sign-in experience", err)
			experience, err := c.SignInExperience(ctx)
			must("sign-in experience", err)
			if experience["signInMode"] == nil || experience["branding"] == nil {
				t.Errorf("got %v", experience)
			}

			// The application and its secrets.
			oidc := management.Object{"redirectUris": []string{"https://a.example/cb"}, "postLogoutRedirectUris": []string{"https://a.example/"}}
			app, err := c.CreateApplication(ctx, management.Application{Name: "Portero", Type: management.Traditional, OIDC: oidc})
			must("create application", err)
			_, err = c.UpdateApplication(ctx, app.ID, management.Object{"oidcClientMetadata": management.Object{"backchannelLogoutUri": "https://a.example/out"}})
			refused("partial metadata", err, "guard.invalid_input")
			app.OIDC["backchannelLogoutUri"] = "https://a.example/out"
			_, err = c.UpdateApplication(ctx, app.ID, management.Object{"oidcClientMetadata": app.OIDC, "customClientMetadata": management.Object{"refreshTokenTtlInDays": 30}})
			must("update application", err)
			app, err = c.Application(ctx, app.ID)
			must("application", err)
			if app.OIDC["backchannelLogoutUri"] != "https://a.example/out" || len(app.OIDC["redirectUris"].([]any)) != 1 || app.AccessControl || app.ThirdParty {
				t.Errorf("got %+v", app)
			}
			second, err := c.CreateSecret(ctx, app.ID, "second")
			must("create secret", err)
			_, err = c.CreateSecret(ctx, app.ID, "second")
			refused("second secret of one name", err, "application.secret_name_exists")
			if !errors.Is(err, management.ErrTaken) {
				t.Errorf("got %v, want ErrTaken", err)
			}
			secrets, err := c.Secrets(ctx, app.ID)
			must("secrets", err)
			if len(secrets) != 2 || !slices.ContainsFunc(secrets, func(s management.Secret) bool { return s.Name == "second" && s.Value == second.Value }) {
				t.Errorf("got %v", secrets)
			}
			must("delete secret", c.DeleteSecret(ctx, app.ID, "second"))
			must("delete secret again", c.DeleteSecret(ctx, app.ID, "second"))
			other, err := c.CreateApplication(ctx, management.Application{Name: "Other", Type: management.Traditional, OIDC: management.Object{"redirectUris": []string{}, "postLogoutRedirectUris": []string{}}})
			must("create another application", err)
			if now := time.Now().UnixMilli(); other.CreatedAt < now-60_000 || other.CreatedAt > now {
				t.Errorf("the application was made at %d, want now", other.CreatedAt)
			}
			for range 2 { // one that is gone is no error
				must("delete application", c.DeleteApplication(ctx, other.ID))
				if _, err := c.Application(ctx, other.ID); !errors.Is(err, management.ErrNotFound) {
					t.Errorf("after it was deleted: got %v, want ErrNotFound", err)
				}
			}
			if _, err := c.Application(ctx, app.ID); err != nil {
				t.Errorf("the application beside it: %v", err)
			}
			_, err = c.Application(ctx, "doesnotexist")
			refused("unknown application", err, "entity.not_exists_with_id")
			if !errors.Is(err, management.ErrNotFound) {
				t.Errorf("got %v, want ErrNotFound", err)
			}

			// Resources, permissions, roles; people and invitations.
			resource, err := c.CreateResource(ctx, "API", "https://api.example")
			must("create resource", err)
			_, err = c.CreateResource(ctx, "API", "https://api.example")
			if !errors.Is(err, management.ErrTaken) {
				t.Errorf("second resource: got %v, want ErrTaken", err)
			}
			_, err = c.CreateScope(ctx, resource.ID, management.Scope{Name: "read"})
			must("create scope", err)
			scopes, err := c.Scopes(ctx, resource.ID)
			must("scopes", err)
			resources, err := c.Resources(ctx)
			must("resources", err)
			_, err = c.CreateRole(ctx, "admin", "Asked for by a route")
			must("create role", err)
			roles, err = c.Roles(ctx)
			must("roles", err)
			if len(scopes) != 1 || len(resources) != 2 || len(roles) != 1 {
				t.Errorf("got %d scopes, %d resources, %d roles", len(scopes), len(resources), len(roles))
			}
			token, err := c.CreateOneTimeToken(ctx, "ana@example.com", time.Hour)
			must("one-time token", err)
			if token.Status != "active" || token.Email != "ana@example.com" || time.UnixMilli(token.ExpiresAt).Before(time.Now()) {
				t.Errorf("got %s %s", token.Email, token.Status)
			}
			if _, err := c.UserByEmail(ctx, "ana@example.com"); !errors.Is(err, management.ErrNotFound) {
				t.Errorf("user: got %v, want ErrNotFound", err)
			}

			// Whoever asks is not known.
			for _, wrong := range []struct {
				config management.Config
				status int
				code   string
			}{
				{management.Config{AppID: k.ManagementID, AppSecret: "wrong"}, 401, "invalid_client"},
				{management.Config{AppID: "nobody", AppSecret: "wrong"}, 400, "invalid_client"},
				{management.Config{AppID: k.ManagementID, AppSecret: k.ManagementSecret, Resource: "https://api.unknown"}, 400, "invalid_target"},
			} {
				wrong.config.Endpoint, wrong.config.Client = u, client
				_, err := management.New(wrong.config).Connectors(ctx)
				if r, ok := errors.AsType[*management.RefusedError](err); !ok || r.Call != "token" || r.Status != wrong.status || r.Code != wrong.code || r.Hint() == "" {
					t.Errorf("as %s: got %v, want %d %s", wrong.config.AppID, err, wrong.status, wrong.code)
				}
			}
		})
	}
}
