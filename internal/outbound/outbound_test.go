package outbound_test

import (
	"bufio"
	"compress/gzip"
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
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"portero/internal/outbound"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a server; what is left of its connections ends with the test.
func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func client(t *testing.T, c outbound.Config) *http.Client {
	t.Helper()
	made := outbound.New(c)
	t.Cleanup(made.CloseIdleConnections)
	return made
}

func get(c *http.Client, target string) (string, error) {
	resp, err := c.Get(target)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return string(data), err
}

func TestRedirectIsAnErrorAndNothingIsSentAgain(t *testing.T) {
	t.Parallel()
	for _, status := range []int{300, 301, 302, 303, 307, 308} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			var stolen atomic.Int32
			thief := serve(t, func(http.ResponseWriter, *http.Request) { stolen.Add(1) })
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", thief.URL+"/steal?x=CANARY")
				w.WriteHeader(status)
			})
			resp, err := client(t, outbound.Config{}).Post(s.URL+"/token", "application/x-www-form-urlencoded", strings.NewReader("code=CANARY"))
			if err == nil {
				resp.Body.Close()
			}
			if !errors.Is(err, outbound.ErrRedirect) {
				t.Errorf("POST answered with %d: got error %v, want %v", status, err, outbound.ErrRedirect)
			}
			if err != nil && strings.Contains(err.Error(), "CANARY") {
				t.Errorf("POST answered with %d: the error quotes the location: %v", status, err)
			}
			if got := stolen.Load(); got != 0 {
				t.Errorf("POST answered with %d: got %d calls to the location, want 0", status, got)
			}
		})
	}
}

func TestSlowServiceEndsAtTheDeadline(t *testing.T) {
	t.Parallel()
	stall := func(t *testing.T, handle func(net.Conn)) string {
		t.Helper()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				handle(conn)
			}
		}()
		t.Cleanup(func() { l.Close(); <-done })
		return l.Addr().String()
	}
	answer := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				io.WriteString(c, text)
			}
		}
	}
	for name, target := range map[string]string{
		"never answers":     "http://" + stall(t, func(net.Conn) {}),
		"header never ends": "http://" + stall(t, answer("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Slow: ")),
		"body never ends":   "http://" + stall(t, answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{")),
		"TLS never shakes":  "https://" + stall(t, func(net.Conn) {}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := client(t, outbound.Config{Timeout: 50 * time.Millisecond})
			start := time.Now()
			_, err := get(c, target)
			var timeout net.Error
			if !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("got error %v, want a timeout", err)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("got %v, want the deadline of 50ms", took)
			}
		})
	}
}

func TestCallEndsWithItsContext(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	s := serve(t, func(http.ResponseWriter, *http.Request) { close(arrived); <-release })
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client(t, outbound.Config{}).Do(req)
	if err == nil {
		resp.Body.Close()
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
}

func TestLargeBodyIsAnError(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	chunk := []byte(strings.Repeat("x", 64<<10))
	write := func(w io.Writer, bytes int) {
		for bytes > 0 {
			n, err := w.Write(chunk[:min(len(chunk), bytes)])
			if err != nil {
				return
			}
			bytes -= n
		}
	}
	rows := map[string]struct {
		handler http.HandlerFunc
		want    error
	}{
		"64 MB with its length": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(64<<20))
			write(w, 64<<20)
		}, outbound.ErrTooLarge},
		"64 MB in chunks": {func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			write(w, 64<<20)
		}, outbound.ErrTooLarge},
		"gzip bomb": {func(w http.ResponseWriter, r *http.Request) {
			if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
				panic("gzip was not accepted")
			}
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			write(z, 64<<20)
			z.Close()
		}, outbound.ErrTooLarge},
		"one byte too many": {func(w http.ResponseWriter, r *http.Request) { write(w, limit+1) }, outbound.ErrTooLarge},
		"exactly the limit": {func(w http.ResponseWriter, r *http.Request) { write(w, limit) }, nil},
		"gzip under the limit": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			write(z, limit)
			z.Close()
		}, nil},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, row.handler)
			text, err := get(client(t, outbound.Config{}), s.URL)
			if !errors.Is(err, row.want) {
				t.Errorf("got error %v, want %v", err, row.want)
			}
			if len(text) > limit {
				t.Errorf("got %d bytes, want at most %d", len(text), limit)
			}
		})
	}
}

func TestErrorsQuoteNothingOfTheAnswer(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"status line":       "CANARY no HTTP at all\r\n\r\n",
		"status code":       "HTTP/1.1 CANARY\r\n\r\n",
		"header line":       "HTTP/1.1 200 OK\r\nCANARY without a colon\r\n\r\n",
		"content length":    "HTTP/1.1 200 OK\r\nContent-Length: CANARY\r\n\r\n",
		"transfer encoding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: CANARY\r\n\r\n",
		"chunk":             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nCANARY\r\n",
		"trailer":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nCANARY\r\n\r\n",
		"gzip":              "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 6\r\n\r\nCANARY",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					return
				}
				defer conn.Close()
				io.WriteString(conn, answer)
			})
			_, err := get(client(t, outbound.Config{}), s.URL)
			if err == nil {
				t.Fatal("got no error")
			}
			if strings.Contains(fmt.Sprintf("%v %+v", err, err), "CANARY") {
				t.Errorf("the error quotes the answer: %v", err)
			}
		})
	}
	t.Run("status text of a good answer", func(t *testing.T) {
		t.Parallel()
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			io.WriteString(conn, "HTTP/1.1 400 CANARY\r\nContent-Length: 0\r\n\r\n")
		})
		resp, err := client(t, outbound.Config{}).Get(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got, want := resp.Status, "400 Bad Request"; got != want {
			t.Errorf("got status %q, want %q", got, want)
		}
	})
}

func TestCleanDropsEverythingSecretFromAURL(t *testing.T) {
	t.Parallel()
	_, err := client(t, outbound.Config{Timeout: time.Second}).Get("http://CANARY:CANARY@127.0.0.1:1/path?code=CANARY#CANARY")
	if err == nil {
		t.Fatal("got no error")
	}
	got := outbound.Clean(fmt.Errorf("calling: %w", err))
	if strings.Contains(got.Error(), "CANARY") {
		t.Errorf("got %v, want no secret in it", got)
	}
	if !strings.Contains(got.Error(), "http://127.0.0.1:1/path") {
		t.Errorf("got %v, want the address in it", got)
	}
	var op *net.OpError
	if !errors.As(got, &op) {
		t.Errorf("got %v, want the network's error inside", got)
	}
	plain := errors.New("plain")
	if got := outbound.Clean(plain); got != plain {
		t.Errorf("an error without a URL: got %v, want it untouched", got)
	}
}

func TestInternalAddress(t *testing.T) {
	t.Parallel()
	seen := make(chan *http.Request, 1)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { seen <- r.Clone(context.Background()) })
	internal, _ := url.Parse(s.URL)
	public, _ := url.Parse("https://Auth.example.com/")
	c := client(t, outbound.Config{Internal: internal, Public: public})

	for _, target := range []string{"https://auth.example.com/oidc/token?a=b", "https://auth.example.com:443/oidc/token?a=b"} {
		if _, err := get(c, target); err != nil {
			t.Fatalf("GET %s: %v", target, err)
		}
		r := <-seen
		for _, row := range []struct{ what, got, want string }{
			{"target", r.RequestURI, "/oidc/token?a=b"},
			{"Host", r.Host, "Auth.example.com"},
			{"X-Forwarded-Host", r.Header.Get("X-Forwarded-Host"), "Auth.example.com"},
			{"X-Forwarded-Proto", r.Header.Get("X-Forwarded-Proto"), "https"},
			{"User-Agent", r.Header.Get("User-Agent"), "portero"},
		} {
			if row.got != row.want {
				t.Errorf("GET %s: %s: got %q, want %q", target, row.what, row.got, row.want)
			}
		}
	}

	// Another origin is left alone.
	other := serve(t, func(w http.ResponseWriter, r *http.Request) { seen <- r.Clone(context.Background()) })
	if _, err := get(c, other.URL+"/x"); err != nil {
		t.Fatal(err)
	}
	r := <-seen
	if want := strings.TrimPrefix(other.URL, "http://"); r.Host != want || r.Header.Get("X-Forwarded-Host") != "" {
		t.Errorf("another origin: got Host %q and X-Forwarded-Host %q, want %q and none", r.Host, r.Header.Get("X-Forwarded-Host"), want)
	}
}

func TestCallerRequestIsNotChanged(t *testing.T) {
	t.Parallel()
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	internal, _ := url.Parse(s.URL)
	public, _ := url.Parse("https://auth.example.com/")
	c := client(t, outbound.Config{Internal: internal, Public: public})
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://auth.example.com/x", nil)
	resp, err := c.Transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if req.URL.String() != "https://auth.example.com/x" || len(req.Header) != 0 {
		t.Errorf("got URL %s and headers %v, want the request as it was", req.URL, req.Header)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, set func(*httptest.Server)) *httptest.Server {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		if set != nil {
			set(s)
		}
		s.StartTLS()
		t.Cleanup(s.Close)
		return s
	}
	caFile := func(t *testing.T, s *httptest.Server) *x509.CertPool {
		file := filepath.Join(t.TempDir(), "ca.pem")
		data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		pool, err := outbound.LoadCA(file)
		if err != nil {
			t.Fatal(err)
		}
		return pool
	}

	t.Run("unknown authority", func(t *testing.T) {
		t.Parallel()
		s := start(t, nil)
		_, err := get(client(t, outbound.Config{}), s.URL)
		var unknown x509.UnknownAuthorityError
		if !errors.As(err, &unknown) {
			t.Errorf("got error %v, want %T", err, unknown)
		}
	})
	t.Run("authority of the file", func(t *testing.T) {
		t.Parallel()
		s := start(t, nil)
		if _, err := get(client(t, outbound.Config{CA: caFile(t, s)}), s.URL); err != nil {
			t.Errorf("got error %v, want none", err)
		}
	})
	t.Run("another authority's file", func(t *testing.T) {
		t.Parallel()
		s := start(t, nil)
		other := start(t, func(s *httptest.Server) {
			s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate(t, time.Now().Add(time.Hour))}}
		})
		if _, err := get(client(t, outbound.Config{CA: caFile(t, other)}), s.URL); err == nil {
			t.Error("got no error")
		}
	})
	t.Run("wrong host", func(t *testing.T) {
		t.Parallel()
		s := start(t, nil)
		_, err := get(client(t, outbound.Config{CA: caFile(t, s)}), strings.Replace(s.URL, "127.0.0.1", "localhost", 1))
		var host x509.HostnameError
		if !errors.As(err, &host) {
			t.Errorf("got error %v, want %T", err, host)
		}
	})
	t.Run("expired", func(t *testing.T) {
		t.Parallel()
		s := start(t, func(s *httptest.Server) {
			s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate(t, time.Now().Add(-time.Hour))}}
		})
		_, err := get(client(t, outbound.Config{CA: caFile(t, s)}), s.URL)
		var invalid x509.CertificateInvalidError
		if !errors.As(err, &invalid) || invalid.Reason != x509.Expired {
			t.Errorf("got error %v, want %T for expiry", err, invalid)
		}
	})
	t.Run("TLS 1.1", func(t *testing.T) {
		t.Parallel()
		s := start(t, func(s *httptest.Server) {
			s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
		})
		if _, err := get(client(t, outbound.Config{CA: caFile(t, s)}), s.URL); err == nil {
			t.Error("got no error")
		}
	})
	t.Run("internal address is checked by its own name", func(t *testing.T) {
		t.Parallel()
		s := start(t, nil)
		internal, _ := url.Parse(s.URL)
		public, _ := url.Parse("https://auth.example.net/")
		c := client(t, outbound.Config{CA: caFile(t, s), Internal: internal, Public: public})
		if _, err := get(c, "https://auth.example.net/x"); err != nil {
			t.Errorf("got error %v, want none", err)
		}
	})
}

func TestLoadCARefusesWhatIsNoCertificate(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{empty, empty + ".absent"} {
		if pool, err := outbound.LoadCA(file); err == nil || pool != nil {
			t.Errorf("LoadCA(%s): got %v and error %v, want an error", file, pool, err)
		}
	}
}

// The environment's proxy is read once for each process: a process of its own tells what is done with it.
func TestProxyOfTheEnvironment(t *testing.T) {
	if os.Getenv("OUTBOUND_TEST_CHILD") != "" {
		proxyChild(t)
		return
	}
	t.Parallel()
	seen := make(chan string, 8)
	proxy := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r.RequestURI
		io.WriteString(w, "proxied")
	})
	direct := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "direct") })
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProxyOfTheEnvironment$")
	cmd.Env = append(os.Environ(), "OUTBOUND_TEST_CHILD="+direct.URL, "HTTP_PROXY="+proxy.URL, "http_proxy="+proxy.URL, "NO_PROXY=", "no_proxy=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got, want := <-seen, "http://service.invalid/x"; got != want {
		t.Errorf("the proxy was asked for %s, want %s", got, want)
	}
	select {
	case more := <-seen:
		t.Errorf("the proxy was asked for %s too", more)
	default:
	}
}

func proxyChild(t *testing.T) {
	c := client(t, outbound.Config{})
	if got, err := get(c, "http://service.invalid/x"); err != nil || got != "proxied" {
		t.Errorf("a service: got %q and error %v, want it over the proxy", got, err)
	}
	if got, err := get(c, os.Getenv("OUTBOUND_TEST_CHILD")); err != nil || got != "direct" {
		t.Errorf("loopback: got %q and error %v, want it direct", got, err)
	}
	internal, _ := url.Parse("http://internal.invalid:8080/")
	public, _ := url.Parse("https://auth.example.com/")
	mapped := client(t, outbound.Config{Internal: internal, Public: public, Timeout: 5 * time.Second})
	if got, err := get(mapped, "https://auth.example.com/x"); err == nil {
		t.Errorf("the internal address: got %q, want it direct, which fails here", got)
	}
}

func certificate(t *testing.T, until time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: until.Add(-24 * time.Hour), NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
