package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"portero/internal/config"
	"portero/internal/management"
	"portero/internal/setup"
)

func setupCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "setup",
		Short: "Set up the Logto tenant by the configuration",
		Long: `Set up the Logto tenant by the configuration: the application, the Mailgun connector, sign-in by e-mail, and the API
resources and roles that routes name.

It needs logto.management: an application of type Machine-to-machine with the role "Logto Management API access", which
is made in Logto's console. "portero setup plan" shows what would change and changes nothing.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usage(errors.New("a command is missing: plan, apply, test-email or rotate-secret"))
		},
	}
	c.AddCommand(withSettings(setupPlanCommand()), withSettings(setupApplyCommand()), withSettings(setupTestEmailCommand()),
		withSettings(setupRotateCommand()))
	return c
}

func setupPlanCommand() *cobra.Command {
	var o setup.Options
	var asJSON bool
	c := &cobra.Command{
		Use:   "plan",
		Short: "Show what setup would change at Logto",
		Long: `Show what "portero setup apply" would change at Logto, and change nothing.

Each line begins with + (added), ~ (changed) or - (removed); secrets are (sensitive). Below stands what is not of this
configuration and is kept. The exit code is 0 when there is nothing to do, 3 when there is something, and 2 when the
configuration has to be changed first.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := newSetup(cmd, o)
			if err != nil {
				return err
			}
			if asJSON {
				err = s.printJSON()
			} else {
				err = s.print()
			}
			if err = errors.Join(err, s.problems()); err != nil {
				return err
			}
			if s.plan.Pending() {
				return exitCode(exitWork)
			}
			if !asJSON {
				s.printAppID(s.plan.AppID)
			}
			return nil
		},
	}
	pruneFlag(c, &o)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func setupApplyCommand() *cobra.Command {
	var o setup.Options
	var yes bool
	c := &cobra.Command{
		Use:   "apply",
		Short: "Set up the Logto tenant",
		Long: `Show what would change at Logto, ask, and change it.

The client secret is written to logto.app_secret_file (mode 0600), and the line with the application's id is printed, to
be put under logto in the configuration, which is not rewritten. Whatever stops it, the next run goes on from there; when
everything is as it shall be, it says so and changes nothing.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := newSetup(cmd, o)
			if err != nil {
				return err
			}
			if err := errors.Join(s.print(), s.problems()); err != nil {
				return err
			}
			if !s.plan.Pending() {
				return s.printAppID(s.plan.AppID)
			}
			if !yes {
				if !isTerminal(os.Stdin) {
					return usage(errors.New("there is no terminal to ask on, so nothing was changed; write --yes to apply without being asked"))
				}
				agreed, err := confirm(cmd.Context(), cmd.InOrStdin(), cmd.ErrOrStderr(), "\nApply these changes?")
				if err != nil || !agreed {
					return errors.New("nothing was changed")
				}
			}
			return s.apply(cmd.Context())
		},
	}
	pruneFlag(c, &o)
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

func pruneFlag(c *cobra.Command, o *setup.Options) {
	c.Flags().BoolVar(&o.Prune, "prune", false, "remove URIs and deliveries that are not of this configuration")
}

// tenantSetup is a plan, and what is needed to carry it out.
type tenantSetup struct {
	config  *config.Config
	client  *management.Client
	desired *setup.Desired
	options setup.Options
	plan    *setup.Plan
	out     io.Writer
}

// newSetup makes the plan.
func newSetup(cmd *cobra.Command, o setup.Options) (*tenantSetup, error) {
	cfg, err := loadConfigWith(cmd, config.Options{Setup: true})
	if err != nil {
		return nil, err
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning: "+w.String())
	}
	client, err := setup.NewClient(cfg)
	if err != nil {
		return nil, err
	}
	s := &tenantSetup{config: cfg, client: client, desired: setup.NewDesired(cfg), options: o, out: cmd.OutOrStdout()}
	state, err := setup.Read(cmd.Context(), client, s.desired)
	if err != nil {
		return nil, err
	}
	s.plan = setup.NewPlan(s.desired, state, o)
	return s, nil
}

func (s *tenantSetup) print() error {
	_, err := io.WriteString(s.out, s.plan.String())
	return err
}

func (s *tenantSetup) printJSON() error {
	e := json.NewEncoder(s.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(s.plan)
}

// problems are those of the plan, each with its place in the configuration.
func (s *tenantSetup) problems() error {
	var problems config.Problems
	for _, p := range s.plan.Problems {
		problems = append(problems, s.config.Problem(p.Key, p.Message))
	}
	if len(problems) == 0 {
		return nil
	}
	return problems
}

// printAppID prints the line that the operator puts into the configuration, unless it is there.
func (s *tenantSetup) printAppID(id string) error {
	if s.config.Logto.AppID != "" || id == "" {
		return nil
	}
	_, err := fmt.Fprintf(s.out, "\nPut this line under logto in the configuration:\n  app_id: %s\n", id)
	return err
}

func (s *tenantSetup) apply(ctx context.Context) error {
	fmt.Fprintln(s.out)
	id, err := setup.Apply(ctx, s.client, s.desired, s.options, s.plan, func(c setup.Change) {
		fmt.Fprintf(s.out, "done: %s\n", c)
		if c.Note != "" {
			fmt.Fprintf(s.out, "note: %s\n", c.Note)
		}
	})
	if err != nil {
		return err
	}
	return s.printAppID(id)
}

// confirm is confirmed that stops waiting when ctx ends.
func confirm(ctx context.Context, in io.Reader, out io.Writer, question string) (bool, error) {
	answer := make(chan bool, 1)
	go func() { answer <- confirmed(in, out, question) }()
	select {
	case yes := <-answer:
		return yes, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}
