package upstream

import (
	"bufio"
	"net"
	"net/http"
)

// Informational answers of one request that are passed on, and those after
// which the upstream is given up.
const (
	passedInformational = 16
	maxInformational    = 1000
)

// writer stands between the ReverseProxy and the server. ReverseProxy clears all
// headers after each informational answer, and writes ours with the first: here
// they wait for the answer that counts (RFC 8297, section 2).
type writer struct {
	http.ResponseWriter
	x             *exchange
	own           http.Header // what the gateway had set before; nil: nothing
	informational int
	cleared       bool // the headers have been
	hijacked      bool
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *writer) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols {
		w.inform(status)
		return
	}
	w.restore()
	w.begin()
	h := w.Header()
	if len(h["Content-Type"]) == 0 {
		h["Content-Type"] = nil // else net/http guesses one
	}
	if w.x.http1 && w.x.request.remains(w.x.length) {
		// An answer before the end of the request. By default net/http would read
		// the rest itself before it lets the answer go, and take it from the upstream.
		_ = http.NewResponseController(w.ResponseWriter).EnableFullDuplex()
		h["Connection"] = []string{"close"}
	}
	w.ResponseWriter.WriteHeader(status)
}

// begin notes that from here on there is no other answer.
func (w *writer) begin() {
	w.x.mu.Lock()
	defer w.x.mu.Unlock()
	w.x.begun = true
	if w.x.code != 0 {
		w.x.breakOff() // the upstream has been let go already
	}
}

// inform passes an informational answer on. Continue is not passed on: net/http
// sends it when the upstream begins to read the body, once.
func (w *writer) inform(status int) {
	h := w.Header()
	if !w.cleared {
		w.cleared = true
		for name, values := range w.own { // ours come first, see http.Header.Add
			if h[name] = h[name][len(values):]; len(h[name]) == 0 {
				delete(h, name)
			}
		}
	}
	if w.informational++; w.informational > maxInformational {
		w.x.cancel(errFlood)
	}
	if status == http.StatusContinue || w.informational > passedInformational || !w.x.informs {
		return
	}
	w.x.proxy.clean(h)
	for _, name := range [...]string{"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade"} {
		delete(h, name)
	}
	w.ResponseWriter.WriteHeader(status)
}

// restore puts the gateway's headers back.
func (w *writer) restore() {
	if !w.cleared {
		return
	}
	w.cleared = false
	h := w.Header()
	for name, values := range w.own {
		h[name] = append(values[:len(values):len(values)], h[name]...)
	}
}

// Hijack hands the connection over for a WebSocket.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.restore()
	w.hijacked = true
	s := &socketConn{Conn: conn, early: rw.Reader, x: w.x}
	w.x.mu.Lock()
	defer w.x.mu.Unlock()
	w.x.upgrade = s
	if w.x.code != 0 {
		s.end(w.x.code)
	}
	return s, rw, nil
}
