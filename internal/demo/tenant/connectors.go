package tenant

import (
	_ "embed"
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
)

// mailgunJSON is the one connector that is installed, as Logto tells it; logo and readme are cut.
//
//go:embed mailgun.json
var mailgunJSON []byte

const mailgunFactory = "mailgun-email"

// connector is the tenant's connector for e-mail.
type connector struct {
	id     string
	config map[string]any
}

func factory() map[string]any {
	var f map[string]any
	if err := json.Unmarshal(mailgunJSON, &f); err != nil {
		panic(err) // a file of this package
	}
	return f
}

// shown is a connector with what its factory says of it.
func (c *connector) shown() map[string]any {
	all := factory()
	maps.Copy(all, map[string]any{
		"id": c.id, "connectorId": mailgunFactory, "config": c.config, "metadata": map[string]any{}, "syncProfile": false,
		"enableTokenStorage": false, "extraInfo": map[string]any{},
	})
	return all
}

// mailgunConfig is the guard of the connector itself.
var mailgunConfig = object(
	member{"endpoint", optional(text(isURL, endsWith(".mailgun.net")))},
	member{"domain", text()},
	member{"apiKey", text()},
	member{"from", text()},
	member{"deliveries", record(union(
		object(
			member{"html", text()}, member{"text", optional(text())},
			member{"subject", optional(text())}, member{"replyTo", optional(text())},
		),
		object(
			member{"template", text()}, member{"variables", optional(record(anything))},
			member{"subject", optional(text())}, member{"replyTo", optional(text())},
		),
	))},
)

var emailAddress = regexp.MustCompile(`^\S+@\S+\.\S+$`)

var (
	connectorMembers = []member{
		{"config", optional(record(anything))},
		{"metadata", optional(record(anything))},
		{"syncProfile", optional(boolean)},
		{"enableTokenStorage", optional(boolean)},
	}
	createConnector = object(append([]member{
		{"id", optional(text(atLeast(1), atMost(128)))},
		{"connectorId", text(atLeast(1), atMost(128))},
	}, connectorMembers...)...)
	patchConnector = object(connectorMembers...)
	testConnector  = object(
		member{"phone", optional(text(matches(regexp.MustCompile(`^\d+$`), "regex", "Invalid")))},
		member{"email", optional(text(matches(emailAddress, "regex", "Invalid")))},
		member{"config", record(anything)},
		member{"locale", optional(text())},
	)
)

// checkConfig is what the connector says of its configuration. What is stored is what was sent, unknown members and all.
func checkConfig(config map[string]any) error {
	if r := mailgunConfig(config, path{}); len(r.issues) > 0 {
		e := newZodError(r.issues)
		return &Error{Status: http.StatusBadRequest, Code: "connector.invalid_config", Message: "The connector's config is invalid.", Data: e, Details: e.details()}
	}
	return nil
}

func (t *Tenant) routeConnectors() {
	t.handle("GET /api/connector-factories", nil, func(call) (answer, error) { return answer{http.StatusOK, []any{factory()}}, nil })
	t.handle("GET /api/connector-factories/{id}", nil, func(c call) (answer, error) {
		if c.PathValue("id") != mailgunFactory {
			return answer{}, errNotFound
		}
		return answer{http.StatusOK, factory()}, nil
	})
	t.handle("GET /api/connectors", nil, func(c call) (answer, error) {
		found := []any{}
		if target := c.URL.Query().Get("target"); t.connector != nil && (target == "" || target == mailgunFactory) {
			found = append(found, t.connector.shown())
		}
		return answer{http.StatusOK, found}, nil
	})
	// POST /api/connectors: one for e-mail takes the place of the one there is.
	t.handle("POST /api/connectors", createConnector, func(c call) (answer, error) {
		if c.body["connectorId"] != mailgunFactory {
			return answer{}, unprocessable("connector.not_found_with_connector_id", "Can not find connector with given standard connector id.")
		}
		config, given := c.body["config"].(map[string]any)
		if given {
			if err := checkConfig(config); err != nil {
				return answer{}, err
			}
		}
		made := &connector{id: newID(12), config: clean(config)}
		if id, ok := c.body["id"].(string); ok {
			made.id = id
		}
		t.connector = made
		return answer{http.StatusOK, made.shown()}, nil
	})
	t.handle("GET /api/connectors/{id}", nil, func(c call) (answer, error) {
		if t.connector == nil || t.connector.id != c.PathValue("id") {
			return answer{}, errNotFound
		}
		return answer{http.StatusOK, t.connector.shown()}, nil
	})
	// PATCH /api/connectors/{id}: the configuration is replaced as a whole.
	t.handle("PATCH /api/connectors/{id}", patchConnector, func(c call) (answer, error) {
		if t.connector == nil || t.connector.id != c.PathValue("id") {
			return answer{}, errNotFound
		}
		if config, given := c.body["config"].(map[string]any); given {
			if err := checkConfig(config); err != nil {
				return answer{}, err
			}
			t.connector = &connector{id: t.connector.id, config: clean(config)}
		}
		return answer{http.StatusOK, t.connector.shown()}, nil
	})
	// DELETE /api/connectors/{id}: the sign-in experience goes on asking for e-mail.
	t.handle("DELETE /api/connectors/{id}", nil, func(c call) (answer, error) {
		if t.connector == nil || t.connector.id != c.PathValue("id") {
			return answer{}, errNotFound
		}
		t.connector = nil
		return answer{status: http.StatusNoContent}, nil
	})
	t.mux.HandleFunc("POST /api/connectors/{id}/test", t.serveTest)
}

// serveTest: POST /api/connectors/{factory}/test sends one mail by the configuration in the body: the delivery `Generic`, the code 000000.
func (t *Tenant) serveTest(w http.ResponseWriter, r *http.Request) {
	body, err := read(w, r, testConnector)
	if err == nil {
		err = t.test(r, body)
	}
	if err != nil {
		WriteError(w, err)
		return
	}
	writeRaw(w, http.StatusNoContent, nil)
}

func (t *Tenant) test(r *http.Request, body map[string]any) error {
	to, isEmail := body["email"].(string)
	phone, isPhone := body["phone"].(string)
	switch {
	case !isEmail && !isPhone:
		return refused("guard.invalid_input", "The request {{type}} is invalid.") // Logto leaves the gap open
	case r.PathValue("id") != mailgunFactory && phone != "":
		return refused("connector.not_found", "Cannot find any available connector for type: Sms.")
	case r.PathValue("id") != mailgunFactory:
		return refused("connector.not_found", "Cannot find any available connector for type: Email.")
	case phone != "":
		return refused("connector.unexpected_type", "The connector's type is unexpected.")
	}
	config := body["config"].(map[string]any)
	payload := map[string]any{"code": "000000"}
	if locale, ok := body["locale"].(string); ok && locale != "" {
		payload["locale"] = locale
	}
	m, err := newMail(config, "Generic", to, payload)
	if err != nil {
		return err
	}
	return t.send(r.Context(), m)
}

// SetConnector sets up Mailgun's connector, as `POST /api/connectors` would. Its error is an *Error.
func (t *Tenant) SetConnector(config map[string]any) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := checkConfig(config); err != nil {
		return err
	}
	t.connector = &connector{id: newID(12), config: clean(config)}
	return nil
}

// clean drops what is null or empty, as Logto does before it stores a configuration.
func clean(config map[string]any) map[string]any {
	kept, _ := cleaned(config).(map[string]any)
	if kept == nil {
		kept = map[string]any{}
	}
	return kept
}

// cleaned is nil for what is empty.
func cleaned(v any) any {
	switch v := v.(type) {
	case string:
		if v != "" {
			return v
		}
		return nil
	case map[string]any:
		kept := map[string]any{}
		for name, value := range v {
			if c := cleaned(value); c != nil {
				kept[name] = c
			}
		}
		if len(kept) > 0 {
			return kept
		}
		return nil
	case []any:
		kept := []any{}
		for _, value := range v {
			if c := cleaned(value); c != nil {
				kept = append(kept, c)
			}
		}
		if len(kept) > 0 {
			return kept
		}
		return nil
	}
	return v
}
