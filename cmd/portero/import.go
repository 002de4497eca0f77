package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"portero/internal/importer"
)

func importCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "import",
		Short: "Write a configuration from that of another proxy",
		Long: `Write a configuration from that of oauth2-proxy, traefik-forward-auth or vouch.

The configuration is on standard output, with a comment beside each value that names the option it comes from. What has no
counterpart is on standard error, each with what to do instead. Nobody is let in whom the other proxy kept out: what cannot
be said exactly stays protected. Secrets are not copied; they stand in files that you make.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usage(errors.New("a command is missing: oauth2-proxy, traefik-forward-auth or vouch"))
		},
	}
	c.AddCommand(importOAuth2ProxyCommand(), importForwardAuthCommand(), importVouchCommand())
	return c
}

// imported is what the flags of an import say.
type imported struct {
	externalURL, logtoEndpoint, appID string
	upstreams, emailDomains, askedBy  []string
	alpha, env, args                  string // names of files
	comments                          bool
}

// addFlags adds the flags that all imports have.
func (i *imported) addFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&i.externalURL, "external-url", "", "how browsers will reach Portero, like https://wiki.example.com")
	f.StringVar(&i.logtoEndpoint, "logto-endpoint", "", "the Logto tenant, like https://tenant.logto.app/")
	f.StringVar(&i.appID, "app-id", "", "the application at Logto; portero setup apply makes one")
	f.StringArrayVar(&i.upstreams, "upstream", nil, "the application, where the other proxy does not know it: URL, or HOST=URL for one host (several times)")
	f.StringSliceVar(&i.askedBy, "asked-by", nil, "the address of a proxy that goes on asking about each request, where there is no --upstream; see docs/forward-auth.md")
	f.StringSliceVar(&i.emailDomains, "email-domains", nil, "whose addresses come in, where the other proxy let in everybody who could sign in; * is everybody")
	f.StringVar(&i.env, "env", "", "a file with the other proxy's variables, KEY=VALUE on each line")
	f.BoolVar(&i.comments, "comments", false, "write what has no counterpart as comments on top, instead of on standard error")
}

// addArgs adds the flags of those proxies that have flags themselves.
func (i *imported) addArgs(c *cobra.Command) {
	c.Flags().StringVar(&i.args, "args", "", "a file with the other proxy's flags, as on its command line")
}

func importOAuth2ProxyCommand() *cobra.Command {
	var i imported
	c := &cobra.Command{
		Use:   "oauth2-proxy [FILE] [-- FLAGS OF OAUTH2-PROXY]",
		Short: "Write a configuration from that of oauth2-proxy",
		Long: `Write a configuration from that of oauth2-proxy: FILE is its TOML file, --alpha its structured configuration in YAML
(also FILE, if its name ends in .yaml or .yml), --env a file with variables OAUTH2_PROXY_…, --args a file with flags; flags
can also follow --.`,
		Example: `  portero import oauth2-proxy /etc/oauth2-proxy.cfg --logto-endpoint https://tenant.logto.app/ > portero.yaml
  portero import oauth2-proxy -- --upstream=http://127.0.0.1:8080 --email-domain=example.com`,
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := i.input(cmd, args)
			if err != nil {
				return err
			}
			if ending := strings.ToLower(filepath.Ext(in.Name)); in.Alpha == nil && (ending == ".yaml" || ending == ".yml") {
				in.Alpha, in.Config = in.Config, nil
			}
			return i.run(cmd, in, importer.OAuth2Proxy)
		},
	}
	i.addFlags(c)
	i.addArgs(c)
	c.Flags().StringVar(&i.alpha, "alpha", "", "the structured configuration in YAML, beside FILE")
	return c
}

func importForwardAuthCommand() *cobra.Command {
	var i imported
	c := &cobra.Command{
		Use:   "traefik-forward-auth [FILE] [-- FLAGS OF TRAEFIK-FORWARD-AUTH]",
		Short: "Write a configuration from that of traefik-forward-auth",
		Long: `Write a configuration from that of traefik-forward-auth: FILE has its options, NAME=VALUE on each line, or as TOML if its
name ends in .toml; --env is a file with its variables, --args one with its flags; flags can also follow --. It knows no
application: --upstream names it, once for each host that has another.`,
		Example: `  portero import traefik-forward-auth forward.ini --logto-endpoint https://tenant.logto.app/ \
    --external-url https://wiki.example.com --upstream http://wiki:8080 > portero.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := i.input(cmd, args)
			if err != nil {
				return err
			}
			return i.run(cmd, in, importer.TraefikForwardAuth)
		},
	}
	i.addFlags(c)
	i.addArgs(c)
	return c
}

func importVouchCommand() *cobra.Command {
	var i imported
	c := &cobra.Command{
		Use:   "vouch [FILE]",
		Short: "Write a configuration from that of vouch",
		Long: `Write a configuration from that of vouch: FILE is its YAML file, --env a file with variables VOUCH_… and OAUTH_…. It knows
no application: --upstream names it, once for each host that has another.`,
		Example: `  portero import vouch config.yml --logto-endpoint https://tenant.logto.app/ \
    --external-url https://wiki.example.com --upstream http://wiki:8080 > portero.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := i.input(cmd, args)
			if err != nil {
				return err
			}
			if len(in.Args) > 0 {
				return usage(errors.New("vouch is configured by its file and variables; its flags are not read"))
			}
			return i.run(cmd, in, importer.Vouch)
		},
	}
	i.addFlags(c)
	return c
}

// input reads the files that the command line names.
func (i *imported) input(cmd *cobra.Command, args []string) (importer.Input, error) {
	var in importer.Input
	if dash := cmd.ArgsLenAtDash(); dash >= 0 {
		args, in.Args = args[:dash], args[dash:]
	}
	if len(args) > 1 {
		return in, usage(fmt.Errorf("one file is read, and there are %d", len(args)))
	}
	if len(args) == 0 && i.env == "" && i.args == "" && i.alpha == "" && len(in.Args) == 0 {
		return in, usage(errors.New("a file is missing"))
	}
	if len(args) == 1 {
		in.Name = args[0]
	}
	for _, one := range []struct {
		name string
		to   *[]byte
	}{{in.Name, &in.Config}, {i.alpha, &in.Alpha}, {i.env, &in.Env}} {
		if one.name == "" {
			continue
		}
		content, err := readInput(one.name)
		if err != nil {
			return in, fmt.Errorf("reading the configuration: %w", err)
		}
		*one.to = content
	}
	if i.args != "" {
		content, err := readInput(i.args)
		if err != nil {
			return in, fmt.Errorf("reading the flags: %w", err)
		}
		words, err := importer.SplitArgs(content)
		if err != nil {
			return in, fmt.Errorf("reading the flags: %s: %w", i.args, err)
		}
		in.Args = append(words, in.Args...)
	}
	return in, nil
}

// readInput reads a file, and a byte more of it than any importer takes.
func readInput(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 1<<20+1))
}

// options turns the flags into what the importer takes.
func (i *imported) options() importer.Options {
	o := importer.Options{ExternalURL: i.externalURL, LogtoEndpoint: i.logtoEndpoint, AppID: i.appID, EmailDomains: i.emailDomains, AskedBy: i.askedBy,
		ReadFile: readInput, Upstreams: map[string]string{}}
	for _, u := range i.upstreams {
		host, target, ok := strings.Cut(u, "=")
		if !ok || strings.Contains(host, "://") {
			host, target = "", u
		}
		o.Upstreams[strings.ToLower(host)] = target
	}
	return o
}

func (i *imported) run(cmd *cobra.Command, in importer.Input, read func(importer.Input, importer.Options) (*importer.Result, error)) error {
	result, err := read(in, i.options())
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	out := result.YAML
	if i.comments {
		out = append(result.Comments(), out...)
	} else {
		for _, n := range result.Notes {
			fmt.Fprintln(cmd.ErrOrStderr(), "note: "+n.String())
		}
	}
	_, err = cmd.OutOrStdout().Write(out)
	return err
}
