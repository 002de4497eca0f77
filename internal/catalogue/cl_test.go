package catalogue_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

var claims = family{ID: "CL", Title: "Claims in headers", Attacks: []attack{
	{ID: "CL-01", Name: "line ends", Want: "encoded, or left out with a log line; the request is served and no header is added", Why: "a transport that refuses them answers 502 to that person for ever", Test: unprintable(
		"a\r\nX-Auth-Roles: admin", "a\nb", "a\rb", "a\r\n\r\nGET /admin HTTP/1.1\r\nHost: gw.test\r\n\r\n", "\r\nX-Auth-Email: root", "a\n X-Auth-Email: root", "a\r\n",
		"a\u2028X-Auth-Email: root", "a\u0085X-Auth-Email: root", "a\u560d\u560aX-Auth-Email: root", "a\v\fb",
	)},
	{ID: "CL-02", Name: "other control characters", Want: "as CL-01", Why: "NUL and DEL are refused by transports, a tab passes them", Test: controls},
	{ID: "CL-03", Name: "text that is not ASCII", Want: "the configured encoding, which can be undone, or left out", Why: "raw UTF-8 is Latin-1 to old applications", Test: notASCII},
	{ID: "CL-04", Name: "size", Want: "4 KiB a header and 16 KiB together at most, whole or not at all; a sign-in with more than 64 KiB of claims ends on a page", Why: "a part of a value means something else: admin2 becomes admin", Test: size,
		Missing: "overflow: deny, which answers 403 instead, is tried in CF-05."},
	{ID: "CL-05", Name: "lists", Want: "an element with the separator is escaped or dropped; an empty list leaves no header", Why: "a role with a comma would be two roles", Test: lists},
	{ID: "CL-06", Name: "objects", Want: "no header, save for a configured path to a member", Why: "what a language prints for an object is no format", Test: objects,
		Missing: "There is no encoding that sends an object as JSON."},
	{ID: "CL-07", Name: "blanks at the ends", Want: "encoded or left out, never trimmed", Why: "transports trim them: \" admin\" becomes admin", Test: unprintable(" admin", "admin ", " admin ", " ", "  ", "\u00a0admin", "\u3000admin", "\tadmin", "admin\t")},
	{ID: "CL-08", Name: "numbers and booleans", Want: "canonical text without exponent", Why: "1e21 is no number to many readers", Test: numbers},
	{ID: "CL-09", Name: "what an address means", Want: "exactly one @, the domain behind it compared whole, lower case; an address that is not verified is none", Why: "CVE-2026-40574 oauth2-proxy", Test: addresses},
	{ID: "CL-10", Name: "names that look alike", Want: "no folding but that of ASCII letters in addresses: who looks like admin is not admin", Why: "CVE-2025-24806 Authelia", Test: lookalikes},
	{ID: "CL-11", Name: "headers that are not for claims", Want: "the start is refused, and says why for each", Why: "Host or Transfer-Encoding from a claim is somebody else's request", Test: reservedTargets},
	{ID: "CL-12", Name: "templates", Want: "literal", Why: "CVE-2026-30852 Caddy expanded placeholders in claims", Test: templates},
	{ID: "CL-13", Name: "a display name as the account", Want: "check warns of a claim that people may change, and of no other", Why: "whoever may call themselves root is root", Test: displayNames,
		Missing: "It is a warning; a start with such a header is the operator's choice."},
}}

// claimRoutes let everybody in, and say who they are; some need more.
const claimRoutes = `
  - {name: corp, path: /corp, allow: [{email_domains: [corp.com]}], upstreams: [{url: UPSTREAM}]}
  - {name: admin, path: /admin, allow: [{roles: [admin]}], upstreams: [{url: UPSTREAM}]}
  - {name: person, path: /person, allow: [{emails: [admin@corp.com]}], upstreams: [{url: UPSTREAM}]}
  - {name: user, path: /user, allow: [{claims: [{name: username, values: [admin]}]}], upstreams: [{url: UPSTREAM}]}
  - {name: app, path: /, access: optional, upstreams: [{url: UPSTREAM}]}
`

const claimHeaders = `
identity:
  headers:
    - {name: X-Auth-Sub, claim: sub}
    - {name: X-Auth-Email, claim: email}
    - {name: X-Auth-Name, claim: name, encoding: percent}
    - {name: X-Auth-Username, claim: username}
    - {name: X-Auth-V, claim: custom_data.v}
    - {name: X-Auth-Percent, claim: custom_data.v, encoding: percent}
    - {name: X-Auth-Base64, claim: custom_data.v, encoding: base64}
    - {name: X-Auth-Word, claim: custom_data.v, encoding: rfc2047}
    - {name: X-Auth-Roles, claim: roles, join: ","}
    - {name: X-Auth-Roles-Percent, claim: roles, join: ",", encoding: percent}
    - {name: X-Auth-Roles-Blank, claim: roles, join: " "}
    - {name: X-Auth-Roles-Base64, claim: roles, join: ",", encoding: base64}
    - {name: X-Auth-Object, claim: custom_data}
    - {name: X-Auth-Member, claim: custom_data.o.member}
`

// claimFront is the gateway of a case about claims.
func claimFront(t *testing.T, extra string) way {
	t.Helper()
	return way{front: unsigned(t, gatewaytest.Options{TLS: true, Routes: claimRoutes, Extra: claimHeaders + extra, Env: []string{"CATALOGUE_WORD=" + gatewaytest.Canary + "environment"}})}
}

// as is who has these claims, signed in.
func (w way) as(t *testing.T, more map[string]any) way {
	t.Helper()
	person := map[string]any{"sub": "mallory", "sid": "sid-mallory", "email": "mallory@example.com", "email_verified": true}
	maps.Copy(person, more)
	w.cookie = w.cookieOf(t, w.person(t, person, "/sign-in?return_to=/app"))
	w.Upstream.Forget()
	return w
}

// told is what the application learns of somebody with these claims: one request over each protocol, the same head.
func (w way) told(t *testing.T, more map[string]any) (head string) {
	t.Helper()
	w = w.as(t, more)
	var heads []string
	for _, w.h2 = range []bool{false, true} {
		if a := w.ask(t, request{Lines: fieldsOf("X-Auth-V", "spoof", "X_Auth_Roles", "spoof", "X-Auth-Object", "spoof")}); a.Status != http.StatusOK {
			t.Fatalf("%.200q: got %s, want 200\n%.500s", fmt.Sprint(more), a, a.Body)
		}
		head, rest := w.reached(t)
		if rest != "" || line(head) != "GET /app HTTP/1.1" {
			t.Errorf("the upstream got %.500q, want one request for /app", head+rest)
		}
		kept := ""
		for l := range strings.SplitSeq(head, "\r\n") {
			if strings.HasPrefix(l, "X-Auth-") {
				kept += l + "\r\n"
			}
		}
		heads = append(heads, kept)
	}
	if heads[0] != heads[1] {
		t.Errorf("over HTTP/1.1 %q, over HTTP/2 %q", heads[0], heads[1])
	}
	return "\r\n" + heads[0]
}

// of is a person whose custom data has v.
func of(v any) map[string]any { return map[string]any{"custom_data": map[string]any{"v": v}} }

// leftOut fails unless the log says that a header was left out, since an earlier length of the log.
func (w way) leftOut(t *testing.T, from int, header string) {
	t.Helper()
	for l := range strings.Lines(w.Log.String()[from:]) {
		if strings.Contains(l, "an identity header was left out") && strings.Contains(l, `"`+header+": ") && strings.Contains(l, `"subject":"mallory"`) {
			return
		}
	}
	t.Errorf("the log does not say that %s was left out", header)
}

// undone fails unless the encodings give a value back.
func undone(t *testing.T, head, value string) {
	t.Helper()
	got := fields(head)
	one := func(name string) string {
		if len(got[name]) != 1 {
			t.Errorf("%q: %s: got %q, want one", value, name, got[name])
			return ""
		}
		for _, c := range []byte(got[name][0]) {
			if c < ' ' || c > '~' {
				t.Errorf("%q: %s has the byte %#x: %q", value, name, c, got[name][0])
			}
		}
		return got[name][0]
	}
	percent, err1 := url.PathUnescape(one("x-auth-percent"))
	base, err2 := base64.StdEncoding.DecodeString(one("x-auth-base64"))
	word, err3 := new(mime.WordDecoder).DecodeHeader(one("x-auth-word"))
	if percent != value || string(base) != value || word != value {
		t.Errorf("undone: got %q, %q and %q (%v, %v, %v), want %q", percent, base, word, err1, err2, err3, value)
	}
}

// unprintable tries values that cannot stand in a header as they are: in a claim, as a role, in a name and an address.
func unprintable(values ...string) func(*testing.T, *doors) {
	return func(t *testing.T, _ *doors) {
		w := claimFront(t, "")
		for _, v := range values {
			from := len(w.Log.String())
			head := w.told(t, map[string]any{"custom_data": map[string]any{"v": v}, "roles": []string{"a", v, "b"}, "name": v, "username": v, "email": v + "@corp.com"})
			absent(t, head, "X-Auth-V", "X-Auth-Username")
			undone(t, head, v)
			exactly(t, head, "X-Auth-Roles", "a,b")
			exactly(t, head, "X-Auth-Sub", "mallory")
			if name, err := url.PathUnescape(fields(head)["x-auth-name"][0]); err != nil || name != v {
				t.Errorf("name: got %q (%v), want %q", name, err, v)
			}
			for _, email := range fields(head)["x-auth-email"] {
				t.Errorf("%q: X-Auth-Email: got %q, want none", v, email)
			}
			for _, header := range []string{"X-Auth-V", "X-Auth-Username", "X-Auth-Roles"} {
				w.leftOut(t, from, header)
			}
		}
	}
}

func controls(t *testing.T, d *doors) {
	unprintable("a\x00", "\x00", "a\x7fb", "a\tb", "\x1b[31ma")(t, d)
	w := claimFront(t, "")
	roles := []string{"first"}
	for c := range 0x20 {
		roles = append(roles, "a"+string(rune(c))+"b", string(rune(c))+"admin", "admin"+string(rune(c)))
	}
	for c := 0x7f; c < 0xa0; c++ {
		roles = append(roles, "a"+string(rune(c))+"b")
	}
	head := w.told(t, map[string]any{"roles": append(roles, "last")})
	exactly(t, head, "X-Auth-Roles", "first,last")
	if got := strings.Split(fields(head)["x-auth-roles-percent"][0], ","); len(got) != len(roles)+1 {
		t.Errorf("roles, percent-encoded: got %d, want %d", len(got), len(roles)+1)
	}
	// A subject is what everything hangs on: with a control character in it there is no session at all.
	for _, sub := range []string{"a\r\nX-Auth-Roles: admin", "a\x00", "\x7f", "\u0085"} {
		w.signInFails(t, map[string]any{"sub": sub, "sid": "s"})
	}
}

// signInFails fails unless a sign-in ends on a page of ours, without a session, and the application was not asked.
func (w way) signInFails(t *testing.T, person map[string]any) {
	t.Helper()
	w.Upstream.Forget()
	w.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person = maps.Clone(person) })
	b := w.Browser(t)
	resp := b.Visit(w.URL + "/sign-in?return_to=/app")
	if host := resp.Request.URL.Host; host != gatewaytest.Host || resp.StatusCode != http.StatusBadRequest || b.Cookies(gatewaytest.Host)[w.Cookie()] != "" {
		t.Errorf("%.100q: got %s at %s, want 400, a page of ours, and no session\n%.300s", fmt.Sprint(person), resp.Status, host, resp.Text)
	}
	w.nothingReached(t)
}

func notASCII(t *testing.T, d *doors) {
	w := claimFront(t, "")
	for _, v := range []string{"José 张 😀", "שלום עולם", "\u202eadmin", "e\u0301", "é", "100% + \"x\" José", "=?utf-8?q?root?= é", "\ufeffadmin", "\U000e0061", strings.Repeat("张", 200)} {
		from := len(w.Log.String())
		head := w.told(t, of(v))
		absent(t, head, "X-Auth-V")
		w.leftOut(t, from, "X-Auth-V")
		undone(t, head, v)
	}
	// What is ASCII and looks encoded comes back as what it was.
	for _, v := range []string{"100% + \"x\"", "%41", "a+b", "Lee; Ann=y"} {
		head := w.told(t, of(v))
		exactly(t, head, "X-Auth-V", v)
		undone(t, head, v)
	}
	head := w.told(t, of("Lee, Ann")) // a comma stands between the elements of a list, and nowhere else
	absent(t, head, "X-Auth-V")
	undone(t, head, "Lee, Ann")
	head = w.told(t, of("=?utf-8?q?root?="))
	undone(t, head, "=?utf-8?q?root?=")
	// Half a surrogate is what every reader of JSON makes of it, and stays that.
	head = w.told(t, of(json.RawMessage(`"a\ud800b"`)))
	absent(t, head, "X-Auth-V")
	undone(t, head, "a\ufffdb")
	head = w.told(t, of(json.RawMessage(`"\ud83d\ude00"`)))
	undone(t, head, "😀")
	// What is no text at all is no claim: nobody signs in with it.
	for _, raw := range []string{"\"a\xffb\"", "\"\xc0\xaf\"", "\"\xed\xa0\x80\""} {
		w.signInFails(t, map[string]any{"sub": "mallory", "sid": "s", "custom_data": map[string]any{"v": json.RawMessage(raw)}})
	}
}

func size(t *testing.T, d *doors) {
	w := claimFront(t, "")
	full, over := strings.Repeat("a", 4<<10), strings.Repeat("a", 4<<10+1)
	head := w.told(t, of(full))
	exactly(t, head, "X-Auth-V", full)
	exactly(t, head, "X-Auth-Percent", full)
	absent(t, head, "X-Auth-Base64") // a third longer
	for _, v := range []string{over, strings.Repeat("a", 8<<10), strings.Repeat("a", 20<<10), "admin" + strings.Repeat("2", 5000)} {
		from := len(w.Log.String())
		head := w.told(t, of(v))
		for _, name := range []string{"X-Auth-V", "X-Auth-Percent", "X-Auth-Base64", "X-Auth-Word"} {
			absent(t, head, name)
			w.leftOut(t, from, name)
		}
		exactly(t, head, "X-Auth-Sub", "mallory")
	}
	// Roles: all of them or none.
	roles := make([]string, 1000)
	for i := range roles {
		roles[i] = fmt.Sprintf("role-%d", i)
	}
	head = w.told(t, map[string]any{"roles": append(roles[:400:400], "admin")})
	exactly(t, head, "X-Auth-Roles", strings.Join(append(roles[:400:400], "admin"), ","))
	head = w.told(t, map[string]any{"roles": roles})
	absent(t, head, "X-Auth-Roles", "X-Auth-Roles-Percent", "X-Auth-Roles-Blank", "X-Auth-Roles-Base64")
	// All headers together.
	head = w.told(t, map[string]any{"name": strings.Repeat("n", 4<<10), "username": strings.Repeat("u", 4<<10), "custom_data": map[string]any{"v": strings.Repeat("v", 4<<10)}})
	total := 0
	for name, values := range fields(head) {
		for _, v := range values {
			if total += len(v); len(v) > 4<<10 {
				t.Errorf("%s has %d bytes, want 4 KiB at most", name, len(v))
			}
		}
	}
	if total > 16<<10 || total < 12<<10 {
		t.Errorf("the headers have %d bytes, want between 12 and 16 KiB", total)
	}
	// What no identity needs is refused at the sign-in, and nothing of it is kept.
	many := make([]string, 10000)
	for i := range many {
		many[i] = fmt.Sprintf("role-%d", i)
	}
	before := w.Sessions(t)
	for _, more := range []map[string]any{of(strings.Repeat("a", 64<<10)), of(strings.Repeat("a", 2<<20)), {"roles": many}} {
		maps.Copy(more, map[string]any{"sub": "mallory", "sid": "s"})
		w.signInFails(t, more)
	}
	// The same where the ID token is small, and userinfo is not.
	for _, length := range []int{64 << 10, 2 << 20} {
		w.Issuer.Do(func(i *gatewaytest.Issuer) {
			i.Answer = func(rw http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/oidc/me" {
					return false
				}
				rw.Header().Set("Content-Type", "application/json")
				fmt.Fprintf(rw, `{"sub":"mallory","custom_data":{"v":"%s"}}`, strings.Repeat("a", length))
				return true
			}
		})
		w.signInFails(t, map[string]any{"sub": "mallory", "sid": "s"})
	}
	w.rows(t, before)
}

func lists(t *testing.T, _ *doors) {
	w := claimFront(t, "")
	for _, tt := range []struct {
		roles                         string // JSON
		plain, percent, blank, base64 []string
	}{
		{`["a,b","c"]`, []string{"c"}, []string{"a%2Cb,c"}, []string{"a,b c"}, []string{"YSxi,Yw=="}},
		{`["a b"]`, []string{"a b"}, []string{"a b"}, nil, []string{"YSBi"}},
		{`["a b","c"]`, []string{"a b,c"}, []string{"a b,c"}, []string{"c"}, []string{"YSBi,Yw=="}},
		{`[]`, nil, nil, nil, nil},
		{`[""]`, nil, nil, nil, nil},
		{`["","admin",""]`, []string{"admin"}, []string{"admin"}, []string{"admin"}, []string{"YWRtaW4="}},
		{`[1,true,null]`, []string{"1,true"}, []string{"1,true"}, []string{"1 true"}, []string{"MQ==,dHJ1ZQ=="}},
		{`null`, nil, nil, nil, nil},
		{`"a,admin"`, nil, []string{"a%2Cadmin"}, []string{"a,admin"}, []string{"YSxhZG1pbg=="}},
		{`"admin"`, []string{"admin"}, []string{"admin"}, []string{"admin"}, []string{"YWRtaW4="}},
		{`["a%2Cadmin"]`, []string{"a%2Cadmin"}, []string{"a%252Cadmin"}, []string{"a%2Cadmin"}, []string{"YSUyQ2FkbWlu"}},
		{`["a\",\"admin"]`, nil, []string{"a%22%2C%22admin"}, []string{`a","admin`}, []string{"YSIsImFkbWlu"}},
		{`["x,admin","y,admin"]`, nil, []string{"x%2Cadmin,y%2Cadmin"}, []string{"x,admin y,admin"}, []string{"eCxhZG1pbg==,eSxhZG1pbg=="}},
		{`[["admin"],{"admin":true}]`, nil, nil, nil, nil},
		{`{"0":"admin"}`, nil, nil, nil, nil},
	} {
		from := len(w.Log.String())
		head := w.told(t, map[string]any{"roles": json.RawMessage(tt.roles)})
		exactly(t, head, "X-Auth-Roles", tt.plain...)
		exactly(t, head, "X-Auth-Roles-Percent", tt.percent...)
		exactly(t, head, "X-Auth-Roles-Blank", tt.blank...)
		exactly(t, head, "X-Auth-Roles-Base64", tt.base64...)
		if strings.Contains(tt.roles, `,admin"`) {
			w.leftOut(t, from, "X-Auth-Roles")
		}
	}
	// Nor does a rule see a role in a part of another.
	for _, roles := range []string{`["x,admin"]`, `["admin,x"]`, `[" admin"]`, `["admin\u0000"]`, `[["admin"]]`, `{"admin":true}`, `"x,admin"`} {
		if a := w.as(t, map[string]any{"roles": json.RawMessage(roles)}).ask(t, request{Target: "/admin"}); a.Status != http.StatusForbidden {
			t.Errorf("%s: got %s, want 403", roles, a)
		}
		w.nothingReached(t)
	}
	if a := w.as(t, map[string]any{"roles": []string{"x", "admin"}}).ask(t, request{Target: "/admin"}); a.Status != http.StatusOK {
		t.Errorf("with the role: got %s, want 200", a)
	}
	w.Upstream.Forget()
}

func objects(t *testing.T, _ *doors) {
	w := claimFront(t, "")
	for _, tt := range []struct {
		data   string // JSON
		member []string
	}{
		{`{"v":{"a":1},"o":{"member":"x"}}`, []string{"x"}},
		{`{"v":[{"a":1},[2]],"o":{"member":{"deeper":"x"}}}`, nil},
		{`{"o.member":"dotted","o":{"member":"nested"}}`, []string{"dotted"}},
		{`{"o":{"Member":"x","MEMBER":"y"}}`, nil},
		{`{"o":["member"]}`, nil},
		{`{"o":"member"}`, nil},
		{`{"o":{"member":null}}`, nil},
		{`{}`, nil},
		{`"text"`, nil},
		{`[]`, nil},
	} {
		head := w.told(t, map[string]any{"custom_data": json.RawMessage(tt.data)})
		absent(t, head, "X-Auth-V", "X-Auth-Percent", "X-Auth-Base64", "X-Auth-Word")
		exactly(t, head, "X-Auth-Member", tt.member...)
		if tt.data == `"text"` { // a text is one, whatever it is meant to be
			exactly(t, head, "X-Auth-Object", "text")
			continue
		}
		absent(t, head, "X-Auth-Object")
	}
}

func numbers(t *testing.T, _ *doors) {
	w := claimFront(t, "")
	for raw, want := range map[string]string{
		`1e21`: "1000000000000000000000", `0.1`: "0.1", `true`: "true", `false`: "false", `-0`: "0", `1.50`: "1.5", `1E-7`: "0.0000001", `12345678901234567890`: "12345678901234567890",
		`1700000000123`: "1700000000123", `9007199254740993`: "9007199254740993", `-1.0`: "-1", `0.30000000000000004`: "0.30000000000000004", `"2026-11-22T20:00:00Z"`: "2026-11-22T20:00:00Z",
		`1e999999999`: "", `1e-999999999`: "", `null`: "", `"1e21"`: "1e21",
	} {
		head := w.told(t, of(json.RawMessage(raw)))
		if want == "" {
			absent(t, head, "X-Auth-V", "X-Auth-Percent", "X-Auth-Base64", "X-Auth-Word")
			continue
		}
		exactly(t, head, "X-Auth-V", want)
		undone(t, head, want)
	}
}
