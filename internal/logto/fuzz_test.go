package logto_test

import (
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"portero/internal/logto"
)

// FuzzIDToken: nothing but the recorded tokens themselves passes, and nothing panics.
func FuzzIDToken(f *testing.F) {
	var parties []*logto.Provider
	genuine := map[string]bool{}
	for _, s := range samples(f) {
		parties = append(parties, s.relyingParty(f))
		code, refreshed := s.tokens(f)
		for _, token := range []string{code.ID, refreshed.ID} {
			genuine[token] = true
			f.Add(token)
			f.Add(token + "=")
			f.Add(strings.ToLower(token))
		}
		for _, l := range s.Logouts {
			f.Add(strings.TrimPrefix(l.Body, "logout_token="))
		}
	}
	for _, seed := range []string{"", "..", "a.b.c", b64([]byte(`{"alg":"none"}`)) + ".e30.", b64([]byte(`{"alg":"ES384"}`)) + ".e30.AA"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		for _, p := range parties {
			v, err := p.Verify(t.Context(), token, logto.Expect{})
			if err == nil && (!genuine[token] || v.Subject == "") {
				t.Errorf("accepted %q", token)
			}
			if err != nil && !errors.Is(err, logto.ErrToken) && !errors.Is(err, logto.ErrUnavailable) {
				t.Errorf("got error %v, want one of the package's", err)
			}
		}
	})
}

// FuzzKeySet: whatever Logto's key set says, a token of a key that is in no set is refused, and nothing panics.
func FuzzKeySet(f *testing.F) {
	var foreign string
	for _, s := range samples(f) {
		f.Add(string(s.Keys))
	}
	for _, seed := range []string{`{"keys":[]}`, `{"keys":[{"kty":"EC","crv":"P-384","x":"","y":""}]}`, `{"keys":[{"kty":"RSA","n":"AQAB","e":"AQ"}]}`, `[]`, ``} {
		f.Add(seed)
	}
	k := newES384("k1")
	i := newIssuer("https://auth.example.com")
	foreign = k.token(i.claims(nil), nil)
	anonymous := k.token(i.claims(nil), map[string]any{"kid": nil})
	f.Fuzz(func(t *testing.T, set string) {
		i := newIssuer("https://auth.example.com")
		i.set(pathKeys, write(200, "application/json", set))
		p := provider(t, i, func(c *logto.Config) { c.Client = inMemory(i) })
		for _, token := range []string{foreign, anonymous} {
			if _, err := p.Verify(t.Context(), token, logto.Expect{}); !errors.Is(err, logto.ErrToken) && !errors.Is(err, logto.ErrUnavailable) {
				t.Errorf("got error %v, want a refusal", err)
			}
		}
	})
}

// FuzzDiscovery: whatever the document says, an endpoint that is used lies on the configured origin.
func FuzzDiscovery(f *testing.F) {
	files, err := filepath.Glob("testdata/logto/*/discovery*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
		f.Add(strings.ReplaceAll(string(data), "localhost:3001/oidc/token", "localhost:3001@evil.example/"))
	}
	endpoint, _ := url.Parse("http://localhost:3001/")
	f.Fuzz(func(t *testing.T, doc string) {
		p := logto.New(logto.Config{
			Endpoint: endpoint, AppID: appID, Now: func() time.Time { return time.Unix(1795332730, 0) },
			Client: inMemory(http.HandlerFunc(write(200, "application/json", doc))),
		})
		m, err := p.Discover(t.Context())
		if err != nil {
			if !errors.Is(err, logto.ErrUnavailable) {
				t.Errorf("got error %v, want %v", err, logto.ErrUnavailable)
			}
			return
		}
		for _, used := range []string{m.AuthorizationEndpoint, m.TokenEndpoint, m.KeysEndpoint, m.UserinfoEndpoint, m.EndSessionEndpoint, m.RevocationEndpoint} {
			u, err := url.Parse(used)
			if used != "" && (err != nil || u.Scheme != "http" || u.Host != "localhost:3001" || u.User != nil || u.Fragment != "") {
				t.Errorf("got endpoint %q, want one on http://localhost:3001", used)
			}
		}
		if m.Issuer != "http://localhost:3001/oidc" || m.AuthorizationEndpoint == "" || m.TokenEndpoint == "" || m.KeysEndpoint == "" {
			t.Errorf("got %+v, want the issuer and the endpoints that are needed", m)
		}
	})
}
