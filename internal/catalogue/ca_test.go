package catalogue_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

var caching = family{ID: "CA", Title: "Caches", Attacks: []attack{
	{ID: "CA-01", Name: "answers of our own in a shared cache", Want: "no-store on every one, and a cache that keeps what it may keeps none", Why: "a redirect to sign in that is kept signs nobody in any more. The cache is nginx", Test: ownAnswersCached},
	{ID: "CA-02", Name: "protected page that the application calls public", Want: "private, unless the route trusts its application; a cache in front hands it to nobody else", Why: "an application that stood open says so of all it has, and a shared cache hands Alice's page to Bob. The cache is nginx", Test: protectedCached},
	{ID: "CA-03", Name: "cache deception", Want: "a page at an address that looks like a file is kept by no cache", Why: "caches that keep what ends in .css", Test: deception},
	{ID: "CA-04", Name: "conditional requests", Want: "without session as any other request, never 304", Why: "a 304 says that the page is the one that somebody has", Test: strangerAsks(
		fieldsOf("If-None-Match", `"x"`), fieldsOf("If-None-Match", "*"), fieldsOf("If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT"), fieldsOf("If-Match", `"x"`), fieldsOf("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT"),
		fieldsOf("If-None-Match", `W/"x", "y"`, "If-Modified-Since", "nonsense"), fieldsOf("If", `(["x"])`),
	)},
	{ID: "CA-05", Name: "Range", Want: "without session as any other request, never 206 or 416", Why: "one byte at a time is the page too", Test: strangerAsks(
		fieldsOf("Range", "bytes=0-0"), fieldsOf("Range", "bytes=-1"), fieldsOf("Range", "bytes=0-0,2-2"), fieldsOf("Range", "bytes=99999999-"), fieldsOf("Range", "bytes=0-0", "If-Range", `"x"`), fieldsOf("Range", "nonsense"),
		fieldsOf("Cache-Control", "only-if-cached"), fieldsOf("Cache-Control", "max-stale"), fieldsOf("Pragma", "x"),
	)},
	{ID: "CA-06", Name: "what is not in a cache's key", Want: "headers that no cache looks at change nothing that may be kept", Why: "poisoning", Test: unkeyed},
}}

// cache is nginx as a shared cache that keeps whatever nobody forbids it to, by address alone.
type cache struct{ *legacy }

func newCache(t *testing.T, f *front) cache {
	t.Helper()
	program, port := gatewaytest.Need(t, "nginx"), gatewaytest.FreePort(t)
	dir := gatewaytest.WorkDir(t, map[string]string{"nginx.conf": `daemon off; master_process off; pid @DIR@/pid; error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path @DIR@; proxy_temp_path @DIR@; fastcgi_temp_path @DIR@; uwsgi_temp_path @DIR@; scgi_temp_path @DIR@;
  proxy_cache_path @DIR@/cache keys_zone=all:1m;
  server {
    listen 127.0.0.1:` + port + `;
    location / {
      proxy_pass http://` + f.Addr + `; proxy_set_header Host $http_host; proxy_http_version 1.1;
      proxy_cache all; proxy_cache_key $request_uri; proxy_cache_valid any 10m;
      proxy_cache_convert_head off; proxy_cache_methods GET HEAD POST;
      add_header X-Cache $upstream_cache_status always;
    }
  }
}
`})
	return cache{(&legacy{name: "nginx as a cache"}).start(t, port, exec.Command(program, "-p", dir, "-c", filepath.Join(dir, "nginx.conf")))}
}

// ask asks through the cache.
func (c cache) ask(t *testing.T, q request) *gatewaytest.Answer {
	t.Helper()
	if q.Method == "" {
		q.Method = "GET"
	}
	req, err := http.NewRequest(q.Method, c.url, strings.NewReader(q.Body))
	if err != nil {
		t.Fatal(err)
	}
	req.URL.Opaque, req.Host, req.Close = q.Target, gatewaytest.Host, true
	if q.Host != "" {
		req.Host = q.Host
	}
	for _, l := range q.Lines {
		req.Header.Add(l[0], l[1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return &gatewaytest.Answer{Status: resp.StatusCode, Header: resp.Header, Body: string(body)}
}

// says has the application answer every request with these header lines and a body.
func (f *front) says(t *testing.T, body string, lines ...string) {
	t.Helper()
	text := "HTTP/1.1 200 OK\r\nContent-Length: " + fmt.Sprint(len(body)) + "\r\n"
	for _, l := range lines {
		text += l + "\r\n"
	}
	f.Upstream.Say(func(string) string { return text + "\r\n" + body }, false)
	t.Cleanup(func() { f.Upstream.Say(nil, false) })
}

func ownAnswersCached(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		for _, a := range ownAnswers(t, w) {
			if got := a.answer.Header.Values("Cache-Control"); len(got) != 1 || got[0] != "no-store" {
				t.Errorf("%s: %s with Cache-Control %q, want no-store alone", a.what, a.answer, got)
			}
			if a.answer.Status != a.status {
				t.Errorf("%s: got %s, want %d", a.what, a.answer, a.status)
			}
			for _, name := range []string{"Expires", "ETag", "Last-Modified", "Age"} {
				if got := a.answer.Header.Values(name); len(got) != 0 {
					t.Errorf("%s: %s %q, want none", a.what, name, got)
				}
			}
		}
	})
	t.Run("nginx", func(t *testing.T) {
		f := d.Plain()
		c := newCache(t, f)
		f.says(t, "a stylesheet", "Content-Type: text/css")
		c.ask(t, request{Target: "/public/x.css"})
		if a := c.ask(t, request{Target: "/public/x.css"}); a.Header.Get("X-Cache") != "HIT" || a.Body != "a stylesheet" {
			t.Fatalf("the cache keeps nothing at all: %s, %q", a, a.Header)
		}
		f.Upstream.Say(nil, false)
		alice := append([][2]string{{"Cookie", f.alice}}, navigation...)
		for _, target := range []string{"/app", "/admin", "/sign-in?return_to=/app", "/sign-out", "/callback?code=a&state=b", "/_portero/", "/_portero/session", "/_portero/signed-out", "/_portero/continue", "/_portero/nothing", "/a/%2e%2e/b",
			"/_portero/language?lang=es&return_to=/", "/_portero/healthz", "/x.css", "/_portero/x.css"} {
			first := c.ask(t, request{Target: target, Lines: navigation})
			hers := c.ask(t, request{Target: target, Lines: alice})
			again := c.ask(t, request{Target: target, Lines: navigation})
			for _, a := range []*gatewaytest.Answer{hers, again} {
				if a.Header.Get("X-Cache") != "MISS" {
					t.Errorf("%s: %s came from the cache: %q", target, a, a.Header)
				}
			}
			if again.Status != first.Status || strings.Contains(again.Body, "alice@example.com") || strings.Contains(again.Body, "the application") && !strings.HasPrefix(target, "/public") {
				t.Errorf("%s, after Alice was there: got %s, want %s and nothing of hers\n%.300s", target, again, first, again.Body)
			}
		}
		f.Upstream.Forget()
	})
}

// own is one answer that the gateway gives itself.
type own struct {
	what   string
	status int
	answer *gatewaytest.Answer
}

// ownAnswers is one of each kind, as one way in gets them.
func ownAnswers(t *testing.T, w way) []own {
	t.Helper()
	in := w.cookie != ""
	pick := func(signedIn, stranger int) int {
		if in {
			return signedIn
		}
		return stranger
	}
	var out []own
	add := func(what string, status int, q request) {
		t.Helper()
		out = append(out, own{what, status, w.ask(t, q)})
	}
	page := func(target string, status int) {
		t.Helper()
		add(target, status, request{Target: target, Lines: navigation})
	}
	if !in {
		page("/app", 302)
		add("/app by a script", 401, request{})
		add("/app by a form", 401, request{Method: "POST", Lines: with(navigation, "Origin", w.URL, "Sec-Fetch-Site", "same-origin")})
		add("/app by HEAD", 302, request{Method: "HEAD", Lines: navigation})
		add("/app in a frame", 401, request{Lines: fieldsOf("Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe")})
		add("/app for JSON", 401, request{Lines: fieldsOf("Accept", "application/json")})
		w.issuer(t, func(i *gatewaytest.Issuer) { // somebody whose sign-out is nobody else's
			i.Person = maps.Clone(bob)
			i.Person["sid"] = t.Name()
		})
		p := w.traveller(t)
		back := p.leave(t, "/app")
		out = append(out, own{"the callback", 303, p.get(t, back)}, own{"the callback once more", 303, p.get(t, back)},
			own{"signing out", 303, p.post(t, "/sign-out", nil)})
	}
	page("/sign-in?return_to=/app", pick(303, 302))
	page("/sign-out", 200)
	page("/callback?code=a&state=b", 400)
	page("/callback", 400)
	page("/_portero/", 200)
	page("/_portero/session", pick(200, 401))
	page("/_portero/signed-out", pick(303, 200))
	page("/_portero/signed-in", pick(200, 303))
	page("/_portero/continue", pick(303, 200))
	page("/_portero/language?lang=es&return_to=/", 303)
	page("/_portero/nothing", 404)
	page("/_portero/healthz", 200)
	page("/a/%2e%2e/b", 400)
	page("/_portero/assets/nothing.css", 404)
	add("an unknown host", 421, request{Host: "elsewhere.test", Lines: navigation})
	add("an unknown method", 405, request{Method: "get"})
	add("a method of no page of ours", 405, request{Method: "DELETE", Target: "/sign-out"})
	add("a logout without token", 400, request{Method: "POST", Target: gatewaytest.LogoutPath, Body: "x=y", Lines: fieldsOf("Content-Type", "application/x-www-form-urlencoded")})
	if in {
		b := w
		b.cookie = w.signIn(t, bob)
		out = append(out, own{"somebody else's page", 403, b.ask(t, request{Target: "/admin", Lines: navigation})}, own{"somebody else's data", 403, b.ask(t, request{Target: "/admin"})})
	}
	w.Upstream.Say(func(string) string { return "" }, true)
	page("/public/gone", 502)
	w.Upstream.Say(func(string) string {
		return "HTTP/1.1 999 x\r\nContent-Length: 0\r\nCache-Control: public, max-age=600\r\n\r\n"
	}, true)
	page("/public/odd", 502)
	w.Upstream.Say(nil, false)
	w.Upstream.Forget()
	return out
}

func protectedCached(t *testing.T, d *doors) {
	// What an application says, and what is made of it on a protected route.
	tries := []struct {
		lines []string
		want  string
	}{
		{[]string{"Content-Type: text/html", "Cache-Control: public, max-age=600", "Expires: Fri, 01 Jan 2100 00:00:00 GMT", `ETag: "x"`}, "private, max-age=600"},
		{[]string{"Content-Type: text/css", "Cache-Control: PUBLIC,Max-Age=600,S-MaxAge=900, immutable"}, "private, Max-Age=600, immutable"},
		{[]string{"Content-Type: text/css", "Cache-Control: s-maxage=900"}, "private"},
		{[]string{"Content-Type: text/css", "Cache-Control: max-age=600"}, "private, max-age=600"},
		{[]string{"Content-Type: text/css", "Expires: Fri, 01 Jan 2100 00:00:00 GMT"}, "private"},
		{[]string{"Content-Type: application/json", "Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT", `ETag: "x"`}, "private"},
		{[]string{"Content-Type: application/pdf"}, "private"},
		{[]string{"Content-Type: application/json", "Cache-Control: must-revalidate"}, "private, must-revalidate"},
		{[]string{"Content-Type: application/json", "Cache-Control: no-cache"}, "private, no-cache"},
		{[]string{"Content-Type: application/json", "Cache-Control: public", "Cache-Control: max-age=5"}, "private, max-age=5"},
		{[]string{"Content-Type: application/json", `Cache-Control: private="x, y", max-age=5`}, `private, private="x, y", max-age=5`},
		{[]string{"Content-Type: application/json", "Cache-Control: private, max-age=5"}, "private, max-age=5"},
		{[]string{"Content-Type: application/json", "Cache-Control: no-store"}, "no-store"},
		{[]string{"Content-Type: text/html"}, "private, no-store"},
		{nil, "private, no-store"},
		{[]string{"Content-Type: text/css", "CDN-Cache-Control: max-age=600", "Surrogate-Control: max-age=600", "Example-CDN-Cache-Control: max-age=600", "Edge-Control: max-age=600", "X-Accel-Expires: 600"}, "private"},
	}
	d.signedIn(t, func(t *testing.T, w way) {
		for _, tt := range tries {
			w.says(t, "hers", tt.lines...)
			for _, target := range []string{"/app", "/optional/x"} {
				a := w.ask(t, request{Target: target})
				if got := strings.Join(a.Header.Values("Cache-Control"), " | "); got != tt.want || a.Body != "hers" {
					t.Errorf("%s %q: got Cache-Control %q with %q, want %q", target, tt.lines, got, a.Body, tt.want)
				}
				for _, name := range []string{"CDN-Cache-Control", "Surrogate-Control", "Example-CDN-Cache-Control", "Edge-Control", "X-Accel-Expires"} {
					if got := a.Header.Values(name); len(got) != 0 {
						t.Errorf("%s: %s left: %q", target, name, got)
					}
				}
				if got := a.Header["Set-Cookie"]; len(got) != 0 {
					t.Errorf("%s: the cookies %q go out with it, want none", target, got)
				}
			}
			a := w.ask(t, request{Target: "/public/x"})
			var said []string
			for _, l := range tt.lines {
				if value, is := strings.CutPrefix(l, "Cache-Control: "); is {
					said = append(said, value)
				}
			}
			if got := a.Header.Values("Cache-Control"); !slices.Equal(got, said) {
				t.Errorf("on a public route: got %q, want the application's %q", got, said)
			}
		}
		w.Upstream.Forget()
	})
	d.stranger(t, func(t *testing.T, w way) { // who is not signed in gets the same on a route that looks
		w.says(t, "his", "Content-Type: text/css", "Cache-Control: public, max-age=600")
		exactlyOne(t, w.ask(t, request{Target: "/optional/x"}).Header, "Cache-Control", "private, max-age=600")
		w.Upstream.Forget()
	})
	t.Run("nginx", func(t *testing.T) {
		f := newFront(t, gatewaytest.Options{Routes: strict + "  - {name: trusting, path: /trusting, cache: upstream, upstreams: [{url: UPSTREAM}]}\n"})
		c := newCache(t, f)
		lines := [][2]string{{"Cookie", f.alice}}
		for i, tt := range tries {
			f.says(t, "hers", tt.lines...)
			for _, target := range []string{fmt.Sprintf("/%d.css", i), fmt.Sprintf("/optional/%d.css", i)} {
				hers := c.ask(t, request{Target: target, Lines: lines})
				f.says(t, "another's", tt.lines...)
				a := c.ask(t, request{Target: target})
				if hers.Body != "hers" || a.Header.Get("X-Cache") == "HIT" || a.Body == "hers" {
					t.Errorf("%s, %q: Alice got %q, and then a stranger %s with %q", target, tt.lines, hers.Body, a, a.Body)
				}
				f.says(t, "hers", tt.lines...)
			}
		}
		// Who trusts an application to know, gets what it says.
		f.says(t, "everybody's", "Content-Type: text/css", "Cache-Control: public, max-age=600")
		exactlyOne(t, c.ask(t, request{Target: "/trusting/x.css", Lines: lines}).Header, "Cache-Control", "public, max-age=600")
		if a := c.ask(t, request{Target: "/trusting/x.css"}); a.Header.Get("X-Cache") != "HIT" {
			t.Errorf("cache: upstream: got %s, %q, want it from the cache", a, a.Header)
		}
	})
}

func deception(t *testing.T, d *doors) {
	targets := []string{"/account/x.css", "/account/x.js", "/account/x.png", "/account.css", "/account/logo.ico", "/account/x.css?y", "/account/x.json", "/account/robots.txt", "/account/x.CSS", "/account/.css", "/account/x.css/"}
	odd := []string{"/account;x.js", "/account%2fx.png", "/account%3Fx.css", "/account%23x.css", "/account/..%2fx.css", "/account%0ax.css", "/account%00.css", "/account\\x.css", "//account.css", "/account%3bx.css", "/account/x.css%20"}
	d.signedIn(t, func(t *testing.T, w way) {
		w.says(t, "Alice's account", "Content-Type: text/html; charset=utf-8")
		for _, target := range targets {
			a := w.ask(t, request{Target: target})
			if a.Status != http.StatusOK || a.Body != "Alice's account" {
				t.Errorf("%s: got %s with %q, want the application's page", target, a, a.Body)
			}
			exactlyOne(t, a.Header, "Cache-Control", "private, no-store")
			head, _ := w.reached(t)
			if got := line(head); got != "GET "+target+" HTTP/1.1" {
				t.Errorf("request line at the upstream: got %q", got)
			}
		}
		for _, target := range odd {
			a := w.ask(t, request{Target: target})
			if a.Status == http.StatusOK { // where nobody reads it in another way
				exactlyOne(t, a.Header, "Cache-Control", "private, no-store")
				w.Upstream.Forget()
				continue
			}
			if a.Status != http.StatusBadRequest && (!w.h2 || a.Status != 0) {
				t.Errorf("%s: got %s, want 400", target, a)
			}
			if a.Status == http.StatusBadRequest && a.Header.Get("Cache-Control") != "no-store" && a.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
				t.Errorf("%s: the 400 may be kept: %q", target, a.Header)
			}
			w.nothingReached(t)
		}
	})
	t.Run("nginx", func(t *testing.T) {
		f := d.Plain()
		c := newCache(t, f)
		f.says(t, "Alice's account", "Content-Type: text/html; charset=utf-8")
		for _, target := range append(targets, odd...) {
			if strings.ContainsAny(target, "\\") || strings.HasPrefix(target, "//") {
				continue // no address that a client of ours can send
			}
			c.ask(t, request{Target: target, Lines: fieldsOf("Cookie", f.alice)})
			if a := c.ask(t, request{Target: target}); a.Header.Get("X-Cache") == "HIT" || strings.Contains(a.Body, "Alice") {
				t.Errorf("%s: a stranger got %s with %q", target, a, a.Body)
			}
		}
		f.Upstream.Forget()
	})
}

// strangerAsks tries headers by which a server may answer with less than the page.
func strangerAsks(tries ...[][2]string) func(*testing.T, *doors) {
	return func(t *testing.T, d *doors) {
		d.stranger(t, func(t *testing.T, w way) {
			w.says(t, "", `ETag: "x"`, "Accept-Ranges: bytes")
			for _, lines := range tries {
				for _, method := range []string{"GET", "HEAD"} {
					a := w.ask(t, request{Method: method, Lines: lines})
					if a.Status != http.StatusUnauthorized || a.Header.Get("ETag") != "" || a.Header.Get("Accept-Ranges") != "" || a.Header.Get("Content-Range") != "" {
						t.Errorf("%s with %q: got %s with %q, want 401", method, lines, a, a.Header)
					}
					w.denied(t, a)
					a = w.ask(t, request{Method: method, Lines: append(slices.Clone(lines), navigation...)})
					if a.Status != http.StatusFound {
						t.Errorf("%s with %q, by navigation: got %s, want 302", method, lines, a)
					}
					w.denied(t, a)
				}
			}
		})
		d.signedIn(t, func(t *testing.T, w way) { // Alice's reach the application as they are, and so does its answer
			for _, lines := range tries {
				w.Upstream.Say(func(string) string {
					return "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nCache-Control: public\r\n\r\n"
				}, false)
				a := w.ask(t, request{Lines: lines})
				if a.Status != http.StatusNotModified || a.Header.Get("ETag") != `"x"` {
					t.Errorf("%q: got %s, want the application's 304", lines, a)
				}
				exactlyOne(t, a.Header, "Cache-Control", "private")
				head, _ := w.reached(t)
				for _, l := range lines {
					exactly(t, head, l[0], l[1])
				}
			}
			w.Upstream.Say(nil, false)
		})
	}
}

func unkeyed(t *testing.T, d *doors) {
	spoofs := [][][2]string{
		nil,
		fieldsOf("X-Forwarded-Host", "evil.test"), fieldsOf("X-Forwarded-Proto", "http", "X-Forwarded-Port", "8080", "X-Forwarded-Scheme", "http", "X-Forwarded-Prefix", "/evil"), fieldsOf("Forwarded", "host=evil.test;proto=http"),
		fieldsOf("X-Original-URL", "/evil", "X-Rewrite-URL", "/evil"), fieldsOf("X-Host", "evil.test", "X-HTTP-Host-Override", "evil.test", "X-Forwarded-Server", "evil.test"), fieldsOf("X-HTTP-Method-Override", "POST"),
		fieldsOf("Accept-Language", "es"), fieldsOf("Accept-Language", "evil\"><script>"), fieldsOf("User-Agent", "evil"), fieldsOf("Cookie", "__Host-portero-lang=es"), fieldsOf("Origin", "https://evil.test"), fieldsOf("Accept", "application/evil"), fieldsOf("Accept-Encoding", "evil"),
	}
	d.stranger(t, func(t *testing.T, w way) {
		// Files of ours, the only thing of ours that may be kept.
		page := w.ask(t, request{Target: "/_portero/signed-out", Lines: navigation})
		_, asset, ok := strings.Cut(page.Body, `href="/_portero/assets/`)
		asset, _, _ = strings.Cut(asset, `"`)
		if !ok {
			t.Fatalf("the page has no file: %s", page.Body)
		}
		var want *gatewaytest.Answer
		for _, lines := range spoofs {
			a := w.ask(t, request{Target: "/_portero/assets/" + asset, Lines: lines})
			for _, name := range []string{"Date", "X-Request-Id"} {
				a.Header.Del(name)
			}
			if want == nil {
				want = a
			}
			if a.Status != http.StatusOK || a.Body != want.Body || !maps.EqualFunc(a.Header, want.Header, slices.Equal[[]string]) || a.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
				t.Errorf("%q: got %s with %q, want the same file and %q", lines, a, a.Header, want.Header)
			}
		}
		// A public page that speaks of the address at which it was asked for.
		w.Upstream.Say(func(string) string {
			return "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nCache-Control: public, max-age=600\r\nLocation: " + w.Upstream.URL + "/x\r\n\r\n"
		}, false)
		for _, lines := range spoofs {
			a := w.ask(t, request{Target: "/public/x", Lines: lines})
			if got := a.Header.Get("Location"); a.Status != http.StatusFound || got != w.URL+"/x" {
				t.Errorf("%q: got %s to %q, want 302 to %s", lines, a, got, w.URL+"/x")
			}
			head, _ := w.reached(t)
			exactly(t, head, "Host", "gw.test")
			exactly(t, head, "X-Forwarded-Host", "gw.test")
			exactly(t, head, "X-Forwarded-Proto", "https")
			exactly(t, head, "X-Forwarded-Port", "443")
			if strings.Contains(fmt.Sprint(lines), "X-") || strings.Contains(fmt.Sprint(lines), "Forwarded") {
				if strings.Contains(head, "evil") {
					t.Errorf("%q: the application got %q", lines, head)
				}
			}
		}
		w.Upstream.Say(nil, false)
		// What may not be kept may differ: by language, for whom it is.
		for _, lines := range spoofs {
			for _, target := range []string{"/_portero/signed-out", "/_portero/nothing", "/a/%2e%2e/b"} {
				a := w.ask(t, request{Target: target, Lines: lines})
				exactlyOne(t, a.Header, "Cache-Control", "no-store")
				if strings.Contains(a.Body, "evil") || strings.Contains(a.Header.Get("Location"), "evil") {
					t.Errorf("%s with %q: the answer repeats it", target, lines)
				}
			}
		}
		w.nothingReached(t)
	})
}
