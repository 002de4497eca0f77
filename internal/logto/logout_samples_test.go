package logto_test

import (
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"portero/internal/logto"
)

// later is the relying party of a recording, with its clock that much ahead.
func (s sample) later(t testing.TB, d time.Duration) *logto.Provider {
	s.Clock += int64(d / time.Second)
	return s.relyingParty(t)
}

// logoutTokens are the logout tokens of a recording, taken from the bodies of the requests.
func (s sample) logoutTokens(t testing.TB) []string {
	t.Helper()
	var tokens []string
	for _, l := range s.Logouts {
		form, err := url.ParseQuery(l.Body)
		if err != nil || len(form["logout_token"]) != 1 {
			t.Fatalf("body %q: got error %v, want one logout_token", l.Body, err)
		}
		tokens = append(tokens, form.Get("logout_token"))
	}
	if len(tokens) == 0 {
		t.Fatal("no logout token was recorded")
	}
	return tokens
}

func TestRecordedLogoutsAreAccepted(t *testing.T) {
	t.Parallel()
	for name, s := range samples(t) {
		code, _ := s.tokens(t)
		for _, token := range s.logoutTokens(t) {
			p := s.relyingParty(t)
			id, err := p.Verify(t.Context(), code.ID, logto.Expect{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := p.VerifyLogout(t.Context(), token)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if got.Subject == "" || got.ID == "" || got.SID == "" || got.IssuedAt.Unix() < s.Clock-60 {
				t.Errorf("%s: got %+v, want subject, sid, jti and time of the recording", name, got)
			}
			// Each recording ends with the sign-out of the session it began with, or of a later one of another person.
			if (got.SID == id.SID) != (got.Subject == id.Subject) {
				t.Errorf("%s: got sid %q of %q, signed in was sid %q of %q", name, got.SID, got.Subject, id.SID, id.Subject)
			}
			wantLogoutCheck(t, name+", 119 seconds later", verifyLogout(t, s.later(t, 119*time.Second), token), "")
			for _, d := range []time.Duration{3 * time.Minute, 24 * time.Hour} {
				wantLogoutCheck(t, name+", "+d.String()+" later", verifyLogout(t, s.later(t, d), token), logto.CheckIssuedAt)
			}
			wantLogoutCheck(t, name+", two minutes before", verifyLogout(t, s.later(t, -2*time.Minute), token), logto.CheckIssuedAt)
			wantLogoutCheck(t, name+", its ID token", verifyLogout(t, p, code.ID), typeOf(code.ID))
		}
	}
}

// typeOf is what refuses an ID token as a logout token: its type, where it has one.
func typeOf(token string) logto.Check {
	if header, _, _ := strings.Cut(token, "."); strings.Contains(string(must(base64.RawURLEncoding.DecodeString(header))), `"typ"`) {
		return logto.CheckType
	}
	return logto.CheckEvents
}

func TestRecordedLogoutsAreRefusedWithOneCharacterChanged(t *testing.T) {
	t.Parallel()
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for name, s := range samples(t) {
		for _, token := range s.logoutTokens(t) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				p := s.relyingParty(t)
				refused := func(what, changed string) {
					t.Helper()
					if changed == token {
						t.Fatalf("%s: nothing was changed", what)
					}
					err := verifyLogout(t, p, changed)
					if errors.Is(err, logto.ErrTooManyLogouts) { // as many signatures as that are checked at once
						p = s.relyingParty(t)
						err = verifyLogout(t, p, changed)
					}
					if !errors.Is(err, logto.ErrLogoutToken) {
						t.Fatalf("%s: got error %v, want a refusal", what, err)
					}
				}
				for i := range len(token) {
					// The smallest change that base64url knows: one bit of the character's value.
					other := byte('A')
					if at := strings.IndexByte(alphabet, token[i]); at >= 0 {
						other = alphabet[at^1]
					}
					refused("position "+token[:i]+"|", token[:i]+string(other)+token[i+1:])
					if i+1 < len(token) && token[i+1] != '.' {
						continue
					}
					// The last characters of each part have bits that decode to nothing.
					for _, other := range alphabet + "=+/ \n\r" {
						if byte(other) != token[i] {
							refused("the last character of a part", token[:i]+string(other)+token[i+1:])
						}
					}
				}
				for _, extra := range []string{"=", ".", " ", "\n", "A", "\x00", "é"} {
					refused("something after it", token+extra)
					refused("something before it", extra+token)
					refused("something in its signature", token[:len(token)-9]+extra+token[len(token)-9:])
				}
				wantLogoutCheck(t, "the token itself", verifyLogout(t, p, token), "")
			})
		}
	}
}

// FuzzLogoutToken: nothing but the recorded logout tokens themselves passes, and nothing panics.
func FuzzLogoutToken(f *testing.F) {
	var recordings []sample
	genuine := map[string]bool{}
	for _, s := range samples(f) {
		recordings = append(recordings, s)
		for _, token := range s.logoutTokens(f) {
			genuine[token] = true
			f.Add(token)
			f.Add(token + "=")
			f.Add(strings.ToLower(token))
		}
		code, refreshed := s.tokens(f)
		f.Add(code.ID)
		f.Add(refreshed.ID)
	}
	for _, seed := range []string{"", "..", "a.b.c", b64([]byte(`{"alg":"none","typ":"logout+jwt"}`)) + ".e30.", b64([]byte(`{"alg":"ES384","typ":"logout+jwt"}`)) + ".e30.AA"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		for _, s := range recordings {
			got, err := s.relyingParty(t).VerifyLogout(t.Context(), token)
			if err == nil && (!genuine[token] || got.ID == "" || got.SID == "" && got.Subject == "") {
				t.Errorf("accepted %q as %+v", token, got)
			}
			if err != nil && !errors.Is(err, logto.ErrLogoutToken) && !errors.Is(err, logto.ErrUnavailable) {
				t.Errorf("got error %v, want one of the package's", err)
			}
		}
	})
}
