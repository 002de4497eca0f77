package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"portero/internal/config"
)

// rootCommand puts the commands together. A new command is one line here and a file of its own.
func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "portero",
		Short: "A reverse proxy that signs people in",
		Long: `Portero stands in front of web applications and signs people in with Logto's one-time codes by e-mail.

Begin with "portero demo", which needs no account, or with "portero config example > portero.yaml".`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usage(errors.New("a command is missing"))
		},
	}
	root.PersistentFlags().StringP("config", "c", "", "configuration file (else PORTERO_CONFIG, ./portero.yaml, /etc/portero/portero.yaml)")
	root.AddCommand(
		withSettings(serveCommand()),
		demoCommand(),
		withSettings(doctorCommand()),
		withSettings(explainCommand()),
		withSettings(checkCommand()),
		configCommand(),
		withSettings(healthCommand()),
		importCommand(),
		withSettings(inviteCommand()),
		sessionsCommand(),
		secretCommand(),
		setupCommand(),
		withSettings(testCommand()),
		withSettings(pagesCommand()),
		verifyCommand(),
		versionCommand(),
	)
	failing(root)
	return root
}

// withSettings gives a command the flags that stand over environment and file.
func withSettings(c *cobra.Command) *cobra.Command {
	config.AddFlags(c.Flags())
	return c
}

// failing marks what commands return as failures of their work; what cobra itself returns is bad usage.
func failing(c *cobra.Command) {
	if work := c.RunE; work != nil {
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if err := work(cmd, args); err != nil {
				return &failure{err}
			}
			return nil
		}
	}
	for _, below := range c.Commands() {
		failing(below)
	}
}

// failure is an error of a command that was called rightly.
type failure struct{ error }

func (f *failure) Unwrap() error { return f.error }

// usageError is bad usage that a command noticed itself.
type usageError struct{ error }

func (u *usageError) Unwrap() error { return u.error }

// usage marks an error as bad usage.
func usage(err error) error { return &usageError{err} }

// exitCode is returned by a command that has done its work and printed its result, and ends with another code than 0.
type exitCode int

func (exitCode) Error() string { return "" }

// classify gives the exit code of an error, and what to do about it.
func classify(cmd *cobra.Command, err error) (code int, hint string) {
	var problems config.Problems
	var failed *failure
	var wrong *usageError
	var told interface{ Hint() string }
	var only exitCode
	switch {
	case errors.As(err, &only):
		return int(only), ""
	case errors.As(err, &problems):
		return exitUsage, ""
	case errors.As(err, &wrong) || !errors.As(err, &failed):
		return exitUsage, fmt.Sprintf("%s --help", cmd.CommandPath())
	case errors.As(err, &told):
		return exitFailed, told.Hint()
	}
	return exitFailed, ""
}
