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
	if got.Status != Failed {
		t.Errorf("a file that is not there: got %+v, want failed", got)
	}
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
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now, NotAfter: now.AddDate(0, 0, 90), DNSNames: []string{"app.example.com"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &own.PublicKey, own)
	if err != nil {
		t.Fatal(err)
	}
	cert := write("own.crt", "CERTIFICATE", der)
	for _, tt := range []struct {
		name, host, key string
		days            int
		want            Status
	}{
		{"fits", "app.example.com", ownFile, 1, OK},
		{"ends soon", "app.example.com", ownFile, 80, Warning},
		{"has ended", "app.example.com", ownFile, 91, Failed},
		{"has not begun", "app.example.com", ownFile, -1, Failed},
		{"is another host's", "other.example.com", ownFile, 1, Failed},
		{"is another key's", "app.example.com", otherFile, 1, Failed},
	} {
		c := &config.Config{ExternalURL: &url.URL{Scheme: "https", Host: tt.host}, TLS: config.TLS{CertFile: cert, KeyFile: tt.key}}
		got := checkCertificate(Options{Config: c, Now: func() time.Time { return now.AddDate(0, 0, tt.days) }})
		if got.Status != tt.want {
			t.Errorf("a certificate that %s: got %+v, want %s", tt.name, got, tt.want)
		}
	}
}
