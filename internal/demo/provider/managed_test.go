package provider_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"portero/internal/demo/provider"
	"portero/internal/demo/tenant"
)

// asJSON asks for a token with a body of JSON.
func (w *world) asJSON(body string) tokens {
	w.t.Helper()
	resp, err := http.Post(w.url+"/oidc/token", "application/json; charset=utf-8", strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	got := tokens{Status: resp.StatusCode, Header: resp.Header}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		w.t.Fatal(err)
	}
	return got
}

// TestManagementTokenErrors has a row for each way in which a token for the Management API is refused, and the words of the refusal.
func TestManagementTokenErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	const resource = "https://default.logto.app/api"
	for _, tt := range []struct {
		name, resource, id, secret string
		status                     int
		code, description          string
	}{
		{"no resource", "", "m2m", "m2m-secret", 400, "invalid_target", "both `resource` and `organization_id` are not provided"},
		{"unknown resource", "https://api.example.com", "m2m", "m2m-secret", 400, "invalid_target", "resource indicator is missing, or unknown"},
		{"resource by the provider's own address", w.url + "/api", "m2m", "m2m-secret", 400, "invalid_target", "resource indicator is missing, or unknown"},
		{"wrong secret", resource, "m2m", "wrong", 401, "invalid_client", "client authentication failed"},
		{"unknown client", resource, "m-default", "x", 400, "invalid_client", "invalid client m-default"},
	} {
		form := url.Values{"grant_type": {"client_credentials"}, "scope": {"all"}}
		if tt.resource != "" {
			form.Set("resource", tt.resource)
		}
		check := func(how string, got tokens, challenge string) {
			t.Helper()
			refused(t, tt.name+how, got, tt.status, tt.code)
			if got.Description != tt.description {
				t.Errorf("%s%s: got %q, want %q", tt.name, how, got.Description, tt.description)
			}
			if says := got.Header.Get("WWW-Authenticate"); !strings.HasPrefix(says, challenge) || (challenge == "" && says != "") {
				t.Errorf("%s%s: got WWW-Authenticate %q, want %q", tt.name, how, says, challenge)
			}
		}
		challenge := ""
		if tt.status == 401 {
			challenge = `Basic realm="` + w.Issuer() + `", `
		}
		check(" by Basic", w.token(form, tt.id, tt.secret), challenge)
		form.Set("client_id", tt.id)
		form.Set("client_secret", tt.secret)
		check(" in the body", w.token(form, "", ""), "")
		members := map[string]string{}
		for name := range form {
			members[name] = form.Get(name)
		}
		raw, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		check(" as JSON", w.asJSON(string(raw)), "")
	}
	for _, body := range []string{``, `{`, `[]`, `{"grant_type":1}`, `null`} {
		if got := w.asJSON(body); got.Status != 400 || got.Error != "invalid_request" {
			t.Errorf("%q as JSON: got %d %s, want 400 invalid_request", body, got.Status, got.Error)
		}
	}
	got := w.asJSON(`{"grant_type":"client_credentials","resource":"` + resource + `","scope":"all","client_id":"m2m","client_secret":"m2m-secret"}`)
	if got.Status != 200 || got.Scope != "all" || got.TokenType != "Bearer" || got.ExpiresIn != 3600 {
		t.Fatalf("as JSON: got %+v", got)
	}
	if status, _, _ := w.api("GET", "/api/applications", "Bearer "+got.AccessToken, nil); status != 200 {
		t.Errorf("with the token that was asked for as JSON: got %d, want 200", status)
	}
}

// TestAPIErrors has a row for each way in which the Management API says no before it looks at what is asked, whole as the answer is.
func TestAPIErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	const rights = "Forbidden. Please check your user roles and permissions."
	for _, tt := range []struct {
		name, authorization, body string
		status                    int
		want                      map[string]any
	}{
		{"no token", "", "", 401, map[string]any{"code": "auth.authorization_header_missing", "message": "Authorization header is missing."}},
		{"garbage", "Bearer garbage", "", 401, map[string]any{"code": "auth.unauthorized", "data": map[string]any{"code": "ERR_JWS_INVALID", "name": "JWSInvalid"},
			"message": "Unauthorized. Please check credentials and its scope."}},
		{"a token without the scope all", "Bearer " + w.managementToken(""), "", 403, map[string]any{"code": "auth.forbidden", "message": rights}},
		{"a token of another scope", "Bearer " + w.managementToken("all2 read"), "", 403, map[string]any{"code": "auth.forbidden", "message": rights}},
		{"a body that is not one", "Bearer " + w.managementToken("all"), `{"oidcClientMetadata":{"redirectUris":["not a uri"],"postLogoutRedirectUris":[]}}`, 400,
			map[string]any{"code": "guard.invalid_input", "message": "The request body is invalid.",
				"details": `Error in key path "oidcClientMetadata.redirectUris.0": (custom) Invalid input`,
				"data": map[string]any{"name": "ZodError", "issues": []any{map[string]any{
					"code": "custom", "message": "Invalid input", "path": []any{"oidcClientMetadata", "redirectUris", 0.0}}}}}},
	} {
		for _, path := range []string{"/api/applications/" + appID, "/api/users/x/is-suspended", "/api/sign-in-exp"} {
			if tt.body != "" && path != "/api/applications/"+appID {
				continue
			}
			status, header, got := w.api("PATCH", path, tt.authorization, []byte(tt.body))
			if diff := cmp.Diff(any(tt.want), got); diff != "" || status != tt.status {
				t.Errorf("%s, %s: got %d, want %d (-want +got):\n%s", tt.name, path, status, tt.status, diff)
			}
			if header.Get("Logto-Core-Request-Id") == "" {
				t.Errorf("%s, %s: no request id", tt.name, path)
			}
		}
	}
}

// TestEveryAPIAnswerHasARequestID asks every part that answers under /api/.
func TestEveryAPIAnswerHasARequestID(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	authorization, seen := "Bearer "+w.managementToken("all"), map[string]bool{}
	for _, path := range []string{"/api/status", "/api/.well-known/sign-in-exp", "/api/applications", "/api/applications/nope", "/api/nope", "/api/users", "/api/users/nope",
		"/api/users/nope/sessions", "/api/configs/oidc/private-keys", "/api/roles", "/api/connectors/nope"} {
		status, header, _ := w.api("GET", path, authorization, nil)
		id := header.Get("Logto-Core-Request-Id")
		if id == "" || seen[id] || len(header.Values("Logto-Core-Request-Id")) != 1 {
			t.Errorf("%s: %d with the request ids %q, want one that is new", path, status, header.Values("Logto-Core-Request-Id"))
		}
		seen[id] = true
	}
	if _, header, _ := w.get("/oidc/jwks", nil); header.Get("Logto-Core-Request-Id") != "" {
		t.Error("an answer that is not of the API has a request id")
	}
}

// TestInternalSecretOf141 signs a client in with the value that answers of 1.41 show as `secret`: plain in the body, or encoded in Basic.
func TestInternalSecretOf141(t *testing.T) {
	t.Parallel()
	k := tenant.New(tenant.Config{Line141: true})
	w := newWorld(t, func(c *provider.Config) { c.Tenant = k })
	made := w.change("POST", "/api/applications", map[string]any{"name": "machine", "type": "MachineToMachine"})
	id, internal := made["id"].(string), made["secret"].(string)
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {"https://default.logto.app/api"}}
	refused(t, "another value", w.token(form, id, internal+"x"), 401, "invalid_client")
	if got := w.token(form, id, internal); got.Status != 200 {
		t.Errorf("encoded in Basic: got %d %s, want 200", got.Status, got.Error)
	}
	form.Set("client_id", id)
	form.Set("client_secret", internal)
	if got := w.token(form, "", ""); got.Status != 200 {
		t.Errorf("in the body: got %d %s, want 200", got.Status, got.Error)
	}
}

// TestPeopleRefusals has a row for each way in which a request about a person or a key is refused; none changes anything.
func TestPeopleRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ann := w.change("POST", "/api/users", map[string]any{"primaryEmail": "ann@example.com", "name": "Ann"})["id"].(string)
	machine := w.change("POST", "/api/roles", map[string]any{"name": "machine", "description": "m", "type": "MachineToMachine"})["id"].(string)
	authorization := "Bearer " + w.managementToken("all")
	look := func() string {
		_, _, people := w.api("GET", "/api/users", authorization, nil)
		_, _, keys := w.api("GET", "/api/configs/oidc/private-keys", authorization, nil)
		return fmt.Sprint(people, keys)
	}
	_, _, keys := w.api("GET", "/api/configs/oidc/private-keys", authorization, nil)
	key := keys.([]any)[0].(map[string]any)["id"].(string)
	before := look()
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		code                     string
	}{
		{"an address that is taken", "POST", "/api/users", `{"primaryEmail":"ANN@example.com"}`, 422, "user.email_already_in_use"},
		{"an address that is none", "POST", "/api/users", `{"primaryEmail":"ann"}`, 400, "guard.invalid_input"},
		{"a person that is no object", "POST", "/api/users", `[]`, 400, "guard.invalid_input"},
		{"unknown person", "GET", "/api/users/nope", "", 404, "entity.not_found"},
		{"unknown person, deleted", "DELETE", "/api/users/nope", "", 404, "entity.not_found"},
		{"unknown person, suspended", "PATCH", "/api/users/nope/is-suspended", `{"isSuspended":true}`, 404, "entity.not_found"},
		{"suspended or not", "PATCH", "/api/users/" + ann + "/is-suspended", `{}`, 400, "guard.invalid_input"},
		{"suspended by a word", "PATCH", "/api/users/" + ann + "/is-suspended", `{"isSuspended":"yes"}`, 400, "guard.invalid_input"},
		{"unknown role", "POST", "/api/users/" + ann + "/roles", `{"roleIds":["nope"]}`, 404, "entity.not_exists_with_id"},
		{"a role of machines", "POST", "/api/users/" + ann + "/roles", `{"roleIds":["` + machine + `"]}`, 422, "user.invalid_role_type"},
		{"roles that are no list", "POST", "/api/users/" + ann + "/roles", `{"roleIds":"x"}`, 400, "guard.invalid_input"},
		{"roles of an unknown person", "POST", "/api/users/nope/roles", `{"roleIds":[]}`, 404, "entity.not_found"},
		{"page nought of people", "GET", "/api/users?page=0", "", 400, "guard.invalid_pagination"},
		{"unknown algorithm", "POST", "/api/configs/oidc/private-keys/rotate", `{"signingKeyAlgorithm":"HMAC"}`, 400, "guard.invalid_input"},
		{"the only key", "DELETE", "/api/configs/oidc/private-keys/" + key, "", 422, "oidc.key_required"},
		{"unknown key", "DELETE", "/api/configs/oidc/private-keys/nope", "", 404, "oidc.key_not_found"},
		{"unknown session", "DELETE", "/api/users/" + ann + "/sessions/nope", "", 404, "oidc.session_not_found"},
	} {
		status, _, got := w.api(tt.method, tt.path, authorization, []byte(tt.body))
		said, _ := got.(map[string]any)
		if status != tt.status || said["code"] != tt.code || said["message"] == "" {
			t.Errorf("%s: got %d %v, want %d %s", tt.name, status, got, tt.status, tt.code)
		}
	}
	if after := look(); after != before {
		t.Errorf("refusals have changed something:\nbefore %s\nafter  %s", before, after)
	}
}

// TestSuspendAndDeleteTellNobody ends what a person has: refreshing and userinfo at once, nothing brings them back, and no client is told.
func TestSuspendAndDeleteTellNobody(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"suspended", "deleted"} {
		told := newReceiver(t)
		w := newWorld(t, func(c *provider.Config) { c.BackchannelURI = told.URL })
		b := w.browser()
		got := b.signedIn("ann@example.com")
		subject := w.claims(got.IDToken)["sub"].(string)
		path := "/api/users/" + subject
		if how == "deleted" {
			w.change("DELETE", path, nil)
		} else {
			w.change("PATCH", path+"/is-suspended", map[string]any{"isSuspended": true})
		}
		ended := func(when string) {
			t.Helper()
			refused(t, when, w.refresh(got.RefreshToken), 400, "invalid_grant")
			if status, _ := w.userinfo(got.AccessToken); status != 401 {
				t.Errorf("%s: userinfo: got %d, want 401", when, status)
			}
			if left := w.sessions(subject).Sessions; len(left) != 0 {
				t.Errorf("%s: there are %d sessions", when, len(left))
			}
		}
		ended(how)
		v := b.post(b.fill(b.open(w.authorization(nil)), "identifier", "ann@example.com"), "code", w.lastMail().Code)
		if suspended := v.Status == 401 && strings.Contains(v.Body, "user.suspended"); suspended != (how == "suspended") {
			t.Errorf("%s: signing in: got %d %s", how, v.Status, v.Body)
		}
		if how == "suspended" {
			w.change("PATCH", path+"/is-suspended", map[string]any{"isSuspended": false})
			ended("no longer suspended")
		}
		if again := w.browser().signedIn("ann@example.com"); (w.claims(again.IDToken)["sub"] == subject) != (how == "suspended") {
			t.Errorf("%s: the next sign-in is of %v, before it was %s", how, w.claims(again.IDToken)["sub"], subject)
		}
		if n := len(told.take()); n != 0 {
			t.Errorf("%s: %d logout tokens were sent, want none", how, n)
		}
	}
}

// TestOnlyRegistration lets in nobody who is known.
func TestOnlyRegistration(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.browser().signedIn("ann@example.com")
	w.change("PATCH", "/api/sign-in-exp", map[string]any{"signInMode": "Register"})
	before := w.mails()
	known := w.browser()
	v := known.fill(known.open(w.authorization(nil)), "identifier", "ann@example.com")
	if sent := w.mails() - before; sent != 0 {
		t.Errorf("%d mails were sent to who is known", sent)
	}
	if v = known.post(v, "code", w.lastMail().Code); v.Status != 400 {
		t.Errorf("an older code lets in who is known: %d", v.Status)
	}
	if got := w.browser().signedIn("bob@example.com"); got.Status != 200 {
		t.Errorf("who is new: got %d", got.Status)
	}
}

// TestAccessControlByRole lets in who has a role that the application names, from the moment it is given.
func TestAccessControlByRole(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	role := w.change("POST", "/api/roles", map[string]any{"name": "editor", "description": "edits"})["id"].(string)
	rules := map[string]any{"userIds": []string{}, "userRoleIds": []string{role}, "organizationIds": []string{}, "organizationRoleRules": []any{}}
	w.change("PUT", "/api/applications/"+appID+"/access-control", rules)
	w.change("PATCH", "/api/applications/"+appID, map[string]any{"appLevelAccessControlEnabled": true})
	b := w.browser()
	v := b.fill(b.open(w.authorization(nil)), "identifier", "ann@example.com")
	if v = b.fill(v, "code", w.lastMail().Code); v.Status != 403 {
		t.Fatalf("without the role: got %d %s", v.Status, v.Header.Get("Location"))
	}
	if q := b.open(w.authorization(map[string]string{"prompt": "none"})); q.Header.Get("Location") != "" && q.location(t).Query().Get("code") != "" {
		t.Errorf("without the role, silently: got %s", q.Header.Get("Location"))
	}
	id, _ := w.another()
	if got := b.open(w.authorization(map[string]string{"client_id": id, "redirect_uri": "https://wiki.example.com/callback"})); got.location(t).Query().Get("code") == "" {
		t.Errorf("another application is closed too: %d %s", got.Status, got.Header.Get("Location"))
	}
	_, _, found := w.api("GET", "/api/users?search.primaryEmail=ann%40example.com&mode.primaryEmail=exact", "Bearer "+w.managementToken("all"), nil)
	w.change("POST", "/api/users/"+found.([]any)[0].(map[string]any)["id"].(string)+"/roles", map[string]any{"roleIds": []string{role}})
	if got := w.redeem(b.open(w.authorization(nil)).location(t).Query().Get("code")); got.Status != 200 {
		t.Errorf("with the role: got %d %s", got.Status, got.Error)
	}
	if got := w.change("GET", "/api/applications/"+appID+"/access-control", nil); cmp.Diff(fmt.Sprint(got), fmt.Sprint(rules)) != "" {
		t.Errorf("the rules are %v, want %v", got, rules)
	}
}

// TestURIsOfTheTenant leads nowhere but where the application says at that moment, before and after a sign-in and at the end of a session.
// Addresses of this computer are let through whatever it says.
func TestURIsOfTheTenant(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	id, _ := w.another()
	set := func(redirects, logouts []string) {
		w.change("PATCH", "/api/applications/"+id, map[string]any{"oidcClientMetadata": map[string]any{"redirectUris": redirects, "postLogoutRedirectUris": logouts}})
	}
	set([]string{"https://wiki.example.com/callback", "https://docs.example.com/callback", "https://*.apps.example.com/callback"},
		[]string{"https://wiki.example.com/out", "https://*.apps.example.com/out"})
	b := w.browser()
	b.signedIn("ann@example.com")
	begin := func(uri string) view {
		return b.do("GET", w.authorization(map[string]string{"client_id": id, "redirect_uri": uri, "prompt": ""}), nil)
	}
	end := func(uri string) int {
		return b.do("GET", "/oidc/session/end?"+url.Values{"client_id": {id}, "post_logout_redirect_uri": {uri}}.Encode(), nil).Status
	}
	for _, uri := range []string{"https://wiki.example.com/", "https://wiki.example.com/out", "https://docs.example.com/callback/", "https://a.b.apps.example.com/callback",
		"https://apps.example.com/callback", "https://*.apps.example.com/callback#", "http://wiki.example.com/callback"} {
		if v := begin(uri); v.Status != 400 || v.Header.Get("Location") != "" || !strings.Contains(v.Body, "invalid_redirect_uri") {
			t.Errorf("redirect URI %s: got %d %s, want 400", uri, v.Status, v.Body)
		}
	}
	for _, uri := range []string{"https://wiki.example.com/", "https://wiki.example.com/callback", "https://docs.example.com/out", "https://apps.example.com/out"} {
		if status := end(uri); status != 400 {
			t.Errorf("post-logout URI %s: got %d, want 400", uri, status)
		}
	}
	for _, uri := range []string{"https://wiki.example.com/callback", "https://docs.example.com/callback", "https://a.apps.example.com/callback", "https://wiki.example.com:443/callback"} {
		if v := begin(uri); !strings.HasPrefix(v.Header.Get("Location"), uri+"?") {
			t.Errorf("redirect URI %s: got %d to %q", uri, v.Status, v.Header.Get("Location"))
		}
	}
	for _, uri := range []string{"https://wiki.example.com/out", "https://a.apps.example.com/out"} {
		if status := end(uri); status != 200 {
			t.Errorf("post-logout URI %s: got %d, want 200", uri, status)
		}
	}

	// A URI that goes while somebody signs in takes the answer with it.
	stranger := w.browser()
	v := stranger.fill(stranger.open(w.authorization(map[string]string{"client_id": id, "redirect_uri": "https://docs.example.com/callback"})), "identifier", "bob@example.com")
	set([]string{"https://wiki.example.com/callback"}, []string{})
	if v = stranger.fill(v, "code", w.lastMail().Code); v.Status != 400 || v.Header.Get("Location") != "" {
		t.Errorf("after the URI has gone: got %d to %q, want 400", v.Status, v.Header.Get("Location"))
	}
	if status := end("https://wiki.example.com/out"); status != 400 {
		t.Errorf("a post-logout URI that has gone: got %d, want 400", status)
	}
}

// TestTenantUnderLoad changes the tenant in every way while people sign in, refresh and go; whoever signs in gets tokens all the same.
func TestTenantUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *provider.Config) {
		c.SendCode = nil
		c.Tenant = tenant.New(tenant.Config{})
	})
	w.change("POST", "/api/connectors", map[string]any{"connectorId": "mailgun-email", "config": loadConfig(0)})
	w.change("PATCH", "/api/sign-in-exp", map[string]any{
		"signUp": map[string]any{"identifiers": []string{"email"}, "password": false, "verify": true},
		"signIn": map[string]any{"methods": []any{map[string]any{"identifier": "email", "password": false, "verificationCode": true, "isPasswordPrimary": false}}},
	})
	id, first := w.another()
	authorization := "Bearer " + w.managementToken("all")
	const rounds = 15
	var wait sync.WaitGroup
	call := func(method, path string, body any, want int) any {
		raw, err := json.Marshal(body)
		if err != nil {
			t.Error(err)
		}
		req, err := http.NewRequest(method, w.url+path, bytes.NewReader(raw))
		if err != nil {
			t.Error(err)
			return nil
		}
		req.Header.Set("Authorization", authorization)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Error(err)
			return nil
		}
		defer resp.Body.Close()
		var got any
		if want != 204 {
			if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
				t.Errorf("%s %s: %d: %v", method, path, resp.StatusCode, err)
			}
		}
		if resp.StatusCode != want {
			t.Errorf("%s %s: got %d %v, want %d", method, path, resp.StatusCode, got, want)
		}
		return got
	}
	for _, change := range []func(i int){
		func(i int) {
			call("PATCH", "/api/applications/"+id, map[string]any{"customClientMetadata": map[string]any{"refreshTokenTtlInDays": i + 1}}, 200)
		},
		func(i int) {
			name := fmt.Sprintf("rotated%d", i)
			call("POST", "/api/applications/"+id+"/secrets", map[string]any{"name": name}, 201)
			call("GET", "/api/applications/"+id+"/secrets", nil, 200)
			call("DELETE", "/api/applications/"+id+"/secrets/"+name, nil, 204)
		},
		func(i int) {
			call("POST", "/api/connectors", map[string]any{"connectorId": "mailgun-email", "config": loadConfig(i)}, 200)
		},
		func(i int) {
			call("PATCH", "/api/sign-in-exp", map[string]any{"unknownSessionRedirectUrl": fmt.Sprintf("https://wiki.example.com/%d", i)}, 200)
			call("GET", "/api/sign-in-exp", nil, 200)
		},
		func(i int) {
			made, _ := call("POST", "/api/applications", map[string]any{"name": "n", "type": "Traditional"}, 200).(map[string]any)
			call("GET", "/api/applications?page=1", nil, 200)
			call("DELETE", fmt.Sprint("/api/applications/", made["id"]), nil, 204)
		},
		func(i int) {
			call("PUT", "/api/applications/"+id+"/access-control", map[string]any{"userIds": []string{fmt.Sprint(i)}, "userRoleIds": []string{}, "organizationIds": []string{}, "organizationRoleRules": []any{}}, 200)
			call("POST", "/api/users", map[string]any{"primaryEmail": fmt.Sprintf("made%d@example.com", i)}, 200)
			call("GET", "/api/users", nil, 200)
		},
	} {
		wait.Go(func() {
			for i := range rounds {
				change(i)
			}
		})
	}
	for person := range 3 {
		wait.Go(func() {
			for i := range rounds {
				address := fmt.Sprintf("person%d-%d@example.com", person, i)
				token, _ := call("POST", "/api/one-time-tokens", map[string]any{"email": address}, 201).(map[string]any)
				b := w.browser()
				v := b.open(w.authorization(map[string]string{"client_id": id, "redirect_uri": "https://wiki.example.com/callback", "one_time_token": fmt.Sprint(token["token"]), "login_hint": address}))
				to, err := url.Parse(v.Header.Get("Location"))
				if err != nil || to.Query().Get("code") == "" {
					t.Errorf("%s: signing in: got %d to %q", address, v.Status, v.Header.Get("Location"))
					return
				}
				form := codeForm(to.Query().Get("code"))
				form.Set("redirect_uri", "https://wiki.example.com/callback")
				got := w.token(form, id, first)
				again := w.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {got.RefreshToken}}, id, first)
				if got.Status != 200 || again.Status != 200 {
					t.Errorf("%s: got %d %s, then %d %s", address, got.Status, got.Error, again.Status, again.Error)
				}
				if v := b.fill(b.open(w.authorization(map[string]string{"client_id": id, "redirect_uri": "https://wiki.example.com/callback", "prompt": "login"})), "identifier", address); v.Status != 200 {
					t.Errorf("%s: a code by mail: got %d", address, v.Status)
				}
			}
		})
	}
	wait.Wait()
	if _, _, all := w.api("GET", "/api/applications", authorization, nil); len(all.([]any)) != 1 {
		t.Errorf("there are %d applications, want the one", len(all.([]any)))
	}
	if _, _, all := w.api("GET", "/api/applications/"+id+"/secrets", authorization, nil); len(all.([]any)) != 2 {
		t.Errorf("there are %d secrets, want the two of the beginning", len(all.([]any)))
	}
	if _, _, all := w.api("GET", "/api/one-time-tokens?status=consumed", authorization, nil); len(all.([]any)) != 3*rounds {
		t.Errorf("%d one-time tokens are used up, want %d", len(all.([]any)), 3*rounds)
	}
}

func loadConfig(i int) map[string]any {
	return map[string]any{"domain": "mg.example.com", "apiKey": fmt.Sprint("key-", i), "from": "no-reply@mg.example.com",
		"deliveries": map[string]any{"Generic": map[string]any{"subject": "{{code}}", "html": "<p>{{code}}</p>"}}}
}

// TestIDTokenLifetimeOfTheApplication is an hour unless the application says otherwise, at a sign-in and at a refresh.
func TestIDTokenLifetimeOfTheApplication(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	lives := func(token string) float64 {
		claims := w.claims(token)
		return claims["exp"].(float64) - claims["iat"].(float64)
	}
	got := w.browser().signedIn("ann@example.com")
	if life := lives(got.IDToken); life != 3600 {
		t.Errorf("an application that says nothing: %v s, want 3600", life)
	}
	w.change("PATCH", "/api/applications/"+appID, map[string]any{"customClientMetadata": map[string]any{"idTokenTtl": 120}})
	if life := lives(w.refresh(got.RefreshToken).IDToken); life != 120 {
		t.Errorf("at a refresh: %v s, want 120", life)
	}
	if life := lives(w.browser().signedIn("bob@example.com").IDToken); life != 120 {
		t.Errorf("at a sign-in: %v s, want 120", life)
	}
}
