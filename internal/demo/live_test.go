package demo_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"portero/internal/demo"
	"portero/internal/gatewaytest"
)

// TestRevocationInChromium is what a page sees of the end of its session: the WebSocket is closed with a reason, the event
// stream ends without a complaint, and is not served again.
func TestRevocationInChromium(t *testing.T) {
	t.Parallel()
	const address = "ana@example.com"
	d := start(t, demo.Config{})
	v := visit(t, gatewaytest.NewChromium(t), d, inEnglish, gatewaytest.Look{})
	v.Open(v.at("/"))
	v.signIn(v.Tab, address)
	v.landed(v.Tab, "/", address)
	v.Open(v.at("/ws"))
	gatewaytest.Eval[bool](v.Tab, `(() => {
		window.events = 0
		window.stream = new EventSource('/events')
		stream.onmessage = () => events++
		window.states = []
		stream.onerror = () => states.push(stream.readyState)
		window.echo = new WebSocket(location.origin.replace('http', 'ws') + '/ws')
		echo.onmessage = (e) => { window.said = e.data }
		echo.onopen = () => echo.send('hello')
		echo.onclose = (e) => { window.farewell = e.code + ' ' + e.wasClean }
		return true
	})()`)
	v.Await("the echo and an event", `window.said === 'hello' && events > 0`)

	req, err := http.NewRequest(http.MethodPost, d.Addresses.Admin+"/api/sessions/revoke", strings.NewReader(url.Values{"email": {address}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+d.AdminToken)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if got := gatewaytest.NewBrowser(t, nil).Do(req); got.StatusCode != http.StatusOK {
		t.Fatalf("revoking: got %s\n%s", got.Status, got.Text)
	}
	v.Await("the WebSocket to be closed", `window.farewell !== undefined`)
	if got := gatewaytest.Eval[string](v.Tab, `farewell`); got != "1008 true" {
		t.Errorf("the WebSocket was closed with %q, want 1008 true", got)
	}
	// It tries once more, as event streams do, and is refused.
	v.Await("the event stream to be given up", `stream.readyState === EventSource.CLOSED`)
	if got := gatewaytest.Eval[string](v.Tab, `states.join()`); got != "0,2" {
		t.Errorf("the event stream went through the states %s, want 0,2: connecting again, closed", got)
	}
	for _, line := range v.Console() {
		if strings.Contains(line, "INCOMPLETE") || strings.Contains(line, "RESET") {
			t.Errorf("the browser took the end for a broken answer: %s", line)
		}
	}
}
