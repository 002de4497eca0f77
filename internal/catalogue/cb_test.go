package catalogue_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

var callbacks = family{ID: "CB", Title: "The callback", Attacks: []attack{
	{ID: "CB-01", Name: "bare", Want: "400 without code or state, 405 for HEAD and POST, and no crash", Why: "CVE-2023-27496", Test: bareCallback},
	{ID: "CB-02", Name: "duplicates", Want: "400 where a parameter comes twice; the attempt is not touched", Why: "libraries that take the first; mod_auth_openidc refuses them since August 2026", Test: doubleParameters},
	{ID: "CB-03", Name: "error answer", Want: "a page that repeats nothing of it; the attempt is used up, and no token call is made", Why: "libraries that return it raw in an error", Test: errorAnswer},
	{ID: "CB-04", Name: "error without valid state", Want: "400, and the attempt can still be finished", Why: "third parties that end the sign-ins of others", Test: errorOfNobody},
	{ID: "CB-05", Name: "huge code and state", Want: "400, 431 or the end of the connection, whatever the size; no token call", Test: hugeParameters},
	{ID: "CB-06", Name: "form_post", Want: "405: answers come by GET alone", Test: formPost},
	{ID: "CB-07", Name: "tokens in the query", Want: "400 in place of a code; beside one they are ignored", Why: "hybrid injection", Test: hybridAnswer},
	{ID: "CB-08", Name: "other host or scheme", Want: "421 for a host that is none of ours, 400 on another of ours, 308 for http where a trusted proxy says so; no token call, and the redirect URI is never made of the request", Why: "libraries that compare with a URL made of Host and X-Forwarded-Proto", Test: elsewhereCallback},
	{ID: "CB-09", Name: "prefix confusion", Want: "what only begins or decodes like the callback is a page of the application, 404 or 400, and finishes nothing", Why: "libraries that check with HasPrefix", Test: almostCallback},
	{ID: "CB-10", Name: "the browser leaves in the middle", Want: "the refresh token that nobody took is revoked, or its session is there; the same address again waits, and later begins cleanly", Test: abortedCallback},
}}

func bareCallback(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		p := w.traveller(t)
		back := p.leave(t, "/sign-in?fresh=1&return_to=/mine")
		state := queryOf(t, back).Get("state")
		for _, path := range []string{"/callback", "/_portero/callback"} {
			for _, q := range []string{"", "?", "?foo", "?=", "?&&", "??", "?code", "?state", "?code=x", "?code=&state=&error=", "?state=" + state, "?state=" + state + "&code=",
				"?state=" + state + "&code=a&error=b", "?CODE=a&STATE=" + state, "?code=%zz&state=" + state, "?code=a;state=" + state} {
				calls := p.tokenCalls()
				a := p.get(t, path+q)
				if a.Status != http.StatusBadRequest || p.tokenCalls() != calls || len(a.Header["Set-Cookie"]) != 0 {
					t.Errorf("%s%s: got %s with %d token calls and the cookies %q, want 400 and nothing", path, q, a, p.tokenCalls()-calls, a.Header["Set-Cookie"])
				}
			}
			for _, method := range []string{"HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"} {
				a := p.send(t, request{Method: method, Target: strings.Replace(back, "/callback", path, 1), Lines: navigation})
				if a.Status != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "GET" {
					t.Errorf("%s %s: got %s with Allow %q, want 405 with GET", method, path, a, a.Header.Get("Allow"))
				}
			}
		}
		w.nothingReached(t)
		seeOther(t, p.get(t, back), "/mine")
	})
}

func doubleParameters(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		p := w.traveller(t)
		back := p.leave(t, "/sign-in?fresh=1&return_to=/mine")
		q := queryOf(t, back)
		code, state := url.QueryEscape(q.Get("code")), url.QueryEscape(q.Get("state"))
		iss := "&iss=" + url.QueryEscape(q.Get("iss"))
		for _, target := range []string{
			back + "&code=b", back + "&state=z", back + "&iss=x", back + "&code=", back + "&state=", back + "&code", back + "&error=a&error=b", back + "&error=a", back + iss,
			back + "&code=" + code, back + "&state=" + state, back + "&c%6fde=b", back + "&st%61te=z",
			"/callback?code=a&code=" + code + "&state=" + state + iss, "/callback?state=z&state=" + state + "&code=" + code + iss, "/callback?state=s&state=z&code=a",
		} {
			p.refusedCallback(t, target)
		}
		// Names that only look alike are other parameters, and nobody reads them.
		seeOther(t, p.get(t, back+"&code[]=b&state[]=z&Code=b&+code=b"), "/mine")
	})
}

func errorAnswer(t *testing.T, d *doors) {
	const description = "<svg/onload=1>\r\nX: y " + gatewaytest.Canary + "description"
	d.stranger(t, func(t *testing.T, w way) {
		rows := w.Sessions(t)
		for _, tt := range []struct {
			code, heading string // "": one new sign-in
			status        int
		}{
			{"access_denied", headFailed, 400},
			{"made-up-by-somebody", headFailed, 400},
			{"<svg/onload=1>\r\nX: y", headFailed, 400},
			{strings.Repeat("e", 4000), headFailed, 400},
			{"server_error", headUnavailable, 503},
			{"temporarily_unavailable", headUnavailable, 503},
			{"login_required", "", 302},
		} {
			p := w.traveller(t)
			back := p.leave(t, "/app")
			early, calls := p.twin(), w.tokenCalls()
			target := edited(t, back, func(q url.Values) {
				q.Del("code")
				q.Set("error", tt.code)
				q.Set("error_description", description)
				q.Set("error_uri", "javascript:alert("+gatewaytest.Canary+"uri)")
			})
			a := p.get(t, target)
			if tt.heading == "" {
				w.toIssuer(t, a)
			} else {
				shows(t, a, tt.status, tt.heading)
			}
			for _, bad := range []string{"onload", "svg/", "access_denied", "made-up", "eeee", "javascript", "server_error"} {
				if strings.Contains(a.Body, bad) {
					t.Errorf("%.20q: the page has %q", tt.code, bad)
				}
			}
			if a.Header.Get("X") != "" || p.session() != "" {
				t.Errorf("%.20q: got a header or a session of the error's", tt.code)
			}
			shows(t, early.get(t, back), http.StatusOK, headWaiting) // used up: the code that comes with the same state is not redeemed
			w.toIssuer(t, p.get(t, back))
			if got := w.tokenCalls() - calls; got != 0 {
				t.Errorf("%.20q: token calls: got %d, want none", tt.code, got)
			}
		}
		w.rows(t, rows)
		w.nothingReached(t)
	})
}

func errorOfNobody(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		p := w.traveller(t)
		back := p.leave(t, "/sign-in?fresh=1&return_to=/mine")
		for _, q := range []string{"error=x", "error=x&state=", "error=x&state=made-up", "error=access_denied&state=" + queryOf(t, back).Get("state")[:40], "error=access_denied&iss=" + url.QueryEscape(w.Issuer.URL+"/oidc")} {
			p.refusedCallback(t, "/callback?"+q)
		}
		p.refusedCallback(t, edited(t, back, func(q url.Values) { q.Del("code"); q.Del("iss"); q.Set("error", "access_denied") })) // of no issuer
		seeOther(t, p.get(t, back), "/mine")
	})
}

func hugeParameters(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		p := w.traveller(t)
		back, calls := p.leave(t, "/sign-in?fresh=1&return_to=/mine"), w.tokenCalls()
		for _, name := range []string{"code", "state", "iss", "error"} {
			for _, size := range []int{8 << 10, 60 << 10, 64 << 10, 80 << 10, 1 << 20} {
				target := edited(t, back, func(q url.Values) {
					q.Set("state", "x")
					q.Set(name, strings.Repeat("a", size))
				})
				a := p.get(t, target)
				switch {
				case a.Status == http.StatusBadRequest:
				case a.Status == http.StatusRequestHeaderFieldsTooLarge && size > 32<<10: // net/http's own
				case a.Status == 0 && size > 64<<10: // the connection is given up
				default:
					t.Errorf("%s of %d bytes: got %s, want 400, 431 or the end of the connection", name, size, a)
				}
				w.noSession(t, a)
			}
		}
		if got := w.tokenCalls() - calls; got != 0 {
			t.Errorf("token calls: got %d, want none", got)
		}
		w.nothingReached(t)
		seeOther(t, p.get(t, back), "/mine")
	})
}

func formPost(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		p := w.traveller(t)
		back, calls := p.leave(t, "/sign-in?fresh=1&return_to=/mine"), w.tokenCalls()
		_, form, _ := strings.Cut(back, "?")
		for _, origin := range []string{w.Issuer.URL, "null", w.URL} {
			for _, target := range []string{"/callback", "/_portero/callback", back} {
				a := p.send(t, request{Method: "POST", Target: target, Body: form, Lines: fieldsOf("Accept", "text/html", "Content-Type", "application/x-www-form-urlencoded",
					"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Origin", origin)})
				if a.Status != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "GET" || len(a.Header["Set-Cookie"]) != 0 {
					t.Errorf("got %s with Allow %q and the cookies %q, want 405, GET and none", a, a.Header.Get("Allow"), a.Header["Set-Cookie"])
				}
			}
		}
		a := p.send(t, request{Method: "POST", Target: back, Body: "", Lines: fieldsOf("X-HTTP-Method-Override", "GET", "X-Method-Override", "GET", "Accept", "text/html")})
		if a.Status != http.StatusMethodNotAllowed {
			t.Errorf("a method in a header: got %s, want 405", a)
		}
		if got := w.tokenCalls() - calls; got != 0 {
			t.Errorf("token calls: got %d, want none", got)
		}
		w.nothingReached(t)
		seeOther(t, p.get(t, back), "/mine")
	})
}

func hybridAnswer(t *testing.T, d *doors) {
	const token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0."
	d.each(t, func(t *testing.T, w way) {
		p := w.traveller(t)
		back := p.leave(t, "/sign-in?fresh=1&return_to=/mine")
		for _, more := range [][]string{{"id_token"}, {"access_token"}, {"id_token", "access_token", "token_type"}, {"response"}, {"refresh_token"}} {
			p.refusedCallback(t, edited(t, back, func(q url.Values) {
				q.Del("code")
				for _, name := range more {
					q.Set(name, token)
				}
			}))
		}
		p.refusedCallback(t, "/callback?id_token="+token+"&state="+url.QueryEscape(queryOf(t, back).Get("state")))
		// Beside a code they are ignored: who signs in is who the code is for.
		seeOther(t, p.get(t, back+"&id_token="+token+"&access_token=x&refresh_token=x&expires_in=1&token_type=x&scope=admin&sub=root&session_state=x"), "/mine")
		if a := p.get(t, "/mine"); a.Status != http.StatusOK {
			t.Errorf("afterwards: got %s, want 200", a)
		}
		head, _ := w.reached(t)
		saysAlice(t, head)
	})
}

func elsewhereCallback(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		p := w.traveller(t)
		back := p.leave(t, "/sign-in?fresh=1&return_to=/mine")
		calls := w.tokenCalls()
		for host, heading := range map[string]string{
			"evil.test": headUnknownHost, "gw.test.evil.test": headUnknownHost, "evil-gw.test": headUnknownHost, "127.0.0.1": headUnknownHost, "localhost": headUnknownHost,
			"other.test": headFailed, // ours, but the state is not its
		} {
			status := http.StatusMisdirectedRequest
			if heading == headFailed {
				status = http.StatusBadRequest
			}
			shows(t, p.send(t, request{Target: back, Host: host, Lines: navigation}), status, heading)
		}
		if !w.h2 { // whoever says it in the target
			shows(t, p.send(t, request{Target: "https://evil.test" + back, Lines: navigation}), http.StatusMisdirectedRequest, headUnknownHost)
		}
		if got := w.tokenCalls() - calls; got != 0 {
			t.Errorf("token calls: got %d, want none", got)
		}
		// What a stranger says of host and scheme is nothing, and the redirect URI is the registered one.
		var redirect []string
		w.issuer(t, func(i *gatewaytest.Issuer) {
			i.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/oidc/token" {
					redirect = append(redirect, r.PostForm.Get("redirect_uri"))
				}
				return false
			}
		})
		seeOther(t, p.send(t, request{Target: back, Lines: with(navigation, "X-Forwarded-Host", "evil.test", "X-Forwarded-Proto", "http", "X-Forwarded-Port", "80", "Forwarded", "host=evil.test;proto=http", "X-Forwarded-Prefix", "/evil")}), "/mine")
		if len(redirect) != 1 || redirect[0] != w.URL+"/callback" {
			t.Errorf("redirect_uri of the token call: got %q, want %s/callback", redirect, w.URL)
		}
		w.nothingReached(t)
	})
	t.Run("plain HTTP on the TLS port", func(t *testing.T) { // net/http's own answer
		f := d.TLS()
		calls := f.tokenCalls()
		a := (&gatewaytest.Rig{Addr: f.Addr}).Raw(t, request{Target: "/callback?code=x&state=y"}.text(f.host))
		if a.Status != http.StatusBadRequest || a.Body != "Client sent an HTTP request to an HTTPS server.\n" || f.tokenCalls() != calls {
			t.Errorf("got %s %q, want 400 and net/http's sentence", a, a.Body)
		}
	})
	t.Run("http, a trusted proxy says", func(t *testing.T) {
		f := unsigned(t, gatewaytest.Options{Extra: "trusted_proxies: [127.0.0.0/8]\n"})
		p := way{front: f}.traveller(t)
		back := p.leave(t, "/app")
		for _, proto := range []string{"http", "HTTP"} {
			a := p.send(t, request{Target: back, Lines: with(navigation, "X-Forwarded-Proto", proto, "X-Forwarded-For", "192.0.2.1")})
			if a.Status != http.StatusPermanentRedirect || a.Header.Get("Location") != f.URL+"/" || f.tokenCalls() != 0 || len(a.Header["Set-Cookie"]) != 0 {
				t.Errorf("%s: got %s to %q with %d token calls, want 308 to our https and none", proto, a, a.Header.Get("Location"), f.tokenCalls())
			}
		}
		a := p.send(t, request{Target: back, Lines: with(navigation, "X-Forwarded-Proto", "https", "X-Forwarded-For", "192.0.2.1", "X-Forwarded-Host", "evil.test")})
		shows(t, a, http.StatusMisdirectedRequest, headUnknownHost)
		seeOther(t, p.send(t, request{Target: back, Lines: with(navigation, "X-Forwarded-Proto", "https", "X-Forwarded-For", "192.0.2.1")}), "/app")
	})
}

func almostCallback(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		p := w.traveller(t)
		back, calls := p.leave(t, "/sign-in?fresh=1&return_to=/mine"), w.tokenCalls()
		before := p.session()
		for _, path := range []string{"/callback-evil", "/callback/x", "/callback/", "/callbackx", "/Callback", "/CALLBACK", "/x/callback", "/callback.php", "/callback%20", "/_porter/callback", "/public/callback"} {
			q := strings.Replace(back, "/callback", path, 1)
			a := p.twin().get(t, q)
			switch { // a page of the application
			case p.session() == "" && path != "/public/callback":
				w.toIssuer(t, a)
				w.nothingReached(t)
			default:
				head, _ := w.reached(t)
				if a.Status != http.StatusOK || line(head) != "GET "+q+" HTTP/1.1" {
					t.Errorf("%s: got %s, and %q at the application", path, a, line(head))
				}
			}
		}
		for _, path := range []string{"/callback%2f", "/%63allback", "/c%61llback", "/callback%00", "/callback;x", "/./callback", "//callback", "/x/../callback", "/callback%3f", "/callback/%2e",
			"/_portero/callback-evil", "/_portero/callback/x", "/_portero/callback/", "/_portero/Callback"} {
			a := p.get(t, strings.Replace(back, "/callback", path, 1))
			if a.Status != http.StatusBadRequest && a.Status != http.StatusNotFound {
				t.Errorf("%s: got %s, want 400 or 404", path, a)
			}
			w.nothingReached(t)
		}
		if got := w.tokenCalls() - calls; got != 0 || p.session() != before {
			t.Errorf("token calls: got %d, want none and no other session", got)
		}
		seeOther(t, p.get(t, back), "/mine")
	})
}

// http2Client speaks HTTP/2 to the gateway as browsers do, and follows no redirect.
func (f *front) http2Client(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // certificates of tests are of no authority
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, f.Addr)
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func abortedCallback(t *testing.T, d *doors) {
	try := func(t *testing.T, w way, later func()) {
		w.newcomer(t)
		p := w.traveller(t)
		back := p.leave(t, "/app")
		rows, calls, granted := w.Sessions(t), w.tokenCalls(), w.Issuer.Granted()
		reached, release := make(chan struct{}), make(chan struct{})
		let := sync.OnceFunc(func() { close(release) })
		defer let()
		w.issuer(t, func(i *gatewaytest.Issuer) {
			i.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/oidc/token" {
					close(reached)
					<-release
				}
				return false
			}
		})
		leave := p.sendAndLeave(t, back)
		<-reached
		shows(t, p.twin().get(t, back), http.StatusOK, headWaiting)
		leave()
		for range 20 { // the gateway has time to notice
			if a := w.ask(t, request{Target: "/_portero/healthz"}); a.Status != http.StatusOK {
				t.Errorf("healthz: got %s, want 200", a)
			}
		}
		let()
		ends := func() int { return len(w.Issuer.RevokedSince(granted)) + w.Sessions(t) - rows }
		gatewaytest.Await(t, "the tokens that nobody took are taken back, or their session is there", func() bool { return ends() > 0 })
		if got := ends(); got != 1 {
			t.Errorf("revoked tokens and new sessions: got %d, want one of either", got)
		}
		if later != nil {
			later()
			w.toIssuer(t, p.get(t, back))
		} else {
			shows(t, p.get(t, back), http.StatusOK, headWaiting)
		}
		if got := w.tokenCalls() - calls; got != 1 {
			t.Errorf("token calls: got %d, want 1", got)
		}
	}
	d.stranger(t, func(t *testing.T, w way) { try(t, w, nil) })
	t.Run("ten seconds later", func(t *testing.T) {
		f := newFront(t, gatewaytest.Options{Clock: gatewaytest.NewClock()})
		try(t, way{front: f}, func() { f.Clock.Add(10 * time.Second) })
	})
}

// sendAndLeave navigates to a target; what it returns goes away, whether or not there is an answer.
func (p *traveller) sendAndLeave(t *testing.T, target string) (leave func()) {
	t.Helper()
	if !p.h2 {
		c := p.Dial(t)
		c.Send(request{Target: target, Lines: with(navigation, "Cookie", p.jar())}.text(p.host))
		return func() { c.Close() }
	}
	client := p.http2Client(t)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = gatewaytest.Navigation()
	r.Header.Set("Cookie", p.jar())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if resp, err := client.Do(r); err == nil {
			resp.Body.Close()
			t.Error("there was an answer before the token call had one")
		}
	}()
	return func() { cancel(); <-gone }
}
