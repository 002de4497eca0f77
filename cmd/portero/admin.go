package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"portero/internal/config"
	"portero/internal/gateway"
)

const (
	// adminTimeout bounds one call of the admin API.
	adminTimeout = time.Minute
	maxAdmin     = 8 << 20
)

// hinted is a failure that ends with what to type.
type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

// Hint is what to type.
func (h *hinted) Hint() string { return h.hint }

// adminClient asks the admin listener of the gateway that runs with a configuration on this machine.
type adminClient struct {
	base, token, source string // source is where the token comes from
	http                *http.Client
}

// newAdminClient finds address and token. It asks nothing yet.
func newAdminClient(cfg *config.Config) (*adminClient, error) {
	host, _, err := reachable(cfg.Admin.Listen)
	if err != nil {
		return nil, fmt.Errorf("admin.listen: %w", err)
	}
	c := &adminClient{
		base: "http://" + host,
		// No proxy: this is a conversation with ourselves, and the token goes with it.
		http: &http.Client{Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	if cfg.Admin.Token.IsSet() {
		c.token, c.source = cfg.Admin.Token.Reveal(), "admin.token"
		return c, nil
	}
	if c.source, err = gateway.TokenPath(cfg); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(c.source)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &hinted{fmt.Errorf("no admin token at %s: the gateway writes it at its start, and removes it at its end", c.source),
			"start the gateway with portero serve and the same --config, or name the configuration it runs with: --config FILE"}
	case errors.Is(err, fs.ErrPermission):
		return nil, &hinted{fmt.Errorf("the admin token at %s can be read by the gateway's user alone", c.source),
			"run this as the user who runs the gateway: sudo -u USER portero …"}
	case err != nil:
		return nil, fmt.Errorf("reading the admin token: %w", err)
	}
	c.token = strings.TrimSpace(string(text))
	return c, nil
}

// call asks for a path, with a JSON body unless it is nil, and decodes a 200 or 201.
func (c *adminClient) call(ctx context.Context, method, path string, query url.Values, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	address := c.base + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, address, content)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return &hinted{fmt.Errorf("no gateway answers at %s: %w", c.base, err),
			"start it with portero serve and the same --config, or name the configuration it runs with: --config FILE"}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAdmin))
	if err != nil {
		return fmt.Errorf("reading the answer of %s: %w", c.base, err)
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusCreated {
		return c.refused(resp.StatusCode, path, text)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s%s did not answer as a gateway does", c.base, path)
	}
	return nil
}

// fieldError is an answer to a call whose body has something in it that cannot be.
type fieldError struct{ field, text string }

func (e *fieldError) Error() string { return e.field + ": " + e.text }

// refused says what an answer that is neither 200 nor 201 means.
func (c *adminClient) refused(status int, path string, text []byte) error {
	var said struct{ Message, Field string }
	if json.Unmarshal(text, &said) != nil || said.Message == "" {
		said.Message = http.StatusText(status)
	}
	err := fmt.Errorf("the gateway at %s answered %d: %s", c.base, status, plain(said.Message))
	if about, ok := strings.CutPrefix(said.Message, said.Field+": "); ok && status == http.StatusBadRequest {
		return &fieldError{plain(said.Field), plain(about)}
	}
	switch status {
	case http.StatusUnauthorized:
		return &hinted{fmt.Errorf("the gateway at %s does not take the admin token of %s", c.base, c.source), "name the configuration it runs with: --config FILE"}
	case http.StatusNotFound:
		return &hinted{fmt.Errorf("what listens at %s has no %s", c.base, path), "restart the gateway with this version of portero, or look at admin.listen"}
	}
	return err
}

// plain is text for a terminal: control characters would move its cursor.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' {
			return '?'
		}
		return r
	}, text)
}
