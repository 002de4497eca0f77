package catalogue_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

func replayedLinks(t *testing.T, d *doors) {
	d.invited(t, func(t *testing.T, w way, n *inviter) {
		address := fmt.Sprintf("once%d@example.com", newcomers.Add(1)) // whose sign-out ends nobody else's session
		link := w.link(t, address, "/mine")
		rows := w.Sessions(t)
		people := make([]*traveller, 20)
		forms, backs := make([]string, len(people)), make([]string, len(people))
		for i := range people {
			people[i] = w.traveller(t)
			forms[i] = people[i].present(t, people[i].get(t, link))
		}
		var wait sync.WaitGroup
		for i, p := range people {
			wait.Go(func() { backs[i] = p.spend(t, forms[i]) })
		}
		wait.Wait()
		in := 0
		for i, p := range people {
			if backs[i] == "" {
				continue // the issuer says that the link was used; there the person stays
			}
			in++
			seeOther(t, p.get(t, backs[i]), "/mine")
			head := p.reaches(t)
			exactly(t, head, "X-Auth-Email", address)
			// The address that the issuer sent her back to is worth nothing to others.
			other := w.traveller(t)
			calls := w.tokenCalls()
			w.toIssuer(t, other.get(t, backs[i]))
			if got := w.tokenCalls() - calls; got != 0 {
				t.Errorf("the answer in another browser: got %d token calls, want none", got)
			}
			// Nor is the link, when she has signed out.
			seeOtherPlace(t, p.post(t, "/sign-out", nil))
			if p.spend(t, p.present(t, p.get(t, link))) != "" {
				t.Error("after signing out the link signs in again")
			}
		}
		if in != 1 {
			t.Errorf("of twenty browsers %d were let in, want 1", in)
		}
		w.rows(t, rows)
		w.nothingReached(t)
	})
}

// reaches asks for a page as whoever is signed in, and returns the head that reached the application.
func (p *traveller) reaches(t *testing.T) string {
	t.Helper()
	p.Upstream.Forget()
	if a := p.get(t, "/mine"); a.Status != http.StatusOK {
		t.Errorf("the page: got %s, want 200", a)
	}
	head, _ := p.reached(t)
	return head
}

// seeOtherPlace fails unless an answer is a 303, wherever to.
func seeOtherPlace(t *testing.T, a *gatewaytest.Answer) {
	t.Helper()
	if a.Status != http.StatusSeeOther {
		t.Fatalf("got %s, want 303\n%s", a, a.Body)
	}
}

// corpusOfRedirects are open redirects, as they are and decoded once and twice.
func corpusOfRedirects(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("testdata/openredirects.txt")
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]bool{}
	for l := range strings.Lines(string(text)) {
		l = strings.TrimSuffix(l, "\n")
		once := decoded(l)
		values[l], values[once], values[decoded(once)] = true, true, true
	}
	if len(values) < 550 {
		t.Fatalf("the corpus has %d values, want 550 at least", len(values))
	}
	return slices.Sorted(maps.Keys(values))
}

func invitedElsewhere(t *testing.T, d *doors) {
	_, f, of := d.Inviting()
	n := of[f]
	w := way{front: f}
	ann := w.traveller(t)
	ann.accept(t, f.link(t, "ann@example.com", "/mine"), "/mine")
	k := w.talk(t)
	defer k.close()
	seen := map[string]string{}
	made, refused := 0, 0
	for _, value := range corpusOfRedirects(t) {
		for _, to := range []string{value, f.URL + value, f.URL + "/" + value, "https://gw.test" + value, "https:" + value, f.URL + "/?next=" + value, f.URL + "/#" + value} {
			asked, _ := n.requests()
			a := f.invites(t, invitation(t, "ann@example.com", to, ""))
			got := invitationIn(t, a)
			after, _ := n.requests()
			switch {
			case a.Status == http.StatusBadRequest && got.Field == "to" && got.Link == "" && after == asked:
				refused++
				continue
			case a.Status != http.StatusCreated || after != asked+1:
				t.Fatalf("%q: got %s with %d requests for a token\n%s", to, a, after-asked, a.Body)
			}
			made++
			target, ok := strings.CutPrefix(got.Link, f.URL)
			if !ok || !strings.HasPrefix(got.To, f.URL+"/") {
				t.Fatalf("%q: the link is %s, to %s; want both on our host", to, got.Link, got.To)
			}
			// Who is signed in as that address goes straight on.
			a = k.ask(request{Target: target, Lines: with(navigation, "Cookie", ann.jar())})
			if to := a.Header.Get("Location"); a.Status != http.StatusSeeOther || f.URL+to != got.To {
				t.Fatalf("%q: the link leads to %q with %s, want 303 to what was said, %s", to, to, a, got.To)
			}
			seen[a.Header.Get("Location")] = to
		}
	}
	if made < 100 || refused < 1000 {
		t.Errorf("%d were made and %d refused: the corpus is not what it was", made, refused)
	}
	for name, to := range map[string]string{
		"a user": "https://gw.test@evil.test/", "ours as the user": "https://gw.test:443@evil.test/", "ours behind a user": "https://evil.test@gw.test/", "a suffix": "https://gw.test.evil.test/", "a prefix": "https://evil-gw.test/", "another port": "https://gw.test:444/",
		"another scheme": "http://gw.test/", "a script": "javascript://gw.test/%0aalert(1)", "data": "data:text/html,x", "a backslash": `https://gw.test\@evil.test/`, "three slashes": "https:///evil.test/", "an unknown host": "https://nowhere.test/",
		"a sign-out": f.URL + "/sign-out", "another invitation": f.URL + "/_portero/invitation?i=x", "an encoded endpoint": f.URL + "/%73ign-out", "a line end": f.URL + "/x\r\nSet-Cookie: x=1", "NUL": f.URL + "/x\x00", "dots": f.URL + "/public/../admin", "an encoded slash": f.URL + "/a%2fb",
	} {
		a := f.invites(t, invitation(t, "ann@example.com", to, ""))
		if got := invitationIn(t, a); a.Status != http.StatusBadRequest || got.Field != "to" || got.Link != "" || strings.Contains(a.Body, "evil.test") || a.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: got %s\n%s", name, a, a.Body)
		}
	}
	staysHere(t, seen)
	f.Upstream.Forget()
}

func linkedElsewhere(t *testing.T, d *doors) {
	d.invited(t, func(t *testing.T, w way, n *inviter) {
		link := w.link(t, "ann@example.com", "/mine?x=1")
		ann := w.traveller(t)
		ann.accept(t, w.link(t, "ann@example.com", "/mine"), "/mine")
		k := w.talk(t)
		defer k.close()
		values := corpusOfRedirects(t)
		if w.h2 || w.TLS {
			values = values[:100]
		}
		for i, value := range values {
			name := []string{"return_to", "to", "Return", "rd", "redirect", "redirect_uri", "next", "url", "To", "target_link_uri", "state", "host"}[i%12]
			target := link + "&" + url.Values{name: {value}}.Encode()
			a := k.ask(request{Target: target, Lines: with(navigation, "Cookie", ann.jar(), "Referer", "https://evil.test/", "X-Forwarded-Prefix", "/evil", "X-Original-URL", "/evil")})
			if got := a.Header.Get("Location"); a.Status != http.StatusSeeOther || got != "/mine?x=1" {
				t.Fatalf("%s=%q: got %s to %q, want 303 to the page", name, value, a, got)
			}
		}
		// Through the whole sign-in, too.
		p := w.traveller(t)
		a := p.get(t, link+"&return_to=https://evil.test/&to=//evil.test")
		if strings.Contains(a.Header.Get("Location"), "evil") {
			t.Errorf("the issuer is told %q", a.Header.Get("Location"))
		}
		seeOther(t, p.get(t, p.spend(t, p.present(t, a))), "/mine?x=1")
		w.Upstream.Forget()
	})
	t.Run("a page that has become ours", func(t *testing.T) {
		f, _ := inviting(t, gatewaytest.Options{})
		link := f.link(t, "ann@example.com", "/leave?x=1")
		g, n := inviting(t, gatewaytest.Options{Issuer: f.Issuer, Extra: "endpoints: {sign_out: /leave}\n" + headers})
		n.tokens[tokenOf(t, way{front: f}, link)] = "ann@example.com"
		p := way{front: g}.traveller(t)
		p.accept(t, link, "/")
		seeOther(t, p.get(t, link), "/")
		if p.session() == "" {
			t.Error("nobody is signed in")
		}
	})
}

// tokenOf is the one-time token of a link, as the issuer is shown it.
func tokenOf(t *testing.T, w way, link string) string {
	t.Helper()
	p := w.traveller(t)
	return p.toIssuer(t, p.get(t, link)).Get("one_time_token")
}

func parametersBeside(t *testing.T, d *doors) {
	allowed := []string{"client_id", "redirect_uri", "response_type", "scope", "state", "nonce", "code_challenge", "code_challenge_method", "prompt", "max_age", "login_hint", "one_time_token", "ui_locales"}
	asks := func(t *testing.T, q url.Values, email string, more ...string) {
		t.Helper()
		for name, values := range q {
			if !slices.Contains(append(slices.Clone(allowed), more...), name) || len(values) != 1 {
				t.Errorf("the issuer is asked %s=%q, want our own parameters alone, each once", name, values)
			}
		}
		if q.Get("login_hint") != email || q.Get("prompt") != "login consent" || !strings.HasPrefix(q.Get("one_time_token"), oneTimeToken) {
			t.Errorf("the issuer is asked %q, want the token, %s and a fresh sign-in", q, email)
		}
	}
	d.invited(t, func(t *testing.T, w way, n *inviter) {
		link := w.link(t, "ann+x@example.com", "/mine")
		for _, more := range []string{
			"", "&direct_sign_in=social:evil", "&one_time_token=evil", "&login_hint=eve@evil.test", "&prompt=none", "&redirect_uri=https://evil.test/", "&client_id=evil", "&scope=evil", "&state=evil&nonce=evil", "&max_age=99999999", "&first_screen=register",
			"&identifier=username", "&ui_locales=xx", "&organization_id=evil", "&response_mode=fragment", "&extra[direct_sign_in]=x", "&request=evil&request_uri=https://evil.test/", "&i[]=x", "&Token=evil&Email=eve@evil.test&Ends=9999999999&Host=evil.test",
		} {
			a := w.traveller(t).get(t, link+more)
			asks(t, w.toIssuer(t, a), "ann+x@example.com")
			if strings.Contains(a.Header.Get("Location"), "evil") {
				t.Errorf("%s: the issuer is told %q", more, a.Header.Get("Location"))
			}
		}
		for _, lines := range [][][2]string{with(navigation, "Cookie", "direct_sign_in=social:evil; login_hint=evil"), with(navigation, "X-Direct-Sign-In", "evil"), with(navigation, "Accept-Language", "evil&login_hint=evil")} {
			a := w.ask(t, request{Target: link, Lines: lines})
			asks(t, w.toIssuer(t, a), "ann+x@example.com")
		}
	})
	t.Run("an operator's own", func(t *testing.T) {
		f, _ := inviting(t, gatewaytest.Options{Management: machine + `}, sign_in: {first_screen: register, identifiers: [username], extra_params: [{name: direct_sign_in, value: "social:google"}, {name: organization_id, value: org1}, {name: one_time_token, value: theirs}]`})
		w := way{front: f}
		q := w.toIssuer(t, w.traveller(t).get(t, f.link(t, "ann@example.com", "/mine")))
		asks(t, q, "ann@example.com", "organization_id")
		if q.Get("organization_id") != "org1" {
			t.Errorf("organization_id: got %q", q["organization_id"])
		}
		if q := w.toIssuer(t, w.traveller(t).get(t, "/app")); q.Get("direct_sign_in") != "social:google" || q.Get("one_time_token") != "theirs" {
			t.Errorf("without an invitation: got %q", q)
		}
	})
}

// unasked are requests that no person makes.
var unasked = map[string][][2]string{
	"a prefetch":                     with(navigation, "Sec-Purpose", "prefetch"),
	"a prefetch through a proxy":     with(navigation, "Sec-Purpose", "prefetch;anonymous-client-ip"),
	"a prerender":                    with(navigation, "Sec-Purpose", "prefetch;prerender"),
	"an old prefetch":                with(navigation, "Purpose", "prefetch"),
	"an old prefetch of Firefox":     with(navigation, "X-Moz", "prefetch"),
	"a preview":                      with(navigation, "X-Purpose", "preview"),
	"a frame":                        fieldsOf("Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Sec-Fetch-Site", "cross-site"),
	"a frame of ours":                fieldsOf("Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "frame", "Sec-Fetch-Site", "same-origin"),
	"an object":                      fieldsOf("Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "object", "Sec-Fetch-Site", "cross-site"),
	"an embed":                       fieldsOf("Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "embed", "Sec-Fetch-Site", "cross-site"),
	"fetch":                          fieldsOf("Accept", "*/*", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.test"),
	"fetch without reading":          fieldsOf("Accept", "text/html", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "cross-site"),
	"fetch of our own page":          fieldsOf("Accept", "text/html", "Sec-Fetch-Mode", "same-origin", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "same-origin"),
	"an old script":                  fieldsOf("Accept", "text/html", "X-Requested-With", "XMLHttpRequest"),
	"an image":                       fieldsOf("Accept", "image/avif,image/webp,*/*;q=0.8", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image", "Sec-Fetch-Site", "cross-site"),
	"an image of an old browser":     fieldsOf("Accept", "image/png,image/*;q=0.8,*/*;q=0.5"),
	"a script element":               fieldsOf("Accept", "*/*", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "script", "Sec-Fetch-Site", "cross-site"),
	"a style sheet":                  fieldsOf("Accept", "text/css,*/*;q=0.1", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "style", "Sec-Fetch-Site", "cross-site"),
	"a program":                      fieldsOf("Accept", "*/*", "User-Agent", "Slackbot-LinkExpanding 1.0"),
	"a program that says nothing":    nil,
	"a program that reads JSON":      fieldsOf("Accept", "application/json"),
	"a WebSocket":                    fieldsOf("Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
	"half of what browsers send":     fieldsOf("Accept", "text/html", "Sec-Fetch-Dest", "document"),
	"the other half":                 fieldsOf("Accept", "text/html", "Sec-Fetch-Mode", "navigate"),
	"the site alone":                 fieldsOf("Accept", "text/html", "Sec-Fetch-Site", "none"),
	"a destination nobody knows yet": fieldsOf("Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "fencedframe"),
}

func unaskedLinks(t *testing.T, d *doors) {
	d.invited(t, func(t *testing.T, w way, n *inviter) {
		link := w.link(t, "ann@example.com", "/mine")
		alice := way{front: w.front, h2: w.h2, cookie: w.front.alice}
		rows, good := w.Sessions(t), n.unspent()
		_, shown := n.requests()
		p := w.traveller(t)
		for name, lines := range unasked {
			for who, w := range map[string]way{"": w, ", signed in": alice} {
				a := w.ask(t, request{Target: link, Lines: lines})
				if a.Status != http.StatusUnauthorized && !(w.h2 && strings.Contains(name, "WebSocket") && a.Status == http.StatusBadRequest) {
					t.Errorf("%s%s: got %s, want 401\n%.500s", name, who, a, a.Body)
				}
				p.tellsNothing(t, name+who, a, sealedIn(link)[:20], "one-time", "ann@")
			}
		}
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "QUERY", "PROPFIND", "TRACE", "CONNECT", "get", "PURGE"} {
			for _, lines := range [][][2]string{ownForm, with(navigation, "X-HTTP-Method-Override", "GET"), fieldsOf("Content-Type", "application/x-www-form-urlencoded", "Origin", "https://evil.test", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")} {
				q := request{Method: method, Target: link, Lines: lines}
				if method == "POST" {
					q.Body = strings.TrimPrefix(link, "/_portero/invitation?")
				}
				a := w.ask(t, q)
				if a.Status != http.StatusMethodNotAllowed && a.Status != http.StatusBadRequest && a.Status != http.StatusNotImplemented && !(w.h2 && a.Status == 0) {
					t.Errorf("%s: got %s, want 405\n%.500s", method, a, a.Body)
				}
				if a.Status != 0 {
					p.tellsNothing(t, method, a, sealedIn(link)[:20], "one-time", "ann@")
				}
			}
		}
		// HEAD and GET begin a sign-in in the browser that asks, and no more; who follows to the issuer without its script
		// spends nothing either.
		for range 3 {
			for _, method := range []string{"HEAD", "GET"} {
				q := w.traveller(t)
				a := q.send(t, request{Method: method, Target: link, Lines: navigation})
				q.present(t, a)
				if a.Body != "" && method == "HEAD" || q.session() != "" || len(q.attempts()) != 1 {
					t.Errorf("%s: got a body of %d bytes, a session (%t) or %d attempts, want none, none and one", method, len(a.Body), q.session() != "", len(q.attempts()))
				}
			}
		}
		if _, after := n.requests(); after != shown+6 || n.unspent() != good {
			t.Errorf("the issuer was shown %d tokens and %d were spent, want 6 and none", after-shown, good-n.unspent())
		}
		w.rows(t, rows)
		w.nothingReached(t)
		p.accept(t, link, "/mine")
	})
}

func linksWriteNothing(t *testing.T, _ *doors) {
	x := newNodes(t, 1, gatewaytest.Options{TLS: true, Management: machine})
	f := x.all[0]
	n := &inviter{rig: f.Rig, tokens: map[string]string{}, issuer: f.Issuer}
	f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Answer = n.serve })
	w := way{front: f}
	x.ready(t)
	keys := func() []string { // without what each answer about readiness writes
		return slices.DeleteFunc(x.keys(t, "*"), func(key string) bool { return key == "portero:ping" })
	}
	gatewaytest.Await(t, "the log of revocations has begun", func() bool { return slices.Contains(keys(), "portero:log") })
	before := keys()
	// PEXPIRE is not counted: the log of revocations is kept by a timer with it.
	writes := func() (total int) {
		for _, command := range []string{"set", "setex", "psetex", "setnx", "getset", "setrange", "append", "incr", "incrby", "del", "unlink", "expire", "pexpireat", "hset", "hdel", "sadd", "srem", "zadd", "zrem", "zremrangebyscore", "lpush", "rpush", "xadd", "xtrim", "publish", "copy", "rename"} {
			total += x.calls(t, command)
		}
		return total
	}
	wrote := writes()
	link := f.link(t, "ann@example.com", "/mine")
	for _, h2 := range []bool{false, true} {
		v := way{front: f, h2: h2}
		for range 30 {
			p := v.traveller(t)
			p.present(t, p.get(t, link))
			p.get(t, link)
			p.get(t, link+"x")
			p.get(t, "/_portero/invitation?i="+strings.Repeat("A", 3000))
			v.ask(t, request{Target: link, Lines: unasked["a prefetch"]})
			v.ask(t, request{Method: "HEAD", Target: link, Lines: navigation})
			p.cookies[f.Cookie()] = strings.Repeat("A", 43)
			p.get(t, link)
		}
	}
	if after := keys(); !slices.Equal(after, before) {
		t.Errorf("keys in the store: got %q, want %q", after, before)
	}
	if got := writes() - wrote; got != 0 {
		t.Errorf("writes to the store: got %d, want none", got)
	}
	f.rows(t, 0)
	// The sign-in itself does write: what was counted is what it would have been.
	w.traveller(t).accept(t, link, "/mine")
	if got := writes() - wrote; got == 0 || slices.Equal(keys(), before) {
		t.Errorf("a sign-in made %d writes: they are not counted", got)
	}
	f.rows(t, 1)
}

func invitationHeaders(t *testing.T, d *doors) {
	d.invited(t, func(t *testing.T, w way, n *inviter) {
		link := w.link(t, "ann@example.com", "/mine")
		ann := w.traveller(t)
		ann.accept(t, w.link(t, "ann@example.com", "/mine"), "/mine")
		stranger := func(target string, lines [][2]string) *gatewaytest.Answer {
			return w.ask(t, request{Target: target, Lines: lines})
		}
		for name, tt := range map[string]struct {
			a    *gatewaytest.Answer
			want int
		}{
			"on to the issuer": {stranger(link, navigation), http.StatusFound},
			"on to the page":   {ann.get(t, link), http.StatusSeeOther},
			"broken":           {stranger(link+"x", navigation), http.StatusBadRequest},
			"a prefetch":       {stranger(link, unasked["a prefetch"]), http.StatusUnauthorized},
			"a frame":          {stranger(link, unasked["a frame"]), http.StatusUnauthorized},
			"a program":        {stranger(link, unasked["a program that reads JSON"]), http.StatusUnauthorized},
			"another method":   {w.ask(t, request{Method: "PUT", Target: link, Lines: navigation}), http.StatusMethodNotAllowed},
		} {
			h := tt.a.Header
			if tt.a.Status != tt.want {
				t.Errorf("%s: got %s, want %d", name, tt.a, tt.want)
			}
			if got := h["Cache-Control"]; !slices.Equal(got, []string{"no-store"}) {
				t.Errorf("%s: Cache-Control: got %q, want no-store", name, got)
			}
			if got := h["Referrer-Policy"]; !slices.Equal(got, []string{"no-referrer"}) {
				t.Errorf("%s: Referrer-Policy: got %q, want no-referrer", name, got)
			}
			for _, other := range []string{"Etag", "Last-Modified", "Expires", "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Refresh", "Link"} {
				if got := h[other]; len(got) != 0 {
					t.Errorf("%s: %s: got %q, want none", name, other, got)
				}
			}
			if policy := h.Get("Content-Security-Policy"); tt.a.Body != "" && strings.Contains(h.Get("Content-Type"), "html") && !strings.Contains(policy, "frame-ancestors '") {
				t.Errorf("%s: Content-Security-Policy: got %q", name, policy)
			}
		}
		for name, tt := range map[string]struct {
			body string
			want int
		}{
			"made":    {invitation(t, "ann@example.com", w.URL+"/mine", ""), http.StatusCreated},
			"refused": {invitation(t, "ann", w.URL+"/mine", ""), http.StatusBadRequest},
			"no body": {"", http.StatusBadRequest},
		} {
			a := w.invites(t, tt.body)
			if a.Status != tt.want || a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("X-Content-Type-Options") != "nosniff" || a.Header.Get("Content-Type") != "application/json" || a.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("who invites, %s: got %s with %v", name, a, a.Header)
			}
		}
	})
}

func manyLinks(t *testing.T, d *doors) {
	d.invited(t, func(t *testing.T, w way, n *inviter) {
		p := w.traveller(t)
		pages := map[string]string{} // :: form at the issuer → page
		var forms []string
		for i := range 14 {
			page := fmt.Sprintf("/mine?page=%d&%s", i, strings.Repeat("q", 30*i))
			link := w.link(t, fmt.Sprintf("ann%d@example.com", i), page)
			form := p.present(t, p.get(t, link))
			forms, pages[form] = append(forms, form), page
			size := 0
			for _, name := range p.attempts() {
				size += len(name) + len(p.cookies[name])
			}
			if len(p.attempts()) > 10 || size > 6<<10 {
				t.Fatalf("after %d links: %d attempts of %d bytes, want ten of 6 KB at most", i+1, len(p.attempts()), size)
			}
		}
		for i := len(forms) - 1; i >= len(forms)-3; i-- { // each on its own
			seeOther(t, p.get(t, p.spend(t, forms[i])), pages[forms[i]])
			head := p.reaches(t)
			exactly(t, head, "X-Auth-Email", fmt.Sprintf("ann%d@example.com", i))
		}
		link := w.link(t, "ann@example.com", "/mine")
		_, shown := n.requests()
		began := time.Now()
		for name, target := range map[string]string{
			"4 KiB and one": "/_portero/invitation?i=" + strings.Repeat("A", 4097), "8 KiB": "/_portero/invitation?i=" + strings.Repeat("A", 8<<10), "40 KiB": "/_portero/invitation?i=" + strings.Repeat("A", 40<<10), "1 MiB": "/_portero/invitation?i=" + strings.Repeat("A", 1<<20),
			"beside": link + "&x=" + strings.Repeat("A", 9<<10), "many beside": link + strings.Repeat("&x", 5000), "many of it": "/_portero/invitation?" + strings.Repeat("i=A&", 2000) + "i=" + sealedIn(link), "escapes": "/_portero/invitation?i=" + strings.Repeat("%41", 3000),
		} {
			a := w.traveller(t).get(t, target)
			switch {
			case a.Status == http.StatusBadRequest:
			case a.Status == http.StatusRequestHeaderFieldsTooLarge && len(target) > 32<<10:
			case a.Status == 0 && len(target) > 64<<10: // the connection is given up
			default:
				t.Errorf("%s: got %s, want 400, 431 or the end of the connection", name, a)
			}
			if len(a.Header["Set-Cookie"]) != 0 {
				t.Errorf("%s: got the cookies %q", name, a.Header["Set-Cookie"])
			}
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("long links took %s", took)
		}
		if _, after := n.requests(); after != shown {
			t.Errorf("the issuer was shown %d tokens, want none", after-shown)
		}
		w.Upstream.Forget()
	})
}

func pathsOfLinks(t *testing.T, d *doors) {
	d.invited(t, func(t *testing.T, w way, n *inviter) {
		link := w.link(t, "ann@example.com", "/mine")
		query := link[strings.IndexByte(link, '?'):]
		_, shown := n.requests()
		for _, path := range []string{
			"/_portero/invitation/", "/_portero/Invitation", "/_PORTERO/invitation", "/_portero/%69nvitation", "/%5fportero/invitation", "/_portero%2finvitation", "/_portero//invitation", "//_portero/invitation", "/_portero/./invitation", "/x/../_portero/invitation",
			"/_portero/invitation;x", "/_portero;x/invitation", "/_portero/invitation%00", "/_portero/invitation%3f", "/_portero/invitation.json", "/_portero/invitations", "/_portero/invitation/x", `/_portero\invitation`, "/_portero/invitation%20", "/_portero/invitation%0a",
			"/invitation", "/public/../_portero/invitation", "/public/%2e%2e/_portero/invitation", "/api/_portero/invitation", "/public/_portero/invitation", "/sign-in", "/callback", "/_portero/", "/_portero/signed-in", "/_portero/continue", "/_portero/language",
		} {
			p := w.traveller(t)
			a := p.get(t, path+query)
			if strings.Contains(a.Header.Get("Location"), "one_time_token") || strings.Contains(a.Header.Get("Location"), "one-time") {
				t.Errorf("%s: the token is shown: %q", path, a.Header.Get("Location"))
			}
			if p.session() != "" {
				t.Errorf("%s: there is a session", path)
			}
			if path != "/public/_portero/invitation" { // an application's page that everybody may open
				w.nothingReached(t)
			}
			w.Upstream.Forget()
		}
		if !w.h2 {
			host := w.host
			for name, text := range map[string]string{
				"a fragment": "GET " + link + "#x HTTP/1.1\r\nHost: " + host + "\r\nAccept: text/html\r\n\r\n", "a blank": "GET " + link + " x HTTP/1.1\r\nHost: " + host + "\r\nAccept: text/html\r\n\r\n",
				"two hosts": "GET " + link + " HTTP/1.1\r\nHost: " + host + "\r\nHost: evil.test\r\nAccept: text/html\r\n\r\n", "another host in the target": "GET https://evil.test" + link + " HTTP/1.1\r\nHost: " + host + "\r\nAccept: text/html\r\n\r\n",
				"a header in the query": "GET " + link + "%0d%0aX:y\r\nX: y HTTP/1.1\r\nHost: " + host + "\r\nAccept: text/html\r\n\r\n",
			} {
				a := w.Raw(t, text)
				if a.Status != http.StatusBadRequest && a.Status != http.StatusMisdirectedRequest || a.Header.Get("Location") != "" || a.Header.Get("X") != "" {
					t.Errorf("%s: got %s to %q", name, a, a.Header.Get("Location"))
				}
			}
		}
		if _, after := n.requests(); after != shown {
			t.Errorf("the issuer was shown %d tokens, want none", after-shown)
		}
		p := w.traveller(t)
		p.accept(t, link, "/mine")
	})
}
