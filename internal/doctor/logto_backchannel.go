package doctor

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// backchannel is the way on which Logto says that somebody has signed out.
type backchannel struct {
	*look
	// resolve looks a host up. Errors are of package net.
	resolve func(ctx context.Context, host string) ([]netip.Addr, error)
}

func lookUp(ctx context.Context, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// reach is from where an address can be reached.
type reach int

const (
	nowhere  reach = iota // it cannot be looked up
	loopback              // from its own machine
	private               // from its own network
	public
)

// reachOf is from where a host can be reached, as far as can be told here. A host with addresses of several kinds counts
// by the narrowest: Logto looks at each of them.
func (b *backchannel) reachOf(ctx context.Context, host string) reach {
	addresses := []netip.Addr{}
	if a, err := netip.ParseAddr(host); err == nil {
		addresses = append(addresses, a)
	} else if addresses, err = b.resolve(ctx, host); err != nil || len(addresses) == 0 {
		return nowhere
	}
	far := public
	for _, a := range addresses {
		a = a.Unmap()
		switch {
		case a.IsLoopback(), a.IsUnspecified():
			far = min(far, loopback)
		case a.IsPrivate(), a.IsLinkLocalUnicast(), carrier.Contains(a):
			far = min(far, private)
		}
	}
	return far
}

// carrier is the network between customers and their provider (RFC 6598), where overlay networks live too.
var carrier = netip.MustParsePrefix("100.64.0.0/10")

// dropsPrivate says whether Logto is of a line that keeps logout tokens from private addresses, 1.42 or later. Up to 1.41
// its discovery document has a member that is gone since.
func (l *look) dropsPrivate(ctx context.Context) bool {
	_, old := l.discovery(ctx).object["request_parameter_supported"]
	return !old
}

// checkAddress: can Logto reach the address where it says who signed out?
func (b *backchannel) checkAddress(ctx context.Context) Finding {
	if f, skip := b.without(ctx); skip {
		return f
	}
	uri := b.config.BackchannelURI()
	host := b.config.ExternalURL.Hostname()
	expected := "an address of external_url that Logto reaches, for " + uri
	if offered := b.discovery(ctx).object["backchannel_logout_supported"]; offered != true {
		return failed("back-channel logout offered by Logto", "its discovery document does not offer it", "bring Logto to a release that does; until then a sign-out elsewhere ends nobody's session here before it idles")
	}
	far := b.reachOf(ctx, host)
	logto := b.reachOf(ctx, b.config.Logto.Endpoint.Hostname())
	switch {
	case far == nowhere:
		return warning(expected, "the name "+host+" cannot be looked up from here", "enter "+host+" in the DNS that Logto uses, or write another external_url")
	case far == loopback && logto != loopback && logto != nowhere:
		return failed(expected, host+" is a loopback address, which leads Logto to its own machine", "write an external_url that Logto can reach; until then a sign-out elsewhere does not end sessions here")
	case far != public && logto == public && strings.HasSuffix(b.config.Logto.Endpoint.Hostname(), ".logto.app"):
		return failed(expected, host+" is a private address, which Logto's cloud cannot reach", "write an external_url that the internet can reach; until then a sign-out elsewhere does not end sessions here")
	case far != public && b.dropsPrivate(ctx):
		return warning(expected, host+" is a private or loopback address, to which Logto from 1.42 on sends nothing and says nothing about it",
			"set OIDC_PROVIDER_SSRF_PROTECTION_DISABLED=true in Logto's environment and start it again; if it is set, all is well: this cannot be seen from outside")
	case far != public:
		return ok("this Logto sends logout tokens to private addresses (from 1.42 on it needs OIDC_PROVIDER_SSRF_PROTECTION_DISABLED=true)")
	case b.config.ExternalURL.Scheme == "http":
		return warning(expected+", over https", "an external_url with http, so that logout tokens travel open", "write an https external_url")
	}
	return ok("Logto can reach %s, as far as can be told from here", uri)
}

// checkAnswer: does the address where Logto says who signed out lead to the gateway?
func (b *backchannel) checkAnswer(ctx context.Context) Finding {
	uri := b.config.BackchannelURI()
	a := b.direct.post(ctx, uri, url.Values{"logout_token": {"portero-doctor"}}, "", "")
	expected := "status 400 of the gateway for a logout token that is none, at " + uri
	remedy := "have the proxy in front pass everything under " + b.config.Endpoints.Prefix + "/ on to the gateway, POST included, without a sign-in or a check of its own"
	switch {
	case a.status == 0:
		return skipped("external_url does not lead anywhere from here ("+a.problem+")", "start portero serve; if this machine cannot reach external_url, look from one that can")
	case a.status == http.StatusBadRequest && (a.ours || a.code == "invalid_request"):
		return ok("%s leads to the gateway", uri)
	case a.redirect:
		return failed(expected, "a redirect, which Logto does not follow", remedy+"; if it redirects to https, write an https external_url")
	case a.ours && a.status == http.StatusMisdirectedRequest:
		return failed(expected, "status 421 of a gateway that has no route for the host of external_url", "write the host of external_url into the hosts of a route, or change external_url")
	case a.ours:
		return warning(expected, fmt.Sprintf("status %d of the gateway", a.status), "look at the gateway's log, and run portero doctor again")
	}
	return failed(expected, fmt.Sprintf("status %d of something else", a.status), remedy)
}
