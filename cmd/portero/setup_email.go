package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"portero/internal/config"
	"portero/internal/mail"
	"portero/internal/setup"
)

func setupTestEmailCommand() *cobra.Command {
	var test setup.TestEmail
	var direct bool
	c := &cobra.Command{
		Use:   "test-email ADDRESS",
		Short: "Send a mail as people get it, with the code " + setup.TestCode,
		Long: `Send a mail as people get it, with ` + setup.TestCode + ` in the place of the code: through Logto's own connector test, or with
--direct at Mailgun, without Logto.

It is made by the configuration of this file, whether Logto has the same or not; portero setup plan tells. Where the usage
has no delivery of its own, the delivery Generic stands in, as at Logto.`,
		Example: `  portero setup test-email ana@example.com
  portero setup test-email ana@example.com --usage Register --direct`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			test.To = args[0]
			var made, by string
			var err error
			if direct {
				made, by, err = testDirect(cmd, test)
			} else {
				made, by, err = testThroughLogto(cmd, test)
			}
			if errors.Is(err, setup.ErrTestEmail) {
				return usage(err)
			}
			if err != nil {
				return err
			}
			text := fmt.Sprintf("%s has taken the mail to %s. It is the delivery %s, with the code %s, which signs nobody in.\n", by, plain(test.To), made, setup.TestCode)
			if made != test.Usage {
				text += fmt.Sprintf("No delivery is configured for %s: Generic stands in for it.\n", test.Usage)
			}
			if !direct && made != mail.Generic {
				text += fmt.Sprintf("Logto's connector test sends the delivery Generic alone: it was given a configuration whose Generic is the delivery %s.\n", made)
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		},
	}
	c.Flags().StringVar(&test.Usage, "usage", mail.SignIn, "which mail: "+strings.Join(mail.Usages(), ", "))
	c.Flags().BoolVar(&direct, "direct", false, "send it at Mailgun, without Logto")
	return c
}

// testDirect needs no Logto, so nothing of it has to be configured.
func testDirect(cmd *cobra.Command, test setup.TestEmail) (made, by string, err error) {
	cfg, err := config.Load(config.Options{
		Path: configFile(cmd), Env: os.Environ(), Flags: cmd.Flags(), Only: []string{"mailgun", "pages", "external_url", "insecure"},
	})
	if err != nil {
		return "", "", err
	}
	made, err = test.Direct(cmd.Context(), cfg, nil)
	if err != nil {
		return "", "", err
	}
	return made, "Mailgun at " + cfg.Mailgun.Endpoint.Host, nil
}

func testThroughLogto(cmd *cobra.Command, test setup.TestEmail) (made, by string, err error) {
	cfg, err := loadConfigWith(cmd, config.Options{Setup: true})
	if err != nil {
		return "", "", err
	}
	client, err := setup.NewClient(cfg)
	if err != nil {
		return "", "", err
	}
	made, err = test.ThroughLogto(cmd.Context(), client, cfg)
	return made, "Logto at " + cfg.Logto.Endpoint.Host, err
}
