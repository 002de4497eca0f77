package management_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"portero/internal/management"
)

const unreachable = `{"code":"connector.general","data":{"name":"RequestError","code":"ECONNREFUSED","timings":{"start":1795332736873},"options":{
"url":"http://api:key-CANARY@127.0.0.1:9925/v3/mg.example.com/messages","headers":{"authorization":"Basic YXBpOmtleS1DQU5BUlk="},"form":{"to":"a@example.com","text":"CANARY 483920"}}},
"message":"Error occurred in connector: {\"options\":{\"url\":\"http://api:key-CANARY@127.0.0.1:9925/\"}}"}`

// What each refusal of Logto says, and what to do about it. A body that is not in the samples is as the token endpoint
// and the API write it.
func TestRefusals(t *testing.T) {
	t.Parallel()
	create := func(ctx context.Context, c *management.Client) error {
		_, err := c.CreateConnector(ctx, management.MailgunConnector, management.Object{})
		return err
	}
	update := func(ctx context.Context, c *management.Client) error {
		_, err := c.UpdateApplication(ctx, "app", management.Object{})
		return err
	}
	signIn := func(ctx context.Context, c *management.Client) error {
		_, err := c.UpdateSignInExperience(ctx, management.Object{})
		return err
	}
	secret := func(ctx context.Context, c *management.Client) error {
		_, err := c.CreateSecret(ctx, "app", "second")
		return err
	}
	token := func(status int, code, description string) reply {
		return reply{status: status, body: `{"code":"oidc.` + code + `","message":"CANARY","error":"` + code + `","error_description":"` + description + `"}`}
	}
	for name, tt := range map[string]struct {
		sample string // its answer; "": answer
		answer reply
		token  bool // the token endpoint answers it
		call   func(context.Context, *management.Client) error
		want   management.RefusedError
		text   string // after the status and code
		hint   []string
		is     error
	}{
		// The token endpoint.
		"no resource": {answer: token(400, "invalid_target", "both `resource` and `organization_id` are not provided"), token: true, call: update,
			want: management.RefusedError{Call: "token", Status: 400, Code: "invalid_target"},
			text: "Logto has no API of the indicator in logto.management.resource", hint: []string{"leave logto.management.resource out", "logto.app/api"}},
		"unknown resource": {answer: token(400, "invalid_target", "resource indicator is missing, or unknown"), token: true, call: update,
			want: management.RefusedError{Call: "token", Status: 400, Code: "invalid_target"},
			text: "Logto has no API of the indicator in logto.management.resource", hint: []string{"leave logto.management.resource out"}},
		"wrong secret": {answer: token(401, "invalid_client", "client authentication failed"), token: true, call: update,
			want: management.RefusedError{Call: "token", Status: 401, Code: "invalid_client"},
			text: "the secret of the machine-to-machine application is wrong", hint: []string{"logto.management.app_secret", "app_secret_file"}},
		"unknown client": {answer: token(400, "invalid_client", "invalid client m2m"), token: true, call: update,
			want: management.RefusedError{Call: "token", Status: 400, Code: "invalid_client"},
			text: "Logto has no application of the id in logto.management.app_id", hint: []string{"Machine-to-machine", `"Logto Management API access"`, "logto.management.app_id"}},
		"application of another type": {answer: token(400, "unauthorized_client", "requested grant type is not allowed for this client"), token: true, call: update,
			want: management.RefusedError{Call: "token", Status: 400, Code: "unauthorized_client"},
			text: "the application of logto.management.app_id is not a machine-to-machine application", hint: []string{"Machine-to-machine"}},
		"OAuth's word alone": {answer: reply{status: 401, body: `{"error":"invalid_client"}`}, token: true, call: update,
			want: management.RefusedError{Call: "token", Status: 401, Code: "invalid_client"},
			text: "the secret of the machine-to-machine application is wrong", hint: []string{"logto.management.app_secret"}},

		// Every call of the API.
		"API without a token": {sample: "no token", call: update,
			want: management.RefusedError{Call: "update application", Status: 401, Code: "auth.authorization_header_missing"},
			text: "the access token did not reach Logto", hint: []string{"Authorization", "logto.internal_endpoint"}},
		"a token that it does not take": {sample: "garbage token", call: update,
			want: management.RefusedError{Call: "update application", Status: 401, Code: "auth.unauthorized"},
			text: "Logto does not take the access token that it gave", hint: []string{"logto.endpoint", "ENDPOINT", "logto.management.resource"}},
		"no role": {answer: reply{status: 403, body: `{"code":"auth.forbidden","message":"Forbidden. Please check your user roles and permissions."}`}, call: update,
			want: management.RefusedError{Call: "update application", Status: 403, Code: "auth.forbidden"},
			text: `the machine-to-machine application lacks the role "Logto Management API access"`, hint: []string{`role "Logto Management API access"`, "logto.management.app_id"}},
		"partial metadata": {sample: "partial metadata is refused", call: update,
			want: management.RefusedError{Call: "update application", Status: 400, Code: "guard.invalid_input", Keys: []string{"oidcClientMetadata.redirectUris", "oidcClientMetadata.postLogoutRedirectUris"}},
			text: "it does not take what was sent at oidcClientMetadata.redirectUris, oidcClientMetadata.postLogoutRedirectUris", hint: []string{"look at external_url and routes[].hosts"}},
		"bad redirect URI": {sample: "bad redirect URI", call: update,
			want: management.RefusedError{Call: "update application", Status: 400, Code: "guard.invalid_input", Keys: []string{"oidcClientMetadata.redirectUris.0"}},
			text: "it does not take what was sent at oidcClientMetadata.redirectUris.0", hint: []string{"routes[].hosts"}},
		"invalid, and nobody says where": {answer: reply{status: 400, body: `{"code":"guard.invalid_input","message":"The request body is invalid."}`}, call: update,
			want: management.RefusedError{Call: "update application", Status: 400, Code: "guard.invalid_input"},
			text: "it does not take what was sent", hint: []string{"the configuration that this comes from"}},
		"unknown application": {sample: "unknown application", call: update, is: management.ErrNotFound,
			want: management.RefusedError{Call: "update application", Status: 404, Code: "entity.not_exists_with_id"},
			text: "the tenant has none of that id", hint: []string{"logto.endpoint"}},
		"unknown connector instance": {answer: reply{status: 404, body: `{"code":"entity.not_found","message":"The resource does not exist."}`}, call: update, is: management.ErrNotFound,
			want: management.RefusedError{Call: "update application", Status: 404, Code: "entity.not_found"},
			text: "the tenant has none of that id", hint: []string{"logto.endpoint"}},
		"mails are limited": {answer: reply{status: 429, body: `{"code":"request.message_rate_limited","message":"CANARY"}`}, call: calls["POST"],
			want: management.RefusedError{Call: "test connector", Status: 429, Code: "request.message_rate_limited"},
			text: "Logto has sent as many mails to that address as it sends in ten minutes", hint: []string{"wait ten minutes"}},

		// Applications and people.
		"name of a secret is taken": {sample: "name taken", call: secret, is: management.ErrTaken,
			want: management.RefusedError{Call: "create secret", Status: 422, Code: "application.secret_name_exists"},
			text: "the application has a client secret of that name already", hint: []string{"remove that secret"}},
		"address is taken": {answer: reply{status: 422, body: `{"code":"user.email_already_in_use","message":"This email is associated with an existing account."}`}, call: update, is: management.ErrTaken,
			want: management.RefusedError{Call: "update application", Status: 422, Code: "user.email_already_in_use"},
			text: "somebody has that address already"},

		// The e-mail connector.
		"partial config": {sample: "partial config is refused", call: create,
			want: management.RefusedError{Call: "create connector", Status: 400, Code: "connector.invalid_config", Keys: []string{"apiKey", "from", "deliveries"}},
			text: "it does not take the configuration of the e-mail connector at apiKey, from, deliveries", hint: []string{"mailgun.api_key, mailgun.from, mailgun.deliveries"}},
		"endpoint": {sample: "endpoint that is not mailgun.net", call: create,
			want: management.RefusedError{Call: "create connector", Status: 400, Code: "connector.invalid_config", Keys: []string{"endpoint"}},
			text: "it does not take the configuration of the e-mail connector at endpoint", hint: []string{"mailgun.endpoint", "https://api.eu.mailgun.net", ".mailgun.net"}},
		"unknown connector": {sample: "unknown connector", call: create,
			want: management.RefusedError{Call: "create connector", Status: 422, Code: "connector.not_found_with_connector_id"},
			text: "this Logto has no such connector installed", hint: []string{"npm run cli connector add --official"}},
		"unknown factory": {answer: reply{status: 400, body: `{"code":"connector.not_found","message":"Cannot find any available connector for type: undefined."}`}, call: calls["POST"],
			want: management.RefusedError{Call: "test connector", Status: 400, Code: "connector.not_found"},
			text: "this Logto has no such connector installed", hint: []string{"connector add --official"}},
		"connector was deleted": {answer: reply{status: 501, body: `{"code":"connector.not_found"}`}, call: calls["POST"],
			want: management.RefusedError{Call: "test connector", Status: 501, Code: "connector.not_found"},
			text: "the tenant has no e-mail connector", hint: []string{"portero setup apply"}},
		"no Generic delivery": {sample: "no Generic delivery", call: calls["POST"],
			want: management.RefusedError{Call: "test connector", Status: 400, Code: "connector.template_not_found"},
			text: "there is no mail for this usage, and no Generic one", hint: []string{"usage: Generic", "mailgun.deliveries"}},
		"Mailgun says 401": {sample: "mail API answers 401", call: calls["POST"],
			want: management.RefusedError{Call: "test connector", Status: 400, Code: "connector.general", MailStatus: 401},
			text: "Mailgun does not take the key that Logto shows (status 401)", hint: []string{"mailgun.api_key", "mailgun.api_key_file", "mailgun.endpoint: https://api.eu.mailgun.net"}},
		"Mailgun says 404": {answer: reply{status: 400, body: `{"code":"connector.general","data":{"statusCode":404,"body":"CANARY"},"message":"CANARY"}`}, call: calls["POST"],
			want: management.RefusedError{Call: "test connector", Status: 400, Code: "connector.general", MailStatus: 404},
			text: "Mailgun takes the key and does not know the domain (status 404)", hint: []string{"mailgun.domain", "mailgun.endpoint: https://api.eu.mailgun.net"}},
		"Mailgun says 400": {answer: reply{status: 400, body: `{"code":"connector.general","data":{"statusCode":400,"body":"CANARY"},"message":"CANARY"}`}, call: calls["POST"],
			want: management.RefusedError{Call: "test connector", Status: 400, Code: "connector.general", MailStatus: 400},
			text: "Mailgun refused with status 400 what Logto sent", hint: []string{"mailgun.from", "templates"}},
		"Mailgun says 429": {answer: reply{status: 400, body: `{"code":"connector.general","data":{"statusCode":429,"body":"CANARY"}}`}, call: calls["POST"],
			want: management.RefusedError{Call: "test connector", Status: 400, Code: "connector.general", MailStatus: 429},
			text: "Mailgun refused with status 429 what Logto sent", hint: []string{"later"}},
		"Mailgun says 500": {answer: reply{status: 400, body: `{"code":"connector.general","data":{"statusCode":500,"body":"CANARY"}}`}, call: calls["POST"],
			want: management.RefusedError{Call: "test connector", Status: 400, Code: "connector.general", MailStatus: 500},
			text: "Mailgun refused with status 500 what Logto sent", hint: []string{"later"}},
		"Mailgun cannot be reached": {answer: reply{status: 400, body: unreachable}, call: calls["POST"],
			want: management.RefusedError{Call: "test connector", Status: 400, Code: "connector.general"},
			text: "Logto could not reach Mailgun", hint: []string{"mailgun.endpoint"}},
		"another word of the connector": {answer: reply{status: 400, body: `{"code":"connector.insufficient_request_parameters"}`}, call: create,
			want: management.RefusedError{Call: "create connector", Status: 400, Code: "connector.insufficient_request_parameters"},
			text: "it does not take the e-mail connector", hint: []string{"mailgun"}},

		// The sign-in experience.
		"no verification": {sample: "verification cannot be switched off", call: signIn,
			want: management.RefusedError{Call: "update sign-in experience", Status: 400, Code: "sign_in_experiences.passwordless_requires_verify"},
			text: "who signs up with an address has to verify it", hint: []string{"Sign-in experience"}},
		"no connector": {answer: reply{status: 400, body: `{"code":"sign_in_experiences.enabled_connector_not_found","data":{"type":"Email"},"message":"Enabled Email connector not found."}`}, call: signIn,
			want: management.RefusedError{Call: "update sign-in experience", Status: 400, Code: "sign_in_experiences.enabled_connector_not_found"},
			text: "e-mail sign-in needs an e-mail connector, and the tenant has none", hint: []string{"portero setup apply", "mailgun"}},
		"another word of it": {answer: reply{status: 400, body: `{"code":"sign_in_experiences.sign_up_identifiers_must_be_in_sign_in"}`}, call: signIn,
			want: management.RefusedError{Call: "update sign-in experience", Status: 400, Code: "sign_in_experiences.sign_up_identifiers_must_be_in_sign_in"},
			text: "it does not take the sign-in experience", hint: []string{"Sign-up and sign-in"}},

		// What is not Logto's.
		"nothing of Logto's": {answer: reply{status: 404, body: `<html>CANARY`}, call: update, is: management.ErrNotFound,
			want: management.RefusedError{Call: "update application", Status: 404},
			text: "nothing is there", hint: []string{"logto.endpoint", "/oidc"}},
		"a proxy that refuses": {answer: reply{status: 403, body: `<html>CANARY`}, call: update,
			want: management.RefusedError{Call: "update application", Status: 403}, hint: []string{"what stands before Logto"}},
		"a code that is not known here": {answer: reply{status: 422, body: `{"code":"something.new_and_strange","message":"CANARY"}`}, call: update,
			want: management.RefusedError{Call: "update application", Status: 422, Code: "something.new_and_strange"}, hint: []string{"Logto's log"}},
	} {
		for _, version := range versions {
			t.Run(name+"/"+version, func(t *testing.T) {
				t.Parallel()
				a := tt.answer
				if tt.sample != "" {
					s, ok := samples(t, version)[tt.sample]
					if !ok {
						t.Fatal("there is no such sample")
					}
					a = s.reply()
				}
				w := &wire{answer: func(r *http.Request, _ string) (reply, bool) { return a, (r.URL.Path == "/oidc/token") == tt.token }}
				err := tt.call(t.Context(), w.client(func(c *management.Config) { c.Retries = 3 }))
				got, ok := errors.AsType[*management.RefusedError](err)
				if !ok || errors.Is(err, management.ErrUnavailable) {
					t.Fatalf("got %v, want a refusal", err)
				}
				if got.Call != tt.want.Call || got.Status != tt.want.Status || got.Code != tt.want.Code || got.MailStatus != tt.want.MailStatus || !slices.Equal(got.Keys, tt.want.Keys) {
					t.Errorf("got  %#v\nwant %#v", got, &tt.want)
				}
				_, text, _ := strings.Cut(err.Error(), ": ")
				if text != tt.text {
					t.Errorf("got  %s\nwant … %s", err, tt.text)
				}
				for _, part := range tt.hint {
					if !strings.Contains(got.Hint(), part) {
						t.Errorf("got the hint %q, want %q in it", got.Hint(), part)
					}
				}
				if len(tt.hint) == 0 && got.Hint() != "" {
					t.Errorf("got the hint %q, want none", got.Hint())
				}
				for _, target := range []error{management.ErrNotFound, management.ErrTaken} {
					if errors.Is(err, target) != (target == tt.is) {
						t.Errorf("%v: is %v: %v", err, target, target != tt.is)
					}
				}
				if strings.Contains(err.Error()+got.Hint(), "CANARY") {
					t.Errorf("%v (%s) quotes", err, got.Hint())
				}
				if want := map[bool]int{true: 2, false: 1}[got.Status == 401]; !tt.token && len(w.requests) != want {
					t.Errorf("got %d requests, want %d: a refusal is not tried again", len(w.requests), want)
				}
			})
		}
	}
}

func TestKeysThatAreShown(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		issues string
		want   []string
	}{
		"known":               {`[{"path":["config","deliveries","SignIn","html"]}]`, []string{"config.deliveries.SignIn.html"}},
		"a name of somebody":  {`[{"path":["deliveries","VGUHtcSFNcAyiNQlqLjZGqRtewhye7bW","html"]}]`, []string{"deliveries.*.html"}},
		"an index":            {`[{"path":["signIn","methods",0,"verify"]}]`, []string{"signIn.methods.0.verify"}},
		"no index":            {`[{"path":["methods",483920]},{"path":["methods",-1]},{"path":["methods",1.5]}]`, []string{"methods.*"}},
		"twice":               {`[{"path":["from"]},{"path":["from"]}]`, []string{"from"}},
		"whole":               {`[{"path":[]},{"message":"CANARY"},{}]`, nil},
		"of other types":      {`[1,"x",null,{"path":"from"},{"path":{"a":1}},{"path":[null,{},[],true]}]`, []string{"*.*.*.*"}},
		"no list":             {`{"path":["from"]}`, nil},
		"deep":                {`[{"path":["html","html","html","html","html","html","html","html"]}]`, []string{"html.html.html.html.html.html"}},
		"many":                {`[{"path":[1]},{"path":[2]},{"path":[3]},{"path":[4]},{"path":[5]},{"path":[6]}]`, []string{"1", "2", "3", "4", "5"}},
		"a name with a break": {`[{"path":["from\n"]}]`, []string{"*"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &wire{answer: always(reply{status: 400, body: `{"code":"connector.invalid_config","data":{"issues":` + tt.issues + `}}`})}
			got, ok := errors.AsType[*management.RefusedError](calls["GET"](t.Context(), w.client(nil)))
			if !ok {
				t.Fatal("want a refusal")
			}
			if d := cmp.Diff(got.Keys, tt.want); d != "" {
				t.Errorf("got -, want +:\n%s", d)
			}
		})
	}
}
