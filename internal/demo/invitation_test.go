package demo_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"portero/internal/demo"
	"portero/internal/gatewaytest"
)

// invite asks the gateway of a demonstration for the link of an invitation.
func invite(t *testing.T, d *demo.Demo, address, page, expires string) string {
	t.Helper()
	return inviteAt(t, d.Addresses.Admin, d.AdminToken, address, page, expires)
}

// inviteAt asks an admin listener for the link of an invitation.
func inviteAt(t *testing.T, admin, token, address, page, expires string) string {
	t.Helper()
	body, err := json.Marshal(map[string]string{"email": address, "to": page, "expires": expires})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest("POST", admin+"/api/invitations", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	r := gatewaytest.NewBrowser(t, nil).Do(req)
	var made struct{ Link string }
	if err := json.Unmarshal([]byte(r.Text), &made); err != nil || r.StatusCode != http.StatusCreated {
		t.Fatalf("got %s, %v\n%s", r.Status, err, r.Text)
	}
	return made.Link
}

// The whole way: an invitation signs in without a code, once, and a code does the rest.
func TestInvitation(t *testing.T) {
	t.Parallel()
	clock := gatewaytest.NewClock()
	d := start(t, demo.Config{Now: clock.Now})
	person := func() *gatewaytest.Browser {
		return gatewaytest.NewBrowser(t, map[string]string{"localhost": strings.TrimPrefix(strings.Replace(d.Addresses.Gateway, "localhost", "127.0.0.1", 1), "http://")})
	}
	page := d.Addresses.Gateway + "/reports/headers?year=2026&q=a%2Bb"
	const address = "maria+wiki@example.com"
	link := invite(t, d, address, page, "1h")
	lands := func(r *gatewaytest.Response, as string) {
		t.Helper()
		if r.StatusCode != http.StatusOK || r.Request.URL.String() != page || !strings.Contains(r.Text, `"X-Forwarded-Email": [`) || !strings.Contains(r.Text, `"`+as+`"`) {
			t.Fatalf("got %s at %s\n%s", r.Status, r.Request.URL, r.Text)
		}
	}
	b := person()
	lands(b.Visit(link), address)
	lands(b.Visit(link), address) // signed in, as often as one likes

	// In another browser it is used up: the provider says so, and a code leads to the page.
	other := person()
	r := other.Visit(link)
	if r.StatusCode != http.StatusBadRequest || !strings.HasPrefix(r.Request.URL.String(), d.Addresses.Provider) || strings.Contains(r.Text, "X-Forwarded") {
		t.Fatalf("used up: got %s at %s\n%s", r.Status, r.Request.URL, r.Text)
	}
	_, rest, ok := strings.Cut(r.Text, `href="/sign-in`)
	again, _, _ := strings.Cut(rest, `"`)
	if !ok {
		t.Fatalf("no way on:\n%s", r.Text)
	}
	lands(signIn(t, other, d, other.Visit(d.Addresses.Provider+"/sign-in"+html.UnescapeString(again)), address), address)

	// Somebody else's session does not count, neither here nor at the provider.
	bob := person()
	lands(signIn(t, bob, d, bob.Visit(page), "bob@example.com"), "bob@example.com")
	lands(bob.Visit(invite(t, d, address, page, "1h")), address)

	// Its end.
	late := invite(t, d, address, page, "1h")
	clock.Add(time.Hour)
	stranger := person()
	r = stranger.Visit(late)
	to := "/_portero/sign-in?return_to=" + url.QueryEscape(strings.TrimPrefix(page, d.Addresses.Gateway))
	if r.StatusCode != http.StatusGone || !strings.Contains(r.Text, "This invitation has run out") || !strings.Contains(r.Text, html.EscapeString(to)) {
		t.Fatalf("over: got %s\n%s", r.Status, r.Text)
	}
	lands(signIn(t, stranger, d, stranger.Visit(d.Addresses.Gateway+to), address), address)
}

// A click in a mail leads to the page, in Chromium; and what people see when it comes too late.
func TestInvitationInABrowser(t *testing.T) {
	t.Parallel()
	c := gatewaytest.NewChromium(t)
	for _, say := range []said{inEnglish, inSpanish} {
		t.Run(say.lang, func(t *testing.T) {
			t.Parallel()
			clock := gatewaytest.NewClock()
			d := start(t, demo.Config{Now: clock.Now})
			v := visit(t, c, d, say, gatewaytest.Look{Phone: true})
			const address = "maria.jose.fernandez@example.com"
			link := invite(t, d, address, v.at("/handbook?chapter=2"), "7d")
			mail := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { // another site
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				fmt.Fprintf(w, `<!doctype html><html lang="en"><link rel="icon" href="data:,"><title>Mail</title><h1>Mail</h1><p><a id="link" href="%s">Sign in</a>`, html.EscapeString(link))
			}))
			t.Cleanup(mail.Close)

			v.Open(mail.URL)
			v.Click("#link")
			v.landed(v.Tab, "/handbook?chapter=2", address)
			v.Open(mail.URL)
			v.Click("#link")
			v.landed(v.Tab, "/handbook?chapter=2", address)

			clock.Add(7 * 24 * time.Hour)
			late := visit(t, c, d, say, gatewaytest.Look{Phone: true})
			late.Open(mail.URL)
			late.Click("#link")
			heading := map[string]string{"en": "This invitation has run out", "es": "Esta invitación ha caducado"}[say.lang]
			late.look(late.Tab, "invitation-over", heading)
			late.ClickText(say.signIn)
			late.signIn(late.Tab, address)
			late.landed(late.Tab, "/handbook?chapter=2", address)
			v.quiet()
			late.quiet()
		})
	}
}
