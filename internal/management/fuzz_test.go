package management_test

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"portero/internal/management"
)

// FuzzRefusal answers with any body. No error says more of it than its code, a plain word, names of members that are
// known here, small indexes, and Mailgun's status: two bodies that agree in these read alike.
func FuzzRefusal(f *testing.F) {
	for _, version := range versions {
		for _, s := range samples(f, version) {
			if s.Response.Status >= 400 {
				f.Add(s.Response.Status, string(s.Response.Body))
			}
		}
	}
	f.Add(400, unreachable)
	f.Add(400, `{"code":"connector.general","data":{"statusCode":1e2,"body":"x"}}`)
	f.Add(400, `{"code":"guard.invalid_input","data":{"issues":[{"path":["deliveries","VGUHtcSFNcAyiNQlqLjZGqRtewhye7bW",483920,-1,1.5,null,"from"]}]}}`)
	f.Add(401, `{"code":"oidc.invalid_client","message":"","error":"invalid_client","error_description":"x"}`)
	f.Add(429, `{"code":"request.message_rate_limited"}`)
	f.Add(404, `<html>`)
	f.Add(422, `{"CODE":"a.b_c","code":{"code":"x"},"error":["x"]}`)
	f.Add(400, `{"code":"connector.invalid_config","data":{"issues":{"path":[]}}}`)
	f.Add(418, strings.Repeat(`{"data":`, 2000))
	plain, part := regexp.MustCompile(`^[a-z._]{0,64}$`), regexp.MustCompile(`^([A-Za-z_]{1,40}|[0-9]{1,2}|\*)$`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 300 || status > 599 {
			return
		}
		w := &wire{answer: func(r *http.Request, _ string) (reply, bool) {
			return reply{status: status, body: body}, r.URL.Path != "/oidc/token"
		}}
		err := calls["POST"](context.Background(), w.client(nil))
		if err == nil {
			t.Fatal("got no error")
		}
		got, ok := errors.AsType[*management.RefusedError](err)
		if !ok {
			if !errors.Is(err, management.ErrUnavailable) || status != 429 && status < 500 || len(err.Error()) > 200 {
				t.Errorf("got %v", err)
			}
			return
		}
		if !plain.MatchString(got.Code) || len(got.Keys) > 5 || got.MailStatus != 0 && (got.MailStatus < 100 || got.MailStatus > 599) {
			t.Errorf("got %#v", got)
		}
		for _, key := range got.Keys {
			if parts := strings.Split(key, "."); len(parts) > 6 || slices.ContainsFunc(parts, func(p string) bool { return !part.MatchString(p) }) {
				t.Errorf("got the key %q", key)
			}
		}
		alike := &management.RefusedError{Call: got.Call, Status: got.Status, Code: got.Code, Keys: got.Keys, MailStatus: got.MailStatus}
		if errors.Unwrap(got) == nil && (err.Error() != alike.Error() || got.Hint() != alike.Hint()) {
			t.Errorf("got %s (%s), want %s (%s)", err, got.Hint(), alike, alike.Hint())
		}
	})
}
