package catalogue_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

var transport = family{ID: "TL", Title: "TLS", Attacks: []attack{
	{ID: "TL-01", Name: "old versions and ciphers", Want: "SSL 3.0 to TLS 1.1, every suite without forward secrecy or with RC4, 3DES, CBC, no encryption or no certificate, and compression are refused; nothing is answered over them", Why: "POODLE, BEAST, Sweet32, Lucky 13, ROBOT, CRIME", Test: oldTLS},
	{ID: "TL-02", Name: "downgrade to http", Want: "308 to https for GET and HEAD and 400 for all else where a trusted proxy says http; 400 in the clear on the port for TLS; nothing reaches an application", Why: "a person who types no scheme", Test: downgrades,
		Missing: "Portero opens no second port for http, so a redirect from there is the business of the server in front."},
	{ID: "TL-03", Name: "Strict-Transport-Security", Want: "never from Portero, over http least of all; an application's own leaves once, over https direct and behind a trusted proxy", Why: "CVE-2026-53624 fiber: never sent behind a proxy, because of a wrong test for the scheme", Test: strictTransport,
		Missing: "Portero sends no Strict-Transport-Security of its own and has no setting for it, so an application's own is not replaced."},
	{ID: "TL-04", Name: "certificates of applications", Want: "502, and no byte of a request leaves, unless the certificate is good for the name in the route; the handshake names the application", Why: "CVE-2025-66491 Traefik: verification was switched off where somebody had asked for it", Test: upstreamCertificates},
	{ID: "TL-05", Name: "certificate replaced under load", Want: "new handshakes show the new one, a broken one changes nothing, and no request and no connection is dropped", Why: "a renewal at night must not need anybody", Test: certificateReload,
		Missing: "Portero asks no client for a certificate, so there is no authority of clients whose sessions of TLS would have to end."},
	{ID: "TL-06", Name: "floods of new keys and renegotiations, half handshakes", Want: "keys change between requests; a row of changes, and any renegotiation, closes the connection; 300 half handshakes end after the time of a head, and others are served", Why: "CVE-2026-32283, CVE-2026-56862 Go: floods of KeyUpdate; CVE-2009-3555", Test: handshakeFloods,
		Missing: "Ten thousand half handshakes are scaled to 300: what bounds them is time. A handshake message of 16 MB is tried over HTTP/1.1 alone: over HTTP/2 the alert that crypto/tls answers with races with its own writes."},
	{ID: "TL-07", Name: "nonsense in ALPN and in the server's name", Want: "an alert and one escaped line at level debug; 421 where the name is another one; no name is as good as ours", Why: "CVE-2025-58189 Go: what ALPN held stood in the error as it was", Test: oddHellos},
}}

// tlCertificate writes a certificate of no authority for the program's hosts over the files of a program.
func tlCertificate(t *testing.T, f *front, useRSA bool) (serial string) {
	t.Helper()
	var key any
	var public any
	if useRSA {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		key, public = k, k.Public()
	} else {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		key, public = k, k.Public()
	}
	number, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: number, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{gatewaytest.Host, gatewaytest.SecondHost}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	keyText := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	f.Secret(strings.Split(string(keyText), "\n")[1], "key of the certificate")
	tlReplace(t, f.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	tlReplace(t, f.Key, keyText)
	return number.String()
}

// tlReplace puts a new file in place of another at once, as programs that renew certificates do.
func tlReplace(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// tlGet asks for a public page in a TLS of one's own and returns the status line, or why there is none.
func (f *front) tlGet(t *testing.T, c *tls.Config) (status string, state tls.ConnectionState, err error) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", f.Addr, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	c.InsecureSkipVerify = true
	inside := tls.Client(conn, c)
	if err := inside.Handshake(); err != nil {
		return "", state, err
	}
	io.WriteString(inside, "GET /public/x HTTP/1.1\r\nHost: "+gatewaytest.Host+"\r\nConnection: close\r\n\r\n")
	status, err = bufio.NewReader(inside).ReadString('\n')
	return strings.TrimSpace(status), inside.ConnectionState(), err
}

func oldTLS(t *testing.T, d *doors) {
	withRSA := unsigned(t, gatewaytest.Options{TLS: true})
	serial := tlCertificate(t, withRSA, true)
	gatewaytest.Await(t, "the certificate with an RSA key is shown", func() bool { return certificateAt(t, withRSA.Addr) == serial })
	const (
		protocolVersion = 70 // the alerts of RFC 8446, section 6
		illegal         = 47
		handshake       = 40
	)
	modern := []uint16{0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8}
	for name, f := range map[string]*front{"an ECDSA key": d.TLS(), "an RSA key": withRSA} {
		f.Upstream.Forget()
		t.Run("what is good, "+name, func(t *testing.T) {
			chosen := map[string][]uint16{"an ECDSA key": {0xc02b, 0xc02c, 0xcca9}, "an RSA key": {0xc02f, 0xc030, 0xcca8}}[name]
			for _, suite := range chosen {
				if g := f.greet(t, clientHello{Suites: []uint16{suite}, ServerName: "gw.test"}.bytes()); g.suite != suite || g.version != 0x0303 || g.compression != 0 {
					t.Errorf("TLS 1.2 with %s: got %+v, want that", tls.CipherSuiteName(suite), g)
				}
			}
			for version, c := range map[uint16]*tls.Config{tls.VersionTLS12: {MaxVersion: tls.VersionTLS12}, tls.VersionTLS13: {}} {
				c.ServerName = gatewaytest.Host
				if status, state, err := f.tlGet(t, c); status != "HTTP/1.1 200 OK" || state.Version != version {
					t.Errorf("got %q in %s (%v), want 200 in %s", status, tls.VersionName(state.Version), err, tls.VersionName(version))
				}
			}
		})
		f.Upstream.Forget()
		t.Run("versions, "+name, func(t *testing.T) {
			all := append([]uint16{0x1301, 0xc009, 0xc013, 0xc00a, 0xc014, 0x002f, 0x0035, 0x000a}, modern...)
			for _, tt := range []struct {
				name string
				h    clientHello
			}{
				{"SSL 3.0", clientHello{Record: 0x0300, Version: 0x0300}},
				{"TLS 1.0", clientHello{Version: 0x0301}},
				{"TLS 1.1", clientHello{Record: 0x0302, Version: 0x0302}},
				{"TLS 1.1, said in the extension", clientHello{Versions: []uint16{0x0302, 0x0301, 0x0300}}},
				{"a version from the future alone", clientHello{Versions: []uint16{0x7f1c, 0x0305}}},
				{"version 0", clientHello{Version: 0x0001}},
				{"SSL 2.0 in a record", clientHello{Version: 0x0002}},
			} {
				tt.h.Suites, tt.h.ServerName = all, gatewaytest.Host
				if g := f.greet(t, tt.h.bytes()); g.alert != protocolVersion {
					t.Errorf("%s: got %+v, want the alert protocol_version", tt.name, g)
				}
			}
			// 1.2 and an old one: never the old one.
			if g := f.greet(t, clientHello{Versions: []uint16{0x0301, 0x0302, 0x0303}, Suites: all, ServerName: gatewaytest.Host}.bytes()); g.version != 0x0303 || g.alert != 0 {
				t.Errorf("TLS 1.0 to 1.2 on offer: got %+v, want 1.2", g)
			}
			for version := uint16(tls.VersionTLS10); version < tls.VersionTLS12; version++ {
				if status, _, err := f.tlGet(t, &tls.Config{MinVersion: version, MaxVersion: version, ServerName: gatewaytest.Host}); err == nil {
					t.Errorf("%s: got %q, want no handshake", tls.VersionName(version), status)
				}
			}
		})
		t.Run("suites, "+name, func(t *testing.T) {
			weak := map[string][]uint16{
				"no encryption":          {0x0000, 0x0001, 0x0002, 0x003b, 0xc006, 0xc010},
				"export":                 {0x0003, 0x0006, 0x0008, 0x0014, 0x0062, 0x0064},
				"RC4":                    {0x0004, 0x0005, 0xc007, 0xc011},
				"DES and 3DES":           {0x0009, 0x000a, 0x0015, 0x0016, 0xc008, 0xc012},
				"no certificate":         {0x0018, 0x0034, 0x006c, 0x00a6, 0xc018, 0xc019},
				"no forward secrecy":     {0x002f, 0x0035, 0x003c, 0x003d, 0x009c, 0x009d, 0xc09c, 0xc0a0},
				"CBC with SHA-1":         {0x0033, 0x0039, 0xc009, 0xc00a, 0xc013, 0xc014},
				"CBC":                    {0x0067, 0x006b, 0xc023, 0xc024, 0xc027, 0xc028},
				"a finite field":         {0x009e, 0x009f, 0xccaa},
				"shared secret":          {0x008c, 0x00a8, 0xc035},
				"nothing but signalling": {0x00ff, 0x5600},
				"TLS 1.3's":              {0x1301, 0x1302, 0x1303},
			}
			var together []uint16
			for what, suites := range weak {
				together = append(together, suites...)
				for _, suite := range suites {
					if g := f.greet(t, clientHello{Suites: []uint16{suite}, ServerName: gatewaytest.Host}.bytes()); g.alert != handshake {
						t.Errorf("%s, %#04x: got %+v, want the alert handshake_failure", what, suite, g)
					}
				}
			}
			if g := f.greet(t, clientHello{Suites: together[:len(together):len(together)], ServerName: gatewaytest.Host}.bytes()); g.suite != 0 || g.alert == 0 {
				t.Errorf("all of them: got %+v, want an alert", g)
			}
			if g := f.greet(t, clientHello{Versions: []uint16{0x0304}, Suites: append(modern, 0xc009, 0x002f), ServerName: gatewaytest.Host}.bytes()); g.alert != handshake {
				t.Errorf("TLS 1.3 with suites of 1.2: got %+v, want the alert handshake_failure", g)
			}
			for _, suite := range append(tls.InsecureCipherSuites(), tls.CipherSuites()...) {
				if strings.Contains(suite.Name, "_CBC_") || strings.Contains(suite.Name, "_RC4_") || strings.HasPrefix(suite.Name, "TLS_RSA_") {
					if status, _, err := f.tlGet(t, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite.ID}, ServerName: gatewaytest.Host}); err == nil {
						t.Errorf("%s: got %q, want no handshake", suite.Name, status)
					}
				}
			}
		})
		t.Run("compression, "+name, func(t *testing.T) {
			for _, versions := range [][]uint16{nil, {0x0304, 0x0303}} {
				both := clientHello{Versions: versions, Suites: append([]uint16{0x1301}, modern...), ServerName: gatewaytest.Host, Compressions: []byte{1, 0}}
				if g := f.greet(t, both.bytes()); g.compression != 0 || versions == nil && g.suite == 0 || versions != nil && g.alert != illegal {
					t.Errorf("DEFLATE and none, versions %x: got %+v, want none, and illegal_parameter in TLS 1.3", versions, g)
				}
				for _, only := range [][]byte{{1}, {64}, {}} {
					both.Compressions = only
					if g := f.greet(t, both.bytes()); g.suite != 0 || g.alert == 0 {
						t.Errorf("compressions %v, versions %x: got %+v, want an alert", only, versions, g)
					}
				}
			}
		})
		f.nothingReached(t)
	}
}

func downgrades(t *testing.T, d *doors) {
	trust := "trusted_proxies: [127.0.0.0/8]\n"
	over := &doors{t: t, tls: newFront(t, gatewaytest.Options{TLS: true, Extra: trust}), plain: newFront(t, gatewaytest.Options{Extra: trust})}
	over.each(t, func(t *testing.T, w way) {
		calls, rows := w.tokenCalls(), w.Sessions(t)
		for _, target := range []string{"/", "/app?a=1", "/public/x", "/admin/x", "/drop/x", "/api/x", "/health"} {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"} {
				q := request{Method: method, Target: target, Lines: with(navigation, "X-Forwarded-Proto", "http")}
				if method == "POST" || method == "PUT" {
					q.Body = "password=" + gatewaytest.Canary + "in-the-clear"
				}
				status, location := http.StatusBadRequest, ""
				if method == "GET" || method == "HEAD" {
					status, location = http.StatusPermanentRedirect, w.URL+target
				}
				a := w.ask(t, q)
				if a.Status != status || a.Header.Get("Location") != location || len(a.Header["Set-Cookie"]) != 0 {
					t.Errorf("%s %s: got %s to %q with %d cookies, want %d to %q and none", method, target, a, a.Header.Get("Location"), len(a.Header["Set-Cookie"]), status, location)
				}
				if got := a.Header["Strict-Transport-Security"]; got != nil {
					t.Errorf("%s %s: Strict-Transport-Security over http: got %q, want none", method, target, got)
				}
				w.noSession(t, a)
			}
		}
		w.nothingReached(t)
		if got := w.tokenCalls() - calls; got != 0 {
			t.Errorf("token calls: got %d, want 0", got)
		}
		w.rows(t, rows)
		// The same request over https is served.
		if a := w.ask(t, request{Target: "/public/x", Lines: fieldsOf("X-Forwarded-Proto", "https")}); a.Status != http.StatusOK {
			t.Errorf("over https: got %s, want 200", a)
		}
		w.Upstream.Forget()
	})
	t.Run("in the clear where TLS is spoken", func(t *testing.T) {
		f := d.TLS()
		f.Upstream.Forget()
		for _, text := range []string{
			"GET /public/x HTTP/1.1\r\nHost: gw.test\r\n\r\n",
			"GET /app HTTP/1.1\r\nHost: gw.test\r\nCookie: " + f.alice + "\r\nX-Forwarded-Proto: https\r\n\r\n",
			"POST /public/x HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 2\r\n\r\nhi",
			"HEAD /public/x HTTP/1.0\r\n\r\n",
			"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
			"OPTIONS * HTTP/1.1\r\nHost: gw.test\r\nUpgrade: TLS/1.2\r\nConnection: upgrade\r\n\r\n",
			"CONNECT gw.test:443 HTTP/1.1\r\nHost: gw.test:443\r\n\r\n",
		} {
			c, err := net.Dial("tcp", f.Addr)
			if err != nil {
				t.Fatal(err)
			}
			c.SetDeadline(time.Now().Add(20 * time.Second))
			io.WriteString(c, text)
			all, err := io.ReadAll(c)
			c.Close()
			// net/http knows the beginnings of the usual methods, and answers those in the clear; others get an alert.
			if said := string(all); err != nil && !strings.Contains(err.Error(), "reset") || said != "" && !strings.HasPrefix(said, "HTTP/1.0 400 ") && !strings.HasPrefix(said, "\x15\x03") || strings.Contains(said, "application") || strings.Contains(strings.ToLower(said), "cookie") {
				t.Errorf("%.20q: got %q (%v), want 400 or an alert", text, said, err)
			}
			f.nothingReached(t)
		}
	})
	t.Run("HTTP 2 in the clear", func(t *testing.T) {
		f := d.Plain()
		f.Upstream.Forget()
		for _, lines := range []string{"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", "Upgrade: TLS/1.2\r\nConnection: Upgrade\r\n"} {
			if a := f.Raw(t, "GET /app HTTP/1.1\r\nHost: "+f.host+"\r\n"+lines+"\r\n"); a.Status == http.StatusSwitchingProtocols || a.Status == http.StatusOK {
				t.Errorf("%q: got %s", lines, a)
			}
			f.nothingReached(t)
		}
	})
}

func strictTransport(t *testing.T, d *doors) {
	const theirs = "max-age=63072000; includeSubDomains; preload"
	d.each(t, func(t *testing.T, w way) {
		for _, q := range []request{{Target: "/sign-in"}, {Target: "/sign-out"}, {Target: "/callback?state=x&code=y"}, {Target: "/_portero/session"}, {Target: "/_portero/nothing"}, {Target: "/public/%00"}, {Target: "/app", Lines: navigation}, {Target: "/x", Host: "evil.test"}, {Target: "/admin/x", Lines: fieldsOf("X-Forwarded-Proto", "http")}} {
			a := w.ask(t, q)
			if got := a.Header["Strict-Transport-Security"]; got != nil {
				t.Errorf("%s: got %q (%s), want none", q.Target, got, a)
			}
		}
		w.Upstream.Say(func(string) string {
			return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nStrict-Transport-Security: " + theirs + "\r\n\r\nok"
		}, false)
		defer w.Upstream.Say(nil, false)
		for _, lines := range [][][2]string{nil, fieldsOf("X-Forwarded-Proto", "http"), fieldsOf("X-Forwarded-Proto", "https")} { // nobody is trusted here
			a := w.ask(t, request{Target: "/public/x", Lines: lines})
			if a.Status != http.StatusOK {
				t.Errorf("%q: got %s, want 200", lines, a)
			}
			exactlyOne(t, a.Header, "Strict-Transport-Security", theirs)
		}
		w.Upstream.Forget()
	})
	t.Run("behind a trusted proxy", func(t *testing.T) {
		f := unsigned(t, gatewaytest.Options{Extra: "trusted_proxies: [127.0.0.0/8]\n"})
		f.Upstream.Say(func(string) string {
			return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nStrict-Transport-Security: %s\r\n\r\nok", theirs)
		}, false)
		a := way{front: f}.ask(t, request{Target: "/public/x", Lines: fieldsOf("X-Forwarded-Proto", "https")})
		exactlyOne(t, a.Header, "Strict-Transport-Security", theirs)
		a = way{front: f}.ask(t, request{Target: "/public/x", Lines: fieldsOf("X-Forwarded-Proto", "http")})
		if got := a.Header["Strict-Transport-Security"]; got != nil || a.Status != http.StatusPermanentRedirect {
			t.Errorf("over http: got %s with %q, want 308 and none", a, got)
		}
	})
}
