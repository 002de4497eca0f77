package logto_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"portero/internal/logto"
)

func answerToken(change map[string]any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { writeJSON(w, 200, tokenAnswer(change)) }
}

func TestExchangeAndRefreshOnTheWire(t *testing.T) {
	t.Parallel()
	i, p := serve(t, newES384("k1").jwk(nil))
	seen := make(chan *http.Request, 1)
	i.set(pathToken, func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		seen <- r
		answerToken(nil)(w, r)
	})
	want := logto.Tokens{
		IDToken: "id.to.ken", AccessToken: "access-token", RefreshToken: "refresh-token", ExpiresIn: time.Hour, Scope: "openid offline_access profile email",
	}

	got, err := exchange(t, p)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("Exchange: got -, want +:\n%s", diff)
	}
	r := <-seen
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {"CANARYcode"}, "code_verifier": {"CANARYverifier"},
		"redirect_uri": {"https://app.example.com/callback"}, "client_id": {appID},
	}
	if diff := cmp.Diff(r.PostForm, form); diff != "" {
		t.Errorf("Exchange's form: got -, want +:\n%s", diff)
	}
	if id, secret, ok := r.BasicAuth(); !ok || id != appID || secret != appSecret || r.Method != http.MethodPost {
		t.Errorf("Exchange: got %s with %q and %q, want a POST with the application's", r.Method, id, secret)
	}

	got, err = p.Refresh(t.Context(), "refresh-token")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("Refresh: got -, want +:\n%s", diff)
	}
	r = <-seen
	form = url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"refresh-token"}, "client_id": {appID}}
	if diff := cmp.Diff(r.PostForm, form); diff != "" {
		t.Errorf("Refresh's form: got -, want +:\n%s", diff)
	}
	if id, secret, ok := r.BasicAuth(); !ok || id != appID || secret != appSecret {
		t.Errorf("Refresh: got %q and %q, want the application's", id, secret)
	}
}

func TestRevokeAuthenticatesTheClient(t *testing.T) {
	t.Parallel()
	i, p := serve(t, newES384("k1").jwk(nil))
	seen := make(chan *http.Request, 1)
	for name, answer := range map[string]http.HandlerFunc{
		"empty text": write(200, "text/plain", ""),
		"no type":    write(200, "", ""),
		"JSON":       write(200, "application/json", "{}"),
	} {
		i.set(pathRevoke, func(w http.ResponseWriter, r *http.Request) {
			r.ParseForm()
			seen <- r
			answer(w, r)
		})
		if err := p.Revoke(t.Context(), "a+b&c=d"); err != nil {
			t.Errorf("%s: got error %v, want none", name, err)
		}
		r := <-seen
		want := url.Values{"token": {"a+b&c=d"}, "token_type_hint": {"refresh_token"}}
		if diff := cmp.Diff(r.PostForm, want); diff != "" {
			t.Errorf("%s: got -, want +:\n%s", name, diff)
		}
		if id, secret, ok := r.BasicAuth(); !ok || id != appID || secret != appSecret || r.Method != http.MethodPost {
			t.Errorf("%s: got %s with %q and %q, want a POST with the application's", name, r.Method, id, secret)
		}
	}
	for status, want := range map[int]error{401: logto.ErrRefused, 400: logto.ErrRefused, 503: logto.ErrUnavailable, 429: logto.ErrUnavailable} {
		i.set(pathRevoke, write(status, "application/json", `{"error":"invalid_client"}`))
		if err := p.Revoke(t.Context(), "r"); !errors.Is(err, want) {
			t.Errorf("%d: got error %v, want %v", status, err, want)
		}
	}
}

// RFC 6749 2.3.1: both parts are form-encoded before they are joined.
func TestClientCredentialsAreFormEncoded(t *testing.T) {
	t.Parallel()
	i, _ := serve(t, newES384("k1").jwk(nil))
	for _, row := range []struct{ id, secret string }{
		{"plain0", "Plain1"}, {"with:colon", "with:colon"}, {"with%percent", "100%"}, {"with+plus", "a+b c"}, {"with&amp", "ä/=?"},
	} {
		p := provider(t, i, func(c *logto.Config) { c.AppID, c.AppSecret = row.id, row.secret })
		check := func(w http.ResponseWriter, r *http.Request) {
			id, secret, _ := r.BasicAuth()
			gotID, err1 := url.QueryUnescape(id)
			gotSecret, err2 := url.QueryUnescape(secret)
			if err1 != nil || err2 != nil || gotID != row.id || gotSecret != row.secret {
				t.Errorf("%s: got %q and %q as sent, want %q and %q form-encoded", r.URL.Path, id, secret, row.id, row.secret)
			}
			if row.id == "plain0" && (id != row.id || secret != row.secret) {
				t.Errorf("%s: got %q and %q, want them unchanged", r.URL.Path, id, secret)
			}
			writeJSON(w, 200, tokenAnswer(nil))
		}
		i.set(pathToken, check)
		i.set(pathRevoke, check)
		if _, err := exchange(t, p); err != nil {
			t.Errorf("Exchange: %v", err)
		}
		if _, err := p.Refresh(t.Context(), "r"); err != nil {
			t.Errorf("Refresh: %v", err)
		}
		if err := p.Revoke(t.Context(), "r"); err != nil {
			t.Errorf("Revoke: %v", err)
		}
	}
}

func TestTokenErrorsAreTold(t *testing.T) {
	t.Parallel()
	i, p := stand(t)
	body := func(code string) string {
		return `{"code":"oidc.` + code + `","message":"CANARY","error":"` + code + `","error_description":"CANARY"}`
	}
	for name, row := range map[string]struct {
		answer http.HandlerFunc
		want   error
		code   string
	}{
		"invalid_grant":            {write(400, "application/json", body("invalid_grant")), logto.ErrInvalidGrant, ""},
		"invalid_grant with a 401": {write(401, "application/json", body("invalid_grant")), logto.ErrInvalidGrant, ""},
		"access_denied":            {write(400, "application/json", body("access_denied")), logto.ErrAccessDenied, ""},
		"access_denied with a 403": {write(403, "application/json", body("access_denied")), logto.ErrAccessDenied, ""},
		"invalid_client 401":       {write(401, "application/json", body("invalid_client")), logto.ErrRefused, "invalid_client"},
		"invalid_client 400":       {write(400, "application/json", body("invalid_client")), logto.ErrRefused, "invalid_client"},
		"invalid_scope":            {write(400, "application/json", body("invalid_scope")), logto.ErrRefused, "invalid_scope"},
		"temporarily_unavailable":  {write(400, "application/json", body("temporarily_unavailable")), logto.ErrUnavailable, ""},
		"server_error":             {write(400, "application/json", body("server_error")), logto.ErrUnavailable, ""},
		"429":                      {write(429, "application/json", body("invalid_grant")), logto.ErrUnavailable, ""},
		"500":                      {write(500, "application/json", body("invalid_grant")), logto.ErrUnavailable, ""},
		"502 with HTML":            {write(502, "text/html", "<html>CANARY"), logto.ErrUnavailable, ""},
		"503 empty":                {write(503, "", ""), logto.ErrUnavailable, ""},
		"404 with HTML":            {write(404, "text/html", "<html>CANARY"), logto.ErrRefused, ""},
		"400 empty":                {write(400, "", ""), logto.ErrRefused, ""},
		"400 a list":               {write(400, "application/json", `["invalid_grant"]`), logto.ErrRefused, ""},
		"400 error no string":      {write(400, "application/json", `{"error":{"CANARY":1}}`), logto.ErrRefused, ""},
		"400 strange error":        {write(400, "application/json", `{"error":"CANARY\r\n<script>"}`), logto.ErrRefused, ""},
		"400 long error":           {write(400, "application/json", `{"error":"`+strings.Repeat("a", 100)+`"}`), logto.ErrRefused, ""},
		"400 ERROR":                {write(400, "application/json", `{"ERROR":"invalid_grant"}`), logto.ErrRefused, ""},
		"400 error twice":          {write(400, "application/json", `{"error":"x","error":"invalid_grant"}`), logto.ErrRefused, ""},
		"400 huge":                 {write(400, "application/json", `{"error":"invalid_grant","x":"`+strings.Repeat("x", 2<<20)+`"}`), logto.ErrRefused, ""},
	} {
		i.set(pathToken, row.answer)
		for call, f := range map[string]func() (logto.Tokens, error){
			"Exchange": func() (logto.Tokens, error) { return exchange(t, p) },
			"Refresh":  func() (logto.Tokens, error) { return p.Refresh(t.Context(), "r") },
		} {
			got, err := f()
			if !errors.Is(err, row.want) || got != (logto.Tokens{}) {
				t.Errorf("%s: %s: got %v and error %v, want %v", name, call, got, err, row.want)
			}
			for _, other := range []error{logto.ErrInvalidGrant, logto.ErrAccessDenied, logto.ErrRefused, logto.ErrUnavailable, logto.ErrToken} {
				if other != row.want && errors.Is(err, other) {
					t.Errorf("%s: %s: the error is %v as well: %v", name, call, other, err)
				}
			}
			var refused *logto.RefusedError
			if errors.As(err, &refused) && refused.Code != row.code {
				t.Errorf("%s: %s: got code %q, want %q", name, call, refused.Code, row.code)
			}
			if err != nil && strings.Contains(err.Error(), "CANARY") {
				t.Errorf("%s: %s: the error quotes the answer: %v", name, call, err)
			}
		}
	}
}

func TestIP11WrongClientIsTellingAndSecretFree(t *testing.T) {
	t.Parallel()
	i, p := stand(t)
	i.set(pathToken, write(401, "application/json", `{"error":"invalid_client","error_description":"`+appSecret+`"}`))
	_, err := exchange(t, p)
	if !errors.Is(err, logto.ErrRefused) {
		t.Fatalf("got error %v, want %v", err, logto.ErrRefused)
	}
	for _, want := range []string{"invalid_client", "logto.app_id", "logto.app_secret"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %s", err, want)
		}
	}
	if strings.Contains(err.Error(), appSecret) {
		t.Errorf("the error holds the secret: %v", err)
	}
	if s := p.Status(); s.Call != "token" || s.Class != "invalid_client" || !s.Since.Equal(i.clock.Now()) {
		t.Errorf("got status %+v, want token, invalid_client, since now", s)
	}
	i.clock.advance(15 * time.Minute)
	if s := p.Status(); s.Call != "" || !s.Discovered {
		t.Errorf("a quarter of an hour later: got status %+v, want it forgotten", s)
	}
	if _, err := exchange(t, p); !errors.Is(err, logto.ErrRefused) {
		t.Fatalf("got error %v, want %v", err, logto.ErrRefused)
	}
	i.set(pathToken, write(400, "application/json", `{"error":"invalid_grant"}`))
	if _, err := exchange(t, p); !errors.Is(err, logto.ErrInvalidGrant) {
		t.Fatalf("got error %v, want %v", err, logto.ErrInvalidGrant)
	}
	if s := p.Status(); s.Call != "" {
		t.Errorf("after a spent code: got status %+v, want a good one: Logto answers", s)
	}
}

func TestIP08TokenAnswerVariants(t *testing.T) {
	t.Parallel()
	i, p := stand(t)
	number := func(s string) json.RawMessage { return json.RawMessage(s) }
	for name, row := range map[string]struct {
		change map[string]any
		want   time.Duration // 0: refused
	}{
		"plain":                     {nil, time.Hour},
		"no expires_in":             {map[string]any{"expires_in": nil}, time.Hour},
		"expires_in null":           {map[string]any{"expires_in": number("null")}, time.Hour},
		"expires_in a string":       {map[string]any{"expires_in": "600"}, 10 * time.Minute},
		"expires_in no number":      {map[string]any{"expires_in": "soon"}, time.Hour},
		"expires_in empty":          {map[string]any{"expires_in": ""}, time.Hour},
		"expires_in an object":      {map[string]any{"expires_in": map[string]any{}}, time.Hour},
		"expires_in a fraction":     {map[string]any{"expires_in": 59.9}, 59 * time.Second},
		"expires_in negative":       {map[string]any{"expires_in": -5}, time.Second},
		"expires_in zero":           {map[string]any{"expires_in": 0}, time.Second},
		"expires_in 1e12":           {map[string]any{"expires_in": number("1e12")}, 24 * time.Hour},
		"expires_in 1e999":          {map[string]any{"expires_in": number("1e999")}, 24 * time.Hour},
		"expires_in Inf":            {map[string]any{"expires_in": "Inf"}, 24 * time.Hour},
		"expires_in NaN":            {map[string]any{"expires_in": "NaN"}, time.Hour},
		"token type in other case":  {map[string]any{"token_type": "bEaReR"}, time.Hour},
		"token type DPoP":           {map[string]any{"token_type": "DPoP"}, 0},
		"token type MAC":            {map[string]any{"token_type": "mac"}, 0},
		"no token type":             {map[string]any{"token_type": nil}, 0},
		"token type no string":      {map[string]any{"token_type": 5}, 0},
		"no ID token":               {map[string]any{"id_token": nil}, 0},
		"ID token null":             {map[string]any{"id_token": number("null")}, 0},
		"ID token empty":            {map[string]any{"id_token": ""}, 0},
		"ID token an object":        {map[string]any{"id_token": map[string]any{}}, 0},
		"no access token":           {map[string]any{"access_token": nil}, 0},
		"access token empty":        {map[string]any{"access_token": ""}, 0},
		"access token no string":    {map[string]any{"access_token": 5}, 0},
		"access token with a break": {map[string]any{"access_token": "a\r\nX-Evil: 1"}, 0},
		"access token not ASCII":    {map[string]any{"access_token": "ä"}, 0},
		"access token huge":         {map[string]any{"access_token": strings.Repeat("a", 100<<10)}, 0},
		"refresh token no string":   {map[string]any{"refresh_token": 5}, 0},
		"names in other case":       {map[string]any{"access_token": nil, "ACCESS_TOKEN": "x"}, 0},
		"other case beside":         {map[string]any{"ACCESS_TOKEN": "x", "Expires_In": 5, "Token_Type": "mac"}, time.Hour},
		"no scope":                  {map[string]any{"scope": nil}, time.Hour},
	} {
		i.set(pathToken, answerToken(row.change))
		got, err := exchange(t, p)
		if row.want == 0 {
			if got != (logto.Tokens{}) || !errors.Is(err, logto.ErrRefused) {
				t.Errorf("%s: got %v and error %v, want %v", name, got, err, logto.ErrRefused)
			}
			continue
		}
		if err != nil || got.ExpiresIn != row.want || got.AccessToken != "access-token" {
			t.Errorf("%s: got %v and error %v, want %v", name, got, err, row.want)
		}
	}
}

func TestRT06AbsentTokensStayAbsent(t *testing.T) {
	t.Parallel()
	i, p := stand(t)
	for _, row := range []struct {
		absent  string
		id, ref string
	}{
		{"refresh_token", "id.to.ken", ""},
		{"id_token", "", "refresh-token"},
	} {
		for _, value := range []any{nil, json.RawMessage("null"), ""} {
			i.set(pathToken, answerToken(map[string]any{row.absent: value}))
			got, err := p.Refresh(t.Context(), "old")
			if err != nil || got.IDToken != row.id || got.RefreshToken != row.ref || got.AccessToken != "access-token" {
				t.Errorf("without %s: got %+v and error %v, want the rest", row.absent, got, err)
			}
		}
	}
}
