package upstream

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// target is one upstream.
type target struct {
	scheme, host string
	authority    string       // host and port, the default one written out
	avoid        atomic.Int64 // until when, in Unix nanoseconds: it could not be connected to
}

// avoidFor is how long an upstream that could not be connected to has no turn,
// while others have.
const avoidFor = 5 * time.Second

func newTarget(u *url.URL) (*target, error) {
	switch {
	case u == nil, u.Host == "", u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("it is no http or https URL with a host; write http://HOST:PORT")
	case u.User != nil, u.RawQuery != "", u.ForceQuery, u.Fragment != "", u.Path != "" && u.Path != "/":
		return nil, fmt.Errorf("it has more than scheme, host and port; write %s://%s", u.Scheme, u.Host)
	}
	return &target{scheme: u.Scheme, host: u.Host, authority: authority(u.Host, u.Scheme)}, nil
}

// authority is the one spelling of host and port.
func authority(host, scheme string) string {
	host = strings.ToLower(host)
	if _, port, err := net.SplitHostPort(host); err == nil && port != "" {
		return host
	}
	host = strings.TrimSuffix(host, ":")
	if scheme == "https" {
		return host + ":443"
	}
	return host + ":80"
}

// pick returns the next upstream that has not been tried, one that can be
// connected to if there is any, else nil.
func (p *Proxy) pick(tried []*target) *target {
	if len(p.targets) == 1 && len(tried) == 0 {
		return p.targets[0]
	}
	start := int(p.next.Add(1)-1) % len(p.targets)
	now := time.Now().UnixNano()
	var last *target
	for i := range p.targets {
		t := p.targets[(start+i)%len(p.targets)]
		if slices.Contains(tried, t) {
			continue
		}
		if t.avoid.Load() <= now {
			return t
		}
		if last == nil {
			last = t
		}
	}
	return last
}

// balancer is the ReverseProxy's transport: it chooses the upstream.
//
// What could not be sent to one upstream is sent to the next, whatever it is,
// as long as nobody has read from the client's body. What may have arrived is
// repeated once, at another upstream, and only if repeating is harmless
// (RFC 9110, section 9.2.1) and there is no body.
type balancer struct{ p *Proxy }

func (b balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	p, x := b.p, exchangeOf(r.Context())
	var tried []*target
	repeated := false
	for t := p.pick(nil); ; {
		r.URL.Scheme, r.URL.Host = t.scheme, t.host
		x.tell.Upstream = t.host
		res, err := p.transport.RoundTrip(r)
		if err == nil || x.Err() != nil {
			return res, err
		}
		switch {
		case unsent(err):
			t.avoid.Store(time.Now().Add(avoidFor).UnixNano())
			if x.request.touched.Load() {
				return nil, err
			}
		case !repeated && harmless(r) && !x.socket && !timedOut(err):
			repeated = true
		default:
			return nil, err
		}
		if tried = append(tried, t); len(tried) == len(p.targets) {
			return nil, err
		}
		t = p.pick(tried)
		// The last attempt may still hold on to its request, and has closed its body.
		r = r.Clone(r.Context())
		if r.Body != nil {
			r.Body = &x.request
		}
	}
}

func harmless(r *http.Request) bool {
	if r.Body != nil {
		return false
	}
	return r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
}
