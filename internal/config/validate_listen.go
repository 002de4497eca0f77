package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
)

func (d *decoder) checkListeners(c *Config) {
	if !d.ok("listen") {
		return
	}
	if _, _, message := splitListen(c.Listen); message != "" {
		d.problem("listen", "%s", message)
	}
}

func (d *decoder) checkExternalURL(c *Config) {
	switch u := c.ExternalURL; {
	case !d.ok("external_url"):
	case u == nil:
		d.missing("external_url", "the address that browsers use, like https://portal.example.com")
	case u.Path != "" && u.Path != "/":
		d.problem("external_url", "has a path, %s; write scheme, host and port alone: %s://%s", quote(u.Path), u.Scheme, u.Host)
	case needsPlainHTTP(u) && !c.IsInsecure(InsecurePlainHTTP):
		d.problem("external_url", "is http on a host other than localhost, so everybody on the way reads sessions; write https://%s, or plain-http in `insecure`", u.Host)
	default:
		u.Path, u.RawPath = "", ""
		if u.Scheme == "http" && c.TLS.Enabled() {
			d.warn("external_url", "is http although `tls` makes the listener speak https; write https://%s", u.Host)
		}
	}
}

func (d *decoder) checkTrustedProxies(c *Config) {
	for i, network := range c.TrustedProxies {
		if network.Bits() == 0 && !c.IsInsecure(InsecureTrustEverybody) {
			d.problem(fmt.Sprintf("trusted_proxies[%d]", i), "%s is everybody, who could then claim any address; write the networks of your proxies, or trust-everybody in `insecure`", network)
		}
	}
}

func (d *decoder) checkAdmin(c *Config) {
	a := &c.Admin
	if d.ok("admin.listen") {
		host, _, message := splitListen(a.Listen)
		switch {
		case message != "":
			d.problem("admin.listen", "%s", message)
		case !onLoopback(host) && !a.Token.IsSet() && d.ok("admin.token") && d.ok("admin.token_file"):
			d.problem("admin.listen", "%s is reachable from other machines and there is no token; write admin.token or admin.token_file, or listen on 127.0.0.1", quote(a.Listen))
		case sameListener(a.Listen, c.Listen):
			d.problem("admin.listen", "%s is the address of `listen`; write another port", quote(a.Listen))
		}
	}
	if d.ok("admin.metrics_listen") && a.MetricsListen != "" {
		_, _, message := splitListen(a.MetricsListen)
		switch {
		case message != "":
			d.problem("admin.metrics_listen", "%s", message)
		case sameListener(a.MetricsListen, c.Listen) || sameListener(a.MetricsListen, a.Listen):
			d.problem("admin.metrics_listen", "%s is taken by another listener; write another port", quote(a.MetricsListen))
		}
	}
	for i, host := range a.Hosts {
		path := fmt.Sprintf("admin.hosts[%d]", i)
		name, message := canonicalName(host)
		if message != "" {
			d.problem(path, "%s %s", quote(host), message)
		}
		a.Hosts[i] = name
	}
	if token := a.Token.Reveal(); strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		d.problem("admin.token", "has characters that a request header cannot carry; write letters and digits, without base64: or hex:")
	}
}

func (d *decoder) checkTLS(c *Config) {
	cert, key := c.TLS.CertFile, c.TLS.KeyFile
	switch {
	case cert == "" && key == "" || !d.ok("tls.cert_file") || !d.ok("tls.key_file"):
		return
	case cert == "":
		d.missing("tls.cert_file", "the file with the certificate that belongs to tls.key_file")
		return
	case key == "":
		d.missing("tls.key_file", "the file with the key that belongs to tls.cert_file")
		return
	}
	certificate, ok := d.readFileOf("tls.cert_file", cert)
	private, also := d.readFileOf("tls.key_file", key)
	if !ok || !also {
		return
	}
	d.warnAboutMode("tls.key_file", key)
	if _, err := tls.X509KeyPair(certificate, private); err != nil {
		d.problem("tls.cert_file", "is no PEM certificate, or not the one of tls.key_file: %s; write the two files that belong together", plainTLSError(err))
	}
}

// plainTLSError is the reason in the error of tls.X509KeyPair, which quotes no bytes of either file.
func plainTLSError(err error) string { return strings.TrimPrefix(err.Error(), "tls: ") }

func (d *decoder) readFileOf(path, name string) ([]byte, bool) {
	content, err := readLimited(name, maxSize)
	switch {
	case err != nil:
		d.problem(path, "%s: %s", quote(name), readError(err, "1 MiB"))
		return nil, false
	case len(content) == 0:
		d.problem(path, "%s: the file is empty; write its content", quote(name))
		return nil, false
	}
	return content, true
}

// ReadCA reads the certificates of logto.ca_file. It is nil where none is configured: the system's count.
func (l Logto) ReadCA() (*x509.CertPool, error) { return readCA("logto.ca_file", l.CAFile) }

// ReadCA reads the certificates of session.redis.tls.ca_file. It is nil where none is configured: the system's count.
func (t RedisTLS) ReadCA() (*x509.CertPool, error) {
	return readCA("session.redis.tls.ca_file", t.CAFile)
}

func readCA(path, name string) (*x509.CertPool, error) {
	if name == "" {
		return nil, nil
	}
	content, err := readLimited(name, maxSize)
	if err != nil {
		return nil, errors.New("reading " + path + ": " + readError(err, "1 MiB"))
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, errors.New("reading " + path + ": there is no PEM certificate in it")
	}
	return pool, nil
}

// checkCA says what is wrong with a file of certificates.
func (d *decoder) checkCA(path, name string) {
	if !d.ok(path) || name == "" {
		return
	}
	if _, err := readCA(path, name); err != nil {
		d.problem(path, "%s: %s", quote(name), strings.TrimPrefix(err.Error(), "reading "+path+": "))
	}
}

func (d *decoder) checkEndpoints(c *Config) {
	e := c.Endpoints
	prefixOK := d.ok("endpoints.prefix")
	if prefixOK {
		switch message := checkEndpoint(e.Prefix); {
		case e.Prefix == "" || e.Prefix == "/":
			d.problem("endpoints.prefix", "is the whole site; write a path of your own, like /_portero")
			prefixOK = false
		case message != "":
			d.problem("endpoints.prefix", "%s %s", quote(e.Prefix), message)
			prefixOK = false
		}
	}
	seen := map[string]string{}
	for _, one := range []struct{ name, path string }{
		{"endpoints.sign_in", e.SignIn}, {"endpoints.callback", e.Callback}, {"endpoints.sign_out", e.SignOut},
	} {
		if one.path == "" || !d.ok(one.name) {
			continue
		}
		switch message := checkEndpoint(one.path); {
		case message != "":
			d.problem(one.name, "%s %s", quote(one.path), message)
		case one.path == "/":
			d.problem(one.name, "is the start page of the application; write a path like /sign-in")
		case seen[one.path] != "":
			d.problem(one.name, "is the path of %s; write another", seen[one.path])
		case prefixOK && (one.path == e.Prefix || strings.HasPrefix(one.path, e.Prefix+"/")):
			d.problem(one.name, "is under endpoints.prefix, where it answers anyway; write another path, or \"\" to switch it off")
		case e.Aliases == AliasesOAuth2Proxy && slices.Contains([]string{"/oauth2/start", "/oauth2/sign_in", "/oauth2/sign_out", "/oauth2/auth", "/oauth2/userinfo"}, one.path):
			d.problem(one.name, "is an endpoint of endpoints.aliases; write another path")
		}
		seen[one.path] = one.name
	}
}

// checkEndpoint says what is wrong with a path of our own. Such paths have one spelling only, so that no reading of a request
// is an endpoint and another is not.
func checkEndpoint(path string) string {
	switch {
	case path == "":
		return ""
	case path[0] != '/':
		return "does not begin with a slash; write /" + path
	case len(path) > 1 && strings.HasSuffix(path, "/"):
		return "ends in a slash; write " + strings.TrimRight(path, "/")
	case strings.Contains(path, "//") || hasDotSegment(path):
		return "has an empty segment or one of dots; write the path without"
	case strings.ContainsFunc(path, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._~/", r))
	}):
		return "has characters other than letters, digits and -._~; write the path without"
	}
	return ""
}

func hasDotSegment(path string) bool {
	for _, segment := range strings.Split(path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}
