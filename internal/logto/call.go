package logto

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"portero/internal/outbound"
)

// call is one call through the SDK. The SDK's functions take no context, decode loosely and put the body of any
// answer but a 200 into their error; so call is the transport of a client made for this one call, and hands the SDK
// nothing but a checked answer, or an error of ours.
type call struct {
	p    *Provider
	kind string
	ctx  context.Context
	end  context.CancelFunc
	// normal checks the answer and returns the members that the SDK is given.
	normal func(object) (map[string]any, error)

	members object // the whole answer, after a call that went well
	err     error  // why there is none
}

func (p *Provider) newCall(ctx context.Context, kind string) *call {
	c := &call{p: p, kind: kind}
	c.ctx, c.end = context.WithTimeout(ctx, p.timeout())
	return c
}

// timeout bounds a whole call, its body included.
func (p *Provider) timeout() time.Duration {
	if t := p.config.Client.Timeout; t > 0 {
		return t
	}
	return 10 * time.Second
}

// client is a copy of the provider's client for this call. The deadline is the context's.
func (c *call) client() *http.Client {
	own := *c.p.config.Client
	own.Transport, own.Timeout = c, 0
	return &own
}

// RoundTrip sends what the SDK made and answers it with the members of normal.
func (c *call) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, members, err := c.exchange(req)
	if err != nil {
		c.err = err
		return nil, err
	}
	clean, err := json.Marshal(members)
	if err != nil {
		c.err = fmt.Errorf("encoding the answer: %w", err)
		return nil, c.err
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(clean)), int64(len(clean))
	return resp, nil
}

func (c *call) exchange(req *http.Request) (*http.Response, map[string]any, error) {
	out := req.Clone(c.ctx)
	out.Header.Set("Accept", "application/json")
	if out.Header.Get("Authorization") != "" {
		done := c.p.authenticate(out)
		resp, members, err := c.send(out)
		done(err)
		return resp, members, err
	}
	return c.send(out)
}

func (c *call) send(out *http.Request) (*http.Response, map[string]any, error) {
	base := c.p.config.Client.Transport
	if base == nil {
		base = http.DefaultTransport
	}
	resp, err := base.RoundTrip(out)
	if err != nil {
		return nil, nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, nil, refusal(c.kind, resp)
	}
	c.members, _, err = readObject(resp)
	if err != nil {
		return nil, nil, err
	}
	members, err := c.normal(c.members)
	return resp, members, err
}

// failed turns what the SDK returned into an error of ours. What the SDK says is dropped whenever we know better.
func (c *call) failed(err error) error {
	if c.err != nil {
		return c.err
	}
	return outbound.Clean(err)
}

// do makes a call of our own, for what the SDK does not do well. The caller closes the answer's body, which is a 200.
func (p *Provider) do(req *http.Request, kind string) (*http.Response, error) {
	resp, err := p.config.Client.Do(req)
	if err != nil {
		return nil, outbound.Clean(err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, refusal(kind, resp)
	}
	return resp, nil
}

// authenticate gives a request the client's authentication; done has to hear how the call ended. RFC 6749 2.3.1 has both
// parts form-encoded first, which leaves the ids and secrets that Logto makes as they are.
func (p *Provider) authenticate(req *http.Request) (done func(error)) {
	secret, done := p.config.Secret.begin()
	pair := url.QueryEscape(p.config.AppID) + ":" + url.QueryEscape(secret)
	req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	return done
}

// refusal reads an answer that is no 200, closes it and says what it means.
func refusal(kind string, resp *http.Response) error {
	status := resp.StatusCode
	switch {
	case status == http.StatusTooManyRequests || status >= 500:
		resp.Body.Close()
		return &busyError{status, retryAfter(resp.Header)}
	case status < 400:
		resp.Body.Close()
		if status >= 300 {
			return &RefusedError{Call: kind, Status: status, Cause: outbound.ErrRedirect}
		}
		return &RefusedError{Call: kind, Status: status, Cause: errMalformed}
	}
	switch code := errorCode(resp); code {
	case "invalid_grant":
		return fmt.Errorf("%w: %s endpoint: status %d", ErrInvalidGrant, kind, status)
	case "access_denied":
		return fmt.Errorf("%w: %s endpoint: status %d", ErrAccessDenied, kind, status)
	case "temporarily_unavailable", "server_error":
		return fmt.Errorf("%w: status %d: %s", errBusy, status, code)
	default:
		return &RefusedError{Call: kind, Status: status, Code: code}
	}
}

// outcome maps a call's error to the sentinels of this package and remembers it for Status. Being told no is an
// answer; so is nonsense. All else is no answer.
func (p *Provider) outcome(ctx context.Context, kind string, err error) error {
	if err == nil {
		p.health.note(kind, "")
		return nil
	}
	if errors.Is(err, ErrInvalidGrant) || errors.Is(err, ErrAccessDenied) {
		p.health.note(kind, "")
		return err
	}
	// A person who left says nothing about Logto.
	if !errors.Is(ctx.Err(), context.Canceled) {
		p.health.note(kind, classOf(err))
	}
	if errors.Is(err, ErrRefused) {
		return err
	}
	for _, answer := range []error{outbound.ErrRedirect, outbound.ErrTooLarge, errMalformed} {
		if errors.Is(err, answer) {
			return &RefusedError{Call: kind, Cause: err}
		}
	}
	return unavailable(kind, err)
}

// noteFetch remembers how a shared fetch ended, and tells the operator when that changes.
func (p *Provider) noteFetch(kind string, err error) {
	class := classOf(err)
	if !p.health.note(kind, class) {
		return
	}
	if err != nil {
		p.config.Log.Warn("fetching from Logto fails", "call", kind, "class", class, "error", err)
	} else {
		p.config.Log.Info("fetching from Logto works", "call", kind)
	}
}

// unavailable wraps the reason so that both are found.
func unavailable(kind string, err error) error {
	if errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, kind, err)
}
