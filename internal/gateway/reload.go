package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"portero/internal/audit"
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
		g.audit.Record(context.Background(), audit.Event{Action: "reload", Outcome: "failed"})
	} else {
		g.log.Info("configuration reloaded")
		Warn(g.log, g.config())
		g.audit.Record(context.Background(), audit.Event{Action: "reload", Outcome: "succeeded"})
	}
	if notifyErr := serve.Notify("READY=1"); notifyErr != nil {
		g.log.Warn("telling the service manager", "error", notifyErr)
	}
	return err
}

// Warn says what weakens protection, at every start and reload, and what works and is probably not meant.
func Warn(log *slog.Logger, cfg *config.Config) {
	for _, name := range cfg.Insecure {
		log.Warn("an insecure setting is in force", "insecure", name)
	}
	for _, p := range cfg.Warnings {
		log.Warn(p.String())
	}
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
	keys := config.StartOnlyChanges(before.config, cfg)
	if cfg.TLS.Enabled() != before.config.TLS.Enabled() {
		keys = append(keys, "tls")
	}
	if cfg.Log.Format != before.config.Log.Format {
		keys = append(keys, "log.format")
	}
	if len(keys) > 0 {
		return fmt.Errorf("%s: takes effect only at a start; restart portero, or undo the change", strings.Join(keys, ", "))
	}
	next, err := g.build(cfg, before)
	if err != nil {
		return err
	}
	if err := g.adopt(cfg); err != nil {
		next.close()
		return err
	}
	g.current.Store(next)
	if next.secret.Replace(cfg.Logto.AppSecret.Reveal()) {
		g.prove()
	}
	before.close()
	g.watcher.Learn(cfg.WatchedFiles())
	if !slices.Equal(cfg.WatchedFiles(), before.config.WatchedFiles()) {
		select {
		case g.rewatch <- struct{}{}:
		default: // it is known already
		}
	}
	return nil
}

// adopt gives what belongs to no generation its new settings: all of them, or none.
func (g *Gateway) adopt(cfg *config.Config) error {
	var certs *serve.Certificates
	if g.certs != nil {
		var err error
		if certs, err = serve.LoadCertificates(cfg.TLS.CertFile, cfg.TLS.KeyFile); err != nil {
			return fmt.Errorf("tls: %w", err)
		}
	}
	if err := g.audit.Move(cfg.Log.AuditFile); err != nil {
		return fmt.Errorf("log.audit_file: %w", err)
	}
	if certs != nil {
		g.certs.Replace(certs)
	}
	if g.opts.Level != nil {
		if err := g.opts.Level.UnmarshalText([]byte(cfg.Log.Level)); err != nil {
			g.log.Warn("log.level", "error", err)
		}
	}
	return nil
}

// watch reloads when a watched file changes, until ctx ends: certificates and secret files always, the configuration
// file with `reload.watch`. The list of files follows the configuration.
func (g *Gateway) watch(ctx context.Context) {
	for ctx.Err() == nil {
		watching, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() {
			ended <- g.watcher.Watch(watching, g.config().WatchedFiles(), func() {
				g.log.Info("a watched file has changed")
				_ = g.Reload() // it has logged why
			})
		}()
		select {
		case <-g.rewatch:
			stop()
			<-ended
		case err := <-ended:
			stop()
			if err != nil {
				g.log.Error("watching files: changes are not noticed; send SIGHUP to reload", "error", err)
				<-ctx.Done()
			}
		}
	}
}
