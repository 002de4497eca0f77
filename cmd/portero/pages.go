package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"portero/internal/gateway"
	"portero/internal/page"
)

func pagesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "pages DIR",
		Short: "Write every page in every language, for a look at the branding",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			set, err := page.New(gateway.PageConfig(cfg))
			if err != nil {
				return pageProblems(cfg, err)
			}
			n, err := set.WriteAll(args[0])
			if err != nil {
				return fmt.Errorf("writing pages: %w", err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d files written to %s\n", n, args[0])
			return err
		},
	}
}
