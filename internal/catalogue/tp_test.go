package catalogue_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

var trustedProxies = family{ID: "TP", Title: "Trusted proxies", Attacks: []attack{
	{ID: "TP-01", Name: "an address of one's own", Want: "from a peer that is not trusted, log, rules and application see the address of the connection alone", Why: "libraries that believe X-Real-IP; ReverseProxy removes three of these names, not the others", Test: spoofedAddress,
		Missing: "that a limit of rates counts the connection is not tried: the gateway does not limit rates yet."},
	{ID: "TP-02", Name: "the chain of a trusted proxy", Want: "the client is the hop next to the last trusted one; what stands further left, or cannot be read, counts for nothing", Test: forwardedChain},
	{ID: "TP-03", Name: "a scheme of one's own", Want: "not believed; of a trusted proxy http is sent to https, for our own hosts alone", Why: "CVE-2026-33495", Test: spoofedScheme},
	{ID: "TP-04", Name: "other headers of proxies", Want: "rebuilt or removed, in every spelling", Why: "CVE-2026-54764", Test: otherForwarded},
	{ID: "TP-05", Name: "garbage in the chain", Want: "an answer in short time, and the client is the peer", Why: "CVE-2024-47070", Test: garbageChain},
	{ID: "TP-06", Name: "forms of addresses", Want: "IPv4 inside IPv6, zones and ports are taken off before anything is compared", Why: "GHSA-7jmw, GO-2024-2887", Test: addressForms,
		Missing: "a Unix socket is not tried: the gateway listens on none."},
	{ID: "TP-07", Name: "PROXY protocol", Want: "400, or the end of the connection, from trusted peers too: it is not spoken here", Test: proxyProtocol},
}}

// office is a route for one network alone.
const office = `
  - {name: office, path: /office, allow: [{email_domains: ["*"], networks: [203.0.113.0/24]}], upstreams: [{url: UPSTREAM}]}`

// Peers of proxied: one is trusted.
const (
	trustedPeer = "127.0.0.2"
	otherPeer   = "127.0.0.3"
)

// proxied is a gateway that trusts one address of loopback and a private network.
func proxied(t *testing.T, tls bool) *front {
	t.Helper()
	return newFront(t, gatewaytest.Options{TLS: tls, Routes: office + strict, Extra: "trusted_proxies: [" + trustedPeer + "/32, 10.0.0.0/8]\n"})
}

// from is a connection from another address.
func (w way) from(t *testing.T, peer string) *talk {
	k := w.talk(t)
	k.dialing.From = peer
	return k
}

// logged is the access line of the request that has an id.
func (f *front) logged(t *testing.T, id string) (line map[string]any) {
	t.Helper()
	gatewaytest.Await(t, "the request is logged", func() bool {
		for l := range strings.Lines(f.Log.String()) {
			if strings.Contains(l, `"msg":"request"`) && strings.Contains(l, `"request_id":"`+id+`"`) && strings.HasSuffix(l, "\n") {
				return json.Unmarshal([]byte(l), &line) == nil
			}
		}
		return false
	})
	return line
}

// cameFrom fails unless a head, and the access line of its request, say that it came from a client along a chain.
func (f *front) cameFrom(t *testing.T, what, head, client, chain string) {
	t.Helper()
	got := fields(head)
	for name, want := range map[string]string{"x-forwarded-for": chain, "x-real-ip": client} {
		if !slices.Equal(got[name], []string{want}) {
			t.Errorf("%s: %s at the upstream: got %q, want %q", what, name, got[name], want)
		}
	}
	absent(t, head, "Forwarded", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP", "X-Cluster-Client-IP", "Fastly-Client-IP", "X-Original-Forwarded-For", "Forwarded-For", "X-Originating-IP", "X-Envoy-External-Address")
	ids := got["x-request-id"]
	if len(ids) != 1 {
		t.Fatalf("%s: X-Request-Id at the upstream: got %q, want one", what, ids)
	}
	if got := f.logged(t, ids[0])["client"]; got != client {
		t.Errorf("%s: the log says that it came from %v, want %s", what, got, client)
	}
}

// spoofed are headers that name another client, in what spelling ever.
func spoofed(address string) (out [][2]string) {
	for _, name := range []string{
		"X-Forwarded-For", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "CF-Connecting-IPv6", "X-Client-IP", "X-Cluster-Client-IP", "Fastly-Client-IP", "X-Original-Forwarded-For", "Forwarded-For", "X-Forwarded", "X-Originating-IP",
		"X-Remote-IP", "X-Remote-Addr", "Client-IP", "X-Azure-ClientIP", "X-Envoy-External-Address", "WL-Proxy-Client-IP", "X-ProxyUser-Ip", "X-AppEngine-User-IP",
	} {
		odd := strings.ReplaceAll(name, "-", "_")
		out = append(out, [2]string{name, address}, [2]string{odd, address}, [2]string{strings.ToUpper(odd), address}, [2]string{strings.ReplaceAll(name, "-", "."), address})
	}
	return append(out, [2]string{"Forwarded", "for=" + address + ";proto=https;by=127.0.0.1"}, [2]string{"Forwarded", `for="[::1]", for=` + address})
}

func spoofedAddress(t *testing.T, d *doors) {
	const address = "203.0.113.66"
	plain, inTLS := proxied(t, false), proxied(t, true)
	try := func(t *testing.T, w way, k *talk, peer string) {
		w.Upstream.Forget() // so that a try is alone with what it causes
		target := map[bool]string{true: "/public/x", false: "/app"}[w.cookie == ""]
		for _, lines := range append([][][2]string{spoofed(address)}, each(spoofed(address))...) {
			if a := k.ask(request{Target: target, Lines: lines}); a.Status != http.StatusOK {
				t.Fatalf("got %s, want 200", a)
			}
			head, _ := w.reached(t)
			if strings.Contains(head, address) {
				t.Errorf("%q: the upstream got the client's word: %q", lines[0], head)
			}
			if len(lines) > 1 {
				w.cameFrom(t, "from "+peer, head, peer, peer)
			} else {
				exactly(t, head, "X-Forwarded-For", peer)
				exactly(t, head, "X-Real-IP", peer)
			}
		}
		k.close()
		if strings.Contains(w.Log.String(), address) {
			t.Error("the log has the client's word")
		}
	}
	d.each(t, func(t *testing.T, w way) { try(t, w, w.talk(t), "127.0.0.1") })
	for _, w := range []way{{front: plain}, {front: plain, cookie: plain.alice}, {front: inTLS}, {front: inTLS, h2: true, cookie: inTLS.alice}} {
		t.Run("beside a trusted proxy, "+w.String(), func(t *testing.T) {
			try(t, w, w.from(t, otherPeer), otherPeer)
			if w.cookie == "" {
				return
			}
			// A rule for a network asks where the connection comes from.
			a := w.from(t, otherPeer).ask(request{Target: "/office", Lines: slices.Concat(navigation, spoofed(address))})
			if a.Status != http.StatusForbidden {
				t.Errorf("the office: got %s, want 403", a)
			}
			w.nothingReached(t)
			if a := w.from(t, trustedPeer).ask(request{Target: "/office", Lines: with(navigation, "X-Forwarded-For", address)}); a.Status != http.StatusOK {
				t.Errorf("the office, as a trusted proxy says: got %s, want 200", a)
			}
			w.Upstream.Forget()
		})
	}
}

// each is a list of headers one by one.
func each(lines [][2]string) (out [][][2]string) {
	for _, l := range lines {
		out = append(out, [][2]string{l})
	}
	return out
}

func forwardedChain(t *testing.T, d *doors) {
	plain, inTLS := proxied(t, false), proxied(t, true)
	for _, w := range []way{{front: plain}, {front: plain, cookie: plain.alice}, {front: inTLS}, {front: inTLS, h2: true}, {front: inTLS, h2: true, cookie: inTLS.alice}} {
		t.Run(w.String(), func(t *testing.T) {
			k := w.from(t, trustedPeer)
			for _, tt := range []struct {
				name          string
				lines         []string // of X-Forwarded-For
				client, chain string
			}{
				{"none", nil, trustedPeer, trustedPeer},
				{"one hop", []string{"198.51.100.7"}, "198.51.100.7", "198.51.100.7, " + trustedPeer},
				{"trusted hops", []string{"198.51.100.7, 10.0.0.5, 10.0.0.9"}, "198.51.100.7", "198.51.100.7, 10.0.0.5, 10.0.0.9, " + trustedPeer},
				{"a lie further left", []string{"203.0.113.1, 198.51.100.7, 10.0.0.5"}, "198.51.100.7", "198.51.100.7, 10.0.0.5, " + trustedPeer},
				{"lies further left", []string{"127.0.0.1, ::1, 10.0.0.1, 203.0.113.1", "198.51.100.7"}, "198.51.100.7", "198.51.100.7, " + trustedPeer},
				{"several lines", []string{"198.51.100.7", "10.0.0.5", "10.0.0.9"}, "198.51.100.7", "198.51.100.7, 10.0.0.5, 10.0.0.9, " + trustedPeer},
				{"trusted hops alone", []string{"10.0.0.5, 10.0.0.9"}, "10.0.0.5", "10.0.0.5, 10.0.0.9, " + trustedPeer},
				{"a name behind trusted hops", []string{"evil, 10.0.0.5, 10.0.0.9"}, trustedPeer, trustedPeer},
				{"a name further left", []string{"evil, 198.51.100.7, 10.0.0.9"}, "198.51.100.7", "198.51.100.7, 10.0.0.9, " + trustedPeer},
				{"a name at the end", []string{"198.51.100.7, evil"}, trustedPeer, trustedPeer},
				{"nothing at the end", []string{"198.51.100.7, "}, trustedPeer, trustedPeer},
				{"unknown", []string{"198.51.100.7, unknown"}, trustedPeer, trustedPeer},
				{"our own loopback", []string{"198.51.100.7, 127.0.0.1"}, "127.0.0.1", "127.0.0.1, " + trustedPeer},
			} {
				var lines [][2]string
				for _, l := range tt.lines {
					lines = with(lines, "X-Forwarded-For", l)
				}
				target := map[bool]string{true: "/public/x", false: "/app"}[w.cookie == ""]
				if a := k.ask(request{Target: target, Lines: append(lines, spoofed("203.0.113.66")[4:]...)}); a.Status != http.StatusOK {
					t.Fatalf("%s: got %s, want 200", tt.name, a)
				}
				head, _ := w.reached(t)
				w.cameFrom(t, tt.name, head, tt.client, tt.chain)
				if w.cookie == "" {
					continue
				}
				want := http.StatusForbidden
				if strings.HasPrefix(tt.client, "203.0.113.") {
					want = http.StatusOK
				}
				if a := k.ask(request{Target: "/office", Lines: slices.Concat(navigation, lines)}); a.Status != want {
					t.Errorf("%s: the office: got %s, want %d", tt.name, a, want)
				}
				w.Upstream.Forget()
			}
			k.close()
			if strings.Contains(w.Log.String(), "203.0.113.66") {
				t.Error("the log has an address that no proxy vouches for")
			}
		})
	}
}

func spoofedScheme(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) { // https, whatever a stranger says
		for _, scheme := range []string{"http", "https", "HTTP", "gopher", "", "http, https", "https, http", "ws"} {
			lines := with(navigation, "X-Forwarded-Proto", scheme, "X-Forwarded-Protocol", scheme, "X-Forwarded-Scheme", scheme, "X-Url-Scheme", scheme)
			if a := w.ask(t, request{Target: "/public/x", Lines: lines}); a.Status != http.StatusOK {
				t.Errorf("%q: got %s, want 200", scheme, a)
			}
			head, _ := w.reached(t)
			exactly(t, head, "X-Forwarded-Proto", "https")
			exactly(t, head, "X-Forwarded-Port", "443")
			a := w.ask(t, request{Target: "/sign-in?fresh=1", Lines: lines})
			if got, want := w.toIssuer(t, a).Get("redirect_uri"), w.URL+"/callback"; got != want {
				t.Errorf("%q: redirect_uri %q, want %q", scheme, got, want)
			}
			for _, c := range a.Header.Values("Set-Cookie") {
				if !strings.Contains(c, "; Secure") || !strings.HasPrefix(c, "__Host-") {
					t.Errorf("%q: got a cookie without Secure: %.30s…", scheme, c)
				}
			}
		}
	})
	t.Run("plain http", func(t *testing.T) { // nobody makes https of it
		f := unsigned(t, gatewaytest.Options{Env: []string{"PORTERO_EXTERNAL_URL=http://" + gatewaytest.Host}, Extra: "insecure: [plain-http]\n"})
		w := way{front: f}
		lines := with(navigation, "X-Forwarded-Proto", "https", "X-Forwarded-Ssl", "on", "Front-End-Https", "on", "X-Forwarded-Port", "443")
		if a := w.ask(t, request{Target: "/public/x", Lines: lines}); a.Status != http.StatusOK {
			t.Errorf("got %s, want 200", a)
		}
		head, _ := w.reached(t)
		exactly(t, head, "X-Forwarded-Proto", "http")
		exactly(t, head, "X-Forwarded-Port", "80")
		a := w.ask(t, request{Target: "/sign-in", Lines: lines})
		if got, want := w.toIssuer(t, a).Get("redirect_uri"), "http://"+gatewaytest.Host+"/callback"; got != want {
			t.Errorf("redirect_uri %q, want %q", got, want)
		}
		cookies := a.Header.Values("Set-Cookie")
		if len(cookies) == 0 || strings.HasPrefix(cookies[0], "__Host-") || strings.Contains(cookies[0], "; Secure") {
			t.Errorf("got %d cookies, the first like https's, want one of http", len(cookies))
		}
	})
	t.Run("from a trusted proxy", func(t *testing.T) {
		for _, w := range []way{{front: proxied(t, false)}, {front: proxied(t, true)}, {front: proxied(t, true), h2: true}} {
			k := w.from(t, trustedPeer)
			for _, tt := range []struct {
				q        request
				scheme   string
				status   int
				location string
			}{
				{request{Target: "/public/x?y"}, "http", 308, "https://gw.test/public/x?y"},
				{request{Method: "HEAD", Target: "/app"}, "http", 308, "https://gw.test/app"},
				{request{Target: "/app", Host: "gw.test:80"}, "http", 308, "https://gw.test/app"},
				{request{Target: "/app"}, "http, https", 308, "https://gw.test/app"},
				{request{Target: "/app"}, "WS", 308, "https://gw.test/app"},
				{request{Target: "//evil.test/x"}, "http", 308, "https://gw.test/"},
				{request{Target: "/sign-out"}, "http", 308, "https://gw.test/"},
				{request{Method: "POST", Target: "/sign-out", Lines: ownForm, Body: "x=1"}, "http", 400, ""},
				{request{Target: "/app", Lines: fieldsOf("X-Forwarded-Host", "evil.test")}, "http", 421, ""},
				{request{Target: "/app", Lines: fieldsOf("X-Forwarded-Host", "other.test")}, "http", 308, "https://other.test/app"},
				{request{Target: "/public/x"}, "https", 200, ""},
				{request{Target: "/public/x"}, "https, http", 200, ""},
				{request{Target: "/public/x"}, "gopher", 400, ""},
				{request{Target: "/public/x"}, "", 400, ""},
				{request{Target: "/public/x"}, "https://evil.test", 400, ""},
			} {
				tt.q.Lines = with(tt.q.Lines, "X-Forwarded-Proto", tt.scheme)
				a := k.ask(tt.q)
				if a.Status != tt.status || a.Header.Get("Location") != tt.location || len(a.Header.Values("Set-Cookie")) != 0 {
					t.Errorf("%s %s with %q: got %s to %q, want %d to %q and no cookie", tt.q.Method, tt.q.Target, tt.q.Lines, a, a.Header.Get("Location"), tt.status, tt.location)
				}
				if tt.status != http.StatusOK {
					w.nothingReached(t)
					continue
				}
				head, _ := w.reached(t)
				exactly(t, head, "X-Forwarded-Proto", "https")
			}
			k.close()
		}
	})
}

func otherForwarded(t *testing.T, d *doors) {
	names := []string{"X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Ssl", "X-Forwarded-Scheme", "X-Forwarded-Protocol", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-By", "X-Forwarded-Client-Cert", "X-Forwarded-Anything",
		"X-Scheme", "X-Url-Scheme", "Front-End-Https", "X-Original-Proto", "X-Host", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Tls-Client-Cert"}
	rebuilt := map[string]string{"x-forwarded-port": "443", "x-forwarded-proto": "https", "x-forwarded-host": gatewaytest.Host}
	var lines [][2]string
	for _, name := range names {
		odd := strings.ReplaceAll(name, "-", "_")
		lines = with(lines, name, "spoofed", odd, "spoofed", strings.ToUpper(odd), "spoofed", strings.ReplaceAll(name, "-", "."), "spoofed", strings.Replace(name, "-", "_", 1), "spoofed", strings.ReplaceAll(name, "-", "~"), "spoofed")
	}
	try := func(t *testing.T, w way, k *talk, lines [][2]string) {
		target := map[bool]string{true: "/public/x", false: "/app"}[w.cookie == ""]
		if a := k.ask(request{Target: target, Lines: lines}); a.Status != http.StatusOK {
			t.Fatalf("got %s, want 200", a)
		}
		head, _ := w.reached(t)
		if strings.Contains(head, "spoofed") {
			t.Errorf("the upstream got the client's word: %q", head)
		}
		for _, name := range names {
			if want, ok := rebuilt[fold(name)]; ok {
				exactly(t, head, name, want)
			} else {
				absent(t, head, name)
			}
		}
		k.close()
	}
	d.each(t, func(t *testing.T, w way) { try(t, w, w.talk(t), lines) })
	t.Run("from a trusted proxy", func(t *testing.T) {
		f := proxied(t, true)
		var theirs [][2]string // but for those that it is believed
		for _, l := range lines {
			if l[0] != "X-Forwarded-Proto" && l[0] != "X-Forwarded-Host" {
				theirs = append(theirs, l)
			}
		}
		for _, w := range []way{{front: f}, {front: f, h2: true, cookie: f.alice}} {
			try(t, w, w.from(t, trustedPeer), theirs)
		}
	})
}

func garbageChain(t *testing.T, d *doors) {
	const entries, enough = 1000, 10 * time.Second
	var chains []string
	for _, entry := range []string{"'", "", "%0a", "[::1]:80", "unknown", "1.2.3.4:99999", "300.1.1.1", "_hidden", "for=1.2.3.4", "::ffff:1.2.3.4:80", "1.2.3", "0x7f.1", "010.0.0.1", "[", "]", "fe80::1%", "\t", "1.2.3.4/8", "0.0.0.0", "::"} {
		chains = append(chains, entry, strings.Repeat(entry+", ", entries)+entry, "198.51.100.7, "+entry)
	}
	chains = append(chains, strings.Repeat(",", 50<<10), strings.Repeat("1.2.3.4,", 6<<10), strings.Repeat("[", 50<<10), strings.Repeat("10.0.0.5, ", entries)+"10.0.0.5", strings.Repeat("1.", 25<<10), "', ,,%0a, [::1]:80, unknown, 1.2.3.4:99999, 300.1.1.1")
	try := func(t *testing.T, w way, k *talk, client func(chain string) string) {
		began := time.Now()
		for _, chain := range chains {
			for _, lines := range [][][2]string{fieldsOf("X-Forwarded-For", chain), fieldsOf("X-Forwarded-For", "198.51.100.7", "X-Forwarded-For", chain)} {
				if a := k.ask(request{Target: "/public/x", Lines: lines}); a.Status != http.StatusOK {
					t.Fatalf("%.60q: got %s, want 200", chain, a)
				}
				head, _ := w.reached(t)
				exactly(t, head, "X-Real-IP", client(chain))
			}
		}
		if took := time.Since(began); took > enough {
			t.Errorf("%d requests took %s, want less than %s", 2*len(chains), took, enough)
		}
		k.close()
	}
	d.stranger(t, func(t *testing.T, w way) { try(t, w, w.talk(t), func(string) string { return "127.0.0.1" }) })
	t.Run("from a trusted proxy", func(t *testing.T) {
		f := proxied(t, true)
		for _, w := range []way{{front: f}, {front: f, h2: true}} {
			try(t, w, w.from(t, trustedPeer), func(chain string) string {
				if strings.HasSuffix(chain, "[::1]:80") { // an address with its port, and not trusted
					return "::1"
				}
				return trustedPeer
			})
		}
	})
}

func addressForms(t *testing.T, d *doors) {
	linkLocal := linkLocalAddress()
	f := newFront(t, gatewaytest.Options{
		Env:    []string{"PORTERO_LISTEN=[::]:0"},
		Extra:  `trusted_proxies: [10.0.0.0/8, "::ffff:127.0.0.2/128", "::1/128", "2001:db8::/32", "fe80::/10"]` + "\n",
		Routes: office + strict,
	})
	_, port, err := net.SplitHostPort(f.Addr)
	if err != nil {
		t.Fatal(err)
	}
	peers := []struct {
		name, from, to string
		is             string // as it is written
		trusted        bool
	}{
		{"IPv4 on a socket of IPv6", trustedPeer, "127.0.0.1", trustedPeer, true},
		{"IPv4 that is not trusted", otherPeer, "127.0.0.1", otherPeer, false},
		{"IPv6", "::1", "::1", "::1", true},
	}
	if linkLocal != "" {
		address, _, _ := strings.Cut(linkLocal, "%")
		peers = append(peers, struct {
			name, from, to, is string
			trusted            bool
		}{"IPv6 with a zone", "", linkLocal, address, true})
	} else {
		t.Log("no address with a zone on this machine")
	}
	for _, peer := range peers {
		t.Run(peer.name, func(t *testing.T) {
			w := way{front: f, cookie: f.alice}
			k := w.talk(t)
			k.dialing = gatewaytest.Dialing{From: peer.from, To: net.JoinHostPort(peer.to, port)}
			for _, tt := range []struct{ chain, client, forwarded string }{
				{"203.0.113.7", "203.0.113.7", "203.0.113.7"},
				{"::ffff:203.0.113.7", "203.0.113.7", "203.0.113.7"},
				{"[::ffff:203.0.113.7]:4711", "203.0.113.7", "203.0.113.7"},
				{"::FFFF:cb00:7107", "203.0.113.7", "203.0.113.7"},
				{"203.0.113.7:4711", "203.0.113.7", "203.0.113.7"},
				{"203.0.113.7, ::ffff:10.0.0.5", "203.0.113.7", "203.0.113.7, 10.0.0.5"},
				{"203.0.113.7, [::ffff:10.0.0.5]:80", "203.0.113.7", "203.0.113.7, 10.0.0.5"},
				{"203.0.113.7, fe80::1%eth0", "203.0.113.7", "203.0.113.7, fe80::1"},
				{"203.0.113.7, 2001:DB8:0:0::9", "203.0.113.7", "203.0.113.7, 2001:db8::9"},
				{"203.0.113.7, [2001:db8::9]:443", "203.0.113.7", "203.0.113.7, 2001:db8::9"},
				{"203.0.113.7, ::ffff:198.51.100.7", "198.51.100.7", "198.51.100.7"},
				{"203.0.113.7, fec0::1%eth0", "fec0::1", "fec0::1"},
			} {
				client, chain := tt.client, tt.forwarded+", "+peer.is
				if !peer.trusted {
					client, chain = peer.is, peer.is
				}
				if a := k.ask(request{Lines: fieldsOf("X-Forwarded-For", tt.chain)}); a.Status != http.StatusOK {
					t.Fatalf("%s: got %s, want 200", tt.chain, a)
				}
				head, _ := w.reached(t)
				w.cameFrom(t, tt.chain, head, client, chain)
				want := http.StatusForbidden
				if client == "203.0.113.7" {
					want = http.StatusOK
				}
				if a := k.ask(request{Target: "/office", Lines: with(navigation, "X-Forwarded-For", tt.chain)}); a.Status != want {
					t.Errorf("%s: the office: got %s, want %d", tt.chain, a, want)
				}
				w.Upstream.Forget()
			}
			k.close()
		})
	}
}

// linkLocalAddress is an address of this machine that needs a zone, with it. "": there is none.
func linkLocalAddress() string {
	interfaces, err := net.Interfaces()
	if err != nil {
		return ""
	}
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if err != nil || i.Flags&net.FlagUp == 0 {
			continue
		}
		for _, a := range addresses {
			if n, ok := a.(*net.IPNet); ok && n.IP.To4() == nil && n.IP.IsLinkLocalUnicast() {
				return n.IP.String() + "%" + i.Name
			}
		}
	}
	return ""
}

func proxyProtocol(t *testing.T, d *doors) {
	binary := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x01\x02\x03\x04\x7f\x00\x00\x01\x00\x01\x01\xbb"
	prologues := []string{
		"PROXY TCP4 1.2.3.4 127.0.0.1 4711 443\r\n", "PROXY TCP6 ::1 ::1 4711 443\r\n", "PROXY UNKNOWN\r\n", "proxy tcp4 1.2.3.4 127.0.0.1 4711 443\r\n", "PROXY TCP4 1.2.3.4 127.0.0.1 4711 443\n",
		"PROXY TCP4 " + strings.Repeat("1", 200) + "\r\n", binary, "PROXY TCP4 127.0.0.1 127.0.0.1 1 1 HTTP/1.1\r\n", "\r\nPROXY TCP4 1.2.3.4 127.0.0.1 4711 443\r\n",
	}
	plain, inTLS := proxied(t, false), proxied(t, true)
	for _, w := range []way{{front: plain}, {front: plain, cookie: plain.alice}, {front: inTLS}, {front: inTLS, cookie: inTLS.alice}} {
		for _, peer := range []string{trustedPeer, otherPeer} {
			t.Run(fmt.Sprintf("%s, TLS %t, from %s", w, w.TLS, peer), func(t *testing.T) {
				for _, target := range []string{"/public/x", "/app"} {
					q := request{Target: target}
					if w.cookie != "" {
						q.Lines = fieldsOf("Cookie", w.cookie)
					}
					for _, prologue := range prologues {
						for _, outside := range []bool{true, false} { // before the TLS handshake, or inside it
							dialing, text := gatewaytest.Dialing{From: peer}, q.text(w.host)
							if outside && w.TLS {
								dialing.First = prologue
							} else {
								text = prologue + text
							}
							c := w.DialAs(t, dialing)
							c.Send(text)
							a := c.Answer("GET")
							if outside && w.TLS && a.Status == 0 {
								continue // there was no handshake
							}
							if a.Status != http.StatusBadRequest || !a.Close {
								t.Errorf("%.30q: got %s, want 400 and the end of the connection", prologue, a)
							}
							if next := c.Answer("GET"); next.Status != 0 {
								t.Errorf("%.30q: got %s to what stood behind it, want nothing", prologue, next)
							}
							c.Close()
						}
					}
				}
				w.nothingReached(t)
			})
		}
	}
}
