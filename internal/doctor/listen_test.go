package doctor

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
	"portero/internal/serve"
)

// taken is a listener that hangs up on everybody.
func taken(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().String()
}

// gatewayLike answers as a gateway does where only gateways do.
func gatewayLike(t *testing.T, certificate *tls.Certificate) string {
	t.Helper()
	_, address, _ := strings.Cut(front(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/_portero/backchannel-logout" || r.Host != "localhost:3000" {
			t.Errorf("got a request for %s%s", r.Host, r.URL)
		}
		w.Header().Set("Proxy-Status", "portero; error=http_request_denied")
		w.WriteHeader(http.StatusMethodNotAllowed)
	}, certificate), "://")
	return address
}

func TestListen(t *testing.T) {
	t.Parallel()
	other := gatewaytest.NewAuthority(t).Certificate(t, nil)
	certFile, keyFile := gatewaytest.Certificate(t)
	certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	inTLS := func(host string) string {
		return "external_url: https://" + host + ":3000\ntls: {cert_file: " + certFile + ", key_file: " + keyFile + "}\n"
	}
	for _, tt := range []struct {
		name, listen, admin, more string
		want                      Status
		words                     []string
	}{
		{"the gateway", gatewayLike(t, nil), adminOf(t, 200, isReady, ""), "", OK, nil},
		{"the gateway, inside TLS", gatewayLike(t, &certificate), adminOf(t, 200, isReady, ""), inTLS("localhost"), OK, nil},
		{"another certificate", gatewayLike(t, &other), adminOf(t, 200, isReady, ""), inTLS("localhost"), Failed, []string{"another certificate than tls.cert_file", "kill -HUP", "correct listen"}},
		{"a certificate of another host", gatewayLike(t, &certificate), adminOf(t, 200, isReady, ""), inTLS("elsewhere.test"), Skipped, []string{"see certificate"}},
		{"the gateway, at a port of its choice", "127.0.0.1:0", adminOf(t, 200, isReady, ""), "", OK, []string{"chosen at every start"}},
		{"somebody else", strings.TrimPrefix(serves(t, 404, nil), "http://"), adminOf(t, 200, isReady, ""), "", Failed, []string{"somebody else answers", "404", "correct listen"}},
		{"nobody there", closedPort(t), adminOf(t, 200, isReady, ""), "", Failed, []string{"nobody listens", "correct listen"}},

		{"all free", closedPort(t), closedPort(t), "", OK, []string{"free: 127.0.0.1:"}},
		{"taken", taken(t), closedPort(t), "", Failed, []string{"is taken", ": listen"}},
		{"taken by a gateway", gatewayLike(t, nil), closedPort(t), "", Failed, []string{"another admin.listen", "--config FILE"}},
		{"admin taken", closedPort(t), taken(t), "", Failed, []string{"is taken", ": admin.listen"}},
		{"metrics taken", closedPort(t), closedPort(t), taken(t), Failed, []string{"is taken", ": admin.metrics_listen"}},
		{"two taken", taken(t), closedPort(t), taken(t), Failed, []string{": listen", ": admin.metrics_listen"}},
		{"somebody else's admin, which another check tells", closedPort(t), adminOf(t, 200, "hello", ""), "", OK, nil},
		{"no address of this machine", "192.0.2.77:3000", closedPort(t), "", Failed, []string{"no address of this machine", "into listen", "ip address"}},
		{"a name that is none", "nobody.invalid:3000", closedPort(t), "", Failed, []string{"cannot be looked up", "into listen"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := runningAt(t, tt.admin, "")
			if strings.Contains(tt.more, "\n") {
				r = runningAt(t, tt.admin, tt.more)
			} else {
				r.config.Admin.MetricsListen = tt.more
			}
			r.config.Listen = tt.listen
			if !r.config.TLS.Enabled() {
				r.config.ExternalURL.Host = "localhost:3000"
			}
			outcome(t, r.checkListen(t.Context()), tt.want, tt.words...)
		})
	}
}

func TestUnbound(t *testing.T) {
	t.Parallel()
	seen, remedy := unbound(listener{"admin.listen", "127.0.0.1:3010"}, errors.New(foreignText))
	outcome(t, failed("", seen, remedy), Failed, "127.0.0.1:3010 cannot be bound", "correct admin.listen")
	seen, remedy = unbound(listener{"admin.listen", "127.0.0.1:3010"}, &serve.TakenError{Name: "admin.listen", Addr: "127.0.0.1:3010"})
	outcome(t, failed("", seen, remedy), Failed, "127.0.0.1:3010 is taken", "choose another address: admin.listen")
}

func TestAtHost(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]string{
		":3000": "127.0.0.1:3000", "0.0.0.0:3000": "127.0.0.1:3000", "[::]:3000": "[::1]:3000", "10.0.0.1:80": "10.0.0.1:80", "localhost:1": "localhost:1", "x": "",
	} {
		if got := atHost(listen); got != want {
			t.Errorf("%s: got %q, want %q", listen, got, want)
		}
	}
}

// The checks of the front, as they are made together, find nothing wrong with a gateway behind a good proxy, and tell one
// cause once.
func TestFrontTogether(t *testing.T) {
	t.Parallel()
	f := proxied(t, "https", "127.0.0.2", "trusted_proxies: [127.0.0.2/32]\n", setAll)
	for _, runs := range []bool{true, false} {
		c := *f.config
		c.File = "" // there is none
		if !runs {
			c.Listen, c.Admin.Listen = closedPort(t), closedPort(t)
		}
		checks, end := frontChecks(Options{Config: &c, Version: "v1", Now: clock, Admin: f.ask})
		defer end()
		got := map[string]string{}
		for _, one := range runAll(t.Context(), checks) {
			got[one.Check] = fmt.Sprint(one.Status, " ", one.Seen)
		}
		want := map[string]string{"gateway": "ok ", "configuration": "ok ", "listen": "ok ", "external-url": "warning https://localhost", "trusted-proxies": "skipped see external-url", "forward-auth": "ok no route"}
		if !runs { // the certificate is of an authority that this machine does not know
			want = map[string]string{"gateway": "skipped no gateway runs", "configuration": "skipped see gateway", "listen": "ok free", "external-url": "skipped see gateway", "trusted-proxies": "skipped see gateway", "forward-auth": "ok no route"}
		}
		for name, begins := range want {
			if !strings.HasPrefix(got[name], begins) {
				t.Errorf("a gateway that runs %v: %s: got %q, want %q…", runs, name, got[name], begins)
			}
		}
		if len(got) != len(want) {
			t.Errorf("got %v", got)
		}
	}
}
