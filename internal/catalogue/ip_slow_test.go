package catalogue_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// bound is how long the gateway may take while the issuer does not answer: the ten seconds of a call, and what a busy
// machine adds.
const bound = 14 * time.Second

// gauge is a number of the metrics.
func (f *front) gauge(t *testing.T, name string) int {
	t.Helper()
	for l := range strings.Lines(f.Admin(t, http.MethodGet, "/metrics").Text) {
		if value, ok := strings.CutPrefix(l, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
	}
	t.Fatalf("the metrics have no %s", name)
	return 0
}

// settles fails unless goroutines and open files come back to what they were, but for connections that are kept.
func (f *front) settles(t *testing.T, goroutines, files int) {
	t.Helper()
	const kept = 24
	gatewaytest.Await(t, "goroutines and open files are as before", func() bool {
		return f.gauge(t, "go_goroutines") <= goroutines+2*kept && f.gauge(t, "process_open_fds") <= files+kept
	})
}

func slowIssuer(t *testing.T, _ *doors) {
	t.Parallel() // it shares nothing, and mostly waits
	ended := make(chan struct{})
	t.Cleanup(sync.OnceFunc(func() { close(ended) }))
	// slowly answers with the first part of an answer, and then with a byte each second, or nothing more.
	slowly := func(start string, drip bool) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			io.WriteString(conn, start)
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for {
				select {
				case <-ended:
					return
				case <-tick.C:
					if drip {
						if _, err := io.WriteString(conn, " "); err != nil {
							return
						}
					}
				}
			}
		}
	}
	faults := map[string]http.HandlerFunc{
		"a byte each second": slowly("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{", true),
		"header never ends":  slowly("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Slow: ", true),
		"never answers":      slowly("", false),
	}
	// timed fails unless what is tried ends within a time.
	timed := func(t *testing.T, within time.Duration, try func()) {
		t.Helper()
		began := time.Now()
		try()
		if took := time.Since(began); took > within {
			t.Errorf("it took %s, want %s at most", took, within)
		}
	}
	var listeners []net.Listener
	silent := func() string { // accepts and says nothing
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { <-ended; c.Close() }()
			}
		}()
		return l.Addr().String()
	}
	t.Cleanup(func() {
		for _, l := range listeners {
			l.Close()
		}
	})

	for name, endpoint := range map[string]string{"never answers": "http://" + silent(), "TLS handshake stalls": "https://" + silent()} {
		t.Run("metadata, "+name, func(t *testing.T) {
			t.Parallel()
			issuer := gatewaytest.NewIssuer(t)
			issuer.Do(func(i *gatewaytest.Issuer) { i.URL = endpoint })
			f := unsigned(t, gatewaytest.Options{Issuer: issuer})
			timed(t, bound, func() { f.unavailable(t, name, way{front: f}.ask(t, request{Lines: navigation})) })
			// Whoever comes next does not wait as long again.
			timed(t, 4*time.Second, func() { f.unavailable(t, name, way{front: f}.ask(t, request{Lines: navigation})) })
		})
	}
	for _, name := range []string{"a byte each second", "header never ends"} {
		for _, path := range []string{pathMetadata, pathKeys} {
			t.Run(path+", "+name, func(t *testing.T) {
				t.Parallel()
				issuer := gatewaytest.NewIssuer(t)
				issuer.Do(at(path, faults[name]))
				f := unsigned(t, gatewaytest.Options{Issuer: issuer})
				p := way{front: f}.traveller(t)
				target := "/app"
				if path == pathKeys {
					target = p.leave(t, "/app")
				}
				timed(t, bound, func() { f.unavailable(t, name, p.get(t, target)) })
			})
		}
	}
	t.Run("calls", func(t *testing.T) {
		t.Parallel()
		f := newFront(t, gatewaytest.Options{TLS: true})
		goroutines, files := f.gauge(t, "go_goroutines"), f.gauge(t, "process_open_fds")
		var wg sync.WaitGroup
		for _, path := range []string{pathToken, pathUserinfo} {
			for name, fault := range faults {
				backs := make([]string, 5)
				people := make([]*traveller, len(backs))
				for n := range people {
					people[n] = way{front: f, h2: n%2 == 0}.traveller(t)
					backs[n] = people[n].leave(t, "/app")
				}
				f.Issuer.Do(at(path, fault))
				calls := f.Issuer.Calls(path)
				for n, p := range people {
					wg.Go(func() { timed(t, bound, func() { f.unavailable(t, path+", "+name, p.get(t, backs[n])) }) })
				}
				gatewaytest.Await(t, "the calls are made", func() bool { return f.Issuer.Calls(path)-calls == len(people) })
			}
		}
		// A sign-out does not wait for the revocation.
		for name, fault := range faults {
			f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Answer = nil })
			p := f.signsIn(t, name)
			f.Issuer.Do(at(pathRevoke, fault))
			timed(t, 5*time.Second, func() {
				if a := p.post(t, "/sign-out", nil); a.Status != http.StatusSeeOther || p.session() != "" {
					t.Errorf("signing out, %s: got %s, want 303", name, a)
				}
			})
		}
		f.works(t, "meanwhile")
		f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Answer = nil })
		wg.Wait()
		f.settles(t, goroutines, files)
		f.signsIn(t, "afterwards")
	})
}

func issuerTLS(t *testing.T, _ *doors) {
	t.Parallel()
	ours, theirs := gatewaytest.NewAuthority(t), gatewaytest.NewAuthority(t)
	good := ours.Certificate(t, nil)
	expired := ours.Certificate(t, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	})
	early := ours.Certificate(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })
	elsewhere := ours.Certificate(t, func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses = []string{"logto.example"}, []net.IP{net.IPv4(127, 0, 0, 2)}
	})
	named := ours.Certificate(t, func(c *x509.Certificate) { c.DNSNames, c.IPAddresses, c.Subject.CommonName = nil, nil, "127.0.0.1" })
	client := ours.Certificate(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	for _, x := range []struct {
		name        string
		certificate tls.Certificate
		newest      uint16 // TLS version; 0: any
		ca          *gatewaytest.Authority
		class       string // "": it is trusted
	}{
		{"an authority that logto.ca_file names", good, 0, ours, ""},
		{"TLS 1.2", good, tls.VersionTLS12, ours, ""},
		{"nobody's authority", good, 0, nil, "tls"},
		{"another authority than logto.ca_file names", good, 0, theirs, "tls"},
		{"expired", expired, 0, ours, "tls"},
		{"not valid yet", early, 0, ours, "tls"},
		{"another host", elsewhere, 0, ours, "tls"},
		{"the host in the common name alone", named, 0, ours, "tls"},
		{"for clients", client, 0, ours, "tls"},
		{"TLS 1.0", good, tls.VersionTLS10, ours, ""},
		{"TLS 1.1", good, tls.VersionTLS11, ours, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			issuer := gatewaytest.NewTLSIssuer(t, &tls.Config{Certificates: []tls.Certificate{x.certificate}, MinVersion: tls.VersionTLS10, MaxVersion: x.newest})
			o := gatewaytest.Options{TLS: true, Issuer: issuer}
			if x.ca != nil {
				o.Env = []string{"PORTERO_LOGTO_CA_FILE=" + x.ca.File}
			}
			f := unsigned(t, o)
			if old := x.newest != 0 && x.newest < tls.VersionTLS12; x.class == "" && !old {
				f.signIn(t, alice)
				f.Upstream.Forget()
				return
			}
			a := way{front: f}.ask(t, request{Lines: navigation})
			f.unavailable(t, x.name, a)
			if got := issuer.Calls(pathMetadata); got != 0 {
				t.Errorf("requests at the issuer: got %d, want none", got)
			}
			if state, logto := f.readiness(t); state != "degraded" || !strings.HasPrefix(logto, "degraded discovery: "+x.class) {
				t.Errorf("readiness: got %s, %q, want degraded by %q", state, logto, x.class)
			}
			f.rows(t, 0)
		})
	}
	t.Run("plain HTTP where TLS is expected", func(t *testing.T) {
		t.Parallel()
		issuer := gatewaytest.NewIssuer(t)
		issuer.Do(func(i *gatewaytest.Issuer) { i.URL = strings.Replace(i.URL, "http:", "https:", 1) })
		f := unsigned(t, gatewaytest.Options{Issuer: issuer})
		f.unavailable(t, "plain HTTP", way{front: f}.ask(t, request{Lines: navigation}))
		if got := issuer.Calls(pathMetadata); got != 0 {
			t.Errorf("requests at the issuer: got %d, want none", got)
		}

		// Nothing switches the checks off: whoever tries learns so at the start.
		for _, name := range []string{"PORTERO_LOGTO_INSECURE_SKIP_VERIFY=true", "PORTERO_LOGTO_TLS_INSECURE=true", "PORTERO_LOGTO_SKIP_TLS_VERIFY=1", "PORTERO_INSECURE=skip-verify"} {
			cmd := f.Process.Command("check", "--config", f.Process.File("portero.yaml"))
			cmd.Env = append(cmd.Env, name)
			if out, err := cmd.CombinedOutput(); err == nil {
				t.Errorf("%s: the configuration is good, want an error\n%s", name, out)
			}
		}
	})
}

func proxyEnvironment(t *testing.T, _ *doors) {
	var asked atomic.Int32
	var hosts sync.Map
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		hosts.Store(r.Method+" "+r.Host, true)
		http.Error(w, "the proxy", http.StatusBadGateway)
	}))
	t.Cleanup(proxy.Close)
	var env []string
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		env = append(env, name+"="+proxy.URL)
	}
	env = append(env, "NO_PROXY=", "no_proxy=")
	unseen := func(t *testing.T, when string) {
		t.Helper()
		if got := asked.Swap(0); got != 0 {
			hosts.Range(func(k, _ any) bool { t.Errorf("%s: the proxy was asked for %v, want nothing", when, k); return true })
		}
		hosts.Clear()
	}
	const named = `
  - {name: named, path: /named, access: public, upstreams: [{url: "http://application.invalid"}]}
  - {name: secret, path: /secret, access: public, upstreams: [{url: "https://application.invalid"}]}`

	f := newFront(t, gatewaytest.Options{TLS: true, Env: env, Routes: strict + strings.TrimPrefix(named, "\n")})
	unseen(t, "signing in at an issuer on loopback")
	f.works(t, "with a proxy in the environment")
	for _, target := range []string{"/named/x", "/secret/x", "http://gw.test/named/x"} {
		a := way{front: f}.ask(t, request{Target: target, Lines: with(navigation, "Proxy", proxy.URL, "Http-Proxy", proxy.URL)})
		if a.Status != http.StatusBadGateway && a.Status != http.StatusServiceUnavailable && a.Status != http.StatusGatewayTimeout || strings.Contains(a.Body, "the proxy") {
			t.Errorf("%s: got %s, want a page of the gateway that the application is away", target, a)
		}
	}
	unseen(t, "an application by name")

	// Logto by its public name: through the proxy, unless it has an internal address.
	issuer := gatewaytest.NewIssuer(t)
	address := issuer.URL
	issuer.Do(func(i *gatewaytest.Issuer) { i.URL = "https://logto.invalid" })
	f = unsigned(t, gatewaytest.Options{TLS: true, Env: env, Issuer: issuer})
	f.unavailable(t, "through a proxy that refuses", way{front: f}.ask(t, request{Lines: navigation}))
	if _, ok := hosts.Load("CONNECT logto.invalid:443"); !ok || asked.Swap(0) != 1 {
		t.Error("the proxy was not asked for logto.invalid")
	}
	hosts.Clear()
	f = unsigned(t, gatewaytest.Options{TLS: true, Env: append(env, "PORTERO_LOGTO_INTERNAL_ENDPOINT="+address), Issuer: issuer})
	f.toIssuer(t, way{front: f}.ask(t, request{Lines: navigation}))
	unseen(t, "an internal address")
	f = unsigned(t, gatewaytest.Options{TLS: true, Env: append(env, "PORTERO_LOGTO_INTERNAL_ENDPOINT=http://logto.internal.invalid"), Issuer: issuer})
	f.unavailable(t, "an internal name that nobody has", way{front: f}.ask(t, request{Lines: navigation}))
	unseen(t, "an internal name")
}

func flapping(t *testing.T, _ *doors) {
	t.Parallel()
	const people, phase, phases = 8, time.Second, 10
	f := newFront(t, gatewaytest.Options{})
	goroutines, files := f.gauge(t, "go_goroutines"), f.gauge(t, "process_open_fds")
	fetched := f.Issuer.Calls(pathMetadata)
	redeemed := f.Issuer.Calls(pathToken)
	var down atomic.Bool
	f.issuer(t, func(i *gatewaytest.Issuer) {
		i.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
			if down.Load() && r.URL.Path != "/oidc/auth" { // browsers would try again
				panic(http.ErrAbortHandler)
			}
			return false
		}
	})
	var sent, signedIn, refused, other atomic.Int64
	end := make(chan struct{})
	var wg sync.WaitGroup
	for range people {
		wg.Go(func() {
			pace := time.NewTicker(20 * time.Millisecond)
			defer pace.Stop()
			for {
				select {
				case <-end:
					return
				case <-pace.C:
				}
				p := way{front: f}.traveller(t)
				a := p.get(t, "/app")
				if a.Status == http.StatusFound {
					back := p.atIssuer(t, a)
					sent.Add(1)
					a = p.get(t, back)
				}
				switch a.Status {
				case http.StatusSeeOther:
					signedIn.Add(1)
				case http.StatusServiceUnavailable:
					refused.Add(1)
				default:
					other.Add(1)
				}
			}
		})
	}
	tick := time.NewTicker(phase)
	defer tick.Stop()
	for range phases {
		<-tick.C
		down.Store(!down.Load())
	}
	down.Store(false)
	close(end)
	wg.Wait()
	t.Logf("signed in %d, refused %d, other %d; callbacks %d", signedIn.Load(), refused.Load(), other.Load(), sent.Load())
	if all := signedIn.Load() + refused.Load(); signedIn.Load()*5 < all || other.Load() != 0 {
		t.Errorf("of %d people %d signed in, and %d got neither that nor 503; want a fifth at least, and none", all, signedIn.Load(), other.Load())
	}
	// A call on a connection that broke meanwhile may be sent again by the transport, before it was worked off.
	if got := int64(f.Issuer.Calls(pathToken) - redeemed); got*10 > sent.Load()*11 {
		t.Errorf("token calls for %d callbacks: got %d", sent.Load(), got)
	}
	const most = 5 * phases // one each second while nothing answers, and some for who was faster
	if got := f.Issuer.Calls(pathMetadata) - fetched; got > most {
		t.Errorf("fetches of the metadata in %d phases: got %d, want %d at most", phases, got, most)
	}
	f.nothingReached(t)
	f.settles(t, goroutines, files)
	gatewaytest.Await(t, "people can sign in", func() bool {
		return way{front: f}.traveller(t).get(t, "/app").Status == http.StatusFound
	})
	f.signsIn(t, "afterwards")
	f.works(t, "afterwards")
}
