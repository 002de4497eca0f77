package serve_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"portero/internal/serve"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves until the test ends, which then waits for the server's end.
func start(t *testing.T, c serve.Config) *serve.Server {
	t.Helper()
	if c.Addr == "" {
		c.Addr = "127.0.0.1:0"
	}
	s, err := serve.Listen(c)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; err != nil {
			t.Errorf("Serve() = %v, want nil after Close", err)
		}
	})
	return s
}

// certificate writes a self-signed pair for 127.0.0.1 that expires at notAfter.
func certificate(t *testing.T, dir string, notAfter time.Time) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "test"},
		NotBefore:    notAfter.Add(-48 * time.Hour),
		NotAfter:     notAfter,
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	write(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))
	return certFile, keyFile
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestListenNamesTheOwnerOfATakenPort(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	_, err = serve.Listen(serve.Config{Name: "admin", Addr: l.Addr().String()})
	var taken *serve.TakenError
	if !errors.As(err, &taken) {
		t.Fatalf("Listen on a taken port: got %v, want a *TakenError", err)
	}
	for _, want := range []string{l.Addr().String(), "(admin)", "the port is taken"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want it to contain %q", err, want)
		}
	}
	if _, statErr := os.Stat("/proc/net/tcp"); statErr == nil {
		if taken.PID != os.Getpid() || !strings.Contains(err.Error(), "another listener of this process") {
			t.Errorf("got %q (pid %d), want this process named", err, taken.PID)
		}
	}
}

func TestTakenErrorSaysWhatToType(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		err  *serve.TakenError
		want string
	}{
		"the owner is known":     {&serve.TakenError{Name: "public", Addr: "127.0.0.1:3000", Process: "grafana", PID: 4242}, "by grafana (pid 4242); end it with: kill 4242"},
		"the owner is not known": {&serve.TakenError{Name: "public", Addr: "127.0.0.1:3000"}, "taken; see who has it with: sudo "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.err.Error(); !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want it to contain %q", got, tt.want)
			}
		})
	}
}

func TestListenOnAnAddressNobodyHas(t *testing.T) {
	t.Parallel()
	_, err := serve.Listen(serve.Config{Addr: "192.0.2.1:0"})
	if err == nil || !strings.Contains(err.Error(), "192.0.2.1:0 (public)") {
		t.Errorf("got %v, want an error that names the address and the listener", err)
	}
}

func TestOptionsAsteriskReachesTheHandler(t *testing.T) {
	t.Parallel()
	s := start(t, serve.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusTeapot)
	})})
	if got := exchange(t, s.Addr().String(), "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 418 ") {
		t.Errorf("OPTIONS * answered %q, want the handler's 418", got)
	}
}

func TestLargeHeadsAreRefused(t *testing.T) {
	t.Parallel()
	s := start(t, serve.Config{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the handler was reached")
	})})
	head := "GET / HTTP/1.1\r\nHost: a\r\nX-Big: " + strings.Repeat("x", 80<<10) + "\r\n\r\n"
	if got := exchange(t, s.Addr().String(), head); !strings.HasPrefix(got, "HTTP/1.1 431 ") {
		t.Errorf("80 KiB of header answered %q, want 431", got)
	}
}

func TestPlainListenersSpeakNoHTTP2(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var protocols []string
	s := start(t, serve.Config{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		protocols = append(protocols, r.Method+" "+r.Proto)
		w.WriteHeader(http.StatusMethodNotAllowed)
	})})
	got := exchange(t, s.Addr().String(), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	if !strings.HasPrefix(got, "HTTP/1.1 4") {
		t.Errorf("the HTTP/2 preface answered %q, want an HTTP/1.1 refusal", got)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, p := range protocols {
		if p != "PRI HTTP/2.0" {
			t.Errorf("the handler saw %q behind the preface", p)
		}
	}
}

// exchange writes raw bytes and returns what comes back until the end or until
// the server has said one head.
func exchange(t *testing.T, addr, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	go io.WriteString(c, request) // the server may refuse before it has read all
	line, _ := bufio.NewReader(c).ReadString('\n')
	return line
}

func TestTLSSpeaksHTTP2AndNothingOld(t *testing.T) {
	t.Parallel()
	certFile, keyFile := certificate(t, t.TempDir(), time.Now().Add(24*time.Hour))
	certs, err := serve.LoadCertificates(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, serve.Config{TLS: certs, Log: slog.New(slog.DiscardHandler), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Proto)
	})})

	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Get("https://" + s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if got := string(body); got != "HTTP/2.0" {
		t.Errorf("got %s, want HTTP/2.0", got)
	}

	for name, old := range map[string]*tls.Config{
		"TLS 1.1":        {MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		"CBC with SHA-1": {MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA}},
	} {
		old.InsecureSkipVerify = true
		if c, err := tls.Dial("tcp", s.Addr().String(), old); err == nil {
			c.Close()
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestReloadKeepsACertificateThatWorks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := time.Now().Add(24 * time.Hour).Truncate(time.Second)
	certFile, keyFile := certificate(t, dir, first)
	certs, err := serve.LoadCertificates(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, serve.Config{TLS: certs, Log: slog.New(slog.DiscardHandler), Handler: http.NotFoundHandler()})
	presented := func() time.Time {
		t.Helper()
		c, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].NotAfter
	}

	write(t, keyFile, "nonsense")
	if err := certs.Reload(); err == nil {
		t.Error("Reload with a broken key succeeded")
	}
	if got := presented(); !got.Equal(first) {
		t.Errorf("after a failed reload: got a certificate until %v, want the old one until %v", got, first)
	}

	second := first.Add(240 * time.Hour)
	certificate(t, dir, second)
	if err := certs.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := presented(); !got.Equal(second) {
		t.Errorf("after a reload: got a certificate until %v, want %v", got, second)
	}
	if got := certs.NotAfter(); !got.Equal(second) {
		t.Errorf("NotAfter() = %v, want %v", got, second)
	}
}

func TestLoadCertificatesQuotesNoKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "k"), "-----BEGIN PRIVATE KEY-----\ncanary\n")
	_, err := serve.LoadCertificates(filepath.Join(dir, "missing"), filepath.Join(dir, "k"))
	if err == nil || strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), "missing") {
		t.Errorf("got %v, want an error that names the file and quotes nothing", err)
	}
}

func TestShutdownWaitsForRequests(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	s, err := serve.Listen(serve.Config{Addr: "127.0.0.1:0", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-release
		io.WriteString(w, "whole")
	})})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	answer := make(chan string, 1)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	go func() {
		res, err := (&http.Client{Transport: transport}).Get("http://" + s.Addr().String())
		if err != nil {
			answer <- err.Error()
			return
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		answer <- string(body)
	}()
	<-entered

	down := make(chan error, 1)
	go func() { down <- s.Shutdown(context.Background()) }()
	if err := <-served; err != nil {
		t.Errorf("Serve() = %v, want nil", err)
	}
	close(release)
	if got := <-answer; got != "whole" {
		t.Errorf("the request under way got %q, want %q", got, "whole")
	}
	if err := <-down; err != nil {
		t.Errorf("Shutdown() = %v, want nil", err)
	}
}

func TestAListenerThatIsBoundAlready(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, serve.Config{Listener: l, Handler: http.NotFoundHandler()})
	if got := exchange(t, l.Addr().String(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); s.Addr() != l.Addr() || !strings.HasPrefix(got, "HTTP/1.1 404") {
		t.Errorf("got %q on %v, want the handler on the listener given", got, s.Addr())
	}
}

func TestShutdownBeforeServeFreesThePort(t *testing.T) {
	t.Parallel()
	s, err := serve.Listen(serve.Config{Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", s.Addr().String())
	if err != nil {
		t.Fatalf("the port is still taken: %v", err)
	}
	l.Close()
}

func TestHandshakeNoiseIsDebug(t *testing.T) {
	t.Parallel()
	certFile, keyFile := certificate(t, t.TempDir(), time.Now().Add(time.Hour))
	certs, err := serve.LoadCertificates(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	out := &lines{next: make(chan string, 8)}
	log := slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := start(t, serve.Config{Name: "public", TLS: certs, Log: log, Handler: http.NotFoundHandler()})
	exchange(t, s.Addr().String(), "GET / HTTP/1.1\r\nHost: a\x1b[2J\r\n\r\n")
	select {
	case line := <-out.next:
		if !strings.Contains(line, `"level":"DEBUG"`) || strings.ContainsAny(strings.TrimSuffix(line, "\n"), "\n\x1b") {
			t.Errorf("got %q, want one escaped line at debug level", line)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was logged")
	}
}

type lines struct{ next chan string }

func (l *lines) Write(p []byte) (int, error) {
	l.next <- string(bytes.Clone(p))
	return len(p), nil
}

func TestNotify(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.SetReadDeadline(time.Now().Add(10 * time.Second))

	t.Setenv("NOTIFY_SOCKET", "")
	if err := serve.Notify(serve.Ready); err != nil {
		t.Errorf("without a manager: got %v, want nil", err)
	}
	t.Setenv("NOTIFY_SOCKET", socket)
	buf := make([]byte, 256)
	for _, state := range []string{serve.Ready, serve.Reloading(), serve.Stopping} {
		if err := serve.Notify(state); err != nil {
			t.Fatal(err)
		}
		n, err := l.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(buf[:n]); got != state {
			t.Errorf("the manager got %q, want %q", got, state)
		}
	}
	var usec int64
	if _, err := fmt.Sscanf(serve.Reloading(), "RELOADING=1\nMONOTONIC_USEC=%d", &usec); err != nil || usec <= 0 {
		t.Errorf("Reloading() = %q, want it to carry the monotonic time (%v)", serve.Reloading(), err)
	}
	t.Setenv("NOTIFY_SOCKET", socket+"-gone")
	if err := serve.Notify(serve.Ready); err == nil {
		t.Error("a manager that is gone: got nil, want an error")
	}
}
