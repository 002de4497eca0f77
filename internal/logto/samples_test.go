package logto_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"portero/internal/logto"
)

// sample is a whole sign-in as it was recorded from a running Logto.
type sample struct {
	Clock         int64  `json:"clock_unix"`
	ClientID      string `json:"client_id"`
	Issuer        string `json:"issuer"`
	Authorization struct {
		Nonce string `json:"nonce"`
	} `json:"authorization_request"`
	Code struct {
		Body json.RawMessage `json:"body"`
	} `json:"token_response"`
	Refreshed struct {
		Body json.RawMessage `json:"body"`
	} `json:"refresh_response"`
	Userinfo json.RawMessage `json:"userinfo"`
	Keys     json.RawMessage `json:"jwks"`
	Logouts  []struct {
		Body string `json:"body"`
	} `json:"logout_requests"`
}

type sampleTokens struct {
	Access  string `json:"access_token"`
	ID      string `json:"id_token"`
	Refresh string `json:"refresh_token"`
	Scope   string `json:"scope"`
}

func samples(t testing.TB) map[string]sample {
	t.Helper()
	files, err := filepath.Glob("testdata/logto/*/tokens-*.json")
	if err != nil || len(files) < 3 {
		t.Fatalf("got %d recorded sign-ins and error %v, want at least 3", len(files), err)
	}
	all := map[string]sample{}
	for _, file := range files {
		var s sample
		readJSON(t, file, &s)
		name, _ := filepath.Rel("testdata/logto", file)
		all[strings.TrimSuffix(name, ".json")] = s
	}
	return all
}

func readJSON(t testing.TB, file string, into any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// relyingParty is a provider at the clock of the recording, before a Logto that answers what was recorded.
func (s sample) relyingParty(t testing.TB) *logto.Provider {
	t.Helper()
	discovery, err := os.ReadFile("testdata/logto/1.41/discovery.json")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(s.Issuer, "3011") {
		discovery, err = os.ReadFile("testdata/logto/1.42/discovery.json")
	}
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(pathDiscovery, write(200, "application/json; charset=utf-8", string(discovery)))
	mux.Handle(pathKeys, write(200, "application/jwk-set+json; charset=utf-8", string(s.Keys)))
	mux.Handle(pathUserinfo, write(200, "application/json; charset=utf-8", string(s.Userinfo)))
	mux.HandleFunc(pathToken, func(w http.ResponseWriter, r *http.Request) {
		body := s.Code.Body
		if r.FormValue("grant_type") == "refresh_token" {
			body = s.Refreshed.Body
		}
		write(200, "application/json; charset=utf-8", string(body))(w, r)
	})
	endpoint, err := url.Parse(strings.TrimSuffix(s.Issuer, "oidc"))
	if err != nil {
		t.Fatal(err)
	}
	return logto.New(logto.Config{
		Endpoint: endpoint, AppID: s.ClientID, AppSecret: appSecret, Client: inMemory(mux),
		Now: func() time.Time { return time.Unix(s.Clock, 0) },
	})
}

func (s sample) tokens(t testing.TB) (code, refreshed sampleTokens) {
	t.Helper()
	if err := json.Unmarshal(s.Code.Body, &code); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(s.Refreshed.Body, &refreshed); err != nil {
		t.Fatal(err)
	}
	return code, refreshed
}

func TestRecordedSignInsAreAccepted(t *testing.T) {
	t.Parallel()
	for name, s := range samples(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := s.relyingParty(t)
			code, refreshed := s.tokens(t)

			got, err := p.Exchange(t.Context(), "code", "http://localhost:3000/callback", "verifier")
			if err != nil {
				t.Fatalf("Exchange: %v", err)
			}
			want := logto.Tokens{IDToken: code.ID, AccessToken: code.Access, RefreshToken: code.Refresh, ExpiresIn: time.Hour, Scope: code.Scope}
			if diff := cmp.Diff(got, want); diff != "" {
				t.Errorf("Exchange: got -, want +:\n%s", diff)
			}
			var userinfo struct{ Sub, Email string }
			if err := json.Unmarshal(s.Userinfo, &userinfo); err != nil {
				t.Fatal(err)
			}
			v, err := p.Verify(t.Context(), got.IDToken, logto.Expect{
				Nonce: s.Authorization.Nonce, AccessToken: got.AccessToken, Subject: userinfo.Sub, AuthTimeRequired: true,
			})
			if err != nil {
				t.Fatalf("Verify of the code's ID token: %v", err)
			}
			if v.Subject != userinfo.Sub || v.Claims.Text("email") != userinfo.Email || v.SID == "" || v.AuthTime.IsZero() {
				t.Errorf("got subject %q, e-mail %q, sid %q, auth_time %v; want those of the recording", v.Subject, v.Claims.Text("email"), v.SID, v.AuthTime)
			}
			if _, err := p.Userinfo(t.Context(), got.AccessToken, v.Subject); err != nil {
				t.Errorf("Userinfo: %v", err)
			}

			again, err := p.Refresh(t.Context(), got.RefreshToken)
			if err != nil {
				t.Fatalf("Refresh: %v", err)
			}
			next, err := p.Verify(t.Context(), again.IDToken, logto.Expect{
				Nonce: s.Authorization.Nonce, AccessToken: again.AccessToken, Subject: v.Subject, AuthTimeRequired: true,
			})
			if err != nil {
				t.Fatalf("Verify of the refreshed ID token: %v", err)
			}
			if next.SID != v.SID {
				t.Errorf("the refreshed ID token's sid: got %q, want %q", next.SID, v.SID)
			}
			if refreshed.ID != again.IDToken {
				t.Error("the refreshed ID token is not the recorded one")
			}
		})
	}
}

func TestRecordedSignInsAreRefusedWithOneCharacterChanged(t *testing.T) {
	t.Parallel()
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for name, s := range samples(t) {
		p := s.relyingParty(t)
		code, refreshed := s.tokens(t)
		for kind, token := range map[string]string{"code": code.ID, "refreshed": refreshed.ID} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				refused := func(what, changed string) {
					t.Helper()
					if changed == token {
						t.Fatalf("%s: nothing was changed", what)
					}
					if _, err := p.Verify(t.Context(), changed, logto.Expect{}); err == nil {
						t.Fatalf("%s: got no error", what)
					}
				}
				if _, err := p.Verify(t.Context(), token, logto.Expect{}); err != nil {
					t.Fatal(err)
				}
				for i := range len(token) {
					// The smallest change that base64url knows: one bit of the character's value.
					at := strings.IndexByte(alphabet, token[i])
					other := byte('.')
					if at >= 0 {
						other = alphabet[at^1]
					} else {
						other = 'A'
					}
					refused("position "+token[:i]+"|", token[:i]+string(other)+token[i+1:])
				}
				// The last characters of each part have bits that decode to nothing: every spelling but one is refused.
				for i := range len(token) {
					if i+1 < len(token) && token[i+1] != '.' {
						continue
					}
					for _, other := range alphabet + "=+/ \n\r" {
						if byte(other) != token[i] {
							refused("the last character of a part", token[:i]+string(other)+token[i+1:])
						}
					}
				}
				for _, extra := range []string{"=", ".", " ", "\n", "\r\n", "A", "\x00", "é"} {
					refused("something after it", token+extra)
					refused("something before it", extra+token)
					dot := strings.IndexByte(token, '.')
					refused("something in it", token[:dot]+extra+token[dot:])
					refused("something in its signature", token[:len(token)-9]+extra+token[len(token)-9:])
				}
				refused("its end cut off", token[:len(token)-1])
				refused("its start cut off", token[1:])
			})
		}
	}
}

func TestRecordedLogoutTokensAreNoIDTokens(t *testing.T) {
	t.Parallel()
	for name, s := range samples(t) {
		p := s.relyingParty(t)
		if len(s.Logouts) == 0 {
			t.Fatalf("%s: no logout token was recorded", name)
		}
		for _, l := range s.Logouts {
			token := strings.TrimPrefix(l.Body, "logout_token=")
			_, err := p.Verify(t.Context(), token, logto.Expect{})
			wantCheck(t, name, err, logto.CheckType)
		}
	}
}

func TestRecordedDiscoveryDocumentsAreRead(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/logto/*/discovery*.json")
	if err != nil || len(files) < 3 {
		t.Fatalf("got %d documents and error %v, want at least 3", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		base := "http://localhost:3001"
		if strings.Contains(file, "1.42") {
			base = "http://localhost:3011"
		}
		endpoint, _ := url.Parse(base + "/")
		p := logto.New(logto.Config{Endpoint: endpoint, AppID: appID, Client: inMemory(write(200, "application/json", string(data)))})
		got, err := p.Discover(t.Context())
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		want := &logto.Metadata{
			Issuer:                base + "/oidc",
			AuthorizationEndpoint: base + "/oidc/auth",
			TokenEndpoint:         base + "/oidc/token",
			KeysEndpoint:          base + "/oidc/jwks",
			UserinfoEndpoint:      base + "/oidc/me",
			EndSessionEndpoint:    base + "/oidc/session/end",
			RevocationEndpoint:    base + "/oidc/token/revocation",
			IssuerInResponse:      true, BackchannelLogout: true, BackchannelLogoutSession: true,
		}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Errorf("%s: got -, want +:\n%s", file, diff)
		}
	}
}
