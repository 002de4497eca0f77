package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// cookieCase is a rig, a browser with a session on it, and a way to send requests with a Cookie header of the test's
// own making: SESSION stands for the session cookie's value.
type cookieCase struct {
	*gatewaytest.Rig
	b       *gatewaytest.Browser
	session string
}

func newCookieCase(t *testing.T, o *gatewaytest.Options) cookieCase {
	t.Helper()
	rig := gatewaytest.New(t, o)
	b := rig.SignedIn(t, "/")
	return cookieCase{rig, b, b.Cookies("localhost")[rig.Cookie()]}
}

// send asks for the start page as a script would. Each line is a Cookie header; NAME and SESSION are filled in.
func (c cookieCase) send(t *testing.T, lines ...string) *gatewaytest.Answer {
	t.Helper()
	head := "GET / HTTP/1.1\r\nHost: " + c.URL[strings.Index(c.URL, "//")+2:] + "\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n"
	for _, line := range lines {
		head += "Cookie: " + strings.NewReplacer("NAME", c.Cookie(), "SESSION", c.session).Replace(line) + "\r\n"
	}
	return c.Raw(t, head+"\r\n")
}

func TestCatalogueCookies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		id    string
		check func(t *testing.T)
	}{
		{"CK-01 attributes", func(t *testing.T) {
			for _, secure := range []bool{false, true} {
				rig := gatewaytest.New(t, &gatewaytest.Options{TLS: secure})
				b := rig.Browser(t)
				first := b.Get(rig.URL + "/")
				back := answered(t, rig, b, first)
				last := b.Get(back)
				cookies := append(first.Cookies(), last.Cookies()...)
				if len(cookies) != 3 { // the attempt, the same one spent, the session
					t.Errorf("cookies: got %d, want 3", len(cookies))
				}
				for _, c := range cookies {
					if !strings.HasPrefix(c.Name, rig.Cookie()) || c.Secure != secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
						t.Errorf("got %q", c)
					}
					if c.Name == rig.Cookie() && (c.MaxAge < 336*3600-60 || c.MaxAge > 336*3600) {
						t.Errorf("Max-Age of the session: got %d, want its lifetime", c.MaxAge)
					}
				}
				if secure && rig.Cookie() != "__Host-portero" {
					t.Errorf("name on https: got %q", rig.Cookie())
				}
			}
		}},
		{"CK-02 plain http", func(t *testing.T) {
			c := newCookieCase(t, &gatewaytest.Options{TLS: true, Extra: "trusted_proxies: [127.0.0.0/8]"})
			r := c.b.Do(c.b.Request("GET", c.URL+"/x?a=1", nil, map[string]string{"X-Forwarded-Proto": "http"}))
			if r.StatusCode != http.StatusPermanentRedirect || r.Location() != c.URL+"/x?a=1" || len(r.Cookies()) != 0 {
				t.Errorf("got %s to %q with %d cookies, want 308 to https with none", r.Status, r.Location(), len(r.Cookies()))
			}
		}},
		{"CK-03 very many cookies", func(t *testing.T) {
			c := newCookieCase(t, nil)
			if got := c.send(t, strings.Repeat("a=b; ", 3001)+"NAME=SESSION"); got.Status != http.StatusOK {
				t.Errorf("3001 cookies: got %s, want 200", got)
			}
			if got := c.send(t, strings.Repeat("a=b; ", 20000)+"NAME=SESSION"); got.Status != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("20000 cookies: got %s, want 431", got)
			}
			// Too many for the attempts to be read: a page that says so, not a loop.
			b := c.Browser(t)
			b.SetCookie("localhost", "x", strings.Repeat("y; a=b; ", 1600)+"z=1")
			r := b.Get(c.URL + "/")
			for hops := 0; r.StatusCode >= 300 && r.StatusCode < 400; hops++ {
				if hops > 6 {
					t.Fatal("the sign-in goes round in circles")
				}
				r = b.Get(r.Location())
			}
			wantPage(t, r, http.StatusBadRequest, headNoCookies)
		}},
		{"CK-04 oversized", func(t *testing.T) {
			c := newCookieCase(t, nil)
			for size, want := range map[int]int{16 << 10: 200, 80 << 10: 431, 1 << 20: 431} {
				got := c.send(t, "NAME=SESSION; big="+strings.Repeat("x", size))
				if got.Status != want && got.Status != 0 || len(got.Body) > 4<<10 {
					t.Errorf("%d bytes: got %s with a body of %d bytes, want %d", size, got, len(got.Body), want)
				}
			}
		}},
		{"CK-05 malformed values", func(t *testing.T) {
			c := newCookieCase(t, nil)
			for _, line := range []string{"NAME=%%%", "NAME=;;", "NAME", "NAME=", `NAME="SESSION"`, "NAME=SESSION x", "NAME= SESSION", "NAME =SESSION", "NAME=SESSION=",
				"NAME=ñ", "NAME=SESSION\xff", "NAME=\x01", "NAME=SESSION,", "=SESSION", ";;;=;=;NAME=;", "NAME%3DSESSION", "x=NAME=SESSION"} {
				if got := c.send(t, line); got.Status != http.StatusUnauthorized && got.Status != http.StatusBadRequest {
					t.Errorf("%q: got %s, want 401", line, got)
				}
			}
			if got := c.send(t, "NAME=SESSION;"); got.Status != http.StatusOK {
				t.Errorf("a semicolon behind it: got %s, want 200", got)
			}
		}},
		{"CK-06 no numbers in cookies", func(t *testing.T) {
			s := newScene(t, nil) // the counters of a sign-in are in the sealed state
			for name, value := range s.b.Cookies("localhost") {
				s.b.SetCookie("localhost", name, strings.Repeat("9", len(value)))
			}
			wantToLogto(t, s.rig, s.b.Get(s.back))
			if got := tokenCalls(s.rig); got != 0 {
				t.Errorf("token calls: got %d, want 0", got)
			}
		}},
		{"CK-07 tossing", func(t *testing.T) {
			c := newCookieCase(t, nil)
			other := strings.Repeat("A", 43)
			for _, lines := range [][]string{
				{"NAME=evil; NAME=SESSION"}, {"NAME=SESSION; NAME=evil"}, {"NAME=" + other + "; NAME=SESSION"}, {"NAME=SESSION; NAME=SESSION"},
				{"NAME=SESSION; NAME="}, {"NAME=SESSION; NAME"}, {"NAME=SESSION", "NAME=" + other},
			} {
				got := c.send(t, lines...)
				if got.Status != http.StatusUnauthorized {
					t.Errorf("%q: got %s, want 401", lines, got)
				}
				if set := strings.Join(got.Header.Values("Set-Cookie"), "\n"); !strings.Contains(set, c.Cookie()+"=;") || !strings.Contains(set, "Max-Age=0") {
					t.Errorf("%q: the browser is not told to drop it: %q", lines, set)
				}
			}
			if got := c.send(t, "NAME=SESSION"); got.Status != http.StatusOK {
				t.Errorf("alone: got %s, want 200", got)
			}
		}},
		{"CK-08 unusual syntax", func(t *testing.T) {
			c := newCookieCase(t, nil)
			for _, tt := range []struct {
				want  int
				lines []string
			}{
				{401, []string{"a=b, NAME=SESSION"}},
				{200, []string{"a=b", "NAME=SESSION"}},
				{200, []string{"NAME=SESSION", "a=b"}},
				{200, []string{"$Version=1; NAME=SESSION; $Path=/"}},
				{200, []string{"a=b;NAME=SESSION;c"}},
			} {
				if got := c.send(t, tt.lines...); got.Status != tt.want {
					t.Errorf("%q: got %s, want %d", tt.lines, got, tt.want)
				}
			}
		}},
		{"CK-09 malleability", func(t *testing.T) {
			s := newScene(t, nil)
			atLogto(t, s.rig, s.b, s.rig.URL+"/other")
			names := attemptCookies(s.rig, s.b)
			first, second := s.b.Cookies("localhost")[names[0]], s.b.Cookies("localhost")[names[1]]
			for name, change := range map[string]func(b *gatewaytest.Browser){
				"swapped": func(b *gatewaytest.Browser) {
					b.SetCookie("localhost", names[0], second)
					b.SetCookie("localhost", names[1], first)
				},
				"cut": func(b *gatewaytest.Browser) {
					b.SetCookie("localhost", names[0], first[:len(first)-1])
					b.SetCookie("localhost", names[1], second[:len(second)-1])
				},
				"shifted": func(b *gatewaytest.Browser) {
					b.SetCookie("localhost", names[0], first[1:])
					b.SetCookie("localhost", names[1], second[1:])
				},
				"renamed": func(b *gatewaytest.Browser) {
					forgetAttempts(s.rig, b)
					b.SetCookie("localhost", s.rig.Cookie()+"-AAAAAAAAAAAAAAAAAAAAAA", first)
					b.SetCookie("localhost", s.rig.Cookie()+"-AAAAAAAAAAAAAAAAAAAAAQ", second)
				},
			} {
				b := twin(t, s.rig, s.b)
				change(b)
				r := b.Get(s.back)
				wantToLogto(t, s.rig, r) // as if there were no attempt
				gone := 0
				for _, c := range r.Cookies() {
					if c.MaxAge < 0 {
						gone++
					}
				}
				if got := tokenCalls(s.rig); got != 0 || gone != 2 {
					t.Errorf("%s: got %d token calls and %d cookies dropped, want 0 and 2", name, got, gone)
				}
			}
			b := twin(t, s.rig, s.b)
			b.SetCookie("localhost", s.rig.Cookie(), first) // an attempt is no session
			wantDenied(t, s.rig, b)
			s.b.Get(s.back)
			b = twin(t, s.rig, s.b)
			forgetAttempts(s.rig, b)
			b.SetCookie("localhost", names[0], b.Cookies("localhost")[s.rig.Cookie()]) // nor a session an attempt
			wantRedirect(t, b.Get(s.back), s.rig.URL+"/")
		}},
		{"CK-10 every character counts", func(t *testing.T) {
			s := newScene(t, nil)
			name := attemptCookies(s.rig, s.b)[0]
			value := s.b.Cookies("localhost")[name]
			b := s.rig.Browser(t)
			for i := range value {
				flipped := []byte(value)
				if flipped[i]++; !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", rune(flipped[i])) {
					flipped[i] = 'A'
				}
				forgetAttempts(s.rig, b)
				b.SetCookie("localhost", name, string(flipped))
				wantToLogto(t, s.rig, b.Get(s.back))
			}
			if got := tokenCalls(s.rig); got != 0 {
				t.Errorf("token calls: got %d, want 0", got)
			}
			wantRedirect(t, s.b.Get(s.back), s.asked)

			values := map[string]bool{} // equal plaintexts look different
			for range 20 {
				for _, c := range s.rig.Browser(t).Get(s.asked).Cookies() {
					values[c.Value] = true
				}
			}
			if len(values) != 20 {
				t.Errorf("different cookies: got %d, want 20", len(values))
			}
		}},
		{"CK-11 prefix spoof", func(t *testing.T) {
			c := newCookieCase(t, &gatewaytest.Options{TLS: true})
			for _, line := range []string{"__host-portero=SESSION", "__HOST-portero=SESSION", "__Host-Portero=SESSION", "\u2000__Host-portero=SESSION", "\u0085__Host-portero=SESSION",
				"portero=SESSION", "__Secure-portero=SESSION", "portero-443=SESSION", "a=\"x; b=y\", __Host-portero=SESSION"} {
				if got := c.send(t, line); got.Status != http.StatusUnauthorized && got.Status != http.StatusBadRequest {
					t.Errorf("%q: got %s, want 401", line, got)
				}
			}
		}},
		{"CK-12 forwarded cookies", func(t *testing.T) {
			c := newCookieCase(t, nil)
			for line, want := range map[string]string{
				`a=1; b="q;x"; c; NAME=SESSION`:                  `a=1; b="q;x"; c`,
				`NAME=SESSION; a=1; b="q;x"; c`:                  `a=1; b="q;x"; c`,
				`a=1; NAME=SESSION; b="q;x"; c`:                  `a=1; b="q;x"; c`,
				`a=1; NAME=SESSION; NAME-lang=es; NAME-abc=1`:    `a=1`,
				`NAME=SESSION; portero-1=x; __Host-portero=y`:    ``,
				`NAME=SESSION; porterox=1; portero-x=2; xNAME=3`: `porterox=1; portero-x=2; xNAME=3`,
			} {
				if got := c.send(t, line); got.Status != http.StatusOK {
					t.Errorf("%s: got %s, want 200", line, got)
				}
				want = strings.ReplaceAll(want, "NAME", c.Cookie())
				if got := strings.Join(gatewaytest.Header(c.Upstream.Last(), "Cookie"), "\n"); got != want {
					t.Errorf("%s: the application got %q, want %q", line, got, want)
				}
			}
		}},
		{"CK-13 another site writes cookies", func(t *testing.T) {
			rig := gatewaytest.New(t, nil)
			b := rig.Browser(t)
			for i := range 200 {
				b.SetCookie("localhost", rig.Cookie()+"-"+strings.Repeat("A", 19)+string([]byte{'A' + byte(i%26), 'A' + byte(i/26)})+"A", "x")
			}
			r := b.Get(rig.URL + "/")
			wantToLogto(t, rig, r)
			if got := len(attemptCookies(rig, b)); got != 1 {
				t.Errorf("attempts afterwards: got %d, want 1: the others are dropped", got)
			}
			wantRedirect(t, b.Get(answered(t, rig, b, r)), rig.URL+"/")
		}},
		{"CK-14 key rotation", func(t *testing.T) {
			const one, two, three = "0123456789abcdef0123456789ABCDEF", "1123456789abcdef0123456789ABCDEF", "2123456789abcdef0123456789ABCDEF"
			o := &gatewaytest.Options{Session: "store: memory, secret: " + one}
			s := newScene(t, o)
			waiting := atLogto(t, s.rig, s.b, s.rig.URL+"/waiting")
			lost := atLogto(t, s.rig, s.b, s.rig.URL+"/lost")
			wantRedirect(t, s.b.Get(s.back), s.asked)
			rotate := func(settings string) {
				t.Helper()
				o.Session = "store: memory, " + settings
				s.rig.Configure(o)
				if err := s.rig.Gateway.Reload(); err != nil {
					t.Fatal(err)
				}
			}
			rotate("secret: " + two + ", old_secrets: [{value: " + one + "}]")
			if r := s.b.Get(s.asked); r.StatusCode != http.StatusOK {
				t.Errorf("the session after a rotation: got %s, want 200", r.Status)
			}
			wantRedirect(t, s.b.Get(waiting), s.rig.URL+"/waiting") // and an attempt can be finished
			unused := twin(t, s.rig, s.b)
			s.clock.Add(time.Second)
			rotate("secret: " + three + ", old_secrets: [{value: " + two + "}]")
			if r := s.b.Get(s.asked); r.StatusCode != http.StatusOK { // resealed meanwhile
				t.Errorf("the session after two rotations: got %s, want 200", r.Status)
			}
			rotate("secret: " + one[:31] + "X")
			wantDenied(t, s.rig, unused)
			wantPage(t, s.b.Get(lost), http.StatusBadRequest, headFailed) // its state is nobody's now
			signIn(t, s.b, s.asked)
		}},
	} {
		t.Run(tt.id, func(t *testing.T) { t.Parallel(); tt.check(t) })
	}
}
