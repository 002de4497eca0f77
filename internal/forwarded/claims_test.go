package forwarded_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"portero/internal/forwarded"
)

func TestClaims(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		header http.Header
		want   []string
	}{
		{nil, []string{}},
		{http.Header{"X-Real-Ip": {"10.0.0.1"}, "X-Forwarded-Prefix": {"/"}, "X-Forwarded-For": {}}, []string{}},
		{http.Header{"X-Forwarded-Proto": {"gopher"}, "X-Forwarded-For": {""}, "Forwarded": {"for=a"}}, []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Proto"}},
		{http.Header{"X-Forwarded-Port": {"1"}, "X-Forwarded-Host": {"a", "b"}}, []string{"X-Forwarded-Host", "X-Forwarded-Port"}},
	} {
		if diff := cmp.Diff(tt.want, forwarded.Claims(tt.header)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", tt.header, diff)
		}
	}
}
