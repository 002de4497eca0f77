package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"portero/internal/doctor"
)

func TestDoctorCode(t *testing.T) {
	t.Parallel()
	fine, warned := doctor.Finding{Status: doctor.OK}, doctor.Finding{Status: doctor.Warning}
	failed, skipped := doctor.Finding{Status: doctor.Failed}, doctor.Finding{Status: doctor.Skipped}
	for _, tt := range []struct {
		name          string
		findings      []doctor.Finding
		usual, strict int
	}{
		{"nothing", nil, 0, 0},
		{"fine", []doctor.Finding{fine}, 0, 0},
		{"a check that could not be made", []doctor.Finding{fine, skipped}, 0, 0},
		{"a warning", []doctor.Finding{fine, warned}, 0, 3},
		{"a failure", []doctor.Finding{failed, fine}, 1, 1},
		{"a failure beside a warning", []doctor.Finding{warned, failed}, 1, 1},
	} {
		if got := doctorCode(count(tt.findings), false); got != tt.usual {
			t.Errorf("%s: exit code %d, want %d", tt.name, got, tt.usual)
		}
		if got := doctorCode(count(tt.findings), true); got != tt.strict {
			t.Errorf("%s: exit code %d with --strict, want %d", tt.name, got, tt.strict)
		}
	}
}

func TestPrintFindings(t *testing.T) {
	t.Parallel()
	findings := []doctor.Finding{
		{Check: "logto-endpoint", Status: doctor.Failed, Expected: "an answer", Seen: "none\x1b[2J", Remedy: "start Logto"},
		{Check: "clock", Status: doctor.OK, Seen: "right"},
		{Check: "keys", Status: doctor.Skipped, Seen: "see logto-endpoint"},
	}
	var text, encoded strings.Builder
	if err := printFindings(&text, findings, false); err != nil {
		t.Fatal(err)
	}
	want := `failed   logto-endpoint  none?[2J
         expected: an answer
         to do: start Logto
ok       clock           right
skipped  keys            see logto-endpoint

1 ok, 0 warnings, 1 failed, 1 skipped
`
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	if err := printFindings(&encoded, findings, true); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Findings []doctor.Finding
		Summary  map[doctor.Status]int
	}
	if err := json.Unmarshal([]byte(encoded.String()), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(findings, got.Findings); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[doctor.Status]int{doctor.OK: 1, doctor.Warning: 0, doctor.Failed: 1, doctor.Skipped: 1}, got.Summary); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
}
