package doctor

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/config"
	"portero/internal/gatewaytest"
	"portero/internal/management"
)

// ofTenant are the checks that read Logto's settings, beside logto-management.
const ofTenant = "logto-application logto-access-control logto-backchannel logto-refresh-lifetime logto-unknown-session logto-connector logto-grants logto-drift"

// apiError answers as the Management API does.
func apiError(status int, code string) func(http.ResponseWriter, *http.Request) {
	return func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(status)
		fmt.Fprintf(rw, `{"code":%q,"message":"%s %s %s"}`, code, foreignText, apiKey, r.Header.Get("Authorization"))
	}
}

// byManagement lets a hook see the token requests for the Management API, and nobody else's.
func (w *world) byManagement(answer func(http.ResponseWriter, *http.Request)) {
	w.logto.Hook(func(rw http.ResponseWriter, r *http.Request) bool {
		if id, _, _ := r.BasicAuth(); r.URL.Path != "/oidc/token" || id != w.logto.ManagementID {
			return false
		}
		answer(rw, r)
		return true
	})
}

// withOIDC changes a member of the application's metadata.
func (w *world) withOIDC(name string, value any) {
	w.application(func(oidc, _ management.Object) management.Object {
		if oidc[name] = value; value == nil {
			delete(oidc, name)
		}
		return management.Object{"oidcClientMetadata": oidc}
	})
}

// shownApplication changes what Logto says about the application.
func (w *world) shownApplication(name string, value any) {
	edit(w, "/api/applications/"+w.appID, set(name, value))
}

func TestTenantChecks(t *testing.T) {
	t.Parallel()
	drift := []string{"logto-drift"}
	forward(t, []row{
		{
			name: "no credentials", change: func(w *world) { w.text = dropLine(w.text, "management:") },
			check: "logto-management", want: Skipped, says: []string{"logto.management.app_id", "logto.management.app_secret", "Machine-to-machine", "Logto Management API access"}, skips: ofTenant,
		},
		{
			name: "wrong secret", change: func(w *world) {
				w.replace("app_secret: "+w.logto.ManagementSecret, "app_secret: another-secret-of-0123456789")
				w.secrets["another-secret-of-0123456789"] = "the secret of the Management API"
			},
			check: "logto-management", want: Failed, says: []string{"status 401", "invalid_client", "logto.management.app_secret", "the secret of the machine-to-machine application is wrong"}, skips: ofTenant,
		},
		{
			name: "unknown application", change: func(w *world) { w.replace("app_id: "+w.logto.ManagementID, "app_id: nobody") },
			check: "logto-management", want: Failed, says: []string{"status 400", "invalid_client", "no application of the id in logto.management.app_id"}, skips: ofTenant,
		},
		{
			name: "another resource", change: func(w *world) {
				w.replace("management: {", "management: {resource: https://tenant.logto.app/api, ")
			},
			check: "logto-management", want: Failed, says: []string{"no API of the indicator in logto.management.resource"}, skips: ofTenant,
		},
		{
			name: "an application of another type", change: func(w *world) { w.byManagement(oauthError(400, "unauthorized_client")) },
			check: "logto-management", want: Failed, says: []string{"logto.management.app_id is not a machine-to-machine application", "logto.management"}, skips: ofTenant,
		},
		{
			name: "the role is missing", change: func(w *world) { w.hook("/api/connectors", apiError(403, "auth.forbidden")) },
			check: "logto-management", want: Failed, says: []string{"403", "logto.management.app_id", "the role \"Logto Management API access\""}, skips: ofTenant,
		},
		{
			name: "its own token is not taken", change: func(w *world) { w.hook("/api/connectors", apiError(401, "auth.unauthorized")) },
			check: "logto-management", want: Failed, says: []string{"401", "logto.endpoint", "logto.management.resource"}, skips: ofTenant,
		},
		{
			name: "the token does not arrive", change: func(w *world) { w.hook("/api/connectors", apiError(401, "auth.authorization_header_missing")) },
			check: "logto-management", want: Failed, says: []string{"401", "header Authorization", "logto.internal_endpoint"}, skips: ofTenant,
		},
		{
			name: "no API there", change: func(w *world) {
				w.hook("/api/connectors", func(rw http.ResponseWriter, r *http.Request) { http.NotFound(rw, r) })
			},
			check: "logto-management", want: Failed, says: []string{"404", "logto.endpoint", "pass /api/ on"}, skips: ofTenant,
		},
		{
			name: "a refusal that nobody foresaw", change: func(w *world) { w.hook("/api/connectors", apiError(418, "auth.tea")) },
			check: "logto-management", want: Failed, says: []string{"status 418", "auth.tea", "Logto's log", "/api/"}, skips: ofTenant,
		},
		{
			name: "not the API", change: func(w *world) {
				w.hook("/api/connectors", func(rw http.ResponseWriter, r *http.Request) { fmt.Fprint(rw, foreignText) })
			},
			check: "logto-management", want: Failed, says: []string{"status 200", "logto.endpoint", "/api/"}, skips: ofTenant,
		},
		{
			name: "out of order", change: func(w *world) {
				w.hook("/api/connectors", func(rw http.ResponseWriter, r *http.Request) {
					rw.Header().Set("Retry-After", "60")
					apiError(503, "system")(rw, r)
				})
			},
			check: "logto-management", want: Failed, says: []string{"no answer", "log of Logto", "/api/"}, skips: ofTenant,
		},
		{
			name: "no such application", change: func(w *world) { w.hook("/api/applications/", apiError(404, "entity.not_exists_with_id")) },
			check: "logto-application", want: Failed, says: []string{"logto.app_id", "the same tenant"}, skips: "logto-access-control logto-backchannel logto-refresh-lifetime", also: drift,
		},
		{
			name: "application of another type", change: func(w *world) { w.shownApplication("type", "SPA") },
			check: "logto-application", want: Failed, says: []string{"another type (SPA)", "Traditional web", "portero setup apply"}, also: drift,
		},
		{
			name: "application of a type that is text", change: func(w *world) { w.shownApplication("type", foreignText) },
			check: "logto-application", want: Failed, says: []string{"another type"}, also: drift,
		},
		{
			name: "third-party application", change: func(w *world) { w.shownApplication("isThirdParty", true) },
			check: "logto-application", want: Failed, says: []string{"third-party", "consent", "portero setup apply"}, also: drift,
		},
		{
			name: "app-level access control", change: func(w *world) { w.shownApplication("appLevelAccessControlEnabled", true) },
			check: "logto-access-control", want: Warning, says: []string{"never come back", "allow", "Access control"},
		},
		{
			name: "no back-channel URI", change: func(w *world) { w.withOIDC("backchannelLogoutUri", nil) },
			check: "logto-backchannel", want: Failed, says: []string{"{external}/_portero/backchannel-logout", "none is registered", "portero setup apply", "Backchannel logout"}, also: drift,
		},
		{
			name: "another back-channel URI", change: func(w *world) { w.withOIDC("backchannelLogoutUri", "https://elsewhere.example/logout") },
			check: "logto-backchannel", want: Failed, says: []string{"https://elsewhere.example/logout", "external_url or endpoints.prefix"}, also: drift,
		},
		{
			name: "a back-channel URI with a secret", change: func(w *world) { w.withOIDC("backchannelLogoutUri", "https://elsewhere.example/?"+foreignText) },
			check: "logto-backchannel", want: Failed, says: []string{unshown}, also: drift,
		},
		{
			name: "no session id", change: func(w *world) { w.withOIDC("backchannelLogoutSessionRequired", false) },
			check: "logto-backchannel", want: Failed, says: []string{"no sid", "Is session required", "portero setup apply"}, also: drift,
		},
		{
			name: "refresh tokens that end too soon", change: func(w *world) { w.refreshDays(7) },
			check: "logto-refresh-lifetime", want: Warning, says: []string{"14 days", "last 7 days", "session.lifetime: 168h", "portero setup apply"}, also: drift,
		},
		{
			name: "refresh tokens that end soon, and later than sessions", change: func(w *world) {
				w.refreshDays(7)
				w.text += "session: {lifetime: 48h}\n"
			},
			check: "logto-refresh-lifetime", want: OK, says: []string{"last 7 days"},
		},
		{
			name: "refresh tokens of an older release", change: func(w *world) {
				edit(w, "/api/applications/"+w.appID, set("customClientMetadata", object{"refreshTokenTtl": 24 * 60 * 60}))
			},
			check: "logto-refresh-lifetime", want: Warning, says: []string{"last 1 day,"}, also: drift,
		},
		{
			name: "old sign-in pages lead nowhere", change: func(w *world) { w.experience(management.Object{"unknownSessionRedirectUrl": nil}) },
			check: "logto-unknown-session", want: Warning, says: []string{"{external}/_portero/continue", "portero setup apply"}, also: drift,
		},
		{
			name: "old sign-in pages lead elsewhere", change: func(w *world) {
				w.experience(management.Object{"unknownSessionRedirectUrl": "https://elsewhere.example/start"})
			},
			check: "logto-unknown-session", want: OK, says: []string{"https://elsewhere.example/start", "somebody entered"},
		},
		{
			name: "no connector", change: func(w *world) { edit(w, "/api/connectors", func([]object) []object { return []object{} }) },
			check: "logto-connector", want: Failed, says: []string{"nobody gets a code", "portero setup apply"}, also: drift,
		},
		{
			name: "no connector, and no mailgun", change: func(w *world) {
				edit(w, "/api/connectors", func([]object) []object { return []object{} })
				w.text = dropLine(w.text, "mailgun:")
			},
			check: "logto-connector", want: Failed, says: []string{"mailgun.domain, mailgun.api_key and mailgun.from"}, also: drift,
		},
		{
			name: "connector of another kind", change: func(w *world) { w.shownConnector("connectorId", "simple-mail-transfer-protocol") },
			check: "logto-connector", want: Failed, says: []string{"another kind (simple_mail_transfer_protocol)", "replaces", "`mailgun`"}, also: drift,
		},
		{
			name: "connector of another kind, and no mailgun", change: func(w *world) {
				w.shownConnector("connectorId", "simple-mail-transfer-protocol")
				w.text = dropLine(w.text, "mailgun:")
			},
			check: "logto-connector", want: OK,
		},
		{
			name: "connector with another domain", change: func(w *world) { w.connector(func(c management.Object) { c["domain"] = "old.example.com" }) },
			check: "logto-connector", want: Failed, says: []string{"another domain than mailgun.domain", "portero setup plan"}, also: drift,
		},
		{
			name: "connector with another key", change: func(w *world) {
				w.secrets["key-of-yesterday-0123"] = "the old API key"
				w.connector(func(c management.Object) { c["apiKey"] = "key-of-yesterday-0123" })
			},
			check: "logto-connector", want: Failed, says: []string{"another key than mailgun.api_key"}, also: drift,
		},
		{
			name: "connector of the other region", change: func(w *world) {
				w.connector(func(c management.Object) { c["endpoint"] = "https://api.eu.mailgun.net" })
			},
			check: "logto-connector", want: Failed, says: []string{"another endpoint than mailgun.endpoint", "region"}, also: drift,
		},
		{
			name: "connector with another sender", change: func(w *world) {
				w.connector(func(c management.Object) { c["from"] = foreignText + " <no-reply@mg.example.com>" })
			},
			check: "logto-connector", want: Warning, says: []string{"another sender than mailgun.from"}, also: drift,
		},
		{
			name: "connector with other mails", change: func(w *world) {
				w.connector(func(c management.Object) {
					c["deliveries"].(object)["SignIn"] = object{"html": foreignText + "{{code}}", "subject": foreignText}
				})
			},
			check: "logto-connector", want: Warning, says: []string{"other mails than mailgun.deliveries"}, also: drift,
		},
		{
			name: "connector without Generic and Register", change: func(w *world) {
				w.connector(func(c management.Object) {
					delete(c["deliveries"].(object), "Generic")
					delete(c["deliveries"].(object), "Register")
				})
			},
			check: "logto-connector", want: Failed, says: []string{"none for Register, Generic", "portero setup apply"}, also: drift,
		},
		{
			name: "connector without mails, and no mailgun", change: func(w *world) {
				w.connector(func(c management.Object) { delete(c["deliveries"].(object), "Generic") })
				w.text = dropLine(w.text, "mailgun:")
			},
			check: "logto-connector", want: Failed, says: []string{"none for Generic", "Logto's console"},
		},
		{
			name: "connector with more mails", change: func(w *world) {
				w.connector(func(c management.Object) {
					c["deliveries"].(object)["BindMfa"] = object{"html": "{{code}}", "subject": foreignText}
				})
			},
			check: "logto-connector", want: OK,
		},
		{
			name: "roles and resources that are not there", change: func(w *world) {
				w.replace("roles: [admin]", "roles: [admin, auditor]")
				w.replace("app_secret_file: secret", "app_secret_file: secret\n  resources: [https://api.example.com]")
			},
			check: "logto-grants", want: Failed, says: []string{"the role auditor", "the API resource https://api.example.com", "portero setup apply", "logto.resources"}, also: drift,
		},
		{
			name: "a permission that is not there, and many roles", change: func(w *world) {
				if _, err := w.admin.CreateResource(w.t.Context(), "API", "https://api.example.com"); err != nil {
					w.t.Fatal(err)
				}
				w.adjust = func(c *config.Config) {
					c.Routes[0].Bearer.Audience = "https://api.example.com"
					c.Routes[0].Allow = append(c.Routes[0].Allow, config.Rule{Claims: []config.Claim{{Name: "scope", Values: []string{"read"}}}, Roles: []string{"a", "b", "c", "d", "e"}})
				}
			},
			check: "logto-grants", want: Failed, says: []string{"the role a, the role b", "and 1 more", "portero setup apply"}, also: drift,
		},
		{
			name: "a permission that is not there", change: func(w *world) {
				if _, err := w.admin.CreateResource(w.t.Context(), "API", "https://api.example.com"); err != nil {
					w.t.Fatal(err)
				}
				w.adjust = func(c *config.Config) {
					c.Routes[0].Bearer.Audience = "https://api.example.com"
					c.Routes[0].Allow = append(c.Routes[0].Allow, config.Rule{Claims: []config.Claim{{Name: "scope", Values: []string{"read"}}}})
				}
			},
			check: "logto-grants", want: Failed, says: []string{"the permission read of https://api.example.com", "portero setup apply"}, also: drift,
		},
		{
			name: "no role and no resource", change: func(w *world) { w.replace("{roles: [admin]}", "{email_domains: [example.com]}") },
			check: "logto-grants", want: OK, says: []string{"no route names"},
		},
		{
			name: "a resource that is there", change: func(w *world) {
				w.replace("app_secret_file: secret", "app_secret_file: secret\n  resources: [https://api.example.com]")
				if _, err := w.admin.CreateResource(w.t.Context(), "API", "https://api.example.com"); err != nil {
					w.t.Fatal(err)
				}
			},
			check: "logto-grants", want: OK,
		},
		{
			name: "drift", change: func(w *world) { w.experience(management.Object{"unknownSessionRedirectUrl": nil}) },
			check: "logto-drift", want: Warning, says: []string{"it differs (sign-in experience)", "portero setup plan"}, also: []string{"logto-unknown-session"},
		},
		{
			name: "drift that has to be set right by hand", change: func(w *world) { w.shownApplication("type", "SPA") },
			check: "logto-drift", want: Warning, says: []string{"logto.app_id", "portero setup plan"}, also: []string{"logto-application"},
		},
	})
}

// refreshDays sets how long refresh tokens last; 0: as Logto does.
func (w *world) refreshDays(days int) {
	w.application(func(_, custom management.Object) management.Object {
		if custom["refreshTokenTtlInDays"] = days; days == 0 {
			delete(custom, "refreshTokenTtlInDays")
		}
		return management.Object{"customClientMetadata": custom}
	})
}

// shownConnector changes what Logto says about the connector.
func (w *world) shownConnector(name string, value any) {
	edit(w, "/api/connectors", func(all []object) []object {
		all[0][name] = value
		return all
	})
}

// Credentials that stand in files are named by the key of the file.
func TestSecretFilesAreNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gatewaytest.TenantOptions{})
	w.replace("app_secret: "+w.logto.ManagementSecret, "app_secret_file: "+w.file("management", "another-secret-of-0123456789"))
	if f := w.run()["logto-management"]; f.Status != Failed || !strings.Contains(f.Remedy, "logto.management.app_secret_file") {
		t.Errorf("got %+v, want it to name logto.management.app_secret_file", f)
	}
}

// A file of authorities that cannot be read is one finding, and nothing else is tried.
func TestAuthoritiesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gatewaytest.TenantOptions{})
	c := w.load()
	c.Logto.CAFile = w.file("ca.pem", foreignText)
	findings := Run(t.Context(), Options{Config: c})
	at := slices.IndexFunc(findings, func(f Finding) bool { return f.Check == "logto-endpoint" })
	if at < 0 || findings[at].Status != Failed || !strings.Contains(findings[at].Remedy, "logto.ca_file") {
		t.Errorf("got %+v, want one that names logto.ca_file", findings)
	}
}

// What passes within the second is no finding; whoever asks to be left alone for longer is not waited for.
func TestSettingsAreReadAgain(t *testing.T) {
	t.Parallel()
	for after, tt := range map[string]struct {
		want  Status
		asked int32
	}{"": {OK, 3}, "1": {OK, 3}, "2": {Failed, 1}, "25": {Failed, 1}} {
		t.Run("Retry-After "+after, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, gatewaytest.TenantOptions{})
			var asked atomic.Int32
			w.logto.Hook(func(rw http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/api/connectors" || asked.Add(1) > 2 {
					return false
				}
				if after != "" {
					rw.Header().Set("Retry-After", after)
				}
				apiError(503, "system")(rw, r)
				return true
			})
			began := time.Now()
			if f := w.run()["logto-management"]; f.Status != tt.want || asked.Load() != tt.asked {
				t.Errorf("got %+v after %d requests, want %s after %d", f, asked.Load(), tt.want, tt.asked)
			}
			if took := time.Since(began); took > settingsTimeout {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// The file of authorities goes away between two checks.
func TestAuthoritiesThatAreGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, gatewaytest.TenantOptions{})
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	ca := w.file("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	c := w.load()
	c.Logto.CAFile = ca
	checks, end := logtoChecksWith(Options{Config: c, Now: w.now}, w.lookUp)
	defer end()
	if err := os.Remove(ca); err != nil {
		t.Fatal(err)
	}
	for _, f := range runAll(t.Context(), checks) {
		if f.Check == "logto-management" && (f.Status != Failed || !strings.Contains(f.Remedy, "logto.ca_file")) {
			t.Errorf("got %+v, want it to name logto.ca_file", f)
		}
	}
}

// The connector that names no endpoint is at the same place as one that names Mailgun's own.
func TestEndpointsOfTheConnector(t *testing.T) {
	t.Parallel()
	for _, same := range []string{"", "https://api.mailgun.net", "https://API.mailgun.net/"} {
		if got := endpointOf(same); got != endpointOf("") || got == endpointOf("https://api.eu.mailgun.net") {
			t.Errorf("%q: got %q", same, got)
		}
	}
}
