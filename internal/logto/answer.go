package logto

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// maxAnswer is the largest body that is read, whatever the client would allow.
	maxAnswer = 1 << 20
	maxDepth  = 32
)

// errMalformed is wrapped by errors about answers that are not what the specifications say.
var errMalformed = errors.New("the answer is malformed")

// errBusy is wrapped by errors about answers that ask to come back later.
var errBusy = errors.New("the service is overloaded or broken")

// busyError is such an answer.
type busyError struct {
	status int
	after  time.Duration
}

func (e *busyError) Error() string { return fmt.Sprintf("%v: status %d", errBusy, e.status) }

func (e *busyError) Unwrap() error { return errBusy }

// RetryAfter is how long Logto asked to wait before the next call, in an answer that led to err. Zero: it did not say.
func RetryAfter(err error) time.Duration {
	var busy *busyError
	if errors.As(err, &busy) {
		return busy.after
	}
	return 0
}

// retryAfter reads Retry-After (RFC 9110 10.2.3). A date is compared with that of the answer, by the same clock.
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	sent, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0
	}
	return max(0, at.Sub(sent))
}

// object is a JSON object by exact member name. encoding/json alone would match names in any case, and let the last
// of two equal ones win.
type object map[string]json.RawMessage

// parseObject reads one JSON object and nothing after it: valid UTF-8 without a byte order mark, no name twice in any
// object of it, at most maxDepth deep.
func parseObject(data []byte) (object, error) {
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("%w: not UTF-8", errMalformed)
	}
	if err := checkNames(data); err != nil {
		return nil, err
	}
	var o object
	if err := json.Unmarshal(data, &o); err != nil || o == nil {
		return nil, fmt.Errorf("%w: no JSON object", errMalformed)
	}
	return o, nil
}

// checkNames walks the document once, before anything is built from it.
func checkNames(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	type level struct {
		names map[string]bool // nil: an array
		name  bool            // the next string is a member's name
	}
	var levels []level
	for {
		token, err := dec.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: no JSON", errMalformed)
		}
		top := len(levels) - 1
		switch t := token.(type) {
		case json.Delim:
			if t == '{' || t == '[' {
				if len(levels) == maxDepth {
					return fmt.Errorf("%w: nested too deep", errMalformed)
				}
				if top >= 0 {
					levels[top].name = true
				}
				next := level{}
				if t == '{' {
					next = level{names: map[string]bool{}, name: true}
				}
				levels = append(levels, next)
				continue
			}
			levels = levels[:top]
			continue
		case string:
			if top >= 0 && levels[top].names != nil && levels[top].name {
				if levels[top].names[t] {
					return fmt.Errorf("%w: a member appears twice", errMalformed)
				}
				levels[top].names[t], levels[top].name = true, false
				continue
			}
		}
		if top >= 0 {
			levels[top].name = true
		}
	}
}

// text returns a member that must be a string; "" if it is absent or null.
func (o object) text(name string) (string, error) {
	raw, ok := o[name]
	if !ok || string(raw) == "null" {
		return "", nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", fmt.Errorf("%w: %s is no string", errMalformed, name)
	}
	return s, nil
}

// flag returns a boolean member; false if it is anything else.
func (o object) flag(name string) bool { return string(o[name]) == "true" }

// readObject reads the body of a 200 answer that must be JSON. The body is closed.
func readObject(resp *http.Response) (object, []byte, error) {
	if !isJSON(resp.Header) {
		resp.Body.Close()
		return nil, nil, fmt.Errorf("%w: its content type is not JSON", errMalformed)
	}
	data, err := readBody(resp)
	if err != nil {
		return nil, nil, err
	}
	o, err := parseObject(data)
	return o, data, err
}

// isJSON accepts application/json and the structured types, application/jwk-set+json among them.
func isJSON(h http.Header) bool {
	if len(h.Values("Content-Type")) != 1 {
		return false
	}
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && (kind == "application/json" || strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json"))
}

func readBody(resp *http.Response) ([]byte, error) {
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if len(data) > maxAnswer {
		return nil, fmt.Errorf("%w: larger than %d bytes", errMalformed, maxAnswer)
	}
	return data, nil
}

// errorCode reads the `error` member of an OAuth error answer (RFC 6749 5.2), and nothing else of it: the rest may
// repeat what was sent. "": there is none worth showing.
func errorCode(resp *http.Response) string {
	data, err := readBody(resp)
	if err != nil {
		return ""
	}
	o, err := parseObject(data)
	if err != nil {
		return ""
	}
	code, err := o.text("error")
	if err != nil || code == "" || len(code) > 40 {
		return ""
	}
	for _, b := range []byte(code) {
		if (b < 'a' || b > 'z') && b != '_' {
			return ""
		}
	}
	return code
}
