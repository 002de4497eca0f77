package sampleapp_test

import (
	"testing"

	"portero/internal/demo/sampleapp"
	"portero/internal/gatewaytest"
)

// The WebSocket page and the form work in a real browser under the pages' own policy.
func TestInBrowser(t *testing.T) {
	t.Parallel()
	tab := gatewaytest.NewChromium(t).Person(t, gatewaytest.Look{})
	s := server(t, sampleapp.Config{})
	tab.Open(s.URL + "/ws")
	tab.Type("#message", "hola\r")
	tab.WaitVisible("#log li")
	if got := tab.Text("#log li"); got != "hola" {
		t.Errorf("echo: got %q, want hola", got)
	}
	tab.Open(s.URL + "/form")
	tab.Type("#title", "una prueba\r")
	tab.WaitVisible("table")
	if got := gatewaytest.Eval[string](tab, `[...document.querySelectorAll(".typed")].map((e) => e.textContent).join("")`); got != "una prueba" {
		t.Errorf("form: got %q, want what was typed", got)
	}
	if got := tab.Console(); len(got) > 0 {
		t.Errorf("console: %q", got)
	}
}
