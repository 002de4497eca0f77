package main

import (
	"context"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"portero/internal/config"
	"portero/internal/gateway"
	"portero/internal/telemetry"
)

func serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway",
		Long:  "Run the gateway. SIGHUP reads the configuration again; SIGINT and SIGTERM end it gracefully, a second one at once.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			load := func() (*config.Config, error) { return loadConfig(cmd) }
			cfg, err := load()
			if err != nil {
				return err
			}
			level := &slog.LevelVar{}
			if err := level.UnmarshalText([]byte(cfg.Log.Level)); err != nil {
				return fmt.Errorf("log.level: %w", err)
			}
			log := telemetry.NewLogger(telemetry.LogConfig{
				Level: level, Format: cfg.Log.Format, Writer: cmd.ErrOrStderr(), Terminal: isTerminal(os.Stderr),
			})
			slog.SetDefault(log)
			stdlog.SetOutput(telemetry.LibraryLog(log)) // what libraries print goes the same way
			g, err := gateway.New(cfg, gateway.Options{Log: log, Load: load, Level: level, Version: version()})
			if err != nil {
				return err
			}
			// Whoever sees it listen may ask for a reload, and without this SIGHUP would end the process.
			hangup := make(chan os.Signal, 1)
			signal.Notify(hangup, syscall.SIGHUP)
			defer signal.Stop(hangup)
			if err := g.Listen(); err != nil {
				g.Close()
				return err
			}
			announce(cmd.OutOrStdout(), cfg, g)
			gateway.Warn(log, cfg)
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			go reloadOnHangup(ctx, g, hangup)
			return g.Run(ctx)
		},
	}
	return c
}

// announce prints what has to be registered at Logto, as lines to copy.
func announce(out io.Writer, cfg *config.Config, g *gateway.Gateway) {
	fmt.Fprintf(out, "listening on %s for %s\n", g.Addr(), cfg.ExternalURL)
	if a := g.AdminAddr(); a != nil {
		fmt.Fprintf(out, "admin listener on %s\n", a)
	}
	fmt.Fprintln(out, "redirect URIs that the Logto application needs:")
	for _, uri := range cfg.RedirectURIs() {
		fmt.Fprintln(out, "  "+uri)
	}
	fmt.Fprintln(out, "post sign-out redirect URIs that it needs:")
	for _, uri := range cfg.PostLogoutURIs() {
		fmt.Fprintln(out, "  "+uri)
	}
	fmt.Fprintln(out, "backchannel logout URI, with \"Is session required\" on:")
	fmt.Fprintln(out, "  "+cfg.BackchannelURI())
}

// reloadOnHangup reloads at each SIGHUP until ctx ends. What goes wrong is in the log.
func reloadOnHangup(ctx context.Context, g *gateway.Gateway, hangup <-chan os.Signal) {
	for {
		select {
		case <-hangup:
			if g.Reload() != nil {
				continue // Reload has logged why
			}
		case <-ctx.Done():
			return
		}
	}
}
