package management_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"portero/internal/management"
	"portero/internal/outbound"
)

const (
	appID     = "m2m id" // a blank, so that the encoding shows
	appSecret = "CANARY-secret:%"
	sessions  = `{"sessions":[
{"tenantId":"default","modelName":"Session","expiresAt":1796542521000,"payload":{"exp":1796542521,"iat":1795332921,"jti":"j1","uid":"U-_1","kind":"Session",
 "loginTs":1795332920,"accountId":"t8x4l8ohti1t","authorizations":{"app":{"sid":"sid-1","grantId":"g1","persistsLogout":true},"other":{"sid":"sid-9","grantId":"g9"}}},
 "lastSubmission":{"interactionEvent":"SignIn"},"clientId":"app","accountId":"t8x4l8ohti1t"},
{"payload":{"exp":1796542521,"uid":"U2","kind":"Session","loginTs":1795332999,"accountId":"t8x4l8ohti1t","authorizations":{"app":{"sid":"sid-2","grantId":"g2"}}},"lastSubmission":null,"clientId":null,"accountId":null},
{"payload":{"uid":"../../roles","authorizations":{"app":{"sid":"sid-1"}}}},
{"payload":{"uid":"U3"}}]}`
)

// api is Logto's side. Handlers say what it answers at a path; unset ones answer as Logto does.
type api struct {
	*httptest.Server
	mu       sync.Mutex
	token    http.HandlerFunc
	handler  http.HandlerFunc // of the API
	requests []string         // of the API: method and target
	tokens   atomic.Int32     // token calls
	form     url.Values
	basic    string
}

func serve(t *testing.T) *api {
	t.Helper()
	a := &api{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		token, handler := a.token, a.handler
		a.mu.Unlock()
		if r.URL.Path == "/base/oidc/token" {
			n := a.tokens.Add(1)
			r.ParseForm()
			a.mu.Lock()
			a.form, a.basic = r.PostForm, r.Header.Get("Authorization")
			a.mu.Unlock()
			if token != nil {
				token(w, r)
				return
			}
			answer(w, 200, fmt.Sprintf(`{"access_token":"CANARY-token-%d","expires_in":3600,"token_type":"Bearer","scope":"all"}`, n))
			return
		}
		a.mu.Lock()
		a.requests = append(a.requests, r.Method+" "+r.RequestURI)
		a.mu.Unlock()
		switch {
		case handler != nil:
			handler(w, r)
		case r.Header.Get("Authorization") != fmt.Sprintf("Bearer CANARY-token-%d", a.tokens.Load()):
			answer(w, 401, `{"code":"auth.unauthorized","message":"CANARY"}`)
		case r.Method == http.MethodDelete:
			w.WriteHeader(204)
		default:
			answer(w, 200, sessions)
		}
	}))
	t.Cleanup(a.Close)
	return a
}

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, body)
}

func (a *api) set(change func(*api)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(a)
}

func (a *api) seen() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.requests...)
}

func (a *api) client(t *testing.T, change func(*management.Config)) *management.Client {
	t.Helper()
	u, err := url.Parse(a.URL + "/base/")
	if err != nil {
		t.Fatal(err)
	}
	c := management.Config{Endpoint: u, AppID: appID, AppSecret: appSecret, Client: outbound.New(outbound.Config{})}
	if change != nil {
		change(&c)
	}
	return management.New(c)
}

func TestSessions(t *testing.T) {
	t.Parallel()
	a := serve(t)
	got, err := a.client(t, nil).Sessions(t.Context(), "t8x4l8ohti1t")
	if err != nil {
		t.Fatal(err)
	}
	expires := time.Unix(1796542521, 0).UTC()
	want := []management.Session{
		{UID: "U-_1", LoginAt: time.Unix(1795332920, 0).UTC(), ExpiresAt: expires, SIDs: map[string]string{"app": "sid-1", "other": "sid-9"}},
		{UID: "U2", LoginAt: time.Unix(1795332999, 0).UTC(), ExpiresAt: expires, SIDs: map[string]string{"app": "sid-2"}},
		{UID: "U3", SIDs: map[string]string{}},
	}
	if d := cmp.Diff(got, want); d != "" {
		t.Errorf("got -, want +:\n%s", d)
	}
	if d := cmp.Diff(a.form, url.Values{"grant_type": {"client_credentials"}, "resource": {"https://default.logto.app/api"}, "scope": {"all"}}); d != "" {
		t.Errorf("token form, got -, want +:\n%s", d)
	}
	// "m2m+id:CANARY-secret%3A%25", as RFC 6749 2.3.1 has it
	if a.basic != "Basic bTJtK2lkOkNBTkFSWS1zZWNyZXQlM0ElMjU=" {
		t.Errorf("got the authorization %q", a.basic)
	}
	if d := cmp.Diff(a.seen(), []string{"GET /base/api/users/t8x4l8ohti1t/sessions"}); d != "" {
		t.Errorf("got -, want +:\n%s", d)
	}
}

func TestEndBySID(t *testing.T) {
	t.Parallel()
	const list = "GET /base/api/users/u1/sessions"
	for name, tt := range map[string]struct {
		client, sid string
		found       bool
		want        []string
	}{
		"the client's sid":       {"app", "sid-2", true, []string{list, "DELETE /base/api/users/u1/sessions/U2?revokeGrantsTarget=all"}},
		"another client's sid":   {"app", "sid-9", false, []string{list}},
		"unknown sid":            {"app", "sid-7", false, []string{list}},
		"no sid asks nothing":    {"app", "", false, nil},
		"unknown client":         {"nobody", "sid-1", false, []string{list}},
		"a uid that is no id":    {"app", "sid-1", true, []string{list, "DELETE /base/api/users/u1/sessions/U-_1?revokeGrantsTarget=all"}},
		"a client without a sid": {"", "", false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := serve(t)
			ended, err := a.client(t, nil).EndBySIDs(t.Context(), "u1", tt.client, tt.sid)
			if err != nil || (ended == 1) != tt.found || ended > 1 {
				t.Errorf("ended %d, %v; want one: %v", ended, err, tt.found)
			}
			if d := cmp.Diff(a.seen(), tt.want); d != "" {
				t.Errorf("got -, want +:\n%s", d)
			}
		})
	}
}

func TestEndBySIDsListsOnce(t *testing.T) {
	t.Parallel()
	a := serve(t)
	a.set(func(a *api) {
		a.handler = func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodGet:
				answer(w, 200, sessions)
			case strings.HasSuffix(r.URL.Path, "/U-_1"):
				answer(w, 500, "")
			default:
				w.WriteHeader(204)
			}
		}
	})
	n, err := a.client(t, nil).EndBySIDs(t.Context(), "u1", "app", "sid-1", "", "sid-2", "sid-7")
	if n != 1 || !errors.Is(err, management.ErrUnavailable) {
		t.Errorf("got %d, %v; want 1 and that one could not be ended", n, err)
	}
	if got := len(a.seen()); got != 3 {
		t.Errorf("got %d calls, want one list and two ends: %q", got, a.seen())
	}
}

func TestEndedAlready(t *testing.T) {
	t.Parallel()
	a := serve(t)
	a.set(func(a *api) {
		a.handler = func(w http.ResponseWriter, r *http.Request) { answer(w, 404, `{"code":"oidc.session_not_found"}`) }
	})
	if err := a.client(t, nil).EndSession(t.Context(), "u1", "U1"); err != nil {
		t.Errorf("got %v, want nothing: it is gone", err)
	}
}

func TestIDsThatAreNone(t *testing.T) {
	t.Parallel()
	a := serve(t)
	c := a.client(t, nil)
	for _, id := range []string{"", ".", "..", "a/b", "a%2fb", "a?b", "a#b", "a b", "ä", "a\x00", "a;b", strings.Repeat("a", 129)} {
		if _, err := c.Sessions(t.Context(), id); !errors.Is(err, management.ErrID) {
			t.Errorf("sessions of %q: got %v, want ErrID", id, err)
		}
		if err := c.EndSession(t.Context(), "u1", id); !errors.Is(err, management.ErrID) {
			t.Errorf("ending %q: got %v, want ErrID", id, err)
		}
	}
	if got := a.tokens.Load() + int32(len(a.seen())); got != 0 {
		t.Errorf("%d calls were made", got)
	}
}

func TestTokenIsKept(t *testing.T) {
	t.Parallel()
	a := serve(t)
	now := time.Date(2026, 11, 22, 7, 40, 0, 0, time.UTC)
	var clock atomic.Int64
	c := a.client(t, func(c *management.Config) {
		c.Now = func() time.Time { return now.Add(time.Duration(clock.Load())) }
	})
	for _, step := range []struct {
		after time.Duration
		want  int32
	}{{0, 1}, {time.Minute, 1}, {59*time.Minute - time.Second, 1}, {59 * time.Minute, 2}, {60 * time.Minute, 2}} {
		clock.Store(int64(step.after))
		if _, err := c.Sessions(t.Context(), "u1"); err != nil {
			t.Fatal(err)
		}
		if got := a.tokens.Load(); got != step.want {
			t.Errorf("after %s: got %d token calls, want %d", step.after, got, step.want)
		}
	}
}

func TestTokenIsFetchedOnce(t *testing.T) {
	t.Parallel()
	a := serve(t)
	arrived, release := make(chan struct{}, 20), make(chan struct{})
	a.set(func(a *api) {
		a.token = func(w http.ResponseWriter, r *http.Request) {
			arrived <- struct{}{}
			<-release
			answer(w, 200, `{"access_token":"CANARY-token-1","expires_in":3600,"token_type":"Bearer"}`)
		}
	})
	c := a.client(t, nil)
	// The first caller leaves: the fetch belongs to nobody.
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() { _, err := c.Sessions(ctx, "u1"); left <- err }()
	<-arrived
	cancel()
	if err := <-left; !errors.Is(err, management.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("the one who left: got %v", err)
	}
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			if _, err := c.Sessions(t.Context(), "u1"); err != nil {
				t.Errorf("got %v", err)
			}
		})
	}
	close(release)
	wait.Wait()
	if got := a.tokens.Load(); got != 1 {
		t.Errorf("got %d token calls, want 1", got)
	}
}

// Somebody who left began a fetch that fails: who came meanwhile has one of their own, all together.
func TestTokenOfAFetchThatFails(t *testing.T) {
	t.Parallel()
	a := serve(t)
	arrived, release := make(chan struct{}, 20), make(chan struct{})
	a.set(func(a *api) {
		a.token = func(w http.ResponseWriter, r *http.Request) {
			if a.tokens.Load() > 1 {
				answer(w, 200, fmt.Sprintf(`{"access_token":"CANARY-token-%d","expires_in":3600,"token_type":"Bearer"}`, a.tokens.Load()))
				return
			}
			arrived <- struct{}{}
			<-release
			panic(http.ErrAbortHandler)
		}
	})
	c := a.client(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() { _, err := c.Sessions(ctx, "u1"); left <- err }()
	<-arrived
	cancel()
	<-left
	var wait sync.WaitGroup
	for range 5 {
		wait.Go(func() {
			if _, err := c.Sessions(t.Context(), "u1"); err != nil {
				t.Errorf("got %v", err)
			}
		})
	}
	close(release)
	wait.Wait()
	if got := a.tokens.Load(); got != 2 {
		t.Errorf("got %d token calls, want 2", got)
	}
}

func TestTokenIsRenewedOnce(t *testing.T) {
	t.Parallel()
	a := serve(t)
	c := a.client(t, nil)
	if _, err := c.Sessions(t.Context(), "u1"); err != nil {
		t.Fatal(err)
	}
	a.tokens.Add(1) // Logto no longer takes the first one
	if _, err := c.Sessions(t.Context(), "u1"); err != nil {
		t.Errorf("with a token that is no longer taken: got %v", err)
	}
	a.set(func(a *api) {
		a.handler = func(w http.ResponseWriter, r *http.Request) { answer(w, 401, `{"code":"auth.unauthorized"}`) }
	})
	before, calls := a.tokens.Load(), len(a.seen())
	var refused *management.RefusedError
	if _, err := c.Sessions(t.Context(), "u1"); !errors.As(err, &refused) || refused.Status != 401 || refused.Code != "auth.unauthorized" {
		t.Errorf("never taken: got %v, want 401 auth.unauthorized", err)
	}
	if got := a.tokens.Load() - before; got != 1 {
		t.Errorf("got %d more token calls, want 1", got)
	}
	if got := len(a.seen()) - calls; got != 2 {
		t.Errorf("got %d more calls, want 2", got)
	}
}

func TestTrouble(t *testing.T) {
	t.Parallel()
	say := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { answer(w, status, body) }
	}
	hang := func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}
	slowly := func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"sessions":[`)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
	away := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://127.0.0.1:1/CANARY")
		w.WriteHeader(302)
	}
	for name, tt := range map[string]struct {
		token, api http.HandlerFunc
		refused    *management.RefusedError // nil: ErrUnavailable
	}{
		"wrong secret":              {token: say(401, `{"code":"oidc.invalid_client","error":"invalid_client","error_description":"CANARY"}`), refused: &management.RefusedError{Call: "token", Status: 401, Code: "invalid_client"}},
		"only OAuth's error":        {token: say(400, `{"error":"invalid_target","error_description":"CANARY"}`), refused: &management.RefusedError{Call: "token", Status: 400, Code: "invalid_target"}},
		"no scope":                  {api: say(403, `{"code":"auth.forbidden","message":"CANARY"}`), refused: &management.RefusedError{Call: "sessions", Status: 403, Code: "auth.forbidden"}},
		"an older Logto":            {api: say(404, `CANARY`), refused: &management.RefusedError{Call: "sessions", Status: 404}},
		"a code that is no word":    {api: say(400, `{"code":"CANARY code","error":{"CANARY":1}}`), refused: &management.RefusedError{Call: "sessions", Status: 400}},
		"an endless code":           {api: say(400, `{"code":"`+strings.Repeat("CANARY", 20)+`"}`), refused: &management.RefusedError{Call: "sessions", Status: 400}},
		"an endless word":           {api: say(400, `{"code":"`+strings.Repeat("a", 65)+`"}`), refused: &management.RefusedError{Call: "sessions", Status: 400}},
		"token endpoint redirects":  {token: away, refused: &management.RefusedError{Call: "token"}},
		"API redirects":             {api: away, refused: &management.RefusedError{Call: "sessions"}},
		"token answer is HTML":      {token: say(200, `<html>CANARY`), refused: &management.RefusedError{Call: "token", Status: 200}},
		"token answer has no token": {token: say(200, `{"token_type":"Bearer"}`), refused: &management.RefusedError{Call: "token", Status: 200}},
		"token breaks the header":   {token: say(200, `{"access_token":"CANARY\r\nX: y","token_type":"Bearer"}`), refused: &management.RefusedError{Call: "token", Status: 200}},
		"token of another kind":     {token: say(200, `{"access_token":"CANARY","token_type":"DPoP"}`), refused: &management.RefusedError{Call: "token", Status: 200}},
		"API answers HTML":          {api: say(200, `<html>CANARY`), refused: &management.RefusedError{Call: "sessions", Status: 200}},
		"API answers a list":        {api: say(200, `[]`), refused: &management.RefusedError{Call: "sessions", Status: 200}},
		"API answers no sessions":   {api: say(200, `{}`), refused: &management.RefusedError{Call: "sessions", Status: 200}},
		"uid is a number":           {api: say(200, `{"sessions":[{"payload":{"uid":1}}]}`), refused: &management.RefusedError{Call: "sessions", Status: 200}},
		"API answers too much":      {api: say(200, `{"sessions":[{"x":"`+strings.Repeat("a", 2<<20)+`"}]}`), refused: &management.RefusedError{Call: "sessions", Status: 200}},
		"token endpoint is down":    {token: say(503, `CANARY`)},
		"too many token calls":      {token: say(429, `{"code":"CANARY"}`)},
		"API is down":               {api: say(500, `{"code":"CANARY"}`)},
		"too many calls":            {api: say(429, `{"code":"CANARY"}`)},
		"token endpoint hangs":      {token: hang},
		"API hangs":                 {api: hang},
		"API hangs in the body":     {api: slowly},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := serve(t)
			a.set(func(a *api) { a.token, a.handler = tt.token, tt.api })
			c := a.client(t, func(c *management.Config) {
				if tt.refused == nil {
					c.Timeout = 300 * time.Millisecond
				}
			})
			_, err := c.Sessions(t.Context(), "u1")
			if err == nil || strings.Contains(err.Error(), "CANARY") {
				t.Fatalf("got %v, want an error that quotes nothing", err)
			}
			var refused *management.RefusedError
			switch {
			case tt.refused == nil:
				if !errors.Is(err, management.ErrUnavailable) || errors.As(err, &refused) {
					t.Errorf("got %v, want ErrUnavailable", err)
				}
			case !errors.As(err, &refused) || errors.Is(err, management.ErrUnavailable):
				t.Errorf("got %v, want a refusal", err)
			case refused.Call != tt.refused.Call || refused.Status != tt.refused.Status || refused.Code != tt.refused.Code:
				t.Errorf("got %+v, want %+v", refused, tt.refused)
			case errors.Is(err, outbound.ErrTooLarge) != strings.HasSuffix(name, "too much"):
				t.Errorf("got %v", err)
			}
		})
	}
}

// A Logto that was away is asked again by the next call: no failure is kept.
func TestRecovers(t *testing.T) {
	t.Parallel()
	a := serve(t)
	a.set(func(a *api) { a.token = func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(502) } })
	c := a.client(t, nil)
	if _, err := c.Sessions(t.Context(), "u1"); !errors.Is(err, management.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	a.set(func(a *api) { a.token = nil })
	if _, err := c.Sessions(t.Context(), "u1"); err != nil {
		t.Errorf("once Logto is back: got %v", err)
	}
	a.Close()
	if _, err := c.Sessions(t.Context(), "u1"); !errors.Is(err, management.ErrUnavailable) || strings.Contains(err.Error(), "CANARY") {
		t.Errorf("nobody listens: got %v, want ErrUnavailable", err)
	}
}
