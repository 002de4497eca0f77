package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// dependent are the checks that cannot be made where Logto is not to be found, or is another one.
const (
	dependentOnIssuer = "logto-keys logto-speed logto-client logto-redirect-uris logto-post-logout-uris logto-email-sign-in logto-registration" +
		" logto-refresh-tokens backchannel-address logto-management logto-application logto-access-control logto-backchannel logto-refresh-lifetime" +
		" logto-unknown-session logto-connector logto-grants logto-drift"
	dependent = "logto-issuer logto-clock " + dependentOnIssuer
)

// without removes words from a list.
func without(list string, words ...string) string {
	for _, word := range words {
		list = strings.Replace(list, word, "", 1)
	}
	return list
}

// front serves a handler on a loopback port until the test ends, inside TLS if there is a certificate.
func front(t *testing.T, h http.HandlerFunc, certificate *tls.Certificate) (address string) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if certificate != nil {
		s.TLS = &tls.Config{Certificates: []tls.Certificate{*certificate}}
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s.URL
}

// behindTLS puts Logto behind a proxy that ends TLS. change nil: its certificate is good.
func (w *world) behindTLS(change func(*x509.Certificate)) (address string, ca *gatewaytest.Authority) {
	ca = gatewaytest.NewAuthority(w.t)
	certificate := ca.Certificate(w.t, change)
	return front(w.t, w.logto.ServeHTTP, &certificate), ca
}

func (w *world) endpoint(address string, more ...string) {
	w.replace("endpoint: "+w.logto.URL, "endpoint: "+strings.Join(append([]string{address}, more...), "\n  "))
}

// cutOff gives no answer.
func cutOff(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func swapScheme(address, to string) string { return to + address[strings.Index(address, "://"):] }

func TestEverythingIsWell(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]gatewaytest.TenantOptions{"1.41": {Line141: true}, "1.42": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, o)
			for name, f := range w.run() {
				want := OK
				if name == "backchannel-address" && !o.Line141 {
					want = Warning
				}
				if f.Status != want {
					t.Errorf("got %+v, want %s", f, want)
				}
			}
		})
	}
}

func TestReachChecks(t *testing.T) {
	t.Parallel()
	html := func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(rw, "<p>%s</p>", foreignText)
	}
	forward(t, []row{
		{
			name: "nobody listens", change: func(w *world) { w.endpoint("http://" + closedPort(w.t)) },
			check: "logto-endpoint", want: Failed, says: []string{"nobody listens", "logto.endpoint", "logto.internal_endpoint"}, skips: dependent,
		},
		{
			name: "no such name", change: func(w *world) { w.endpoint("https://logto.invalid") },
			check: "logto-endpoint", want: Failed, says: []string{"logto.invalid cannot be looked up", "logto.endpoint"}, skips: dependent,
		},
		{
			name: "a web page", change: func(w *world) { w.hook("/", html) },
			check: "logto-endpoint", want: Failed, says: []string{"a web page", "logto.endpoint", "console"}, skips: without(dependent, "logto-clock"),
		},
		{
			name: "a path too much", change: func(w *world) { w.endpoint(w.logto.URL + "/console") },
			check: "logto-endpoint", want: Failed, says: []string{"status 404", "logto.endpoint: {endpoint}/"}, skips: without(dependent, "logto-clock"),
		},
		{
			name: "https where http is spoken", change: func(w *world) { w.endpoint(swapScheme(w.logto.URL, "https")) },
			check: "logto-endpoint", want: Failed, says: []string{"does not speak TLS", "logto.endpoint: {endpoint}/"}, skips: dependent,
		},
		{
			name: "http where https is spoken", change: func(w *world) {
				address, _ := w.behindTLS(nil)
				w.endpoint(swapScheme(address, "http"))
			},
			check: "logto-endpoint", want: Failed, says: []string{"status 400", "logto.endpoint: https://127.0.0.1:"}, skips: without(dependent, "logto-clock"),
		},
		{
			name: "certificate of nobody", change: func(w *world) {
				address, _ := w.behindTLS(nil)
				w.endpoint(address)
			},
			check: "logto-endpoint", want: Failed, says: []string{"signed by nobody", "logto.ca_file", "PEM"}, skips: dependent,
		},
		{
			name: "certificate of another authority", change: func(w *world) {
				address, _ := w.behindTLS(nil)
				w.endpoint(address, "ca_file: "+gatewaytest.NewAuthority(w.t).File)
			},
			check: "logto-endpoint", want: Failed, says: []string{"signed by nobody", "logto.ca_file has another"}, skips: dependent,
		},
		{
			name: "certificate for another name", change: func(w *world) {
				address, ca := w.behindTLS(func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = []string{"logto.example"}, nil })
				w.endpoint(address, "ca_file: "+ca.File)
			},
			check: "logto-endpoint", want: Failed, says: []string{"another name than 127.0.0.1", "logto.endpoint"}, skips: dependent,
		},
		{
			name: "certificate that has expired", change: func(w *world) {
				address, ca := w.behindTLS(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
				w.endpoint(address, "ca_file: "+ca.File)
			},
			check: "logto-endpoint", want: Failed, says: []string{"expired", "renew"}, skips: dependent,
		},
		{
			name: "not meant by that name", change: func(w *world) {
				w.hook("/", func(rw http.ResponseWriter, r *http.Request) { rw.WriteHeader(http.StatusMisdirectedRequest) })
			},
			check: "logto-endpoint", want: Failed, says: []string{"status 421", "logto.endpoint"}, skips: "logto-issuer",
		},
		{
			name: "a redirect", change: func(w *world) {
				w.hook("/", func(rw http.ResponseWriter, r *http.Request) {
					rw.Header().Set("Location", "https://elsewhere.example/?"+foreignText)
					rw.WriteHeader(http.StatusMovedPermanently)
				})
			},
			check: "logto-endpoint", want: Failed, says: []string{"a redirect", "logto.endpoint"}, skips: without(dependent, "logto-clock"),
		},
		{
			name: "out of order", change: func(w *world) {
				w.hook("/", func(rw http.ResponseWriter, r *http.Request) {
					rw.WriteHeader(http.StatusBadGateway)
					io.WriteString(rw, foreignText)
				})
			},
			check: "logto-endpoint", want: Failed, says: []string{"status 502", "log"}, skips: without(dependent, "logto-clock"),
		},
		{
			name: "internal endpoint is wrong", change: func(w *world) { w.endpoint(w.logto.URL, "internal_endpoint: http://"+closedPort(w.t)) },
			check: "logto-endpoint", want: Failed, says: []string{"nobody listens", "remove logto.internal_endpoint"}, skips: dependent,
		},
		{
			name: "both endpoints are wrong", change: func(w *world) {
				w.endpoint("http://"+closedPort(w.t), "internal_endpoint: http://"+closedPort(w.t))
			},
			check: "logto-endpoint", want: Failed, says: []string{"logto.internal_endpoint", "logto.endpoint"}, skips: dependent,
		},
		{
			name: "behind a proxy that ends TLS", change: func(w *world) {
				address, ca := w.behindTLS(nil)
				w.endpoint(address, "ca_file: "+ca.File)
			},
			check: "logto-issuer", want: Failed, says: []string{"TRUST_PROXY_HEADER=1", "ENDPOINT=https://127.0.0.1:", "/oidc"},
		},
		{
			name: "another issuer", change: func(w *world) {
				edit(w, discoveryPath, set("issuer", "https://login.example.org/oidc"))
			},
			check: "logto-issuer", want: Failed, says: []string{"logto.endpoint: https://login.example.org/", "ENDPOINT={endpoint}", "TRUST_PROXY_HEADER=1"}, skips: dependentOnIssuer,
		},
		{
			name: "an issuer that is text", change: func(w *world) { edit(w, discoveryPath, set("issuer", "https://login.example.org/oidc?"+foreignText)) },
			check: "logto-issuer", want: Failed, says: []string{"no plain URL", "logto.endpoint"}, skips: dependentOnIssuer,
		},
		{
			name: "endpoint and internal endpoint mixed up", change: func(w *world) {
				w.endpoint(strings.Replace(w.logto.URL, "127.0.0.1", "localhost", 1), "internal_endpoint: "+w.logto.URL)
			},
			check: "logto-issuer", want: Failed, says: []string{"mixed up", "swap"}, skips: dependentOnIssuer + " logto-internal-endpoint",
		},
		{
			name: "Logto knows its internal address alone", change: func(w *world) {
				w.endpoint("http://localhost:1", "internal_endpoint: "+w.logto.URL)
			},
			check: "logto-issuer", want: Failed, says: []string{"ENDPOINT=http://localhost:1 ", "TRUST_PROXY_HEADER=1", "swap"}, skips: dependentOnIssuer + " logto-internal-endpoint",
		},
		{
			name: "internal endpoint of another Logto", change: func(w *world) {
				w.endpoint(w.logto.URL, "internal_endpoint: "+gatewaytest.NewTenant(w.t, gatewaytest.TenantOptions{}).URL)
			},
			check: "logto-issuer", want: Failed, says: []string{"logto.internal_endpoint leads to another Logto"}, skips: dependentOnIssuer + " logto-internal-endpoint",
		},
		{
			name: "another issuer where browsers go", change: func(w *world) {
				outside := front(w.t, func(rw http.ResponseWriter, r *http.Request) {
					rw.Header().Set("Content-Type", "application/json")
					fmt.Fprintf(rw, `{"issuer":"https://elsewhere.example/oidc","authorization_endpoint":"https://elsewhere.example/oidc/auth","token_endpoint":"https://elsewhere.example/oidc/token","jwks_uri":"https://elsewhere.example/oidc/jwks"}`)
				}, nil)
				inside := front(w.t, func(rw http.ResponseWriter, r *http.Request) {
					rec := httptest.NewRecorder()
					w.logto.ServeHTTP(rec, r)
					rw.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
					rw.WriteHeader(rec.Code)
					fmt.Fprint(rw, strings.ReplaceAll(rec.Body.String(), w.logto.URL, outside))
				}, nil)
				w.endpoint(outside, "internal_endpoint: "+inside)
			},
			check: "logto-internal-endpoint", want: Failed, says: []string{"calls itself https://elsewhere.example/oidc", "logto.endpoint and logto.internal_endpoint"},
			also: []string{"logto-redirect-uris", "logto-post-logout-uris"},
		},
		{
			name: "internal endpoint with other keys", change: func(w *world) {
				w.endpoint(w.logto.URL, "internal_endpoint: "+front(w.t, func(rw http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/oidc/jwks" {
						fmt.Fprint(rw, `{"keys":[{"kty":"EC","crv":"P-384","kid":"another"}]}`)
						return
					}
					w.logto.ServeHTTP(rw, r)
				}, nil))
			},
			check: "logto-internal-endpoint", want: Failed, says: []string{"different signing keys", "logto.internal_endpoint"},
		},
		{
			name: "something else where browsers go", change: func(w *world) {
				inside := front(w.t, w.logto.Provider.Handler().ServeHTTP, nil)
				w.hook("/oidc", html)
				w.endpoint(w.logto.URL, "internal_endpoint: "+inside)
			},
			check: "logto-internal-endpoint", want: Failed, says: []string{"something else than Logto at {endpoint}", "logto.endpoint"},
		},
		{
			name: "browsers alone reach the endpoint", change: func(w *world) {
				w.endpoint("http://localhost:1", "internal_endpoint: "+w.logto.URL)
				edit(w, discoveryPath, set("issuer", "http://localhost:1/oidc"))
			},
			check: "logto-internal-endpoint", want: Skipped, says: []string{"nobody listens at localhost:1", "open http://localhost:1/oidc/.well-known/openid-configuration in a browser"},
		},
		{
			name: "the same Logto twice", change: func(w *world) {
				w.endpoint(w.logto.URL, "internal_endpoint: "+strings.Replace(w.logto.URL, "127.0.0.1", "localhost", 1))
			},
			check: "logto-internal-endpoint", want: OK,
		},
		{
			name: "our clock is 75 s ahead", change: func(w *world) { w.shift.Store(int64(75 * time.Second)) },
			check: "logto-clock", want: Failed, says: []string{"Logto's clock is 7", "behind ours", "timedatectl set-ntp true", "tokens are refused"},
		},
		{
			name: "our clock is 75 s behind", change: func(w *world) { w.shift.Store(int64(-75 * time.Second)) },
			check: "logto-clock", want: Failed, says: []string{"Logto's clock is 7", "ahead of ours"},
		},
		{
			name: "our clock is 40 s behind", change: func(w *world) { w.shift.Store(int64(-40 * time.Second)) },
			check: "logto-clock", want: Warning, says: []string{"ahead of ours", "1m0s"},
		},
		{
			name: "our clock is three hours behind", change: func(w *world) { w.shift.Store(int64(-3 * time.Hour)) },
			check: "logto-clock", want: Failed, says: []string{"3h0m0s ahead of ours", "timedatectl"},
		},
		{
			name: "our clock is a year behind", change: func(w *world) { w.shift.Store(int64(-365 * 24 * time.Hour)) },
			check: "logto-clock", want: Failed, says: []string{"365 days ahead"},
		},
		{
			name: "an answer out of a cache", change: func(w *world) {
				w.hook("/oidc"+discoveryPath, func(rw http.ResponseWriter, r *http.Request) {
					rw.Header().Set("Date", time.Now().Add(-10*time.Minute).UTC().Format(http.TimeFormat))
					rw.Header().Set("Age", "600")
					w.logto.Provider.Handler().ServeHTTP(rw, r)
				})
			},
			check: "logto-clock", want: OK,
		},
		{
			name: "no Date", change: func(w *world) {
				w.hook("/oidc"+discoveryPath, func(rw http.ResponseWriter, r *http.Request) {
					rw.Header()["Date"] = nil
					w.logto.Provider.Handler().ServeHTTP(rw, r)
				})
			},
			check: "logto-clock", want: Skipped, says: []string{"Date"},
		},
		{
			name: "no key for ID tokens", change: func(w *world) {
				edit(w, "/oidc/jwks", set("keys", []object{{"kty": "oct", "k": foreignText}, {"kty": "RSA", "n": "AQAB", "e": "AQAB"}, {"kty": "EC", "crv": "P-384", "use": "enc"}, {"kty": "EC", "crv": "P-384", "alg": "ES256"}}))
			},
			check: "logto-keys", want: Failed, says: []string{"4 keys, none", "ES384 or RS256", "rotate"},
		},
		{
			name: "the key set does not come", change: func(w *world) { w.hook("/oidc/jwks", cutOff) },
			check: "logto-keys", want: Failed, says: []string{"let this machine reach {endpoint}/oidc/jwks"},
		},
		{
			name: "no key set", change: func(w *world) { w.hook("/oidc/jwks", html) },
			check: "logto-keys", want: Failed, says: []string{"status 200 and no key set", "/oidc/jwks"},
		},
		{
			name: "keys after a rotation to RSA", change: func(w *world) {
				if err := w.logto.Provider.Switches().RotateKey("RS256"); err != nil {
					w.t.Fatal(err)
				}
			},
			check: "logto-keys", want: OK, says: []string{"RS256, ES384"},
		},
		{
			name: "slow", change: func(w *world) { w.slow(1500 * time.Millisecond) },
			check: "logto-speed", want: Warning, says: []string{"within 1s", "1.", "load"},
		},
		{
			name: "very slow", change: func(w *world) { w.slow(4 * time.Second) },
			check: "logto-speed", want: Failed, says: []string{"4.", "unavailable"},
		},
		{
			name: "slower than a round trip of a good clock", change: func(w *world) { w.slow(70 * time.Second) },
			check: "logto-clock", want: OK, also: []string{"logto-speed"},
		},
	})
}

// slow moves our clock while Logto answers for the first time.
func (w *world) slow(d time.Duration) {
	w.hook("/oidc"+discoveryPath, func(rw http.ResponseWriter, r *http.Request) {
		w.shift.Add(int64(d / 2))
		rw.Header().Set("Date", w.now().UTC().Format(http.TimeFormat))
		w.shift.Add(int64(d / 2))
		w.logto.Provider.Handler().ServeHTTP(rw, r)
	})
}

// What is said of errors that no server here can make.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	u, err := url.Parse("https://logto.example/oidc")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&url.Error{Op: "Get", URL: "https://logto.example?" + foreignText, Err: context.DeadlineExceeded}, "no answer within 5s"},
		{&url.Error{Op: "Get", URL: "https://logto.example?" + foreignText, Err: fmt.Errorf("remote error: tls: protocol version not supported")}, "no TLS that is new enough comes about"},
		{&url.Error{Op: "Get", URL: "https://logto.example?" + foreignText, Err: fmt.Errorf("%s", foreignText)}, "the connection broke before an answer came"},
		{&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.IncompatibleUsage, Detail: foreignText}}, "its certificate is not valid"},
		{&tls.CertificateVerificationError{Err: fmt.Errorf("%s", foreignText)}, "its certificate is not valid"},
	} {
		if got, _ := unreachable(u, tt.err); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestShowURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://tenant.logto.app/oidc":         "https://tenant.logto.app/oidc",
		"http://127.0.0.1:3001/oidc":            "http://127.0.0.1:3001/oidc",
		"http://[::1]:3001/oidc":                "http://[::1]:3001/oidc",
		"":                                      unshown,
		"javascript:alert(1)":                   unshown,
		"https://user:secret@logto.example/":    unshown,
		"https://logto.example/?secret":         unshown,
		"https://logto.example/#secret":         unshown,
		"https://logto.example/a b":             unshown,
		"https://logto.example/\x1b[31m":        unshown,
		"https://" + strings.Repeat("a", 200):   unshown,
		"https://logto.example/%0aroutes:%20[]": unshown,
	} {
		if got := showURL(text); got != want {
			t.Errorf("showURL(%q): got %q, want %q", text, got, want)
		}
	}
}
