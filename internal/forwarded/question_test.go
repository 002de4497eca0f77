package forwarded_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"portero/internal/forwarded"
)

func TestReadQuestion(t *testing.T) {
	t.Parallel()
	whole := func(change func(h http.Header)) http.Header {
		h := http.Header{"X-Forwarded-Method": {"POST"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"gw.test"}, "X-Forwarded-Uri": {"/a,b?c=d, e"}, "X-Forwarded-For": {"10.0.0.1"}}
		if change != nil {
			change(h)
		}
		return h
	}
	without := func(name string) http.Header { return whole(func(h http.Header) { h.Del(name) }) }
	set := func(name string, values ...string) http.Header {
		return whole(func(h http.Header) { h[name] = values })
	}
	asked := forwarded.Question{Method: "POST", Target: "/a,b?c=d, e"}
	for name, tt := range map[string]struct {
		appended string
		header   http.Header
		want     forwarded.Question // the zero one: an error
	}{
		"in headers":                  {"", whole(nil), asked},
		"no method":                   {"", without("X-Forwarded-Method"), forwarded.Question{}},
		"no scheme":                   {"", without("X-Forwarded-Proto"), forwarded.Question{}},
		"no host":                     {"", without("X-Forwarded-Host"), forwarded.Question{}},
		"no target":                   {"", without("X-Forwarded-Uri"), forwarded.Question{}},
		"no client":                   {"", without("X-Forwarded-For"), forwarded.Question{}},
		"an empty method":             {"", set("X-Forwarded-Method", ""), forwarded.Question{}},
		"an empty target":             {"", set("X-Forwarded-Uri", ""), forwarded.Question{}},
		"two methods":                 {"", set("X-Forwarded-Method", "POST", "POST"), forwarded.Question{}},
		"two targets":                 {"", set("X-Forwarded-Uri", "/a", "/a"), forwarded.Question{}},
		"a list of hosts":             {"", set("X-Forwarded-Host", "gw.test,gw.test"), forwarded.Question{}},
		"a list of schemes":           {"", set("X-Forwarded-Proto", "https, http"), forwarded.Question{}},
		"an absolute target":          {"", set("X-Forwarded-Uri", "https://gw.test/"), forwarded.Question{}},
		"appended":                    {"/a?b", http.Header{}, forwarded.Question{Method: "GET", Target: "/a?b"}},
		"appended, and the same":      {"/a?b", http.Header{"X-Forwarded-Uri": {"/a?b"}, "X-Forwarded-Method": {"GET"}, "X-Forwarded-Host": {"gw.test"}, "X-Forwarded-Proto": {"https"}}, forwarded.Question{Method: "GET", Target: "/a?b"}},
		"appended, another target":    {"/a?b", http.Header{"X-Forwarded-Uri": {"/a"}}, forwarded.Question{}},
		"appended, another method":    {"/a?b", http.Header{"X-Forwarded-Method": {"POST"}}, forwarded.Question{}},
		"appended, another host":      {"/a?b", http.Header{"X-Forwarded-Host": {"gw.test:80"}}, forwarded.Question{}},
		"appended, the target twice":  {"/a?b", http.Header{"X-Forwarded-Uri": {"/a?b", "/a?b"}}, forwarded.Question{}},
		"appended, an empty target":   {"/a?b", http.Header{"X-Forwarded-Uri": {""}}, forwarded.Question{}},
		"appended, a list of schemes": {"/a?b", http.Header{"X-Forwarded-Proto": {"https,http"}}, forwarded.Question{}},
	} {
		r := httptest.NewRequest("GET", "/_portero/auth", nil)
		r.Header = tt.header
		got, err := forwarded.ReadQuestion(r, "gw.test", tt.appended)
		if tt.want == (forwarded.Question{}) && err == nil || tt.want != (forwarded.Question{}) && (err != nil || got != tt.want) {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, tt.want)
		}
	}
}
