package catalogue_test

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// tlRecords is a TLS connection behind whose handshake records of any kind are sealed by hand.
type tlRecords struct {
	t       *testing.T
	conn    net.Conn
	inside  *tls.Conn // for what comes back
	r       *bufio.Reader
	version uint16
	secret  []byte // of TLS 1.3, from which the next one is made
	aead    cipher.AEAD
	iv      []byte
	number  uint64 // of the next record
}

// tlHeardHello keeps what a server says first, for its random number.
type tlHeardHello struct {
	net.Conn
	first bytes.Buffer
}

func (h *tlHeardHello) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	if h.first.Len() < 1<<10 {
		h.first.Write(p[:n])
	}
	return n, err
}

// tlRecords shakes hands with AES-128-GCM.
func (f *front) tlRecords(t *testing.T, version uint16, protocol string) *tlRecords {
	t.Helper()
	conn, err := net.Dial("tcp", f.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	heard := &tlHeardHello{Conn: conn}
	var keys bytes.Buffer
	inside := tls.Client(heard, &tls.Config{
		InsecureSkipVerify: true, ServerName: gatewaytest.Host, MinVersion: version, MaxVersion: version, NextProtos: []string{protocol},
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, KeyLogWriter: &keys,
	})
	if err := inside.Handshake(); err != nil {
		t.Fatal(err)
	}
	c := &tlRecords{t: t, conn: conn, inside: inside, r: bufio.NewReader(inside), version: version}
	secrets := map[string][]byte{}
	for l := range strings.Lines(keys.String()) {
		words := strings.Fields(l)
		if secrets[words[0]], err = hex.DecodeString(words[2]); err != nil {
			t.Fatal(err)
		}
		if words[0] == "CLIENT_RANDOM" {
			if secrets["random"], err = hex.DecodeString(words[1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if version == tls.VersionTLS13 {
		if inside.ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
			gatewaytest.Lacks(t, "TLS 1.3 takes another suite on this machine")
		}
		c.secret = secrets["CLIENT_TRAFFIC_SECRET_0"]
		c.turn()
		return c
	}
	// RFC 5246, section 6.3: the key block is made of the master secret and both random numbers.
	seed := slices.Concat([]byte("key expansion"), heard.first.Bytes()[5+4+2:][:32], secrets["random"])
	mac := func(text []byte) []byte {
		h := hmac.New(sha256.New, secrets["CLIENT_RANDOM"])
		h.Write(text)
		return h.Sum(nil)
	}
	var block []byte
	for a := mac(seed); len(block) < 40; a = mac(a) {
		block = append(block, mac(slices.Concat(a, seed))...)
	}
	c.key(block[:16], block[32:36])
	c.number = 1 // behind Finished
	return c
}

func (c *tlRecords) key(key, iv []byte) {
	c.t.Helper()
	b, err := aes.NewCipher(key)
	if err != nil {
		c.t.Fatal(err)
	}
	if c.aead, err = cipher.NewGCM(b); err != nil {
		c.t.Fatal(err)
	}
	c.iv, c.number = iv, 0
}

// turn takes the keys of the present secret (RFC 8446, section 7.3), and has the next secret ready.
func (c *tlRecords) turn() {
	c.t.Helper()
	expand := func(label string, n int) []byte {
		info := slices.Concat([]byte{0, byte(n)}, vector(1, []byte("tls13 "+label)), []byte{0})
		out, err := hkdf.Expand(sha256.New, c.secret, string(info), n)
		if err != nil {
			c.t.Fatal(err)
		}
		return out
	}
	c.key(expand("key", 16), expand("iv", 12))
	c.secret = expand("traffic upd", 32)
}

// The kinds of records.
const (
	tlHandshake   = 22
	tlApplication = 23
)

// seal is a record of that kind.
func (c *tlRecords) seal(kind byte, text []byte) []byte {
	number := binary.BigEndian.AppendUint64(nil, c.number)
	c.number++
	if c.version == tls.VersionTLS12 {
		head := []byte{kind, 3, 3}
		aad := slices.Concat(number, head, vector(2, text)[:2])
		return slices.Concat(head, vector(2, slices.Concat(number, c.aead.Seal(nil, slices.Concat(c.iv, number), text, aad))))
	}
	nonce := slices.Clone(c.iv)
	for n, b := range number {
		nonce[4+n] ^= b
	}
	text = append(slices.Clone(text), kind)
	head := slices.Concat([]byte{tlApplication, 3, 3}, binary.BigEndian.AppendUint16(nil, uint16(len(text)+c.aead.Overhead())))
	return slices.Concat(head, c.aead.Seal(nil, nonce, text, head))
}

// updates are so many changes of keys, each in a record of its own.
func (c *tlRecords) updates(n int, wanted byte) (out []byte) {
	for range n {
		out = append(out, c.seal(tlHandshake, []byte{24, 0, 0, 1, wanted})...)
		c.turn()
	}
	return out
}

const tlPublic = "GET /public/x HTTP/1.1\r\nHost: gw.test\r\n\r\n"

// send writes records; that the gateway has closed already is no failure.
func (c *tlRecords) send(records ...[]byte) {
	for _, r := range records {
		if _, err := c.conn.Write(r); err != nil {
			return
		}
	}
}

// status is that of the next answer; 0: there is none, and the connection has ended.
func (c *tlRecords) status() int {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		c.t.Error("the connection is still open, want it closed")
	}
	if err != nil {
		return 0
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp.StatusCode
}

func handshakeFloods(t *testing.T, _ *doors) {
	t.Parallel() // it shares nothing, and mostly waits
	f := newFront(t, gatewaytest.Options{TLS: true})
	w := way{front: f, cookie: f.alice}
	w.median(t, 3, request{})
	before := f.holds(t)
	halves := &stalled{t: t, name: "half a handshake"}
	hello := string(clientHello{Versions: []uint16{0x0304}, Suites: []uint16{0x1301}, ServerName: "gw.test"}.bytes())
	for n := range 300 {
		c, err := net.Dial("tcp", f.Addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		io.WriteString(c, []string{"", hello[:len(hello)/2], hello}[n%3])
		halves.add(c, time.Now())
	}
	halves.watch()
	f.Upstream.Forget()

	t.Run("new keys", func(t *testing.T) {
		get := func(c *tlRecords) []byte { return c.seal(tlApplication, []byte(tlPublic)) }
		for wanted := range byte(2) {
			c := f.tlRecords(t, tls.VersionTLS13, "http/1.1")
			for range 3 { // with a request behind them they are nothing to complain of
				c.send(c.updates(10, wanted), get(c))
				if got := c.status(); got != http.StatusOK {
					t.Fatalf("ten changes of keys, wanted back %d, and a request: got %d, want 200", wanted, got)
				}
			}
		}
		c := f.tlRecords(t, tls.VersionTLS13, "http/1.1")
		for _, b := range []byte(tlPublic) {
			c.send(c.updates(12, 0), c.seal(tlApplication, []byte{b}))
		}
		if got := c.status(); got != http.StatusOK {
			t.Errorf("changes of keys between the bytes of a request: got %d, want 200", got)
		}
		f.Upstream.Forget()
		for _, protocol := range []string{"http/1.1", "h2"} {
			for name, flood := range map[string]func(c *tlRecords) []byte{
				"100 changes of keys":                     func(c *tlRecords) []byte { return c.updates(100, 0) },
				"100 changes of keys, wanted back":        func(c *tlRecords) []byte { return c.updates(100, 1) },
				"3000 changes in one record":              func(c *tlRecords) []byte { return c.seal(tlHandshake, bytes.Repeat([]byte{24, 0, 0, 1, 1}, 3000)) },
				"a change that is neither wanted nor not": func(c *tlRecords) []byte { return c.updates(1, 2) },
				"a change without a word":                 func(c *tlRecords) []byte { r := c.seal(tlHandshake, []byte{24, 0, 0, 0}); c.turn(); return r },
				"empty records":                           func(c *tlRecords) []byte { return emptyRecords(c, 200) },
				"another hello": func(c *tlRecords) []byte {
					return c.seal(tlHandshake, []byte(hello)[5:])
				},
				"a message of 16 MB": func(c *tlRecords) []byte {
					return append(c.seal(tlHandshake, []byte{24, 0xff, 0xff, 0xff}), c.seal(tlHandshake, make([]byte, 1<<14))...)
				},
			} {
				if name == "a message of 16 MB" && protocol == "h2" {
					continue // tls.Conn.readHandshake sends the alert without the lock of its writers, which the race detector sees
				}
				c := f.tlRecords(t, tls.VersionTLS13, protocol)
				c.send(flood(c), get(c))
				if got := c.status(); got != 0 {
					t.Errorf("%s, %s: got %d, want the connection closed", name, protocol, got)
				}
				f.nothingReached(t)
			}
		}
		grew := f.peak(t, func() { // 100 people, 2000 changes each
			var all sync.WaitGroup
			for range 100 {
				c := f.tlRecords(t, tls.VersionTLS13, "http/1.1")
				all.Go(func() {
					for range 20 {
						c.send(c.updates(100, 1))
					}
					io.Copy(io.Discard, c.conn)
				})
			}
			all.Wait()
		})
		if grew > 128<<10 {
			t.Errorf("memory grew by %d KiB, want 128 MiB at most", grew)
		}
		f.nothingReached(t)
	})
	t.Run("renegotiation", func(t *testing.T) {
		again := clientHello{Suites: []uint16{0xc02b}, ServerName: "gw.test"}.bytes()[5:]
		for name, message := range map[string][]byte{"a hello": again, "a request for one": {0, 0, 0, 0}, "half a hello, and nothing": again[:20]} {
			c := f.tlRecords(t, tls.VersionTLS12, "http/1.1")
			c.send(c.seal(tlApplication, []byte(tlPublic)))
			if got := c.status(); got != http.StatusOK {
				t.Fatalf("a request before: got %d, want 200", got)
			}
			f.Upstream.Forget()
			if name == "half a hello, and nothing" {
				c.send(c.seal(tlHandshake, message))
				c.conn.(*net.TCPConn).CloseWrite()
			} else {
				c.send(c.seal(tlHandshake, message), c.seal(tlApplication, []byte(tlPublic)))
			}
			if got := c.status(); got != 0 {
				t.Errorf("%s: got %d, want the connection closed", name, got)
			}
			f.nothingReached(t)
		}
		// CVE-2009-3555: what one person has begun another one finishes.
		c := f.tlRecords(t, tls.VersionTLS12, "http/1.1")
		c.send(c.seal(tlApplication, []byte("GET /public/evil HTTP/1.1\r\nHost: gw.test\r\nX-Ignore: ")), c.seal(tlHandshake, again), c.seal(tlApplication, []byte(tlPublic)))
		if got := c.status(); got == http.StatusOK {
			t.Errorf("in the middle of a request: got %d, want the connection closed", got)
		}
		// In the clear, behind a handshake.
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c := f.tlRecords(t, version, "http/1.1")
			c.send([]byte(hello), []byte(tlPublic))
			if got := c.status(); got == http.StatusOK {
				t.Errorf("a hello in the clear, %s: got %d, want the connection closed", tls.VersionName(version), got)
			}
		}
		f.nothingReached(t)
		for range 100 { // each costs the gateway one handshake, and no second one
			c := f.tlRecords(t, tls.VersionTLS12, "http/1.1")
			for range 20 {
				c.send(c.seal(tlHandshake, again))
			}
			if got := c.status(); got != 0 {
				t.Fatalf("twenty in a row: got %d, want the connection closed", got)
			}
		}
		f.nothingReached(t)
	})
	w.median(t, 10, request{}) // others are served meanwhile
	halves.endBetween(headTime/2, headTime+loaded)
	f.Upstream.Forget()
	f.emptied(t, before)
}

// emptyRecords are application data of no bytes.
func emptyRecords(c *tlRecords, n int) (out []byte) {
	for range n {
		out = append(out, c.seal(tlApplication, nil)...)
	}
	return out
}

func oddHellos(t *testing.T, _ *doors) {
	debug := unsigned(t, gatewaytest.Options{TLS: true, Log: "level: debug, format: json"})
	usual := unsigned(t, gatewaytest.Options{TLS: true, Log: "level: info, format: json"})
	const (
		noProtocol = 120 // the alert no_application_protocol
		some       = 255 // any alert, or none but the end of the connection
		none       = 0
	)
	name := func(kind byte, text string) []byte { return append([]byte{kind}, vector(2, []byte(text))...) }
	names := func(all ...[]byte) []byte { return extension(0, vector(2, slices.Concat(all...))) }
	type odd struct {
		name  string
		h     clientHello
		alert byte
	}
	cases := []odd{
		{"good", clientHello{ServerName: "gw.test", Protocols: []string{"http/1.1"}}, none},
		{"a good one among nonsense", clientHello{ServerName: "gw.test", Protocols: []string{"\x1b[2J", "http/0.9", "h2"}}, none},
		{"no protocols", clientHello{ServerName: "gw.test"}, none},
		{"no name", clientHello{Protocols: []string{"h2"}}, none},
		{"neither", clientHello{}, none},
		{"an empty list of protocols", clientHello{Protocols: []string{}}, some},
		{"an empty protocol", clientHello{Protocols: []string{"", "h2"}}, some},
		{"protocols longer than said", clientHello{More: extension(16, []byte{0, 9, 200, 'h', '2'})}, some},
		{"protocols with something behind", clientHello{More: extension(16, []byte{0, 3, 2, 'h', '2', 0, 0})}, some},
		{"protocols twice", clientHello{Protocols: []string{"h2"}, More: extension(16, []byte{0, 3, 2, 'h', '2'})}, some},
		{"an empty name", clientHello{More: names(name(0, ""))}, some},
		{"an empty list of names", clientHello{More: names()}, some},
		{"two names", clientHello{More: names(name(0, "gw.test"), name(0, "other.test"))}, some},
		{"a name with a dot behind", clientHello{More: names(name(0, "gw.test."))}, some},
		{"a name longer than said", clientHello{More: extension(0, []byte{0, 9, 0, 0xff, 0xff, 'g', 'w'})}, some},
		{"a name with something behind", clientHello{More: append(names(name(0, "gw.test"))[:0:0], extension(0, append(vector(2, name(0, "gw.test")), 1, 2, 3))...)}, some},
		{"names twice", clientHello{ServerName: "gw.test", More: names(name(0, "other.test"))}, some},
		{"an extension longer than the hello", clientHello{More: []byte{0, 0, 0xff, 0xff, 1}}, some},
	}
	for _, p := range []string{"nonsense", "HTTP/1.1", "h2 ", " h2", "h2c", "H2", "http/1.0", "spdy/3.1", "acme-tls/1", "h3", "\x00", "h2\x00", strings.Repeat("a", 255), strings.Repeat("\x00", 255)} {
		cases = append(cases, odd{"the protocol " + p, clientHello{ServerName: "gw.test", Protocols: []string{p}}, noProtocol})
	}
	for what, evil := range hostiles {
		cases = append(cases, odd{"as a protocol: " + what, clientHello{ServerName: "gw.test", Protocols: []string{evil[:min(len(evil), 255)]}}, noProtocol})
	}
	for what, n := range map[string]int{"many protocols": 200, "more protocols than fit": 230} {
		cases = append(cases, odd{what, clientHello{ServerName: "gw.test", Protocols: slices.Repeat([]string{strings.Repeat("\n", 255)}, n)}, noProtocol})
	}
	for _, tt := range cases {
		for _, versions := range [][]uint16{nil, {0x0304}} {
			h := tt.h
			h.Versions, h.Suites = versions, []uint16{0x1301, 0xc02b}
			usual.greet(t, h.bytes())
			switch g := debug.greet(t, h.bytes()); {
			case tt.alert == none && (g.suite == 0 || g.alert != 0), tt.alert == noProtocol && (g.alert != noProtocol || g.suite != 0), tt.alert == some && g.suite != 0:
				t.Errorf("%s, versions %x: got %+v", tt.name, versions, g)
			}
		}
	}
	// A name that is none of ours: no handshake, or 421 to whoever asks for one of ours.
	others := []string{strings.Repeat("a", 60000), strings.Repeat("a.", 120) + "gw.test", "evil.test", "gw.test:443", "gw.test.evil.test", "xgw.test", "*.test", "gw.test/", "gw_test", "gw.test\x00", "gw.test\n", "other.test"}
	for _, evil := range hostiles {
		others = append(others, evil[:min(len(evil), 60000)])
	}
	for _, f := range []*front{debug, usual} {
		for _, other := range others {
			status, state, err := f.tlGet(t, &tls.Config{ServerName: other})
			if err == nil && status != "HTTP/1.1 421 Misdirected Request" {
				t.Errorf("the name %.60q in %s: got %q, want 421 or no handshake", other, tls.VersionName(state.Version), status)
			}
		}
		for _, ours := range []string{"", "gw.test", "GW.test"} {
			f.Upstream.Forget()
			if status, _, err := f.tlGet(t, &tls.Config{ServerName: ours}); status != "HTTP/1.1 200 OK" {
				t.Errorf("the name %q: got %q (%v), want 200", ours, status, err)
			}
			f.reached(t)
		}
		if a := f.Raw(t, "GET /public/mark HTTP/1.1\r\nHost: gw.test\r\n\r\n"); a.Status != http.StatusOK {
			t.Errorf("afterwards: got %s, want 200", a)
		}
		gatewaytest.Await(t, "the last request is in the log", func() bool { return strings.Contains(f.Log.String(), "/public/mark") })
		wellFormed(t, f.Log.String(), true)
	}
	const refused = "TLS handshake error"
	if got, most := strings.Count(debug.Log.String(), refused), 2*len(cases)+len(others); got < len(hostiles) || got > most {
		t.Errorf("lines about handshakes: got %d, want one for each at most, which are %d", got, most)
	}
	if got := strings.Count(usual.Log.String(), refused); got != 0 {
		t.Errorf("lines about handshakes at level info: got %d, want none", got)
	}
}
