package redistest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// Proxy stands between clients and a server and breaks what it is told to. Its methods
// may be called from any goroutine.
type Proxy struct {
	Addr string // stays the same

	t     testing.TB
	mu    sync.Mutex
	proxy *toxiproxy.Proxy
	stall bool
}

// NewProxy makes a proxy that passes everything on to target.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	nobody := zerolog.Nop()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), nobody)
	p := &Proxy{t: t, proxy: toxiproxy.NewProxy(server, "redis", "127.0.0.1:0", target)}
	if err := p.proxy.Start(); err != nil {
		t.Fatalf("starting proxy: %v", err)
	}
	p.Addr = p.proxy.Listen
	t.Cleanup(func() { p.proxy.Stop() })
	return p
}

// Cut breaks all connections and refuses new ones.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proxy.Stop()
}

// Heal passes everything on again. Connections that were stalled break, since what went
// into them is lost.
func (p *Proxy) Heal() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stall {
		p.proxy.Stop()
	}
	p.proxy.Toxics.ResetToxics(context.Background())
	p.stall = false
	p.start()
}

// Delay lets everything come later by d, each way, as a Heal before it left the rest.
func (p *Proxy) Delay(d time.Duration) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, direction := range []string{"upstream", "downstream"} {
		name := "delay-" + direction
		p.proxy.Toxics.RemoveToxic(context.Background(), name)
		p.toxic(`{"name": %q, "type": "latency", "stream": %q, "attributes": {"latency": %d}}`, name, direction, d.Milliseconds())
	}
}

// Stall accepts connections and keeps those there are, but nothing passes, in either
// direction.
func (p *Proxy) Stall() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stall {
		return
	}
	p.stall = true
	for _, direction := range []string{"upstream", "downstream"} {
		p.toxic(`{"name": %q, "type": "timeout", "stream": %q, "attributes": {"timeout": 0}}`, "stall-"+direction, direction)
	}
	p.start()
}

func (p *Proxy) toxic(format string, args ...any) {
	p.t.Helper()
	if _, err := p.proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(format, args...))); err != nil {
		p.t.Errorf("proxy: %v", err)
	}
}

// start listens again, on the same port.
func (p *Proxy) start() {
	p.t.Helper()
	if p.proxy.Enabled {
		return
	}
	// Somebody's outgoing connection may have the port for a moment.
	if err := wait(startTimeout, nil, p.proxy.Start); err != nil {
		p.t.Errorf("starting proxy again: %v", err)
	}
}
