package catalogue_test

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// bobHere is Bob in a browser of his own, signed in.
func (w way) bobHere(t *testing.T) *traveller {
	t.Helper()
	p := &traveller{way: way{front: w.front, h2: w.h2}, cookies: map[string]string{}}
	w.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person = maps.Clone(bob) })
	seeOther(t, p.get(t, p.leave(t, "/mine")), "/mine")
	p.forgetAttempts()
	p.isPerson(t, "bob000000000", "bob@example.com")
	return p
}

// isPerson fails unless the application and the page about oneself are told of that person alone.
func (p *traveller) isPerson(t *testing.T, subject, email string) {
	t.Helper()
	head := p.twin().reaches(t)
	exactly(t, head, "X-Auth-Sub", subject)
	exactly(t, head, "X-Auth-Email", email)
	p.Upstream.Forget()
	if a := p.twin().send(t, request{Target: "/_portero/session", Lines: fieldsOf("Accept", "application/json", "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty")}); a.Status != http.StatusOK || !strings.Contains(a.Body, `"`+email+`"`) {
		t.Errorf("the page about oneself: got %s, want %s\n%s", a, email, a.Body)
	}
}

func linkForAnother(t *testing.T, d *doors) {
	d.invited(t, func(t *testing.T, w way, n *inviter) {
		link := w.link(t, "ann@example.com", "/mine")
		b := w.bobHere(t)
		session, rows := b.session(), w.Sessions(t)

		// The link does not lead Bob on as Bob, and takes nothing from him.
		a := b.get(t, link)
		if q := b.toIssuer(t, a); q.Get("prompt") != "login consent" || q.Get("login_hint") != "ann@example.com" {
			t.Errorf("the issuer is asked %q, want a new sign-in of the guest", q)
		}
		form := b.present(t, a)
		if b.session() != session {
			t.Error("the session was changed before anybody signed in")
		}
		b.isPerson(t, "bob000000000", "bob@example.com")
		w.rows(t, rows)

		// When it is finished there is one session, hers.
		back := b.spend(t, form)
		old := b.twin()
		old.forgetAttempts()
		seeOther(t, b.get(t, back), "/mine")
		if b.session() == session || b.session() == "" {
			t.Error("the session token is still the one before")
		}
		b.isPerson(t, "guest-ann", "ann@example.com")
		w.rows(t, rows)
		old.wantOut(t)
		both := b.twin()
		both.cookies = map[string]string{w.Cookie(): session}
		w.denied(t, both.send(t, request{Target: "/mine"}))

		// Now it is a way to the page, which asks nobody and spends nothing.
		_, shown := n.requests()
		seeOther(t, b.get(t, link), "/mine")
		if _, after := n.requests(); after != shown {
			t.Error("the issuer was shown a token of somebody who is signed in")
		}
		// Two of her sessions in one header are nobody's.
		a = w.sendCookies(t, link, "NAME="+b.session()+"; NAME="+session)
		if a.Status == http.StatusSeeOther {
			t.Errorf("two session cookies: got %s to %q", a, a.Header.Get("Location"))
		}

		// Bob gives up at the issuer, or the issuer refuses: he is Bob.
		b = w.bobHere(t)
		link = w.link(t, "ann@example.com", "/mine")
		back = b.spend(t, b.present(t, b.get(t, link)))
		a = b.get(t, edited(t, back, func(q url.Values) { q.Del("code"); q.Set("error", "access_denied") }))
		shows(t, a, http.StatusBadRequest, headFailed)
		b.isPerson(t, "bob000000000", "bob@example.com")
		if strings.Contains(a.Body, "ann@") || strings.Contains(a.Body, sealedIn(link)[:20]) {
			t.Error("the page tells of the invitation")
		}
	})
}

func anotherSignsIn(t *testing.T, d *doors) {
	d.invited(t, func(t *testing.T, w way, n *inviter) {
		for name, person := range map[string]map[string]any{
			"another account":          {"sub": "eve", "email": "eve@example.com", "email_verified": true},
			"Alice":                    alice,
			"the address unverified":   {"sub": "ann", "email": "ann@example.com", "email_verified": false},
			"verified as a text":       {"sub": "ann", "email": "ann@example.com", "email_verified": "true"},
			"verified as a number":     {"sub": "ann", "email": "ann@example.com", "email_verified": 1},
			"the address as a list":    {"sub": "ann", "email": []string{"ann@example.com"}, "email_verified": true},
			"with another behind":      {"sub": "ann", "email": "ann@example.com,eve@example.com", "email_verified": true},
			"with a blank":             {"sub": "ann", "email": "ann@example.com ", "email_verified": true},
			"with a domain behind":     {"sub": "ann", "email": "ann@example.com.evil.test", "email_verified": true},
			"with a name":              {"sub": "ann", "email": "Ann <ann@example.com>", "email_verified": true},
			"a look-alike":             {"sub": "ann", "email": "\uff41nn@example.com", "email_verified": true},
			"a Kelvin sign":            {"sub": "ann", "email": "ann@example.com\u212a", "email_verified": true},
			"the address as a subject": {"sub": "ann@example.com", "email": "", "email_verified": true},
			"as a user name":           {"sub": "ann", "username": "ann@example.com", "name": "ann@example.com"},
			"in another claim":         {"sub": "ann", "Email": "ann@example.com", "email_verified": true, "custom_data": map[string]any{"email": "ann@example.com"}},
			"no address":               {"sub": "ann"},
		} {
			b := w.bobHere(t)
			rows := w.Sessions(t)
			session := b.session()
			link := w.link(t, "ann@example.com", "/mine")
			for who, p := range map[string]*traveller{"a stranger": w.traveller(t), "Bob": b} {
				a := p.get(t, link)
				p.present(t, a)
				// The issuer's page leads to a sign-in by a code instead, as somebody else.
				w.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person = maps.Clone(person) })
				q := p.toIssuer(t, a)
				resp := gatewaytest.NewBrowser(t, nil).Get(w.Issuer.URL + "/oidc/auth?" + withoutToken(q))
				back := strings.TrimPrefix(resp.Location(), w.URL)
				got := p.get(t, back)
				shows(t, got, http.StatusBadRequest, headFailed)
				w.noSession(t, got)
				if who == "Bob" && p.session() != session || who != "Bob" && p.session() != "" {
					t.Errorf("%s, %s: the session was changed", name, who)
				}
				for _, telling := range []string{"ann@", "eve@", sealedIn(link)[:20]} {
					if strings.Contains(got.Body, telling) {
						t.Errorf("%s, %s: the page has %q", name, who, telling)
					}
				}
				// Again: it is used up, and what begins by itself is for her alone, too.
				again := p.twin()
				if again.get(t, back); again.session() != p.session() {
					t.Errorf("%s, %s: a second time there is a session", name, who)
				}
			}
			w.rows(t, rows)
			b.isPerson(t, "bob000000000", "bob@example.com")
		}
		w.nothingReached(t)
		// Capitals are hers.
		p := w.traveller(t)
		a := p.get(t, w.link(t, "Ann@Example.com", "/mine"))
		w.Issuer.Do(func(i *gatewaytest.Issuer) {
			i.Person = map[string]any{"sub": "guest-ann", "email": "ANN@example.COM", "email_verified": true}
		})
		resp := gatewaytest.NewBrowser(t, nil).Get(w.Issuer.URL + "/oidc/auth?" + withoutToken(p.toIssuer(t, a)))
		seeOther(t, p.get(t, strings.TrimPrefix(resp.Location(), w.URL)), "/mine")
		p.isPerson(t, "guest-ann", "ann@example.com")
	})
}

func linkBegunElsewhere(t *testing.T, d *doors) {
	d.invited(t, func(t *testing.T, w way, n *inviter) {
		// Eve opens her own link, and gives others the address that the issuer sends her back to.
		eve := w.traveller(t)
		back := eve.spend(t, eve.present(t, eve.get(t, w.link(t, "eve@example.com", "/mine"))))
		stranger, b := w.traveller(t), w.bobHere(t)
		calls, session := w.tokenCalls(), b.session()
		w.toIssuer(t, stranger.get(t, back)) // a sign-in of their own, without her token
		seeOther(t, b.get(t, back), "/")
		if got := w.tokenCalls() - calls; got != 0 || stranger.session() != "" || b.session() != session {
			t.Errorf("got %d token calls, a session (%t) or another one (%t), want none", got, stranger.session() != "", b.session() != session)
		}
		b.isPerson(t, "bob000000000", "bob@example.com")
		// Her attempt under another name is no attempt.
		name := eve.attempts()[0]
		stranger = w.traveller(t)
		stranger.cookies[w.Cookie()+"-AAAAAAAAAAAAAAAAAAAAAA"] = eve.cookies[name]
		w.toIssuer(t, stranger.get(t, back))
		if got := w.tokenCalls() - calls; got != 0 {
			t.Errorf("her attempt under another name: got %d token calls, want none", got)
		}
		// Her own answer still counts, once.
		w.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person = guest("eve@example.com") })
		seeOther(t, eve.get(t, back), "/mine")
		eve.isPerson(t, "guest-eve", "eve@example.com")
	})
	t.Run("an answer older than the question", func(t *testing.T) {
		clock := gatewaytest.NewClock()
		f, _ := inviting(t, gatewaytest.Options{Clock: clock})
		w := way{front: f}
		link := f.link(t, "ann@example.com", "/mine")
		for _, age := range []time.Duration{61 * time.Second, time.Hour, 300 * 24 * time.Hour} {
			p := w.traveller(t)
			back := p.spend(t, p.present(t, p.get(t, link)))
			f.Issuer.Do(func(i *gatewaytest.Issuer) { i.AuthTime = clock.Now().Add(-age) })
			shows(t, p.get(t, back), http.StatusBadRequest, headFailed)
			if p.session() != "" {
				t.Errorf("%s ago: there is a session", age)
			}
			f.Issuer.Do(func(i *gatewaytest.Issuer) { i.AuthTime = time.Time{} })
			link = f.link(t, "ann@example.com", "/mine")
		}
		// An attempt that is over is begun anew, for her alone, without the token, once.
		p := w.traveller(t)
		back := p.spend(t, p.present(t, p.get(t, link)))
		clock.Add(61 * time.Minute)
		f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person = guest("eve@example.com") })
		a := p.get(t, back)
		if q := p.toIssuer(t, a); q.Has("one_time_token") || q.Get("prompt") != "login consent" {
			t.Errorf("begun anew: the issuer is asked %q", q)
		}
		shows(t, p.get(t, p.atIssuer(t, a)), http.StatusBadRequest, headFailed)
		if p.session() != "" {
			t.Error("begun anew, somebody else has a session")
		}
	})
}

func uninvitedPages(t *testing.T, d *doors) {
	d.invited(t, func(t *testing.T, w way, n *inviter) {
		link := w.link(t, "ann@example.com", "/admin/x")
		p := w.traveller(t)
		p.accept(t, link, "/admin/x")
		for range 2 {
			if a := p.get(t, "/admin/x"); a.Status != http.StatusForbidden {
				t.Errorf("the page that only admins may open: got %s, want 403", a)
			}
			w.nothingReached(t)
			seeOther(t, p.get(t, link), "/admin/x")
		}
		p.isPerson(t, "guest-ann", "ann@example.com") // where everybody may be, she may
	})
	t.Run("a closed route, and an address of nobody's", func(t *testing.T) {
		f, n := inviting(t, gatewaytest.Options{Routes: strict + "  - {name: closed, path: /closed, access: deny}\n  - {name: staff, path: /staff, allow: [{email_domains: [staff.example]}], upstreams: [{url: UPSTREAM}]}\n"})
		asked, _ := n.requests()
		for _, page := range []string{"/closed", "/closed/x?y", "/closed/", "/clos%65d"} {
			a := f.invites(t, invitation(t, "ann@example.com", f.URL+page, ""))
			if got := invitationIn(t, a); a.Status != http.StatusBadRequest || got.Link != "" {
				t.Errorf("%s: got %s\n%s", page, a, a.Body)
			}
		}
		if after, _ := n.requests(); after != asked {
			t.Errorf("the issuer was asked for %d tokens, want none", after-asked)
		}
		p := way{front: f}.traveller(t)
		p.accept(t, f.link(t, "ann@staff.example.evil.test", "/staff"), "/staff")
		if a := p.get(t, "/staff"); a.Status != http.StatusForbidden {
			t.Errorf("a guest of another domain: got %s, want 403", a)
		}
		f.nothingReached(t)
	})
}
