package gateway_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

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
