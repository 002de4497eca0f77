package gateway_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"portero/internal/gatewaytest"
)

// Traefik is in no package of Debian, and its build takes longer than all tests together: it is among the fronts where
// PORTERO_TEST_TRAEFIK says where it is.
func init() {
	if program := os.Getenv("PORTERO_TEST_TRAEFIK"); program != "" {
		fronts = append(fronts, front{"Traefik", program, startTraefik})
	}
}

func startTraefik(t *testing.T, program, port, portero, application string) {
	entry := gatewaytest.FreePort(t)
	dir := gatewaytest.WorkDir(t, map[string]string{"dynamic.yaml": adapted(t, "traefik.yaml", "Host(`wiki.example.com`)", "Host(`localhost`)",
		"127.0.0.1:3000", portero, "127.0.0.1:8080", application, "      tls: {}\n", "")})
	gatewaytest.Daemon(t, "Traefik", entry, exec.Command(program, "--log.level=ERROR", "--global.checkNewVersion=false", "--global.sendAnonymousUsage=false",
		"--providers.file.filename="+filepath.Join(dir, "dynamic.yaml"), "--entryPoints.websecure.address=127.0.0.1:"+entry, "--entryPoints.websecure.proxyProtocol.trustedIPs=127.0.0.1"))
	said(t, port, entry)
	gatewaytest.Await(t, "Traefik has read its file", func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+port+"/_portero/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "localhost"
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode != http.StatusNotFound
	})
}

// said listens on a port and hands everything on to another, as from where its X-Forwarded-For says that it comes: a proxy that believes no such
// header is told by the PROXY protocol.
func said(t *testing.T, port, to string) {
	t.Helper()
	type from struct{}
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		line := "PROXY UNKNOWN\r\n"
		if ip := net.ParseIP(ctx.Value(from{}).(string)); ip != nil {
			family, self := "TCP4", "127.0.0.1"
			if ip.To4() == nil {
				family, self = "TCP6", "::1"
			}
			line = fmt.Sprintf("PROXY %s %s %s 1024 %s\r\n", family, ip, self, to)
		}
		if _, err := c.Write([]byte(line)); err != nil {
			c.Close()
			return nil, err
		}
		return c, nil
	}}
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = "http", "127.0.0.1:"+to
		for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto"} {
			if values := r.In.Header.Values(name); values != nil {
				r.Out.Header[name] = values
			}
		}
		r.Out = r.Out.WithContext(context.WithValue(r.Out.Context(), from{}, r.In.Header.Get("X-Forwarded-For")))
	}}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(proxy)
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
}
