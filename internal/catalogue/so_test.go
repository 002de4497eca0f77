package catalogue_test

import (
	"encoding/base64"
	"errors"
	"html"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

var signOuts = family{ID: "SO", Title: "Signing out", Attacks: []attack{
	{ID: "SO-01", Name: "cross-site sign-out", Want: "images, frames, links and forms of other sites get the page that asks; signed out is who presses its button", Why: "logout CSRF; also in Chromium", Test: crossSiteSignOut},
	{ID: "SO-02", Name: "complete", Want: "row and cookie are gone, the refresh token is revoked with client authentication, the browser goes to the issuer's end of session with the hint and a state; the old cookie is refused at once, and by another replica within a second", Test: completeSignOut},
	{ID: "SO-03", Name: "post-logout target", Want: "the configured one, whatever is asked for, and a page that links to no other host", Why: "CVE-2019-14857, CVE-2021-32786 mod_auth_openidc", Test: signOutTargets},
	{ID: "SO-04", Name: "attributes of the deleted cookie", Want: "those it was set with, so that a browser drops it", Why: "CVE-2025-55162 Envoy; also in Chromium", Test: deletedCookies},
	{ID: "SO-05", Name: "the issuer is down", Want: "signed out here in about a second, and the page says that the issuer may still remember", Why: "libraries that clear, and then fail on discovery", Test: signOutAlone},
	{ID: "SO-06", Name: "forged cookie", Want: "no other session is touched, and it can be done again and again", Why: "CVE-2025-71402", Test: forgedSignOut},
	{ID: "SO-07", Name: "many tabs and sockets", Want: "ten sign-outs at once end one row and revoke its token alone; sockets close, and nothing brings the session back", Test: manySignOuts},
	{ID: "SO-08", Name: "caching after sign-out", Want: "protected pages are not kept, the browser's cache is cleared, and going back shows nothing; also in Chromium", Test: cachedAfterSignOut},
	{ID: "SO-09", Name: "front-channel logout by sid", Want: "there is none: nobody is signed out, and nothing is revoked", Why: "mod_auth_openidc, August 2026", Test: frontChannel},
}}

// enter is a newcomer who has signed in over a way.
func (w way) enter(t *testing.T) *traveller {
	t.Helper()
	w.newcomer(t)
	w.cookie = ""
	p := w.traveller(t)
	seeOther(t, p.get(t, p.leave(t, "/app")), "/app")
	p.forgetAttempts()
	return p
}

// endsSession fails unless an answer signs out and sends the browser to the issuer's end of session; it returns what is
// asked there.
func (p *traveller) endsSession(t *testing.T, a *gatewaytest.Answer) url.Values {
	t.Helper()
	location := a.Header.Get("Location")
	if a.Status != http.StatusSeeOther || !strings.HasPrefix(location, p.Issuer.URL+"/oidc/session/end?") || a.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("got %s to %q with Cache-Control %q, want 303 to the issuer's end of session and no-store\n%s", a, location, a.Header.Get("Cache-Control"), a.Body)
	}
	if got := a.Header.Get("Clear-Site-Data"); got != `"cache"` {
		t.Errorf("Clear-Site-Data: got %q, want the cache", got)
	}
	q := queryOf(t, location)
	for name, values := range q {
		if len(values) != 1 || !slices.Contains([]string{"client_id", "id_token_hint", "post_logout_redirect_uri", "state"}, name) {
			t.Errorf("%s at the end of session: got %q", name, values)
		}
	}
	if q.Get("client_id") != p.Issuer.AppID || q.Get("post_logout_redirect_uri") != p.URL+"/_portero/signed-out" || q.Get("state") == "" {
		t.Errorf("got client %q, target %q and the state %q", q.Get("client_id"), q.Get("post_logout_redirect_uri"), q.Get("state"))
	}
	p.Secret(q.Get("id_token_hint"), "id_token_hint")
	return q
}

// signsOut posts the form that signs out.
func (p *traveller) signsOut(t *testing.T) url.Values {
	t.Helper()
	return p.endsSession(t, p.post(t, "/sign-out", nil))
}

func crossSiteSignOut(t *testing.T, d *doors) {
	nav := []string{"Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
	meta := func(site, origin string, more ...string) [][2]string {
		lines := with(fieldsOf(nav...), "Sec-Fetch-Site", site)
		if origin != "" {
			lines = with(lines, "Origin", origin)
		}
		return with(lines, more...)
	}
	d.stranger(t, func(t *testing.T, w way) {
		p := w.enter(t)
		rows := w.Sessions(t)
		for _, tt := range []struct {
			what, method string
			lines        [][2]string
		}{
			{"image", "GET", fieldsOf("Accept", "text/html", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image")},
			{"image of our own page", "GET", fieldsOf("Accept", "text/html", "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image")},
			{"script of our own page", "GET", fieldsOf("Accept", "text/html", "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty")},
			{"link", "GET", meta("cross-site", "")},
			{"link of a sibling", "GET", meta("same-site", "")},
			{"typed address", "GET", meta("none", "")},
			{"frame", "GET", fieldsOf("Accept", "text/html", "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe")},
			{"prefetch", "GET", meta("same-origin", "", "Sec-Purpose", "prefetch")},
			{"prerender", "GET", meta("same-origin", "", "Sec-Purpose", "prefetch;prerender")},
			{"no metadata", "GET", fieldsOf("Accept", "text/html", "Referer", w.URL+"/")},
			{"head", "HEAD", meta("same-origin", "")},
			{"form", "POST", meta("cross-site", "https://evil.example")},
			{"form without origin", "POST", meta("cross-site", "")},
			{"form with our origin and their metadata", "POST", meta("cross-site", w.URL)},
			{"form of a sibling", "POST", meta("same-site", "https://x.gw.test")},
			{"form of another host of ours", "POST", meta("same-site", w.Second)},
			{"form of nowhere", "POST", meta("cross-site", "null")},
			{"form of nowhere without metadata", "POST", fieldsOf("Accept", "text/html", "Origin", "null")},
			{"form without metadata", "POST", fieldsOf("Accept", "text/html", "Origin", "https://evil.example")},
			{"form of http", "POST", fieldsOf("Accept", "text/html", "Origin", strings.Replace(w.URL, "https:", "http:", 1))},
			{"form of another port", "POST", fieldsOf("Accept", "text/html", "Origin", w.URL+":8443")},
			{"form of a host that begins alike", "POST", fieldsOf("Accept", "text/html", "Origin", w.URL+".evil.example")},
			{"form that says nothing", "POST", fieldsOf("Accept", "text/html", "Referer", w.URL+"/")},
			{"form with two origins", "POST", fieldsOf("Accept", "text/html", "Origin", "https://evil.example", "Origin", w.URL)},
			{"method in a header", "GET", meta("cross-site", "", "X-HTTP-Method-Override", "POST")},
		} {
			for _, path := range []string{"/sign-out", "/_portero/sign-out", "/sign-out?return_to=/&confirm=1&post=1"} {
				a := p.send(t, request{Method: tt.method, Target: path, Lines: tt.lines})
				if tt.method == "HEAD" {
					if a.Status != http.StatusOK {
						t.Errorf("%s: got %s, want 200", tt.what, a)
					}
				} else if shows(t, a, http.StatusOK, headSignOut); !strings.Contains(a.Body, `<form method="post" action="/_portero/sign-out">`) {
					t.Errorf("%s: the page has no form that signs out\n%s", tt.what, a.Body)
				}
				if len(a.Header["Set-Cookie"]) != 0 || a.Header.Get("Clear-Site-Data") != "" {
					t.Errorf("%s %s: got the cookies %q", tt.what, path, a.Header["Set-Cookie"])
				}
			}
		}
		for _, method := range []string{"PUT", "DELETE", "OPTIONS", "PATCH"} {
			if a := p.send(t, request{Method: method, Target: "/sign-out", Lines: meta("same-origin", w.URL)}); a.Status != http.StatusMethodNotAllowed {
				t.Errorf("%s: got %s, want 405", method, a)
			}
		}
		w.rows(t, rows)
		if !p.in(t) {
			t.Error("signed out")
		}
		p.signsOut(t) // its button
		w.rows(t, rows-1)
	})
	t.Run("Chromium", func(t *testing.T) { crossSiteInBrowser(t, d.TLS()) })
}

func completeSignOut(t *testing.T, d *doors) {
	x := d.Nodes()
	for _, h2 := range []bool{false, true} {
		who, granted := newAlice(), x.all[0].Issuer.Granted()
		p, row := x.arrive(t, who)
		p = p.over(h2)
		old, there := p.twin(), p.on(x.all[1])
		for _, in := range []*traveller{old, there} {
			if !in.in(t) {
				t.Fatal("not signed in before")
			}
		}
		f := x.all[0]
		calls := f.Issuer.Calls("/oidc/token/revocation")
		f.issuer(t, func(i *gatewaytest.Issuer) {
			i.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/oidc/token/revocation" {
					if id, secret, ok := r.BasicAuth(); !ok || id != i.AppID || secret != i.AppSecret || r.Method != http.MethodPost || r.URL.RawQuery != "" {
						t.Errorf("revocation: got %s by client %q", r.Method, id)
					}
				}
				return false
			}
		})
		a := p.post(t, "/sign-out", url.Values{"return_to": {"/app?x=her-own"}})
		since := time.Now()
		old.wantOut(t)
		there.outWithin(t, since)
		x.gone(t, row)
		q := p.endsSession(t, a)
		if p.session() != "" {
			t.Error("the browser still has the cookie")
		}
		if got := len(f.Issuer.RevokedSince(granted)); got != 1 || f.Issuer.Calls("/oidc/token/revocation") != calls+1 {
			t.Errorf("revoked tokens: got %d in %d calls, want one", got, f.Issuer.Calls("/oidc/token/revocation")-calls)
		}
		if parts := strings.Split(q.Get("id_token_hint"), "."); len(parts) != 3 {
			t.Errorf("id_token_hint: got %q", q.Get("id_token_hint"))
		} else if claims, err := base64.RawURLEncoding.DecodeString(parts[1]); err != nil || !strings.Contains(string(claims), who["sid"].(string)) {
			t.Errorf("id_token_hint: got %s, want hers", claims)
		}
		if strings.Contains(a.Header.Get("Location"), "her-own") {
			t.Error("the issuer learns the return path")
		}
		// Back from the issuer: the page, its link, and nobody is signed in by it.
		back := "/_portero/signed-out?state=" + url.QueryEscape(q.Get("state"))
		a = p.get(t, back)
		shows(t, a, http.StatusOK, headSignedOut)
		if len(a.Header["Set-Cookie"]) != 0 || strings.Contains(a.Body, "http-equiv") || a.Header.Get("Refresh") != "" {
			t.Errorf("the page for those who are signed out goes on by itself, or has the cookies %q", a.Header["Set-Cookie"])
		}
		for name, target := range map[string]string{"a state that is none": "/_portero/signed-out?state=x", "none": "/_portero/signed-out", "a state of a sign-in": "/_portero/signed-out?state=" + queryOf(t, p.twin().leave(t, "/app?evil")).Get("state")} {
			a := p.get(t, target)
			shows(t, a, http.StatusOK, headSignedOut)
			if strings.Contains(a.Body, "evil") {
				t.Errorf("%s: the page has the return path of something else", name)
			}
		}
		old.wantOut(t)
		there.wantOut(t)
	}
}

// leadsTo are the addresses that a page leads to.
var leadsTo = regexp.MustCompile(`(?:href|action|value)="([^"]*)"`)

func signOutTargets(t *testing.T, d *doors) {
	values := []string{
		"//evil.test", "///evil.test", "////evil.test/..", `/\evil.test`, `\\evil.test`, `/\/evil.test`, `\/evil.test`, `/a\..\..\\evil.test`, "%2f%2fevil.test",
		"https:evil.test", "https:/evil.test", "https:///evil.test", `http:\\evil.test`, "HTTPS://evil.test", "/\t/evil.test", "/\n/evil.test", "ht\ttps://evil.test", "\x01//evil.test",
		" //evil.test", "%20//evil.test", "\u00a0//evil.test", "\u2028//evil.test", "https://gw.test@evil.test", "https://gw.test:443@evil.test", "//gw.test%40evil.test",
		"/ok\r\nSet-Cookie: evil=1", "javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,<script>alert(1)</script>", "vbscript:alert(1)", "blob:evil.test", "java\nscript:alert(1)",
		"/..//evil.test", "/./\\evil.test", "/.//evil.test", "https://gw.test.evil.test", "https://gw。evil.test", "http://[::1]evil.test", "https://evil.test:99999", "", "/" + strings.Repeat("a", 64<<10),
		"/sign-in", "/callback", "/sign-out", "/_portero/sign-out", "https://gw.test/evil",
	}
	d.stranger(t, func(t *testing.T, w way) {
		for _, value := range values {
			form := url.Values{"return_to": {value}, "post_logout_redirect_uri": {value}, "rd": {value}, "redirect_uri": {value}, "next": {value}, "state": {value}, "url": {value}, "id_token_hint": {value}, "client_id": {value}}
			long := len(value) > 1<<10
			query := "?" + form.Encode()
			if long {
				query = ""
			}
			p := w.traveller(t) // without a session it is the same
			a := p.post(t, "/sign-out"+query, form)
			if long {
				if a.Status != http.StatusRequestEntityTooLarge {
					t.Errorf("%.20q…: got %s, want 413", value, a)
				}
				continue
			}
			q := p.endsSession(t, a)
			pages := []*gatewaytest.Answer{
				p.get(t, "/_portero/signed-out?state="+url.QueryEscape(q.Get("state"))),
				p.get(t, "/_portero/signed-out"+query),
				p.get(t, "/sign-out"+query),
			}
			for _, a := range pages {
				if a.Status != http.StatusOK || a.Header.Get("Location") != "" {
					t.Errorf("%q: got %s, want 200", value, a)
				}
				for _, bad := range []string{"evil", "alert(", "javascript"} {
					if strings.Contains(strings.ToLower(a.Body), bad) {
						t.Errorf("%q: the page repeats it\n%s", value, a.Body)
					}
				}
				for _, m := range leadsTo.FindAllStringSubmatch(a.Body, -1) {
					if to := html.UnescapeString(m[1]); strings.Contains(to, ":") || strings.HasPrefix(to, "//") || strings.Contains(to, `\`) {
						t.Errorf("%q: the page leads to %q", value, to)
					}
				}
			}
		}
	})
	d.stranger(t, func(t *testing.T, w way) { // the same with one
		p := w.enter(t)
		form := url.Values{"return_to": {"//evil.test"}, "post_logout_redirect_uri": {"https://evil.test/"}, "state": {"https://evil.test/"}}
		q := p.endsSession(t, p.post(t, "/sign-out?"+form.Encode(), form))
		if !q.Has("id_token_hint") {
			t.Error("id_token_hint: got none")
		}
		a := p.get(t, "/_portero/signed-out?state="+url.QueryEscape(q.Get("state")))
		shows(t, a, http.StatusOK, headSignedOut)
		if strings.Contains(a.Body, "evil") {
			t.Errorf("the page repeats it\n%s", a.Body)
		}
	})
}

func deletedCookies(t *testing.T, d *doors) {
	d.stranger(t, func(t *testing.T, w way) {
		w.newcomer(t)
		p := w.traveller(t)
		given := w.cookieIn(t, p.get(t, p.leave(t, "/app")))
		gone := w.cookieIn(t, p.post(t, "/sign-out", nil))
		if gone.Value != "" || gone.MaxAge >= 0 || gone.Expires.IsZero() || !gone.Expires.Before(time.Now()) {
			t.Errorf("the deleted cookie: got %+v, want it empty and over", gone)
		}
		if gone.Path != given.Path || gone.Domain != given.Domain || gone.Secure != given.Secure || gone.HttpOnly != given.HttpOnly || gone.SameSite != given.SameSite || gone.Partitioned != given.Partitioned {
			t.Errorf("the deleted cookie: got %+v, want the attributes of %+v", gone, given)
		}
		if given.Path != "/" || given.Domain != "" || !given.Secure || !given.HttpOnly || given.SameSite != http.SameSiteLaxMode || !strings.HasPrefix(given.Name, "__Host-") {
			t.Errorf("the cookie: got %+v, want that of one host", given)
		}
		// One that is no session's is dropped alike.
		for _, value := range []string{"x", strings.Repeat("A", 43)} {
			p := w.traveller(t)
			p.cookies[w.Cookie()] = value
			if gone := w.cookieIn(t, p.get(t, "/app")); gone.MaxAge >= 0 || gone.Path != "/" || gone.Domain != "" || !gone.Secure {
				t.Errorf("a cookie that is no session's: got %+v, want it dropped", gone)
			}
		}
	})
	t.Run("Chromium", func(t *testing.T) { deletedInBrowser(t, d.TLS()) })
}

// cookieIn is the one Set-Cookie of an answer with the session cookie's name.
func (w way) cookieIn(t *testing.T, a *gatewaytest.Answer) *http.Cookie {
	t.Helper()
	all := slices.DeleteFunc((&http.Response{Header: a.Header}).Cookies(), func(c *http.Cookie) bool { return c.Name != w.Cookie() })
	if len(all) != 1 {
		t.Fatalf("%s: got %d cookies with the session's name, want one", a, len(all))
	}
	return all[0]
}

func signOutAlone(t *testing.T, d *doors) {
	const bound = 5 * time.Second // 0.8 s each for the revocation and for asking whether the issuer is there, and a busy machine
	d.stranger(t, func(t *testing.T, w way) {
		for what, down := range map[string]func(http.ResponseWriter, *http.Request) bool{
			"hangs":      func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true },
			"breaks off": func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) },
			"is overloaded": func(w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(http.StatusServiceUnavailable)
				return true
			},
			"speaks no JSON": func(w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(http.StatusBadGateway)
				w.Write([]byte("<p>oops"))
				return true
			},
		} {
			p := w.enter(t)
			old, rows := p.twin(), w.Sessions(t)
			w.issuer(t, func(i *gatewaytest.Issuer) { i.Answer = down })
			began := time.Now()
			a := p.post(t, "/sign-out", url.Values{"return_to": {"/wiki"}})
			if took := time.Since(began); took > bound {
				t.Errorf("the issuer %s: signing out took %s, want about a second", what, took)
			}
			to := a.Header.Get("Location")
			if a.Status != http.StatusSeeOther || !strings.HasPrefix(to, "/_portero/signed-out?state=") || p.session() != "" {
				t.Fatalf("the issuer %s: got %s to %q, want 303 to our page without cookie", what, a, to)
			}
			old.wantOut(t)
			w.rows(t, rows-1)
			a = p.get(t, to)
			shows(t, a, http.StatusOK, headSignedOut)
			for _, want := range []string{"did not answer and may still remember you", "Finish signing out", `action="/_portero/sign-out"`, `value="/wiki"`} {
				if !strings.Contains(a.Body, want) {
					t.Errorf("the issuer %s: the page does not have %q\n%s", what, want, a.Body)
				}
			}
			w.issuer(t, func(i *gatewaytest.Issuer) { i.Answer = nil })
		}
	})
}

func forgedSignOut(t *testing.T, d *doors) {
	d.stranger(t, func(t *testing.T, w way) {
		granted := w.Issuer.Granted()
		bob := w.enter(t)
		rows := w.Sessions(t)
		value := bob.session()
		for _, id := range []string{"", "x", strings.Repeat("A", 43), value[:42], value + "A", value[:42] + "_", value[1:] + value[:1], strings.ToUpper(value), strings.ToLower(value), "\"" + value[:40] + "\"", value[:21] + " " + value[21:]} {
			p := w.traveller(t)
			p.cookies[w.Cookie()] = id
			for range 2 {
				if q := p.signsOut(t); q.Has("id_token_hint") {
					t.Errorf("%q: a hint is sent for nobody", id)
				}
			}
		}
		nobody := w.traveller(t)
		for range 2 {
			if q := nobody.signsOut(t); q.Has("id_token_hint") {
				t.Error("without a cookie: a hint is sent for nobody")
			}
		}
		// His subject, sid and id, in everything but the cookie.
		for _, form := range []url.Values{{"sid": {"sid-0001"}, "sub": {"newcomer0001"}}, {"id": {value}, "session": {value}}, {w.Cookie(): {value}}} {
			nobody.endsSession(t, nobody.post(t, "/sign-out?"+form.Encode(), form))
		}
		two := w.traveller(t) // which of them is meant cannot be told
		two.cookies[w.Cookie()] = value + "; " + w.Cookie() + "=" + strings.Repeat("A", 43)
		if q := two.signsOut(t); q.Has("id_token_hint") {
			t.Error("two cookies: one of them was taken")
		}
		w.rows(t, rows)
		if !bob.in(t) || len(w.Issuer.RevokedSince(granted)) != 0 {
			t.Errorf("the other person is signed out, or %d tokens are revoked", len(w.Issuer.RevokedSince(granted)))
		}
	})
}

func manySignOuts(t *testing.T, d *doors) {
	x := d.Nodes()
	const tabs = 10
	for _, h2 := range []bool{false, true} {
		f := x.all[0]
		granted := f.Issuer.Granted()
		p, row := x.arrive(t, newAlice())
		socket := p.socket(t)
		p = p.over(h2)
		old := p.twin()
		var wg sync.WaitGroup
		var done atomic.Int64
		for n := range tabs {
			out, in, there := p.twin(), p.twin(), p.on(x.all[n%2])
			wg.Go(func() {
				switch a := out.post(t, "/sign-out", nil); {
				case a.Status == http.StatusSeeOther && out.session() == "":
					done.Add(1)
				case a.Status != http.StatusServiceUnavailable: // which is honest on a busy machine
					t.Errorf("signing out: got %s, want 303 and no cookie", a)
				}
			})
			for _, tab := range []*traveller{in, there} {
				wg.Go(func() {
					a := tab.send(t, request{}) // one that is under way when the session ends is broken off, and does not hang
					switch {
					case a.Status == http.StatusOK, a.Status == http.StatusUnauthorized, a.Status == http.StatusServiceUnavailable:
					case a.Status != 0, errors.Is(a.Err, os.ErrDeadlineExceeded):
						t.Errorf("a request meanwhile: got %s, want 200, 401, 503 or its end", a)
					}
				})
			}
		}
		wg.Wait()
		since := time.Now()
		if done.Load() == 0 {
			t.Fatal("nobody could sign out")
		}
		if old.let(t) { // what was broken off may still arrive at the application
			t.Error("it is still signed in")
		}
		p.on(x.all[1]).outWithin(t, since)
		x.gone(t, row)
		socket()
		gatewaytest.Await(t, "the token is revoked", func() bool { return len(f.Issuer.RevokedSince(granted)) > 0 })
		tokens := f.Issuer.RevokedSince(granted) // those who met her session in the act may all say so
		slices.Sort(tokens)
		if got := len(slices.Compact(tokens)); got != 1 {
			t.Errorf("revoked tokens: got %d, want one", got)
		}
		old.wantOut(t)
		x.gone(t, row)
	}
}

// socket opens a WebSocket with the session; what it returns fails unless the gateway closes it.
func (p *traveller) socket(t *testing.T) (closed func()) {
	t.Helper()
	f := p.front
	f.Upstream.Say(func(head string) string {
		if !strings.Contains(head, "Sec-Websocket-Key:") {
			return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
		}
		return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
	}, false)
	t.Cleanup(func() { f.Upstream.Say(nil, false) })
	c := p.Dial(t)
	c.Send(request{Target: "/ws", Lines: fieldsOf("Cookie", p.jar(), "Origin", p.URL, "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13",
		"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")}.text(p.host))
	if a := c.Answer("GET"); a.Status != http.StatusSwitchingProtocols {
		t.Fatalf("opening the socket: got %s, want 101\n%s", a, a.Body)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for b := make([]byte, 1024); ; {
			if _, err := c.Read(b); err != nil {
				return
			}
		}
	}()
	return func() {
		t.Helper()
		select {
		case <-ended:
		case <-time.After(10 * time.Second): // two on a machine of one's own
			t.Error("the socket is still open")
		}
		c.Close()
	}
}

func cachedAfterSignOut(t *testing.T, d *doors) {
	d.stranger(t, func(t *testing.T, w way) {
		p := w.enter(t)
		if got := p.get(t, "/app").Header["Cache-Control"]; len(got) != 1 || got[0] != "private, no-store" {
			t.Errorf("Cache-Control of protected HTML: got %q, want private, no-store", got)
		}
		for _, target := range []string{"/_portero/", "/_portero/session", "/sign-out", "/sign-in"} {
			if got := p.get(t, target).Header["Cache-Control"]; len(got) != 1 || got[0] != "no-store" {
				t.Errorf("Cache-Control of %s: got %q, want no-store", target, got)
			}
		}
		p.signsOut(t) // which looks at Clear-Site-Data
	})
	t.Run("Chromium", func(t *testing.T) { backAfterSignOut(t, d.TLS()) })
}

func frontChannel(t *testing.T, d *doors) {
	d.stranger(t, func(t *testing.T, w way) {
		granted := w.Issuer.Granted()
		p := w.enter(t)
		rows := w.Sessions(t)
		sid := ""
		w.Issuer.Do(func(i *gatewaytest.Issuer) { sid = i.Person["sid"].(string) })
		query := "?" + url.Values{"sid": {sid}, "iss": {w.Issuer.URL + "/oidc"}}.Encode()
		for path, status := range map[string]int{
			"/_portero/front-logout": 404, "/_portero/frontchannel-logout": 404, "/_portero/front-channel-logout": 404, "/_portero/logout": 404, "/_portero/backchannel-logout": 405,
			"/sign-out": 200, "/_portero/sign-out": 200, "/_portero/signed-out": 303, "/callback": 400,
		} {
			for _, cookies := range []bool{true, false} { // Lax cookies do not come with a frame
				who := p.twin()
				want := status
				if !cookies {
					who = w.traveller(t)
					if want == 303 {
						want = 200
					}
				}
				for _, dest := range []string{"iframe", "image", "document"} {
					a := who.send(t, request{Target: path + query, Lines: fieldsOf("Accept", "text/html", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", dest)})
					if a.Status != want || len(a.Header["Set-Cookie"]) != 0 {
						t.Errorf("%s as %s, with cookies %t: got %s and the cookies %q, want %d and none", path, dest, cookies, a, a.Header["Set-Cookie"], want)
					}
				}
			}
		}
		w.nothingReached(t)
		w.rows(t, rows)
		if got := len(w.Issuer.RevokedSince(granted)); got != 0 || !p.in(t) {
			t.Errorf("signed out, or %d tokens revoked", got)
		}
	})
}
