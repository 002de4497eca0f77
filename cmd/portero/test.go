package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"portero/internal/explain"
)

func testCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "test FILE",
		Short: "Try a table of who may open what",
		Long: `Try a table of requests against the configuration, without a gateway that runs and without calling anybody.

The file says who there is, and what is to become of which request:

  people:
    ann: {claims: {email: ann@example.com, roles: [admin]}}
    bob: {claims: {email: bob@example.com}, age: 3h}          # signed in three hours ago
  tests:
    - {who: ann, url: /admin/, want: allow, rule: "allow[0]"}
    - {who: nobody, url: /admin/, want: sign-in}
    - {who: bob, url: [/admin/, /admin/users], method: [GET, POST], want: deny, reason: no-rule}
    - {who: ann, url: /, from: 10.1.2.3, want: allow, headers: {X-Forwarded-Email: ann@example.com, X-Forwarded-Name: null}}

Every person, method, URL and address of an entry is tried with every other. want is allow, sign-in or deny; reason, rule, route
and headers (null: not there) are compared where they are written. The exit code is 1 when something comes out otherwise.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := newExplainer(cmd)
			if err != nil {
				return err
			}
			data, err := os.ReadFile(args[0])
			if err != nil {
				return usage(err)
			}
			table, err := explain.ReadTable(data)
			if err != nil {
				return usage(fmt.Errorf("%s: %w", args[0], err))
			}
			failed, err := explain.Print(cmd.OutOrStdout(), args[0], table.Run(cmd.Context(), e), all)
			if err != nil {
				return err
			}
			if failed > 0 {
				return exitCode(exitFailed)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "print what came out as it should, too")
	return cmd
}
