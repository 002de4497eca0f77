package catalogue_test

import (
	"strconv"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

// doors are the gateways that the attacks of one family share, one behind the other: inside TLS, and plain.
type doors struct {
	t                 *testing.T // of the family
	tls, plain, loose *front
	pair              *nodes
	invite            [2]*front           // inside TLS, and plain: those that can invite
	inviters          map[*front]*inviter // nil: they do not run yet
	asked             [2]*front           // inside TLS, and plain: those that trust whoever asks about a request
	apis              [2]*front           // … that take access tokens
	shared            [2]*front           // … that other origins may read
}

// TLS is the one that speaks TLS, HTTP/1.1 and HTTP/2.
func (d *doors) TLS() *front {
	if d.tls == nil {
		d.tls = newFront(d.t, gatewaytest.Options{TLS: true})
	}
	return d.tls
}

// Plain is the one behind a proxy that ends TLS, as it were.
func (d *doors) Plain() *front {
	if d.plain == nil {
		d.plain = newFront(d.t, gatewaytest.Options{})
	}
	return d.plain
}

// Loose is TLS with `paths: by-route` on every route.
func (d *doors) Loose() *front {
	if d.loose == nil {
		d.loose = newFront(d.t, gatewaytest.Options{TLS: true, Routes: strings.ReplaceAll(routes, "PATHS", "paths: by-route")})
	}
	return d.loose
}

// way is a way in: a protocol, and whether one is signed in.
type way struct {
	*front
	h2     bool
	cookie string // Alice's; "": nobody is signed in
}

// each tries something over every protocol, signed in as Alice and as nobody.
func (d *doors) each(t *testing.T, try func(t *testing.T, w way)) {
	t.Helper()
	d.signedIn(t, try)
	d.stranger(t, try)
}

// signedIn tries something over every protocol as Alice.
func (d *doors) signedIn(t *testing.T, try func(t *testing.T, w way)) {
	t.Helper()
	d.over(t, true, try)
}

// stranger tries something over every protocol as nobody.
func (d *doors) stranger(t *testing.T, try func(t *testing.T, w way)) {
	t.Helper()
	d.over(t, false, try)
}

func (d *doors) over(t *testing.T, signedIn bool, try func(t *testing.T, w way)) {
	t.Helper()
	who := map[bool]string{true: ", signed in", false: ""}[signedIn]
	for _, p := range []struct {
		name  string
		front *front
		h2    bool
	}{{"HTTP 1.1 in TLS", d.TLS(), false}, {"HTTP 2", d.TLS(), true}, {"plain HTTP 1.1", d.Plain(), false}} {
		w := way{front: p.front, h2: p.h2}
		if signedIn {
			w.cookie = p.front.alice
		}
		t.Run(p.name+who, func(t *testing.T) {
			w.Upstream.Forget()
			try(t, w)
		})
	}
}

// request is one request, to be said in either protocol. Names and values leave as they are; over HTTP/2 names are in
// lower case, and Connection, Transfer-Encoding and Content-Length leave only with Exact.
type request struct {
	Method   string      // "": GET
	Target   string      // "": /app
	Host     string      // "": the gateway's
	Lines    [][2]string // headers, in order
	Body     string
	Trailers [][2]string
	Exact    bool // over HTTP/2, send every field as it stands
}

// navigation are the headers of somebody typing an address.
var navigation = [][2]string{{"Accept", "text/html"}, {"Sec-Fetch-Mode", "navigate"}, {"Sec-Fetch-Dest", "document"}, {"Sec-Fetch-Site", "none"}}

// with is lines behind others, as [name, value, name, value, …].
func with(lines [][2]string, more ...string) [][2]string {
	out := append([][2]string(nil), lines...)
	for i := 0; i+1 < len(more); i += 2 {
		out = append(out, [2]string{more[i], more[i+1]})
	}
	return out
}

// fieldsOf is with(nil, …).
func fieldsOf(more ...string) [][2]string { return with(nil, more...) }

// ask sends a request on a connection of its own, with the cookie of whoever is signed in, and reads the answer.
func (w way) ask(t *testing.T, q request) *gatewaytest.Answer {
	t.Helper()
	if w.cookie != "" {
		q.Lines = append([][2]string{{map[bool]string{false: "Cookie", true: "cookie"}[w.h2], w.cookie}}, q.Lines...)
	}
	if w.h2 {
		return w.RawHTTP2(t, q.http2(w.host))
	}
	return w.Raw(t, q.text(w.host))
}

// talk is a connection over which one request comes after another.
type talk struct {
	way
	dialing gatewaytest.Dialing // how it opens
	t       *testing.T
	c       *gatewaytest.Conn      // nil: not open
	h2      *gatewaytest.HTTP2Conn // nil: not open
}

// talk is a connection that opens with the first request, and again where the gateway has closed it.
func (w way) talk(t *testing.T) *talk { return &talk{way: w, t: t} }

// ask is way.ask on the one connection.
func (k *talk) ask(q request) (a *gatewaytest.Answer) {
	k.t.Helper()
	if k.cookie != "" {
		q.Lines = append([][2]string{{"Cookie", k.cookie}}, q.Lines...)
	}
	if k.way.h2 {
		if k.h2 == nil {
			k.h2 = k.DialHTTP2(k.t, k.dialing)
		}
		a = k.h2.Ask(q.http2(k.host))
	} else {
		if k.c == nil {
			k.c = k.DialAs(k.t, k.dialing)
		}
		k.c.Send(q.text(k.host))
		method := q.Method
		if method == "" {
			method = "GET"
		}
		a = k.c.Answer(method)
	}
	if a.Close || a.Status == 0 {
		k.close()
	}
	return a
}

// close ends the connection; the next request opens another one.
func (k *talk) close() {
	if k.c != nil {
		k.c.Close()
	}
	if k.h2 != nil {
		k.h2.Close()
	}
	k.c, k.h2 = nil, nil
}

// text is the request in HTTP/1.1.
func (q request) text(host string) string {
	var b strings.Builder
	method, target, length := q.Method, q.Target, q.Body != ""
	if method == "" {
		method = "GET"
	}
	if target == "" {
		target = "/app"
	}
	if q.Host != "" {
		host = q.Host
	}
	b.WriteString(method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\n")
	for _, l := range q.Lines {
		b.WriteString(l[0] + ": " + l[1] + "\r\n")
		switch strings.ToLower(l[0]) {
		case "content-length", "transfer-encoding":
			length = false
		}
	}
	switch {
	case q.Trailers != nil:
		b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		if q.Body != "" {
			b.WriteString(strconv.FormatInt(int64(len(q.Body)), 16) + "\r\n" + q.Body + "\r\n")
		}
		b.WriteString("0\r\n")
		for _, l := range q.Trailers {
			b.WriteString(l[0] + ": " + l[1] + "\r\n")
		}
		b.WriteString("\r\n")
		return b.String()
	case length:
		b.WriteString("Content-Length: " + strconv.Itoa(len(q.Body)) + "\r\n")
	}
	return b.String() + "\r\n" + q.Body
}

// http2 is the request in HTTP/2.
func (q request) http2(host string) gatewaytest.HTTP2 {
	method, target := q.Method, q.Target
	if method == "" {
		method = "GET"
	}
	if target == "" {
		target = "/app"
	}
	if q.Host != "" {
		host = q.Host
	}
	out := gatewaytest.HTTP2{Fields: [][2]string{{":method", method}, {":scheme", "https"}, {":authority", host}, {":path", target}}, Body: q.Body}
	lower := func(lines [][2]string) (out [][2]string) {
		for _, l := range lines {
			name := strings.ToLower(l[0])
			if !q.Exact && (name == "connection" || name == "transfer-encoding" || name == "content-length") {
				continue
			}
			if q.Exact {
				name = l[0]
			}
			out = append(out, [2]string{name, l[1]})
		}
		return out
	}
	out.Fields = append(out.Fields, lower(q.Lines)...)
	out.Trailers = lower(q.Trailers)
	return out
}
