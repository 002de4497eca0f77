package forwarded_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"portero/internal/forwarded"
)

var compareAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func resolver(t testing.TB, external string, tls bool, trusted ...string) *forwarded.Resolver {
	t.Helper()
	u, err := url.Parse(external)
	if err != nil {
		t.Fatal(err)
	}
	cfg := forwarded.Config{ExternalURL: u, ListenerTLS: tls}
	for _, p := range trusted {
		cfg.TrustedProxies = append(cfg.TrustedProxies, netip.MustParsePrefix(p))
	}
	return forwarded.New(cfg)
}

// request makes the request as net/http's server would: the host in Host, all else in the header.
func request(peer, host string, header ...string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr, r.Host = peer, host
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// TP-01, TP-03, TP-04: nobody is trusted by default, and whoever is not trusted says nothing but Host.
func TestUntrustedPeerIsBelievedNothing(t *testing.T) {
	t.Parallel()
	lies := []string{
		"X-Forwarded-For", "1.2.3.4", "X-Real-IP", "1.2.3.4", "True-Client-IP", "1.2.3.4", "CF-Connecting-IP", "1.2.3.4",
		"Forwarded", "for=1.2.3.4;host=evil.test;proto=https", "X-Forwarded-Host", "evil.test", "X-Forwarded-Proto", "https",
		"X-Forwarded-Port", "443", "X-Forwarded-Prefix", "//evil.test/", "X-Forwarded-Scheme", "https", "X-Scheme", "https",
		"Front-End-Https", "on", "X-Forwarded-Ssl", "on", "X-Forwarded-Server", "evil.test", "X_Forwarded_For", "1.2.3.4",
		"X-Request-Id", "chosen-by-client", "X-Forwarded-User", "root",
	}
	for name, trusted := range map[string][]string{"default": nil, "another network is trusted": {"10.0.0.0/8"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := resolver(t, "http://gw.test:3000", false, trusted...).Resolve(request("203.0.113.9:4711", "gw.test:3000", lies...))
			if err != nil {
				t.Fatal(err)
			}
			addr := netip.MustParseAddr("203.0.113.9")
			want := forwarded.Request{Peer: addr, Client: addr, Scheme: "http", Host: "gw.test:3000", Port: "3000", ForwardedFor: "203.0.113.9"}
			if diff := cmp.Diff(want, got, compareAddr, cmpopts.IgnoreFields(forwarded.Request{}, "RequestID")); diff != "" {
				t.Errorf("Resolve with forged headers (-want +got):\n%s", diff)
			}
			if got.RequestID == "chosen-by-client" {
				t.Errorf("request id taken from a peer that is not trusted")
			}
		})
	}
}

// TP-02, TP-05, TP-06.
func TestClient(t *testing.T) {
	t.Parallel()
	many := strings.TrimSuffix(strings.Repeat("10.1.1.1, ", 63), ", ")
	tests := []struct {
		name         string
		peer         string
		chain        []string
		client, sent string
	}{
		{"no chain", "10.0.0.1:1", nil, "10.0.0.1", "10.0.0.1"},
		{"one hop", "10.0.0.1:1", []string{"203.0.113.7"}, "203.0.113.7", "203.0.113.7, 10.0.0.1"},
		{"rightmost untrusted hop wins over a forged left part", "10.0.0.1:1", []string{"6.6.6.6, 203.0.113.7, 10.0.0.5, 10.0.0.9"}, "203.0.113.7", "203.0.113.7, 10.0.0.5, 10.0.0.9, 10.0.0.1"},
		{"garbage left of the client does not matter", "10.0.0.1:1", []string{"<script>,, 203.0.113.7"}, "203.0.113.7", "203.0.113.7, 10.0.0.1"},
		{"several lines are one chain", "10.0.0.1:1", []string{"6.6.6.6, 203.0.113.7", "10.0.0.9"}, "203.0.113.7", "203.0.113.7, 10.0.0.9, 10.0.0.1"},
		{"all trusted: the leftmost", "10.0.0.1:1", []string{"10.9.9.9, 10.0.0.5"}, "10.9.9.9", "10.9.9.9, 10.0.0.5, 10.0.0.1"},
		{"with ports", "10.0.0.1:1", []string{"203.0.113.7:5123, 10.0.0.5:80"}, "203.0.113.7", "203.0.113.7, 10.0.0.5, 10.0.0.1"},
		{"IPv6 bare", "10.0.0.1:1", []string{"2001:DB8::0:1"}, "2001:db8::1", "2001:db8::1, 10.0.0.1"},
		{"IPv6 in brackets", "10.0.0.1:1", []string{"[2001:db8::1]"}, "2001:db8::1", "2001:db8::1, 10.0.0.1"},
		{"IPv6 with port", "10.0.0.1:1", []string{"[2001:db8::1]:443"}, "2001:db8::1", "2001:db8::1, 10.0.0.1"},
		{"zone dropped", "10.0.0.1:1", []string{"fe80::1%eth0"}, "fe80::1", "fe80::1, 10.0.0.1"},
		{"mapped hop counts as IPv4", "10.0.0.1:1", []string{"203.0.113.7, ::ffff:10.0.0.5"}, "203.0.113.7", "203.0.113.7, 10.0.0.5, 10.0.0.1"},
		{"mapped peer counts as IPv4", "[::ffff:10.0.0.1]:1", []string{"203.0.113.7"}, "203.0.113.7", "203.0.113.7, 10.0.0.1"},
		{"peer with a zone in a trusted prefix", "[fe80::1%eth0]:1", []string{"203.0.113.7"}, "203.0.113.7", "203.0.113.7, fe80::1"},
		{"prefix written over mapped addresses", "192.0.2.5:1", []string{"203.0.113.7"}, "203.0.113.7", "203.0.113.7, 192.0.2.5"},
		{"tabs and spaces", "10.0.0.1:1", []string{" \t203.0.113.7\t "}, "203.0.113.7", "203.0.113.7, 10.0.0.1"},

		{"garbage means the peer, never an entry further left", "10.0.0.1:1", []string{"203.0.113.7, unknown"}, "10.0.0.1", "10.0.0.1"},
		{"garbage behind a trusted hop", "10.0.0.1:1", []string{"203.0.113.7, ???, 10.0.0.5"}, "10.0.0.1", "10.0.0.1"},
		{"empty value", "10.0.0.1:1", []string{""}, "10.0.0.1", "10.0.0.1"},
		{"only commas", "10.0.0.1:1", []string{", ,,"}, "10.0.0.1", "10.0.0.1"},
		{"trailing comma", "10.0.0.1:1", []string{"203.0.113.7,"}, "10.0.0.1", "10.0.0.1"},
		{"port out of range", "10.0.0.1:1", []string{"1.2.3.4:99999"}, "10.0.0.1", "10.0.0.1"},
		{"octet out of range", "10.0.0.1:1", []string{"300.1.1.1"}, "10.0.0.1", "10.0.0.1"},
		{"octets with leading zeros", "10.0.0.1:1", []string{"010.0.0.1"}, "10.0.0.1", "10.0.0.1"},
		{"IPv4 in brackets", "10.0.0.1:1", []string{"[1.2.3.4]"}, "10.0.0.1", "10.0.0.1"},
		{"host name", "10.0.0.1:1", []string{"localhost"}, "10.0.0.1", "10.0.0.1"},
		{"quoted", "10.0.0.1:1", []string{`"1.2.3.4"`}, "10.0.0.1", "10.0.0.1"},
		{"the unspecified address is nobody", "10.0.0.1:1", []string{"0.0.0.0"}, "10.0.0.1", "10.0.0.1"},
		{"line break inside", "10.0.0.1:1", []string{"1.2.3.4\r\nX-Forwarded-User: root"}, "10.0.0.1", "10.0.0.1"},
		{"a very long element", "10.0.0.1:1", []string{"203.0.113.7, " + strings.Repeat("1", 1<<16)}, "10.0.0.1", "10.0.0.1"},
		{"a thousand garbage entries", "10.0.0.1:1", []string{strings.Repeat("', ,,%0a, [::1]:80, unknown, 1.2.3.4:99999, 300.1.1.1,", 1000)}, "10.0.0.1", "10.0.0.1"},
		{"64 hops are read", "10.0.0.1:1", []string{"203.0.113.7, " + many}, "203.0.113.7", "203.0.113.7, " + many + ", 10.0.0.1"},
		{"65 are not", "10.0.0.1:1", []string{"203.0.113.7, 10.1.1.1, " + many}, "10.0.0.1", "10.0.0.1"},
		{"65 trusted hops are unknown as well", "10.0.0.1:1", []string{"10.1.1.1, 10.1.1.1, " + many}, "10.0.0.1", "10.0.0.1"},
		{"one hop past an untrusted peer", "203.0.113.1:1", []string{"1.2.3.4"}, "203.0.113.1", "203.0.113.1"},
		{"unix socket", "@", []string{"1.2.3.4"}, "invalid IP", ""},
		{"no remote address", "", []string{"1.2.3.4"}, "invalid IP", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := request(test.peer, "gw.test")
			for _, line := range test.chain {
				r.Header.Add("X-Forwarded-For", line)
			}
			got, err := resolver(t, "https://gw.test", false, "10.0.0.0/8", "fe80::/10", "::ffff:192.0.2.0/120").Resolve(r)
			if err != nil {
				t.Fatal(err)
			}
			if got.Client.String() != test.client {
				t.Errorf("client of %q from %s: got %s, want %s", test.chain, test.peer, got.Client, test.client)
			}
			if got.ForwardedFor != test.sent {
				t.Errorf("X-Forwarded-For to send for %q from %s: got %q, want %q", test.chain, test.peer, got.ForwardedFor, test.sent)
			}
		})
	}
}

func TestURLThatWasTyped(t *testing.T) {
	t.Parallel()
	const near, far = "10.0.0.1:1", "203.0.113.9:1"
	tests := []struct {
		name             string
		external         string
		tls              bool
		peer, host       string
		header           []string
		scheme, wantHost string
		port             string
		plain            bool
		refusedFor       string
	}{
		{name: "plain listener under https takes requests as https", external: "https://gw.test", peer: far, host: "gw.test", scheme: "https", wantHost: "gw.test", port: "443"},
		{name: "the same behind a trusted proxy that says nothing", external: "https://gw.test", peer: near, host: "gw.test", scheme: "https", wantHost: "gw.test", port: "443"},
		{name: "an untrusted http changes nothing", external: "https://gw.test", peer: far, host: "gw.test", header: []string{"X-Forwarded-Proto", "http"}, scheme: "https", wantHost: "gw.test", port: "443"},
		{name: "an untrusted https changes nothing", external: "http://gw.test", peer: far, host: "gw.test", header: []string{"X-Forwarded-Proto", "https"}, scheme: "http", wantHost: "gw.test", port: "80"},
		{name: "a trusted http under https is plain http", external: "https://gw.test", peer: near, host: "gw.test", header: []string{"X-Forwarded-Proto", "http"}, scheme: "https", wantHost: "gw.test", port: "443", plain: true},
		{name: "its port is not carried over", external: "https://gw.test:8443", peer: near, host: "gw.test:8080", header: []string{"X-Forwarded-Proto", "http", "X-Forwarded-Port", "80"}, scheme: "https", wantHost: "gw.test:8443", port: "8443", plain: true},
		{name: "even when the listener speaks TLS", external: "https://gw.test", tls: true, peer: near, host: "gw.test", header: []string{"X-Forwarded-Proto", "HTTP"}, scheme: "https", wantHost: "gw.test", port: "443", plain: true},
		{name: "a WebSocket's scheme", external: "https://gw.test", peer: near, host: "gw.test", header: []string{"X-Forwarded-Proto", "wss"}, scheme: "https", wantHost: "gw.test", port: "443"},
		{name: "of several the one next to the person", external: "https://gw.test", peer: near, host: "gw.test", header: []string{"X-Forwarded-Proto", "https, http"}, scheme: "https", wantHost: "gw.test", port: "443"},
		{name: "a trusted https under http", external: "http://gw.test", peer: near, host: "gw.test:443", header: []string{"X-Forwarded-Proto", "https"}, scheme: "https", wantHost: "gw.test", port: "443"},
		{name: "TLS listener under http", external: "http://gw.test", tls: true, peer: far, host: "gw.test", scheme: "https", wantHost: "gw.test", port: "443"},
		{name: "HO-02 upper case", external: "https://gw.test", peer: far, host: "GW.Test", scheme: "https", wantHost: "gw.test", port: "443"},
		{name: "HO-02 default port", external: "https://gw.test", peer: far, host: "gw.test:443", scheme: "https", wantHost: "gw.test", port: "443"},
		{name: "HO-02 trailing dot", external: "https://gw.test", peer: far, host: "gw.test.", scheme: "https", wantHost: "gw.test", port: "443"},
		{name: "HO-02 all of it", external: "https://gw.test", peer: far, host: "GW.TEST.:443", scheme: "https", wantHost: "gw.test", port: "443"},
		{name: "another port stays", external: "https://gw.test", peer: far, host: "gw.test:8443", scheme: "https", wantHost: "gw.test:8443", port: "8443"},
		{name: "IPv6", external: "http://[::1]:3000", peer: far, host: "[0:0:0:0:0:0:0:1]:3000", scheme: "http", wantHost: "[::1]:3000", port: "3000"},
		{name: "trusted host", external: "https://gw.test", peer: near, host: "backend:8080", header: []string{"X-Forwarded-Host", "Wiki.GW.test:443"}, scheme: "https", wantHost: "wiki.gw.test", port: "443"},
		{name: "HO-04 untrusted host", external: "https://gw.test", peer: far, host: "gw.test", header: []string{"X-Forwarded-Host", "evil.test"}, scheme: "https", wantHost: "gw.test", port: "443"},
		{name: "the same host from two proxies", external: "https://gw.test", peer: near, host: "b", header: []string{"X-Forwarded-Host", "wiki.test, wiki.test", "X-Forwarded-Host", "wiki.test"}, scheme: "https", wantHost: "wiki.test", port: "443"},
		{name: "trusted port", external: "https://gw.test", peer: near, host: "gw.test", header: []string{"X-Forwarded-Port", "8443"}, scheme: "https", wantHost: "gw.test", port: "8443"},
		{name: "TP-04 untrusted port", external: "http://gw.test", peer: far, host: "gw.test", header: []string{"X-Forwarded-Port", "443"}, scheme: "http", wantHost: "gw.test", port: "80"},
		{name: "the host's own port wins", external: "https://gw.test", peer: near, host: "gw.test:9443", header: []string{"X-Forwarded-Port", "8443"}, scheme: "https", wantHost: "gw.test:9443", port: "9443"},
		{name: "a bad port is ignored", external: "https://gw.test", peer: near, host: "gw.test", header: []string{"X-Forwarded-Port", "443, 80"}, scheme: "https", wantHost: "gw.test", port: "443"},
		{name: "HO-05 prefix is never read", external: "https://gw.test", peer: near, host: "gw.test", header: []string{"X-Forwarded-Prefix", "//evil.test/"}, scheme: "https", wantHost: "gw.test", port: "443"},

		{name: "HO-06 empty host", external: "https://gw.test", peer: far, host: "", refusedFor: "Host"},
		{name: "HO-06 bad bytes", external: "https://gw.test", peer: far, host: "a b/../c", refusedFor: "Host"},
		{name: "HO-06 user information", external: "https://gw.test", peer: far, host: "gw@evil", refusedFor: "Host"},
		{name: "HO-06 open bracket", external: "https://gw.test", peer: far, host: "[::1", refusedFor: "Host"},
		{name: "HO-07 a Host field beside :authority", external: "https://gw.test", peer: far, host: "evil.test", header: []string{"Host", "gw.test"}, refusedFor: "Host"},
		{name: "two different forwarded hosts", external: "https://gw.test", peer: near, host: "gw.test", header: []string{"X-Forwarded-Host", "evil.test, gw.test"}, refusedFor: "X-Forwarded-Host"},
		{name: "two lines of them", external: "https://gw.test", peer: near, host: "gw.test", header: []string{"X-Forwarded-Host", "evil.test", "X-Forwarded-Host", "gw.test"}, refusedFor: "X-Forwarded-Host"},
		{name: "empty forwarded host", external: "https://gw.test", peer: near, host: "gw.test", header: []string{"X-Forwarded-Host", ""}, refusedFor: "X-Forwarded-Host"},
		{name: "bad forwarded host", external: "https://gw.test", peer: near, host: "gw.test", header: []string{"X-Forwarded-Host", "gw.test/path"}, refusedFor: "X-Forwarded-Host"},
		{name: "HO-07 an odd scheme", external: "https://gw.test", peer: near, host: "gw.test", header: []string{"X-Forwarded-Proto", "javascript"}, refusedFor: "X-Forwarded-Proto"},
		{name: "empty scheme", external: "https://gw.test", peer: near, host: "gw.test", header: []string{"X-Forwarded-Proto", ""}, refusedFor: "X-Forwarded-Proto"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := resolver(t, test.external, test.tls, "10.0.0.0/8").Resolve(request(test.peer, test.host, test.header...))
			if test.refusedFor != "" {
				var he *forwarded.HeaderError
				if !errors.As(err, &he) || he.Header != test.refusedFor {
					t.Fatalf("Resolve: got %+v, %v; want a HeaderError for %s", got, err, test.refusedFor)
				}
				if want := (forwarded.Request{Peer: got.Peer, Trusted: strings.HasPrefix(test.peer, "10.")}); got != want || !got.Peer.IsValid() {
					t.Errorf("Resolve: got %+v beside the error, want the peer and %+v", got, want)
				}
				return
			}
			if plain := errors.Is(err, forwarded.ErrPlainHTTP); plain != test.plain || (err != nil && !plain) {
				t.Fatalf("Resolve: got error %v, want plain http %v", err, test.plain)
			}
			if got.Scheme != test.scheme || got.Host != test.wantHost || got.Port != test.port {
				t.Errorf("URL: got %s %s port %s, want %s %s port %s", got.Scheme, got.Host, got.Port, test.scheme, test.wantHost, test.port)
			}
		})
	}
}

func TestCanonicalHost(t *testing.T) {
	t.Parallel()
	label := strings.Repeat("a", 63)
	good := []struct{ in, scheme, want string }{
		{"example.com", "https", "example.com"},
		{"EXAMPLE.com:443", "https", "example.com"},
		{"example.com:80", "http", "example.com"},
		{"example.com:80", "https", "example.com:80"},
		{"example.com:443", "http", "example.com:443"},
		{"Example.com.:8080", "http", "example.com:8080"},
		{"example.com:", "https", "example.com"},
		{"my_upstream", "http", "my_upstream"},
		{"xn--bcher-kva.example", "https", "xn--bcher-kva.example"},
		{"127.0.0.1:3000", "http", "127.0.0.1:3000"},
		{"[::1]", "http", "[::1]"},
		{"[2001:DB8:0:0::1]:443", "https", "[2001:db8::1]"},
		{"[2001:DB8::1]:8443", "https", "[2001:db8::1]:8443"},
		{label + ".test", "https", label + ".test"},
	}
	for _, test := range good {
		got, err := forwarded.CanonicalHost(test.in, test.scheme)
		if err != nil || got != test.want {
			t.Errorf("CanonicalHost(%q, %s): got %q, %v; want %q", test.in, test.scheme, got, err, test.want)
		}
		if again, err := forwarded.CanonicalHost(got, test.scheme); err != nil || again != got {
			t.Errorf("CanonicalHost(%q, %s) a second time: got %q, %v; want the same", got, test.scheme, again, err)
		}
	}
	bad := []string{
		"", ".", "..", ":", ":80", "a..b", ".a", "a..", "a b", "a\tb", "a/b", "a\\b", "a?b", "a#b", "a@b", "a%2eb", "a,b", "a;b",
		"a\x00", "a\x7f", "a\r\nb", "bücher.example", "example。com", "a:0", "a:00080", "a:65536", "a:+80", "a:8 0", "a:80:80", "::1",
		"[::1", "[::1]x", "[::1]:x", "[fe80::1%25eth0]", "[fe80::1%eth0]", "[1.2.3.4]", "[]", "[a]", "]", "a[", "*", "*.a", "a'b", `a"b`, "a<b",
		label + "a.test", strings.Repeat("a.", 128), strings.Repeat("a", 1<<16),
	}
	for _, in := range bad {
		if got, err := forwarded.CanonicalHost(in, "https"); err == nil {
			t.Errorf("CanonicalHost(%.80q): got %q, want an error", in, got)
		}
	}
}

func TestHostname(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{"gw.test": "gw.test", "gw.test:8443": "gw.test", "[::1]": "::1", "[::1]:80": "::1"} {
		r := forwarded.Request{Scheme: "https", Host: host}
		if got := r.Hostname(); got != want {
			t.Errorf("Hostname of %s: got %s, want %s", host, got, want)
		}
		if got, want := r.Origin(), "https://"+host; got != want {
			t.Errorf("Origin of %s: got %s, want %s", host, got, want)
		}
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	fresh := regexp.MustCompile(`^[0-9a-f]{32}$`)
	r := resolver(t, "https://gw.test", false, "10.0.0.0/8")
	tests := []struct {
		name, peer string
		ids        []string
		kept       bool
	}{
		{"trusted", "10.0.0.1:1", []string{"Req-1.2_3"}, true},
		{"trusted, longest", "10.0.0.1:1", []string{strings.Repeat("x", 64)}, true},
		{"not trusted", "203.0.113.9:1", []string{"Req-1"}, false},
		{"too long", "10.0.0.1:1", []string{strings.Repeat("x", 65)}, false},
		{"empty", "10.0.0.1:1", []string{""}, false},
		{"line break", "10.0.0.1:1", []string{"a\nb"}, false},
		{"not ASCII", "10.0.0.1:1", []string{"ñ"}, false},
		{"two", "10.0.0.1:1", []string{"a", "b"}, false},
		{"none", "10.0.0.1:1", nil, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			req := request(test.peer, "gw.test")
			for _, id := range test.ids {
				req.Header.Add("X-Request-Id", id)
			}
			got, err := r.Resolve(req)
			if err != nil {
				t.Fatal(err)
			}
			if test.kept {
				if got.RequestID != test.ids[0] {
					t.Errorf("request id: got %q, want %q", got.RequestID, test.ids[0])
				}
				return
			}
			if !fresh.MatchString(got.RequestID) {
				t.Errorf("request id for %q: got %q, want 32 hexadecimal digits", test.ids, got.RequestID)
			}
			if second, _ := r.Resolve(req); second.RequestID == got.RequestID {
				t.Errorf("two requests got the same id %s", got.RequestID)
			}
		})
	}
}

// HO-06 and HO-07 over the wire: what net/http refuses and what it leaves to Resolve.
func TestHostOverTheWire(t *testing.T) {
	t.Parallel()
	res := resolver(t, "https://gw.test", false)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, err := res.Resolve(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, got.Host)
	})
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	tests := []struct {
		name, head, want string
	}{
		{"good", "GET / HTTP/1.1\r\nHost: GW.test\r\n", "200 gw.test"},
		{"two Host lines", "GET / HTTP/1.1\r\nHost: gw.test\r\nHost: gw.test\r\n", "400"},
		{"no Host", "GET / HTTP/1.1\r\n", "400"},
		{"no Host in HTTP/1.0", "GET / HTTP/1.0\r\n", "400"},
		{"empty Host", "GET / HTTP/1.1\r\nHost:\r\n", "400"},
		{"bytes", "GET / HTTP/1.1\r\nHost: a b/../c\r\n", "400"},
		{"user", "GET / HTTP/1.1\r\nHost: gw@evil\r\n", "400"},
		{"bracket", "GET / HTTP/1.1\r\nHost: [::1\r\n", "400"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := io.WriteString(c, test.head+"Connection: close\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			got := fmt.Sprint(resp.StatusCode)
			if resp.StatusCode == 200 {
				got += " " + string(body)
			}
			if got != test.want {
				t.Errorf("%q: got %s, want %s", test.head, got, test.want)
			}
		})
	}
}

func TestHostOverHTTP2(t *testing.T) {
	t.Parallel()
	res := resolver(t, "https://gw.test", true)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, err := res.Resolve(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%s %s", r.Proto, got.Host)
	}))
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	req, err := http.NewRequestWithContext(t.Context(), "GET", server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "GW.TEST:443"
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if got, want := string(body), "HTTP/2.0 gw.test"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// HO-03: what the TLS handshake named is what the request is for, except through a trusted proxy.
func TestMisdirectedRequests(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, handshake, host, peer string
		want                        error
	}{
		{"the same", "gw.test", "gw.test", "203.0.113.7:1", nil},
		{"the same, in another spelling", "GW.test", "gw.TEST.:443", "203.0.113.7:1", nil},
		{"the same on a port", "gw.test", "gw.test:8443", "203.0.113.7:1", nil},
		{"no name in the handshake", "", "gw.test", "203.0.113.7:1", nil},
		{"another", "gw.test", "other.test", "203.0.113.7:1", forwarded.ErrMisdirected},
		{"a part of it", "test", "gw.test", "203.0.113.7:1", forwarded.ErrMisdirected},
		{"another, of a trusted proxy", "portero.internal", "gw.test", "10.0.0.1:1", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			req := request(test.peer, test.host)
			req.TLS = &tls.ConnectionState{ServerName: test.handshake}
			if _, err := resolver(t, "https://gw.test", true, "10.0.0.0/8").Resolve(req); !errors.Is(err, test.want) {
				t.Errorf("handshake for %s, request for %s from %s: got %v, want %v", test.handshake, test.host, test.peer, err, test.want)
			}
		})
	}
}

func TestContext(t *testing.T) {
	t.Parallel()
	if got := forwarded.FromContext(context.Background()); got != (forwarded.Request{}) {
		t.Errorf("FromContext of an empty context: got %+v, want the zero Request", got)
	}
	want := forwarded.Request{Host: "gw.test", Client: netip.MustParseAddr("203.0.113.7")}
	if got := forwarded.FromContext(forwarded.NewContext(context.Background(), want)); got != want {
		t.Errorf("FromContext: got %+v, want %+v", got, want)
	}
}

func TestErrorsHoldNothingFromTheNet(t *testing.T) {
	t.Parallel()
	_, err := resolver(t, "https://gw.test", false).Resolve(request("203.0.113.9:1", "evil\x1b[2J.test"))
	if err == nil || strings.Contains(err.Error(), "evil") {
		t.Errorf("got error %q, want one without the host", err)
	}
}

func FuzzChain(f *testing.F) {
	for _, s := range []string{
		"", ",", "1.2.3.4", "6.6.6.6, 10.0.0.5", "10.0.0.1\n10.0.0.2", "[::1]:80, unknown", "fe80::1%eth0", "::ffff:10.0.0.1", "1.2.3.4:99999",
		"10.0.0.1,[fd00::1]:8,10.3.3.3:1", "203.0.113.7\n10.0.0.1, ::ffff:10.2.2.2", strings.Repeat("10.0.0.1,", 70),
	} {
		f.Add(s)
	}
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	isTrusted := func(a netip.Addr) bool { return trusted[0].Contains(a) || trusted[1].Contains(a) }
	u := &url.URL{Scheme: "https", Host: "gw.test"}
	near := forwarded.New(forwarded.Config{ExternalURL: u, TrustedProxies: trusted})
	f.Fuzz(func(t *testing.T, chain string) {
		lines := strings.Split(chain, "\n")
		peer := netip.MustParseAddr("10.0.0.1")
		r := &http.Request{RemoteAddr: "10.0.0.1:1", Host: "gw.test", Header: http.Header{"X-Forwarded-For": lines}}
		got, err := near.Resolve(r)
		if err != nil {
			t.Fatalf("Resolve with chain %q: %v", chain, err)
		}
		if !got.Client.IsValid() || got.Client.Is4In6() || got.Client.Zone() != "" {
			t.Fatalf("client of %q: got %v, want a plain address", chain, got.Client)
		}
		// What is sent on has the client first and the peer last, and reads the same a second time.
		if want := got.Client.String(); got.ForwardedFor != want && !strings.HasPrefix(got.ForwardedFor, want+", ") {
			t.Fatalf("X-Forwarded-For for %q: got %q, want it to begin with %s", chain, got.ForwardedFor, want)
		}
		if got.Client != peer {
			// Each element to the right of the client is a trusted address, and there are at most MaxHops-1 of them.
			all := strings.Split(strings.Join(lines, ","), ",")
			passed := 0
			for i := len(all) - 1; ; i-- {
				if i < 0 || passed == forwarded.MaxHops {
					t.Fatalf("client of %q: got %v, which is not reached over trusted hops", chain, got.Client)
				}
				a, ok := readHop(all[i])
				if !ok {
					t.Fatalf("client of %q: got %v, but %q stands to its right", chain, got.Client, all[i])
				}
				passed++
				if !isTrusted(a) || i == 0 {
					if a != got.Client {
						t.Fatalf("client of %q: got %v, want %v", chain, got.Client, a)
					}
					break
				}
			}
		}
		// From anybody else the chain does not matter at all.
		r.RemoteAddr = "203.0.113.9:1"
		if got, _ := near.Resolve(r); got.Client.String() != "203.0.113.9" || got.ForwardedFor != "203.0.113.9" {
			t.Fatalf("client of %q from an untrusted peer: got %v, want the peer", chain, got.Client)
		}
	})
}

// readHop is a second, slow reader of one element, written differently on purpose.
func readHop(s string) (netip.Addr, bool) {
	s = strings.Trim(s, " \t")
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), !ap.Addr().IsUnspecified()
	}
	bare := s
	if strings.HasPrefix(s, "[") {
		bare = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	}
	a, err := netip.ParseAddr(bare)
	return a.Unmap().WithZone(""), err == nil && !a.IsUnspecified()
}

func FuzzCanonicalHost(f *testing.F) {
	for _, s := range []string{"gw.test", "GW.TEST.:443", "[::1]:80", "[2001:DB8::0001]", "a..b", "a@b", "a:80:80", "a:", "[::ffff:1.2.3.4]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got, err := forwarded.CanonicalHost(in, "https")
		if err != nil {
			return
		}
		again, err := forwarded.CanonicalHost(got, "https")
		if err != nil || again != got {
			t.Fatalf("CanonicalHost(%q) = %q, and of that %q, %v", in, got, again, err)
		}
		u, err := url.Parse("https://" + got + "/x")
		if err != nil || u.Host != got || u.Path != "/x" || u.User != nil {
			t.Fatalf("CanonicalHost(%q) = %q, which a URL reads as %+v, %v", in, got, u, err)
		}
	})
}

func BenchmarkResolve(b *testing.B) {
	benchmarks := []struct {
		name string
		req  *http.Request
	}{
		{"direct", request("203.0.113.9:4711", "gw.test", "User-Agent", "x")},
		{"proxy", request("10.0.0.1:4711", "gw.test", "X-Forwarded-For", "6.6.6.6, 203.0.113.7, 10.0.0.9", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "gw.test", "X-Request-Id", "a1b2")},
		{"garbage", request("10.0.0.1:4711", "gw.test", "X-Forwarded-For", strings.Repeat("10.0.0.1,", 5000))},
	}
	for _, bm := range benchmarks {
		b.Run(bm.name, func(b *testing.B) {
			r := resolver(b, "https://gw.test", false, "10.0.0.0/8")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Resolve(bm.req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func Example() {
	u, _ := url.Parse("https://gw.example.com")
	r := forwarded.New(forwarded.Config{
		ExternalURL:    u,
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	})
	req := httptest.NewRequest("GET", "/", nil)
	req.RemoteAddr = "10.0.0.9:40000" // the load balancer
	req.Host = "GW.example.com:443"
	req.Header.Set("X-Forwarded-For", "6.6.6.6, 203.0.113.7, 10.0.0.5") // the first entry is what the client made up
	from, err := r.Resolve(req)
	fmt.Println(from.Client, from.Origin(), err)
	fmt.Println(from.ForwardedFor)
	// Output:
	// 203.0.113.7 https://gw.example.com <nil>
	// 203.0.113.7, 10.0.0.5, 10.0.0.9
}
