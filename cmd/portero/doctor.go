package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"portero/internal/config"
	"portero/internal/doctor"
)

func doctorCommand() *cobra.Command {
	var asJSON, strict bool
	var outside []string
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Look at what surrounds the gateway and say what is wrong",
		Long: `Look at what surrounds the gateway: its session store, certificate and files of secrets, its addresses, the gateway that
runs and the proxy in front of it, the applications, Logto and its settings, and Mailgun.

Nothing is changed, and no mail is sent. All checks run at once, for at most 20 seconds. One line each says ok, warning,
failed or skipped; below it stands what was expected and what to type. The exit code is 1 when something failed, and
with --strict 3 when there are warnings only.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			o := doctor.Options{Config: cfg, Version: version(), Admin: doctorAdmin(cfg)}
			for _, text := range outside {
				u, err := url.Parse(text)
				if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
					return usage(fmt.Errorf("--outside %q: write http:// or https://, an address and a port", plain(text)))
				}
				o.Outside = append(o.Outside, u)
			}
			findings := doctor.Run(cmd.Context(), o)
			if err := printFindings(cmd.OutOrStdout(), findings, asJSON); err != nil {
				return err
			}
			if code := doctorCode(count(findings), strict); code != 0 {
				return exitCode(code)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print findings and summary as JSON")
	c.Flags().StringArrayVar(&outside, "outside", nil, "`URL` at which an application must not be reached without the gateway; may be given more than once")
	c.Flags().BoolVar(&strict, "strict", false, "exit with 3 when there are warnings")
	return c
}

// doctorAdmin asks the admin listener as the other commands do. That there is no token is said by whoever asks.
func doctorAdmin(cfg *config.Config) func(ctx context.Context, method, path string, query url.Values, into any) error {
	client, err := newAdminClient(cfg)
	return func(ctx context.Context, method, path string, query url.Values, into any) error {
		if err != nil {
			return err
		}
		return client.call(ctx, method, path, query, nil, into)
	}
}

// count says how many findings came out how. Every status is in it.
func count(findings []doctor.Finding) map[doctor.Status]int {
	n := map[doctor.Status]int{doctor.OK: 0, doctor.Warning: 0, doctor.Failed: 0, doctor.Skipped: 0}
	for _, f := range findings {
		n[f.Status]++
	}
	return n
}

// doctorCode is how the command ends. A check that could not be made is no failure.
func doctorCode(n map[doctor.Status]int, strict bool) int {
	switch {
	case n[doctor.Failed] > 0:
		return exitFailed
	case strict && n[doctor.Warning] > 0:
		return exitWork
	}
	return 0
}

// printFindings prints findings in their order, and how many there are of each kind.
func printFindings(out io.Writer, findings []doctor.Finding, asJSON bool) error {
	n := count(findings)
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(map[string]any{"findings": findings, "summary": n})
	}
	width := 0
	for _, f := range findings {
		width = max(width, len(f.Check))
	}
	var b strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&b, "%-7s  %-*s  %s\n", f.Status, width, f.Check, plain(f.Seen))
		if f.Expected != "" {
			fmt.Fprintf(&b, "         expected: %s\n", plain(f.Expected))
		}
		if f.Remedy != "" {
			fmt.Fprintf(&b, "         to do: %s\n", plain(f.Remedy))
		}
	}
	fmt.Fprintf(&b, "\n%d ok, %d warnings, %d failed, %d skipped\n", n[doctor.OK], n[doctor.Warning], n[doctor.Failed], n[doctor.Skipped])
	_, err := io.WriteString(out, b.String())
	return err
}
