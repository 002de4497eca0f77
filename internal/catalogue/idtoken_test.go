package catalogue_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

// idToken is an ID token that the issuer answers one sign-in with.
type idToken struct {
	name string
	// header and claims change those of a good token; nil removes a member.
	header, claims map[string]any
	// make makes the whole token in place of the issuer's key, from what it would have signed. nil: the key signs it.
	make func(i *gatewaytest.Issuer, header, claims map[string]any) string
	// fails is a part of what the log says about the failure. "": the person is signed in.
	fails string
	// sees are headers that the application is sent afterwards, by folded name; "": it is not sent. nil: not looked at.
	sees map[string]string
}

// null is JSON's, in a claim.
var null = json.RawMessage("null")

// withClaim is a token for each value of a claim.
func withClaim(fails, name string, values ...any) []idToken {
	var out []idToken
	for _, v := range values {
		out = append(out, idToken{name: fmt.Sprintf("%s %.40v", name, v), claims: map[string]any{name: v}, fails: fails})
	}
	return out
}

// withHeader is a token for each value of a member of the header.
func withHeader(fails, name string, values ...any) []idToken {
	var out []idToken
	for _, v := range values {
		out = append(out, idToken{name: fmt.Sprintf("header %s %.40v", name, v), header: map[string]any{name: v}, fails: fails})
	}
	return out
}

// tokens tries ID tokens, each with and without a session, and over the protocols in turn: what an ID token is worth
// does not depend on how the browser came.
func tokens(make func(i *gatewaytest.Issuer) []idToken) func(*testing.T, *doors) {
	return func(t *testing.T, d *doors) {
		d.each(t, func(t *testing.T, w way) { w.signInWith(t, share(w, make(w.Issuer))...) })
	}
}

// share is what a way tries of all where the protocols take turns.
func share[T any](w way, all []T) []T {
	turn := 0
	switch {
	case w.h2:
		turn = 1
	case !w.TLS:
		turn = 2
	}
	var out []T
	for n := turn; n < len(all); n += 3 {
		out = append(out, all[n])
	}
	return out
}

// signInWith signs in once with each token. A good one makes a session, and nothing else does: the person gets the page
// sign-in-failed, one token call was made and none of userinfo, nothing reached the application, no row was made, and a
// session that was there before is still good. The log says why, and nothing of the token.
func (w way) signInWith(t *testing.T, tokens ...idToken) {
	t.Helper()
	w.issuer(t, func(*gatewaytest.Issuer) {})
	from, rows, good, revoked := len(w.Log.String()), w.Sessions(t), 0, len(w.Issuer.Revoked())
	p := (way{front: w.front, h2: w.h2}).traveller(t)
	if w.cookie != "" {
		if first := slices.IndexFunc(tokens, func(x idToken) bool { return x.fails == "" }); first >= 0 { // it makes the session that all others meet
			tokens = slices.Concat(tokens[first:first+1], tokens[:first], tokens[first+1:])
			rows++
		} else {
			_, p.cookies[w.Cookie()], _ = strings.Cut(w.cookie, "=")
		}
	}
	var want []idToken
	for n, token := range tokens {
		if w.cookie == "" {
			p = w.traveller(t)
		}
		person := maps.Clone(alice)
		if sub, ok := token.claims["sub"].(string); ok {
			person["sub"] = sub
		}
		var made string
		w.Issuer.Do(func(i *gatewaytest.Issuer) {
			i.Person = person
			i.Sign = func(claims map[string]any) string {
				made = token.sign(i, claims)
				return made
			}
		})
		page := fmt.Sprintf("/app?n=%d", n)
		back := p.leave(t, "/sign-in?fresh=1&return_to="+url.QueryEscape(page))
		before, calls, asked := p.session(), w.tokenCalls(), w.Issuer.Calls("/oidc/me")
		a := p.get(t, back)
		for part := range strings.SplitSeq(made, ".") {
			w.Secret(part, "part of an ID token")
		}
		if got := w.tokenCalls() - calls; got != 1 {
			t.Errorf("%s: got %d token calls, want 1", token.name, got)
		}
		if token.fails == "" {
			if a.Status != 303 || a.Header.Get("Location") != page || p.session() == before {
				t.Errorf("%s: got %s to %q, want 303 to %s with a new session", token.name, a, a.Header.Get("Location"), page)
			}
			w.nothingReached(t)
			token.seenAt(t, p, page)
			good++
		} else {
			if a.Status != 400 || !strings.Contains(a.Body, "<title>"+headFailed) || a.Header.Get("Portero-Code") == "" || p.session() != before {
				t.Errorf("%s: got %s to %q, want 400 with %q, a support code and no session", token.name, a, a.Header.Get("Location"), headFailed)
			}
			if got := w.Issuer.Calls("/oidc/me") - asked; got != 0 {
				t.Errorf("%s: got %d calls of userinfo, want none", token.name, got)
			}
			w.noSession(t, a)
			w.nothingReached(t)
			want = append(want, token)
		}
		p.forgetAttempts()
	}
	w.Issuer.Do(func(i *gatewaytest.Issuer) { i.Sign, i.Person = nil, maps.Clone(alice) })

	if w.cookie != "" { // each sign-in replaces the session, none ends it
		good = 0
		if a := p.get(t, "/app"); a.Status != 200 {
			t.Errorf("the session after all that: got %s, want 200", a)
		}
		w.Upstream.Forget()
	}
	w.rows(t, rows+good)
	if got := len(w.Issuer.Revoked()) - revoked; got != 0 { // what was refused may belong to the grant of another session
		t.Errorf("revoked tokens: got %d, want none", got)
	}
	w.failures(t, from, want)
}

// amended is m with members changed in it; nil removes one.
func amended(m, change map[string]any) map[string]any {
	maps.Copy(m, change)
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil })
	return m
}

// sign makes the token.
func (x idToken) sign(i *gatewaytest.Issuer, claims map[string]any) string {
	claims["note"] = gatewaytest.Canary + "claim"
	header := amended(i.Key.Header(nil), x.header)
	claims = amended(claims, x.claims)
	if x.make != nil {
		return x.make(i, header, claims)
	}
	return i.Key.Token(header, claims)
}

// seenAt fails unless the application at a page is told what it has to be.
func (x idToken) seenAt(t *testing.T, p *traveller, page string) {
	t.Helper()
	if x.sees == nil {
		return
	}
	if a := p.get(t, page); a.Status != 200 {
		t.Errorf("%s: the page: got %s, want 200", x.name, a)
		return
	}
	head, _ := p.reached(t)
	for name, want := range x.sees {
		if got := strings.Join(fields(head)[name], "\n"); got != want {
			t.Errorf("%s: %s at the upstream: got %q, want %q", x.name, name, got, want)
		}
	}
}

// failures fails unless the log, from a place on, tells of the sign-ins that failed, in their order and no others.
func (f *front) failures(t *testing.T, from int, want []idToken) {
	t.Helper()
	var got []string
	gatewaytest.Await(t, fmt.Sprintf("%d failures are in the log", len(want)), func() bool {
		got = nil
		for l := range strings.Lines(f.Log.String()[from:]) {
			var event struct{ Action, Outcome, Reason string }
			if strings.HasSuffix(l, "\n") && json.Unmarshal([]byte(l), &event) == nil && event.Action == "sign-in" && event.Outcome == "failed" {
				got = append(got, event.Reason)
			}
		}
		return len(got) >= len(want)
	})
	if len(got) != len(want) {
		t.Errorf("failed sign-ins in the log: got %q, want %d", got, len(want))
		return
	}
	for n, token := range want {
		if !strings.Contains(got[n], token.fails) {
			t.Errorf("%s: the log says %q, want %q", token.name, got[n], token.fails)
		}
	}
}
