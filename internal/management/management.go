// Package management is a client of Logto's Management API: what Portero asks of the tenant as an application of its
// own, not as the person who is signed in.
//
// It owns the client-credentials token, the calls, and what their answers mean. It does not know how Logto is reached
// (package outbound), nor why something is asked.
//
// Invariants:
//   - One token is fetched at a time, kept until shortly before its end, and fetched anew once when the API no longer
//     takes it.
//   - Every call ends: it has a deadline of its own, and its answer is read up to a limit.
//   - No error quotes a secret, a token or what Logto sent, save its `code` where that is a plain word and names of
//     members that are known here. What holds a secret prints and logs without it.
//   - What a POST asked for is not asked for twice, unless Logto said that it was not done.
//   - An answer that lacks what it has to tell is an error, never an empty tenant.
//   - An id that could change the path of a call is refused before anything is sent.
//
// Specifications: RFC 6749 4.4 (client credentials), RFC 8707 (resource indicators), RFC 6750 2.1 (bearer tokens),
// RFC 9110 9.2.2 and 10.2.3 (what may be sent again, Retry-After); Logto's Management API for the rest.
package management

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"portero/internal/outbound"
)

const (
	// DefaultResource is the API's indicator in a Logto of one's own, whatever its address.
	DefaultResource = "https://default.logto.app/api"

	defaultTimeout = 10 * time.Second
	retryTimeout   = time.Minute // with Config.Retries
	maxAnswer      = 1 << 20
)

// ErrUnavailable is in the chain of an error when Logto gave no answer that means something: not reached, too late, a
// 429 or a 5xx, and trying again did not help. The error has a Hint.
var ErrUnavailable = errors.New("management API of Logto unavailable")

// ErrID is returned by a call for an id that no user and no session of Logto has. Nothing has been sent.
var ErrID = errors.New("id is not one of Logto's")

// ErrNotFound is in the chain of an error for something that the tenant does not have.
var ErrNotFound = errors.New("the tenant has none")

// ErrTaken is in the chain of an error for something that the tenant has already.
var ErrTaken = errors.New("the tenant has one already")

// Config says whom to ask and as whom.
type Config struct {
	Endpoint         *url.URL // Logto's address, as its console shows it
	AppID, AppSecret string   // of a machine-to-machine application with the role "Logto Management API access"
	Resource         string   // the API's indicator; "" DefaultResource
	// Client reaches Logto; it follows no redirects (package outbound).
	Client *http.Client
	// Retries is how often a request is tried again after a 429, and, save for a POST, after a 5xx or a connection that
	// broke: what a POST asks for may have been done. 0: never.
	Retries int
	Timeout time.Duration    // of a whole call: token, requests and waits; 0: 10 s, with Retries 60 s
	Now     func() time.Time // nil: time.Now
	// Wait waits between two tries; it returns early, with an error, when its context ends. nil: by the clock.
	Wait func(context.Context, time.Duration) error
}

// Client asks the Management API. It is safe for concurrent use and has nothing to close.
type Client struct {
	config Config
	tokens tokens
}

// New makes a Client. It asks nothing.
func New(c Config) *Client {
	if c.Resource == "" {
		c.Resource = DefaultResource
	}
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
		if c.Retries > 0 {
			c.Timeout = retryTimeout
		}
	}
	if c.Wait == nil {
		c.Wait = wait
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	m := &Client{config: c}
	m.tokens.fetch, m.tokens.now, m.tokens.timeout = m.fetchToken, c.Now, c.Timeout
	return m
}

// address is the API's address for a path whose parts are escaped one by one, and an encoded query.
func (m *Client) address(query string, parts ...string) string {
	var path strings.Builder
	path.WriteString(strings.TrimRight(m.config.Endpoint.EscapedPath(), "/"))
	for _, part := range parts {
		path.WriteString("/" + url.PathEscape(part))
	}
	to := m.config.Endpoint.Scheme + "://" + m.config.Endpoint.Host + path.String()
	if query != "" {
		to += "?" + query
	}
	return to
}

// checkID refuses an id that is empty, long, or has other characters than Logto's ids: they stand in paths.
func checkID(id string) error {
	plain := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
	}
	if id == "" || len(id) > 128 || strings.ContainsFunc(id, func(c rune) bool { return !plain(c) }) {
		return ErrID
	}
	return nil
}

// path is the API's address of parts, an error if one of them cannot stand there.
func (m *Client) path(name string, query url.Values, parts ...string) (string, error) {
	for _, part := range parts {
		if err := checkID(part); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
	}
	return m.address(query.Encode(), append([]string{"api"}, parts...)...), nil
}

// request is what is sent to Logto, as often as it has to be.
type request struct {
	name            string // of the call, for errors
	method, address string
	authorization   string
	mediaType       string // "": there is no body
	body            []byte
	repeatable      bool // it does no harm when it is done twice
}

// call asks the API for one thing with a token. A token that is no longer taken is replaced, once. body may be nil: none
// is sent. So may into: nothing of the answer is needed. The answer's header is nil with an error.
func (m *Client) call(ctx context.Context, name, method, address string, body, into any) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, m.config.Timeout)
	defer cancel()
	r := request{name: name, method: method, address: address, repeatable: method != http.MethodPost}
	if body != nil {
		var err error
		if r.body, err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("%s: what is to be sent is no JSON", name) // the encoder's text could quote it
		}
		r.mediaType = "application/json"
	}
	for again := true; ; again = false {
		token, err := m.tokens.get(ctx)
		if err != nil {
			return nil, err
		}
		r.authorization = "Bearer " + token
		header, err := m.send(ctx, r, into)
		if refused, ok := errors.AsType[*RefusedError](err); ok && again && refused.Status == http.StatusUnauthorized {
			m.tokens.drop(token)
			continue
		}
		return header, err
	}
}

// exchange sends a request once and decodes a 2xx.
func (m *Client) exchange(ctx context.Context, r request, into any) (http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, r.address, bytes.NewReader(r.body))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.name, ErrID)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Authorization", r.authorization)
	if r.mediaType != "" {
		req.Header.Set("Content-Type", r.mediaType)
	}
	resp, err := m.config.Client.Do(req)
	if err != nil {
		err = outbound.Clean(err)
		if answered(err) {
			return nil, &RefusedError{Call: r.name, cause: err}
		}
		return nil, &unavailable{call: r.name, cause: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch status := resp.StatusCode; {
	case isDown(status, body):
		return nil, &unavailable{call: r.name, status: status, after: retryAfter(resp.Header, m.config.Now())}
	case err != nil && !answered(err):
		return nil, &unavailable{call: r.name, cause: fmt.Errorf("reading the answer: %w", outbound.Clean(err))}
	case err != nil || len(body) > maxAnswer:
		return nil, &RefusedError{Call: r.name, Status: status, cause: outbound.ErrTooLarge}
	case status < 200 || status > 299:
		return nil, refusal(r.name, status, body)
	case into != nil && decode(body, into) != nil: // the decoder's text could quote it
		return nil, &RefusedError{Call: r.name, Status: status, cause: errMalformed}
	}
	return resp.Header, nil
}

// decode reads one JSON value, numbers as json.Number where no type says otherwise.
func decode(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return err
	}
	_, err := d.Token()
	if err != io.EOF {
		return errMalformed
	}
	return nil
}

// answered reports whether a call failed over what Logto answered, not over reaching it.
func answered(err error) bool {
	return errors.Is(err, outbound.ErrRedirect) || errors.Is(err, outbound.ErrTooLarge)
}
