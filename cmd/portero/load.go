package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"portero/internal/config"
	"portero/internal/gateway"
	"portero/internal/page"
)

// The files that are looked for where none is named.
const (
	localFile  = "portero.yaml"
	systemFile = "/etc/portero/portero.yaml"
)

// configFile is the file that a command reads: --config, else PORTERO_CONFIG, else ./portero.yaml, else
// /etc/portero/portero.yaml. Empty: none of them, and the environment has to suffice.
func configFile(cmd *cobra.Command) string {
	if f := cmd.Flags().Lookup("config"); f != nil && f.Changed {
		return f.Value.String()
	}
	if name := os.Getenv("PORTERO_CONFIG"); name != "" {
		return name
	}
	for _, name := range []string{localFile, systemFile} {
		// A file that is there and cannot be read is a problem, not a reason to look further.
		if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
			return name
		}
	}
	return ""
}

// loadConfig reads the configuration for a command, and has the pages checked too: whether a colour can be read, whether a
// logo can be shown. Its error is config.Problems.
func loadConfig(cmd *cobra.Command) (*config.Config, error) {
	return loadConfigWith(cmd, config.Options{})
}

// loadConfigWith is loadConfig with more options; where the configuration comes from is set here.
func loadConfigWith(cmd *cobra.Command, o config.Options) (*config.Config, error) {
	o.Path, o.Env, o.Flags = configFile(cmd), os.Environ(), cmd.Flags()
	cfg, err := config.Load(o)
	if err != nil {
		return nil, err
	}
	_, err = page.New(gateway.PageConfig(cfg))
	errs := []error{err}
	for i, r := range cfg.Routes {
		s := r.Support
		errs = append(errs, page.CheckSupport(fmt.Sprintf("routes[%d].support", i), page.Support{Name: s.Name, Email: s.Email, URL: s.URL, Phone: s.Phone}))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, pageProblems(cfg, err)
	}
	return cfg, nil
}

// pageProblems gives what package page found wrong the place in the configuration that it belongs to.
func pageProblems(cfg *config.Config, err error) error {
	var problems config.Problems
	var visit func(error)
	visit = func(err error) {
		var key *page.KeyError
		switch joined, ok := err.(interface{ Unwrap() []error }); {
		case ok:
			for _, one := range joined.Unwrap() {
				visit(one)
			}
		case errors.As(err, &key):
			problems = append(problems, cfg.Problem(key.Key, key.Text))
		default:
			problems = append(problems, cfg.Problem("pages", err.Error()))
		}
	}
	visit(err)
	return problems
}

// isTerminal says whether a person reads along.
func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
