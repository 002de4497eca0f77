package gateway_test

import (
	"context"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"portero/internal/demo/provider"
	"portero/internal/gatewaytest"
)

// TestSigningInThroughFrontProxies: the whole way of a person, with the demonstration's provider: from a page through the proxy in front
// to the sign-in, the provider, the callback and the page; signing out at both; and being asked again.
func TestSigningInThroughFrontProxies(t *testing.T) {
	t.Parallel()
	for _, f := range fronts {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			program, application := gatewaytest.Need(t, f.program), gatewaytest.NewUpstream(t)
			codes := make(chan string, 1)
			server := httptest.NewUnstartedServer(nil)
			logto := &gatewaytest.Logto{Endpoint: "http://" + server.Listener.Addr().String(), AppID: "wiki", AppSecret: "secret-of-the-wiki"}
			p, err := provider.New(provider.Config{
				URL: logto.Endpoint, AppID: logto.AppID, AppSecret: logto.AppSecret,
				SendCode: func(_ context.Context, _, code, _, _ string) error { codes <- code; return nil },
			})
			if err != nil {
				t.Fatal(err)
			}
			server.Config.Handler = p.Handler()
			server.Start()
			t.Cleanup(func() { p.Close(); server.Close() })
			rig := gatewaytest.New(t, trusted(gatewaytest.Options{Logto: logto, Routes: `
  - {name: preflights, path: /api, methods: [OPTIONS], access: public, forward_auth_only: true}
  - {name: api, path: /api, forward_auth_only: true, allow: [{email_domains: [example.com]}], cors: {origins: ["https://app.example.com"], credentials: true}}
  - {name: wiki, title: Wiki, path: /, forward_auth_only: true, allow: [{email_domains: [example.com]}]}
`}))
			port := gatewaytest.FreePort(t)
			f.start(t, program, port, rig.Addr, strings.TrimPrefix(application.URL, "http://"))
			b := gatewaytest.NewBrowser(t, map[string]string{"localhost": "127.0.0.1:" + port})

			// signIn goes on from an answer, as somebody.
			signIn := func(b *gatewaytest.Browser, r *gatewaytest.Response, address string) *gatewaytest.Response {
				r = submit(t, b, b.Follow(r), "identifier", address)
				select {
				case code := <-codes:
					return submit(t, b, r, "code", code)
				case <-time.After(10 * time.Second):
					t.Fatalf("no code was sent; the provider shows\n%s", r.Text)
					return nil
				}
			}
			asked := rig.URL + "/reports/2026?q=a%20b&x=1&x=%2B"
			first := b.Get(asked)
			if first.StatusCode != http.StatusFound || !strings.HasPrefix(first.Location(), rig.URL+"/_portero/sign-in?return_to=") || len(application.Requests()) != 0 {
				t.Fatalf("first answer: got %s to %q, %d requests at the application", first.Status, first.Location(), len(application.Requests()))
			}
			last := signIn(b, first, "ana@example.com")
			if last.StatusCode != http.StatusOK || last.Request.URL.String() != asked {
				t.Fatalf("after signing in: got %s at %s\n%s", last.Status, last.Request.URL, last.Text)
			}
			head := application.Last()
			if got := gatewaytest.Header(head, "X-Forwarded-Email"); !slices.Equal(got, []string{"ana@example.com"}) || !strings.HasPrefix(head, "GET /reports/2026?q=a%20b&x=1&x=%2B HTTP/1.1\r\n") {
				t.Errorf("the application saw\n%s", head)
			}

			// Somebody who may not is told so by our page.
			application.Forget()
			other := gatewaytest.NewBrowser(t, map[string]string{"localhost": "127.0.0.1:" + port})
			r := signIn(other, other.Get(asked), "eve@other.example")
			if r.StatusCode != http.StatusForbidden || !strings.Contains(r.Text, "Wiki") || !strings.Contains(r.Text, "eve<wbr>@other.example") || len(application.Requests()) != 0 {
				t.Errorf("somebody of another domain: got %s\n%s", r.Status, r.Text)
			}

			// Scripts of the origin that a route names can read why they get nothing; preflights are for the application.
			for origin, want := range map[string][]string{otherApp: {"Access-Control-Allow-Credentials: true", "Access-Control-Allow-Origin: " + otherApp}, "https://evil.example": nil} {
				script := map[string]string{"Origin": origin, "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "cross-site", "Accept": "application/json"}
				anybody := gatewaytest.NewBrowser(t, map[string]string{"localhost": "127.0.0.1:" + port})
				if r := anybody.Do(anybody.Request("PUT", rig.URL+"/api/x", nil, script)); r.StatusCode != http.StatusUnauthorized || !slices.Equal(gatewaytest.Sharing(r.Header), want) || len(application.Requests()) != 0 {
					t.Errorf("a script of %s: got %s with %q, %d requests at the application, want 401 with %q", origin, r.Status, gatewaytest.Sharing(r.Header), len(application.Requests()), want)
				}
				script["Access-Control-Request-Method"] = "PUT"
				if r := anybody.Do(anybody.Request("OPTIONS", rig.URL+"/api/x", nil, script)); r.StatusCode != http.StatusOK || len(application.Requests()) != 1 {
					t.Errorf("a preflight of %s: got %s, %d requests at the application, want one", origin, r.Status, len(application.Requests()))
				}
				application.Forget()
			}

			// Signing out ends the session here and at the provider.
			out := submit(t, b, b.Follow(b.Post(rig.URL+"/sign-out", nil)), "", "")
			if out.StatusCode != http.StatusOK || !strings.Contains(out.Text, "You are signed out") {
				t.Errorf("after signing out: got %s at %s\n%s", out.Status, out.Request.URL, out.Text)
			}
			if again := b.Visit(asked); !strings.HasPrefix(again.Request.URL.String(), logto.Endpoint) || len(application.Requests()) != 0 {
				t.Errorf("asking again: got %s at %s, want the provider's form", again.Status, again.Request.URL)
			}
		})
	}
}

// submit fills in a field of the provider's first form on a page, and goes on from there.
func submit(t *testing.T, b *gatewaytest.Browser, r *gatewaytest.Response, field, value string) *gatewaytest.Response {
	t.Helper()
	action := regexp.MustCompile(`<form [^>]*action="([^"]+)"`).FindStringSubmatch(r.Text)
	if r.StatusCode != http.StatusOK || action == nil || field != "" && !strings.Contains(r.Text, `name="`+field+`"`) {
		t.Fatalf("got %s at %s, want a form with the field %q\n%s", r.Status, r.Request.URL, field, r.Text)
	}
	to, err := r.Request.URL.Parse(html.UnescapeString(action[1]))
	if err != nil {
		t.Fatal(err)
	}
	fields := url.Values{}
	for _, m := range regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)"`).FindAllStringSubmatch(r.Text, -1) {
		fields.Set(m[1], html.UnescapeString(m[2]))
	}
	if field != "" {
		fields.Set(field, value)
	}
	return b.Follow(b.Post(to.String(), fields))
}
