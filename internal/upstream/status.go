package upstream

import "time"

// Name is the route's name.
func (p *Proxy) Name() string { return p.cfg.Route.Name }

// Down lists the upstreams, as host and port, that could not be connected to a moment ago. It makes no call.
func (p *Proxy) Down() []string {
	now := time.Now().UnixNano()
	var down []string
	for _, t := range p.targets {
		if t.avoid.Load() > now {
			down = append(down, t.host)
		}
	}
	return down
}
