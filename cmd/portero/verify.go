package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"portero/internal/outbound"
	"portero/internal/serve"
	"portero/internal/telemetry"
	"portero/internal/verify"
)

// verifyOptions are the flags of `portero verify`.
type verifyOptions struct {
	jwks, jwksFile, audience, issuer, listen, upstream, header string
	authRequest                                                bool
	bind                                                       []string
}

func verifyCommand() *cobra.Command {
	var o verifyOptions
	c := &cobra.Command{
		Use:   "verify --jwks URL --issuer URL --audience AUDIENCE --upstream URL",
		Short: "Beside an application, let only requests through that Portero has signed",
		Long: `Beside an application, let only requests through that carry a signed assertion of Portero for it (identity.assertion).

It is a small proxy in front of --upstream, or with --auth-request the endpoint for auth_request of nginx: 200 or not. What has no assertion
is answered with 401, one that is not good with 403, and everything with 503 while there are no keys; the log says why. Nothing else of a
request is looked at or changed. GET /_portero/healthz says whether there are keys. It reads no configuration file.`,
		Example: `  portero verify --jwks https://wiki.example.com/_portero/jwks.json --issuer https://portal.example.com \
    --audience https://wiki.example.com --upstream http://127.0.0.1:8080 --bind method,path`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := telemetry.NewLogger(telemetry.LogConfig{Writer: cmd.ErrOrStderr(), Terminal: isTerminal(os.Stderr)})
			handler, err := o.handler(log)
			if err != nil {
				return usage(err)
			}
			s, err := serve.Listen(serve.Config{Name: "verify", Addr: o.listen, Handler: handler, Log: log})
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "listening on %s\n", s.Addr())
			stopped := make(chan error, 1)
			go func() {
				<-cmd.Context().Done()
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				stopped <- s.Shutdown(ctx)
			}()
			if err := s.Serve(); err != nil {
				return err
			}
			return <-stopped
		},
	}
	f := c.Flags()
	f.StringVar(&o.jwks, "jwks", "", "where the keys are: /_portero/jwks.json of the gateway")
	f.StringVar(&o.jwksFile, "jwks-file", "", "a file with the keys, instead of --jwks")
	f.StringVar(&o.issuer, "issuer", "", "external_url of the gateway")
	f.StringVar(&o.audience, "audience", "", "this application: audience of its route, by default the origin that people type")
	f.StringVar(&o.listen, "listen", "127.0.0.1:4000", "address to listen on")
	f.StringVar(&o.upstream, "upstream", "", "the application")
	f.BoolVar(&o.authRequest, "auth-request", false, "answer 200 instead of passing requests on, for nginx")
	f.StringVar(&o.header, "header", verify.DefaultHeader, "the header with the assertion")
	f.StringSliceVar(&o.bind, "bind", nil, "method, path: what an assertion has to be bound to")
	return c
}

// handler checks the flags. What is missing denies: there is no default issuer and no default audience.
func (o *verifyOptions) handler(log *slog.Logger) (http.Handler, error) {
	c := &verify.Config{Issuer: strings.TrimSuffix(o.issuer, "/"), Audience: o.audience, Header: o.header}
	c.Keys = &verify.Keys{URL: o.jwks, File: o.jwksFile, Client: outbound.New(outbound.Config{Timeout: 5 * time.Second}), Log: log}
	var upstream *url.URL
	switch {
	case (o.jwks == "") == (o.jwksFile == ""):
		return nil, errors.New("say where the keys are: either --jwks URL or --jwks-file FILE")
	case o.jwks != "" && !isOrigin(o.jwks, true):
		return nil, errors.New("--jwks is no URL; write one like https://wiki.example.com/_portero/jwks.json")
	case !isOrigin(c.Issuer, false):
		return nil, errors.New("--issuer is no origin; write external_url of the gateway, like https://portal.example.com")
	case o.audience == "":
		return nil, errors.New("say for whom the assertions are: --audience, by default of the gateway https://HOST of the application")
	case o.header == "":
		return nil, errors.New("--header is empty")
	case o.authRequest == (o.upstream != ""):
		return nil, errors.New("say what becomes of good requests: either --upstream URL or --auth-request")
	case o.upstream != "":
		if !isOrigin(o.upstream, false) {
			return nil, errors.New("--upstream is no origin; write one like http://127.0.0.1:8080")
		}
		upstream, _ = url.Parse(o.upstream)
	}
	for _, word := range o.bind {
		switch word {
		case "method":
			c.Method = true
		case "path":
			c.Path = true
		default:
			return nil, fmt.Errorf("--bind %q is unknown; write method, path or both", word)
		}
	}
	return verify.Handler(c, upstream, log), nil
}

// isOrigin says whether text is scheme and host of http or https, with a path where that is fine.
func isOrigin(text string, path bool) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil && u.Fragment == "" &&
		(path || u.Path == "" && u.RawQuery == "")
}
