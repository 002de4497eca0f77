package assertion_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"portero/internal/assertion"
	"portero/internal/identity"

	"github.com/google/go-cmp/cmp"
)

func TestMaxBytesAndOverflow(t *testing.T) { // CL-04
	t.Parallel()
	long := func(n int) string { return strings.Repeat("a", n) }
	one := func(h assertion.Header) []assertion.Header {
		h.Name, h.Claims = "X-Auth-V", []string{"v"}
		return []assertion.Header{h}
	}
	for _, test := range []struct {
		name     string
		headers  []assertion.Header
		claim    string // JSON
		want     string // "": no header
		overflow string
	}{
		{"at the default limit", one(assertion.Header{Deny: true}), `"` + long(4096) + `"`, long(4096), ""},
		{"over the default limit", one(assertion.Header{Deny: true}), `"` + long(4097) + `"`, "", "X-Auth-V"},
		{"over it, left out", one(assertion.Header{}), `"` + long(4097) + `"`, "", ""},
		{"at a limit of its own", one(assertion.Header{MaxBytes: 5, Deny: true}), `"admin"`, "admin", ""},
		{"over a limit of its own", one(assertion.Header{MaxBytes: 5, Deny: true}), `"admin2"`, "", "X-Auth-V"}, // never cut to admin
		{"over it, left out", one(assertion.Header{MaxBytes: 5}), `"admin2"`, "", ""},
		{"a limit of one", one(assertion.Header{MaxBytes: 1, Deny: true}), `"a"`, "a", ""},
		{"the largest limit", one(assertion.Header{MaxBytes: 16384, Deny: true}), `"` + long(16384) + `"`, long(16384), ""},
		{"over the largest limit", one(assertion.Header{MaxBytes: 16384, Deny: true}), `"` + long(16385) + `"`, "", "X-Auth-V"},
		{"what counts is what is sent", one(assertion.Header{MaxBytes: 5, Deny: true, Encoding: assertion.Percent}), `"José"`, "", "X-Auth-V"},
		{"in base64", one(assertion.Header{MaxBytes: 7, Deny: true, Encoding: assertion.Base64}), `"José"`, "", "X-Auth-V"},
		{"in words", one(assertion.Header{MaxBytes: 19, Deny: true, Encoding: assertion.RFC2047}), `"José"`, "", "X-Auth-V"},
		{"in words, at the limit", one(assertion.Header{MaxBytes: 20, Deny: true, Encoding: assertion.RFC2047}), `"José"`, "=?utf-8?B?Sm9zw6k=?=", ""},
		{"a list", one(assertion.Header{MaxBytes: 7, Deny: true, Join: ","}), `["aaa","bbb"]`, "aaa,bbb", ""},
		{"a list over the limit", one(assertion.Header{MaxBytes: 6, Deny: true, Join: ","}), `["aaa","bbb"]`, "", "X-Auth-V"}, // not its first element
		{"no claim", one(assertion.Header{MaxBytes: 1, Deny: true}), `null`, "", ""},
		{"what cannot be encoded is not too long", one(assertion.Header{MaxBytes: 2, Deny: true}), `"José"`, "", ""},
		{"all together", append([]assertion.Header{{Name: "X-A", Claims: []string{"v"}, MaxBytes: 16384}, {Name: "X-B", Claims: []string{"v"}, MaxBytes: 16384}},
			one(assertion.Header{MaxBytes: 16384, Deny: true})...), `"` + long(8192) + `"`, "", "X-Auth-V"},
		{"all together, one before it left out", append([]assertion.Header{{Name: "X-A", Claims: []string{"v"}, MaxBytes: 16384}, {Name: "X-B", Claims: []string{"v"}, MaxBytes: 16384}, {Name: "X-C", Claims: []string{"v"}, MaxBytes: 16384}},
			one(assertion.Header{Deny: true})...), `"` + long(4000) + `"`, long(4000), ""},
	} {
		set := newSet(t, test.headers)
		id := person(t, `{"sub":"u1","v":`+test.claim+`}`)
		if got := set.Overflow(id); got != test.overflow {
			t.Errorf("%s: Overflow is %q, want %q", test.name, got, test.overflow)
		}
		h := header("X-Auth-V: evil")
		omitted := set.Apply(h, id)
		if got := h.Get("X-Auth-V"); got != test.want {
			t.Errorf("%s: got %.60q, want %.60q", test.name, got, test.want)
		}
		if test.overflow != "" && !strings.Contains(strings.Join(omitted, "\n"), "X-Auth-V: ") {
			t.Errorf("%s: omitted %q, want X-Auth-V in it", test.name, omitted)
		}
		if set.Overflow(nil) != "" {
			t.Errorf("%s: overflows for nobody", test.name)
		}
	}
	var none *assertion.Set
	if none.Overflow(person(t, `{"sub":"u1"}`)) != "" {
		t.Error("a nil Set overflows")
	}
	for _, n := range []int{-1, 16385} {
		if _, err := assertion.NewSet(one(assertion.Header{MaxBytes: n})); err == nil || !strings.Contains(err.Error(), "headers[0].max_bytes: ") {
			t.Errorf("max_bytes %d: %v; want an error", n, err)
		}
	}
}

// Every preset, with every encoding put in the place of its own: whatever is in the claims, a header is legal, sent once, within
// its limit, and says nothing that was not a claim.
func TestHostileClaimsInEveryPreset(t *testing.T) { // CL-01 to CL-08, CL-10, CL-12
	t.Parallel()
	hostile := []string{"a\r\nX-Auth-Roles: admin", "a\nb", "a\x00b", "a\x7fb", "a\tb", "José 张 😀", "\u202eadmin", "e\u0301", " admin", "admin ", "a,admin",
		`a","admin`, "${env.SECRET}", "{{.Secret}}", "%s%n", "ADMİN", "аdmin", strings.Repeat("x", 5000), strings.Repeat("é", 2000)}
	for _, preset := range []string{"", "remote-user", "auth-request", "pomerium", "grafana", "none"} {
		for e := assertion.Strict; e <= assertion.RFC2047; e++ {
			for _, deny := range []bool{false, true} {
				headers, err := assertion.Preset(preset)
				if err != nil {
					t.Fatal(err)
				}
				for i := range headers {
					headers[i].Encoding, headers[i].Deny = e, deny
				}
				set := newSet(t, headers)
				for _, value := range hostile {
					id := &identity.Identity{Subject: "u1", Email: "a@corp.com", Name: value, Username: value, Roles: []string{"user", value}}
					h := http.Header{}
					for _, name := range set.Names() {
						h[name] = []string{"spoof", "spoof"}
						h[strings.ReplaceAll(name, "-", "_")] = []string{"spoof"}
					}
					set.Apply(h, id)
					for name, values := range h {
						if len(values) != 1 || !slices.Contains(set.Names(), name) {
							t.Fatalf("preset %q, %v: %s is %q", preset, e, name, values)
						}
						got := values[0]
						if len(got) > 4096 || got == "" || got != strings.TrimSpace(got) || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r > '~' }) {
							t.Errorf("preset %q, %v, %.30q: %s is %.60q", preset, e, value, name, got)
						}
						for _, element := range strings.Split(got, ",") {
							if element == "admin" || strings.Contains(element, "spoof") {
								t.Errorf("preset %q, %v, %.30q: %s says %.60q", preset, e, value, name, got)
							}
						}
					}
					tooLong := set.Overflow(id) != ""
					if want := deny && len(value) > 1000 && preset != "none"; tooLong && !want {
						t.Errorf("preset %q, %v, %.30q: denied", preset, e, value)
					}
				}
			}
		}
	}
}

func TestOtherHeadersAreRemoved(t *testing.T) {
	t.Parallel()
	set, err := assertion.NewSet(authHeaders, "X-Corp-Jwt", "x-portero-assertion")
	if err != nil {
		t.Fatal(err)
	}
	h := header("X-Corp-Jwt: evil|x_corp_jwt: evil|X.Corp.JWT: evil|X-Portero-Assertion: evil|X_Portero_Assertion: evil|X-Pomerium-Jwt-Assertion: evil|Accept: x")
	set.Apply(h, person(t, `{"sub":"u1"}`))
	if diff := cmp.Diff(header("X-Auth-Sub: u1|Accept: x"), h); diff != "" {
		t.Errorf("a request: (-want +got)\n%s", diff)
	}
	h = header("X-Corp-Jwt: evil|X_corp_jwt: evil|X-Sum: 1")
	set.StripResponse(h)
	if diff := cmp.Diff(header("X-Sum: 1"), h); diff != "" {
		t.Errorf("an answer: (-want +got)\n%s", diff)
	}
	for _, name := range []string{"", "X Corp", "Authorization", "Cookie", "X-Forwarded-For", "X-Auth-Sub", "x_auth_sub", "Content-Type"} {
		if _, err := assertion.NewSet(authHeaders, name); err == nil || !strings.Contains(err.Error(), "assertion.header: ") {
			t.Errorf("%q: %v; want an error", name, err)
		}
	}
}
