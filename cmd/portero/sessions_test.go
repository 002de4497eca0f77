package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"portero/internal/gateway"
	"portero/internal/gatewaytest"
)

// configAt writes a configuration whose admin listener is at an address.
func configAt(t *testing.T, admin, more string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "portero.yaml")
	text := fmt.Sprintf("admin: {listen: %q%s}\nupstream: http://127.0.0.1:1\nemail_domains: [example.com]\n"+
		"logto: {endpoint: https://tenant.logto.app/, app_id: abc, app_secret: canary-of-the-secret}\n", admin, more)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// command runs portero and returns its exit code and what it printed.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

// office is a running gateway with Ana in two browsers and Ben in one, and a configuration that reaches it.
func office(t *testing.T) (rig *gatewaytest.Rig, file string, in func() string) {
	t.Helper()
	rig = gatewaytest.New(t, nil)
	browsers := map[string]*gatewaytest.Browser{}
	names := []string{"ana-home", "ana-work", "ben-home"}
	for _, name := range names {
		who, _, _ := strings.Cut(name, "-")
		rig.Issuer.Do(func(i *gatewaytest.Issuer) {
			i.Person = map[string]any{"sub": who, "email": who + "@example.com", "email_verified": true, "sid": name}
		})
		browsers[name] = rig.SignedIn(t, "/")
	}
	in = func() string {
		var still []string
		for _, name := range names {
			if browsers[name].Get(rig.URL+"/_portero/session").StatusCode == http.StatusOK {
				still = append(still, name)
			}
		}
		return strings.Join(still, " ")
	}
	return rig, configAt(t, rig.Gateway.AdminAddr().String(), ", token: "+gatewaytest.AdminToken), in
}

func TestSessionsList(t *testing.T) {
	t.Parallel()
	_, file, _ := office(t)
	for name, tt := range map[string]struct {
		args []string
		rows int
		want string
		errs string
	}{
		"all":           {nil, 3, "ana@example.com  localhost  Firefox on Linux  20", ""},
		"by address":    {[]string{"--email", "ana@example.com"}, 2, "ana@example.com", ""},
		"by person":     {[]string{"--subject", "ben"}, 1, "ben@example.com", ""},
		"by browser":    {[]string{"--sid", "ana-work"}, 1, "ana@example.com", ""},
		"by host":       {[]string{"--host", "127.0.0.1"}, 0, "", ""},
		"combined":      {[]string{"--sid", "ana-work", "--subject", "ben"}, 0, "", ""},
		"not all":       {[]string{"--limit", "2"}, 2, "", "There may be more"},
		"as many as is": {[]string{"--limit", "3"}, 3, "", ""},
	} {
		code, out, errs := command(t, append([]string{"sessions", "list", "--config", file}, tt.args...)...)
		lines := strings.Split(strings.TrimRight(out, "\n"), "\n")
		if code != 0 || len(lines) != tt.rows+1 || strings.Join(strings.Fields(lines[0]), " ") != "ID EMAIL HOST DEVICE SIGNED IN LAST USED" ||
			!strings.Contains(out, tt.want) || (tt.errs == "") != (errs == "") || !strings.Contains(errs, tt.errs) {
			t.Errorf("%s: got code %d\n%s%s", name, code, out, errs)
		}
		code, out, _ = command(t, append([]string{"sessions", "list", "--json", "--config", file}, tt.args...)...)
		var got struct{ Sessions []map[string]any }
		if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || got.Sessions == nil || len(got.Sessions) != tt.rows {
			t.Errorf("%s as JSON: got code %d, %v\n%s", name, code, err, out)
		}
		for _, s := range got.Sessions {
			if len(s) != 11 {
				t.Errorf("%s: got the fields %v", name, s)
			}
		}
	}
}

func TestSessionsRevoke(t *testing.T) {
	t.Parallel()
	idOf := func(t *testing.T, file, sid string) string {
		_, out, _ := command(t, "sessions", "list", "--json", "--config", file, "--sid", sid)
		var got struct{ Sessions []struct{ ID string } }
		if err := json.Unmarshal([]byte(out), &got); err != nil || len(got.Sessions) != 1 {
			t.Fatalf("listing %s: %v\n%s", sid, err, out)
		}
		return got.Sessions[0].ID
	}
	for name, tt := range map[string]struct {
		args []string // HOME and WORK are ids of Ana's
		code int
		out  string
		left string
		errs string
	}{
		"one":                  {[]string{"--id", "WORK", "--yes"}, 0, "1 session ended\n", "ana-home ben-home", ""},
		"two":                  {[]string{"--id", "WORK", "--id", "HOME", "--yes"}, 0, "2 sessions ended\n", "ben-home", ""},
		"one that is unknown":  {[]string{"--id", "AAAAAAAAAAAA", "--id", "HOME", "--yes"}, 1, "1 session ended\n", "ana-work ben-home", "no live session has the id AAAAAAAAAAAA\nhint: portero sessions list\n"},
		"a person":             {[]string{"--subject", "ana", "--yes"}, 0, "2 sessions ended\n", "ben-home", ""},
		"an address":           {[]string{"--email", "ana@example.com", "--yes"}, 0, "2 sessions ended\n", "ben-home", ""},
		"a browser":            {[]string{"--sid", "ana-home", "--yes"}, 0, "1 session ended\n", "ana-work ben-home", ""},
		"all":                  {[]string{"--all", "--yes"}, 0, "3 sessions ended\n", "", ""},
		"all, as JSON":         {[]string{"--all", "--yes", "--json"}, 0, "{\"revoked\":3}\n", "", ""},
		"nobody's":             {[]string{"--subject", "carol", "--yes"}, 0, "0 sessions ended\n", "ana-home ana-work ben-home", ""},
		"nobody can be asked":  {[]string{"--all"}, 2, "", "ana-home ana-work ben-home", "add --yes"},
		"which":                {[]string{"--yes"}, 2, "", "ana-home ana-work ben-home", "exactly one of --id, --subject, --email, --sid and --all"},
		"two ways":             {[]string{"--all", "--subject", "ana", "--yes"}, 2, "", "ana-home ana-work ben-home", "exactly one of"},
		"an empty address":     {[]string{"--email", "", "--yes"}, 2, "", "ana-home ana-work ben-home", "--email is empty"},
		"an argument":          {[]string{"ana@example.com", "--yes"}, 2, "", "ana-home ana-work ben-home", "unknown command"},
		"a filter of the list": {[]string{"--host", "localhost", "--yes"}, 2, "", "ana-home ana-work ben-home", "unknown flag"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, file, in := office(t)
			args := []string{"sessions", "revoke", "--config", file}
			for _, a := range tt.args {
				switch a {
				case "HOME":
					a = idOf(t, file, "ana-home")
				case "WORK":
					a = idOf(t, file, "ana-work")
				}
				args = append(args, a)
			}
			code, out, errs := command(t, args...)
			if code != tt.code || out != tt.out || !strings.Contains(errs, tt.errs) || tt.errs == "" && errs != "" {
				t.Errorf("got code %d, %q and %q; want %d, %q and %q", code, out, errs, tt.code, tt.out, tt.errs)
			}
			if got := in(); got != tt.left {
				t.Errorf("signed in are %q, want %q", got, tt.left)
			}
		})
	}
}

// fakeAdmin answers as an admin listener, and gives its address.
func fakeAdmin(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestSessionsFindTheGateway(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	closed.Close()
	answering := func(status int, body string) func(*testing.T) string {
		return func(t *testing.T) string {
			return fakeAdmin(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status); io.WriteString(w, body) })
		}
	}
	const token = "the-token-of-the-file-that-is-long-enough"
	for name, tt := range map[string]struct {
		address func(*testing.T) string
		file    bool // the token is in the file
		code    int
		want    []string
	}{
		"it does not run":   {func(*testing.T) string { return nobody }, true, 1, []string{"no gateway answers at http://" + nobody, "hint: start it with portero serve and the same --config"}},
		"no token":          {func(*testing.T) string { return nobody }, false, 1, []string{"no admin token at ", ".token", "hint: start the gateway"}},
		"its token":         {answering(200, `{"sessions":[],"next":""}`), true, 0, []string{"ID"}},
		"another's token":   {answering(401, "the admin token is needed"), true, 1, []string{"does not take the admin token of ", "hint: name the configuration"}},
		"another host":      {answering(403, "this host may not"), true, 1, []string{"answered 403: Forbidden"}},
		"an older gateway":  {answering(404, "404 page not found"), true, 1, []string{"has no /api/sessions", "hint: "}},
		"without its store": {answering(503, `{"error":"unavailable","message":"the session store does not answer\u001b[2J"}`), true, 1, []string{"answered 503: the session store does not answer?[2J"}},
		"another program":   {answering(200, "<html>"), true, 1, []string{"did not answer as a gateway does"}},
		"a redirect is no answer": {func(t *testing.T) string {
			return fakeAdmin(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "http://"+nobody, http.StatusFound) })
		}, true, 1, []string{"answered 302"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := tt.address(t)
			file := configAt(t, address, "")
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				t.Fatal(err)
			}
			if tt.file {
				var number int
				fmt.Sscan(port, &number)
				if err := os.WriteFile(gateway.TokenFile(filepath.Dir(file), number), []byte(token+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			code, out, errs := command(t, "sessions", "list", "--config", file)
			if code != tt.code {
				t.Errorf("got code %d, want %d", code, tt.code)
			}
			for _, want := range tt.want {
				if !strings.Contains(out+errs, want) {
					t.Errorf("%q is not in %q", want, out+errs)
				}
			}
			if strings.Contains(out+errs, token) || strings.ContainsRune(out+errs, '\x1b') {
				t.Errorf("printed %q", out+errs)
			}
		})
	}
}

// Answers come in pages; a call to end sessions is repeated until all has been looked at.
func TestSessionsFollowPages(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var asked []string
	address := fakeAdmin(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		asked = append(asked, r.Method+" "+r.URL.RawQuery+string(body))
		n := len(asked)
		mu.Unlock()
		if r.Header.Get("Authorization") != "Bearer "+gatewaytest.AdminToken {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next := []string{"", "a b", "c", ""}[n]
		one := fmt.Sprintf(`{"id":"id%d","email":"a\u001b[2J\u202e","host":"","device":"Firefox on Linux","created_at":"2026-11-22T07:40:01Z","last_used_at":"2026-11-22T07:40:01Z"}`, n)
		if n == 2 { // a page may be empty before the last
			one = ""
		}
		fmt.Fprintf(w, `{"sessions":[%s],"revoked":%d,"next":%q}`, one, n, next)
	})
	file := configAt(t, address, ", token: "+gatewaytest.AdminToken)
	code, out, errs := command(t, "sessions", "list", "--config", file, "--email", "a@example.com")
	const want = "ID   EMAIL   HOST  DEVICE            SIGNED IN          LAST USED\n" +
		"id1  a?[2J?  -     Firefox on Linux  2026-11-22T07:40Z  2026-11-22T07:40Z\n" +
		"id3  a?[2J?  -     Firefox on Linux  2026-11-22T07:40Z  2026-11-22T07:40Z\n"
	if code != 0 || out != want || errs != "" {
		t.Errorf("got code %d\n%s%s\nwant\n%s", code, out, errs, want)
	}
	asked = nil
	code, out, errs = command(t, "sessions", "revoke", "--config", file, "--all", "--yes")
	if code != 0 || out != "6 sessions ended\n" || errs != "" {
		t.Errorf("got code %d\n%s%s", code, out, errs)
	}
	if got, want := strings.Join(asked, "\n"), "POST {\"all\":true}\nPOST {\"all\":true,\"cursor\":\"a b\"}\nPOST {\"all\":true,\"cursor\":\"c\"}"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestConfirmed(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]bool{"y\n": true, "Y\n": true, "yes\n": true, "yes": true, "\n": false, "": false, "n\n": false, "yep\n": false, "all\ny\n": false} {
		var out bytes.Buffer
		if got := confirmed(strings.NewReader(answer), &out, "End 2 sessions?"); got != want || !strings.HasPrefix(out.String(), "End 2 sessions? [y/N] ") {
			t.Errorf("%q: got %v, %q", answer, got, out.String())
		}
	}
}

func TestQuestion(t *testing.T) {
	t.Parallel()
	_, file, _ := office(t)
	cmd := listSessionsCommand()
	cmd.SetContext(context.Background())
	cmd.Flags().String("config", "", "")
	if err := cmd.Flags().Set("config", file); err != nil {
		t.Fatal(err)
	}
	admin, err := adminFor(cmd)
	if err != nil {
		t.Fatal(err)
	}
	for want, tt := range map[string]struct {
		query map[string][]string
		ids   []string
		all   bool
	}{
		"End 2 sessions?": {nil, []string{"a", "b"}, false},
		"End all sessions of the subject ana (2 sessions)?":          {map[string][]string{"subject": {"ana"}}, nil, false},
		"End all sessions of the email ben@example.com (1 session)?": {map[string][]string{"email": {"ben@example.com"}}, nil, false},
		"End all sessions of everybody (3 sessions)?":                {nil, nil, true},
	} {
		if got, err := admin.question(t.Context(), tt.query, tt.ids, tt.all); err != nil || got != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
}
