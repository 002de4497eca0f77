package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// finish completes what was decoded: names of files, secrets in files, short forms, defaults of routes; and checks it.
// The order is that of the file, save that routes come before what is said about their claims and hosts.
func (d *decoder) finish(c *Config) {
	d.anchorFiles(c)
	d.readSecrets(c)
	for _, one := range []struct {
		section string
		check   func(*Config)
	}{
		{"listen", d.checkListeners},
		{"external_url", d.checkExternalURL},
		{"trusted_proxies", d.checkTrustedProxies},
		{"admin", d.checkAdmin},
		{"tls", d.checkTLS},
		{"logto", d.checkLogto},
		{"mailgun", d.checkMailgun},
		{"session", d.checkSession},
		{"endpoints", d.checkEndpoints},
		{"allow", d.checkAllow},
		{"identity", d.checkIdentity},
		{"routes", d.checkRoutes},
		{"pages", d.checkPages},
	} {
		if !d.skip(&key{entry: entry{path: one.section}}) {
			one.check(c)
		}
	}
	if len(d.only) == 0 {
		d.deriveScopes(c)
		d.warnAboutFile(c)
	}
}

// anchorFiles makes names of files absolute: they are relative to the configuration file.
func (d *decoder) anchorFiles(c *Config) {
	for _, name := range []*string{
		&c.Admin.TokenFile, &c.TLS.CertFile, &c.TLS.KeyFile, &c.Logto.CAFile, &c.Logto.AppSecretFile,
		&c.Logto.Management.AppSecretFile, &c.Mailgun.APIKeyFile, &c.Session.SecretFile, &c.Session.File.Path,
		&c.Session.Redis.URLFile, &c.Session.Redis.TLS.CAFile,
		&c.Pages.LogoFile, &c.Pages.LogoDarkFile, &c.Log.AuditFile,
	} {
		*name = absolute(d.dir, *name)
	}
	for i := range c.Session.OldSecrets {
		c.Session.OldSecrets[i].File = absolute(d.dir, c.Session.OldSecrets[i].File)
	}
}

// missing reports a key that has to be there.
func (d *decoder) missing(path, write string) {
	if d.bad[path] {
		return
	}
	if d.wasSet(path) {
		d.problem(path, "is empty; write %s", write)
		return
	}
	for _, section := range d.absent(path) { // a section that is no section was reported; its keys are not missing
		if d.bad[section] {
			return
		}
	}
	d.problem(path, "is missing; write %s, or set %s", write, (&key{entry: entry{path: path}}).variable())
}

// absent lists the sections that a key is in.
func (d *decoder) absent(path string) []string {
	var above []string
	for i := strings.LastIndexByte(path, '.'); i > 0; i = strings.LastIndexByte(path, '.') {
		path = path[:i]
		above = append(above, path)
	}
	return above
}

// ok says whether nothing was wrong with a value yet.
func (d *decoder) ok(path string) bool { return !d.bad[path] }

// canonicalName is the one spelling of the name or address of a host, as package forwarded makes it of what browsers send;
// IPv6 in brackets. The message says what is wrong and what to write.
func canonicalName(host string) (name, message string) {
	bare := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if addr, err := netip.ParseAddr(bare); err == nil {
		switch {
		case addr.Zone() != "":
			return "", "has a zone; write the address without"
		case addr.Is6():
			return "[" + addr.String() + "]", ""
		}
		return addr.String(), ""
	}
	name = strings.TrimSuffix(lowerASCII(host), ".")
	switch {
	case name == "":
		return "", "is empty; write a name like wiki.example.com"
	case strings.Contains(name, "*"):
		return "", "has a *; wildcards are not available, write each host"
	case len(name) > 253:
		return "", "is longer than a name can be; write a shorter one"
	}
	for _, r := range name {
		if r < 0x80 {
			continue
		}
		if ascii, err := idna.Lookup.ToASCII(name); err == nil {
			return "", "has letters that are not ASCII; write " + ascii
		}
		return "", "has letters that are not ASCII; write the name as xn--…"
	}
	for _, label := range strings.Split(name, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, func(r rune) bool {
			return !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '_')
		}) {
			return "", "is no name of a host; write one like wiki.example.com"
		}
	}
	return name, ""
}

// onLoopback says whether only this machine reaches the host.
func onLoopback(host string) bool {
	host = strings.Trim(lowerASCII(host), "[]")
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// splitListen checks the address of a listener.
func splitListen(address string) (host, port, message string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		if _, err := strconv.Atoi(address); err == nil {
			return "", "", fmt.Sprintf("%s is a port alone; write 127.0.0.1:%s", quote(address), address)
		}
		return "", "", quote(address) + " is no address with a port; write one like 127.0.0.1:3000"
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return "", "", quote(address) + " has a port that is none; write a number from 0 to 65535"
	}
	if host == "" {
		return host, port, ""
	}
	if addr, err := netip.ParseAddr(host); err == nil { // zones are fine here
		return addr.String(), port, ""
	}
	name, message := canonicalName(host)
	if message != "" {
		return "", "", quote(address) + ": its host " + message
	}
	return name, port, ""
}

// sameListener says whether two addresses cannot both be listened on.
func sameListener(a, b string) bool {
	hostA, portA, bad := splitListen(a)
	hostB, portB, alsoBad := splitListen(b)
	if bad != "" || alsoBad != "" || portA != portB || portA == "0" {
		return false
	}
	return hostA == hostB || wildcard(hostA) || wildcard(hostB) || onLoopback(hostA) && onLoopback(hostB) && (hostA == "localhost" || hostB == "localhost")
}

func wildcard(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "" || err == nil && addr.IsUnspecified()
}

// needsPlainHTTP says whether a URL that browsers or secrets use goes over the net in the clear.
func needsPlainHTTP(u *url.URL) bool {
	return u != nil && u.Scheme == "http" && !onLoopback(u.Hostname())
}
