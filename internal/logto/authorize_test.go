package logto_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"portero/internal/logto"
)

func request() logto.AuthorizationRequest {
	verifier, challenge := logto.NewVerifier()
	_ = verifier
	return logto.AuthorizationRequest{
		RedirectURI: "https://app.example.com/callback", State: logto.NewRandom(), Nonce: logto.NewRandom(), Challenge: challenge,
	}
}

func TestST01Quality(t *testing.T) {
	t.Parallel()
	_, p := stand(t)
	seen := map[string]bool{}
	unreserved := regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)
	for range 10_000 {
		verifier, challenge := logto.NewVerifier()
		state, nonce := logto.NewRandom(), logto.NewRandom()
		for _, v := range []string{verifier, state, nonce} {
			data, err := base64.RawURLEncoding.DecodeString(v)
			if seen[v] || err != nil || len(data) < 16 || !unreserved.MatchString(v) {
				t.Fatalf("got %q, want 43 to 128 unreserved characters, never seen before, of 128 bits or more", v)
			}
			seen[v] = true
		}
		if got := logto.Challenge(verifier); got != challenge || len(challenge) != 43 {
			t.Fatalf("got challenge %q, want %q", got, challenge)
		}
	}
	// RFC 7636, appendix B.
	if got, want := logto.Challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"; got != want {
		t.Errorf("the challenge of the RFC: got %s, want %s", got, want)
	}
	r := request()
	q := query(t, p, r)
	for name, want := range map[string]string{
		"response_type": "code", "code_challenge_method": "S256", "code_challenge": r.Challenge, "redirect_uri": r.RedirectURI,
		"state": r.State, "nonce": r.Nonce, "client_id": appID, "scope": "openid offline_access profile",
	} {
		if got := q[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %q, want exactly %q", name, got, want)
		}
	}
	if len(q) != 8 {
		t.Errorf("got %v, want no parameter that nobody asked for", q)
	}
}

// query makes an authorization URL and returns its parameters.
func query(t *testing.T, p *logto.Provider, r logto.AuthorizationRequest) url.Values {
	t.Helper()
	raw, err := p.AuthorizationURL(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if u.Scheme+"://"+u.Host+u.Path != "https://auth.example.com/oidc/auth" || u.Fragment != "" || strings.Count(raw, "?") != 1 {
		t.Fatalf("got %s, want Logto's authorization endpoint with one query", raw)
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestST12EveryParameterIsEncodedOnce(t *testing.T) {
	t.Parallel()
	_, p := stand(t)
	for _, hostile := range []string{
		"x&redirect_uri=https://evil.example/cb&prompt=none", "x%26redirect_uri%3Dhttps://evil.example%26prompt%3Dnone", "a b+c", "a#b", "a;b", "a\r\nb",
		"a=b", "ä€😀", `"'<>\`, "%", "%zz", "a?b",
	} {
		r := request()
		r.LoginHint, r.UILocales, r.Prompt, r.FirstScreen = hostile, hostile, hostile, hostile
		r.Identifiers, r.Scopes = []string{hostile}, []string{hostile}
		r.Extra = map[string]string{"organization_id": hostile}
		q := query(t, p, r)
		for name, want := range map[string]string{
			"login_hint": hostile, "ui_locales": hostile, "prompt": hostile, "first_screen": hostile, "identifier": hostile, "organization_id": hostile,
			"scope": "openid offline_access profile " + hostile, "redirect_uri": r.RedirectURI, "client_id": appID,
		} {
			if got := q[name]; len(got) != 1 || got[0] != want {
				t.Errorf("%s with %q: got %q, want exactly that", name, hostile, got)
			}
		}
		if len(q) != 14 {
			t.Errorf("%q: got %v, want 14 parameters", hostile, q)
		}
	}
}

func TestAuthorizationRequestInFull(t *testing.T) {
	t.Parallel()
	_, p := stand(t)
	r := request()
	r.Prompt, r.MaxAge, r.FirstScreen = "login consent", 14*24*time.Hour, "identifier:sign_in"
	r.Identifiers, r.Scopes = []string{"email", "phone"}, []string{"email", "openid", "roles", "email", ""}
	q := query(t, p, r)
	want := url.Values{
		"prompt": {"login consent"}, "max_age": {"1209600"}, "first_screen": {"identifier:sign_in"}, "identifier": {"email phone"},
		"scope": {"openid offline_access profile email roles"}, "client_id": {appID}, "redirect_uri": {r.RedirectURI}, "response_type": {"code"},
		"state": {r.State}, "nonce": {r.Nonce}, "code_challenge": {r.Challenge}, "code_challenge_method": {"S256"},
	}
	if diff := cmp.Diff(q, want); diff != "" {
		t.Errorf("got -, want +:\n%s", diff)
	}
}

func TestExtraParametersOverrideNothing(t *testing.T) {
	t.Parallel()
	_, p := stand(t)
	r := request()
	r.Extra = map[string]string{"direct_sign_in": "social:google"}
	for _, name := range []string{
		"client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce", "code_challenge", "code_challenge_method",
		"prompt", "max_age", "login_hint", "first_screen", "identifier", "ui_locales", "request", "request_uri", "client_secret", "id_token_hint",
	} {
		r.Extra[name] = "evil"
	}
	for name, values := range query(t, p, r) {
		if len(values) != 1 || values[0] == "evil" {
			t.Errorf("%s: got %q, want ours alone", name, values)
		}
	}
	if got := query(t, p, r).Get("direct_sign_in"); got != "social:google" {
		t.Errorf("direct_sign_in: got %q, want what was asked", got)
	}
}

func TestAuthorizationURLNeedsWhatProtects(t *testing.T) {
	t.Parallel()
	_, p := stand(t)
	for name, clear := range map[string]func(*logto.AuthorizationRequest){
		"redirect URI": func(r *logto.AuthorizationRequest) { r.RedirectURI = "" },
		"state":        func(r *logto.AuthorizationRequest) { r.State = "" },
		"nonce":        func(r *logto.AuthorizationRequest) { r.Nonce = "" },
		"challenge":    func(r *logto.AuthorizationRequest) { r.Challenge = "" },
	} {
		r := request()
		clear(&r)
		if got, err := p.AuthorizationURL(t.Context(), r); err == nil || got != "" {
			t.Errorf("no %s: got %q, want an error", name, got)
		}
	}
}

func TestEndpointsKeepTheirQuery(t *testing.T) {
	t.Parallel()
	i, p := stand(t)
	i.set(pathDiscovery, func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, 200, i.discovery(map[string]any{
			"authorization_endpoint": i.endpoint + "/oidc/auth?tenant=a%26b&state=theirs&prompt=none",
			"end_session_endpoint":   i.endpoint + "/oidc/session/end?tenant=a%26b&client_id=theirs",
		}))
	})
	r := request()
	q := query(t, p, r)
	if got := q["tenant"]; len(got) != 1 || got[0] != "a&b" {
		t.Errorf("tenant: got %q, want what the endpoint has", got)
	}
	if got := q["state"]; len(got) != 1 || got[0] != r.State {
		t.Errorf("state: got %q, want ours", got)
	}
	if got := q["prompt"]; len(got) != 0 {
		t.Errorf("prompt: got %q, want none, as asked", got)
	}
	raw, err := p.EndSessionURL(t.Context(), logto.EndSession{})
	if err != nil {
		t.Fatal(err)
	}
	if want := i.endpoint + "/oidc/session/end?client_id=" + appID + "&tenant=a%26b"; raw != want {
		t.Errorf("got %s, want %s", raw, want)
	}
}

func TestEndSessionURL(t *testing.T) {
	t.Parallel()
	_, p := stand(t)
	const back, state = "https://app.example.com/_portero/signed-out", "x&client_id=evil y"
	raw, err := p.EndSessionURL(t.Context(), logto.EndSession{IDTokenHint: "a.b.c", PostLogoutRedirectURI: back, State: state})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	want := url.Values{"client_id": {appID}, "id_token_hint": {"a.b.c"}, "post_logout_redirect_uri": {back}, "state": {state}}
	if diff := cmp.Diff(u.Query(), want); diff != "" {
		t.Errorf("got -, want +:\n%s", diff)
	}
	raw, err = p.EndSessionURL(t.Context(), logto.EndSession{})
	if want := "https://auth.example.com/oidc/session/end?client_id=" + appID; err != nil || raw != want {
		t.Errorf("nothing known: got %s and error %v, want %s", raw, err, want)
	}
}
