package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

// The access matrix through the proxy: the same rows as without HTTP, asked by browsers who have signed in, at the gateway itself and
// through deploy/nginx.conf. What they say about themselves never arrives.
func TestAccessMatrixThroughTheProxy(t *testing.T) {
	t.Parallel()
	t.Run("directly", func(t *testing.T) {
		t.Parallel()
		tryAccessMatrix(t, newMatrixRig(t, nil, nil))
	})
	t.Run("behind nginx", func(t *testing.T) {
		t.Parallel()
		program := gatewaytest.Need(t, "nginx")
		tryAccessMatrix(t, newMatrixRig(t, nil, func(rig *gatewaytest.Rig) string {
			port := gatewaytest.FreePort(t)
			conf, _, _ := strings.Cut(adapted(t, "../nginx.conf", "listen 443 ssl;", "listen 127.0.0.1:"+port+";", "127.0.0.1:3000", rig.Addr,
				"server_name wiki.example.com;", "server_name localhost;"), "server {\n    listen 80;")
			runNginx(t, program, port, conf)
			return "127.0.0.1:" + port
		}))
	})
}

// tryAccessMatrix asks all of it.
func tryAccessMatrix(t *testing.T, m *matrixRig) {
	t.Helper()
	for _, row := range gatewaytest.AccessRows() {
		more := map[string]string{"X-Forwarded-For": row.Client}
		if row.Client == "" {
			more["X-Forwarded-For"] = "unknown"
		}
		for name, value := range forged {
			more[name] = value
		}
		m.rig.Upstream.Forget()
		b := m.browsers[row.Person.Name]
		r := b.Do(b.Request(row.Method, m.rig.URL+row.Path, nil, more))
		want, seen := m.status(row), m.rig.Upstream.Requests()
		switch {
		case r.StatusCode != want:
			t.Errorf("%s: got %s, want %d (%s)", row.Name(), r.Status, want, row.Want)
		case want == http.StatusOK && len(seen) != 1, want != http.StatusOK && len(seen) != 0:
			t.Errorf("%s: %d requests reached the application", row.Name(), len(seen))
		case want == http.StatusOK:
			m.wantTold(t, row, seen[0])
		}
		if at := r.Header.Get("Location"); at != "" && !strings.HasPrefix(at, m.rig.Issuer.URL+"/") {
			t.Errorf("%s: sent to %s", row.Name(), at)
		}
	}
}
