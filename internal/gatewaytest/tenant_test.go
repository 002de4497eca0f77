package gatewaytest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"portero/internal/gatewaytest"
)

// managed asks a tenant as its management client does, and returns the status and the body.
func managed(t *testing.T, k *gatewaytest.Tenant, method, path, body string) (int, map[string]any) {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {"https://default.logto.app/api"}, "scope": {"all"}}
	req, err := http.NewRequest("POST", k.URL+"/oidc/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(k.ManagementID, k.ManagementSecret)
	token := struct {
		Access string `json:"access_token"`
	}{}
	if status := ask(t, req, &token); status != 200 {
		t.Fatalf("asking for a token: got %d", status)
	}
	if req, err = http.NewRequest(method, k.URL+path, strings.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.Access)
	req.Header.Set("Content-Type", "application/json")
	var got any
	status := ask(t, req, &got)
	o, _ := got.(map[string]any)
	return status, o
}

func ask(t *testing.T, req *http.Request, into any) int {
	t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.Header.Get("Content-Type") != "" {
		if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
			t.Fatal(err)
		}
	}
	return resp.StatusCode
}

const createApplication = `{"name":"a","type":"Traditional","oidcClientMetadata":{"redirectUris":[],"postLogoutRedirectUris":[]}}`

func TestTenant(t *testing.T) {
	t.Parallel()
	k := gatewaytest.NewTenant(t, gatewaytest.TenantOptions{})
	status, made := managed(t, k, "POST", "/api/applications", createApplication)
	if status != 200 || made["type"] != "Traditional" {
		t.Fatalf("creating an application: got %d %v, want 200", status, made)
	}
	k.Hook(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch {
			return false
		}
		w.WriteHeader(http.StatusBadGateway)
		return true
	})
	path := "/api/applications/" + made["id"].(string)
	if status, _ := managed(t, k, "PATCH", path, `{"name":"b"}`); status != 502 {
		t.Errorf("with a hook that answers: got %d, want 502", status)
	}
	if _, got := managed(t, k, "GET", path, ""); got["name"] != "a" {
		t.Errorf("the tenant took a change that the hook answered: name is %v", got["name"])
	}
	want := []string{"POST /api/applications", "PATCH " + path}
	if diff := cmp.Diff(want, k.Requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestTenantHalf(t *testing.T) {
	t.Parallel()
	k := gatewaytest.NewTenant(t, gatewaytest.TenantOptions{Half: true, Line141: true})
	status, app := managed(t, k, "GET", "/api/applications/"+gatewaytest.HalfID, "")
	if secret, _ := app["secret"].(string); status != 200 || !strings.HasPrefix(secret, "#internal:") {
		t.Errorf("the application: got %d %v, want the internal secret of 1.41", status, app)
	}
	if _, experience := managed(t, k, "GET", "/api/sign-in-exp", ""); !strings.Contains(fmt.Sprint(experience["signIn"]), "username") {
		t.Errorf("people sign in by %v, want username", experience["signIn"])
	}
}

// The n-th change is made and its answer lost; from then on nothing is answered.
func TestTenantKillAfter(t *testing.T) {
	t.Parallel()
	k := gatewaytest.NewTenant(t, gatewaytest.TenantOptions{})
	if status, _ := managed(t, k, "POST", "/api/applications", createApplication); status != 200 {
		t.Fatalf("got %d, want 200", status)
	}
	k.KillAfter(1)
	req, err := http.NewRequest("POST", k.URL+"/api/applications", nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
			resp.Body.Close()
			t.Errorf("after the last change: got %s, want no answer", resp.Status)
		}
	}
	k.KillAfter(-1)
	if status, _ := managed(t, k, "GET", "/api/applications", ""); status != 200 {
		t.Errorf("revived: got %d, want 200", status)
	}
	if diff := cmp.Diff([]string{"POST /api/applications", "POST /api/applications"}, k.Requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// What sign-in pages are told is told to everybody.
func TestTenantTellsHowPeopleSignIn(t *testing.T) {
	t.Parallel()
	k := gatewaytest.NewTenant(t, gatewaytest.TenantOptions{})
	for path, want := range map[string]int{"/api/.well-known/sign-in-exp": 200, "/api/sign-in-exp": 401} {
		resp, err := http.Get(k.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		var got struct{ SignInMode string }
		err = json.NewDecoder(resp.Body).Decode(&got)
		resp.Body.Close()
		if resp.StatusCode != want || err != nil || want == 200 && got.SignInMode != "SignInAndRegister" {
			t.Errorf("%s without a token: got %d, mode %q and error %v, want %d", path, resp.StatusCode, got.SignInMode, err, want)
		}
	}
}
