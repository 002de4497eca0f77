package management_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"portero/internal/management"
)

// What must never be read anywhere.
var planted = map[string]string{
	"API key":        "key-3f2a9c41d07be8815a6c2f90ab34cd12",
	"API key, short": "9c41d07be8815a6c2f90ab34cd123f2a-1b2c3d4e-5f6a7b8c",
	"client secret":  "VGUHtcSFNcAyiNQlqLjZGqRtewhye7bW",
	"code":           "483920",
	"access token":   "eyJhbGciOiJFUzM4NCJ9.eyJzdWIiOiJtMm0ifQ.c2lnbmF0dXJl",
	"one-time token": "AM6zjW4Ui6B9tMcoCvQOcDsHVCVORmCK",
}

// address is where something is in memory: its digits can be those of a code.
var address = regexp.MustCompile(`0x[0-9a-f]+`)

// shows names what of planted a text shows, plain or as the credentials of HTTP Basic.
func shows(text string) string {
	text = address.ReplaceAllString(text, "0x")
	for name, secret := range planted {
		basic := base64.StdEncoding.EncodeToString([]byte("api:" + secret))
		if strings.Contains(text, secret) || strings.Contains(text, basic) {
			return name
		}
	}
	return ""
}

// log writes to b without times, for the same reason.
func log(b *bytes.Buffer, args ...any) {
	o := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	slog.New(slog.NewTextHandler(b, o)).Error("call", args...)
	slog.New(slog.NewJSONHandler(b, o)).Error("call", args...)
}

// told is all that an error can come to be read as.
func told(err error) string {
	var b bytes.Buffer
	for _, e := range []error{err, errors.Join(errors.New("one"), err, fmt.Errorf("two: %w", err))} {
		fmt.Fprintf(&b, "%v\n%+v\n%#v\n%s\n%q\n%+v\n", e, e, e, e, e, struct{ E error }{e})
		log(&b, "error", e)
	}
	var walk func(error)
	walk = func(e error) {
		fmt.Fprintf(&b, "%v\n%+v\n%#v\n", e, e, e)
		if hinted, ok := e.(interface{ Hint() string }); ok {
			fmt.Fprintln(&b, hinted.Hint())
		}
		switch e := e.(type) {
		case interface{ Unwrap() error }:
			if next := e.Unwrap(); next != nil {
				walk(next)
			}
		case interface{ Unwrap() []error }:
			for _, next := range e.Unwrap() {
				walk(next)
			}
		}
	}
	walk(err)
	return b.String()
}

// Every kind of answer, with every secret in every place of it, to every kind of call.
func TestErrorsHoldNoSecret(t *testing.T) {
	t.Parallel()
	bodies := []string{
		`%s`, `"%s"`, `<html>%s`, `{"code":"%s"}`, `{"error":"%s"}`, `{"code":"connector.general","message":"%s","details":"%s"}`,
		`{"code":"connector.general","data":{"statusCode":"%s","body":"%s"}}`, `{"code":"connector.general","data":{"statusCode":483920,"body":"%s"}}`,
		`{"code":"connector.general","data":{"statusCode":401,"body":"%s"}}`,
		`{"code":"connector.general","data":{"options":{"url":"http://api:%s@host/","headers":{"authorization":"Basic %s"}}}}`, `{"code":"connector.general","data":"%s"}`,
		`{"code":"guard.invalid_input","data":{"issues":[{"path":["%s",483920,"html"],"message":"%s","received":"%s"}]}}`,
		`{"code":"connector.invalid_config","data":{"issues":[{"path":["deliveries","%s"]},{"path":"%s"},"%s"]},"details":"%s"}`,
		`{"code":"sign_in_experiences.%s"}`, `{"code":["%s"],"error":{"x":"%s"}}`, `{"code":"auth.unauthorized","data":{"code":"%s"},"message":"%s"}`,
		`{"error":"invalid_client","error_description":"%s"}`, `{"access_token":"%s\n","token_type":"Bearer"}`, `{"access_token":"%s","token_type":"%s"}`,
		`[{"id":"","value":"%s"}]`, `[{"id":1,"config":{"apiKey":"%s"}}]`, `{"id":{"x":"%s"}}`, `{"id":"a","config":"%s"`,
	}
	statuses := []int{200, 201, 301, 400, 401, 403, 404, 409, 422, 429, 500, 501, 503}
	c, client := context.Background(), map[string]func(*management.Client) error{}
	for method, call := range calls {
		client[method] = func(m *management.Client) error { return call(c, m) }
	}
	client["connector"] = func(m *management.Client) error {
		_, err := m.CreateConnector(c, management.MailgunConnector, management.Object{"apiKey": planted["API key"]})
		return err
	}
	client["unencodable"] = func(m *management.Client) error {
		_, err := m.CreateConnector(c, management.MailgunConnector, management.Object{"apiKey": json.RawMessage(planted["API key"])})
		return err
	}
	client["delete secret"] = func(m *management.Client) error { return m.DeleteSecret(c, "app", "..") }
	client["one-time token"] = func(m *management.Client) error {
		_, err := m.CreateOneTimeToken(c, "a@example.com", time.Hour)
		return err
	}
	client["user"] = func(m *management.Client) error {
		_, err := m.UserByEmail(c, planted["client secret"]+"@example.com") // it stands in the query
		return err
	}
	client["session"] = func(m *management.Client) error { _, err := m.Sessions(c, "u1"); return err }
	errs := 0
	for _, secret := range planted {
		for _, shape := range bodies {
			body := strings.ReplaceAll(shape, "%s", secret)
			for _, status := range statuses {
				for _, tokens := range []bool{false, true} {
					w := &wire{answer: func(r *http.Request, _ string) (reply, bool) {
						if r.URL.Path == "/oidc/token" && !tokens {
							return reply{status: 200, body: `{"access_token":"` + planted["access token"] + `","token_type":"Bearer"}`}, true
						}
						h := http.Header{"Retry-After": {secret}, "Www-Authenticate": {"Basic realm=" + secret}, "Total-Number": {secret}, "Logto-Core-Request-Id": {secret}}
						return reply{status: status, header: h, body: body}, true
					}}
					m := w.client(func(c *management.Config) { c.AppSecret, c.Retries = planted["client secret"], 1 })
					for name, call := range client {
						err := call(m)
						if err == nil {
							continue
						}
						errs++
						if what := shows(told(err)); what != "" {
							t.Fatalf("%s, status %d, %s: shows the %s:\n%s", name, status, body, what, told(err))
						}
						if tokens { // one is enough
							break
						}
					}
				}
			}
		}
	}
	t.Logf("%d errors", errs)
}

// Nothing that holds a secret prints or logs it.
func TestPrintsHoldNoSecret(t *testing.T) {
	t.Parallel()
	config := management.Config{Endpoint: &url.URL{Scheme: "https", Host: "logto.example", User: url.UserPassword("x", planted["client secret"])}, AppID: "m2m", AppSecret: planted["client secret"]}
	w := &wire{answer: func(r *http.Request, _ string) (reply, bool) {
		return reply{status: 200, body: `{"access_token":"` + planted["access token"] + `","token_type":"Bearer"}`}, r.URL.Path == "/oidc/token"
	}}
	client := w.client(func(c *management.Config) { c.AppSecret = planted["client secret"] })
	if _, err := client.Connectors(t.Context()); err != nil { // so that it has a token
		t.Fatal(err)
	}
	for name, v := range map[string]any{
		"config": config, "config's address": &config, "client": client, "none": (*management.Client)(nil),
		"secret":         management.Secret{Name: "second", Value: planted["client secret"]},
		"connector":      management.Connector{ID: "c", Factory: management.MailgunConnector, Config: management.Object{"apiKey": planted["API key"]}},
		"one-time token": &management.OneTimeToken{ID: "t", Token: planted["one-time token"]},
	} {
		for _, shown := range []any{v, []any{v}, map[string]any{"x": v}, struct{ V any }{v}} {
			var b bytes.Buffer
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%t"} {
				fmt.Fprintf(&b, verb+"\n", shown)
			}
			if what := shows(b.String()); what != "" {
				t.Errorf("%s shows the %s:\n%s", name, what, &b)
			}
		}
		var b bytes.Buffer
		log(&b, "v", v)
		if what := shows(b.String()); what != "" {
			t.Errorf("%s logs the %s:\n%s", name, what, &b)
		}
	}
}
