package gateway_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

const (
	headStepUp  = "Confirm that it is you"
	stepUpRoute = `
  - {name: pay, title: Payroll, path: /pay, step_up: {max_age: 5m}, upstreams: [{url: UPSTREAM}]}
  - {name: quick, path: /quick, step_up: {max_age: 1m}, upstreams: [{url: UPSTREAM}]}
  - {name: app, title: Wiki, path: /, upstreams: [{url: UPSTREAM}]}
`
	challenge = `Bearer realm="localhost", error="insufficient_user_authentication", error_description="the sign-in is too old", max_age=300`
)

// A sign-in that is too old for a route is asked for again, by a page that says why, and the new one is enough.
func TestStepUp(t *testing.T) {
	t.Parallel()
	s := newScene(t, &gatewaytest.Options{Routes: stepUpRoute})
	wantRedirect(t, s.b.Get(s.back), s.asked)
	if r := s.b.Get(s.rig.URL + "/pay/slip?y=2026"); r.StatusCode != http.StatusOK {
		t.Fatalf("right after the sign-in: got %s, want 200", r.Status)
	}
	if got := wantToLogto(t, s.rig, s.b.Get(s.rig.URL+"/_portero/sign-in?fresh=1&return_to=%2Fpay")).Get("login_hint"); got != "" {
		t.Errorf("login_hint while the sign-in is recent: got %q, want none", got)
	}
	s.clock.Add(5*time.Minute + time.Second)
	if r := s.b.Get(s.asked); r.StatusCode != http.StatusOK {
		t.Fatalf("another route: got %s, want 200", r.Status)
	}
	before := len(s.rig.Upstream.Requests())

	r := s.b.Get(s.rig.URL + "/pay/slip?y=2026")
	wantPage(t, r, http.StatusUnauthorized, headStepUp)
	for _, part := range []string{"<bdi>Payroll</bdi> asks for a sign-in within the last 5 minutes.", "alice<wbr>@example.com",
		`href="/_portero/sign-in?fresh=1&amp;return_to=%2Fpay%2Fslip%3Fy%3D2026"`, `href="/"`} {
		if !strings.Contains(r.Text, part) {
			t.Errorf("the page lacks %q\n%s", part, r.Text)
		}
	}
	if got := r.Header.Get("Www-Authenticate"); got != challenge {
		t.Errorf("WWW-Authenticate: got %s, want %s", got, challenge)
	}
	if r.Header.Get("Portero-Code") != "" || len(r.Cookies()) != 0 {
		t.Errorf("a support code %q, %d cookies; want none", r.Header.Get("Portero-Code"), len(r.Cookies()))
	}

	r = s.b.Get(s.rig.URL + "/_portero/sign-in?fresh=1&return_to=%2Fpay%2Fslip%3Fy%3D2026")
	q := wantToLogto(t, s.rig, r)
	if q.Get("prompt") != "login consent" || q.Get("max_age") != "300" {
		t.Errorf("asked Logto for prompt=%q and max_age=%q, want login consent and 300", q.Get("prompt"), q.Get("max_age"))
	}
	if got := q.Get("login_hint"); got != "alice@example.com" {
		t.Errorf("login_hint: got %q, want the person's address", got)
	}
	for _, other := range []string{"/", "/_portero/signed-in"} { // another account may be wanted
		if got := wantToLogto(t, s.rig, s.b.Get(s.rig.URL+"/_portero/sign-in?fresh=1&return_to="+url.QueryEscape(other))).Get("login_hint"); got != "" {
			t.Errorf("login_hint for %s: got %q, want none", other, got)
		}
	}
	wantRedirect(t, s.b.Get(answered(t, s.rig, s.b, r)), s.rig.URL+"/pay/slip?y=2026")
	if got := len(s.rig.Upstream.Requests()); got != before {
		t.Errorf("the application saw %d requests on the way, want none", got-before)
	}
	if r := s.b.Get(s.rig.URL + "/pay/slip?y=2026"); r.StatusCode != http.StatusOK {
		t.Errorf("after the new sign-in: got %s, want 200", r.Status)
	}
	for _, line := range []string{`"reason":"step-up"`, `"decision":"sign-in"`} {
		if !strings.Contains(s.rig.Log.String(), line) {
			t.Errorf("the log lacks %s", line)
		}
	}
}

// What cannot show a page is told in its own way, and nothing of it reaches the application.
func TestStepUpByKindOfRequest(t *testing.T) {
	t.Parallel()
	s := newScene(t, &gatewaytest.Options{Routes: stepUpRoute})
	wantRedirect(t, s.b.Get(s.back), s.asked)
	s.clock.Add(6 * time.Minute)
	before := len(s.rig.Upstream.Requests())
	form := "application/x-www-form-urlencoded"
	for _, test := range []struct {
		name, method string
		header       map[string]string
		want         string // in the answer
	}{
		{"navigation", "GET", nil, headStepUp},
		{"navigation by HEAD", "HEAD", nil, ""},
		{"link of this site", "GET", map[string]string{"Referer": s.rig.URL + "/team?x=1", "Sec-Fetch-Site": "same-origin"}, `href="/team?x=1"`},
		{"form of the same origin", "POST", map[string]string{"Sec-Fetch-Site": "same-origin", "Content-Type": form, "Origin": s.rig.URL}, headForm},
		{"frame", "GET", map[string]string{"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "same-origin", "Referer": s.rig.URL + "/outer"},
			`href="/_portero/sign-in?fresh=1&amp;return_to=%2Fouter"`},
		{"form of another site", "POST", map[string]string{"Sec-Fetch-Site": "cross-site", "Content-Type": form, "Origin": "https://evil.example"}, "Confirm"},
		{"script", "GET", map[string]string{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Accept": "*/*"}, "Confirm"},
		{"script that reads JSON", "PUT", map[string]string{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Accept": "application/json"}, "JSON"},
		{"prefetch", "GET", map[string]string{"Sec-Purpose": "prefetch"}, "Confirm"},
		{"WebSocket", "GET", map[string]string{"Sec-Fetch-Mode": "websocket", "Sec-Fetch-Dest": "empty", "Connection": "Upgrade", "Upgrade": "websocket",
			"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Origin": s.rig.URL, "Accept": ""}, "Confirm"},
	} {
		r := s.b.Do(s.b.Request(test.method, s.rig.URL+"/pay", nil, test.header))
		if r.StatusCode != http.StatusUnauthorized || r.Location() != "" || r.Header.Get("Www-Authenticate") != challenge || r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: got %s, %q, Cache-Control %q", test.name, r.Status, r.Header.Get("Www-Authenticate"), r.Header.Get("Cache-Control"))
		}
		if len(r.Cookies()) != 0 {
			t.Errorf("%s: %d cookies, want none", test.name, len(r.Cookies()))
		}
		if test.want == "JSON" {
			var body struct {
				Error, Message string
				SignIn         string `json:"sign_in_url"`
			}
			if err := json.Unmarshal([]byte(r.Text), &body); err != nil || body.Error != "step_up" || body.SignIn != s.rig.URL+"/_portero/sign-in?fresh=1&return_to=%2Fpay" {
				t.Errorf("%s: got %s (%v)", test.name, r.Text, err)
			}
		} else if !strings.Contains(r.Text, test.want) {
			t.Errorf("%s: want %q in\n%s", test.name, test.want, r.Text)
		}
	}
	if r := s.b.Do(s.b.Request("POST", s.rig.URL+"/pay", strings.NewReader("a=1"), map[string]string{"Sec-Fetch-Site": "same-origin", "Content-Type": form, "Origin": s.rig.URL})); !strings.Contains(r.Text,
		`href="/_portero/sign-in?fresh=1&amp;return_to=%2F_portero%2Fsigned-in"`) {
		t.Errorf("the form's page leads nowhere fresh\n%s", r.Text)
	}
	if got := len(s.rig.Upstream.Requests()); got != before {
		t.Errorf("the application saw %d requests, want none", got-before)
	}
}

// Somebody who is not signed in and asks for such a route gets a sign-in that is recent enough, or is asked once more.
func TestStepUpAtTheFirstSignIn(t *testing.T) {
	t.Parallel()
	o := &gatewaytest.Options{Routes: stepUpRoute, Clock: gatewaytest.NewClock()}
	rig := gatewaytest.New(t, o)
	b := rig.Browser(t)
	rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.AuthTime = o.Clock.Now().Add(-time.Hour) }) // Logto's own session, and it does not mind
	r := b.Get(rig.URL + "/pay")
	if got := wantToLogto(t, rig, r).Get("max_age"); got != "300" {
		t.Errorf("max_age: got %q, want 300", got)
	}
	r = b.Get(answered(t, rig, b, r))
	if got := wantToLogto(t, rig, r).Get("prompt"); got != "login consent" || hasSession(rig, b) {
		t.Errorf("an answer that is too old: prompt %q, session %t; want login consent and none", got, hasSession(rig, b))
	}
	rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.AuthTime = time.Time{} })
	wantRedirect(t, b.Get(answered(t, rig, b, r)), rig.URL+"/pay")
	if r := b.Get(rig.URL + "/pay"); r.StatusCode != http.StatusOK {
		t.Errorf("got %s, want 200", r.Status)
	}
}

// Clocks that differ make nobody sign in twice, and those that differ too much are named.
func TestStepUpWithOtherClocks(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		behind   time.Duration // Logto's clock
		thinking time.Duration // what the person takes to sign in
		works    bool
	}{
		{"the same clock", 0, 30 * time.Second, true},
		{"Logto is slow", 50 * time.Second, 0, true},
		{"Logto is slow, and the person too", 50 * time.Second, 5 * time.Minute, true},
		{"Logto is a minute slow, which is as long as the sign-in may be", 59 * time.Second, 59 * time.Second, true},
		{"Logto is slow by more", 2 * time.Minute, 0, false},
		{"Logto is slow by more, and the person is slow", 3 * time.Minute, 3 * time.Minute, false},
		{"Logto is fast", -4 * time.Second, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, &gatewaytest.Options{Routes: stepUpRoute})
			wantRedirect(t, s.b.Get(s.back), s.asked)
			s.clock.Add(10 * time.Minute)
			wantPage(t, s.b.Get(s.rig.URL+"/quick"), http.StatusUnauthorized, headStepUp)
			r := s.b.Get(s.rig.URL + "/sign-in?fresh=1&return_to=/quick")
			wantToLogto(t, s.rig, r)
			s.clock.Add(test.thinking)
			silent(s, s.clock.Now().Add(-test.behind))
			r = s.b.Get(s.b.Get(r.Location()).Location())
			if !test.works {
				wantPage(t, r, http.StatusBadRequest, headFailed)
				if !strings.Contains(s.rig.Log.String(), "compare the clocks") {
					t.Error("the log does not name the clocks")
				}
				return
			}
			wantRedirect(t, r, s.rig.URL+"/quick")
			if r := s.b.Get(s.rig.URL + "/quick"); r.StatusCode != http.StatusOK {
				t.Errorf("after the sign-in: got %s, want 200", r.Status)
			}
		})
	}
}

// A WebSocket that was opened in time stays open: the age is looked at when a request begins.
func TestStepUpIsAtTheBeginning(t *testing.T) {
	t.Parallel()
	clock := gatewaytest.NewClock()
	routes := strings.ReplaceAll(stepUpRoute, "UPSTREAM", strconv.Quote(newApp(t).URL))
	rig := gatewaytest.New(t, &gatewaytest.Options{Routes: strings.Replace(routes, "path: /pay,", "path: /ws,", 1), Clock: clock})
	b := rig.SignedIn(t, "/ws/hello")
	socket := dialSocket(t, rig, b, "/ws", nil)
	socket.send("one")
	if got := socket.receive(); got != "one" {
		t.Fatalf("got %q", got)
	}
	clock.Add(6 * time.Minute)
	socket.send("two")
	if got := socket.receive(); got != "two" {
		t.Errorf("after max_age: got %q, want two", got)
	}
	if r := b.Get(rig.URL + "/ws/hello"); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("a new request: got %s, want 401", r.Status)
	}
}

// report_only lets in whom the rules deny, once signed in, and says what they would have done.
func TestReportOnly(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, &gatewaytest.Options{Routes: `
  - {name: trial, path: /trial, allow: [{roles: [admin]}], report_only: true, upstreams: [{url: UPSTREAM}]}
  - {name: broken, path: /broken, allow: [{expression: claims.custom_data.department == "it"}], report_only: true, upstreams: [{url: UPSTREAM}]}
  - {name: strict, path: /strict, allow: [{expression: claims.custom_data.department == "it"}], upstreams: [{url: UPSTREAM}]}
  - {name: app, path: /, upstreams: [{url: UPSTREAM}]}
`})
	stranger := rig.Browser(t)
	wantToLogto(t, rig, stranger.Get(rig.URL+"/trial"))
	b := rig.SignedIn(t, "/trial")
	for path, want := range map[string]int{"/trial": http.StatusOK, "/broken": http.StatusOK, "/strict": http.StatusForbidden} {
		if r := b.Get(rig.URL + path); r.StatusCode != want {
			t.Errorf("%s: got %s, want %d", path, r.Status, want)
		}
	}
	for _, want := range []string{
		`"decision":"allow","reason":"report-only","would_deny":"no-rule"`,
		`"decision":"allow","reason":"report-only","would_deny":"rule-error:missing-member"`,
		`"outcome":"deny","reason":"rule-error:missing-member","route":"strict","rule":"allow[0]"`,
		`"outcome":"allow","reason":"report-only","would_deny":"no-rule","route":"trial"`,
	} {
		if !strings.Contains(rig.Log.String(), want) {
			t.Errorf("the log lacks %s", want)
		}
	}
}

// insecure: [unverified-email] counts for rules and expressions alike, and nothing else makes such an address count.
func TestUnverifiedAddressInRulesAndExpressions(t *testing.T) {
	t.Parallel()
	routes := `
  - {name: rule, path: /rule, allow: [{email_domains: [example.com]}], upstreams: [{url: UPSTREAM}]}
  - {name: claim, path: /claim, allow: [{claims: [{name: email, values: [alice@example.com]}]}], upstreams: [{url: UPSTREAM}]}
  - {name: expression, path: /expression, allow: [{expression: claims.email == "alice@example.com"}], upstreams: [{url: UPSTREAM}]}
  - {name: has, path: /has, allow: [{expression: has(claims.email)}], upstreams: [{url: UPSTREAM}]}
  - {name: app, path: /, allow: [{expression: "true"}], upstreams: [{url: UPSTREAM}]}
`
	for extra, want := range map[string]int{"": http.StatusForbidden, "insecure: [unverified-email]": http.StatusOK} {
		rig := gatewaytest.New(t, &gatewaytest.Options{Routes: routes, Extra: extra})
		rig.Issuer.Do(func(i *gatewaytest.Issuer) {
			i.Person["email"], i.Person["email_verified"] = "Alice@Example.com", false
		})
		b := rig.SignedIn(t, "/")
		for _, path := range []string{"/rule", "/claim", "/expression", "/has"} {
			if r := b.Get(rig.URL + path); r.StatusCode != want {
				t.Errorf("%q, %s: got %s, want %d", extra, path, r.Status, want)
			}
		}
	}
}
