package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"portero/internal/config"
)

const management = ", management: {app_id: m2m, app_secret: " + canary + "}"

// What setup makes may be missing, and only then; what it needs may not.
func TestConfigurationForSetup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := func(content string) string {
		f, err := os.CreateTemp(dir, "secret")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(content); err != nil {
			t.Fatal(err)
		}
		return f.Name()
	}
	nowhere := filepath.Join(dir, "nowhere")
	for name, tt := range map[string]struct {
		logto string
		setup string // beginning of the problem for setup; "": none
		serve string // and for everything else
		want  string // the secret
	}{
		"nothing of the application": {"", "", "portero.yaml:3: logto.app_id: is missing", ""},
		"app_id alone":               {", app_id: abc", "", "portero.yaml:3: logto.app_secret: is missing", ""},
		"secret not there yet":       {", app_id: abc, app_secret_file: " + nowhere, "", "portero.yaml:3: logto.app_secret_file: ", ""},
		"secret empty":               {", app_id: abc, app_secret_file: " + secret("\n"), "", "portero.yaml:3: logto.app_secret_file: ", ""},
		"secret there":               {", app_id: abc, app_secret_file: " + secret(canary+"\n"), "", "", canary},
		"secret is an example":       {", app_id: abc, app_secret_file: " + secret("changeme"), "portero.yaml:3: logto.app_secret_file: ", "portero.yaml:3: logto.app_secret_file: ", ""},
		"secret is a folder":         {", app_id: abc, app_secret_file: " + dir, "portero.yaml:3: logto.app_secret_file: ", "portero.yaml:3: logto.app_secret_file: ", ""},
		"secret twice":               {", app_secret: " + canary + ", app_secret_file: " + nowhere, "portero.yaml:3: logto.app_secret_file: is there together", "portero.yaml:3: logto.app_secret_file: is there together", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := with("logto: {endpoint: https://t.logto.app/" + tt.logto + management + "}")
			for _, mode := range []struct {
				setup   bool
				problem string
			}{{true, tt.setup}, {false, tt.serve}} {
				c, err := config.Load(config.Options{Path: "portero.yaml", Text: []byte(text), WorkDir: dir, Setup: mode.setup})
				if mode.problem != "" {
					wantProblem(t, err, mode.problem)
					continue
				}
				if err != nil {
					t.Errorf("setup %v: %v", mode.setup, err)
					continue
				}
				if got := c.Logto.AppSecret.Reveal(); got != tt.want {
					t.Errorf("setup %v: got secret %q, want %q", mode.setup, got, tt.want)
				}
			}
		})
	}
}

func TestSetupNeedsTheManagementAPI(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		management string
		problem    string
		parts      []string
	}{
		"nothing":   {"", "portero.yaml:3: logto.management.app_id: is missing", []string{"Machine-to-machine", `"Logto Management API access"`, "PORTERO_LOGTO_MANAGEMENT_APP_ID"}},
		"id alone":  {", management: {app_id: m2m}", "portero.yaml:3: logto.management.app_secret: is missing", []string{"app_secret_file"}},
		"no id":     {", management: {app_secret: " + canary + "}", "portero.yaml:3: logto.management.app_id: is missing", nil},
		"file gone": {", management: {app_id: m2m, app_secret_file: nowhere}", "portero.yaml:3: logto.management.app_secret_file: ", []string{"there is no such file"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := with("logto: {endpoint: https://t.logto.app/, app_id: abc, app_secret: " + canary + tt.management + "}")
			_, err := config.Load(config.Options{Path: "portero.yaml", Text: []byte(text), WorkDir: t.TempDir(), Setup: true})
			wantProblem(t, err, tt.problem, tt.parts...)
		})
	}
}

// Logto Cloud names the Management API after the tenant, every other Logto by one name.
func TestManagementResource(t *testing.T) {
	t.Parallel()
	for endpoint, want := range map[string]string{
		"https://t.logto.app/":             "https://t.logto.app/api",
		"https://T.LOGTO.app":              "https://t.logto.app/api",
		"https://auth.example.com/":        "https://default.logto.app/api",
		"https://logto.app/":               "https://default.logto.app/api",
		"https://a.b.logto.app/":           "https://default.logto.app/api",
		"https://t.logto.app.example.com/": "https://default.logto.app/api",
		"https://tlogto.app/":              "https://default.logto.app/api",
	} {
		c, err := config.Load(config.Options{Path: "portero.yaml", Text: []byte(with("logto: {endpoint: " + endpoint + ", app_id: abc, app_secret: " + canary + management + "}")), WorkDir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Logto.Management.Resource; got != want {
			t.Errorf("%s: got %s, want %s", endpoint, got, want)
		}
	}
}
