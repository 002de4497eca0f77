package explain_test

import (
	"os"
	"strings"
	"testing"

	"portero/internal/config"
	"portero/internal/explain"
	"portero/internal/gateway"
)

// The table of the documentation is one, and comes out as it says.
func TestTableOfTheDocumentation(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/access.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "```yml\n")
	block, _, closed := strings.Cut(after, "```")
	if !found || !closed {
		t.Fatal("docs/access.md has no table")
	}
	table, err := explain.ReadTable([]byte(block))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(config.Options{Path: "portero.yaml", Text: []byte(`
external_url: https://wiki.example.com
session: {store: memory}
logto: {endpoint: https://tenant.logto.app/, app_id: k2x9w4, app_secret: Zq3vT8yN5wR1}
routes:
  - {name: wiki, upstreams: [{url: "http://127.0.0.1:1"}], allow: [{email_domains: [example.com]}]}
  - {name: admin, path: /admin, upstreams: [{url: "http://127.0.0.1:1"}], allow: [{roles: [admin]}]}
`)})
	if err != nil {
		t.Fatal(err)
	}
	e, err := gateway.NewExplainer(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	results := table.Run(t.Context(), e)
	if len(results) < 7 {
		t.Fatalf("got %d results", len(results))
	}
	for _, r := range results {
		if len(r.Wrong) > 0 {
			t.Errorf("%s: %v", r.Case.Name(), r.Wrong)
		}
	}
}
