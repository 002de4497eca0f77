package provider_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"portero/internal/demo/provider"
)

func TestSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()

	v := b.open(w.authorization(map[string]string{"login_hint": "Ann@Example.com", "first_screen": "identifier:sign_in", "identifier": "email"}))
	u, _ := url.Parse(v.URL)
	if u.Path != "/identifier-sign-in" || u.Query().Get("app_id") != appID || u.Query().Get("login_hint") != "Ann@Example.com" || u.Query().Get("identifier") != "email" {
		t.Errorf("first page: got %s", v.URL)
	}
	if got := v.forms(t)[0].Fields.Get("identifier"); got != "Ann@Example.com" {
		t.Errorf("address field: got %q, want the login hint", got)
	}
	for _, c := range v.Set {
		if c.Name == "demo_interaction" && (!c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/") {
			t.Errorf("interaction cookie: got %v", c)
		}
	}

	v = b.post(v, "identifier", "Ann@Example.com")
	if v.Status != http.StatusSeeOther {
		t.Fatalf("after the address: got %d", v.Status)
	}
	v = b.follow(v)
	want := sentCode{To: "Ann@Example.com", Usage: "SignIn", Lang: "en"}
	got := w.lastMail()
	code := got.Code
	got.Code = ""
	if diff := cmp.Diff(want, got); diff != "" || len(code) != 6 || strings.Trim(code, "0123456789") != "" {
		t.Errorf("mail (-want +got):\n%s code %q", diff, code)
	}

	v = b.fill(v, "code", " "+code[:3]+" - "+code[3:]+"\t")
	back := v.location(t)
	if got, want := back.Scheme+"://"+back.Host+back.Path, callback; got != want {
		t.Errorf("redirect: got %s, want %s", got, want)
	}
	if q := back.Query(); q.Get("state") != "state-1" || q.Get("iss") != w.url+"/oidc" || len(q.Get("code")) != 43 {
		t.Errorf("redirect query: got %v", q)
	}
	session := false
	for _, c := range v.Set {
		if c.Name == "demo_session" {
			session = c.HttpOnly && c.SameSite == http.SameSiteLaxMode && c.Path == "/" && c.Domain == "" && c.MaxAge == 14*24*3600
		}
	}
	if !session {
		t.Errorf("session cookie: got %v", v.Set)
	}

	answer := w.redeem(back.Query().Get("code"))
	if answer.Status != 200 || len(answer.AccessToken) != 43 || len(answer.RefreshToken) != 43 || answer.ExpiresIn != 3600 ||
		answer.TokenType != "Bearer" || answer.Scope != fullScope || answer.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("token answer: got %+v", answer)
	}
	claims := w.claims(answer.IDToken)
	now := float64(w.clock.Now().Unix())
	sub, sid := claims["sub"].(string), claims["sid"].(string)
	if len(sub) != 12 || sub != strings.ToLower(sub) || len(sid) != 43 {
		t.Errorf("sub %q, sid %q: want 12 and 43 characters", sub, sid)
	}
	wantClaims := map[string]any{
		"iss": w.url + "/oidc", "aud": appID, "sub": sub, "sid": sid, "nonce": "nonce-1", "iat": now, "exp": now + 3600, "auth_time": now,
		"name": nil, "username": nil, "picture": nil, "created_at": now * 1000, "updated_at": now * 1000,
		"email": "Ann@Example.com", "email_verified": true, "roles": []any{}, "organizations": []any{},
	}
	if diff := cmp.Diff(wantClaims, claims); diff != "" {
		t.Errorf("ID token (-want +got):\n%s", diff)
	}

	status, info := w.userinfo(answer.AccessToken)
	for _, name := range []string{"iss", "aud", "sid", "nonce", "iat", "exp", "auth_time"} {
		delete(wantClaims, name)
	}
	wantClaims["custom_data"], wantClaims["organization_data"] = map[string]any{}, []any{}
	if diff := cmp.Diff(wantClaims, info); status != 200 || diff != "" {
		t.Errorf("userinfo %d (-want +got):\n%s", status, diff)
	}
}

func TestAdministratorsAndProfiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	answer := w.browser().signedIn("Root@Admin.Example")
	if diff := cmp.Diff([]any{"admin"}, w.claims(answer.IDToken)["roles"]); diff != "" {
		t.Errorf("roles of an administrator (-want +got):\n%s", diff)
	}
	if got := w.claims(w.browser().signedIn("eve@xadmin.example").IDToken)["roles"].([]any); len(got) != 0 {
		t.Errorf("roles of a look-alike: got %v", got)
	}

	subject := w.Switches().SetProfile("bea@example.com", provider.Profile{
		Name: "Bea", Username: "bea", Roles: []string{"editor"}, Organizations: []string{"org1"},
		CustomData: map[string]any{"department": "it"}, UnverifiedEmail: true,
	})
	answer = w.browser().signedIn("BEA@example.com")
	claims := w.claims(answer.IDToken)
	got := map[string]any{}
	for _, name := range []string{"sub", "name", "username", "roles", "organizations", "email_verified", "email", "custom_data"} {
		got[name] = claims[name]
	}
	want := map[string]any{
		"sub": subject, "name": "Bea", "username": "bea", "roles": []any{"editor"}, "organizations": []any{"org1"},
		"email_verified": false, "email": "bea@example.com", "custom_data": nil,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ID token (-want +got):\n%s", diff)
	}
	_, info := w.userinfo(answer.AccessToken)
	if diff := cmp.Diff(map[string]any{"department": "it"}, info["custom_data"]); diff != "" {
		t.Errorf("custom_data of userinfo (-want +got):\n%s", diff)
	}
}

func TestFirstScreen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for screen, want := range map[string][2]string{
		"":                    {"/sign-in", "SignIn"},
		"sign_in":             {"/sign-in", "SignIn"},
		"identifier:sign_in":  {"/identifier-sign-in", "SignIn"},
		"identifier:sign-in":  {"/sign-in", "SignIn"},
		"register":            {"/register", "Register"},
		"identifier:register": {"/identifier-register", "Register"},
		"bogus":               {"/sign-in", "SignIn"},
	} {
		b := w.browser()
		v := b.open(w.authorization(map[string]string{"first_screen": screen}))
		if u, _ := url.Parse(v.URL); u.Path != want[0] {
			t.Errorf("first_screen=%s: got %s, want %s", screen, u.Path, want[0])
		}
		b.fill(v, "identifier", fmt.Sprintf("who-%d@example.com", len(screen)))
		if got := w.lastMail().Usage; got != want[1] {
			t.Errorf("first_screen=%s: got usage %s, want %s", screen, got, want[1])
		}
	}
}

func TestLastInteractionWins(t *testing.T) {
	t.Parallel()
	for _, finish := range []string{"first tab", "second tab"} {
		w := newWorld(t, nil)
		b := w.browser()
		one := b.open(w.authorization(map[string]string{"state": "one", "nonce": "n1"}))
		one = b.fill(one, "identifier", "ann@example.com")
		code := w.lastMail().Code
		two := b.open(w.authorization(map[string]string{"state": "two", "nonce": "n2"}))

		v := one
		if finish == "second tab" {
			v = b.fill(two, "identifier", "ann@example.com")
			code = w.lastMail().Code
		}
		q := b.fill(v, "code", code).location(t).Query()
		if got := q.Get("state"); got != "two" {
			t.Errorf("%s finished: got state %q, want that of the request started last", finish, got)
		}
		if got := w.claims(w.redeem(q.Get("code")).IDToken)["nonce"]; got != "n2" {
			t.Errorf("%s finished: got nonce %v, want n2", finish, got)
		}
	}
}

func TestParallelInteractions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *provider.Config) { c.ParallelInteractions = true })
	b := w.browser()
	one := b.open(w.authorization(map[string]string{"state": "one"}))
	two := b.open(w.authorization(map[string]string{"state": "two", "prompt": "login consent"}))
	for _, v := range []view{one, two} {
		if u, _ := url.Parse(v.URL); u.Query().Get("interaction") == "" {
			t.Errorf("page URL %s does not name its interaction", v.URL)
		}
	}
	one = b.fill(one, "identifier", "ann@example.com")
	codeOne := w.lastMail().Code
	two = b.fill(two, "identifier", "ann@example.com")
	codeTwo := w.lastMail().Code
	if got := b.fill(one, "code", codeOne).location(t).Query().Get("state"); got != "one" {
		t.Errorf("first tab: got state %q", got)
	}
	// The second asked for prompt=login: the session of the first tab is not enough.
	if v := b.open(two.URL); v.Status != 200 {
		t.Errorf("second tab opened again: got %d", v.Status)
	}
	if got := b.fill(two, "code", codeTwo).location(t).Query().Get("state"); got != "two" {
		t.Errorf("second tab: got state %q", got)
	}
	stranger := w.browser()
	stranger.open(w.authorization(nil))
	if v := stranger.open(one.URL); v.Status != 400 {
		t.Errorf("page of another browser's interaction: got %d, want 400", v.Status)
	}
}

func TestLiveSessionGoesStraightOn(t *testing.T) {
	t.Parallel()
	for _, parallel := range []bool{false, true} {
		w := newWorld(t, func(c *provider.Config) { c.ParallelInteractions = parallel })
		b := w.browser()
		waiting := b.open(w.authorization(map[string]string{"state": "waiting"}))
		sent := b.fill(waiting, "identifier", "ann@example.com")
		if parallel {
			// In the other mode this interaction would take the place of the one that waits.
			b.signIn("ann@example.com", w.authorization(map[string]string{"state": "other"}))
		} else {
			b.fill(sent, "code", w.lastMail().Code)
		}
		for name, page := range map[string]view{"address": waiting, "code": sent} {
			if got := b.open(page.URL).location(t).Query().Get("state"); got != "waiting" {
				t.Errorf("parallel %v: %s page opened with a live session: got state %q", parallel, name, got)
			}
		}
		if got := b.post(sent, "code", "000000").location(t).Query().Get("state"); got != "waiting" {
			t.Errorf("parallel %v: code form sent again: got state %q", parallel, got)
		}
		if v := b.do("GET", w.authorization(map[string]string{"state": "silent"}), nil); v.location(t).Query().Get("state") != "silent" {
			t.Errorf("parallel %v: silent sign-in: got %v", parallel, v.Header)
		}
		w.clock.Advance(2 * time.Minute)
		if v := b.open(waiting.URL); v.Status != 400 {
			t.Errorf("parallel %v: page of a finished interaction: got %d, want 400", parallel, v.Status)
		}
	}
}

func TestPrompts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	fresh := func(*browser) {}
	live := func(b *browser) { b.signedIn("ann@example.com"); w.clock.Advance(100 * time.Second) }
	revoked := func(b *browser) {
		got := b.signedIn("ann@example.com")
		w.call("/oidc/token/revocation", url.Values{"token": {got.RefreshToken}}, appID, appSecret)
	}
	for _, row := range []struct {
		name    string
		before  func(*browser)
		request map[string]string
		page    bool
		want    string // error; "" a code
	}{
		{"none without a session", fresh, map[string]string{"prompt": "none"}, false, "login_required"},
		{"none with a session", live, map[string]string{"prompt": "none"}, false, ""},
		{"none with a session too old", live, map[string]string{"prompt": "none", "max_age": "99"}, false, "login_required"},
		{"none with max_age=0", live, map[string]string{"prompt": "none", "max_age": "0"}, false, "login_required"},
		{"none after the grant was revoked", revoked, map[string]string{"prompt": "none"}, false, "consent_required"},
		{"none and login", live, map[string]string{"prompt": "none login"}, false, "invalid_request"},
		{"unknown", live, map[string]string{"prompt": "create"}, false, "invalid_request"},
		{"absent with a session", live, map[string]string{"prompt": ""}, false, ""},
		{"absent without a session", fresh, map[string]string{"prompt": ""}, true, ""},
		{"consent with a session", live, nil, false, ""},
		{"consent after the grant was revoked", revoked, nil, false, ""},
		{"login with a session", live, map[string]string{"prompt": "login"}, true, ""},
		{"login consent with a session", live, map[string]string{"prompt": "login consent"}, true, ""},
		{"session older than max_age", live, map[string]string{"max_age": "99"}, true, ""},
		{"session younger than max_age", live, map[string]string{"max_age": "101"}, false, ""},
		{"max_age=0", live, map[string]string{"max_age": "0"}, true, ""},
	} {
		b := w.browser()
		row.before(b)
		v := b.open(w.authorization(row.request))
		if page := v.Status == 200; page != row.page {
			t.Errorf("%s: got status %d to %s, want a page: %v", row.name, v.Status, v.Header.Get("Location"), row.page)
			continue
		} else if page {
			v = b.fill(v, "identifier", "ann@example.com")
			v = b.fill(v, "code", w.lastMail().Code)
		}
		q := v.location(t).Query()
		if got := q.Get("error"); got != row.want || (got == "") != q.Has("code") || q.Get("state") != "state-1" || q.Get("iss") == "" {
			t.Errorf("%s: got %v, want error %q", row.name, q, row.want)
		}
		w.clock.Advance(11 * time.Minute) // mails per address
	}
}

func TestAuthTimeOnlyWithMaxAge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	q := b.signIn("ann@example.com", w.authorization(map[string]string{"max_age": "", "prompt": "login consent"}))
	if got, ok := w.claims(w.redeem(q.Get("code")).IDToken)["auth_time"]; ok {
		t.Errorf("without max_age: got auth_time %v", got)
	}
}

// TestSignInAgain: prompt=login moves auth_time, keeps the sid, and leaves the earlier refresh token alone.
func TestSignInAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	first := b.signedIn("ann@example.com")
	before := b.cookies["demo_session"]
	w.clock.Advance(time.Hour)
	silent := w.redeem(b.open(w.authorization(nil)).location(t).Query().Get("code"))
	again := w.redeem(b.signIn("ann@example.com", w.authorization(map[string]string{"prompt": "login consent"})).Get("code"))

	c1, c2, c3 := w.claims(w.refresh(first.RefreshToken).IDToken), w.claims(silent.IDToken), w.claims(again.IDToken)
	if c1["sid"] != c2["sid"] || c1["sid"] != c3["sid"] || c1["sub"] != c3["sub"] {
		t.Errorf("sids of one browser session differ: %v, %v, %v", c1["sid"], c2["sid"], c3["sid"])
	}
	if c2["auth_time"] != c1["auth_time"] || c3["auth_time"].(float64) != c1["auth_time"].(float64)+3600 {
		t.Errorf("auth_time: got %v, silently %v, again %v", c1["auth_time"], c2["auth_time"], c3["auth_time"])
	}
	if first.RefreshToken == silent.RefreshToken || silent.RefreshToken == again.RefreshToken {
		t.Error("sign-ins share a refresh token")
	}
	if b.cookies["demo_session"] == before {
		t.Error("the session cookie survives a sign-in")
	}
	// One grant: revoking the first refresh token ends the others.
	w.call("/oidc/token/revocation", url.Values{"token": {first.RefreshToken}}, appID, appSecret)
	for name, token := range map[string]string{"silent": silent.RefreshToken, "again": again.RefreshToken} {
		if got := w.refresh(token); got.Error != "invalid_grant" {
			t.Errorf("%s refresh token after the first was revoked: got %d %s", name, got.Status, got.Error)
		}
	}

	other := w.redeem(b.signIn("bea@example.com", w.authorization(map[string]string{"prompt": "login consent"})).Get("code"))
	if c := w.claims(other.IDToken); c["sid"] == c1["sid"] || c["sub"] == c1["sub"] {
		t.Errorf("another person in the same browser: got sid %v and sub %v of the first", c["sid"], c["sub"])
	}
	elsewhere := w.browser().signedIn("ann@example.com")
	if c := w.claims(elsewhere.IDToken); c["sid"] == c1["sid"] || c["sub"] != c1["sub"] {
		t.Errorf("the same person in another browser: got sid %v, sub %v", c["sid"], c["sub"])
	}
}

func TestOfflineAccessNeedsConsent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	q := w.browser().signIn("ann@example.com", w.authorization(map[string]string{"prompt": ""}))
	got := w.redeem(q.Get("code"))
	if got.Status != 200 || got.RefreshToken != "" || strings.Contains(got.Scope, "offline_access") {
		t.Errorf("without prompt=consent: got refresh token %q, scope %q", got.RefreshToken, got.Scope)
	}
}

func TestAuthorizationErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, row := range map[string]struct {
		request map[string]string
		want    string
	}{
		"no response_type":      {map[string]string{"response_type": ""}, "invalid_request"},
		"wrong response_type":   {map[string]string{"response_type": "id_token"}, "unsupported_response_type"},
		"plain challenge":       {map[string]string{"code_challenge_method": "plain"}, "invalid_request"},
		"no challenge method":   {map[string]string{"code_challenge_method": ""}, "invalid_request"},
		"short challenge":       {map[string]string{"code_challenge": "short"}, "invalid_request"},
		"method alone":          {map[string]string{"code_challenge": ""}, "invalid_request"},
		"unknown resource":      {map[string]string{"resource": "https://api.example.com"}, "invalid_target"},
		"request object":        {map[string]string{"request": "eyJ"}, "request_not_supported"},
		"request_uri":           {map[string]string{"request_uri": "https://example.com/r"}, "request_uri_not_supported"},
		"form_post":             {map[string]string{"response_mode": "form_post"}, "invalid_request"},
		"nonce without openid":  {map[string]string{"scope": "profile"}, "invalid_request"},
		"no scope":              {map[string]string{"scope": ""}, "invalid_request"},
		"hint of nobody":        {map[string]string{"prompt": "none", "id_token_hint": "x"}, "login_required"},
		"unknown prompt of two": {map[string]string{"prompt": "consent select_account"}, "invalid_request"},
	} {
		u := w.browser().open(w.authorization(row.request)).location(t)
		q := u.Query()
		if u.Fragment != "" {
			q, _ = url.ParseQuery(u.Fragment)
		}
		if q.Get("error") != row.want || q.Get("error_description") == "" || q.Get("state") != "state-1" || q.Get("iss") != w.url+"/oidc" || q.Has("code") {
			t.Errorf("%s: got %s, want %s", name, u, row.want)
		}
	}
	for name, row := range map[string]struct {
		target, want string
	}{
		"unknown client":  {w.authorization(map[string]string{"client_id": "nobody"}), "invalid_client"},
		"machine client":  {w.authorization(map[string]string{"client_id": "m2m"}), "invalid_client"},
		"no client":       {w.authorization(map[string]string{"client_id": ""}), "invalid_request"},
		"no redirect_uri": {w.authorization(map[string]string{"redirect_uri": ""}), "invalid_redirect_uri"},
		"state twice":     {w.authorization(nil) + "&state=two", "invalid_request"},
		"state of 16 KiB": {w.authorization(map[string]string{"state": strings.Repeat("s", 16<<10)}), "invalid_request"},
		"bad max_age":     {w.authorization(map[string]string{"max_age": "-1"}), "invalid_request"},
	} {
		v := w.browser().do("GET", row.target, nil)
		if v.Status != 400 || !strings.Contains(v.Body, `"code":"oidc.`+row.want+`"`) || !strings.Contains(v.Body, `"error":"`+row.want+`"`) {
			t.Errorf("%s: got %d %s, want 400 %s", name, v.Status, v.Body, row.want)
		}
	}
}

func TestIDTokenHintNamesThePerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	own := b.signedIn("ann@example.com").IDToken
	other := w.browser().signedIn("bea@example.com").IDToken
	w.clock.Advance(3 * time.Hour) // an expired hint is a hint
	if q := b.open(w.authorization(map[string]string{"prompt": "none", "id_token_hint": own})).location(t).Query(); !q.Has("code") {
		t.Errorf("own hint: got %v", q)
	}
	if q := b.open(w.authorization(map[string]string{"prompt": "none", "id_token_hint": other})).location(t).Query(); q.Get("error") != "login_required" {
		t.Errorf("hint of another person: got %v", q)
	}
}

func TestWrongCodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	v := b.fill(b.open(w.authorization(nil)), "identifier", "ann@example.com")
	right := w.lastMail().Code
	wrong := "000000"
	if right == wrong {
		wrong = "111111"
	}
	for left := 9; left > 1; left-- {
		v = b.post(v, "code", wrong)
		if want := fmt.Sprintf("That is not the code we sent last. %d tries left.", left); v.Status != 400 || !strings.Contains(v.Body, want) {
			t.Fatalf("wrong code: got %d without %q", v.Status, want)
		}
	}
	if v = b.post(v, "code", ""); !strings.Contains(v.Body, "1 try left.") {
		t.Error("ninth wrong code: the page does not say that one try is left")
	}
	v = b.post(v, "code", wrong)
	for _, name := range []string{"tenth wrong code", "right code after ten wrong ones"} {
		if v.Status != 400 || !strings.Contains(v.Body, "This code has run out. Send a new one.") {
			t.Errorf("%s: got %d", name, v.Status)
		}
		v = b.post(v, "code", right)
	}
	// A new code has tries of its own, and the one before it is worth nothing.
	newCode := v.forms(t)[1]
	v = b.follow(b.do("POST", newCode.Action, newCode.Fields))
	if latest := w.lastMail().Code; latest != right {
		if v = b.post(v, "code", right); !strings.Contains(v.Body, "9 tries left") {
			t.Error("the code before the last is accepted or not counted")
		}
	}
	if v = b.post(v, "code", w.lastMail().Code); v.Status != http.StatusSeeOther {
		t.Errorf("code sent last: got %d", v.Status)
	}
}

func TestCodeRunsOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for wait, want := range map[time.Duration]int{10*time.Minute - time.Second: http.StatusSeeOther, 10 * time.Minute: http.StatusBadRequest} {
		b := w.browser()
		v := b.fill(b.open(w.authorization(nil)), "identifier", "ann@example.com")
		w.clock.Advance(wait)
		if v = b.post(v, "code", w.lastMail().Code); v.Status != want {
			t.Errorf("code after %v: got %d, want %d", wait, v.Status, want)
		}
	}
}

func TestRightCodeAtTheSameTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	v := b.fill(b.open(w.authorization(nil)), "identifier", "ann@example.com")
	f := v.forms(t)[0]
	f.Fields.Set("code", w.lastMail().Code)
	var group sync.WaitGroup
	var mu sync.Mutex
	signedIn := 0
	for range 20 {
		group.Go(func() {
			again := w.browser()
			again.cookies["demo_interaction"] = b.cookies["demo_interaction"]
			if again.do("POST", f.Action, f.Fields).Status == http.StatusSeeOther {
				mu.Lock()
				defer mu.Unlock()
				signedIn++
			}
		})
	}
	group.Wait()
	if signedIn != 1 {
		t.Errorf("one code signed in %d times", signedIn)
	}
}

func TestTenMailsPerAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	v := b.open(w.authorization(nil))
	for range 9 {
		b.fill(v, "identifier", "Ann@example.com")
		w.clock.Advance(30 * time.Second)
	}
	sent := b.fill(v, "identifier", "ann@EXAMPLE.com")
	late := b.post(v, "identifier", "ann@example.com")
	const want = "Several codes have been sent to this address. Wait 6 minutes before asking for another."
	if late.Status != http.StatusTooManyRequests || !strings.Contains(late.Body, want) || late.Header.Get("Retry-After") != "330" {
		t.Errorf("eleventh mail: got %d, Retry-After %s, without %q", late.Status, late.Header.Get("Retry-After"), want)
	}
	newCode := sent.forms(t)[1]
	if again := b.do("POST", newCode.Action, newCode.Fields); again.Status != http.StatusTooManyRequests || !strings.Contains(again.Body, want) {
		t.Errorf("eleventh mail from the code page: got %d", again.Status)
	}
	if got := w.mails(); got != 10 {
		t.Errorf("got %d mails, want 10", got)
	}
	if other := b.post(v, "identifier", "bea@example.com"); other.Status != http.StatusSeeOther {
		t.Errorf("another address: got %d", other.Status)
	}
	w.clock.Advance(330 * time.Second)
	if again := b.post(v, "identifier", "ann@example.com"); again.Status != http.StatusSeeOther {
		t.Errorf("after the wait: got %d", again.Status)
	}
}

func TestMailUnavailable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	v := b.open(w.authorization(nil))
	w.failMail(errors.New("mail service is down"))
	for range 12 { // failures are not counted
		v := b.post(v, "identifier", "ann@example.com")
		if v.Status != http.StatusServiceUnavailable || !strings.Contains(v.Body, "The code could not be sent") {
			t.Fatalf("mail down: got %d %s", v.Status, v.Body)
		}
	}
	v = b.post(v, "identifier", "ann@example.com")
	w.failMail(nil)
	v = b.fill(v, "", "")
	if got := w.lastMail().To; got != "ann@example.com" {
		t.Errorf("sent again: got mail to %q", got)
	}
	if v = b.post(v, "code", w.lastMail().Code); v.Status != http.StatusSeeOther {
		t.Errorf("code that was sent again: got %d", v.Status)
	}
}

func TestUnreadableAddresses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	v := b.open(w.authorization(nil))
	for _, address := range []string{"", "ann", "ann@", "@example.com", "ann@example", "a@b@example.com", "Ann <ann@example.com>", "ann@example.com, bea@example.com",
		"ann @example.com", "ann@exa mple.com", `"a b"@example.com`, "ann@[127.0.0.1]", "ann@example.com\r\nBcc: x@example.com", strings.Repeat("a", 200) + "@example.com"} {
		got := b.post(v, "identifier", address)
		if got.Status != 400 || !strings.Contains(got.Body, "Write the address like this: name@example.com") {
			t.Errorf("address %q: got %d", address, got.Status)
		}
		if typed := got.forms(t)[0].Fields.Get("identifier"); typed != strings.TrimSpace(strings.ReplaceAll(address, "\r\n", "\n")) && typed != strings.TrimSpace(address) {
			t.Errorf("address %q: the field says %q", address, typed)
		}
	}
	if w.mails() != 0 {
		t.Errorf("got %d mails", w.mails())
	}
}

func TestFormsAreBoundToTheBrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	victim, attacker := w.browser(), w.browser()
	page := victim.open(w.authorization(nil))
	theirs := attacker.open(w.authorization(nil))

	for name, change := range map[string]func(url.Values){
		"no xsrf":           func(f url.Values) { f.Del("xsrf") },
		"empty xsrf":        func(f url.Values) { f.Set("xsrf", "") },
		"attacker's xsrf":   func(f url.Values) { f.Set("xsrf", theirs.forms(t)[0].Fields.Get("xsrf")) },
		"interaction value": func(f url.Values) { f.Set("xsrf", victim.cookies["demo_interaction"]) },
	} {
		f := page.forms(t)[0]
		f.Fields.Set("identifier", "mallory@example.com")
		change(f.Fields)
		if v := victim.do("POST", f.Action, f.Fields); v.Status != 400 {
			t.Errorf("%s: got %d, want 400", name, v.Status)
		}
	}
	f := page.forms(t)[0]
	f.Fields.Set("identifier", "ann@example.com")
	if v := w.browser().do("POST", f.Action, f.Fields); v.Status != 400 {
		t.Errorf("no cookie: got %d, want 400", v.Status)
	}
	if w.mails() != 0 {
		t.Errorf("got %d mails", w.mails())
	}
	// A cookie value that was not given out here is not taken up.
	planted := w.browser()
	planted.cookies["demo_interaction"] = "planted"
	planted.cookies["demo_session"] = "planted"
	planted.signIn("ann@example.com", w.authorization(nil))
	if planted.cookies["demo_interaction"] == "planted" || planted.cookies["demo_session"] == "planted" {
		t.Errorf("planted cookies survive: %v", planted.cookies)
	}
}

func TestInteractionExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	v := b.open(w.authorization(nil))
	w.clock.Advance(time.Hour)
	if got := b.post(v, "identifier", "ann@example.com"); got.Status != 400 || !strings.Contains(got.Body, "Signing in could not be finished") {
		t.Errorf("form after an hour: got %d", got.Status)
	}
	if got := b.open(v.URL); got.Status != 400 || !strings.Contains(got.Body, `href="http://localhost:3000/"`) {
		t.Errorf("page after an hour: got %d %s", got.Status, got.Body)
	}
}

func TestUnknownSessionRedirect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *provider.Config) { c.UnknownSessionURL = "http://localhost:3000/_portero/continue" })
	for _, path := range []string{"/sign-in", "/register", "/sign-in/verification-code"} {
		v := w.browser().do("GET", path, nil)
		if got := v.Header.Get("Location"); v.Status != http.StatusFound || got != "http://localhost:3000/_portero/continue" {
			t.Errorf("%s: got %d to %q", path, v.Status, got)
		}
	}
}

// TestOtherTabOtherHost: a browser does not follow a form to an origin its page's policy does not name, so a page leads there.
func TestOtherTabOtherHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	one := b.fill(b.open(w.authorization(nil)), "identifier", "ann@example.com")
	b.open(w.authorization(map[string]string{"redirect_uri": "http://wiki.localhost:3000/callback", "state": "two"}))
	v := b.post(one, "code", w.lastMail().Code)
	next, ok := strings.CutPrefix(v.Header.Get("Refresh"), "0; url=")
	if v.Status != 200 || !ok || !strings.Contains(v.Body, "One moment, please") {
		t.Fatalf("finishing the older tab: got %d, Refresh %q", v.Status, v.Header.Get("Refresh"))
	}
	u := b.open(next).location(t)
	if u.Host != "wiki.localhost:3000" || u.Query().Get("state") != "two" {
		t.Errorf("behind the page: got %s", u)
	}
}

func TestSuspended(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	got := b.signedIn("ann@example.com")
	w.Switches().Suspend("ann@example.com", true)
	if r := w.refresh(got.RefreshToken); r.Status != 400 || r.Error != "invalid_grant" {
		t.Errorf("refresh: got %d %s", r.Status, r.Error)
	}
	if status, _ := w.userinfo(got.AccessToken); status != 401 {
		t.Errorf("userinfo: got %d", status)
	}
	if q := b.open(w.authorization(map[string]string{"prompt": "none"})).location(t).Query(); q.Get("error") != "login_required" {
		t.Errorf("session: got %v", q)
	}
	v := b.fill(b.open(w.authorization(nil)), "identifier", "ann@example.com")
	if v = b.post(v, "code", w.lastMail().Code); v.Status != 401 || !strings.Contains(v.Body, "user.suspended") {
		t.Errorf("sign-in: got %d %s", v.Status, v.Body)
	}
	w.Switches().Suspend("ann@example.com", false)
	if r := w.refresh(got.RefreshToken); r.Error != "invalid_grant" {
		t.Errorf("refresh after lifting: got %d %s", r.Status, r.Error)
	}
	if again := b.signedIn("ann@example.com"); again.Status != 200 {
		t.Errorf("sign-in after lifting: got %+v", again)
	}
}
