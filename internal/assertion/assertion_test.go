package assertion_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"portero/internal/assertion"
	"portero/internal/identity"

	"github.com/google/go-cmp/cmp"
)

// authHeaders are names of no preset, as an operator would configure them.
var authHeaders = []assertion.Header{
	{Name: "X-Auth-Sub", Claims: []string{"sub"}},
	{Name: "X-Auth-Email", Claims: []string{"email"}},
	{Name: "X-Auth-Roles", Claims: []string{"roles"}, Join: ","},
	{Name: "x-auth-tenant", Claims: []string{"organizations"}}, // HS-11: not canonical
}

func TestApplyStrips(t *testing.T) { // HS-01 to HS-05, HS-07 to HS-13
	t.Parallel()
	set := newSet(t, authHeaders)
	alice := person(t, `{"sub":"u1","email":"alice@corp.com","email_verified":true,"roles":["dev"]}`)
	told := map[string]string{"X-Auth-Sub": "u1", "X-Auth-Email": "alice@corp.com", "X-Auth-Roles": "dev"}
	for _, test := range []struct {
		id      string
		request string // header lines, as the server would have them
	}{
		{"HS-01", "X-Auth-Email: root@corp"},
		{"HS-02", "X-Auth-Email: a|X-Auth-Email: a|X-Auth-Email: b"},
		{"HS-02", "x-auth-email: a|X-AUTH-EMAIL: b"},
		{"HS-03", "X_Auth_Email: root|X-Auth_Email: root|x_auth-email: root"},
		{"HS-04", "X.Auth.Email: r|X~Auth~Email: r|X!Auth!Email: r|X'Auth'Email: r|X`Auth`Email: r|X+Auth+Email: r|X¦Auth¦Email: r|X#Auth$Email: r|X%Auth&Email: r|X*Auth^Email: r"},
		{"HS-05", "X-Auth-Email: root|X-Auth-Sub: root|X-Auth-Roles: root"},
		{"HS-07", "x-auth-email: root|X-auth-sub: root"},
		{"HS-08", "X-Auth-Tenant: evil|X_Auth_Tenant: evil"},
		{"HS-11", "X-Auth-Tenant: evil|x-auth-tenant: evil"},
		{"HS-12", "Te: trailers|Trailer: X-Auth-Roles|TE: trailers"},
		{"HS-13", "Proxy: http://evil|X-Original-Method: GET|X-Rewrite-Url: /admin|X-Original-Url: /admin|X_Rewrite_URL: /admin|X-Http-Method-Override: DELETE|X-HTTP-Method: PUT|X-Method-Override: PUT"},
		{"PA-19", "X-Forwarded-Uri: /public/x|X-Original-Uri: /public|X-Forwarded-Prefix: //evil.test/|X-Forwarded-Method: OPTIONS|X-Auth-Request-Redirect: /"},
		{"presets", "X-Forwarded-User: r|X-Forwarded-Email: r|X-Forwarded-Preferred-Username: r|X-Forwarded-Name: r|X-Forwarded-Groups: r|X-Forwarded-Access-Token: r"},
		{"presets", "Remote-User: r|Remote_User: r|Remote-Email: r|Remote-Name: r|Remote-Groups: r|X-Auth-Request-User: r|X-Auth-Request-Preferred-Username: r|X-Auth-Request-Access-Token: r"},
		{"presets", "X-Webauth-User: r|X-Webauth-Groups: r|X-Pomerium-Claim-Sub: r|X-Pomerium-Claim-Anything: r|X-Pomerium-Jwt-Assertion: r|X-Portero-Assertion: r|X.Portero.Assertion: r"},
		{"addresses", "X-Real-Ip: r|X_Real_IP: r|Forwarded: for=r|X-Forwarded-For: r|X_Forwarded_For: r|X-Forwarded-Anything: r|True-Client-Ip: r|Cf-Connecting-Ip: r|X-Client-Ip: r|X-Cluster-Client-Ip: r|X-Scheme: r|Front-End-Https: on|X-Request-Id: r|X_Request_Id: r"},
		{"framing aliases", "Transfer_Encoding: chunked|Transfer.Encoding: chunked|Content_Length: 1|Content_Type: text/x-evil"},
		{"connection", "Keep-Alive: 5|Proxy-Connection: x|Proxy-Authorization: Basic x|Http2-Settings: x"},
	} {
		for who, id := range map[string]*identity.Identity{"alice": alice, "nobody": nil} { // HS-09, HS-10: nobody on public routes
			h := header(test.request)
			h["Accept"] = []string{"text/html"}
			if omitted := set.Apply(h, id); omitted != nil {
				t.Errorf("%s %s: omitted %q, want nothing", test.id, who, omitted)
			}
			want := http.Header{"Accept": {"text/html"}}
			if id != nil {
				for name, value := range told {
					want[name] = []string{value}
				}
			}
			if diff := cmp.Diff(want, h); diff != "" {
				t.Errorf("%s %s, %s: (-want +got)\n%s", test.id, who, test.request, diff)
			}
		}
	}
}

func TestApplyLeavesTheRest(t *testing.T) {
	t.Parallel()
	set := newSet(t, authHeaders)
	lines := "Accept: */*|Authorization: Basic eA==|Cookie: a=b|Content-Type: text/plain|Content-Length: 3|Transfer-Encoding: chunked|User-Agent: x|Upgrade: websocket|Connection: upgrade" +
		"|Sec-Websocket-Key: x|X-Requested-With: XMLHttpRequest|X-Csrf-Token: x|X-Auth-Token: x|X-Custom_Header: x|X-Real: x|X-Forward: x|Origin: https://x|Remote: x|Proxy-Mode: x|Depth: 1|If-Match: x|X-Auth-Emails: x|X--Auth-Email: x|Soapaction: x"
	for who, id := range map[string]*identity.Identity{"nobody": nil, "somebody without claims": {Subject: ""}} {
		got := header(lines)
		set.Apply(got, id)
		if diff := cmp.Diff(header(lines), got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", who, diff)
		}
	}
}

func TestNilSetStrips(t *testing.T) {
	t.Parallel()
	var set *assertion.Set
	h := header("X_Forwarded_Email: r|Remote-User: r|X-Real-Ip: r|Accept: x")
	if omitted := set.Apply(h, person(t, `{"sub":"u1"}`)); omitted != nil || !cmp.Equal(h, header("Accept: x")) {
		t.Errorf("Apply of a nil Set leaves %v, omits %q", h, omitted)
	}
	h = header("X-Forwarded-Email: r|Accept: x")
	set.StripResponse(h)
	if !cmp.Equal(h, header("Accept: x")) || set.Names() != nil {
		t.Errorf("StripResponse of a nil Set leaves %v", h)
	}
}

func TestStripResponse(t *testing.T) { // HS-15
	t.Parallel()
	h := header("X-Auth-Email: x|X_auth_email: x|x-auth-tenant: x|X-Forwarded-User: x|Remote-User: x|X-Pomerium-Jwt-Assertion: x|X-Portero-Assertion: x" +
		"|Set-Cookie: a=b|X-Accel-Buffering: no|X-Request-Id: theirs|Content-Type: text/html|Trailer: X-Sum|Location: /")
	newSet(t, authHeaders).StripResponse(h)
	want := header("Set-Cookie: a=b|X-Accel-Buffering: no|X-Request-Id: theirs|Content-Type: text/html|Trailer: X-Sum|Location: /")
	if diff := cmp.Diff(want, h); diff != "" {
		t.Errorf("StripResponse: (-want +got)\n%s", diff)
	}
}

func TestApplyClaims(t *testing.T) { // CL-01 to CL-08, CL-12
	t.Parallel()
	text := func(encoding assertion.Encoding) []assertion.Header {
		return []assertion.Header{{Name: "X-Auth-V", Claims: []string{"v"}, Encoding: encoding}}
	}
	list := func(encoding assertion.Encoding, join string) []assertion.Header {
		return []assertion.Header{{Name: "X-Auth-V", Claims: []string{"v"}, Encoding: encoding, Join: join}}
	}
	for _, test := range []struct {
		id      string
		headers []assertion.Header
		claim   string // JSON
		want    string // "": no header
		omitted bool
	}{
		{"CL-01", text(assertion.Strict), `"a\r\nX-Auth-Roles: admin"`, "", true},
		{"CL-01", text(assertion.Strict), `"a\nb"`, "", true},
		{"CL-01", text(assertion.Strict), `"a\rb"`, "", true},
		{"CL-01", text(assertion.Percent), `"a\r\nX-Auth-Roles: admin"`, "a%0D%0AX-Auth-Roles: admin", false},
		{"CL-01", text(assertion.RFC2047), `"a\r\nb"`, "=?utf-8?B?YQ0KYg==?=", false},
		{"CL-02", text(assertion.Strict), `"a\u0000"`, "", true},
		{"CL-02", text(assertion.Strict), `"a\u007fb"`, "", true},
		{"CL-02", text(assertion.Strict), `"a\tb"`, "", true},
		{"CL-02", text(assertion.Percent), `"a\u0000\u007f\tb"`, "a%00%7F%09b", false},
		{"CL-03", text(assertion.Strict), `"José"`, "", true},
		{"CL-03", text(assertion.Percent), `"José 张 😀"`, "Jos%C3%A9 %E5%BC%A0 %F0%9F%98%80", false},
		{"CL-03", text(assertion.Percent), `"100% + \"x\""`, "100%25 %2B %22x%22", false},
		{"CL-03", text(assertion.Base64), `"José"`, "Sm9zw6k=", false},
		{"CL-03", text(assertion.RFC2047), `"José"`, "=?utf-8?B?Sm9zw6k=?=", false},
		{"CL-03", text(assertion.RFC2047), `"Jose"`, "Jose", false},
		{"CL-03", text(assertion.RFC2047), `"=?utf-8?q?root?="`, "=?utf-8?B?PT91dGYtOD9xP3Jvb3Q/PQ==?=", false},
		{"CL-04", text(assertion.Strict), `"` + strings.Repeat("a", 4096) + `"`, strings.Repeat("a", 4096), false},
		{"CL-04", text(assertion.Strict), `"` + strings.Repeat("a", 4097) + `"`, "", true},
		{"CL-04", text(assertion.Base64), `"` + strings.Repeat("a", 4096) + `"`, "", true},
		{"CL-04", list(assertion.Strict, ","), `["` + strings.Repeat(`role","`, 2000) + `x"]`, "", true},
		{"CL-05", list(assertion.Strict, ","), `["a,b","c"]`, "c", true},
		{"CL-05", list(assertion.Percent, ","), `["a,b","c"]`, "a%2Cb,c", false},
		{"CL-05", list(assertion.Base64, ","), `["a,b","c"]`, "YSxi,Yw==", false},
		{"CL-05", list(assertion.RFC2047, ","), `["a,b","c"]`, "=?utf-8?B?YSxi?=,c", false},
		{"CL-05", list(assertion.Strict, ","), `"a,admin"`, "", true},
		{"CL-05", list(assertion.Percent, ","), `"a,admin"`, "a%2Cadmin", false},
		{"CL-05", text(assertion.Strict), `["a,b","c"]`, "c", true},
		{"CL-05", text(assertion.Strict), `["a","c"]`, "a,c", false},
		{"CL-05", text(assertion.Strict), `"Lee, Ann"`, "Lee, Ann", false},
		{"CL-05", list(assertion.Strict, ","), `["a b"]`, "a b", false},
		{"CL-05", list(assertion.Strict, " "), `["a b","c"]`, "c", true},
		{"CL-05", list(assertion.Percent, " "), `["a b","c"]`, "a%20b c", false},
		{"CL-05", list(assertion.Strict, ", "), `["a b","c","d,e"]`, "a b, c", true},
		{"CL-05", list(assertion.Strict, ","), `["a","José"," admin"]`, "a", true},
		{"CL-05", list(assertion.Strict, ","), `[]`, "", false},
		{"CL-05", list(assertion.Strict, ","), `[""]`, "", false},
		{"CL-05", list(assertion.Strict, ","), `[1,true,null]`, "1,true", false},
		{"CL-05", list(assertion.Percent, ","), `["",{}]`, "", false},
		{"CL-06", text(assertion.Strict), `{"a":1}`, "", false},
		{"CL-06", text(assertion.Strict), `null`, "", false},
		{"CL-07", text(assertion.Strict), `" admin"`, "", true},
		{"CL-07", text(assertion.Strict), `"admin "`, "", true},
		{"CL-07", text(assertion.Strict), `" "`, "", true},
		{"CL-07", text(assertion.Percent), `" ad min "`, "%20ad min%20", false},
		{"CL-07", text(assertion.RFC2047), `" a"`, "=?utf-8?B?IGE=?=", false},
		{"CL-08", text(assertion.Strict), `1e21`, "1000000000000000000000", false},
		{"CL-08", text(assertion.Strict), `0.1`, "0.1", false},
		{"CL-08", text(assertion.Strict), `true`, "true", false},
		{"CL-12", text(assertion.Strict), `"${env.SECRET}{{.Secret}}%s%n$(id)"`, "${env.SECRET}{{.Secret}}%s%n$(id)", false},
	} {
		h := header("X-Auth-V: evil|X_Auth_V: evil")
		omitted := newSet(t, test.headers).Apply(h, person(t, `{"sub":"u1","v":`+test.claim+`}`))
		want := http.Header{}
		if test.want != "" {
			want["X-Auth-V"] = []string{test.want}
		}
		if diff := cmp.Diff(want, h); diff != "" || (len(omitted) > 0) != test.omitted {
			t.Errorf("%s %v of %.60s: omitted %q, want some: %t; (-want +got)\n%s", test.id, test.headers[0].Encoding, test.claim, omitted, test.omitted, diff)
		}
		for _, o := range omitted {
			if !strings.HasPrefix(o, "X-Auth-V: ") || strings.Contains(o, "admin") {
				t.Errorf("%s: the report %q lacks the name or has the value", test.id, o)
			}
		}
	}
}

func TestApplyTotal(t *testing.T) { // CL-04
	t.Parallel()
	var headers []assertion.Header
	for i := range 6 {
		headers = append(headers, assertion.Header{Name: fmt.Sprintf("X-Auth-V%d", i), Claims: []string{"v"}})
	}
	headers = append(headers, assertion.Header{Name: "X-Auth-Sub", Claims: []string{"sub"}})
	h := http.Header{}
	omitted := newSet(t, headers).Apply(h, person(t, `{"sub":"u1","v":"`+strings.Repeat("a", 4000)+`"}`))
	if len(omitted) != 2 || len(h) != 5 || h.Get("X-Auth-Sub") != "u1" {
		t.Errorf("omitted %q, left %d headers; want two omitted and the small one sent", omitted, len(h))
	}
}

func TestDefaultsAndPresets(t *testing.T) {
	t.Parallel()
	id := person(t, `{"sub":"u1","email":"Ann@corp.com","email_verified":true,"name":"Ann Ő","username":"ann","roles":["admin","dev"]}`)
	noName := person(t, `{"sub":"u2","email":"bob@corp.com","email_verified":true}`)
	for preset, want := range map[string][2]string{
		"": {"X-Forwarded-Email: ann@corp.com|X-Forwarded-Groups: admin,dev|X-Forwarded-Name: Ann %C5%90|X-Forwarded-Preferred-Username: ann|X-Forwarded-User: u1",
			"X-Forwarded-Email: bob@corp.com|X-Forwarded-Preferred-Username: bob@corp.com|X-Forwarded-User: u2"},
		"none": {"", ""},
		"remote-user": {"Remote-Email: ann@corp.com|Remote-Groups: admin,dev|Remote-Name: Ann %C5%90|Remote-User: ann@corp.com",
			"Remote-Email: bob@corp.com|Remote-User: bob@corp.com"},
		"auth-request": {"X-Auth-Request-Email: ann@corp.com|X-Auth-Request-Groups: admin,dev|X-Auth-Request-Preferred-Username: ann|X-Auth-Request-User: u1",
			"X-Auth-Request-Email: bob@corp.com|X-Auth-Request-Preferred-Username: bob@corp.com|X-Auth-Request-User: u2"},
		"grafana": {"X-Webauth-Email: ann@corp.com|X-Webauth-Groups: admin,dev|X-Webauth-Name: Ann %C5%90|X-Webauth-User: ann@corp.com",
			"X-Webauth-Email: bob@corp.com|X-Webauth-User: bob@corp.com"},
		"pomerium": {"X-Pomerium-Claim-Email: ann@corp.com|X-Pomerium-Claim-Groups: admin,dev|X-Pomerium-Claim-Name: Ann %C5%90|X-Pomerium-Claim-Sub: u1",
			"X-Pomerium-Claim-Email: bob@corp.com|X-Pomerium-Claim-Sub: u2"},
	} {
		headers, err := assertion.Preset(preset)
		if err != nil {
			t.Fatal(err)
		}
		set := newSet(t, headers)
		for i, id := range []*identity.Identity{id, noName} {
			h := http.Header{}
			if omitted := set.Apply(h, id); omitted != nil {
				t.Errorf("preset %q omits %q", preset, omitted)
			}
			if diff := cmp.Diff(header(want[i]), h); diff != "" {
				t.Errorf("preset %q: (-want +got)\n%s", preset, diff)
			}
		}
		for _, name := range set.Names() { // invariant 2: what one preset emits, every Set removes
			var none *assertion.Set
			if !none.Strips(name) || !none.Strips(strings.ReplaceAll(name, "-", "_")) {
				t.Errorf("%s of preset %q is not removed everywhere", name, preset)
			}
		}
	}
	if _, err := assertion.Preset("Grafana"); err == nil {
		t.Error("an unknown preset is accepted")
	}
	unverified := person(t, `{"sub":"u1","email":"ann@corp.com"}`)
	h := http.Header{}
	newSet(t, assertion.DefaultHeaders()).Apply(h, unverified)
	if diff := cmp.Diff(header("X-Forwarded-User: u1"), h); diff != "" {
		t.Errorf("an unverified address: (-want +got)\n%s", diff)
	}
}

func TestNewSetRefuses(t *testing.T) { // CL-11
	t.Parallel()
	named := func(names ...string) (headers []assertion.Header) {
		for _, name := range names {
			headers = append(headers, assertion.Header{Name: name, Claims: []string{"sub"}})
		}
		return headers
	}
	for _, name := range []string{"", " ", "X Auth", "X-Auth:", "X-Auth\n", "X-Jos\u00e9", "Host", "Content-Length", "content_length", "Transfer-Encoding", "Transfer.Encoding", "Connection",
		"Cookie", "Set-Cookie", "Authorization", "X-Forwarded-For", "X_Forwarded_Host", "X-Forwarded-Proto", "X-Real-IP", "X-Request-Id", "Forwarded", "Proxy", "TE", "Trailer",
		"Upgrade", "Keep-Alive", "Via", "X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override", "X-Portero-Assertion", "Content-Type", "Sec-Fetch-Site", "If-Match"} {
		if set, err := assertion.NewSet(named("X-Fine", name)); err == nil || set != nil || !strings.Contains(err.Error(), "headers[1].name: ") {
			t.Errorf("NewSet with the name %q: %v; want an error", name, err)
		}
	}
	for _, pair := range [][]assertion.Header{named("X-Auth-A", "x-auth-a"), named("X-Auth-A", "X_Auth_A"), named("X-Auth-A", "X.Auth-A")} {
		if _, err := assertion.NewSet(pair); err == nil || !strings.Contains(err.Error(), "headers[1].name: ") {
			t.Errorf("NewSet(%s and %s): %v; want an error", pair[0].Name, pair[1].Name, err)
		}
	}
	for name, h := range map[string]assertion.Header{
		"no claim":               {Name: "X-A"},
		"empty claim":            {Name: "X-A", Claims: []string{"a", ""}},
		"unknown encoding":       {Name: "X-A", Claims: []string{"a"}, Encoding: 9},
		"letter as separator":    {Name: "X-A", Claims: []string{"a"}, Join: "x"},
		"newline as separator":   {Name: "X-A", Claims: []string{"a"}, Join: "\n"},
		"two blanks":             {Name: "X-A", Claims: []string{"a"}, Join: "  "},
		"long separator":         {Name: "X-A", Claims: []string{"a"}, Join: ",,,,,"},
		"percent, percent":       {Name: "X-A", Claims: []string{"a"}, Join: "%", Encoding: assertion.Percent},
		"base64, plus":           {Name: "X-A", Claims: []string{"a"}, Join: "+", Encoding: assertion.Base64},
		"rfc2047, question mark": {Name: "X-A", Claims: []string{"a"}, Join: "?", Encoding: assertion.RFC2047},
		"rfc2047, blank":         {Name: "X-A", Claims: []string{"a"}, Join: " ", Encoding: assertion.RFC2047},
	} {
		if _, err := assertion.NewSet([]assertion.Header{h}); err == nil || !strings.Contains(err.Error(), "headers[0].") {
			t.Errorf("NewSet, %s: %v; want an error", name, err)
		}
	}
	set := newSet(t, named("X-Forwarded-Department", "X-Auth-User", "REMOTE_USER", "X-Portero-User"))
	if diff := cmp.Diff([]string{"X-Forwarded-Department", "X-Auth-User", "Remote_user", "X-Portero-User"}, set.Names()); diff != "" {
		t.Errorf("Names: (-want +got)\n%s", diff)
	}
}

func TestParseEncoding(t *testing.T) {
	t.Parallel()
	for _, e := range []assertion.Encoding{assertion.Strict, assertion.Percent, assertion.Base64, assertion.RFC2047} {
		if got, err := assertion.ParseEncoding(e.String()); got != e || err != nil {
			t.Errorf("ParseEncoding(%s) = %v, %v", e, got, err)
		}
	}
	if _, err := assertion.ParseEncoding("Percent"); err == nil {
		t.Error("ParseEncoding takes other case")
	}
}

// header makes a header map of lines separated by |, without making names canonical. In a name, ¦ stands for |.
func header(lines string) http.Header {
	h := http.Header{}
	for line := range strings.SplitSeq(lines, "|") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			name = strings.ReplaceAll(name, "¦", "|")
			h[name] = append(h[name], value)
		}
	}
	return h
}

func newSet(t testing.TB, headers []assertion.Header) *assertion.Set {
	t.Helper()
	set, err := assertion.NewSet(headers)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func person(t testing.TB, claims string) *identity.Identity {
	t.Helper()
	c, err := identity.ParseClaims([]byte(claims))
	if err != nil {
		t.Fatal(err)
	}
	id, err := identity.New(c, identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &id
}

// A name that one set of a gateway sets is removed by all of them, and set by that one alone.
func TestTogether(t *testing.T) {
	t.Parallel()
	set := func(name string) *assertion.Set {
		s, err := assertion.NewSet([]assertion.Header{{Name: name, Claims: []string{"sub"}}})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	sets := []*assertion.Set{set("X-Badge"), nil, set("X-Team")}
	assertion.Together(sets)
	for i, name := range map[int]string{0: "X-Badge", 2: "X-Team"} {
		h := http.Header{"X-Badge": {"root"}, "X_team": {"root"}, "X-Teams": {"kept"}}
		sets[i].Apply(h, &identity.Identity{Subject: "u1"})
		if diff := cmp.Diff(http.Header{name: {"u1"}, "X-Teams": {"kept"}}, h); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		answer := http.Header{"X-Badge": {"root"}, "X-Team": {"root"}}
		if sets[i].StripResponse(answer); len(answer) != 0 {
			t.Errorf("%s: an answer keeps %v", name, answer)
		}
	}
}
