package guard_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"portero/internal/access"
	"portero/internal/assertion"
	"portero/internal/audit"
	"portero/internal/guard"
	"portero/internal/route"
)

// Where an application has to be told who somebody is and cannot be, nobody is let through as somebody without a name.
func TestHeaderOverflowDenies(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "audit")
	log, err := audit.New(audit.Config{File: file})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	set := func(max int, deny bool) *assertion.Set {
		s, err := assertion.NewSet([]assertion.Header{{Name: "X-Email", Claims: []string{"email"}, MaxBytes: max, Deny: deny}})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	ann := someone("u1", "ann@corp.com") // 12 bytes
	for _, tt := range []struct {
		name   string
		access route.Access
		set    *assertion.Set
		want   string
	}{
		{"it fits", route.SignedIn, set(12, true), "allow rule"},
		{"too long", route.SignedIn, set(11, true), "deny header-overflow"},
		{"too long, to be left out", route.SignedIn, set(11, false), "allow rule"},
		{"nothing is told", route.SignedIn, nil, "allow rule"},
		{"optional, too long", route.Optional, set(11, true), "deny header-overflow"},
		{"public: nobody is told about", route.Public, set(11, true), "allow public"},
	} {
		rt := &route.Route{Name: "wiki", Access: tt.access, Allow: policy(t, access.Rule{EmailDomains: []string{"corp.com"}})}
		d := (&guard.Guard{Audit: log}).Decide(t.Context(), guard.Request{Route: rt, Session: ann, Client: inside, Headers: tt.set})
		if got := d.Outcome.String() + " " + string(d.Reason); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
		if overflow := d.Reason == guard.ReasonHeaderOverflow; overflow != (d.Header == "X-Email") || overflow && (d.Identity != nil || d.Route != rt) {
			t.Errorf("%s: %+v contradicts itself", tt.name, d)
		}
	}
	// Somebody who is denied anyway is denied for that.
	nobody := &route.Route{Access: route.SignedIn, Allow: policy(t, access.Rule{Roles: []string{"root"}})}
	if d := new(guard.Guard).Decide(t.Context(), guard.Request{Route: nobody, Session: ann, Headers: set(1, true)}); d.Reason != guard.ReasonNoRule {
		t.Errorf("without a rule: got %s, want %s", d.Reason, guard.ReasonNoRule)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	denied := 0
	for line := range bytes.Lines(text) {
		var e map[string]any
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		if e["reason"] == "header-overflow" && e["outcome"] == "deny" && strings.Contains(string(line), "u1") {
			denied++
		}
	}
	if denied != 2 {
		t.Errorf("the audit has %d denials for header-overflow, want 2\n%s", denied, text)
	}
}
