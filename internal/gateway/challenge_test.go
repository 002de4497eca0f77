package gateway_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

// What somebody who is not signed in is answered with, by the kind of the request.
func TestChallenge(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	const (
		toLogto = "to Logto"
		form    = headForm
		frame   = headFramed
		refused = "401"
	)
	nav := func(more ...string) map[string]string {
		out := map[string]string{}
		for i := 0; i < len(more); i += 2 {
			out[more[i]] = more[i+1]
		}
		return out
	}
	plain := func(more ...string) map[string]string { // a client without Fetch metadata
		return nav(append([]string{"Sec-Fetch-Site", "", "Sec-Fetch-Mode", "", "Sec-Fetch-Dest", "", "Sec-Fetch-User", ""}, more...)...)
	}
	const urlencoded = "application/x-www-form-urlencoded"
	for _, tt := range []struct {
		name, method string
		header       map[string]string
		want         string
	}{
		{"typed address", "GET", nav(), toLogto},
		{"link of another site", "GET", nav("Sec-Fetch-Site", "cross-site"), toLogto},
		{"HEAD of an address", "HEAD", nav(), toLogto},
		{"form of the same origin", "POST", nav("Sec-Fetch-Site", "same-origin", "Content-Type", urlencoded, "Origin", rig.URL), form},
		{"form of another site", "POST", nav("Sec-Fetch-Site", "cross-site", "Content-Type", urlencoded, "Origin", "https://evil.example"), refused},
		{"PUT of a navigation", "PUT", nav("Sec-Fetch-Site", "same-origin"), refused},
		{"frame", "GET", nav("Sec-Fetch-Dest", "iframe", "Sec-Fetch-Site", "same-origin"), frame},
		{"old frame", "GET", nav("Sec-Fetch-Dest", "frame", "Sec-Fetch-Site", "same-origin"), frame},
		{"embedded object", "GET", nav("Sec-Fetch-Dest", "object"), refused},
		{"script", "GET", nav("Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Accept", "*/*"), refused},
		{"script that reads JSON", "GET", nav("Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Accept", "application/json"), refused},
		{"script that asks for HTML", "GET", nav("Sec-Fetch-Mode", "same-origin", "Sec-Fetch-Dest", "empty", "Accept", "text/html"), refused},
		{"image", "GET", nav("Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image", "Accept", "image/*"), refused},
		{"style sheet", "GET", nav("Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "style", "Accept", "text/css,*/*;q=0.1"), refused},
		{"WebSocket", "GET", nav("Sec-Fetch-Mode", "websocket", "Sec-Fetch-Dest", "empty", "Connection", "Upgrade", "Upgrade", "websocket",
			"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Origin", rig.URL), refused},
		{"WebSocket without Fetch metadata", "GET", plain("Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13",
			"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Origin", rig.URL), refused},
		{"prefetch", "GET", nav("Sec-Purpose", "prefetch"), refused},
		{"prerender", "GET", nav("Sec-Purpose", "prefetch;prerender"), refused},
		{"prefetch in an older spelling", "GET", nav("Purpose", "prefetch"), refused},
		{"prefetch of Mozilla", "GET", nav("X-Moz", "prefetch"), refused},
		{"prefetch without Fetch metadata", "GET", plain("Purpose", "prefetch"), refused},

		{"old browser", "GET", plain(), toLogto},
		{"old browser's HEAD", "HEAD", plain(), toLogto},
		{"old browser's script", "GET", plain("X-Requested-With", "XMLHttpRequest"), refused},
		{"program", "GET", plain("Accept", "*/*"), refused},
		{"program without Accept", "GET", plain("Accept", ""), refused},
		{"program that reads JSON", "GET", plain("Accept", "application/json"), refused},
		{"program that prefers JSON", "GET", plain("Accept", "application/json, text/html;q=0.5"), refused},
		{"old browser's form", "POST", plain("Content-Type", urlencoded, "Origin", rig.URL), form},
		{"old browser's form of another site", "POST", plain("Content-Type", urlencoded, "Origin", "https://evil.example"), refused},
		{"old browser's form of nowhere", "POST", plain("Content-Type", urlencoded), refused},
		{"JSON of the same origin", "POST", plain("Content-Type", "application/json", "Origin", rig.URL), refused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := rig.Browser(t)
			r := b.Do(b.Request(tt.method, rig.URL+"/reports?q=1", nil, tt.header))
			if tt.want == toLogto {
				wantToLogto(t, rig, r)
				if got := len(attemptCookies(rig, b)); got != 1 {
					t.Errorf("attempts: got %d, want 1", got)
				}
				return
			}
			if r.StatusCode != http.StatusUnauthorized || r.Header.Get("Location") != "" || r.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("got %s to %q with Cache-Control %q, want 401, nowhere, no-store", r.Status, r.Header.Get("Location"), r.Header.Get("Cache-Control"))
			}
			if got := r.Header.Get("Www-Authenticate"); got != `Bearer realm="localhost"` {
				t.Errorf("WWW-Authenticate: got %q", got)
			}
			if got := r.Header.Get("Proxy-Status"); !strings.HasPrefix(got, "portero; error=") {
				t.Errorf("Proxy-Status: got %q", got)
			}
			if len(r.Cookies()) != 0 {
				t.Errorf("cookies: got %d, want none", len(r.Cookies()))
			}
			switch tt.want {
			case form:
				wantPage(t, r, http.StatusUnauthorized, form)
				if !strings.Contains(r.Text, "<ol>") || !strings.Contains(r.Text, `href="/_portero/sign-in?return_to=%2F_portero%2Fsigned-in"`) ||
					!strings.Contains(r.Text, `target="_blank" rel="noopener"`) {
					t.Errorf("the page:\n%s", r.Text)
				}
			case frame:
				wantPage(t, r, http.StatusUnauthorized, frame)
				if !strings.Contains(r.Text, `href="/_portero/sign-in?return_to=%2Freports%3Fq%3D1"`) || !strings.Contains(r.Text, `target="_top"`) ||
					!strings.Contains(r.Header.Get("Content-Security-Policy"), "frame-ancestors 'self'") {
					t.Errorf("the page:\n%s", r.Text)
				}
			}
			if strings.Contains(tt.header["Accept"], "json") {
				var body struct {
					Error, Message string
					SignIn         string `json:"sign_in_url"`
				}
				if err := json.Unmarshal([]byte(r.Text), &body); err != nil || body.Error != "sign_in_required" || body.Message == "" ||
					body.SignIn != rig.URL+"/_portero/sign-in?return_to=%2Freports%3Fq%3D1" {
					t.Errorf("body: got %s (%v)", r.Text, err)
				}
			}
		})
	}
	t.Cleanup(func() {
		if got := rig.Upstream.Requests(); len(got) != 0 {
			t.Errorf("the application saw %d requests", len(got))
		}
		if got := rig.Issuer.Requests(); len(got) != 0 {
			t.Errorf("somebody went to the issuer: %d", len(got))
		}
	})
}

// A frame's sign-in comes back to the page around it, where the browser tells which that is.
func TestChallengeFrameKnowsItsPage(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	b := rig.Browser(t)
	for referer, want := range map[string]string{
		rig.URL + "/outer?a=1":     "%2Fouter%3Fa%3D1",
		rig.Second + "/outer":      "%2Finner",
		"https://evil.example/x":   "%2Finner",
		rig.URL + "@evil.example/": "%2Finner",
		rig.URL + "/sign-out":      "%2F",
	} {
		r := b.Do(b.Request("GET", rig.URL+"/inner", nil, map[string]string{"Sec-Fetch-Dest": "iframe", "Referer": referer}))
		if !strings.Contains(r.Text, `href="/_portero/sign-in?return_to=`+want+`"`) {
			t.Errorf("Referer %s: want return_to=%s\n%s", referer, want, r.Text)
		}
	}
}

// The sign-in endpoint starts one for a navigation alone.
func TestChallengeAtSignIn(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	for name, header := range map[string]map[string]string{
		"script":   {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
		"image":    {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
		"frame":    {"Sec-Fetch-Dest": "iframe"},
		"prefetch": {"Sec-Purpose": "prefetch"},
	} {
		b := rig.Browser(t)
		r := b.Do(b.Request("GET", rig.URL+"/sign-in?return_to=/x&fresh=1", nil, header))
		if r.StatusCode != http.StatusUnauthorized || r.Header.Get("Www-Authenticate") == "" || len(r.Cookies()) != 0 {
			t.Errorf("%s: got %s with %d cookies, want 401 with none", name, r.Status, len(r.Cookies()))
		}
		if name == "frame" && !strings.Contains(r.Text, headFramed) {
			t.Errorf("frame:\n%s", r.Text)
		}
	}
}
