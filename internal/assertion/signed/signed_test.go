package signed_test

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"portero/internal/assertion/signed"
	"portero/internal/identity"
	"portero/internal/seal"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
)

const (
	secretA = "a secret of thirty-two bytes, one"
	secretB = "a secret of thirty-two bytes, two"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// keys are those of a process with these secrets, whose clock shows at.
func keys(t testing.TB, at time.Time, current string, old ...string) *signed.Keys {
	t.Helper()
	var more [][]byte
	for _, o := range old {
		more = append(more, []byte(o))
	}
	ring, err := seal.NewKeyRing([]byte(current), more...)
	if err != nil {
		t.Fatal(err)
	}
	return signed.NewKeys(ring, func() time.Time { return at })
}

func keySet(t testing.TB, k *signed.Keys) jose.JSONWebKeySet {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(k.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	return set
}

// open verifies a token as an application does, by a library that has nothing of ours.
func open(set jose.JSONWebKeySet, token string) (map[string]any, error) {
	parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, err
	}
	found := set.Key(parsed.Signatures[0].Protected.KeyID)
	if len(found) != 1 {
		return nil, fmt.Errorf("%d keys with this kid", len(found))
	}
	payload, err := parsed.Verify(found[0])
	if err != nil {
		return nil, err
	}
	var claims map[string]any
	return claims, json.Unmarshal(payload, &claims)
}

func token(t testing.TB, a *signed.Assertion, id *identity.Identity, r signed.Request) string {
	t.Helper()
	text, err := a.Token(id, r)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func issued(k *signed.Keys) *signed.Assertion {
	return &signed.Assertion{Keys: k, Issuer: "https://portal.example.com"}
}

var (
	ann     = &identity.Identity{Subject: "u1", Email: "ann@example.com", EmailVerified: true, Name: `José "Zoë" <b>`, Roles: []string{"admin", "a,b"}, Organizations: []string{"o1"}}
	request = signed.Request{Origin: "https://wiki.example.com", Method: "POST", Path: "/a%2Fb/c", SessionID: "s1"}
)

func TestClaims(t *testing.T) {
	t.Parallel()
	k := keys(t, noon.Add(700*time.Millisecond), secretA)
	plain := map[string]any{
		"iss": "https://portal.example.com", "aud": "https://wiki.example.com", "sub": "u1", "email": "ann@example.com", "email_verified": true, "name": `José "Zoë" <b>`,
		"roles": []any{"admin", "a,b"}, "organizations": []any{"o1"}, "iat": float64(noon.Unix()), "exp": float64(noon.Unix() + 60), "sid": "s1",
	}
	with := func(changes map[string]any) map[string]any {
		m := map[string]any{}
		for k, v := range plain {
			m[k] = v
		}
		for k, v := range changes {
			if m[k] = v; v == nil {
				delete(m, k)
			}
		}
		return m
	}
	for _, tt := range []struct {
		name    string
		a       signed.Assertion
		id      *identity.Identity
		request signed.Request
		want    map[string]any
	}{
		{"plain", signed.Assertion{}, ann, request, plain},
		{"an audience of its own", signed.Assertion{Audience: "wiki"}, ann, request, with(map[string]any{"aud": "wiki"})},
		{"a short life", signed.Assertion{Lifetime: 5 * time.Second}, ann, request, with(map[string]any{"exp": float64(noon.Unix() + 5)})},
		{"a life that is too long", signed.Assertion{Lifetime: time.Hour}, ann, request, plain},
		{"bound to the method", signed.Assertion{Method: true}, ann, request, with(map[string]any{"htm": "POST"})},
		{"bound to the path", signed.Assertion{Path: true, Audience: "wiki"}, ann, request, with(map[string]any{"aud": "wiki", "htu": "https://wiki.example.com/a%2Fb/c"})},
		{"no address that counts", signed.Assertion{}, &identity.Identity{Subject: "u2"}, signed.Request{Origin: "https://a"},
			map[string]any{"iss": plain["iss"], "aud": "https://a", "sub": "u2", "roles": []any{}, "iat": plain["iat"], "exp": plain["exp"]}},
		{"an unverified address that counts", signed.Assertion{}, &identity.Identity{Subject: "u2", Email: "a@b"}, signed.Request{Origin: "https://a"},
			map[string]any{"iss": plain["iss"], "aud": "https://a", "sub": "u2", "email": "a@b", "email_verified": false, "roles": []any{}, "iat": plain["iat"], "exp": plain["exp"]}},
	} {
		tt.a.Keys, tt.a.Issuer = k, "https://portal.example.com"
		claims, err := open(keySet(t, k), token(t, &tt.a, tt.id, tt.request))
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if id, _ := claims["jti"].(string); len(id) != 22 {
			t.Errorf("%s: jti is %q", tt.name, id)
		}
		delete(claims, "jti")
		if diff := cmp.Diff(tt.want, claims); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.name, diff)
		}
	}
	a := issued(k)
	first, second := token(t, a, ann, request), token(t, &signed.Assertion{Keys: k, Issuer: a.Issuer, Audience: "other", Path: true}, ann, request)
	if head, _, _ := strings.Cut(first, "."); head == "" || strings.Count(first, ".") != 2 || first == second {
		t.Errorf("got %q", first)
	}
	parsed, err := jose.ParseSignedCompact(first, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	if h := parsed.Signatures[0].Protected; h.Algorithm != "ES256" || h.KeyID == "" || h.ExtraHeaders["typ"] != "JWT" || len(h.ExtraHeaders) != 1 || h.JSONWebKey != nil {
		t.Errorf("got header %+v", h)
	}
}

func TestTokenRefuses(t *testing.T) {
	t.Parallel()
	k := keys(t, noon, secretA)
	many := &identity.Identity{Subject: "u1"}
	for range 2000 {
		many.Roles = append(many.Roles, "role")
	}
	for name, tt := range map[string]struct {
		a       *signed.Assertion
		id      *identity.Identity
		request signed.Request
	}{
		"too many roles": {issued(k), many, request},
		"nobody":         {issued(k), &identity.Identity{}, request},
		"for nobody":     {issued(k), ann, signed.Request{}},
		"by nobody":      {&signed.Assertion{Keys: k}, ann, request},
	} {
		text, err := tt.a.Token(tt.id, tt.request)
		if err == nil || text != "" || errors.Is(err, signed.ErrTooLong) != (name == "too many roles") {
			t.Errorf("%s: got %.40q, %v", name, text, err)
		}
	}
	// The longest that is made is as long as it may be at most.
	longest := 0
	for n := 1; n < signed.MaxBytes; n++ {
		text, err := issued(k).Token(&identity.Identity{Subject: "u1", Roles: []string{strings.Repeat("x", n)}}, signed.Request{Origin: "https://a"})
		if err != nil {
			break
		}
		longest = len(text)
	}
	if longest > signed.MaxBytes || longest < signed.MaxBytes-4 {
		t.Errorf("the longest token has %d bytes, want %d", longest, signed.MaxBytes)
	}
}

// Whatever the clocks show within a day of each other, and at the turn of the day above all, what one replica signs verifies with
// the key set of the other, and with one that is kept for as long as it may be.
func TestReplicasAgree(t *testing.T) {
	t.Parallel()
	midnight := noon.Truncate(24 * time.Hour)
	instants := []time.Duration{-24 * time.Hour, -time.Second, -1, 0, 1, time.Second, time.Minute, 12 * time.Hour, 24*time.Hour - 1}
	skews := []time.Duration{0, time.Millisecond, -time.Millisecond, time.Second, -time.Second, time.Minute, -time.Minute, signed.MaxAge, -signed.MaxAge, 23 * time.Hour, -23 * time.Hour}
	for _, instant := range instants {
		for _, skew := range skews {
			at := midnight.Add(instant)
			a, b := keys(t, at, secretA), keys(t, at.Add(skew), secretA)
			if _, err := open(keySet(t, b), token(t, issued(a), ann, request)); err != nil {
				t.Errorf("signed at %s, key set of %s: %v", at, at.Add(skew), err)
			}
		}
	}
	if set := keySet(t, keys(t, noon, secretA)); len(set.Keys) != 3 {
		t.Errorf("the set has %d keys, want those of yesterday, today and tomorrow", len(set.Keys))
	}
	if bytes.Equal(keys(t, noon, secretA).JWKS(), keys(t, noon.Add(24*time.Hour), secretA).JWKS()) {
		t.Error("a day later the keys are the same")
	}
	if _, err := open(keySet(t, keys(t, noon.Add(48*time.Hour), secretA)), token(t, issued(keys(t, noon, secretA)), ann, request)); err == nil {
		t.Error("two days later the key is still there")
	}
}

// One process passes midnight: it signs with the next day's key, which was published all day.
func TestKeysChange(t *testing.T) {
	t.Parallel()
	at := noon
	ring, err := seal.NewKeyRing([]byte(secretA))
	if err != nil {
		t.Fatal(err)
	}
	k := signed.NewKeys(ring, func() time.Time { return at })
	kept := keySet(t, k)
	kids := map[string]bool{}
	for _, at = range []time.Time{noon, noon.Add(12*time.Hour - 1), noon.Add(12 * time.Hour), noon.Add(36*time.Hour - 1)} {
		text := token(t, issued(k), ann, request)
		if _, err := open(kept, text); err != nil {
			t.Errorf("at %s, by a key set of %s: %v", at, noon, err)
		}
		parsed, _ := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.ES256})
		kids[parsed.Signatures[0].Protected.KeyID] = true
	}
	if len(kids) != 2 {
		t.Errorf("two days have %d keys", len(kids))
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	signedWith := func(current string, old ...string) string {
		return token(t, issued(keys(t, noon, current, old...)), ann, request)
	}
	for _, tt := range []struct {
		name, token string
		set         *signed.Keys
		good        bool
	}{
		{"one secret", signedWith(secretA), keys(t, noon, secretA), true},
		{"another secret", signedWith(secretA), keys(t, noon, secretB), false},
		{"the new one signs", signedWith(secretB, secretA), keys(t, noon, secretB), true},
		{"the old one does not", signedWith(secretB, secretA), keys(t, noon, secretA), false},
		{"a replica that has not changed yet", signedWith(secretA), keys(t, noon, secretB, secretA), true},
		{"a replica that only knows the next one", signedWith(secretB), keys(t, noon, secretA, secretB), true},
	} {
		if _, err := open(keySet(t, tt.set), tt.token); (err == nil) != tt.good {
			t.Errorf("%s: %v, want verified %v", tt.name, err, tt.good)
		}
	}
	if got := len(keySet(t, keys(t, noon, secretA, secretB)).Keys); got != 6 {
		t.Errorf("two secrets: got %d keys, want 6", got)
	}
}

// What is derived never changes from one version to the next: replicas of both run side by side.
func TestDerivationIsAContract(t *testing.T) {
	t.Parallel()
	set := keySet(t, keys(t, noon, secretA))
	var got []string
	for _, k := range set.Keys {
		thumb, err := k.Thumbprint(crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		if !k.Valid() || !k.IsPublic() || k.Algorithm != "ES256" || k.Use != "sig" || k.KeyID != base64.RawURLEncoding.EncodeToString(thumb) {
			t.Errorf("a key is %+v", k)
		}
		got = append(got, k.KeyID)
	}
	want := []string{
		"xB_3en4BrqvKYF49twNxDw2XLDaBXUiImvku0i7XqT4", // of that day
		"lE0WA5JwuzdUIMqo756UJWQ5TlJQwAXvb33SnBiXIQA", // of the day before
		"AVmPYviTqx2KRLUraJoLjz32vtYGVqNev9ukXbrEHa0", // of the next day
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kids (-want +got):\n%s", diff)
	}
	for _, word := range []string{`"d"`, secretA} {
		if bytes.Contains(keys(t, noon, secretA).JWKS(), []byte(word)) {
			t.Errorf("the set has %s", word)
		}
	}
}

// Candidates that are no private key are passed over.
func TestCandidatesThatAreNoKey(t *testing.T) {
	t.Parallel()
	order := elliptic.P256().Params().N
	zero, most, over, one := make([]byte, 32), order.FillBytes(make([]byte, 32)), bytes.Repeat([]byte{0xff}, 32), append(make([]byte, 31), 1)
	kid, tries := signed.FirstKeyID(zero, most, over, one, one)
	alone, _ := signed.FirstKeyID(one)
	if tries != 4 || kid != alone {
		t.Errorf("got %s after %d, want %s after 4", kid, tries, alone)
	}
}

// A token that is bound to nothing is told again, for half of its life, to the same application about the same session in the
// same state. Nothing else is.
func TestReuse(t *testing.T) {
	t.Parallel()
	at := noon
	ring, err := seal.NewKeyRing([]byte(secretA))
	if err != nil {
		t.Fatal(err)
	}
	k := signed.NewKeys(ring, func() time.Time { return at })
	changed := func(change func(*signed.Assertion, *identity.Identity, *signed.Request)) string {
		a, id, r := *issued(k), *ann, request
		change(&a, &id, &r)
		return token(t, &a, &id, r)
	}
	same := func(*signed.Assertion, *identity.Identity, *signed.Request) {}
	first := changed(same)
	for name, change := range map[string]func(*signed.Assertion, *identity.Identity, *signed.Request){
		"another subject":           func(_ *signed.Assertion, id *identity.Identity, _ *signed.Request) { id.Subject = "u2" },
		"another session":           func(_ *signed.Assertion, _ *identity.Identity, r *signed.Request) { r.SessionID = "s2" },
		"a newer state of it":       func(_ *signed.Assertion, _ *identity.Identity, r *signed.Request) { r.Version++ },
		"another host":              func(_ *signed.Assertion, _ *identity.Identity, r *signed.Request) { r.Origin = "https://b.example.com" },
		"another audience":          func(a *signed.Assertion, _ *identity.Identity, _ *signed.Request) { a.Audience = "b" },
		"another life":              func(a *signed.Assertion, _ *identity.Identity, _ *signed.Request) { a.Lifetime = 30 * time.Second },
		"bound to the method":       func(a *signed.Assertion, _ *identity.Identity, _ *signed.Request) { a.Method = true },
		"bound to the path":         func(a *signed.Assertion, _ *identity.Identity, _ *signed.Request) { a.Path = true },
		"without a session of ours": func(_ *signed.Assertion, _ *identity.Identity, r *signed.Request) { r.SessionID = "" },
	} {
		got := changed(change)
		if got == first {
			t.Errorf("%s: told the same", name)
		}
		if fresh := strings.HasPrefix(name, "bound") || strings.HasPrefix(name, "without"); (changed(change) != got) != fresh {
			t.Errorf("%s, again: made anew is %v, want %v", name, !fresh, fresh)
		}
	}
	for _, tt := range []struct {
		at   time.Duration
		same bool
	}{{0, true}, {30*time.Second - 1, true}, {30 * time.Second, false}, {-time.Second, false}} {
		at = noon
		first := changed(func(_ *signed.Assertion, _ *identity.Identity, r *signed.Request) { r.Version = uint64(tt.at) })
		at = noon.Add(tt.at)
		if again := changed(func(_ *signed.Assertion, _ *identity.Identity, r *signed.Request) { r.Version = uint64(tt.at) }); (again == first) != tt.same {
			t.Errorf("%v later: told the same is %v, want %v", tt.at, !tt.same, tt.same)
		}
	}
}

// However many people there are, the tokens of some of them are kept.
func TestReuseIsBounded(t *testing.T) {
	t.Parallel()
	k := keys(t, noon, secretA)
	a := issued(k)
	of := func(n int) string {
		return token(t, a, &identity.Identity{Subject: "u"}, signed.Request{Origin: "https://a", SessionID: fmt.Sprint(n)})
	}
	first := of(0)
	for n := range 10000 {
		of(n)
		if kept := k.Cached(); kept > 8192 {
			t.Fatalf("%d tokens are kept", kept)
		}
	}
	newest := of(9999)
	if of(0) == first || of(9999) != newest {
		t.Error("the oldest is kept, or the newest is not")
	}
}

func BenchmarkToken(b *testing.B) {
	for name, a := range map[string]*signed.Assertion{"told again": {}, "bound": {Method: true, Path: true}} {
		b.Run(name, func(b *testing.B) {
			a.Keys, a.Issuer = keys(b, noon, secretA), "https://portal.example.com"
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.Token(ann, request); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
