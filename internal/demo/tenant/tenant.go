package tenant

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// Config says which tenant it is.
type Config struct {
	Line141  bool   // Logto 1.41, whose applications have a member `secret`; false: 1.42
	Resource string // the indicator of the Management API itself; "" https://default.logto.app/api

	// Send delivers what the connector sends. Its error is a mail API that cannot be reached; a *MailError is one that refused. nil: all
	// mails are accepted and nobody reads them.
	Send func(ctx context.Context, m Mail) error

	Now func() time.Time // nil: time.Now
}

// Tenant is one tenant as Logto seeds it, and what has become of it. All methods may be called at any time.
type Tenant struct {
	config Config
	now    func() time.Time
	mux    *http.ServeMux

	mu           sync.Mutex
	applications []*application
	connector    *connector // the one for e-mail; nil: none
	experience   map[string]any
	resources    []*resource
	roles        []*role
	tokens       []*oneTimeToken
}

// New returns a tenant as it is seeded: no application, no connector, signing in with username and password, and the role by which an
// application may use the Management API.
func New(c Config) *Tenant {
	if c.Resource == "" {
		c.Resource = "https://default.logto.app/api"
	}
	t := &Tenant{config: c, now: c.Now, mux: http.NewServeMux(), experience: seededExperience()}
	if t.now == nil {
		t.now = time.Now
	}
	api := &resource{TenantID: "default", ID: "management-api", Name: "Logto Management API", Indicator: c.Resource, TTL: 3600}
	api.scopes = []*scope{{TenantID: "default", ID: "management-api-all", ResourceID: api.ID, Name: "all",
		Description: ptr("Default scope for Management API, allows all permissions."), CreatedAt: t.milliseconds()}}
	t.resources = []*resource{api}
	t.roles = []*role{{TenantID: "default", ID: newID(21), Name: "Logto Management API access",
		Description: "This default role grants access to the Logto management API.", Type: "MachineToMachine"}}

	t.routeApplications()
	t.routeConnectors()
	t.routeExperience()
	t.routeResources()
	t.routeRoles()
	t.routeTokens()
	t.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	return t
}

// ServeHTTP answers /api/…; whoever asks may do everything.
func (t *Tenant) ServeHTTP(w http.ResponseWriter, r *http.Request) { t.mux.ServeHTTP(w, r) }

// Line141 reports whether the tenant is one of Logto 1.41.
func (t *Tenant) Line141() bool { return t.config.Line141 }

func (t *Tenant) milliseconds() int64 { return t.now().UnixMilli() }

// call is one request: its body, once it has been guarded, and where it leads.
type call struct {
	*http.Request
	w    http.ResponseWriter
	body map[string]any
}

// answer is what a call is answered with; a body of nil is none.
type answer struct {
	status int
	body   any
}

// handle lets a method and path be answered by a function that holds the mutex. guard nil: there is no body.
func (t *Tenant) handle(pattern string, body guard, h func(c call) (answer, error)) {
	t.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		c := call{Request: r, w: w}
		if body != nil {
			var err error
			if c.body, err = read(w, r, body); err != nil {
				WriteError(w, err)
				return
			}
		}
		status, raw, err := func() (int, []byte, error) {
			t.mu.Lock()
			defer t.mu.Unlock()
			a, err := h(c)
			if err != nil || a.body == nil {
				return a.status, nil, err
			}
			raw, err := encode(a.body) // while nobody changes it
			return a.status, raw, err
		}()
		if err != nil {
			WriteError(w, err)
			return
		}
		writeRaw(w, status, raw)
	})
}

// maxBody is Logto's bound on a body.
const maxBody = 1 << 20

// read decodes a body and guards it.
func read(w http.ResponseWriter, r *http.Request, g guard) (map[string]any, error) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, &Error{Status: http.StatusRequestEntityTooLarge, Code: "guard.invalid_input", Message: "The request body is invalid."}
	}
	value := any(map[string]any{})
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &value); err != nil {
			return nil, &Error{Status: http.StatusBadRequest, Code: "guard.invalid_input", Message: "The request body is invalid.", Details: err.Error()}
		}
	}
	kept := g(value, path{})
	if len(kept.issues) > 0 {
		return nil, refusedInput("body", kept.issues)
	}
	return kept.value.(map[string]any), nil
}

func refusedInput(what string, issues []issue) *Error {
	e := newZodError(issues)
	return &Error{Status: http.StatusBadRequest, Code: "guard.invalid_input", Message: "The request " + what + " is invalid.", Data: e, Details: e.details()}
}

// Error is an answer that says no.
type Error struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Data    any    `json:"data,omitempty"`
	Details string `json:"details,omitempty"`

	cause error // what Config.Send said; nil: nothing
}

// Error is the code, and what Config.Send said. Message and Data may quote a key and a mail.
func (e *Error) Error() string {
	if e.cause != nil {
		return e.Code + ": " + e.cause.Error()
	}
	return e.Code
}

func (e *Error) Unwrap() error { return e.cause }

// WriteError answers with an error; one that is not an *Error is Logto's 500.
func WriteError(w http.ResponseWriter, err error) {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Status: http.StatusInternalServerError, Code: "request.general", Message: "Request error occurred."}
	}
	write(w, e.Status, e)
}

func write(w http.ResponseWriter, status int, body any) {
	raw, err := encode(body)
	if err != nil {
		panic(err) // a mistake in this package
	}
	writeRaw(w, status, raw)
}

func encode(body any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(body)
	return buffer.Bytes(), err
}

func writeRaw(w http.ResponseWriter, status int, raw []byte) {
	w.Header().Set("Logto-Core-Request-Id", newID(16))
	if raw != nil {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	w.WriteHeader(status)
	w.Write(raw)
}

func unprocessable(code, message string) *Error {
	return &Error{Status: http.StatusUnprocessableEntity, Code: code, Message: message}
}

func refused(code, message string) *Error {
	return &Error{Status: http.StatusBadRequest, Code: code, Message: message}
}

// notExists is an entity of a table that is not there.
func notExists(table, id string) *Error {
	return &Error{Status: http.StatusNotFound, Code: "entity.not_exists_with_id", Message: "The " + table + " with ID `" + id + "` does not exist."}
}

var errNotFound = &Error{Status: http.StatusNotFound, Code: "entity.not_found", Message: "The resource does not exist."}

// newID returns lower-case alphanumerics, Logto's ids: 21 of them, or 12 for connectors and people.
func newID(length int) string { return randomText(length, "abcdefghijklmnopqrstuvwxyz0123456789") }

// newSecret returns 32 alphanumerics.
func newSecret() string {
	return randomText(32, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
}

func randomText(length int, alphabet string) string {
	b := make([]byte, length)
	rand.Read(b) // never fails (crypto/rand)
	for i, c := range b {
		b[i] = alphabet[int(c)%len(alphabet)]
	}
	return string(b)
}

// withoutEmpty has null in place of each empty text, as Logto's tables do.
func withoutEmpty(members map[string]any) map[string]any {
	for name, value := range members {
		if value == "" {
			members[name] = nil
		}
	}
	return members
}

// fill puts guarded members into a struct by their JSON names; the rest of it stays.
func fill(into any, members map[string]any) {
	raw, err := json.Marshal(members)
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		panic("a guard let pass what does not fit: " + err.Error()) // a mistake in this package
	}
}
