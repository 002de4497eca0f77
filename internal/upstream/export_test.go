package upstream

import "crypto/tls"

// What fuzz targets need to see without a network.

type Frames struct{ frames }

func (f *Frames) Pass(p []byte) { f.frames.pass(p) }
func (f *Frames) Between() bool { return f.frames.between() }

type Events struct{ events }

func (e *Events) Pass(p []byte, last bool) int { return e.events.pass(p, last) }
func (e *Events) Between() bool                { return e.events.between() }

// Trust lets a proxy accept a test server's certificate.
func Trust(p *Proxy, c *tls.Config) { p.transport.TLSClientConfig = &tls.Config{RootCAs: c.RootCAs} }
