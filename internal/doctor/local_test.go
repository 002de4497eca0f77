package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"portero/internal/config"
)

func TestSecretFiles(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "secret")
	for _, tt := range []struct {
		name string
		mode os.FileMode
		want Status
	}{
		{"the owner's alone", 0o600, OK}, {"read by the group", 0o640, Warning}, {"read by everybody", 0o604, Warning},
	} {
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, tt.mode); err != nil {
			t.Fatal(err)
		}
		got := checkSecretFiles(Options{Config: &config.Config{Session: config.Session{SecretFile: name}}})
		if got.Status != tt.want || tt.want == Warning && !strings.Contains(got.Seen, "session.secret_file") {
			t.Errorf("%s: got %+v, want %s", tt.name, got, tt.want)
		}
	}
	got := checkSecretFiles(Options{Config: &config.Config{Session: config.Session{SecretFile: name + "-gone"}}})
	outcome(t, got, Failed, "session.secret_file")
	outcome(t, checkSecretFiles(Options{Config: &config.Config{}}), OK, "no files of secrets")
}

func TestCertificate(t *testing.T) {
	t.Parallel()
	dir, now := t.TempDir(), time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	write := func(name, kind string, der []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	key := func(name string) (*ecdsa.PrivateKey, string) {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return k, write(name, "PRIVATE KEY", der)
	}
	own, ownFile := key("own.key")
	_, otherFile := key("other.key")
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now, NotAfter: now.AddDate(0, 0, 90), DNSNames: []string{"app.example.com", "*.wild.example.com"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &own.PublicKey, own)
	if err != nil {
		t.Fatal(err)
	}
	cert := write("own.crt", "CERTIFICATE", der)
	for _, tt := range []struct {
		name, host, key string
		hosts           []string // of routes
		days            int
		want            Status
		words           []string
	}{
		{"fits", "app.example.com", ownFile, nil, 1, OK, nil},
		{"fits the hosts of routes, one by its wildcard", "app.example.com", ownFile, []string{"app.example.com", "wiki.wild.example.com"}, 1, OK, nil},
		{"has a wildcard, which is for one label", "app.example.com", ownFile, []string{"a.wiki.wild.example.com"}, 1, Failed, []string{"not for a.wiki.wild.example.com", "tls.cert_file"}},
		{"has a wildcard, which is not for the name itself", "app.example.com", ownFile, []string{"wild.example.com"}, 1, Failed, []string{"not for wild.example.com", "tls.cert_file"}},
		{"ends soon", "app.example.com", ownFile, nil, 80, Warning, []string{"tls.cert_file"}},
		{"has ended", "app.example.com", ownFile, nil, 91, Failed, []string{"tls.cert_file"}},
		{"has not begun", "app.example.com", ownFile, nil, -1, Failed, []string{"clock", "tls.cert_file"}},
		{"is another host's", "other.example.com", ownFile, nil, 1, Failed, []string{"not for other.example.com", "tls.cert_file"}},
		{"is another key's", "app.example.com", otherFile, nil, 1, Failed, []string{"tls.cert_file", "tls.key_file"}},
	} {
		c := &config.Config{
			ExternalURL: &url.URL{Scheme: "https", Host: tt.host}, TLS: config.TLS{CertFile: cert, KeyFile: tt.key}, Routes: []config.Route{{Hosts: tt.hosts}},
		}
		t.Run(tt.name, func(t *testing.T) {
			outcome(t, checkCertificate(Options{Config: c, Now: func() time.Time { return now.AddDate(0, 0, tt.days) }}), tt.want, tt.words...)
		})
	}
	outcome(t, checkCertificate(Options{Config: &config.Config{}}), Skipped, "plain HTTP")
}
