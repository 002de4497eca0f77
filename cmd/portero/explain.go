package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"portero/internal/explain"
	"portero/internal/gateway"
	"portero/internal/identity"
)

// explainFlags are the flags of portero explain.
type explainFlags struct {
	as, from, method string
	claims           []string
	age              time.Duration
	json             bool
}

func explainCommand() *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain [--as ADDRESS] URL",
		Short: "Say who may open a page, and why",
		Long: `Say what the gateway would decide about a request, without a gateway that runs and without calling anybody.

Without --as and --claim nobody is signed in. The first line is "decision: allow", "decision: sign-in" or "decision: deny";
then the route, the rule, the reason as the log has it, what each rule says, and the headers that the application would get.
URL is a whole one, or a path on external_url. The address counts as verified unless --claim email_verified=false says otherwise.`,
		Example: `  portero explain /admin/
  portero explain --as ann@example.com --claim roles=admin https://wiki.example.com/admin/
  portero explain --as ann@example.com --claim custom_data.department=it --from 10.1.2.3 --method POST /api/items`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd, args[0])
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.as, "as", "", "address of the person who is signed in")
	flags.StringArrayVar(&f.claims, "claim", nil, "a claim of the person, NAME=VALUE; again for a list, NAME.NAME=VALUE within an object")
	flags.DurationVar(&f.age, "age", 0, "how long ago they signed in")
	flags.StringVar(&f.from, "from", "", "address of the client")
	flags.StringVar(&f.method, "method", "GET", "method of the request")
	flags.BoolVar(&f.json, "json", false, "print one JSON object")
	return cmd
}

func (f explainFlags) run(cmd *cobra.Command, url string) error {
	q, err := f.question(url)
	if err != nil {
		return usage(err)
	}
	e, err := newExplainer(cmd)
	if err != nil {
		return err
	}
	x, err := e.Explain(cmd.Context(), q)
	if err != nil {
		return usage(err)
	}
	answer := explain.New(x)
	if !f.json {
		return answer.Print(cmd.OutOrStdout())
	}
	enc := json.NewEncoder(cmd.OutOrStdout())
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(answer)
}

// question is what the flags ask.
func (f explainFlags) question(url string) (gateway.Question, error) {
	q := gateway.Question{Method: f.method, URL: url, Age: f.age}
	var err error
	if q.Claims, err = f.person(); err != nil {
		return q, err
	}
	if f.age < 0 {
		return q, fmt.Errorf("--age %s: write how long ago, like 90m", f.age)
	}
	if f.from != "" {
		if q.Client, err = netip.ParseAddr(f.from); err != nil {
			return q, fmt.Errorf("--from %q is no address", f.from)
		}
	}
	return q, nil
}

// person is who asks; nil: nobody.
func (f explainFlags) person() (identity.Claims, error) {
	if f.as == "" && len(f.claims) == 0 {
		return nil, nil
	}
	claims, err := explain.ParseClaims(f.claims)
	if err != nil {
		return nil, err
	}
	if _, twice := claims["email"]; twice && f.as != "" {
		return nil, fmt.Errorf("--as and --claim email say the same; leave one out")
	}
	if f.as != "" {
		if identity.NormalEmail(f.as) == "" {
			return nil, fmt.Errorf("--as %q is no address; write one like ann@example.com", f.as)
		}
		claims["email"] = f.as
	}
	return explain.Claims(claims)
}

// newExplainer reads the configuration of a command.
func newExplainer(cmd *cobra.Command) (*gateway.Explainer, error) {
	cfg, err := loadConfig(cmd)
	if err != nil {
		return nil, err
	}
	return gateway.NewExplainer(cfg, nil)
}
