package gateway_test

import (
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

// What strangers do is not written down; of a sign-in two things are.
func TestAnonymousVisitsWriteNothing(t *testing.T) {
	t.Parallel()
	chosen := strings.Repeat("A", 43)
	rig, store := storeRig(t, gatewaytest.Options{Session: "store: memory"})
	b := rig.Browser(t)
	back := atLogto(t, rig, b, rig.URL+"/")
	stranger := rig.Browser(t)
	for _, path := range []string{"/", "/public", "/optional", "/closed", "/sign-in", "/sign-out", "/_portero/", "/_portero/session", "/_portero/continue",
		"/_portero/signed-out", "/callback?code=a&state=b", strings.TrimPrefix(back, rig.URL)} {
		stranger.SetCookie("localhost", rig.Cookie(), chosen)
		stranger.Get(rig.URL + path)
	}
	stranger.Post(rig.URL+"/sign-out", nil)
	if got := store.writes(); got != 0 {
		t.Errorf("writes: got %d, want 0", got)
	}
	b.Get(back)
	if got := store.writes(); got != 2 || store.consumes.Load() != 1 || store.creates.Load() != 1 {
		t.Errorf("writes of a sign-in: got %d, want the mark and the session", got)
	}
}
