package doctor

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"

	"portero/internal/config"
	"portero/internal/gateway"
)

const (
	// forgedClient and forgedHost are nobody's (RFC 5737, RFC 6761): who is taken for them has been believed.
	forgedClient = "192.0.2.77"
	forgedHost   = "portero-doctor.invalid"
	// mirrorTries is how often a request is sent: where several gateways share an address, one of them is asked.
	mirrorTries = 4
)

// What nginx is told; other proxies have their own words for it.
const (
	setFor   = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
	setHost  = "proxy_set_header Host $host; proxy_set_header X-Forwarded-Host $host;"
	setProto = "proxy_set_header X-Forwarded-Proto $scheme;"
)

// reflection is how the gateway saw one request to external_url.
type reflection struct {
	gateway.Arrival
	peer    netip.AddrPort
	direct  bool // our own connection reached the gateway
	refused bool // somebody in front refused the request
}

// came says whether a header was there.
func (f reflection) came(header string) bool { return slices.Contains(f.Headers, header) }

// hostname is the host that the gateway takes the request to be for, without its port.
func (f reflection) hostname() string { return (&url.URL{Host: f.Host}).Hostname() }

// hops are the trusted hops between the client and the peer.
func (f reflection) hops() []string {
	chain := strings.Split(f.ForwardedFor, ", ")
	if len(chain) < 3 {
		return nil
	}
	return chain[1 : len(chain)-1]
}

// reflections are how requests to external_url arrive: one as everybody sends it, and others with one header forged each.
type reflections struct {
	plain, client, host, proto reflection
	theirs                     string // the scheme that is forged
}

// reflected are reflections, or why there are none.
type reflected struct {
	reflections
	trouble *Finding
}

// checkTrustedProxies: who is in front says who sent a request, for which host and over which scheme, is believed, and passes
// nothing of that kind on from clients.
func (r *running) checkTrustedProxies(ctx context.Context) Finding {
	if !r.runs(ctx) {
		return r.unasked(see("gateway"))
	}
	if f := r.checkExternalURL(ctx); f.Status != OK && !r.circles(ctx) {
		return r.unasked(see("external-url"))
	}
	seen := r.reflections(ctx)
	if seen.trouble != nil {
		return r.unasked(*seen.trouble)
	}
	return judge(r.config, seen.reflections, ownAddresses())
}

// circles says whether the gateway sends people to https who came over https, since somebody says that it was http.
func (r *running) circles(ctx context.Context) bool {
	s := r.reflections(ctx)
	return s.trouble == nil && s.plain.Problem == "" && s.plain.Scheme != r.config.ExternalURL.Scheme
}

// unasked is what the configuration alone tells; else f.
func (r *running) unasked(f Finding) Finding {
	c := r.config
	if c.ExternalURL.Scheme == "https" && !c.TLS.Enabled() && len(c.TrustedProxies) == 0 {
		return warning("the proxy that ends TLS in trusted_proxies", "external_url is https, the listener is plain, and nobody is trusted: everybody seems to come from the proxy's address",
			"write the proxy's address: trusted_proxies: [127.0.0.1/32]; or set tls.cert_file and tls.key_file")
	}
	return f
}

// reflections sends the requests, and asks the gateway what it saw; once.
func (r *running) reflections(ctx context.Context) reflected {
	return r.arrived.get(func() reflected { return r.reflectAll(ctx) })
}

func (r *running) reflectAll(ctx context.Context) (s reflected) {
	s.theirs = "http"
	if r.config.ExternalURL.Scheme == "http" {
		s.theirs = "https"
	}
	requests := []struct {
		into   *reflection
		header http.Header
	}{
		{&s.plain, nil},
		{&s.client, http.Header{"X-Forwarded-For": {forgedClient}, "Forwarded": {"for=" + forgedClient}}},
		{&s.host, http.Header{"X-Forwarded-Host": {forgedHost}, "Forwarded": {"host=" + forgedHost}}},
		{&s.proto, http.Header{"X-Forwarded-Proto": {s.theirs}, "Forwarded": {"proto=" + s.theirs}}},
	}
	troubles := make([]*Finding, len(requests))
	var group sync.WaitGroup
	for i, q := range requests {
		group.Go(func() { *q.into, troubles[i] = r.reflect(ctx, q.header) })
	}
	group.Wait()
	if at := slices.IndexFunc(troubles, func(t *Finding) bool { return t != nil }); at >= 0 {
		s.trouble = troubles[at]
	}
	return s
}

// reflect sends one request to external_url, and asks the gateway how it arrived.
func (r *running) reflect(ctx context.Context, header http.Header) (reflection, *Finding) {
	var armed struct{ Nonce string }
	if err := r.askAdmin(ctx, http.MethodPost, nil, &armed); err != nil {
		return reflection{}, unanswered(err)
	}
	var got struct {
		Arrived bool
		gateway.Arrival
	}
	refused := false
	for range mirrorTries {
		a, local := r.send(ctx, armed.Nonce, header)
		if a.problem != "" {
			f := skipped("of several requests to external_url not all were answered: "+a.problem, "run portero doctor again")
			return reflection{}, &f
		}
		if err := r.askAdmin(ctx, http.MethodGet, url.Values{"nonce": {armed.Nonce}}, &got); err != nil {
			return reflection{}, unanswered(err)
		}
		if got.Arrived {
			peer, _ := netip.ParseAddrPort(got.Peer)
			return reflection{Arrival: got.Arrival, peer: peer, direct: peer == local}, nil
		}
		refused = a.status != http.StatusOK
	}
	if refused && header != nil {
		return reflection{refused: true}, nil
	}
	f := skipped("requests to external_url are answered, but not by the gateway of this machine", "where several gateways share external_url, run portero doctor again, or beside each of them")
	return reflection{}, &f
}

// askAdmin asks the running gateway about its mirror.
func (r *running) askAdmin(ctx context.Context, method string, query url.Values, into any) error {
	if r.ask == nil {
		return errNobody{}
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return r.ask(ctx, method, "/api/mirror", query, into)
}

// errNobody is the error where there is no token.
type errNobody struct{}

func (errNobody) Error() string { return "there is no admin token" }
func (errNobody) Hint() string  { return "set admin.token_file, and run this as the gateway's user" }

// unanswered is the finding where the admin listener tells nothing.
func unanswered(err error) *Finding {
	f := skipped("the gateway's admin listener does not say how requests arrive", "start the gateway anew with this version of portero, or look at admin.listen and admin.token_file")
	var known interface {
		error
		Hint() string
	}
	if errors.As(err, &known) {
		f.Seen, f.Remedy = known.Error(), known.Hint()
	}
	return &f
}

// send sends one request, on a connection of its own, whose address here is local.
func (r *running) send(ctx context.Context, nonce string, header http.Header) (a answer, local netip.AddrPort) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
		if tcp, is := c.Conn.LocalAddr().(*net.TCPAddr); is {
			local = netip.AddrPortFrom(tcp.AddrPort().Addr().Unmap().WithZone(""), tcp.AddrPort().Port())
		}
	}})
	req, err := http.NewRequest(http.MethodGet, r.typed()+r.config.Endpoints.Prefix+"/healthz?mirror="+url.QueryEscape(nonce), nil)
	if err != nil {
		return answer{problem: "the address is none"}, local
	}
	for name, values := range header {
		req.Header[name] = values
	}
	return r.asker.do(ctx, req), local
}

// ownAddresses says which addresses are this machine's.
func ownAddresses() func(netip.Addr) bool {
	var own []netip.Addr
	if list, err := net.InterfaceAddrs(); err == nil {
		for _, a := range list {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				own = append(own, p.Addr().Unmap())
			}
		}
	}
	return func(a netip.Addr) bool { return a.IsLoopback() || slices.Contains(own, a) }
}

// verdict collects what is wrong.
type verdict struct {
	status         Status
	seen, remedies []string
}

func (v *verdict) add(status Status, seen, remedy string) {
	if v.status != Failed {
		v.status = status
	}
	v.seen, v.remedies = append(v.seen, seen), append(v.remedies, remedy)
}

// judge says what the requests that arrived tell. own says which addresses are this machine's.
func judge(c *config.Config, s reflections, own func(netip.Addr) bool) Finding {
	peer := s.plain.peer.Addr().String()
	switch {
	case s.plain.direct && !s.plain.Trusted:
		return ok("between this machine and the gateway is no proxy, and nobody is believed who claims another address")
	case s.plain.direct:
		return warning("trusted_proxies with proxies alone", peer+" is trusted, and is no proxy: whoever connects from there may claim any address, host and scheme",
			"take it out of trusted_proxies; if people come through a proxy, have the name in external_url lead this machine there too")
	}
	var v verdict
	if s.plain.Trusted {
		v.client(c, s, peer, own)
		v.scheme(c, s)
	} else {
		v.untrusted(c, s, peer)
	}
	v.host(c, s)
	if len(v.seen) == 0 {
		return ok("the proxy at %s is trusted, says who sends requests, and passes on no claims of clients", peer)
	}
	f := warning("a proxy in front that is trusted, and sets X-Forwarded-For, X-Forwarded-Host and X-Forwarded-Proto whatever clients send",
		strings.Join(v.seen, "; "), strings.ReplaceAll(strings.Join(v.remedies, "; "), ";; ", "; ")) // nginx's lines end with one
	f.Status = v.status
	return f
}

// everybodyAlike is how bad it is that everybody seems to come from the proxy: rules that look at networks let in whom they
// should not.
func everybodyAlike(c *config.Config) Status {
	for _, r := range c.Routes {
		if slices.ContainsFunc(r.Allow, func(rule config.Rule) bool { return len(rule.Networks) > 0 }) {
			return Failed
		}
	}
	return Warning
}

// untrusted is about a proxy whom nobody believes.
func (v *verdict) untrusted(c *config.Config, s reflections, peer string) {
	trust := "write trusted_proxies: [" + single(s.plain.peer.Addr()) + "]"
	alike := everybodyAlike(c)
	if !strings.EqualFold(s.plain.hostname(), c.ExternalURL.Hostname()) { // no route is found either
		alike = Failed
	}
	switch {
	case s.plain.came("X-Forwarded-For"), s.plain.came("X-Forwarded-Host"), s.plain.came("X-Forwarded-Proto"):
		v.add(alike, "the proxy at "+peer+" sends "+strings.Join(s.plain.Headers, ", ")+" and is not trusted: everybody seems to come from "+peer, trust+", and run portero doctor again")
	case s.plain.came("Forwarded"):
		v.add(alike, "the proxy at "+peer+" sends Forwarded alone, which is not read: everybody seems to come from "+peer,
			"let it set X-Forwarded-For, X-Forwarded-Host and X-Forwarded-Proto; then "+trust)
	default:
		v.add(alike, "somebody at "+peer+" passes requests on and does not say who sends them: everybody seems to come from "+peer,
			"let the proxy set the headers, in nginx: "+setFor+" "+setHost+" "+setProto+" then "+trust+"; translation of addresses, as for the ports of containers, has to keep the client's address")
	}
}

// single is the network of one address.
func single(a netip.Addr) string { return netip.PrefixFrom(a, a.BitLen()).String() }

// client is about X-Forwarded-For of a trusted proxy.
func (v *verdict) client(c *config.Config, s reflections, peer string, own func(netip.Addr) bool) {
	const header = "X-Forwarded-For"
	believed := s.client.Client == forgedClient
	hops := s.client.hops()
	foreign := func(hop string) bool {
		a, err := netip.ParseAddr(hop)
		return err != nil || !own(a)
	}
	switch {
	case believed && len(hops) == 0:
		v.add(Failed, "the proxy at "+peer+" passes X-Forwarded-For on as a client sends it: whoever sends one is believed to be anybody", "let the proxy set it, in nginx: "+setFor)
	case believed && slices.ContainsFunc(hops, foreign):
		v.add(Warning, "behind "+strings.Join(hops, ", ")+", which trusted_proxies names, a client is believed to be anybody",
			"if a proxy is there, let it overwrite X-Forwarded-For, in nginx: proxy_set_header X-Forwarded-For $remote_addr; if not, name in trusted_proxies the proxies alone")
	case !s.plain.came(header):
		v.add(everybodyAlike(c), "the proxy at "+peer+" sends no X-Forwarded-For: everybody seems to come from "+peer, "let the proxy set it, in nginx: "+setFor)
	case s.plain.Problem == "" && s.plain.ForwardedFor == peer:
		v.add(everybodyAlike(c), "the proxy at "+peer+" sends an X-Forwarded-For that is no list of addresses: everybody seems to come from "+peer, "let the proxy set it, in nginx: "+setFor)
	}
}

// scheme is about X-Forwarded-Proto of a trusted proxy.
func (v *verdict) scheme(c *config.Config, s reflections) {
	const header = "X-Forwarded-Proto"
	remedy := "let the proxy set it, in nginx: " + setProto
	want := c.ExternalURL.Scheme
	switch {
	case strings.HasPrefix(s.plain.Problem, "reading "+header):
		v.add(Failed, "the proxy sends an X-Forwarded-Proto that is neither http nor https, and every request is refused", remedy)
	case s.plain.Problem == "" && s.plain.Scheme != want:
		v.add(Failed, "the proxy says "+s.plain.Scheme+" in X-Forwarded-Proto of what was asked for over "+want,
			"let the proxy that ends TLS set it, in nginx: "+setProto+" and proxies behind it pass it on, in nginx: proxy_set_header X-Forwarded-Proto $http_x_forwarded_proto; or correct external_url")
	case s.proto.came(header) && s.proto.Scheme == s.theirs:
		v.add(Warning, "the proxy passes X-Forwarded-Proto on as a client sends it: whoever sends one chooses the scheme", remedy)
	case want == "https" && !s.plain.came(header):
		v.add(Warning, "the proxy sends no X-Forwarded-Proto: the gateway takes requests over http for https, and nobody is sent from the one to the other", remedy)
	}
}

// host is about the host that arrives, in Host or in X-Forwarded-Host of a trusted proxy.
func (v *verdict) host(c *config.Config, s reflections) {
	want := c.ExternalURL.Hostname()
	remedy := "let the proxy set it, in nginx: " + setHost
	switch got := s.plain.hostname(); {
	case strings.HasPrefix(s.plain.Problem, "reading X-Forwarded-Host"), strings.HasPrefix(s.plain.Problem, "reading Host"):
		v.add(Failed, "the proxy sends a Host or X-Forwarded-Host that cannot be read, and every request is refused", remedy)
	case s.plain.Problem == "" && !strings.EqualFold(got, want) && !s.plain.Trusted && s.plain.came("X-Forwarded-Host"):
		// it is what will count once the proxy is trusted
	case s.plain.Problem == "" && !strings.EqualFold(got, want):
		v.add(Failed, "the proxy changes Host: what was asked of "+want+" arrives for another host, so routes of "+want+" do not match", remedy)
	case s.plain.Trusted && s.host.hostname() == forgedHost:
		v.add(Failed, "the proxy passes X-Forwarded-Host on as a client sends it: whoever sends one chooses the host, past what the proxy itself decides by host", remedy)
	}
}
