package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"portero/internal/config"
	"portero/internal/gateway"
	"portero/internal/route"
)

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check the configuration and print it as it counts",
		Long: `Check the configuration without calling anybody.

What counts is printed as YAML: defaults, file, environment and flags together, short forms written out, secrets as
(redacted). Comments below it say which scopes Logto is asked for, which URIs it has to know, and which route wins.
With problems, all of them are on standard error, each with its place and what to write, and the exit code is 2.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			table, err := gateway.Table(cfg)
			if err != nil {
				return err
			}
			for _, w := range cfg.Warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning: "+w.String())
			}
			return printChecked(cmd.OutOrStdout(), cfg, table)
		},
	}
}

func printChecked(out io.Writer, cfg *config.Config, table *route.Table) error {
	var b bytes.Buffer
	if cfg.File == "" {
		b.WriteString("# no configuration file: environment, flags and defaults\n")
	} else {
		fmt.Fprintf(&b, "# from %s\n", cfg.File)
	}
	b.Write(cfg.YAML())
	fmt.Fprintf(&b, "\n# scopes: %s\n", strings.Join(cfg.Logto.FinalScopes(), " "))
	if cfg.Logto.NeedsUserinfo() {
		b.WriteString("# some claims come from userinfo, which is asked at sign-in and refresh\n")
	}
	fmt.Fprintf(&b, "# redirect URIs: %s\n", strings.Join(cfg.RedirectURIs(), " "))
	fmt.Fprintf(&b, "# post sign-out redirect URIs: %s\n", strings.Join(cfg.PostLogoutURIs(), " "))
	fmt.Fprintf(&b, "# backchannel logout URI: %s\n", cfg.BackchannelURI())
	b.WriteString("#\n# routes, in the order in which they are tried:\n")
	var rows bytes.Buffer
	w := tabwriter.NewWriter(&rows, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "#   HOST\tPATH\tMETHODS\tACCESS\tUPSTREAMS\tNAME")
	for _, r := range table.Routes() {
		path, methods := r.Path, "all"
		switch {
		case r.Exact:
			path += " (exact)"
		case path == "/":
			path = "/…"
		default:
			path += ", " + path + "/…"
		}
		if len(r.Methods) > 0 {
			methods = strings.Join(r.Methods, ",")
		}
		var upstreams []string
		for _, u := range cfg.Routes[r.Index].Upstreams {
			upstreams = append(upstreams, u.URL.String())
		}
		switch {
		case cfg.Routes[r.Index].ForwardAuthOnly:
			upstreams = []string{"asked about"}
		case len(upstreams) == 0:
			upstreams = []string{"-"}
		}
		fmt.Fprintf(w, "#   %s\t%s\t%s\t%s\t%s\t%s\n", strings.Join(r.Hosts, ","), path, methods, accessOf(cfg.Routes[r.Index]), strings.Join(upstreams, " "), r.Name)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	b.Write(rows.Bytes())
	_, err := out.Write(b.Bytes())
	return err
}

// accessOf is who gets to a route, with what makes its rules looser or stricter.
func accessOf(r config.Route) string {
	words := r.Access
	if r.ReportOnly {
		words += ", report only"
	}
	if r.StepUp.MaxAge > 0 {
		age := r.StepUp.MaxAge.String()
		for _, zero := range []string{"0s", "0m"} { // 15m, not 15m0s
			if strings.HasSuffix(age, "m"+zero) || strings.HasSuffix(age, "h"+zero) {
				age = strings.TrimSuffix(age, zero)
			}
		}
		words += ", step-up " + age
	}
	return words
}
