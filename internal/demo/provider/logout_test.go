package provider_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"portero/internal/demo/provider"
)

// receiver takes logout tokens.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	tokens []string
	status int
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{status: 200}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if req.Method != "POST" || req.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || req.Header.Get("User-Agent") != "" {
			t.Errorf("logout request: got %s %v", req.Method, req.Header)
		}
		r.tokens = append(r.tokens, req.PostFormValue("logout_token"))
		w.WriteHeader(r.status)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.tokens
	r.tokens = nil
	return taken
}

func (w *world) endSession(query url.Values) string {
	return w.url + "/oidc/session/end?" + query.Encode()
}

func TestEndSession(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	w := newWorld(t, func(c *provider.Config) { c.BackchannelURI = r.URL })
	b := w.browser()
	got := b.signedIn("ann@example.com")
	claims := w.claims(got.IDToken)
	w.clock.Advance(2 * time.Hour) // the hint has expired

	v := b.do("GET", w.endSession(url.Values{"client_id": {appID}, "id_token_hint": {got.IDToken},
		"post_logout_redirect_uri": {"http://localhost:3000/_portero/signed-out"}, "state": {"bye"}}), nil)
	f := v.forms(t)
	if v.Status != 200 || len(f) != 1 || f[0].Action != w.url+"/oidc/session/end/confirm" || f[0].Fields.Get("logout") != "yes" || f[0].Fields.Get("xsrf") == "" {
		t.Fatalf("end-session page: got %d %v", v.Status, f)
	}
	if !strings.Contains(v.Body, `<button type="submit">Sign out</button>`) || !strings.Contains(v.Body, "<script>document.forms[0].submit()</script>") {
		t.Errorf("end-session page has no button or no script: %s", v.Body)
	}
	if policy := v.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "form-action 'self' http://localhost:3000;") || !strings.Contains(policy, "script-src 'sha256-") {
		t.Errorf("policy: got %s", policy)
	}
	if len(r.take()) != 0 {
		t.Error("a logout token was sent before the confirmation")
	}

	v = b.post(v, "", "")
	if got := v.Header.Get("Location"); v.Status != http.StatusSeeOther || got != "http://localhost:3000/_portero/signed-out?state=bye" {
		t.Errorf("confirmation: got %d to %s", v.Status, got)
	}
	if _, ok := b.cookies["demo_session"]; ok {
		t.Error("the session cookie survives")
	}
	if q := b.open(w.authorization(map[string]string{"prompt": "none"})).location(t).Query(); q.Get("error") != "login_required" {
		t.Errorf("prompt=none afterwards: got %v", q)
	}
	if again := w.refresh(got.RefreshToken); again.Status != 200 {
		t.Errorf("a refresh token with offline_access does not survive: %+v", again)
	}

	sent := r.take()
	if len(sent) != 1 {
		t.Fatalf("got %d logout tokens", len(sent))
	}
	header, logout := w.logoutToken(sent[0])
	now := float64(w.clock.Now().Unix())
	want := map[string]any{
		"iss": w.url + "/oidc", "aud": appID, "sub": claims["sub"], "sid": claims["sid"], "iat": now, "exp": now + 120, "jti": logout["jti"],
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	if diff := cmp.Diff(want, logout); diff != "" || logout["jti"] == "" || header.Algorithm != "ES384" || header.ExtraHeaders["typ"] != "logout+jwt" {
		t.Errorf("logout token %v (-want +got):\n%s", header, diff)
	}
}

// logoutToken verifies a logout token with the published keys.
func (w *world) logoutToken(raw string) (jose.Header, map[string]any) {
	w.t.Helper()
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.ES384})
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.Get(w.url + "/oidc/jwks")
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	var set jose.JSONWebKeySet
	decode(w.t, resp.Body, &set)
	var claims map[string]any
	if err := token.Claims(set.Key(token.Headers[0].KeyID)[0], &claims); err != nil {
		w.t.Fatal(err)
	}
	return token.Headers[0], claims
}

func TestEndSessionOf141(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	w := newWorld(t, nil)
	w.Switches().Change(func(b *provider.Behaviour) { b.Line141, b.OmitSID, b.BackchannelURI = true, true, r.URL })
	b := w.browser()
	if got, ok := w.claims(b.signedIn("ann@example.com").IDToken)["sid"]; ok {
		t.Errorf("ID token has sid %v", got)
	}
	b.fill(b.open(w.endSession(url.Values{"client_id": {appID}})), "", "")
	_, logout := w.logoutToken(r.take()[0])
	if logout["sub"] == nil || logout["exp"] != nil || logout["sid"] != nil {
		t.Errorf("logout token: got %v", logout)
	}
}

func TestEndSessionVariants(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	own := w.browser().signedIn("ann@example.com").IDToken
	const here, success = "http://127.0.0.1:3000/bye", "/oidc/session/end/success"
	for _, row := range []struct {
		name     string
		query    url.Values
		location string
		refused  string
	}{
		{"client and URI", url.Values{"client_id": {appID}, "post_logout_redirect_uri": {here}}, here, ""},
		{"hint and URI", url.Values{"id_token_hint": {own}, "post_logout_redirect_uri": {here}}, here, ""},
		{"query kept", url.Values{"client_id": {appID}, "post_logout_redirect_uri": {here + "?a=b"}, "state": {"s&t"}}, here + "?a=b&state=s%26t", ""},
		{"URI alone is ignored", url.Values{"post_logout_redirect_uri": {here}}, success, ""},
		{"client alone", url.Values{"client_id": {appID}}, success, ""},
		{"nothing", url.Values{}, success, ""},
		{"foreign URI", url.Values{"client_id": {appID}, "post_logout_redirect_uri": {"https://evil.example/"}}, "", "post_logout_redirect_uri not registered"},
		{"unknown client", url.Values{"client_id": {"nobody"}}, "", "invalid_client"},
		{"broken hint", url.Values{"id_token_hint": {own + "x"}}, "", "could not decode id_token_hint"},
		{"hint that is none", url.Values{"id_token_hint": {"x"}}, "", "could not decode id_token_hint"},
		{"hint of another client", url.Values{"client_id": {"m2m"}, "id_token_hint": {own}}, "", "client_id does not match"},
	} {
		for _, method := range []string{"GET", "POST"} {
			for _, signedIn := range []bool{false, true} {
				b := w.browser()
				if signedIn {
					w.clock.Advance(11 * time.Minute)
					b.signedIn("ann@example.com")
				}
				v := view{}
				if method == "GET" {
					v = b.do(method, w.endSession(row.query), nil)
				} else {
					v = b.do(method, "/oidc/session/end", row.query)
				}
				if row.refused != "" {
					if v.Status != 400 || !strings.Contains(v.Body, row.refused) {
						t.Errorf("%s %s: got %d %s", method, row.name, v.Status, v.Body)
					}
					continue
				}
				if v = b.post(v, "", ""); v.Status != http.StatusSeeOther || v.Header.Get("Location") != row.location {
					t.Errorf("%s %s, signed in %v: got %d to %q, want %q", method, row.name, signedIn, v.Status, v.Header.Get("Location"), row.location)
				}
				if row.location == success && !strings.Contains(b.follow(v).Body, "You are signed out") {
					t.Errorf("%s %s: no page that says so", method, row.name)
				}
			}
		}
	}
}

func TestConfirmationIsBoundToTheBrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	victim, attacker := w.browser(), w.browser()
	victim.signedIn("ann@example.com")
	theirs := attacker.open(w.endSession(url.Values{"client_id": {appID}})).forms(t)[0]
	own := victim.open(w.endSession(url.Values{"client_id": {appID}})).forms(t)[0]
	for name, fields := range map[string]url.Values{
		"no xsrf":         {"logout": {"yes"}},
		"wrong xsrf":      {"logout": {"yes"}, "xsrf": {"x"}},
		"attacker's xsrf": theirs.Fields,
	} {
		if v := victim.do("POST", own.Action, fields); v.Status != 400 || !strings.Contains(v.Body, "xsrf") {
			t.Errorf("%s: got %d %s", name, v.Status, v.Body)
		}
	}
	if q := victim.open(w.authorization(map[string]string{"prompt": "none"})).location(t).Query(); !q.Has("code") {
		t.Errorf("the session has ended: %v", q)
	}
	victim.do("POST", own.Action, own.Fields)
	if v := victim.do("POST", own.Action, own.Fields); v.Status != 400 {
		t.Errorf("xsrf used twice: got %d", v.Status)
	}
}

func TestConfirmationWithoutLogout(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	w := newWorld(t, func(c *provider.Config) { c.BackchannelURI = r.URL })
	b := w.browser()
	got := b.signedIn("ann@example.com")
	f := b.open(w.endSession(url.Values{"client_id": {appID}})).forms(t)[0]
	f.Fields.Del("logout")
	b.do("POST", f.Action, f.Fields)
	if q := b.open(w.authorization(map[string]string{"prompt": "none"})).location(t).Query(); q.Get("error") != "consent_required" {
		t.Errorf("prompt=none: got %v", q)
	}
	if again := w.refresh(got.RefreshToken); again.Status != 200 || len(r.take()) != 0 {
		t.Errorf("refresh: got %+v", again)
	}
}

func TestGrantsWithoutOfflineAccessEndWithTheSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	got := w.redeem(b.signIn("ann@example.com", w.authorization(map[string]string{"prompt": ""})).Get("code"))
	if status, _ := w.userinfo(got.AccessToken); status != 200 {
		t.Errorf("before: got %d", status)
	}
	b.fill(b.open(w.endSession(url.Values{"client_id": {appID}})), "", "")
	if status, _ := w.userinfo(got.AccessToken); status != 401 {
		t.Errorf("afterwards: got %d", status)
	}
}

func TestSignOutGoesOnWhateverTheReceiverDoes(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	r.status = 500
	w := newWorld(t, func(c *provider.Config) { c.BackchannelURI = r.URL })
	for name, change := range map[string]func(){
		"answers 500": func() {},
		"is gone":     r.Close,
	} {
		b := w.browser()
		b.signedIn("ann@example.com")
		change()
		v := b.open(w.endSession(url.Values{"client_id": {appID}, "post_logout_redirect_uri": {"http://localhost:3000/"}}))
		if v = b.post(v, "", ""); v.Status != http.StatusSeeOther {
			t.Errorf("receiver %s: got %d", name, v.Status)
		}
		if tries := len(r.take()); tries > 1 {
			t.Errorf("receiver %s: got %d tries", name, tries)
		}
	}
}
