package gatewaytest_test

import (
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

// Each liberty finds another number of requests, or another body, in bytes that a gateway must never let out.
func TestReadings(t *testing.T) {
	t.Parallel()
	const start, behind = "POST / HTTP/1.1\r\nHost: a\r\n", "GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
	tests := []struct {
		name, in string
		reading  gatewaytest.Reading
		strict   int // requests; -1: no HTTP
		other    int
	}{
		{"one request", start + "\r\n", gatewaytest.Reading{BareLF: true}, 1, 1},
		{"two", start + "Content-Length: 3\r\n\r\nabc" + behind, gatewaytest.Reading{LengthFirst: true}, 2, 2},
		{"chunks", start + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: 1\r\n\r\n" + behind, gatewaytest.Reading{AnyCoding: true}, 2, 2},
		{"a length beside chunks", start + "Content-Length: 36\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + behind, gatewaytest.Reading{LengthFirst: true}, -1, 1},
		{"an underscore", start + "Content_Length: 31\r\n\r\n" + behind, gatewaytest.Reading{Underscores: true}, 2, 1},
		{"a bare line feed", start + "X: a\n\r\n\r\n", gatewaytest.Reading{BareLF: true, Version: true}, -1, 1},
		{"a folded length", start + "Content-Length:\r\n 31\r\n\r\n" + behind, gatewaytest.Reading{Folded: true}, -1, 1},
		{"a body on GET", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 31\r\n\r\n" + behind, gatewaytest.Reading{LengthFirst: true}, 1, 1},
		{"an odd coding", start + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + behind, gatewaytest.Reading{AnyCoding: true}, -1, 2},
		{"an odd length", start + "Content-Length: +31\r\n\r\n" + behind, gatewaytest.Reading{OddNumbers: true}, -1, 1},
		{"an odd chunk", start + "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" + behind, gatewaytest.Reading{OddNumbers: true}, -1, 2},
		{"two lengths", start + "Content-Length: 0\r\nContent-Length: 31\r\n\r\n" + behind, gatewaytest.Reading{LastLength: true}, -1, 1},
		{"a blank before the colon", start + "Content-Length : 31\r\n\r\n" + behind, gatewaytest.Reading{BlankColon: true}, -1, 1},
		{"no host", "GET / HTTP/1.1\r\n\r\n", gatewaytest.Reading{Version: true}, -1, 1},
		{"a part of a request", start, gatewaytest.Reading{Version: true}, -1, -1},
		{"a version", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", gatewaytest.Reading{Version: true}, -1, 1},
		{"a blank in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", gatewaytest.Reading{Version: true}, -1, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, r := range []struct {
				reading gatewaytest.Reading
				want    int
			}{{gatewaytest.Strict, tt.strict}, {tt.reading, tt.other}} {
				got, err := r.reading.Read(tt.in)
				if (err != nil) != (r.want < 0) || err == nil && len(got) != r.want {
					t.Errorf("%+v: got %d requests, %v; want %d", r.reading, len(got), err, r.want)
				}
				all := ""
				for _, m := range got {
					all += m.Head
				}
				if !strings.HasPrefix(tt.in, all[:min(len(all), len("POST / HTTP/1.1\r\n"))]) {
					t.Errorf("%+v: got heads %q", r.reading, all)
				}
			}
		})
	}
}
