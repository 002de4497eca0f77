package config

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

const (
	maxKeyPrefix     = 64 // bytes; it is in every key
	defaultRedisPort = "6379"
)

// RedisServer is what session.redis.url says.
type RedisServer struct {
	Network  string // tcp or unix
	Address  string // host and port, or the name of a socket. With Redis.Addresses it does not count
	TLS      bool
	User     string // empty: Redis's default user
	Password Secret // not set: none is sent
	DB       int
}

// Server is what URL says. The zero value: URL is none, which Load refuses.
func (r Redis) Server() RedisServer {
	server, message := parseRedisURL(r.URL.Reveal())
	if message != "" {
		return RedisServer{}
	}
	return server
}

func (d *decoder) checkRedis(s *Session) {
	r := &s.Redis
	server, ok := d.checkRedisURL(r)
	d.checkRedisAddresses(r.Addresses)
	const addresses, masterName, cluster = "session.redis.addresses", "session.redis.master_name", "session.redis.cluster"
	switch {
	case !d.ok(addresses) || !d.ok(masterName) || !d.ok(cluster):
	case r.MasterName != "" && r.Cluster:
		d.problem(cluster, "excludes session.redis.master_name, since a cluster needs no Sentinels; keep one of them")
	case r.MasterName != "" && len(r.Addresses) == 0:
		d.missing(addresses, "the host and port of each Sentinel, like sentinel-1:26379")
	case r.MasterName == "" && !r.Cluster && len(r.Addresses) > 0:
		d.problem(addresses, "is for Sentinels or a cluster; write master_name or cluster: true beside it, or the one server in session.redis.url")
	case ok && server.Network == "unix" && (r.Cluster || r.MasterName != ""):
		d.problem("session.redis.url", "is a socket of this machine, which is neither Sentinels nor a cluster; write redis:// or rediss://")
	case ok && r.Cluster && server.DB != 0:
		d.problem("session.redis.url", "names a database, and a cluster has only number 0; write /0 at its end")
	}
	d.checkCA("session.redis.tls.ca_file", r.TLS.CAFile)
	if ok && r.TLS.CAFile != "" && !server.TLS && d.ok("session.redis.tls.ca_file") {
		d.problem("session.redis.tls.ca_file", "counts with TLS alone; write rediss:// in session.redis.url, or remove it")
	}
	d.checkKeyPrefix(r.KeyPrefix)
	if ok && s.Store == StoreRedis && !server.TLS && server.Password.IsSet() && r.leavesMachine(server) {
		d.warn("session.redis.url", "sends its password over the net in the clear; write rediss://, unless nobody else is on the way")
	}
}

func (d *decoder) checkRedisURL(r *Redis) (RedisServer, bool) {
	const path, filePath = "session.redis.url", "session.redis.url_file"
	if !d.ok(path) || !d.ok(filePath) {
		return RedisServer{}, false
	}
	if !r.URL.IsSet() {
		d.missing(path, "the address of Redis, like redis://127.0.0.1:6379/0, or url_file")
		return RedisServer{}, false
	}
	server, message := parseRedisURL(r.URL.Reveal())
	if message == "" {
		scheme, rest, _ := strings.Cut(r.URL.Reveal(), "://")
		r.URL = NewSecret(lowerASCII(scheme) + "://" + rest) // as every client knows it
		return server, true
	}
	at := path
	if r.URLFile != "" { // readSecrets has emptied it if it does not count
		at, message = filePath, quote(r.URLFile)+": the content "+message
	}
	d.problem(at, "%s", message)
	return RedisServer{}, false
}

// parseRedisURL reads the address of a Redis. The message quotes nothing, since any part may be one of the password, where
// that was not encoded.
func parseRedisURL(value string) (RedisServer, string) {
	scheme, rest, ok := strings.Cut(value, "://")
	scheme = lowerASCII(scheme)
	switch {
	case strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r == 0x7f || unicode.IsControl(r) }):
		return RedisServer{}, "has spaces or control characters; write it without, in the password %20 for a space"
	case !ok:
		return RedisServer{}, "has no scheme; write redis://HOST:6379/0, or rediss:// for TLS"
	case scheme != "redis" && scheme != "rediss" && scheme != "unix":
		return RedisServer{}, "is not redis, rediss or unix; write redis://HOST:6379/0, or rediss:// for TLS"
	}
	const encode = "; write it like redis://USER:PASSWORD@HOST:6379/0, with %40 %2F %3A %3F %23 %25 for @ / : ? # % in the password"
	u, err := url.Parse(scheme + "://" + rest)
	if err != nil {
		return RedisServer{}, "is no URL" + encode
	}
	server := RedisServer{Network: "tcp", TLS: scheme == "rediss"}
	if u.User != nil {
		password, _ := u.User.Password()
		switch {
		case password == "":
			return RedisServer{}, "has a user without a password; write USER:PASSWORD@ before the host, or :PASSWORD@ for Redis's default user"
		case isPlaceholder(password) || isSecretPlaceholder(password):
			return RedisServer{}, "has an example text for a password; write the real value"
		}
		server.User, server.Password = u.User.Username(), NewSecret(password)
	}
	if scheme == "unix" {
		return socketOf(server, u)
	}
	name, message := canonicalName(u.Hostname())
	if message != "" {
		return RedisServer{}, "has a host that is none" + encode
	}
	port := u.Port()
	if port == "" {
		port = defaultRedisPort
	}
	if !isPort(port) || strings.HasSuffix(u.Host, ":") {
		return RedisServer{}, "has a port that is none; write a number from 1 to 65535"
	}
	server.Address = net.JoinHostPort(strings.Trim(name, "[]"), port)
	switch {
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(rest, "#"):
		return RedisServer{}, "has a query or a fragment" + encode
	case u.Path != "" && u.Path != "/":
		if server.DB, ok = parseDB(strings.TrimPrefix(u.EscapedPath(), "/")); !ok {
			return RedisServer{}, "has a path that is no number of a database; write one like /0 at its end"
		}
	}
	return server, ""
}

// socketOf completes what is said about a socket of this machine: unix://USER:PASSWORD@/run/redis.sock?db=0.
func socketOf(server RedisServer, u *url.URL) (RedisServer, string) {
	server.Network, server.Address = "unix", u.Path
	query, ok := "", true
	if u.RawQuery != "" || u.ForceQuery {
		if query, ok = strings.CutPrefix(u.RawQuery, "db="); ok {
			server.DB, ok = parseDB(query)
		}
	}
	switch {
	case u.Host != "" || u.Path == "" || strings.HasSuffix(u.Path, "/"):
		return RedisServer{}, "names no socket; write three slashes, like unix:///run/redis/redis.sock"
	case !ok || u.Fragment != "":
		return RedisServer{}, "has a query that is no database; write one like ?db=0, or none"
	}
	return server, ""
}

func parseDB(text string) (int, bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= 0 && n < 10000 && strconv.Itoa(n) == text
}

func isPort(text string) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n >= 1 && n <= 65535
}

// checkRedisAddresses checks the addresses and gives them their one spelling.
func (d *decoder) checkRedisAddresses(addresses []string) {
	for i, address := range addresses {
		path := fmt.Sprintf("session.redis.addresses[%d]", i)
		host, port, err := net.SplitHostPort(address)
		switch name, message := canonicalName(host); {
		case strings.Contains(address, "://") || strings.Contains(address, "@"):
			d.problem(path, "is a URL; write host and port alone, like redis-1:6379: user, password and TLS are those of session.redis.url")
		case err != nil:
			d.problem(path, "%s has no port; write host and port, like redis-1:6379", quote(address))
		case !isPort(port):
			d.problem(path, "%s has a port that is none; write a number from 1 to 65535", quote(address))
		case message != "":
			d.problem(path, "%s: its host %s", quote(address), message)
		default:
			addresses[i] = net.JoinHostPort(strings.Trim(name, "[]"), port)
		}
	}
}

// checkKeyPrefix checks what begins every key. A brace would put all keys of a cluster into one slot, and the others mean
// something in the patterns of Redis's access lists.
func (d *decoder) checkKeyPrefix(prefix string) {
	const path = "session.redis.key_prefix"
	switch {
	case !d.ok(path):
	case prefix == "":
		d.missing(path, "what begins every key of ours, like portero:")
	case len(prefix) > maxKeyPrefix:
		d.problem(path, "has %d bytes; write %d or fewer", len(prefix), maxKeyPrefix)
	case strings.ContainsFunc(prefix, unicode.IsSpace):
		d.problem(path, "%s has spaces; write it without, like portero:", quote(prefix))
	case strings.ContainsAny(prefix, `{}*?[]\`):
		d.problem(path, `%s has one of {}*?[]\, which mean something to Redis; write it without, like portero:`, quote(prefix))
	}
}

// leavesMachine says whether a connection goes over the net.
func (r Redis) leavesMachine(server RedisServer) bool {
	if server.Network == "unix" {
		return false
	}
	addresses := r.Addresses
	if len(addresses) == 0 {
		addresses = []string{server.Address}
	}
	for _, address := range addresses {
		if host, _, err := net.SplitHostPort(address); err == nil && !onLoopback(host) {
			return true
		}
	}
	return false
}

// withoutPassword is the URL as it may be printed.
func withoutPassword(value string) string {
	server, message := parseRedisURL(value)
	switch {
	case value == "":
		return ""
	case message != "":
		return redacted
	case !server.Password.IsSet():
		return value
	}
	scheme, rest, _ := strings.Cut(value, "://")
	authority, _, _ := strings.Cut(rest, "/")
	end := strings.LastIndexByte(authority, '@')
	user, _, ok := strings.Cut(authority[:max(end, 0)], ":")
	if !ok {
		return redacted
	}
	return scheme + "://" + user + ":" + redacted + rest[end:]
}
