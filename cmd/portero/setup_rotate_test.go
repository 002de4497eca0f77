package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"portero/internal/demo/tenant"
	"portero/internal/gatewaytest"
	"portero/internal/logto"
)

// The exit codes of a rotation that a gateway does not follow, of one that is completed, and of nothing to complete.
func TestRotateSecret(t *testing.T) {
	t.Parallel()
	const first = "FirstSecretOfTheApplication00000"
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte(first), 0o600); err != nil {
		t.Fatal(err)
	}
	k := gatewaytest.NewTenant(t, gatewaytest.TenantOptions{Prepare: func(k *tenant.Tenant) {
		k.Add(tenant.Application{ID: "app", Name: "Wiki", Type: "Traditional", RedirectURIs: []string{"https://wiki.example.com/callback"}}, first)
	}})
	var old atomic.Bool // a gateway that does not tell which secret it uses
	old.Store(true)
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/status" || r.Header.Get("Authorization") != "Bearer "+gatewaytest.AdminToken {
			t.Errorf("got %s with %q", r.URL, r.Header.Get("Authorization"))
		}
		if old.Load() {
			fmt.Fprint(w, `{"status":"ok"}`)
			return
		}
		text, err := os.ReadFile(secret)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, `{"status":"ok","logto":{"app_id":"app","app_secret":%q,"app_secret_used":true}}`, logto.Fingerprint("app", strings.TrimSpace(string(text))))
	}))
	t.Cleanup(admin.Close)
	file := filepath.Join(dir, "portero.yaml")
	text := fmt.Sprintf("external_url: https://wiki.example.com\nadmin: {listen: %q, token: %s}\nupstream: http://127.0.0.1:1\nemail_domains: [example.com]\nsession: {store: memory}\n"+
		"logto: {endpoint: %q, app_id: app, app_secret_file: secret, management: {app_id: %s, app_secret: %s}}\n",
		strings.TrimPrefix(admin.URL, "http://"), gatewaytest.AdminToken, k.URL, k.ManagementID, k.ManagementSecret)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	rotate := func(want int, says string, args ...string) {
		t.Helper()
		code, stdout, stderr := command(t, append([]string{"setup", "rotate-secret", "--config", file}, args...)...)
		if code != want || !strings.Contains(stdout+stderr, says) {
			t.Errorf("%q: got code %d and\n%s%s\nwant %d and %q", args, code, stdout, stderr, want, says)
		}
		now, err := os.ReadFile(secret)
		if err != nil || !k.Tenant.Authenticates("app", strings.TrimSpace(string(now))) {
			t.Errorf("%q: the file does not hold a secret that Logto takes", args)
		}
		for _, value := range []string{first, strings.TrimSpace(string(now))} {
			if strings.Contains(stdout+stderr, value) {
				t.Errorf("%q: a secret was printed", args)
			}
		}
	}
	rotate(exitOK, "nothing to finish", "--finish")
	rotate(exitWork, "portero setup rotate-secret --finish", "--yes")
	if !k.Tenant.Authenticates("app", first) {
		t.Fatal("the old secret was removed though no gateway said that it may go")
	}
	old.Store(false)
	rotate(exitOK, "Logto has removed the secret Default secret.", "--finish", "--admin", admin.URL, "--admin", admin.URL)
	if k.Tenant.Authenticates("app", first) {
		t.Error("the old secret is good still")
	}
	rotate(exitOK, "nothing to finish", "--finish")
	rotate(exitOK, "The secret is rotated.", "--yes")
}
