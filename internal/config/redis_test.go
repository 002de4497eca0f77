package config_test

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"portero/internal/config"
)

const sessionSecret = canary + "-and-32-bytes-of-it"

// inRedis is `session:` with sessions in Redis, and what stands in `redis: {…}`.
func inRedis(keys string) string {
	return "session: {store: redis, secret: " + sessionSecret + ", redis: {" + keys + "}}"
}

func TestMistakesInRedis(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		session string
		prefix  string
		parts   []string
	}{
		"no secret":                    {"session: {store: redis}", "session.secret: is missing", []string{"portero secret", "PORTERO_SESSION_SECRET"}},
		"empty secret":                 {`session: {store: redis, secret: ""}`, "session.secret: is empty", []string{"portero secret"}},
		"secret file missing":          {"session: {store: redis, secret_file: nowhere}", "session.secret_file: ", []string{"there is no such file"}},
		"short secret":                 {"session: {store: redis, secret: too-short}", "session.secret: has 9 bytes and needs 32", nil},
		"empty URL":                    {inRedis(`url: ""`), "session.redis.url: is empty", []string{"redis://127.0.0.1:6379/0"}},
		"no scheme":                    {inRedis("url: \"localhost:6379\""), "session.redis.url: has no scheme; write redis://HOST:6379/0", nil},
		"another scheme":               {inRedis("url: \"http://:" + canary + "@localhost:6379\""), "session.redis.url: is not redis, rediss or unix", nil},
		"no host":                      {inRedis("url: \"redis://:" + canary + "@/0\""), "session.redis.url: has a host that is none", nil},
		"host that is none":            {inRedis("url: \"redis://:" + canary + "@a b/0\""), "session.redis.url: has spaces", nil},
		"bad port":                     {inRedis("url: \"redis://:" + canary + "@localhost:70000\""), "session.redis.url: has a port that is none", nil},
		"port zero":                    {inRedis("url: \"redis://localhost:0\""), "session.redis.url: has a port that is none", nil},
		"port of letters":              {inRedis("url: \"redis://:" + canary + "@localhost:redis\""), "session.redis.url: is no URL", []string{"%40"}},
		"port that is empty":           {inRedis("url: \"redis://localhost:/0\""), "session.redis.url: has a port that is none", nil},
		"slash in the password":        {inRedis("url: \"redis://:a/" + canary + "@localhost:6379\""), "session.redis.url: is no URL", []string{"%2F"}},
		"hash in the password":         {inRedis("url: \"redis://:1#" + canary + "@localhost:6379\""), "session.redis.url: ", nil},
		"percent in the password":      {inRedis("url: \"redis://:%zz" + canary + "@localhost:6379\""), "session.redis.url: is no URL", nil},
		"database that is none":        {inRedis("url: \"redis://localhost/sessions\""), "session.redis.url: has a path that is no number of a database", nil},
		"negative database":            {inRedis("url: \"redis://localhost/-1\""), "session.redis.url: has a path that is no number", nil},
		"database and more":            {inRedis("url: \"redis://localhost/0/1\""), "session.redis.url: has a path that is no number", nil},
		"query":                        {inRedis("url: \"redis://localhost/0?pool_size=3\""), "session.redis.url: has a query or a fragment", nil},
		"user without password":        {inRedis("url: \"redis://" + canary + "@localhost\""), "session.redis.url: has a user without a password", []string{":PASSWORD@"}},
		"example password":             {inRedis("url: \"redis://:changeme@localhost\""), "session.redis.url: has an example text for a password", nil},
		"example password, printed":    {inRedis("url: \"redis://:(redacted)@localhost\""), "session.redis.url: has an example text for a password", nil},
		"example password, a word":     {inRedis("url: \"redis://:password@localhost\""), "session.redis.url: has an example text for a password", nil},
		"example URL":                  {inRedis("url: <your redis>"), "session.redis.url: is an example text", nil},
		"both URL and file":            {inRedis("url: \"redis://localhost\", url_file: url"), "session.redis.url_file: is there together with session.redis.url", nil},
		"file missing":                 {inRedis("url_file: nowhere"), "session.redis.url_file: ", []string{"there is no such file"}},
		"socket with a host":           {inRedis("url: \"unix://run/redis.sock\""), "session.redis.url: names no socket", []string{"unix:///"}},
		"socket without a path":        {inRedis("url: \"unix://\""), "session.redis.url: names no socket", nil},
		"socket that is a folder":      {inRedis("url: \"unix:///run/\""), "session.redis.url: names no socket", nil},
		"socket with a bad database":   {inRedis("url: \"unix:///run/redis.sock?db=a\""), "session.redis.url: has a query that is no database", nil},
		"socket with another query":    {inRedis("url: \"unix:///run/redis.sock?a=0\""), "session.redis.url: has a query that is no database", nil},
		"socket for a cluster":         {inRedis("url: \"unix:///run/redis.sock\", cluster: true"), "session.redis.url: is a socket of this machine", nil},
		"cluster with a database":      {inRedis("url: \"redis://localhost/1\", cluster: true"), "session.redis.url: names a database, and a cluster has only number 0", nil},
		"cluster and Sentinels":        {inRedis("cluster: true, master_name: a, addresses: [\"a:1\"]"), "session.redis.cluster: excludes session.redis.master_name", nil},
		"Sentinels without addresses":  {inRedis("master_name: a"), "session.redis.addresses: is missing", []string{"26379"}},
		"addresses of nothing":         {inRedis("addresses: [\"a:1\", \"b:1\"]"), "session.redis.addresses: is for Sentinels or a cluster", []string{"session.redis.url"}},
		"address without port":         {inRedis("cluster: true, addresses: [a]"), `session.redis.addresses[0]: "a" has no port`, nil},
		"address with a bad port":      {inRedis("cluster: true, addresses: [\"a:0\"]"), `session.redis.addresses[0]: "a:0" has a port that is none`, nil},
		"address without host":         {inRedis("cluster: true, addresses: [\":6379\"]"), `session.redis.addresses[0]: ":6379": its host is empty`, nil},
		"address that is a URL":        {inRedis("cluster: true, addresses: [\"redis://:" + canary + "@a:1\"]"), "session.redis.addresses[0]: is a URL", nil},
		"address with a star":          {inRedis("cluster: true, addresses: [\"*.example.com:1\"]"), "session.redis.addresses[0]: ", []string{"has a *"}},
		"CA that is not there":         {inRedis("url: \"rediss://localhost\", tls: {ca_file: nowhere}"), "session.redis.tls.ca_file: ", []string{"no such file"}},
		"prefix with a brace":          {inRedis(`key_prefix: "{portero}:"`), `session.redis.key_prefix: "{portero}:" has one of {}*?[]\`, nil},
		"prefix with a star":           {inRedis(`key_prefix: "*"`), "session.redis.key_prefix: ", []string{"has one of"}},
		"prefix with a space":          {inRedis(`key_prefix: "a b"`), `session.redis.key_prefix: "a b" has spaces`, nil},
		"prefix with another space":    {inRedis("key_prefix: \"a\u00a0b\""), "session.redis.key_prefix: ", []string{"has spaces"}},
		"prefix with control":          {inRedis(`key_prefix: "a\u0007"`), "session.redis.key_prefix: has control characters", nil},
		"prefix of nothing":            {inRedis(`key_prefix: ""`), "session.redis.key_prefix: is empty", []string{"portero:"}},
		"prefix that is too long":      {inRedis("key_prefix: " + strings.Repeat("a", 65)), "session.redis.key_prefix: has 65 bytes; write 64", nil},
		"mistakes with another store":  {"session: {store: memory, redis: {cluster: true, master_name: a, addresses: [\"a:1\"]}}", "session.redis.cluster: excludes", nil},
		"a URL that is a number":       {inRedis("url: 6379"), "session.redis.url: is a number; write it in quotes", nil},
		"a key that does not exist":    {inRedis("password: " + canary), "session.redis.password: is not a key", nil},
		"a lifetime longer than marks": {"session: {store: redis, secret: " + sessionSecret + ", lifetime: 337h}", "session.lifetime: is over 336h", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := load(t, with(tt.session))
			wantProblem(t, err, "portero.yaml:4: "+tt.prefix, tt.parts...)
		})
	}
}

// What is wrong with the content of url_file is said of the file, without its content.
func TestMistakesInTheFileWithTheAddressOfRedis(t *testing.T) {
	t.Parallel()
	name := write(t, filepath.Join(t.TempDir(), "url"), "redis://:"+canary+"@localhost:99999/0\n", 0o600)
	_, err := load(t, with(inRedis("url_file: "+name)))
	wantProblem(t, err, "portero.yaml:4: session.redis.url_file: "+strconv.Quote(name)+": the content has a port that is none")
}

func TestAddressesOfRedis(t *testing.T) {
	t.Parallel()
	type server struct {
		Network, Address string
		TLS              bool
		User, Password   string
		DB               int
	}
	for url, want := range map[string]server{
		"redis://127.0.0.1:6379/0":                  {Network: "tcp", Address: "127.0.0.1:6379"},
		"redis://Redis.Example.com":                 {Network: "tcp", Address: "redis.example.com:6379"},
		"REDIS://localhost/":                        {Network: "tcp", Address: "localhost:6379"},
		"rediss://redis:7000/12":                    {Network: "tcp", Address: "redis:7000", TLS: true, DB: 12},
		"redis://[::1]:6380/3":                      {Network: "tcp", Address: "[::1]:6380", DB: 3},
		"redis://:p%40ss%2Fw@localhost":             {Network: "tcp", Address: "localhost:6379", Password: "p@ss/w"},
		"rediss://portero:p%3A%25@redis.internal/1": {Network: "tcp", Address: "redis.internal:6379", TLS: true, User: "portero", Password: "p:%", DB: 1},
		"unix:///run/redis/redis.sock":              {Network: "unix", Address: "/run/redis/redis.sock"},
		"unix://portero:pw@/run/r@x.sock?db=2":      {Network: "unix", Address: "/run/r@x.sock", User: "portero", Password: "pw", DB: 2},
	} {
		c := mustLoad(t, with(inRedis(strconv.Quote("url")+": "+strconv.Quote(url))))
		s := c.Session.Redis.Server()
		if diff := cmp.Diff(server{s.Network, s.Address, s.TLS, s.User, s.Password.Reveal(), s.DB}, want); diff != "" {
			t.Errorf("%s (-got +want):\n%s", url, diff)
		}
		// The client reads the same out of it, where it takes it at all.
		o, err := redis.ParseURL(c.Session.Redis.URL.Reveal())
		if err != nil {
			t.Errorf("%s: the client refuses it: %v", url, err)
			continue
		}
		address := strings.ToLower(o.Addr)
		if diff := cmp.Diff(server{o.Network, address, o.TLSConfig != nil, o.Username, o.Password, o.DB}, want); diff != "" {
			t.Errorf("%s, as the client reads it (-got +want):\n%s", url, diff)
		}
	}
	c := mustLoad(t, with(inRedis(`cluster: true, addresses: ["Redis-1:6379", "[::1]:7000", "10.0.0.1:7001"]`)))
	if got, want := c.Session.Redis.Addresses, []string{"redis-1:6379", "[::1]:7000", "10.0.0.1:7001"}; !cmp.Equal(got, want) {
		t.Errorf("got addresses %q, want %q", got, want)
	}
}

func TestAddressOfRedisFromElsewhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := write(t, filepath.Join(dir, "url"), "rediss://:"+canary+"@redis:6380/0\n", 0o600)
	secret := "PORTERO_SESSION_SECRET=" + sessionSecret
	for what, env := range map[string][]string{
		"file":           {secret, "PORTERO_SESSION_STORE=redis", "PORTERO_SESSION_REDIS_URL_FILE=" + name},
		"variable":       {secret, "PORTERO_SESSION_STORE=redis", "PORTERO_SESSION_REDIS_URL=rediss://:" + canary + "@redis:6380/0"},
		"file over file": {secret, "PORTERO_SESSION_STORE=redis", "PORTERO_SESSION_REDIS_URL_FILE=" + name, "PORTERO_SESSION_REDIS_TLS_CA_FILE="},
	} {
		c := mustLoad(t, with(`session: {redis: {url: "redis://localhost:1"}}`), env...)
		if got := c.Session.Redis.Server(); got.Address != "redis:6380" || got.Password.Reveal() != canary || !got.TLS {
			t.Errorf("%s: got %s", what, got.Address)
		}
		watched := cmp.Equal(c.WatchedFiles(), []string{name})
		if want := strings.HasPrefix(what, "file"); watched != want {
			t.Errorf("%s: watched %q", what, c.WatchedFiles())
		}
	}
}

func TestRedisIsPrintedWithoutItsPassword(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"redis://localhost/0":                              "redis://localhost/0",
		"rediss://:" + canary + "@localhost:1/2":           "rediss://:(redacted)@localhost:1/2",
		"redis://ann:" + canary + "%40@localhost":          "redis://ann:(redacted)@localhost",
		"redis://ann:" + canary + "@x@localhost":           "redis://ann:(redacted)@localhost",
		"unix://ann:" + canary + "@/run/a@b/r.sock?db=1":   "unix://ann:(redacted)@/run/a@b/r.sock?db=1",
		"unix:///run/redis.sock":                           "unix:///run/redis.sock",
		"rediss://ann:" + canary + ":" + canary + "@[::1]": "rediss://ann:(redacted)@[::1]",
	} {
		c := mustLoad(t, with(inRedis("url: "+strconv.Quote(url))))
		resolved := string(c.YAML())
		if !strings.Contains(resolved, "url: "+want+"\n") {
			t.Errorf("%q is not printed as %q in\n%s", url, want, resolved)
		}
		for _, printed := range []string{resolved, fmt.Sprintf("%+v %#v", c, *c), fmt.Sprintf("%+v", c.Session.Redis.Server())} {
			if strings.Contains(printed, canary) {
				t.Errorf("%q is printed with its password:\n%s", url, printed)
			}
		}
		for _, w := range c.Warnings {
			if strings.Contains(w.String(), canary) {
				t.Errorf("%q: a warning has the password: %s", url, w)
			}
		}
	}
}

func TestWarningsAboutRedis(t *testing.T) {
	t.Parallel()
	const want = "portero.yaml:4: session.redis.url: sends its password over the net in the clear; write rediss://"
	for session, warned := range map[string]bool{
		inRedis(`url: "redis://:` + canary + `@redis/0"`):                                                 true,
		inRedis(`url: "redis://:` + canary + `@10.0.0.7/0"`):                                              true,
		inRedis(`url: "redis://:` + canary + `@localhost/0", cluster: true, addresses: ["10.0.0.7:1"]`):   true,
		inRedis(`url: "rediss://:` + canary + `@redis/0"`):                                                false,
		inRedis(`url: "redis://:` + canary + `@localhost/0"`):                                             false,
		inRedis(`url: "redis://:` + canary + `@redis/0", master_name: a, addresses: ["127.0.0.1:26379"]`): false,
		inRedis(`url: "redis://redis/0"`):                                                                 false,
		inRedis(`url: "unix://:` + canary + `@/run/redis.sock"`):                                          false,
		`session: {store: memory, redis: {url: "redis://:` + canary + `@redis/0"}}`:                       false,
	} {
		c := mustLoad(t, with(session))
		var got bool
		for _, w := range c.Warnings {
			got = got || strings.HasPrefix(w.String(), want)
		}
		if got != warned {
			t.Errorf("%s: got warnings %v, want one: %v", session, c.Warnings, warned)
		}
	}
}

// An address without a password is no secret: a file with it may be open.
func TestOpenFileWithAnAddressOfRedis(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := write(t, filepath.Join(dir, "secret"), sessionSecret, 0o600)
	for url, warned := range map[string]bool{"redis://redis/0": false, "rediss://:" + canary + "@redis/0": true} {
		file := write(t, filepath.Join(dir, "portero.yaml"), with("-logto",
			fmt.Sprintf("logto: {endpoint: https://t.logto.app/, app_id: abc, app_secret_file: %q}", secret),
			fmt.Sprintf("session: {store: redis, secret_file: %q, redis: {url: %q}}", secret, url)), 0o644)
		c, err := config.Load(config.Options{Path: file})
		if err != nil {
			t.Fatal(err)
		}
		if got := len(c.Warnings) > 0; got != warned {
			t.Errorf("%s: got warnings %v, want one: %v", net.JoinHostPort("redis", ""), c.Warnings, warned)
		}
	}
}

func TestRedisIsStartOnly(t *testing.T) {
	t.Parallel()
	at := func(text string) *config.Config {
		c, err := loadText(text)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	old := at(with(inRedis(`url: "redis://localhost:1"`)))
	if got := config.StartOnlyChanges(old, at(with(inRedis(`url: "redis://localhost:1"`)))); len(got) != 0 {
		t.Errorf("the same twice: got %q, want none", got)
	}
	rotated := "session: {store: redis, secret: " + sessionSecret + "-2, old_secrets: [{value: " + sessionSecret + `}], redis: {url: "redis://localhost:1"}}`
	if got := config.StartOnlyChanges(old, at(with(rotated))); len(got) != 0 {
		t.Errorf("another secret: got %q, want none", got)
	}
	changed := at(with(inRedis(`url: "redis://:` + canary + `@localhost:1", cluster: true, addresses: ["localhost:2"], key_prefix: "a:"`)))
	want := []string{"session.redis.url", "session.redis.addresses", "session.redis.cluster", "session.redis.key_prefix"}
	if got := config.StartOnlyChanges(old, changed); !cmp.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzRedisURL(f *testing.F) {
	for _, seed := range []string{"redis://localhost", "rediss://a:b@c:1/2", "unix://a:b@/c?db=1", "redis://:a#b@c", "redis://a:b@c@d/0", "redis://%41:%42@[::1%25eth0]:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, url string) {
		r := config.Redis{URL: config.NewSecret(url)}
		s := r.Server()
		if s == (config.RedisServer{}) {
			return
		}
		if s.Network == "tcp" {
			if _, _, err := net.SplitHostPort(s.Address); err != nil {
				t.Errorf("%q: the address %q: %v", url, s.Address, err)
			}
		} else if !strings.HasPrefix(s.Address, "/") {
			t.Errorf("%q: the socket %q", url, s.Address)
		}
		if o, err := redis.ParseURL(strings.ToLower(url[:6]) + url[6:]); err != nil {
			t.Errorf("%q: the client refuses it", url)
		} else if o.Network != s.Network || o.DB != s.DB || o.Username != s.User || o.Password != s.Password.Reveal() || (o.TLSConfig != nil) != s.TLS {
			t.Errorf("%q: the client reads something else out of it", url)
		}
		printed := string((&config.Config{Session: config.Session{Redis: r}}).YAML())
		if password := s.Password.Reveal(); len(password) > 12 && strings.Contains(printed, password) {
			t.Errorf("%q is printed with its password", url)
		}
	})
}
