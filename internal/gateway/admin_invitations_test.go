package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// inviter is the part of Logto's Management API that makes one-time tokens, at the issuer of a test.
type inviter struct {
	mu     sync.Mutex
	asked  []map[string]any                                  // bodies, oldest first
	answer func(w http.ResponseWriter, r *http.Request) bool // nil, or false: a token
}

// oneTimeToken is the token of every invitation of a test.
const oneTimeToken = "one-time-token-of-a-test-0000001"

// withInviter gives the rig's options an issuer that makes one-time tokens.
func withInviter(t testing.TB, o gatewaytest.Options) (*gatewaytest.Options, *inviter) {
	t.Helper()
	n := &inviter{}
	o.Issuer = gatewaytest.NewIssuer(t)
	o.Issuer.Do(func(i *gatewaytest.Issuer) { i.Answer = n.serve })
	o.Management = "app_id: m2m, app_secret: secret-of-the-machine"
	return &o, n
}

func (n *inviter) serve(w http.ResponseWriter, r *http.Request) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	management := strings.HasPrefix(r.URL.Path, "/api/") || r.URL.Path == "/oidc/token" && r.Form.Get("grant_type") == "client_credentials"
	if !management {
		return false
	}
	if n.answer != nil && n.answer(w, r) {
		return true
	}
	w.Header().Set("Content-Type", "application/json")
	switch r.Method + " " + r.URL.Path {
	case "POST /oidc/token":
		fmt.Fprint(w, `{"access_token":"access-token-of-the-machine","expires_in":3600,"token_type":"Bearer","scope":"all"}`)
	case "POST /api/one-time-tokens":
		var body map[string]any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return true
		}
		n.asked = append(n.asked, body)
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"tenantId":"default","id":"t1","email":%q,"token":%q,"context":{},"status":"active","createdAt":1,"expiresAt":2}`, body["email"], oneTimeToken)
	default:
		http.NotFound(w, r)
	}
	return true
}

func (n *inviter) bodies() []map[string]any {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}

type invited struct {
	Link, Email, To, App  string
	Error, Field, Message string
	ExpiresAt             time.Time `json:"expires_at"`
}

// invite asks for an invitation.
func invite(t testing.TB, rig *gatewaytest.Rig, email, to, expires string) (int, invited) {
	t.Helper()
	body := map[string]string{"email": email, "to": to}
	if expires != "" {
		body["expires"] = expires
	}
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	r := adminAsk(t, rig, "POST", "/api/invitations", "application/json", string(text))
	var got invited
	if err := json.Unmarshal([]byte(r.Text), &got); err != nil {
		t.Fatalf("got %s: %v\n%s", r.Status, err, r.Text)
	}
	return r.StatusCode, got
}

// linkTo is the link of an invitation that is good for a week.
func linkTo(t testing.TB, rig *gatewaytest.Rig, email, to string) string {
	t.Helper()
	status, got := invite(t, rig, email, to, "")
	if status != http.StatusCreated {
		t.Fatalf("got %d: %+v", status, got)
	}
	return got.Link
}

func TestInvite(t *testing.T) {
	t.Parallel()
	clock := gatewaytest.NewClock()
	o, logto := withInviter(t, gatewaytest.Options{Clock: clock})
	rig := gatewaytest.New(t, o)
	long := strings.Repeat("q", 800)
	for _, tt := range []struct {
		name, email, to, expires string
		address, page, app       string // "": as asked
		life                     time.Duration
	}{
		{"plain", "ann@example.com", rig.URL + "/handbook?x=1", "", "", "", "Wiki", 7 * 24 * time.Hour},
		{"days", "ann@example.com", rig.URL + "/", "30d", "", "", "Wiki", 30 * 24 * time.Hour},
		{"one minute", "ann@example.com", rig.URL + "/", "1m", "", "", "Wiki", time.Minute},
		{"hours", "ann@example.com", rig.URL + "/", "36h30m", "", "", "Wiki", 36*time.Hour + 30*time.Minute},
		{"parts of a second", "ann@example.com", rig.URL + "/", "90.9s", "", "", "Wiki", 90 * time.Second},
		{"another route", "ann@example.com", rig.URL + "/admin", "", "", "", "Administration", 7 * 24 * time.Hour},
		{"another host", "ann@example.com", rig.Second + "/x", "", "", "", "Second", 7 * 24 * time.Hour},
		{"host in capitals", "ann@example.com", strings.Replace(rig.URL, "localhost", "LocalHost", 1) + "/x", "", "", rig.URL + "/x", "Wiki", 7 * 24 * time.Hour},
		{"scheme in capitals", "ann@example.com", strings.Replace(rig.URL, "http", "HTTP", 1) + "/x", "", "", rig.URL + "/x", "Wiki", 7 * 24 * time.Hour},
		{"no path", "ann@example.com", rig.URL, "", "", rig.URL + "/", "Wiki", 7 * 24 * time.Hour},
		{"query alone", "ann@example.com", rig.URL + "?a=b", "", "", rig.URL + "/?a=b", "Wiki", 7 * 24 * time.Hour},
		{"fragment", "ann@example.com", rig.URL + "/app#/page/2", "", "", "", "Wiki", 7 * 24 * time.Hour},
		{"encoded letters", "ann@example.com", rig.URL + "/caf%C3%A9?q=a%20b", "", "", "", "Wiki", 7 * 24 * time.Hour},
		{"long page", "ann@example.com", rig.URL + "/x?" + long, "", "", "", "Wiki", 7 * 24 * time.Hour},
		{"capitals", "Ann.Lee@Example.COM", rig.URL + "/", "", "ann.lee@example.com", "", "Wiki", 7 * 24 * time.Hour},
		{"plus", "ann+wiki@example.com", rig.URL + "/", "", "", "", "Wiki", 7 * 24 * time.Hour},
		{"apostrophe", "o'hara&sons@example.com", rig.URL + "/", "", "", "", "Wiki", 7 * 24 * time.Hour},
		{"international domain", "ana@münchen.example", rig.URL + "/", "", "", "", "Wiki", 7 * 24 * time.Hour},
		{"its ASCII form", "ana@xn--mnchen-3ya.example", rig.URL + "/", "", "", "", "Wiki", 7 * 24 * time.Hour},
		{"international name", "josé@example.com", rig.URL + "/", "", "", "", "Wiki", 7 * 24 * time.Hour},
		{"longest", strings.Repeat("a", 60) + "@" + strings.Repeat("b", 55) + ".example.com", rig.URL + "/", "", "", "", "Wiki", 7 * 24 * time.Hour},
	} {
		status, got := invite(t, rig, tt.email, tt.to, tt.expires)
		if tt.address == "" {
			tt.address = tt.email
		}
		if tt.page == "" {
			tt.page = tt.to
		}
		if status != http.StatusCreated || got.Email != tt.address || got.To != tt.page || got.App != tt.app || !got.ExpiresAt.Equal(clock.Now().Add(tt.life)) {
			t.Errorf("%s: got %d, %+v", tt.name, status, got)
			continue
		}
		origin := rig.URL
		if strings.HasPrefix(tt.page, rig.Second) {
			origin = rig.Second
		}
		u, err := url.Parse(got.Link)
		if err != nil || !strings.HasPrefix(got.Link, origin+"/_portero/invitation?i=") || len(u.Query()) != 1 || len(got.Link) > 2000 {
			t.Errorf("%s: got the link %s, %v", tt.name, got.Link, err)
		}
		for _, secret := range []string{oneTimeToken, tt.address, "handbook"} {
			if strings.Contains(got.Link, secret) {
				t.Errorf("%s: %q can be read in the link", tt.name, secret)
			}
		}
		asked := logto.bodies()
		if last := asked[len(asked)-1]; last["email"] != tt.address || last["expiresIn"] != tt.life.Seconds() || len(last) != 2 {
			t.Errorf("%s: Logto was asked for %v", tt.name, last)
		}
	}
	for what, text := range map[string]string{"token": oneTimeToken, "secret": "secret-of-the-machine", "query": "x=1"} {
		if strings.Contains(rig.Log.String(), text) {
			t.Errorf("the %s is in the log", what)
		}
	}
}

func TestInviteRefuses(t *testing.T) {
	t.Parallel()
	o, logto := withInviter(t, gatewaytest.Options{})
	rig := gatewaytest.New(t, o)
	good, page := "ann@example.com", rig.URL+"/"
	port := rig.URL[strings.LastIndexByte(rig.URL, ':'):]
	for _, tt := range []struct{ name, email, to, expires, field, says string }{
		{"no address", "", page, "", "email", "is missing"},
		{"no at", "ann.example.com", page, "", "email", "is no address"},
		{"two ats", "ann@evil@example.com", page, "", "email", "is no address"},
		{"nobody", "@example.com", page, "", "email", "is no address"},
		{"nowhere", "ann@", page, "", "email", "is no address"},
		{"a name", "Ann <ann@example.com>", page, "", "email", "is no address"},
		{"two addresses", "ann@example.com,bob@example.com", page, "", "email", "is no address"},
		{"two addresses in one", "bob,ann@example.com", page, "", "email", "before the @"},
		{"a header", "ann@example.com\r\nBcc: eve@evil.example", page, "", "email", "is no address"},
		{"a header in the name", "ann\r\nBcc:eve@evil.example", page, "", "email", "is no address"},
		{"a line end", "ann@example.com\n", page, "", "email", "is no address"},
		{"NUL", "ann\x00@example.com", page, "", "email", "is no address"},
		{"a tab", "ann\t@example.com", page, "", "email", "is no address"},
		{"a blank", "ann lee@example.com", page, "", "email", "is no address"},
		{"a quoted name", `"ann"@example.com`, page, "", "email", "before the @"},
		{"a comment", "ann(x)@example.com", page, "", "email", "before the @"},
		{"angle brackets", "<ann@example.com>", page, "", "email", "before the @"},
		{"markup", "<b>ann</b>@example.com", page, "", "email", "before the @"},
		{"markup in the domain", "ann@<script>.example.com", page, "", "email", "no domain"},
		{"a backslash", `ann\@example.com`, page, "", "email", "before the @"},
		{"dots", "ann..lee@example.com", page, "", "email", "before the @"},
		{"a dot first", ".ann@example.com", page, "", "email", "before the @"},
		{"a dot last", "ann@example.com.", page, "", "email", "no domain"},
		{"no dot", "ann@localhost", page, "", "email", "no domain"},
		{"a machine", "ann@127.0.0.1", page, "", "email", "number"},
		{"a machine in brackets", "ann@[127.0.0.1]", page, "", "email", "no domain"},
		{"a dash first", "ann@-x.example", page, "", "email", "no domain"},
		{"an override of direction", "ann\u202e@example.com", page, "", "email", "before the @"},
		{"an invisible character", "ann\u200b@example.com", page, "", "email", "before the @"},
		{"a line separator", "ann\u2028@example.com", page, "", "email", "is no address"},
		{"a full-width at", "ann\uff20example.com", page, "", "email", "is no address"},
		{"a full-width name", "\uff41nn@example.com", page, "", "email", "stand for others"},
		{"a full-width domain", "ann@\uff45xample.com", page, "", "email", "under another name"},
		{"a Kelvin sign", "ann@example.co\u212a", page, "", "email", "under another name"},
		{"a ligature", "ann@\ufb01sh.example", page, "", "email", "under another name"},
		{"capitals beyond ASCII", "ann@M\u00dcNCHEN.example", page, "", "email", "under another name"},
		{"letters and marks apart", "ann@mu\u0308nchen.example", page, "", "email", "under another name"},
		{"an ideographic dot", "ann@example\u3002com", page, "", "email", "no domain"},
		{"a long name", strings.Repeat("a", 65) + "@example.com", page, "", "email", "before the @"},
		{"a long address", strings.Repeat("a", 60) + "@" + strings.Repeat("b", 60) + ".example.com", page, "", "email", "longer than 128 bytes"},

		{"no page", good, "", "", "to", "is missing"},
		{"a path alone", good, "/handbook", "", "to", "does not begin with http://"},
		{"no scheme", good, "localhost" + port + "/", "", "to", "does not begin with http://"},
		{"another scheme", good, "https" + strings.TrimPrefix(rig.URL, "http") + "/", "", "to", "does not begin with http://"},
		{"a script", good, "javascript://localhost" + port + "/%0aalert(1)", "", "to", "does not begin with http://"},
		{"another host", good, "http://evil.example/", "", "to", "on no host of this gateway"},
		{"a host that ends with ours", good, "http://evil-localhost" + port + "/", "", "to", "on no host"},
		{"a host that begins with ours", good, "http://localhost.evil.example" + port + "/", "", "to", "on no host"},
		{"another port", good, "http://localhost:1/", "", "to", "on no host"},
		{"no port", good, "http://localhost/", "", "to", "on no host"},
		{"a user", good, "http://localhost" + port + "@evil.example/", "", "to", "on no host"},
		{"ours behind a user", good, "http://evil.example@localhost" + port + "/", "", "to", "on no host"},
		{"a backslash", good, `http://localhost` + port + `\@evil.example/`, "", "to", "on no host"},
		{"a slash too many", good, "http:///localhost" + port + "/", "", "to", "on no host"},
		{"no host", good, "http://", "", "to", "on no host"},
		{"a dot behind another host", good, "http://evil.example./", "", "to", "on no host"},
		{"a network path", good, rig.URL + "//evil.example/", "", "to", "cannot be come back to"},
		{"a network path by a backslash", good, rig.URL + `/\evil.example/`, "", "to", "cannot be come back to"},
		{"a tab", good, rig.URL + "/\t/evil.example/", "", "to", "cannot be come back to"},
		{"a line end", good, rig.URL + "/x\r\nLocation: http://evil.example", "", "to", "cannot be come back to"},
		{"a blank", good, rig.URL + "/a b", "", "to", "cannot be come back to"},
		{"letters beyond ASCII", good, rig.URL + "/café", "", "to", "cannot be come back to"},
		{"dot segments", good, rig.URL + "/public/../admin", "", "to", "cannot be come back to"},
		{"encoded dot segments", good, rig.URL + "/public/%2e%2e/admin", "", "to", "cannot be come back to"},
		{"the sign-in", good, rig.URL + "/sign-in?return_to=/", "", "to", "endpoint of Portero"},
		{"the sign-out", good, rig.URL + "/sign-out", "", "to", "endpoint of Portero"},
		{"the callback", good, rig.URL + "/callback?code=x", "", "to", "endpoint of Portero"},
		{"the own page", good, rig.URL + "/_portero/", "", "to", "endpoint of Portero"},
		{"the prefix", good, rig.URL + "/_portero", "", "to", "endpoint of Portero"},
		{"another invitation", good, rig.URL + "/_portero/invitation?i=x", "", "to", "endpoint of Portero"},
		{"the sign-out with a slash", good, rig.URL + "/sign-out/", "", "to", "endpoint of Portero"},
		{"the prefix, encoded", good, rig.URL + "/%5fportero/sign-out", "", "to", "endpoint of Portero"},
		{"an encoded slash", good, rig.URL + "/a%2fb", "", "to", "is refused"},
		{"a closed route", good, rig.URL + "/closed", "", "to", "closed to everybody"},
		{"too long for a cookie", good, rig.URL + "/x?" + strings.Repeat("q", 1200), "", "to", "too long to come back to"},
		{"too long", good, rig.URL + "/x?" + strings.Repeat("q", 3000), "", "to", "longer than"},

		{"no unit", good, page, "7", "expires", "is no duration"},
		{"words", good, page, "a week", "expires", "is no duration"},
		{"too short", good, page, "59s", "expires", "between 1m and 30d"},
		{"nothing", good, page, "0d", "expires", "between 1m and 30d"},
		{"the past", good, page, "-7d", "expires", "is no duration"},
		{"the past in hours", good, page, "-1h", "expires", "between 1m and 30d"},
		{"too long a time", good, page, "31d", "expires", "between 1m and 30d"},
		{"a time without an end", good, page, "99999999999999999999d", "expires", "is no duration"},
		{"days and hours", good, page, "1d12h", "expires", "is no duration"},
	} {
		status, got := invite(t, rig, tt.email, tt.to, tt.expires)
		if status != http.StatusBadRequest || got.Error != "bad_request" || got.Field != tt.field || !strings.HasPrefix(got.Message, tt.field+": ") || !strings.Contains(got.Message, tt.says) || got.Link != "" {
			t.Errorf("%s: got %d, %+v", tt.name, status, got)
		}
	}
	for _, tt := range []struct {
		name, contentType, body string
		status                  int
	}{
		{"a form", "application/x-www-form-urlencoded", "email=ann@example.com&to=" + url.QueryEscape(page), http.StatusUnsupportedMediaType},
		{"plain text", "text/plain", `{"email":"ann@example.com"}`, http.StatusUnsupportedMediaType},
		{"nothing", "application/json", "", http.StatusBadRequest},
		{"a list", "application/json", `[]`, http.StatusBadRequest},
		{"an unknown field", "application/json", `{"email":"ann@example.com","to":"` + page + `","token":"x"}`, http.StatusBadRequest},
		{"a number", "application/json", `{"email":"ann@example.com","to":"` + page + `","expires":7}`, http.StatusBadRequest},
		{"something behind", "application/json", `{"email":"ann@example.com","to":"` + page + `"} {}`, http.StatusBadRequest},
		{"an address twice", "application/json", `{"email":"ann@example.com","to":"` + page + `","email":"eve@evil.example"}`, http.StatusBadRequest},
		{"a name in capitals", "application/json", `{"email":"ann@example.com","to":"` + page + `","EMAIL":"eve@evil.example"}`, http.StatusBadRequest},
		{"null", "application/json", `{"email":"ann@example.com","to":"` + page + `","expires":null}`, http.StatusBadRequest},
		{"not UTF-8", "application/json", `{"email":"ann` + "\xff" + `@example.com","to":"` + page + `"}`, http.StatusBadRequest},
		{"too much", "application/json", `{"email":"` + strings.Repeat("a", 20<<10) + `"}`, http.StatusRequestEntityTooLarge},
	} {
		if r := adminAsk(t, rig, "POST", "/api/invitations", tt.contentType, tt.body); r.StatusCode != tt.status || !strings.Contains(r.Text, `"error": "bad_request"`) {
			t.Errorf("%s: got %s\n%s", tt.name, r.Status, r.Text)
		}
	}
	if r := adminAsk(t, rig, "POST", "/api/invitations?to=x", "application/json", `{}`); r.StatusCode != http.StatusBadRequest {
		t.Errorf("a query: got %s", r.Status)
	}
	if got := logto.bodies(); len(got) != 0 {
		t.Errorf("Logto was asked for %v", got)
	}
}

// Only who has the admin token, and no other site, can invite.
func TestInviteIsForOperators(t *testing.T) {
	t.Parallel()
	o, logto := withInviter(t, gatewaytest.Options{})
	rig := gatewaytest.New(t, o)
	body := `{"email":"ann@example.com","to":"` + rig.URL + `/"}`
	admin := "http://" + rig.Gateway.AdminAddr().String()
	for _, tt := range []struct {
		name, method, address, token, site string
		want                               int
	}{
		{"no token", "POST", admin, "", "", http.StatusUnauthorized},
		{"another token", "POST", admin, "x", "", http.StatusUnauthorized},
		{"another site", "POST", admin, gatewaytest.AdminToken, "cross-site", http.StatusForbidden},
		{"a sibling", "POST", admin, gatewaytest.AdminToken, "same-site", http.StatusForbidden},
		{"GET", "GET", admin, gatewaytest.AdminToken, "", http.StatusMethodNotAllowed},
		{"the public listener", "POST", "http://" + rig.Addr, gatewaytest.AdminToken, "", http.StatusMisdirectedRequest},
	} {
		req, err := http.NewRequest(tt.method, tt.address+"/api/invitations", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if tt.name == "the public listener" {
			req.Host = "nobody.example"
		}
		req.Header.Set("Content-Type", "application/json")
		if tt.token != "" {
			req.Header.Set("Authorization", "Bearer "+tt.token)
		}
		if tt.site != "" {
			req.Header.Set("Sec-Fetch-Site", tt.site)
		}
		if r := gatewaytest.NewBrowser(t, nil).Do(req); r.StatusCode != tt.want || strings.Contains(r.Text, "/invitation?") {
			t.Errorf("%s: got %s, want %d\n%s", tt.name, r.Status, tt.want, r.Text)
		}
	}
	if got := logto.bodies(); len(got) != 0 {
		t.Errorf("Logto was asked for %v", got)
	}
}

func TestInviteWithoutLogto(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	status, got := invite(t, rig, "ann@example.com", rig.URL+"/", "")
	if status != http.StatusNotImplemented || got.Error != "not_configured" || got.Field != "logto.management" || !strings.Contains(got.Message, "Management API access") {
		t.Errorf("no management: got %d, %+v", status, got)
	}
	const canary = "canary-of-logtos-answer"
	answer := func(path string, status int, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != path {
				return false
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			fmt.Fprint(w, body)
			return true
		}
	}
	for _, tt := range []struct {
		name   string
		answer func(http.ResponseWriter, *http.Request) bool
		status int
		says   string
	}{
		{"no token for us", answer("/oidc/token", 401, `{"error":"invalid_client","error_description":"`+canary+`"}`), http.StatusBadGateway, "check logto.management"},
		{"no right", answer("/api/one-time-tokens", 403, `{"code":"auth.forbidden","message":"`+canary+`"}`), http.StatusBadGateway, "Management API access"},
		{"an old Logto", answer("/api/one-time-tokens", 404, `{"message":"`+canary+`"}`), http.StatusBadGateway, "too old"},
		{"an address it does not take", answer("/api/one-time-tokens", 400, `{"code":"guard.invalid_input","message":"`+canary+`"}`), http.StatusBadGateway, "no one-time token"},
		{"trouble", answer("/api/one-time-tokens", 500, canary), http.StatusServiceUnavailable, "does not answer"},
		{"too many", answer("/api/one-time-tokens", 429, canary), http.StatusServiceUnavailable, "does not answer"},
		{"a page", answer("/api/one-time-tokens", 201, "<html>"+canary), http.StatusBadGateway, "no one-time token"},
		{"no token in it", answer("/api/one-time-tokens", 201, `{"id":"`+canary+`"}`), http.StatusBadGateway, "no one-time token"},
		{"a huge token", answer("/api/one-time-tokens", 201, `{"token":"`+strings.Repeat(canary, 100)+`"}`), http.StatusBadGateway, "no one-time token"},
	} {
		o, logto := withInviter(t, gatewaytest.Options{})
		logto.answer = tt.answer
		rig := gatewaytest.New(t, o)
		status, got := invite(t, rig, "ann@example.com", rig.URL+"/", "")
		if status != tt.status || !strings.Contains(got.Message, tt.says) || got.Link != "" {
			t.Errorf("%s: got %d, %+v", tt.name, status, got)
		}
		if strings.Contains(got.Message, canary) || strings.Contains(rig.Log.String(), canary) || strings.Contains(rig.Log.String(), "secret-of-the-machine") {
			t.Errorf("%s: what Logto answered is told\n%s", tt.name, rig.Log)
		}
	}
}

func TestInviteIsAudited(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "audit.json")
	o, _ := withInviter(t, gatewaytest.Options{Log: fmt.Sprintf("level: debug, audit_file: %q", file), Clock: gatewaytest.NewClock()})
	rig := gatewaytest.New(t, o)
	link := linkTo(t, rig, "ann@example.com", rig.URL+"/admin/x?secret-query=1")
	asPerson(rig, "ann@example.com")
	b := rig.Browser(t)
	b.Get(answered(t, rig, b, b.Get(link)))
	rig.Browser(t).Get(link + "x")
	rig.Clock.Add(7 * 24 * time.Hour)
	rig.Browser(t).Get(link)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	var line map[string]string
	if err := json.Unmarshal([]byte(lines[0]), &line); err != nil {
		t.Fatal(err)
	}
	delete(line, "time")
	for key, want := range map[string]string{"action": "invitation", "outcome": "made", "route": "admin", "email": "ann@example.com", "client": "127.0.0.1",
		"method": "POST", "host": "localhost", "path": "/admin/x"} {
		if line[key] != want {
			t.Errorf("%s: got %q, want %q", key, line[key], want)
		}
	}
	if len(line) != 8 {
		t.Errorf("got %v", line)
	}
	var rest []string
	for _, text := range lines[1:] {
		var line map[string]string
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		rest = append(rest, line["action"]+" "+line["outcome"]+" "+line["email"]+" "+line["path"])
	}
	want := []string{"sign-in succeeded ann@example.com /callback", "sign-in failed  /_portero/invitation", "invitation over  /_portero/invitation"}
	if !slices.Equal(rest, want) {
		t.Errorf("got the lines %q, want %q", rest, want)
	}
	sealed := strings.SplitAfter(link, "i=")[1]
	for what, secret := range map[string]string{"link": sealed, "part of the link": sealed[20:60], "token": oneTimeToken, "query": "secret-query"} {
		if strings.Contains(string(text), secret) || strings.Contains(rig.Log.String(), secret) {
			t.Errorf("the %s is in the log", what)
		}
	}
}
