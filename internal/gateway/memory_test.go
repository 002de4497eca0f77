package gateway_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

// Requests of people who are not signed in cost nothing that stays: no row in the store, and memory after 100,000 of them
// is within 20 MB of memory after 10,000.
func TestAnonymousRequestsLeaveNothing(t *testing.T) {
	rig := gatewaytest.New(t, nil)
	rig.Log.Drop()
	h := rig.Gateway.Handler()
	ask := func(n int) {
		r := httptest.NewRequest(http.MethodGet, fmt.Sprintf("/page/%d?q=%d", n, n), nil)
		r.Host, r.RemoteAddr = strings.TrimPrefix(rig.URL, "http://"), "127.0.0.1:40000"
		want := http.StatusUnauthorized
		switch n % 4 {
		case 0: // a page: an attempt is begun
			r.Header, want = gatewaytest.Navigation(), http.StatusFound
		case 1: // a cookie that is no session's
			r.Header.Set("Cookie", fmt.Sprintf("%s=%043d", rig.Cookie(), n))
		case 2: // a state that is not ours
			r.URL.Path, r.URL.RawQuery = "/callback", fmt.Sprintf("code=x&state=s%d", n)
			r.RequestURI, want = r.URL.RequestURI(), http.StatusBadRequest
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Fatalf("request %d: got %d, want %d\n%s", n, w.Code, want, w.Body)
		}
	}
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for n := range 10_000 {
		ask(n)
	}
	first := heap()
	for n := 10_000; n < 100_000; n++ {
		ask(n)
	}
	second := heap()
	t.Logf("heap after 10,000: %d KB, after 100,000: %d KB", first>>10, second>>10)
	if second > first+20<<20 {
		t.Errorf("heap grew from %d to %d bytes, more than 20 MB", first, second)
	}
	if got := rig.Sessions(t); got != 0 {
		t.Errorf("rows in the store: got %d, want 0", got)
	}
}
