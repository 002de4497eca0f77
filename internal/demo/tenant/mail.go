package tenant

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Mail is what the connector sends: one request to Mailgun.
type Mail struct {
	URL    string // of the mail API; the path of the connector's endpoint is thrown away
	APIKey string
	To     string
	Code   string
	Usage  string
	Form   []Field // in the order in which they are sent
}

// Field is one field of the form.
type Field struct{ Name, Value string }

// Get is the first field of a name; "" for none.
func (m Mail) Get(name string) string {
	for _, f := range m.Form {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// Body is the form as it is sent.
func (m Mail) Body() string {
	pairs := make([]string, 0, len(m.Form))
	for _, f := range m.Form {
		pairs = append(pairs, url.QueryEscape(f.Name)+"="+url.QueryEscape(f.Value))
	}
	return strings.Join(pairs, "&")
}

// MailError is returned by Config.Send where the mail API answered, but not with success.
type MailError struct {
	Status int
	Body   string
}

func (e *MailError) Error() string { return fmt.Sprintf("the mail API answered %d", e.Status) }

// newMail renders a delivery of a configuration, or `Generic` where there is none of that usage.
func newMail(config map[string]any, usage, to string, payload map[string]any) (Mail, error) {
	if err := checkConfig(config); err != nil {
		return Mail{}, err
	}
	deliveries := config["deliveries"].(map[string]any)
	d, ok := deliveries[usage].(map[string]any)
	if !ok {
		d, ok = deliveries["Generic"].(map[string]any)
	}
	if !ok {
		return Mail{}, refused("connector.template_not_found", "Unable to find correct template in connector config.")
	}
	endpoint, _ := config["endpoint"].(string)
	if endpoint == "" {
		endpoint = "https://api.mailgun.net"
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return Mail{}, err
	}
	code, _ := payload["code"].(string)
	m := Mail{
		URL:    u.Scheme + "://" + u.Host + "/v3/" + config["domain"].(string) + "/messages",
		APIKey: config["apiKey"].(string), To: to, Code: code, Usage: usage,
		Form: []Field{{"from", config["from"].(string)}, {"to", to}},
	}
	add := func(name string, value any) {
		if s, ok := value.(string); ok {
			m.Form = append(m.Form, Field{name, s})
		}
	}
	if subject, ok := d["subject"].(string); ok {
		add("subject", fillIn(subject, payload))
	}
	add("h:Reply-To", d["replyTo"])
	if template, ok := d["template"].(string); ok && d["html"] == nil {
		add("template", template)
		variables := map[string]any{}
		if own, ok := d["variables"].(map[string]any); ok {
			for name, value := range own {
				variables[name] = value
			}
		}
		for name, value := range payload {
			variables[name] = value
		}
		raw, err := encode(variables)
		if err != nil {
			return Mail{}, err
		}
		add("h:X-Mailgun-Variables", strings.TrimSuffix(string(raw), "\n"))
		return m, nil
	}
	add("html", fillIn(d["html"].(string), payload))
	if plain, ok := d["text"].(string); ok {
		add("text", fillIn(plain, payload))
	}
	return m, nil
}

// fillIn puts the payload where a text asks for it.
func fillIn(text string, payload map[string]any) string {
	for name, value := range payload {
		if s, ok := value.(string); ok {
			text = strings.ReplaceAll(text, "{{"+name+"}}", s)
		}
	}
	return text
}

// SendCode sends a code to an address by the connector that is set up. Its error is an *Error.
func (t *Tenant) SendCode(ctx context.Context, usage, to, code string) error {
	m, err := t.mail(usage, to, code)
	if err != nil {
		return err
	}
	return t.send(ctx, m)
}

func (t *Tenant) mail(usage, to, code string) (Mail, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.connector == nil {
		return Mail{}, &Error{Status: http.StatusNotImplemented, Code: "connector.not_found", Message: "Cannot find any available connector for type: Email."}
	}
	return newMail(t.connector.config, usage, to, map[string]any{"code": code})
}

// send delivers a mail and answers as Logto does where that fails: a mail API that cannot be reached makes it tell everything.
func (t *Tenant) send(ctx context.Context, m Mail) error {
	if t.config.Send == nil {
		return nil
	}
	cause := t.config.Send(ctx, m)
	if cause == nil {
		return nil
	}
	var data any
	if answered := (*MailError)(nil); errors.As(cause, &answered) {
		data = struct {
			Status int    `json:"statusCode"`
			Body   string `json:"body"`
		}{answered.Status, answered.Body}
	} else {
		data = unreachable(m)
	}
	raw, err := encode(data) // JSON.stringify escapes no HTML
	if err != nil {
		return err
	}
	return &Error{Status: http.StatusBadRequest, Code: "connector.general", Message: "Error occurred in connector: " + strings.TrimSuffix(string(raw), "\n"), Data: data, cause: cause}
}

// unreachable is the error of Logto's HTTP client: its options, with the key and the mail in them.
func unreachable(m Mail) any {
	form := map[string]string{}
	for _, f := range m.Form {
		form[f.Name] = f.Value
	}
	address := strings.Replace(m.URL, "://", "://api:"+url.QueryEscape(m.APIKey)+"@", 1)
	return map[string]any{
		"name": "RequestError", "code": "ECONNREFUSED", "input": m.URL, "timings": map[string]any{"start": 0, "error": 0},
		"options": map[string]any{
			"url": address, "method": "POST", "username": "api", "password": m.APIKey, "form": form, "body": m.Body(),
			"headers": map[string]string{
				"user-agent": "got (https://github.com/sindresorhus/got)", "content-type": "application/x-www-form-urlencoded",
				"authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte("api:"+m.APIKey)),
			},
		},
	}
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
