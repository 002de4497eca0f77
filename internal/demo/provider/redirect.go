package provider

import (
	"cmp"
	"errors"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ParseRedirectURI returns the URL a browser may be sent to after a sign-in or a sign-out: http or https, on this computer, or one that is
// registered. Whatever two readers could understand differently (user information, backslashes, unusual spellings of an address) is refused.
func ParseRedirectURI(raw string, registered ...string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("redirect URI cannot be read")
	}
	if slices.Contains(registered, raw) && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" {
		return u, nil
	}
	for _, c := range []byte(raw) {
		if c <= ' ' || c >= 0x7f || c == '\\' {
			return nil, errors.New("redirect URI has characters that do not belong there")
		}
	}
	if u.User == nil && slices.ContainsFunc(registered, func(one string) bool { return matchesRegistered(one, u) }) {
		return u, nil
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

// wildcard is what a * of a registered URI stands for: something of one label of the host, or of one segment of the path.
const wildcard = `[A-Za-z0-9_~-]+`

// matchesRegistered reports whether a URL is a registered one, whose host and path may have wildcards: the case of the host, the default port and
// a path of / make no difference.
func matchesRegistered(registered string, u *url.URL) bool {
	want, err := url.Parse(strings.ReplaceAll(registered, "*", wildcardName))
	if err != nil || want.User != nil || normal(want) == "" {
		return false
	}
	pattern := `\A` + strings.ReplaceAll(regexp.QuoteMeta(normal(want)), wildcardName, wildcard) + `\z`
	matched, err := regexp.MatchString(pattern, normal(u))
	return err == nil && matched
}

// wildcardName stands for a * where that would not be part of a host.
const wildcardName = "wildcard0f3b9c"

// normal is a web address as the standard for URLs writes it; "" for every other.
func normal(u *url.URL) string {
	port, standard := u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme]
	if standard == "" || u.Hostname() == "" || u.Opaque != "" || u.Fragment != "" {
		return ""
	}
	host := strings.ToLower(u.Hostname())
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" && port != standard {
		host += ":" + port
	}
	path := cmp.Or(u.EscapedPath(), "/")
	if u.RawQuery != "" || u.ForceQuery {
		path += "?" + u.RawQuery
	}
	return u.Scheme + "://" + host + path
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
