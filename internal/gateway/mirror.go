package gateway

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"portero/internal/forwarded"
)

const (
	mirrorTime  = 20 * time.Second
	mirrorsMost = 8
)

// Arrival is how a request reached the public listener: what stands in front of the gateway, and what is believed of it.
type Arrival struct {
	Peer    string   `json:"peer"` // address and port
	Trusted bool     `json:"trusted"`
	Headers []string `json:"headers"` // forwarded.Claims: what came along, believed or not
	// Client, Scheme, Host and ForwardedFor are what package forwarded made of it. Client and Host are empty where it could not.
	Client       string `json:"client"`
	Scheme       string `json:"scheme"`
	Host         string `json:"host"`
	ForwardedFor string `json:"forwarded_for"` // the client, the trusted hops behind it, the peer
	Problem      string `json:"problem"`       // why the request is refused; "": it is not
}

// mirror remembers how single requests arrived. Each was announced behind the admin token, which gave a nonce; the first GET
// of PREFIX/healthz?mirror=NONCE is the one. Nothing of a request is kept but its Arrival, and who sends it learns nothing.
// The zero value is ready to use.
type mirror struct {
	armed atomic.Int32 // len(list), read without the lock
	mu    sync.Mutex
	list  []awaited // oldest first, at most mirrorsMost
}

// awaited is a request that was announced.
type awaited struct {
	nonce   string
	until   time.Time
	arrival *Arrival // nil: it has not come
}

// arm announces a request.
func (m *mirror) arm(now time.Time) (nonce string) {
	nonce = rand.Text() // 128 bits and more
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(now)
	if over := len(m.list) + 1 - mirrorsMost; over > 0 {
		m.list = slices.Delete(m.list, 0, over)
	}
	m.list = append(m.list, awaited{nonce: nonce, until: now.Add(mirrorTime)})
	m.armed.Store(int32(len(m.list)))
	return nonce
}

// forget drops what is over. The lock is held.
func (m *mirror) forget(now time.Time) {
	m.list = slices.DeleteFunc(m.list, func(a awaited) bool { return !now.Before(a.until) })
	m.armed.Store(int32(len(m.list)))
}

// awaits says whether any request was announced.
func (m *mirror) awaits() bool { return m.armed.Load() > 0 }

// keep remembers how the request with a nonce arrived, the first time. All others leave nothing.
func (m *mirror) keep(nonce string, a Arrival, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(now)
	for i := range m.list {
		if subtle.ConstantTimeCompare([]byte(m.list[i].nonce), []byte(nonce)) == 1 && m.list[i].arrival == nil {
			m.list[i].arrival = &a
		}
	}
}

// take hands out how a request arrived and forgets it. nil: it has not come yet. known is false for a nonce that was not
// given out, is over, was pushed out by later ones, or was taken.
func (m *mirror) take(nonce string, now time.Time) (a *Arrival, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(now)
	at := slices.IndexFunc(m.list, func(a awaited) bool { return subtle.ConstantTimeCompare([]byte(a.nonce), []byte(nonce)) == 1 })
	if at < 0 {
		return nil, false
	}
	if a = m.list[at].arrival; a != nil {
		m.list = slices.Delete(m.list, at, at+1)
		m.armed.Store(int32(len(m.list)))
	}
	return a, true
}

// healthzOf says whether a request target is PREFIX/healthz, and which nonce it has.
func healthzOf(prefix, target string) (nonce string, is bool) {
	rest, is := strings.CutPrefix(target, prefix)
	if !is {
		return "", false
	}
	if rest, is = strings.CutPrefix(rest, "/healthz"); !is || rest == "" {
		return "", is
	}
	return strings.CutPrefix(rest, "?mirror=")
}

// reflect keeps how a request with a nonce arrived, if one was announced. from and err are what package forwarded made of it.
func (g *generation) reflect(r *http.Request, nonce string, from forwarded.Request, err error) {
	if nonce == "" || r.Method != http.MethodGet || !g.mirror.awaits() {
		return
	}
	now := time.Now
	if g.clock != nil {
		now = g.clock
	}
	g.mirror.keep(nonce, g.arrivalOf(r, from, err), now())
}

func (g *generation) arrivalOf(r *http.Request, from forwarded.Request, err error) Arrival {
	a := Arrival{Scheme: from.Scheme, Host: from.Host, ForwardedFor: from.ForwardedFor, Headers: forwarded.Claims(r.Header)}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		a.Peer = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port()).String()
	}
	var header *forwarded.HeaderError
	switch {
	case errors.Is(err, forwarded.ErrPlainHTTP): // from has the URL where it goes on
		a.Scheme = "http"
	case errors.As(err, &header): // nothing is known but who is at the other end
		from, _ = g.forwarded.Resolve(&http.Request{RemoteAddr: r.RemoteAddr, Host: "localhost"})
		a.Scheme, a.Problem = "", header.Error()
	case err != nil:
		a.Problem = err.Error()
	}
	a.Trusted = from.Trusted
	if header == nil && from.Client.IsValid() {
		a.Client = from.Client.String()
	}
	return a
}

// apiMirror handles POST /api/mirror: the next GET of PREFIX/healthz?mirror=NONCE within 20 seconds is looked at.
func (g *Gateway) apiMirror(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusCreated, map[string]any{"nonce": g.mirror.arm(g.now()), "seconds": int(mirrorTime.Seconds())})
}

// apiMirrored handles GET /api/mirror?nonce=: how that request arrived, once. While it has not come, `arrived` is false.
func (g *Gateway) apiMirrored(w http.ResponseWriter, r *http.Request) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		refuseAPI(w, http.StatusBadRequest, "bad_request", "the query cannot be read")
		return
	}
	values, err := single(q, "nonce")
	if err != nil {
		refuseAPI(w, http.StatusBadRequest, "bad_request", err.Error())
		return
	}
	arrival, known := g.mirror.take(values["nonce"], g.now())
	switch {
	case !known:
		refuseAPI(w, http.StatusNotFound, "not_found", "no request with that nonce is awaited; it was never given out, is over, or has been told")
	case arrival == nil:
		writeJSON(w, http.StatusOK, map[string]any{"arrived": false})
	default:
		writeJSON(w, http.StatusOK, struct {
			Arrived bool `json:"arrived"`
			*Arrival
		}{true, arrival})
	}
}
