package demo_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"portero/internal/demo"
	"portero/internal/demo/provider"
	"portero/internal/gatewaytest"
)

// pair is one person in two browsers.
type pair struct {
	d         *demo.Demo
	here, far *gatewaytest.Browser
	page      string
	clock     *gatewaytest.Clock
}

func newPair(t *testing.T) *pair {
	t.Helper()
	clock := gatewaytest.NewClock()
	p := &pair{d: start(t, demo.Config{Now: clock.Now}), clock: clock}
	dial := map[string]string{"localhost": strings.TrimPrefix(strings.Replace(p.d.Addresses.Gateway, "localhost", "127.0.0.1", 1), "http://")}
	p.here, p.far = gatewaytest.NewBrowser(t, dial), gatewaytest.NewBrowser(t, dial)
	p.page = p.d.Addresses.Gateway + "/reports"
	for _, b := range []*gatewaytest.Browser{p.here, p.far} {
		if r := signIn(t, b, p.d, b.Visit(p.page), "ana@example.com"); r.StatusCode != http.StatusOK {
			t.Fatalf("signing in: got %s", r.Status)
		}
	}
	clock.Add(time.Minute)
	return p
}

// atProvider reports whether the provider still knows a browser: then it answers without a page.
func (p *pair) atProvider(t *testing.T, b *gatewaytest.Browser) bool {
	t.Helper()
	q := url.Values{"client_id": {p.d.Logto.AppID}, "redirect_uri": {p.d.Addresses.Gateway + "/callback"}, "response_type": {"code"}, "scope": {"openid"},
		"prompt": {"none"}, "state": {"x"}, "code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"}}
	r := b.Get(p.d.Addresses.Provider + "/oidc/auth?" + q.Encode())
	u, err := url.Parse(r.Location())
	if err != nil || r.StatusCode != http.StatusSeeOther {
		t.Fatalf("asking the provider: got %s to %q", r.Status, r.Location())
	}
	return u.Query().Get("error") != "login_required"
}

// wantCode checks that the other browser has ended and is asked for an address and a code. People take longer for that
// than the second that a time in a token has.
func (p *pair) wantCode(t *testing.T) {
	t.Helper()
	p.clock.Add(2 * time.Second)
	if r := p.far.Get(p.page); r.StatusCode != http.StatusFound {
		t.Errorf("the other browser: got %s, want 302", r.Status)
	}
	r := p.far.Visit(p.page)
	if !strings.HasPrefix(r.Request.URL.String(), p.d.Addresses.Provider) || !strings.Contains(r.Text, `name="identifier"`) {
		t.Fatalf("the other browser landed on %s, want the provider's form", r.Request.URL)
	}
	if r := signIn(t, p.far, p.d, r, "ana@example.com"); r.Request.URL.String() != p.page || r.StatusCode != http.StatusOK {
		t.Errorf("after a code: got %s at %s", r.Status, r.Request.URL)
	}
}

func (p *pair) endOthers() *gatewaytest.Response {
	return p.here.Post(p.d.Addresses.Gateway+"/_portero/sessions/end", url.Values{"others": {"1"}})
}

// Ended on the own page, a session ends at the provider as well, with what was granted in it.
func TestEndedSessionEndsAtTheProvider(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	if r := p.here.Follow(p.endOthers()); !strings.Contains(r.Text, "1 session ended.") {
		t.Fatalf("got %s\n%s", r.Status, r.Text)
	}
	if p.atProvider(t, p.far) {
		t.Error("the provider still knows the other browser")
	}
	if !p.atProvider(t, p.here) {
		t.Error("the provider has forgotten the browser that asked")
	}
	if r := p.here.Get(p.page); r.StatusCode != http.StatusOK {
		t.Errorf("the browser that asked: got %s, want 200", r.Status)
	}
	p.wantCode(t)
	if got := p.d.Provider.Switches().TokenCalls("client_credentials"); got != 1 {
		t.Errorf("%d management tokens were fetched, want one", got)
	}
}

// Revoked with the provider's session left alive: a code is asked for all the same, and nobody waits for the provider.
func TestEndedSessionWithoutTheProvider(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]func(*provider.Switches){
		"the API is down":       func(s *provider.Switches) { s.Down(provider.Management, http.StatusServiceUnavailable) },
		"the API hangs":         func(s *provider.Switches) { s.Hang(provider.Management) },
		"the API is not for us": func(s *provider.Switches) { s.Down(provider.Management, http.StatusForbidden) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			broken(p.d.Provider.Switches())
			began := time.Now()
			if r := p.endOthers(); r.StatusCode != http.StatusSeeOther || !strings.Contains(r.Location(), "notice=") {
				t.Errorf("got %s to %q", r.Status, r.Location())
			}
			if took := time.Since(began); took > 3*time.Second { // 800 ms, and a busy machine
				t.Errorf("the answer took %s", took)
			}
			if !p.atProvider(t, p.far) {
				t.Error("the provider has forgotten the other browser")
			}
			p.wantCode(t)
		})
	}
}

// What an operator ends goes the same way, by whatever name.
func TestOperatorEndsAtTheProvider(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"email", "subject", "sid", "id", "all"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			listed := p.admin(t, http.MethodGet, "/api/sessions", "")
			field := func(name string) string { // of the session that was used last: the other browser's
				return regexp.MustCompile(`"` + name + `": "([^"]+)"`).FindStringSubmatch(listed.Text)[1]
			}
			p.far.Get(p.page)
			body := url.Values{by: {"true"}}
			if by != "all" {
				body.Set(by, field(by))
			}
			if r := p.admin(t, http.MethodPost, "/api/sessions/revoke", body.Encode()); r.StatusCode != http.StatusOK {
				t.Fatalf("got %s\n%s", r.Status, r.Text)
			}
			ended := []*gatewaytest.Browser{p.here, p.far}
			if by == "sid" || by == "id" {
				ended = ended[:0]
				for _, b := range []*gatewaytest.Browser{p.here, p.far} {
					if b.Get(p.page).StatusCode != http.StatusOK {
						ended = append(ended, b)
					}
				}
				if len(ended) != 1 {
					t.Fatalf("%d browsers are signed out, want one", len(ended))
				}
			}
			for _, b := range ended { // beside the answer
				for until := time.Now().Add(10 * time.Second); p.atProvider(t, b); <-time.After(10 * time.Millisecond) {
					if time.Now().After(until) {
						t.Fatal("the provider still knows the browser")
					}
				}
				if r := b.Visit(p.page); !strings.HasPrefix(r.Request.URL.String(), p.d.Addresses.Provider) {
					t.Errorf("landed on %s, want the provider", r.Request.URL)
				}
			}
		})
	}
}

// admin asks the admin listener; a body is a form.
func (p *pair) admin(t *testing.T, method, path, body string) *gatewaytest.Response {
	t.Helper()
	req, err := http.NewRequest(method, p.d.Addresses.Admin+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.d.AdminToken)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return gatewaytest.NewBrowser(t, nil).Do(req)
}

// TestEndSessionsInChromium is the own page as its owner meets it: on a phone and on a desktop, by keyboard, in both
// languages. With PORTERO_TEST_SHOTS=FOLDER it leaves pictures.
func TestEndSessionsInChromium(t *testing.T) {
	t.Parallel()
	c := gatewaytest.NewChromium(t)
	for _, tt := range []struct {
		say                           said
		look                          gatewaytest.Look
		others, end, ended, signedOut string
	}{
		{inEnglish, gatewaytest.Look{}, "Sign out everywhere else", "End the session of ", "2 sessions ended.", "You are not signed in"},
		{inSpanish, gatewaytest.Look{Width: 390, Height: 844, Phone: true}, "Cerrar las demás sesiones", "Cerrar la sesión de ", "Se han cerrado 2 sesiones.", "No has iniciado sesión"},
	} {
		t.Run(tt.say.lang, func(t *testing.T) {
			t.Parallel()
			const address = "maria.jose.fernandez@example.com"
			d := start(t, demo.Config{})
			v := visit(t, c, d, tt.say, tt.look)
			v.Open(v.at("/reports"))
			v.signIn(v.Tab, address)
			v.landed(v.Tab, "/reports", address)
			var others []*gatewaytest.Tab
			for range 3 {
				o := visit(t, c, d, tt.say, tt.look)
				o.Open(o.at("/"))
				o.signIn(o.Tab, address)
				o.AwaitHeading(tt.say.received)
				others = append(others, o.Tab)
			}

			v.Open(v.at("/_portero/"))
			v.look(v.Tab, "own-page-of-four", tt.say.own+address)
			// By keyboard: the second row's button, in the order of the page.
			label := `document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim()`
			var seen []string
			for range 12 {
				v.Press("\t")
				focused := gatewaytest.Eval[string](v.Tab, label)
				seen = append(seen, focused)
				if got := v.Focus().Outline; got != "3px" {
					t.Errorf("the focus on %q has an outline of %s", focused, got)
				}
				if focused == tt.others {
					break
				}
			}
			if len(seen) < 6 || seen[len(seen)-1] != tt.others || seen[len(seen)-6] != tt.say.signOut {
				t.Fatalf("the focus went to %q", seen)
			}
			for _, one := range seen[len(seen)-5 : len(seen)-1] {
				if !strings.HasPrefix(one, tt.end) {
					t.Errorf("a button is called %q", one)
				}
			}
			v.Shot("sessions/focus." + tt.say.lang)

			rows := gatewaytest.Eval[[]string](v.Tab, `[...document.querySelectorAll('.sessions li')].map(e => e.querySelector('[name=id]').value)`)
			if len(rows) != 4 {
				t.Fatalf("%d rows, want four", len(rows))
			}
			v.Click("li:nth-child(4) button") // the one that was used least lately
			v.WaitVisible("[role=status]")
			v.look(v.Tab, "own-page-one-ended", tt.say.own+address)
			others[0].Open(v.at("/"))
			others[0].AwaitHeading(tt.say.askAddress)

			v.ClickText(tt.others)
			v.Await("the second notice", fmt.Sprintf(`document.querySelector('[role=status]')?.textContent === %q`, tt.ended))
			v.look(v.Tab, "own-page-others-ended", tt.say.own+address)
			for _, o := range others[1:] {
				o.Open(v.at("/_portero/"))
				o.AwaitHeading(tt.signedOut)
				o.Open(v.at("/reports"))
				o.AwaitHeading(tt.say.askAddress)
			}
			if gatewaytest.Eval[bool](v.Tab, fmt.Sprintf(`document.body.textContent.includes(%q)`, tt.others)) {
				t.Error("the button for the others is still there")
			}

			// The row of this device signs out.
			v.Click("li button")
			v.AwaitHeading(tt.say.signedOut)
			v.quiet(others...)
		})
	}
}
