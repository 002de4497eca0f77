package catalogue_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
	"portero/internal/redistest"
)

var exhaustion = family{ID: "DS", Title: "Exhaustion", Attacks: []attack{
	{ID: "DS-01", Name: "slow heads", Want: "1,400 connections that send a byte now and then are closed after ten seconds, unanswered; meanwhile others are served as before, and nothing is left", Why: "Slowloris", Test: slowHeads},
	{ID: "DS-02", Name: "slow handshakes and halves of everything", Want: "closed after ten seconds, and halves of frames when a ping is not answered; others are served as before, and nothing is left", Why: "CVE-2026-26999 Traefik; CVE-2026-56853 net/http", Test: halves},
	{ID: "DS-03", Name: "slow bodies", Want: "with timeouts.idle, a body in which nothing moves ends as 400 and lets go of the application; one that moves slowly is an upload; strangers have their 401 without any; forms of the gateway's own have ten seconds", Why: "CVE-2024-28869 Traefik", Test: slowBodies},
	{ID: "DS-04", Name: "slow readers", Want: "with timeouts.idle, an answer that nobody reads breaks off and lets go of the application; one that is read slowly arrives; memory stays flat", Test: slowReaders},
	{ID: "DS-05", Name: "heads without end", Want: "431 from 64 KiB on, or over HTTP/2 the end of the connection; nothing reaches the application", Test: largeHeads},
	{ID: "DS-06", Name: "idle connections without end", Want: "2,000 of them keep nobody out and turn readiness off nowhere; where files run out the program waits, and serves again when they are back", Why: "that they end after 120 s is serve.TestSlowClients, in no time", Test: idleConnections},
	{ID: "DS-07", Name: "large uploads", Want: "2 GiB in four at the same time pass through with memory flat, and so do downloads; when a client breaks off, the application sees that", Test: largeUploads},
	{ID: "DS-08", Name: "extensions of chunks", Want: "chunks with more around them than in them end in an error, from clients and from applications", Why: "CVE-2023-39326", Test: chunkExtensions},
	{ID: "DS-09", Name: "requests of strangers without end", Want: "20,000 of them make no row in Redis, and memory stays flat", Why: "a million would take minutes and say no more; TestAnonymousRequestsLeaveNothing looks at the heap after 100,000", Test: strangersWithoutEnd},
	{ID: "DS-10", Name: "large forms", Want: "413 as soon as 64 KiB are there, before anything is read from them, and 405 where no form belongs", Why: "CVE-2025-61726", Test: largeForms},
	{ID: "DS-11", Name: "pathological paths", Want: "60 KiB of anything are answered in linear time, as the same few bytes would be", Why: "CVE-2026-56860", Test: pathologicalPaths},
	{ID: "DS-12", Name: "empty and odd bodies", Want: "they arrive as they were sent", Why: "CVE-2025-3891 mod_auth_openidc", Test: oddBodies},
	{ID: "DS-13", Name: "sign-ins without end", Want: "2,000 from one address, from IPv6 and with 2,000 spoofed addresses are redirects without rows, calls at the issuer and memory that stays", Test: signInsWithoutEnd,
		Missing: "There is no rate limit yet, so nobody is told 429."},
	{ID: "DS-14", Name: "compression bombs", Want: "they pass byte for byte; the gateway decodes nothing and asks for no encoding", Why: "net/http's transport adds Accept-Encoding by itself", Test: compressionBombs},
	{ID: "DS-15", Name: "overload", Want: "512 clients at the same time are all answered in the end; five seconds later one is served as ever, and nothing is stuck", Test: overload,
		Missing: "There is no limit that sheds requests with 503 yet; the overload lasts seconds, not five minutes."},
}}

// signInsWithoutEnd begins sign-ins as fast as one client can, as it were from many.
func signInsWithoutEnd(t *testing.T, _ *doors) {
	const n = 500 // of each kind
	f := unsigned(t, gatewaytest.Options{TLS: true, Log: "level: warn", Extra: "trusted_proxies: [127.0.0.1/32]\n"})
	talks := []*talk{way{front: f}.talk(t), way{front: f, h2: true}.talk(t)}
	ask := func(i int) {
		from := []string{"203.0.113.7", fmt.Sprintf("2001:db8::%x", i), fmt.Sprintf("198.51.%d.%d", i/250%250, i%250), "unknown, " + strconv.Itoa(i)}[i%4]
		target := []string{"/app?" + strconv.Itoa(i), "/sign-in?return_to=/x" + strconv.Itoa(i)}[i/4%2]
		a := talks[i/8%2].ask(request{Target: target, Lines: with(navigation, "X-Forwarded-For", from)})
		if a.Status != http.StatusFound || !strings.HasPrefix(a.Header.Get("Location"), f.Issuer.URL+"/oidc/auth?") {
			t.Fatalf("sign-in %d from %s: got %s, want 302", i, from, a)
		}
	}
	for i := range n { // until pools and caches are what they are
		ask(i)
	}
	calls := f.Issuer.Calls("/oidc/.well-known/openid-configuration")
	grew := f.peak(t, func() {
		for i := range 4 * n {
			ask(i)
		}
	})
	flat(t, "in 2,000 sign-ins", grew, 48)
	if got := f.Issuer.Calls("/oidc/.well-known/openid-configuration") - calls; got > 30 { // Reachable: one in ten seconds
		t.Errorf("probes of the issuer: got %d, want some", got)
	}
	for _, path := range []string{"/oidc/token", "/oidc/auth", "/oidc/me"} {
		if got := f.Issuer.Calls(path); got != 0 {
			t.Errorf("%s: got %d calls, want none", path, got)
		}
	}
	f.rows(t, 0)
	f.nothingReached(t)
}

func strangersWithoutEnd(t *testing.T, _ *doors) {
	server := redistest.Start(t)
	f := unsigned(t, gatewaytest.Options{Log: "level: warn", Session: fmt.Sprintf("store: redis, secret: %s, redis: {url: %q}", gatewaytest.SessionSecret, "redis://"+server.Addr+"/0")})
	const n, workers = 20_000, 4
	ask := func(k *talk, i int) {
		want, q := http.StatusUnauthorized, request{Target: "/app/" + strconv.Itoa(i) + "?q=" + strconv.Itoa(i)}
		switch i % 6 {
		case 0:
			q.Lines, want = navigation, http.StatusFound
		case 1:
			q.Lines = fieldsOf("Cookie", fmt.Sprintf("%s=%043d", f.Cookie(), i))
		case 2:
			q.Target, q.Lines, want = fmt.Sprintf("/callback?code=x&state=s%d", i), navigation, http.StatusBadRequest
		case 3:
			q.Target, q.Lines, want = "/sign-in?return_to=/"+strconv.Itoa(i), navigation, http.StatusFound
		case 4:
			q.Target, want = "/_portero/session", http.StatusUnauthorized
		}
		if a := k.ask(q); a.Status != want {
			t.Errorf("%s: got %s, want %d", q.Target, a, want)
		}
	}
	all := func(n int) {
		run := make(chan struct{}, workers)
		for i := range workers {
			go func() {
				defer func() { run <- struct{}{} }()
				k := way{front: f}.talk(t)
				for i := i; i < n && !t.Failed(); i += workers {
					ask(k, i)
				}
				k.close()
			}()
		}
		for range workers {
			<-run
		}
	}
	all(n / 4)
	flat(t, "over 20,000 requests of strangers", f.peak(t, func() { all(n) }), 48)
	after, err := server.Client.Keys(t.Context(), "*").Result()
	if err != nil || strings.Join(after, "") != "portero:log" { // of what ended, which is nothing
		t.Errorf("keys in Redis: got %q (%v), want none but the log's", after, err)
	}
	f.rows(t, 0)
	f.nothingReached(t)
}

// overload asks for more than there is, and then for a little.
func overload(t *testing.T, _ *doors) {
	f := newFront(t, gatewaytest.Options{TLS: true, Log: "level: warn"})
	w := way{front: f, cookie: f.alice}
	w.median(t, 20, request{})
	before := f.holds(t)
	const clients = 512
	until := time.Now().Add(4 * time.Second)
	statuses := make(chan map[int]int, clients) // of each client
	for i := range clients {
		go func() {
			got := map[int]int{}
			defer func() { statuses <- got }()
			who := way{front: f, h2: i%2 == 0}
			if i%4 < 2 {
				who.cookie = f.alice
			}
			k := who.talk(t)
			defer k.close()
			for again := true; again; again = time.Now().Before(until) {
				q := request{Lines: navigation}
				if i%8 == 7 {
					q = request{Target: "/_portero/signed-out"}
				}
				got[k.ask(q).Status]++
			}
		}()
	}
	total := map[int]int{}
	for range clients {
		for status, n := range <-statuses {
			total[status] += n
		}
	}
	t.Logf("answers under load: %v", total)
	for status, n := range total {
		if status != http.StatusOK && status != http.StatusFound {
			t.Errorf("%d answers with %d, want 200 and 302 alone", n, status)
		}
	}
	if took := w.median(t, 5, request{}); took > 5*time.Second {
		t.Errorf("a request afterwards takes %s", took)
	}
	// Up to 256 idle connections to the application stay for a minute, with two goroutines each.
	before.files += 256
	before.goroutines += 2 * 256
	f.emptied(t, before)
	f.calm(t)
}

func compressionBombs(t *testing.T, d *doors) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(make([]byte, 64<<20))
	z.Close()
	bomb := packed.String()
	d.signedIn(t, func(t *testing.T, w way) {
		for encoding, body := range map[string]string{"gzip": bomb, "x-gzip, gzip": bomb, "br": "\x1b\xff\xff\xff\xff", "deflate": "no such thing", "zstd": "\x28\xb5\x2f\xfd", "gzip, ": "\x1f\x8b"} {
			for name, lines := range map[string][][2]string{"nothing accepted": nil, "gzip accepted": fieldsOf("Accept-Encoding", "gzip, br"), "a part of it": fieldsOf("Range", "bytes=0-9")} {
				w.Upstream.Say(func(string) string {
					return "HTTP/1.1 200 OK\r\nContent-Encoding: " + encoding + "\r\nContent-Type: text/html\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
				}, false)
				grew := w.peak(t, func() {
					a := w.ask(t, request{Lines: lines})
					if a.Status != http.StatusOK || a.Body != body || a.Header.Get("Content-Encoding") != strings.TrimRight(encoding, " ") {
						t.Errorf("%s, %s: got %s with %d bytes of %q, want %d as they were", encoding, name, a, len(a.Body), a.Header.Get("Content-Encoding"), len(body))
					}
				})
				flat(t, "at a bomb of 64 MiB", grew, 32)
				head, _ := w.reached(t)
				exactly(t, head, "Accept-Encoding", gatewaytest.Header(request{Lines: lines}.text(""), "Accept-Encoding")...)
			}
		}
		w.Upstream.Say(nil, false)
	})
}
