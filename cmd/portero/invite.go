package main

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"portero/internal/mail"
	"portero/internal/setup"
)

func inviteCommand() *cobra.Command {
	var to, expires string
	var print bool
	c := &cobra.Command{
		Use:   "invite ADDRESS --to URL",
		Short: "Send somebody a link that signs them in, once, and leads to a page",
		Long: `Send somebody a link that signs them in, once and without a code, and leads to a page behind the gateway.

The gateway that runs with this configuration on this machine makes the link, with a one-time token of Logto; it needs
logto.management. The mail goes out by mailgun of this configuration. With --print, or where no mailgun is configured, the
link is printed instead, alone on standard output: pass it on to nobody else.`,
		Example: `  portero invite ana@example.com --to https://wiki.example.com/handbook
  portero invite ana@example.com --to https://wiki.example.com/ --expires 36h --print`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if to == "" {
				return usage(errors.New("say where the link leads: --to URL"))
			}
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			admin, err := newAdminClient(cfg)
			if err != nil {
				return err
			}
			var mailer *mail.Mailer // nil: the link is printed
			if !print && cfg.Mailgun.Domain != "" {
				if mailer, err = setup.NewMailer(cfg, nil); err != nil {
					return err
				}
			}
			var made struct {
				Link, Email, To, App string
				ExpiresAt            time.Time `json:"expires_at"`
			}
			err = admin.call(cmd.Context(), http.MethodPost, "/api/invitations", nil, map[string]string{"email": args[0], "to": to, "expires": expires}, &made)
			if err != nil {
				return invitationRefused(err)
			}
			if made.Link == "" || made.Email == "" {
				return fmt.Errorf("%s did not answer as a gateway does", admin.base)
			}
			until := made.ExpiresAt.UTC().Format("2006-01-02 15:04 UTC")
			if mailer == nil {
				if !print {
					fmt.Fprintln(cmd.ErrOrStderr(), "No mailgun is configured, so nothing has been sent: pass the link on yourself.")
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "It signs in %s, once, until %s, and leads to %s.\n", plain(made.Email), until, plain(made.To))
				_, err := fmt.Fprintln(cmd.OutOrStdout(), plain(made.Link))
				return err
			}
			if err := mailer.Send(cmd.Context(), mail.Invitation{To: made.Email, App: made.App, Link: made.Link, Ends: made.ExpiresAt}.Message()); err != nil {
				return &hinted{fmt.Errorf("nobody has been invited: %w", err), "add --print for the link alone, or portero setup test-email ADDRESS --direct to try mailgun"}
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "Mailgun has taken the invitation to %s. Its link works once, until %s, and leads to %s.\n", plain(made.Email), until, plain(made.To))
			return err
		},
	}
	c.Flags().StringVar(&to, "to", "", "the page where the link leads, as people see its address")
	c.Flags().StringVar(&expires, "expires", "7d", "how long the link works, from 1m to 30d: 7d, 36h, 90m")
	c.Flags().BoolVar(&print, "print", false, "print the link and send nothing")
	return c
}

// invitationRefused says which part of the command line the gateway does not take.
func invitationRefused(err error) error {
	var field *fieldError
	if !errors.As(err, &field) {
		return err
	}
	name := map[string]string{"email": "ADDRESS", "to": "--to", "expires": "--expires"}[field.field]
	if name == "" {
		return err
	}
	return usage(fmt.Errorf("%s %s", name, field.text))
}
