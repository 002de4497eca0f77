package gateway_test

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

// scene is a person in front of a rig who has been at Logto and is about to come back.
type scene struct {
	t     testing.TB
	rig   *gatewaytest.Rig
	b     *gatewaytest.Browser
	clock *gatewaytest.Clock
	asked string // the page that was asked for
	back  string // the callback's address, with code and state
}

// newScene starts a rig with a clock, asks for a page and signs in at the issuer.
func newScene(t testing.TB, o *gatewaytest.Options) *scene {
	t.Helper()
	if o == nil {
		o = &gatewaytest.Options{}
	}
	if o.Clock == nil {
		o.Clock = gatewaytest.NewClock()
	}
	rig := gatewaytest.New(t, o)
	s := &scene{t: t, rig: rig, b: rig.Browser(t), clock: o.Clock, asked: rig.URL + "/reports?q=1"}
	s.back = atLogto(t, rig, s.b, s.asked)
	return s
}

// atLogto asks for a page and signs in at the issuer; it returns where the issuer sends the browser.
func atLogto(t testing.TB, rig *gatewaytest.Rig, b *gatewaytest.Browser, asked string) string {
	t.Helper()
	return answered(t, rig, b, b.Get(asked))
}

// answered follows a redirect to the issuer, and returns where that sends the browser.
func answered(t testing.TB, rig *gatewaytest.Rig, b *gatewaytest.Browser, r *gatewaytest.Response) string {
	t.Helper()
	wantToLogto(t, rig, r)
	return b.Get(r.Location()).Location()
}

// wantToLogto fails the test unless r sends the browser to the issuer with a new attempt.
func wantToLogto(t testing.TB, rig *gatewaytest.Rig, r *gatewaytest.Response) url.Values {
	t.Helper()
	if r.StatusCode != http.StatusFound || !strings.HasPrefix(r.Location(), rig.Issuer.URL+"/oidc/auth?") {
		t.Fatalf("got %s to %q, want 302 to the issuer\n%s", r.Status, r.Location(), r.Text)
	}
	if got := r.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control of a redirect to the issuer: got %q, want no-store", got)
	}
	u, err := url.Parse(r.Location())
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

// wantRedirect fails the test unless r leads to the address with 303.
func wantRedirect(t testing.TB, r *gatewaytest.Response, to string) {
	t.Helper()
	if r.StatusCode != http.StatusSeeOther || r.Location() != to {
		t.Fatalf("got %s to %q, want 303 to %q\n%s", r.Status, r.Location(), to, r.Text)
	}
}

// wantPage fails the test unless r is the page with that status and heading, uncached and unframed.
func wantPage(t testing.TB, r *gatewaytest.Response, status int, heading string) {
	t.Helper()
	if r.StatusCode != status || !strings.Contains(r.Text, "<title>"+heading) {
		t.Fatalf("got %s, want %d with the heading %q\n%s", r.Status, status, heading, r.Text)
	}
	if got := r.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control of the page %q: got %q, want no-store", heading, got)
	}
}

// Headings of pages, as people read them.
const (
	headFailed      = "Signing in could not be finished"
	headUnavailable = "Signing in is not possible right now"
	headNoCookies   = "This browser does not keep cookies for this site"
	headWaiting     = "One moment, please"
	headSignedOut   = "You are signed out"
	headForm        = "Your form has not been sent"
	headFramed      = "Sign in to see this part"
	headUnknownHost = "There is nothing at this address"
	headBadRequest  = "This address cannot be opened"
)

// tokenCalls counts the calls of the token endpoint.
func tokenCalls(rig *gatewaytest.Rig) int { return rig.Issuer.Calls("/oidc/token") }

// sessionRows counts the rows of the session store.
func sessionRows(t testing.TB, rig *gatewaytest.Rig) int {
	t.Helper()
	return rig.Sessions(t)
}

// attemptCookies are the names of the attempt cookies a browser holds for localhost, sorted.
func attemptCookies(rig *gatewaytest.Rig, b *gatewaytest.Browser) []string {
	var names []string
	for name := range b.Cookies("localhost") {
		if strings.HasPrefix(name, rig.Cookie()+"-") && name != rig.Cookie()+"-lang" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// hasSession reports whether the browser holds a session cookie for localhost.
func hasSession(rig *gatewaytest.Rig, b *gatewaytest.Browser) bool {
	return b.Cookies("localhost")[rig.Cookie()] != ""
}

// twin is a second browser with the same cookies for localhost: the same person's browser, seen by a request that left
// before the answer to another one came.
func twin(t testing.TB, rig *gatewaytest.Rig, b *gatewaytest.Browser) *gatewaytest.Browser {
	t.Helper()
	c := rig.Browser(t)
	for name, value := range b.Cookies("localhost") {
		c.SetCookie("localhost", name, value)
	}
	return c
}

// signIn visits a page and ends on it, signed in.
func signIn(t testing.TB, b *gatewaytest.Browser, asked string) {
	t.Helper()
	if r := b.Visit(asked); r.StatusCode != http.StatusOK || r.Request.URL.String() != asked {
		t.Fatalf("signing in for %s: got %s at %s\n%s", asked, r.Status, r.Request.URL, r.Text)
	}
}

// forgetAttempts removes all attempt cookies from a browser.
func forgetAttempts(rig *gatewaytest.Rig, b *gatewaytest.Browser) {
	for _, name := range attemptCookies(rig, b) {
		b.SetCookie("localhost", name, "")
	}
}

// query changes the query of an address.
func query(t testing.TB, address string, change func(url.Values)) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	change(q)
	u.RawQuery = q.Encode()
	return u.String()
}

// unchanged fails the test unless the cookies of localhost are as they were.
func unchanged(t testing.TB, b *gatewaytest.Browser, before map[string]string) {
	t.Helper()
	if after := b.Cookies("localhost"); !maps.Equal(after, before) {
		t.Errorf("cookies were changed: got %d, had %d", len(after), len(before))
	}
}
