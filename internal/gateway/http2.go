package gateway

import (
	"errors"
	"net/http"
	"strings"
)

var errMalformed = errors.New("the request is malformed in HTTP/2")

// malformedHTTP2 reports what HTTP/2 does not allow in a request and net/http lets pass: a target that names its host
// (RFC 9113, section 8.3.1), and a length that is no number, or two (section 8.1.1).
func malformedHTTP2(r *http.Request) bool {
	if r.ProtoMajor != 2 {
		return false
	}
	if !strings.HasPrefix(r.RequestURI, "/") && r.RequestURI != "*" {
		return true
	}
	lengths := r.Header["Content-Length"]
	return len(lengths) > 1 || len(lengths) == 1 && (lengths[0] == "" || strings.Trim(lengths[0], "0123456789") != "")
}
