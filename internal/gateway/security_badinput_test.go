package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

// calm fails when something inside the gateway broke off, or a status that no case explains was given.
func (f *front) calm(t *testing.T) {
	t.Helper()
	log := f.Log.String()
	for _, word := range []string{`"panic"`, "runtime error", "goroutine ", "superfluous", "broke off inside"} {
		if strings.Contains(log, word) {
			t.Errorf("the log has %s", word)
		}
	}
}

// Rows that cannot be opened, here because the secret was replaced, are no session: the cookie goes, people sign in
// again, and nothing fails.
func TestSecurityUnreadableRows(t *testing.T) {
	t.Parallel()
	o := gatewaytest.Options{Session: "store: memory, secret: 0123456789abcdefghijklmnopqrstuvwxyz"}
	f := newFront(t, o)
	o.Session = "store: memory, secret: zyxwvutsrqponmlkjihgfedcba9876543210"
	o.Routes = strings.ReplaceAll(catalogueRoutes, "PATHS", "paths: strict")
	f.Configure(&o)
	if err := f.Gateway.Reload(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, tt := range []struct {
			name, target, lines string
			status              int
		}{
			{"a page", "/app", navigation, 302},
			{"a script", "/app", "Accept: application/json\r\n", 401},
			{"an upload", "/app", "Content-Length: 1073741824\r\n", 401},
			{"who am I", "/_portero/session", "", 401},
		} {
			t.Run(tt.name, func(t *testing.T) {
				a := f.Raw(t, f.head("GET", tt.target, f.alice, tt.lines))
				if a.Status != tt.status {
					t.Errorf("got %s, want %d", a, tt.status)
				}
				f.nothingReached(t)
				f.noSession(t, a)
				if tt.target != "/app" {
					return
				}
				cleared := false
				for _, c := range (&http.Response{Header: a.Header}).Cookies() {
					cleared = cleared || c.Name == f.Cookie() && c.MaxAge < 0
				}
				if !cleared {
					t.Errorf("Set-Cookie: got %q, want the session cookie dropped", a.Header["Set-Cookie"])
				}
			})
		}
		for _, target := range []string{"/public/x", "/optional/x"} {
			if a := f.Raw(t, f.head("GET", target, f.alice, "")); a.Status != http.StatusOK {
				t.Errorf("%s: got %s, want 200", target, a)
			}
			saysNobody(t, f.reached(t))
		}
	}
	f.calm(t)
	f.quiet(t)
	if !strings.Contains(f.Log.String(), "unreadable") {
		t.Error("the log says nothing of unreadable rows")
	}
	f.signIn(t)
	f.Upstream.Forget()
}
