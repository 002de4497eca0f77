package catalogue_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

// evilSite is a web site of somebody else, with one page at each path.
func evilSite(t *testing.T, pages map[string]string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><title>evil</title>", pages[r.URL.Path])
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// refusedFrames is how many pages the browser refused to show in a frame since the tab was opened.
func refusedFrames(tab *gatewaytest.Tab) int {
	n := 0
	for _, c := range tab.Console() {
		if strings.HasPrefix(c, "security:") && strings.Contains(c, "frame-ancestors") {
			n++
		}
	}
	return n
}

func framedSignIn(t *testing.T, d *doors) {
	frame := func(site string) [][2]string {
		return fieldsOf("Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Sec-Fetch-Site", site)
	}
	d.stranger(t, func(t *testing.T, w way) {
		for _, target := range []string{"/sign-in", "/sign-in?fresh=1", "/_portero/sign-in", "/app"} {
			for _, site := range []string{"cross-site", "same-site", "same-origin", "none"} {
				a := w.ask(t, request{Target: target, Lines: frame(site)})
				shows(t, a, http.StatusUnauthorized, headFramed)
				if policy := a.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "frame-ancestors 'self'") || len(a.Header["Set-Cookie"]) != 0 {
					t.Errorf("%s in a frame, %s: got the policy %q and the cookies %q", target, site, policy, a.Header["Set-Cookie"])
				}
			}
		}
		for _, lines := range [][][2]string{
			fieldsOf("Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Origin", "https://evil.example"),
			fieldsOf("Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Origin", w.URL),
			fieldsOf("Origin", "null"),
			nil,
		} {
			a := w.ask(t, request{Method: "POST", Target: "/sign-in", Body: "return_to=/evil", Lines: append(fieldsOf("Accept", "text/html", "Content-Type", "application/x-www-form-urlencoded"), lines...)})
			if a.Status != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "GET, HEAD" || len(a.Header["Set-Cookie"]) != 0 {
				t.Errorf("POST: got %s, Allow %q and the cookies %q, want 405, GET, HEAD and none", a, a.Header.Get("Allow"), a.Header["Set-Cookie"])
			}
		}
		w.nothingReached(t)
	})
	t.Run("Chromium", func(t *testing.T) {
		f := d.TLS()
		tab := f.Chromium(t).Person(t, gatewaytest.Look{})
		asked, called := len(f.Issuer.Requests()), f.Issuer.Calls("/oidc/auth")
		evil := evilSite(t, map[string]string{
			"/frames": strings.ReplaceAll(`<iframe src="GW/sign-in"></iframe><iframe src="GW/app"></iframe><iframe src="GW/callback?code=x&state=y"></iframe><iframe src="GW/sign-out"></iframe>`, "GW", f.URL),
			"/form":   `<iframe name="in"></iframe><form method="post" target="in" action="` + f.URL + `/sign-in"><input name="return_to" value="/evil"></form>`,
			"/top":    `<form method="post" action="` + f.URL + `/sign-in"><input name="return_to" value="/evil"></form>`,
		})
		tab.Open(evil + "/frames")
		gatewaytest.Await(t, "four frames were refused", func() bool { return refusedFrames(tab) == 4 })
		tab.Open(evil + "/form")
		gatewaytest.Eval[bool](tab, `document.forms[0].submit(), true`)
		gatewaytest.Await(t, "the answer to the form was refused", func() bool { return refusedFrames(tab) == 5 })
		tab.Open(evil + "/top")
		gatewaytest.Eval[bool](tab, `document.forms[0].submit(), true`)
		tab.AwaitHeading(headBadRequest)
		if got := f.Issuer.Calls("/oidc/auth") - called; got != 0 || len(f.Issuer.Requests()) != asked {
			t.Errorf("the issuer was asked %d times, want never", got)
		}
		if got := tab.Cookies(f.URL); len(got) != 0 {
			t.Errorf("cookies of the gateway: got %d, want none", len(got))
		}
		// The tab itself may go there: one sign-in, and no more.
		tab.Open(f.URL + "/app")
		tab.AwaitURL(f.URL + "/app")
		if got := f.Issuer.Calls("/oidc/auth") - called; got != 1 {
			t.Errorf("the issuer was asked %d times, want once", got)
		}
	})
}
