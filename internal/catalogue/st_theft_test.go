package catalogue_test

import (
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

func injectedCode(t *testing.T, d *doors) {
	d.stranger(t, func(t *testing.T, w way) {
		rows := w.Sessions(t)
		take := func(from, into string) string {
			return edited(t, into, func(q url.Values) { q.Set("code", queryOf(t, from).Get("code")) })
		}
		attacker, victim := w.traveller(t), w.traveller(t)
		stolen, back := attacker.leave(t, "/"), victim.leave(t, "/app")
		calls := w.tokenCalls()
		w.toIssuer(t, victim.get(t, take(stolen, back))) // the issuer refuses the verifier
		if victim.session() != "" || w.tokenCalls() != calls+1 {
			t.Errorf("got the session %q and %d token calls, want none and 1", victim.session(), w.tokenCalls()-calls)
		}

		// An issuer that binds the attacker's code to the victim's challenge: the nonce is still the attacker's.
		attacker, victim = w.traveller(t), w.traveller(t)
		begun := victim.get(t, "/app")
		back = victim.atIssuer(t, begun)
		challenge := queryOf(t, begun.Header.Get("Location")).Get("code_challenge")
		w.issuer(t, func(i *gatewaytest.Issuer) {
			i.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/oidc/auth" {
					r.Form.Set("code_challenge", challenge)
				}
				return false
			}
		})
		calls = w.tokenCalls()
		shows(t, victim.get(t, take(attacker.leave(t, "/"), back)), http.StatusBadRequest, headFailed)
		if victim.session() != "" || w.tokenCalls() != calls+1 {
			t.Errorf("got the session %q and %d token calls, want none and 1", victim.session(), w.tokenCalls()-calls)
		}
		w.rows(t, rows)
	})
	d.signedIn(t, func(t *testing.T, w way) { // a victim who is signed in stays who they are
		victim := w.traveller(t)
		before := victim.session()
		stolen, back := way{front: w.front, h2: w.h2}.traveller(t).leave(t, "/"), victim.leave(t, "/sign-in?fresh=1&return_to=/mine")
		seeOther(t, victim.get(t, edited(t, back, func(q url.Values) { q.Set("code", queryOf(t, stolen).Get("code")) })), "/mine")
		if victim.session() != before {
			t.Error("the session was replaced")
		}
	})
}

func mixedUp(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		p := w.traveller(t)
		back := p.leave(t, "/sign-in?fresh=1&return_to=/mine")
		ours := w.Issuer.URL + "/oidc"
		for _, iss := range []string{"https://evil.example", "", ours + "/", ours + "/x", w.Issuer.URL, strings.ToUpper(ours), strings.Replace(ours, "http:", "https:", 1), ours + "#", " " + ours, ours + "?"} {
			p.refusedCallback(t, edited(t, back, func(q url.Values) { q.Set("iss", iss) }))
		}
		p.refusedCallback(t, edited(t, back, func(q url.Values) { q.Del("iss") }))
		p.refusedCallback(t, back+"&iss=https://evil.example")
		p.refusedCallback(t, edited(t, back, func(q url.Values) {
			q.Set("iss", "https://evil.example")
			q.Del("code")
			q.Set("error", "access_denied")
		}))
		seeOther(t, p.get(t, back), "/mine")
	})
}

func loginCSRF(t *testing.T, d *doors) {
	d.stranger(t, func(t *testing.T, w way) {
		rows, calls := w.Sessions(t), w.tokenCalls()
		attacker, victim := w.traveller(t), w.traveller(t)
		w.issuer(t, func(i *gatewaytest.Issuer) { i.Person = maps.Clone(bob) })
		theirs := attacker.leave(t, "/evil?x") // Bob's whole callback
		w.issuer(t, func(i *gatewaytest.Issuer) { i.Person = maps.Clone(alice) })
		own := victim.leave(t, "/mine") // a sign-in of the victim's is under way
		a := victim.get(t, theirs)
		w.toIssuer(t, a)
		if strings.Contains(a.Header.Get("Location"), "evil") || w.tokenCalls() != calls || victim.session() != "" {
			t.Errorf("got %d token calls, the session %q and %q, want nothing of the attacker", w.tokenCalls()-calls, victim.session(), a.Header.Get("Location"))
		}
		again := victim.atIssuer(t, a)
		lost := w.traveller(t) // who keeps no cookie at all
		restart := lost.atIssuer(t, lost.get(t, theirs))
		lost.forgetAttempts()
		shows(t, lost.get(t, restart), http.StatusBadRequest, headNoCookies)
		w.rows(t, rows)
		seeOther(t, victim.get(t, again), "/") // the victim's own, and not to the attacker's page
		seeOther(t, victim.get(t, own), "/mine")
		w.Upstream.Forget()
		if a := victim.get(t, "/app"); a.Status != http.StatusOK {
			t.Errorf("the victim: got %s, want 200", a)
		}
		head, _ := w.reached(t)
		saysAlice(t, head)
		// The code was not redeemed for anybody: the attacker's own callback still works, for the attacker.
		w.issuer(t, func(i *gatewaytest.Issuer) { i.Person = maps.Clone(bob) })
		seeOther(t, attacker.get(t, theirs), "/evil?x")
		for _, c := range (&http.Response{Header: victim.get(t, "/sign-in?fresh=1").Header}).Cookies() {
			if !c.HttpOnly || !c.Secure || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode || !strings.HasPrefix(c.Name, "__Host-") {
				t.Errorf("the cookie of an attempt is %+v: another host, or a script, could plant it", c)
			}
		}
	})
	d.signedIn(t, func(t *testing.T, w way) { // Alice opens Bob's callback, and stays Alice
		w.issuer(t, func(i *gatewaytest.Issuer) { i.Person = maps.Clone(bob) })
		theirs := way{front: w.front, h2: w.h2}.traveller(t).leave(t, "/evil")
		w.issuer(t, func(i *gatewaytest.Issuer) { i.Person = maps.Clone(alice) })
		p := w.traveller(t)
		calls, before := w.tokenCalls(), p.session()
		seeOther(t, p.get(t, theirs), "/")
		if w.tokenCalls() != calls || p.session() != before {
			t.Errorf("got %d token calls and another session, want neither", w.tokenCalls()-calls)
		}
	})
}

func sessionSwap(t *testing.T, d *doors) {
	d.stranger(t, func(t *testing.T, w way) {
		p := w.traveller(t)
		seeOther(t, p.get(t, p.leave(t, "/app")), "/app")
		old := p.twin()
		rows := w.Sessions(t)

		// An answer without an ID token: Alice's must not stand in for it.
		w.issuer(t, func(i *gatewaytest.Issuer) { i.EditAnswer = func(a map[string]any) { delete(a, "id_token") } })
		half := p.twin()
		shows(t, half.get(t, half.leave(t, "/sign-in?fresh=1")), http.StatusBadRequest, headFailed)
		w.issuer(t, func(i *gatewaytest.Issuer) { i.EditAnswer = nil })
		if half.session() != p.session() {
			t.Error("Alice's session was changed by an answer without ID token")
		}

		// Bob has no name, no roles and no tenant.
		granted := w.Issuer.Granted()
		w.issuer(t, func(i *gatewaytest.Issuer) {
			i.Person = map[string]any{"sub": "bob000000000", "sid": "sid-bob", "email": "bob@example.com", "email_verified": true}
		})
		seeOther(t, p.get(t, p.leave(t, "/sign-in?return_to=/who&fresh=1")), "/who")
		if p.session() == old.session() {
			t.Error("the session id was kept")
		}
		w.rows(t, rows)
		w.Upstream.Forget()
		if a := p.get(t, "/who"); a.Status != http.StatusOK {
			t.Errorf("Bob: got %s, want 200", a)
		}
		head, _ := w.reached(t)
		exactly(t, head, "X-Auth-Email", "bob@example.com")
		exactly(t, head, "X-Auth-Sub", "bob000000000")
		absent(t, head, "X-Auth-Name", "X-Auth-Roles", "x-auth-tenant")
		for _, of := range []string{"alice", "acme", "t8x4l8ohti1t"} {
			if strings.Contains(strings.ToLower(head), of) {
				t.Errorf("something of Alice is left at the upstream: %q", head)
			}
		}
		w.denied(t, old.get(t, "/app"))

		a := p.post(t, "/sign-out", nil)
		hint := queryOf(t, a.Header.Get("Location")).Get("id_token_hint")
		if parts := strings.Split(hint, "."); len(parts) != 3 {
			t.Errorf("id_token_hint: got %q, want a token", hint)
		} else if claims, err := base64.RawURLEncoding.DecodeString(parts[1]); err != nil || !strings.Contains(string(claims), "bob000000000") {
			t.Errorf("id_token_hint: got %s, want Bob's", claims)
		}
		if got := len(w.Issuer.RevokedSince(granted)); got != 1 {
			t.Errorf("revoked tokens: got %d, want Bob's alone", got)
		}
	})
}

func injectedParameters(t *testing.T, d *doors) {
	const evil = "login_hint=x%26redirect_uri%3Dhttps://evil.example%26prompt%3Dnone&ui_locales=xx&acr_values=evil&claims=%7B%7D&prompt=none" +
		"&redirect_uri=https://evil.example&scope=all&response_mode=fragment&response_type=token&state=x&nonce=evil&max_age=0&code_challenge=evil" +
		"&code_challenge_method=plain&client_id=evil&request=evil&request_uri=https://evil.example&display=popup&registration=evil&resource=evil" +
		"&first_screen=register&direct_sign_in=social:evil&identifier=evil&audience=evil"
	ours := []string{"client_id", "code_challenge", "code_challenge_method", "first_screen", "identifier", "max_age", "nonce", "prompt", "redirect_uri", "resource",
		"response_type", "scope", "state", "ui_locales"}
	check := func(t *testing.T, f *front, a *gatewaytest.Answer, prompt string) {
		t.Helper()
		q := f.toIssuer(t, a)
		for name, values := range q {
			if len(values) != 1 || !slices.Contains(ours, name) || strings.Contains(values[0], "evil") {
				t.Errorf("%s: got %q", name, values)
			}
		}
		for name, want := range map[string]string{"redirect_uri": f.URL + "/callback", "prompt": prompt, "max_age": "1209600", "response_type": "code",
			"code_challenge_method": "S256", "client_id": f.Issuer.AppID, "ui_locales": "en"} {
			if got := q.Get(name); got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
		if q.Has("resource") || q.Get("first_screen") == "register" {
			t.Errorf("got resource %q and first_screen %q of the client", q.Get("resource"), q.Get("first_screen"))
		}
	}
	d.stranger(t, func(t *testing.T, w way) {
		for _, target := range []string{"/sign-in?", "/_portero/sign-in?", "/app?", "/sign-in?return_to=/x%26prompt=none&", "/sign-in?return_to=%2F%3Fa%3D1%26redirect_uri%3Dhttps%3A%2F%2Fevil.example&",
			"/sign-in?fresh=0&fresh=1&", "/sign-in?fresh=1%26prompt%3Dnone&"} {
			check(t, w.front, w.traveller(t).get(t, target+evil), "consent")
		}
		check(t, w.front, w.traveller(t).get(t, "/sign-in?fresh=1&"+evil), "login consent")
		for _, lines := range [][][2]string{
			fieldsOf("Accept-Language", "en&prompt=none&redirect_uri=https://evil.example"),
			fieldsOf("Accept-Language", "en%26prompt%3Dnone"),
			fieldsOf("Cookie", w.Cookie()+"-lang=en&prompt=none&redirect_uri=https://evil.example"),
			fieldsOf("X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "http", "Forwarded", "host=evil.example", "X-Original-Host", "evil.example"),
			fieldsOf("Referer", "https://evil.example/?redirect_uri=https://evil.example", "Origin", "https://evil.example"),
		} {
			check(t, w.front, w.ask(t, request{Lines: append(lines, navigation...)}), "consent")
		}
	})
}
