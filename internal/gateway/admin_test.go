package gateway_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

// OP-01 to OP-03: what anybody on the machine may read is open, the rest needs the token; browsers that were led here
// get nothing.
func TestAdminListener(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, &gatewaytest.Options{
		Admin: `listen: "127.0.0.1:0", hosts: [admin.example.com], token: ` + gatewaytest.AdminToken + `, metrics_listen: "127.0.0.1:0"`,
	})
	admin, scrape := "http://"+rig.Gateway.AdminAddr().String(), "http://"+rig.Gateway.MetricsAddr().String()
	bearer := "Bearer " + gatewaytest.AdminToken
	_, port, _ := strings.Cut(strings.TrimPrefix(admin, "http://"), ":")
	for name, c := range map[string]struct {
		method, url string
		header      map[string]string
		host        string
		want        int
	}{
		"healthz":                         {"GET", admin + "/healthz", nil, "", 200},
		"readyz":                          {"GET", admin + "/readyz", nil, "", 200},
		"metrics":                         {"GET", admin + "/metrics", nil, "", 200},
		"status without a token":          {"GET", admin + "/api/status", nil, "", 401},
		"reload without a token":          {"POST", admin + "/api/reload", nil, "", 401},
		"an unknown path without a token": {"GET", admin + "/api/other", nil, "", 401},
		"the root without a token":        {"GET", admin + "/", nil, "", 401},
		"profiles without a token":        {"GET", admin + "/debug/pprof/", nil, "", 401},
		"a wrong token":                   {"GET", admin + "/api/status", map[string]string{"Authorization": bearer + "x"}, "", 401},
		"an empty token":                  {"GET", admin + "/api/status", map[string]string{"Authorization": "Bearer "}, "", 401},
		"the token as Basic":              {"GET", admin + "/api/status", map[string]string{"Authorization": "Basic " + gatewaytest.AdminToken}, "", 401},
		"status":                          {"GET", admin + "/api/status", map[string]string{"Authorization": bearer}, "", 200},
		"a profile with the token":        {"GET", admin + "/debug/pprof/", map[string]string{"Authorization": bearer}, "", 404},
		"reload by GET":                   {"GET", admin + "/api/reload", map[string]string{"Authorization": bearer}, "", 405},
		"a rebound name":                  {"GET", admin + "/metrics", nil, "evil.test", 403},
		"a rebound name with the port":    {"GET", admin + "/healthz", nil, "evil.test:" + port, 403},
		"a name that ends like ours":      {"GET", admin + "/metrics", nil, "localhost.evil.test", 403},
		"localhost":                       {"GET", admin + "/metrics", nil, "localhost:" + port, 200},
		"a configured name":               {"GET", admin + "/metrics", nil, "admin.example.com", 200},
		"an address":                      {"GET", admin + "/metrics", nil, "[::1]:" + port, 200},
		"a page of another site":          {"GET", admin + "/api/status", map[string]string{"Authorization": bearer, "Sec-Fetch-Site": "cross-site"}, "", 403},
		"a page of a sibling":             {"GET", admin + "/metrics", map[string]string{"Sec-Fetch-Site": "same-site"}, "", 403},
		"a form of another site":          {"POST", admin + "/api/reload", map[string]string{"Authorization": bearer, "Origin": "https://evil.test", "Sec-Fetch-Site": ""}, "", 403},
		"a form of nowhere":               {"POST", admin + "/api/reload", map[string]string{"Authorization": bearer, "Origin": "null", "Sec-Fetch-Site": ""}, "", 403},
		"scrape: healthz":                 {"GET", scrape + "/healthz", nil, "", 200},
		"scrape: readyz":                  {"GET", scrape + "/readyz", nil, "", 200},
		"scrape: metrics":                 {"GET", scrape + "/metrics", nil, "prometheus.internal", 200},
		"scrape: no API":                  {"GET", scrape + "/api/status", map[string]string{"Authorization": bearer}, "", 404},
		"scrape: no reload":               {"POST", scrape + "/api/reload", map[string]string{"Authorization": bearer}, "", 404},
		"public: no metrics":              {"GET", rig.URL + "/metrics", nil, "", 302},
		"public: no profiles":             {"GET", rig.URL + "/debug/pprof/", nil, "", 302},
		"public: no detail":               {"GET", rig.URL + "/_portero/readyz", nil, "", 404},
		"public: no metrics of ours":      {"GET", rig.URL + "/_portero/metrics", nil, "", 404},
		"public: healthz on every host":   {"GET", rig.URL + "/_portero/healthz", nil, "10.0.0.1:8080", 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := rig.Browser(t)
			r := b.Request(c.method, c.url, nil, c.header)
			if c.host != "" {
				r.Host = c.host
			}
			got := b.Do(r)
			if got.StatusCode != c.want {
				t.Errorf("got %s, want %d\n%s", got.Status, c.want, got.Text)
			}
			if got.StatusCode == http.StatusUnauthorized && (got.Header.Get("WWW-Authenticate") == "" || len(got.Text) > 200) {
				t.Errorf("401 without a challenge, or with more than a sentence: %v %q", got.Header, got.Text)
			}
			for _, name := range []string{"Server", "X-Powered-By"} { // OP-04
				if v := got.Header.Get(name); v != "" {
					t.Errorf("%s: %s", name, v)
				}
			}
		})
	}
}

// The metrics of the contract are all there, and their labels come from the configuration and from fixed lists, not
// from requests.
func TestMetrics(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, &gatewaytest.Options{TLS: true})
	b := rig.SignedIn(t, "/")
	series := func() []string {
		var out []string
		for line := range strings.SplitSeq(rig.Admin(t, http.MethodGet, "/metrics").Text, "\n") {
			if strings.HasPrefix(line, "portero_") {
				name, _, _ := strings.Cut(line, " ")
				out = append(out, name)
			}
		}
		return out
	}
	b.Get(rig.URL + "/admin/")
	b.Get(rig.URL + "/closed")
	b.Get(rig.URL + "/_portero/session")
	text := rig.Admin(t, http.MethodGet, "/metrics").Text
	for _, want := range []string{
		"portero_build_info{", `portero_requests_total{code="200",decision="allow",route="app"} `, `portero_requests_total{code="302",decision="sign-in",route="app"} `,
		`portero_requests_total{code="403",decision="deny",route="admin"} `, "portero_request_duration_seconds_bucket{", "portero_request_duration_seconds_count ",
		`portero_sign_ins_total{outcome="succeeded"} 1`, "portero_sessions 1", "portero_live_connections 0", "portero_config_last_reload_successful 1",
		"portero_config_last_reload_success_timestamp_seconds ", "portero_certificate_not_after_timestamp_seconds ",
	} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("there is no %s", want)
		}
	}

	one := func(n int) {
		stranger := rig.Browser(t)
		for _, path := range []string{"/public/%d", "/%d", "/admin/%d", "/_portero/%d", "/closed/%d", "/a%%2fb%d"} {
			stranger.Get(rig.URL + fmt.Sprintf(path, n))
			b.Get(rig.URL + fmt.Sprintf(path, n))
		}
		r := stranger.Request("GET", rig.URL+"/", nil, map[string]string{"User-Agent": fmt.Sprint(n)})
		r.Host = fmt.Sprintf("host-%d.example.com", n)
		stranger.Do(r)
		stranger.Do(stranger.Request(fmt.Sprintf("M%d", n), rig.URL+"/", nil, nil))
		stranger.Get(rig.URL + fmt.Sprintf("/callback?error=e%d&state=s%d", n, n))
	}
	one(0)
	before := series()
	for n := range 20 {
		one(n + 1)
	}
	if after := series(); !slices.Equal(after, before) {
		t.Errorf("requests made series: got %d, want %d\n%v", len(after), len(before), after)
	}
}

// The code on a page is the one in the header and in the log, on exactly one access line.
func TestSupportCode(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	b := rig.SignedIn(t, "/")
	for _, path := range []string{"/admin/", "/closed", "/_portero/none", "/callback", "/a%00b"} {
		got := b.Get(rig.URL + path)
		code := got.Header.Get("Portero-Code")
		if len(code) != 9 || !strings.Contains(got.Text, code) {
			t.Errorf("%s: the code %q is not on the page", path, code)
			continue
		}
		lines := 0
		for line := range strings.Lines(rig.Log.String()) {
			if strings.Contains(line, `"msg":"request"`) && strings.Contains(line, `"support_code":"`+code+`"`) {
				lines++
			}
		}
		if lines != 1 {
			t.Errorf("%s: access lines with the code: got %d, want 1", path, lines)
		}
	}
}
