package management_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"portero/internal/management"
)

// What a running Logto was sent and what it answered: the client sends the same, and loses nothing of what it takes.
func TestSamples(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(ctx context.Context, c *management.Client, id string, sent management.Object) (any, error){
		"the application": func(ctx context.Context, c *management.Client, id string, _ management.Object) (any, error) {
			return c.Application(ctx, id)
		},
		"metadata is replaced whole": func(ctx context.Context, c *management.Client, id string, sent management.Object) (any, error) {
			return c.UpdateApplication(ctx, id, sent)
		},
		"refresh-token settings": func(ctx context.Context, c *management.Client, id string, sent management.Object) (any, error) {
			return c.UpdateApplication(ctx, id, sent)
		},
		"list": func(ctx context.Context, c *management.Client, _ string, _ management.Object) (any, error) {
			return c.Applications(ctx, management.Traditional)
		},
		"list, paged": func(ctx context.Context, c *management.Client, _ string, _ management.Object) (any, error) {
			return c.Applications(ctx, management.Traditional)
		},
		"create": func(ctx context.Context, c *management.Client, _ string, sent management.Object) (any, error) {
			return c.CreateApplication(ctx, management.Application{Name: "sample", Type: management.Traditional, OIDC: sent["oidcClientMetadata"].(map[string]any)})
		},
		"secrets": func(ctx context.Context, c *management.Client, id string, _ management.Object) (any, error) {
			return c.Secrets(ctx, id)
		},
		"second secret": func(ctx context.Context, c *management.Client, id string, _ management.Object) (any, error) {
			return c.CreateSecret(ctx, id, "second")
		},
		"delete a secret": func(ctx context.Context, c *management.Client, id string, _ management.Object) (any, error) {
			return nil, c.DeleteSecret(ctx, id, "second")
		},
		"all connectors": func(ctx context.Context, c *management.Client, _ string, _ management.Object) (any, error) {
			return c.Connectors(ctx)
		},
		"create (replaces an existing e-mail connector)": func(ctx context.Context, c *management.Client, _ string, sent management.Object) (any, error) {
			return c.CreateConnector(ctx, management.MailgunConnector, sent["config"].(map[string]any))
		},
		"whole config": func(ctx context.Context, c *management.Client, id string, sent management.Object) (any, error) {
			return c.UpdateConnector(ctx, id, sent["config"].(map[string]any))
		},
		"test mail": func(ctx context.Context, c *management.Client, _ string, sent management.Object) (any, error) {
			return nil, c.TestConnector(ctx, management.MailgunConnector, sent["email"].(string), sent["config"].(map[string]any))
		},
		"sign-in experience": func(ctx context.Context, c *management.Client, _ string, _ management.Object) (any, error) {
			return c.SignInExperience(ctx)
		},
		"e-mail sign-in": func(ctx context.Context, c *management.Client, _ string, sent management.Object) (any, error) {
			return c.UpdateSignInExperience(ctx, sent)
		},
		"find a user": func(ctx context.Context, c *management.Client, id string, _ management.Object) (any, error) {
			u, err := c.UserByEmail(ctx, id)
			return []management.User{u}, err
		},
		"one-time token": func(ctx context.Context, c *management.Client, _ string, sent management.Object) (any, error) {
			return c.CreateOneTimeToken(ctx, sent["email"].(string), 10*time.Minute)
		},
		"API resources": func(ctx context.Context, c *management.Client, _ string, _ management.Object) (any, error) {
			return c.Resources(ctx)
		},
	} {
		for _, version := range versions {
			t.Run(name+"/"+version, func(t *testing.T) {
				t.Parallel()
				s, ok := samples(t, version)[name]
				if !ok {
					t.Fatal("there is no such sample")
				}
				w := &wire{answer: always(s.reply())}
				sent, _ := value(t, s.Request.Body).(map[string]any)
				got, err := call(t.Context(), w.client(nil), idOf(t, s.Request.Path), sent)
				if err != nil {
					t.Fatal(err)
				}
				if got != nil {
					encoded, err := json.Marshal(got)
					if err != nil {
						t.Fatal(err)
					}
					taken(t, "", value(t, encoded), value(t, s.Response.Body))
				}
				if len(w.requests) != 1 {
					t.Fatalf("got the requests %q, want one", w.requests)
				}
				method, rest, _ := strings.Cut(w.requests[0], " ")
				target, body, _ := strings.Cut(rest, " ")
				if got, want := method+" "+withoutPages(t, target), s.Request.Method+" "+withoutPages(t, s.Request.Path); got != want {
					t.Errorf("got the request %s, want %s", got, want)
				}
				if d := cmp.Diff(value(t, []byte(body)), value(t, s.Request.Body)); d != "" {
					t.Errorf("body, got -, want +:\n%s", d)
				}
			})
		}
	}
}

// The client secret is the one of the list: an application's own member `secret` is none, and newer versions lack it.
func TestSecretOfAnApplication(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		all := samples(t, version)
		if has := strings.Contains(string(all["create"].Response.Body), `"secret"`); has != (version == "1.41") {
			t.Errorf("%s: the sample has a member secret: %v", version, has)
		}
		w := &wire{answer: always(all["secrets"].reply())}
		got, err := w.client(nil).Secrets(t.Context(), "u2ixyn1osh1fmpf08ki2k")
		if err != nil || len(got) != 1 || len(got[0].Value) != 32 || got[0].Name != "Default secret" || got[0].ExpiresAt != nil {
			t.Errorf("%s: got %+v, %v", version, got, err)
		}
	}
}

// What is not known here goes back as it came.
func TestForeignMembersSurvive(t *testing.T) {
	t.Parallel()
	const oidc = `{"redirectUris":["https://a/cb?x=1&y=<2>"],"postLogoutRedirectUris":[],"logoUri":"https://a/l.svg","futureThing":{"deep":[1,2.50,1e400,{"x":null}],"big":9007199254740993}}`
	const custom = `{"idTokenTtl":3600.0,"corsAllowedOrigins":["https://a"],"neverHeardOf":12345678901234567890}`
	w := &wire{answer: always(reply{status: 200, body: `{"id":"app","type":"Traditional","oidcClientMetadata":` + oidc + `,"customClientMetadata":` + custom + `,"futureTop":1}`})}
	c := w.client(nil)
	a, err := c.Application(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	a.OIDC["backchannelLogoutUri"] = "https://a/out"
	a.Custom["rotateRefreshToken"] = true
	if _, err := c.UpdateApplication(t.Context(), "app", management.Object{"oidcClientMetadata": a.OIDC, "customClientMetadata": a.Custom}); err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(w.requests[1], "/api/applications/app ")
	want := `{"oidcClientMetadata":` + strings.TrimSuffix(oidc, "}") + `,"backchannelLogoutUri":"https://a/out"},"customClientMetadata":` +
		strings.TrimSuffix(custom, "}") + `,"rotateRefreshToken":true}}`
	if d := cmp.Diff(value(t, []byte(body)), value(t, []byte(want))); d != "" {
		t.Errorf("got -, want +:\n%s", d)
	}
}

// An answer that lacks what it has to tell is none: an empty tenant would be set up from nothing.
func TestAnswersThatTellNothing(t *testing.T) {
	t.Parallel()
	list := []string{``, `null`, `{}`, `[{}]`, `[null]`, `[{"id":""}]`, `"[]"`, `[] []`, `[{"id":1}]`, `<html>`}
	single := []string{``, `null`, `{}`, `[]`, `{"id":""}`, `{"id":null}`, `1`, `{"id":1}`, `{"id":"a"}{}`, `<html>`}
	for name, tt := range map[string]struct {
		answers []string
		call    func(context.Context, *management.Client) error
	}{
		"applications": {list, func(ctx context.Context, c *management.Client) error { _, err := c.Applications(ctx, ""); return err }},
		"application":  {single, func(ctx context.Context, c *management.Client) error { _, err := c.Application(ctx, "a"); return err }},
		"create application": {single, func(ctx context.Context, c *management.Client) error {
			_, err := c.CreateApplication(ctx, management.Application{})
			return err
		}},
		"update application": {single, func(ctx context.Context, c *management.Client) error {
			_, err := c.UpdateApplication(ctx, "a", nil)
			return err
		}},
		"secrets": {append(list, `[{"value":"a"}]`), func(ctx context.Context, c *management.Client) error { _, err := c.Secrets(ctx, "a"); return err }},
		"create secret": {append(single, `{"name":"a"}`), func(ctx context.Context, c *management.Client) error {
			_, err := c.CreateSecret(ctx, "a", "x")
			return err
		}},
		"connectors": {list, func(ctx context.Context, c *management.Client) error { _, err := c.Connectors(ctx); return err }},
		"create connector": {single, func(ctx context.Context, c *management.Client) error {
			_, err := c.CreateConnector(ctx, "f", nil)
			return err
		}},
		"update connector": {single, func(ctx context.Context, c *management.Client) error {
			_, err := c.UpdateConnector(ctx, "a", nil)
			return err
		}},
		"sign-in experience": {[]string{``, `null`, `{}`, `[]`, `1`}, func(ctx context.Context, c *management.Client) error { _, err := c.SignInExperience(ctx); return err }},
		"resources":          {list, func(ctx context.Context, c *management.Client) error { _, err := c.Resources(ctx); return err }},
		"scopes":             {list, func(ctx context.Context, c *management.Client) error { _, err := c.Scopes(ctx, "a"); return err }},
		"roles":              {list, func(ctx context.Context, c *management.Client) error { _, err := c.Roles(ctx); return err }},
		"user":               {list, func(ctx context.Context, c *management.Client) error { _, err := c.UserByEmail(ctx, "a@b"); return err }},
		"one-time token": {append(single, `{"id":"a"}`), func(ctx context.Context, c *management.Client) error {
			_, err := c.CreateOneTimeToken(ctx, "a@b", time.Hour)
			return err
		}},
	} {
		for _, body := range tt.answers {
			t.Run(name+"/"+body, func(t *testing.T) {
				t.Parallel()
				w := &wire{answer: always(reply{status: 200, body: body})}
				err := tt.call(t.Context(), w.client(nil))
				if refused, ok := errors.AsType[*management.RefusedError](err); !ok || refused.Hint() == "" || errors.Is(err, management.ErrNotFound) {
					t.Errorf("got %v, want a refusal with a hint", err)
				}
			})
		}
	}
}

// No id that comes from elsewhere changes a path, and none is left out.
func TestIDsInPaths(t *testing.T) {
	t.Parallel()
	w := &wire{answer: always(reply{status: 500})}
	c, ctx := w.client(nil), t.Context()
	for _, id := range []string{"", ".", "..", "a/b", "a?b", "a b", "%2e", strings.Repeat("a", 129)} {
		_, application := c.Application(ctx, id)
		_, update := c.UpdateApplication(ctx, id, management.Object{})
		_, secrets := c.Secrets(ctx, id)
		_, secret := c.CreateSecret(ctx, id, "x")
		_, connector := c.UpdateConnector(ctx, id, nil)
		_, scopes := c.Scopes(ctx, id)
		_, scope := c.CreateScope(ctx, id, management.Scope{})
		for name, err := range map[string]error{
			"application": application, "update": update, "secrets": secrets, "create secret": secret, "delete secret": c.DeleteSecret(ctx, id, "x"),
			"delete application": c.DeleteApplication(ctx, id), "connector": connector, "test": c.TestConnector(ctx, id, "a@b", nil), "scopes": scopes, "create scope": scope,
		} {
			if !errors.Is(err, management.ErrID) {
				t.Errorf("%s of %q: got %v, want ErrID", name, id, err)
			}
		}
	}
	for _, name := range []string{"", ".", ".."} {
		if err := c.DeleteSecret(ctx, "app", name); !errors.Is(err, management.ErrID) {
			t.Errorf("delete secret %q: got %v, want ErrID", name, err)
		}
	}
	if len(w.requests)+w.tokens != 0 {
		t.Errorf("got the requests %q and %d token calls, want none", w.requests, w.tokens)
	}
	w.answer = always(reply{status: 204})
	if err := c.DeleteSecret(ctx, "app", "a/../b c?"); err != nil || len(w.requests) != 1 || w.requests[0] != "DELETE /api/applications/app/secrets/a%2F..%2Fb%20c%3F" {
		t.Errorf("got %v, %q", err, w.requests)
	}
}

// value reads JSON with numbers as they are written; nil: there is none.
func value(t *testing.T, text []byte) any {
	t.Helper()
	if len(text) == 0 {
		return nil
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return v
}

// taken checks that all that was decoded is in what was recorded, at the same place. Zero stands for null and for
// nothing.
func taken(t *testing.T, at string, got, recorded any) {
	t.Helper()
	switch got := got.(type) {
	case map[string]any:
		have, _ := recorded.(map[string]any)
		for name, v := range got {
			taken(t, at+"."+name, v, have[name])
		}
	case []any:
		have, _ := recorded.([]any)
		if len(got) != len(have) {
			t.Errorf("%s: got %d entries, recorded are %d", at, len(got), len(have))
			return
		}
		for i := range got {
			taken(t, at, got[i], have[i])
		}
	default:
		if recorded == nil && (got == nil || got == "" || got == false || got == json.Number("0")) {
			return
		}
		if got != recorded {
			t.Errorf("%s: got %v, recorded is %v", at, got, recorded)
		}
	}
}

// idOf is the id in a recorded path, or the address that is searched for.
func idOf(t *testing.T, path string) string {
	t.Helper()
	u, err := url.Parse(path)
	if err != nil {
		t.Fatal(err)
	}
	if address := u.Query().Get("search.primaryEmail"); address != "" {
		return address
	}
	if parts := strings.Split(u.Path, "/"); len(parts) > 3 {
		return parts[3]
	}
	return ""
}

// withoutPages is a target without the numbers of a page, and its query in order.
func withoutPages(t *testing.T, target string) string {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Del("page")
	q.Del("page_size")
	u.RawQuery = q.Encode()
	return u.String()
}
