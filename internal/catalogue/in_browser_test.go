package catalogue_test

import (
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

func linksInBrowser(t *testing.T, d *doors) {
	f, _, of := d.Inviting()
	n := of[f]
	f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person = maps.Clone(alice) })
	link := f.link(t, "ann@example.com", "/mine")
	rows, good := f.Sessions(t), n.unspent()
	_, shown := n.requests()
	tab := f.Chromium(t).Person(t, gatewaytest.Look{})
	evil := evilSite(t, map[string]string{
		"/parts": strings.ReplaceAll(`<link rel="icon" href="data:,"><img src="OUT&img"><script src="OUT&script"></script><link rel="stylesheet" href="OUT&style"><link rel="prefetch" href="OUT&prefetch"><object data="OUT&object"></object><embed src="OUT&embed">
<iframe src="OUT&frame"></iframe><iframe srcdoc="<meta http-equiv=refresh content='0;url=OUT&meta'>"></iframe><iframe name="in"></iframe><form id="f" method="post" target="in" action="OUT&post"></form>
<script>f.submit(); fetch("OUT&cors", {credentials: "include"}).catch(() => 0); fetch("OUT&nocors", {mode: "no-cors", credentials: "include"}).catch(() => 0); navigator.sendBeacon("OUT&beacon", "x"); new Image().src = "OUT&image"</script>`, "OUT", f.URL+link),
		"/rules": `<link rel="icon" href="data:,"><script type="speculationrules">{"prerender": [{"source": "list", "urls": ["` + f.URL + link + `"], "eagerness": "immediate"}], "prefetch": [{"source": "list", "urls": ["` + f.URL + link + `"], "eagerness": "immediate"}]}</script><link rel="prerender" href="` + f.URL + link + `">`,
		"/link":  `<link rel="icon" href="data:,"><a id="a" href="` + f.URL + link + `">Sign in</a>`,
	})
	opened := func() int { return strings.Count(f.Log.String(), `"path":"/_portero/invitation"`) }
	before := opened()
	tab.Open(evil + "/parts")
	gatewaytest.Await(t, "the browser has asked for every part", func() bool { return opened()-before >= 10 })
	gatewaytest.Await(t, "the frames were refused", func() bool { return refusedFrames(tab) >= 2 })
	tab.Open(evil + "/rules")

	// From our own page, where prerenders are allowed and cookies come along: somebody who is signed in, as another.
	asked := opened()
	says := func(more string) { // an application with an icon, so that no browser asks for one
		page := `<!doctype html><link rel="icon" href="data:,"><title>app</title><h1>app</h1>` + more
		f.Upstream.Say(func(string) string {
			return "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: " + strconv.Itoa(len(page)) + "\r\n\r\n" + page
		}, false)
	}
	says(`<script type="speculationrules">{"prerender": [{"source": "list", "urls": ["` + link + `"], "eagerness": "immediate"}], "prefetch": [{"source": "list", "urls": ["` + link + `&2"], "eagerness": "immediate"}]}</script><iframe src="` + link + `"></iframe>`)
	tab.Open(f.URL + "/app")
	tab.AwaitHeading("app")
	gatewaytest.Await(t, "the frame, the prefetch or the prerender were asked for", func() bool { return opened()-asked >= 2 })
	session := tab.Cookies(f.URL)[f.Cookie()]
	if session == "" {
		t.Error("Alice is not signed in")
	}
	says("")
	if _, after := n.requests(); after != shown || n.unspent() != good {
		t.Errorf("the issuer was shown %d tokens and %d were spent, want none", after-shown, good-n.unspent())
	}
	f.rows(t, rows+1) // hers
	if got := tab.Cookies(f.URL)[f.Cookie()]; got != session {
		t.Error("the session was changed")
	}

	// The click is what counts: the script of the issuer's page spends the token, and she is Ann.
	tab.Open(evil + "/link")
	tab.Click("#a")
	tab.AwaitURL(f.URL + "/mine")
	if n.unspent() != good-1 || tab.Cookies(f.URL)[f.Cookie()] == session {
		t.Errorf("after the click: %d tokens were spent, want one, and another session", good-n.unspent())
	}
	f.Upstream.Forget()
	tab.Open(f.URL + "/mine")
	head, _ := f.reached(t)
	exactly(t, head, "X-Auth-Email", "ann@example.com")
	f.rows(t, rows+1)

	// In another browser it is used: the person stays with the issuer, and nobody is signed in.
	other := f.Chromium(t).Person(t, gatewaytest.Look{})
	other.Open(f.URL + link)
	other.AwaitHeading("This link was used")
	if got := other.Cookies(f.URL)[f.Cookie()]; got != "" {
		t.Error("in another browser there is a session")
	}
	f.rows(t, rows+1)
	if a := (way{front: f}).ask(t, request{Target: link, Lines: navigation}); a.Status != http.StatusFound {
		t.Errorf("the link afterwards: got %s, want 302", a)
	}
	f.Upstream.Say(nil, false)
	f.Upstream.Forget()
}
