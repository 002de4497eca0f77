package explain_test

import (
	"encoding/json"
	"strings"
	"testing"

	"portero/internal/explain"
)

func TestParseClaims(t *testing.T) {
	t.Parallel()
	for flags, want := range map[string]string{
		"":                              `{}`,
		"name=Ann":                      `{"name":"Ann"}`,
		"name=":                         `{"name":""}`,
		"name=a=b":                      `{"name":"a=b"}`,
		"roles=admin":                   `{"roles":["admin"]}`,
		"roles=admin roles=dev":         `{"roles":["admin","dev"]}`,
		`roles=["a","b"]`:               `{"roles":["a","b"]}`,
		"x=1 x=2 x=3":                   `{"x":[1,2,3]}`,
		"level=3 big=12345678901234567": `{"big":12345678901234567,"level":3}`,
		"on=true off=false none=null":   `{"none":null,"off":false,"on":true}`,
		"a.b=1 a.c=x":                   `{"a":{"b":1,"c":"x"}}`,
		"a.b.c=1":                       `{"a":{"b":{"c":1}}}`,
		"https://corp.com/tier=gold":    `{"https://corp.com/tier":"gold"}`,
		`o={"a":1}`:                     `{"o":{"a":1}}`,
		"=x":                            "",
		"name":                          "",
		"a=1 a.b=2":                     "",
	} {
		got, err := explain.ParseClaims(strings.Fields(flags))
		text, jsonErr := json.Marshal(got)
		if jsonErr != nil {
			t.Fatal(jsonErr)
		}
		switch {
		case want == "" && err == nil:
			t.Errorf("%s: got %s, want an error", flags, text)
		case want != "" && (err != nil || string(text) != want):
			t.Errorf("%s: got %s, %v; want %s", flags, text, err, want)
		}
	}
}

func TestClaims(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		members map[string]any
		want    string
	}{
		"address":          {map[string]any{"email": "a@corp.com"}, `{"email":"a@corp.com","email_verified":true,"sub":"user-id"}`},
		"not verified":     {map[string]any{"email": "a@corp.com", "email_verified": false}, `{"email":"a@corp.com","email_verified":false,"sub":"user-id"}`},
		"no address":       {nil, `{"sub":"user-id"}`},
		"a subject of his": {map[string]any{"sub": "u1"}, `{"sub":"u1"}`},
	} {
		got, err := explain.Claims(tt.members)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := json.Marshal(got); err != nil || string(text) != tt.want {
			t.Errorf("%s: got %s, %v; want %s", name, text, err, tt.want)
		}
	}
}

// A table that is not understood whole is not run.
func TestReadTableRefuses(t *testing.T) {
	t.Parallel()
	const good = "people: {ann: {claims: {email: a@corp.com}}}\ntests:\n- {who: ann, url: /, want: allow}\n"
	table, err := explain.ReadTable([]byte(good))
	if err != nil || len(table.Cases) != 1 {
		t.Fatalf("got %v, %v", table, err)
	}
	for text, want := range map[string]string{
		"":                            "nothing in it",
		"people: {}\n":                "tests: there are none",
		"[]":                          "cannot unmarshal",
		good + "---\n" + good:         "more than one document",
		good + "more: 1\n":            "field more not found",
		good + "- {who: ann, url: /}": "want: \"\" is no decision",
		good + "- {who: ann, url: /, want: allowed}":                                 `line 4: want: "allowed" is no decision`,
		good + "- {url: /, want: allow}":                                             "who is missing",
		good + "- {who: ann, want: allow}":                                           "url is missing",
		good + "- {who: bob, url: /, want: allow}":                                   `who: "bob" is nobody of people`,
		good + "- {who: [], url: /, want: allow}":                                    "the list is empty",
		good + "- {who: ann, url: /, want: allow, from: [10.0.0.0/8]}":               "is no address",
		good + "- {who: ann, url: /, want: allow, wants: deny}":                      `line 4: "wants" is unknown`,
		good + "- {who: ann, url: /, want: allow, want: deny}":                       "already defined",
		"people: {nobody: {}}\n" + good[strings.Index(good, "tests"):]:               "people.nobody: nobody is who is not signed in",
		"people: {ann: {age: 3}}\n" + good[strings.Index(good, "tests"):]:            "people.ann: age:",
		"people: {ann: {age: -3h}}\n" + good[strings.Index(good, "tests"):]:          "people.ann: age:",
		"people: {ann: {email: a@corp.com}}\n" + good[strings.Index(good, "tests"):]: "field email not found",
	} {
		table, err := explain.ReadTable([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || len(table.Cases) > 0 {
			t.Errorf("%q:\n got %d cases, %v\n want an error with %q", text, len(table.Cases), err, want)
		}
	}
}
