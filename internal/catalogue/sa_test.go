package catalogue_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

var signedAssertions = family{ID: "SA", Title: "Signed assertions", Attacks: []attack{
	{ID: "SA-01", Name: "an assertion of the client's own", Want: "removed on every route, in every spelling; the application gets the gateway's, once, or none", Why: "whoever can place one is whoever they like", Test: placedAssertions},
	{ID: "SA-02", Name: "forged ones", Want: "403 beside the application; without one 401", Why: "CVE-2015-9235, CVE-2018-0114", Test: forgedAssertions},
	{ID: "SA-03", Name: "another issuer, application or time", Want: "403", Why: "one key signs for all applications, and what was caught once is good for a minute", Test: strangeAssertions},
	{ID: "SA-04", Name: "two headers, or one that is taken for it", Want: "403", Why: "who checks reads the first, the application the last", Test: doubledAssertions},
	{ID: "SA-05", Name: "for another request", Want: "403 where it is bound, or has to be", Why: "what was caught from a page is played back to change something", Test: replayedAssertions},
	{ID: "SA-06", Name: "no keys", Want: "503, and never through", Why: "what cannot be checked passes", Test: assertionsWithoutKeys},
	{ID: "SA-07", Name: "the gateway's own, elsewhere", Want: "good for its application and request alone", Why: "the other side of SA-01 to SA-06", Test: ownAssertions},
}}

const assertionHeader = "X-Portero-Assertion"

// verifier is the program beside an application, with a key of the test's or keys at an address.
type verifier struct {
	way
	addr string
	key  *gatewaytest.Key // nil: the keys are somebody else's
}

// newVerifier starts `portero verify` with more arguments. It answers 200 to what it would let through.
func newVerifier(t *testing.T, f *front, keys string, args ...string) *verifier {
	t.Helper()
	v := &verifier{way: way{front: f}}
	p := gatewaytest.NewProcess(t, "the program beside the application")
	if keys == "" {
		v.key = gatewaytest.NewKey("ES256")
		set, err := json.Marshal(map[string]any{"keys": []any{v.key.JWK(nil)}})
		if err != nil {
			t.Fatal(err)
		}
		keys = "--jwks-file=" + write(t, p.File("jwks.json"), string(set), 0o600)
	}
	cmd := p.Command(append([]string{"verify", keys, "--issuer", "https://gw.test", "--audience", "https://wiki.test", "--auth-request", "--listen", "127.0.0.1:0"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if v.addr = strings.TrimSpace(strings.TrimPrefix(line, "listening on ")); err != nil || v.addr == line {
		t.Fatalf("it says %q (%v), want where it listens", line, err)
	}
	return v
}

// ask sends it a request for GET /app.
func (v *verifier) ask(t *testing.T, lines ...string) *gatewaytest.Answer {
	t.Helper()
	return v.about(t, "GET", "/app", lines...)
}

// about sends it a request that nginx would ask about.
func (v *verifier) about(t *testing.T, method, target string, lines ...string) *gatewaytest.Answer {
	t.Helper()
	k := v.talk(t)
	k.dialing.To = v.addr
	defer k.close()
	return k.ask(request{Target: "/", Lines: with(fieldsOf("X-Original-Method", method, "X-Original-Uri", target), lines...)})
}

// signed is an assertion by its key, with members changed; nil is a null.
func (v *verifier) signed(header, claims map[string]any) string {
	return v.key.Token(v.header(header), v.claims(claims))
}

func (v *verifier) header(change map[string]any) map[string]any {
	return v.key.Header(changedBy(map[string]any{"typ": "JWT"}, change))
}

func (v *verifier) claims(change map[string]any) map[string]any {
	now := time.Now().Unix()
	return changedBy(map[string]any{"iss": "https://gw.test", "aud": "https://wiki.test", "sub": "t8x4l8ohti1t", "iat": now, "exp": now + 60, "jti": "1"}, change)
}

func changedBy(m, change map[string]any) map[string]any {
	maps.Copy(m, change)
	return m
}

// refuses fails unless each of these is answered with 403, and a good one with 200.
func (v *verifier) refuses(t *testing.T, tries map[string]string) {
	t.Helper()
	for what, token := range tries {
		if a := v.ask(t, assertionHeader, token); a.Status != http.StatusForbidden {
			t.Errorf("%s: got %s, want 403", what, a)
		}
	}
	if a := v.ask(t, assertionHeader, v.signed(nil, nil)); a.Status != http.StatusOK {
		t.Errorf("a good one: got %s, want 200", a)
	}
}

func placedAssertions(t *testing.T, _ *doors) {
	routes := `
  - {name: public, path: /public, access: public, upstreams: [{url: UPSTREAM}]}
  - {name: optional, path: /optional, access: optional, upstreams: [{url: UPSTREAM}]}
  - {name: off, path: /off, identity: {assertion: {enabled: false}}, upstreams: [{url: UPSTREAM}]}
  - {name: named, path: /named, identity: {assertion: {header: X-Mine}}, upstreams: [{url: UPSTREAM}]}
  - {name: app, path: /, upstreams: [{url: UPSTREAM}]}
`
	for door, o := range map[string]gatewaytest.Options{"plain": {}, "in TLS": {TLS: true}} {
		o.Routes, o.Extra = routes, "identity: {assertion: {enabled: true}}\n"
		f := newFront(t, o)
		evil := gatewaytest.NewKey("ES256")
		forged := evil.Token(evil.Header(map[string]any{"typ": "JWT"}), map[string]any{"iss": f.URL, "aud": f.URL, "sub": "root", "iat": time.Now().Unix(), "exp": time.Now().Unix() + 60})
		for _, w := range []way{{front: f}, {front: f, cookie: f.alice}, {front: f, cookie: f.alice, h2: o.TLS}} {
			for target, name := range map[string]string{"/public/x": "", "/optional": assertionHeader, "/off": "", "/named": "X-Mine", "/app": assertionHeader} { // the header by which a person's request says it
				for _, spelling := range []string{assertionHeader, "x-portero-assertion", "X_Portero_Assertion", "X.Portero.Assertion", "X-Portero_Assertion", "X-Mine", "X_Mine", "x.mine"} {
					what := fmt.Sprintf("%s, %s with %s", door, target, spelling)
					a := w.ask(t, request{Target: target, Lines: fieldsOf(spelling, forged, spelling, "x")})
					if w.cookie == "" && target != "/public/x" && target != "/optional" {
						f.denied(t, a)
						continue
					}
					if a.Status != http.StatusOK {
						t.Errorf("%s: got %s, want 200", what, a)
						continue
					}
					head, _ := f.reached(t)
					if strings.Contains(head, forged) {
						t.Errorf("%s: the application got it", what)
					}
					for _, header := range []string{assertionHeader, "X-Mine"} {
						got := fields(head)[fold(header)]
						if there := header == name && w.cookie != ""; there != (len(got) == 1) || len(got) > 1 {
							t.Errorf("%s: %s at the application: got %d, want one: %t", what, header, len(got), there)
						}
					}
				}
			}
		}
	}
}

func forgedAssertions(t *testing.T, d *doors) {
	v := newVerifier(t, d.Plain(), "")
	if a := v.ask(t); a.Status != http.StatusUnauthorized {
		t.Errorf("none: got %s, want 401", a)
	}
	good := v.signed(nil, nil)
	parts := strings.Split(good, ".")
	stranger, longer, rsa := gatewaytest.NewKey("ES256"), gatewaytest.NewKey("ES384"), gatewaytest.NewKey("RS256")
	stranger.ID, longer.ID, rsa.ID = v.key.ID, v.key.ID, v.key.ID
	set, err := json.Marshal(v.key.JWK(nil))
	if err != nil {
		t.Fatal(err)
	}
	v.refuses(t, map[string]string{
		"nothing": "", "a word": "alice", "none": gatewaytest.Unsigned(v.header(map[string]any{"alg": "none"}), v.claims(nil)) + ".", "none, signed": v.signed(map[string]any{"alg": "none"}, nil),
		"HMAC with the key": gatewaytest.SharedSecretToken(set, v.header(map[string]any{"alg": "HS256"}), v.claims(nil)), "HMAC under ES256": gatewaytest.SharedSecretToken(set, v.header(nil), v.claims(nil)),
		"somebody else's key": stranger.Token(v.header(nil), v.claims(nil)), "a key that it brings": stranger.Token(v.header(map[string]any{"jwk": stranger.JWK(nil)}), v.claims(nil)), "ES384": longer.Token(v.header(map[string]any{"alg": "ES384"}), v.claims(nil)),
		"RS256": rsa.Token(v.header(map[string]any{"alg": "RS256"}), v.claims(nil)), "no key": v.signed(map[string]any{"kid": nil}, nil), "an unknown key": v.signed(map[string]any{"kid": "x"}, nil), "no type": v.signed(map[string]any{"typ": nil}, nil), "another type": v.signed(map[string]any{"typ": "at+jwt"}, nil),
		"an extension": v.signed(map[string]any{"crit": []string{"exp"}}, nil), "keys at an address": v.signed(map[string]any{"jku": "https://evil.test"}, nil), "cut": good[:len(good)-2], "unsigned": parts[0] + "." + parts[1] + ".", "padded": good + "==", "with more": good + ".x",
		"other claims": parts[0] + "." + strings.Split(v.signed(nil, map[string]any{"sub": "root"}), ".")[1] + "." + parts[2], "long": good + strings.Repeat("A", 20<<10), "a claim twice": v.key.Token(v.header(nil), `{"iss":"https://gw.test","aud":"https://wiki.test","sub":"a","sub":"root","iat":1,"exp":2}`),
	})
}

func strangeAssertions(t *testing.T, d *doors) {
	v := newVerifier(t, d.Plain(), "")
	now := time.Now().Unix()
	tries := map[string]string{}
	for name, values := range map[string][]any{
		"iss": {nil, "", "https://evil.test", "https://gw.test/", "https://GW.test", []string{"https://gw.test"}}, "aud": {nil, "", "https://other.test", "https://wiki.test/", []string{"https://wiki.test"}, []string{"https://wiki.test", "https://other.test"}, true},
		"sub": {nil, "", 1}, "iat": {nil, now + 60, "now", now - 3600, -1}, "exp": {nil, now - 60, now + 3600, fmt.Sprint(now + 60), 1e20, now - 1000}, "nbf": {now + 60, "x"},
	} {
		for _, value := range values {
			tries[fmt.Sprintf("%s %v", name, value)] = v.signed(nil, map[string]any{name: value})
		}
	}
	for what, from := range map[string]int64{"from the future": now + 30, "ended": now - 60} { // as long as one lives
		tries[what] = v.signed(nil, map[string]any{"iat": from, "exp": from + 30})
	}
	for name := range tries { // a claim that is null is there, one that is absent is not: both are tried
		if what, isNil := strings.CutSuffix(name, " <nil>"); isNil {
			claims := v.claims(nil)
			delete(claims, what)
			tries[what+" absent"] = v.key.Token(v.header(nil), claims)
		}
	}
	v.refuses(t, tries)
}

func doubledAssertions(t *testing.T, d *doors) {
	v := newVerifier(t, d.Plain(), "")
	good := v.signed(nil, nil)
	for what, lines := range map[string][]string{
		"twice": {assertionHeader, good, assertionHeader, good}, "another first": {assertionHeader, "x", assertionHeader, good}, "another last": {assertionHeader, good, assertionHeader, "x"}, "a list": {assertionHeader, good + ", " + good}, "with a blank inside": {assertionHeader, good + " x"},
		"underscores": {assertionHeader, good, "X_Portero_Assertion", "x"}, "half of them": {assertionHeader, good, "X-Portero_Assertion", "x"}, "dots": {assertionHeader, good, "X.Portero.Assertion", "x"}, "only underscores": {"X_Portero_Assertion", good},
	} {
		if a := v.ask(t, lines...); a.Status != http.StatusForbidden {
			t.Errorf("%s: got %s, want 403", what, a)
		}
	}
	if a := v.ask(t, strings.ToLower(assertionHeader), good, "Authorization", "Bearer "+good); a.Status != http.StatusOK {
		t.Errorf("once: got %s, want 200", a)
	}
}

func replayedAssertions(t *testing.T, d *doors) {
	bound, free := newVerifier(t, d.Plain(), "", "--bind", "method,path"), newVerifier(t, d.Plain(), "")
	for _, tt := range []struct {
		v              *verifier
		htm, htu       any
		method, target string
		status         int
	}{
		{bound, nil, nil, "GET", "/app", 403}, {bound, "GET", nil, "GET", "/app", 403}, {bound, nil, "https://gw.test/app", "GET", "/app", 403}, {bound, "GET", "https://gw.test/app", "GET", "/app", 200}, {bound, "GET", "https://gw.test/app", "GET", "/app?x=1", 200},
		{bound, "GET", "https://gw.test/app", "POST", "/app", 403}, {bound, "GET", "https://gw.test/app", "GET", "/admin", 403}, {bound, "GET", "https://gw.test/app", "GET", "/app/", 403}, {bound, "GET", "https://gw.test/app", "GET", "/%61pp", 403}, {bound, "GET", "https://gw.test/app", "GET", "//app", 403},
		{bound, "get", "https://gw.test/app", "GET", "/app", 403}, {bound, []string{"GET"}, "https://gw.test/app", "GET", "/app", 403}, {bound, "GET", "/app", "GET", "/app", 403}, {bound, "GET", "https://gw.test/app", "", "/app", 403}, {bound, "GET", "https://gw.test/app", "GET", "", 403},
		{free, "GET", nil, "POST", "/app", 403}, {free, nil, "https://gw.test/app", "GET", "/admin", 403}, {free, "GET", "https://gw.test/app", "GET", "/app", 200}, {free, nil, nil, "POST", "/x", 200},
	} {
		claims := tt.v.claims(nil)
		for name, value := range map[string]any{"htm": tt.htm, "htu": tt.htu} {
			if value != nil {
				claims[name] = value
			}
		}
		if a := tt.v.about(t, tt.method, tt.target, assertionHeader, tt.v.key.Token(tt.v.header(nil), claims)); a.Status != tt.status {
			t.Errorf("bound to %v and %v, for %s %s: got %s, want %d", tt.htm, tt.htu, tt.method, tt.target, a, tt.status)
		}
	}
	good := bound.key.Token(bound.header(nil), bound.claims(map[string]any{"htm": "GET", "htu": "https://gw.test/app"}))
	for _, more := range [][]string{{"X-Original-Method", "GET"}, {"X-Original-Uri", "/app"}} { // doubled by a client
		if a := bound.about(t, "GET", "/app", append([]string{assertionHeader, good}, more...)...); a.Status != http.StatusForbidden {
			t.Errorf("with %q twice: got %s, want 403", more, a)
		}
	}
}

func assertionsWithoutKeys(t *testing.T, d *doors) {
	key := gatewaytest.NewKey("ES256")
	v := newVerifier(t, d.Plain(), "--jwks=http://127.0.0.1:1/jwks.json")
	v.key = key
	for what, lines := range map[string][]string{"a signed one": {assertionHeader, v.signed(nil, nil)}} {
		if a := v.ask(t, lines...); a.Status != http.StatusServiceUnavailable {
			t.Errorf("%s: got %s, want 503", what, a)
		}
	}
	if a := v.ask(t); a.Status != http.StatusUnauthorized && a.Status != http.StatusServiceUnavailable {
		t.Errorf("none: got %s, want 401 or 503", a)
	}
	p := gatewaytest.NewProcess(t, "the program")
	for what, args := range map[string][]string{
		"nothing": nil, "no application": {"--jwks=http://127.0.0.1:1/x", "--issuer=https://gw.test", "--auth-request"}, "no issuer": {"--jwks=http://127.0.0.1:1/x", "--audience=https://wiki.test", "--auth-request"},
		"no keys": {"--issuer=https://gw.test", "--audience=https://wiki.test", "--auth-request"}, "another binding": {"--jwks=http://127.0.0.1:1/x", "--issuer=https://gw.test", "--audience=https://wiki.test", "--auth-request", "--bind=everything"},
	} {
		if err := p.Command(append([]string{"verify", "--listen=127.0.0.1:0"}, args...)...).Run(); err == nil {
			t.Errorf("it starts with %s", what)
		}
	}
}

func ownAssertions(t *testing.T, _ *doors) {
	f := newFront(t, gatewaytest.Options{Extra: "identity: {assertion: {enabled: true}}\n", Routes: `
  - {name: wiki, path: /wiki, identity: {assertion: {audience: "https://wiki.test", bind: [method, path]}}, upstreams: [{url: UPSTREAM}]}
  - {name: free, path: /free, identity: {assertion: {audience: "https://wiki.test"}}, upstreams: [{url: UPSTREAM}]}
  - {name: app, path: /, upstreams: [{url: UPSTREAM}]}
`})
	v := newVerifier(t, f, "--jwks=http://"+f.Addr+"/_portero/jwks.json")
	w := way{front: f, cookie: f.alice}
	caught := func(target string) string {
		t.Helper()
		if a := w.ask(t, request{Target: target}); a.Status != http.StatusOK {
			t.Fatalf("%s: got %s, want 200", target, a)
		}
		head, _ := f.reached(t)
		got := gatewaytest.Header(head, assertionHeader)
		if len(got) != 1 {
			t.Fatalf("%s: the application got %q", target, got)
		}
		return got[0]
	}
	bound, free, other := caught("/wiki/x"), caught("/free"), caught("/app")
	for what, tt := range map[string]struct {
		token, method, target string
		status                int
	}{
		"its own request": {bound, "GET", "/wiki/x", 200}, "another path": {bound, "GET", "/wiki/y", 403}, "another method": {bound, "DELETE", "/wiki/x", 403}, "one that is not bound": {free, "POST", "/y", 200}, "another application's": {other, "GET", "/app", 403},
		"its last byte changed": {bound[:len(bound)-2] + "__", "GET", "/wiki/x", 403},
	} {
		if a := v.about(t, tt.method, tt.target, assertionHeader, tt.token); a.Status != tt.status {
			t.Errorf("%s: got %s, want %d", what, a, tt.status)
		}
	}
}
