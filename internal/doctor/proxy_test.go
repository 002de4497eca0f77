package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"portero/internal/config"
	"portero/internal/gateway"
	"portero/internal/gatewaytest"
)

// hint is an error with what to type, as the command's are.
type hint struct{ error }

func (hint) Hint() string { return "sudo -u portero" }

// fronted is a gateway whose external_url is at somebody in front of it.
type fronted struct {
	*running
	gateway *gateway.Gateway
}

// newFronted starts a gateway for an external URL. more is configuration at the top level.
func newFronted(t *testing.T, external, more string, public net.Listener) *fronted {
	t.Helper()
	issuer := gatewaytest.NewIssuer(t)
	if !strings.Contains(more, "routes:") {
		more += "upstream: http://127.0.0.1:1\n"
	}
	c, err := config.Load(config.Options{Path: filepath.Join(t.TempDir(), "portero.yaml"), Text: fmt.Appendf(nil, `
external_url: %s
listen: 127.0.0.1:0
admin: {listen: "127.0.0.1:0", token: %s}
logto: {endpoint: %q, app_id: %s, app_secret: %s}
session: {store: memory}
email_domains: ["*"]
shutdown: {timeout: 2s}
%s`, external, gatewaytest.AdminToken, issuer.URL, issuer.AppID, issuer.AppSecret, more)})
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(c, gateway.Options{Version: "v1", Public: public})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the gateway ended with %v", err)
		}
	})
	f := &fronted{gateway: g, running: &running{config: c, version: "v1", asker: asker{plainClient(), clock}}}
	c.Listen, c.Admin.Listen = g.Addr().String(), g.AdminAddr().String() // as if they had been written so
	f.ask = func(ctx context.Context, method, path string, query url.Values, into any) error {
		return askAdmin(ctx, g.AdminAddr().String(), method, path, query, into)
	}
	return f
}

// askAdmin asks an admin listener with the token.
func askAdmin(ctx context.Context, address, method, path string, query url.Values, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+address+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+gatewaytest.AdminToken)
	resp, err := plainClient().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		text, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("%s: %s", resp.Status, text)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// dialFrom connects from an address of this machine.
func dialFrom(t *testing.T, address string) func(context.Context, string, string) (net.Conn, error) {
	t.Helper()
	l, err := net.Listen("tcp", address+":0")
	if err != nil {
		gatewaytest.Lacks(t, address+" is no address of this machine")
	}
	l.Close()
	return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext
}

// proxied is a gateway behind a proxy that ends TLS unless plain, connects from an address, and makes of each request what
// rewrite makes of it. What rewrite does not set is not sent.
func proxied(t *testing.T, scheme, from, more string, rewrite func(in, out *http.Request)) *fronted {
	t.Helper()
	var backend string
	proxy := &httputil.ReverseProxy{
		Transport: &http.Transport{DialContext: dialFrom(t, from), DisableKeepAlives: true},
		ErrorLog:  log.New(io.Discard, "", 0),
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = "http", backend, p.In.Host
			rewrite(p.In, p.Out)
		},
	}
	s := httptest.NewUnstartedServer(proxy)
	ca := gatewaytest.NewAuthority(t)
	if s.Config.ErrorLog = proxy.ErrorLog; scheme == "https" {
		s.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Certificate(t, nil)}}
	}
	f := newFronted(t, scheme+"://localhost:"+fmt.Sprint(s.Listener.Addr().(*net.TCPAddr).Port), more, nil)
	if backend = f.gateway.Addr().String(); scheme == "https" {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	f.trust(t, ca.File)
	return f
}

// trust makes the checks believe in the certificate in a file.
func (f *fronted) trust(t *testing.T, file string) {
	t.Helper()
	pem, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	f.asker.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool}
}

// setAll is what a good proxy does.
func setAll(in, out *http.Request) {
	host, _, _ := net.SplitHostPort(in.RemoteAddr)
	out.Header["X-Forwarded-For"] = append(in.Header["X-Forwarded-For"], host)
	scheme := "http"
	if in.TLS != nil {
		scheme = "https"
	}
	out.Header.Set("X-Forwarded-Proto", scheme)
	out.Header.Set("X-Forwarded-Host", in.Host)
}

// pass gives headers on as the client sent them.
func pass(names ...string) func(in, out *http.Request) {
	return func(in, out *http.Request) {
		for _, name := range names {
			if out.Header.Del(name); len(in.Header[name]) > 0 {
				out.Header[name] = in.Header[name]
			}
		}
	}
}

// both does one thing after another.
func both(list ...func(in, out *http.Request)) func(in, out *http.Request) {
	return func(in, out *http.Request) {
		for _, one := range list {
			one(in, out)
		}
	}
}

func drop(names ...string) func(in, out *http.Request) {
	return func(_, out *http.Request) {
		for _, name := range names {
			out.Header.Del(name)
		}
	}
}

func write(name, value string) func(in, out *http.Request) {
	return func(_, out *http.Request) { out.Header.Set(name, value) }
}

func TestProxyInFront(t *testing.T) {
	t.Parallel()
	const trusted = "trusted_proxies: [127.0.0.2/32]\n"
	const networks = "routes: [{name: a, upstreams: [{url: http://127.0.0.1:1}], allow: [{email_domains: [\"*\"], networks: [10.0.0.0/8]}]}]\n"
	changeHost := func(_, out *http.Request) { out.Host = "" }
	nothing := func(_, _ *http.Request) {}
	for _, tt := range []struct {
		name, scheme, from, more string
		rewrite                  func(in, out *http.Request)
		want                     Status
		words                    []string
	}{
		{"all fine", "https", "127.0.0.2", trusted, setAll, OK, []string{"127.0.0.2"}},
		{"all fine, over http", "http", "127.0.0.2", trusted, setAll, OK, nil},
		{"all fine, on the machine of who asks", "https", "127.0.0.1", "trusted_proxies: [127.0.0.1/32]\n", setAll, OK, []string{"127.0.0.1"}},
		{"all fine, without X-Forwarded-Host", "https", "127.0.0.2", trusted, both(setAll, drop("X-Forwarded-Host")), OK, nil},
		{"without X-Forwarded-Proto, over http", "http", "127.0.0.2", trusted, both(setAll, drop("X-Forwarded-Proto")), OK, nil},
		{"one that adds its host to a client's, which is refused", "https", "127.0.0.2", trusted, both(setAll, func(in, out *http.Request) {
			out.Header["X-Forwarded-Host"] = append(in.Header["X-Forwarded-Host"], in.Host)
		}), OK, nil},

		{"not trusted", "https", "127.0.0.2", "", setAll, Warning, []string{"sends X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto", "trusted_proxies: [127.0.0.2/32]"}},
		{"another one trusted", "https", "127.0.0.2", "trusted_proxies: [127.0.0.3/32]\n", setAll, Warning, []string{"not trusted", "trusted_proxies: [127.0.0.2/32]"}},
		{"not trusted, and rules that look at networks", "https", "127.0.0.2", networks, setAll, Failed, []string{"seems to come from 127.0.0.2", "trusted_proxies: [127.0.0.2/32]"}},
		{"not trusted, with a Host of its own and X-Forwarded-Host", "https", "127.0.0.2", "", both(setAll, changeHost), Failed, []string{"trusted_proxies: [127.0.0.2/32]"}},
		{"not trusted, with a Host of its own", "https", "127.0.0.2", "", both(setAll, changeHost, drop("X-Forwarded-Host")), Failed, []string{"trusted_proxies: [127.0.0.2/32]", "changes Host", "proxy_set_header Host $host;"}},
		{"not trusted, and silent", "https", "127.0.0.2", "", nothing, Warning, []string{"does not say who sends them", "proxy_set_header X-Forwarded-For", "trusted_proxies: [127.0.0.2/32]"}},
		{"not trusted, and Forwarded alone", "https", "127.0.0.2", "", write("Forwarded", "for=198.51.100.1"), Warning, []string{"Forwarded alone", "trusted_proxies: [127.0.0.2/32]"}},

		{"no X-Forwarded-For", "https", "127.0.0.2", trusted, both(setAll, drop("X-Forwarded-For")), Warning, []string{"sends no X-Forwarded-For", "seems to come from 127.0.0.2", "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"}},
		{"no X-Forwarded-For, and rules that look at networks", "https", "127.0.0.2", trusted + networks, both(setAll, drop("X-Forwarded-For")), Failed, []string{"sends no X-Forwarded-For"}},
		{"no addresses in X-Forwarded-For", "https", "127.0.0.2", trusted, both(setAll, write("X-Forwarded-For", "unknown")), Warning, []string{"no list of addresses", "proxy_set_header X-Forwarded-For"}},
		{"X-Forwarded-For as the client sends it", "https", "127.0.0.2", trusted, both(setAll, pass("X-Forwarded-For")), Failed, []string{"passes X-Forwarded-For on", "proxy_set_header X-Forwarded-For"}},
		{"X-Forwarded-For where the client sends none", "https", "127.0.0.2", trusted, both(setAll, func(in, out *http.Request) {
			if in.Header["X-Forwarded-For"] != nil {
				pass("X-Forwarded-For")(in, out)
			}
		}), Failed, []string{"passes X-Forwarded-For on"}},
		{"X-Forwarded-For of the client before another trusted hop", "https", "127.0.0.2", "trusted_proxies: [127.0.0.2/32, 203.0.113.0/24]\n", both(setAll, func(in, out *http.Request) {
			out.Header["X-Forwarded-For"] = append(in.Header["X-Forwarded-For"], "203.0.113.9")
		}), Warning, []string{"behind 203.0.113.9", "trusted_proxies", "proxy_set_header X-Forwarded-For $remote_addr;"}},

		{"no X-Forwarded-Proto", "https", "127.0.0.2", trusted, both(setAll, drop("X-Forwarded-Proto")), Warning, []string{"sends no X-Forwarded-Proto", "proxy_set_header X-Forwarded-Proto $scheme;"}},
		{"X-Forwarded-Proto as the client sends it", "https", "127.0.0.2", trusted, both(setAll, pass("X-Forwarded-Proto")), Warning, []string{"passes X-Forwarded-Proto on", "proxy_set_header X-Forwarded-Proto $scheme;"}},
		{"X-Forwarded-Proto as the client sends it, over http", "http", "127.0.0.2", trusted, both(setAll, pass("X-Forwarded-Proto")), Warning, []string{"passes X-Forwarded-Proto on"}},
		{"another X-Forwarded-Proto", "https", "127.0.0.2", trusted, both(setAll, write("X-Forwarded-Proto", "http")), Failed, []string{"says http in X-Forwarded-Proto", "$http_x_forwarded_proto"}},
		{"X-Forwarded-Proto of something else", "https", "127.0.0.2", trusted, both(setAll, write("X-Forwarded-Proto", "on")), Failed, []string{"neither http nor https", "proxy_set_header X-Forwarded-Proto $scheme;"}},

		{"X-Forwarded-Host as the client sends it", "https", "127.0.0.2", trusted, both(setAll, pass("X-Forwarded-Host")), Failed, []string{"passes X-Forwarded-Host on", "proxy_set_header X-Forwarded-Host $host;"}},
		{"no X-Forwarded-Host, and another Host", "https", "127.0.0.2", trusted, both(setAll, drop("X-Forwarded-Host"), changeHost), Failed, []string{"changes Host", "routes of localhost", "proxy_set_header Host $host;"}},
		{"two in X-Forwarded-Host", "https", "127.0.0.2", trusted, both(setAll, write("X-Forwarded-Host", "a.test, b.test")), Failed, []string{"X-Forwarded-Host that cannot be read", "proxy_set_header X-Forwarded-Host $host;"}},

		{"everything as the client sends it", "https", "127.0.0.2", trusted, pass("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded"), Failed, []string{
			"passes X-Forwarded-For on", "passes X-Forwarded-Host on", "passes X-Forwarded-Proto on"}},
		{"forged requests refused", "https", "127.0.0.2", trusted, both(setAll, func(in, out *http.Request) {
			if in.Header["Forwarded"] != nil {
				out.URL.Path = "/elsewhere"
			}
		}), OK, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := proxied(t, tt.scheme, tt.from, tt.more, tt.rewrite)
			got := f.checkTrustedProxies(t.Context())
			outcome(t, got, tt.want, tt.words...)
			if strings.Contains(got.Seen+got.Remedy, forgedHost) {
				t.Errorf("it tells what was forged: %+v", got)
			}
			if f := f.checkExternalURL(t.Context()); f.Status != OK && (got.Status == OK || f != see("trusted-proxies")) {
				t.Errorf("one cause is told twice: %+v", f)
			}
		})
	}
}

func TestNobodyInFront(t *testing.T) {
	t.Parallel()
	for more, want := range map[string]Status{"": OK, "trusted_proxies: [127.0.0.2/32]\n": OK, "trusted_proxies: [127.0.0.0/8]\n": Warning} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f := newFronted(t, "http://"+l.Addr().String(), more, l)
		got := f.checkTrustedProxies(t.Context())
		words := []string{"no proxy"}
		if want == Warning {
			words = append(words, "127.0.0.1 is trusted", "trusted_proxies")
		}
		outcome(t, got, want, words...)
	}
}

// What cannot be looked at says why, unless the configuration alone tells what is wrong.
func TestProxyNotAsked(t *testing.T) {
	t.Parallel()
	answers := func(err error) func(*fronted) {
		return func(f *fronted) {
			f.ask = func(context.Context, string, string, url.Values, any) error { return err }
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*fronted)
		want   Status
		words  []string
	}{
		{"no token", func(f *fronted) { f.ask = nil }, Skipped, []string{"no admin token", "admin.token_file"}},
		{"a token that cannot be read", answers(fmt.Errorf("asking: %w", hint{errors.New("the gateway's user alone")})), Skipped, []string{"the gateway's user alone", "sudo -u portero"}},
		{"an admin listener that refuses", answers(errors.New(foreignText)), Skipped, []string{"admin.listen", "admin.token_file"}},
		{"another gateway answers", answers(nil), Skipped, []string{"not by the gateway of this machine", "beside each of them"}},
		{"a gateway that does not run", func(f *fronted) { f.config.Admin.Listen = "127.0.0.1:1" }, Skipped, []string{"see gateway"}},
		{"nobody at external_url", func(f *fronted) { f.config.ExternalURL.Host = "localhost:1" }, Skipped, []string{"see external-url"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := proxied(t, "https", "127.0.0.2", "trusted_proxies: [127.0.0.2/32]\n", setAll)
			tt.change(f)
			outcome(t, f.checkTrustedProxies(t.Context()), tt.want, tt.words...)
			f.config.TrustedProxies = nil
			again := &running{config: f.config, version: f.version, asker: f.asker, ask: f.ask}
			outcome(t, again.checkTrustedProxies(t.Context()), Warning, "trusted_proxies: [127.0.0.1/32]")
		})
	}
	t.Run("not all are answered", func(t *testing.T) {
		t.Parallel()
		f := proxied(t, "https", "127.0.0.2", "trusted_proxies: [127.0.0.2/32]\n", both(setAll, func(in, _ *http.Request) {
			if in.Header["Forwarded"] != nil {
				panic(http.ErrAbortHandler)
			}
		}))
		outcome(t, f.checkTrustedProxies(t.Context()), Skipped, "the connection broke", "portero doctor again")
	})
}

func TestSingleAddress(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{"10.0.0.1": "10.0.0.1/32", "2001:db8::1": "2001:db8::1/128"} {
		if got := single(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: got %s, want %s", address, got, want)
		}
	}
}
