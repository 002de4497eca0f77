package assertion

import "strings"

// Fold is the form in which header names are compared: lower case, every byte that is no letter or digit a dash. So
// names are equal that any application could take for the same.
func Fold(name string) string {
	for i := range len(name) {
		if c := name[i]; c != '-' && (!alphanumeric(c) || 'A' <= c && c <= 'Z') {
			return string(fold(make([]byte, 0, len(name)), name))
		}
	}
	return name
}

func fold(b []byte, name string) []byte {
	for i := range len(name) {
		c := name[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case !alphanumeric(c):
			c = '-'
		}
		b = append(b, c)
	}
	return b
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// class is what a header name is to the gateway.
type class uint8

const (
	otherName    class = iota // the application's business
	identityName              // says who somebody is: removed from requests and responses
	requestName               // says where a request comes from or what it asks for: removed from requests
	framingName               // read by the HTTP library: only other spellings are removed
)

// classify knows a folded name.
func classify(folded []byte) class {
	switch string(folded) {
	// What presets emit, and what peers of ours do.
	case "x-forwarded-user", "x-forwarded-email", "x-forwarded-preferred-username", "x-forwarded-name", "x-forwarded-groups",
		"x-forwarded-access-token", "x-forwarded-id-token",
		"remote-user", "remote-email", "remote-name", "remote-groups":
		return identityName
	// The client's address, as one or another proxy or network writes it.
	case "x-real-ip", "forwarded", "forwarded-for", "x-forwarded", "true-client-ip", "cf-connecting-ip", "cf-connecting-ipv6",
		"cf-pseudo-ipv4", "fastly-client-ip", "x-client-ip", "client-ip", "x-cluster-client-ip", "x-remote-ip", "x-remote-addr",
		"x-originating-ip", "x-proxyuser-ip", "x-azure-clientip", "x-azure-socketip", "x-appengine-user-ip",
		"x-envoy-external-address", "wl-proxy-client-ip", "proxy-client-ip":
		return requestName
	// Scheme, host, URL, method and name of the request.
	case "x-scheme", "x-url-scheme", "front-end-https", "x-host", "x-http-host-override", "x-envoy-original-path",
		"x-http-method-override", "x-http-method", "x-method-override", "x-request-id":
		return requestName
	// httpoxy, and what is meant for one connection only (RFC 9110 7.6.1, 6.6.2, 10.1.4; RFC 7540 3.2.1).
	case "proxy", "proxy-authorization", "proxy-authenticate", "proxy-connection", "keep-alive", "te", "trailer", "http2-settings":
		return requestName
	case "content-length", "transfer-encoding", "content-type", "content-encoding":
		return framingName
	}
	for _, prefix := range [...]string{"x-auth-request-", "x-webauth-", "x-pomerium-", "x-portero-"} {
		if hasPrefix(folded, prefix) {
			return identityName
		}
	}
	for _, prefix := range [...]string{"x-forwarded-", "x-original-", "x-rewrite-"} {
		if hasPrefix(folded, prefix) {
			return requestName
		}
	}
	return otherName
}

func hasPrefix(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && string(b[:len(prefix)]) == prefix
}

// reserved says whether a folded name is not for claims: HTTP or the gateway gives it another meaning.
func reserved(folded string) bool {
	switch folded {
	case "host", "connection", "upgrade", "expect", "cookie", "cookie2", "set-cookie", "authorization", "www-authenticate", "via",
		"origin", "referer", "user-agent", "range", "date", "age", "vary", "location", "server", "cache-control", "pragma",
		"traceparent", "tracestate", "baggage", "priority", "early-data", "alt-svc",
		"x-portero-assertion", "x-pomerium-jwt-assertion",
		"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-server", "x-forwarded-scheme",
		"x-forwarded-protocol", "x-forwarded-ssl", "x-forwarded-prefix", "x-forwarded-path", "x-forwarded-uri", "x-forwarded-url",
		"x-forwarded-method", "x-forwarded-by", "x-forwarded-client-cert", "x-forwarded-client-ip":
		return true
	}
	for _, prefix := range [...]string{"content-", "transfer-", "accept", "if-", "sec-", "access-control-", "proxy-"} {
		if strings.HasPrefix(folded, prefix) {
			return true
		}
	}
	switch class := classify([]byte(folded)); {
	case class == requestName:
		return !strings.HasPrefix(folded, "x-forwarded-") // X-Forwarded-Department is fine
	case class == framingName:
		return true
	}
	return false
}
