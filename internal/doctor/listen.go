package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"portero/internal/serve"
)

// listener is an address that the gateway binds.
type listener struct{ key, address string }

// atHost is an address to listen at as this machine reaches it: a wildcard address on loopback.
func atHost(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return ""
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case err == nil && addr.Is6() && addr.IsUnspecified():
		host = "::1"
	case host == "" || err == nil && addr.IsUnspecified():
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// checkListen: what answers at `listen` is the gateway; where none runs, its addresses are free and may be bound.
func (r *running) checkListen(ctx context.Context) Finding {
	public := listener{"listen", r.config.Listen}
	if r.runs(ctx) {
		return r.checkPublic(ctx, public)
	}
	wanted := []listener{public}
	if r.readiness(ctx).status == 0 { // else another check says that somebody else is there
		wanted = append(wanted, listener{"admin.listen", r.config.Admin.Listen})
	}
	if r.config.Admin.MetricsListen != "" {
		wanted = append(wanted, listener{"admin.metrics_listen", r.config.Admin.MetricsListen})
	}
	var seen, remedies, free []string
	for _, l := range wanted {
		bound, err := serve.Bind(l.key, l.address)
		if err == nil {
			bound.Close()
			free = append(free, l.address)
			continue
		}
		what, remedy := unbound(l, err)
		if l == public && errors.Is(err, syscall.EADDRINUSE) && r.askListener(ctx, l).ours {
			what, remedy = "a gateway listens at "+l.address+" already, and has another admin.listen", "stop it, or name the configuration it runs with: portero doctor --config FILE"
		}
		seen, remedies = append(seen, what), append(remedies, remedy)
	}
	if len(seen) > 0 {
		return failed("addresses that the gateway can listen at", strings.Join(seen, "; "), strings.Join(remedies, "; "))
	}
	return ok("free: %s", strings.Join(free, ", "))
}

// checkPublic: the gateway that runs listens at `listen`.
func (r *running) checkPublic(ctx context.Context, l listener) Finding {
	const expected, remedy = "the gateway at listen", "start the gateway anew if listen has changed since, or correct listen"
	if _, port, _ := net.SplitHostPort(l.address); port == "0" {
		return ok("its port is chosen at every start")
	}
	if r.config.TLS.Enabled() {
		if f := checkCertificate(Options{Config: r.config, Now: r.asker.now}); f.Status == Failed {
			return see("certificate")
		}
	}
	switch a := r.askListener(ctx, l); {
	case a.tls == tlsUnknown:
		return failed(expected, "what answers at "+l.address+" has another certificate than tls.cert_file", "if it is the gateway, have it read its files: kill -HUP, or systemctl reload portero; else correct listen")
	case a.problem != "":
		return failed(expected, l.address+": "+a.problem, remedy)
	case !a.ours:
		return failed(expected, fmt.Sprintf("somebody else answers at %s, with %d", l.address, a.status), remedy)
	}
	return ok("the gateway listens at %s", l.address)
}

// askListener asks a listener of this machine for what only a gateway has. Inside TLS it has to have the certificate of
// tls.cert_file, whoever signed it.
func (r *running) askListener(ctx context.Context, l listener) answer {
	scheme, client := "http", plainClient()
	if r.config.TLS.Enabled() {
		scheme = "https"
		own := x509.NewCertPool()
		if pem, err := os.ReadFile(r.config.TLS.CertFile); err == nil {
			own.AppendCertsFromPEM(pem)
		}
		client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{ServerName: r.config.ExternalURL.Hostname(), RootCAs: own, MinVersion: tls.VersionTLS12}
	}
	req, err := http.NewRequest(http.MethodGet, scheme+"://"+atHost(l.address)+oursAlone(r.config), nil)
	if err != nil {
		return answer{problem: "the address is none"}
	}
	req.Host = r.config.ExternalURL.Host
	return asker{client, r.asker.now}.do(ctx, req)
}

// unbound says why an address cannot be bound, and what to type.
func unbound(l listener, err error) (seen, remedy string) {
	var taken *serve.TakenError
	switch {
	case errors.As(err, &taken) && taken.PID != 0:
		return fmt.Sprintf("%s is taken by %.40q (pid %d)", l.address, taken.Process, taken.PID), taken.Hint() + ": " + l.key
	case errors.As(err, &taken):
		return l.address + " is taken", taken.Hint() + ": " + l.key
	case errors.Is(err, fs.ErrPermission):
		return l.address + " may not be bound by this user",
			"write a port above 1023 into " + l.key + "; or let the service have it with AmbientCapabilities=CAP_NET_BIND_SERVICE and CapabilityBoundingSet=CAP_NET_BIND_SERVICE in its systemd unit; if the gateway runs as another user, run this as that user"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return l.address + " is no address of this machine", "write one of this machine into " + l.key + "; `ip address` lists them"
	}
	if _, unknown := errors.AsType[*net.DNSError](err); unknown {
		return "the name in " + l.address + " cannot be looked up", "write an address of this machine into " + l.key
	}
	return l.address + " cannot be bound", "correct " + l.key
}
