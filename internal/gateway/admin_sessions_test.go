package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// adminAsk asks the admin listener with its token.
func adminAsk(t testing.TB, rig *gatewaytest.Rig, method, path, contentType, body string) *gatewaytest.Response {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+rig.Gateway.AdminAddr().String()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+gatewaytest.AdminToken)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	r := gatewaytest.NewBrowser(t, nil).Do(req)
	if got := r.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("%s %s: got the content type %q, want JSON\n%s", method, path, got, r.Text)
	}
	if got := r.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("%s %s: got Cache-Control %q", method, path, got)
	}
	return r
}

type listed struct {
	ID, Subject, Email, Host, Device, SID string
	UserAgent                             string    `json:"user_agent"`
	CreatedAt                             time.Time `json:"created_at"`
	LastUsedAt                            time.Time `json:"last_used_at"`
	IdleEndsAt                            time.Time `json:"idle_ends_at"`
	EndsAt                                time.Time `json:"ends_at"`
}

// list follows the pages of a query.
func list(t testing.TB, rig *gatewaytest.Rig, q url.Values) []listed {
	t.Helper()
	var all []listed
	for pages := 0; ; pages++ {
		r := adminAsk(t, rig, "GET", "/api/sessions?"+q.Encode(), "", "")
		var page struct {
			Sessions []listed
			Next     string
		}
		if err := json.Unmarshal([]byte(r.Text), &page); err != nil || r.StatusCode != http.StatusOK || page.Sessions == nil || pages > 100 {
			t.Fatalf("%s: got %s, %v\n%s", q.Encode(), r.Status, err, r.Text)
		}
		if q.Get("limit") == "2" && len(page.Sessions) > 2 {
			t.Errorf("%s: got %d sessions", q.Encode(), len(page.Sessions))
		}
		all = append(all, page.Sessions...)
		if page.Next == "" {
			return all
		}
		q = url.Values{"cursor": {page.Next}, "limit": q["limit"], "subject": q["subject"], "email": q["email"], "sid": q["sid"], "host": q["host"], "id": q["id"]}
	}
}

func TestAdminListsSessions(t *testing.T) {
	t.Parallel()
	f := newFamily(t, nil)
	all := list(t, f.Rig, url.Values{})
	if len(all) != 5 {
		t.Fatalf("got %d sessions, want five", len(all))
	}
	workID := ids(t, f.work, f.URL)[0]
	work := all[slices.IndexFunc(all, func(s listed) bool { return s.ID == workID })]
	if work.Subject != "alice" || work.Email != "alice@example.com" || work.Host != "localhost" || work.Device != "Firefox on Linux" ||
		work.SID != "work" || !strings.HasPrefix(work.UserAgent, "Mozilla/5.0 (X11") {
		t.Errorf("got %+v", work)
	}
	if got, want := work.CreatedAt, f.signedInAt.Add(3*time.Minute); !got.Equal(want) || !work.LastUsedAt.After(got.Add(-time.Second)) {
		t.Errorf("created: got %s, want %s; last used %s", got, want, work.LastUsedAt)
	}
	if got := work.EndsAt.Sub(work.CreatedAt); got != 336*time.Hour {
		t.Errorf("ends after %s", got)
	}
	if got := work.IdleEndsAt.Sub(work.LastUsedAt); got != 24*time.Hour {
		t.Errorf("idles after %s", got)
	}
	for i, s := range all[1:] {
		if s.LastUsedAt.After(all[i].LastUsedAt) {
			t.Error("the newest use is not the first")
		}
	}
	for _, tt := range []struct {
		query string
		want  int
	}{
		{"subject=alice", 4}, {"subject=Alice", 0}, {"subject=ali", 0}, {"email=alice@example.com", 4}, {"email=ALICE@Example.com", 4}, {"email=alice@example", 0},
		{"sid=home", 2}, {"sid=hom", 0}, {"host=127.0.0.1", 1}, {"host=localhost", 4}, {"id=" + workID, 1}, {"id=" + workID[:11], 0},
		{"subject=alice&host=localhost", 3}, {"sid=home&host=127.0.0.1", 1}, {"sid=home&subject=bob", 0}, {"email=bob@example.com&subject=bob&sid=bobs", 1},
		{"id=" + workID + "&subject=bob", 0}, {"id=" + workID + "&email=alice@example.com", 1}, {"id=" + workID + "&email=bob@example.com", 0},
	} {
		for _, limit := range []string{"", "&limit=1", "&limit=2", "&limit=500"} {
			q, err := url.ParseQuery(tt.query + limit)
			if err != nil {
				t.Fatal(err)
			}
			seen := map[string]bool{}
			for _, s := range list(t, f.Rig, q) {
				seen[s.ID] = true
			}
			if len(seen) != tt.want {
				t.Errorf("%s%s: got %d, want %d", tt.query, limit, len(seen), tt.want)
			}
		}
	}
}

func TestAdminRevokes(t *testing.T) {
	t.Parallel()
	const asJSON, asForm = "application/json", "application/x-www-form-urlencoded"
	for name, tt := range map[string]struct {
		kind, body string // WORK is the id of the session at work
		revoked    int
		left       []string
		stale      bool // Alice at home is asked for a code
	}{
		"one by id":               {asJSON, `{"id":"WORK"}`, 1, []string{"home", "second host", "phone", "bob"}, false},
		"one by id, as a form":    {asForm, "id=WORK", 1, []string{"home", "second host", "phone", "bob"}, false},
		"an unknown id":           {asJSON, `{"id":"AAAAAAAAAAAA"}`, 0, []string{"home", "second host", "phone", "work", "bob"}, false},
		"a person":                {asJSON, `{"subject":"alice"}`, 4, []string{"bob"}, true},
		"a person who has none":   {asJSON, `{"subject":"carol"}`, 0, []string{"home", "second host", "phone", "work", "bob"}, false},
		"an address":              {asForm, "email=Alice%40example.com", 4, []string{"bob"}, true},
		"a browser":               {asJSON + "; charset=utf-8", `{"sid":"home"}`, 2, []string{"phone", "work", "bob"}, true},
		"everybody":               {asJSON, `{"all":true}`, 5, nil, true},
		"everybody, as a form":    {asForm, "all=true", 5, nil, true},
		"by the browser of a bob": {asForm, "sid=bobs", 1, []string{"home", "second host", "phone", "work"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFamily(t, nil)
			body := strings.ReplaceAll(tt.body, "WORK", ids(t, f.work, f.URL)[0])
			r := adminAsk(t, f.Rig, "POST", "/api/sessions/revoke", tt.kind, body)
			var answer map[string]any
			if err := json.Unmarshal([]byte(r.Text), &answer); err != nil || r.StatusCode != http.StatusOK || answer["revoked"] != float64(tt.revoked) || len(answer) != 1 {
				t.Errorf("got %s %s, want %d revoked", r.Status, r.Text, tt.revoked)
			}
			f.wantIn("afterwards", tt.left...)
			if got := strings.Count(f.Log.String(), `"action":"session-ended"`); got != tt.revoked {
				t.Errorf("the audit log has %d of them, want %d", got, tt.revoked)
			}
			if tt.revoked > 0 && !strings.Contains(f.Log.String(), `"reason":"operator"`) {
				t.Error("the audit log does not say that an operator did it")
			}
			if !tt.stale {
				return
			}
			// Logto's own sessions live: whichever browser comes back is asked for a code.
			for _, sid := range []string{"home", "another"} {
				f.person("alice", sid)
				f.Issuer.Do(func(i *gatewaytest.Issuer) { i.AuthTime = f.signedInAt })
				b := f.Browser(t)
				if got := wantToLogto(t, f.Rig, b.Get(atLogto(t, f.Rig, b, f.URL+"/x"))).Get("prompt"); got != "login consent" {
					t.Errorf("sid %s: prompt %q, want login consent", sid, got)
				}
			}
		})
	}
}

// What is ended by an operator takes its refresh token with it.
func TestAdminRevokesRefreshTokens(t *testing.T) {
	t.Parallel()
	f := newFamily(t, nil)
	adminAsk(t, f.Rig, "POST", "/api/sessions/revoke", "application/json", `{"subject":"alice"}`)
	until(t, "Alice's four refresh tokens are taken back", func() bool { return len(f.Issuer.Revoked()) == 4 })
}

func TestAdminSessionsRefuses(t *testing.T) {
	t.Parallel()
	f := newFamily(t, nil)
	const path, asJSON, asForm = "/api/sessions/revoke", "application/json", "application/x-www-form-urlencoded"
	for name, tt := range map[string]struct {
		method, path, kind, body string
		status                   int
	}{
		"no content type":      {"POST", path, "", `{"all":true}`, 415},
		"a script's text":      {"POST", path, "text/plain", `{"all":true}`, 415},
		"multipart":            {"POST", path, "multipart/form-data; boundary=x", "--x--", 415},
		"nothing":              {"POST", path, asJSON, "", 400},
		"an empty object":      {"POST", path, asJSON, "{}", 400},
		"null":                 {"POST", path, asJSON, "null", 400},
		"a list":               {"POST", path, asJSON, `[{"all":true}]`, 400},
		"two objects":          {"POST", path, asJSON, `{"all":true}{"all":true}`, 400},
		"two ways":             {"POST", path, asJSON, `{"subject":"alice","sid":"home"}`, 400},
		"all but not":          {"POST", path, asJSON, `{"all":false}`, 400},
		"all as a text":        {"POST", path, asJSON, `{"all":"true"}`, 400},
		"an unknown field":     {"POST", path, asJSON, `{"all":true,"host":"localhost"}`, 400},
		"a number":             {"POST", path, asJSON, `{"id":1}`, 400},
		"an empty subject":     {"POST", path, asForm, "subject=", 400},
		"all is no":            {"POST", path, asForm, "all=no", 400},
		"twice":                {"POST", path, asForm, "id=a&id=b", 400},
		"an unknown parameter": {"POST", path, asForm, "host=localhost", 400},
		"in the query":         {"POST", path + "?all=true", asForm, "id=x", 400},
		"too large":            {"POST", path, asJSON, `{"id":"` + strings.Repeat("a", 70<<10) + `"}`, 413},
		"limit of nothing":     {"GET", "/api/sessions?limit=0", "", "", 400},
		"limit that is high":   {"GET", "/api/sessions?limit=501", "", "", 400},
		"limit in words":       {"GET", "/api/sessions?limit=ten", "", "", 400},
		"unknown filter":       {"GET", "/api/sessions?mail=a", "", "", 400},
		"an empty filter":      {"GET", "/api/sessions?email=", "", "", 400},
		"a filter twice":       {"GET", "/api/sessions?email=a&email=b", "", "", 400},
		"a query that is none": {"GET", "/api/sessions?a;b", "", "", 400},
	} {
		r := adminAsk(t, f.Rig, tt.method, tt.path, tt.kind, tt.body)
		var said struct{ Error, Message string }
		if err := json.Unmarshal([]byte(r.Text), &said); err != nil || r.StatusCode != tt.status || said.Error == "" || said.Message == "" {
			t.Errorf("%s: got %s %s, want %d and why", name, r.Status, r.Text, tt.status)
		}
	}
	f.wantIn("after all of these", "home", "second host", "phone", "work", "bob")

	// What keeps others from the admin listener keeps them from this.
	address := "http://" + f.Gateway.AdminAddr().String()
	for name, tt := range map[string]struct {
		header map[string]string
		status int
	}{
		"no token":     {nil, 401},
		"wrong token":  {map[string]string{"Authorization": "Bearer x"}, 401},
		"another site": {map[string]string{"Authorization": "Bearer " + gatewaytest.AdminToken, "Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403},
	} {
		for _, call := range [][2]string{{"GET", "/api/sessions"}, {"POST", path}} {
			req, err := http.NewRequest(call[0], address+call[1], strings.NewReader("all=true"))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", asForm)
			for k, v := range tt.header {
				req.Header.Set(k, v)
			}
			if r := gatewaytest.NewBrowser(t, nil).Do(req); r.StatusCode != tt.status || strings.Contains(r.Text, "alice") {
				t.Errorf("%s, %s: got %s, want %d", name, call[1], r.Status, tt.status)
			}
		}
	}
	f.wantIn("after all of these", "home", "second host", "phone", "work", "bob")
}

func TestAdminSessionsWithoutTheStore(t *testing.T) {
	t.Parallel()
	rig, store := storeRig(t, gatewaytest.Options{})
	b := rig.SignedIn(t, "/")
	store.fails.Store(true)
	for _, call := range [][2]string{{"GET", ""}, {"POST", `{"all":true}`}, {"POST", `{"subject":"t8x4l8ohti1t"}`}, {"POST", `{"sid":"sid-1"}`}, {"POST", `{"id":"a"}`}} {
		path := "/api/sessions"
		if call[0] == "POST" {
			path += "/revoke"
		}
		r := adminAsk(t, rig, call[0], path, "application/json", call[1])
		if r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(r.Text, `"error": "unavailable"`) || r.Header.Get("Retry-After") == "" {
			t.Errorf("%s %s: got %s %s", call[0], call[1], r.Status, r.Text)
		}
	}
	store.fails.Store(false)
	adminAsk(t, rig, "POST", "/api/sessions/revoke", "application/json", `{"all":true}`)
	if hasSessionNow(b, rig.URL) {
		t.Error("still signed in")
	}
}

// The work of one call is bounded: what is left over is told by `next`.
func TestAdminRevokesPageByPage(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, &gatewaytest.Options{Log: "level: error"})
	const people = 600
	for i := range people {
		rig.Issuer.Do(func(is *gatewaytest.Issuer) {
			is.Person = map[string]any{"sub": fmt.Sprintf("p%d", i), "email": "shared@example.com", "email_verified": true}
		})
		rig.SignedIn(t, "/")
	}
	for _, tt := range []struct{ field, value string }{{"email", `"shared@example.com"`}, {"all", "true"}} {
		before := rig.Sessions(t)
		total, cursor, calls := 0, "", 0
		for ; ; calls++ {
			r := adminAsk(t, rig, "POST", "/api/sessions/revoke", "application/json", fmt.Sprintf(`{%q:%s,"cursor":%q}`, tt.field, tt.value, cursor))
			var answer struct {
				Revoked int
				Next    string
			}
			if err := json.Unmarshal([]byte(r.Text), &answer); err != nil || r.StatusCode != http.StatusOK {
				t.Fatalf("got %s %s", r.Status, r.Text)
			}
			if answer.Revoked > 500 {
				t.Errorf("%d at once", answer.Revoked)
			}
			total += answer.Revoked
			if cursor = answer.Next; cursor == "" {
				break
			}
		}
		if total != before || rig.Sessions(t) != 0 {
			t.Errorf("by %s: %d revoked in %d calls, %d rows left; want %d and none", tt.field, total, calls+1, rig.Sessions(t), before)
		}
		rig.SignedIn(t, "/")
	}
}
