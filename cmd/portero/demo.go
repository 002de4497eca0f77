package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"portero/internal/config"
	"portero/internal/demo"
	"portero/internal/telemetry"
)

func demoCommand() *cobra.Command {
	var base int
	var asJSON, parallel, verbose bool
	c := &cobra.Command{
		Use:   "demo",
		Short: "Run everything on this computer, with no account anywhere",
		Long: `Run a gateway, an identity provider, a mailbox and a sample application on loopback.

Open the gateway's address, sign in with any e-mail address, and read the code in the mailbox. Nothing is kept.
With --config, the mails go to the Mailgun account of that file and the pages look as it says.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if base < 1 || base > 65525 {
				return usage(fmt.Errorf("--port-base %d: write a port between 1 and 65525", base))
			}
			level := slog.LevelWarn
			if verbose {
				level = slog.LevelDebug
			}
			log := telemetry.NewLogger(telemetry.LogConfig{Level: level, Writer: cmd.ErrOrStderr(), Terminal: isTerminal(os.Stderr)})
			slog.SetDefault(log)
			stdlog.SetOutput(telemetry.LibraryLog(log))
			from, err := demoConfig(cmd)
			if err != nil {
				return err
			}
			d, err := demo.Start(demo.Config{PortBase: base, ParallelInteractions: parallel, From: from, Log: log})
			if err != nil {
				return err
			}
			return runDemo(cmd.Context(), cmd.OutOrStdout(), d, asJSON)
		},
	}
	c.Flags().IntVar(&base, "port-base", demo.DefaultPortBase, "port of the gateway; the other parts have the next ones, the admin listener ten more")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object with all addresses once everything is ready")
	c.Flags().BoolVar(&parallel, "parallel-interactions", false, "let the provider keep every sign-in that a browser has begun, not the last alone")
	c.Flags().BoolVar(&verbose, "verbose", false, "log everything")
	return c
}

// demoConfig reads `mailgun` and `pages`, and nothing else, of an explicit --config.
func demoConfig(cmd *cobra.Command) (*config.Config, error) {
	f := cmd.Flags().Lookup("config")
	if f == nil || !f.Changed {
		return nil, nil
	}
	return config.Load(config.Options{Path: f.Value.String(), Only: []string{"mailgun", "pages"}})
}

func runDemo(ctx context.Context, out io.Writer, d *demo.Demo, asJSON bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	var err error
	if asJSON {
		err = json.NewEncoder(out).Encode(d.Addresses)
	} else {
		_, err = fmt.Fprintf(out, `Portero is running, on this computer only. It forgets everything when it stops.

  1. Open        %[1]s/reports?year=2026
  2. Sign in     with any e-mail address; one that ends in @admin.example may open /admin/
  3. Read code   %[2]s
  4. You are back on the page you asked for, and it shows what the application was told.

  Application without the gateway   %[3]s
  Public part                       %[1]s/public/
  Your own page                     %[1]s/_portero/
  Sign out                          %[1]s/sign-out
  Health and metrics                %[4]s/readyz?verbose  %[4]s/metrics

Press Ctrl+C to stop.
`, d.Addresses.Gateway, d.Addresses.Mailbox, d.Addresses.Application, d.Addresses.Admin)
	}
	if err != nil {
		cancel()
		<-done
		return err
	}
	return <-done
}
