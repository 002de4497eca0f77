package catalogue_test

import (
	"net/http"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

var methods = family{ID: "ME", Title: "Methods", Attacks: []attack{
	{ID: "ME-01", Name: "TRACE and TRACK", Want: "405; nothing reaches the application", Why: "cross-site tracing: the answer repeats the identity headers", Test: refusedMethods("TRACE", "TRACK", "DEBUG")},
	{ID: "ME-02", Name: "CONNECT", Want: "405, or 400 and 421 for a target that is no path of ours; nothing reaches the application, nor the next client", Why: "CVE-2026-71324 Traefik: CONNECT over HTTP/2 poisoned the connections to the application", Test: connects},
	{ID: "ME-03", Name: "other methods", Want: "405; those of HTTP and WebDAV pass as they are", Why: "rules about methods that compare another spelling; servers that take get for GET", Test: otherMethods},
}}

// refusedMethod fails unless a request got 405 with the methods that there are, or one of also, and the next request is
// served as ever.
func (w way) refusedMethod(t *testing.T, q request, also ...int) {
	t.Helper()
	k := w.talk(t)
	defer k.close()
	a := k.ask(q)
	other := false
	for _, status := range also {
		other = other || a.Status == status
	}
	if a.Status != http.StatusMethodNotAllowed && !other {
		t.Errorf("%.40s %s: got %s, want 405 or one of %d", q.Method, q.Target, a, also)
	}
	if allow := a.Header.Get("Allow"); a.Status == http.StatusMethodNotAllowed && (!strings.Contains(allow, "GET") || strings.Contains(allow, "TRACE") || strings.Contains(allow, "CONNECT")) {
		t.Errorf("%.40s %s: got Allow %q", q.Method, q.Target, allow)
	}
	w.nothingReached(t)
	w.noSession(t, &gatewaytest.Answer{Header: a.Header})
	next := k.ask(request{Target: "/public/next"})
	if next.Status == 0 { // the connection was closed behind the answer
		next = k.ask(request{Target: "/public/next"})
	}
	if next.Status != http.StatusOK || !strings.Contains(next.Body, "the application") {
		t.Errorf("%.40s %s: the next request got %s", q.Method, q.Target, next)
	}
	if all := w.messages(t); len(all) != 1 || line(all[0].Head) != "GET /public/next HTTP/1.1" {
		t.Errorf("%.40s %s: the upstream got %#v, want the next request alone", q.Method, q.Target, all)
	}
	w.Upstream.Forget()
}

func refusedMethods(names ...string) func(*testing.T, *doors) {
	return func(t *testing.T, d *doors) {
		d.each(t, func(t *testing.T, w way) {
			for _, name := range names {
				for _, target := range []string{"/app", "/public/x", "/optional/x", "/_portero/session", "/sign-out"} {
					w.refusedMethod(t, request{Method: name, Target: target})
				}
				w.refusedMethod(t, request{Method: name, Target: "/public/x", Lines: fieldsOf("Max-Forwards", "0", "X-HTTP-Method-Override", "GET")})
				w.refusedMethod(t, request{Method: name, Target: "/public/x", Body: "abc"})
			}
		})
	}
}

func connects(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		if w.h2 {
			connectStreams(t, w)
			return
		}
		body := expand(evil, w.host)
		for _, target := range []string{"internal:22", "127.0.0.1:22", w.host + ":443", w.host, strings.TrimPrefix(w.Upstream.URL, "http://"), "/admin", "/public/x", "/", "http://" + w.host + "/public/x", "*", "[::1]:22", "?"} {
			w.refusedMethod(t, request{Method: "CONNECT", Target: target}, http.StatusBadRequest, http.StatusMisdirectedRequest)
			w.refusedMethod(t, request{Method: "CONNECT", Target: target, Body: body}, http.StatusBadRequest, http.StatusMisdirectedRequest)
		}
		w.refusedMethod(t, request{Method: "connect", Target: "/public/x"})
	})
}

// connectStreams is CONNECT over HTTP/2 (RFC 9113, section 8.5), and its extension by WebSockets (RFC 8441).
func connectStreams(t *testing.T, w way) {
	cookie := [][2]string{}
	if w.cookie != "" {
		cookie = fieldsOf("cookie", w.cookie)
	}
	try := func(q gatewaytest.HTTP2) {
		t.Helper()
		c := w.DialHTTP2(t, gatewaytest.Dialing{})
		defer c.Close()
		q.Fields = append(q.Fields, cookie...)
		a := c.Ask(q)
		switch a.Status {
		case 0, http.StatusMethodNotAllowed, http.StatusBadRequest, http.StatusMisdirectedRequest:
		default:
			t.Errorf("%q: got %s, want the stream reset, 405, 400 or 421", q.Fields, a)
		}
		w.nothingReached(t)
		if a.Close {
			return
		}
		next := c.Ask(request{Target: "/public/next"}.http2(w.host))
		if next.Status != http.StatusOK || !strings.Contains(next.Body, "the application") {
			t.Errorf("%q: the next request got %s", q.Fields, next)
		}
		if all := w.messages(t); len(all) != 1 || line(all[0].Head) != "GET /public/next HTTP/1.1" {
			t.Errorf("%q: the upstream got %#v, want the next request alone", q.Fields, all)
		}
		w.Upstream.Forget()
	}
	for _, body := range []string{"", expand(evil, w.host)} {
		for _, authority := range []string{"internal:22", w.host, w.host + ":443", strings.TrimPrefix(w.Upstream.URL, "http://")} {
			try(gatewaytest.HTTP2{Fields: fieldsOf(":method", "CONNECT", ":authority", authority), Body: body})
			try(gatewaytest.HTTP2{Fields: fieldsOf(":method", "CONNECT", ":authority", authority, ":scheme", "https", ":path", "/public/x"), Body: body})
			try(gatewaytest.HTTP2{Fields: fieldsOf(":method", "CONNECT", ":protocol", "websocket", ":authority", authority, ":scheme", "https", ":path", "/public/x", "sec-websocket-version", "13", "origin", w.URL), Body: body})
			try(gatewaytest.HTTP2{Fields: fieldsOf(":method", "CONNECT", ":protocol", "connect-udp", ":authority", authority, ":scheme", "https", ":path", "/app"), Body: body})
			try(gatewaytest.HTTP2{Fields: fieldsOf(":method", "GET", ":protocol", "websocket", ":authority", authority, ":scheme", "https", ":path", "/app"), Body: body})
		}
	}
}

func otherMethods(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		for _, name := range []string{"get", "Get", "GEt", "post", "head", "GETS", "M-SEARCH", "PURGE", "BAN", "LINK", "UNLINK", "NOTIFY", "SUBSCRIBE", "SOURCE", "QUERY", "X", "GET.", "GET-", "G'T", "PRI", "RPC_IN_DATA", strings.Repeat("A", 1024), "RPC.IN"} {
			for _, target := range []string{"/app", "/public/x", "/health"} {
				w.refusedMethod(t, request{Method: name, Target: target})
			}
			w.refusedMethod(t, request{Method: name, Target: "/public/x", Lines: fieldsOf("X-HTTP-Method-Override", "GET"), Body: "abc"})
		}
		for _, name := range []string{"GET ", " GET", "GET%20", "GET\t", "GE T", "GET\x00", "GET\xa0", "G\u00cbT", "GET,POST", "(GET)", "HTTP/1.1"} {
			if name == "GET%20" { // a token, though not a method
				w.refusedMethod(t, request{Method: name, Target: "/public/x"})
				continue
			}
			a := w.ask(t, request{Method: name, Target: "/public/x"}) // these are no tokens
			if a.Status != http.StatusBadRequest && (!w.h2 || a.Status != 0 && a.Status != http.StatusMethodNotAllowed) {
				t.Errorf("%q: got %s, want 400; over HTTP/2 405 or the stream reset", name, a)
			}
			w.nothingReached(t)
		}
		target, want := "/public/x", onlyNobody
		if w.cookie != "" {
			target, want = "/app", onlyAlice
		}
		for _, name := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "VERSION-CONTROL", "REPORT", "CHECKOUT", "CHECKIN", "UNCHECKOUT", "MKWORKSPACE", "UPDATE", "LABEL", "MERGE", "BASELINE-CONTROL", "MKACTIVITY", "SEARCH", "ACL"} {
			w.passes(t, request{Method: name, Target: target}, want)
			if w.cookie == "" {
				w.denied(t, w.ask(t, request{Method: name}))
			}
		}
		// A method that a header or a query names instead changes nothing.
		for _, lines := range [][][2]string{fieldsOf("X-HTTP-Method-Override", "DELETE", "X-HTTP-Method", "DELETE", "X-Method-Override", "DELETE", "_method", "DELETE")} {
			head, _ := w.passes(t, request{Method: "POST", Target: target + "?_method=DELETE", Lines: lines}, want)
			absent(t, head, "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")
		}
		// /health is public for GET alone.
		for _, name := range []string{"POST", "DELETE", "OPTIONS", "PROPFIND"} {
			if a := w.ask(t, request{Method: name, Target: "/health"}); w.cookie == "" {
				w.denied(t, a)
			}
			w.Upstream.Forget()
		}
	})
}
