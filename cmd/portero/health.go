package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"portero/internal/config"
)

// healthTimeout is how long the gateway has to answer. Container health checks wait 30 seconds by default.
const healthTimeout = 5 * time.Second

func healthCommand() *cobra.Command {
	var ready bool
	c := &cobra.Command{
		Use:   "health",
		Short: "Ask the running gateway how it is; the exit code is the answer",
		Long: `Ask the gateway that runs with this configuration on this machine whether it lives, or with --ready
whether it can serve: 0 is yes, 1 is no.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			answer, err := askHealth(cmd.Context(), cfg, ready)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), answer)
			return err
		},
	}
	c.Flags().BoolVar(&ready, "ready", false, "ask the admin listener whether it can serve")
	return c
}

// askHealth asks one endpoint; anything but 200 is an error.
func askHealth(ctx context.Context, cfg *config.Config, ready bool) (string, error) {
	target := url.URL{Scheme: "http", Path: cfg.Endpoints.Prefix + "/healthz"}
	listen, secure := cfg.Listen, cfg.TLS.Enabled()
	if ready {
		target.Path, listen, secure = "/readyz", cfg.Admin.Listen, false
	}
	host, local, err := reachable(listen)
	if err != nil {
		return "", err
	}
	target.Host = host
	// No proxy: this is a conversation with ourselves.
	transport := &http.Transport{DisableKeepAlives: true}
	if secure {
		target.Scheme = "https"
		// The certificate is for the name that browsers use. On loopback nobody else can answer.
		transport.TLSClientConfig = &tls.Config{ServerName: cfg.ExternalURL.Hostname(), InsecureSkipVerify: local, MinVersion: tls.VersionTLS12}
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return "", fmt.Errorf("asking %s: %w", target.Redacted(), err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return "", fmt.Errorf("reading the answer of %s: %w", target.Redacted(), err)
	}
	answer := strings.TrimSpace(string(body))
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answered %d: %s", target.Redacted(), resp.StatusCode, answer)
	}
	return answer, nil
}

// reachable is where a listener is reached from this machine: a wildcard address on loopback.
func reachable(listen string) (host string, local bool, err error) {
	name, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", false, err
	}
	if port == "0" {
		return "", false, fmt.Errorf("the port of %s is chosen at start and not known; write one into the configuration", listen)
	}
	if name == "" {
		name = "127.0.0.1"
	}
	addr, err := netip.ParseAddr(name)
	switch {
	case err != nil:
		return net.JoinHostPort(name, port), name == "localhost", nil
	case addr.IsUnspecified() && addr.Is4():
		addr = netip.MustParseAddr("127.0.0.1")
	case addr.IsUnspecified():
		addr = netip.IPv6Loopback()
	}
	return net.JoinHostPort(addr.String(), port), addr.IsLoopback(), nil
}
