package logto_test

import (
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"portero/internal/logto"
)

const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// asLogout is the header of a logout token, for signer.token.
var asLogout = map[string]any{"typ": "logout+jwt"}

// logout are the claims of a good logout token, as Logto 1.41 has them, with some changed; nil removes one.
func (i *issuer) logout(change map[string]any) string {
	c := map[string]any{
		"iss": i.issuer(), "aud": appID, "sub": "6ybbj4dc2w10", "sid": "TXXB38grqsBoLrvTYGkQn", "iat": i.clock.Now().Unix(),
		"jti": "Uf4MKnfqFhj6XaEc0T12b", "events": map[string]any{logoutEvent: map[string]any{}},
	}
	for name, value := range change {
		if c[name] = value; value == nil {
			delete(c, name)
		}
	}
	return string(must(json.Marshal(c)))
}

func verifyLogout(t testing.TB, p *logto.Provider, token string) error {
	t.Helper()
	got, err := p.VerifyLogout(t.Context(), token)
	if err != nil && got != (logto.Logout{}) {
		t.Errorf("got %+v beside the error %v, want nothing", got, err)
	}
	return err
}

// wantLogoutCheck fails the test unless err is the refusal of this check ("" accepts).
func wantLogoutCheck(t testing.TB, what string, err error, want logto.Check) {
	t.Helper()
	var refused *logto.LogoutError
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: got error %v, want none", what, err)
	case want != "" && (!errors.Is(err, logto.ErrLogoutToken) || !errors.As(err, &refused) || refused.Check != want):
		t.Errorf("%s: got %v, want a refusal by the check %q", what, err, want)
	case errors.Is(err, logto.ErrToken):
		t.Errorf("%s: got %v, which speaks of an ID token", what, err)
	}
}

// checkLogouts tries changes to the claims of a good logout token.
func checkLogouts(t *testing.T, rows []claimRow) {
	t.Helper()
	k := newES384("k1")
	i, p := stand(t, k.jwk(nil))
	for _, row := range rows {
		wantLogoutCheck(t, row.name, verifyLogout(t, p, k.token(i.logout(row.change), asLogout)), row.want)
	}
}

func TestLogoutTokenIsRead(t *testing.T) {
	t.Parallel()
	e, r := newES384("e1"), newRSA("r1")
	i, p := stand(t, e.jwk(nil), r.jwk(nil))
	now := i.clock.Now()
	whole := logto.Logout{Subject: "6ybbj4dc2w10", SID: "TXXB38grqsBoLrvTYGkQn", ID: "Uf4MKnfqFhj6XaEc0T12b", IssuedAt: now}
	bySubject, bySID := whole, whole
	bySubject.SID, bySID.Subject = "", ""
	for _, row := range []struct {
		name  string
		token string
		want  logto.Logout
	}{
		{"ES384", e.token(i.logout(nil), asLogout), whole},
		{"RS256", r.token(i.logout(nil), asLogout), whole},
		{"sub alone", e.token(i.logout(map[string]any{"sid": nil}), asLogout), bySubject},
		{"sid alone", e.token(i.logout(map[string]any{"sub": nil}), asLogout), bySID},
		{"with exp, as Logto has it from 1.42 on", e.token(i.logout(map[string]any{"exp": now.Unix() + 120}), asLogout), whole},
		{"claims that mean nothing here", e.token(i.logout(map[string]any{"trace_id": "x", "SUB": "x", "Nonce": "x", "azp": "x"}), asLogout), whole},
		{"no type", e.token(i.logout(nil), map[string]any{"typ": nil}), whole},
	} {
		got, err := p.VerifyLogout(t.Context(), row.token)
		if diff := cmp.Diff(got, row.want); err != nil || diff != "" {
			t.Errorf("%s: got error %v; got -, want +:\n%s", row.name, err, diff)
		}
	}
}

// The modules of the OpenID Foundation's conformance suite for relying parties with back-channel logout, by their names
// (prefix oidcc-client-test-rp-backchannel-rpinitlogout).
func TestOpenIDBackchannelModules(t *testing.T) {
	t.Parallel()
	k := newES384("k1")
	i, p := stand(t, k.jwk(nil))
	none := b64([]byte(`{"alg":"none","typ":"logout+jwt"}`)) + "." + b64([]byte(i.logout(nil))) + "."
	for _, row := range []struct {
		module string
		token  string
		want   logto.Check
	}{
		{"rpinitlogout", k.token(i.logout(nil), asLogout), ""},
		{"rpinitlogout, by sid", k.token(i.logout(map[string]any{"sub": nil}), asLogout), ""},
		{"rpinitlogout, by sub", k.token(i.logout(map[string]any{"sid": nil}), asLogout), ""},
		{"alg-none", none, logto.CheckShape},
		{"no-event", k.token(i.logout(map[string]any{"events": nil}), asLogout), logto.CheckEvents},
		{"wrong-event", k.token(i.logout(map[string]any{"events": map[string]any{logoutEvent + "X": map[string]any{}}}), asLogout), logto.CheckEvents},
		{"with-nonce", k.token(i.logout(map[string]any{"nonce": "the-nonce"}), asLogout), logto.CheckNonce},
		{"wrong-alg", hmacToken("k1", i.logout(nil), []byte(appSecret)), logto.CheckType},
		{"wrong-aud", k.token(i.logout(map[string]any{"aud": appID + "1"}), asLogout), logto.CheckAudience},
		{"wrong-iss", k.token(i.logout(map[string]any{"iss": i.issuer() + "1"}), asLogout), logto.CheckIssuer},
	} {
		t.Run(row.module, func(t *testing.T) {
			wantLogoutCheck(t, row.module, verifyLogout(t, p, row.token), row.want)
		})
	}
	header := `{"alg":"HS256","typ":"logout+jwt","kid":"k1"}`
	wantLogoutCheck(t, "wrong-alg, of the right type", verifyLogout(t, p, k.raw(header, i.logout(nil), "ES384")), logto.CheckAlgorithm)
}

func TestBL02AlgorithmNone(t *testing.T) {
	t.Parallel()
	k := newES384("k1")
	i, p := stand(t, k.jwk(nil))
	for _, alg := range []any{"none", "None", "NONE", "nOnE", "", nil, 5, []string{"ES384"}, map[string]any{}} {
		header := string(must(json.Marshal(map[string]any{"alg": alg, "kid": "k1", "typ": "logout+jwt"})))
		unsigned := b64([]byte(header)) + "." + b64([]byte(i.logout(nil)))
		wantLogoutCheck(t, fmt.Sprintf("alg %v, empty signature", alg), verifyLogout(t, p, unsigned+"."), logto.CheckShape)
		wantLogoutCheck(t, fmt.Sprintf("alg %v, no signature", alg), verifyLogout(t, p, unsigned), logto.CheckShape)
		wantLogoutCheck(t, fmt.Sprintf("alg %v, good signature", alg), verifyLogout(t, p, k.raw(header, i.logout(nil), "ES384")), logto.CheckAlgorithm)
	}
	wantLogoutCheck(t, "alg missing", verifyLogout(t, p, k.raw(`{"kid":"k1"}`, i.logout(nil), "ES384")), logto.CheckAlgorithm)
	wantLogoutCheck(t, "Alg for alg", verifyLogout(t, p, k.raw(`{"Alg":"ES384"}`, i.logout(nil), "ES384")), logto.CheckHeader)
}

func TestBL03AnotherAlgorithm(t *testing.T) {
	t.Parallel()
	r, e := newRSA("r1"), newES384("e1")
	i, p := stand(t, r.jwk(nil), e.jwk(nil), map[string]any{"kty": "oct", "kid": "o1", "k": b64([]byte(appSecret)), "alg": "HS256"})
	der := must(x509.MarshalPKIXPublicKey(r.key.Public()))
	for name, secret := range map[string][]byte{
		"DER": der, "PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "JWK": must(json.Marshal(r.jwk(nil))),
		"modulus": rsaKey().N.Bytes(), "client secret": []byte(appSecret), "empty": nil,
	} {
		for _, kid := range []string{"r1", "o1"} {
			token := strings.SplitN(hmacToken(kid, i.logout(nil), secret), ".", 2)
			wantLogoutCheck(t, "HS256 keyed with "+name, verifyLogout(t, p, strings.Join(token, ".")), logto.CheckType)
			header := b64([]byte(`{"alg":"HS256","typ":"logout+jwt","kid":"` + kid + `"}`))
			wantLogoutCheck(t, "HS256 of the right type keyed with "+name, verifyLogout(t, p, header+"."+token[1]), logto.CheckAlgorithm)
		}
	}
	for _, row := range []struct {
		key  signer
		alg  string
		want logto.Check
	}{
		{r, "RS256", ""}, {r, "RS384", logto.CheckAlgorithm}, {r, "RS512", logto.CheckAlgorithm}, {r, "PS256", logto.CheckAlgorithm},
		{e, "ES384", ""}, {e, "ES256", logto.CheckAlgorithm}, {e, "ES512", logto.CheckAlgorithm},
	} {
		header := fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"logout+jwt"}`, row.alg, row.key.kid)
		wantLogoutCheck(t, row.key.kid+" with "+row.alg, verifyLogout(t, p, row.key.raw(header, i.logout(nil), row.alg)), row.want)
	}
}

func TestBL04IssuerAndAudience(t *testing.T) {
	t.Parallel()
	rows := []claimRow{
		{"list of us", map[string]any{"aud": []string{appID}}, ""},
		{"list with us", map[string]any{"aud": []string{"other", appID}}, ""},
	}
	for _, iss := range []any{
		"https://auth.example.com/oidc/", "https://auth.example.com/OIDC", "https://AUTH.example.com/oidc", "http://auth.example.com/oidc",
		"https://auth.example.com:443/oidc", "https://auth.example.com", "https://evil.example/oidc", "", nil, 5, []string{"https://auth.example.com/oidc"},
	} {
		rows = append(rows, claimRow{fmt.Sprintf("iss %q", iss), map[string]any{"iss": iss}, logto.CheckIssuer})
	}
	for _, aud := range []any{
		"other", strings.ToUpper(appID), appID + " ", "", nil, 5, map[string]any{appID: 1}, []string{}, []string{"other"}, []any{appID, 5}, []any{[]string{appID}},
	} {
		rows = append(rows, claimRow{fmt.Sprintf("aud %q", aud), map[string]any{"aud": aud}, logto.CheckAudience})
	}
	checkLogouts(t, rows)
}

func TestBL05Events(t *testing.T) {
	t.Parallel()
	rows := []claimRow{
		{"something in the event", map[string]any{"events": map[string]any{logoutEvent: map[string]any{"x": 1}}}, ""},
		{"another event beside", map[string]any{"events": map[string]any{logoutEvent: map[string]any{}, "https://example.com/event": 5}}, ""},
	}
	for name, events := range map[string]any{
		"missing": nil, "null": json.RawMessage("null"), "empty": map[string]any{}, "a string": logoutEvent, "a list": []string{logoutEvent}, "true": true,
		"of another kind": map[string]any{"https://example.com/event": map[string]any{}},
		"in other case":   map[string]any{strings.ToUpper(logoutEvent): map[string]any{}},
		"over https":      map[string]any{strings.Replace(logoutEvent, "http:", "https:", 1): map[string]any{}},
		"with a slash":    map[string]any{logoutEvent + "/": map[string]any{}},
		"event null":      map[string]any{logoutEvent: nil},
		"event true":      map[string]any{logoutEvent: true},
		"event a string":  map[string]any{logoutEvent: "{}"},
		"event a list":    map[string]any{logoutEvent: []any{}},
	} {
		rows = append(rows, claimRow{name, map[string]any{"events": events}, logto.CheckEvents})
	}
	checkLogouts(t, rows)
}

func TestBL06Nonce(t *testing.T) {
	t.Parallel()
	var rows []claimRow
	for _, nonce := range []any{"the-nonce", "", json.RawMessage("null"), 5, false, []string{}} {
		rows = append(rows, claimRow{fmt.Sprintf("%v", nonce), map[string]any{"nonce": nonce}, logto.CheckNonce})
	}
	checkLogouts(t, rows)
}

func TestBL07TokensOfAnotherKind(t *testing.T) {
	t.Parallel()
	k := newES384("k1")
	i, p := stand(t, k.jwk(nil))
	for typ, want := range map[any]logto.Check{
		"logout+jwt": "", "LOGOUT+JWT": "", "Logout+Jwt": "",
		"JWT": logto.CheckType, "jwt": logto.CheckType, "at+jwt": logto.CheckType, "application/at+jwt": logto.CheckType, "secevent+jwt": logto.CheckType,
		"": logto.CheckType, 5: logto.CheckType, "logout+jwt ": logto.CheckType, "logout": logto.CheckType,
	} {
		wantLogoutCheck(t, fmt.Sprintf("typ %v", typ), verifyLogout(t, p, k.token(i.logout(nil), map[string]any{"typ": typ})), want)
	}
	wantLogoutCheck(t, "typ null", verifyLogout(t, p, k.raw(`{"alg":"ES384","kid":"k1","typ":null}`, i.logout(nil), "ES384")), logto.CheckType)
	wantLogoutCheck(t, "Typ for typ", verifyLogout(t, p, k.raw(`{"alg":"ES384","kid":"k1","Typ":"logout+jwt"}`, i.logout(nil), "ES384")), logto.CheckHeader)

	access := map[string]any{"aud": "https://api.example.com", "client_id": appID, "scope": "all"}
	for typ, want := range map[any]logto.Check{"JWT": logto.CheckType, nil: logto.CheckEvents, "logout+jwt": logto.CheckEvents} {
		header := map[string]any{"typ": typ}
		wantLogoutCheck(t, fmt.Sprintf("ID token with typ %v", typ), verifyLogout(t, p, k.token(i.claims(nil), header)), want)
	}
	wantLogoutCheck(t, "access token", verifyLogout(t, p, k.token(i.claims(access), map[string]any{"typ": "at+jwt"})), logto.CheckType)
	wantLogoutCheck(t, "access token without type", verifyLogout(t, p, k.token(i.claims(access), map[string]any{"typ": nil})), logto.CheckAudience)
	wantLogoutCheck(t, "opaque access token", verifyLogout(t, p, "oObuNaoTtACELMMMmKNU01dPddd510s1akd_FUNhyrz"), logto.CheckShape)
	withEvents := map[string]any{"events": map[string]any{logoutEvent: map[string]any{}}}
	wantLogoutCheck(t, "ID token with events", verifyLogout(t, p, k.token(i.claims(withEvents), map[string]any{"typ": nil})), logto.CheckNonce)

	// And a logout token is no ID token.
	_, err := p.Verify(t.Context(), k.token(i.logout(map[string]any{"exp": i.clock.Now().Unix() + 60}), map[string]any{"typ": nil}), logto.Expect{})
	wantCheck(t, "logout token for an ID token", err, logto.CheckType)
}

func TestBL08TimesAndID(t *testing.T) {
	t.Parallel()
	now := newClock().Now().Unix()
	number := func(text string) json.RawMessage { return json.RawMessage(text) }
	rows := []claimRow{
		{"iat two minutes ago", map[string]any{"iat": now - 120}, ""},
		{"iat older than two minutes", map[string]any{"iat": now - 121}, logto.CheckIssuedAt},
		{"iat a fraction older", map[string]any{"iat": number(fmt.Sprintf("%d.5", now-121))}, logto.CheckIssuedAt},
		{"iat a day ago", map[string]any{"iat": now - 86400}, logto.CheckIssuedAt},
		{"iat within the leeway", map[string]any{"iat": now + 60}, ""},
		{"iat beyond the leeway", map[string]any{"iat": now + 61}, logto.CheckIssuedAt},
		{"iat in milliseconds", map[string]any{"iat": now * 1000}, logto.CheckIssuedAt},
		{"exp in a second", map[string]any{"exp": now + 1}, ""},
		{"exp now", map[string]any{"exp": now}, logto.CheckExpiry},
		{"exp a second ago", map[string]any{"exp": now - 1}, logto.CheckExpiry},
		{"exp far, iat old", map[string]any{"exp": now + 86400, "iat": now - 121}, logto.CheckIssuedAt},
		{"exp missing", map[string]any{"exp": nil}, ""},
		{"nbf past", map[string]any{"nbf": now - 1}, ""},
		{"nbf beyond the leeway", map[string]any{"nbf": now + 61}, logto.CheckNotBefore},
		{"jti of 255 bytes", map[string]any{"jti": strings.Repeat("j", 255)}, ""},
		{"jti of 256 bytes", map[string]any{"jti": strings.Repeat("j", 256)}, logto.CheckLogoutID},
	}
	for _, value := range []any{nil, number("null"), "now", fmt.Sprint(now), 0, -5, number("1e300"), number("1e400"), true, []int64{now}, map[string]any{}} {
		rows = append(rows, claimRow{fmt.Sprintf("iat %s", value), map[string]any{"iat": value}, logto.CheckIssuedAt})
		if value != nil {
			rows = append(rows, claimRow{fmt.Sprintf("exp %s", value), map[string]any{"exp": value}, logto.CheckExpiry})
			rows = append(rows, claimRow{fmt.Sprintf("nbf %s", value), map[string]any{"nbf": value}, logto.CheckNotBefore})
		}
	}
	for _, value := range []any{nil, number("null"), "", 5, true, []string{"a"}, map[string]any{}} {
		rows = append(rows, claimRow{fmt.Sprintf("jti %s", value), map[string]any{"jti": value}, logto.CheckLogoutID})
	}
	checkLogouts(t, rows)
}

func TestBL10SubjectAndSession(t *testing.T) {
	t.Parallel()
	rows := []claimRow{
		{"neither", map[string]any{"sub": nil, "sid": nil}, logto.CheckSubject},
		{"another provider's", map[string]any{"iss": "https://evil.example/oidc"}, logto.CheckIssuer},
		{"sub of 255 bytes", map[string]any{"sub": strings.Repeat("s", 255)}, ""},
		{"sub of 256 bytes", map[string]any{"sub": strings.Repeat("s", 256)}, logto.CheckSubject},
		{"SUB and SID alone", map[string]any{"sub": nil, "sid": nil, "SUB": "a", "SID": "b"}, logto.CheckSubject},
	}
	for _, bad := range []any{"", json.RawMessage("null"), 5, true, []string{"s"}, map[string]any{}, "a\x00b", "a\nb", "a\x7fb", "a\u0085b"} {
		for _, alone := range []bool{false, true} {
			sub, sid := map[string]any{"sub": bad}, map[string]any{"sid": bad}
			if alone {
				sub["sid"], sid["sub"] = nil, nil
			}
			rows = append(rows, claimRow{fmt.Sprintf("sub %.20q, alone %v", bad, alone), sub, logto.CheckSubject})
			rows = append(rows, claimRow{fmt.Sprintf("sid %.20q, alone %v", bad, alone), sid, logto.CheckSession})
		}
	}
	checkLogouts(t, rows)
}

// Unknown keys cause one fetch a minute, are refused before a signature is checked, and do not keep an ID token of a
// new key from being accepted.
func TestBL12UnknownKeysCauseNoStorm(t *testing.T) {
	t.Parallel()
	k, next := newES384("k1"), newES384("k2")
	i, p := stand(t, k.jwk(nil))
	wantLogoutCheck(t, "a good one", verifyLogout(t, p, k.token(i.logout(nil), asLogout)), "")
	before := i.count(pathKeys)
	var wait sync.WaitGroup
	for worker := range 4 {
		wait.Go(func() {
			for n := range 250 {
				token := k.token(i.logout(nil), map[string]any{"typ": "logout+jwt", "kid": fmt.Sprintf("random-%d-%d", worker, n)})
				wantLogoutCheck(t, "a random kid", verifyLogout(t, p, token), logto.CheckKey)
			}
		})
	}
	wait.Wait()
	if got := i.count(pathKeys) - before; got != 1 {
		t.Errorf("fetches of the key set: got %d, want 1", got)
	}
	wantLogoutCheck(t, "a good one afterwards", verifyLogout(t, p, k.token(i.logout(nil), asLogout)), "")

	i.publish(next.jwk(nil))
	wantLogoutCheck(t, "a new key within the minute", verifyLogout(t, p, next.token(i.logout(nil), asLogout)), logto.CheckKey)
	wantCheck(t, "an ID token of a new key", verify(t, p, next.token(i.claims(nil), nil)), "")
	wantLogoutCheck(t, "and then a logout token", verifyLogout(t, p, next.token(i.logout(nil), asLogout)), "")
	i.clock.advance(time.Minute)
	i.publish(k.jwk(nil))
	wantLogoutCheck(t, "a new key a minute later", verifyLogout(t, p, k.token(i.logout(nil), asLogout)), "")
}

// BL-14: so many signatures are checked a second; what needs none to be refused does not count.
func TestLogoutsAreLimited(t *testing.T) {
	t.Parallel()
	k, other := newES384("k1"), newES384("k1")
	i, p := stand(t, k.jwk(nil))
	good, forged := k.token(i.logout(nil), asLogout), other.token(i.logout(nil), asLogout)
	for range 1000 {
		wantLogoutCheck(t, "junk", verifyLogout(t, p, "junk"), logto.CheckShape)
		wantLogoutCheck(t, "an ID token", verifyLogout(t, p, b64([]byte(`{"alg":"ES384"}`))+".e30.AA"), logto.CheckIssuer)
	}
	for range 200 {
		wantLogoutCheck(t, "within the burst", verifyLogout(t, p, forged), logto.CheckSignature)
	}
	if err := verifyLogout(t, p, good); !errors.Is(err, logto.ErrTooManyLogouts) {
		t.Errorf("beyond the burst: got %v, want %v", err, logto.ErrTooManyLogouts)
	}
	wantCheck(t, "an ID token meanwhile", verify(t, p, k.token(i.claims(nil), nil)), "")
	i.clock.advance(time.Second)
	for range 100 {
		wantLogoutCheck(t, "a second later", verifyLogout(t, p, good), "")
	}
	if err := verifyLogout(t, p, good); !errors.Is(err, logto.ErrTooManyLogouts) {
		t.Errorf("beyond the rate: got %v, want %v", err, logto.ErrTooManyLogouts)
	}
}

func TestLogoutTokenShape(t *testing.T) {
	t.Parallel()
	k, other := newES384("k1"), newEC("k1", elliptic.P384())
	i, p := stand(t, k.jwk(nil))
	good := k.token(i.logout(nil), asLogout)
	for name, token := range map[string]string{
		"empty": "", "three empty parts": "..", "five parts": "a.b.c.d.e", "two parts": good[:strings.LastIndexByte(good, '.')],
		"1 MiB": strings.Repeat("A", 1<<20), "a million dots": strings.Repeat(".", 1_000_000),
		"16 KiB and more": k.token(i.logout(map[string]any{"x": strings.Repeat("x", 16<<10)}), asLogout),
		"JSON form":       `{"payload":"e30","signatures":[{"protected":"e30","signature":"e30"}]}`,
	} {
		wantLogoutCheck(t, name, verifyLogout(t, p, token), logto.CheckShape)
	}
	for name, payload := range map[string]string{
		"sid twice":           strings.Replace(i.logout(nil), `{`, `{"sid":"somebody-else",`, 1),
		"an event twice":      strings.Replace(i.logout(nil), `{}`, `{"a":1,"a":2}`, 1),
		"something after it":  i.logout(nil) + "{}",
		"a list":              "[" + i.logout(nil) + "]",
		"null":                "null",
		"nested 10,000 times": strings.Replace(i.logout(nil), `{`, `{"x":`+strings.Repeat("[", 5_000)+strings.Repeat("]", 5_000)+",", 1),
	} {
		wantLogoutCheck(t, name, verifyLogout(t, p, k.token(payload, asLogout)), logto.CheckClaims)
	}
	for _, name := range []string{"crit", "b64", "jwk", "jku", "x5u", "x5c", "enc", "zip", "cty"} {
		header := map[string]any{"typ": "logout+jwt", name: []string{"exp"}}
		wantLogoutCheck(t, name, verifyLogout(t, p, k.token(i.logout(nil), header)), logto.CheckHeader)
	}
	wantLogoutCheck(t, "another key of the same kid", verifyLogout(t, p, other.token(i.logout(nil), asLogout)), logto.CheckSignature)
	second := strings.Split(k.token(i.logout(map[string]any{"sub": "victim"}), asLogout), ".")
	wantLogoutCheck(t, "signature of another token", verifyLogout(t, p, second[0]+"."+second[1]+good[strings.LastIndexByte(good, '.'):]), logto.CheckSignature)
}

func TestLogoutWhileKeysCannotBeFetched(t *testing.T) {
	t.Parallel()
	k := newES384("k1")
	i, p := stand(t, k.jwk(nil))
	i.set(pathKeys, write(http.StatusServiceUnavailable, "text/plain", "busy"))
	err := verifyLogout(t, p, k.token(i.logout(nil), asLogout))
	if !errors.Is(err, logto.ErrUnavailable) || errors.Is(err, logto.ErrLogoutToken) {
		t.Errorf("got %v, want %v", err, logto.ErrUnavailable)
	}
	wantLogoutCheck(t, "what needs no key", verifyLogout(t, p, k.token(i.logout(map[string]any{"aud": "other"}), asLogout)), logto.CheckAudience)
	i.publish(k.jwk(nil))
	i.clock.advance(2 * time.Second)
	wantLogoutCheck(t, "when Logto is back", verifyLogout(t, p, k.token(i.logout(nil), asLogout)), "")
}

// No error has anything of the token in it.
func TestLogoutErrorsTellNothing(t *testing.T) {
	t.Parallel()
	k := newES384("CANARYkid")
	i, p := stand(t, newES384("k1").jwk(nil))
	for _, token := range []string{
		k.token(i.logout(map[string]any{"sub": "CANARYsub", "sid": "CANARYsid", "jti": "CANARYjti"}), asLogout),
		k.token(i.logout(map[string]any{"iss": "CANARYiss"}), asLogout),
		k.token(i.logout(map[string]any{"aud": "CANARYaud"}), asLogout),
		k.token(i.logout(map[string]any{"events": map[string]any{"CANARYevent": 1}}), map[string]any{"typ": "logout+jwt"}),
		k.token(i.logout(nil), map[string]any{"typ": "CANARYtyp"}),
		k.token(i.logout(nil), map[string]any{"alg": "CANARYalg", "typ": "logout+jwt"}),
		k.token(`{"CANARY":`, asLogout),
		"CANARY.CANARY.CANARY",
	} {
		err := verifyLogout(t, p, token)
		if err == nil || strings.Contains(err.Error(), "CANARY") || strings.Contains(err.Error(), b64([]byte("CANARY"))[:7]) {
			t.Errorf("got error %v, want one without the token's contents", err)
		}
	}
}
