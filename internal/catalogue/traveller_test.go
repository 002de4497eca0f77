package catalogue_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// Headings of pages, as people read them.
const (
	headFailed      = "Signing in could not be finished"
	headUnavailable = "Signing in is not possible right now"
	headNoCookies   = "This browser does not keep cookies for this site"
	headWaiting     = "One moment, please"
	headSignOut     = "Sign out of Wiki?"
	headSignedOut   = "You are signed out"
	headForm        = "Your form has not been sent"
	headFramed      = "Sign in to see this part"
	headUnknownHost = "There is nothing at this address"
	headBadRequest  = "This address cannot be opened"
)

// traveller is somebody in front of one way in who goes step by step, with the cookies of a browser.
type traveller struct {
	way
	cookies map[string]string
}

// traveller is a new person; where the way is Alice's, one who has just signed in as her, with a session of their own.
func (w way) traveller(t *testing.T) *traveller {
	t.Helper()
	p := &traveller{way: w, cookies: map[string]string{}}
	p.way.cookie = "" // it is not hers that is used
	if w.cookie != "" {
		seeOther(t, p.get(t, p.leave(t, "/")), "/")
		p.forgetAttempts()
	}
	return p
}

// twin has the same cookies: the same browser, seen by a request that left before the answer to another one came.
func (p *traveller) twin() *traveller {
	return &traveller{way: p.way, cookies: maps.Clone(p.cookies)}
}

// send sends a request with the cookies, and keeps those of the answer.
func (p *traveller) send(t *testing.T, q request) *gatewaytest.Answer {
	t.Helper()
	if jar := p.jar(); jar != "" {
		q.Lines = append([][2]string{{"Cookie", jar}}, q.Lines...)
	}
	a := p.ask(t, q)
	p.keep(a)
	return a
}

// get navigates to a target.
func (p *traveller) get(t *testing.T, target string) *gatewaytest.Answer {
	t.Helper()
	return p.send(t, request{Target: target, Lines: navigation})
}

// post sends a form from a page of the gateway's own.
func (p *traveller) post(t *testing.T, target string, form url.Values) *gatewaytest.Answer {
	t.Helper()
	return p.send(t, request{Method: "POST", Target: target, Body: form.Encode(), Lines: fieldsOf("Accept", "text/html",
		"Content-Type", "application/x-www-form-urlencoded", "Origin", p.URL, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")})
}

// jar are the cookies as they leave.
func (p *traveller) jar() string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(p.cookies)) {
		out = append(out, name+"="+p.cookies[name])
	}
	return strings.Join(out, "; ")
}

func (p *traveller) keep(a *gatewaytest.Answer) {
	for _, c := range (&http.Response{Header: a.Header}).Cookies() {
		if c.MaxAge < 0 {
			delete(p.cookies, c.Name)
			continue
		}
		p.cookies[c.Name] = c.Value
		if c.Name != p.Cookie()+"-lang" {
			p.Secret(c.Value, "cookie "+c.Name)
		}
	}
}

// session is the value of the session cookie; "": there is none.
func (p *traveller) session() string { return p.cookies[p.Cookie()] }

// attempts are the names of the cookies of sign-ins that were begun, sorted.
func (p *traveller) attempts() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(p.cookies)) {
		if strings.HasPrefix(name, p.Cookie()+"-") && name != p.Cookie()+"-lang" {
			names = append(names, name)
		}
	}
	return names
}

// forgetAttempts removes those cookies.
func (p *traveller) forgetAttempts() {
	for _, name := range p.attempts() {
		delete(p.cookies, name)
	}
}

// leave asks for a target that begins a sign-in and goes to the issuer; it returns the callback that the issuer sends
// the browser to, as a target.
func (p *traveller) leave(t *testing.T, target string) string {
	t.Helper()
	return p.atIssuer(t, p.get(t, target))
}

// atIssuer follows an answer to the issuer, and returns the callback that this sends the browser to, as a target.
func (p *traveller) atIssuer(t *testing.T, a *gatewaytest.Answer) string {
	t.Helper()
	p.toIssuer(t, a)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Get(a.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	back, ok := strings.CutPrefix(resp.Header.Get("Location"), p.URL)
	if !ok {
		t.Fatalf("the issuer sends the browser to %q, want to %s", resp.Header.Get("Location"), p.URL)
	}
	return back
}

// toIssuer fails unless an answer sends the browser to the issuer with a new sign-in; it returns what is asked there.
func (f *front) toIssuer(t *testing.T, a *gatewaytest.Answer) url.Values {
	t.Helper()
	u, err := url.Parse(a.Header.Get("Location"))
	if a.Status != http.StatusFound || err != nil || !strings.HasPrefix(u.String(), f.Issuer.URL+"/oidc/auth?") {
		t.Fatalf("got %s to %q, want 302 to the issuer\n%s", a, a.Header.Get("Location"), a.Body)
	}
	if got := a.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control of a redirect to the issuer: got %q, want no-store", got)
	}
	f.noSession(t, a)
	return u.Query()
}

// seeOther fails unless an answer leads to a target with 303, and nobody keeps it.
func seeOther(t *testing.T, a *gatewaytest.Answer, to string) {
	t.Helper()
	if a.Status != http.StatusSeeOther || a.Header.Get("Location") != to {
		t.Fatalf("got %s to %q, want 303 to %q\n%s", a, a.Header.Get("Location"), to, a.Body)
	}
	if got := a.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control of a redirect to %s: got %q, want no-store", to, got)
	}
}

// shows fails unless an answer is the page with that status and heading, and nobody keeps it.
func shows(t *testing.T, a *gatewaytest.Answer, status int, heading string) {
	t.Helper()
	if a.Status != status || !strings.Contains(a.Body, "<title>"+heading) {
		t.Fatalf("got %s, want %d with the heading %q\n%s", a, status, heading, a.Body)
	}
	if got := a.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control of the page %q: got %q, want no-store", heading, got)
	}
}

// queryOf is the query of a target.
func queryOf(t *testing.T, target string) url.Values {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

// edited is a target with its query changed.
func edited(t *testing.T, target string, change func(url.Values)) string {
	t.Helper()
	path, _, _ := strings.Cut(target, "?")
	q := queryOf(t, target)
	change(q)
	return path + "?" + q.Encode()
}

// tokenCalls is how often the token endpoint was asked.
func (f *front) tokenCalls() int { return f.Issuer.Calls("/oidc/token") }

// issuer changes the issuer until the end of the test.
func (f *front) issuer(t *testing.T, change func(*gatewaytest.Issuer)) {
	t.Helper()
	f.Issuer.Do(change)
	t.Cleanup(func() {
		f.Issuer.Do(func(i *gatewaytest.Issuer) {
			i.Person, i.Edit, i.EditAnswer, i.Sign, i.Answer, i.AuthError = maps.Clone(alice), nil, nil, nil, nil, ""
			i.Keys, i.EditDiscovery, i.EditReturn = nil, nil, nil
			i.AuthTime, i.AccessLife = time.Time{}, 0
		})
	})
}

// newcomers counts the people whom newcomer has made.
var newcomers atomic.Int64

// newcomer lets the issuer sign in somebody, until the end of the test, whom nobody has signed in before: neither
// sign-outs nor revocations of theirs touch anybody else.
func (f *front) newcomer(t *testing.T) {
	t.Helper()
	n := newcomers.Add(1)
	f.issuer(t, func(i *gatewaytest.Issuer) {
		i.Person = map[string]any{"sub": fmt.Sprintf("newcomer%04d", n), "sid": fmt.Sprintf("sid-%04d", n), "email": fmt.Sprintf("newcomer%d@example.com", n), "email_verified": true}
	})
}
