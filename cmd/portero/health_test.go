package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// gatewayAt answers as the gateway does on a listener of its own, and gives its port.
func gatewayAt(t *testing.T, address string, secure *tls.Config, answers map[string]int) string {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("listening on %s: %v", address, err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		code, ok := answers[r.URL.Path]
		if !ok {
			code = http.StatusNotFound
		}
		if code == http.StatusFound {
			w.Header().Set("Location", "/ok")
		}
		w.WriteHeader(code)
		io.WriteString(w, http.StatusText(code)+"\n")
	}))
	s.Listener.Close()
	s.Listener = l
	if secure != nil {
		s.TLS = secure
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// selfSigned writes a certificate for a name that loopback does not have.
func selfSigned(t *testing.T, dir string) (cert, key string, config *tls.Config) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"portal.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, content := range map[string][]byte{cert: certPEM, key: keyPEM} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key, &tls.Config{Certificates: []tls.Certificate{pair}}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key, secure := selfSigned(t, dir)
	well := map[string]int{"/_portero/healthz": 200, "/readyz": 200, "/own/healthz": 200}
	for name, tt := range map[string]struct {
		answers map[string]int
		address string // that is bound
		config  string // %s is the port
		secure  *tls.Config
		args    []string
		code    int
		want    string // in what is printed
	}{
		"alive":                     {well, "127.0.0.1:0", "listen: 127.0.0.1:%s", nil, nil, 0, "OK"},
		"wildcard is loopback":      {well, "127.0.0.1:0", "listen: 0.0.0.0:%s", nil, nil, 0, "OK"},
		"no address is loopback":    {well, "127.0.0.1:0", `listen: ":%s"`, nil, nil, 0, "OK"},
		"wildcard of version 6":     {well, "[::1]:0", `listen: "[::]:%s"`, nil, nil, 0, "OK"},
		"prefix of one's own":       {well, "127.0.0.1:0", "listen: 127.0.0.1:%s\nendpoints: {prefix: /own}", nil, nil, 0, "OK"},
		"certificate of a name":     {well, "127.0.0.1:0", "listen: 127.0.0.1:%s\nexternal_url: https://portal.example.com\ntls: {cert_file: " + cert + ", key_file: " + key + "}", secure, nil, 0, "OK"},
		"ready":                     {well, "127.0.0.1:0", "admin: {listen: \"127.0.0.1:%s\"}", nil, []string{"--ready"}, 0, "OK"},
		"not ready":                 {map[string]int{"/readyz": 503}, "127.0.0.1:0", "admin: {listen: \"127.0.0.1:%s\"}", nil, []string{"--ready"}, 1, "answered 503: Service Unavailable"},
		"another program":           {nil, "127.0.0.1:0", "listen: 127.0.0.1:%s", nil, nil, 1, "answered 404"},
		"a redirect is no answer":   {map[string]int{"/_portero/healthz": 302, "/ok": 200}, "127.0.0.1:0", "listen: 127.0.0.1:%s", nil, nil, 1, "answered 302"},
		"a port that is not known":  {well, "127.0.0.1:0", "listen: 127.0.0.1:0 # not %s", nil, nil, 1, "is chosen at start"},
		"flag over file":            {well, "127.0.0.1:0", "listen: 127.0.0.1:1 # not %s", nil, []string{"--listen", "127.0.0.1:PORT"}, 0, "OK"},
		"configuration with errors": {well, "127.0.0.1:0", "listen: 127.0.0.1 # not %s", nil, nil, 2, "is no address with a port"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := gatewayAt(t, tt.address, tt.secure, tt.answers)
			file := filepath.Join(t.TempDir(), "portero.yaml")
			text := fmt.Sprintf(tt.config, port) + "\nupstream: http://127.0.0.1:1\nemail_domains: [example.com]\n" +
				"logto: {endpoint: https://tenant.logto.app/, app_id: abc, app_secret: canary-of-the-secret}\n"
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{"health", "--config", file}
			for _, a := range tt.args {
				args = append(args, strings.ReplaceAll(a, "PORT", port))
			}
			var out, errs bytes.Buffer
			code := run(context.Background(), args, &out, &errs)
			if code != tt.code || !strings.Contains(out.String()+errs.String(), tt.want) {
				t.Errorf("got code %d, output %q and %q; want %d and %q", code, out.String(), errs.String(), tt.code, tt.want)
			}
			if (code == 0) != (errs.Len() == 0) || (code == 0) != (out.Len() > 0) {
				t.Errorf("code %d with output %q and errors %q", code, out.String(), errs.String())
			}
		})
	}
}
