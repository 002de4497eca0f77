package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"portero/internal/config"
	"portero/internal/setup"
)

func setupRotateCommand() *cobra.Command {
	var yes, finish bool
	var admins []string
	c := &cobra.Command{
		Use:   "rotate-secret",
		Short: "Give the application a new client secret, while people sign in",
		Long: `Give the application a new client secret: it is made beside the old one, tried, and written to logto.app_secret_file.
The gateway that runs watches the file. Once it says on its admin listener that it uses the new secret, and not before, the
old one is removed, and what earlier rotations left.

Where no gateway can be asked, or one does not follow within a minute, both secrets stay good and the exit code is 3; then
--finish completes it later. Whatever breaks it off, the next run goes on from there.`,
		Example: `  portero setup rotate-secret
  portero setup rotate-secret --yes --admin http://10.0.0.5:9000 --admin http://10.0.0.6:9000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, terminal := cmd.InOrStdin().(*os.File)
			if !yes && !finish && !(terminal && isTerminal(in)) {
				return usage(errors.New("nobody can be asked here: add --yes to rotate the secret"))
			}
			cfg, err := loadConfigWith(cmd, config.Options{Setup: true})
			if err != nil {
				return err
			}
			client, err := setup.NewClient(cfg)
			if err != nil {
				return err
			}
			r := &setup.Rotation{Client: client, Config: cfg, Done: func(step string) { fmt.Fprintln(cmd.OutOrStdout(), plain(step)) }}
			if r.Gateways, err = rotationGateways(cfg, admins); err != nil {
				return err
			}
			pending, names, err := r.Look(cmd.Context())
			if err != nil {
				return err
			}
			switch {
			case finish && !pending:
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "nothing to finish")
				return err
			case !yes && !finish && !confirmed(in, cmd.ErrOrStderr(), rotationQuestion(cfg, pending, names)):
				return errors.New("nothing has been changed")
			}
			err = r.Run(cmd.Context())
			var behind *setup.NotFollowedError
			if errors.As(err, &behind) {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s\nhint: %s\n", plain(behind.Error()), behind.Hint())
				return exitCode(exitWork)
			}
			return err
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&finish, "finish", false, "complete a rotation that was begun, and begin none")
	c.Flags().StringArrayVar(&admins, "admin", nil, "admin listener of a gateway that uses the file, like http://10.0.0.5:9000; may be repeated (default admin.listen)")
	return c
}

func rotationQuestion(cfg *config.Config, pending bool, names []string) string {
	removed := "no other secret is removed"
	if len(names) > 0 {
		removed = strings.Join(names, ", ") + " will be removed once the gateway uses the new one"
	}
	begin := "Give the application %s at %s a new client secret"
	if pending {
		begin = "Complete the rotation of the client secret of the application %s at %s"
	}
	return plain(fmt.Sprintf(begin+"? (%s)", cfg.Logto.AppID, cfg.Logto.Endpoint.Host, removed))
}

// rotationGateways are those that have to use the new secret. One that cannot be asked is in the list; without a token there
// is none.
func rotationGateways(cfg *config.Config, admins []string) ([]setup.Gateway, error) {
	bases := []string{""}
	if len(admins) > 0 {
		bases = nil
		for _, text := range admins {
			u, err := url.Parse(text)
			if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
				return nil, usage(fmt.Errorf("--admin %q: write the address of an admin listener, like http://10.0.0.5:9000", text))
			}
			bases = append(bases, u.Scheme+"://"+u.Host)
		}
	}
	var out []setup.Gateway
	for _, base := range bases {
		admin, err := newAdminClient(cfg)
		var told *hinted
		switch {
		case err != nil && base == "" && errors.As(err, &told):
			return nil, nil // no gateway runs here
		case err != nil && base == "" && cfg.Admin.Listen == "":
			return nil, nil
		case err != nil:
			return nil, err
		case base != "":
			admin.base = base
		}
		out = append(out, setup.Gateway{Name: strings.TrimPrefix(admin.base, "http://"), Secret: admin.secretInUse})
	}
	return out, nil
}

// secretInUse asks which client secret the gateway uses.
func (c *adminClient) secretInUse(ctx context.Context) (setup.SecretInUse, error) {
	var answer struct {
		Logto struct {
			AppID  string `json:"app_id"`
			Secret string `json:"app_secret"`
			Used   bool   `json:"app_secret_used"`
		}
	}
	err := c.call(ctx, http.MethodGet, "/api/status", url.Values{"prove": {""}}, nil, &answer)
	return setup.SecretInUse{AppID: answer.Logto.AppID, Fingerprint: answer.Logto.Secret, Used: answer.Logto.Used}, err
}
