package catalogue_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

var framing = family{ID: "SM", Title: "Framing of messages", Attacks: []attack{
	{ID: "SM-01", Name: "length, then chunks", Want: "the chunks count (in HTTP/1.0 the length), and the connection ends", Why: "two servers that find the end of a request in different places: the rest is the beginning of somebody else's", Test: wires(
		wire{name: "a byte behind", lines: "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", body: "0\r\n\r\nG", want: ok, got: []string{""}},
		wire{name: "a request behind", lines: "Content-Length: @REST@\r\nTransfer-Encoding: chunked\r\n", body: "0\r\n\r\n" + evil, want: ok, got: []string{""}},
		wire{name: "a length of nothing", lines: "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", body: "3\r\nabc\r\n0\r\n\r\n" + evil, want: ok, got: []string{"abc"}},
		wire{name: "two lengths", lines: "Content-Length: 0\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n", body: "0\r\n\r\n" + evil, want: bad},
		wire{name: "HTTP 1.0", version: "HTTP/1.0", lines: "Connection: keep-alive\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n", body: "3\r\nabc\r\n0\r\n\r\n" + evil, want: ok, got: []string{"3\r\n"}},
	)},
	{ID: "SM-02", Name: "chunks, then length", Want: "the chunks count, and the connection ends", Why: "as SM-01, the other way round", Test: wires(
		wire{name: "a length within the first chunk", lines: "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", body: "1d\r\nGET /admin/evil HTTP/1.1\r\nX: y\r\n0\r\n\r\n", want: bad, half: true},
		wire{name: "a length before a request", lines: "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", body: "a\r\n0123456789\r\n0\r\n\r\n" + evil, want: ok, got: []string{"0123456789"}},
		wire{name: "a request behind", lines: "Transfer-Encoding: chunked\r\nContent-Length: @REST@\r\n", body: "0\r\n\r\n" + evil, want: ok, got: []string{""}},
		wire{name: "Connection names the coding", lines: "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\nContent-Length: @REST@\r\n", body: "0\r\n\r\n" + evil, want: ok, got: []string{""}},
		wire{name: "Connection names the length", lines: "Connection: Content-Length\r\nTransfer-Encoding: chunked\r\nContent-Length: @REST@\r\n", body: "0\r\n\r\n" + evil, want: ok, got: []string{""}},
	)},
	{ID: "SM-03", Name: "codings that some know for chunked", Want: "501 or 400; a name with an underscore reaches nobody", Why: "one server sees the coding, the other does not", Test: otherCodings},
	{ID: "SM-04", Name: "odd lengths", Want: "400", Why: "numbers that some read up to the first odd byte", Test: oddLengths},
	{ID: "SM-05", Name: "two lengths", Want: "equal ones are one; others are 400", Why: "some take the first, some the last", Test: wires(
		wire{name: "equal", lines: "Content-Length: 3\r\nContent-Length: 3\r\n", body: "abc", want: ok, got: []string{"abc"}, keeps: true},
		wire{name: "different", lines: "Content-Length: 3\r\nContent-Length: 2\r\n", body: "abc", want: bad},
		wire{name: "nothing first", lines: "Content-Length: 0\r\nContent-Length: @REST@\r\n", body: evil, want: bad},
		wire{name: "nothing last, small letters", lines: "Content-Length: @REST@\r\ncontent-length: 0\r\n", body: evil, want: bad},
		wire{name: "equal numbers in other digits", lines: "Content-Length: 3\r\nContent-Length: 03\r\n", body: "abc", want: bad},
		wire{name: "one of them for CGI", lines: "Content-Length: 3\r\nContent_Length: 0\r\nContent.Length: 99\r\n", body: "abc", want: ok, got: []string{"abc"}, keeps: true},
	)},
	{ID: "SM-06", Name: "folded lines", Want: "one line to everybody", Why: "who does not know folding sees another header, or none", Test: wires(
		wire{name: "a length", lines: "Content-Length:\r\n 3\r\n", body: "abc", want: ok, got: []string{"abc"}, keeps: true},
		wire{name: "a coding", lines: "Transfer-Encoding:\r\n chunked\r\n", body: "3\r\nabc\r\n0\r\n\r\n" + evil, want: ok, got: []string{"abc"}},
		wire{name: "two words", lines: "Transfer-Encoding: identity,\r\n\tchunked\r\n", body: "3\r\nabc\r\n0\r\n\r\n" + evil, want: []int{501}},
		wire{name: "two numbers", lines: "Content-Length: 0\r\n @REST@\r\n", body: evil, want: bad},
		wire{name: "a length in a value", lines: "X-Foo: bar\r\n Content-Length: 3\r\n", body: "", want: ok, got: []string{""}, keeps: true},
		wire{name: "a coding in a value", lines: "Content-Length: 3\r\nX-Foo: bar\r\n\tTransfer-Encoding: chunked\r\n", body: "0\r\n", want: ok, got: []string{"0\r\n"}, keeps: true},
	)},
	{ID: "SM-07", Name: "line feeds, carriage returns and NUL alone", Want: "LF alone ends a line and leaves as CR LF; CR and NUL are 400", Why: "a value that is two lines to somebody else", Test: wires(
		wire{name: "LF behind a header", lines: "X-Foo: bar\nContent-Length: 3\n", body: "abc", want: ok, got: []string{"abc"}, keeps: true},
		wire{name: "LF in a value", lines: "X-Foo: bar\n\nGET /admin/evil HTTP/1.1\nHost: @HOST@\r\n", body: "", want: []int{200, 401}, got: []string{""}, keeps: true},
		wire{name: "LF CR", lines: "X-Foo: bar\n\rContent-Length: 3\r\n", body: "abc", want: bad},
		wire{name: "CR in a value", lines: "X-Foo: a\rX-Bar: b\r\n", want: bad},
		wire{name: "CR CR LF", lines: "X-Foo: a\r\r\n", want: bad},
		wire{name: "CR before a length", lines: "X-Foo: a\rContent-Length: @REST@\r\n", body: evil, want: bad},
		wire{name: "CR in a name", lines: "X-\rFoo: a\r\n", want: bad},
		wire{name: "NUL in a value", lines: "X-Foo: a\x00b\r\n", want: bad},
		wire{name: "NUL in a name", lines: "X-\x00Foo: a\r\n", want: bad},
		wire{name: "NUL for an empty line", lines: "\x00\r\n", want: bad},
		wire{name: "a vertical tab, a form feed, DEL", lines: "X-Foo: a\x0b\x0cb\x7f\r\n", want: bad},
		wire{name: "no colon", lines: "X-Foo\r\n", want: bad},
	)},
	{ID: "SM-08", Name: "odd chunks", Want: "400; the connection to the application is not used again", Why: "who reads a size otherwise finds another end of the body", Test: oddChunks},
	{ID: "SM-09", Name: "bodies where few expect one", Want: "the body arrives as a body", Why: "who takes GET to have no body takes it for the next request", Test: unexpectedBodies},
	{ID: "SM-10", Name: "versions", Want: "1.0 is served and the connection ends; 0.9 is 400, 2.0 is 505, 1.2 is 1.1", Why: "a version decides what frames a message", Test: versions},
	{ID: "SM-11", Name: "pipelining", Want: "each is decided alone, and the order stays", Why: "an answer that goes to the wrong request is somebody else's page", Test: pipelining},
	{ID: "SM-12", Name: "answer before the end of the request", Want: "nothing of the body becomes a request, on either side", Why: "CVE-2024-24791: the rest of a body that nobody wants is read as something else", Test: earlyAnswers},
	{ID: "SM-13", Name: "answers of an application that are none, or two", Want: "no byte is left for somebody else, and the connection is given up", Why: "response splitting; a queue of answers that is off by one gives everybody the page of the one before", Test: splitAnswers},
	{ID: "SM-14", Name: "odd bytes in method and target", Want: "400", Why: "a blank more, and somebody else reads another target", Test: oddTargets},
	{ID: "SM-15", Name: "corpus of request smuggling", Want: "every reader finds the requests that the gateway decided on, and no other", Why: "two readers of one stream", Test: smugglingCorpus},
}}

// evil is a request that nobody may make; see expand.
const evil = "GET " + evilTarget + " HTTP/1.1\r\nHost: @HOST@\r\n\r\n"

// ok and bad are the answers of most cases.
var ok, bad = []int{http.StatusOK}, []int{http.StatusBadRequest}

// wire is one request as it goes over the wire, with more behind it.
type wire struct {
	name            string
	method, version string   // "": POST and HTTP/1.1
	target          string   // "": of a route that lets the sender in
	lines           string   // headers, with their ends, see expand
	body            string   // all that is behind the head
	want            []int    // the answers
	keeps           bool     // the connection goes on; else it ends behind them
	got             []string // the bodies that reach the upstream, one for each request; nil: no request does
	half            bool     // or a head, and not all of its body
}

// wires tries each of them plain and in TLS, signed in and not. HTTP/2 has frames instead, see H2.
func wires(all ...wire) func(*testing.T, *doors) {
	return func(t *testing.T, d *doors) {
		d.each(t, func(t *testing.T, w way) {
			for _, q := range all {
				if !w.h2 {
					t.Run(q.name, func(t *testing.T) { w.wire(t, q) })
				}
			}
		})
	}
}

// wire sends one, reads all answers, and looks at what reached the upstream.
func (w way) wire(t *testing.T, q wire) {
	t.Helper()
	method, version, target, cookie := q.method, q.version, q.target, ""
	if method == "" {
		method = "POST"
	}
	if version == "" {
		version = "HTTP/1.1"
	}
	if target == "" {
		target = "/public/x"
		if w.cookie != "" {
			target, cookie = "/app", "Cookie: "+w.cookie+"\r\n"
		}
	}
	w.wireText(t, q, expand(method+" "+target+" "+version+"\r\nHost: @HOST@\r\n"+cookie+q.lines+"\r\n"+q.body, w.host), method, target)
}

// wireText is wire for bytes that are ready to leave.
func (w way) wireText(t *testing.T, q wire, text, method, target string) {
	t.Helper()
	w.Upstream.Forget()
	c := w.Dial(t)
	defer c.Close()
	c.Send(text)
	asked := method
	for i, want := range q.want {
		a := c.Answer(asked)
		if a.Status != want {
			t.Fatalf("answer %d to %.300q: got %s, want %d", i+1, text, a, want)
		}
		asked = "GET"
		w.noSession(t, &gatewaytest.Answer{Header: a.Header})
	}
	if q.keeps {
		c.Send("GET /public/next HTTP/1.1\r\nHost: " + w.host + "\r\n\r\n")
	}
	switch a := c.Answer("GET"); {
	case q.keeps && a.Status != http.StatusOK:
		t.Errorf("the next request on the connection: got %s, want 200", a)
	case !q.keeps && a.Status != 0:
		t.Errorf("behind the last answer to %.300q: got %s, want the end of the connection", text, a)
	}
	// Somebody else's request, after whatever is left of the connection to the application.
	if a := w.Raw(t, "GET /public/next HTTP/1.1\r\nHost: "+w.host+"\r\n\r\n"); a.Status != http.StatusOK {
		t.Errorf("the next request on another connection: got %s, want 200", a)
	}
	var got []string
	for _, m := range w.messages(t) {
		switch first := line(m.Head); {
		case strings.HasPrefix(first, "GET /public/next "):
		case m.Half && q.half:
		case m.Half:
			t.Errorf("%q reached the upstream without all of its body", first)
		default:
			got = append(got, m.Body)
			if want := method + " " + target + " HTTP/1.1"; first != want && len(got) == 1 {
				t.Errorf("request line at the upstream: got %q, want %q", first, want)
			}
			if te := gatewaytest.Header(m.Head, "Transfer-Encoding"); len(te) > 1 || len(te) == 1 && te[0] != "chunked" {
				t.Errorf("Transfer-Encoding at the upstream: got %q", te)
			}
		}
	}
	if want := expandAll(q.got, w.host); !slices.Equal(got, want) {
		t.Errorf("%.300q reached the upstream as %q, want %q", text, got, want)
	}
}

func expandAll(all []string, host string) (out []string) {
	for _, s := range all {
		out = append(out, expand(s, host))
	}
	return out
}
