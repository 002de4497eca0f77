package gateway_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"portero/internal/gatewaytest"
	"portero/internal/outbound"
	"portero/internal/verify"
)

// From the browser through the gateway and what stands beside the application to the application; and past the gateway, to no end.
func TestVerifyBesideAnApplication(t *testing.T) {
	t.Parallel()
	keys := &verify.Keys{Client: outbound.New(outbound.Config{}), Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	app := gatewaytest.NewUpstream(t)
	u, err := url.Parse(app.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := &verify.Config{Keys: keys, Method: true, Path: true}
	beside := httptest.NewServer(verify.Handler(c, u, keys.Log))
	t.Cleanup(beside.Close)
	rig := gatewaytest.New(t, &gatewaytest.Options{
		Routes: `
  - {name: bound, path: /a, strip_prefix: true, paths: by-route, upstreams: [{url: "` + beside.URL + `"}], identity: {assertion: {bind: [method, path]}}}
  - {name: unbound, path: /b, upstreams: [{url: "` + beside.URL + `"}]}
  - {name: none, path: /c, upstreams: [{url: "` + beside.URL + `"}], identity: {assertion: {enabled: false}}}
  - {name: other, path: /d, upstreams: [{url: "` + beside.URL + `"}], identity: {assertion: {bind: [method, path], audience: other}}}
  - {name: public, path: /e, access: public, upstreams: [{url: "` + beside.URL + `"}]}
  - {name: app, path: /, upstreams: [{url: UPSTREAM}]}
`,
		Extra: "identity: {assertion: {enabled: true}}",
	})
	keys.URL, c.Issuer, c.Audience = rig.URL+"/_portero/jwks.json", rig.URL, rig.URL
	b := rig.SignedIn(t, "/")
	for target, want := range map[string]int{
		"/a/x?y=z": 200, "/a": 200, "/a/x%2Fy//z": 200, "/b/x": 403, "/c/x": 401, "/d/x": 403, "/e/x": 401,
	} {
		app.Forget()
		resp := b.Get(rig.URL + target)
		if resp.StatusCode != want || (app.Last() == "") != (want != 200) {
			t.Errorf("%s: got %s, want %d; the application got\n%s", target, resp.Status, want, app.Last())
		}
	}
	b.Get(rig.URL + "/a/x")
	caught := gatewaytest.Header(app.Last(), "X-Portero-Assertion")
	if len(caught) != 1 {
		t.Fatalf("the application got %q", caught)
	}
	for _, tt := range []struct {
		method, path string
		want         int
	}{{"GET", "/x", 200}, {"POST", "/x", 403}, {"GET", "/admin", 403}} {
		req, err := http.NewRequest(tt.method, beside.URL+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Portero-Assertion", caught[0])
		if resp := gatewaytest.NewBrowser(t, nil).Do(req); resp.StatusCode != tt.want {
			t.Errorf("past the gateway, %s %s with one that was caught: got %s, want %d", tt.method, tt.path, resp.Status, tt.want)
		}
	}
}
