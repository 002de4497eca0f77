package provider_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"portero/internal/demo/provider"
	"portero/internal/demo/tenant"
)

// exchange is one request to a running Logto and its answer, as they were recorded; long readmes and logos are cut.
type exchange struct {
	Note    string
	Request struct {
		Method, Path string
		Body         json.RawMessage
	}
	Response struct {
		Status  int
		Headers map[string]string
		Body    any
	}
}

func readExchanges(t *testing.T, name string) []exchange {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []exchange
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e exchange
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	if len(all) < 30 || lines.Err() != nil {
		t.Fatalf("%s has %d exchanges: %v", name, len(all), lines.Err())
	}
	return all
}

// TestRecordedExchanges makes every recorded request again, in its order, and wants the recorded answer: ids, times and secrets by their
// shape, everything else as it is.
func TestRecordedExchanges(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"1.41", "1.42"} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			var note string
			k := tenant.New(tenant.Config{Line141: line == "1.41", Send: func(context.Context, tenant.Mail) error {
				if note == "mail API answers 401" {
					return &tenant.MailError{Status: 401, Body: `{"message": "Forbidden (sink)"}`}
				}
				return nil
			}})
			w := newWorld(t, func(c *provider.Config) { c.Tenant = k })
			all := readExchanges(t, "testdata/management-"+line+".jsonl")
			ids := prepare(t, w, k, all)
			for _, e := range all {
				note = e.Note
				replay(t, w, e, ids, "Bearer "+w.managementToken("all")) // a key may have gone that signed the last one
			}
		})
	}
}

// prepare makes the tenant that the recording begins with. :: recorded id → ours
func prepare(t *testing.T, w *world, k *tenant.Tenant, all []exchange) map[string]string {
	t.Helper()
	recorded := map[string]any{} // :: note → body of the answer
	person := ""
	for _, e := range all {
		recorded[e.Note] = e.Response.Body
		if e.Note == "find a user" {
			person = e.Response.Body.([]any)[0].(map[string]any)["primaryEmail"].(string)
		}
	}
	authorization, ids := "Bearer "+w.managementToken("all"), map[string]string{}
	change := func(method, path string, body any) map[string]any {
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		status, _, got := w.api(method, path, authorization, raw)
		if status > 299 {
			t.Fatalf("%s %s: %d %v", method, path, status, got)
		}
		made, _ := got.(map[string]any)
		return made
	}

	connector := recorded["e-mail connector"].([]any)[0].(map[string]any)
	made := change("POST", "/api/connectors", map[string]any{"connectorId": "mailgun-email", "config": connector["config"]})
	ids[connector["id"].(string)] = made["id"].(string)
	experience := recorded["sign-in experience"].(map[string]any)
	change("PATCH", "/api/sign-in-exp", map[string]any{"signIn": experience["signIn"], "signUp": experience["signUp"]})

	k.Add(tenant.Application{ID: appID, Name: "first", Type: "Traditional"}, appSecret)
	w.browser().signedIn(person)
	change("DELETE", "/api/applications/"+appID, nil)

	for _, one := range recorded["API resources"].([]any) {
		if one := one.(map[string]any); one["id"] != "management-api" {
			change("POST", "/api/resources", map[string]any{"name": one["name"], "indicator": one["indicator"], "accessTokenTtl": one["accessTokenTtl"]})
		}
	}
	role := recorded["roles"].([]any)[0].(map[string]any)
	for _, one := range role["featuredApplications"].([]any) {
		one := one.(map[string]any)
		made := change("POST", "/api/applications", map[string]any{"name": one["name"], "type": one["type"]})
		_, _, roles := w.api("GET", "/api/roles?type=MachineToMachine", authorization, nil)
		change("POST", "/api/applications/"+made["id"].(string)+"/roles", map[string]any{"roleIds": []any{roles.([]any)[0].(map[string]any)["id"]}})
	}

	app := recorded["the application"].(map[string]any)
	made = change("POST", "/api/applications", map[string]any{
		"name": app["name"], "description": app["description"], "type": app["type"], "oidcClientMetadata": app["oidcClientMetadata"],
	})
	ids[app["id"].(string)] = made["id"].(string)
	return ids
}

// replay makes one recorded request and compares the answers. It learns the ids of what is made.
func replay(t *testing.T, w *world, e exchange, ids map[string]string, authorization string) {
	t.Helper()
	switch e.Note {
	case "no token":
		authorization = ""
	case "garbage token":
		authorization = "Bearer garbage"
	}
	where := e.Request.Path
	for theirs, ours := range ids {
		where = strings.ReplaceAll(where, theirs, ours)
	}
	status, header, body := w.api(e.Request.Method, where, authorization, e.Request.Body)
	if status != e.Response.Status {
		t.Errorf("%s: got %d, want %d; %v", e.Note, status, e.Response.Status, body)
	}
	for name, want := range e.Response.Headers {
		got := strings.ReplaceAll(header.Get(name), w.url, "")
		if want = regexp.MustCompile(`http://localhost:\d+`).ReplaceAllString(want, ""); got != want {
			t.Errorf("%s: %s is %q, want %q", e.Note, name, got, want)
		}
	}
	want := e.Response.Body
	if want == "" {
		want = nil
	}
	if made, ok := want.(map[string]any); ok && e.Request.Method == http.MethodPost {
		if got, ok := body.(map[string]any); ok && made["id"] != nil && got["id"] != nil {
			ids[made["id"].(string)] = got["id"].(string)
		}
	}
	if diff := cmp.Diff(shaped("", want), shaped("", body)); diff != "" {
		t.Errorf("%s: %s %s (-want +got):\n%s", e.Note, e.Request.Method, e.Request.Path, diff)
	}
}

// api is one request to the Management API; the body of its answer is nil for none.
func (w *world) api(method, path, authorization string, body []byte) (int, http.Header, any) {
	w.t.Helper()
	var from io.Reader
	if len(body) > 0 && string(body) != "null" {
		from = bytes.NewReader(body)
	}
	req, err := http.NewRequest(method, w.url+path, from)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		w.t.Fatal(err)
	}
	var got any
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &got); err != nil {
			w.t.Fatalf("%s %s answered %d %q: %v", method, path, resp.StatusCode, raw, err)
		}
	}
	return resp.StatusCode, resp.Header, got
}

var madeUp = regexp.MustCompile(`^[a-z0-9]{12}([a-z0-9]{9})?$`)

// shaped puts shapes in place of what is another in each run.
func shaped(name string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		all := map[string]any{}
		for k, value := range v {
			all[k] = shaped(k, value)
		}
		return all
	case []any:
		all := []any{}
		for _, value := range v {
			all = append(all, shaped(name, value))
		}
		return all
	case string:
		switch {
		case name == "applicationId":
			return "id"
		case name == "id" && madeUp.MatchString(v):
			return strings.Repeat("i", len(v))
		case name == "value" || name == "token" || name == "secret":
			return regexp.MustCompile(`[A-Za-z0-9]{32}$`).ReplaceAllString(v, "32 letters and digits")
		case strings.HasPrefix(v, "The applications with ID"):
			return v
		}
	case float64:
		if strings.HasSuffix(name, "At") && v > 1e9 {
			if v > 1e12 {
				return "milliseconds"
			}
			return "seconds"
		}
	}
	return v
}
