package identity_test

import (
	"strings"
	"testing"

	"portero/internal/identity"

	"github.com/google/go-cmp/cmp"
)

func TestNewRefusesSubject(t *testing.T) {
	t.Parallel()
	for name, json := range map[string]string{
		"missing":           `{}`,
		"null":              `{"sub":null}`,
		"empty":             `{"sub":""}`,
		"number":            `{"sub":1}`,
		"list":              `{"sub":["a"]}`,
		"other case":        `{"SUB":"a"}`,
		"newline":           `{"sub":"a\nb"}`,
		"NUL":               `{"sub":"a\u0000"}`,
		"DEL":               `{"sub":"a\u007f"}`,
		"C1 control":        `{"sub":"a\u0085"}`,
		"256 bytes":         `{"sub":"` + strings.Repeat("a", 256) + `"}`,
		"nested is no path": `{"custom":{"sub":"a"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id, err := identity.New(parse(t, json), identity.Options{})
			if err == nil || id.Subject != "" {
				t.Errorf("New(%s) = %+v, %v; want an error and nobody", json, id, err)
			}
		})
	}
}

func TestNewEmail(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, json, want, unverified string
	}{
		{"no address", `{}`, "", ""},
		{"verified", `"email":"a@corp.com","email_verified":true`, "a@corp.com", "a@corp.com"},
		{"lower case", `"email":"Ann.B@CORP.com","email_verified":true`, "ann.b@corp.com", "ann.b@corp.com"},
		{"unverified", `"email":"a@corp.com","email_verified":false`, "", "a@corp.com"},
		{"verification unknown", `"email":"a@corp.com"`, "", "a@corp.com"},
		{"verified as text", `"email":"a@corp.com","email_verified":"true"`, "", "a@corp.com"},
		{"verified as number", `"email":"a@corp.com","email_verified":1`, "", "a@corp.com"},
		{"two at signs", `"email":"a@evil@corp.com","email_verified":true`, "", ""},
		{"quoted local part", `"email":"\"a@corp.com\"@evil","email_verified":true`, "", ""},
		{"no at sign", `"email":"corp.com","email_verified":true`, "", ""},
		{"no local part", `"email":"@corp.com","email_verified":true`, "", ""},
		{"no domain", `"email":"a@","email_verified":true`, "", ""},
		{"inner blank", `"email":"a b@corp.com","email_verified":true`, "", ""},
		{"trailing blank", `"email":"a@corp.com ","email_verified":true`, "", ""},
		{"no-break space", `"email":"a@corp.com\u00a0","email_verified":true`, "", ""},
		{"newline", `"email":"a@corp.com\n","email_verified":true`, "", ""},
		{"NUL", `"email":"a\u0000@corp.com","email_verified":true`, "", ""},
		{"lone surrogate", `"email":"a\ud800@corp.com","email_verified":true`, "", ""},
		{"too long", `"email":"` + strings.Repeat("a", 320) + `@corp.com","email_verified":true`, "", ""},
		{"list", `"email":["a@corp.com"],"email_verified":true`, "", ""},
		{"number", `"email":1,"email_verified":true`, "", ""},
		{"Kelvin sign is no k", `"email":"a@\u212aorp.com","email_verified":true`, "a@\u212aorp.com", "a@\u212aorp.com"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			json := `{"sub":"u1"}`
			if test.json != `{}` {
				json = `{"sub":"u1",` + test.json + `}`
			}
			for options, want := range map[identity.Options]string{{}: test.want, {UnverifiedEmail: true}: test.unverified} {
				id, err := identity.New(parse(t, json), options)
				if err != nil || id.Email != want {
					t.Errorf("New(%s, %+v).Email = %q, %v; want %q", json, options, id.Email, err, want)
				}
				if got := id.Text("email"); got != want {
					t.Errorf("Text(email) = %q, want %q", got, want)
				}
				if got := strings.Join(id.List("email"), "|"); got != want {
					t.Errorf("List(email) = %q, want %q", got, want)
				}
			}
		})
	}
}

// decoded compares claim sets by their claims.
var decoded = cmp.Transformer("claims", (*identity.ClaimSet).All)

func TestNewReadsAll(t *testing.T) {
	t.Parallel()
	const raw = `{"sub":"u1","email":"A@corp.com","email_verified":true,"name":"José","username":"jose","roles":["admin","",null,"dev"],"organizations":"o1","picture":null}`
	c := parse(t, raw)
	got, err := identity.New(c, identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := identity.Identity{Subject: "u1", Email: "a@corp.com", EmailVerified: true, Name: "José", Username: "jose",
		Roles: []string{"admin", "dev"}, Organizations: []string{"o1"}}
	want.Claims = identity.NewClaimSet(c)
	if diff := cmp.Diff(want, got, decoded); diff != "" {
		t.Errorf("New: (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(want, got.Compact(raw), decoded); diff != "" {
		t.Errorf("Compact: (-want +got)\n%s", diff)
	}
	var none *identity.ClaimSet
	if broken := got.Compact("{"); broken.Claims.Text("sub") != "" || none.Text("sub") != "" || none.List("roles") != nil {
		t.Error("claims that cannot be read say something")
	}
}

func TestNewSkipsWrongTypes(t *testing.T) {
	t.Parallel()
	c := parse(t, `{"sub":"u1","name":["x"],"username":{},"roles":{"admin":true},"organizations":null,"email_verified":[true]}`)
	got, err := identity.New(c, identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(identity.Identity{Subject: "u1", Claims: identity.NewClaimSet(c)}, got, decoded); diff != "" {
		t.Errorf("New: (-want +got)\n%s", diff)
	}
}

func TestNoFoldingOfSubjects(t *testing.T) { // CL-10
	t.Parallel()
	for _, sub := range []string{"Admin", "ADMİN", "аdmin", "e\u0301", "\u00e9"} {
		id, err := identity.New(identity.Claims{"sub": sub}, identity.Options{})
		if err != nil || id.Subject != sub {
			t.Errorf("New(sub %q).Subject = %q, %v; want it unchanged", sub, id.Subject, err)
		}
	}
}

func parse(t testing.TB, json string) identity.Claims {
	t.Helper()
	c, err := identity.ParseClaims([]byte(json))
	if err != nil {
		t.Fatalf("ParseClaims(%s): %v", json, err)
	}
	return c
}

func TestTextAndList(t *testing.T) {
	t.Parallel()
	id, err := identity.New(parse(t, `{"sub":"u1","name":7,"username":"ann","roles":["a",1],"organizations":"o1","custom_data":{"x":["y"]},"level":3}`), identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]string{ // :: path → text, then list
		"sub": {"u1", "u1"}, "name": {""}, "email": {""}, "username": {"ann", "ann"}, "roles": {"", "a", "1"}, "organizations": {"o1", "o1"},
		"custom_data.x": {"", "y"}, "level": {"3", "3"}, "absent": {""},
	} {
		if got := append([]string{id.Text(path)}, id.List(path)...); !cmp.Equal(got, want) {
			t.Errorf("Text and List of %s = %q, want %q", path, got, want)
		}
	}
}
