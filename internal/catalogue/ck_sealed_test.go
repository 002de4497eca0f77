package catalogue_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

func malleableCookies(t *testing.T, d *doors) {
	d.stranger(t, func(t *testing.T, w way) {
		p := w.traveller(t)
		back := p.leave(t, "/mine")
		p.leave(t, "/other")
		names := p.attempts()
		first, second := p.cookies[names[0]], p.cookies[names[1]]
		calls := w.tokenCalls()
		set := func(one, two string) func(*traveller) {
			return func(p *traveller) { p.cookies[names[0]], p.cookies[names[1]] = one, two }
		}
		half := len(first) / 2
		for name, change := range map[string]func(p *traveller){
			"swapped":          set(second, first),
			"cut":              set(first[:len(first)-1], second[:len(second)-1]),
			"shifted":          set(first[1:], second[1:]),
			"longer":           set(first+"A", second+"A"),
			"halves swapped":   set(first[half:]+first[:half], second[half:]+second[:half]),
			"halves mixed":     set(first[:half]+second[half:], second[:half]+first[half:]),
			"twice":            set(first+first, second+second),
			"with padding":     set(first+"=", second+"="),
			"empty":            set("", ""),
			"another alphabet": set("+"+first[1:], "/"+second[1:]),
			"renamed": func(p *traveller) {
				p.forgetAttempts()
				p.cookies[w.Cookie()+"-AAAAAAAAAAAAAAAAAAAAAA"], p.cookies[w.Cookie()+"-AAAAAAAAAAAAAAAAAAAAAQ"] = first, second
			},
			"the state as an attempt": func(p *traveller) {
				state := queryOf(t, back).Get("state")
				p.cookies[names[0]], p.cookies[names[1]] = state, state
			},
		} {
			twin := p.twin()
			change(twin)
			a := twin.get(t, back)
			w.toIssuer(t, a) // as if there were no attempt
			gone := 0
			for _, c := range (&http.Response{Header: a.Header}).Cookies() {
				if c.MaxAge < 0 {
					gone++
				}
			}
			if got := w.tokenCalls() - calls; got != 0 || gone != 2 {
				t.Errorf("%s: got %d token calls and %d cookies dropped, want 0 and 2", name, got, gone)
			}
		}
		// An attempt is no session, under the session's name or another's, and a session no attempt.
		for _, value := range []string{first, first[:43], queryOf(t, back).Get("state")} {
			twin := p.twin()
			twin.cookies[w.Cookie()] = value
			w.denied(t, twin.send(t, request{}))
		}
		seeOther(t, p.get(t, back), "/mine")
		twin := p.twin()
		session := twin.session()
		twin.forgetAttempts()
		delete(twin.cookies, w.Cookie())
		twin.cookies[names[0]] = session
		calls = w.tokenCalls()
		w.toIssuer(t, twin.get(t, back))
		if got := w.tokenCalls() - calls; got != 0 {
			t.Errorf("a session as an attempt: got %d token calls, want 0", got)
		}
		// Nor is a spent attempt a new one, or an attempt of another host one of this.
		other := p.twin()
		other.way.front = &front{Rig: w.Rig, host: gatewaytest.SecondHost, alice: w.alice}
		if a := other.send(t, request{Host: gatewaytest.SecondHost, Target: back, Lines: navigation}); a.Status != http.StatusBadRequest {
			t.Errorf("the callback on another host: got %s, want 400", a)
		}
		w.Upstream.Forget()
	})
}

const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func flippedCookies(t *testing.T, d *doors) {
	d.stranger(t, func(t *testing.T, w way) {
		p := w.traveller(t)
		back := p.leave(t, "/mine")
		name := p.attempts()[0]
		value, calls := p.cookies[name], w.tokenCalls()
		step, bits := 1, []int{1, 32} // the lowest and the highest bit of each character; one way tries all, the others some
		if w.h2 || w.TLS {
			step = 9
		}
		for i := 0; i < len(value); i += step {
			for _, bit := range bits {
				flipped := []byte(value)
				flipped[i] = base64url[strings.IndexByte(base64url, value[i])^bit]
				twin := &traveller{way: p.way, cookies: map[string]string{name: string(flipped)}}
				a := twin.get(t, back)
				w.toIssuer(t, a)
				if len(a.Header["Set-Cookie"]) != 2 { // the new attempt, and the broken one's end
					t.Errorf("character %d: got %d cookies, want 2", i, len(a.Header["Set-Cookie"]))
				}
			}
		}
		if got := w.tokenCalls() - calls; got != 0 {
			t.Errorf("token calls: got %d, want 0", got)
		}
		seeOther(t, p.get(t, back), "/mine")
		session := p.session()
		var want *gatewaytest.Answer
		for i := range session {
			flipped := []byte(session)
			flipped[i] = base64url[strings.IndexByte(base64url, session[i])^1]
			a := w.sendCookies(t, "/app", "NAME="+string(flipped))
			w.denied(t, a)
			w.dropped(t, a)
			if want == nil {
				want = a
			}
			if a.Status != want.Status || a.Body != want.Body || len(a.Header) != len(want.Header) {
				t.Errorf("character %d of a session: got %s with %q, want the same answer for all", i, a, a.Body)
			}
		}
		if a := w.sendCookies(t, "/app", "NAME="+session); a.Status != http.StatusOK {
			t.Errorf("unchanged: got %s, want 200", a)
		}
		w.Upstream.Forget()

		values := map[string]bool{} // equal plaintexts look different, from the first character on
		for range 20 {
			q := w.traveller(t)
			q.get(t, "/mine")
			values[q.cookies[q.attempts()[0]][:16]] = true
		}
		if len(values) != 20 {
			t.Errorf("different cookies: got %d, want 20", len(values))
		}
	})
}

func spoofedPrefix(t *testing.T, d *doors) {
	d.signedIn(t, func(t *testing.T, w way) {
		for _, line := range []string{
			"__host-portero=SESSION", "__HOST-portero=SESSION", "__Host-Portero=SESSION", "__Host-PORTERO=SESSION", "\u2000__Host-portero=SESSION", "\u0085__Host-portero=SESSION", "\xa0__Host-portero=SESSION", "\u00a0__Host-portero=SESSION",
			"portero=SESSION", "__Secure-portero=SESSION", "portero-443=SESSION", "Host-portero=SESSION", "_Host-portero=SESSION", "__Host-portero-=SESSION", "__Host-portero.=SESSION", "__Host_portero=SESSION",
			"__%48ost-portero=SESSION", "=__Host-portero=SESSION", "a=\"x; b=y\", __Host-portero=SESSION", "__Http-portero=SESSION", "__Host-Http-portero=SESSION",
		} {
			a := w.sendCookies(t, "/app", line)
			if a.Status != http.StatusUnauthorized && a.Status != http.StatusBadRequest {
				t.Errorf("%q: got %s, want 401", line, a)
			}
			w.denied(t, a, http.StatusBadRequest)
			// Beside the real one it counts for nothing either.
			if a := w.sendCookies(t, "/app", line+"; NAME=SESSION"); a.Status != http.StatusOK {
				t.Errorf("%q beside the session: got %s, want 200", line, a)
			}
			head, _ := w.reached(t)
			saysAlice(t, head)
		}
	})
}

func forwardedCookies(t *testing.T, d *doors) {
	d.signedIn(t, func(t *testing.T, w way) {
		for line, want := range map[string]string{
			`a=1; b="q;x"; c; NAME=SESSION`:                                     `a=1; b="q;x"; c`,
			`NAME=SESSION; a=1; b="q;x"; c`:                                     `a=1; b="q;x"; c`,
			`a=1; NAME=SESSION; b="q;x"; c`:                                     `a=1; b="q;x"; c`,
			`a=1;NAME=SESSION;b=2`:                                              `a=1;b=2`,
			`a=1; NAME=SESSION; NAME-lang=es; NAME-abc=1`:                       `a=1`,
			`NAME=SESSION; portero-1=x; __Host-portero-AAAA=y`:                  ``,
			`NAME=SESSION; porterox=1; portero-x=2; x__Host-portero=3`:          `porterox=1; portero-x=2; x__Host-portero=3`,
			`a=; =b; c==; d=e=f; "g"=h; NAME=SESSION; i=%3B%20`:                 `a=; =b; c==; d=e=f; "g"=h; i=%3B%20`,
			"l=\xe9\xff; NAME=SESSION; u=ñ":                                     "l=\xe9\xff; u=ñ",
			`j={"k":[1,2],"l":"m"}; NAME=SESSION`:                               `j={"k":[1,2],"l":"m"}`,
			`NAME=SESSION`:                                                      ``,
			`JSESSID=x; PHPSESSID=y; NAME=SESSION; _s=BAh7--z`:                  `JSESSID=x; PHPSESSID=y; _s=BAh7--z`,
			`NAME=SESSION; ` + strings.Repeat("p=q; ", 200) + `last=1`:          strings.Repeat("p=q; ", 200) + `last=1`,
			`sid=x;  NAME=SESSION ;  two=blanks `:                               `sid=x;  two=blanks`,
			`secret=` + gatewaytest.Canary + `; NAME=SESSION; portero-8080=too`: `secret=` + gatewaytest.Canary,
		} {
			for _, target := range []string{"/app", "/public/x", "/optional/x"} {
				if a := w.sendCookies(t, target, line); a.Status != http.StatusOK {
					t.Errorf("%s: got %s, want 200", line, a)
				}
				head, _ := w.reached(t)
				var lines []string
				if want != "" {
					lines = []string{want}
				}
				if got := gatewaytest.Header(head, "Cookie"); !slices.Equal(got, lines) {
					t.Errorf("%s, %q: the application got %q, want %q", target, line, got, want)
				}
			}
		}
		if w.h2 { // cookies may come in crumbs (RFC 9113, section 8.2.3)
			w.sendCookies(t, "/app", "a=1", "NAME=SESSION", `b="q`, `x"`, "NAME-lang=es", "c")
			head, _ := w.reached(t)
			exactly(t, head, "Cookie", `a=1; b="q; x"; c`)
		}
	})
}

func evictedCookies(t *testing.T, d *doors) {
	d.stranger(t, func(t *testing.T, w way) {
		p := w.traveller(t)
		for i := range 200 {
			p.cookies[w.Cookie()+"-"+strings.Repeat("A", 19)+string([]byte{'A' + byte(i%26), 'A' + byte(i/26)})+"A"] = "x"
		}
		back := p.leave(t, "/mine")
		if got := p.attempts(); len(got) != 1 {
			t.Errorf("attempts afterwards: got %d, want 1: the others are dropped", len(got))
		}
		seeOther(t, p.get(t, back), "/mine")
		// The attempt, then the session, pushed out: one restart, or one sign-in, and one is in.
		back = p.leave(t, "/sign-in?fresh=1&return_to=/again")
		p.cookies = map[string]string{"junk": "1"}
		back = p.atIssuer(t, p.get(t, back))
		seeOther(t, p.get(t, back), "/")
		p.cookies = map[string]string{"junk": "1"}
		w.denied(t, p.send(t, request{}))
		seeOther(t, p.get(t, p.leave(t, "/mine")), "/mine")
		w.Upstream.Forget()
		if a := p.send(t, request{}); a.Status != http.StatusOK {
			t.Errorf("signed in again: got %s, want 200", a)
		}
		head, _ := w.reached(t)
		saysAlice(t, head)
	})
	t.Run("Chromium", func(t *testing.T) { pushedOut(t, d) })
}

// sibling is a web site on a host beside the gateway's, which sets these cookies; it returns where it listens.
func sibling(t *testing.T, cookies ...string) string {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for _, c := range cookies {
			w.Header().Add("Set-Cookie", c)
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><title>sibling</title>")
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// siblingCookies has a sibling host set our cookies in a real browser, in every way that a prefix forbids.
func siblingCookies(t *testing.T, d *doors) {
	f := d.TLS()
	var lines []string
	for _, name := range []string{"__Host-portero", "__Host-portero-lang", "__host-portero", "__HOST-portero", " __Host-portero", "=__Host-portero"} {
		for _, attributes := range []string{"; Domain=gw.test; Path=/; Secure", "; Domain=gw.test; Path=/app; Secure", "; Domain=.gw.test; Path=/", "; Domain=test; Path=/; Secure", "; Domain=gw.test"} {
			lines = append(lines, name+"=evil"+attributes)
		}
	}
	addr := sibling(t, append(lines, "control=1; Domain=gw.test; Path=/; Secure")...)
	tab := f.Chromium(t, "evil."+gatewaytest.Host+":443 "+addr).Person(t, gatewaytest.Look{})
	tab.Open(f.URL + "/app")
	before := tab.Cookies(f.URL)
	if before[f.Cookie()] == "" {
		t.Fatal("no session in the browser")
	}
	f.Secret(before[f.Cookie()], "cookie "+f.Cookie())
	tab.Open("https://evil." + gatewaytest.Host + "/")
	tab.Open(f.URL + "/app")
	after := tab.Cookies(f.URL + "/app")
	if after["control"] != "1" {
		t.Fatalf("the sibling could set nothing at all: %q", slices.Sorted(maps.Keys(after)))
	}
	if after[f.Cookie()] != before[f.Cookie()] {
		t.Error("the sibling has changed the session cookie")
	}
	for name, value := range after {
		if strings.EqualFold(strings.TrimSpace(name), "__Host-portero") && value == "evil" {
			t.Errorf("the browser has %q=evil", name)
		}
	}
	if got := gatewaytest.Eval[string](tab, "document.cookie"); strings.Contains(got, before[f.Cookie()]) {
		t.Error("a script of the application sees the session cookie")
	}
	head := f.Upstream.Last()
	saysAlice(t, head)
	if !strings.Contains(head, "control=1") || strings.Contains(head, "evil") && strings.Contains(head, "__Host-portero=") {
		t.Errorf("the application got %q", fields(head)["cookie"])
	}
	f.Upstream.Forget()
}

// pushedOut has a sibling host set more cookies than a browser keeps for a site.
func pushedOut(t *testing.T, d *doors) {
	f := d.TLS()
	var lines []string
	for i := range 200 {
		lines = append(lines, fmt.Sprintf("junk%d=%d; Domain=gw.test; Path=/; Secure", i, i))
	}
	tab := f.Chromium(t, "evil."+gatewaytest.Host+":443 "+sibling(t, lines...)).Person(t, gatewaytest.Look{})
	tab.Open(f.URL + "/app")
	first := tab.Cookies(f.URL)[f.Cookie()]
	f.Secret(first, "cookie "+f.Cookie())
	tab.Open("https://evil." + gatewaytest.Host + "/")
	left := tab.Cookies(f.URL)
	if len(left) < 100 {
		t.Fatalf("the sibling could set %d cookies", len(left))
	}
	t.Logf("of the cookies of the gateway the browser has kept the session: %t", left[f.Cookie()] == first)
	asked := len(f.Issuer.Requests())
	f.Upstream.Forget()
	tab.Open(f.URL + "/app")
	// The attempt may be pushed out too: then one starts again, once, and lands on the start page.
	tab.Await("a page of the application", `location.href.startsWith('`+f.URL+`/') && document.body?.textContent.includes('the application')`)
	saysAlice(t, f.Upstream.Last())
	if got := len(f.Issuer.Requests()) - asked; got > 2 {
		t.Errorf("sign-ins: got %d, want two at most", got)
	}
	second := tab.Cookies(f.URL)[f.Cookie()]
	f.Secret(second, "cookie "+f.Cookie())
	if second == "" {
		t.Error("no session afterwards")
	}
	f.Upstream.Forget()
}

func rotatedKeys(t *testing.T, _ *doors) {
	const one, two, three = "0123456789abcdef0123456789ABCDEF", "1123456789abcdef0123456789ABCDEF", "2123456789abcdef0123456789ABCDEF"
	for _, store := range []string{"store: memory", "store: file, file: {path: sessions.db}"} {
		t.Run(strings.SplitN(store, ",", 2)[0], func(t *testing.T) {
			o := gatewaytest.Options{TLS: true, Routes: strict, Extra: headers, Session: store + ", secret: " + one}
			w := way{front: unsigned(t, o)}
			for _, secret := range []string{one, two, three} {
				w.Secret(secret, "session.secret")
			}
			w.issuer(t, func(i *gatewaytest.Issuer) { i.Person = maps.Clone(alice) })
			p := w.traveller(t)
			waiting, lost := p.leave(t, "/waiting"), p.leave(t, "/lost")
			seeOther(t, p.get(t, p.leave(t, "/mine")), "/mine")
			served := func(what string) {
				t.Helper()
				w.Upstream.Forget()
				if a := p.send(t, request{}); a.Status != http.StatusOK {
					t.Errorf("%s: got %s, want 200", what, a)
				}
				head, _ := w.reached(t)
				saysAlice(t, head)
			}
			rotate := func(settings string) {
				t.Helper()
				o.Session = store + ", " + settings
				w.Configure(&o)
				if said := w.Hangup(t); !strings.Contains(said, "configuration reloaded") {
					t.Fatal(said)
				}
			}
			served("before")
			rotate("secret: " + two + ", old_secrets: [{value: " + one + "}]")
			served("after a rotation")
			seeOther(t, p.get(t, waiting), "/waiting") // and an attempt can be finished
			rotate("secret: " + three + ", old_secrets: [{value: " + two + "}]")
			served("after two rotations") // sealed anew meanwhile
			before := w.Sessions(t)
			calls := w.tokenCalls()
			shows(t, p.twin().get(t, lost), http.StatusBadRequest, headFailed) // whose key is gone: the state is nobody's now
			rotate("secret: " + one[:31] + "X")
			w.denied(t, p.twin().send(t, request{}))
			a := p.twin().get(t, "/app")
			w.toIssuer(t, a)
			stranger := p.twin()
			delete(stranger.cookies, w.Cookie())
			shows(t, stranger.get(t, lost), http.StatusBadRequest, headFailed)
			if got := w.tokenCalls() - calls; got != 0 {
				t.Errorf("token calls for what no key opens: got %d, want 0", got)
			}
			seeOther(t, p.get(t, p.leave(t, "/mine")), "/mine")
			served("signed in again")
			if got := w.Sessions(t); got < before {
				t.Errorf("sessions: got %d, want %d at least", got, before)
			}
		})
	}
}
