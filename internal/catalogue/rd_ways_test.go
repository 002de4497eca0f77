package catalogue_test

import (
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

func longReturnPaths(t *testing.T, d *doors) {
	returnPaths(home("/"+strings.Repeat("a", 8<<10), "/?"+strings.Repeat("a", 20<<10)))(t, d)
	d.stranger(t, func(t *testing.T, w way) {
		rows := w.Sessions(t)
		for _, tt := range []struct {
			name, target string
			status       int
		}{
			{"8 KiB", "/sign-in?return_to=/" + strings.Repeat("a", 8<<10), 302},
			{"70 KiB", "/sign-in?return_to=/" + strings.Repeat("a", 70<<10), 431},
			{"1 MiB", "/sign-in?return_to=/" + strings.Repeat("a", 1<<20), 431},
			{"an address of 20 KiB", "/app?" + strings.Repeat("a", 20<<10), 302},
			{"a path of 20 KiB", "/app/" + strings.Repeat("a", 20<<10), 302},
		} {
			t.Run(tt.name, func(t *testing.T) {
				a := w.ask(t, request{Target: tt.target, Lines: navigation})
				if a.Status != tt.status && !(w.h2 && tt.status == 431 && a.Status == 0) { // over HTTP/2 the connection may end
					t.Fatalf("got %s, want %d", a, tt.status)
				}
				cookies := 0
				for _, c := range a.Header.Values("Set-Cookie") {
					cookies += len(c)
				}
				if l := len(a.Header.Get("Location")); l > 4<<10 || cookies > 2<<10 {
					t.Errorf("Location of %d bytes, cookies of %d, want neither to grow with the address", l, cookies)
				}
			})
		}
		w.nothingReached(t)
		w.rows(t, rows)
	})
}

func forgedState(t *testing.T, d *doors) {
	d.stranger(t, func(t *testing.T, w way) {
		p := w.traveller(t)
		back := p.leave(t, "/app?x=1")
		state := queryOf(t, back).Get("state")
		calls, rows := w.tokenCalls(), w.Sessions(t)
		k := w.talk(t)
		k.cookie = p.jar()
		refused := func(what, state string) {
			t.Helper()
			a := k.ask(request{Target: edited(t, back, func(q url.Values) { q.Set("state", state) }), Lines: navigation})
			if a.Status != http.StatusBadRequest || a.Header.Get("Location") != "" || len(a.Header.Values("Set-Cookie")) != 0 {
				t.Fatalf("%s: got %s to %q, want 400 and no cookie", what, a, a.Header.Get("Location"))
			}
		}
		for i := range state {
			other := byte('A')
			if state[i] == other {
				other = 'B'
			}
			refused("one byte changed", state[:i]+string(rune(other))+state[i+1:])
		}
		// Sealed by us, for something else: the state of a sign-out is none of a sign-in, and the other way round.
		signedOut := func(target string) string {
			a := w.ask(t, request{Method: "POST", Target: "/sign-out", Body: url.Values{"return_to": {target}}.Encode(), Lines: ownForm})
			end, err := url.Parse(a.Header.Get("Location"))
			if err != nil || a.Status != http.StatusSeeOther {
				t.Fatalf("signing out: got %s to %q", a, a.Header.Get("Location"))
			}
			return end.Query().Get("state")
		}
		other := signedOut("/other-place")
		refused("the state of a sign-out", other)
		forged := []string{state, other[:len(other)-1], other[1:], strings.ToUpper(other)}
		for i := 0; i < len(other); i += 3 {
			c := byte('A')
			if other[i] == c {
				c = 'B'
			}
			forged = append(forged, other[:i]+string(rune(c))+other[i+1:])
		}
		page := func(state string) string {
			a := k.ask(request{Target: "/_portero/signed-out?" + url.Values{"state": {state}}.Encode(), Lines: navigation})
			if a.Status != http.StatusOK || a.Header.Get("Location") != "" {
				t.Fatalf("the page after signing out: got %s to %q, want 200", a, a.Header.Get("Location"))
			}
			return a.Body
		}
		if !strings.Contains(page(other), "other-place") {
			t.Error("the page after signing out does not offer the way back")
		}
		for _, s := range forged {
			if strings.Contains(page(s), "other-place") {
				t.Errorf("a forged state of a sign-out is taken: %.20s…", s)
			}
		}
		k.close()
		if got := w.tokenCalls(); got != calls {
			t.Errorf("%d calls of the token endpoint, want none", got-calls)
		}
		w.rows(t, rows)
		w.nothingReached(t)
		seeOther(t, p.get(t, back), "/app?x=1") // the attempt itself was not touched
	})
}

func thirdPartySignIn(t *testing.T, d *doors) {
	d.stranger(t, func(t *testing.T, w way) {
		alice := w
		alice.cookie = w.front.alice
		for _, q := range []string{
			"iss=" + url.QueryEscape(w.Issuer.URL+"/oidc") + "&target_link_uri=https://evil.test", "iss=https://evil.test&target_link_uri=https://evil.test",
			"iss=https://evil.test&login_hint=x&target_link_uri=https://gw.test/app",
			"target_link_uri=/app&rd=https://evil.test&redirect=https://evil.test&next=//evil.test&redirect_uri=https://evil.test&post_logout_redirect_uri=https://evil.test",
			"return_to=/&return_to=https://evil.test", "return_to=https://evil.test&return_to=/x", "return_to[]=https://evil.test", "Return_To=https://evil.test", "return_to%00=x",
			"login_hint=x%26redirect_uri%3Dhttps://evil.test%26prompt%3Dnone", "state=evil&nonce=evil&code_challenge=evil&client_id=evil&scope=evil&prompt=none&response_type=token&response_mode=fragment",
		} {
			seeOther(t, alice.ask(t, request{Target: "/sign-in?" + q, Lines: navigation}), "/")
			p := w.traveller(t)
			a := p.get(t, "/sign-in?"+q)
			asked := p.toIssuer(t, a)
			if got := asked["redirect_uri"]; len(got) != 1 || got[0] != w.URL+"/callback" || strings.Contains(a.Header.Get("Location"), "evil") {
				t.Errorf("%s: the authorization request is %q, want our own parameters alone", q, asked)
			}
			seeOther(t, p.get(t, p.atIssuer(t, a)), "/")
		}
		w.nothingReached(t)
	})
}

// storedAddresses: the address that was asked for is a return path too. It comes back as it was, or as the start page.
func storedAddresses(t *testing.T, d *doors) {
	f := d.Loose()
	seen := map[string]string{}
	for _, tt := range []struct{ name, target, want string }{ // want "": 400 at once
		{"scheme-relative", "//evil.test", "/"},
		{"scheme-relative with a query", "//evil.test/?x=1", "/"},
		{"three slashes", "///evil.test", "/"},
		{"a backslash", `/\evil.test`, ""},
		{"an encoded backslash", "/%5cevil.test", "/%5cevil.test"},
		{"an encoded slash", "/%2fevil.test", "/%2fevil.test"},
		{"encoded twice", "/%252fevil.test", "/%252fevil.test"},
		{"a tab", "/%09/evil.test", ""},
		{"line ends", "/ok%0d%0aSet-Cookie:%20x=1", ""},
		{"a query", "/app?x=//evil&y=%0d%0a", "/app?x=//evil&y=%0d%0a"},
		{"a backslash in the query", `/app?x=\\evil`, "/app"},
		{"dots", "/..//evil.test", ""},
		{"encoded dots", "/%2e%2e//evil.test", ""},
		{"a parameter", "/app;//evil.test", "/app;//evil.test"},
		{"a page of ours in another spelling", "/app?return_to=/sign-out", "/app?return_to=/sign-out"},
	} {
		for _, w := range []way{{front: f}, {front: f, h2: true}} {
			t.Run(tt.name+map[bool]string{true: " over HTTP 2"}[w.h2], func(t *testing.T) {
				p := w.traveller(t)
				a := p.get(t, tt.target)
				if tt.want == "" {
					if a.Status != http.StatusBadRequest || a.Header.Get("Location") != "" {
						t.Errorf("got %s to %q, want 400", a, a.Header.Get("Location"))
					}
					return
				}
				last := p.get(t, p.atIssuer(t, a))
				seeOther(t, last, tt.want)
				seen[last.Header.Get("Location")] = tt.target
				f.nothingReached(t)
			})
		}
	}
	staysHere(t, seen)
}

// upstreamRedirects: an application's redirect is its own, save that its own address becomes the one that was typed,
// and stays ours.
func upstreamRedirects(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		_, up, _ := strings.Cut(w.Upstream.URL, "://")
		host, port, _ := strings.Cut(up, ":")
		ours := map[string]string{}
		t.Cleanup(func() { w.Upstream.Say(nil, false) })
		for _, tt := range []struct{ name, location, want string }{
			{"its own address", "http://" + up + "/x?y#z", w.URL + "/x?y#z"},
			{"its own address in capitals", "HTTP://" + up, w.URL},
			{"its own address without scheme", "//" + up + "/x", w.URL + "/x"},
			{"its own address, then slashes", "http://" + up + "//evil.test", w.URL + "//evil.test"},
			{"its own address, then a backslash", "http://" + up + `\@evil.test`, w.URL + `\@evil.test`},
			{"its own address, then a query", "http://" + up + "?@evil.test", w.URL + "?@evil.test"},
			{"its own address as userinfo", "http://" + up + "@evil.test/", "http://" + up + "@evil.test/"},
			{"its own address behind userinfo", "http://evil.test@" + up + "/", "http://evil.test@" + up + "/"},
			{"its own address as prefix of a host", "http://" + up + ".evil.test/", "http://" + up + ".evil.test/"},
			{"its own address as prefix of a port", "http://" + up + "1/", "http://" + up + "1/"},
			{"its own name on another port", "http://" + host + "/", "http://" + host + "/"},
			{"its own port on another host", "http://evil.test:" + port + "/", "http://evil.test:" + port + "/"},
			{"another's", "https://evil.test/", "https://evil.test/"},
			{"another's without scheme", "//evil.test/", "//evil.test/"},
			{"a path", "/x", "/x"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				w.Upstream.Say(func(string) string {
					return "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + tt.location + "\r\nContent-Location: " + tt.location + "\r\n\r\n"
				}, false)
				a := w.ask(t, request{Target: "/public/x"})
				for _, name := range []string{"Location", "Content-Location"} {
					if got := a.Header.Values(name); a.Status != http.StatusFound || len(got) != 1 || got[0] != tt.want {
						t.Errorf("got %s with %s %q, want 302 with %q", a, name, got, tt.want)
					}
				}
				if strings.HasPrefix(tt.want, w.URL) && !strings.Contains(tt.want, `\`) { // Go refuses to read that one
					ours[a.Header.Get("Location")] = tt.location
				}
				w.Upstream.Forget()
			})
		}
		staysHere(t, ours)
	})
}

func formNotSent(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		const body = "amount=" + gatewaytest.Canary + "4711&to=" + gatewaytest.Canary + "recipient"
		for name, cookie := range map[string]string{"without a session": "", "with one that is over": w.Cookie() + "=" + strings.Repeat("A", 43)} {
			t.Run(name, func(t *testing.T) {
				v := w
				if v.cookie = cookie; cookie == "" && w.cookie != "" {
					v.cookie = "other=1"
				}
				for _, target := range []string{"/save", "/save?step=2", "/admin/save"} {
					a := v.ask(t, request{Method: "POST", Target: target, Body: body, Lines: with(ownForm, "Origin", w.URL)})
					shows(t, a, http.StatusUnauthorized, headForm)
					for _, c := range (&http.Response{Header: a.Header}).Cookies() {
						if c.MaxAge >= 0 || c.Name != w.Cookie() {
							t.Errorf("got Set-Cookie %s, want nothing kept", c.Name)
						}
					}
					w.nothingReached(t)

					// Whoever signs in from there lands on a page that says so, by GET; what was sent is not sent again.
					p := way{front: w.front, h2: w.h2}.traveller(t)
					signIn := ""
					for _, l := range links(t, a.Body) {
						if strings.HasPrefix(l, "/_portero/sign-in?") {
							signIn = l
						}
					}
					seeOther(t, p.get(t, p.leave(t, signIn)), "/_portero/signed-in")
					if a := p.get(t, "/_portero/signed-in"); a.Status != http.StatusOK {
						t.Errorf("the page after signing in: got %s, want 200", a)
					}
					w.nothingReached(t)
				}
				// What is no form of ours is no page at all, and begins nothing.
				for _, q := range []request{
					{Method: "POST", Target: "/save", Body: body, Lines: fieldsOf("Accept", "application/json", "Content-Type", "application/json")},
					{Method: "PUT", Target: "/save", Body: body, Lines: navigation},
					{Method: "POST", Target: "/save", Body: body, Lines: with(ownForm[:4:4], "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.test")},
				} {
					if a := v.ask(t, q); a.Status != http.StatusUnauthorized || a.Header.Get("Location") != "" {
						t.Errorf("%s: got %s to %q, want 401", q.Method, a, a.Header.Get("Location"))
					}
					w.nothingReached(t)
				}
			})
		}
	})
}

func keptToOurselves(t *testing.T, d *doors) {
	d.stranger(t, func(t *testing.T, w way) {
		for name, target := range map[string]string{
			"the address asked for": "/app?token=" + gatewaytest.Canary + "1", "a return path": "/sign-in?return_to=" + url.QueryEscape("/app?token="+gatewaytest.Canary+"1"),
		} {
			t.Run(name, func(t *testing.T) {
				p := w.traveller(t)
				first := p.send(t, request{Target: target, Lines: with(navigation, "Referer", "https://evil.test/?from="+gatewaytest.Canary+"2")})
				for _, v := range append(first.Header.Values("Set-Cookie"), first.Header.Get("Location")) {
					if strings.Contains(v, gatewaytest.Canary) || strings.Contains(v, "token=") {
						t.Errorf("it is told in %q", v)
					}
				}
				last := p.get(t, p.atIssuer(t, first))
				seeOther(t, last, "/app?token="+gatewaytest.Canary+"1")
				for name, a := range map[string]*gatewaytest.Answer{"the answer that starts the sign-in": first, "the callback": last} {
					if got := a.Header.Get("Referrer-Policy"); got != "no-referrer" {
						t.Errorf("Referrer-Policy of %s: got %q, want no-referrer", name, got)
					}
					if got := a.Header.Get("Cache-Control"); got != "no-store" {
						t.Errorf("Cache-Control of %s: got %q, want no-store", name, got)
					}
				}
			})
		}
		for _, q := range w.Issuer.Requests() {
			if strings.Contains(q.Encode(), gatewaytest.Canary) {
				t.Errorf("the issuer was told %q", q)
			}
		}
	})
}

func corpus(t *testing.T, d *doors) {
	text, err := os.ReadFile("testdata/openredirects.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) < 550 {
		t.Fatalf("the corpus has %d lines, want 550 at least", len(lines))
	}
	values := map[string]bool{}
	for _, l := range lines {
		once := decoded(l)
		values[l], values[once], values[decoded(once)] = true, true, true
	}
	w := way{front: d.Plain()}
	alice := w
	alice.cookie = w.front.alice
	in, out, seen := alice.talk(t), w.talk(t), map[string]string{}
	for v := range values {
		for _, to := range destinations(t, in, out, v) {
			seen[to] = v
		}
	}
	in.close()
	out.close()
	h2 := way{front: d.TLS(), h2: true, cookie: d.TLS().alice}.talk(t)
	for v := range values {
		a := h2.ask(request{Target: "/sign-in?" + url.Values{"return_to": {v}}.Encode(), Lines: navigation})
		if a.Status != http.StatusSeeOther {
			t.Fatalf("%q: got %s, want 303", v, a)
		}
		seen[a.Header.Get("Location")] = v
	}
	h2.close()
	w.nothingReached(t)
	staysHere(t, seen)
}

// decoded replaces every escape by its byte, once; what is no escape stays.
func decoded(s string) string {
	for i := 0; i+2 < len(s); i++ {
		if s[i] == '%' {
			if one, err := url.PathUnescape(s[i : i+3]); err == nil {
				s = s[:i] + one + s[i+3:]
			}
		}
	}
	return s
}
