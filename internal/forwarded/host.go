package forwarded

import (
	"errors"
	"net/netip"
	"strings"
)

var (
	errNoHost   = errors.New("no host")
	errBadHost  = errors.New("not a host name or an address")
	errLongHost = errors.New("longer than a host name can be")
	errBadPort  = errors.New("not a port between 1 and 65535")
)

// CanonicalHost returns the one spelling of a host with an optional port: lower case, without the default port of scheme,
// without the trailing dot of a fully qualified name, IPv6 in brackets and in its shortest form. It accepts what a browser
// sends, ASCII names and addresses, and refuses everything else: user information, percent-encoding, zones, empty labels.
func CanonicalHost(hostport, scheme string) (host string, err error) {
	if hostport == "" {
		return "", errNoHost
	}
	if len(hostport) > 253+1+6 { // name, trailing dot, port
		return "", errLongHost
	}
	var port string
	if hostport[0] == '[' {
		end := strings.IndexByte(hostport, ']')
		if end < 0 {
			return "", errBadHost
		}
		addr, err := netip.ParseAddr(hostport[1:end])
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return "", errBadHost
		}
		rest := hostport[end+1:]
		if rest != "" && rest[0] != ':' {
			return "", errBadHost
		}
		host, port = "["+addr.String()+"]", strings.TrimPrefix(rest, ":")
	} else {
		name := hostport
		if colon := strings.IndexByte(hostport, ':'); colon >= 0 {
			name, port = hostport[:colon], hostport[colon+1:]
		}
		name = strings.TrimSuffix(name, ".")
		if err := checkName(name); err != nil {
			return "", err
		}
		host = strings.ToLower(name) // no copy when it is lower case
	}
	switch {
	case port == "": // also "example.com:", RFC 3986 section 3.2.3
		return host, nil
	case !validPort(port):
		return "", errBadPort
	case port == defaultPort(scheme):
		return host, nil
	case len(host)+1+len(port) == len(hostport) && strings.HasPrefix(hostport, host):
		return hostport, nil
	}
	return host + ":" + port, nil
}

func checkName(name string) error {
	if name == "" {
		return errNoHost
	}
	if len(name) > 253 {
		return errLongHost
	}
	label := 0
	for i := range len(name) {
		c := name[i]
		switch {
		case c == '.':
			if label == 0 {
				return errBadHost
			}
			label = 0
			continue
		case !alphanumeric(c) && c != '-' && c != '_':
			return errBadHost
		}
		if label++; label > 63 {
			return errLongHost
		}
	}
	if label == 0 {
		return errBadHost
	}
	return nil
}

// splitCanonical splits a canonical host into name and port; the port is empty if there is none.
func splitCanonical(host string) (name, port string) {
	colon := strings.LastIndexByte(host, ':')
	if colon < 0 || strings.HasSuffix(host, "]") {
		return host, ""
	}
	return host[:colon], host[colon+1:]
}

func validPort(s string) bool {
	if len(s) == 0 || len(s) > 5 || s[0] == '0' {
		return false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n <= 65535
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
