package demo_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"portero/internal/demo"
	"portero/internal/gatewaytest"
)

// manager calls the Management API of a demonstration.
func manager(t *testing.T, d *demo.Demo) func(method, path string, body any) (int, map[string]any) {
	t.Helper()
	call := func(method, address, authorization, kind string, body []byte) (int, map[string]any) {
		t.Helper()
		req, err := http.NewRequest(method, address, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", authorization)
		req.Header.Set("Content-Type", kind)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if len(raw) > 0 {
			if err := json.Unmarshal(raw, &got); err != nil {
				t.Fatalf("%s %s answered %d %q: %v", method, address, resp.StatusCode, raw, err)
			}
		}
		return resp.StatusCode, got
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(d.Logto.Management.AppID+":"+d.Logto.Management.AppSecret))
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {"https://default.logto.app/api"}, "scope": {"all"}}.Encode()
	_, got := call("POST", d.Logto.Endpoint+"/oidc/token", basic, "application/x-www-form-urlencoded", []byte(form))
	return func(method, path string, body any) (int, map[string]any) {
		t.Helper()
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		token, _ := got["access_token"].(string)
		return call(method, d.Logto.Endpoint+path, "Bearer "+token, "application/json", raw)
	}
}

// TestConnectorsThatAreRefused stores nothing that Logto would refuse, and mails look as before.
func TestConnectorsThatAreRefused(t *testing.T) {
	t.Parallel()
	d := start(t, demo.Config{})
	ask := manager(t, d)
	before := told(t, d.Provider.Tenant())
	for _, endpoint := range []any{"https://api.mailgun.net.evil.example", "https://api.mailgun.net/", "https://API.MAILGUN.NET", "api.mailgun.net", "", 1} {
		config := connectorConfig()
		config["endpoint"] = endpoint
		for path, body := range map[string]any{
			"/api/connectors":                    map[string]any{"connectorId": "mailgun-email", "config": config},
			"/api/connectors/mailgun-email/test": map[string]any{"email": "ana@example.com", "config": config},
		} {
			if status, got := ask("POST", path, body); status != 400 || got["code"] != "connector.invalid_config" {
				t.Errorf("endpoint %v at %s: got %d %v, want 400 connector.invalid_config", endpoint, path, status, got)
			}
		}
	}
	for _, missing := range []string{"domain", "apiKey", "from", "deliveries"} {
		config := connectorConfig()
		delete(config, missing)
		if status, got := ask("POST", "/api/connectors", map[string]any{"connectorId": "mailgun-email", "config": config}); status != 400 {
			t.Errorf("without %s: got %d %v, want 400", missing, status, got)
		}
	}
	if after := told(t, d.Provider.Tenant()); after != before {
		t.Errorf("a refusal has changed the connector:\nbefore %s\nafter  %s", before, after)
	}
	if got := d.Mailbox.Messages(""); len(got) != 0 {
		t.Errorf("refusals sent %d mails", len(got))
	}
}

func connectorConfig() map[string]any {
	return map[string]any{"domain": "mg.example.com", "apiKey": "key-of-the-connector", "from": "Wiki <no-reply@mg.example.com>",
		"deliveries": map[string]any{"Generic": map[string]any{"subject": "Wiki {{code}}", "html": "<p>{{code}}</p>", "text": "{{code}}"}}}
}

// TestEveryConnectorDelivers signs somebody in by the code in the mailbox, whatever a connector that Logto would store says.
func TestEveryConnectorDelivers(t *testing.T) {
	t.Parallel()
	d := start(t, demo.Config{})
	ask := manager(t, d)
	one := func(delivery map[string]any) map[string]any { return map[string]any{"Generic": delivery} }
	for i, tt := range []struct {
		name    string
		change  map[string]any
		from    string // "": as the connector says
		subject string // "": none
	}{
		{"no endpoint", nil, "", "Wiki "},
		{"the other region", map[string]any{"endpoint": "https://api.eu.mailgun.net"}, "", "Wiki "},
		{"nobody at the endpoint", map[string]any{"endpoint": "http://127.0.0.1:1/sink.mailgun.net"}, "", "Wiki "},
		{"an endpoint that only ends well", map[string]any{"endpoint": "https://evil.example/?x=.mailgun.net"}, "", "Wiki "},
		{"a sender of another domain", map[string]any{"from": "Wiki <no-reply@example.org>"}, "", "Wiki "},
		{"a sender that is none", map[string]any{"from": "Wiki"}, d.Mailgun.From, "Wiki "},
		{"a sender of two lines", map[string]any{"from": "Wiki\r\nBcc: x@example.org <no-reply@mg.example.com>"}, d.Mailgun.From, "Wiki "},
		{"two senders", map[string]any{"from": "a@example.org, b@example.org"}, d.Mailgun.From, "Wiki "},
		{"a domain that is none", map[string]any{"domain": "not a domain/.."}, "", "Wiki "},
		{"answers to nobody", map[string]any{"deliveries": one(map[string]any{"html": "<p>{{code}}</p>", "replyTo": "nobody"})}, "", ""},
		{"a subject of two lines", map[string]any{"deliveries": one(map[string]any{"html": "<p>{{code}}</p>", "subject": "Wiki\nBcc: {{code}}"})}, "", "Wiki Bcc: "},
		{"sign-in alone", map[string]any{"deliveries": map[string]any{"SignIn": map[string]any{"html": "<p>{{code}}</p>"}}}, "", ""},
		{"a template", map[string]any{"deliveries": one(map[string]any{"template": "welcome", "subject": "T {{code}}",
			"variables": map[string]any{"brand": "A & B", "many": 1000000, "list": []any{"x", map[string]any{"y": true}}}})}, "", "T "},
		{"a template without more", map[string]any{"deliveries": one(map[string]any{"template": "welcome"})}, "", ""},
	} {
		config := connectorConfig()
		for name, value := range tt.change {
			config[name] = value
		}
		if status, got := ask("POST", "/api/connectors", map[string]any{"connectorId": "mailgun-email", "config": config}); status != 200 {
			t.Errorf("%s: got %d %v, want 200", tt.name, status, got)
			continue
		}
		address := string(rune('a'+i)) + "@example.com"
		b := gatewaytest.NewBrowser(t, map[string]string{"localhost": strings.TrimPrefix(strings.Replace(d.Addresses.Gateway, "localhost", "127.0.0.1", 1), "http://")})
		if last := signIn(t, b, d, b.Visit(d.Addresses.Gateway+"/headers"), address); last.StatusCode != 200 {
			t.Errorf("%s: signing in: got %s", tt.name, last.Status)
		}
		got := d.Mailbox.Messages(address)
		if len(got) != 1 {
			t.Errorf("%s: the mailbox has %d mails, want one", tt.name, len(got))
			continue
		}
		from := tt.from
		if from == "" {
			from, _ = config["from"].(string)
		}
		if tt.subject != "" {
			tt.subject += got[0].Code
		}
		if got[0].From != from || got[0].Subject != tt.subject || len(got[0].Code) != 6 {
			t.Errorf("%s: the mail is of %q about %q with the code %q, want %q about %q", tt.name, got[0].From, got[0].Subject, got[0].Code, from, tt.subject)
		}
		if tt.name == "a template" {
			page := html.UnescapeString(gatewaytest.NewBrowser(t, nil).Get(d.Addresses.Mailbox + "/?to=" + url.QueryEscape(address)).Text)
			for _, want := range []string{`"many":"1000000"`, `"list":"[\"x\",{\"y\":true}]"`} {
				if !strings.Contains(page, want) {
					t.Errorf("the mailbox does not show %s", want)
				}
			}
		}
	}
}

// TestConnectorWithoutADelivery sends nothing where neither the usage nor Generic has a delivery, and says that there is no mail.
func TestConnectorWithoutADelivery(t *testing.T) {
	t.Parallel()
	d := start(t, demo.Config{})
	ask := manager(t, d)
	config := connectorConfig()
	config["deliveries"] = map[string]any{"Register": map[string]any{"html": "<p>{{code}}</p>"}}
	if status, got := ask("POST", "/api/connectors", map[string]any{"connectorId": "mailgun-email", "config": config}); status != 200 {
		t.Fatalf("got %d %v, want 200", status, got)
	}
	if status, got := ask("POST", "/api/connectors/mailgun-email/test", map[string]any{"email": "ana@example.com", "config": config}); status != 400 || got["code"] != "connector.template_not_found" {
		t.Errorf("a test mail: got %d %v, want 400 connector.template_not_found", status, got)
	}
	b := gatewaytest.NewBrowser(t, map[string]string{"localhost": strings.TrimPrefix(strings.Replace(d.Addresses.Gateway, "localhost", "127.0.0.1", 1), "http://")})
	to, fields := form(t, b.Visit(d.Addresses.Gateway+"/headers"))
	fields.Set("identifier", "ana@example.com")
	if last := b.Follow(b.Post(to, fields)); last.StatusCode != http.StatusServiceUnavailable || strings.Contains(last.Text, "key-of-the-connector") {
		t.Errorf("asking for a code: got %s\n%s", last.Status, last.Text)
	}
	if got := d.Mailbox.Messages("ana@example.com"); len(got) != 0 {
		t.Errorf("the mailbox has %d mails", len(got))
	}
}
