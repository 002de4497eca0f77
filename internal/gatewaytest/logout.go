package gatewaytest

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// LogoutEvent is the member of `events` that makes a token a logout token.
const LogoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// LogoutPath is where a gateway takes logout tokens.
const LogoutPath = "/_portero/backchannel-logout"

// LogoutToken is a logout token for the person who is signed in, as Logto makes it. edit changes header and claims
// before they are signed, by the issuer's key whatever the header says; nil: it changes nothing.
func (i *Issuer) LogoutToken(edit func(header, claims map[string]any)) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	header := i.Key.Header(map[string]any{"typ": "logout+jwt"})
	claims := map[string]any{
		"iss": i.URL + "/oidc", "aud": i.AppID, "iat": i.now().Unix(), "jti": random(), "sub": i.Person["sub"], "sid": i.Person["sid"],
		"events": map[string]any{LogoutEvent: map[string]any{}},
	}
	if edit != nil {
		edit(header, claims)
	}
	return i.Key.Token(header, claims)
}

// Logout posts a logout token as Logto does: nobody's cookies, no user agent.
func (r *Rig) Logout(t testing.TB, token string) *Response {
	t.Helper()
	return r.PostLogout(t, "application/x-www-form-urlencoded", url.Values{"logout_token": {token}}.Encode(), nil)
}

// PostLogout posts a body to where logout tokens go. change, if not nil, changes the request.
func (r *Rig) PostLogout(t testing.TB, contentType, body string, change func(*http.Request)) *Response {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, r.URL+LogoutPath, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"User-Agent": {""}}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if change != nil {
		change(req)
	}
	b := r.Browser(t)
	defer b.client.CloseIdleConnections()
	resp, err := b.client.Do(req)
	if err != nil {
		t.Errorf("posting a logout token: %v", err)
		return &Response{Response: &http.Response{Header: http.Header{}}}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("reading the answer to a logout token: %v", err)
	}
	return &Response{Response: resp, Text: string(text)}
}
