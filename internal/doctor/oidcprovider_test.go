package doctor

import (
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// The answers of the engine inside Logto are read as those of our own provider are.
func TestOIDCProvider(t *testing.T) {
	t.Parallel()
	p := gatewaytest.NewOIDCProvider(t, nil)
	text := `
external_url: http://127.0.0.1:3000
insecure: [plain-http]
logto: {endpoint: ` + p.Endpoint + `, app_id: ` + p.AppID + `, app_secret: ` + p.AppSecret + `}
routes:
  - {name: app, path: /, upstreams: [{url: http://127.0.0.1:1}], allow: [{email_domains: [example.com]}], hosts: [127.0.0.1]}
`
	far := strings.Replace(text, "hosts: [127.0.0.1]", "hosts: [wiki.test, 127.0.0.1]", 1)
	good := map[string]Status{
		"logto-endpoint": OK, "logto-issuer": OK, "logto-clock": OK, "logto-keys": OK, "logto-client": OK,
		"logto-redirect-uris": OK, "logto-post-logout-uris": OK, "logto-refresh-tokens": OK, "backchannel-address": Warning,
	}
	for _, tt := range []struct {
		name, text, check string
		want              map[string]Status
	}{
		{name: "all is well", text: text, want: good},
		{name: "URIs that are not registered", text: far, want: map[string]Status{"logto-redirect-uris": Failed, "logto-post-logout-uris": Failed}},
		{name: "wrong secret", text: strings.Replace(text, p.AppSecret, "another-secret-of-0123456789", 1), want: map[string]Status{"logto-client": Failed}},
		{name: "unknown application", text: strings.Replace(text, "app_id: "+p.AppID, "app_id: nobody", 1), want: map[string]Status{"logto-client": Failed, "logto-redirect-uris": Skipped}},
	} {
		w := &world{t: t, dir: t.TempDir(), text: tt.text}
		checks, end := logtoChecksWith(Options{Config: w.load(), Now: time.Now}, w.lookUp)
		got := map[string]Finding{}
		for _, f := range runAll(t.Context(), checks) {
			got[f.Check] = f
		}
		end()
		for check, want := range tt.want {
			if f := got[check]; f.Status != want {
				t.Errorf("%s: got %+v, want %s", tt.name, f, want)
			}
		}
	}
}
