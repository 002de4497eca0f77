package identity_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"portero/internal/identity"

	"github.com/google/go-cmp/cmp"
)

func TestParseClaimsRefuses(t *testing.T) {
	t.Parallel()
	for name, data := range map[string]string{
		"nothing":                   ``,
		"null":                      `null`,
		"list":                      `[]`,
		"text":                      `"a"`,
		"trailing data":             `{} {}`,
		"trailing comma":            `{"a":1,}`,
		"unfinished":                `{"a":`,
		"duplicate":                 `{"sub":"a","sub":"b"}`,
		"duplicate by escape":       `{"sub":"a","\u0073ub":"b"}`,
		"nested duplicate":          `{"a":[{"b":1,"b":1}]}`,
		"invalid UTF-8":             "{\"a\":\"\xff\"}",
		"too deep, lists":           `{"a":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`,
		"too deep, objects":         strings.Repeat(`{"a":`, 33) + "1" + strings.Repeat("}", 33),
		"too large":                 `{"a":"` + strings.Repeat("x", 64<<10) + `"}`,
		"names that read the same":  `{"\ud800":1,"\ud801":2}`,
		"comment":                   `{/**/}`,
		"single quotes":             `{'a':1}`,
		"byte order mark":           "\ufeff{}",
		"raw newline inside a text": "{\"a\":\"\n\"}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c, err := identity.ParseClaims([]byte(data)); err == nil || c != nil {
				t.Errorf("ParseClaims(%.60s) = %v, %v; want an error", data, c, err)
			} else if strings.Contains(err.Error(), "xxx") {
				t.Errorf("the error quotes the input: %v", err)
			}
		})
	}
}

func TestParseClaimsAccepts(t *testing.T) {
	t.Parallel()
	got := parse(t, ` {"a":1.50,"A":null,"l":[1,"x",{"y":true}],"o":{}} `)
	want := identity.Claims{"a": json.Number("1.50"), "A": nil, "l": []any{json.Number("1"), "x", map[string]any{"y": true}}, "o": map[string]any{}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ParseClaims: (-want +got)\n%s", diff)
	}
}

func TestClaimsLookup(t *testing.T) {
	t.Parallel()
	c := parse(t, `{
		"custom_data": {"department": "it", "a.b": 1, "deep": {"er": [1,2]}},
		"a.b": "exact", "a": {"b": "nested"},
		"https://example.com/role": "admin",
		"null": null, "text": "x"}`)
	for _, test := range []struct {
		path  string
		want  any
		found bool
	}{
		{"", nil, false},
		{".", nil, false},
		{"absent", nil, false},
		{"text.x", nil, false},
		{"null.x", nil, false},
		{"Text", nil, false},
		{"custom_data.", nil, false},
		{"custom_data.absent", nil, false},
		{"custom_data.deep.er.0", nil, false},
		{"text", "x", true},
		{"null", nil, true},
		{"custom_data.department", "it", true},
		{"custom_data.a.b", json.Number("1"), true},
		{"custom_data.deep.er", []any{json.Number("1"), json.Number("2")}, true},
		{"a.b", "exact", true},
		{"https://example.com/role", "admin", true},
	} {
		got, found := c.Lookup(test.path)
		if found != test.found || !cmp.Equal(got, test.want) {
			t.Errorf("Lookup(%q) = %v, %t; want %v, %t", test.path, got, found, test.want, test.found)
		}
	}
	if _, found := identity.Claims(nil).Lookup("x"); found {
		t.Error("no claims at all have a claim")
	}
}

func TestClaimsText(t *testing.T) { // CL-06, CL-08
	t.Parallel()
	for value, want := range map[string]string{
		`null`: "", `[]`: "", `["a"]`: "", `{}`: "", `{"a":1}`: "", `""`: "",
		`"a"`: "a", `" a "`: " a ", `"${env.SECRET}{{.Secret}}%s%n"`: "${env.SECRET}{{.Secret}}%s%n",
		`true`: "true", `false`: "false",
		`0`: "0", `-0`: "0", `-0.0`: "0", `0e5`: "0", `1`: "1", `-1`: "-1", `1.0`: "1", `1.50`: "1.5", `0.1`: "0.1", `-0.10`: "-0.1",
		`1e21`: "1000000000000000000000", `1E+3`: "1000", `1.25e1`: "12.5", `125e-1`: "12.5", `1e-7`: "0.0000001", `-12.5e-3`: "-0.0125",
		`12345678901234567890123`: "12345678901234567890123", `1e999999999`: "", `1e99999999999999999999`: "", `1e-999999999`: "",
		strings.Repeat("1", 65): "", strings.Repeat("1", 64): strings.Repeat("1", 64), `1e64`: "",
	} {
		if got := parse(t, `{"v":`+value+`}`).Text("v"); got != want {
			t.Errorf("Text of %s = %q, want %q", value, got, want)
		}
	}
	c := identity.Claims{"f": 1e21, "i": 7, "l": int64(-8), "nested": identity.Claims{"x": "y"}, "list": []string{"a", ""}}
	for path, want := range map[string]string{"f": "1000000000000000000000", "i": "7", "l": "-8", "nested.x": "y", "list": ""} {
		if got := c.Text(path); got != want {
			t.Errorf("Text(%s) of claims written in Go = %q, want %q", path, got, want)
		}
	}
	if got := c.List("list"); !cmp.Equal(got, []string{"a"}) {
		t.Errorf("List of claims written in Go = %q, want [a]", got)
	}
}

func TestClaimsList(t *testing.T) { // CL-05
	t.Parallel()
	for value, want := range map[string][]string{
		`null`: nil, `[]`: nil, `[""]`: nil, `{}`: nil, `""`: nil, `[null,{},["x"]]`: nil,
		`"a b,c"`: {"a b,c"}, `["a,b","c"]`: {"a,b", "c"}, `[1,true,null,"x"]`: {"1", "true", "x"}, `7`: {"7"}, `false`: {"false"},
	} {
		if got := parse(t, `{"v":`+value+`}`).List("v"); !cmp.Equal(got, want) {
			t.Errorf("List of %s = %q, want %q", value, got, want)
		}
	}
}

func TestClaimsWith(t *testing.T) {
	t.Parallel()
	token, userinfo := identity.Claims{"sub": "a"}, identity.Claims{"sub": "b", "custom_data": "x"}
	if got, want := token.With(userinfo), (identity.Claims{"sub": "a", "custom_data": "x"}); !cmp.Equal(got, want) {
		t.Errorf("With = %v, want %v", got, want)
	}
	if len(token) != 1 || len(userinfo) != 2 {
		t.Error("With changed what it was given")
	}
}

// FuzzParseClaims: what is accepted has one meaning, so writing it and reading it again changes nothing.
func FuzzParseClaims(f *testing.F) {
	for _, seed := range []string{`{}`, `{"sub":"a","sub":"b"}`, `{"a":{"b":[1,2,{"c":null}]}}`, `{"a":1e21}`, `[]`, `{"\ud800":1}`, `{} x`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := identity.ParseClaims(data)
		if err != nil {
			return
		}
		var loose map[string]any
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.UseNumber() // as ParseClaims does: a number that no float64 holds is one too
		if err := decoder.Decode(&loose); err != nil || len(loose) != len(c) {
			t.Fatalf("ParseClaims(%q) has %d members, encoding/json %d (%v)", data, len(c), len(loose), err)
		}
		for name := range c {
			for _, r := range c.Text(name) {
				if _, number := c[name].(json.Number); number && !strings.ContainsRune("-.0123456789", r) {
					t.Fatalf("Text of the number %v has %q", c[name], r)
				}
			}
		}
		written, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := identity.ParseClaims(written)
		if err != nil && len(written) <= 64<<10 {
			t.Fatalf("ParseClaims(%q), written again: %v", data, err)
		}
		if err == nil && !cmp.Equal(again, c) {
			t.Fatalf("ParseClaims(%q) changes when written and read again", data)
		}
	})
}

// FuzzNormalEmail: an address that counts has one domain, whoever splits it.
func FuzzNormalEmail(f *testing.F) {
	for _, seed := range []string{"a@corp.com", "a@evil@corp.com", `"a@corp.com"@evil`, "@", "a@ b", "A@CORP", "a@\u212aorp.com"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := identity.NormalEmail(s)
		if got == "" {
			return
		}
		if first, last := strings.Index(got, "@"), strings.LastIndex(got, "@"); first != last || first < 1 || first == len(got)-1 {
			t.Errorf("NormalEmail(%q) = %q, which has no single @ in the middle", s, got)
		}
		if len(got) != len(s) || identity.NormalEmail(got) != got {
			t.Errorf("NormalEmail(%q) = %q: not stable", s, got)
		}
	})
}
