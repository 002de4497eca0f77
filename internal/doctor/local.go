package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"portero/internal/config"
	"portero/internal/gateway"
)

// certificateNotice is how long before its end a certificate is worth a warning.
const certificateNotice = 14 * 24 * time.Hour

// localChecks are the checks of what the gateway keeps: files on this machine, and the session store.
func localChecks(o Options) []check {
	return []check{
		{"session-store", func(ctx context.Context) Finding { return checkStore(ctx, o.Config) }},
		{"secret-files", func(context.Context) Finding { return checkSecretFiles(o) }},
		{"certificate", func(context.Context) Finding { return checkCertificate(o) }},
	}
}

// secretFile is a file that holds a secret.
type secretFile struct {
	key, name string
	made      bool // by the gateway, so it may not be there
}

// checkSecretFiles looks at who may read the files that hold secrets.
func checkSecretFiles(o Options) Finding {
	c := o.Config
	var open, names []string
	looked := 0
	files := []secretFile{
		{"logto.app_secret_file", c.Logto.AppSecretFile, false},
		{"logto.management.app_secret_file", c.Logto.Management.AppSecretFile, false},
		{"mailgun.api_key_file", c.Mailgun.APIKeyFile, false},
		{"session.secret_file", c.Session.SecretFile, false},
		{"session.redis.url_file", c.Session.Redis.URLFile, false},
		{"admin.token_file", c.Admin.TokenFile, false},
		{"tls.key_file", c.TLS.KeyFile, false},
	}
	if c.Session.Store == config.StoreFile {
		files = append(files, secretFile{"session.file", c.Session.File.Path, true}, secretFile{"the session secret", c.Session.File.Path + ".secret", true})
	}
	if token, err := gateway.TokenPath(c); err == nil && !c.Admin.Token.IsSet() {
		files = append(files, secretFile{"the admin token", token, true})
	}
	for _, f := range files {
		if f.name == "" {
			continue
		}
		info, err := os.Stat(f.name)
		if f.made && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return failed("files of secrets that can be read", "the file of "+f.key+" is not there or cannot be looked at", "run this as the gateway's user, or look at "+f.key)
		}
		looked++
		if info.Mode().Perm()&0o044 != 0 {
			open, names = append(open, f.key), append(names, f.name)
		}
	}
	switch {
	case len(open) > 0:
		return warning("files of secrets that only their owner can read", "others can read the file of "+strings.Join(open, ", "), "chmod 600 "+strings.Join(names, " "))
	case looked == 0:
		return ok("the configuration names no files of secrets")
	}
	return ok("only their owner can read them (%d)", looked)
}

// checkCertificate looks at the public listener's certificate: that it fits its key, its time, and the hosts of external_url and routes.
func checkCertificate(o Options) Finding {
	c := o.Config
	if !c.TLS.Enabled() {
		return skipped("the public listener speaks plain HTTP", "")
	}
	const remedy = "put the right files into tls.cert_file and tls.key_file"
	pair, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile)
	if err != nil {
		return failed("a certificate and its key", "tls.cert_file and tls.key_file cannot be read, or do not belong together", remedy)
	}
	leaf, now := pair.Leaf, o.Now()
	end := leaf.NotAfter.UTC().Format(time.RFC3339)
	switch {
	case now.After(leaf.NotAfter):
		return failed("a certificate that is valid", "it ended at "+end, "renew the certificate of tls.cert_file")
	case now.Before(leaf.NotBefore):
		return failed("a certificate that is valid", "it begins at "+leaf.NotBefore.UTC().Format(time.RFC3339), "look at this machine's clock, then at tls.cert_file")
	}
	for _, host := range append(c.Hosts(), c.ExternalURL.Hostname()) {
		if leaf.VerifyHostname(host) != nil {
			return failed("a certificate for every host of external_url and routes", fmt.Sprintf("it is not for %s", host), remedy)
		}
	}
	if now.Add(certificateNotice).After(leaf.NotAfter) {
		return warning("a certificate that is valid for 14 days more", "it ends at "+end, "renew the certificate of tls.cert_file")
	}
	return ok("valid until %s", end)
}
