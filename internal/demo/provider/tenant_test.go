package provider_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/demo/provider"
)

// change changes the tenant over the Management API and returns what has become of it.
func (w *world) change(method, path string, body any) map[string]any {
	w.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	status, _, got := w.api(method, path, "Bearer "+w.managementToken("all"), raw)
	if status > 299 {
		w.t.Fatalf("%s %s: got %d %v", method, path, status, got)
	}
	made, _ := got.(map[string]any)
	return made
}

// another makes one more application and returns its id and secret.
func (w *world) another() (id, secret string) {
	w.t.Helper()
	made := w.change("POST", "/api/applications", map[string]any{
		"name": "another", "type": "Traditional",
		"oidcClientMetadata": map[string]any{"redirectUris": []string{"https://wiki.example.com/callback"}, "postLogoutRedirectUris": []string{"https://wiki.example.com/"}},
	})
	id = made["id"].(string)
	return id, w.change("POST", "/api/applications/"+id+"/secrets", map[string]any{"name": "one"})["value"].(string)
}

// TestSeveralApplications signs somebody in to an application that was made over the API, with each of its secrets.
func TestSeveralApplications(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	id, first := w.another()
	second := w.change("POST", "/api/applications/"+id+"/secrets", map[string]any{"name": "two"})["value"].(string)
	b := w.browser()
	b.signedIn("ann@example.com")

	redirect := "https://wiki.example.com/callback"
	authorize := func() string {
		t.Helper()
		v := b.open(w.authorization(map[string]string{"client_id": id, "redirect_uri": redirect}))
		if to := v.location(t); !strings.HasPrefix(to.String(), redirect) {
			t.Fatalf("the answer goes to %s, want %s", to, redirect)
		}
		return v.location(t).Query().Get("code")
	}
	redeem := func(code, secret string) tokens {
		form := codeForm(code)
		form.Set("redirect_uri", redirect)
		return w.token(form, id, secret)
	}
	if got := redeem(authorize(), appSecret); got.Status != 401 || got.Error != "invalid_client" {
		t.Errorf("with the secret of another application: got %d %s, want 401 invalid_client", got.Status, got.Error)
	}
	for _, secret := range []string{first, second} {
		got := redeem(authorize(), secret)
		if got.Status != 200 {
			t.Fatalf("with a live secret: got %d %s", got.Status, got.Error)
		}
		if strings.Contains(claimsOf(t, got.IDToken), `"sid"`) {
			t.Errorf("an ID token has sid, but the application does not ask for it: %s", claimsOf(t, got.IDToken))
		}
	}
	w.change("DELETE", "/api/applications/"+id+"/secrets/one", nil)
	if got := redeem(authorize(), first); got.Status != 401 {
		t.Errorf("with a secret that was deleted: got %d, want 401", got.Status)
	}
	if got := w.redeem(b.open(w.authorization(nil)).location(t).Query().Get("code")); got.Status != 200 {
		t.Errorf("the first application after all that: got %d", got.Status)
	}
	if v := b.do("GET", w.authorization(map[string]string{"client_id": id, "redirect_uri": redirect + "?x=y"}), nil); v.Status != 400 {
		t.Errorf("an unregistered redirect URI: got %d, want 400", v.Status)
	}
	if v := b.do("GET", w.authorization(map[string]string{"redirect_uri": redirect}), nil); v.Status != 400 {
		t.Errorf("a redirect URI of another application: got %d, want 400", v.Status)
	}
	end := w.url + "/oidc/session/end?" + url.Values{"client_id": {id}, "post_logout_redirect_uri": {"https://wiki.example.com/"}}.Encode()
	if v := b.do("GET", end, nil); v.Status != 200 {
		t.Errorf("a registered post-logout URI: got %d, want 200", v.Status)
	}
	w.change("DELETE", "/api/applications/"+id, nil)
	if v := b.do("GET", w.authorization(map[string]string{"client_id": id, "redirect_uri": redirect}), nil); v.Status != 400 {
		t.Errorf("an application that has gone: got %d, want 400", v.Status)
	}
}

// claimsOf is the text of a JWT's claims.
func claimsOf(t *testing.T, token string) string {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", token)
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	return string(claims)
}

// TestLogoutTokensOfSeveralApplications has each told where it wants to be, and with sid only if it asks for one.
func TestLogoutTokensOfSeveralApplications(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	told := map[string]string{} // :: path → claims
	r := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		told[r.URL.Path] = claimsOf(t, r.PostFormValue("logout_token"))
	}))
	t.Cleanup(r.Close)
	w := newWorld(t, func(c *provider.Config) { c.BackchannelURI = r.URL + "/first" })
	id, _ := w.another()
	w.change("PATCH", "/api/applications/"+id, map[string]any{"oidcClientMetadata": map[string]any{
		"redirectUris": []string{callback}, "postLogoutRedirectUris": []string{}, "backchannelLogoutUri": r.URL + "/second",
	}})
	b := w.browser()
	b.signedIn("ann@example.com")
	b.open(w.authorization(map[string]string{"client_id": id}))
	b.fill(b.open(w.url+"/oidc/session/end?client_id="+appID), "", "")
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(told["/first"], `"sid"`) || !strings.Contains(told["/first"], `"`+appID+`"`) {
		t.Errorf("the first was told %q", told["/first"])
	}
	if told["/second"] == "" || strings.Contains(told["/second"], `"sid"`) || !strings.Contains(told["/second"], `"`+id+`"`) {
		t.Errorf("the second was told %q, want no sid", told["/second"])
	}
}

// TestClosedRegistration lets in who is known, and tells nobody who that is.
func TestClosedRegistration(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.browser().signedIn("ann@example.com")
	w.change("PATCH", "/api/sign-in-exp", map[string]any{"signInMode": "SignIn"})

	before := w.mails()
	b := w.browser()
	stranger := b.fill(b.open(w.authorization(nil)), "identifier", "bob@example.com")
	other := w.browser()
	known := other.fill(other.open(w.authorization(nil)), "identifier", "ann@example.com")
	if sent := w.mails() - before; sent != 1 {
		t.Errorf("%d mails were sent, want the one to ann", sent)
	}
	same := func(when string, a, b view) {
		t.Helper()
		plain := strings.NewReplacer("bob", "ann").Replace(a.Body)
		if a.Status != b.Status || a.URL != b.URL || withoutXSRF(plain) != withoutXSRF(b.Body) {
			t.Errorf("%s: a stranger sees %d %s\n%s\nwho is known %d %s\n%s", when, a.Status, a.URL, a.Body, b.Status, b.URL, b.Body)
		}
	}
	same("after the address", stranger, known)
	wrong := "000000"
	if w.lastMail().Code == wrong {
		wrong = "000001"
	}
	same("after a wrong code", b.fill(stranger, "code", wrong), other.fill(known, "code", wrong))
	if v := other.fill(known, "code", w.lastMail().Code); !strings.HasPrefix(v.Header.Get("Location"), callback) {
		t.Errorf("who is known cannot sign in: %d %s", v.Status, v.Body)
	}
	status, _, found := w.api("GET", "/api/users?search.primaryEmail=bob%40example.com&mode.primaryEmail=exact", "Bearer "+w.managementToken("all"), nil)
	if status != 200 || len(found.([]any)) != 0 {
		t.Errorf("the stranger was registered: %d %v", status, found)
	}
}

// withoutXSRF is a page without the one field that is another in every browser.
func withoutXSRF(body string) string {
	before, after, found := strings.Cut(body, `name="xsrf" value="`)
	if !found {
		return body
	}
	_, after, _ = strings.Cut(after, `"`)
	return before + withoutXSRF(after)
}

func TestSignInByEmailSwitchedOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	form := b.open(w.authorization(nil))
	w.change("PATCH", "/api/sign-in-exp", map[string]any{
		"signUp": map[string]any{"identifiers": []string{"username"}, "password": true, "verify": false},
		"signIn": map[string]any{"methods": []any{map[string]any{"identifier": "username", "password": true, "verificationCode": false, "isPasswordPrimary": true}}},
	})
	for when, v := range map[string]view{"opened": b.open(w.authorization(nil)), "sent": b.fill(form, "identifier", "ann@example.com")} {
		if !strings.Contains(v.Body, "Signing in by e-mail is switched off") || len(v.forms(t)) != 0 {
			t.Errorf("%s: the page says %s", when, v.Body)
		}
	}
	if w.mails() != 0 {
		t.Errorf("%d mails were sent", w.mails())
	}
	b.language = "es"
	if v := b.open(w.authorization(nil)); !strings.Contains(v.Body, "está desactivado") {
		t.Errorf("in Spanish: %s", v.Body)
	}
}

func TestUnknownSessionRedirectOfTheTenant(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	if v := w.browser().do("GET", "/sign-in", nil); v.Status != 400 {
		t.Errorf("without one: got %d, want 400", v.Status)
	}
	const to = "https://wiki.example.com/_portero/continue"
	w.change("PATCH", "/api/sign-in-exp", map[string]any{"unknownSessionRedirectUrl": to})
	if v := w.browser().do("GET", "/sign-in", nil); v.Status != 302 || v.Header.Get("Location") != to {
		t.Errorf("with one: got %d %s, want 302 %s", v.Status, v.Header.Get("Location"), to)
	}
}

func TestRefreshTokenLifetimeOfTheApplication(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	set := func(custom map[string]any) {
		w.change("PATCH", "/api/applications/"+appID, map[string]any{"customClientMetadata": custom})
	}
	set(map[string]any{"refreshTokenTtlInDays": 1})
	got := w.browser().signedIn("ann@example.com")
	w.clock.Advance(25 * time.Hour)
	if again := w.refresh(got.RefreshToken); again.Status != 400 || again.Error != "invalid_grant" {
		t.Errorf("after a day: got %d %s, want 400 invalid_grant", again.Status, again.Error)
	}
	set(map[string]any{"refreshTokenTtlInDays": 30, "rotateRefreshToken": false})
	got = w.browser().signedIn("ann@example.com")
	w.clock.Advance(25 * 24 * time.Hour)
	if again := w.refresh(got.RefreshToken); again.Status != 200 || again.RefreshToken != got.RefreshToken {
		t.Errorf("one that is not to be replaced: got %d %s and another: %t", again.Status, again.Error, again.RefreshToken != got.RefreshToken)
	}

	// Without prompt=consent there is none, unless the application always gets one; that one ends with the browser's session.
	b := w.browser()
	if got = w.redeem(b.signIn("bob@example.com", w.authorization(map[string]string{"prompt": ""})).Get("code")); got.RefreshToken != "" {
		t.Error("a refresh token without prompt=consent")
	}
	set(map[string]any{"alwaysIssueRefreshToken": true})
	got = w.redeem(b.open(w.authorization(map[string]string{"prompt": ""})).location(t).Query().Get("code"))
	if again := w.refresh(got.RefreshToken); got.RefreshToken == "" || again.Status != 200 {
		t.Errorf("with alwaysIssueRefreshToken: got %q, and %d %s for it", got.RefreshToken, again.Status, again.Error)
	}
	b.fill(b.open(w.url+"/oidc/session/end?client_id="+appID), "", "")
	if again := w.refresh(got.RefreshToken); again.Status != 400 {
		t.Errorf("after the end of the session: got %d, want 400", again.Status)
	}
}

// TestAccessControl turns people away as Logto does: who had a grant is sent back, who had none never leaves Logto, and a refresh is refused
// until access is given back.
func TestAccessControl(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ann := w.browser()
	got := ann.signedIn("ann@example.com")
	rules := func(users ...string) {
		w.change("PUT", "/api/applications/"+appID+"/access-control", map[string]any{
			"userIds": append([]string{}, users...), "userRoleIds": []string{}, "organizationIds": []string{}, "organizationRoleRules": []any{},
		})
	}
	rules("somebodyelse")
	w.change("PATCH", "/api/applications/"+appID, map[string]any{"appLevelAccessControlEnabled": true})

	v := ann.open(w.authorization(nil))
	if q := v.location(t).Query(); q.Get("error") != "access_denied" || q.Get("error_description") != "Access denied." || q.Get("state") != "state-1" {
		t.Errorf("with a session and a grant: got %v, want access_denied", q)
	}
	if again := w.refresh(got.RefreshToken); again.Status != 400 || again.Error != "access_denied" {
		t.Errorf("a refresh: got %d %s, want 400 access_denied", again.Status, again.Error)
	}
	bob := w.browser()
	v = bob.fill(bob.open(w.authorization(nil)), "identifier", "bob@example.com")
	v = bob.fill(v, "code", w.lastMail().Code)
	if v.Header.Get("Location") != "" || v.Status != 403 || !strings.Contains(v.Body, "You have no access to this application") {
		t.Errorf("signing in without a grant: got %d %s %s, want a page", v.Status, v.Header.Get("Location"), v.Body)
	}

	subject := w.claims(got.IDToken)["sub"].(string)
	rules(subject)
	if again := w.refresh(got.RefreshToken); again.Status != 200 {
		t.Errorf("a refresh after access was given back: got %d %s, want 200", again.Status, again.Error)
	}
	if q := ann.open(w.authorization(nil)).location(t).Query(); q.Get("code") == "" {
		t.Errorf("after access was given back: got %v", q)
	}
}

// TestOneTimeToken signs an address in without a code, once, and registers it even where registration is closed.
func TestOneTimeToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.change("PATCH", "/api/sign-in-exp", map[string]any{"signInMode": "SignIn"})
	invite := func() string {
		return w.change("POST", "/api/one-time-tokens", map[string]any{"email": "ann@example.com", "expiresIn": 60})["token"].(string)
	}
	with := func(token, address string) string {
		return w.authorization(map[string]string{"one_time_token": token, "login_hint": address, "prompt": "login consent"})
	}
	token := invite()

	b := w.browser()
	v := b.do("GET", with(token, "ann@example.com"), nil)
	if to := v.location(t); v.Status != 303 || to.Path != "/sign-in" || to.Query().Get("one_time_token") != token || to.Query().Get("login_hint") != "ann@example.com" {
		t.Fatalf("got %d %s, want 303 to /sign-in with both", v.Status, v.Header.Get("Location"))
	}
	for name, bad := range map[string]string{"of somebody else": with(token, "bob@example.com"), "without an address": with(token, ""), "unknown": with("x", "ann@example.com")} {
		other := w.browser()
		v := other.open(bad)
		if v.Status != 400 || !strings.Contains(v.Body, "This link is not good any more") {
			t.Errorf("%s: got %d %s", name, v.Status, v.Body)
		}
		if len(other.open(w.authorization(nil)).forms(t)) == 0 {
			t.Errorf("%s: somebody is signed in", name)
		}
	}
	got := w.redeem(b.follow(v).location(t).Query().Get("code"))
	if got.Status != 200 || w.claims(got.IDToken)["email"] != "ann@example.com" {
		t.Fatalf("got %d %s, want ann", got.Status, got.Error)
	}
	if w.mails() != 0 {
		t.Errorf("%d mails were sent", w.mails())
	}
	other := w.browser()
	if v := other.open(with(token, "ann@example.com")); v.Status != 400 {
		t.Errorf("a second time: got %d, want 400", v.Status)
	}
	late := invite()
	w.clock.Advance(time.Minute)
	if v := w.browser().open(with(late, "ann@example.com")); v.Status != 400 {
		t.Errorf("late: got %d, want 400", v.Status)
	}
	// A link that is over still leads to signing in with the address.
	v = other.open(w.url + "/sign-in")
	v = other.fill(v, "identifier", "ann@example.com")
	if v = other.fill(v, "code", w.lastMail().Code); !strings.HasPrefix(v.Header.Get("Location"), callback) {
		t.Errorf("with a code after that: got %d %s", v.Status, v.Body)
	}
}

// TestMachineToMachine gives a token for the Management API to an application that has the role for it, as long as it has.
func TestMachineToMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	made := w.change("POST", "/api/applications", map[string]any{"name": "machine", "type": "MachineToMachine"})
	id := made["id"].(string)
	secret := w.change("POST", "/api/applications/"+id+"/secrets", map[string]any{"name": "one"})["value"].(string)
	ask := func() int {
		got := w.token(url.Values{"grant_type": {"client_credentials"}, "resource": {"https://default.logto.app/api"}, "scope": {"all"}}, id, secret)
		if got.Status != 200 {
			t.Fatalf("asking for a token: %+v", got)
		}
		status, _, _ := w.api("GET", "/api/applications", "Bearer "+got.AccessToken, nil)
		return status
	}
	if status := ask(); status != 403 {
		t.Errorf("without the role: got %d, want 403", status)
	}
	_, _, roles := w.api("GET", "/api/roles?type=MachineToMachine", "Bearer "+w.managementToken("all"), nil)
	w.change("POST", "/api/applications/"+id+"/roles", map[string]any{"roleIds": []any{roles.([]any)[0].(map[string]any)["id"]}})
	if status := ask(); status != 200 {
		t.Errorf("with the role: got %d, want 200", status)
	}
	w.change("DELETE", "/api/applications/"+id, nil)
	if got := w.token(url.Values{"grant_type": {"client_credentials"}}, id, secret); got.Status != 400 || got.Error != "invalid_client" {
		t.Errorf("after it has gone: got %d %s, want 400 invalid_client", got.Status, got.Error)
	}
	if got := w.token(url.Values{"grant_type": {"client_credentials"}, "resource": {"https://default.logto.app/api"}}, appID, appSecret); got.Status != 400 {
		t.Errorf("an application of people: got %d %s, want 400", got.Status, got.Error)
	}
}

// TestUsers finds, makes, suspends and deletes people.
func TestUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	authorization := "Bearer " + w.managementToken("all")
	made := w.change("POST", "/api/users", map[string]any{"primaryEmail": "Ann@example.com", "name": "Ann"})
	if status, _, got := w.api("POST", "/api/users", authorization, []byte(`{"primaryEmail":"ann@example.com"}`)); status != 422 {
		t.Errorf("the same address: got %d %v, want 422", status, got)
	}
	for query, want := range map[string]int{
		"search.primaryEmail=ann%40example.com&mode.primaryEmail=exact": 1, "search.primaryEmail=ann&mode.primaryEmail=exact": 0,
		"search=%25example.com": 1, "search=%25example.org": 0, "": 1,
	} {
		if _, header, got := w.api("GET", "/api/users?"+query, authorization, nil); len(got.([]any)) != want || header.Get("Total-Number") == "" {
			t.Errorf("%q: got %v and %q, want %d", query, got, header.Get("Total-Number"), want)
		}
	}
	got := w.browser().signedIn("ann@example.com")
	path := "/api/users/" + made["id"].(string)
	role := w.change("POST", "/api/roles", map[string]any{"name": "editor", "description": "edits"})["id"]
	w.change("POST", path+"/roles", map[string]any{"roleIds": []any{role}})
	if again := w.refresh(got.RefreshToken); !strings.Contains(claimsOf(t, again.IDToken), `"roles":["editor"]`) {
		t.Errorf("after a role was given: %s", claimsOf(t, again.IDToken))
	}
	if now := w.change("PATCH", path+"/is-suspended", map[string]any{"isSuspended": true}); now["isSuspended"] != true {
		t.Errorf("suspended: got %v", now)
	}
	if again := w.refresh(got.RefreshToken); again.Status != 400 {
		t.Errorf("a refresh of somebody suspended: got %d, want 400", again.Status)
	}
	w.change("DELETE", path, nil)
	if status, _, _ := w.api("GET", path, authorization, nil); status != 404 {
		t.Errorf("after the person has gone: got %d, want 404", status)
	}
	if status, _, _ := w.api("GET", "/api/status", "", nil); status != 204 {
		t.Errorf("the status: got %d, want 204", status)
	}
	if status, _, got := w.api("GET", "/api/.well-known/sign-in-exp", "", nil); status != 200 || got.(map[string]any)["signInMode"] == nil {
		t.Errorf("the public sign-in experience: got %d %v", status, got)
	}
}
