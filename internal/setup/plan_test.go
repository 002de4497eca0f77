package setup_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"portero/internal/config"
	"portero/internal/setup"
)

var update = flag.Bool("update", false, "write the golden plans")

// The secrets of the tests. None may ever be printed.
const (
	apiKey       = "canary-key-52c7a1"
	clientSecret = "canarysecret0123456789abcdefghij"
	m2mSecret    = "canary-m2m-9d1e"
)

// load reads a configuration for setup. CLIENT-SECRET, API-KEY and M2M-SECRET stand for the secrets.
func load(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, err := config.Load(config.Options{Path: "portero.yaml", Text: []byte(secrets.Replace(text)), WorkDir: "/etc/portero", Setup: true})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

var secrets = strings.NewReplacer("API-KEY", apiKey, "CLIENT-SECRET", clientSecret, "M2M-SECRET", m2mSecret)

// recording is a tenant that answers as it is written down, and takes no change.
// :: path → answer
func recording(t *testing.T, text []byte) *httptest.Server {
	t.Helper()
	var answers map[string]json.RawMessage
	if err := json.Unmarshal([]byte(secrets.Replace(string(text))), &answers); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		path := strings.TrimPrefix(r.URL.Path, "/api/")
		answer, known := answers[path]
		switch {
		case r.URL.Path == "/oidc/token":
			w.Write([]byte(`{"access_token":"token","token_type":"Bearer","expires_in":3600}`))
		case r.Method != http.MethodGet:
			t.Errorf("%s %s: a plan changes something", r.Method, r.URL.Path)
		case known:
			w.Write(answer)
		case path == "roles" || path == "resources" || path == "connectors" || path == "applications":
			w.Write([]byte("[]"))
		default:
			w.WriteHeader(http.StatusNotFound)
			w.Write([]byte(`{"code":"entity.not_exists_with_id","message":"does not exist"}`))
		}
	}))
	t.Cleanup(server.Close)
	return server
}

// TestPlans has each plan in a file: the configuration, what the tenant answers, and the plan as text and as JSON, with
// and without --prune.
func TestPlans(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/plan/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no plans: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := map[string][]byte{}
			for _, f := range archive.Files {
				parts[f.Name] = f.Data
			}
			server := recording(t, parts["tenant.json"])
			cfg := load(t, strings.ReplaceAll(string(parts["portero.yaml"]), "https://tenant.logto.app/", server.URL))
			m, err := setup.NewClient(cfg)
			if err != nil {
				t.Fatal(err)
			}
			d := setup.NewDesired(cfg)
			s, err := setup.Read(t.Context(), m, d)
			if err != nil {
				t.Fatal(err)
			}
			for i, f := range archive.Files {
				p := setup.NewPlan(d, s, setup.Options{Prune: strings.HasPrefix(f.Name, "prune")})
				var got []byte
				switch filepath.Ext(f.Name) {
				case ".txt":
					got = []byte(p.String())
					for _, problem := range p.Problems {
						got = fmt.Appendf(got, "problem: %s: %s\n", problem.Key, problem.Message)
					}
				case ".json":
					if f.Name == "tenant.json" {
						continue
					}
					if got, err = json.MarshalIndent(p, "", "  "); err != nil {
						t.Fatal(err)
					}
					got = append(bytes.ReplaceAll(bytes.ReplaceAll(got, []byte(`\u003c`), []byte("<")), []byte(`\u003e`), []byte(">")), '\n')
				default:
					continue
				}
				for _, secret := range []string{apiKey, clientSecret, m2mSecret} {
					if bytes.Contains(got, []byte(secret)) {
						t.Errorf("%s has the secret %s", f.Name, secret)
					}
				}
				if *update {
					archive.Files[i].Data = got
				} else if diff := cmp.Diff(string(f.Data), string(got)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", f.Name, diff)
				}
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
