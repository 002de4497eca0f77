package guard_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"portero/internal/config"
	"portero/internal/gateway"
	"portero/internal/gatewaytest"
	"portero/internal/guard"
	"portero/internal/identity"
	"portero/internal/route"
	"portero/internal/session"
)

// TestAccessMatrix is the access matrix without HTTP: from the words of the configuration to the decision.
func TestAccessMatrix(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	table := matrixTable(t)
	sessions := map[string]*session.Session{}
	for _, p := range gatewaytest.AccessPeople() {
		sessions[p.Name] = sessionOf(t, p, now)
	}
	rows := gatewaytest.AccessRows()
	if len(rows) < 500 {
		t.Fatalf("got %d rows, want hundreds", len(rows))
	}
	g := &guard.Guard{Now: func() time.Time { return now }}
	for _, row := range rows {
		r := guard.Request{Session: sessions[row.Person.Name], Method: row.Method, Scheme: "https", Host: "wiki.corp.com", Path: row.Path}
		if r.Session == nil {
			r.Missing = session.NoCookie
		}
		if row.Client != "" {
			r.Client = netip.MustParseAddr(row.Client)
		}
		target, err := route.ParseTarget(row.Method, row.Path, r.Host)
		if err != nil {
			t.Fatal(err)
		}
		if r.Route, err = table.Match(r.Host, row.Method, target); err != nil {
			t.Fatalf("%s: %v", row.Name(), err)
		}
		d := g.Decide(t.Context(), r)
		if got := inWords(d); got != row.Want {
			t.Errorf("%s\n got  %s\n want %s", row.Name(), got, row.Want)
		}
		if (d.Identity != nil) != (d.Outcome == guard.Allow && r.Session != nil && r.Route.Access != route.Public) {
			t.Errorf("%s: the application would be told %v", row.Name(), d.Identity)
		}
	}
}

// inWords is a decision as the rows of the matrix have it.
func inWords(d guard.Decision) string {
	return strings.Join(strings.Fields(strings.Join([]string{d.Outcome.String(), d.Why(), d.WouldDenyWhy(), d.Rule}, " ")), " ")
}

func matrixTable(t testing.TB) *route.Table {
	t.Helper()
	cfg, err := config.Load(config.Options{Path: "matrix.yaml", Text: []byte(`
external_url: https://wiki.corp.com
session: {store: memory}
logto: {endpoint: https://tenant.logto.app/, app_id: k2x9w4, app_secret: Zq3vT8yN5wR1}
routes:` + strings.ReplaceAll(gatewaytest.AccessRoutes(), "UPSTREAM", "http://127.0.0.1:1"))})
	if err != nil {
		t.Fatal(err)
	}
	table, err := gateway.Table(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// sessionOf is the session of somebody in the matrix; nil for nobody.
func sessionOf(t testing.TB, p gatewaytest.AccessPerson, now time.Time) *session.Session {
	t.Helper()
	if p.Claims == "" {
		return nil
	}
	claims, err := identity.ParseClaims([]byte(p.Claims))
	if err != nil {
		t.Fatal(err)
	}
	id, err := identity.New(claims, identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &session.Session{ID: "s-" + p.Name, Subject: id.Subject, Identity: id.Compact(p.Claims), AuthTime: now.Add(-p.Age), CreatedAt: now.Add(-p.Age)}
}
