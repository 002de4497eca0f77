package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"portero/internal/config"
)

// nobodysPath is a path that no application has: who answers it as any other answers everything alike.
const nobodysPath = "/portero-doctor-nobody-has-this"

// oursAlone is a path of which a gateway says that it is its own: a GET is refused there (RFC 9209).
func oursAlone(c *config.Config) string { return c.Endpoints.Prefix + "/backchannel-logout" }

// applications are the upstreams as the gateway reaches them, and as others might.
type applications struct {
	config  *config.Config
	outside []*url.URL
	asker   asker
}

// upstreamChecks are the checks of applications. end lets go of connections.
func upstreamChecks(o Options) (checks []check, end func()) {
	k := &applications{config: o.Config, outside: o.Outside, asker: asker{plainClient(), o.Now}}
	return []check{
		{"upstreams", k.checkReachable},
		{"own-paths", k.checkOwnPaths},
		{"outside", k.checkOutside},
	}, k.asker.client.CloseIdleConnections
}

// plainClient goes straight to an address, past every proxy that the environment names, and follows nothing.
func plainClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// application is one upstream of a route.
type application struct {
	key  string // routes[0].upstreams[0].url
	url  *url.URL
	host string // that it is asked for; "": its own
	root bool   // its route has every path that no other route has
}

// all are the upstreams, each address once.
func (k *applications) all() []application {
	var list []application
	for i, r := range k.config.Routes {
		for j, u := range r.Upstreams {
			a := application{key: fmt.Sprintf("routes[%d].upstreams[%d].url", i, j), url: u.URL, root: r.Path == "/" && r.Match == config.MatchPrefix}
			if r.PreserveHost && len(r.Hosts) > 0 {
				a.host = r.Hosts[0]
			}
			at := slices.IndexFunc(list, func(b application) bool { return b.url.String() == a.url.String() && b.host == a.host })
			if at < 0 {
				list = append(list, a)
			} else if a.root && !list[at].root {
				list[at] = a
			}
		}
	}
	return list
}

// ask gets a path of an application.
func (k *applications) ask(ctx context.Context, a application, path string) answer {
	req, err := http.NewRequest(http.MethodGet, a.url.Scheme+"://"+a.url.Host+path, nil)
	if err != nil {
		return answer{problem: "the address is none"}
	}
	req.Host = a.host
	return k.asker.do(ctx, req)
}

// together asks something of every application at once. What look returns is put together in the order of the routes: what was
// seen, and what to do; "" is nothing.
func together(list []application, look func(application) (seen, remedy string)) (seen, remedies []string) {
	type pair struct{ seen, remedy string }
	found := make([]pair, len(list))
	var group sync.WaitGroup
	for i, a := range list {
		group.Go(func() { found[i].seen, found[i].remedy = look(a) })
	}
	group.Wait()
	for _, p := range found {
		if p.seen != "" {
			seen, remedies = append(seen, p.seen), append(remedies, p.remedy)
		}
	}
	return seen, slices.Compact(remedies)
}

// checkReachable: every upstream answers, in the protocol that its URL names, and is not a gateway itself.
func (k *applications) checkReachable(ctx context.Context) Finding {
	list := k.all()
	if len(list) == 0 {
		return ok("no route has an upstream")
	}
	seen, remedies := together(list, func(a application) (string, string) {
		at := a.url.Scheme + "://" + a.url.Host
		switch got := k.ask(ctx, a, oursAlone(k.config)); {
		case got.tls == tlsNone:
			return at + ": " + got.problem, "write http:// in " + a.key
		case got.tls != tlsFine:
			return at + ": " + got.problem, "give the application a certificate that this machine trusts, for the name in " + a.key
		case got.problem != "":
			return at + ": " + got.problem, "start the application, or correct " + a.key
		case got.ours:
			return at + ": it is a gateway like this one, so requests would go round", "write the application's own address into " + a.key
		case got.status == http.StatusBadRequest && a.url.Scheme == "http" && speaksTLS(ctx, a.url.Host):
			return at + ": it speaks TLS there", "write https:// in " + a.key
		}
		return "", ""
	})
	if len(seen) > 0 {
		return failed("applications that answer", strings.Join(seen, "; "), strings.Join(remedies, "; "))
	}
	return ok("they answer (%d)", len(list))
}

// speaksTLS says whether a server answers a TLS handshake, whatever its certificate.
func speaksTLS(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(address, "80")
	}
	c, err := (&tls.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
		return untrusted
	}
	c.Close()
	return true
}

// checkOwnPaths: what an application has at paths of ours cannot be reached.
func (k *applications) checkOwnPaths(ctx context.Context) Finding {
	e := k.config.Endpoints
	ours := slices.DeleteFunc([]string{e.SignIn, e.Callback, e.SignOut, e.Prefix + "/"}, func(path string) bool { return path == "" })
	seen, _ := together(slices.DeleteFunc(k.all(), func(a application) bool { return !a.root }), func(a application) (string, string) {
		if first := k.ask(ctx, a, oursAlone(k.config)); first.status == 0 || first.ours {
			return "", "" // another check says so
		}
		control := k.ask(ctx, a, nobodysPath)
		var has []string
		for _, path := range ours {
			if got := k.ask(ctx, a, path); got.status != 0 && got.status != http.StatusNotFound && got.status != control.status {
				has = append(has, path)
			}
		}
		if len(has) == 0 {
			return "", ""
		}
		return fmt.Sprintf("%s://%s answers %s itself", a.url.Scheme, a.url.Host, strings.Join(has, " and ")), ""
	})
	if len(seen) > 0 {
		return warning("applications that have nothing at "+strings.Join(ours, ", "), strings.Join(seen, "; ")+"; nobody reaches that behind the gateway",
			"move the gateway's paths under `endpoints`, or the application's")
	}
	return ok("no application has something at %s", strings.Join(ours, ", "))
}

// checkOutside: nobody gets to an application but through the gateway.
func (k *applications) checkOutside(ctx context.Context) Finding {
	if len(k.outside) == 0 {
		return skipped("no address was named at which an application might be reached without the gateway", "portero doctor --outside http://ADDRESS:PORT")
	}
	var open []string
	for _, u := range k.outside {
		at := u.Scheme + "://" + u.Host
		got := k.asker.get(ctx, at+oursAlone(k.config))
		if got.ours || got.status == 0 {
			continue
		}
		open = append(open, fmt.Sprintf("%s answers with %d", at, got.status))
	}
	if len(open) > 0 {
		return failed("nothing but the gateway at "+show(k.outside), strings.Join(open, "; ")+", and is not the gateway",
			"let the application listen on 127.0.0.1 alone, or close the port for everybody but the gateway; docs/security.md says how")
	}
	return ok("nothing but the gateway answers at %s", show(k.outside))
}

// show is a list of addresses.
func show(list []*url.URL) string {
	var texts []string
	for _, u := range list {
		texts = append(texts, u.Scheme+"://"+u.Host)
	}
	return strings.Join(texts, ", ")
}
