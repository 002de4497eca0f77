package doctor

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"portero/internal/config"
	"portero/internal/gatewaytest"
)

// loaded is a configuration from YAML, without what is about Logto.
func loaded(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Load(config.Options{Path: filepath.Join(t.TempDir(), "portero.yaml"), Text: []byte(`
logto: {endpoint: https://tenant.logto.app/, app_id: app-1, app_secret: 0123456789abcdefghijABCDEFGHIJ12}
email_domains: ["*"]
` + text)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serves answers paths with a status, all others with another.
func serves(t *testing.T, other int, paths map[string]int) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, has := paths[r.URL.Path]
		if !has {
			status = other
		}
		w.WriteHeader(status)
		io.WriteString(w, foreignText)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// outcome fails unless a finding has that status, and says those words.
func outcome(t *testing.T, got Finding, want Status, words ...string) {
	t.Helper()
	all := got.Expected + "\n" + got.Seen + "\n" + got.Remedy
	if got.Status != want {
		t.Errorf("got %+v, want %s", got, want)
	}
	for _, word := range words {
		if !strings.Contains(all, word) {
			t.Errorf("got %+v, want it to say %q", got, word)
		}
	}
	if strings.Contains(all, foreignText) {
		t.Errorf("it has text of somebody else: %+v", got)
	}
}

func applicationsOf(t *testing.T, address string) *applications {
	return &applications{config: loaded(t, "upstream: "+address+"\n"), asker: asker{plainClient(), clock}}
}

func TestUpstreams(t *testing.T) {
	t.Parallel()
	ca := gatewaytest.NewAuthority(t)
	certificate := ca.Certificate(t, nil)
	inTLS := front(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, &certificate)
	plain := serves(t, 404, nil)
	rig := gatewaytest.New(t, &gatewaytest.Options{})
	for _, tt := range []struct {
		name, address string
		want          Status
		words         []string
	}{
		{"one that answers", plain, OK, nil},
		{"one that answers with an error", serves(t, 500, nil), OK, nil},
		{"nobody", "http://" + closedPort(t), Failed, []string{"nobody listens", "routes[0].upstreams[0].url"}},
		{"a name that is none", "http://nobody.invalid", Failed, []string{"cannot be looked up", "routes[0].upstreams[0].url"}},
		{"TLS where http is written", swapScheme(inTLS, "http"), Failed, []string{"speaks TLS", "write https:// in routes[0].upstreams[0].url"}},
		{"http where TLS is written", swapScheme(plain, "https"), Failed, []string{"does not speak TLS", "write http:// in routes[0].upstreams[0].url"}},
		{"a certificate of nobody", inTLS, Failed, []string{"nobody whom this machine trusts", "routes[0].upstreams[0].url"}},
		{"the gateway itself", rig.URL, Failed, []string{"would go round", "routes[0].upstreams[0].url"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			outcome(t, applicationsOf(t, tt.address).checkReachable(t.Context()), tt.want, tt.words...)
		})
	}
}

func TestNoUpstreams(t *testing.T) {
	t.Parallel()
	k := &applications{config: loaded(t, "routes: [{name: a, access: deny}]\n"), asker: asker{plainClient(), clock}}
	outcome(t, k.checkReachable(t.Context()), OK, "no route")
}

func TestOwnPaths(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, address string
		want          Status
		words         []string
	}{
		{"none", serves(t, 404, nil), OK, nil},
		{"everything alike", serves(t, 200, nil), OK, nil},
		{"a sign-in of its own", serves(t, 404, map[string]int{"/sign-in": 200}), Warning, []string{"/sign-in itself", "endpoints"}},
		{"a callback that asks for more", serves(t, 404, map[string]int{"/callback": 400, "/sign-out": 302}), Warning, []string{"/callback and /sign-out itself"}},
		{"nobody there", "http://" + closedPort(t), OK, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			outcome(t, applicationsOf(t, tt.address).checkOwnPaths(t.Context()), tt.want, tt.words...)
		})
	}
	t.Run("below a path that the gateway does not have", func(t *testing.T) {
		k := &applications{asker: asker{plainClient(), clock}, config: loaded(t, "routes: [{name: a, path: /wiki, upstreams: [{url: "+serves(t, 404, map[string]int{"/callback": 200})+"}]}]\n")}
		outcome(t, k.checkOwnPaths(t.Context()), OK)
	})
}

func TestOutside(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, &gatewaytest.Options{})
	open := serves(t, 200, nil)
	for _, tt := range []struct {
		name    string
		outside []string
		want    Status
		words   []string
	}{
		{"none is named", nil, Skipped, []string{"--outside"}},
		{"nobody there", []string{"http://" + closedPort(t)}, OK, nil},
		{"the gateway", []string{rig.URL}, OK, nil},
		{"the gateway, asked for another host", []string{strings.Replace(rig.URL, "localhost", "127.0.0.1", 1)}, OK, nil},
		{"the application", []string{open}, Failed, []string{open, "127.0.0.1", "docs/security.md"}},
		{"the application, which has nothing there", []string{rig.URL, serves(t, 404, nil)}, Failed, []string{"404"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := applicationsOf(t, open)
			for _, text := range tt.outside {
				u, err := url.Parse(text)
				if err != nil {
					t.Fatal(err)
				}
				k.outside = append(k.outside, u)
			}
			outcome(t, k.checkOutside(t.Context()), tt.want, tt.words...)
		})
	}
}

func TestEveryUpstreamOnce(t *testing.T) {
	t.Parallel()
	k := &applications{config: loaded(t, `
routes:
  - {name: a, path: /a, upstreams: [{url: http://127.0.0.1:8001}]}
  - {name: b, path: /, upstreams: [{url: http://127.0.0.1:8001}, {url: http://127.0.0.1:8002}]}
  - {name: c, path: /c, access: deny}
`)}
	got := k.all()
	if len(got) != 2 || !got[0].root || got[0].key != "routes[1].upstreams[0].url" || got[1].key != "routes[1].upstreams[1].url" {
		t.Errorf("got %+v, want two, of the route that has every path", got)
	}
}
