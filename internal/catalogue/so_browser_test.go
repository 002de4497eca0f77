package catalogue_test

import (
	"net/http"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

// visitor is a newcomer in a real browser who stands on a page of the application.
func (f *front) visitor(t *testing.T, path string) *gatewaytest.Tab {
	t.Helper()
	f.newcomer(t)
	tab := f.Chromium(t).Person(t, gatewaytest.Look{})
	tab.Open(f.URL + path)
	tab.AwaitURL(f.URL + path)
	if tab.Cookies(f.URL)[f.Cookie()] == "" {
		t.Fatalf("nobody is signed in on %s", path)
	}
	return tab
}

// crossSiteInBrowser tries to sign somebody out from the page of another site.
func crossSiteInBrowser(t *testing.T, f *front) {
	tab := f.visitor(t, "/app")
	session := tab.Cookies(f.URL)[f.Cookie()]
	rows := f.Sessions(t)
	out := f.URL + "/sign-out"
	evil := evilSite(t, map[string]string{
		"/parts": strings.ReplaceAll(`<img src="OUT"><script src="OUT"></script><iframe src="OUT"></iframe><link rel="stylesheet" href="OUT"><link rel="prefetch" href="OUT">
<iframe name="in"></iframe><form id="f" method="post" target="in" action="OUT"></form><script>f.submit(); fetch("OUT", {method: "POST", mode: "no-cors", credentials: "include"}); navigator.sendBeacon("OUT", "x")</script>`, "OUT", out),
		"/form": `<form id="f" method="post" action="` + out + `"></form>`,
		"/link": `<a id="a" href="` + out + `">out</a>`,
	})
	tab.Open(evil + "/parts")
	gatewaytest.Await(t, "both frames were refused", func() bool { return refusedFrames(tab) == 2 })
	tab.Open(evil + "/form")
	gatewaytest.Eval[bool](tab, `f.submit(), true`)
	tab.AwaitHeading(headSignOut) // the cookie did not come with it, and the page asks
	tab.Open(evil + "/link")
	tab.Click("#a")
	tab.AwaitHeading(headSignOut)
	if got := tab.Cookies(f.URL)[f.Cookie()]; got != session {
		t.Error("the session cookie was changed")
	}
	f.rows(t, rows)
	tab.Click(`form[action="/_portero/sign-out"] button`) // the person means it
	tab.AwaitHeading(headSignedOut)
	f.rows(t, rows-1)
}

// deletedInBrowser looks at the cookies of somebody who signs out.
func deletedInBrowser(t *testing.T, f *front) {
	tab := f.visitor(t, "/app")
	tab.Open(f.URL + "/sign-out")
	tab.AwaitHeading(headSignOut)
	tab.Click(`form[action="/_portero/sign-out"] button`)
	tab.AwaitHeading(headSignedOut)
	if got, there := tab.Cookies(f.URL)[f.Cookie()]; there {
		t.Errorf("the session cookie: got %q, want none", got)
	}
}

// backAfterSignOut goes back to a protected page after signing out. A public page shows that this browser would have
// kept it.
func backAfterSignOut(t *testing.T, f *front) {
	tab := f.visitor(t, "/app/secret")
	if got := gatewaytest.Eval[string](tab, `document.body.textContent`); !strings.Contains(got, "the application") {
		t.Fatalf("the page of the application has %q", got)
	}
	f.issuer(t, func(i *gatewaytest.Issuer) { // somebody who is signed out there too
		i.Answer = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/oidc/auth" {
				return false
			}
			w.Header().Set("Content-Type", "text/html")
			w.Write([]byte("<!doctype html><title>issuer</title><h1>Who are you?</h1>"))
			return true
		}
	})
	gatewaytest.Eval[bool](tab, `location.href = "/public/kept", true`)
	tab.AwaitURL(f.URL + "/public/kept")
	gatewaytest.Eval[bool](tab, `window.kept = true, location.href = "/sign-out", true`)
	tab.AwaitHeading(headSignedOut) // a link of our own origin
	f.Upstream.Forget()
	gatewaytest.Eval[bool](tab, `history.back(), true`)
	tab.Await("the public page again, as it was", `location.pathname === "/public/kept" && window.kept === true`)
	f.nothingReached(t)
	gatewaytest.Eval[bool](tab, `history.back(), true`)
	tab.AwaitHeading("Who are you?") // it was asked for again, and there is nobody
	f.nothingReached(t)
	if got := gatewaytest.Eval[string](tab, `document.body.textContent`); strings.Contains(got, "the application") {
		t.Error("the page is shown again")
	}
}
