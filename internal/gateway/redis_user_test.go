package gateway_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
	"portero/internal/redistest"
)

// userLine is the user for Portero as docs/sessions.md has it, in words: what it may do, and its password.
func userLine(t testing.TB) (words []string, password string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/sessions.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^ACL SETUSER portero (.+)$`).FindSubmatch(text)
	if line == nil {
		t.Fatal("docs/sessions.md has no user for Redis")
	}
	words = strings.Fields(string(line[1]))
	for _, word := range words {
		if p, ok := strings.CutPrefix(word, ">"); ok {
			password = p
		}
	}
	return words, password
}

// useEverything does with a rig all that asks something of the store.
func useEverything(t *testing.T, rig *gatewaytest.Rig) {
	t.Helper()
	b, other := rig.SignedIn(t, "/"), rig.SignedIn(t, "/")
	rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person["sid"] = "sid-2" })
	third := rig.SignedIn(t, "/")
	for _, path := range []string{"/", "/admin/", "/optional/", "/_portero/", "/_portero/session"} {
		if got := b.Get(rig.URL + path); got.StatusCode >= 500 {
			t.Errorf("%s: got %s", path, got.Status)
		}
	}
	// The access token is in the last fifth of its life: it is renewed, under a lease, and LastUsed is moved.
	every(t, 100*time.Millisecond, "tokens were renewed", func() bool {
		b.Get(rig.URL + "/")
		return rig.Issuer.Calls("refresh_token") > 0
	})
	eventually(t, "the renewal was stored", func() bool { return refreshes(t, rig, "succeeded") != "" })
	if got := rig.Admin(t, http.MethodGet, "/api/sessions"); got.StatusCode != http.StatusOK {
		t.Errorf("listing sessions: got %s\n%s", got.Status, got.Text)
	}
	if got := rig.Sessions(t); got != 3 {
		t.Errorf("got %d sessions, want 3", got)
	}
	if got := third.Post(rig.URL+"/_portero/sessions/end", map[string][]string{"others": {"1"}}); got.StatusCode >= 500 {
		t.Errorf("ending the others: got %s", got.Status)
	}
	for name, one := range map[string]*gatewaytest.Browser{"the first": b, "the other": other} {
		if got := one.Get(rig.URL + "/"); got.StatusCode != http.StatusFound {
			t.Errorf("%s: got %s, want 302: it was ended", name, got.Status)
		}
	}
	if got := third.Post(rig.URL+"/sign-out", nil); got.StatusCode != http.StatusSeeOther {
		t.Errorf("signing out: got %s, want 303", got.Status)
	}
	if status, _, checks := readyz(t, rig); status != http.StatusOK {
		t.Errorf("readyz: got %d %v, want 200", status, checks)
	}
	// The log has been read some times.
	began := time.Now()
	every(t, 100*time.Millisecond, "a second has passed", func() bool {
		rig.Browser(t).Get(rig.URL + "/")
		return time.Since(began) > 1200*time.Millisecond
	})
}

// The user of the text may do all that Portero does, and nothing that it does not.
func TestRedisUserOfTheText(t *testing.T) {
	t.Parallel()
	words, password := userLine(t)
	rigWith := func(t *testing.T, session string) *gatewaytest.Rig {
		issuer := gatewaytest.NewIssuer(t)
		issuer.Do(func(i *gatewaytest.Issuer) { i.AccessLife = 5 * time.Second })
		return gatewaytest.New(t, &gatewaytest.Options{Issuer: issuer, Session: session + ", idle_timeout: 20s"})
	}
	user := []any{"ACL", "SETUSER", "portero"}
	for _, word := range words {
		user = append(user, word)
	}
	used := func(t *testing.T, servers ...*redistest.Server) []string {
		var all []string
		for _, server := range servers {
			if log, _ := server.Do("ACL", "LOG").([]any); len(log) > 0 {
				t.Errorf("the user was refused something: %v", log[0])
			}
			stats, err := server.Client.Info(context.Background(), "commandstats").Result()
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`(?m)^cmdstat_([^:]+):`).FindAllStringSubmatch(stats, -1) {
				all = append(all, m[1])
			}
		}
		return all
	}
	t.Run("one server, TLS, another database", func(t *testing.T) {
		t.Parallel()
		server := redistest.Options{TLS: true}.Start(t)
		server.Do(user...)
		rig := rigWith(t, inRedis(fmt.Sprintf("rediss://portero:%s@%s/1", password, server.Addr), nil, fmt.Sprintf("tls: {ca_file: %q}", server.CAFile)))
		useEverything(t, rig)
		all := used(t, server)
		for _, word := range words {
			if command, ok := strings.CutPrefix(word, "+"); ok && !slices.Contains(all, command) && command != "cluster|slots" {
				t.Errorf("the text gives %s, which nothing needs", word)
			}
		}
	})
	t.Run("Sentinel", func(t *testing.T) {
		t.Parallel()
		group := redistest.StartSentinel(t)
		for _, server := range group.Servers {
			server.Do(user...)
		}
		useEverything(t, rigWith(t, inRedis(fmt.Sprintf("redis://portero:%s@sessions/0", password), nil,
			"master_name: "+group.Name, "addresses: "+addresses(group.Addrs))))
		used(t, group.Servers...)
	})
	t.Run("Cluster", func(t *testing.T) {
		t.Parallel()
		cluster := redistest.StartCluster(t)
		for _, server := range cluster.Servers {
			server.Do(user...)
		}
		useEverything(t, rigWith(t, inRedis(fmt.Sprintf("redis://portero:%s@sessions/0", password), nil,
			"cluster: true", "addresses: "+addresses(cluster.Addrs[:2]))))
		if all := used(t, cluster.Servers...); !slices.Contains(all, "cluster|slots") {
			t.Error("nothing asks for the slots of the cluster any more")
		}
	})
}

// A server whose certificate is of nobody that is trusted is not told anything.
func TestRedisCertificate(t *testing.T) {
	t.Parallel()
	server, other := redistest.Options{TLS: true}.Start(t), redistest.Options{TLS: true}.Start(t)
	for name, session := range map[string]string{
		"the system's authorities": inRedis(server.URL(), nil),
		"another authority":        inRedis(server.URL(), nil, fmt.Sprintf("tls: {ca_file: %q}", other.CAFile)),
		"without TLS":              inRedis(strings.Replace(server.URL(), "rediss", "redis", 1), nil),
	} {
		rig := gatewaytest.New(t, &gatewaytest.Options{Session: session})
		wantNoSignIn(t, rig)
		if status, _, checks := readyz(t, rig); status != http.StatusServiceUnavailable || checks["store"] != "failed" {
			t.Errorf("%s: readyz: got %d %v, want 503 and the store failed", name, status, checks)
		}
	}
	rig := gatewaytest.New(t, &gatewaytest.Options{Session: inRedis(server.URL(), nil, fmt.Sprintf("tls: {ca_file: %q}", server.CAFile))})
	rig.SignedIn(t, "/")
}
