package catalogue_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

var invitations = family{ID: "IN", Title: "Invitations", Attacks: []attack{
	{ID: "IN-01", Name: "forged, cut and doubled links", Want: "400, no redirect, no cookie, and nothing of the link in the answer", Why: "the link is all that stands between a stranger and a sign-in without a code", Test: forgedLinks},
	{ID: "IN-02", Name: "every bit of a link", Want: "400 for each that is changed, the unused bits of the last character too", Why: "base64 has several spellings of the same bytes", Test: flippedLinks},
	{ID: "IN-03", Name: "one sealed value for another", Want: "a state, an attempt, a session and the state of a sign-out are no link, and a link is none of these", Why: "one key seals all of them", Test: confusedPurposes},
	{ID: "IN-04", Name: "links of others", Want: "400 for the link of another host, another secret, another issuer and another application", Why: "whoever may invite to one site invites to the next", Test: linksOfOthers},
	{ID: "IN-05", Name: "after its end", Want: "to the second: 410 with a way to the same page by a code, no attempt and no one-time token; whoever is signed in as somebody else is asked who they are", Why: "mails are kept for years. The clock is moved: a gateway inside the test", Test: overLinks},
	{ID: "IN-06", Name: "replay", Want: "of twenty browsers with one link one has a session; for the others the issuer refuses, and what it refused ends nowhere", Why: "mails are forwarded, and read by others", Test: replayedLinks},
	{ID: "IN-07", Name: "open redirect through the page", Want: "the corpus of open redirects, bare and behind our origin, is refused, or leads to a page on our host", Why: "whoever invites may be a program that takes pages from people", Test: invitedElsewhere},
	{ID: "IN-08", Name: "open redirect through the link", Want: "what stands beside the sealed page is not read, in whatever spelling, and a page that has become one of ours leads to the start page", Test: linkedElsewhere},
	{ID: "IN-09", Name: "parameters beside the token", Want: "the issuer is asked our own parameters alone, with one token and one address; an operator's direct_sign_in is left out", Why: "direct_sign_in would sign in by another service, and a second token for another address", Test: parametersBeside},
	{ID: "IN-10", Name: "odd addresses", Want: "line ends, several addresses, names, comments, markup, look-alikes and a megabyte: 400 or 413 that repeats none of it, and the issuer is not asked", Why: "GitHub in 2019: the mail to reset a password went to an address that only looked alike", Test: oddAddresses},
	{ID: "IN-11", Name: "markup in what is shown", Want: "address and name of the application are escaped on pages and in the mail, whose headers have one line each and whose link is not counted", Test: invitationMarkup},
	{ID: "IN-12", Name: "requests that nobody made", Want: "prefetch, prerender, preview, frame, image, script, form and every other method: no redirect, no cookie; and no request at all spends the token", Why: "programs that look through mails follow every link in them", Test: unaskedLinks},
	{ID: "IN-13", Name: "pages of others in a browser", Want: "frames, images, scripts, prefetches and prerenders of a link spend nothing and sign in nobody; the click afterwards signs in", Why: "what a browser sends is what counts", Test: linksInBrowser},
	{ID: "IN-14", Name: "writes of strangers", Want: "links that are made, opened, broken and over write nothing to the store", Why: "storage that strangers fill", Test: linksWriteNothing},
	{ID: "IN-15", Name: "canaries", Want: "token, link and what is sealed in it are in no log at debug level, no audit file, no metric and no page; the address is in the log only where a line is about the person", Why: "CVE-2022-23469 Traefik; access logs hold queries", Test: invitationCanaries},
	{ID: "IN-16", Name: "caches and referrers", Want: "no answer to a link or to who invites may be kept, tells where one came from, or is framed", Why: "the address of the page before leaks in Referer", Test: invitationHeaders},
	{ID: "IN-17", Name: "inviting without being an operator", Want: "401 without the token, 403 for another site or name, 404 or the application's behind the sign-in on the public listener; the issuer is not asked", Why: "CVE-2026-27589 Caddy", Test: strangersInvite},
	{ID: "IN-18", Name: "bodies that two readers read in two ways", Want: "members twice or in another case, trailing data, other types, other media types, a query: 400, 413 or 415, and the issuer is not asked", Why: "a program in front that checks the address checks the other one", Test: ambiguousInvitations},
	{ID: "IN-19", Name: "somebody else is signed in", Want: "until the sign-in is finished they stay who they are; then there is one session, the guest's, and the one before is worth nothing", Why: "two people in one browser", Test: linkForAnother},
	{ID: "IN-20", Name: "somebody else signs in", Want: "400 and no session for anybody but the invited address, verified; whoever was signed in stays", Why: "the issuer's page can lead to another account", Test: anotherSignsIn},
	{ID: "IN-21", Name: "an invitation begun in another browser", Want: "its answer signs in nobody elsewhere, and one that is older than the link's use signs in nobody at all", Why: "login CSRF: people who work in the account of somebody else", Test: linkBegunElsewhere},
	{ID: "IN-22", Name: "many links and long ones", Want: "at most ten attempts and 6 KB of cookies in a browser, 400 or 431 for what is long, and each link still leads to its own page", Why: "heads that grow until they are refused", Test: manyLinks},
	{ID: "IN-23", Name: "spellings of the path", Want: "no other path is the link's, none shows the token to the issuer, and none passes the link to the application unasked", Test: pathsOfLinks},
	{ID: "IN-24", Name: "an issuer that lies", Want: "502 or 503 without a link where it makes no token; what it makes is one parameter, whatever is in it; nothing it says is told", Why: "what others answer is written into an address", Test: lyingInviter},
	{ID: "IN-25", Name: "pages that are closed to the guest", Want: "an invitation opens nothing: 403 from the rules of the route, and nothing reaches the application", Why: "who may invite is not who grants", Test: uninvitedPages},
}}

func forgedLinks(t *testing.T, d *doors) {
	d.invited(t, func(t *testing.T, w way, n *inviter) {
		link := w.link(t, "ann@example.com", "/mine")
		sealed := sealedIn(link)
		half := len(sealed) / 2
		_, shown := n.requests()
		const path = "/_portero/invitation"
		p := w.traveller(t)
		for name, query := range map[string]string{
			"nothing": "", "no query": "?", "empty": "?i=", "no value": "?i", "another name": "?x=" + sealed, "in capitals": "?I=" + sealed, "as a list": "?i[]=" + sealed, "with a blank": "?+i=" + sealed,
			"cut": "?i=" + sealed[:len(sealed)-1], "cut in front": "?i=" + sealed[1:], "half": "?i=" + sealed[:half], "the other half": "?i=" + sealed[half:], "halves swapped": "?i=" + sealed[half:] + sealed[:half], "four characters": "?i=" + sealed[:4],
			"longer": "?i=" + sealed + "A", "longer in front": "?i=A" + sealed, "twice in one": "?i=" + sealed + sealed, "padded": "?i=" + sealed + "=", "padded twice": "?i=" + sealed + "%3d%3d",
			"with a line end": "?i=" + sealed[:40] + "%0a" + sealed[40:], "with CR LF": "?i=" + sealed + "%0d%0a", "with a blank behind": "?i=" + sealed + "%20", "with a plus": "?i=+" + sealed, "with NUL": "?i=" + sealed + "%00",
			"the other alphabet": "?i=%2b" + sealed[1:], "with a slash": "?i=%2f" + sealed[1:], "in lower case": "?i=" + strings.ToLower(sealed), "encoded twice": "?i=" + strings.ReplaceAll(url.QueryEscape("%"+fmt.Sprintf("%x", sealed[0])), "+", "%20") + sealed[1:],
			"doubled": "?i=" + sealed + "&i=" + sealed, "doubled, another first": "?i=x&i=" + sealed, "doubled, another last": "?i=" + sealed + "&i=x", "doubled, one empty": "?i=&i=" + sealed, "doubled, encoded": "?i=" + sealed + "&%69=" + sealed, "doubled, no value": "?i=" + sealed + "&i",
			"a semicolon": "?i=" + sealed + ";i=x", "a semicolon before": "?x;i=" + sealed, "an escape that is none": "?i=" + sealed + "&x=%zz", "JSON": "?i=" + url.QueryEscape(`{"Token":"x","Email":"ann@example.com","Return":"/","Ends":9999999999}`),
			"only A": "?i=" + strings.Repeat("A", len(sealed)), "its header alone": "?i=" + sealed[:7] + strings.Repeat("A", len(sealed)-7), "beyond ASCII": "?i=" + sealed + "%c3%a9", "not UTF-8": "?i=" + sealed + "%ff",
		} {
			p.refusedLink(t, name, p.get(t, path+query), sealed[:20], sealed[half:half+20], "ann@", "/mine")
		}
		if _, after := n.requests(); after != shown {
			t.Errorf("the issuer was shown %d tokens, want none", after-shown)
		}
		w.nothingReached(t)
		// Programs on the way add parameters of their own: those change nothing.
		p.toIssuer(t, p.twin().get(t, strings.Replace(link, "?", "?utm_source=mail&", 1)+"&fbclid=x&=y"))
		p.accept(t, link, "/mine")
	})
}

func flippedLinks(t *testing.T, d *doors) {
	d.invited(t, func(t *testing.T, w way, n *inviter) {
		link := w.link(t, "ann@example.com", "/mine")
		sealed := sealedIn(link)
		_, shown := n.requests()
		step := 1 // one way tries every bit, the others some
		if w.h2 || w.TLS {
			step = 11
		}
		k := w.talk(t)
		p := w.traveller(t)
		for i := 0; i < len(sealed); i++ {
			if i%step != 0 && i < len(sealed)-2 {
				continue
			}
			for bit := 1; bit < 64; bit <<= 1 {
				flipped := []byte(sealed)
				flipped[i] = base64url[strings.IndexByte(base64url, sealed[i])^bit]
				a := k.ask(request{Target: "/_portero/invitation?i=" + string(flipped), Lines: navigation})
				p.refusedLink(t, fmt.Sprintf("character %d of %d, bit %d", i, len(sealed), bit), a)
			}
		}
		k.close()
		if _, after := n.requests(); after != shown {
			t.Errorf("the issuer was shown %d tokens, want none", after-shown)
		}
		p.accept(t, link, "/mine")
		again := w.link(t, "ann@example.com", "/mine") // equal ones look different
		if sealedIn(again)[:24] == sealed[:24] && sealedIn(again)[24:40] == sealed[24:40] {
			t.Error("two links begin alike")
		}
	})
}

func confusedPurposes(t *testing.T, d *doors) {
	d.invited(t, func(t *testing.T, w way, n *inviter) {
		link := w.link(t, "ann@example.com", "/mine")
		sealed := sealedIn(link)
		p := w.traveller(t)
		back := p.leave(t, "/app")
		name := p.attempts()[0]
		attempt, state := p.cookies[name], queryOf(t, back).Get("state")
		seeOther(t, p.twin().get(t, back), "/app")
		alice := way{front: w.front, h2: w.h2, cookie: w.front.alice}
		_, session, _ := strings.Cut(w.front.alice, "=")
		out := w.traveller(t)
		signedOut := queryOf(t, "/"+strings.TrimPrefix(out.post(t, "/sign-out", url.Values{"return_to": {"/mine"}}).Header.Get("Location"), w.Issuer.URL)).Get("state")
		if signedOut == "" || attempt == "" || state == "" || session == "" {
			t.Fatalf("a state, an attempt, a session and the state of a sign-out: one is missing (%t %t %t %t)", state != "", attempt != "", session != "", signedOut != "")
		}

		// None of them is a link.
		_, shown := n.requests()
		stranger := w.traveller(t)
		for what, value := range map[string]string{"a state": state, "an attempt": attempt, "an attempt with its name": name + "=" + attempt, "a session": session, "the state of a sign-out": signedOut} {
			stranger.refusedLink(t, what+" as a link", stranger.get(t, "/_portero/invitation?i="+url.QueryEscape(value)))
		}
		if _, after := n.requests(); after != shown {
			t.Errorf("the issuer was shown %d tokens, want none", after-shown)
		}

		// A link is none of them.
		q := queryOf(t, back)
		q.Set("state", sealed)
		stranger.refusedCallback(t, "/callback?"+q.Encode())
		for _, cookie := range []string{w.Cookie(), name} {
			other := w.traveller(t)
			other.cookies[cookie] = sealed
			w.denied(t, other.get(t, "/app"))
			calls := w.tokenCalls()
			w.toIssuer(t, other.get(t, back)) // begun anew: there is no such attempt
			if got := w.tokenCalls() - calls; got != 0 {
				t.Errorf("a link as the cookie %s: got %d token calls, want none", cookie, got)
			}
		}
		a := stranger.get(t, "/_portero/signed-out?state="+sealed)
		if strings.Contains(a.Body, "/mine") || a.Status != http.StatusOK {
			t.Errorf("a link as the state of a sign-out: got %s with its page", a)
		}
		if a := alice.ask(t, request{Target: "/app", Lines: fieldsOf("Authorization", "Bearer "+sealed)}); a.Status != http.StatusOK {
			t.Errorf("beside a link in Authorization: got %s, want 200", a)
		}
		w.Upstream.Forget()
	})
}

// linksOfOthers tries links at gateways that differ in one thing alone: host, secret, issuer or application.
func linksOfOthers(t *testing.T, d *doors) {
	f, _ := inviting(t, gatewaytest.Options{})
	other := gatewaytest.NewIssuer(t)
	for name, o := range map[string]gatewaytest.Options{
		"another secret":      {Issuer: f.Issuer, Session: "store: memory, secret: " + gatewaytest.Canary + "another-session-secret-of-32-bytes"},
		"another issuer":      {Issuer: other, Session: sameSecret},
		"another application": {Issuer: f.Issuer, Session: sameSecret, Logto: &gatewaytest.Logto{Endpoint: f.Issuer.URL, AppID: "app-2", AppSecret: f.Issuer.AppSecret}},
	} {
		t.Run(name, func(t *testing.T) {
			n := &inviter{tokens: map[string]string{}, issuer: o.Issuer}
			o.Issuer.Do(func(i *gatewaytest.Issuer) { i.Answer = n.serve })
			o.Management = machine
			g := unsigned(t, o)
			for _, pair := range [][2]*front{{f, g}, {g, f}} {
				target := pair[0].link(t, "ann@example.com", "/mine")
				p := way{front: pair[1]}.traveller(t)
				p.refusedLink(t, "a link of the other", p.get(t, target), sealedIn(target)[:20], "/mine")
				own := way{front: pair[0]}.traveller(t)
				own.toIssuer(t, own.get(t, target)) // at home it opens
			}
			if _, shown := n.requests(); shown != 0 {
				t.Errorf("the issuer was shown %d tokens, want none", shown)
			}
		})
	}
	d.invited(t, func(t *testing.T, w way, n *inviter) {
		ours, second := w.link(t, "ann@example.com", "/mine"), w.link(t, "ann@example.com", w.Second+"/mine")
		p := w.traveller(t)
		_, shown := n.requests()
		p.refusedLink(t, "of the other host", p.get(t, second))
		p.refusedLink(t, "on the other host", p.send(t, request{Host: gatewaytest.SecondHost, Target: ours, Lines: navigation}))
		for _, host := range []string{"evil.test", "gw.test.evil.test", "evil-gw.test", "localhost", "127.0.0.1"} {
			a := p.send(t, request{Host: host, Target: ours, Lines: with(navigation, "X-Forwarded-Host", gatewaytest.Host)})
			shows(t, a, http.StatusMisdirectedRequest, headUnknownHost)
			p.tellsNothing(t, host, a, sealedIn(ours)[:20])
		}
		if _, after := n.requests(); after != shown {
			t.Errorf("the issuer was shown %d tokens, want none", after-shown)
		}
		// What a stranger says of the host is nothing.
		q := p.toIssuer(t, p.send(t, request{Target: ours, Lines: with(navigation, "X-Forwarded-Host", "evil.test", "X-Forwarded-Proto", "http", "Forwarded", "host=evil.test")}))
		if q.Get("redirect_uri") != w.URL+"/callback" {
			t.Errorf("redirect_uri: got %q", q.Get("redirect_uri"))
		}
	})
}

const headOver = "This invitation has run out"

func overLinks(t *testing.T, _ *doors) {
	clock := gatewaytest.NewClock()
	f, n := inviting(t, gatewaytest.Options{Clock: clock})
	w := way{front: f}
	link := f.linkFor(t, "ann@example.com", "/mine?x=1", "1h")
	sealed := sealedIn(link)
	ann := w.traveller(t)
	ann.accept(t, f.linkFor(t, "ann@example.com", "/mine?x=1", "1h"), "/mine?x=1")
	f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person = maps.Clone(bob) })
	other := w.traveller(t)
	seeOther(t, other.get(t, other.leave(t, "/app")), "/app")
	other.forgetAttempts()

	clock.Add(time.Hour - time.Second)
	early := w.traveller(t)
	early.present(t, early.get(t, link))
	rows := f.Sessions(t)
	_, shown := n.requests()
	clock.Add(time.Second)
	for range 2 {
		for name, p := range map[string]*traveller{"a stranger": w.traveller(t), "somebody else": other} {
			before := p.session()
			a := p.get(t, link)
			shows(t, a, http.StatusGone, headOver)
			p.tellsNothing(t, name, a, sealed[:20], "ann@", "one-time")
			want := "/_portero/sign-in?"
			if name == "somebody else" {
				want += "fresh=1&"
			}
			found := ""
			for _, l := range links(t, a.Body) {
				if strings.HasPrefix(l, want) {
					found = l
				}
			}
			if found == "" || p.session() != before {
				t.Fatalf("%s: no way on by a code, or the session was changed\n%s", name, a.Body)
			}
			if q := p.toIssuer(t, p.twin().get(t, found)); q.Has("one_time_token") || q.Has("login_hint") {
				t.Errorf("%s: the issuer is asked %q, want nothing of the invitation", name, q)
			}
		}
		for _, lines := range [][][2]string{with(navigation, "Date", "Thu, 01 Jan 1970 00:00:00 GMT"), with(navigation, "If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT"), with(navigation, "If-None-Match", "*")} {
			shows(t, w.ask(t, request{Target: link, Lines: lines}), http.StatusGone, headOver)
		}
		clock.Add(300 * 24 * time.Hour) // for years
		f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person = maps.Clone(bob) })
		other = w.traveller(t)
		seeOther(t, other.get(t, other.leave(t, "/app")), "/app")
		other.forgetAttempts()
		rows = f.Sessions(t)
	}
	if _, after := n.requests(); after != shown || n.unspent() != 1 {
		t.Errorf("the issuer was shown %d tokens, and %d are left, want none and 1", after-shown, n.unspent())
	}
	f.rows(t, rows)
	// How long a link lasts is bounded.
	for _, expires := range []string{"31d", "721h", "0s", "-1h", "59s", "99999999999999999999d", "NaN", "1e9h", "7", "∞"} {
		a := f.invites(t, invitation(t, "ann@example.com", f.URL+"/mine", expires))
		if got := invitationIn(t, a); a.Status != http.StatusBadRequest || got.Field != "expires" || got.Link != "" || strings.Contains(a.Body, expires) && len(expires) > 4 {
			t.Errorf("%s: got %s\n%s", expires, a, a.Body)
		}
	}
}
