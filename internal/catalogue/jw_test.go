package catalogue_test

import (
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"portero/internal/gatewaytest"
)

var idTokens = family{ID: "JW", Title: "ID tokens and keys", Attacks: []attack{
	{ID: "JW-01", Name: "alg none, missing, in another case", Want: "no session, whether there is a signature or not", Why: "libraries that let the token say how it is verified", Test: tokens(algNone)},
	{ID: "JW-02", Name: "the public key as a shared secret", Want: "no session, not even where the key set publishes the secret", Why: "libraries that take the algorithm from the token and the key from the set", Test: sharedSecrets},
	{ID: "JW-03", Name: "another algorithm of the same key", Want: "no session: a key is for one algorithm, whatever it says of itself", Why: "an SDK that takes RS512 and PS256 under a key marked RS256", Test: otherAlgorithms},
	{ID: "JW-04", Name: "embedded keys and extensions", Want: "no session, whoever signed; nobody is called", Why: "libraries that fetch what jku and x5u name, or take the key from the token", Test: embeddedKeys},
	{ID: "JW-05", Name: "wrong signatures", Want: "no session", Test: tokens(wrongSignatures)},
	{ID: "JW-06", Name: "kid absent", Want: "a session where exactly one key fits, none where several do", Why: "two conformance modules; an SDK that refuses even one key", Test: keyIDAbsent},
	{ID: "JW-07", Name: "forms of aud", Want: "us, or a list with us, and us as azp where others are in it; all else makes no session", Why: "libraries that refuse every list, or do not look at azp", Test: tokens(audiences)},
	{ID: "JW-08", Name: "tokens of another kind", Want: "an access token, a logout token, another client's ID token or a token of another typ makes no session", Test: tokens(otherKinds)},
	{ID: "JW-09", Name: "other spellings of the issuer", Want: "no session: it is compared byte for byte", Test: tokens(otherIssuers)},
	{ID: "JW-10", Name: "times", Want: "exp in the future, nbf and iat up to a minute ahead and no older than a day, fractions allowed; all else makes no session", Why: "an SDK that ignores nbf, and refuses fractions and tokens of a slow provider. To the second on a clock that stands, so a gateway inside the test; with wide margins on the program", Test: times},
	{ID: "JW-11", Name: "nonce", Want: "no session without the nonce of this very attempt", Why: "an SDK that sends no nonce at all", Test: nonces},
	{ID: "JW-12", Name: "refetch storm", Want: "one fetch of the keys for all who wait, no other within the minute, and known keys work all the while", Why: "mod_auth_openidc 2026. A hundred sign-ins at once stand for a thousand; the minute is over on a gateway inside the test", Test: refetchStorm},
	{ID: "JW-13", Name: "key rotation and odd key sets", Want: "a session as long as one good key fits; none with a key that was taken out", Why: "an SDK that gives up the whole set for one array in it", Test: keyRotation},
	{ID: "JW-14", Name: "sub", Want: "no session without one of 1 to 255 bytes and no control characters", Why: "an SDK that takes tokens without one", Test: tokens(subjects)},
	{ID: "JW-15", Name: "types and names of claims", Want: "a claim of another type is left out and costs nobody the sign-in; names count by their exact spelling; a name twice makes no session", Why: "an SDK that fails for roles: \"admin\", and encoding/json, which takes SUB for sub", Test: tokens(claimTypes)},
	{ID: "JW-16", Name: "size and shape", Want: "no session; 64 KiB at most are looked at", Why: "CVE-2025-27144; an SDK that verifies 28 MB", Test: tokens(shapes)},
	{ID: "JW-17", Name: "at_hash", Want: "no session with the hash of another access token", Test: accessTokenHash},
	{ID: "JW-18", Name: "userinfo", Want: "no session where it is about another person, signed, of another type or a page; at a refresh nothing of such an answer is used, and the log says so", Why: "conformance; its claims decide who comes in", Test: userinfos},
}}

func algNone(*gatewaytest.Issuer) []idToken {
	unsigned := func(more string) func(*gatewaytest.Issuer, map[string]any, map[string]any) string {
		return func(_ *gatewaytest.Issuer, header, claims map[string]any) string {
			return gatewaytest.Unsigned(header, claims) + more
		}
	}
	var out []idToken
	for _, alg := range []any{"none", "None", "NONE", "nOnE", "", null, 5, []string{"ES384"}, map[string]any{}, "none ", "ES384 ", "es384", "HS256"} {
		header := map[string]any{"alg": alg}
		name := fmt.Sprintf("alg %v", alg)
		out = append(out,
			idToken{name: name + ", empty signature", header: header, make: unsigned("."), fails: "shape"},
			idToken{name: name + ", no signature", header: header, make: unsigned(""), fails: "shape"},
			idToken{name: name + ", good signature", header: header, fails: "alg"},
			idToken{name: name + ", any signature", header: header, make: unsigned(".AAAA"), fails: "alg"},
		)
	}
	verbatim := func(header string) func(*gatewaytest.Issuer, map[string]any, map[string]any) string {
		return func(i *gatewaytest.Issuer, _, claims map[string]any) string {
			return i.Key.Token(strings.ReplaceAll(header, "KID", i.Key.ID), claims)
		}
	}
	return append(out,
		idToken{name: "alg missing", header: map[string]any{"alg": nil}, fails: "alg"},
		idToken{name: "Alg for alg", header: map[string]any{"alg": nil, "Alg": "ES384"}, fails: "header"},
		idToken{name: "ALG beside alg", header: map[string]any{"ALG": "none"}, fails: "header"},
		idToken{name: "alg twice", make: verbatim(`{"alg":"none","alg":"ES384","kid":"KID"}`), fails: "header"},
		idToken{name: "alg twice, the other way round", make: verbatim(`{"alg":"ES384","alg":"none","kid":"KID"}`), fails: "header"},
		idToken{name: "alg twice, escaped", make: verbatim(`{"alg":"ES384","\u0061lg":"none","kid":"KID"}`), fails: "header"},
		idToken{name: "a header with blanks, which is as good", make: verbatim("{ \"alg\" : \"ES384\" ,\n\"kid\":\"KID\" }")},
	)
}

func embeddedKeys(t *testing.T, d *doors) {
	thief, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer thief.Close()
	var calls atomic.Int32
	go func() {
		for {
			c, err := thief.Accept()
			if err != nil {
				return
			}
			calls.Add(1)
			c.Close()
		}
	}()
	evil := gatewaytest.NewKey("ES384")
	tokens(func(i *gatewaytest.Issuer) []idToken {
		var out []idToken
		for _, member := range []struct {
			name  string
			value any
		}{
			{"jwk", evil.JWK(nil)}, {"jwk", null}, {"jku", "http://" + thief.Addr().String() + "/jwks"}, {"jku", i.URL + "/evil"}, {"x5u", "http://" + thief.Addr().String() + "/x5u"},
			{"x5u", i.URL + "/evil"}, {"x5c", []string{"MIIB"}}, {"x5c", []string{}}, {"crit", []string{"b64"}}, {"crit", []string{"exp"}}, {"crit", []string{}},
			{"b64", false}, {"b64", true}, {"enc", "A256GCM"}, {"zip", "DEF"}, {"cty", "JWT"}, {"epk", evil.JWK(nil)}, {"p2c", 1_000_000},
		} {
			change := map[string]any{member.name: member.value}
			out = append(out, idToken{name: fmt.Sprintf("%s %v, signed by the issuer", member.name, member.value), header: change, fails: "header"})
			for _, kid := range []any{evil.ID, "the issuer's", nil} {
				out = append(out, idToken{name: fmt.Sprintf("%s %v, signed by another, kid %v", member.name, member.value, kid), header: change, fails: "header",
					make: func(i *gatewaytest.Issuer, header, claims map[string]any) string {
						switch kid {
						case evil.ID:
							header["kid"] = kid
						case nil:
							delete(header, "kid")
						}
						return evil.Token(header, claims)
					}})
			}
		}
		return append(out, idToken{name: "members that mean nothing", header: map[string]any{"x": 1, "x5t": "abc", "x5t#S256": "abc"}})
	})(t, d)
	if got := calls.Load(); got != 0 {
		t.Errorf("calls at an address of a token: got %d, want none", got)
	}
	for _, f := range []*front{d.TLS(), d.Plain()} {
		if got := f.Issuer.Calls("/evil"); got != 0 {
			t.Errorf("calls at an address of a token on the issuer's origin: got %d, want none", got)
		}
	}
}

func wrongSignatures(*gatewaytest.Issuer) []idToken {
	other := gatewaytest.NewKey("ES384")
	order := elliptic.P384().Params().N
	wide := func(n *big.Int) []byte { return n.FillBytes(make([]byte, 48)) }
	zero, one := wide(new(big.Int)), wide(big.NewInt(1))
	// signature is a token whose signature is changed.
	signature := func(name, fails string, change func(s []byte) []byte) idToken {
		return idToken{name: name, fails: fails, make: func(i *gatewaytest.Issuer, header, claims map[string]any) string {
			good := i.Key.Token(header, claims)
			at := strings.LastIndexByte(good, '.') + 1
			s, err := base64.RawURLEncoding.DecodeString(good[at:])
			if err != nil {
				panic(err)
			}
			return good[:at] + base64.RawURLEncoding.EncodeToString(change(s))
		}}
	}
	// text is a token that is changed as text.
	text := func(name, fails string, change func(string) string) idToken {
		return idToken{name: name, fails: fails, make: func(i *gatewaytest.Issuer, header, claims map[string]any) string {
			return change(i.Key.Token(header, claims))
		}}
	}
	return []idToken{
		{name: "another key of the same kid", fails: "signature", make: func(_ *gatewaytest.Issuer, header, claims map[string]any) string {
			return other.Token(header, claims)
		}},
		{name: "signature of other claims", fails: "signature", make: func(i *gatewaytest.Issuer, header, claims map[string]any) string {
			first := i.Key.Token(header, claims)
			claims["sub"] = "victim000000"
			return gatewaytest.Unsigned(header, claims) + first[strings.LastIndexByte(first, '.'):]
		}},
		{name: "signature of another header", fails: "signature", make: func(i *gatewaytest.Issuer, header, claims map[string]any) string {
			first := i.Key.Token(header, claims)
			header["x"] = 1
			return gatewaytest.Unsigned(header, claims) + first[strings.LastIndexByte(first, '.'):]
		}},
		signature("empty", "shape", func([]byte) []byte { return nil }),
		signature("truncated", "signature", func(s []byte) []byte { return s[:95] }),
		signature("halved", "signature", func(s []byte) []byte { return s[:48] }),
		signature("one byte", "signature", func([]byte) []byte { return []byte{0} }),
		signature("extended", "signature", func(s []byte) []byte { return append(s, 0) }),
		signature("the first bit flipped", "signature", func(s []byte) []byte { s[0] ^= 1; return s }),
		signature("the last bit flipped", "signature", func(s []byte) []byte { s[95] ^= 1; return s }),
		signature("r and s zero", "signature", func([]byte) []byte { return make([]byte, 96) }),
		signature("r zero", "signature", func(s []byte) []byte { return slices.Concat(zero, s[48:]) }),
		signature("s zero", "signature", func(s []byte) []byte { return slices.Concat(s[:48], zero) }),
		signature("r and s one", "signature", func([]byte) []byte { return slices.Concat(one, one) }),
		signature("r and s the order", "signature", func([]byte) []byte { return slices.Concat(wide(order), wide(order)) }),
		signature("r and s swapped", "signature", func(s []byte) []byte { return slices.Concat(s[48:], s[:48]) }),
		signature("4 KiB", "signature", func([]byte) []byte { return make([]byte, 4<<10) }),
		text("padding", "shape", func(s string) string { return s + "==" }),
		text("a line break behind it", "malformed", func(s string) string { return s + "\n" }),
		text("a blank inside", "shape", func(s string) string { return s[:len(s)-4] + " " + s[len(s)-4:] }),
		text("standard base64", "shape", func(s string) string { return s[:len(s)-1] + "+" }),
		{name: "bits behind the last byte", fails: "shape", make: func(i *gatewaytest.Issuer, header, claims map[string]any) string {
			const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
			good := i.Key.Token(header, claims)
			for strings.IndexByte(good, '.')%4 == 0 { // until the header ends within a letter
				header["x"] = fmt.Sprint(header["x"], "x")
				good = i.Key.Token(header, claims)
			}
			at := strings.IndexByte(good, '.') - 1
			return good[:at] + alphabet[strings.IndexByte(alphabet, good[at])+1:][:1] + good[at+1:]
		}},
	}
}

func audiences(i *gatewaytest.Issuer) []idToken {
	us, them := i.AppID, gatewaytest.Canary+"another-client"
	row := func(fails string, aud, azp any) idToken {
		return idToken{name: fmt.Sprintf("aud %v, azp %v", aud, azp), claims: map[string]any{"aud": aud, "azp": azp}, fails: fails}
	}
	return []idToken{
		row("", us, nil),
		row("", us, us),
		row("", []string{us}, nil),
		row("", []string{us}, us),
		row("", []string{us, them}, us),
		row("", []string{them, us}, us),
		row("azp", []string{us, them}, them),
		row("azp", []string{us, them}, nil),
		row("azp", []string{us, us}, nil),
		row("azp", us, them),
		row("azp", us, ""),
		row("azp", us, null),
		row("azp", us, []string{us}),
		row("azp", us, 5),
		row("aud", []string{them}, nil),
		row("aud", []string{them}, us),
		row("aud", them, us),
		row("aud", them, nil),
		row("aud", us+" ", nil),
		row("aud", us+"1", nil),
		row("aud", us[:len(us)-1], nil),
		row("aud", strings.ToUpper(us), nil),
		row("aud", us+","+them, us),
		row("aud", []string{}, nil),
		row("aud", []string{}, us),
		row("aud", "", nil),
		row("aud", nil, us),
		row("aud", null, us),
		row("aud", 5, nil),
		row("aud", true, nil),
		row("aud", map[string]any{us: us}, nil),
		row("aud", []any{us, 5}, us),
		row("aud", []any{[]string{us}}, us),
		row("aud", []any{us, nil}, us),
	}
}

func otherKinds(i *gatewaytest.Issuer) []idToken {
	out := withHeader("typ", "typ", "at+jwt", "AT+JWT", "application/at+jwt", "logout+jwt", "dpop+jwt", "secevent+jwt", "", " JWT", "JWT ", 5, null, []string{"JWT"})
	events := map[string]any{gatewaytest.LogoutEvent: map[string]any{}}
	out = append(out,
		idToken{name: "a logout token that says JWT", header: map[string]any{"typ": "JWT"}, claims: map[string]any{"events": events}, fails: "typ"},
		idToken{name: "a logout token that says nothing", claims: map[string]any{"events": events}, fails: "typ"},
		idToken{name: "events null", claims: map[string]any{"events": null}, fails: "typ"},
		idToken{name: "an access token for an API", claims: map[string]any{"aud": "https://api.example.com", "client_id": i.AppID, "scope": "all"}, fails: "aud"},
		idToken{name: "an access token for an API that says so", header: map[string]any{"typ": "at+jwt"}, claims: map[string]any{"aud": i.AppID, "client_id": i.AppID, "scope": "all"}, fails: "typ"},
		idToken{name: "another client's ID token", claims: map[string]any{"aud": "app-2", "azp": "app-2"}, fails: "aud"},
		idToken{name: "an opaque access token", make: func(*gatewaytest.Issuer, map[string]any, map[string]any) string {
			return "oObuNaoTtACELMMMmKNU01dPddd510s1akd_FUNhyrz"
		}, fails: "shape"},
		idToken{name: "no typ"},
	)
	return append(out, withHeader("", "typ", "JWT", "jwt")...)
}

func otherIssuers(i *gatewaytest.Issuer) []idToken {
	iss := i.URL + "/oidc"
	_, address, _ := strings.Cut(iss, "://")
	return append(withClaim("", "iss", iss), withClaim("iss", "iss",
		iss+"/", iss+"//", iss+"?", iss+"#", iss+" ", " "+iss, iss+"\x00", iss+"/../oidc", strings.ToUpper(iss), i.URL+"/OIDC", "HTTP://"+address, "https://"+address, "//"+address,
		strings.Replace(iss, "127.0.0.1", "localhost", 1), strings.Replace(iss, "127.0.0.1", "127.1", 1), strings.Replace(iss, "://", "://user@", 1), i.URL, i.URL+"/",
		i.URL+"/oidc2", "https://other.logto.app/oidc", gatewaytest.Canary+"issuer", "", nil, null, 5, true, []string{iss}, map[string]any{"iss": iss})...)
}

func nonces(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		// A token that signed somebody in a moment ago, and the nonce of a sign-in that is under way elsewhere.
		var stolen string
		victim := w.traveller(t)
		w.issuer(t, func(i *gatewaytest.Issuer) {
			i.Sign = func(claims map[string]any) string {
				stolen = i.Key.Token(i.Key.Header(nil), claims)
				return stolen
			}
		})
		seeOther(t, victim.get(t, victim.leave(t, "/sign-in?fresh=1&return_to=/app")), "/app")
		victim.leave(t, "/sign-in?fresh=1&return_to=/app")
		asked := w.Issuer.Requests()
		other := asked[len(asked)-1].Get("nonce")
		rows := withClaim("nonce", "nonce", nil, null, "", " ", other, gatewaytest.Canary+"nonce", 5, true, []string{other}, map[string]any{})
		rows = append(rows, idToken{name: "a whole token of another sign-in", fails: "nonce", make: func(*gatewaytest.Issuer, map[string]any, map[string]any) string { return stolen }})
		for name, change := range map[string]func(string) any{
			"cut": func(n string) any { return n[1:] }, "longer": func(n string) any { return n + "1" }, "in upper case": func(n string) any { return strings.ToUpper(n) },
			"in a list": func(n string) any { return []string{n} }, "with a NUL": func(n string) any { return n + "\x00" }, "under Nonce": nil,
		} {
			rows = append(rows, idToken{name: name, fails: "nonce", make: func(i *gatewaytest.Issuer, header, claims map[string]any) string {
				nonce := claims["nonce"].(string)
				delete(claims, "nonce")
				if change != nil {
					claims["nonce"] = change(nonce)
				} else {
					claims["Nonce"] = nonce
				}
				return i.Key.Token(header, claims)
			}})
		}
		w.signInWith(t, append(rows, idToken{name: "ours"})...)
	})
}

func subjects(*gatewaytest.Issuer) []idToken {
	return append(withClaim("sub", "sub", nil, null, "", strings.Repeat("s", 256), strings.Repeat("s", 300), strings.Repeat("s", 10_000), "a\x00b", "a\nb", "a\r\nX-Auth-Email: root", "a\x7fb", "a\u0085b",
		"\x00", 5, true, []string{"s"}, map[string]any{"s": "s"}),
		withClaim("", "sub", "s", strings.Repeat("s", 255), "Zo\u00eb", "a b", "root")...)
}

func claimTypes(*gatewaytest.Issuer) []idToken {
	ours := map[string]string{"x-auth-sub": "t8x4l8ohti1t", "x-auth-email": "alice@example.com", "x-auth-name": "Alice", "x-auth-roles": "admin,editor", "x-auth-tenant": "acme"}
	but := func(name, value string) map[string]string {
		out := maps.Clone(ours)
		out[name] = value
		return out
	}
	row := func(name string, value any, sees map[string]string) idToken {
		return idToken{name: fmt.Sprintf("%s %v", name, value), claims: map[string]any{name: value}, sees: sees}
	}
	verbatim := func(name, fails string, change func(string) string) idToken {
		return idToken{name: name, fails: fails, sees: ours, make: func(i *gatewaytest.Issuer, header, claims map[string]any) string {
			text, err := json.Marshal(claims)
			if err != nil {
				panic(err)
			}
			return i.Key.Token(header, change(string(text)))
		}}
	}
	before := func(more string) func(string) string {
		return func(text string) string { return strings.Replace(text, "{", "{"+more, 1) }
	}
	return []idToken{
		row("roles", "admin", but("x-auth-roles", "admin")),
		row("roles", 5, but("x-auth-roles", "5")),
		row("roles", map[string]any{"admin": true}, but("x-auth-roles", "")),
		row("roles", []any{"editor", 5, nil, []any{"admin"}, map[string]any{"admin": 1}}, but("x-auth-roles", "editor,5")),
		row("name", 5, but("x-auth-name", "")),
		row("name", null, but("x-auth-name", "")),
		row("name", map[string]any{"name": "root"}, but("x-auth-name", "")),
		row("name", []string{"root"}, but("x-auth-name", "")),
		row("custom_data", "acme", but("x-auth-tenant", "")),
		row("custom_data", map[string]any{"tenant": map[string]any{"x": 1}}, but("x-auth-tenant", "")),
		row("custom_data", map[string]any{"tenant": 7}, but("x-auth-tenant", "7")),
		row("groups", []any{[]any{"a"}, map[string]any{"b": 1}}, ours),
		row("sid", 7, ours),
		row("SUB", "root", ours),
		row("Sub", "root", ours),
		row("ISS", "https://evil.example", ours),
		row("AUD", 5, ours),
		row("Exp", 1, ours),
		row("NONCE", []int{1}, ours),
		row("EMAIL", "root@corp", ours),
		row("Email_Verified", false, ours),
		row("ROLES", []string{"root"}, ours),
		row("_claim_names", map[string]any{"email": "src1"}, ours),
		row("updated_at", 1795332734674, ours),
		verbatim("blanks between everything", "", func(text string) string { return " \n" + strings.ReplaceAll(text, ":{", ": {") + "\t" }),
		verbatim("sub twice", "claims", before(`"sub":"root",`)),
		verbatim("sub twice, the same", "claims", before(`"sub":"t8x4l8ohti1t",`)),
		verbatim("sub twice, escaped", "claims", before(`"s\u0075b":"root",`)),
		verbatim("aud twice", "claims", before(`"aud":"app-2",`)),
		verbatim("a nested name twice", "claims", before(`"x":{"y":1,"y":2},`)),
		verbatim("something behind it", "claims", func(text string) string { return text + "{}" }),
		verbatim("a list", "claims", func(text string) string { return "[" + text + "]" }),
		verbatim("a string", "claims", func(string) string { return `"x"` }),
		verbatim("null", "claims", func(string) string { return "null" }),
		verbatim("no JSON", "claims", func(string) string { return "x" }),
		verbatim("a byte order mark", "claims", func(text string) string { return "\ufeff" + text }),
		verbatim("not UTF-8", "claims", before("\"x\":\"\xff\",")),
	}
}

func shapes(*gatewaytest.Issuer) []idToken {
	is := func(name, fails, token string) idToken {
		return idToken{name: name, fails: fails, make: func(*gatewaytest.Issuer, map[string]any, map[string]any) string { return token }}
	}
	claims := func(name, fails string, change map[string]any) idToken {
		return idToken{name: name, claims: change, fails: fails}
	}
	deep := number(strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000))
	many := map[string]any{}
	for n := range 100_000 {
		many[fmt.Sprintf("c%d", n)] = n
	}
	const answer, member, shape = "larger than", "id_token is too long", "shape"
	return []idToken{
		is("20 MB", answer, strings.Repeat("A", 20<<20)),
		is("a million dots", member, strings.Repeat(".", 1_000_000)),
		is("60,000 dots", shape, strings.Repeat(".", 60_000)),
		is("100 KiB", member, strings.Repeat("A", 100<<10)),
		is("64 KiB of one part", shape, strings.Repeat("A", 64<<10)),
		is("five parts", shape, "a.b.c.d.e"),
		is("an encrypted token", shape, gatewaytest.Unsigned(`{"alg":"dir","enc":"A256GCM"}`, "")+".YWJj.YWJj.YWJj"),
		is("an encrypted token in three parts", "alg", gatewaytest.Unsigned(`{"alg":"dir"}`, "{}")+".YWJj"),
		is("two parts", shape, gatewaytest.Unsigned(`{"alg":"ES384"}`, `{}`)),
		is("three empty parts", shape, ".."),
		is("JSON", shape, `{"payload":"e30","signatures":[{"protected":"e30","signature":"e30"}]}`),
		is("a blank", shape, " "),
		claims("100,000 claims", answer, many),
		claims("10,000 deep", "claims", map[string]any{"deep": deep}),
		{name: "10,000 deep in the header", header: map[string]any{"x": deep}, fails: "header"},
		{name: "30 KiB of header that is good", header: map[string]any{"x": strings.Repeat("x", 30<<10)}},
		claims("40 KiB that is good", "", map[string]any{"more": strings.Repeat("n", 40<<10)}),
		{name: "a kid of 10,000 bytes", header: map[string]any{"kid": strings.Repeat("k", 10_000)}, fails: "kid"},
	}
}

// number is a claim as it stands in JSON.
func number(text string) json.RawMessage { return json.RawMessage(text) }
