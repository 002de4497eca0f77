package catalogue_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

var cookies = family{ID: "CK", Title: "Cookies", Attacks: []attack{
	{ID: "CK-01", Name: "attributes", Want: "__Host-, Secure, HttpOnly, SameSite=Lax, Path=/, no Domain, and the session's own life as Max-Age; on another host of the gateway the value is worth nothing", Test: cookieAttributes},
	{ID: "CK-02", Name: "plain http", Want: "308 to https where a trusted proxy says so, 400 on the listener for TLS; no cookie is set or looked at", Test: cookiesOverHTTP},
	{ID: "CK-03", Name: "very many cookies", Want: "3,001 hide neither the session nor a sign-in that is under way, 20,000 are 431", Why: "CVE-2025-58186: Go reads none of more than 3,000. CVE-2026-47774", Test: manyCookies},
	{ID: "CK-04", Name: "oversized", Want: "431 with a small body from 72 KiB on, and memory stays small", Test: oversizedCookies,
		Missing: "The 431 is net/http's own: it has no link that clears cookies. 64 KiB are still within its slack of 4 KiB."},
	{ID: "CK-05", Name: "malformed values", Want: "as without session", Why: "CVE-2026-25748 authentik: a malformed cookie let everybody in", Test: malformedCookies},
	{ID: "CK-06", Name: "numbers in cookies", Want: "there are none that anybody could set: counters are sealed", Why: "CVE-2024-24814: the number of chunks of a session was believed", Test: numbersInCookies},
	{ID: "CK-07", Name: "tossing", Want: "two session cookies are none, in any order, and the browser drops ours; a sibling host cannot set one of ours at all", Why: "which of two comes first is the attacker's choice. The browser's half is tried in Chromium", Test: tossedCookies},
	{ID: "CK-08", Name: "unusual syntax", Want: "cookies end at semicolons and nowhere else; several lines are one", Why: "CVE-2023-28625; HTTP/2 splits Cookie lines", Test: unusualCookies},
	{ID: "CK-09", Name: "sealed cookies cut, shifted, swapped, renamed", Want: "as if there were no attempt; an attempt is no session, nor the other way round", Why: "CVE-2023-35941: a cookie was good for another purpose", Test: malleableCookies},
	{ID: "CK-10", Name: "every bit", Want: "each changed character of a sealed cookie and of a session's makes it worthless, with one and the same answer; equal contents look different", Why: "CVE-2026-47775, CVE-2021-32791", Test: flippedCookies,
		Missing: "Equal timing is not measured; that is the sealing library's."},
	{ID: "CK-11", Name: "spoofed prefix", Want: "the name counts byte for byte", Why: "browsers that trimmed or folded names let siblings write __Host- cookies", Test: spoofedPrefix},
	{ID: "CK-12", Name: "forwarded cookies", Want: "the application gets its own byte for byte, and none of the gateway's", Why: "legacy parsers are picky", Test: forwardedCookies},
	{ID: "CK-13", Name: "another site writes cookies", Want: "at worst somebody is signed out, and can sign in again at once", Why: "a sibling host may push our cookies out of the browser. Also in Chromium", Test: evictedCookies},
	{ID: "CK-14", Name: "key rotation", Want: "what an old key sealed is good while the key is listed, then cleanly rejected", Why: "Envoy's rotation ended every session", Test: rotatedKeys},
}}

// cookie asks for a page as a script would, with these Cookie lines; NAME and SESSION are filled in.
func (w way) sendCookies(t *testing.T, target string, lines ...string) *gatewaytest.Answer {
	t.Helper()
	_, session, _ := strings.Cut(w.alice, "=")
	q := request{Target: target, Exact: true}
	for _, l := range lines {
		q.Lines = append(q.Lines, [2]string{map[bool]string{false: "Cookie", true: "cookie"}[w.h2], strings.NewReplacer("NAME", w.Cookie(), "SESSION", session).Replace(l)})
	}
	w.cookie = ""
	return w.ask(t, q)
}

// dropped fails unless an answer makes the browser drop the session cookie.
func (w way) dropped(t *testing.T, a *gatewaytest.Answer) {
	t.Helper()
	want := w.Cookie() + "=; Path=/; Expires=Thu, 01 Jan 1970 00:00:01 GMT; Max-Age=0; HttpOnly; Secure; SameSite=Lax"
	if got := a.Header["Set-Cookie"]; len(got) != 1 || got[0] != want {
		t.Errorf("Set-Cookie: got %q, want %q", got, want)
	}
}

// attributes fails unless an answer sets cookies of these names, each with all attributes and that life in seconds.
func attributes(t *testing.T, a *gatewaytest.Answer, secure bool, life map[string]int) {
	t.Helper()
	got := a.Header["Set-Cookie"]
	if len(got) != len(life) {
		t.Errorf("Set-Cookie: got %q, want %d", got, len(life))
	}
	for _, c := range (&http.Response{Header: a.Header}).Cookies() {
		want, ok := life[c.Name]
		_, rest, _ := strings.Cut(c.Raw, ";")
		attributes := fmt.Sprintf(" Path=/; Max-Age=%d; HttpOnly; Secure; SameSite=Lax", c.MaxAge)
		if !c.Expires.IsZero() { // for browsers that know nothing newer
			attributes = strings.Replace(attributes, " Max-Age", " Expires="+c.RawExpires+"; Max-Age", 1)
			if off := time.Until(c.Expires) - time.Duration(c.MaxAge)*time.Second; off.Abs() > time.Minute {
				t.Errorf("%s: Expires and Max-Age are %s apart", c.Name, off)
			}
		}
		if !secure {
			attributes = strings.Replace(attributes, " Secure;", "", 1)
		}
		if !ok || rest != attributes || c.MaxAge > want || c.MaxAge < want-60 {
			t.Errorf("got %s…;%s, want one of %v seconds, and%s", c.Name, rest, life, attributes)
		}
	}
}

func cookieAttributes(t *testing.T, d *doors) {
	const attempt, session = 24 * 3600, 336 * 3600
	one := func(t *testing.T, w way, secure bool) {
		p := w.traveller(t)
		first := p.get(t, "/app")
		names := p.attempts()
		if len(names) != 1 || !strings.HasPrefix(names[0], p.Cookie()+"-") {
			t.Fatalf("attempts: got %q, want one", names)
		}
		attributes(t, first, secure, map[string]int{names[0]: attempt})
		back := p.get(t, p.atIssuer(t, first))
		attributes(t, back, secure, map[string]int{p.Cookie(): session, names[0]: attempt})
		if a := p.get(t, "/_portero/language?lang=es&return_to=/"); len(a.Header["Set-Cookie"]) != 1 || !strings.HasPrefix(a.Header["Set-Cookie"][0], p.Cookie()+"-lang=es; Path=/; Max-Age=") || strings.Contains(a.Header["Set-Cookie"][0], "Domain") {
			t.Errorf("the language: got %q", a.Header["Set-Cookie"])
		}
		p.way.cookie = ""
		for _, target := range []string{"/app", "/public/x", "/_portero/session", "/_portero/"} {
			if a := p.get(t, target); a.Status != http.StatusOK || len(a.Header["Set-Cookie"]) != 0 {
				t.Errorf("%s, signed in: got %s with the cookies %q, want none", target, a, a.Header["Set-Cookie"])
			}
		}
		p.Upstream.Forget()
	}
	d.stranger(t, func(t *testing.T, w way) {
		if w.Cookie() != "__Host-portero" {
			t.Errorf("name: got %q", w.Cookie())
		}
		one(t, w, true)
		p := w.enter(t)
		if a := p.twin().send(t, request{Host: gatewaytest.SecondHost}); a.Status != http.StatusUnauthorized {
			t.Errorf("on another host: got %s, want 401", a)
		}
		w.nothingReached(t)
		p.in(t)
	})
	t.Run("http", func(t *testing.T) { // a gateway inside the test: the program's external URL is https
		f := unsigned(t, gatewaytest.Options{Clock: gatewaytest.NewClock()})
		_, port, _ := strings.Cut(f.host, ":")
		if f.Cookie() != "portero-"+port {
			t.Errorf("name: got %q", f.Cookie())
		}
		one(t, way{front: f}, false)
	})
}

func cookiesOverHTTP(t *testing.T, d *doors) {
	f := newFront(t, gatewaytest.Options{Extra: "trusted_proxies: [127.0.0.0/8]\n"})
	over := &doors{t: t, tls: newFront(t, gatewaytest.Options{TLS: true, Extra: "trusted_proxies: [127.0.0.0/8]\n"}), plain: f}
	over.each(t, func(t *testing.T, w way) {
		back := way{front: w.front, h2: w.h2}.traveller(t)
		target := back.leave(t, "/app")
		calls := w.tokenCalls()
		for target, want := range map[string]string{"/x?a=1": "/x?a=1", "/app": "/app", "/public/x": "/public/x", "/sign-in?return_to=/app": "/", "/_portero/session": "/", "/sign-out": "/", target: "/"} {
			for _, method := range []string{"GET", "HEAD"} {
				a := w.ask(t, request{Method: method, Target: target, Lines: append(with(navigation, "X-Forwarded-Proto", "http"), [2]string{"Cookie", back.jar()})})
				if a.Status != http.StatusPermanentRedirect || a.Header.Get("Location") != w.URL+want || len(a.Header["Set-Cookie"]) != 0 {
					t.Errorf("%s %s: got %s to %q with the cookies %q, want 308 to %s and none", method, target, a, a.Header.Get("Location"), a.Header["Set-Cookie"], w.URL+want)
				}
			}
		}
		if got := w.tokenCalls() - calls; got != 0 {
			t.Errorf("token calls: got %d, want 0", got)
		}
		w.nothingReached(t)
		seeOther(t, back.get(t, target), "/app") // nothing of it was used up
		// What no trusted proxy says is not believed.
		mine := map[bool]*front{true: d.Plain(), false: d.TLS()}[w.front == f]
		if a := (way{front: mine, h2: w.h2, cookie: mine.alice}).ask(t, request{Lines: fieldsOf("X-Forwarded-Proto", "http")}); a.Status != http.StatusOK {
			t.Errorf("from nobody who is trusted: got %s, want 200", a)
		}
		mine.Upstream.Forget()
	})
	// Without TLS on the listener for TLS.
	for _, cookie := range []string{"", "Cookie: " + over.tls.alice + "\r\n"} {
		c, err := net.Dial("tcp", over.tls.Addr)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(15 * time.Second))
		io.WriteString(c, "GET /app HTTP/1.1\r\nHost: gw.test\r\n"+cookie+"\r\n")
		all, err := io.ReadAll(c)
		c.Close()
		if text := string(all); err != nil || !strings.HasPrefix(text, "HTTP/1.0 400 ") || strings.Contains(strings.ToLower(text), "cookie") || strings.Contains(text, "application") {
			t.Errorf("plain HTTP where TLS is spoken: got %q (%v), want 400 and no cookie", text, err)
		}
		over.tls.nothingReached(t)
	}
}

func manyCookies(t *testing.T, d *doors) {
	d.signedIn(t, func(t *testing.T, w way) {
		for _, line := range []string{strings.Repeat("a=b; ", 3001) + "NAME=SESSION", "NAME=SESSION" + strings.Repeat("; a=b", 3001)} {
			if a := w.sendCookies(t, "/app", line); a.Status != http.StatusOK {
				t.Errorf("3,001 cookies: got %s, want 200", a)
			}
			head, _ := w.reached(t)
			saysAlice(t, head)
			if got := strings.Count(strings.Join(fields(head)["cookie"], ";"), "a=b"); got != 3001 || strings.Contains(head, w.Cookie()) {
				t.Errorf("the application got %d cookies, want its 3,001", got)
			}
		}
		// Too large is too large, in one line or many; and nobody is signed out by it.
		crumbs := make([]string, 20000)
		for i := range crumbs {
			crumbs[i] = "a=b"
		}
		for _, lines := range [][]string{{strings.Repeat("a=b; ", 20000) + "NAME=SESSION"}, append(crumbs, "NAME=SESSION")} {
			a := w.sendCookies(t, "/app", lines...)
			w.tooLarge(t, a, len(lines) > 1 || w.h2)
		}
		if a := w.sendCookies(t, "/app", "NAME=SESSION"); a.Status != http.StatusOK {
			t.Errorf("afterwards: got %s, want 200", a)
		}
		w.Upstream.Forget()
	})
	d.stranger(t, func(t *testing.T, w way) { // net/http would not find the attempt among them
		p := w.traveller(t)
		p.cookies["x"] = strings.Repeat("y; a=b; ", 1600) + "z=1"
		seeOther(t, p.get(t, p.atIssuer(t, p.get(t, "/app"))), "/app")
		p.in(t)
	})
}

// tooLarge fails unless an answer is a small 431 that sets nothing. What stops reading may close before its answer is
// read; over HTTP/2 a single field that is too long ends the connection (RFC 7541, section 7.4).
func (w way) tooLarge(t *testing.T, a *gatewaytest.Answer, mayClose bool) {
	t.Helper()
	if a.Status != http.StatusRequestHeaderFieldsTooLarge && (a.Status != 0 || !mayClose) {
		t.Errorf("got %s, want 431", a)
	}
	if len(a.Body) > 4<<10 || len(a.Header["Set-Cookie"]) != 0 {
		t.Errorf("got a body of %d bytes and the cookies %q, want a small one and none", len(a.Body), a.Header["Set-Cookie"])
	}
	w.nothingReached(t)
}

func oversizedCookies(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		target := "/app"
		if w.cookie == "" {
			target = "/public/x"
		}
		for _, size := range []int{16 << 10, 60 << 10} {
			if a := w.sendCookies(t, target, "NAME=SESSION; big="+strings.Repeat("x", size)); a.Status != http.StatusOK {
				t.Errorf("%d bytes: got %s, want 200", size, a)
			}
			w.Upstream.Forget()
		}
		before := residentKB(t, w.Process.PID())
		for range 4 {
			w.tooLarge(t, w.sendCookies(t, target, "NAME=SESSION; big="+strings.Repeat("x", 72<<10)), w.h2)
			w.tooLarge(t, w.sendCookies(t, target, "NAME=SESSION", "big="+strings.Repeat("x", 36<<10), "more="+strings.Repeat("x", 36<<10)), false)
			w.tooLarge(t, w.sendCookies(t, target, "NAME=SESSION; big="+strings.Repeat("x", 1<<20)), true)
			w.tooLarge(t, w.sendCookies(t, target, "NAME="+strings.Repeat("x", 1<<20)), true)
		}
		const most = 64 << 10
		if grown := residentKB(t, w.Process.PID()) - before; grown > most {
			t.Errorf("the process has grown by %d KiB over 8 MiB of cookies, want %d at most", grown, most)
		}
		if a := w.sendCookies(t, "/app", "NAME=SESSION"); a.Status != http.StatusOK {
			t.Errorf("afterwards: got %s, want 200", a)
		}
		w.Upstream.Forget()
	})
}

func malformedCookies(t *testing.T, d *doors) {
	d.signedIn(t, func(t *testing.T, w way) {
		before := w.Sessions(t)
		for _, line := range []string{
			"NAME=%%%", "NAME=;;", "NAME", "NAME=", `NAME="SESSION"`, "NAME=SESSION x", "NAME= SESSION", "NAME =SESSION", "NAME=SESSION=", "NAME=SESSION,", "=SESSION", ";;;=;=;NAME=;", "NAME%3DSESSION", "x=NAME=SESSION",
			"NAME=ñ", "NAME=SESSION\xff", "NAME=SESSION%00", "NAME=SESSION%20", "NAME==SESSION", "NAME='SESSION'", "NAME=SESSIONSESSION", "NAME=" + strings.Repeat("A", 42), "NAME=" + strings.Repeat("A", 44), "NAME=../../x", "NAME=*",
			"NAME=null", "NAME=[object Object]", "NAME=eyJhbGciOiJub25lIn0.e30.", "NAME=\u0130", "NAME\x20\x20=SESSION",
		} {
			a := w.sendCookies(t, "/app", line)
			if a.Status != http.StatusUnauthorized {
				t.Errorf("%q: got %s, want 401", line, a)
			}
			w.denied(t, a)
			if a := w.sendCookies(t, "/optional/x", line); a.Status != http.StatusOK {
				t.Errorf("%q on an optional route: got %s, want 200", line, a)
			}
			head, _ := w.reached(t)
			saysNobody(t, head)
		}
		for _, line := range []string{"NAME=\x01", "NAME=SESSION\x00", "NAME=SESSION\x7f", "a=\x0b; NAME=SESSION"} { // no value of a header
			a := w.sendCookies(t, "/app", line)
			if a.Status != http.StatusBadRequest && (!w.h2 || a.Status != 0) {
				t.Errorf("%q: got %s, want 400", line, a)
			}
			w.nothingReached(t)
		}
		// What cannot be ours is dropped by the browser, and a navigation goes on to the issuer.
		nobody := w
		nobody.cookie = ""
		p := nobody.traveller(t)
		p.cookies[w.Cookie()] = "%%%"
		p.toIssuer(t, p.get(t, "/app"))
		if p.session() != "" {
			t.Errorf("the browser keeps %q", p.session())
		}
		if a := w.sendCookies(t, "/app", "NAME=SESSION;"); a.Status != http.StatusOK {
			t.Errorf("a semicolon behind it: got %s, want 200", a)
		}
		w.Upstream.Forget()
		w.rows(t, before)
	})
}

func numbersInCookies(t *testing.T, d *doors) {
	d.stranger(t, func(t *testing.T, w way) {
		for _, number := range []string{"99999999", "-1", "0", "", "1e9", "9"} {
			p := w.traveller(t)
			back := p.leave(t, "/app") // the counters of a sign-in are in the state and in the attempt, both sealed
			calls := w.tokenCalls()
			for name, value := range p.cookies {
				p.cookies[name] = number
				if number == "9" {
					p.cookies[name] = strings.Repeat("9", len(value))
				}
			}
			p.cookies[w.Cookie()+"-lang"] = number
			p.cookies[w.Cookie()+"-0"] = number
			p.cookies[w.Cookie()+"_chunks"] = number
			p.toIssuer(t, p.get(t, back))
			if got := w.tokenCalls() - calls; got != 0 {
				t.Errorf("%q: got %d token calls, want 0", number, got)
			}
		}
		w.nothingReached(t)
	})
	d.signedIn(t, func(t *testing.T, w way) {
		for _, number := range []string{"99999999", "-1", "0", strings.Repeat("9", 43)} {
			a := w.sendCookies(t, "/app", "NAME="+number)
			w.denied(t, a)
			w.dropped(t, a)
			a = w.sendCookies(t, "/app", "NAME=SESSION; NAME-lang="+number+"; NAME_0="+number+"; NAME_chunks="+number)
			if a.Status != http.StatusOK {
				t.Errorf("%q beside the session: got %s, want 200", number, a)
			}
			head, _ := w.reached(t)
			saysAlice(t, head)
		}
	})
}

func tossedCookies(t *testing.T, d *doors) {
	other := strings.Repeat("A", 43)
	d.signedIn(t, func(t *testing.T, w way) {
		for _, lines := range [][]string{
			{"NAME=evil; NAME=SESSION"}, {"NAME=SESSION; NAME=evil"}, {"NAME=" + other + "; NAME=SESSION"}, {"NAME=SESSION; NAME=" + other}, {"NAME=SESSION; NAME=SESSION"},
			{"NAME=SESSION; NAME="}, {"NAME=SESSION; NAME"}, {"NAME; NAME=SESSION"}, {"NAME=SESSION", "NAME=" + other}, {"NAME=" + other, "NAME=SESSION"}, {"NAME=SESSION", "a=b", "NAME=SESSION"},
		} {
			a := w.sendCookies(t, "/app", lines...)
			if a.Status != http.StatusUnauthorized {
				t.Errorf("%q: got %s, want 401", lines, a)
			}
			w.denied(t, a)
			w.dropped(t, a)
			if a := w.sendCookies(t, "/optional/x", lines...); a.Status != http.StatusOK {
				t.Errorf("%q on an optional route: got %s, want 200", lines, a)
			}
			head, _ := w.reached(t)
			saysNobody(t, head)
			absent(t, head, "Cookie2")
			if strings.Contains(head, w.Cookie()) {
				t.Errorf("%q: the application got %q", lines, fields(head)["cookie"])
			}
		}
		if a := w.sendCookies(t, "/app", "NAME=SESSION"); a.Status != http.StatusOK {
			t.Errorf("alone: got %s, want 200", a)
		}
		w.Upstream.Forget()
	})
	t.Run("Chromium", func(t *testing.T) { siblingCookies(t, d) })
}

func unusualCookies(t *testing.T, d *doors) {
	d.signedIn(t, func(t *testing.T, w way) {
		for _, tt := range []struct {
			status int
			lines  []string
			want   []string // what the application gets
		}{
			{401, []string{"a=b, NAME=SESSION"}, nil},
			{200, []string{"a=b", "NAME=SESSION"}, []string{"a=b"}},
			{200, []string{"NAME=SESSION", "a=b"}, []string{"a=b"}},
			{200, []string{"$Version=1; NAME=SESSION; $Path=/"}, []string{"$Version=1; $Path=/"}},
			{200, []string{"a=b;NAME=SESSION;c"}, []string{"a=b;c"}},
			{200, []string{";;NAME=SESSION;;"}, nil},
			{200, []string{"\tNAME=SESSION\t"}, nil},
			{200, []string{"a=\"x; NAME=SESSION"}, []string{"a=\"x"}}, // quotes are no syntax here
			{401, []string{"a=\"x,NAME=SESSION\""}, nil},
			{401, []string{"a=b\\; NAME\\=SESSION"}, nil},
		} {
			a := w.sendCookies(t, "/app", tt.lines...)
			if a.Status != tt.status {
				t.Errorf("%q: got %s, want %d", tt.lines, a, tt.status)
			}
			if tt.status != http.StatusOK {
				w.denied(t, a)
				continue
			}
			head, _ := w.reached(t)
			saysAlice(t, head)
			exactly(t, head, "Cookie", tt.want...)
		}
	})
}
