package config

import (
	"fmt"
	"time"
)

const (
	minSecret = 32 // bytes of a session secret
	// maxLifetime is how long the marks of ended sessions are kept: a session that lives longer would come back.
	maxLifetime = 336 * time.Hour
)

func (d *decoder) checkSession(c *Config) {
	s := &c.Session
	lifetimeOK := d.ok("session.lifetime")
	switch {
	case !lifetimeOK:
	case s.Lifetime < time.Minute:
		d.problem("session.lifetime", "is under a minute; write a duration like 336h")
		lifetimeOK = false
	case s.Lifetime > maxLifetime:
		d.problem("session.lifetime", "is over 336h, which is how long it is remembered that a session was ended; write 336h or less")
		lifetimeOK = false
	}
	if lifetimeOK && d.ok("session.idle_timeout") && s.IdleTimeout > s.Lifetime {
		if d.wasSet("session.idle_timeout") {
			d.problem("session.idle_timeout", "is longer than session.lifetime, %s; write that or less", formatDuration(s.Lifetime))
		} else {
			s.IdleTimeout = s.Lifetime
		}
	}
	d.checkSecretLength("session.secret", "session.secret_file", s.Secret)
	for i, old := range s.OldSecrets {
		path := fmt.Sprintf("session.old_secrets[%d]", i)
		if !old.Value.IsSet() && d.ok(path) && d.ok(path+".value") && d.ok(path+".file") {
			d.problem(path, "has neither value nor file; write one of them, or remove it")
		}
		d.checkSecretLength(path+".value", path+".file", old.Value)
	}
	if s.Store == StoreRedis && !s.Secret.IsSet() && d.ok("session.secret") && d.ok("session.secret_file") {
		d.missing("session.secret", "one secret for all processes that share the Redis, or secret_file; run portero secret")
	}
	if d.ok("session.file.path") && s.Store == StoreFile && s.File.Path == "" {
		d.missing("session.file.path", "the name of a file, like portero.db")
	}
	d.checkRedis(s)
}

func (d *decoder) checkSecretLength(path, filePath string, s Secret) {
	if !s.IsSet() || !d.ok(path) || !d.ok(filePath) {
		return
	}
	if n := len(s.Reveal()); n < minSecret {
		if d.placeOf(filePath) > d.placeOf(path) {
			path = filePath
		}
		d.problem(path, "has %d bytes and needs %d; run portero secret", n, minSecret)
	}
}
