package tenant_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"portero/internal/demo/tenant"
)

// world is a tenant, and a clock that a test moves.
type world struct {
	*tenant.Tenant
	t    *testing.T
	now  time.Time
	sent []tenant.Mail
	fail error // of the next mails
}

func newWorld(t *testing.T, line141 bool) *world {
	t.Helper()
	w := &world{t: t, now: time.Unix(1_800_000_000, 0)}
	w.Tenant = tenant.New(tenant.Config{Line141: line141, Now: func() time.Time { return w.now }, Send: func(_ context.Context, m tenant.Mail) error {
		w.sent = append(w.sent, m)
		return w.fail
	}})
	return w
}

// ask makes one request; body and answer are JSON, "" and nil for none.
func (w *world) ask(method, path, body string) (int, any) {
	w.t.Helper()
	r := httptest.NewRequest(method, "http://127.0.0.1:3001"+path, strings.NewReader(body))
	got := httptest.NewRecorder()
	w.ServeHTTP(got, r)
	var answer any
	if got.Body.Len() > 0 {
		if err := json.Unmarshal(got.Body.Bytes(), &answer); err != nil {
			w.t.Fatalf("%s %s answered %d %q: %v", method, path, got.Code, got.Body, err)
		}
	}
	return got.Code, answer
}

// make makes something and returns it.
func (w *world) make(method, path, body string) map[string]any {
	w.t.Helper()
	status, got := w.ask(method, path, body)
	if status > 299 {
		w.t.Fatalf("%s %s: %d %v", method, path, status, got)
	}
	made, _ := got.(map[string]any)
	return made
}

const (
	traditional = `{"name":"a","type":"Traditional","oidcClientMetadata":{"redirectUris":["http://localhost:3000/callback"],"postLogoutRedirectUris":[]}}`
	mailgun     = `{"domain":"mg.example.com","apiKey":"key-test","from":"Test <no-reply@mg.example.com>","deliveries":{"Generic":{"subject":"{{code}}","html":"<p>{{code}}</p>"}}}`
	byEmail     = `{"signUp":{"identifiers":["email"],"password":false,"verify":true},"signIn":{"methods":[{"identifier":"email","password":false,"verificationCode":true,"isPasswordPrimary":false}]}}`
)

// TestSeed is a tenant that nobody has touched.
func TestSeed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	for _, path := range []string{"/api/applications", "/api/connectors", "/api/one-time-tokens"} {
		if status, got := w.ask("GET", path, ""); status != 200 || fmt.Sprint(got) != "[]" {
			t.Errorf("%s: got %d %v, want none", path, status, got)
		}
	}
	_, got := w.ask("GET", "/api/sign-in-exp", "")
	if methods := fmt.Sprint(got.(map[string]any)["signIn"]); !strings.Contains(methods, "username") || strings.Contains(methods, "email") {
		t.Errorf("people sign in by %s, want username", methods)
	}
	_, got = w.ask("GET", "/api/roles?type=MachineToMachine", "")
	if name := got.([]any)[0].(map[string]any)["name"]; name != "Logto Management API access" {
		t.Errorf("the role is %v", name)
	}
	_, got = w.ask("GET", "/api/resources/management-api/scopes", "")
	if name := got.([]any)[0].(map[string]any)["name"]; name != "all" {
		t.Errorf("the scope is %v, want all", name)
	}
}

// TestRefusals has a row for each way in which Logto says no. FIRST and CONNECTOR stand for the ids of what is there.
func TestRefusals(t *testing.T) {
	t.Parallel()
	const noRule = "Input is invalid. Application access control must include at least one rule before it can be enabled."
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		code, message            string // message "": not looked at
		details                  string // "": none
	}{
		{"unknown application", "GET", "/api/applications/nope", "", 404, "entity.not_exists_with_id", "The applications with ID `nope` does not exist.", ""},
		{"unknown application, changed", "PATCH", "/api/applications/nope", `{"name":"b"}`, 404, "entity.not_exists_with_id", "", ""},
		{"unknown application, deleted", "DELETE", "/api/applications/nope", "", 404, "entity.not_exists_with_id", "", ""},
		{"secrets of an unknown application", "GET", "/api/applications/nope/secrets", "", 404, "entity.not_exists_with_id", "", ""},
		{"body that is no JSON", "POST", "/api/applications", `{`, 400, "guard.invalid_input", "The request body is invalid.", "unexpected end of JSON input"},
		{"body that is no object", "POST", "/api/applications", `[]`, 400, "guard.invalid_input", "", `Error in key path "": (invalid_type) Expected object but received array.`},
		{"no name and no type", "POST", "/api/applications", `{}`, 400, "guard.invalid_input", "",
			`Error in key path "name": (invalid_type) Expected string but received undefined.` + "\n" +
				`Error in key path "type": (invalid_type) Expected 'Native' | 'SPA' | 'Traditional' | 'MachineToMachine' | 'Protected' | 'SAML' but received undefined.`},
		{"unknown type", "POST", "/api/applications", `{"name":"a","type":"Web"}`, 400, "guard.invalid_input", "",
			`Error in key path "type": (invalid_enum_value) Invalid enum value. Expected 'Native' | 'SPA' | 'Traditional' | 'MachineToMachine' | 'Protected' | 'SAML', received 'Web'`},
		{"empty name", "PATCH", "/api/applications/FIRST", `{"name":""}`, 400, "guard.invalid_input", "",
			`Error in key path "name": (too_small) String must contain at least 1 character(s)`},
		{"metadata in part", "PATCH", "/api/applications/FIRST", `{"oidcClientMetadata":{"backchannelLogoutUri":"http://localhost:3000/x"}}`, 400, "guard.invalid_input", "",
			`Error in key path "oidcClientMetadata.redirectUris": (invalid_type) Expected array but received undefined.` + "\n" +
				`Error in key path "oidcClientMetadata.postLogoutRedirectUris": (invalid_type) Expected array but received undefined.`},
		{"redirect URI that is none", "PATCH", "/api/applications/FIRST", `{"oidcClientMetadata":{"redirectUris":["http://a/","not a uri"],"postLogoutRedirectUris":[]}}`, 400,
			"guard.invalid_input", "The request body is invalid.", `Error in key path "oidcClientMetadata.redirectUris.1": (custom) Invalid input`},
		{"back-channel URI that is none", "PATCH", "/api/applications/FIRST", `{"oidcClientMetadata":{"redirectUris":[],"postLogoutRedirectUris":[],"backchannelLogoutUri":"x"}}`, 400,
			"guard.invalid_input", "", `Error in key path "oidcClientMetadata.backchannelLogoutUri": (invalid_string) Invalid url`},
		{"refresh token for no day", "PATCH", "/api/applications/FIRST", `{"customClientMetadata":{"refreshTokenTtlInDays":0}}`, 400, "guard.invalid_input", "",
			`Error in key path "customClientMetadata.refreshTokenTtlInDays": (too_small) Number must be greater than or equal to 1`},
		{"refresh token for too long", "PATCH", "/api/applications/FIRST", `{"customClientMetadata":{"refreshTokenTtlInDays":181}}`, 400, "guard.invalid_input", "",
			`Error in key path "customClientMetadata.refreshTokenTtlInDays": (too_big) Number must be less than or equal to 180`},
		{"refresh token for part of a day", "PATCH", "/api/applications/FIRST", `{"customClientMetadata":{"refreshTokenTtlInDays":1.5}}`, 400, "guard.invalid_input", "",
			`Error in key path "customClientMetadata.refreshTokenTtlInDays": (invalid_type) Expected integer but received float.`},
		{"unknown type in the query", "GET", "/api/applications?types=Web", "", 400, "guard.invalid_input", "The request query is invalid.", "ANY"},
		{"page nought", "GET", "/api/applications?page=0", "", 400, "guard.invalid_pagination", "The request pagination value is invalid.", ""},
		{"page too large", "GET", "/api/roles?page_size=101", "", 400, "guard.invalid_pagination", "", ""},
		{"secret of a name that is taken", "POST", "/api/applications/FIRST/secrets", `{"name":"Default secret","expiresAt":null}`, 422, "application.secret_name_exists", "Secret name already exists.", ""},
		{"secret that has expired", "POST", "/api/applications/FIRST/secrets", `{"name":"b","expiresAt":1}`, 400, "request.invalid_input", "", ""},
		{"unknown secret", "DELETE", "/api/applications/FIRST/secrets/nope", "", 404, "entity.not_found", "The resource does not exist.", ""},
		{"access control without a rule", "PATCH", "/api/applications/FIRST", `{"appLevelAccessControlEnabled":true}`, 422, "request.invalid_input", noRule, ""},
		{"access control in part", "PUT", "/api/applications/FIRST/access-control", `{"userIds":[]}`, 400, "guard.invalid_input", "", "ANY"},
		{"role for an application of people", "POST", "/api/applications/FIRST/roles", `{"roleIds":[]}`, 422, "application.invalid_type", "", ""},

		{"application of SAML", "POST", "/api/applications", `{"name":"a","type":"SAML"}`, 400, "application.saml.use_saml_app_api", "", ""},
		{"protected application", "POST", "/api/applications", `{"name":"a","type":"Protected"}`, 400, "application.protected_app_metadata_is_required", "", ""},
		{"device flow of a web application", "POST", "/api/applications", `{"name":"a","type":"Traditional","customClientMetadata":{"isDeviceFlow":true}}`, 422, "application.device_flow_native_only", "", ""},
		{"device flow, changed", "PATCH", "/api/applications/FIRST", `{"customClientMetadata":{"isDeviceFlow":true}}`, 422, "application.device_flow_not_changeable", "", ""},
		{"name that is too long", "PATCH", "/api/applications/FIRST", `{"name":"` + strings.Repeat("a", 257) + `"}`, 400, "guard.invalid_input", "",
			`Error in key path "name": (too_big) String must contain at most 256 character(s)`},
		{"no grant at all", "PATCH", "/api/applications/FIRST", `{"customClientMetadata":{"maxAllowedGrants":0}}`, 400, "guard.invalid_input", "",
			`Error in key path "customClientMetadata.maxAllowedGrants": (too_small) Number must be greater than 0`},
		{"types that are wrong", "PATCH", "/api/applications/FIRST", `{"name":null,"description":1,"customData":"x","customClientMetadata":{"idTokenTtl":true,"rotateRefreshToken":{}}}`, 400, "guard.invalid_input", "",
			`Error in key path "name": (invalid_type) Expected string but received null.` + "\n" +
				`Error in key path "description": (invalid_type) Expected string but received number.` + "\n" +
				`Error in key path "customClientMetadata.idTokenTtl": (invalid_type) Expected number but received boolean.` + "\n" +
				`Error in key path "customClientMetadata.rotateRefreshToken": (invalid_type) Expected boolean but received object.` + "\n" +
				`Error in key path "customData": (invalid_type) Expected object but received string.`},
		{"secret of an unknown application", "POST", "/api/applications/nope/secrets", `{"name":"b","expiresAt":null}`, 404, "entity.not_exists_with_id", "", ""},
		{"secret that expires now", "POST", "/api/applications/FIRST/secrets", `{"name":"b","expiresAt":1800000000000}`, 400, "request.invalid_input", "", ""},
		{"secret of an unknown application, deleted", "DELETE", "/api/applications/nope/secrets/x", "", 404, "entity.not_exists_with_id", "", ""},
		{"access control of an unknown application", "GET", "/api/applications/nope/access-control", "", 404, "entity.not_exists_with_id", "", ""},
		{"access control by no role of an organization", "PUT", "/api/applications/FIRST/access-control",
			`{"userIds":["ann"],"userRoleIds":[],"organizationIds":[],"organizationRoleRules":[{"organizationId":"o","organizationRoleIds":[]}]}`, 422, "request.invalid_input", "", ""},
		{"body that is too large", "PATCH", "/api/applications/FIRST", `{"description":"` + strings.Repeat("a", 1<<20) + `"}`, 413, "guard.invalid_input", "", ""},
		{"roles of an unknown application", "GET", "/api/applications/nope/roles", "", 404, "entity.not_exists_with_id", "", ""},
		{"role for an unknown application", "POST", "/api/applications/nope/roles", `{"roleIds":[]}`, 404, "entity.not_exists_with_id", "", ""},

		{"unknown factory", "GET", "/api/connector-factories/nope", "", 404, "entity.not_found", "", ""},
		{"unknown connector's id, changed", "PATCH", "/api/connectors/nope", `{"config":` + mailgun + `}`, 404, "entity.not_found", "", ""},
		{"unknown connector's id, deleted", "DELETE", "/api/connectors/nope", "", 404, "entity.not_found", "", ""},
		{"connector by the factory's id", "DELETE", "/api/connectors/mailgun-email", "", 404, "entity.not_found", "", ""},
		{"test of an unknown connector by message", "POST", "/api/connectors/nope/test", `{"phone":"1","config":` + mailgun + `}`, 400, "connector.not_found", "Cannot find any available connector for type: Sms.", ""},
		{"test by message", "POST", "/api/connectors/mailgun-email/test", `{"phone":"1","config":` + mailgun + `}`, 400, "connector.unexpected_type", "", ""},
		{"test of the id that the connector has", "POST", "/api/connectors/CONNECTOR/test", `{"email":"a@b.example","config":` + mailgun + `}`, 400, "connector.not_found", "", ""},
		{"test of a configuration in part", "POST", "/api/connectors/mailgun-email/test", `{"email":"a@b.example","config":{"domain":"x"}}`, 400, "connector.invalid_config", "", "ANY"},

		{"secondary identifier alone", "PATCH", "/api/sign-in-exp", `{"signUp":{"identifiers":[],"password":true,"verify":true,"secondaryIdentifiers":[{"identifier":"email","verify":true}]}}`, 400,
			"sign_in_experiences.missing_sign_up_identifiers", "", ""},
		{"identifier that is primary and secondary", "PATCH", "/api/sign-in-exp", `{"signUp":{"identifiers":["email"],"password":true,"verify":true,"secondaryIdentifiers":[{"identifier":"emailOrPhone","verify":true}]}}`, 400,
			"sign_in_experiences.duplicated_sign_up_identifiers", "", ""},
		{"secondary identifier without verification", "PATCH", "/api/sign-in-exp", `{"signUp":{"identifiers":["username"],"password":true,"verify":true,"secondaryIdentifiers":[{"identifier":"email"}]}}`, 400,
			"sign_in_experiences.passwordless_requires_verify", "", ""},
		{"sign-in by message", "PATCH", "/api/sign-in-exp", `{"signIn":{"methods":[{"identifier":"phone","password":false,"verificationCode":true,"isPasswordPrimary":false}]}}`, 400,
			"sign_in_experiences.enabled_connector_not_found", "Enabled Sms connector not found.", ""},
		{"unknown type of roles", "GET", "/api/roles?type=People", "", 400, "guard.invalid_input", "The request query is invalid.", "ANY"},
		{"internal role", "POST", "/api/roles", `{"name":"#internal:x","description":"x"}`, 403, "role.internal_role_violation", "", ""},
		{"unknown role", "GET", "/api/roles/nope", "", 404, "entity.not_exists_with_id", "", ""},
		{"unknown role, deleted", "DELETE", "/api/roles/nope", "", 404, "entity.not_exists_with_id", "", ""},
		{"unknown resource", "GET", "/api/resources/nope", "", 404, "entity.not_exists_with_id", "", ""},
		{"unknown resource, deleted", "DELETE", "/api/resources/nope", "", 404, "entity.not_exists_with_id", "", ""},
		{"the Management API, deleted", "DELETE", "/api/resources/management-api", "", 400, "resource.cannot_delete_management_api", "", ""},
		{"unknown token by its id", "GET", "/api/one-time-tokens/nope", "", 404, "entity.not_exists_with_id", "", ""},
		{"unknown token, deleted", "DELETE", "/api/one-time-tokens/nope", "", 404, "entity.not_exists_with_id", "", ""},
		{"unknown token, revoked", "PUT", "/api/one-time-tokens/nope/status", `{"status":"revoked"}`, 404, "entity.not_exists_with_id", "", ""},
		{"unknown status of tokens", "GET", "/api/one-time-tokens?status=new", "", 400, "guard.invalid_input", "The request query is invalid.", "ANY"},

		{"unknown connector", "POST", "/api/connectors", `{"connectorId":"nope","config":{}}`, 422, "connector.not_found_with_connector_id", "Can not find connector with given standard connector id.", ""},
		{"unknown connector's id", "GET", "/api/connectors/nope", "", 404, "entity.not_found", "The resource does not exist.", ""},
		{"configuration in part", "PATCH", "/api/connectors/CONNECTOR", `{"config":{"domain":"x"}}`, 400, "connector.invalid_config", "The connector's config is invalid.",
			`Error in key path "apiKey": (invalid_type) Expected string but received undefined.` + "\n" +
				`Error in key path "from": (invalid_type) Expected string but received undefined.` + "\n" +
				`Error in key path "deliveries": (invalid_type) Expected object but received undefined.`},
		{"endpoint elsewhere", "POST", "/api/connectors", `{"connectorId":"mailgun-email","config":` + with(mailgun, `"endpoint":"https://api.example.com"`) + `}`, 400, "connector.invalid_config", "",
			`Error in key path "endpoint": (invalid_string) Invalid input: must end with ".mailgun.net"`},
		{"endpoint that is no URL", "PATCH", "/api/connectors/CONNECTOR", `{"config":` + with(mailgun, `"endpoint":"api.mailgun.net"`) + `}`, 400, "connector.invalid_config", "",
			`Error in key path "endpoint": (invalid_string) Invalid url`},
		{"delivery that is none", "PATCH", "/api/connectors/CONNECTOR", `{"config":` + strings.Replace(mailgun, "html", "text", 1) + `}`, 400, "connector.invalid_config", "",
			`Error in key path "deliveries.Generic": (invalid_union) Invalid input`},
		{"test of an unknown connector", "POST", "/api/connectors/nope/test", `{"email":"a@b.example","config":` + mailgun + `}`, 400, "connector.not_found", "Cannot find any available connector for type: Email.", ""},
		{"test to nobody", "POST", "/api/connectors/mailgun-email/test", `{"config":` + mailgun + `}`, 400, "guard.invalid_input", "", ""},
		{"test to what is no address", "POST", "/api/connectors/mailgun-email/test", `{"email":"a","config":` + mailgun + `}`, 400, "guard.invalid_input", "", `Error in key path "email": (invalid_string) Invalid`},
		{"test without a configuration", "POST", "/api/connectors/mailgun-email/test", `{"email":"a@b.example"}`, 400, "guard.invalid_input", "", "ANY"},
		{"test without Generic", "POST", "/api/connectors/mailgun-email/test", `{"email":"a@b.example","config":` + strings.Replace(mailgun, "Generic", "SignIn", 1) + `}`, 400,
			"connector.template_not_found", "Unable to find correct template in connector config.", ""},

		{"codes without verification", "PATCH", "/api/sign-in-exp", `{"signUp":{"identifiers":["email"],"password":false,"verify":false}}`, 400,
			"sign_in_experiences.passwordless_requires_verify", "Must enable verify for email/phone sign up identifier.", ""},
		{"codes by message", "PATCH", "/api/sign-in-exp", `{"signUp":{"identifiers":["phone"],"password":false,"verify":true}}`, 400, "sign_in_experiences.enabled_connector_not_found", "Enabled Sms connector not found.", ""},
		{"identifier twice", "PATCH", "/api/sign-in-exp", `{"signUp":{"identifiers":["email","email"],"password":false,"verify":true}}`, 400, "sign_in_experiences.duplicated_sign_up_identifiers", "", ""},
		{"sign-in by nothing", "PATCH", "/api/sign-in-exp", `{"signIn":{"methods":[{"identifier":"username","password":false,"verificationCode":false,"isPasswordPrimary":false}]}}`, 400,
			"sign_in_experiences.at_least_one_authentication_factor", "", ""},
		{"password alone where sign-up has none", "PATCH", "/api/sign-in-exp",
			`{"signUp":{"identifiers":["email"],"password":false,"verify":true},"signIn":{"methods":[{"identifier":"email","password":true,"verificationCode":false,"isPasswordPrimary":true}]}}`, 400,
			"sign_in_experiences.code_sign_in_must_be_enabled", "", ""},
		{"unknown mode", "PATCH", "/api/sign-in-exp", `{"signInMode":"Open"}`, 400, "guard.invalid_input", "", "ANY"},
		{"redirect that is no URL", "PATCH", "/api/sign-in-exp", `{"unknownSessionRedirectUrl":"/x"}`, 400, "guard.invalid_input", "", `Error in key path "unknownSessionRedirectUrl": (invalid_string) Invalid url`},
		{"sign-up in part", "PATCH", "/api/sign-in-exp", `{"signUp":{"identifiers":["email"]}}`, 400, "guard.invalid_input", "", "ANY"},

		{"resource that is there", "POST", "/api/resources", `{"name":"x","indicator":"https://default.logto.app/api"}`, 422, "resource.resource_identifier_in_use",
			"The API identifier https://default.logto.app/api is already in use", ""},
		{"resource whose tokens are good for part of a second", "POST", "/api/resources", `{"name":"x","indicator":"y","accessTokenTtl":1.5}`, 400, "guard.invalid_input", "", "ANY"},
		{"resource whose tokens are good for ever", "POST", "/api/resources", `{"name":"x","indicator":"y","accessTokenTtl":1e300}`, 400, "guard.invalid_input", "", "ANY"},
		{"scope of the Management API", "POST", "/api/resources/management-api/scopes", `{"name":"read"}`, 400, "resource.cannot_modify_management_api", "", ""},
		{"scope of an unknown resource", "POST", "/api/resources/nope/scopes", `{"name":"read"}`, 404, "entity.not_exists_with_id", "", ""},
		{"scope of two words", "POST", "/api/resources/management-api/scopes", `{"name":"read it"}`, 400, "scope.name_with_space", "The name of the scope cannot contain any spaces.", ""},
		{"role that is there", "POST", "/api/roles", `{"name":"Logto Management API access","description":"x"}`, 422, "role.name_in_use", "This role name Logto Management API access is already in use", ""},
		{"role without a description", "POST", "/api/roles", `{"name":"x","description":""}`, 400, "guard.invalid_input", "", `Error in key path "description": (too_small) String must contain at least 1 character(s)`},
		{"token for no time", "POST", "/api/one-time-tokens", `{"email":"a@b.example","expiresIn":0}`, 400, "guard.invalid_input", "", "ANY"},
		{"unknown token", "POST", "/api/one-time-tokens/verify", `{"email":"a@b.example","token":"x"}`, 404, "one_time_token.token_not_found", "Token x not found.", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, false)
			first := w.make("POST", "/api/applications", traditional)["id"].(string)
			connector := w.make("POST", "/api/connectors", `{"connectorId":"mailgun-email","config":`+mailgun+`}`)["id"].(string)
			before := everything(w)
			status, got := w.ask(tt.method, strings.NewReplacer("FIRST", first, "CONNECTOR", connector).Replace(tt.path), tt.body)
			said, _ := got.(map[string]any)
			details, _ := said["details"].(string)
			if status != tt.status || said["code"] != tt.code || (tt.message != "" && said["message"] != tt.message) || (tt.details != "ANY" && details != tt.details) {
				t.Errorf("got %d %v\nwant %d %s %q %q", status, got, tt.status, tt.code, tt.message, tt.details)
			}
			if diff := cmp.Diff(before, everything(w)); diff != "" {
				t.Errorf("a refusal changed the tenant (-before +after):\n%s", diff)
			}
			if len(w.sent) > 0 {
				t.Errorf("a refusal sent %d mails", len(w.sent))
			}
		})
	}
}

// with puts a member into a JSON object.
func with(object, member string) string { return "{" + member + "," + object[1:] }

// everything is what a tenant tells of itself.
func everything(w *world) map[string]any {
	all := map[string]any{}
	for _, path := range []string{"/api/applications", "/api/connectors", "/api/sign-in-exp", "/api/resources", "/api/roles", "/api/one-time-tokens"} {
		_, all[path] = w.ask("GET", path, "")
	}
	return all
}

func TestWithoutAConnector(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	const signInAlone = `{"signIn":{"methods":[{"identifier":"email","password":true,"verificationCode":true,"isPasswordPrimary":true}]}}`
	refused := func(when string) {
		t.Helper()
		for _, body := range []string{byEmail, signInAlone} {
			status, got := w.ask("PATCH", "/api/sign-in-exp", body)
			if said := got.(map[string]any); status != 400 || said["code"] != "sign_in_experiences.enabled_connector_not_found" || said["message"] != "Enabled Email connector not found." {
				t.Errorf("%s, %s: got %d %v, want 400 enabled_connector_not_found", when, body, status, got)
			}
		}
	}
	refused("before there is a connector")
	id := w.make("POST", "/api/connectors", `{"connectorId":"mailgun-email","config":`+mailgun+`}`)["id"].(string)
	w.make("PATCH", "/api/sign-in-exp", byEmail)
	w.make("DELETE", "/api/connectors/"+id, "")
	if !w.Experience().EmailCode {
		t.Error("the sign-in experience was changed when its connector went")
	}
	var said *tenant.Error
	if err := w.SendCode(t.Context(), "SignIn", "a@b.example", "123456"); !errors.As(err, &said) || said.Status != 501 || said.Code != "connector.not_found" {
		t.Errorf("sending a code: got %v, want 501 connector.not_found", err)
	}
	refused("after it has gone")
}

// TestReplacedWhole is what surprises people: metadata and configurations are not merged, the rest is.
func TestReplacedWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	id := w.make("POST", "/api/applications", traditional)["id"].(string)
	w.make("PATCH", "/api/applications/"+id, `{"oidcClientMetadata":{"redirectUris":["http://a/"],"postLogoutRedirectUris":["http://b/"],"backchannelLogoutUri":"http://c/","backchannelLogoutSessionRequired":true,"unknown":1}}`)
	got := w.make("PATCH", "/api/applications/"+id, `{"customClientMetadata":{"refreshTokenTtlInDays":30},"description":"x"}`)
	want := map[string]any{"redirectUris": []any{"http://a/"}, "postLogoutRedirectUris": []any{"http://b/"}, "backchannelLogoutUri": "http://c/", "backchannelLogoutSessionRequired": true}
	if diff := cmp.Diff(want, got["oidcClientMetadata"]); diff != "" {
		t.Errorf("a change of other members (-want +got):\n%s", diff)
	}
	got = w.make("PATCH", "/api/applications/"+id, `{"oidcClientMetadata":{"redirectUris":[],"postLogoutRedirectUris":[]},"customClientMetadata":{}}`)
	if diff := cmp.Diff(map[string]any{"redirectUris": []any{}, "postLogoutRedirectUris": []any{}}, got["oidcClientMetadata"]); diff != "" {
		t.Errorf("metadata that lacks members (-want +got):\n%s", diff)
	}
	if len(got["customClientMetadata"].(map[string]any)) != 0 || got["description"] != "x" || got["name"] != "a" {
		t.Errorf("after that: got %v", got)
	}

	connector := w.make("POST", "/api/connectors", `{"connectorId":"mailgun-email","config":`+with(mailgun, `"endpoint":"https://api.eu.mailgun.net","note":"kept","empty":""`)+`}`)
	if config := connector["config"].(map[string]any); config["note"] != "kept" || config["empty"] != nil {
		t.Errorf("the configuration is %v, want unknown members kept and empty ones dropped", config)
	}
	after := w.make("PATCH", "/api/connectors/"+connector["id"].(string), `{"config":`+mailgun+`}`)
	if config := after["config"].(map[string]any); config["endpoint"] != nil || after["id"] != connector["id"] {
		t.Errorf("the configuration is %v, want no endpoint", config)
	}
	second := w.make("POST", "/api/connectors", `{"connectorId":"mailgun-email","config":`+mailgun+`}`)
	if _, all := w.ask("GET", "/api/connectors", ""); len(all.([]any)) != 1 || second["id"] == connector["id"] {
		t.Errorf("after a second one: %v", all)
	}
	if got := w.make("PATCH", "/api/sign-in-exp", `{"unknownSessionRedirectUrl":"https://a/x","nonsense":1}`); got["unknownSessionRedirectUrl"] != "https://a/x" || got["nonsense"] != nil {
		t.Errorf("the experience is %v", got)
	}
	if got := w.make("PATCH", "/api/sign-in-exp", `{"unknownSessionRedirectUrl":""}`); got["unknownSessionRedirectUrl"] != nil {
		t.Errorf("an empty redirect is stored as %v, want null", got["unknownSessionRedirectUrl"])
	}
}

func TestRedirectURIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	for uri, good := range map[string]bool{
		"http://localhost:3000/callback": true, "https://wiki.example.com/callback?a=b": true, "https://a.example/cb#fragment": true,
		"ftp://a.example/": true, "com.example.app://callback": true, "https://*.example.com/cb": true, "https://a-*.example.com/*/cb": true,
		"not a uri": false, "": false, "/callback": false, "http://": false, "http://a b/": false, "https://*/cb": false, "https://a.example/cb?x=*": false,
		"https://a.example:*/cb": false, "https://a.example/../cb": false, "https://a.example:99999/": false,
	} {
		body, err := json.Marshal(map[string]any{"name": "a", "type": "Traditional",
			"oidcClientMetadata": map[string]any{"redirectUris": []string{uri}, "postLogoutRedirectUris": []string{}}})
		if err != nil {
			t.Fatal(err)
		}
		if status, got := w.ask("POST", "/api/applications", string(body)); (status == 200) != good {
			t.Errorf("%q: got %d %v, want good: %t", uri, status, got, good)
		}
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	for _, line141 := range []bool{true, false} {
		w := newWorld(t, line141)
		made := w.make("POST", "/api/applications", traditional)
		internal, told := made["secret"].(string)
		if told != line141 || (told && !regexp.MustCompile(`^#internal:[A-Za-z0-9]{32}$`).MatchString(internal)) {
			t.Errorf("line 1.41 %t: the member secret is %q", line141, internal)
		}
		id := made["id"].(string)
		second := w.make("POST", "/api/applications/"+id+"/secrets", `{"name":"second","expiresAt":1800000060000}`)["value"].(string)
		_, all := w.ask("GET", "/api/applications/"+id+"/secrets", "")
		first := all.([]any)[0].(map[string]any)["value"].(string)
		good := func(when string, value string, want bool) {
			t.Helper()
			if got := w.Authenticates(id, value); got != want {
				t.Errorf("line 1.41 %t: %s: got %t, want %t", line141, when, got, want)
			}
		}
		good("the first", first, true)
		good("the second beside it", second, true)
		good("none", "", false)
		if told {
			good("the internal one", internal, true)
		}
		w.now = w.now.Add(time.Minute)
		good("the second after its end", second, false)
		w.make("DELETE", "/api/applications/"+id+"/secrets/Default%20secret", "")
		good("the first after it was deleted", first, false)
		if w.Authenticates("nope", first) {
			t.Error("a secret is good for an unknown application")
		}
	}
}

func TestAccessControl(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	id := w.make("POST", "/api/applications", traditional)["id"].(string)
	role := w.make("POST", "/api/roles", `{"name":"editor","description":"edits"}`)
	if role["type"] != "User" {
		t.Errorf("a role is for %v unless it says for whom, want User", role["type"])
	}
	w.make("PUT", "/api/applications/"+id+"/access-control", `{"userIds":["ann"],"userRoleIds":["`+role["id"].(string)+`"],"organizationIds":[],"organizationRoleRules":[]}`)
	if !w.Allows(id, "bob", nil) {
		t.Error("rules count before they are switched on")
	}
	w.make("PATCH", "/api/applications/"+id, `{"appLevelAccessControlEnabled":true}`)
	for _, tt := range []struct {
		subject string
		roles   []string
		want    bool
	}{{"ann", nil, true}, {"bob", []string{"editor"}, true}, {"bob", []string{"admin"}, false}, {"bob", nil, false}} {
		if got := w.Allows(id, tt.subject, tt.roles); got != tt.want {
			t.Errorf("%s with %v: got %t, want %t", tt.subject, tt.roles, got, tt.want)
		}
	}
	if status, got := w.ask("PUT", "/api/applications/"+id+"/access-control", `{"userIds":[],"userRoleIds":[],"organizationIds":[],"organizationRoleRules":[]}`); status != 422 {
		t.Errorf("taking the last rule: got %d %v, want 422", status, got)
	}
}

// TestPages reads a list in parts, with the links that Logto makes.
func TestPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	for i := range 5 {
		w.make("POST", "/api/applications", strings.Replace(traditional, `"a"`, fmt.Sprintf(`"a%d"`, i), 1))
	}
	r := httptest.NewRequest("GET", "http://127.0.0.1:3001/api/applications?page_size=2&page=2", nil)
	got := httptest.NewRecorder()
	w.ServeHTTP(got, r)
	var some []map[string]any
	if err := json.Unmarshal(got.Body.Bytes(), &some); err != nil || len(some) != 2 || some[0]["name"] != "a2" {
		t.Errorf("the second page is %v (%v)", some, err)
	}
	const at = "<http://127.0.0.1:3001/applications?page_size=2&page="
	want := at + `1>; rel="first", ` + at + `1>; rel="prev", ` + at + `3>; rel="last", ` + at + `3>; rel="next"`
	if link := got.Header().Get("Link"); link != want || got.Header().Get("Total-Number") != "5" {
		t.Errorf("got %q and %q\nwant %q and 5", link, got.Header().Get("Total-Number"), want)
	}
	if _, all := w.ask("GET", "/api/applications?page=9", ""); len(all.([]any)) != 0 {
		t.Errorf("a page behind the last has %v", all)
	}
	if _, all := w.ask("GET", "/api/applications", ""); len(all.([]any)) != 5 {
		t.Errorf("without a page: %d, want all", len(all.([]any)))
	}
}

// TestMails is the connector's side of the wire.
func TestMails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	config := `{"endpoint":"http://127.0.0.1:9925/sink.mailgun.net","domain":"mg.example.com","apiKey":"key-test","from":"Test <no-reply@mg.example.com>","deliveries":{
		"Generic":{"subject":"Generic {{code}}","html":"<p>{{code}}</p>","text":"{{code}}"},
		"SignIn":{"html":"<p>{{code}} {{other}}</p>","replyTo":"Help <help@example.com>"},
		"Register":{"subject":"Welcome","template":"welcome","variables":{"brand":"A & B"}}}}`
	w.make("POST", "/api/connectors", `{"connectorId":"mailgun-email","config":`+config+`}`)
	from := tenant.Field{Name: "from", Value: "Test <no-reply@mg.example.com>"}
	to := tenant.Field{Name: "to", Value: "Ann@example.com"}
	for usage, want := range map[string][]tenant.Field{
		"Generic":        {from, to, {Name: "subject", Value: "Generic 012345"}, {Name: "html", Value: "<p>012345</p>"}, {Name: "text", Value: "012345"}},
		"ForgotPassword": {from, to, {Name: "subject", Value: "Generic 012345"}, {Name: "html", Value: "<p>012345</p>"}, {Name: "text", Value: "012345"}},
		"SignIn":         {from, to, {Name: "h:Reply-To", Value: "Help <help@example.com>"}, {Name: "html", Value: "<p>012345 {{other}}</p>"}},
		"Register": {from, to, {Name: "subject", Value: "Welcome"}, {Name: "template", Value: "welcome"},
			{Name: "h:X-Mailgun-Variables", Value: `{"brand":"A & B","code":"012345"}`}},
	} {
		w.sent = nil
		if err := w.SendCode(t.Context(), usage, "Ann@example.com", "012345"); err != nil || len(w.sent) != 1 {
			t.Fatalf("%s: got %v and %d mails", usage, err, len(w.sent))
		}
		if diff := cmp.Diff(want, w.sent[0].Form); diff != "" {
			t.Errorf("%s (-want +got):\n%s", usage, diff)
		}
		if w.sent[0].URL != "http://127.0.0.1:9925/v3/mg.example.com/messages" || w.sent[0].APIKey != "key-test" {
			t.Errorf("%s goes to %s with %s", usage, w.sent[0].URL, w.sent[0].APIKey)
		}
	}
}

// TestConnectorTest is a test mail that arrives, one that is refused, and one that finds nobody: then Logto tells everything.
func TestConnectorTest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	body := `{"email":"ann@example.com","config":` + mailgun + `}`
	if status, got := w.ask("POST", "/api/connectors/mailgun-email/test", body); status != 204 || got != nil {
		t.Errorf("got %d %v, want 204", status, got)
	}
	if len(w.sent) != 1 || w.sent[0].Code != "000000" || w.sent[0].URL != "https://api.mailgun.net/v3/mg.example.com/messages" {
		t.Errorf("sent %+v", w.sent)
	}
	w.fail = &tenant.MailError{Status: 401, Body: "Forbidden"}
	status, got := w.ask("POST", "/api/connectors/mailgun-email/test", body)
	want := map[string]any{
		"code": "connector.general", "data": map[string]any{"statusCode": 401.0, "body": "Forbidden"},
		"message": `Error occurred in connector: {"statusCode":401,"body":"Forbidden"}`,
	}
	if diff := cmp.Diff(any(want), got); diff != "" || status != 400 {
		t.Errorf("refused: got %d (-want +got):\n%s", status, diff)
	}
	w.fail = errors.New("connection refused")
	status, got = w.ask("POST", "/api/connectors/mailgun-email/test", body)
	said, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"api:key-test@", "Basic YXBpOmtleS10ZXN0", "000000"} {
		if status != 400 || !strings.Contains(string(said), secret) || !strings.Contains(fmt.Sprint(got.(map[string]any)["message"]), secret) {
			t.Errorf("unreachable: got %d %s, which lacks %s", status, said, secret)
		}
	}
	w.make("POST", "/api/connectors", `{"connectorId":"mailgun-email","config":`+mailgun+`}`)
	if err := w.SendCode(t.Context(), "SignIn", "ann@example.com", "123456"); err == nil || err.Error() != "connector.general: connection refused" {
		t.Errorf("the error of a code is %v, want neither key nor code in it", err)
	}
}

func TestResourcesAndScopes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	status, got := w.ask("POST", "/api/resources", `{"name":"Reports","indicator":"https://reports.example.com","accessTokenTtl":600}`)
	made := got.(map[string]any)
	if status != 201 || made["accessTokenTtl"] != 600.0 || fmt.Sprint(made["scopes"]) != "[]" {
		t.Fatalf("got %d %v, want 201 and no scopes", status, got)
	}
	scopes := "/api/resources/" + made["id"].(string) + "/scopes"
	if status, got := w.ask("POST", scopes, `{"name":"read","description":""}`); status != 201 || got.(map[string]any)["description"] != nil {
		t.Errorf("a scope: got %d %v, want 201 and no description", status, got)
	}
	if status, got := w.ask("POST", scopes, `{"name":"read"}`); status != 422 || got.(map[string]any)["message"] != "The scope name read is already in use" {
		t.Errorf("the same again: got %d %v, want 422", status, got)
	}
	if _, all := w.ask("GET", scopes, ""); len(all.([]any)) != 1 {
		t.Errorf("the scopes are %v", all)
	}
	if status, got := w.ask("POST", "/api/roles", `{"name":"editor","description":"edits"}`); status != 200 {
		t.Errorf("a role: got %d %v, want 200", status, got)
	}
	if _, all := w.ask("GET", "/api/roles?type=User", ""); len(all.([]any)) != 1 {
		t.Errorf("the roles of people are %v", all)
	}
}

// TestOneTimeTokens uses one up, for its own address, in its time.
func TestOneTimeTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	invite := func() string {
		return w.make("POST", "/api/one-time-tokens", `{"email":"ann@example.com","expiresIn":60}`)["token"].(string)
	}
	code := func(err error) string {
		var e *tenant.Error
		if errors.As(err, &e) {
			return e.Code
		}
		return fmt.Sprint(err)
	}
	token := invite()
	for _, tt := range []struct {
		name, token, email, want string
	}{
		{"unknown", "x", "ann@example.com", "one_time_token.token_not_found"},
		{"for somebody else", token, "bob@example.com", "one_time_token.email_mismatch"},
		{"right", token, "ann@example.com", "<nil>"},
		{"again", token, "ann@example.com", "one_time_token.token_consumed"},
	} {
		if got := code(w.ConsumeOneTimeToken(tt.token, tt.email)); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
	late := invite()
	w.now = w.now.Add(time.Minute)
	if got := code(w.ConsumeOneTimeToken(late, "ann@example.com")); got != "one_time_token.token_expired" {
		t.Errorf("late: got %s, want token_expired", got)
	}
	revoked := w.make("POST", "/api/one-time-tokens", `{"email":"ann@example.com"}`)
	path := "/api/one-time-tokens/" + revoked["id"].(string)
	w.make("PUT", path+"/status", `{"status":"revoked"}`)
	if status, got := w.ask("PUT", path+"/status", `{"status":"active"}`); status != 400 {
		t.Errorf("bringing one back: got %d %v, want 400", status, got)
	}
	if got := code(w.ConsumeOneTimeToken(revoked["token"].(string), "ann@example.com")); got != "one_time_token.token_revoked" {
		t.Errorf("revoked: got %s, want token_revoked", got)
	}
	for status, want := range map[string]int{"consumed": 1, "expired": 1, "revoked": 1, "active": 0} {
		if _, all := w.ask("GET", "/api/one-time-tokens?status="+status, ""); len(all.([]any)) != want {
			t.Errorf("%s: got %v, want %d", status, all, want)
		}
	}
}

// TestKindsOfApplications have secrets, roles and the right to manage, each as its kind has.
func TestKindsOfApplications(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	_, all := w.ask("GET", "/api/roles?type=MachineToMachine", "")
	manage := all.([]any)[0].(map[string]any)["id"].(string)
	people := w.make("POST", "/api/roles", `{"name":"editor","description":"edits"}`)["id"].(string)
	other := w.make("POST", "/api/roles", `{"name":"other","description":"other","type":"MachineToMachine"}`)["id"].(string)
	for kind, secrets := range map[string]int{"Traditional": 1, "MachineToMachine": 1, "SPA": 0, "Native": 0} {
		made := w.make("POST", "/api/applications", `{"name":"a","type":"`+kind+`"}`)
		path := "/api/applications/" + made["id"].(string)
		if got := made["oidcClientMetadata"].(map[string]any); fmt.Sprint(got) != "map[postLogoutRedirectUris:[] redirectUris:[]]" {
			t.Errorf("%s without metadata has %v", kind, got)
		}
		if _, got := w.ask("GET", path+"/secrets", ""); len(got.([]any)) != secrets {
			t.Errorf("%s: got the secrets %v, want %d", kind, got, secrets)
		}
		want := map[bool]int{true: 201, false: 422}[secrets > 0]
		if status, got := w.ask("POST", path+"/secrets", `{"name":"b","expiresAt":null}`); status != want {
			t.Errorf("%s: a secret: got %d %v, want %d", kind, status, got, want)
		}
	}
	machine := w.make("POST", "/api/applications", `{"name":"m","type":"MachineToMachine"}`)["id"].(string)
	roles := "/api/applications/" + machine + "/roles"
	if status, got := w.ask("POST", roles, `{"roleIds":["`+other+`","`+people+`"]}`); status != 422 || got.(map[string]any)["code"] != "application.invalid_role_type" {
		t.Errorf("a role of people: got %d %v, want 422", status, got)
	}
	if status, got := w.ask("POST", roles, `{"roleIds":["nope"]}`); status != 404 {
		t.Errorf("an unknown role: got %d %v, want 404", status, got)
	}
	if _, got := w.ask("GET", roles, ""); len(got.([]any)) != 0 {
		t.Errorf("after refusals: %v", got)
	}
	w.make("POST", roles, `{"roleIds":["`+other+`"]}`)
	if w.MayManage(machine) || w.MayManage("nope") {
		t.Error("any role of machines, or none, lets manage")
	}
	if got := w.make("POST", roles, `{"roleIds":["`+other+`","`+manage+`"]}`); fmt.Sprint(got["addedRoleIds"]) != "["+manage+"]" {
		t.Errorf("both roles: got %v, want the new one added", got)
	}
	if _, got := w.ask("GET", roles, ""); !w.MayManage(machine) || len(got.([]any)) != 2 {
		t.Errorf("with the role: may manage %t, roles %v", w.MayManage(machine), got)
	}
	w.make("DELETE", "/api/roles/"+manage, "")
	if w.MayManage(machine) {
		t.Error("a role that has gone lets manage")
	}
	if w.Allows("nope", "ann", nil) {
		t.Error("an unknown application lets somebody in")
	}
	if names, err := w.RoleNames([]string{people}); err != nil || fmt.Sprint(names) != "[editor]" {
		t.Errorf("got %v and %v, want editor", names, err)
	}
	for _, id := range []string{other, "nope"} {
		if names, err := w.RoleNames([]string{people, id}); err == nil {
			t.Errorf("%s for people: got %v, want an error", id, names)
		}
	}
}

// TestSettingsOfApplications are what a provider reads of metadata: an application that says nothing has Logto's own.
func TestSettingsOfApplications(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	id := w.make("POST", "/api/applications", traditional)["id"].(string)
	for _, tt := range []struct {
		custom string
		want   tenant.Application
	}{
		{`{}`, tenant.Application{}},
		{`{"refreshTokenTtlInDays":30,"refreshTokenTtl":60}`, tenant.Application{RefreshTokenLifetime: 30 * 24 * time.Hour}},
		{`{"refreshTokenTtl":3600,"idTokenTtl":60}`, tenant.Application{RefreshTokenLifetime: time.Hour, IDTokenLifetime: time.Minute}},
		{`{"rotateRefreshToken":false,"alwaysIssueRefreshToken":true}`, tenant.Application{KeepRefreshToken: true, AlwaysIssueRefreshToken: true}},
		{`{"rotateRefreshToken":true,"alwaysIssueRefreshToken":false}`, tenant.Application{}},
	} {
		w.make("PATCH", "/api/applications/"+id, `{"customClientMetadata":`+tt.custom+`}`)
		tt.want.ID, tt.want.Name, tt.want.Type = id, "a", "Traditional"
		tt.want.RedirectURIs, tt.want.PostLogoutRedirectURIs = []string{"http://localhost:3000/callback"}, []string{}
		got, known := w.Application(id)
		if diff := cmp.Diff(tt.want, got); diff != "" || !known {
			t.Errorf("%s (-want +got):\n%s", tt.custom, diff)
		}
	}
	want := tenant.Application{ID: "own", Name: "Own", Type: "Traditional", RedirectURIs: []string{"https://a.example/cb"}, PostLogoutRedirectURIs: []string{"https://a.example/"},
		BackchannelLogoutURI: "https://a.example/out", SessionRequired: true, AlwaysIssueRefreshToken: true, KeepRefreshToken: true,
		RefreshTokenLifetime: 48 * time.Hour, IDTokenLifetime: time.Minute}
	w.Add(want, "secret")
	if got, _ := w.Application("own"); cmp.Diff(want, got) != "" {
		t.Errorf("one that was put in (-want +got):\n%s", cmp.Diff(want, got))
	}
	if got, known := w.Application("nope"); known {
		t.Errorf("an unknown application is %+v", got)
	}
}

// TestConnectors are told whole, found by their target, and stored without what is empty.
func TestConnectors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	config := with(mailgun, `"endpoint":"https://api.eu.mailgun.net","list":["",null,"x",[],{}],"none":{"a":""},"off":false,"zero":0`)
	made := w.make("POST", "/api/connectors", `{"id":"my-own-id","connectorId":"mailgun-email","config":`+config+`}`)
	got := made["config"].(map[string]any)
	if made["id"] != "my-own-id" || got["apiKey"] != "key-test" || fmt.Sprint(got["list"]) != "[x]" || got["none"] != nil || got["off"] != false || got["zero"] != 0.0 {
		t.Errorf("got %v, want its id and what is not empty", made)
	}
	for path, want := range map[string]int{"": 1, "?target=mailgun-email": 1, "?target=other": 0} {
		if _, all := w.ask("GET", "/api/connectors"+path, ""); len(all.([]any)) != want {
			t.Errorf("%q: got %v, want %d", path, all, want)
		}
	}
	if status, one := w.ask("GET", "/api/connectors/my-own-id", ""); status != 200 || cmp.Diff(any(made), one) != "" {
		t.Errorf("got %d %v", status, one)
	}
	if one := w.make("PATCH", "/api/connectors/my-own-id", `{"metadata":{}}`); cmp.Diff(made, one) != "" {
		t.Errorf("a change of nothing: %v", one)
	}
	if status, one := w.ask("GET", "/api/connector-factories/mailgun-email", ""); status != 200 || one.(map[string]any)["id"] != "mailgun-email" || len(one.(map[string]any)["formItems"].([]any)) != 5 {
		t.Errorf("the factory: got %d %v", status, one)
	}
	// A test is of the configuration in the body, in the language of the body.
	test := strings.NewReplacer("mg.example.com", "other.example.com", `"html":"<p>{{code}}</p>"`, `"template":"t","variables":{"code":"mine","a":1}`).Replace(mailgun)
	if status, said := w.ask("POST", "/api/connectors/mailgun-email/test", `{"email":"ann@example.com","locale":"zh-CN","config":`+test+`}`); status != 204 {
		t.Fatalf("a test: got %d %v", status, said)
	}
	sent := w.sent[len(w.sent)-1]
	if sent.URL != "https://api.mailgun.net/v3/other.example.com/messages" || sent.Get("h:X-Mailgun-Variables") != `{"a":1,"code":"000000","locale":"zh-CN"}` || sent.Get("nothing") != "" {
		t.Errorf("a test sent %+v", sent)
	}
	w.make("PATCH", "/api/connectors/my-own-id", `{"config":`+strings.Replace(mailgun, "key-test", "key-new", 1)+`}`)
	if err := w.SendCode(t.Context(), "SignIn", "ann@example.com", "123456"); err != nil || w.sent[len(w.sent)-1].APIKey != "key-new" {
		t.Errorf("after a change: got %v and %+v", err, w.sent[len(w.sent)-1])
	}
	if err := w.SetConnector(map[string]any{"domain": "x"}); err == nil {
		t.Error("a configuration in part is taken")
	}
	if _, one := w.ask("GET", "/api/connectors/my-own-id", ""); one.(map[string]any)["config"].(map[string]any)["apiKey"] != "key-new" {
		t.Errorf("after a refusal: %v", one)
	}
}

// TestPublicExperience is what pages are told: nothing that is the tenant's own affair.
func TestPublicExperience(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	look := func() map[string]any { return w.make("GET", "/api/.well-known/sign-in-exp", "") }
	if got := look()["forgotPassword"].(map[string]any); got["email"] != false || got["phone"] != false {
		t.Errorf("without a connector: %v", got)
	}
	w.make("POST", "/api/connectors", `{"connectorId":"mailgun-email","config":`+mailgun+`}`)
	got := look()
	if got["forgotPassword"].(map[string]any)["email"] != true {
		t.Errorf("with a connector: %v", got["forgotPassword"])
	}
	for _, name := range []string{"emailBlocklistPolicy", "forgotPasswordMethods"} {
		if _, told := got[name]; told {
			t.Errorf("pages are told %s", name)
		}
		if _, told := w.make("GET", "/api/sign-in-exp", "")[name]; !told {
			t.Errorf("whoever manages is not told %s", name)
		}
	}
	if strings.Contains(fmt.Sprint(got), "key-test") {
		t.Error("pages are told the key of the connector")
	}
	for mode, want := range map[string]tenant.Experience{
		"SignIn": {SignIn: true}, "Register": {Register: true}, "SignInAndRegister": {SignIn: true, Register: true},
	} {
		w.make("PATCH", "/api/sign-in-exp", `{"signInMode":"`+mode+`"}`)
		if got := w.Experience(); got != want {
			t.Errorf("%s: got %+v, want %+v", mode, got, want)
		}
	}
}

// TestListsOfOneTimeTokens find tokens by status and address, by their id, and without those that were deleted.
func TestListsOfOneTimeTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	first := w.make("POST", "/api/one-time-tokens", `{"email":"ann@example.com","context":{"jitOrganizationIds":["o"]}}`)
	if first["expiresAt"].(float64)-first["createdAt"].(float64) != 600_000 || fmt.Sprint(first["context"]) != "map[jitOrganizationIds:[o]]" {
		t.Errorf("got %v, want ten minutes and its context", first)
	}
	w.now = w.now.Add(time.Hour)
	w.make("POST", "/api/one-time-tokens", `{"email":"bob@example.com"}`)
	if one := w.make("GET", "/api/one-time-tokens/"+first["id"].(string), ""); one["status"] != "active" {
		t.Errorf("a token of another address was tidied up: %v", one)
	}
	w.make("POST", "/api/one-time-tokens", `{"email":"ann@example.com"}`)
	if one := w.make("GET", "/api/one-time-tokens/"+first["id"].(string), ""); one["status"] != "expired" {
		t.Errorf("a token that has run out is %v after the next one", one["status"])
	}
	for query, want := range map[string]int{"": 3, "?email=ann@example.com": 2, "?email=ann@example.com&status=active": 1, "?status=active": 2, "?email=x": 0, "?page_size=2": 2, "?page_size=100": 3} {
		if _, all := w.ask("GET", "/api/one-time-tokens"+query, ""); len(all.([]any)) != want {
			t.Errorf("%q: got %v, want %d", query, all, want)
		}
	}
	if status, got := w.ask("POST", "/api/one-time-tokens/verify", `{"email":"ann@example.com","token":"`+first["token"].(string)+`"}`); status != 400 || got.(map[string]any)["code"] != "one_time_token.token_expired" {
		t.Errorf("one that has run out: got %d %v", status, got)
	}
	w.make("DELETE", "/api/one-time-tokens/"+first["id"].(string), "")
	if _, all := w.ask("GET", "/api/one-time-tokens", ""); len(all.([]any)) != 2 {
		t.Errorf("after one was deleted: %v", all)
	}
}
