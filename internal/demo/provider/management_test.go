package provider_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"portero/internal/demo/provider"
)

// managementToken asks for a token of the management client.
func (w *world) managementToken(scope string) string {
	w.t.Helper()
	got := w.token(url.Values{"grant_type": {"client_credentials"}, "resource": {"https://default.logto.app/api"}, "scope": {scope}}, "m2m", "m2m-secret")
	if got.Status != 200 {
		w.t.Fatalf("asking for a management token: %+v", got)
	}
	return got.AccessToken
}

// manage calls the Management API; into may be nil.
func (w *world) manage(method, path, authorization string, into any) int {
	w.t.Helper()
	req, err := http.NewRequest(method, w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(body, into); err != nil {
			w.t.Fatalf("%s %s answered %d %q: %v", method, path, resp.StatusCode, body, err)
		}
	}
	return resp.StatusCode
}

type listed struct {
	Sessions []struct {
		ExpiresAt int64
		ClientID  string
		AccountID string
		Payload   struct {
			Exp, Iat, LoginTs         int64
			JTI, UID, Kind, AccountID string
			Authorizations            map[string]struct {
				SID, GrantID   string
				PersistsLogout bool
			}
		}
	}
}

func (w *world) sessions(subject string) listed {
	w.t.Helper()
	var got listed
	if status := w.manage("GET", "/api/users/"+subject+"/sessions", "Bearer "+w.managementToken("all"), &got); status != 200 {
		w.t.Fatalf("listing sessions: got %d", status)
	}
	return got
}

func TestManagementRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	person := w.browser().signedIn("ann@example.com")
	expired := w.managementToken("all")
	w.clock.Advance(59 * time.Minute)
	all := w.managementToken("all")
	w.clock.Advance(2 * time.Minute) // expired has run out
	for name, tt := range map[string]struct {
		authorization string
		status        int
		code          string
	}{
		"no token":                {"", 401, "auth.authorization_header_missing"},
		"the client's secret":     {"Basic bTJtOm0ybS1zZWNyZXQ=", 401, "auth.authorization_token_type_not_supported"},
		"garbage":                 {"Bearer garbage", 401, "auth.unauthorized"},
		"no scope":                {"Bearer " + w.managementToken("some"), 403, "auth.forbidden"},
		"a person's access token": {"Bearer " + person.AccessToken, 401, "auth.unauthorized"},
		"a person's ID token":     {"Bearer " + person.IDToken, 401, "auth.unauthorized"},
		"changed":                 {"Bearer " + all[:len(all)-8] + "AAAAAAAA", 401, "auth.unauthorized"},
		"unsigned":                {"Bearer eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + strings.Split(all, ".")[1] + ".", 401, "auth.unauthorized"},
		"expired":                 {"Bearer " + expired, 401, "auth.unauthorized"},
	} {
		for _, method := range []string{"GET", "DELETE"} {
			var got struct{ Code, Message string }
			path := "/api/users/u/sessions"
			if method == "DELETE" {
				path += "/x"
			}
			if status := w.manage(method, path, tt.authorization, &got); status != tt.status || got.Code != tt.code || got.Message == "" {
				t.Errorf("%s, %s: got %d %+v, want %d %s", name, method, status, got, tt.status, tt.code)
			}
		}
	}
	bearer := "Bearer " + all
	var got struct{ Code string }
	if status := w.manage("DELETE", "/api/users/u/sessions/x", bearer, &got); status != 404 || got.Code != "oidc.session_not_found" {
		t.Errorf("unknown session: got %d %s", status, got.Code)
	}
	if status := w.manage("DELETE", "/api/users/u/sessions/x?revokeGrantsTarget=some", bearer, &got); status != 400 || got.Code != "guard.invalid_input" {
		t.Errorf("unknown target: got %d %s", status, got.Code)
	}
	if n := len(w.sessions("nobody").Sessions); n != 0 {
		t.Errorf("nobody has %d sessions", n)
	}
	alone := newWorld(t, func(c *provider.Config) { c.ManagementID, c.ManagementSecret = "", "" })
	if status := alone.manage("GET", "/api/users/u/sessions", bearer, nil); status != 404 {
		t.Errorf("without a management client: got %d, want 404", status)
	}
}

func TestManagementSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	first, second := w.browser(), w.browser()
	started := w.clock.Now()
	a := first.signedIn("ann@example.com")
	w.clock.Advance(time.Minute)
	b := second.signedIn("ann@example.com")
	w.browser().signedIn("ben@example.com")
	claims := w.claims(a.IDToken)
	subject := claims["sub"].(string)
	got := w.sessions(subject).Sessions
	if len(got) != 2 {
		t.Fatalf("got %d sessions, want Ann's two", len(got))
	}
	newest, oldest := got[0], got[1]
	for _, one := range []struct {
		what      string
		got, want any
	}{
		{"sid of the oldest", oldest.Payload.Authorizations[appID].SID, claims["sid"]},
		{"sid of the newest", newest.Payload.Authorizations[appID].SID, w.claims(b.IDToken)["sid"]},
		{"account", []string{oldest.AccountID, oldest.Payload.AccountID}, []string{subject, subject}},
		{"kind", oldest.Payload.Kind, "Session"},
		{"client", oldest.ClientID, appID},
		{"login", oldest.Payload.LoginTs, started.Unix()},
		{"end in both units", oldest.ExpiresAt / 1000, oldest.Payload.Exp},
		{"length of ids", []int{len(oldest.Payload.UID), len(oldest.Payload.JTI), len(oldest.Payload.Authorizations[appID].GrantID)}, []int{43, 43, 43}},
		{"persists", oldest.Payload.Authorizations[appID].PersistsLogout, true},
	} {
		if d := cmp.Diff(one.got, one.want); d != "" {
			t.Errorf("%s: got -, want +:\n%s", one.what, d)
		}
	}

	// Signing in again in a browser keeps the name of its session.
	w.clock.Advance(time.Minute)
	first.signIn("ann@example.com", w.authorization(map[string]string{"prompt": "login consent"}))
	if again := w.sessions(subject).Sessions; len(again) != 2 || again[0].Payload.UID != oldest.Payload.UID {
		t.Errorf("after signing in again: got %+v, want the same two, %s first", again, oldest.Payload.UID)
	}
}

func TestManagementEndsASession(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		query     string
		refreshes int // status of a refresh afterwards
	}{{"", 200}, {"?revokeGrantsTarget=all", 400}, {"?revokeGrantsTarget=firstParty", 400}} {
		told := newReceiver(t)
		w := newWorld(t, func(c *provider.Config) { c.BackchannelURI = told.URL })
		ann, other := w.browser(), w.browser()
		mine, theirs := ann.signedIn("ann@example.com"), other.signedIn("ann@example.com")
		subject, sid := w.claims(mine.IDToken)["sub"].(string), w.claims(mine.IDToken)["sid"]
		var uid string
		for _, s := range w.sessions(subject).Sessions {
			if s.Payload.Authorizations[appID].SID == sid {
				uid = s.Payload.UID
			}
		}
		bearer := "Bearer " + w.managementToken("all")
		if status := w.manage("DELETE", "/api/users/somebody/sessions/"+uid+row.query, bearer, nil); status != 404 {
			t.Errorf("%q: another person's: got %d, want 404", row.query, status)
		}
		for _, want := range []int{204, 404} {
			if status := w.manage("DELETE", "/api/users/"+subject+"/sessions/"+uid+row.query, bearer, nil); status != want {
				t.Errorf("%q: got %d, want %d", row.query, status, want)
			}
		}
		if got := w.refresh(mine.RefreshToken); got.Status != row.refreshes {
			t.Errorf("%q: refresh: got %d, want %d", row.query, got.Status, row.refreshes)
		}
		if got := w.refresh(theirs.RefreshToken); got.Status != 200 {
			t.Errorf("%q: refresh of the other browser: got %d, want 200", row.query, got.Status)
		}
		if got := ann.open(w.authorization(map[string]string{"prompt": "none"})).location(t).Query().Get("error"); got != "login_required" {
			t.Errorf("%q: silent sign-in: got %q, want login_required", row.query, got)
		}
		mails := w.mails()
		ann.signIn("ann@example.com", w.authorization(nil))
		if w.mails() != mails+1 {
			t.Errorf("%q: the next sign-in did not ask for a code", row.query)
		}
		if got := other.do("GET", w.authorization(nil), nil).location(t).Query().Get("code"); got == "" {
			t.Errorf("%q: the other browser is no longer signed in", row.query)
		}
		if got := told.take(); len(got) != 0 {
			t.Errorf("%q: %d logout tokens were sent, want none", row.query, len(got))
		}
	}
}
