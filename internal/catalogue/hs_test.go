package catalogue_test

import (
	"net/http"
	"testing"
)

var identityHeaders = family{ID: "HS", Title: "Identity headers", Attacks: []attack{
	{ID: "HS-01", Name: "plain spoof", Want: "the application is told of Alice, once", Why: "the base case", Test: spoofs(
		fieldsOf("X-Auth-Email", "root@corp"),
		fieldsOf("X-Auth-Sub", "root", "X-Auth-Email", "root", "X-Auth-Name", "root", "X-Auth-Roles", "root", "X-Auth-Tenant", "root"),
	)},
	{ID: "HS-02", Name: "case and duplicates", Want: "one line of each header, Alice's", Why: "some applications take the first, some the last, some join them", Test: spoofs(
		fieldsOf("x-auth-email", "a", "x-auth-email", "a", "X-AUTH-EMAIL", "b"),
	)},
	{ID: "HS-03", Name: "underscore", Want: "no spelling of an identity header reaches the application", Why: "CVE-2025-64484 oauth2-proxy, CVE-2026-54763 Traefik, CVE-2026-52845 Caddy: CGI, WSGI, Rack and PHP read - and _ as one", Test: spoofs(
		fieldsOf("X_Auth_Email", "root", "X-Auth_Email", "root", "x_auth-email", "root", "X_AUTH_SUB", "root"),
	)},
}}

// spoofs tries headers on every route: signed in the application is told of Alice and of nobody else, and on a public
// route of nobody.
func spoofs(tries ...[][2]string) func(*testing.T, *doors) {
	return func(t *testing.T, d *doors) {
		for _, lines := range tries {
			d.signedIn(t, func(t *testing.T, w way) {
				if a := w.ask(t, request{Lines: lines}); a.Status != http.StatusOK {
					t.Fatalf("got %s, want 200\n%s", a, a.Body)
				}
				head, _ := w.reached(t)
				saysAlice(t, head)
			})
			d.stranger(t, func(t *testing.T, w way) {
				if a := w.ask(t, request{Target: "/public/x", Lines: lines}); a.Status != http.StatusOK {
					t.Fatalf("got %s, want 200\n%s", a, a.Body)
				}
				head, _ := w.reached(t)
				saysNobody(t, head)
				w.denied(t, w.ask(t, request{Lines: lines}))
			})
		}
	}
}
