package serve

import (
	"crypto/tls"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Certificates is a certificate with its key, read from files and read again
// whenever Reload is called. It is safe for concurrent use.
type Certificates struct {
	mu                sync.Mutex // guards the names
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
}

// LoadCertificates reads the pair; the certificate file may hold the chain.
func LoadCertificates(certFile, keyFile string) (*Certificates, error) {
	c := &Certificates{certFile: certFile, keyFile: keyFile}
	if err := c.Reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// Reload reads the files again. On an error the certificate that was loaded
// before stays in use. Handshakes under way finish with the one they began with.
func (c *Certificates) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("loading certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	c.current.Store(&pair)
	return nil
}

// Replace presents from now on what other has loaded, which may come from other
// files.
func (c *Certificates) Replace(other *Certificates) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.certFile, c.keyFile = other.certFile, other.keyFile
	c.current.Store(other.current.Load())
}

// Files returns the files that Reload reads, for WatchFiles.
func (c *Certificates) Files() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return []string{c.certFile, c.keyFile}
}

// NotAfter returns when the certificate in use expires.
func (c *Certificates) NotAfter() time.Time { return c.current.Load().Leaf.NotAfter }

// TLSConfig returns a server's configuration that always presents the
// certificate last loaded.
func (c *Certificates) TLSConfig() *tls.Config {
	return &tls.Config{
		MinVersion:   minTLS,
		CipherSuites: suites,
		NextProtos:   []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.current.Load(), nil
		},
	}
}
