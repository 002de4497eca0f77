package catalogue_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

func logoutTransport(t *testing.T, d *doors) {
	const form = "application/x-www-form-urlencoded"
	d.stranger(t, func(t *testing.T, w way) {
		alice := way{front: w.front, h2: w.h2, cookie: w.front.alice}
		stays := func(t *testing.T, what string) {
			t.Helper()
			w.Upstream.Forget()
			if a := alice.ask(t, request{}); a.Status != http.StatusOK {
				t.Fatalf("%s: afterwards Alice got %s, want 200", what, a)
			}
			w.Upstream.Forget()
		}
		good := func() string {
			token := w.Issuer.LogoutToken(nil)
			w.Secret(token, "logout token")
			return token
		}
		send := func(method, query, body string, lines ...string) *gatewaytest.Answer {
			w.Upstream.Forget()
			a := w.ask(t, request{Method: method, Target: gatewaytest.LogoutPath + query, Lines: fieldsOf(lines...), Body: body})
			w.nothingReached(t)
			return a
		}
		for _, c := range []struct {
			name, query, body string
			lines             []string
			status            int
		}{
			{"JSON", "", `{"logout_token":"` + good() + `"}`, []string{"Content-Type", "application/json"}, 400},
			{"form that says JSON", "", "logout_token=" + good(), []string{"Content-Type", "application/json"}, 400},
			{"JWT", "", good(), []string{"Content-Type", "application/logout+jwt"}, 400},
			{"multipart", "", "--x\r\nContent-Disposition: form-data; name=\"logout_token\"\r\n\r\n" + good() + "\r\n--x--\r\n", []string{"Content-Type", "multipart/form-data; boundary=x"}, 400},
			{"plain text", "", "logout_token=" + good(), []string{"Content-Type", "text/plain"}, 400},
			{"no content type", "", "logout_token=" + good(), nil, 400},
			{"two content types", "", "logout_token=" + good(), []string{"Content-Type", form, "Content-Type", form}, 400},
			{"broken content type", "", "logout_token=" + good(), []string{"Content-Type", form + "; ="}, 400},
			{"in the query", "?logout_token=" + good(), "", []string{"Content-Type", form}, 400},
			{"half in the query", "?logout_token=" + good(), "x=1", []string{"Content-Type", form}, 400},
			{"none", "", "", []string{"Content-Type", form}, 400},
			{"empty", "", "logout_token=", []string{"Content-Type", form}, 400},
			{"two", "", "logout_token=" + good() + "&logout_token=" + good(), []string{"Content-Type", form}, 400},
			{"two, one empty", "", "logout_token=" + good() + "&logout_token=", []string{"Content-Type", form}, 400},
			{"name in other case", "", "Logout_Token=" + good(), []string{"Content-Type", form}, 400},
			{"name with brackets", "", "logout_token[]=" + good(), []string{"Content-Type", form}, 400},
			{"bad escape", "", "logout_token=" + good() + "&x=%zz", []string{"Content-Type", form}, 400},
			{"semicolons", "", "x=1;logout_token=" + good(), []string{"Content-Type", form}, 400},
			{"64 KiB and more", "", "logout_token=" + good() + "&x=" + strings.Repeat("x", 64<<10), []string{"Content-Type", form}, 413},
			{"60 KiB of token", "", "logout_token=" + strings.Repeat("A", 60<<10), []string{"Content-Type", form}, 400},
			{"compressed", "", "\x1f\x8b\x08", []string{"Content-Type", form, "Content-Encoding", "gzip"}, 400},
			{"Alice's own cookie", "", "logout_token=", []string{"Content-Type", form, "Cookie", w.front.alice}, 400},
		} {
			logoutAnswered(t, c.name, send("POST", c.query, c.body, c.lines...), c.status)
			stays(t, c.name)
		}
		// A megabyte may be cut off while it is sent: then there is that answer, or none.
		if a := send("POST", "", "logout_token="+strings.Repeat("A", 1<<20), "Content-Type", form); a.Status != 413 && a.Status != 0 {
			t.Errorf("1 MiB: got %s, want 413", a)
		}
		stays(t, "1 MiB")
		for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"} {
			a := send(method, "?logout_token="+good(), "logout_token="+good(), "Content-Type", form, "Origin", "https://evil.example", "Access-Control-Request-Method", "POST")
			if a.Status != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "POST" {
				t.Errorf("%s: got %s and Allow %q, want 405 and POST", method, a, a.Header.Get("Allow"))
			}
			for name := range a.Header {
				if strings.HasPrefix(http.CanonicalHeaderKey(name), "Access-Control-") {
					t.Errorf("%s: got the header %s", method, name)
				}
			}
			stays(t, method)
		}
		for _, c := range []struct {
			name, query, before string
			lines               []string
		}{
			{"with a charset", "", "", []string{"Content-Type", form + "; charset=UTF-8"}},
			{"content type in capitals", "", "", []string{"Content-Type", "Application/X-WWW-Form-URLEncoded"}},
			{"with something else", "", "a=1&a=2&", []string{"Content-Type", form}},
			{"with a query that means nothing", "?x=1&logout_token=junk", "", []string{"Content-Type", form}},
			{"with cookies, from another site", "", "", []string{"Content-Type", form, "Cookie", w.Cookie() + "=x; " + w.Cookie() + "=y", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}},
		} {
			who := newAlice()
			p := w.front.arrive(t, who)
			token := w.Issuer.LogoutToken(claiming(map[string]any{"sid": who["sid"]}))
			logoutAnswered(t, c.name, send("POST", c.query, c.before+"logout_token="+token, c.lines...), http.StatusOK)
			p.wantOut(t)
		}
		if !w.h2 {
			w.slowLogout(t)
			stays(t, "half a token")
		}
	})
}

// slowLogout sends all of a logout but its last byte, which is not waited for.
func (w way) slowLogout(t *testing.T) {
	t.Helper()
	text := logoutRequest(w.Issuer.LogoutToken(nil), "").text(w.host)
	c := w.Dial(t)
	began := time.Now()
	c.Send(text[:len(text)-1])
	a := c.Answer("POST")
	if took := time.Since(began); a.Status != http.StatusBadRequest || !a.Close || took > 5*time.Second {
		t.Errorf("all but one byte: got %s after %s, connection closed %t; want 400 within a second, and closed", a, took, a.Close)
	}
}

// logoutRequest is a logout token on its way to a host.
func logoutRequest(token, host string) request {
	return request{Method: "POST", Target: gatewaytest.LogoutPath, Host: host, Lines: fieldsOf("Content-Type", "application/x-www-form-urlencoded"),
		Body: "logout_token=" + token}
}
