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
//   - No error quotes a secret, a token or what Logto sent, save its `code` where that is a plain word.
//   - An id that could change the path of a call is refused before anything is sent.
//
// Specifications: RFC 6749 4.4 (client credentials), RFC 8707 (resource indicators), RFC 6750 2.1 (bearer tokens);
// Logto's Management API for the rest.
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
	maxAnswer      = 1 << 20
)

// ErrUnavailable is returned by a call when Logto gave no answer that means something: not reached, too late, a 429 or
// a 5xx.
var ErrUnavailable = errors.New("management API of Logto unavailable")

// ErrID is returned by a call for an id that no user and no session of Logto has. Nothing has been sent.
var ErrID = errors.New("id is not one of Logto's")

// ErrNotFound is in the chain of an error for something that the tenant does not have.
var ErrNotFound = errors.New("the tenant has none")

// ErrTaken is in the chain of an error for something that the tenant has already.
var ErrTaken = errors.New("the tenant has one already")

// RefusedError is returned by a call that Logto answered with no, or with something that cannot be understood.
type RefusedError struct {
	Call   string // token, sessions, end session
	Status int
	Code   string // Logto's, like auth.forbidden; "" if it named none
	cause  error  // nil: Logto said no
}

func (e *RefusedError) Error() string {
	text := fmt.Sprintf("management API of Logto refused the call %q with status %d", e.Call, e.Status)
	if e.Code != "" {
		text += ", code " + e.Code
	}
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

func (e *RefusedError) Unwrap() error { return e.cause }

// Is says what a refusal means beside itself: ErrNotFound or ErrTaken.
func (e *RefusedError) Is(target error) bool {
	switch target {
	case ErrNotFound:
		return e.Status == http.StatusNotFound
	case ErrTaken:
		taken := strings.HasSuffix(e.Code, "_exists") && !strings.HasSuffix(e.Code, "not_exists") || strings.HasSuffix(e.Code, "_in_use")
		return e.Status == http.StatusUnprocessableEntity && taken
	}
	return false
}

// errMalformed is the cause of a RefusedError whose answer was not what the API promises.
var errMalformed = errors.New("the answer is not what the API promises")

// Config says whom to ask and as whom.
type Config struct {
	Endpoint         *url.URL // Logto's address, as its console shows it
	AppID, AppSecret string   // of a machine-to-machine application with the role "Logto Management API access"
	Resource         string   // the API's indicator; "" DefaultResource
	// Client reaches Logto; it follows no redirects (package outbound).
	Client  *http.Client
	Timeout time.Duration    // of a whole call, fetching a token included; 0: 10 s
	Now     func() time.Time // nil: time.Now
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

// call asks the API for one thing with a token. A token that is no longer taken is replaced, once. body may be nil: none
// is sent. So may into: nothing of the answer is needed.
func (m *Client) call(ctx context.Context, name, method, address string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, m.config.Timeout)
	defer cancel()
	var sent []byte
	if body != nil {
		var err error
		if sent, err = json.Marshal(body); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for again := true; ; again = false {
		token, err := m.tokens.get(ctx)
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(sent))
		if err != nil {
			return fmt.Errorf("making a call of the management API: %w", ErrID)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		if body != nil {
			req.Header.Set("Content-Type", "application/json")
		}
		err = m.exchange(name, req, into)
		var refused *RefusedError
		if again && errors.As(err, &refused) && refused.Status == http.StatusUnauthorized {
			m.tokens.drop(token)
			continue
		}
		return err
	}
}

// exchange sends one request and decodes a 2xx.
func (m *Client) exchange(name string, req *http.Request, into any) error {
	req.Header.Set("Accept", "application/json")
	resp, err := m.config.Client.Do(req)
	if err != nil {
		err = outbound.Clean(err)
		if answered(err) {
			return &RefusedError{Call: name, cause: err}
		}
		return unavailable(name, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch status := resp.StatusCode; {
	case status == http.StatusTooManyRequests || status >= 500:
		return unavailable(name, fmt.Errorf("status %d", status))
	case err != nil && !answered(err):
		return unavailable(name, fmt.Errorf("reading the answer: %w", outbound.Clean(err)))
	case err != nil || len(body) > maxAnswer:
		return &RefusedError{Call: name, Status: status, cause: outbound.ErrTooLarge}
	case status < 200 || status > 299:
		return &RefusedError{Call: name, Status: status, Code: codeOf(body)}
	case into == nil:
		return nil
	case decode(body, into) != nil: // the decoder's text could quote it
		return &RefusedError{Call: name, Status: status, cause: errMalformed}
	}
	return nil
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

// codeOf is the word by which Logto names an error: `code` of its API, or `error` of OAuth. "": none that is plain.
func codeOf(body []byte) string {
	var said struct {
		Code  json.RawMessage `json:"code"`
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(body, &said) != nil {
		return ""
	}
	for _, raw := range []json.RawMessage{said.Code, said.Error} {
		var word string
		if json.NewDecoder(bytes.NewReader(raw)).Decode(&word) != nil || word == "" || len(word) > 64 {
			continue
		}
		if !strings.ContainsFunc(word, func(c rune) bool {
			return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-')
		}) {
			return word
		}
	}
	return ""
}

func unavailable(name string, err error) error {
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, name, err)
}
