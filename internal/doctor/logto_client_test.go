package doctor

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"portero/internal/config"
	"portero/internal/gatewaytest"
	"portero/internal/management"
)

// oauthError answers as Logto does, with more than should be repeated.
func oauthError(status int, code string) func(http.ResponseWriter, *http.Request) {
	return func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(status)
		fmt.Fprintf(rw, `{"code":"oidc.%s","message":"%s","error":%q,"error_description":%q}`, code, foreignText, code, foreignText)
	}
}

// byCode lets a hook see the requests that redeem a code, and nobody else's token requests.
func (w *world) byCode(answer func(http.ResponseWriter, *http.Request)) {
	w.logto.Hook(func(rw http.ResponseWriter, r *http.Request) bool {
		if id, _, _ := r.BasicAuth(); r.URL.Path != "/oidc/token" || id == w.logto.ManagementID {
			return false
		}
		answer(rw, r)
		return true
	})
}

var byPassword = management.Object{
	"signUp": object{"identifiers": []string{"username"}, "password": true, "verify": false},
	"signIn": object{"methods": []object{{"identifier": "username", "password": true, "verificationCode": false, "isPasswordPrimary": true}}},
}

func TestClientChecks(t *testing.T) {
	t.Parallel()
	forward(t, []row{
		{
			name: "wrong secret", change: func(w *world) {
				w.secrets["another-secret-of-0123456789"] = "the client secret"
				w.replace("app_secret_file: secret", "app_secret: another-secret-of-0123456789")
			},
			check: "logto-client", want: Failed, says: []string{"401 invalid_client", "to logto.app_secret;", "Traditional web"}, also: []string{"logto-drift"},
		},
		{
			name: "wrong secret in a file", change: func(w *world) { w.file("secret", "another-secret-of-0123456789") },
			check: "logto-client", want: Failed, says: []string{"401 invalid_client", "logto.app_secret_file"}, also: []string{"logto-drift"},
		},
		{
			name: "unknown application", change: func(w *world) { w.replace("app_id: "+w.appID, "app_id: nobody") },
			check: "logto-client", want: Failed, says: []string{"does not know the application", "logto.app_id", "another tenant's"},
			skips: "logto-redirect-uris logto-post-logout-uris logto-application", also: []string{"logto-drift"},
		},
		{
			name: "the admin console, by its tenant", change: func(w *world) {
				w.replace("app_id: "+w.appID, "app_id: nobody")
				edit(w, "/api/.well-known/sign-in-exp", set("tenantId", "admin"))
			},
			check: "logto-client", want: Failed, says: []string{"admin console", "logto.endpoint", "3001"}, skips: "logto-redirect-uris logto-post-logout-uris", also: []string{"logto-drift"},
		},
		{
			name: "the admin console, by its own application", change: func(w *world) {
				w.logto.Hook(func(rw http.ResponseWriter, r *http.Request) bool {
					if r.URL.Query().Get("client_id") != "admin-console" {
						return false
					}
					oauthError(400, "invalid_redirect_uri")(rw, r)
					return true
				})
				w.replace("app_id: "+w.appID, "app_id: nobody")
			},
			check: "logto-client", want: Failed, says: []string{"admin console", "logto.endpoint"}, also: []string{"logto-drift"},
		},
		{
			name: "a machine-to-machine application", change: func(w *world) { w.byCode(oauthError(400, "unauthorized_client")) },
			check: "logto-client", want: Failed, says: []string{"logto.app_id", "logto.management.app_id", "Traditional web"}, skips: "logto-redirect-uris logto-post-logout-uris",
		},
		{
			name: "the token endpoint is out of order", change: func(w *world) { w.byCode(oauthError(503, "server_error")) },
			check: "logto-client", want: Warning, says: []string{"status 503"}, skips: "logto-redirect-uris logto-post-logout-uris",
		},
		{
			name: "the token endpoint does not answer", change: func(w *world) { w.byCode(cutOff) },
			check: "logto-client", want: Failed, says: []string{"let this machine reach {endpoint}/oidc/token", "logto.app_secret_file"}, skips: "logto-redirect-uris logto-post-logout-uris",
		},
		{
			name: "the token endpoint is elsewhere", change: func(w *world) {
				w.byCode(func(rw http.ResponseWriter, r *http.Request) { fmt.Fprint(rw, foreignText) })
			},
			check: "logto-client", want: Failed, says: []string{"status 200, which is none of Logto's", "/oidc/token"}, skips: "logto-redirect-uris logto-post-logout-uris",
		},
		{
			// The provider takes every loopback address, so the missing one is another.
			name: "redirect and post-logout URI of one host not registered",
			change: func(w *world) {
				w.replace("{name: admin, path: /admin,", "{name: admin, path: /admin, hosts: [wiki.test, 127.0.0.1],")
			},
			check: "logto-redirect-uris", want: Failed, says: []string{"1 of 2 not registered: http://wiki.test:", "/callback", "portero setup apply", "Redirect URIs", "external_url"},
			also: []string{"logto-post-logout-uris", "logto-drift"},
		},
		{
			name:   "post-logout URI not registered",
			change: func(w *world) { w.hook("/oidc/session/end", oauthError(400, "invalid_request")) },
			check:  "logto-post-logout-uris", want: Failed, says: []string{"1 of 1 not registered: {external}/_portero/signed-out", "Post sign-out redirect URIs", "portero setup apply"},
		},
		{
			name: "redirect URI that cannot be tried", change: func(w *world) { w.hook("/oidc/auth", oauthError(429, "slow_down")) },
			check: "logto-redirect-uris", want: Warning, says: []string{"status 429 for {external}/callback", "could not be tried"},
		},
		{
			name: "the end of a session is out of order", change: func(w *world) { w.hook("/oidc/session/end", oauthError(502, "server_error")) },
			check: "logto-post-logout-uris", want: Warning, says: []string{"status 502", "could not be tried"},
		},
		{
			name: "e-mail sign-in switched off", change: func(w *world) { w.experience(byPassword) },
			check: "logto-email-sign-in", want: Failed, says: []string{"no sign-in by e-mail", "portero setup apply", "Sign-up and sign-in"}, also: []string{"logto-drift"},
		},
		{
			name: "e-mail sign-in by password alone", change: func(w *world) {
				edit(w, "/api/.well-known/sign-in-exp", set("signIn", object{"methods": []object{{"identifier": "email", "password": true, "verificationCode": false}}}))
			},
			check: "logto-email-sign-in", want: Failed, says: []string{"password alone", "Verification code"},
		},
		{
			name: "people can register and not sign in", change: func(w *world) { edit(w, "/api/.well-known/sign-in-exp", set("signInMode", "Register")) },
			check: "logto-email-sign-in", want: Failed, says: []string{"only register"},
		},
		{
			name: "e-mail is not asked for", change: func(w *world) {
				w.replace("app_secret_file: secret", "app_secret_file: secret\n  sign_in: {identifiers: [username]}")
				w.experience(byPassword)
			},
			check: "logto-email-sign-in", want: Skipped, says: []string{"logto.sign_in.identifiers"}, also: []string{"logto-drift"},
		},
		{
			name: "the experience is not told", change: func(w *world) {
				w.hook("/api/.well-known/", func(rw http.ResponseWriter, r *http.Request) { fmt.Fprint(rw, foreignText) })
			},
			check: "logto-registration", want: Skipped, says: []string{"/api/.well-known/sign-in-exp"},
		},
		{
			name: "registration closed where it is to be open", change: func(w *world) { w.experience(management.Object{"signInMode": "SignIn"}) },
			check: "logto-registration", want: Warning, says: []string{"it is closed", "portero setup apply", "logto.sign_in.registration: closed"}, also: []string{"logto-drift"},
		},
		{
			name: "registration open where it is to be closed", change: func(w *world) {
				w.replace("app_secret_file: secret", "app_secret_file: secret\n  sign_in: {registration: closed}")
			},
			check: "logto-registration", want: Warning, says: []string{"it is open", "portero setup apply", "logto.sign_in.registration: open"}, also: []string{"logto-drift"},
		},
		{
			name: "registration open where it is to be closed, and a route admits everybody", change: func(w *world) {
				w.replace("app_secret_file: secret", "app_secret_file: secret\n  sign_in: {registration: closed}")
				w.replace("email_domains: [example.com]", `email_domains: ["*"]`)
			},
			check: "logto-registration", want: Failed, says: []string{"the routes app admit everybody", "portero setup apply"}, also: []string{"logto-drift"},
		},
		{
			name: "registration open, and a route admits everybody", change: func(w *world) { w.replace("email_domains: [example.com]", `email_domains: ["*"]`) },
			check: "logto-registration", want: Warning, says: []string{"the routes app", "allow", "logto.sign_in.registration: closed"},
		},
		{
			name: "registration open, and a route admits everybody of a network", change: func(w *world) {
				w.replace("email_domains: [example.com]", `email_domains: ["*"], networks: [10.0.0.0/8]`)
			},
			check: "logto-registration", want: OK,
		},
		{
			name: "registration closed, and a route admits everybody", change: func(w *world) {
				w.replace("app_secret_file: secret", "app_secret_file: secret\n  sign_in: {registration: closed}")
				w.replace("email_domains: [example.com]", `email_domains: ["*"]`)
				w.experience(management.Object{"signInMode": "SignIn"})
			},
			check: "logto-registration", want: OK,
		},
		{
			name: "no offline_access", change: func(w *world) { edit(w, discoveryPath, set("scopes_supported", []string{"openid", "profile"})) },
			check: "logto-refresh-tokens", want: Failed, says: []string{"offline_access is not offered", "release"},
		},
		{
			name: "no refresh tokens", change: func(w *world) { edit(w, discoveryPath, set("grant_types_supported", []string{"authorization_code"})) },
			check: "logto-refresh-tokens", want: Failed, says: []string{"refresh_token is not offered"},
		},
		{
			name: "another prompt", change: func(w *world) {
				w.adjust = func(c *config.Config) {
					c.Logto.SignIn.ExtraParams = []config.Param{{Name: "ui_locales", Value: "es"}, {Name: "prompt", Value: "login"}}
				}
			},
			check: "logto-refresh-tokens", want: Failed, says: []string{"prompt=consent", "prompt is set", "remove logto.sign_in.extra_params[1]"},
		},
		{
			name: "another scope", change: func(w *world) {
				w.adjust = func(c *config.Config) { c.Logto.SignIn.ExtraParams = []config.Param{{Name: "scope", Value: "openid"}} }
			},
			check: "logto-refresh-tokens", want: Failed, says: []string{"scope is set", "logto.sign_in.extra_params[0]"},
		},
		{
			name: "no back-channel logout", change: func(w *world) { edit(w, discoveryPath, set("backchannel_logout_supported", false)) },
			check: "backchannel-address", want: Failed, says: []string{"does not offer it", "release"},
		},
		{
			name: "private address, and Logto 1.42", check: "backchannel-address", want: Warning,
			says: []string{"1.42", "OIDC_PROVIDER_SSRF_PROTECTION_DISABLED=true", "/_portero/backchannel-logout"},
		},
		{
			name: "private address, and Logto 1.41", tenant: gatewaytest.TenantOptions{Line141: true}, check: "backchannel-address", want: OK,
			says: []string{"OIDC_PROVIDER_SSRF_PROTECTION_DISABLED=true"},
		},
		{
			name: "the gateway is not there", change: func(w *world) {
				w.gateway = func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }
			},
			check: "backchannel-answer", want: Skipped, says: []string{"external_url", "portero serve"},
		},
		{
			name: "a proxy's page", change: func(w *world) {
				w.gateway = func(rw http.ResponseWriter, _ *http.Request) bool {
					rw.Header().Set("Content-Type", "text/html")
					fmt.Fprint(rw, foreignText)
					return true
				}
			},
			check: "backchannel-answer", want: Failed, says: []string{"status 200 of something else", "/_portero/", "POST"},
		},
		{
			name: "a proxy's refusal", change: func(w *world) {
				w.gateway = func(rw http.ResponseWriter, _ *http.Request) bool {
					http.Error(rw, foreignText, http.StatusBadRequest)
					return true
				}
			},
			check: "backchannel-answer", want: Failed, says: []string{"status 400 of something else"},
		},
		{
			name: "a proxy's redirect", change: func(w *world) {
				w.gateway = func(rw http.ResponseWriter, _ *http.Request) bool {
					rw.Header().Set("Location", "https://elsewhere.example/?"+foreignText)
					rw.WriteHeader(http.StatusFound)
					return true
				}
			},
			check: "backchannel-answer", want: Failed, says: []string{"a redirect", "external_url"},
		},
		{
			name: "a gateway without that host", change: func(w *world) { w.gateway = answers(http.StatusMisdirectedRequest) },
			check: "backchannel-answer", want: Failed, says: []string{"421", "hosts of a route"},
		},
		{
			name: "a gateway in trouble", change: func(w *world) { w.gateway = answers(http.StatusServiceUnavailable) },
			check: "backchannel-answer", want: Warning, says: []string{"status 503 of the gateway"},
		},
	})
}

// answers is the gateway with a status.
func answers(status int) func(http.ResponseWriter, *http.Request) bool {
	return func(rw http.ResponseWriter, _ *http.Request) bool {
		rw.Header().Set("Proxy-Status", "portero; error=x")
		rw.WriteHeader(status)
		return true
	}
}

// Where Logto can reach external_url from, by the addresses of both.
func TestBackchannelAddress(t *testing.T) {
	t.Parallel()
	hosts := map[string]string{"gw.test": "203.0.113.5", "inner.test": "10.1.2.3", "tailnet.test": "100.100.1.1", "six.test": "fd00::1", "tenant.logto.app": "203.0.113.9", "logto.test": "203.0.113.8"}
	for _, tt := range []struct {
		external, logto string
		line141         bool
		want            Status
		says            string
	}{
		{"https://gw.test", "https://tenant.logto.app", false, OK, "https://gw.test/_portero/backchannel-logout"},
		{"https://gw.test", "https://logto.test", true, OK, ""},
		{"http://gw.test", "https://logto.test", false, Warning, "https external_url"},
		{"https://unknown.test", "https://logto.test", false, Warning, "cannot be looked up"},
		{"https://inner.test", "https://logto.test", false, Warning, "OIDC_PROVIDER_SSRF_PROTECTION_DISABLED=true"},
		{"https://inner.test", "https://logto.test", true, OK, "1.42"},
		{"https://tailnet.test", "https://logto.test", false, Warning, "OIDC_PROVIDER_SSRF_PROTECTION_DISABLED=true"},
		{"https://six.test", "https://logto.test", false, Warning, "OIDC_PROVIDER_SSRF_PROTECTION_DISABLED=true"},
		{"https://inner.test", "https://tenant.logto.app", false, Failed, "external_url that the internet can reach"},
		{"http://localhost:3000", "https://logto.test", false, Failed, "a loopback address"},
		{"http://localhost:3000", "https://tenant.logto.app", false, Failed, "a loopback address"},
		{"http://localhost:3000", "http://localhost:3001", false, Warning, "OIDC_PROVIDER_SSRF_PROTECTION_DISABLED=true"},
	} {
		w := &world{t: t, hosts: hosts, dir: t.TempDir(), text: `
external_url: ` + tt.external + `
insecure: [plain-http]
logto: {endpoint: ` + tt.logto + `, app_id: app-1, app_secret: 0123456789abcdef}
upstream: http://127.0.0.1:1
allow: [{email_domains: [example.com]}]
`}
		l, err := newLook(w.load(), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		doc := object{"issuer": l.issuer, "authorization_endpoint": l.issuer + "/auth", "backchannel_logout_supported": true}
		if tt.line141 {
			doc["request_parameter_supported"] = false
		}
		l.discovered.get(func() answer { return answer{status: 200, object: doc} })
		f := (&backchannel{look: l, resolve: w.lookUp}).checkAddress(t.Context())
		if text := f.Expected + f.Seen + f.Remedy; f.Status != tt.want || !strings.Contains(text, tt.says) {
			t.Errorf("%s behind %s: got %+v, want %s that says %q", tt.external, tt.logto, f, tt.want, tt.says)
		}
	}
}
