package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"portero/internal/config"
	"portero/internal/serve"
)

// Reload reads the configuration again and builds a whole new generation beside the running one; then it swaps one
// pointer, and requests under way end on the old one. On any error nothing changes.
//
// Keys that take effect only at a start refuse the reload as a whole.
func (g *Gateway) Reload() error {
	g.reload.Lock()
	defer g.reload.Unlock()
	if err := serve.Notify(serve.Reloading()); err != nil {
		g.log.Warn("telling the service manager", "error", err)
	}
	err := g.swap()
	g.metrics.Reloaded(err == nil, g.now())
	if err != nil {
		g.log.Error("reload failed: the configuration before stays in force", "error", err)
	} else {
		g.log.Info("configuration reloaded")
	}
	if notifyErr := serve.Notify("READY=1"); notifyErr != nil {
		g.log.Warn("telling the service manager", "error", notifyErr)
	}
	return err
}

func (g *Gateway) swap() error {
	if g.opts.Load == nil {
		return errors.New("this gateway has no configuration to read again")
	}
	cfg, err := g.opts.Load()
	if err != nil {
		return err
	}
	before := g.current.Load()
	if keys := config.StartOnlyChanges(before.config, cfg); len(keys) > 0 {
		return fmt.Errorf("%s: takes effect only at a start; restart portero, or undo the change", strings.Join(keys, ", "))
	}
	next, err := g.build(cfg, before)
	if err != nil {
		return err
	}
	if g.certs != nil {
		if err := g.certs.Reload(); err != nil {
			next.close()
			return fmt.Errorf("tls: %w", err)
		}
	}
	if g.opts.Level != nil {
		if err := g.opts.Level.UnmarshalText([]byte(cfg.Log.Level)); err != nil {
			g.log.Warn("log.level", "error", err)
		}
	}
	if err := g.audit.Reopen(); err != nil {
		g.log.Warn("opening the audit file again", "error", err)
	}
	g.current.Store(next)
	before.close()
	return nil
}

// watch reloads when a watched file changes, until ctx ends: certificates and secret files always, the configuration
// file with `reload.watch`. The list of files follows the configuration.
func (g *Gateway) watch(ctx context.Context) {
	for ctx.Err() == nil {
		files := g.config().WatchedFiles()
		watching, stop := context.WithCancel(ctx)
		var once sync.Once
		err := serve.WatchFiles(watching, files, func() {
			g.log.Info("a watched file has changed")
			if g.Reload() == nil && !slices.Equal(files, g.config().WatchedFiles()) {
				once.Do(stop) // watch the new list
			}
		})
		stop()
		if err != nil {
			g.log.Error("watching files: changes are not noticed; send SIGHUP to reload", "error", err)
			<-ctx.Done()
		}
	}
}
