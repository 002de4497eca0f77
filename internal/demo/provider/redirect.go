package provider

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// ParseRedirectURI returns the URL a browser may be sent to after a sign-in or a sign-out: http or https, on this computer, or exactly one of
// allowed. Whatever two readers could understand differently (user information, backslashes, unusual spellings of an address) is refused.
func ParseRedirectURI(raw string, allowed ...string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("redirect URI cannot be read")
	}
	if slices.Contains(allowed, raw) && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" {
		return u, nil
	}
	for _, c := range []byte(raw) {
		if c <= ' ' || c >= 0x7f || c == '\\' {
			return nil, errors.New("redirect URI has characters that do not belong there")
		}
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("redirect URI is neither http nor https")
	case u.User != nil || u.Opaque != "":
		return nil, errors.New("redirect URI has more than host, path and query")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return nil, errors.New("redirect URI has a fragment")
	case strings.ContainsAny(u.Host, "%@"):
		return nil, errors.New("redirect URI has an unusual host")
	case !loopbackHost(u.Hostname()):
		return nil, errors.New("redirect URI is not on this computer")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, errors.New("redirect URI has no valid port")
		}
	} else if strings.HasSuffix(u.Host, ":") {
		return nil, errors.New("redirect URI has an empty port")
	}
	return u, nil
}

// loopbackHost reports whether a host name, without port and brackets, stands for this computer in every browser: a loopback address in its
// usual spelling, localhost, or a name under localhost (RFC 6761, section 6.3).
func loopbackHost(host string) bool {
	host = strings.ToLower(host)
	if host == "localhost" {
		return true
	}
	if name, ok := strings.CutSuffix(host, ".localhost"); ok {
		for label := range strings.SplitSeq(name, ".") {
			if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
				return false
			}
		}
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Zone() == "" && !addr.Is4In6() && addr.IsLoopback()
}

// hostname is the host of a Host header without port and brackets.
func hostname(hostport string) string {
	u := url.URL{Host: hostport}
	return u.Hostname()
}

// origin is scheme, host and port of a URL, as a content security policy writes it.
func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }
