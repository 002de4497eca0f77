package doctor

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// nginxLocation is what stands in `location /` of deploy/nginx.conf, without proxy_pass.
func nginxLocation(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("../../deploy/nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), "location / {")
	body, _, found := strings.Cut(rest, "\n    }")
	if !found {
		t.Fatal("deploy/nginx.conf has no location /")
	}
	return dropLine(body, "proxy_pass ")
}

// The proxy that most people have in front: as deploy/nginx.conf has it, and as it is often set up.
func TestNginxInFront(t *testing.T) {
	t.Parallel()
	program := gatewaytest.Need(t, "nginx")
	dialFrom(t, "127.0.0.2")
	good := nginxLocation(t)
	without := func(names ...string) string {
		text := good
		for _, name := range names {
			less := dropLine(text, "proxy_set_header "+name+" ")
			if less == text {
				t.Fatalf("deploy/nginx.conf does not set %s", name)
			}
			text = less
		}
		return text
	}
	const trusted = "trusted_proxies: [127.0.0.2/32]\n"
	cases := []struct {
		name, location, more string
		want                 Status
		words                []string
		frontend             *fronted
	}{
		{name: "as handed out", location: good, more: trusted, want: OK},
		{name: "not trusted", location: good, want: Warning, words: []string{"trusted_proxies: [127.0.0.2/32]"}},
		{name: "proxy_pass alone", more: trusted, want: Failed, words: []string{"passes X-Forwarded-For on", "passes X-Forwarded-Proto on", "changes Host", "proxy_set_header Host $host;"}},
		{name: "proxy_pass and Host", location: "proxy_set_header Host $host;", more: trusted, want: Failed, words: []string{"passes X-Forwarded-For on", "passes X-Forwarded-Host on", "passes X-Forwarded-Proto on"}},
		{name: "proxy_pass alone, not trusted", want: Failed, words: []string{"does not say who sends them", "changes Host", "trusted_proxies: [127.0.0.2/32]"}},
		{name: "without X-Forwarded-For", location: without("X-Forwarded-For"), more: trusted, want: Failed, words: []string{"passes X-Forwarded-For on", setFor}},
		{name: "X-Forwarded-For removed", location: without("X-Forwarded-For") + ` proxy_set_header X-Forwarded-For "";`, more: trusted, want: Warning, words: []string{"sends no X-Forwarded-For", setFor}},
		{name: "X-Forwarded-For overwritten", location: without("X-Forwarded-For") + ` proxy_set_header X-Forwarded-For $remote_addr;`, more: trusted, want: OK},
		{name: "without X-Forwarded-Proto", location: without("X-Forwarded-Proto"), more: trusted, want: Warning, words: []string{"passes X-Forwarded-Proto on", setProto}},
		{name: "X-Forwarded-Proto removed", location: without("X-Forwarded-Proto") + ` proxy_set_header X-Forwarded-Proto "";`, more: trusted, want: Warning, words: []string{"sends no X-Forwarded-Proto", setProto}},
		{name: "X-Forwarded-Proto of a hop within", location: without("X-Forwarded-Proto") + ` proxy_set_header X-Forwarded-Proto http;`, more: trusted, want: Failed, words: []string{"says http in X-Forwarded-Proto"}},
		{name: "without X-Forwarded-Host", location: without("X-Forwarded-Host"), more: trusted, want: Failed, words: []string{"passes X-Forwarded-Host on", setHost}},
		{name: "without Host", location: without("Host"), more: trusted, want: OK},
		{name: "without both hosts", location: without("Host", "X-Forwarded-Host"), more: trusted, want: Failed, words: []string{"changes Host", setHost}},
	}
	cert, key := gatewaytest.Certificate(t)
	var servers strings.Builder
	var first string
	start := func() bool {
		servers.Reset()
		var free []net.Listener
		for i := range cases {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			free = append(free, l)
			c := &cases[i]
			c.frontend = newFronted(t, fmt.Sprintf("https://localhost:%d", l.Addr().(*net.TCPAddr).Port), c.more, nil)
			c.frontend.trust(t, cert)
			fmt.Fprintf(&servers, "server {\nlisten %s ssl;\nssl_certificate %s;\nssl_certificate_key %s;\nlocation / {\nproxy_pass http://%s;\nproxy_bind 127.0.0.2;\n%s\n}\n}\n",
				l.Addr(), cert, key, c.frontend.gateway.Addr(), c.location)
		}
		for _, l := range free {
			first = l.Addr().String()
			l.Close()
		}
		return startNginx(t, program, servers.String(), first)
	}
	for tries := 1; !start(); tries++ { // somebody else has taken a port
		if tries == 5 {
			t.Fatal("nginx found no free ports")
		}
	}
	t.Run("findings", func(t *testing.T) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				outcome(t, c.frontend.checkTrustedProxies(t.Context()), c.want, c.words...)
			})
		}
	})
}

// startNginx runs nginx as one process, which ends with the test. It reports whether nginx got its ports.
func startNginx(t *testing.T, program, servers, address string) bool {
	t.Helper()
	dir := t.TempDir()
	var conf strings.Builder
	fmt.Fprintf(&conf, "daemon off;\nmaster_process off;\npid %s/pid;\nerror_log stderr warn;\nevents {}\nhttp {\naccess_log off;\n", dir)
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&conf, "%s_temp_path %s;\n", kind, filepath.Join(dir, kind))
	}
	conf.WriteString("map $http_upgrade $connection_upgrade { default upgrade; '' ''; }\n" + servers + "}\n")
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-p", dir, "-c", file, "-e", "stderr")
	said := &gatewaytest.Lines{}
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cmd.Wait()
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			cmd.Process.Kill()
			<-ended
			t.Error("nginx did not end by itself")
		}
		if t.Failed() {
			t.Logf("nginx said:\n%s", said)
		}
	})
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return true
		}
		select {
		case <-ended:
			if strings.Contains(said.String(), "Address already in use") {
				return false
			}
			t.Fatalf("nginx ended: %s\n%s", cmd.ProcessState, said)
		case <-retry.C:
		}
	}
}
