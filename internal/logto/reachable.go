package logto

import (
	"context"
	"fmt"
	"time"
)

const (
	// reachableFor is how long a call that went well speaks for Logto.
	reachableFor = 10 * time.Second
	// probeAgain is the pause after a probe that failed.
	probeAgain = time.Second
	// probeTimeout bounds a probe: somebody waits for a page.
	probeTimeout = 3 * time.Second
)

// Reachable says whether a browser can be sent to Logto now. What was discovered lives on while Logto is away, and
// would send people to an address that does not answer. If no call has gone well within ten seconds, the metadata is
// asked for once more, by one call for all who wait. Errors match ErrUnavailable.
func (p *Provider) Reachable(ctx context.Context) error {
	if _, err := p.Discover(ctx); err != nil {
		return err
	}
	now := p.config.Now()
	good, failed := p.health.lately()
	switch {
	case now.Sub(good) < reachableFor && good.After(failed):
		return nil
	case now.Sub(failed) < probeAgain:
		return fmt.Errorf("%w: it did not answer a moment ago", ErrUnavailable)
	}
	probe := p.probes.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
		defer cancel()
		_, err := p.fetchMetadata(ctx)
		return nil, err
	})
	select {
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	case res := <-probe:
		if res.Err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, res.Err)
		}
		return nil
	}
}
